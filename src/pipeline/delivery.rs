//! One plan on its way into its stores.
//!
//! Owns a turn of it: the objects that are not there yet, some side by side, what is logged and
//! counted of each, once; and how an object is given up whose bytes are lost. A notice is told to a
//! webhook instead. Does not commit.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::orders::Role;
use super::troubles::Troubles;
use super::turns::{Turn, TurnEnd};
use super::{blocking, repeat};
use crate::deliver::{ATTEMPTS, DeliverError, Effort, Outcome, Stores, Unreadable, deliver};
use crate::fault::Action;
use crate::journal::{AppendError, Control, Journal};
use crate::memory::{Counted, Holding};
use crate::metrics::{Metrics, stream_labels, stream_labels_with};
use crate::outbox::{Outbox, ReadError};
use crate::plan::{ObjectHeader, ObjectKind, PlanId};
use crate::record::StreamName;
use crate::webhook::Announce;

/// Plans of more objects are told in the log as a whole.
pub(super) const TOLD_OBJECTS_MAX: usize = 64;
/// Objects of one plan that are being put side by side.
const OBJECTS_IN_FLIGHT_MAX: usize = 8;
/// The same of all plans of a leg, whatever it is that makes them wait.
const LEG_OBJECTS_MAX: usize = 32;

/// What the objects of a leg may take while they are being put.
#[derive(Clone, Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    memory: Arc<Mutex<Holding>>,
    freed: Arc<Notify>,
}

/// The room of one object; dropping it gives it back.
#[derive(Debug)]
struct Place<'a> {
    room: &'a Room,
    bytes: usize,
    _place: Option<SemaphorePermit<'a>>,
}

impl Room {
    /// A leg's room in the memory that there is for all objects.
    pub(super) fn new(all: &Counted) -> Self {
        let places = Arc::new(Semaphore::new(LEG_OBJECTS_MAX));
        Self { places, memory: Arc::new(Mutex::new(all.holding())), freed: Arc::default() }
    }

    /// Waits for the room of one object: for other objects of the leg at the most, never for those of
    /// another, whose store may be dead. The only one of a leg has room whatever there is.
    async fn take(&self, bytes: u64) -> Place<'_> {
        // It is never closed.
        let place = self.places.acquire().await.ok();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        loop {
            let freed = self.freed.notified();
            if self.holds(bytes) {
                return Place { room: self, bytes, _place: place };
            }
            freed.await;
        }
    }

    fn holds(&self, bytes: usize) -> bool {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let before = memory.bytes();
        memory.set(before.saturating_add(bytes));
        let has_room = before == 0 || !memory.is_too_much();
        if !has_room {
            memory.set(before);
        }
        has_room
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut memory = self.room.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let left = memory.bytes().saturating_sub(self.bytes);
        memory.set(left);
        drop(memory);
        self.room.freed.notify_waiters();
    }
}

/// A turn of one plan.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) stream: StreamName,
    pub(super) role: Role,
    pub(super) stores: Arc<Stores>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) troubles: Troubles,
    pub(super) metrics: Metrics,
    pub(super) room: Room,
    pub(super) plan: PlanId,
    pub(super) turn: Turn,
    /// Whether the log gets a line for the plan rather than for each of its objects.
    pub(super) is_told_as_a_whole: bool,
    /// Who is told what notices say.
    pub(super) webhook: Option<Arc<dyn Announce>>,
}

impl Delivery {
    /// Puts the objects that are not in their store yet, and tells which of them got there.
    pub(super) async fn run(&self, headers: &[ObjectHeader]) -> TurnEnd {
        let attempts = if self.turn.is_trial { 1 } else { ATTEMPTS };
        let mut end = TurnEnd { attempts, ..TurnEnd::default() };
        let left = (0..headers.len()).filter(|index| !self.turn.there.contains(index));
        let mut left: Vec<usize> = left.collect();
        // Another one begins each time, in case that one alone does not get through.
        let first = self.turn.turns as usize % left.len().max(1);
        left.rotate_left(first);
        if self.turn.is_trial && !left.is_empty() {
            let index = left.remove(0);
            end.note(index, self.put(&headers[index], attempts).await);
            if !end.has_taken_something() {
                return end;
            }
        }
        let mut puts = futures::stream::iter(left)
            .map(async |index| (index, self.put(&headers[index], ATTEMPTS).await))
            .buffer_unordered(OBJECTS_IN_FLIGHT_MAX);
        let mut failures = 0;
        while let Some((index, outcome)) = puts.next().await {
            end.note(index, outcome);
            failures += usize::from(outcome == Outcome::NotYet);
            if failures >= OBJECTS_IN_FLIGHT_MAX && !end.has_taken_something() {
                // The store is down: the others would only say so again.
                break;
            }
        }
        end
    }

    /// Whether every object is in its store, or lost, after a turn that ended so.
    pub(super) fn has_all(&self, headers: &[ObjectHeader], end: &TurnEnd) -> bool {
        let is_done = |index: &usize| {
            [&self.turn.there, &end.there, &end.spoiled].iter().any(|set| set.contains(index))
        };
        (0..headers.len()).all(|index| is_done(&index))
    }

    /// Makes it durable in `log` that the disk has lost objects of the plan, then sets their file aside.
    pub(super) async fn give_up(
        &self,
        log: &Journal,
        objects: &BTreeSet<usize>,
    ) -> Result<(), AppendError> {
        let objects = objects.iter().map(|index| *index as u32).collect();
        let control = Control::Spoiled { plan: self.plan, objects };
        repeat(async || log.append_control(&control).await).await?;
        let (outbox, plan) = (self.outbox.clone(), self.plan);
        let aside = blocking(move || outbox.set_aside(plan)).await;
        note_set_aside(&self.stream, plan, aside);
        Ok(())
    }

    async fn put(&self, header: &ObjectHeader, attempts: u32) -> Outcome {
        if header.kind == ObjectKind::Notice {
            return self.announce(header).await;
        }
        let step = format!("deliver {}", header.key);
        let failed =
            |error: &DeliverError, attempt: u32| self.failed(&step, &header.key, error, attempt);
        let read = || self.read(header);
        let (turns, may_be_there) = (self.turn.turns, self.turn.may_be_there);
        let effort = Effort { attempts, turns, may_be_there };
        let _room = self.room.take(header.size_bytes).await;
        let outcome = deliver(&self.stores, header, &read, effort, &failed).await;
        if outcome == Outcome::Spoiled {
            self.troubles.clear(&step);
        }
        if outcome != Outcome::There {
            return outcome;
        }
        self.troubles.clear(&step);
        let kind = if self.role == Role::Backup { "backup" } else { header.kind.as_str() };
        let labels = stream_labels_with(self.stream.as_str(), "kind", kind);
        self.metrics.delivered_objects.get_or_create(&labels).inc();
        self.metrics.delivered_bytes.get_or_create(&labels).inc_by(header.size_bytes);
        let (stream, key) = (&self.stream, &header.key);
        let (rows, bytes) = (header.row_count, header.size_bytes);
        if self.is_told_as_a_whole {
            tracing::debug!(%stream, key, rows, bytes, "delivered an object");
        } else {
            tracing::info!(%stream, key, rows, bytes, "delivered an object");
        }
        outcome
    }

    /// Tells the webhook once; the turn is what is repeated.
    async fn announce(&self, header: &ObjectHeader) -> Outcome {
        let step = format!("announce {}", header.key);
        let Some(webhook) = &self.webhook else {
            tracing::warn!(
                stream = %self.stream,
                partition = header.key,
                "the stream has no webhook any more: nobody is told that the partition is complete"
            );
            self.troubles.clear(&step);
            return Outcome::There;
        };
        let told = match self.read(header).await {
            Ok(body) => webhook.announce(&header.sha256, body).await.map_err(|e| e.to_string()),
            Err(unreadable) if unreadable.is_final => {
                self.troubles.clear(&step);
                return Outcome::Spoiled;
            }
            Err(unreadable) => Err(unreadable.to_string()),
        };
        let Err(error) = told else {
            self.troubles.clear(&step);
            tracing::info!(stream = %self.stream, partition = header.key, "told the webhook");
            return Outcome::There;
        };
        let attempt = self.turn.turns.saturating_add(1);
        self.troubles.set(&step, format!("{error} (attempt {attempt})"));
        // The same thing again is news ever more rarely.
        if attempt.is_power_of_two() {
            tracing::warn!(stream = %self.stream, error, attempt, "trying again until it works");
        }
        Outcome::NotYet
    }

    fn read<'a>(&'a self, header: &'a ObjectHeader) -> BoxFuture<'a, Result<Bytes, Unreadable>> {
        Box::pin(async {
            let (outbox, plan, header) = (self.outbox.clone(), self.plan, header.clone());
            let read = blocking(move || outbox.read(plan, &header)).await;
            read.map_err(|error| {
                let is_final = matches!(error, ReadError::Damaged { .. });
                Unreadable { error: error.into(), is_final }
            })
        })
    }

    fn failed(&self, step: &str, key: &str, error: &DeliverError, attempt: u32) {
        let attempt = self.turn.attempts.saturating_add(attempt);
        if matches!(error, DeliverError::Taken { .. }) {
            self.metrics.taken_keys.get_or_create(&stream_labels(self.stream.as_str())).inc();
            self.troubles.clear(step);
            tracing::error!(stream = %self.stream, "{error}");
            return;
        }
        self.metrics.failed_puts.get_or_create(&stream_labels(self.stream.as_str())).inc();
        self.troubles.set(step, format!("{error} (attempt {attempt})"));
        if matches!(error, DeliverError::Unreadable(unreadable) if unreadable.is_final) {
            // What it costs is told when it is certain.
            tracing::error!(stream = %self.stream, key, "{error}");
            return;
        }
        // The same thing again is news ever more rarely.
        if !attempt.is_power_of_two() {
            tracing::debug!(stream = %self.stream, %error, attempt, "trying again");
        } else if error.action() == Action::Alarm || attempt >= 8 {
            // Only a person can mend it, or waiting has not helped.
            tracing::error!(stream = %self.stream, %error, attempt, "trying again until it works");
        } else {
            tracing::warn!(stream = %self.stream, %error, attempt, "trying again");
        }
    }
}

/// Logs where a damaged outbox file of a plan is kept.
pub(super) fn note_set_aside(
    stream: &StreamName,
    plan: PlanId,
    aside: io::Result<Option<PathBuf>>,
) {
    match aside {
        Ok(Some(path)) => tracing::warn!(
            %stream,
            plan = plan.0,
            path = %path.display(),
            "a damaged outbox file is kept aside, for a person to look at; what is whole in it is still \
             delivered out of it: remove it once plan {} is delivered",
            plan.0
        ),
        Ok(None) => tracing::warn!(%stream, plan = plan.0, "there is no outbox file to keep aside"),
        Err(error) => tracing::error!(
            %stream,
            plan = plan.0,
            %error,
            "could not set a damaged outbox file aside; it goes when its plan is delivered"
        ),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_leg_waits_for_its_own_objects_and_never_for_those_of_a_dead_store() {
        let all = Counted::new(900);
        let (dead, healthy) = (Room::new(&all), Room::new(&all));
        let large = dead.take(800).now_or_never().expect("its only one always goes");
        assert!(dead.take(1).now_or_never().is_none(), "it has more than its part");
        let first = healthy.take(400).now_or_never().expect("its only one always goes");
        let mut second = Box::pin(healthy.take(400));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().expect("it is the only one now");
        drop(large);
        assert!(healthy.take(100).now_or_never().is_some(), "there is room for it");
        drop(second);
        let small: Vec<_> = (0..LEG_OBJECTS_MAX).map(|_| healthy.take(1).now_or_never()).collect();
        assert!(small.iter().all(Option::is_some));
        assert!(healthy.take(1).now_or_never().is_none(), "so many at once");
    }
}
