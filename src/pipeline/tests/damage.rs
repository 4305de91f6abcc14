//! A data directory is damaged under a whole pipeline: what was hit is counted as damaged and named
//! by stream and position, everything else is delivered as ever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::doubles::{Fault, FaultyDisk, FickleHook, locked};
use super::logged::Heard;
use super::world::{Running, World, open};
use crate::disk::simulated::SimulatedDisk;
use crate::journal::{Control, Environment};
use crate::pipeline::Status;
use crate::positions::Positions;
use crate::record::Position;

const JOURNAL: &str = "/data/streams/clicks/journal/0000000000000001.seg";
const SCRATCH: &str = "/data/streams/clicks/scratch/journal/0000000000000001.seg";
/// The last one of a call does not fit the table.
const RECORDS_A_CALL: u64 = 5;

/// What the source's log says by itself: its end, what it has lost, and what plans have settled of
/// that.
struct Said {
    end: u64,
    damaged: Positions,
}

fn said(environment: &Environment) -> Said {
    let opened = open(environment).expect("it opens");
    let end = *opened.journal.end().borrow();
    let mut lost = Positions::default();
    let all = Positions::from_run(Position(0), end.0);
    let visit = &mut |position, record: Option<crate::record::Record<'_>>| {
        if record.is_none() {
            lost.push(position);
        }
    };
    opened.journal.read(&all, visit).expect("it is read");
    let mut settled = Positions::default();
    for control in &opened.controls {
        if let Control::Plan(plan) = control {
            settled = plan.settled().fold(settled, |all, positions| all.with(positions));
        }
    }
    Said { end: end.0, damaged: lost.without(&settled) }
}

/// The id of the record at a position, when every call had so many.
fn id(position: u64) -> u64 {
    position / RECORDS_A_CALL * 1000 + position % RECORDS_A_CALL
}

fn ids(positions: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    positions.into_iter().map(id).collect()
}

/// The same stream on a damaged copy of its disk, with stores and hooks that know of nothing.
fn hurt(world: &World, damage: impl FnOnce(&SimulatedDisk)) -> World {
    let disk = world.disk.inner.copied();
    damage(&disk);
    World {
        disk: FaultyDisk::new(disk),
        hook: world.hook.as_ref().map(|_| Arc::new(FickleHook::default())),
        has_backup: world.has_backup,
        calls: world.calls,
        clock: world.clock.clone(),
        ..World::new()
    }
}

/// A plan that is open since the store takes nothing, and records behind it that are in none.
async fn outage(calls: u64) -> World {
    let mut world = World::new();
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    let running = world.start();
    for _ in 0..calls {
        world.send(&running, RECORDS_A_CALL).await.unwrap();
    }
    begin_flush(&world, &running, |status| status.open_plans == 1).await;
    for _ in 0..2 {
        world.send(&running, RECORDS_A_CALL).await.unwrap();
    }
    world.until(&running, |status| status.buffered_records == 2 * RECORDS_A_CALL).await;
    running.kill().await;
    world
}

async fn begin_flush(world: &World, running: &Running, wanted: impl Fn(&Status) -> bool) {
    tokio::select! {
        _ = running.handle.flush() => panic!("the store is down"),
        _ = world.until(running, wanted) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_anywhere_in_a_journal_is_counted_and_named_and_hurts_nothing_else() {
    let whole = outage(2).await;
    let length = whole.disk.inner.bytes(Path::new(JOURNAL)).len();
    let (mut damaged_ever, mut torn_ever) = (0, 0);
    for offset in 0..length {
        let case = format!("offset {offset}");
        let flip = |disk: &SimulatedDisk| disk.flip(Path::new(JOURNAL), offset, 1 << (offset % 8));
        let Said { end, damaged } = said(&hurt(&whole, flip).environment());
        let mut world = hurt(&whole, flip);
        world.acknowledged = ids((0..end).filter(|p| !damaged.contains(Position(*p))));
        let heard = Heard::begin();
        let running = world.start();
        let status = running.flush().await;
        assert_eq!((status.accepted, status.pending, status.difference), (end, 0, 0), "{case}");
        assert_eq!(status.damaged, damaged.count(), "{case}");
        assert_eq!(heard.lost("source"), damaged, "{case}");
        assert_eq!(world.audit(&case), world.acknowledged, "{case}");
        running.stop().await;
        assert_eq!(heard.lost("source"), damaged, "{case}: once");
        damaged_ever += damaged.count();
        torn_ever += u64::from(end < 4 * RECORDS_A_CALL);
    }
    assert!(damaged_ever > 0 && torn_ever > 0, "{damaged_ever} {torn_ever}");
}

/// A stream with hooks and a backup, of whose records nothing has come yet.
async fn untouched(calls: u64) -> World {
    let hook = Some(Arc::new(FickleHook::default()));
    let mut world = World { hook, has_backup: true, ..World::new() };
    // The backup begins here.
    world.start().stop().await;
    let journal = open(&world.environment()).expect("it opens").journal;
    for _ in 0..calls {
        world.send_to(&journal, RECORDS_A_CALL).await.unwrap();
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_the_journal_is_named_once_for_the_hooks_and_once_for_the_backup() {
    let whole = untouched(4).await;
    let length = whole.disk.inner.bytes(Path::new(JOURNAL)).len();
    for offset in (570..length).step_by(3) {
        let case = format!("offset {offset}");
        let flip = |disk: &SimulatedDisk| disk.flip(Path::new(JOURNAL), offset, 1 << (offset % 8));
        let Said { end, damaged } = said(&hurt(&whole, flip).environment());
        let mut world = hurt(&whole, flip);
        world.acknowledged = ids((0..end).filter(|p| !damaged.contains(Position(*p))));
        let heard = Heard::begin();
        let running = world.start();
        let status = running.flush().await;
        let backup = status.backup.clone().expect("there is one");
        assert_eq!((status.pending, status.damaged), (0, damaged.count()), "{case}");
        assert_eq!((backup.pending, backup.damaged), (0, damaged.count()), "{case}");
        assert_eq!((status.difference, backup.difference), (0, 0), "{case}");
        world.audit_transformed(&case);
        world.audit_backup(&case);
        running.stop().await;
        assert_eq!(heard.lost("source"), damaged, "{case}");
        assert_eq!(heard.lost("backup"), damaged, "{case}");
        assert_eq!(heard.lost("transformed"), Positions::default(), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_the_scratch_log_is_counted_and_named_by_parts() {
    let hook = Some(Arc::new(FickleHook::default()));
    let mut whole = World { hook, ..World::new() };
    let running = whole.start();
    for _ in 0..6 {
        whole.send(&running, RECORDS_A_CALL).await.unwrap();
        whole.until(&running, |status| status.untransformed == 0).await;
    }
    whole.until(&running, |status| status.pending == status.buffered_records).await;
    running.kill().await;
    let length = whole.disk.inner.bytes(Path::new(SCRATCH)).len();
    let mut damaged_ever = 0;
    for offset in (0..length).step_by(5) {
        let case = format!("offset {offset}");
        let flip = |disk: &SimulatedDisk| disk.flip(Path::new(SCRATCH), offset, 1 << (offset % 8));
        let world = hurt(&whole, flip);
        let heard = Heard::begin();
        let running = world.start();
        let status = running.flush().await;
        assert_eq!((status.pending, status.difference), (0, 0), "{case}");
        assert_eq!(heard.lost("transformed").count(), status.damaged, "{case}");
        assert_eq!(heard.lost("source"), Positions::default(), "{case}");
        running.stop().await;
        damaged_ever += status.damaged;
    }
    assert!(damaged_ever > 0);
}

/// The outbox file of the first plan.
fn outbox_file(folder: &str) -> PathBuf {
    Path::new("/data/streams/clicks").join(folder).join("0000000000000001.obx")
}

/// The objects of the first plan of a stream: where their bytes are, and their records.
fn planned(world: &World) -> Vec<(std::ops::Range<usize>, Positions)> {
    let opened = open(&world.with_disk(world.disk.inner.copied()).environment());
    let controls = opened.expect("it opens").controls;
    let plan = controls.into_iter().find_map(|control| match control {
        Control::Plan(plan) => Some(plan),
        _ => None,
    });
    let objects = plan.expect("there is one").objects.into_iter().map(|object| {
        let start = object.header.offset as usize;
        (start..start + object.header.size_bytes as usize, object.positions)
    });
    objects.collect()
}

/// What can happen to an outbox file, and the objects that it costs.
type Rot = (&'static str, Box<dyn Fn(&SimulatedDisk)>, Vec<usize>);

fn rots(objects: &[(std::ops::Range<usize>, Positions)]) -> Vec<Rot> {
    let all: Vec<usize> = (0..objects.len()).collect();
    let end = objects.last().expect("there are some").0.end;
    let mut rots: Vec<Rot> = vec![
        ("missing", Box::new(|disk| disk.forget(&outbox_file("outbox"))), all.clone()),
        ("empty", Box::new(|disk| disk.truncate(&outbox_file("outbox"), 0)), all.clone()),
        (
            "short",
            Box::new(move |disk| disk.truncate(&outbox_file("outbox"), end - 1)),
            vec![objects.len() - 1],
        ),
        ("long", Box::new(|disk| disk.extend(&outbox_file("outbox"), b"more")), Vec::new()),
    ];
    for (index, (bytes, _)) in objects.iter().enumerate() {
        let at = bytes.start + bytes.len() / 2;
        let flip = move |disk: &SimulatedDisk| disk.flip(&outbox_file("outbox"), at, 0x10);
        rots.push(("damaged", Box::new(flip), vec![index]));
    }
    rots
}

/// What a rot costs of a stream, by its plan.
fn cost(objects: &[(std::ops::Range<usize>, Positions)], hit: &[usize]) -> Positions {
    hit.iter().fold(Positions::default(), |all, index| all.with(&objects[*index].1))
}

fn is_there(world: &World, path: &Path) -> bool {
    world.disk.inner.files().contains_key(path)
}

/// Everything but what was lost is delivered, that is counted, and the file is kept aside.
async fn judge_rot(world: &World, running: &Running, damaged: &Positions, end: u64, case: &str) {
    let status = running.flush().await;
    assert_eq!((status.accepted, status.pending, status.difference), (end, 0, 0), "{case}");
    assert_eq!(status.damaged, damaged.count(), "{case}");
    assert_eq!(status.delivered + status.failed, end - damaged.count(), "{case}");
    assert_eq!(status.blocked, None, "{case}");
    assert_eq!(world.audit(case), world.acknowledged, "{case}");
    let mut status = running.status().await;
    for _ in 0..100_000 {
        let on_disk = status.journal_bytes + status.outbox_bytes;
        let is_counted = running.budget.used_bytes() == on_disk;
        if is_counted && status.outbox_bytes == 0 && !is_there(world, &outbox_file("outbox")) {
            break;
        }
        world.pass(1).await;
        status = running.status().await;
    }
    assert!(!is_there(world, &outbox_file("outbox")), "{case}");
    let on_disk = status.journal_bytes + status.outbox_bytes;
    assert_eq!(running.budget.used_bytes(), on_disk, "{case}: what is aside does not count");
}

#[tokio::test(start_paused = true)]
async fn what_rots_in_the_outbox_is_never_delivered_and_costs_nothing_else() {
    let whole = outage(2).await;
    let objects = planned(&whole);
    assert_eq!(objects.len(), 4, "rows and failures of two tenants");
    let end = 4 * RECORDS_A_CALL;
    for (index, (name, rot, hit)) in rots(&objects).into_iter().enumerate() {
        let case = format!("{name} {index}, before a start");
        let damaged = cost(&objects, &hit);
        let mut world = hurt(&whole, &rot);
        let rotten = world.disk.inner.files().get(&outbox_file("outbox")).cloned();
        world.acknowledged = ids((0..end).filter(|p| !damaged.contains(Position(*p))));
        let heard = Heard::begin();
        let running = world.start();
        judge_rot(&world, &running, &damaged, end, &case).await;
        running.stop().await;
        assert_eq!(heard.lost("source"), damaged, "{case}");
        let aside = world.disk.inner.files().get(&outbox_file("quarantine")).cloned();
        assert_eq!(aside, rotten.filter(|_| !hit.is_empty()), "{case}: it is kept for a person");
        // And it stays so.
        let running = world.start();
        judge_rot(&world, &running, &damaged, end, &case).await;
        running.stop().await;
        assert_eq!(heard.lost("source"), damaged, "{case}: once");
        assert_eq!(is_there(&world, &outbox_file("quarantine")), aside.is_some(), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_rots_right_before_the_put_is_not_put() {
    for number in 0.. {
        let mut world = World::new();
        *locked(&world.store.put_fault) = Fault::times(u32::MAX);
        let running = world.start();
        for _ in 0..2 {
            world.send(&running, RECORDS_A_CALL).await.unwrap();
        }
        begin_flush(&world, &running, |status| status.open_plans == 1).await;
        let objects = planned(&world);
        let Some((name, rot, hit)) = rots(&objects).into_iter().nth(number) else {
            running.kill().await;
            break;
        };
        let heard = Heard::begin();
        rot(&world.disk.inner);
        *locked(&world.store.put_fault) = Fault::default();
        let (damaged, end) = (cost(&objects, &hit), 2 * RECORDS_A_CALL);
        world.acknowledged = ids((0..end).filter(|p| !damaged.contains(Position(*p))));
        let case = format!("{name} {number}, while it runs");
        judge_rot(&world, &running, &damaged, end, &case).await;
        assert_eq!(heard.lost("source"), damaged, "{case}");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_in_its_store_already_is_not_missed_in_the_outbox() {
    let mut world = World::new();
    // It arrives, and the answer is lost.
    *locked(&world.store.put_fault) = Fault { is_applied: true, ..Fault::times(u32::MAX) };
    *locked(&world.store.head_fault) = Fault::times(u32::MAX);
    let running = world.start();
    world.send(&running, RECORDS_A_CALL).await.unwrap();
    let puts = || locked(&world.store.attempts).len();
    tokio::select! {
        _ = running.handle.flush() => panic!("the store does not answer"),
        () = async { while puts() < 1 { world.pass(1).await } } => {}
    }
    running.kill().await;
    let put = world.store.objects().len() as u64;
    assert!(put > 0);
    *locked(&world.store.put_fault) = Fault::default();
    *locked(&world.store.head_fault) = Fault::default();
    let objects = planned(&world);
    world.disk.inner.forget(&outbox_file("outbox"));
    let there: u64 = objects.iter().map(|(_, positions)| positions.count()).sum();
    let running = world.start();
    let status = running.flush().await;
    let ended = status.delivered + status.failed;
    assert_eq!((ended + status.damaged, status.pending), (there, 0));
    let in_store = world.store.objects();
    assert_eq!(in_store.len() as u64, put, "nothing else was put");
    assert!(ended > 0, "what is there is delivered");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_power_cut_forgets_or_doubles_what_rotted_in_the_outbox() {
    let whole = outage(2).await;
    let objects = planned(&whole);
    let at = objects[1].0.start + 3;
    let rot = |disk: &SimulatedDisk| disk.flip(&outbox_file("outbox"), at, 4);
    let (damaged, end) = (objects[1].1.clone(), 4 * RECORDS_A_CALL);
    let survivors = ids((0..end).filter(|p| !damaged.contains(Position(*p))));
    let mut cut = 0;
    loop {
        let mut has_ended = false;
        for (style, is_kept) in [("nothing", false), ("everything", true)] {
            let case = format!("cut at {cut}, unsynced that arrives: {style}");
            let mut world = hurt(&whole, rot);
            world.acknowledged = survivors.clone();
            world.disk.die_after(cut);
            if let Some(running) = world.try_start(super::world::LONG) {
                let through = async {
                    running.handle.flush().await;
                    world.pass(40).await;
                };
                let disk = world.disk.clone();
                tokio::select! {
                    () = through => has_ended = true,
                    () = disk.died() => {}
                }
                running.kill().await;
            }
            let after = world.with_disk(world.disk.inner.crash(&mut |_| is_kept));
            let running = after.start();
            judge_rot(&after, &running, &damaged, end, &case).await;
            running.stop().await;
            assert!(is_there(&after, &outbox_file("quarantine")), "{case}");
        }
        if has_ended {
            break;
        }
        cut += 1;
    }
    assert!(cut > 20, "the workload is worth the test: {cut}");
}

/// Where a frame begins, by the position of its first record, in the first segment of the journal.
fn frame_at(world: &World, position: u64) -> usize {
    let bytes = world.disk.inner.bytes(Path::new(JOURNAL));
    let frames = crate::journal::batch_frames_for_test(&bytes);
    let frame = frames.into_iter().find(|(_, first)| first.0 == position);
    frame.expect("there is one").0
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_has_lost_its_end_goes_on_where_the_backup_knows_it_to_end() {
    let mut world = World { has_backup: true, ..World::new() };
    let running = world.start();
    for _ in 0..3 {
        world.send(&running, RECORDS_A_CALL).await.unwrap();
        running.flush().await;
    }
    running.kill().await;
    // The third call, and the plan of it.
    world.disk.inner.truncate(Path::new(JOURNAL), frame_at(&world, 2 * RECORDS_A_CALL));
    let lost = Positions::from_run(Position(2 * RECORDS_A_CALL), RECORDS_A_CALL);
    let heard = Heard::begin();
    for life in 0..2 {
        let running = world.start();
        let status = running.flush().await;
        let end = (3 + life) * RECORDS_A_CALL;
        let counted = (status.accepted, status.damaged, status.pending);
        assert_eq!(counted, (end, RECORDS_A_CALL, 0), "{status:?}");
        assert_eq!(*running.journal.end().borrow(), Position(end));
        world.send(&running, RECORDS_A_CALL).await.unwrap();
        let status = running.flush().await;
        let backup = status.backup.expect("there is one");
        assert_eq!((backup.damaged, backup.pending, backup.difference), (0, 0, 0));
        let counted = (status.accepted, status.damaged, status.pending);
        assert_eq!(counted, (end + RECORDS_A_CALL, RECORDS_A_CALL, 0));
        world.audit("after the loss");
        world.audit_backup("after the loss");
        running.kill().await;
        assert_eq!(heard.lost("source"), lost, "named once");
        assert_eq!(heard.lost("backup"), Positions::default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_has_lost_its_end_goes_on_where_the_scratch_log_knows_it_to_end() {
    for is_gone in [false, true] {
        let hook = Some(Arc::new(FickleHook::default()));
        let mut world = World { hook, ..World::new() };
        let running = world.start();
        for _ in 0..3 {
            world.send(&running, RECORDS_A_CALL).await.unwrap();
        }
        world.until(&running, |status| status.untransformed == 0).await;
        running.kill().await;
        if is_gone {
            world.disk.inner.forget(Path::new(JOURNAL));
        } else {
            world.disk.inner.truncate(Path::new(JOURNAL), frame_at(&world, RECORDS_A_CALL));
        }
        let running = world.start();
        assert_eq!(*running.journal.end().borrow(), Position(3 * RECORDS_A_CALL));
        world.send(&running, RECORDS_A_CALL).await.unwrap();
        let status = running.flush().await;
        assert_eq!((status.damaged, status.pending, status.difference), (0, 0, 0), "{status:?}");
        world.audit_transformed("after the loss");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_which_nothing_is_left_is_refused_when_the_backup_knows_of_records() {
    let mut world = World { has_backup: true, ..World::new() };
    let running = world.start();
    world.send(&running, RECORDS_A_CALL).await.unwrap();
    running.flush().await;
    running.kill().await;
    world.disk.inner.forget(Path::new(JOURNAL));
    assert!(world.try_start(super::world::LONG).is_none());
}

/// One segment that stays since its records wait in a buffer, and later ones that go.
async fn send_and_retire(world: &mut World, running: &Running) {
    // Of the first tenant, and few bytes.
    assert!(world.calls.is_multiple_of(2));
    world.send(running, RECORDS_A_CALL).await.unwrap();
    running.journal.seal().await.unwrap();
    world.record_bytes = 9000;
    world.send(running, RECORDS_A_CALL).await.unwrap();
    world.record_bytes = 20;
    running.journal.seal().await.unwrap();
    let is_planned = |status: &Status| status.open_plans == 0 && status.delivered > 0;
    world.until(running, is_planned).await;
    let second = Path::new("/data/streams/clicks/journal/0000000000000002.seg");
    for _ in 0..100_000 {
        if !is_there(world, second) {
            return;
        }
        world.pass(1).await;
        running.status().await;
    }
    panic!("the second segment never goes");
}

#[tokio::test(start_paused = true)]
async fn what_a_backup_was_off_for_is_not_its_loss() {
    for is_reloaded in [false, true] {
        let mut world = World { has_backup: true, ..World::new() };
        world.hints.size_bytes = 8 << 10;
        let running = world.start();
        world.has_backup = false;
        let running = if is_reloaded {
            running.handle.change(world.settings()).await.expect("it is taken");
            world.until(&running, |status| status.backup.is_none()).await;
            running
        } else {
            running.stop().await;
            world.start()
        };
        send_and_retire(&mut world, &running).await;
        world.has_backup = true;
        let heard = Heard::begin();
        let running = if is_reloaded {
            running.handle.change(world.settings()).await.expect("it is taken");
            running
        } else {
            running.kill().await;
            world.start()
        };
        for life in 0..2 {
            let status = running.flush().await;
            let backup = status.backup.expect("there is one");
            assert_eq!((backup.damaged, backup.pending, backup.difference), (0, 0, 0), "{life}");
            assert_eq!(backup.delivered, backup.accepted);
        }
        assert_eq!(heard.lost("backup"), Positions::default());
        world.send(&running, RECORDS_A_CALL).await.unwrap();
        let status = running.flush().await;
        let backup = status.backup.expect("there is one");
        // The new ones only, also where the journal still held some.
        let new = RECORDS_A_CALL;
        assert_eq!((backup.accepted, backup.delivered), (new, new), "reloaded={is_reloaded}");
        running.kill().await;
        let running = world.start();
        let backup = running.flush().await.backup.expect("there is one");
        assert_eq!((backup.accepted, backup.delivered, backup.damaged), (new, new, 0));
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_backup_needed_and_the_disk_lost_is_its_loss() {
    let mut world = World { has_backup: true, ..World::new() };
    // So that there are checkpoints.
    world.start().stop().await;
    let running = world.start();
    world.send(&running, RECORDS_A_CALL).await.unwrap();
    running.journal.seal().await.unwrap();
    world.send(&running, RECORDS_A_CALL).await.unwrap();
    running.journal.seal().await.unwrap();
    world.until(&running, |status| status.buffered_records == 2 * RECORDS_A_CALL).await;
    running.kill().await;
    world.disk.inner.forget(Path::new(JOURNAL));
    let lost = Positions::from_run(Position(0), RECORDS_A_CALL);
    let heard = Heard::begin();
    let running = world.start();
    let status = running.flush().await;
    let backup = status.backup.expect("there is one");
    assert_eq!((status.damaged, backup.damaged), (RECORDS_A_CALL, RECORDS_A_CALL));
    assert_eq!(backup.delivered, RECORDS_A_CALL);
    running.stop().await;
    assert_eq!((heard.lost("source"), heard.lost("backup")), (lost.clone(), lost));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_the_disk_lost_is_told() {
    let whole = outage(2).await;
    let world = hurt(&whole, |_| {});
    // Its end is still there.
    let opened = open(&world.environment()).expect("it opens");
    let commit = Control::Commit(crate::plan::PlanId(2));
    opened.journal.append_control(&commit).await.expect("it is appended");
    drop(opened);
    let heard = Heard::begin();
    let running = world.start();
    let lines = heard.lines("the disk lost plans");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((lines[0].fields["first"].as_str(), lines[0].fields["last"].as_str()), ("2", "2"));
    let status = running.flush().await;
    assert_eq!((status.pending, status.damaged), (0, 0));
    running.stop().await;
}
