//! What the service runs with when it is given no file: the default YAML and its tables.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::catalog::{Catalog as _, CatalogError, Definition, FilesCatalog};
use crate::config::{Catalog, Config};
use crate::disk::OsDisk;
use crate::table::{Column, HiveType, Table};

/// How messages call the default YAML.
pub(super) const NAME: &str = "the embedded defaults";

const TABLES: [&str; 2] =
    [include_str!("../../schemas/clicks.json"), include_str!("../../schemas/orders.json")];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TableText {
    name: String,
    storage_descriptor: StorageDescriptor,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StorageDescriptor {
    columns: Vec<ColumnText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ColumnText {
    name: String,
    #[serde(rename = "Type")]
    hive_type: HiveType,
}

/// Puts the embedded tables that the default streams name into their catalog, unless they are
/// there; their partition keys are the folders of the stream's prefix.
pub(super) async fn provide_tables(config: &Config) -> Result<(), CatalogError> {
    for stream in config.delivery_streams.values() {
        let Some(settings) = &stream.schema else {
            continue;
        };
        let Catalog::Files { path } = &config.catalogs[&settings.catalog] else {
            continue;
        };
        let catalog = FilesCatalog::new(Arc::new(OsDisk), Path::new(path).to_owned());
        match catalog.table(&settings.database, &settings.table).await {
            Err(CatalogError::Missing { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => continue,
        }
        let text = tables().find(|table| table.name == settings.table);
        let Some(text) = text else {
            continue;
        };
        let folders = stream.destination.prefix.partition_keys();
        let column = |column: ColumnText| Column { name: column.name, hive_type: column.hive_type };
        let table = Table {
            database: settings.database.clone(),
            name: settings.table.clone(),
            columns: text.storage_descriptor.columns.into_iter().map(column).collect(),
            partition_keys: folders
                .into_iter()
                .map(|name| Column { name, hive_type: HiveType::String })
                .collect(),
            version: "1".to_owned(),
        };
        let store = config.stores[&stream.destination.store].target(&stream.destination.store);
        let location = format!("{}/{}/", store.url, settings.table);
        catalog.define(&Definition { table, location, is_ours: true }).await?;
    }
    Ok(())
}

fn tables() -> impl Iterator<Item = TableText> {
    TABLES
        .into_iter()
        .map(|text| serde_json::from_str(text).expect("the embedded tables are checked by a test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_tables_can_be_read() {
        let names: Vec<_> = tables().map(|table| table.name).collect();
        assert_eq!(names, ["clicks", "orders"]);
    }
}
