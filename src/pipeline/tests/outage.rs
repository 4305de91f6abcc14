//! Stores that are down for long, take some objects and not others, or hold what is not ours.

use std::collections::BTreeSet;

use super::doubles::{Fault, locked};
use super::world::{Running, World};
use crate::clock::Clock as _;
use crate::journal::Batch;
use crate::metrics::{stream_labels, stream_labels_with};
use crate::record::Tenant;

fn delivered(running: &Running, kind: &str) -> u64 {
    let labels = stream_labels_with("clicks", "kind", kind);
    running.metrics.delivered_objects.get_or_create(&labels).get()
}

fn taken(running: &Running) -> u64 {
    running.metrics.taken_keys.get_or_create(&stream_labels("clicks")).get()
}

/// Begins a flush and lets `seconds` go by.
async fn begin_flush(world: &World, running: &Running, seconds: u64) {
    tokio::select! {
        biased;
        _ = running.handle.flush() => {}
        () = world.pass(seconds) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_store_is_neither_asked_for_nor_counted_again() {
    let mut world = World::new();
    *locked(&world.store.refuses) = Some("errors/");
    let running = world.start();
    for _ in 0..2 {
        world.send(&running, 10).await.unwrap();
    }
    begin_flush(&world, &running, 1).await;
    // The plan is made by threads that take real time.
    world.until(&running, |status| status.open_plans == 1).await;
    world.pass(600).await;
    let status = running.status().await;
    assert_eq!((status.open_plans, status.pending), (1, 20), "{status:?}");
    assert_eq!((delivered(&running, "data"), delivered(&running, "error")), (2, 0));
    let is_asked_for = |key: &String| key.ends_with(".parquet");
    assert!(!locked(&world.store.questions).iter().any(is_asked_for));
    let attempts: Vec<_> =
        locked(&world.store.attempts).iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(attempts.iter().filter(|key| is_asked_for(key)).count(), 2);
    let errors: BTreeSet<_> = attempts.iter().filter(|key| !is_asked_for(key)).collect();
    assert_eq!(errors.len(), 2, "one object that does not get through holds up no other");

    *locked(&world.store.refuses) = None;
    running.flush().await;
    assert_eq!((delivered(&running, "data"), delivered(&running, "error")), (2, 2));
    assert_eq!(world.audit("after the refusal").len(), 20);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_object_is_never_written_over() {
    let mut world = World::new();
    *locked(&world.store.strangers) = 3;
    let running = world.start();
    for _ in 0..2 {
        world.send(&running, 10).await.unwrap();
    }
    let status = running.flush().await;
    assert_eq!((status.delivered, status.failed, status.pending), (16, 4, 0));
    assert_eq!(taken(&running), 3);
    assert_eq!(world.audit("among strangers").len(), 20);
    let objects = world.store.objects();
    let attempts: Vec<_> =
        locked(&world.store.attempts).iter().map(|(key, _)| key.clone()).collect();
    let strangers: Vec<_> = attempts.iter().filter(|key| !objects.contains_key(*key)).collect();
    assert_eq!(strangers.len(), 3, "each was met once: {attempts:?}");
    for key in strangers {
        assert_eq!(world.store.content(key).await, "somebody else's");
        let (folder, _) = key.rsplit_once('/').unwrap();
        assert!(objects.keys().any(|ours| ours.starts_with(folder)), "the folder stays the same");
    }
    running.stop().await;
    let running = world.start();
    running.flush().await;
    assert_eq!(locked(&world.store.attempts).len(), attempts.len(), "nothing is put again");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_given_instead_is_kept_over_restarts() {
    for is_checkpointed in [false, true] {
        let mut world = World::new();
        *locked(&world.store.strangers) = 1;
        // Each of the four objects once; the one whose key was taken does not get through then.
        *locked(&world.store.put_fault) = Fault { skip: 4, ..Fault::times(u32::MAX) };
        let running = world.start();
        for _ in 0..2 {
            world.send(&running, 10).await.unwrap();
        }
        begin_flush(&world, &running, if is_checkpointed { 60 } else { 5 }).await;
        world.until(&running, |status| taken(&running) == 1 && status.open_plans == 1).await;
        let last = || locked(&world.store.attempts).last().map(|(key, _)| key.clone());
        while locked(&world.store.attempts).len() < 5 {
            world.pass(1).await;
        }
        let instead = last().expect("it was tried");
        running.kill().await;

        let world = world.with_disk(world.disk.inner.copied());
        *locked(&world.store.put_fault) = Fault::default();
        let running = world.start();
        let status = running.flush().await;
        assert_eq!((status.delivered, status.failed, status.pending), (16, 4, 0));
        assert!(world.store.objects().contains_key(&instead), "{instead}");
        assert_eq!(world.store.objects().len(), 4);
        assert_eq!(world.audit("after a restart").len(), 20);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_tried_rarely_and_its_backlog_leaves_in_order() {
    let mut world = World::new();
    world.hints.size_bytes = 1000;
    world.record_bytes = 100;
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    let running = world.start();
    // Each call closes batches by their size, and waits for the plan that it gets.
    for plans in 1..=60 {
        world.send(&running, 20).await.unwrap();
        world.until(&running, |status| status.open_plans >= plans).await;
    }
    // Before anything is delivered, since what is delivered leaves the disk.
    let planned: Vec<_> = world.planned_keys().into_values().collect();
    assert!(planned.len() >= 60, "{}", planned.len());
    let (before, asked) =
        (locked(&world.store.attempts).len(), locked(&world.store.questions).len());
    world.pass(3600).await;
    let tried = locked(&world.store.attempts).len() - before;
    let asked = locked(&world.store.questions).len() - asked;
    assert!((300..4000).contains(&tried), "{tried} puts in an hour");
    assert!(asked <= tried, "{asked} questions beside {tried} puts");

    *locked(&world.store.put_fault) = Fault::default();
    let before = locked(&world.store.attempts).len();
    let status = running.flush().await;
    assert_eq!(status.pending, 0);
    assert_eq!(world.audit("after the outage").len(), 1200);
    // What is put first is of the older half of the plans.
    let older: BTreeSet<_> = planned[..planned.len() / 2].iter().flatten().collect();
    let first: Vec<_> = locked(&world.store.attempts)[before..].iter().take(20).cloned().collect();
    let old = first.iter().filter(|(key, _)| older.contains(key)).count();
    assert!(old >= 15, "{old} of the first 20");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_turn_out_too_large_for_the_disk_wait_until_something_has_left_it() {
    let mut world = World { budget_bytes: 300 << 10, ..World::new() };
    *locked(&world.store.put_fault) = Fault::times(u32::MAX);
    let running = world.start();
    world.send(&running, 10).await.unwrap();
    begin_flush(&world, &running, 1).await;
    world.until(&running, |status| status.open_plans == 1).await;
    // Two bytes each, which become a line of some hundred of an error object.
    let mut batch = Batch::new(Some(Tenant::new("acme").expect("a tenant")), world.clock.now());
    (0..1_000).for_each(|_| batch.push(b"[]"));
    running.journal.append(batch).await.expect("there is room for them");
    begin_flush(&world, &running, 1).await;
    // The store does not take the two objects, and the disk has no room for what comes behind them.
    let has_no_room = |blocked: &Option<String>| {
        blocked.as_ref().is_some_and(|text| text.contains("(and 2 more)"))
    };
    world.until(&running, |status| has_no_room(&status.blocked)).await;
    world.pass(30).await;
    assert!(running.budget.used_bytes() < world.budget_bytes);
    assert_eq!(running.status().await.open_plans, 1);

    *locked(&world.store.put_fault) = Fault::default();
    let status = running.flush().await;
    assert_eq!((status.delivered, status.failed, status.pending), (8, 1_002, 0));
    running.stop().await;
}
