//! The prefix of one object: what the pieces print.
//!
//! Owns the bound on what is printed, and the `key=value` folders in it.

use super::super::escape::{DEFAULT_PARTITION, escape, unescape};
use super::super::group::Group;
use super::super::key::uuid_v4;
use super::super::pattern::Moment;
use super::{EVALUATED_CHARS_MAX, EvaluateError, Piece, Template};
use crate::record::{ErrorOutputType, UnixMillis};

/// What a random string or an error type has at most.
const PRINTED_BYTES_MAX: usize = 64;

/// How many characters of a random string are taken from its UUID.
const RANDOM_STRING_CHARS: usize = 11;

/// A prefix for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluated {
    /// What the key begins with, escaped.
    pub prefix: String,
    /// The `key=value` folders in order, values not escaped.
    pub partition: Vec<(String, String)>,
    /// The prefix up to the last `key=value` folder, with its slash; empty when there is none.
    pub partition_folder: String,
}

impl Template {
    /// Whether the evaluated prefix is within its bound whatever the time.
    #[must_use]
    pub fn is_surely_short(&self, group: &Group) -> bool {
        // An escape has three characters for each byte.
        let of_value = |value: &str| 3 * value.len();
        let values = group.values().map_or(&[][..], |values| values);
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.len(),
            Piece::Time(field) => field.bytes_max(),
            Piece::RandomString | Piece::ErrorOutputType => PRINTED_BYTES_MAX,
            Piece::Tenant => group
                .tenant
                .as_ref()
                .map_or(DEFAULT_PARTITION.len(), |tenant| of_value(tenant.as_str())),
            Piece::Slot(number) => values.get(*number).map_or(0, |value| of_value(value)),
        });
        lengths.sum::<usize>() <= EVALUATED_CHARS_MAX
    }

    /// The prefix of one object. A record without a tenant is placed in Hive's default partition
    /// when the template has the tenant in it. `random` is called once for each random string.
    ///
    /// # Errors
    /// When the prefix has more than 512 characters (the implicit date not counted), or needs an
    /// error type or a key that is not given.
    pub fn evaluate(
        &self,
        instant: UnixMillis,
        group: &Group,
        error: Option<ErrorOutputType>,
        random: &mut dyn FnMut() -> u128,
    ) -> Result<Evaluated, EvaluateError> {
        let time = self.zone.at(instant);
        let (written, implicit) =
            self.pieces.split_at(self.implicit_from.unwrap_or(self.pieces.len()));
        let mut prefix = String::new();
        for piece in written {
            match piece {
                Piece::RandomString => prefix.push_str(&random_string(random())),
                Piece::ErrorOutputType => {
                    let error = error.ok_or(EvaluateError::NoErrorOutputType)?;
                    prefix.push_str(error.as_str());
                }
                Piece::Tenant => match &group.tenant {
                    Some(tenant) => prefix.push_str(&escape(tenant.as_str())),
                    None => prefix.push_str(DEFAULT_PARTITION),
                },
                Piece::Slot(number) => {
                    let value = group.values().and_then(|values| values.get(*number));
                    let value = value.filter(|value| !value.is_empty());
                    self.print_value(value.ok_or(EvaluateError::NoPlace)?, &mut prefix);
                }
                Piece::Literal(_) | Piece::Time(_) => piece.print(&time, &mut prefix),
            }
        }
        let length = prefix.chars().count();
        if length > EVALUATED_CHARS_MAX {
            return Err(EvaluateError::TooLong(length));
        }
        for piece in implicit {
            piece.print(&time, &mut prefix);
        }
        let mut partition = Vec::new();
        let mut folder_end = 0;
        for folder in Folders::of(&prefix) {
            partition.push((unescape(folder.name), unescape(folder.value)));
            folder_end = folder.end;
        }
        let partition_folder = prefix[..folder_end].to_owned();
        Ok(Evaluated { prefix, partition, partition_folder })
    }

    fn print_value(&self, value: &str, prefix: &mut String) {
        let folder = prefix.rsplit('/').next().unwrap_or_default();
        if self.allows_slashes && !folder.contains('=') {
            let segments: Vec<_> = value.split('/').map(escape).collect();
            prefix.push_str(&segments.join("/"));
        } else {
            prefix.push_str(&escape(value));
        }
    }
}

impl Piece {
    /// Prints a piece that depends on the time alone.
    fn print(&self, time: &Moment, into: &mut String) {
        match self {
            Self::Literal(text) => into.push_str(text),
            Self::Time(field) => field.print(time, into),
            Self::RandomString | Self::ErrorOutputType | Self::Tenant | Self::Slot(_) => {}
        }
    }
}

fn random_string(random: u128) -> String {
    let mut text = uuid_v4(random).hyphenated().to_string();
    text.truncate(RANDOM_STRING_CHARS);
    text
}

/// The `name=value` folders of a prefix.
pub(super) struct Folders<'a> {
    prefix: &'a str,
    at: usize,
}

pub(super) struct Folder<'a> {
    pub(super) name: &'a str,
    value: &'a str,
    /// Where the folder ends in the prefix, behind its slash.
    end: usize,
}

impl<'a> Folders<'a> {
    pub(super) fn of(prefix: &'a str) -> Self {
        Self { prefix, at: 0 }
    }
}

impl<'a> Iterator for Folders<'a> {
    type Item = Folder<'a>;

    fn next(&mut self) -> Option<Folder<'a>> {
        loop {
            let rest = &self.prefix[self.at..];
            let segment = &rest[..rest.find('/')?];
            self.at += segment.len() + 1;
            if let Some((name, value)) = segment.split_once('=') {
                return Some(Folder { name, value, end: self.at });
            }
        }
    }
}
