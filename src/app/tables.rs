//! From a stream's settings to its recipe: the table, prepared columns, and where partitions are
//! registered. What does not fit is told as faults of the YAML file, with the line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::copies::Copies;
use crate::catalog::{
    Catalog, CatalogError, Definition, FilesCatalog, Found, GlueCatalog, Keys, Place as GluePlace,
};
use crate::config::{self, Config, DeliveryStream, Fault, Secret};
use crate::convert::{Format, Schema};
use crate::deliver::backoff;
use crate::disk::Disk;
use crate::fault::Action;
use crate::partition::{Beyond, Spans};
use crate::pipeline::{Completion, Partitioning, Recipe};
use crate::plan::Target;
use crate::record::StreamName;
use crate::table::{Column, HiveType, Table};
use crate::webhook::Webhook;

/// The catalogs of the configuration.
pub(super) type Catalogs = BTreeMap<String, Arc<dyn Catalog>>;

/// How often a table of a `files` catalog is looked at.
const FILES_REFRESH: Duration = Duration::from_secs(60);
/// Attempts to read a table at the start, when there is no copy to go on with.
const READ_ATTEMPTS: u32 = 3;

/// Opens the catalogs; nothing is asked of them yet.
pub(super) async fn catalogs(config: &Config, disk: &Arc<dyn Disk>) -> Catalogs {
    let mut catalogs = Catalogs::new();
    for (name, catalog) in &config.catalogs {
        catalogs.insert(name.clone(), open(catalog, disk).await);
    }
    catalogs
}

/// Opens one; nothing is asked of it yet.
pub(super) async fn open(catalog: &config::Catalog, disk: &Arc<dyn Disk>) -> Arc<dyn Catalog> {
    match catalog {
        config::Catalog::Files { path } => Arc::new(FilesCatalog::new(disk.clone(), path.clone())),
        config::Catalog::Glue(glue) => Arc::new(self::glue(glue).await),
    }
}

async fn glue(settings: &config::Glue) -> GlueCatalog {
    let place = GluePlace {
        region: settings.region.clone(),
        endpoint: settings.endpoint.clone(),
        catalog_id: settings.catalog_id.clone(),
    };
    match &settings.credentials {
        Some(credentials) => {
            let access_key = credentials.access_key.clone();
            let secret = credentials.secret.expose().to_owned();
            GlueCatalog::with_keys(place, Keys { access_key, secret })
        }
        None => {
            let chain = aws_config::defaults(aws_config::BehaviorVersion::latest());
            let chain = chain.region(aws_config::Region::new(settings.region.clone()));
            GlueCatalog::with_chain(place, &chain.load().await)
        }
    }
}

/// How often the table of a stream is looked at; absent where there is none, or only the stream
/// itself changes it.
pub(super) fn refresh(config: &Config, stream: &DeliveryStream) -> Option<Duration> {
    let schema = stream.schema.as_ref()?;
    let is_foreign = schema.columns.is_none();
    match &config.catalogs[&schema.catalog] {
        config::Catalog::Glue(glue) => (is_foreign || has_rows(stream)).then_some(glue.refresh),
        config::Catalog::Files { .. } => is_foreign.then_some(FILES_REFRESH),
    }
}

/// Whether a stream's objects have the columns of its table.
pub(super) fn has_rows(stream: &DeliveryStream) -> bool {
    matches!(stream.format, config::Format::Parquet(_))
}

/// What the stream's catalog is told of its table, and the schema that names both; nothing where
/// records are delivered as they are, since who keeps the table that reads those knows their form.
pub(super) fn definition<'a>(
    stream: &'a DeliveryStream,
    recipe: &Recipe,
) -> Option<(&'a config::Schema, Definition)> {
    if !has_rows(stream) {
        return None;
    }
    let settings = stream.schema.as_ref()?;
    let definition = Definition {
        table: recipe.table.clone()?,
        location: location(stream, recipe),
        is_ours: settings.columns.is_some(),
    };
    Some((settings, definition))
}

/// The URL of the folder above all partitions of a stream.
pub(super) fn location(stream: &DeliveryStream, recipe: &Recipe) -> String {
    table_location(&recipe.target, &stream.destination.prefix_text)
}

/// Makes the recipe of one stream, reading its table in the catalog; where that is not to be had,
/// the last good copy serves, if there are copies.
///
/// # Errors
/// What does not fit, with its place in the file.
pub(super) async fn recipe(
    config: &Config,
    catalogs: &Catalogs,
    stream: (&StreamName, &DeliveryStream),
    copies: Option<&Copies>,
) -> Result<Recipe, Fault> {
    Ok(recipe_and_table(config, catalogs, stream, copies).await?.0)
}

/// The same, with the table if it was read in its catalog.
///
/// # Errors
/// As for [`recipe`].
pub(super) async fn recipe_and_table(
    config: &Config,
    catalogs: &Catalogs,
    (name, stream): (&StreamName, &DeliveryStream),
    copies: Option<&Copies>,
) -> Result<(Recipe, Option<Found>), Fault> {
    let (table, found) = match &stream.schema {
        Some(settings) => {
            let (table, found) = table((name, stream), settings, catalogs, copies).await?;
            (Some(table), found)
        }
        None => (None, None),
    };
    let store = &stream.destination.store;
    let outside = Outside {
        catalog_region: catalog_region(config, stream),
        target: config.stores[store].target(store),
    };
    Ok((assemble(stream, table, outside)?, found))
}

/// The region of a stream's catalog; none where the catalog is in no region.
pub(super) fn catalog_region(config: &Config, stream: &DeliveryStream) -> Option<String> {
    let schema = stream.schema.as_ref()?;
    match &config.catalogs[&schema.catalog] {
        config::Catalog::Glue(glue) => Some(glue.region.clone()),
        config::Catalog::Files { .. } => None,
    }
}

/// The recipe of a stream for a table that has changed; everything else is as in `before`.
///
/// # Errors
/// What does not fit.
pub(super) fn recipe_of(
    stream: &DeliveryStream,
    table: Table,
    before: &Recipe,
) -> Result<Recipe, Fault> {
    let outside =
        Outside { catalog_region: before.catalog_region.clone(), target: before.target.clone() };
    assemble(stream, Some(table), outside)
}

/// What becomes of source records in a stream's backup: none of them can fail.
pub(super) fn backup_recipe(config: &Config, backup: &config::Backup) -> Recipe {
    Recipe {
        format: Format::Records(backup.format),
        table: None,
        catalog_region: None,
        prefix: backup.prefix.clone(),
        error_prefix: backup.prefix.clone(),
        file_extension: None,
        target: config.stores[&backup.store].target(&backup.store),
        register_in: None,
        object_bytes: backup.buffering.object_bytes,
        partitioning: Partitioning::default(),
        completion: None,
    }
}

/// What a recipe takes from the settings of catalogs and stores.
struct Outside {
    catalog_region: Option<String>,
    target: Target,
}

fn assemble(
    stream: &DeliveryStream,
    table: Option<Table>,
    outside: Outside,
) -> Result<Recipe, Fault> {
    if stream.register_partitions
        && let Some(table) = &table
    {
        check_partition_keys(stream, table, &stream.destination.prefix.partition_keys())?;
    }
    let catalog = stream.schema.as_ref().map(|settings| settings.catalog.clone());
    let completion = stream.complete.as_ref().map(|complete| completion(stream, complete));
    Ok(Recipe {
        format: format(stream, table.as_ref())?,
        catalog_region: outside.catalog_region,
        partitioning: stream.partitioning.clone(),
        completion: completion.transpose()?,
        prefix: stream.destination.prefix.clone(),
        error_prefix: stream.destination.error_prefix.clone(),
        file_extension: stream.destination.file_extension.clone(),
        target: outside.target,
        register_in: catalog.filter(|_| stream.register_partitions),
        object_bytes: stream.buffering.object_bytes,
        table,
    })
}

/// How the ends of a stream's partitions are told.
fn completion(stream: &DeliveryStream, complete: &config::Complete) -> Result<Completion, Fault> {
    let fault = |why: String| Fault::new(stream.destination.prefix_place.clone(), why);
    let url = complete.webhook.as_ref().map(Secret::expose);
    let webhook = url.map(Webhook::new).transpose().map_err(fault)?;
    let late = stream.partitioning.event_time.as_ref().and_then(|rule| rule.late);
    Ok(Completion {
        spans: Spans::of(&stream.destination.prefix).map_err(|error| fault(error.to_string()))?,
        after: complete.after,
        late_follow: late.is_some_and(|late| late.to == Beyond::Partition),
        marker: complete.marker.clone(),
        webhook: webhook.map(|webhook| Arc::new(webhook) as _),
    })
}

/// The table that a stream defines, or that its catalog has, or that its catalog had; and what its
/// catalog said, if it was asked and answered.
async fn table(
    (name, stream): (&StreamName, &DeliveryStream),
    settings: &config::Schema,
    catalogs: &Catalogs,
    copies: Option<&Copies>,
) -> Result<(Table, Option<Found>), Fault> {
    if let Some(columns) = &settings.columns {
        let folders = stream.destination.prefix.partition_keys();
        return Ok((own_table(settings, columns, &folders), None));
    }
    let copy = match copies {
        Some(copies) => copies.read(name, settings).await,
        None => None,
    };
    let attempts = if copy.is_some() { 1 } else { READ_ATTEMPTS };
    let found = read(catalogs[&settings.catalog].as_ref(), settings, attempts).await;
    match (found, copy) {
        (Ok(found), _) => Ok((found.table.clone(), Some(found))),
        (Err(error), Some(copy)) => {
            tracing::error!(
                stream = %name,
                %error,
                version = copy.table.version,
                "could not read the table; going on with its last good copy"
            );
            Ok((copy.table, None))
        }
        (Err(error), None) => Err(fault(settings, &error)),
    }
}

/// What a catalog did not do for a stream, as a fault of the file.
pub(super) fn fault(settings: &config::Schema, error: &CatalogError) -> Fault {
    let fault = Fault::new(settings.place.clone(), error);
    if error.action() == Action::Retry { fault.passing() } else { fault }
}

/// What the stream's objects contain, with the columns prepared where there are any.
fn format(stream: &DeliveryStream, table: Option<&Table>) -> Result<Format, Fault> {
    match (&stream.format, table) {
        (config::Format::Records(options), _) => Ok(Format::Records(*options)),
        (config::Format::Parquet(options), table) => {
            let columns = table.map_or(&[][..], |table| &table.columns);
            let place = stream.schema.as_ref().map_or(&stream.partitions_place, |s| &s.place);
            let schema = Schema::with_options(columns, options.clone());
            let schema = schema.map_err(|error| Fault::new(place.clone(), error))?;
            Ok(Format::Parquet(Arc::new(schema)))
        }
    }
}

async fn read(
    catalog: &dyn Catalog,
    settings: &config::Schema,
    attempts: u32,
) -> Result<Found, CatalogError> {
    let mut attempt = 1;
    loop {
        match catalog.table(&settings.database, &settings.table).await {
            Err(error) if error.action() == Action::Retry && attempt < attempts => {
                tokio::time::sleep(backoff::pause(attempt)).await;
                attempt += 1;
            }
            result => return result,
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
    let Some(difference) = different_keys(table, folders) else {
        return Ok(());
    };
    let message = format!(
        "{difference}: name a folder key=... in the prefix for each key and no other, or make a table with the keys of \
         the prefix (lakehose infer --glue, with --tenants for the key tenant), or have nothing \
         registered: partitions: {{register: false}} beside the stream's schema"
    );
    Err(Fault::new(stream.destination.prefix_place.clone(), message))
}

/// The same where nothing is registered: then it is no fault.
pub(super) fn unregistered_keys(stream: &DeliveryStream, table: &Table) -> Option<Fault> {
    if stream.register_partitions {
        return None;
    }
    let prefix = &stream.destination.prefix;
    let difference = different_keys(table, &prefix.partition_keys())?;
    let message = format!(
        "{difference}: whoever registers the partitions, such as a crawler or MSCK REPAIR TABLE, \
         finds none that fits: name a folder key=... in the prefix for each key and no other"
    );
    Some(Fault::new(stream.destination.prefix_place.clone(), message))
}

/// In words, how the keys of a table and the folders of a prefix differ.
fn different_keys(table: &Table, folders: &[String]) -> Option<String> {
    let keys: Vec<&str> = table.partition_keys.iter().map(|key| key.name.as_str()).collect();
    let has_folder = |key: &&str| folders.iter().any(|folder| folder.eq_ignore_ascii_case(key));
    if keys.iter().all(has_folder) && keys.len() == folders.len() {
        return None;
    }
    let Table { database, name, .. } = table;
    Some(format!(
        "the partition keys of table {database}.{name} are {}, the folders of the prefix are {}",
        listed(&keys),
        listed(folders),
    ))
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
