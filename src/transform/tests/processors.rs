//! Firehose's processors: what each makes of what it is given, in bounds, whatever that is.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest as _, Md5};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::decompress::Decompress;
use super::super::inside::{Inside, Processor};
use super::*;

const MIB: usize = 1 << 20;
const NO_CLOUDWATCH_LOG: &str =
    "Decompression failed because input data does not conform to cloudwatch log.";

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes.as_ref()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn messages() -> impl Transform {
    cloudwatch_logs(LogForm::Messages { drops_control: false })
}

fn json_parts() -> impl Transform {
    deaggregate(SubRecords::Json)
}

fn delimited(delimiter: &str) -> impl Transform {
    deaggregate(SubRecords::Delimited(delimiter.to_owned()))
}

/// What a step makes of a record, without a runtime of the caller's.
fn made(step: &dyn Transform, data: impl Into<Bytes>) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(one(step, data))
}

fn undecompressed() -> Verdict {
    Verdict::Failed(Failure {
        error_type: ErrorOutputType::DecompressionFailed,
        code: "Decompression failed.".to_owned(),
        message: NO_CLOUDWATCH_LOG.to_owned(),
        attempts: 1,
        lambda_arn: None,
    })
}

/// What CloudWatch Logs sends, packed.
fn envelope(messages: &[&str]) -> Value {
    let numbered = messages.iter().enumerate();
    let events = numbered.map(|(number, message)| {
        json!({"id": format!("{number:056}"), "timestamp": 1_510_109_208_016_i64 + number as i64,
               "message": message})
    });
    json!({
        "messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "log_group_name",
        "logStream": "log_stream_name", "subscriptionFilters": ["subscription_filter_name"],
        "logEvents": events.collect::<Vec<_>>(),
    })
}

fn control() -> Value {
    json!({
        "messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "",
        "logStream": "", "subscriptionFilters": [],
        "logEvents": [{"id": "", "timestamp": 1_510_254_469_274_i64,
            "message": "CWL CONTROL MESSAGE: Checking health of destination Firehose."}],
    })
}

#[tokio::test]
async fn one_level_of_gzip_is_undone() {
    let twice = gzip(gzip("a"));
    let members: Vec<u8> = (0..10_000).flat_map(|_| gzip("xy")).collect();
    for (packed, text) in [
        (gzip("a"), b"a".to_vec()),
        (gzip(""), vec![]),
        ([gzip("a"), gzip(""), gzip("b")].concat(), b"ab".to_vec()),
        (twice, gzip("a")),
        (members, b"xy".repeat(10_000)),
        (gzip(vec![7; MIB + 1]), vec![7; MIB + 1]),
    ] {
        assert_eq!(one(&decompress(), packed).await, Verdict::Parts(vec![Part::new(text)]));
    }
}

#[tokio::test]
async fn what_is_not_whole_gzip_fails_in_firehoses_words() {
    let packed = gzip("some text that is long enough");
    let with = |at: usize, byte: u8| {
        let mut packed = packed.clone();
        packed[at] ^= byte;
        packed
    };
    let size_at = packed.len() - 4;
    let mut broken: Vec<Vec<u8>> =
        vec![vec![], b"{}".to_vec(), with(0, 1), with(size_at, 1), with(size_at - 4, 1)];
    broken.extend((0..packed.len()).map(|length| packed[..length].to_vec()));
    broken.push([&packed[..], b"\n"].concat());
    broken.push([&packed[..], &[0; 512]].concat());
    broken.push([&packed[..], &packed[..9]].concat());
    for packed in broken {
        let found = one(&decompress(), packed.clone()).await;
        assert_eq!(found, undecompressed(), "{packed:?}");
    }
}

#[tokio::test]
async fn what_would_become_too_long_is_not_kept() {
    let fits = gzip(vec![0; PART_BYTES_MAX]);
    assert_eq!(one(&decompress(), fits).await.size_bytes(), PART_BYTES_MAX);
    for bomb in [gzip(vec![0; PART_BYTES_MAX + 1]), gzip(vec![0; MIB]).repeat(17)] {
        let Verdict::Failed(failure) = one(&decompress(), bomb).await else { panic!("it is kept") };
        assert_eq!(failure.error_type, ErrorOutputType::DecompressionFailed);
        assert_eq!((failure.code.as_str(), failure.attempts), ("Decompression failed.", 1));
        assert!(failure.message.contains("16777216 bytes"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_batch_of_bombs_is_answered_in_part_and_a_record_as_a_whole() {
    let bomb = gzip(vec![b' '; 3 * MIB]);
    let batch: Vec<_> = (0..5).map(|id| item(&id.to_string(), bomb.clone())).collect();
    let answered = decompress().apply(&batch).await.expect("an answer");
    assert_eq!(answered.len(), 2, "the second goes beyond 4 MiB");
    let chain = Chain::new(vec![Arc::new(decompress())]);
    let mut journey = chain.begin(batch);
    for expected in [2, 2, 1, 0] {
        let ended = journey.go_on(&|_| {}).await;
        assert!(ended.iter().all(|ended| matches!(ended.as_slice(), [Transformed::Part(_)])));
        assert_eq!(ended.len(), expected);
    }

    // All of a record is told of at once, and no more of it is kept than a record may become.
    let records = vec![bomb.clone(); 7].into_iter().map(Bytes::from);
    let aggregated = aggregated(&records.collect::<Vec<_>>());
    let chain = Chain::new(vec![Arc::new(kpl()), Arc::new(decompress())]);
    let batch = vec![item("0", aggregated.clone()), item("1", aggregated)];
    let ended = chain.begin(batch).go_on(&|_| {}).await;
    let [ended] = ended.as_slice() else { panic!("{} records", ended.len()) };
    let parts = ended.iter().filter(|one| matches!(one, Transformed::Part(_))).count();
    let failed = ended.iter().filter_map(|one| match one {
        Transformed::Failed { raw, failure } => Some((raw.len(), failure.code.as_str())),
        _ => None,
    });
    assert_eq!(parts, 5);
    assert_eq!(failed.collect::<Vec<_>>(), [(bomb.len(), "Transform.TooLarge"); 2]);
}

/// Unpacks, and counts how often it was asked and how much it was asked for.
#[derive(Debug, Default)]
struct Counted(Arc<AtomicUsize>);

impl Processor for Counted {
    fn verdict(&self, part: &Part) -> Verdict {
        self.0.fetch_add(1, Ordering::Relaxed);
        Decompress.verdict(part)
    }
}

#[tokio::test]
async fn of_a_record_of_bombs_only_the_first_are_unpacked() {
    let too_long = gzip(vec![b' '; PART_BYTES_MAX + 1]);
    let mut broken = gzip(vec![b' '; PART_BYTES_MAX]);
    let checksum_at = broken.len() - 8;
    broken[checksum_at] ^= 1;
    let fits = gzip(vec![b' '; PART_BYTES_MAX]);
    for (bomb, parts_expected) in [(&too_long, 0), (&broken, 0), (&fits, 1)] {
        let packed = aggregated(&vec![Bytes::from(bomb.clone()); 60]);
        let asked = Arc::new(AtomicUsize::new(0));
        let unpacks = Inside::new(Counted(asked.clone()));
        let chain = Chain::new(vec![Arc::new(kpl()), Arc::new(unpacks)]);
        let batch = vec![item("0", packed), item("1", gzip("fine"))];
        let ended = chain.begin(batch.clone()).go_on(&|_| {}).await;
        assert_eq!(ended[0].len(), 60, "each is told of");
        let is_part = |one: &&Transformed| matches!(one, Transformed::Part(_));
        assert_eq!(ended[0].iter().filter(is_part).count(), parts_expected);
        let raw_is_kept = |one: &Transformed| match one {
            Transformed::Failed { raw, .. } => raw == bomb,
            _ => true,
        };
        assert!(ended[0].iter().all(raw_is_kept));
        let asked = asked.load(Ordering::Relaxed);
        assert!((2..=6).contains(&asked), "{asked} were unpacked");
        // What such a record takes is its own matter.
        let after = chain.begin(batch[1..].to_vec()).go_on(&|_| {}).await;
        assert_eq!(after, [[Transformed::Part(Part::new("fine"))]]);
    }
}

#[tokio::test]
async fn one_bomb_spoils_no_neighbour_in_its_record() {
    let bomb = gzip(vec![b' '; PART_BYTES_MAX + 1]);
    let packed = [gzip("a"), bomb.clone(), gzip("b"), bomb, gzip("c")];
    let packed = aggregated(&packed.map(Bytes::from));
    let chain = Chain::new(vec![Arc::new(kpl()), Arc::new(decompress())]);
    let ended = chain.begin(vec![item("0", packed)]).go_on(&|_| {}).await;
    let parts = ended[0].iter().filter_map(|one| match one {
        Transformed::Part(part) => Some(part.data.as_ref()),
        _ => None,
    });
    assert_eq!(parts.collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}

#[tokio::test]
async fn the_messages_of_an_envelope_become_one_record() {
    let several = envelope(&["log message 1", "", "{\"a\":\"é\"}\n"]).to_string();
    let expected = "log message 1\n\n{\"a\":\"é\"}\n\n";
    assert_eq!(shown(&one(&messages(), several.clone()).await), expected);
    assert_eq!(shown(&one(&messages(), format!("\n {several}\n")).await), expected);
    assert_eq!(shown(&one(&messages(), envelope(&[]).to_string()).await), "");
    let escaped = r#"{"logEvents" : [ {"message" : "\u00e9\n\ud83d\ude00"} ] , "messageType" : "DATA_MESSAGE"}"#;
    assert_eq!(shown(&one(&messages(), escaped).await), "é\n😀\n");
}

#[tokio::test]
async fn half_a_pair_of_surrogates_spoils_no_other_message() {
    for (message, line) in [
        (r"\ud800", "\u{fffd}"),
        (r"\udc00", "\u{fffd}"),
        (r"a\ud83d\u00e9\t", "a\u{fffd}é\t"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud83d\\ude00\/", "\u{fffd}\\ude00/"),
        (r"\ud83d", "\u{fffd}"),
    ] {
        let text = format!(
            r#"{{"messageType":"DATA_MESSAGE","logEvents":[{{"message":"one"}},{{"message":"{message}"}},{{"message":"two"}}]}}"#
        );
        let expected = format!("one\n{line}\ntwo\n");
        assert_eq!(shown(&one(&messages(), text.clone()).await), expected, "{message}");
        // An event is written as it came: only who reads it has to say what that means.
        let events = shown(&one(&cloudwatch_logs(LogForm::Events), text).await);
        assert_eq!(events.matches(message).count(), 1, "{events}");
    }
}

#[tokio::test]
async fn health_checks_become_an_empty_record_or_nothing() {
    let empty = Verdict::Parts(vec![Part::new("")]);
    assert_eq!(one(&messages(), control().to_string()).await, empty);
    for form in [LogForm::Messages { drops_control: true }, LogForm::Events] {
        let step = cloudwatch_logs(form);
        assert_eq!(one(&step, control().to_string()).await, Verdict::Dropped, "{form:?}");
    }
    let nothing = one(&cloudwatch_logs(LogForm::Events), envelope(&[]).to_string()).await;
    assert_eq!(nothing, Verdict::Dropped);
}

#[tokio::test]
async fn events_say_where_they_are_from_and_keep_their_bytes() {
    let text = r#" {"subscriptionFilters":["f"], "logEvents": [ { "id" : "1", "timestamp":1510109208016,
        "message":"a \"b\"\u0000", "extractedFields":{"ip":1.50} },{"message":""} ],
        "messageType":"DATA_MESSAGE","owner":"1234","logGroup":"/aws/é","logStream":"s"} "#;
    let origin = r#"{"owner":"1234","logGroup":"/aws/é","logStream":"s","#;
    let expected = format!(
        r#"{origin} "id" : "1", "timestamp":1510109208016,
        "message":"a \"b\"\u0000", "extractedFields":{{"ip":1.50}} }} | {origin}"message":""}}"#
    );
    assert_eq!(shown(&one(&cloudwatch_logs(LogForm::Events), text).await), expected);
    // What is not said is left out.
    let bare = r#"{"messageType":"DATA_MESSAGE","logEvents":[{"message":"m"}]}"#;
    let found = one(&cloudwatch_logs(LogForm::Events), bare).await;
    assert_eq!(shown(&found), r#"{"message":"m"}"#);
}

#[tokio::test]
async fn what_is_no_envelope_fails_in_firehoses_words() {
    let mut bad: Vec<Vec<u8>> = [
        "",
        "null",
        "[]",
        "{}",
        "hello",
        "{\"a\":1}",
        "{\"messageType\":\"DATA_MESSAGE\"}",
        r#"{"messageType":"DATA_MESSAGE","logEvents":{}}"#,
        r#"{"messageType":"DATA_MESSAGE","logEvents":[1]}"#,
        r#"{"messageType":"DATA_MESSAGE","logEvents":[{}]}"#,
        r#"{"messageType":"DATA_MESSAGE","logEvents":[{"message":1}]}"#,
        r#"{"messageType":"DATA_MESSAGE","logEvents":[{"message":"a"}]"#,
        r#"{"messageType":"DATA_MESSAGE","logEvents":[{"message":"a"}]}{}"#,
        r#"{"messageType":"OTHER","logEvents":[{"message":"a"}]}"#,
        r#"{"messageType":1,"logEvents":[{"message":"a"}]}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    bad.push([envelope(&["x"]).to_string().as_bytes(), b"\xff"].concat());
    bad.push(envelope(&["x"]).to_string().replace('x', "\\").into_bytes());
    bad.push(gzip(envelope(&["x"]).to_string()));
    bad.push("[".repeat(MIB).into_bytes());
    for form in [LogForm::Messages { drops_control: true }, LogForm::Events] {
        for data in &bad {
            let found = one(&cloudwatch_logs(form), data.clone()).await;
            assert_eq!(found, undecompressed(), "{form:?} {}", String::from_utf8_lossy(data));
        }
    }
}

#[tokio::test]
async fn what_an_envelope_becomes_is_bounded() {
    let events = |count: usize| {
        let events = vec![r#"{"message":""}"#; count].join(",");
        format!(
            r#"{{"messageType":"DATA_MESSAGE","logEvents":[{events}],"logGroup":"{}"}}"#,
            "g".repeat(2000)
        )
    };
    let step = cloudwatch_logs(LogForm::Events);
    let Verdict::Parts(parts) = one(&step, events(8_000)).await else { panic!("it fits") };
    assert_eq!(parts.len(), 8_000);
    // Too many events, and too many bytes for what each says of its origin.
    for count in [PARTS_MAX + 1, 9_000] {
        let found = one(&step, events(count)).await;
        assert_eq!(shown(&found), "Transform.TooLarge x1", "{count}");
    }
    // As many as an unpacked record can hold.
    let many = events((PART_BYTES_MAX - 3_000) / 15);
    assert!(many.len() <= PART_BYTES_MAX);
    let Verdict::Parts(parts) = one(&messages(), many).await else { panic!("it fits") };
    assert!(parts[0].data.iter().all(|byte| *byte == b'\n'));
}

#[tokio::test]
async fn json_documents_become_parts_without_what_stands_between_them() {
    for (record, expected) in [
        (r#"{"a":1}{"a":2}"#, r#"{"a":1} | {"a":2}"#),
        ("{\"a\":1}\n{\"a\" : 2.0}\r\n\n {\"a\":3}\n", r#"{"a":1} | {"a" : 2.0} | {"a":3}"#),
        ("{\n\"a\": 1\n}", "{\n\"a\": 1\n}"),
        ("[{\"a\":1},{\"a\":2}]", "[{\"a\":1},{\"a\":2}]"),
        ("[1][2]", "[1] | [2]"),
        ("1 null \"a\"", "1 | null | \"a\""),
        ("", ""),
        (" \n", " \n"),
        ("hello", "Transform.DeaggregationFailed x1"),
        (r#"{"a":1"#, "Transform.DeaggregationFailed x1"),
    ] {
        assert_eq!(shown(&one(&json_parts(), record).await), expected, "{record}");
    }
    let many = |count: usize| (0..count).map(|n| format!("{{\"n\":{n}}}")).collect::<String>();
    let Verdict::Parts(parts) = one(&json_parts(), many(500)).await else { panic!("no parts") };
    assert_eq!((parts.len(), &parts[499].data[..]), (500, &b"{\"n\":499}"[..]));
    for whole in [many(501), many(501) + "broken"] {
        assert_eq!(shown(&one(&json_parts(), whole.clone()).await), whole);
    }
}

#[tokio::test]
async fn a_bad_document_takes_what_stands_behind_it_and_nothing_before() {
    let record = Bytes::from("{\"a\":1}\n{\"a\":2}\n {\"a\": \n{\"a\":4}");
    let Verdict::PartsAndRest { parts, rest, failure } = one(&json_parts(), record.clone()).await
    else {
        panic!("no rest")
    };
    let parts: Vec<_> = parts.into_iter().map(|part| part.data).collect();
    assert_eq!(parts, ["{\"a\":1}", "{\"a\":2}"]);
    assert_eq!(rest, "{\"a\": \n{\"a\":4}");
    assert_eq!(failure.error_type, ErrorOutputType::ProcessingFailed);
    assert_eq!(failure.code, "Transform.DeaggregationFailed");
    let begins = "sub-record 3, at byte 17 of the record, is no JSON: EOF";
    assert!(failure.message.starts_with(begins), "{}", failure.message);

    let chain = Chain::new(vec![Arc::new(json_parts()), Arc::new(filter(".a > 1"))]);
    let ended = chain.begin(vec![item("0", record.clone())]).go_on(&|_| {}).await;
    assert_eq!(
        ended,
        [[
            Transformed::Failed { raw: rest, failure },
            Transformed::Dropped,
            Transformed::Part(Part::new("{\"a\":2}")),
        ]]
    );
    // One good document before a bad one is a part as well, and fails as such.
    let chain = Chain::new(vec![Arc::new(json_parts()), Arc::new(jq("error"))]);
    let ended = chain.begin(vec![item("0", "1 x")]).go_on(&|_| {}).await;
    let raws = ended[0].iter().map(|one| match one {
        Transformed::Failed { raw, .. } => raw.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(raws.collect::<Vec<_>>(), ["x", "1"]);
}

#[tokio::test]
async fn text_is_cut_at_delimiters_and_nothing_empty_comes_of_it() {
    for (delimiter, record, expected) in [
        ("####", "a####b", "a | b"),
        ("####", "####a########b####", "a | b"),
        ("####", "a###b", "a###b"),
        ("####", "####", "####"),
        ("\n", "a\nb\r\n\n", "a | b\r"),
        ("\n", "", ""),
        ("aa", "aaa", "a"),
        ("|", "a|\u{0}|é", "a | \u{0} | é"),
    ] {
        assert_eq!(shown(&one(&delimited(delimiter), record).await), expected, "{record}");
    }
    let many = |count: usize| "x,".repeat(count);
    let Verdict::Parts(parts) = one(&delimited(","), many(500)).await else { panic!("no parts") };
    assert_eq!(parts.len(), 500);
    assert_eq!(shown(&one(&delimited(","), many(501)).await), many(501));
}

/// A record of the Kinesis Producer Library, by its description of the format.
fn aggregated(records: &[Bytes]) -> Vec<u8> {
    let member = |tag: u8, bytes: &[u8]| {
        let mut out = vec![tag << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    };
    let mut message = member(1, b"partition_key");
    for data in records {
        let record = [&[0x08, 0x00][..], &member(3, data)].concat();
        message.extend(member(3, &record));
    }
    enclosed(&message)
}

fn enclosed(message: &[u8]) -> Vec<u8> {
    let checksum = Md5::digest(message);
    [&[0xf3, 0x89, 0x9a, 0xc2], message, checksum.as_slice()].concat()
}

#[tokio::test]
async fn records_of_the_kinesis_producer_library_are_taken_apart() {
    // Made by awslabs' own aggregator.
    let vector = "f3899ac20a0d706172746974696f6e5f6b65791a0808001a0464617461d03699da5a222fa32108ad1bd955a14e";
    let bytes = (0..vector.len() / 2).map(|at| u8::from_str_radix(&vector[2 * at..][..2], 16));
    let vector: Vec<u8> = bytes.map(|byte| byte.expect("hex")).collect();
    assert_eq!(aggregated(&["data".into()]), vector);
    assert_eq!(shown(&one(&kpl(), vector).await), "data");
    let three = ["{\"a\":1}".into(), Bytes::new(), vec![b'x'; 300].into()];
    let expected: Vec<_> = three.iter().cloned().map(Part::new).collect();
    assert_eq!(one(&kpl(), aggregated(&three)).await, Verdict::Parts(expected));
    // Of none in it nothing would be left.
    let empty = Part::new(aggregated(&[]));
    assert_eq!(one(&kpl(), aggregated(&[])).await, Verdict::Parts(vec![empty]));
    // Tags, and members that nobody knows yet.
    let record =
        [&[0x08, 1, 0x10, 2, 0x1a, 1, b'd', 0x22, 3, 0x0a, 1, b't', 0x7a, 1, b'?'][..]].concat();
    let message = [&[0x1a, record.len() as u8][..], &record, &[0x78, 0x05]].concat();
    assert_eq!(shown(&one(&kpl(), enclosed(&message)).await), "d");
    let many = vec![Bytes::new(); PARTS_MAX + 1];
    assert_eq!(shown(&one(&kpl(), aggregated(&many)).await), "Transform.TooLarge x1");
}

#[tokio::test]
async fn what_is_not_quite_of_that_library_stays_as_it_is() {
    let whole = aggregated(&["data".into()]);
    let mut plain: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    plain.extend((0..whole.len()).map(|at| {
        let mut record = whole.clone();
        record[at] ^= 1;
        record
    }));
    plain.push([&whole[..], b"\n"].concat());
    plain.push(whole[4..].to_vec());
    // The checksum is right, and the message is none.
    plain.push(enclosed(&[0x1a, 0x7f, 1]));
    plain.push(enclosed(&[0x1a, 0x02, 0x1a, 0x7f]));
    plain.push(enclosed(&[0x1c]));
    for record in plain {
        let expected = Verdict::Parts(vec![Part::new(record.clone())]);
        assert_eq!(one(&kpl(), record.clone()).await, expected, "{record:?}");
    }
}

#[tokio::test]
async fn a_packed_record_fails_as_it_was_sent_whichever_step_it_fails_in() {
    let steps: Vec<Arc<dyn Transform>> =
        vec![Arc::new(decompress()), Arc::new(messages()), Arc::new(jq("error"))];
    let chain = Chain::new(steps);
    let records = [gzip(envelope(&["{}"]).to_string()), gzip("no envelope"), b"no gzip".to_vec()];
    let numbered = records.iter().enumerate();
    let items = numbered.map(|(id, data)| item(&id.to_string(), data.clone())).collect();
    let ended = chain.begin(items).go_on(&|_| {}).await;
    for ((ended, record), code) in ended.iter().zip(&records).zip([
        "Transform.JqFailed",
        "Decompression failed.",
        "Decompression failed.",
    ]) {
        let [Transformed::Failed { raw, failure }] = ended.as_slice() else { panic!("{ended:?}") };
        assert_eq!((raw, failure.code.as_str()), (&Bytes::from(record.clone()), code));
    }
}

#[tokio::test]
async fn keys_of_an_earlier_step_go_through_processors() {
    let mut given = item("0", gzip(envelope(&["{\"a\":1}{\"a\":2}"]).to_string()));
    given.part.partition_keys.insert("a".into(), "1".into());
    let keys = given.part.partition_keys.clone();
    let steps: Vec<Arc<dyn Transform>> = vec![
        Arc::new(kpl()),
        Arc::new(decompress()),
        Arc::new(messages()),
        Arc::new(json_parts()),
        Arc::new(delimited(":")),
    ];
    let ended = Chain::new(steps).begin(vec![given]).go_on(&|_| {}).await;
    let part = |data: &'static str| {
        Transformed::Part(Part { data: data.into(), partition_keys: keys.clone() })
    };
    assert_eq!(ended, [[part("{\"a\""), part("1}"), part("{\"a\""), part("2}")]]);
}

/// Bytes of a kind that a processor takes, with some of them changed.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let right = prop_oneof![
        proptest::collection::vec("\\PC{0,9}", 0..4).prop_map(|texts| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            envelope(&texts).to_string().into_bytes()
        }),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..4).prop_map(
            |records| aggregated(&records.into_iter().map(Bytes::from).collect::<Vec<_>>())
        ),
        proptest::collection::vec(answer_value(), 0..4).prop_map(|values| {
            values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n").into_bytes()
        }),
    ];
    let packed = (right, any::<bool>());
    let bytes = packed.prop_map(|(bytes, is_packed)| if is_packed { gzip(bytes) } else { bytes });
    (bytes, proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3)).prop_map(
        |(mut bytes, changes)| {
            for (at, byte) in changes {
                let length = bytes.len().max(1);
                if let Some(changed) = bytes.get_mut(at % length) {
                    *changed = byte;
                }
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_bytes_break_a_processor_or_its_bounds(
        foreign in proptest::collection::vec(any::<u8>(), 0..100), near in nearly_right(),
    ) {
        let steps: [&dyn Transform; 7] = [
            &kpl(), &decompress(), &messages(), &cloudwatch_logs(LogForm::Events),
            &json_parts(), &delimited("\n"), &delimited("a,"),
        ];
        for data in [foreign, near] {
            for step in steps {
                let verdict = made(step, data.clone());
                prop_assert!(verdict.size_bytes() <= PARTS_BYTES_MAX);
                match verdict {
                    Verdict::Parts(parts) | Verdict::PartsAndRest { parts, .. } => {
                        prop_assert!((1..=PARTS_MAX).contains(&parts.len()));
                    }
                    Verdict::Failed(failure) | Verdict::FailedAfter { failure, .. } => {
                        prop_assert!(failure.code != "Transform.BrokeDown");
                    }
                    Verdict::Dropped => {}
                }
            }
        }
    }

    #[test]
    fn parts_and_rest_are_the_record_in_its_order(data in nearly_right()) {
        let mut left = &data[..];
        let (parts, rest) = match made(&json_parts(), data.clone()) {
            Verdict::Parts(parts) => (parts, Bytes::new()),
            Verdict::PartsAndRest { parts, rest, .. } => (parts, rest),
            _ => return Ok(()),
        };
        for piece in parts.iter().map(|part| &part.data).chain([&rest]) {
            let found = left.windows(piece.len().max(1)).position(|window| window == &piece[..]);
            let at = if piece.is_empty() { 0 } else { found.expect("it stands there") };
            prop_assert!(left[..at].iter().all(u8::is_ascii_whitespace));
            left = &left[at + piece.len()..];
        }
        prop_assert!(left.iter().all(u8::is_ascii_whitespace));
    }

    #[test]
    fn what_is_packed_and_taken_apart_is_what_was_put_together(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..9),
    ) {
        let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
        let expected = Verdict::Parts(records.iter().cloned().map(Part::new).collect());
        prop_assert_eq!(made(&kpl(), aggregated(&records)), expected);
        let joined = records.concat();
        let expected = Verdict::Parts(vec![Part::new(joined.clone())]);
        prop_assert_eq!(made(&decompress(), gzip(joined)), expected);
    }
}
