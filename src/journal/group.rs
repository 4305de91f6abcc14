//! The bytes of a group on their way to the disk.
//!
//! Owns which of them are gathered in one buffer, and which are written from where they are: long
//! data is not copied. Does not know what frames say (`frame`), or where they are written (`log`).

use std::io::IoSlice;

use super::Batch;
use super::committer::Payload;
use super::frame::{self, Slot};
use crate::record::Position;

/// Data of a batch from this length on is written from where it is; a copy of less costs less than
/// one more piece for the kernel. Tests have small batches, and are to meet both ways.
const COPIED_BYTES_MAX: usize = if cfg!(test) { 512 } else { 16 << 10 };

/// Frames one behind the other.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    gathered: Vec<u8>,
    /// Data that is not copied, each with how much is gathered before it.
    aside: Vec<(usize, &'a [u8])>,
    aside_bytes: usize,
    salt: u32,
    next: Position,
}

impl<'a> Frames<'a> {
    /// No frames of the segment with `salt`, the first to come with the position `next`; `buffer` is
    /// emptied and written into.
    pub(super) fn new(mut buffer: Vec<u8>, salt: u32, next: Position) -> Self {
        buffer.clear();
        Self { gathered: buffer, aside: Vec::new(), aside_bytes: 0, salt, next }
    }

    /// Their length.
    pub(super) fn bytes(&self) -> usize {
        self.gathered.len() + self.aside_bytes
    }

    /// The position after the last record.
    pub(super) fn next(&self) -> Position {
        self.next
    }

    /// Adds the frames of `payload`.
    pub(super) fn put(&mut self, payload: &'a Payload) {
        match payload {
            Payload::Batch(batch) => self.put_batch(batch),
            Payload::Batches(batches) => batches.iter().for_each(|batch| self.put_batch(batch)),
            Payload::Control(kind, body) => {
                let slot = self.slot();
                frame::put_control(&mut self.gathered, slot, *kind, body);
            }
            Payload::Seal => {}
        }
    }

    fn put_batch(&mut self, batch: &'a Batch) {
        let slot = self.slot();
        self.next = self.next.advanced_by(batch.record_count() as u64);
        if batch.data_bytes() < COPIED_BYTES_MAX {
            return frame::put_batch(&mut self.gathered, slot, batch);
        }
        let header = frame::put_batch_head(&mut self.gathered, slot, batch);
        self.aside.push((self.gathered.len(), batch.data()));
        self.aside_bytes += batch.data_bytes();
        frame::put_padding(&mut self.gathered, &header);
    }

    fn slot(&self) -> Slot {
        Slot { salt: self.salt, first: self.next, group_offset: self.bytes() }
    }

    /// The pieces in their order.
    pub(super) fn pieces(&self) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(self.aside.len() * 2 + 1);
        let mut from = 0;
        for &(before, data) in &self.aside {
            pieces.push(IoSlice::new(&self.gathered[from..before]));
            pieces.push(IoSlice::new(data));
            from = before;
        }
        pieces.push(IoSlice::new(&self.gathered[from..]));
        pieces
    }

    /// The buffer, to be used again.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.gathered
    }
}
