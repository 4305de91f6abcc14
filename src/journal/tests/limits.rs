//! Full disks, large plans, checkpoints that fail: nothing acknowledged is lost, and nothing is
//! taken for what it is not.

use super::*;
use crate::disk::simulated::Unsynced;
use crate::disk::simulated::faults::{Fault, Operation, Wrong};
use crate::disk::{Disk as _, ReservedDisk};
use crate::journal::committer::Payload;
use crate::journal::log::{self, Log};
use crate::journal::{Checkpoint, Control, OpenError};
use crate::plan::{Plan, PlanId};

/// Leaves `bytes` bytes of room.
fn leave(disk: &SimulatedDisk, bytes: u64) {
    disk.set_capacity(Some(disk.used_bytes() + bytes));
}

/// A journal on a disk with a reserve of `bytes`.
fn open_with_reserve(disk: &SimulatedDisk, bytes: u64) -> (Journal, Arc<ReservedDisk>) {
    let reserve = Arc::new(ReservedDisk::new(Arc::new(disk.clone()), Path::new("/data")));
    let environment = Environment { disk: reserve.clone(), ..environment(disk) };
    let stream = StreamName::new("clicks").expect("a name");
    let opened = Journal::open(&environment, &stream, directory()).expect("the journal opens");
    if bytes > 0 {
        reserve.keep(bytes).expect("there is room for it");
    }
    (opened.journal, reserve)
}

fn plan(id: u64) -> Control {
    let (objects, damaged) = (Vec::new(), Positions::default());
    Control::Plan(Plan { id: PlanId(id), objects, damaged, source_end: Position(0) })
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
async fn a_group_that_finds_no_room_is_refused_alone_and_leaves_nothing() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    append(&journal, 0, 10, 40).await;
    let (bytes, used) = (journal.bytes(), disk.used_bytes());
    leave(&disk, 1_000);
    for _ in 0..2 {
        let refused = journal.append(batch(10, 10, 500)).await;
        assert_eq!(refused, Err(AppendError::BudgetUsedUp));
        assert_eq!((journal.bytes(), disk.used_bytes()), (bytes, used));
        // Nothing that was refused is found after a power cut, whatever arrives.
        for arrives in [false, true] {
            let crashed = disk.crash(&mut |_| arrives);
            assert_eq!(read_all(&open(&crashed).journal, 40).0.count(), 10);
        }
    }
    append(&journal, 10, 2, 40).await;
    disk.set_capacity(None);
    append(&journal, 12, 10, 500).await;
    let again = open(&disk.crash(&mut |_| false));
    assert_eq!((*again.journal.end().borrow(), again.torn_bytes), (Position(22), 0));
}

#[tokio::test]
async fn whole_frames_of_a_refused_group_never_come_behind_those_in_its_place() {
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
    // All of one size, so that the second stands where the one after the first would.
    let calls = [0, 2, 4].map(|first| Payload::Batch(batch(first, 2, 200)));
    log.write_group(&[&calls[0]]).expect("it is written");
    log.sync().expect("it is synced");
    leave(&disk, 1_300);
    let refused = log.write_group(&[&calls[1], &calls[2], &calls[1]]);
    assert!(matches!(refused, Err(log::WriteError::NoRoom(_))), "{refused:?}");
    assert_eq!(log.write_group(&[&calls[1]]).expect("it fits"), [Position(2)]);
    log.sync().expect("it is synced");
    let again = open(&disk.killed());
    assert_eq!(*again.journal.end().borrow(), Position(4));
    assert_eq!(read_all(&again.journal, 200).0.count(), 4);
}

#[tokio::test]
async fn a_disk_without_room_for_a_segment_refuses_and_goes_on_later() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    leave(&disk, 100);
    assert_eq!(journal.append(batch(0, 1, 40)).await, Err(AppendError::BudgetUsedUp));
    assert_eq!(disk.used_bytes(), 0, "half a segment takes no room");
    disk.set_capacity(None);
    append(&journal, 0, 1, 40).await;
    assert_eq!(read_all(&open(&disk.copied()).journal, 40).0.count(), 1);
}

#[tokio::test]
async fn decisions_get_through_on_a_full_disk_and_producers_do_not() {
    let disk = SimulatedDisk::default();
    let (journal, reserve) = open_with_reserve(&disk, 10_000);
    append(&journal, 0, 10, 40).await;
    leave(&disk, 0);
    assert_eq!(journal.append(batch(10, 1, 40)).await, Err(AppendError::BudgetUsedUp));
    assert_eq!(reserve.held_bytes(), 10_000, "a producer never gets the reserve");
    journal.append_control(&plan(1)).await.expect("it gets through");
    assert_eq!(reserve.held_bytes(), 0);
    leave(&disk, 0);
    assert_eq!(journal.append_control(&plan(2)).await, Err(AppendError::BudgetUsedUp));
    assert_eq!(journal.seal().await, Err(AppendError::BudgetUsedUp));
    disk.set_capacity(None);
    journal.seal().await.expect("there is room");
    append(&journal, 10, 1, 40).await;
    let again = open(&disk.crash(&mut |_| false));
    assert_eq!(again.controls, [plan(1)]);
    assert_eq!(read_all(&again.journal, 40).0.count(), 11);
}

#[tokio::test]
async fn a_start_on_a_full_disk_copies_the_last_segment_out_of_the_reserve() {
    let disk = SimulatedDisk::default();
    let (journal, _) = open_with_reserve(&disk, 10_000);
    append(&journal, 0, 10, 40).await;
    let full = disk.killed();
    leave(&full, 0);
    let (journal, reserve) = open_with_reserve(&full, 0);
    assert_eq!(reserve.held_bytes(), 0);
    assert_eq!(read_all(&journal, 40).0.count(), 10);
}

#[tokio::test]
async fn a_sync_that_finds_no_room_ends_the_log() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    append(&journal, 0, 1, 40).await;
    disk.fail(Fault { operation: Operation::Sync, skip: 0, count: 1, wrong: Wrong::Full });
    assert_eq!(journal.append(batch(1, 1, 40)).await, Err(AppendError::Failed));
    assert_eq!(journal.append(batch(1, 1, 40)).await, Err(AppendError::Failed));
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
    let journal = open(&disk).journal;
    append(&journal, 0, 10, 40).await;
    let write = |settled| journal.checkpoint(&checkpoint(10, settled), journal.mark());
    write(1).expect("it is written");
    write(2).expect("it is written");
    leave(&disk, 5);
    for _ in 0..5 {
        write(3).expect_err("the disk is full");
    }
    disk.set_capacity(None);
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
async fn decisions_that_went_with_a_later_segment_are_missed_when_no_checkpoint_can_be_read() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 10, 40).await;
    opened.journal.seal().await.expect("it is sealed");
    // A segment without a record is settled as soon as it is sealed, the first one is not.
    opened.journal.append_control(&plan(1)).await.expect("it is appended");
    opened.journal.seal().await.expect("it is sealed");
    let settle = || {
        let settled = Checkpoint { last_plan: PlanId(1), ..checkpoint(10, 5) };
        opened.journal.checkpoint(&settled, opened.journal.mark()).expect("it is written");
    };
    let hurt = |disk: &SimulatedDisk| {
        let hurt = disk.copied();
        for name in hurt.list(&directory().join("checkpoint")).expect("it is listed") {
            hurt.flip(&directory().join("checkpoint").join(name), 20, 1);
        }
        hurt
    };
    settle();
    settle();
    // The last one stays, so that nothing is missed.
    assert_eq!(open(&hurt(&disk)).controls, [plan(1)]);
    append(&opened.journal, 10, 1, 40).await;
    settle();
    assert!(matches!(open_fails(&hurt(&disk)), OpenError::NoCheckpoint { .. }));
}

#[tokio::test]
async fn a_checkpoint_that_comes_back_with_a_power_cut_is_not_fallen_back_to() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 10, 40).await;
    opened.journal.seal().await.expect("it is sealed");
    for settled in [0, 10, 10] {
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint(10, settled), mark).expect("it is written");
    }
    let disk = disk.crash(&mut |unsynced| unsynced != Unsynced::Removal);
    let names = || disk.list(&directory().join("checkpoint")).expect("it is listed");
    let flip = |disk: &SimulatedDisk, number: u64| {
        disk.flip(&directory().join(format!("checkpoint/{number:016x}.ckpt")), 20, 1);
    };
    assert_eq!(names().len(), 3, "{:?}", names());
    flip(&disk, 3);
    let both = disk.copied();
    flip(&both, 2);
    // The first would call delivered records lost.
    assert!(matches!(open_fails(&both), OpenError::NoCheckpoint { .. }));
    open(&disk);
    assert_eq!(names(), ["0000000000000002.ckpt"]);
    flip(&disk, 2);
    assert!(matches!(open_fails(&disk), OpenError::NoCheckpoint { .. }));
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
