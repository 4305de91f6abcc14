//! The slots of a prefix: what each record by itself says of its place.
//!
//! Owns which kinds there are. Does not own where their values come from.

use super::pattern::Field;

/// A slot of a prefix, filled by a value of each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// What the stream's query takes out of the record under this key.
    QueryKey(String),
    /// What hooks say of this key.
    HookKey(String),
    /// A field of the instant that the record itself names.
    Event(EventField),
}

/// A field of a time pattern, printed by [`Template::event_value`](super::Template::event_value).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventField(pub(super) Field);

impl Slot {
    /// The name of the key that it holds; none for an instant.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::QueryKey(key) | Self::HookKey(key) => Some(key),
            Self::Event(_) => None,
        }
    }
}
