//! The guard in front of S3: refuses what s3s 0.14 would obey although nobody signed it.
//!
//! Guarantee: no `x-amz-*` header acts that the holder of a secret key has not signed. Without it, whoever has an upload
//! link could copy any object of any bucket to the key of that link by adding `x-amz-copy-source`. Later versions of
//! s3s have rules of the same kind; the tests below stay when it is replaced.

use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use percent_encoding::percent_decode_str;

use crate::auth::{Authorization, scope};

/// Longest life of a presigned URL, in seconds: 7 days.
const MAX_EXPIRES: u64 = 604_800;
/// Query parameters that are the signature, not headers in another place.
const SIGNATURE_PARAMETERS: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// Why a request does not get through, in S3's words where S3 has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256; in boto3 and aws \
         CLI v1 set signature_version to s3v4."
    )]
    SignatureV2,
    #[error("X-Amz-Expires must be a number of seconds, and must be less than a week (in seconds): 604800.")]
    Expires,
    #[error("There were headers present in the request which were not signed: every x-amz-* header must be signed.")]
    Unsigned,
    #[error(
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
         X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters, each of them once."
    )]
    Query,
    #[error("X-Amz-Algorithm only supports AWS4-HMAC-SHA256.")]
    Algorithm,
    #[error("A header stands in the query too, with another value.")]
    Contradiction,
    #[error("The authorization header is malformed.")]
    Header,
    #[error("The credential is wrongly scoped: this endpoint belongs to the service s3.")]
    Scope {
        /// Where the credential stands.
        in_query: bool,
    },
    #[error("You must provide the Content-Length HTTP header.")]
    Length,
}

impl Refusal {
    /// Status and code.
    pub(crate) fn wire(self) -> (StatusCode, &'static str) {
        match self {
            Self::SignatureV2 => (StatusCode::BAD_REQUEST, "InvalidRequest"),
            Self::Unsigned | Self::Contradiction => (StatusCode::FORBIDDEN, "AccessDenied"),
            Self::Expires | Self::Query | Self::Algorithm | Self::Scope { in_query: true } => {
                (StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError")
            }
            Self::Header | Self::Scope { in_query: false } => (StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed"),
            Self::Length => (StatusCode::LENGTH_REQUIRED, "MissingContentLength"),
        }
    }
}

/// Name and value, decoded, of each query parameter.
fn query(parts: &Parts) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Lets the request through to s3s, or refuses it.
///
/// Headers that a presigning client has moved into the query (they are signed there) come back as headers.
pub(crate) fn admit(parts: &mut Parts) -> Result<(), Refusal> {
    let query = query(parts);
    let is_v4 = |value: &HeaderValue| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256");
    if parts.headers.get_all(http::header::AUTHORIZATION).iter().any(|value| !is_v4(value))
        || query.iter().any(|(name, _)| name == "AWSAccessKeyId" || name == "Signature")
    {
        return Err(Refusal::SignatureV2);
    }
    let one = |wanted: &str| {
        let mut values = query.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none()).ok_or(Refusal::Query)
    };
    // s3s looks at the query first, so the guard does too.
    let presigned = query.iter().any(|(name, _)| name == "X-Amz-Signature");
    let signed: Vec<String> = if presigned {
        one("X-Amz-Signature")?;
        one("X-Amz-Date")?;
        if one("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
            return Err(Refusal::Algorithm);
        }
        if one("X-Amz-Expires")?.parse::<u64>().map_or(true, |seconds| seconds > MAX_EXPIRES) {
            return Err(Refusal::Expires);
        }
        if scope(one("X-Amz-Credential")?).is_none_or(|(_, _, _, service)| service != "s3") {
            return Err(Refusal::Scope { in_query: true });
        }
        one("X-Amz-SignedHeaders")?.split(';').map(str::to_ascii_lowercase).collect()
    } else {
        match Authorization::of(&parts.headers) {
            None => Vec::new(),
            Some(Err(_)) => return Err(Refusal::Header),
            Some(Ok(auth)) if auth.service != "s3" => return Err(Refusal::Scope { in_query: false }),
            Some(Ok(auth)) => auth.signed_headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    };
    let unsigned = parts.headers.keys().map(HeaderName::as_str).any(|name| {
        name.starts_with("x-amz-") && name != "x-amz-content-sha256" && !signed.iter().any(|signed| signed == name)
    });
    if unsigned {
        return Err(Refusal::Unsigned);
    }
    if presigned {
        restore_headers(parts, &query)?;
    }
    // What has no length cannot be compared with a signed one, nor refused before the disk is full.
    let of_object = parts.uri.path().trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let copies =
        parts.headers.contains_key("x-amz-copy-source") && !parts.headers.contains_key(header::TRANSFER_ENCODING);
    if parts.method == Method::PUT && of_object && !copies && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Refusal::Length);
    }
    Ok(())
}

fn restore_headers(parts: &mut Parts, query: &[(String, String)]) -> Result<(), Refusal> {
    for (name, value) in query {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") || SIGNATURE_PARAMETERS.contains(&name.as_str()) {
            continue;
        }
        let header = HeaderName::try_from(&name).map_err(|_| Refusal::Query)?;
        let value = HeaderValue::try_from(value).map_err(|_| Refusal::Query)?;
        if parts.headers.get_all(&header).iter().any(|other| other != value) {
            return Err(Refusal::Contradiction);
        }
        parts.headers.insert(header, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "/uploads/mine?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20261121%2Fus-east-1%2Fs3\
        %2Faws4_request&X-Amz-Date=20261121T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=00";

    fn admitted(uri: &str, headers: &[(&'static str, &str)]) -> Result<Parts, Refusal> {
        let mut request = http::Request::put(uri).header("content-length", "0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        admit(&mut parts).map(|()| parts)
    }

    fn refused(uri: &str, headers: &[(&'static str, &str)]) -> Option<Refusal> {
        admitted(uri, headers).err()
    }

    #[test]
    fn an_upload_link_does_not_copy() {
        assert_eq!(refused(LINK, &[]), None);
        assert_eq!(refused(LINK, &[("x-amz-copy-source", "/outputs/secret")]), Some(Refusal::Unsigned));
        assert_eq!(refused(LINK, &[("X-AMZ-Meta-Owner", "me")]), Some(Refusal::Unsigned));
        assert_eq!(refused(LINK, &[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]), None);
        let signed = LINK.replace("SignedHeaders=host", "SignedHeaders=host%3Bx-amz-meta-owner");
        assert_eq!(refused(&signed, &[("x-amz-meta-owner", "me")]), None);
        assert_eq!(refused(&signed, &[("x-amz-copy-source", "/outputs/secret")]), Some(Refusal::Unsigned));
        assert_eq!(refused("/uploads/mine", &[("x-amz-copy-source", "/outputs/secret")]), Some(Refusal::Unsigned));
    }

    #[test]
    fn signature_v2_is_refused_in_every_place() {
        assert_eq!(refused("/b/k", &[("authorization", "AWS key:sig")]), Some(Refusal::SignatureV2));
        assert_eq!(refused("/b/k?AWSAccessKeyId=K&Signature=s&Expires=9", &[]), Some(Refusal::SignatureV2));
        assert_eq!(refused("/b/k?Sign%61ture=s", &[]), Some(Refusal::SignatureV2));
        assert_eq!(refused(&format!("{LINK}&Signature=s"), &[]), Some(Refusal::SignatureV2));
    }

    #[test]
    fn links_live_seven_days_at_most() {
        for expires in ["604801", "-1", "soon", "18446744073709551616"] {
            let link = LINK.replace("Expires=900", &format!("Expires={expires}"));
            assert_eq!(refused(&link, &[]), Some(Refusal::Expires), "{expires}");
        }
        assert_eq!(refused(&LINK.replace("Expires=900", "Expires=604800"), &[]), None);
        assert_eq!(refused(&format!("{LINK}&X-Amz-Expires=1"), &[]), Some(Refusal::Query));
        assert_eq!(refused(&format!("{LINK}&X-Amz-Signature=00"), &[]), Some(Refusal::Query));
        assert_eq!(refused(&LINK.replace("-SHA256&", "-SHA1&"), &[]), Some(Refusal::Algorithm));
        assert_eq!(refused(&LINK.replace("X-Amz-Expires=900", "a=b"), &[]), Some(Refusal::Query));
    }

    #[test]
    fn header_signatures_cover_every_amz_header() {
        let auth = "AWS4-HMAC-SHA256 Credential=K/20261121/us-east-1/s3/aws4_request, \
                    SignedHeaders=host;x-amz-date, Signature=00";
        let signed = [("authorization", auth), ("x-amz-date", "20261121T000000Z")];
        assert_eq!(refused("/b/k", &signed), None);
        let more = [signed[0], signed[1], ("x-amz-copy-source", "/b/other")];
        assert_eq!(refused("/b/k", &more), Some(Refusal::Unsigned));
        let other = auth.replace("/s3/", "/sts/");
        assert_eq!(refused("/b/k", &[("authorization", &other)]), Some(Refusal::Scope { in_query: false }));
    }

    #[test]
    fn an_object_has_a_length() {
        let chunked = http::Request::put("/b/k").header("transfer-encoding", "chunked").body(()).unwrap();
        assert_eq!(admit(&mut chunked.into_parts().0), Err(Refusal::Length));
        assert_eq!(Refusal::Length.wire(), (StatusCode::LENGTH_REQUIRED, "MissingContentLength"));
        let configuration = http::Request::put("/b?cors").body(()).unwrap();
        assert_eq!(admit(&mut configuration.into_parts().0), Ok(()));
        // A copy has no body: some clients say so by its length, others by saying nothing.
        let auth = "AWS4-HMAC-SHA256 Credential=K/20261121/us-east-1/s3/aws4_request, \
                    SignedHeaders=host;x-amz-copy-source, Signature=00";
        let copy = || http::Request::put("/b/k").header("authorization", auth).header("x-amz-copy-source", "/b/other");
        assert_eq!(admit(&mut copy().body(()).unwrap().into_parts().0), Ok(()));
        let chunked = copy().header("transfer-encoding", "chunked").body(()).unwrap();
        assert_eq!(admit(&mut chunked.into_parts().0), Err(Refusal::Length));
    }

    #[test]
    fn headers_signed_in_the_query_act_as_headers() {
        let link = format!("{LINK}&x-amz-checksum-crc32=AAAAAA%3D%3D&x-id=PutObject");
        let parts = admitted(&link, &[]).unwrap();
        assert_eq!(parts.headers["x-amz-checksum-crc32"], "AAAAAA==");
        assert!(!parts.headers.contains_key("x-id"));
        assert!(!parts.headers.contains_key("x-amz-date"));
        assert_eq!(refused(&link, &[("x-amz-checksum-crc32", "BBBBBB==")]), Some(Refusal::Unsigned));
        let twice = link.replace("SignedHeaders=host", "SignedHeaders=host%3Bx-amz-checksum-crc32");
        assert_eq!(refused(&twice, &[("x-amz-checksum-crc32", "BBBBBB==")]), Some(Refusal::Contradiction));
    }
}
