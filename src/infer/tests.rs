//! Proposals of known samples.

use super::*;

fn proposal(sample: &str) -> Proposal {
    let mut inference = Inference::new();
    inference.observe(sample.as_bytes());
    inference.propose(&StreamName::new("s").expect("a name"))
}

/// The type and the remarks of the only column.
fn column(values: &[&str]) -> (String, String) {
    let lines: Vec<_> = values.iter().map(|value| format!("{{\"v\": {value}}}")).collect();
    let proposal = proposal(&lines.join("\n"));
    let [column] = proposal.columns.as_slice() else { panic!("{proposal:?}") };
    let notes: Vec<_> = column.notes.iter().map(|note| note.text.as_str()).collect();
    (column.column.hive_type.to_string(), notes.join("; "))
}

#[track_caller]
fn assert_column(values: &[&str], hive_type: &str, note: &str) {
    let (found, notes) = column(values);
    assert_eq!(found, hive_type, "{values:?}: {notes}");
    assert!(notes.contains(note) && note.is_empty() == notes.is_empty(), "{values:?}: {notes}");
}

#[track_caller]
fn assert_named(name: &str, value: &str, hive_type: &str) {
    let proposal = proposal(&format!("{{\"{name}\": {value}}}"));
    assert_eq!(proposal.columns[0].column.hive_type.to_string(), hive_type, "{name}: {value}");
}

#[test]
fn values_of_one_kind_have_its_type() {
    assert_column(&["1", "-32768", "null"], "int", "");
    assert_column(&["1", "32768"], "bigint", "");
    assert_column(&["9223372036854775808"], "decimal(38,0)", "beyond 64 bits");
    assert_column(&["1.5", "2", "1e-3"], "double", "");
    assert_column(&["0.12345678901234567"], "double", "more digits than a double keeps");
    assert_column(&["true", "false"], "boolean", "");
    assert_column(&["\"a\"", "\"\""], "string", "");
    assert_column(&["\"2026-11-20T10:00:00Z\"", "\"2026-11-20 10:00:00.5\""], "timestamp", "");
    assert_column(&["\"2026-11-20\""], "date", "");
    assert_column(&["[1, 2]", "[]"], "array<int>", "");
    assert_column(
        &["{\"a\": 1}", "{\"B\": [{}], \"a\": null}"],
        "struct<a:int,b:array<map<string,string>>>",
        "empty object",
    );
}

#[test]
fn doubts_say_what_is_in_the_way() {
    assert_column(&["null"], "string", "never a value but null");
    assert_column(&["[]"], "array<string>", "always an empty array");
    assert_column(&["1", "\"x\"", "{}"], "string", "mixed: 1 numbers, 1 texts, 1 objects");
    assert_column(&["1", "\"2\""], "int", "1 of 2 are numbers in text");
    assert_column(&["\"00501\"", "\"10001\""], "string", "leading zeros");
    assert_column(&["\"1\"", "\"2\""], "string", "bigint would convert too");
    assert_column(
        &["\"2026-11-20T10:00:00Z\"", "\"2026-11-20T10:00:01Z\"", "\"n/a\""],
        "string",
        "2 of 3 are timestamps, others such as \"n/a\" are not",
    );
    assert_column(&["1764000000"], "bigint", "could be epochs");
    assert_column(&["1e999"], "string", "beyond every numeric type");
}

#[test]
fn names_tell_times_and_money() {
    assert_named("created_at", "1764000000", "timestamp");
    assert_named("eventTime", "1764000000123", "timestamp");
    assert_named("ts", "1764000000.25", "timestamp");
    assert_named("ts", "1764000000123456", "bigint");
    assert_named("flat", "1764000000", "bigint");
    assert_named("unit_price", "12.5", "decimal(12,2)");
    assert_named("totalAmount", "123456789012.125", "decimal(15,3)");
    assert_named("price", "\"12.50\"", "decimal(12,2)");
    assert_named("price", "0.1234567", "double");
}

#[test]
fn many_changing_keys_are_a_map() {
    let sparse: Vec<_> = (0..40).map(|n| format!("{{\"k{n}\": {n}, \"k{}\": 1}}", n / 2)).collect();
    let values: Vec<_> = sparse.iter().map(String::as_str).collect();
    assert_column(&values, "map<string,int>", "its keys change");
    assert_column(
        &["{\"2026-01-01\": 1.5, \"2026-01-02\": 2}"],
        "map<string,double>",
        "its keys change",
    );
    let wide: Vec<_> = (0..1_000).map(|n| format!("\"k{n}\": \"x\"")).collect();
    let wide = format!("{{{}}}", wide.join(","));
    assert_column(&[&wide], "map<string,string>", "its keys change");
}

#[test]
fn odd_keys_are_told() {
    let found = proposal("{\"Id\": 1, \"ID\": 2, \"\": 3, \"a b\": {\"x:y\": 1, \"z\": 2}}");
    let columns: Vec<_> = found
        .columns
        .iter()
        .map(|c| (c.column.name.as_str(), c.column.hive_type.to_string()))
        .collect();
    assert_eq!(columns, [("id", "bigint".into()), ("a b", "struct<z:int>".to_owned())]);
    let yaml = found.to_yaml();
    for part in [
        "\"Id\", \"ID\": all share",
        "1 records have it twice",
        "key \"\" can name no column",
        "key \"x:y\" can name no field",
        "quote the name in SQL",
    ] {
        assert!(yaml.contains(part), "{part}:\n{yaml}");
    }
}

#[test]
fn lines_arrays_and_documents_one_behind_the_other_are_read() {
    for sample in
        ["{\"a\":1}\n\n{\"a\":2}\r\n", "[{\"a\":1},\n {\"a\":2}]", "\u{feff}{\"a\":1}{\n\"a\"\n:2}"]
    {
        assert_eq!(proposal(sample).counts, Counts { objects: 2, ..Counts::default() }, "{sample}");
    }
    let counts = proposal("{\"a\":1}\n{\"a\":\n{\"a\":2}\nnope\n7\n{\"a\":3}").counts;
    let bad = Counts { objects: 3, not_objects: 1, not_json: 2, first_bad_line: Some(2) };
    assert_eq!(counts, bad);
}

#[test]
fn no_sample_makes_it_large() {
    let mut inference = Inference::new();
    for from in 0..200 {
        let keys = (0..500).map(|n| format!("\"key{}\":{{\"a\":[1]}}", from * 500 + n));
        let line = format!("{{{}}}", keys.collect::<Vec<_>>().join(","));
        inference.observe(line.as_bytes());
    }
    inference.observe("[".repeat(1_000_000).as_bytes());
    inference.observe(format!("{{\"{}\":1}}", "k".repeat(500_000)).as_bytes());
    let proposal = inference.propose(&StreamName::new("s").expect("a name"));
    assert!(proposal.columns.len() < 10_000, "{}", proposal.columns.len());
    let yaml = proposal.to_yaml();
    assert!(yaml.contains("more fields than are looked at"), "{}", &yaml[..500]);
    assert!(yaml.contains("1 keys are too long for names"), "{}", &yaml[..500]);
}

#[test]
fn folders_give_way_to_columns_of_their_name() {
    let proposal = proposal("{\"year\": 2026, \"dt\": 1}");
    assert!(proposal.to_yaml().contains("prefix: \"s/arrival_date=!{timestamp:yyyy-MM-dd}/\""));
    assert!(proposal.to_glue().contains("\"Name\": \"arrival_date\""));
}

#[test]
fn candidates_for_folders_have_few_values_and_are_always_there() {
    let line = |n: u32| {
        let (country, browser) =
            (["de", "fr"][n as usize % 2], if n == 7 { "null" } else { "\"x\"" });
        format!(
            "{{\"id\":\"{n}\",\"country\":\"{country}\",\"browser\":{browser},\"at\":\"2026-11-20T10:00:00Z\"}}"
        )
    };
    let lines: Vec<_> = (0..100).map(line).collect();
    let proposal = proposal(&lines.join("\n"));
    assert_eq!(proposal.partition_candidates, [("country".to_owned(), 2)]);
    assert_eq!(proposal.event_times, ["at"]);
}
