//! Prefixes from end to end: what is refused, what is printed, and what no input can change.

use proptest::prelude::*;

use super::*;
use crate::record::{ErrorOutputType, Tenant, UnixMillis};

/// 2018-08-27T10:30:05Z, the instant of Firehose's own examples.
const INSTANT: UnixMillis = UnixMillis(1_535_365_805_000);
const FAILED: ErrorOutputType = ErrorOutputType::FormatConversionFailed;

fn prefix(text: &str) -> Template {
    Template::parse(text, Place::Prefix).expect(text)
}

fn evaluate(template: &Template, tenant: Option<&str>) -> Evaluated {
    let group = Group::of(tenant.map(|tenant| Tenant::new(tenant).expect(tenant)));
    let evaluated = template.evaluate(INSTANT, &group, Some(FAILED), &mut counted_randoms());
    evaluated.expect("a short prefix")
}

fn placed(tenant: Option<Tenant>, values: &[&str]) -> Group {
    let values: Values = values.iter().map(|value| Box::from(*value)).collect();
    Group { tenant, place: GroupPlace::Placed(values) }
}

/// The prefix of a record without a tenant that has these values.
fn filled(template: &Template, values: &[&str]) -> Result<Evaluated, EvaluateError> {
    template.evaluate(INSTANT, &placed(None, values), None, &mut || 0)
}

fn counted_randoms() -> impl FnMut() -> u128 {
    let mut next = 0x5abf_82da_aa5b_4c1d_9e2f_0011_2233_4455_u128;
    move || {
        next = next.rotate_left(8);
        next
    }
}

fn text_of(text: &str, place: Place) -> String {
    let template = Template::parse(text, place).expect(text);
    evaluate(&template, Some("acme")).prefix
}

#[test]
fn expressions_print_as_firehose_documents() {
    for (text, printed) in [
        ("!{timestamp:yyyy/MM/dd}", "2018/08/27"),
        ("a/year=!{timestamp:yyyy}/hour=!{timestamp:HH}/", "a/year=2018/hour=10/"),
        ("!{timestamp:'year='yyyy'/month='MM}/", "year=2018/month=08/"),
        ("t=!{lakehose:tenant}/x-", "t=acme/x-"),
        ("plain !text {here}/", "plain !text {here}/"),
        ("", ""),
    ] {
        assert_eq!(text_of(text, Place::Prefix), printed);
    }
    let text = "failed/result=!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd}/";
    let printed = "failed/result=format-conversion-failed/2018/08/27/";
    assert_eq!(text_of(text, Place::ErrorPrefix), printed);
}

#[test]
fn every_random_string_is_new_and_has_eleven_characters() {
    let text = text_of("!{firehose:random-string}/!{firehose:random-string}/", Place::Prefix);
    assert_eq!(text, "bf82daaa-5b/82daaa5b-4c/");
}

#[test]
fn the_implicit_date_is_appended_without_a_slash() {
    let date = |text: &str| evaluate(&prefix(text).with_implicit_date(), None).prefix;
    assert_eq!(date("legacy"), "legacy2018/08/27/10/");
    assert_eq!(date("legacy/"), "legacy/2018/08/27/10/");
    assert_eq!(date(""), "2018/08/27/10/");
    assert!(!prefix("legacy").has_timestamp());
    assert!(prefix("legacy").with_implicit_date().has_timestamp());
    assert!(!prefix("legacy").with_implicit_date().has_expressions());
    let dated = prefix("day=").with_implicit_date();
    assert_eq!(dated.partition_keys(), ["day"]);
    assert_eq!(evaluate(&dated, None).partition_folder, "day=2018/");
}

#[test]
fn only_whole_folders_are_partitions() {
    let template = prefix("in/year=!{timestamp:yyyy}/raw/t=!{lakehose:tenant}/part/n=7");
    assert_eq!(template.partition_keys(), ["year", "t"]);
    let evaluated = evaluate(&template, Some("a/b=c"));
    assert_eq!(evaluated.prefix, "in/year=2018/raw/t=a%2Fb%3Dc/part/n=7");
    assert_eq!(evaluated.partition_folder, "in/year=2018/raw/t=a%2Fb%3Dc/");
    let values = [("year", "2018"), ("t", "a/b=c")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(evaluated.partition, values);
    let plain = evaluate(&prefix("a/b/c"), None);
    assert_eq!((plain.partition.len(), plain.partition_folder.as_str()), (0, ""));
}

#[test]
fn tenants_cannot_leave_their_folder() {
    let template = prefix("clicks/!{lakehose:tenant}/");
    for (tenant, printed) in [
        ("../../other/x", "clicks/..%2F..%2Fother%2Fx/"),
        ("..", "clicks/%2E%2E/"),
        (".", "clicks/%2E/"),
        ("=x", "clicks/%3Dx/"),
    ] {
        assert_eq!(evaluate(&template, Some(tenant)).prefix, printed);
    }
    assert_eq!(evaluate(&template, None).prefix, "clicks/__HIVE_DEFAULT_PARTITION__/");
}

#[test]
fn keys_are_folders_that_no_value_can_leave() {
    let text = "c/!{partitionKeyFromLambda:area}/customer=!{partitionKeyFromQuery:customer}/\
                day=!{timestamp:dd}/again-!{partitionKeyFromLambda:area}";
    let template = prefix(text);
    let slots = [Slot::HookKey("area".into()), Slot::QueryKey("customer".into())];
    assert_eq!(template.slots(), slots, "each once");
    assert_eq!(template.partition_keys(), ["customer", "day"]);
    for (value, printed) in [
        ("7", "7"),
        ("../../other/x=1", "..%2F..%2Fother%2Fx%3D1"),
        ("..", "%2E%2E"),
        ("a\n\u{85}b", "a%0A%C2%85b"),
        ("Zürich", "Zürich"),
    ] {
        let evaluated = filled(&template, &[value, value]).expect("all keys");
        let folder = format!("c/{printed}/customer={printed}/day=27/");
        assert_eq!(evaluated.prefix, format!("{folder}again-{printed}"));
        assert_eq!(evaluated.partition_folder, folder);
        let customer = ("customer".to_owned(), value.to_owned());
        assert_eq!(evaluated.partition[0], customer, "catalogs get the value itself");
    }
    let shown = template.with_hook_keys_shown();
    assert_eq!(shown.slots(), [Slot::QueryKey("customer".into())]);
    let shown = filled(&shown, &["7"]).expect("all keys").prefix;
    assert_eq!(shown, "c/<area>/customer=7/day=27/again-<area>");
}

#[test]
fn one_key_of_a_query_and_of_a_hook_are_two_slots() {
    let template = prefix("!{partitionKeyFromLambda:k}/!{partitionKeyFromQuery:k}/");
    assert_eq!(filled(&template, &["1", "2"]).expect("both").prefix, "1/2/");
}

#[test]
fn the_fields_of_an_event_are_slots_and_their_slashes_are_folders() {
    let template =
        prefix("year=!{event:yyyy}/!{event:MM/dd}/!{timestamp:yyyy}/again-!{event:yyyy}");
    assert_eq!(template.slots().len(), 3);
    let values = template.example("", UnixMillis(0));
    let values: Vec<&str> = values.iter().map(|value| &**value).collect();
    assert_eq!(values, ["1970", "01", "01"]);
    let evaluated = filled(&template, &values).expect("all fields");
    assert_eq!(evaluated.prefix, "year=1970/01/01/2018/again-1970");
}

#[test]
fn slashes_make_folders_outside_of_partitions_where_they_are_allowed() {
    let text = "a/x-!{partitionKeyFromQuery:path}/b=!{partitionKeyFromQuery:path}/\
                !{partitionKeyFromQuery:c}-!{partitionKeyFromQuery:path}";
    let template = prefix(text);
    assert!(!template.splits(0) && !template.splits(1));
    let template = template.with_slashes();
    assert!(template.splits(0) && template.splits(1));
    let printed = filled(&template, &["p/../q=1", "c"]).expect("all keys");
    assert_eq!(printed.prefix, "a/x-p/%2E%2E/q%3D1/b=p%2F..%2Fq%3D1/c-p/%2E%2E/q%3D1");
    let partition = [("b".to_owned(), "p/../q=1".to_owned())];
    assert_eq!(printed.partition, partition, "its value is what it was");
    let only_partition = prefix("b=!{partitionKeyFromQuery:path}/").with_slashes();
    assert!(!only_partition.splits(0));
    let after_one = prefix("b=!{lakehose:tenant}-!{partitionKeyFromQuery:path}/").with_slashes();
    assert!(!after_one.splits(0));
}

#[test]
fn a_group_without_a_place_has_no_prefix() {
    let template = prefix("!{partitionKeyFromLambda:a}/!{partitionKeyFromQuery:b}/");
    for group in [Group::default(), placed(None, &["1"]), Group::failed(None, FailedKind::Unplaced)]
    {
        let evaluated = template.evaluate(INSTANT, &group, None, &mut || 0);
        assert_eq!(evaluated, Err(EvaluateError::NoPlace));
    }
    let long = "x".repeat(600);
    assert_eq!(filled(&template, &[&long, "2"]), Err(EvaluateError::TooLong(603)));
}

#[test]
fn evaluated_prefixes_are_bounded_without_the_implicit_date() {
    let longest = prefix(&"x".repeat(512)).with_implicit_date();
    assert_eq!(evaluate(&longest, None).prefix.len(), 512 + "yyyy/MM/dd/HH/".len());
    let longer = prefix(&"x".repeat(513)).with_implicit_date();
    let error = longer.evaluate(INSTANT, &Group::default(), None, &mut || 0).expect_err("513");
    assert_eq!(error, EvaluateError::TooLong(513));
    let no_error = Template::parse("!{firehose:error-output-type}/", Place::ErrorPrefix);
    let no_error = no_error.expect("a prefix");
    let no_error = no_error.evaluate(INSTANT, &Group::default(), None, &mut || 0);
    assert_eq!(no_error, Err(EvaluateError::NoErrorOutputType));
}

#[test]
fn faulty_prefixes_are_refused_with_what_to_write() {
    for (text, part) in [
        ("a/!{timestamp:yyyy", "'}' is missing"),
        ("a/!{", "'}' is missing"),
        ("!{timestamp}/", "has no colon"),
        ("!{time:yyyy}/", "unknown namespace 'time': write timestamp, event, firehose, lakehose,"),
        ("!{firehose:random}/", "write !{firehose:random-string}"),
        ("!{lakehose:stream}/", "write !{lakehose:tenant}"),
        ("!{partitionKeyFromQuery:}/", "write the name of a key"),
        ("!{event:}/", "the time pattern is empty"),
        ("!{event:yyyy}=x/", "name itself"),
        ("!{partitionKeyFromLambda:}/", "write the name of a key"),
        ("!{partitionKeyFromLambda:id}=x/", "name itself"),
        ("!{firehose:error-output-type}/", "error_prefix only"),
        ("!{timestamp:T}/", "such as y (year)"),
        ("!{timestamp:!{timestamp:yyyy}}", "'{' has no meaning"),
        ("/a/", "begins with '/'"),
        ("!{timestamp:/yyyy}", "begins with '/'"),
        ("a//b", "empty folder"),
        ("a/!{timestamp:yyyy//MM}/", "empty folder"),
        ("a/../b/", "'..'"),
        ("!{timestamp:'..'/yyyy}", "'..'"),
        ("./", "'.'"),
        ("a\tb/", "control character ('\\t')"),
        ("!{timestamp:yyyy'\n'}", "control character"),
        ("a/year=/", "'year=' is no partition"),
        ("a/=!{timestamp:yyyy}/", "'=...' is no partition"),
        ("!{timestamp:yyyy}=x/", "name itself"),
        ("y=!{timestamp:yyyy}/Y=1/", "'Y='"),
        (&"x".repeat(1025), "1025 characters"),
    ] {
        let error = Template::parse(text, Place::Prefix).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    for (text, part) in [
        ("errors/!{timestamp:yyyy}/", "also needs !{firehose:error-output-type}"),
        ("!{firehose:type}/", "write !{firehose:error-output-type} or"),
        ("!{partitionKeyFromLambda:id}/", "!{partitionKeyFromLambda:id} has a value in the prefix"),
        ("!{partitionKeyFromQuery:id}/", "!{partitionKeyFromQuery:id} has a value in the prefix"),
        ("!{event:yyyy}/", "!{event:yyyy} has a value in the prefix"),
    ] {
        let error = Template::parse(text, Place::ErrorPrefix).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(Template::parse("errors/", Place::ErrorPrefix).is_ok());
}

fn template_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z=/.%é ]{0,6}",
        Just("!{timestamp:yyyy}".to_owned()),
        Just("!{timestamp:'x='MM'/'}".to_owned()),
        Just("!{lakehose:tenant}".to_owned()),
        Just("!{partitionKeyFromLambda:k}".to_owned()),
        Just("!{partitionKeyFromQuery:k}".to_owned()),
        Just("!{event:'d='dd}".to_owned()),
        Just("!{firehose:random-string}".to_owned()),
        Just("!{firehose:error-output-type}".to_owned()),
        "!\\{[a-z:'}/]{0,8}",
        Just("/".to_owned()),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_input_changes_the_folders_of_a_prefix(
        text in template_text(), tenant in "\\PC{1,30}", key in "(?s).{1,30}", at: i64, seed: u128,
        dated: bool,
    ) {
        for place in [Place::Prefix, Place::ErrorPrefix] {
            let Ok(mut template) = Template::parse(&text, place) else { continue };
            if dated && !template.has_timestamp() {
                template = template.with_implicit_date();
            }
            let Ok(tenant) = Tenant::new(&tenant) else { continue };
            let at = UnixMillis(at);
            let group = |tenant, value: &str| {
                let place = GroupPlace::Placed(template.example(value, at));
                Group { tenant: Some(tenant), place }
            };
            let group_of_one = group(tenant, &key);
            let Ok(one) = template.evaluate(at, &group_of_one, Some(FAILED), &mut || seed) else {
                continue;
            };
            let acme = group(Tenant::new("acme").expect("a tenant"), "7");
            let other = template.evaluate(INSTANT, &acme, Some(FAILED), &mut counted_randoms());
            let other = other.expect("a short prefix");
            let slashes = |prefix: &str| prefix.matches('/').count();
            prop_assert_eq!(slashes(&one.prefix), slashes(&other.prefix));
            let names = |one: &Evaluated| one.partition.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>();
            prop_assert_eq!(names(&one), template.partition_keys());
            prop_assert_eq!(names(&other), template.partition_keys());
            prop_assert!(one.prefix.starts_with(&one.partition_folder));
            let folders = one.prefix.split_inclusive('/').filter_map(|s| s.strip_suffix('/'));
            for folder in folders {
                prop_assert!(!folder.is_empty() && folder != "." && folder != "..");
                prop_assert!(!folder.contains(char::is_control));
            }
        }
    }

    #[test]
    fn foreign_prefixes_never_panic(text in "(\\PC|!\\{|\\}|timestamp:|'|\n){0,20}") {
        let _ = Template::parse(&text, Place::Prefix);
        let _ = Template::parse(&text, Place::ErrorPrefix);
    }
}
