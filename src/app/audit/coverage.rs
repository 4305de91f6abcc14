//! Positions that come in any order, object by object, and which of them came before.
//!
//! Memory goes with the number of runs, and runs that touch are one: what is covered without gaps is
//! a single run, however many objects it came from.

use std::collections::BTreeMap;

use crate::positions::Positions;
use crate::record::Position;

/// Positions that have been seen.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// Ends by starts; no two runs touch.
    runs: BTreeMap<u64, u64>,
}

impl Coverage {
    /// Adds positions; gives those that were seen before.
    pub(super) fn add(&mut self, positions: &Positions) -> Positions {
        let mut again = Positions::default();
        for run in positions.runs() {
            self.add_run(run.first.0, run.end().0, &mut again);
        }
        again
    }

    /// All of it.
    pub(super) fn positions(&self) -> Positions {
        let mut positions = Positions::default();
        for (first, end) in &self.runs {
            positions.push_run(Position(*first), end - first);
        }
        positions
    }

    fn add_run(&mut self, first: u64, end: u64, again: &mut Positions) {
        let (mut start, mut last) = (first, end);
        let before = self.runs.range(..=first).next_back().map(|(start, end)| (*start, *end));
        if let Some((known_first, known_end)) = before
            && known_end >= first
        {
            again.push_run(Position(first), known_end.min(end) - first);
            start = known_first;
            last = last.max(known_end);
        }
        let touched: Vec<(u64, u64)> =
            self.runs.range(first + 1..=end).map(|(start, end)| (*start, *end)).collect();
        for (known_first, known_end) in touched {
            again.push_run(Position(known_first), known_end.min(end) - known_first);
            last = last.max(known_end);
            self.runs.remove(&known_first);
        }
        self.runs.insert(start, last);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn coverage_equals_its_model(
            sets in proptest::collection::vec(
                proptest::collection::btree_set(0u64..80, 0..20), 0..12,
            ),
        ) {
            let (mut coverage, mut model) = (Coverage::default(), BTreeSet::new());
            for set in sets {
                let positions: Positions = set.iter().copied().map(Position).collect();
                let again: Positions = set.intersection(&model).copied().map(Position).collect();
                prop_assert_eq!(coverage.add(&positions), again);
                model.extend(set);
                let all: Positions = model.iter().copied().map(Position).collect();
                prop_assert_eq!(coverage.positions(), all);
            }
        }
    }
}
