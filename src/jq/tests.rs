//! What programs and queries say of documents.

use super::*;

fn keys(query: &str, record: &str) -> Result<Vec<(String, String)>, String> {
    let keys = Program::compile(query).expect(query).keys(record.as_bytes())?;
    let text = |value| match value {
        KeyValue::Null => "(null)".to_owned(),
        KeyValue::Text(text) => text,
    };
    Ok(keys.into_iter().map(|(key, value)| (key, text(value))).collect())
}

#[test]
fn keys_are_the_one_object_of_a_query() {
    let pairs = |pairs: &[(&str, &str)]| {
        Ok(pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect())
    };
    let query = "{customer: .id, device: .type.device, gone: .nothing}";
    assert_eq!(
        keys(query, " {\"id\": 17, \"type\": {\"device\": \"a/b\"}}\n"),
        pairs(&[("customer", "17"), ("device", "a/b"), ("gone", "(null)")])
    );
    assert_eq!(keys("{a: true, b: 1.5}", "0"), pairs(&[("a", "true"), ("b", "1.5")]));
    assert_eq!(keys("{}", "0"), pairs(&[]));
}

#[test]
fn what_is_no_set_of_keys_is_told() {
    for (query, record, part) in [
        (".", "{\"a\":1}{\"a\":2}", "more than one JSON document"),
        (".", "", "is empty"),
        (".", "{\"a\":", "no JSON"),
        (".", "7", "gives no object"),
        ("empty", "{}", "no output"),
        ("{a: (1, 2)}", "{}", "more than one output"),
        ("{a: []}", "{}", "an array for a"),
        ("{a: {}}", "{}", "an object for a"),
        ("{a: (.b | .c)}", "{\"b\": 1}", "index"),
        ("[range(51) | {key: \"k\\(.)\", value: 1}] | from_entries", "{}", "51 keys"),
    ] {
        let error = keys(query, record).expect_err(query);
        assert!(error.contains(part), "{query} of {record}: {error}");
    }
    let error = Program::compile("{}").expect("compiles").keys(b"\"\xff\"").expect_err("not UTF-8");
    assert!(error.contains("UTF-8"), "{error}");
}

#[test]
fn programs_that_do_not_compile_say_where() {
    for (program, place, part) in [
        (".a |", (1, 5), "expected term"),
        (".a\n| foo(1)", (2, 3), "there is no function of 1 arguments called foo"),
        (".a | $x", (1, 6), "there is no variable called $x"),
        ("(.a", (1, 4), "closing parenthesis"),
        ("", (1, 1), "term"),
        ("é§", (1, 1), "expected"),
        ("env", (1, 1), "no function of 0 arguments called env"),
        ("halt", (1, 1), "called halt"),
        ("$ENV", (1, 1), "called $ENV"),
        ("input", (1, 1), "called input"),
        ("import \"a\" as a; .", (1, 9), "cannot load"),
    ] {
        let error = Program::compile(program).expect_err(program);
        assert!(error.message.contains(part), "{program}: {error}");
        if program != "é§" {
            assert_eq!((error.line, error.column), place, "{program}: {error}");
        }
    }
}
