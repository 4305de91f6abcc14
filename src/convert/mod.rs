//! Records to the bytes of an object: JSON to rows of Parquet by a table's columns, or the records as
//! they are.
//!
//! Owns the reading of JSON, the rules of types, the columns, the Parquet file, the object of plain
//! records, and the lines that tell of failed records. Does not own the choice of records for an
//! object, its key, or where the bytes go; reads no clock and no disk.
//!
//! What follows is about rows. A record is one or more JSON objects, one behind the other, with or
//! without whitespace between them; each becomes a row. Its values are appended to the columns as they
//! are read, and taken back when something does not fit: a bad record leaves no trace in the file, and
//! a bad object takes the record's other objects with it. Keys are compared with columns in lower case,
//! at every depth; of equal keys the last wins, unknown ones are skipped, and a missing one is null, as
//! is JSON's
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
//! | `binary` | a string of base64, or by option any string | other strings, other values | BYTE_ARRAY |
//! | `date` | a string `yyyy-[M]M-[d]d` | days that no calendar has, numbers | INT32, DATE |
//! | `timestamp` | see below | other texts, times outside the years 1 to 9999 | INT64, TIMESTAMP(MICROS, UTC); by option MILLIS, or INT96 |
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
//! below 10^12, milliseconds from there on. Digits behind the microsecond, or millisecond by option, are left
//! out. Base64 is that of the standard alphabet, with padding.
//!
//! A record may nest its values 64 deep, have 256 MiB, and make 4 Mi values in the columns, absent
//! ones included; beyond that it is rejected too.
//!
//! By option keys are compared otherwise, or Hive's JSON SerDe is followed, which takes less
//! ([`JsonInput`]). Of Firehose's options for Parquet, `MaxPaddingBytes` is left out: it aligns row
//! groups with the blocks of HDFS, and object stores have none.
//!
//! Choices against a silent change of data, where other converters are said to differ: no scalar
//! becomes an array of one, no `""` or `[]` becomes null, no number wraps around or loses its
//! fraction, no text is cut.

mod format;
mod input;
mod joda;

mod schema;
mod keys;

mod decoder;
mod decode;
mod quick;
mod scalars;
mod rejection;
mod columns;
mod habits;
mod arrays;

mod int96;
mod parquet;
mod pages;
mod orders;
mod sorting;
mod file;
mod rows;
mod records;
mod containers;

mod failure;
mod footer;
mod stored;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use arrow_schema::ArrowError;

pub use self::decoder::Decoder;
pub use self::failure::{FailureLine, ProcessingFailureLine, TableName, sub_sequence_number};
pub use self::footer::{Counted, Origin, Provenance, footer_bytes};
pub use self::format::{
    BinaryText, Delimiter, Dictionary, Format, ParquetCompression, ParquetOptions,
    RecordsCompression, RecordsOptions, TimestampForm, WriterVersion,
};
pub use self::input::{JsonInput, OpenXOptions};
pub use self::joda::TimestampFormat;
use self::records::RecordsEncoder;
pub use self::rejection::{RejectCode, Rejection};
use self::rows::RowsEncoder;
pub use self::schema::{Schema, SchemaError};
pub use self::stored::{StoredTable, stored_row_count, stored_table};

/// The longest record that is looked at; transforms and sources may make longer ones than producers.
const DATA_BYTES_MAX: usize = 256 << 20;
/// The level that the zstd program has by default, for objects of records.
const ZSTD_LEVEL: i32 = 3;

/// Turns records into one object in memory.
#[derive(Debug)]
pub struct Encoder {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Rows(Box<RowsEncoder>),
    Records(RecordsEncoder),
}

/// What a record added to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// One row for each JSON object in the record, or one for the record itself; never 0.
    pub row_count: u64,
}

/// A finished object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Its content.
    pub bytes: Vec<u8>,
    /// The rows in it, or the records.
    pub row_count: u64,
}

/// Why a record did not get into the object.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The record is bad; the encoder is as it was before and takes the next one.
    #[error("convert a record: {0}")]
    Rejected(Rejection),
    /// The object is lost; the encoder must not be used again.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why there is no object. It does not depend on the records: another attempt fails in the same way.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Values could not become Arrow arrays.
    #[error("build a batch of columns")]
    Columns(#[from] ArrowError),
    /// The Parquet library refused a batch, or the end of the file.
    #[error("write a parquet file in memory")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    /// A compressor failed, in memory.
    #[error("compress records in memory")]
    Compress(#[source] std::io::Error),
}

impl Encoder {
    /// An encoder for a new object.
    ///
    /// # Errors
    /// When a compressor cannot be made.
    pub fn new(format: &Format) -> Result<Self, EncodeError> {
        let inner = match format {
            Format::Parquet(schema) => Inner::Rows(Box::new(RowsEncoder::new(schema))),
            Format::Records(options) => Inner::Records(RecordsEncoder::new(*options)?),
        };
        Ok(Self { inner })
    }

    /// Appends one record: all of its rows, or none.
    ///
    /// # Errors
    /// [`PushError::Rejected`] when the record is bad, which happens with rows only, and the encoder
    /// goes on; [`PushError::Encode`] when the object cannot be written.
    pub fn push(&mut self, data: &[u8]) -> Result<Pushed, PushError> {
        match &mut self.inner {
            Inner::Rows(encoder) => encoder.push(data),
            Inner::Records(encoder) => Ok(encoder.push(data)?),
        }
    }

    /// The rows, or records, so far.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        match &self.inner {
            Inner::Rows(encoder) => encoder.row_count(),
            Inner::Records(encoder) => encoder.row_count(),
        }
    }

    /// Ends the object; the pairs of `metadata` go into the footer, where there is one.
    ///
    /// # Errors
    /// When the object cannot be written.
    pub fn finish(self, metadata: &[(String, String)]) -> Result<Encoded, EncodeError> {
        match self.inner {
            Inner::Rows(encoder) => encoder.finish(metadata),
            Inner::Records(encoder) => encoder.finish(),
        }
    }
}
