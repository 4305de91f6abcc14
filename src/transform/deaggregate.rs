//! Firehose's `RecordDeAggregation`: each of several sub-records in a record becomes a part.
//!
//! Owns what a sub-record is, and where text is cut. JSON documents (`documents`) stand one behind the
//! other, with or without whitespace, which belongs to none of them; a list is one document and is not
//! opened. Text is cut at every delimiter; what is empty between two of them is no sub-record, so that
//! producers may end each with a delimiter or begin with one.
//!
//! A record of more than [`SUB_RECORDS_MAX`] stays whole, and so does one that holds none. What cannot
//! be read behind good documents fails by itself, from its first byte to the end of the record: where
//! the next good one would begin cannot be known.

use super::documents::{Found, leading_documents};
use super::inside::{Inside, Processor};
use super::{Part, Transform, Verdict};

/// Firehose passes a record whole that has more.
const SUB_RECORDS_MAX: usize = 500;
const FAILED: &str = "Transform.DeaggregationFailed";

/// What sub-records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubRecords {
    /// Documents of JSON.
    Json,
    /// What stands between delimiters.
    Delimited(String),
}

/// The step.
#[must_use]
pub fn deaggregate(sub_records: SubRecords) -> impl Transform {
    Inside::new(Deaggregate { sub_records })
}

#[derive(Debug)]
pub(super) struct Deaggregate {
    pub(super) sub_records: SubRecords,
}

impl Processor for Deaggregate {
    fn verdict(&self, part: &Part) -> Verdict {
        let found = match &self.sub_records {
            // One more tells that the record has too many.
            SubRecords::Json => leading_documents(&part.data, SUB_RECORDS_MAX + 1),
            SubRecords::Delimited(delimiter) => pieces(&part.data, delimiter.as_bytes()),
        };
        let Found { places, bad } = found;
        if places.len() > SUB_RECORDS_MAX || (places.is_empty() && bad.is_none()) {
            return Verdict::Parts(vec![part.clone()]);
        }
        let parts: Vec<Part> = places
            .iter()
            .map(|place| Part {
                data: part.data.slice(place.clone()),
                partition_keys: part.partition_keys.clone(),
            })
            .collect();
        let Some((at, why)) = bad else {
            return Verdict::Parts(parts);
        };
        let number = parts.len() + 1;
        let why = format!("sub-record {number}, at byte {at} of the record, is no JSON: {why}");
        match parts.is_empty() {
            true => Verdict::failed(FAILED, why),
            false => Verdict::parts_and_rest(parts, part.data.slice(at..), FAILED, why),
        }
    }
}

fn pieces(data: &[u8], delimiter: &[u8]) -> Found {
    let mut places = Vec::new();
    let mut start = 0;
    while places.len() <= SUB_RECORDS_MAX && start < data.len() {
        let rest = &data[start..];
        let length = rest.windows(delimiter.len()).position(|window| window == delimiter);
        let length = length.unwrap_or(rest.len());
        if length > 0 {
            places.push(start..start + length);
        }
        start += length + delimiter.len();
    }
    Found { places, bad: None }
}
