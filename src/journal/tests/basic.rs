//! What is appended is read back; what is settled goes.

use super::*;
use crate::journal::{Checkpoint, Control, Seen};
use crate::plan::{Plan, PlanId};

#[tokio::test]
async fn records_read_back_in_order_with_tenant_and_arrival() {
    let opened = open(&SimulatedDisk::default());
    append(&opened.journal, 0, 3, 20).await;
    append(&opened.journal, 3, 2, 20).await;
    let mut calls = Vec::new();
    let mut visit = |seen: Seen<'_>| {
        let Seen::Call(call) = seen else { panic!("nothing is lost") };
        let records: Vec<_> =
            call.records().map(|(p, data)| (p.0, data.map(<[u8]>::to_vec))).collect();
        let expected = |p: &u64| (*p, Some(record(*p, 20)));
        let numbers: Vec<u64> = records.iter().map(|(p, _)| *p).collect();
        assert_eq!(records, numbers.iter().map(expected).collect::<Vec<_>>());
        calls.push((call.first().0, call.lengths().count(), call.tenant, call.arrival.0));
    };
    let walked = opened.journal.walk(Position(1), Position(5), usize::MAX, &mut visit);
    assert_eq!(walked.expect("it is walked"), Position(5));
    assert_eq!(calls, [(1, 2, None, 0), (3, 2, Tenant::new("acme").ok(), 3)]);
    assert_eq!(read_all(&opened.journal, 20).0, Positions::from_run(Position(0), 5));
}

#[tokio::test]
async fn own_batches_come_one_behind_the_other_in_one_group() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 1, 20).await;
    let own = vec![batch(1, 2, 20), batch(3, 1, 20), batch(4, 3, 20)];
    let appended = opened.journal.append_own(own).await.expect("they are appended");
    assert_eq!((appended.first, appended.count), (Position(1), 6));
    append(&opened.journal, 7, 1, 20).await;
    let all = Positions::from_run(Position(0), 8);
    assert_eq!(read_all(&opened.journal, 20), (all.clone(), Positions::default()));
    drop(opened);
    assert_eq!(read_all(&open(&disk).journal, 20), (all, Positions::default()));
}

#[tokio::test]
async fn a_segment_stays_until_the_second_reader_lets_go_of_it() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let hold = opened.journal.hold();
    append(&opened.journal, 0, 10, 20).await;
    opened.journal.seal().await.expect("it is sealed");
    let settled = Positions::from_run(Position(0), 10);
    let checkpoint =
        Checkpoint { end: Position(10), settled: settled.clone(), ..Checkpoint::default() };
    for _ in 0..2 {
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint, mark).expect("it is written");
    }
    hold.release(Positions::from_run(Position(0), 9)).expect("nothing goes");
    assert_eq!(read_all(&opened.journal, 20), (settled.clone(), Positions::default()));
    hold.release(settled).expect("it goes");
    assert_eq!(opened.journal.bytes(), 0);
}

#[tokio::test]
async fn a_second_reader_lets_go_by_its_word_and_not_by_its_end() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let first = std::sync::Arc::new(opened.journal.hold());
    let again = first.clone();
    append(&opened.journal, 0, 10, 20).await;
    opened.journal.seal().await.expect("it is sealed");
    let settled = Positions::from_run(Position(0), 10);
    let checkpoint =
        Checkpoint { end: Position(10), settled: settled.clone(), ..Checkpoint::default() };
    drop(first);
    for _ in 0..3 {
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint, mark).expect("it is written");
    }
    assert_eq!(read_all(&opened.journal, 20), (settled, Positions::default()));
    again.let_go().expect("it goes");
    assert_eq!(opened.journal.bytes(), 0);
    // Whoever comes late holds nothing again.
    again.release(Positions::default()).expect("nothing is left to go");
    append(&opened.journal, 10, 1, 20).await;
    opened.journal.seal().await.expect("it is sealed");
    let settled = Positions::from_run(Position(0), 11);
    let checkpoint = Checkpoint { end: Position(11), settled, ..Checkpoint::default() };
    for _ in 0..2 {
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint, mark).expect("it is written");
    }
    assert_eq!(opened.journal.bytes(), 0);
}

#[tokio::test]
async fn chosen_records_are_visited_and_no_others() {
    let opened = open(&SimulatedDisk::default());
    for call in 0..300 {
        append(&opened.journal, call * 7, 7, 900).await;
    }
    let chosen: Positions =
        (0..2100).filter(|p| p % 97 == 3 || p / 400 == 2).map(Position).collect();
    let mut visited = Positions::default();
    let visit = &mut |position, found: Option<crate::record::Record<'_>>| {
        assert!(found.is_some());
        visited.push(position);
    };
    opened.journal.read(&chosen, visit).expect("it is read");
    assert_eq!(visited, chosen);
}

#[tokio::test]
async fn a_restart_finds_records_and_decisions_in_order() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let plan = Plan {
        id: PlanId(1),
        objects: Vec::new(),
        damaged: Positions::from_run(Position(1), 1),
        source_end: Position(0),
    };
    append(&opened.journal, 0, 3, 20).await;
    let controls = [Control::Plan(plan), Control::Commit(PlanId(1))];
    for control in &controls {
        opened.journal.append_control(control).await.expect("it is appended");
    }
    append(&opened.journal, 3, 3, 20).await;
    for sealed in [false, true] {
        if sealed {
            opened.journal.seal().await.expect("it is sealed");
        }
        let again = open(&disk.copied());
        assert_eq!(again.controls, controls);
        assert_eq!(again.torn_bytes, 0);
        assert_eq!(read_all(&again.journal, 20).0, Positions::from_run(Position(0), 6));
        append(&again.journal, 6, 1, 20).await;
    }
}

#[tokio::test]
async fn segments_go_with_the_second_checkpoint_after_they_are_settled() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    // Segments of 1, 2, 4 ... MiB.
    for call in 0..20 {
        append(&opened.journal, call * 10, 10, 50_000).await;
    }
    let before = opened.journal.bytes();
    let checkpoint = Checkpoint {
        end: Position(200),
        settled: Positions::from_run(Position(0), 150),
        ..Checkpoint::default()
    };
    let write = || opened.journal.checkpoint(&checkpoint, opened.journal.mark());
    write().expect("it is written");
    assert_eq!(opened.journal.bytes(), before, "the checkpoint before knew nothing");
    write().expect("it is written");
    let freed = before - opened.journal.bytes();
    assert!(freed > 6_000_000, "{freed} of {before} bytes");
    let again = open(&disk.copied());
    assert_eq!(again.checkpoint.as_ref(), Some(&checkpoint));
    let (whole, _) = read_all(&again.journal, 50_000);
    assert!(whole.contains_range(Position(150), Position(200)));
}

#[tokio::test]
async fn a_damaged_newest_checkpoint_falls_back_to_the_one_before() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    append(&opened.journal, 0, 10, 20).await;
    for settled in [3, 6] {
        let settled = Positions::from_run(Position(0), settled);
        let checkpoint = Checkpoint { end: Position(10), settled, ..Checkpoint::default() };
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint, mark).expect("it is written");
    }
    disk.flip(&directory().join("checkpoint/0000000000000002.ckpt"), 30, 4);
    let again = open(&disk);
    let settled = again.checkpoint.map(|checkpoint| checkpoint.settled.count());
    assert_eq!(settled, Some(3));
    assert_eq!(again.warnings.len(), 1, "{:?}", again.warnings);
}

#[tokio::test]
async fn used_up_segments_are_written_over_and_their_old_frames_stay_dead() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let mut end = 0;
    // Enough for several segments of the longest kind.
    for round in 0..12 {
        for _ in 0..8 {
            append(&opened.journal, end, 4, 900_000).await;
            end += 4;
        }
        let settled = Positions::from_run(Position(0), end - 4);
        let checkpoint = Checkpoint { end: Position(end), settled, ..Checkpoint::default() };
        let mark = opened.journal.mark();
        opened.journal.checkpoint(&checkpoint, mark).expect("it is written");
        assert!(opened.journal.bytes() < 4 * (64 << 20), "round {round}");
    }
    let again = open(&disk.copied());
    assert_eq!(*again.journal.end().borrow(), Position(end));
    let (whole, _) = read_all(&again.journal, 900_000);
    assert!(whole.contains_range(Position(end - 4), Position(end)));
}

#[test]
fn the_checksum_is_crc32c() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
}
