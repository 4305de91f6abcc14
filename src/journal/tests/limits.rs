//! Full disks, large plans, checkpoints that fail: nothing acknowledged is lost, and nothing is
//! taken for what it is not.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::journal::{AppendError, Checkpoint, Control, OpenError};
use crate::plan::{Plan, PlanId};

/// A disk that has no room for a write of more than so many bytes, and takes half of it.
#[derive(Clone, Debug)]
struct FullDisk {
    disk: SimulatedDisk,
    room: Arc<AtomicU64>,
}

#[derive(Debug)]
struct FullFile {
    file: Arc<dyn DiskFile>,
    room: Arc<AtomicU64>,
}

impl Disk for FullDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(FullFile { file, room: self.room.clone() }))
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

impl DiskFile for FullFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.len() as u64 > self.room.load(Ordering::SeqCst) {
            self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }
}

fn open_on(disk: &SimulatedDisk) -> (Journal, Arc<AtomicU64>) {
    let room = Arc::new(AtomicU64::new(u64::MAX));
    let mut environment = environment(disk);
    environment.disk = Arc::new(FullDisk { disk: disk.clone(), room: room.clone() });
    let stream = StreamName::new("clicks").expect("a name");
    let opened = Journal::open(&environment, &stream, directory()).expect("the journal opens");
    (opened.journal, room)
}

fn checkpoint(end: u64, settled: u64) -> Checkpoint {
    Checkpoint {
        end: Position(end),
        settled: Positions::from_run(Position(0), settled),
        ..Checkpoint::default()
    }
}

fn open_fails(disk: &SimulatedDisk) -> OpenError {
    let stream = StreamName::new("clicks").expect("a name");
    Journal::open(&environment(disk), &stream, directory()).expect_err("it does not open")
}

#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_a_group_ends_the_log() {
    let disk = SimulatedDisk::default();
    let (journal, room) = open_on(&disk);
    append(&journal, 0, 10, 40).await;
    room.store(1_000, Ordering::SeqCst);
    let refused = journal.append(batch(10, 10, 500)).await;
    assert_eq!(refused, Err(AppendError::Failed));
    room.store(u64::MAX, Ordering::SeqCst);
    let refused = journal.append(batch(10, 10, 40)).await;
    assert_eq!(refused, Err(AppendError::Failed), "what half a group leaves is never built on");
    let again = open(&disk.copied());
    let (whole, lost) = read_all(&again.journal, 40);
    assert_eq!((whole.count(), lost.count()), (10, 0));
}

#[tokio::test]
async fn a_disk_without_room_for_a_segment_refuses_and_goes_on_later() {
    let disk = SimulatedDisk::default();
    let (journal, room) = open_on(&disk);
    room.store(100, Ordering::SeqCst);
    assert_eq!(journal.append(batch(0, 1, 40)).await, Err(AppendError::BudgetUsedUp));
    room.store(u64::MAX, Ordering::SeqCst);
    append(&journal, 0, 1, 40).await;
    assert_eq!(read_all(&open(&disk.copied()).journal, 40).0.count(), 1);
}

#[tokio::test]
async fn a_plan_that_no_frame_holds_is_refused_and_hurts_nobody() {
    let opened = open(&SimulatedDisk::default());
    let damaged = (0..9_000_000).map(|index| Position(index * 2)).collect();
    let plan = Plan { id: PlanId(1), objects: Vec::new(), damaged, source_end: Position(0) };
    let refused = opened.journal.append_control(&Control::Plan(plan)).await;
    assert_eq!(refused, Err(AppendError::TooLarge));
    append(&opened.journal, 0, 1, 40).await;
}

#[tokio::test]
async fn checkpoints_that_cannot_be_written_leave_two_whole_ones_and_no_litter() {
    let disk = SimulatedDisk::default();
    let (journal, room) = open_on(&disk);
    append(&journal, 0, 10, 40).await;
    let write = |settled| journal.checkpoint(&checkpoint(10, settled), journal.mark());
    write(1).expect("it is written");
    write(2).expect("it is written");
    room.store(5, Ordering::SeqCst);
    for _ in 0..5 {
        write(3).expect_err("the disk is full");
    }
    room.store(u64::MAX, Ordering::SeqCst);
    write(4).expect("it is written");
    let names = disk.list(&directory().join("checkpoint")).expect("it is listed");
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".ckpt")), "{names:?}");
}

#[tokio::test]
async fn positions_are_never_used_again_when_every_segment_has_gone() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 10, 40).await;
    opened.journal.seal().await.expect("it is sealed");
    for _ in 0..2 {
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint(10, 10), mark).expect("it is written");
    }
    assert!(disk.list(&directory().join("journal")).expect("it is listed").is_empty());
    let again = open(&disk.copied());
    append(&again.journal, 10, 1, 40).await;
}

#[tokio::test]
async fn a_stream_whose_checkpoints_are_all_damaged_is_not_begun_anew() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 10, 40).await;
    opened.journal.seal().await.expect("it is sealed");
    for _ in 0..2 {
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint(10, 10), mark).expect("it is written");
    }
    for number in [1, 2] {
        let path = directory().join(format!("checkpoint/{number:016x}.ckpt"));
        disk.flip(&path, 20, 1);
    }
    for _ in 0..2 {
        assert!(matches!(open_fails(&disk), OpenError::NoCheckpoint { .. }));
    }
}

#[tokio::test]
async fn a_checkpoint_of_a_newer_format_is_refused() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    opened.journal.checkpoint(&checkpoint(0, 0), opened.journal.mark()).expect("it is written");
    disk.flip(&directory().join("checkpoint/0000000000000001.ckpt"), 7, 3);
    assert!(matches!(open_fails(&disk), OpenError::NewerFormat { format: 2, known: 1, .. }));
}

#[tokio::test]
async fn a_plan_that_a_checkpoint_does_not_have_outlives_it() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 10, 40).await;
    let mark = opened.journal.mark();
    let before = checkpoint(10, 10);
    let plan = Plan {
        id: PlanId(1),
        objects: Vec::new(),
        damaged: Positions::default(),
        source_end: Position(0),
    };
    opened.journal.append_control(&Control::Plan(plan.clone())).await.expect("it is appended");
    opened.journal.seal().await.expect("it is sealed");
    for _ in 0..2 {
        opened.journal.checkpoint(&before, mark).expect("it is written");
    }
    assert_eq!(open(&disk.copied()).controls, [Control::Plan(plan)]);
}
