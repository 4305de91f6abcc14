//! What an object in a store tells of the records that it holds.
//!
//! Reads as little as that takes: of Parquet its end, of failures their lines, of records as they are
//! only what was noted beside them.

use super::name::Name;
use super::roots::Role;
use crate::convert::{Counted, Provenance, footer_bytes, sub_sequence_number};
use crate::deliver::contents::{self, Listed};
use crate::deliver::{ListError, Stores};
use crate::plan::Target;
use crate::record::StreamName;

/// Most footers are shorter; a longer one takes a second read.
const FOOTER_BYTES_GUESSED: u64 = 32 << 10;
/// Of a line of failures so much is looked at: its record may have a thousand KiB, in base64.
const LINE_BYTES_MAX: usize = 2 << 20;

/// What was read of one object.
pub(super) enum Read {
    /// It has gone since it was listed.
    Gone,
    Footer(Box<Option<Provenance>>),
    Rows(Option<u64>),
    /// How many lines, and the records and the parts that they name.
    Lines(u64, Vec<u64>, Vec<u64>),
}

pub(super) async fn read(
    stores: &Stores,
    target: &Target,
    object: &Listed,
    (role, has_footer): (Role, bool),
    stream: &StreamName,
) -> Result<Read, ListError> {
    if has_footer {
        return Ok(match footer(stores, target, object).await? {
            Some(footer) => Read::Footer(Box::new(footer)),
            None => Read::Gone,
        });
    }
    let is_ours = Name::of(&object.key).is_some_and(|name| name.stream.ends_with(stream.as_str()));
    if !is_ours {
        return Ok(Read::Rows(None));
    }
    if role != Role::Error {
        return Ok(Read::Rows(contents::noted_rows(stores, target, object).await?));
    }
    let (mut records, mut parts) = (Vec::new(), Vec::new());
    let mut take = |line: &[u8]| match failed_record(line) {
        Some((number, Counted::Records)) => records.push(number),
        Some((number, Counted::Parts)) => parts.push(number),
        None => {}
    };
    let lines = contents::lines(stores, target, object, LINE_BYTES_MAX, &mut take).await?;
    Ok(lines.map_or(Read::Gone, |lines| Read::Lines(lines, records, parts)))
}

/// The record or part that a failure names.
fn failed_record(line: &[u8]) -> Option<(u64, Counted)> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        sequence_number: Option<String>,
        #[serde(default)]
        sub_sequence_number: u32,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let is_part = line.sub_sequence_number == sub_sequence_number(Counted::Parts);
    let counted = if is_part { Counted::Parts } else { Counted::Records };
    Some((line.sequence_number?.parse().ok()?, counted))
}

/// `None` when the object has gone; an inner `None` when it has no footer that can be read.
async fn footer(
    stores: &Stores,
    target: &Target,
    object: &Listed,
) -> Result<Option<Option<Provenance>>, ListError> {
    let Some(mut end) = contents::end_of(stores, target, object, FOOTER_BYTES_GUESSED).await?
    else {
        return Ok(None);
    };
    let Some(wanted) = footer_bytes(&end).filter(|bytes| *bytes as u64 <= object.size_bytes) else {
        return Ok(Some(None));
    };
    if wanted > end.len() {
        match contents::end_of(stores, target, object, wanted as u64).await? {
            Some(longer) => end = longer,
            None => return Ok(None),
        }
    }
    let first = end.len().saturating_sub(wanted);
    Ok(Some(Provenance::read(&end[first..])))
}
