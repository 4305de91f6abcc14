//! The short ways: scalars as nearly all records have them.
//!
//! Owns speed and nothing else. What is read here is read in the same way by the rules (`decode`,
//! `scalars`); whatever looks unusual, and all that is wrong, is left to them, and the column is then as
//! it was. Numbers in quotes, exponents, long digits and texts beyond ASCII are unusual.

use super::columns::{Column, Texts, Values};
use crate::json::append_plain_string;
use crate::number::{short_integer, short_number, word_at};
use crate::time::{days_of_fixed, micros_of_fixed};

/// Appends the scalar that begins at `at` in a record, and returns where it ends. Timestamps are left
/// out where they `have_patterns`.
#[inline(always)]
pub(super) fn append(
    column: &mut Column,
    bytes: &[u8],
    at: usize,
    have_patterns: bool,
) -> Option<usize> {
    match &mut column.values {
        Values::Text(texts, characters_max) => {
            if let Some(end) = append_text(texts, *characters_max, bytes, at) {
                return Some(end);
            }
        }
        Values::Int(values) => {
            if let Some(end) = append_integer(values, bytes, at) {
                return Some(end);
            }
        }
        Values::BigInt(values) => {
            if let Some(end) = append_integer(values, bytes, at) {
                return Some(end);
            }
        }
        Values::SmallInt(values) => {
            if let Some(end) = append_integer(values, bytes, at) {
                return Some(end);
            }
        }
        Values::TinyInt(values) => {
            if let Some(end) = append_integer(values, bytes, at) {
                return Some(end);
            }
        }
        Values::Double(values) => {
            if let Some(short) = short_number(bytes, at)
                && let Some(value) = short.as_double()
            {
                values.push(value);
                return Some(at + short.length);
            }
        }
        Values::Float(values) => {
            if let Some(short) = short_number(bytes, at)
                && let Some(value) = short.as_float()
            {
                values.push(value);
                return Some(at + short.length);
            }
        }
        Values::Decimal { unscaled, scale, bound } => {
            if let Some(short) = short_number(bytes, at)
                && let Some(value) = short.scaled(*scale)
                && i128::from(value).abs() < *bound
            {
                unscaled.push(value.into());
                return Some(at + short.length);
            }
        }
        Values::Boolean(values) => {
            let word = word_at(bytes, at);
            if word as u32 == u32::from_le_bytes(*b"true") {
                values.push(true);
                return Some(at + 4);
            }
            if word << 24 == u64::from_le_bytes(*b"\0\0\0false") {
                values.push(false);
                return Some(at + 5);
            }
        }
        Values::Timestamp(values) if !have_patterns => {
            if let Some(text) = crate::json::short_string(bytes, at)
                && let Some(micros) = micros_of_fixed(text)
            {
                values.push(micros);
                return Some(at + text.len() + 2);
            }
        }
        Values::Date(values) => {
            if let Some(text) = crate::json::short_string(bytes, at)
                && let Some(days) = days_of_fixed(text)
            {
                values.push(days);
                return Some(at + text.len() + 2);
            }
        }
        _ => {}
    }
    append_null(column, bytes, at)
}

#[inline(always)]
fn append_integer<I: TryFrom<i64>>(values: &mut Vec<I>, bytes: &[u8], at: usize) -> Option<usize> {
    let (value, length) = short_integer(bytes, at)?;
    values.push(I::try_from(value).ok()?);
    Some(at + length)
}

/// Appends the text of a string.
#[inline(always)]
pub(super) fn append_text(
    texts: &mut Texts,
    characters_max: Option<u32>,
    bytes: &[u8],
    at: usize,
) -> Option<usize> {
    let end = append_plain_string(bytes, at, &mut texts.bytes)?;
    if let Some(max) = characters_max
        && texts.open().len() > max as usize
    {
        texts.undo();
        return None;
    }
    texts.end();
    Some(end)
}

#[inline(never)]
fn append_null(column: &mut Column, bytes: &[u8], at: usize) -> Option<usize> {
    let is_null = word_at(bytes, at) as u32 == u32::from_le_bytes(*b"null");
    is_null.then(|| {
        column.append_null();
        at + 4
    })
}
