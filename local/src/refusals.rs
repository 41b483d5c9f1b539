//! Errors in the form and the words of each service, for what is refused before a service is asked, or on purpose.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::{
    auth::AuthError,
    faults::{Fault, Service},
    rds,
    state::Response,
};

pub(crate) fn internal_error() -> Response {
    let message = "We encountered an internal error. Please try again.";
    xml_error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
}

pub(crate) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn json(status: StatusCode, body: String) -> Response {
    respond(status, "application/json", body)
}

/// An error in S3's form. `message` is ours and has nothing in it that XML would mind.
pub(crate) fn xml_error(status: StatusCode, code: &str, message: &str) -> Response {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    respond(status, "application/xml", body)
}

pub(crate) fn auth_error(service: Service, error: AuthError) -> Response {
    service_error(service, StatusCode::FORBIDDEN, &error.to_string(), error.message())
}

/// An error in the form of the service.
pub(crate) fn service_error(service: Service, status: StatusCode, code: &str, message: &str) -> Response {
    let mut response = match service {
        Service::S3 => return xml_error(status, code, message),
        Service::Sns => {
            let message = message.replace('&', "&amp;").replace('<', "&lt;");
            let fault = if status.is_client_error() { "Sender" } else { "Receiver" };
            let body = format!(
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>{fault}</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            );
            return respond(status, "text/xml", body);
        }
        Service::Sqs => {
            let kind = format!("com.amazon.coral.service#{code}");
            let body = serde_json::json!({"__type": kind, "message": message}).to_string();
            respond(status, "application/x-amz-json-1.0", body)
        }
        Service::RdsData => json(status, serde_json::json!({"message": message}).to_string()),
    };
    if let Ok(code) = HeaderValue::from_str(code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

/// The error that a fault answers instead of doing the work, or after it; `None`: it answers none.
pub(crate) fn injected(service: Service, fault: Fault) -> Option<Response> {
    const TRY_AGAIN: &str = "We encountered an internal error. Please try again.";
    let (status, code, message) = match (fault, service) {
        (Fault::Resuming, _) => return Some(rds::resuming()),
        (Fault::Throttle, Service::S3) => {
            (StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate.")
        }
        (Fault::Throttle, Service::Sns) => (StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
        (Fault::Throttle, _) => (StatusCode::BAD_REQUEST, "ThrottlingException", "Rate exceeded"),
        (Fault::Unavailable, Service::S3) => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "Service is unable to handle request.")
        }
        (Fault::Unavailable, Service::RdsData) => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", "The service is not available.")
        }
        (Fault::Unavailable, _) => {
            let message = "The request has failed due to a temporary failure of the server.";
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
        }
        (Fault::InternalError | Fault::FailAnswer, service) => {
            let code = match service {
                Service::S3 | Service::Sns => "InternalError",
                Service::Sqs => "InternalFailure",
                Service::RdsData => "InternalServerErrorException",
            };
            (StatusCode::INTERNAL_SERVER_ERROR, code, TRY_AGAIN)
        }
        _ => return None,
    };
    Some(service_error(service, status, code, message))
}
