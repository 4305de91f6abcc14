//! Calls that come again: answered as the first time, waited for, or stored once, whatever happens
//! in between.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::disk::Disk as _;
use crate::journal::window::{Begun, KeyedCall, Window, put_calls, take_calls};
use crate::journal::{AppendError, Appended, CallKey, Checkpoint};

const MINUTE_MS: i64 = 60_000;
const LENGTH: usize = 40;

fn key(number: u64) -> CallKey {
    CallKey(u128::from(number).to_le_bytes())
}

/// The call `number`: two records at `arrival`, whose first would stand at `first`.
fn keyed(number: u64, first: u64, arrival: i64) -> Batch {
    let mut batch = Batch::new(None, UnixMillis(arrival)).with_call(Some(key(number)));
    (first..first + 2).for_each(|number| batch.push(&record(number, LENGTH)));
    batch
}

fn stored(first: u64) -> Appended {
    Appended { first: Position(first), count: 2, is_repetition: false }
}

fn again(first: u64) -> Appended {
    Appended { is_repetition: true, ..stored(first) }
}

fn open_with(disk: &SimulatedDisk, remembered_calls: RememberedCalls) -> Journal {
    let stream = StreamName::new("clicks").expect("a name");
    let environment = Environment { remembered_calls, ..environment(disk) };
    Journal::open(&environment, &stream, directory()).expect("the journal opens").journal
}

fn checkpoint(end: u64) -> Checkpoint {
    Checkpoint {
        end: Position(end),
        settled: Positions::from_run(Position(0), end),
        ..Checkpoint::default()
    }
}

#[tokio::test]
async fn a_call_that_comes_again_gets_the_first_answer_and_is_not_stored() {
    let journal = open(&SimulatedDisk::default()).journal;
    assert_eq!(journal.append(keyed(1, 0, 0)).await, Ok(stored(0)));
    assert_eq!(journal.append(keyed(2, 2, 0)).await, Ok(stored(2)));
    assert_eq!(journal.append(keyed(1, 0, 5 * MINUTE_MS)).await, Ok(again(0)));
    assert_eq!(*journal.end().borrow(), Position(4));
    // Records without a call are never taken for each other.
    append(&journal, 4, 1, LENGTH).await;
    append(&journal, 5, 1, LENGTH).await;
}

#[tokio::test]
async fn a_call_that_comes_again_after_the_window_is_a_new_one() {
    let journal = open(&SimulatedDisk::default()).journal;
    assert_eq!(journal.append(keyed(1, 0, 0)).await, Ok(stored(0)));
    assert_eq!(journal.append(keyed(1, 2, 5 * MINUTE_MS + 1)).await, Ok(stored(2)));
    assert_eq!(journal.append(keyed(1, 2, 6 * MINUTE_MS)).await, Ok(again(2)));
    assert_eq!(journal.forgotten_calls(), 0);
}

#[tokio::test]
async fn the_window_is_bounded_and_the_oldest_go_first() {
    let journal = open_with(&SimulatedDisk::default(), RememberedCalls::new(3));
    for call in 0..5 {
        assert_eq!(journal.append(keyed(call, call * 2, 0)).await, Ok(stored(call * 2)));
    }
    assert_eq!(journal.forgotten_calls(), 2);
    for call in [2, 3, 4] {
        assert_eq!(journal.append(keyed(call, 0, 0)).await, Ok(again(call * 2)));
    }
    assert_eq!(journal.append(keyed(0, 10, 0)).await, Ok(stored(10)));
}

#[tokio::test]
async fn windows_share_their_room_and_the_oldest_of_all_go_first() {
    let remembered = RememberedCalls::new(4);
    let disks = [SimulatedDisk::default(), SimulatedDisk::default()];
    let [busy, quiet] = disks.each_ref().map(|disk| open_with(disk, remembered.clone()));
    assert_eq!(quiet.append(keyed(0, 0, 10)).await, Ok(stored(0)));
    assert_eq!(quiet.append(keyed(1, 2, 50)).await, Ok(stored(2)));
    // More than a half: the room is nobody's.
    for call in 0..3 {
        let sent = keyed(call, call * 2, 20 + call.cast_signed());
        assert_eq!(busy.append(sent).await, Ok(stored(call * 2)));
    }
    assert_eq!((quiet.forgotten_calls(), busy.forgotten_calls()), (1, 0));
    for call in 0..3 {
        assert_eq!(busy.append(keyed(call, 0, 60)).await, Ok(again(call * 2)));
    }
    assert_eq!(quiet.append(keyed(1, 0, 60)).await, Ok(again(2)));
    assert_eq!(quiet.append(keyed(0, 4, 60)).await, Ok(stored(4)));
    assert_eq!((quiet.forgotten_calls(), busy.forgotten_calls()), (1, 1));
    // Calls whose time is over make room.
    let later = 20 + 5 * MINUTE_MS + 10;
    assert_eq!(busy.append(keyed(9, 6, later)).await, Ok(stored(6)));
    assert_eq!((quiet.forgotten_calls(), busy.forgotten_calls()), (1, 1));
}

#[test]
fn a_window_that_is_closed_leaves_its_room() {
    let remembered = RememberedCalls::new(4);
    let call = |number: u64| KeyedCall {
        key: key(number),
        first: Position(number),
        count: 1,
        arrival: UnixMillis(number.cast_signed()),
    };
    let window = |numbers: std::ops::Range<u64>| {
        Window::new(remembered.clone(), numbers.map(call).collect())
    };
    let first = window(0..2);
    drop(window(2..4));
    let second = window(4..6);
    assert_eq!((first.calls().len(), second.calls().len()), (2, 2));
    let _third = window(6..7);
    assert_eq!((first.calls(), first.forgotten()), (vec![call(1)], 1));
}

#[tokio::test]
async fn calls_under_way_are_waited_for() {
    let journal = open(&SimulatedDisk::default()).journal;
    let calls = (0..20).map(|_| journal.append(keyed(1, 0, 0)));
    let mut answers = futures::future::join_all(calls).await;
    assert_eq!(answers.remove(0), Ok(stored(0)));
    assert!(answers.iter().all(|answer| *answer == Ok(again(0))), "{answers:?}");
    assert_eq!(*journal.end().borrow(), Position(2));
}

#[test]
fn too_many_repetitions_of_one_call_are_told_to_come_later() {
    let window = Arc::new(Window::new(RememberedCalls::new(10), Vec::new()));
    let begin = || window.begin(key(1), UnixMillis(0));
    let Begun::First(claim) = begin() else { panic!("nobody was there before") };
    let mut waiting: Vec<_> = std::iter::from_fn(|| match begin() {
        Begun::UnderWay(answer) => Some(answer),
        Begun::Crowded => None,
        other => panic!("{other:?}"),
    })
    .collect();
    assert_eq!(waiting.len(), 64);
    claim.refuse(AppendError::QueueFull);
    for answer in &mut waiting {
        assert_eq!(answer.try_recv(), Ok(Err(AppendError::QueueFull)));
    }
    assert!(matches!(begin(), Begun::First(_)), "the key is free again");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_answer_to_the_next() {
    let journal = open(&SimulatedDisk::default()).journal;
    // Polled once, so that the call is in the queue, and dropped, whether it was answered or not.
    let _ = futures::poll!(Box::pin(journal.append(keyed(1, 0, 0))));
    assert_eq!(journal.append(keyed(1, 0, 0)).await, Ok(again(0)));
}

#[tokio::test]
async fn a_refused_call_may_come_again() {
    let disk = SimulatedDisk::default();
    let mut tight = environment(&disk);
    tight.budget = Arc::new(DiskBudget::new(1));
    let stream = StreamName::new("clicks").expect("a name");
    let journal = Journal::open(&tight, &stream, directory()).expect("the journal opens").journal;
    for _ in 0..2 {
        let refused = journal.append(keyed(1, 0, 0)).await;
        assert_eq!(refused, Err(AppendError::BudgetUsedUp));
    }
    drop(journal);
    let journal = open(&disk).journal;
    assert_eq!(journal.append(keyed(1, 0, 0)).await, Ok(stored(0)));
}

#[tokio::test]
async fn the_window_outlives_the_process() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    for call in 0..3 {
        assert_eq!(journal.append(keyed(call, call * 2, 0)).await, Ok(stored(call * 2)));
    }
    // Twice, since recovered segments are copies.
    let once = disk.copied();
    let journal = open(&once).journal;
    assert_eq!(journal.append(keyed(1, 0, MINUTE_MS)).await, Ok(again(2)));
    let journal = open(&once.copied()).journal;
    assert_eq!(journal.append(keyed(2, 0, MINUTE_MS)).await, Ok(again(4)));
    assert_eq!(journal.append(keyed(2, 6, 6 * MINUTE_MS)).await, Ok(stored(6)));
}

#[tokio::test]
async fn the_window_outlives_the_segments() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    assert_eq!(journal.append(keyed(1, 0, 0)).await, Ok(stored(0)));
    journal.seal().await.expect("it is sealed");
    for _ in 0..2 {
        journal.checkpoint(&checkpoint(2), journal.mark()).expect("it is written");
    }
    assert!(disk.list(&directory().join("journal")).expect("it is listed").is_empty());
    let journal = open(&disk.copied()).journal;
    assert_eq!(journal.append(keyed(1, 0, 0)).await, Ok(again(0)));
    assert_eq!(journal.append(keyed(2, 2, 0)).await, Ok(stored(2)));
}

/// Appends keyed calls with checkpoints in between; ends at the first refusal. Tells which calls
/// were answered, and where they stand.
async fn work(disk: &SimulatedDisk, calls: u64) -> Option<Vec<Position>> {
    let stream = StreamName::new("clicks").expect("a name");
    let opened = Journal::open(&environment(disk), &stream, directory()).ok()?;
    let mut told = Vec::new();
    for call in 0..calls {
        let Ok(appended) = opened.journal.append(keyed(call, call * 2, 0)).await else {
            return Some(told);
        };
        told.push(appended.first);
        if call % 3 == 2 {
            let sealed = opened.journal.seal().await.is_ok();
            let (checkpoint, mark) = (checkpoint(call * 2 - 2), opened.journal.mark());
            if !sealed || opened.journal.checkpoint(&checkpoint, mark).is_err() {
                return Some(told);
            }
        }
    }
    Some(told)
}

#[test]
fn a_power_cut_anywhere_leaves_every_call_stored_once_when_all_come_again() {
    const CALLS: u64 = 12;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let whole = SimulatedDisk::default();
    runtime.block_on(work(&whole, CALLS)).expect("nothing fails");
    let operations = whole.operations();
    assert!(operations > 60, "the workload is worth the test: {operations}");
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_125),
        ..ProptestConfig::default()
    });
    for cut in 0..=operations {
        for style in ["nothing", "everything", "some"] {
            let disk = SimulatedDisk::default();
            disk.fail_after(cut);
            let told = runtime.block_on(work(&disk, CALLS)).unwrap_or_default();
            let mut coin = |_| match style {
                "nothing" => false,
                "everything" => true,
                _ => proptest::bool::ANY.new_tree(&mut runner).expect("a coin").current(),
            };
            let case = format!("cut at {cut}, unsynced that arrives: {style}");
            let journal = open(&disk.crash(&mut coin)).journal;
            for call in 0..CALLS {
                let sent = journal.append(keyed(call, call * 2, 0));
                let appended = runtime.block_on(sent).expect("the disk works");
                assert_eq!(appended.first, Position(call * 2), "{case}: call {call}");
                if let Some(first) = told.get(call as usize) {
                    assert_eq!(appended, again(first.0), "{case}: call {call}");
                }
            }
            assert_eq!(*journal.end().borrow(), Position(CALLS * 2), "{case}");
        }
    }
}

proptest! {
    #[test]
    fn windows_in_checkpoints_read_back(
        calls in proptest::collection::vec((any::<[u8; 16]>(), any::<u64>(), any::<u32>(), any::<i64>()), 0..20),
        torn in 1usize..8,
    ) {
        let calls: Vec<_> = calls
            .into_iter()
            .map(|(key, first, count, arrival)| KeyedCall {
                key: CallKey(key),
                first: Position(first),
                count,
                arrival: UnixMillis(arrival),
            })
            .collect();
        let mut bytes = Vec::new();
        put_calls(&mut bytes, &calls);
        prop_assert_eq!(take_calls(&mut &bytes[..bytes.len() - torn]), None);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(take_calls(&mut rest), Some(calls));
        prop_assert!(rest.is_empty());
    }
}
