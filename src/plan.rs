//! What is decided about records before anything leaves the machine.
//!
//! A [`Plan`] fixes the objects that a set of records becomes: keys, bytes (by hash), and the partition
//! to register. A plan without records says that partitions of event time are complete. It is made
//! once, by the pipeline, and never changed, but for the key of an object that somebody else's object
//! has taken. This module owns its shape; the journal owns its bytes on disk, the outbox the bytes of
//! the objects.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::positions::Positions;
use crate::record::{Position, Tenant, UnixMillis};

/// The number of a plan in its stream, counted from 1 and never used again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PlanId(pub u64);

/// The objects that a set of records becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its number in the stream.
    pub id: PlanId,
    /// The objects to put; their bytes stand one after another in the plan's outbox file.
    pub objects: Vec<PlannedObject>,
    /// Records whose bytes the disk lost; settled by this plan and counted as damaged.
    pub damaged: Positions,
    /// How far the transform of the stream had come, by the records of its journal: none before it
    /// is transformed again. 0 where the plan's records are not transformed ones.
    pub source_end: Position,
}

impl Plan {
    /// How often an object of the plan was given another key. Of two forms of one plan the one with
    /// the higher number holds.
    #[must_use]
    pub fn renamed(&self) -> u32 {
        self.objects.iter().map(|object| object.header.renamed).sum()
    }

    /// The places of the objects whose bytes the disk has lost.
    pub fn spoiled(&self) -> impl Iterator<Item = usize> + '_ {
        let objects = self.objects.iter().enumerate();
        objects.filter(|(_, object)| object.header.spoiled).map(|(index, _)| index)
    }

    /// Every position that the plan settles, in no particular order.
    pub fn settled(&self) -> impl Iterator<Item = &Positions> {
        let objects = self.objects.iter().map(|object| &object.positions);
        objects.chain(std::iter::once(&self.damaged))
    }
}

/// One object of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedObject {
    /// Everything but the records.
    pub header: ObjectHeader,
    /// The records that it holds; disjoint from those of every other object of its stream.
    pub positions: Positions,
}

/// Where an object goes and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHeader {
    /// Rows or records under the prefix, or failed records under the error prefix.
    pub kind: ObjectKind,
    /// The store as it was when the plan was made; a later change of the YAML does not move it.
    pub target: Target,
    /// The key below the target's URL, escaped, without a leading slash.
    pub key: String,
    /// Where its bytes begin in the plan's outbox file.
    pub offset: u64,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Rows in the object: Parquet rows, records as they were sent, or lines of an error object.
    pub row_count: u64,
    /// Whose records they are.
    pub tenant: Option<Tenant>,
    /// The `Content-Encoding` that the store is told, such as `gzip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// The partition to register once the object is in the store.
    pub partition: Option<CatalogPartition>,
    /// The partition of event time that it adds to or, for a marker or a notice, tells the end of;
    /// only where the stream tells when such partitions are complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventPartition>,
    /// How often the object was given another key because somebody else's stood under the one
    /// before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renamed: u32,
    /// Whether the disk has lost its bytes before they were put: it never will be, and its records
    /// are damaged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spoiled: bool,
}

fn is_zero<T: PartialEq + Default>(number: &T) -> bool {
    *number == T::default()
}

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// Converted rows, or records as they were sent, under the stream's prefix.
    Data,
    /// Records that could not be converted, under the error prefix.
    Error,
    /// No records: says in a partition's folder that it is complete.
    Marker,
    /// No records, and no object of a store: what a webhook is told when a partition is complete.
    Notice,
}

impl ObjectKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Error => "error",
            Self::Marker => "marker",
            Self::Notice => "notice",
        }
    }
}

/// A store without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The store's name in the YAML.
    pub store: String,
    /// `s3://bucket[/path]` or `file:///path`, without a trailing slash.
    pub url: String,
    /// The endpoint of an S3-compatible server; absent for AWS and files.
    pub endpoint: Option<String>,
    /// The region to sign for.
    pub region: Option<String>,
}

impl Target {
    /// Whether it is a folder of this machine.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.url.starts_with("file://")
    }
}

/// A partition of a catalog's table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CatalogPartition {
    /// The catalog's name in the YAML.
    pub catalog: String,
    /// The database that holds the table.
    pub database: String,
    /// The table.
    pub table: String,
    /// One value a partition key, in the table's order, not escaped.
    pub values: Vec<String>,
    /// The URL of the partition's folder, with a trailing slash.
    pub location: String,
}

/// The folder of a prefix whose records have event times of one span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPartition {
    /// The folder below the target's URL, escaped, with a trailing slash.
    pub folder: String,
    /// Where its span ends: the first instant that belongs to no record of it.
    pub until: UnixMillis,
    /// Objects that it got, as far as they were counted: 0 for an object of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub objects: u64,
    /// Rows in these objects.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows: u64,
    /// Of what tells its end: every record before this one had its place then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_from: Option<Position>,
}

/// A partition of event time that something is still to be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedPartition {
    /// The store that it lies in.
    pub target: Target,
    /// Whose records it has; none where all of them share it.
    pub tenant: Option<Tenant>,
    /// The partition.
    pub partition: EventPartition,
}

impl WatchedPartition {
    /// The URL of its folder, by which it is known.
    #[must_use]
    pub fn location(&self) -> String {
        format!("{}/{}", self.target.url, self.partition.folder)
    }
}

/// Up to where partitions of event time are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// Every record before this one had its place when the last of them became complete.
    pub from: Position,
    /// Where the latest span of them ends; none when none is complete.
    pub until: Option<UnixMillis>,
}

/// The SHA-256 of an object's bytes as plans and metadata write it: lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// The same of bytes that come piece by piece.
#[derive(Clone)]
pub struct Hasher(digest::Context);

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(self) -> String {
        use std::fmt::Write as _;
        let hash = self.0.finish();
        hash.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}
