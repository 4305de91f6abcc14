//! Used-up files that wait for reuse, and data that is written from where it is.

use super::*;
use crate::disk::Disk;
use crate::journal::{Checkpoint, SegmentSizes};

/// Long enough that its data is not copied into the group.
const LONG: usize = 20_000;

fn names(disk: &SimulatedDisk) -> Vec<String> {
    disk.list(&directory().join("journal")).expect("it is listed")
}

fn spares(disk: &SimulatedDisk) -> usize {
    names(disk).iter().filter(|name| name.starts_with("spare")).count()
}

/// A journal of many short segments.
fn begin(disk: &SimulatedDisk) -> Journal {
    let segments = SegmentSizes { first_bytes: 64 << 10, max_bytes: 64 << 10 };
    let environment = Environment { segments, ..environment(disk) };
    let stream = StreamName::new("clicks").expect("a name");
    Journal::open(&environment, &stream, directory()).expect("it opens").journal
}

async fn fill(journal: &Journal, from: u64, count: u64) -> u64 {
    for first in from..from + count {
        append(journal, first, 1, LONG).await;
    }
    from + count
}

fn settle(journal: &Journal, end: u64) {
    // The second one lets go of what the first has settled.
    for _ in 0..2 {
        let settled = Positions::from_run(Position(0), end);
        let checkpoint = Checkpoint { end: Position(end), settled, ..Checkpoint::default() };
        journal.checkpoint(&checkpoint, journal.mark()).expect("it is written");
    }
}

#[tokio::test]
async fn files_of_segments_that_are_used_up_together_go_round_and_a_start_removes_them() {
    let disk = SimulatedDisk::default();
    let journal = begin(&disk);
    let mut end = fill(&journal, 0, 30).await;
    settle(&journal, end);
    assert_eq!(spares(&disk), 4, "{:?}", names(&disk));
    let bytes = journal.bytes();
    end = fill(&journal, end, 9).await;
    assert!(spares(&disk) <= 1, "{:?}", names(&disk));
    assert!(journal.bytes() < bytes + (64 << 10), "they were written over");
    let unsettled = Positions::from_run(Position(30), 9);
    assert_eq!(
        read_all(&journal, LONG).0.without(&Positions::from_run(Position(0), 30)),
        unsettled
    );
    settle(&journal, end);
    assert_eq!(spares(&disk), 4);

    let again = open(&disk.copied());
    assert_eq!(*again.journal.end().borrow(), Position(end));
    let disk = disk.killed();
    drop(open(&disk));
    assert_eq!(spares(&disk), 0, "{:?}", names(&disk));
}

#[tokio::test]
async fn spare_files_go_when_the_budget_is_pressed() {
    let disk = SimulatedDisk::default();
    let journal = begin(&disk);
    let mut end = fill(&journal, 0, 30).await;
    settle(&journal, end);
    assert_eq!(spares(&disk), 4);
    journal.inner.budget.set_space(crate::disk::Space { size_bytes: 1 << 40, free_bytes: 0 });
    assert!(journal.inner.budget.is_pressed());
    settle(&journal, end);
    assert_eq!(spares(&disk), 0, "{:?}", names(&disk));
    journal.inner.budget.set_space(crate::disk::Space { size_bytes: 1 << 40, free_bytes: 1 << 40 });
    end = fill(&journal, end, 9).await;
    assert!(read_all(&journal, LONG).0.contains_range(Position(30), Position(end)));
}

#[tokio::test]
async fn long_and_short_data_of_one_group_read_back_as_they_were_appended() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    let batches = [1, 20_000, 3, 15_000, 17_000].into_iter().scan(0, |first, length| {
        let batch = batch(*first, 2, length);
        *first += 2;
        Some(batch)
    });
    journal.append_own(batches.collect()).await.expect("it is appended");
    append(&journal, 10, 1, 40).await;
    for journal in [journal, open(&disk.killed()).journal] {
        let mut found = Vec::new();
        let all = Positions::from_run(Position(0), 11);
        let visit = &mut |position: Position, record: Option<crate::record::Record<'_>>| {
            found.push((position.0, record.expect("it is whole").data.to_vec()));
        };
        journal.read(&all, visit).expect("it is read");
        let lengths = [1, 1, 20_000, 20_000, 3, 3, 15_000, 15_000, 17_000, 17_000, 40];
        let expected = lengths.into_iter().zip(0..).map(|(length, n)| (n, record(n, length)));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
