//! The order in which open plans are delivered.
//!
//! Owns a queue and the bound on plans that are delivered side by side. A plan that does not get
//! through rests and goes to the back, so that a dead store holds up nothing but its own objects.

use std::collections::{BTreeMap, VecDeque};

use crate::plan::PlanId;

/// Plans whose objects are being put side by side.
const IN_FLIGHT_MAX: usize = 4;

/// What is known of a plan's delivery when its turn comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// Attempts before, for each object.
    pub(super) attempts: u32,
    /// Some objects may be in the store already.
    pub(super) may_be_there: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Turns {
    known: BTreeMap<PlanId, Turn>,
    ready: VecDeque<PlanId>,
    in_flight: usize,
}

impl Turns {
    /// Takes in a plan that became open, or was open when the process ended.
    pub(super) fn open(&mut self, id: PlanId, may_be_there: bool) {
        self.known.insert(id, Turn { attempts: 0, may_be_there });
        self.ready.push_back(id);
    }

    /// The plan whose turn it is, while there is room for one more.
    pub(super) fn next(&mut self) -> Option<(PlanId, Turn)> {
        if self.in_flight == IN_FLIGHT_MAX {
            return None;
        }
        let id = self.ready.pop_front()?;
        self.in_flight += 1;
        Some((id, self.known.get(&id).copied().unwrap_or_default()))
    }

    /// A plan's turn has ended without success, after so many attempts; it is resting now.
    pub(super) fn not_delivered(&mut self, id: PlanId, attempts: u32) {
        self.in_flight -= 1;
        let turn = self.known.entry(id).or_default();
        turn.attempts = turn.attempts.saturating_add(attempts);
        turn.may_be_there = true;
    }

    /// A plan has rested.
    pub(super) fn rested(&mut self, id: PlanId) {
        self.ready.push_back(id);
    }

    /// A plan's objects are in their stores.
    pub(super) fn delivered(&mut self, id: PlanId) {
        self.in_flight -= 1;
        self.known.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_do_not_get_through_let_others_pass() {
        let mut turns = Turns::default();
        (1..=IN_FLIGHT_MAX as u64 + 2).for_each(|id| turns.open(PlanId(id), false));
        for id in 1..=IN_FLIGHT_MAX as u64 {
            assert_eq!(turns.next(), Some((PlanId(id), Turn::default())));
        }
        assert_eq!(turns.next(), None);
        turns.not_delivered(PlanId(1), 5);
        assert_eq!(turns.next().map(|(id, _)| id), Some(PlanId(5)));
        turns.rested(PlanId(1));
        turns.delivered(PlanId(5));
        assert_eq!(turns.next().map(|(id, _)| id), Some(PlanId(6)));
        turns.delivered(PlanId(6));
        let again = Turn { attempts: 5, may_be_there: true };
        assert_eq!(turns.next(), Some((PlanId(1), again)));
    }
}
