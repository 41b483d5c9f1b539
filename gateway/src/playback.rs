//! `/p/{token}/…`: playlists, segments and pictures, to whoever holds a token.
//!
//! Playlists that are no objects are made by [`crate::playlists`].
//!
//! Guarantees: the token is checked and the asset's state read for every request, so a deleted asset is gone at once, and
//! so is, for strangers, one that its owner makes private;
//! bodies are streamed from S3 and never held whole; a body that falls silent is cut, so that the client asks again.
//! Any web page may play (CORS `*`): the token is the right, no cookie is involved.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::error::{DisplayErrorContext, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use reelfleet_access::{Grant, TokenError};
use reelfleet_domain::AssetState;
use reelfleet_messages::AssetId;
use reelfleet_telemetry::ObjectBytes;

use crate::app::App;
use crate::caller::text_of;
use crate::outputs::{Output, key};
use crate::playlists::{self, Made};
use crate::problem::{Code, Problem};
use crate::range;

/// Longest silence within a body.
const STALL: Duration = Duration::from_secs(30);

/// A request that may be answered.
struct Admitted {
    asset: AssetId,
    generation: u32,
    /// What is made rather than read.
    made: Option<Made>,
    bucket: String,
    key: String,
    output: Output,
    /// Whether nothing is written any more.
    ended: bool,
    if_none_match: Option<String>,
}

/// GET, of the whole or of a range.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Path((token, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let admitted = admit(&app, &token, &path, &headers).await?;
    if let Some(made) = &admitted.made {
        return admitted.answer(&app, made, &headers).await;
    }
    // If-Range (RFC 9110 section 13.1.5) is not compared here: the whole is always a right answer.
    let asked = text_of(&headers, header::RANGE.as_str()).filter(|_| !headers.contains_key(header::IF_RANGE));
    let range = asked.and_then(range::of);
    if range.as_deref() == Some(range::NOTHING) {
        return Err(Problem::new(Code::RangeNotSatisfiable, "no byte is asked for"));
    }
    let sent = app
        .context
        .clients
        .s3
        .get_object()
        .bucket(&admitted.bucket)
        .key(&admitted.key)
        .set_range(range)
        .set_if_none_match(admitted.if_none_match.clone())
        .send()
        .await;
    let object = match sent {
        Ok(object) => object,
        Err(error) => return refused(&admitted, &error),
    };
    let facts = Facts { length: object.content_length, range: object.content_range, etag: object.e_tag };
    ObjectBytes { op: "read", bytes: facts.length.unwrap_or(0).unsigned_abs() }.emit();
    let (status, headers) = facts.head(&admitted);
    Ok((status, headers, Body::from_stream(chunks(object.body))).into_response())
}

/// HEAD, of the whole: ranges are defined for GET alone (RFC 9110 section 14.2).
pub(crate) async fn head(
    State(app): State<Arc<App>>,
    Path((token, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let admitted = admit(&app, &token, &path, &headers).await?;
    if let Some(made) = &admitted.made {
        return Ok(admitted.answer(&app, made, &headers).await?.map(|_| Body::empty()));
    }
    let sent = app
        .context
        .clients
        .s3
        .head_object()
        .bucket(&admitted.bucket)
        .key(&admitted.key)
        .set_if_none_match(admitted.if_none_match.clone())
        .send()
        .await;
    let object = match sent {
        Ok(object) => object,
        Err(error) => return refused(&admitted, &error),
    };
    let facts = Facts { length: object.content_length, range: object.content_range, etag: object.e_tag };
    Ok(facts.head(&admitted).into_response())
}

/// OPTIONS: what a page of another origin may send.
pub(crate) async fn options() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "range, if-none-match"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (header::ALLOW, "GET, HEAD, OPTIONS"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Opens every answer, errors too, to pages of any origin.
pub(crate) async fn for_any_origin(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "content-length, content-range, etag, x-request-id"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn admit(app: &App, token: &str, path: &str, headers: &HeaderMap) -> Result<Admitted, Problem> {
    let grant = app.options.playback.check(app.now(), token);
    let Grant { asset, generation, open, .. } = grant.map_err(|error| match error {
        TokenError::Invalid => Problem::new(Code::TokenInvalid, "ask for the asset again"),
        TokenError::Expired => Problem::new(Code::TokenExpired, "ask for the asset again"),
    })?;
    let output = Output::at(path).ok_or_else(Problem::not_found)?;
    let (state, is_open) = app.catalog.asset_state(&asset).await?.ok_or_else(Problem::not_found)?;
    if matches!(state, AssetState::Deleting | AssetState::Deleted) {
        return Err(Problem::new(Code::AssetGone, "its objects are gone, or going"));
    }
    if open && !is_open {
        return Err(Problem::new(
            Code::TokenExpired,
            "its owner has closed it to strangers since: ask for the asset again",
        ));
    }
    // Captions that were taken away or replaced are not there any more, whoever knows their name.
    if path.starts_with("captions/") {
        let file = path.strip_suffix(".m3u8").map_or(path.to_owned(), |name| format!("{name}.vtt"));
        if !app.catalog.captions(&asset).await?.iter().any(|captions| captions.name == file) {
            return Err(Problem::not_found());
        }
    }
    let of = |name: HeaderName| text_of(headers, name.as_str()).map(str::to_owned);
    Ok(Admitted {
        asset,
        generation,
        made: Made::at(path),
        bucket: app.context.config.outputs_bucket.clone(),
        key: key(&asset, generation, path),
        output,
        ended: state == AssetState::Ready,
        if_none_match: of(header::IF_NONE_MATCH),
    })
}

impl Admitted {
    async fn answer(&self, app: &App, made: &Made, headers: &HeaderMap) -> Result<Response, Problem> {
        let text = made.text(app, &self.asset, self.generation).await?;
        Ok(playlists::answer(text, self.output, self.ended, headers))
    }
}

struct Facts {
    length: Option<i64>,
    range: Option<String>,
    etag: Option<String>,
}

impl Facts {
    fn head(self, admitted: &Admitted) -> (StatusCode, HeaderMap) {
        let status = if self.range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let mut headers = cached(admitted);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(admitted.output.content_type));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(length) = self.length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        let texts = [(header::CONTENT_RANGE, self.range), (header::ETAG, self.etag)];
        for (name, value) in texts {
            if let Some(value) = value.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(name, value);
            }
        }
        (status, headers)
    }
}

fn cached(admitted: &Admitted) -> HeaderMap {
    let value = admitted.output.cache_control(admitted.ended);
    HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(value))])
}

/// S3's refusals that a player has to see, and the rest as ours.
fn refused<E>(admitted: &Admitted, error: &SdkError<E>) -> Result<Response, Problem>
where
    E: std::error::Error + 'static,
{
    let raw = error.raw_response();
    match raw.map(|raw| raw.status().as_u16()) {
        Some(304) => {
            let mut headers = cached(admitted);
            let etag = raw.and_then(|raw| raw.headers().get("etag"));
            if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
                headers.insert(header::ETAG, etag);
            }
            Ok((StatusCode::NOT_MODIFIED, headers).into_response())
        }
        Some(404) => Err(Problem::not_found()),
        Some(416) => Err(Problem::new(Code::RangeNotSatisfiable, "the object is shorter")),
        _ => {
            let error = DisplayErrorContext(error);
            tracing::warn!(key = admitted.key, %error, "an output could not be read");
            Err(Problem::new(Code::Unavailable, "try again in a moment"))
        }
    }
}

type Chunk = Result<axum::body::Bytes, std::io::Error>;

fn chunks(body: ByteStream) -> impl futures::Stream<Item = Chunk> {
    futures::stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match tokio::time::timeout(STALL, body.next()).await {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(body))),
            Ok(Some(Err(error))) => Some((Err(std::io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(std::io::ErrorKind::TimedOut.into()), None)),
        }
    })
}
