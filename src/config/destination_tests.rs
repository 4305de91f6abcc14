//! Destinations from the file to keys: Firehose's examples, zones, lengths, warnings, the forecast.

use super::tests::{FULL, faults_of, load_good, name, with_destination};
use super::{Config, Destination, forecast};
use crate::partition::{Group, Template};
use crate::record::{ErrorOutputType, UnixMillis};

/// The table of Firehose's documentation, corrected by what it was measured to do: no slash before the
/// date, `dd` is the day.
#[test]
fn the_examples_of_firehoses_documentation_hold() {
    // 2018-08-27T10:30:05Z
    let instant = UnixMillis(1_535_365_805_000);
    let random = 0x046b_6c7f_0b27_4b02_8a1f_0011_2233_4455;
    let print = |template: &Template, error| {
        let evaluated = template.evaluate(instant, &Group::default(), error, &mut || random);
        evaluated.expect("a short prefix").prefix
    };
    for (destination, data, failed) in [
        (
            "prefix: '', error_prefix: 'myFirehoseFailures/!{firehose:error-output-type}/'",
            "2018/08/27/10/",
            "myFirehoseFailures/processing-failed/",
        ),
        (
            "prefix: 'myFirehose/DeliveredYear=!{timestamp:yyyy}/anyMonth/rand=!{firehose:random-string}', \
             error_prefix: 'myFirehoseFailures/!{firehose:error-output-type}/!{timestamp:yyyy}/anyMonth/!{timestamp:dd}'",
            "myFirehose/DeliveredYear=2018/anyMonth/rand=046b6c7f-0b",
            "myFirehoseFailures/processing-failed/2018/anyMonth/27",
        ),
        (
            "prefix: 'myPrefix/year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/', \
             error_prefix: 'myErrorPrefix/year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/!{firehose:error-output-type}'",
            "myPrefix/year=2018/month=08/day=27/hour=10/",
            "myErrorPrefix/year=2018/month=08/day=27/hour=10/processing-failed",
        ),
        (
            "prefix: myFirehosePrefix",
            "myFirehosePrefix2018/08/27/10/",
            "myFirehosePrefixprocessing-failed/2018/08/27/10/",
        ),
        (
            "prefix: 'a/', \
             error_prefix: 'myPrefix/result=!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd}'",
            "a/2018/08/27/10/",
            "myPrefix/result=processing-failed/2018/08/27",
        ),
        (
            "prefix: 'myPrefix/!{firehose:random-string}/', error_prefix: e/",
            "myPrefix/046b6c7f-0b/2018/08/27/10/",
            "e/",
        ),
    ] {
        let config = load_good(&with_destination(destination));
        let Destination { prefix, error_prefix, .. } =
            &config.delivery_streams[&name("s")].destination;
        assert_eq!(print(prefix, None), data, "{destination}");
        let error = Some(ErrorOutputType::ProcessingFailed);
        assert_eq!(print(error_prefix, error), failed, "{destination}");
    }
    let faults = faults_of(&with_destination("prefix: '!{timestamp:yyyy/MM/dd}'")).to_string();
    assert!(
        faults.contains("error_prefix: it is needed because prefix has expressions"),
        "{faults}"
    );
}

#[test]
fn a_destination_prints_in_its_zone_and_a_backup_in_utc() {
    let text = with_destination("time_zone: America/New_York, file_extension: .rows.pq")
        + "    backup: {prefix: raw/}\n";
    let config = load_good(&text);
    let stream = &config.delivery_streams[&name("s")];
    let Destination { prefix, error_prefix, file_extension, .. } = &stream.destination;
    let zones = [prefix.zone().name(), error_prefix.zone().name()];
    assert_eq!(zones, ["America/New_York"; 2]);
    assert_eq!(file_extension.as_deref(), Some(".rows.pq"));
    let backup = stream.backup.as_ref().expect("a backup");
    assert_eq!(backup.prefix.zone().name(), "UTC");
    let plain = load_good(&with_destination("prefix: a/"));
    assert_eq!(plain.delivery_streams[&name("s")].destination.prefix.zone().name(), "UTC");
}

#[test]
fn the_longest_time_of_a_prefix_counts() {
    let prefix = |length: usize, zone: &str| {
        let folder = "x".repeat(length - "Saturday".len());
        let prefix = format!("{folder}!{{timestamp:EEEE}}/");
        with_destination(&format!("prefix: '{prefix}', error_prefix: e/, time_zone: {zone}"))
    };
    for zone in ["UTC", "Pacific/Kiritimati"] {
        load_good(&prefix(510, zone));
        let faults = faults_of(&prefix(511, zone)).to_string();
        assert!(faults.contains("has 513 characters"), "{faults}");
    }
}

#[test]
fn what_is_likely_not_meant_is_told() {
    let told = |destination: &str, rest: &str| {
        let text = with_destination(destination) + rest;
        let config = load_good(&text);
        config.warnings.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told("store: lake", "    backup: {}\n"), [""; 0]);
    assert_eq!(told("prefix: 'd=!{timestamp:yyyy}/', error_prefix: e/", ""), [""; 0]);
    let errors = told("prefix: legacy/", "");
    assert!(errors.len() == 1 && errors[0].contains("go to legacy/!{firehose"), "{errors:?}");
    let slash = told("prefix: 'a/!{timestamp:yyyy}/', error_prefix: errors", "");
    assert!(slash.len() == 1 && slash[0].contains("error_prefix: it has no slash"), "{slash:?}");
    let raw =
        told("prefix: 'a/!{timestamp:yyyy}/', error_prefix: e/", "    backup: {prefix: raw}\n");
    assert!(raw.len() == 1 && raw[0].contains("backup.prefix: it has no slash"), "{raw:?}");
    let week = told("prefix: 'y=!{timestamp:YYYY}/', error_prefix: e/", "");
    assert!(week.len() == 1 && week[0].starts_with("4:"), "{week:?}");
    let gzip = "    format: {records: {compression: gzip}}\n";
    assert_eq!(told("file_extension: .json.gz", gzip), [""; 0]);
    let hidden = told("file_extension: .json", gzip);
    assert!(hidden.len() == 1 && hidden[0].contains("write .json.gz"), "{hidden:?}");
}

#[test]
fn the_objects_of_an_hour_are_foretold() {
    let clicks = |config: &Config| forecast(config)[1].clone();
    let config = load_good(FULL);
    assert_eq!(
        clicks(&config),
        "clicks: 60 objects an hour for each tenant while records keep coming: one every 60 s, more \
         where 64 MiB come sooner; 2 tenants, so 120 in all"
    );
    let plain = load_good(
        &(with_destination("prefix: a/") + "    buffering: {interval: 2 h}\n    backup: {}\n"),
    );
    assert_eq!(
        forecast(&plain),
        [
            "s: 1 object an hour while records keep coming: one every 7200 s, more where 128 MiB come \
          sooner; and 12 of the backup"
        ]
    );
}
