//! Which of some batches a position belongs to.

use super::round::Batch;
use crate::positions::{Positions, Run};
use crate::record::Position;

/// The positions of all batches.
pub(super) fn union(batches: &[Batch]) -> Positions {
    let mut runs: Vec<_> = batches.iter().flat_map(|batch| batch.positions.runs()).collect();
    runs.sort_unstable_by_key(|run| run.first);
    let mut all = Positions::default();
    runs.into_iter().for_each(|run| all.push_run(run.first, run.count));
    all
}

/// Tells for ascending positions which batch they belong to.
pub(super) struct Owners {
    runs: Vec<(Run, usize)>,
    at: usize,
}

impl Owners {
    pub(super) fn new(batches: &[Batch]) -> Self {
        let runs = batches
            .iter()
            .enumerate()
            .flat_map(|(index, batch)| batch.positions.runs().map(move |run| (run, index)));
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable_by_key(|(run, _)| run.first);
        Self { runs, at: 0 }
    }

    /// The index of the batch that has `position`, which is not before the one asked for last.
    pub(super) fn of(&mut self, position: Position) -> usize {
        while self.runs[self.at].0.end() <= position {
            self.at += 1;
        }
        self.runs[self.at].1
    }
}
