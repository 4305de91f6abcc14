//! Records of many small batches, read in one pass and kept in memory, so that their batches can be
//! converted one after another: neither is the log read once for each, nor are thousands of encoders
//! open side by side.
//!
//! Owns the reading, the looking up, and the bound on what is held. Who asks bounds the bytes of data;
//! what hooks said of a record stands in the log too, and is known when it is read and no sooner.

use std::io;
use std::ops::Range;

use super::owners::{Owners, union};
use super::round::Batch;
use crate::journal::Journal;
use crate::positions::Positions;
use crate::record::{Position, Record, UnixMillis};

/// What a thread holds at once, at the most: as much as one plan takes on of data, and about as much again
/// for what hooks said and for finding it.
pub(super) const HELD_BYTES_MAX: usize = 64 << 20;
/// The room for records grows by so much where more stands in the log than their data, so that it is
/// never much larger than what it holds.
const GROWTH_BYTES: usize = 4 << 20;

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

/// What came of reading the records of some batches.
#[derive(Debug)]
pub(super) enum Reading {
    Kept(Kept),
    /// That would hold too much: stretches of the batches of which each may be read by itself. One that
    /// is too much alone is a stretch of its own.
    TooMuch(Vec<Range<usize>>),
}

impl Kept {
    /// Reads the records of `batches`, unless they are more than `bytes_max` with everything that is
    /// held for them.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn read(log: &Journal, batches: &[Batch], bytes_max: usize) -> io::Result<Reading> {
        let all = union(batches);
        // At once: growing piece by piece takes twice as much for a moment.
        let bytes: u64 = batches.iter().map(|batch| batch.data_bytes).sum();
        let count = (all.count() as usize).min(bytes_max / size_of::<KeptRecord>() + 1);
        let mut kept = Self {
            records: Vec::with_capacity(count),
            bytes: Vec::with_capacity((bytes as usize).min(bytes_max)),
        };
        let mut owners = Owners::new(batches);
        let mut held_by_batch = vec![0; batches.len()];
        let mut held_bytes = 0;
        log.read(&all, &mut |position, record| {
            let length = record.as_ref().map_or(0, |record| record.data.len());
            let takes_bytes = length + size_of::<KeptRecord>();
            held_by_batch[owners.of(position)] += takes_bytes;
            held_bytes += takes_bytes;
            if held_bytes > bytes_max {
                // It is read anew, in parts.
                kept = Self { records: Vec::new(), bytes: Vec::new() };
            } else {
                kept.push(position, record);
            }
        })?;
        Ok(if held_bytes > bytes_max {
            Reading::TooMuch(stretches(&held_by_batch, bytes_max))
        } else {
            Reading::Kept(kept)
        })
    }

    fn push(&mut self, position: Position, record: Option<Record<'_>>) {
        let place = record.as_ref().map(|record| {
            let start = self.bytes.len();
            let is_full = self.bytes.capacity() - start < record.data.len();
            if is_full {
                self.bytes.reserve_exact(record.data.len().max(GROWTH_BYTES));
            }
            self.bytes.extend_from_slice(record.data);
            start..self.bytes.len()
        });
        let arrival = record.map_or(UnixMillis(0), |record| record.arrival);
        self.records.push(KeptRecord { position, arrival, place });
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

/// Consecutive ones together, as long as that is no more than `most`.
fn stretches(sizes: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    let mut sum = 0;
    for (index, size) in sizes.iter().enumerate() {
        sum += size;
        match stretches.last_mut().filter(|_| sum <= most) {
            Some(stretch) => stretch.end = index + 1,
            None => {
                sum = *size;
                stretches.push(index..index + 1);
            }
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::entry::{Content, Entry};
    use super::super::tests::journal_of;
    use super::*;
    use crate::buffer::Trigger;
    use crate::partition::Group;

    fn entry(number: u64, key_bytes: usize) -> Vec<u8> {
        let keys = BTreeMap::from([("key".to_owned(), "x".repeat(key_bytes))]);
        let content = Content::Part { partition_keys: keys, data: b"{}" };
        let mut bytes = Vec::new();
        Entry { source: Position(number), content }.encode(&mut bytes);
        bytes
    }

    fn batch(positions: impl IntoIterator<Item = u64>) -> Batch {
        let positions: Positions = positions.into_iter().map(Position).collect();
        Batch {
            group: Group::default(),
            data_bytes: 2 * positions.count(),
            positions,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Flush,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_hooks_said_of_records_counts_as_what_is_held() {
        let entries: Vec<_> = (0..60).map(|number| entry(number, 1_000)).collect();
        let log = journal_of(&entries).await;
        // Their records lie scattered, as those of partitions do.
        let mut batches: Vec<_> =
            (0..6).map(|index| batch((index..60).step_by(6).take(9))).collect();
        batches.push(batch(54..60));
        let read =
            |batches: &[Batch], most| Kept::read(&log, batches, most).expect("the disk works");
        let Reading::TooMuch(passes) = read(&batches, 25_000) else {
            panic!("60 KB are held where 25 KB may be");
        };
        assert_eq!(passes, [0..2, 2..4, 4..6, 6..7]);
        for pass in passes {
            let Reading::Kept(kept) = read(&batches[pass.clone()], 25_000) else {
                panic!("{pass:?} was promised to be little enough");
            };
            assert!(kept.bytes.len() < 25_000);
            for batch in &batches[pass] {
                for (position, record) in kept.of(&batch.positions) {
                    let data = record.map(|record| record.data.to_vec());
                    assert_eq!(data.as_ref(), Some(&entries[position.0 as usize]));
                }
            }
        }
        let Reading::TooMuch(passes) = read(&batches, 5_000) else { panic!("each is too much") };
        assert_eq!(passes, (0..7).map(|index| index..index + 1).collect::<Vec<_>>());
        assert!(matches!(read(&batches, 100_000), Reading::Kept(_)));
    }
}
