//! What a journal must be like, told without files: a list of records, the plans and commits that
//! were acknowledged, and what may or may not have become of the rest.
//!
//! Owns the judgement of a journal that was opened after an end of its process. What was answered
//! with success is there; of what was not answered a beginning may be there, whole calls only, and
//! stays from then on; what was refused never is.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::journal::{Checkpoint, Control, Seen};
use crate::plan::{Plan, PlanId};

/// A call as its producer knows it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) tenant: Option<&'static str>,
    pub(super) key: Option<CallKey>,
    /// The length of each record.
    pub(super) lengths: Vec<usize>,
}

/// One record of a call: the number of the call, and its place in it.
type Named = (usize, usize);

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) attempts: Vec<Attempt>,
    /// The records by position, as they were answered or found.
    records: Vec<Named>,
    /// Calls by their keys, with their first position.
    stored: BTreeMap<usize, u64>,
    /// Calls that got no answer, in the order in which they were to be written.
    unanswered: Vec<usize>,
    pub(super) settled: Positions,
    pub(super) open_plans: BTreeMap<PlanId, Plan>,
    pub(super) last_plan: PlanId,
    plans: BTreeMap<PlanId, Plan>,
    commits: BTreeSet<PlanId>,
    unanswered_plan: Option<Plan>,
    unanswered_commits: BTreeSet<PlanId>,
    /// Checkpoints that a start may find, the oldest first; the first is one that was acknowledged,
    /// or none.
    checkpoints: Vec<Option<Checkpoint>>,
    /// The one before, which a start may fall back to after it could not read the newer ones.
    checkpoint_before: Option<Checkpoint>,
    /// Whether some start since the last checkpoint may have failed to read the newest.
    pub(super) has_misread: bool,
    /// Records whose segments may be gone.
    may_be_gone: Positions,
    /// Whether the process ended with something under way.
    pub(super) had_unfinished: bool,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { checkpoints: vec![None], ..Self::default() }
    }

    /// The position after the last record that is known to be there.
    pub(super) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// The batch that a call sends each time.
    pub(super) fn batch(&self, attempt: usize) -> Batch {
        let Attempt { tenant, key, lengths } = &self.attempts[attempt];
        let tenant = tenant.map(|tenant| Tenant::new(tenant).expect("a tenant"));
        let mut batch = Batch::new(tenant, UnixMillis(0)).with_call(*key);
        (0..lengths.len()).for_each(|index| batch.push(&self.data((attempt, index))));
        batch
    }

    fn data(&self, (attempt, index): Named) -> Vec<u8> {
        let text = format!("call {attempt} record {index} ");
        let length = self.attempts[attempt].lengths[index];
        text.bytes().cycle().take(length.max(text.len())).collect()
    }

    /// Whether the call is known to be stored.
    pub(super) fn is_stored(&self, attempt: usize) -> bool {
        self.stored.contains_key(&attempt)
    }

    pub(super) fn answered(&mut self, attempt: usize, answer: Result<Appended, AppendError>) {
        let count = self.attempts[attempt].lengths.len() as u64;
        match answer {
            Ok(appended) => {
                assert_eq!(
                    appended.count, count,
                    "call {attempt} has as many records as were sent"
                );
                if let Some(first) = self.stored.get(&attempt) {
                    assert_eq!(appended.first.0, *first, "call {attempt} gets its first answer");
                    let has_key = self.attempts[attempt].key.is_some();
                    assert!(has_key && appended.is_repetition, "call {attempt} is stored once");
                } else {
                    assert!(!appended.is_repetition, "call {attempt} was not stored before");
                    assert_eq!(appended.first.0, self.end(), "positions follow each other");
                    self.store(attempt);
                }
            }
            Err(AppendError::Failed) => self.unanswered(attempt),
            Err(AppendError::BudgetUsedUp | AppendError::QueueFull) => {}
            Err(AppendError::TooLarge) => panic!("call {attempt} is small"),
        }
    }

    /// Batches that the service appends itself, one behind the other.
    pub(super) fn answered_own(
        &mut self,
        attempts: &[usize],
        answer: Result<Appended, AppendError>,
    ) {
        match answer {
            Ok(appended) => {
                assert_eq!(appended.first.0, self.end(), "positions follow each other");
                attempts.iter().for_each(|attempt| self.store(*attempt));
            }
            Err(AppendError::Failed) => {
                attempts.iter().for_each(|attempt| self.unanswered(*attempt));
            }
            Err(_) => {}
        }
    }

    fn unanswered(&mut self, attempt: usize) {
        if !self.is_stored(attempt) && !self.unanswered.contains(&attempt) {
            self.unanswered.push(attempt);
        }
    }

    fn store(&mut self, attempt: usize) {
        self.stored.insert(attempt, self.end());
        let indices = 0..self.attempts[attempt].lengths.len();
        self.records.extend(indices.map(|index| (attempt, index)));
    }

    pub(super) fn planned(&mut self, plan: Plan, answer: Result<(), AppendError>) {
        match answer {
            Ok(()) => self.adopt_plan(plan),
            Err(AppendError::Failed) => self.unanswered_plan = Some(plan),
            Err(_) => {}
        }
    }

    fn adopt_plan(&mut self, plan: Plan) {
        self.last_plan = plan.id;
        self.settled = self.settled.with(&plan.damaged);
        self.open_plans.insert(plan.id, plan.clone());
        self.plans.insert(plan.id, plan);
    }

    pub(super) fn committed(&mut self, id: PlanId, answer: Result<(), AppendError>) {
        match answer {
            Ok(()) => self.adopt_commit(id),
            Err(AppendError::Failed) => {
                self.unanswered_commits.insert(id);
            }
            Err(_) => {}
        }
    }

    fn adopt_commit(&mut self, id: PlanId) {
        self.open_plans.remove(&id);
        self.commits.insert(id);
    }

    /// The checkpoint that would be written now.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let delivered = self.commits.iter().map(|id| self.plans[id].damaged.count()).sum();
        Checkpoint {
            end: Position(self.end()),
            settled: self.settled.clone(),
            open_plans: self.open_plans.values().cloned().collect(),
            last_plan: self.last_plan,
            delivered,
            ..Checkpoint::default()
        }
    }

    /// A checkpoint was written, or may have been. `before` is the settled of the one before it in
    /// this process, `held` the records that a second reader has not let go of.
    pub(super) fn checkpointed(
        &mut self,
        checkpoint: Checkpoint,
        before: Option<&Positions>,
        held: &Positions,
        is_written: bool,
    ) {
        if let Some(before) = before {
            self.may_be_gone = self.may_be_gone.with(&before.without(held));
        }
        if is_written {
            self.checkpoint_before = self.checkpoints[0].take();
            self.checkpoints.clear();
            self.has_misread = false;
        }
        self.checkpoints.push(Some(checkpoint));
    }

    /// A second reader lets go of records that the checkpoint before the last has settled.
    pub(super) fn released(&mut self, settled: &Positions, held: &Positions) {
        self.may_be_gone = self.may_be_gone.with(&settled.without(held));
    }

    /// Judges what a start has found, and takes it for known from now on.
    pub(super) fn judge(&mut self, opened: &Opened) {
        self.judge_checkpoint(opened);
        self.judge_decisions(opened);
        let end = opened.journal.end().borrow().0;
        assert!(end >= self.end(), "the log ends at {end}, {} were answered", self.end());
        for attempt in std::mem::take(&mut self.unanswered) {
            if end > self.end() {
                self.store(attempt);
            }
        }
        assert_eq!(end, self.end(), "whole calls, and none that were refused");
        assert!(self.had_unfinished || opened.torn_bytes == 0, "{} torn bytes", opened.torn_bytes);
        assert!(opened.torn_bytes < 1 << 20, "{} torn bytes of a small log", opened.torn_bytes);
        self.had_unfinished = false;
        self.judge_records(&opened.journal);
    }

    fn judge_checkpoint(&self, opened: &Opened) {
        let found = &opened.checkpoint;
        let is_known = self.checkpoints.contains(found)
            || (self.has_misread && (*found == self.checkpoint_before || found.is_none()));
        assert!(is_known, "no such checkpoint was written: {found:?}, of {:?}", self.checkpoints);
    }

    fn judge_decisions(&mut self, opened: &Opened) {
        let checkpoint = opened.checkpoint.clone().unwrap_or_default();
        let mut plans: BTreeMap<PlanId, Plan> = BTreeMap::new();
        let mut commits = BTreeSet::new();
        for control in &opened.controls {
            match control {
                Control::Plan(plan) => {
                    let before = plans.insert(plan.id, plan.clone());
                    assert!(before.is_none_or(|before| before == *plan), "one plan, two forms");
                }
                Control::Commit(id) => {
                    commits.insert(*id);
                }
                Control::Registered(_) | Control::Spoiled { .. } => panic!("nothing of the kind"),
            }
        }
        let is_durable = |plan: &PlanId| plans.contains_key(plan) || *plan <= checkpoint.last_plan;
        for id in self.plans.keys() {
            assert!(is_durable(id), "{id:?} is forgotten");
        }
        if let Some(plan) = self.unanswered_plan.take()
            && is_durable(&plan.id)
        {
            self.adopt_plan(plan);
        }
        let known = &self.plans;
        for plan in plans.values().chain(&checkpoint.open_plans) {
            assert_eq!(known.get(&plan.id), Some(plan), "a plan that was refused");
        }
        let is_open = |id: &PlanId| checkpoint.open_plans.iter().any(|plan| plan.id == *id);
        let is_committed =
            |id: &PlanId| commits.contains(id) || (*id <= checkpoint.last_plan && !is_open(id));
        for id in &self.commits {
            assert!(is_committed(id), "the commit of {id:?} is forgotten");
        }
        for id in std::mem::take(&mut self.unanswered_commits) {
            if is_committed(&id) {
                self.adopt_commit(id);
            }
        }
        for id in self.open_plans.keys() {
            assert!(!is_committed(id), "{id:?} was never committed");
        }
        let settled = plans.values().fold(checkpoint.settled, |all, plan| all.with(&plan.damaged));
        assert_eq!(settled, self.settled, "what is settled");
    }

    /// Every record is there and whole, unless its segment may be gone.
    pub(super) fn judge_records(&self, journal: &Journal) {
        let mut missing = Positions::default();
        let visit = &mut |position: Position, found: Option<crate::record::Record<'_>>| match found
        {
            Some(found) => self.judge_record(position, found.data),
            None => missing.push(position),
        };
        let all = Positions::from_run(Position(0), self.end());
        journal.read(&all, visit).expect("it is read");
        let lost = missing.without(&self.may_be_gone);
        assert!(lost.is_empty(), "lost {lost:?}");
        self.judge_walk(journal, Position(0), Position(self.end()));
    }

    fn judge_record(&self, position: Position, data: &[u8]) {
        let named = self.records[position.0 as usize];
        assert!(data == self.data(named), "record {position} is not {named:?}");
    }

    /// A walk tells of every position once, of calls as they were sent.
    pub(super) fn judge_walk(&self, journal: &Journal, from: Position, until: Position) {
        let mut next = from;
        let visit = &mut |seen: Seen<'_>| match seen {
            Seen::Lost(run) => {
                assert_eq!(run.first, next, "a walk tells of every position");
                next = run.end();
            }
            Seen::Call(call) => {
                assert_eq!(call.first(), next, "a walk tells of every position");
                let (attempt, _) = self.records[next.0 as usize];
                let tenant = call.tenant.as_ref().map(Tenant::as_str);
                assert_eq!(tenant, self.attempts[attempt].tenant, "whose call {attempt} is");
                for (position, data) in call.records() {
                    self.judge_record(position, data.expect("a whole record"));
                    next = position.advanced_by(1);
                }
            }
        };
        let walked = journal.walk(from, until, usize::MAX, visit).expect("it is walked");
        assert_eq!(walked, next);
        assert!(next >= until, "a walk goes on to its end");
    }
}
