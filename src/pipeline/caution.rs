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
//! Most processes die of something else. That one is killed in the instant in which one record is
//! converted that stands alone, or twice in a row behind the same batch, is not taken for chance.
//!
//! Owns the file, the verdicts and the halving. Nothing in the file is synced: it outlives the
//! process, and need not outlive the machine. A disk that does not take it makes no difference to
//! anything else.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::conversion::{Converted, Converter};
use super::freeze::{Batch, FreezeError};
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::plan::PlanId;
use crate::positions::Positions;
use crate::record::Position;

const FILE_NAME: &str = "running";
const MAGIC: &[u8; 8] = b"LKHRUN01";
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
        let inner = left_behind.map_or_else(Inner::default, |bytes| Inner {
            until: Some(end),
            note: Note::decode(&bytes).map(Note::judged).unwrap_or_default(),
            ..Inner::default()
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
            let message = "the process died each time this record was converted".to_owned();
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

    fn is_careful(&self) -> bool {
        self.is_careful.load(Ordering::Relaxed)
    }

    fn begin_batch(&self, positions: &Positions) {
        let mut inner = self.locked();
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
        let Self { under_way, died_behind, suspects, alone, condemned, .. } = self;
        for positions in [under_way, died_behind, suspects, alone, condemned] {
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
            condemned: positions()?,
        })
    }

    /// What follows from a note that a dead process left behind.
    fn judged(mut self) -> Self {
        let under_way = std::mem::take(&mut self.under_way);
        let is_single = under_way.count() == 1;
        let died_with = self.record.take().filter(|record| under_way.contains(*record));
        if died_with.is_some() {
            self.died_behind = Positions::default();
        }
        match died_with {
            Some(_) if is_single => self.condemned = self.condemned.with(&under_way),
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
    let caution = &converter.caution;
    let convert = |batches: &[Batch]| caught(|| converter.convert(id, batches));
    let mut convert_one = |batch: &Batch| {
        Ok(convert(std::slice::from_ref(batch))?.map(|mut converted| converted.remove(0)))
    };
    let mut condemn = |position, message| caution.panicked(position, message);
    let mut survived = Vec::new();
    if caution.is_careful() {
        for batch in caution.divided(batches) {
            caution.begin_batch(&batch.positions);
            survived.extend(isolate(batch, &mut convert_one, &mut condemn)?);
        }
        caution.end_batch();
        return Ok(survived);
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
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Ok(Err(text.unwrap_or_else(|| "it said nothing".to_owned())))
        }
    }
}

fn part(batch: &Batch, positions: Positions) -> Batch {
    Batch { positions, ..batch.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::buffer::Trigger;
    use crate::disk::MemoryDisk;
    use crate::partition::Group;
    use crate::record::UnixMillis;

    fn batch(first: u64, count: u64) -> Batch {
        Batch {
            group: Group::default(),
            positions: Positions::from_run(Position(first), count),
            data_bytes: 1,
            oldest_arrival: UnixMillis(0),
            closed_by: Trigger::Flush,
        }
    }

    /// Runs as the conversion does in a process that dies with what `dies` names: with a record, or
    /// behind the last one of a batch. Gives the records that were converted and those that failed
    /// by a verdict, or none when the process died.
    fn run(
        disk: &Arc<MemoryDisk>,
        batches: &[Batch],
        dies_with: &dyn Fn(Position) -> bool,
        dies_behind: &dyn Fn(&Positions) -> bool,
    ) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
        let caution = Caution::begin(disk.clone(), Path::new("/leg"), Position(1000));
        let batches =
            if caution.is_careful() { caution.divided(batches) } else { batches.to_vec() };
        let (mut converted, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for batch in batches {
            if caution.is_careful() {
                caution.begin_batch(&batch.positions);
            }
            for position in batch.positions.iter() {
                if caution.verdict(position).is_some() {
                    failed.insert(position.0);
                    continue;
                }
                caution.begin_record(position);
                if dies_with(position) {
                    return None;
                }
                converted.insert(position.0);
            }
            caution.end_records();
            if dies_behind(&batch.positions.without(&caution.locked().note.condemned)) {
                return None;
            }
        }
        caution.end_batch();
        caution.planned(Position(1000));
        assert!(!caution.is_careful() && caution.verdict(Position(700)).is_none());
        caution.end().expect("the disk works");
        Some((converted, failed))
    }

    fn deaths(
        batches: &[Batch],
        dies_with: &dyn Fn(Position) -> bool,
        dies_behind: &dyn Fn(&Positions) -> bool,
    ) -> (u32, BTreeSet<u64>, BTreeSet<u64>) {
        let disk = Arc::new(MemoryDisk::default());
        disk.create_dir_all(Path::new("/leg")).expect("memory");
        let mut deaths = 0;
        loop {
            if let Some((converted, failed)) = run(&disk, batches, dies_with, dies_behind) {
                assert!(disk.list(Path::new("/leg")).expect("memory").is_empty());
                return (deaths, converted, failed);
            }
            deaths += 1;
            assert!(deaths < 10, "it dies for ever");
        }
    }

    #[test]
    fn a_record_that_takes_the_process_along_does_so_three_times_and_its_neighbours_pass() {
        let batches = [batch(0, 500), batch(500, 500)];
        let poison = |position: Position| position.0 == 700;
        let (deaths, converted, failed) = deaths(&batches, &poison, &|_| false);
        assert_eq!((deaths, failed), (DEATHS, BTreeSet::from([700])));
        assert_eq!(converted.len(), 999);
    }

    #[test]
    fn a_record_that_the_process_dies_behind_is_found_by_dividing() {
        let poison = |positions: &Positions| positions.contains(Position(700));
        let (deaths, converted, failed) = deaths(&[batch(0, 1000)], &|_| false, &poison);
        assert_eq!((deaths, failed), (7, BTreeSet::from([700])));
        assert_eq!(converted.len(), 999);
    }

    #[test]
    fn a_process_that_dies_by_chance_condemns_nothing() {
        let disk = Arc::new(MemoryDisk::default());
        disk.create_dir_all(Path::new("/leg")).expect("memory");
        let batches: Vec<_> = (0..10).map(|number| batch(100 * number, 100)).collect();
        for unlucky in [3, 900, 40, 555, 556, 557, 558] {
            let died = run(&disk, &batches, &|position| position.0 == unlucky, &|_| false);
            assert_eq!(died, None);
            let behind = |positions: &Positions| positions.contains(Position(999 - unlucky));
            assert_eq!(run(&disk, &batches, &|_| false, &behind), None);
        }
        let caution = Caution::begin(disk.clone(), Path::new("/leg"), Position(1000));
        // Those that it died with are alone, but for the first, which nobody watched.
        assert_eq!(caution.divided(&batches).len(), 10 + 6);
        let (converted, failed) = run(&disk, &batches, &|_| false, &|_| false).expect("it lives");
        assert_eq!((converted.len(), failed.len()), (1000, 0));
    }

    #[test]
    fn what_stands_in_the_file_is_not_trusted() {
        let note = Note {
            record: Some(Position(7)),
            records_max: 3,
            under_way: Positions::from_run(Position(5), 10),
            died_behind: Positions::from_run(Position(5), 9),
            suspects: Positions::from_run(Position(0), 3),
            alone: Positions::from_run(Position(1), 1),
            condemned: Positions::from_run(Position(2), 2),
        };
        let bytes = note.encode();
        assert_eq!(Note::decode(&bytes), Some(note));
        for length in 0..bytes.len() {
            assert_eq!(Note::decode(&bytes[..length]), None, "{length}");
        }
        for at in (0..bytes.len()).filter(|at| !(8..16).contains(at)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert_eq!(Note::decode(&damaged), None, "{at}");
        }
        let mut followed = bytes.clone();
        followed.extend(b"the end of a longer one");
        assert!(Note::decode(&followed).is_some());
    }

    /// Isolates in a conversion that panics when `panics` says so of a batch's records that are not
    /// condemned yet.
    fn isolated(
        batch: Batch,
        panics: impl Fn(&BTreeSet<u64>) -> bool,
    ) -> (Vec<u64>, BTreeSet<u64>) {
        let condemned = std::cell::RefCell::new(BTreeSet::new());
        let mut convert = |batch: &Batch| {
            let positions = batch.positions.iter().map(|position| position.0);
            let left = positions.filter(|p| !condemned.borrow().contains(p)).collect();
            caught(|| {
                assert!(!panics(&left), "told to");
                Ok(())
            })
        };
        let mut condemn = |position: Position, message: String| {
            assert_eq!(message, "told to");
            condemned.borrow_mut().insert(position.0);
        };
        let parts = isolate(batch, &mut convert, &mut condemn).expect("the log can be read");
        let counts = parts.iter().map(|(part, ())| part.positions.count()).collect();
        (counts, condemned.into_inner())
    }

    #[test]
    fn records_that_panic_are_found_and_the_others_stay_together() {
        let bad = BTreeSet::from([13, 14, 99]);
        let (parts, condemned) = isolated(batch(0, 100), |left| !left.is_disjoint(&bad));
        assert_eq!((parts, condemned), (vec![100], bad));
    }

    #[test]
    fn records_that_panic_only_together_are_kept_apart() {
        let (parts, condemned) = isolated(batch(0, 100), |left| left.len() > 30);
        assert_eq!((parts, condemned), (vec![25; 4], BTreeSet::new()));
    }
}
