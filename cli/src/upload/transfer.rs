//! One file's way to S3: parts in parallel, each with its SHA-256, straight to pre-signed URLs.
//!
//! Guarantees:
//! - URLs are signed late and in small batches; one that expired is signed again, and a part that S3 has with the same
//!   SHA-256 is not sent again;
//! - there is no limit on the whole: only a part of which nothing moves for [`STALL`] is given up and tried again, with
//!   full jitter;
//! - what is completed is what the file was when the upload began: every part's sum is signed, the sum of sums is
//!   compared by the gateway, and a file that changes meanwhile ends the upload.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::io::ReaderStream;

use super::client::{Api, ApiError, SignedPart, Upload};
use super::resume::LocalFile;
use crate::http_client::{Body, empty};

/// Parts of one file on their way at once.
const PARALLEL: usize = 4;
/// URLs signed by one call at most: they are used within minutes.
const BATCH: usize = 4;
/// Nothing moved for so long: the connection is dead.
const STALL: Duration = Duration::from_secs(30);
/// Tries of one part.
const TRIES: u32 = 10;
const BUFFER: usize = 256 << 10;

/// Told how many bytes are at S3 or on their way there.
pub trait Moved: Send + Sync {
    /// So many more.
    fn forth(&self, bytes: u64);
    /// A try failed: so many fewer.
    fn back(&self, bytes: u64);
}

/// Sends what S3 does not have. Returns the SHA-256 over the SHA-256 of all parts, for an upload in parts.
pub async fn send(
    api: &Api,
    file: &LocalFile,
    upload: &Upload,
    moved: &Arc<dyn Moved>,
) -> anyhow::Result<Option<String>> {
    let parts: Vec<Part> = Part::all(file.size, upload);
    let todo = Mutex::new(parts.iter());
    let sums = Mutex::new(vec![[0; 32]; parts.len()]);
    let transfer = Transfer { api, file, upload, moved };
    let lanes = futures::stream::iter(0..PARALLEL.min(parts.len())).map(|_| async {
        loop {
            let batch: Vec<Part> = {
                let mut todo = todo.lock().await;
                let size = (todo.len() / (2 * PARALLEL)).clamp(1, BATCH);
                todo.by_ref().take(size).copied().collect()
            };
            if batch.is_empty() {
                return anyhow::Ok(());
            }
            for (n, sum) in transfer.batch(&batch).await? {
                if let Some(slot) = sums.lock().await.get_mut(usize::from(n) - 1) {
                    *slot = sum;
                }
            }
        }
    });
    lanes.buffer_unordered(PARALLEL).try_collect::<()>().await?;
    file.unchanged()?;
    let whole = Sha256::digest(sums.into_inner().concat());
    Ok((upload.mode == "multipart").then(|| STANDARD.encode(whole)))
}

/// A span of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    n: u16,
    start: u64,
    len: u64,
}

impl Part {
    fn all(size: u64, upload: &Upload) -> Vec<Self> {
        let each = upload.part_size.max(1);
        let span = |n: u16| {
            let start = u64::from(n - 1) * each;
            Self { n, start, len: size.saturating_sub(start).min(each) }
        };
        (1..=upload.parts_total).map(span).collect()
    }
}

struct Transfer<'t> {
    api: &'t Api,
    file: &'t LocalFile,
    upload: &'t Upload,
    moved: &'t Arc<dyn Moved>,
}

/// What became of one try.
enum Sent {
    Done,
    /// The URL is too old: sign again.
    Expired,
    /// Try again.
    Failed(anyhow::Error),
}

impl Transfer<'_> {
    /// Sums, signs and sends a few parts.
    async fn batch(&self, parts: &[Part]) -> anyhow::Result<Vec<(u16, [u8; 32])>> {
        let mut sums = Vec::with_capacity(parts.len());
        let mut wanted = Vec::new();
        for part in parts {
            let sum = self.sum(*part).await?;
            sums.push((part.n, sum));
            let sha256 = STANDARD.encode(sum);
            if self.has(*part, &sha256) {
                self.moved.forth(part.len);
            } else {
                wanted.push((*part, sha256));
            }
        }
        if wanted.is_empty() {
            return Ok(sums);
        }
        let request: Vec<_> = wanted.iter().map(|(part, sum)| (part.n, part.len, sum.clone())).collect();
        let signed = self.api.sign(&self.upload.id, &request).await?;
        for (part, sum) in wanted {
            let url = signed
                .iter()
                .find(|signed| signed.n == part.n)
                .with_context(|| format!("no URL came for part {}", part.n))?;
            self.deliver(part, &sum, url.clone()).await?;
        }
        Ok(sums)
    }

    fn has(&self, part: Part, sha256: &str) -> bool {
        let arrived = self.upload.parts.iter().find(|arrived| arrived.n == part.n);
        arrived.is_some_and(|arrived| arrived.size == part.len && arrived.sha256.as_deref() == Some(sha256))
    }

    async fn sum(&self, part: Part) -> anyhow::Result<[u8; 32]> {
        let mut bytes = ReaderStream::with_capacity(span(&self.file.path, part).await?, BUFFER);
        let (mut sum, mut read) = (Sha256::new(), 0);
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk.with_context(|| format!("{} can't be read", self.file.path.display()))?;
            read += chunk.len() as u64;
            sum.update(&chunk);
        }
        anyhow::ensure!(read == part.len, "{} changed while it was uploaded", self.file.path.display());
        Ok(sum.finalize().into())
    }

    /// Sends one part until it has arrived.
    async fn deliver(&self, part: Part, sum: &str, mut signed: SignedPart) -> anyhow::Result<()> {
        let mut failures = 0;
        loop {
            let on_its_way = Arc::new(AtomicU64::new(0));
            let why = match self.put(part, &signed, &on_its_way).await? {
                Sent::Done => return Ok(()),
                Sent::Expired => {
                    signed = self.sign_again(part, sum).await?;
                    anyhow::anyhow!("S3 refuses freshly signed URLs: are the clocks right?")
                }
                Sent::Failed(error) => error,
            };
            self.moved.back(on_its_way.load(Ordering::SeqCst));
            failures += 1;
            if failures >= TRIES {
                return Err(
                    why.context(format!("part {} of {} was not taken after {TRIES} tries", part.n, self.file.name))
                );
            }
            tracing::debug!(part = part.n, failures, error = %why, "a part is sent again");
            sleep(self.api.pause(failures)).await;
            self.file.unchanged()?;
        }
    }

    async fn sign_again(&self, part: Part, sum: &str) -> Result<SignedPart, ApiError> {
        let signed = self.api.sign(&self.upload.id, &[(part.n, part.len, sum.to_owned())]).await?;
        let missing = || ApiError::Unanswered(anyhow::anyhow!("no URL came for part {}", part.n));
        signed.into_iter().next().ok_or_else(missing)
    }

    /// One PUT.
    async fn put(&self, part: Part, signed: &SignedPart, on_its_way: &Arc<AtomicU64>) -> anyhow::Result<Sent> {
        if signed.len != part.len {
            bail!("the gateway signed {} bytes for part {}, which has {}", signed.len, part.n, part.len);
        }
        let mut request = Request::builder().method(signed.method.as_str()).uri(&signed.url);
        for (name, value) in &signed.headers {
            request = request.header(name, value);
        }
        let request = request.header(header::CONTENT_LENGTH, part.len).body(self.body(part, on_its_way).await?);
        let request = request.context("the gateway signed something that is no URL")?;
        let exchange = self.api.http().fetch(request, Duration::MAX);
        let answer = tokio::select! {
            answer = exchange => answer,
            () = stalled(on_its_way) => Err(anyhow::anyhow!("nothing moved for {} s", STALL.as_secs())),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Ok(Sent::Failed(error)),
        };
        let text = String::from_utf8_lossy(answer.body());
        Ok(match verdict(answer.status(), &text) {
            Verdict::Arrived => Sent::Done,
            Verdict::SignAgain => Sent::Expired,
            Verdict::Again => Sent::Failed(anyhow::anyhow!("S3 answered {}", said(answer.status(), &text))),
            Verdict::NoRoom => bail!(
                "there is no room for it on the disk of the uploads: the same command goes on once there is ({})",
                said(answer.status(), &text)
            ),
            Verdict::Never => bail!("S3 refused part {}: {}", part.n, said(answer.status(), &text)),
        })
    }

    /// The part's bytes, read as they are sent.
    async fn body(&self, part: Part, on_its_way: &Arc<AtomicU64>) -> anyhow::Result<Body> {
        if part.len == 0 {
            return Ok(empty());
        }
        let (moved, on_its_way) = (Arc::clone(self.moved), Arc::clone(on_its_way));
        let bytes = ReaderStream::with_capacity(span(&self.file.path, part).await?, BUFFER);
        let frames = bytes.map_ok(move |chunk| {
            let more = chunk.len() as u64;
            on_its_way.fetch_add(more, Ordering::SeqCst);
            moved.forth(more);
            Frame::data(chunk)
        });
        Ok(StreamBody::new(frames).boxed_unsync())
    }
}

/// The bytes of a part.
async fn span(path: &Path, part: Part) -> anyhow::Result<tokio::io::Take<File>> {
    let cant = || format!("{} can't be read", path.display());
    let mut file = File::open(path).await.with_context(cant)?;
    file.seek(SeekFrom::Start(part.start)).await.with_context(cant)?;
    Ok(file.take(part.len))
}

/// Returns when the count has not moved for [`STALL`].
async fn stalled(count: &AtomicU64) {
    let mut before = count.load(Ordering::SeqCst);
    loop {
        sleep(STALL).await;
        let now = count.load(Ordering::SeqCst);
        if now == before {
            return;
        }
        before = now;
    }
}

/// What S3's answer to a PUT means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Arrived,
    SignAgain,
    Again,
    /// The disk there is full: more of the same changes nothing.
    NoRoom,
    Never,
}

fn verdict(status: StatusCode, body: &str) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Arrived,
        // A single PUT signs `If-None-Match: *`: the object is there, by an earlier try whose answer was lost. The
        // gateway compares its size at completion.
        412 => Verdict::Arrived,
        403 => Verdict::SignAgain,
        400 if code(body) == "ExpiredToken" => Verdict::SignAgain,
        // Damaged on its way, or the connection was too slow.
        400 if [
            "BadDigest",
            "XAmzContentSHA256Mismatch",
            "XAmzContentChecksumMismatch",
            "RequestTimeout",
            "IncompleteBody",
        ]
        .contains(&code(body)) =>
        {
            Verdict::Again
        }
        507 => Verdict::NoRoom,
        408 | 409 | 429 | 500..=599 => Verdict::Again,
        _ => Verdict::Never,
    }
}

/// The error code in S3's XML.
fn code(body: &str) -> &str {
    between(body, "<Code>", "</Code>").unwrap_or_default()
}

fn said(status: StatusCode, body: &str) -> String {
    match between(body, "<Message>", "</Message>") {
        Some(message) => format!("{status} {}: {message}", code(body)),
        None => status.to_string(),
    }
}

fn between<'b>(body: &'b str, open: &str, close: &str) -> Option<&'b str> {
    let (_, rest) = body.split_once(open)?;
    Some(rest.split_once(close)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file() {
        let upload = |part_size, parts_total| Upload {
            id: String::new(),
            asset: String::new(),
            state: "open".into(),
            mode: "multipart".into(),
            part_size,
            parts_total,
            parts: Vec::new(),
        };
        let parts = Part::all(20, &upload(8, 3));
        assert_eq!(parts.iter().map(|p| (p.n, p.start, p.len)).collect::<Vec<_>>(), [(1, 0, 8), (2, 8, 8), (3, 16, 4)]);
        assert_eq!(Part::all(5, &upload(5, 1)), [Part { n: 1, start: 0, len: 5 }]);
    }

    #[test]
    fn answers_mean_what_s3_documents() {
        let error = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let of = |status: u16, code: &str| verdict(StatusCode::from_u16(status).unwrap(), &error(code));
        assert_eq!(of(200, ""), Verdict::Arrived);
        assert_eq!(of(412, "PreconditionFailed"), Verdict::Arrived);
        assert_eq!(of(403, "AccessDenied"), Verdict::SignAgain);
        assert_eq!(of(400, "ExpiredToken"), Verdict::SignAgain);
        assert_eq!(of(400, "BadDigest"), Verdict::Again);
        assert_eq!(of(503, "SlowDown"), Verdict::Again);
        assert_eq!(of(507, "InsufficientStorage"), Verdict::NoRoom);
        assert_eq!(of(404, "NoSuchUpload"), Verdict::Never);
        assert_eq!(of(400, "InvalidArgument"), Verdict::Never);
        assert_eq!(said(StatusCode::NOT_FOUND, &error("NoSuchUpload")), "404 Not Found NoSuchUpload: m");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_connection_is_noticed_and_a_slow_one_is_not() {
        let count = AtomicU64::new(0);
        let began = tokio::time::Instant::now();
        stalled(&count).await;
        assert_eq!(began.elapsed(), STALL);
        let slow = async {
            for _ in 0..5 {
                sleep(STALL - Duration::from_secs(1)).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        tokio::select! {
            () = stalled(&count) => panic!("it moved"),
            () = slow => {}
        }
    }
}
