//! The one question that every edge's error answers: what should the caller do? And what led to an error
//! of a library, in words.

use std::error::Error;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The same attempt can succeed later; nothing is lost by waiting.
    Retry,
    /// Only a person can mend it; keep trying, and raise the alarm.
    Alarm,
    /// The process must end and recover at its next start.
    Halt,
}

/// What led to an error, without what it says itself: for clients of HTTP that is the URL, in which there may
/// be a secret.
pub(crate) fn beneath(error: &dyn Error) -> String {
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    if texts.is_empty() { "there was no answer".to_owned() } else { texts.join(": ") }
}
