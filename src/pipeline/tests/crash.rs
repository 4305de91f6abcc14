//! Power cuts at every change of the disk while a pipeline works, and in the recovery from them.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use super::doubles::FickleHook;
use super::world::{LONG, World};
use crate::disk::simulated::Unsynced;

/// Sends, flushes, rests, until it is through or the disk has died.
async fn work(world: &mut World) {
    let Some(running) = world.try_start(LONG) else {
        return;
    };
    let disk = world.disk.clone();
    let through = async {
        for _ in 0..3 {
            for _ in 0..2 {
                if world.send(&running, 10).await.is_err() {
                    return;
                }
            }
            if !running.handle.flush().await {
                return;
            }
            world.pass(12).await;
        }
        world.pass(24).await;
    };
    tokio::select! {
        () = through => {}
        () = disk.died() => {}
    }
    running.kill().await;
}

/// Starts on what the cut has left and delivers it.
async fn recover(world: &World, case: &str) {
    let planned = world.planned_keys();
    let running = world.start();
    let status = running.flush().await;
    assert_eq!((status.pending, status.damaged), (0, 0), "{case}");
    let found = world.audit(case);
    assert_eq!(status.accepted, found.len() as u64, "{case}: counted is what is there");
    let failed = found.iter().filter(|id| *id % 5 == 4).count() as u64;
    assert_eq!(status.failed, failed, "{case}");
    let objects = world.store.objects();
    for key in planned.values().flatten() {
        assert!(objects.contains_key(key), "{case}: the planned {key} is not there");
    }
    running.stop().await;
}

/// Starts on what the cut has left, and looks at what a hook that never answers twice in the same way
/// has made of the records, and at the backup.
async fn recover_transformed(world: &World, case: &str) {
    let running = world.start();
    let status = running.flush().await;
    assert_eq!((status.pending, status.damaged), (0, 0), "{case}");
    let dropped = world.audit_transformed(case);
    // Of records that nobody was told of, the drops leave no trace but the count.
    assert!(status.dropped >= dropped, "{case}: {} dropped of {dropped}", status.dropped);
    world.audit_backup(case);
    let backup = status.backup.expect("there is one");
    assert_eq!((backup.pending, backup.damaged), (0, 0), "{case}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_power_cut_changes_what_a_hook_said_or_tears_a_backup() {
    let world =
        || World { hook: Some(Arc::new(FickleHook::default())), has_backup: true, ..World::new() };
    let mut whole = world();
    work(&mut whole).await;
    let operations = whole.disk.inner.operations();
    assert!(operations > 150, "the workload is worth the test: {operations}");
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_125),
        ..ProptestConfig::default()
    });
    for cut in 0..operations {
        let style = ["nothing", "removals", "everything", "some"][cut as usize % 4];
        let mut coin = |unsynced| match style {
            "nothing" => false,
            "removals" => unsynced == Unsynced::Removal,
            "everything" => true,
            _ => proptest::bool::ANY.new_tree(&mut runner).expect("a coin").current(),
        };
        let mut world = world();
        world.disk.die_after(cut);
        work(&mut world).await;
        let after = world.with_disk(world.disk.inner.crash(&mut coin));
        let case = format!("cut at {cut}, unsynced that arrives: {style}");
        recover_transformed(&after, &case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_power_cut_loses_or_doubles_an_acknowledged_record() {
    let mut whole = World::new();
    work(&mut whole).await;
    let operations = whole.disk.inner.operations();
    assert!(operations > 60, "the workload is worth the test: {operations}");
    assert_eq!(whole.audit("no cut").len(), 60);
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_120),
        ..ProptestConfig::default()
    });
    for cut in 0..operations {
        for style in ["nothing", "removals", "everything", "some"] {
            let mut coin = |unsynced| match style {
                "nothing" => false,
                "removals" => unsynced == Unsynced::Removal,
                "everything" => true,
                _ => proptest::bool::ANY.new_tree(&mut runner).expect("a coin").current(),
            };
            let mut world = World::new();
            world.disk.die_after(cut);
            work(&mut world).await;
            let mut after = world.with_disk(world.disk.inner.crash(&mut coin));
            let mut case = format!("cut at {cut}, unsynced that arrives: {style}");
            if style == "some" {
                // A second cut, anywhere in the recovery from the first.
                let second = cut * 7 % 31;
                after.disk.die_after(second);
                work(&mut after).await;
                after = after.with_disk(after.disk.inner.crash(&mut coin));
                case.push_str(&format!(", then at {second}"));
            }
            recover(&after, &case).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_has_begun_begins_only_once() {
    // The first start dies at each of its changes, also between the name of the backup's first
    // checkpoint and the sync of its folder; the second takes records, and then the power goes.
    for cut in 0..20 {
        let world = World { has_backup: true, ..World::new() };
        world.disk.die_after(cut);
        if let Some(running) = world.try_start(LONG) {
            running.kill().await;
        }
        let mut world = world.with_disk(world.disk.inner.killed());
        let running = world.start();
        world.send(&running, 10).await.unwrap();
        running.kill().await;
        let world = world.with_disk(world.disk.inner.crash(&mut |_| false));
        let case = format!("cut at {cut}");
        let running = world.start();
        running.flush().await;
        assert_eq!(world.audit(&case).len(), 10);
        world.audit_backup(&case);
        running.stop().await;
    }
}
