//! What has arrived in a stretch of a log, sorted by what becomes of it.
//!
//! Owns the look into a log, and the group that each record belongs to. Does not own what is settled
//! already, nor when a batch closes.

use std::collections::BTreeMap;
use std::io;

use super::entry::{Content, Entry};
use super::placing::{Given, Placer};
use crate::journal::{Call, Journal, Outline, Outlined, Seen};
use crate::partition::{FailedKind, Group};
use crate::positions::Positions;
use crate::record::{Position, UnixMillis};

/// Bytes of records that one look takes on when it does not read them.
const OUTLINE_BYTES: usize = 16 << 20;
/// Bytes of records or entries that one look reads.
const WALK_BYTES: usize = 4 << 20;
/// What hooks said of a record that passed none.
const NO_KEYS: &BTreeMap<String, String> = &BTreeMap::new();

/// What the records of a log are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What producers sent.
    Records,
    /// What a transform made of that.
    Entries,
}

/// Records that stand one behind the other and belong to one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// None for records that are yet to be transformed: they go through in their order, whosever
    /// they are.
    pub(super) group: Group,
    pub(super) first: Position,
    pub(super) lengths: Vec<u32>,
    pub(super) arrival: UnixMillis,
}

/// What stands in a stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) runs: Vec<Run>,
    /// Entries of what a transform dropped.
    pub(super) dropped: Positions,
    /// Positions that the disk lost.
    pub(super) lost: Positions,
    /// Of these, entries of records that were lost before they were transformed, and named then.
    pub(super) told: Positions,
    /// Where the stretch ends.
    pub(super) next: Position,
    /// Of entries: how far the transform had come, by the records of the stream's journal.
    pub(super) source_end: Position,
}

/// How a log is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) kind: Kind,
    /// What gives records their groups; none for records that are yet to be transformed.
    pub(super) placer: Option<Placer>,
}

/// Looks at what arrived from `from` on, until about as many bytes as one look takes on, `bytes_max`
/// at the most, or the durable end. Records are read for it only where their place stands in them; what
/// entries are stands in their bytes.
///
/// # Errors
/// What the disk answers.
pub(super) fn look(
    log: &Journal,
    reading: &Reading,
    from: Position,
    bytes_max: usize,
) -> io::Result<Stretch> {
    let end = *log.end().borrow();
    let mut stretch = Stretch::default();
    let placer = reading.placer.as_ref();
    let is_outlined =
        reading.kind == Kind::Records && !placer.is_some_and(|placer| placer.needs_bytes());
    stretch.next = if is_outlined {
        let bytes_max = bytes_max.min(OUTLINE_BYTES);
        log.outline(from, end, bytes_max, &mut |seen| stretch.outline(placer, seen))
    } else {
        log.walk(from, end, bytes_max.min(WALK_BYTES), &mut |seen| match (seen, reading.kind) {
            (Seen::Lost(run), _) => stretch.lost.push_run(run.first, run.count),
            (Seen::Call(call), Kind::Records) => stretch.place(placer, &call),
            (Seen::Call(call), Kind::Entries) => stretch.take(placer, &call),
        })
    }?;
    Ok(stretch)
}

/// How far the transform had come by the last whole entry of a scratch log.
///
/// # Errors
/// What the disk answers.
pub(super) fn last_source_end(scratch: &Journal) -> io::Result<Position> {
    let end = *scratch.end().borrow();
    let mut back = 1;
    loop {
        let from = Position(end.0.saturating_sub(back));
        let mut source_end = Position(0);
        scratch.walk(from, end, usize::MAX, &mut |seen| {
            if let Seen::Call(call) = &seen {
                let entries = call.records().filter_map(|(_, bytes)| Entry::decode(bytes?));
                let ends = entries.map(|entry| entry.source.advanced_by(1));
                source_end = ends.fold(source_end, Position::max);
            }
        })?;
        if source_end > Position(0) || from == Position(0) {
            return Ok(source_end);
        }
        // Damaged, or gone since it was settled: then a checkpoint knows.
        back = back.saturating_mul(16);
    }
}

fn group(placer: Option<&Placer>, given: &Given<'_>) -> Group {
    match placer {
        Some(placer) => placer.group(given),
        None => Group::of(given.tenant.cloned()),
    }
}

impl Stretch {
    /// Leaves out the records from `end` on.
    pub(super) fn cut(&mut self, end: Position) {
        let before = |first: Position, count: u64| end.0.saturating_sub(first.0).min(count);
        self.runs.retain_mut(|run| {
            let count = before(run.first, run.lengths.len() as u64);
            run.lengths.truncate(count as usize);
            count > 0
        });
        let mut lost = Positions::default();
        for run in self.lost.runs() {
            lost.push_run(run.first, before(run.first, run.count));
        }
        self.lost = lost;
        self.next = self.next.min(end);
    }

    fn outline(&mut self, placer: Option<&Placer>, seen: Outlined) {
        match seen {
            Outlined::Lost(run) => self.lost.push_run(run.first, run.count),
            Outlined::Call(Outline { tenant, arrival, first, lengths }) => {
                let given = Given {
                    tenant: tenant.as_ref(),
                    position: first,
                    arrival,
                    bytes: &[],
                    hook_keys: NO_KEYS,
                };
                let group = group(placer, &given);
                self.runs.push(Run { group, first, lengths, arrival });
            }
        }
    }

    fn place(&mut self, placer: Option<&Placer>, call: &Call<'_>) {
        let (tenant, arrival) = (call.tenant.as_ref(), call.arrival);
        for (position, bytes) in call.records() {
            match bytes {
                Some(bytes) => {
                    let hook_keys = NO_KEYS;
                    let given = Given { tenant, position, arrival, bytes, hook_keys };
                    let group = group(placer, &given);
                    self.push(group, position, bytes.len(), call.arrival);
                }
                None => self.lost.push(position),
            }
        }
    }

    fn take(&mut self, placer: Option<&Placer>, call: &Call<'_>) {
        let tenant = call.tenant.as_ref();
        for (position, bytes) in call.records() {
            let Some(entry) = bytes.and_then(Entry::decode) else {
                self.lost.push(position);
                continue;
            };
            self.source_end = self.source_end.max(entry.source.advanced_by(1));
            match entry.content {
                Content::Part { partition_keys, data } => {
                    let (arrival, bytes, hook_keys) = (call.arrival, data, &partition_keys);
                    let given = Given { tenant, position, arrival, bytes, hook_keys };
                    let group = group(placer, &given);
                    self.push(group, position, data.len(), call.arrival);
                }
                Content::Failed { raw, .. } => {
                    let has_slots = placer.is_some_and(Placer::has_slots);
                    let group = if has_slots {
                        Group::failed(call.tenant.clone(), FailedKind::Unplaced)
                    } else {
                        Group::of(call.tenant.clone())
                    };
                    self.push(group, position, raw.len(), call.arrival);
                }
                Content::Dropped => self.dropped.push(position),
                Content::Damaged => {
                    self.lost.push(position);
                    self.told.push(position);
                }
            }
        }
    }

    fn push(&mut self, group: Group, position: Position, length: usize, arrival: UnixMillis) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let fits = |run: &&mut Run| {
            let end = run.first.advanced_by(run.lengths.len() as u64);
            run.group == group && run.arrival == arrival && end == position
        };
        match self.runs.last_mut().filter(fits) {
            Some(run) => run.lengths.push(length),
            None => self.runs.push(Run { group, first: position, lengths: vec![length], arrival }),
        }
    }
}
