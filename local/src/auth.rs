//! Signature Version 4 of SQS, SNS and RDS Data requests, over the body as received. S3 requests are verified by s3s.
//!
//! Source: "Create a signed AWS API request" of the IAM user guide.

use hmac::{Hmac, Mac as _};
use http::{HeaderMap, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use time::{PrimitiveDateTime, format_description::FormatItem, macros::format_description};

use crate::timestamp::epoch_ms;

/// How far the clock of a client may be off.
const SKEW_MS: i64 = 15 * 60 * 1000;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Access keys and their secrets.
#[derive(Clone)]
pub(crate) struct Credentials(Vec<(String, String)>);

impl Credentials {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, secret)| (key.as_str(), secret.as_str()))
    }
}

/// Why a request is not believed. The text of each is its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("MissingAuthenticationToken")]
    Missing,
    #[error("IncompleteSignature")]
    Incomplete,
    #[error("UnrecognizedClientException")]
    UnknownKey,
    #[error("SignatureDoesNotMatch")]
    Mismatch,
    #[error("SignatureDoesNotMatch")]
    Skewed,
}

impl AuthError {
    /// What a person needs to know.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Missing => "Request is missing Authentication Token",
            Self::Incomplete => {
                "Authorization must be AWS4-HMAC-SHA256 with Credential, SignedHeaders (host among them) and \
                 Signature, and the request must carry X-Amz-Date."
            }
            Self::UnknownKey => "The security token included in the request is invalid.",
            Self::Mismatch => {
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method."
            }
            Self::Skewed => "Signature expired or not yet current: the clocks differ by more than 15 minutes.",
        }
    }
}

/// The parts of an Authorization header of Signature Version 4.
#[derive(Debug)]
pub(crate) struct Authorization<'h> {
    access_key: &'h str,
    date: &'h str,
    region: &'h str,
    /// The service the request is for, which also says where it goes.
    pub(crate) service: &'h str,
    /// Names in lower case.
    pub(crate) signed_headers: Vec<&'h str>,
    signature: &'h str,
}

impl<'h> Authorization<'h> {
    /// Reads the header; `None` when there is none.
    pub(crate) fn of(headers: &'h HeaderMap) -> Option<Result<Self, AuthError>> {
        let value = headers.get(http::header::AUTHORIZATION)?;
        Some(value.to_str().ok().and_then(Self::parse).ok_or(AuthError::Incomplete))
    }

    fn parse(value: &'h str) -> Option<Self> {
        let fields = value.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for field in fields.split(',') {
            match field.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => return None,
            }
        }
        let (access_key, date, region, service) = scope(credential?)?;
        let signed_headers = signed?.split(';').collect();
        Some(Self { access_key, date, region, service, signed_headers, signature: signature? })
    }
}

/// Access key, date, region and service of a credential.
pub(crate) fn scope(credential: &str) -> Option<(&str, &str, &str, &str)> {
    let mut parts = credential.rsplitn(5, '/');
    if parts.next()? != "aws4_request" {
        return None;
    }
    let (service, region, date) = (parts.next()?, parts.next()?, parts.next()?);
    Some((parts.next()?, date, region, service))
}

/// Believes the request or says why not. `now` is in epoch ms.
pub(crate) fn verify(parts: &Parts, body: &[u8], credentials: &Credentials, now: i64) -> Result<(), AuthError> {
    let auth = Authorization::of(&parts.headers).ok_or(AuthError::Missing)??;
    let secret = credentials.iter().find(|(key, _)| *key == auth.access_key).ok_or(AuthError::UnknownKey)?.1;
    let amz_date = parts.headers.get("x-amz-date").and_then(|v| v.to_str().ok()).ok_or(AuthError::Incomplete)?;
    let at = PrimitiveDateTime::parse(amz_date, DATE).map_err(|_| AuthError::Incomplete)?;
    if !auth.signed_headers.contains(&"host") {
        return Err(AuthError::Incomplete);
    }
    if (epoch_ms(at.assume_utc()) - now).abs() > SKEW_MS {
        return Err(AuthError::Skewed);
    }
    if amz_date.get(..8) != Some(auth.date) {
        return Err(AuthError::Mismatch);
    }
    let canonical = canonical_request(parts, &auth.signed_headers, body).ok_or(AuthError::Mismatch)?;
    let scope = format!("{}/{}/{}/aws4_request", auth.date, auth.region, auth.service);
    let to_sign = format!("{ALGORITHM}\n{amz_date}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), auth.date);
    for part in [auth.region, auth.service, "aws4_request", to_sign.as_str()] {
        key = hmac(&key, part);
    }
    match hex::encode(key).as_bytes().ct_eq(auth.signature.as_bytes()).into() {
        true => Ok(()),
        false => Err(AuthError::Mismatch),
    }
}

fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    // HMAC takes keys of any length; the error cannot come.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn canonical_request(parts: &Parts, signed: &[&str], body: &[u8]) -> Option<String> {
    let path = utf8_percent_encode(parts.uri.path(), PATH);
    let mut query: Vec<(String, String)> = Vec::new();
    for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let encode = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().ok()?;
            Some(utf8_percent_encode(&text, UNRESERVED).to_string())
        };
        query.push((encode(name)?, encode(value)?));
    }
    query.sort();
    let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = String::new();
    for name in signed {
        let values = parts.headers.get_all(*name).iter();
        let values = values.map(|v| Some(v.to_str().ok()?.split_ascii_whitespace().collect::<Vec<_>>().join(" ")));
        let values: Vec<String> = values.collect::<Option<_>>()?;
        if values.is_empty() {
            return None;
        }
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    Some(format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{}",
        parts.method,
        query.join("&"),
        signed.join(";"),
        hex::encode(Sha256::digest(body))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla` and `post-x-www-form-urlencoded` of the AWS Signature Version 4 test suite.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn request(signature: &str) -> (Parts, Vec<u8>) {
        let auth = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, Signature={signature}"
        );
        let request = http::Request::post("/")
            .header("host", "example.amazonaws.com")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-amz-date", "20150830T123600Z")
            .header("authorization", auth)
            .body(b"Param1=value1".to_vec())
            .unwrap();
        request.into_parts()
    }

    const AT: i64 = 1_440_938_160_000;
    const RIGHT: &str = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";

    fn check(signature: &str, key: &str, body: Option<&[u8]>, now: i64) -> Result<(), AuthError> {
        let (parts, sent) = request(signature);
        let credentials = Credentials::new(vec![(key.into(), SECRET.into())]);
        verify(&parts, body.unwrap_or(&sent), &credentials, now)
    }

    #[test]
    fn the_test_suite_of_aws_verifies() {
        assert_eq!(check(RIGHT, "AKIDEXAMPLE", None, AT), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(check(&RIGHT.replace('f', "0"), "AKIDEXAMPLE", None, AT), Err(AuthError::Mismatch));
        assert_eq!(check(RIGHT, "AKIDEXAMPLE", Some(b"Param1=value2"), AT), Err(AuthError::Mismatch));
        assert_eq!(check(RIGHT, "OTHER", None, AT), Err(AuthError::UnknownKey));
        assert_eq!(check(RIGHT, "AKIDEXAMPLE", None, AT + SKEW_MS + 1), Err(AuthError::Skewed));
        let (mut parts, body) = request(RIGHT);
        parts.headers.remove("authorization");
        let credentials = Credentials::new(vec![]);
        assert_eq!(verify(&parts, &body, &credentials, AT), Err(AuthError::Missing));
        parts.headers.insert("authorization", http::HeaderValue::from_static("AWS key:signature"));
        assert_eq!(verify(&parts, &body, &credentials, AT), Err(AuthError::Incomplete));
    }
}
