//! Containers of records that no library writes for us: ZIP, and Snappy in the two ways of Java.
//!
//! Owns their headers. The compression itself is `flate2`'s and `snap`'s. Firehose writes the same
//! ones: the streams of snappy-java's `SnappyOutputStream` and `SnappyHadoopCompatibleOutputStream`,
//! and an archive with one entry.
//!
//! The archive is written here because the crate for it brings ciphers and what wipes their keys, for
//! a hundred bytes of header around a stream that `flate2` makes anyway.

use std::io::{self, Write as _};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use snap::raw::{Encoder, max_compress_len};
use uuid::Uuid;

/// How many bytes of records one block of a Snappy stream holds; snappy-java's default.
const BLOCK_BYTES: usize = 32 << 10;
/// What a stream of snappy-java begins with: its name, its version and the oldest that reads it.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// What stands around the blocks of a Snappy stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A header, and before each block its length.
    Xerial,
    /// Before each block the length of what it holds, and its own.
    Hadoop,
}

/// A Snappy stream in memory.
#[derive(Debug)]
pub(super) struct SnappyStream {
    framing: Framing,
    encoder: Encoder,
    /// What is not compressed yet; less than a block.
    rest: Vec<u8>,
    out: Vec<u8>,
}

impl SnappyStream {
    pub(super) fn new(framing: Framing) -> Self {
        let out = match framing {
            Framing::Xerial => XERIAL_HEADER.to_vec(),
            Framing::Hadoop => vec![],
        };
        Self { framing, encoder: Encoder::new(), rest: Vec::with_capacity(BLOCK_BYTES), out }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.rest.len();
            let (front, back) = bytes.split_at(room.min(bytes.len()));
            self.rest.extend_from_slice(front);
            bytes = back;
            if self.rest.len() == BLOCK_BYTES {
                self.end_block()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.rest.is_empty() {
            self.end_block()?;
        }
        Ok(self.out)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.framing == Framing::Hadoop {
            self.out.extend((self.rest.len() as u32).to_be_bytes());
        }
        let start = self.out.len() + 4;
        self.out.resize(start + max_compress_len(self.rest.len()), 0);
        let length = self.encoder.compress(&self.rest, &mut self.out[start..])?;
        self.out[start - 4..start].copy_from_slice(&(length as u32).to_be_bytes());
        self.out.truncate(start + length);
        self.rest.clear();
        Ok(())
    }
}

/// The method of an entry, and the oldest version of readers that know it.
const DEFLATED: u16 = 8;
const VERSION: u16 = 20;
/// 1980-01-01, the first day that an archive can name: nothing here asks the time.
const DATE: u16 = 1 << 5 | 1;
/// A regular file that its owner may write and all may read, in the upper half as Unix has it.
const ATTRIBUTES: u32 = 0o100_644 << 16;
const UNIX: u16 = 3 << 8;

/// A ZIP archive in memory with one deflated entry.
#[derive(Debug)]
pub(super) struct ZipArchive {
    /// A random one, which says nothing of the object's key.
    name: String,
    encoder: DeflateEncoder<Vec<u8>>,
    crc: Crc,
    /// Of the records; the checksum counts no further than 4 GiB.
    size_bytes: u64,
}

impl ZipArchive {
    pub(super) fn new() -> Self {
        let name = Uuid::new_v4().to_string();
        // What is not known yet is filled in at the end.
        let header = local_header(&name, 0, 0, 0);
        let encoder = DeflateEncoder::new(header, Compression::default());
        Self { name, encoder, crc: Crc::new(), size_bytes: 0 }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.encoder.write_all(bytes)
    }

    /// # Errors
    /// From 4 GiB on, which the plain form of an archive has no numbers for.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        let mut out = self.encoder.finish()?;
        let too_large = |_| io::Error::other("a ZIP archive has 4 GiB or more");
        let end = u32::try_from(out.len()).map_err(too_large)?;
        let size = u32::try_from(self.size_bytes).map_err(too_large)?;
        let header_bytes = local_header(&self.name, 0, 0, 0).len();
        let packed = end - header_bytes as u32;
        let header = local_header(&self.name, self.crc.sum(), packed, size);
        out[..header_bytes].copy_from_slice(&header);

        out.extend(b"PK\x01\x02");
        out.extend((UNIX | VERSION).to_le_bytes());
        append_entry(&mut out, &self.name, self.crc.sum(), packed, size);
        out.extend([0; 2 + 2 + 2]); // No comment, the first disk, nothing about the content.
        out.extend(ATTRIBUTES.to_le_bytes());
        out.extend(0u32.to_le_bytes()); // Where the entry begins.
        out.extend(self.name.as_bytes());
        let directory = out.len() as u32 - end;

        out.extend(b"PK\x05\x06");
        out.extend([0; 2 + 2]); // The first disk, twice.
        out.extend([1, 0, 1, 0]); // Entries on it, and in all.
        out.extend(directory.to_le_bytes());
        out.extend(end.to_le_bytes());
        out.extend([0; 2]); // No comment.
        Ok(out)
    }
}

fn local_header(name: &str, crc: u32, packed: u32, size: u32) -> Vec<u8> {
    let mut out = b"PK\x03\x04".to_vec();
    append_entry(&mut out, name, crc, packed, size);
    out.extend(name.as_bytes());
    out
}

/// What the headers of an entry have in common.
fn append_entry(out: &mut Vec<u8>, name: &str, crc: u32, packed: u32, size: u32) {
    // The version, no flags, the method, midnight, the date.
    for number in [VERSION, 0, DEFLATED, 0, DATE] {
        out.extend(number.to_le_bytes());
    }
    for number in [crc, packed, size] {
        out.extend(number.to_le_bytes());
    }
    // The name's length, no further fields.
    for number in [name.len() as u16, 0] {
        out.extend(number.to_le_bytes());
    }
}
