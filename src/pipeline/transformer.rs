//! From a batch of source records to entries of the scratch log.
//!
//! Owns what is read for the hooks and how their verdicts become frames. The order in which batches
//! are appended is `transforms`'s.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::blocking;
use super::entry::{Content, Entry, FailureText};
use super::orders::Role;
use super::troubles::Troubles;
use crate::clock::Clock;
use crate::fault::Action;
use crate::journal::{Batch, Journal, Seen};
use crate::positions::Positions;
use crate::record::{ErrorOutputType, Position, StreamName, Tenant, UnixMillis};
use crate::transform::{Chain, Failure, Item, Journey, Part, Transformed, Unavailable};

/// A frame of the scratch log takes no more than this, unless a single record became more.
const FRAME_BYTES: usize = 4 << 20;
/// More than this, what a record became does not fit into a frame, and the record fails.
const RECORD_BYTES_MAX: usize = 12 << 20;
/// What a frame takes for an entry besides its bytes, at the most.
const ENTRY_BYTES_AROUND: usize = 16;
/// The step of `troubles`.
const STEP: &str = "transform records";

/// Everything that the transform touches.
#[derive(Clone, Debug)]
pub(super) struct Transformer {
    pub(super) stream: StreamName,
    pub(super) source: Journal,
    pub(super) scratch: Journal,
    pub(super) chain: Chain,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) troubles: Troubles,
}

/// What records became.
#[derive(Debug)]
pub(super) struct Became {
    /// What the scratch log is to hold.
    pub(super) frames: Vec<Batch>,
    /// Of how many records, the first ones, one at least.
    pub(super) record_count: u64,
    /// The others, which have become nothing yet.
    pub(super) rest: Option<Underway>,
}

/// Records on their way through the chain.
#[derive(Debug)]
pub(super) struct Underway {
    taken: Vec<Taken>,
    /// Of those that the disk has.
    journey: Journey,
}

/// A record on its way through the chain.
#[derive(Debug)]
struct Taken {
    position: Position,
    tenant: Option<Tenant>,
    arrival: UnixMillis,
    /// None when the disk has lost it.
    data: Option<Bytes>,
}

impl Transformer {
    /// Transforms records, all of them or the first ones.
    ///
    /// # Errors
    /// When the journal cannot be read; nothing has come of the records then.
    pub(super) async fn transform(self, positions: Positions) -> io::Result<Became> {
        let source = self.source.clone();
        let taken = blocking(move || read(&source, &positions)).await?;
        let lost = taken.iter().filter(|record| record.data.is_none());
        Role::Source.report_lost(&self.stream, &lost.map(|record| record.position).collect());
        let stamp = u64::from_le_bytes(self.source.stamp());
        let item = |record: &Taken| {
            let id = record_id(stamp, record.position);
            let part = Part::new(record.data.clone()?);
            Some(Item { id, arrival: record.arrival, part })
        };
        let journey = self.chain.begin(taken.iter().filter_map(item).collect());
        Ok(self.go_on(Underway { taken, journey }).await)
    }

    /// Goes on with records that were left under way.
    pub(super) async fn go_on(self, Underway { taken, mut journey }: Underway) -> Became {
        let (troubles, stream) = (self.troubles.clone(), self.stream.to_string());
        let refusals = AtomicU32::new(0);
        let troubled = move |unavailable: Option<&Unavailable>| {
            let Some(unavailable) = unavailable else {
                return troubles.clear(STEP);
            };
            let text = format!("could not {STEP}: {unavailable}");
            // The same thing again is news ever more rarely.
            let attempt = refusals.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            match unavailable.action {
                _ if !attempt.is_power_of_two() => {}
                Action::Retry => tracing::warn!(stream, attempt, "{text}; trying again"),
                _ => {
                    tracing::error!(stream, attempt, "{text}; trying again, but a person must act")
                }
            }
            troubles.set(STEP, text);
        };
        let transformed = journey.go_on(&troubled).await;
        let now = self.clock.now();
        blocking(move || {
            let mut taken = taken;
            let (frames, record_count) = frames(&taken, transformed, now);
            let taken = taken.split_off(record_count);
            let rest = (!taken.is_empty()).then_some(Underway { taken, journey });
            Became { frames, record_count: record_count as u64, rest }
        })
        .await
    }
}

fn read(source: &Journal, positions: &Positions) -> io::Result<Vec<Taken>> {
    let mut taken = Vec::new();
    let mut unreadable =
        |position| Taken { position, tenant: None, arrival: UnixMillis(0), data: None };
    for run in positions.runs() {
        let wanted = |position: Position| run.first <= position && position < run.end();
        let reached = source.walk(run.first, run.end(), usize::MAX, &mut |seen| match seen {
            Seen::Lost(lost) => {
                let lost = (lost.first.0..lost.end().0).map(Position).filter(|p| wanted(*p));
                taken.extend(lost.map(&mut unreadable));
            }
            Seen::Call(call) => {
                let records = call.records().filter(|(position, _)| wanted(*position));
                taken.extend(records.map(|(position, data)| Taken {
                    position,
                    tenant: call.tenant.clone(),
                    arrival: call.arrival,
                    data: data.map(Bytes::copy_from_slice),
                }));
            }
        })?;
        // What the log does not hold any more is not passed over in silence.
        taken.extend((reached.0..run.end().0).map(Position).map(&mut unreadable));
    }
    Ok(taken)
}

/// Firehose's form: digits only, opaque, the same whenever the record is transformed again.
fn record_id(stamp: u64, position: Position) -> String {
    format!("{stamp:020}{:036}000000", position.0)
}

/// Packs what records became into frames: each holds whole records of one tenant and one arrival. Tells of
/// how many records.
fn frames(
    taken: &[Taken],
    transformed: Vec<Vec<Transformed>>,
    now: UnixMillis,
) -> (Vec<Batch>, usize) {
    let mut frames: Vec<Batch> = Vec::new();
    let mut record_count = 0;
    let mut transformed = transformed.into_iter();
    for record in taken {
        // What a record became stays in one frame, so that a torn write leaves all of it or nothing.
        let became = match &record.data {
            None => vec![entry_bytes(record, Content::Damaged)],
            Some(data) => {
                let Some(parts) = transformed.next() else {
                    break;
                };
                assert!(!parts.is_empty(), "a record becomes something");
                entries(record, data, parts, now)
            }
        };
        let bytes: usize = became.iter().map(Vec::len).sum();
        let fits = |frame: &mut Batch| {
            frame.is_of(record.tenant.as_ref(), record.arrival)
                && frame.data_bytes() + bytes <= FRAME_BYTES
        };
        let new = || Batch::new(record.tenant.clone(), record.arrival);
        let mut frame = frames.pop_if(fits).unwrap_or_else(new);
        became.iter().for_each(|entry| frame.push(entry));
        frames.push(frame);
        record_count += 1;
    }
    (frames, record_count)
}

fn entries(record: &Taken, data: &Bytes, parts: Vec<Transformed>, now: UnixMillis) -> Vec<Vec<u8>> {
    let entry = |part: &Transformed| match part {
        Transformed::Part(Part { data, partition_keys }) => {
            let partition_keys = partition_keys.clone();
            entry_bytes(record, Content::Part { partition_keys, data })
        }
        Transformed::Dropped => entry_bytes(record, Content::Dropped),
        Transformed::Failed { raw, failure } => {
            let failure = FailureText::new(failure.clone(), now);
            entry_bytes(record, Content::Failed { failure, raw })
        }
    };
    let entries: Vec<_> = parts.iter().map(entry).collect();
    let bytes: usize = entries.iter().map(|entry| entry.len() + ENTRY_BYTES_AROUND).sum();
    if bytes <= RECORD_BYTES_MAX {
        return entries;
    }
    let failure = Failure {
        error_type: ErrorOutputType::ProcessingFailed,
        code: "Lakehose.RecordTooLarge".to_owned(),
        message: format!("the hooks made more than {RECORD_BYTES_MAX} bytes of the record"),
        attempts: 1,
        lambda_arn: None,
    };
    let failure = FailureText::new(failure, now);
    vec![entry_bytes(record, Content::Failed { failure, raw: data })]
}

fn entry_bytes(record: &Taken, content: Content<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Entry { source: record.position, content }.encode(&mut bytes);
    bytes
}
