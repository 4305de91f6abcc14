//! Every key of the YAML file: its type, whether it must stand there, and its default.
//!
//! Owns the declarations and nothing else; what they give is checked and turned into settings by
//! `check`.

use std::net::SocketAddr;

use super::destination::{FileExtension, TimeZone};
use super::partitioning::PartitioningSection;
use super::reader::Presence::{Default, Optional, Required};
use super::reader::{List, Named, section};
use super::secret::{PlainOrReference, Secret};
use super::settings::StoreUrl;
use super::transform::StepSection;
use super::values::{
    AccessKey, CatalogType, Endpoint, FilePath, Folder, Region, Size, TableWord, Text, TimeUpTo,
};
use crate::convert::{
    BinaryText, Delimiter, Dictionary, ParquetCompression, RecordsCompression, TimestampForm,
    TimestampFormat, WriterVersion,
};
use crate::memory::MEMORY_BYTES_MIN;
use crate::record::{StreamName, Tenant};
use crate::table::HiveType;

/// Less than this could not hold one large object twice and the journal behind it.
const DISK_BUDGET_BYTES_MIN: u64 = 64 << 20;
const BUFFER_BYTES_MIN: u64 = 1 << 10;
/// The largest object is kept in memory while it is converted, and may be as large as its records.
pub(super) const BUFFER_BYTES_MAX: u64 = 512 << 20;
/// Records that become an object of a known size, as they do not take memory themselves.
pub(super) const TARGETED_BYTES_MAX: u64 = 16 << 30;
const OBJECT_BYTES_MIN: u64 = 1 << 20;
const OBJECT_BYTES_MAX: u64 = 1 << 30;
const BUFFER_SECONDS_MAX: u64 = 86_400;
/// Smaller row groups cost more than they hold; larger ones are more than a reader wants at once.
const ROW_GROUP_BYTES_MIN: u64 = 1 << 20;
const ROW_GROUP_BYTES_MAX: u64 = 1 << 30;
const PAGE_BYTES_MIN: u64 = 64 << 10;
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// A table that is looked at more rarely is not followed.
const REFRESH_SECONDS_MAX: u64 = 3_600;

/// Nobody who stops a service waits longer.
const SHUTDOWN_SECONDS_MAX: u64 = 3_600;

section! {
    /// The whole file.
    File expects "a mapping with delivery_streams" {
        /// Where the service listens.
        server: ServerSection = Default("{}"),
        /// Where journals and finished objects wait.
        data_dir: Folder = Default("./lakehose/data"),
        /// Whether that may be a volume that loses what was synced, such as memory or the layer of a
        /// container.
        allow_unsafe_volume: bool = Default("false"),
        /// How much of the disk they may take.
        disk_budget: Size<DISK_BUDGET_BYTES_MIN, { u64::MAX }> = Default("20 GiB"),
        /// How much memory the process is to take; 1 GiB if absent, or three quarters of what it may
        /// have where that is less.
        memory: Size<MEMORY_BYTES_MIN, { u64::MAX }> = Optional,
        /// Who may write; with none, everyone on this machine.
        identities: List<IdentitySection> = Default("[]"),
        /// Where objects go.
        stores: Named<StoreSection> = Default("lake: {url: 'file:./lakehose/lake'}"),
        /// Where tables are defined.
        catalogs: Named<CatalogSection> = Default("files: {type: files}"),
        /// The streams by name.
        delivery_streams: Named<StreamSection> = Required,
    }
}

section! {
    /// Where the service listens.
    ServerSection expects "a mapping with listen and admin" {
        /// For producers.
        listen: SocketAddr = Default("127.0.0.1:4573"),
        /// For metrics and health.
        admin: SocketAddr = Default("127.0.0.1:9573"),
        /// What the listener for producers encrypts with; HTTP in clear if absent.
        tls: TlsSection = Optional,
        /// How long a stop delivers what is buffered; what is left stays on disk for the next start.
        shutdown_deadline: TimeUpTo<SHUTDOWN_SECONDS_MAX> = Default("25 s"),
    }
}

section! {
    /// What a listener encrypts with.
    TlsSection expects "a mapping with certificate and key" {
        /// The file with the certificate and those that it depends on, in PEM.
        certificate: FilePath = Required,
        /// The file with its private key, in PEM.
        key: FilePath = Required,
    }
}

section! {
    /// Someone who may write.
    IdentitySection expects "a mapping with access_key and secret, or with token" {
        /// The public half of what the Firehose API is called with; it is closed to the identity if
        /// absent.
        access_key: AccessKey = Optional,
        /// The secret half.
        secret: Secret = Optional,
        /// What the plain endpoint is called with; it is closed to the identity if absent.
        token: Secret = Optional,
        /// Whose records they are.
        tenant: Tenant = Optional,
        /// The streams that the identity may write to; all of them if absent.
        streams: List<StreamName> = Optional,
    }
}

section! {
    /// A place for objects.
    StoreSection expects "a mapping with url" {
        /// Bucket or folder.
        url: StoreUrl = Required,
        /// The server, unless it is AWS.
        endpoint: Endpoint = Optional,
        /// The region to sign for.
        region: Region = Optional,
        /// The public half of the credentials.
        access_key: PlainOrReference = Optional,
        /// The secret half.
        secret: Secret = Optional,
    }
}

section! {
    /// A place of table definitions.
    CatalogSection expects "a mapping with type" {
        /// The kind of catalog.
        r#type: CatalogType = Required,
        /// The folder of a `files` catalog.
        path: Folder = Optional,
        /// The region of a `glue` catalog.
        region: Region = Optional,
        /// The server of a `glue` catalog, unless it is AWS.
        endpoint: Endpoint = Optional,
        /// The catalog's id in Glue, unless it is the account's own.
        catalog_id: Text = Optional,
        /// The public half of the credentials.
        access_key: PlainOrReference = Optional,
        /// The secret half.
        secret: Secret = Optional,
        /// How often streams look whether their tables of a `glue` catalog have changed.
        refresh: TimeUpTo<REFRESH_SECONDS_MAX> = Optional,
    }
}

section! {
    /// A delivery stream.
    StreamSection expects "a mapping with schema" {
        /// When an object is closed.
        buffering: BufferingSection = Default("{}"),
        /// What objects contain.
        format: FormatSection = Default("{}"),
        /// What is made of records before anything else, step by step.
        transform: List<StepSection> = Default("[]"),
        /// What sets records apart besides their tenant.
        partitioning: PartitioningSection = Default("{}"),
        /// The table that records are converted to.
        schema: SchemaSection = Optional,
        /// Where its objects go.
        destination: DestinationSection = Default("{}"),
        /// Where the records go besides, as they were sent.
        backup: BackupSection = Optional,
        /// What catalogs are told.
        partitions: PartitionsSection = Default("{}"),
    }
}

section! {
    /// When an object is closed; the defaults are Firehose's for converted records.
    BufferingSection expects "a mapping with size and interval" {
        /// By the bytes of its records; 128 MiB if absent, or twenty times target_object_size.
        size: Size<BUFFER_BYTES_MIN, TARGETED_BYTES_MAX> = Optional,
        /// By the bytes that the object is expected to have, learnt from those before it.
        target_object_size: Size<OBJECT_BYTES_MIN, OBJECT_BYTES_MAX> = Optional,
        /// By the age of its oldest record.
        interval: TimeUpTo<BUFFER_SECONDS_MAX> = Default("300 s"),
    }
}

section! {
    /// What objects contain; rows of Parquet unless it says otherwise.
    FormatSection expects "a mapping with parquet or records" {
        /// Rows of the stream's table.
        parquet: ParquetSection = Optional,
        /// How the JSON is read that rows are made of.
        input: InputSection = Optional,
        /// The records as they were sent.
        records: RecordsSection = Optional,
    }
}

section! {
    /// How rows are written.
    ParquetSection expects "a mapping with compression, timestamps and binary" {
        /// How columns are compressed; those that it does not make smaller are not.
        compression: ParquetCompression = Default("snappy"),
        /// The form of timestamps.
        timestamps: TimestampForm = Default("micros"),
        /// What the strings of binary columns are.
        binary: BinaryText = Default("base64"),
        /// The encoded bytes of a row group (BlockSizeBytes); 128 MiB of JSON or 1 Mi rows if absent.
        row_group_size: Size<ROW_GROUP_BYTES_MIN, ROW_GROUP_BYTES_MAX> = Optional,
        /// The bytes of a page before compression (PageSizeBytes).
        page_size: Size<PAGE_BYTES_MIN, PAGE_BYTES_MAX> = Default("1 MiB"),
        /// Which columns get a dictionary (EnableDictionaryCompression); auto looks at the first values.
        dictionary: Dictionary = Default("auto"),
        /// The form of data pages (WriterVersion).
        writer_version: WriterVersion = Default("v1"),
        /// Columns of which each row group has a Bloom filter, for readers who look for single values, such
        /// as ids.
        bloom_filters: List<Text> = Default("[]"),
        /// Columns that the rows of each row group are sorted by; a group is held in memory until it is
        /// complete.
        sort_by: List<Text> = Default("[]"),
    }
}

section! {
    /// How the JSON is read that rows are made of; by openx unless it says otherwise.
    InputSection expects "a mapping with openx or hive" {
        /// OpenXJsonSerDe: forgiving of types, with keys that can be mapped.
        openx: OpenXSection = Optional,
        /// HiveJsonSerDe: numbers without quotes, no text of objects and arrays, listed timestamps.
        hive: HiveSection = Optional,
    }
}

section! {
    /// Which JSON key is a column's.
    OpenXSection expects "a mapping with case_insensitive, \
                          convert_dots_in_json_keys_to_underscores and column_to_json_key_mappings" {
        /// Whether keys are put into lower case, as columns are, before they are looked up
        /// (CaseInsensitive).
        case_insensitive: bool = Default("true"),
        /// Whether the dots in keys are taken for underscores (ConvertDotsInJsonKeysToUnderscores).
        convert_dots_in_json_keys_to_underscores: bool = Default("false"),
        /// The keys of columns that have other names (ColumnToJsonKeyMappings).
        column_to_json_key_mappings: Named<Text> = Default("{}"),
    }
}

section! {
    /// Hive's own way of reading JSON.
    HiveSection expects "a mapping with timestamp_formats" {
        /// Joda-Time patterns in the order in which they are tried, or millis (TimestampFormats);
        /// with none, yyyy-M-d HH:mm:ss with or without a fraction.
        timestamp_formats: List<TimestampFormat> = Default("[]"),
    }
}

section! {
    /// How records are written that are delivered as they are.
    RecordsSection expects "a mapping with compression and delimiter" {
        /// How an object is compressed.
        compression: RecordsCompression = Default("none"),
        /// What stands between records.
        delimiter: Delimiter = Default("none"),
    }
}

section! {
    /// The table that records are converted to.
    SchemaSection expects
        "schema: {database: NAME, table: NAME} or schema: {columns: {NAME: TYPE}}" {
        /// The catalog that has the table.
        catalog: Text = Optional,
        /// The database that holds the table.
        database: TableWord = Optional,
        /// The table.
        table: TableWord = Optional,
        /// The table's columns, when they are defined here rather than in the catalog.
        columns: Named<HiveType> = Optional,
    }
}

section! {
    /// Where a stream's objects go.
    DestinationSection expects "a mapping with store, prefix, error_prefix, time_zone and file_extension" {
        /// The store.
        store: Text = Optional,
        /// What the keys of converted objects begin with.
        prefix: Text = Optional,
        /// What the keys of error objects begin with.
        error_prefix: Text = Optional,
        /// Where clocks show the times in both and in the names of objects.
        time_zone: TimeZone = Default("UTC"),
        /// What the names of converted objects end with, in place of the format's own.
        file_extension: FileExtension = Optional,
    }
}

section! {
    /// The raw source backup: every record as it was sent, before hooks and conversion.
    BackupSection expects "a mapping with store, prefix, compression and buffering" {
        /// The store.
        store: Text = Optional,
        /// What the keys of its objects begin with.
        prefix: Text = Optional,
        /// How an object is compressed.
        compression: RecordsCompression = Default("gzip"),
        /// What stands between records.
        delimiter: Delimiter = Default("none"),
        /// When an object is closed.
        buffering: BufferingSection = Default("{}"),
    }
}

section! {
    /// What catalogs are told.
    PartitionsSection expects "a mapping with register" {
        /// Whether new partitions are registered.
        register: bool = Optional,
    }
}
