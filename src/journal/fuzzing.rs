//! What stands on the disk, for the fuzzer: decisions, checkpoints, and segments that were damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::control::Beside;
use super::frame::{self, Kind, Slot};
use super::segment::{self, SegmentHeader};
use super::{Batch, CALL_KEY_BYTES, CallKey, Checkpoint, Control, Look, Survey};
use crate::disk::{Disk, MemoryDisk, OpenMode};
use crate::record::{Position, Tenant, UnixMillis};

const SALT: u32 = 0x5eed;
const INSTANCE: Uuid = Uuid::from_u128(7);

/// The body of a decision or of a checkpoint, whose checksum holds: what is understood is written
/// again as the same. The first byte says what it is.
pub(crate) fn control(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let kinds = [Kind::Plan, Kind::Commit, Kind::Registered, Kind::Spoiled];
    if let Some(kind) = kinds.get(usize::from(kind % 5)) {
        if let Some(control) = Control::decode(*kind, body) {
            assert_eq!(control.kind(), *kind);
            assert_eq!(Control::decode(*kind, &control.encode()), Some(control));
        }
        return;
    }
    let mut file = b"LKHCKP01".to_vec();
    file.extend_from_slice(&(body.len() as u32).to_le_bytes());
    file.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    file.extend_from_slice(body);
    if let Some((checkpoint, beside)) = Checkpoint::decode(&file) {
        let again = Checkpoint::decode(&checkpoint.encode(&beside));
        assert_eq!(again, Some((checkpoint, beside)));
    }
    // Without the front that was made for it.
    assert_eq!(Checkpoint::decode(body).map(|(_, Beside { calls, .. })| calls.len()), None);
}

/// A segment, written in pieces and then damaged: no record is seen twice or out of order, none is
/// seen that was not written, and of an undamaged one all are seen.
///
/// A piece is a byte that says what it is, a length, and so many bytes: 0 to 3 a call of as many
/// records and one more, 4 a decision, 5 other bytes, 6 a byte that is changed (where, and to what).
pub(crate) fn segment(data: &[u8]) {
    let first = Position(100);
    let header = SegmentHeader {
        instance: INSTANCE,
        sequence: 1,
        first,
        created: UnixMillis(1),
        salt: SALT,
    };
    let mut bytes = vec![0; segment::HEADER_BYTES];
    let copy = header.encode();
    bytes[..copy.len()].copy_from_slice(&copy);
    let second = segment::HEADER_BYTES - copy.len();
    bytes[second..].copy_from_slice(&copy);
    let mut written = BTreeMap::new();
    let (mut next, mut is_damaged, mut is_strange, mut changes) = (first, false, false, 0);
    let mut rest = data;
    while let &[what, length, ref after @ ..] = rest {
        let (piece, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let slot = Slot { salt: SALT, first: next, group_offset: 0 };
        match what % 7 {
            count @ 0..=3 => {
                let batch = call(count, piece);
                for record in batch.records() {
                    written.insert(next, record.to_vec());
                    next = next.advanced_by(1);
                }
                frame::put_batch(&mut bytes, slot, &batch);
            }
            4 => {
                let kinds = [Kind::Plan, Kind::Commit, Kind::Registered, Kind::Spoiled];
                let (kind, body) = piece.split_first().unwrap_or((&1, &[0; 8]));
                let kind = kinds[usize::from(*kind) % kinds.len()];
                is_damaged |= Control::decode(kind, body).is_none();
                frame::put_control(&mut bytes, slot, kind, body);
            }
            5 => {
                bytes.extend_from_slice(piece);
                bytes.resize(bytes.len().next_multiple_of(frame::ALIGNMENT), 0);
                // They may be a frame.
                (is_damaged, is_strange) = (true, true);
            }
            _ => {
                let &[high, low, to, ..] = piece else {
                    continue;
                };
                let at = usize::from(high) << 8 | usize::from(low);
                let length = bytes.len();
                bytes[at % length] = to;
                is_damaged = true;
                // Enough of them may be a checksum.
                changes += 1;
            }
        }
    }
    is_strange |= changes > 3;
    let disk = MemoryDisk::default();
    let path = Path::new("log/journal").join(segment::file_name(1));
    let file = disk.open(&path, OpenMode::Create).expect("a file in memory");
    file.write_all_at(&bytes, 0).expect("memory is written");
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let mut survey = Survey::of(&disk, Path::new("log"), INSTANCE).expect("memory is read");
    survey.scan(&mut |_| {});
    let mut seen = BTreeMap::new();
    let mut last = None;
    let mut flaw_count = 0;
    survey.check(&mut |look| match look {
        Look::Record(position, record) => {
            assert!(last.is_none_or(|last| last < position), "{position:?} behind {last:?}");
            last = Some(position);
            seen.insert(position, record.to_vec());
        }
        Look::Flaw(flaw) => flaw_count += usize::from(flaw.positions.is_some()),
    });
    if !is_strange {
        for (position, record) in &seen {
            assert_eq!(written.get(position), Some(record), "{position:?} was not written");
        }
    }
    if !is_damaged {
        assert_eq!(seen, written);
        assert_eq!((flaw_count, survey.end()), (0, next));
    }
}

/// A call of `count` and one more records, of which the first is the piece.
fn call(count: u8, piece: &[u8]) -> Batch {
    let tenant = std::str::from_utf8(piece).ok().and_then(|text| Tenant::new(text).ok());
    let key = piece.first_chunk::<CALL_KEY_BYTES>().map(|key| CallKey(*key));
    let mut batch = Batch::new(tenant, UnixMillis(5)).with_call(key);
    batch.push(piece);
    for index in 0..count {
        batch.push(&[index]);
    }
    batch
}
