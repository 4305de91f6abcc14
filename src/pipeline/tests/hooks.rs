//! Hooks that answer differently every time, hooks that are away, and backups beside them.

use std::sync::Arc;

use super::doubles::{FickleHook, locked};
use super::world::World;

fn hooked() -> World {
    World { hook: Some(Arc::new(FickleHook::default())), ..World::new() }
}

#[tokio::test(start_paused = true)]
async fn what_hooks_make_of_records_is_delivered_failed_or_dropped_once() {
    let mut world = World { has_backup: true, ..hooked() };
    let running = world.start();
    for _ in 0..8 {
        world.send(&running, 20).await.unwrap();
    }
    let status = running.flush().await;
    let dropped = world.audit_transformed("after the flush");
    assert_eq!((status.dropped, status.pending, status.damaged), (dropped, 0, 0));
    assert!(status.delivered > 0 && status.failed > 0 && dropped > 0, "{status:?}");
    world.audit_backup("after the flush");
    let backup = status.backup.clone().expect("there is one");
    assert_eq!((backup.accepted, backup.delivered, backup.pending), (160, 160, 0));
    running.stop().await;

    let running = world.start();
    let again = running.flush().await;
    let counts = |s: &crate::pipeline::Status| (s.accepted, s.delivered, s.failed, s.dropped);
    assert_eq!(counts(&again), counts(&status), "a restart changes nothing");
    world.audit_transformed("after a restart");
    world.audit_backup("after a restart");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn batches_that_are_answered_in_part_go_on_where_they_stopped() {
    for answers_max in [1, 3, 19] {
        let hook = FickleHook { answers_max: Some(answers_max), ..FickleHook::default() };
        let mut world = World { hook: Some(Arc::new(hook)), has_backup: true, ..World::new() };
        let running = world.start();
        for _ in 0..8 {
            world.send(&running, 20).await.unwrap();
        }
        let status = running.flush().await;
        let dropped = world.audit_transformed("after the flush");
        assert_eq!((status.dropped, status.pending, status.damaged), (dropped, 0, 0));
        running.stop().await;
        let running = world.start();
        running.flush().await;
        world.audit_transformed("after a restart");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_away_holds_its_records_until_it_is_back() {
    let mut world = World { has_backup: true, ..hooked() };
    let hook = world.hook.clone().expect("there is one");
    *locked(&hook.away) = u32::MAX;
    let running = world.start();
    world.send(&running, 20).await.unwrap();
    let held = |s: &crate::pipeline::Status| s.blocked.as_ref().is_some_and(|b| b.contains("away"));
    let status = world.until(&running, held).await;
    assert_eq!((status.pending, status.untransformed), (20, 20));
    *locked(&hook.away) = 0;
    let status = running.flush().await;
    assert_eq!((status.pending, status.blocked.clone()), (0, None));
    assert_eq!(status.dropped, world.audit_transformed("when it is back"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_never_comes_back_is_replaced_or_taken_out_by_a_change() {
    let lost_for_ever = || FickleHook { away: u32::MAX.into(), ..FickleHook::default() };
    let held = |s: &crate::pipeline::Status| s.blocked.as_ref().is_some_and(|b| b.contains("away"));
    let mut world = World { hook: Some(Arc::new(lost_for_ever())), ..World::new() };
    let running = world.start();
    world.send(&running, 20).await.unwrap();
    world.until(&running, held).await;
    world.hook = Some(Arc::new(FickleHook::default()));
    running.handle.change(world.settings()).await.unwrap();
    let status = running.flush().await;
    let dropped = world.audit_transformed("by the hook that took its place");
    assert_eq!((status.pending, status.dropped), (0, dropped));

    world.hook = Some(Arc::new(lost_for_ever()));
    running.handle.change(world.settings()).await.unwrap();
    world.acknowledged.clear();
    world.send(&running, 20).await.unwrap();
    world.until(&running, held).await;
    world.hook = None;
    running.handle.change(world.settings()).await.unwrap();
    let status = running.flush().await;
    assert_eq!(status.pending, 0);
    let rows = world.store.objects().into_iter().filter(|(key, _)| key.ends_with(".parquet"));
    assert!(rows.count() > 0, "{status:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_drops_everything_lets_the_disk_go() {
    let hook = FickleHook { drops_all: true, ..FickleHook::default() };
    let mut world = World { hook: Some(Arc::new(hook)), record_bytes: 1000, ..World::new() };
    let running = world.start();
    let mut most = 0;
    for _ in 0..30 {
        for _ in 0..10 {
            world.send(&running, 20).await.unwrap();
        }
        running.flush().await;
        world.pass(25).await;
        most = most.max(running.budget.used_bytes());
    }
    let sent_bytes = 30 * 10 * 20 * 1000;
    assert!(most < sent_bytes / 3, "what is dropped leaves the disk: {most}");
    let status = running.status().await;
    assert_eq!((status.dropped, status.pending), (6000, 0));
    // The committing threads take real time, while the clock of the test runs as fast as it can.
    let mut left = status.journal_bytes + status.scratch_bytes;
    for _ in 0..100_000 {
        if left == 0 {
            break;
        }
        world.pass(1).await;
        let status = running.status().await;
        left = status.journal_bytes + status.scratch_bytes;
    }
    assert_eq!(left, 0, "an idle stream keeps nothing on the disk");
    assert!(world.store.objects().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn hooks_and_backup_come_and_go_while_records_wait() {
    let mut world = World::new();
    let running = world.start();
    world.send(&running, 20).await.unwrap();
    world.until(&running, |status| status.buffered_records == 20).await;

    // What is not planned yet is transformed; the backup begins with the next record.
    world.hook = Some(Arc::new(FickleHook::default()));
    world.has_backup = true;
    let first = std::mem::take(&mut world.acknowledged);
    running.handle.change(world.settings()).await.unwrap();
    world.send(&running, 20).await.unwrap();
    running.flush().await;
    world.audit_backup("since there is a backup");
    world.acknowledged.extend(&first);
    let dropped = world.audit_transformed("all of it passed the hook");
    let status = running.status().await;
    assert_eq!((status.dropped, status.pending), (dropped, 0));

    // Without them again: what the hook made before is delivered all the same.
    world.send(&running, 20).await.unwrap();
    world.until(&running, |status| status.untransformed == 0).await;
    world.has_backup = false;
    let hook = world.hook.take();
    running.handle.change(world.settings()).await.unwrap();
    let status = running.flush().await;
    assert_eq!(status.dropped, world.audit_transformed("the last ones too"));
    world.until(&running, |status| status.backup.is_none()).await;
    running.stop().await;

    world.hook = hook;
    let running = world.start();
    running.flush().await;
    world.audit_transformed("with hooks again");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_switched_off_and_on_again_misses_nothing() {
    let mut world = World { has_backup: true, ..World::new() };
    let running = world.start();
    for round in 0..6 {
        world.send(&running, 20).await.unwrap();
        for has_backup in [false, true] {
            world.has_backup = has_backup;
            running.handle.change(world.settings()).await.unwrap();
            if round % 2 == 0 {
                world.pass(2).await;
            }
        }
        world.send(&running, 20).await.unwrap();
    }
    running.flush().await;
    let status = world
        .until(&running, |status| status.backup.as_ref().is_some_and(|b| b.pending == 0))
        .await;
    assert_eq!(status.backup.map(|backup| backup.accepted), Some(240));
    world.audit_backup("switched off and on again");
    running.stop().await;
}
