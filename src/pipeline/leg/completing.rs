//! When a leg tells that partitions of event time are complete.
//!
//! Owns the conditions, in their order: the span of the partition is over by more than the bound on
//! late records; everything that had been accepted when that was seen has been placed, planned and
//! committed; nothing else that waits belongs to it, as can be only when the clock was set back; its
//! entries in catalogs are made. From then on the horizon keeps later records out of it.
//!
//! The end is told by a plan without records. So it is told once for the same reasons for which a
//! record is delivered once, and its bytes wait out an outage in the outbox.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::super::completion::{Completion, Teller, Telling};
use super::super::freeze::FreezeError;
use super::super::orders::Ends;
use super::super::{RETRY_PAUSE, rest_after};
use super::Leg;
use super::outcomes::Done;
use crate::journal::AppendError;
use crate::plan::{Horizon, ObjectKind, WatchedPartition};
use crate::positions::Positions;
use crate::record::{Position, UnixMillis};

/// What has to go its way before the ends of partitions are told that were over at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// That instant.
    at: UnixMillis,
    /// Records that are to be transformed first.
    source: Option<Position>,
    /// The end of this leg's own records once they are.
    own: Option<Position>,
}

impl Leg {
    pub(super) fn completion(&self) -> Option<&Completion> {
        self.freezer.converter.recipe.completion.as_ref()
    }

    /// Makes known what this leg has told, and keeps out of partitions what another leg has told of.
    pub(super) fn share_horizon(&mut self) {
        let told = &self.surroundings.told;
        if let Some(until) = self.state.watched().horizon().until {
            told.tell(self.role, until);
        }
        if let Some(until) = told.before(self.role)
            && self.state.watched_mut().told_before(until)
        {
            self.collector.extend_horizon(until);
        }
    }

    /// Goes on with telling the ends of partitions. Tells whether other steps that place records or
    /// plan them have to wait for it; they never do for long.
    pub(super) fn start_completion(&mut self, end: Position) -> bool {
        if self.state.watched().is_empty() || self.awaited.is_some() {
            return false;
        }
        let Some(completion) = self.completion().filter(|_| self.ends.are_told()).cloned() else {
            self.forget_partitions();
            return false;
        };
        if completion.webhook.is_none() {
            self.state.watched_mut().forget_unannounced();
        }
        if self.surroundings.clock.steady() < self.tells_again_at {
            return false;
        }
        let Some(mut asked) = self.asked.or_else(|| self.ask(&completion)) else {
            return false;
        };
        if asked.own.is_none()
            && asked.source.is_none_or(|source| self.state.source_end() >= source)
        {
            // All their parts are in the log by now.
            asked.own = Some(end);
        }
        self.asked = Some(asked);
        let Some(own) = asked.own.filter(|own| self.state.is_done_until(*own)) else {
            return false;
        };
        if matches!(self.ends, Ends::Own) && self.surroundings.parts_wait() {
            return false;
        }
        if self.freezing || self.collector.is_looking() || self.renaming > 0 {
            return true;
        }
        let tellings = self.tellings(&completion, asked.at, own);
        if tellings.is_empty() {
            self.asked = None;
            self.tells_again_at = self.surroundings.clock.steady() + RETRY_PAUSE;
        } else {
            self.start_telling(tellings, own);
        }
        false
    }

    /// Begins to wait for everything that is accepted, when there is something to tell.
    fn ask(&self, completion: &Completion) -> Option<Asked> {
        let at = self.surroundings.clock.now();
        let watched = self.state.watched();
        let is_due = watched.earliest().is_some_and(|until| completion.is_over(until, at));
        let source = match &self.ends {
            Ends::After(source) => Some(*source.end().borrow()),
            Ends::Own | Ends::Elsewhere => None,
        };
        let is_asked = is_due || watched.unannounced().next().is_some();
        is_asked.then_some(Asked { at, source, own: None })
    }

    /// When there may be an end to tell, as an instant of the steady clock.
    pub(super) fn completion_due(&self, now: Duration) -> Option<Duration> {
        if self.awaited.is_some() {
            // New orders come first; with them it is asked again.
            return None;
        }
        let completion = self.completion().filter(|_| self.ends.are_told())?;
        if self.asked.is_some() || self.state.watched().unannounced().next().is_some() {
            return Some((now + RETRY_PAUSE).max(self.tells_again_at));
        }
        let ends_at = completion.ends_at(self.state.watched().earliest()?);
        let wait = ends_at.0.saturating_sub(self.surroundings.clock.now().0);
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        Some(now.saturating_add(wait).max(self.tells_again_at))
    }

    fn tellings(&self, completion: &Completion, at: UnixMillis, own: Position) -> Vec<Telling> {
        let pending =
            if completion.late_follow { HashSet::new() } else { self.pending_locations() };
        let unregistered = self.state.unregistered().iter().map(|one| one.location.as_str());
        let unregistered: BTreeSet<&str> = unregistered.collect();
        let is_complete = |watched: &&WatchedPartition| {
            let location = watched.location();
            !pending.contains(&location) && !has_part_of(&location, &unregistered)
        };
        let teller =
            Teller { stream: &self.surroundings.stream, stamp: self.records.stamp(), completion };
        let watched = self.state.watched();
        let over = watched.incomplete();
        let over = over.take_while(|one| completion.is_over(one.partition.until, at));
        teller.tell(over.filter(is_complete), watched.unannounced(), own)
    }

    /// Where records belong that wait for their plan, or whose plan waits for its commit.
    fn pending_locations(&self) -> HashSet<String> {
        let recipe = &self.freezer.converter.recipe;
        let waiting = self.collector.groups().filter_map(|group| {
            let (folder, _) = recipe.completion.as_ref()?.spans.of_group(group)?;
            Some(format!("{}/{folder}", recipe.target.url))
        });
        let objects = self.state.open_plans().values().flat_map(|plan| &plan.objects);
        let data = objects.filter(|object| object.header.kind == ObjectKind::Data);
        let planned = data.filter_map(|object| {
            let event = object.header.event.as_ref()?;
            Some(format!("{}/{}", object.header.target.url, event.folder))
        });
        waiting.chain(planned).collect()
    }

    fn start_telling(&mut self, tellings: Vec<Telling>, own: Position) {
        let told = tellings.iter().filter_map(|(header, _)| header.event.as_ref());
        let told = told.filter(|event| event.complete_from.is_some()).map(|event| event.until);
        let before = self.state.watched().horizon();
        let until = told.max().max(before.until);
        // Before the plan is durable, since what is placed meanwhile must not come into them.
        if let Some(until) = until {
            self.surroundings.told.tell(self.role, until);
        }
        self.collector.change_horizon(Horizon { from: own.max(before.from), until });
        self.freezing = true;
        let (freezer, id) = (self.freezer.clone(), self.state.next_plan());
        let source_end = self.state.source_end();
        self.work.spawn(async move {
            let plan = freezer.freeze_tellings(id, tellings, source_end).await;
            let plan =
                rest_after(plan, |error| !matches!(error, FreezeError::Plan(AppendError::Failed)));
            let (batches, lost) = (Vec::new().into(), Positions::default());
            Done::Planned { batches, lost, plan: plan.await }
        });
    }

    /// Nobody asks for the ends of partitions, or another leg tells them from now on.
    fn forget_partitions(&mut self) {
        self.asked = None;
        self.state.watched_mut().forget();
        self.checkpoints_due = 2;
    }

    /// Tells what new orders leave untold.
    pub(super) fn note_untold(&self) {
        let count = self.state.watched().incomplete_count();
        let is_told = self.completion().is_some() && self.ends.are_told();
        if count > 0 && !is_told {
            tracing::warn!(
                stream = %self.surroundings.stream,
                partitions = count,
                "partitions of event time that have records will not be told complete: 'complete' was \
                 taken out, or hooks were given to the stream or taken from it"
            );
        }
    }
}

/// Whether one of the folders is `location`, or a part of it, or has it as a part. All end with a slash.
fn has_part_of(location: &str, folders: &BTreeSet<&str>) -> bool {
    let below = folders.range(location..).next().is_some_and(|other| other.starts_with(location));
    below || location.match_indices('/').any(|(at, _)| folders.contains(&location[..=at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_parts_of_what_they_lie_in() {
        let folders = BTreeSet::from(["s3://b/a/day=1/", "s3://b/a/day=2/hour=1/", "s3://b/c/"]);
        for (location, expected) in [
            ("s3://b/a/day=1/", true),
            ("s3://b/a/day=1/hour=1/", true),
            ("s3://b/a/day=2/", true),
            ("s3://b/", true),
            ("s3://b/a/day=2/hour=2/", false),
            ("s3://b/a/day=11/", false),
            ("s3://b/a/day=3/", false),
            ("s3://b/d/", false),
        ] {
            assert_eq!(has_part_of(location, &folders), expected, "{location}");
        }
    }
}
