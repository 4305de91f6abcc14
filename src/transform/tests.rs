//! Steps one by one: what each makes of what it is given, and that nothing foreign breaks it.

mod hooks;
mod journeys;
mod processors;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::contract::{self, NO_JSON};
use super::*;
use crate::jq::Program;
use crate::record::UnixMillis;

fn item(id: &str, data: impl Into<Bytes>) -> Item {
    Item { id: id.to_owned(), arrival: UnixMillis(1_510_254_469_499), part: Part::new(data.into()) }
}

fn items(records: &[&str]) -> Vec<Item> {
    let numbered = records.iter().enumerate();
    numbered.map(|(index, data)| item(&index.to_string(), (*data).to_owned())).collect()
}

/// The verdict of a step that runs inside the process, whatever it made in vain.
async fn one(step: &dyn Transform, data: impl Into<Bytes>) -> Verdict {
    let mut verdicts = step.apply(&[item("0", data)]).await.expect("an answer");
    assert_eq!(verdicts.len(), 1);
    match verdicts.remove(0) {
        Verdict::FailedAfter { failure, .. } => Verdict::Failed(failure),
        other => other,
    }
}

/// A verdict in short: the parts, `dropped`, or the code of the failure.
fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Parts(parts) => {
            let parts = parts.iter().map(|part| String::from_utf8_lossy(&part.data).into_owned());
            parts.collect::<Vec<_>>().join(" | ")
        }
        Verdict::PartsAndRest { parts, rest, failure } => {
            format!("{} parts, {} bytes left: {}", parts.len(), rest.len(), failure.code)
        }
        Verdict::Dropped => "dropped".to_owned(),
        Verdict::Failed(failure) | Verdict::FailedAfter { failure, .. } => {
            format!("{} x{}", failure.code, failure.attempts)
        }
    }
}

fn shown_all(verdicts: &[Verdict]) -> Vec<String> {
    verdicts.iter().map(shown).collect()
}

fn answers(answer: &Value, records: &[&str]) -> Vec<String> {
    let text = answer.to_string();
    let verdicts = contract::verdicts(text.as_bytes(), &items(records), 1, None);
    shown_all(&verdicts.expect("JSON"))
}

fn ok(id: &str, data: &str) -> Value {
    json!({"recordId": id, "result": "Ok", "data": STANDARD.encode(data)})
}

#[test]
fn the_event_is_lambdas() {
    let sender = contract::Sender { stream_arn: "arn:s", region: "us-east-1" };
    let event = contract::event(&sender, "i-1", &[item("7", "{}"), item("8", "")]);
    let event: Value = serde_json::from_slice(&event).expect("JSON");
    let expected = json!({
        "invocationId": "i-1", "deliveryStreamArn": "arn:s", "region": "us-east-1",
        "records": [
            {"recordId": "7", "approximateArrivalTimestamp": 1_510_254_469_499_i64, "data": "e30="},
            {"recordId": "8", "approximateArrivalTimestamp": 1_510_254_469_499_i64, "data": ""},
        ],
    });
    assert_eq!(event, expected);
}

#[test]
fn every_id_has_one_verdict_whatever_comes_back() {
    let answer = json!({"records": [
        ok("1", "b"),
        {"recordId": "0", "result": "Dropped"},
        {"recordId": "2", "result": "ProcessingFailed", "data": "!"},
        ok("nobody", "x"),
        ok("4", "first"), ok("4", "second"),
        7, null, {"result": "Ok"}, {"recordId": 0, "result": "Ok"},
    ]});
    assert_eq!(
        answers(&answer, &["a", "b", "c", "d", "e"]),
        [
            "dropped",
            "b",
            "Lambda.ProcessingFailedStatus x1",
            "Lambda.MissingRecordId x1",
            "Lambda.DuplicatedRecordId x1"
        ]
    );
}

#[test]
fn a_wrong_record_fails_alone_and_by_firehoses_code() {
    let bad = "Lambda.FunctionError x1";
    for (record, code) in [
        (json!({"result": "ok", "data": "YQ=="}), bad),
        (json!({"result": 1, "data": "YQ=="}), bad),
        (json!({"data": "YQ=="}), bad),
        (json!({"result": "Ok", "data": "YQ"}), bad),
        (json!({"result": "Ok", "data": "Y Q="}), bad),
        (json!({"result": "Ok", "data": {"a": 1}}), bad),
        (json!({"result": "Ok", "data": "YQ==", "metadata": 1}), bad),
        (json!({"result": "Ok", "data": "YQ==", "metadata": {"partitionKeys": {"a": 1}}}), bad),
        (json!({"result": "Ok", "data": "YQ==", "metadata": {"partitionKeys": ["a"]}}), bad),
        (json!({"result": "Ok", "parts": {"data": "YQ=="}}), bad),
        (json!({"result": "Ok", "parts": ["YQ=="]}), bad),
        (json!({"result": "Ok"}), "Lambda.InvalidReturnFormat x1"),
        (json!({"result": "Ok", "data": null}), "Lambda.InvalidReturnFormat x1"),
        (json!({"result": "Ok", "parts": []}), "Lambda.InvalidReturnFormat x1"),
        (json!({"result": "Ok", "parts": [{}]}), "Lambda.InvalidReturnFormat x1"),
    ] {
        let mut record = record;
        record["recordId"] = "0".into();
        let answer = json!({"records": [record, ok("1", "fine")]});
        assert_eq!(answers(&answer, &["a", "b"]), [code, "fine"], "{answer}");
    }
}

#[test]
fn an_answer_without_records_is_final_and_one_that_is_no_json_is_not() {
    for answer in [json!({}), json!([]), json!({"records": {}}), json!("hello")] {
        assert_eq!(answers(&answer, &["a"]), ["Lambda.FunctionError x1"], "{answer}");
    }
    for answer in ["", "<html>", "{\"records\":[", "\u{0}"] {
        let found = contract::verdicts(answer.as_bytes(), &items(&["a"]), 1, None);
        assert_eq!(found, Err(NO_JSON), "{answer}");
    }
}

#[test]
fn parts_stand_in_place_of_data_and_take_their_records_keys() {
    let answer = json!({"records": [{
        "recordId": "0", "result": "Ok", "metadata": {"partitionKeys": {"a": "1", "b": "2"}},
        "parts": [
            {"data": STANDARD.encode("x")},
            {"data": STANDARD.encode("y"), "metadata": {"partitionKeys": {"b": "3", "a": null}}},
        ],
    }]});
    let mut given = items(&["r"]);
    given[0].part.partition_keys.insert("earlier".into(), "0".into());
    let verdicts = contract::verdicts(answer.to_string().as_bytes(), &given, 1, None);
    let verdicts = verdicts.expect("JSON");
    let [Verdict::Parts(parts)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    let keys = |part: &Part| {
        let keys = part.partition_keys.iter().map(|(key, value)| format!("{key}={value}"));
        keys.collect::<Vec<_>>().join(",")
    };
    assert_eq!(keys(&parts[0]), "a=1,b=2,earlier=0");
    assert_eq!(keys(&parts[1]), "b=3,earlier=0");
    // A function of Lambda's own contract may have a member of that name by accident.
    let mut accident = ok("0", "data");
    accident["parts"] = json!([1, 2]);
    assert_eq!(answers(&json!({"records": [accident]}), &["a"]), ["data"]);
}

#[test]
fn events_are_cut_at_six_megabytes() {
    let data = vec![b'x'; 1_024_000];
    let batch: Vec<_> = (0..10).map(|id| item(&id.to_string(), data.clone())).collect();
    let runs = contract::runs(&batch);
    assert_eq!(runs.iter().map(|run| run.len()).collect::<Vec<_>>(), [4, 4, 2]);
    let long = Origin { stream_arn: "a".repeat(512), region: "r".repeat(64) };
    let sender = contract::Sender { stream_arn: &long.stream_arn, region: &long.region };
    for run in runs.into_iter().map(|run| &batch[run]) {
        assert!(contract::fits(run));
        let event = contract::event(&sender, &"i".repeat(36), run);
        assert!(event.len() <= contract::PAYLOAD_BYTES_MAX, "{}", event.len());
    }
    let small: Vec<_> = (0..200_000).map(|id| item(&format!("{id:062}"), "")).collect();
    let runs = contract::runs(&small);
    assert_eq!(runs.iter().map(|run| run.len()).sum::<usize>(), small.len());
    for run in runs.into_iter().map(|run| &small[run]) {
        let event = contract::event(&sender, "", run);
        assert!(event.len() <= contract::PAYLOAD_BYTES_MAX, "{}", event.len());
    }
    assert!(!contract::fits(&[item("0", vec![0; PART_BYTES_MAX])]));
    assert!(contract::runs(&[]).is_empty());
}

fn jq(program: &str) -> Jq {
    Jq::new(Program::compile(program).expect(program))
}

fn filter(program: &str) -> Filter {
    Filter::new(Program::compile(program).expect(program))
}

#[tokio::test]
async fn the_outputs_of_jq_are_the_parts() {
    for (program, record, expected) in [
        (".", r#"{"b":1,"a":2.50}"#, r#"{"b":1,"a":2.50}"#),
        (".id", r#"{"id":12345678901234567890123}"#, "12345678901234567890123"),
        (".[]", "[1,\"é\",null]", "1 | \"é\" | null"),
        (".a", "{\"a\":1}\n{\"a\":2}\n", "1 | 2"),
        ("select(.a)", "{\"a\":false}", "dropped"),
        ("empty", "{}", "dropped"),
        (".", "", "dropped"),
        (".a | fromjson", r#"{"a":"{\"x\":[1]}"}"#, r#"{"x":[1]}"#),
        ("nan", "{}", "null"),
        ("now", "{}", "1510254469.499"),
        (".a.b", "{\"a\":1}", "Transform.JqFailed x1"),
        ("error(\"no\")", "{}", "Transform.JqFailed x1"),
        (".", "{", "Transform.JqFailed x1"),
        (".", "{} x", "Transform.JqFailed x1"),
        (".", "NaN", "Transform.JqFailed x1"),
        (".[], error(\"late\")", "[1,2]", "Transform.JqFailed x1"),
        ("range(1; 100000000)", "{}", "Transform.JqFailed x1"),
        ("def f: ., f; f", "{}", "Transform.JqFailed x1"),
        ("tojson", "[1]", "\"[1]\""),
    ] {
        assert_eq!(shown(&one(&jq(program), record).await), expected, "{program} of {record}");
    }
    let failed = one(&jq("error(\"not \\(.a)\")"), "{\"a\":7}").await;
    let Verdict::Failed(failure) = failed else { panic!("{failed:?}") };
    assert_eq!(failure.message, "not 7");
}

#[tokio::test]
async fn a_filter_keeps_the_bytes_of_what_passes() {
    for (program, record, expected) in [
        (".a > 1", " {\"a\" : 2.0} \n", " {\"a\" : 2.0} \n"),
        (".a > 1", "{\"a\":1}", "dropped"),
        (".missing", "{}", "dropped"),
        (".a > 1", "{\"a\":1} {\"a\": 3}\n{\"a\":0}{\"a\":4}", "{\"a\": 3}\n{\"a\":4}"),
        ("false, true", "0", "0"),
        ("empty", "0", "dropped"),
        (".a.b", "{\"a\":1}", "Transform.JqFailed x1"),
        ("true", "no json", "Transform.JqFailed x1"),
    ] {
        assert_eq!(shown(&one(&filter(program), record).await), expected, "{program} of {record}");
    }
}

#[tokio::test]
async fn deep_nesting_of_a_producer_fails_its_record_and_nothing_else() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(shown(&one(&jq("."), deep(64)).await), deep(64));
    for levels in [65, 500_000] {
        assert_eq!(shown(&one(&jq("."), deep(levels)).await), "Transform.JqFailed x1");
        let inside = json!({"a": deep(levels)}).to_string();
        let found = one(&jq(".a | fromjson"), inside).await;
        assert_eq!(shown(&found), "Transform.JqFailed x1");
    }
}

#[tokio::test]
async fn an_object_of_very_many_members_fails_its_record_and_many_small_ones_do_not() {
    let members = |count: usize| {
        let members: Vec<_> = (0..count).map(|number| format!("\"m{number}\":\":\"")).collect();
        format!("{{\"a\":{{{}}}}}", members.join(","))
    };
    let fields = Fields::new(FieldsSettings { drop: vec!["a".into()], ..Default::default() });
    for (count, expected) in [(10_000, ["10000", "{}"]), (10_001, [""; 2])] {
        let [jq_expected, fields_expected] = expected;
        let record = members(count);
        for (found, expected, failure) in [
            (one(&jq(".a | length"), record.clone()).await, jq_expected, "Transform.JqFailed x1"),
            (one(&fields, record).await, fields_expected, "Transform.FieldsFailed x1"),
        ] {
            let expected = if expected.is_empty() { failure } else { expected };
            assert_eq!(shown(&found), expected, "{count}");
        }
    }
    let many = format!("[{}]", vec![members(20); 2_000].join(","));
    assert_eq!(shown(&one(&jq("length"), many).await), "2000");
    let inside = json!({"a": members(10_001)}).to_string();
    assert_eq!(shown(&one(&jq(".a | fromjson"), inside).await), "Transform.JqFailed x1");
}

#[tokio::test]
async fn fields_are_dropped_renamed_and_added_and_all_else_keeps_its_bytes() {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
    };
    let settings = FieldsSettings {
        drop: vec!["secret".into(), "é".into()],
        rename: pairs(&[("a", "b"), ("x", "y")]),
        add: pairs(&[("source", "we\"b")]),
    };
    let step = Fields::new(settings);
    for (record, expected) in [
        (
            r#"{ "z" : 1.00, "a": {"secret":[1, 2]}, "secret": 1, "\u00e9": 2, "é": 3, "c":12345678901234567890 }"#,
            r#"{"z":1.00,"b":{"secret":[1, 2]},"c":12345678901234567890,"source":"we\"b"}"#,
        ),
        (r#"{"b":1,"a":2}"#, r#"{"b":2,"source":"we\"b"}"#),
        (r#"{"b":1}"#, r#"{"b":1,"source":"we\"b"}"#),
        (r#"{"source":1,"q":2}"#, r#"{"q":2,"source":"we\"b"}"#),
        ("{}\n {\"secret\":1}\n", "{\"source\":\"we\\\"b\"}\n {\"source\":\"we\\\"b\"}\n"),
        ("[1]", "Transform.FieldsFailed x1"),
        ("{\"a\":1", "Transform.FieldsFailed x1"),
        ("", "Transform.FieldsFailed x1"),
        ("\u{feff}{}", "Transform.FieldsFailed x1"),
    ] {
        assert_eq!(shown(&one(&step, record).await), expected, "{record}");
    }
    assert_eq!(shown(&one(&step, vec![b'"', 0xff, b'"']).await), "Transform.FieldsFailed x1");
    let drop = FieldsSettings { drop: vec!["a".into()], ..FieldsSettings::default() };
    assert_eq!(shown(&one(&Fields::new(drop), "{\"a\":1}").await), "{}");
}

#[tokio::test]
async fn the_delimiter_is_appended_where_it_is_missing() {
    let step = AppendDelimiter::new("\n");
    assert_eq!(shown(&one(&step, "a").await), "a\n");
    assert_eq!(shown(&one(&step, "a\n").await), "a\n");
    assert_eq!(shown(&one(&step, "").await), "\n");
}

#[tokio::test]
async fn keys_of_an_earlier_step_go_through_the_steps_inside() {
    let steps: [Arc<dyn Transform>; 4] = [
        Arc::new(jq(".")),
        Arc::new(filter("true")),
        Arc::new(Fields::new(FieldsSettings { drop: vec!["q".into()], ..Default::default() })),
        Arc::new(AppendDelimiter::new("\n")),
    ];
    let mut given = item("0", "{}");
    given.part.partition_keys.insert("a".into(), "1".into());
    let chain = Chain::new(steps.into());
    let ended = chain.begin(vec![given.clone()]).go_on(&|_| {}).await;
    let part = Part { data: "{}\n".into(), partition_keys: given.part.partition_keys };
    assert_eq!(ended, [[Transformed::Part(part)]]);
}

/// Gives so many parts of so many bytes for each item.
#[derive(Debug)]
struct Splits(usize, usize);

impl Transform for Splits {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        let parts = vec![Part::new(vec![b'x'; self.1]); self.0];
        let verdicts = vec![Verdict::Parts(parts); items.len()];
        Box::pin(async { Ok(verdicts) })
    }

    fn hints(&self) -> Option<Hints> {
        Some(Hints { size_bytes: self.0 as u64, interval: Duration::from_secs(self.1 as u64) })
    }
}

#[tokio::test]
async fn what_one_record_becomes_is_bounded_over_all_steps() {
    let run = |steps: Vec<Splits>| async {
        let steps = steps.into_iter().map(|step| Arc::new(step) as Arc<dyn Transform>);
        let chain = Chain::new(steps.collect());
        let ended = chain.begin(items(&["r", "s"])).go_on(&|_| {}).await;
        let failed = |ended: &Vec<Transformed>| {
            ended.iter().filter(|one| matches!(one, Transformed::Failed { .. })).count()
        };
        ended.iter().map(|ended| (ended.len(), failed(ended))).collect::<Vec<_>>()
    };
    assert_eq!(run(vec![Splits(PARTS_MAX, 1)]).await, [(PARTS_MAX, 0); 2]);
    assert_eq!(run(vec![Splits(PARTS_MAX + 1, 1)]).await, [(1, 1); 2]);
    assert_eq!(run(vec![Splits(1, PART_BYTES_MAX + 1)]).await, [(1, 1); 2]);
    assert_eq!(run(vec![Splits(3, 1), Splits(4_000, 1)]).await, [(8_001, 1); 2]);
    let too_many = PARTS_BYTES_MAX / PART_BYTES_MAX + 1;
    let steps = vec![Splits(too_many, 1), Splits(1, PART_BYTES_MAX)];
    assert_eq!(run(steps).await, [(too_many, 1); 2]);
}

#[test]
fn no_step_of_a_chain_is_given_more_at_once_than_it_wants() {
    let chain = Chain::new(vec![Arc::new(Splits(7, 1)), Arc::new(Splits(3, 9)), Arc::new(jq("."))]);
    let hints = |size_bytes, seconds| Hints { size_bytes, interval: Duration::from_secs(seconds) };
    assert_eq!(chain.hints(), hints(3, 9));
    assert_eq!(Chain::new(vec![Arc::new(jq("."))]).hints(), hints(1 << 20, 0));
}

#[test]
fn arns_are_those_of_functions() {
    for good in [
        "arn:aws:lambda:us-east-1:111122223333:function:enrich",
        "arn:aws:lambda:us-east-1:111122223333:function:enrich:live",
        "arn:aws-cn:lambda:cn-north-1:111122223333:function:enrich:$LATEST",
    ] {
        assert_eq!(FunctionArn::parse(good).expect(good).to_string(), good);
    }
    for bad in [
        "",
        "enrich",
        "arn:aws:s3:::bucket",
        "arn:aws:lambda:us-east-1:1:function:enrich",
        "arn:aws:lambda:us-east-1:111122223333:layer:enrich",
        "arn:aws:lambda:us-east-1:111122223333:function:",
        "arn:aws:lambda:us-east-1:111122223333:function:a/b",
        "arn:aws:lambda:us-east-1:111122223333:function:a:b:c",
        "arn:aws:lambda:us-east-1:111122223333:function:a:",
    ] {
        assert!(FunctionArn::parse(bad).is_none(), "{bad}");
    }
}

/// JSON of the kind that answers are made of, right and wrong.
fn answer_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(Ok|Dropped|ProcessingFailed|YQ==|0|1|2|\\PC{0,5})".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let names =
            "(records|recordId|result|data|dataBase64|parts|metadata|partitionKeys|[a-z]{1,3})";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(names, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn foreign_bytes_as_an_answer_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let found = contract::verdicts(&bytes, &items(&["a", "b"]), 1, Some("arn"));
        prop_assert!(found.is_err() || found.is_ok_and(|verdicts| verdicts.len() == 2));
    }

    #[test]
    fn foreign_answers_give_one_verdict_each(
        records in proptest::collection::vec(answer_value(), 0..6), whole in answer_value(),
    ) {
        for answer in [json!({"records": records}), whole] {
            let found = contract::verdicts(answer.to_string().as_bytes(), &items(&["a", "b", "c"]), 1, None);
            let verdicts = found.expect("JSON");
            prop_assert_eq!(verdicts.len(), 3);
            for verdict in verdicts {
                prop_assert!(!matches!(verdict, Verdict::Parts(parts) if parts.is_empty()));
            }
        }
    }

    #[test]
    fn fields_leaves_objects_that_it_does_not_name_with_equal_content(value in answer_value()) {
        let step = Fields::new(FieldsSettings { drop: vec!["\u{0}".into()], ..Default::default() });
        let text = value.to_string();
        let verdict = step.apply(&[item("0", text)]).now_or_never().expect("no waiting").expect("it is here").remove(0);
        match verdict {
            Verdict::Parts(parts) => {
                let after: Value = serde_json::from_slice(&parts[0].data).expect("JSON");
                prop_assert_eq!(after, value);
            }
            _ => prop_assert!(!value.is_object()),
        }
    }

    #[test]
    fn foreign_text_is_no_program_or_runs(text in "[a-z.|$(){}\\[\\]\",:;?0-9 \n-]{0,30}") {
        let _ = Program::compile(&text);
    }
}
