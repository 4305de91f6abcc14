//! The delivery streams of the process.
//!
//! Owns what a start makes once for all streams, and which streams are open: each is opened once,
//! and given settings as often as the configuration changes. Does not own when that happens
//! (`reload`), and reads no file of settings.
//!
//! Invariant: a stream that was opened stays open until the process ends, or until it has nothing
//! left that the configuration has no more (`removed`). So its journal is never open twice, and
//! nothing accepted is left lying.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::accesses;
use super::copies::{Copy, Settled};
use super::definitions::Definitions;
use super::directory::{DataDirectory, DirectoryError};
use super::earlier::EarlierCatalog;
use super::follow::{Followed, Followers};
use super::prepare::{KnownCatalogs, Prepared, backup_of};
use super::removed::Removed;
use super::tables::{self, Catalogs};
use super::view;
use super::{StartError, system};
use crate::buffer::Hints;
use crate::config::{Config, Faults, KeptStore, LastDefinition, SystemEnvironment, in_words};
use crate::deliver::Stores;
use crate::ingest;
use crate::journal::{Environment, Journal};
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::pipeline::{Backup, ChangeError, Handle, Left, Parts, Pipeline, Pool, Recipe, Settings};
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

/// What every stream shares; made once.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: Arc<DataDirectory>,
    pub(super) definitions: Definitions,
    pub(super) environment: Environment,
    pub(super) stores: Arc<Stores>,
    pub(super) memory: Arc<MemoryBudget>,
    pub(super) pool: Pool,
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
    pub(super) shared: Arc<Shared>,
    pub(super) running: Running,
    pub(super) open: BTreeMap<StreamName, Open>,
    /// Those that the configuration has no more.
    pub(super) removed: Removed,
    /// Opened, and not running yet.
    waiting: Vec<(StreamName, Pipeline)>,
    /// Whose folders were made for them, as long as no definition is kept there.
    made: Vec<StreamName>,
    handles: watch::Sender<Arc<Handles>>,
    current: Arc<Mutex<Current>>,
    pub(super) followers: Followers,
    /// By name; one that the configuration has no more stays for the partitions that wait for it.
    catalogs: Catalogs,
    /// Each catalog that was opened, with its settings.
    pub(super) known_catalogs: KnownCatalogs,
    /// The configuration in use; absent before the first is taken up.
    config: Option<Config>,
    /// The stores of all definitions, the newest first: open plans may go there.
    kept_stores: Vec<KeptStore>,
}

/// A stream that is open.
#[derive(Debug)]
pub(super) struct Open {
    created: UnixMillis,
    journal: Journal,
    pub(super) handle: Handle,
    /// What is kept of it on the disk.
    definition: LastDefinition,
    /// The catalogs that it means by their names, whatever else the names may come to mean.
    catalogs: Catalogs,
    /// Ends its pipeline, by an instant of the steady clock.
    pub(super) stop: watch::Sender<Option<Duration>>,
    /// Whether its pipeline has ended.
    pub(super) over: watch::Sender<bool>,
}

/// A stream that has a folder.
#[derive(Debug)]
struct Begun {
    created: UnixMillis,
    /// Whether the folder was made now.
    is_new: bool,
    /// What is to be kept of it.
    definition: LastDefinition,
}

impl Streams {
    /// No streams yet.
    pub(super) fn new(shared: Shared, running: Running, followers: Followers) -> Self {
        Self {
            shared: Arc::new(shared),
            running,
            open: BTreeMap::new(),
            removed: Removed::default(),
            waiting: Vec::new(),
            made: Vec::new(),
            handles: watch::Sender::default(),
            current: Arc::default(),
            followers,
            catalogs: Catalogs::new(),
            known_catalogs: Vec::new(),
            config: None,
            kept_stores: Vec::new(),
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

    /// Opens the streams that are not open yet. They run after [`run`](Self::run), and what is to be
    /// kept of them is made durable before that, by [`keep`](Self::keep).
    ///
    /// # Errors
    /// When one of them cannot be opened. Those before it stay open until they are
    /// [closed](Self::close_waiting), and no producer knows them.
    pub(super) async fn open(
        &mut self,
        prepared: &Prepared,
        current: &mut Current,
    ) -> Result<(), StartError> {
        let new = prepared.settings.keys().filter(|name| !self.open.contains_key(*name));
        let begin = new.cloned().map(|name| {
            let shared = self.shared.clone();
            let definition = prepared.config.definitions[&name].clone();
            move || {
                let begun = shared.begin(&name, &definition)?;
                Ok((name, begun))
            }
        });
        let mut begun = Vec::new();
        let made = &mut self.made;
        side_by_side(begin.collect(), |(name, start): (StreamName, Begun)| {
            made.extend(start.is_new.then(|| name.clone()));
            begun.push((name, start));
        })
        .await?;
        for (_, Begun { definition, .. }) in &begun {
            self.keep_stores(definition);
            self.know_earlier_catalogs(definition).await;
        }
        let mut catalogs = self.catalogs.clone();
        catalogs.extend(prepared.catalogs.clone());
        let open = begun.into_iter().map(|(name, Begun { created, definition, .. })| {
            let shared = self.shared.clone();
            let own = prepared.own_catalogs(&name);
            let settings = Settings {
                catalogs: catalogs.clone(),
                ending_backup: ending_backup(&name, &definition),
                ..prepared.settings[&name].clone()
            };
            move || {
                // Recovery reads and syncs files, and may take its time.
                let (journal, handle, pipeline) = shared.open(&name, settings.clone())?;
                let (stop, over) = (watch::Sender::new(None), watch::Sender::new(false));
                let open = Open { created, journal, handle, definition, catalogs: own, stop, over };
                Ok((name, settings, open, pipeline))
            }
        });
        side_by_side(open.collect(), |(name, settings, open, pipeline)| {
            self.open.insert(name.clone(), open);
            current.insert(name.clone(), settings);
            self.waiting.push((name, pipeline));
        })
        .await?;
        self.measure_objects(current);
        Ok(())
    }

    /// Makes durable what is kept of the streams that are open, before anything depends on it.
    ///
    /// # Errors
    /// When the disk does not do it.
    pub(super) async fn keep(&mut self, prepared: &Prepared) -> Result<(), StartError> {
        for (name, definition) in &prepared.config.definitions {
            let (shared, of, definition) = (self.shared.clone(), name.clone(), definition.clone());
            let kept = spawn_blocking(move || shared.definitions.keep(&of, &definition));
            let kept =
                kept.await.map_err(io::Error::other).map_err(system("keep a definition"))??;
            self.keep_stores(&kept);
            if let Some(open) = self.open.get_mut(name) {
                open.definition = kept;
            }
        }
        self.made.clear();
        Ok(())
    }

    fn keep_stores(&mut self, definition: &LastDefinition) {
        let stores: Vec<KeptStore> = definition.stores().collect();
        for store in stores.into_iter().rev() {
            self.kept_stores.retain(|known| *known != store);
            self.kept_stores.insert(0, store);
        }
    }

    /// Catalogs that partitions of the stream may still wait for.
    async fn know_earlier_catalogs(&mut self, definition: &LastDefinition) {
        let disk = &self.shared.environment.disk;
        for kept in definition.earlier_catalogs() {
            let name = kept.name().to_owned();
            if self.catalogs.contains_key(&name) {
                continue;
            }
            let settings = match kept.read(&SystemEnvironment) {
                Ok(settings) => settings,
                Err(reason) => {
                    tracing::warn!(
                        stream = definition.stream(),
                        catalog = name,
                        reason,
                        "could not use a catalog of an earlier definition; partitions that wait for \
                         it wait until it can be used"
                    );
                    self.catalogs.insert(name, Arc::new(EarlierCatalog::new(kept, disk.clone())));
                    continue;
                }
            };
            let known = self.known_catalogs.iter().find(|(with, _)| *with == settings);
            let catalog = match known {
                Some((_, catalog)) => catalog.clone(),
                None => tables::open(&settings, disk).await,
            };
            self.catalogs.insert(name, catalog.clone());
            self.known_catalogs.push((settings, catalog));
        }
    }

    /// Keeps a copy of each table that was read for the first time, so that the next start can do
    /// without its catalog. Later ones are the followers' to keep.
    pub(super) async fn keep_tables(&self, prepared: &Prepared) {
        let copies = &self.followers.copies;
        for (name, found) in &prepared.found {
            let Some(schema) = &prepared.config.delivery_streams[name].schema else {
                continue;
            };
            if copies.read(name, schema).await.is_some() {
                continue;
            }
            // There are no partitions of ours yet that would have to be brought there.
            let settled =
                Settled { made: found.made.clone(), version: found.table.version.clone() };
            let (catalog, table) = (schema.catalog.clone(), found.table.clone());
            if let Err(error) = copies.write(name, &Copy { catalog, table, settled }).await {
                tracing::warn!(stream = %name, %error, "could not keep a copy of the table");
            }
        }
    }

    /// Closes the streams that were opened and do not run, as if they had not been.
    pub(super) async fn close_waiting(&mut self, current: &mut Current) {
        for (name, _pipeline) in self.waiting.drain(..) {
            self.open.remove(&name);
            current.remove(&name);
        }
        self.measure_objects(current);
        for name in std::mem::take(&mut self.made) {
            let (shared, of) = (self.shared.clone(), name.clone());
            let removed = spawn_blocking(move || {
                shared.directory.remove_unused(shared.environment.disk.as_ref(), &of)
            });
            if let Err(error) = removed.await.map_err(io::Error::other).flatten() {
                tracing::warn!(stream = %name, %error, "could not remove the folder of the new stream");
            }
        }
    }

    /// Tells the budget what the largest object may take, also of streams on their way out.
    pub(super) fn measure_objects(&self, current: &Current) {
        // An object that is to have a size has at most that of its records, and by far the most have
        // less than twice what they are to have.
        let largest = |hints: Hints, recipe: &Recipe| {
            recipe.object_bytes.map_or(u64::MAX, |bytes| bytes * 2).min(hints.size_bytes)
        };
        let sizes = current.values().flat_map(|settings| {
            let backups = settings.backup.iter().chain(&settings.ending_backup);
            std::iter::once(largest(settings.hints, &settings.recipe))
                .chain(backups.map(|backup| largest(backup.hints, &backup.recipe)))
        });
        let largest = sizes.max().unwrap_or(0);
        self.shared.environment.budget.set_largest_object(largest);
    }

    /// Takes up the stores and the catalogs; what only the old configuration has stays known.
    pub(super) fn take_up(&mut self, prepared: &Prepared) {
        let config = &prepared.config;
        self.config = Some(config.clone());
        self.reach_stores();
        self.catalogs.extend(prepared.catalogs.clone());
        self.know_catalogs(prepared);
    }

    /// Reaches the stores as the configuration and all that is kept of streams say now.
    pub(super) fn reach_stores(&self) {
        if let Some(config) = &self.config {
            self.shared.stores.change(accesses::of(config, &self.kept_stores));
        }
    }

    /// Whether none of the catalogs was opened a second time.
    pub(super) fn has_known_catalogs(&self, prepared: &Prepared) -> bool {
        let mut settings = prepared.config.catalogs.iter();
        settings.all(|(name, settings)| {
            let known = self.known_catalogs.iter().find(|(with, _)| with == settings);
            known.is_none_or(|(_, known)| Arc::ptr_eq(known, &prepared.catalogs[name]))
        })
    }

    /// Notes which catalogs are open, so that none is opened twice.
    pub(super) fn know_catalogs(&mut self, prepared: &Prepared) {
        for (name, settings) in &prepared.config.catalogs {
            if !self.known_catalogs.iter().any(|(known, _)| known == settings) {
                self.known_catalogs.push((settings.clone(), prepared.catalogs[name].clone()));
            }
        }
    }

    /// Gives every stream of the configuration its settings. They apply to what is not planned yet.
    /// Tells which of them go on by their old settings, and why.
    pub(super) async fn change(
        &mut self,
        prepared: &Prepared,
        current: &mut Current,
    ) -> Vec<ChangeError> {
        let mut errors = Vec::new();
        for (name, open) in &mut self.open {
            let mut settings = match (prepared.settings.get(name), current.get(name)) {
                (Some(settings), _) => {
                    open.catalogs = prepared.own_catalogs(name);
                    let ending_backup = ending_backup(name, &open.definition);
                    Settings { ending_backup, ..settings.clone() }
                }
                (None, Some(settings)) => settings.clone(),
                (None, None) => continue,
            };
            settings.catalogs = self.catalogs.clone();
            settings.catalogs.extend(open.catalogs.clone());
            match open.handle.change(settings.clone()).await {
                Ok(()) => {
                    current.insert(name.clone(), settings);
                }
                // When the pipeline has ended, so has the service.
                Err(error) => errors.push(error),
            }
        }
        self.measure_objects(current);
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
            let Some(open) = self.open.get(&name) else {
                continue;
            };
            let (stop, over) = (open.stop.clone(), open.over.clone());
            let run = pipeline.run(stop.subscribe());
            let mut all_stopped = self.running.stopped.clone();
            let (ended, left) = (self.running.ended.clone(), self.running.left.clone());
            self.running.tasks.spawn(format!("pipeline of {name}"), async move {
                // Also when it panics.
                let told = ToldAtTheEnd { ended, name, stop: stop.clone(), over };
                let mut to_stop = all_stopped.clone();
                let all_stop = async {
                    // The deadline of a stop may come nearer.
                    loop {
                        let deadline = *to_stop.borrow_and_update();
                        if deadline.is_some() {
                            stop.send_replace(deadline);
                        }
                        if to_stop.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    }
                };
                let found = tokio::select! {
                    found = run => found,
                    () = all_stop => return,
                };
                if all_stopped.borrow_and_update().is_some() {
                    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                    left.insert(told.name.clone(), found);
                }
            });
        }
        self.publish();
    }

    /// Shows which streams are open.
    pub(super) fn publish(&self) {
        let handles = self.open.iter().map(|(name, open)| (name.clone(), open.handle.clone()));
        self.handles.send_replace(Arc::new(handles.collect()));
    }

    /// What calls see by the configuration.
    pub(super) fn view(&self, config: &Config) -> ingest::View {
        let streams = config.delivery_streams.iter().map(|(name, settings)| {
            let Open { created, journal, .. } = &self.open[name];
            let description = view::description(config, settings, *created);
            (name.clone(), ingest::Stream { journal: journal.clone(), description })
        });
        ingest::View { auth: view::auth(config), streams: streams.collect() }
    }
}

impl Shared {
    /// Makes the folder of a stream.
    fn begin(
        &self,
        name: &StreamName,
        definition: &LastDefinition,
    ) -> Result<Begun, DirectoryError> {
        let (disk, clock) = (self.environment.disk.as_ref(), self.environment.clock.as_ref());
        let (created, is_new) = self.directory.created(disk, clock, name)?;
        let definition = self.definitions.merged(name, definition)?;
        Ok(Begun { created, is_new, definition })
    }

    fn open(
        &self,
        name: &StreamName,
        settings: Settings,
    ) -> Result<(Journal, Handle, Pipeline), StartError> {
        let budget = Arc::new(self.environment.budget.part());
        let environment = &Environment { budget, ..self.environment.clone() };
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
            memory: self.memory.clone(),
            pool: self.pool.clone(),
            metrics: self.metrics.clone(),
        })?;
        Ok((journal, handle, pipeline))
    }
}

/// The backup that a stream had before, for what was accepted until it was switched off.
fn ending_backup(name: &StreamName, definition: &LastDefinition) -> Option<Backup> {
    match definition.ending_backup(&SystemEnvironment)? {
        Ok(config) => backup_of(&config, &config.delivery_streams[name]),
        Err(faults) => {
            let reason = in_words(&faults);
            tracing::error!(stream = %name, reason, "could not use the definition of the ending backup");
            None
        }
    }
}

/// Does blocking work for many streams, for some of them at a time. After a failure no more is begun,
/// and what is under way is waited for: no journal is opened twice.
async fn side_by_side<T: Send + 'static, W>(
    work: Vec<W>,
    mut take: impl FnMut(T),
) -> Result<(), StartError>
where
    W: FnOnce() -> Result<T, StartError> + Send + 'static,
{
    let mut work = work.into_iter();
    let mut running = JoinSet::new();
    let mut failure = None;
    loop {
        while failure.is_none()
            && running.len() < OPENED_AT_ONCE
            && let Some(next) = work.next()
        {
            running.spawn_blocking(next);
        }
        let Some(done) = running.join_next().await else {
            return failure.map_or(Ok(()), Err);
        };
        match done.map_err(io::Error::other).map_err(system("open a stream")).flatten() {
            Ok(done) => take(done),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
}

/// Tells that a pipeline has ended, in whatever way.
struct ToldAtTheEnd {
    ended: watch::Sender<Option<StreamName>>,
    name: StreamName,
    stop: watch::Sender<Option<Duration>>,
    over: watch::Sender<bool>,
}

impl Drop for ToldAtTheEnd {
    fn drop(&mut self) {
        self.over.send_replace(true);
        if self.stop.borrow().is_some() {
            // As it was to.
            return;
        }
        let name = Some(self.name.clone());
        self.ended.send_if_modified(|first| {
            first.is_none() && {
                *first = name;
                true
            }
        });
    }
}
