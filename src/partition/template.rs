//! The language of prefixes: literal text and expressions such as `!{timestamp:yyyy}`.
//!
//! Owns which expressions there are, where they may stand (`reading`, with its `errors`), and what they
//! print (`evaluation`); here stands what a template can be asked. Does not own the defaults of prefixes,
//! nor which tenants write to a stream.
//!
//! Invariants: whatever the inputs, an evaluated prefix has the folders that the template shows: no
//! value can add one, since times and random strings have no `/`, and tenants and keys are escaped.
//! The one exception is asked for: [`Template::with_slashes`].

mod errors;
mod evaluation;
mod reading;

pub use self::errors::{EvaluateError, TemplateError};
pub use self::evaluation::Evaluated;

use self::evaluation::Folders;
use super::escape::{escape, unescape};
use super::group::Values;
use super::pattern::{self, Zone};
use super::slot::{EventField, Slot};
use crate::record::UnixMillis;

/// The most characters that a template may have, Firehose's bound.
const TEMPLATE_CHARS_MAX: usize = 1_024;
/// The most characters that an evaluated prefix may have, Firehose's bound.
const EVALUATED_CHARS_MAX: usize = 512;

/// Which of a stream's two prefixes a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The prefix of converted records.
    Prefix,
    /// The prefix of failed records.
    ErrorPrefix,
}

/// A prefix with expressions, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) pieces: Vec<Piece>,
    /// What records fill, each slot once.
    slots: Vec<Slot>,
    /// Whether a `/` in a key makes folders.
    allows_slashes: bool,
    has_timestamp: bool,
    has_expressions: bool,
    /// Where the implicit date begins among the pieces; the bound does not count it.
    pub(super) implicit_from: Option<usize>,
    zone: Zone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Time(pattern::Field),
    RandomString,
    ErrorOutputType,
    Tenant,
    /// The slot of this number.
    Slot(usize),
}

impl Template {
    /// The zone that it prints times in.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether the time is in it, by an expression or implicitly.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.has_timestamp
    }

    /// Whether it has any expression.
    #[must_use]
    pub fn has_expressions(&self) -> bool {
        self.has_expressions
    }

    /// Whether each tenant has folders of its own: `!{lakehose:tenant}` is a whole folder, or all
    /// that follows `name=`.
    #[must_use]
    pub fn separates_tenants(&self) -> bool {
        let ends_well = |before: Option<&Piece>| match before {
            None => true,
            Some(Piece::Literal(text)) => text.ends_with(['/', '=']),
            Some(_) => false,
        };
        let begins_well = |after: Option<&Piece>| matches!(after, Some(Piece::Literal(text)) if text.starts_with('/'));
        self.pieces.iter().enumerate().any(|(index, piece)| {
            let before = index.checked_sub(1).and_then(|before| self.pieces.get(before));
            *piece == Piece::Tenant && ends_well(before) && begins_well(self.pieces.get(index + 1))
        })
    }

    /// Whether it has `!{lakehose:tenant}`.
    #[must_use]
    pub fn uses_tenant(&self) -> bool {
        self.pieces.contains(&Piece::Tenant)
    }

    /// What records fill, each slot once, in the order of their first places.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The first key of hooks that it has.
    #[must_use]
    pub fn hook_key(&self) -> Option<&str> {
        self.slots.iter().find(|slot| matches!(slot, Slot::HookKey(_)))?.key()
    }

    /// Values that fill the slots for a look at the template: `key` for each key, and the instant.
    #[must_use]
    pub fn example(&self, key: &str, instant: UnixMillis) -> Values {
        let value = |slot: &Slot| match slot {
            Slot::QueryKey(_) | Slot::HookKey(_) => key.to_owned(),
            Slot::Event(field) => self.event_value(field, instant),
        };
        self.slots.iter().map(|slot| value(slot).into_boxed_str()).collect()
    }

    /// The value of a slot for a record that names this instant.
    #[must_use]
    pub fn event_value(&self, EventField(field): &EventField, instant: UnixMillis) -> String {
        let mut value = String::new();
        field.print(&self.zone.at(instant), &mut value);
        value
    }

    /// The template up to the end of the folder that the piece `last` stands in; none when that is in no
    /// folder.
    pub(super) fn until_folder_end(&self, last: usize) -> Option<Self> {
        let mut pieces = self.pieces[..=last].to_vec();
        for piece in &self.pieces[last + 1..] {
            if let Piece::Literal(text) = piece
                && let Some(slash) = text.find('/')
            {
                pieces.push(Piece::Literal(text[..=slash].to_owned()));
                return Some(Self { pieces, implicit_from: None, ..self.clone() });
            }
            pieces.push(piece.clone());
        }
        None
    }

    /// The template with `<key>` in the place of each key of hooks.
    #[must_use]
    pub fn with_hook_keys_shown(self) -> Self {
        let mut shown = Self { pieces: Vec::new(), slots: Vec::new(), ..self };
        for (index, piece) in self.pieces.into_iter().enumerate() {
            if shown.implicit_from == Some(index) {
                shown.implicit_from = Some(shown.pieces.len());
            }
            match piece {
                Piece::Slot(number) => match &self.slots[number] {
                    Slot::HookKey(key) => {
                        shown.pieces.push(Piece::Literal(escape(&format!("<{key}>"))));
                    }
                    slot => shown.push_slot(slot.clone()),
                },
                piece => shown.pieces.push(piece),
            }
        }
        shown
    }

    /// The template in which a `/` in the value of a key makes folders, each of them escaped by
    /// itself. In a `name=value` folder it does not: a partition has one value.
    #[must_use]
    pub fn with_slashes(mut self) -> Self {
        self.allows_slashes = true;
        self
    }

    /// Whether a `/` in the value of a slot makes folders.
    #[must_use]
    pub fn splits(&self, slot: usize) -> bool {
        let mut is_in_partition = false;
        self.allows_slashes
            && self.slots[slot].key().is_some()
            && self.pieces.iter().any(|piece| {
                if let Piece::Literal(text) = piece {
                    let folder = text.rsplit('/').next().unwrap_or_default();
                    is_in_partition =
                        folder.contains('=') || (is_in_partition && !text.contains('/'));
                }
                *piece == Piece::Slot(slot) && !is_in_partition
            })
    }

    /// The names of the `name=value` folders, in order. Text behind the last slash is the
    /// beginning of the object's name and no folder.
    #[must_use]
    pub fn partition_keys(&self) -> Vec<String> {
        let shape = self.shape();
        Folders::of(&shape).map(|folder| unescape(folder.name)).collect()
    }
}
