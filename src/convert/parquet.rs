//! The file: its schema in Arrow's and in Parquet's terms, and its writer.
//!
//! Owns the encoding of each Hive type, the settings of the writer and the size of row groups. Does
//! not own where the bytes go.
//!
//! Invariants: equal rows in equal batches make equal bytes, on every machine; every field is
//! optional but the keys of maps; the file carries no Arrow schema, so that all readers see the same
//! types.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{
    Compression, Encoding, GzipLevel, LogicalType, Repetition, TimeUnit, Type as PhysicalType,
    ZstdLevel,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{self, EnabledStatistics, WriterProperties};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::encoding::{self, Choice};
use super::format::{Dictionary, ParquetCompression, TimestampForm, WriterVersion};
use super::schema::{Fields, Node, Schema, Shape};
use super::{int96, orders};
use crate::table::HiveType;

/// A row group ends with the batch that brings it to so many bytes of JSON.
const ROW_GROUP_BYTES_MAX: usize = 128 << 20;
/// And to at most so many rows.
const ROW_GROUP_ROWS_MAX: usize = 1 << 20;

/// How INT96 stands in a Parquet schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Int96As {
    Itself,
    /// As twelve bytes, which lie in pages just as INT96 does.
    Bytes,
}

/// The Arrow types of the columns.
pub(super) fn arrow_schema(root: &Fields) -> SchemaRef {
    Arc::new(ArrowSchema::new(arrow_fields(root)))
}

/// The Parquet types of the columns.
pub(super) fn parquet_schema(
    root: &Fields,
    int96: Int96As,
) -> Result<SchemaDescriptor, ParquetError> {
    let fields = parquet_fields(root, int96)?;
    let message = Type::group_type_builder("hive_schema").with_fields(fields).build()?;
    Ok(SchemaDescriptor::new(Arc::new(message)))
}

/// A Parquet file in memory that grows by batches.
#[derive(Debug)]
pub(super) struct Writer {
    schema: Arc<Schema>,
    /// Made with the first batch, which decides how columns are encoded.
    inner: Option<ArrowWriter<Vec<u8>>>,
    row_group_bytes: usize,
}

impl Writer {
    /// A file without rows.
    pub(super) fn new(schema: &Arc<Schema>) -> Self {
        Self { schema: Arc::clone(schema), inner: None, row_group_bytes: 0 }
    }

    /// Appends a batch that was made of `json_bytes` bytes of JSON.
    pub(super) fn write(
        &mut self,
        batch: &RecordBatch,
        json_bytes: usize,
    ) -> Result<(), ParquetError> {
        let inner = match &mut self.inner {
            Some(inner) => inner,
            none => none.insert(start(&self.schema, &encoding::choose(batch))?),
        };
        let groups_before = inner.flushed_row_groups().len();
        inner.write(batch)?;
        self.row_group_bytes += json_bytes;
        if inner.flushed_row_groups().len() > groups_before {
            // The batch brought the group to its most rows; what is left of it is little.
            self.row_group_bytes = 0;
        }
        let is_measured_by_json = self.schema.options.row_group_bytes.is_none();
        if is_measured_by_json && self.row_group_bytes >= ROW_GROUP_BYTES_MAX {
            self.row_group_bytes = 0;
            inner.flush()?;
        }
        Ok(())
    }

    /// Ends the file and returns its bytes; `metadata` goes into the footer.
    pub(super) fn finish(self, metadata: &[(String, String)]) -> Result<Vec<u8>, ParquetError> {
        let mut inner = match self.inner {
            Some(inner) => inner,
            None => start(&self.schema, &[])?,
        };
        for (key, value) in metadata {
            inner.append_key_value_metadata(KeyValue::new(key.clone(), value.clone()));
        }
        let bytes = inner.into_inner()?;
        let mut bytes = match self.schema.options.timestamps {
            TimestampForm::Int96 => int96::retype(bytes, &self.schema.parquet)?,
            TimestampForm::Micros | TimestampForm::Millis => bytes,
        };
        orders::by_type(&mut bytes, self.schema.parquet.num_columns());
        Ok(bytes)
    }
}

fn start(schema: &Schema, choices: &[Choice]) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties(schema, choices))
        .with_parquet_schema(schema.written.clone())
        .with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(vec![], Arc::clone(&schema.arrow), options)
}

/// The writer's settings, with a choice for each leaf column.
fn properties(schema: &Schema, choices: &[Choice]) -> WriterProperties {
    let options = &schema.options;
    let by_json = options.row_group_bytes.is_none();
    let page_bytes = options.page_bytes as usize;
    let mut properties = WriterProperties::builder()
        .set_compression(compression(options.compression))
        .set_writer_version(match options.writer_version {
            WriterVersion::V1 => properties::WriterVersion::PARQUET_1_0,
            WriterVersion::V2 => properties::WriterVersion::PARQUET_2_0,
        })
        .set_data_page_size_limit(page_bytes)
        .set_dictionary_page_size_limit(page_bytes)
        // The form that readers parse: without the word "version" some distrust all statistics.
        .set_created_by(format!("lakehose version {}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_row_count(by_json.then_some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(options.row_group_bytes.map(|bytes| bytes as usize))
        .set_statistics_enabled(EnabledStatistics::Page);
    for (column, choice) in schema.parquet.columns().iter().zip(choices) {
        let path = || column.path().clone();
        if column.physical_type() == PhysicalType::INT96 {
            // Its order is not defined.
            properties = properties.set_column_statistics_enabled(path(), EnabledStatistics::None);
        }
        let has_dictionary = match options.dictionary {
            Dictionary::Auto => *choice == Choice::Dictionary,
            Dictionary::Always => true,
            Dictionary::Never => false,
        };
        if !has_dictionary {
            properties = properties.set_column_dictionary_enabled(path(), false);
        }
        if *choice == Choice::Differences {
            properties = properties.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        } else if options.writer_version == WriterVersion::V2 {
            // Some readers of these pages know none of the encodings that came with them.
            properties = properties.set_column_encoding(path(), Encoding::PLAIN);
        }
    }
    properties.build()
}

fn compression(choice: ParquetCompression) -> Compression {
    match choice {
        ParquetCompression::Snappy => Compression::SNAPPY,
        ParquetCompression::Zstd => Compression::ZSTD(zstd_level()),
        ParquetCompression::Gzip => Compression::GZIP(GzipLevel::default()),
        ParquetCompression::None => Compression::UNCOMPRESSED,
    }
}

fn zstd_level() -> ZstdLevel {
    ZstdLevel::try_new(super::ZSTD_LEVEL).expect("the level is one of zstd's")
}

fn arrow_fields(fields: &Fields) -> Vec<ArrowField> {
    let fields = fields.list.iter();
    let converted = fields.map(|field| ArrowField::new(&field.name, arrow_type(&field.node), true));
    converted.collect()
}

fn arrow_type(node: &Node) -> DataType {
    match (&node.shape, &node.hive_type) {
        (Shape::Boolean, _) => DataType::Boolean,
        (Shape::Integer, HiveType::TinyInt) => DataType::Int8,
        (Shape::Integer, HiveType::SmallInt) => DataType::Int16,
        (Shape::Integer, HiveType::Int) => DataType::Int32,
        (Shape::Integer, _) => DataType::Int64,
        (Shape::Float, _) => DataType::Float32,
        (Shape::Double, _) => DataType::Float64,
        (Shape::Decimal { precision, scale }, _) => {
            DataType::Decimal128(*precision, *scale as i8) // At most 38.
        }
        (Shape::Text { .. }, _) => DataType::Utf8,
        (Shape::Date, _) => DataType::Date32,
        (Shape::Binary(_), _) => DataType::Binary,
        (Shape::Timestamp(TimestampForm::Micros), _) => {
            DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()))
        }
        (Shape::Timestamp(TimestampForm::Millis), _) => {
            DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, Some("UTC".into()))
        }
        (Shape::Timestamp(TimestampForm::Int96), _) => {
            DataType::FixedSizeBinary(int96::BYTES as i32)
        }
        (Shape::List(item), _) => DataType::new_list(arrow_type(item), true),
        (Shape::Map(nodes), _) => {
            let key = ArrowField::new("key", arrow_type(&nodes.key), false);
            let value = ArrowField::new("value", arrow_type(&nodes.value), true);
            let entries = DataType::Struct(vec![key, value].into());
            DataType::Map(Arc::new(ArrowField::new("key_value", entries, false)), false)
        }
        (Shape::Struct(fields), _) => DataType::Struct(arrow_fields(fields).into()),
    }
}

fn parquet_fields(fields: &Fields, int96: Int96As) -> Result<Vec<TypePtr>, ParquetError> {
    let fields = fields.list.iter();
    let converted =
        fields.map(|field| parquet_type(&field.name, &field.node, Repetition::OPTIONAL, int96));
    converted.collect()
}

fn parquet_type(
    name: &str,
    node: &Node,
    repetition: Repetition,
    int96: Int96As,
) -> Result<TypePtr, ParquetError> {
    let mut length = -1; // The library's word for none.
    let (physical, logical) = match (&node.shape, &node.hive_type) {
        (Shape::Boolean, _) => (PhysicalType::BOOLEAN, None),
        (Shape::Integer, HiveType::TinyInt) => (PhysicalType::INT32, Some(signed(8))),
        (Shape::Integer, HiveType::SmallInt) => (PhysicalType::INT32, Some(signed(16))),
        (Shape::Integer, HiveType::Int) => (PhysicalType::INT32, None),
        (Shape::Integer, _) => (PhysicalType::INT64, None),
        (Shape::Float, _) => (PhysicalType::FLOAT, None),
        (Shape::Double, _) => (PhysicalType::DOUBLE, None),
        (Shape::Decimal { precision, scale }, _) => {
            return parquet_decimal(name, *precision, *scale, repetition);
        }
        (Shape::Text { .. }, _) => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        (Shape::Date, _) => (PhysicalType::INT32, Some(LogicalType::Date)),
        (Shape::Binary(_), _) => (PhysicalType::BYTE_ARRAY, None),
        (Shape::Timestamp(TimestampForm::Micros), _) => {
            (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
        }
        (Shape::Timestamp(TimestampForm::Millis), _) => {
            (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS)))
        }
        (Shape::Timestamp(TimestampForm::Int96), _) => match int96 {
            Int96As::Itself => (PhysicalType::INT96, None),
            Int96As::Bytes => {
                length = int96::BYTES as i32;
                (PhysicalType::FIXED_LEN_BYTE_ARRAY, None)
            }
        },
        (Shape::List(item), _) => {
            let element = parquet_type("element", item, Repetition::OPTIONAL, int96)?;
            let list = group("list", Repetition::REPEATED, None, vec![element])?;
            return group(name, repetition, Some(LogicalType::List), vec![list]);
        }
        (Shape::Map(nodes), _) => {
            let key = parquet_type("key", &nodes.key, Repetition::REQUIRED, int96)?;
            let value = parquet_type("value", &nodes.value, Repetition::OPTIONAL, int96)?;
            let entries = group("key_value", Repetition::REPEATED, None, vec![key, value])?;
            return group(name, repetition, Some(LogicalType::Map), vec![entries]);
        }
        (Shape::Struct(fields), _) => {
            return group(name, repetition, None, parquet_fields(fields, int96)?);
        }
    };
    let leaf = Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_length(length)
        .build()?;
    Ok(Arc::new(leaf))
}

fn parquet_decimal(
    name: &str,
    precision: u8,
    scale: u8,
    repetition: Repetition,
) -> Result<TypePtr, ParquetError> {
    let (precision, scale) = (i32::from(precision), i32::from(scale));
    let leaf = Type::primitive_type_builder(name, PhysicalType::FIXED_LEN_BYTE_ARRAY)
        .with_repetition(repetition)
        .with_logical_type(Some(LogicalType::decimal(scale, precision)))
        .with_length(decimal_bytes(precision as u32))
        .with_precision(precision)
        .with_scale(scale)
        .build()?;
    Ok(Arc::new(leaf))
}

fn group(
    name: &str,
    repetition: Repetition,
    logical: Option<LogicalType>,
    fields: Vec<TypePtr>,
) -> Result<TypePtr, ParquetError> {
    let group = Type::group_type_builder(name)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_fields(fields)
        .build()?;
    Ok(Arc::new(group))
}

fn signed(bit_width: i8) -> LogicalType {
    LogicalType::integer(bit_width, true)
}

/// The fewest bytes whose two's complement holds every number of `digit_count` digits.
fn decimal_bytes(digit_count: u32) -> i32 {
    let largest = 10u128.pow(digit_count) - 1;
    let bit_count = largest.ilog2() + 2; // The highest bit's place, counted from 1, and the sign.
    bit_count.div_ceil(8) as i32
}
