//! Records that conversion does not survive: found, and failed alone.
//!
//! A record that makes a conversion panic is found by halving its batch. One that takes the whole
//! process along, by its memory or its stack, would do so again at every start. So while a leg runs,
//! its folder holds the file `running`; a start that finds it knows that the process died. Until
//! everything is planned that was there at that start, each batch is then converted by itself, and
//! the file says which batch and which record it is. A record that the process died with is
//! converted alone after the next start, and condemned when the process dies with it once more: three
//! deaths, and its neighbours are delivered. A batch that the process died with twice in a row behind
//! its last record is divided.
//!
//! Most processes die of something else, and what they die of is not seen from here. So a record that
//! the process has lived through alone gets one death more: chance does not come twice in a row to
//! the same one. That it dies with the same record in two lives that follow one another, the second
//! time while nothing but that record is converted, is not taken for chance. Whoever kills processes
//! at exactly such instants has sound records condemned; each of these deaths is logged.
//!
//! Owns the file, the verdicts and the halving. Nothing in the file is synced: it outlives the
//! process, and need not outlive the machine. A disk that does not take it makes no difference to
//! anything else.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::conversion::{Converted, Converter};
use super::freeze::FreezeError;
use super::kept::{HELD_BYTES_MAX, Kept, Reading};
use super::round::{Batch, is_kept};
use crate::convert::Format;
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::plan::PlanId;
use crate::positions::Positions;
use crate::record::Position;

/// The code of records that conversion, or finding their partition, does not survive.
pub(super) const POISON: &str = "Lakehose.Poison";
const FILE_NAME: &str = "running";
const MAGIC: &[u8; 8] = b"LKHRUN02";
/// The magic, the record that is being converted, the length and the checksum of the rest.
const HEADER_BYTES: usize = 24;
const RECORD_OFFSET: u64 = 8;
const NO_RECORD: u64 = u64::MAX;
const NOTE_BYTES_MAX: u64 = 64 << 20;
/// A batch that is divided comes back in so many parts.
const DIVISOR: u64 = 64;
/// Deaths that condemn a record: the first nobody watched, the second named it, at the third it was
/// alone.
const DEATHS: u32 = 3;

/// Why a record fails that was not converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// For the error object.
    pub(super) message: String,
    /// How often its conversion was tried.
    pub(super) attempts: u32,
}

/// What one leg knows of records that conversion does not survive.
pub(super) struct Caution {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    // Both are false in all ordinary times, in which nothing here costs anything.
    is_careful: AtomicBool,
    has_verdicts: AtomicBool,
    inner: Mutex<Inner>,
}

impl fmt::Debug for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caution").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Batches are converted one by one until everything before this is planned.
    until: Option<Position>,
    note: Note,
    panicked: BTreeMap<Position, String>,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    /// The record that is being converted.
    record: Option<Position>,
    /// Batches of suspects have no more records.
    records_max: u64,
    /// The batch that is being converted.
    under_way: Positions,
    /// The batch behind whose last record the process died before.
    died_behind: Positions,
    /// Records of batches that are divided.
    suspects: Positions,
    /// Records that are converted alone.
    alone: Positions,
    /// Those of them that the process has lived through since it last died with them.
    survived: Positions,
    /// Records that are condemned.
    condemned: Positions,
}

impl Default for Note {
    fn default() -> Self {
        Self {
            record: None,
            records_max: u64::MAX,
            under_way: Positions::default(),
            died_behind: Positions::default(),
            suspects: Positions::default(),
            alone: Positions::default(),
            survived: Positions::default(),
            condemned: Positions::default(),
        }
    }
}

impl Caution {
    /// Begins to run in `directory`. When the file of an earlier run is still there, care is taken
    /// of everything before `end`.
    pub(super) fn begin(disk: Arc<dyn Disk>, directory: &Path, end: Position) -> Self {
        let path = directory.join(FILE_NAME);
        let left_behind = read_file(disk.as_ref(), &path, NOTE_BYTES_MAX).ok();
        let inner = left_behind.map_or_else(Inner::default, |bytes| {
            let found = Note::decode(&bytes).unwrap_or_default();
            let note = found.clone().judged();
            found.tell(&note, &path);
            Inner { until: Some(end), note, ..Inner::default() }
        });
        let file = disk.open(&path, OpenMode::Create);
        if let Err(error) = &file {
            tracing::warn!(path = %path.display(), %error, "could not write down that the stream runs");
        }
        let caution = Self {
            disk,
            path,
            file: file.ok(),
            is_careful: AtomicBool::new(inner.until.is_some()),
            has_verdicts: AtomicBool::new(!inner.note.condemned.is_empty()),
            inner: Mutex::new(inner),
        };
        caution.write(&caution.locked().note);
        caution
    }

    /// The leg has ended in order.
    ///
    /// # Errors
    /// What the disk answers; the file that is left behind makes the next start careful.
    pub(super) fn end(&self) -> io::Result<()> {
        if self.file.is_some() { self.disk.remove(&self.path) } else { Ok(()) }
    }

    /// Everything before `end` is planned.
    pub(super) fn planned(&self, end: Position) {
        if !self.is_careful() && !self.has_verdicts.load(Ordering::Relaxed) {
            return;
        }
        let mut inner = self.locked();
        inner.panicked = inner.panicked.split_off(&end);
        if inner.until.is_some_and(|until| until <= end) {
            inner.until = None;
            inner.note = Note::default();
            self.is_careful.store(false, Ordering::Relaxed);
            self.write(&inner.note);
        }
        let has_verdicts = !inner.panicked.is_empty() || !inner.note.condemned.is_empty();
        self.has_verdicts.store(has_verdicts, Ordering::Relaxed);
    }

    /// Why a record is not converted; none for nearly all.
    pub(super) fn verdict(&self, position: Position) -> Option<Verdict> {
        if !self.has_verdicts.load(Ordering::Relaxed) {
            return None;
        }
        let inner = self.locked();
        if inner.note.condemned.contains(position) {
            let number = position.0;
            let message = format!(
                "the process died again and again while this record was converted, number {number} \
                 of its log"
            );
            return Some(Verdict { message, attempts: DEATHS });
        }
        let panicked = inner.panicked.get(&position)?;
        Some(Verdict { message: format!("the conversion panicked: {panicked}"), attempts: 1 })
    }

    /// A record is about to be converted.
    pub(super) fn begin_record(&self, position: Position) {
        self.write_record(position.0);
    }

    /// All records of a batch have been converted; what is left is to finish it.
    pub(super) fn end_records(&self) {
        self.write_record(NO_RECORD);
    }

    fn write_record(&self, number: u64) {
        if self.is_careful()
            && let Some(file) = &self.file
        {
            let _ = file.write_all_at(&number.to_le_bytes(), RECORD_OFFSET);
        }
    }

    /// Whether batches are converted one by one.
    pub(super) fn is_careful(&self) -> bool {
        self.is_careful.load(Ordering::Relaxed)
    }

    fn begin_batch(&self, positions: &Positions) {
        let mut inner = self.locked();
        inner.note.lived_through();
        inner.note.under_way = positions.clone();
        self.write(&inner.note);
    }

    fn end_batch(&self) {
        self.begin_batch(&Positions::default());
    }

    fn panicked(&self, position: Position, message: String) {
        self.locked().panicked.insert(position, message);
        self.has_verdicts.store(true, Ordering::Relaxed);
    }

    /// The same records in batches of which each may be converted by itself.
    fn divided(&self, batches: &[Batch]) -> Vec<Batch> {
        let inner = self.locked();
        let note = &inner.note;
        let mut divided = Vec::new();
        for batch in batches {
            let is_alone = |position: &Position| note.alone.contains(*position);
            let alone = batch.positions.iter().filter(is_alone);
            divided.extend(alone.map(|position| part(batch, Positions::from_run(position, 1))));
            let others = batch.positions.without(&note.alone);
            let innocent = others.without(&note.suspects);
            let mut suspects = others.without(&innocent);
            while !suspects.is_empty() {
                let (first, rest) = suspects.split_at(note.records_max);
                divided.push(part(batch, first));
                suspects = rest;
            }
            if !innocent.is_empty() {
                divided.push(part(batch, innocent));
            }
        }
        divided
    }

    /// Only careful times are written down; in others the file is empty.
    fn write(&self, note: &Note) {
        let is_empty = *note == Note::default();
        if let Some(file) = &self.file
            && !(is_empty && file.len_bytes().is_ok_and(|length| length == 0))
        {
            let _ = file.write_all_at(&note.encode(), 0);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Note {
    fn encode(&self) -> Vec<u8> {
        let mut body = self.records_max.to_le_bytes().to_vec();
        let Self { under_way, died_behind, suspects, alone, survived, condemned, .. } = self;
        for positions in [under_way, died_behind, suspects, alone, survived, condemned] {
            positions.encode(&mut body);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.record.map_or(NO_RECORD, |position| position.0).to_le_bytes());
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(crc32c::crc32c(&body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// None for anything but a whole note.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let number = |range: std::ops::Range<usize>| header.get(range)?.try_into().ok();
        let small = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        // A shorter note leaves the end of a longer one behind.
        let body = rest.get(..small(16)? as usize)?;
        if &header[..8] != MAGIC || small(20)? != crc32c::crc32c(body) {
            return None;
        }
        let record = u64::from_le_bytes(number(8..16)?);
        let (records_max, mut body) = body.split_first_chunk()?;
        let mut positions = || Positions::decode(&mut body).ok();
        Some(Self {
            record: (record != NO_RECORD).then_some(Position(record)),
            records_max: u64::from_le_bytes(*records_max).max(1),
            under_way: positions()?,
            died_behind: positions()?,
            suspects: positions()?,
            alone: positions()?,
            survived: positions()?,
            condemned: positions()?,
        })
    }

    /// The batch under way is over, and the process lives.
    fn lived_through(&mut self) {
        let over = std::mem::take(&mut self.under_way);
        if over == self.died_behind {
            self.died_behind = Positions::default();
        }
        let single =
            over.first().filter(|record| over.count() == 1 && self.alone.contains(*record));
        if single.is_some() {
            self.survived = self.survived.with(&over);
        }
    }

    /// The record that was being converted when the process died that left this behind.
    fn died_with(&self) -> Option<Position> {
        self.record.filter(|record| self.under_way.contains(*record))
    }

    /// What follows from a note that a dead process left behind.
    fn judged(mut self) -> Self {
        let died_with = self.died_with();
        self.record = None;
        let under_way = std::mem::take(&mut self.under_way);
        let is_single = under_way.count() == 1;
        if died_with.is_some() {
            self.died_behind = Positions::default();
        }
        match died_with {
            Some(record) if is_single && self.survived.contains(record) => {
                // It was not the record before. The next life tells.
                self.survived = self.survived.without(&under_way);
            }
            Some(record) if is_single && self.alone.contains(record) => {
                self.condemned = self.condemned.with(&under_way);
            }
            Some(record) => self.alone = self.alone.with(&Positions::from_run(record, 1)),
            None if under_way.is_empty() => {}
            None if under_way != self.died_behind => self.died_behind = under_way,
            None if is_single => self.condemned = self.condemned.with(&under_way),
            None => {
                self.records_max = (under_way.count() / DIVISOR).max(1);
                self.suspects = self.suspects.with(&under_way);
            }
        }
        self
    }

    /// Logs what this note says of the death of a process, and what was made of it.
    fn tell(&self, judged: &Self, path: &Path) {
        let path = path.display();
        let under_way = self.under_way.count();
        // A batch of one record may also have been over but for its end.
        let single = self.under_way.first().filter(|_| under_way == 1);
        if let Some(Position(record)) = self.died_with().or(single) {
            tracing::warn!(%path, record, under_way, "the last process died while it converted a record");
        }
        for Position(record) in judged.condemned.without(&self.condemned).iter() {
            tracing::error!(
                %path,
                record,
                "processes die while they convert a record; it goes to the error prefix"
            );
        }
    }
}

/// Converts batches, whatever their records do to the conversion. Gives them with what they became;
/// a batch may come back in parts.
///
/// # Errors
/// When the log cannot be read or an encoder fails.
pub(super) fn survive(
    converter: &Converter,
    id: PlanId,
    batches: &[Batch],
) -> Result<Vec<(Batch, Converted)>, FreezeError> {
    let kept = is_kept(batches).then(|| Kept::read(&converter.records, batches, HELD_BYTES_MAX));
    let kept = match kept.transpose().map_err(FreezeError::Read)? {
        Some(Reading::TooMuch(passes)) => {
            let mut survived = Vec::new();
            for pass in passes {
                survived.extend(survive(converter, id, &batches[pass])?);
            }
            return Ok(survived);
        }
        Some(Reading::Kept(kept)) => Some(kept),
        None => None,
    };
    let convert = |batches: &[Batch]| match &kept {
        Some(kept) => batches.iter().map(|b| converter.convert_kept(id, b, kept)).collect(),
        None => converter.convert(id, batches),
    };
    // Where records are copied as they are, none is converted and none can be at fault.
    if matches!(converter.recipe.format, Format::Records(_)) {
        return Ok(batches.iter().cloned().zip(convert(batches)?).collect());
    }
    let caution = &converter.caution;
    let convert = |batches: &[Batch]| caught(|| convert(batches));
    let mut convert_one = |batch: &Batch| {
        Ok(convert(std::slice::from_ref(batch))?.map(|mut converted| converted.remove(0)))
    };
    let mut condemn = |position, message| caution.panicked(position, message);
    let mut survived = Vec::new();
    if caution.is_careful() {
        let mut convert_all = || -> Result<(), FreezeError> {
            for batch in caution.divided(batches) {
                caution.begin_batch(&batch.positions);
                survived.extend(isolate(batch, &mut convert_one, &mut condemn)?);
            }
            Ok(())
        };
        let converted = convert_all();
        // Also after a failure: what comes next is no conversion.
        caution.end_batch();
        return converted.map(|()| survived);
    }
    if let Ok(converted) = convert(batches)? {
        return Ok(batches.iter().cloned().zip(converted).collect());
    }
    for batch in batches {
        survived.extend(isolate(batch.clone(), &mut convert_one, &mut condemn)?);
    }
    Ok(survived)
}

/// Converts a batch, and when that panics, finds and condemns the records that are at fault. The
/// rest stays together where it can.
fn isolate<T>(
    batch: Batch,
    convert: &mut impl FnMut(&Batch) -> Result<Result<T, String>, FreezeError>,
    condemn: &mut impl FnMut(Position, String),
) -> Result<Vec<(Batch, T)>, FreezeError> {
    let message = match convert(&batch)? {
        Ok(converted) => return Ok(vec![(batch, converted)]),
        Err(message) => message,
    };
    let count = batch.positions.count();
    let mut parts = Vec::new();
    if count > 1 {
        let (first, second) = batch.positions.split_at(count / 2);
        parts = isolate(part(&batch, first), convert, condemn)?;
        parts.extend(isolate(part(&batch, second), convert, condemn)?);
    } else if let Some(position) = batch.positions.first() {
        tracing::error!(position = position.0, message, "the conversion of a record panicked");
        condemn(position, message);
    }
    match convert(&batch)? {
        Ok(converted) => Ok(vec![(batch, converted)]),
        // Each part is fine by itself.
        Err(_) if !parts.is_empty() => Ok(parts),
        Err(message) => Err(FreezeError::Panicked(message)),
    }
}

/// The outer result is the conversion's; the inner one says whether it panicked, and with what.
fn caught<T>(
    convert: impl FnOnce() -> Result<T, FreezeError>,
) -> Result<Result<T, String>, FreezeError> {
    match std::panic::catch_unwind(AssertUnwindSafe(convert)) {
        Ok(converted) => converted.map(Ok),
        Err(panic) => Ok(Err(panic_text(panic.as_ref()))),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it said nothing".to_owned())
}

fn part(batch: &Batch, positions: Positions) -> Batch {
    Batch { positions, ..batch.clone() }
}

#[cfg(test)]
#[path = "caution_tests.rs"]
mod tests;
