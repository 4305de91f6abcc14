//! Everything around one pipeline, and the question that every test asks at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::doubles::{
    Code, FaultyCatalog, FaultyDisk, FaultyStore, FaultyWebhook, FickleHook, ManualClock, locked,
};
use super::events::{MARKER, telling_recipe};
use crate::buffer::Hints;
use crate::catalog::Catalog;
use crate::convert::{Delimiter, Format, RecordsOptions, Schema};
use crate::deliver::Stores;
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{Disk as _, DiskBudget, OpenMode};
use crate::journal::{
    AppendError, Batch, Committer, Environment, Journal, Opened, RememberedCalls, SegmentSizes,
};
use crate::memory::MemoryBudget;
use crate::metrics::{Metrics, stream_labels_with};
use crate::partition::{Place, Template};
use crate::pipeline::{
    AT_ONCE, Backup, Handle, Left, Partitioning, Parts, Pipeline, Pool, Recipe, Settings, Status,
};
use crate::plan::{ObjectKind, PlanId, Target};
use crate::record::{StreamName, Tenant};
use crate::table::{Column, HiveType, Table};
use crate::transform::{Chain, Transform};

/// Longer than any test: nothing closes by its age unless the clock is moved.
pub(super) const LONG: Duration = Duration::from_secs(900);
const DIRECTORY: &str = "/data/streams/clicks";
const BUCKET: &str = "s3://lake";
/// The id of a record is its call's number times this, and its place in the call.
const CALL: u64 = 1000;

/// One stream's surroundings. What is outside the machine outlives a power cut.
pub(super) struct World {
    pub(super) disk: FaultyDisk,
    pub(super) store: Arc<FaultyStore>,
    pub(super) catalog: Arc<FaultyCatalog>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) hints: Hints,
    pub(super) acknowledged: BTreeSet<u64>,
    pub(super) calls: u64,
    pub(super) record_bytes: usize,
    /// What transforms the records.
    pub(super) hook: Option<Arc<FickleHook>>,
    pub(super) has_backup: bool,
    /// When batches of the backup close, where it is not when those of the stream do.
    pub(super) backup_hints: Option<Hints>,
    /// No definition of a former backup is left.
    pub(super) is_backup_forgotten: bool,
    /// Whether partitions are the seconds of event time, and their ends are told.
    pub(super) tells_ends: bool,
    /// What is made of records, where it is not what most tests make of them.
    pub(super) recipe: Option<Arc<Recipe>>,
    pub(super) webhook: Arc<FaultyWebhook>,
    /// Other columns, and the size that objects are to have.
    pub(super) aimed: Option<Aimed>,
    /// What may be on the disk.
    pub(super) budget_bytes: u64,
}

/// Rows of other columns in objects of a certain size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aimed {
    pub(super) columns: &'static [(&'static str, &'static str)],
    pub(super) object_bytes: u64,
}

impl Aimed {
    fn at(self, recipe: Recipe) -> Recipe {
        let column = |(name, text): &(&str, &str)| {
            let hive_type = HiveType::parse(text).expect("a type");
            Column { name: (*name).into(), hive_type }
        };
        let columns: Vec<_> = self.columns.iter().map(column).collect();
        let format = Format::Parquet(Arc::new(Schema::new(&columns).expect("a schema")));
        Recipe { format, object_bytes: Some(self.object_bytes), ..recipe }
    }
}

/// A pipeline that runs.
pub(super) struct Running {
    pub(super) journal: Journal,
    pub(super) handle: Handle,
    pub(super) metrics: Metrics,
    pub(super) budget: Arc<DiskBudget>,
    clock: Arc<ManualClock>,
    grace: Duration,
    stop: watch::Sender<Option<Duration>>,
    tasks: JoinSet<Left>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            disk: FaultyDisk::new(SimulatedDisk::default()),
            store: Arc::default(),
            catalog: Arc::default(),
            clock: Arc::default(),
            hints: Hints { size_bytes: 64 << 20, interval: LONG },
            acknowledged: BTreeSet::new(),
            calls: 0,
            record_bytes: 20,
            hook: None,
            has_backup: false,
            backup_hints: None,
            is_backup_forgotten: false,
            tells_ends: false,
            recipe: None,
            webhook: Arc::default(),
            aimed: None,
            budget_bytes: 1 << 40,
        }
    }

    /// The same world with another disk in the machine.
    pub(super) fn with_disk(&self, disk: SimulatedDisk) -> Self {
        Self {
            disk: FaultyDisk::new(disk),
            store: self.store.clone(),
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
            acknowledged: self.acknowledged.clone(),
            hook: self.hook.clone(),
            recipe: self.recipe.clone(),
            webhook: self.webhook.clone(),
            ..*self
        }
    }

    pub(super) fn environment(&self) -> Environment {
        Environment {
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            committer: Committer::start(None).expect("threads start"),
            budget: Arc::new(DiskBudget::new(self.budget_bytes)),
            instance: Uuid::from_u128(7),
            remembered_calls: RememberedCalls::new(1000),
            segments: SegmentSizes::default(),
        }
    }

    pub(super) fn start(&self) -> Running {
        self.try_start(LONG).expect("the disk works")
    }

    /// `None` when the disk does not work.
    pub(super) fn try_start(&self, grace: Duration) -> Option<Running> {
        let environment = self.environment();
        let opened = open(&environment)?;
        let (journal, budget) = (opened.journal.clone(), environment.budget.clone());
        let metrics = Metrics::register(&mut Registry::default());
        let memory = Arc::new(MemoryBudget::new(1 << 30));
        let (pipeline, handle) = Pipeline::new(Parts {
            stream: stream(),
            opened,
            environment: environment.clone(),
            directory: DIRECTORY.into(),
            settings: self.settings(),
            stores: Arc::new(Stores::with_client(target(), self.store.clone())),
            pool: Pool::new(2, memory.conversions.clone()),
            memory,
            metrics: metrics.clone(),
        })
        .ok()?;
        let (stop, stopped) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(pipeline.run(stopped));
        let clock = self.clock.clone();
        Some(Running { journal, handle, metrics, budget, clock, grace, stop, tasks })
    }

    pub(super) fn settings(&self) -> Settings {
        let step = |hook: &Arc<FickleHook>| -> Arc<dyn Transform> { hook.clone() };
        let catalog: Arc<dyn Catalog> = self.catalog.clone();
        let hints = self.backup_hints.unwrap_or(self.hints);
        let backup = Backup { recipe: Arc::new(backup_recipe()), hints };
        Settings {
            recipe: self.recipe(),
            hints: self.hints,
            chain: self.hook.as_ref().map(|hook| Chain::new(vec![step(hook)])),
            backup: self.has_backup.then(|| backup.clone()),
            // Of no effect where there never was one.
            ending_backup: (!self.has_backup && !self.is_backup_forgotten).then_some(backup),
            catalogs: BTreeMap::from([("glue".to_owned(), catalog)]),
        }
    }

    fn recipe(&self) -> Arc<Recipe> {
        if let Some(recipe) = &self.recipe {
            return recipe.clone();
        }
        let recipe = if self.tells_ends { telling_recipe(self.webhook.clone()) } else { recipe() };
        Arc::new(match self.aimed {
            Some(aimed) => aimed.at(recipe),
            None => recipe,
        })
    }

    /// One call of `count` records; calls alternate between two tenants, and every fifth record
    /// does not fit the table.
    pub(super) async fn send(&mut self, running: &Running, count: u64) -> Result<(), AppendError> {
        self.send_to(&running.journal, count).await
    }

    /// The same without a pipeline.
    pub(super) async fn send_to(
        &mut self,
        journal: &Journal,
        count: u64,
    ) -> Result<(), AppendError> {
        let call = self.calls;
        self.calls += 1;
        let tenant = Tenant::new(tenant_of(call * CALL)).expect("a tenant");
        let mut batch = Batch::new(Some(tenant), crate::clock::Clock::now(&*self.clock));
        let ids = call * CALL..call * CALL + count;
        for id in ids.clone() {
            batch.push(record(id, self.record_bytes).as_bytes());
        }
        journal.append(batch).await?;
        self.acknowledged.extend(ids);
        Ok(())
    }

    /// Overwrites what the leg has left of the sizes of objects.
    pub(super) fn damage_sizes(&self) {
        let path = Path::new(DIRECTORY).join("sizes.json");
        let file = self.disk.open(&path, OpenMode::Write).expect("the file is there");
        file.write_all_at(b"damaged", 0).expect("the disk works");
    }

    /// The number of the first segment that the newest checkpoint does not cover.
    pub(super) fn checkpoint_covers(&self) -> u64 {
        let directory = Path::new(DIRECTORY).join("checkpoint");
        let names = self.disk.list(&directory).expect("there are checkpoints");
        let newest = names.last().expect("there is one");
        let bytes = self.disk.inner.bytes(&directory.join(newest));
        let text = String::from_utf8_lossy(&bytes);
        let (_, number) = text.split_once("\"covered_before\":").expect("it says so");
        let digits = number.split(|c: char| !c.is_ascii_digit()).next().expect("it is one");
        digits.parse().expect("it is a number")
    }

    /// Lets `seconds` go by, a second at a time.
    pub(super) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until the stream stands as wanted. The clock stands still meanwhile, since the
    /// committing threads take real time, in which a moving clock would close batches.
    pub(super) async fn until(
        &self,
        running: &Running,
        wanted: impl Fn(&Status) -> bool,
    ) -> Status {
        for _ in 0..1_000_000 {
            let status = running.status().await;
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the stream never stood as wanted: {:?}", running.status().await);
    }

    /// Lets seconds go by until the stream stands as wanted.
    pub(super) async fn pass_until(&self, running: &Running, wanted: impl Fn(&Status) -> bool) {
        for _ in 0..100_000 {
            if wanted(&running.status().await) {
                return;
            }
            self.pass(1).await;
        }
        panic!("the stream never stood as wanted: {:?}", running.status().await);
    }

    /// Every acknowledged record is in exactly one object, under its tenant; no other is in two;
    /// one key never had two contents; partitions of rows are registered. Tells the ids.
    pub(super) fn audit(&self, case: &str) -> BTreeSet<u64> {
        let mut contents = BTreeMap::new();
        for (key, bytes) in locked(&self.store.attempts).iter() {
            let first = contents.entry(key.clone()).or_insert_with(|| bytes.clone());
            assert_eq!(first, bytes, "{case}: two contents for {key}");
        }
        let registered: BTreeSet<_> = locked(&self.catalog.partitions)
            .iter()
            .map(|partition| partition.location.clone())
            .collect();
        let mut owners: BTreeMap<u64, String> = BTreeMap::new();
        for (key, bytes) in self.store.objects() {
            if key.starts_with("raw/") || key.ends_with(MARKER) {
                continue;
            }
            assert!(contents.contains_key(&key), "{case}: {key} was not put by us");
            for id in ids_in(&key, bytes) {
                let folder = format!("tenant={}/", tenant_of(id));
                assert!(key.contains(&folder), "{case}: record {id} of another tenant in {key}");
                let other = owners.insert(id, key.clone());
                assert_eq!(other, None, "{case}: record {id} is in two objects, also {key}");
            }
            let (folder, _) = key.rsplit_once('/').expect("keys have folders");
            let location = format!("{BUCKET}/{folder}/");
            let is_rows = key.ends_with(".parquet");
            assert!(!is_rows || registered.contains(&location), "{case}: {key} is not registered");
        }
        let found: BTreeSet<u64> = owners.into_keys().collect();
        let lost: Vec<_> = self.acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "{case}: acknowledged and in no object: {lost:?}");
        found
    }

    /// Each acknowledged record is what one answer of the hook made of it, all of it and once: its
    /// parts, or a line of the error prefix, or nothing when it was dropped. Tells how many were
    /// dropped.
    pub(super) fn audit_transformed(&self, case: &str) -> u64 {
        let mut found: BTreeMap<u64, Vec<Code>> = BTreeMap::new();
        let mut failed = BTreeSet::new();
        for (key, bytes) in self.store.objects() {
            if key.starts_with("raw/") || key.ends_with(MARKER) {
                continue;
            }
            for number in ids_in(&key, bytes) {
                let code = Code::decode(number);
                let folder = format!("tenant={}/", tenant_of(code.id));
                assert!(key.contains(&folder), "{case}: {code:?} of another tenant in {key}");
                // A part may be there as well: one that the process died with three times.
                if key.contains("processing-failed") && code.of == 0 {
                    assert!(failed.insert(code.id), "{case}: record {} failed twice", code.id);
                } else {
                    found.entry(code.id).or_default().push(code);
                }
            }
        }
        let mut dropped = 0;
        for id in &self.acknowledged {
            let Some(codes) = found.get_mut(id) else {
                dropped += u64::from(!failed.contains(id));
                continue;
            };
            assert!(!failed.contains(id), "{case}: record {id} failed and was delivered");
            codes.sort_unstable_by_key(|code| code.part);
            let first = codes[0];
            let whole = (0..first.of).map(|part| Code { part, ..first });
            assert_eq!(*codes, whole.collect::<Vec<_>>(), "{case}: one answer, whole and once");
        }
        dropped
    }

    /// Each acknowledged record is in exactly one object of the backup, and no other record is in
    /// two.
    pub(super) fn audit_backup(&self, case: &str) {
        let seen = self.backed_up(case);
        let missing: Vec<_> = self.acknowledged.difference(&seen).collect();
        assert!(missing.is_empty(), "{case}: not in the backup: {missing:?}");
    }

    /// The records in the backup, none of them in two objects.
    pub(super) fn backed_up(&self, case: &str) -> BTreeSet<u64> {
        let mut seen = BTreeSet::new();
        for (key, bytes) in self.store.objects() {
            if !key.starts_with("raw/") {
                continue;
            }
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: serde_json::Value = serde_json::from_slice(line).expect("a record");
                let id = &line["id"];
                let id = id.as_u64().or_else(|| id[0].as_u64()).expect("an id");
                assert!(seen.insert(id), "{case}: record {id} is twice in the backup");
                let folder = format!("tenant={}/", tenant_of(id));
                assert!(key.contains(&folder), "{case}: record {id} of another tenant in {key}");
            }
        }
        seen
    }

    /// The keys of durable plans on a disk, by plan.
    pub(super) fn planned_keys(&self) -> BTreeMap<PlanId, Vec<String>> {
        let copy = self.with_disk(self.disk.inner.copied());
        let Some(opened) = open(&copy.environment()) else {
            return BTreeMap::new();
        };
        let in_checkpoint = opened.checkpoint.into_iter().flat_map(|c| c.open_plans);
        let in_journal = opened.controls.into_iter().filter_map(|control| match control {
            crate::journal::Control::Plan(plan) => Some(plan),
            _ => None,
        });
        let keys = |plan: crate::plan::Plan| {
            let objects = plan.objects.into_iter();
            let objects = objects.filter(|object| object.header.kind != ObjectKind::Notice);
            let keys = objects.map(|object| object.header.key);
            (plan.id, keys.collect())
        };
        in_checkpoint.chain(in_journal).map(keys).collect()
    }
}

impl Running {
    /// The stream as it stands; whenever it is asked for, each accepted record is in one count.
    pub(super) async fn status(&self) -> Status {
        let status = self.handle.status().await.expect("the pipeline runs");
        let Status { accepted, delivered, failed, dropped, damaged, pending, .. } = status;
        assert_eq!(accepted, delivered + failed + dropped + damaged + pending, "{status:?}");
        status
    }

    /// Flushes, and looks at the counts all the while. Partitions that the flush did not wait for,
    /// since time goes by while a committing thread works, are waited for here, if not for ever.
    pub(super) async fn flush(&self) -> Status {
        let flush = self.handle.flush();
        tokio::pin!(flush);
        loop {
            tokio::select! {
                flushed = &mut flush => {
                    assert!(flushed, "the pipeline ended");
                    break;
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    self.status().await;
                }
            }
        }
        for _ in 0..1_000 {
            let status = self.status().await;
            if status.unregistered_partitions == 0 {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.status().await
    }

    /// Stops it, and waits for its end.
    pub(super) async fn stop(self) -> Left {
        let now = crate::clock::Clock::steady(&*self.clock);
        let until = now + self.grace;
        self.stop_until(until).await
    }

    /// Stops it without delivering anything more.
    pub(super) async fn stop_at_once(self) -> Left {
        self.stop_until(AT_ONCE).await
    }

    async fn stop_until(mut self, until: Duration) -> Left {
        self.stop.send_replace(Some(until));
        let ended = self.tasks.join_next().await.expect("it runs");
        ended.expect("it does not panic")
    }

    /// Stops it while time goes by, and tells how long its loop went on. Time goes by also while
    /// the committing thread seals the journal, so only the loop's own look at the clock counts.
    pub(super) async fn stop_in_time(self, world: &World) -> Duration {
        let started = crate::clock::Clock::steady(&*world.clock);
        tokio::select! {
            biased;
            _ = self.stop() => {}
            () = world.pass(100_000) => panic!("it never stops"),
        }
        world.clock.last_asked() - started
    }

    /// Ends it as `kill -9` does.
    pub(super) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    pub(super) fn closed_by(&self, trigger: &str) -> u64 {
        let labels = stream_labels_with("clicks", "trigger", trigger);
        self.metrics.closed_batches.get_or_create(&labels).get()
    }
}

fn stream() -> StreamName {
    StreamName::new("clicks").expect("a name")
}

pub(super) fn open(environment: &Environment) -> Option<Opened> {
    Journal::open(environment, &stream(), Path::new(DIRECTORY)).ok()
}

/// A log that holds these records, on a disk in memory.
pub(in crate::pipeline) async fn journal_of(records: &[Vec<u8>]) -> Journal {
    let world = World::new();
    let journal = open(&world.environment()).expect("the disk works").journal;
    let mut batch = Batch::new(None, crate::clock::Clock::now(&*world.clock));
    records.iter().for_each(|record| batch.push(record));
    journal.append(batch).await.expect("the disk works");
    journal
}

fn tenant_of(id: u64) -> &'static str {
    if (id / CALL).is_multiple_of(2) { "acme" } else { "globex" }
}

fn record(id: u64, length: usize) -> String {
    let id = if id % 5 == 4 { format!("[{id}]") } else { id.to_string() };
    let shortest = format!(r#"{{"id":{id},"pad":""}}"#);
    let pad = "x".repeat(length.saturating_sub(shortest.len()));
    format!(r#"{{"id":{id},"pad":"{pad}"}}"#)
}

pub(super) fn ids_in(key: &str, bytes: Bytes) -> Vec<u64> {
    if key.ends_with(".parquet") {
        let reader = SerializedFileReader::new(bytes).expect("a whole file");
        let rows = reader.get_row_iter(None).expect("rows");
        let id = |row: parquet::record::Row| row.get_long(0).expect("an id").cast_unsigned();
        return rows.map(|row| id(row.expect("a whole row"))).collect();
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let id = |line: &[u8]| {
        let line: serde_json::Value = serde_json::from_slice(line).expect("a line of JSON");
        let raw = BASE64.decode(line["rawData"].as_str().expect("a text")).expect("base64");
        let raw: serde_json::Value = serde_json::from_slice(&raw).expect("the record");
        raw["id"].as_u64().or_else(|| raw["id"][0].as_u64()).expect("an id")
    };
    lines.map(id).collect()
}

fn backup_recipe() -> Recipe {
    let records = RecordsOptions { delimiter: Delimiter::NewlineAtEnd, ..Default::default() };
    let prefix = Template::parse("raw/tenant=!{lakehose:tenant}/", Place::Prefix);
    Recipe {
        format: Format::Records(records),
        table: None,
        prefix: prefix.expect("a prefix"),
        register_in: None,
        completion: None,
        ..recipe()
    }
}

fn target() -> Target {
    Target { store: "lake".into(), url: BUCKET.into(), endpoint: None, region: None }
}

pub(in crate::pipeline) fn recipe() -> Recipe {
    let column = |name: &str, hive_type| Column { name: name.into(), hive_type };
    let table = Table {
        database: "web".into(),
        name: "clicks".into(),
        columns: vec![column("id", HiveType::BigInt)],
        partition_keys: vec![
            column("tenant", HiveType::String),
            column("minute", HiveType::String),
        ],
        version: "1".into(),
    };
    let template = |text: &str, place| Template::parse(text, place).expect("a prefix");
    Recipe {
        format: Format::Parquet(Arc::new(Schema::new(&table.columns).expect("a schema"))),
        table: Some(table),
        catalog_region: None,
        prefix: template("clicks/tenant=!{lakehose:tenant}/minute=!{timestamp:mm}/", Place::Prefix),
        error_prefix: template(
            "errors/!{firehose:error-output-type}/tenant=!{lakehose:tenant}/",
            Place::ErrorPrefix,
        ),
        file_extension: None,
        target: target(),
        register_in: Some("glue".into()),
        object_bytes: None,
        partitioning: Partitioning::default(),
        completion: None,
    }
}
