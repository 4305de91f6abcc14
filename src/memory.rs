//! How much memory the service may take, and which part of the path may take what of it.
//!
//! Owns the division of the budget and the places in it. What a part does when its share is used up is
//! its own affair: none waits for another one's share, so that nothing can hang. Does not look at the
//! process: the shares are of what is counted, and leave room for what is not.
//!
//! | share of the budget, less what the process itself takes | for | used up |
//! |---|---|---|
//! | 3/16 | calls, from their first byte to their answer | further calls are refused |
//! | 2/16 | records on their way through hooks | fewer batches go side by side |
//! | 3/16 | open batches | the oldest are closed early, then the log is read no further |
//! | 2/16 | plans that wait for their store | nothing more is frozen, records wait in the journal |
//! | 4/16 | conversions | the next plan waits |
//! | 2/16 | objects that are being put | a leg puts one at a time |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The least budget: one call, one object of some size and a few thousand partitions.
pub const MEMORY_BYTES_MIN: u64 = 192 << 20;
/// The program, its threads and connections.
const PROCESS_BYTES: u64 = 48 << 20;
/// Calls are remembered in so large a part of the budget,
const REMEMBERED_PART: u64 = 16;
/// and take about so much each.
const REMEMBERED_CALL_BYTES: u64 = 140;
const REMEMBERED_CALLS_MAX: u64 = 600_000;
const UNIT_BYTES: u64 = 1 << 10;
const PARTS: u64 = 16;

/// The memory that all streams may take together.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: u64,
    /// Records on their way through hooks.
    pub hooks: Counted,
    /// Open batches.
    pub batches: Counted,
    /// Plans that wait for their store.
    pub plans: Counted,
    /// Conversions.
    pub conversions: Places,
    /// Objects that are being put.
    pub deliveries: Counted,
}

impl MemoryBudget {
    /// Divides `limit_bytes`, of which there are [`MEMORY_BYTES_MIN`] at the least.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        let parts = |count: u64| parts_of(limit_bytes, count);
        Self {
            limit_bytes,
            hooks: Counted::new(parts(2)),
            batches: Counted::new(parts(3)),
            plans: Counted::new(parts(2)),
            conversions: Places::new(parts(4)),
            deliveries: Counted::new(parts(2)),
        }
    }

    /// What the bodies of calls may take: their records stand beside them, decoded, until the answer.
    #[must_use]
    pub fn bodies_bytes(&self) -> u64 {
        parts_of(self.limit_bytes, 3) / 2
    }

    /// How many calls are remembered, in case that they come again.
    #[must_use]
    pub fn remembered_calls(&self) -> usize {
        remembered_calls(self.limit_bytes) as usize
    }
}

fn remembered_calls(limit_bytes: u64) -> u64 {
    (limit_bytes / REMEMBERED_PART / REMEMBERED_CALL_BYTES).min(REMEMBERED_CALLS_MAX)
}

/// So many of the [`PARTS`] of what the process itself and remembered calls leave.
fn parts_of(limit_bytes: u64, count: u64) -> u64 {
    let limit_bytes = limit_bytes.max(MEMORY_BYTES_MIN);
    let remembered_bytes = remembered_calls(limit_bytes) * REMEMBERED_CALL_BYTES;
    (limit_bytes - PROCESS_BYTES - remembered_bytes) / PARTS * count
}

/// Memory that is waited for, first come, first served.
#[derive(Clone, Debug)]
pub struct Places {
    bytes: u64,
    units: Arc<Semaphore>,
}

/// Memory that was waited for; dropping it gives it back.
#[derive(Debug)]
pub struct Taken {
    _units: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// `bytes` bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, u64::from(u32::MAX));
        Self { bytes: units * UNIT_BYTES, units: Arc::new(Semaphore::new(units as usize)) }
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Waits for `bytes` bytes, or for all when that is less: what is larger than the whole goes alone.
    pub async fn take(&self, bytes: u64) -> Taken {
        let units = bytes.min(self.bytes).div_ceil(UNIT_BYTES) as u32;
        // It is never closed.
        Taken { _units: self.units.clone().acquire_many_owned(units).await.ok() }
    }
}

/// Memory that cannot be waited for, since those who hold it would have to give it back themselves:
/// whoever holds more than their part gives way.
#[derive(Clone, Debug)]
pub struct Counted {
    all: Arc<All>,
}

#[derive(Debug)]
struct All {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    holders: AtomicUsize,
}

/// What one of those who share it holds; dropping it gives it back.
#[derive(Debug)]
pub struct Holding {
    all: Arc<All>,
    bytes: usize,
}

impl Counted {
    /// `limit_bytes` bytes that nobody holds.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        let limit_bytes = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        let (used_bytes, holders) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { all: Arc::new(All { limit_bytes, used_bytes, holders }) }
    }

    /// One more who shares it.
    #[must_use]
    pub fn holding(&self) -> Holding {
        self.all.holders.fetch_add(1, Ordering::Relaxed);
        Holding { all: self.all.clone(), bytes: 0 }
    }
}

impl Holding {
    /// How many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// So many bytes are held from now on.
    pub fn set(&mut self, bytes: usize) {
        // Wraps around where it gets less, and back again.
        self.all.used_bytes.fetch_add(bytes.wrapping_sub(self.bytes), Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Whether some of it has to be given back before more is taken. A third of the whole is divided
    /// evenly, so that one who holds little never waits for one who holds much; whoever is beyond that
    /// has to keep the rest from being used up.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        let All { limit_bytes, used_bytes, holders } = &*self.all;
        let third = limit_bytes / 3;
        let own_part = third / holders.load(Ordering::Relaxed).max(1);
        self.bytes > own_part && used_bytes.load(Ordering::Relaxed) > limit_bytes - third
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.set(0);
        self.all.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_shares_are_the_whole_less_what_the_process_takes() {
        for limit_bytes in [MEMORY_BYTES_MIN, 1 << 30, 64 << 30] {
            let budget = MemoryBudget::new(limit_bytes);
            let counted = [&budget.hooks, &budget.batches, &budget.plans, &budget.deliveries];
            let counted: usize = counted.iter().map(|counted| counted.all.limit_bytes).sum();
            let remembered = budget.remembered_calls() as u64 * REMEMBERED_CALL_BYTES;
            let places = budget.conversions.bytes();
            let all = counted as u64 + places + 2 * budget.bodies_bytes() + remembered;
            let left = limit_bytes - PROCESS_BYTES;
            assert!(all <= left && all > left - left / 100, "{all} of {left}");
            assert!(budget.bodies_bytes() >= 12 << 20, "the longest body");
        }
    }

    #[test]
    fn a_place_that_is_larger_than_the_whole_goes_alone() {
        let places = Places::new(1 << 20);
        let all = places.take(5 << 20).now_or_never().expect("nobody else is there");
        assert!(places.take(1).now_or_never().is_none());
        drop(all);
        let half = places.take(1 << 19).now_or_never().expect("it was given back");
        let other = places.take(1 << 19).now_or_never().expect("two halves");
        assert!(places.take(1).now_or_never().is_none());
        drop((half, other));
        assert!(places.take(1 << 20).now_or_never().is_some());
    }

    #[test]
    fn whoever_holds_much_gives_way_and_whoever_holds_little_does_not() {
        let counted = Counted::new(900);
        let (mut much, mut little) = (counted.holding(), counted.holding());
        much.set(600);
        assert!(!much.is_too_much(), "two thirds may be anybody's");
        much.set(601);
        assert!(much.is_too_much());
        little.set(150);
        assert!(!little.is_too_much(), "half of a third is its own");
        little.set(151);
        assert!(little.is_too_much());
        drop(much);
        assert!(!little.is_too_much());
        little.set(900);
        assert!(little.is_too_much());
        little.set(0);
        assert_eq!(counted.all.used_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn whoever_all_grow_as_far_as_they_may_stay_within_the_whole() {
        let counted = Counted::new(9_000);
        let mut holdings: Vec<Holding> = (0..10).map(|_| counted.holding()).collect();
        loop {
            let free = holdings.iter_mut().filter(|holding| !holding.is_too_much());
            let grown = free.map(|holding| holding.set(holding.bytes + 1)).count();
            if grown == 0 {
                break;
            }
        }
        let used = counted.all.used_bytes.load(Ordering::Relaxed);
        assert!((6_000..=9_020).contains(&used), "{used}");
    }
}
