//! Streams follow their tables: new columns, a table that goes and comes back, and the partitions
//! that must keep up with both.
//!
//! Owns one task for each stream whose table can change while the service runs; a reload of the
//! configuration changes what it follows, and has changed the stream itself. Each look is one
//! read of the table; only a change leads to more. Never holds data up, with one exception: a table
//! that is gone, whose columns nobody knows any more.
//!
//! What the partitions have been brought to is noted only after it was done (`copies`), so a crash
//! in the middle repeats it, which does no harm: a table that was made again gets every partition
//! that has objects in the store, a table that was widened has its columns given to the partitions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};

use super::copies::{Copies, Copy, Settled};
use super::streams::Current;
use super::{lake, tables};
use crate::catalog::{Catalog, CatalogError, Found};
use crate::config::{DeliveryStream, Fault, Schema};
use crate::deliver::{ListError, Stores, backoff};
use crate::pipeline::{ChangeError, Handle, Recipe, Settings, TableTrouble};
use crate::record::StreamName;
use crate::tasks::Tasks;

/// A table that is missing holds its stream up, so it is looked for at least this often.
const MISSING_PAUSE: Duration = Duration::from_secs(5);
/// After a failure nothing is asked again earlier.
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Partitions that one call registers.
const PARTITIONS_PER_CALL_MAX: usize = 100;

/// Who follows what.
#[derive(Debug)]
pub(super) struct Followers {
    pub(super) stores: Arc<Stores>,
    pub(super) copies: Copies,
    pub(super) tasks: Tasks,
    pub(super) stop: watch::Receiver<bool>,
    running: Mutex<BTreeMap<StreamName, watch::Sender<Latest>>>,
}

/// What is followed for a stream now; nothing after a reload that left it no table to follow.
type Latest = Option<Arc<Followed>>;

/// A stream's settings, as far as its table is concerned.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) stream: DeliveryStream,
    pub(super) schema: Schema,
    /// What the stream works by at the beginning.
    pub(super) recipe: Arc<Recipe>,
    pub(super) catalog: Arc<dyn Catalog>,
    /// How often the table is looked at.
    pub(super) refresh: Duration,
}

impl Followers {
    pub(super) fn new(
        stores: Arc<Stores>,
        copies: Copies,
        tasks: Tasks,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { stores, copies, tasks, stop, running: Mutex::default() }
    }

    /// Follows the table of a stream from now on, or none, instead of what was followed for it
    /// before. The caller holds `current`, so that no follower changes the stream meanwhile.
    pub(super) fn follow(
        &self,
        name: &StreamName,
        handle: &Handle,
        current: &Arc<AsyncMutex<Current>>,
        followed: Option<Followed>,
    ) {
        let followed = followed.map(Arc::new);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = running.get(name) {
            sender.send_replace(followed);
            return;
        }
        let Some(first) = followed else {
            return;
        };
        let recipe = first.recipe.clone();
        let (sender, receiver) = watch::channel(Some(first));
        let follower = Follower {
            name: name.clone(),
            recipe,
            handle: handle.clone(),
            current: current.clone(),
            latest: receiver.clone(),
            stores: self.stores.clone(),
            copies: self.copies.clone(),
            trouble: None,
            was_missing: false,
            failures: 0,
        };
        running.insert(name.clone(), sender);
        let run = follower.run(receiver, self.stop.clone());
        self.tasks.spawn(format!("follower of the table of {name}"), run);
    }
}

impl Followers {
    /// Follows nothing for a stream any more, which is about to be closed.
    pub(super) fn end(&self, name: &StreamName) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

struct Follower {
    name: StreamName,
    handle: Handle,
    current: Arc<AsyncMutex<Current>>,
    latest: watch::Receiver<Latest>,
    stores: Arc<Stores>,
    copies: Copies,
    /// What the pipeline works by.
    recipe: Arc<Recipe>,
    /// What the pipeline was told last.
    trouble: Option<TableTrouble>,
    /// The table was seen to be missing: what comes back knows no partitions.
    was_missing: bool,
    /// Looks that failed in a row.
    failures: u32,
}

/// Why a look did not lead to the end.
enum LookError {
    Catalog(CatalogError),
    /// The table does not fit the stream.
    Fault(Fault),
    List(ListError),
    /// A partition was not taken.
    Refused(String),
    Copy(std::io::Error),
    Change(ChangeError),
    /// A reload has come meanwhile; what was seen is of no use any more.
    Superseded,
}

impl fmt::Display for LookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(error) => error.fmt(f),
            Self::Fault(fault) => f.write_str(fault.message()),
            Self::List(error) => error.fmt(f),
            Self::Refused(reason) => write!(f, "could not register a partition: {reason}"),
            Self::Copy(error) => write!(f, "could not keep a copy of the table: {error}"),
            Self::Change(error) => error.fmt(f),
            Self::Superseded => f.write_str("the configuration was reloaded"),
        }
    }
}

impl Follower {
    async fn run(mut self, mut latest: watch::Receiver<Latest>, mut stop: watch::Receiver<bool>) {
        loop {
            let now = latest.borrow_and_update().clone();
            let turn = async {
                let Some(followed) = now else {
                    self.tell(None).await;
                    return std::future::pending().await;
                };
                let pause = self.look_and_tell(&followed).await;
                tokio::time::sleep(pause).await;
            };
            let is_changed = tokio::select! {
                biased;
                _ = async { stop.wait_for(|stop| *stop).await.is_ok() } => return,
                changed = latest.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return,
                },
                () = turn => false,
            };
            if is_changed {
                if let Some(next) = latest.borrow().as_ref() {
                    self.recipe = next.recipe.clone();
                }
                // Parts of the pipeline that came with the reload have not heard of it.
                let _ = self.handle.table(self.trouble.clone()).await;
            }
        }
    }

    /// Looks at the table once; tells when to look again.
    async fn look_and_tell(&mut self, followed: &Arc<Followed>) -> Duration {
        let result = self.look(followed).await;
        let is_ours = followed.schema.columns.is_some();
        let has_rows = tables::has_rows(&followed.stream);
        let error = match result {
            Ok(()) => {
                self.failures = 0;
                return followed.refresh;
            }
            Err(error) => error,
        };
        let text = error.to_string();
        match error {
            LookError::Superseded => return followed.refresh,
            LookError::Catalog(CatalogError::Missing { .. }) if !is_ours && !has_rows => {
                // Records that are delivered as they are need no table to be converted by.
                self.was_missing = true;
                self.tell(Some(TableTrouble::Unusable(text.clone()))).await;
            }
            LookError::Catalog(CatalogError::Missing { .. }) if !is_ours => {
                self.was_missing = true;
                if !matches!(self.trouble, Some(TableTrouble::Missing(_))) {
                    tracing::error!(stream = %self.name, error = text, "the table is missing; holding the stream");
                }
                self.tell(Some(TableTrouble::Missing(text))).await;
                return followed.refresh.min(MISSING_PAUSE);
            }
            LookError::Catalog(CatalogError::Invalid { .. } | CatalogError::Refused { .. })
            | LookError::Fault(_) => {
                // A stream that is held stays so: what came back is of no use to it.
                let trouble = match self.trouble {
                    Some(TableTrouble::Missing(_)) => TableTrouble::Missing(text.clone()),
                    _ => TableTrouble::Unusable(text.clone()),
                };
                self.tell(Some(trouble)).await;
            }
            _ => {}
        }
        self.failures = self.failures.saturating_add(1);
        let attempt = self.failures;
        // The same thing again is news ever more rarely.
        if attempt.is_power_of_two() {
            tracing::warn!(stream = %self.name, error = text, attempt, "could not follow the table; trying again");
        }
        backoff::pause(attempt).max(FAILURE_PAUSE_MIN).min(followed.refresh)
    }

    async fn look(&mut self, followed: &Arc<Followed>) -> Result<(), LookError> {
        let Followed { stream, schema, catalog, .. } = followed.as_ref();
        if schema.columns.is_some()
            && let Some((_, definition)) = tables::definition(stream, &self.recipe)
        {
            catalog.define(&definition).await.map_err(LookError::Catalog)?;
        }
        let found = catalog.table(&schema.database, &schema.table).await;
        let found = found.map_err(LookError::Catalog)?;
        if schema.columns.is_none() && Some(&found.table) != self.recipe.table.as_ref() {
            let recipe = tables::recipe_of(stream, found.table.clone(), &self.recipe);
            let recipe = recipe.map_err(LookError::Fault)?;
            tracing::info!(
                stream = %self.name,
                version = found.table.version,
                columns = found.table.columns.len(),
                "the table has changed; what is not planned yet follows it"
            );
            self.change(followed, Arc::new(recipe)).await?;
        }
        self.tell(None).await;
        self.settle(followed, &found).await
    }

    /// Brings the partitions to where the table is, and notes it.
    async fn settle(&mut self, followed: &Arc<Followed>, found: &Found) -> Result<(), LookError> {
        let schema = &followed.schema;
        let now = Settled { made: found.made.clone(), version: found.table.version.clone() };
        let kept = self.copies.read(&self.name, schema).await;
        // A table that is used for the first time has no partitions of ours yet.
        let before = kept.as_ref().map_or_else(|| now.clone(), |copy| copy.settled.clone());
        let mut copy = Copy {
            catalog: schema.catalog.clone(),
            table: found.table.clone(),
            settled: before.clone(),
        };
        if kept.as_ref() != Some(&copy) {
            self.copies.write(&self.name, &copy).await.map_err(LookError::Copy)?;
        }
        if before == now && !self.was_missing {
            return Ok(());
        }
        if self.recipe.register_in.is_some() {
            if before.made != now.made || self.was_missing {
                self.register_all(followed).await?;
            }
            self.widen(followed).await?;
        }
        self.was_missing = false;
        copy.settled = now;
        self.copies.write(&self.name, &copy).await.map_err(LookError::Copy)
    }

    async fn widen(&self, followed: &Followed) -> Result<(), LookError> {
        let Some((_, definition)) = tables::definition(&followed.stream, &self.recipe) else {
            return Ok(());
        };
        let widened = followed.catalog.widen(&definition).await.map_err(LookError::Catalog)?;
        if widened > 0 {
            tracing::info!(stream = %self.name, partitions = widened, "gave partitions the table's new columns");
        }
        Ok(())
    }

    /// Registers every partition that has objects, in a table that knows none of them.
    async fn register_all(&mut self, followed: &Arc<Followed>) -> Result<(), LookError> {
        // From here on the pipeline registers what it commits, whatever the old table knew.
        self.change(followed, self.recipe.clone()).await?;
        let partitions = lake::partitions(&self.stores, &self.recipe).await;
        let partitions = partitions.map_err(LookError::List)?;
        for some in partitions.chunks(PARTITIONS_PER_CALL_MAX) {
            let registration = followed.catalog.register(some).await.map_err(LookError::Catalog)?;
            if let Some(refusal) = registration.refused.first() {
                return Err(LookError::Refused(refusal.reason.clone()));
            }
        }
        tracing::info!(
            stream = %self.name,
            partitions = partitions.len(),
            "the table was made again; registered the partitions that have objects"
        );
        Ok(())
    }

    /// Gives the stream a recipe, unless a reload has come since `followed` was looked at.
    async fn change(
        &mut self,
        followed: &Arc<Followed>,
        recipe: Arc<Recipe>,
    ) -> Result<(), LookError> {
        let mut current = self.current.lock().await;
        let is_latest =
            self.latest.borrow().as_ref().is_some_and(|latest| Arc::ptr_eq(latest, followed));
        let Some(settings) = current.get_mut(&self.name).filter(|_| is_latest) else {
            return Err(LookError::Superseded);
        };
        let changed = Settings { recipe: recipe.clone(), ..settings.clone() };
        self.handle.change(changed.clone()).await.map_err(LookError::Change)?;
        *settings = changed;
        self.recipe = recipe;
        Ok(())
    }

    async fn tell(&mut self, trouble: Option<TableTrouble>) {
        if self.trouble != trouble {
            let _ = self.handle.table(trouble.clone()).await;
            self.trouble = trouble;
        }
    }
}
