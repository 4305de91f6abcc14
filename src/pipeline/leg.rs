//! One leg of a stream's path: from a log to a store, or to the next log.
//!
//! Owns the order of the steps and all state between them; the steps themselves are calculations
//! and edges. One loop owns the state; only reading, transforming, freezing, delivering, registering
//! and writing checkpoints run beside it, and each comes back to the loop with what it did.
//!
//! ```text
//! log --look--> group -> buffer --closed batches--> freeze (plan) --open plans--> deliver
//!                                         |                        (commit) -> register
//!                                         +------> transform -> append to the next log, in order
//!                                     checkpoint: the state, when no plan is being made
//! ```
//!
//! Invariants: a record is in at most one plan, or stands transformed in the next log; nothing is
//! put before its plan is durable; a checkpoint is taken only while no plan is being made, so that
//! it has every durable one; outbox files go only after a checkpoint that has their commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::books::LegBooks;
use super::caution::Caution;
use super::collector::{Collector, as_runs};
use super::conversion::Converter;
use super::delivery::{Delivery, Room};
use super::freeze::{Batch, FreezeError, Freezer};
use super::handle::{LegHandle, LegLeft, LegStatus, Request, TableTrouble};
use super::intake::{Kind, Reading, Stretch};
use super::ledger::{Alarm, Ledger};
use super::orders::{Logs, Orders, Role, Surroundings};
use super::registration::{RegisterError, Registrations, Report, register};
use super::state::State;
use super::transformer::Transformer;
use super::transforms::{BATCH_RECORDS_MAX, Transforms};
use super::troubles::Troubles;
use super::turns::{Rest, TurnEnd, Turns};
use super::{AT_ONCE, blocking, repeat, rest_after};
use crate::catalog::{Catalog, Registration};
use crate::journal::{self, AppendError, Appended, Control, Hold, Journal, Mark, Opened};
use crate::metrics::stream_labels;
use crate::outbox::Outbox;
use crate::partition::{Group, renamed};
use crate::plan::{Plan, PlanId};
use crate::positions::Positions;
use crate::record::Position;

/// A checkpoint is written this often while there is something new to record.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// So many newly sealed segments do not wait for it: a start skims what no checkpoint covers.
const SEALED_SEGMENTS_MAX: u64 = 4;
/// The loop looks at the disk budget at least this often.
const TICK: Duration = Duration::from_secs(1);
/// How long the end of a pipeline waits for a plan or a checkpoint that is being written, and for the
/// last ones of its own.
const FINISH_PATIENCE: Duration = Duration::from_secs(3);
/// The same when it is to end at once.
const FAST_PATIENCE: Duration = Duration::from_millis(300);
/// How long an end waits for catalogs when everything is in its store: the partitions are on a
/// durable list, and the next start registers them.
pub(super) const REGISTRATION_CHANCE: Duration = Duration::from_secs(3);
/// Requests that may wait for the loop.
const REQUESTS_MAX: usize = 64;

/// A leg.
#[derive(Debug)]
pub(super) struct Leg {
    role: Role,
    /// Where the records stand.
    records: Journal,
    /// Where decisions and checkpoints stand.
    log: Journal,
    hold: Option<Arc<Hold>>,
    /// What the last checkpoint had settled, so that the next one lets go of it.
    held_until: Positions,
    outbox: Arc<Outbox>,
    freezer: Freezer,
    transformer: Option<Transformer>,
    catalogs: BTreeMap<String, Arc<dyn Catalog>>,
    surroundings: Surroundings,

    state: State,
    collector: Collector,
    transforms: Transforms,
    registrations: Registrations,
    /// What is wrong with the table that this leg freezes into.
    table_trouble: Option<TableTrouble>,
    /// The order in which open plans are delivered.
    turns: Turns,
    room: Room,
    /// Committed plans whose outbox files a checkpoint may let go.
    committed: Vec<PlanId>,
    flushes: Vec<(Position, oneshot::Sender<()>)>,
    troubles: Troubles,
    alarm: Alarm,

    requests: mpsc::Receiver<Request>,
    work: JoinSet<Done>,
    freezing: bool,
    /// Records that are being frozen.
    freezing_records: u64,
    /// Plans whose new keys are being written.
    renaming: usize,
    registering: bool,
    checkpointing: bool,
    sealing: bool,
    /// New orders, of another kind than the present ones, that wait until nothing is under way.
    awaited: Option<Orders>,
    /// The end at which the journal was sealed last.
    sealed_at: Position,
    /// Checkpoints still worth writing: two after a change, since segments go with the second.
    checkpoints_due: u8,
    checkpointed_at: Duration,
    /// The log's mark at the last checkpoint.
    checkpointed_mark: Mark,
    /// Where the records end that a stop waits for.
    stop_at: Option<Position>,
    /// Where this leg's records end, when it does not take those that come after.
    limit: Option<Position>,
    /// Until when a stop waits for catalogs; set when everything else is done.
    registered_by: Option<Duration>,
    halted: bool,
}

/// How a leg has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// Whether it may be followed by others: not when the disk failed or a step panicked.
    pub(super) in_order: bool,
    pub(super) left: LegLeft,
}

/// What came of work beside the loop.
#[derive(Debug)]
enum Done {
    Looked(Result<Stretch, io::Error>),
    Transformed(u64, Result<Vec<journal::Batch>, io::Error>),
    Appended(Positions, Result<Appended, AppendError>),
    Planned { batches: Arc<Vec<Batch>>, lost: Positions, plan: Result<Plan, FreezeError> },
    Committed(PlanId, Result<(), AppendError>),
    NotDelivered(PlanId, TurnEnd),
    Rested(Rest),
    Renamed { plan: Plan, end: TurnEnd, appended: Result<(), AppendError> },
    Registered { catalog: String, result: Result<Registration, RegisterError> },
    CatalogRested(String),
    Sealed(Position, Result<(), AppendError>),
    Checkpointed { committed: Vec<PlanId>, written: io::Result<()> },
}

impl Leg {
    /// Takes up a leg where its log left it. `directory` is where its outbox stands.
    ///
    /// # Errors
    /// When the outbox cannot be opened.
    pub(super) fn new(
        role: Role,
        logs: Logs,
        directory: &Path,
        orders: Orders,
        troubles: Troubles,
        surroundings: Surroundings,
    ) -> io::Result<(Self, LegHandle)> {
        let Opened { journal, checkpoint, controls, torn_bytes, warnings } = logs.opened;
        let stream = surroundings.stream.to_string();
        for warning in warnings {
            tracing::warn!(stream, leg = role.as_str(), "journal: {warning}");
        }
        if torn_bytes > 0 {
            tracing::warn!(stream, torn_bytes, "cut an unfinished write from the journal's end");
        }
        let alarm = Alarm::new(role, surroundings.stream.clone(), surroundings.imbalances.clone());
        let torn = surroundings.metrics.torn_bytes.get_or_create(&stream_labels(&stream)).clone();
        torn.inc_by(torn_bytes);
        let state = State::replay(checkpoint, controls);
        let recovered: BTreeSet<PlanId> = state.open_plans().keys().copied().collect();
        let Surroundings { disk, budget, clock, .. } = surroundings.clone();
        let outbox = Arc::new(Outbox::open(disk.clone(), budget, directory, &recovered)?);
        let mut turns = Turns::default();
        state.open_plans().values().for_each(|plan| turns.open(plan, true));
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (records, hold) = logs
            .held
            .map_or((journal.clone(), None), |(records, hold)| (records, Some(Arc::new(hold))));
        let kind = if role == Role::Transformed { Kind::Entries } else { Kind::Records };
        let reading = Reading { kind, keys: orders.keys().to_vec() };
        let caution = Arc::new(Caution::begin(disk, directory, *records.end().borrow()));
        let converter = Converter {
            stream: surroundings.stream.clone(),
            records: records.clone(),
            kind,
            recipe: orders.recipe,
            clock: clock.clone(),
            caution,
        };
        let freezer = Freezer { converter, log: journal.clone(), outbox: outbox.clone() };
        let checkpointed_mark = journal.mark();
        let around = surroundings.clone();
        let collector =
            Collector::new(records.clone(), reading, orders.hints, &state.progress, around);
        let leg = Self {
            role,
            records,
            log: journal,
            hold,
            held_until: state.progress.settled(),
            outbox,
            freezer,
            transformer: orders.transformer,
            catalogs: orders.catalogs,
            state,
            collector,
            transforms: Transforms::default(),
            registrations: Registrations::default(),
            table_trouble: None,
            turns,
            room: Room::default(),
            committed: Vec::new(),
            flushes: Vec::new(),
            troubles,
            alarm,
            requests,
            work: JoinSet::new(),
            freezing: false,
            freezing_records: 0,
            renaming: 0,
            registering: false,
            checkpointing: false,
            sealing: false,
            awaited: None,
            sealed_at: Position(0),
            checkpoints_due: 2,
            checkpointed_at: clock.steady(),
            checkpointed_mark,
            surroundings,
            stop_at: None,
            limit: None,
            registered_by: None,
            halted: false,
        };
        Ok((leg, LegHandle { requests: sender }))
    }

    /// Which leg it is.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Of a log that is transformed: everything before `end` stands in the next log already.
    pub(super) fn resume_after(&mut self, end: Position) {
        self.state.transformed(&Positions::from_run(Position(0), end.0));
        self.collector.start_over(&self.state.progress);
    }

    /// How far the transform had come that made this leg's records.
    pub(super) fn source_end(&self) -> Position {
        self.state.source_end()
    }

    /// Records that no plan has settled and the log does not hold any more were never this leg's.
    /// Tells how many there were.
    pub(super) fn begin_at(&mut self, first: Position) -> u64 {
        self.leave_out(&Positions::from_run(Position(0), first.0))
    }

    /// Those of the records that no plan has settled are none of this leg's. Tells how many they are.
    pub(super) fn leave_out(&mut self, positions: &Positions) -> u64 {
        let unsettled = positions.without(&self.state.progress.settled());
        self.state.left_out(&unsettled);
        self.collector.start_over(&self.state.progress);
        unsettled.count()
    }

    /// Has the leg end when all records before `end` have gone their way, and take none after it.
    pub(super) fn end_at(&mut self, end: Position) {
        self.limit = Some(end);
        self.stop_at = Some(end);
        self.collector.flush(end);
    }

    /// Makes what is known durable, before the leg runs.
    pub(super) fn write_checkpoint(&self) -> io::Result<()> {
        let end = self.until(*self.records.end().borrow());
        self.log.checkpoint(&self.state.checkpoint(end), self.log.mark())
    }

    /// Where the records end that are this leg's.
    fn until(&self, end: Position) -> Position {
        self.limit.map_or(end, |limit| limit.min(end))
    }

    /// Runs until `stop` says so and what is buffered has gone its way, or the instant of the steady
    /// clock that `stop` names has passed. What is left stays on the disk for the next start.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<Option<Duration>>) -> Ended {
        let mut end = self.records.end();
        let mut deadline: Option<Duration> = None;
        while !self.halted {
            self.start_work(&mut end);
            self.answer_flushes();
            if self.stop_at.is_some_and(|stop_at| self.is_drained(stop_at)) {
                break;
            }
            let pause = self.pause(deadline);
            tokio::select! {
                biased;
                Ok(()) = stop.changed() => {
                    deadline = *stop.borrow_and_update();
                    // An end may be called off as long as the loop runs.
                    let known = self.stop_at.unwrap_or(*end.borrow());
                    self.stop_at = deadline.map(|_| known);
                    self.limit = self.limit.filter(|_| deadline.is_some());
                    self.registered_by = None;
                    self.collector.flush(self.stop_at.unwrap_or_default());
                }
                Some(request) = self.requests.recv() => {
                    let end = self.until(*end.borrow());
                    self.answer(request, end);
                }
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.take(done),
                    // Called off.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => {
                        tracing::error!(stream = %self.surroundings.stream, %error, "a step panicked");
                        self.halted = true;
                    }
                },
                _ = end.changed(), if !self.collector.is_looking() => {}
                () = tokio::time::sleep(pause) => {}
            }
            if deadline.is_some_and(|deadline| self.surroundings.clock.steady() >= deadline) {
                break;
            }
        }
        let end = self.until(*end.borrow());
        self.finish(end, stop).await
    }

    /// Starts every step that has something to do and is not running.
    fn start_work(&mut self, end: &mut watch::Receiver<Position>) {
        let now = self.surroundings.clock.steady();
        self.take_awaited_orders();
        let end = self.until(*end.borrow_and_update());
        if self.alarm.is_due(now) {
            self.look_at_ledger(end);
        }
        if self.collector.wants_to_look(end) {
            let look = self.collector.look();
            self.work.spawn(async move { Done::Looked(look.await) });
        }
        self.collector.close(now);
        // The last relief must have come to the disk before more of it is asked for.
        let is_relieving = self.freezing || self.collector.has_closed() || self.checkpoints_due > 0;
        if !is_relieving && self.transforms.is_idle() {
            self.collector.relieve();
        }
        let sealed = self.log.sealed_since(self.checkpointed_mark);
        if sealed > 0 {
            self.checkpoints_due = self.checkpoints_due.max(1);
        }
        let checkpoint_due = self.checkpoints_due > 0
            && !self.checkpointing
            && (now >= self.checkpointed_at + CHECKPOINT_INTERVAL
                || sealed >= SEALED_SEGMENTS_MAX
                || self.surroundings.budget.is_pressed());
        if checkpoint_due && !self.freezing && self.renaming == 0 && !self.sealing {
            // With everything settled the whole journal can go, the active segment too.
            if self.sealed_at < end && self.is_idle(end) {
                self.start_seal(end);
            } else {
                self.start_checkpoint(end);
            }
        }
        // A freeze would only put a due checkpoint off.
        if self.awaited.is_none() && self.collector.has_closed() {
            if self.transformer.is_some() {
                self.start_transforms();
            } else if !self.freezing && !checkpoint_due && !self.is_held() {
                self.start_freeze();
            }
        }
        self.start_append();
        self.start_deliveries();
        if !self.registering && !self.state.unregistered().is_empty() {
            self.start_registration();
        }
    }

    /// New orders of another kind begin when nothing is under way any more, with another look at
    /// everything that is not settled.
    fn take_awaited_orders(&mut self) {
        if self.collector.is_looking() || self.freezing || !self.transforms.is_idle() {
            return;
        }
        if let Some(orders) = self.awaited.take() {
            self.give(orders);
            self.collector.start_over(&self.state.progress);
            self.transforms.start_over();
            // What a flush had closed is open again.
            let flushed = self.flushes.iter().map(|(until, _)| *until).chain(self.stop_at).max();
            self.collector.flush(flushed.unwrap_or_default());
        }
    }

    /// Whether records that were read for the present orders may go the way of these.
    fn are_of_the_same_kind(&self, orders: &Orders) -> bool {
        orders.transformer.is_some() == self.transformer.is_some()
            && orders.keys() == self.collector.keys()
    }

    fn give(&mut self, orders: Orders) {
        self.collector.change_keys(orders.keys());
        self.freezer.converter.recipe = orders.recipe;
        self.collector.change_hints(orders.hints);
        self.transformer = orders.transformer;
        self.catalogs = orders.catalogs;
        // What the old table knew the new one need not know.
        self.registrations.forget();
        self.show_table();
        // Hooks that never answer must not hold up the ones that take their place.
        for ticket in self.transforms.begin_again() {
            self.start_transform(ticket);
        }
    }

    fn start_transforms(&mut self) {
        while let Some(transformer) = &self.transformer
            && self.transforms.has_room(&transformer.scratch, &self.surroundings.budget)
            && let Some(batch) = self.collector.pop(BATCH_RECORDS_MAX)
        {
            let ticket = self.transforms.begin(batch.positions);
            self.start_transform(ticket);
        }
    }

    fn start_transform(&mut self, ticket: u64) {
        let begin = |transformer| self.transforms.transform(ticket, transformer);
        if let Some(transform) = self.transformer.clone().and_then(begin) {
            let task = self.work.spawn(async move { Done::Transformed(ticket, transform.await) });
            self.transforms.started(ticket, task);
        }
    }

    fn start_append(&mut self) {
        if let Some(transformer) = &self.transformer
            && let Some(append) = self.transforms.append(&transformer.scratch)
        {
            self.work.spawn(async move {
                let (positions, appended) = append.await;
                Done::Appended(positions, appended)
            });
        }
    }

    /// Unless the disk has no room for what would be frozen, and there is something frozen already
    /// whose delivery makes room.
    fn start_freeze(&mut self) {
        let bytes = self.collector.next_round_bytes();
        let budget = &self.surroundings.budget;
        let is_first = self.state.open_plans().is_empty();
        let Some(room) = budget.lend(bytes).or_else(|| is_first.then(|| budget.promise(bytes)))
        else {
            return;
        };
        self.freezing = true;
        let (batches, lost) = self.collector.take_round();
        let in_batches: u64 = batches.iter().map(|batch| batch.positions.count()).sum();
        self.freezing_records = in_batches + lost.count();
        let batches = Arc::new(batches);
        let (freezer, id) = (self.freezer.clone(), self.state.next_plan());
        let source_end = self.state.source_end();
        let conversions = self.surroundings.conversions.clone();
        self.work.spawn(async move {
            let permit = conversions.acquire_owned().await;
            let plan = freezer.freeze(id, batches.clone(), lost.clone(), source_end).await;
            // Others need not wait for the rest after a failure.
            drop((permit, room));
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
            let headers: Vec<_> = plan.objects.iter().map(|object| object.header.clone()).collect();
            let delivery = Delivery {
                role: self.role,
                stream: self.surroundings.stream.clone(),
                stores: self.surroundings.stores.clone(),
                outbox: self.outbox.clone(),
                troubles: self.troubles.clone(),
                metrics: self.surroundings.metrics.clone(),
                room: self.room.clone(),
                plan: id,
                turn,
            };
            let journal = self.log.clone();
            self.work.spawn(async move {
                let end = delivery.run(&headers).await;
                if !delivery.has_all(&headers, &end) {
                    return Done::NotDelivered(id, end);
                }
                let committed = repeat(async || journal.append_control(&Control::Commit(id)).await);
                Done::Committed(id, committed.await)
            });
        }
    }

    /// Gives other keys to the objects of a plan whose keys are taken; nothing of them was put.
    fn start_renaming(&mut self, id: PlanId, end: TurnEnd) {
        let Some(mut plan) = self.state.open_plans().get(&id).cloned() else {
            self.turns.delivered(id);
            return;
        };
        for index in &end.taken {
            let header = &mut plan.objects[*index].header;
            header.key = renamed(&header.key, Uuid::new_v4().as_u128());
            header.renamed += 1;
        }
        self.renaming += 1;
        let journal = self.log.clone();
        self.work.spawn(async move {
            let control = Control::Plan(plan);
            let appended = repeat(async || journal.append_control(&control).await).await;
            let Control::Plan(plan) = control else { unreachable!("it was made as a plan") };
            Done::Renamed { plan, end, appended }
        });
    }

    fn rest(&mut self, id: PlanId, end: &TurnEnd) {
        for (pause, rest) in self.turns.not_delivered(id, end) {
            self.work.spawn(async move {
                tokio::time::sleep(pause).await;
                Done::Rested(rest)
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
        let journal = self.log.clone();
        self.work.spawn(async move {
            let result = register(catalog, &name, &partitions, &journal).await;
            Done::Registered { catalog: name, result }
        });
    }

    fn start_seal(&mut self, end: Position) {
        self.sealing = true;
        let journal = self.log.clone();
        self.work.spawn(async move {
            let sealed = repeat(async || journal.seal().await).await;
            Done::Sealed(end, sealed)
        });
    }

    fn start_checkpoint(&mut self, end: Position) {
        self.checkpointing = true;
        self.checkpoints_due -= 1;
        self.checkpointed_at = self.surroundings.clock.steady();
        let (checkpoint, mark) = (self.state.checkpoint(end), self.log.mark());
        self.checkpointed_mark = mark;
        let (journal, outbox) = (self.log.clone(), self.outbox.clone());
        let committed = std::mem::take(&mut self.committed);
        let held_until = std::mem::replace(&mut self.held_until, checkpoint.settled.clone());
        let hold = self.hold.clone();
        self.work.spawn(async move {
            let plans = committed.clone();
            let written = blocking(move || {
                journal.checkpoint(&checkpoint, mark)?;
                // Another log's segments go like our own: on the word of the checkpoint before.
                hold.map_or(Ok(()), |hold| hold.release(held_until))?;
                plans.into_iter().try_for_each(|plan| outbox.remove(plan))
            });
            Done::Checkpointed { committed, written: rest_after(written.await, |_| true).await }
        });
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Looked(stretch) => {
                self.collector.looked();
                if let Some(stretch) = self.note("read the journal", stretch) {
                    self.route(stretch);
                }
            }
            Done::Transformed(ticket, frames) => {
                match self.note("read the records to transform", frames) {
                    Some(frames) => self.transforms.transformed(ticket, frames),
                    None => self.start_transform(ticket),
                }
            }
            Done::Appended(positions, Ok(_)) => {
                self.transforms.appended();
                self.checkpoints_due = 2;
                self.state.transformed(&positions);
            }
            Done::Appended(_, Err(_)) => self.halted = true,
            Done::Planned { batches, lost, plan } => {
                self.freezing = false;
                self.freezing_records = 0;
                self.halted |= matches!(plan, Err(FreezeError::Plan(AppendError::Failed)));
                if let Some(plan) = self.note("freeze a batch", plan) {
                    self.checkpoints_due = 2;
                    self.turns.open(&plan, false);
                    self.state.planned(plan);
                    self.freezer.converter.caution.planned(self.state.progress.low());
                } else {
                    let batches =
                        Arc::try_unwrap(batches).unwrap_or_else(|shared| (*shared).clone());
                    self.collector.give_back(batches, &lost);
                }
            }
            Done::Committed(id, Ok(())) => self.committed(id),
            Done::Committed(_, Err(_)) => self.halted = true,
            Done::NotDelivered(id, end) if end.taken.is_empty() => self.rest(id, &end),
            Done::NotDelivered(id, end) => self.start_renaming(id, end),
            Done::Renamed { plan, end, appended: Ok(()) } => {
                self.renaming -= 1;
                self.checkpoints_due = 2;
                let id = plan.id;
                self.state.planned(plan);
                self.rest(id, &end);
            }
            Done::Renamed { appended: Err(_), .. } => self.halted = true,
            Done::Rested(rest) => self.turns.rested(&rest),
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
                tracing::error!(stream = %self.surroundings.stream, %error, "could not {step}; trying again");
                self.troubles.set(step, format!("could not {step}: {error}"));
                None
            }
        }
    }

    /// Gives what was read to the collector.
    fn route(&mut self, mut stretch: Stretch) {
        if let Some(limit) = self.limit {
            stretch.cut(limit);
        }
        if !stretch.dropped.is_empty() {
            self.state.dropped(&stretch.dropped);
            self.checkpoints_due = 2;
        }
        self.state.source_seen(stretch.source_end);
        stretch.lost = stretch.lost.without(&self.state.progress.settled());
        self.report_lost(&stretch.lost);
        if self.transformer.is_some() {
            let lost = std::mem::take(&mut stretch.lost);
            stretch.runs.extend(as_runs(&lost, &self.surroundings));
            stretch.runs.sort_by_key(|run| run.first);
            stretch.runs.iter_mut().for_each(|run| run.group = Group::default());
        }
        self.collector.take(stretch, &self.state.progress);
    }

    fn report_lost(&self, lost: &Positions) {
        for run in lost.runs() {
            tracing::error!(
                stream = %self.surroundings.stream,
                first = run.first.0,
                count = run.count,
                leg = self.role.as_str(),
                "the disk lost accepted records; they are counted as damaged"
            );
        }
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
        if result.as_ref().is_ok_and(|registration| !registration.registered.is_empty()) {
            self.checkpoints_due = 2;
        }
        let Surroundings { stream, metrics, .. } = &self.surroundings;
        let report = Report { stream, metrics, troubles: &self.troubles };
        let pause = self.registrations.registered(&catalog, result, &mut self.state, &report);
        if let Some(pause) = pause {
            self.work.spawn(async move {
                tokio::time::sleep(pause).await;
                Done::CatalogRested(catalog)
            });
        }
    }

    fn answer(&mut self, request: Request, end: Position) {
        match request {
            Request::Status(answer) => {
                let _ = answer.send(self.status(end));
            }
            Request::Flush(answer) => {
                self.collector.flush(end);
                self.flushes.push((end, answer));
            }
            Request::Books(answer) => {
                let _ = answer.send(LegBooks::of(&self.state.checkpoint(end)));
            }
            Request::End(answer) => {
                let end = self.limit.unwrap_or(end);
                self.end_at(end);
                let _ = answer.send(end);
            }
            Request::Table(trouble) => {
                self.table_trouble = trouble;
                self.show_table();
            }
            Request::Change(orders) => {
                if self.are_of_the_same_kind(&orders) && self.awaited.is_none() {
                    self.give(orders);
                } else {
                    self.awaited = Some(orders);
                    self.transforms.call_off();
                }
            }
        }
    }

    /// The table is missing: nothing is converted until it is there again.
    fn is_held(&self) -> bool {
        matches!(self.table_trouble, Some(TableTrouble::Missing(_)))
    }

    fn show_table(&self) {
        let step = "use the table";
        match &self.table_trouble {
            // A leg that transforms needs no table; the next one does, and shows it.
            _ if self.transformer.is_some() => self.troubles.clear(step),
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
        let is_done = |target: Position| state.is_done_until(target);
        for (_, answer) in self.flushes.extract_if(.., |(target, _)| is_done(*target)) {
            let _ = answer.send(());
        }
    }

    /// The terms of the equation, each counted where it lies.
    fn ledger(&self, end: Position) -> Ledger {
        let counts = self.state.counts();
        Ledger { accepted: end.0, pending: self.pending(end, counts.in_plans), counts }
    }

    /// Records that wait somewhere: unread in the log, in open batches, in closed ones, being
    /// transformed, appended or frozen, lost and not yet planned, or in open plans.
    fn pending(&self, end: Position, in_plans: u64) -> u64 {
        self.collector.record_count(end, &self.state.progress)
            + self.transforms.record_count()
            + self.freezing_records
            + in_plans
    }

    fn look_at_ledger(&mut self, end: Position) -> Ledger {
        let ledger = self.ledger(end);
        self.alarm.look(self.surroundings.clock.steady(), &ledger);
        ledger
    }

    fn status(&mut self, end: Position) -> LegStatus {
        let ledger = self.look_at_ledger(end);
        let counts = ledger.counts;
        let now = self.surroundings.clock.steady();
        let buffer = self.collector.buffer();
        let objects = self.state.open_plans().values().map(|plan| plan.objects.len());
        LegStatus {
            accepted: ledger.accepted,
            delivered: counts.delivered,
            failed: counts.failed,
            dropped: counts.dropped,
            damaged: counts.damaged,
            transformed: counts.transformed,
            left_out: counts.left_out,
            pending: ledger.pending,
            difference: ledger.difference(),
            open_batches: buffer.batch_count(),
            buffered_records: buffer.record_count(),
            buffered_bytes: buffer.data_bytes(),
            closes_at_bytes: self.collector.hints().size_bytes,
            closes_in_seconds: buffer.next_due().map(|due| due.saturating_sub(now).as_secs()),
            closed_batches: self.collector.closed_count() + self.transforms.len(),
            open_plans: self.state.open_plans().len(),
            open_objects: objects.sum(),
            unregistered_partitions: self.state.unregistered().len(),
            log_bytes: self.log.bytes(),
            outbox_bytes: self.outbox.bytes(),
            blocked: self.troubles.text(),
        }
    }

    /// How long the loop may sleep when nothing comes back: until a batch is due, or the grace of a
    /// stop is over.
    fn pause(&self, deadline: Option<Duration>) -> Duration {
        let now = self.surroundings.clock.steady();
        let due = self.collector.next_due().into_iter();
        let due = due.chain(deadline).chain(self.registered_by).min();
        let due = due.map(|due| due.saturating_sub(now));
        let is_empty =
            self.collector.buffer().batch_count() == 0 && self.collector.closed_count() == 0;
        let idle = is_empty && self.checkpoints_due == 0;
        let longest = if idle { Duration::from_secs(60) } else { TICK };
        due.unwrap_or(longest).min(longest)
    }

    /// Whether everything before `end` is in its store, and its catalog has it or has had its chance.
    fn is_drained(&mut self, end: Position) -> bool {
        if self.collector.is_flushing() || !self.state.is_done_until(end) {
            return false;
        }
        let now = self.surroundings.clock.steady();
        let registered_by = *self.registered_by.get_or_insert(now + REGISTRATION_CHANCE);
        self.state.unregistered().is_empty() || now >= registered_by
    }

    /// Whether everything is in its store and its catalog.
    fn is_idle(&self, end: Position) -> bool {
        self.state.is_done_until(end) && self.state.unregistered().is_empty()
    }

    /// Leaves the disk so that the next start is quick.
    async fn finish(mut self, end: Position, mut stop: watch::Receiver<Option<Duration>>) -> Ended {
        let settle = async {
            while (self.freezing || self.renaming > 0 || self.checkpointing) && !self.halted {
                match self.work.join_next().await {
                    Some(Ok(done)) => self.take(done),
                    Some(Err(error)) if error.is_cancelled() => {}
                    Some(Err(_)) | None => self.halted = true,
                }
            }
        };
        // Only a disk that hangs, or a large plan, takes longer; the next start then does the work.
        let settled = in_time(settle, &mut stop).await.is_some();
        // Deliveries under way are cut off here; their plans stay open and are put again.
        self.work.shutdown().await;
        let mut end = end;
        if !self.halted {
            let sealed = self.log.seal().await;
            // Calls that were under way have come by now.
            end = *self.records.end().borrow();
            if sealed.is_err() {
                self.halted = true;
            } else if settled {
                let written = in_time(self.last_checkpoint(end), &mut stop).await;
                if let Some(Err(error)) = written {
                    let stream = &self.surroundings.stream;
                    tracing::warn!(%stream, %error, "could not write the last checkpoint");
                }
            }
        }
        Ended { in_order: !self.halted, left: self.left(end) }
    }

    /// A checkpoint of everything, and what may go by it. Only while no plan is being made.
    fn last_checkpoint(&mut self, end: Position) -> impl Future<Output = io::Result<()>> + use<> {
        let (checkpoint, mark) = (self.state.checkpoint(end), self.log.mark());
        let (journal, outbox) = (self.log.clone(), self.outbox.clone());
        let caution = self.freezer.converter.caution.clone();
        let (hold, committed) = (self.hold.clone(), std::mem::take(&mut self.committed));
        blocking(move || {
            // The second lets go of the segments that the first has settled.
            journal.checkpoint(&checkpoint, mark)?;
            journal.checkpoint(&checkpoint, mark)?;
            hold.map_or(Ok(()), |hold| hold.release(checkpoint.settled.clone()))?;
            committed.into_iter().try_for_each(|plan| outbox.remove(plan))?;
            caution.end()
        })
    }

    /// What the next start will find to do.
    fn left(&self, end: Position) -> LegLeft {
        LegLeft {
            records: self.ledger(end).pending,
            plans: self.state.open_plans().len() as u64,
            partitions: self.state.unregistered().len() as u64,
            bytes: self.log.bytes() + self.outbox.bytes(),
        }
    }
}

/// What comes of the work, if it comes as long as the end of a leg has patience; less when it is to
/// end at once, which may be said meanwhile.
async fn in_time<T>(
    work: impl Future<Output = T>,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Option<T> {
    let at_once = async {
        if stop.wait_for(|stop| *stop == Some(AT_ONCE)).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(FAST_PATIENCE).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = tokio::time::sleep(FINISH_PATIENCE) => None,
        () = at_once => None,
    }
}
