//! The compressors of pages, which keep their tables from page to page.

use std::io::Write as _;

use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;

use crate::convert::format::ParquetCompression;

/// Faster than the level that the zstd program has by default, and with encodings chosen by column no larger.
const ZSTD_LEVEL: i32 = 1;
const GZIP_LEVEL: u32 = 6;

/// Compresses pages.
pub(super) enum Codec {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Zstd(zstd::bulk::Compressor<'static>),
    Gzip,
}

impl Codec {
    /// # Errors
    /// When a compressor cannot be made.
    pub(super) fn new(compression: ParquetCompression) -> Result<Self, ParquetError> {
        Ok(match compression {
            ParquetCompression::None => Self::None,
            ParquetCompression::Snappy => Self::Snappy(Box::new(snap::raw::Encoder::new())),
            ParquetCompression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            ParquetCompression::Gzip => Self::Gzip,
        })
    }

    /// What the footer calls it.
    pub(super) fn name(&self) -> Result<Compression, ParquetError> {
        Ok(match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Snappy(_) => Compression::SNAPPY,
            Self::Zstd(_) => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?),
            Self::Gzip => Compression::GZIP(GzipLevel::try_new(GZIP_LEVEL)?),
        })
    }

    /// Writes `bytes` in compressed form into `room` from `start` on, and returns where they end. The
    /// room may be longer: what is there once is not cleared again.
    ///
    /// # Errors
    /// When the compressor fails.
    pub(super) fn compress(
        &mut self,
        bytes: &[u8],
        room: &mut Vec<u8>,
        start: usize,
    ) -> Result<usize, ParquetError> {
        let reserve = |room: &mut Vec<u8>, length| {
            if room.len() < start + length {
                room.resize(start + length, 0);
            }
        };
        let length = match self {
            Self::None => {
                reserve(room, bytes.len());
                room[start..][..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }
            Self::Snappy(encoder) => {
                reserve(room, snap::raw::max_compress_len(bytes.len()));
                let external = |error| ParquetError::External(Box::new(error));
                encoder.compress(bytes, &mut room[start..]).map_err(external)?
            }
            Self::Zstd(compressor) => {
                reserve(room, zstd::zstd_safe::compress_bound(bytes.len()));
                compressor.compress_to_buffer(bytes, &mut room[start..])?
            }
            Self::Gzip => {
                room.truncate(start);
                let level = flate2::Compression::new(GZIP_LEVEL);
                let mut encoder = flate2::write::GzEncoder::new(&mut *room, level);
                encoder.write_all(bytes)?;
                encoder.finish()?;
                room.len() - start
            }
        };
        Ok(start + length)
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Snappy(_) => "Snappy",
            Self::Zstd(_) => "Zstd",
            Self::Gzip => "Gzip",
        })
    }
}
