//! Which partitions are active: those with records in an open batch, or in a closed one that no plan
//! has settled yet.
//!
//! Owns the count and the cap on it. Firehose counts a partition also while its object is undelivered;
//! here an object that is frozen costs its partition nothing more.

use std::collections::HashMap;

use super::round::Batch;
use crate::partition::Group;

/// The active partitions of one leg.
#[derive(Debug, Default)]
pub(super) struct ActivePartitions {
    /// Batches of each.
    batches: HashMap<Group, usize>,
    /// Whether a record was kept out, and there has been no room for another partition since.
    is_exceeded: bool,
}

impl ActivePartitions {
    /// Whether records of a group may be taken in where there may be `max` partitions.
    pub(super) fn admits(&mut self, group: &Group, max: Option<usize>) -> bool {
        let is_free = max.is_none_or(|max| self.batches.len() < max);
        let is_admitted = is_free || group.values().is_none() || self.batches.contains_key(group);
        self.is_exceeded |= !is_admitted;
        is_admitted
    }

    /// So many batches of a group have begun.
    pub(super) fn began(&mut self, group: &Group, count: usize) {
        if count == 0 || group.values().is_none() {
            return;
        }
        match self.batches.get_mut(group) {
            Some(batches) => *batches += count,
            None => {
                self.batches.insert(group.clone(), count);
            }
        }
    }

    /// Batches have become a plan; there may be `max` partitions.
    pub(super) fn planned(&mut self, batches: &[Batch], max: Option<usize>) {
        for batch in batches {
            if let Some(left) = self.batches.get_mut(&batch.group) {
                *left -= 1;
                if *left == 0 {
                    self.batches.remove(&batch.group);
                }
            }
        }
        self.is_exceeded &= max.is_some_and(|max| self.batches.len() >= max);
    }

    pub(super) fn count(&self) -> usize {
        self.batches.len()
    }

    /// Whether records are kept out.
    pub(super) fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Trigger;
    use crate::partition::{FailedKind, GroupPlace};
    use crate::positions::Positions;
    use crate::record::UnixMillis;

    fn group(value: &str) -> Group {
        Group { tenant: None, place: GroupPlace::Placed([Box::from(value)].into()) }
    }

    fn batch(value: &str) -> Batch {
        Batch {
            group: group(value),
            positions: Positions::default(),
            data_bytes: 1,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Flush,
        }
    }

    #[test]
    fn a_partition_is_active_until_its_last_batch_is_planned() {
        let mut active = ActivePartitions::default();
        active.began(&group("a"), 1);
        active.began(&group("a"), 1);
        active.began(&group("b"), 1);
        assert!(active.admits(&group("c"), Some(3)) && !active.is_exceeded());
        assert!(!active.admits(&group("c"), Some(2)) && active.is_exceeded());
        assert!(active.admits(&group("a"), Some(2)), "it is active already");
        let failed = Group::failed(None, FailedKind::Unplaced);
        assert!(active.admits(&failed, Some(2)), "it is no partition");
        active.began(&failed, 1);
        active.planned(&[batch("a")], Some(2));
        assert!(active.count() == 2 && active.is_exceeded());
        active.planned(&[batch("a")], Some(2));
        assert!(active.count() == 1 && !active.is_exceeded());
        assert!(active.admits(&group("c"), Some(2)));
        assert!(active.admits(&group("c"), None));
    }
}
