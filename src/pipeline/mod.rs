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
mod collector;
mod transformer;
mod transforms;
mod naming;
mod freeze;
mod caution;
mod conversion;
mod turns;
mod delivery;
mod troubles;
mod registration;
mod backup_end;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

pub use self::backup_end::BackupEnd;
pub use self::books::{
    Books, LegBooks, Oddity, OpenObject, StreamBooks, entry_outcome, entry_source,
};
pub use self::freeze::Recipe;
pub use self::handle::{BackupStatus, ChangeError, Handle, Left, Status, TableTrouble};

use self::handle::{Changing, LegHandle, Legs};
use self::leg::{Ended, Leg};
use self::orders::{Logs, Orders, Role, Surroundings};
use self::transformer::Transformer;
use self::troubles::Troubles;
use crate::buffer::Hints;
use crate::catalog::Catalog;
use crate::deliver::Stores;
use crate::journal::{AppendError, Checkpoint, Environment, Journal, OpenError, Opened};
use crate::metrics::Metrics;
use crate::positions::Positions;
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
    /// One permit for each conversion that may run at a time, shared by all streams.
    pub conversions: Arc<Semaphore>,
    /// The numbers to count into.
    pub metrics: Metrics,
}

/// A stream's pipeline.
#[derive(Debug)]
pub struct Pipeline {
    source: Journal,
    /// The log of transformed records, once there was one.
    scratch: Option<Journal>,
    environment: Environment,
    directory: PathBuf,
    surroundings: Surroundings,
    troubles: Troubles,
    legs: Legs,
    changes: mpsc::Receiver<Changing>,
    /// Legs that are not running yet.
    ready: Vec<Leg>,
    /// The backup that the settings ask for; its leg may still be ending an earlier one.
    backup: Option<Backup>,
}

/// Why a pipeline could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A log of the stream cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk did not do what was asked.
    #[error("could not open the outbox or the scratch log: {0}")]
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
            conversions: parts.conversions,
            metrics: metrics.clone(),
            imbalances: Troubles::default(),
        };
        let source = parts.opened.journal.clone();
        let (changing, changes) = mpsc::channel(CHANGES_MAX);
        let mut pipeline = Self {
            source,
            scratch: None,
            environment,
            directory,
            surroundings,
            troubles: Troubles::default(),
            legs: Legs::default(),
            changes,
            ready: Vec::new(),
            backup: settings.backup.clone(),
        };
        // Also without hooks, when there were some: what they made is still to be delivered.
        let had_hooks = pipeline.has_log("scratch");
        let transformed_until = if settings.chain.is_some() || had_hooks {
            let opened = pipeline.open("scratch")?;
            pipeline.open_transformed(opened, &settings)?
        } else {
            Position(0)
        };
        let backup = pipeline.open_backup_log(&settings)?;
        pipeline.go_on(transformed_until, backup.as_ref(), parts.opened.checkpoint.is_some())?;
        let (mut leg, source) = Leg::new(
            Role::Source,
            Logs { opened: parts.opened, held: None },
            &pipeline.directory,
            pipeline.source_orders(&settings),
            pipeline.troubles.clone(),
            pipeline.surroundings.clone(),
        )?;
        leg.resume_after(transformed_until);
        pipeline.legs.set_source(source);
        pipeline.ready.push(leg);
        match (&settings.backup, &settings.ending_backup, backup) {
            (Some(backup), _, Some(opened)) => pipeline.open_backup(backup, opened)?,
            (None, Some(ending), Some(opened)) => pipeline.open_ending_backup(ending, opened)?,
            (None, None, Some(_)) if !pipeline.is_backup_over() => {
                tracing::warn!(
                    stream = %parts.stream,
                    "the stream had a backup, has none now, and no definition of it is left: its \
                     finished objects that were not delivered wait in its folder until there is one \
                     again; records that stood in none yet will not be in the backup"
                );
            }
            (_, _, _) => {}
        }
        let legs = pipeline.legs.clone();
        let budget = pipeline.surroundings.budget.clone();
        let imbalances = pipeline.surroundings.imbalances.clone();
        let stamp = pipeline.source.stamp();
        let stream = parts.stream;
        let handle = Handle { stream, metrics, legs, imbalances, stamp, changes: changing, budget };
        Ok((pipeline, handle))
    }

    /// Whether a leg has left a log in a folder of its own.
    fn has_log(&self, folder: &str) -> bool {
        let directory = self.directory.join(folder);
        ["journal", "checkpoint"].iter().any(|name| {
            let files = self.environment.disk.list(&directory.join(name));
            files.is_ok_and(|files| !files.is_empty())
        })
    }

    /// The log of the backup, where there is a backup or was one. One that cannot be opened is no
    /// obstacle while nobody asks for it.
    fn open_backup_log(&self, settings: &Settings) -> Result<Option<Opened>, OpenError> {
        if settings.backup.is_some() {
            return self.open("backup").map(Some);
        }
        if !self.has_log("backup") {
            return Ok(None);
        }
        let opened = self.open("backup");
        let stream = &self.surroundings.stream;
        let note = |error: &OpenError| tracing::warn!(%stream, "the former backup: {error}");
        Ok(opened.inspect_err(note).ok())
    }

    /// Lets the journal go on after every record that another log of the stream knows of, when it
    /// has lost its end: a position that is given twice would make new records pass for old ones.
    fn go_on(
        &self,
        transformed_until: Position,
        backup: Option<&Opened>,
        has_checkpoint: bool,
    ) -> Result<(), OpenError> {
        let backed_up_until = backup.map_or(Position(0), state::known_end);
        let is_gone = !has_checkpoint && *self.source.end().borrow() == Position(0);
        if is_gone && backed_up_until > transformed_until {
            return Err(OpenError::NoCheckpoint { path: self.directory.join("checkpoint") });
        }
        let first = *self.source.end().borrow();
        let missing = self.source.go_on_at(transformed_until.max(backed_up_until));
        if missing > 0 {
            tracing::error!(
                stream = %self.surroundings.stream,
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
                    }
                    Some(Ok((Role::Backup, Ended { in_order: true, .. }))) => {
                        tracing::info!(stream = %self.surroundings.stream, "the backup has ended");
                        self.note_backup_is_over();
                        // It may have been asked for again when its end could not be called off.
                        let opened = self.backup.clone().map(|backup| self.begin_backup(&backup));
                        match opened {
                            None => self.legs.set_backup(None),
                            Some(Ok(())) => {}
                            Some(Err(error)) => {
                                tracing::error!(stream = %self.surroundings.stream, "{error}");
                                break;
                            }
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
            }
            if running.is_empty() {
                break;
            }
        }
        running.shutdown().await;
        left
    }

    async fn change(&mut self, settings: &Settings) -> Result<(), PipelineError> {
        if settings.chain.is_some() && self.scratch.is_none() {
            let opened = self.open("scratch")?;
            self.open_transformed(opened, settings)?;
        }
        match (&settings.backup, self.legs.backup()) {
            (Some(backup), Some(leg)) => {
                leg.change(Orders::of_backup(backup)).await;
                let disk = self.environment.disk.clone();
                BackupEnd::remove(disk.as_ref(), &self.directory.join("backup"))?;
            }
            (Some(backup), None) => self.begin_backup(backup)?,
            (None, Some(leg)) => {
                // A leg that has ended already has left its own note.
                if let Some(end) = leg.end().await {
                    let disk = self.environment.disk.clone();
                    let note = BackupEnd { end, is_over: false };
                    note.write(disk.as_ref(), &self.directory.join("backup"))?;
                }
            }
            (None, None) => {}
        }
        self.backup.clone_from(&settings.backup);
        // Nothing can fail from here on.
        if let Some(leg) = self.legs.transformed() {
            leg.change(Orders::of_parts(settings)).await;
        }
        if let Some(leg) = self.legs.source() {
            leg.change(self.source_orders(settings)).await;
        }
        Ok(())
    }

    fn open(&self, folder: &str) -> Result<Opened, OpenError> {
        let directory = self.directory.join(folder);
        Journal::open(&self.environment, &self.surroundings.stream, &directory)
    }

    /// What the source leg does: with hooks it only feeds them.
    fn source_orders(&self, settings: &Settings) -> Orders {
        let transformer = settings.chain.clone().zip(self.scratch.clone());
        let transformer = transformer.map(|(chain, scratch)| Transformer {
            stream: self.surroundings.stream.clone(),
            source: self.source.clone(),
            scratch,
            chain,
            clock: self.surroundings.clock.clone(),
            troubles: self.troubles.clone(),
        });
        Orders {
            hints: settings.chain.as_ref().map_or(settings.hints, Chain::hints),
            transformer,
            ..Orders::of_parts(settings)
        }
    }

    /// Makes the leg of transformed records, and tells how far the transform had come.
    fn open_transformed(&mut self, opened: Opened, settings: &Settings) -> io::Result<Position> {
        let scratch = opened.journal.clone();
        let (leg, handle) = Leg::new(
            Role::Transformed,
            Logs { opened, held: None },
            &self.directory.join("scratch"),
            Orders::of_parts(settings),
            Troubles::default(),
            self.surroundings.clone(),
        )?;
        let source_end = intake::last_source_end(&scratch)?.max(leg.source_end());
        self.scratch = Some(scratch);
        self.legs.set_transformed(handle);
        self.ready.push(leg);
        Ok(source_end)
    }

    fn begin_backup(&mut self, backup: &Backup) -> Result<(), PipelineError> {
        let opened = self.open("backup")?;
        self.open_backup(backup, opened)
    }

    /// Makes the leg of the backup. A new backup begins with the next record, and so does one that
    /// was switched off and had ended.
    fn open_backup(&mut self, backup: &Backup, opened: Opened) -> Result<(), PipelineError> {
        let (disk, directory) = (self.environment.disk.clone(), self.directory.join("backup"));
        let end = BackupEnd::read(disk.as_ref(), &directory);
        let (mut leg, handle) = self.backup_leg(backup, opened)?;
        if let Some(BackupEnd { end, is_over: true }) = end {
            let now = *self.source.end().borrow();
            let count = now.0.saturating_sub(end.0);
            leg.leave_out(&Positions::from_run(end, count));
            // Before the note goes that says why these are not missing.
            leg.write_checkpoint()?;
        }
        BackupEnd::remove(disk.as_ref(), &directory)?;
        self.take_backup(leg, handle);
        Ok(())
    }

    /// Makes the leg of a backup that was switched off and has not written all that it is to write.
    fn open_ending_backup(&mut self, backup: &Backup, opened: Opened) -> Result<(), PipelineError> {
        let (disk, directory) = (self.environment.disk.clone(), self.directory.join("backup"));
        let end = match BackupEnd::read(disk.as_ref(), &directory) {
            Some(end) => end,
            None => {
                let end = BackupEnd { end: *self.source.end().borrow(), is_over: false };
                end.write(disk.as_ref(), &directory)?;
                end
            }
        };
        if !end.is_over {
            let (mut leg, handle) = self.backup_leg(backup, opened)?;
            leg.end_at(end.end);
            tracing::info!(
                stream = %self.surroundings.stream,
                "the backup was switched off; what was accepted before is still written"
            );
            self.take_backup(leg, handle);
        }
        Ok(())
    }

    fn is_backup_over(&self) -> bool {
        let directory = self.directory.join("backup");
        BackupEnd::read(self.environment.disk.as_ref(), &directory).is_some_and(|end| end.is_over)
    }

    /// Should this fail, the next start finds the same at once.
    fn note_backup_is_over(&self) {
        let (disk, directory) = (self.environment.disk.as_ref(), self.directory.join("backup"));
        let Some(end) = BackupEnd::read(disk, &directory) else {
            return;
        };
        if let Err(error) = (BackupEnd { is_over: true, ..end }).write(disk, &directory) {
            let stream = &self.surroundings.stream;
            tracing::warn!(%stream, %error, "could not note the end of the backup");
        }
    }

    fn backup_leg(
        &self,
        backup: &Backup,
        mut opened: Opened,
    ) -> Result<(Leg, LegHandle), PipelineError> {
        let hold = self.source.hold();
        let end = *self.source.end().borrow();
        if opened.checkpoint.is_none() {
            if !opened.controls.is_empty() {
                let path = self.directory.join("backup").join("checkpoint");
                return Err(OpenError::NoCheckpoint { path }.into());
            }
            let settled = Positions::from_run(Position(0), end.0);
            let begin = Checkpoint { end, settled, left_out: end.0, ..Checkpoint::default() };
            opened.journal.checkpoint(&begin, opened.journal.mark())?;
            opened.checkpoint = Some(begin);
        }
        Ok(Leg::new(
            Role::Backup,
            Logs { opened, held: Some((self.source.clone(), hold)) },
            &self.directory.join("backup"),
            Orders::of_backup(backup),
            Troubles::default(),
            self.surroundings.clone(),
        )?)
    }

    fn take_backup(&mut self, leg: Leg, handle: LegHandle) {
        self.legs.set_backup(Some(handle));
        self.ready.push(leg);
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
