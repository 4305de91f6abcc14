//! Sets of positions, kept as runs: `[3..8, 20..21]`.
//!
//! Owns the set, its arithmetic, its bytes and its text. Does not know what the positions stand for.
//!
//! The records of one of many partitions lie scattered, each a run of its own, and there are millions
//! of them in memory. So runs are packed, all but the last: a byte that tells whether the run has one
//! position, whether more of the gap since the run before follows, and six bits of it; the rest of the
//! gap and the count as LEB128. That is three bytes for one record of twenty thousand. A look into the
//! middle of a set begins at the last of the marks before it, which stand between every so many runs.

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
    /// All runs but the last.
    packed: Vec<u8>,
    /// Where the last of them ends.
    packed_end: u64,
    packed_runs: usize,
    packed_count: u64,
    /// Where one may begin to read.
    marks: Vec<Mark>,
    /// The smallest position of the set.
    first: Position,
    /// The last run, which may still grow.
    last: Option<Run>,
}

/// A place between two packed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// Where the run before it ends.
    end: u64,
    /// The bytes before it.
    offset: usize,
}

/// So many runs stand between two marks: few enough to be read at once, many enough for the marks to add
/// little to what they take.
const RUNS_PER_MARK: usize = 128;

/// The runs of a set in order.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    packed: &'a [u8],
    end: u64,
    last: Option<Run>,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        // Nothing but `push_run` has written them.
        let Some((&front, rest)) = self.packed.split_first() else {
            return self.last.take();
        };
        self.packed = rest;
        let mut gap = u64::from(front >> 1 & 0x3f);
        if front & 0x80 != 0 {
            gap |= take_varint(&mut self.packed).unwrap_or(0) << 6;
        }
        let count = if front & 1 == 1 { take_varint(&mut self.packed).unwrap_or(1) } else { 1 };
        let first = self.end + gap;
        self.end = first + count;
        Some(Run { first: Position(first), count })
    }
}

/// Why bytes are not a set of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("positions are not written as sorted runs")]
pub struct PositionsError;

/// Sorted runs for people and footers: `0-99,105,200-299`; the empty set is the empty text.
impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.runs().enumerate() {
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
        match &mut self.last {
            Some(last) if last.end() == first => last.count += count,
            Some(last) => {
                assert!(last.end() < first, "positions are added in order");
                let run = std::mem::replace(last, Run { first, count });
                self.pack(run);
            }
            None => {
                self.first = first;
                self.last = Some(Run { first, count });
            }
        }
    }

    fn pack(&mut self, run: Run) {
        let gap = run.first.0 - self.packed_end;
        let front = (gap as u8 & 0x3f) << 1 | u8::from(run.count > 1);
        if gap >> 6 == 0 {
            self.packed.push(front);
        } else {
            self.packed.push(front | 0x80);
            put_varint(&mut self.packed, gap >> 6);
        }
        if run.count > 1 {
            put_varint(&mut self.packed, run.count);
        }
        self.packed_end = run.end().0;
        self.packed_runs += 1;
        self.packed_count += run.count;
        if self.packed_runs.is_multiple_of(RUNS_PER_MARK) {
            self.marks.push(Mark { end: self.packed_end, offset: self.packed.len() });
        }
    }

    /// The runs in order.
    #[must_use]
    pub fn runs(&self) -> Runs<'_> {
        Runs { packed: &self.packed, end: 0, last: self.last }
    }

    /// How many runs there are.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.packed_runs + usize::from(self.last.is_some())
    }

    /// How many positions the set holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.packed_count + self.last.map_or(0, |run| run.count)
    }

    /// The first position after all of the set; 0 for the empty one.
    #[must_use]
    pub fn end(&self) -> Position {
        self.last.map_or(Position(0), Run::end)
    }

    /// The first `count` of them, and the others.
    #[must_use]
    pub fn split_at(&self, count: u64) -> (Self, Self) {
        let (mut first, mut others) = (Self::default(), Self::default());
        let mut left = count;
        for run in self.runs() {
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
        self.last.is_none()
    }

    /// The smallest position.
    #[must_use]
    pub fn first(&self) -> Option<Position> {
        self.last.map(|_| self.first)
    }

    /// Whether `position` is in the set.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.run_before_end_of(position).is_some_and(|run| run.first <= position)
    }

    /// Whether every position of `from .. to` is in the set.
    #[must_use]
    pub fn contains_range(&self, from: Position, to: Position) -> bool {
        let run = self.run_before_end_of(from);
        to <= from || run.is_some_and(|run| run.first <= from && to <= run.end())
    }

    /// The first run that ends behind `position`.
    fn run_before_end_of(&self, position: Position) -> Option<Run> {
        match self.last {
            Some(last) if last.first <= position => Some(last).filter(|run| position < run.end()),
            _ => self.runs_near(position).find(|run| position < run.end()),
        }
    }

    /// The runs from one on that is not behind the first that ends behind `position`.
    fn runs_near(&self, position: Position) -> Runs<'_> {
        let before = self.marks.partition_point(|mark| mark.end <= position.0);
        match before.checked_sub(1).map(|index| self.marks[index]) {
            Some(Mark { end, offset }) => {
                Runs { packed: &self.packed[offset..], end, last: self.last }
            }
            None => self.runs(),
        }
    }

    /// The positions that are in this set or in `other`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let (mut one, mut two) = (self.runs().peekable(), other.runs().peekable());
        let mut all = Self::default();
        loop {
            let is_one = match (one.peek(), two.peek()) {
                (Some(run), Some(other)) => run.first <= other.first,
                (run, _) => run.is_some(),
            };
            let Some(run) = (if is_one { one.next() } else { two.next() }) else {
                return all;
            };
            let first = run.first.max(all.end());
            all.push_run(first, run.end().0.saturating_sub(first.0));
        }
    }

    /// The positions that are in this set and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        let mut covers = other.runs().peekable();
        for run in self.runs() {
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
        self.runs().flat_map(|run| (run.first.0..run.end().0).map(Position))
    }

    /// Bytes of memory that the runs take on the heap.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.packed.capacity() + self.marks.capacity() * size_of::<Mark>()
    }

    /// Appends the set to `out`: the number of runs, then for each run the gap since the end of the
    /// run before and its count, all as LEB128.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.run_count() as u64);
        let mut end = 0;
        for run in self.runs() {
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
        fn looks_into_a_long_set_find_what_reading_all_of_it_finds(
            gaps in proptest::collection::vec((1u64..200, 1u64..4), 0..2_000),
        ) {
            let mut set = Positions::default();
            let mut end = 0;
            for (gap, count) in gaps {
                set.push_run(Position(end + gap), count);
                end += gap + count;
            }
            prop_assert_eq!(set.marks.len(), set.run_count().saturating_sub(1) / RUNS_PER_MARK);
            let mut probes: Vec<_> = (0..end + 3).step_by(end as usize / 200 + 1).collect();
            probes.extend(set.marks.iter().flat_map(|mark| mark.end - 1..mark.end + 2));
            for position in probes.into_iter().map(Position) {
                let found = set.runs().find(|run| position < run.end());
                let is_in = found.is_some_and(|run| run.first <= position);
                prop_assert_eq!(set.contains(position), is_in);
                for length in 1..5 {
                    let to = position.advanced_by(length);
                    let expected = is_in && found.is_some_and(|run| to <= run.end());
                    prop_assert_eq!(set.contains_range(position, to), expected);
                }
                prop_assert_eq!(set.runs_near(position).find(|run| position < run.end()), found);
            }
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
