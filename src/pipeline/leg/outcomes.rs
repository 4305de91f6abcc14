//! What comes of the steps of a leg, and what follows from it for its state.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::super::collector::as_runs;
use super::super::delivery::TOLD_OBJECTS_MAX;
use super::super::freeze::FreezeError;
use super::super::intake::Stretch;
use super::super::loan::NoRoom;
use super::super::orders::Surroundings;
use super::super::registration::{RegisterError, Report};
use super::super::round::{Batch, divided};
use super::super::sizes::planned;
use super::super::transformer::Became;
use super::super::turns::{Rest, TurnEnd};
use super::Leg;
use crate::catalog::Registration;
use crate::journal::{AppendError, Appended};
use crate::partition::Group;
use crate::plan::{Plan, PlanId};
use crate::positions::Positions;
use crate::record::Position;

/// What came of work beside the loop.
#[derive(Debug)]
pub(super) enum Done {
    Looked(Result<Stretch, io::Error>),
    Transformed(u64, Result<Became, io::Error>),
    Appended(Positions, Result<Appended, AppendError>),
    Planned {
        batches: Arc<Vec<Batch>>,
        lost: Positions,
        plan: Result<Plan, FreezeError>,
    },
    /// With the objects that are lost; that is durable, too.
    Committed(PlanId, BTreeSet<usize>, Result<(), AppendError>),
    NotDelivered(PlanId, TurnEnd),
    Rested(Rest),
    Renamed {
        plan: Plan,
        end: TurnEnd,
        appended: Result<(), AppendError>,
    },
    Registered {
        catalog: String,
        result: Result<Registration, RegisterError>,
    },
    CatalogRested(String),
    Sealed(Position, Result<(), AppendError>),
    Checkpointed {
        committed: Vec<PlanId>,
        written: io::Result<()>,
    },
}

impl Leg {
    pub(super) fn take(&mut self, done: Done) {
        match done {
            Done::Looked(stretch) => {
                self.collector.looked();
                if let Some(stretch) = self.note("read the journal", stretch) {
                    self.route(stretch);
                }
            }
            Done::Transformed(ticket, became) => {
                match self.note("read the records to transform", became) {
                    Some(became) => self.transforms.transformed(ticket, became),
                    None => self.start_transform(ticket),
                }
            }
            Done::Appended(positions, Ok(_)) => {
                self.transforms.appended();
                self.checkpoints_due = 2;
                self.state.transformed(&positions);
            }
            Done::Appended(_, Err(_)) => self.halted = true,
            Done::Planned { batches, lost, plan } => {
                self.freezing = false;
                self.freezing_records = 0;
                self.halted |= matches!(plan, Err(FreezeError::Plan(AppendError::Failed)));
                let is_too_much = matches!(plan, Err(FreezeError::TooManyFailed));
                self.known_round_bytes = match &plan {
                    Err(FreezeError::NoRoom(NoRoom { bytes })) => *bytes,
                    _ => 0,
                };
                if let Some(plan) = self.note("freeze a batch", plan) {
                    self.checkpoints_due = 2;
                    // What was lost as a whole was told when it was looked for.
                    self.report_lost(&plan.damaged.without(&lost));
                    planned(&self.surroundings.stream, &batches, &plan, self.collector.aim());
                    self.turns.open(&plan, false);
                    self.state.planned(plan);
                    self.freezer.converter.caution.planned(self.state.progress.low());
                } else {
                    let batches =
                        Arc::try_unwrap(batches).unwrap_or_else(|shared| (*shared).clone());
                    let batches = if is_too_much { divided(batches) } else { batches };
                    self.collector.give_back(batches, &lost);
                }
            }
            Done::Committed(id, spoiled, Ok(())) => {
                self.spoiled(id, spoiled);
                self.committed(id);
            }
            Done::Committed(_, _, Err(_)) => self.halted = true,
            Done::NotDelivered(id, end) => {
                self.spoiled(id, end.spoiled.clone());
                if end.taken.is_empty() {
                    self.rest(id, &end);
                } else {
                    self.start_renaming(id, end);
                }
            }
            Done::Renamed { plan, end, appended: Ok(()) } => {
                self.renaming -= 1;
                self.checkpoints_due = 2;
                let id = plan.id;
                self.state.planned(plan);
                self.rest(id, &end);
            }
            Done::Renamed { appended: Err(_), .. } => self.halted = true,
            Done::Rested(rest) => self.turns.rested(&rest),
            Done::Registered { catalog, result } => {
                self.registering = false;
                self.registered(catalog, result);
            }
            Done::CatalogRested(catalog) => self.registrations.rested(&catalog),
            Done::Sealed(end, sealed) => {
                self.sealing = false;
                self.sealed_at = end;
                self.halted |= sealed.is_err();
            }
            Done::Checkpointed { committed, written } => {
                self.checkpointing = false;
                if self.note("write a checkpoint", written).is_none() {
                    self.committed.extend(committed);
                    self.checkpoints_due = 2;
                }
            }
        }
    }

    /// Logs a failure, shows it in the status until the step succeeds, and gives the success.
    pub(super) fn note<T, E: std::fmt::Display>(
        &self,
        step: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.troubles.clear(step);
                Some(value)
            }
            Err(error) => {
                tracing::error!(stream = %self.surroundings.stream, %error, "could not {step}; trying again");
                self.troubles.set(step, format!("could not {step}: {error}"));
                None
            }
        }
    }

    /// Gives what was read to the collector.
    pub(super) fn route(&mut self, mut stretch: Stretch) {
        if let Some(limit) = self.limit {
            stretch.cut(limit);
        }
        if !stretch.dropped.is_empty() {
            self.state.dropped(&stretch.dropped);
            self.checkpoints_due = 2;
        }
        self.state.source_seen(stretch.source_end);
        if !stretch.lost.is_empty() {
            stretch.lost = stretch.lost.without(&self.state.progress.settled());
        }
        if self.transformer.is_none() {
            self.report_lost(&stretch.lost.without(&stretch.told));
        } else {
            // Who reads them for the hooks tells of them.
            let lost = std::mem::take(&mut stretch.lost);
            stretch.runs.extend(as_runs(&lost, &self.surroundings));
            stretch.runs.sort_by_key(|run| run.first);
            stretch.runs.iter_mut().for_each(|run| run.group = Group::default());
        }
        self.collector.take(stretch, &self.state.progress);
    }

    pub(super) fn report_lost(&self, lost: &Positions) {
        self.role.report_lost(&self.surroundings.stream, lost);
    }

    /// The disk has lost objects of an open plan.
    pub(super) fn spoiled(&mut self, id: PlanId, objects: BTreeSet<usize>) {
        for object in self.state.spoiled(id, objects) {
            self.checkpoints_due = 2;
            tracing::error!(
                stream = %self.surroundings.stream,
                key = object.header.key,
                "the disk lost an object of the outbox, which will not be delivered"
            );
            self.report_lost(&object.positions);
        }
    }

    pub(super) fn committed(&mut self, id: PlanId) {
        self.turns.delivered(id);
        self.checkpoints_due = 2;
        self.committed.push(id);
        let Some(plan) = self.state.committed(id) else {
            return;
        };
        if plan.objects.len() > TOLD_OBJECTS_MAX {
            tracing::info!(
                stream = %self.surroundings.stream,
                plan = id.0,
                objects = plan.objects.len(),
                rows = plan.objects.iter().map(|object| object.header.row_count).sum::<u64>(),
                bytes = plan.objects.iter().map(|object| object.header.size_bytes).sum::<u64>(),
                "delivered the objects of a plan"
            );
        }
        for object in plan.objects.iter().filter(|object| !object.header.spoiled) {
            if let Some(partition) = &object.header.partition
                && self.registrations.is_confirmed(partition)
            {
                self.state.registered(partition);
            }
        }
    }

    pub(super) fn registered(
        &mut self,
        catalog: String,
        result: Result<Registration, RegisterError>,
    ) {
        if result.as_ref().is_ok_and(|registration| !registration.registered.is_empty()) {
            self.checkpoints_due = 2;
        }
        let Surroundings { stream, metrics, .. } = &self.surroundings;
        let report = Report { stream, metrics, troubles: &self.troubles };
        let pause = self.registrations.registered(&catalog, result, &mut self.state, &report);
        if let Some(pause) = pause {
            self.work.spawn(async move {
                tokio::time::sleep(pause).await;
                Done::CatalogRested(catalog)
            });
        }
    }
}
