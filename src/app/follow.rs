//! Streams follow their tables: new columns, a table that goes and comes back, and the partitions
//! that must keep up with both.
//!
//! Owns one task for each stream whose table can change while the service runs. Each look is one
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

use tokio::sync::watch;

use super::copies::{Copies, Copy, Settled};
use super::{lake, tables};
use crate::buffer::Hints;
use crate::catalog::{Catalog, CatalogError, Found};
use crate::config::{DeliveryStream, Fault};
use crate::deliver::{ListError, Stores, backoff};
use crate::pipeline::{Change, Handle, Recipe, TableTrouble};
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
    running: Mutex<BTreeMap<StreamName, watch::Sender<Arc<Followed>>>>,
}

/// A stream's settings, as far as its table is concerned.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) stream: DeliveryStream,
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

    /// Follows the table of a stream from now on, instead of what was followed for it before.
    pub(super) fn follow(&self, name: &StreamName, handle: Handle, followed: Followed) {
        let followed = Arc::new(followed);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = running.get(name) {
            sender.send_replace(followed);
            return;
        }
        let follower = Follower {
            name: name.clone(),
            recipe: followed.recipe.clone(),
            handle,
            stores: self.stores.clone(),
            copies: self.copies.clone(),
            trouble: None,
            was_missing: false,
            failures: 0,
        };
        let (sender, receiver) = watch::channel(followed);
        running.insert(name.clone(), sender);
        let run = follower.run(receiver, self.stop.clone());
        self.tasks.spawn(format!("follower of the table of {name}"), run);
    }
}

struct Follower {
    name: StreamName,
    handle: Handle,
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
}

impl fmt::Display for LookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(error) => error.fmt(f),
            Self::Fault(fault) => f.write_str(fault.message()),
            Self::List(error) => error.fmt(f),
            Self::Refused(reason) => write!(f, "could not register a partition: {reason}"),
            Self::Copy(error) => write!(f, "could not keep a copy of the table: {error}"),
        }
    }
}

impl Follower {
    async fn run(
        mut self,
        mut followed: watch::Receiver<Arc<Followed>>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let now = followed.borrow_and_update().clone();
            let turn = async {
                let pause = self.look_and_tell(&now).await;
                tokio::time::sleep(pause).await;
            };
            let is_changed = tokio::select! {
                biased;
                _ = async { stop.wait_for(|stop| *stop).await.is_ok() } => return,
                changed = followed.changed() => changed.is_ok(),
                () = turn => false,
            };
            if is_changed {
                // All changes of one stream go through here, so that none overtakes another.
                let next = followed.borrow().clone();
                self.recipe = next.recipe.clone();
                self.change(&next).await;
            }
        }
    }

    /// Looks at the table once; tells when to look again.
    async fn look_and_tell(&mut self, followed: &Followed) -> Duration {
        let result = self.look(followed).await;
        let is_ours = followed.stream.schema.columns.is_some();
        let error = match result {
            Ok(()) => {
                self.failures = 0;
                return followed.refresh;
            }
            Err(error) => error,
        };
        let text = error.to_string();
        match error {
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

    async fn look(&mut self, followed: &Followed) -> Result<(), LookError> {
        let Followed { stream, catalog, .. } = followed;
        let schema = &stream.schema;
        if schema.columns.is_some() {
            let definition = tables::definition(stream, &self.recipe);
            catalog.define(&definition).await.map_err(LookError::Catalog)?;
        }
        let found = catalog.table(&schema.database, &schema.table).await;
        let found = found.map_err(LookError::Catalog)?;
        if schema.columns.is_none() && found.table != self.recipe.table {
            let recipe = tables::recipe_of(stream, found.table.clone(), &self.recipe);
            let recipe = recipe.map_err(LookError::Fault)?;
            tracing::info!(
                stream = %self.name,
                version = found.table.version,
                columns = found.table.columns.len(),
                "the table has changed; what is not planned yet follows it"
            );
            self.recipe = Arc::new(recipe);
            self.change(followed).await;
        }
        self.tell(None).await;
        self.settle(followed, &found).await
    }

    /// Brings the partitions to where the table is, and notes it.
    async fn settle(&mut self, followed: &Followed, found: &Found) -> Result<(), LookError> {
        let schema = &followed.stream.schema;
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
            let definition = tables::definition(&followed.stream, &self.recipe);
            let widened = followed.catalog.widen(&definition).await.map_err(LookError::Catalog)?;
            if widened > 0 {
                tracing::info!(stream = %self.name, partitions = widened, "gave partitions the table's new columns");
            }
        }
        self.was_missing = false;
        copy.settled = now;
        self.copies.write(&self.name, &copy).await.map_err(LookError::Copy)
    }

    /// Registers every partition that has objects, in a table that knows none of them.
    async fn register_all(&self, followed: &Followed) -> Result<(), LookError> {
        // From here on the pipeline registers what it commits, whatever the old table knew.
        self.change(followed).await;
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

    async fn change(&self, followed: &Followed) {
        let buffering = followed.stream.buffering;
        let hints = Hints { size_bytes: buffering.size_bytes, interval: buffering.interval };
        // A pipeline that has ended needs to know nothing.
        let _ = self.handle.change(Change { recipe: self.recipe.clone(), hints }).await;
    }

    async fn tell(&mut self, trouble: Option<TableTrouble>) {
        if self.trouble != trouble {
            let _ = self.handle.table(trouble.clone()).await;
            self.trouble = trouble;
        }
    }
}
