//! From samples of JSON to a proposed table: columns with the reasons for their types, and doubts.
//!
//! Owns what is counted about a sample, which type follows from the counts, and the texts that carry
//! the proposal: a stream of our YAML file and Glue's `TableInput`. Does not own the rules by which
//! values become cells (`convert`); it proposes only what those rules accept, and whoever prints a
//! proposal can hold it against the converter. Reads no file and no clock.
//!
//! The path: bytes -> `json` (one small tree for each document) -> `seen` (counts, nothing of the
//! document is kept but short examples) -> `propose` (types and reasons) -> `yaml`, `glue`.
//!
//! Bounds, so that no sample exhausts memory or stack: a document has at most
//! [`RECORD_BYTES_MAX`](crate::record::RECORD_BYTES_MAX) bytes and 64 levels; all places in all
//! documents together are at most 10,000, what lies beyond is counted and told; an object with more
//! than 200 different keys is counted as a map; 33 different values of a place are remembered, each
//! with at most 64 bytes.
//!
//! The rules of types, for the values other than `null` at one place:
//!
//! | seen | proposed |
//! |---|---|
//! | `true`, `false`, also as strings | `boolean` |
//! | whole numbers within 16 bits and no ids; others | `int`; `bigint`, beyond 64 bits `decimal(38,0)` |
//! | fractions under a name of money, at most 4 digits behind the point | `decimal(p,s)` with room |
//! | other fractions and exponents | `double` |
//! | strings in the form of dates, or of timestamps | `date`, `timestamp` |
//! | numbers that are epoch seconds or milliseconds, under a name of time | `timestamp` |
//! | other strings, among them ids with leading zeros | `string` |
//! | arrays; objects; objects whose keys change | `array`; `struct`; `map` |
//! | nothing but `null`, or values of several kinds | `string`, with a doubt |

mod json;
mod text;

mod seen;
mod propose;

mod glue;
mod yaml;
#[cfg(test)]
mod tests;

pub use self::propose::{Note, Proposal, ProposedColumn, TENANT_FOLDER};

use self::json::{Document, Documents};
use self::seen::{Budget, Objects};
use crate::record::StreamName;

/// What has been seen of samples so far.
#[derive(Debug, Default)]
pub struct Inference {
    records: Objects,
    budget: Budget,
    counts: Counts,
}

/// What a sample was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents that are JSON objects.
    pub objects: u64,
    /// Documents of JSON that are no objects; the service rejects such records.
    pub not_objects: u64,
    /// Lines at which something began that is no JSON, or is too long or too deep for a record.
    pub not_json: u64,
    /// The first of those lines, counted from 1.
    pub first_bad_line: Option<u64>,
}

impl Inference {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the documents of one source: JSON lines, JSON objects one behind the other, or one
    /// JSON array of objects. What is no JSON is counted and skipped up to the next line.
    pub fn observe(&mut self, sample: &[u8]) {
        for document in Documents::new(sample) {
            match document {
                Document::Object(fields) => {
                    self.counts.objects += 1;
                    self.records.observe_record(&fields, &mut self.budget);
                }
                Document::Other => self.counts.not_objects += 1,
                Document::Bad { line } => {
                    self.counts.not_json += 1;
                    self.counts.first_bad_line.get_or_insert(line);
                }
            }
        }
    }

    /// The objects of one source as they stand in it, for those who convert them.
    pub fn objects(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut documents = Documents::new(sample);
        std::iter::from_fn(move || {
            while let Some(document) = documents.next() {
                if matches!(document, Document::Object(_)) {
                    return Some(documents.text());
                }
            }
            None
        })
    }

    /// What follows from everything seen, as a delivery stream of this name.
    #[must_use]
    pub fn propose(&self, stream: &StreamName) -> Proposal {
        propose::propose(stream, &self.records, self.budget, self.counts)
    }
}
