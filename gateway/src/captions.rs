//! `/v1/assets/{id}/captions/{language}`: captions that people bring, as WebVTT or SubRip.
//!
//! Guarantees: what is stored is what our own parser has understood and written anew; it lies under a name made of its
//! bytes, so a player never sees half of an old and half of a new file; the row comes after the object.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use reelfleet_access::Scope;
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::captions::Captions;
use reelfleet_domain::AssetState;
use reelfleet_domain::captions::{parse, to_webvtt};
use reelfleet_objects::ObjectWriter;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::asset_view::Playback;
use crate::caller::Caller;
use crate::deletion;
use crate::problem::{Code, Problem};
use crate::upload_rules::checked_name;

/// Largest file (bytes): a film's captions are a tenth of it.
const MAX_BYTES: usize = 2 << 20;
const MAX_LANGUAGES: usize = 50;

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    label: Option<String>,
}

/// Adds or replaces the captions of a language.
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, language)): Path<(String, String)>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let principal = caller.with(Scope::AssetsWrite)?;
    let asset = standing(deletion::own(&app, &principal, &id).await?)?;
    let language = checked_language(&language)?;
    let Query(wanted) =
        wanted.map_err(|_| Problem::new(Code::InvalidRequest, "the query holds label, at most once"))?;
    let label = checked_name(wanted.label.as_deref().unwrap_or(&language))?.chars().take(80).collect();
    let too_large = |_| Problem::new(Code::BodyTooLarge, format!("captions have at most {MAX_BYTES} bytes"));
    let bytes = axum::body::to_bytes(body, MAX_BYTES).await.map_err(too_large)?;
    let invalid = |detail: String| Problem::new(Code::InvalidCaptions, detail);
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("the file is not UTF-8".to_owned()))?;
    let cues = parse(text).map_err(|error| invalid(error.to_string()))?;
    let before = app.catalog.captions(&asset.id).await?;
    let known = before.iter().any(|captions| captions.language == language);
    if !known && before.len() >= MAX_LANGUAGES {
        return Err(invalid(format!("an asset has captions in at most {MAX_LANGUAGES} languages")));
    }
    let file = Bytes::from(to_webvtt(&cues));
    let captions = Captions {
        name: format!("captions/{language}-{}.vtt", hex::encode(&Sha256::digest(&file)[..8])),
        language,
        label,
        cues: i64::try_from(cues.len()).unwrap_or(i64::MAX),
        bytes: i64::try_from(file.len()).unwrap_or(i64::MAX),
    };
    let outputs = ObjectWriter::new(app.context.clients.s3.clone(), app.context.config.outputs_bucket.clone());
    let key = format!("out/{}/{}", asset.id, captions.name);
    outputs.put(&key, file, "text/vtt; charset=utf-8", None).await?;
    if !app.catalog.caption(app.now(), &asset.id, &captions).await? {
        return Err(gone());
    }
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(shown(&captions, app.playback(&asset).as_ref()))))
}

/// Takes them away. May be repeated.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, language)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let principal = caller.with(Scope::AssetsWrite)?;
    let asset = standing(deletion::own(&app, &principal, &id).await?)?;
    app.catalog.uncaption(&asset.id, &checked_language(&language)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All captions of an asset, as its detail shows them to whoever plays it so.
pub(crate) async fn of(app: &App, asset: &Asset, playback: Option<&Playback>) -> Result<Value, Problem> {
    let all = app.catalog.captions(&asset.id).await?;
    Ok(all.iter().map(|captions| shown(captions, playback)).collect())
}

fn shown(captions: &Captions, playback: Option<&Playback>) -> Value {
    json!({
        "language": captions.language,
        "label": captions.label,
        "cues": captions.cues,
        "bytes": captions.bytes,
        "url": playback.map(|playback| playback.url(&captions.name)),
    })
}

fn standing(asset: Asset) -> Result<Asset, Problem> {
    match asset.state {
        AssetState::Deleting | AssetState::Deleted => Err(gone()),
        _ => Ok(asset),
    }
}

fn gone() -> Problem {
    Problem::new(Code::AssetGone, "its objects are gone, or going")
}

/// A language tag as RFC 5646 writes it, in the case that it recommends (section 2.1.1): `pt-br` is `pt-BR`.
fn checked_language(text: &str) -> Result<String, Problem> {
    let refused = || Problem::new(Code::InvalidRequest, "a language is a tag such as de, pt-BR or zh-Hant");
    let parts: Vec<&str> = text.split('-').collect();
    let good = |part: &&str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first = parts.first().ok_or_else(refused)?;
    let is_language = (2..=8).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_alphabetic());
    if text.len() > 35 || !is_language || !parts.iter().all(good) {
        return Err(refused());
    }
    let cased = parts.iter().enumerate().map(|(index, part)| match (index, part.len()) {
        (0, _) => part.to_ascii_lowercase(),
        (_, 2) => part.to_ascii_uppercase(),
        (_, 4) if !part.starts_with(|c: char| c.is_ascii_digit()) => {
            part.chars().take(1).flat_map(char::to_uppercase).chain(part.to_ascii_lowercase().chars().skip(1)).collect()
        }
        _ => part.to_ascii_lowercase(),
    });
    Ok(cased.collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_tags() {
        for (said, kept) in [("de", "de"), ("PT-br", "pt-BR"), ("zh-hant-tw", "zh-Hant-TW"), ("es-419", "es-419")] {
            assert_eq!(checked_language(said).unwrap(), kept);
        }
        for bad in ["", "d", "d1", "de-", "-de", "de_DE", "../x", "de-toolongpart", "ü"] {
            assert_eq!(checked_language(bad).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
    }
}
