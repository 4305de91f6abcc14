//! Where records belong: the group they are gathered in and the key that their object gets.
//!
//! Owns the language of prefixes, the escaping of values into keys, and the names of objects. Does
//! not own buffering, nor any bytes of an object.
//!
//! Invariants: no value of a record or an identity can leave the folder that the prefix gives it,
//! since it is escaped to exactly one path segment; the same inputs give the same key; no key has an
//! empty, `.` or `..` segment or a control character, all of which stores refuse.

mod escape;
mod event;
mod key;
mod layout;
mod pattern;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use escape::{DEFAULT_PARTITION, escape, unescape};
pub use event::{
    Absent, Beyond, Bound, EventForm, EventTime, FieldPath, FieldPathError, Horizon, Stamped,
    TextPattern, TextPatternError, Verdict,
};
pub use key::{KEY_BYTES_MAX, KeyTooLong, ObjectName, renamed};
pub use layout::{Folder, Layout, Part};
pub use pattern::{PatternError, Zone};
pub use template::{EvaluateError, Evaluated, Place, Template, TemplateError};

use crate::record::Tenant;

/// What records are gathered by: those of one group share objects, those of two never do.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Whose records they are.
    pub tenant: Option<Tenant>,
    /// What hooks said of the keys that the prefix has. Records that have not got all of them have
    /// none here: they have no place in the prefix, so nothing tells them apart.
    pub keys: Arc<BTreeMap<String, String>>,
}

impl Group {
    /// The group of a record of which no key is known or asked for.
    #[must_use]
    pub fn of(tenant: Option<Tenant>) -> Self {
        Self { tenant, keys: Arc::default() }
    }

    /// The group of a record whose hooks gave `given`, below a prefix that has the keys `used`.
    #[must_use]
    pub fn with_keys(
        tenant: Option<Tenant>,
        used: &[String],
        given: &BTreeMap<String, String>,
    ) -> Self {
        if used.is_empty() || missing_key(used, given).is_some() {
            return Self::of(tenant);
        }
        let keys = given.iter().filter(|(key, _)| used.contains(key));
        let keys = keys.map(|(key, value)| (key.clone(), value.clone()));
        Self { tenant, keys: Arc::new(keys.collect()) }
    }
}

/// The first of the keys `used` that has no value, or an empty one, in `given`.
#[must_use]
pub fn missing_key<'a>(used: &'a [String], given: &BTreeMap<String, String>) -> Option<&'a str> {
    let is_missing = |key: &&String| given.get(*key).is_none_or(String::is_empty);
    used.iter().find(is_missing).map(String::as_str)
}
