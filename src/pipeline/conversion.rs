//! From closed batches to encoded bytes.
//!
//! Owns the one pass over the log in which each record becomes a row, a line of an error object, or
//! is damaged; never two of these. Changes nothing and keeps nothing, so it may be repeated.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::caution::{Caution, POISON};
use super::entry::{Content, Entry};
use super::freeze::{FreezeError, Recipe};
use super::intake::Kind;
use super::kept::Kept;
use super::naming::{NameError, name};
use super::owners::{Owners, union};
use super::placing::{Given, Placer, Unplaced};
use super::round::Batch;
use crate::clock::Clock;
use crate::convert::{
    Counted, EncodeError, Encoded, Encoder, FailureLine, Format, Origin, ProcessingFailureLine,
    PushError, TableName,
};
use crate::journal::Journal;
use crate::partition::{FailedKind, GroupPlace};
use crate::plan::{ObjectHeader, PlanId};
use crate::positions::Positions;
use crate::record::{ErrorOutputType, Position, Record, StreamName, UnixMillis};

/// So many bytes of lines of failed records are kept for a batch that can be divided.
const FAILED_BYTES_MAX: usize = 384 << 20;

/// Everything that the conversion of a leg's records touches.
#[derive(Clone, Debug)]
pub(super) struct Converter {
    pub(super) stream: StreamName,
    /// Where the records stand.
    pub(super) records: Journal,
    /// What they are.
    pub(super) kind: Kind,
    pub(super) recipe: Arc<Recipe>,
    pub(super) clock: Arc<dyn Clock>,
    /// Knows the records that conversion does not survive.
    pub(super) caution: Arc<Caution>,
}

/// What one batch became.
#[derive(Debug)]
pub(super) struct Converted {
    /// Its rows, when it has any.
    pub(super) rows: Option<Rows>,
    /// What failed, by the folder of the error prefix.
    pub(super) failed: BTreeMap<ErrorOutputType, Failed>,
    /// What the disk has lost.
    pub(super) damaged: Positions,
}

/// The object of a batch's rows.
#[derive(Debug)]
pub(super) struct Rows {
    /// Without what its bytes say.
    pub(super) header: ObjectHeader,
    pub(super) positions: Positions,
    pub(super) encoded: Encoded,
}

/// Records that go to one folder of the error prefix.
#[derive(Debug, Default)]
pub(super) struct Failed {
    pub(super) positions: Positions,
    pub(super) lines: Vec<u8>,
}

impl Converter {
    /// Reads the records of all batches in one pass and gives each to its batch's encoder. `id` is
    /// the plan's, for the footers.
    ///
    /// # Errors
    /// When the log cannot be read or an encoder fails; never for what a record contains.
    pub(super) fn convert(
        &self,
        id: PlanId,
        batches: &[Batch],
    ) -> Result<Vec<Converted>, FreezeError> {
        let parts = batches.iter().map(|batch| self.begin(batch));
        let mut parts = parts.collect::<Result<Vec<_>, EncodeError>>()?;
        let mut owners = Owners::new(batches);
        let all = union(batches);
        let mut failure: Option<FreezeError> = None;
        let may_fail_too_much = batches.iter().any(Batch::is_divisible);
        let visit = &mut |position: Position, record: Option<Record<'_>>| {
            if failure.is_some() {
                return;
            }
            let part = &mut parts[owners.of(position)];
            match record {
                Some(record) => failure = self.take(part, record).err().map(Into::into),
                None => part.damaged.push(position),
            }
            if may_fail_too_much && failure.is_none() && part.failed_bytes() > FAILED_BYTES_MAX {
                failure = Some(FreezeError::TooManyFailed);
            }
        };
        self.records.read(&all, visit).map_err(FreezeError::Read)?;
        if let Some(error) = failure {
            return Err(error);
        }
        self.caution.end_records();
        parts.into_iter().map(|parts| self.finish(id, parts)).collect()
    }

    /// The same of one batch whose records were read before.
    ///
    /// # Errors
    /// When an encoder fails; never for what a record contains.
    pub(super) fn convert_kept(
        &self,
        id: PlanId,
        batch: &Batch,
        kept: &Kept,
    ) -> Result<Converted, FreezeError> {
        let mut parts = self.begin(batch)?;
        for (position, record) in kept.of(&batch.positions) {
            match record {
                Some(record) => self.take(&mut parts, record)?,
                None => parts.damaged.push(position),
            }
        }
        self.caution.end_records();
        self.finish(id, parts)
    }

    fn begin<'a>(&self, batch: &'a Batch) -> Result<Parts<'a>, EncodeError> {
        Ok(Parts {
            batch,
            name: self.name(batch, None),
            encoder: Encoder::new(&self.recipe.format)?,
            rows: Positions::default(),
            arrivals: None,
            failed: BTreeMap::new(),
            damaged: Positions::default(),
        })
    }

    /// The header of an object: see [`name`].
    pub(super) fn name(
        &self,
        batch: &Batch,
        error: Option<ErrorOutputType>,
    ) -> Result<ObjectHeader, NameError> {
        let named = (&batch.group, batch.oldest_arrival);
        name(&self.stream, self.records.stamp(), &self.recipe, named, error)
    }

    /// What the positions of its records count.
    fn counted(&self) -> Counted {
        match self.kind {
            Kind::Records => Counted::Records,
            Kind::Entries => Counted::Parts,
        }
    }

    fn finish(&self, id: PlanId, parts: Parts<'_>) -> Result<Converted, FreezeError> {
        let Parts { batch, name, encoder, rows, arrivals, failed, damaged, .. } = parts;
        if rows.is_empty() {
            return Ok(Converted { rows: None, failed, damaged });
        }
        let table = self.recipe.table.as_ref();
        // What the footer says.
        let origin = Origin {
            stream: &self.stream,
            tenant: batch.group.tenant.as_ref(),
            journal: self.records.stamp(),
            plan: id.0,
            positions: &rows,
            counted: self.counted(),
            row_count: encoder.row_count(),
            arrivals: arrivals.unwrap_or((batch.oldest_arrival, batch.oldest_arrival)),
            schema_version: table.map_or("", |table| &table.version),
        };
        let encoded = encoder.finish(&origin.pairs())?;
        let rows = Rows { header: name?, positions: rows, encoded };
        Ok(Converted { rows: Some(rows), failed, damaged })
    }

    fn take(&self, part: &mut Parts<'_>, record: Record<'_>) -> Result<(), EncodeError> {
        if self.kind == Kind::Records {
            return self.convert_placed(part, record, &BTreeMap::new());
        }
        match Entry::decode(record.data).map(|entry| entry.content) {
            Some(Content::Part { partition_keys, data }) => {
                self.convert_placed(part, Record { data, ..record }, &partition_keys)
            }
            Some(Content::Failed { failure, raw }) => {
                let line = ProcessingFailureLine {
                    record: Record { data: raw, ..record },
                    code: &failure.code,
                    message: &failure.message,
                    attempts: failure.attempts,
                    attempt_ending: failure.ended,
                    lambda_arn: failure.lambda_arn.as_deref(),
                };
                part.failed.entry(failure.error_type).or_default().push(record.position, |lines| {
                    line.append_to(lines);
                });
                Ok(())
            }
            // Drops and damage were settled when the entry was first seen.
            Some(Content::Dropped | Content::Damaged) | None => {
                part.damaged.push(record.position);
                Ok(())
            }
        }
    }

    /// Converts a record, unless it has no place.
    fn convert_placed(
        &self,
        part: &mut Parts<'_>,
        record: Record<'_>,
        hook_keys: &BTreeMap<String, String>,
    ) -> Result<(), EncodeError> {
        let group = &part.batch.group;
        let (kind, why) = match (&group.place, &part.name) {
            (GroupPlace::Failed(kind @ FailedKind::TooManyPartitions), _) => {
                (*kind, Unplaced::too_many(&self.recipe.partitioning))
            }
            (GroupPlace::Failed(kind @ FailedKind::Unplaced), _) => {
                let placer = Placer::new(self.stream.clone(), self.recipe.clone());
                let (tenant, bytes) = (group.tenant.as_ref(), record.data);
                let (position, arrival) = (record.position, record.arrival);
                let given = Given { tenant, position, arrival, bytes, hook_keys };
                (*kind, placer.why_unplaced(&given))
            }
            (_, Err(error)) => (FailedKind::Unplaced, Unplaced::without_name(error)),
            (_, Ok(_)) => return self.convert_one(part, record),
        };
        let failed = part.failed.entry(kind.error_type()).or_default();
        self.fail(failed, record, why.code, &why.message, 1);
        Ok(())
    }

    fn fail(
        &self,
        failed: &mut Failed,
        record: Record<'_>,
        code: &str,
        message: &str,
        attempts: u32,
    ) {
        let attempt_ending = self.clock.now();
        let line = ProcessingFailureLine {
            record,
            code,
            message,
            attempts,
            attempt_ending,
            lambda_arn: None,
        };
        failed.push(record.position, |lines| line.append_to(lines));
    }

    fn convert_one(&self, part: &mut Parts<'_>, record: Record<'_>) -> Result<(), EncodeError> {
        let is_copied = matches!(self.recipe.format, Format::Records(_));
        if !is_copied && let Some(verdict) = self.caution.verdict(record.position) {
            let failed = part.failed.entry(ErrorOutputType::ProcessingFailed).or_default();
            self.fail(failed, record, POISON, &verdict.message, verdict.attempts);
            return Ok(());
        }
        self.caution.begin_record(record.position);
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
                let line = FailureLine {
                    record,
                    rejection: &rejection,
                    attempt_ending: self.clock.now(),
                    counted: self.counted(),
                    table: table.map(|table| TableName {
                        database: &table.database,
                        table: &table.name,
                        region: self.recipe.catalog_region.as_deref(),
                        version: &table.version,
                    }),
                };
                let failed =
                    part.failed.entry(ErrorOutputType::FormatConversionFailed).or_default();
                failed.push(record.position, |lines| line.append_to(lines));
            }
            Err(PushError::Encode(error)) => return Err(error),
        }
        Ok(())
    }
}

impl Failed {
    fn push(&mut self, position: Position, append: impl FnOnce(&mut Vec<u8>)) {
        self.positions.push(position);
        append(&mut self.lines);
    }
}

/// What becomes of one batch, while its records are read.
struct Parts<'a> {
    batch: &'a Batch,
    /// The object of its rows, without what their bytes say. Where its place gives it no name, there
    /// are no rows.
    name: Result<ObjectHeader, NameError>,
    encoder: Encoder,
    rows: Positions,
    /// Of the oldest and the newest of them.
    arrivals: Option<(UnixMillis, UnixMillis)>,
    failed: BTreeMap<ErrorOutputType, Failed>,
    damaged: Positions,
}

impl Parts<'_> {
    fn failed_bytes(&self) -> usize {
        self.failed.values().map(|failed| failed.lines.len()).sum()
    }
}
