//! What the objects of a stream contain: the choices, and what names and stores are told of them.
//!
//! Owns the choices, their defaults, and the extension and content encoding that follow from them.
//! Does not own how anything is encoded, nor how the choices are written in the YAML file.

use std::sync::Arc;

use super::input::JsonInput;
use super::schema::Schema;

/// Firehose's, and that of all writers.
const PAGE_BYTES_DEFAULT: u64 = 1 << 20;

/// What the objects of a stream contain.
#[derive(Clone, Debug)]
pub enum Format {
    /// Rows of a table, converted from JSON; the schema knows the options.
    Parquet(Arc<Schema>),
    /// The records as they were sent, one behind the other; none is looked into and none rejected.
    Records(RecordsOptions),
}

/// How rows are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetOptions {
    /// How the JSON is read that they are made of.
    pub input: JsonInput,
    /// How the pages of columns are compressed that it makes smaller.
    pub compression: ParquetCompression,
    /// The form of timestamps.
    pub timestamps: TimestampForm,
    /// What the strings of binary columns are.
    pub binary: BinaryText,
    /// The encoded bytes of a row group, for Firehose's `BlockSizeBytes`. Absent, a group ends at 128 MiB
    /// of JSON or 1 Mi rows.
    pub row_group_bytes: Option<u64>,
    /// The bytes of a page before compression, for Firehose's `PageSizeBytes`. 20,000 rows end a page
    /// in any case.
    pub page_bytes: u64,
    /// Which columns get a dictionary.
    pub dictionary: Dictionary,
    /// The form of data pages.
    pub writer_version: WriterVersion,
    /// Columns, in lower case, of which each row group has a Bloom filter: readers who look for one value
    /// pass over the groups that do not have it. Those that a table does not have, nested ones,
    /// booleans and INT96 get none.
    pub bloom_filters: Vec<String>,
    /// Columns, in lower case, that the rows of a row group are sorted by, the first one first; nulls come
    /// before values. Those that a table does not have, and nested ones, are passed over.
    pub sort_by: Vec<String>,
}

impl Format {
    /// Whether rows are put into an order, for which many of them are held at once.
    #[must_use]
    pub fn sorts_rows(&self) -> bool {
        matches!(self, Self::Parquet(schema) if !schema.options.sort_by.is_empty())
    }
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            input: JsonInput::default(),
            compression: ParquetCompression::default(),
            timestamps: TimestampForm::default(),
            binary: BinaryText::default(),
            row_group_bytes: None,
            page_bytes: PAGE_BYTES_DEFAULT,
            dictionary: Dictionary::default(),
            writer_version: WriterVersion::default(),
            bloom_filters: vec![],
            sort_by: vec![],
        }
    }
}

/// Which columns of a Parquet file get a dictionary, for Firehose's `EnableDictionaryCompression`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dictionary {
    /// Those that one makes smaller, by the first rows of a row group.
    #[default]
    Auto,
    /// All that can have one.
    Always,
    /// None.
    Never,
}

/// The form of data pages in a Parquet file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterVersion {
    /// The older form; its texts without a dictionary have their lengths in front, as differences.
    #[default]
    V1,
    /// Levels lie outside of what is compressed.
    V2,
}

/// How the pages of a Parquet file are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParquetCompression {
    /// Fast; Firehose's default.
    #[default]
    Snappy,
    /// Smaller than Snappy, for more of the processor's time.
    Zstd,
    /// For readers that know no Zstandard.
    Gzip,
    /// Pages are stored as they are.
    None,
}

/// The form of timestamps in a Parquet file; all of them are instants in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampForm {
    /// INT64, microseconds since 1970.
    #[default]
    Micros,
    /// INT64, milliseconds since 1970; digits behind the millisecond are left out.
    Millis,
    /// INT96, the only form that Hive's own reader takes. It has no statistics.
    Int96,
}

/// What the strings of binary columns are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinaryText {
    /// Base64 with padding, by the standard alphabet; the decoded bytes are stored.
    #[default]
    Base64,
    /// Text; its UTF-8 bytes are stored.
    Raw,
}

/// How records are written that are delivered as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordsOptions {
    /// How the whole object is compressed.
    pub compression: RecordsCompression,
    /// What stands between records.
    pub delimiter: Delimiter,
}

/// How an object of records is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordsCompression {
    /// Not at all.
    #[default]
    None,
    /// One gzip member.
    Gzip,
    /// A ZIP archive with one deflated entry, named at random.
    Zip,
    /// The stream of snappy-java, which is not Snappy's own framing format.
    Snappy,
    /// The stream of Hadoop's Snappy codec.
    HadoopSnappy,
    /// One Zstandard frame.
    Zstd,
}

/// What stands between records. A record that ends with a line feed of its own gets no second one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delimiter {
    /// Nothing.
    #[default]
    None,
    /// A line feed between two records and none at the end, as Firehose writes it.
    Newline,
    /// A line feed behind each record.
    NewlineAtEnd,
}

impl Format {
    /// A text that differs where the sizes of objects may: the choices, not the columns.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Parquet(schema) => format!("{:?}", schema.options),
            Self::Records(options) => format!("{options:?}"),
        }
    }

    /// The end of an object's name with its dot; may be empty.
    #[must_use]
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Parquet(_) => ".parquet",
            Self::Records(options) => match options.compression {
                RecordsCompression::None => "",
                RecordsCompression::Gzip => ".gz",
                RecordsCompression::Zip => ".zip",
                // Firehose's documentation says .hsnappy of the second; it writes the same for both.
                RecordsCompression::Snappy | RecordsCompression::HadoopSnappy => ".snappy",
                RecordsCompression::Zstd => ".zst",
            },
        }
    }

    /// The `Content-Encoding` that stores are told.
    #[must_use]
    pub fn content_encoding(&self) -> Option<&'static str> {
        match self {
            // Parquet compresses its pages, not the file.
            Self::Parquet(_) => None,
            Self::Records(options) => match options.compression {
                RecordsCompression::None => None,
                RecordsCompression::Gzip => Some("gzip"),
                RecordsCompression::Zip => Some("zip"),
                RecordsCompression::Snappy => Some("snappy-java"),
                RecordsCompression::HadoopSnappy => Some("hadoop-snappy"),
                RecordsCompression::Zstd => Some("zstd"),
            },
        }
    }
}
