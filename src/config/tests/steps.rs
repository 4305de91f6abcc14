//! The steps of a stream: their settings, and the orders and neighbours that are warned of.

use super::*;

#[test]
fn every_kind_of_step_reaches_its_settings() {
    let config = load_good(
        r#"
delivery_streams:
  s:
    schema: {table: t}
    transform:
      - http:
          url: "https://hook:9000/enrich?v=1"
          headers: {Authorization: "${env:ACME_SECRET}", X-Plain: plain}
          timeout: 10 s
          retries: 0
          buffering: {size: 256 KiB, interval: 0 s}
      - lambda: {arn: "arn:aws:lambda:eu-west-1:111122223333:function:f:live", retries: 300}
      - command: {argv: [python3, /hook.py], environment: {KEY: "${env:ACME_SECRET}"}}
      - jq: |
          .a
          | .b
      - filter: .a > 1
      - fields: {drop: [a], rename: {b: c}, add: {d: e}}
      - append_delimiter: {}
      - kpl: {}
      - deaggregate: {delimiter: "\n"}
      - deaggregate: {json: {}}
      - cloudwatch_logs: {}
"#,
    );
    let steps = &config.delivery_streams[&name("s")].transform;
    let kinds: Vec<&StepKind> = steps.iter().map(|step| &step.kind).collect();
    let StepKind::Http { url, headers, timeout, retries, buffering } = kinds[0] else {
        panic!("{kinds:?}")
    };
    assert_eq!((url.expose(), *retries), ("https://hook:9000/enrich?v=1", 0));
    assert_eq!(headers["Authorization"].expose(), "acme-hunter2");
    assert_eq!(headers["X-Plain"].expose(), "plain");
    assert_eq!(*timeout, Duration::from_secs(10));
    assert_eq!(
        *buffering,
        Buffering { size_bytes: 256 << 10, object_bytes: None, interval: Duration::ZERO }
    );
    let StepKind::Lambda { region, timeout, retries, buffering, credentials, .. } = kinds[1] else {
        panic!("{kinds:?}")
    };
    assert_eq!((region.as_str(), *retries, credentials), ("eu-west-1", 300, &None));
    assert_eq!(*timeout, Duration::from_secs(300));
    let default =
        Buffering { size_bytes: 1 << 20, object_bytes: None, interval: Duration::from_secs(1) };
    assert_eq!(*buffering, default);
    let StepKind::Command { argv, environment, timeout, retries } = kinds[2] else {
        panic!("{kinds:?}")
    };
    assert_eq!((argv[0].as_str(), argv[1].as_str()), ("python3", "/hook.py"));
    assert_eq!((*timeout, *retries), (Duration::from_secs(60), 3));
    assert_eq!(environment["KEY"].expose(), "acme-hunter2");
    assert!(!environment.contains_key("ACME_SECRET"));
    assert_eq!(*kinds[3], StepKind::Jq(".a\n| .b\n".into()));
    assert_eq!(*kinds[4], StepKind::Filter(".a > 1".into()));
    let StepKind::Fields(fields) = kinds[5] else { panic!("{kinds:?}") };
    assert_eq!(
        (&fields.drop[0], &fields.rename["b"], &fields.add["d"]),
        (&"a".to_owned(), &"c".to_owned(), &"e".to_owned())
    );
    assert_eq!(*kinds[6], StepKind::AppendDelimiter("\n".into()));
    assert_eq!(*kinds[7], StepKind::Kpl);
    assert_eq!(*kinds[8], StepKind::Deaggregate(SubRecords::Delimited("\n".into())));
    assert_eq!(*kinds[9], StepKind::Deaggregate(SubRecords::Json));
    let form = LogForm::Messages { drops_control: false };
    assert_eq!(*kinds[10], StepKind::CloudWatchLogs(form));
    assert_eq!(steps[3].place.path, "delivery_streams.s.transform[3]");
    assert!(!format!("{steps:?}").contains("hunter2"));
}

fn stream_with(transform: &str, format: &str) -> String {
    format!(
        "delivery_streams:\n  s:\n    schema: {{table: t}}\n    format: {format}\n    transform: [{transform}]\n"
    )
}

#[test]
fn orders_that_firehose_has_not_are_warned_of() {
    let unpack = "decompress: {format: gzip}";
    let logs = "cloudwatch_logs: {control_messages: drop}";
    let rows = "{parquet: {}}";
    for (steps, format, expected) in [
        (format!("kpl: {{}}, {unpack}, {logs}, deaggregate: {{json: {{}}}}"), rows, &[][..]),
        (format!("{unpack}, cloudwatch_logs: {{as: events}}, jq: ."), rows, &[]),
        (format!("{unpack}, cloudwatch_logs: {{}}"), "{records: {}}", &[]),
        (format!("{unpack}, cloudwatch_logs: {{}}, jq: ."), rows, &[]),
        (logs.to_owned(), rows, &["add decompress: {format: gzip}"]),
        (
            format!("deaggregate: {{delimiter: x}}, {unpack}"),
            rows,
            &["decompress before deaggregate"],
        ),
        (format!("{unpack}, kpl: {{}}"), rows, &["kpl before decompress"]),
        (
            "command: {argv: [a]}, deaggregate: {json: {}}".to_owned(),
            rows,
            &["deaggregate before command"],
        ),
    ] {
        let steps: Vec<_> = steps.split(", ").map(|step| format!("{{{step}}}")).collect();
        let config = load_good(&stream_with(&steps.join(", "), format));
        let warnings = config.warnings.as_slice();
        assert_eq!(warnings.len(), expected.len(), "{steps:?}: {}", config.warnings);
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.message().contains(part), "{steps:?}: {warning}");
            assert!(warning.place().path.starts_with("delivery_streams.s.transform["), "{warning}");
        }
    }
}

#[test]
fn empty_records_of_health_checks_are_warned_of_where_they_do_harm() {
    let query = "query: '{k: .k}'";
    let event = "event_time: {field: at, absent: error}";
    for (logs, later, format, partitioning, expected) in [
        ("{}", "", "{records: {}}", "", ""),
        ("{}", "", "{parquet: {}}", "", "no row is made of and which go to"),
        ("{}", "", "{records: {}}", query, "the query makes no keys and which go to"),
        ("{}", "", "{records: {}}", event, "have no event time and go to"),
        ("{}", "", "{records: {}}", "event_time: {field: at}", ""),
        ("{}", "", "{records: {delimiter: newline}}", "", "leave empty lines"),
        ("{}", "append_delimiter: {}", "{records: {}}", "", "leave empty lines"),
        ("{}", "append_delimiter: {delimiter: ;}", "{records: {}}", "", "leave empty lines"),
        (
            "{}",
            "fields: {drop: [a]}",
            "{records: {}}",
            "",
            "fields finds no object and which go to",
        ),
        ("{}", "jq: .", "{parquet: {}}", query, ""),
        ("{}", "filter: .a, fields: {drop: [a]}", "{records: {}}", "", ""),
        ("{}", "deaggregate: {json: {}}", "{records: {}}", query, "the query makes no keys"),
        ("{control_messages: drop}", "", "{parquet: {}}", query, ""),
        ("{as: events}", "", "{parquet: {}}", query, ""),
    ] {
        let steps = format!("decompress: {{format: gzip}}, cloudwatch_logs: {logs}, {later}");
        let steps = steps.split(", ").filter(|step| !step.is_empty());
        let steps: Vec<_> = steps.map(|step| format!("{{{step}}}")).collect();
        let prefix = match partitioning {
            "" => "",
            text if text == query => "k=!{partitionKeyFromQuery:k}/",
            _ => "d=!{event:yyyy-MM-dd}/",
        };
        let text = format!(
            "{}    partitioning: {{{partitioning}}}\n    destination: {{prefix: \"s/{prefix}\", \
             error_prefix: e/}}\n",
            stream_with(&steps.join(", "), format)
        );
        let config = load_good(&text);
        let warnings = config.warnings.as_slice();
        assert_eq!(warnings.len(), usize::from(!expected.is_empty()), "{text}: {warnings:?}");
        for warning in warnings {
            assert!(warning.message().contains(expected), "{text}: {warning}");
            assert!(warning.message().ends_with("write control_messages: drop"), "{warning}");
            assert_eq!(warning.place().path, "delivery_streams.s.transform[1]");
        }
    }
}

#[test]
fn a_line_feed_appended_last_is_what_stands_between_records() {
    for (steps, format, left, expected) in [
        ("{append_delimiter: {}}", "{records: {}}", 0, Delimiter::Newline),
        (
            "{jq: .}, {append_delimiter: {}}, {append_delimiter: {}}",
            "{records: {}}",
            1,
            Delimiter::Newline,
        ),
        (
            "{append_delimiter: {}}",
            "{records: {delimiter: newline_at_end}}",
            0,
            Delimiter::NewlineAtEnd,
        ),
        ("{append_delimiter: {delimiter: ;}}", "{records: {}}", 1, Delimiter::None),
        ("{append_delimiter: {}}, {jq: .}", "{records: {}}", 2, Delimiter::None),
    ] {
        let config = load_good(&stream_with(steps, format));
        let stream = &config.delivery_streams[&name("s")];
        assert_eq!(stream.transform.len(), left, "{steps}");
        let Format::Records(options) = &stream.format else { panic!("{steps}") };
        assert_eq!(options.delimiter, expected, "{steps}");
    }
}

#[test]
fn the_url_of_a_hook_may_come_from_elsewhere_and_is_not_shown() {
    let of = |url: &str| {
        format!(
            "delivery_streams: {{s: {{schema: {{table: t}}, transform: [http: {{url: \"{url}\"}}]}}}}\n"
        )
    };
    let config = load_good(&of("${env:HOOK}"));
    let steps = &config.delivery_streams[&name("s")].transform;
    let StepKind::Http { url, .. } = &steps[0].kind else { panic!("{steps:?}") };
    assert_eq!(url.expose(), "https://hook/enrich?code=hunter2");
    assert!(!format!("{steps:?}").contains("hunter2"));
    let faults = faults_of(&of("${env:ACME_SECRET}")).to_string();
    assert!(faults.contains("what the reference gives") && !faults.contains("hunter2"), "{faults}");
}
