//! From a stream's settings to its recipe: the table, prepared columns, and where partitions are
//! registered. What does not fit is told as faults of the YAML file, with the line.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{Catalog, Definition, FilesCatalog};
use crate::config::{self, Config, DeliveryStream, Fault};
use crate::convert::{Format, Schema};
use crate::disk::Disk;
use crate::pipeline::Recipe;
use crate::plan::Target;
use crate::table::{Column, HiveType, Table};

/// The catalogs of the configuration.
pub(super) type Catalogs = BTreeMap<String, Arc<dyn Catalog>>;

/// Opens the catalogs; nothing is read or written yet.
pub(super) fn catalogs(config: &Config, disk: &Arc<dyn Disk>) -> Catalogs {
    let open = |catalog: &config::Catalog| -> Arc<dyn Catalog> {
        match catalog {
            config::Catalog::Files { path } => {
                Arc::new(FilesCatalog::new(disk.clone(), path.clone()))
            }
        }
    };
    config.catalogs.iter().map(|(name, catalog)| (name.clone(), open(catalog))).collect()
}

/// What the stream's catalog is told of its table, and the schema that names both; nothing where
/// records are delivered as they are, since who keeps the table that reads those knows their form.
pub(super) fn definition<'a>(
    stream: &'a DeliveryStream,
    recipe: &Recipe,
) -> Option<(&'a config::Schema, Definition)> {
    let config::Format::Parquet(_) = stream.format else {
        return None;
    };
    let settings = stream.schema.as_ref()?;
    let definition = Definition {
        table: recipe.table.clone()?,
        location: table_location(&recipe.target, &stream.destination.prefix_text),
        is_ours: settings.columns.is_some(),
    };
    Some((settings, definition))
}

/// Makes the recipe of a stream, reading its table in the catalog.
///
/// # Errors
/// What does not fit, with its place in the file.
pub(super) async fn recipe(
    config: &Config,
    catalogs: &Catalogs,
    stream: &DeliveryStream,
) -> Result<Recipe, Fault> {
    let table = match &stream.schema {
        Some(settings) => Some(table(stream, settings, catalogs).await?),
        None => None,
    };
    let store = &stream.destination.store;
    let catalog = stream.schema.as_ref().map(|settings| settings.catalog.clone());
    Ok(Recipe {
        format: format(stream, table.as_ref())?,
        catalog_region: None,
        prefix: stream.destination.prefix.clone(),
        error_prefix: stream.destination.error_prefix.clone(),
        target: config.stores[store].target(store),
        register_in: catalog.filter(|_| stream.register_partitions),
        table,
    })
}

/// What becomes of source records in a stream's backup: none of them can fail.
pub(super) fn backup_recipe(config: &Config, backup: &config::Backup) -> Recipe {
    Recipe {
        format: Format::Records(backup.format),
        table: None,
        catalog_region: None,
        prefix: backup.prefix.clone(),
        error_prefix: backup.prefix.clone(),
        target: config.stores[&backup.store].target(&backup.store),
        register_in: None,
    }
}

/// The table that a stream defines, or that its catalog has.
async fn table(
    stream: &DeliveryStream,
    settings: &config::Schema,
    catalogs: &Catalogs,
) -> Result<Table, Fault> {
    let folders = stream.destination.prefix.partition_keys();
    let table = match &settings.columns {
        Some(columns) => own_table(settings, columns, &folders),
        None => {
            let catalog = &catalogs[&settings.catalog];
            let found = catalog.table(&settings.database, &settings.table).await;
            found.map_err(|error| Fault::new(settings.place.clone(), error))?
        }
    };
    if stream.register_partitions {
        check_partition_keys(stream, &table, &folders)?;
    }
    Ok(table)
}

/// What the stream's objects contain, with the columns prepared where there are any.
fn format(stream: &DeliveryStream, table: Option<&Table>) -> Result<Format, Fault> {
    match (&stream.format, table) {
        (config::Format::Records(options), _) => Ok(Format::Records(*options)),
        (config::Format::Parquet(options), table) => {
            let columns = table.map_or(&[][..], |table| &table.columns);
            let place = stream.schema.as_ref().map_or(&stream.partitions_place, |s| &s.place);
            let schema = Schema::with_options(columns, *options);
            let schema = schema.map_err(|error| Fault::new(place.clone(), error))?;
            Ok(Format::Parquet(Arc::new(schema)))
        }
    }
}

/// The table of a stream that brings its columns: partitioned by the folders of the prefix, which
/// are text.
fn own_table(settings: &config::Schema, columns: &[Column], folders: &[String]) -> Table {
    let text = columns.iter().map(|column| format!("{} {}\n", column.name, column.hive_type));
    let key = |name: &String| Column { name: name.to_lowercase(), hive_type: HiveType::String };
    Table {
        database: settings.database.clone(),
        name: settings.table.clone(),
        columns: columns.to_vec(),
        partition_keys: folders.iter().map(key).collect(),
        version: format!("{:08x}", crc32c::crc32c(text.collect::<String>().as_bytes())),
    }
}

/// Partition values go by name: each partition key of the table must be a folder of the prefix.
fn check_partition_keys(
    stream: &DeliveryStream,
    table: &Table,
    folders: &[String],
) -> Result<(), Fault> {
    let keys: Vec<&str> = table.partition_keys.iter().map(|key| key.name.as_str()).collect();
    let has_folder = |key: &&str| folders.iter().any(|folder| folder.eq_ignore_ascii_case(key));
    if keys.iter().all(has_folder) && keys.len() == folders.len() {
        return Ok(());
    }
    let message = format!(
        "the partition keys of table {}.{} are {}, the folders of the prefix are {}: name a \
         folder key=... in the prefix for each key and no other, or set partitions: {{register: \
         false}}",
        table.database,
        table.name,
        listed(&keys),
        listed(folders),
    );
    Err(Fault::new(stream.destination.prefix_place.clone(), message))
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

/// The URL of the folder above everything that changes from object to object.
fn table_location(target: &Target, prefix: &str) -> String {
    let fixed = prefix.split("!{").next().unwrap_or_default();
    let folder = fixed.rfind('/').map_or("", |slash| &fixed[..=slash]);
    // A `key=` folder belongs to the partition, even when its value never changes.
    let is_partition = |segment: &str| segment.contains('=');
    let above: Vec<&str> = folder.split_inclusive('/').take_while(|s| !is_partition(s)).collect();
    format!("{}/{}", target.url, above.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lies_above_its_partitions() {
        let target = Target {
            store: "lake".into(),
            url: "s3://bucket".into(),
            endpoint: None,
            region: None,
        };
        for (prefix, location) in [
            ("clicks/tenant=!{lakehose:tenant}/year=!{timestamp:yyyy}/", "s3://bucket/clicks/"),
            ("a/b/kind=fixed/day=!{timestamp:dd}/", "s3://bucket/a/b/"),
            ("year=!{timestamp:yyyy}/", "s3://bucket/"),
            ("legacy/!{timestamp:yyyy/MM/dd/HH}/", "s3://bucket/legacy/"),
        ] {
            assert_eq!(table_location(&target, prefix), location, "{prefix}");
        }
    }
}
