//! Prefixes that people write, and the values that producers and hooks put into them.

use crate::partition::{
    Evaluated, Group, GroupPlace, KEY_BYTES_MAX, ObjectName, Place, Template, Zone, escape,
    renamed, unescape,
};
use crate::record::{ErrorOutputType, StreamName, Tenant, UnixMillis};

/// A prefix with its patterns: what is accepted evaluates to folders that stores take, and a value
/// changes none of them. Fields: `p` or `e` (which prefix) and its text, a value, an instant.
pub(super) fn prefix(data: &[u8]) {
    let mut fields = data.split(|byte| *byte == 0xff);
    let mut text = || String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
    let (written, value, instant) = (text(), text(), text());
    let (place, error, written) = match written.strip_prefix('e') {
        Some(rest) => {
            (Place::ErrorPrefix, Some(ErrorOutputType::ProcessingFailed), rest.to_owned())
        }
        None => (Place::Prefix, None, written.strip_prefix('p').unwrap_or(&written).to_owned()),
    };
    let Ok(template) = Template::parse(&written, place) else {
        return;
    };
    let instant = UnixMillis(instant.trim().parse().unwrap_or(1_510_254_469_499));
    let template = if place == Place::Prefix && !template.has_timestamp() {
        template.with_implicit_date()
    } else {
        template
    };
    let evaluate = |value: &str| {
        let group = group_of(&template, value);
        let mut random = 0;
        template.evaluate(instant, &group, error, &mut || {
            random += 1;
            random
        })
    };
    let plain = evaluate("x").ok();
    if let Ok(found) = evaluate(&value) {
        check(&found);
        let names: Vec<_> = found.partition.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, template.partition_keys(), "{written:?}");
        if let Some(plain) = plain {
            let folder_count = |found: &Evaluated| found.prefix.matches('/').count();
            assert_eq!(folder_count(&found), folder_count(&plain), "{written:?}");
        }
        assert_eq!(evaluate(&value).as_ref(), Ok(&found), "the same inputs give the same prefix");
    }
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

    let template = "a/k=!{partitionKeyFromLambda:k}/t=!{lakehose:tenant}/!{timestamp:yyyy}/";
    let template = Template::parse(template, Place::Prefix).expect("a prefix");
    let group = group_of(&template, &value);
    let Ok(found) = template.evaluate(UnixMillis(0), &group, None, &mut || 7) else {
        assert!(value.is_empty() || escaped.len() > 200, "{value:?}");
        return;
    };
    check(&found);
    let tenant = group.tenant.as_ref().map_or("__HIVE_DEFAULT_PARTITION__", Tenant::as_str);
    let expected = [("k", value.as_ref()), ("t", tenant)];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(found.partition, expected);
}

/// A group whose tenant and whose every key is `value`.
fn group_of(template: &Template, value: &str) -> Group {
    let place = GroupPlace::Placed(template.example(value, UnixMillis(0)));
    Group { tenant: Tenant::new(value).ok(), place }
}

/// What stores refuse is not there, neither in the prefix nor in the keys below it.
fn check(found: &Evaluated) {
    assert!(found.prefix.starts_with(&found.partition_folder));
    assert!(found.partition_folder.is_empty() || found.partition_folder.ends_with('/'));
    let stream = StreamName::new("clicks").expect("a name");
    let extension = ".parquet";
    let name = ObjectName {
        stream: &stream,
        version: 1,
        instant: UnixMillis(0),
        zone: &Zone::UTC,
        random: 1,
        extension,
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
