//! The way of a batch through the steps of a chain.
//!
//! Owns how parts go from step to step, how many of them one record may become, how much a step may make of
//! it, what waits where when a step stops in the batch, and the patience with a hook that is away.
//!
//! A step may answer for the first part of its batch only, since it makes much of little. Then the records
//! up to there go on to their end, and the others wait in front of that step until they are asked for: what
//! the steps before it said of them holds, and no hook is asked for it again. The records that wait in
//! front of a step come before those that wait in front of an earlier one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::chain::Transformed;
use super::{
    Failure, Item, MADE_BYTES_MAX, PART_BYTES_MAX, PARTS_BYTES_MAX, PARTS_MAX, Part, Transform,
    Unavailable, Verdict,
};

/// How long a step that is away is left alone before it is tried again: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// Records on their way through a chain.
pub struct Journey {
    steps: Vec<Arc<dyn Transform>>,
    /// What waits in front of each step, in the order of records.
    waiting: Vec<VecDeque<Travelling>>,
    /// What has become of each record so far; of those that were told of before there is nothing left.
    ended: VecDeque<Vec<Transformed>>,
    /// How many were told of.
    told_count: usize,
}

impl fmt::Debug for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journey").field("records", &self.ended.len()).finish_non_exhaustive()
    }
}

/// An item between two steps.
struct Travelling {
    /// The index of its record in the batch.
    record: usize,
    raw: Bytes,
    item: Item,
}

impl Journey {
    pub(super) fn new(steps: Vec<Arc<dyn Transform>>, records: Vec<Item>) -> Self {
        let ended = records.iter().map(|_| Vec::new()).collect();
        let travelling = records.into_iter().enumerate().map(|(record, item)| {
            let raw = item.part.data.clone();
            Travelling { record, raw, item }
        });
        let mut waiting: Vec<_> = steps.iter().map(|_| VecDeque::new()).collect();
        // Nothing changes what no step is asked of.
        waiting.push(VecDeque::new());
        waiting[0] = travelling.collect();
        Self { steps, waiting, ended, told_count: 0 }
    }

    /// Goes on, and tells for the next records what each became; never nothing. As many as the steps
    /// answer for at once, one at least until all have been told of.
    ///
    /// A step that is away is asked again until it answers; `troubled` hears of each refusal, and
    /// of the end of it. Given up in the middle, it is of no use any more.
    pub async fn go_on(
        &mut self,
        troubled: &(dyn Fn(Option<&Unavailable>) + Send + Sync),
    ) -> Vec<Vec<Transformed>> {
        let through = self.steps.len();
        let begin = self.waiting.iter().rposition(|waiting| !waiting.is_empty());
        let begin = begin.unwrap_or(through);
        let in_front = self.waiting[..begin].iter().rev().find_map(VecDeque::front);
        let mut end = in_front.map_or(self.told_count + self.ended.len(), |first| first.record);
        for number in begin..through {
            let step = self.steps[number].clone();
            let mut waiting = std::mem::take(&mut self.waiting[number]);
            let mut yields = Yields::default();
            while let Some(first) = waiting.front().filter(|first| first.record < end) {
                let record = first.record;
                if yields.of(record).made_bytes > MADE_BYTES_MAX {
                    let others = waiting.iter().take_while(|one| one.record == record).count();
                    let ended = &mut self.ended[record - self.told_count];
                    ended.extend(waiting.drain(..others).map(Travelling::left_unasked));
                    continue;
                }
                let asked = waiting.iter().take_while(|one| one.record < end);
                let items: Vec<_> = asked.map(|one| one.item.clone()).collect();
                let verdicts = answer(step.as_ref(), &items, troubled).await;
                let count = verdicts.len();
                assert!((1..=items.len()).contains(&count), "a step answers, once for an item");
                for (one, verdict) in waiting.drain(..count).zip(verdicts) {
                    let record = one.record;
                    if count < items.len() {
                        // The record that the step stops in goes on to its end, since all of it comes
                        // at once.
                        end = record + 1;
                    }
                    let became = match yields.of(record).bounded(verdict) {
                        Verdict::Parts(parts) => {
                            self.waiting[number + 1].extend(one.split(parts, false));
                            continue;
                        }
                        Verdict::PartsAndRest { parts, rest, failure } => {
                            self.waiting[number + 1].extend(one.split(parts, true));
                            Transformed::Failed { raw: rest, failure }
                        }
                        Verdict::Dropped => Transformed::Dropped,
                        Verdict::Failed(failure) | Verdict::FailedAfter { failure, .. } => {
                            Transformed::Failed { raw: one.raw, failure }
                        }
                    };
                    self.ended[record - self.told_count].push(became);
                }
            }
            self.waiting[number] = waiting;
        }
        for one in std::mem::take(&mut self.waiting[through]) {
            let part = Transformed::Part(one.item.part);
            self.ended[one.record - self.told_count].push(part);
        }
        let count = end - self.told_count;
        self.told_count = end;
        self.ended.drain(..count).collect()
    }
}

/// What a step has made of the record that it was asked of last.
#[derive(Default)]
struct Yields {
    record: usize,
    so_far: Yield,
}

impl Yields {
    fn of(&mut self, record: usize) -> &mut Yield {
        if self.record != record {
            *self = Self { record, so_far: Yield::default() };
        }
        &mut self.so_far
    }
}

/// What a step has made of one record so far.
#[derive(Clone, Copy, Default)]
struct Yield {
    part_count: usize,
    size_bytes: usize,
    /// With what was made in vain.
    made_bytes: usize,
}

impl Yield {
    /// The verdict itself or, where it would make too much of the record, the failure that this is.
    fn bounded(&mut self, verdict: Verdict) -> Verdict {
        self.made_bytes = self.made_bytes.saturating_add(verdict.made_bytes());
        let (Verdict::Parts(parts) | Verdict::PartsAndRest { parts, .. }) = &verdict else {
            return verdict;
        };
        let size_bytes = verdict.size_bytes();
        let message = if parts.iter().any(|part| part.data.len() > PART_BYTES_MAX) {
            format!("a part has more than {PART_BYTES_MAX} bytes")
        } else if self.part_count + parts.len() > PARTS_MAX {
            format!("one record would become more than {PARTS_MAX} parts")
        } else if self.size_bytes + size_bytes > PARTS_BYTES_MAX {
            format!("one record would become more than {PARTS_BYTES_MAX} bytes")
        } else {
            self.part_count += parts.len();
            self.size_bytes += size_bytes;
            return verdict;
        };
        Verdict::too_large(message)
    }
}

impl Travelling {
    /// The end of an item of whose record the step has made too much already.
    fn left_unasked(self) -> Transformed {
        let message = format!(
            "the step made more than {MADE_BYTES_MAX} bytes of the parts of this record, and is asked for \
             no more of them"
        );
        Transformed::Failed { raw: self.raw, failure: Failure::too_large(message) }
    }

    /// What an item became: of several parts, each goes on by itself, and so does one that leaves a
    /// rest behind.
    fn split(self, parts: Vec<Part>, leaves_rest: bool) -> Vec<Self> {
        assert!(!parts.is_empty(), "a step that wants nothing of an item says Dropped");
        let Self { record, raw, item } = self;
        let is_split = leaves_rest || parts.len() > 1;
        let parts = parts.into_iter().enumerate().map(|(index, part)| Self {
            record,
            raw: if is_split { part.data.clone() } else { raw.clone() },
            item: Item {
                id: if is_split { format!("{}.{index}", item.id) } else { item.id.clone() },
                arrival: item.arrival,
                part,
            },
        });
        parts.collect()
    }
}

/// Asks a step until it answers.
async fn answer(
    step: &dyn Transform,
    items: &[Item],
    troubled: &(dyn Fn(Option<&Unavailable>) + Send + Sync),
) -> Vec<Verdict> {
    let mut pause = PAUSE_MIN;
    loop {
        match step.apply(items).await {
            Ok(verdicts) => {
                troubled(None);
                return verdicts;
            }
            Err(unavailable) => troubled(Some(&unavailable)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
