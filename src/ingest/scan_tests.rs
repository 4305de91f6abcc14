//! The one-pass reader against the general one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::wire::{Put, WireError};
use super::*;
use crate::record::UnixMillis;

/// A stream and the records for it.
type Taken = (String, Vec<Vec<u8>>);

fn scanned(body: &[u8], is_batch: bool) -> Option<Taken> {
    let mut batch = Batch::new(None, UnixMillis(0));
    let stream = put(body, is_batch, &mut batch);
    let records: Vec<Vec<u8>> = batch.records().map(<[u8]>::to_vec).collect();
    assert!(stream.is_some() || records.is_empty(), "what is not taken leaves nothing behind");
    stream.map(|stream| (stream.to_string(), records))
}

fn read(body: &[u8], is_batch: bool) -> Result<Taken, WireError> {
    let put = if is_batch { Put::batch(body)? } else { Put::one(body)? };
    let decoded = put.records().map(|record| {
        let mut bytes = Vec::new();
        record.decode(&mut bytes).map(|()| bytes)
    });
    let records = decoded.collect::<Result<_, _>>()?;
    Ok((put.stream.to_string(), records))
}

/// A body as a careful or a careless client writes it: `blanks` stands wherever blanks may.
fn written(records: &[Vec<u8>], is_batch: bool, name_first: bool, blanks: &str) -> String {
    let b = blanks;
    let record = |data: &Vec<u8>| format!(r#"{{{b}"Data"{b}:{b}"{}"{b}}}"#, STANDARD.encode(data));
    let list: Vec<String> = records.iter().map(record).collect();
    let records = if is_batch {
        format!(r#""Records"{b}:{b}[{b}{}{b}]"#, list.join(&format!("{b},{b}")))
    } else {
        format!(r#""Record"{b}:{b}{}"#, list[0])
    };
    let name = format!(r#""DeliveryStreamName"{b}:{b}"my-stream""#);
    let (one, other) = if name_first { (name, records) } else { (records, name) };
    format!("{b}{{{b}{one}{b},{b}{other}{b}}}{b}")
}

#[test]
fn bodies_of_other_shapes_are_left_to_the_general_reader() {
    for body in [
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"aGk="}],"Tenant":1}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"aGk=","More":null}]}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"\u0061Gk="}]}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"aG\/="}]}"#,
        r#"{"DeliveryStreamName":"\u0061","Records":[{"Data":"aGk="}]}"#,
        r#"{"DeliveryStreamName":"..","Records":[{"Data":"aGk="}]}"#,
        r#"{"DeliveryStreamName":"a","Records":[]}"#,
        r#"{"DeliveryStreamName":"a","Records":[null]}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"?"}]}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"aGk="}],"Records":[{"Data":"aGk="}]}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"aGk="},]}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"aGk="}]}}"#,
        r#"{"DeliveryStreamName":"a","Records":[{"Data":"aGk="}]"#,
        r#"{"DeliveryStreamName":"a","Record":{"Data":"aGk="}}"#,
        r#"{"Records":[{"Data":"aGk="}]}"#,
        r#"{"DeliveryStreamName":"a"}"#,
        "[]",
        "",
    ] {
        assert_eq!(scanned(body.as_bytes(), true), None, "{body}");
    }
}

#[test]
fn limits_are_left_to_the_general_reader() {
    let body = |count| written(&vec![vec![7; 3]; count], true, true, "");
    let taken = scanned(body(RECORD_COUNT_MAX).as_bytes(), true).expect("the most that fits");
    assert_eq!(taken.1.len(), RECORD_COUNT_MAX);
    assert_eq!(scanned(body(RECORD_COUNT_MAX + 1).as_bytes(), true), None);

    let body = |bytes| written(&[vec![7; bytes]], false, true, "");
    assert!(scanned(body(RECORD_BYTES_MAX).as_bytes(), false).is_some());
    assert_eq!(scanned(body(RECORD_BYTES_MAX + 1).as_bytes(), false), None);

    let body = |last| {
        let mut records = vec![vec![7; CALL_BYTES_MAX / 8]; 8];
        records[7].truncate(CALL_BYTES_MAX / 8 - 1);
        records.push(vec![7; last]);
        written(&records, true, true, "")
    };
    assert!(scanned(body(1).as_bytes(), true).is_some());
    assert_eq!(scanned(body(2).as_bytes(), true), None);
}

proptest! {
    #[test]
    fn calls_as_sdks_write_them_are_taken_as_the_general_reader_takes_them(
        records in vec(vec(any::<u8>(), 0..200), 1..6),
        is_batch: bool,
        name_first: bool,
        blanks in "[ \n\r\t]{0,2}",
    ) {
        let records = if is_batch { records } else { records[..1].to_vec() };
        let body = written(&records, is_batch, name_first, &blanks);
        let taken = scanned(body.as_bytes(), is_batch);
        prop_assert_eq!(taken.as_ref(), Some(&("my-stream".to_owned(), records)), "{}", body);
        prop_assert_eq!(taken, read(body.as_bytes(), is_batch).ok());
    }

    #[test]
    fn what_is_taken_after_a_change_is_what_the_general_reader_takes(
        records in vec(vec(any::<u8>(), 0..80), 1..4),
        is_batch: bool,
        blanks in "[ \n]{0,1}",
        at in any::<prop::sample::Index>(),
        to in prop::sample::select(&b"\"\\{}[],: \n=A/+-\xff\0u"[..]),
        how in 0..3,
    ) {
        let mut body = written(&records, is_batch, true, &blanks).into_bytes();
        let at = at.index(body.len());
        match how {
            0 => body[at] = to,
            1 => body.insert(at, to),
            _ => drop(body.remove(at)),
        }
        if let Some(taken) = scanned(&body, is_batch) {
            prop_assert_eq!(Ok(taken), read(&body, is_batch));
        }
    }

    #[test]
    fn foreign_bytes_never_panic(body in vec(any::<u8>(), 0..100), is_batch: bool) {
        if let Some(taken) = scanned(&body, is_batch) {
            prop_assert_eq!(Ok(taken), read(&body, is_batch));
        }
    }
}
