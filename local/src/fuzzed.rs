//! What holds of the endpoint's parsers for any bytes at all. Compiled for tests and for fuzzing alone (`fuzz/`).

use http::Request;

use crate::auth::{AuthError, Credentials, verify};
use crate::{rds, sns, sqs};

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

/// A body of the RDS Data API is a call or a refusal with words; and so is a statement alone.
pub fn rds_request(data: &[u8]) {
    rds::fuzzed(data);
}

/// A body of SQS is a request or a refusal, and what passes has a digest.
pub fn sqs_request(data: &[u8]) {
    sqs::fuzzed(data);
}

/// A form of SNS is read or refused; a filter policy that is taken decides about any message.
pub fn sns_request(data: &[u8]) {
    sns::fuzzed(data);
}

/// A request is believed or not; a believed one is not believed with another body, method or path.
///
/// The input: method, path with query, then headers, each on a line, and behind an empty line the body.
pub fn signature(data: &[u8]) {
    const AT: i64 = 1_440_938_160_000;
    let (head, body) = match data.windows(2).position(|w| w == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &b""[..]),
    };
    let mut lines = head.split(|b| *b == b'\n');
    let (method, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut request = Request::builder().method(method).uri(path);
    for line in lines {
        if let Some(at) = line.iter().position(|b| *b == b':') {
            request = request.header(&line[..at], &line[at + 1..]);
        }
    }
    let Ok(request) = request.body(()) else { return };
    let (mut parts, ()) = request.into_parts();
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned();
    let credentials = Credentials::new(vec![("AKIDEXAMPLE".to_owned(), secret)]);
    if verify(&parts, body, &credentials, AT).is_ok() {
        let longer = [body, b"x"].concat();
        assert_eq!(verify(&parts, &longer, &credentials, AT), Err(AuthError::Mismatch));
        assert_eq!(verify(&parts, body, &credentials, AT + 3_600_000), Err(AuthError::Skewed));
        parts.method = if parts.method == http::Method::PUT { http::Method::GET } else { http::Method::PUT };
        assert_eq!(verify(&parts, body, &credentials, AT), Err(AuthError::Mismatch));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn rds_requests() {
        super::replay::seeds("rds_request", super::rds_request);
    }

    #[test]
    fn sqs_requests() {
        super::replay::seeds("sqs_request", super::sqs_request);
    }

    #[test]
    fn sns_requests() {
        super::replay::seeds("sns_request", super::sns_request);
    }

    #[test]
    fn signatures() {
        super::replay::seeds("signature", super::signature);
    }
}
