//! What has been decided about a stream's records, and what came of it.
//!
//! Owns the counters, the open plans and the partitions to register; changes only by durable plans,
//! commits and registrations, in memory exactly as in a replay. Applying one of them twice has no
//! effect, so a replay may begin anywhere before the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::Progress;
use crate::journal::{Checkpoint, Control};
use crate::plan::{CatalogPartition, ObjectKind, Plan, PlanId};
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
        }
    }

    pub(super) fn checkpoint(&self, end: Position) -> Checkpoint {
        Checkpoint {
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
        }
    }

    pub(super) fn next_plan(&self) -> PlanId {
        PlanId(self.last_plan.0 + 1)
    }

    /// A plan is durable, or the new keys of one.
    pub(super) fn planned(&mut self, plan: Plan) {
        if plan.id <= self.last_plan {
            // What is known already, or the same objects under keys that nobody else has.
            if let Some(open) = self.open_plans.get_mut(&plan.id)
                && open.renamed() < plan.renamed()
            {
                *open = plan;
            }
            return;
        }
        self.last_plan = plan.id;
        self.source_end = self.source_end.max(plan.source_end);
        for object in &plan.objects {
            self.progress.settle(&object.positions);
        }
        self.damaged += self.progress.settle(&plan.damaged);
        if !plan.objects.is_empty() {
            self.open_plans.insert(plan.id, plan);
        }
    }

    /// Durable entries say that a transform dropped these.
    pub(super) fn dropped(&mut self, positions: &Positions) {
        self.dropped += self.progress.settle(positions);
    }

    /// Durable entries of the scratch log stand for these records.
    pub(super) fn transformed(&mut self, positions: &Positions) {
        self.transformed += self.progress.settle(positions);
    }

    /// These are none of this leg's records.
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
        let plan = self.open_plans.remove(&id)?;
        for object in &plan.objects {
            let count = object.positions.count();
            match object.header.kind {
                ObjectKind::Data => self.delivered += count,
                ObjectKind::Error => self.failed += count,
            }
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

    pub(super) fn counts(&self) -> Counts {
        let objects = self.open_plans.values().flat_map(|plan| &plan.objects);
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
            renamed: 0,
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
    fn done_means_committed_not_planned() {
        let mut state = State::replay(None, history());
        assert!(state.is_done_until(Position(8)));
        assert!(!state.is_done_until(Position(9)));
        state.committed(PlanId(2));
        assert!(state.is_done_until(Position(10)));
        assert!(!state.is_done_until(Position(11)));
    }
}
