//! What Glue's refusals mean: whether they pass by themselves, and what a person reads.

use std::error::Error;

use aws_sdk_glue::types;

use crate::catalog::CatalogError;

/// What an answer says of one partition.
#[derive(Debug)]
pub(super) struct EntryError {
    pub(super) code: String,
    message: String,
}

impl EntryError {
    pub(super) fn of(detail: Option<types::ErrorDetail>) -> Self {
        let (code, message) =
            detail.map_or((None, None), |detail| (detail.error_code, detail.error_message));
        Self { code: code.unwrap_or_default(), message: message.unwrap_or_default() }
    }

    pub(super) fn existing() -> Self {
        Self { code: "AlreadyExistsException".to_owned(), message: String::new() }
    }

    pub(super) fn is_about_existing(&self) -> bool {
        self.code == "AlreadyExistsException"
    }
}

impl std::fmt::Display for EntryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Whether an error of the caller's kind goes away by itself.
pub(super) fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "SlowDown"
            | "InternalServiceException"
            | "OperationTimeoutException"
            | "ConcurrentModificationException"
            | "ResourceNotReadyException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "RequestTimeout"
            | "RequestTimeoutException"
    )
}

/// How the AWS chain says that it found none.
const NO_CREDENTIALS: &str = "no providers in chain provided credentials";

/// An error with what caused it.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.dedup();
    let mut text = texts.join(": ");
    if text.contains(NO_CREDENTIALS) {
        text += "; write access_key and secret into the catalog's section, or give the process \
                 credentials as the AWS tools read them (AWS_ACCESS_KEY_ID, a profile, a role)";
    }
    text
}

pub(super) fn invalid((database, table): (&str, &str), reason: &str) -> CatalogError {
    CatalogError::Invalid { what: format!("table {database}.{table}"), reason: reason.to_owned() }
}
