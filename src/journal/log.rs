//! The writing end of one stream's journal: the active segment, its growth and its successor.
//!
//! Owns the order of writes that makes a group of frames durable. Runs on a committing thread only.
//! Does not answer anybody: the [`committer`](super::committer) does, by what [`Log::sync`] says.

use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use super::committer::Payload;
use super::frame::{self, Kind, Slot};
use super::group::Frames;
use super::segment::{self, SegmentHeader};
use super::shared::{IndexEntry, Segment, Shared};
use super::window::{KeyedCall, Window};
use crate::clock::Clock;
use crate::disk::{Disk, DiskFile, OpenMode, is_full, is_out_of_files};
use crate::record::Position;

/// How long segments are begun. One group may go beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSizes {
    /// The first segment of a stream is this long, each further one twice as long as the one
    /// before, so that a stream with little to say takes little room.
    pub first_bytes: u64,
    /// No segment is begun longer than this.
    pub max_bytes: u64,
}

impl Default for SegmentSizes {
    fn default() -> Self {
        Self { first_bytes: 1 << 20, max_bytes: 64 << 20 }
    }
}

/// A larger buffer is given back after its group.
const GROUP_BYTES_KEPT: usize = 8 << 20;
/// The name of a used-up segment file that waits to become a segment again; others have numbers.
const SPARE: &str = "spare";

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
    /// Taken for each group, and given back.
    buffer: Vec<u8>,
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
            segment_bytes: start.shared.sizes().first_bytes,
            shared: start.shared,
            window: start.window,
            active: None,
            next: start.next,
            next_sequence: start.next_sequence,
            buffer: Vec::new(),
        }
    }

    /// Begins at `position` when that is later. Nothing may have been written yet.
    pub(super) fn go_on_at(&mut self, position: Position) {
        debug_assert!(self.active.is_none(), "positions of a segment follow each other");
        self.next = self.next.max(position);
    }

    /// Gives back what is kept for a full disk; true when there was something.
    pub(super) fn make_room(&self) -> bool {
        self.disk.make_room()
    }

    /// Writes the frames of `payloads` as one group and tells the first position of each. Nothing
    /// is durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`WriteError::NoRoom`] when nothing of the group is there, also after a power cut, and the
    /// log goes on: its positions are given to others. [`WriteError::Disk`] leaves the log in an
    /// unknown state.
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
            self.begin_segment()?;
        }
        let active = self.active.as_ref().expect("a segment was begun");
        let (salt, start) = (active.salt, active.offset);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.shrink_to(GROUP_BYTES_KEPT);
        let mut frames = Frames::new(buffer, salt, self.next);
        let mut firsts = Vec::with_capacity(payloads.len());
        let mut entries = Vec::with_capacity(payloads.len());
        let mut calls = Vec::new();
        for payload in payloads {
            let first = frames.next();
            firsts.push(first);
            entries.push(IndexEntry { first, offset: start + frames.bytes() as u64 });
            calls.extend(payload.keyed_call(first));
            frames.put(payload);
        }
        let (next, written) = (frames.next(), self.write_at_end(&mut frames.pieces()));
        self.buffer = frames.into_buffer();
        written?;
        let active = self.active.as_mut().expect("a segment was begun");
        active.unsynced.extend(entries);
        active.unsynced_calls.extend(calls);
        self.next = next;
        Ok(firsts)
    }

    /// Writes at the end of the active segment. Where there is no room, what was written all the
    /// same is cut off, durably and before anybody is told: a frame of it that stayed whole would
    /// stand for records that were refused, or behind the frames that are written in its place.
    fn write_at_end(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), WriteError> {
        let active = self.active.as_mut().expect("callers begin a segment");
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        match active.file.write_all_vectored_at(pieces, active.offset) {
            Ok(()) => {
                active.offset += bytes as u64;
                Ok(())
            }
            Err(error) if is_full(&error) => {
                active.file.set_len(active.offset)?;
                active.file.sync()?;
                self.shared.cut(active.sequence, active.offset);
                if error.kind() == ErrorKind::FileTooLarge {
                    // This file never takes more, another one does.
                    self.segment_bytes = active.offset;
                }
                Err(WriteError::NoRoom(error))
            }
            Err(error) => Err(WriteError::Disk(error)),
        }
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
    /// [`WriteError::NoRoom`] when the segment is as it was before, and everything in it durable;
    /// [`WriteError::Disk`] leaves the log in an unknown state.
    pub(super) fn seal(&mut self) -> Result<(), WriteError> {
        let Some(active) = &self.active else {
            return Ok(());
        };
        let salt = active.salt;
        // What the seal stands behind must be durable before it: alone it would prove too much.
        if !active.unsynced.is_empty() {
            self.sync()?;
        }
        let mut seal = Vec::new();
        let slot = Slot { salt, first: self.next, group_offset: 0 };
        frame::put_control(&mut seal, slot, Kind::Seal, &[]);
        self.write_at_end(&mut [IoSlice::new(&seal)])?;
        self.sync()?;
        if let Some(active) = self.active.take() {
            self.shared.seal(active.sequence);
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), WriteError> {
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
        self.shared.begin(Segment { capacity_bytes, ..Segment::begun(&header, file.clone()) });
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

    fn create_file(&self, header: &SegmentHeader) -> Result<Arc<dyn DiskFile>, WriteError> {
        let path = self.directory.join(segment::file_name(header.sequence));
        let temporary = path.with_extension("tmp");
        let created = self.create_file_by(header, &temporary, &path);
        if matches!(created, Err(WriteError::NoRoom(_))) {
            // What stands there takes room, and the next attempt begins with another file.
            let _ = self.disk.remove(&temporary);
        }
        created
    }

    fn create_file_by(
        &self,
        header: &SegmentHeader,
        temporary: &Path,
        path: &Path,
    ) -> Result<Arc<dyn DiskFile>, WriteError> {
        let reused = self.shared.take_spare(|number| {
            let spare = self.directory.join(spare_name(number));
            let file = self.disk.open(&spare, OpenMode::Write)?;
            self.disk.rename(&spare, temporary)?;
            Ok(file)
        });
        let file = match reused.map_err(WriteError::before_sync)? {
            Some(file) => file,
            None => {
                let created = self.disk.open(temporary, OpenMode::Create);
                created.map_err(WriteError::before_sync)?
            }
        };
        header.write(file.as_ref()).map_err(WriteError::before_sync)?;
        file.sync()?;
        self.disk.rename(temporary, path).map_err(WriteError::before_sync)?;
        match self.disk.sync_dir(&self.directory) {
            // The folder could not even be opened.
            Err(error) if is_out_of_files(&error) => Err(WriteError::NoRoom(error)),
            synced => Ok(synced?),
        }?;
        Ok(file)
    }
}

/// The name of the spare with this number.
pub(super) fn spare_name(number: usize) -> String {
    if number == 0 { SPARE.to_owned() } else { format!("{SPARE}-{number}") }
}

/// Whether a file of this name is a spare.
pub(super) fn is_spare(name: &str) -> bool {
    name.starts_with(SPARE)
}

/// Makes the file of a used-up segment the spare with the number `spare`, or removes it.
pub(super) fn retire_file(
    disk: &dyn Disk,
    directory: &Path,
    segment: &Segment,
    spare: Option<usize>,
) -> io::Result<()> {
    let path = directory.join(segment::file_name(segment.sequence));
    match spare {
        Some(number) => disk.rename(&path, &directory.join(spare_name(number))),
        None => disk.remove(&path),
    }
}

/// Removes spare files and what an interrupted start of a segment left.
pub(super) fn remove_leftovers(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    for name in disk.list(directory)? {
        if is_spare(&name) || name.ends_with(".tmp") {
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
    /// The disk has no room, or the process no open files; nothing of the group is there.
    #[error("there is no room to write the journal: {0}")]
    NoRoom(io::Error),
    /// Some of the group may be there: the process has to end and recover. A sync that fails is of
    /// this kind, whatever its reason.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

impl WriteError {
    /// The error of something that may be done again from its beginning.
    fn before_sync(error: io::Error) -> Self {
        if is_full(&error) || is_out_of_files(&error) {
            Self::NoRoom(error)
        } else {
            Self::Disk(error)
        }
    }

    /// Whether the disk is full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::NoRoom(error) if is_full(error))
    }
}

pub(super) fn new_salt() -> u32 {
    Uuid::new_v4().as_fields().0
}

/// A mutex that a panicking thread does not close for the others: the committer reports the panic
/// and the process ends.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
