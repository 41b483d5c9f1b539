//! `GET /v1/me/export`: what is kept of one person, as one JSON document, for that person.
//!
//! Guarantees: nothing but one's own, and no secret, hash or mail's text; read and sent a page at a time, so it is as long as it
//! has to be and never held whole. It is no moment's picture: what changes while it is read is in it or not. A document that
//! broke off is no JSON, and so not taken for the whole.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use reelfleet_catalog::accounts::User;
use reelfleet_messages::AssetId;
use serde_json::{Value, json};

use super::limits::too_often;
use super::{audit, keys, me, shown};
use crate::app::{App, rfc3339};
use crate::asset_view::summary;
use crate::caller::Caller;
use crate::problem::Problem;

/// Rows read at once.
const PAGE: i64 = 100;
/// The lists of the document, in their order.
const LISTS: [&str; 8] = ["sessions", "api_keys", "webhooks", "uploads", "assets", "votes", "audit", "mails"];

/// The document.
pub(crate) async fn export(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    let (_, user) = me::signed_in(&app, caller.anybody()).await?;
    app.accounts()?.exports.take(&user.id.to_string(), Instant::now()).map_err(too_often)?;
    let head = head(&app, &user).await?;
    let document = Document { app, user, head: Some(head), list: 0, after: None, filled: false };
    let body = Body::from_stream(futures::stream::unfold(Some(document), async |document| {
        let mut document = document?;
        match document.next().await {
            Ok(Some(text)) => Some((Ok(Bytes::from(text)), Some(document))),
            Ok(None) => None,
            // Whoever reads sees that it broke off.
            Err(_) => Some((Err(std::io::Error::other("the export broke off")), None)),
        }
    }));
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"reelfleet-export.json\""),
    ];
    Ok((headers, body).into_response())
}

async fn head(app: &App, user: &User) -> Result<String, Problem> {
    let wishes = app.catalog.wishes(&user.id).await?;
    let providers = app.catalog.identities_of(&user.id).await?;
    let providers: Vec<Value> =
        providers.iter().map(|(issuer, at)| json!({ "issuer": issuer, "linked_at": rfc3339(*at) })).collect();
    let mut account = shown(user);
    account["has_password"] = (!user.password_hash.is_empty()).into();
    account["providers"] = providers.into();
    account["notices"] = json!({ "ready": wishes.ready, "failed": wishes.failed, "weekly": wishes.weekly });
    Ok(format!("{{\"exported_at\":{},\"account\":{account}", json!(rfc3339(app.now()))))
}

/// How far it is written.
struct Document {
    app: Arc<App>,
    user: User,
    head: Option<String>,
    list: usize,
    /// The last row of the list that is written.
    after: Option<String>,
    /// Whether the list has rows already.
    filled: bool,
}

impl Document {
    /// The next piece of the text.
    async fn next(&mut self) -> Result<Option<String>, Problem> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let Some(name) = LISTS.get(self.list) else {
            let whole = self.list > LISTS.len();
            self.list += 1;
            return Ok((!whole).then(|| "}".to_owned()));
        };
        let mut text = if self.after.is_none() { format!(",\"{name}\":[") } else { String::new() };
        let (rows, next) = self.rows(name).await?;
        for row in rows {
            text.push_str(if self.filled { "," } else { "" });
            text.push_str(&row.to_string());
            self.filled = true;
        }
        if next.is_none() {
            text.push(']');
            self.list += 1;
            self.filled = false;
        }
        self.after = next;
        Ok(Some(text))
    }

    /// Rows of a list from where it stands, and where the next ones begin, if there may be some.
    async fn rows(&self, list: &str) -> Result<(Vec<Value>, Option<String>), Problem> {
        let (catalog, user, after) = (&self.app.catalog, &self.user, self.after.as_deref().unwrap_or_default());
        let owner = user.id.to_string();
        Ok(match list {
            "sessions" => page(
                catalog.sessions_of(&user.id, after, PAGE).await?,
                |session| session.id.clone(),
                |session| {
                    json!({
                        "id": session.id,
                        "created_at": rfc3339(session.created_at),
                        "refreshed_at": rfc3339(session.refreshed_at),
                        "expires_at": rfc3339(session.expires_at),
                        "ended_at": session.ended_at.map(rfc3339),
                    })
                },
            ),
            "api_keys" => {
                (catalog.api_keys_of(&user.tenant, &owner, PAGE).await?.iter().map(keys::shown).collect(), None)
            }
            "webhooks" => {
                let webhooks = catalog.webhooks_of(&user.tenant, &owner, PAGE).await?;
                (webhooks.iter().map(crate::webhooks::shown).collect(), None)
            }
            "uploads" => {
                let open = catalog.open_uploads(&user.tenant, &owner, PAGE).await?;
                (open.iter().map(|upload| crate::uploads::shown(upload, None)).collect(), None)
            }
            "assets" => {
                let assets = catalog.assets_of_owner(&user.tenant, &owner, after, PAGE).await?;
                let captions = futures::future::try_join_all(assets.iter().map(|asset| catalog.captions(&asset.id)));
                let ids: Vec<AssetId> = assets.iter().map(|asset| asset.id).collect();
                let mut captions = captions.await?.into_iter();
                let (mut rows, next) = page(assets, |asset| asset.id.to_string(), summary);
                for (row, id) in rows.iter_mut().zip(ids) {
                    let languages = captions.next().unwrap_or_default();
                    row["captions"] = languages.iter().map(|captions| captions.language.as_str()).collect();
                    row["url"] = self.app.url(&format!("/watch/{id}")).into();
                }
                (rows, next)
            }
            "votes" => page(
                catalog.votes_of(&user.email, after, PAGE).await?,
                |vote| vote.review.clone(),
                |vote| {
                    json!({
                        "review": vote.review,
                        "asset": vote.asset,
                        "verdict": if vote.approves { "approve" } else { "reject" },
                        "reason": vote.reason,
                        "at": rfc3339(vote.at),
                    })
                },
            ),
            "audit" => {
                let before = self.after.as_deref().and_then(|place| place.parse::<audit::Place>().ok());
                let before = before.as_ref().map(|audit::Place(at, id)| (*at, id.as_str()));
                let deeds = catalog.audit_by(&user.tenant, &owner, before, PAGE).await?;
                page(deeds, |entry| audit::Place(entry.at, entry.id.clone()).to_string(), audit::shown)
            }
            _ => page(
                catalog.mails_to(&user.email, after, PAGE).await?,
                |mail| mail.id.clone(),
                |mail| {
                    json!({
                        "id": mail.id,
                        "kind": mail.kind,
                        "subject": mail.subject,
                        "state": mail.state,
                        "created_at": rfc3339(mail.created_at),
                    })
                },
            ),
        })
    }
}

/// Rows as they are shown; a full page may have another one after it.
fn page<T>(rows: Vec<T>, name: impl Fn(&T) -> String, show: impl Fn(&T) -> Value) -> (Vec<Value>, Option<String>) {
    let next = rows.last().filter(|_| rows.len() as i64 == PAGE).map(name);
    (rows.iter().map(show).collect(), next)
}
