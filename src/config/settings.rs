//! The checked settings: what the rest of the program is made from.
//!
//! Owns their types. Does not own where they come from; every value here has passed every check.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::faults::{Faults, Place};
use super::kept::LastDefinition;
use super::secret::{Secret, read_file};
use super::transform::Step;
use crate::convert::{ParquetOptions, RecordsOptions};
use crate::partition::Template;
use crate::pipeline::Partitioning;
use crate::plan::Target;
use crate::record::{StreamName, Tenant};
use crate::table::Column;

/// The settings of one process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the service listens.
    pub server: Server,
    /// Where journals and finished objects wait; may be relative to the working directory.
    pub data_dir: PathBuf,
    /// Whether that may lie on a volume that loses what was synced.
    pub allow_unsafe_volume: bool,
    /// How much of the disk they may take.
    pub disk_budget_bytes: u64,
    /// How much memory the process is to take.
    pub memory_bytes: u64,
    /// Who may write; empty means everyone, and then `server.listen` is a loopback address.
    pub identities: Vec<Identity>,
    /// Where objects go, by name; at least one.
    pub stores: BTreeMap<String, Store>,
    /// Where tables are defined, by name; at least one.
    pub catalogs: BTreeMap<String, Catalog>,
    /// The streams; at least one.
    pub delivery_streams: BTreeMap<StreamName, DeliveryStream>,
    /// What is kept of each of them beside its data.
    pub definitions: BTreeMap<StreamName, LastDefinition>,
    /// What may be meant and is more likely a mistake.
    pub warnings: Faults,
}

/// Where the service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// For producers.
    pub listen: SocketAddr,
    /// For metrics and health.
    pub admin: SocketAddr,
    /// What the listener for producers encrypts with; absent for HTTP in clear.
    pub tls: Option<Tls>,
    /// How long a stop delivers what is buffered.
    pub shutdown_deadline: Duration,
}

/// What a listener encrypts with; whether the files can be used is asked by those who use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The file with the certificate; may be relative to the working directory.
    pub certificate: PathBuf,
    /// Where it is named.
    pub certificate_place: Place,
    /// The file with its private key; may be relative to the working directory.
    pub key: PathBuf,
    /// Where it is named.
    pub key_place: Place,
}

/// Someone who may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What calls of the Firehose API are signed with, their access key unique. The API is closed to
    /// the identity if absent; then there is a token.
    pub credentials: Option<Credentials>,
    /// What the plain endpoint is called with; unique. It is closed to the identity if absent.
    pub token: Option<Secret>,
    /// Whose records they are.
    pub tenant: Option<Tenant>,
    /// The streams that the identity may write to; all of them if absent.
    pub streams: Option<BTreeSet<StreamName>>,
}

impl Identity {
    /// Whether the identity may write to `stream`.
    #[must_use]
    pub fn may_write(&self, stream: &StreamName) -> bool {
        self.streams.as_ref().is_none_or(|streams| streams.contains(stream))
    }
}

/// A place for objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Bucket or folder.
    pub url: StoreUrl,
    /// The URL of an S3-compatible server, without a slash at its end; absent for AWS and files.
    pub endpoint: Option<String>,
    /// The region to sign for; absent for files.
    pub region: Option<String>,
    /// Absent for files, and where the usual AWS chain of credentials is asked.
    pub credentials: Option<Credentials>,
}

impl Store {
    /// The store under its name, without its secrets.
    #[must_use]
    pub fn target(&self, name: &str) -> Target {
        Target {
            store: name.to_owned(),
            url: self.url.to_string(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
        }
    }
}

/// What requests to a store or a catalog are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The public half.
    pub access_key: String,
    /// The file that the public half was read from.
    pub access_key_file: Option<String>,
    /// The secret half.
    pub secret: Secret,
}

impl Credentials {
    /// Whether a half of them stands in a file, where it may be replaced.
    #[must_use]
    pub fn may_change(&self) -> bool {
        self.access_key_file.is_some() || self.secret.file().is_some()
    }

    /// The credentials as their files have them now.
    ///
    /// # Errors
    /// What keeps a file from being read, in words.
    pub fn read_again(&self, environment: &dyn Environment) -> Result<Self, String> {
        let access_key = match &self.access_key_file {
            Some(file) => read_file(file, environment)?,
            None => self.access_key.clone(),
        };
        let secret = self.secret.read_again(environment)?;
        Ok(Self { access_key, access_key_file: self.access_key_file.clone(), secret })
    }
}

/// A bucket or a folder. Displays as `s3://bucket[/path]` or `file:///path`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreUrl {
    /// A bucket of an S3-compatible server.
    S3 {
        /// Its name.
        bucket: String,
        /// The folder in it, without slashes at its ends; empty for the whole bucket.
        path: String,
    },
    /// A folder of this machine.
    File {
        /// Its absolute path.
        path: PathBuf,
    },
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::S3 { bucket, path } if path.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, path } => write!(f, "s3://{bucket}/{path}"),
            Self::File { path } => {
                write!(f, "file://{}", path.display().to_string().trim_end_matches('/'))
            }
        }
    }
}

/// A place of table definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Catalog {
    /// Files in a folder.
    Files {
        /// The folder; may be relative to the working directory.
        path: PathBuf,
    },
    /// AWS Glue, or what speaks its API.
    Glue(Glue),
}

/// A Glue Data Catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glue {
    /// Its region.
    pub region: String,
    /// The URL of the server, without a slash at its end; absent for AWS.
    pub endpoint: Option<String>,
    /// The catalog, unless it is the account's own.
    pub catalog_id: Option<String>,
    /// Absent where the usual AWS chain of credentials is asked.
    pub credentials: Option<Credentials>,
    /// How often streams look whether their tables have changed; at least a second.
    pub refresh: Duration,
}

/// A delivery stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStream {
    /// When an object is closed.
    pub buffering: Buffering,
    /// What its objects contain.
    pub format: Format,
    /// The table that records are converted to, always there for rows of Parquet; for records as
    /// they are, the table whose partitions they belong to.
    pub schema: Option<Schema>,
    /// What is made of records before anything else, step by step.
    pub transform: Vec<Step>,
    /// What sets records apart besides their tenant.
    pub partitioning: Partitioning,
    /// How it is told that a partition of event time is complete, where it is.
    pub complete: Option<Complete>,
    /// Where its objects go.
    pub destination: Destination,
    /// Where its records go besides, as they were sent.
    pub backup: Option<Backup>,
    /// Whether new partitions are registered in the schema's catalog.
    pub register_partitions: bool,
    /// Where `partitions` stands.
    pub partitions_place: Place,
}

/// What the objects of a stream contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Rows of the stream's table.
    Parquet(ParquetOptions),
    /// The records as they were sent.
    Records(RecordsOptions),
}

/// How it is told that a partition of event time is complete; there is a rule for event time then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// So long after its span a record is on time.
    pub after: Duration,
    /// The name of the object in its folder; none when only the webhook is told.
    pub marker: Option<String>,
    /// The URL that is called.
    pub webhook: Option<Secret>,
}

/// The raw source backup of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The name of the store.
    pub store: String,
    /// What the keys of its objects begin with.
    pub prefix: Template,
    /// The text of `prefix` with what was appended or set by default.
    pub prefix_text: String,
    /// Where `prefix` stands, or what lacks it.
    pub prefix_place: Place,
    /// How records stand in an object.
    pub format: RecordsOptions,
    /// When an object is closed.
    pub buffering: Buffering,
}

/// When an object is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffering {
    /// By the bytes of its records.
    pub size_bytes: u64,
    /// By the bytes that it is expected to have itself.
    pub object_bytes: Option<u64>,
    /// By the age of its oldest record.
    pub interval: Duration,
}

/// The table that records are converted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The catalog that has the table, or gets it.
    pub catalog: String,
    /// The database that holds it, in lower case.
    pub database: String,
    /// The table, in lower case.
    pub table: String,
    /// Its columns, when they are defined by the stream; no partition folder is among them.
    pub columns: Option<Vec<Column>>,
    /// Where `schema` stands.
    pub place: Place,
}

/// Where a stream's objects go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The name of the store.
    pub store: String,
    /// What the keys of converted objects begin with.
    pub prefix: Template,
    /// The text of `prefix` with what was appended or set by default.
    pub prefix_text: String,
    /// Where `prefix` stands, or what lacks it.
    pub prefix_place: Place,
    /// What the keys of error objects begin with.
    pub error_prefix: Template,
    /// The text of `error_prefix`, as it was set or made from `prefix`.
    pub error_prefix_text: String,
    /// Where `error_prefix` stands, or what lacks it.
    pub error_prefix_place: Place,
    /// What the names of converted objects end with, with its dot, in place of the format's own.
    pub file_extension: Option<String>,
    /// Where `file_extension` stands, or what lacks it.
    pub file_extension_place: Place,
}
