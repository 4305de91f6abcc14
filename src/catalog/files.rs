//! The catalog of those who have none: tables and partitions as JSON files in a folder.
//!
//! ```text
//! <path>/<database>/<table>.json              the table, in the shape of Glue's GetTable
//! <path>/<database>/<table>.partitions.json   {"partitions": [{"Values": [..], "Location": ".."}]}
//! <path>/<database>/<table>.duckdb.sql        a view on the table's files, to paste into DuckDB
//! ```
//!
//! Files are replaced as a whole. One process writes them: several instances each keep their own.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Catalog, CatalogError, Definition, Elsewhere, Found, Known, Registration, is_same_location,
};
use crate::disk::{Disk, read_file, replace_file};
use crate::plan::CatalogPartition;
use crate::table::{Column, HiveType, Table};

/// So many partitions are added with one writing of their file.
const PARTITIONS_PER_CALL_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A catalog in a folder.
#[derive(Clone, Debug)]
pub struct FilesCatalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Held while a file is read, changed and replaced.
    writing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TableFile {
    name: String,
    storage_descriptor: StorageDescriptor,
    #[serde(default)]
    partition_keys: Vec<ColumnFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StorageDescriptor {
    columns: Vec<ColumnFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ColumnFile {
    name: String,
    #[serde(rename = "Type")]
    hive_type: HiveType,
}

#[derive(Default, Serialize, Deserialize)]
struct PartitionsFile {
    partitions: Vec<PartitionFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PartitionFile {
    values: Vec<String>,
    location: String,
}

impl FilesCatalog {
    /// The catalog in the folder `path`, which is made when something is written.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { inner: Arc::new(Inner { path, disk, writing: Mutex::new(()) }) }
    }
}

impl Catalog for FilesCatalog {
    fn table<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Found, CatalogError>> {
        let (database, table) = (database.to_owned(), table.to_owned());
        self.blocking(move |inner| inner.table(&database, &table))
    }

    fn define<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>> {
        let definition = definition.clone();
        self.blocking(move |inner| inner.define(&definition))
    }

    fn check<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>> {
        let definition = definition.clone();
        self.blocking(move |inner| inner.check(&definition))
    }

    fn register<'a>(
        &'a self,
        partitions: &'a [CatalogPartition],
    ) -> BoxFuture<'a, Result<Registration, CatalogError>> {
        let partitions = partitions.to_vec();
        self.blocking(move |inner| inner.register(&partitions))
    }

    fn partitions<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Known>, CatalogError>> {
        let (database, table) = (database.to_owned(), table.to_owned());
        self.blocking(move |inner| inner.partitions(&database, &table))
    }

    /// Each call writes the whole file.
    fn partitions_per_call(&self) -> usize {
        PARTITIONS_PER_CALL_MAX
    }

    /// Partitions have no columns of their own here.
    fn widen<'a>(
        &'a self,
        _definition: &'a Definition,
    ) -> BoxFuture<'a, Result<u64, CatalogError>> {
        Box::pin(async { Ok(0) })
    }
}

impl FilesCatalog {
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, CatalogError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, CatalogError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(&inner)).await {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        })
    }
}

impl Inner {
    fn table(&self, database: &str, name: &str) -> Result<Found, CatalogError> {
        let path = self.file(database, name, "json")?;
        let found: Option<TableFile> = self.read(&path)?;
        let file = found.ok_or_else(|| CatalogError::Missing {
            database: database.to_owned(),
            table: name.to_owned(),
            hint: format!(
                "put the \"Table\" of `aws glue get-table` into {}, or give the stream's schema \
                 its columns",
                path.display()
            ),
        })?;
        let table = Table {
            database: database.to_owned(),
            name: name.to_owned(),
            columns: columns_from(file.storage_descriptor.columns),
            partition_keys: columns_from(file.partition_keys),
            version: file.version_id.unwrap_or_else(|| "1".to_owned()),
        };
        // The partitions have a file of their own, which outlives the table's.
        Ok(Found { table, made: String::new() })
    }

    fn define(&self, definition: &Definition) -> Result<(), CatalogError> {
        let table = &definition.table;
        let file = TableFile {
            name: table.name.clone(),
            storage_descriptor: StorageDescriptor {
                columns: columns_to(&table.columns),
                location: Some(definition.location.clone()),
            },
            partition_keys: columns_to(&table.partition_keys),
            version_id: Some(table.version.clone()),
        };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(definition)?;
        if definition.is_ours {
            self.write(&self.file(&table.database, &table.name, "json")?, &to_json(&file))?;
        }
        let view = duckdb_view(&table.name, &definition.location);
        self.write(&self.file(&table.database, &table.name, "duckdb.sql")?, view.as_bytes())
    }

    /// Refuses other keys than those that the partitions of the table have their values by.
    fn check(&self, definition: &Definition) -> Result<(), CatalogError> {
        if !definition.is_ours {
            return Ok(());
        }
        let wanted = &definition.table;
        let Some(file) =
            self.read::<TableFile>(&self.file(&wanted.database, &wanted.name, "json")?)?
        else {
            return Ok(());
        };
        let names = |columns: Vec<Column>| -> Vec<String> {
            columns.into_iter().map(|column| column.name).collect()
        };
        let known = names(columns_from(file.partition_keys));
        let wanted_keys = names(wanted.partition_keys.clone());
        if known == wanted_keys || self.partitions(&wanted.database, &wanted.name)?.is_empty() {
            return Ok(());
        }
        Err(CatalogError::Invalid {
            what: format!("table {}.{}", wanted.database, wanted.name),
            reason: format!(
                "it is partitioned by ({}), the stream's prefix by ({}): name another table in the \
                 stream's schema, or partition as the table does",
                known.join(", "),
                wanted_keys.join(", ")
            ),
        })
    }

    fn register(&self, partitions: &[CatalogPartition]) -> Result<Registration, CatalogError> {
        let mut registration = Registration::default();
        let mut by_table: BTreeMap<(&str, &str), Vec<&CatalogPartition>> = BTreeMap::new();
        for partition in partitions {
            by_table.entry((&partition.database, &partition.table)).or_default().push(partition);
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for ((database, table), partitions) in by_table {
            let path = self.file(database, table, "partitions.json")?;
            let mut file: PartitionsFile = self.read(&path)?.unwrap_or_default();
            let known = file.partitions.iter().map(|p| (p.values.as_slice(), &p.location));
            let known: HashMap<&[String], &String> = known.collect();
            let mut new = Vec::new();
            for partition in partitions {
                registration.registered.push(partition.clone());
                match known.get(partition.values.as_slice()) {
                    None => new.push(PartitionFile {
                        values: partition.values.clone(),
                        location: partition.location.clone(),
                    }),
                    Some(location) if !is_same_location(location, &partition.location) => {
                        let (partition, location) = (partition.clone(), (*location).clone());
                        registration.elsewhere.push(Elsewhere { partition, location });
                    }
                    Some(_) => {}
                }
            }
            if !new.is_empty() {
                file.partitions.extend(new);
                file.partitions.sort_by(|left, right| left.values.cmp(&right.values));
                file.partitions.dedup_by(|left, right| left.values == right.values);
                self.write(&path, &to_json(&file))?;
            }
        }
        Ok(registration)
    }

    fn partitions(&self, database: &str, table: &str) -> Result<Vec<Known>, CatalogError> {
        let path = self.file(database, table, "partitions.json")?;
        let file: PartitionsFile = self.read(&path)?.unwrap_or_default();
        let known = |p: PartitionFile| Known { values: p.values, location: p.location };
        Ok(file.partitions.into_iter().map(known).collect())
    }

    fn file(&self, database: &str, table: &str, ending: &str) -> Result<PathBuf, CatalogError> {
        for name in [database, table] {
            let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || !name.chars().all(allowed) {
                return Err(CatalogError::Invalid {
                    what: format!("table {database}.{table}"),
                    reason: "names are letters, digits, '_' and '-', since they are file names"
                        .to_owned(),
                });
            }
        }
        Ok(self.path.join(database).join(format!("{table}.{ending}")))
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, CatalogError> {
        let bytes = match read_file(self.disk.as_ref(), path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreachable("read", path, &error)),
        };
        let parsed = serde_json::from_slice(&bytes).map_err(|error| CatalogError::Invalid {
            what: path.display().to_string(),
            reason: error.to_string(),
        });
        parsed.map(Some)
    }

    fn write(&self, path: &Path, text: &[u8]) -> Result<(), CatalogError> {
        let directory = path.parent().unwrap_or(&self.path);
        self.disk
            .create_dir_all(directory)
            .and_then(|()| replace_file(self.disk.as_ref(), path, text))
            .map_err(|error| unreachable("write", path, &error))
    }
}

/// The statement that makes a table's files a view in DuckDB. Partition values stay text, as they
/// are in the catalog.
#[must_use]
pub fn duckdb_view(name: &str, location: &str) -> String {
    let files = location.strip_prefix("file://").unwrap_or(location).replace('\'', "''");
    let name = name.replace('"', "\"\"");
    format!(
        "CREATE OR REPLACE VIEW \"{name}\" AS\nSELECT * FROM read_parquet('{files}**/*.parquet', \
         hive_partitioning = true, hive_types_autocast = false, union_by_name = true);\n"
    )
}

fn to_json(file: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(file).expect("strings always serialise");
    text.push(b'\n');
    text
}

fn unreachable(verb: &str, path: &Path, error: &std::io::Error) -> CatalogError {
    CatalogError::Unreachable {
        attempt: format!("{verb} the catalog file {}", path.display()),
        reason: error.to_string(),
    }
}

fn columns_from(columns: Vec<ColumnFile>) -> Vec<Column> {
    let column =
        |file: ColumnFile| Column { name: file.name.to_lowercase(), hive_type: file.hive_type };
    columns.into_iter().map(column).collect()
}

fn columns_to(columns: &[Column]) -> Vec<ColumnFile> {
    let file = |column: &Column| ColumnFile {
        name: column.name.clone(),
        hive_type: column.hive_type.clone(),
    };
    columns.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn definition(keys: &[&str]) -> Definition {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            hive_type: HiveType::parse("string").expect("a type"),
        };
        let table = Table {
            database: "d".into(),
            name: "t".into(),
            columns: vec![column(&"id")],
            partition_keys: keys.iter().map(column).collect(),
            version: "1".into(),
        };
        Definition { table, location: "file:///lake/t/".into(), is_ours: true }
    }

    #[tokio::test]
    async fn keys_change_as_long_as_no_partition_has_values_by_them() {
        let catalog = FilesCatalog::new(Arc::new(MemoryDisk::default()), PathBuf::from("/catalog"));
        for keys in [&["tenant", "day"][..], &["day", "tenant"]] {
            catalog.define(&definition(keys)).await.expect("it has no partitions");
        }
        let partition = CatalogPartition {
            catalog: "files".into(),
            database: "d".into(),
            table: "t".into(),
            values: vec!["07".into(), "acme".into()],
            location: "file:///lake/t/tenant=acme/day=07/".into(),
        };
        catalog.register(&[partition]).await.expect("it is taken");
        let other = definition(&["tenant", "day"]);
        for refused in [catalog.check(&other).await, catalog.define(&other).await] {
            let text = refused.expect_err("other keys").to_string();
            assert!(text.contains("partitioned by (day, tenant)"), "{text}");
            assert!(text.contains("name another table"), "{text}");
        }
        catalog.define(&definition(&["day", "tenant"])).await.expect("the same keys");
    }
}
