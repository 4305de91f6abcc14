//! Backups beside a stream that needs its records for a shorter time: stops, ends that cannot be noted,
//! notes and definitions that are gone.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::super::BackupEnd;
use super::doubles::{Fault, locked};
use super::logged::Heard;
use super::world::{LONG, Running, World, open};
use crate::buffer::Hints;
use crate::disk::simulated::faults::{Fault as DiskFault, Operation, Wrong};
use crate::disk::{Disk as _, OpenMode};
use crate::pipeline::Status;
use crate::record::Position;

const DIRECTORY: &str = "/data/streams/clicks";
const RECORDS_A_CALL: u64 = 10;

/// The stream delivers each record at once, the backup none before it is flushed.
fn patient() -> World {
    let long = Hints { size_bytes: 64 << 20, interval: Duration::from_secs(1 << 30) };
    let mut world = World { has_backup: true, backup_hints: Some(long), ..World::new() };
    world.hints.size_bytes = 1;
    world
}

fn is_done(status: &Status) -> bool {
    status.pending == 0 && status.open_plans == 0 && status.unregistered_partitions == 0
}

/// A call whose records the stream is done with.
async fn send(world: &mut World, running: &Running) {
    world.send(running, RECORDS_A_CALL).await.unwrap();
    world.until(running, is_done).await;
}

fn note(world: &World) -> Option<BackupEnd> {
    BackupEnd::read(&world.disk, &Path::new(DIRECTORY).join("backup")).expect("it can be read")
}

async fn judge(world: &World, running: &Running, delivered: u64) {
    let status = running.flush().await;
    let backup = status.backup.expect("there is one");
    assert_eq!((backup.damaged, backup.pending, backup.difference), (0, 0, 0));
    assert_eq!(backup.delivered, delivered);
    world.audit("the stream");
}

#[tokio::test(start_paused = true)]
async fn a_stop_keeps_what_only_the_backup_still_needs() {
    for at_once in [true, false] {
        let mut world = patient();
        for life in 1..=6 {
            let running = world.start();
            send(&mut world, &running).await;
            let left = if at_once {
                running.stop_at_once().await
            } else {
                // Its objects are frozen at most.
                *locked(&world.store.refuses) = Some("raw/");
                let took = running.stop_in_time(&world).await;
                assert!(took < LONG + Duration::from_secs(5));
                *locked(&world.store.refuses) = None;
                continue;
            };
            assert_eq!((left.records, left.backup_records), (0, life * RECORDS_A_CALL));
        }
        let running = world.start();
        judge(&world, &running, 6 * RECORDS_A_CALL).await;
        world.audit_backup("after stops");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_drained_by_a_stop_is_over_with_it() {
    let mut world = World { has_backup: true, ..World::new() };
    let running = world.start();
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    world.send(&running, RECORDS_A_CALL).await.unwrap();
    world.has_backup = false;
    running.handle.change(world.settings()).await.unwrap();
    let has_plan = |status: &Status| status.backup.as_ref().is_some_and(|b| b.open_plans == 1);
    world.until(&running, has_plan).await;
    let end = Position(RECORDS_A_CALL);
    assert_eq!(note(&world), Some(BackupEnd { end, is_over: false }));
    *locked(&world.store.put_fault) = Fault::default();
    let left = running.stop().await;
    assert!(left.is_nothing(), "{left:?}");
    assert_eq!(note(&world), Some(BackupEnd { end, is_over: true }));
    world.audit_backup("drained by the stop");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_noted_keeps_what_came_since_until_it_is() {
    let mut world = World { has_backup: true, ..World::new() };
    world.hints.size_bytes = 1;
    let running = world.start();
    send(&mut world, &running).await;
    // Created, written, synced; what comes then is the second note.
    let fault = |times| Fault { skip: 3, ..Fault::times(times) };
    world.disk.fail("end.json.tmp", fault(u32::MAX), ErrorKind::Other);
    world.has_backup = false;
    running.handle.change(world.settings()).await.unwrap();
    world.until(&running, |status| status.backup.is_none()).await;
    send(&mut world, &running).await;
    assert_eq!(note(&world).map(|note| note.is_over), Some(false));
    // Switched on again before it was noted: then it has never been off.
    world.has_backup = true;
    running.handle.change(world.settings()).await.unwrap();
    judge(&world, &running, 2 * RECORDS_A_CALL).await;
    world.audit_backup("never off");

    world.has_backup = false;
    world.disk.fail("end.json.tmp", fault(12), ErrorKind::Other);
    running.handle.change(world.settings()).await.unwrap();
    let is_over = || note(&world).is_some_and(|note| note.is_over);
    for _ in 0..100_000 {
        if is_over() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(is_over());
    world.pass_until(&running, |status| status.journal_bytes == 0).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_ending_backup_that_cannot_be_opened_ends_the_start_and_not_the_backup() {
    for broken in ["/backup/checkpoint", "/backup/end.json"] {
        let mut world = patient();
        let running = world.start();
        send(&mut world, &running).await;
        running.stop_at_once().await;
        world.has_backup = false;
        // What is removed at an opening.
        let leftover = Path::new(DIRECTORY).join("backup/checkpoint/1.tmp");
        world.disk.open(&leftover, OpenMode::Create).expect("it is made");
        world.disk.fail(broken, Fault::times(1), ErrorKind::Other);
        assert!(world.try_start(LONG).is_none(), "{broken}");
        let running = world.start();
        running.flush().await;
        world.until(&running, |status| status.backup.is_none()).await;
        world.audit_backup(broken);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_note_counts_as_none() {
    let mut world = patient();
    let running = world.start();
    send(&mut world, &running).await;
    running.stop_at_once().await;
    world.has_backup = false;
    let note = Path::new(DIRECTORY).join("backup/end.json");
    let file = world.disk.open(&note, OpenMode::Create).expect("it is made");
    file.write_all_at(b"{\"end\":", 0).expect("it is written");
    let heard = Heard::begin();
    let running = world.start();
    assert_eq!(heard.lines("the note of where a backup ends is damaged").len(), 1);
    running.flush().await;
    world.until(&running, |status| status.backup.is_none()).await;
    world.audit_backup("with a damaged note");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_while_nobody_knew_of_the_backup_is_not_its_loss() {
    let mut world = patient();
    let running = world.start();
    send(&mut world, &running).await;
    running.flush().await;
    send(&mut world, &running).await;
    running.stop_at_once().await;
    (world.has_backup, world.is_backup_forgotten) = (false, true);
    for _ in 0..2 {
        let running = world.start();
        send(&mut world, &running).await;
        world.pass_until(&running, |status| status.journal_bytes == 0).await;
        running.stop().await;
        let end = Position(RECORDS_A_CALL);
        assert_eq!(note(&world), Some(BackupEnd { end, is_over: true }));
    }
    (world.has_backup, world.is_backup_forgotten) = (true, false);
    let running = world.start();
    judge(&world, &running, RECORDS_A_CALL).await;
    send(&mut world, &running).await;
    judge(&world, &running, 2 * RECORDS_A_CALL).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_has_lost_its_end_goes_on_after_the_end_of_a_backup() {
    let mut world = World { has_backup: true, ..World::new() };
    let running = world.start();
    // So that nothing but the note tells how many there were.
    world.disk.fail("/backup/outbox", Fault::times(u32::MAX), ErrorKind::StorageFull);
    for _ in 0..3 {
        world.send(&running, RECORDS_A_CALL).await.unwrap();
    }
    world.has_backup = false;
    running.handle.change(world.settings()).await.unwrap();
    running.kill().await;
    let journal = Path::new(DIRECTORY).join("journal/0000000000000001.seg");
    let frames = crate::journal::batch_frames_for_test(&world.disk.inner.bytes(&journal));
    let (offset, first) = frames[2];
    assert_eq!(first, Position(2 * RECORDS_A_CALL));
    world.disk.inner.truncate(&journal, offset);
    let world = world.with_disk(world.disk.inner.killed());
    let running = world.start();
    assert_eq!(*running.journal.end().borrow(), Position(3 * RECORDS_A_CALL));
    let status = running.flush().await;
    assert_eq!((status.damaged, status.pending, status.difference), (RECORDS_A_CALL, 0, 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_finds_no_room_for_a_seal_still_writes_its_checkpoint() {
    let mut world = World::new();
    let running = world.start();
    world.send(&running, RECORDS_A_CALL).await.unwrap();
    running.flush().await;
    let (operation, wrong) = (Operation::Write, Wrong::Full);
    world.disk.inner.fail(DiskFault { operation, skip: 0, count: 1, wrong });
    let heard = Heard::begin();
    running.stop().await;
    assert_eq!(heard.lines("stays unsealed").len(), 1);
    let opened = open(&world.environment()).expect("it opens");
    let checkpoint = opened.checkpoint.expect("it was written");
    assert_eq!(checkpoint.delivered + checkpoint.failed, RECORDS_A_CALL);
    assert_eq!(*opened.journal.end().borrow(), Position(RECORDS_A_CALL));
}
