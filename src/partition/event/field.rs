//! The field of a record that has its time: a path of keys, found in the record's bytes.
//!
//! Owns the path and the search. Builds no tree, and looks at the first document of a record only.

use std::borrow::Cow;
use std::fmt;

use super::Unusable;
use crate::json::{Cursor, Kind, SyntaxError, unescape};

/// More keys than a record has levels are never found.
const KEYS_MAX: usize = 32;

/// The way to a field: keys of objects, one in the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

/// Why a text is not the way to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the field's key, or several with dots between them, such as meta.time")]
pub struct FieldPathError;

/// A value that may be a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Text(Cow<'a, str>),
    /// As it is written.
    Number(&'a str),
}

impl Found<'_> {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Number(text) => text,
        }
    }
}

impl FieldPath {
    /// Reads keys with dots between them.
    ///
    /// # Errors
    /// When a key is empty, or there are too many.
    pub fn parse(text: &str) -> Result<Self, FieldPathError> {
        let keys: Vec<String> = text.split('.').map(str::to_owned).collect();
        let fits = keys.len() <= KEYS_MAX && keys.iter().all(|key| !key.is_empty());
        if fits { Ok(Self(keys)) } else { Err(FieldPathError) }
    }

    /// The value at the end of the path in the first document of `record`.
    pub(super) fn find<'a>(&self, record: &'a [u8]) -> Result<Found<'a>, Unusable> {
        let value = Cursor::new(record).and_then(|mut cursor| value_at(&mut cursor, &self.0));
        match value {
            Ok(Value::Scalar(found)) => Ok(found),
            Ok(Value::Other) => Err(Unusable::NoScalar),
            Ok(Value::Missing) => Err(Unusable::Missing),
            Err(_) => Err(Unusable::NoDocument),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

enum Value<'a> {
    Scalar(Found<'a>),
    Other,
    Missing,
}

/// Reads the next value to its end. Recursion follows the path, whose length is bounded.
fn value_at<'a>(cursor: &mut Cursor<'a>, path: &[String]) -> Result<Value<'a>, SyntaxError> {
    let kind = cursor.peek()?;
    let Some((key, rest)) = path.split_first() else {
        return scalar(cursor, kind);
    };
    if kind != Kind::Object {
        cursor.skip_value()?;
        return Ok(Value::Missing);
    }
    let mut value = Value::Missing;
    let mut is_first = true;
    cursor.enter()?;
    while cursor.next_key(is_first)? {
        is_first = false;
        let token = cursor.string()?;
        cursor.colon()?;
        let is_meant = match token.escaped {
            true => unescaped(token.text()) == *key,
            false => token.source == key.as_bytes(),
        };
        if is_meant {
            value = value_at(cursor, rest)?;
        } else {
            cursor.skip_value()?;
        }
    }
    Ok(value)
}

fn scalar<'a>(cursor: &mut Cursor<'a>, kind: Kind) -> Result<Value<'a>, SyntaxError> {
    Ok(match kind {
        Kind::String => {
            let token = cursor.string()?;
            let text = if token.escaped {
                Cow::Owned(unescaped(token.text()))
            } else {
                Cow::Borrowed(token.text())
            };
            Value::Scalar(Found::Text(text))
        }
        Kind::Number => Value::Scalar(Found::Number(cursor.number()?)),
        Kind::Null => {
            cursor.skip_value()?;
            Value::Missing
        }
        Kind::Object | Kind::Array | Kind::True | Kind::False => {
            cursor.skip_value()?;
            Value::Other
        }
    })
}

fn unescaped(source: &str) -> String {
    let mut text = String::new();
    unescape(source, &mut text);
    text
}
