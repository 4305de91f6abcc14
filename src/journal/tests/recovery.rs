//! Damage: what is told as lost, what is cut, what stays.

use super::*;
use crate::disk::Disk as _;
use crate::journal::committer::Payload;
use crate::journal::log::{self, Log};
use crate::journal::{OpenError, segment};

const CALLS: u64 = 6;
const RECORDS: u64 = CALLS * 3;
const LENGTH: usize = 40;

/// A small log, with or without a seal.
async fn small_log(sealed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    for call in 0..CALLS {
        append(&opened.journal, call * 3, 3, LENGTH).await;
    }
    if sealed {
        opened.journal.seal().await.expect("it is sealed");
    }
    disk
}

#[tokio::test]
async fn a_flipped_bit_in_a_sealed_segment_costs_the_records_it_hits_and_no_others() {
    let disk = small_log(true).await;
    let length = disk.bytes(&segment_path(1)).len();
    for offset in segment::HEADER_BYTES..length {
        let hurt = disk.copied();
        hurt.flip(&segment_path(1), offset, 1 << (offset % 8));
        let opened = open(&hurt);
        let end = *opened.journal.end().borrow();
        let (whole, lost) = read_all(&opened.journal, LENGTH);
        assert!(whole.count() >= RECORDS - 3, "offset {offset}: {whole:?}");
        // The seal tells the end of the log; only when it is hit itself may a tail go unnoticed,
        // and then nothing before it is hurt.
        assert_eq!(whole.count() + lost.count(), end.0, "offset {offset}");
        assert_eq!(end, Position(RECORDS), "offset {offset}");
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_earlier_records_survive() {
    let disk = small_log(false).await;
    let length = disk.bytes(&segment_path(1)).len();
    let frame = (length - segment::HEADER_BYTES) / CALLS as usize;
    for cut in segment::HEADER_BYTES..length {
        let torn = disk.copied();
        torn.truncate(&segment_path(1), cut);
        let opened = open(&torn);
        let calls = (cut - segment::HEADER_BYTES) / frame;
        let (whole, lost) = read_all(&opened.journal, LENGTH);
        assert_eq!(whole, Positions::from_run(Position(0), calls as u64 * 3), "cut {cut}");
        assert!(lost.is_empty(), "cut {cut}");
        append(&opened.journal, whole.count(), 1, LENGTH).await;
        let again = open(&torn.copied());
        assert_eq!(read_all(&again.journal, LENGTH).0.count(), whole.count() + 1, "cut {cut}");
    }
}

#[tokio::test]
async fn damage_before_a_later_group_is_not_taken_for_a_torn_tail() {
    let disk = small_log(false).await;
    let length = disk.bytes(&segment_path(1)).len();
    let frame = (length - segment::HEADER_BYTES) / CALLS as usize;
    let last_frame = length - frame;
    for offset in segment::HEADER_BYTES..length {
        let hurt = disk.copied();
        hurt.flip(&segment_path(1), offset, 0x80);
        let opened = open(&hurt);
        let (whole, lost) = read_all(&opened.journal, LENGTH);
        if offset < last_frame {
            assert_eq!(whole.count() + lost.count(), RECORDS, "offset {offset}");
            assert!(lost.count() <= 3, "offset {offset}: {lost:?}");
        } else {
            // The last group cannot be told from a write that was under way; padding is not data.
            assert!(whole.count() >= RECORDS - 3 && lost.is_empty(), "offset {offset}");
        }
    }
}

#[tokio::test]
async fn the_unsealed_segment_is_never_written_again() {
    let disk = small_log(false).await;
    let before = disk.bytes(&segment_path(1));
    let opened = open(&disk);
    append(&opened.journal, RECORDS, 1, LENGTH).await;
    let names = disk.list(&directory().join("journal")).expect("it is listed");
    assert_eq!(names.len(), 2, "{names:?}");
    let after = disk.bytes(&segment_path(1));
    assert_ne!(after[56..60], before[56..60], "it was copied under another salt");
}

#[tokio::test]
async fn a_segment_of_another_instance_is_ignored_and_told() {
    let disk = small_log(true).await;
    let mut header = disk.bytes(&segment_path(1));
    header[16..32].copy_from_slice(Uuid::from_u128(8).as_bytes());
    let crc = crc32c::crc32c(&header[..60]);
    header[60..64].copy_from_slice(&crc.to_le_bytes());
    let file = disk.open(&segment_path(2), crate::disk::OpenMode::Create).expect("it opens");
    file.write_all_at(&header, 0).expect("it is written");
    let opened = open(&disk);
    assert_eq!(opened.warnings.len(), 1, "{:?}", opened.warnings);
    assert_eq!(read_all(&opened.journal, LENGTH).0.count(), RECORDS);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_nothing_is_touched() {
    let disk = small_log(true).await;
    let mut bytes = disk.bytes(&segment_path(1));
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let file = disk.open(&segment_path(1), crate::disk::OpenMode::Create).expect("it opens");
    file.write_all_at(&bytes, 0).expect("it is written");
    let before = disk.operations();
    let stream = StreamName::new("clicks").expect("a name");
    let error = Journal::open(&environment(&disk), &stream, directory()).expect_err("refused");
    assert!(matches!(error, OpenError::NewerFormat { format: 2, .. }), "{error}");
    assert_eq!(disk.operations(), before);
}

#[tokio::test]
async fn a_record_that_imitates_a_frame_is_data() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 3, LENGTH).await;
    let stolen = disk.bytes(&segment_path(1))[segment::HEADER_BYTES..].to_vec();
    let mut batch = Batch::new(None, UnixMillis(0));
    batch.push(&stolen);
    opened.journal.append(batch).await.expect("it is appended");
    append(&opened.journal, 4, 3, LENGTH).await;
    // Hurt the header in front of the imitation.
    let frame_at = segment::HEADER_BYTES + stolen.len();
    disk.flip(&segment_path(1), frame_at + 10, 1);
    let opened = open(&disk);
    let mut found = Vec::new();
    let visit = &mut |position: Position, record: Option<crate::record::Record<'_>>| {
        found.push((position.0, record.is_some()));
    };
    opened.journal.read(&Positions::from_run(Position(0), 7), visit).expect("it is read");
    let expected: Vec<_> = (0..7).map(|position| (position, position != 3)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_flipped_bit_in_a_segment_header_costs_nothing() {
    let disk = small_log(false).await;
    for offset in 0..segment::HEADER_BYTES {
        let hurt = disk.copied();
        hurt.flip(&segment_path(1), offset, 1 << (offset % 8));
        let (whole, lost) = read_all(&open(&hurt).journal, LENGTH);
        assert_eq!((whole.count(), lost.count()), (RECORDS, 0), "offset {offset}");
    }
}

#[tokio::test]
async fn a_last_segment_without_any_header_is_refused_since_its_end_is_unknown() {
    let disk = small_log(false).await;
    disk.flip(&segment_path(1), 20, 1);
    disk.flip(&segment_path(1), 520, 1);
    let stream = StreamName::new("clicks").expect("a name");
    let error = Journal::open(&environment(&disk), &stream, directory()).expect_err("refused");
    assert!(matches!(error, OpenError::NoHeader { .. }), "{error}");
}

#[tokio::test]
async fn the_last_segment_of_ours_is_copied_also_when_a_foreign_file_follows() {
    let disk = small_log(false).await;
    let before = disk.bytes(&segment_path(1));
    let mut header = before[..segment::HEADER_BYTES].to_vec();
    for at in [0, 512] {
        header[at + 16..at + 32].copy_from_slice(Uuid::from_u128(8).as_bytes());
        let crc = crc32c::crc32c(&header[at..at + 60]);
        header[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    }
    let file = disk.open(&segment_path(2), crate::disk::OpenMode::Create).expect("it opens");
    file.write_all_at(&header, 0).expect("it is written");
    assert_eq!(read_all(&open(&disk).journal, LENGTH).0.count(), RECORDS);
    let salt = |bytes: &[u8]| bytes[56..60].to_vec();
    assert_ne!(salt(&disk.bytes(&segment_path(1))), salt(&before), "it has not been copied");
}

#[tokio::test]
async fn a_group_is_torn_as_a_whole() {
    let disk = small_log(true).await;
    let opened = open(&disk);
    let mut log = Log::new(log::Start {
        directory: directory().join("journal"),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::start()),
        instance: Uuid::from_u128(7),
        shared: opened.journal.inner.shared.clone(),
        window: opened.journal.inner.window.clone(),
        next: Position(RECORDS),
        next_sequence: 2,
    });
    let calls = [batch(18, 2, LENGTH), batch(20, 2, LENGTH), batch(22, 2, LENGTH)];
    let calls = calls.map(Payload::Batch);
    log.write_group(&[&calls[0]]).expect("it is written");
    log.sync().expect("it is synced");
    log.write_group(&[&calls[1], &calls[2]]).expect("it is written");
    log.sync().expect("it is synced");
    // As if the cut had come before the end of that sync: the first frame of the last group did
    // not arrive, the one behind it did.
    let frames = frames_of(&disk.bytes(&segment_path(2)));
    assert_eq!(frames.len(), 3);
    disk.flip(&segment_path(2), frames[1].0 + 60, 1);
    let again = open(&disk);
    assert!(again.torn_bytes > 0);
    assert_eq!(*again.journal.end().borrow(), Position(20));
    assert_eq!(read_all(&again.journal, LENGTH).1.count(), 0);
}

/// The offset of each frame, and its distance from its group's start.
fn frames_of(bytes: &[u8]) -> Vec<(usize, u32)> {
    let salt = crate::journal::frame::u32_at(bytes, 56);
    let mut frames = Vec::new();
    let mut offset = segment::HEADER_BYTES;
    while let Some(header) = crate::journal::frame::Header::decode(&bytes[offset..], salt) {
        frames.push((offset, header.group_offset));
        offset += header.frame_bytes();
    }
    frames
}

#[tokio::test]
async fn a_whole_frame_of_another_segment_is_not_taken_for_one_of_this() {
    let other = SimulatedDisk::default();
    let opened = open(&other);
    append(&opened.journal, 0, 30, LENGTH).await;
    append(&opened.journal, 30, 3, LENGTH).await;
    let bytes = other.bytes(&segment_path(1));
    let (later_frame, _) = frames_of(&bytes)[1];
    let disk = small_log(false).await;
    let file = disk.open(&segment_path(1), crate::disk::OpenMode::Write).expect("it opens");
    let end = file.len_bytes().expect("a length");
    file.write_all_at(&bytes[later_frame..], end).expect("it is written");
    let again = open(&disk);
    assert_eq!(*again.journal.end().borrow(), Position(RECORDS));
    assert_eq!(read_all(&again.journal, LENGTH).1.count(), 0);
}
