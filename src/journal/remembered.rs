//! The bound on the calls that all retry windows of a process remember together.
//!
//! Owns whose turn it is to be forgotten: the oldest call of all, whichever journal remembers it. So
//! a stream that is much called takes the room of those that are not, however many there are, and no
//! stream that comes later adds to the whole. Does not know calls (`window`).
//!
//! Invariant: a journal has as many turns here as calls in its window, or is about to.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex};

use super::log::locked;
use super::window::{Calls, is_over};
use crate::record::UnixMillis;

/// The calls that the journals of a process remember, in case that they come again. Clones are the
/// same.
#[derive(Clone, Debug)]
pub struct RememberedCalls {
    calls_max: usize,
    turns: Arc<Mutex<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    heap: BinaryHeap<Reverse<Turn>>,
    count: u64,
}

/// A call that will be forgotten: the oldest one of its journal when its turn has come.
#[derive(Debug)]
struct Turn {
    arrival: UnixMillis,
    number: u64,
    calls: Arc<Calls>,
}

impl RememberedCalls {
    /// At most `calls_max` calls.
    #[must_use]
    pub fn new(calls_max: usize) -> Self {
        Self { calls_max, turns: Arc::default() }
    }

    /// Counts a call that `calls` has begun to remember, and lets go of what is too old or too much.
    pub(super) fn add(&self, calls: &Arc<Calls>, arrival: UnixMillis) {
        {
            let mut turns = locked(&self.turns);
            turns.count += 1;
            let number = turns.count;
            turns.heap.push(Reverse(Turn { arrival, number, calls: calls.clone() }));
        }
        self.trim(arrival);
    }

    /// Lets go of what is too old or too much.
    pub(super) fn trim(&self, now: UnixMillis) {
        while let Some(Turn { arrival, calls, .. }) = self.next_turn(now) {
            // Outside of the lock: no two are ever held.
            calls.forget_oldest(!is_over(arrival, now));
        }
    }

    fn next_turn(&self, now: UnixMillis) -> Option<Turn> {
        let mut turns = locked(&self.turns);
        let Reverse(oldest) = turns.heap.peek()?;
        if turns.heap.len() <= self.calls_max && !is_over(oldest.arrival, now) {
            return None;
        }
        turns.heap.pop().map(|Reverse(turn)| turn)
    }

    /// Takes back the turns of a journal that is closed.
    pub(super) fn leave(&self, calls: &Arc<Calls>) {
        locked(&self.turns).heap.retain(|Reverse(turn)| !Arc::ptr_eq(&turn.calls, calls));
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.arrival, self.number).cmp(&(other.arrival, other.number))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}
