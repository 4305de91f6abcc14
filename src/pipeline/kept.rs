//! Records of many small batches, read in one pass and kept in memory, so that their batches can be
//! converted one after another: neither is the log read once for each, nor are thousands of encoders
//! open side by side.
//!
//! Owns the reading and the looking up. Who asks bounds how many bytes are kept.

use std::io;
use std::ops::Range;

use super::round::Batch;
use crate::journal::Journal;
use crate::positions::Positions;
use crate::record::{Position, Record, UnixMillis};

/// The records of some batches.
#[derive(Debug)]
pub(super) struct Kept {
    /// In the order of positions.
    records: Vec<KeptRecord>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct KeptRecord {
    position: Position,
    arrival: UnixMillis,
    /// None for one that the disk has lost.
    place: Option<Range<usize>>,
}

impl Kept {
    /// Reads the records of `batches`.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn read(log: &Journal, batches: &[Batch]) -> io::Result<Self> {
        let all = union(batches);
        // At once: growing piece by piece takes twice as much for a moment.
        let bytes: u64 = batches.iter().map(|batch| batch.data_bytes).sum();
        let mut kept = Self {
            records: Vec::with_capacity(all.count() as usize),
            bytes: Vec::with_capacity(bytes as usize),
        };
        log.read(&all, &mut |position, record| {
            let place = record.as_ref().map(|record| {
                let start = kept.bytes.len();
                kept.bytes.extend_from_slice(record.data);
                start..kept.bytes.len()
            });
            let arrival = record.map_or(UnixMillis(0), |record| record.arrival);
            kept.records.push(KeptRecord { position, arrival, place });
        })?;
        Ok(kept)
    }

    /// The records at `positions` in order, each with its position; without it when the disk has
    /// lost it.
    pub(super) fn of<'a>(
        &'a self,
        positions: &'a Positions,
    ) -> impl Iterator<Item = (Position, Option<Record<'a>>)> {
        positions.iter().map(|position| {
            let found = self.records.binary_search_by_key(&position, |record| record.position);
            let found = found.ok().map(|index| &self.records[index]);
            let record = found.and_then(|record| {
                let data = &self.bytes[record.place.clone()?];
                Some(Record { position, arrival: record.arrival, data })
            });
            (position, record)
        })
    }
}

/// The positions of all batches.
pub(super) fn union(batches: &[Batch]) -> Positions {
    let mut runs: Vec<_> = batches.iter().flat_map(|batch| batch.positions.runs()).collect();
    runs.sort_unstable_by_key(|run| run.first);
    let mut all = Positions::default();
    runs.into_iter().for_each(|run| all.push_run(run.first, run.count));
    all
}
