//! One pipeline for each stream: from the journal to the store, the catalog and the checkpoint.
//!
//! Owns the legs of a stream's path and what passes between them; a leg is the loop of `leg`.
//!
//! ```text
//! journal ---- source leg ----------------------------------------------> store, catalog
//!    |             \ with hooks: transform -> scratch log -- next leg --> store, catalog
//!    +-------- backup leg: the source records once more ----------------> store
//! ```
//!
//! With hooks, the source leg gives records to the chain and appends what they became to a second
//! log of the same kind, the scratch log, in the order of positions. From there on a part is what a
//! record is without hooks. Entries name the record that they came from, so that the last of them
//! says, durably and by itself, how far the transform has come: a verdict or a part that anything
//! depends on never changes, whatever the hook would say the next time. A journal segment goes when
//! the source leg and the backup leg have both settled its records.
//!
//! Files below the stream's folder: `journal`, `checkpoint`, `outbox` of the source leg, and the
//! same three below `scratch` and `backup`, where `backup_end` has its note too; `quarantine` beside
//! an outbox that was damaged.

mod handle;
mod orders;
mod leg;
mod state;
mod progress;
mod books;
mod ledger;
mod entry;
mod intake;
mod active;
mod collector;
mod transformer;
mod transforms;
mod transformed;
mod placing;
mod naming;
mod owners;
mod kept;
mod pool;
mod round;
mod loan;
mod freeze;
mod caution;
mod sizes;
mod conversion;
mod turns;
mod delivery;
mod troubles;
mod registration;
mod watched;
mod completion;
mod backup;
mod backup_end;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use self::backup_end::BackupEnd;
pub use self::books::{
    Books, LegBooks, Oddity, OpenObject, StreamBooks, entry_outcome, entry_source,
};
pub use self::completion::Completion;
pub use self::freeze::Recipe;
pub use self::handle::{BackupStatus, ChangeError, Handle, Left, Status, TableTrouble};
pub use self::placing::{Missing, Partitioning, Query};
pub use self::pool::Pool;

use self::backup::{Ending, Ground};
use self::handle::{Changing, Legs};
use self::leg::{Ended, Leg};
use self::orders::{Ends, Logs, Orders, Role, Surroundings};
use self::transformed::Transformed;
use self::transformer::Transformer;
use self::troubles::Troubles;
use crate::buffer::Hints;
use crate::catalog::Catalog;
use crate::deliver::Stores;
use crate::journal::{AppendError, Environment, Hold, Journal, OpenError, Opened};
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::record::{Position, StreamName};
use crate::transform::Chain;

/// The end of a stop that delivers nothing more: what is on the disk is closed in order, and left.
pub const AT_ONCE: Duration = Duration::ZERO;
/// How long a step rests after a failure before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Changes of settings that may wait.
const CHANGES_MAX: usize = 4;

/// What a stream is to do; a change of the YAML replaces it as a whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What becomes of records.
    pub recipe: Arc<Recipe>,
    /// When batches close.
    pub hints: Hints,
    /// The hooks that records pass before; none for streams without.
    pub chain: Option<Chain>,
    /// Where the source records go besides.
    pub backup: Option<Backup>,
    /// The backup that there was before, where there is none now: what was accepted until it was
    /// switched off is still written by it.
    pub ending_backup: Option<Backup>,
    /// The catalogs by name.
    pub catalogs: BTreeMap<String, Arc<dyn Catalog>>,
}

/// The raw source backup of a stream.
#[derive(Clone, Debug)]
pub struct Backup {
    /// What its objects are; never rejects a record.
    pub recipe: Arc<Recipe>,
    /// When its batches close.
    pub hints: Hints,
}

/// What a pipeline is made of.
#[derive(Debug)]
pub struct Parts {
    /// The stream.
    pub stream: StreamName,
    /// Its opened journal, and what it said.
    pub opened: Opened,
    /// What further logs of the stream are opened with.
    pub environment: Environment,
    /// The stream's folder.
    pub directory: PathBuf,
    /// What it is to do.
    pub settings: Settings,
    /// The stores.
    pub stores: Arc<Stores>,
    /// The memory that all streams share.
    pub memory: Arc<MemoryBudget>,
    /// What their conversions share.
    pub pool: Pool,
    /// The numbers to count into.
    pub metrics: Metrics,
}

/// A stream's pipeline.
#[derive(Debug)]
pub struct Pipeline {
    /// With the journal, and with what all legs share.
    ground: Ground,
    /// The log of transformed records, once there was one.
    scratch: Option<Journal>,
    directory: PathBuf,
    troubles: Troubles,
    legs: Legs,
    changes: mpsc::Receiver<Changing>,
    /// Legs that are not running yet.
    ready: Vec<Leg>,
    /// The backup that the settings ask for; its leg may still be ending an earlier one.
    backup: Option<Backup>,
    /// The one that was switched off, until it is durable that it is over.
    ending: Option<Ending>,
    /// It is over, and that could not be noted yet.
    is_over_unnoted: bool,
    /// Keeps the records of the backup, from before its first leg until it has ended for good: longer
    /// than its leg when that ends by a stop, since the source leg writes its last checkpoints later.
    hold: Option<Arc<Hold>>,
}

/// Why a pipeline could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A log of the stream cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk did not do what was asked.
    #[error("could not open the outbox, the scratch log or the backup: {0}")]
    Disk(#[from] io::Error),
}

impl Pipeline {
    /// Takes up a stream where its logs left it.
    ///
    /// # Errors
    /// When a log or an outbox cannot be opened.
    pub fn new(parts: Parts) -> Result<(Self, Handle), PipelineError> {
        let Parts { environment, directory, settings, metrics, .. } = parts;
        let surroundings = Surroundings {
            stream: parts.stream.clone(),
            stores: parts.stores,
            disk: environment.disk.clone(),
            budget: environment.budget.clone(),
            clock: environment.clock.clone(),
            memory: parts.memory,
            pool: parts.pool,
            metrics: metrics.clone(),
            imbalances: Troubles::default(),
            parts_waiting: Arc::default(),
            told: Arc::default(),
        };
        let source = parts.opened.journal.clone();
        let (changing, changes) = mpsc::channel(CHANGES_MAX);
        let mut pipeline = Self {
            ground: Ground {
                source,
                environment,
                directory: directory.join("backup"),
                surroundings,
            },
            scratch: None,
            directory,
            troubles: Troubles::default(),
            legs: Legs::default(),
            changes,
            ready: Vec::new(),
            backup: settings.backup.clone(),
            ending: None,
            is_over_unnoted: false,
            hold: None,
        };
        // Also without hooks, when there were some: what they made is still to be delivered.
        let had_hooks = pipeline.has_log("scratch");
        let transformed_until = if settings.chain.is_some() || had_hooks {
            let Ground { environment, surroundings, .. } = &pipeline.ground;
            let (directory, orders) =
                (pipeline.directory.join("scratch"), pipeline.parts_orders(&settings));
            let opened = Transformed::open(environment, &directory, orders, surroundings.clone())?;
            let source_end = opened.source_end;
            pipeline.take_transformed(opened);
            source_end
        } else {
            Position(0)
        };
        let (end, backup) = pipeline.former_backup(&settings)?;
        let backed_up_until = backup.as_ref().map_or(Position(0), state::known_end);
        let backed_up_until = backed_up_until.max(end.map_or(Position(0), |end| end.end));
        pipeline.go_on(transformed_until, backed_up_until, parts.opened.checkpoint.is_some())?;
        let (mut leg, source) = Leg::new(
            Role::Source,
            Logs { opened: parts.opened, held: None },
            &pipeline.directory,
            pipeline.source_orders(&settings),
            pipeline.troubles.clone(),
            pipeline.ground.surroundings.clone(),
        )?;
        leg.resume_after(transformed_until);
        pipeline.legs.set_source(source);
        pipeline.ready.push(leg);
        let is_over = end.is_some_and(|end| end.is_over);
        match (&settings.backup, settings.ending_backup, backup) {
            (Some(backup), _, Some(opened)) => {
                let hold = pipeline.held();
                let (leg, handle) = pipeline.ground.begin(hold, backup, opened, None)?;
                pipeline.take_backup(leg, handle);
            }
            (None, Some(backup), Some(opened)) if !is_over => {
                pipeline.go_on_with_ending(backup, opened, end)?;
            }
            (None, None, Some(opened)) if !is_over => pipeline.ground.give_up(opened)?,
            (_, _, _) => {}
        }
        let legs = pipeline.legs.clone();
        let budget = pipeline.ground.surroundings.budget.clone();
        let imbalances = pipeline.ground.surroundings.imbalances.clone();
        let stamp = pipeline.ground.source.stamp();
        let stream = parts.stream;
        let handle = Handle { stream, metrics, legs, imbalances, stamp, changes: changing, budget };
        Ok((pipeline, handle))
    }

    /// Whether a leg has left a log in a folder of its own.
    fn has_log(&self, folder: &str) -> bool {
        let directory = self.directory.join(folder);
        ["journal", "checkpoint"].iter().any(|name| {
            let files = self.ground.environment.disk.list(&directory.join(name));
            files.is_ok_and(|files| !files.is_empty())
        })
    }

    /// Lets the journal go on after every record that another log of the stream knows of, when it
    /// has lost its end: a position that is given twice would make new records pass for old ones.
    fn go_on(
        &self,
        transformed_until: Position,
        backed_up_until: Position,
        has_checkpoint: bool,
    ) -> Result<(), OpenError> {
        let source = &self.ground.source;
        let is_gone = !has_checkpoint && *source.end().borrow() == Position(0);
        if is_gone && backed_up_until > transformed_until {
            return Err(OpenError::NoCheckpoint { path: self.directory.join("checkpoint") });
        }
        let first = *source.end().borrow();
        let missing = source.go_on_at(transformed_until.max(backed_up_until));
        if missing > 0 {
            tracing::error!(
                stream = %self.ground.surroundings.stream,
                first = first.0,
                last = first.0 + missing - 1,
                "the journal ends before what its other logs know of: it goes on after that, and \
                 what none of them has is counted as damaged"
            );
        }
        Ok(())
    }

    /// Runs until `stop` names an instant of the steady clock, and then until what is buffered has
    /// been delivered or the instant has passed; an earlier one may be named later, [`AT_ONCE`] for
    /// no further delivery. Tells what is left on the disk for the next start.
    pub async fn run(mut self, mut stop: watch::Receiver<Option<Duration>>) -> Left {
        let mut left = Left::default();
        let mut stops = BTreeMap::new();
        let mut running = JoinSet::new();
        let mut deadline = None;
        loop {
            for leg in self.ready.drain(..) {
                let stop = watch::Sender::new(None);
                let stopped = stop.subscribe();
                let role = leg.role();
                stops.insert(role, stop);
                running.spawn(async move { (role, leg.run(stopped).await) });
            }
            let end = |role: Role, deadline: Option<Duration>| {
                if let Some(stop) = stops.get(&role) {
                    stop.send_replace(deadline);
                }
            };
            tokio::select! {
                biased;
                until = stopped(&mut stop, deadline) => {
                    let is_first = deadline.is_none();
                    deadline = Some(until);
                    end(Role::Source, deadline);
                    end(Role::Backup, deadline);
                    if until == AT_ONCE {
                        // What is appended to its log all the same is found there.
                        end(Role::Transformed, deadline);
                    } else if is_first && let Some(leg) = self.legs.transformed() {
                        leg.begin_flush();
                    }
                }
                ended = running.join_next() => match ended {
                    Some(Ok((role, ended))) if deadline.is_some() => {
                        left.add(role, ended.left);
                        if !ended.in_order {
                            break;
                        }
                        if role == Role::Source {
                            // The next log gets nothing more.
                            end(Role::Transformed, deadline);
                        }
                        let is_whole = |end: Position| ended.is_drained && end <= ended.until;
                        let ending = self.ending.as_ref().filter(|_| role == Role::Backup);
                        if ending.is_some_and(|ending| is_whole(ending.end)) {
                            self.note_backup_is_over().await;
                        }
                    }
                    Some(Ok((Role::Backup, Ended { in_order: true, until, .. }))) => {
                        if let Err(error) = self.backup_ended(until).await {
                            tracing::error!(stream = %self.ground.surroundings.stream, "{error}");
                            break;
                        }
                    }
                    // After a failure the others are of no use: the process is about to end.
                    _ => break,
                },
                Some((settings, answer)) = self.changes.recv(), if deadline.is_none() => {
                    let changed = self.change(&settings).await;
                    if changed.is_ok() {
                        // Without a backup from now on, what was accepted until now is still backed
                        // up, however long it takes; with one again, that end is called off.
                        let is_over = settings.backup.is_none();
                        end(Role::Backup, is_over.then_some(Duration::MAX));
                    }
                    let _ = answer.send(changed.map_err(|error| error.to_string()));
                }
                () = tokio::time::sleep(RETRY_PAUSE), if self.is_over_unnoted => {
                    self.note_backup_is_over().await;
                }
            }
            if running.is_empty() {
                break;
            }
        }
        running.shutdown().await;
        left
    }

    async fn change(&mut self, settings: &Settings) -> Result<(), PipelineError> {
        // One that is made now runs when this is over.
        let runs_transformed = self.legs.transformed().is_some();
        if settings.chain.is_some() && self.scratch.is_none() {
            let Ground { environment, surroundings, .. } = self.ground.clone();
            let (directory, orders) = (self.directory.join("scratch"), self.parts_orders(settings));
            let open = move || Transformed::open(&environment, &directory, orders, surroundings);
            let opened = blocking(open).await?;
            self.take_transformed(opened);
        }
        let ground = self.ground.clone();
        match (&settings.backup, self.legs.backup()) {
            (Some(backup), Some(leg)) => {
                leg.change(Orders::of_backup(backup)).await;
                blocking(move || ground.forget_end()).await?;
            }
            (Some(backup), None) => self.begin_backup(backup.clone(), None).await?,
            // One that was switched off before keeps its end.
            (None, leg) => {
                if let Some((backup, leg)) = self.backup.clone().zip(leg) {
                    // After a leg that has ended already comes another one, for the rest.
                    let now = *self.ground.source.end().borrow();
                    let end = leg.end().await.unwrap_or(now);
                    blocking(move || ground.note_end(BackupEnd { end, is_over: false })).await?;
                    self.ending = Some(Ending { backup, end });
                }
            }
        }
        if settings.backup.is_some() {
            self.ending = None;
            self.is_over_unnoted = false;
        }
        self.backup.clone_from(&settings.backup);
        // Nothing can fail from here on.
        if let Some(leg) = self.legs.transformed() {
            leg.change(self.parts_orders(settings)).await;
            if runs_transformed {
                // Its answer comes after that: from then on it tells no end of a partition any more into
                // which the other one might place a record.
                leg.status().await;
            }
        }
        if let Some(leg) = self.legs.source() {
            leg.change(self.source_orders(settings)).await;
        }
        Ok(())
    }

    /// What the source leg does: with hooks it only feeds them.
    fn source_orders(&self, settings: &Settings) -> Orders {
        let transformer = settings.chain.clone().zip(self.scratch.clone());
        let transformer = transformer.map(|(chain, scratch)| Transformer {
            stream: self.ground.surroundings.stream.clone(),
            source: self.ground.source.clone(),
            scratch,
            chain,
            clock: self.ground.surroundings.clock.clone(),
            troubles: self.troubles.clone(),
        });
        Orders {
            hints: settings.chain.as_ref().map_or(settings.hints, Chain::hints),
            ends: if transformer.is_some() { Ends::Elsewhere } else { Ends::Own },
            transformer,
            ..self.parts_orders(settings)
        }
    }

    fn parts_orders(&self, settings: &Settings) -> Orders {
        Orders::of_parts(settings, &self.ground.source)
    }
}

/// Waits until a stop is to be over earlier than is known, and tells when; at once when whoever could
/// say so has gone.
async fn stopped(
    stop: &mut watch::Receiver<Option<Duration>>,
    known: Option<Duration>,
) -> Duration {
    let is_news =
        |stop: &Option<Duration>| stop.is_some_and(|at| known.is_none_or(|known| at < known));
    let news = stop.wait_for(is_news).await.map(|at| at.unwrap_or(AT_ONCE));
    match news {
        Ok(at) => at,
        Err(_) if known == Some(AT_ONCE) => std::future::pending().await,
        Err(_) => AT_ONCE,
    }
}

/// Runs a step where blocking is allowed; a panic there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Gives the result, after a rest when it is an error that will be tried again.
async fn rest_after<T, E>(
    result: Result<T, E>,
    is_tried_again: impl Fn(&E) -> bool,
) -> Result<T, E> {
    if let Err(error) = &result
        && is_tried_again(error)
    {
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    result
}

/// Appends until the disk has room for it or has failed.
async fn repeat<T, F>(append: impl Fn() -> F) -> Result<T, AppendError>
where
    F: Future<Output = Result<T, AppendError>>,
{
    loop {
        match append().await {
            Err(AppendError::BudgetUsedUp | AppendError::QueueFull) => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            done => return done,
        }
    }
}
