//! The steps of a stream, one after another over a batch.
//!
//! Owns how parts go from step to step, how many of them one record may become, how much a step may
//! make of it, and the patience with a hook that is away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Failure, Item, MADE_BYTES_MAX, PART_BYTES_MAX, PARTS_BYTES_MAX, PARTS_MAX, Part, Transform,
    Unavailable, Verdict,
};
use crate::buffer::Hints;

/// What a chain is given at once when no step says.
const SIZE_BYTES: u64 = 1 << 20;
/// How long a step that is away is left alone before it is tried again: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// What the chain made of a record, or of one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transformed {
    /// It goes on as this.
    Part(Part),
    /// It is not wanted.
    Dropped,
    /// It goes to the error prefix.
    Failed {
        /// The record as it was accepted or, when it had been split before it failed, the part as
        /// it came out of the split, or what it could not be split further from.
        raw: Bytes,
        /// Why.
        failure: Failure,
    },
}

/// The steps of a stream in their order.
#[derive(Clone, Debug)]
pub struct Chain {
    steps: Vec<Arc<dyn Transform>>,
}

/// An item between two steps.
struct Travelling {
    /// The index of its record in the batch.
    record: usize,
    raw: Bytes,
    item: Item,
}

impl Chain {
    /// A chain of `steps`.
    #[must_use]
    pub fn new(steps: Vec<Arc<dyn Transform>>) -> Self {
        Self { steps }
    }

    /// What the steps are given at once: no more than each of them wants, and for as long as the most
    /// patient waits. Steps that run inside this process have no wish.
    #[must_use]
    pub fn hints(&self) -> Hints {
        let wishes = self.steps.iter().filter_map(|step| step.hints());
        let all = wishes.reduce(|all, one| Hints {
            size_bytes: all.size_bytes.min(one.size_bytes),
            interval: all.interval.max(one.interval),
        });
        all.unwrap_or(Hints { size_bytes: SIZE_BYTES, interval: Duration::ZERO })
    }

    /// Transforms records and tells for each what it became; never nothing. Where a step answers for
    /// some of its batch only, it is the first of the records that are told of, one at least; the
    /// others are to be given again.
    ///
    /// A step that is away is asked again until it answers; `troubled` hears of each refusal, and
    /// of the end of it. Cancel-safe.
    pub async fn run(
        &self,
        records: Vec<Item>,
        troubled: &(dyn Fn(Option<&Unavailable>) + Send + Sync),
    ) -> Vec<Vec<Transformed>> {
        let mut ended: Vec<Vec<Transformed>> = vec![Vec::new(); records.len()];
        let travelling = records.into_iter().enumerate().map(|(record, item)| {
            let raw = item.part.data.clone();
            Travelling { record, raw, item }
        });
        let mut travelling: VecDeque<_> = travelling.collect();
        for step in &self.steps {
            let mut waiting = std::mem::take(&mut travelling);
            let mut yields = vec![Yield::default(); ended.len()];
            while let Some(first) = waiting.front() {
                let mut last = first.record;
                // Only of the record that the step stopped in is anything left here.
                if yields[last].made_bytes > MADE_BYTES_MAX {
                    let failed = |one: Travelling| Transformed::Failed {
                        raw: one.raw,
                        failure: Failure::too_large(format!(
                            "the step made more than {MADE_BYTES_MAX} bytes of the parts of this \
                             record, and is asked for no more of them"
                        )),
                    };
                    ended[last].extend(waiting.drain(..).map(failed));
                    break;
                }
                let items: Vec<_> = waiting.iter().map(|one| one.item.clone()).collect();
                let verdicts = answer(step.as_ref(), &items, troubled).await;
                let count = verdicts.len();
                assert!((1..=items.len()).contains(&count), "a step answers, once for an item");
                for (one, verdict) in waiting.drain(..count).zip(verdicts) {
                    last = one.record;
                    let end = match yields[one.record].bounded(verdict) {
                        Verdict::Parts(parts) => {
                            travelling.extend(one.split(parts, false));
                            continue;
                        }
                        Verdict::PartsAndRest { parts, rest, failure } => {
                            travelling.extend(one.split(parts, true));
                            Transformed::Failed { raw: rest, failure }
                        }
                        Verdict::Dropped => Transformed::Dropped,
                        Verdict::Failed(failure) | Verdict::FailedAfter { failure, .. } => {
                            Transformed::Failed { raw: one.raw, failure }
                        }
                    };
                    ended[last].push(end);
                }
                // The record that the step stopped in goes on to its end, since all of it comes at once.
                if count < items.len() {
                    waiting.retain(|one| one.record == last);
                    ended.truncate(last + 1);
                }
            }
        }
        for one in travelling {
            ended[one.record].push(Transformed::Part(one.item.part));
        }
        ended
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
