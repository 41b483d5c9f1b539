//! `GET /v1/audit`: what people did in a tenant, for its administrators; and what became by itself of what they were asked.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reelfleet_access::Scope;
use reelfleet_catalog::audit::AuditEntry;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::caller::Caller;
use crate::paging::{Page, Wanted};
use crate::problem::{Code, Problem};

#[derive(Debug, Deserialize)]
pub(crate) struct Kind {
    /// What stands before the dot of `what`: `user`, `key`, `review`, `webhook`.
    kind: Option<String>,
}

impl Wanted for Kind {
    const FIELDS: &'static [&'static str] = &["kind"];
}

/// A page, the latest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Page<Kind>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::Admin)?;
    let kind = page.wanted.kind.as_deref().filter(|kind| !kind.is_empty());
    if kind.is_some_and(|kind| kind.len() > 32 || !kind.bytes().all(|byte| byte.is_ascii_lowercase())) {
        return Err(Problem::new(Code::InvalidRequest, "kind is a word of small letters: user, key, review, webhook"));
    }
    self::page(&app, Some(&principal.tenant), kind, &page).await
}

/// A page of a tenant's, or of the installation's.
pub(crate) async fn page<W>(
    app: &App,
    tenant: Option<&str>,
    kind: Option<&str>,
    page: &Page<W>,
) -> Result<Json<Value>, Problem> {
    let before = page.after::<Place>()?;
    let before = before.as_ref().map(|Place(at, id)| (*at, id.as_str()));
    let entries = app.catalog.audit_in(tenant, kind, before, page.one_more()).await?;
    let (entries, next) = page.cut(entries, |entry| Place(entry.at, entry.id.clone()).to_string());
    let mut people: Vec<String> = entries.iter().map(|entry| entry.who.clone()).collect();
    people.sort_unstable();
    people.dedup();
    let emails: HashMap<String, String> = app.catalog.emails_of(tenant, &people).await?.into_iter().collect();
    let entries = entries.iter().map(|entry| {
        let mut shown = shown(entry);
        shown["email"] = json!(emails.get(&entry.who));
        shown
    });
    Ok(Json(json!({ "entries": entries.collect::<Vec<_>>(), "next_cursor": next })))
}

pub(super) fn shown(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": rfc3339(entry.at),
        "who": entry.who,
        "what": entry.what,
        "subject": entry.subject,
        "detail": serde_json::from_str::<Value>(&entry.detail).unwrap_or(Value::Null),
    })
}

/// Where an entry stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) i64, pub(super) String);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, id) = text.split_once('/').ok_or(())?;
        Ok(Self(at.parse().map_err(|_| ())?, id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_nothing_else_does() {
        let place = Place(7, "a/b".into());
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "7", "x/y"] {
            assert_eq!(bad.parse::<Place>(), Err(()), "{bad}");
        }
    }
}
