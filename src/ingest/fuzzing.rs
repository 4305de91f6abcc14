//! Bodies of calls, for the fuzzer: of the API and of the plain endpoint.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::body::BODY_BYTES_MAX;
use super::reply::ErrorReply;
use super::scan;
use super::split::{Form, RECORD_COUNT_MAX as PLAIN_COUNT_MAX};
use super::unpack::Encoding;
use super::wire::{CALL_BYTES_MAX, Describe, List, Put, RECORD_COUNT_MAX, WireError};
use crate::journal::Batch;
use crate::record::{RECORD_BYTES_MAX, UnixMillis};

/// The body of a call of the API: what is taken is what another reader of JSON sees in it, and
/// keeps all limits; what is not taken is told as a fault of the caller. The first byte is the
/// operation.
pub(crate) fn request_body(data: &[u8]) {
    let Some((operation, body)) = data.split_first() else {
        return;
    };
    match operation % 4 {
        0 => put(Put::one(body), body, false),
        1 => put(Put::batch(body), body, true),
        2 => match Describe::parse(body) {
            Ok(describe) => agrees(body, "DeliveryStreamName", describe.stream.as_str()),
            Err(error) => refused(error),
        },
        _ => match List::parse(body) {
            Ok(list) => assert!((1..=10_000).contains(&list.limit)),
            Err(error) => refused(error),
        },
    }
}

fn put(put: Result<Put<'_>, WireError>, body: &[u8], is_batch: bool) {
    let mut batch = Batch::new(None, UnixMillis(0));
    let scanned = scan::put(body, is_batch, &mut batch);
    let put = match put {
        Ok(put) => put,
        Err(error) => {
            assert_eq!(scanned, None, "the scanner takes what is refused: {error}");
            return refused(error);
        }
    };
    let decoded: Vec<Option<Vec<u8>>> = put
        .records()
        .map(|record| {
            let mut bytes = Vec::new();
            record.decode(&mut bytes).map_err(refused).is_ok().then_some(bytes)
        })
        .collect();
    if let Some(stream) = scanned {
        assert_eq!(stream, put.stream);
        assert!(batch.records().eq(decoded.iter().map(|bytes| bytes.as_deref().expect("base64"))));
    }
    let count_max = if put.is_batch { RECORD_COUNT_MAX } else { 1 };
    assert!((1..=count_max).contains(&decoded.len()));
    assert!(put.data_bytes <= CALL_BYTES_MAX);
    if let Some(whole) = decoded.iter().cloned().collect::<Option<Vec<_>>>() {
        assert_eq!(whole.iter().map(Vec::len).sum::<usize>(), put.data_bytes);
        assert!(whole.iter().all(|record| record.len() <= RECORD_BYTES_MAX));
    }
    agrees(body, "DeliveryStreamName", put.stream.as_str());
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let base64 =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = GeneralPurpose::new(&STANDARD, base64);
    let theirs = |record: &Value| base64.decode(record["Data"].as_str().expect("a text")).ok();
    let theirs: Vec<_> = match &value["Records"] {
        Value::Array(records) if put.is_batch => records.iter().map(theirs).collect(),
        _ => vec![theirs(&value["Record"])],
    };
    assert_eq!(decoded, theirs);
}

/// Another reader sees the same text; it bounds depth, and ours does not look into what it skips.
fn agrees(body: &[u8], member: &str, text: &str) {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        assert_eq!(value[member].as_str(), Some(text));
    }
}

fn refused(error: WireError) {
    let reply = ErrorReply::from(error);
    assert!(reply.status.is_client_error() && !reply.message.is_empty(), "{reply:?}");
}

/// A plain body: it unpacks to no more than there may be, and its records are pieces of it, one
/// behind the other. The first byte says how it is packed, the second how it is split.
pub(crate) fn plain_body(data: &[u8]) {
    let &[encoding, form, ref body @ ..] = data else {
        return;
    };
    let encoding = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd][usize::from(encoding) % 3];
    let form = [Form::Lines, Form::Json, Form::Unsaid][usize::from(form) % 3];
    let mut room = 0;
    let unpacked = encoding.unpack(body, |bytes| {
        room += bytes;
        Ok(())
    });
    let Ok(unpacked) = unpacked else {
        return;
    };
    if let Some(unpacked) = &unpacked {
        assert!(unpacked.len() <= room.min(BODY_BYTES_MAX));
    }
    let body = unpacked.as_deref().unwrap_or(body);
    let Ok(records) = form.split(body) else {
        return;
    };
    assert!((1..=PLAIN_COUNT_MAX).contains(&records.len()));
    let mut end = 0;
    for record in records {
        let Range { start, end: after } = place(body, record);
        assert!(start >= end && after <= body.len(), "records overlap, or leave the body");
        end = after;
        assert!((1..=RECORD_BYTES_MAX).contains(&record.len()));
        if form == Form::Json {
            serde_json::from_slice::<IgnoredAny>(record).expect("a record is a whole value");
            assert_eq!(record.trim_ascii().len(), record.len());
        }
    }
}

fn place(body: &[u8], piece: &[u8]) -> Range<usize> {
    let start = (piece.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize);
    start..start.wrapping_add(piece.len())
}
