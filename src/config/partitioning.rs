//! What sets the records of a stream apart: the section `partitioning`, and what it means for the
//! prefix.
//!
//! Owns the section's words, and which slots of a prefix have somebody who fills them. Does not own
//! how they are filled (`pipeline`), nor the language of queries, of which it reads no more than the
//! keys that a program names openly.

use serde_json::{Value as Json, json};

use super::event_time::{CompleteSection, EventTimeSection, event_times};
use super::faults::{Place, listed, shown};
use super::json_schema;
use super::prefixes::Prefix;
use super::reader::Presence::{Default, Optional};
use super::reader::{At, Field, Reader, Scalar, section};
use super::settings::Complete;
use super::transform::Step;
use super::values::Text;
use crate::partition::{Slot, Template};
use crate::pipeline::{Missing, Partitioning, Query};

/// Each of them takes memory, and this many are known to fit into little.
const ACTIVE_PARTITIONS_MAX: usize = 100_000;

section! {
    /// What sets records apart besides their tenant.
    PartitioningSection expects "a mapping such as query, event_time and max_active_partitions" {
        /// A jq program that makes an object of each record: the keys of
        /// `!{partitionKeyFromQuery:KEY}` in the prefix.
        query: Text = Optional,
        /// What becomes of a record without a value: it fails, or goes to Hive's default partition.
        missing: Missing = Default("fail"),
        /// Whether a '/' in a value makes folders, outside of `name=value` folders.
        allow_slash: bool = Default("false"),
        /// Where the time of an event stands in its record, for `!{event:PATTERN}` in the prefix.
        event_time: EventTimeSection = Optional,
        /// How it is told that a partition of event time is complete.
        complete: CompleteSection = Optional,
        /// Records that would open more fail; as many as there are if absent.
        max_active_partitions: PartitionCount = Optional,
    }
}

impl Scalar for Missing {
    const EXPECTED: &'static str = "fail or default";

    fn json_schema() -> Json {
        json_schema::words(&["fail", "default"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "fail" => Ok(Self::Fail),
            "default" => Ok(Self::Default),
            _ => Err(format!("{} is unknown here: write fail or default", shown(text))),
        }
    }
}

/// How many partitions may be active.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionCount(usize);

impl Scalar for PartitionCount {
    const EXPECTED: &'static str = "a number from 1 to 100000";

    fn json_schema() -> Json {
        json!({"type": "integer", "minimum": 1, "maximum": ACTIVE_PARTITIONS_MAX})
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if (1..=ACTIVE_PARTITIONS_MAX).contains(&number) => Ok(Self(number)),
            _ => Err(format!("expected {}, found {}", <Self as Scalar>::EXPECTED, shown(text))),
        }
    }
}

/// What fills the slots of `prefix`, and how the ends of its partitions are told, unless there is a fault;
/// gives the prefix what it has to know of it.
pub(super) fn partitioning(
    field: &Field<PartitioningSection>,
    prefix: Option<&mut Prefix>,
    transform: Option<&[Step]>,
    reader: &mut Reader<'_>,
) -> Option<(Partitioning, Option<Complete>)> {
    let section = field.value()?;
    let PartitioningSection { query, missing, allow_slash, .. } = section;
    let PartitioningSection { event_time, complete, max_active_partitions, .. } = section;
    let queried = match query {
        Field::Given(at) => compile(at, reader).map(Some),
        Field::Absent => Some(None),
        Field::Faulty => None,
    };
    let prefix = prefix?;
    if let Some(queried) = &queried {
        check_query(prefix, queried.as_ref(), query, reader);
    }
    if let Some(transform) = transform {
        check_hook_keys(&prefix.template, &prefix.place, transform, reader);
    }
    let times = event_times(event_time, complete, prefix, reader);
    if let Some(At { place, .. }) = max_active_partitions.given()
        && prefix.template.slots().is_empty()
        && query.is_absent()
    {
        let message = "the prefix has nothing that partitions come of: put \
                       !{partitionKeyFromQuery:KEY} or !{partitionKeyFromLambda:KEY} into it, or \
                       remove max_active_partitions";
        reader.fault(place.clone(), message);
    }
    if *allow_slash.value()? {
        prefix.template = prefix.template.clone().with_slashes();
    }
    let max_active_partitions = match max_active_partitions {
        Field::Faulty => return None,
        field => field.value().map(|PartitionCount(count)| *count),
    };
    let (event_time, complete) = times?;
    let (query, missing) = (queried?, *missing.value()?);
    Some((Partitioning { query, missing, event_time, max_active_partitions }, complete))
}

fn compile(At { value: Text(text), place }: &At<Text>, reader: &mut Reader<'_>) -> Option<Query> {
    let query = Query::compile(text);
    let query = query.map_err(|error| {
        reader.fault(place.clone(), format_args!("this is no jq program: {error}"));
    });
    query.ok()
}

/// Every key of the query has to be in the prefix, as Firehose wants it, and the other way round.
fn check_query(
    prefix: &Prefix,
    query: Option<&Query>,
    field: &Field<Text>,
    reader: &mut Reader<'_>,
) {
    let slots = prefix.template.slots().iter();
    let used: Vec<&str> = slots
        .filter(|slot| matches!(slot, Slot::QueryKey(_)))
        .filter_map(|slot| slot.key())
        .collect();
    let Some((query, At { place, .. })) = query.zip(field.given()) else {
        if let Some(key) = used.first() {
            let message = format_args!(
                "!{{partitionKeyFromQuery:{key}}} comes from a query, and the stream has none: \
                 write for example partitioning: {{query: '{{{key}: .{key}}}'}}, or remove it"
            );
            reader.fault(prefix.place.clone(), message);
        }
        return;
    };
    if used.is_empty() {
        let message = "the prefix has none of the query's keys: put \
                       !{partitionKeyFromQuery:KEY} into it, or remove the query";
        reader.fault(place.clone(), message);
        return;
    }
    let Some(given) = open_keys(query.text()) else {
        return;
    };
    for key in given.iter().filter(|key| !used.contains(&key.as_str())) {
        let message = format_args!(
            "the query gives {}, which is not in the prefix: put !{{partitionKeyFromQuery:{key}}} \
             into it, or take the key out of the query",
            shown(key)
        );
        reader.fault(place.clone(), message);
    }
    for key in used.iter().filter(|key| !given.iter().any(|given| given == *key)) {
        let given = listed(given.iter().map(String::as_str));
        let message = format_args!(
            "!{{partitionKeyFromQuery:{key}}} has no value, since the query gives only {given}: \
             write one of these, or add {key} to the query"
        );
        reader.fault(prefix.place.clone(), message);
    }
}

/// Keys come from hooks outside this process; one that is never given would fail every record.
fn check_hook_keys(prefix: &Template, place: &Place, transform: &[Step], reader: &mut Reader<'_>) {
    if let Some(key) = prefix.hook_key()
        && !transform.iter().any(|step| step.kind.is_outside())
    {
        let message = format_args!(
            "!{{partitionKeyFromLambda:{key}}} comes from a hook, and the stream has none that \
             gives keys: add an http, lambda or command step to transform, or remove it"
        );
        reader.fault(place.clone(), message);
    }
}

/// The keys of a program that is nothing but an object whose keys are written out; none of any other,
/// whose keys only a record can tell.
fn open_keys(program: &str) -> Option<Vec<String>> {
    let body = program.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut entries = vec![String::new()];
    let (mut open, mut in_text, mut is_escaped) = (0_i32, false, false);
    for c in body.chars() {
        if in_text {
            match c {
                // What stands in the text is a program too.
                '(' if is_escaped => return None,
                '"' if !is_escaped => in_text = false,
                _ => {}
            }
            is_escaped = c == '\\' && !is_escaped;
        } else {
            match c {
                '#' => return None,
                '"' => in_text = true,
                '(' | '[' | '{' => open += 1,
                ')' | ']' | '}' => open -= 1,
                ',' if open == 0 => {
                    entries.push(String::new());
                    continue;
                }
                _ => {}
            }
        }
        // The first brace ends before the last one: another program follows.
        if open < 0 {
            return None;
        }
        entries.last_mut()?.push(c);
    }
    entries.iter().map(|entry| open_key(entry.trim())).collect()
}

/// The key of one entry, `key`, `key: value` or `"key": value`.
fn open_key(entry: &str) -> Option<String> {
    if let Some(text) = entry.strip_prefix('"') {
        let (key, rest) = text.split_once('"')?;
        let is_plain = !key.contains('\\');
        let rest = rest.trim_start();
        return (is_plain && (rest.is_empty() || rest.starts_with(':'))).then(|| key.to_owned());
    }
    let key = entry.split_once(':').map_or(entry, |(key, _)| key).trim_end();
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_word =
        key.starts_with(is_first) && key.chars().all(|c| is_first(c) || c.is_ascii_digit());
    is_word.then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_written_out_are_known_and_no_others() {
        for (program, keys) in [
            ("{customer: .id}", Some("customer")),
            (" { a : .x , b } ", Some("a b")),
            (r#"{"a b": .x, c: (.y, .z)[0], d: {e: 1, f: 2}}"#, Some("a b,c,d")),
            (r#"{a: "x,}\",{", b: .c["d,e"]}"#, Some("a b")),
            (r#"{year:.at|strftime("%Y"),month:.at|strftime("%m")}"#, Some("year month")),
            (r#"{a: "\\", b: 1}"#, Some("a b")),
            ("{(.name): 1}", None),
            ("{$x}", None),
            (r#"{"a\(.b)": 1}"#, None),
            ("{a: 1} | {b: 2}", None),
            ("{a: 1} + {b: 2}", None),
            (". as $r | {a: 1}", None),
            ("{a: 1 # b: 2\n}", None),
            ("{a: if .x, .y then 1 else 2 end}", None),
            (".keys", None),
            ("{}", None),
        ] {
            let separator = if keys.is_some_and(|keys| keys.contains(',')) { ',' } else { ' ' };
            let keys = keys.map(|keys| keys.split(separator).map(str::to_owned).collect());
            assert_eq!(open_keys(program), keys, "{program}");
        }
    }
}
