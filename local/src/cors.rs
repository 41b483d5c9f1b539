//! Cross-origin requests, answered from the rules of the bucket. s3s knows nothing of them.
//!
//! Source: "How does Amazon S3 evaluate the CORS configuration on a bucket" of the S3 user guide: the first rule counts
//! that allows origin, method and every requested header.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use s3s::dto::CORSRule;

/// The bucket of a path-style request.
pub(crate) fn bucket_of(path: &str) -> Option<String> {
    let first = path.trim_start_matches('/').split('/').next().filter(|first| !first.is_empty())?;
    Some(percent_decode_str(first).decode_utf8().ok()?.into_owned())
}

/// Whether `text` fits a pattern with at most one `*`.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, end)) => text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end),
    }
}

fn requested(headers: &HeaderMap) -> Vec<String> {
    let value = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok());
    let names = value.unwrap_or_default().split(',').map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

fn matching<'r>(rules: &'r [CORSRule], origin: &str, method: &str, headers: &[String]) -> Option<&'r CORSRule> {
    rules.iter().find(|rule| {
        rule.allowed_origins.iter().any(|pattern| fits(pattern, origin))
            && rule.allowed_methods.iter().any(|allowed| allowed == method)
            && headers.iter().all(|name| {
                let mut allowed = rule.allowed_headers.iter().flatten();
                allowed.any(|pattern| fits(&pattern.to_ascii_lowercase(), name))
            })
    })
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// What every answer to a matched cross-origin request carries.
fn allow(rule: &CORSRule, origin: &str, headers: &mut HeaderMap) {
    if rule.allowed_origins.iter().any(|pattern| pattern == "*") {
        insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    } else {
        insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        insert(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    }
    insert(headers, header::ACCESS_CONTROL_ALLOW_METHODS, &rule.allowed_methods.join(", "));
    if let Some(exposed) = rule.expose_headers.as_ref().filter(|exposed| !exposed.is_empty()) {
        insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &exposed.join(", "));
    }
    if let Some(seconds) = rule.max_age_seconds {
        insert(headers, header::ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
    }
    let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    insert(headers, header::VARY, vary);
}

/// Answers a preflight: the headers that allow it, or what S3 says when it does not.
pub(crate) fn preflight(
    rules: Option<&[CORSRule]>,
    request: &HeaderMap,
) -> Result<HeaderMap, (StatusCode, &'static str, &'static str)> {
    let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else {
        return Err((StatusCode::BAD_REQUEST, "BadRequest", "Insufficient information. Origin request header needed."));
    };
    let Some(method) = text(header::ACCESS_CONTROL_REQUEST_METHOD) else {
        let message = "Invalid Access-Control-Request-Method: null";
        return Err((StatusCode::BAD_REQUEST, "BadRequest", message));
    };
    let Some(rules) = rules else {
        let message = "CORSResponse: CORS is not enabled for this bucket.";
        return Err((StatusCode::FORBIDDEN, "AccessForbidden", message));
    };
    let names = requested(request);
    let Some(rule) = matching(rules, origin, method, &names) else {
        let message = "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of \
                       Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are \
                       not whitelisted by the resource's CORS spec.";
        return Err((StatusCode::FORBIDDEN, "AccessForbidden", message));
    };
    let mut headers = HeaderMap::new();
    allow(rule, origin, &mut headers);
    if !names.is_empty() {
        insert(&mut headers, header::ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", "));
    }
    Ok(headers)
}

/// Adds to an answer what lets the page that asked read it.
pub(crate) fn decorate(rules: &[CORSRule], origin: &HeaderValue, method: &Method, answer: &mut HeaderMap) {
    if let Ok(origin) = origin.to_str()
        && let Some(rule) = matching(rules, origin, method.as_str(), &[])
    {
        allow(rule, origin, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Vec<CORSRule> {
        vec![CORSRule {
            allowed_headers: Some(vec!["Content-Type".into(), "x-amz-*".into()]),
            allowed_methods: vec!["PUT".into(), "GET".into()],
            allowed_origins: vec!["https://app.example".into(), "http://*.test".into()],
            expose_headers: Some(vec!["ETag".into()]),
            id: None,
            max_age_seconds: Some(300),
        }]
    }

    fn ask(origin: &str, method: &str, headers: &str) -> Result<HeaderMap, StatusCode> {
        let mut request = HeaderMap::new();
        insert(&mut request, header::ORIGIN, origin);
        insert(&mut request, header::ACCESS_CONTROL_REQUEST_METHOD, method);
        insert(&mut request, header::ACCESS_CONTROL_REQUEST_HEADERS, headers);
        preflight(Some(&rule()), &request).map_err(|(status, ..)| status)
    }

    #[test]
    fn a_preflight_compares_origin_method_and_headers() {
        let allowed = ask("https://app.example", "PUT", "content-type, X-Amz-Checksum-SHA256").unwrap();
        assert_eq!(allowed[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(allowed[header::ACCESS_CONTROL_ALLOW_HEADERS], "content-type, x-amz-checksum-sha256");
        assert_eq!(allowed[header::ACCESS_CONTROL_MAX_AGE], "300");
        assert!(ask("http://a.test", "GET", "").is_ok());
        for (origin, method, headers) in [
            ("https://evil.example", "PUT", ""),
            ("https://app.example", "DELETE", ""),
            ("https://app.example", "PUT", "authorization"),
            ("https://app.example.evil", "PUT", ""),
        ] {
            assert_eq!(ask(origin, method, headers), Err(StatusCode::FORBIDDEN), "{origin} {method} {headers}");
        }
    }

    #[test]
    fn answers_let_the_page_read_them() {
        let mut answer = HeaderMap::new();
        decorate(&rule(), &HeaderValue::from_static("https://app.example"), &Method::PUT, &mut answer);
        assert_eq!(answer[header::ACCESS_CONTROL_EXPOSE_HEADERS], "ETag");
        let mut other = HeaderMap::new();
        decorate(&rule(), &HeaderValue::from_static("https://evil.example"), &Method::PUT, &mut other);
        assert!(other.is_empty());
    }

    #[test]
    fn buckets_come_first_in_the_path() {
        assert_eq!(bucket_of("/uploads/a/b").as_deref(), Some("uploads"));
        assert_eq!(bucket_of("/up%6Coads").as_deref(), Some("uploads"));
        assert_eq!(bucket_of("/"), None);
    }
}
