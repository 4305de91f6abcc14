//! How many partitions are active: those with records in an open batch.
//!
//! Owns the count and the cap on it. A batch that is closed opens no other partition's way to fail,
//! however long it waits for a table, a store or the disk. Firehose counts a partition until its object is
//! delivered, so an outage makes records fail there.

use crate::partition::Group;

/// The active partitions of one leg.
#[derive(Debug, Default)]
pub(super) struct ActivePartitions {
    count: usize,
    /// Whether a record was kept out, and there has been no room for another partition since.
    is_exceeded: bool,
}

impl ActivePartitions {
    /// Whether one more may be active where there may be `max`.
    pub(super) fn has_room(&self, max: Option<usize>) -> bool {
        max.is_none_or(|max| self.count < max)
    }

    /// A record was kept out.
    pub(super) fn exceeded(&mut self) {
        self.is_exceeded = true;
    }

    /// A batch of a group has been opened.
    pub(super) fn opened(&mut self, group: &Group) {
        self.count += usize::from(is_partition(group));
    }

    /// One was closed; there may be `max` partitions.
    pub(super) fn closed(&mut self, group: &Group, max: Option<usize>) {
        self.count -= usize::from(is_partition(group));
        self.is_exceeded &= !self.has_room(max);
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether records are kept out.
    pub(super) fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }
}

/// Records that failed before they had a place are in none.
pub(super) fn is_partition(group: &Group) -> bool {
    group.values().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{FailedKind, GroupPlace};

    #[test]
    fn a_partition_is_active_until_its_batch_is_closed() {
        let group =
            |value| Group { tenant: None, place: GroupPlace::Placed([Box::from(value)].into()) };
        let mut active = ActivePartitions::default();
        active.opened(&group("a"));
        active.opened(&group("b"));
        let failed = Group::failed(None, FailedKind::Unplaced);
        active.opened(&failed);
        assert!(active.count() == 2 && active.has_room(Some(3)) && active.has_room(None));
        assert!(!active.has_room(Some(2)));
        active.exceeded();
        active.closed(&failed, Some(2));
        assert!(active.is_exceeded() && active.count() == 2);
        active.closed(&group("a"), Some(2));
        assert!(!active.is_exceeded() && active.has_room(Some(2)));
    }
}
