//! Firehose's `AppendDelimiterToRecord`: every record ends with the delimiter.
//!
//! Owns when a record gets one. The delimiter becomes a part of the record, which later steps, queries and
//! the table see. A record that ends with it already is left as it is, so that no empty line comes from
//! producers that end their lines; Firehose gives such a record a second one. An empty record becomes
//! the delimiter alone.
//!
//! Does not own what stands between the records of an object: that is `format: {records: {delimiter}}`
//! (`convert::Delimiter`), which puts none behind the last one. Captures of Firehose show the same, while
//! its documents speak of the end of each record. So a step that appends a line feed and is the last of a
//! stream of records as they are is taken for that setting when the configuration is read
//! (`config::processors`), and what is run here is any other: one in front of other steps, one with
//! another delimiter, or one in front of Parquet, where a line feed behind a document changes nothing.

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;

use super::{Item, Part, Transform, Unavailable, Verdict};

/// Ends every record with a delimiter.
#[derive(Clone, Debug)]
pub struct AppendDelimiter {
    delimiter: Bytes,
}

impl AppendDelimiter {
    /// A step that appends `delimiter`.
    #[must_use]
    pub fn new(delimiter: impl Into<Bytes>) -> Self {
        Self { delimiter: delimiter.into() }
    }

    fn append(&self, part: &Part) -> Part {
        if part.data.ends_with(&self.delimiter) {
            return part.clone();
        }
        let mut data = BytesMut::with_capacity(part.data.len() + self.delimiter.len());
        data.extend_from_slice(&part.data);
        data.extend_from_slice(&self.delimiter);
        Part { data: data.freeze(), partition_keys: part.partition_keys.clone() }
    }
}

impl Transform for AppendDelimiter {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        let verdicts = items.iter().map(|item| Verdict::Parts(vec![self.append(&item.part)]));
        let verdicts = verdicts.collect();
        Box::pin(async { Ok(verdicts) })
    }
}
