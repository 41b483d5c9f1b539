//! The one port: tells the services apart, believes or refuses, and hands on.
//!
//! The service in the credential scope decides. What carries no Authorization header is S3: presigned links and browser
//! forms. Nothing unsigned gets to SQS, SNS or RDS Data.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use s3s::service::S3Service;

use crate::{
    auth::{self, Authorization, Credentials},
    cors,
    faults::{self, Call, Fault, Service, Stage},
    guard,
    rds::{self, RdsData},
    refusals::{auth_error, injected, internal_error, json, service_error, xml_error},
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
}

/// The connection is to end without an answer: a fault on purpose.
#[derive(Debug, thiserror::Error)]
#[error("ended on purpose")]
pub(crate) struct Ended {
    /// By a reset, not a close.
    pub(crate) reset: bool,
}

impl Front {
    /// Answers one request. What goes wrong is an answer too, but for faults that a test has asked for.
    pub(crate) async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response, Ended> {
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

    async fn route(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response, Ended> {
        let (parts, body) = request.into_parts();
        match parts.uri.path() {
            HEALTH_PATH => return Ok(json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())),
            STATS_PATH | FAULTS_PATH => return Ok(self.answer_private(&parts, body, peer).await),
            _ => {}
        }
        match service_of(&parts) {
            Service::S3 => self.route_s3(parts, body).await,
            service => self.route_signed(service, parts, body).await,
        }
    }

    async fn route_s3(&self, parts: Parts, body: Incoming) -> Result<Response, Ended> {
        self.stats.request(&format!("s3:{}", parts.method));
        // The answer outlives the request that names its operation.
        let (operation, method) = (faults::of_s3(&parts).to_owned(), parts.method.clone());
        let path = parts.uri.path().to_owned();
        let call = Call { service: Service::S3, operation: &operation, method: method.as_str(), path: &path };
        let response = self.suffer(&call, self.answer_s3(parts, body)).await?;
        let has_body = response.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        if operation != "GetObject" || !response.status().is_success() || !has_body {
            return Ok(response);
        }
        Ok(match self.state.faults.befall(Stage::Body, &call) {
            Some(Fault::SlowBody { bytes_per_s }) => faults::slow(response, bytes_per_s),
            Some(Fault::TruncateBody { bytes }) => faults::truncate(response, bytes),
            _ => response,
        })
    }

    async fn route_signed(&self, service: Service, parts: Parts, body: Incoming) -> Result<Response, Ended> {
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let message = "The request is larger than 4 MiB.";
                return Ok(service_error(service, StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message));
            }
            Err(_) => {
                let message = "The request body broke off.";
                return Ok(service_error(service, StatusCode::BAD_REQUEST, "IncompleteBody", message));
            }
        };
        let (operation, path) = match service {
            Service::Sqs => {
                let action = sqs_action(&parts).unwrap_or_default().to_owned();
                (action, sqs::queue_of(&self.state, &body).unwrap_or_default())
            }
            Service::Sns => sns::action_of(&body),
            _ => (faults::of_rds_data(parts.uri.path()).to_owned(), String::new()),
        };
        self.stats.request(&format!("{}:{operation}", service.name()));
        let call = Call { service, operation: &operation, method: parts.method.as_str(), path: &path };
        self.suffer(&call, self.answer_signed(service, &parts, body)).await
    }

    /// The answer of a request, or what befalls it before or after its work.
    async fn suffer(&self, call: &Call<'_>, work: impl Future<Output = Response>) -> Result<Response, Ended> {
        let Some(fault) = self.state.faults.befall(Stage::Request, call) else {
            return Ok(work.await);
        };
        match fault {
            Fault::Drop => return Err(Ended { reset: false }),
            Fault::Reset => return Err(Ended { reset: true }),
            Fault::Delay { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Fault::LoseAnswer => {
                work.await;
                return Err(Ended { reset: false });
            }
            Fault::FailAnswer => {
                let answer = work.await;
                return Ok(injected(call.service, fault).unwrap_or(answer));
            }
            fault => {
                if let Some(refusal) = injected(call.service, fault) {
                    return Ok(refusal);
                }
            }
        }
        Ok(work.await)
    }

    /// Only to this machine, not through a proxy, and not to a page in a browser.
    async fn answer_private(&self, parts: &Parts, body: Incoming, peer: SocketAddr) -> Response {
        let foreign = ["x-forwarded-for", "forwarded", "origin"];
        let foreign = foreign.iter().any(|name| parts.headers.contains_key(*name));
        if !peer.ip().to_canonical().is_loopback() || foreign {
            let message = "This is for this machine only.";
            return xml_error(StatusCode::FORBIDDEN, "AccessDenied", message);
        }
        match (parts.uri.path(), &parts.method) {
            (STATS_PATH, _) => json(StatusCode::OK, self.stats.json()),
            (_, &Method::GET) => json(StatusCode::OK, self.state.faults.json()),
            (_, &Method::POST) => match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => match self.state.faults.set(&body.to_bytes()) {
                    Ok(()) => json(StatusCode::OK, self.state.faults.json()),
                    Err(error) => xml_error(StatusCode::BAD_REQUEST, "MalformedRules", &error.to_string()),
                },
                Err(error) => xml_error(StatusCode::BAD_REQUEST, "MalformedRules", &error.to_string()),
            },
            _ => {
                let message = "Faults are shown by GET and set by POST.";
                xml_error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
            }
        }
    }

    async fn answer_signed(&self, service: Service, parts: &Parts, body: Bytes) -> Response {
        if let Err(error) = auth::verify(parts, &body, &self.credentials, self.state.now()) {
            return auth_error(service, error);
        }
        match service {
            Service::Sqs => {
                let Some(action) = sqs_action(parts) else {
                    let message = "SQS is spoken as AWS JSON 1.0 here: POST with X-Amz-Target: AmazonSQS.<Action>.";
                    return service_error(service, StatusCode::BAD_REQUEST, "InvalidAction", message);
                };
                sqs::handle(&self.state, action, body).await
            }
            Service::Sns => sns::handle(&self.state, body).await,
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
                Ok(headers) => {
                    let mut response = Response::new(Body::empty());
                    *response.headers_mut() = headers;
                    response
                }
                Err((status, code, message)) => xml_error(status, code, message),
            };
        }
        let method = parts.method.clone();
        let mut response = match guard::admit(&mut parts) {
            Ok(()) => self.call_s3s(Request::from_parts(parts, body)).await,
            Err(refusal) => {
                let (status, code) = refusal.wire();
                xml_error(status, code, &refusal.to_string())
            }
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

/// Whom a request is for. What is signed for none of ours goes to S3, which refuses it.
fn service_of(parts: &Parts) -> Service {
    match Authorization::of(&parts.headers) {
        Some(Ok(auth)) => match auth.service {
            "sqs" => Service::Sqs,
            "sns" => Service::Sns,
            "rds-data" => Service::RdsData,
            _ => Service::S3,
        },
        _ if parts.headers.contains_key("x-amz-target") => Service::Sqs,
        _ if is_form(parts) => Service::Sns,
        _ => Service::S3,
    }
}

/// The action of an SQS request.
fn sqs_action(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-amz-target")?.to_str().ok()?.strip_prefix("AmazonSQS.")
}

/// An unsigned call of the Query protocol: it is refused, in the form its client can read.
fn is_form(parts: &Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    parts.uri.path() == "/"
        && content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"))
}
