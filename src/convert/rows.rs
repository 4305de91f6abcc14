//! Rows of a table, gathered into batches on their way to the file.
//!
//! Owns the order of decoding, appending and writing, and the size of a batch. Does not own the rules
//! of types (`decode`) or the file (`file`).
//!
//! Invariant: a record that is rejected has touched nothing.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};

use super::cells::Cells;
use super::columns::{self, Column};
use super::decode;
use super::file::Writer;
use super::schema::Schema;
use super::{EncodeError, Encoded, PushError, Pushed};

/// A batch goes to the file once it has so many rows, bytes of JSON or values. Small batches stay in
/// the processor's cache on their way.
const BATCH_ROWS_MAX: usize = 2048;
const BATCH_BYTES_MAX: usize = 4 << 20;
const BATCH_VALUES_MAX: usize = 1 << 20;

/// Turns records into one Parquet file in memory.
#[derive(Debug)]
pub(super) struct RowsEncoder {
    schema: Arc<Schema>,
    cells: Cells,
    columns: Vec<Column>,
    batch: BatchSize,
    writer: Writer,
    row_count: u64,
}

#[derive(Debug, Default)]
struct BatchSize {
    rows: usize,
    json_bytes: usize,
    values: usize,
}

impl RowsEncoder {
    /// An encoder for a new file.
    pub(super) fn new(schema: &Arc<Schema>) -> Self {
        let fields = schema.root.list.iter();
        Self {
            schema: Arc::clone(schema),
            cells: Cells::default(),
            columns: fields.map(|field| Column::new(&field.node)).collect(),
            batch: BatchSize::default(),
            writer: Writer::new(schema),
            row_count: 0,
        }
    }

    /// Appends the rows of one record: all of them, or none.
    ///
    /// # Errors
    /// [`PushError::Rejected`] when the record is bad, and the encoder goes on;
    /// [`PushError::Encode`] when the file cannot be written.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<Pushed, PushError> {
        let Schema { root, options, .. } = &*self.schema;
        decode::decode(root, &options.input, data, &mut self.cells).map_err(PushError::Rejected)?;
        // Written before it would grow too large, so that no offset in it can overflow.
        if self.batch.json_bytes.saturating_add(data.len()) > BATCH_BYTES_MAX {
            self.write_batch()?;
        }
        for row in &self.cells.rows {
            let cells = &self.cells.values[*row..];
            for (column, cell) in self.columns.iter_mut().zip(cells) {
                column.append(*cell, &self.cells, data);
            }
        }
        let row_count = self.cells.rows.len();
        self.batch.rows += row_count;
        self.batch.json_bytes += data.len();
        self.batch.values += self.cells.value_count;
        if self.batch.rows >= BATCH_ROWS_MAX || self.batch.values >= BATCH_VALUES_MAX {
            self.write_batch()?;
        }
        let row_count = row_count as u64;
        self.row_count += row_count;
        Ok(Pushed { row_count })
    }

    pub(super) fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Ends the file; the pairs of `metadata` go into its footer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn finish(mut self, metadata: &[(String, String)]) -> Result<Encoded, EncodeError> {
        self.write_batch()?;
        let bytes = self.writer.finish(metadata)?;
        let row_count = self.row_count;
        Ok(Encoded { bytes, row_count })
    }

    fn write_batch(&mut self) -> Result<(), EncodeError> {
        let size = std::mem::take(&mut self.batch);
        let arrays = columns::take_arrays(&mut self.columns, self.schema.arrow.fields())?;
        let options = RecordBatchOptions::new().with_row_count(Some(size.rows));
        let schema = Arc::clone(&self.schema.arrow);
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        Ok(self.writer.write(&batch, size.json_bytes)?)
    }
}
