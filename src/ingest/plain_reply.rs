//! Answers of the plain endpoint.
//!
//! Owns their JSON, their statuses and their codes; no other module names one. Does not own the
//! texts of errors: those come with the errors.

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::bearer::TokenError;
use super::body::BodyError;
use super::record_id::{RECORD_ID_CHARS, RecordId};
use super::split::SplitError;
use super::unpack::UnpackError;
use crate::journal::AppendError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The text of the answer for records that are durable.
pub(super) fn accepted(ids: impl ExactSizeIterator<Item = RecordId>) -> String {
    let mut answer = Vec::with_capacity(ids.len() * (RECORD_ID_CHARS + 3) + 48);
    answer.extend_from_slice(format!(r#"{{"accepted":{},"record_ids":["#, ids.len()).as_bytes());
    for (index, id) in ids.enumerate() {
        let begin: &[u8] = if index > 0 { b",\"" } else { b"\"" };
        answer.extend_from_slice(begin);
        answer.extend_from_slice(&id.text());
        answer.push(b'"');
    }
    answer.extend_from_slice(b"]}");
    String::from_utf8(answer).expect("numbers and RecordIds are ASCII")
}

/// The answer of a call that did what was asked.
pub(super) fn success(json: String) -> Response<Body> {
    response(StatusCode::OK, json)
}

/// The answer of a call that stored nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlainError {
    /// The status.
    pub(super) status: StatusCode,
    /// What was wrong, for programs.
    pub(super) code: &'static str,
    message: String,
    /// Whether the rest of the request is not read.
    ends_connection: bool,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

impl PlainError {
    fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        Self { status, code, message: message.to_string(), ends_connection: false }
    }

    fn unavailable(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    fn slow_down() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "slow_down", "Slow down.")
    }

    /// A web page calls, and there are no identities by which it could be trusted.
    pub(super) fn web_page() -> Self {
        let message = "Without identities no calls of web pages are taken.";
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The program is starting or stopping.
    pub(super) fn not_accepting() -> Self {
        Self::unavailable("The service takes no records now.")
    }

    /// A fault of the program itself.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The call failed.")
    }

    /// There is no such stream, or none for the caller: both read the same.
    pub(super) fn no_such_stream() -> Self {
        let message = "There is no such delivery stream for you.";
        Self::new(StatusCode::NOT_FOUND, "stream_not_found", message)
    }

    /// The method is not `POST`.
    pub(super) fn unknown_method() -> Self {
        let message = "Records are sent here with POST.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// The `Idempotency-Key` is none.
    pub(super) fn idempotency_key() -> Self {
        let message = "Idempotency-Key stands once and has 1 to 255 visible ASCII characters.";
        Self::new(StatusCode::BAD_REQUEST, "idempotency_key", message)
    }

    /// The same, for a call whose body was not read.
    pub(super) fn before_the_body(self) -> Self {
        Self { ends_connection: true, ..self }
    }

    /// The answer itself.
    pub(super) fn into_response(self) -> Response<Body> {
        let body = ErrorBody { code: self.code, message: &self.message };
        let json = serde_json::to_string(&body).expect("two texts are always JSON");
        let mut response = response(self.status, json);
        let headers = response.headers_mut();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        if self.ends_connection {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<TokenError> for PlainError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Missing => Self::new(StatusCode::UNAUTHORIZED, "unauthorized", error),
            TokenError::Unknown => Self::new(StatusCode::FORBIDDEN, "forbidden", error),
        }
    }
}

impl From<BodyError> for PlainError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::NoRoom => Self::slow_down(),
            BodyError::Query | BodyError::TransferEncoding | BodyError::Broken => {
                Self::new(StatusCode::BAD_REQUEST, "malformed_request", error)
            }
            BodyError::ContentEncoding => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", error)
            }
            BodyError::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error)
            }
            BodyError::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", error),
        }
    }
}

impl From<UnpackError> for PlainError {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::NoRoom(error) => error.into(),
            UnpackError::Unknown => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", error)
            }
            UnpackError::Broken(_) => {
                Self::new(StatusCode::BAD_REQUEST, "malformed_encoding", error)
            }
            UnpackError::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error)
            }
        }
    }
}

impl From<SplitError> for PlainError {
    fn from(error: SplitError) -> Self {
        let (status, code) = match error {
            SplitError::UnknownType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type"),
            SplitError::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed_json"),
            SplitError::NoRecord => (StatusCode::BAD_REQUEST, "no_record"),
            SplitError::TooManyRecords => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_records"),
            SplitError::RecordTooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "record_too_large"),
        };
        Self::new(status, code, error)
    }
}

impl From<AppendError> for PlainError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::QueueFull => Self::slow_down(),
            AppendError::BudgetUsedUp => {
                Self::unavailable("The disk budget is used up until the backlog is delivered.")
            }
            // The endpoint's own bounds are far below the journal's.
            AppendError::TooLarge | AppendError::Failed => {
                Self::unavailable("The records could not be made durable.")
            }
        }
    }
}

fn response(status: StatusCode, json: String) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    let id = HeaderValue::try_from(Uuid::new_v4().to_string()).expect("a UUID is ASCII");
    headers.insert(REQUEST_ID, id);
    response
}
