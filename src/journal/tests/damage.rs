//! A log is damaged in every way that a disk or a hand damages it: what was hit is told as lost,
//! everything else is read as it was written.
//!
//! The expectation is made from the bytes before and after the damage, by the frames of the whole
//! log, and knows nothing of how recovery goes about it.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::disk::{Disk as _, OpenMode};
use crate::journal::committer::Payload;
use crate::journal::frame::{self, BatchMeta, Header, Kind};
use crate::journal::log::{self, Log};
use crate::journal::{Checkpoint, Control, OpenError, Seen, segment};
use crate::plan::{CatalogPartition, Plan, PlanId};

const LENGTH: usize = 40;
const PAGE: usize = 4096;

fn plan(id: u64, first: u64, count: u64) -> Control {
    Control::Plan(Plan {
        id: PlanId(id),
        objects: Vec::new(),
        damaged: Positions::from_run(Position(first), count),
        source_end: Position(0),
    })
}

fn partition() -> Control {
    Control::Registered(CatalogPartition {
        catalog: "c".into(),
        database: "d".into(),
        table: "t".into(),
        values: vec!["v".into()],
        location: "s3://lake/t/v/".into(),
    })
}

/// Calls of one record and of several, groups of one frame and of several, decisions before, between
/// and behind them; all of it so many times over.
fn mixed_log(rounds: u64, length: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let mut log = Log::new(log::Start {
        directory: directory().join("journal"),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::start()),
        instance: Uuid::from_u128(7),
        shared: opened.journal.inner.shared.clone(),
        window: opened.journal.inner.window.clone(),
        next: Position(0),
        next_sequence: 1,
    });
    let mut end = 0;
    for round in 0..rounds {
        let mut call = |count: u64| {
            end += count;
            Payload::Batch(batch(end - count, count, length))
        };
        let (first, second) = (round * 2 + 1, round * 2 + 2);
        let spoiled = Control::Spoiled { plan: PlanId(second), objects: vec![0, 7] };
        let groups = [
            vec![call(3)],
            vec![call(1), Payload::control(&plan(first, 0, 4)), call(2)],
            vec![Payload::control(&Control::Commit(PlanId(first)))],
            vec![Payload::Batches(vec![batch(end, 2, length), batch(end + 2, 3, length)])],
        ];
        for group in &groups {
            log.write_group(&group.iter().collect::<Vec<_>>()).expect("it is written");
            log.sync().expect("it is synced");
        }
        end += 5;
        let mut call = |count: u64| {
            end += count;
            Payload::Batch(batch(end - count, count, length))
        };
        let groups = [
            vec![Payload::control(&plan(second, 4, 6)), Payload::control(&partition()), call(2)],
            vec![call(1), Payload::control(&spoiled)],
            vec![call(2), call(1), call(2)],
        ];
        for group in &groups {
            log.write_group(&group.iter().collect::<Vec<_>>()).expect("it is written");
            log.sync().expect("it is synced");
        }
    }
    disk
}

/// Recovery seals what it finds.
fn sealed(disk: SimulatedDisk) -> SimulatedDisk {
    drop(open(&disk));
    disk
}

/// A frame of a whole log.
#[derive(Clone, Debug)]
struct FrameAt {
    offset: usize,
    header: Header,
    /// Where each record's bytes stand.
    records: Vec<Range<usize>>,
    control: Option<Control>,
}

impl FrameAt {
    fn group_start(&self) -> usize {
        self.offset - self.header.group_offset as usize
    }

    fn named_bytes(&self) -> Range<usize> {
        self.offset..self.offset + frame::HEADER_BYTES + self.header.meta_bytes
    }
}

fn frames_of(bytes: &[u8]) -> Vec<FrameAt> {
    let salt = frame::u32_at(bytes, 56);
    let mut frames = Vec::new();
    let mut offset = segment::HEADER_BYTES;
    while let Some(header) = bytes.get(offset..).and_then(|bytes| Header::decode(bytes, salt)) {
        let payload_at = offset + frame::HEADER_BYTES;
        let payload = &bytes[payload_at..payload_at + header.payload_bytes];
        let mut records = Vec::new();
        if header.kind == Kind::Batch {
            let meta = BatchMeta::decode(&header, &payload[..header.meta_bytes]);
            let mut at = payload_at + header.meta_bytes;
            for length in meta.expect("it is a batch").lengths() {
                records.push(at..at + length as usize);
                at += length as usize;
            }
        }
        let control = Control::decode(header.kind, payload);
        frames.push(FrameAt { offset, header, records, control });
        offset += header.frame_bytes();
    }
    frames
}

/// What a log with damage is to say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    end: u64,
    lost: BTreeSet<u64>,
    controls: Vec<Control>,
    /// Whether the end of the log was cut because nothing proves that it had been durable.
    is_torn: bool,
}

fn expected(whole: &[u8], hurt: &[u8]) -> Expected {
    let differs = |range: Range<usize>| whole.get(range.clone()) != hurt.get(range);
    let frames = frames_of(whole);
    let is_found = |frame: &FrameAt| {
        let end = frame.offset + frame.header.frame_bytes();
        end <= hurt.len() && !differs(frame.named_bytes())
    };
    let is_whole = |frame: &FrameAt| {
        is_found(frame) && !frame.records.iter().any(|record| differs(record.clone()))
    };
    let mut expected = Expected::default();
    // Frames that cannot be found, one behind the other, are one piece of damage.
    let mut broken_at = None;
    for (index, frame) in frames.iter().enumerate() {
        broken_at = if is_found(frame) { None } else { broken_at.or(Some(frame.offset)) };
        let begins_at = broken_at.unwrap_or(frame.offset);
        let is_proven = |later: &FrameAt| is_found(later) && later.group_start() > begins_at;
        if !is_whole(frame) && !frames[index + 1..].iter().any(is_proven) {
            expected.is_torn = true;
            break;
        }
        let first = frame.header.first.0;
        for (record, position) in frame.records.iter().zip(first..) {
            if !is_found(frame) || differs(record.clone()) {
                expected.lost.insert(position);
            }
        }
        expected.end = frame.header.end().0;
        expected.controls.extend(frame.control.clone().filter(|_| is_found(frame)));
    }
    expected
}

/// Opens a damaged log and holds it against what is expected; then once more, since recovery has
/// copied what was not sealed; then goes on with it.
async fn judge(disk: &SimulatedDisk, expected: &Expected, length: usize, case: &str) {
    for turn in ["at once", "once more"] {
        let opened = open(disk);
        let case = format!("{case}, {turn}");
        assert_eq!(opened.journal.end().borrow().0, expected.end, "{case}");
        assert_eq!(opened.controls, expected.controls, "{case}");
        let (whole, lost) = read_all(&opened.journal, length);
        let lost: BTreeSet<_> = lost.iter().map(|position| position.0).collect();
        assert_eq!(lost, expected.lost, "{case}");
        assert_eq!(whole.count() + lost.len() as u64, expected.end, "{case}");
        assert_eq!(walked(&opened.journal, length), (whole, lost), "{case}: walked");
    }
    let journal = open(disk).journal;
    append(&journal, expected.end, 1, length).await;
    let (_, lost) = read_all(&open(&disk.copied()).journal, length);
    assert_eq!(lost.count(), expected.lost.len() as u64, "{case}, after more was appended");
}

/// What a walk shows: whole records, and those told as lost.
fn walked(journal: &Journal, length: usize) -> (Positions, BTreeSet<u64>) {
    let (mut whole, mut lost) = (Positions::default(), BTreeSet::new());
    let visit = &mut |seen: Seen<'_>| match seen {
        Seen::Lost(run) => lost.extend(run.first.0..run.end().0),
        Seen::Call(call) => {
            for (position, data) in call.records() {
                match data {
                    Some(data) => {
                        assert_eq!(data, record(position.0, length), "{position}");
                        whole.push(position);
                    }
                    None => {
                        lost.insert(position.0);
                    }
                }
            }
        }
    };
    let end = *journal.end().borrow();
    journal.walk(Position(0), end, usize::MAX, visit).expect("it is walked");
    (whole, lost)
}

fn with_bytes(disk: &SimulatedDisk, bytes: &[u8]) -> SimulatedDisk {
    let disk = disk.copied();
    let file = disk.open(&segment_path(1), OpenMode::Create).expect("it opens");
    file.write_all_at(bytes, 0).expect("it is written");
    disk
}

/// An unsealed log, and the same one with its seal.
fn both(rounds: u64, length: usize) -> [SimulatedDisk; 2] {
    let unsealed = mixed_log(rounds, length);
    let sealed = sealed(unsealed.copied());
    [unsealed, sealed]
}

#[tokio::test]
async fn a_flipped_bit_anywhere_costs_the_records_it_hits_and_no_others() {
    for disk in both(1, LENGTH) {
        let whole = disk.bytes(&segment_path(1));
        for offset in 0..whole.len() {
            let mask = 1 << (offset % 8);
            let mut hurt = whole.clone();
            hurt[offset] ^= mask;
            let expected = expected(&whole, &hurt);
            judge(&with_bytes(&disk, &hurt), &expected, LENGTH, &format!("offset {offset}")).await;
        }
    }
}

#[tokio::test]
async fn a_log_that_was_cut_keeps_everything_before_the_cut() {
    for disk in both(1, LENGTH) {
        let whole = disk.bytes(&segment_path(1));
        let frames = frames_of(&whole);
        for cut in frames[frames.len() - 3].offset..whole.len() {
            let hurt = &whole[..cut];
            let expected = expected(&whole, hurt);
            let disk = with_bytes(&disk, hurt);
            let opened = open(&disk.copied());
            let is_between_frames = frames.iter().any(|frame| frame.offset == cut);
            assert_eq!(opened.torn_bytes > 0, !is_between_frames, "cut at {cut}");
            judge(&disk, &expected, LENGTH, &format!("cut at {cut}")).await;
        }
    }
}

#[tokio::test]
async fn a_page_of_zeros_costs_the_records_that_it_hits_and_no_others() {
    for disk in both(12, 300) {
        let whole = disk.bytes(&segment_path(1));
        assert!(whole.len() > 8 * PAGE, "the log is worth the test: {}", whole.len());
        for page in (0..whole.len()).step_by(PAGE) {
            let mut hurt = whole.clone();
            let end = (page + PAGE).min(hurt.len());
            hurt[page..end].fill(0);
            if page == 0 {
                let stream = StreamName::new("clicks").expect("a name");
                let disk = with_bytes(&disk, &hurt);
                let error = Journal::open(&environment(&disk), &stream, directory());
                let error = error.expect_err("both copies of the header are gone");
                assert!(matches!(error, OpenError::NoHeader { .. }), "{error}");
                continue;
            }
            let expected = expected(&whole, &hurt);
            judge(&with_bytes(&disk, &hurt), &expected, 300, &format!("page at {page}")).await;
        }
    }
}

#[tokio::test]
async fn two_pages_that_were_swapped_never_give_a_wrong_record() {
    for disk in both(12, 300) {
        let whole = disk.bytes(&segment_path(1));
        let pages = whole.len() / PAGE;
        for (one, other) in (1..pages).flat_map(|one| (one + 1..pages).map(move |o| (one, o))) {
            let case = format!("pages {one} and {other}");
            let mut hurt = whole.clone();
            let (front, back) = hurt.split_at_mut(other * PAGE);
            front[one * PAGE..(one + 1) * PAGE].swap_with_slice(&mut back[..PAGE]);
            let expected = expected(&whole, &hurt);
            let opened = open(&with_bytes(&disk, &hurt));
            let (whole_records, lost) = read_all(&opened.journal, 300);
            let lost: BTreeSet<_> = lost.iter().map(|position| position.0).collect();
            // A whole frame that stands in the wrong place may hide others, never replace them:
            // what was read was compared on the way.
            let frames = frames_of(&whole);
            let last_group = frames.last().expect("there are some").group_start();
            let last_group = frames.iter().find(|frame| frame.offset == last_group);
            let first = last_group.expect("it begins somewhere").header.first.0;
            assert!(opened.journal.end().borrow().0 >= expected.end.min(first), "{case}");
            assert_eq!(
                whole_records.count() + lost.len() as u64,
                opened.journal.end().borrow().0,
                "{case}"
            );
        }
    }
}

#[tokio::test]
async fn garbage_behind_the_end_costs_nothing() {
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_130),
        ..ProptestConfig::default()
    });
    let garbage = proptest::collection::vec(any::<u8>(), 1..3 * PAGE);
    for disk in both(2, LENGTH) {
        let whole = disk.bytes(&segment_path(1));
        let expected = expected(&whole, &whole);
        for case in 0..40 {
            let mut hurt = whole.clone();
            if case % 4 == 0 {
                // Its own last frames, once more.
                let frames = frames_of(&whole);
                hurt.extend_from_slice(&whole[frames[frames.len() - 4].offset..]);
            }
            hurt.extend(garbage.new_tree(&mut runner).expect("garbage").current());
            judge(&with_bytes(&disk, &hurt), &expected, LENGTH, &format!("garbage {case}")).await;
        }
    }
}

/// Segments of nine records each, sealed, behind a checkpoint that covers none of them: without one
/// nobody could tell a segment that is missing from one that was done with.
async fn segments(count: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    journal.checkpoint(&Checkpoint::default(), journal.mark()).expect("it is written");
    for number in 0..count {
        for call in 0..3 {
            append(&journal, number * 9 + call * 3, 3, LENGTH).await;
        }
        journal.seal().await.expect("it is sealed");
    }
    disk
}

fn range(first: u64, end: u64) -> Positions {
    Positions::from_run(Position(first), end - first)
}

#[tokio::test]
async fn a_missing_segment_in_the_middle_is_a_gap_and_nothing_else() {
    let disk = segments(4).await;
    disk.remove(&segment_path(2)).expect("it is removed");
    let opened = open(&disk);
    assert_eq!(read_all(&opened.journal, LENGTH), (range(0, 9).with(&range(18, 36)), range(9, 18)));
    append(&opened.journal, 36, 3, LENGTH).await;
    assert_eq!(read_all(&open(&disk.copied()).journal, LENGTH).1, range(9, 18));
}

#[tokio::test]
async fn swapped_segments_are_ignored_with_their_names_and_told_as_gaps() {
    let disk = segments(4).await;
    let aside = directory().join("journal/aside");
    disk.rename(&segment_path(2), &aside).expect("it is renamed");
    disk.rename(&segment_path(3), &segment_path(2)).expect("it is renamed");
    disk.rename(&aside, &segment_path(3)).expect("it is renamed");
    let before = [2, 3].map(|number| disk.bytes(&segment_path(number)));
    let opened = open(&disk);
    assert_eq!(read_all(&opened.journal, LENGTH), (range(0, 9).with(&range(27, 36)), range(9, 27)));
    for number in [2, 3] {
        let name = segment::file_name(number);
        assert!(opened.warnings.iter().any(|text| text.contains(&name)), "{:?}", opened.warnings);
    }
    let after = [2, 3].map(|number| disk.bytes(&segment_path(number)));
    assert_eq!(after, before, "a person can still give them back their names");
    // What comes next does not take their names.
    append(&opened.journal, 36, 3, LENGTH).await;
    assert_eq!([2, 3].map(|number| disk.bytes(&segment_path(number))), before);
}

#[tokio::test]
async fn a_segment_of_an_earlier_life_changes_nothing() {
    let disk = segments(4).await;
    let old = disk.bytes(&segment_path(2));
    // The same file again, under its own name and under a later one.
    for name in [2, 9] {
        let disk = disk.copied();
        let file = disk.open(&segment_path(name), OpenMode::Create).expect("it opens");
        file.write_all_at(&old, 0).expect("it is written");
        let opened = open(&disk);
        assert_eq!(read_all(&opened.journal, LENGTH), (range(0, 36), Positions::default()));
        assert_eq!(opened.warnings.len(), usize::from(name == 9), "{:?}", opened.warnings);
        append(&opened.journal, 36, 3, LENGTH).await;
        let again = open(&disk.copied());
        assert_eq!(read_all(&again.journal, LENGTH), (range(0, 39), Positions::default()));
    }
}

#[tokio::test]
async fn an_older_segment_under_a_new_number_never_brings_a_position_a_second_time() {
    let disk = segments(4).await;
    let mut old = disk.bytes(&segment_path(2));
    for at in [0, 512] {
        old[at + 32..at + 40].copy_from_slice(&9u64.to_le_bytes());
        let crc = crc32c::crc32c(&old[at..at + 60]);
        old[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    }
    let file = disk.open(&segment_path(9), OpenMode::Create).expect("it opens");
    file.write_all_at(&old, 0).expect("it is written");
    let opened = open(&disk);
    assert_eq!(read_all(&opened.journal, LENGTH), (range(0, 36), Positions::default()));
    append(&opened.journal, 36, 3, LENGTH).await;
}

fn checkpoint_names(disk: &SimulatedDisk) -> Vec<String> {
    disk.list(&directory().join("checkpoint")).expect("it is listed")
}

/// A log of three segments with two checkpoints; the first segment has gone on their word.
async fn with_checkpoints(settled: u64) -> SimulatedDisk {
    let disk = segments(3).await;
    let journal = open(&disk).journal;
    let checkpoint = crate::journal::Checkpoint {
        end: Position(27),
        settled: range(0, settled),
        ..Default::default()
    };
    for _ in 0..2 {
        journal.checkpoint(&checkpoint, journal.mark()).expect("it is written");
    }
    assert_eq!(checkpoint_names(&disk).len(), 2);
    disk
}

#[tokio::test]
async fn a_missing_newest_checkpoint_falls_back_to_the_one_before() {
    let disk = with_checkpoints(9).await;
    let newest = checkpoint_names(&disk).pop().expect("there are two");
    disk.remove(&directory().join("checkpoint").join(newest)).expect("it is removed");
    let opened = open(&disk);
    assert_eq!(opened.checkpoint.map(|checkpoint| checkpoint.settled), Some(range(0, 9)));
    assert_eq!(read_all(&opened.journal, LENGTH).0, range(9, 27));
}

#[tokio::test]
async fn without_any_checkpoint_a_log_from_the_first_record_on_tells_everything() {
    let disk = with_checkpoints(5).await;
    for name in checkpoint_names(&disk) {
        disk.remove(&directory().join("checkpoint").join(name)).expect("it is removed");
    }
    let opened = open(&disk);
    assert_eq!(opened.checkpoint, None);
    assert_eq!(read_all(&opened.journal, LENGTH), (range(0, 27), Positions::default()));
}

#[tokio::test]
async fn without_any_checkpoint_a_log_that_begins_later_is_refused_and_not_touched() {
    let disk = with_checkpoints(9).await;
    for name in checkpoint_names(&disk) {
        disk.remove(&directory().join("checkpoint").join(name)).expect("it is removed");
    }
    let before = disk.files();
    let stream = StreamName::new("clicks").expect("a name");
    let error = Journal::open(&environment(&disk), &stream, directory()).expect_err("refused");
    assert!(matches!(error, OpenError::NoCheckpoint { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("restore") && text.contains("start again"), "{text}");
    assert_eq!(disk.files(), before);
}

#[tokio::test]
async fn a_log_that_has_lost_its_end_goes_on_where_others_know_it_to_end() {
    let disk = segments(3).await;
    disk.remove(&segment_path(3)).expect("it is removed");
    let journal = open(&disk).journal;
    assert_eq!(*journal.end().borrow(), Position(18));
    assert_eq!((journal.go_on_at(Position(27)), journal.go_on_at(Position(20))), (9, 0));
    assert_eq!(*journal.end().borrow(), Position(27));
    assert_eq!(read_all(&journal, LENGTH), (range(0, 18), range(18, 27)));
    append(&journal, 27, 3, LENGTH).await;
    assert_eq!(read_all(&journal, LENGTH), (range(0, 18).with(&range(27, 30)), range(18, 27)));
    let again = open(&disk.copied()).journal;
    assert_eq!(again.go_on_at(Position(27)), 0);
    assert_eq!(read_all(&again, LENGTH), (range(0, 18).with(&range(27, 30)), range(18, 27)));
}

#[tokio::test]
async fn a_newer_format_is_refused_and_no_byte_or_name_changes() {
    let whole = with_checkpoints(5).await;
    // What a start would tidy up, if it went on.
    let leftover = |disk: &SimulatedDisk, name: &str| {
        let file = disk.open(&directory().join(name), OpenMode::Create).expect("it opens");
        file.write_all_at(b"half", 0).expect("it is written");
    };
    for name in [
        "checkpoint/0000000000000009.ckpt.tmp",
        "journal/spare",
        "journal/spare-1",
        "journal/1.tmp",
    ] {
        leftover(&whole, name);
    }
    let newest = checkpoint_names(&whole);
    let newest = newest.iter().rfind(|name| name.ends_with(".ckpt")).expect("there are two");
    whole.flip(&directory().join("checkpoint").join(newest), 40, 1);
    let stream = StreamName::new("clicks").expect("a name");
    for what in ["segment", "checkpoint"] {
        let disk = whole.copied();
        if what == "segment" {
            let mut bytes = disk.bytes(&segment_path(2));
            for at in [0, 512] {
                bytes[at + 8] = 2;
                let crc = crc32c::crc32c(&bytes[at..at + 60]);
                bytes[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
            }
            let file = disk.open(&segment_path(2), OpenMode::Create).expect("it opens");
            file.write_all_at(&bytes, 0).expect("it is written");
        } else {
            let older = checkpoint_names(&disk).remove(0);
            let path = directory().join("checkpoint").join(older);
            let file = disk.open(&path, OpenMode::Write).expect("it opens");
            file.write_all_at(b"LKHCKP02", 0).expect("it is written");
        }
        let before = (disk.files(), disk.operations());
        let error = Journal::open(&environment(&disk), &stream, directory()).expect_err("refused");
        assert!(matches!(error, OpenError::NewerFormat { format: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("use the newer lakehose again"), "{error}");
        assert_eq!((disk.files(), disk.operations()), before, "{what}");
    }
}
