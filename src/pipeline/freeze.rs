//! From closed batches to a durable plan: convert, freeze, plan.
//!
//! Owns that step alone and keeps nothing between two calls. Before the plan is durable nothing has
//! left the machine, and the step may be repeated with another result; after it nothing is computed
//! again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::blocking;
use super::caution::survive;
use super::completion::{Completion, Telling};
use super::conversion::{Converter, Rows};
use super::loan::{Loan, NoRoom};
use super::naming::NameError;
use super::placing::Partitioning;
use crate::buffer;
use crate::convert::{EncodeError, Format};
use crate::journal::{AppendError, Control, Journal};
use crate::outbox::Outbox;
use crate::partition::{Evaluated, Group, Template};
use crate::plan::{CatalogPartition, EventPartition, Plan, PlanId, PlannedObject, Target};
use crate::positions::Positions;
use crate::record::{Position, UnixMillis};
use crate::table::Table;

/// A closed batch of a stream.
pub(super) type Batch = buffer::Batch<Group>;

/// Bytes of records that one plan takes on; a larger single batch is a plan of its own.
const PLAN_BYTES_MAX: u64 = 256 << 20;
/// Batches that one plan takes on when their encoders are open side by side.
const PLAN_BATCHES_MAX: usize = 64;
/// Records of so many bytes are read before they are converted, and then one batch after another, so
/// that a plan takes on more of them.
pub(super) const KEPT_BYTES_MAX: u64 = 32 << 20;
/// Of those, a plan takes on so many batches,
pub(super) const KEPT_BATCHES_MAX: usize = 2_048;
/// so many records,
const KEPT_RECORDS_MAX: u64 = 500_000;
/// and what makes headers of about so many bytes: it has to fit into a frame of the journal.
const HEADERS_BYTES_MAX: usize = 10 << 20;
/// The headers of a batch have about this in the least, with one for each kind of error.
const HEADERS_BYTES_MIN: usize = 3_000;

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

/// How many of the closed batches one plan takes on, of `bytes_max` in all if they are more than one.
pub(super) fn round_length(closed: &VecDeque<Batch>, bytes_max: u64) -> usize {
    let mut length = 0;
    let (mut bytes, mut records, mut headers) = (0, 0, 0);
    for batch in closed {
        bytes += batch.data_bytes;
        records += batch.positions.count();
        // A value stands in a key, in a location and by itself, escaped.
        headers += HEADERS_BYTES_MIN + 12 * batch.group.memory_bytes();
        let fits = if length < PLAN_BATCHES_MAX {
            bytes <= PLAN_BYTES_MAX && records <= buffer::BATCH_RECORDS_MAX
        } else {
            bytes <= KEPT_BYTES_MAX && records <= KEPT_RECORDS_MAX && length < KEPT_BATCHES_MAX
        };
        let fits = fits && bytes <= bytes_max && headers <= HEADERS_BYTES_MAX;
        if !fits && length > 0 {
            break;
        }
        length += 1;
    }
    length
}

/// Divides batches that are larger than what a plan takes on.
pub(super) fn divided(batches: Vec<Batch>) -> Vec<Batch> {
    batches.into_iter().flat_map(Batch::divided).collect()
}

impl Batch {
    /// Whether it is larger than what a plan takes on, which batches are that aim at a large object.
    pub(super) fn is_divisible(&self) -> bool {
        self.data_bytes > PLAN_BYTES_MAX && self.positions.count() > 1
    }

    /// Its records in parts of about as many bytes as a plan takes on. They are told apart by their
    /// number, since their lengths are not known here.
    pub(super) fn divided(self) -> Vec<Self> {
        let count = self.data_bytes.div_ceil(PLAN_BYTES_MAX).max(1);
        let records_max = self.positions.count().div_ceil(count).max(1);
        let (mut parts, mut rest) = (Vec::new(), self.positions.clone());
        while !rest.is_empty() {
            let (first, behind) = rest.split_at(records_max);
            let data_bytes = self.data_bytes / count;
            parts.push(Self { positions: first, data_bytes, ..self.clone() });
            rest = behind;
        }
        parts
    }
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
        let freezer = self.clone();
        let work = move || {
            let plan = freezer.convert_and_freeze(id, &batches, lost, source_end, &mut loan);
            plan.map(|plan| (plan, loan))
        };
        let (plan, _loan) = match tokio::task::spawn_blocking(work).await {
            Ok(plan) => plan?,
            Err(error) => return Err(FreezeError::Panicked(error.to_string())),
        };
        self.append(plan).await
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

    fn convert_and_freeze(
        &self,
        id: PlanId,
        batches: &[Batch],
        lost: Positions,
        source_end: Position,
        loan: &mut Loan,
    ) -> Result<Plan, FreezeError> {
        let mut bytes = Vec::new();
        let mut objects = Vec::new();
        let mut damaged = lost;
        for (batch, converted) in survive(&self.converter, id, batches)? {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Trigger;
    use crate::record::UnixMillis;

    #[test]
    fn a_round_is_what_one_plan_takes_on_and_never_nothing() {
        let batch = |data_bytes| Batch {
            group: Group::default(),
            positions: Positions::from_run(Position(0), 9),
            data_bytes,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Size,
        };
        let closed = |sizes: &[u64]| sizes.iter().map(|size| batch(*size)).collect();
        let large = closed(&[200 << 20, 200 << 20, 200 << 20]);
        assert_eq!(round_length(&large, u64::MAX), 1);
        let mixed = closed(&[100 << 20, 100 << 20, 100 << 20]);
        assert_eq!(round_length(&mixed, u64::MAX), 2);
        assert_eq!(round_length(&mixed, 1), 1);
        let small = closed(&[1; 3_000]);
        assert_eq!(round_length(&small, u64::MAX), KEPT_BATCHES_MAX);
        assert_eq!(round_length(&closed(&[]), u64::MAX), 0);
    }

    #[test]
    fn a_divided_batch_has_all_its_records_in_parts_that_are_not_divided_again() {
        let batch = |records, data_bytes| Batch {
            group: Group::default(),
            positions: Positions::from_run(Position(7), records),
            data_bytes,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Target,
        };
        assert!(!batch(10, PLAN_BYTES_MAX).is_divisible());
        assert!(!batch(1, 2 * PLAN_BYTES_MAX).is_divisible());
        let whole = batch(10, 2 * PLAN_BYTES_MAX + 1);
        assert!(whole.is_divisible());
        let parts = whole.clone().divided();
        let counts: Vec<_> = parts.iter().map(|part| part.positions.count()).collect();
        assert_eq!(counts, [4, 4, 2]);
        assert!(parts.iter().all(|part| !part.is_divisible()));
        let all = parts.iter().fold(Positions::default(), |all, part| all.with(&part.positions));
        assert_eq!(all, whole.positions);
    }
}
