//! Segment files: their names, their headers, and the way through their frames.
//!
//! Owns how a segment file is named and recognised and how valid frames are found in it. Does not
//! decide what damage means: that is [`recovery`](super::recovery).

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::frame::{self, Header, u32_at, u64_at};
use crate::disk::{DiskFile, read_up_to};
use crate::record::{Position, UnixMillis};

/// Bytes of a segment before its first frame: two copies of the header, in different sectors.
pub(super) const HEADER_BYTES: usize = COPY_AT + COPY_BYTES;
const COPY_BYTES: usize = 64;
const COPY_AT: usize = 512;
/// The format that this program writes, and the only one that it reads.
pub(super) const FORMAT: u16 = 1;
const MAGIC: &[u8; 8] = b"LKHSEG01";
const WINDOW_BYTES: usize = 256 << 10;
/// What is read of a frame when those before it were so long that most of a window would be bytes of
/// records that nobody wants.
const HOP_BYTES: usize = 4 << 10;
/// From this length on, passing over a frame costs less than reading through it.
const HOPPED_FRAME_BYTES: usize = 64 << 10;

/// The name of the segment with number `sequence`.
pub(super) fn file_name(sequence: u64) -> String {
    format!("{sequence:016x}.seg")
}

/// The number in a segment's name; `None` for every other file.
pub(super) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (file_name(sequence) == name).then_some(sequence)
}

/// The front of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) instance: Uuid,
    pub(super) sequence: u64,
    /// The first record that the segment may hold.
    pub(super) first: Position,
    pub(super) created: UnixMillis,
    /// Begins every checksum of the segment, so that neither stale bytes of a recycled file nor a
    /// record that imitates a frame can pass.
    pub(super) salt: u32,
}

/// Why a file's front is not a segment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not a segment, or its header is damaged.
    Damaged,
    /// A format that this program does not know.
    Newer(u16),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; COPY_BYTES] {
        let mut bytes = [0; COPY_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(self.instance.as_bytes());
        bytes[32..40].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.created.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Whether `next` is the segment that was begun where this one was sealed.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        self.sequence.checked_add(1) == Some(next.sequence) && self.first <= next.first
    }

    /// Writes both copies.
    pub(super) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..COPY_BYTES].copy_from_slice(&self.encode());
        bytes[COPY_AT..].copy_from_slice(&self.encode());
        file.write_all_at(&bytes, 0)
    }

    /// Reads whichever copy is whole.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Result<Self, HeaderError>> {
        let mut bytes = [0; HEADER_BYTES];
        read_up_to(file, &mut bytes, 0)?;
        let first = Self::decode(&bytes[..COPY_BYTES]);
        Ok(if first == Err(HeaderError::Damaged) { Self::decode(&bytes[COPY_AT..]) } else { first })
    }

    /// Reads each copy by itself, and tells whether the bytes between them are as they were written.
    pub(super) fn read_copies(
        file: &dyn DiskFile,
    ) -> io::Result<([Result<Self, HeaderError>; 2], bool)> {
        let mut bytes = [0; HEADER_BYTES];
        read_up_to(file, &mut bytes, 0)?;
        let copies = [Self::decode(&bytes[..COPY_BYTES]), Self::decode(&bytes[COPY_AT..])];
        Ok((copies, bytes[COPY_BYTES..COPY_AT].iter().all(|byte| *byte == 0)))
    }

    fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if &bytes[..8] != MAGIC || u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(HeaderError::Damaged);
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format != FORMAT {
            return Err(HeaderError::Newer(format));
        }
        Ok(Self {
            instance: Uuid::from_slice(&bytes[16..32]).expect("sixteen bytes were taken"),
            sequence: u64_at(bytes, 32),
            first: Position(u64_at(bytes, 40)),
            created: UnixMillis(u64_at(bytes, 48).cast_signed()),
            salt: u32_at(bytes, 56),
        })
    }
}

/// Reads frames of one segment through a window of the file.
#[derive(Debug)]
pub(super) struct Frames {
    file: Arc<dyn DiskFile>,
    salt: u32,
    limit: u64,
    window: Vec<u8>,
    window_start: u64,
    /// Bytes that one read takes, at the least.
    read_bytes: usize,
}

impl Frames {
    /// Reads `file` up to the offset `limit`.
    pub(super) fn new(file: Arc<dyn DiskFile>, salt: u32, limit: u64) -> Self {
        let (window, window_start, read_bytes) = (Vec::new(), 0, WINDOW_BYTES);
        Self { file, salt, limit, window, window_start, read_bytes }
    }

    /// The frame at `offset`, when a frame stands there whose header and meta part are whole.
    pub(super) fn at(&mut self, offset: u64) -> io::Result<Option<Header>> {
        let Some(header) = self.header(offset)? else {
            return Ok(None);
        };
        Ok(self.has_whole_meta(offset, &header)?.then_some(header))
    }

    /// The header at `offset`, when it is whole; its frame may be damaged all the same.
    pub(super) fn header(&mut self, offset: u64) -> io::Result<Option<Header>> {
        let salt = self.salt;
        let header = Header::decode(self.bytes(offset, frame::HEADER_BYTES)?, salt);
        Ok(header.filter(|header| offset + header.frame_bytes() as u64 <= self.limit))
    }

    /// Whether the meta part of the frame at `offset` is whole.
    pub(super) fn has_whole_meta(&mut self, offset: u64, header: &Header) -> io::Result<bool> {
        let salt = self.salt;
        let meta = self.meta(offset, header)?;
        Ok(frame::meta_is_whole(header, meta, salt))
    }

    /// Tells that nothing more is wanted of a frame and that the next one is likely of its kind, so
    /// that reads take no more than is of use.
    pub(super) fn pass(&mut self, header: &Header) {
        let is_hopped = header.frame_bytes() >= HOPPED_FRAME_BYTES;
        self.read_bytes = if is_hopped { HOP_BYTES } else { WINDOW_BYTES };
    }

    /// The payload of the frame at `offset`, of which [`at`](Self::at) told the header; shorter
    /// only when the file has been cut since.
    pub(super) fn payload(&mut self, offset: u64, header: &Header) -> io::Result<&[u8]> {
        self.bytes(offset + frame::HEADER_BYTES as u64, header.payload_bytes)
    }

    /// The part of that payload which names its content.
    pub(super) fn meta(&mut self, offset: u64, header: &Header) -> io::Result<&[u8]> {
        self.bytes(offset + frame::HEADER_BYTES as u64, header.meta_bytes)
    }

    /// The front of that part, with the call's key when there is one.
    pub(super) fn front(&mut self, offset: u64, header: &Header) -> io::Result<&[u8]> {
        let count = header.meta_bytes.min(frame::KEY_WITHIN_BYTES);
        self.bytes(offset + frame::HEADER_BYTES as u64, count)
    }

    /// All bytes of that frame, its header and padding too.
    pub(super) fn whole(&mut self, offset: u64, header: &Header) -> io::Result<&[u8]> {
        self.bytes(offset, header.frame_bytes())
    }

    /// The first frame at or after `offset`.
    pub(super) fn find(&mut self, offset: u64) -> io::Result<Option<(u64, Header)>> {
        let mut offset = offset.next_multiple_of(frame::ALIGNMENT as u64);
        while offset + frame::HEADER_BYTES as u64 <= self.limit {
            if let Some(header) = self.at(offset)? {
                return Ok(Some((offset, header)));
            }
            // What comes now is a search.
            self.read_bytes = WINDOW_BYTES;
            offset += frame::ALIGNMENT as u64;
        }
        Ok(None)
    }

    /// At most `count` bytes from `offset` on; fewer at the limit or the end of the file.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let count = (count as u64).min(self.limit.saturating_sub(offset)) as usize;
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + count as u64 > window_end {
            let wanted = count.max(self.read_bytes) as u64;
            let wanted = wanted.min(self.limit.saturating_sub(offset)) as usize;
            self.window.resize(wanted, 0);
            self.window_start = offset;
            let read = read_up_to(self.file.as_ref(), &mut self.window, offset)?;
            self.window.truncate(read);
        }
        let start = (offset - self.window_start) as usize;
        Ok(&self.window[start..self.window.len().min(start + count)])
    }
}
