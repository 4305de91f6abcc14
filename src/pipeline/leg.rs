//! One leg of a stream's path: from a log to a store, or to the next log.
//!
//! Owns the order of the steps and all state between them; the steps themselves are calculations and
//! edges. How they begin stands in `steps`, what comes of them in `outcomes`, what others are told in
//! `answers`, and how a leg ends in `end`. One loop owns the state; only reading, transforming,
//! freezing, delivering, registering and writing checkpoints run beside it, and each comes back to the
//! loop with what it did.
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

mod answers;
mod completing;
mod end;
mod outcomes;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::completing::Asked;
pub(super) use self::end::Ended;
use self::outcomes::Done;
use super::caution::Caution;
use super::collector::Collector;
use super::conversion::Converter;
use super::delivery::{Room, note_set_aside};
use super::freeze::{Freezer, Recipe};
use super::handle::{LegHandle, Request, TableTrouble};
use super::intake::{Kind, Reading};
use super::ledger::Alarm;
use super::orders::{Ends, Logs, Orders, Role, Surroundings};
use super::registration::Registrations;
use super::sizes::SizesFile;
use super::state::{State, missing_plans};
use super::transformer::Transformer;
use super::transforms::Transforms;
use super::troubles::Troubles;
use super::turns::Turns;
use crate::catalog::Catalog;
use crate::journal::{Hold, Journal, Mark, Opened};
use crate::memory::Holding;
use crate::metrics::stream_labels;
use crate::outbox::Outbox;
use crate::plan::PlanId;
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
    ends: Ends,
    surroundings: Surroundings,

    state: State,
    collector: Collector,
    sizes: SizesFile,
    transforms: Transforms,
    registrations: Registrations,
    /// What is wrong with the table that this leg freezes into.
    table_trouble: Option<TableTrouble>,
    /// The order in which open plans are delivered.
    turns: Turns,
    room: Room,
    /// What records on their way through hooks take of the memory.
    hooks_memory: Holding,
    /// What open plans take of the memory.
    plans_memory: Holding,
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
    /// What the objects have that the disk had no room for; 0 for nothing.
    known_round_bytes: u64,
    /// Plans whose new keys are being written.
    renaming: usize,
    registering: bool,
    /// What is waited for before the ends of partitions are told.
    asked: Option<Asked>,
    /// When that is tried again after nothing could be told.
    tells_again_at: Duration,
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
        for (first, last) in missing_plans(checkpoint.as_ref(), &controls) {
            tracing::error!(
                stream,
                leg = role.as_str(),
                first = first.0,
                last = last.0,
                "the disk lost plans: what is left of their records is planned again, and stands \
                 twice in its store if it was delivered already; see what lakehose audit says"
            );
        }
        let state = State::replay(checkpoint, controls);
        let recovered: BTreeSet<PlanId> = state.open_plans().keys().copied().collect();
        let Surroundings { disk, budget, clock, .. } = surroundings.clone();
        let outbox = Arc::new(Outbox::open(disk.clone(), budget, directory, &recovered)?);
        let mut turns = Turns::default();
        for plan in state.open_plans().values() {
            turns.open(plan, true);
            if plan.spoiled().next().is_some() {
                // As the process may have ended before it came to that.
                note_set_aside(&surroundings.stream, plan.id, outbox.set_aside(plan.id));
            }
        }
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (records, hold) =
            logs.held.map_or((journal.clone(), None), |(records, hold)| (records, Some(hold)));
        let kind = if role == Role::Transformed { Kind::Entries } else { Kind::Records };
        let reading = Reading { kind, placer: orders.placer(&surroundings.stream) };
        let caution = Arc::new(Caution::begin(disk.clone(), directory, *records.end().borrow()));
        let converter = Converter {
            stream: surroundings.stream.clone(),
            records: records.clone(),
            kind,
            recipe: orders.recipe,
            clock: clock.clone(),
            caution,
        };
        let freezer = Freezer {
            converter,
            log: journal.clone(),
            outbox: outbox.clone(),
            pool: surroundings.pool.clone(),
        };
        let checkpointed_mark = journal.mark();
        let around = surroundings.clone();
        let mut collector =
            Collector::new(records.clone(), reading, orders.hints, &state.progress, around);
        let horizon = state.watched().horizon();
        if let Some(until) = horizon.until {
            // Before any leg of the stream runs.
            surroundings.told.tell(role, until);
        }
        collector.change_horizon(horizon);
        let sizes = SizesFile::new(disk, directory);
        let is_transformed = orders.transformer.is_some();
        *collector.aim() = sizes.aim(&freezer.converter.recipe).filter(|_| !is_transformed);
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
            ends: orders.ends,
            state,
            collector,
            sizes,
            transforms: Transforms::default(),
            registrations: Registrations::default(),
            table_trouble: None,
            turns,
            room: Room::new(&surroundings.memory.deliveries),
            hooks_memory: surroundings.memory.hooks.holding(),
            plans_memory: surroundings.memory.plans.holding(),
            committed: Vec::new(),
            flushes: Vec::new(),
            troubles,
            alarm,
            requests,
            work: JoinSet::new(),
            freezing: false,
            freezing_records: 0,
            known_round_bytes: 0,
            renaming: 0,
            registering: false,
            asked: None,
            tells_again_at: Duration::ZERO,
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

    /// Those of the records that no plan has settled are none of this leg's.
    pub(super) fn leave_out(&mut self, positions: &Positions) {
        self.state.left_out(positions);
        self.collector.start_over(&self.state.progress);
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
        self.count_memory();
        let end = self.until(*end.borrow_and_update());
        if self.alarm.is_due(now) {
            self.look_at_ledger(end);
        }
        if self.role == Role::Transformed {
            self.surroundings.show_parts_wait(!self.is_idle(end));
        }
        self.share_horizon();
        let is_held_up = self.start_completion(end);
        if !is_held_up && self.collector.wants_to_look(end) {
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
        let has_work = self.collector.has_closed() || self.transforms.has_rest();
        if self.awaited.is_none() && !is_held_up && has_work {
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
        let placer = orders.placer(&self.surroundings.stream);
        match (&placer, self.collector.placer()) {
            (None, None) => true,
            (Some(one), Some(other)) => one.places_like(other),
            (_, _) => false,
        }
    }

    fn give(&mut self, orders: Orders) {
        self.collector.change_placer(orders.placer(&self.surroundings.stream));
        let before = std::mem::replace(&mut self.freezer.converter.recipe, orders.recipe);
        self.aim_again(&before, orders.transformer.is_some());
        self.collector.change_hints(orders.hints);
        self.transformer = orders.transformer;
        self.catalogs = orders.catalogs;
        self.ends = orders.ends;
        self.note_untold();
        // What the old table knew the new one need not know.
        self.registrations.forget();
        self.show_table();
        // Hooks that never answer must not hold up the ones that take their place.
        for ticket in self.transforms.begin_again() {
            self.start_transform(ticket);
        }
    }

    /// Takes up the size that objects are to have by the present recipe, unless nothing about it has
    /// changed. What is known of sizes is left for it.
    fn aim_again(&mut self, before: &Recipe, is_transformed: bool) {
        let recipe = &self.freezer.converter.recipe;
        let is_new = before.object_bytes != recipe.object_bytes
            || before.format.fingerprint() != recipe.format.fingerprint()
            || self.collector.aim().is_some() == is_transformed;
        if is_new {
            if let Some(aim) = self.collector.aim() {
                self.sizes.leave(aim, before);
            }
            *self.collector.aim() = self.sizes.aim(recipe).filter(|_| !is_transformed);
        }
    }

    /// The table is missing: nothing is converted until it is there again.
    fn is_held(&self) -> bool {
        matches!(self.table_trouble, Some(TableTrouble::Missing(_)))
    }

    /// How long the loop may sleep when nothing comes back: until a batch is due, or the grace of a
    /// stop is over.
    fn pause(&self, deadline: Option<Duration>) -> Duration {
        let now = self.surroundings.clock.steady();
        let due = self.collector.next_due().into_iter();
        let due =
            due.chain(deadline).chain(self.registered_by).chain(self.completion_due(now)).min();
        let due = due.map(|due| due.saturating_sub(now));
        let is_empty =
            self.collector.buffer().batch_count() == 0 && self.collector.closed_count() == 0;
        let idle = is_empty && self.checkpoints_due == 0;
        let longest = if idle { Duration::from_secs(60) } else { TICK };
        due.unwrap_or(longest).min(longest)
    }

    /// Whether everything is in its store and its catalog.
    fn is_idle(&self, end: Position) -> bool {
        self.state.is_done_until(end) && self.state.unregistered().is_empty()
    }
}
