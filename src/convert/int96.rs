//! Timestamps as INT96, which the Parquet library reads and does not write.
//!
//! Owns the twelve bytes of a value, and the step that makes columns of twelve bytes into columns of
//! INT96 in a finished file. Both lie in pages and dictionaries in the same way, one value behind the
//! other without lengths, so that only the footer changes.
//!
//! Invariant: a file that is not as this module expects it is an error, never a damaged file.

use bytes::Bytes;
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataReader,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr};

/// The bytes of a value.
pub(super) const BYTES: usize = 12;

/// The footer's length and the magic at the end of a file.
const TAIL_BYTES: usize = 8;
const MICROS_PER_DAY: i64 = 86_400_000_000;
/// The Julian day of 1970-01-01.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;

/// The nanoseconds of the day and the Julian day, both little-endian.
pub(super) fn value(micros_since_1970: i64) -> [u8; BYTES] {
    let nanos_of_day = micros_since_1970.rem_euclid(MICROS_PER_DAY) * 1000;
    let day = micros_since_1970.div_euclid(MICROS_PER_DAY) + JULIAN_DAY_OF_1970;
    let day = i32::try_from(day).expect("timestamps lie in the years 1 to 9999");
    let mut value = [0; BYTES];
    value[..8].copy_from_slice(&nanos_of_day.to_le_bytes());
    value[8..].copy_from_slice(&day.to_le_bytes());
    value
}

/// Gives the finished `file` another `schema`, in which columns of twelve bytes are INT96.
pub(super) fn retype(file: Vec<u8>, schema: &SchemaDescPtr) -> Result<Vec<u8>, ParquetError> {
    let file = Bytes::from(file);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
    let footer_bytes = footer_bytes(&file)?;
    let metadata = with_schema(&metadata, schema)?;
    let mut bytes = Vec::from(file);
    bytes.truncate(bytes.len() - footer_bytes);
    // The page indexes stay where they are; the footer names their places as before.
    ParquetMetaDataWriter::new(&mut bytes, &metadata).finish()?;
    Ok(bytes)
}

/// The bytes of the footer with its length and the magic.
fn footer_bytes(file: &[u8]) -> Result<usize, ParquetError> {
    let short = || ParquetError::General("the file is shorter than its footer".into());
    let tail = file.last_chunk::<TAIL_BYTES>().ok_or_else(short)?;
    let length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
    length.checked_add(TAIL_BYTES).filter(|bytes| *bytes <= file.len()).ok_or_else(short)
}

fn with_schema(
    metadata: &ParquetMetaData,
    schema: &SchemaDescPtr,
) -> Result<ParquetMetaData, ParquetError> {
    let file = metadata.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        schema.clone(),
        file.column_orders().cloned(),
    );
    let groups = metadata.row_groups().iter().map(|group| {
        let columns = group.columns().iter().zip(schema.columns());
        let columns = columns.map(|(column, description)| column_of(column, description));
        let mut builder = RowGroupMetaData::builder(schema.clone())
            .set_num_rows(group.num_rows())
            .set_total_byte_size(group.total_byte_size())
            .set_column_metadata(columns.collect::<Result<_, _>>()?);
        if let Some(ordinal) = group.ordinal() {
            builder = builder.set_ordinal(ordinal);
        }
        if let Some(offset) = group.file_offset() {
            builder = builder.set_file_offset(offset);
        }
        builder.build()
    });
    Ok(ParquetMetaData::new(file, groups.collect::<Result<_, _>>()?))
}

/// The column as it was, or all that it says of twelve bytes said of INT96.
fn column_of(
    column: &ColumnChunkMetaData,
    description: &ColumnDescPtr,
) -> Result<ColumnChunkMetaData, ParquetError> {
    if description.physical_type() != PhysicalType::INT96 {
        return Ok(column.clone());
    }
    let mut builder = ColumnChunkMetaData::builder(description.clone())
        .set_encodings_mask(*column.encodings_mask())
        .set_num_values(column.num_values())
        .set_compression_codec(column.compression_codec())
        .set_total_compressed_size(column.compressed_size())
        .set_total_uncompressed_size(column.uncompressed_size())
        .set_data_page_offset(column.data_page_offset())
        .set_dictionary_page_offset(column.dictionary_page_offset())
        .set_offset_index_offset(column.offset_index_offset())
        .set_offset_index_length(column.offset_index_length())
        .set_column_index_offset(column.column_index_offset())
        .set_column_index_length(column.column_index_length());
    if let Some(pages) = column.page_encoding_stats_mask() {
        builder = builder.set_page_encoding_stats_mask(*pages);
    }
    if let Some(pages) = column.page_encoding_stats() {
        builder = builder.set_page_encoding_stats(pages.clone());
    }
    builder.build()
}
