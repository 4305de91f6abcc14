//! The calls that producers send all day, read in one pass and straight into their batch.
//!
//! Owns a reader of the one shape that SDKs write: the two members of a PutRecord or PutRecordBatch in
//! any order, with blanks where JSON allows them, and base64 without an escape. Everything else, right
//! or wrong, is left to `wire`, which says what is wrong with it: here there are no errors. What this
//! reader takes `wire` takes as well, with the same records; the fuzzer holds them against each other.

use memchr::memchr;

use super::wire::{CALL_BYTES_MAX, RECORD_COUNT_MAX, decode_onto};
use crate::journal::Batch;
use crate::record::{RECORD_BYTES_MAX, StreamName};

/// Reads a body of the usual shape into `batch`, which is empty, and tells the stream. `None` when the
/// body is of another shape or not in order; the batch is then empty again.
pub(super) fn put(body: &[u8], is_batch: bool, batch: &mut Batch) -> Option<StreamName> {
    batch.reserve(body.len() / 4 * 3);
    let stream = call(&mut Cursor { rest: body }, is_batch, batch);
    if stream.is_none() {
        batch.clear();
    }
    stream
}

fn call(cursor: &mut Cursor<'_>, is_batch: bool, batch: &mut Batch) -> Option<StreamName> {
    let mut stream = None;
    cursor.take(b'{')?;
    loop {
        let name = cursor.text()?;
        cursor.take(b':')?;
        match name {
            b"DeliveryStreamName" if stream.is_none() => stream = Some(cursor.text()?),
            b"Records" if is_batch && batch.record_count() == 0 => records(cursor, batch)?,
            b"Record" if !is_batch && batch.record_count() == 0 => record(cursor, batch)?,
            _ => return None,
        }
        if !cursor.goes_on(b'}')? {
            break;
        }
    }
    let is_whole = batch.record_count() > 0 && cursor.is_at_end();
    let stream = stream.filter(|_| is_whole)?;
    StreamName::new(std::str::from_utf8(stream).ok()?).ok()
}

fn records(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Option<()> {
    cursor.take(b'[')?;
    loop {
        record(cursor, batch)?;
        if !cursor.goes_on(b']')? {
            return Some(());
        }
        if batch.record_count() == RECORD_COUNT_MAX {
            return None;
        }
    }
}

fn record(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Option<()> {
    cursor.take(b'{')?;
    if cursor.text()? != b"Data" {
        return None;
    }
    cursor.take(b':')?;
    // An escape is no letter of base64.
    let data = cursor.text()?;
    let length = batch.push_with(|out| decode_onto(data, out)).ok()?;
    cursor.take(b'}')?;
    (length <= RECORD_BYTES_MAX && batch.data_bytes() <= CALL_BYTES_MAX).then_some(())
}

/// What is left of a body.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn pass_blanks(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// The next byte that is not blank.
    fn next(&mut self) -> Option<u8> {
        self.pass_blanks();
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A text as it stands between its quotes; one with an escape that ends in a quote is cut there,
    /// and none that is asked for has an escape.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let (text, rest) = self.rest.split_at(memchr(b'"', self.rest)?);
        self.rest = &rest[1..];
        Some(text)
    }

    /// Whether another element follows; `None` when what follows is neither that nor `end`.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        match self.next()? {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.pass_blanks();
        self.rest.is_empty()
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
