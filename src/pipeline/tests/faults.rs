//! Each edge fails for a time, and every record still ends in one object.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use super::super::TableTrouble;
use super::doubles::{Fault, locked};
use super::world::World;

/// Once, twice, for a while.
const TIMES: [u32; 3] = [1, 2, 25];

/// Sends, flushes and rests until the fault has worn off and everything is where it belongs; then
/// starts again, and nothing more is put.
async fn goes_well_in_the_end(mut world: World, case: &str) {
    let running = world.start();
    for _ in 0..6 {
        world.send(&running, 10).await.unwrap();
    }
    let flushed = running.flush().await;
    assert_eq!((flushed.delivered, flushed.failed, flushed.damaged), (48, 12, 0), "{case}");
    world.send(&running, 10).await.unwrap();
    running.flush().await;
    while world.disk.faults_left() > 0 {
        world.pass(1).await;
        running.status().await;
    }
    // The committing threads take real time, while the clock of the test runs as fast as it can.
    let mut status = running.status().await;
    for _ in 0..1_000_000 {
        let on_disk = status.journal_bytes + status.outbox_bytes;
        let is_counted = running.budget.used_bytes() == on_disk;
        if status.outbox_bytes == 0 && status.blocked.is_none() && is_counted {
            break;
        }
        world.pass(1).await;
        status = running.status().await;
    }
    assert_eq!(status.blocked, None, "{case}");
    assert_eq!(status.outbox_bytes, 0, "{case}: the outbox is empty after a checkpoint");
    let on_disk = status.journal_bytes + status.outbox_bytes;
    assert_eq!(running.budget.used_bytes(), on_disk, "{case}: the budget counts what is there");
    assert_eq!(world.audit(case).len(), 70, "{case}");
    running.stop().await;

    let attempts = locked(&world.store.attempts).len();
    let running = world.start();
    let again = running.flush().await;
    assert_eq!((again.delivered, again.failed, again.pending), (56, 14, 0), "{case}");
    assert_eq!(locked(&world.store.attempts).len(), attempts, "{case}: put after a restart");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_for_a_time_gets_everything_once() {
    for times in TIMES {
        let world = World::new();
        *locked(&world.store.put_fault) = Fault::times(times);
        goes_well_in_the_end(world, &format!("{times} puts fail")).await;
        let world = World::new();
        *locked(&world.store.put_fault) = Fault::times(1);
        *locked(&world.store.head_fault) = Fault::times(times);
        goes_well_in_the_end(world, &format!("a put and {times} heads fail")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leads_to_the_same_bytes_on_the_same_key() {
    for times in TIMES {
        for is_forgetful in [false, true] {
            let world = World::new();
            *locked(&world.store.put_fault) = Fault { is_applied: true, ..Fault::times(times) };
            *locked(&world.store.is_forgetful) = is_forgetful;
            let store = world.store.clone();
            let case = format!("{times} answers are lost, forgetful={is_forgetful}");
            goes_well_in_the_end(world, &case).await;
            let attempts = locked(&store.attempts);
            let keys: BTreeSet<_> = attempts.iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), store.objects().len(), "{case}");
            // A store that tells what it has is not sent it twice.
            let repeated = attempts.len() - keys.len();
            assert_eq!(repeated, if is_forgetful { times as usize } else { 0 }, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_fails_for_a_time_gets_every_partition() {
    for times in TIMES {
        for is_applied in [false, true] {
            let world = World::new();
            *locked(&world.catalog.fault) = Fault { is_applied, ..Fault::times(times) };
            goes_well_in_the_end(world, &format!("{times} registrations fail")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_cannot_be_written_for_a_time_delays_and_loses_nothing() {
    for times in TIMES {
        // The first plan's file is created, its four objects are written, file and folder synced;
        // so are those of the second with two objects; then both files are removed.
        for skip in [0, 1, 4, 5, 6, 7, 12, 13] {
            let world = World::new();
            let fault = Fault { skip, ..Fault::times(times) };
            world.disk.fail("/outbox", fault, ErrorKind::StorageFull);
            goes_well_in_the_end(world, &format!("outbox fails {times} times from {skip}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_written_for_a_time_is_written_later() {
    for times in TIMES {
        // Created, written, synced, renamed, the folder synced.
        for skip in 0..5 {
            let world = World::new();
            let fault = Fault { skip, ..Fault::times(times) };
            world.disk.fail("/checkpoint", fault, ErrorKind::StorageFull);
            goes_well_in_the_end(world, &format!("checkpoint fails {times} times from {skip}"))
                .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_room_in_the_journal_is_made_again_and_counted_once() {
    for times in TIMES {
        let mut world = World::new();
        let running = world.start();
        world.send(&running, 10).await.unwrap();
        // So that the plan needs a new segment.
        running.journal.seal().await.unwrap();
        world.disk.fail("/journal", Fault::times(times), ErrorKind::StorageFull);
        let status = running.flush().await;
        assert_eq!((status.delivered, status.failed), (8, 2));
        world.pass(40).await;
        let status = running.status().await;
        assert_eq!(running.budget.used_bytes(), status.journal_bytes + status.outbox_bytes);
        assert_eq!(world.audit("no room for a plan").len(), 10);
        assert_eq!(world.store.objects().len(), locked(&world.store.attempts).len());
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_the_store_down_ends_within_its_grace_and_loses_nothing() {
    let mut world = World::new();
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    let grace = Duration::from_secs(25);
    let running = world.try_start(grace).unwrap();
    for _ in 0..4 {
        world.send(&running, 10).await.unwrap();
    }
    let flush = running.handle.clone();
    let mut flushes = tokio::task::JoinSet::new();
    flushes.spawn(async move { flush.flush().await });
    world.until(&running, |status| status.open_plans == 1).await;
    // All checkpoints are written: the loop has nothing to wake up for.
    world.pass(120).await;
    world.send(&running, 10).await.unwrap();
    world.until(&running, |status| status.buffered_records == 10).await;

    let took = running.stop_in_time(&world).await;
    assert!(took <= grace + Duration::from_secs(2), "the grace is over: {took:?}");
    assert!(!flushes.join_next().await.unwrap().unwrap(), "the flush did not come about");
    let planned = world.planned_keys();
    assert_eq!(planned.len(), 2, "what was buffered was planned within the grace");
    let attempted: BTreeSet<_> =
        locked(&world.store.attempts).iter().map(|(key, _)| key.clone()).collect();

    *locked(&world.store.put_fault) = Fault::default();
    let world = world.with_disk(world.disk.inner.copied());
    let running = world.start();
    assert_eq!(running.status().await.pending, 50);
    let status = running.flush().await;
    assert_eq!((status.delivered, status.failed, status.pending), (40, 10, 0));
    assert_eq!(world.audit("after the outage").len(), 50);
    let objects: BTreeSet<_> = world.store.objects().into_keys().collect();
    let planned: BTreeSet<_> = planned.into_values().flatten().collect();
    assert_eq!(objects, planned, "plans keep their keys over a restart");
    assert!(attempted.is_subset(&objects), "a key that was tried is not left for another");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_stop_with_the_store_down_ends_within_its_grace() {
    let mut world = World::new();
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    let grace = Duration::from_secs(25);
    let running = world.try_start(grace).unwrap();
    world.send(&running, 10).await.unwrap();
    tokio::select! {
        _ = running.handle.flush() => panic!("the store is down"),
        () = world.pass(120) => {}
    }
    let took = running.stop_in_time(&world).await;
    assert!(took <= grace + Duration::from_secs(2), "the grace is over: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_once_delivers_nothing_more_tells_what_is_left_and_loses_nothing() {
    let mut world = World::new();
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    let running = world.start();
    for _ in 0..4 {
        world.send(&running, 10).await.unwrap();
    }
    tokio::select! {
        _ = running.handle.flush() => panic!("the store is down"),
        _ = world.until(&running, |status| status.open_plans == 1) => {}
    }
    world.send(&running, 10).await.unwrap();
    let status = world.until(&running, |status| status.buffered_records == 10).await;
    assert_eq!((status.pending, status.open_plans), (50, 1));
    let left = running.stop_at_once().await;
    assert_eq!((left.records, left.plans, left.backup_records), (50, 1, 0));
    assert!(left.bytes > 0);

    *locked(&world.store.put_fault) = Fault::default();
    let running = world.start();
    let status = running.status().await;
    assert_eq!((status.pending, status.open_plans), (left.records, 1));
    let status = running.flush().await;
    assert_eq!((status.delivered, status.failed, status.pending), (40, 10, 0));
    assert_eq!(world.audit("after a stop at once").len(), 50);
    assert!(running.stop().await.is_nothing());
}

#[tokio::test(start_paused = true)]
async fn sealed_segments_are_covered_by_a_checkpoint_also_when_nothing_is_planned() {
    let mut world = World::new();
    world.record_bytes = 100_000;
    let running = world.start();
    // The checkpoints of a start are over.
    world.pass(60).await;
    let before = running.journal.mark();
    for _ in 0..4 {
        world.send(&running, 10).await.unwrap();
    }
    assert!(running.journal.sealed_since(before) > 0, "the first segment is full");
    world.pass(30).await;
    world.until(&running, |status| status.buffered_records == 40).await;
    assert_eq!(running.status().await.open_plans, 0);
    running.kill().await;
    assert!(world.checkpoint_covers() > 1, "a start would skim what was sealed");
    let running = world.start();
    running.flush().await;
    assert_eq!(world.audit("after a kill").len(), 40);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_table_holds_records_until_it_is_there_again() {
    let mut world = World::new();
    let running = world.start();
    running.handle.table(Some(TableTrouble::Missing("the table is gone".into()))).await;
    world.send(&running, 10).await.unwrap();
    let flush = running.handle.clone();
    let mut flushes = tokio::task::JoinSet::new();
    flushes.spawn(async move { flush.flush().await });
    let status = world.until(&running, |status| status.closed_batches > 0).await;
    assert!(status.blocked.is_some_and(|text| text.contains("the table is gone")));
    world.pass(30).await;
    let status = running.status().await;
    assert_eq!((status.pending, status.open_plans), (10, 0));
    assert!(world.store.objects().is_empty());

    // A table that is there and of no use holds nothing up.
    running.handle.table(Some(TableTrouble::Unusable("it is odd".into()))).await;
    let status = running.flush().await;
    assert_eq!((status.delivered, status.failed, status.pending), (8, 2, 0));
    assert!(status.blocked.is_some_and(|text| text.contains("it is odd")));
    running.handle.table(None).await;
    assert_eq!(running.status().await.blocked, None);
    assert!(flushes.join_next().await.unwrap().unwrap(), "the first flush came about as well");
    assert_eq!(world.audit("held").len(), 10);
    running.stop().await;
}
