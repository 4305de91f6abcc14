//! The order in which open plans are delivered.
//!
//! Owns which plan comes next, and the bound on plans that are delivered side by side. The oldest
//! comes first. A plan that does not get through rests, so that it holds up nothing but its own
//! objects; a store that takes nothing is tried by one plan at a time, with one object and after a
//! pause that grows. Once it takes something again, nothing waits any longer that has only tried.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::deliver::{Outcome, backoff};
use crate::plan::{ObjectKind, Plan, PlanId, Target};

/// Plans whose objects are being put side by side. Many are small, and each waits for its commit.
const IN_FLIGHT_MAX: usize = 16;
/// A plan rests about as long after its first turn without success, then longer.
const PLAN_REST: Duration = Duration::from_secs(5);
const PLAN_REST_MAX: Duration = Duration::from_secs(30);
/// What stands for the store of notices.
const WEBHOOK: &str = "webhook";
/// A store that takes nothing is tried again after this long at the latest.
const STORE_REST_MAX: Duration = Duration::from_secs(5);

/// What is known of a plan's delivery when its turn comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// Turns before.
    pub(super) turns: u32,
    /// Attempts before, for each object.
    pub(super) attempts: u32,
    /// Some objects may be in the store already.
    pub(super) may_be_there: bool,
    /// The objects that are there for certain, or lost, by their place in the plan.
    pub(super) there: BTreeSet<usize>,
    /// The store takes nothing at present: one object, once, tells whether it does again.
    pub(super) is_trial: bool,
}

/// What came of a turn that has not brought all objects into their store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TurnEnd {
    /// Objects that got there in it.
    pub(super) there: BTreeSet<usize>,
    /// Objects whose key is somebody else's.
    pub(super) taken: BTreeSet<usize>,
    /// Objects whose bytes are lost.
    pub(super) spoiled: BTreeSet<usize>,
    /// Attempts, for each object that was tried.
    pub(super) attempts: u32,
}

impl TurnEnd {
    /// Notes what became of an object.
    pub(super) fn note(&mut self, index: usize, outcome: Outcome) {
        match outcome {
            Outcome::There => self.there.insert(index),
            Outcome::Taken => self.taken.insert(index),
            Outcome::Spoiled => self.spoiled.insert(index),
            Outcome::NotYet => false,
        };
    }

    /// Whether the store did something for somebody.
    pub(super) fn has_taken_something(&self) -> bool {
        !self.there.is_empty() || !self.taken.is_empty()
    }
}

/// What rests, until it is told that it has rested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// After so many turns.
    Plan(PlanId, u32),
    Store(Arc<Target>),
}

/// The open plans that are not committed, and their stores.
#[derive(Debug, Default)]
pub(super) struct Turns {
    known: BTreeMap<PlanId, Known>,
    /// As many as the stream ever had targets.
    stores: HashMap<Arc<Target>, Store>,
    in_flight: usize,
}

#[derive(Debug)]
struct Known {
    /// Where its objects go; a plan whose objects go to several is counted with the first.
    store: Arc<Target>,
    turn: Turn,
    /// Turns without success that were no trials.
    failures: u32,
    is_resting: bool,
}

#[derive(Debug, Default)]
struct Store {
    ready: BTreeSet<PlanId>,
    /// Rest because a trial of theirs has failed.
    tried: BTreeSet<PlanId>,
    in_flight: usize,
    /// Turns in a row in which it took nothing.
    failures: u32,
    is_resting: bool,
}

impl Store {
    fn is_free(&self, in_flight: usize) -> bool {
        if self.failures == 0 {
            return in_flight < IN_FLIGHT_MAX;
        }
        // The last place is never given to a store that is down.
        !self.is_resting && self.in_flight == 0 && in_flight + 1 < IN_FLIGHT_MAX
    }
}

impl Turns {
    /// Takes in a plan that became open, or was open when the process ended.
    pub(super) fn open(&mut self, plan: &Plan, may_be_there: bool) {
        let Some(first) = plan.objects.first() else {
            return;
        };
        let mut store = first.header.target.clone();
        if first.header.kind == ObjectKind::Notice {
            // A webhook that is away says nothing of the store.
            WEBHOOK.clone_into(&mut store.store);
            WEBHOOK.clone_into(&mut store.url);
        }
        let store = Arc::new(store);
        self.stores.entry(store.clone()).or_default().ready.insert(plan.id);
        let turn = Turn { may_be_there, there: plan.spoiled().collect(), ..Turn::default() };
        self.known.insert(plan.id, Known { store, turn, failures: 0, is_resting: false });
    }

    /// The plan whose turn it is, while there is room for one more.
    pub(super) fn next(&mut self) -> Option<(PlanId, Turn)> {
        let in_flight = self.in_flight;
        let free = self.stores.values_mut().filter(|store| store.is_free(in_flight));
        let store = free
            .filter(|store| !store.ready.is_empty())
            .min_by_key(|s| s.ready.first().copied())?;
        let id = store.ready.pop_first()?;
        store.in_flight += 1;
        self.in_flight += 1;
        let is_trial = store.failures > 0;
        let known = self.known.get(&id)?;
        Some((id, Turn { is_trial, ..known.turn.clone() }))
    }

    /// A plan's turn has ended without success. Tells what rests now, and how long.
    pub(super) fn not_delivered(&mut self, id: PlanId, end: &TurnEnd) -> Vec<(Duration, Rest)> {
        let Some(known) = self.known.get_mut(&id) else {
            return Vec::new();
        };
        let turn = &mut known.turn;
        turn.turns = turn.turns.saturating_add(1);
        turn.attempts = turn.attempts.saturating_add(end.attempts);
        turn.may_be_there = true;
        turn.there.extend(end.there.iter().chain(&end.spoiled));
        known.is_resting = true;
        let was_trial = end.attempts == 1 && !end.has_taken_something();
        known.failures = known.failures.saturating_add(u32::from(!was_trial));
        let doublings = known.failures.saturating_sub(1).min(8);
        let plan_rest = (PLAN_REST * (1 << doublings)).min(PLAN_REST_MAX);
        let mut rests = vec![(backoff::about(plan_rest), Rest::Plan(id, turn.turns))];
        let target = known.store.clone();
        self.in_flight = self.in_flight.saturating_sub(1);
        let store = self.stores.entry(target.clone()).or_default();
        store.in_flight = store.in_flight.saturating_sub(1);
        if end.has_taken_something() {
            self.is_there_again(&target);
        } else {
            store.failures = store.failures.saturating_add(1);
            if was_trial {
                store.tried.insert(id);
            }
            if !std::mem::replace(&mut store.is_resting, true) {
                let pause = backoff::pause(store.failures).min(backoff::about(STORE_REST_MAX));
                rests.push((pause, Rest::Store(target)));
            }
        }
        rests
    }

    /// A plan or a store has rested.
    pub(super) fn rested(&mut self, rest: &Rest) {
        match rest {
            Rest::Plan(id, turns) => {
                if let Some(known) = self.known.get_mut(id)
                    && known.turn.turns == *turns
                    && std::mem::take(&mut known.is_resting)
                {
                    let store = self.stores.entry(known.store.clone()).or_default();
                    store.tried.remove(id);
                    store.ready.insert(*id);
                }
            }
            Rest::Store(target) => {
                if let Some(store) = self.stores.get_mut(target) {
                    store.is_resting = false;
                }
            }
        }
    }

    /// A plan's objects are in their stores.
    pub(super) fn delivered(&mut self, id: PlanId) {
        let Some(Known { store: target, .. }) = self.known.remove(&id) else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(store) = self.stores.get_mut(&target) {
            store.in_flight = store.in_flight.saturating_sub(1);
        }
        self.is_there_again(&target);
    }

    fn is_there_again(&mut self, target: &Target) {
        let Some(store) = self.stores.get_mut(target) else {
            return;
        };
        store.failures = 0;
        for id in std::mem::take(&mut store.tried) {
            if let Some(known) = self.known.get_mut(&id) {
                known.is_resting = false;
                store.ready.insert(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ObjectHeader, ObjectKind, PlannedObject};
    use crate::positions::Positions;
    use crate::record::Position;

    fn plan(id: u64, store: &str) -> Plan {
        let target = Target { store: store.into(), url: "u".into(), endpoint: None, region: None };
        let header = ObjectHeader {
            kind: ObjectKind::Data,
            target,
            key: format!("{id}"),
            offset: 0,
            size_bytes: 1,
            sha256: String::new(),
            row_count: 1,
            tenant: None,
            content_encoding: None,
            partition: None,
            event: None,
            renamed: 0,
            spoiled: false,
        };
        let object = PlannedObject { header, positions: Positions::from_run(Position(id), 1) };
        Plan {
            id: PlanId(id),
            objects: vec![object.clone(), object],
            damaged: Positions::default(),
            source_end: Position(0),
        }
    }

    fn turns(stores: &[&str]) -> Turns {
        let mut turns = Turns::default();
        for (id, store) in (1..).zip(stores) {
            turns.open(&plan(id, store), false);
        }
        turns
    }

    fn next(turns: &mut Turns) -> Option<u64> {
        turns.next().map(|(id, _)| id.0)
    }

    fn fail(turns: &mut Turns, id: u64) -> Vec<(Duration, Rest)> {
        turns.not_delivered(PlanId(id), &TurnEnd { attempts: 5, ..TurnEnd::default() })
    }

    /// A turn in which one of two objects got through.
    fn half(turns: &mut Turns, id: u64) {
        let end = TurnEnd { there: [0].into(), attempts: 5, ..TurnEnd::default() };
        let rests = turns.not_delivered(PlanId(id), &end);
        assert!(matches!(rests[..], [(_, Rest::Plan(..))]), "{rests:?}");
    }

    #[test]
    fn the_oldest_come_first_and_some_go_side_by_side() {
        let mut turns = turns(&["a"; IN_FLIGHT_MAX + 2]);
        for id in 1..=IN_FLIGHT_MAX as u64 {
            assert_eq!(turns.next(), Some((PlanId(id), Turn::default())));
        }
        assert_eq!(next(&mut turns), None);
        turns.delivered(PlanId(3));
        assert_eq!(next(&mut turns), Some(IN_FLIGHT_MAX as u64 + 1));
        turns.delivered(PlanId(1));
        turns.delivered(PlanId(2));
        assert_eq!(next(&mut turns), Some(IN_FLIGHT_MAX as u64 + 2));
        assert_eq!(next(&mut turns), None);
    }

    #[test]
    fn a_plan_that_does_not_get_through_rests_and_keeps_what_is_there() {
        let mut turns = turns(&["a", "a", "a"]);
        assert_eq!(next(&mut turns), Some(1));
        half(&mut turns, 1);
        assert_eq!(next(&mut turns), Some(2), "others go on as before");
        turns.delivered(PlanId(2));
        assert_eq!(next(&mut turns), Some(3));
        assert_eq!(next(&mut turns), None, "it rests whatever others do");
        turns.rested(&Rest::Plan(PlanId(1), 1));
        let turn =
            Turn { turns: 1, attempts: 5, may_be_there: true, there: [0].into(), is_trial: false };
        assert_eq!(turns.next(), Some((PlanId(1), turn)));
        turns.rested(&Rest::Plan(PlanId(1), 1));
        assert_eq!(next(&mut turns), None, "no turn begins twice");
    }

    #[test]
    fn a_store_that_takes_nothing_is_tried_by_one_plan_at_a_time() {
        let count = IN_FLIGHT_MAX as u64;
        let mut turns = turns(&["a"; IN_FLIGHT_MAX + 4]);
        (1..=count).for_each(|id| assert_eq!(next(&mut turns), Some(id)));
        let mut rests: Vec<_> = (1..=count).flat_map(|id| fail(&mut turns, id)).collect();
        rests.retain(|(_, rest)| matches!(rest, Rest::Store(_)));
        let [(_, store)] = &rests[..] else { panic!("a store rests once: {rests:?}") };
        assert_eq!(next(&mut turns), None);
        turns.rested(store);
        let (id, turn) = turns.next().expect("one tries");
        assert!(turn.is_trial && id == PlanId(count + 1));
        assert_eq!(next(&mut turns), None, "while the others wait");
        turns.not_delivered(id, &TurnEnd { attempts: 1, ..TurnEnd::default() });
        turns.rested(store);
        assert_eq!(next(&mut turns), Some(count + 2), "another one tries");
        turns.delivered(PlanId(count + 2));
        assert_eq!(next(&mut turns), Some(count + 1), "it is there again: who tried need not rest");
        assert_eq!(next(&mut turns), Some(count + 3));
        turns.rested(&Rest::Plan(id, 1));
        assert_eq!(next(&mut turns), Some(count + 4), "no turn begins twice");
        assert_eq!(next(&mut turns), None, "those of before the outage rest");
    }

    #[test]
    fn pauses_grow_to_a_bound_that_a_recovery_waits_for() {
        let mut turns = turns(&["a"]);
        for _ in 0..40 {
            assert_eq!(next(&mut turns), Some(1));
            for (pause, rest) in fail(&mut turns, 1) {
                let is_plan = matches!(rest, Rest::Plan(..));
                let longest = if is_plan { PLAN_REST_MAX } else { STORE_REST_MAX };
                assert!(pause <= longest, "{rest:?} {pause:?}");
                turns.rested(&rest);
            }
        }
    }

    #[test]
    fn a_store_that_is_down_leaves_the_others_their_places() {
        let mut turns = turns(&["a", "a", "b", "b"]);
        (1..=2).for_each(|_| assert!(turns.next().is_some()));
        let rests: Vec<_> = (1..=2).flat_map(|id| fail(&mut turns, id)).collect();
        assert_eq!(next(&mut turns), Some(3), "the store rests");
        rests.iter().for_each(|(_, rest)| turns.rested(rest));
        assert_eq!(next(&mut turns), Some(1), "the oldest tries");
        assert_eq!(next(&mut turns), Some(4));
        assert_eq!(next(&mut turns), None, "and no other of its store");
    }

    #[test]
    fn stores_that_are_down_never_have_all_the_places() {
        let stores: Vec<_> = (0..IN_FLIGHT_MAX * 2).map(|number| number.to_string()).collect();
        let stores: Vec<_> = stores.iter().map(String::as_str).collect();
        let mut turns = turns(&stores);
        for _ in 0..2 {
            while let Some((id, _)) = turns.next() {
                for (_, rest) in fail(&mut turns, id.0) {
                    if matches!(rest, Rest::Plan(..)) {
                        turns.rested(&rest);
                    }
                }
            }
        }
        for store in turns.stores.values_mut() {
            store.is_resting = false;
        }
        let tries = std::iter::from_fn(|| turns.next()).count();
        assert_eq!(tries, IN_FLIGHT_MAX - 1);
        turns.open(&plan(1000, "another"), false);
        assert_eq!(next(&mut turns), Some(1000));
    }
}
