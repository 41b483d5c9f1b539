//! ETags and checksums: what is computed over a body, and what it is compared with before anything is published.
//!
//! Source: "Checking object integrity in Amazon S3" of the S3 user guide.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use crc_fast::{CrcAlgorithm, checksum_combine};
use http::StatusCode;
use s3s::{
    S3ErrorCode, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto::{ChecksumAlgorithm, ChecksumType},
};
use serde::{Deserialize, Serialize};

use super::error::Fault;

/// Checksum algorithms of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    #[serde(rename = "CRC32")]
    Crc32,
    #[serde(rename = "CRC32C")]
    Crc32c,
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
    #[serde(rename = "SHA1")]
    Sha1,
    #[serde(rename = "SHA256")]
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => ChecksumAlgorithm::CRC32,
            Self::Crc32c => ChecksumAlgorithm::CRC32C,
            Self::Crc64Nvme => ChecksumAlgorithm::CRC64NVME,
            Self::Sha1 => ChecksumAlgorithm::SHA1,
            Self::Sha256 => ChecksumAlgorithm::SHA256,
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, Fault> {
        Self::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| Fault::new(S3ErrorCode::InvalidRequest, "Checksum algorithm provided is unsupported."))
    }

    fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    fn digest_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The CRC of which checksums of parts can be combined to that of the whole.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// The checksum type an upload has when its creator named none. CRC64NVME is always of the full object.
    pub(crate) fn composite_by_default(self) -> bool {
        self != Self::Crc64Nvme
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32 => Crc32::checksum(data).to_vec(),
            Self::Crc32c => Crc32c::checksum(data).to_vec(),
            Self::Crc64Nvme => Crc64Nvme::checksum(data).to_vec(),
            Self::Sha1 => Sha1::checksum(data).to_vec(),
            Self::Sha256 => Sha256::checksum(data).to_vec(),
        }
    }
}

/// Checksums of an object or a part, base64, as headers carry them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    values: BTreeMap<Algorithm, String>,
    composite: bool,
}

impl Sums {
    pub(crate) fn value(&self, algorithm: Algorithm) -> Option<String> {
        self.values.get(&algorithm).cloned()
    }

    pub(crate) fn kind(&self) -> Option<ChecksumType> {
        let kind = if self.composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
        (!self.values.is_empty()).then(|| ChecksumType::from_static(kind))
    }

    pub(crate) fn algorithms(&self) -> Option<Vec<ChecksumAlgorithm>> {
        let names = self.values.keys().map(|a| ChecksumAlgorithm::from_static(a.name()));
        (!self.values.is_empty()).then(|| names.collect())
    }
}

/// Puts checksums into the five fields that every S3 output has for them.
macro_rules! fill_sums {
    ($output:expr, $sums:expr) => {{
        use $crate::s3::digest::Algorithm::*;
        $output.checksum_crc32 = $sums.value(Crc32);
        $output.checksum_crc32c = $sums.value(Crc32c);
        $output.checksum_crc64nvme = $sums.value(Crc64Nvme);
        $output.checksum_sha1 = $sums.value(Sha1);
        $output.checksum_sha256 = $sums.value(Sha256);
    }};
}
/// Takes the checksums that a request names out of the five fields of its input.
macro_rules! given_sums {
    ($input:expr) => {{
        use $crate::s3::digest::Algorithm::*;
        let given = [
            (Crc32, $input.checksum_crc32.clone()),
            (Crc32c, $input.checksum_crc32c.clone()),
            (Crc64Nvme, $input.checksum_crc64nvme.clone()),
            (Sha1, $input.checksum_sha1.clone()),
            (Sha256, $input.checksum_sha256.clone()),
        ];
        given.into_iter().filter_map(|(a, v)| v.map(|v| (a, v))).collect::<Vec<_>>()
    }};
}
pub(crate) use {fill_sums, given_sums};

/// What a body must turn out to be, and which checksums to compute over it.
#[derive(Default)]
pub(crate) struct Expect {
    md5: Option<Vec<u8>>,
    given: Vec<(Algorithm, String)>,
    trailer: Option<(Algorithm, Option<TrailingHeaders>)>,
    compute: Vec<Algorithm>,
}

impl Expect {
    /// From the headers of a PUT. `fallback` is computed when the request names no algorithm.
    pub(crate) fn new(
        content_md5: Option<&str>,
        given: Vec<(Algorithm, String)>,
        asked: Option<&ChecksumAlgorithm>,
        headers: &http::HeaderMap,
        trailing: Option<TrailingHeaders>,
        fallback: Option<Algorithm>,
    ) -> Result<Self, Fault> {
        let md5 = match content_md5.map(|value| BASE64.decode(value)) {
            None => None,
            Some(Ok(md5)) if md5.len() == 16 => Some(md5),
            Some(_) => {
                return Err(Fault::new(S3ErrorCode::InvalidDigest, "The Content-MD5 you specified was invalid."));
            }
        };
        for (algorithm, value) in &given {
            if BASE64.decode(value).is_ok_and(|digest| digest.len() == algorithm.digest_len()) {
                continue;
            }
            let message = format!("Value for {} header is invalid.", algorithm.header());
            return Err(Fault::new(S3ErrorCode::InvalidRequest, message));
        }
        let mut compute: Vec<_> = given.iter().map(|(algorithm, _)| *algorithm).collect();
        if let Some(asked) = asked {
            compute.push(Algorithm::parse(asked.as_str())?);
        }
        let named = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let trailer = Algorithm::ALL
            .into_iter()
            .find(|a| named.split(',').any(|name| name.trim().eq_ignore_ascii_case(&a.header())))
            .map(|algorithm| (algorithm, trailing));
        compute.extend(trailer.as_ref().map(|(algorithm, _)| *algorithm));
        if compute.is_empty() {
            compute.extend(fallback);
        }
        Ok(Self { md5, given, trailer, compute })
    }

    /// Computes `algorithm` too, as the upload that a part belongs to asks for.
    pub(crate) fn also(&mut self, algorithm: Algorithm) {
        self.compute.push(algorithm);
    }

    pub(crate) fn hasher(&self) -> Hasher {
        let mut hasher = Hasher { md5: Md5::new(), sums: ChecksumHasher::default() };
        for algorithm in &self.compute {
            match algorithm {
                Algorithm::Crc32 => hasher.sums.crc32 = Some(Crc32::new()),
                Algorithm::Crc32c => hasher.sums.crc32c = Some(Crc32c::new()),
                Algorithm::Crc64Nvme => hasher.sums.crc64nvme = Some(Crc64Nvme::new()),
                Algorithm::Sha1 => hasher.sums.sha1 = Some(Sha1::new()),
                Algorithm::Sha256 => hasher.sums.sha256 = Some(Sha256::new()),
            }
        }
        hasher
    }

    /// Compares what arrived with what the headers and the trailer said.
    pub(crate) fn check(&self, digests: &Digests) -> Result<(), Fault> {
        if self.md5.as_ref().is_some_and(|md5| md5[..] != digests.md5[..]) {
            let message = "The Content-MD5 you specified did not match what we received.";
            return Err(Fault::new(S3ErrorCode::BadDigest, message));
        }
        let mut said = self.given.clone();
        if let Some((algorithm, trailing)) = &self.trailer {
            let header = algorithm.header();
            let value = trailing.as_ref().and_then(|t| {
                t.read(|headers| headers.get(&header).and_then(|v| v.to_str().ok()).map(str::to_owned)).flatten()
            });
            let value = value.ok_or_else(|| {
                let message = format!("The trailer {header} did not come.");
                Fault::custom("MalformedTrailerError", StatusCode::BAD_REQUEST, message)
            })?;
            said.push((*algorithm, value));
        }
        for (algorithm, value) in said {
            if digests.sums.value(algorithm).as_deref() != Some(value.as_str()) {
                let message = format!("The {} you specified did not match the calculated checksum.", algorithm.name());
                return Err(Fault::new(S3ErrorCode::BadDigest, message));
            }
        }
        Ok(())
    }
}

/// Hashes a body as it comes.
pub(crate) struct Hasher {
    md5: Md5,
    sums: ChecksumHasher,
}

impl Hasher {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        self.sums.update(data);
    }

    pub(crate) fn finish(self) -> Digests {
        let sums = self.sums.finalize();
        let values = [
            (Algorithm::Crc32, sums.checksum_crc32),
            (Algorithm::Crc32c, sums.checksum_crc32c),
            (Algorithm::Crc64Nvme, sums.checksum_crc64nvme),
            (Algorithm::Sha1, sums.checksum_sha1),
            (Algorithm::Sha256, sums.checksum_sha256),
        ];
        let values = values.into_iter().filter_map(|(a, v)| v.map(|v| (a, v))).collect();
        Digests { md5: self.md5.finalize(), sums: Sums { values, composite: false } }
    }
}

/// Digests of a whole body.
#[derive(Clone)]
pub(crate) struct Digests {
    md5: [u8; 16],
    pub(crate) sums: Sums,
}

impl Digests {
    /// The ETag of an object written by one request: the MD5 of its body.
    pub(crate) fn etag(&self) -> String {
        hex::encode(self.md5)
    }
}

/// The ETag of a multipart object: MD5 over the parts' MD5s, then `-` and their number.
pub(crate) fn multipart_etag<'a>(etags: impl Iterator<Item = &'a str>) -> String {
    let mut md5 = Md5::new();
    let mut parts = 0;
    for etag in etags {
        md5.update(&hex::decode(etag).unwrap_or_default());
        parts += 1;
    }
    format!("{}-{parts}", hex::encode(md5.finalize()))
}

/// The checksum of a multipart object out of those of its parts (checksums and sizes, in order).
///
/// `None` when a part has no checksum of this algorithm, or the algorithm cannot give one of the full object.
pub(crate) fn multipart_sums(algorithm: Algorithm, composite: bool, parts: &[(&Sums, u64)]) -> Option<Sums> {
    let digests = parts.iter().map(|(sums, size)| Some((BASE64.decode(sums.values.get(&algorithm)?).ok()?, *size)));
    let digests: Vec<(Vec<u8>, u64)> = digests.collect::<Option<_>>()?;
    let value = if composite {
        let all: Vec<u8> = digests.iter().flat_map(|(digest, _)| digest.iter().copied()).collect();
        format!("{}-{}", BASE64.encode(algorithm.hash(&all)), parts.len())
    } else {
        let crc = algorithm.crc()?;
        let whole = digests
            .iter()
            .map(|(digest, size)| (digest.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)), *size))
            .reduce(|(a, _), (b, size)| (checksum_combine(crc, a, b, size), size))?;
        BASE64.encode(&whole.0.to_be_bytes()[8 - algorithm.digest_len()..])
    };
    Some(Sums { values: BTreeMap::from([(algorithm, value)]), composite })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(algorithm: Algorithm, data: &[u8]) -> Sums {
        let mut hasher = Expect { compute: vec![algorithm], ..Expect::default() }.hasher();
        hasher.update(data);
        hasher.finish().sums
    }

    #[test]
    fn full_object_crc_of_parts_is_that_of_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let (a, b, c) = (vec![1; 1000], vec![2; 77], vec![3; 1]);
            let parts = [sums(algorithm, &a), sums(algorithm, &b), sums(algorithm, &c)];
            let parts: Vec<_> = parts.iter().zip([1000, 77, 1]).collect();
            let whole = sums(algorithm, &[a, b, c].concat());
            assert_eq!(multipart_sums(algorithm, false, &parts), Some(whole), "{algorithm:?}");
        }
    }

    #[test]
    fn composite_checksum_counts_the_parts() {
        let part = sums(Algorithm::Sha256, b"x");
        let whole = multipart_sums(Algorithm::Sha256, true, &[(&part, 1), (&part, 1)]).unwrap();
        assert!(whole.value(Algorithm::Sha256).unwrap().ends_with("=-2"));
        assert_eq!(multipart_sums(Algorithm::Sha256, false, &[(&part, 1)]), None);
    }

    #[test]
    fn multipart_etag_is_md5_of_md5s() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(multipart_etag([md5].into_iter()), "59adb24ef3cdbe0297f05b395827453f-1");
    }

    #[test]
    fn a_wrong_content_md5_is_refused() {
        let headers = http::HeaderMap::new();
        let md5 = Some("1B2M2Y8AsgTpgAmY7PhCfg==");
        let expect = Expect::new(md5, vec![], None, &headers, None, None).unwrap();
        let mut hasher = expect.hasher();
        hasher.update(b"not empty");
        assert!(expect.check(&hasher.finish()).is_err());
        assert!(expect.check(&expect.hasher().finish()).is_ok());
        assert!(Expect::new(Some("short"), vec![], None, &headers, None, None).is_err());
    }
}
