//! Bodies into records, byte by byte.

use proptest::prelude::*;

use super::*;

fn form(content_type: &str) -> Result<Form, SplitError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    Form::of(&headers)
}

fn split(form: Form, body: &str) -> Result<Vec<String>, SplitError> {
    let records = form.split(body.as_bytes())?;
    Ok(records.into_iter().map(|record| String::from_utf8(record.to_vec()).unwrap()).collect())
}

fn records(form: Form, body: &str) -> Vec<String> {
    split(form, body).unwrap_or_else(|error| panic!("{body}: {error}"))
}

#[test]
fn the_content_type_decides() {
    for (content_type, expected) in [
        ("application/x-ndjson", Ok(Form::Lines)),
        ("Application/JSONL; charset=utf-8", Ok(Form::Lines)),
        ("text/plain;charset=utf-8", Ok(Form::Lines)),
        ("application/json", Ok(Form::Json)),
        ("application/x-www-form-urlencoded", Ok(Form::Unsaid)),
        ("application/xml", Err(SplitError::UnknownType)),
        ("multipart/form-data; boundary=x", Err(SplitError::UnknownType)),
    ] {
        assert_eq!(form(content_type), expected, "{content_type}");
    }
    assert_eq!(Form::of(&HeaderMap::new()), Ok(Form::Unsaid));
}

#[test]
fn lines_are_kept_as_they_are() {
    let body = "{\"a\": 1 }\r\n\n  \n[1]\n not json\u{e9} \n{\"torn\"";
    let expected = ["{\"a\": 1 }", "[1]", " not json\u{e9} ", "{\"torn\""];
    assert_eq!(records(Form::Lines, body), expected);
    assert_eq!(records(Form::Unsaid, "plain\ntext"), ["plain", "text"]);
}

#[test]
fn elements_of_an_array_are_kept_as_they_are() {
    let body = " [ {\"a\" : 1.50, \"b\":\"],[\\\"\"}\n,[1, 2] , \"x\",null ,-1e400,{}]\n ";
    let expected = ["{\"a\" : 1.50, \"b\":\"],[\\\"\"}", "[1, 2]", "\"x\"", "null", "-1e400", "{}"];
    assert_eq!(records(Form::Json, body), expected);
    assert_eq!(records(Form::Unsaid, body), expected);
}

#[test]
fn documents_may_span_lines_or_share_one() {
    let pretty = "{\n  \"a\": {\n    \"b\": [1]\n  }\n}";
    assert_eq!(records(Form::Json, pretty), [pretty]);
    assert_eq!(records(Form::Unsaid, &format!("\n{pretty}\n")), [pretty]);
    let several = "{\"a\":1}\n{\"a\":2}{\"a\":3}\n\n";
    assert_eq!(records(Form::Json, several), ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
}

#[test]
fn faults_are_told_with_their_place() {
    for (body, line, column) in [
        ("[{\"a\":1},\n {\"a\" 2}]", 2, 7),
        ("[1 2]", 1, 4),
        ("[1,]", 1, 4),
        ("[1]\n,", 2, 1),
        ("{\"a\":1}\n{\"a\":", 2, 5),
        ("[1", 1, 3),
        ("{\"a\":1}]", 1, 8),
    ] {
        let expected = Err(SplitError::Malformed { line, column });
        assert_eq!(split(Form::Json, body), expected, "{body}");
    }
    for body in ["", " \r\n\t", "[]", " [ ] "] {
        assert_eq!(split(Form::Unsaid, body), Err(SplitError::NoRecord), "{body:?}");
    }
}

#[test]
fn s24_records_have_the_limits_of_firehose_and_calls_their_own() {
    let fitting = "a".repeat(RECORD_BYTES_MAX);
    assert_eq!(records(Form::Lines, &fitting), [fitting.as_str()]);
    let long = format!("b\n{fitting}a");
    assert_eq!(split(Form::Lines, &long), Err(SplitError::RecordTooLong { number: 2 }));
    let many = vec!["1"; RECORD_COUNT_MAX].join(",");
    assert_eq!(records(Form::Json, &format!("[{many}]")).len(), RECORD_COUNT_MAX);
    let too_many = format!("[{many},1]");
    assert_eq!(split(Form::Json, &too_many), Err(SplitError::TooManyRecords));
}

#[test]
fn s30_depth_costs_no_stack() {
    let depth = 500_000;
    let deep = format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(records(Form::Json, &deep)[0].len(), 2 * depth);
    let open = "[".repeat(depth);
    assert!(matches!(split(Form::Json, &open), Err(SplitError::Malformed { .. })));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map("\\PC{0,4}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_element_is_byte_exact(
        values in proptest::collection::vec((json(), any::<bool>()), 1..8),
        blanks in proptest::collection::vec("[ \t\r\n]{0,2}", 8),
    ) {
        let texts: Vec<String> = values
            .iter()
            .map(|(value, is_pretty)| match is_pretty {
                true => serde_json::to_string_pretty(value).unwrap(),
                false => value.to_string(),
            })
            .collect();
        let padded: Vec<String> =
            texts.iter().zip(&blanks).map(|(text, blank)| format!("{blank}{text}{blank}")).collect();
        let array = format!("[{}]", padded.join(","));
        prop_assert_eq!(records(Form::Json, &array), texts.clone());
        prop_assert_eq!(records(Form::Unsaid, &array), texts.clone());
        let following = padded.join("\n");
        if !texts[0].starts_with('[') {
            prop_assert_eq!(records(Form::Json, &following), texts.clone());
        }
        let lines: Vec<String> = values.iter().map(|(value, _)| value.to_string()).collect();
        prop_assert_eq!(records(Form::Lines, &lines.join("\n")), lines.clone());
        prop_assert_eq!(records(Form::Lines, &(lines.join("\r\n") + "\r\n")), lines);
    }

    #[test]
    fn foreign_bytes_never_panic_and_records_are_pieces_of_them(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[\\[\\]{},:\" \n\\\\a1e.-]{0,40}".prop_map(String::into_bytes),
        ],
    ) {
        for form in [Form::Lines, Form::Json, Form::Unsaid] {
            if let Ok(records) = form.split(&body) {
                let mut rest = body.as_slice();
                for record in records {
                    let at = rest.windows(record.len()).position(|piece| piece == record);
                    rest = &rest[at.expect("it is a piece") + record.len()..];
                }
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_record() {
    for form in [Form::Lines, Form::Json, Form::Unsaid] {
        let records = form.split("\u{feff}{\"a\":1}\n{}".as_bytes()).unwrap();
        assert_eq!(records, [&b"{\"a\":1}"[..], b"{}"], "{form:?}");
    }
    assert_eq!(Form::Json.split("\u{feff}[1,{}]".as_bytes()).unwrap(), [&b"1"[..], b"{}"]);
}

#[test]
fn elements_are_those_of_one_whole_array() {
    let elements = |text: &str| elements_of(text.as_bytes()).map(|found| found.len());
    assert_eq!(elements("[1, {}, \"a\", null]\n"), Some(4));
    assert_eq!(elements("\u{feff}[]"), Some(0));
    for other in ["[1]\n[2]", "{}", "", "[1", "[1,]"] {
        assert_eq!(elements(other), None, "{other}");
    }
}
