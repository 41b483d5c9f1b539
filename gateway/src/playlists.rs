//! Playlists that are made as they are asked for: the master with the captions that there are, and the list of one
//! captions file.
//!
//! Guarantees: the variants are the publisher's, untouched; a captions list is answered as long as its
//! captions are the asset's: what was taken away or replaced is gone for whoever still has an older master.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_domain::playlist::{Subtitles, captions_list, with_subtitles};
use reelfleet_messages::AssetId;
use reelfleet_objects::{ObjectError, fetch, head};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::assets::is_known;
use crate::outputs::{Output, key};
use crate::problem::Problem;

/// No master of ours is larger (bytes).
const MAX_MASTER: u64 = 1 << 20;

/// A playlist that is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// The master.
    Master,
    /// The list of this captions file, relative to the asset's folder.
    Captions(String),
}

impl Made {
    /// What is to be made for a path that [`Output::at`] has let pass.
    pub(crate) fn at(path: &str) -> Option<Self> {
        if path == "master.m3u8" {
            return Some(Self::Master);
        }
        let name = path.strip_suffix(".m3u8").filter(|name| name.starts_with("captions/"))?;
        Some(Self::Captions(format!("{name}.vtt")))
    }

    /// Its text.
    pub(crate) async fn text(&self, app: &App, asset: &AssetId, generation: u32) -> Result<String, Problem> {
        let (s3, bucket) = (&app.context.clients.s3, &app.context.config.outputs_bucket);
        match self {
            Self::Master => {
                let key = key(asset, generation, "master.m3u8");
                let stored = loop {
                    match fetch(s3, bucket, &key, MAX_MASTER).await {
                        // It was written between two looks at it, which happens once in its life.
                        Err(ObjectError::Changed { .. }) => {}
                        read => break read.map_err(absent)?.0,
                    }
                };
                let captions = app.catalog.captions(asset).await?;
                let named = captions.into_iter().map(|captions| Subtitles {
                    uri: format!("{}.m3u8", captions.name.trim_end_matches(".vtt")),
                    language: captions.language,
                    label: captions.label,
                });
                Ok(with_subtitles(&String::from_utf8_lossy(&stored), &named.collect::<Vec<_>>()))
            }
            Self::Captions(file) => {
                head(s3, bucket, &key(asset, generation, file), None).await.map_err(absent)?;
                let asset = app.catalog.asset(asset).await?.ok_or_else(Problem::not_found)?;
                // Where no length is known before the end, none is longer than what is taken at all.
                let longest = app.context.config.limits.max_duration_s.saturating_mul(1_000);
                let length = asset.duration_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(longest);
                Ok(captions_list(file.trim_start_matches("captions/"), length))
            }
        }
    }
}

/// The answer to GET and HEAD. A range is not looked at: the whole is always a right answer.
pub(crate) fn answer(text: String, output: Output, ended: bool, asked: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&text)[..16]));
    let known = is_known(asked, &etag);
    let mut headers = HeaderMap::from_iter([
        (header::CACHE_CONTROL, HeaderValue::from_static(output.cache_control(ended))),
        (header::CONTENT_TYPE, HeaderValue::from_static(output.content_type)),
    ]);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    (headers, Body::from(text)).into_response()
}

fn absent(error: ObjectError) -> Problem {
    match error {
        ObjectError::Gone { .. } => Problem::not_found(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_masters_and_captions_are_made() {
        assert_eq!(Made::at("master.m3u8"), Some(Made::Master));
        assert_eq!(Made::at("captions/de-0f.m3u8"), Some(Made::Captions("captions/de-0f.vtt".into())));
        for stored in ["720p.m3u8", "captions/de-0f.vtt", "t/captions/de.m3u8", "a/master.m3u8"] {
            assert_eq!(Made::at(stored), None, "{stored}");
        }
    }
}
