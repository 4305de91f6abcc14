//! What a definition says when it is read again, and what it does not keep.

use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Format, StoreUrl};

/// Variables and files by name.
#[derive(Debug, Default)]
struct Machine(BTreeMap<String, String>);

impl Environment for Machine {
    fn variable(&self, name: &str) -> io::Result<Option<String>> {
        Ok(self.0.get(name).cloned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let found = self.0.get(&path.display().to_string());
        found.cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(Path::new("/here").join(path))
    }
}

fn machine(known: &[(&str, &str)]) -> Machine {
    Machine(known.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect())
}

const ALL: [(&str, &str); 5] = [
    ("LAKE_SECRET", "SECRETVALUE1"),
    ("/run/key", "SECRETVALUE2"),
    ("HEADER", "SECRETVALUE3"),
    ("P_SECRET", "SECRETVALUE4"),
    ("GLUE_SECRET", "SECRETVALUE5"),
];

const WHOLE: &str = r#"
identities: [{access_key: AK, secret: "${env:P_SECRET}", tenant: acme, streams: [clicks, orders]}]
stores:
  lake: {url: "s3://lake/a", endpoint: "http://minio:9000", access_key: "${file:/run/key}", secret: "${env:LAKE_SECRET}"}
  raw: {url: "file:./raw"}
  other: {url: "file:./other"}
catalogs:
  files: {type: files, path: cat}
  glue: {type: glue, access_key: G, secret: "${env:GLUE_SECRET}"}
delivery_streams:
  clicks:
    buffering: {size: 1 MiB}
    transform:
      - jq: ".a |
          select(.b == \"x: {y}\")"
      - http: {url: "http://127.0.0.1:1/x", headers: {X-Key: "${env:HEADER}", Plain: 'null'}}
    schema: {catalog: files, columns: {z: string, a: "decimal(12,2)", M: int}}
    destination: {store: lake}
    backup: {store: raw}
  orders:
    schema: {catalog: glue, database: D, table: T}
    destination: {store: other, prefix: "o/tenant=!{lakehose:tenant}/", error_prefix: "e/!{firehose:error-output-type}/tenant=!{lakehose:tenant}/"}
    partitions: {register: false}
  plain:
    format: {records: {compression: gzip}}
    destination: {store: other, prefix: "p/"}
"#;

fn whole() -> Config {
    super::super::load(WHOLE, &machine(&ALL)).expect("it is in order")
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

#[test]
fn a_definition_says_what_the_file_said_of_its_stream_and_holds_no_secret() {
    let config = whole();
    for (name, stream) in &config.delivery_streams {
        let definition = &config.definitions[name];
        let written = definition.to_text();
        assert!(!written.contains("SECRETVALUE"), "{written}");
        let read = LastDefinition::parse(&written).expect("it is readable");
        assert_eq!(&read, definition);
        let alone = read.load(&machine(&ALL)).expect("it can be used");
        let again = &alone.delivery_streams[name];
        let steps = |stream: &DeliveryStream| -> Vec<_> {
            stream.transform.iter().map(|step| step.kind.clone()).collect()
        };
        assert_eq!(steps(again), steps(stream));
        assert_eq!(again.buffering, stream.buffering);
        assert_eq!(again.format, stream.format);
        assert_eq!(again.register_partitions, stream.register_partitions);
        let (one, other) = (&again.destination, &stream.destination);
        assert_eq!((&one.store, &one.prefix), (&other.store, &other.prefix));
        assert_eq!(one.error_prefix, other.error_prefix);
        let columns = |stream: &DeliveryStream| {
            let schema = stream.schema.as_ref()?;
            let table = (schema.catalog.clone(), schema.database.clone(), schema.table.clone());
            Some((table, schema.columns.clone()))
        };
        assert_eq!(columns(again), columns(stream));
        let backup = |stream: &DeliveryStream| {
            let backup = stream.backup.as_ref()?;
            Some((backup.store.clone(), backup.prefix.clone(), backup.format, backup.buffering))
        };
        assert_eq!(backup(again), backup(stream));
        for (store, settings) in &alone.stores {
            assert_eq!(settings.target(store), config.stores[store].target(store));
        }
        for (catalog, settings) in &alone.catalogs {
            assert_eq!(settings, &config.catalogs[catalog]);
        }
        assert_eq!(alone.definitions[name], read);
    }
    assert!(matches!(config.delivery_streams[&name("plain")].format, Format::Records(_)));
}

#[test]
fn credentials_are_asked_for_when_a_store_is_used() {
    let config = whole();
    let definition = &config.definitions[&name("clicks")];
    let without = machine(&[("HEADER", "x"), ("/run/key", "AK")]);
    assert!(definition.load(&without).is_ok(), "it can be frozen without");
    let stores: Vec<KeptStore> = definition.stores().collect();
    assert_eq!(stores.iter().map(KeptStore::name).collect::<Vec<_>>(), ["lake", "raw"]);
    let missing = stores[0].read(&without).expect_err("there is no secret");
    assert!(missing.contains("stores.lake.secret") && missing.contains("LAKE_SECRET"), "{missing}");
    let found = stores[0].read(&machine(&ALL)).expect("it is there");
    assert_eq!(found, config.stores["lake"]);
    assert_eq!(stores[1].target().expect("a folder").url, "file:///here/raw");
    // A hook cannot do without.
    let faults = definition.load(&machine(&[])).expect_err("there is no header");
    assert!(in_words(&faults).contains("HEADER"), "{}", in_words(&faults));
}

#[test]
fn what_a_definition_takes_the_place_of_is_reached_as_before() {
    let at = |url: &str, backup: &str, region: &str| {
        let text = format!(
            "stores: {{lake: {{url: '{url}', region: {region}}}, raw: {{url: 's3://raw'}}}}\n\
                 delivery_streams: {{clicks: {{format: {{records: {{}}}}, destination: {{store: lake, \
                 prefix: p/}}{backup}}}}}"
        );
        let config = super::super::load(&text, &machine(&[])).expect("it is in order");
        config.definitions[&name("clicks")].clone()
    };
    let urls = |definition: &LastDefinition| -> Vec<String> {
        definition.stores().filter_map(|store| Some(store.target()?.url)).collect()
    };
    let first = at("s3://one", ", backup: {store: raw, prefix: r/}", "eu-west-1");
    assert_eq!(first.clone().after(&first), first);
    let second = at("s3://two", "", "eu-west-1").after(&first);
    assert_eq!(urls(&second), ["s3://two", "s3://one", "s3://raw"]);
    let ending = second.ending_backup(&machine(&[])).expect("it had one").expect("it is usable");
    let backup = ending.delivery_streams[&name("clicks")].backup.clone().expect("a backup");
    assert_eq!(backup.prefix_text, "r/!{timestamp:yyyy/MM/dd/HH}/");
    assert!(
        matches!(&ending.stores[&backup.store].url, StoreUrl::S3 { bucket, .. } if bucket == "raw")
    );
    // Again and again the same, also from the disk.
    let again = at("s3://two", "", "eu-west-1").after(&second);
    assert_eq!(again, second);
    assert_eq!(LastDefinition::parse(&again.to_text()), Ok(second.clone()));
    let region = at("s3://two", "", "us-east-1").after(&second);
    assert_eq!(urls(&region), urls(&second), "another region is the same place");
    let back = at("s3://one", ", backup: {store: raw, prefix: r/}", "eu-west-1").after(&second);
    assert_eq!(urls(&back), ["s3://one", "s3://raw", "s3://two"]);
    assert!(back.ending_backup(&machine(&[])).is_none(), "it goes on");
}

#[test]
fn an_earlier_catalog_is_kept_with_what_it_lacks() {
    let before = &whole().definitions[&name("orders")];
    let text = "delivery_streams: {orders: {schema: {columns: {a: string}}}}";
    let config = super::super::load(text, &machine(&[])).expect("it is in order");
    let after = config.definitions[&name("orders")].clone().after(before);
    let earlier: Vec<KeptCatalog> = after.earlier_catalogs().collect();
    let [glue] = earlier.as_slice() else { panic!("{earlier:?}") };
    let missing = glue.read(&machine(&[])).expect_err("there is no secret");
    assert!(glue.name() == "glue" && missing.contains("GLUE_SECRET"), "{missing}");
    assert_eq!(glue.read(&machine(&ALL)).expect("it is there"), whole().catalogs["glue"]);
}

#[test]
fn what_is_no_definition_is_refused() {
    for text in ["", "{", "[]", "{}", r#"{"format": "0"}"#, r#"{"format": "1"}"#] {
        let error = LastDefinition::parse(text).expect_err(text);
        assert!(matches!(error, DefinitionError::Damaged(_)), "{text}: {error}");
    }
    let newer = LastDefinition::parse(r#"{"format": "2", "streams": []}"#);
    assert_eq!(newer, Err(DefinitionError::Newer("2".into())));
}
