//! The JSON documents in a record, as places in its bytes.
//!
//! Owns where a document begins and ends. Does not own what a document
//! means: who wants to keep unknown content as it is works on places, not on values.

use std::ops::Range;

use serde::de::IgnoredAny;

use crate::jq::{DEPTH_MAX, is_shallow};

/// The places of the documents in a record, which whitespace may stand between.
///
/// # Errors
/// In words, where the record is not UTF-8, not JSON, or nested too deeply.
pub(super) fn documents(data: &[u8]) -> Result<(&str, Vec<Range<usize>>), String> {
    let text = std::str::from_utf8(data).map_err(|_| "the record is not UTF-8".to_owned())?;
    if !is_shallow(data) {
        return Err(format!("the record has more than {DEPTH_MAX} levels"));
    }
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(document) = stream.next() {
        document.map_err(|error| format!("the record is no JSON: {error}"))?;
        let end = stream.byte_offset();
        start += leading_whitespace(&text[start..end]);
        documents.push(start..end);
        start = end;
    }
    Ok((text, documents))
}

/// The length of the value that `text` begins with, which something other may follow.
///
/// # Errors
/// In words, where it begins with no value.
pub(super) fn value_bytes(text: &str) -> Result<usize, String> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match stream.next() {
        Some(Ok(IgnoredAny)) => Ok(stream.byte_offset()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("a value is missing".to_owned()),
    }
}

/// Hands each member of an object to `take`: its name and its value, both as they are written. That
/// `object` is one whole object is known.
///
/// # Errors
/// What `take` answers, which ends the walk.
pub(super) fn each_member<'a, E: From<String>>(
    object: &'a str,
    mut take: impl FnMut(&'a str, &'a str) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = &object["{".len()..];
    while let Some(name) = next_value(&mut rest, '}')? {
        rest = rest.strip_prefix(':').ok_or_else(|| "a colon is missing".to_owned())?;
        let value = next_value(&mut rest, '}')?.ok_or_else(|| "a value is missing".to_owned())?;
        take(name, value)?;
    }
    Ok(())
}

/// Hands each item of a list to `take`, as it is written. That `list` is one whole list is known.
///
/// # Errors
/// What `take` answers, which ends the walk.
pub(super) fn each_item<'a, E: From<String>>(
    list: &'a str,
    mut take: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = &list["[".len()..];
    while let Some(item) = next_value(&mut rest, ']')? {
        take(item)?;
    }
    Ok(())
}

/// Takes the next value off `rest`, with the comma and the whitespace around it; none at the `end`.
fn next_value<'a>(rest: &mut &'a str, end: char) -> Result<Option<&'a str>, String> {
    let skip = |text: &mut &'a str| *text = &text[leading_whitespace(text)..];
    skip(rest);
    if rest.starts_with(end) {
        return Ok(None);
    }
    let (value, behind) = rest.split_at(value_bytes(rest)?);
    *rest = behind;
    skip(rest);
    if let Some(behind) = rest.strip_prefix(',') {
        *rest = behind;
        skip(rest);
    }
    Ok(Some(value))
}

pub(super) fn leading_whitespace(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len()
}
