//! `/v1/uploads`: reserve, sign, complete, abort.
//!
//! Guarantees: S3 is the memory of what has arrived (ListParts), so any device and any gateway goes on where another
//! stopped; every step may be repeated; an upload of somebody else does not exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelfleet_access::principal::valid_name;
use reelfleet_access::{Principal, Scope};
use reelfleet_catalog::CatalogError;
use reelfleet_catalog::uploads::Upload;
use reelfleet_domain::upload::parts_total;
use reelfleet_fleet::trace;
use reelfleet_messages::trace::TraceParent;
use reelfleet_messages::{AssetId, UploadId};
use reelfleet_objects::{MAX_EXPIRY, ObjectError, ObjectHead, Part, PutTerms, head};
use reelfleet_telemetry::trace::link;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::{App, rfc3339};
use crate::caller::{Caller, Payload};
use crate::estimates;
use crate::front::TRACEPARENT;
use crate::limits;
use crate::problem::{Code, Problem};
use crate::upload_rules::{
    Announced, MAX_BATCH, NewUpload, WantedPart, check_composite, check_parts, check_sums, idempotency_key,
};

/// The one kind of checksum that an upload can be announced with.
const SHA256: &str = "sha256";

/// Open uploads shown at once.
const LISTED: i64 = 100;

/// Reserves an upload. With an Idempotency-Key, a repeated request finds the first one's.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Payload(mut asked): Payload<NewUpload>,
) -> Result<Response, Problem> {
    let principal = caller.with(Scope::UploadsWrite)?;
    let request_key = idempotency_key(headers.get("idempotency-key"))?;
    let known = asked.known();
    let announced = asked.check(&app.context.config.policy(&principal.tenant))?;
    if let Some(key) = request_key
        && let Some(first) = find_request(&app, &principal, key).await?
    {
        return repeated(&app, &first, &announced).await;
    }
    limits::check_room(&app, &principal.tenant, announced.size).await?;
    let estimate = estimates::of(&app, announced.size, &announced.content_type, &known).await?;
    let upload = Upload { traceparent: trace_of(&headers), ..plan(&app, &principal, &announced, request_key)? };
    let upload = begin(&app, upload, announced.sha256).await?;
    match app.catalog.reserve_upload(&app.context.step(), &upload).await {
        Ok(()) => {}
        Err(CatalogError::Conflict { .. }) if request_key.is_some() => {
            // The same request, sent twice at once, and the other one won.
            discard(&app, &upload).await;
            let first = find_request(&app, &principal, request_key.unwrap_or_default()).await?;
            let first = first.ok_or_else(|| Problem::internal("a taken request key names no upload"))?;
            return repeated(&app, &first, &announced).await;
        }
        Err(error) => {
            // Whether the row is there is not known: what it names is aborted when it expires.
            if !matches!(error, CatalogError::Unavailable(_)) {
                discard(&app, &upload).await;
            }
            return Err(error.into());
        }
    }
    let location = format!("/v1/uploads/{}", upload.id);
    let mut body = shown(&upload, Some(&[]));
    body["estimate"] = estimate;
    let body = Json(body);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body).into_response())
}

/// The trace that what lands goes on with: this request's, or the caller's where no spans are sent.
fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    let callers = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    trace::going_on(callers.and_then(|text| TraceParent::try_from(text.to_owned()).ok()).as_ref())
}

/// The row of a new upload: id, asset and key are ours, tenant and owner the key's.
fn plan(app: &App, principal: &Principal, announced: &Announced, request_key: Option<&str>) -> Result<Upload, Problem> {
    let Principal { tenant, owner, .. } = principal;
    if !valid_name(tenant) || !valid_name(owner) {
        return Err(Problem::internal(format!("{tenant:?}/{owner:?} can't stand in an object key")));
    }
    let route = app.context.config.uploads.first();
    let bucket = route.ok_or_else(|| Problem::internal("no upload bucket"))?.bucket.clone();
    let id = UploadId::from_uuid(app.context.ids.uuid());
    let now = app.now();
    Ok(Upload {
        id,
        tenant: tenant.clone(),
        owner: owner.clone(),
        asset: AssetId::from_uuid(app.context.ids.uuid()),
        bucket,
        key: format!("in/{tenant}/{owner}/{id}/source"),
        name: announced.name.clone(),
        content_type: announced.content_type.clone(),
        size: signed(announced.size)?,
        part_size: announced.part_size.map(signed).transpose()?,
        s3_upload_id: None,
        fingerprint: announced.fingerprint.clone(),
        request_key: request_key.map(str::to_owned),
        checksum: announced.sha256.then(|| SHA256.to_owned()),
        traceparent: None,
        state: "open".to_owned(),
        created_at: now,
        expires_at: now.saturating_add(app.options.upload_ttl_ms),
    })
}

/// Begins the multipart upload, where one is needed.
async fn begin(app: &App, mut upload: Upload, sha256: bool) -> Result<Upload, Problem> {
    if upload.part_size.is_some() {
        let multipart = app.multipart(&upload.bucket);
        let id = multipart.create(&upload.key, &upload.content_type, sha256).await?;
        upload.s3_upload_id = Some(id);
    }
    Ok(upload)
}

/// Throws away a multipart upload that no row names. If that fails, the bucket's lifecycle rule does it.
async fn discard(app: &App, upload: &Upload) {
    if let Some(id) = &upload.s3_upload_id
        && let Err(error) = app.multipart(&upload.bucket).abort(&upload.key, id).await
    {
        tracing::warn!(%error, "a multipart upload that nobody needs was not aborted");
    }
}

async fn find_request(app: &App, principal: &Principal, key: &str) -> Result<Option<Upload>, Problem> {
    Ok(app.catalog.upload_of_request(&principal.tenant, &principal.owner, key).await?)
}

/// The answer to a repeated request; the body must be the first one's.
async fn repeated(app: &App, first: &Upload, announced: &Announced) -> Result<Response, Problem> {
    let same = first.name == announced.name
        && u64::try_from(first.size) == Ok(announced.size)
        && first.content_type == announced.content_type
        && first.fingerprint == announced.fingerprint
        && first.checksum.is_some() == announced.sha256;
    if !same {
        let detail = "the first request with this key had another body";
        return Err(Problem::new(Code::IdempotencyKeyReused, detail));
    }
    let parts = arrived(app, first).await?;
    Ok(Json(shown(first, parts.as_deref())).into_response())
}

/// The caller's open uploads: any device may go on.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let principal = caller.with(Scope::UploadsWrite)?;
    let open = app.catalog.open_uploads(&principal.tenant, &principal.owner, LISTED).await?;
    let uploads: Vec<Value> = open.iter().map(|upload| shown(upload, None)).collect();
    Ok(Json(json!({ "uploads": uploads })))
}

/// One upload, and what S3 has of it.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let upload = own(&app, &caller.with(Scope::UploadsWrite)?, &id).await?;
    let parts = arrived(&app, &upload).await?;
    Ok(Json(shown(&upload, parts.as_deref())))
}

#[derive(Deserialize)]
pub(crate) struct WantedParts {
    parts: Vec<WantedPart>,
}

#[derive(Serialize)]
pub(crate) struct SignedPart {
    n: u16,
    len: u64,
    method: String,
    url: String,
    /// To send exactly so; Content-Length (`len`) comes from the body by itself.
    headers: BTreeMap<String, String>,
    expires_at: String,
}

/// URLs for a few parts: each signs the exact length, and the SHA-256 where it is given. A single PUT is part 1.
pub(crate) async fn sign_parts(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Payload(wanted): Payload<WantedParts>,
) -> Result<Json<Vec<SignedPart>>, Problem> {
    let upload = own(&app, &caller.with(Scope::UploadsWrite)?, &id).await?;
    must_be_open(&app, &upload)?;
    if wanted.parts.is_empty() || wanted.parts.len() > MAX_BATCH {
        let detail = format!("parts holds 1 to {MAX_BATCH} entries");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let now = app.now();
    let mut urls = Vec::with_capacity(wanted.parts.len());
    for part in &wanted.parts {
        let (size, part_size) = (upload.size.unsigned_abs(), upload.part_size.map(i64::unsigned_abs));
        let len = part.check(size, part_size, upload.checksum.is_some())?;
        let signed = match &upload.s3_upload_id {
            Some(s3_id) => {
                let sum = part.sha256.as_deref();
                let (bucket, key) = (&upload.bucket, &upload.key);
                app.presigner.upload_part(bucket, key, s3_id, part.n, len, sum, MAX_EXPIRY).await?
            }
            None => {
                let terms = PutTerms {
                    content_length: len,
                    content_type: upload.content_type.clone(),
                    sha256: part.sha256.clone(),
                };
                app.presigner.put(&upload.bucket, &upload.key, &terms, MAX_EXPIRY).await?
            }
        };
        let lives = i64::try_from(signed.expires_in.as_millis()).unwrap_or(0);
        // Browsers set these two themselves and refuse to be told.
        let own = |name: &str| matches!(name, "content-length" | "host");
        urls.push(SignedPart {
            n: part.n,
            len,
            method: signed.method,
            url: signed.url,
            headers: signed.headers.into_iter().filter(|(name, _)| !own(name)).collect(),
            expires_at: rfc3339(now.saturating_add(lives)),
        });
    }
    Ok(Json(urls))
}

#[derive(Deserialize)]
pub(crate) struct Completion {
    sha256_of_parts: Option<String>,
}

/// Completes: count, sizes and sums are those that were announced. May be repeated.
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Payload(said): Payload<Completion>,
) -> Result<Json<Value>, Problem> {
    let upload = own(&app, &caller.with(Scope::UploadsWrite)?, &id).await?;
    match upload.state.as_str() {
        "completed" | "landed" => return Ok(Json(completed(&upload))),
        "open" => {}
        _ => return Err(ended(&upload)),
    }
    match (&upload.s3_upload_id, upload.part_size) {
        (Some(s3_id), Some(part_size)) => {
            complete_parts(&app, &upload, s3_id, part_size.unsigned_abs(), &said).await?;
        }
        _ => one_put(&app, &upload, &said).await?,
    }
    app.catalog.close_upload(&app.context.step(), &upload.id, "completed").await?;
    Ok(Json(completed(&upload)))
}

async fn complete_parts(
    app: &App,
    upload: &Upload,
    s3_id: &str,
    part_size: u64,
    said: &Completion,
) -> Result<(), Problem> {
    let multipart = app.multipart(&upload.bucket);
    let parts = match multipart.list_parts(&upload.key, s3_id).await {
        Ok(parts) => parts,
        // Completed before, by a request whose answer was lost: then the object is there.
        Err(ObjectError::NoUpload { .. }) => return whole_object(app, upload).await.map(drop),
        Err(error) => return Err(error.into()),
    };
    check_parts(upload.size.unsigned_abs(), part_size, &parts)?;
    if upload.checksum.is_some() {
        check_sums(&parts)?;
    }
    if let Some(sum) = &said.sha256_of_parts {
        check_composite(sum, &parts)?;
    }
    match multipart.complete(&upload.key, s3_id, &parts).await {
        Ok(_) => Ok(()),
        Err(ObjectError::NoUpload { .. } | ObjectError::Precondition { .. }) => {
            whole_object(app, upload).await.map(drop)
        }
        Err(ObjectError::Refused { code, message, .. }) => {
            Err(Problem::new(Code::UploadMismatch, format!("S3 refused the parts: {code}: {message}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the object of a single PUT is there, whole, and with the sums that were promised: it counts as one part.
async fn one_put(app: &App, upload: &Upload, said: &Completion) -> Result<(), Problem> {
    let found = whole_object(app, upload).await?;
    let part = [Part { number: 1, size: found.size, etag: found.etag, sha256: found.sha256 }];
    if upload.checksum.is_some() {
        check_sums(&part)?;
    }
    match &said.sha256_of_parts {
        Some(sum) => check_composite(sum, &part),
        None => Ok(()),
    }
}

/// The object, if it is there, whole.
async fn whole_object(app: &App, upload: &Upload) -> Result<ObjectHead, Problem> {
    match head(&app.context.clients.s3, &upload.bucket, &upload.key, None).await {
        Ok(found) if i64::try_from(found.size) == Ok(upload.size) => Ok(found),
        Ok(found) => {
            let detail = format!("the object has {} bytes, {} were announced", found.size, upload.size);
            Err(Problem::new(Code::UploadMismatch, detail))
        }
        Err(ObjectError::Gone { .. }) if upload.s3_upload_id.is_some() => {
            Err(Problem::new(Code::UploadEnded, "S3 has discarded the upload: begin again"))
        }
        Err(ObjectError::Gone { .. }) => Err(Problem::new(Code::UploadIncomplete, "the object has not arrived")),
        Err(error) => Err(error.into()),
    }
}

/// Aborts. May be repeated; one that is complete is an asset by now.
pub(crate) async fn abort(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let principal = caller.with(Scope::UploadsWrite)?;
    let upload = own(&app, &principal, &id).await?;
    match upload.state.as_str() {
        "aborted" => return Ok(StatusCode::NO_CONTENT),
        "open" => {}
        _ => return Err(ended(&upload)),
    }
    // S3 first: it decides between this and a completion under way, and a failure leaves an upload to abort again.
    if let Some(s3_id) = &upload.s3_upload_id {
        app.multipart(&upload.bucket).abort(&upload.key, s3_id).await?;
    }
    match head(&app.context.clients.s3, &upload.bucket, &upload.key, None).await {
        Ok(_) => return Err(ended(&upload)),
        Err(ObjectError::Gone { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if app.catalog.close_upload(&app.context.step(), &upload.id, "aborted").await? {
        // A link that was signed before may still be used: what lands by it is removed by intake.
        return Ok(StatusCode::NO_CONTENT);
    }
    let now = own(&app, &principal, &id).await?;
    if now.state == "aborted" { Ok(StatusCode::NO_CONTENT) } else { Err(ended(&now)) }
}

/// The upload, if it is the caller's.
pub(crate) async fn own(app: &App, principal: &Principal, id: &str) -> Result<Upload, Problem> {
    let id: UploadId = id.parse().map_err(|_| Problem::not_found())?;
    let upload = app.catalog.upload(&id).await?;
    let own =
        upload.filter(|upload| principal.controls(&upload.tenant, &upload.owner)).ok_or_else(Problem::not_found)?;
    // A later request about it may be another trace.
    if let Some(begun) = &own.traceparent {
        link(begun.as_str());
    }
    Ok(own)
}

fn must_be_open(app: &App, upload: &Upload) -> Result<(), Problem> {
    if upload.state != "open" {
        return Err(ended(upload));
    }
    if upload.expires_at < app.now() {
        return Err(Problem::new(Code::UploadExpired, "begin again"));
    }
    Ok(())
}

pub(crate) fn ended(upload: &Upload) -> Problem {
    let detail = match upload.state.as_str() {
        "aborted" => "it was aborted: begin again".to_owned(),
        _ => format!("it is complete: see /v1/assets/{}", upload.asset),
    };
    Problem::new(Code::UploadEnded, detail)
}

/// The parts that S3 has, of an open upload in parts.
async fn arrived(app: &App, upload: &Upload) -> Result<Option<Vec<Part>>, Problem> {
    match &upload.s3_upload_id {
        Some(s3_id) if upload.state == "open" => {
            match app.multipart(&upload.bucket).list_parts(&upload.key, s3_id).await {
                Ok(parts) => Ok(Some(parts)),
                Err(ObjectError::NoUpload { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        _ => Ok(None),
    }
}

fn completed(upload: &Upload) -> Value {
    let mut shown = shown(upload, None);
    shown["state"] = "completed".into();
    shown
}

/// An upload as the API shows it. The bucket and S3's own id stay inside.
pub(crate) fn shown(upload: &Upload, parts: Option<&[Part]>) -> Value {
    let (size, part_size) = (upload.size.unsigned_abs(), upload.part_size.map(i64::unsigned_abs));
    let mut shown = json!({
        "id": upload.id.to_string(),
        "asset": upload.asset.to_string(),
        "state": upload.state,
        "mode": if part_size.is_some() { "multipart" } else { "single" },
        "name": upload.name,
        "size": size,
        "type": upload.content_type,
        "checksum": upload.checksum,
        "fingerprint": upload.fingerprint,
        "part_size": part_size.unwrap_or(size),
        "parts_total": parts_total(size, part_size.unwrap_or(size)),
        "created_at": rfc3339(upload.created_at),
        "expires_at": rfc3339(upload.expires_at),
    });
    if let Some(parts) = parts {
        shown["done"] = parts.iter().map(|part| part.number).collect();
        shown["parts"] =
            parts.iter().map(|part| json!({ "n": part.number, "size": part.size, "sha256": part.sha256 })).collect();
    }
    shown
}

fn signed(bytes: u64) -> Result<i64, Problem> {
    i64::try_from(bytes).map_err(|_| Problem::new(Code::TooLarge, "no such size"))
}
