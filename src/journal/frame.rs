//! Frames: the unit that the journal writes and checks. The byte format is in [`super`].
//!
//! Owns the encoding of a frame and of the batch inside it, next to their decoding. Does not know
//! files, groups or what a control frame says.

use crc32c::crc32c_append;

use super::Batch;
use super::window::{CALL_KEY_BYTES, CallKey};
use crate::record::{Position, Tenant, UnixMillis};

/// Begins every frame; helps to find frames, proves nothing.
pub(super) const MAGIC: u32 = 0x4C4B_4652;
/// Bytes of a frame before its payload.
pub(super) const HEADER_BYTES: usize = 48;
/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The most payload bytes of a frame; longer lengths are damage.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// A call's key stands within so many bytes of the meta part: behind a tenant, with their lengths.
pub(super) const KEY_WITHIN_BYTES: usize = 1 + u8::MAX as usize + 1 + CALL_KEY_BYTES;
/// Bytes of meta for each record of a batch.
pub(super) const ENTRY_BYTES: usize = 8;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The records of one call.
    Batch = 1,
    /// A plan.
    Plan = 2,
    /// The objects of a plan are in the store.
    Commit = 3,
    /// A partition is in its catalog.
    Registered = 4,
    /// Objects of a plan were lost by the disk before they were put.
    Spoiled = 5,
    /// The segment was closed in order; nothing follows.
    Seal = 15,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Batch, Self::Plan, Self::Commit, Self::Registered, Self::Spoiled, Self::Seal]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes behind the header, without padding.
    pub(super) payload_bytes: usize,
    /// Bytes at the payload's front that `meta_crc` covers.
    pub(super) meta_bytes: usize,
    pub(super) meta_crc: u32,
    /// The first record of a batch; for others the next record to come.
    pub(super) first: Position,
    pub(super) arrival: UnixMillis,
    /// Records in the frame.
    pub(super) count: u32,
    /// Bytes from the start of the frame's group to the frame.
    pub(super) group_offset: u32,
}

impl Header {
    /// Bytes of the whole frame with its padding.
    pub(super) fn frame_bytes(&self) -> usize {
        (HEADER_BYTES + self.payload_bytes).next_multiple_of(ALIGNMENT)
    }

    /// The position after the frame's records.
    pub(super) fn end(&self) -> Position {
        self.first.advanced_by(u64::from(self.count))
    }

    /// Reads and checks a header; `None` when the bytes are not one.
    pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        if u32_at(bytes, 0) != MAGIC || u32_at(bytes, 4) != crc32c_append(salt, &bytes[8..]) {
            return None;
        }
        let header = Self {
            kind: Kind::from_byte(bytes[20])?,
            payload_bytes: u32_at(bytes, 8) as usize,
            meta_bytes: u32_at(bytes, 12) as usize,
            meta_crc: u32_at(bytes, 16),
            first: Position(u64_at(bytes, 24)),
            arrival: UnixMillis(u64_at(bytes, 32).cast_signed()),
            count: u32_at(bytes, 40),
            group_offset: u32_at(bytes, 44),
        };
        let lengths_hold = header.payload_bytes <= PAYLOAD_BYTES_MAX
            && header.meta_bytes <= header.payload_bytes
            && header.first.0.checked_add(u64::from(header.count)).is_some()
            && (header.kind == Kind::Batch) == (header.count > 0);
        lengths_hold.then_some(header)
    }

    fn encode(&self, salt: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.payload_bytes as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.meta_bytes as u32).to_le_bytes());
        bytes[16..20].copy_from_slice(&self.meta_crc.to_le_bytes());
        bytes[20] = self.kind as u8;
        bytes[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.arrival.0.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.count.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.group_offset.to_le_bytes());
        let crc = crc32c_append(salt, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Where and for which segment a frame is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) salt: u32,
    pub(super) first: Position,
    pub(super) group_offset: usize,
}

/// Appends the frame of `batch`.
pub(super) fn put_batch(out: &mut Vec<u8>, slot: Slot, batch: &Batch) {
    let header = put_batch_head(out, slot, batch);
    out.extend_from_slice(batch.data());
    put_padding(out, &header);
}

/// Appends what stands before the data in the frame of `batch`; the data and
/// [`put_padding`] have to follow.
pub(super) fn put_batch_head(out: &mut Vec<u8>, slot: Slot, batch: &Batch) -> Header {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    put_tenant(out, batch.tenant());
    put_call(out, batch.call());
    out.reserve(batch.record_count() * ENTRY_BYTES);
    for (data, index) in batch.records().zip(0..) {
        let crc = record_crc(slot.salt, slot.first.advanced_by(index), data);
        out.extend_from_slice(&entry(data.len() as u32, crc));
    }
    let (kind, count) = (Kind::Batch, batch.record_count() as u32);
    let shape = Shape { kind, arrival: batch.arrival(), count, data_bytes: batch.data_bytes() };
    put_header(out, start, slot, shape)
}

/// Appends what stands between the payload of a frame and its end.
pub(super) fn put_padding(out: &mut Vec<u8>, header: &Header) {
    let padding = header.frame_bytes() - HEADER_BYTES - header.payload_bytes;
    out.resize(out.len() + padding, 0);
}

/// Appends a frame without records; `body` is all that it says.
pub(super) fn put_control(out: &mut Vec<u8>, slot: Slot, kind: Kind, body: &[u8]) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    out.extend_from_slice(body);
    let shape = Shape { kind, arrival: UnixMillis(0), count: 0, data_bytes: 0 };
    let header = put_header(out, start, slot, shape);
    put_padding(out, &header);
}

struct Shape {
    kind: Kind,
    arrival: UnixMillis,
    count: u32,
    /// Bytes that follow the meta part.
    data_bytes: usize,
}

/// Writes the header at `start`, behind whose place the meta part stands and nothing else.
fn put_header(out: &mut [u8], start: usize, slot: Slot, shape: Shape) -> Header {
    let (place, meta) = out[start..].split_at_mut(HEADER_BYTES);
    let header = Header {
        kind: shape.kind,
        payload_bytes: meta.len() + shape.data_bytes,
        meta_bytes: meta.len(),
        meta_crc: crc32c_append(slot.salt, meta),
        first: slot.first,
        arrival: shape.arrival,
        count: shape.count,
        group_offset: slot.group_offset as u32,
    };
    assert!(header.payload_bytes <= PAYLOAD_BYTES_MAX, "callers bound what a frame holds");
    place.copy_from_slice(&header.encode(slot.salt));
    header
}

fn entry(length: u32, crc: u32) -> [u8; ENTRY_BYTES] {
    (u64::from(crc) << 32 | u64::from(length)).to_le_bytes()
}

/// Whether the part of a payload that names its content is whole.
pub(super) fn meta_is_whole(header: &Header, payload: &[u8], salt: u32) -> bool {
    let meta = payload.get(..header.meta_bytes);
    meta.is_some_and(|meta| crc32c_append(salt, meta) == header.meta_crc)
}

/// What the meta part of a batch frame says.
#[derive(Debug)]
pub(super) struct BatchMeta<'a> {
    pub(super) tenant: Option<Tenant>,
    pub(super) call: Option<CallKey>,
    entries: &'a [u8],
}

impl<'a> BatchMeta<'a> {
    /// Reads a meta part that is whole; `None` when it is not a batch's all the same, which only a
    /// foreign writer can bring about.
    pub(super) fn decode(header: &Header, meta: &'a [u8]) -> Option<Self> {
        let (tenant, rest) = take_tenant(meta)?;
        let (call, entries) = take_call(rest)?;
        if entries.len() != header.count as usize * ENTRY_BYTES {
            return None;
        }
        let meta = Self { tenant, call, entries };
        let lengths: usize = meta.lengths().map(|length| length as usize).sum();
        (lengths == header.payload_bytes - header.meta_bytes).then_some(meta)
    }

    /// The length of each record.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u32> + 'a {
        self.entries.chunks_exact(ENTRY_BYTES).map(|entry| u32_at(entry, 0))
    }
}

/// The records of a batch frame, read from its payload.
#[derive(Debug)]
pub(super) struct BatchView<'a> {
    pub(super) meta: BatchMeta<'a>,
    first: Position,
    salt: u32,
    data: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Reads a payload whose meta part is whole; `None` when it is no batch's, or is cut off.
    pub(super) fn decode(header: &Header, payload: &'a [u8], salt: u32) -> Option<Self> {
        let (meta, data) = payload.split_at_checked(header.meta_bytes)?;
        let meta = BatchMeta::decode(header, meta)?;
        let is_all = data.len() == header.payload_bytes - header.meta_bytes;
        is_all.then_some(Self { meta, first: header.first, salt, data })
    }

    /// Each record with its position; `None` for one whose bytes are damaged.
    pub(super) fn records(&self) -> impl Iterator<Item = (Position, Option<&'a [u8]>)> {
        self.chosen(|_| true)
    }

    /// The same of those that `is_chosen` picks, which is asked for each in order; the others are not
    /// looked at.
    pub(super) fn chosen(
        &self,
        mut is_chosen: impl FnMut(Position) -> bool,
    ) -> impl Iterator<Item = (Position, Option<&'a [u8]>)> {
        let (first, salt, data) = (self.first, self.salt, self.data);
        let mut start = 0;
        let entries = self.meta.entries.chunks_exact(ENTRY_BYTES).zip(0..);
        entries.filter_map(move |(entry, index)| {
            let end = start + u32_at(entry, 0) as usize;
            let record = &data[start..end];
            start = end;
            let position = first.advanced_by(index);
            is_chosen(position).then(|| {
                let whole = record_crc(salt, position, record) == u32_at(entry, 4);
                (position, whole.then_some(record))
            })
        })
    }
}

fn record_crc(salt: u32, position: Position, data: &[u8]) -> u32 {
    crc32c_append(crc32c_append(salt, &position.0.to_le_bytes()), data)
}

fn put_tenant(out: &mut Vec<u8>, tenant: Option<&Tenant>) {
    let text = tenant.map_or("", Tenant::as_str);
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn take_tenant(meta: &[u8]) -> Option<(Option<Tenant>, &[u8])> {
    let (&length, rest) = meta.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    if text.is_empty() {
        return Some((None, rest));
    }
    let tenant = Tenant::new(std::str::from_utf8(text).ok()?).ok()?;
    Some((Some(tenant), rest))
}

fn put_call(out: &mut Vec<u8>, call: Option<CallKey>) {
    let key: &[u8] = call.as_ref().map_or(&[], |call| &call.0);
    out.push(key.len() as u8);
    out.extend_from_slice(key);
}

fn take_call(meta: &[u8]) -> Option<(Option<CallKey>, &[u8])> {
    let (&length, rest) = meta.split_first()?;
    if length == 0 {
        return Some((None, rest));
    }
    let (key, rest) = rest.split_first_chunk()?;
    (usize::from(length) == CALL_KEY_BYTES).then_some((Some(CallKey(*key)), rest))
}

/// The key of the call whose batch a whole meta part describes.
pub(super) fn call_of(meta: &[u8]) -> Option<CallKey> {
    let (_, rest) = take_tenant(meta)?;
    take_call(rest)?.0
}

/// The little-endian number at `offset`.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let bytes = bytes[offset..offset + 4].try_into().expect("four bytes were taken");
    u32::from_le_bytes(bytes)
}

/// The little-endian number at `offset`.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let bytes = bytes[offset..offset + 8].try_into().expect("eight bytes were taken");
    u64::from_le_bytes(bytes)
}
