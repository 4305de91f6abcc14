//! Power cuts at every change of the disk during a workload, and during the recovery from it.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::disk::Disk;
use crate::disk::simulated::Unsynced;
use crate::journal::{Checkpoint, Control, Look, Survey};
use crate::plan::{Plan, PlanId};

const LENGTH: usize = 700;

/// What the outside was told before the cut.
#[derive(Debug, Default)]
struct Told {
    acknowledged: u64,
    planned: u64,
    settled: Positions,
}

/// Appends, plans, checkpoints; ends at the first refusal.
async fn work(disk: &SimulatedDisk) -> Option<Told> {
    let stream = StreamName::new("clicks").expect("a name");
    let opened = Journal::open(&environment(disk), &stream, directory()).ok()?;
    let mut told = Told::default();
    for round in 1..=6 {
        for _ in 0..3 {
            // Large enough that segments are sealed and begun along the way.
            if opened.journal.append(batch(told.acknowledged, 400, LENGTH)).await.is_err() {
                return Some(told);
            }
            told.acknowledged += 400;
        }
        let settled = Positions::from_run(Position(0), told.acknowledged - 100);
        let plan = Plan {
            id: PlanId(round),
            objects: Vec::new(),
            damaged: settled.clone(),
            source_end: Position(0),
        };
        if opened.journal.append_control(&Control::Plan(plan)).await.is_err() {
            return Some(told);
        }
        told.planned = round;
        told.settled = settled.clone();
        let checkpoint = Checkpoint {
            end: Position(told.acknowledged),
            last_plan: PlanId(round),
            settled,
            ..Checkpoint::default()
        };
        if opened.journal.checkpoint(&checkpoint, opened.journal.mark()).is_err() {
            return Some(told);
        }
    }
    let _ = opened.journal.seal().await;
    Some(told)
}

/// Everything that was acknowledged is there or settled, and every plan is known.
fn judge(disk: &SimulatedDisk, told: &Told, case: &str) {
    let opened = open(disk);
    let end = *opened.journal.end().borrow();
    assert!(end.0 >= told.acknowledged, "{case}: {end} < {}", told.acknowledged);
    let checkpoint = opened.checkpoint.unwrap_or_default();
    let mut settled = checkpoint.settled;
    let mut plans = checkpoint.last_plan;
    for control in opened.controls {
        if let Control::Plan(plan) = control
            && plan.id > plans
        {
            plans = plan.id;
            settled = plan.damaged;
        }
    }
    assert!(plans.0 >= told.planned, "{case}: plan {} is forgotten", told.planned);
    let unsettled = told.settled.without(&settled);
    assert!(unsettled.is_empty(), "{case}: it is forgotten what became of {unsettled:?}");
    let (whole, lost) = read_all(&opened.journal, LENGTH);
    let really_lost = lost.without(&settled);
    assert!(really_lost.is_empty(), "{case}: lost {really_lost:?}");
    let accounted = whole.count() + settled.without(&whole).count();
    assert!(accounted >= told.acknowledged, "{case}: {accounted}");
}

#[test]
fn no_power_cut_loses_an_acknowledged_record_or_forgets_a_plan() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let whole = SimulatedDisk::default();
    runtime.block_on(work(&whole)).expect("nothing fails");
    let operations = whole.operations();
    assert!(operations > 60, "the workload is worth the test: {operations}");
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_120),
        ..ProptestConfig::default()
    });
    for cut in 0..operations {
        let disk = SimulatedDisk::default();
        disk.fail_after(cut);
        let told = runtime.block_on(work(&disk)).unwrap_or_default();
        for style in ["nothing", "removals", "everything", "some"] {
            let mut coin = |unsynced| match style {
                "nothing" => false,
                "removals" => unsynced == Unsynced::Removal,
                "everything" => true,
                _ => proptest::bool::ANY.new_tree(&mut runner).expect("a coin").current(),
            };
            let crashed = disk.crash(&mut coin);
            let case = format!("cut at {cut}, unsynced that arrives: {style}");
            judge(&crashed.copied(), &told, &case);
            // And a second cut, anywhere in the recovery from the first.
            let step = 1 + cut % 5;
            for second in (0..).step_by(step as usize) {
                let again = crashed.copied();
                again.fail_after(second);
                let stream = StreamName::new("clicks").expect("a name");
                let opened = Journal::open(&environment(&again), &stream, directory());
                let finished = opened.is_ok();
                judge(&again.crash(&mut coin), &told, &format!("{case}, then at {second}"));
                if finished {
                    break;
                }
            }
        }
    }
}

/// A log with ten records that no process has ended, and how many changes a start on it makes.
async fn unended_log() -> (SimulatedDisk, u64) {
    let disk = SimulatedDisk::default();
    append(&open(&disk).journal, 0, 10, LENGTH).await;
    let whole = disk.killed();
    open(&whole);
    (disk.killed(), whole.operations())
}

#[tokio::test]
async fn what_a_start_takes_for_true_is_durable_also_when_the_start_before_died_of_it() {
    let (disk, operations) = unended_log().await;
    let stream = StreamName::new("clicks").expect("a name");
    // Killed at each operation of the copy: also between its new name and the sync of the folder.
    for cut in 0..operations {
        let once = disk.killed();
        once.fail_after(cut);
        let _ = Journal::open(&environment(&once), &stream, directory());
        let twice = once.killed();
        assert_eq!(read_all(&open(&twice).journal, LENGTH).0.count(), 10, "killed at {cut}");
        // And only now the power goes, with which everything that was not synced is lost.
        let journal = open(&twice.crash(&mut |_| false)).journal;
        assert_eq!(read_all(&journal, LENGTH).0.count(), 10, "killed at {cut}, then a power cut");
    }
}

#[tokio::test]
async fn a_seal_that_only_the_page_cache_had_is_durable_after_the_next_start() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    append(&journal, 0, 10, LENGTH).await;
    // It is written, and the process ends before it is synced.
    disk.fail_after(1);
    journal.seal().await.expect_err("it dies");
    let disk = disk.killed();
    append(&open(&disk).journal, 10, 1, LENGTH).await;
    let crashed: Arc<dyn Disk> = Arc::new(disk.crash(&mut |_| false));
    let survey = Survey::of(&crashed, directory(), Uuid::from_u128(7));
    let mut survey = survey.expect("it is listed");
    survey.scan(&mut |_| {});
    survey.check(&mut |look| match look {
        Look::Flaw(flaw) => panic!("{flaw:?}"),
        Look::Record(..) => {}
    });
}

#[tokio::test]
async fn a_start_never_empties_a_segment_that_bears_two_names() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).journal;
    append(&journal, 0, 10, LENGTH).await;
    journal.seal().await.expect("it is sealed");
    // A segment is begun, and the power goes before the folder is synced: the new name has arrived,
    // the old one has not gone.
    let before = disk.operations();
    append(&journal, 10, 1, LENGTH).await;
    let ended = SimulatedDisk::default();
    let journal = open(&ended).journal;
    append(&journal, 0, 10, LENGTH).await;
    journal.seal().await.expect("it is sealed");
    assert_eq!(ended.operations(), before);
    // Created, written, synced, renamed.
    ended.fail_after(4);
    journal.append(batch(10, 1, LENGTH)).await.expect_err("it dies");
    let both = ended.crash(&mut |unsynced| unsynced != Unsynced::Removal);
    let stream = StreamName::new("clicks").expect("a name");
    for cut in 0..12 {
        let once = both.killed();
        once.fail_after(cut);
        let _ = Journal::open(&environment(&once), &stream, directory());
        for arrives in [false, true] {
            let journal = open(&once.crash(&mut |_| arrives)).journal;
            let (whole, lost) = read_all(&journal, LENGTH);
            assert_eq!((whole.count(), lost.count()), (10, 0), "cut at {cut}");
        }
    }
}
