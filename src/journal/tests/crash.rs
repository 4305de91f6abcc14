//! Power cuts at every change of the disk during a workload, and during the recovery from it.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::disk::simulated::Unsynced;
use crate::journal::{Checkpoint, Control};
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
    for round in 1..=4 {
        // Two plans for each checkpoint: the first one's segment is sealed and settled by then.
        for number in [2 * round - 1, 2 * round] {
            for _ in 0..2 {
                // Large enough that segments are sealed and begun along the way.
                if opened.journal.append(batch(told.acknowledged, 400, LENGTH)).await.is_err() {
                    return Some(told);
                }
                told.acknowledged += 400;
            }
            let settled = Positions::from_run(Position(0), told.acknowledged - 100);
            let plan = Plan {
                id: PlanId(number),
                objects: Vec::new(),
                damaged: settled.without(&told.settled),
                source_end: Position(0),
            };
            if opened.journal.append_control(&Control::Plan(plan)).await.is_err() {
                return Some(told);
            }
            told.planned = number;
            told.settled = settled;
        }
        let checkpoint = Checkpoint {
            end: Position(told.acknowledged),
            last_plan: PlanId(told.planned),
            settled: told.settled.clone(),
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
            settled = settled.with(&plan.damaged);
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
