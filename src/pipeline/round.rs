//! The closed batches that become one plan: which ones, what they take of the memory, and how they are
//! divided among threads.
//!
//! Owns the bounds of a plan. Does not convert.

use std::collections::VecDeque;
use std::ops::Range;

use crate::buffer;
use crate::convert::{Format, RecordsCompression};
use crate::partition::Group;

/// A closed batch of a stream.
pub(super) type Batch = buffer::Batch<Group>;

/// Bytes of records that one plan takes on; a larger single batch is a plan of its own.
const PLAN_BYTES_MAX: u64 = 256 << 20;
/// Batches that one plan takes on when their encoders are open side by side.
const PLAN_BATCHES_MAX: usize = 64;
/// Records of so many bytes are read before they are converted, and then one batch after another, so
/// that a plan takes on more of them.
pub(super) const KEPT_BYTES_MAX: u64 = 32 << 20;
/// Of those, a plan takes on so many batches,
pub(super) const KEPT_BATCHES_MAX: usize = 2_048;
/// so many records,
const KEPT_RECORDS_MAX: u64 = 500_000;
/// and what makes headers of about so many bytes: it has to fit into a frame of the journal.
const HEADERS_BYTES_MAX: usize = 10 << 20;
/// The headers of a batch have about this in the least, with one for each kind of error.
const HEADERS_BYTES_MIN: usize = 3_000;

/// A thread is worth it for so many bytes of records.
const SHARE_BYTES_MIN: u64 = 256 << 10;
/// What an open encoder takes besides the bytes of its object: a batch of columns, those whose encodings
/// are not chosen yet, and pages.
const ENCODER_BYTES_MAX: u64 = 16 << 20;
/// Where rows are sorted, it holds the columns of so many bytes of records besides.
const SORTED_BYTES_MAX: u64 = 128 << 20;

/// How many of the closed batches one plan takes on, of `bytes_max` in all if they are more than one.
pub(super) fn round_length(closed: &VecDeque<Batch>, bytes_max: u64) -> usize {
    let mut length = 0;
    let (mut bytes, mut records, mut headers) = (0, 0, 0);
    for batch in closed {
        bytes += batch.data_bytes;
        records += batch.positions.count();
        // A value stands in a key, in a location and by itself, escaped.
        headers += HEADERS_BYTES_MIN + 12 * batch.group.memory_bytes();
        let fits = if length < PLAN_BATCHES_MAX {
            bytes <= PLAN_BYTES_MAX && records <= buffer::BATCH_RECORDS_MAX
        } else {
            bytes <= KEPT_BYTES_MAX && records <= KEPT_RECORDS_MAX && length < KEPT_BATCHES_MAX
        };
        let fits = fits && bytes <= bytes_max && headers <= HEADERS_BYTES_MAX;
        if !fits && length > 0 {
            break;
        }
        length += 1;
    }
    length
}

/// Divides batches that are larger than what a plan takes on.
pub(super) fn divided(batches: Vec<Batch>) -> Vec<Batch> {
    batches.into_iter().flat_map(Batch::divided).collect()
}

/// About what `batches` take of the memory together until their objects are frozen, converted by so many
/// threads.
pub(super) fn memory_bytes(
    batches: &[Batch],
    format: &Format,
    object_bytes: Option<u64>,
    threads: usize,
) -> u64 {
    let of_share = |share: Range<usize>| share_bytes(&batches[share], format, object_bytes);
    shares(batches, threads).into_iter().map(of_share).sum()
}

fn share_bytes(batches: &[Batch], format: &Format, object_bytes: Option<u64>) -> u64 {
    let is_packed = match format {
        Format::Parquet(_) => true,
        Format::Records(options) => options.compression != RecordsCompression::None,
    };
    let of_object = |batch: &Batch| {
        let bytes = if is_packed { batch.data_bytes / 2 } else { batch.data_bytes };
        bytes.min(object_bytes.map_or(u64::MAX, |bytes| 2 * bytes))
    };
    let objects: u64 = batches.iter().map(of_object).sum();
    let data: u64 = batches.iter().map(|batch| batch.data_bytes).sum();
    let of_encoder = |batch: &Batch| {
        let sorted = if format.sorts_rows() { batch.data_bytes.min(SORTED_BYTES_MAX) } else { 0 };
        (2 * batch.data_bytes).min(ENCODER_BYTES_MAX) + sorted * 5 / 4
    };
    let encoders = batches.iter().map(of_encoder);
    let working = if is_kept(batches) {
        // Records are held with what finds them, and then one encoder is open at a time.
        2 * data + encoders.max().unwrap_or(0)
    } else {
        encoders.sum()
    };
    objects + working
}

/// Whether the records of `batches` are read before they are converted.
pub(super) fn is_kept(batches: &[Batch]) -> bool {
    let bytes: u64 = batches.iter().map(|batch| batch.data_bytes).sum();
    batches.len() > 1 && bytes <= KEPT_BYTES_MAX
}

/// Batches one behind the other in shares of about equal size, at most one for each of `threads`.
pub(super) fn shares(batches: &[Batch], threads: usize) -> Vec<Range<usize>> {
    let all: u64 = batches.iter().map(|batch| batch.data_bytes).sum();
    let share_bytes = all.div_ceil(threads.max(1) as u64).max(SHARE_BYTES_MIN);
    let (mut shares, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, batch) in batches.iter().enumerate() {
        // Where it ends nearer to its size without this one.
        if index > start && bytes + batch.data_bytes / 2 > share_bytes && shares.len() + 1 < threads
        {
            shares.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += batch.data_bytes;
    }
    if start < batches.len() {
        shares.push(start..batches.len());
    }
    shares
}

impl Batch {
    /// Whether it is larger than what a plan takes on, which batches are that aim at a large object.
    pub(super) fn is_divisible(&self) -> bool {
        self.data_bytes > PLAN_BYTES_MAX && self.positions.count() > 1
    }

    /// Its records in parts of about as many bytes as a plan takes on. They are told apart by their
    /// number, since their lengths are not known here.
    pub(super) fn divided(self) -> Vec<Self> {
        let count = self.data_bytes.div_ceil(PLAN_BYTES_MAX).max(1);
        let records_max = self.positions.count().div_ceil(count).max(1);
        let (mut parts, mut rest) = (Vec::new(), self.positions.clone());
        while !rest.is_empty() {
            let (first, behind) = rest.split_at(records_max);
            let data_bytes = self.data_bytes / count;
            parts.push(Self { positions: first, data_bytes, ..self.clone() });
            rest = behind;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Trigger;
    use crate::convert::{Delimiter, RecordsOptions};
    use crate::positions::Positions;
    use crate::record::{Position, UnixMillis};

    fn batches(sizes: &[u64]) -> Vec<Batch> {
        let batch = |data_bytes: &u64| Batch {
            group: Group::default(),
            positions: Positions::from_run(Position(0), 1),
            data_bytes: *data_bytes,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Size,
        };
        sizes.iter().map(batch).collect()
    }

    #[test]
    fn shares_have_every_batch_once_in_order_and_are_about_equal() {
        let mib = 1 << 20;
        for (sizes, threads, wanted) in [
            (vec![], 4, vec![]),
            (vec![5 * mib], 4, vec![(0, 1)]),
            (vec![mib; 4], 1, vec![(0, 4)]),
            (vec![mib; 4], 2, vec![(0, 2), (2, 4)]),
            (vec![mib; 2], 8, vec![(0, 1), (1, 2)]),
            (vec![8 * mib, mib, mib], 2, vec![(0, 1), (1, 3)]),
            (vec![mib, mib, 8 * mib], 2, vec![(0, 2), (2, 3)]),
            (vec![1_000; 100], 2, vec![(0, 100)]),
        ] {
            let shares = shares(&batches(&sizes), threads);
            let found: Vec<_> = shares.into_iter().map(|share| (share.start, share.end)).collect();
            assert_eq!(found, wanted, "{sizes:?} by {threads}");
        }
    }

    #[test]
    fn a_plan_takes_its_objects_and_what_makes_them() {
        let plain = Format::Records(RecordsOptions {
            compression: RecordsCompression::None,
            delimiter: Delimiter::None,
        });
        let one = batches(&[100 << 20]);
        assert_eq!(memory_bytes(&one, &plain, None, 2), 116 << 20);
        assert_eq!(memory_bytes(&one, &plain, Some(10 << 20), 2), 36 << 20);
        let small = batches(&[1 << 20; 16]);
        assert_eq!(memory_bytes(&small, &plain, None, 1), (16 + 32 + 2) << 20, "they are kept");
        let many = batches(&[4 << 20; 16]);
        assert_eq!(memory_bytes(&many, &plain, None, 1), (64 + 16 * 8) << 20);
        let kept = (64 + 2 * (2 * 32 + 8)) << 20;
        assert_eq!(memory_bytes(&many, &plain, None, 2), kept, "each share is kept");
    }

    #[test]
    fn a_round_is_what_one_plan_takes_on_and_never_nothing() {
        let batch = |data_bytes| Batch {
            group: Group::default(),
            positions: Positions::from_run(Position(0), 9),
            data_bytes,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Size,
        };
        let closed = |sizes: &[u64]| sizes.iter().map(|size| batch(*size)).collect();
        let large = closed(&[200 << 20, 200 << 20, 200 << 20]);
        assert_eq!(round_length(&large, u64::MAX), 1);
        let mixed = closed(&[100 << 20, 100 << 20, 100 << 20]);
        assert_eq!(round_length(&mixed, u64::MAX), 2);
        assert_eq!(round_length(&mixed, 1), 1);
        let small = closed(&[1; 3_000]);
        assert_eq!(round_length(&small, u64::MAX), KEPT_BATCHES_MAX);
        assert_eq!(round_length(&closed(&[]), u64::MAX), 0);
    }

    #[test]
    fn a_divided_batch_has_all_its_records_in_parts_that_are_not_divided_again() {
        let batch = |records, data_bytes| Batch {
            group: Group::default(),
            positions: Positions::from_run(Position(7), records),
            data_bytes,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Target,
        };
        assert!(!batch(10, PLAN_BYTES_MAX).is_divisible());
        assert!(!batch(1, 2 * PLAN_BYTES_MAX).is_divisible());
        let whole = batch(10, 2 * PLAN_BYTES_MAX + 1);
        assert!(whole.is_divisible());
        let parts = whole.clone().divided();
        let counts: Vec<_> = parts.iter().map(|part| part.positions.count()).collect();
        assert_eq!(counts, [4, 4, 2]);
        assert!(parts.iter().all(|part| !part.is_divisible()));
        let all = parts.iter().fold(Positions::default(), |all, part| all.with(&part.positions));
        assert_eq!(all, whole.positions);
    }
}
