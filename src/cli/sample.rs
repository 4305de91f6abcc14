//! Samples of records from files and the standard input.
//!
//! Owns how much of them is read. Does not own what stands in them.

use std::io::{self, Read as _};
use std::path::Path;

use crate::disk::{Disk as _, OpenMode, OsDisk, read_up_to};

/// What lies further behind in a source is not looked at.
const SAMPLE_BYTES_MAX: u64 = 64 << 20;

/// The beginning of a sample, up to the last whole line.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    /// Whether there is more than was read.
    pub(super) is_cut: bool,
}

/// Reads a file, or the standard input for `-`.
pub(super) fn read(path: &Path) -> io::Result<Sample> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(SAMPLE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        let file = OsDisk.open(path, OpenMode::Read)?;
        let length = file.len_bytes()?.min(SAMPLE_BYTES_MAX + 1);
        bytes.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        let read = read_up_to(file.as_ref(), &mut bytes, 0)?;
        bytes.truncate(read);
    }
    let is_cut = bytes.len() as u64 > SAMPLE_BYTES_MAX;
    if is_cut {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
    }
    Ok(Sample { bytes, is_cut })
}
