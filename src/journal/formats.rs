//! Whether this program may touch the files of a log at all.
//!
//! Owns the look at format numbers that comes before every change, so that a program that is too old
//! leaves a directory as it found it, byte for byte.

use std::io;
use std::path::Path;

use super::OpenError;
use super::control::{self, CHECKPOINT_FORMAT};
use super::segment::{self, HeaderError, SegmentHeader};
use crate::disk::{Disk, OpenMode, read_up_to};

/// Bytes of a checkpoint that name its format.
const CHECKPOINT_FRONT_BYTES: usize = 8;

/// Refuses the log in `directory` when a newer program wrote one of its files. Changes nothing.
///
/// # Errors
/// That it did, or what the disk answers; a folder that is not there is empty.
pub fn refuse_newer(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let segments = directory.join("journal");
    for name in names(disk, &segments)? {
        if segment::parse_file_name(&name).is_none() {
            continue;
        }
        let path = segments.join(name);
        let header = disk.open(&path, OpenMode::Read);
        let header = header.and_then(|file| SegmentHeader::read(file.as_ref()));
        match header.map_err(|error| OpenError::Disk { path: path.clone(), error })? {
            Err(HeaderError::Newer(format)) => {
                return Err(OpenError::NewerFormat { path, format, known: segment::FORMAT });
            }
            Ok(_) | Err(HeaderError::Damaged) => {}
        }
    }
    let checkpoints = directory.join("checkpoint");
    for name in names(disk, &checkpoints)? {
        if control::parse_name(&name).is_none() {
            continue;
        }
        let path = checkpoints.join(name);
        let mut front = [0; CHECKPOINT_FRONT_BYTES];
        let file = disk.open(&path, OpenMode::Read);
        let read = file.and_then(|file| read_up_to(file.as_ref(), &mut front, 0));
        // One that cannot be read is as bad as one that is damaged.
        let format = read.ok().and_then(|read| control::newer_format(&front[..read]));
        if let Some(format) = format {
            return Err(OpenError::NewerFormat { path, format, known: CHECKPOINT_FORMAT });
        }
    }
    Ok(())
}

fn names(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>, OpenError> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(|error| OpenError::Disk { path: directory.to_owned(), error }),
    }
}
