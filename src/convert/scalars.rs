//! What a scalar may look like, by the type of its column.
//!
//! Owns the rules for booleans, numbers, texts, bytes and times out of the text of a JSON value (the
//! table in the module's front page), and the reason where one does not fit. Does not own JSON's
//! grammar, nor which kinds of values a type takes at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::columns::{Column, Texts, Values};
use super::format::BinaryText;
use super::input::JsonInput;
use super::joda::TimestampFormat;
use super::schema::Shape;
use crate::number::{Excess, Number, OUT_OF_RANGE, Why, parse_short_integer};

/// Appends the value of the text of a string, without its quotes and escapes, or of another scalar.
///
/// # Errors
/// Why it does not fit; may be empty.
pub(super) fn append(
    column: &mut Column,
    shape: &Shape,
    input: &JsonInput,
    text: &str,
) -> Result<(), Why> {
    match &mut column.values {
        Values::Boolean(values) => values.push(boolean(text)?),
        Values::TinyInt(values) => values.push(integer(text)?),
        Values::SmallInt(values) => values.push(integer(text)?),
        Values::Int(values) => values.push(integer(text)?),
        Values::BigInt(values) => values.push(integer(text)?),
        Values::Float(values) => {
            values.push(float(text).and_then(|value: f32| finite(value, value.is_finite()))?);
        }
        Values::Double(values) => {
            values.push(float(text).and_then(|value: f64| finite(value, value.is_finite()))?);
        }
        Values::Decimal { unscaled, scale, bound } => {
            unscaled.push(decimal(text, *scale, *bound)?);
        }
        Values::Date(values) => values.push(crate::time::days_of_text(text)?),
        Values::Timestamp(values) => values.push(match input {
            JsonInput::OpenX(_) => crate::time::micros_of_text(text)?,
            JsonInput::Hive(formats) => listed_timestamp(formats, text)?,
        }),
        Values::Text(texts, characters_max) => {
            texts.bytes.extend_from_slice(text.as_bytes());
            end_text(texts, *characters_max)?;
        }
        Values::Binary(texts) => {
            match shape {
                Shape::Binary(BinaryText::Base64) => STANDARD
                    .decode_vec(text, &mut texts.bytes)
                    .map_err(|_| "not base64 with padding")?,
                _ => texts.bytes.extend_from_slice(text.as_bytes()),
            }
            texts.end();
        }
        Values::List { .. } | Values::Map(_) | Values::Struct(_) => return Err(""),
    }
    Ok(())
}

/// Ends a text unless it has too many characters.
#[inline(always)]
pub(super) fn end_text(texts: &mut Texts, characters_max: Option<u32>) -> Result<(), Why> {
    if let Some(max) = characters_max {
        check_length(texts.open(), max as usize)?;
    }
    texts.end();
    Ok(())
}

fn check_length(text: &[u8], characters_max: usize) -> Result<(), Why> {
    // The bytes that begin a character.
    let characters = || text.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    if text.len() > characters_max && characters() > characters_max {
        return Err("too long");
    }
    Ok(())
}

fn boolean(text: &str) -> Result<bool, Why> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(""),
    }
}

fn integer<I: TryFrom<i64>>(text: &str) -> Result<I, Why> {
    let value = match parse_short_integer(text) {
        Some(value) => value,
        None => {
            let whole = Number::parse(text).ok_or("")?.scaled(0, Excess::Refuse)?;
            i64::try_from(whole).map_err(|_| OUT_OF_RANGE)?
        }
    };
    I::try_from(value).map_err(|_| OUT_OF_RANGE)
}

/// The nearest float; infinite where the number is too large.
fn float<F: std::str::FromStr>(text: &str) -> Result<F, Why> {
    // The library's parser also takes `inf`, `nan` and `.5`.
    Number::parse(text).ok_or("")?;
    text.parse().map_err(|_| "")
}

fn finite<F>(value: F, is_finite: bool) -> Result<F, Why> {
    if is_finite { Ok(value) } else { Err(OUT_OF_RANGE) }
}

fn decimal(text: &str, scale: u8, bound: i128) -> Result<i128, Why> {
    let number = Number::parse(text).ok_or("")?;
    let unscaled = number.scaled(scale, Excess::RoundHalfUp)?;
    if unscaled.abs() < bound { Ok(unscaled) } else { Err(OUT_OF_RANGE) }
}

/// Microseconds since 1970 by the first form that a text has.
fn listed_timestamp(formats: &[TimestampFormat], text: &str) -> Result<i64, Why> {
    let found = match formats {
        [] => crate::time::micros_of_java(text),
        formats => formats.iter().find_map(|format| format.micros(text)),
    };
    found.ok_or("not a timestamp of a form that is listed")
}
