//! The last good copy of each stream's table, in the stream's folder.
//!
//! ```text
//! <data_dir>/streams/<stream>/table.json
//! ```
//!
//! Owns the file: what a stream converts by when its catalog cannot be reached, and up to which state
//! of the table its partitions were brought. A copy that cannot be read counts as none.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Schema;
use crate::disk::{Disk, read_file, replace_file};
use crate::record::StreamName;
use crate::table::{Column, HiveType, Table};

pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

/// The copies of a data directory.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
}

/// A copy of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// The name of its catalog.
    pub(super) catalog: String,
    /// The table as it was.
    pub(super) table: Table,
    /// What the stream's partitions agree with.
    pub(super) settled: Settled,
}

/// A state of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settled {
    /// Tells it from a later table of the same name.
    pub(super) made: String,
    /// Its version.
    pub(super) version: String,
}

#[derive(Serialize, Deserialize)]
struct CopyFile {
    catalog: String,
    database: String,
    name: String,
    columns: Vec<ColumnFile>,
    partition_keys: Vec<ColumnFile>,
    version: String,
    settled: Settled,
}

#[derive(Serialize, Deserialize)]
struct ColumnFile {
    name: String,
    #[serde(rename = "type")]
    hive_type: HiveType,
}

impl Copy {
    /// Whether it is of the table that the stream names now.
    pub(super) fn is_of(&self, schema: &Schema) -> bool {
        (&self.catalog, &self.table.database, &self.table.name)
            == (&schema.catalog, &schema.database, &schema.table)
    }
}

impl Copies {
    pub(super) fn new(disk: Arc<dyn Disk>, data_dir: PathBuf) -> Self {
        Self { disk, data_dir }
    }

    /// The copy of the table that `schema` names, if there is one.
    pub(super) async fn read(&self, stream: &StreamName, schema: &Schema) -> Option<Copy> {
        let (disk, path) = (self.disk.clone(), self.path(stream));
        let read = move || read_file(disk.as_ref(), &path, FILE_BYTES_MAX);
        let bytes = tokio::task::spawn_blocking(read).await.ok()?.ok()?;
        let file: CopyFile = serde_json::from_slice(&bytes).ok()?;
        Some(Copy::from(file)).filter(|copy| copy.is_of(schema))
    }

    /// Replaces the copy of a stream whose folder is there.
    pub(super) async fn write(&self, stream: &StreamName, copy: &Copy) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(&CopyFile::from(copy)).map_err(std::io::Error::other)?;
        text.push(b'\n');
        let (disk, path) = (self.disk.clone(), self.path(stream));
        let write = move || replace_file(disk.as_ref(), &path, &text);
        tokio::task::spawn_blocking(write).await.map_err(std::io::Error::other)?
    }

    fn path(&self, stream: &StreamName) -> PathBuf {
        self.data_dir.join("streams").join(stream.as_str()).join("table.json")
    }
}

/// Whether the bytes are a copy.
pub(super) fn is_copy(bytes: &[u8]) -> bool {
    serde_json::from_slice::<CopyFile>(bytes).is_ok()
}

impl From<&Copy> for CopyFile {
    fn from(copy: &Copy) -> Self {
        let file = |column: &Column| ColumnFile {
            name: column.name.clone(),
            hive_type: column.hive_type.clone(),
        };
        let Table { database, name, columns, partition_keys, version } = &copy.table;
        Self {
            catalog: copy.catalog.clone(),
            database: database.clone(),
            name: name.clone(),
            columns: columns.iter().map(file).collect(),
            partition_keys: partition_keys.iter().map(file).collect(),
            version: version.clone(),
            settled: copy.settled.clone(),
        }
    }
}

impl From<CopyFile> for Copy {
    fn from(file: CopyFile) -> Self {
        let column = |file: ColumnFile| Column { name: file.name, hive_type: file.hive_type };
        Self {
            catalog: file.catalog,
            table: Table {
                database: file.database,
                name: file.name,
                columns: file.columns.into_iter().map(column).collect(),
                partition_keys: file.partition_keys.into_iter().map(column).collect(),
                version: file.version,
            },
            settled: file.settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;
    use crate::disk::simulated::SimulatedDisk;

    #[tokio::test]
    async fn a_copy_comes_back_and_is_of_its_table_alone() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::default());
        let stream = StreamName::new("clicks").expect("a name");
        let copies = Copies::new(disk.clone(), "/data".into());
        let mut schema = Schema {
            catalog: "glue".into(),
            database: "d".into(),
            table: "t".into(),
            columns: None,
            place: Place::default(),
        };
        assert_eq!(copies.read(&stream, &schema).await, None);
        let column = |name: &str, text: &str| Column {
            name: name.into(),
            hive_type: HiveType::parse(text).expect("a type"),
        };
        let copy = Copy {
            catalog: "glue".into(),
            table: Table {
                database: "d".into(),
                name: "t".into(),
                columns: vec![column("id", "bigint"), column("at", "struct<x:decimal(9,2)>")],
                partition_keys: vec![column("day", "string")],
                version: "7".into(),
            },
            settled: Settled { made: "yesterday".into(), version: "6".into() },
        };
        disk.create_dir_all("/data/streams/clicks".as_ref()).expect("a folder");
        copies.write(&stream, &copy).await.expect("written");
        assert_eq!(copies.read(&stream, &schema).await, Some(copy));
        schema.table = "other".into();
        assert_eq!(copies.read(&stream, &schema).await, None);
    }
}
