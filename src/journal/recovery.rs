//! What a journal's files say at the start of the program.
//!
//! Owns the judgement of damage:
//!
//! - In the last segment, when it has no seal, the first frame that is not whole ends the log,
//!   unless a later frame belongs to a later group. A frame carries the distance to its group's
//!   start, and a group is only begun after the one before was synced: such a frame proves that
//!   the broken one had been durable. Without it the broken frame is a *torn tail*, of which
//!   nobody was told; it is cut and counted.
//! - Everywhere else a frame that is not whole is *damage*: the way is picked up at the next whole
//!   frame, and the positions in between are lost; readers tell which.
//! - A single record whose checksum fails inside a whole frame is found when it is read.
//!
//! So a start reads no more than it must know before records are accepted. Segments that were sealed
//! when the checkpoint was taken have nothing to say that it does not know: of them only the headers
//! are read, and each ends where the next one begins. Later ones are *skimmed*: headers of frames,
//! decisions and keys of calls are read, the bytes of records are passed over. Only the last one is
//! read in full, since it may have no seal, and its length is bounded. Damage in what is not read is
//! found by the readers, by the same judgement, when they come to it.
//!
//! The last segment is never written to again: after a failed sync the page cache may show bytes
//! that the disk does not have. Its whole frames are copied into a new file, which is synced and
//! takes its place, sealed; what a start takes for true is durable when it goes on, so that no
//! later start can take less for true. Nothing here guesses: a bit that rots in the very last group of a
//! process that was killed looks like a torn write and is treated as one.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::control::Control;
use super::frame::{self, BatchView, Header, Kind, Slot};
use super::log::new_salt;
use super::segment::{self, Frames, HeaderError, SegmentHeader};
use super::shared::{IndexEntry, Segment};
use super::window::{KeyedCall, Window};
use super::{Batch, OpenError};
use crate::disk::{Disk, DiskFile, OpenMode, read_up_to, with_room};
use crate::record::Position;

/// Everything that the segments of a stream say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) segments: Vec<Segment>,
    pub(super) controls: Vec<Control>,
    /// Bytes of frames that were cut from the end.
    pub(super) torn_bytes: u64,
    /// Files named like segments that are none of this instance's.
    pub(super) foreign_files: Vec<String>,
    pub(super) next_sequence: u64,
}

/// Finds out what the segments in `directory` say that the checkpoint does not know, which covers
/// those with a number before `covered_before`, and replaces an unsealed last one by a sealed copy.
/// Calls with a key are told to `window`.
pub(super) fn scan(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    instance: Uuid,
    covered_before: u64,
    window: &Window,
) -> Result<Found, OpenError> {
    let fault = |error| OpenError::Disk { path: directory.to_owned(), error };
    let names = disk.list(directory).map_err(fault)?;
    let mut sequences: Vec<_> = names.iter().filter_map(|n| segment::parse_file_name(n)).collect();
    sequences.sort_unstable();
    let mut found = Found {
        // A number that the checkpoint covers is not given again, though its segment has gone.
        next_sequence: sequences
            .last()
            .map_or(1, |last| last.saturating_add(1))
            .max(covered_before),
        ..Found::default()
    };
    let mut ours = Vec::new();
    let mut headless = None;
    for sequence in sequences {
        let name = segment::file_name(sequence);
        let path = directory.join(&name);
        let fault = |error| OpenError::Disk { path: path.clone(), error };
        let file = disk.open(&path, OpenMode::Read).map_err(fault)?;
        match SegmentHeader::read(file.as_ref()).map_err(fault)? {
            Ok(header) if header.instance == instance && header.sequence == sequence => {
                // A later segment tells where a headless one ended.
                headless = None;
                ours.push((header, file, path));
            }
            Ok(_) => found.foreign_files.push(name),
            Err(HeaderError::Damaged) => {
                found.foreign_files.push(name);
                headless = Some(path);
            }
            Err(HeaderError::Newer(format)) => {
                return Err(OpenError::NewerFormat { path, format, known: segment::FORMAT });
            }
        }
    }
    if let Some(path) = headless {
        return Err(OpenError::NoHeader { path });
    }
    let mut ours = ours.into_iter().peekable();
    while let Some((header, file, path)) = ours.next() {
        let fault = |error| OpenError::Disk { path: path.clone(), error };
        let next = ours.peek().map(|(next, ..)| next);
        if let Some(next) = next
            && header.sequence < covered_before
            && header.is_followed_by(next)
        {
            found.segments.push(unread(&header, file, next.first).map_err(fault)?);
            continue;
        }
        let is_last = next.is_none();
        let mut segment =
            SegmentScan::new(file, &header, window, is_last).run(&mut found).map_err(fault)?;
        if is_last && !segment.sealed {
            let copy = || rewrite(disk, directory, &header, &segment);
            let copied = with_room(disk.as_ref(), &temporary_of(&path), copy);
            segment = copied.map_err(fault)?;
        } else if is_last {
            // It may be the copy of a start that ended before its name was durable, or a segment
            // whose process ended before its seal was. What stands before a seal is durable.
            segment.file.sync().and_then(|()| disk.sync_dir(directory)).map_err(fault)?;
        }
        segment.sealed = true;
        found.segments.push(segment);
    }
    Ok(found)
}

impl Found {
    /// The position after the last one found.
    pub(super) fn end(&self) -> Position {
        // Not of the last alone: an older file may have been put behind it.
        self.segments.iter().map(|segment| segment.end).max().unwrap_or_default()
    }
}

/// A sealed segment of which nothing is known but where it begins and ends.
fn unread(header: &SegmentHeader, file: Arc<dyn DiskFile>, end: Position) -> io::Result<Segment> {
    let length = file.len_bytes()?;
    let segment = Segment::begun(header, file);
    Ok(Segment { end, end_offset: length, capacity_bytes: length, sealed: true, ..segment })
}

/// The way through one segment.
pub(super) struct SegmentScan<'a> {
    frames: Frames,
    file: Arc<dyn DiskFile>,
    header: &'a SegmentHeader,
    window: &'a Window,
    /// Whether the segment is read in full; otherwise it is skimmed.
    may_be_torn: bool,
    offset: u64,
    segment: Segment,
}

impl<'a> SegmentScan<'a> {
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        header: &'a SegmentHeader,
        window: &'a Window,
        may_be_torn: bool,
    ) -> Self {
        let segment = Segment::begun(header, file.clone());
        Self {
            frames: Frames::new(file.clone(), header.salt, 0),
            file,
            header,
            window,
            may_be_torn,
            offset: segment::HEADER_BYTES as u64,
            segment,
        }
    }

    pub(super) fn run(&mut self, found: &mut Found) -> io::Result<Segment> {
        let length = self.file.len_bytes()?;
        self.frames = Frames::new(self.file.clone(), self.header.salt, length);
        self.segment.capacity_bytes = length;
        while let Some(header) = self.next_frame(length, found)? {
            let end = header.end();
            if header.first < self.segment.end {
                // A position that was seen already cannot come again.
                self.offset += header.frame_bytes() as u64;
                continue;
            }
            self.take(&header, found)?;
            if !self.may_be_torn {
                self.frames.pass(&header);
            }
            self.segment.end = end;
            self.offset += header.frame_bytes() as u64;
            self.segment.end_offset = self.offset;
            if header.kind == Kind::Seal {
                self.segment.sealed = true;
                break;
            }
        }
        Ok(self.segment.clone())
    }

    /// The frame at the present offset or, past damage, at the next one; `None` at the end.
    fn next_frame(&mut self, length: u64, found: &mut Found) -> io::Result<Option<Header>> {
        let here = if self.may_be_torn {
            self.frames.at(self.offset)?
        } else {
            self.frames.header(self.offset)?
        };
        if let Some(header) = here
            && (!self.may_be_torn || self.is_whole(&header)?)
        {
            return Ok(Some(header));
        }
        let broken_at = self.offset;
        let mut from = broken_at + frame::ALIGNMENT as u64;
        let mut next = None;
        while let Some((offset, header)) = self.frames.find(from)? {
            let (next_offset, next) = *next.get_or_insert((offset, header));
            let group_start = offset.saturating_sub(u64::from(header.group_offset));
            if !self.may_be_torn || group_start > broken_at {
                // The broken frame had been durable. What of it is whole still counts, and so do
                // the others of its group.
                if here.is_none() {
                    self.offset = next_offset;
                }
                return Ok(Some(here.unwrap_or(next)));
            }
            from = offset + frame::ALIGNMENT as u64;
        }
        if let Some(header) = here {
            found.torn_bytes += header.frame_bytes() as u64;
        } else if self.may_be_torn {
            found.torn_bytes += self.unexplained_bytes(length)?;
        }
        Ok(None)
    }

    fn is_whole(&mut self, header: &Header) -> io::Result<bool> {
        if header.kind != Kind::Batch {
            return Ok(true);
        }
        let salt = self.header.salt;
        let payload = self.frames.payload(self.offset, header)?;
        let view = BatchView::decode(header, payload, salt);
        Ok(view.is_some_and(|view| view.records().all(|(_, record)| record.is_some())))
    }

    /// Bytes after the last frame when they begin like a frame of this segment; old bytes of a
    /// recycled file do not count.
    fn unexplained_bytes(&mut self, length: u64) -> io::Result<u64> {
        let mut front = [0; frame::HEADER_BYTES];
        let read = read_up_to(self.file.as_ref(), &mut front, self.offset)?;
        let is_frame_like = if read < front.len() {
            // No header fits in: a file that was cut there, or was never written further.
            let magic = frame::MAGIC.to_le_bytes();
            read > 0 && front[..read.min(magic.len())] == magic[..read.min(magic.len())]
        } else {
            Header::decode(&front, self.header.salt).is_some()
        };
        Ok(if is_frame_like { length - self.offset } else { 0 })
    }

    fn take(&mut self, header: &Header, found: &mut Found) -> io::Result<()> {
        self.segment.note(IndexEntry { first: header.first, offset: self.offset });
        match header.kind {
            Kind::Batch => return self.learn_call(header),
            Kind::Seal => return Ok(()),
            Kind::Plan | Kind::Commit | Kind::Registered | Kind::Spoiled => {}
        }
        let is_whole = self.frames.has_whole_meta(self.offset, header)?;
        let payload = self.frames.payload(self.offset, header)?;
        match Control::decode(header.kind, payload).filter(|_| is_whole) {
            Some(control) => found.controls.push(control),
            None => tracing::error!(
                kind = ?header.kind,
                segment = self.header.sequence,
                offset = self.offset,
                "a control frame of the journal is damaged or not understood, and is passed over"
            ),
        }
        Ok(())
    }

    fn learn_call(&mut self, header: &Header) -> io::Result<()> {
        // Of a call whose records cannot be told nothing is remembered: it may come again.
        if let Some(key) = frame::call_of(self.frames.front(self.offset, header)?)
            && self.frames.has_whole_meta(self.offset, header)?
        {
            let Header { first, count, arrival, .. } = *header;
            self.window.learn(KeyedCall { key, first, count, arrival });
        }
        Ok(())
    }
}

/// Where the copy of a segment is written.
fn temporary_of(segment: &Path) -> PathBuf {
    segment.with_extension("tmp")
}

/// Copies the whole frames of an unsealed segment into a sealed file that takes its name.
fn rewrite(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    header: &SegmentHeader,
    found: &Segment,
) -> io::Result<Segment> {
    let path = directory.join(segment::file_name(header.sequence));
    let temporary = temporary_of(&path);
    let header = SegmentHeader { salt: new_salt(), ..*header };
    // After a power cut the name may be a second one of the very file that is to be copied.
    match disk.remove(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&temporary, OpenMode::Create)?;
    header.write(file.as_ref())?;
    let mut copy = Segment {
        salt: header.salt,
        end: header.first,
        end_offset: segment::HEADER_BYTES as u64,
        file: file.clone(),
        index: Vec::new(),
        ..found.clone()
    };
    let mut frames = Frames::new(found.file.clone(), found.salt, found.end_offset);
    let mut offset = segment::HEADER_BYTES as u64;
    let mut out = Vec::new();
    while let Some((at, frame_header)) = frames.find(offset)? {
        offset = at + frame_header.frame_bytes() as u64;
        out.clear();
        let payload = frames.payload(at, &frame_header)?;
        let slot = Slot { salt: header.salt, first: frame_header.first, group_offset: 0 };
        put_copy(&mut out, slot, &frame_header, payload, found.salt);
        // A frame of which nothing is whole keeps its positions all the same.
        copy.end = frame_header.end();
        if out.is_empty() {
            continue;
        }
        copy.note(IndexEntry { first: frame_header.first, offset: copy.end_offset });
        file.write_all_at(&out, copy.end_offset)?;
        copy.end_offset += out.len() as u64;
    }
    out.clear();
    let slot = Slot { salt: header.salt, first: copy.end, group_offset: 0 };
    frame::put_control(&mut out, slot, Kind::Seal, &[]);
    file.write_all_at(&out, copy.end_offset)?;
    copy.end_offset += out.len() as u64;
    file.sync()?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(directory)?;
    copy.capacity_bytes = copy.end_offset;
    Ok(copy)
}

/// Writes a frame again under another salt. Of a batch with damaged records, the whole ones before
/// and after each damaged one become batches of their own, so that no damage is sealed as sound.
fn put_copy(out: &mut Vec<u8>, slot: Slot, header: &Header, payload: &[u8], salt: u32) {
    if header.kind != Kind::Batch {
        frame::put_control(out, slot, header.kind, payload);
        return;
    }
    let Some(view) = BatchView::decode(header, payload, salt) else {
        return;
    };
    let new_batch = || Batch::new(view.meta.tenant.clone(), header.arrival);
    // The parts of a damaged call do not answer for it.
    let is_whole = view.records().all(|(_, record)| record.is_some());
    let mut batch = new_batch().with_call(view.meta.call.filter(|_| is_whole));
    let mut first = header.first;
    let mut put = |batch: &Batch, first| {
        if batch.record_count() > 0 {
            frame::put_batch(out, Slot { first, ..slot }, batch);
        }
    };
    for (position, record) in view.records() {
        if let Some(record) = record {
            batch.push(record);
        } else {
            put(&batch, first);
            batch = new_batch();
            first = position.advanced_by(1);
        }
    }
    put(&batch, first);
}
