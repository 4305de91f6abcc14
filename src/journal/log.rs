//! The writing end of one stream's journal: the active segment, its growth and its successor.
//!
//! Owns the order of writes that makes a group of frames durable. Runs on a committing thread only.
//! Does not answer anybody: the [`committer`](super::committer) does, by what [`Log::sync`] says.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use super::committer::Payload;
use super::frame::{self, Kind, Slot};
use super::segment::{self, SegmentHeader};
use super::shared::{IndexEntry, Segment, Shared};
use super::window::{KeyedCall, Window};
use crate::clock::Clock;
use crate::disk::{Disk, DiskFile, OpenMode, is_out_of_files};
use crate::record::Position;

/// The first segment of a stream is this long, each further one twice as long as the one before,
/// so that a stream with little to say takes little room.
pub(super) const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// No segment is begun longer than this; one group may go beyond it.
pub(super) const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// A larger buffer is given back after its group.
const GROUP_BYTES_KEPT: usize = 8 << 20;
/// The name of a used-up segment file that waits to become a segment again. Writing over it costs
/// a sync far less than growing a new file does.
pub(super) const SPARE: &str = "spare";

/// The writing end of a journal.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    instance: Uuid,
    shared: Arc<Shared>,
    window: Arc<Window>,
    active: Option<Active>,
    next: Position,
    next_sequence: u64,
    segment_bytes: u64,
    group: Vec<u8>,
}

#[derive(Debug)]
struct Active {
    file: Arc<dyn DiskFile>,
    sequence: u64,
    salt: u32,
    offset: u64,
    /// Written, not yet synced.
    unsynced: Vec<IndexEntry>,
    /// Calls with a key among them.
    unsynced_calls: Vec<KeyedCall>,
}

/// Where a log begins to write.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) directory: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) instance: Uuid,
    pub(super) shared: Arc<Shared>,
    pub(super) window: Arc<Window>,
    pub(super) next: Position,
    pub(super) next_sequence: u64,
}

impl Log {
    pub(super) fn new(start: Start) -> Self {
        Self {
            directory: start.directory,
            disk: start.disk,
            clock: start.clock,
            instance: start.instance,
            shared: start.shared,
            window: start.window,
            active: None,
            next: start.next,
            next_sequence: start.next_sequence,
            segment_bytes: SEGMENT_BYTES_MIN,
            group: Vec::new(),
        }
    }

    /// Begins at `position` when that is later. Nothing may have been written yet.
    pub(super) fn go_on_at(&mut self, position: Position) {
        debug_assert!(self.active.is_none(), "positions of a segment follow each other");
        self.next = self.next.max(position);
    }

    /// Writes the frames of `payloads` as one group and tells the first position of each. Nothing
    /// is durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`WriteError::NoRoom`] when no new segment could be begun: nothing was written and the log
    /// goes on. [`WriteError::Disk`] leaves the log in an unknown state.
    pub(super) fn write_group(
        &mut self,
        payloads: &[&Payload],
    ) -> Result<Vec<Position>, WriteError> {
        let wanted: usize = payloads.iter().map(|payload| payload.frame_bytes_at_most()).sum();
        let full = |active: &Active| active.offset + wanted as u64 > self.segment_bytes;
        if self.active.as_ref().is_some_and(full) {
            self.seal()?;
            self.segment_bytes = (self.segment_bytes * 2).min(self.shared.segment_bytes_max());
        }
        if self.active.is_none() {
            if payloads.iter().all(|payload| matches!(payload, Payload::Seal)) {
                return Ok(vec![self.next; payloads.len()]);
            }
            self.begin_segment().map_err(|error| match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => WriteError::NoRoom(error),
                _ if is_out_of_files(&error) => WriteError::NoRoom(error),
                _ => WriteError::Disk(error),
            })?;
        }
        let active = self.active.as_mut().expect("a segment was begun");
        self.group.clear();
        self.group.shrink_to(GROUP_BYTES_KEPT);
        let mut firsts = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let group_offset = self.group.len();
            let slot = Slot { salt: active.salt, first: self.next, group_offset };
            payload.put_frames(&mut self.group, slot);
            firsts.push(self.next);
            let offset = active.offset + group_offset as u64;
            let count = payload.record_count();
            active.unsynced.push(IndexEntry { first: self.next, offset });
            active.unsynced_calls.extend(payload.keyed_call(self.next));
            self.next = self.next.advanced_by(count);
        }
        active.file.write_all_at(&self.group, active.offset)?;
        active.offset += self.group.len() as u64;
        Ok(firsts)
    }

    /// Makes everything written so far durable, remembered, and visible to readers.
    ///
    /// # Errors
    /// What the disk answers; the file must not be used again.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        active.file.sync()?;
        self.window.durable(active.unsynced_calls.drain(..));
        let entries = std::mem::take(&mut active.unsynced);
        self.shared.publish(active.sequence, &entries, active.offset, self.next);
        Ok(())
    }

    /// Ends the active segment with a seal, durably.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        if self.active.is_none() {
            return Ok(());
        }
        // What the seal stands behind must be durable before it: alone it would prove too much.
        self.sync()?;
        let active = self.active.as_mut().expect("it was active above");
        let mut seal = Vec::new();
        let slot = Slot { salt: active.salt, first: self.next, group_offset: 0 };
        frame::put_control(&mut seal, slot, Kind::Seal, &[]);
        active.file.write_all_at(&seal, active.offset)?;
        self.sync()?;
        if let Some(active) = self.active.take() {
            self.shared.seal(active.sequence);
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let header = SegmentHeader {
            instance: self.instance,
            sequence: self.next_sequence,
            first: self.next,
            created: self.clock.now(),
            salt: new_salt(),
        };
        let file = self.create_file(&header)?;
        self.next_sequence += 1;
        let capacity_bytes = file.len_bytes()?;
        self.shared.begin(Segment {
            sequence: header.sequence,
            first: header.first,
            end: header.first,
            end_offset: segment::HEADER_BYTES as u64,
            salt: header.salt,
            sealed: false,
            capacity_bytes,
            file: file.clone(),
            index: Vec::new(),
        });
        self.active = Some(Active {
            file,
            sequence: header.sequence,
            salt: header.salt,
            offset: segment::HEADER_BYTES as u64,
            unsynced: Vec::new(),
            unsynced_calls: Vec::new(),
        });
        Ok(())
    }

    fn create_file(&self, header: &SegmentHeader) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.directory.join(segment::file_name(header.sequence));
        let temporary = path.with_extension("tmp");
        let reused = self.shared.take_spare(|| {
            self.disk.rename(&self.directory.join(SPARE), &temporary)?;
            self.disk.open(&temporary, OpenMode::Write)
        })?;
        let file = match reused {
            Some(file) => file,
            None => self.disk.open(&temporary, OpenMode::Create)?,
        };
        header.write(file.as_ref())?;
        file.sync()?;
        self.disk.rename(&temporary, &path)?;
        self.disk.sync_dir(&self.directory)?;
        Ok(file)
    }
}

/// Makes the file of a used-up segment the spare when `keep` says so, and removes it otherwise.
pub(super) fn retire_file(
    disk: &dyn Disk,
    directory: &Path,
    segment: &Segment,
    keep: bool,
) -> io::Result<()> {
    let path = directory.join(segment::file_name(segment.sequence));
    if keep { disk.rename(&path, &directory.join(SPARE)) } else { disk.remove(&path) }
}

/// Removes the spare file and what an interrupted start of a segment left.
pub(super) fn remove_leftovers(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    for name in disk.list(directory)? {
        if name == SPARE || name.ends_with(".tmp") {
            disk.remove(&directory.join(name))?;
        }
    }
    Ok(())
}

/// Whether the file of a used-up segment is worth keeping.
pub(super) fn is_worth_keeping(segment: &Segment, segment_bytes_max: u64) -> bool {
    segment.capacity_bytes >= segment_bytes_max / 2
}

/// Why a group was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// No new segment could be begun, for want of room or of open files; nothing was written.
    #[error("there is no room for a new journal segment: {0}")]
    NoRoom(io::Error),
    /// Some of the group may have been written, even when the disk was only full: the process has
    /// to end and recover.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

pub(super) fn new_salt() -> u32 {
    Uuid::new_v4().as_fields().0
}

/// A mutex that a panicking thread does not close for the others: the committer reports the panic
/// and the process ends.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
