//! Answers as AWS clients expect them.
//!
//! Owns the headers of every answer of the API, and all its error codes with their HTTP status; no
//! other module names one. Does not own the texts of errors: those come with the errors.
//!
//! The code of an error stands in the header and in the body, since the Rust SDK reads the one and
//! Fluent Bit the other.

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::auth::AuthError;
use super::body::BodyError;
use super::wire::WireError;
use crate::journal::AppendError;
use crate::record::StreamName;

/// The account that names and messages carry.
pub(super) const ACCOUNT: &str = "000000000000";

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const AMZ_RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");

/// The answer of a call that did what was asked.
pub(super) fn success(json: String) -> Response<Body> {
    response(StatusCode::OK, json)
}

/// The answer of a call that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorReply {
    /// The name of the exception.
    pub(super) code: &'static str,
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// What was wrong.
    pub(super) message: String,
    hint: Hint,
}

/// What the client is told beside the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    None,
    /// Come again in a second.
    RetryLater,
    /// Come again on another connection.
    RetryElsewhere,
    /// The rest of the request is not read.
    ConnectionEnds,
    /// Use the one method that there is.
    Post,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "__type")]
    code: &'a str,
    message: &'a str,
}

impl ErrorReply {
    fn new(code: &'static str, status: StatusCode, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), hint: Hint::None }
    }

    fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, StatusCode::BAD_REQUEST, message)
    }

    fn unavailable(message: &str, hint: Hint) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let reply = Self::new("ServiceUnavailableException", status, message);
        Self { hint, ..reply }
    }

    /// The target names no operation that is offered.
    pub(super) fn unknown_operation() -> Self {
        Self::refused(
            "UnknownOperationException",
            "X-Amz-Target must be Firehose_20150804. and one of PutRecord, PutRecordBatch, \
             DescribeDeliveryStream, ListDeliveryStreams.",
        )
    }

    /// The path is not `/`.
    pub(super) fn unknown_path() -> Self {
        let message = "The paths are / for the Firehose API, with an X-Amz-Target header, and \
                       /v1/streams/<name>/records for plain records.";
        Self::new("UnknownOperationException", StatusCode::NOT_FOUND, message)
    }

    /// The method is not `POST`.
    pub(super) fn unknown_method() -> Self {
        let message = "This is the Firehose API: send POST / with an X-Amz-Target header.";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let reply = Self::new("UnknownOperationException", status, message);
        Self { hint: Hint::Post, ..reply }
    }

    /// There is no such stream, or none for the caller: both read the same.
    pub(super) fn no_such_stream(stream: &StreamName) -> Self {
        Self::refused(
            "ResourceNotFoundException",
            format!("Firehose {stream} under account {ACCOUNT} not found."),
        )
    }

    /// A web page calls, and there are no identities by which it could be trusted.
    pub(super) fn web_page() -> Self {
        let message = "Without identities no calls of web pages are taken.";
        let reply = Self::new("AccessDeniedException", StatusCode::FORBIDDEN, message);
        Self { hint: Hint::ConnectionEnds, ..reply }
    }

    /// The program is starting or stopping.
    pub(super) fn not_accepting() -> Self {
        Self::unavailable("The service takes no records now.", Hint::RetryElsewhere)
    }

    /// A fault of the program itself.
    pub(super) fn internal_failure() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new("InternalFailure", status, "The call failed.")
    }

    /// The answer itself.
    pub(super) fn into_response(self) -> Response<Body> {
        let body = ErrorBody { code: self.code, message: &self.message };
        let json = serde_json::to_string(&body).expect("two texts are always JSON");
        let mut response = response(self.status, json);
        let headers = response.headers_mut();
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.code));
        if matches!(self.hint, Hint::RetryLater | Hint::RetryElsewhere) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            // In milliseconds.
            headers.insert(AMZ_RETRY_AFTER, HeaderValue::from_static("1000"));
        }
        if matches!(self.hint, Hint::RetryElsewhere | Hint::ConnectionEnds) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.hint == Hint::Post {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

impl From<AuthError> for ErrorReply {
    fn from(error: AuthError) -> Self {
        let code = match &error {
            AuthError::MissingToken => "MissingAuthenticationTokenException",
            AuthError::Incomplete(_) => "IncompleteSignatureException",
            AuthError::Scope(_)
            | AuthError::Mismatch
            | AuthError::Expired { .. }
            | AuthError::NotYetCurrent { .. } => "InvalidSignatureException",
            AuthError::UnknownAccessKey => "UnrecognizedClientException",
        };
        Self::refused(code, error.to_string())
    }
}

impl From<WireError> for ErrorReply {
    fn from(error: WireError) -> Self {
        let code = match &error {
            WireError::Malformed { .. }
            | WireError::WrongShape { .. }
            | WireError::NotBase64 { .. } => "SerializationException",
            WireError::Invalid(_) => "ValidationException",
            WireError::ReservedName | WireError::TooManyBytes => "InvalidArgumentException",
        };
        Self::refused(code, error.to_string())
    }
}

impl From<BodyError> for ErrorReply {
    fn from(error: BodyError) -> Self {
        let (code, status) = match error {
            BodyError::NoRoom => return Self::unavailable("Slow down.", Hint::RetryLater),
            BodyError::Query | BodyError::TransferEncoding | BodyError::Broken => {
                ("MalformedHttpRequestException", StatusCode::BAD_REQUEST)
            }
            BodyError::ContentEncoding => {
                ("UnsupportedMediaTypeException", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            BodyError::TooLarge => {
                ("RequestEntityTooLargeException", StatusCode::PAYLOAD_TOO_LARGE)
            }
            BodyError::TooSlow => ("RequestTimeoutException", StatusCode::REQUEST_TIMEOUT),
        };
        Self { hint: Hint::ConnectionEnds, ..Self::new(code, status, error.to_string()) }
    }
}

impl From<AppendError> for ErrorReply {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::QueueFull | AppendError::BudgetUsedUp => {
                Self::unavailable("Slow down.", Hint::RetryLater)
            }
            // The API's own bounds are far below the journal's.
            AppendError::TooLarge | AppendError::Failed => {
                Self::unavailable("The records could not be made durable.", Hint::RetryElsewhere)
            }
        }
    }
}

fn response(status: StatusCode, json: String) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    let id = Uuid::new_v4().to_string();
    let id = HeaderValue::try_from(id).expect("a UUID is ASCII");
    headers.insert(REQUEST_ID, id);
    response
}
