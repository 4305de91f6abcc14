//! What happens when nothing fails: batches, flushes, tenants, rest.

use std::time::Duration;

use super::doubles::{Fault, locked};
use super::world::World;
use crate::buffer::Hints;
use crate::pipeline::Status;

#[tokio::test(start_paused = true)]
async fn a_flush_waits_until_everything_is_in_the_store() {
    let mut world = World::new();
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    let running = world.start();
    world.send(&running, 10).await.unwrap();
    let handle = running.handle.clone();
    let mut flush = Box::pin(handle.flush());
    tokio::select! {
        _ = &mut flush => panic!("nothing can be in the store yet"),
        () = world.pass(300) => {}
    }
    assert_eq!(running.status().await.pending, 10);
    *locked(&world.store.put_fault) = Fault::default();
    assert!(flush.await);
    let status = running.status().await;
    assert_eq!((status.delivered, status.failed, status.pending), (8, 2, 0));
    world.audit("after the flush");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_closes_with_the_record_that_fills_it() {
    let mut world = World::new();
    world.hints.size_bytes = 1000;
    world.record_bytes = 100;
    let running = world.start();
    for _ in 0..6 {
        world.send(&running, 15).await.unwrap();
    }
    world.until(&running, |status| status.accepted - status.pending >= 80).await;
    // Each tenant's 45 records are four batches of ten and one that stays open.
    assert_eq!((running.closed_by("size"), running.closed_by("interval")), (8, 0));
    let status = running.status().await;
    assert_eq!((status.open_batches, status.buffered_records), (2, 10));
    running.flush().await;
    assert_eq!(running.closed_by("flush"), 2);
    world.audit("after the flush");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_closes_an_interval_after_its_oldest_record_arrived() {
    let mut world = World::new();
    world.hints.interval = Duration::from_secs(60);
    let running = world.start();
    world.send(&running, 5).await.unwrap();
    world.until(&running, |status| status.buffered_records == 5).await;
    world.pass(50).await;
    world.send(&running, 5).await.unwrap();
    assert_eq!(running.closed_by("interval"), 0);
    world.pass(15).await;
    world.until(&running, |status| status.pending == 5).await;
    assert_eq!(running.closed_by("interval"), 1);
    world.pass(60).await;
    world.until(&running, |status| status.pending == 0).await;
    assert_eq!((running.closed_by("interval"), running.closed_by("size")), (2, 0));
    world.audit("after two intervals");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_age_of_a_batch_counts_from_its_arrival_also_after_a_restart() {
    let mut world = World::new();
    world.hints.interval = Duration::from_secs(60);
    let running = world.start();
    world.send(&running, 5).await.unwrap();
    running.kill().await;
    world.clock.advance(Duration::from_secs(61));
    let running = world.start();
    world.until(&running, |status| status.pending == 0).await;
    assert_eq!(running.closed_by("interval"), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn records_of_two_tenants_never_share_an_object() {
    let mut world = World::new();
    let running = world.start();
    for _ in 0..8 {
        world.send(&running, 10).await.unwrap();
    }
    running.flush().await;
    world.audit("after the flush");
    // Rows and failures of each tenant.
    assert_eq!(world.store.objects().len(), 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_keeps_what_only_the_backup_still_needs() {
    // Longer than the clock can come to here, however busy the machine.
    let long = Hints { size_bytes: 64 << 20, interval: Duration::from_secs(1 << 30) };
    let mut world = World { has_backup: true, backup_hints: Some(long), ..World::new() };
    world.hints.interval = Duration::from_secs(10);
    let running = world.start();
    for _ in 0..3 {
        world.send(&running, 10).await.unwrap();
        // The stream is done with them, with checkpoints enough to let go of their segments.
        let is_done = |status: &Status| {
            status.pending == 0 && status.open_plans == 0 && status.unregistered_partitions == 0
        };
        world.pass_until(&running, is_done).await;
        world.pass(300).await;
    }
    let backup = running.status().await.backup.expect("there is one");
    assert_eq!((backup.pending, backup.delivered), (30, 0), "its batches are open");
    let status = running.flush().await;
    let backup = status.backup.expect("there is one");
    assert_eq!((backup.delivered, backup.damaged), (30, 0));
    world.audit("after the flush");
    world.audit_backup("after the flush");
    world.pass_until(&running, |status| status.journal_bytes == 0).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_drained_pipeline_rests() {
    let mut world = World::new();
    let running = world.start();
    world.send(&running, 10).await.unwrap();
    running.flush().await;
    // Until the checkpoints are written that are still worth it. The committing threads take real
    // time, in which on a busy machine any number of seconds goes by here.
    world.pass_until(&running, |status| status.journal_bytes == 0).await;
    world.pass(40).await;
    let (operations, asked) = (world.disk.inner.operations(), world.clock.asked());
    let hour = Duration::from_secs(3600);
    world.clock.advance(hour);
    tokio::time::sleep(hour).await;
    assert_eq!(world.disk.inner.operations(), operations, "an idle stream writes nothing");
    let turns_at_most = world.clock.asked() - asked;
    assert!(turns_at_most < 60 * 5, "an idle stream wakes once a minute: {turns_at_most}");
    running.stop().await;
}
