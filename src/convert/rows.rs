//! Rows of a table, gathered into batches on their way to the file.
//!
//! Owns the size of a batch, and when it goes to the file. Does not own the columns (`decoder`) or
//! the file (`file`).

use std::sync::Arc;

use super::decoder::Decoder;
use super::file::Writer;
use super::schema::Schema;
use super::{EncodeError, Encoded, PushError, Pushed};

/// A batch goes to the file once it has so many rows, bytes of JSON or values. Small batches stay in
/// the processor's cache on their way.
const BATCH_ROWS_MAX: u64 = 2048;
const BATCH_BYTES_MAX: usize = 4 << 20;
const BATCH_VALUES_MAX: usize = 1 << 20;

/// Turns records into one Parquet file in memory.
#[derive(Debug)]
pub(super) struct RowsEncoder {
    decoder: Decoder,
    writer: Writer,
    /// What went to the file.
    written_rows: u64,
}

impl RowsEncoder {
    /// An encoder for a new file.
    pub(super) fn new(schema: &Arc<Schema>) -> Self {
        Self { decoder: Decoder::new(schema), writer: Writer::new(schema), written_rows: 0 }
    }

    /// Appends the rows of one record: all of them, or none.
    ///
    /// # Errors
    /// [`PushError::Rejected`] when the record is bad, and the encoder goes on;
    /// [`PushError::Encode`] when the file cannot be written.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<Pushed, PushError> {
        let pushed = self.decoder.push(data).map_err(PushError::Rejected)?;
        // Records are bounded as well, so that no offset in a batch can overflow.
        if self.decoder.row_count() >= BATCH_ROWS_MAX
            || self.decoder.json_bytes() >= BATCH_BYTES_MAX
            || self.decoder.value_count() >= BATCH_VALUES_MAX
        {
            self.write_batch()?;
        }
        Ok(pushed)
    }

    pub(super) fn row_count(&self) -> u64 {
        self.written_rows + self.decoder.row_count()
    }

    /// Ends the file; the pairs of `metadata` go into its footer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn finish(mut self, metadata: &[(String, String)]) -> Result<Encoded, EncodeError> {
        self.write_batch()?;
        let bytes = self.writer.finish(metadata)?;
        let row_count = self.written_rows;
        Ok(Encoded { bytes, row_count })
    }

    fn write_batch(&mut self) -> Result<(), EncodeError> {
        let json_bytes = self.decoder.json_bytes();
        self.written_rows += self.decoder.row_count();
        let batch = self.decoder.take_batch()?;
        Ok(self.writer.write(&batch, json_bytes)?)
    }
}
