//! The counts of a stream are made wrong on purpose, on disk and with checksums that hold, and the
//! alarm says so until they are right again.

use super::world::{World, open};
use crate::journal::{Checkpoint, Control, Opened};
use crate::metrics::stream_labels;
use crate::pipeline::Status;
use crate::plan::{Plan, PlanId};
use crate::positions::Positions;
use crate::record::Position;

/// A stream of 24 delivered and 6 failed records, at rest.
async fn settled() -> World {
    let mut world = World::new();
    world.has_backup = true;
    let running = world.start();
    for _ in 0..3 {
        world.send(&running, 10).await.unwrap();
    }
    let status = running.flush().await;
    assert_eq!((status.delivered, status.failed, status.difference), (24, 6, 0));
    assert_eq!((status.degraded, status.backup.unwrap().difference), (None, 0));
    running.stop().await;
    world
}

/// Writes what `change` makes of the newest checkpoint.
fn change_checkpoint(world: &World, change: impl Fn(&mut Checkpoint)) {
    let Opened { journal, checkpoint, .. } = open(&world.environment()).expect("it opens");
    let mut checkpoint = checkpoint.expect("a checkpoint");
    change(&mut checkpoint);
    journal.checkpoint(&checkpoint, journal.mark()).expect("written");
}

/// Looks at a stream with the difference for a while, and sends it some more meanwhile.
async fn assert_alarm(world: &mut World, difference: i64) {
    let running = world.start();
    for _ in 0..3 {
        let status = running.handle.status().await.expect("it runs");
        let Status { accepted, delivered, failed, dropped, damaged, pending, .. } = status;
        let sum = delivered + failed + dropped + damaged + pending;
        assert_eq!(accepted.cast_signed() - sum.cast_signed(), difference, "{status:?}");
        assert_eq!(status.difference, difference);
        let text = status.degraded.expect("the stream says that it is degraded");
        assert!(text.contains(&format!("the difference is {difference}")), "{text}");
        assert!(text.contains("source leg"), "{text}");
        assert_eq!(running.handle.degraded(), Some(text));
        let labels = stream_labels("clicks");
        let (delta, degraded) = (&running.metrics.conservation_delta, &running.metrics.degraded);
        assert_eq!(delta.get_or_create(&labels).get(), difference);
        assert_eq!(degraded.get_or_create(&labels).get(), 1);
        world.send(&running, 10).await.unwrap();
        world.pass(20).await;
    }
    running.kill().await;
}

async fn assert_no_alarm(world: &World) {
    let running = world.start();
    let status = running.flush().await;
    assert_eq!((status.difference, status.degraded), (0, None));
    let labels = stream_labels("clicks");
    assert_eq!(running.metrics.degraded.get_or_create(&labels).get(), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_count_that_a_checkpoint_carries_wrongly_raises_the_alarm_until_it_is_right() {
    let mut world = settled().await;
    change_checkpoint(&world, |checkpoint| checkpoint.delivered += 3);
    assert_alarm(&mut world, -3).await;
    change_checkpoint(&world, |checkpoint| checkpoint.delivered -= 5);
    assert_alarm(&mut world, 2).await;
    change_checkpoint(&world, |checkpoint| checkpoint.delivered += 2);
    assert_no_alarm(&world).await;
}

#[tokio::test(start_paused = true)]
async fn records_that_are_settled_and_never_planned_raise_the_alarm() {
    let mut world = settled().await;
    // As a checkpoint that is ahead of its plan would have it: these records are lost.
    let running = world.start();
    world.send(&running, 10).await.unwrap();
    running.kill().await;
    let ahead = Positions::from_run(Position(0), 34);
    change_checkpoint(&world, |checkpoint| checkpoint.settled = ahead.clone());
    assert_alarm(&mut world, 4).await;
}

#[tokio::test(start_paused = true)]
async fn records_in_two_plans_raise_the_alarm() {
    let mut world = settled().await;
    let running = world.start();
    world.send(&running, 10).await.unwrap();
    *super::doubles::locked(&world.store.put_fault) = super::doubles::Fault::times(u32::MAX);
    let flush = running.handle.flush();
    tokio::select! {
        _ = flush => panic!("the store is away"),
        _ = world.until(&running, |status| status.open_plans > 0) => {}
    }
    running.kill().await;
    let Opened { journal, checkpoint, controls, .. } = open(&world.environment()).unwrap();
    let in_checkpoint = checkpoint.into_iter().flat_map(|checkpoint| checkpoint.open_plans);
    let in_journal = controls.into_iter().filter_map(|control| match control {
        Control::Plan(plan) => Some(plan),
        _ => None,
    });
    let first: Plan = in_checkpoint.chain(in_journal).last().expect("a plan");
    let records: u64 = first.objects.iter().map(|object| object.positions.count()).sum();
    assert_eq!(records, 10);
    let again = Plan { id: PlanId(first.id.0 + 1), ..first };
    journal.append_control(&Control::Plan(again)).await.expect("appended");
    assert_alarm(&mut world, -10).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_count_of_the_backup_is_told_apart() {
    let world = settled().await;
    let directory = std::path::Path::new("/data/streams/clicks/backup");
    let stream = crate::record::StreamName::new("clicks").unwrap();
    let environment = world.environment();
    let opened = crate::journal::Journal::open(&environment, &stream, directory).unwrap();
    let mut checkpoint = opened.checkpoint.expect("a checkpoint");
    checkpoint.delivered -= 1;
    opened.journal.checkpoint(&checkpoint, opened.journal.mark()).unwrap();
    let running = world.start();
    let status = running.handle.status().await.expect("it runs");
    assert_eq!((status.difference, status.backup.map(|backup| backup.difference)), (0, Some(1)));
    let text = status.degraded.expect("the stream says that it is degraded");
    assert!(text.contains("backup leg"), "{text}");
    running.stop().await;
}
