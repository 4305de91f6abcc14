//! Which records are settled: one bit a record, from the first unsettled one on.
//!
//! Pure calculation, and the only thing that moves a checkpoint. A record is settled when a durable
//! plan says what becomes of it.

use std::collections::VecDeque;

use crate::positions::Positions;
use crate::record::Position;

const WORD_BITS: u64 = 64;

/// The settled records of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Everything before the first word is settled; a multiple of [`WORD_BITS`].
    base: u64,
    words: VecDeque<u64>,
    settled_in_words: u64,
}

impl Progress {
    pub(super) fn new(settled: &Positions) -> Self {
        let mut progress = Self::default();
        progress.settle(settled);
        progress
    }

    /// Settles positions; tells how many were not settled before.
    pub(super) fn settle(&mut self, positions: &Positions) -> u64 {
        let before = self.settled_count();
        for run in positions.runs() {
            let known_end = self.base + self.words.len() as u64 * WORD_BITS;
            if run.first <= self.low() && run.end().0 >= known_end {
                // Nothing is left between: it may be very long, such as all that a new backup leaves
                // out.
                self.base = run.end().0 / WORD_BITS * WORD_BITS;
                self.words.clear();
                self.settled_in_words = 0;
            }
            for position in run.first.0.max(self.base)..run.end().0 {
                self.settle_one(position);
            }
            while self.words.front() == Some(&u64::MAX) {
                self.words.pop_front();
                self.base += WORD_BITS;
                self.settled_in_words -= WORD_BITS;
            }
        }
        self.settled_count() - before
    }

    pub(super) fn is_settled(&self, position: Position) -> bool {
        let Some(offset) = position.0.checked_sub(self.base) else {
            return true;
        };
        let word = self.words.get((offset / WORD_BITS) as usize);
        word.is_some_and(|word| word >> (offset % WORD_BITS) & 1 == 1)
    }

    /// The first position that is not settled.
    pub(super) fn low(&self) -> Position {
        let trailing = self.words.front().map_or(0, |word| word.trailing_ones());
        Position(self.base + u64::from(trailing))
    }

    pub(super) fn settled_count(&self) -> u64 {
        self.base + self.settled_in_words
    }

    /// How many positions of `first .. end` are not settled.
    pub(super) fn unsettled_between(&self, first: Position, end: Position) -> u64 {
        let first = first.0.max(self.base);
        if end.0 <= first {
            return 0;
        }
        // Bits of a word from `from` on, and before `to`.
        let after = |from: u64| u64::MAX << from;
        let before = |to: u64| if to == WORD_BITS { u64::MAX } else { !after(to) };
        let from = (first - self.base) / WORD_BITS;
        let words = self.words.iter().zip(0..).skip(from as usize).map(|(word, index)| {
            let start = self.base + index * WORD_BITS;
            let bits = after(first.saturating_sub(start).min(WORD_BITS - 1))
                & before(end.0.saturating_sub(start).min(WORD_BITS));
            u64::from((word & bits).count_ones())
        });
        end.0 - first - words.sum::<u64>()
    }

    pub(super) fn settled(&self) -> Positions {
        let mut settled = Positions::from_run(Position(0), self.base);
        for (index, word) in self.words.iter().enumerate() {
            let start = self.base + index as u64 * WORD_BITS;
            if *word == u64::MAX {
                settled.push_run(Position(start), WORD_BITS);
            } else {
                let ones = (0..WORD_BITS).filter(|bit| word >> bit & 1 == 1);
                ones.for_each(|bit| settled.push(Position(start + bit)));
            }
        }
        settled
    }

    fn settle_one(&mut self, position: u64) {
        let offset = position - self.base;
        let index = (offset / WORD_BITS) as usize;
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let bit = 1 << (offset % WORD_BITS);
        if self.words[index] & bit == 0 {
            self.words[index] |= bit;
            self.settled_in_words += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_of_any_length_from_the_first_unsettled_position_on_is_settled_at_once() {
        for (settled, first) in [(0, 0), (10, 10), (10, 3), (64, 64), (1000, 1000)] {
            let mut progress = Progress::new(&Positions::from_run(Position(0), settled));
            // One further on that is swallowed, and its word with it.
            progress.settle(&Positions::from_run(Position(settled + 700), 1));
            let end = (1 << 50) + 7;
            let new = progress.settle(&Positions::from_run(Position(first), end - first));
            assert_eq!(new, end - settled - 1);
            assert_eq!((progress.low(), progress.settled_count()), (Position(end), end));
            assert_eq!(progress.settled(), Positions::from_run(Position(0), end));
        }
    }

    proptest! {
        #[test]
        fn progress_equals_its_model(
            steps in proptest::collection::vec((0u64..500, 1u64..90), 1..40),
        ) {
            let (mut progress, mut model) = (Progress::default(), BTreeSet::new());
            for (first, count) in steps {
                let new = (first..first + count).filter(|p| model.insert(*p)).count() as u64;
                let settled = progress.settle(&Positions::from_run(Position(first), count));
                prop_assert_eq!(settled, new);
                let low = (0..).find(|p| !model.contains(p));
                prop_assert_eq!(Some(progress.low().0), low);
                prop_assert_eq!(progress.settled_count(), model.len() as u64);
            }
            for (first, end) in [(0, 600), (0, 63), (64, 65), (100, 300), (130, 128), (190, 520)] {
                let unsettled = (first..end).filter(|p| !model.contains(p)).count() as u64;
                let found = progress.unsettled_between(Position(first), Position(end));
                prop_assert_eq!(found, unsettled, "{}..{}", first, end);
            }
            for position in 0..600 {
                prop_assert_eq!(progress.is_settled(Position(position)), model.contains(&position));
            }
            let expected: Positions = model.iter().copied().map(Position).collect();
            prop_assert_eq!(progress.settled(), expected.clone());
            let again = Progress::new(&expected);
            prop_assert_eq!((again.low(), again.settled()), (progress.low(), expected));
        }
    }
}
