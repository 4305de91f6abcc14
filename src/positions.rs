//! Sets of positions, kept as runs: `[3..8, 20..21]`.
//!
//! Owns the set, its arithmetic, its bytes and its text. Does not know what the positions stand for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::Position;

/// Consecutive positions `first .. first + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first position of the run.
    pub first: Position,
    /// How many positions follow each other; never 0.
    pub count: u64,
}

impl Run {
    /// The first position after the run.
    #[must_use]
    pub fn end(self) -> Position {
        self.first.advanced_by(self.count)
    }
}

/// A set of positions as sorted runs that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Positions {
    runs: Vec<Run>,
}

/// Why bytes are not a set of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("positions are not written as sorted runs")]
pub struct PositionsError;

/// Sorted runs for people and footers: `0-99,105,200-299`; the empty set is the empty text.
impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.runs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", run.first)?;
            if run.count > 1 {
                write!(f, "-{}", run.end().0 - 1)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = PositionsError;

    fn from_str(text: &str) -> Result<Self, PositionsError> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| PositionsError);
        let mut positions = Self::default();
        let mut end = None;
        for run in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let (first, last) = (number(first)?, number(last)?);
            // Runs that touch would be one.
            if last < first || last == u64::MAX || end.is_some_and(|end| first <= end) {
                return Err(PositionsError);
            }
            positions.push_run(Position(first), last - first + 1);
            end = Some(last + 1);
        }
        Ok(positions)
    }
}

impl Positions {
    /// The set of one run; empty when `count` is 0.
    #[must_use]
    pub fn from_run(first: Position, count: u64) -> Self {
        let mut positions = Self::default();
        positions.push_run(first, count);
        positions
    }

    /// Adds a position that is greater than all in the set.
    ///
    /// # Panics
    /// When it is not: callers walk the journal in order.
    pub fn push(&mut self, position: Position) {
        self.push_run(position, 1);
    }

    /// Adds `count` positions from `first` on, all greater than those in the set.
    ///
    /// # Panics
    /// When they are not.
    pub fn push_run(&mut self, first: Position, count: u64) {
        if count == 0 {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.end() == first => last.count += count,
            Some(last) => {
                assert!(last.end() < first, "positions are added in order");
                self.runs.push(Run { first, count });
            }
            None => self.runs.push(Run { first, count }),
        }
    }

    /// The runs in order.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// How many positions the set holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// The first `count` of them, and the others.
    #[must_use]
    pub fn split_at(&self, count: u64) -> (Self, Self) {
        let (mut first, mut others) = (Self::default(), Self::default());
        let mut left = count;
        for run in &self.runs {
            let taken = run.count.min(left);
            left -= taken;
            first.push_run(run.first, taken);
            others.push_run(run.first.advanced_by(taken), run.count - taken);
        }
        (first, others)
    }

    /// Whether the set holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The smallest position.
    #[must_use]
    pub fn first(&self) -> Option<Position> {
        self.runs.first().map(|run| run.first)
    }

    /// Whether `position` is in the set.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        let after = self.runs.partition_point(|run| run.first <= position);
        after > 0 && position < self.runs[after - 1].end()
    }

    /// Whether every position of `from .. to` is in the set.
    #[must_use]
    pub fn contains_range(&self, from: Position, to: Position) -> bool {
        let after = self.runs.partition_point(|run| run.first <= from);
        to <= from || (after > 0 && to <= self.runs[after - 1].end())
    }

    /// The positions that are in this set or in `other`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut runs: Vec<Run> = self.runs.iter().chain(&other.runs).copied().collect();
        runs.sort_unstable_by_key(|run| run.first);
        let mut all = Self::default();
        for run in runs {
            let end = all.runs.last().map_or(Position(0), |last| last.end());
            let first = run.first.max(end);
            all.push_run(first, run.end().0.saturating_sub(first.0));
        }
        all
    }

    /// The positions that are in this set and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        let mut covers = other.runs.iter().copied().peekable();
        for run in &self.runs {
            let mut first = run.first;
            while covers.next_if(|cover| cover.end() <= first).is_some() {}
            while let Some(cover) = covers.peek()
                && cover.first < run.end()
            {
                rest.push_run(first, cover.first.0.saturating_sub(first.0));
                first = first.max(cover.end());
                if cover.end() > run.end() {
                    break;
                }
                covers.next();
            }
            rest.push_run(first, run.end().0.saturating_sub(first.0));
        }
        rest
    }

    /// Every position in order.
    pub fn iter(&self) -> impl Iterator<Item = Position> + '_ {
        self.runs.iter().flat_map(|run| (run.first.0..run.end().0).map(Position))
    }

    /// Bytes of memory that the runs take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    /// Appends the set to `out`: the number of runs, then for each run the gap since the end of the
    /// run before and its count, all as LEB128.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.runs.len() as u64);
        let mut end = 0;
        for run in &self.runs {
            put_varint(out, run.first.0 - end);
            put_varint(out, run.count);
            end = run.end().0;
        }
    }

    /// Reads what [`encode`](Self::encode) wrote from the front of `bytes` and moves `bytes` on.
    ///
    /// # Errors
    /// When the bytes end early, overflow, or are not sorted runs; nothing is allocated for a
    /// length that the bytes cannot hold.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, PositionsError> {
        let run_count = take_varint(bytes)?;
        if run_count > bytes.len() as u64 {
            return Err(PositionsError);
        }
        let mut positions = Self::default();
        let mut end = 0u64;
        for index in 0..run_count {
            let gap = take_varint(bytes)?;
            let count = take_varint(bytes)?;
            if count == 0 || (index > 0 && gap == 0) {
                return Err(PositionsError);
            }
            let first = end.checked_add(gap).ok_or(PositionsError)?;
            end = first.checked_add(count).ok_or(PositionsError)?;
            positions.push_run(Position(first), count);
        }
        Ok(positions)
    }
}

impl From<Positions> for String {
    fn from(positions: Positions) -> Self {
        positions.to_string()
    }
}

impl TryFrom<String> for Positions {
    type Error = PositionsError;

    fn try_from(text: String) -> Result<Self, PositionsError> {
        text.parse()
    }
}

impl FromIterator<Position> for Positions {
    /// Collects positions that come in ascending order.
    fn from_iter<I: IntoIterator<Item = Position>>(iter: I) -> Self {
        let mut positions = Self::default();
        for position in iter {
            positions.push(position);
        }
        positions
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, PositionsError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(PositionsError)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(PositionsError);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(PositionsError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_equals_its_model_and_survives_its_bytes(
            model in proptest::collection::btree_set(0u64..400, 0..200),
            shift in prop_oneof![Just(0u64), Just(u64::MAX - 1000)],
        ) {
            let set: Positions = model.iter().map(|p| Position(p + shift)).collect();
            prop_assert_eq!(set.count(), model.len() as u64);
            prop_assert!(set.iter().map(|p| p.0 - shift).eq(model.iter().copied()));
            for p in 0..400 {
                prop_assert_eq!(set.contains(Position(p + shift)), model.contains(&p));
            }
            for from in (0..400).step_by(7) {
                let all = model.range(from..from + 3).count() == 3;
                let found = set.contains_range(Position(from + shift), Position(from + 3 + shift));
                prop_assert_eq!(found, all);
            }
            let mut bytes = Vec::new();
            set.encode(&mut bytes);
            bytes.push(7);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(Positions::decode(&mut rest), Ok(set.clone()));
            prop_assert_eq!(set.to_string().parse(), Ok(set));
            prop_assert_eq!(rest, &[7u8][..]);
        }

        #[test]
        fn unions_and_differences_equal_their_models(
            left in proptest::collection::btree_set(0u64..60, 0..60),
            right in proptest::collection::btree_set(0u64..60, 0..60),
        ) {
            let set = |model: &std::collections::BTreeSet<u64>| -> Positions {
                model.iter().copied().map(Position).collect()
            };
            let expected: Positions = left.difference(&right).copied().map(Position).collect();
            prop_assert_eq!(set(&left).without(&set(&right)), expected);
            let expected: Positions = left.union(&right).copied().map(Position).collect();
            prop_assert_eq!(set(&left).with(&set(&right)), expected);
        }

        #[test]
        fn foreign_bytes_are_refused_or_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = Positions::decode(&mut bytes.as_slice());
        }

        #[test]
        fn foreign_texts_are_refused_or_read_without_panic(text in "[0-9,-]{0,24}|[0-9]{18,22}") {
            if let Ok(positions) = text.parse::<Positions>() {
                prop_assert_eq!(positions.to_string().parse(), Ok(positions));
            }
        }
    }
}
