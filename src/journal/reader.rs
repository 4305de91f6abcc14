//! The reading end of a journal: what has arrived, and the bytes of chosen records.
//!
//! Owns the walk over durable frames in the order of positions. Reads block: call them where
//! blocking is allowed. A damaged record is told as lost, it never ends the walk.

use std::io;

use super::Journal;
use super::frame::{BatchMeta, BatchView, Header, Kind};
use super::segment::Frames;
use super::shared::{IndexEntry, Segment};
use crate::positions::{Positions, Run};
use crate::record::{Position, Record, Tenant, UnixMillis};

/// What stands at some place of the journal.
#[derive(Debug)]
pub enum Seen<'a> {
    /// The records of one call, or the rest of them.
    Call(Call<'a>),
    /// Positions that no whole frame holds.
    Lost(Run),
}

/// The records of one call.
#[derive(Debug)]
pub struct Call<'a> {
    /// Whose they are.
    pub tenant: Option<Tenant>,
    /// When they arrived.
    pub arrival: UnixMillis,
    view: BatchView<'a>,
    /// Records at the front that were not asked for.
    skipped: u64,
    first: Position,
}

impl Call<'_> {
    /// The position of the first.
    #[must_use]
    pub fn first(&self) -> Position {
        self.first.advanced_by(self.skipped)
    }

    /// The length of each in bytes.
    pub fn lengths(&self) -> impl Iterator<Item = u32> {
        self.view.meta.lengths().skip(self.skipped as usize)
    }

    /// Each record with its position; without its bytes when they are damaged.
    pub fn records(&self) -> impl Iterator<Item = (Position, Option<&[u8]>)> {
        self.view.records().skip(self.skipped as usize)
    }
}

/// What stands at some place of the journal, without the bytes of records.
#[derive(Debug)]
pub enum Outlined {
    /// The records of one call, or the rest of them.
    Call(Outline),
    /// Positions that no whole frame holds.
    Lost(Run),
}

/// The records of one call without their bytes: some may be damaged.
#[derive(Debug)]
pub struct Outline {
    /// Whose they are.
    pub tenant: Option<Tenant>,
    /// When they arrived.
    pub arrival: UnixMillis,
    /// The position of the first.
    pub first: Position,
    /// The length of each in bytes.
    pub lengths: Vec<u32>,
}

/// What a record counts in a walk besides its bytes, so that a walk over small ones ends as well.
const RECORD_COST: usize = 16;

impl Journal {
    /// Visits everything that arrived from `from` on, in order, until about `bytes_max` bytes of
    /// records, the durable end, or `until`, and tells where it stopped.
    ///
    /// # Errors
    /// What the disk answers; some of it may have been visited.
    pub fn walk(
        &self,
        from: Position,
        until: Position,
        bytes_max: usize,
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> io::Result<Position> {
        let mut next = from;
        let mut walk = Walk::new(self, from);
        let mut bytes = 0;
        while bytes < bytes_max && next < until {
            let Some(step) = walk.next()? else {
                break;
            };
            match step {
                Step::Lost(run) => {
                    next = run.end();
                    visit(Seen::Lost(run));
                }
                Step::Frame(header) => {
                    let mut view = walk.view(&header)?;
                    let skipped = from.0.saturating_sub(header.first.0);
                    let tenant = view.meta.tenant.take();
                    let arrival = header.arrival;
                    let call = Call { tenant, arrival, view, skipped, first: header.first };
                    bytes +=
                        call.lengths().map(|length| length as usize + RECORD_COST).sum::<usize>();
                    next = header.end();
                    visit(Seen::Call(call));
                }
            }
        }
        Ok(next)
    }

    /// Visits the same without reading the bytes of records.
    ///
    /// # Errors
    /// What the disk answers; some of it may have been visited.
    pub fn outline(
        &self,
        from: Position,
        until: Position,
        bytes_max: usize,
        visit: &mut dyn FnMut(Outlined),
    ) -> io::Result<Position> {
        let mut next = from;
        let mut walk = Walk::new(self, from);
        walk.hops = true;
        let mut bytes = 0;
        while bytes < bytes_max && next < until {
            let Some(step) = walk.next()? else {
                break;
            };
            match step {
                Step::Lost(run) => {
                    next = run.end();
                    visit(Outlined::Lost(run));
                }
                Step::Frame(header) => {
                    let meta = walk.meta(&header)?;
                    let skipped = from.0.saturating_sub(header.first.0);
                    let lengths: Vec<u32> = meta.lengths().skip(skipped as usize).collect();
                    bytes +=
                        lengths.iter().map(|length| *length as usize + RECORD_COST).sum::<usize>();
                    next = header.end();
                    visit(Outlined::Call(Outline {
                        tenant: meta.tenant,
                        arrival: header.arrival,
                        first: header.first.advanced_by(skipped),
                        lengths,
                    }));
                }
            }
        }
        Ok(next)
    }

    /// Visits the chosen records in the order of positions. For one that cannot be read the visitor
    /// gets its position alone.
    ///
    /// # Errors
    /// What the disk answers; some records may have been visited.
    pub fn read(
        &self,
        positions: &Positions,
        visit: &mut dyn FnMut(Position, Option<Record<'_>>),
    ) -> io::Result<()> {
        let Some(first) = positions.first() else {
            return Ok(());
        };
        let mut wanted = positions.runs().peekable();
        let mut walk = Walk::new(self, first);
        while let Some(run) = wanted.peek().copied() {
            walk.skip_to(run.first);
            let Some(step) = walk.next()? else {
                break;
            };
            let stretch = match step {
                Step::Lost(lost) => {
                    let mut chosen = Chosen::new(wanted.clone());
                    for position in (lost.first.0..lost.end().0).map(Position) {
                        if chosen.contains(position) {
                            visit(position, None);
                        }
                    }
                    lost
                }
                Step::Frame(header) => {
                    let view = walk.view(&header)?;
                    let mut chosen = Chosen::new(wanted.clone());
                    let arrival = header.arrival;
                    for (position, data) in view.chosen(|position| chosen.contains(position)) {
                        visit(position, data.map(|data| Record { position, arrival, data }));
                    }
                    Run { first: header.first, count: u64::from(header.count) }
                }
            };
            while wanted.next_if(|run| run.end() <= stretch.end()).is_some() {}
            if let Some(run) = wanted.peek()
                && run.first < stretch.end()
            {
                walk.skip_to(stretch.end());
            }
        }
        for run in wanted {
            let from = walk.position.max(run.first);
            for position in from.0..run.end().0 {
                visit(Position(position), None);
            }
        }
        Ok(())
    }
}

/// Tells for ascending positions whether they are in one of the runs.
struct Chosen<I: Iterator<Item = Run>> {
    runs: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = Run>> Chosen<std::iter::Peekable<I>> {
    fn new(runs: std::iter::Peekable<I>) -> Self {
        Self { runs: runs.peekable() }
    }
}

impl<I: Iterator<Item = Run>> Chosen<I> {
    fn contains(&mut self, position: Position) -> bool {
        while self.runs.next_if(|run| run.end() <= position).is_some() {}
        self.runs.peek().is_some_and(|run| run.first <= position)
    }
}

enum Step {
    /// A batch frame that holds the walk's position or a later one.
    Frame(Header),
    /// Positions that no whole frame holds.
    Lost(Run),
}

/// A walk over batch frames.
struct Walk<'a> {
    journal: &'a Journal,
    /// The next position to tell of.
    position: Position,
    /// The durable end when the walk began: whatever stands before it is there or lost.
    until: Position,
    open: Option<Open>,
    /// The frame told last.
    frame_offset: u64,
    /// Whether the bytes of records are passed over.
    hops: bool,
}

struct Open {
    segment: Segment,
    frames: Frames,
    offset: u64,
}

impl<'a> Walk<'a> {
    fn new(journal: &'a Journal, position: Position) -> Self {
        let until = *journal.end().borrow();
        Self { journal, position, until, open: None, frame_offset: 0, hops: false }
    }

    /// Moves on to `position` when it lies ahead, by the index where that saves reading.
    fn skip_to(&mut self, position: Position) {
        if position <= self.position {
            return;
        }
        self.position = position;
        if let Some(open) = &mut self.open {
            if position < open.segment.end {
                open.offset = open.offset.max(open.segment.offset_before(position));
            } else {
                self.close();
            }
        }
    }

    fn next(&mut self) -> io::Result<Option<Step>> {
        loop {
            if self.position >= self.until {
                return Ok(None);
            }
            if self.open.is_none() && !self.open_segment() {
                return Ok(Some(self.lose(self.until.0 - self.position.0)));
            }
            let Some(open) = &mut self.open else {
                return Ok(None);
            };
            if self.position < open.segment.first {
                let count = open.segment.first.0 - self.position.0;
                return Ok(Some(self.lose(count)));
            }
            if self.position >= open.segment.end {
                self.close();
                continue;
            }
            match open.next_batch(self.hops)? {
                Some((_, header)) if header.end() <= self.position => {}
                Some((offset, header)) if header.first <= self.position => {
                    self.frame_offset = offset;
                    self.position = header.end();
                    return Ok(Some(Step::Frame(header)));
                }
                Some((offset, header)) => {
                    open.offset = offset;
                    return Ok(Some(self.lose(header.first.0 - self.position.0)));
                }
                None => {
                    let missing = open.segment.end.0.saturating_sub(self.position.0);
                    self.close();
                    if missing > 0 {
                        return Ok(Some(self.lose(missing)));
                    }
                }
            }
        }
    }

    fn lose(&mut self, count: u64) -> Step {
        let run = Run { first: self.position, count };
        self.position = run.end();
        Step::Lost(run)
    }

    fn open_segment(&mut self) -> bool {
        let Some(segment) = self.journal.inner.shared.segment_from(self.position) else {
            return false;
        };
        let frames = Frames::new(segment.file.clone(), segment.salt, segment.end_offset);
        let offset = segment.offset_before(self.position);
        self.open = Some(Open { segment, frames, offset });
        true
    }

    /// Lets go of the segment; where its frames stand need not be found out again.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.journal.inner.shared.learn(&open.segment);
        }
    }

    /// What the frame told last says of its records.
    fn meta(&mut self, header: &Header) -> io::Result<BatchMeta<'_>> {
        let open = self.open.as_mut().ok_or_else(changed)?;
        let meta = open.frames.meta(self.frame_offset, header)?;
        BatchMeta::decode(header, meta).ok_or_else(changed)
    }

    /// The records of the frame told last.
    fn view(&mut self, header: &Header) -> io::Result<BatchView<'_>> {
        let open = self.open.as_mut().ok_or_else(changed)?;
        let salt = open.segment.salt;
        let payload = open.frames.payload(self.frame_offset, header)?;
        BatchView::decode(header, payload, salt).ok_or_else(changed)
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

fn changed() -> io::Error {
    io::Error::other("a journal segment changed while it was read")
}

impl Open {
    /// The next whole batch frame in the segment.
    fn next_batch(&mut self, hops: bool) -> io::Result<Option<(u64, Header)>> {
        while let Some((offset, header)) = self.frames.find(self.offset)? {
            self.offset = offset + header.frame_bytes() as u64;
            match header.kind {
                Kind::Batch => {}
                // Behind it a file that was used before has its old bytes.
                Kind::Seal => break,
                Kind::Plan | Kind::Commit | Kind::Registered | Kind::Spoiled => continue,
            }
            let meta = self.frames.meta(offset, &header)?;
            if BatchMeta::decode(&header, meta).is_some() {
                self.note(IndexEntry { first: header.first, offset });
                if hops {
                    self.frames.pass(&header);
                }
                return Ok(Some((offset, header)));
            }
        }
        Ok(None)
    }

    /// Adds a frame to the index of a segment that was not read before.
    fn note(&mut self, entry: IndexEntry) {
        if self.segment.index.last().is_none_or(|last| last.first < entry.first) {
            self.segment.note(entry);
        }
    }
}
