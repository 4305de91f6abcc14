//! The JSON documents in a record, as places in its bytes.
//!
//! Owns where a document begins and ends. Does not own what a document
//! means: who wants to keep unknown content as it is works on places, not on values.
//!
//! Whose values are built (`jq`, `filter`) or whose members are looked at (`fields`) is bounded in depth
//! and width as everywhere, by [`check_shape`]. Who only takes documents apart holds none of them, so
//! there the 128 levels that the parser recurses to are the bound, and what is deeper fails where it
//! is read.

use std::ops::Range;

use serde::de::IgnoredAny;

use crate::jq::check_shape;

/// The documents that a record begins with.
pub(super) struct Found {
    /// Where they stand, without the whitespace between them.
    pub(super) places: Vec<Range<usize>>,
    /// Where something else follows them, and why it is no document.
    pub(super) bad: Option<(usize, String)>,
}

/// The first documents of a record, no more than `count_max`, and what stands behind them.
pub(super) fn leading_documents(data: &[u8], count_max: usize) -> Found {
    let mut places = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(data).into_iter::<IgnoredAny>();
    let mut start = 0;
    while places.len() < count_max
        && let Some(document) = stream.next()
    {
        start += leading_whitespace(&data[start..]);
        if let Err(error) = document {
            return Found { places, bad: Some((start, error.to_string())) };
        }
        let end = stream.byte_offset();
        places.push(start..end);
        start = end;
    }
    Found { places, bad: None }
}

/// The places of the documents in a record, which whitespace may stand between.
///
/// # Errors
/// In words, where the record is not UTF-8, not JSON, or has too many levels or members.
pub(super) fn documents(data: &[u8]) -> Result<(&str, Vec<Range<usize>>), String> {
    let text = std::str::from_utf8(data).map_err(|_| "the record is not UTF-8".to_owned())?;
    check_shape(data).map_err(|why| format!("the record has {why}"))?;
    match leading_documents(data, usize::MAX) {
        Found { places, bad: None } => Ok((text, places)),
        Found { bad: Some((_, why)), .. } => Err(format!("the record is no JSON: {why}")),
    }
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
    let skip = |text: &mut &'a str| *text = &text[leading_whitespace(text.as_bytes())..];
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

fn leading_whitespace(data: &[u8]) -> usize {
    data.iter().take_while(|byte| b" \t\n\r".contains(byte)).count()
}
