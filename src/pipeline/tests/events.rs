//! Partitions of event time: where records land, and when a partition is told complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use super::doubles::{Fault, FaultyWebhook, FickleHook, locked};
use super::world::{LONG, Running, World, ids_in, recipe};
use crate::clock::Clock as _;
use crate::disk::simulated::Unsynced;
use crate::journal::Batch;
use crate::partition::{
    Absent, Beyond, Bound, EventForm, EventTime, FieldPath, Place, Spans, Template,
};
use crate::pipeline::{Completion, Partitioning, Recipe};
use crate::record::Tenant;

const SECOND_MS: i64 = 1_000;
/// The name of the objects that say that a partition is complete.
pub(super) const MARKER: &str = "_SUCCESS";

/// Partitions are the seconds of event time, which is the arrival where a record names no time; each is
/// told complete two seconds after its end.
pub(super) fn telling_recipe(webhook: Arc<FaultyWebhook>) -> Recipe {
    let prefix = "clicks/tenant=!{lakehose:tenant}/minute=!{event:yyyy-MM-dd-HH-mm-ss}/";
    let prefix = Template::parse(prefix, Place::Prefix).expect("a prefix");
    let after = Duration::from_secs(2);
    let event_time = EventTime {
        field: FieldPath::parse("at").expect("a field"),
        form: EventForm::Auto,
        late: Some(Bound { after, to: Beyond::LatePrefix }),
        early: None,
        absent: Absent::Arrival,
        late_folder: "late/".into(),
    };
    let completion = Completion {
        spans: Spans::of(&prefix).expect("seconds"),
        after,
        late_follow: false,
        marker: Some(MARKER.into()),
        webhook: Some(webhook),
    };
    let event_time = Some(event_time);
    let partitioning = Partitioning { event_time, ..Partitioning::default() };
    Recipe { prefix, partitioning, completion: Some(completion), ..recipe() }
}

impl World {
    /// Waits until every folder with rows has its marker and the webhook knows.
    pub(super) async fn all_ends_are_told(&self, running: &Running) {
        for _ in 0..10_000 {
            let objects = self.store.objects();
            let folder_of =
                |key: &String| key.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            let is_data = |key: &&String| key.starts_with("clicks/") && key.ends_with(".parquet");
            let rows = objects.keys().filter(is_data);
            let folders: BTreeSet<_> = rows.filter_map(folder_of).collect();
            let markers = objects.keys().filter(|key| key.ends_with(MARKER)).count();
            let told: BTreeSet<_> =
                locked(&self.webhook.told).iter().map(|(_, body)| body.clone()).collect();
            let status = running.status().await;
            if markers == folders.len() && told.len() == markers && status.open_plans == 0 {
                return;
            }
            self.pass(1).await;
        }
        panic!("not all ends were told: {:?}", running.status().await);
    }

    /// Every folder with rows has one marker; it was put after everything else in the folder, and says
    /// how much that is. The webhook was told of each, of none in two ways, and of none before its marker was
    /// there. Tells how many there are.
    pub(super) fn audit_ends(&self, case: &str) -> usize {
        let attempts = locked(&self.store.attempts).clone();
        let objects = self.store.objects();
        let folder_of = |key: &str| key[..=key.rfind('/').expect("keys have folders")].to_owned();
        let mut folders: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let is_data = |key: &str| key.starts_with("clicks/") && key.ends_with(".parquet");
        for (key, bytes) in objects.iter().filter(|(key, _)| is_data(key)) {
            let (count, rows) = folders.entry(folder_of(key)).or_default();
            *count += 1;
            *rows += ids_in(key, bytes.clone()).len() as u64;
        }
        let told = locked(&self.webhook.told).clone();
        for (folder, (count, rows)) in &folders {
            let marker = format!("{folder}{MARKER}");
            let body = objects.get(&marker);
            let body = body.unwrap_or_else(|| panic!("{case}: {folder} has no marker"));
            let text: serde_json::Value = serde_json::from_slice(body).expect("JSON");
            assert_eq!(
                (&text["objects"], &text["rows"]),
                (&(*count).into(), &(*rows).into()),
                "{case}"
            );
            let is_other = |(key, _): &(String, Bytes)| folder_of(key) == *folder && *key != marker;
            let last_data = attempts.iter().rposition(is_other).expect("it was put");
            let first_marker = attempts.iter().position(|(key, _)| *key == marker);
            let first_marker = first_marker.expect("it was put");
            assert!(last_data < first_marker, "{case}: {folder} got something after its marker");
            let keys: BTreeSet<_> =
                told.iter().filter(|(_, told)| told == body).map(|(key, _)| key).collect();
            assert_eq!(keys.len(), 1, "{case}: {folder} was told under one key");
        }
        let markers = objects.keys().filter(|key| key.contains("_SUCCESS")).count();
        assert_eq!(markers, folders.len(), "{case}: one for each folder");
        let bodies: BTreeSet<_> = told.iter().map(|(_, body)| body).collect();
        assert_eq!(bodies.len(), markers, "{case}: one for each marker");
        markers
    }

    /// A call of one record with the time `at` milliseconds after now, or without one; gives its id.
    async fn send_event(&mut self, running: &Running, at: Option<i64>) -> u64 {
        let id = self.calls * 2000;
        self.calls += 1;
        let now = self.clock.now();
        let tenant = Tenant::new("acme").expect("a tenant");
        let mut batch = Batch::new(Some(tenant), now);
        let record = match at {
            Some(at) => format!(r#"{{"id":{id},"at":{}}}"#, now.0 + at),
            None => format!(r#"{{"id":{id}}}"#),
        };
        batch.push(record.as_bytes());
        running.journal.append(batch).await.expect("the disk works");
        self.acknowledged.insert(id);
        id
    }

    /// The folders of objects, by the ids in them; without what changes from object to object.
    fn folders(&self) -> BTreeMap<String, usize> {
        let mut folders = BTreeMap::new();
        for key in self.store.objects().into_keys() {
            let folder = key.rsplit_once('/').expect("keys have folders").0.to_owned();
            *folders.entry(folder).or_default() += 1;
        }
        folders
    }
}

fn with_rule(world: &World, late: Option<Beyond>, early: Option<Beyond>, absent: Absent) -> Recipe {
    let mut recipe = telling_recipe(world.webhook.clone());
    let bound = |to| Bound { after: Duration::from_secs(2), to };
    let rule = recipe.partitioning.event_time.as_mut().expect("there is one");
    (rule.late, rule.early, rule.absent) = (late.map(bound), early.map(bound), absent);
    recipe.completion = None;
    recipe
}

#[tokio::test(start_paused = true)]
async fn records_land_where_the_rule_says() {
    let data = |second| format!("clicks/tenant=acme/minute=2026-03-14-09-26-{second:02}");
    let late = |second| format!("late/{}", data(second));
    let errors = || "errors/processing-failed/tenant=acme".to_owned();
    for (to, of_late, of_early) in [
        (Beyond::Partition, data(43), data(58)),
        (Beyond::LatePrefix, late(43), late(58)),
        (Beyond::Arrival, data(53), data(53)),
        (Beyond::Error, errors(), errors()),
    ] {
        let mut world = World::new();
        world.recipe = Some(Arc::new(with_rule(&world, Some(to), Some(to), Absent::Arrival)));
        let running = world.start();
        for (at, expected) in [
            (Some(0), data(53)),
            (Some(-2 * SECOND_MS), data(51)),
            (Some(2 * SECOND_MS), data(55)),
            (Some(-10 * SECOND_MS), of_late.clone()),
            (Some(5 * SECOND_MS), of_early.clone()),
            (None, data(53)),
            (Some(i64::MIN / 2), data(53)),
            (Some(i64::MAX / 2), data(53)),
        ] {
            let before = world.folders();
            world.send_event(&running, at).await;
            running.flush().await;
            let mut after = world.folders();
            for (folder, count) in before {
                let left = after.get_mut(&folder).expect("nothing goes");
                *left -= count;
            }
            after.retain(|_, count| *count > 0);
            assert_eq!(after, BTreeMap::from([(expected, 1)]), "{to:?} {at:?}");
        }
        world.acknowledged.iter().for_each(|id| assert!(id % 2000 == 0));
        let registered = locked(&world.catalog.partitions).clone();
        assert!(registered.iter().all(|partition| !partition.location.contains("late/")));
        running.stop().await;
    }
    let mut world = World::new();
    world.recipe = Some(Arc::new(with_rule(&world, None, None, Absent::Error)));
    let running = world.start();
    world.send_event(&running, None).await;
    world.send_event(&running, Some(-i64::from(i32::MAX) * SECOND_MS)).await;
    running.flush().await;
    assert_eq!(world.folders(), BTreeMap::from([(errors(), 1)]));
    let line = world.store.objects().into_values().next().expect("an object");
    let text = String::from_utf8(line.to_vec()).expect("text");
    assert!(text.contains("there is no 'at'") && text.contains("1970 to 9999"), "{text}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_once_after_everything_that_was_accepted() {
    let mut world = World { tells_ends: true, ..World::new() };
    let running = world.start();
    world.send_event(&running, Some(0)).await;
    world.pass(2).await;
    world.send_event(&running, Some(-2 * SECOND_MS)).await;
    let status = running.flush().await;
    assert_eq!(status.incomplete_partitions, 1, "a flush does not wait for it");
    world.send_event(&running, Some(-2 * SECOND_MS)).await;
    // The span and its bound are over, and one record is not delivered.
    world.pass(10).await;
    let has_marker = |world: &World| world.store.objects().keys().any(|key| key.ends_with(MARKER));
    assert!(!has_marker(&world), "{:?}", world.folders());
    running.flush().await;
    world.all_ends_are_told(&running).await;
    assert_eq!(world.audit_ends("two seconds"), 1);
    // What comes for it later lies elsewhere, and nothing is told again.
    world.send_event(&running, Some(-12 * SECOND_MS)).await;
    running.flush().await;
    world.pass(30).await;
    assert_eq!(world.audit_ends("afterwards"), 1);
    assert!(world.folders().keys().any(|folder| folder.starts_with("late/clicks/")));
    running.stop().await;
    let again = world.start();
    world.pass(30).await;
    assert_eq!(world.audit_ends("after a restart"), 1);
    assert_eq!(locked(&world.webhook.told).len(), 1);
    again.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_brings_nothing_into_a_complete_partition() {
    let mut world = World { tells_ends: true, ..World::new() };
    let running = world.start();
    world.send_event(&running, Some(0)).await;
    running.flush().await;
    world.pass(5).await;
    world.all_ends_are_told(&running).await;
    assert_eq!(world.audit_ends("before"), 1);
    for restarts in [false, true] {
        // As late as the first record, by the arrival that this one gets.
        let tenant = Tenant::new("acme").expect("a tenant");
        let start = crate::record::UnixMillis(1_773_480_413_000);
        let mut batch = Batch::new(Some(tenant), start);
        let id = 2000 * (world.calls + 1);
        world.calls += 2;
        batch.push(format!(r#"{{"id":{id},"at":{}}}"#, start.0).as_bytes());
        batch.push(format!(r#"{{"id":{}}}"#, id + 1).as_bytes());
        running.journal.append(batch).await.expect("the disk works");
        if restarts {
            break;
        }
        running.flush().await;
        assert_eq!(world.folders().keys().filter(|key| key.starts_with("late/")).count(), 1);
    }
    running.kill().await;
    let running = world.start();
    running.flush().await;
    world.pass(30).await;
    world.all_ends_are_told(&running).await;
    // That of the records without a time, which the next partition took.
    assert_eq!(world.audit_ends("after"), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn hooks_that_come_or_go_bring_nothing_into_a_partition_that_was_complete_before() {
    for (had_hook, restarts) in [(false, false), (false, true), (true, false), (true, true)] {
        let case = format!("had hooks: {had_hook}, restarts: {restarts}");
        let mut world = World { tells_ends: true, ..World::new() };
        world.hook = had_hook.then(Arc::default);
        let running = world.start();
        let start = world.clock.now();
        world.send(&running, 20).await.expect("the disk works");
        running.flush().await;
        world.pass(5).await;
        world.all_ends_are_told(&running).await;
        assert_eq!(world.audit_ends(&case), 1);
        world.hook = (!had_hook).then(Arc::default);
        let running = if restarts {
            running.stop().await;
            world.start()
        } else {
            running.handle.change(world.settings()).await.expect("nothing is in the way");
            running
        };
        // The clock was set back: their partition is that of the first ones.
        let mut batch = Batch::new(Some(Tenant::new("acme").expect("a tenant")), start);
        let ids = world.calls * 1000..world.calls * 1000 + 20;
        ids.for_each(|id| batch.push(format!(r#"{{"id":{}}}"#, 2 * id).as_bytes()));
        running.journal.append(batch).await.expect("the disk works");
        running.flush().await;
        world.pass(30).await;
        world.all_ends_are_told(&running).await;
        assert_eq!(world.audit_ends(&case), 2);
        assert_eq!(running.status().await.incomplete_partitions, 0);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_the_store_the_catalog_and_the_hooks() {
    for hook in [None, Some(Arc::new(FickleHook::default()))] {
        let mut world = World { tells_ends: true, hook, ..World::new() };
        let running = world.start();
        *locked(&world.catalog.fault) = Fault::times(20);
        *locked(&world.store.put_fault) = Fault::times(9);
        *locked(&world.webhook.fault) = Fault { is_applied: true, ..Fault::times(3) };
        if let Some(hook) = &world.hook {
            *locked(&hook.away) = 5;
        }
        for _ in 0..4 {
            world.send(&running, 20).await.expect("the disk works");
            world.pass(1).await;
        }
        world.pass(30).await;
        running.flush().await;
        world.all_ends_are_told(&running).await;
        let ends = world.audit_ends("troubles");
        assert!(ends >= 4, "{ends}");
        let registered: BTreeSet<_> =
            locked(&world.catalog.partitions).iter().map(|one| one.location.clone()).collect();
        assert_eq!(registered.len(), ends);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_marker_the_webhook_alone_is_told() {
    let mut world = World::new();
    let mut recipe = telling_recipe(world.webhook.clone());
    recipe.completion.as_mut().expect("there is one").marker = None;
    world.recipe = Some(Arc::new(recipe));
    let running = world.start();
    *locked(&world.webhook.fault) = Fault::times(3);
    world.send_event(&running, Some(0)).await;
    running.flush().await;
    world.pass_until(&running, |_| !locked(&world.webhook.told).is_empty()).await;
    world.pass_until(&running, |status| status.open_plans == 0).await;
    running.kill().await;
    let running = world.start();
    world.pass(30).await;
    assert_eq!(locked(&world.webhook.told).len(), 1);
    assert_eq!(world.store.objects().len(), 1, "{:?}", world.folders());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn late_records_that_go_to_their_partition_come_after_its_marker_which_is_not_put_again() {
    let mut world = World::new();
    let mut recipe = telling_recipe(world.webhook.clone());
    let rule = recipe.partitioning.event_time.as_mut().expect("there is one");
    rule.late = rule.late.map(|late| Bound { to: Beyond::Partition, ..late });
    recipe.completion.as_mut().expect("there is one").late_follow = true;
    world.recipe = Some(Arc::new(recipe));
    let running = world.start();
    let start = world.clock.now().0;
    world.send_event(&running, Some(0)).await;
    running.flush().await;
    world.pass(4).await;
    world.all_ends_are_told(&running).await;
    assert_eq!(world.audit_ends("on time"), 1);
    for _ in 0..2 {
        let since = world.clock.now().0 - start;
        world.send_event(&running, Some(-since)).await;
        // Late for a partition that nobody knows: its records are all late.
        world.send_event(&running, Some(-56 * SECOND_MS - since)).await;
        running.flush().await;
        world.pass(10).await;
    }
    let folders = world.folders();
    let expected = [("53", 4), ("25-57", 2)];
    for (end, count) in expected {
        let folder = folders.iter().find(|(folder, _)| folder.ends_with(end)).expect(end);
        assert_eq!(*folder.1, count, "{folders:?}");
    }
    assert_eq!(locked(&world.webhook.told).len(), 1);
    running.stop().await;
}

/// Sends, flushes, rests, until it is through or the disk has died.
async fn work(world: &mut World) {
    let Some(running) = world.try_start(LONG) else {
        return;
    };
    let disk = world.disk.clone();
    let through = async {
        for _ in 0..2 {
            for _ in 0..2 {
                if world.send(&running, 5).await.is_err() {
                    return;
                }
                world.pass(1).await;
            }
            if !running.handle.flush().await {
                return;
            }
            world.pass(6).await;
        }
    };
    tokio::select! {
        () = through => {}
        () = disk.died() => {}
    }
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn no_power_cut_tells_an_end_twice_or_too_early() {
    let world = || World { tells_ends: true, ..World::new() };
    let mut whole = world();
    work(&mut whole).await;
    let operations = whole.disk.inner.operations();
    assert!(operations > 60, "the workload is worth the test: {operations}");
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_130),
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
        let running = after.start();
        running.flush().await;
        after.all_ends_are_told(&running).await;
        after.audit(&case);
        after.audit_ends(&case);
        running.stop().await;
    }
}
