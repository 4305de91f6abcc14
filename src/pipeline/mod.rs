//! One pipeline for each stream: from the journal to the store, the catalog and the checkpoint.
//!
//! Owns the order of the steps and all state between them; the steps themselves are calculations
//! and edges. One loop owns the state; only reading, freezing, delivering, registering and writing
//! checkpoints run beside it, and each comes back to the loop with what it did.
//!
//! ```text
//! journal --scan--> group -> buffer --closed batches--> freeze (plan) --open plans--> deliver
//!                                                                  (commit) -> register
//!                                        checkpoint: the state, when no plan is being made
//! ```
//!
//! Invariants: a record is in at most one plan; nothing is put before its plan is durable; a
//! checkpoint is taken only while no plan is being made, so that it has every durable one; outbox
//! files go only after a checkpoint that has their commit.

mod handle;
mod state;
mod progress;
mod freeze;
mod turns;
mod delivery;
mod troubles;
mod registration;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use self::freeze::Recipe;
pub use self::handle::{Change, Handle, Status, TableTrouble};

use self::delivery::Delivery;
use self::freeze::{Batch, FreezeError, Freezer, take_round};
use self::handle::Request;
use self::registration::Registrations;
use self::state::State;
use self::troubles::Troubles;
use self::turns::Turns;
use crate::buffer::{Arrival, Buffer, Hints, Trigger};
use crate::catalog::{Catalog, CatalogError, Registration};
use crate::clock::Clock;
use crate::deliver::{ATTEMPTS, Stores};
use crate::disk::{Disk, DiskBudget};
use crate::journal::{AppendError, Control, Journal, Opened, Scanned};
use crate::metrics::{Labels, Metrics, stream_labels, stream_labels_with};
use crate::outbox::Outbox;
use crate::partition::Group;
use crate::plan::{Plan, PlanId};
use crate::positions::Positions;
use crate::record::{Position, StreamName};

/// Bytes of records that one look into the journal takes on.
const SCAN_BYTES: usize = 4 << 20;
/// Closed batches that may wait to be frozen; beyond it the journal is not read further.
const CLOSED_BATCHES_MAX: usize = 256;
/// A checkpoint is written this often while there is something new to record.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a step rests after a failure before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a plan that did not get through leaves the others their turn.
const TURN_PAUSE: Duration = Duration::from_secs(5);
/// The loop looks at the disk budget at least this often.
const TICK: Duration = Duration::from_secs(1);
/// How long the end of a pipeline waits for a plan or a checkpoint that is being written.
const FINISH_PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may wait for the loop.
const REQUESTS_MAX: usize = 64;
/// Under pressure of the disk budget, batches of fewer bytes in all are left to grow.
const PRESSURE_BYTES_MIN: u64 = 1 << 20;

/// What a pipeline is made of.
#[derive(Debug)]
pub struct Parts {
    /// The stream.
    pub stream: StreamName,
    /// Its opened journal, and what it said.
    pub opened: Opened,
    /// The stream's folder.
    pub directory: PathBuf,
    /// When batches close.
    pub hints: Hints,
    /// What becomes of records.
    pub recipe: Arc<Recipe>,
    /// The catalogs by name.
    pub catalogs: BTreeMap<String, Arc<dyn Catalog>>,
    /// The stores.
    pub stores: Arc<Stores>,
    /// The disk of the outbox.
    pub disk: Arc<dyn Disk>,
    /// The disk budget.
    pub budget: Arc<DiskBudget>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// One permit for each conversion that may run at a time, shared by all streams.
    pub conversions: Arc<Semaphore>,
    /// The numbers to count into.
    pub metrics: Metrics,
}

/// A stream's pipeline.
#[derive(Debug)]
pub struct Pipeline {
    journal: Journal,
    outbox: Arc<Outbox>,
    freezer: Freezer,
    catalogs: BTreeMap<String, Arc<dyn Catalog>>,
    stores: Arc<Stores>,
    budget: Arc<DiskBudget>,
    clock: Arc<dyn Clock>,
    conversions: Arc<Semaphore>,
    metrics: Metrics,
    labels: Labels,
    hints: Hints,
    stream: StreamName,

    state: State,
    buffer: Buffer<Group>,
    /// The next position to read.
    next: Position,
    closed: VecDeque<Batch>,
    /// Positions that the disk lost and no plan has settled yet.
    lost: Positions,
    registrations: Registrations,
    /// The stream's table is missing: nothing is converted until it is there again.
    is_held: bool,
    /// The order in which open plans are delivered.
    turns: Turns,
    /// Committed plans whose outbox files a checkpoint may let go.
    committed: Vec<PlanId>,
    flushes: Vec<(Position, oneshot::Sender<()>)>,
    flush_until: Position,
    troubles: Troubles,

    requests: mpsc::Receiver<Request>,
    work: JoinSet<Done>,
    scanning: bool,
    freezing: bool,
    registering: bool,
    checkpointing: bool,
    sealing: bool,
    /// The end at which the journal was sealed last.
    sealed_at: Position,
    /// Checkpoints still worth writing: two after a change, since segments go with the second.
    checkpoints_due: u8,
    checkpointed_at: Duration,
    stopping: bool,
    halted: bool,
}

/// What came of work beside the loop.
#[derive(Debug)]
enum Done {
    Scanned(Result<Scanned, io::Error>),
    Planned { batches: Arc<Vec<Batch>>, lost: Positions, plan: Result<Plan, FreezeError> },
    Committed(PlanId, Result<(), AppendError>),
    NotDelivered(PlanId),
    Rested(PlanId),
    Registered { catalog: String, result: Result<Registration, RegisterError> },
    CatalogRested(String),
    Sealed(Position, Result<(), AppendError>),
    Checkpointed { committed: Vec<PlanId>, written: io::Result<()> },
}

#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("could not record a registration: {0}")]
    Journal(#[from] AppendError),
    #[error("catalog '{0}' is not in the configuration any more: put it back to register there")]
    Unknown(String),
}

impl Pipeline {
    /// Takes up a stream where its journal left it.
    ///
    /// # Errors
    /// When the outbox cannot be opened.
    pub fn new(parts: Parts) -> io::Result<(Self, Handle)> {
        let Opened { journal, checkpoint, controls, torn_bytes, warnings } = parts.opened;
        let stream = parts.stream.to_string();
        for warning in warnings {
            tracing::warn!(stream, "journal: {warning}");
        }
        if torn_bytes > 0 {
            tracing::warn!(stream, torn_bytes, "cut an unfinished write from the journal's end");
        }
        parts.metrics.torn_bytes.get_or_create(&stream_labels(&stream)).inc_by(torn_bytes);
        let state = State::replay(checkpoint, controls);
        let recovered: BTreeSet<PlanId> = state.open_plans().keys().copied().collect();
        let budget = parts.budget.clone();
        let outbox = Outbox::open(parts.disk, budget, &parts.directory, &recovered)?;
        let outbox = Arc::new(outbox);
        let mut turns = Turns::default();
        recovered.into_iter().for_each(|id| turns.open(id, true));
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let freezer = Freezer {
            stream: parts.stream.clone(),
            journal: journal.clone(),
            outbox: outbox.clone(),
            recipe: parts.recipe,
            clock: parts.clock.clone(),
        };
        let pipeline = Self {
            journal,
            outbox,
            freezer,
            catalogs: parts.catalogs,
            stores: parts.stores,
            budget: parts.budget,
            conversions: parts.conversions,
            metrics: parts.metrics,
            labels: stream_labels(&stream),
            hints: parts.hints,
            stream: parts.stream,
            next: state.progress.low(),
            state,
            buffer: Buffer::new(parts.hints),
            closed: VecDeque::new(),
            lost: Positions::default(),
            registrations: Registrations::default(),
            is_held: false,
            turns,
            committed: Vec::new(),
            flushes: Vec::new(),
            flush_until: Position(0),
            troubles: Troubles::default(),
            requests,
            work: JoinSet::new(),
            scanning: false,
            freezing: false,
            registering: false,
            checkpointing: false,
            sealing: false,
            sealed_at: Position(0),
            checkpoints_due: 2,
            checkpointed_at: parts.clock.steady(),
            clock: parts.clock,
            stopping: false,
            halted: false,
        };
        Ok((pipeline, Handle { requests: sender }))
    }

    /// Runs until `stop` says so and what is buffered has been delivered, or `grace` has passed
    /// since then. What is left stays on the disk for the next start.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, grace: Duration) {
        let mut end = self.journal.end();
        let mut deadline = None;
        while !self.halted {
            self.start_work(&mut end);
            self.answer_flushes();
            if self.stopping && self.is_drained(*end.borrow()) {
                break;
            }
            let pause = self.pause(deadline);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !self.stopping => {
                    self.stopping = true;
                    deadline = Some(self.clock.steady() + grace);
                    self.flush_until = *end.borrow();
                }
                Some(request) = self.requests.recv() => self.answer(request, *end.borrow()),
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.take(done),
                    Err(error) => {
                        tracing::error!(stream = %self.stream, %error, "a step panicked");
                        self.halted = true;
                    }
                },
                _ = end.changed(), if !self.scanning => {}
                () = tokio::time::sleep(pause) => {}
            }
            if deadline.is_some_and(|deadline| self.clock.steady() >= deadline) {
                break;
            }
        }
        let end = *end.borrow();
        self.finish(end).await;
    }

    /// Starts every step that has something to do and is not running.
    fn start_work(&mut self, end: &mut watch::Receiver<Position>) {
        let now = self.clock.steady();
        self.close(now);
        let end = *end.borrow_and_update();
        if !self.scanning && self.next < end && self.closed.len() < CLOSED_BATCHES_MAX {
            self.start_scan();
        }
        if !self.scanning && self.next >= self.flush_until && self.flush_until > Position(0) {
            self.flush_until = Position(0);
            let closed = self.buffer.close_all(Trigger::Flush);
            self.enqueue(closed);
        }
        let checkpoint_due = self.checkpoints_due > 0
            && !self.checkpointing
            && (now >= self.checkpointed_at + CHECKPOINT_INTERVAL || self.budget.is_pressed());
        if checkpoint_due && !self.freezing && !self.sealing {
            // With everything settled the whole journal can go, the active segment too.
            if self.sealed_at < end && self.is_idle(end) {
                self.start_seal(end);
            } else {
                self.start_checkpoint(end);
            }
        }
        // A freeze would only put a due checkpoint off.
        let has_something = !self.closed.is_empty() || !self.lost.is_empty();
        if has_something && !self.freezing && !checkpoint_due && !self.is_held {
            self.start_freeze();
        }
        self.start_deliveries();
        if !self.registering && !self.state.unregistered().is_empty() {
            self.start_registration();
        }
    }

    fn close(&mut self, now: Duration) {
        let closed = self.buffer.close_due(now);
        self.enqueue(closed);
        if self.budget.is_pressed() && self.buffer.data_bytes() >= PRESSURE_BYTES_MIN {
            let closed = self.buffer.close_all(Trigger::Pressure);
            self.enqueue(closed);
        }
    }

    fn enqueue(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            let trigger = batch.closed_by.as_str();
            let labels = stream_labels_with(self.stream.as_str(), "trigger", trigger);
            self.metrics.closed_batches.get_or_create(&labels).inc();
            tracing::debug!(
                stream = %self.stream,
                records = batch.positions.count(),
                bytes = batch.data_bytes,
                trigger,
                "closed a batch"
            );
            self.closed.push_back(batch);
        }
    }

    fn start_scan(&mut self) {
        self.scanning = true;
        let (journal, from) = (self.journal.clone(), self.next);
        self.work.spawn(async move {
            let scanned = blocking(move || journal.scan(from, SCAN_BYTES)).await;
            Done::Scanned(rest_after(scanned, |_| true).await)
        });
    }

    fn start_freeze(&mut self) {
        self.freezing = true;
        let batches = Arc::new(take_round(&mut self.closed));
        let lost = std::mem::take(&mut self.lost);
        let (freezer, id) = (self.freezer.clone(), self.state.next_plan());
        let conversions = self.conversions.clone();
        self.work.spawn(async move {
            let _permit = conversions.acquire_owned().await;
            let plan = freezer.freeze(id, batches.clone(), lost.clone()).await;
            let plan =
                rest_after(plan, |error| !matches!(error, FreezeError::Plan(AppendError::Failed)));
            Done::Planned { batches, lost, plan: plan.await }
        });
    }

    fn start_deliveries(&mut self) {
        while let Some((id, turn)) = self.turns.next() {
            let Some(plan) = self.state.open_plans().get(&id) else {
                self.turns.delivered(id);
                continue;
            };
            let headers = plan.objects.iter().map(|object| object.header.clone()).collect();
            let delivery = Delivery {
                stream: self.stream.clone(),
                stores: self.stores.clone(),
                outbox: self.outbox.clone(),
                troubles: self.troubles.clone(),
                metrics: self.metrics.clone(),
                plan: id,
                turn,
            };
            let journal = self.journal.clone();
            self.work.spawn(async move {
                if !delivery.run(headers).await {
                    return Done::NotDelivered(id);
                }
                let committed = repeat(async || journal.append_control(&Control::Commit(id)).await);
                Done::Committed(id, committed.await)
            });
        }
    }

    fn start_registration(&mut self) {
        let Some(partitions) = self.registrations.next(self.state.unregistered()) else {
            return;
        };
        let name = partitions[0].catalog.clone();
        self.registering = true;
        let catalog = self.catalogs.get(&name).cloned();
        let journal = self.journal.clone();
        self.work.spawn(async move {
            let register = async {
                let catalog = catalog.ok_or_else(|| RegisterError::Unknown(name.clone()))?;
                let registration = catalog.register(&partitions).await?;
                let recorded = registration.registered.iter().map(|partition| {
                    let control = Control::Registered(partition.clone());
                    let journal = &journal;
                    async move { journal.append_control(&control).await }
                });
                futures::future::try_join_all(recorded).await?;
                Ok(registration)
            };
            let result = register.await;
            Done::Registered { catalog: name, result }
        });
    }

    fn start_seal(&mut self, end: Position) {
        self.sealing = true;
        let journal = self.journal.clone();
        self.work.spawn(async move {
            let sealed = repeat(async || journal.seal().await).await;
            Done::Sealed(end, sealed)
        });
    }

    fn start_checkpoint(&mut self, end: Position) {
        self.checkpointing = true;
        self.checkpoints_due -= 1;
        self.checkpointed_at = self.clock.steady();
        let (checkpoint, mark) = (self.state.checkpoint(end), self.journal.mark());
        let (journal, outbox) = (self.journal.clone(), self.outbox.clone());
        let committed = std::mem::take(&mut self.committed);
        self.work.spawn(async move {
            let plans = committed.clone();
            let written = blocking(move || {
                journal.checkpoint(&checkpoint, mark)?;
                plans.into_iter().try_for_each(|plan| outbox.remove(plan))
            });
            Done::Checkpointed { committed, written: rest_after(written.await, |_| true).await }
        });
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Scanned(scanned) => {
                self.scanning = false;
                if let Some(scanned) = self.note("read the journal", scanned) {
                    self.route(scanned);
                }
            }
            Done::Planned { batches, lost, plan } => {
                self.freezing = false;
                self.halted |= matches!(plan, Err(FreezeError::Plan(AppendError::Failed)));
                if let Some(plan) = self.note("freeze a batch", plan) {
                    self.checkpoints_due = 2;
                    if !plan.objects.is_empty() {
                        self.turns.open(plan.id, false);
                    }
                    self.state.planned(plan);
                } else {
                    let batches =
                        Arc::try_unwrap(batches).unwrap_or_else(|shared| (*shared).clone());
                    batches.into_iter().rev().for_each(|batch| self.closed.push_front(batch));
                    self.lost = self.lost.with(&lost);
                }
            }
            Done::Committed(id, Ok(())) => self.committed(id),
            Done::Committed(_, Err(_)) => self.halted = true,
            Done::NotDelivered(id) => {
                self.turns.not_delivered(id, ATTEMPTS);
                self.work.spawn(async move {
                    tokio::time::sleep(TURN_PAUSE).await;
                    Done::Rested(id)
                });
            }
            Done::Rested(id) => self.turns.rested(id),
            Done::Registered { catalog, result } => {
                self.registering = false;
                self.registered(catalog, result);
            }
            Done::CatalogRested(catalog) => self.registrations.rested(&catalog),
            Done::Sealed(end, sealed) => {
                self.sealing = false;
                self.sealed_at = end;
                self.halted |= sealed.is_err();
            }
            Done::Checkpointed { committed, written } => {
                self.checkpointing = false;
                if self.note("write a checkpoint", written).is_none() {
                    self.committed.extend(committed);
                    self.checkpoints_due = 2;
                }
            }
        }
    }

    /// Logs a failure, shows it in the status until the step succeeds, and gives the success.
    fn note<T, E: std::fmt::Display>(&self, step: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.troubles.clear(step);
                Some(value)
            }
            Err(error) => {
                tracing::error!(stream = %self.stream, %error, "could not {step}; trying again");
                self.troubles.set(step, format!("could not {step}: {error}"));
                None
            }
        }
    }

    /// Gives what was read to the buffer. Records that a plan has settled already are passed over;
    /// after a restart they lie between those that are not.
    fn route(&mut self, scanned: Scanned) {
        if !scanned.lost.is_empty() {
            let unsettled = scanned.lost.without(&self.state.progress.settled());
            self.lose(&unsettled);
        }
        let (now, steady) = (self.clock.now(), self.clock.steady());
        for call in scanned.calls {
            let group = Group { tenant: call.tenant };
            // Age counts from the arrival, but a jump of the wall clock never makes it wait longer
            // than the interval.
            let age_ms = u64::try_from(now.0 - call.arrival.0).unwrap_or(0);
            let left = self.hints.interval.saturating_sub(Duration::from_millis(age_ms));
            let settled =
                |index: usize| self.state.progress.is_settled(call.first.advanced_by(index as u64));
            let mut closed = Vec::new();
            let mut start = 0;
            while start < call.lengths.len() {
                let is_settled = settled(start);
                let alike = (start..call.lengths.len()).take_while(|i| settled(*i) == is_settled);
                let end = start + alike.count();
                if !is_settled {
                    closed.extend(self.buffer.add(&Arrival {
                        group: &group,
                        first: call.first.advanced_by(start as u64),
                        lengths: &call.lengths[start..end],
                        arrival: call.arrival,
                        due: steady + left,
                    }));
                }
                start = end;
            }
            self.enqueue(closed);
        }
        self.next = scanned.next;
    }

    fn lose(&mut self, lost: &Positions) {
        if lost.is_empty() {
            return;
        }
        for run in lost.runs() {
            tracing::error!(
                stream = %self.stream,
                first = run.first.0,
                count = run.count,
                "the disk lost accepted records; they are counted as damaged"
            );
        }
        self.lost = self.lost.with(lost);
    }

    fn committed(&mut self, id: PlanId) {
        self.turns.delivered(id);
        self.checkpoints_due = 2;
        self.committed.push(id);
        let Some(plan) = self.state.committed(id) else {
            return;
        };
        for object in &plan.objects {
            if let Some(partition) = &object.header.partition
                && self.registrations.is_confirmed(partition)
            {
                self.state.registered(partition);
            }
        }
    }

    fn registered(&mut self, catalog: String, result: Result<Registration, RegisterError>) {
        let (registration, mut trouble) = match result {
            Ok(registration) => (registration, None),
            Err(error) => (Registration::default(), Some(error.to_string())),
        };
        if !registration.registered.is_empty() {
            self.checkpoints_due = 2;
            self.registrations.succeeded(&catalog);
        }
        let count = registration.registered.len() as u64;
        self.metrics.registered_partitions.get_or_create(&self.labels).inc_by(count);
        for partition in registration.registered {
            self.state.registered(&partition);
            self.registrations.confirm(partition);
        }
        for elsewhere in registration.elsewhere {
            self.metrics.misplaced_partitions.get_or_create(&self.labels).inc();
            tracing::warn!(
                stream = %self.stream,
                values = elsewhere.partition.values.join("/"),
                location = elsewhere.location,
                objects = elsewhere.partition.location,
                "the catalog has another location for a partition, and keeps it"
            );
        }
        if let [first, others @ ..] = registration.refused.as_slice() {
            let values = first.partition.values.join("/");
            let others = others.len();
            trouble = Some(format!("partition {values}: {} (and {others} more)", first.reason));
        }
        let step = "register partitions";
        let Some(trouble) = trouble else {
            self.troubles.clear(step);
            return;
        };
        self.metrics.failed_registrations.get_or_create(&self.labels).inc();
        let (pause, attempt) = self.registrations.failed(&catalog);
        self.troubles.set(step, format!("could not {step}: {trouble} (attempt {attempt})"));
        // The same thing again is news ever more rarely.
        if attempt.is_power_of_two() {
            let stream = &self.stream;
            tracing::error!(%stream, error = trouble, attempt, "could not {step}; trying again");
        }
        self.work.spawn(async move {
            tokio::time::sleep(pause).await;
            Done::CatalogRested(catalog)
        });
    }

    fn answer(&mut self, request: Request, end: Position) {
        match request {
            Request::Status(answer) => {
                let _ = answer.send(self.status(end));
            }
            Request::Flush(answer) => {
                self.flush_until = self.flush_until.max(end);
                self.flushes.push((end, answer));
            }
            Request::Table(trouble) => {
                self.is_held = matches!(trouble, Some(TableTrouble::Missing(_)));
                self.note_table(trouble);
            }
            Request::Change(Change { recipe, hints }) => {
                // What the old table knew the new one need not know.
                self.registrations.forget();
                self.freezer.recipe = recipe;
                self.hints = hints;
                self.buffer.change_hints(hints);
            }
        }
    }

    fn note_table(&self, trouble: Option<TableTrouble>) {
        let step = "use the table";
        match trouble {
            None => self.troubles.clear(step),
            Some(TableTrouble::Missing(reason)) => {
                let held = "records are kept on disk until it is there again";
                self.troubles.set(step, format!("{reason}; {held}"));
            }
            Some(TableTrouble::Unusable(reason)) => {
                self.troubles.set(step, format!("{reason}; its last good form is used"));
            }
        }
    }

    fn answer_flushes(&mut self) {
        let state = &self.state;
        let is_done =
            |target: Position| state.is_done_until(target) && state.unregistered().is_empty();
        for (_, answer) in self.flushes.extract_if(.., |(target, _)| is_done(*target)) {
            let _ = answer.send(());
        }
    }

    fn status(&self, end: Position) -> Status {
        let counts = self.state.counts(end);
        let now = self.clock.steady();
        let objects = self.state.open_plans().values().map(|plan| plan.objects.len());
        let status = Status {
            accepted: end.0,
            delivered: counts.delivered,
            failed: counts.failed,
            dropped: 0,
            damaged: counts.damaged,
            pending: counts.pending,
            open_batches: self.buffer.batch_count(),
            buffered_records: self.buffer.record_count(),
            buffered_bytes: self.buffer.data_bytes(),
            closes_at_bytes: self.hints.size_bytes,
            closes_in_seconds: self.buffer.next_due().map(|due| due.saturating_sub(now).as_secs()),
            closed_batches: self.closed.len(),
            open_plans: self.state.open_plans().len(),
            open_objects: objects.sum(),
            unregistered_partitions: self.state.unregistered().len(),
            journal_bytes: self.journal.bytes(),
            outbox_bytes: self.outbox.bytes(),
            blocked: self.troubles.text(),
        };
        status.show(self.stream.as_str(), &self.metrics);
        status
    }

    /// How long the loop may sleep when nothing comes back: until a batch is due, or the grace of a
    /// stop is over.
    fn pause(&self, deadline: Option<Duration>) -> Duration {
        let now = self.clock.steady();
        let due = self.buffer.next_due().into_iter().chain(deadline).min();
        let due = due.map(|due| due.saturating_sub(now));
        let idle = self.buffer.batch_count() == 0 && self.checkpoints_due == 0;
        let longest = if idle { Duration::from_secs(60) } else { TICK };
        due.unwrap_or(longest).min(longest)
    }

    fn is_drained(&self, end: Position) -> bool {
        self.flush_until == Position(0) && self.is_idle(end)
    }

    /// Whether everything is in its store and its catalog.
    fn is_idle(&self, end: Position) -> bool {
        self.state.is_done_until(end) && self.state.unregistered().is_empty()
    }

    /// Leaves the disk so that the next start is quick.
    async fn finish(mut self, end: Position) {
        let settle = async {
            while (self.freezing || self.checkpointing) && !self.halted {
                match self.work.join_next().await {
                    Some(Ok(done)) => self.take(done),
                    Some(Err(_)) | None => self.halted = true,
                }
            }
        };
        // Only a disk that hangs takes longer; the next start then does the work.
        let settled = tokio::time::timeout(FINISH_PATIENCE, settle).await.is_ok();
        // Deliveries under way are cut off here; their plans stay open and are put again.
        self.work.shutdown().await;
        if self.halted || !settled {
            return;
        }
        let counts = self.state.counts(end);
        if counts.pending > 0 {
            tracing::warn!(
                stream = %self.stream,
                pending = counts.pending,
                "stopped with undelivered records; they are safe on disk and go on at the next start"
            );
        }
        if let Err(error) = self.journal.seal().await {
            tracing::warn!(stream = %self.stream, %error, "could not seal the journal");
        }
        let (checkpoint, mark) = (self.state.checkpoint(end), self.journal.mark());
        let (journal, outbox) = (self.journal.clone(), self.outbox.clone());
        let written = blocking(move || {
            // The second lets go of the segments that the first has settled.
            journal.checkpoint(&checkpoint, mark)?;
            journal.checkpoint(&checkpoint, mark)?;
            self.committed.into_iter().try_for_each(|plan| outbox.remove(plan))
        });
        if let Err(error) = written.await {
            tracing::warn!(stream = %self.stream, %error, "could not write the last checkpoint");
        }
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
async fn repeat<F>(append: impl Fn() -> F) -> Result<(), AppendError>
where
    F: Future<Output = Result<(), AppendError>>,
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
