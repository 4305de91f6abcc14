//! Records one behind the other, as they were sent.
//!
//! Owns the delimiter between them and the choice of what compresses the whole. Does not look into
//! records; the headers of ZIP and Snappy stand in `containers`.
//!
//! Invariant: without compression and delimiter the object is the records' bytes and nothing else;
//! equal records make equal objects, but for the name inside a ZIP archive.

use std::fmt;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::containers::{Framing, SnappyStream, ZipArchive};
use super::format::{Delimiter, RecordsCompression, RecordsOptions};
use super::{EncodeError, Encoded, Pushed, ZSTD_LEVEL};

/// Gathers records into one object in memory.
#[derive(Debug)]
pub(super) struct RecordsEncoder {
    sink: Sink,
    delimiter: Delimiter,
    /// Whether a line feed is owed before the next record.
    owes_newline: bool,
    record_count: u64,
}

impl RecordsEncoder {
    /// An encoder for a new object.
    pub(super) fn new(options: RecordsOptions) -> Result<Self, EncodeError> {
        Ok(Self {
            sink: Sink::new(options.compression).map_err(EncodeError::Compress)?,
            delimiter: options.delimiter,
            owes_newline: false,
            record_count: 0,
        })
    }

    /// Appends one record.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<Pushed, EncodeError> {
        self.append(data).map_err(EncodeError::Compress)?;
        self.record_count += 1;
        Ok(Pushed { row_count: 1 })
    }

    pub(super) fn row_count(&self) -> u64 {
        self.record_count
    }

    /// Ends the object.
    pub(super) fn finish(self) -> Result<Encoded, EncodeError> {
        let bytes = self.sink.finish().map_err(EncodeError::Compress)?;
        Ok(Encoded { bytes, row_count: self.record_count })
    }

    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        if self.owes_newline {
            self.sink.write(b"\n")?;
        }
        self.sink.write(data)?;
        let needs_newline = !data.ends_with(b"\n");
        self.owes_newline = needs_newline && self.delimiter == Delimiter::Newline;
        if needs_newline && self.delimiter == Delimiter::NewlineAtEnd {
            self.sink.write(b"\n")?;
        }
        Ok(())
    }
}

/// Where the bytes go.
enum Sink {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zip(Box<ZipArchive>),
    Snappy(Box<SnappyStream>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Sink {
    fn new(compression: RecordsCompression) -> io::Result<Self> {
        Ok(match compression {
            RecordsCompression::None => Self::Plain(vec![]),
            // No time and no name in the header: equal records make equal objects.
            RecordsCompression::Gzip => {
                Self::Gzip(Box::new(GzEncoder::new(vec![], Compression::default())))
            }
            RecordsCompression::Zip => Self::Zip(Box::new(ZipArchive::new())),
            RecordsCompression::Snappy => {
                Self::Snappy(Box::new(SnappyStream::new(Framing::Xerial)))
            }
            RecordsCompression::HadoopSnappy => {
                Self::Snappy(Box::new(SnappyStream::new(Framing::Hadoop)))
            }
            RecordsCompression::Zstd => {
                Self::Zstd(Box::new(zstd::stream::write::Encoder::new(vec![], ZSTD_LEVEL)?))
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zip(archive) => archive.write(bytes),
            Self::Snappy(stream) => stream.write(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zip(archive) => archive.finish(),
            Self::Snappy(stream) => stream.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Gzip(_) => "Gzip",
            Self::Zip(_) => "Zip",
            Self::Snappy(_) => "Snappy",
            Self::Zstd(_) => "Zstd",
        })
    }
}
