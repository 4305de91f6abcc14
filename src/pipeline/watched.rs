//! The partitions of event time of a leg: which have objects, which are complete, which are still to
//! be announced.
//!
//! Owns these lists as part of the leg's state: they change by durable plans and commits alone, in
//! memory as in a replay. Does not own when a partition is complete (`completion`).
//!
//! Invariants: a partition enters with the commit of its first object and leaves with the durable plan
//! that tells its end; once its span lies before the horizon it does not enter again, so its end is
//! told once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::journal::Checkpoint;
use crate::plan::{Horizon, ObjectHeader, ObjectKind, WatchedPartition};
use crate::record::UnixMillis;

/// What is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched {
    incomplete: ByEnd,
    /// By the URLs of their folders.
    unannounced: BTreeMap<String, WatchedPartition>,
    horizon: Horizon,
}

/// Partitions in the order in which their spans end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ByEnd {
    partitions: BTreeMap<(UnixMillis, Arc<str>), WatchedPartition>,
    /// When the span of each ends, by the URL of its folder.
    ends: HashMap<Arc<str>, UnixMillis>,
}

impl ByEnd {
    fn contains(&self, location: &str) -> bool {
        self.ends.contains_key(location)
    }

    fn remove(&mut self, location: &str) -> Option<WatchedPartition> {
        let (location, end) = self.ends.remove_entry(location)?;
        self.partitions.remove(&(end, location))
    }

    fn insert(&mut self, location: &str, partition: WatchedPartition) {
        self.remove(location);
        let (location, end) = (Arc::from(location), partition.partition.until);
        self.ends.insert(Arc::clone(&location), end);
        self.partitions.insert((end, location), partition);
    }
}

impl Watched {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let mut watched = Self { horizon: checkpoint.horizon, ..Self::default() };
        for one in &checkpoint.incomplete {
            watched.incomplete.insert(&one.location(), one.clone());
        }
        let unannounced = checkpoint.unannounced.iter();
        watched.unannounced = unannounced.map(|one| (one.location(), one.clone())).collect();
        watched
    }

    /// When the first span of them ends.
    pub(super) fn earliest(&self) -> Option<UnixMillis> {
        self.incomplete.partitions.first_key_value().map(|((end, _), _)| *end)
    }

    /// Those with objects whose end is not told, in the order of their ends.
    pub(super) fn incomplete(&self) -> impl Iterator<Item = &WatchedPartition> {
        self.incomplete.partitions.values()
    }

    /// How many these are.
    pub(super) fn incomplete_count(&self) -> usize {
        self.incomplete.partitions.len()
    }

    /// Those with a marker that no webhook was told of.
    pub(super) fn unannounced(&self) -> impl Iterator<Item = &WatchedPartition> {
        self.unannounced.values()
    }

    pub(super) fn horizon(&self) -> Horizon {
        self.horizon
    }

    /// Whether nothing is to be told of any of them.
    pub(super) fn is_empty(&self) -> bool {
        self.incomplete.partitions.is_empty() && self.unannounced.is_empty()
    }

    /// Another leg of the stream has told the ends of partitions until then. Whatever this leg has not
    /// settled was accepted after that, so the horizon begins no later. Tells whether that is news.
    pub(super) fn told_before(&mut self, until: UnixMillis) -> bool {
        let is_news = self.horizon.until < Some(until);
        self.horizon.until = self.horizon.until.max(Some(until));
        is_news
    }

    /// How many ends are to be told, of those that have a marker and no notice too.
    pub(super) fn untold_count(&self) -> usize {
        self.incomplete.partitions.len() + self.unannounced.len()
    }

    /// Nobody asks for their ends any more.
    pub(super) fn forget(&mut self) {
        self.incomplete = ByEnd::default();
        self.unannounced.clear();
    }

    /// Nobody asks for announcements any more.
    pub(super) fn forget_unannounced(&mut self) {
        self.unannounced.clear();
    }

    /// An object of a committed plan.
    pub(super) fn committed(&mut self, header: &ObjectHeader) {
        let Some(watched) = watched(header) else {
            return;
        };
        let location = watched.location();
        match header.kind {
            ObjectKind::Data => {
                let until = watched.partition.until;
                let is_told = self.horizon.until.is_some_and(|told| until <= told);
                if is_told && !self.incomplete.contains(&location) {
                    return;
                }
                let mut known = self.incomplete.remove(&location).unwrap_or(watched);
                known.partition.until = known.partition.until.max(until);
                known.partition.objects += 1;
                known.partition.rows += header.row_count;
                self.incomplete.insert(&location, known);
            }
            ObjectKind::Marker => _ = self.unannounced.insert(location, watched),
            ObjectKind::Error | ObjectKind::Notice => {}
        }
    }

    /// An object of a plan that has become durable: from now on it is the plan that tells the end.
    pub(super) fn planned(&mut self, header: &ObjectHeader) {
        let is_telling = matches!(header.kind, ObjectKind::Marker | ObjectKind::Notice);
        let Some(watched) = watched(header).filter(|_| is_telling) else {
            return;
        };
        let location = watched.location();
        if header.kind == ObjectKind::Notice {
            self.unannounced.remove(&location);
        }
        if let Some(event) = &header.event
            && let Some(from) = event.complete_from
        {
            self.incomplete.remove(&location);
            let until: Option<UnixMillis> = self.horizon.until.max(Some(event.until));
            self.horizon = Horizon { from: from.max(self.horizon.from), until };
        }
    }

    /// The disk has lost what was to tell an end, and it is told anew.
    pub(super) fn spoiled(&mut self, header: &ObjectHeader) {
        if let Some(watched) = watched(header) {
            let location = watched.location();
            match header.kind {
                ObjectKind::Marker => self.incomplete.insert(&location, watched),
                ObjectKind::Notice => _ = self.unannounced.insert(location, watched),
                ObjectKind::Data | ObjectKind::Error => {}
            }
        }
    }

    pub(super) fn write_into(&self, checkpoint: &mut Checkpoint) {
        checkpoint.incomplete = self.incomplete().cloned().collect();
        checkpoint.unannounced = self.unannounced.values().cloned().collect();
        checkpoint.horizon = self.horizon;
    }
}

/// The partition of an object, without what it has got by the object itself.
fn watched(header: &ObjectHeader) -> Option<WatchedPartition> {
    let mut partition = header.event.clone()?;
    partition.complete_from = None;
    let (target, tenant) = (header.target.clone(), header.tenant.clone());
    Some(WatchedPartition { target, tenant, partition })
}

#[cfg(test)]
mod tests {
    use super::super::state::State;
    use super::*;
    use crate::journal::Control;
    use crate::plan::{EventPartition, Plan, PlanId, PlannedObject, Target};
    use crate::positions::Positions;
    use crate::record::Position;

    fn object(kind: ObjectKind, folder: &str, until: i64, first: u64) -> PlannedObject {
        let target = Target { store: "s".into(), url: "u".into(), endpoint: None, region: None };
        let event = EventPartition {
            folder: folder.into(),
            until: UnixMillis(until),
            objects: 0,
            rows: 0,
            complete_from: (kind == ObjectKind::Marker).then_some(Position(first)),
        };
        let header = ObjectHeader {
            kind,
            target,
            key: format!("{folder}{first}"),
            offset: 0,
            size_bytes: 1,
            sha256: String::new(),
            row_count: 5,
            tenant: None,
            content_encoding: None,
            partition: None,
            event: Some(event),
            renamed: 0,
            spoiled: false,
        };
        let is_data = kind == ObjectKind::Data;
        let positions =
            if is_data { Positions::from_run(Position(first), 5) } else { Positions::default() };
        PlannedObject { header, positions }
    }

    fn plan(id: u64, objects: Vec<PlannedObject>) -> Control {
        let (damaged, source_end) = (Positions::default(), Position(0));
        Control::Plan(Plan { id: PlanId(id), objects, damaged, source_end })
    }

    fn history() -> Vec<Control> {
        use ObjectKind::{Data, Marker, Notice};
        let commit = |id| Control::Commit(PlanId(id));
        vec![
            plan(1, vec![object(Data, "a/", 100, 0), object(Data, "b/", 200, 5)]),
            commit(1),
            plan(2, vec![object(Data, "a/", 100, 10)]),
            commit(2),
            plan(3, vec![object(Marker, "a/", 100, 15)]),
            commit(3),
            plan(4, vec![object(Data, "a/", 100, 15), object(Data, "c/", 90, 20)]),
            commit(4),
            plan(5, vec![object(Notice, "a/", 100, 0)]),
            plan(6, vec![object(Data, "b/", 200, 25)]),
            commit(6),
            commit(5),
        ]
    }

    fn shown(watched: &Watched) -> (Vec<(&str, u64, u64)>, Vec<&str>) {
        let incomplete = watched.incomplete().map(|one| &one.partition);
        let incomplete = incomplete.map(|one| (one.folder.as_str(), one.objects, one.rows));
        let unannounced = watched.unannounced().map(|one| one.partition.folder.as_str());
        (incomplete.collect(), unannounced.collect())
    }

    #[test]
    fn a_partition_is_watched_from_its_first_object_until_its_end_is_told_and_no_more() {
        let until = |count: usize| State::replay(None, history()[..count].to_vec());
        let shown_after = |count, incomplete: &[_], unannounced: &[_]| {
            let state = until(count);
            assert_eq!(
                shown(state.watched()),
                (incomplete.to_vec(), unannounced.to_vec()),
                "{count}"
            );
        };
        shown_after(1, &[], &[]);
        shown_after(2, &[("a/", 1, 5), ("b/", 1, 5)], &[]);
        shown_after(4, &[("a/", 2, 10), ("b/", 1, 5)], &[]);
        shown_after(5, &[("b/", 1, 5)], &[]);
        shown_after(6, &[("b/", 1, 5)], &["a/"]);
        shown_after(8, &[("b/", 1, 5)], &["a/"]);
        shown_after(9, &[("b/", 1, 5)], &[]);
        shown_after(12, &[("b/", 2, 10)], &[]);
        let horizon = Horizon { from: Position(15), until: Some(UnixMillis(100)) };
        assert_eq!(until(5).watched().horizon(), horizon);
    }

    #[test]
    fn the_first_end_comes_first_whatever_was_seen_first() {
        use ObjectKind::{Data, Marker};
        let objects = [("c/", 300), ("a/", 200), ("b/", 100)];
        let data = objects.map(|(folder, until)| object(Data, folder, until, 0)).to_vec();
        // The clocks of its zone turned out to show its hour once more.
        let longer = plan(2, vec![object(Data, "b/", 250, 5)]);
        let commit = |id| Control::Commit(PlanId(id));
        let history = [
            plan(1, data),
            commit(1),
            longer,
            commit(2),
            plan(3, vec![object(Marker, "a/", 200, 9)]),
        ];
        let order = |count: usize| {
            let state = State::replay(None, history[..count].to_vec());
            let folders = state.watched().incomplete().map(|one| one.partition.folder.clone());
            let folders: Vec<_> = folders.collect();
            assert_eq!(folders.len(), state.watched().incomplete_count());
            (state.watched().earliest().expect("there is one").0, folders.concat())
        };
        assert_eq!(order(2), (100, "b/a/c/".to_owned()));
        assert_eq!(order(4), (200, "a/b/c/".to_owned()));
        assert_eq!(order(5), (250, "b/c/".to_owned()));
    }

    #[test]
    fn a_replay_from_any_checkpoint_watches_the_same() {
        let whole = State::replay(None, history()).checkpoint(Position(30));
        for cut in 0..=history().len() {
            let before = State::replay(None, history()[..cut].to_vec()).checkpoint(Position(30));
            let after = State::replay(Some(before), history()).checkpoint(Position(30));
            assert_eq!(after, whole, "{cut}");
        }
    }

    #[test]
    fn what_the_disk_loses_of_a_telling_is_told_again() {
        let spoiled = |id| Control::Spoiled { plan: PlanId(id), objects: vec![0] };
        let mut marker_lost = history()[..5].to_vec();
        marker_lost.extend([spoiled(3), spoiled(3), Control::Commit(PlanId(3))]);
        let state = State::replay(None, marker_lost);
        assert_eq!(shown(state.watched()), (vec![("a/", 0, 0), ("b/", 1, 5)], vec![]));
        let mut notice_lost = history()[..9].to_vec();
        notice_lost.extend([spoiled(5), Control::Commit(PlanId(5))]);
        let state = State::replay(None, notice_lost);
        assert_eq!(shown(state.watched()), (vec![("b/", 1, 5)], vec!["a/"]));
    }
}
