//! Where Prometheus finds the processes: `metrics_targets.json`, as its file-based discovery reads it.
//!
//! Guarantee: the file is whole, and names the processes that run now; it holds nothing secret, and everybody on the
//! machine may read it.
//!
//! Source: Prometheus, "Configuration", `file_sd_config`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

const FILE: &str = "metrics_targets.json";

/// Writes it anew; `targets` are roles and `host:port`.
pub fn write(folder: &Path, targets: &[(&'static str, String)]) -> anyhow::Result<()> {
    let mut by_role: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    targets.iter().for_each(|(role, address)| by_role.entry(role).or_default().push(address));
    let groups = by_role.into_iter().map(|(role, targets)| json!({ "targets": targets, "labels": { "role": role } }));
    let (path, beside) = (folder.join(FILE), folder.join(".metrics_targets.json"));
    let write =
        || fs::write(&beside, Value::Array(groups.collect()).to_string()).and_then(|()| fs::rename(&beside, &path));
    write().with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_prometheus_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let of = |address: &str| address.to_owned();
        write(
            folder.path(),
            &[("transcoder", of("127.0.0.1:1")), ("gateway", of("127.0.0.1:2")), ("transcoder", of("127.0.0.1:3"))],
        )
        .unwrap();
        let read: Value = serde_json::from_slice(&fs::read(folder.path().join(FILE)).unwrap()).unwrap();
        let wanted = json!([
            { "targets": ["127.0.0.1:2"], "labels": { "role": "gateway" } },
            { "targets": ["127.0.0.1:1", "127.0.0.1:3"], "labels": { "role": "transcoder" } },
        ]);
        assert_eq!(read, wanted);
    }
}
