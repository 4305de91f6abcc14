//! Tests of the journal on a disk that forgets what was not synced.

mod basic;
mod crash;
mod damage;
mod files;
mod limits;
mod model;
mod recovery;
mod schedules;
mod skim;
mod spares;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::{
    AppendError, Appended, Batch, CallKey, Committer, Environment, Journal, Opened,
    RememberedCalls, SegmentSizes,
};
use crate::clock::SystemClock;
use crate::disk::DiskBudget;
use crate::disk::simulated::SimulatedDisk;
use crate::positions::Positions;
use crate::record::{Position, StreamName, Tenant, UnixMillis};

pub(super) fn environment(disk: &SimulatedDisk) -> Environment {
    Environment {
        disk: Arc::new(disk.clone()),
        committer: Committer::start(None).expect("threads start"),
        ..environment_without_threads()
    }
}

/// One whose journals nobody writes for.
fn environment_without_threads() -> Environment {
    Environment {
        disk: Arc::new(SimulatedDisk::default()),
        clock: Arc::new(SystemClock::start()),
        committer: Committer::by_hand().0,
        budget: Arc::new(DiskBudget::new(1 << 40)),
        instance: Uuid::from_u128(7),
        remembered_calls: RememberedCalls::new(1000),
        segments: SegmentSizes::default(),
    }
}

fn directory() -> &'static Path {
    Path::new("/data/streams/clicks")
}

fn segment_path(sequence: u64) -> PathBuf {
    directory().join("journal").join(super::segment::file_name(sequence))
}

fn open(disk: &SimulatedDisk) -> Opened {
    let stream = StreamName::new("clicks").expect("a name");
    Journal::open(&environment(disk), &stream, directory()).expect("the journal opens")
}

/// A record whose bytes tell its number.
fn record(number: u64, length: usize) -> Vec<u8> {
    let text = format!("record {number} ");
    text.bytes().cycle().take(length.max(text.len())).collect()
}

fn batch(first: u64, count: u64, length: usize) -> Batch {
    let tenant = (first % 2 == 1).then(|| Tenant::new("acme").expect("a tenant"));
    let mut batch = Batch::new(tenant, UnixMillis(first.cast_signed()));
    (first..first + count).for_each(|number| batch.push(&record(number, length)));
    batch
}

async fn append(journal: &Journal, first: u64, count: u64, length: usize) {
    let appended = journal.append(batch(first, count, length)).await.expect("it is appended");
    assert_eq!((appended.first, appended.count), (Position(first), count));
}

/// Positions that read back as they were written, and those that are told as lost.
fn read_all(journal: &Journal, length: usize) -> (Positions, Positions) {
    let end = *journal.end().borrow();
    let (mut whole, mut lost) = (Positions::default(), Positions::default());
    let mut next = Position(0);
    while next < end {
        let walked = journal.walk(next, end, 1000, &mut |_| {}).expect("it is walked");
        assert!(walked > next, "a walk goes on");
        next = walked;
    }
    let visit = &mut |position: Position, found: Option<crate::record::Record<'_>>| match found {
        Some(found) => {
            assert_eq!(found.data, record(position.0, length), "{position}");
            assert_eq!(found.position, position);
            whole.push(position);
        }
        None => lost.push(position),
    };
    journal.read(&Positions::from_run(Position(0), end.0), visit).expect("it is read");
    (whole, lost)
}
