//! GET and HEAD: versions, conditions, ranges, parts by number.

use std::sync::Arc;

use http::HeaderMap;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, dto::*};

use super::{
    Store,
    blob_stream::Extent,
    digest::fill_sums,
    error::Fault,
    objects::{refuse_customer_key, stamp, strong},
    rows::{self, BucketRow, ObjectRow},
};
use crate::timestamp::epoch_ms;

/// The version a read asks for, with S3's answers for markers and absence.
pub(super) fn find(
    conn: &rusqlite::Connection,
    bucket: &BucketRow,
    key: &str,
    version: Option<&str>,
) -> Result<ObjectRow, Fault> {
    let found = match version {
        None => rows::latest(conn, &bucket.name, key)?,
        Some(version) => rows::by_version(conn, &bucket.name, key, version)?,
    };
    let Some(row) = found else {
        return Err(match version {
            None => Fault::no_such_key(),
            Some(_) => Fault::new(S3ErrorCode::NoSuchVersion, "The specified version does not exist."),
        });
    };
    if !row.marker {
        return Ok(row);
    }
    let mut fault = match version {
        None => Fault::no_such_key(),
        Some(_) => {
            Fault::new(S3ErrorCode::MethodNotAllowed, "The specified method is not allowed against this resource.")
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", http::HeaderValue::from_static("true"));
    if let Ok(value) = row.version.parse() {
        headers.insert("x-amz-version-id", value);
    }
    fault.0.set_headers(headers);
    Err(fault)
}

/// Conditions of GET and HEAD in the order of RFC 9110, section 13.2.2.
pub(super) struct ReadConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    fn check(&self, row: &ObjectRow) -> Result<(), Fault> {
        // HTTP dates have whole seconds.
        let modified = row.modified / 1000;
        let seconds = |at: &Timestamp| epoch_ms(at.clone().into()) / 1000;
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !rows::holds(condition, row) => {
                return Err(Fault::precondition());
            }
            (None, Some(since)) if modified > seconds(since) => return Err(Fault::precondition()),
            _ => {}
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => rows::holds(condition, row),
            (None, Some(since)) => modified <= seconds(since),
            (None, None) => false,
        };
        if !unchanged {
            return Ok(());
        }
        let mut fault = Fault::new(S3ErrorCode::NotModified, "Not Modified");
        let mut headers = HeaderMap::new();
        if let Ok(etag) = strong(&row.etag).to_http_header() {
            headers.insert(http::header::ETAG, etag);
        }
        fault.0.set_headers(headers);
        Err(fault)
    }

    /// The same conditions of a copy on its source, where a source that is unchanged is 412, not 304.
    pub(super) fn check_source(&self, row: &ObjectRow) -> Result<(), Fault> {
        self.check(row).map_err(|_| Fault::precondition())
    }
}

/// The bytes an answer carries.
struct Span {
    range: std::ops::Range<u64>,
    /// Content-Range, when it is not the whole object.
    header: Option<String>,
}

fn span(conn: &rusqlite::Connection, row: &ObjectRow, range: Option<Range>, part: Option<i32>) -> Result<Span, Fault> {
    let range = match (range, part) {
        (None, None) => {
            return Ok(Span { range: 0..row.size, header: None });
        }
        (Some(_), Some(_)) => {
            return Err(Fault::new(
                S3ErrorCode::InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter",
            ));
        }
        (Some(range), None) => range.check(row.size).map_err(|_| {
            let mut fault = Fault::new(S3ErrorCode::InvalidRange, "The requested range is not satisfiable");
            let mut headers = HeaderMap::new();
            if let Ok(value) = format!("bytes */{}", row.size).parse() {
                headers.insert(http::header::CONTENT_RANGE, value);
            }
            fault.0.set_headers(headers);
            fault
        })?,
        (None, Some(1)) if row.parts.is_none() => 0..row.size,
        (None, Some(n)) => row.part_range(conn, n)?.filter(|_| n >= 1).ok_or_else(|| {
            Fault::custom(
                "InvalidPartNumber",
                http::StatusCode::RANGE_NOT_SATISFIABLE,
                "The requested partnumber is not satisfiable",
            )
        })?,
    };
    let header = (!range.is_empty()).then(|| format!("bytes {}-{}/{}", range.start, range.end - 1, row.size));
    Ok(Span { range, header })
}

/// Fills the fields that GET and HEAD share.
macro_rules! describe {
    ($output:expr, $bucket:expr, $row:expr, $span:expr, $mode:expr, $part:expr) => {{
        let (row, span): (&ObjectRow, &Span) = (&$row, &$span);
        let meta = row.meta.clone();
        $output.accept_ranges = Some("bytes".to_owned());
        $output.content_length = Some((span.range.end - span.range.start).cast_signed());
        $output.content_range = span.header.clone();
        $output.content_type = Some(meta.content_type.unwrap_or_else(|| "binary/octet-stream".to_owned()));
        $output.content_encoding = meta.content_encoding;
        $output.content_disposition = meta.content_disposition;
        $output.content_language = meta.content_language;
        $output.cache_control = meta.cache_control;
        $output.expires = meta.expires.map(stamp);
        $output.website_redirect_location = meta.website_redirect;
        $output.storage_class = meta.storage_class.filter(|c| c != StorageClass::STANDARD).map(StorageClass::from);
        $output.metadata = (!meta.user.is_empty()).then(|| meta.user.into_iter().collect());
        $output.e_tag = Some(strong(&row.etag));
        $output.last_modified = Some(stamp(row.modified));
        $output.version_id = $bucket.shown(&row.version);
        $output.parts_count = $part.and(row.parts);
        // A checksum says something about the whole object only.
        if $mode.is_some() && span.header.is_none() {
            fill_sums!($output, row.sums);
            $output.checksum_type = row.sums.kind();
        }
    }};
}

pub(crate) async fn get(store: &Arc<Store>, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let input = req.input;
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let conditions = ReadConditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    let name = format!("{}/{}", input.bucket, input.key);
    let (part, mode) = (input.part_number, input.checksum_mode);
    let (bucket, row, span, extents): (BucketRow, ObjectRow, Span, Vec<Extent>) = store
        .state
        .db
        .read(move |conn| {
            let bucket = rows::bucket(conn, &input.bucket)?;
            let row = find(conn, &bucket, &input.key, input.version_id.as_deref())?;
            conditions.check(&row)?;
            let span = span(conn, &row, input.range, input.part_number)?;
            let extents = row.extents(conn, span.range.clone())?;
            Ok::<_, Fault>((bucket, row, span, extents))
        })
        .await?;
    let mut output = GetObjectOutput::default();
    describe!(output, bucket, row, span, mode, part);
    output.tag_count = (!row.tags.is_empty()).then(|| i32::try_from(row.tags.len()).unwrap_or(i32::MAX));
    let stats = Arc::clone(&store.stats);
    let stream = store.blobs.read(extents, move |bytes| stats.served(&name, bytes));
    output.body = Some(StreamingBlob::new(stream));
    Ok(S3Response::new(output))
}

pub(crate) async fn head(store: &Store, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = req.input;
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let conditions = ReadConditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    let (part, mode) = (input.part_number, input.checksum_mode);
    let (bucket, row, span) = store
        .state
        .db
        .read(move |conn| {
            let bucket = rows::bucket(conn, &input.bucket)?;
            let row = find(conn, &bucket, &input.key, input.version_id.as_deref())?;
            conditions.check(&row)?;
            let span = span(conn, &row, input.range, input.part_number)?;
            Ok::<_, Fault>((bucket, row, span))
        })
        .await?;
    let mut output = HeadObjectOutput::default();
    describe!(output, bucket, row, span, mode, part);
    let mut response = S3Response::new(output);
    if span.header.is_some() {
        response.status = Some(http::StatusCode::PARTIAL_CONTENT);
    }
    Ok(response)
}
