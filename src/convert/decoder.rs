//! Records into batches of rows in memory, without a file.
//!
//! Owns the columns of the batch that is being filled, and what is counted of it. Does not own the
//! size of a batch.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::ArrowError;

use super::columns::Columns;
use super::decode::decode;
use super::schema::Schema;
use super::{Pushed, Rejection};

/// Turns records into Arrow's arrays; what [`Encoder`](super::Encoder) writes to a file.
#[derive(Debug)]
pub struct Decoder {
    schema: Arc<Schema>,
    columns: Columns,
    /// Room for texts that had escapes.
    unescaped: Vec<u8>,
    json_bytes: usize,
    value_count: usize,
}

impl Decoder {
    /// A decoder without rows.
    #[must_use]
    pub fn new(schema: &Arc<Schema>) -> Self {
        Self {
            schema: Arc::clone(schema),
            columns: Columns::new(&schema.root),
            unescaped: vec![],
            json_bytes: 0,
            value_count: 0,
        }
    }

    /// Appends the rows of one record: all of them, or none.
    ///
    /// # Errors
    /// When the record is bad; the decoder is as it was before and takes the next one.
    pub fn push(&mut self, data: &[u8]) -> Result<Pushed, Rejection> {
        let Schema { root, options, .. } = &*self.schema;
        let decoded = decode(root, &options.input, data, &mut self.columns, &mut self.unescaped)?;
        self.json_bytes += data.len();
        self.value_count += decoded.value_count;
        Ok(Pushed { row_count: decoded.row_count as u64 })
    }

    /// The rows since the last batch was taken.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.columns.length as u64
    }

    /// The bytes of JSON that these rows were.
    pub(super) fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// How many values these rows have in the columns, or more.
    pub(super) fn value_count(&self) -> usize {
        self.value_count
    }

    /// Takes the rows, in the types that the file has.
    ///
    /// # Errors
    /// When Arrow finds the columns at odds with each other, which would be a fault of theirs.
    pub fn take_batch(&mut self) -> Result<RecordBatch, ArrowError> {
        (self.json_bytes, self.value_count) = (0, 0);
        let options = RecordBatchOptions::new().with_row_count(Some(self.columns.length));
        let arrays = self.columns.take_arrays(self.schema.arrow.fields())?;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema.arrow), arrays, &options)
    }
}
