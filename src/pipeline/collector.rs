//! From a log to closed batches.
//!
//! Owns how far the log has been read, what is buffered, and the batches that are closed and wait
//! for the next step. Does not own what is settled already: it asks. A record that is given out is
//! given back when the step failed, and is found again by [`Collector::start_over`].

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::time::Duration;

use super::active::{ActivePartitions, is_partition};
use super::intake::{self, Reading, Stretch};
use super::orders::Surroundings;
use super::placing::Placer;
use super::progress::Progress;
use super::round::{Batch, KEPT_BATCHES_MAX, KEPT_BYTES_MAX, round_length};
use super::{blocking, rest_after};
use crate::buffer::{Aim, Arrival, Buffer, Hints, Trigger};
use crate::journal::Journal;
use crate::memory::Holding;
use crate::metrics::{stream_labels, stream_labels_with};
use crate::partition::{FailedKind, Group};
use crate::plan::Horizon;
use crate::positions::{self, Positions};
use crate::record::{Position, UnixMillis};

/// Closed batches that may wait for the next step. Beyond it the journal is not read further, and what
/// is due stays open.
const CLOSED_BATCHES_MAX: usize = 256;
/// With more open batches than this, those that are due soon are closed along with those that are due:
/// their records lie scattered over the same stretch of the journal, which is read for all of them.
const MANY_BATCHES: usize = 1_024;
/// Soon is within such a part of the interval.
const SOON_PART: u32 = 16;
/// Under pressure of the disk budget, batches of fewer bytes in all are left to grow.
const PRESSURE_BYTES_MIN: u64 = 1 << 20;
/// So are those that are a smaller part of what the stream holds: an outbox that fills the disk does
/// not get smaller by small objects.
const PRESSURE_PART_MIN: u64 = 16;

/// What has been read and not been given to the next step yet.
#[derive(Debug)]
pub(super) struct Collector {
    records: Journal,
    reading: Reading,
    surroundings: Surroundings,
    hints: Hints,
    buffer: Buffer<Group>,
    /// What open batches take of the memory.
    memory: Holding,
    active: ActivePartitions,
    horizon: Horizon,
    /// The next position to read.
    next: Position,
    is_looking: bool,
    closed: VecDeque<Batch>,
    /// Positions that the disk lost and no plan has settled yet.
    lost: Positions,
    /// Everything before this is closed as soon as it has been read; 0 for nothing.
    flush_until: Position,
}

impl Collector {
    /// Begins with the first position of `records` that is not settled.
    pub(super) fn new(
        records: Journal,
        reading: Reading,
        hints: Hints,
        progress: &Progress,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            memory: surroundings.memory.batches.holding(),
            records,
            reading,
            surroundings,
            hints,
            buffer: Buffer::new(hints, Group::memory_bytes),
            active: ActivePartitions::default(),
            horizon: Horizon::default(),
            next: progress.low(),
            is_looking: false,
            closed: VecDeque::new(),
            lost: Positions::default(),
            flush_until: Position(0),
        }
    }

    /// Whether there is something to read before `end`, and room for it.
    pub(super) fn wants_to_look(&self, end: Position) -> bool {
        let has_room =
            !self.memory.is_too_much() && self.may_close() && !self.buffer.waits_for_sizes();
        !self.is_looking && self.next < end && has_room
    }

    /// Whether more batches may be closed: as many small ones as a plan takes on.
    fn may_close(&self) -> bool {
        let closed = self.closed.len();
        closed < CLOSED_BATCHES_MAX
            || (closed < KEPT_BATCHES_MAX && self.closed_bytes() < KEPT_BYTES_MAX)
    }

    fn closed_bytes(&self) -> u64 {
        self.closed.iter().map(|batch| batch.data_bytes).sum()
    }

    /// Whether a look is under way.
    pub(super) fn is_looking(&self) -> bool {
        self.is_looking
    }

    /// Looks at what comes next. One look at a time; its end is told by [`Collector::looked`].
    pub(super) fn look(&mut self) -> impl Future<Output = io::Result<Stretch>> + use<> {
        self.is_looking = true;
        let (records, from) = (self.records.clone(), self.next);
        let mut reading = self.reading.clone();
        if let Some(placer) = &mut reading.placer {
            placer.set_horizon(self.horizon);
        }
        // Not far beyond what closes a batch: how large the next is to be may not be known yet.
        let wanted = self.buffer.aim().as_ref().map(Aim::target_bytes);
        let bytes_max = wanted.map_or(usize::MAX, |bytes| bytes as usize / 4);
        async move {
            let look = move || intake::look(&records, &reading, from, bytes_max);
            let stretch = blocking(look).await;
            rest_after(stretch, |_| true).await
        }
    }

    /// A look is over.
    pub(super) fn looked(&mut self) {
        self.is_looking = false;
    }

    /// Takes in what was read: its runs go to the buffer, what the disk lost and no plan has settled is
    /// kept for a plan. Records that are settled already are passed over; after a restart they lie
    /// between those that are not. What has to wait for a partition is read again.
    pub(super) fn take(&mut self, mut stretch: Stretch, progress: &Progress) {
        for run in std::mem::take(&mut stretch.runs) {
            if !self.buffer_run(&run, progress) {
                stretch.cut(run.first);
                break;
            }
        }
        if !stretch.lost.is_empty() {
            self.lost = self.lost.with(&stretch.lost);
        }
        self.next = stretch.next;
        self.count_memory();
        self.show_partitions();
    }

    /// False when the records have to wait, since partitions are active that would not be if the next
    /// step had kept up: nothing fails for that.
    fn buffer_run(&mut self, run: &intake::Run, progress: &Progress) -> bool {
        let end = run.first.advanced_by(run.lengths.len() as u64);
        if progress.unsettled_between(run.first, end) == 0 {
            return true;
        }
        let clock = &self.surroundings.clock;
        let (now, steady) = (clock.now(), clock.steady());
        // Age counts from the arrival, but a jump of the wall clock never makes it wait longer
        // than the interval.
        let age_ms = u64::try_from(now.0 - run.arrival.0).unwrap_or(0);
        let left = self.hints.interval.saturating_sub(Duration::from_millis(age_ms));
        let settled = |index: usize| progress.is_settled(run.first.advanced_by(index as u64));
        let kept_out = Group::failed(run.group.tenant.clone(), FailedKind::TooManyPartitions);
        let is_kept_out = self.lacks_room(&run.group) && {
            // Also what lies behind what is due by now, where a long time is read at once.
            self.close(steady);
            self.lacks_room(&run.group)
        };
        if is_kept_out && self.buffer.next_due().is_some_and(|due| due <= steady) {
            return false;
        }
        let group = if is_kept_out {
            self.active.exceeded();
            &kept_out
        } else {
            &run.group
        };
        let mut start = 0;
        while start < run.lengths.len() {
            let is_settled = settled(start);
            let alike = (start..run.lengths.len()).take_while(|i| settled(*i) == is_settled);
            let end = start + alike.count();
            if !is_settled {
                let was_open = self.buffer.has(group);
                let closed = self.buffer.add(&Arrival {
                    group,
                    first: run.first.advanced_by(start as u64),
                    lengths: &run.lengths[start..end],
                    arrival: run.arrival,
                    due: steady + left,
                });
                let is_open = self.buffer.has(group);
                let opened = closed.len() + usize::from(is_open) - usize::from(was_open);
                (0..opened).for_each(|_| self.active.opened(group));
                self.enqueue(closed);
            }
            start = end;
        }
        true
    }

    /// Whether records of a group would make one partition too many active.
    fn lacks_room(&self, group: &Group) -> bool {
        is_partition(group)
            && !self.buffer.has(group)
            && !self.active.has_room(self.max_active_partitions())
    }

    fn max_active_partitions(&self) -> Option<usize> {
        self.placer().and_then(Placer::max_active_partitions)
    }

    fn show_partitions(&self) {
        if !self.placer().is_some_and(Placer::has_slots) {
            return;
        }
        let Surroundings { stream, metrics, .. } = &self.surroundings;
        let labels = stream_labels(stream.as_str());
        let count = self.active.count() as i64;
        metrics.active_partitions.get_or_create(&labels).set(count);
        let is_exceeded = i64::from(self.active.is_exceeded());
        metrics.partitions_exceeded.get_or_create(&labels).set(is_exceeded);
    }

    /// Closes what is due, what a flush waits for, and what takes too much memory, as far as the next
    /// step keeps up with it.
    pub(super) fn close(&mut self, now: Duration) {
        if self.next >= self.flush_until && self.flush_until > Position(0) {
            self.flush_until = Position(0);
            self.buffer.make_due(Trigger::Flush);
        }
        let before = self.closed.len();
        let is_due = self.buffer.next_due().is_some_and(|due| due <= now);
        let soon = match self.buffer.batch_count() {
            0..=MANY_BATCHES => now,
            _ => now + self.hints.interval / SOON_PART,
        };
        while is_due
            && self.may_close()
            && let Some(batch) = self.buffer.close_next_due(soon)
        {
            self.enqueue(vec![batch]);
        }
        self.count_memory();
        while self.memory.is_too_much()
            && self.may_close()
            && let Some(batch) = self.buffer.close_next(Trigger::Memory)
        {
            self.enqueue(vec![batch]);
            self.count_memory();
        }
        if self.closed.len() > before {
            self.show_partitions();
        }
    }

    fn count_memory(&mut self) {
        self.memory.set(self.buffer.memory_bytes());
    }

    /// Closes the oldest batches, so many that the disk budget gets back to its low mark once they
    /// have left the journal. To be asked for when nothing that was closed before is left in it.
    pub(super) fn relieve(&mut self) {
        let budget = &self.surroundings.budget;
        let pressing_bytes = budget.pressing_bytes();
        let worth_it = PRESSURE_BYTES_MIN.max(budget.used_bytes() / PRESSURE_PART_MIN);
        if pressing_bytes > 0 && self.buffer.data_bytes() >= worth_it {
            let wanted = pressing_bytes.max(PRESSURE_BYTES_MIN);
            let closed = self.buffer.close_oldest(wanted, Trigger::Pressure);
            self.count_memory();
            self.enqueue(closed);
            self.show_partitions();
        }
    }

    fn enqueue(&mut self, batches: Vec<Batch>) {
        let max = self.max_active_partitions();
        for batch in batches {
            self.active.closed(&batch.group, max);
            let trigger = batch.closed_by.as_str();
            let labels = stream_labels_with(self.surroundings.stream.as_str(), "trigger", trigger);
            self.surroundings.metrics.closed_batches.get_or_create(&labels).inc();
            tracing::debug!(
                stream = %self.surroundings.stream,
                records = batch.positions.count(),
                bytes = batch.data_bytes,
                trigger,
                "closed a batch"
            );
            self.closed.push_back(batch);
        }
    }

    /// Closes everything before `end` as soon as it has been read.
    pub(super) fn flush(&mut self, end: Position) {
        self.flush_until = self.flush_until.max(end);
    }

    /// Whether a flush has not closed its batches yet.
    pub(super) fn is_flushing(&self) -> bool {
        self.flush_until > Position(0)
    }

    /// Whether something waits for the next step.
    pub(super) fn has_closed(&self) -> bool {
        !self.closed.is_empty() || !self.lost.is_empty()
    }

    /// The oldest closed batch, or its first `records_max` records.
    pub(super) fn pop(&mut self, records_max: u64) -> Option<Batch> {
        let batch = self.closed.pop_front()?;
        if batch.positions.count() <= records_max {
            return Some(batch);
        }
        let (positions, others) = batch.positions.split_at(records_max);
        self.closed.push_front(Batch { positions: others, ..batch.clone() });
        Some(Batch { positions, ..batch })
    }

    /// As many closed batches as one plan takes, and everything that the disk lost.
    pub(super) fn take_round(&mut self) -> (Vec<Batch>, Positions) {
        let length = round_length(&self.closed, self.round_bytes_max());
        (self.closed.drain(..length).collect(), std::mem::take(&mut self.lost))
    }

    /// The bytes that the next plan is expected to take of the disk: those of its records, and where
    /// objects have a size that they are to have, not more than that of each twice. What fails takes
    /// more, of which nothing is known before.
    pub(super) fn next_round_bytes(&mut self) -> u64 {
        let wanted = self.buffer.aim().as_ref().map(Aim::target_bytes);
        let object_bytes_max = wanted.map_or(u64::MAX, |bytes| bytes * 2);
        let length = round_length(&self.closed, self.round_bytes_max());
        let batches = self.closed.iter().take(length);
        batches.map(|batch| batch.data_bytes.min(object_bytes_max)).sum()
    }

    fn round_bytes_max(&self) -> u64 {
        let Surroundings { budget, pool, .. } = &self.surroundings;
        let by_disk = if budget.is_pressed() { budget.round_bytes_max() } else { u64::MAX };
        by_disk.min(pool.round_bytes_max())
    }

    /// Takes back what [`Collector::take_round`] gave.
    pub(super) fn give_back(&mut self, batches: Vec<Batch>, lost: &Positions) {
        batches.into_iter().rev().for_each(|batch| self.closed.push_front(batch));
        self.lost = self.lost.with(lost);
    }

    /// Closes by other hints from now on.
    pub(super) fn change_hints(&mut self, hints: Hints) {
        self.hints = hints;
        self.buffer.change_hints(hints);
    }

    /// The size that objects are to have, and what is known of it.
    pub(super) fn aim(&mut self) -> &mut Option<Aim<Group>> {
        self.buffer.aim()
    }

    /// What gives records their groups.
    pub(super) fn placer(&self) -> Option<&Placer> {
        self.reading.placer.as_ref()
    }

    /// Gives records their groups by this one; unless it gives the same, what was read before has to
    /// be read again.
    pub(super) fn change_placer(&mut self, placer: Option<Placer>) {
        self.reading.placer = placer;
    }

    /// Forgets what was read, and reads everything again that is not settled.
    pub(super) fn start_over(&mut self, progress: &Progress) {
        self.buffer.clear();
        self.count_memory();
        self.active = ActivePartitions::default();
        self.closed.clear();
        self.lost = Positions::default();
        self.next = progress.low();
    }

    /// When the next batch is due by its age and may be closed, as an instant of the steady clock.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.buffer.next_due().filter(|_| self.may_close())
    }

    /// When batches close.
    pub(super) fn hints(&self) -> Hints {
        self.hints
    }

    /// Records that wait: unread before `end`, in open batches, in closed ones, or lost.
    pub(super) fn record_count(&self, end: Position, progress: &Progress) -> u64 {
        let closed: u64 = self.closed.iter().map(|batch| batch.positions.count()).sum();
        progress.unsettled_between(self.next, end)
            + self.buffer.record_count()
            + closed
            + self.lost.count()
    }

    /// What is open.
    pub(super) fn buffer(&self) -> &Buffer<Group> {
        &self.buffer
    }

    /// The groups of what is open, or closed and not given out.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.buffer.groups().chain(self.closed.iter().map(|batch| &batch.group))
    }

    /// Keeps records out of partitions that are complete.
    pub(super) fn change_horizon(&mut self, horizon: Horizon) {
        self.horizon = horizon;
    }

    /// Keeps records out of those of them, too, that another leg has told.
    pub(super) fn extend_horizon(&mut self, until: UnixMillis) {
        self.horizon.until = self.horizon.until.max(Some(until));
    }

    /// How many batches are closed.
    pub(super) fn closed_count(&self) -> usize {
        self.closed.len()
    }
}

/// Lost positions as records to be transformed: what follows them in the next log proves that they
/// were passed.
pub(super) fn as_runs(lost: &Positions, surroundings: &Surroundings) -> Vec<intake::Run> {
    let arrival = surroundings.clock.now();
    let run = |run: positions::Run| intake::Run {
        group: Group::default(),
        first: run.first,
        lengths: vec![0; run.count as usize],
        arrival,
    };
    lost.runs().map(run).collect()
}
