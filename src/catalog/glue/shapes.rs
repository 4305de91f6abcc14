//! Glue's tables and partitions against ours: what each lacks, and what Glue would not take.

use std::collections::BTreeSet;

use aws_sdk_glue::types;

use super::answers::invalid;
use crate::catalog::{CatalogError, Definition, Known};
use crate::partition::Layout;
use crate::plan::CatalogPartition;
use crate::table::{Column, HiveType};

/// Glue's bounds for a partition.
const VALUE_CHARS_MAX: usize = 1_024;
const LOCATION_CHARS_MAX: usize = 2_056;

/// The partition with its values in the order of the table's `keys`.
///
/// # Errors
/// Why Glue would not take it, or would take it for something else.
pub(super) fn fitted(
    partition: &CatalogPartition,
    (database, table): (&str, &str),
    keys: &[String],
) -> Result<CatalogPartition, String> {
    if (partition.database.as_str(), partition.table.as_str()) != (database, table) {
        return Err(format!("it is not of table {database}.{table}"));
    }
    let (count, key_count) = (partition.values.len(), keys.len());
    if count != key_count {
        return Err(format!("it has {count} values, the table {key_count} partition keys"));
    }
    let Some(values) = values_by_name(partition, keys) else {
        let (location, keys) = (&partition.location, keys.join(", "));
        return Err(format!(
            "the table is partitioned by ({keys}), and the location {location} does not name these: \
             make the table with the keys of the stream's prefix"
        ));
    };
    if let Some(value) = values.iter().find(|v| !(1..=VALUE_CHARS_MAX).contains(&v.chars().count()))
    {
        let length = value.chars().count();
        return Err(format!("a value has {length} characters, Glue takes 1 to {VALUE_CHARS_MAX}"));
    }
    let location = &partition.location;
    if location.chars().count() > LOCATION_CHARS_MAX || location.contains(char::is_control) {
        return Err(format!(
            "its location has control characters or more than {LOCATION_CHARS_MAX} characters"
        ));
    }
    Ok(CatalogPartition { values, ..partition.clone() })
}

/// The values of a partition in the order of `keys`, by the `key=value` segments of its location;
/// none when a key has no segment, or the segments say something else than the values do.
pub(super) fn values_by_name(partition: &CatalogPartition, keys: &[String]) -> Option<Vec<String>> {
    let segments = Layout::values(&partition.location);
    // From the end: the folders above the table may have such names, too.
    let value = |key: &String| {
        let mut found = segments.iter().rev();
        let found = found.find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, value)| value.clone())
    };
    let values: Vec<String> = keys.iter().map(value).collect::<Option<_>>()?;
    let sorted = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values
    };
    (sorted(&values) == sorted(&partition.values)).then_some(values)
}

pub(super) fn known(partition: types::Partition) -> Known {
    Known {
        values: partition.values.unwrap_or_default(),
        location: partition.storage_descriptor.and_then(|d| d.location).unwrap_or_default(),
    }
}

/// The partition with those of `columns` appended that it lacks; none when it has them all.
pub(super) fn widened(
    partition: types::Partition,
    columns: &[types::Column],
) -> Option<types::PartitionInput> {
    let mut descriptor = partition.storage_descriptor?;
    let has: BTreeSet<String> =
        descriptor.columns().iter().map(|column| column.name.to_lowercase()).collect();
    let missing = columns.iter().filter(|column| !has.contains(&column.name.to_lowercase()));
    let missing: Vec<_> = missing.cloned().collect();
    if missing.is_empty() {
        return None;
    }
    descriptor.columns.get_or_insert_default().extend(missing);
    let input = types::PartitionInput::builder()
        .set_values(partition.values)
        .set_last_access_time(partition.last_access_time)
        .set_last_analyzed_time(partition.last_analyzed_time)
        .set_parameters(partition.parameters)
        .storage_descriptor(descriptor);
    Some(input.build())
}

/// The descriptor of a table, and the columns of the definition that it lacks.
///
/// # Errors
/// When the table is another one than the stream's.
pub(super) fn missing_of(
    definition: &Definition,
    table: &types::Table,
) -> Result<(types::StorageDescriptor, Vec<Column>), CatalogError> {
    let wanted = &definition.table;
    let names = (wanted.database.as_str(), wanted.name.as_str());
    let descriptor = table
        .storage_descriptor
        .clone()
        .ok_or_else(|| invalid(names, "it has no storage descriptor"))?;
    let read =
        |columns: &[types::Column]| columns_from(columns).map_err(|reason| invalid(names, &reason));
    let (known, keys) = (read(descriptor.columns())?, read(table.partition_keys())?);
    let names_of = |columns: &[Column]| -> Vec<String> {
        columns.iter().map(|column| column.name.clone()).collect()
    };
    if names_of(&keys) != names_of(&wanted.partition_keys) {
        let (keys, wanted) = (names_of(&keys).join(", "), names_of(&wanted.partition_keys));
        let wanted = wanted.join(", ");
        let reason = format!(
            "it is partitioned by ({keys}), the stream's prefix by ({wanted}): name another table \
             in the stream's schema, or partition as the table does"
        );
        return Err(invalid(names, &reason));
    }
    let missing = missing_columns(&known, &wanted.columns).map_err(|column| {
        let reason = format!(
            "its column '{}' is {}, and another type in the stream's columns: give the new values a \
             column of their own",
            column.name, column.hive_type
        );
        invalid(names, &reason)
    })?;
    Ok((descriptor, missing))
}

/// The columns of `wanted` that `known` lacks.
///
/// # Errors
/// The known column whose type is another one.
pub(super) fn missing_columns(known: &[Column], wanted: &[Column]) -> Result<Vec<Column>, Column> {
    let mut missing = Vec::new();
    for column in wanted {
        match known.iter().find(|known| known.name == column.name) {
            None => missing.push(column.clone()),
            Some(known) if known.hive_type == column.hive_type => {}
            Some(known) => return Err(known.clone()),
        }
    }
    Ok(missing)
}

pub(super) fn columns_from(columns: &[types::Column]) -> Result<Vec<Column>, String> {
    let read = |column: &types::Column| {
        let text = column.r#type().unwrap_or_default();
        let hive_type = HiveType::parse(text)
            .map_err(|error| format!("its column '{}': {error}", column.name()))?;
        Ok(Column { name: column.name().to_lowercase(), hive_type })
    };
    columns.iter().map(read).collect()
}

pub(super) fn columns_to(
    columns: &[Column],
) -> Result<Vec<types::Column>, aws_sdk_glue::error::BuildError> {
    let write = |column: &Column| {
        types::Column::builder().name(&column.name).r#type(column.hive_type.to_string()).build()
    };
    columns.iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, hive_type: &str) -> types::Column {
        types::Column::builder().name(name).r#type(hive_type).build().expect("a name")
    }

    fn partition(values: &[&str], location: &str) -> CatalogPartition {
        CatalogPartition {
            catalog: "glue".into(),
            database: "d".into(),
            table: "t".into(),
            values: values.iter().map(ToString::to_string).collect(),
            location: location.into(),
        }
    }

    #[test]
    fn columns_keep_their_types_and_lose_their_case() {
        let columns =
            [column("Id", "BIGINT"), column("place", "struct<Lat:double,tags:array<string>>")];
        let read = columns_from(&columns).expect("types");
        assert_eq!(read[0].name, "id");
        let written = columns_to(&read).expect("names");
        assert_eq!(written[1].r#type(), Some("struct<lat:double,tags:array<string>>"));
        let error = columns_from(&[column("u", "uniontype<int,string>")]).expect_err("no form");
        assert!(error.contains("column 'u'") && error.contains("write a struct"), "{error}");
    }

    #[test]
    fn a_partition_is_given_what_it_lacks_and_keeps_what_it_has() {
        let descriptor = types::StorageDescriptor::builder()
            .columns(column("id", "int"))
            .columns(column("gone", "string"))
            .location("s3://lake/t/d=1/")
            .build();
        let old = types::Partition::builder()
            .values("1")
            .parameters("note", "kept")
            .storage_descriptor(descriptor)
            .build();
        let table = [column("ID", "bigint"), column("new", "double")];
        let input = widened(old, &table).expect("it lacks one");
        let descriptor = input.storage_descriptor().expect("a descriptor");
        let names: Vec<_> = descriptor.columns().iter().map(|c| (c.name(), c.r#type())).collect();
        assert_eq!(names, [("id", Some("int")), ("gone", Some("string")), ("new", Some("double"))]);
        assert_eq!(descriptor.location(), Some("s3://lake/t/d=1/"));
        assert_eq!(
            input.parameters().and_then(|p| p.get("note")).map(String::as_str),
            Some("kept")
        );
        let again = types::Partition::builder().storage_descriptor(descriptor.clone()).build();
        assert!(widened(again, &table).is_none(), "nothing is left to add");
    }

    #[test]
    fn what_glue_would_refuse_is_not_sent() {
        let keys = ["x".to_owned(), "y".to_owned()];
        let fits = |p: &CatalogPartition| fitted(p, ("d", "t"), &keys);
        let whole = partition(&["a", "b"], "s3://lake/x=a/y=b/");
        assert_eq!(fits(&whole), Ok(whole));
        let long = "x".repeat(1_025);
        for (values, location, part) in [
            (vec!["a"], "s3://lake/x=a/y=b/", "1 values"),
            (vec!["a", ""], "s3://lake/x=a/y=/", "0 characters"),
            (vec!["a", long.as_str()], &format!("s3://lake/x=a/y={long}/"), "1025 characters"),
            (vec!["a", "b"], "s3://lake/\n/x=a/y=b/", "control"),
            (vec!["a", "b"], "s3://lake/x=a/z=b/", "partitioned by (x, y)"),
            (vec!["a", "b"], "s3://lake/x=a/y=c/", "does not name these"),
        ] {
            let reason = fits(&partition(&values, location)).expect_err(part);
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn values_go_by_name_into_the_order_that_the_table_has_now() {
        let keys = ["day".to_owned(), "tenant".to_owned()];
        let waiting = partition(&["a/b", "07"], "s3://lake/day=old/t/Tenant=a%2Fb/day=07/");
        let fitted = fitted(&waiting, ("d", "t"), &keys).expect("it fits");
        assert_eq!(fitted.values, ["07", "a/b"]);
        assert_eq!(fitted.location, waiting.location);
    }

    #[test]
    fn a_table_is_widened_and_never_retyped() {
        let known = columns_from(&[column("a", "int")]).expect("types");
        let wanted = columns_from(&[column("b", "date"), column("a", "int")]).expect("types");
        assert_eq!(missing_columns(&known, &wanted), Ok(vec![wanted[0].clone()]));
        let other = columns_from(&[column("a", "bigint")]).expect("types");
        assert_eq!(missing_columns(&known, &other), Err(known[0].clone()));
    }
}
