//! The delivery streams of the process.
//!
//! Owns what a start makes once for all streams, and which streams are open: each is opened once,
//! and given settings as often as the configuration changes. Does not own when that happens
//! (`reload`), and reads no file of settings.
//!
//! Invariant: a stream that was opened stays open until the process ends. One that the configuration
//! has no more takes no records; what it has is delivered by its last definition. So its journal is
//! never opened a second time, and nothing accepted is left lying.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, watch};
use tokio::task::JoinSet;

use super::copies::Copies;
use super::directory::DataDirectory;
use super::follow::{Followed, Followers};
use super::hooks;
use super::tables::{self, Catalogs};
use super::{REGION, StartError, system};
use crate::buffer::Hints;
use crate::catalog::{Catalog, CatalogError, Definition};
use crate::config::{
    self, Buffering, Config, DeliveryStream, Fault, Faults, StepKind, StoreUrl, SystemEnvironment,
};
use crate::convert::{Delimiter, ParquetCompression, RecordsCompression};
use crate::deliver::{Credentials, Renewal, Stores};
use crate::disk::Disk;
use crate::fault::Action;
use crate::ingest::{self, Auth, BackupDescription, Content, Description, Processor, Token};
use crate::journal::{Environment, Journal};
use crate::metrics::Metrics;
use crate::pipeline::{Backup, ChangeError, Handle, Left, Parts, Pipeline, Settings};
use crate::record::{StreamName, UnixMillis};
use crate::tasks::Tasks;

/// Streams that are opened side by side.
const OPENED_AT_ONCE: usize = 8;

/// The pipelines by stream.
pub type Handles = BTreeMap<StreamName, Handle>;

/// What each stream that is open does now, also those that the configuration has no more. A reload
/// holds all of it from before it reads a table until every stream has what came of that; a follower
/// takes it to change its stream, and does so only if no reload came since it read the table. So
/// neither undoes what the other has done by a later look.
pub(super) type Current = BTreeMap<StreamName, Settings>;

/// Catalogs that are open, with the settings that they were opened by.
pub(super) type KnownCatalogs = Vec<(config::Catalog, Arc<dyn Catalog>)>;

/// A configuration, and what its catalogs say to it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) config: Config,
    /// What each stream is to do; the catalogs are given to it with all others that are known.
    pub(super) settings: BTreeMap<StreamName, Settings>,
    pub(super) catalogs: Catalogs,
}

/// What every stream shares; made once.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: Arc<DataDirectory>,
    pub(super) environment: Environment,
    pub(super) stores: Arc<Stores>,
    pub(super) conversions: Arc<Semaphore>,
    pub(super) metrics: Metrics,
}

/// Where pipelines run, and who hears of their ends.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) tasks: Tasks,
    /// Until when, by the steady clock, what is buffered is delivered after a stop.
    pub(super) stopped: watch::Receiver<Option<Duration>>,
    /// What streams had left when their pipelines ended.
    pub(super) left: Arc<std::sync::Mutex<BTreeMap<StreamName, Left>>>,
    /// The stream whose pipeline ended first.
    pub(super) ended: watch::Sender<Option<StreamName>>,
}

/// The streams that are open, and what their settings need.
#[derive(Debug)]
pub(super) struct Streams {
    shared: Arc<Shared>,
    running: Running,
    open: BTreeMap<StreamName, Open>,
    /// Opened, and not running yet.
    waiting: Vec<(StreamName, Pipeline)>,
    handles: watch::Sender<Arc<Handles>>,
    current: Arc<Mutex<Current>>,
    followers: Followers,
    /// By name; one that the configuration has no more stays for the partitions that wait for it.
    catalogs: Catalogs,
    /// Each catalog that was opened, with its settings.
    known_catalogs: KnownCatalogs,
    /// By store; those of a store that the configuration has no more stay for its open plans.
    credentials: BTreeMap<String, Credentials>,
}

/// A stream that is open.
#[derive(Debug)]
struct Open {
    created: UnixMillis,
    journal: Journal,
    handle: Handle,
}

impl Prepared {
    /// Asks the catalogs what the configuration needs of them. A catalog of `known` is used again,
    /// so that no two of the process write to the same files. Where a table is not to be had, its
    /// copy in `copies` serves.
    ///
    /// # Errors
    /// All faults that only the catalogs can tell.
    pub(super) async fn new(
        config: Config,
        disk: &Arc<dyn Disk>,
        known: &KnownCatalogs,
        copies: Option<&Copies>,
    ) -> Result<Self, Faults> {
        let mut catalogs = tables::catalogs(&config, disk).await;
        for (name, settings) in &config.catalogs {
            if let Some((_, catalog)) = known.iter().find(|(with, _)| with == settings) {
                catalogs.insert(name.clone(), catalog.clone());
            }
        }
        let mut faults = Vec::new();
        let mut settings = BTreeMap::new();
        for (name, stream) in &config.delivery_streams {
            match settings_of(&config, &catalogs, (name, stream), copies).await {
                Ok(made) => {
                    settings.insert(name.clone(), made);
                }
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() {
            Ok(Self { config, settings, catalogs })
        } else {
            Err(Faults::new(faults))
        }
    }

    /// Finds out whether the catalogs would refuse what the streams' tables need there; changes
    /// nothing.
    ///
    /// # Errors
    /// All faults.
    pub(super) async fn check_tables(&self) -> Result<(), Faults> {
        let mut faults = Vec::new();
        for (name, stream) in &self.config.delivery_streams {
            if let Some((schema, definition)) = self.definition(name, stream)
                && let Err(error) = self.catalogs[&schema.catalog].check(&definition).await
                && !self.can_wait(stream, &error)
            {
                faults.push(tables::fault(schema, &error));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Faults::new(faults)) }
    }

    /// Makes in the catalogs what the streams' tables need there. Where that can be done later, and
    /// is, because the table is followed, it is no fault.
    ///
    /// # Errors
    /// The first fault.
    pub(super) async fn define_tables(&self) -> Result<(), Faults> {
        for (name, stream) in &self.config.delivery_streams {
            let Some((schema, definition)) = self.definition(name, stream) else {
                continue;
            };
            if let Err(error) = self.catalogs[&schema.catalog].define(&definition).await {
                if self.can_wait(stream, &error) {
                    tracing::error!(stream = %name, %error, "could not make the table; trying again");
                    continue;
                }
                return Err(Faults::new(vec![tables::fault(schema, &error)]));
            }
        }
        Ok(())
    }

    fn definition<'a>(
        &self,
        name: &StreamName,
        stream: &'a DeliveryStream,
    ) -> Option<(&'a config::Schema, Definition)> {
        tables::definition(stream, &self.settings[name].recipe)
    }

    /// Whether the table is followed, and what the catalog did not do now may be done then: a stream
    /// that brings its columns delivers by them whatever the catalog permits.
    fn can_wait(&self, stream: &DeliveryStream, error: &CatalogError) -> bool {
        let is_refused = matches!(error, CatalogError::Refused { .. });
        let is_passing = error.action() == Action::Retry;
        (is_passing || is_refused) && tables::refresh(&self.config, stream).is_some()
    }
}

impl Streams {
    /// No streams yet.
    pub(super) fn new(shared: Shared, running: Running, followers: Followers) -> Self {
        Self {
            shared: Arc::new(shared),
            running,
            open: BTreeMap::new(),
            waiting: Vec::new(),
            handles: watch::Sender::default(),
            current: Arc::default(),
            followers,
            catalogs: Catalogs::new(),
            known_catalogs: Vec::new(),
            credentials: BTreeMap::new(),
        }
    }

    /// Prepares a configuration to succeed the present one; nothing of the service changes yet.
    ///
    /// # Errors
    /// All faults that only the catalogs can tell.
    pub(super) async fn prepare(&self, config: Config) -> Result<Prepared, Faults> {
        let disk = &self.shared.environment.disk;
        let copies = Some(&self.followers.copies);
        Prepared::new(config, disk, &self.known_catalogs, copies).await
    }

    /// Waits until nobody else changes a stream, and keeps it so.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<Current> {
        self.current.clone().lock_owned().await
    }

    /// The pipelines of all streams that are open.
    pub(super) fn handles(&self) -> watch::Receiver<Arc<Handles>> {
        self.handles.subscribe()
    }

    /// Opens the streams that are not open yet; they run after [`run`](Self::run).
    ///
    /// # Errors
    /// When one of them cannot be opened. Those before it stay open until they are
    /// [closed](Self::close_waiting), and no producer knows them.
    pub(super) async fn open(
        &mut self,
        prepared: &Prepared,
        current: &mut Current,
    ) -> Result<(), StartError> {
        let mut catalogs = self.catalogs.clone();
        catalogs.extend(prepared.catalogs.clone());
        let new = prepared.settings.iter().filter(|(name, _)| !self.open.contains_key(*name));
        let new: Vec<_> = new.map(|(name, settings)| (name.clone(), settings.clone())).collect();
        let mut new = new.into_iter();
        let mut opening = JoinSet::new();
        let mut failure = None;
        loop {
            // Recovery reads and syncs files, and may take its time.
            while failure.is_none()
                && opening.len() < OPENED_AT_ONCE
                && let Some((name, settings)) = new.next()
            {
                let shared = self.shared.clone();
                let settings = Settings { catalogs: catalogs.clone(), ..settings };
                opening.spawn_blocking(move || {
                    let opened = shared.open(&name, settings.clone())?;
                    Ok::<_, StartError>((name, settings, opened))
                });
            }
            // After a failure too, those under way are waited for: no journal is opened twice.
            let Some(opened) = opening.join_next().await else {
                return failure.map_or(Ok(()), Err);
            };
            let opened = opened.map_err(io::Error::other).map_err(system("open a stream"));
            match opened.flatten() {
                Ok((name, settings, (open, pipeline))) => {
                    self.open.insert(name.clone(), open);
                    current.insert(name.clone(), settings);
                    self.waiting.push((name, pipeline));
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }

    /// Closes the streams that were opened and do not run, as if they had not been.
    pub(super) fn close_waiting(&mut self, current: &mut Current) {
        for (name, _pipeline) in self.waiting.drain(..) {
            self.open.remove(&name);
            current.remove(&name);
        }
    }

    /// Takes up the stores and the catalogs; what only the old configuration has stays known.
    pub(super) fn take_up(&mut self, prepared: &Prepared) {
        let config = &prepared.config;
        self.shared.environment.budget.set_largest_object(largest_object(config));
        self.credentials.retain(|store, _| !config.stores.contains_key(store));
        self.credentials.extend(credentials(config));
        self.shared.stores.change(self.credentials.clone());
        self.catalogs.extend(prepared.catalogs.clone());
        let known = config
            .catalogs
            .iter()
            .map(|(name, settings)| (settings.clone(), prepared.catalogs[name].clone()));
        self.known_catalogs = known.collect();
    }

    /// Gives every stream of the configuration its settings. They apply to what is not planned yet.
    /// Tells which of them go on by their old settings, and why.
    pub(super) async fn change(
        &mut self,
        prepared: &Prepared,
        current: &mut Current,
    ) -> Vec<ChangeError> {
        let mut errors = Vec::new();
        for (name, open) in &self.open {
            let Some(settings) = prepared.settings.get(name).or_else(|| current.get(name)) else {
                continue;
            };
            let settings = Settings { catalogs: self.catalogs.clone(), ..settings.clone() };
            match open.handle.change(settings.clone()).await {
                Ok(()) => {
                    current.insert(name.clone(), settings);
                }
                // When the pipeline has ended, so has the service.
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// Follows the tables of the configuration's streams from now on. That of a stream which the
    /// configuration has no more is followed as before.
    pub(super) fn follow(&self, prepared: &Prepared, current: &Current) {
        let config = &prepared.config;
        for (name, stream) in &config.delivery_streams {
            let followed = stream.schema.as_ref().zip(tables::refresh(config, stream));
            let followed = followed.map(|(schema, refresh)| Followed {
                stream: stream.clone(),
                schema: schema.clone(),
                recipe: current[name].recipe.clone(),
                catalog: prepared.catalogs[&schema.catalog].clone(),
                refresh,
            });
            self.followers.follow(name, &self.open[name].handle, &self.current, followed);
        }
    }

    /// Runs the streams that were opened.
    pub(super) fn run(&mut self) {
        for (name, pipeline) in self.waiting.drain(..) {
            let run = pipeline.run(self.running.stopped.clone());
            let (ended, left) = (self.running.ended.clone(), self.running.left.clone());
            self.running.tasks.spawn(format!("pipeline of {name}"), async move {
                // Also when it panics.
                let told = ToldAtTheEnd { ended, name };
                let found = run.await;
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                left.insert(told.name.clone(), found);
            });
        }
        let handles = self.open.iter().map(|(name, open)| (name.clone(), open.handle.clone()));
        self.handles.send_replace(Arc::new(handles.collect()));
    }

    /// What calls see by the configuration.
    pub(super) fn view(&self, config: &Config) -> ingest::View {
        let streams = config.delivery_streams.iter().map(|(name, settings)| {
            let Open { created, journal, .. } = &self.open[name];
            let description = description(config, settings, *created);
            (name.clone(), ingest::Stream { journal: journal.clone(), description })
        });
        ingest::View { auth: auth(config), streams: streams.collect() }
    }
}

impl Shared {
    fn open(&self, name: &StreamName, settings: Settings) -> Result<(Open, Pipeline), StartError> {
        let budget = Arc::new(self.environment.budget.part());
        let environment = &Environment { budget, ..self.environment.clone() };
        let (disk, clock) = (environment.disk.as_ref(), environment.clock.as_ref());
        let created = self.directory.created(disk, clock, name)?;
        let directory = self.directory.stream(name);
        let opened = Journal::open(environment, name, &directory)?;
        let journal = opened.journal.clone();
        let (pipeline, handle) = Pipeline::new(Parts {
            stream: name.clone(),
            opened,
            environment: environment.clone(),
            directory,
            settings,
            stores: self.stores.clone(),
            conversions: self.conversions.clone(),
            metrics: self.metrics.clone(),
        })?;
        Ok((Open { created, journal, handle }, pipeline))
    }
}

/// Tells that a pipeline has ended, in whatever way.
struct ToldAtTheEnd {
    ended: watch::Sender<Option<StreamName>>,
    name: StreamName,
}

impl Drop for ToldAtTheEnd {
    fn drop(&mut self) {
        let name = Some(self.name.clone());
        self.ended.send_if_modified(|first| {
            first.is_none() && {
                *first = name;
                true
            }
        });
    }
}

/// What a stream is to do.
///
/// # Errors
/// Every fault that was found.
async fn settings_of(
    config: &Config,
    catalogs: &Catalogs,
    (name, stream): (&StreamName, &DeliveryStream),
    copies: Option<&Copies>,
) -> Result<Settings, Vec<Fault>> {
    let recipe = tables::recipe(config, catalogs, (name, stream), copies).await;
    let chain = hooks::chain(name, stream).await;
    match (recipe, chain) {
        (Ok(recipe), Ok(chain)) => Ok(Settings {
            recipe: Arc::new(recipe),
            hints: hints(stream.buffering),
            chain,
            backup: stream.backup.as_ref().map(|backup| Backup {
                recipe: Arc::new(tables::backup_recipe(config, backup)),
                hints: hints(backup.buffering),
            }),
            catalogs: Catalogs::new(),
        }),
        (recipe, chain) => Err(recipe.err().into_iter().chain(chain.err()).collect()),
    }
}

pub(super) fn hints(buffering: Buffering) -> Hints {
    Hints { size_bytes: buffering.size_bytes, interval: buffering.interval }
}

/// The most bytes of records that any stream makes one object of.
fn largest_object(config: &Config) -> u64 {
    let streams = config.delivery_streams.values();
    let sizes = streams.flat_map(|stream| {
        let backup = stream.backup.as_ref().map(|backup| backup.buffering);
        std::iter::once(stream.buffering).chain(backup).map(|buffering| buffering.size_bytes)
    });
    sizes.max().unwrap_or(0)
}

fn description(config: &Config, settings: &DeliveryStream, created: UnixMillis) -> Description {
    let store = &config.stores[&settings.destination.store];
    Description {
        created,
        bucket: bucket(&store.url),
        prefix: settings.destination.prefix_text.clone(),
        error_prefix: settings.destination.error_prefix_text.clone(),
        buffering_mib: settings.buffering.size_bytes.div_ceil(1 << 20),
        buffering_seconds: settings.buffering.interval.as_secs(),
        content: content(config, settings),
        processors: settings.transform.iter().filter_map(|step| processor(&step.kind)).collect(),
        is_partitioned_by_keys: !settings.destination.prefix.hook_keys().is_empty(),
        backup: settings.backup.as_ref().map(|backup| BackupDescription {
            bucket: bucket(&config.stores[&backup.store].url),
            prefix: backup.prefix_text.clone(),
            buffering_mib: backup.buffering.size_bytes.div_ceil(1 << 20),
            buffering_seconds: backup.buffering.interval.as_secs(),
            compression: compression(backup.format.compression),
        }),
    }
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
        StepKind::Http { .. }
        | StepKind::Command { .. }
        | StepKind::Jq(_)
        | StepKind::Filter(_)
        | StepKind::Fields(_) => None,
    }
}

fn compression(compression: RecordsCompression) -> &'static str {
    match compression {
        RecordsCompression::None => "UNCOMPRESSED",
        RecordsCompression::Gzip => "GZIP",
        RecordsCompression::Zstd => "ZSTD",
    }
}

/// What DescribeDeliveryStream says of the objects of a stream.
fn content(config: &Config, settings: &DeliveryStream) -> Content {
    match (&settings.format, &settings.schema) {
        (config::Format::Parquet(options), Some(schema)) => Content::Parquet {
            compression: match options.compression {
                ParquetCompression::Snappy => "SNAPPY",
                ParquetCompression::Zstd => "ZSTD",
                ParquetCompression::Gzip => "GZIP",
                ParquetCompression::None => "UNCOMPRESSED",
            },
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

fn auth(config: &Config) -> Auth {
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

pub(super) fn credentials(config: &Config) -> impl Iterator<Item = (String, Credentials)> {
    config
        .stores
        .iter()
        .filter_map(|(name, store)| Some((name.clone(), keys(store.credentials.as_ref()?))))
}

/// What requests to a store are signed with; what stands in files is read there again.
fn keys(credentials: &config::Credentials) -> Credentials {
    let kept = credentials.clone();
    let renew = move || {
        let renewed = kept.read_again(&SystemEnvironment)?;
        Ok((renewed.access_key, renewed.secret.expose().to_owned()))
    };
    Credentials {
        access_key: credentials.access_key.clone(),
        secret: credentials.secret.expose().to_owned(),
        renewal: credentials.may_change().then(|| Renewal::new(renew)),
    }
}

fn bucket(url: &StoreUrl) -> String {
    match url {
        StoreUrl::S3 { bucket, .. } => bucket.clone(),
        StoreUrl::File { path } => {
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        }
    }
}
