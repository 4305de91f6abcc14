//! The ways of reading JSON: which key is whose, what Hive takes, and timestamps by patterns.

use std::sync::Arc;

use super::{columns, convert, rows};
use crate::convert::{
    JsonInput, OpenXOptions, ParquetOptions, Schema, SchemaError, TimestampFormat,
};

fn schema(types: &[(&str, &str)], input: JsonInput) -> Result<Arc<Schema>, SchemaError> {
    let options = ParquetOptions { input, ..ParquetOptions::default() };
    Schema::with_options(&columns(types), options).map(Arc::new)
}

fn openx(options: OpenXOptions) -> JsonInput {
    JsonInput::OpenX(options)
}

fn hive(formats: &[&str]) -> JsonInput {
    let read = |format: &&str| TimestampFormat::parse(format).unwrap();
    JsonInput::Hive(formats.iter().map(read).collect())
}

fn rows_of(types: &[(&str, &str)], input: JsonInput, records: &[&str]) -> Vec<String> {
    let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
    let (encoded, rejections) = convert(&schema(types, input).unwrap(), &records);
    assert_eq!(rejections, []);
    rows(&encoded)
}

/// What a column `v` holds after the record `{"v":<json>}`, or why it is rejected.
fn value(hive_type: &str, input: JsonInput, json: &str) -> Result<String, String> {
    let record = format!("{{\"v\":{json}}}");
    let schema = schema(&[("v", hive_type)], input).unwrap();
    let (encoded, mut rejections) = convert(&schema, &[record.as_bytes()]);
    match rejections.pop() {
        Some(rejection) => Err(rejection.to_string()),
        None => Ok(rows(&encoded).remove(0)),
    }
}

#[test]
fn keys_are_compared_as_they_are_when_case_counts() {
    let types = [("id", "int"), ("s", "struct<n:int>")];
    let records =
        [r#"{"ID":1,"s":{"N":1}}"#, r#"{"id":2,"s":{"n":2}}"#, r#"{"\u0069d":3,"S":{"n":3}}"#];
    let exact = OpenXOptions { case_insensitive: false, ..OpenXOptions::default() };
    assert_eq!(rows_of(&types, openx(exact), &records), ["null|(null)", "2|(2)", "3|null"]);
    let any = OpenXOptions::default();
    assert_eq!(rows_of(&types, openx(any), &records), ["1|(1)", "2|(2)", "3|(3)"]);
}

#[test]
fn dots_of_keys_are_underscores_at_every_depth_when_asked_for() {
    let types = [("a_b", "int"), ("s", "struct<c_d:int>")];
    let records = [
        r#"{"a.b":1,"s":{"c.d":1}}"#,
        r#"{"A.b":2,"s":{"c\u002ed":2}}"#,
        r#"{"a_b":3,"s":{"c_d":3}}"#,
    ];
    let dots = OpenXOptions { dots_to_underscores: true, ..OpenXOptions::default() };
    assert_eq!(rows_of(&types, openx(dots), &records), ["1|(1)", "2|(2)", "3|(3)"]);
    let none = rows_of(&types, openx(OpenXOptions::default()), &records[..1]);
    assert_eq!(none, ["null|(null)"]);
}

#[test]
fn a_mapped_column_is_read_from_its_key_and_no_other() {
    let types = [("ts", "bigint"), ("n", "int"), ("s", "struct<ts:int>")];
    let records =
        [r#"{"timestamp":1,"n":1,"s":{"ts":7}}"#, r#"{"n":2,"Timestamp":2}"#, r#"{"ts":3,"n":3}"#];
    let keys = [("ts".to_owned(), "Timestamp".to_owned())];
    let any = OpenXOptions { keys: keys.clone().into(), ..OpenXOptions::default() };
    let wanted = ["1|1|(7)", "2|2|null", "null|3|null"];
    assert_eq!(rows_of(&types, openx(any), &records), wanted);
    let exact =
        OpenXOptions { keys: keys.into(), case_insensitive: false, ..OpenXOptions::default() };
    let wanted = ["null|1|(7)", "2|2|null", "null|3|null"];
    assert_eq!(rows_of(&types, openx(exact), &records), wanted);
}

#[test]
fn no_key_belongs_to_two_columns() {
    let with = |types: &[(&str, &str)], column: &str, key: &str, dots_to_underscores| {
        let keys = [(column.to_owned(), key.to_owned())].into();
        let options = OpenXOptions { keys, dots_to_underscores, ..OpenXOptions::default() };
        schema(types, openx(options)).map(drop).map_err(|error| error.to_string())
    };
    let types = [("a", "int"), ("b", "int"), ("c_d", "int")];
    let error = with(&types, "a", "B", false).unwrap_err();
    assert!(error.contains("key 'b' belongs to two names"), "{error}");
    assert!(with(&types, "a", "c.d", false).is_ok());
    assert!(with(&types, "a", "c.d", true).is_err());
    // A table that the catalog has may have fewer columns than yesterday.
    assert!(with(&types, "gone", "x", false).is_ok());
}

#[test]
fn hive_takes_no_numbers_out_of_strings_and_makes_no_text_of_json() {
    for hive_type in ["tinyint", "int", "bigint", "float", "double", "decimal(5,2)"] {
        assert_eq!(
            value(hive_type, hive(&[]), "7").unwrap().trim_end_matches(".0"),
            match hive_type {
                "decimal(5,2)" => "7.00",
                _ => "7",
            }
        );
        let error = value(hive_type, hive(&[]), "\"7\"").unwrap_err();
        assert!(error.contains("found \"7\": Hive's JSON SerDe reads no numbers"), "{error}");
        assert!(value(hive_type, JsonInput::default(), "\"7\"").is_ok());
    }
    for json in ["{\"a\":1}", "[1]"] {
        let error = value("string", hive(&[]), json).unwrap_err();
        assert!(error.contains("makes no text of objects and arrays"), "{error}");
        assert!(value("string", JsonInput::default(), json).is_ok());
    }
    assert_eq!(value("string", hive(&[]), "1.50").unwrap(), "\"1.50\"");
    // The keys of a map are strings in any JSON.
    assert_eq!(value("map<int,int>", hive(&[]), "{\"7\":1}").unwrap(), "{7=1}");
    let dotted = schema(&[("a.b", "int")], hive(&[])).unwrap_err();
    assert!(matches!(dotted, SchemaError::Dotted { .. }), "{dotted}");
    assert!(schema(&[("a.b", "int")], JsonInput::default()).is_ok());
}

#[test]
fn hive_reads_timestamps_by_the_first_pattern_that_fits() {
    let at = |formats: &[&str], json: &str| value("timestamp", hive(formats), json);
    let micros = |text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text).unwrap();
        Ok(time.timestamp_micros().to_string())
    };
    let iso = "yyyy-MM-dd'T'HH:mm:ss.SSSZ";
    for (formats, json, wanted) in [
        (&[][..], r#""2026-2-8 3:04:05.123456789""#, "2026-02-08T03:04:05.123456Z"),
        (&[iso], r#""2026-02-08T03:04:05.120+0300""#, "2026-02-08T00:04:05.12Z"),
        (&[iso], r#""2026-2-8T3:4:5.1-06:30""#, "2026-02-08T09:34:05.1Z"),
        (&[iso], r#""2026-02-08T03:04:05.123Z""#, "2026-02-08T03:04:05.123Z"),
        (&["millis"], "1518033528123", "2018-02-07T19:58:48.123Z"),
        (&["MILLIS"], r#""1518033528123.4567""#, "2018-02-07T19:58:48.123456Z"),
        (&[iso, "millis"], "-1", "1969-12-31T23:59:59.999Z"),
        (&["millis", iso], r#""2026-02-08T03:04:05.123Z""#, "2026-02-08T03:04:05.123Z"),
        (&["yyyyMMddHHmmss"], r#""20260208030405""#, "2026-02-08T03:04:05Z"),
        (&["yyyyMMdd"], "20260208", "2026-02-08T00:00:00Z"),
        (&["MM/dd/yyyy hh:mm a"], r#""2/8/2026 12:07 am""#, "2026-02-08T00:07:00Z"),
        (&["MM/dd/yyyy hh:mm a"], r#""2/8/2026 12:07 PM""#, "2026-02-08T12:07:00Z"),
        (
            &["EEE MMM dd HH:mm:ss Z yyyy"],
            r#""Sun Feb 08 03:04:05 +0000 2026""#,
            "2026-02-08T03:04:05Z",
        ),
        (&["d MMMM YYYY, H:m z"], r#""8 feb 2026, 3:4 UTC""#, "2026-02-08T03:04:00Z"),
        (&["'at' yyyy-MM-dd 'o''clock'"], r#""at 2026-02-08 o'clock""#, "2026-02-08T00:00:00Z"),
    ] {
        assert_eq!(at(formats, json), micros(wanted), "{formats:?} {json}");
    }
    for (formats, json) in [
        (&[][..], "1518033528"),
        (&[], r#""2026-02-08T03:04:05Z""#),
        (&[], r#""2026-02-08 03:04:05Z""#),
        (&[iso], r#""2026-02-08 03:04:05.123""#),
        (&[iso], r#""2026-02-08T03:04:05.1234Z""#),
        (&[iso], r#""2026-02-30T03:04:05.123Z""#),
        (&[iso], r#""2026-02-08T03:04:05.123+9900""#),
        (&["millis"], r#""soon""#),
        (&["millis"], "99999999999999999999"),
        (&["yyyyMMdd"], "2026208"),
        (&["EEE yyyy-MM-dd"], r#""Mon 2026-02-08""#),
        (&["yyyy-MM-dd hh a"], r#""2026-02-08 13 pm""#),
        (&["yyyy-MM-dd z"], r#""2026-02-08 CET""#),
        (&["yyyy-MM-dd"], r#""2026-02-08 ""#),
        (&["yyyy-MM-dd"], r#""0000-02-08""#),
        (&["yyyy-MM-dd"], r#""é""#),
    ] {
        let error = at(formats, json).unwrap_err();
        assert!(error.contains("not a timestamp of a form that is listed"), "{formats:?}: {error}");
    }
}

#[test]
fn patterns_that_are_not_read_say_what_to_write() {
    for (pattern, part) in [
        ("yy-MM-dd", "write yyyy"),
        ("yyyy-MM", "write y, M and d"),
        ("yyyy-MM-dd hh", "together with a"),
        ("yyyy-MM-dd HH a", "together with a"),
        ("yyyy-MM-dd'T", "a quote is not closed"),
        ("yyyy-MM-dd ZZZ", "'ZZZ' is not read"),
        ("yyyy-DDD", "'DDD' is not read"),
        ("yyyy-MM-ddTHH", "'T' is not read"),
        ("", "write y, M and d"),
    ] {
        let error = TimestampFormat::parse(pattern).unwrap_err();
        assert!(error.contains(part), "{pattern}: {error}");
    }
}
