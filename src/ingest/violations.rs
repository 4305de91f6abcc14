//! Constraints of the API model, and their texts.
//!
//! Owns what a call is told about members that are missing, too long, too many or of the wrong
//! form: in one text, all at once. Does not own the shapes that the members stand in (`wire`).

use std::fmt;

use crate::record::RECORD_BYTES_MAX;

/// The most names or destinations that a call may ask for (API model).
const LIMIT_MAX: i64 = 10_000;
const NAME_CHARS_MAX: usize = 64;
const NAME_PATTERN: &str = "[a-zA-Z0-9_.-]+";

/// Constraints of the API model that a call violates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations(Vec<String>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        let count = self.0.len();
        write!(f, "{count} validation error{plural} detected: {}", self.0.join("; "))
    }
}

impl Violations {
    /// Whether the call is in order.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one: the member's path from the top of the call, elements counted from 1.
    pub(super) fn add(&mut self, path: impl fmt::Display, constraint: impl fmt::Display) {
        let text = format!("Value at '{path}' failed to satisfy constraint: {constraint}");
        self.0.push(text);
    }

    /// Adds a member that is missing or null.
    pub(super) fn add_null(&mut self, path: impl fmt::Display) {
        self.add(path, "Member must not be null");
    }

    /// Checks the name of the stream that a call is about.
    pub(super) fn check_stream(&mut self, name: Option<&str>) {
        match name {
            None => self.add_null("deliveryStreamName"),
            Some(name) => self.check_name("deliveryStreamName", name),
        }
    }

    /// Checks a text that must have the form of a stream's name.
    pub(super) fn check_name(&mut self, path: &str, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(allowed) {
            let constraint = "Member must satisfy regular expression pattern";
            self.add(path, format_args!("{constraint}: {NAME_PATTERN}"));
        }
        if name.is_empty() {
            self.add(path, "Member must have length greater than or equal to 1");
        }
        if name.chars().count() > NAME_CHARS_MAX {
            let constraint = "Member must have length less than or equal to";
            self.add(path, format_args!("{constraint} {NAME_CHARS_MAX}"));
        }
    }

    /// Checks how many results a call asks for.
    pub(super) fn check_limit(&mut self, limit: Option<i64>) {
        let Some(limit) = limit else { return };
        if limit < 1 {
            self.add("limit", "Member must have value greater than or equal to 1");
        }
        if limit > LIMIT_MAX {
            let constraint = "Member must have value less than or equal to";
            self.add("limit", format_args!("{constraint} {LIMIT_MAX}"));
        }
    }

    /// Checks the length of a record's data.
    pub(super) fn check_data(&mut self, path: impl fmt::Display, data_bytes: usize) {
        if data_bytes > RECORD_BYTES_MAX {
            let constraint = "Member must have length less than or equal to";
            self.add(path, format_args!("{constraint} {RECORD_BYTES_MAX}"));
        }
    }
}
