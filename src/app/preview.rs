//! What a stream would make of a sample: its own pipeline, over a journal in memory and a store in
//! memory.
//!
//! Owns what stands around the pipeline for that. Nothing in here decides what becomes of a record:
//! that is the code that serves. Catalogs are read for the table, as `check` does; no store, no data
//! directory and no partition is touched.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use object_store::{Attribute, ObjectStore, ObjectStoreExt as _};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use uuid::Uuid;

use super::prepare::hints;
use super::{hooks, tables};
use crate::buffer::Hints;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Faults};
use crate::deliver::{KIND_METADATA, Stores};
use crate::disk::{Disk, DiskBudget, MemoryDisk, OsDisk};
use crate::journal::{Batch, Committer, Environment, Journal, RememberedCalls, SegmentSizes};
use crate::memory::{MEMORY_BYTES_MIN, MemoryBudget};
use crate::metrics::Metrics;
use crate::pipeline::{AT_ONCE, Parts, Pipeline, Pool, Recipe, Settings, Status};
use crate::plan::{ObjectKind, Target};
use crate::record::{StreamName, Tenant};
use crate::tasks::Tasks;
use crate::transform::{Chain, Item, Transform, Unavailable, Verdict};

/// Records of one call, as producers gather them.
const CALL_RECORDS: usize = 500;
const CALL_BYTES: usize = 4 << 20;
/// How long the pipeline may take, beside the time that hooks have by their own settings.
const PATIENCE: Duration = Duration::from_secs(120);
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What a stream made of a sample.
#[derive(Debug)]
pub struct Previewed {
    /// The objects by their keys.
    pub objects: Vec<PreviewedObject>,
    /// The stream at the end: what was delivered, what failed, what was dropped.
    pub status: Status,
    /// Steps of the transform that were left out, by their place in it.
    pub skipped: Vec<usize>,
}

/// An object that would have been put.
#[derive(Debug)]
pub struct PreviewedObject {
    /// Its key in the store.
    pub key: String,
    /// What it is for.
    pub kind: ObjectKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The configuration does not fit its catalogs.
    #[error("the configuration has faults")]
    Faults(Faults),
    /// The pipeline did not get through.
    #[error("the stream did not get through the sample: {0}")]
    Blocked(String),
    /// Something of the machine was not to be had.
    #[error("could not {attempt}: {reason}")]
    Failed {
        /// What was attempted.
        attempt: &'static str,
        /// What came back.
        reason: String,
    },
}

/// Sends `records` through the pipeline of `stream` as if `tenant` had written them now. Hooks
/// outside this process are called only where somebody, `told`, hears what is waited for; where they
/// are left out, prefixes have `<key>` in the place of each key that they would give.
///
/// # Errors
/// When the table is not to be had, or the pipeline does not get through. A hook that is away is
/// given up after as many attempts as its settings give to one that answers badly.
pub async fn preview(
    config: &Config,
    stream: &StreamName,
    tenant: Option<&Tenant>,
    records: &[&[u8]],
    told: Option<&(dyn Fn(&str) + Sync)>,
) -> Result<Previewed, PreviewError> {
    let mut recipe = recipe(config, stream).await?;
    let mut settings = config.delivery_streams[stream].clone();
    let mut skipped = Vec::new();
    if told.is_none() {
        let steps = std::mem::take(&mut settings.transform);
        for (index, step) in steps.into_iter().enumerate() {
            if step.kind.is_outside() {
                skipped.push(index);
            } else {
                settings.transform.push(step);
            }
        }
    }
    if !skipped.is_empty() {
        // Nobody gives the keys.
        recipe.prefix = recipe.prefix.with_hook_keys_shown();
    }
    let (heard, mut refusals) = watch::channel(None);
    let steps = hooks::steps(stream, &settings).await;
    let mut steps = steps.map_err(|fault| PreviewError::Faults(Faults::new(vec![fault])))?;
    let mut patience = PATIENCE;
    for (index, step) in settings.transform.iter().enumerate() {
        if let (Some((what, hook)), Some(told)) = (hooks::outside(step), told) {
            let attempts_max = hook.retries.saturating_add(1);
            let seconds = hook.timeout.as_secs_f64();
            told(&format!(
                "calling transform[{index}], {what}: {attempts_max} attempts, {seconds} s for each"
            ));
            patience += hook.timeout * attempts_max;
            let name = format!("transform[{index}]");
            let step = steps[index].clone();
            let refused = AtomicU32::new(0);
            steps[index] =
                Arc::new(Watched { step, name, attempts_max, refused, heard: heard.clone() });
        }
    }
    let chain = (!steps.is_empty()).then(|| Chain::new(steps));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let store = Arc::new(InMemory::new());
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let budget = Arc::new(DiskBudget::new(u64::MAX));
    let environment = Environment {
        disk,
        clock: clock.clone(),
        committer: Committer::start(None).map_err(failed("start the journal"))?,
        budget,
        instance: Uuid::new_v4(),
        remembered_calls: RememberedCalls::new(0),
        segments: SegmentSizes::default(),
    };
    let directory = PathBuf::from(stream.as_str());
    let opened = Journal::open(&environment, stream, &directory);
    let opened = opened.map_err(failed("open a journal in memory"))?;
    let journal = opened.journal.clone();
    let memory = Arc::new(MemoryBudget::new(MEMORY_BYTES_MIN));
    let (pipeline, handle) = Pipeline::new(Parts {
        stream: stream.clone(),
        opened,
        directory,
        environment: environment.clone(),
        stores: Arc::new(Stores::with_client(recipe.target.clone(), store.clone())),
        settings: Settings {
            recipe: Arc::new(recipe),
            hints: hints(settings.buffering),
            chain,
            backup: None,
            ending_backup: None,
            catalogs: BTreeMap::new(),
        },
        pool: Pool::new(1, memory.conversions.clone()),
        memory,
        metrics: Metrics::register(&mut Registry::default()),
    })
    .map_err(failed("open an outbox in memory"))?;
    let (stop, stopped) = watch::channel(None);
    let tasks = Tasks::new();
    tasks.spawn("pipeline", async move {
        pipeline.run(stopped).await;
    });

    let arrival = clock.now();
    let mut call = Batch::new(tenant.cloned(), arrival);
    for record in records {
        let is_full = call.record_count() == CALL_RECORDS;
        if is_full || (call.record_count() > 0 && call.data_bytes() + record.len() > CALL_BYTES) {
            let call = std::mem::replace(&mut call, Batch::new(tenant.cloned(), arrival));
            journal.append(call).await.map_err(failed("write the journal"))?;
        }
        call.push(record);
    }
    if call.record_count() > 0 {
        journal.append(call).await.map_err(failed("write the journal"))?;
    }
    let flush = tokio::time::timeout(patience, handle.flush());
    tokio::pin!(flush);
    let mut given_up = None;
    let flushed = loop {
        tokio::select! {
            flushed = &mut flush => break flushed.unwrap_or(false),
            Ok(()) = refusals.changed() => {
                let Some(refusal) = refusals.borrow_and_update().clone() else {
                    continue;
                };
                if let Some(told) = told {
                    told(&format!("waiting: {refusal}"));
                }
                if refusal.attempt >= refusal.attempts_max {
                    given_up = Some(refusal);
                    break false;
                }
            }
        }
    };
    let status = handle.status().await.unwrap_or_default();
    stop.send_replace(Some(AT_ONCE));
    tasks.join(STOP_PATIENCE, STOP_PATIENCE).await;
    if !flushed {
        let reason = match given_up {
            Some(refusal) => format!("{refusal}; it is given up, and a stream would wait for it"),
            None => status.blocked.unwrap_or_else(|| "it takes too long".to_owned()),
        };
        return Err(PreviewError::Blocked(reason));
    }
    let objects = objects(store.as_ref()).await.map_err(failed("read the store in memory"))?;
    Ok(Previewed { objects, status, skipped })
}

/// A hook that was asked in vain.
#[derive(Clone, Debug)]
struct Refusal {
    step: String,
    reason: String,
    /// Counted from 1.
    attempt: u32,
    attempts_max: u32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, reason, attempt, attempts_max } = self;
        write!(f, "{step}: {reason} (attempt {attempt} of {attempts_max})")
    }
}

/// A step of which every refusal is told: a stream would wait for it without end.
#[derive(Debug)]
struct Watched {
    step: Arc<dyn Transform>,
    name: String,
    attempts_max: u32,
    refused: AtomicU32,
    heard: watch::Sender<Option<Refusal>>,
}

impl Transform for Watched {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        Box::pin(async move {
            let answered = self.step.apply(items).await;
            match &answered {
                Ok(_) => self.refused.store(0, Ordering::Relaxed),
                Err(unavailable) => {
                    let attempt = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
                    self.heard.send_replace(Some(Refusal {
                        step: self.name.clone(),
                        reason: unavailable.reason.clone(),
                        attempt,
                        attempts_max: self.attempts_max,
                    }));
                }
            }
            answered
        })
    }

    fn hints(&self) -> Option<Hints> {
        self.step.hints()
    }
}

/// The stream's recipe with a store that nothing leaves.
async fn recipe(config: &Config, stream: &StreamName) -> Result<Recipe, PreviewError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let catalogs = tables::catalogs(config, &disk).await;
    let named = (stream, &config.delivery_streams[stream]);
    let recipe = tables::recipe(config, &catalogs, named, None).await;
    let mut recipe = recipe.map_err(|fault| PreviewError::Faults(Faults::new(vec![fault])))?;
    recipe.register_in = None;
    recipe.completion = None;
    // A bucket keeps what is said of an object beside it; the key begins right below.
    let (store, url) = (recipe.target.store, "s3://preview".to_owned());
    recipe.target = Target { store, url, endpoint: None, region: None };
    Ok(recipe)
}

async fn objects(store: &InMemory) -> Result<Vec<PreviewedObject>, object_store::Error> {
    let mut objects = Vec::new();
    let listed: Vec<_> = store.list(None).try_collect().await?;
    for meta in listed {
        let found = store.get(&meta.location).await?;
        let kind = found.attributes.get(&Attribute::Metadata(KIND_METADATA.into()));
        let is_error = kind.is_some_and(|kind| kind.as_ref() == ObjectKind::Error.as_str());
        let kind = if is_error { ObjectKind::Error } else { ObjectKind::Data };
        let bytes = found.bytes().await?.to_vec();
        objects.push(PreviewedObject { key: meta.location.to_string(), kind, bytes });
    }
    objects.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(objects)
}

fn failed<E: ToString>(attempt: &'static str) -> impl FnOnce(E) -> PreviewError {
    move |error| PreviewError::Failed { attempt, reason: error.to_string() }
}
