//! Where the records of a backup end that has been switched off.
//!
//! Owns the note of it, `end.json` in the backup's folder. What was accepted until then is still
//! written, however many starts that takes; what came later never is. A note that is damaged counts as
//! none: then the backup ends with the next start, and holds more than was asked for.

use std::io::{self, ErrorKind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, read_file, replace_file};
use crate::record::Position;

const FILE_NAME: &str = "end.json";
const FILE_BYTES_MAX: u64 = 1 << 10;

/// The end of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEnd {
    /// The position after the last record that it takes.
    pub end: Position,
    /// Whether all of them are written.
    pub is_over: bool,
}

impl BackupEnd {
    /// The note in the folder of a backup, if there is one.
    ///
    /// # Errors
    /// When the disk does not say whether there is one.
    pub(super) fn read(disk: &dyn Disk, directory: &Path) -> io::Result<Option<Self>> {
        let path = directory.join(FILE_NAME);
        let bytes = match read_file(disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            // No note is that long.
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Vec::new(),
            Err(error) => {
                let text = format!("could not read {}: {error}", path.display());
                return Err(io::Error::new(error.kind(), text));
            }
        };
        let note = serde_json::from_slice(&bytes);
        if let Err(error) = &note {
            tracing::warn!(
                path = %path.display(),
                %error,
                "the note of where a backup ends is damaged and counts as none: where the backup is \
                 still off, it ends with this start"
            );
        }
        Ok(note.ok())
    }

    /// Makes the note durable.
    pub(super) fn write(self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(&self).map_err(io::Error::other)?;
        text.push(b'\n');
        replace_file(disk, &directory.join(FILE_NAME), &text)
    }

    /// There is a backup again.
    pub(super) fn remove(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        match disk.remove(&directory.join(FILE_NAME)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => disk.sync_dir(directory),
        }
    }
}
