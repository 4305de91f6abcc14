//! Firehose's `AppendDelimiterToRecord`: every record ends with the delimiter.
//!
//! Owns nothing but that. It makes the delimiter a part of the record, which later hooks and the
//! table see; what stands between the records of an object that holds them as they are is the
//! format's own setting. A record that ends with the delimiter already is left as it is, so that no
//! empty line comes from producers that end their lines.

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
