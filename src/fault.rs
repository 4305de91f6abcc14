//! The one question that every edge's error answers: what should the caller do?

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
