//! Where records belong: the group they are gathered in and the key that their object gets.
//!
//! Owns the language of prefixes, the escaping of values into keys, and the names of objects. Does
//! not own buffering, nor any bytes of an object.
//!
//! Invariants: no value of a record or an identity can leave the folder that the prefix gives it,
//! since it is escaped to exactly one path segment; the same inputs give the same key; no key has an
//! empty, `.` or `..` segment or a control character, all of which stores refuse. A value makes folders only
//! where the settings ask for it, each of them held like a segment.

mod escape;
mod examine;
mod event;
mod group;
mod key;
mod layout;
mod pattern;
mod slot;
mod template;
#[cfg(test)]
mod tests;

pub use escape::{DEFAULT_PARTITION, escape, unescape};
pub use event::{
    Absent, Beyond, Bound, EventForm, EventTime, FieldPath, FieldPathError, Spans, SpansError,
    Stamped, TextPattern, TextPatternError, Verdict,
};
pub use examine::Doubt;
pub use group::{FailedKind, Group, GroupPlace, Values};
pub use key::{KEY_BYTES_MAX, KeyTooLong, ObjectName, renamed};
pub use layout::{Folder, Layout, Part};
pub use pattern::{PatternError, Zone};
pub use slot::{EventField, Slot};
pub use template::{EvaluateError, Evaluated, Place, Template, TemplateError};
