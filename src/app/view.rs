//! What calls see of a configuration: who may write, and what DescribeDeliveryStream says.
//!
//! Owns the way from settings to those words. Does not own which streams are open.

use super::{REGION, tables};
use crate::config::{self, Config, DeliveryStream, StepKind, StoreUrl};
use crate::convert::{
    Delimiter, Dictionary, JsonInput, ParquetCompression, ParquetOptions, RecordsCompression,
    WriterVersion,
};
use crate::ingest::{
    self, Auth, BackupDescription, Content, Description, Deserializer, ParquetSettings, Processor,
    Token,
};
use crate::partition::Zone;
use crate::record::UnixMillis;
use crate::transform::{LogForm, SubRecords};

/// What is said of a stream that was made at `created`.
pub(super) fn description(
    config: &Config,
    settings: &DeliveryStream,
    created: UnixMillis,
) -> Description {
    let store = &config.stores[&settings.destination.store];
    Description {
        created,
        bucket: bucket(&store.url),
        prefix: settings.destination.prefix_text.clone(),
        error_prefix: settings.destination.error_prefix_text.clone(),
        time_zone: Some(settings.destination.prefix.zone())
            .filter(|zone| **zone != Zone::UTC)
            .map(|zone| zone.name().to_owned()),
        file_extension: settings.destination.file_extension.clone(),
        buffering_mib: settings.buffering.size_bytes.div_ceil(1 << 20),
        buffering_seconds: settings.buffering.interval.as_secs(),
        content: content(config, settings),
        processors: processors(settings),
        is_partitioned_by_keys: settings
            .destination
            .prefix
            .slots()
            .iter()
            .any(|slot| slot.key().is_some()),
        backup: settings.backup.as_ref().map(|backup| BackupDescription {
            bucket: bucket(&config.stores[&backup.store].url),
            prefix: backup.prefix_text.clone(),
            buffering_mib: backup.buffering.size_bytes.div_ceil(1 << 20),
            buffering_seconds: backup.buffering.interval.as_secs(),
            compression: compression(backup.format.compression),
        }),
    }
}

fn processors(settings: &DeliveryStream) -> Vec<Processor> {
    let steps = settings.transform.iter().filter_map(|step| processor(&step.kind));
    let query = settings.partitioning.query.iter();
    let query = query.map(|query| Processor::MetadataExtraction { query: query.text().to_owned() });
    steps.chain(query).collect()
}

/// What DescribeDeliveryStream says of a hook; nothing of those that Firehose has no word for.
fn processor(step: &StepKind) -> Option<Processor> {
    match step {
        StepKind::Lambda { arn, retries, buffering, .. } => Some(Processor::Lambda {
            arn: arn.to_string(),
            retries: *retries,
            buffer_bytes: buffering.size_bytes,
            buffer_interval: buffering.interval,
        }),
        StepKind::AppendDelimiter(_) => Some(Processor::AppendDelimiter),
        StepKind::Decompress => Some(Processor::Decompression),
        StepKind::CloudWatchLogs(LogForm::Messages { .. }) => {
            Some(Processor::CloudWatchLogProcessing)
        }
        StepKind::Deaggregate(SubRecords::Json) => {
            Some(Processor::RecordDeAggregation { delimiter: None })
        }
        StepKind::Deaggregate(SubRecords::Delimited(delimiter)) => {
            Some(Processor::RecordDeAggregation { delimiter: Some(delimiter.clone()) })
        }
        StepKind::Http { .. }
        | StepKind::Command { .. }
        | StepKind::Kpl
        | StepKind::CloudWatchLogs(LogForm::Events)
        | StepKind::Jq(_)
        | StepKind::Filter(_)
        | StepKind::Fields(_) => None,
    }
}

fn compression(compression: RecordsCompression) -> &'static str {
    match compression {
        RecordsCompression::None => "UNCOMPRESSED",
        RecordsCompression::Gzip => "GZIP",
        RecordsCompression::Zip => "ZIP",
        RecordsCompression::Snappy => "Snappy",
        RecordsCompression::HadoopSnappy => "HADOOP_SNAPPY",
        // Firehose has no word for it.
        RecordsCompression::Zstd => "ZSTD",
    }
}

/// What DescribeDeliveryStream says of the objects of a stream.
fn content(config: &Config, settings: &DeliveryStream) -> Content {
    match (&settings.format, &settings.schema) {
        (config::Format::Parquet(options), Some(schema)) => Content::Parquet {
            reading: reading(&options.input),
            writing: writing(options),
            database: schema.database.clone(),
            table: schema.table.clone(),
            catalog_region: tables::catalog_region(config, settings)
                .unwrap_or_else(|| REGION.to_owned()),
        },
        (config::Format::Parquet(_), None) => unreachable!("the check demands a schema of rows"),
        (config::Format::Records(options), _) => Content::Records {
            compression: compression(options.compression),
            appends_delimiter: options.delimiter != Delimiter::None,
        },
    }
}

fn reading(input: &JsonInput) -> Deserializer {
    match input {
        JsonInput::OpenX(options) => Deserializer::OpenX {
            case_insensitive: (!options.case_insensitive).then_some(false),
            convert_dots_in_json_keys_to_underscores: options.dots_to_underscores.then_some(true),
            column_to_json_key_mappings: options.keys.clone(),
        },
        JsonInput::Hive(formats) => Deserializer::Hive {
            timestamp_formats: formats.iter().map(ToString::to_string).collect(),
        },
    }
}

fn writing(options: &ParquetOptions) -> ParquetSettings {
    let page_bytes = options.page_bytes;
    ParquetSettings {
        block_size_bytes: options.row_group_bytes,
        compression: match options.compression {
            ParquetCompression::Snappy => "SNAPPY",
            ParquetCompression::Zstd => "ZSTD",
            ParquetCompression::Gzip => "GZIP",
            ParquetCompression::None => "UNCOMPRESSED",
        },
        enable_dictionary_compression: match options.dictionary {
            Dictionary::Auto => None,
            Dictionary::Always => Some(true),
            Dictionary::Never => Some(false),
        },
        page_size_bytes: (page_bytes != ParquetOptions::default().page_bytes).then_some(page_bytes),
        writer_version: (options.writer_version == WriterVersion::V2).then_some("V2"),
    }
}

/// Who may write.
pub(super) fn auth(config: &Config) -> Auth {
    if config.identities.is_empty() {
        return Auth::Open;
    }
    let identities = config.identities.iter().map(|identity| {
        let token = identity.token.as_ref().map(|token| Token::new(token.expose()));
        let credentials = identity.credentials.as_ref();
        let access_key = credentials.map(|credentials| credentials.access_key.clone());
        let sender = access_key.or_else(|| token.as_ref().map(Token::sender));
        let known = ingest::Identity {
            secret: credentials.map(|credentials| credentials.secret.expose().to_owned()),
            token,
            tenant: identity.tenant.clone(),
            streams: identity.streams.clone(),
        };
        (sender.expect("the check demands one of them"), known)
    });
    Auth::Signed(identities.collect())
}

fn bucket(url: &StoreUrl) -> String {
    match url {
        StoreUrl::S3 { bucket, .. } => bucket.clone(),
        StoreUrl::File { path } => {
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        }
    }
}
