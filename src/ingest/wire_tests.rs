//! Bodies of calls: what is taken, what is refused, and with which words.

use proptest::prelude::*;

use super::*;
use crate::record::{Position, RECORD_BYTES_MAX};

fn batch_of(records: &str) -> String {
    format!(r#"{{"DeliveryStreamName":"events","Records":[{records}]}}"#)
}

fn repeated(data: &str, count: usize) -> String {
    batch_of(&vec![format!(r#"{{"Data":"{data}"}}"#); count].join(","))
}

fn text_of<T: fmt::Debug>(result: Result<T, WireError>) -> String {
    result.expect_err("a refusal").to_string()
}

/// The bytes of the only record of a PutRecord.
fn decoded(data: &str) -> Result<Vec<u8>, WireError> {
    let body = format!(r#"{{"DeliveryStreamName":"events","Record":{{"Data":"{data}"}}}}"#);
    let put = Put::one(body.as_bytes())?;
    let mut out = Vec::new();
    put.records().next().unwrap().decode(&mut out)?;
    Ok(out)
}

fn one(path: &str, constraint: &str) -> String {
    format!(
        "1 validation error detected: Value at '{path}' failed to satisfy constraint: \
         {constraint}"
    )
}

#[test]
fn missing_members_are_named_by_their_paths() {
    let null = "Member must not be null";
    for (body, path) in [
        (r#"{"DeliveryStreamName":"a"}"#, "records"),
        (r#"{"DeliveryStreamName":"a","Records":null}"#, "records"),
        (r#"{"Records":[{"Data":""}]}"#, "deliveryStreamName"),
        (&batch_of(r#"{"Data":""},null"#), "records.2.member"),
        (&batch_of(r#"{"Data":""},{},{"Data":""}"#), "records.2.member.data"),
        (&batch_of(r#"{"Data":null}"#), "records.1.member.data"),
    ] {
        assert_eq!(text_of(Put::batch(body.as_bytes())), one(path, null), "{body}");
    }
    for (body, path) in [
        (r#"{"DeliveryStreamName":"a"}"#, "record"),
        (r#"{"DeliveryStreamName":"a","Record":{}}"#, "record.data"),
        (r#"{"Record":{"Data":""}}"#, "deliveryStreamName"),
    ] {
        assert_eq!(text_of(Put::one(body.as_bytes())), one(path, null), "{body}");
    }
}

#[test]
fn several_violations_stand_in_one_text() {
    assert_eq!(
        text_of(Put::one(br#"{"DeliveryStreamName":""}"#)),
        "3 validation errors detected: \
         Value at 'deliveryStreamName' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: [a-zA-Z0-9_.-]+; \
         Value at 'deliveryStreamName' failed to satisfy constraint: Member must have length \
         greater than or equal to 1; \
         Value at 'record' failed to satisfy constraint: Member must not be null"
    );
}

#[test]
fn s15_names_that_are_no_stream_names_are_refused() {
    let pattern = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
    for name in ["../x", "a/b", "é", "a b", "a\\u0000"] {
        let body = format!(r#"{{"DeliveryStreamName":"{name}","Record":{{"Data":""}}}}"#);
        let text = text_of(Put::one(body.as_bytes()));
        assert_eq!(text, one("deliveryStreamName", pattern), "{name}");
    }
    let long = "x".repeat(65);
    let body = format!(r#"{{"DeliveryStreamName":"{long}","Record":{{"Data":""}}}}"#);
    let constraint = "Member must have length less than or equal to 64";
    assert_eq!(text_of(Put::one(body.as_bytes())), one("deliveryStreamName", constraint));
    for name in [".", ".."] {
        let body = format!(r#"{{"DeliveryStreamName":"{name}","Record":{{"Data":""}}}}"#);
        let error = Put::one(body.as_bytes()).unwrap_err();
        assert_eq!(error, WireError::ReservedName);
    }
}

#[test]
fn s24_counts_and_sizes_have_their_limits() {
    let count = |count| Put::batch(repeated("", count).as_bytes()).map(|put| put.records.len());
    assert_eq!(count(500), Ok(500));
    let constraint = "Member must have length less than or equal to 500";
    assert_eq!(text_of(count(501)), one("records", constraint));
    assert_eq!(
        text_of(count(0)),
        one("records", "Member must have length greater than or equal to 1")
    );

    let largest = BASE64.encode(vec![b'x'; RECORD_BYTES_MAX]);
    assert_eq!(decoded(&largest).map(|bytes| bytes.len()), Ok(RECORD_BYTES_MAX));
    let larger = BASE64.encode(vec![b'x'; RECORD_BYTES_MAX + 1]);
    let constraint = "Member must have length less than or equal to 1024000";
    assert_eq!(text_of(decoded(&larger)), one("record.data", constraint));
    let body = batch_of(&format!(r#"{{"Data":""}},{{"Data":"{larger}"}}"#));
    assert_eq!(text_of(Put::batch(body.as_bytes())), one("records.2.member.data", constraint));

    let quarter = "A".repeat(CALL_BYTES_MAX / 8 / 3 * 4 + 2);
    let put = Put::batch(repeated(&quarter, 8).as_bytes()).map(|put| put.data_bytes);
    assert_eq!(put, Ok(CALL_BYTES_MAX - 8));
    let body = repeated(&quarter, 8).replace("]}", r#",{"Data":"AAAAAAAAAAA="}]}"#);
    let put = Put::batch(body.as_bytes()).map(|put| put.data_bytes);
    assert_eq!(put, Ok(CALL_BYTES_MAX));
    let body = repeated(&quarter, 8).replace("]}", r#",{"Data":"AAAAAAAAAAAA"}]}"#);
    assert_eq!(text_of(Put::batch(body.as_bytes())), "Records size exceeds 4 MB limit");
}

#[test]
fn s31_bodies_of_another_shape_are_refused_with_their_place() {
    for body in ["", "{", "nul", r#"{"DeliveryStreamName":"a"} {}"#, "{\"a\":\"\u{1}\"}"] {
        let error = Put::batch(body.as_bytes()).unwrap_err();
        assert!(matches!(error, WireError::Malformed { .. }), "{body}: {error}");
    }
    for body in [
        "[]",
        r#"["a",[]]"#,
        "null",
        r#"{"DeliveryStreamName":1}"#,
        r#"{"Records":{}}"#,
        r#"{"Records":"x"}"#,
        r#"{"Records":[["aGk="]]}"#,
        r#"{"Records":[{"Data":[1]}]}"#,
        r#"{"DeliveryStreamName":"a","DeliveryStreamName":"b"}"#,
    ] {
        let error = Put::batch(body.as_bytes()).unwrap_err();
        assert!(matches!(error, WireError::WrongShape { .. }), "{body}: {error}");
    }
    let error = Put::batch(b"{\"DeliveryStreamName\":\n 12}").unwrap_err();
    assert_eq!(error, WireError::WrongShape { line: 2, column: 3 });
    let error = Put::batch(b"{\"DeliveryStreamName\":\"\xff\"}").unwrap_err();
    assert!(matches!(error, WireError::Malformed { .. }), "invalid UTF-8: {error}");
}

#[test]
fn s31_unknown_members_are_ignored_at_any_depth() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(
        r#"{{"Tenant":{deep},"DeliveryStreamName":"a","Record":{{"Data":"","More":{{}}}}}}"#
    );
    assert!(Put::one(body.as_bytes()).is_ok());
}

#[test]
fn base64_is_the_standard_alphabet_with_or_without_padding() {
    for (data, bytes) in [
        ("", &b""[..]),
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        ("aA==", b"h"),
        ("aA", b"h"),
        ("+/+/", b"\xfb\xff\xbf"),
        (r"\u0061GVsbG8=", b"hello"),
    ] {
        assert_eq!(decoded(data).as_deref(), Ok(bytes), "{data}");
    }
    for data in
        ["a", "aGVsb", "====", "=", "aA===", "a=Gk", "-_-_", "aGk=\\n", "aGk= ", "aGl=", "é"]
    {
        let error = decoded(data).unwrap_err();
        let path = "record.data".to_owned();
        assert_eq!(error, WireError::NotBase64 { path }, "{data}");
    }
    let body = batch_of(r#"{"Data":"aGk="},{"Data":"?"}"#);
    let put = Put::batch(body.as_bytes()).unwrap();
    let error = put.records().nth(1).unwrap().decode(&mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "The value at 'records.2.member.data' is not base64.");
}

#[test]
fn limits_of_lists_are_checked() {
    for (body, constraint) in [
        (r#"{"Limit":0}"#, "Member must have value greater than or equal to 1"),
        (r#"{"Limit":10001}"#, "Member must have value less than or equal to 10000"),
    ] {
        assert_eq!(text_of(List::parse(body.as_bytes())), one("limit", constraint));
    }
    for body in [r#"{"Limit":1.5}"#, r#"{"Limit":"1"}"#, r#"{"Limit":99999999999999999999}"#] {
        let error = List::parse(body.as_bytes()).unwrap_err();
        assert!(matches!(error, WireError::WrongShape { .. }), "{body}: {error}");
    }
    assert_eq!(List::parse(b"{}").map(|list| list.limit), Ok(10));
}

#[test]
fn answers_are_compact() {
    let id = |position| RecordId { stamp: [0; 8], position: Position(position) };
    let answer = put_record_answer(id(7));
    let expected = r#"{"RecordId":"00000000000000000000000000","Encrypted":false}"#;
    assert_eq!(answer.len(), expected.len() + 6);
    let answer = put_record_batch_answer([id(0), id(1)].into_iter());
    let start = r#"{"FailedPutCount":0,"Encrypted":false,"RequestResponses":[{"RecordId":"#;
    assert!(answer.starts_with(start), "{answer}");
    assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok(), "{answer}");
}

proptest! {
    #[test]
    fn data_survives_the_way_in(records in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..64), 1..20,
    )) {
        let encoded = records.iter().map(|data| format!(r#"{{"Data":"{}"}}"#, BASE64.encode(data)));
        let body = batch_of(&encoded.collect::<Vec<_>>().join(","));
        let put = Put::batch(body.as_bytes()).unwrap();
        let total: usize = records.iter().map(Vec::len).sum();
        prop_assert_eq!(put.data_bytes, total);
        for (encoded, data) in put.records().zip(&records) {
            let mut out = b"before".to_vec();
            encoded.decode(&mut out).unwrap();
            prop_assert_eq!(&out[6..], &data[..]);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Put::one(&body).is_ok(), Put::batch(&body).is_ok());
        let _ = (Describe::parse(&body).is_ok(), List::parse(&body).is_ok());
    }

    #[test]
    fn mutilated_calls_never_panic(
        at: prop::sample::Index, to: u8, cut: prop::sample::Index, data in "[A-Za-z+/=]{0,9}",
    ) {
        let mut body = repeated(&data, 3).into_bytes();
        let at = at.index(body.len());
        body[at] = to;
        body.truncate(cut.index(body.len()) + 1);
        if let Ok(put) = Put::batch(&body) {
            for record in put.records() {
                let _ = record.decode(&mut Vec::new());
            }
        }
    }
}
