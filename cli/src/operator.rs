//! Who operates which installation, as commands are told it.
//!
//! Guarantee: whatever an operator does leaves an audit line with this name.

use std::path::PathBuf;

use clap::Args;
use reelfleet_catalog::Catalog;
use reelfleet_catalog::audit::AuditEntry;
use reelfleet_fleet::Context;
use serde_json::Value;

use crate::up::ready::{self, Ready};
use crate::{status, worker};

/// Options of commands that change how the fleet runs.
#[derive(Args)]
pub struct OperatorArgs {
    /// Folder of a running `reelfleet up` [default: the environment]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Who does it, for the audit [default: user@host]
    #[arg(long = "as", env = "REELFLEET_OPERATOR", value_name = "NAME")]
    who: Option<String>,
}

/// An operator at an installation.
pub struct Operator {
    /// The installation.
    pub context: Context,
    /// Its truth.
    pub catalog: Catalog,
    /// The person.
    pub who: String,
}

impl OperatorArgs {
    /// Finds the installation, which must answer.
    pub async fn enter(self) -> anyhow::Result<Operator> {
        let ready = self.data.as_deref().map(|folder| Ready::read(&ready::in_folder(folder))).transpose()?;
        let context = status::context(ready.as_ref()).await?;
        let catalog = worker::catalog(&context);
        Ok(Operator { context, catalog, who: self.who.unwrap_or_else(user_at_host) })
    }
}

impl Operator {
    /// The audit line of a deed that is about to be done.
    pub fn deed(&self, what: &str, subject: &str, detail: &Value) -> AuditEntry {
        AuditEntry {
            id: self.context.ids.token(),
            at: self.context.clock.now_ms(),
            who: self.who.clone(),
            what: what.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_string(),
            tenant: None,
        }
    }
}

/// `ann@box`.
pub fn user_at_host() -> String {
    let user =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}
