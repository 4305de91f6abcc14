//! `lakehose partitions repair`: the partitions of a stream as its store has them, against its
//! catalog.
//!
//! Owns the comparison and the mending: what has objects is registered, what lacks columns of the
//! table gets them. Removes nothing, and moves nothing: both are told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use super::{accesses, lake, tables};
use crate::catalog::{Catalog, CatalogError, Known, is_below, is_same_location};
use crate::config::{self, Config, Fault, Faults};
use crate::deliver::{ListError, Stores, backoff};
use crate::disk::{DirectoryLock, Disk, OsDisk, lock_directory};
use crate::fault::Action;
use crate::plan::CatalogPartition;
use crate::record::StreamName;

/// Partitions that one call registers.
const PARTITIONS_PER_CALL_MAX: usize = 100;
/// Attempts at a call that can succeed later.
const ATTEMPTS: u32 = 8;

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// The table, `database.table`.
    pub table: String,
    /// How many partitions have objects.
    pub in_store: usize,
    /// How many partitions the table has, before the repair.
    pub in_catalog: usize,
    /// Partitions with objects that the table did not have.
    pub missing: Vec<CatalogPartition>,
    /// Those of them that the catalog did not take, and why.
    pub refused: Vec<(CatalogPartition, String)>,
    /// Partitions that the table has at another location than the objects.
    pub elsewhere: Vec<(CatalogPartition, String)>,
    /// Partitions of the table below the stream's folder that have no objects.
    pub empty: Vec<Known>,
    /// How many partitions got columns that they lacked.
    pub widened: u64,
}

/// Why a command could do nothing for a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The configuration does not fit its catalogs.
    #[error("the configuration has faults")]
    Faults(Faults),
    /// There is no such stream.
    #[error("there is no delivery stream '{name}' in the configuration: name one of {known}")]
    Stream {
        /// What was asked for.
        name: String,
        /// The streams that there are.
        known: String,
    },
    /// The stream registers nothing.
    #[error("delivery stream '{0}' registers no partitions: its prefix has none, or says so")]
    NotRegistered(StreamName),
    /// The stream's objects have no rows, so nothing is known of how to read them.
    #[error(
        "delivery stream '{0}' delivers records as they are: how to read them as a table is known \
         to who writes them alone"
    )]
    NoRows(StreamName),
    /// A catalog of files has one writer at a time.
    #[error(
        "the service is running and writes the catalog's files itself: stop it, then repair, or \
         look with --dry-run"
    )]
    InUse,
    /// It cannot be told whether the service is running.
    #[error(
        "could not lock data_dir {}: {error}; repair as the user that runs the service, or look \
         with --dry-run", path.display()
    )]
    Lock {
        /// The data directory.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The catalog did not do what was asked.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
}

/// Compares the partitions of a stream with its catalog and, unless it is a dry run, mends it.
///
/// # Errors
/// When the configuration, the catalog or the store is not as it must be; what was registered
/// before stays, and a repetition goes on there.
pub async fn repair(config: &Config, stream: &str, dry_run: bool) -> Result<Repair, StreamError> {
    let (name, settings) = find(config, stream)?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let catalogs = tables::catalogs(config, &disk).await;
    let recipe = tables::recipe(config, &catalogs, (name, settings), None).await;
    let recipe = recipe.map_err(|fault: Fault| StreamError::Faults(Faults::new(vec![fault])))?;
    let (Some(register_in), Some(table)) = (&recipe.register_in, &recipe.table) else {
        return Err(StreamError::NotRegistered(name.clone()));
    };
    let is_files = matches!(config.catalogs[register_in], config::Catalog::Files { .. });
    let _lock = if is_files && !dry_run { lock(config)? } else { None };

    let catalog = &catalogs[register_in];
    let location = tables::location(settings, &recipe);
    let (database, table) = (&table.database, &table.name);
    let stores = Stores::new(accesses::of(config, []));
    let known = patiently(|| catalog.partitions(database, table)).await?;
    let in_store = lake::partitions(&stores, &recipe).await?;
    let mut repair = Repair {
        table: format!("{database}.{table}"),
        in_store: in_store.len(),
        in_catalog: known.len(),
        ..Repair::default()
    };
    let values: BTreeSet<&Vec<String>> = in_store.iter().map(|p| &p.values).collect();
    let is_empty =
        |known: &&Known| is_below(&known.location, &location) && !values.contains(&known.values);
    repair.empty = known.iter().filter(is_empty).cloned().collect();
    let locations: BTreeMap<&Vec<String>, &String> =
        known.iter().map(|known| (&known.values, &known.location)).collect();
    for partition in in_store {
        match locations.get(&partition.values) {
            None => repair.missing.push(partition),
            Some(location) if !is_same_location(location, &partition.location) => {
                repair.elsewhere.push((partition, (*location).clone()));
            }
            Some(_) => {}
        }
    }
    if !dry_run {
        register(catalog.as_ref(), &mut repair).await?;
        if let Some((_, definition)) = tables::definition(settings, &recipe) {
            repair.widened = patiently(|| catalog.widen(&definition)).await?;
        }
    }
    Ok(repair)
}

/// The stream of a name.
pub(super) fn find<'a>(
    config: &'a Config,
    stream: &str,
) -> Result<(&'a StreamName, &'a config::DeliveryStream), StreamError> {
    let found = config.delivery_streams.iter().find(|(name, _)| name.as_str() == stream);
    found.ok_or_else(|| {
        let known: Vec<&str> = config.delivery_streams.keys().map(StreamName::as_str).collect();
        StreamError::Stream { name: stream.to_owned(), known: known.join(", ") }
    })
}

async fn register(catalog: &dyn Catalog, repair: &mut Repair) -> Result<(), CatalogError> {
    for some in repair.missing.chunks(PARTITIONS_PER_CALL_MAX) {
        let registration = patiently(|| catalog.register(some)).await?;
        let refused = registration.refused.into_iter();
        repair.refused.extend(refused.map(|refusal| (refusal.partition, refusal.reason)));
        // Somebody else was faster since the comparison.
        let elsewhere = registration.elsewhere.into_iter();
        repair.elsewhere.extend(elsewhere.map(|found| (found.partition, found.location)));
    }
    Ok(())
}

/// Held while the files of a catalog are written; none where no service has ever run, since there is
/// no folder.
fn lock(config: &Config) -> Result<Option<DirectoryLock>, StreamError> {
    match lock_directory(&config.data_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(StreamError::InUse),
        Err(error) => Err(StreamError::Lock { path: config.data_dir.clone(), error }),
    }
}

/// Asks again while that can help.
async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, CatalogError>
where
    F: Future<Output = Result<T, CatalogError>>,
{
    let mut attempt = 1;
    loop {
        match call().await {
            Err(error) if error.action() == Action::Retry && attempt < ATTEMPTS => {
                tracing::warn!(%error, attempt, "trying again");
                tokio::time::sleep(backoff::pause(attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}
