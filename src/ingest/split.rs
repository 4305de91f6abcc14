//! The records of a plain body.
//!
//! Owns the rule by which a body is split, and the limits of one call: 10,000 records, each as long
//! as Firehose allows. The records are the bytes that were sent; nothing is parsed into values and
//! written again. Does not own whether a record fits its table.
//!
//! The rule, by `Content-Type`:
//!
//! - `application/x-ndjson` and its other names, and `text/plain`: every line that is not blank is a
//!   record, without its line end. Lines are not looked into.
//! - `application/json`: of an array every element is a record; otherwise every document is one, be
//!   it a single object over many lines or objects one after another.
//! - none, or one that tools send when they were not told (`application/octet-stream`,
//!   `application/x-www-form-urlencoded`): like JSON when the body begins with `[` or `{`, otherwise
//!   lines.
//!
//! A byte order mark in front of the body is a file's, and no part of the first record.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::IgnoredAny;

use crate::record::RECORD_BYTES_MAX;

/// The most records in one call.
pub(super) const RECORD_COUNT_MAX: usize = 10_000;

/// How a body is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Json,
    /// By its first byte.
    Unsaid,
}

/// Why a body has no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SplitError {
    /// A type that is none of ours.
    #[error(
        "The Content-Types that are accepted are application/x-ndjson (a record in each line), \
         application/json (an array or an object) and text/plain (a record in each line)."
    )]
    UnknownType,
    /// Not JSON.
    #[error(
        "The request body is not valid JSON at line {line}, column {column}; nothing of it was \
         stored. To send lines that are stored as they are, use Content-Type: application/x-ndjson."
    )]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Nothing, or nothing but blanks.
    #[error("The request body has no record.")]
    NoRecord,
    /// More than [`RECORD_COUNT_MAX`].
    #[error("The request body has more than 10000 records: send them in several calls.")]
    TooManyRecords,
    /// Longer than a record may be.
    #[error("Record {number} is longer than 1024000 bytes.")]
    RecordTooLong {
        /// Counted from 1.
        number: usize,
    },
}

impl Form {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, SplitError> {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Ok(Self::Unsaid);
        };
        let value = value.to_str().map_err(|_| SplitError::UnknownType)?;
        let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/jsonlines"
            | "text/plain" => Ok(Self::Lines),
            "application/json" | "text/json" => Ok(Self::Json),
            "" | "application/octet-stream" | "application/x-www-form-urlencoded" => {
                Ok(Self::Unsaid)
            }
            _ => Err(SplitError::UnknownType),
        }
    }

    /// The records of `body` in its order; at least one.
    pub(super) fn split(self, body: &[u8]) -> Result<Vec<&[u8]>, SplitError> {
        let body = without_mark(body);
        let mut records = Records(Vec::new());
        let start = after_blanks(body, 0);
        match (self, body.get(start)) {
            (Self::Json | Self::Unsaid, Some(b'[')) => {
                elements(body, start, |element| records.push(element))?;
            }
            (Self::Json, _) | (Self::Unsaid, Some(b'{')) => documents(body, &mut records)?,
            (Self::Lines | Self::Unsaid, _) => lines(body, &mut records)?,
        }
        if records.0.is_empty() { Err(SplitError::NoRecord) } else { Ok(records.0) }
    }
}

struct Records<'a>(Vec<&'a [u8]>);

impl<'a> Records<'a> {
    fn push(&mut self, record: &'a [u8]) -> Result<(), SplitError> {
        if self.0.len() == RECORD_COUNT_MAX {
            return Err(SplitError::TooManyRecords);
        }
        if record.len() > RECORD_BYTES_MAX {
            return Err(SplitError::RecordTooLong { number: self.0.len() + 1 });
        }
        self.0.push(record);
        Ok(())
    }
}

fn lines<'a>(body: &'a [u8], records: &mut Records<'a>) -> Result<(), SplitError> {
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.iter().all(u8::is_ascii_whitespace) {
            records.push(line)?;
        }
    }
    Ok(())
}

fn documents<'a>(body: &'a [u8], records: &mut Records<'a>) -> Result<(), SplitError> {
    let mut at = after_blanks(body, 0);
    while at < body.len() {
        let end = end_of_value(body, at)?;
        records.push(&body[at..end])?;
        at = after_blanks(body, end);
    }
    Ok(())
}

/// The elements of a body that is one JSON array, objects or not; none when it is no array.
#[must_use]
pub fn elements_of(body: &[u8]) -> Option<Vec<&[u8]>> {
    let body = without_mark(body);
    let open = after_blanks(body, 0);
    let mut found = Vec::new();
    let push = |element| {
        found.push(element);
        Ok(())
    };
    let is_array = body.get(open) == Some(&b'[') && elements(body, open, push).is_ok();
    is_array.then_some(found)
}

/// A text without the mark that editors of one kind put in front.
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Hands over the elements of the array that begins at `open`.
fn elements<'a>(
    body: &'a [u8],
    open: usize,
    mut push: impl FnMut(&'a [u8]) -> Result<(), SplitError>,
) -> Result<(), SplitError> {
    let mut at = after_blanks(body, open + 1);
    if body.get(at) != Some(&b']') {
        loop {
            let end = end_of_value(body, at)?;
            push(&body[at..end])?;
            at = after_blanks(body, end);
            match body.get(at) {
                Some(b',') => at = after_blanks(body, at + 1),
                Some(b']') => break,
                _ => return Err(malformed(body, at)),
            }
        }
    }
    let after = after_blanks(body, at + 1);
    if after == body.len() { Ok(()) } else { Err(malformed(body, after)) }
}

/// Where the JSON value that begins at `start` ends. Its depth costs no stack.
fn end_of_value(body: &[u8], start: usize) -> Result<usize, SplitError> {
    let deserializer = serde_json::Deserializer::from_slice(&body[start..]);
    let mut values = deserializer.into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(IgnoredAny)) => Ok(start + values.byte_offset()),
        Some(Err(error)) => {
            let (line, column) = place(body, start);
            let is_same_line = error.line() <= 1;
            Err(SplitError::Malformed {
                line: line + error.line().saturating_sub(1),
                column: if is_same_line { column - 1 + error.column() } else { error.column() },
            })
        }
        None => Err(malformed(body, body.len())),
    }
}

fn after_blanks(body: &[u8], from: usize) -> usize {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    body.iter().skip(from).position(|byte| !blank(byte)).map_or(body.len(), |count| from + count)
}

fn malformed(body: &[u8], at: usize) -> SplitError {
    let (line, column) = place(body, at);
    SplitError::Malformed { line, column }
}

/// The line and the column of an offset, counted from 1.
fn place(body: &[u8], offset: usize) -> (usize, usize) {
    let before = &body[..offset.min(body.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, before.len() - line_start + 1)
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
