//! Gathers positions into batches, one open batch for each group.
//!
//! Owns when a batch closes: by the size of its records or, by what `target` has learnt, of its object,
//! by age, or because it is asked to. Holds positions, never bytes, so that many open groups cost
//! little. Does not know what a group stands for, and is told the time.

mod target;

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use self::target::Limit;
pub use self::target::{Aim, Observed};
use crate::positions::Positions;
use crate::record::{Position, UnixMillis};

/// A batch of so many records is closed, and a plan takes on no more of them, so that it always
/// fits into a journal frame of 16 MiB: were each a run of its own, it would take four bytes, a gap of
/// less than two million and a count.
pub const BATCH_RECORDS_MAX: u64 = 4_000_000;

/// When batches close; Firehose's buffering hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// A batch closes when its records have this many bytes.
    pub size_bytes: u64,
    /// A batch closes this long after its oldest record arrived.
    pub interval: Duration,
}

/// Records that will share an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<G> {
    /// What they have in common.
    pub group: G,
    /// Which they are.
    pub positions: Positions,
    /// Their bytes in all.
    pub data_bytes: u64,
    /// When the first of them arrived; it names the object's time.
    pub oldest_arrival: UnixMillis,
    /// What closed the batch.
    pub closed_by: Trigger,
}

/// What closes a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The size hint; also while the size of objects is still to be learnt.
    Size,
    /// The size that its object is expected to have.
    Target,
    /// The interval hint.
    Interval,
    /// A person or a shutdown.
    Flush,
    /// The disk budget.
    Pressure,
    /// What open batches take of the memory.
    Memory,
}

impl Trigger {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Target => "target",
            Self::Interval => "interval",
            Self::Flush => "flush",
            Self::Pressure => "pressure",
            Self::Memory => "memory",
        }
    }
}

/// Records of one call, all of one group.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a, G> {
    /// Their group.
    pub group: &'a G,
    /// The position of the first.
    pub first: Position,
    /// The length of each in bytes.
    pub lengths: &'a [u32],
    /// When they arrived.
    pub arrival: UnixMillis,
    /// When a batch that begins with them must close, by the steady clock.
    pub due: Duration,
}

/// The open batches of a stream.
#[derive(Debug)]
pub struct Buffer<G> {
    hints: Hints,
    aim: Option<Aim<G>>,
    open: HashMap<G, Open>,
    by_due: BTreeSet<(Duration, u64)>,
    group_by_number: HashMap<u64, G>,
    next_number: u64,
    /// What a group takes of the memory.
    weigh: fn(&G) -> usize,
    memory_bytes: usize,
}

/// What an open batch takes of the memory besides its positions and its groups.
const OPEN_BYTES: usize = size_of::<Open>() + 64;
/// How often its group stands in the maps.
const GROUPS_KEPT: usize = 2;

#[derive(Debug)]
struct Open {
    number: u64,
    positions: Positions,
    record_count: u64,
    data_bytes: u64,
    oldest_arrival: UnixMillis,
    due: Duration,
    /// What closes it before its time.
    early: Option<Trigger>,
    /// What it takes of the memory.
    memory_bytes: usize,
}

impl<G: Clone + Eq + Hash> Buffer<G> {
    /// An empty buffer; `weigh` tells about how many bytes of memory a group takes.
    #[must_use]
    pub fn new(hints: Hints, weigh: fn(&G) -> usize) -> Self {
        Self {
            hints,
            aim: None,
            open: HashMap::new(),
            by_due: BTreeSet::new(),
            group_by_number: HashMap::new(),
            next_number: 0,
            weigh,
            memory_bytes: 0,
        }
    }

    /// The size that objects are to have, and what is known of it; none for batches that close by the
    /// size of their records alone.
    pub fn aim(&mut self) -> &mut Option<Aim<G>> {
        &mut self.aim
    }

    /// Whether the next records would have to wait for what a closed batch teaches of sizes, since
    /// an open one is as large as that one was.
    #[must_use]
    pub fn waits_for_sizes(&self) -> bool {
        let aim = self.aim.as_ref().filter(|aim| aim.is_waiting());
        aim.is_some_and(|aim| {
            self.open.values().any(|open| open.data_bytes >= aim.target_bytes() / 2)
        })
    }

    /// When a batch of `group` closes by a size, what is then said to have closed it, and whether
    /// its object is to be learnt from.
    fn limit(&self, group: &G) -> (u64, Trigger, bool) {
        let limit = self.aim.as_ref().map(|aim| aim.limit(group));
        let hint = self.hints.size_bytes;
        match limit {
            Some(Limit::Known(bytes)) if bytes < hint => (bytes, Trigger::Target, false),
            Some(Limit::Learning(bytes)) => (bytes.min(hint), Trigger::Size, true),
            Some(Limit::Known(_) | Limit::Waiting) | None => (hint, Trigger::Size, false),
        }
    }

    /// Adds records; those batches that became full are closed and returned.
    pub fn add(&mut self, arrival: &Arrival<'_, G>) -> Vec<Batch<G>> {
        let mut closed = Vec::new();
        let mut records = arrival.lengths.iter().enumerate();
        while records.len() > 0 {
            let (bytes_max, trigger, teaches) = self.limit(arrival.group);
            let open = self.open_batch(arrival);
            let before = open.positions.memory_bytes();
            let full = records.by_ref().any(|(index, length)| {
                open.positions.push(arrival.first.advanced_by(index as u64));
                open.record_count += 1;
                open.data_bytes += u64::from(*length);
                open.data_bytes >= bytes_max || open.record_count >= BATCH_RECORDS_MAX
            });
            let grown = open.positions.memory_bytes() - before;
            open.memory_bytes += grown;
            self.memory_bytes += grown;
            if full {
                let is_whole = self.open[arrival.group].data_bytes >= bytes_max;
                let trigger = if is_whole { trigger } else { Trigger::Size };
                closed.extend(self.close(arrival.group, trigger));
                if let Some(aim) = self.aim.as_mut().filter(|_| teaches) {
                    aim.teaches();
                }
            }
        }
        closed
    }

    /// Closes one of the batches that are due at `now` by the steady clock.
    pub fn close_next_due(&mut self, now: Duration) -> Option<Batch<G>> {
        let &(due, number) = self.by_due.first()?;
        if due <= now { self.close_number(number, Trigger::Interval) } else { None }
    }

    /// Closes the oldest batch, due or not.
    pub fn close_next(&mut self, trigger: Trigger) -> Option<Batch<G>> {
        let &(_, number) = self.by_due.first()?;
        self.close_number(number, trigger)
    }

    /// Makes every open batch due at once, in the order in which they were begun.
    pub fn make_due(&mut self, trigger: Trigger) {
        self.by_due.clear();
        for open in self.open.values_mut() {
            open.early = open.early.or(Some(trigger));
            open.due = Duration::ZERO;
            self.by_due.insert((open.due, open.number));
        }
    }

    /// Closes the oldest batches, as many as it takes to have `bytes` in them.
    pub fn close_oldest(&mut self, bytes: u64, trigger: Trigger) -> Vec<Batch<G>> {
        let (mut closed, mut closed_bytes) = (Vec::new(), 0);
        while closed_bytes < bytes
            && let Some(&(_, number)) = self.by_due.first()
        {
            let batch = self.close_number(number, trigger);
            closed_bytes += batch.as_ref().map_or(0, |batch| batch.data_bytes);
            closed.extend(batch);
        }
        closed
    }

    /// Changes when batches close, those that are open included: their interval counts from the
    /// same begin, and those that are full by now are due at once.
    pub fn change_hints(&mut self, hints: Hints) {
        let old = std::mem::replace(&mut self.hints, hints);
        self.by_due.clear();
        for open in self.open.values_mut() {
            open.due = if open.data_bytes >= hints.size_bytes || open.early.is_some() {
                Duration::ZERO
            } else {
                open.due.saturating_sub(old.interval) + hints.interval
            };
            self.by_due.insert((open.due, open.number));
        }
    }

    /// The groups that have an open batch.
    pub fn groups(&self) -> impl Iterator<Item = &G> {
        self.open.keys()
    }

    /// Forgets what is open, and nothing of the sizes of objects.
    pub fn clear(&mut self) {
        let aim = self.aim.take().map(|mut aim| {
            aim.has_learnt();
            aim
        });
        *self = Self { aim, ..Self::new(self.hints, self.weigh) };
    }

    /// When the next batch is due by the steady clock.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Whether a batch of a group is open.
    #[must_use]
    pub fn has(&self, group: &G) -> bool {
        self.open.contains_key(group)
    }

    /// How many batches are open.
    #[must_use]
    pub fn batch_count(&self) -> usize {
        self.open.len()
    }

    /// How many records are in open batches.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.open.values().map(|open| open.record_count).sum()
    }

    /// The bytes of the records in open batches.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.open.values().map(|open| open.data_bytes).sum()
    }

    /// About how many bytes of memory the open batches take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    fn open_batch(&mut self, arrival: &Arrival<'_, G>) -> &mut Open {
        if !self.open.contains_key(arrival.group) {
            let number = self.next_number;
            self.next_number += 1;
            self.by_due.insert((arrival.due, number));
            self.group_by_number.insert(number, arrival.group.clone());
            self.memory_bytes += OPEN_BYTES + GROUPS_KEPT * (self.weigh)(arrival.group);
        }
        self.open.entry(arrival.group.clone()).or_insert_with(|| Open {
            number: self.next_number - 1,
            positions: Positions::default(),
            record_count: 0,
            data_bytes: 0,
            oldest_arrival: arrival.arrival,
            due: arrival.due,
            early: None,
            memory_bytes: OPEN_BYTES + GROUPS_KEPT * (self.weigh)(arrival.group),
        })
    }

    fn close_number(&mut self, number: u64, trigger: Trigger) -> Option<Batch<G>> {
        let group = self.group_by_number.get(&number).cloned()?;
        self.close(&group, trigger)
    }

    fn close(&mut self, group: &G, trigger: Trigger) -> Option<Batch<G>> {
        let open = self.open.remove(group)?;
        self.by_due.remove(&(open.due, open.number));
        self.group_by_number.remove(&open.number);
        self.memory_bytes -= open.memory_bytes;
        Some(Batch {
            group: group.clone(),
            positions: open.positions,
            data_bytes: open.data_bytes,
            oldest_arrival: open.oldest_arrival,
            closed_by: open.early.unwrap_or(trigger),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HINTS: Hints = Hints { size_bytes: 10, interval: Duration::from_secs(60) };

    fn close_due(buffer: &mut Buffer<u8>, now: Duration) -> Vec<Batch<u8>> {
        std::iter::from_fn(|| buffer.close_next_due(now)).collect()
    }

    fn arrival<'a>(group: &'a u8, first: u64, lengths: &'a [u32], due: u64) -> Arrival<'a, u8> {
        Arrival {
            group,
            first: Position(first),
            lengths,
            arrival: UnixMillis(due.cast_signed() * 1000),
            due: Duration::from_secs(due),
        }
    }

    #[test]
    fn a_batch_closes_with_the_record_that_fills_it() {
        let mut buffer = Buffer::new(HINTS, |_| 8);
        let closed = buffer.add(&arrival(&1, 0, &[4, 4, 4, 4], 60));
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].positions, Positions::from_run(Position(0), 3));
        assert_eq!((closed[0].data_bytes, closed[0].closed_by), (12, Trigger::Size));
        assert_eq!((buffer.record_count(), buffer.data_bytes()), (1, 4));
    }

    #[test]
    fn batches_close_by_age_of_their_oldest_record_oldest_first() {
        let mut buffer = Buffer::new(HINTS, |_| 8);
        buffer.add(&arrival(&1, 0, &[1], 70));
        buffer.add(&arrival(&2, 1, &[1], 65));
        buffer.add(&arrival(&2, 2, &[1], 90));
        assert_eq!(buffer.next_due(), Some(Duration::from_secs(65)));
        assert!(close_due(&mut buffer, Duration::from_secs(64)).is_empty());
        let closed = close_due(&mut buffer, Duration::from_secs(70));
        let groups: Vec<_> = closed.iter().map(|batch| batch.group).collect();
        assert_eq!(groups, [2, 1]);
        assert_eq!(closed[0].oldest_arrival, UnixMillis(65_000));
        assert_eq!((buffer.batch_count(), buffer.next_due()), (0, None));
    }

    #[test]
    fn the_oldest_batches_are_closed_and_no_more_than_it_takes() {
        let mut buffer = Buffer::new(HINTS, |_| 8);
        for (group, due) in [(1, 70), (2, 60), (3, 80), (4, 65)] {
            buffer.add(&arrival(&group, u64::from(group), &[4], due));
        }
        let groups = |closed: Vec<Batch<u8>>| closed.iter().map(|b| b.group).collect::<Vec<_>>();
        assert!(buffer.close_oldest(0, Trigger::Pressure).is_empty());
        assert_eq!(groups(buffer.close_oldest(5, Trigger::Pressure)), [2, 4]);
        assert_eq!(buffer.data_bytes(), 8);
        assert_eq!(groups(buffer.close_oldest(100, Trigger::Pressure)), [1, 3]);
    }

    #[test]
    fn new_hints_count_from_the_begin_of_open_batches() {
        let mut buffer = Buffer::new(HINTS, |_| 8);
        buffer.add(&arrival(&1, 0, &[1], 70));
        buffer.add(&arrival(&2, 1, &[8], 65));
        buffer.change_hints(Hints { size_bytes: 8, interval: Duration::from_secs(5) });
        let groups = |closed: Vec<Batch<u8>>| closed.iter().map(|b| b.group).collect::<Vec<_>>();
        assert_eq!(
            groups(close_due(&mut buffer, Duration::from_secs(0))),
            [2],
            "it is full by now"
        );
        assert_eq!(buffer.next_due(), Some(Duration::from_secs(15)));
        buffer.change_hints(Hints { size_bytes: 8, interval: Duration::from_secs(100) });
        assert_eq!(buffer.next_due(), Some(Duration::from_secs(110)));
        assert_eq!(groups(close_due(&mut buffer, Duration::from_secs(110))), [1]);
        assert_eq!((buffer.batch_count(), buffer.next_due()), (0, None));
    }

    #[test]
    fn batches_close_by_the_size_of_their_objects_once_it_is_known() {
        let mut buffer = Buffer::new(Hints { size_bytes: 1_000, ..HINTS }, |_| 8);
        *buffer.aim() = Some(Aim::new(10, &[]));
        let lengths = [1; 500];
        // The first teaches, and nothing else closes meanwhile.
        let first = buffer.add(&arrival(&1, 0, &lengths, 60));
        assert_eq!((first.len(), first[0].data_bytes, first[0].closed_by), (1, 10, Trigger::Size));
        assert!(buffer.waits_for_sizes());
        let aim = buffer.aim().as_mut().unwrap();
        aim.observe(&1, Observed { data_bytes: 10, object_bytes: 6 });
        aim.has_learnt();
        assert!(!buffer.waits_for_sizes());
        // The open one is too large by now; from then on each is as it should be.
        let closed = buffer.add(&arrival(&1, 500, &lengths, 60));
        let sizes: Vec<_> =
            closed.iter().map(|batch| (batch.data_bytes, batch.closed_by)).collect();
        assert_eq!(sizes[0], (491, Trigger::Target));
        assert!(sizes[1..].iter().all(|size| *size == (16, Trigger::Target)), "{sizes:?}");
        // The hint is the bound of them all.
        buffer.change_hints(Hints { size_bytes: 12, ..HINTS });
        let closed = buffer.add(&arrival(&2, 1000, &lengths[..30], 60));
        assert!(
            closed.iter().all(|batch| (batch.data_bytes, batch.closed_by) == (12, Trigger::Size))
        );
        assert_eq!(closed.len(), 2);
        buffer.clear();
        assert_eq!((buffer.batch_count(), buffer.next_due()), (0, None));
        assert_eq!(buffer.aim().as_ref().unwrap().remembered().len(), 1);
    }

    #[test]
    fn what_is_made_due_closes_one_by_one_in_order_and_takes_on_more_until_then() {
        let mut buffer = Buffer::new(HINTS, |_| 8);
        for (group, due) in [(1, 70), (2, 60), (3, 80)] {
            buffer.add(&arrival(&group, u64::from(group), &[4], due));
        }
        let full = buffer.memory_bytes();
        buffer.make_due(Trigger::Flush);
        let first = buffer.close_next_due(Duration::ZERO).expect("it is due");
        assert_eq!((first.group, first.closed_by), (1, Trigger::Flush));
        assert!(buffer.memory_bytes() < full);
        buffer.add(&arrival(&1, 5, &[4], 90));
        buffer.add(&arrival(&3, 6, &[4], 90));
        let rest = close_due(&mut buffer, Duration::ZERO);
        let rest: Vec<_> = rest.iter().map(|batch| (batch.group, batch.data_bytes)).collect();
        assert_eq!(rest, [(2, 4), (3, 8)]);
        let last = buffer.close_next(Trigger::Memory).expect("it is open");
        assert_eq!((last.group, last.closed_by), (1, Trigger::Memory));
        assert_eq!(buffer.memory_bytes(), 0);
    }

    proptest! {
        #[test]
        fn every_record_is_in_exactly_one_batch(
            calls in proptest::collection::vec(
                (0u8..5, proptest::collection::vec(0u32..8, 1..6), 0u64..100), 1..60),
        ) {
            let mut buffer = Buffer::new(HINTS, |_| 8);
            let (mut next, mut seen) = (0, Vec::new());
            for (group, lengths, due) in &calls {
                seen.extend(buffer.add(&arrival(group, next, lengths, *due)));
                next += lengths.len() as u64;
                if due % 7 == 0 {
                    seen.extend(close_due(&mut buffer, Duration::from_secs(*due)));
                }
            }
            buffer.make_due(Trigger::Flush);
            seen.extend(close_due(&mut buffer, Duration::ZERO));
            prop_assert_eq!(buffer.memory_bytes(), 0);
            let mut all: Vec<_> = seen.iter().flat_map(|b| b.positions.iter()).collect();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq((0..next).map(Position)));
            prop_assert_eq!((buffer.batch_count(), buffer.next_due()), (0, None));
        }
    }
}
