//! The journal: one append-only log for each delivery stream, on disk before any answer.
//!
//! Owns the bytes of accepted records and of the decisions about them (plans, commits,
//! registrations), their checksums, and the files they lie in. Does not look inside a record, does
//! not know what a plan is good for, and never answers before `fdatasync` has returned.
//!
//! # Files
//!
//! ```text
//! <stream>/journal/<sequence, 16 hex digits>.seg    segments; the last one is being written
//! <stream>/journal/spare, spare-<number>            used-up segment files, waiting for reuse
//! <stream>/checkpoint/<number, 16 hex digits>.ckpt  the last two checkpoints
//! ```
//!
//! # Format 1
//!
//! Little-endian. Frames begin at multiples of 8.
//!
//! ```text
//! segment         header (64) | zeros to 512 | the header again (64) | frames
//!
//! segment header  magic "LKHSEG01" | format u16 | 0 u16 | 0 u32 | instance uuid (16)
//!                 | sequence u64 | first position u64 | created ms i64 | salt u32
//!                 | crc32c of the 60 bytes before u32
//!
//! frame header    magic u32 0x4C4B4652 | crc u32 of bytes 8..48 | payload length u32
//! (48 bytes)      | meta length u32 | crc u32 of the meta bytes | kind u8 | 0 u8 | 0 u16
//!                 | first position u64 | arrival ms i64 | records u32 | group offset u32
//!
//! batch payload   meta: tenant length u8 | tenant | key length u8, 0 or 16 | key of the call
//!                 | for each record: length u32, crc u32
//!                 then the records' bytes, one after another
//! plan, commit,   meta: the whole payload
//! registered
//! spoiled         meta: the plan u64 | the place of each object in it u32
//! seal            no payload; nothing follows in the segment
//! ```
//!
//! Checksums are CRC-32C begun with the segment's salt (the segment header's own is not salted). A
//! record's checksum covers its position (u64) and its bytes, so one record can be read and
//! checked without its neighbours. `group offset` is the distance to the first frame of the group
//! that one sync covered. Kinds: 1 batch, 2 plan, 3 commit, 4 registered, 5 spoiled,
//! 15 seal.
//!
//! # Order of writes
//!
//! group written -> `fdatasync` -> visible to readers -> callers answered. A group that finds no room
//! is cut off again, and the cut synced, before its callers are refused. New segment: header
//! written under another name -> file synced -> renamed -> folder synced -> first group. Checkpoint
//! written -> synced -> renamed -> folder synced -> segments that the checkpoint *before* it no
//! longer needs, nor a second reader that holds them, are removed, so that a damaged newest
//! checkpoint costs nothing. The last segment goes when all others do, so that the numbers of those
//! that are there tell whether any has gone.
//!
//! How damage is judged stands in `recovery`.

mod committer;
mod control;
mod formats;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod group;
mod log;
mod reader;
mod recovery;
mod segment;
mod shared;
mod survey;
mod window;
mod remembered;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use uuid::Uuid;

pub use self::committer::{Committer, SyncTimer};
pub use self::control::{Checkpoint, Control};
pub use self::formats::refuse_newer;
pub use self::log::SegmentSizes;
pub use self::reader::{Call, Outline, Outlined, Seen};
pub use self::remembered::RememberedCalls;
pub use self::survey::{Flaw, FlawKind, Look, Survey};
pub use self::window::{CALL_KEY_BYTES, CallKey};

use self::committer::{Lane, Payload};
use self::control::{Beside, CheckpointFiles, FoundCheckpoint};
use self::log::{Log, locked};
use self::shared::Shared;
use self::window::{Begun, Window};
use crate::clock::Clock;
use crate::disk::{Disk, DiskBudget};
use crate::positions::Positions;
use crate::record::{Position, StreamName, Tenant, UnixMillis};

/// A tenant as a frame keeps it, with its length.
const TENANT_BYTES_MAX: usize = 256;

/// The records of one call, gathered for one frame.
#[derive(Clone, Debug)]
pub struct Batch {
    tenant: Option<Tenant>,
    arrival: UnixMillis,
    call: Option<CallKey>,
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// An empty batch of `tenant`'s records that arrived at `arrival`.
    #[must_use]
    pub fn new(tenant: Option<Tenant>, arrival: UnixMillis) -> Self {
        Self { tenant, arrival, call: None, data: Vec::new(), ends: Vec::new() }
    }

    /// Names the call that the records came with: when it comes again, its records are not stored
    /// again, and the answer is that of the first time.
    #[must_use]
    pub fn with_call(self, call: Option<CallKey>) -> Self {
        Self { call, ..self }
    }

    /// Takes all records out again.
    pub fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
    }

    /// Makes room for `bytes` bytes of records.
    pub fn reserve(&mut self, bytes: usize) {
        self.data.reserve(bytes);
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) {
        self.data.extend_from_slice(record);
        self.ends.push(self.data.len());
    }

    /// Appends one record whose bytes `write` puts at the end of the buffer, and tells its length.
    ///
    /// # Errors
    /// What `write` answers; the batch is then as before.
    pub fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let start = self.data.len();
        if let Err(error) = write(&mut self.data) {
            self.data.truncate(start);
            return Err(error);
        }
        self.ends.push(self.data.len());
        Ok(self.data.len() - start)
    }

    /// Whether the batch is for records of `tenant` that arrived at `arrival`.
    #[must_use]
    pub fn is_of(&self, tenant: Option<&Tenant>, arrival: UnixMillis) -> bool {
        self.tenant.as_ref() == tenant && self.arrival == arrival
    }

    /// How many records the batch holds.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of all records.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.data.len()
    }

    /// An upper bound of the bytes of its frame.
    fn frame_bytes_at_most(&self) -> usize {
        let entries = self.record_count() * frame::ENTRY_BYTES;
        frame::HEADER_BYTES + TENANT_BYTES_MAX + entries + self.data_bytes() + frame::ALIGNMENT
    }

    fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    fn arrival(&self) -> UnixMillis {
        self.arrival
    }

    fn call(&self) -> Option<CallKey> {
        self.call
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    /// The records in their order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.data[start..end])
    }
}

/// Where the records of a call stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first.
    pub first: Position,
    /// How many there are.
    pub count: u64,
    /// Whether they were stored by an earlier call, of which this one is a repetition.
    pub is_repetition: bool,
}

/// Why records were not accepted. Nothing of the call was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// More is waiting for the disk than fits in memory.
    #[error("the queue in front of the disk is full, send again later")]
    QueueFull,
    /// The disk budget has no room until something is delivered.
    #[error("the disk budget is used up, send again when the backlog has been delivered")]
    BudgetUsedUp,
    /// More than a frame of the journal holds.
    #[error("more than 16 MiB cannot be appended at once")]
    TooLarge,
    /// The disk failed; the process is about to end.
    #[error("the journal's disk failed, the service is restarting")]
    Failed,
}

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk did not do what was asked.
    #[error("could not open the journal file path={path}: {error}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A newer program wrote it.
    #[error(
        "the journal has format {format}, this program reads {known}: use the newer lakehose again \
         path={path}"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u16,
        /// The one that this program knows.
        known: u16,
    },
    /// Segments have been removed on the word of checkpoints that cannot be read any more.
    #[error(
        "no checkpoint of the stream can be read, and only they know what has become of the \
         records before the first segment: restore the folder from a copy; to give those records \
         up, move the stream's folder away and start again path={path}"
    )]
    NoCheckpoint {
        /// The folder of the checkpoints.
        path: PathBuf,
    },
    /// The last segment's header is damaged, in both copies.
    #[error(
        "the header of the last segment is damaged in both copies, so that its records cannot be \
         told: restore the file from a copy; to give its records up, move it away and start again \
         path={path}"
    )]
    NoHeader {
        /// The segment.
        path: PathBuf,
    },
}

/// What all journals of a process share.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock that dates segments.
    pub clock: Arc<dyn Clock>,
    /// The committing threads.
    pub committer: Committer,
    /// The part of the disk budget that the journals of one stream share.
    pub budget: Arc<DiskBudget>,
    /// The identity of the data directory.
    pub instance: Uuid,
    /// The calls that all journals remember together.
    pub remembered_calls: RememberedCalls,
    /// How long segments are begun.
    pub segments: SegmentSizes,
}

/// The journal of one stream. Clones are handles to the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    budget: Arc<DiskBudget>,
    lane: Lane,
    shared: Arc<Shared>,
    window: Arc<Window>,
    stamp: [u8; 8],
    keeper: Mutex<Keeper>,
}

/// Writes checkpoints and lets go of what they no longer need.
#[derive(Debug)]
struct Keeper {
    files: CheckpointFiles,
    /// What the last checkpoint of this process had settled, and when it was taken.
    last: Option<(Positions, Mark)>,
    /// The same of the checkpoint before it, on whose word segments go.
    relied_on: Option<(Positions, Mark)>,
    /// What others who read the journal do without, by the number of their hold.
    holds: BTreeMap<u64, Positions>,
    next_hold: u64,
}

/// Keeps the segments of a journal for a second reader of its records, until [`Hold::let_go`]. Dropping
/// it does not: at the end of a process the second reader ends before the last checkpoints of the
/// first, and still needs the records at the next start.
#[derive(Debug)]
pub struct Hold {
    inner: Arc<Inner>,
    number: u64,
}

impl Hold {
    /// Lets go of the segments whose records are all in `settled`, as far as nobody else needs
    /// them.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn release(&self, settled: Positions) -> io::Result<()> {
        let mut keeper = locked(&self.inner.keeper);
        if let Some(held) = keeper.holds.get_mut(&self.number) {
            *held = settled;
        }
        self.inner.retire(&keeper)
    }

    /// Lets go of everything: the second reader has ended for good, and that is durable.
    ///
    /// # Errors
    /// What the disk answers; what is still there then goes with a later checkpoint.
    pub fn let_go(&self) -> io::Result<()> {
        let mut keeper = locked(&self.inner.keeper);
        keeper.holds.remove(&self.number);
        self.inner.retire(&keeper)
    }
}

/// An instant in the life of a journal: segments that were sealed by then.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    sealed_before: u64,
}

/// An opened journal and what its files said.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to append.
    pub journal: Journal,
    /// The newest checkpoint that was whole.
    pub checkpoint: Option<Checkpoint>,
    /// Decisions in the order in which they were made: those that the checkpoint does not know, and
    /// some of those that it does.
    pub controls: Vec<Control>,
    /// Bytes of unfinished writes that were cut from the end; nobody was answered for them.
    pub torn_bytes: u64,
    /// Things that a person should know about the files.
    pub warnings: Vec<String>,
}

impl Journal {
    /// Opens the journal of `stream` in its `directory`, or begins it.
    ///
    /// # Errors
    /// When the disk fails or the files were written by a newer program; nothing has been changed
    /// then.
    pub fn open(
        environment: &Environment,
        stream: &StreamName,
        directory: &Path,
    ) -> Result<Opened, OpenError> {
        let segments_directory = directory.join("journal");
        let fault = |error| OpenError::Disk { path: directory.to_owned(), error };
        let disk = &environment.disk;
        refuse_newer(disk.as_ref(), directory)?;
        disk.create_dir_all(&segments_directory).map_err(fault)?;
        let checkpoints = directory.join("checkpoint");
        let (files, found) = CheckpointFiles::open(disk.as_ref(), &checkpoints)?;
        let FoundCheckpoint { checkpoint, beside, damaged: damaged_checkpoints } = found;
        let Beside { covered_before, calls } = beside;
        let window = Arc::new(Window::new(environment.remembered_calls.clone(), calls));
        let instance = environment.instance;
        let found = recovery::scan(disk, &segments_directory, instance, covered_before, &window)?;
        log::remove_leftovers(disk.as_ref(), &segments_directory).map_err(fault)?;

        let mut warnings = Vec::new();
        if damaged_checkpoints > 0 {
            warnings.push(format!("{damaged_checkpoints} damaged checkpoints were passed over"));
        }
        for name in &found.foreign_files {
            warnings.push(format!("file {name} is not a segment of this instance and is ignored"));
        }
        let begins_at = found.segments.first().map_or(Position(0), |segment| segment.first);
        // Segments go in the order in which they are settled, which may leave others before them.
        let is_nth = |(segment, sequence): (&shared::Segment, u64)| segment.sequence == sequence;
        let knows_all = begins_at == Position(0)
            && !found.segments.is_empty()
            && found.segments.iter().zip(1..).all(is_nth);
        let has_lost_some = damaged_checkpoints > 0 || !found.segments.is_empty();
        if checkpoint.is_none() && has_lost_some && !knows_all {
            return Err(OpenError::NoCheckpoint { path: checkpoints });
        }
        let known_end = checkpoint.as_ref().map_or(Position(0), |checkpoint| checkpoint.end);
        let end = found.end().max(known_end);
        let (budget, sizes) = (environment.budget.clone(), environment.segments);
        let shared = Shared::new(found.segments, found.next_sequence, end, budget, sizes);
        let shared = Arc::new(shared);
        let log = Log::new(log::Start {
            directory: segments_directory.clone(),
            disk: disk.clone(),
            clock: environment.clock.clone(),
            instance: environment.instance,
            shared: shared.clone(),
            window: window.clone(),
            next: end,
            next_sequence: found.next_sequence,
        });
        let hash = crc32c::crc32c(stream.as_str().as_bytes());
        let inner = Inner {
            directory: segments_directory,
            disk: disk.clone(),
            budget: environment.budget.clone(),
            lane: environment.committer.lane(log, hash as usize),
            shared,
            window,
            stamp: stamp_of(environment.instance, stream),
            keeper: Mutex::new(Keeper {
                files,
                last: None,
                relied_on: None,
                holds: BTreeMap::new(),
                next_hold: 0,
            }),
        };
        Ok(Opened {
            journal: Self { inner: Arc::new(inner) },
            checkpoint,
            controls: found.controls,
            torn_bytes: found.torn_bytes,
            warnings,
        })
    }

    /// Makes the records of one call durable and tells their positions. When this returns `Ok`, the
    /// disk has them; dropping the future does not undo anything. A call with a key that is
    /// remembered is not stored again: the answer tells where it was stored, once it is durable.
    ///
    /// # Errors
    /// When nothing of the batch was kept, and why.
    pub async fn append(&self, batch: Batch) -> Result<Appended, AppendError> {
        if batch.frame_bytes_at_most() > frame::PAYLOAD_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let begun = batch.call().map(|key| self.inner.window.begin(key, batch.arrival()));
        let claim = match begun {
            None => None,
            Some(Begun::First(claim)) => Some(claim),
            Some(Begun::Again(appended)) => return Ok(appended),
            Some(Begun::UnderWay(first)) => {
                return first.await.unwrap_or(Err(AppendError::Failed));
            }
            Some(Begun::Crowded) => return Err(AppendError::QueueFull),
        };
        let Some(promise) = self.inner.budget.admit(batch.frame_bytes_at_most() as u64) else {
            if let Some(claim) = claim {
                claim.refuse(AppendError::BudgetUsedUp);
            }
            return Err(AppendError::BudgetUsedUp);
        };
        self.inner.lane.append(batch, claim, promise).await
    }

    /// Makes batches that the service made itself durable, one behind the other; they may use the
    /// reserve of the disk budget. After a power cut the first of them may be there and the last
    /// not.
    ///
    /// # Errors
    /// [`AppendError::BudgetUsedUp`] when the disk had no room, nothing was kept, and a later
    /// attempt may succeed; [`AppendError::TooLarge`] when one of them is; otherwise the process is
    /// about to end.
    pub async fn append_own(&self, batches: Vec<Batch>) -> Result<Appended, AppendError> {
        if batches.iter().any(|batch| batch.frame_bytes_at_most() > frame::PAYLOAD_BYTES_MAX) {
            return Err(AppendError::TooLarge);
        }
        self.inner.lane.append_own(Payload::Batches(batches)).await
    }

    /// Makes a decision durable.
    ///
    /// # Errors
    /// [`AppendError::BudgetUsedUp`] when the disk had no room and a later attempt may succeed;
    /// otherwise the process is about to end.
    pub async fn append_control(&self, control: &Control) -> Result<(), AppendError> {
        let payload = Payload::control(control);
        if payload.frame_bytes_at_most() > frame::PAYLOAD_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        self.inner.lane.append_own(payload).await.map(|_| ())
    }

    /// Ends the active segment, so that the next start finds a clean end.
    ///
    /// # Errors
    /// [`AppendError::BudgetUsedUp`] when the disk had no room and a later attempt may succeed;
    /// otherwise the process is about to end.
    pub async fn seal(&self) -> Result<(), AppendError> {
        self.inner.lane.append_own(Payload::Seal).await.map(|_| ())
    }

    /// The position after the last durable record, as it moves.
    #[must_use]
    pub fn end(&self) -> watch::Receiver<Position> {
        self.inner.shared.end()
    }

    /// Goes on at `position` when that is later than the end: others know of the records before it,
    /// which this journal has lost, and no position may be given twice. To be asked for before
    /// anything is read or appended. Tells how many positions are missing.
    #[must_use]
    pub fn go_on_at(&self, position: Position) -> u64 {
        let end = *self.inner.shared.end().borrow();
        self.inner.lane.go_on_at(position);
        self.inner.shared.go_on_at(position);
        position.0.saturating_sub(end.0)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.shared.bytes()
    }

    /// Calls that the window had to let go of before their time, since the start.
    #[must_use]
    pub fn forgotten_calls(&self) -> u64 {
        self.inner.window.forgotten()
    }

    /// Marks the records of this journal among those of other streams and instances.
    #[must_use]
    pub fn stamp(&self) -> [u8; 8] {
        self.inner.stamp
    }

    /// Marks the present instant, for [`checkpoint`](Self::checkpoint).
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { sealed_before: self.inner.shared.first_unsealed() }
    }

    /// How many segments have been sealed since `mark`: what a start would have to skim, were `mark`
    /// that of the last checkpoint.
    #[must_use]
    pub fn sealed_since(&self, mark: Mark) -> u64 {
        self.inner.shared.first_unsealed().saturating_sub(mark.sealed_before)
    }

    /// Makes a checkpoint durable and removes the segments that the one before it no longer needs:
    /// those that were sealed and wholly settled when it was taken. `mark` is the instant at which
    /// `checkpoint` was taken; every plan that was durable by then must be in it.
    ///
    /// # Errors
    /// What the disk answers; the checkpoint before is then still there, and so is every segment.
    pub fn checkpoint(&self, checkpoint: &Checkpoint, mark: Mark) -> io::Result<()> {
        let inner = &self.inner;
        let mut keeper = locked(&inner.keeper);
        // The window may be newer than the checkpoint: every call in it is durable. It is never older:
        // calls are in it before the segment that holds them is sealed.
        let calls = inner.window.calls();
        let beside = Beside { covered_before: mark.sealed_before, calls };
        keeper.files.write(inner.disk.as_ref(), checkpoint, &beside)?;
        // The newest file may turn out damaged: only the one before it is relied on.
        let newest = Some((checkpoint.settled.clone(), mark));
        keeper.relied_on = std::mem::replace(&mut keeper.last, newest);
        inner.retire(&keeper)
    }

    /// Keeps all segments for a second reader of the records, until it lets go of them.
    #[must_use]
    pub fn hold(&self) -> Hold {
        let mut keeper = locked(&self.inner.keeper);
        let number = keeper.next_hold;
        keeper.next_hold += 1;
        keeper.holds.insert(number, Positions::default());
        Hold { inner: self.inner.clone(), number }
    }
}

impl Inner {
    /// Removes the segments that nobody needs.
    fn retire(&self, keeper: &Keeper) -> io::Result<()> {
        let Some((settled, mark)) = &keeper.relied_on else {
            return Ok(());
        };
        let mut used_up = self.shared.used_up(|segment| {
            let is_done = |settled: &Positions| settled.contains_range(segment.first, segment.end);
            segment.sequence < mark.sealed_before
                && is_done(settled)
                && keeper.holds.values().all(is_done)
        });
        if let Some(last) = self.shared.last_of_more_than(used_up.len()) {
            // As long as any is there, the number of the last tells how many have gone.
            used_up.retain(|segment| segment.sequence != last);
        }
        for segment in &used_up {
            let worth_keeping = log::is_worth_keeping(segment, self.shared.segment_bytes_max());
            self.shared.retire(segment, worth_keeping, |spare| {
                log::retire_file(self.disk.as_ref(), &self.directory, segment, spare)
            })?;
        }
        if !used_up.is_empty() {
            // Without it a recycled file could come back under its old name too.
            self.disk.sync_dir(&self.directory)?;
        }
        if self.shared.is_empty() || self.budget.is_pressed() {
            // A stream without records keeps no files for the next ones.
            let remove = |number| self.disk.remove(&self.directory.join(log::spare_name(number)));
            while self.shared.take_spare(remove)?.is_some() {}
        }
        Ok(())
    }
}

/// The stamp of the journals of a stream of an instance, which footers and record ids bear.
#[must_use]
pub fn stamp_of(instance: Uuid, stream: &StreamName) -> [u8; 8] {
    let mut stamp = [0; 8];
    stamp[..4].copy_from_slice(&instance.as_bytes()[..4]);
    stamp[4..].copy_from_slice(&crc32c::crc32c(stream.as_str().as_bytes()).to_le_bytes());
    stamp
}

/// The offset and the first position of each batch of a whole segment.
#[cfg(test)]
pub(crate) fn batch_frames_for_test(bytes: &[u8]) -> Vec<(usize, Position)> {
    let salt = frame::u32_at(bytes, 56);
    let (mut offset, mut found) = (segment::HEADER_BYTES, Vec::new());
    while let Some(header) = bytes.get(offset..).and_then(|b| frame::Header::decode(b, salt)) {
        if header.count > 0 {
            found.push((offset, header.first));
        }
        offset += header.frame_bytes();
    }
    found
}

#[cfg(test)]
impl Journal {
    /// A journal on a disk in memory.
    pub(crate) fn for_test(stream: &str) -> Self {
        let environment = tests::environment(&crate::disk::simulated::SimulatedDisk::default());
        let stream = StreamName::new(stream).expect("a name");
        let opened = Self::open(&environment, &stream, Path::new("/data/streams/test"));
        opened.expect("the journal opens").journal
    }
}
