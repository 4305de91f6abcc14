//! What runs beside the loop of a leg: how each step begins.
//!
//! Owns what a step is given and takes along. When one begins is the loop's; what comes of it stands in
//! `outcomes`.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::super::delivery::{Delivery, TOLD_OBJECTS_MAX};
use super::super::freeze::FreezeError;
use super::super::loan::Loan;
use super::super::registration::register;
use super::super::round::memory_bytes;
use super::super::transforms::BATCH_RECORDS_MAX;
use super::super::turns::TurnEnd;
use super::super::{blocking, repeat, rest_after};
use super::Leg;
use super::outcomes::Done;
use crate::journal::{AppendError, Control};
use crate::partition::renamed;
use crate::plan::PlanId;
use crate::record::Position;

/// Objects that may wait for their store; beyond it records wait in the journal, as they came. Each
/// stands in every checkpoint,
const OPEN_OBJECTS_MAX: usize = 100_000;
/// and takes about so much, there and in memory.
const OPEN_OBJECT_BYTES: usize = 1 << 10;

impl Leg {
    /// Counts what is under way, also when that has become nothing.
    pub(super) fn count_memory(&mut self) {
        self.hooks_memory.set(self.transforms.memory_bytes());
        self.plans_memory.set(self.open_objects() * OPEN_OBJECT_BYTES);
    }

    fn open_objects(&self) -> usize {
        self.state.open_plans().values().map(|plan| plan.objects.len()).sum()
    }

    pub(super) fn start_transforms(&mut self) {
        while let Some(transformer) = &self.transformer
            && self.transforms.has_room(&transformer.scratch, &self.surroundings.budget)
            // What comes behind a rest gives nothing back before it.
            && (self.transforms.has_rest() || !self.hooks_memory.is_too_much())
        {
            let ticket = match self.transforms.begin_rest() {
                Some(ticket) => ticket,
                None => match self.collector.pop(BATCH_RECORDS_MAX) {
                    Some(batch) => self.transforms.begin(batch.positions, batch.data_bytes),
                    None => break,
                },
            };
            self.start_transform(ticket);
            self.hooks_memory.set(self.transforms.memory_bytes());
        }
    }

    pub(super) fn start_transform(&mut self, ticket: u64) {
        let transforms = &mut self.transforms;
        let begin = |transformer| transforms.transform(ticket, transformer);
        if let Some(transform) = self.transformer.clone().and_then(begin) {
            let task = self.work.spawn(async move { Done::Transformed(ticket, transform.await) });
            self.transforms.started(ticket, task);
        }
    }

    pub(super) fn start_append(&mut self) {
        if let Some(transformer) = &self.transformer
            && let Some(append) = self.transforms.append(&transformer.scratch)
        {
            self.work.spawn(async move {
                let (positions, appended) = append.await;
                Done::Appended(positions, appended)
            });
        }
    }

    /// Unless the disk has no room for what would be frozen, and there is something frozen already
    /// whose delivery makes room; or more objects wait for their store than a checkpoint should carry.
    pub(super) fn start_freeze(&mut self) {
        if self.open_objects() >= OPEN_OBJECTS_MAX || self.plans_memory.is_too_much() {
            return;
        }
        // What turned out larger than expected is not converted again before there is room for it.
        let bytes = self.collector.next_round_bytes().max(self.known_round_bytes);
        let budget = &self.surroundings.budget;
        let Some(loan) = Loan::take(budget, bytes, self.state.open_plans().is_empty()) else {
            return;
        };
        self.freezing = true;
        let (batches, lost) = self.collector.take_round();
        let in_batches: u64 = batches.iter().map(|batch| batch.positions.count()).sum();
        self.freezing_records = in_batches + lost.count();
        let batches = Arc::new(batches);
        let (freezer, id) = (self.freezer.clone(), self.state.next_plan());
        let source_end = self.state.source_end();
        let pool = self.surroundings.pool.clone();
        let recipe = &self.freezer.converter.recipe;
        let memory_bytes =
            memory_bytes(&batches, &recipe.format, recipe.object_bytes, pool.threads());
        self.work.spawn(async move {
            let memory = pool.memory(memory_bytes).await;
            let plan = freezer.freeze(id, batches.clone(), lost.clone(), source_end, loan).await;
            // Others need not wait for the rest after a failure.
            drop(memory);
            let plan =
                rest_after(plan, |error| !matches!(error, FreezeError::Plan(AppendError::Failed)));
            Done::Planned { batches, lost, plan: plan.await }
        });
    }

    pub(super) fn start_deliveries(&mut self) {
        while let Some((id, turn)) = self.turns.next() {
            let Some(plan) = self.state.open_plans().get(&id) else {
                self.turns.delivered(id);
                continue;
            };
            let headers: Vec<_> = plan.objects.iter().map(|object| object.header.clone()).collect();
            let delivery = Delivery {
                role: self.role,
                stream: self.surroundings.stream.clone(),
                stores: self.surroundings.stores.clone(),
                outbox: self.outbox.clone(),
                troubles: self.troubles.clone(),
                metrics: self.surroundings.metrics.clone(),
                room: self.room.clone(),
                plan: id,
                turn,
                is_told_as_a_whole: headers.len() > TOLD_OBJECTS_MAX,
                webhook: self.completion().and_then(|completion| completion.webhook.clone()),
            };
            let journal = self.log.clone();
            self.work.spawn(async move {
                let end = delivery.run(&headers).await;
                if !end.spoiled.is_empty()
                    && let Err(error) = delivery.give_up(&journal, &end.spoiled).await
                {
                    return Done::Committed(id, BTreeSet::new(), Err(error));
                }
                if !delivery.has_all(&headers, &end) {
                    return Done::NotDelivered(id, end);
                }
                let committed = repeat(async || journal.append_control(&Control::Commit(id)).await);
                Done::Committed(id, end.spoiled, committed.await)
            });
        }
    }

    /// Gives other keys to the objects of a plan whose keys are taken; nothing of them was put.
    pub(super) fn start_renaming(&mut self, id: PlanId, end: TurnEnd) {
        let Some(mut plan) = self.state.open_plans().get(&id).cloned() else {
            self.turns.delivered(id);
            return;
        };
        for index in &end.taken {
            let header = &mut plan.objects[*index].header;
            header.key = renamed(&header.key, Uuid::new_v4().as_u128());
            header.renamed += 1;
        }
        self.renaming += 1;
        let journal = self.log.clone();
        self.work.spawn(async move {
            let control = Control::Plan(plan);
            let appended = repeat(async || journal.append_control(&control).await).await;
            let Control::Plan(plan) = control else { unreachable!("it was made as a plan") };
            Done::Renamed { plan, end, appended }
        });
    }

    pub(super) fn rest(&mut self, id: PlanId, end: &TurnEnd) {
        for (pause, rest) in self.turns.not_delivered(id, end) {
            self.work.spawn(async move {
                tokio::time::sleep(pause).await;
                Done::Rested(rest)
            });
        }
    }

    pub(super) fn start_registration(&mut self) {
        let per_call = |name: &str| {
            let catalog = self.catalogs.get(name);
            catalog.map_or(1, |catalog| catalog.partitions_per_call())
        };
        let Some(partitions) = self.registrations.next(self.state.unregistered(), &per_call) else {
            return;
        };
        let name = partitions[0].catalog.clone();
        self.registering = true;
        let catalog = self.catalogs.get(&name).cloned();
        let journal = self.log.clone();
        self.work.spawn(async move {
            let result = register(catalog, &name, &partitions, &journal).await;
            Done::Registered { catalog: name, result }
        });
    }

    pub(super) fn start_seal(&mut self, end: Position) {
        self.sealing = true;
        let journal = self.log.clone();
        self.work.spawn(async move {
            let sealed = repeat(async || journal.seal().await).await;
            Done::Sealed(end, sealed)
        });
    }

    /// What is known of the sizes of objects, to be left for the next start.
    pub(super) fn leave_sizes(&mut self) -> impl FnOnce() + Send + use<> {
        let (sizes, recipe) = (self.sizes.clone(), self.freezer.converter.recipe.clone());
        let aim = self.collector.aim().clone();
        move || {
            if let Some(aim) = aim {
                sizes.leave(&aim, &recipe);
            }
        }
    }

    pub(super) fn start_checkpoint(&mut self, end: Position) {
        self.checkpointing = true;
        self.checkpoints_due -= 1;
        self.checkpointed_at = self.surroundings.clock.steady();
        let (checkpoint, mark) = (self.state.checkpoint(end), self.log.mark());
        self.checkpointed_mark = mark;
        let (journal, outbox) = (self.log.clone(), self.outbox.clone());
        let committed = std::mem::take(&mut self.committed);
        let held_until = std::mem::replace(&mut self.held_until, checkpoint.settled.clone());
        let hold = self.hold.clone();
        let leave_sizes = self.leave_sizes();
        self.work.spawn(async move {
            let plans = committed.clone();
            let written = blocking(move || {
                journal.checkpoint(&checkpoint, mark)?;
                leave_sizes();
                // Another log's segments go like our own: on the word of the checkpoint before.
                hold.map_or(Ok(()), |hold| hold.release(held_until))?;
                plans.into_iter().try_for_each(|plan| outbox.remove(plan))
            });
            Done::Checkpointed { committed, written: rest_after(written.await, |_| true).await }
        });
    }
}
