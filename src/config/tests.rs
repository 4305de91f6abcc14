//! The file from text to settings and faults.

mod faults;
mod identities;
mod steps;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::convert::{Delimiter, ParquetOptions};
use crate::partition::{Absent, Beyond, Bound, EventForm};
use crate::record::StreamName;
use crate::table::{Column, HiveType};
use crate::transform::{LogForm, SubRecords};

#[derive(Debug)]
struct TestEnvironment {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static str>,
}

impl TestEnvironment {
    fn new() -> Self {
        let variables = [
            ("ACME_SECRET", "acme-hunter2"),
            ("GLOBEX_SECRET", "globex-hunter2"),
            ("LAKE_KEY", "LAKEKEY"),
            ("ACME_TOKEN", "acme-token-hunter2"),
            ("SPACED_TOKEN", "globex token hunter2"),
            ("EMPTY", ""),
            ("HOOK", "https://hook/enrich?code=hunter2"),
        ];
        let files = [("/run/secrets/lake", "lake-hunter2\n"), ("/run/secrets/empty", "\n")];
        Self { variables: variables.into(), files: files.into() }
    }
}

impl Environment for TestEnvironment {
    fn variable(&self, name: &str) -> io::Result<Option<String>> {
        Ok(self.variables.get(name).map(|value| (*value).to_owned()))
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| (*text).to_owned()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        std::path::absolute(Path::new("/here").join(path))
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(2 << 30)
    }
}

pub(super) const FULL: &str = r#"
server: {listen: 0.0.0.0:4573, admin: 127.0.0.1:9000}
data_dir: /var/lib/lakehose
disk_budget: 1 GiB
identities:
  - {access_key: ACME, secret: "${env:ACME_SECRET}", tenant: acme, streams: [clicks]}
  - {access_key: GLOBEX, secret: "${env:GLOBEX_SECRET}", tenant: globex}
stores:
  lake:
    url: "s3://my-lake/raw/"
    endpoint: "http://minio:9000/"
    access_key: "${env:LAKE_KEY}"
    secret: "${file:/run/secrets/lake}"
  disk: {url: "file:./lake"}
catalogs:
  files: {type: files, path: ./catalog}
delivery_streams:
  clicks:
    buffering: {size: 64 MiB, interval: 60 s}
    schema: {database: Analytics, table: Clicks}
    destination:
      store: lake
      prefix: "c/t=!{lakehose:tenant}/year=!{timestamp:yyyy}/"
      error_prefix: "e/!{lakehose:tenant}/!{firehose:error-output-type}/"
    partitions: {register: false}
  Web.Orders-2:
    schema: {columns: {Id: bigint, tags: "array<string>"}}
    destination: {store: disk}
memory: 512 MiB
"#;

pub(super) fn load_good(text: &str) -> Config {
    match load(text, &TestEnvironment::new()) {
        Ok(config) => config,
        Err(faults) => panic!("{}", faults.in_file("test.yaml")),
    }
}

pub(super) fn faults_of(text: &str) -> Faults {
    load(text, &TestEnvironment::new()).expect_err(text)
}

pub(super) fn name(text: &str) -> StreamName {
    StreamName::new(text).expect(text)
}

/// A file of one stream with the given destination.
pub(super) fn with_destination(destination: &str) -> String {
    format!(
        "delivery_streams:\n  s:\n    schema: {{table: t}}\n    destination: {{{destination}}}\n"
    )
}

#[test]
fn every_key_reaches_its_setting() {
    let config = load_good(FULL);
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:4573");
    assert_eq!(config.server.admin.to_string(), "127.0.0.1:9000");
    assert_eq!(config.data_dir, Path::new("/var/lib/lakehose"));
    assert_eq!(config.disk_budget_bytes, 1 << 30);
    assert_eq!(config.memory_bytes, 512 << 20);
    let [acme, globex] = config.identities.as_slice() else { panic!("two identities") };
    let credentials = acme.credentials.as_ref().expect("it signs");
    let (key, secret) = (credentials.access_key.as_str(), credentials.secret.expose());
    assert_eq!((key, secret), ("ACME", "acme-hunter2"));
    assert_eq!(acme.tenant.as_ref().map(|tenant| tenant.as_str()), Some("acme"));
    assert!(acme.may_write(&name("clicks")) && !acme.may_write(&name("Web.Orders-2")));
    assert!(globex.may_write(&name("Web.Orders-2")) && globex.streams.is_none());
    let lake = &config.stores["lake"];
    let credentials = lake.credentials.as_ref().expect("credentials");
    assert_eq!(credentials.access_key, "LAKEKEY");
    assert_eq!(credentials.secret.expose(), "lake-hunter2");
    let target = lake.target("lake");
    assert_eq!(target.url, "s3://my-lake/raw");
    assert_eq!(target.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(target.region.as_deref(), Some("us-east-1"));
    let disk = config.stores["disk"].target("disk");
    assert_eq!((disk.url.as_str(), disk.endpoint, disk.region), ("file:///here/lake", None, None));
    let files = Catalog::Files { path: "./catalog".into() };
    assert_eq!(config.catalogs["files"], files);

    let clicks = &config.delivery_streams[&name("clicks")];
    let buffering =
        Buffering { size_bytes: 64 << 20, object_bytes: None, interval: Duration::from_secs(60) };
    assert_eq!(clicks.buffering, buffering);
    assert_eq!(clicks.format, Format::Parquet(ParquetOptions::default()));
    let schema = clicks.schema.as_ref().expect("a schema");
    let table = (schema.catalog.as_str(), schema.database.as_str(), schema.table.as_str());
    assert_eq!(table, ("files", "analytics", "clicks"));
    assert!(schema.columns.is_none() && !clicks.register_partitions);
    assert_eq!(
        (schema.place.line, schema.place.path.as_str()),
        (20, "delivery_streams.clicks.schema")
    );
    assert_eq!(clicks.destination.prefix_place.line, 23);
    assert_eq!(clicks.destination.prefix.partition_keys(), ["t", "year"]);

    let orders = &config.delivery_streams[&name("Web.Orders-2")];
    let buffering =
        Buffering { size_bytes: 128 << 20, object_bytes: None, interval: Duration::from_secs(300) };
    assert_eq!(orders.buffering, buffering);
    let schema = orders.schema.as_ref().expect("a schema");
    assert_eq!((schema.database.as_str(), schema.table.as_str()), ("lakehose", "web_orders_2"));
    let columns = schema.columns.as_ref().expect("columns").iter();
    let columns: Vec<String> = columns.map(|c| format!("{} {}", c.name, c.hive_type)).collect();
    assert_eq!(columns, ["id bigint", "tags array<string>"]);
    assert_eq!(
        orders.destination.prefix_text,
        "Web.Orders-2/tenant=!{lakehose:tenant}/year=!{timestamp:yyyy}/\
         month=!{timestamp:MM}/day=!{timestamp:dd}/"
    );
    assert_eq!(
        orders.destination.error_prefix_text,
        "errors/Web.Orders-2/tenant=!{lakehose:tenant}/!{firehose:error-output-type}/\
         year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/"
    );
    assert!(orders.register_partitions);
    assert_eq!(orders.partitions_place.path, "delivery_streams.Web.Orders-2.partitions");
}

/// The columns of a table as `schemas/` describes it to AWS Glue.
fn columns_for_glue(table: &str) -> Vec<Column> {
    let text = match table {
        "clicks" => include_str!("../../schemas/clicks.json"),
        "orders" => include_str!("../../schemas/orders.json"),
        other => panic!("schemas/ has no table {other}"),
    };
    let table: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let columns = table["StorageDescriptor"]["Columns"].as_array().expect("columns");
    let text = |column: &serde_json::Value, key: &str| column[key].as_str().expect(key).to_owned();
    let column = |each: &serde_json::Value| Column {
        name: text(each, "Name"),
        hive_type: HiveType::parse(&text(each, "Type")).expect("a type"),
    };
    columns.iter().map(column).collect()
}

#[test]
fn event_time_and_completeness_reach_their_settings() {
    let text = |partitioning: &str| {
        format!(
            "delivery_streams:
  clicks:
    schema: {{table: clicks}}
    partitioning: {partitioning}
    destination:
      prefix: \"clicks/day=!{{event:yyyy-MM-dd}}/\"
      error_prefix: \"errors/!{{firehose:error-output-type}}/\"
"
        )
    };
    let stream = |partitioning: &str| {
        load_good(&text(partitioning)).delivery_streams[&name("clicks")].clone()
    };
    let least = stream("{event_time: {field: at}}");
    let rule = least.partitioning.event_time.expect("a rule");
    assert_eq!((rule.field.to_string().as_str(), rule.form), ("at", EventForm::Auto));
    assert_eq!((rule.late, rule.early, rule.absent), (None, None, Absent::Arrival));
    assert_eq!(least.complete, None);
    let most = stream(
        "{event_time: {field: meta.time, format: dd.MM.yyyy, absent: error, late_prefix: a/b/, \
         late: {after: 2 h, to: late_prefix}, early: {after: 5 s, to: error}}, complete: {}}",
    );
    let rule = most.partitioning.event_time.expect("a rule");
    let bound = |seconds, to| Some(Bound { after: Duration::from_secs(seconds), to });
    assert_eq!(rule.late, bound(7200, Beyond::LatePrefix));
    assert_eq!(rule.early, bound(5, Beyond::Error));
    assert_eq!((rule.absent, rule.late_folder.as_str()), (Absent::Error, "a/b/"));
    let complete = most.complete.expect("it is asked for");
    assert_eq!(complete.after, Duration::from_secs(7200));
    assert_eq!((complete.marker.as_deref(), complete.webhook), (Some("_SUCCESS"), None));
    let told = stream(
        "{event_time: {field: at, late: {after: 1 m, to: arrival}, \
         early: {after: 1 m, to: arrival}}, complete: {webhook: 'http://127.0.0.1:9000/x?y'}}",
    );
    let complete = told.complete.expect("it is asked for");
    assert_eq!(complete.marker, None);
    assert_eq!(complete.webhook.expect("a URL").expose(), "http://127.0.0.1:9000/x?y");
}

#[test]
fn the_default_file_needs_nothing_from_its_environment() {
    let config = load_good(DEFAULT_YAML);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:4573");
    assert_eq!(config.server.admin.to_string(), "127.0.0.1:9573");
    assert_eq!(config.data_dir, Path::new("./lakehose/data"));
    assert_eq!(config.disk_budget_bytes, 20 << 30);
    assert_eq!(config.memory_bytes, 1 << 30);
    assert_eq!(config.stores["lake"].target("lake").url, "file:///here/lakehose/lake");
    let catalog = Catalog::Files { path: "./lakehose/catalog".into() };
    assert_eq!(config.catalogs["files"], catalog);
    assert_eq!(config.delivery_streams.len(), 2);
    for (name, stream) in &config.delivery_streams {
        let schema = stream.schema.as_ref().expect("a schema");
        assert_eq!((schema.database.as_str(), schema.table.as_str()), ("demo", name.as_str()));
        assert_eq!(schema.columns.as_ref(), Some(&columns_for_glue(name.as_str())));
        let buffering =
            Buffering { size_bytes: 8 << 20, object_bytes: None, interval: Duration::from_secs(5) };
        assert_eq!(stream.buffering, buffering);
        assert!(stream.register_partitions);
    }
}

#[test]
fn prefixes_follow_firehoses_rules() {
    let texts = |destination: &str| {
        let config = load_good(&with_destination(destination));
        let stream = &config.delivery_streams[&name("s")];
        let destination = stream.destination.clone();
        (destination.prefix_text, destination.error_prefix_text, stream.register_partitions)
    };
    let date = "!{timestamp:yyyy/MM/dd/HH}/";
    let error = "!{firehose:error-output-type}/";
    let literal =
        |prefix: &str| (format!("{prefix}{date}"), format!("{prefix}{error}{date}"), false);
    assert_eq!(texts("prefix: legacy"), literal("legacy"));
    assert_eq!(texts("prefix: ''"), literal(""));
    let (prefix, own_error, _) = texts("prefix: a/, error_prefix: b/");
    assert_eq!((prefix, own_error), (format!("a/{date}"), "b/".to_owned()));
    let (prefix, _, _) = texts("prefix: 'r=!{firehose:random-string}/', error_prefix: b/");
    assert_eq!(prefix, format!("r=!{{firehose:random-string}}/{date}"));
    let (_, _, registers) = texts("prefix: 'y=!{timestamp:yyyy}/', error_prefix: b/");
    assert!(registers);
}

#[test]
fn tenants_that_make_keys_too_long_are_found_before_any_record() {
    let tenant = "/".repeat(128);
    let prefix = "x".repeat(200);
    let text = format!(
        "identities:\n  - {{access_key: A, secret: \"${{env:ACME_SECRET}}\", tenant: {tenant}}}\n{}",
        with_destination(&format!("prefix: '{prefix}!{{lakehose:tenant}}/', error_prefix: e/"))
    );
    let faults = faults_of(&text);
    assert!(faults.to_string().contains("584 characters") || faults.to_string().contains("585"));
}

#[test]
fn a_size_of_objects_leaves_room_for_many_times_as_many_records() {
    let text = "
memory: 2 GiB
delivery_streams:
  rows: {buffering: {target_object_size: 128 MiB, interval: 15 m}, schema: {columns: {a: int}}}
  huge: {buffering: {size: 2 GiB, target_object_size: 600 MiB}, schema: {columns: {a: int}}}
  packed:
    format: {records: {compression: zip}}
    buffering: {target_object_size: 512 MiB}
    backup: {prefix: raw/, buffering: {target_object_size: 2 MiB}}
";
    let config = load_good(text);
    let of = |stream: &str| &config.delivery_streams[&name(stream)];
    let buffering = |size_bytes, object_bytes, seconds| {
        let interval = Duration::from_secs(seconds);
        Buffering { size_bytes, object_bytes: Some(object_bytes), interval }
    };
    assert_eq!(of("rows").buffering, buffering((20 * 128) << 20, 128 << 20, 900));
    assert_eq!(of("huge").buffering, buffering(2 << 30, 600 << 20, 300));
    assert_eq!(of("packed").buffering, buffering(3 << 30, 512 << 20, 300));
    let backup = of("packed").backup.as_ref().unwrap();
    assert_eq!(backup.buffering, buffering(40 << 20, 2 << 20, 300));
}

#[test]
fn objects_that_the_memory_cannot_hold_are_faults_and_the_message_says_what_it_holds() {
    let faults = faults_of(
        "
memory: 2 GiB
delivery_streams:
  rows: {buffering: {target_object_size: 1 GiB}, schema: {columns: {a: int}}}
  backed:
    schema: {columns: {a: int}}
    backup: {prefix: raw/, buffering: {target_object_size: 700 MiB}}
",
    );
    let told: Vec<String> = faults.in_file("f.yaml").to_string().lines().map(Into::into).collect();
    let part = "takes up to 3 GiB of memory while it is made, and the process is to take 2048 MiB: \
                write at most 682 MiB, or more for 'memory'";
    assert!(told[0].starts_with("f.yaml:4:") && told[0].contains(part), "{told:?}");
    assert!(told[1].contains("backed.backup.buffering.target_object_size"), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn the_json_schema_in_schemas_is_current() {
    let file = include_str!("../../schemas/lakehose.schema.json");
    assert!(
        json_schema() == file,
        "the declarations have changed: run `lakehose schema > schemas/lakehose.schema.json`"
    );
}

#[test]
fn the_json_schema_describes_every_key_once_and_its_default() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).expect("JSON");
    assert_eq!(schema["required"], serde_json::json!(["delivery_streams"]));
    assert_eq!(schema["additionalProperties"], false);
    let stream = &schema["properties"]["delivery_streams"]["additionalProperties"];
    let interval = &stream["properties"]["buffering"]["properties"]["interval"];
    assert_eq!(interval["default"], "300 s");
    let about = interval["description"].as_str().expect("a description");
    assert_eq!(about, "By the age of its oldest record. Write a time, such as 60 s.");
    let lake = &schema["properties"]["stores"]["default"]["lake"]["url"];
    assert_eq!(lake, "file:./lakehose/lake");
}

#[test]
fn a_glue_catalog_asks_for_little() {
    let text = "\
catalogs:
  bare: {type: glue}
  full:
    type: glue
    region: eu-west-1
    endpoint: http://127.0.0.1:5000
    catalog_id: '123456789012'
    access_key: AKIA
    secret: ${file:/run/secrets/lake}
    refresh: 5 s
delivery_streams:
  clicks:
    schema: {catalog: full, table: clicks}
";
    let config = load_good(text);
    let bare = Glue {
        region: "us-east-1".into(),
        endpoint: None,
        catalog_id: None,
        credentials: None,
        refresh: Duration::from_secs(60),
    };
    assert_eq!(config.catalogs["bare"], Catalog::Glue(bare));
    let Catalog::Glue(full) = &config.catalogs["full"] else { panic!("it is of type glue") };
    assert_eq!(full.region, "eu-west-1");
    assert_eq!(full.endpoint.as_deref(), Some("http://127.0.0.1:5000"));
    assert_eq!(full.catalog_id.as_deref(), Some("123456789012"));
    assert_eq!(full.refresh, Duration::from_secs(5));
    let credentials = full.credentials.as_ref().expect("both halves");
    assert_eq!(credentials.secret.expose(), "lake-hunter2");
}
