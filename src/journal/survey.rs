//! A look at the files of a log that changes none of them.
//!
//! Owns what is to be said of segments and checkpoints: which bytes are no whole frame, which records
//! fail their checksum, which files are missing or strange, and which positions that concerns. Where
//! a log ends is judged by [`recovery`](super::recovery)'s own scan, so that a look and a start never
//! disagree. Does not know what has come of the records, so not what damage costs either, and takes
//! no lock: whoever looks sees to it that nobody writes meanwhile.
//!
//! Memory holds one segment's decisions and one window of a file, whatever the size of the log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::control::{
    self, CHECKPOINT_BYTES_MAX, CHECKPOINT_FORMAT, CHECKPOINTS_KEPT, Checkpoint, Control,
};
use super::frame::{BatchView, Header, Kind};
use super::log::is_spare;
use super::recovery::{Found, SegmentScan};
use super::remembered::RememberedCalls;
use super::segment::{self, Frames, HeaderError, SegmentHeader};
use super::window::Window;
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::positions::{Positions, Run};
use crate::record::Position;

/// Something about a log's files that is not as it was written.
#[derive(Debug)]
pub struct Flaw {
    /// The file, or the folder where it should be.
    pub path: PathBuf,
    /// The positions that are concerned, where there are any.
    pub positions: Option<Run>,
    /// What it is.
    pub kind: FlawKind,
}

/// What a flaw is.
#[derive(Debug)]
pub enum FlawKind {
    /// An unfinished write at the end, of which nobody was told; no damage.
    Torn {
        /// Its bytes.
        bytes: u64,
    },
    /// What an interrupted step left; no damage.
    Leftover,
    /// A name that no file of a log has.
    Unknown,
    /// A newer program wrote the file.
    Newer {
        /// The file's format.
        format: u16,
        /// The one that this program knows.
        known: u16,
    },
    /// The disk does not give the file.
    Unreadable(io::Error),
    /// One of the two copies of a segment's header, or what lies between them.
    HeaderCopy,
    /// Both copies of a segment's header.
    Headless {
        /// Whether no whole segment comes after it.
        is_last: bool,
    },
    /// A segment of another instance.
    Foreign(Uuid),
    /// A segment that bears the name of another one.
    Renamed {
        /// The number that it was written with.
        sequence: u64,
    },
    /// Bytes that are no whole frame; without positions they were a decision or a seal.
    Broken {
        /// Where they begin.
        from: u64,
        /// The offset after them.
        to: u64,
    },
    /// Records whose checksum does not hold.
    Records,
    /// Positions that no frame holds.
    Hole,
    /// A frame whose positions stand in an earlier one already.
    Repeated,
    /// A segment that begins before the one in front of it ends.
    Overlap,
    /// A whole frame that says nothing this program understands.
    NotUnderstood,
    /// Bytes behind a frame that no checksum covers and that are not as they were written.
    Padding,
    /// A segment in front of others without its end.
    NoSeal,
    /// A checkpoint that is not whole.
    Checkpoint {
        /// Whether a whole one is there besides.
        is_replaced: bool,
    },
    /// One of the two checkpoints is not there.
    MissingCheckpoint,
}

/// What a check comes by.
#[derive(Debug)]
pub enum Look<'a> {
    /// Something is wrong.
    Flaw(Flaw),
    /// A whole record.
    Record(Position, &'a [u8]),
}

/// The files of one log.
#[derive(Debug)]
pub struct Survey {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segments: Vec<Surveyed>,
    checkpoint: Option<Checkpoint>,
    flaws: Vec<Flaw>,
}

#[derive(Debug)]
struct Surveyed {
    header: SegmentHeader,
    path: PathBuf,
    /// `None` when the disk does not give the file.
    scanned: Option<Scanned>,
}

#[derive(Clone, Copy, Debug)]
struct Scanned {
    end: Position,
    end_offset: u64,
    sealed: bool,
}

impl Survey {
    /// Reads names, headers and checkpoints of the log in `directory`, one of `instance`.
    ///
    /// # Errors
    /// When a folder cannot be listed; one that is not there is empty.
    pub fn of(disk: &Arc<dyn Disk>, directory: &Path, instance: Uuid) -> io::Result<Self> {
        let mut survey = Self {
            disk: disk.clone(),
            directory: directory.join("journal"),
            segments: Vec::new(),
            checkpoint: None,
            flaws: Vec::new(),
        };
        survey.read_headers(instance)?;
        survey.read_checkpoints(&directory.join("checkpoint"))?;
        Ok(survey)
    }

    /// The newest whole checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The first position of the first segment; `None` without segments.
    #[must_use]
    pub fn begin(&self) -> Option<Position> {
        self.segments.first().map(|segment| segment.header.first)
    }

    /// The position after the last record in the segments, once they have been scanned.
    #[must_use]
    pub fn end(&self) -> Position {
        let scanned = self.segments.last().and_then(|segment| segment.scanned);
        let unread = || self.segments.last().map(|segment| segment.header.first);
        scanned.map(|scanned| scanned.end).or_else(unread).unwrap_or_default()
    }

    /// The positions that the segments stand for, once they have been scanned.
    #[must_use]
    pub fn held(&self) -> Positions {
        let held = self.segments.iter().filter_map(|segment| {
            let (first, end) = (segment.header.first, segment.scanned?.end);
            Some(Positions::from_run(first, end.0.saturating_sub(first.0)))
        });
        held.fold(Positions::default(), |all, held| all.with(&held))
    }

    /// What is wrong with names, headers and checkpoints, and after a scan with the ends.
    pub fn take_flaws(&mut self) -> Vec<Flaw> {
        std::mem::take(&mut self.flaws)
    }

    /// Finds out where each segment ends, and tells every decision in the order in which they were
    /// made.
    pub fn scan(&mut self, decided: &mut dyn FnMut(Control)) {
        // What calls may come again is of no interest here.
        let window = Window::new(RememberedCalls::new(0), Vec::new());
        let last = self.segments.len().saturating_sub(1);
        for (index, segment) in self.segments.iter_mut().enumerate() {
            let mut found = Found::default();
            let scan = self.disk.open(&segment.path, OpenMode::Read).and_then(|file| {
                SegmentScan::new(file, &segment.header, &window, index == last).run(&mut found)
            });
            match scan {
                Ok(scan) => {
                    let (end, end_offset, sealed) = (scan.end, scan.end_offset, scan.sealed);
                    segment.scanned = Some(Scanned { end, end_offset, sealed });
                }
                Err(error) => self.flaws.push(Flaw {
                    path: segment.path.clone(),
                    positions: None,
                    kind: FlawKind::Unreadable(error),
                }),
            }
            if found.torn_bytes > 0 {
                let kind = FlawKind::Torn { bytes: found.torn_bytes };
                self.flaws.push(Flaw { path: segment.path.clone(), positions: None, kind });
            }
            found.controls.into_iter().for_each(&mut *decided);
        }
    }

    /// Goes through every frame and every record of the segments, after a scan. What the disk does
    /// not give is told as a flaw, by the scan or here.
    pub fn check(&self, seen: &mut dyn FnMut(Look<'_>)) {
        let mut expected = None;
        let last = self.segments.len().saturating_sub(1);
        for (index, segment) in self.segments.iter().enumerate() {
            let first = segment.header.first;
            let before = expected.unwrap_or(first);
            let path = &segment.path;
            if before > first {
                let run = run(first, before);
                seen(Look::Flaw(flaw(path, Some(run), FlawKind::Overlap)));
            } else if before < first {
                let run = run(before, first);
                seen(Look::Flaw(flaw(&self.directory, Some(run), FlawKind::Hole)));
            }
            expected = Some(before.max(first));
            // A segment that cannot be read leaves a hole, which the next one tells of.
            let Some(scanned) = segment.scanned else {
                continue;
            };
            let opened = self.disk.open(path, OpenMode::Read);
            let checked = opened.and_then(|file| {
                Check { segment, scanned, seen: &mut *seen, expected: first }.run(file)
            });
            match checked {
                Ok(end) => expected = Some(end.max(before)),
                Err(error) => seen(Look::Flaw(flaw(path, None, FlawKind::Unreadable(error)))),
            }
            if index != last && !scanned.sealed {
                seen(Look::Flaw(flaw(path, None, FlawKind::NoSeal)));
            }
        }
    }

    fn read_headers(&mut self, instance: Uuid) -> io::Result<()> {
        let mut numbered = BTreeMap::new();
        for name in list(self.disk.as_ref(), &self.directory)? {
            let path = self.directory.join(&name);
            match segment::parse_file_name(&name) {
                Some(sequence) => {
                    numbered.insert(sequence, path);
                }
                None if is_spare(&name) => {}
                None if name.ends_with(".tmp") => self.note(&path, FlawKind::Leftover),
                None => self.note(&path, FlawKind::Unknown),
            }
        }
        let mut headless = Vec::new();
        for (sequence, path) in numbered {
            let opened = self.disk.open(&path, OpenMode::Read);
            let read = opened.and_then(|file| SegmentHeader::read_copies(file.as_ref()));
            let (copies, is_clean) = match read {
                Ok(read) => read,
                Err(error) => {
                    self.note(&path, FlawKind::Unreadable(error));
                    continue;
                }
            };
            let header = match copies {
                [Err(HeaderError::Newer(format)), _] | [_, Err(HeaderError::Newer(format))] => {
                    self.note(&path, FlawKind::Newer { format, known: segment::FORMAT });
                    continue;
                }
                [Err(HeaderError::Damaged), Err(HeaderError::Damaged)] => {
                    headless.push(path);
                    continue;
                }
                [Ok(header), _] | [_, Ok(header)] => header,
            };
            if header.instance != instance {
                self.note(&path, FlawKind::Foreign(header.instance));
                continue;
            }
            if header.sequence != sequence {
                self.note(&path, FlawKind::Renamed { sequence: header.sequence });
                continue;
            }
            if copies != [Ok(header); 2] || !is_clean {
                self.note(&path, FlawKind::HeaderCopy);
            }
            for path in headless.drain(..) {
                self.flaws.push(flaw(&path, None, FlawKind::Headless { is_last: false }));
            }
            self.segments.push(Surveyed { header, path, scanned: None });
        }
        for path in headless {
            self.note(&path, FlawKind::Headless { is_last: true });
        }
        Ok(())
    }

    fn read_checkpoints(&mut self, directory: &Path) -> io::Result<()> {
        let mut numbered = BTreeMap::new();
        for name in list(self.disk.as_ref(), directory)? {
            let path = directory.join(&name);
            match control::parse_name(&name) {
                Some(number) => {
                    numbered.insert(number, path);
                }
                None if name.ends_with(".tmp") => self.note(&path, FlawKind::Leftover),
                None => self.note(&path, FlawKind::Unknown),
            }
        }
        if let [only] = numbered.keys().copied().collect::<Vec<_>>()[..]
            && only > 1
        {
            self.note(directory, FlawKind::MissingCheckpoint);
        }
        let mut damaged = Vec::new();
        for (age, path) in numbered.into_values().rev().enumerate() {
            let bytes = match read_file(self.disk.as_ref(), &path, CHECKPOINT_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.note(&path, FlawKind::Unreadable(error));
                    continue;
                }
            };
            if let Some(format) = control::newer_format(&bytes) {
                self.note(&path, FlawKind::Newer { format, known: CHECKPOINT_FORMAT });
                continue;
            }
            match Checkpoint::decode(&bytes) {
                Some((checkpoint, _)) if self.checkpoint.is_none() && age < CHECKPOINTS_KEPT => {
                    self.checkpoint = Some(checkpoint);
                }
                Some(_) => {}
                None => damaged.push(path),
            }
        }
        let is_replaced = self.checkpoint.is_some();
        for path in damaged {
            self.note(&path, FlawKind::Checkpoint { is_replaced });
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, kind: FlawKind) {
        self.flaws.push(flaw(path, None, kind));
    }
}

/// The way through the frames of one segment.
struct Check<'a> {
    segment: &'a Surveyed,
    scanned: Scanned,
    seen: &'a mut dyn FnMut(Look<'_>),
    /// The position of the next record.
    expected: Position,
}

impl Check<'_> {
    /// Tells the position after the last record.
    fn run(mut self, file: Arc<dyn DiskFile>) -> io::Result<Position> {
        let salt = self.segment.header.salt;
        let mut frames = Frames::new(file, salt, self.scanned.end_offset);
        let mut offset = segment::HEADER_BYTES as u64;
        while let Some((at, header)) = frames.find(offset)? {
            self.pass(offset, at, header.first);
            if header.first < self.expected {
                let run = run(header.first, header.end().max(header.first.advanced_by(1)));
                self.tell(Some(run), FlawKind::Repeated);
            } else {
                self.frame(&mut frames, at, &header)?;
                self.expected = header.end();
            }
            let whole = frames.whole(at, &header)?;
            let used = super::frame::HEADER_BYTES + header.payload_bytes;
            if whole.iter().skip(used).any(|byte| *byte != 0) {
                self.tell(None, FlawKind::Padding);
            }
            offset = at + header.frame_bytes() as u64;
            if header.kind == Kind::Seal {
                return Ok(self.expected);
            }
        }
        let end = self.scanned.end;
        self.pass(offset, self.scanned.end_offset, end);
        Ok(self.expected)
    }

    /// Between `offset` and the frame at `at` no frame is whole, and before `next` a position is
    /// missing: either may be so without the other.
    fn pass(&mut self, offset: u64, at: u64, next: Position) {
        let lost = (next > self.expected).then(|| run(self.expected, next));
        if at > offset {
            self.tell(lost, FlawKind::Broken { from: offset, to: at });
        } else if lost.is_some() {
            self.tell(lost, FlawKind::Hole);
        }
        self.expected = self.expected.max(next);
    }

    fn frame(&mut self, frames: &mut Frames, at: u64, header: &Header) -> io::Result<()> {
        let payload = frames.payload(at, header)?;
        match header.kind {
            Kind::Batch => match BatchView::decode(header, payload, self.segment.header.salt) {
                Some(view) => self.records(&view),
                None => self.tell(Some(run(header.first, header.end())), FlawKind::Records),
            },
            Kind::Seal => {}
            Kind::Plan | Kind::Commit | Kind::Registered | Kind::Spoiled => {
                if Control::decode(header.kind, payload).is_none() {
                    self.tell(None, FlawKind::NotUnderstood);
                }
            }
        }
        Ok(())
    }

    fn records(&mut self, view: &BatchView<'_>) {
        let mut damaged: Option<Run> = None;
        for (position, record) in view.records() {
            if let Some(record) = record {
                if damaged.is_some() {
                    self.tell(damaged.take(), FlawKind::Records);
                }
                (self.seen)(Look::Record(position, record));
            } else {
                damaged.get_or_insert(Run { first: position, count: 0 }).count += 1;
            }
        }
        if damaged.is_some() {
            self.tell(damaged, FlawKind::Records);
        }
    }

    fn tell(&mut self, positions: Option<Run>, kind: FlawKind) {
        (self.seen)(Look::Flaw(flaw(&self.segment.path, positions, kind)));
    }
}

fn flaw(path: &Path, positions: Option<Run>, kind: FlawKind) -> Flaw {
    Flaw { path: path.to_owned(), positions, kind }
}

fn run(first: Position, end: Position) -> Run {
    Run { first, count: end.0 - first.0 }
}

/// The names in a folder; none when it is not there.
fn list(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<String>> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}
