//! What has been decided about a stream's records, and what came of it.
//!
//! Owns the counters, the open plans, the partitions to register and, in `watched`, those of event time;
//! changes only by durable plans,
//! commits, registrations and losses, in memory exactly as in a replay. Applying one of them twice has no
//! effect, so a replay may begin anywhere before the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::Progress;
use super::watched::Watched;
use crate::journal::{Checkpoint, Control, Opened};
use crate::plan::{CatalogPartition, ObjectKind, Plan, PlanId, PlannedObject};
use crate::positions::Positions;
use crate::record::Position;

/// The state of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) progress: Progress,
    open_plans: BTreeMap<PlanId, Plan>,
    last_plan: PlanId,
    delivered: u64,
    failed: u64,
    dropped: u64,
    damaged: u64,
    transformed: u64,
    left_out: u64,
    /// How far the transform has come, as entries that were read and plans say.
    source_end: Position,
    unregistered: BTreeSet<CatalogPartition>,
    watched: Watched,
}

/// Records by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
    pub(super) damaged: u64,
    /// In the scratch log, where their parts are counted.
    pub(super) transformed: u64,
    /// Accepted before this leg began.
    pub(super) left_out: u64,
    /// In objects of open plans.
    pub(super) in_plans: u64,
}

impl Counts {
    /// Records that the leg has nothing more to do with.
    pub(super) fn ended(&self) -> u64 {
        let Self { delivered, failed, dropped, damaged, transformed, left_out, .. } = self;
        delivered + failed + dropped + damaged + transformed + left_out
    }
}

impl State {
    /// The state that a checkpoint and the decisions around and after it lead to.
    pub(super) fn replay(checkpoint: Option<Checkpoint>, controls: Vec<Control>) -> Self {
        let checkpoint = checkpoint.unwrap_or_default();
        let watched = Watched::of(&checkpoint);
        let numbered = checkpoint.open_plans.into_iter().map(|plan| (plan.id, plan));
        let mut state = Self {
            progress: Progress::new(&checkpoint.settled),
            open_plans: numbered.collect(),
            last_plan: checkpoint.last_plan,
            delivered: checkpoint.delivered,
            failed: checkpoint.failed,
            dropped: checkpoint.dropped,
            damaged: checkpoint.damaged,
            transformed: checkpoint.transformed,
            left_out: checkpoint.left_out,
            source_end: checkpoint.source_end,
            unregistered: checkpoint.unregistered.into_iter().collect(),
            watched,
        };
        controls.into_iter().for_each(|control| state.apply(control));
        state
    }

    /// A decision that was read.
    pub(super) fn apply(&mut self, control: Control) {
        match control {
            Control::Plan(plan) => self.planned(plan),
            Control::Commit(id) => {
                self.committed(id);
            }
            Control::Registered(partition) => self.registered(&partition),
            Control::Spoiled { plan, objects } => {
                self.spoiled(plan, objects.into_iter().map(|index| index as usize));
            }
        }
    }

    pub(super) fn checkpoint(&self, end: Position) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            end,
            settled: self.progress.settled(),
            open_plans: self.open_plans.values().cloned().collect(),
            last_plan: self.last_plan,
            delivered: self.delivered,
            failed: self.failed,
            dropped: self.dropped,
            damaged: self.damaged,
            transformed: self.transformed,
            left_out: self.left_out,
            source_end: self.source_end,
            unregistered: self.unregistered.iter().cloned().collect(),
            ..Checkpoint::default()
        };
        self.watched.write_into(&mut checkpoint);
        checkpoint
    }

    pub(super) fn next_plan(&self) -> PlanId {
        PlanId(self.last_plan.0 + 1)
    }

    /// A plan is durable, or the new keys of one.
    pub(super) fn planned(&mut self, mut plan: Plan) {
        let (id, spoiled) = (plan.id, plan.spoiled().collect::<Vec<_>>());
        let is_new = id > self.last_plan;
        let open = self.open_plans.get(&id);
        if !is_new && open.is_none_or(|open| open.renamed() >= plan.renamed()) {
            // It is known already.
            return;
        }
        // The same objects under keys that nobody else has: what is lost of them stays so.
        for (index, object) in plan.objects.iter_mut().enumerate() {
            let known = open.and_then(|open| open.objects.get(index));
            object.header.spoiled = known.is_some_and(|object| object.header.spoiled);
        }
        if is_new {
            self.last_plan = id;
            self.source_end = self.source_end.max(plan.source_end);
            for object in &plan.objects {
                self.progress.settle(&object.positions);
                self.watched.planned(&object.header);
            }
            self.damaged += self.progress.settle(&plan.damaged);
        }
        if !plan.objects.is_empty() {
            self.open_plans.insert(id, plan);
        }
        self.spoiled(id, spoiled);
    }

    /// The disk has lost objects of an open plan, and that is durable. Tells those that were not
    /// known to be lost.
    pub(super) fn spoiled(
        &mut self,
        id: PlanId,
        objects: impl IntoIterator<Item = usize>,
    ) -> Vec<PlannedObject> {
        let Some(plan) = self.open_plans.get_mut(&id) else {
            return Vec::new();
        };
        let mut lost = Vec::new();
        for index in objects {
            if let Some(object) = plan.objects.get_mut(index)
                && !std::mem::replace(&mut object.header.spoiled, true)
            {
                self.damaged += object.positions.count();
                self.watched.spoiled(&object.header);
                lost.push(object.clone());
            }
        }
        lost
    }

    /// Durable entries say that a transform dropped these.
    pub(super) fn dropped(&mut self, positions: &Positions) {
        self.dropped += self.progress.settle(positions);
    }

    /// Durable entries of the scratch log stand for these records.
    pub(super) fn transformed(&mut self, positions: &Positions) {
        self.transformed += self.progress.settle(positions);
    }

    /// Those of these that are not settled yet are none of this leg's records.
    pub(super) fn left_out(&mut self, positions: &Positions) {
        self.left_out += self.progress.settle(positions);
    }

    /// Entries up to here have been seen.
    pub(super) fn source_seen(&mut self, end: Position) {
        self.source_end = self.source_end.max(end);
    }

    pub(super) fn source_end(&self) -> Position {
        self.source_end
    }

    /// The objects of a plan are in their stores, and the commit is durable. Tells the plan, when
    /// it was open.
    pub(super) fn committed(&mut self, id: PlanId) -> Option<Plan> {
        // Also when the disk has lost the plan: its number in another plan would make this the end
        // of that one.
        self.last_plan = self.last_plan.max(id);
        let plan = self.open_plans.remove(&id)?;
        for object in plan.objects.iter().filter(|object| !object.header.spoiled) {
            let count = object.positions.count();
            match object.header.kind {
                ObjectKind::Data => self.delivered += count,
                ObjectKind::Error => self.failed += count,
                ObjectKind::Marker | ObjectKind::Notice => {}
            }
            self.watched.committed(&object.header);
            self.unregistered.extend(object.header.partition.clone());
        }
        Some(plan)
    }

    /// A partition is in its catalog.
    pub(super) fn registered(&mut self, partition: &CatalogPartition) {
        self.unregistered.remove(partition);
    }

    pub(super) fn open_plans(&self) -> &BTreeMap<PlanId, Plan> {
        &self.open_plans
    }

    pub(super) fn unregistered(&self) -> &BTreeSet<CatalogPartition> {
        &self.unregistered
    }

    /// The partitions of event time.
    pub(super) fn watched(&self) -> &Watched {
        &self.watched
    }

    pub(super) fn watched_mut(&mut self) -> &mut Watched {
        &mut self.watched
    }

    /// Whether a plan is open that tells the end of partitions.
    pub(super) fn is_telling(&self) -> bool {
        let mut objects = self.open_plans.values().flat_map(|plan| &plan.objects);
        objects.any(|object| matches!(object.header.kind, ObjectKind::Marker | ObjectKind::Notice))
    }

    pub(super) fn counts(&self) -> Counts {
        let objects = self.open_plans.values().flat_map(|plan| &plan.objects);
        let objects = objects.filter(|object| !object.header.spoiled);
        Counts {
            delivered: self.delivered,
            failed: self.failed,
            dropped: self.dropped,
            damaged: self.damaged,
            transformed: self.transformed,
            left_out: self.left_out,
            in_plans: objects.map(|object| object.positions.count()).sum(),
        }
    }

    /// Whether everything before `position` is in a store or counted as damaged.
    pub(super) fn is_done_until(&self, position: Position) -> bool {
        let begins_before = |positions: &Positions| positions.first().is_some_and(|p| p < position);
        let mut open = self.open_plans.values().flat_map(Plan::settled);
        self.progress.low() >= position && !open.any(begins_before)
    }
}

/// Plans that the disk has lost, as their first and last numbers: those that the decisions after a
/// checkpoint pass over, and those of which only the end is left.
pub(super) fn missing_plans(
    checkpoint: Option<&Checkpoint>,
    controls: &[Control],
) -> Vec<(PlanId, PlanId)> {
    let mut next = checkpoint.map_or(0, |checkpoint| checkpoint.last_plan.0) + 1;
    let mut missing = Vec::new();
    for control in controls {
        let (id, missing_until) = match control {
            Control::Plan(plan) => (plan.id.0, plan.id.0),
            Control::Commit(id) | Control::Spoiled { plan: id, .. } => (id.0, id.0 + 1),
            Control::Registered(_) => continue,
        };
        if missing_until > next {
            missing.push((PlanId(next), PlanId(missing_until - 1)));
        }
        next = next.max(id + 1);
    }
    missing
}

/// The position after every record that a log and its decisions know of.
pub(super) fn known_end(opened: &Opened) -> Position {
    let settled = opened.checkpoint.iter().map(|checkpoint| checkpoint.settled.end());
    let planned = opened.controls.iter().filter_map(|control| match control {
        Control::Plan(plan) => plan.settled().map(Positions::end).max(),
        _ => None,
    });
    settled.chain(planned).fold(*opened.journal.end().borrow(), Position::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ObjectHeader, PlannedObject, Target};

    fn object(kind: ObjectKind, first: u64, count: u64) -> PlannedObject {
        let target = Target { store: "s".into(), url: "u".into(), endpoint: None, region: None };
        let partition = CatalogPartition {
            catalog: "c".into(),
            database: "d".into(),
            table: "t".into(),
            values: vec![first.to_string()],
            location: "l".into(),
        };
        let header = ObjectHeader {
            kind,
            target,
            key: format!("{first}"),
            offset: 0,
            size_bytes: 1,
            sha256: String::new(),
            row_count: count,
            tenant: None,
            content_encoding: None,
            partition: (kind == ObjectKind::Data).then_some(partition),
            event: None,
            renamed: 0,
            spoiled: false,
        };
        PlannedObject { header, positions: Positions::from_run(Position(first), count) }
    }

    fn plan(id: u64, objects: Vec<PlannedObject>, damaged: Positions) -> Plan {
        Plan { id: PlanId(id), objects, damaged, source_end: Position(0) }
    }

    fn renamed(plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        let header = &mut plan.objects[0].header;
        header.key.push_str("-again");
        header.renamed += 1;
        plan
    }

    fn history() -> Vec<Control> {
        let first = plan(
            1,
            vec![object(ObjectKind::Data, 0, 5), object(ObjectKind::Error, 5, 2)],
            Positions::from_run(Position(7), 1),
        );
        let second = plan(2, vec![object(ObjectKind::Data, 8, 2)], Positions::default());
        let partition = first.objects[0].header.partition.clone();
        let renamed = renamed(&second);
        vec![
            Control::Plan(first),
            Control::Plan(second),
            Control::Plan(renamed),
            Control::Commit(PlanId(1)),
            Control::Registered(partition.expect("rows have a partition")),
        ]
    }

    #[test]
    fn every_accepted_record_is_counted_once_at_every_step() {
        let mut controls = Vec::new();
        for control in history() {
            controls.push(control);
            let state = State::replay(None, controls.clone());
            let counts = state.counts();
            let unsettled = state.progress.unsettled_between(Position(0), Position(12));
            assert_eq!(counts.ended() + counts.in_plans + unsettled, 12, "{controls:?}");
        }
        let counts = State::replay(None, controls).counts();
        let expected =
            Counts { delivered: 5, failed: 2, damaged: 1, in_plans: 2, ..Counts::default() };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_replay_from_any_checkpoint_leads_to_the_same_state() {
        let end = Position(12);
        let whole = State::replay(None, history()).checkpoint(end);
        for cut in 0..=history().len() {
            let before = State::replay(None, history()[..cut].to_vec()).checkpoint(end);
            assert_eq!(State::replay(Some(before), history()).checkpoint(end), whole, "{cut}");
        }
    }

    #[test]
    fn the_newest_keys_of_a_plan_hold_in_whatever_order_they_are_heard_of() {
        let old = plan(1, vec![object(ObjectKind::Data, 0, 5)], Positions::default());
        let new = renamed(&old);
        for order in [[&old, &new, &old], [&old, &new, &new]] {
            let controls = order.map(|plan| Control::Plan(plan.clone())).to_vec();
            let mut state = State::replay(None, controls);
            assert_eq!(state.open_plans()[&PlanId(1)], new);
            assert_eq!(state.counts().in_plans, 5);
            state.committed(PlanId(1));
            state.planned(renamed(&new));
            assert!(state.open_plans().is_empty(), "what is delivered stays so");
            assert_eq!(state.counts().delivered, 5);
        }
    }

    #[test]
    fn what_is_lost_of_a_plan_is_damaged_once_in_whatever_order_it_is_heard_of() {
        let objects = vec![object(ObjectKind::Data, 0, 5), object(ObjectKind::Error, 5, 2)];
        let old = plan(1, objects, Positions::default());
        let new = renamed(&old);
        let spoiled = Control::Spoiled { plan: PlanId(1), objects: vec![0] };
        let mut told = new.clone();
        told.objects[0].header.spoiled = true;
        let [old, new, told] = [old, new, told].map(Control::Plan);
        let commit = Control::Commit(PlanId(1));
        for order in [
            vec![old.clone(), spoiled.clone(), spoiled.clone()],
            vec![old.clone(), new.clone(), spoiled.clone(), old.clone()],
            vec![old.clone(), spoiled.clone(), new.clone()],
            vec![old.clone(), told.clone(), spoiled.clone()],
            vec![told, old.clone()],
        ] {
            for cut in 0..=order.len() {
                let before = State::replay(None, order[..cut].to_vec()).checkpoint(Position(7));
                let mut state = State::replay(Some(before), order.clone());
                let expected = Counts { damaged: 5, in_plans: 2, ..Counts::default() };
                assert_eq!(state.counts(), expected, "{order:?}");
                state.apply(commit.clone());
                let expected = Counts { damaged: 5, failed: 2, ..Counts::default() };
                assert_eq!(state.counts(), expected, "{order:?}");
                assert!(state.unregistered().is_empty(), "the lost object had the partition");
                state.apply(spoiled.clone());
                assert_eq!(state.counts(), expected, "what is delivered stays so");
            }
        }
    }

    #[test]
    fn the_number_of_a_plan_that_only_its_end_is_left_of_is_not_used_again() {
        let first = plan(1, vec![object(ObjectKind::Data, 0, 5)], Positions::default());
        let controls = vec![Control::Plan(first), Control::Commit(PlanId(2))];
        assert_eq!(missing_plans(None, &controls), [(PlanId(2), PlanId(2))]);
        let state = State::replay(None, controls.clone());
        assert_eq!(state.next_plan(), PlanId(3));
        let known = state.checkpoint(Position(9));
        assert_eq!(missing_plans(Some(&known), &controls), []);
        let fourth = plan(4, vec![object(ObjectKind::Data, 5, 4)], Positions::default());
        let later = [Control::Plan(fourth)];
        assert_eq!(missing_plans(Some(&known), &later), [(PlanId(3), PlanId(3))]);
    }

    #[test]
    fn done_means_committed_not_planned() {
        let mut state = State::replay(None, history());
        assert!(state.is_done_until(Position(8)));
        assert!(!state.is_done_until(Position(9)));
        state.committed(PlanId(2));
        assert!(state.is_done_until(Position(10)));
        assert!(!state.is_done_until(Position(11)));
    }
}
