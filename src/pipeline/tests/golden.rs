//! A data directory as this format writes it, kept byte for byte in `tests/golden/format-1`: every
//! later program has to read the same in it.
//!
//! When a test here fails, the format has changed. Before a release that may be meant: then
//! [`write_golden`] writes the directory anew. After one, the format number has to change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::doubles::{Fault, FaultyDisk, FickleHook, locked};
use super::world::{Running, World};
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{Disk as _, OpenMode};
use crate::journal::{Appended, Batch, CallKey, Checkpoint, Control, Journal, Opened};
use crate::plan::{Plan, sha256_hex};
use crate::positions::Positions;
use crate::record::{Position, StreamName, UnixMillis};

const STREAM: &str = "/data/streams/clicks";
const LOGS: [&str; 3] = ["", "scratch", "backup"];
/// What the directory says, line by line.
const KNOWN: &str = "known.txt";
/// A call with a key that came last.
const CALL: CallKey = CallKey([7; 16]);
const CALL_ARRIVAL: UnixMillis = UnixMillis(1_773_480_413_000);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

/// The files of the golden directory, by their paths below it.
fn golden() -> BTreeMap<PathBuf, Vec<u8>> {
    fn read(folder: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("the golden files are there") {
            let entry = entry.expect("it is listed");
            let (path, below) = (entry.path(), below.join(entry.file_name()));
            if path.is_dir() {
                read(&path, &below, found);
            } else {
                found.insert(below, std::fs::read(path).expect("it is read"));
            }
        }
    }
    let mut found = BTreeMap::new();
    read(&folder(), Path::new(""), &mut found);
    found
}

/// The golden directory on a disk of its own.
fn disk() -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    for (path, bytes) in golden() {
        let path = Path::new("/data").join(path);
        let file = disk.open(&path, OpenMode::Create).expect("it opens");
        file.write_all_at(&bytes, 0).expect("it is written");
    }
    disk.copied()
}

fn open(world: &World, log: &str) -> Opened {
    let stream = StreamName::new("clicks").expect("a name");
    let opened = Journal::open(&world.environment(), &stream, &Path::new(STREAM).join(log));
    opened.expect("it opens")
}

/// The call that came with a key.
fn keyed_call() -> Batch {
    let mut batch = Batch::new(None, CALL_ARRIVAL).with_call(Some(CALL));
    batch.push(br#"{"id":9000,"pad":""}"#);
    batch
}

/// What a directory says, as lines that do not depend on how the program keeps it.
fn said(world: &World) -> String {
    let mut text = String::new();
    for log in LOGS {
        let opened = open(world, log);
        let end = *opened.journal.end().borrow();
        let _ = writeln!(text, "log {log:?}, end {end}");
        let _ = writeln!(text, "torn {}, warnings {}", opened.torn_bytes, opened.warnings.len());
        if let Some(checkpoint) = &opened.checkpoint {
            say_checkpoint(&mut text, checkpoint);
        }
        for control in &opened.controls {
            match control {
                Control::Plan(plan) => say_plan(&mut text, plan),
                Control::Commit(id) => {
                    let _ = writeln!(text, "commit {}", id.0);
                }
                Control::Registered(partition) => {
                    let _ = writeln!(text, "registered {}", json(partition));
                }
                Control::Spoiled { plan, objects } => {
                    let _ = writeln!(text, "spoiled {} {objects:?}", plan.0);
                }
            }
        }
        let all = Positions::from_run(Position(0), end.0);
        let visit = &mut |position: Position, record: Option<crate::record::Record<'_>>| {
            if let Some(record) = record {
                let (arrival, hash) = (record.arrival.0, sha256_hex(record.data));
                let _ = writeln!(text, "record {position} of {arrival}: {hash}");
            }
        };
        opened.journal.read(&all, visit).expect("it is read");
    }
    text
}

fn say_checkpoint(text: &mut String, checkpoint: &Checkpoint) {
    let Checkpoint { end, settled, open_plans, last_plan, .. } = checkpoint;
    let Checkpoint { delivered, failed, dropped, damaged, .. } = checkpoint;
    let Checkpoint { transformed, left_out, source_end, unregistered, .. } = checkpoint;
    let _ = writeln!(
        text,
        "checkpoint: end {end}, settled {settled}, last plan {}, delivered {delivered}, failed \
         {failed}, dropped {dropped}, damaged {damaged}, transformed {transformed}, left out \
         {left_out}, source end {source_end}, unregistered {}",
        last_plan.0,
        json(unregistered),
    );
    open_plans.iter().for_each(|plan| say_plan(text, plan));
}

fn say_plan(text: &mut String, plan: &Plan) {
    let Plan { id, objects, damaged, source_end } = plan;
    let _ = writeln!(text, "plan {}, damaged {damaged}, source end {source_end}", id.0);
    for object in objects {
        let _ = writeln!(text, "  object of {}: {}", object.positions, json(&object.header));
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

#[test]
fn every_record_decision_and_count_of_the_golden_directory_is_read_as_it_was_written() {
    let world = World { disk: FaultyDisk::new(disk()), ..World::new() };
    let known = String::from_utf8(golden()[Path::new(KNOWN)].clone()).expect("a text");
    for kind in ["checkpoint", "plan", "object", "commit", "registered", "spoiled", "record"] {
        assert!(known.lines().any(|line| line.trim_start().starts_with(kind)), "no {kind}");
    }
    let said = said(&world);
    for (said, known) in said.lines().zip(known.lines()) {
        assert_eq!(said, known, "the format on disk has changed");
    }
    assert_eq!(said.lines().count(), known.lines().count(), "the format on disk has changed");
}

#[tokio::test]
async fn the_retry_window_of_the_golden_directory_is_known() {
    let world = World { disk: FaultyDisk::new(disk()), ..World::new() };
    let opened = open(&world, "");
    let end = *opened.journal.end().borrow();
    let appended = opened.journal.append(keyed_call()).await.expect("it is answered");
    let first = Position(end.0 - 1);
    assert_eq!(appended, Appended { first, count: 1, is_repetition: true });
    assert_eq!(*opened.journal.end().borrow(), end);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_takes_up_the_golden_directory() {
    let world = World {
        disk: FaultyDisk::new(disk()),
        hook: Some(Arc::new(FickleHook::default())),
        has_backup: true,
        ..World::new()
    };
    let running = world.start();
    let status = running.flush().await;
    let backup = status.backup.clone().expect("there is one");
    assert_eq!((status.pending, status.difference, status.degraded.clone()), (0, 0, None));
    assert!(status.damaged > 0 && status.delivered > 0 && status.failed > 0, "{status:?}");
    assert_eq!((backup.accepted, backup.delivered, backup.difference), (18, 18, 0));
    running.stop().await;
}

async fn begin_flush(world: &World, running: &Running, plans: usize) {
    tokio::select! {
        _ = running.handle.flush() => panic!("not everything gets through"),
        _ = world.until(running, |status| status.open_plans == plans) => {}
    }
}

/// Writes such a directory into a folder that goes again; with `LAKEHOSE_WRITE_GOLDEN`, in place of the
/// one that is kept, which is meant only while no release has the format.
#[tokio::test(start_paused = true)]
async fn write_golden() {
    let is_kept = std::env::var_os("LAKEHOSE_WRITE_GOLDEN").is_some();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let folder = if is_kept { folder() } else { elsewhere.path().to_owned() };
    let hook = Some(Arc::new(FickleHook::default()));
    let mut world = World { hook, has_backup: true, ..World::new() };
    let running = world.start();
    // A plan that is delivered, and its partitions.
    world.send(&running, 5).await.unwrap();
    running.flush().await;
    // One of which an object rots; the others get through, but for the failures.
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    world.send(&running, 5).await.unwrap();
    begin_flush(&world, &running, 1).await;
    world.disk.inner.flip(&Path::new(STREAM).join("scratch/outbox/0000000000000002.obx"), 9, 1);
    *locked(&world.store.refuses) = Some("errors/");
    *locked(&world.store.put_fault) = Fault::default();
    let rotted = |status: &crate::pipeline::Status| {
        status.damaged > 0 && status.backup.as_ref().is_some_and(|backup| backup.pending == 0)
    };
    while !rotted(&running.status().await) {
        world.pass(1).await;
    }
    // One that waits in the outbox, then two checkpoints, and more behind them.
    world.send(&running, 5).await.unwrap();
    begin_flush(&world, &running, 2).await;
    world.pass(25).await;
    world.send(&running, 2).await.unwrap();
    running.journal.append(keyed_call()).await.unwrap();
    world.until(&running, |status| status.untransformed == 0).await;
    running.kill().await;

    std::fs::remove_dir_all(&folder).ok();
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        std::fs::write(path, bytes).expect("it is written");
    };
    for (path, bytes) in world.disk.inner.files() {
        let below = path.strip_prefix("/data").expect("it is in there");
        write(&folder.join(below), &bytes);
    }
    let instance = world.environment().instance;
    let identity = format!("{{\"instance\":\"{instance}\",\"format\":1}}\n");
    write(&folder.join("identity.json"), identity.as_bytes());
    let stream = b"{\"stream\":\"clicks\",\"created\":1773480413000}\n";
    write(&folder.join("streams/clicks/stream.json"), stream);
    let copy = World { disk: FaultyDisk::new(world.disk.inner.copied()), ..World::new() };
    let said = said(&copy);
    write(&folder.join(KNOWN), said.as_bytes());
    let kept = String::from_utf8(golden()[Path::new(KNOWN)].clone()).expect("text");
    // Times and names are those of this run; what there is, and in which order, is not.
    let shape = |text: &str| {
        let kinds = text.lines().map(|line| line.split(':').next().unwrap_or_default());
        kinds.map(|kind| kind.replace(|c: char| c.is_ascii_digit(), "")).collect::<Vec<_>>()
    };
    assert_eq!(shape(&said), shape(&kept), "the program writes other things than it did");
}
