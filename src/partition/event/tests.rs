//! The rule for event time: what is found, what is read, and where it leads.

use chrono::DateTime;
use proptest::prelude::*;

use super::*;

/// 2026-11-20T12:00:00Z.
const NOON: UnixMillis = UnixMillis(1_795_176_000_000);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn path(text: &str) -> FieldPath {
    FieldPath::parse(text).expect(text)
}

fn rule(form: EventForm) -> EventTime {
    EventTime {
        field: path("at"),
        form,
        late: None,
        early: None,
        absent: Absent::Error,
        late_folder: "late/".into(),
    }
}

fn record(data: &str) -> Stamped<'_> {
    Stamped { data: data.as_bytes(), position: Position(7), arrival: NOON }
}

fn judge(rule: &EventTime, data: &str) -> Verdict {
    rule.judge(record(data), Horizon::default())
}

fn found(field: &str, data: &str) -> Result<String, Unusable> {
    path(field).find(data.as_bytes()).map(|found| found.text().to_owned())
}

fn read(form: &EventForm, value: &str) -> Option<i64> {
    match judge(&rule(form.clone()), &format!(r#"{{"at": {value}}}"#)) {
        Verdict::At(instant) => Some(instant.0),
        _ => None,
    }
}

fn pattern(text: &str) -> EventForm {
    EventForm::Pattern(TextPattern::parse(text).expect(text))
}

#[test]
fn a_field_is_found_by_its_path_in_the_first_document() {
    for (field, data, text) in [
        ("at", r#"{"at":"x"}"#, "x"),
        ("at", r#" {"a":{"at":1},"b":[{"at":2}],"at" : 3.50 ,"c":null} "#, "3.50"),
        ("meta.time", r#"{"time":1,"meta":{"x":[1,{}],"time":"t"},"z":{}}"#, "t"),
        ("a.b.c", r#"{"a":{"b":{"c":-1e3}}}"#, "-1e3"),
        ("at", r#"{"\u0061t":"\u0031\n"}"#, "1\n"),
        ("at", r#"{"at":1}{"at":2}"#, "1"),
        ("at", r#"{"at":1}  not JSON"#, "1"),
        ("at", r#"{"at":1,"at":2}"#, "2"),
        ("é", r#"{"é":"ü"}"#, "ü"),
    ] {
        assert_eq!(found(field, data).as_deref(), Ok(text), "{data}");
    }
    for (field, data, why) in [
        ("at", "{}", Unusable::Missing),
        ("at", r#"{"at":null}"#, Unusable::Missing),
        ("at", r#"{"At":1}"#, Unusable::Missing),
        ("at", r#"[{"at":1}]"#, Unusable::Missing),
        ("at", "7", Unusable::Missing),
        ("a.b", r#"{"a":"b"}"#, Unusable::Missing),
        ("a.b", r#"{"a.b":1}"#, Unusable::Missing),
        ("at", r#"{"at":[1]}"#, Unusable::NoScalar),
        ("at", r#"{"at":{}}"#, Unusable::NoScalar),
        ("at", r#"{"at":true}"#, Unusable::NoScalar),
        ("at", "", Unusable::NoDocument),
        ("at", r#"{"at":1"#, Unusable::NoDocument),
        ("at", r#"{"at":1,"x":}"#, Unusable::NoDocument),
        ("at", "no JSON", Unusable::NoDocument),
    ] {
        assert_eq!(found(field, data), Err(why), "{data}");
    }
    for text in ["", ".", "a.", ".a", "a..b", &["a"; 33].join(".")] {
        assert_eq!(FieldPath::parse(text), Err(FieldPathError), "{text}");
    }
}

#[test]
fn times_are_read_in_every_form() {
    use EventForm::{Auto, EpochMillis, EpochSeconds, Iso};
    let noon = NOON.0;
    for (form, value, instant) in [
        (Auto, "1795176000", noon),
        (Auto, "1795176000000", noon),
        (Auto, "1795176000.25", noon + 250),
        (Auto, "1.795176e9", noon),
        (Auto, r#""1795176000""#, noon),
        (Auto, r#""1795176000123""#, noon + 123),
        (Auto, r#""2026-11-20T12:00:00Z""#, noon),
        (Auto, r#""2026-11-20T13:00:00.5+01:00""#, noon + 500),
        (Auto, r#""2026-11-20t12:00:00z""#, noon),
        (Auto, r#""2026-11-20 12:00:00""#, noon),
        (Auto, r#""2026-11-20""#, noon - 12 * HOUR_MS),
        (Auto, "0", 0),
        (EpochSeconds, "1795176000", noon),
        (EpochSeconds, r#""1795176000.9999""#, noon + 999),
        (EpochMillis, "1795176000000", noon),
        (EpochMillis, "1000", 1000),
        (EpochMillis, r#""1795176000000.9""#, noon),
        (Iso, r#""2026-11-20T12:00:00.123456789Z""#, noon + 123),
        (Iso, r#""9999-12-31T23:59:59.999Z""#, SANE_MAX.0),
        (pattern("yyyy-MM-dd HH:mm:ss"), r#""2026-11-20 12:00:00""#, noon),
        (pattern("yyyyMMddHHmmssSSS"), r#""20261120120000042""#, noon + 42),
        (pattern("yyyyMMdd"), "20261120", noon - 12 * HOUR_MS),
        (pattern("dd/MMM/yyyy:HH:mm:ss Z"), r#""20/Nov/2026:13:30:00 +0130""#, noon),
        (pattern("EEE, d MMMM yyyy h:mm a z"), r#""Fri, 20 November 2026 12:00 PM GMT""#, noon),
        (pattern("yyyy-MM-dd'T'HH:mm:ssXXX"), r#""2026-11-20T10:00:00-02:00""#, noon),
        (pattern("d.M.yy H 'o''clock'"), r#""20.11.26 12 o'clock""#, noon),
    ] {
        assert_eq!(read(&form, value), Some(instant), "{form:?} {value}");
    }
    for (form, value) in [
        (Auto, r#""yesterday""#),
        (Auto, r#""""#),
        (Auto, "-1"),
        (Auto, "253402300800000"),
        (Auto, "1e40"),
        (Auto, r#""1969-12-31T23:59:59Z""#),
        (EpochSeconds, "1795176000000"),
        (EpochSeconds, r#""2026-11-20T12:00:00Z""#),
        (EpochMillis, "99999999999999999999"),
        (Iso, "1795176000"),
        (Iso, r#""1795176000""#),
        (Iso, r#""2026-02-30T12:00:00Z""#),
        (pattern("yyyy-MM-dd HH:mm:ss"), r#""2026-11-20 12:00""#),
        (pattern("yyyy-MM-dd HH:mm:ss"), r#""2026-11-20 12:00:00 x""#),
        (pattern("yyyy-MM-dd HH:mm:ss"), r#""2026-11-20 24:00:00""#),
        (pattern("yyyy-MM-dd h a"), r#""2026-11-20 13 PM""#),
        (pattern("yyyy-MM-dd X"), r#""2026-11-20 +19""#),
    ] {
        assert_eq!(read(&form, value), None, "{form:?} {value}");
    }
}

#[test]
fn forms_that_say_no_day_are_refused_with_what_to_write() {
    for (text, part) in [
        ("", "at least yyyy"),
        ("yyyy-MM", "at least yyyy"),
        ("HH:mm", "at least yyyy"),
        ("yyyy-MM-dd hh", "belong together"),
        ("yyyy-MM-dd a", "belong together"),
        ("YYYY-MM-dd", "'YYYY' is not"),
        ("yyyy-MM-ddThh", "'T' is not"),
        ("yyy-MM-dd", "'yyy' is not"),
        ("yyyy-MM-dd 'x", "no end"),
    ] {
        let error = TextPattern::parse(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn late_early_and_absent_times_go_where_the_rule_says() {
    let after = Duration::from_secs(3600);
    let at = |time: i64| format!(r#"{{"at":{time}}}"#);
    let (late, early) = (NOON.0 - HOUR_MS, NOON.0 + HOUR_MS);
    for (to, expected) in [
        (Beyond::Partition, Verdict::At(UnixMillis(late - 1))),
        (Beyond::LatePrefix, Verdict::Late(UnixMillis(late - 1))),
        (Beyond::Arrival, Verdict::At(NOON)),
        (
            Beyond::Error,
            Verdict::Failed(
                "the time in 'at' is more than 3600s before the record's arrival".into(),
            ),
        ),
    ] {
        let bound = Some(Bound { after, to });
        let late_rule = EventTime { late: bound, ..rule(EventForm::EpochMillis) };
        assert_eq!(judge(&late_rule, &at(late)), Verdict::At(UnixMillis(late)), "not yet");
        assert_eq!(judge(&late_rule, &at(late - 1)), expected);
        assert_eq!(judge(&late_rule, &at(early + DAY_MS)), Verdict::At(UnixMillis(early + DAY_MS)));
        let early_rule = EventTime { early: bound, ..rule(EventForm::EpochMillis) };
        assert_eq!(judge(&early_rule, &at(early)), Verdict::At(UnixMillis(early)), "not yet");
        assert_eq!(judge(&early_rule, &at(late - DAY_MS)), Verdict::At(UnixMillis(late - DAY_MS)));
        let judged = judge(&early_rule, &at(early + 1));
        match (to, judged) {
            (Beyond::Partition, Verdict::At(at)) => assert_eq!(at.0, early + 1),
            (Beyond::LatePrefix, Verdict::Late(at)) => assert_eq!(at.0, early + 1),
            (Beyond::Arrival, at) => assert_eq!(at, Verdict::At(NOON)),
            (Beyond::Error, Verdict::Failed(why)) => assert!(why.contains("after"), "{why}"),
            (_, other) => panic!("{to:?}: {other:?}"),
        }
    }
    for (data, part) in [
        ("{}", "there is no 'at'"),
        ("nothing", "no JSON"),
        (r#"{"at":"soon"}"#, "of the stream's form: soon"),
        (r#"{"at":[]}"#, "no text and no number"),
        (r#"{"at":-5}"#, "1970 to 9999: -5"),
        (r#"{"at":1e300}"#, "1970 to 9999"),
    ] {
        let strict = rule(EventForm::Auto);
        match judge(&strict, data) {
            Verdict::Failed(why) => assert!(why.contains(part), "{data}: {why}"),
            other => panic!("{data}: {other:?}"),
        }
        let lenient = EventTime { absent: Absent::Arrival, ..strict };
        assert_eq!(judge(&lenient, data), Verdict::At(NOON), "{data}");
    }
}

#[test]
fn nothing_comes_into_a_complete_partition_when_the_clock_was_set_back() {
    let bound = |to| Some(Bound { after: Duration::from_secs(3600), to });
    let until = UnixMillis(NOON.0 + 2 * HOUR_MS);
    let horizon = |from| Horizon { from: Position(from), until: Some(until) };
    let at = |time: i64| format!(r#"{{"at":{time}}}"#);
    let late_rule = EventTime { late: bound(Beyond::LatePrefix), ..rule(EventForm::EpochMillis) };
    let (inside, behind) = (at(until.0 - 1), at(until.0));
    let judged = |rule: &EventTime, data: &str, from| rule.judge(record(data), horizon(from));
    assert_eq!(judged(&late_rule, &inside, 7), Verdict::Late(UnixMillis(until.0 - 1)));
    assert_eq!(judged(&late_rule, &behind, 7), Verdict::At(until));
    assert_eq!(judged(&late_rule, &inside, 8), Verdict::At(UnixMillis(until.0 - 1)), "before it");
    let arrival_rule = EventTime {
        late: bound(Beyond::Arrival),
        absent: Absent::Arrival,
        ..rule(EventForm::EpochMillis)
    };
    for data in [inside.as_str(), "{}"] {
        assert_eq!(judged(&arrival_rule, data, 7), Verdict::At(until), "the next one is open");
    }
    let strict = EventTime { late: bound(Beyond::Error), ..rule(EventForm::EpochMillis) };
    let Verdict::Failed(why) = judged(&strict, &inside, 7) else { panic!("it fails") };
    assert!(why.contains("is complete"), "{why}");
}

proptest! {
    #[test]
    fn what_is_written_in_a_form_is_read_back(millis in 0..=SANE_MAX.0) {
        let time = DateTime::from_timestamp_millis(millis).expect("in the calendar").naive_utc();
        let whole = millis / 1000 * 1000;
        for (form, text, expected) in [
            (EventForm::Auto, time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(), millis),
            (EventForm::Iso, time.format("%Y-%m-%d %H:%M:%S").to_string(), whole),
            (EventForm::EpochMillis, millis.to_string(), millis),
            (EventForm::EpochSeconds, format!("{}.{:03}", millis / 1000, millis % 1000), millis),
            (pattern("yyyyMMddHHmmssSSS"), time.format("%Y%m%d%H%M%S%3f").to_string(), millis),
            (
                pattern("EEEE, d MMM yyyy hh:mm:ss a"),
                time.format("%A, %-d %b %Y %I:%M:%S %p").to_string(),
                whole,
            ),
        ] {
            prop_assert_eq!(read(&form, &format!("\"{text}\"")), Some(expected), "{}", text);
        }
    }

    #[test]
    fn a_found_field_is_what_another_reader_finds(
        before in "[a-z]{0,3}", value in "\\PC{0,8}", after: i64,
    ) {
        let document = serde_json::json!({"x": {before: after}, "at": {"b\"\n": value}, "y": [after]});
        let text = document.to_string();
        prop_assert_eq!(found("at.b\"\n", &text), Ok(value));
    }

    #[test]
    fn foreign_records_and_forms_never_panic(data: Vec<u8>, text in "\\PC{0,20}", arrival: i64) {
        let bound = Some(Bound { after: Duration::from_secs(1), to: Beyond::Error });
        let mut forms = vec![EventForm::Auto, EventForm::EpochSeconds, EventForm::EpochMillis];
        forms.extend(TextPattern::parse(&text).map(EventForm::Pattern));
        forms.push(pattern("y-M-d H:m:s S a h X EEE MMM"));
        for form in forms {
            let rule = EventTime { late: bound, early: bound, ..rule(form) };
            let arrival = UnixMillis(arrival);
            for data in [&data[..], format!("{{\"at\":{text:?}}}").as_bytes()] {
                let stamped = Stamped { data, position: Position(0), arrival };
                let once = rule.judge(stamped, Horizon::default());
                prop_assert_eq!(rule.judge(stamped, Horizon::default()), once);
            }
        }
    }
}
