//! How many bytes of records make an object of a wanted size.
//!
//! Owns what was learnt from the sizes of objects, and what follows from it. Does not own the batches,
//! nor how an object comes to its size.
//!
//! The ratio of an object to its records changes with the size: dictionaries fill up, row groups and
//! footers cost what they cost. So it is learnt at the size that is wanted. An object *counts* when it
//! has at least two thirds and at most one and a half of the wanted bytes; of the last few that count the
//! ratio is the mean, which follows data that change, and where they change by more than that, it is the
//! last one's. As long as none counts the size is not known, and then
//!
//! - the first batch closes when its records have the wanted bytes, which few formats make larger;
//! - the next aims at a little less than the wanted size, by the ratio of the one before, which is
//!   that of a smaller object and so somewhat off;
//! - only one of these is under way at a time: what comes after it waits for what it teaches.
//!
//! Groups differ in how well they compress, so each has a ratio of its own as soon as an object of it
//! counts; until then that of all is taken.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// So many objects that count are remembered.
const COUNTED_MAX: usize = 4;
/// So many groups have ratios of their own; of more the one is forgotten that had no object longest.
const GROUPS_MAX: usize = 1024;
/// The part of the wanted size that is aimed at while the size is not known, in hundredths.
const CAUTIOUS_HUNDREDTHS: u64 = 85;
/// While the size is not known, no batch is so many times larger than the one that taught last.
const GROWTH_MAX: u64 = 8;

/// An object and its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The bytes of the records.
    pub data_bytes: u64,
    /// The bytes of the object that they became.
    pub object_bytes: u64,
}

/// When a batch has its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// With so many bytes of records its object is expected to be as large as is wanted.
    Known(u64),
    /// With so many bytes it teaches how large objects are.
    Learning(u64),
    /// Another batch teaches that at present.
    Waiting,
}

/// The wanted size of a stream's objects, and what is known of their sizes.
#[derive(Clone, Debug)]
pub struct Aim<G> {
    target_bytes: u64,
    all: Sizes,
    groups: HashMap<G, (u64, Sizes)>,
    /// Counts objects, so that it is known which group had none longest.
    observed: u64,
    /// A batch was closed to learn from, and what it became is not known yet.
    is_waiting: bool,
}

impl<G: Clone + Eq + Hash> Aim<G> {
    /// Nothing is known but what `remembered` says: objects of the stream, the oldest first.
    #[must_use]
    pub fn new(target_bytes: u64, remembered: &[Observed]) -> Self {
        let mut all = Sizes::default();
        remembered.iter().for_each(|object| all.observe(*object, target_bytes));
        Self { target_bytes, all, groups: HashMap::new(), observed: 0, is_waiting: false }
    }

    /// The wanted bytes of an object.
    #[must_use]
    pub fn target_bytes(&self) -> u64 {
        self.target_bytes
    }

    /// Learns what the records of a batch of `group` became.
    pub fn observe(&mut self, group: &G, object: Observed) {
        if object.data_bytes == 0 || object.object_bytes == 0 {
            return;
        }
        self.all.observe(object, self.target_bytes);
        self.observed += 1;
        let is_new = !self.groups.contains_key(group);
        if is_new && self.groups.len() == GROUPS_MAX {
            let longest = self.groups.iter().min_by_key(|(_, (last, _))| *last);
            let longest = longest.map(|(group, _)| group.clone());
            longest.map(|group| self.groups.remove(&group));
        }
        let (last, sizes) = self.groups.entry(group.clone()).or_default();
        *last = self.observed;
        sizes.observe(object, self.target_bytes);
    }

    /// What was closed to learn from is an object, or will not be one.
    pub fn has_learnt(&mut self) {
        self.is_waiting = false;
    }

    /// Whether a batch is closed to learn from, and its object is not known yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// What a later process may begin with.
    #[must_use]
    pub fn remembered(&self) -> Vec<Observed> {
        self.all.other.iter().chain(&self.all.counted).copied().collect()
    }

    /// A batch was closed to learn from.
    pub(super) fn teaches(&mut self) {
        self.is_waiting = true;
    }

    /// When a batch of `group` has its size.
    pub(super) fn limit(&self, group: &G) -> Limit {
        let own = self.groups.get(group).and_then(|(_, sizes)| sizes.ratio());
        if let Some(ratio) = own.or_else(|| self.all.ratio()) {
            return Limit::Known(ratio.data_bytes(self.target_bytes));
        }
        if self.is_waiting {
            return Limit::Waiting;
        }
        let Some(object) = self.all.other else {
            return Limit::Learning(self.target_bytes);
        };
        let cautious = self.target_bytes / 100 * CAUTIOUS_HUNDREDTHS;
        let most = object.data_bytes.max(self.target_bytes).saturating_mul(GROWTH_MAX);
        Limit::Learning(Ratio::of(&[object]).data_bytes(cautious).min(most))
    }
}

/// Sizes of objects.
#[derive(Clone, Debug, Default)]
struct Sizes {
    /// The last that count.
    counted: VecDeque<Observed>,
    /// The largest of those that are too small to count, or else one that is too large.
    other: Option<Observed>,
}

impl Sizes {
    fn observe(&mut self, object: Observed, target_bytes: u64) {
        if (target_bytes / 3 * 2..=target_bytes / 2 * 3).contains(&object.object_bytes) {
            if self.counted.len() == COUNTED_MAX {
                self.counted.pop_front();
            }
            self.counted.push_back(object);
            return;
        }
        let is_small = |object: &Observed| object.object_bytes < target_bytes;
        let is_nearer = self.other.is_none_or(|other| {
            is_small(&object) && (!is_small(&other) || other.object_bytes <= object.object_bytes)
        });
        if is_nearer {
            self.other = Some(object);
        }
        let was_expected_to_count = self
            .ratio()
            .is_some_and(|ratio| object.data_bytes >= ratio.data_bytes(target_bytes) / 2);
        if !is_small(&object) || was_expected_to_count {
            // What was known is wrong by far: the data are others now.
            self.counted.clear();
            self.counted.push_back(object);
        }
    }

    fn ratio(&self) -> Option<Ratio> {
        let (counted, more) = self.counted.as_slices();
        let all = [counted, more].concat();
        (!all.is_empty()).then(|| Ratio::of(&all))
    }
}

/// The bytes of objects to those of their records.
struct Ratio {
    object_bytes: u64,
    data_bytes: u64,
}

impl Ratio {
    fn of(objects: &[Observed]) -> Self {
        Self {
            object_bytes: objects.iter().map(|object| object.object_bytes).sum::<u64>().max(1),
            data_bytes: objects.iter().map(|object| object.data_bytes).sum(),
        }
    }

    /// The bytes of records that make so many bytes of an object.
    fn data_bytes(&self, object_bytes: u64) -> u64 {
        let bytes = u128::from(object_bytes) * u128::from(self.data_bytes);
        let bytes = bytes / u128::from(self.object_bytes);
        u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: u64 = 1_000_000;

    /// Closes batches at their limits and tells what they became by `size_of`; the sizes of those that
    /// were known.
    fn run(aim: &mut Aim<u8>, group: u8, count: usize, size_of: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut known = vec![];
        for _ in 0..count {
            let (data_bytes, is_known) = match aim.limit(&group) {
                Limit::Known(bytes) => (bytes, true),
                Limit::Learning(bytes) => {
                    aim.teaches();
                    assert_eq!(aim.limit(&group), Limit::Waiting);
                    (bytes, false)
                }
                Limit::Waiting => panic!("nothing is under way"),
            };
            let object_bytes = size_of(data_bytes);
            aim.observe(&group, Observed { data_bytes, object_bytes });
            aim.has_learnt();
            known.extend(is_known.then_some(object_bytes));
        }
        known
    }

    fn is_near(bytes: &u64) -> bool {
        (TARGET / 10 * 9..=TARGET / 10 * 11).contains(bytes)
    }

    #[test]
    fn a_few_objects_teach_the_size_whatever_the_ratio_and_its_bend() {
        for hundredths in [1, 5, 12, 20, 45, 80, 100, 120] {
            for bend in [0.85, 1.0, 1.1] {
                let size_of = |bytes: u64| {
                    let whole = TARGET as f64 * 100.0 / f64::from(hundredths);
                    (TARGET as f64 * (bytes as f64 / whole).powf(bend)) as u64 + 3_000
                };
                let known = run(&mut Aim::new(TARGET, &[]), 1, 20, size_of);
                assert!(known.len() >= 16, "{hundredths} {bend}: {known:?}");
                assert!(known.iter().all(is_near), "{hundredths} {bend}: {known:?}");
            }
        }
    }

    #[test]
    fn a_change_of_the_data_is_followed_within_a_few_objects() {
        let mut aim = Aim::new(TARGET, &[]);
        run(&mut aim, 1, 5, |bytes| bytes / 5);
        for divisor in [4, 6, 20, 2] {
            let known = run(&mut aim, 1, 8, |bytes| bytes / divisor);
            assert_eq!(known.len(), 8);
            assert!(known[COUNTED_MAX..].iter().all(is_near), "{divisor}: {known:?}");
        }
    }

    #[test]
    fn small_objects_teach_nothing_that_is_known_better() {
        let mut aim = Aim::new(TARGET, &[]);
        run(&mut aim, 1, 5, |bytes| bytes / 5);
        let before = aim.limit(&1);
        for _ in 0..20 {
            aim.observe(&1, Observed { data_bytes: 1_000, object_bytes: 4_000 });
        }
        aim.observe(&1, Observed { data_bytes: 0, object_bytes: 4_000 });
        assert_eq!(aim.limit(&1), before);
    }

    #[test]
    fn groups_have_ratios_of_their_own_and_begin_with_that_of_all() {
        let mut aim = Aim::new(TARGET, &[]);
        run(&mut aim, 1, 6, |bytes| bytes / 5);
        let known = run(&mut aim, 2, 6, |bytes| bytes / 4);
        assert_eq!(known.len(), 6, "it is known from the start, by the other group");
        assert!(!is_near(&known[0]) && known[1..].iter().all(is_near), "{known:?}");
        assert!(run(&mut aim, 1, 3, |bytes| bytes / 5).iter().all(is_near));
        for group in 0..=255 {
            aim.observe(&group, Observed { data_bytes: 5_000_000, object_bytes: TARGET });
        }
        assert!(aim.groups.len() <= GROUPS_MAX);
    }

    #[test]
    fn a_later_process_begins_with_what_was_known() {
        let mut aim = Aim::new(TARGET, &[]);
        run(&mut aim, 1, 7, |bytes| bytes / 5);
        let mut later = Aim::new(TARGET, &aim.remembered());
        assert_eq!(
            run(&mut later, 1, 3, |bytes| bytes / 5).iter().filter(|size| is_near(size)).count(),
            3
        );
        // Of another size it knows less, and learns it.
        let mut other = Aim::<u8>::new(TARGET * 10, &aim.remembered());
        assert!(matches!(other.limit(&1), Limit::Learning(bytes) if bytes > TARGET * 10));
        run(&mut other, 1, 1, |bytes| bytes / 5);
        assert!(matches!(other.limit(&1), Limit::Known(_)));
    }
}
