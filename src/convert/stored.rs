//! What a finished file says of itself.

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::printer::print_schema;

/// The rows of a Parquet file, by its footer.
///
/// # Errors
/// When the bytes are no Parquet file.
pub fn stored_row_count(bytes: Bytes) -> Result<u64, ParquetError> {
    let reader = SerializedFileReader::new(bytes)?;
    let count = reader.metadata().file_metadata().num_rows();
    u64::try_from(count).map_err(|_| ParquetError::General("a negative number of rows".into()))
}

/// A Parquet file as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTable {
    /// Its schema, in the form that Parquet's own tools print.
    pub schema: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Each row's values, on one line each.
    pub rows: Vec<Vec<String>>,
}

/// Reads a Parquet file for people.
///
/// # Errors
/// When the bytes are no Parquet file.
pub fn stored_table(bytes: Bytes) -> Result<StoredTable, ParquetError> {
    let reader = SerializedFileReader::new(bytes)?;
    let mut schema = Vec::new();
    let root = reader.metadata().file_metadata().schema();
    print_schema(&mut schema, root);
    let columns = root.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None)? {
        rows.push(row?.get_column_iter().map(|(_, value)| shown(value)).collect());
    }
    Ok(StoredTable { schema: String::from_utf8_lossy(&schema).into_owned(), columns, rows })
}

/// A value on one line; texts as JSON writes them.
fn shown(value: &Field) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let joined = |parts: &mut dyn Iterator<Item = String>| parts.collect::<Vec<_>>().join(", ");
    match value {
        Field::Str(value) => text(value),
        Field::Bytes(value) => format!("{} bytes", value.len()),
        Field::Float(value) => format!("{value:?}"),
        Field::Double(value) => format!("{value:?}"),
        Field::Group(row) => {
            let fields = &mut row.get_column_iter();
            let fields =
                &mut fields.map(|(name, value)| format!("{}: {}", text(name), shown(value)));
            format!("{{{}}}", joined(fields))
        }
        Field::ListInternal(list) => {
            format!("[{}]", joined(&mut list.elements().iter().map(shown)))
        }
        Field::MapInternal(map) => {
            let entries = map.entries().iter();
            let entries =
                &mut entries.map(|(key, value)| format!("{}: {}", shown(key), shown(value)));
            format!("{{{}}}", joined(entries))
        }
        // One without digits behind the point is shown without the point.
        Field::Decimal(_) => value.to_string().trim_end_matches('.').to_owned(),
        other => other.to_string(),
    }
}
