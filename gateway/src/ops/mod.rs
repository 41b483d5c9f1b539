//! `/v1/ops`: what operators see of the whole fleet, and what they may do about it.
//!
//! Guarantees: scope `ops` everywhere; looking reads rows alone; whatever is done is in the audit before it is done, and is a
//! row that the fleet follows, so it holds through restarts.

pub(crate) mod controls;
pub(crate) mod jobs;
pub(crate) mod letters;
pub(crate) mod overview;
pub(crate) mod spent;

use reelfleet_access::Principal;
use reelfleet_catalog::audit::AuditEntry;
use serde_json::Value;

use crate::app::App;

impl App {
    /// A line of the installation's audit, which is for operators.
    pub(crate) fn operated(&self, principal: &Principal, what: &str, subject: &str, detail: &Value) -> AuditEntry {
        AuditEntry { tenant: None, ..self.deed(&principal.tenant, principal.user(), what, subject, detail) }
    }
}
