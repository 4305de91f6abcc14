//! Random lives of whole pipelines: with and without hooks that never answer twice in the same way,
//! with and without a backup, some telling the ends of their partitions, on a disk that fails, fills up
//! and loses its power, with stores and catalogs that are away for a time. Each ends with the questions
//! of [`World`]: is every acknowledged record in exactly one object, and in one of the backup?
//!
//! `LAKEHOSE_SEED=17 cargo test --release schedules` makes the choices of one schedule again;
//! committing threads may take their turns in another order. `LAKEHOSE_SCHEDULES=200000` asks for
//! more.

use std::sync::Arc;

use super::doubles::{Fault as Outage, FickleHook, locked};
use super::world::{Aimed, LONG, Running, World};
use crate::buffer::Hints;
use crate::disk::simulated::Unsynced;
use crate::disk::simulated::chance::{Chance, seeds};
use crate::disk::simulated::faults::{Fault, Operation, Wrong};

const SCHEDULES: u64 = 2_000;
const SLICES: u64 = 4;

#[tokio::test(start_paused = true)]
async fn no_schedule_of_the_first_quarter_breaks_the_promise() {
    run_slice(0).await;
}

#[tokio::test(start_paused = true)]
async fn no_schedule_of_the_second_quarter_breaks_the_promise() {
    run_slice(1).await;
}

#[tokio::test(start_paused = true)]
async fn no_schedule_of_the_third_quarter_breaks_the_promise() {
    run_slice(2).await;
}

#[tokio::test(start_paused = true)]
async fn no_schedule_of_the_fourth_quarter_breaks_the_promise() {
    run_slice(3).await;
}

async fn run_slice(slice: u64) {
    for seed in seeds(SCHEDULES, slice, SLICES) {
        Schedule::new(seed).run().await;
    }
}

struct Schedule {
    seed: u64,
    chance: Chance,
    told: Vec<String>,
}

impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the schedule of LAKEHOSE_SEED={}:\n  {}", self.seed, self.told.join("\n  "));
        }
    }
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self { seed, chance: Chance::new(seed), told: Vec::new() }
    }

    fn tell(&mut self, text: impl Into<String>) {
        self.told.push(text.into());
    }

    async fn run(&mut self) {
        let answers_max = self.chance.one_in(3).then_some(2);
        let hook = FickleHook { answers_max, ..FickleHook::default() };
        let hook = self.chance.one_in(2).then(|| Arc::new(hook));
        let has_backup = self.chance.one_in(2);
        let tells_ends = self.seed.is_multiple_of(3);
        let kind = format!("hook: {}, backup: {has_backup}", hook.is_some());
        self.tell(format!("{kind}, tells ends of partitions: {tells_ends}"));
        let mut world = World { hook, has_backup, tells_ends, ..World::new() };
        world.hints.size_bytes = *self.chance.pick(&[300, 2000, 64 << 20]);
        let wanted = *self.chance.pick(&[None, None, Some(500), Some(4000)]);
        world.aimed =
            wanted.map(|object_bytes| Aimed { columns: &[("id", "bigint")], object_bytes });
        let size_bytes = *self.chance.pick(&[300, 2000, 64 << 20]);
        world.backup_hints = self.chance.one_in(2).then_some(Hints { size_bytes, interval: LONG });
        for _ in 0..self.chance.between(1, 3) {
            if let Some(running) = self.start(&mut world).await {
                self.live(&mut world, &running).await;
                if self.chance.one_in(3) {
                    self.tell("it is stopped at once");
                    running.stop_at_once().await;
                } else {
                    running.kill().await;
                }
                self.end(&mut world);
            }
        }
        self.judge(&mut world).await;
    }

    /// Starts, or dies of it.
    async fn start(&mut self, world: &mut World) -> Option<Running> {
        for _ in 0..self.chance.between(1, 3) {
            self.sabotage(world, 40);
            if let Some(running) = world.try_start(LONG) {
                return Some(running);
            }
            self.tell("the start fails");
            self.end(world);
        }
        None
    }

    fn sabotage(&mut self, world: &World, changes_max: u64) {
        match self.chance.below(6) {
            0 | 1 => {
                let count = self.chance.below(changes_max);
                self.tell(format!("it dies after {count} changes"));
                world.disk.die_after(count);
            }
            2 | 3 => self.disk_fault(world),
            4 => {
                let times = self.chance.between(1, 4) as u32;
                let is_applied = self.chance.one_in(2);
                self.tell(format!("{times} puts fail, applied: {is_applied}"));
                *locked(&world.store.put_fault) = Outage { is_applied, ..Outage::times(times) };
                *locked(&world.catalog.fault) = Outage { is_applied, ..Outage::times(times) };
                *locked(&world.webhook.fault) = Outage { is_applied, ..Outage::times(times) };
            }
            _ => {
                if let Some(hook) = &world.hook {
                    self.told.push("the hook is away for a time".to_owned());
                    *locked(&hook.away) = 3;
                }
            }
        }
    }

    fn disk_fault(&mut self, world: &World) {
        use Operation::{Create, Read, Remove, Rename, Sync, SyncFolder, Write};
        let operations = [Create, Read, Remove, Rename, Sync, SyncFolder, Write, Write];
        let operation = *self.chance.pick(&operations);
        let wrong = match operation {
            Write => {
                *self.chance.pick(&[Wrong::ShortThenBroken, Wrong::Full, Wrong::ShortThenFull])
            }
            Create | Rename => *self.chance.pick(&[Wrong::Broken, Wrong::Full]),
            _ => Wrong::Broken,
        };
        let (skip, count) = (self.chance.below(12) as u32, self.chance.between(1, 3) as u32);
        self.tell(format!("{operation:?} will be {wrong:?} {count} times after {skip}"));
        world.disk.inner.fail(Fault { operation, skip, count, wrong });
    }

    /// Sends, flushes, rests, until it is through or the process has to end.
    async fn live(&mut self, world: &mut World, running: &Running) {
        let disk = world.disk.clone();
        let through = async {
            for _ in 0..self.chance.between(2, 7) {
                if self.chance.one_in(5) {
                    self.sabotage(world, 60);
                }
                let goes_on = match self.chance.below(6) {
                    0 | 1 => running.handle.flush().await,
                    2 => {
                        let seconds = self.chance.between(1, 25);
                        world.pass(seconds).await;
                        true
                    }
                    _ => {
                        let count = self.chance.between(1, 20);
                        world.send(running, count).await.is_ok()
                    }
                };
                self.told.push(format!("{} calls, goes on: {goes_on}", world.calls));
                if !goes_on {
                    return;
                }
            }
        };
        tokio::select! {
            () = through => {}
            () = disk.died() => {}
        }
    }

    /// The power goes, or the process alone.
    fn end(&mut self, world: &mut World) {
        let style = *self.chance.pick(&["kill", "nothing", "removals", "some", "some"]);
        self.tell(format!("end: {style}"));
        let mut chance = Chance::new(self.chance.below(u64::MAX));
        let inner = &world.disk.inner;
        let disk = match style {
            "kill" => inner.killed(),
            "nothing" => inner.crash(&mut |_| false),
            "removals" => inner.crash(&mut |unsynced| unsynced == Unsynced::Removal),
            _ => inner.crash(&mut |_| chance.one_in(2)),
        };
        *world = world.with_disk(disk);
    }

    /// Starts on what is left, delivers it, and starts once more: there is nothing left to do.
    async fn judge(&mut self, world: &mut World) {
        let case = format!("seed {}", self.seed);
        *locked(&world.store.put_fault) = Outage::default();
        *locked(&world.catalog.fault) = Outage::default();
        *locked(&world.webhook.fault) = Outage::default();
        *world = world.with_disk(world.disk.inner.killed());
        let planned = world.planned_keys();
        let running = world.start();
        let status = running.flush().await;
        assert_eq!((status.pending, status.damaged), (0, 0), "{case}: {status:?}");
        world.until(&running, |status| status.unregistered_partitions == 0).await;
        if world.tells_ends {
            world.all_ends_are_told(&running).await;
            world.audit_ends(&case);
        }
        if world.hook.is_some() {
            let dropped = world.audit_transformed(&case);
            assert!(status.dropped >= dropped, "{case}: {} dropped of {dropped}", status.dropped);
        } else {
            let found = world.audit(&case);
            assert_eq!(status.accepted, found.len() as u64, "{case}: counted is what is there");
            let objects = world.store.objects();
            for key in planned.values().flatten() {
                assert!(objects.contains_key(key), "{case}: the planned {key} is not there");
            }
        }
        if world.has_backup {
            world.audit_backup(&case);
            let backup = status.backup.as_ref().expect("there is one");
            assert_eq!((backup.pending, backup.damaged), (0, 0), "{case}: {status:?}");
        }
        running.stop().await;
        let attempts = locked(&world.store.attempts).len();
        let running = world.start();
        let again = running.flush().await;
        let counts = |status: &crate::pipeline::Status| {
            (status.accepted, status.delivered, status.failed, status.dropped, status.pending)
        };
        assert_eq!(counts(&again), counts(&status), "{case}: counted twice in the same way");
        assert_eq!(locked(&world.store.attempts).len(), attempts, "{case}: put after a restart");
        running.stop().await;
    }
}
