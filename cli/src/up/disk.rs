//! Room on the disk, as a person should know of it before uploads are refused.

use std::path::Path;

/// MiB that the endpoint leaves free, where the environment says nothing else; see `reelfleet local --reserve-mib`.
const RESERVE_MIB: u64 = 256;

/// One sentence, where the volume of the folder has less room than the endpoint leaves free.
pub fn warning(folder: &Path) -> Option<String> {
    let volume = rustix::fs::statvfs(folder).ok()?;
    let set = std::env::var("REELFLEET_LOCAL_RESERVE_MIB").ok().and_then(|text| text.parse().ok());
    sentence(folder, volume.f_bavail.saturating_mul(volume.f_frsize), set.unwrap_or(RESERVE_MIB) << 20)
}

fn sentence(folder: &Path, free: u64, reserve: u64) -> Option<String> {
    (free < reserve).then(|| {
        format!(
            "warning: the volume of {} has {} bytes free, less than the {reserve} bytes that are kept in reserve: uploads \
             are refused until there is room, or REELFLEET_LOCAL_RESERVE_MIB is set lower",
            folder.display(),
            free,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_room_than_the_reserve_is_said_and_nothing_else() {
        let text = sentence(Path::new("/data"), 5, 6).unwrap();
        assert!(text.contains("/data has 5 bytes free") && text.contains("6 bytes that are kept in reserve"), "{text}");
        assert_eq!(sentence(Path::new("/data"), 6, 6), None);
        assert!(rustix::fs::statvfs(std::env::temp_dir()).is_ok());
    }
}
