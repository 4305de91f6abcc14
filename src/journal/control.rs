//! Control frames and checkpoints as bytes: plans, commits, registrations, and what has come of
//! everything so far.
//!
//! Owns both directions of each encoding. Does not decide what they lead to: that is the
//! pipeline's state.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::OpenError;
use super::frame::{Kind, u32_at, u64_at};
use super::window::{KeyedCall, put_calls, take_calls};
use crate::disk::{Disk, read_file, replace_file};
use crate::plan::{
    CatalogPartition, Horizon, ObjectHeader, Plan, PlanId, PlannedObject, WatchedPartition,
};
use crate::positions::Positions;
use crate::record::Position;

/// What a control frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// These objects will be put, whatever happens.
    Plan(Plan),
    /// Every object of the plan is in its store.
    Commit(PlanId),
    /// The partition is in its catalog.
    Registered(CatalogPartition),
    /// The disk has lost the bytes of these objects of the plan, and they were not put: their
    /// records are damaged.
    Spoiled {
        /// The plan.
        plan: PlanId,
        /// The objects, by their places in it.
        objects: Vec<u32>,
    },
}

impl Control {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Plan(_) => Kind::Plan,
            Self::Commit(_) => Kind::Commit,
            Self::Registered(_) => Kind::Registered,
            Self::Spoiled { .. } => Kind::Spoiled,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Plan(plan) => put_plan(&mut out, plan),
            Self::Commit(id) => out.extend_from_slice(&id.0.to_le_bytes()),
            Self::Registered(partition) => put_json(&mut out, partition),
            Self::Spoiled { plan, objects } => {
                out.extend_from_slice(&plan.0.to_le_bytes());
                objects.iter().for_each(|index| out.extend_from_slice(&index.to_le_bytes()));
            }
        }
        out
    }

    /// Reads the body of a frame whose checksum held; `None` when it says nothing that this program
    /// understands.
    pub(super) fn decode(kind: Kind, mut body: &[u8]) -> Option<Self> {
        match kind {
            Kind::Plan => take_plan(&mut body).map(Self::Plan),
            Kind::Commit => (body.len() == 8).then(|| Self::Commit(PlanId(u64_at(body, 0)))),
            Kind::Registered => take_json(&mut body).map(Self::Registered),
            Kind::Spoiled => {
                let (plan, objects) = body.split_at_checked(8)?;
                let (objects, rest) = objects.as_chunks::<4>();
                let objects = objects.iter().map(|index| u32::from_le_bytes(*index)).collect();
                rest.is_empty().then(|| Self::Spoiled { plan: PlanId(u64_at(plan, 0)), objects })
            }
            Kind::Batch | Kind::Seal => None,
        }
    }
}

/// What has come of the records of a stream, up to some instant.
///
/// The journal's segments hold everything newer; control frames that a checkpoint already reflects
/// may be applied again without effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Records accepted: the position after the last one.
    pub end: Position,
    /// The settled records: planned or damaged.
    pub settled: Positions,
    /// Plans without a commit.
    pub open_plans: Vec<Plan>,
    /// The number of the last plan; every plan up to it is open here or committed.
    pub last_plan: PlanId,
    /// Records in committed objects of rows.
    pub delivered: u64,
    /// Records in committed objects of failures.
    pub failed: u64,
    /// Records that a transform dropped.
    pub dropped: u64,
    /// Records that the disk lost.
    pub damaged: u64,
    /// Records that went on into the scratch log.
    pub transformed: u64,
    /// Records that were accepted before a backup of them was asked for.
    pub left_out: u64,
    /// Of a scratch log: how far the transform had come, by the records of the stream's journal.
    pub source_end: Position,
    /// Partitions of committed objects that no catalog has confirmed.
    pub unregistered: Vec<CatalogPartition>,
    /// Partitions of event time that have committed objects and are not complete.
    pub incomplete: Vec<WatchedPartition>,
    /// Those that have their marker, and of which the webhook is still to be told.
    pub unannounced: Vec<WatchedPartition>,
    /// Up to where they are complete.
    pub horizon: Horizon,
}

#[derive(Serialize, Deserialize)]
struct CheckpointText {
    end: Position,
    last_plan: PlanId,
    delivered: u64,
    failed: u64,
    dropped: u64,
    damaged: u64,
    transformed: u64,
    left_out: u64,
    source_end: Position,
    unregistered: Vec<CatalogPartition>,
    open_plan_count: u64,
    // Files of before it was written say that nothing is covered.
    #[serde(default)]
    covered_before: u64,
    // Only of streams that tell when partitions are complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<WatchedPartition>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unannounced: Vec<WatchedPartition>,
    #[serde(default, skip_serializing_if = "is_unset")]
    horizon: Horizon,
}

fn is_unset(horizon: &Horizon) -> bool {
    *horizon == Horizon::default()
}

const CHECKPOINT_MAGIC: &[u8; 8] = b"LKHCKP01";
pub(super) const CHECKPOINT_FORMAT: u16 = 1;
const CHECKPOINT_HEADER_BYTES: usize = 16;
pub(super) const CHECKPOINT_BYTES_MAX: u64 = 1 << 30;
/// Checkpoints kept: the newest may be damaged.
pub(super) const CHECKPOINTS_KEPT: usize = 2;

/// What stands in a file beside the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// Segments with a lower number were sealed when the checkpoint was taken: all plans that stand in
    /// them are in it, and all calls are in `calls`, or were forgotten. A commit, a registration or
    /// the word that an object is spoiled may be missing, when it came last; it is then made again. No later segment has a lower number.
    pub(super) covered_before: u64,
    /// The retry window.
    pub(super) calls: Vec<KeyedCall>,
}

impl Checkpoint {
    pub(super) fn encode(&self, beside: &Beside) -> Vec<u8> {
        let text = CheckpointText {
            end: self.end,
            last_plan: self.last_plan,
            delivered: self.delivered,
            failed: self.failed,
            dropped: self.dropped,
            damaged: self.damaged,
            transformed: self.transformed,
            left_out: self.left_out,
            source_end: self.source_end,
            unregistered: self.unregistered.clone(),
            open_plan_count: self.open_plans.len() as u64,
            covered_before: beside.covered_before,
            incomplete: self.incomplete.clone(),
            unannounced: self.unannounced.clone(),
            horizon: self.horizon,
        };
        let mut body = Vec::new();
        put_json(&mut body, &text);
        self.settled.encode(&mut body);
        for plan in &self.open_plans {
            put_plan(&mut body, plan);
        }
        put_calls(&mut body, &beside.calls);
        let mut out = Vec::with_capacity(CHECKPOINT_HEADER_BYTES + body.len());
        out.extend_from_slice(CHECKPOINT_MAGIC);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, Beside)> {
        let (header, mut body) = bytes.split_at_checked(CHECKPOINT_HEADER_BYTES)?;
        let whole = &header[..8] == CHECKPOINT_MAGIC
            && u32_at(header, 8) as usize == body.len()
            && u32_at(header, 12) == crc32c::crc32c(body);
        if !whole {
            return None;
        }
        let text: CheckpointText = take_json(&mut body)?;
        let settled = Positions::decode(&mut body).ok()?;
        let plans = (0..text.open_plan_count).map(|_| take_plan(&mut body));
        let checkpoint = Self {
            end: text.end,
            settled,
            open_plans: plans.collect::<Option<_>>()?,
            last_plan: text.last_plan,
            delivered: text.delivered,
            failed: text.failed,
            dropped: text.dropped,
            damaged: text.damaged,
            transformed: text.transformed,
            left_out: text.left_out,
            source_end: text.source_end,
            unregistered: text.unregistered,
            incomplete: text.incomplete,
            unannounced: text.unannounced,
            horizon: text.horizon,
        };
        let calls = take_calls(&mut body)?;
        Some((checkpoint, Beside { covered_before: text.covered_before, calls }))
    }
}

/// The checkpoint files of one stream.
#[derive(Debug)]
pub(super) struct CheckpointFiles {
    directory: PathBuf,
    /// The numbers of the files that are there, ascending.
    numbers: Vec<u64>,
}

/// What the files said.
#[derive(Debug, Default)]
pub(super) struct FoundCheckpoint {
    /// The newest that is whole.
    pub(super) checkpoint: Option<Checkpoint>,
    /// What it carries besides.
    pub(super) beside: Beside,
    /// How many newer ones are not.
    pub(super) damaged: usize,
}

impl CheckpointFiles {
    /// Opens the folder and reads the newest checkpoint that is whole.
    pub(super) fn open(
        disk: &dyn Disk,
        directory: &Path,
    ) -> Result<(Self, FoundCheckpoint), OpenError> {
        let fault = |error| OpenError::Disk { path: directory.to_owned(), error };
        disk.create_dir_all(directory).map_err(fault)?;
        let mut numbers = Vec::new();
        for name in disk.list(directory).map_err(fault)? {
            if let Some(number) = parse_name(&name) {
                numbers.push(number);
            } else if name.ends_with(".tmp") {
                disk.remove(&directory.join(name)).map_err(fault)?;
            }
        }
        numbers.sort_unstable();
        let mut files = Self { directory: directory.to_owned(), numbers };
        let mut found = FoundCheckpoint::default();
        // An older one may have come back with a power cut; segments are gone that it relies on.
        for number in files.numbers.iter().rev().take(CHECKPOINTS_KEPT) {
            let path = files.path(*number);
            // A file that cannot be read is as bad as one that is damaged.
            let bytes = read_file(disk, &path, CHECKPOINT_BYTES_MAX).unwrap_or_default();
            if let Some(format) = newer_format(&bytes) {
                return Err(OpenError::NewerFormat { path, format, known: CHECKPOINT_FORMAT });
            }
            if let Some((checkpoint, beside)) = Checkpoint::decode(&bytes) {
                found.checkpoint = Some(checkpoint);
                found.beside = beside;
                break;
            }
            found.damaged += 1;
        }
        if !files.numbers.is_empty() {
            // What this start goes by must not be gone at the next one.
            disk.sync_dir(directory).map_err(fault)?;
        }
        if found.checkpoint.is_some() {
            let old = files.numbers.len().saturating_sub(CHECKPOINTS_KEPT);
            for number in files.numbers.drain(..old).collect::<Vec<_>>() {
                disk.remove(&files.path(number)).map_err(fault)?;
            }
            // A damaged one is not among the two that are kept.
            let whole = files.numbers.len() - found.damaged;
            for number in files.numbers.split_off(whole) {
                disk.remove(&files.path(number)).map_err(fault)?;
            }
        }
        Ok((files, found))
    }

    /// Makes `checkpoint` and what stands beside it durable, then removes the ones that are no longer
    /// kept.
    pub(super) fn write(
        &mut self,
        disk: &dyn Disk,
        checkpoint: &Checkpoint,
        beside: &Beside,
    ) -> io::Result<()> {
        let number = self.numbers.last().map_or(1, |newest| newest.saturating_add(1));
        let bytes = checkpoint.encode(beside);
        if bytes.len() as u64 > CHECKPOINT_BYTES_MAX {
            // No start would read it, and it would take the place of one that can be read.
            let message = format!("it would have {} bytes, more than a start reads", bytes.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        replace_file(disk, &self.path(number), &bytes)?;
        self.numbers.push(number);
        while self.numbers.len() > CHECKPOINTS_KEPT {
            disk.remove(&self.path(self.numbers[0]))?;
            self.numbers.remove(0);
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(file_name(number))
    }
}

fn file_name(number: u64) -> String {
    format!("{number:016x}.ckpt")
}

pub(super) fn parse_name(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".ckpt")?, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// The format of a checkpoint that a newer program wrote.
pub(super) fn newer_format(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..8)?.strip_prefix(b"LKHCKP")?;
    let format = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (format > CHECKPOINT_FORMAT).then_some(format)
}

#[derive(Serialize, Deserialize)]
struct PlanText {
    id: PlanId,
    source_end: Position,
    objects: Vec<ObjectHeader>,
}

fn put_plan(out: &mut Vec<u8>, plan: &Plan) {
    let objects = plan.objects.iter().map(|object| object.header.clone());
    let (id, source_end) = (plan.id, plan.source_end);
    put_json(out, &PlanText { id, source_end, objects: objects.collect() });
    for positions in plan.settled() {
        positions.encode(out);
    }
}

fn take_plan(bytes: &mut &[u8]) -> Option<Plan> {
    let text: PlanText = take_json(bytes)?;
    let mut objects = Vec::with_capacity(text.objects.len());
    for header in text.objects {
        objects.push(PlannedObject { header, positions: Positions::decode(bytes).ok()? });
    }
    let damaged = Positions::decode(bytes).ok()?;
    Some(Plan { id: text.id, objects, damaged, source_end: text.source_end })
}

/// A length and that many bytes of JSON: readable by a person with a hex viewer, and open to new
/// members.
fn put_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let text = serde_json::to_vec(value).expect("strings and numbers always serialise");
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(&text);
}

fn take_json<T: for<'de> Deserialize<'de>>(bytes: &mut &[u8]) -> Option<T> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let (text, rest) = rest.split_at_checked(u32_at(length, 0) as usize)?;
    *bytes = rest;
    serde_json::from_slice(text).ok()
}
