//! What producers send and people write: nothing of it makes the language break down.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::*;

const QUERIES: [&str; 4] = [
    "{a: .a, b: (.b // \"none\" | tostring)}",
    "{k: ([.. | scalars] | length)}",
    "{x: (try (tostring | ascii_downcase | split(\"a\") | .[0]) catch \"no\")}",
    "{y: (.t | strftime(\"%Y\"))?}",
];

fn keys_of_all(record: &[u8]) -> Vec<Result<usize, String>> {
    static COMPILED: LazyLock<Vec<Program>> = LazyLock::new(|| {
        QUERIES.iter().map(|query| Program::compile(query).expect(query)).collect()
    });
    COMPILED.iter().map(|query| query.keys(record).map(|keys| keys.len())).collect()
}

#[test]
fn records_of_any_shape_have_keys_or_an_error() {
    let deep =
        |levels: usize, open: &str, close: &str| open.repeat(levels) + "0" + &close.repeat(levels);
    for record in [
        deep(100_000, "[", "]"),
        deep(100_000, "{\"a\":", "}"),
        deep(129, "[", "]"),
        "[".repeat(1_000_000),
        "{\"a\":".repeat(100_000),
        "NaN".into(),
        "[Infinity]".into(),
        "-Infinity".into(),
        "{\"a\":1}{\"a\":2}".into(),
        "{\"a\":1} 2".into(),
        String::new(),
        " \n".into(),
        "{\"a\":01}".into(),
        "{\"a\":1e}".into(),
        "\"\\ud800".into(),
        "\"\\u12\"".into(),
        "\"a\nb\"".into(),
        "\u{feff}{}".into(),
    ] {
        let ended = keys_of_all(record.as_bytes());
        assert!(ended.iter().all(Result::is_err), "{:.40}: {ended:?}", record);
    }
    for record in [&b"\"\xff\""[..], b"{\"a\":\"\xed\xa0\x80\"}", b"\x80", b"\x00", b"\"\xc3"] {
        assert!(keys_of_all(record).iter().all(Result::is_err), "{record:?}");
    }
    let digits = "1".repeat(1 << 20);
    let keys = |record: &str| {
        Program::compile("{a: .a}")
            .expect("compiles")
            .keys(record.as_bytes())
            .map(|keys| keys["a"].clone())
    };
    let text = |text: &str| Ok(KeyValue::Text(text.to_owned()));
    assert!(keys(&format!("{{\"a\":{digits}}}")).is_err_and(|why| why.contains("digits")));
    assert_eq!(keys(&format!("{{\"a\":{}}}", &digits[..9_000])), text("1.7976931348623157e+308"));
    assert_eq!(keys("{\"a\":1e999999}"), text("1.7976931348623157e+308"));
    assert_eq!(keys("{\"a\":1,\"a\":\"last\"}"), text("last"));
    // Half a pair is no character.
    assert!(keys("{\"a\":\"\\ud800x\"}").is_err());
    assert_eq!(keys("{\"a\":\"\\ud83d\\ude00\"}"), text("😀"));
    assert_eq!(keys("{\"a\":1.0}"), text("1"));
    assert_eq!(keys("{\"a\":9007199254740993}"), text("9007199254740992"));
    let wide = |count: usize| {
        let members: Vec<String> = (1..count).map(|n| format!("\"k{n}\":{n}")).collect();
        format!("{{{},\"a\":true}}", members.join(","))
    };
    assert_eq!(keys(&wide(MEMBERS_MAX)), text("true"));
    for count in [MEMBERS_MAX + 1, 1_000_000] {
        assert!(keys(&wide(count)).is_err_and(|why| why.contains("more than 10000 members")));
    }
}

#[test]
fn numbers_that_only_pass_keep_their_digits_in_a_step() {
    let program = Program::compile("., .a + 0").expect("compiles");
    let mut outputs = Vec::new();
    let document = "{\"a\":12345678901234567890,\"b\":2.50,\"c\":1E2}";
    let mut bounds = Bounds::for_record(document.len());
    let ended = program.run(document, None, &mut bounds, &mut |output| {
        outputs.push(output.json()?);
        Ok(())
    });
    assert_eq!(ended, Ok(()));
    assert_eq!(outputs, [document, "12345678901234567000"]);
}

#[test]
fn long_and_deep_programs_compile_or_say_why_not() {
    let deep = 100_000;
    for program in [
        "(".repeat(deep) + "." + &")".repeat(deep),
        "[".repeat(deep),
        "{a:".repeat(deep),
        "-".repeat(deep) + "1",
        "if . then ".repeat(deep),
        "def f: ".repeat(deep),
        "try ".repeat(deep) + ".",
        ". as [".repeat(deep),
        ". as $x | ".repeat(deep) + ".",
        "\"\\(".repeat(deep),
        "1 + ".repeat(deep) + "1",
        "1 // ".repeat(deep) + "1",
        ". and ".repeat(deep) + ".",
        ". = ".repeat(deep) + "1",
        "reduce ".repeat(deep),
        "label $a | ".repeat(deep) + ".",
    ] {
        assert!(Program::compile(&program).is_err(), "{program:.30}");
    }
    for program in [
        ". | ".repeat(2_000) + ".",
        ".,".repeat(2_000) + ".",
        ".a".repeat(2_000),
        ".[0]".repeat(2_000),
        ". + ".repeat(200) + ".",
        "def f: 1; ".repeat(100) + "f",
        ".".to_owned() + &"?".repeat(100),
    ] {
        let compiled = Program::compile(&program);
        assert!(compiled.is_ok(), "{program:.30}: {compiled:?}");
    }
}

proptest! {
    #[test]
    fn foreign_bytes_have_keys_or_an_error(record in proptest::collection::vec(any::<u8>(), 0..200)) {
        keys_of_all(&record);
    }

    #[test]
    fn foreign_json_has_keys_or_an_error(record in "[\\[\\]{}\":,a1 .eE+\\\\untrl-]{0,40}") {
        let ended = keys_of_all(record.as_bytes());
        let is_one = serde_json::from_str::<serde_json::Value>(&record).is_ok();
        // The first query takes no list nor text, the second takes any document.
        prop_assert_eq!(ended[1].is_ok(), is_one, "{}", record);
    }

    #[test]
    fn foreign_text_is_no_program_or_ends(
        program in "[a-z.|$(){}\\[\\]\",:;?0-9=+*/<> \\\\-]{0,40}",
        document in "(null|1|\"a\"|\\[1,\\[2\\]\\]|\\{\"a\":\\{\"b\":1\\}\\})",
    ) {
        if let Ok(program) = Program::compile(&program) {
            let mut bounds = Bounds { steps: 100_000, bytes: 1 << 20 };
            let _ = program.run(&document, None, &mut bounds, &mut |output| output.json().map(|_| ()));
        }
    }

    #[test]
    fn pieces_of_programs_put_together_end(pieces in proptest::collection::vec(0..PIECES.len(), 1..12)) {
        let program: Vec<&str> = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        for separator in [" ", " | ", ", "] {
            if let Ok(program) = Program::compile(&program.join(separator)) {
                let mut bounds = Bounds { steps: 200_000, bytes: 1 << 20 };
                let document = "{\"a\":[1,\"x\",null,{\"b\":[2.5]}],\"b\":\"2015-03-05T23:51:47Z\"}";
                let _ = program.run(document, None, &mut bounds, &mut |output| output.json().map(|_| ()));
            }
        }
    }
}

const PIECES: [&str; 60] = [
    ".",
    "..",
    ".a",
    ".b",
    ".[]?",
    ".[0]",
    ".[1:]",
    ".[-1]",
    "1",
    "-1",
    "0.5",
    "1e300",
    "\"x\"",
    "\"%Y\"",
    "[.[]?]",
    "{a: .}",
    "{(.b): 1}",
    "+",
    "-",
    "*",
    "/",
    "%",
    "//",
    "==",
    "<",
    "and",
    "or",
    "not",
    "|=",
    "=",
    "+=",
    "as $x |",
    "$x",
    "if . then",
    "else",
    "end",
    "try",
    "catch",
    "reduce .[]? as $x (0;",
    "; . + $x)",
    "foreach .[]? as $x (0;",
    ")",
    "(",
    "map(",
    "path(",
    "paths",
    "to_entries",
    "from_entries",
    "tostring",
    "tonumber?",
    "tojson",
    "explode?",
    "implode?",
    "gmtime?",
    "mktime?",
    "strptime(\"%Y\")?",
    "sort?",
    "group_by(.)?",
    "error",
    "limit(3;",
];
