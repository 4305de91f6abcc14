//! What a finished file says of itself.

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

/// The rows of a Parquet file, by its footer.
///
/// # Errors
/// When the bytes are no Parquet file.
pub fn stored_row_count(bytes: Bytes) -> Result<u64, ParquetError> {
    let reader = SerializedFileReader::new(bytes)?;
    let count = reader.metadata().file_metadata().num_rows();
    u64::try_from(count).map_err(|_| ParquetError::General("a negative number of rows".into()))
}
