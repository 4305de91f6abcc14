//! Settings that change while records are under way, and power cuts meanwhile.

use std::collections::BTreeSet;

use super::world::{LONG, World};
use crate::disk::simulated::Unsynced;

/// Records by when they were acknowledged: before anybody asked for the end of the backup, and after
/// it was answered.
#[derive(Default)]
struct Acknowledged {
    before: BTreeSet<u64>,
    after: BTreeSet<u64>,
}

/// Sends, switches the backup off, and sends again, until it is through or the disk has died.
async fn switch_off(world: &mut World) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let Some(running) = world.try_start(LONG) else {
        return acknowledged;
    };
    let disk = world.disk.clone();
    let through = async {
        for round in 0..2 {
            if world.send(&running, 10).await.is_err() {
                break;
            }
            acknowledged.before = world.acknowledged.clone();
            if round == 0 && !running.handle.flush().await {
                return;
            }
        }
        world.has_backup = false;
        if running.handle.change(world.settings()).await.is_err() {
            return;
        }
        for _ in 0..2 {
            if world.send(&running, 10).await.is_err() {
                break;
            }
            world.pass(12).await;
        }
        let after = world.acknowledged.difference(&acknowledged.before);
        acknowledged.after = after.copied().collect();
        let _ = running.handle.flush().await;
        world.pass(24).await;
    };
    tokio::select! {
        () = through => {}
        () = disk.died() => {}
    }
    running.kill().await;
    acknowledged
}

#[tokio::test(start_paused = true)]
async fn no_power_cut_moves_the_end_of_a_backup_that_is_switched_off() {
    let world = || World { has_backup: true, ..World::new() };
    let mut whole = world();
    switch_off(&mut whole).await;
    let operations = whole.disk.inner.operations();
    assert!(operations > 60, "the workload is worth the test: {operations}");
    for cut in 0..=operations {
        let mut coin = |unsynced| match cut % 3 {
            0 => false,
            1 => unsynced == Unsynced::Removal,
            _ => true,
        };
        let mut world = world();
        world.disk.die_after(cut);
        let acknowledged = switch_off(&mut world).await;
        let case = format!("cut at {cut}");
        let mut world = world.with_disk(world.disk.inner.crash(&mut coin));
        world.has_backup = false;
        let running = world.start();
        running.flush().await;
        world.until(&running, |status| status.backup.is_none()).await;
        world.audit(&case);
        let kept = world.backed_up(&case);
        let missing: Vec<_> = acknowledged.before.difference(&kept).collect();
        assert!(missing.is_empty(), "{case}: not in the backup: {missing:?}");
        let surplus: Vec<_> = acknowledged.after.intersection(&kept).collect();
        assert!(surplus.is_empty(), "{case}: sent after its end and in the backup: {surplus:?}");
        running.stop().await;

        // Switched on again it begins with what comes then.
        let between: BTreeSet<u64> = world.acknowledged.difference(&kept).copied().collect();
        world.has_backup = true;
        let running = world.start();
        world.send(&running, 10).await.expect("the disk works");
        let status = running.flush().await;
        let backup = status.backup.expect("there is one");
        assert_eq!((backup.pending, backup.damaged, backup.difference), (0, 0, 0), "{case}");
        let kept = world.backed_up(&case);
        assert!(between.is_disjoint(&kept), "{case}: {between:?}");
        assert!(world.acknowledged.difference(&between).all(|id| kept.contains(id)), "{case}");
        running.stop().await;
    }
}
