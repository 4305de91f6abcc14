//! What the writing end and the reading end of a journal share: the list of its segments, as far as
//! they are durable.
//!
//! Owns the visible end of the log. A reader never sees a byte that was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::log::{SegmentSizes, locked};
use super::segment::SegmentHeader;
use crate::disk::{DiskBudget, DiskFile};
use crate::record::Position;

/// Used-up files that wait for reuse: writing over them costs far less than growing new ones, and what
/// is delivered at once was more than one segment of a busy stream.
const SPARES_MAX: usize = 4;
/// One entry of a segment's index stands for at least this many bytes of frames.
const INDEX_STEP_BYTES: u64 = 64 << 10;

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) first: Position,
    pub(super) offset: u64,
}

/// A segment as readers see it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    /// The first position that the segment may hold.
    pub(super) first: Position,
    /// The position after its last durable record.
    pub(super) end: Position,
    /// The offset after its last durable frame.
    pub(super) end_offset: u64,
    pub(super) salt: u32,
    pub(super) sealed: bool,
    /// The length of the file, counted in the budget; a recycled one is longer than its content.
    pub(super) capacity_bytes: u64,
    pub(super) file: Arc<dyn DiskFile>,
    /// Frames at least [`INDEX_STEP_BYTES`] apart, in order, as far as the segment has been read.
    pub(super) index: Vec<IndexEntry>,
}

impl Segment {
    /// A segment of which nothing but the header is known.
    pub(super) fn begun(header: &SegmentHeader, file: Arc<dyn DiskFile>) -> Self {
        Self {
            sequence: header.sequence,
            first: header.first,
            end: header.first,
            end_offset: super::segment::HEADER_BYTES as u64,
            salt: header.salt,
            sealed: false,
            capacity_bytes: 0,
            file,
            index: Vec::new(),
        }
    }

    /// Adds a frame to the index where the last entry is far enough behind.
    pub(super) fn note(&mut self, entry: IndexEntry) {
        let far = |last: &IndexEntry| entry.offset >= last.offset + INDEX_STEP_BYTES;
        if self.index.last().is_none_or(far) {
            self.index.push(entry);
        }
    }

    /// An offset at or before the frame that holds `position`.
    pub(super) fn offset_before(&self, position: Position) -> u64 {
        let after = self.index.partition_point(|entry| entry.first <= position);
        let entry = after.checked_sub(1).map(|index| self.index[index]);
        entry.map_or(super::segment::HEADER_BYTES as u64, |entry| entry.offset)
    }
}

/// The segments of a journal and its durable end.
#[derive(Debug)]
pub(super) struct Shared {
    segments: Mutex<BTreeMap<u64, Segment>>,
    /// No segment from this number on has been begun.
    next_sequence: AtomicU64,
    /// The lengths of used-up files that wait for reuse, by their numbers.
    spares: Mutex<Vec<u64>>,
    end: watch::Sender<Position>,
    budget: Arc<DiskBudget>,
    sizes: SegmentSizes,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.budget.remove(self.bytes());
    }
}

impl Shared {
    pub(super) fn new(
        segments: Vec<Segment>,
        next_sequence: u64,
        end: Position,
        budget: Arc<DiskBudget>,
        sizes: SegmentSizes,
    ) -> Self {
        budget.add(segments.iter().map(|segment| segment.capacity_bytes).sum());
        let numbered = segments.into_iter().map(|segment| (segment.sequence, segment));
        Self {
            segments: Mutex::new(numbered.collect()),
            next_sequence: AtomicU64::new(next_sequence),
            spares: Mutex::new(Vec::new()),
            end: watch::Sender::new(end),
            budget,
            sizes,
        }
    }

    pub(super) fn end(&self) -> watch::Receiver<Position> {
        self.end.subscribe()
    }

    /// Moves the end to `position` when that is later.
    pub(super) fn go_on_at(&self, position: Position) {
        self.end.send_if_modified(|end| std::mem::replace(end, position.max(*end)) < position);
    }

    pub(super) fn begin(&self, segment: Segment) {
        self.budget.add(segment.capacity_bytes);
        // Together: who asks in between would take the segment for one that is sealed and gone.
        let mut segments = locked(&self.segments);
        self.next_sequence.fetch_max(segment.sequence + 1, Ordering::Relaxed);
        segments.insert(segment.sequence, segment);
    }

    pub(super) fn publish(
        &self,
        sequence: u64,
        entries: &[IndexEntry],
        end_offset: u64,
        end: Position,
    ) {
        if let Some(segment) = locked(&self.segments).get_mut(&sequence) {
            for entry in entries {
                segment.note(*entry);
            }
            segment.end = end;
            segment.end_offset = end_offset;
            let grown = end_offset.saturating_sub(segment.capacity_bytes);
            segment.capacity_bytes += grown;
            self.budget.add(grown);
        }
        self.end.send_if_modified(|seen| std::mem::replace(seen, end) != end);
    }

    /// The file has been cut to `length_bytes`, where its durable frames end.
    pub(super) fn cut(&self, sequence: u64, length_bytes: u64) {
        if let Some(segment) = locked(&self.segments).get_mut(&sequence) {
            let less = segment.capacity_bytes.saturating_sub(length_bytes);
            segment.capacity_bytes -= less;
            self.budget.remove(less);
        }
    }

    pub(super) fn seal(&self, sequence: u64) {
        if let Some(segment) = locked(&self.segments).get_mut(&sequence) {
            segment.sealed = true;
        }
    }

    /// The sequence below which every segment is sealed, or gone; never less than it was.
    pub(super) fn first_unsealed(&self) -> u64 {
        let segments = locked(&self.segments);
        // Only the last one may be unsealed.
        let unsealed = segments.values().next_back().filter(|last| !last.sealed);
        let next = || self.next_sequence.load(Ordering::Relaxed);
        unsealed.map_or_else(next, |last| last.sequence)
    }

    /// Takes over what a reader has learned of where frames stand.
    pub(super) fn learn(&self, read: &Segment) {
        if let Some(segment) = locked(&self.segments).get_mut(&read.sequence) {
            let known = segment.index.len();
            read.index.iter().skip(known).for_each(|entry| segment.note(*entry));
        }
    }

    /// The segment that holds `position`, or the first one after it.
    pub(super) fn segment_from(&self, position: Position) -> Option<Segment> {
        let segments = locked(&self.segments);
        segments.values().find(|segment| position < segment.end).cloned()
    }

    /// Sealed segments that `is_used_up` picks.
    pub(super) fn used_up(&self, is_used_up: impl Fn(&Segment) -> bool) -> Vec<Segment> {
        let segments = locked(&self.segments);
        let used_up = segments.values().filter(|segment| segment.sealed && is_used_up(segment));
        used_up.cloned().collect()
    }

    pub(super) fn sizes(&self) -> SegmentSizes {
        self.sizes
    }

    /// The number of the last segment, when there are more than `count`.
    pub(super) fn last_of_more_than(&self, count: usize) -> Option<u64> {
        let segments = locked(&self.segments);
        if segments.len() > count { segments.keys().last().copied() } else { None }
    }

    /// How long a segment may be begun: a sixteenth of the budget and of the file system at the
    /// most, so that what is used up can go piece by piece, and a start finds room for a copy.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        (self.budget.whole_bytes() / 16).clamp(self.sizes.first_bytes, self.sizes.max_bytes)
    }

    /// Whether there is no segment.
    pub(super) fn is_empty(&self) -> bool {
        locked(&self.segments).is_empty()
    }

    /// Bytes on disk: segments and spares.
    pub(super) fn bytes(&self) -> u64 {
        let segments: u64 = locked(&self.segments).values().map(|s| s.capacity_bytes).sum();
        segments + locked(&self.spares).iter().sum::<u64>()
    }

    /// Takes a used-up segment out of the list when `act` has removed its file, or has made it the
    /// spare whose number it is told.
    pub(super) fn retire(
        &self,
        segment: &Segment,
        worth_keeping: bool,
        act: impl FnOnce(Option<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut spares = locked(&self.spares);
        let number = spares.len();
        let keep = worth_keeping && number < SPARES_MAX && !self.budget.is_pressed();
        act(keep.then_some(number))?;
        locked(&self.segments).remove(&segment.sequence);
        if keep {
            spares.push(segment.capacity_bytes);
        } else {
            self.budget.remove(segment.capacity_bytes);
        }
        Ok(())
    }

    /// Runs `reuse` with the number of a spare when there is one; its bytes are counted by the segment
    /// that it becomes.
    pub(super) fn take_spare<T>(
        &self,
        reuse: impl FnOnce(usize) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let mut spares = locked(&self.spares);
        let Some(&bytes) = spares.last() else {
            return Ok(None);
        };
        let reused = reuse(spares.len() - 1)?;
        spares.pop();
        self.budget.remove(bytes);
        Ok(Some(reused))
    }
}
