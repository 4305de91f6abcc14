//! Samples of records from files and the standard input.
//!
//! Owns how much of them is read. Does not own what stands in them.

use std::io::{self, Read as _};
use std::path::Path;

use crate::disk::{Stream, read_stream};

/// What lies further behind in a source is not looked at.
pub(super) const SAMPLE_BYTES_MAX: u64 = 64 << 20;

/// The beginning of a sample, up to the last whole line.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    /// Whether there is more than was read.
    pub(super) is_cut: bool,
    /// Whether it can be read another time.
    pub(super) is_file: bool,
}

/// Reads a file, or the standard input for `-`.
pub(super) fn read(path: &Path) -> io::Result<Sample> {
    let Stream { mut bytes, is_file } = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().take(SAMPLE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Stream { bytes, is_file: false }
    } else {
        read_stream(path, SAMPLE_BYTES_MAX + 1)?
    };
    let is_cut = bytes.len() as u64 > SAMPLE_BYTES_MAX;
    if is_cut {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
    }
    Ok(Sample { bytes, is_cut, is_file })
}
