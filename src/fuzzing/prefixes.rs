//! Prefixes that people write, and the values that producers and hooks put into them.

use std::time::Duration;

use crate::partition::{
    Absent, Beyond, Bound, Evaluated, EventForm, EventTime, FieldPath, Group, GroupPlace,
    KEY_BYTES_MAX, ObjectName, Place, Stamped, Template, TextPattern, Verdict, Zone, escape,
    renamed, unescape,
};
use crate::plan::Horizon;
use crate::record::{ErrorOutputType, Position, StreamName, Tenant, UnixMillis};

/// A prefix with its patterns: what is accepted evaluates to folders that stores take, and a value
/// changes none of them. Fields: `p`, `e` or `s` (the prefix, that of errors, one in which slashes
/// make folders) and its text, a value, an instant, a zone.
pub(super) fn prefix(data: &[u8]) {
    let mut fields = data.split(|byte| *byte == 0xff);
    let mut text = || String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
    let (written, value, instant, zone) = (text(), text(), text(), text());
    let (kind, written) = written.split_at_checked(1).unwrap_or(("p", ""));
    let (place, error) = match kind {
        "e" => (Place::ErrorPrefix, Some(ErrorOutputType::ProcessingFailed)),
        _ => (Place::Prefix, None),
    };
    let zone = Zone::named(&zone).unwrap_or(Zone::UTC);
    let Ok(mut template) = Template::parse_in(written, place, zone) else {
        return;
    };
    if place == Place::Prefix && !template.has_timestamp() {
        template = template.with_implicit_date();
    }
    let splits = kind == "s";
    if splits {
        template = template.with_slashes();
    }
    // Who fills slots sees to it that no value is empty, nor a folder of one.
    if value.is_empty() || (splits && value.split('/').any(str::is_empty)) {
        return;
    }
    let instant = UnixMillis(instant.trim().parse().unwrap_or(1_510_254_469_499));
    let evaluate = |value: &str| {
        let mut random = 0;
        template.evaluate(instant, &group_of(&template, value), error, &mut || {
            random += 1;
            random
        })
    };
    let Ok(found) = evaluate(&value) else {
        return;
    };
    check(&found);
    let names: Vec<_> = found.partition.iter().map(|(name, _)| name.clone()).collect();
    if !splits {
        assert_eq!(names, template.partition_keys(), "{written:?}");
        if let Ok(plain) = evaluate("x") {
            let folder_count = |found: &Evaluated| found.prefix.matches('/').count();
            assert_eq!(folder_count(&found), folder_count(&plain), "{written:?}");
        }
    }
    assert_eq!(evaluate(&value).as_ref(), Ok(&found), "the same inputs give the same prefix");
}

/// A value is one folder, reads back, and makes no key that a store refuses.
pub(super) fn partition_value(data: &[u8]) {
    let value = String::from_utf8_lossy(data);
    let escaped = escape(&value);
    assert_eq!(unescape(&escaped), value);
    assert!(!escaped.contains('/') && !escaped.contains(char::is_control), "{escaped:?}");
    assert!(escaped != "." && escaped != "..");
    // Any text reads as something, and that can be written again.
    assert_eq!(unescape(&escape(&unescape(&value))), unescape(&value));
    if value.is_empty() {
        return;
    }
    let template = "a/k=!{partitionKeyFromLambda:k}/t=!{lakehose:tenant}/!{timestamp:yyyy}/";
    let template = Template::parse(template, Place::Prefix).expect("a prefix");
    let group = group_of(&template, &value);
    let Ok(found) = template.evaluate(UnixMillis(0), &group, None, &mut || 7) else {
        assert!(escaped.len() > 200 && !template.is_surely_short(&group), "{value:?}");
        return;
    };
    check(&found);
    let tenant = group.tenant.as_ref().map_or("__HIVE_DEFAULT_PARTITION__", Tenant::as_str);
    let expected = [("k", value.as_ref()), ("t", tenant)];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(found.partition, expected);
}

/// The time that a record names is one of the years 1970 to 9999, or no time, and it is judged by the
/// record alone. Fields: a form (`a`, `s`, `m`, `i`, or a pattern of texts), the record.
pub(super) fn event_time(data: &[u8]) {
    let mut fields = data.splitn(2, |byte| *byte == 0xff);
    let form = String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
    let record = fields.next().unwrap_or_default();
    let form = match form.as_str() {
        "a" => EventForm::Auto,
        "s" => EventForm::EpochSeconds,
        "m" => EventForm::EpochMillis,
        "i" => EventForm::Iso,
        text => match TextPattern::parse(text) {
            Ok(pattern) => EventForm::Pattern(pattern),
            Err(_) => return,
        },
    };
    let field = FieldPath::parse("meta.at").expect("a path");
    let anything = EventTime {
        field,
        form,
        late: None,
        early: None,
        absent: Absent::Error,
        late_folder: "late/".to_owned(),
    };
    let arrival = UnixMillis(1_510_254_469_499);
    let stamped = Stamped { data: record, position: Position(7), arrival };
    let judged = anything.judge(stamped, Horizon::default());
    let at = match &judged {
        Verdict::At(at) => *at,
        Verdict::Late(at) => panic!("nothing is late, and {at:?} is"),
        Verdict::Failed(why) => return assert!(!why.is_empty() && why.len() < 1_000, "{why}"),
    };
    assert!((0..=253_402_300_799_999).contains(&at.0), "{at:?}");
    assert_eq!(anything.judge(stamped, Horizon::default()), judged);
    // A bound of an hour either way: late is what lies before it, early what lies behind.
    let bound = |to| Some(Bound { after: Duration::from_secs(3600), to });
    let (late, early) = (bound(Beyond::LatePrefix), bound(Beyond::Arrival));
    let bounded = EventTime { late, early, ..anything };
    let expected = match at.0 - arrival.0 {
        ..-3_600_000 => Verdict::Late(at),
        -3_600_000..=3_600_000 => Verdict::At(at),
        _ => Verdict::At(arrival),
    };
    assert_eq!(bounded.judge(stamped, Horizon::default()), expected);
}

/// A group whose tenant and whose every key is `value`.
fn group_of(template: &Template, value: &str) -> Group {
    let values = template.example(value, UnixMillis(1_510_254_469_499));
    Group { tenant: Tenant::new(value).ok(), place: GroupPlace::Placed(values) }
}

/// What stores refuse is not there, neither in the prefix nor in the keys below it.
fn check(found: &Evaluated) {
    assert!(found.prefix.starts_with(&found.partition_folder));
    assert!(found.partition_folder.is_empty() || found.partition_folder.ends_with('/'));
    let stream = StreamName::new("clicks").expect("a name");
    let name = ObjectName {
        stream: &stream,
        version: 1,
        instant: UnixMillis(0),
        zone: &Zone::UTC,
        random: 1,
        extension: ".parquet",
    };
    let Ok(key) = name.key(&found.prefix) else {
        assert!(found.prefix.len() + 100 > KEY_BYTES_MAX, "a key of few bytes is too long");
        return;
    };
    let other = renamed(&key, 2);
    assert_eq!(other.len(), key.len());
    assert_ne!(other, key);
    for key in [key, other] {
        assert!(key.len() <= KEY_BYTES_MAX && key.starts_with(&found.prefix));
        assert!(!key.contains(char::is_control), "{key:?}");
        assert!(!key.split('/').any(|name| matches!(name, "" | "." | "..")), "{key:?}");
    }
}
