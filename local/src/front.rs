//! The one port: tells the services apart, believes or refuses, and hands on.
//!
//! The service in the credential scope decides. What carries no Authorization header is S3: presigned links and browser
//! forms. Nothing unsigned gets to SQS, SNS or RDS Data.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use s3s::service::S3Service;

use crate::{
    auth::{self, AuthError, Authorization, Credentials},
    cors,
    faults::{Fault, Faults},
    guard,
    rds::{self, RdsData},
    s3::{self, Store},
    sns, sqs,
    state::{Endpoint, Response},
    stats::Stats,
};

/// Largest body of SQS, SNS and RDS Data requests, in bytes.
const MAX_BODY: usize = 4 << 20;
/// Counters of this process, for tests on the same machine.
const STATS_PATH: &str = "/_reelfleet/stats";
/// Faults to be suffered on purpose.
const FAULTS_PATH: &str = "/_reelfleet/faults";
/// Says that the endpoint answers; no signature needed.
const HEALTH_PATH: &str = "/_reelfleet/health";

/// Everything a request can get to.
pub(crate) struct Front {
    pub(crate) state: Arc<Endpoint>,
    pub(crate) credentials: Credentials,
    pub(crate) store: Arc<Store>,
    pub(crate) s3: S3Service,
    pub(crate) rds: Arc<RdsData>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) faults: Faults,
}

/// The connection is to be closed without an answer: a fault on purpose.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
pub(crate) struct Closed;

impl Front {
    /// Answers one request. What goes wrong is an answer too, but for faults that a test has asked for.
    pub(crate) async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response, Closed> {
        let uploads = request.method() == Method::PUT;
        // A panic ends one request, not the connection's other ones.
        let answer = AssertUnwindSafe(self.route(request, peer)).catch_unwind().await;
        let mut response = answer.unwrap_or_else(|_| {
            tracing::error!("a request panicked");
            Ok(internal_error())
        })?;
        let status = response.status();
        let headers = response.headers_mut();
        // The rest of a refused body is not read: the client must not send its next request behind it.
        if status == StatusCode::PAYLOAD_TOO_LARGE
            || (uploads && (status.is_client_error() || status.is_server_error()))
        {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if !headers.contains_key("x-amz-request-id")
            && !headers.contains_key("x-amzn-requestid")
            && let Ok(id) = HeaderValue::from_str(&self.state.ids.hex())
        {
            headers.insert("x-amz-request-id", id);
        }
        Ok(response)
    }

    async fn route(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response, Closed> {
        let (parts, body) = request.into_parts();
        match parts.uri.path() {
            HEALTH_PATH => return Ok(json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())),
            STATS_PATH | FAULTS_PATH => return Ok(self.answer_private(&parts, body, peer).await),
            _ => {}
        }
        let service = match Authorization::of(&parts.headers) {
            Some(Ok(auth)) => auth.service,
            _ if parts.headers.contains_key("x-amz-target") => "sqs",
            _ if is_form(&parts) => "sns",
            _ => "s3",
        };
        let service = service.to_owned();
        let operation = match service.as_str() {
            "sqs" => action(&parts).unwrap_or_default().to_owned(),
            "sns" => String::new(),
            "rds-data" => parts.uri.path().to_owned(),
            _ => parts.method.to_string(),
        };
        self.stats.request(&format!("{service}:{operation}"));
        let fault = self.faults.next(&service, &operation, parts.uri.path());
        match fault {
            Some(Fault::Drop) => return Err(Closed),
            Some(Fault::Throttle) => return Ok(throttled(&service)),
            Some(fault) => fault.wait().await,
            None => {}
        }
        let response = match service.as_str() {
            "sqs" | "sns" | "rds-data" => self.answer_signed(&service, parts, body).await,
            _ => self.answer_s3(parts, body).await,
        };
        match fault {
            Some(Fault::LoseAnswer) => Err(Closed),
            _ => Ok(response),
        }
    }

    /// Only to this machine, not through a proxy, and not to a page in a browser.
    async fn answer_private(&self, parts: &Parts, body: Incoming, peer: SocketAddr) -> Response {
        let foreign = ["x-forwarded-for", "forwarded", "origin"];
        let foreign = foreign.iter().any(|name| parts.headers.contains_key(*name));
        if !peer.ip().to_canonical().is_loopback() || foreign {
            let message = "This is for this machine only.";
            return xml_error(StatusCode::FORBIDDEN, "AccessDenied", message);
        }
        if parts.uri.path() == STATS_PATH {
            return json(StatusCode::OK, self.stats.json());
        }
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) if parts.method == Method::POST => body.to_bytes(),
            _ => {
                let message = "Faults are set by POST.";
                return xml_error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
            }
        };
        match self.faults.set(&body) {
            Ok(()) => json(StatusCode::OK, "{}".to_owned()),
            Err(error) => xml_error(StatusCode::BAD_REQUEST, "MalformedRules", &error.to_string()),
        }
    }

    async fn answer_signed(&self, service: &str, parts: Parts, body: Incoming) -> Response {
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let message = "The request is larger than 4 MiB.";
                return service_error(service, StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message);
            }
            Err(_) => {
                let message = "The request body broke off.";
                return service_error(service, StatusCode::BAD_REQUEST, "IncompleteBody", message);
            }
        };
        if let Err(error) = auth::verify(&parts, &body, &self.credentials, self.state.now()) {
            return auth_error(service, error);
        }
        match service {
            "sqs" => {
                let Some(action) = action(&parts) else {
                    let message = "SQS is spoken as AWS JSON 1.0 here: POST with X-Amz-Target: AmazonSQS.<Action>.";
                    return service_error(service, StatusCode::BAD_REQUEST, "InvalidAction", message);
                };
                sqs::handle(&self.state, action, body).await
            }
            "sns" => sns::handle(&self.state, body).await,
            _ => rds::handle(&self.rds, parts.uri.path(), body).await,
        }
    }

    async fn answer_s3(&self, mut parts: Parts, body: Incoming) -> Response {
        let origin = parts.headers.get(header::ORIGIN).cloned();
        let rules = match (cors::bucket_of(parts.uri.path()), &origin) {
            (Some(bucket), Some(_)) => match s3::cors_rules(&self.store, bucket).await {
                Ok(rules) => rules,
                Err(_) => return internal_error(),
            },
            _ => None,
        };
        if parts.method == Method::OPTIONS {
            return match cors::preflight(rules.as_deref(), &parts.headers) {
                Ok(headers) => with_headers(headers),
                Err((status, code, message)) => xml_error(status, code, message),
            };
        }
        let method = parts.method.clone();
        let mut response = match guard::admit(&mut parts) {
            Ok(()) => self.call_s3s(Request::from_parts(parts, body)).await,
            Err(refusal) => xml_error(StatusCode::FORBIDDEN, "AccessDenied", &refusal.to_string()),
        };
        if let (Some(rules), Some(origin)) = (rules, origin) {
            cors::decorate(&rules, &origin, &method, response.headers_mut());
        }
        response
    }

    async fn call_s3s(&self, request: Request<Incoming>) -> Response {
        match self.s3.call(request.map(s3s::Body::from)).await {
            // An answer without a body says so.
            Ok(answer) if answer.status() == StatusCode::NOT_MODIFIED => {
                let (mut parts, _) = answer.into_parts();
                parts.headers.remove(header::CONTENT_TYPE);
                Response::from_parts(parts, Body::empty())
            }
            Ok(answer) => answer.map(Body::new),
            Err(error) => {
                let error = s3s::StdError::from(error);
                tracing::error!(%error, "s3s gave no answer");
                internal_error()
            }
        }
    }
}

/// The action of an SQS request.
fn action(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-amz-target")?.to_str().ok()?.strip_prefix("AmazonSQS.")
}

fn internal_error() -> Response {
    let message = "We encountered an internal error. Please try again.";
    xml_error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
}

/// What each service says when it is asked too often; SDKs retry it.
fn throttled(service: &str) -> Response {
    match service {
        "s3" => xml_error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate."),
        "sns" => service_error(service, StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
        _ => service_error(service, StatusCode::BAD_REQUEST, "ThrottlingException", "Rate exceeded"),
    }
}

/// An unsigned call of the Query protocol: it is refused, in the form its client can read.
fn is_form(parts: &Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    parts.uri.path() == "/"
        && content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"))
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn with_headers(headers: HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    response
}

fn json(status: StatusCode, body: String) -> Response {
    respond(status, "application/json", body)
}

/// An error in S3's form. `message` is ours and has nothing in it that XML would mind.
fn xml_error(status: StatusCode, code: &str, message: &str) -> Response {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    respond(status, "application/xml", body)
}

fn auth_error(service: &str, error: AuthError) -> Response {
    service_error(service, StatusCode::FORBIDDEN, &error.to_string(), error.message())
}

/// An error in the form of the service.
fn service_error(service: &str, status: StatusCode, code: &str, message: &str) -> Response {
    let mut response = match service {
        "sns" => {
            let message = message.replace('&', "&amp;").replace('<', "&lt;");
            let body = format!(
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            );
            respond(status, "text/xml", body)
        }
        "sqs" => {
            let kind = format!("com.amazon.coral.service#{code}");
            let body = serde_json::json!({"__type": kind, "message": message}).to_string();
            respond(status, "application/x-amz-json-1.0", body)
        }
        _ => json(status, serde_json::json!({"message": message}).to_string()),
    };
    if service != "sns"
        && let Ok(code) = HeaderValue::from_str(code)
    {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}
