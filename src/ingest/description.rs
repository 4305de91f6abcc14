//! How DescribeDeliveryStream shows a stream.
//!
//! Owns the facts that are shown and the shape of the answer: a DirectPut stream with an
//! ExtendedS3 destination that converts JSON to Parquet or delivers records as they are. Of hooks it
//! shows those that Firehose has a word for. Does not own the settings of a stream: who makes a
//! [`Description`] copies them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::reply::ACCOUNT;
use crate::record::{StreamName, UnixMillis};

/// The type of a stream that producers write to; the only one there is.
pub(super) const STREAM_TYPE: &str = "DirectPut";
/// Versions are for updates through the API, which there are none of; a reload of the configuration
/// changes what is shown and not the version. A stream has one destination.
const VERSION_ID: &str = "1";
const DESTINATION_ID: &str = "destinationId-000000000001";
const NO_ENCRYPTION: NoEncryption = NoEncryption { no_encryption_config: "NoEncryption" };

/// The facts of a stream that producers and tools may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// When the stream was first configured.
    pub created: UnixMillis,
    /// The bucket, or what stands for it where the store is a folder.
    pub bucket: String,
    /// The prefix of data objects, with its expressions.
    pub prefix: String,
    /// The prefix of error objects, with its expressions.
    pub error_prefix: String,
    /// The time zone of both, unless it is UTC.
    pub time_zone: Option<String>,
    /// What the names of data objects end with, where that is not the format's own.
    pub file_extension: Option<String>,
    /// The size at which an object is closed, in MiB.
    pub buffering_mib: u64,
    /// The age at which an object is closed, in seconds.
    pub buffering_seconds: u64,
    /// What the objects contain.
    pub content: Content,
    /// The hooks that Firehose knows, in their order.
    pub processors: Vec<Processor>,
    /// Whether hooks give keys to the prefix.
    pub is_partitioned_by_keys: bool,
    /// Where the source records are kept besides.
    pub backup: Option<BackupDescription>,
}

/// A hook, in Firehose's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processor {
    /// An AWS Lambda function.
    Lambda {
        /// The function.
        arn: String,
        /// How many attempts follow one that failed.
        retries: u32,
        /// What it would like to be given at once, in bytes.
        buffer_bytes: u64,
        /// How long that is waited for.
        buffer_interval: Duration,
    },
    /// Ends every record with a delimiter.
    AppendDelimiter,
    /// Takes partition keys out of records.
    MetadataExtraction {
        /// The jq program.
        query: String,
    },
    /// Unpacks records.
    Decompression,
    /// Keeps the messages of what CloudWatch Logs sends.
    CloudWatchLogProcessing,
    /// Takes records apart.
    RecordDeAggregation {
        /// What stands between sub-records; none for JSON.
        delimiter: Option<String>,
    },
}

/// Where the source records of a stream are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupDescription {
    /// The bucket, or what stands for it where the store is a folder.
    pub bucket: String,
    /// The prefix of its objects, with its expressions.
    pub prefix: String,
    /// The size at which an object is closed, in MiB.
    pub buffering_mib: u64,
    /// The age at which an object is closed, in seconds.
    pub buffering_seconds: u64,
    /// `UNCOMPRESSED`, `GZIP`, `ZIP`, `Snappy` or `HADOOP_SNAPPY`; also `ZSTD`, which Firehose does
    /// not have.
    pub compression: &'static str,
}

/// How JSON is read; what is as Firehose has it by default is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Deserializer {
    /// Firehose's usual way.
    #[serde(rename = "OpenXJsonSerDe", rename_all = "PascalCase")]
    OpenX {
        /// False where keys are compared as they are.
        #[serde(skip_serializing_if = "Option::is_none")]
        case_insensitive: Option<bool>,
        /// True where dots in keys are underscores.
        #[serde(skip_serializing_if = "Option::is_none")]
        convert_dots_in_json_keys_to_underscores: Option<bool>,
        /// The keys of columns.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        column_to_json_key_mappings: BTreeMap<String, String>,
    },
    /// Hive's way.
    #[serde(rename = "HiveJsonSerDe", rename_all = "PascalCase")]
    Hive {
        /// As they were written.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        timestamp_formats: Vec<String>,
    },
}

/// How rows are written; what is as it is by default is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParquetSettings {
    /// The bytes of a row group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size_bytes: Option<u64>,
    /// `SNAPPY`, `GZIP` or `UNCOMPRESSED`; also `ZSTD`, which Firehose does not have.
    pub compression: &'static str,
    /// Absent where it is chosen column by column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_dictionary_compression: Option<bool>,
    /// The bytes of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size_bytes: Option<u64>,
    /// `V2` where it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer_version: Option<&'static str>,
}

/// What the objects of a stream contain, in Firehose's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// JSON converted to Parquet.
    Parquet {
        /// How the JSON is read.
        reading: Deserializer,
        /// How rows are written.
        writing: ParquetSettings,
        /// The database of the table.
        database: String,
        /// The table whose columns the objects have.
        table: String,
        /// The region of the table's catalog.
        catalog_region: String,
    },
    /// Records as they were sent.
    Records {
        /// `UNCOMPRESSED`, `GZIP`, `ZIP`, `Snappy` or `HADOOP_SNAPPY`; also `ZSTD`, which Firehose
        /// does not have.
        compression: &'static str,
        /// Whether a line feed stands between records.
        appends_delimiter: bool,
    },
}

/// The answer of a DescribeDeliveryStream.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer<'a> {
    delivery_stream_description: StreamDescription<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamDescription<'a> {
    delivery_stream_name: &'a str,
    #[serde(rename = "DeliveryStreamARN")]
    delivery_stream_arn: String,
    delivery_stream_status: &'static str,
    delivery_stream_type: &'static str,
    delivery_stream_encryption_configuration: EncryptionStatus,
    version_id: &'static str,
    /// Seconds.
    create_timestamp: f64,
    destinations: [Destination<'a>; 1],
    has_more_destinations: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EncryptionStatus {
    status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Destination<'a> {
    destination_id: &'static str,
    s3_destination_description: S3Destination<'a>,
    extended_s3_destination_description: ExtendedS3Destination<'a>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct S3Destination<'a> {
    #[serde(rename = "RoleARN")]
    role_arn: String,
    #[serde(rename = "BucketARN")]
    bucket_arn: String,
    prefix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_output_prefix: Option<&'a str>,
    buffering_hints: BufferingHints,
    compression_format: &'static str,
    encryption_configuration: NoEncryption,
    cloud_watch_logging_options: Enabled,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExtendedS3Destination<'a> {
    #[serde(flatten)]
    destination: S3Destination<'a>,
    s3_backup_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    s3_backup_description: Option<S3Destination<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic_partitioning_configuration: Option<Enabled>,
    data_format_conversion_configuration: Conversion<'a>,
    processing_configuration: Processing<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_extension: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_time_zone: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct BufferingHints {
    #[serde(rename = "SizeInMBs")]
    size_mib: u64,
    #[serde(rename = "IntervalInSeconds")]
    interval_seconds: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NoEncryption {
    no_encryption_config: &'static str,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Conversion<'a> {
    enabled: bool,
    #[serde(flatten)]
    settings: Option<ConversionSettings<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConversionSettings<'a> {
    input_format_configuration: InputFormat<'a>,
    output_format_configuration: OutputFormat<'a>,
    schema_configuration: Schema<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Processing<'a> {
    enabled: bool,
    processors: Vec<ShownProcessor<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownProcessor<'a> {
    r#type: &'static str,
    parameters: Vec<Parameter<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter<'a> {
    parameter_name: &'static str,
    parameter_value: Cow<'a, str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InputFormat<'a> {
    deserializer: &'a Deserializer,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct OutputFormat<'a> {
    serializer: Serializer<'a>,
}

#[derive(Debug, Serialize)]
struct Serializer<'a> {
    #[serde(rename = "ParquetSerDe")]
    parquet: &'a ParquetSettings,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Schema<'a> {
    #[serde(rename = "RoleARN")]
    role_arn: String,
    database_name: &'a str,
    table_name: &'a str,
    region: &'a str,
    version_id: &'static str,
}

/// The ARN of a delivery stream of this endpoint.
#[must_use]
pub fn stream_arn(region: &str, stream: &str) -> String {
    format!("arn:aws:firehose:{region}:{ACCOUNT}:deliverystream/{stream}")
}

impl<'a> Answer<'a> {
    /// The answer for the stream `name` of an endpoint in `region`.
    pub(super) fn new(name: &'a StreamName, region: &str, facts: &'a Description) -> Self {
        let destination = S3Destination::new(facts);
        let seconds = facts.created.0 as f64 / 1000.0;
        Self {
            delivery_stream_description: StreamDescription {
                delivery_stream_name: name.as_str(),
                delivery_stream_arn: stream_arn(region, name.as_str()),
                delivery_stream_status: "ACTIVE",
                delivery_stream_type: STREAM_TYPE,
                delivery_stream_encryption_configuration: EncryptionStatus { status: "DISABLED" },
                version_id: VERSION_ID,
                create_timestamp: seconds,
                destinations: [Destination {
                    destination_id: DESTINATION_ID,
                    s3_destination_description: destination.clone(),
                    extended_s3_destination_description: ExtendedS3Destination {
                        destination,
                        s3_backup_mode: match facts.backup {
                            Some(_) => "Enabled",
                            None => "Disabled",
                        },
                        s3_backup_description: facts.backup.as_ref().map(S3Destination::of_backup),
                        dynamic_partitioning_configuration: facts
                            .is_partitioned_by_keys
                            .then_some(Enabled { enabled: true }),
                        data_format_conversion_configuration: Conversion::new(&facts.content),
                        processing_configuration: Processing::new(facts),
                        file_extension: facts.file_extension.as_deref(),
                        custom_time_zone: facts.time_zone.as_deref(),
                    },
                }],
                has_more_destinations: false,
            },
        }
    }
}

impl<'a> S3Destination<'a> {
    fn new(facts: &'a Description) -> Self {
        Self {
            role_arn: role_arn(),
            bucket_arn: format!("arn:aws:s3:::{}", facts.bucket),
            prefix: &facts.prefix,
            error_output_prefix: Some(&facts.error_prefix),
            buffering_hints: BufferingHints {
                size_mib: facts.buffering_mib,
                interval_seconds: facts.buffering_seconds,
            },
            compression_format: match facts.content {
                // Parquet compresses its pages, not the object.
                Content::Parquet { .. } => "UNCOMPRESSED",
                Content::Records { compression, .. } => compression,
            },
            encryption_configuration: NO_ENCRYPTION,
            cloud_watch_logging_options: Enabled { enabled: false },
        }
    }

    fn of_backup(backup: &'a BackupDescription) -> Self {
        Self {
            role_arn: role_arn(),
            bucket_arn: format!("arn:aws:s3:::{}", backup.bucket),
            prefix: &backup.prefix,
            // No source record can fail.
            error_output_prefix: None,
            buffering_hints: BufferingHints {
                size_mib: backup.buffering_mib,
                interval_seconds: backup.buffering_seconds,
            },
            compression_format: backup.compression,
            encryption_configuration: NO_ENCRYPTION,
            cloud_watch_logging_options: Enabled { enabled: false },
        }
    }
}

impl<'a> Conversion<'a> {
    fn new(content: &'a Content) -> Self {
        let Content::Parquet { reading, writing, database, table, catalog_region } = content else {
            return Self { enabled: false, settings: None };
        };
        let settings = ConversionSettings {
            input_format_configuration: InputFormat { deserializer: reading },
            output_format_configuration: OutputFormat {
                serializer: Serializer { parquet: writing },
            },
            schema_configuration: Schema {
                role_arn: role_arn(),
                database_name: database,
                table_name: table,
                region: catalog_region,
                version_id: "LATEST",
            },
        };
        Self { enabled: true, settings: Some(settings) }
    }
}

impl<'a> Processing<'a> {
    fn new(facts: &'a Description) -> Self {
        // What stands between records of an object is a processor in Firehose.
        let appends = matches!(facts.content, Content::Records { appends_delimiter: true, .. });
        let is_among = facts.processors.contains(&Processor::AppendDelimiter);
        let delimiter = (appends && !is_among).then_some(&Processor::AppendDelimiter);
        let processors = facts.processors.iter().chain(delimiter).map(ShownProcessor::new);
        let processors: Vec<_> = processors.collect();
        Self { enabled: !processors.is_empty(), processors }
    }
}

impl<'a> ShownProcessor<'a> {
    fn new(processor: &'a Processor) -> Self {
        let parameter =
            |parameter_name, parameter_value| Parameter { parameter_name, parameter_value };
        // In Firehose's order, which tools compare.
        match processor {
            Processor::Lambda { arn, retries, buffer_bytes, buffer_interval } => {
                let buffer_mib = *buffer_bytes as f64 / f64::from(1 << 20);
                let seconds = buffer_interval.as_secs_f64();
                let parameters = vec![
                    parameter("LambdaArn", Cow::from(arn)),
                    parameter("NumberOfRetries", retries.to_string().into()),
                    parameter("RoleArn", role_arn().into()),
                    parameter("BufferSizeInMBs", buffer_mib.to_string().into()),
                    parameter("BufferIntervalInSeconds", seconds.to_string().into()),
                ];
                Self { r#type: "Lambda", parameters }
            }
            Processor::AppendDelimiter => {
                Self { r#type: "AppendDelimiterToRecord", parameters: Vec::new() }
            }
            Processor::MetadataExtraction { query } => Self {
                r#type: "MetadataExtraction",
                parameters: vec![
                    parameter("MetadataExtractionQuery", Cow::from(query)),
                    parameter("JsonParsingEngine", Cow::from("JQ-1.6")),
                ],
            },
            Processor::Decompression => Self {
                r#type: "Decompression",
                parameters: vec![parameter("CompressionFormat", "GZIP".into())],
            },
            Processor::CloudWatchLogProcessing => Self {
                r#type: "CloudWatchLogProcessing",
                parameters: vec![parameter("DataMessageExtraction", "true".into())],
            },
            Processor::RecordDeAggregation { delimiter } => {
                let what = if delimiter.is_some() { "DELIMITED" } else { "JSON" };
                let delimiter = delimiter.as_ref().map(|text| STANDARD.encode(text));
                let delimiter = delimiter.map(|text| parameter("Delimiter", text.into()));
                let parameters = [parameter("SubRecordType", what.into())];
                let parameters = parameters.into_iter().chain(delimiter).collect();
                Self { r#type: "RecordDeAggregation", parameters }
            }
        }
    }
}

/// The API model demands a role; no role is ever taken.
fn role_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/lakehose")
}
