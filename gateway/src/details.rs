//! Editing what people say of an asset, and taking its original away.
//!
//! Guarantees: only the owner, or an administrator of the tenant, edits; of two edits of the same edition one is refused;
//! the original is handed out by a link of 15 minutes that names the file as its owner does, and to nobody once it is in
//! quarantine; what has expired or was overwritten is said to be gone, never linked to.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::Scope;
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::details::{Details, Visibility};
use reelfleet_domain::AssetState;
use reelfleet_domain::approval::OnReject;
use reelfleet_messages::event::ReasonCode;
use reelfleet_objects::{MAX_EXPIRY, ObjectError, head};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::asset_view::summary;
use crate::caller::{Caller, Payload, text_of};
use crate::deletion;
use crate::problem::{Code, Problem};
use crate::upload_rules::checked_name;
use crate::uploads;

const MAX_DESCRIPTION: usize = 5_000;
const MAX_TAGS: usize = 30;
const MAX_TAG: usize = 50;

/// What is left out stays as it is.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Edit {
    name: Option<String>,
    description: Option<String>,
    tags: Option<Vec<String>>,
    visibility: Option<String>,
}

impl Edit {
    fn of(self, before: Details) -> Result<Details, Problem> {
        let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
        let visibility = self.visibility.map(|text| {
            Visibility::parse(&text).ok_or_else(|| invalid("visibility is private, unlisted or public".to_owned()))
        });
        let description = self.description.map(|text| {
            let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
            let text = text.trim().to_owned();
            if text.chars().count() > MAX_DESCRIPTION {
                return Err(invalid(format!("description has at most {MAX_DESCRIPTION} characters")));
            }
            Ok(text)
        });
        Ok(Details {
            name: self.name.map_or(Ok(before.name), |name| checked_name(&name))?,
            description: description.unwrap_or(Ok(before.description))?,
            tags: self.tags.map_or(Ok(before.tags), |tags| checked_tags(&tags))?,
            visibility: visibility.unwrap_or(Ok(before.visibility))?,
        })
    }
}

/// Tags as they are kept: trimmed, each once.
fn checked_tags(tags: &[String]) -> Result<Vec<String>, Problem> {
    let mut kept: Vec<String> = Vec::new();
    for tag in tags {
        let tag: String = tag.chars().filter(|c| !c.is_control()).collect();
        let tag = tag.trim();
        if tag.chars().count() > MAX_TAG {
            return Err(Problem::new(Code::InvalidRequest, format!("a tag has at most {MAX_TAG} characters")));
        }
        if !tag.is_empty() && !kept.iter().any(|known| known.to_lowercase() == tag.to_lowercase()) {
            kept.push(tag.to_owned());
        }
    }
    if kept.len() > MAX_TAGS {
        return Err(Problem::new(Code::InvalidRequest, format!("an asset has at most {MAX_TAGS} tags")));
    }
    Ok(kept)
}

/// `If-Match: "7"`: of this edition only (RFC 9110 section 13.1.1; the tag here is that of the edition, which the work on
/// an asset does not change).
fn is_wanted(headers: &HeaderMap, edition: i64) -> Result<bool, Problem> {
    match headers.get(header::IF_MATCH) {
        None => Ok(true),
        Some(_) => {
            let list = text_of(headers, header::IF_MATCH.as_str()).unwrap_or_default().trim();
            let ours = format!("\"{edition}\"");
            let well = list == "*" || list.split(',').all(|tag| tag.trim().len() > 2 && tag.trim().ends_with('"'));
            if !well {
                return Err(Problem::new(Code::InvalidRequest, "If-Match is the edition in quotes, or *"));
            }
            Ok(list == "*" || list.split(',').any(|tag| tag.trim() == ours))
        }
    }
}

/// Edits an asset.
pub(crate) async fn edit(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Payload(edit): Payload<Edit>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsWrite)?;
    let asset = deletion::own(&app, &principal, &id).await?;
    if matches!(asset.state, AssetState::Deleting | AssetState::Deleted) {
        return Err(Problem::new(Code::AssetGone, "restore it first"));
    }
    let meanwhile = || Problem::new(Code::EditedMeanwhile, "read it again, and decide what is to stay");
    if !is_wanted(&headers, asset.edition)? {
        return Err(meanwhile());
    }
    let before = Details::of(&asset);
    let details = edit.of(before.clone())?;
    if details != before {
        match app.catalog.edit(&app.context.step(), &asset, &details).await {
            Err(error) if error.is_conflict() => return Err(meanwhile()),
            edited => edited?,
        }
    }
    let edited = deletion::own(&app, &principal, &id).await?;
    Ok(Json(summary(&edited)).into_response())
}

#[derive(Debug, Deserialize)]
pub(crate) struct Rename {
    name: String,
}

/// Renames what is still being uploaded; its asset will have the name.
pub(crate) async fn rename(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Payload(rename): Payload<Rename>,
) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::UploadsWrite)?;
    let name = checked_name(&rename.name)?;
    let mut upload = uploads::own(&app, &principal, &id).await?;
    if !app.catalog.rename_upload(app.now(), &upload.id.to_string(), &name).await? {
        return Err(uploads::ended(&upload));
    }
    upload.name = name;
    Ok(Json(uploads::shown(&upload, None)))
}

/// A link to the original.
pub(crate) async fn original(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::AssetsRead)?;
    let asset = deletion::own(&app, &principal, &id).await?;
    if matches!(asset.state, AssetState::Deleting | AssetState::Deleted) {
        return Err(Problem::new(Code::AssetGone, "its objects are gone, or going"));
    }
    if asset.reason_code.as_deref() == Some(ReasonCode::Rejected.as_str())
        && let Some(review) = app.catalog.review_of(&asset.id).await?
        && review.on_reject == OnReject::Quarantine
    {
        return Err(Problem::new(Code::Quarantined, "reviewers rejected it"));
    }
    if !original_is_there(&app, &asset).await? {
        return Err(Problem::new(Code::OriginalGone, "it has expired, or was removed or replaced in its bucket"));
    }
    let disposition = disposition(&asset.name);
    let version = asset.version_id.as_deref();
    let signed = app.presigner.get(&asset.bucket, &asset.key, version, None, Some(&disposition), MAX_EXPIRY).await?;
    let lives_ms = i64::try_from(signed.expires_in.as_millis()).unwrap_or(0);
    let link = json!({
        "url": signed.url,
        "name": asset.name,
        "size": asset.size,
        "expires_at": rfc3339(app.now().saturating_add(lives_ms)),
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(link)).into_response())
}

/// Whether the very bytes that the asset was made from are still in their bucket.
pub(crate) async fn original_is_there(app: &App, asset: &Asset) -> Result<bool, ObjectError> {
    match head(&app.context.clients.s3, &asset.bucket, &asset.key, asset.version_id.as_deref()).await {
        Ok(found) => Ok(found.etag == asset.etag),
        Err(ObjectError::Gone { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// To be saved under its name (RFC 6266; the name in the form of RFC 8187).
fn disposition(name: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("attachment; filename*=UTF-8''");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before() -> Details {
        Details { name: "a".into(), description: "b".into(), tags: vec!["c".into()], visibility: Visibility::Private }
    }

    #[test]
    fn what_is_left_out_stays_and_what_is_wrong_is_refused() {
        assert_eq!(Edit::default().of(before()).unwrap(), before());
        let edit = Edit {
            name: Some(" x\u{0} ".into()),
            description: Some("line\r\nline ".into()),
            tags: Some(vec![" Sea ".into(), "sea".into(), String::new(), "sun".into()]),
            visibility: Some("public".into()),
        };
        let after = edit.of(before()).unwrap();
        assert_eq!((after.name.as_str(), after.description.as_str()), ("x", "line\nline"));
        assert_eq!((after.tags, after.visibility), (vec!["Sea".to_owned(), "sun".to_owned()], Visibility::Public));
        for bad in [
            Edit { name: Some(" ".into()), ..Edit::default() },
            Edit { description: Some("x".repeat(MAX_DESCRIPTION + 1)), ..Edit::default() },
            Edit { tags: Some((0..=MAX_TAGS).map(|n| n.to_string()).collect()), ..Edit::default() },
            Edit { tags: Some(vec!["x".repeat(MAX_TAG + 1)]), ..Edit::default() },
            Edit { visibility: Some("everyone".into()), ..Edit::default() },
        ] {
            assert_eq!(bad.of(before()).unwrap_err().code, Code::InvalidRequest);
        }
    }

    #[test]
    fn an_edition_is_matched() {
        let sent = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, value.parse().unwrap())]);
            is_wanted(&headers, 7).ok()
        };
        assert!(is_wanted(&HeaderMap::new(), 7).unwrap());
        assert_eq!(sent("\"7\""), Some(true));
        assert_eq!(sent("\"6\", \"7\""), Some(true));
        assert_eq!(sent("*"), Some(true));
        assert_eq!(sent("\"8\""), Some(false));
        assert_eq!(sent("W/\"7\""), Some(false), "a weak tag never matches here");
        assert_eq!(sent("7"), None);
    }

    #[test]
    fn any_name_is_a_file_name() {
        assert_eq!(disposition("a b\"\r\n.mp4"), "attachment; filename*=UTF-8''a%20b%22%0D%0A.mp4");
        assert_eq!(disposition("Ü"), "attachment; filename*=UTF-8''%C3%9C");
    }
}
