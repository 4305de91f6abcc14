//! What does not fit, and what the message says.

use super::{convert, convert_value, rows, schema};
use crate::convert::RejectCode;

const MALFORMED: &str = "DataFormatConversion.MalformedData: Data does not match the schema. ";
const NOT_JSON: &str = "DataFormatConversion.ParseError: Encountered malformed JSON. ";

#[test]
fn values_that_do_not_fit_are_rejected_with_place_type_and_value() {
    for (hive_type, json, message) in [
        ("int", "\"oops\"", "Column 'v': expected int, found \"oops\"."),
        ("tinyint", "128", "Column 'v': expected tinyint, found 128: out of range."),
        ("tinyint", "-129", "expected tinyint, found -129: out of range."),
        ("smallint", "\"32768\"", "out of range."),
        ("int", "2147483648", "out of range."),
        ("bigint", "9223372036854775808", "out of range."),
        ("bigint", "1e400000000000000000000", "out of range."),
        ("int", "1.5", "found 1.5: not a whole number."),
        ("int", "1e-1", "not a whole number."),
        ("int", "\"0x14\"", "found \"0x14\"."),
        ("int", "\"\"", "found \"\"."),
        ("int", "\" 1\"", "found \" 1\"."),
        ("int", "true", "found true."),
        ("int", "[1]", "found [1]."),
        ("float", "1e39", "expected float, found 1e39: out of range."),
        ("double", "1e309", "out of range."),
        ("double", "\"NaN\"", "found \"NaN\"."),
        ("double", "\"-Infinity\"", "found \"-Infinity\"."),
        ("double", "\"1_0\"", "found \"1_0\"."),
        ("double", "\".5\"", "found \".5\"."),
        ("boolean", "\"maybe\"", "expected boolean, found \"maybe\"."),
        ("boolean", "1", "found 1."),
        ("decimal(5,2)", "1000", "expected decimal(5,2), found 1000: out of range."),
        ("decimal(5,2)", "999.995", "out of range."),
        ("decimal(38,38)", "1", "out of range."),
        ("decimal(5,2)", "\"1,5\"", "found \"1,5\"."),
        ("char(3)", "\"añ😀x\"", "expected char(3), found \"añ😀x\": too long."),
        ("varchar(2)", "123", "expected varchar(2), found 123: too long."),
        ("binary", "\"AAE\"", "expected binary, found \"AAE\": not base64 with padding."),
        ("binary", "\"_-8=\"", "not base64 with padding."),
        ("binary", "[1,2]", "expected binary, found [1,2]."),
        ("date", "\"2023-02-29\"", "not a date of the form yyyy-MM-dd."),
        ("date", "\"2023-1-1T00:00:00Z\"", "not a date"),
        ("date", "\"0000-01-01\"", "not a date"),
        ("date", "20230101", "not a date"),
        ("array<int>", "1", "expected array<int>, found 1."),
        ("array<int>", "\"\"", "expected array<int>, found \"\"."),
        ("array<int>", "{}", "expected array<int>, found {}."),
        ("map<string,int>", "[]", "expected map<string,int>, found []."),
        ("map<int,int>", "{\"a\":1}", "Column 'v[\"a\"]': expected int, found \"a\"."),
        ("map<string,int>", "{\"a\":\"b\"}", "Column 'v[\"a\"]': expected int, found \"b\"."),
        ("struct<a:int>", "[]", "expected struct<a:int>, found []."),
        ("struct<a:int>", "\"\"", "expected struct<a:int>, found \"\"."),
        (
            "array<struct<qty:int>>",
            "[{},{\"qty\":1},{\"QTY\":\"oops\"}]",
            "Column 'v[2].qty': expected int, found \"oops\".",
        ),
    ] {
        let found = convert_value(hive_type, json).expect_err(json);
        assert!(found.starts_with(MALFORMED), "{found}");
        assert!(found.ends_with(message) || found.contains(message), "{hive_type} {json}: {found}");
    }
}

#[test]
fn timestamps_outside_the_forms_or_the_years_are_rejected() {
    for json in [
        "\"2026-9-7T00:00:00Z\"",
        "\"2017-02-07\"",
        "\"2017-02-07T15:13\"",
        "\"2017-02-07T24:00:00\"",
        "\"2017-02-07T15:60:00\"",
        "\"2017-02-07T15:13:60\"",
        "\"2017-02-30T15:13:01\"",
        "\"2017-02-07T15:13:01.\"",
        "\"2017-02-07T15:13:01.1234567890\"",
        "\"2017-02-07T15:13:01+19\"",
        "\"2017-02-07T15:13:01+3\"",
        "\"2017-02-07T15:13:01+030\"",
        "\"2017-02-07T15:13:01+0360\"",
        "\"2017-02-07T15:13:01+03:\"",
        "\"2017-02-07T15:13:01Z+03\"",
        "\"2017-02-07T15:13:01+03:60\"",
        "\"2017-02-07T15:13:01 Z\"",
        "\"2017-02-07t15:13:01z\"",
        "\"17-02-07 15:13:01\"",
        "\"02017-02-07 15:13:01\"",
        "\"0000-01-01 00:00:00\"",
        "\"0001-01-01T00:00:00+01\"",
        "\"9999-12-31T23:59:59-01\"",
        "\"yesterday\"",
        "\"\"",
        "999999999999",
        "-999999999999",
        "1518033528123456",
        "1e400",
        "true",
        "[]",
    ] {
        let found = convert_value("timestamp", json).expect_err(json);
        let expected = format!("{MALFORMED}Column 'v': expected timestamp, found {json}");
        assert!(found.starts_with(&expected), "{found}");
    }
}

#[test]
fn long_values_are_cut_between_characters() {
    let long = "é".repeat(300);
    let found = convert_value("int", &format!("\"x{long}\"")).expect_err("text");
    let expected = format!("found \"x{}….", "é".repeat(49));
    assert!(found.ends_with(&expected), "{found}");
    let long_key = format!("{{\"{long}\":true}}");
    let found = convert_value("map<string,int>", &long_key).expect_err("key");
    assert!(found.len() < 250, "{found}");
}

#[test]
fn what_is_not_json_is_a_parse_error_with_the_byte() {
    let schema = schema(&[("a", "int"), ("b", "string")]);
    for (record, message) in [
        (&b""[..], "Byte 0: expected a JSON object, found the end of the record."),
        (b" \n\t", "Byte 3: expected a JSON object, found the end of the record."),
        (b"oops", "Byte 0: expected a JSON value, found 'o'."),
        (b"\xef\xbb\xbf{}", "Byte 0: expected a JSON value, found '\\u{feff}'."),
        (b"{}\0", "Byte 2: expected a JSON value, found '\\0'."),
        (b"{\"a\":1", "Byte 6: expected ',' or '}', found the end of the record."),
        (b"{\"a\":1,}", "Byte 7: expected a key, found '}'."),
        (b"{\"a\":01}", "Byte 6: expected no digit behind a leading 0, found '1'."),
        (b"{\"a\":+1}", "Byte 5: expected a JSON value, found '+'."),
        (b"{\"a\":1.}", "Byte 7: expected a digit, found '}'."),
        (b"{\"b\":\"\x01\"}", "Byte 6: expected no bare control character in a string"),
        (b"{\"b\":\"\\x\"}", "Byte 6: expected a valid escape, found '\\\\'."),
        (b"{\"b\":\"\\ud800\"}", "Byte 6: expected a valid escape"),
        (b"{\"x\":\"\\udc00\"}", "Byte 6: expected a valid escape"),
        (b"{\"b\":\"\xff\"}", "Byte 6: expected UTF-8, found byte 0xff."),
        (b"{\"b\":tru}", "Byte 5: expected a JSON value, found 't'."),
        (b"{\"b\" 1}", "Byte 5: expected ':', found '1'."),
        (b"{'b':1}", "Byte 1: expected a key or '}', found '\\''."),
        (b"{\"a\":1},{\"a\":2}", "Byte 7: expected a JSON value, found ','."),
        // The fault in the syntax counts more than the value before it.
        (b"{\"a\":\"oops\"", "Byte 11: expected ',' or '}'"),
        (b"[1,2", "Byte 4: expected ',' or ']'"),
    ] {
        let (encoded, rejections) = convert(&schema, &[record]);
        assert_eq!(encoded.row_count, 0);
        let found = rejections[0].to_string();
        assert!(found.starts_with(&format!("{NOT_JSON}{message}")), "{record:?}: {found}");
    }
}

#[test]
fn json_that_is_no_object_is_malformed_data() {
    let schema = schema(&[("a", "int")]);
    for (record, found) in [
        ("[{\"a\":1},{\"a\":2}]", "Record: expected a JSON object, found [{\"a\":1},{\"a\":2}]."),
        (" 1 ", "Record: expected a JSON object, found 1."),
        ("{\"a\":1}\"x\"", "Record: expected a JSON object, found \"x\"."),
        ("null", "Record: expected a JSON object, found null."),
    ] {
        let (encoded, rejections) = convert(&schema, &[record.as_bytes()]);
        assert_eq!(encoded.row_count, 0);
        assert_eq!(rejections[0].code, RejectCode::MalformedData);
        assert_eq!(rejections[0].to_string(), format!("{MALFORMED}{found}"));
    }
}

#[test]
fn nesting_of_any_depth_does_not_reach_the_end_of_the_stack() {
    let schema = schema(&[("a", "int"), ("b", "string")]);
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for prefix in ["", "{\"unknown\":", "{\"b\":", "{\"a\":"] {
            let deep = format!("{prefix}{}{}", open.repeat(100_000), close.repeat(100_000));
            let (_, rejections) = convert(&schema, &[deep.as_bytes()]);
            let found = rejections[0].to_string();
            assert!(found.contains("expected at most 64 levels of nesting"), "{found}");
        }
    }
    let fits = format!("{{\"b\":{}{}}}", "[".repeat(63), "]".repeat(63));
    assert_eq!(convert(&schema, &[fits.as_bytes()]).1, []);
    let too_deep = format!("{{\"b\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert_eq!(convert(&schema, &[too_deep.as_bytes()]).1.len(), 1);
}

#[test]
fn a_small_record_cannot_take_much_memory() {
    let fields: Vec<String> = (0..1000).map(|n| format!("f{n}:int")).collect();
    let wide = format!("array<struct<{}>>", fields.join(","));
    let nested = format!("struct<inner:struct<{}>>", fields.join(","));
    for (hive_type, json) in [
        (&wide, format!("[{}{{}}]", "{},".repeat(5000))),
        (&wide, format!("[{}null]", "null,".repeat(5000))),
        (&format!("array<{nested}>"), format!("[{}null]", "{},".repeat(5000))),
    ] {
        let found = convert_value(hive_type, &json).expect_err("too many");
        assert!(found.contains("at most 4194304 values"), "{found}");
        assert!(found.len() < 400, "{found}");
    }
    let schema = schema(&[("v", &nested)]);
    let (_, rejections) = convert(&schema, &["{}".repeat(5000).as_bytes()]);
    assert!(rejections[0].message.contains("of document"), "{rejections:?}");
}

#[test]
fn a_record_is_atomic_and_its_neighbours_are_untouched() {
    let schema = schema(&[("a", "array<int>"), ("b", "string"), ("c", "map<string,int>")]);
    let records: &[&[u8]] = &[
        br#"{"a":[1],"b":"x","c":{"k":1}}"#,
        b"{\"a\":[2],\"b\":\"y\"}\n\n \r\n{\"a\":[\"oops\"],\"b\":\"lost\",\"c\":{\"k\":2}}",
        b"{\"b\":\"1\"}{\"b\":\"2\"} {\"b\":\"3\"}\n{\"b\":\"4\"}\n",
        br#"{"a":[3,4],"b":"lost\n","c":{"k":"oops"}}"#,
        br#"{"a":[5],"b":"l\u00f6st"}{"a":"#,
        br#"{"a":[6],"b":"z"}"#,
    ];
    let (encoded, rejections) = convert(&schema, records);
    assert_eq!(
        rows(&encoded),
        [
            "[1]|\"x\"|{\"k\"=1}",
            "null|\"1\"|null",
            "null|\"2\"|null",
            "null|\"3\"|null",
            "null|\"4\"|null",
            "[6]|\"z\"|null"
        ]
    );
    let messages: Vec<String> = rejections.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            format!("{MALFORMED}Column 'a[0]' of document 2: expected int, found \"oops\"."),
            format!("{MALFORMED}Column 'c[\"k\"]': expected int, found \"oops\"."),
            format!("{NOT_JSON}Byte 30: expected a JSON value, found the end of the record."),
        ]
    );
}

#[test]
fn bytes_that_no_text_has_are_taken_for_no_key() {
    let schema = schema(&[("a", "int"), ("s", "struct<b:int>")]);
    for front in ["{", "{\"a\":1", "{\"a\":1,\"s\":{", "{\"s\":{\"b\":1", "{\"s\":{\"b\":1}"] {
        for count in [1, 15, 16, 17, 31, 32, 33, 400] {
            let bad = [front.as_bytes(), &vec![0xff; count]].concat();
            let good = b"{\"a\":1,\"s\":{\"b\":2}}";
            // With a guess and without one.
            for records in [vec![&bad[..], good], vec![good, &bad, good]] {
                let (encoded, rejections) = convert(&schema, &records);
                assert_eq!(encoded.row_count as usize, records.len() - 1, "{front} {count}");
                assert_eq!(rejections[0].code, RejectCode::ParseError, "{front} {count}");
            }
        }
    }
}
