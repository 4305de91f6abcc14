//! From closed batches to a durable plan: convert, freeze, plan.
//!
//! Owns that step alone and keeps nothing between two calls. Before the plan is durable nothing has
//! left the machine, and the step may be repeated with another result; after it nothing is computed
//! again.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use futures::future::join_all;

use super::blocking;
use super::caution::survive;
use super::completion::{Completion, Telling};
use super::conversion::{Converted, Converter, Rows};
use super::loan::{Loan, NoRoom};
use super::naming::NameError;
use super::placing::Partitioning;
use super::pool::Pool;
use super::round::{Batch, shares};
use crate::convert::{EncodeError, Format};
use crate::journal::{AppendError, Control, Journal};
use crate::outbox::Outbox;
use crate::partition::{Evaluated, Group, Template};
use crate::plan::{CatalogPartition, EventPartition, Plan, PlanId, PlannedObject, Target};
use crate::positions::Positions;
use crate::record::{Position, UnixMillis};
use crate::table::Table;

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
    /// What fills the slots of the prefix.
    pub partitioning: Partitioning,
    /// Where rows go.
    pub prefix: Template,
    /// Where failed records go.
    pub error_prefix: Template,
    /// What the names of rows' objects end with, in place of the format's own.
    pub file_extension: Option<String>,
    /// The store of both.
    pub target: Target,
    /// The catalog that partitions are registered in.
    pub register_in: Option<String>,
    /// How it is told that partitions of event time are complete, where it is.
    pub completion: Option<Completion>,
    /// The size that objects are to have; none where the size of their records alone counts.
    pub object_bytes: Option<u64>,
}

/// Everything that the step touches.
#[derive(Clone, Debug)]
pub(super) struct Freezer {
    pub(super) converter: Converter,
    /// Where plans are made durable.
    pub(super) log: Journal,
    pub(super) outbox: Arc<Outbox>,
    pub(super) pool: Pool,
}

/// Why no plan was made. Nothing is lost: the batches can be frozen again.
#[derive(Debug, thiserror::Error)]
pub(super) enum FreezeError {
    #[error("so many of its records fail that it is divided")]
    TooManyFailed,
    #[error("could not read the journal: {0}")]
    Read(io::Error),
    #[error("could not write the outbox: {0}")]
    Outbox(io::Error),
    #[error("could not write the object: {0:?}")]
    Encode(#[from] EncodeError),
    #[error("could not name the object: {0}")]
    Name(#[from] NameError),
    #[error("could not append the plan to the journal: {0}")]
    Plan(#[from] AppendError),
    #[error("the conversion panicked: {0}")]
    Panicked(String),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl Freezer {
    /// Makes a durable plan of `batches` and of positions that the disk lost, in the room that is lent
    /// for it.
    pub(super) async fn freeze(
        &self,
        id: PlanId,
        batches: Arc<Vec<Batch>>,
        lost: Positions,
        source_end: Position,
        mut loan: Loan,
    ) -> Result<Plan, FreezeError> {
        let converted = self.convert(id, &batches).await?;
        let freezer = self.clone();
        let work = move || {
            let plan = freezer.freeze_converted(id, converted, lost, source_end, &mut loan);
            plan.map(|plan| (plan, loan))
        };
        let (plan, _loan) = match tokio::task::spawn_blocking(work).await {
            Ok(plan) => plan?,
            Err(error) => return Err(FreezeError::Panicked(error.to_string())),
        };
        self.append(plan).await
    }

    /// Converts the batches, as many side by side as the pool has threads for.
    async fn convert(
        &self,
        id: PlanId,
        batches: &Arc<Vec<Batch>>,
    ) -> Result<Vec<(Batch, Converted)>, FreezeError> {
        // Careful times know of one batch that is being converted.
        let threads = if self.converter.caution.is_careful() { 1 } else { self.pool.threads() };
        let convert = async |share: Range<usize>| {
            let _turn = self.pool.turn().await;
            let (converter, batches) = (self.converter.clone(), batches.clone());
            let work = move || survive(&converter, id, &batches[share]);
            let converted = tokio::task::spawn_blocking(work).await;
            converted.unwrap_or_else(|error| Err(FreezeError::Panicked(error.to_string())))
        };
        let converted = join_all(shares(batches, threads).into_iter().map(convert)).await;
        let converted: Vec<_> = converted.into_iter().collect::<Result<_, _>>()?;
        Ok(converted.into_iter().flatten().collect())
    }

    /// Makes a durable plan of what is told of complete partitions, which has no records.
    pub(super) async fn freeze_tellings(
        &self,
        id: PlanId,
        tellings: Vec<Telling>,
        source_end: Position,
    ) -> Result<Plan, FreezeError> {
        let freezer = self.clone();
        let (headers, bytes): (Vec<_>, Vec<_>) = tellings.into_iter().unzip();
        let positions = Positions::default();
        let object = |header| PlannedObject { header, positions: positions.clone() };
        let objects = headers.into_iter().map(object).collect();
        let damaged = Positions::default();
        let mut plan = Plan { id, objects, damaged, source_end };
        let plan = blocking(move || {
            freezer.freeze_objects(&mut plan, &bytes)?;
            Ok::<_, FreezeError>(plan)
        });
        self.append(plan.await?).await
    }

    async fn append(&self, plan: Plan) -> Result<Plan, FreezeError> {
        let control = Control::Plan(plan);
        self.log.append_control(&control).await?;
        let Control::Plan(plan) = control else { unreachable!("it was made as a plan") };
        Ok(plan)
    }

    fn freeze_converted(
        &self,
        id: PlanId,
        converted: Vec<(Batch, Converted)>,
        lost: Positions,
        source_end: Position,
        loan: &mut Loan,
    ) -> Result<Plan, FreezeError> {
        let mut bytes = Vec::new();
        let mut objects = Vec::new();
        let mut damaged = lost;
        for (batch, converted) in converted {
            damaged = damaged.with(&converted.damaged);
            if let Some(Rows { mut header, positions, encoded }) = converted.rows {
                header.row_count = encoded.row_count;
                objects.push(PlannedObject { header, positions });
                bytes.push(encoded.bytes);
            }
            for (error_type, failed) in converted.failed {
                let mut header = self.converter.name(&batch, Some(error_type))?;
                header.row_count = failed.positions.count();
                objects.push(PlannedObject { header, positions: failed.positions });
                bytes.push(failed.lines);
            }
        }
        let mut plan = Plan { id, objects, damaged, source_end };
        if !plan.objects.is_empty() {
            loan.cover(bytes.iter().map(|bytes| bytes.len() as u64).sum())?;
            self.freeze_objects(&mut plan, &bytes)?;
        }
        Ok(plan)
    }

    fn freeze_objects(&self, plan: &mut Plan, bytes: &[Vec<u8>]) -> Result<(), FreezeError> {
        let frozen = self.outbox.freeze(plan.id, bytes).map_err(FreezeError::Outbox)?;
        for (object, frozen) in plan.objects.iter_mut().zip(frozen) {
            object.header.offset = frozen.offset;
            object.header.size_bytes = frozen.size_bytes;
            object.header.sha256 = frozen.sha256;
        }
        Ok(())
    }
}

impl Recipe {
    /// The partition of event time that a batch adds to, where its end is told. One whose oldest record
    /// came after that holds late records alone, and tells nothing of it.
    pub(super) fn event_partition(
        &self,
        group: &Group,
        oldest_arrival: UnixMillis,
    ) -> Option<EventPartition> {
        let completion = self.completion.as_ref()?;
        let (folder, until) = completion.spans.of_group(group)?;
        let is_on_time = oldest_arrival <= completion.ends_at(until);
        let counted = EventPartition { folder, until, objects: 0, rows: 0, complete_from: None };
        is_on_time.then_some(counted)
    }

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
