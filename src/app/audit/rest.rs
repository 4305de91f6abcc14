//! The books of a service that does not run, from its data directory.
//!
//! Reads what a start reads, and changes nothing.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::super::directory::{FILE_BYTES_MAX, FORMAT, Identity};
use crate::disk::{Disk, OsDisk, read_file};
use crate::journal::{FlawKind, Survey, stamp_of};
use crate::pipeline::{Books, LegBooks, StreamBooks};
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
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |error| RestError::Disk { path, error }
    };
    match disk.list(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        names => names.map_err(fault(&directory))?,
    };
    let file = data_dir.join("identity.json");
    let bytes = read_file(disk.as_ref(), &file, FILE_BYTES_MAX).map_err(fault(&file))?;
    let unreadable = |reason: String| RestError::Unreadable { path: file.clone(), reason };
    let identity: Identity =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if identity.format != FORMAT {
        return Err(unreadable("another program wrote it".to_owned()));
    }
    let leg = |folder: &str| leg(&disk, &directory.join(folder), identity.instance);
    let is_there = |folder: &str| {
        let files = disk.list(&directory.join(folder).join("journal"));
        let checkpoints = disk.list(&directory.join(folder).join("checkpoint"));
        [files, checkpoints].into_iter().any(|names| names.is_ok_and(|names| !names.is_empty()))
    };
    let stamp = u64::from_be_bytes(stamp_of(identity.instance, stream));
    Ok(Some(StreamBooks {
        stamp: format!("{stamp:016x}"),
        records: leg("")?,
        parts: is_there("scratch").then(|| leg("scratch")).transpose()?,
        backup: is_there("backup").then(|| leg("backup")).transpose()?,
    }))
}

fn leg(disk: &Arc<dyn Disk>, directory: &Path, instance: Uuid) -> Result<LegBooks, RestError> {
    let survey = Survey::of(disk, directory, instance);
    let mut survey =
        survey.map_err(|error| RestError::Disk { path: directory.to_owned(), error })?;
    let begins_at_zero = survey.begin().is_none_or(|begin| begin == Position(0));
    let unreadable =
        |reason: &str| RestError::Unreadable { path: directory.to_owned(), reason: reason.into() };
    if survey.checkpoint().is_none() && !begins_at_zero {
        return Err(unreadable("no checkpoint is whole"));
    }
    let checkpoint = survey.checkpoint().cloned();
    let known_end = checkpoint.as_ref().map_or(Position(0), |checkpoint| checkpoint.end);
    let mut books = Books::new(checkpoint, begins_at_zero, &mut |_| {});
    survey.scan(&mut |control| books.apply(control, &mut |_| {}));
    let is_fatal = |kind: &FlawKind| {
        matches!(kind, FlawKind::Newer { .. } | FlawKind::Headless { .. } | FlawKind::Unreadable(_))
    };
    if survey.take_flaws().iter().any(|flaw| is_fatal(&flaw.kind)) {
        return Err(unreadable("a file of the journal cannot be read"));
    }
    Ok(LegBooks::of(&books.checkpoint(survey.end().max(known_end))))
}
