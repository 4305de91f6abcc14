//! The table of a stream: the section `schema`, and whether its partitions are registered.
//!
//! Owns the names of tables and columns, and what they mean for the folders of the prefix. Does not own
//! types (`table`), nor what a catalog says of a table.

use std::collections::HashSet;

use super::check::one_of;
use super::faults::shown;
use super::reader::{At, Field, Named, NamedEntry, Reader};
use super::settings::Schema;
use super::shape::{CatalogSection, SchemaSection, StreamSection};
use super::values::TableWord;
use crate::partition::Template;
use crate::record::StreamName;
use crate::table::{Column, HiveType};

/// The database of tables that the catalog has.
const DATABASE_DEFAULT: &str = "default";
/// The database of tables that streams define.
const OWN_DATABASE_DEFAULT: &str = "lakehose";
/// The longest name of a column, Glue's bound.
const COLUMN_BYTES_MAX: usize = 255;

pub(super) fn schema_of(
    stream: &StreamName,
    At { value: section, place }: &At<SchemaSection>,
    catalogs: &Field<Named<CatalogSection>>,
    reader: &mut Reader<'_>,
) -> Option<Schema> {
    let catalog = one_of((&section.catalog, place), "catalog", catalogs, reader);
    let columns = section.columns.given().and_then(|at| columns(at, reader));
    let is_own = !section.columns.is_absent();
    let database_default = if is_own { OWN_DATABASE_DEFAULT } else { DATABASE_DEFAULT };
    let word = |field: &Field<TableWord>, default: String| match field {
        Field::Given(at) => Some(at.value.0.clone()),
        Field::Absent => Some(default),
        Field::Faulty => None,
    };
    if !is_own && section.table.is_absent() {
        let message = "it is missing: write the name of the table, or define columns here";
        reader.fault(place.below("table"), message);
        return None;
    }
    Some(Schema {
        catalog: catalog?,
        database: word(&section.database, database_default.to_owned())?,
        table: word(&section.table, table_name(stream))?,
        columns: if is_own { Some(columns?) } else { None },
        place: place.clone(),
    })
}

/// The table of a stream that defines its columns and names no table.
fn table_name(stream: &StreamName) -> String {
    stream.as_str().to_ascii_lowercase().replace(['.', '-'], "_")
}

fn columns(
    At { value: Named(entries), place }: &At<Named<HiveType>>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Column>> {
    if entries.is_empty() {
        reader.fault(place.clone(), "there is none: define at least one column as name: type");
    }
    let mut names = HashSet::new();
    let mut columns = Vec::new();
    for NamedEntry { name, place, field } in entries {
        let is_name =
            (1..=COLUMN_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
        let name = name.to_lowercase();
        if !is_name {
            let rule = "write 1 to 255 bytes without control characters";
            reader.fault(place.clone(), format_args!("{} is no column name: {rule}", shown(&name)));
        } else if !names.insert(name.clone()) {
            let message = "another column has this name in lower case, as tables keep names: \
                           rename one of them";
            reader.fault(place.clone(), message);
        }
        let hive_type = field.value().cloned();
        columns.extend(hive_type.map(|hive_type| Column { name, hive_type }));
    }
    Some(columns)
}

/// Athena refuses a table whose column stands both in the file and in the path.
pub(super) fn check_columns(
    schema: &Field<SchemaSection>,
    prefix: &Template,
    reader: &mut Reader<'_>,
) {
    let columns = schema.value().and_then(|schema| schema.columns.value());
    let folders = prefix.partition_keys();
    for column in columns.into_iter().flat_map(|Named(columns)| columns) {
        let name = column.name.to_lowercase();
        if folders.iter().any(|folder| folder.to_lowercase() == name) {
            let message = format_args!(
                "the prefix has a folder '{name}=', and no column may be in both file and path: \
                 rename the column or the folder"
            );
            reader.fault(column.place.clone(), message);
        }
    }
}

pub(super) fn register_partitions(
    register: &Field<bool>,
    stream: &StreamSection,
    prefix: &Template,
    reader: &mut Reader<'_>,
) -> Option<bool> {
    let has_partitions = !prefix.partition_keys().is_empty();
    let has_table = !stream.schema.is_absent();
    match register {
        Field::Faulty => None,
        Field::Absent => Some(has_partitions && has_table),
        Field::Given(At { value: true, place }) if !has_table => {
            let message = "the stream has no table to register partitions in: name one in \
                           schema, or write false";
            reader.fault(place.clone(), message);
            None
        }
        Field::Given(At { value: true, place }) if !has_partitions => {
            let message = "the prefix has no folders such as year=!{timestamp:yyyy}/ that could \
                           be registered: add them, or write false";
            reader.fault(place.clone(), message);
            None
        }
        Field::Given(At { value, .. }) => Some(*value),
    }
}
