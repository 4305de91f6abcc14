//! The books of a stream that nobody has open, from the data directory: those of a service that does
//! not run, and what waits in a folder.
//!
//! Reads what a start reads, and changes nothing.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::super::directory::{FILE_BYTES_MAX, FORMAT, Identity};
use crate::disk::{Disk, OpenMode, OsDisk, read_file};
use crate::journal::{Checkpoint, FlawKind, Look, Survey, stamp_of};
use crate::pipeline::{BackupEnd, Books, Left, LegBooks, StreamBooks, entry_outcome};
use crate::positions::Positions;
use crate::record::{Position, StreamName};

/// Why there are no books.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The disk does not give a file.
    #[error("could not read {}: {error}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The directory says nothing that this program understands.
    #[error("the books in {} cannot be read: {reason}; see: lakehose verify", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// The books of a stream in a data directory that no service uses; `None` when it was never opened.
/// Blocks, for as long as it takes to read the stream's journal.
///
/// # Errors
/// When they cannot be read, or are not whole.
pub fn books_at_rest(
    data_dir: &Path,
    stream: &StreamName,
) -> Result<Option<StreamBooks>, RestError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let directory = data_dir.join("streams").join(stream.as_str());
    match disk.list(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RestError::Disk { path: directory, error }),
        Ok(_) => {}
    }
    let instance = instance(&disk, data_dir)?;
    let leg = |folder: &str| {
        Ok(LegBooks::of(&Log::read(&disk, &directory.join(folder), instance)?.checkpoint()))
    };
    let is_there = |folder: &str| has_log(&disk, &directory.join(folder));
    let stamp = u64::from_be_bytes(stamp_of(instance, stream));
    Ok(Some(StreamBooks {
        stamp: format!("{stamp:016x}"),
        records: leg("")?,
        parts: is_there("scratch")?.then(|| leg("scratch")).transpose()?,
        backup: is_there("backup")?.then(|| leg("backup")).transpose()?,
    }))
}

/// What waits in the folder of a stream: nothing that its files do not rule out. Blocks like
/// [`books_at_rest`].
///
/// # Errors
/// When that cannot be told.
pub(in crate::app) fn left_at_rest(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    stream: &StreamName,
) -> Result<Left, RestError> {
    let directory = data_dir.join("streams").join(stream.as_str());
    disk.list(&directory).map_err(|error| RestError::Disk { path: directory.clone(), error })?;
    let instance = instance(disk, data_dir)?;
    let read = |folder: &str| {
        let folder = directory.join(folder);
        has_log(disk, &folder)?.then(|| Log::read(disk, &folder, instance)).transpose()
    };
    let (source, scratch, backup) = (read("")?, read("scratch")?, read("backup")?);
    let mut left = Left::default();
    let until = |end: Position| Positions::from_run(Position(0), end.0);
    let mut transformed_until = Position(0);
    if let Some(scratch) = &scratch {
        let checkpoint = scratch.checkpoint();
        let (seen, ended) = scratch.entries();
        transformed_until = checkpoint.source_end.max(seen);
        let waiting = until(checkpoint.end).without(&checkpoint.settled).without(&ended);
        let open = take_open(&mut left, &checkpoint);
        left.records += waiting.count() + open;
    }
    let mut end = transformed_until;
    if let Some(source) = &source {
        let checkpoint = source.checkpoint();
        end = end.max(checkpoint.end);
        let settled = &checkpoint.settled;
        let waiting = until(end).without(settled).without(&until(transformed_until));
        let open = take_open(&mut left, &checkpoint);
        left.records += waiting.count() + open;
    }
    if let Some(backup) = &backup {
        let checkpoint = backup.checkpoint();
        let end = match backup_end(disk, &directory.join("backup")) {
            Some(note) if note.is_over => Position(0),
            Some(note) => note.end,
            None => end,
        };
        let waiting = until(end).without(&checkpoint.settled);
        let open = take_open(&mut left, &checkpoint);
        left.backup_records += waiting.count() + open;
    }
    left.bytes = ["", "scratch", "backup"]
        .into_iter()
        .flat_map(|log| [directory.join(log).join("journal"), directory.join(log).join("outbox")])
        .map(|folder| bytes_in(disk, &folder))
        .sum();
    Ok(left)
}

/// Adds the open plans and the partitions of a log; gives the records in those plans.
fn take_open(left: &mut Left, checkpoint: &Checkpoint) -> u64 {
    left.plans += checkpoint.open_plans.len() as u64;
    left.partitions += checkpoint.unregistered.len() as u64;
    left.incomplete += (checkpoint.incomplete.len() + checkpoint.unannounced.len()) as u64;
    let objects = checkpoint.open_plans.iter().flat_map(|plan| &plan.objects);
    let objects = objects.filter(|object| !object.header.spoiled);
    objects.map(|object| object.positions.count()).sum()
}

/// The note where a backup ends that was switched off.
fn backup_end(disk: &Arc<dyn Disk>, directory: &Path) -> Option<BackupEnd> {
    let bytes = read_file(disk.as_ref(), &directory.join("end.json"), FILE_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The bytes of the files in a folder, as far as they can be told.
fn bytes_in(disk: &Arc<dyn Disk>, folder: &Path) -> u64 {
    let names = disk.list(folder).unwrap_or_default();
    let length = |name: &String| disk.open(&folder.join(name), OpenMode::Read)?.len_bytes();
    names.iter().filter_map(|name| length(name).ok()).sum()
}

fn has_log(disk: &Arc<dyn Disk>, directory: &Path) -> Result<bool, RestError> {
    for folder in ["journal", "checkpoint"] {
        let path = directory.join(folder);
        match disk.list(&path) {
            Ok(names) if names.is_empty() => {}
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // What cannot be seen may be there.
            Err(error) => return Err(RestError::Disk { path, error }),
        }
    }
    Ok(false)
}

/// Whose the data directory is.
fn instance(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Uuid, RestError> {
    let file = data_dir.join("identity.json");
    let bytes = read_file(disk.as_ref(), &file, FILE_BYTES_MAX)
        .map_err(|error| RestError::Disk { path: file.clone(), error })?;
    let unreadable = |reason: String| RestError::Unreadable { path: file.clone(), reason };
    let identity: Identity =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if identity.format != FORMAT {
        return Err(unreadable("another program wrote it".to_owned()));
    }
    Ok(identity.instance)
}

/// One log, and what is decided about its records.
struct Log {
    survey: Survey,
    books: Books,
    /// The position after every record that is known of.
    end: Position,
}

impl Log {
    fn read(disk: &Arc<dyn Disk>, directory: &Path, instance: Uuid) -> Result<Self, RestError> {
        let survey = Survey::of(disk, directory, instance);
        let mut survey =
            survey.map_err(|error| RestError::Disk { path: directory.to_owned(), error })?;
        let begins_at_zero = survey.begin().is_none_or(|begin| begin == Position(0));
        let unreadable = |reason: &str| RestError::Unreadable {
            path: directory.to_owned(),
            reason: reason.into(),
        };
        if survey.checkpoint().is_none() && !begins_at_zero {
            return Err(unreadable("no checkpoint is whole"));
        }
        let checkpoint = survey.checkpoint().cloned();
        let known_end = checkpoint.as_ref().map_or(Position(0), |checkpoint| checkpoint.end);
        let mut books = Books::new(checkpoint, begins_at_zero, &mut |_| {});
        survey.scan(&mut |control| books.apply(control, &mut |_| {}));
        let is_fatal = |kind: &FlawKind| {
            matches!(
                kind,
                FlawKind::Newer { .. } | FlawKind::Headless { .. } | FlawKind::Unreadable(_)
            )
        };
        if survey.take_flaws().iter().any(|flaw| is_fatal(&flaw.kind)) {
            return Err(unreadable("a file of the journal cannot be read"));
        }
        let end = survey.end().max(known_end);
        Ok(Self { survey, books, end })
    }

    fn checkpoint(&self) -> Checkpoint {
        self.books.checkpoint(self.end)
    }

    /// Of a scratch log: how far its entries say that the transform has come, and those of them that
    /// nothing is to be delivered of.
    fn entries(&self) -> (Position, Positions) {
        let (mut source_end, mut ended) = (Position(0), Positions::default());
        self.survey.check(&mut |look| {
            if let Look::Record(position, bytes) = look
                && let Some((source, is_delivered)) = entry_outcome(bytes)
            {
                source_end = source_end.max(source.advanced_by(1));
                if !is_delivered {
                    ended.push(position);
                }
            }
        });
        (source_end, ended)
    }
}
