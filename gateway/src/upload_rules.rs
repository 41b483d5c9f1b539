//! What an upload may be called, be and contain: checks before anything is reserved, and before it is completed.
//!
//! Guarantee: pure functions; a name given by a client is data for people and never part of a key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reelfleet_domain::policy::{Policy, Refusal};
use reelfleet_domain::upload::{SINGLE_PUT_BELOW, part_len, part_size, parts_total};
use reelfleet_messages::event::ReasonCode;
use reelfleet_objects::Part;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::estimates::Known;
use crate::problem::{Code, Problem};

/// Part URLs signed by one call.
pub(crate) const MAX_BATCH: usize = 16;
const MAX_NAME: usize = 255;
const MAX_FINGERPRINT: usize = 512;
const OCTETS: &str = "application/octet-stream";
/// Containers whose registered type does not begin with the kind of media.
const CONTAINERS: [&str; 6] = [
    OCTETS,
    "application/mp4",
    "application/mxf",
    "application/ogg",
    "application/vnd.rn-realmedia",
    "application/x-matroska",
];

/// `POST /v1/uploads`.
#[derive(Debug, Deserialize)]
pub(crate) struct NewUpload {
    name: String,
    size: u64,
    /// As the browser says; a hint.
    #[serde(rename = "type", default)]
    content_type: String,
    /// Epoch milliseconds, as browsers give it.
    last_modified: Option<i64>,
    fingerprint: Option<String>,
    /// `sha256`: every part will bring its SHA-256.
    checksum: Option<String>,
    /// What the client knows of it, for the estimate alone.
    known: Option<Known>,
}

/// An upload that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) content_type: String,
    pub(crate) fingerprint: Option<String>,
    pub(crate) sha256: bool,
    /// None: one PUT.
    pub(crate) part_size: Option<u64>,
}

impl NewUpload {
    /// What the client knows of it.
    pub(crate) fn known(&mut self) -> Known {
        self.known.take().unwrap_or_default()
    }

    /// Checks it all.
    pub(crate) fn check(self, policy: &Policy) -> Result<Announced, Problem> {
        let invalid = |detail: &str| Problem::new(Code::InvalidRequest, detail);
        let name = checked_name(&self.name)?;
        policy.check_size(self.size)?;
        let content_type = checked_type(&self.content_type, policy)?;
        let sha256 = match self.checksum.as_deref() {
            None => false,
            Some("sha256") => true,
            Some(_) => return Err(invalid("checksum is \"sha256\" or is left out")),
        };
        let fingerprint = match (self.fingerprint, self.last_modified) {
            (Some(text), _) if text.len() > MAX_FINGERPRINT || text.contains('\0') => {
                return Err(invalid("fingerprint has at most 512 bytes and no NUL"));
            }
            (Some(text), _) => Some(text),
            (None, Some(at)) => Some(format!("{name}:{}:{at}", self.size)),
            (None, None) => None,
        };
        let part_size = if self.size < SINGLE_PUT_BELOW {
            None
        } else {
            let size = part_size(self.size)
                .ok_or_else(|| Refusal::new(ReasonCode::TooLarge, "it does not fit into 10,000 parts of 5 GiB"))?;
            Some(size)
        };
        Ok(Announced { name, size: self.size, content_type, fingerprint, sha256, part_size })
    }
}

/// The type, if the installation takes such files; what a browser does not know counts as bytes.
fn checked_type(given: &str, policy: &Policy) -> Result<String, Problem> {
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence.is_empty() {
        return Ok(OCTETS.to_owned());
    }
    let token = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        (1..=127).contains(&part.len()) && part.bytes().all(plain)
    };
    match essence.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => {
            let taken = policy.kinds.iter().any(|known| known == kind);
            if taken || CONTAINERS.contains(&essence.as_str()) {
                Ok(essence)
            } else {
                let detail = format!("{essence} files are not taken here");
                Err(Refusal::new(ReasonCode::TypeNotAllowed, detail).into())
            }
        }
        _ => Err(Problem::new(Code::InvalidRequest, "type is not a media type (RFC 6838)")),
    }
}

/// An Idempotency-Key: 1 to 255 visible ASCII characters.
pub(crate) fn idempotency_key(value: Option<&axum::http::HeaderValue>) -> Result<Option<&str>, Problem> {
    let Some(value) = value else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Problem::new(Code::InvalidRequest, "Idempotency-Key is not 1 to 255 visible characters")),
    }
}

/// One part that a URL is wanted for.
#[derive(Debug, Deserialize)]
pub(crate) struct WantedPart {
    pub(crate) n: u16,
    len: Option<u64>,
    /// Base64, as in `x-amz-checksum-sha256`.
    pub(crate) sha256: Option<String>,
}

impl WantedPart {
    /// The exact bytes of this part, which its URL signs; and its SHA-256, where the upload was announced with sums.
    pub(crate) fn check(&self, size: u64, part_size: Option<u64>, with_sums: bool) -> Result<u64, Problem> {
        let invalid = |detail: String| Problem::new(Code::InvalidPart, detail);
        let each = part_size.unwrap_or(size);
        let len = part_len(size, each, u64::from(self.n))
            .ok_or_else(|| invalid(format!("part {} is not 1 to {}", self.n, parts_total(size, each))))?;
        if self.len.is_some_and(|said| said != len) {
            return Err(invalid(format!("part {} has {len} bytes", self.n)));
        }
        if let Some(sum) = &self.sha256
            && STANDARD.decode(sum).map(|bytes| bytes.len()) != Ok(32)
        {
            return Err(invalid(format!("sha256 of part {} is not base64 of 32 bytes", self.n)));
        }
        if with_sums && self.sha256.is_none() {
            let detail = format!("the upload was announced with checksum sha256: give sha256 of part {}", self.n);
            return Err(Problem::new(Code::ChecksumRequired, detail));
        }
        Ok(len)
    }
}

/// A name as it is shown to people: no control characters, which PostgreSQL and terminals would trip over.
pub(crate) fn checked_name(name: &str) -> Result<String, Problem> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    match name.trim() {
        "" => Err(Problem::new(Code::InvalidRequest, "name is empty")),
        name => Ok(name.to_owned()),
    }
}

/// Whether S3 has every part at its size; the problem names what is missing.
pub(crate) fn check_parts(size: u64, part_size: u64, have: &[Part]) -> Result<(), Problem> {
    let total = parts_total(size, part_size);
    let mut missing = Vec::new();
    for number in 1..=total {
        let expected = part_len(size, part_size, number);
        match have.iter().find(|part| u64::from(part.number) == number) {
            Some(part) if Some(part.size) == expected => {}
            Some(part) => {
                let detail = format!("part {number} has {} bytes, not {}", part.size, expected.unwrap_or(0));
                return Err(Problem::new(Code::UploadMismatch, detail));
            }
            None => missing.push(number),
        }
    }
    if let Some(extra) = have.iter().find(|part| u64::from(part.number) > total) {
        let detail = format!("part {} was not announced", extra.number);
        return Err(Problem::new(Code::UploadMismatch, detail));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let first: Vec<_> = missing.iter().take(20).map(u64::to_string).collect();
    let more = if missing.len() > 20 { " …" } else { "" };
    let detail = format!("{} of {total} parts are missing: {}{more}", missing.len(), first.join(", "));
    Err(Problem::new(Code::UploadIncomplete, detail))
}

/// Whether every part was sent with its SHA-256, as an upload that was announced with sums promises.
pub(crate) fn check_sums(have: &[Part]) -> Result<(), Problem> {
    match have.iter().find(|part| part.sha256.is_none()) {
        None => Ok(()),
        Some(part) => {
            let detail = format!("part {} was sent without its SHA-256: send it again", part.number);
            Err(Problem::new(Code::ChecksumRequired, detail))
        }
    }
}

/// Compares the checksum of the whole as S3 composes it: SHA-256 over the SHA-256 of the parts, in base64, with or
/// without its suffix `-<parts>`. Source: "Checking object integrity in Amazon S3", composite checksums.
pub(crate) fn check_composite(said: &str, have: &[Part]) -> Result<(), Problem> {
    let mismatch = |detail: &str| Problem::new(Code::ChecksumMismatch, detail);
    let mut whole = Sha256::new();
    for part in have {
        let sum = part.sha256.as_deref().and_then(|sum| STANDARD.decode(sum).ok());
        let sum = sum.ok_or_else(|| mismatch("not every part was sent with its SHA-256"))?;
        whole.update(sum);
    }
    let sum = said.split_once('-').map_or(said, |(sum, _)| sum);
    if STANDARD.decode(sum).ok().as_deref() == Some(whole.finalize().as_slice()) {
        Ok(())
    } else {
        Err(mismatch("sha256_of_parts is not that of the parts that arrived"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn policy() -> Policy {
        Policy { max_bytes: 100 * MIB, max_duration_ms: 0, max_pixels: 0, kinds: vec!["video".into(), "image".into()] }
    }

    fn check(body: serde_json::Value) -> Result<Announced, Code> {
        let upload: NewUpload = serde_json::from_value(body).unwrap();
        upload.check(&policy()).map_err(|problem| problem.code)
    }

    fn part(number: u16, size: u64) -> Part {
        let sha256 = Some(STANDARD.encode([number as u8; 32]));
        Part { number, size, etag: "e".into(), sha256 }
    }

    #[test]
    fn size_decides_how_it_goes_up() {
        let single = check(serde_json::json!({"name": "a.mp4", "size": 16 * MIB - 1, "type": "video/mp4"})).unwrap();
        assert_eq!(single.part_size, None);
        let parts =
            check(serde_json::json!({"name": "a.mp4", "size": 16 * MIB, "type": "video/mp4", "last_modified": 5}))
                .unwrap();
        assert_eq!(parts.part_size, Some(8 * MIB));
        assert_eq!(parts.fingerprint.as_deref(), Some("a.mp4:16777216:5"));
        assert_eq!(check(serde_json::json!({"name": "a", "size": 0})), Err(Code::Empty));
        assert_eq!(check(serde_json::json!({"name": "a", "size": 100 * MIB + 1})), Err(Code::TooLarge));
    }

    #[test]
    fn types_are_an_allow_list() {
        let of = |kind: &str| check(serde_json::json!({"name": "a", "size": 1, "type": kind})).map(|a| a.content_type);
        assert_eq!(of("").as_deref(), Ok(OCTETS));
        assert_eq!(of("Video/MP4; codecs=avc1").as_deref(), Ok("video/mp4"));
        assert_eq!(of("application/mxf").as_deref(), Ok("application/mxf"));
        for refused in ["audio/mpeg", "text/html", "application/vnd.apple.mpegurl", "application/pdf"] {
            assert_eq!(of(refused), Err(Code::TypeNotAllowed), "{refused}");
        }
        for broken in ["video", "video/", "/mp4", "video/mp4\r\nx: y", "video/a/b"] {
            assert_eq!(of(broken), Err(Code::InvalidRequest), "{broken}");
        }
    }

    #[test]
    fn odd_bodies_are_refused() {
        for body in [
            serde_json::json!({"name": " \u{0}\n ", "size": 1}),
            serde_json::json!({"name": "a", "size": 1, "checksum": "md5"}),
            serde_json::json!({"name": "a", "size": 1, "fingerprint": "x".repeat(513)}),
        ] {
            assert_eq!(check(body.clone()), Err(Code::InvalidRequest), "{body}");
        }
        assert!(serde_json::from_str::<NewUpload>("{\"name\":\"a\",\"size\":-1}").is_err());
    }

    proptest! {
        #[test]
        fn any_name_is_data(name in ".*") {
            if let Ok(upload) = check(serde_json::json!({"name": name, "size": 1})) {
                prop_assert!(!upload.name.chars().any(char::is_control));
                prop_assert!((1..=MAX_NAME).contains(&upload.name.chars().count()));
            }
        }
    }

    #[test]
    fn a_part_is_signed_only_at_its_size() {
        let wanted = |n, len| WantedPart { n, len, sha256: None };
        let (size, each) = (20 * MIB, Some(8 * MIB));
        assert_eq!(wanted(1, None).check(size, each, false).unwrap(), 8 * MIB);
        assert_eq!(wanted(3, Some(4 * MIB)).check(size, each, false).unwrap(), 4 * MIB);
        assert_eq!(wanted(1, None).check(size, None, false).unwrap(), size, "one PUT is part 1");
        for bad in [wanted(0, None), wanted(4, None), wanted(1, Some(8 * MIB + 1)), wanted(3, Some(8 * MIB))] {
            assert_eq!(bad.check(size, each, false).unwrap_err().code, Code::InvalidPart);
        }
        assert!(wanted(2, None).check(size, None, false).is_err());
        let with = |sum: &str| WantedPart { n: 1, len: None, sha256: Some(sum.into()) };
        assert_eq!(with("c3Vt").check(size, each, false).unwrap_err().code, Code::InvalidPart);
        assert_eq!(wanted(1, None).check(size, each, true).unwrap_err().code, Code::ChecksumRequired);
        assert_eq!(with(&STANDARD.encode([1; 32])).check(size, each, true).unwrap(), 8 * MIB);
    }

    #[test]
    fn completion_wants_every_part_at_its_size() {
        let (size, each) = (20 * MIB, 8 * MIB);
        let all = [part(1, each), part(2, each), part(3, 4 * MIB)];
        assert!(check_parts(size, each, &all).is_ok());
        let problem = check_parts(size, each, &all[..1]).unwrap_err();
        assert_eq!(problem.code, Code::UploadIncomplete);
        assert!(String::from_utf8(problem.render("")).unwrap().contains("2, 3"));
        for wrong in [
            vec![part(1, each), part(2, each - 1), part(3, 4 * MIB)],
            vec![part(1, each), part(2, each), part(3, each)],
            [&all[..], &[part(4, 1)]].concat(),
        ] {
            assert_eq!(check_parts(size, each, &wrong).unwrap_err().code, Code::UploadMismatch);
        }
    }

    #[test]
    fn the_sum_of_sums_is_compared() {
        let parts = [part(1, 1), part(2, 1)];
        let sum = STANDARD.encode(Sha256::digest([[1u8; 32], [2; 32]].concat()));
        assert!(check_composite(&sum, &parts).is_ok());
        assert!(check_composite(&format!("{sum}-2"), &parts).is_ok());
        assert!(check_composite(&sum, &parts[..1]).is_err());
        assert!(check_composite("", &parts).is_err());
        let bare = Part { sha256: None, ..part(2, 1) };
        assert!(check_composite(&sum, &[part(1, 1), bare.clone()]).is_err());
        assert!(check_sums(&parts).is_ok());
        assert_eq!(check_sums(&[part(1, 1), bare]).unwrap_err().code, Code::ChecksumRequired);
    }

    #[test]
    fn idempotency_keys_are_visible_text() {
        let of = |text: &'static [u8]| {
            let value = axum::http::HeaderValue::from_bytes(text).unwrap();
            idempotency_key(Some(&value)).map(|key| key.map(str::to_owned)).map_err(|p| p.code)
        };
        assert_eq!(of(b"a-1"), Ok(Some("a-1".into())));
        assert_eq!(of(b""), Err(Code::InvalidRequest));
        assert_eq!(of(b"\xff"), Err(Code::InvalidRequest));
    }
}
