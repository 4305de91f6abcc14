//! From closed batches to a durable plan: read, convert, name, freeze, plan.
//!
//! Owns that step alone and keeps nothing between two calls. A record becomes a row, a line of an
//! error object, or is damaged; never two of these. Before the plan is durable nothing has left the
//! machine, and the step may be repeated with another result; after it nothing is computed again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::entry::{Content, Entry};
use super::intake;
use crate::buffer;
use crate::clock::Clock;
use crate::convert::{
    Counted, EncodeError, Encoder, FailureLine, Format, Origin, ProcessingFailureLine, PushError,
    TableName,
};
use crate::journal::{AppendError, Control, Journal};
use crate::outbox::Outbox;
use crate::partition::{EvaluateError, Evaluated, Group, KeyTooLong, ObjectName, Template};
use crate::plan::{
    CatalogPartition, ObjectHeader, ObjectKind, Plan, PlanId, PlannedObject, Target,
};
use crate::positions::{Positions, Run};
use crate::record::{ErrorOutputType, Position, Record, StreamName, UnixMillis};
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
    /// What the objects contain; rows come with the columns prepared for conversion.
    pub format: Format,
    /// The table whose columns the rows have, or that reads the records as they are; none where
    /// records go to no table.
    pub table: Option<Table>,
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
    /// Where the records stand.
    pub(super) records: Journal,
    /// What they are.
    pub(super) kind: intake::Kind,
    /// Where plans are made durable.
    pub(super) log: Journal,
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
    #[error("could not write the object: {0:?}")]
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
        source_end: Position,
    ) -> Result<Plan, FreezeError> {
        let freezer = self.clone();
        let work = move || freezer.convert_and_freeze(id, &batches, lost, source_end);
        let plan = match tokio::task::spawn_blocking(work).await {
            Ok(plan) => plan?,
            Err(error) => return Err(FreezeError::Panicked(error.to_string())),
        };
        let control = Control::Plan(plan);
        self.log.append_control(&control).await?;
        let Control::Plan(plan) = control else { unreachable!("it was made as a plan") };
        Ok(plan)
    }

    fn convert_and_freeze(
        &self,
        id: PlanId,
        batches: &[Batch],
        lost: Positions,
        source_end: Position,
    ) -> Result<Plan, FreezeError> {
        let converted = self.convert(batches)?;
        let mut bytes = Vec::new();
        let mut objects = Vec::new();
        let mut damaged = lost;
        for (batch, parts) in batches.iter().zip(converted) {
            damaged = damaged.with(&parts.damaged);
            if !parts.rows.is_empty() {
                let origin = self.origin(id, batch, &parts);
                let encoded = parts.encoder.finish(&origin)?;
                let mut object = self.name(batch, ObjectKind::Data, None)?;
                object.row_count = encoded.row_count;
                objects.push(PlannedObject { header: object, positions: parts.rows });
                bytes.push(encoded.bytes);
            }
            for (error_type, failed) in parts.failed {
                let mut object = self.name(batch, ObjectKind::Error, Some(error_type))?;
                object.row_count = failed.positions.count();
                objects.push(PlannedObject { header: object, positions: failed.positions });
                bytes.push(failed.lines);
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
        Ok(Plan { id, objects, damaged, source_end })
    }

    /// Reads the records of all batches in one pass and gives each to its batch's encoder.
    fn convert(&self, batches: &[Batch]) -> Result<Vec<Parts>, FreezeError> {
        let parts = batches.iter().map(|_| Parts::new(&self.recipe.format));
        let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
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
        self.records.read(&all, visit).map_err(FreezeError::Read)?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(parts),
        }
    }

    fn take(&self, part: &mut Parts, record: Record<'_>) -> Result<(), EncodeError> {
        if self.kind == intake::Kind::Records {
            return self.convert_one(part, record);
        }
        match Entry::decode(record.data).map(|entry| entry.content) {
            Some(Content::Part { data, .. }) => self.convert_one(part, Record { data, ..record }),
            Some(Content::Failed { failure, raw }) => {
                let line = ProcessingFailureLine {
                    record: Record { data: raw, ..record },
                    code: &failure.code,
                    message: &failure.message,
                    attempts: failure.attempts,
                    attempt_ending: failure.ended,
                    lambda_arn: failure.lambda_arn.as_deref(),
                };
                let failed = part.failed.entry(failure.error_type).or_default();
                line.append_to(&mut failed.lines);
                failed.positions.push(record.position);
                Ok(())
            }
            // Drops and damage were settled when the entry was first seen.
            Some(Content::Dropped | Content::Damaged) | None => {
                part.damaged.push(record.position);
                Ok(())
            }
        }
    }

    fn convert_one(&self, part: &mut Parts, record: Record<'_>) -> Result<(), EncodeError> {
        match part.encoder.push(record.data) {
            Ok(_) => {
                part.rows.push(record.position);
                part.arrivals = match part.arrivals {
                    None => Some((record.arrival, record.arrival)),
                    Some((first, last)) => {
                        Some((first.min(record.arrival), last.max(record.arrival)))
                    }
                };
            }
            Err(PushError::Rejected(rejection)) => {
                let table = self.recipe.table.as_ref();
                let failed =
                    part.failed.entry(ErrorOutputType::FormatConversionFailed).or_default();
                FailureLine {
                    record,
                    rejection: &rejection,
                    attempt_ending: self.clock.now(),
                    table: table.map(|table| TableName {
                        database: &table.database,
                        table: &table.name,
                        region: self.recipe.catalog_region.as_deref(),
                        version: &table.version,
                    }),
                }
                .append_to(&mut failed.lines);
                failed.positions.push(record.position);
            }
            Err(PushError::Encode(error)) => return Err(error),
        }
        Ok(())
    }

    /// What the footer of a batch's file says.
    fn origin(&self, id: PlanId, batch: &Batch, parts: &Parts) -> Vec<(String, String)> {
        let table = self.recipe.table.as_ref();
        let origin = Origin {
            stream: &self.stream,
            tenant: batch.group.tenant.as_ref(),
            journal: self.records.stamp(),
            plan: id.0,
            positions: &parts.rows,
            counted: match self.kind {
                intake::Kind::Records => Counted::Records,
                intake::Kind::Entries => Counted::Parts,
            },
            row_count: parts.encoder.row_count(),
            arrivals: parts.arrivals.unwrap_or((batch.oldest_arrival, batch.oldest_arrival)),
            schema_version: table.map_or("", |table| &table.version),
        };
        origin.pairs()
    }

    /// Everything about an object but its bytes.
    fn name(
        &self,
        batch: &Batch,
        kind: ObjectKind,
        error: Option<ErrorOutputType>,
    ) -> Result<ObjectHeader, FreezeError> {
        let recipe = &self.recipe;
        let template = match kind {
            ObjectKind::Data => &recipe.prefix,
            ObjectKind::Error => &recipe.error_prefix,
        };
        // Lines of failures are written plainly whatever the data is.
        let (extension, content_encoding) = match kind {
            ObjectKind::Data => (recipe.format.extension(), recipe.format.content_encoding()),
            ObjectKind::Error => ("", None),
        };
        let mut random = || Uuid::new_v4().as_u128();
        let tenant = batch.group.tenant.as_ref();
        let place = template.evaluate(batch.oldest_arrival, tenant, error, &mut random)?;
        let name = ObjectName {
            stream: &self.stream,
            version: 1,
            instant: batch.oldest_arrival,
            random: marked(self.records.stamp(), random()),
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
            content_encoding: content_encoding.map(str::to_owned),
            partition: if kind == ObjectKind::Data { recipe.partition(&place) } else { None },
        })
    }
}

/// Random bits that begin with the mark of the instance, so that the objects of several are told
/// apart by their names.
fn marked(stamp: [u8; 8], random: u128) -> u128 {
    let [a, b, c, d, ..] = stamp;
    u128::from(u32::from_be_bytes([a, b, c, d])) << 96 | random & (u128::MAX >> 32)
}

impl Recipe {
    /// The catalog's partition of an evaluated prefix: values by name, in the table's order.
    #[must_use]
    pub fn partition(&self, place: &Evaluated) -> Option<CatalogPartition> {
        let catalog = self.register_in.clone()?;
        let table = self.table.as_ref()?;
        let value_of = |key: &str| {
            let mut named = place.partition.iter();
            let named = named.find(|(name, _)| name.eq_ignore_ascii_case(key));
            named.map(|(_, value)| value.clone())
        };
        let keys = table.partition_keys.iter();
        Some(CatalogPartition {
            catalog,
            database: table.database.clone(),
            table: table.name.clone(),
            values: keys.map(|key| value_of(&key.name)).collect::<Option<_>>()?,
            location: format!("{}/{}", self.target.url, place.partition_folder),
        })
    }
}

/// What becomes of one batch.
struct Parts {
    encoder: Encoder,
    rows: Positions,
    /// Of the oldest and the newest of them.
    arrivals: Option<(UnixMillis, UnixMillis)>,
    failed: BTreeMap<ErrorOutputType, Failed>,
    damaged: Positions,
}

/// Records that go to one folder of the error prefix.
#[derive(Default)]
struct Failed {
    positions: Positions,
    lines: Vec<u8>,
}

impl Parts {
    fn new(format: &Format) -> Result<Self, EncodeError> {
        Ok(Self {
            encoder: Encoder::new(format)?,
            rows: Positions::default(),
            arrivals: None,
            failed: BTreeMap::new(),
            damaged: Positions::default(),
        })
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
