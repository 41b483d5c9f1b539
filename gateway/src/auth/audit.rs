//! `GET /v1/audit`: what people did in a tenant, for its administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reelfleet_access::Scope;
use reelfleet_catalog::audit::AuditEntry;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::caller::Caller;
use crate::problem::{Code, Problem};

const PAGE: u32 = 50;
const MAX_PAGE: u32 = 100;

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// A page, the latest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::Admin)?;
    let invalid = || Problem::new(Code::InvalidRequest, format!("the query holds limit (1 to {MAX_PAGE}) and cursor"));
    let Query(page) = page.map_err(|_| invalid())?;
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid());
    }
    let before = page.cursor.as_deref().map(|text| read_cursor(text).ok_or_else(invalid)).transpose()?;
    let before = before.as_ref().map(|(at, id)| (*at, id.as_str()));
    let mut entries = app.catalog.audit_in(&principal.tenant, before, i64::from(limit) + 1).await?;
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries.last().filter(|_| more).map(cursor);
    Ok(Json(json!({ "entries": entries.iter().map(shown).collect::<Vec<_>>(), "next_cursor": next })))
}

fn shown(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": rfc3339(entry.at),
        "who": entry.who,
        "what": entry.what,
        "subject": entry.subject,
        "detail": serde_json::from_str::<Value>(&entry.detail).unwrap_or(Value::Null),
    })
}

fn cursor(entry: &AuditEntry) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{}", entry.at, entry.id))
}

fn read_cursor(text: &str) -> Option<(i64, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (at, id) = std::str::from_utf8(&bytes).ok()?.split_once('/')?;
    Some((at.parse().ok()?, id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let entry = AuditEntry {
            id: "a/b".into(),
            at: 7,
            who: String::new(),
            what: String::new(),
            subject: String::new(),
            detail: String::new(),
            tenant: None,
        };
        assert_eq!(read_cursor(&cursor(&entry)), Some((7, "a/b".into())));
        for bad in ["", "%", &URL_SAFE_NO_PAD.encode("7"), &URL_SAFE_NO_PAD.encode("x/y")] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }
}
