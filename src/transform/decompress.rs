//! Firehose's `Decompression`: records that are gzip become what they were.
//!
//! Owns the bound on that. One level is undone: gzip of gzip becomes gzip. Members one behind the
//! other are one text, as for gzip itself; what is cut off, has a wrong checksum, or has anything but
//! members in it fails. The size that a member names is not looked at.
//!
//! Invariant: no more memory is taken than the text needs, with 1 MiB for what is too long or broken.
//! What was unpacked in vain is told, so that a record of many such parts costs no more than it may.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::inside::{Inside, Processor};
use super::{PART_BYTES_MAX, Part, Transform, Verdict};

/// What is read at once.
const CHUNK_BYTES: usize = 32 << 10;
/// Longer texts are measured before they are kept.
const KEPT_BYTES: usize = 1 << 20;

/// The step.
#[must_use]
pub fn decompress() -> impl Transform {
    Inside::new(Decompress)
}

#[derive(Debug)]
pub(super) struct Decompress;

/// Why there is no text.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// It is not whole gzip.
    Broken,
    /// It has more than [`PART_BYTES_MAX`].
    TooLong,
}

impl Processor for Decompress {
    fn verdict(&self, part: &Part) -> Verdict {
        let mut made_bytes = 0;
        match unpacked(&part.data, &mut made_bytes) {
            Ok(data) => Verdict::Parts(vec![Part {
                data: Bytes::from(data),
                partition_keys: part.partition_keys.clone(),
            }]),
            Err(Refused::Broken) => Verdict::no_cloudwatch_log().after(made_bytes),
            Err(Refused::TooLong) => Verdict::decompression_failed(format!(
                "Decompression failed because the record would have more than {PART_BYTES_MAX} \
                 bytes."
            ))
            .after(made_bytes),
        }
    }
}

/// The text; its length, or how much of it there was, is counted in `length`.
fn unpacked(packed: &[u8], length: &mut usize) -> Result<Vec<u8>, Refused> {
    let mut text = Vec::new();
    read(packed, |chunk| {
        *length += chunk.len();
        if *length <= KEPT_BYTES {
            text.extend_from_slice(chunk);
        }
    })?;
    if text.len() < *length {
        // Exactly what it needs, where growing by doubling would take twice as much.
        text = Vec::with_capacity(*length);
        read(packed, |chunk| text.extend_from_slice(chunk))?;
    }
    Ok(text)
}

/// Hands the text to `take` piece by piece, and ends with the piece that makes it too long.
fn read(packed: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), Refused> {
    let mut decoder = MultiGzDecoder::new(packed);
    let mut chunk = [0; CHUNK_BYTES];
    let mut length = 0;
    loop {
        let count = decoder.read(&mut chunk).map_err(|_| Refused::Broken)?;
        if count == 0 {
            return Ok(());
        }
        take(&chunk[..count]);
        length += count;
        if length > PART_BYTES_MAX {
            return Err(Refused::TooLong);
        }
    }
}
