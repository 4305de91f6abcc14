//! Records of JSON to rows of Parquet, by a table's columns.
//!
//! Owns the reading of JSON, the rules of types, the columns, the Parquet file and the line that
//! tells of a rejected record. Does not own the choice of records for an object, its key, or where
//! the bytes go; reads no clock and no disk.
//!
//! A record is one or more JSON objects, one behind the other, with or without whitespace between
//! them; each becomes a row. It is first decoded whole into cells, which may fail, and then appended
//! to the columns, which cannot: a bad record leaves no trace in the file, and a bad object takes
//! the record's other objects with it. Keys are compared with columns in lower case, at every depth;
//! of equal keys the last wins, unknown ones are skipped, and a missing one is null, as is JSON's
//! `null`. A value that a later key replaces must fit its column as well.
//!
//! | Hive type | accepted JSON | rejected JSON | Parquet |
//! |---|---|---|---|
//! | `boolean` | `true`, `false`, the strings in any case | other strings, numbers | BOOLEAN |
//! | `tinyint`, `smallint`, `int`, `bigint` | a whole number (`20`, `20.0`, `2e1`), also as a string | fractions, numbers out of range, `"0x14"`, `""` | INT32 with INT_8, INT32 with INT_16, INT32, INT64 |
//! | `float`, `double` | a number, also as a string; the nearest is stored | numbers out of range, `"NaN"`, `"Infinity"` | FLOAT, DOUBLE |
//! | `decimal(p,s)` | a number, also as a string; digits beyond `s` are rounded half up | more than `p - s` digits before the point | FIXED_LEN_BYTE_ARRAY as short as `p` allows, DECIMAL |
//! | `string` | a string; any other value as its JSON text | | BYTE_ARRAY, STRING |
//! | `char(n)`, `varchar(n)` | as `string` | more than `n` characters | BYTE_ARRAY, STRING |
//! | `date` | a string `yyyy-[M]M-[d]d` | days that no calendar has, numbers | INT32, DATE |
//! | `timestamp` | see below | other texts, times outside the years 1 to 9999 | INT64, TIMESTAMP(MICROS, UTC) |
//! | `array<T>` | an array | scalars, objects, `""` | group LIST: `list.element` |
//! | `map<K,V>` | an object; its keys become `K` as strings do | other values, keys that do not fit | group MAP: `key_value.key`, `key_value.value` |
//! | `struct<...>` | an object | other values, `[]` | group |
//!
//! Everything in the third column is `DataFormatConversion.MalformedData`, and so is a record with
//! JSON other than objects at its top. What is not JSON, an empty record and one of whitespace are
//! `DataFormatConversion.ParseError`, wherever the fault stands in the record.
//!
//! A timestamp is the string `yyyy-MM-ddTHH:mm:ss` or, with one-digit fields allowed,
//! `yyyy-MM-dd HH:mm:ss`, either with up to nine digits of a fraction and with `Z`, `+0300`,
//! `-06:00`, `+03` or nothing (UTC) behind it; or a number, also as a string: seconds since 1970
//! below 10^12, milliseconds from there on. Digits behind the microsecond are left out.
//!
//! A record may nest its values 64 deep, have 256 MiB, and make 4 Mi values in the columns, absent
//! ones included; beyond that it is rejected too.
//!
//! Choices against a silent change of data, where other converters are said to differ: no scalar
//! becomes an array of one, no `""` or `[]` becomes null, no number wraps around or loses its
//! fraction, no text is cut.

mod json;
mod number;
mod time;

mod cells;
mod decode;
mod rejection;
mod schema;

mod columns;
mod encoding;
mod parquet;

mod failure;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::ArrowError;

use self::cells::Cells;
use self::columns::Column;
pub use self::failure::{FailureLine, TableName};
use self::parquet::Writer;
pub use self::rejection::{RejectCode, Rejection};
pub use self::schema::{Schema, SchemaError};
pub use self::stored::{StoredTable, stored_row_count, stored_table};

/// The longest record that is looked at; transforms and sources may make longer ones than producers.
const DATA_BYTES_MAX: usize = 256 << 20;
/// A batch goes to the file once it has so many rows, bytes of JSON or values. Small batches stay in
/// the processor's cache on their way.
const BATCH_ROWS_MAX: usize = 2048;
const BATCH_BYTES_MAX: usize = 4 << 20;
const BATCH_VALUES_MAX: usize = 1 << 20;

/// Turns records into one Parquet file in memory.
#[derive(Debug)]
pub struct Encoder {
    schema: Arc<Schema>,
    cells: Cells,
    columns: Vec<Column>,
    batch: BatchSize,
    writer: Writer,
    row_count: u64,
}

/// What a record added to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// One row for each JSON object in the record; never 0.
    pub row_count: u64,
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// The rows in it.
    pub row_count: u64,
}

/// Why a record did not get into the file.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The record is bad; the encoder is as it was before and takes the next one.
    #[error("convert a record: {0}")]
    Rejected(Rejection),
    /// The file is lost; the encoder must not be used again.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why there is no file. It does not depend on the records: another attempt fails in the same way.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Values could not become Arrow arrays.
    #[error("build a batch of columns")]
    Columns(#[from] ArrowError),
    /// The Parquet library refused a batch, or the end of the file.
    #[error("write a parquet file in memory")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

#[derive(Debug, Default)]
struct BatchSize {
    rows: usize,
    json_bytes: usize,
    values: usize,
}

impl Encoder {
    /// An encoder for a new file.
    #[must_use]
    pub fn new(schema: &Arc<Schema>) -> Self {
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
    pub fn push(&mut self, data: &[u8]) -> Result<Pushed, PushError> {
        decode::decode(&self.schema.root, data, &mut self.cells).map_err(PushError::Rejected)?;
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

    /// Ends the file; the pairs of `metadata` go into its footer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self, metadata: &[(String, String)]) -> Result<Encoded, EncodeError> {
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
