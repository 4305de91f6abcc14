//! From closed batches to a durable plan: read, convert, name, freeze, plan.
//!
//! Owns that step alone and keeps nothing between two calls. A record becomes a row, a line of an
//! error object, or is damaged; never two of these. Before the plan is durable nothing has left the
//! machine, and the step may be repeated with another result; after it nothing is computed again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::buffer;
use crate::clock::Clock;
use crate::convert::{EncodeError, Encoder, FailureLine, PushError, Schema, TableName};
use crate::journal::{AppendError, Control, Journal};
use crate::outbox::Outbox;
use crate::partition::{EvaluateError, Evaluated, Group, KeyTooLong, ObjectName, Template};
use crate::plan::{
    CatalogPartition, ObjectHeader, ObjectKind, Plan, PlanId, PlannedObject, Target,
};
use crate::positions::{Positions, Run};
use crate::record::{ErrorOutputType, Position, Record, StreamName};
use crate::table::Table;

/// A closed batch of a stream.
pub(super) type Batch = buffer::Batch<Group>;

/// Bytes of records that one plan takes on; a larger single batch is a plan of its own.
const PLAN_BYTES_MAX: u64 = 256 << 20;
/// Batches that one plan takes on: so many encoders are open side by side.
const PLAN_BATCHES_MAX: usize = 64;

/// What a stream makes of its records; a change of the settings replaces it as a whole.
#[derive(Debug)]
pub struct Recipe {
    /// The table whose columns the rows have.
    pub table: Table,
    /// The columns, prepared for conversion.
    pub schema: Arc<Schema>,
    /// The region of the table's catalog, where it has one.
    pub catalog_region: Option<String>,
    /// Where rows go.
    pub prefix: Template,
    /// Where failed records go.
    pub error_prefix: Template,
    /// The store of both.
    pub target: Target,
    /// The catalog that partitions are registered in.
    pub register_in: Option<String>,
}

/// Everything that the step touches.
#[derive(Clone, Debug)]
pub(super) struct Freezer {
    pub(super) stream: StreamName,
    pub(super) journal: Journal,
    pub(super) outbox: Arc<Outbox>,
    pub(super) recipe: Arc<Recipe>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why no plan was made. Nothing is lost: the batches can be frozen again.
#[derive(Debug, thiserror::Error)]
pub(super) enum FreezeError {
    #[error("could not read the journal: {0}")]
    Read(io::Error),
    #[error("could not write the outbox: {0}")]
    Outbox(io::Error),
    #[error("could not write the parquet file: {0:?}")]
    Encode(#[from] EncodeError),
    #[error("could not name the object: {0}")]
    Prefix(#[from] EvaluateError),
    #[error("could not name the object: {0}")]
    Key(#[from] KeyTooLong),
    #[error("could not append the plan to the journal: {0}")]
    Plan(#[from] AppendError),
    #[error("the conversion panicked: {0}")]
    Panicked(String),
}

/// Takes as many closed batches as one plan takes on.
pub(super) fn take_round(closed: &mut VecDeque<Batch>) -> Vec<Batch> {
    let mut round = Vec::new();
    let (mut bytes, mut records) = (0, 0);
    while let Some(batch) = closed.front() {
        bytes += batch.data_bytes;
        records += batch.positions.count();
        let full = bytes > PLAN_BYTES_MAX
            || records > buffer::BATCH_RECORDS_MAX
            || round.len() == PLAN_BATCHES_MAX;
        if full && !round.is_empty() {
            break;
        }
        round.extend(closed.pop_front());
    }
    round
}

impl Freezer {
    /// Makes a durable plan of `batches` and of positions that the disk lost.
    pub(super) async fn freeze(
        &self,
        id: PlanId,
        batches: Arc<Vec<Batch>>,
        lost: Positions,
    ) -> Result<Plan, FreezeError> {
        let freezer = self.clone();
        let work = move || freezer.convert_and_freeze(id, &batches, lost);
        let plan = match tokio::task::spawn_blocking(work).await {
            Ok(plan) => plan?,
            Err(error) => return Err(FreezeError::Panicked(error.to_string())),
        };
        let control = Control::Plan(plan);
        self.journal.append_control(&control).await?;
        let Control::Plan(plan) = control else { unreachable!("it was made as a plan") };
        Ok(plan)
    }

    fn convert_and_freeze(
        &self,
        id: PlanId,
        batches: &[Batch],
        lost: Positions,
    ) -> Result<Plan, FreezeError> {
        let converted = self.convert(batches)?;
        let mut bytes = Vec::new();
        let mut objects = Vec::new();
        let mut damaged = lost;
        for (batch, parts) in batches.iter().zip(converted) {
            damaged = damaged.with(&parts.damaged);
            if !parts.rows.is_empty() {
                let encoded = parts.encoder.finish(&[])?;
                let mut object = self.name(batch, ObjectKind::Data)?;
                object.row_count = encoded.row_count;
                objects.push(PlannedObject { header: object, positions: parts.rows });
                bytes.push(encoded.bytes);
            }
            if !parts.failed.is_empty() {
                let mut object = self.name(batch, ObjectKind::Error)?;
                object.row_count = parts.failed.count();
                objects.push(PlannedObject { header: object, positions: parts.failed });
                bytes.push(parts.failure_lines);
            }
        }
        if !objects.is_empty() {
            let frozen = self.outbox.freeze(id, &bytes).map_err(FreezeError::Outbox)?;
            for (object, frozen) in objects.iter_mut().zip(frozen) {
                object.header.offset = frozen.offset;
                object.header.size_bytes = frozen.size_bytes;
                object.header.sha256 = frozen.sha256;
            }
        }
        Ok(Plan { id, objects, damaged })
    }

    /// Reads the records of all batches in one pass and gives each to its batch's encoder.
    fn convert(&self, batches: &[Batch]) -> Result<Vec<Parts>, FreezeError> {
        let parts = batches.iter().map(|_| Parts::new(&self.recipe.schema));
        let mut parts: Vec<_> = parts.collect();
        let mut owners = Owners::new(batches);
        let all = owners.positions();
        let mut failure = None;
        let visit = &mut |position: Position, record: Option<Record<'_>>| {
            if failure.is_some() {
                return;
            }
            let part = &mut parts[owners.of(position)];
            match record {
                Some(record) => failure = self.take(part, record).err(),
                None => part.damaged.push(position),
            }
        };
        self.journal.read(&all, visit).map_err(FreezeError::Read)?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(parts),
        }
    }

    fn take(&self, part: &mut Parts, record: Record<'_>) -> Result<(), EncodeError> {
        match part.encoder.push(record.data) {
            Ok(_) => part.rows.push(record.position),
            Err(PushError::Rejected(rejection)) => {
                let table = &self.recipe.table;
                FailureLine {
                    record,
                    rejection: &rejection,
                    attempt_ending: self.clock.now(),
                    table: TableName {
                        database: &table.database,
                        table: &table.name,
                        region: self.recipe.catalog_region.as_deref(),
                        version: &table.version,
                    },
                }
                .append_to(&mut part.failure_lines);
                part.failed.push(record.position);
            }
            Err(PushError::Encode(error)) => return Err(error),
        }
        Ok(())
    }

    /// Everything about an object but its bytes.
    fn name(&self, batch: &Batch, kind: ObjectKind) -> Result<ObjectHeader, FreezeError> {
        let recipe = &self.recipe;
        let (template, error, extension) = match kind {
            ObjectKind::Data => (&recipe.prefix, None, ".parquet"),
            ObjectKind::Error => {
                (&recipe.error_prefix, Some(ErrorOutputType::FormatConversionFailed), "")
            }
        };
        let mut random = || Uuid::new_v4().as_u128();
        let tenant = batch.group.tenant.as_ref();
        let place = template.evaluate(batch.oldest_arrival, tenant, error, &mut random)?;
        let name = ObjectName {
            stream: &self.stream,
            version: 1,
            instant: batch.oldest_arrival,
            random: random(),
            extension,
        };
        Ok(ObjectHeader {
            kind,
            target: recipe.target.clone(),
            key: name.key(&place.prefix)?,
            offset: 0,
            size_bytes: 0,
            sha256: String::new(),
            row_count: 0,
            tenant: batch.group.tenant.clone(),
            partition: if kind == ObjectKind::Data { recipe.partition(&place) } else { None },
        })
    }
}

impl Recipe {
    /// The catalog's partition of an evaluated prefix: values by name, in the table's order.
    #[must_use]
    pub fn partition(&self, place: &Evaluated) -> Option<CatalogPartition> {
        let catalog = self.register_in.clone()?;
        let value_of = |key: &str| {
            let mut named = place.partition.iter();
            let named = named.find(|(name, _)| name.eq_ignore_ascii_case(key));
            named.map(|(_, value)| value.clone())
        };
        let keys = self.table.partition_keys.iter();
        Some(CatalogPartition {
            catalog,
            database: self.table.database.clone(),
            table: self.table.name.clone(),
            values: keys.map(|key| value_of(&key.name)).collect::<Option<_>>()?,
            location: format!("{}/{}", self.target.url, place.partition_folder),
        })
    }
}

/// What becomes of one batch.
struct Parts {
    encoder: Encoder,
    rows: Positions,
    failed: Positions,
    failure_lines: Vec<u8>,
    damaged: Positions,
}

impl Parts {
    fn new(schema: &Arc<Schema>) -> Self {
        Self {
            encoder: Encoder::new(schema),
            rows: Positions::default(),
            failed: Positions::default(),
            failure_lines: Vec::new(),
            damaged: Positions::default(),
        }
    }
}

/// Tells for ascending positions which batch they belong to.
struct Owners {
    runs: Vec<(Run, usize)>,
    at: usize,
}

impl Owners {
    fn new(batches: &[Batch]) -> Self {
        let runs = batches
            .iter()
            .enumerate()
            .flat_map(|(index, batch)| batch.positions.runs().iter().map(move |run| (*run, index)));
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable_by_key(|(run, _)| run.first);
        Self { runs, at: 0 }
    }

    fn positions(&self) -> Positions {
        let mut all = Positions::default();
        for (run, _) in &self.runs {
            all.push_run(run.first, run.count);
        }
        all
    }

    fn of(&mut self, position: Position) -> usize {
        while self.runs[self.at].0.end() <= position {
            self.at += 1;
        }
        self.runs[self.at].1
    }
}
