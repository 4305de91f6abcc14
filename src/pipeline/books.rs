//! What has been decided about the records of a leg, for those who only look.
//!
//! Owns the same state that a leg has, made from the same checkpoint and decisions, and what is odd
//! about them: a decision that is missing, a record in two plans, counts that do not add up. Changes
//! nothing on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{Content, Entry};
use super::state::State;
use crate::journal::{Checkpoint, Control};
use crate::plan::{ObjectKind, Plan, PlanId};
use crate::positions::Positions;
use crate::record::Position;

/// The books of a stream as they stand at one instant, leg by leg, for a recount of its store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamBooks {
    /// The stamp that its footers bear, in hex.
    pub stamp: String,
    /// The leg that begins at what producers sent.
    pub records: LegBooks,
    /// The leg of what hooks made of that.
    pub parts: Option<LegBooks>,
    /// The leg of the raw source backup.
    pub backup: Option<LegBooks>,
}

/// The books of one leg as they stand at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegBooks {
    /// The position after the last record.
    pub end: Position,
    /// Records that are planned or have ended.
    pub settled: Positions,
    /// Objects of plans without a commit: some may be in their store.
    pub open: Vec<OpenObject>,
    /// Records in committed objects of rows.
    pub delivered: u64,
    /// Records in committed objects of failures.
    pub failed: u64,
    /// Records that a transform dropped.
    pub dropped: u64,
    /// Records that the disk lost.
    pub damaged: u64,
}

/// An object of a plan without a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenObject {
    /// Its plan.
    pub plan: PlanId,
    /// What it is for.
    pub kind: ObjectKind,
    /// Its key below the target's URL.
    pub key: String,
    /// Its records.
    pub positions: Positions,
}

impl LegBooks {
    /// What a checkpoint, or the state that would be one, says.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let open = checkpoint.open_plans.iter().flat_map(|plan| {
            let objects = plan.objects.iter().filter(|object| !object.header.spoiled);
            objects.map(|object| OpenObject {
                plan: plan.id,
                kind: object.header.kind,
                key: object.header.key.clone(),
                positions: object.positions.clone(),
            })
        });
        Self {
            end: checkpoint.end,
            settled: checkpoint.settled.clone(),
            open: open.collect(),
            delivered: checkpoint.delivered,
            failed: checkpoint.failed,
            dropped: checkpoint.dropped,
            damaged: checkpoint.damaged,
        }
    }

    /// The settled records that are in no open plan: what has come of them is certain.
    #[must_use]
    pub fn committed(&self) -> Positions {
        let mut open: Vec<_> =
            self.open.iter().flat_map(|object| object.positions.runs()).collect();
        open.sort_unstable_by_key(|run| run.first);
        let mut positions = Positions::default();
        for run in open {
            let first = run.first.max(positions.end());
            positions.push_run(first, run.end().0.saturating_sub(first.0));
        }
        self.settled.without(&positions)
    }

    /// Records in objects of one kind of open plans.
    #[must_use]
    pub fn open_records(&self, kind: ObjectKind) -> u64 {
        let objects = self.open.iter().filter(|object| object.kind == kind);
        objects.map(|object| object.positions.count()).sum()
    }
}

/// The books of one leg.
#[derive(Debug)]
pub struct Books {
    state: State,
    /// Whether it is known which plan comes first.
    is_complete: bool,
}

/// Something in the decisions that no writer of ours brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// Plans between two that are there.
    MissingPlans {
        /// The first of them.
        first: PlanId,
        /// The last of them.
        last: PlanId,
    },
    /// The end of a plan that is not there.
    StrayCommit(PlanId),
    /// Records that an earlier plan has settled already.
    PlannedTwice {
        /// The later plan.
        plan: PlanId,
        /// How many records.
        records: u64,
    },
    /// The counts of the checkpoint differ from its settled records by so many.
    Unbalanced {
        /// What was settled.
        settled: u64,
        /// What its counts and open plans account for.
        counted: u64,
    },
    /// The checkpoint has settled records after the end that it names.
    SettledBeyondEnd {
        /// That end.
        end: Position,
    },
}

impl Books {
    /// Begins with what a checkpoint says. Without one the log must tell everything from its first
    /// plan on, which `is_complete` says.
    pub fn new(
        checkpoint: Option<Checkpoint>,
        is_complete: bool,
        odd: &mut dyn FnMut(Oddity),
    ) -> Self {
        let end = checkpoint.as_ref().map(|checkpoint| checkpoint.end);
        let state = State::replay(checkpoint, Vec::new());
        let counts = state.counts();
        let counted = counts.ended() + counts.in_plans;
        let settled = state.progress.settled();
        if settled.count() != counted {
            odd(Oddity::Unbalanced { settled: settled.count(), counted });
        }
        if let Some(end) = end
            && settled.end() > end
        {
            odd(Oddity::SettledBeyondEnd { end });
        }
        Self { is_complete: is_complete || end.is_some(), state }
    }

    /// Takes a decision, in the order in which they were made; those that the checkpoint knows
    /// change nothing.
    pub fn apply(&mut self, control: Control, odd: &mut dyn FnMut(Oddity)) {
        let next = self.state.next_plan();
        match &control {
            Control::Plan(plan) if plan.id >= next => {
                if plan.id > next && self.is_complete {
                    odd(Oddity::MissingPlans { first: next, last: PlanId(plan.id.0 - 1) });
                }
                self.is_complete = true;
                let planned: u64 = plan.settled().map(Positions::count).sum();
                let before = self.state.progress.settled_count();
                let id = plan.id;
                self.state.apply(control);
                let settled = self.state.progress.settled_count() - before;
                if settled < planned {
                    odd(Oddity::PlannedTwice { plan: id, records: planned - settled });
                }
                return;
            }
            Control::Commit(id) | Control::Spoiled { plan: id, .. }
                if *id >= next && self.is_complete =>
            {
                odd(Oddity::StrayCommit(*id));
            }
            _ => {}
        }
        self.state.apply(control);
    }

    /// Everything before `end` stands transformed in the next log.
    pub fn transformed_until(&mut self, end: Position) {
        self.state.transformed(&Positions::from_run(Position(0), end.0));
    }

    /// The records that are settled: planned, dropped, damaged, transformed, or none of the leg's.
    #[must_use]
    pub fn settled(&self) -> Positions {
        self.state.progress.settled()
    }

    /// Plans whose objects are not known to be in their store.
    #[must_use]
    pub fn open_plans(&self) -> &BTreeMap<PlanId, Plan> {
        self.state.open_plans()
    }

    /// The last plan.
    #[must_use]
    pub fn last_plan(&self) -> PlanId {
        PlanId(self.state.next_plan().0 - 1)
    }

    /// Of a leg of transformed records: how far the transform had come, as its decisions say.
    #[must_use]
    pub fn source_end(&self) -> Position {
        self.state.source_end()
    }

    /// All of it, as a checkpoint at `end` would have it.
    #[must_use]
    pub fn checkpoint(&self, end: Position) -> Checkpoint {
        self.state.checkpoint(end)
    }
}

/// The record that an entry of a scratch log came from; `None` when the bytes are no entry.
#[must_use]
pub fn entry_source(bytes: &[u8]) -> Option<Position> {
    Entry::decode(bytes).map(|entry| entry.source)
}

/// The same, and whether anything is to be delivered of the entry.
#[must_use]
pub fn entry_outcome(bytes: &[u8]) -> Option<(Position, bool)> {
    let Entry { source, content } = Entry::decode(bytes)?;
    Some((source, matches!(content, Content::Part { .. } | Content::Failed { .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ObjectHeader, ObjectKind, PlannedObject, Target};

    fn plan(id: u64, first: u64, count: u64) -> Control {
        let target = Target { store: "s".into(), url: "u".into(), endpoint: None, region: None };
        let header = ObjectHeader {
            kind: ObjectKind::Data,
            target,
            key: "k".into(),
            offset: 0,
            size_bytes: 1,
            sha256: String::new(),
            row_count: count,
            tenant: None,
            content_encoding: None,
            partition: None,
            event: None,
            renamed: 0,
            spoiled: false,
        };
        let positions = Positions::from_run(Position(first), count);
        Control::Plan(Plan {
            id: PlanId(id),
            objects: vec![PlannedObject { header, positions }],
            damaged: Positions::default(),
            source_end: Position(0),
        })
    }

    fn oddities(checkpoint: Option<Checkpoint>, controls: Vec<Control>) -> Vec<Oddity> {
        let mut found = Vec::new();
        let mut odd = |oddity| found.push(oddity);
        let mut books = Books::new(checkpoint, true, &mut odd);
        controls.into_iter().for_each(|control| books.apply(control, &mut odd));
        found
    }

    #[test]
    fn decisions_in_order_are_nothing_odd_also_when_the_checkpoint_knows_them() {
        let decisions = vec![plan(1, 0, 5), plan(2, 7, 3), Control::Commit(PlanId(1))];
        assert_eq!(oddities(None, decisions.clone()), []);
        let mut books = Books::new(None, true, &mut |odd| panic!("{odd:?}"));
        decisions.iter().cloned().for_each(|c| books.apply(c, &mut |odd| panic!("{odd:?}")));
        assert_eq!(oddities(Some(books.checkpoint(Position(12))), decisions), []);
    }

    #[test]
    fn what_no_writer_does_is_odd() {
        let missing = Oddity::MissingPlans { first: PlanId(2), last: PlanId(3) };
        assert_eq!(oddities(None, vec![plan(1, 0, 5), plan(4, 5, 5)]), [missing]);
        let stray = Oddity::StrayCommit(PlanId(2));
        assert_eq!(oddities(None, vec![plan(1, 0, 5), Control::Commit(PlanId(2))]), [stray]);
        let twice = Oddity::PlannedTwice { plan: PlanId(2), records: 2 };
        assert_eq!(oddities(None, vec![plan(1, 0, 5), plan(2, 3, 5)]), [twice]);
        let settled = Positions::from_run(Position(0), 5);
        let wrong = Checkpoint { end: Position(4), settled, delivered: 4, ..Checkpoint::default() };
        let unbalanced = Oddity::Unbalanced { settled: 5, counted: 4 };
        let beyond = Oddity::SettledBeyondEnd { end: Position(4) };
        assert_eq!(oddities(Some(wrong), vec![]), [unbalanced, beyond]);
    }
}
