//! What is wrong with a record, first as a fault with a place, then in words.
//!
//! Owns the codes, the texts of messages and how much of a record they quote. Does not own the rules
//! that find the fault, nor the line that carries the message.
//!
//! Invariant: a record that is not JSON is a parse error even where a value before the fault in its
//! syntax does not fit its column, so that the code does not depend on the table.

use std::fmt::{self, Write as _};

use super::DATA_BYTES_MAX;
use crate::json::{self, Cursor, SyntaxError};
use crate::number::Why;

/// How much of a value, and of a map's key, a message quotes.
const FOUND_BYTES_MAX: usize = 100;
const KEY_BYTES_MAX: usize = 40;

/// What is wrong with a record, in Firehose's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The kind of fault.
    pub code: RejectCode,
    /// Where it is, what should be there and what is, as a sentence.
    pub message: String,
}

/// The kind of fault that a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectCode {
    /// It is not JSON.
    ParseError,
    /// It is JSON and does not fit the table.
    MalformedData,
}

impl RejectCode {
    /// The code as it stands in failure lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ParseError => "DataFormatConversion.ParseError",
            Self::MalformedData => "DataFormatConversion.MalformedData",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

/// Why a record is rejected, before it is put into words.
#[derive(Debug)]
pub(super) struct Failure {
    fault: Fault,
    /// The way to the value, innermost step first.
    path: Vec<Step>,
    /// Which of the record's objects, counted from 1; 0 outside of objects.
    pub(super) document: usize,
}

#[derive(Debug)]
enum Fault {
    Syntax(SyntaxError),
    Mismatch { at: usize, expected: String, why: Why },
}

/// A step from a value to one inside it.
#[derive(Debug)]
pub(super) enum Step {
    Field(String),
    Item(usize),
    Key(String),
}

impl From<SyntaxError> for Box<Failure> {
    fn from(error: SyntaxError) -> Self {
        Failure::new(Fault::Syntax(error))
    }
}

/// The fault of a value at byte `at` that is not what is expected; `why` may be empty.
#[cold]
pub(super) fn mismatch(at: usize, expected: &(impl ToString + ?Sized), why: Why) -> Box<Failure> {
    let expected = expected.to_string();
    Failure::new(Fault::Mismatch { at, expected, why })
}

impl Failure {
    fn new(fault: Fault) -> Box<Self> {
        let (path, document) = (vec![], 0);
        Box::new(Self { fault, path, document })
    }

    /// Notes that the value lies inside another.
    #[cold]
    pub(super) fn inside(mut self: Box<Self>, step: impl FnOnce() -> Step) -> Box<Self> {
        self.path.push(step());
        self
    }

    /// Puts the fault into words; `data` is the record.
    #[cold]
    pub(super) fn into_rejection(self, data: &[u8]) -> Rejection {
        let (at, expected, why) = match &self.fault {
            Fault::Syntax(error) => {
                // Bytes that are no text count more than what stands before them.
                let error = Cursor::new(data).err().unwrap_or(*error);
                return malformed(error, data);
            }
            Fault::Mismatch { at, expected, why } => (*at, expected, *why),
        };
        if let Err(error) = json::check(data) {
            return malformed(error, data);
        }
        let place = self.place();
        let found = shorten(value_at(data, at), FOUND_BYTES_MAX);
        let colon = if why.is_empty() { "" } else { ": " };
        Rejection {
            code: RejectCode::MalformedData,
            message: format!(
                "Data does not match the schema. {place}: expected {expected}, \
                 found {found}{colon}{why}."
            ),
        }
    }

    /// `Column 'items[2].qty'`, with the document's number from the second on.
    fn place(&self) -> String {
        let mut place = String::new();
        for step in self.path.iter().rev() {
            let written = match step {
                Step::Field(name) if place.is_empty() => write!(place, "Column '{name}"),
                Step::Field(name) => write!(place, ".{name}"),
                Step::Item(index) => write!(place, "[{index}]"),
                Step::Key(key) => {
                    let key = shorten(key, KEY_BYTES_MAX);
                    write!(place, "[\"{key}\"]")
                }
            };
            written.expect("a string takes any text");
        }
        if place.is_empty() {
            place.push_str("Record");
        } else {
            place.push('\'');
        }
        if self.document > 1 {
            let written = write!(place, " of document {}", self.document);
            written.expect("a string takes any text");
        }
        place
    }
}

/// The text of the value that begins at byte `at` of checked JSON.
fn value_at(data: &[u8], at: usize) -> &str {
    let mut cursor = Cursor::unchecked(data);
    cursor.move_to(at);
    // Where the depth counts from does not matter any more: the record was checked.
    if cursor.skip_value().is_err() {
        return "";
    }
    str::from_utf8(cursor.source(at..cursor.at())).unwrap_or_default()
}

/// At most `length_max` bytes of `text`, cut between characters, with a mark where it was cut.
fn shorten(text: &str, length_max: usize) -> String {
    if text.len() <= length_max {
        return text.to_owned();
    }
    let cut = text.floor_char_boundary(length_max);
    format!("{}…", &text[..cut])
}

#[cold]
fn malformed(error: SyntaxError, data: &[u8]) -> Rejection {
    let SyntaxError { at, expected } = error;
    let rest = data.get(at..).unwrap_or_default();
    let front = &rest[..rest.len().min(4)];
    let valid = match std::str::from_utf8(front) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&front[..error.valid_up_to()]).unwrap_or_default(),
    };
    let found = match (valid.chars().next(), rest.first()) {
        (Some(character), _) => format!("{character:?}"),
        (None, Some(byte)) => format!("byte 0x{byte:02x}"),
        (None, None) => "the end of the record".to_owned(),
    };
    Rejection {
        code: RejectCode::ParseError,
        message: format!(
            "Encountered malformed JSON. Byte {at}: expected {expected}, found {found}."
        ),
    }
}

/// The rejection of a record that is not looked at.
#[cold]
pub(super) fn too_long(length: usize) -> Rejection {
    Rejection {
        code: RejectCode::ParseError,
        message: format!(
            "Encountered malformed JSON. The record has {length} bytes: expected at most \
             {DATA_BYTES_MAX}, split it."
        ),
    }
}
