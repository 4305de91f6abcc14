//! What a start does not read: it costs neither records nor decisions nor the retry window.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::journal::{CallKey, Checkpoint, Control, Seen};
use crate::plan::{Plan, PlanId};

/// A disk that counts what is read of it.
#[derive(Clone, Debug)]
struct Counted {
    disk: SimulatedDisk,
    read_bytes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountedFile {
    file: Arc<dyn DiskFile>,
    read_bytes: Arc<AtomicU64>,
}

impl Disk for Counted {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let (file, read_bytes) = (self.disk.open(path, mode)?, self.read_bytes.clone());
        Ok(Arc::new(CountedFile { file, read_bytes }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_dir(directory)
    }
}

impl DiskFile for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        self.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        self.file.set_len(length_bytes)
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        self.file.allocate(length_bytes)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }
}

/// Opens the log and tells how much of it was read for that.
fn open_counted(disk: &SimulatedDisk) -> (Opened, u64, Arc<AtomicU64>) {
    let counted = Counted { disk: disk.clone(), read_bytes: Arc::default() };
    let read_bytes = counted.read_bytes.clone();
    let environment = Environment { disk: Arc::new(counted), ..environment(disk) };
    let stream = StreamName::new("clicks").expect("a name");
    let opened = Journal::open(&environment, &stream, directory()).expect("it opens");
    let at_start = read_bytes.load(Ordering::Relaxed);
    (opened, at_start, read_bytes)
}

fn key(number: u64) -> CallKey {
    CallKey(u128::from(number).to_be_bytes())
}

fn plan(id: u64) -> Control {
    let (objects, damaged) = (Vec::new(), Positions::default());
    Control::Plan(Plan { id: PlanId(id), objects, damaged, source_end: Position(0) })
}

/// Sealed segments, each with calls of a key and a plan; `covers` takes a checkpoint after so many.
async fn segments(count: u64, length: usize, covers: Option<u64>) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    let mut next = 0;
    for segment in 1..=count {
        for _ in 0..4 {
            let call = batch(next, 3, length).with_call(Some(key(next)));
            journal.append(call).await.expect("it is appended");
            next += 3;
        }
        journal.append_control(&plan(segment)).await.expect("it is appended");
        journal.seal().await.expect("it is sealed");
        if covers == Some(segment) {
            let checkpoint = Checkpoint {
                end: Position(next),
                last_plan: PlanId(segment),
                ..Checkpoint::default()
            };
            journal.checkpoint(&checkpoint, journal.mark()).expect("it is written");
        }
    }
    disk
}

fn bytes_on(disk: &SimulatedDisk, count: u64) -> u64 {
    (1..=count).map(|sequence| disk.bytes(&segment_path(sequence)).len() as u64).sum()
}

const LONG: usize = 60_000;

#[tokio::test]
async fn a_start_passes_over_the_bytes_of_long_records() {
    let disk = segments(5, LONG, None).await;
    let last = disk.bytes(&segment_path(5)).len() as u64;
    let all = bytes_on(&disk, 5);
    let (opened, at_start, _) = open_counted(&disk);
    assert!(at_start < last + last / 4 + (all - last) / 2, "{at_start} of {all}");
    assert_eq!(opened.controls.len(), 5);
    assert_eq!(
        read_all(&opened.journal, LONG),
        (Positions::from_run(Position(0), 60), Positions::default())
    );
}

#[tokio::test]
async fn a_start_reads_nothing_of_segments_that_the_checkpoint_covers() {
    for length in [100, LONG] {
        let disk = segments(6, length, Some(4)).await;
        let later = bytes_on(&disk, 6) - bytes_on(&disk, 4);
        let (opened, at_start, _) = open_counted(&disk);
        // What is left are headers of segments and the checkpoint itself.
        assert!(at_start < 2 * later + 20_000, "{at_start} of {}", bytes_on(&disk, 6));
        // The last covered segment is the first whose successor may tell of it, so two or three.
        let plans: Vec<_> = opened.controls.iter().collect();
        assert_eq!(plans, [&plan(5), &plan(6)]);
        assert_eq!(opened.checkpoint.map(|checkpoint| checkpoint.last_plan), Some(PlanId(4)));
        let (whole, lost) = read_all(&opened.journal, length);
        assert_eq!((whole.count(), lost.count()), (72, 0));
    }
}

#[tokio::test]
async fn segments_that_come_after_all_others_have_gone_are_not_taken_for_covered() {
    let disk = segments(3, 40, None).await;
    let journal = open(&disk).journal;
    let settled = Positions::from_run(Position(0), 36);
    let checkpoint =
        Checkpoint { end: Position(36), last_plan: PlanId(3), settled, ..Checkpoint::default() };
    // The second and the third find no segment any more.
    for _ in 0..3 {
        journal.checkpoint(&checkpoint, journal.mark()).expect("it is written");
    }
    let files = disk.list(&directory().join("journal")).expect("it is listed");
    assert!(files.is_empty(), "{files:?}");
    let journal = open(&disk).journal;
    for (id, first) in [(4, 36), (5, 39)] {
        append(&journal, first, 3, 40).await;
        journal.append_control(&plan(id)).await.expect("it is appended");
        journal.seal().await.expect("it is sealed");
    }
    // Also by the word of the checkpoint before.
    let number = |name: &String| name.ends_with(".ckpt");
    let folder = directory().join("checkpoint");
    let names = disk.list(&folder).expect("it is listed");
    for damaged in [0, 1] {
        let hurt = disk.copied();
        for name in names.iter().filter(|name| number(name)).rev().take(damaged) {
            hurt.flip(&folder.join(name), 30, 1);
        }
        assert_eq!(open(&hurt).controls, [plan(4), plan(5)], "{damaged}");
    }
}

#[tokio::test]
async fn calls_are_remembered_whether_their_segment_is_read_or_covered() {
    for covers in [None, Some(2), Some(4)] {
        let disk = segments(4, 200, covers).await;
        let journal = open(&disk).journal;
        for first in (0..48).step_by(3) {
            let call = batch(first, 3, 200).with_call(Some(key(first)));
            let again = journal.append(call).await.expect("it is answered");
            assert_eq!((again.first.0, again.is_repetition), (first, true), "{covers:?}");
        }
        assert_eq!(*journal.end().borrow(), Position(48));
    }
}

#[tokio::test]
async fn a_call_whose_frame_is_damaged_may_come_again() {
    let disk = segments(2, 200, None).await;
    // Behind the first frame's header come the tenant's length, the key's length and the key.
    disk.flip(&segment_path(1), crate::journal::segment::HEADER_BYTES + 48 + 40, 1);
    let journal = open(&disk).journal;
    let call = batch(0, 3, 200).with_call(Some(key(0)));
    let again = journal.append(call).await.expect("it is stored");
    assert_eq!((again.first.0, again.is_repetition), (24, false));
}

#[tokio::test]
async fn damage_in_a_segment_that_was_not_read_costs_the_records_it_hits_and_no_others() {
    let disk = segments(3, 40, Some(3)).await;
    let length = disk.bytes(&segment_path(2)).len();
    for offset in crate::journal::segment::HEADER_BYTES..length {
        let hurt = disk.copied();
        hurt.flip(&segment_path(2), offset, 1 << (offset % 8));
        let journal = open(&hurt).journal;
        assert_eq!(*journal.end().borrow(), Position(36), "offset {offset}");
        let (whole, lost) = read_all(&journal, 40);
        assert_eq!(whole.count() + lost.count(), 36, "offset {offset}");
        assert!(lost.count() <= 3, "offset {offset}: {lost:?}");
    }
}

#[tokio::test]
async fn a_segment_that_is_missing_is_told_as_lost_also_behind_one_that_was_not_read() {
    let disk = segments(4, 40, Some(4)).await;
    disk.remove(&segment_path(2)).expect("it is removed");
    let (whole, lost) = read_all(&open(&disk).journal, 40);
    assert_eq!(lost, Positions::from_run(Position(12), 12));
    assert_eq!(whole.count(), 36);
}

#[tokio::test]
async fn an_outline_tells_what_a_walk_tells_and_reads_less() {
    let disk = segments(4, LONG, Some(4)).await;
    let (opened, _, read_bytes) = open_counted(&disk);
    let journal = &opened.journal;
    let end = *journal.end().borrow();
    let mut by_walk = Vec::new();
    let mut walked = |seen: Seen<'_>| {
        if let Seen::Call(call) = seen {
            let first = call.first();
            let lengths = call.lengths().collect::<Vec<_>>();
            by_walk.push((first, call.tenant, call.arrival, lengths));
        }
    };
    let mut by_outline = Vec::new();
    let mut outlined = |seen: crate::journal::Outlined| {
        if let crate::journal::Outlined::Call(call) = seen {
            by_outline.push((call.first, call.tenant, call.arrival, call.lengths));
        }
    };
    let before = read_bytes.load(Ordering::Relaxed);
    for from in [0, 1, 13, 40] {
        journal.outline(Position(from), end, usize::MAX, &mut outlined).expect("it is outlined");
    }
    let between = read_bytes.load(Ordering::Relaxed);
    for from in [0, 1, 13, 40] {
        journal.walk(Position(from), end, usize::MAX, &mut walked).expect("it is walked");
    }
    let after = read_bytes.load(Ordering::Relaxed);
    assert_eq!(by_outline, by_walk);
    assert!((between - before) * 2 < after - between, "{before} {between} {after}");
}
