//! `lakehose demo`: the main job on this machine, from signed calls to files that can be queried.
//!
//! Runs the real service on loopback with the embedded defaults and three identities, and sends it
//! records through the real HTTP API. Everything that it prints at the end is read from the folder
//! and from the service, not remembered.

mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::client::{Admin, Producer};
use super::{fail, load_text, serve, thousands};
use crate::app::App;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, DEFAULT_YAML, Environment, SystemEnvironment};
use crate::convert::stored_row_count;
use crate::disk::{
    Disk, OsDisk, UnsafeVolume, create_shared_dir_all, read_file, replace_file, unsafe_volume,
};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const STREAMS: [&str; 2] = ["clicks", "orders"];
/// Records in one call, the API's bound.
const CALL_RECORDS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(120);
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Objects and failures that are shown one by one.
const SHOWN_MAX: usize = 12;

pub(super) async fn demo(folder: Option<PathBuf>, keep: bool, records: u64) -> ExitCode {
    serve::start_log("warn");
    let clock = SystemClock::start();
    let folder =
        folder.unwrap_or_else(|| PathBuf::from(format!("lakehose/demo-{}", clock.now().0 / 1000)));
    let folder = match prepare(&folder) {
        Ok(folder) => folder,
        Err(error) => {
            return fail(&format!("could not use the folder {}: {error}", folder.display()));
        }
    };
    let file = folder.join("lakehose.yaml");
    let name = file.display().to_string();
    let volume = unsafe_volume(&folder).unwrap_or_default();
    let yaml = yaml(&folder, volume);
    if let Err(error) = replace_file(&OsDisk, &file, yaml.as_bytes()) {
        return fail(&format!("could not write {name}: {error}"));
    }
    let config = match load_text(&yaml, &name, &DemoEnvironment) {
        Ok(config) => config,
        Err(code) => return code,
    };
    println!("Lakehose demo in {}", folder.display());
    println!("  configuration: {name}");
    if let Some(volume) = volume {
        println!("  the folder {volume}; that does for a demo");
    }
    let app = match Box::pin(App::start(config.clone(), None)).await {
        Ok(app) => app,
        Err(error) => return serve::refuse(error, &name),
    };
    println!("  producers: http://{}   operators: http://{}\n", app.listen(), app.admin());
    let shown = match send(&app, &clock, records).await {
        Ok(sent) => show(&app, &config, &folder, sent).await,
        Err(error) => Err(error),
    };
    if let Err(error) = shown {
        app.stop().await;
        return fail(&format!("the demo failed: {error}"));
    }
    if keep {
        println!("\nStill serving; end with Ctrl-C. Access keys and their secrets:");
        for tenant in TENANTS {
            println!("  {} {}", access_key(tenant), secret(tenant));
        }
        println!("\nTo serve the same folder again later:");
        for tenant in TENANTS {
            println!("  export {}={}", variable(tenant), secret(tenant));
        }
        println!("  lakehose serve --config {name}");
        return match serve::Signals::listen() {
            Ok(signals) => serve::run(app, signals).await,
            Err(error) => fail(&format!("could not listen for signals: {error}")),
        };
    }
    app.stop().await;
    ExitCode::SUCCESS
}

/// Makes the folder, which must be empty, and tells its absolute path.
fn prepare(folder: &Path) -> io::Result<PathBuf> {
    let folder = SystemEnvironment.absolute(folder)?;
    create_shared_dir_all(&folder)?;
    if OsDisk.list(&folder)?.is_empty() {
        Ok(folder)
    } else {
        Err(io::Error::other("it is not empty; name another one with --dir"))
    }
}

/// The streams of the embedded defaults, moved into the folder, with an identity for each tenant.
fn yaml(folder: &Path, volume: Option<UnsafeVolume>) -> String {
    // What the defaults say above their streams is about a machine without identities.
    let (_, streams) = DEFAULT_YAML.split_once("\ndelivery_streams:").expect("it has streams");
    let quoted = |name: &str| {
        let path = folder.join(name).display().to_string();
        serde_json::to_string(&path).expect("a text always serialises")
    };
    let store = serde_json::to_string(&format!("file://{}", folder.join("lake").display()))
        .expect("a text always serialises");
    let identities = TENANTS.map(|tenant| {
        format!(
            "  - {{access_key: {}, secret: \"${{env:{}}}\", tenant: {tenant}}}\n",
            access_key(tenant),
            variable(tenant)
        )
    });
    format!(
        "# Made by `lakehose demo`: the streams of the defaults, and an identity for each tenant.\n\
         # Who starts with it again sets the variables that the secrets name.\n\
         server: {{listen: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}}\n\
         data_dir: {}\n{}\
         stores:\n  lake: {{url: {store}}}\n\
         catalogs:\n  files: {{type: files, path: {}}}\n\
         identities:\n{}\ndelivery_streams:{streams}",
        quoted("data"),
        volume.map_or("", |_| "allow_unsafe_volume: true\n"),
        quoted("catalog"),
        identities.concat(),
    )
}

fn access_key(tenant: &str) -> String {
    format!("DEMO{}", tenant.to_uppercase())
}

fn secret(tenant: &str) -> String {
    format!("demo-secret-of-{tenant}")
}

fn variable(tenant: &str) -> String {
    format!("DEMO_{}_SECRET", tenant.to_uppercase())
}

/// The system's environment with the demo's secrets in it.
#[derive(Debug)]
struct DemoEnvironment;

impl Environment for DemoEnvironment {
    fn variable(&self, name: &str) -> io::Result<Option<String>> {
        let ours = TENANTS.into_iter().find(|tenant| variable(tenant) == name);
        ours.map_or_else(|| SystemEnvironment.variable(name), |tenant| Ok(Some(secret(tenant))))
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        SystemEnvironment.file(path)
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        SystemEnvironment.absolute(path)
    }
}

/// Sends `records` records over all tenants and streams; tells how many were accepted.
async fn send(app: &App, clock: &dyn Clock, records: u64) -> Result<u64, String> {
    let endpoint = format!("http://{}", app.listen());
    let producers =
        TENANTS.map(|tenant| Producer::new(endpoint.clone(), &access_key(tenant), &secret(tenant)));
    let started = clock.steady();
    let mut samples = sample::Samples::new(clock.now());
    // Of a few records each tenant and stream gets some, as far as they go.
    let per_call = records.div_ceil((TENANTS.len() * STREAMS.len()) as u64);
    let per_call = per_call.min(CALL_RECORDS as u64);
    let (mut sent, mut accepted, mut call) = (0, 0, 0);
    while sent < records {
        let stream = STREAMS[call % STREAMS.len()];
        let producer = &producers[call / STREAMS.len() % TENANTS.len()];
        let count = (records - sent).min(per_call);
        let batch: Vec<String> = (0..count).map(|_| samples.next(stream)).collect();
        accepted += producer.put_record_batch(stream, &batch, clock.now()).await?;
        sent += count;
        call += 1;
        if call.is_multiple_of(10) || sent == records {
            println!("  sent {:>9} records in {call} signed calls", thousands(sent));
        }
    }
    let seconds = (clock.steady() - started).as_secs_f64().max(0.001);
    println!(
        "  each call was on disk and synced before its answer: {} records/s\n",
        thousands((sent as f64 / seconds) as u64)
    );
    Ok(accepted)
}

/// Waits for delivery and shows what came out.
async fn show(app: &App, config: &Config, folder: &Path, sent: u64) -> Result<(), String> {
    let admin = Admin::new(&format!("http://{}", app.admin()));
    for stream in STREAMS {
        admin.flush(stream, PATIENCE).await?;
    }
    let status = admin.status().await?;
    let (mut delivered, mut failed) = (0, 0);
    for stream in status.streams.values() {
        delivered += stream.delivered;
        failed += stream.failed;
    }
    let lake = folder.join("lake");
    let objects = files_below(&lake).map_err(|error| format!("list the lake: {error}"))?;
    let rows = show_objects(&lake, &objects)?;
    show_partitions(config, folder)?;
    println!("\nRows by tenant, read from the Parquet files:");
    for (tenant, rows) in &rows {
        println!("  {tenant:<10} {:>9}", thousands(*rows));
    }
    show_failures(&lake, &objects)?;
    println!(
        "\nsent {} = delivered {} + failed {}",
        thousands(sent),
        thousands(delivered),
        thousands(failed)
    );
    let in_files: u64 = rows.values().sum();
    if sent != delivered + failed || in_files != delivered {
        return Err(format!("the counts do not add up: {in_files} rows are in the files"));
    }
    let view = folder.join("catalog/demo/clicks.duckdb.sql");
    println!("\nQuery it with DuckDB (pip install duckdb-cli):");
    println!(
        "  duckdb -c \".read {}\" -c \"SELECT tenant, country, count(*) FROM clicks GROUP BY ALL \
         ORDER BY ALL\"",
        view.display()
    );
    Ok(())
}

/// Shows the tree of Parquet objects and tells the rows by tenant.
fn show_objects(lake: &Path, objects: &[PathBuf]) -> Result<BTreeMap<String, u64>, String> {
    println!("Objects below {}:", lake.display());
    let mut rows = BTreeMap::new();
    let mut folders = BTreeSet::new();
    for path in objects {
        let bytes = read(path)?;
        let inside = path.strip_prefix(lake).unwrap_or(path);
        let parent = inside.parent().unwrap_or(Path::new(""));
        let is_parquet = path.extension().is_some_and(|extension| extension == "parquet");
        let what = if is_parquet {
            let count = stored_row_count(bytes.clone().into()).map_err(|e| e.to_string())?;
            *rows.entry(tenant_of(inside)).or_default() += count;
            format!("{:>7} rows", thousands(count))
        } else {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            format!("{:>7} failed records", thousands(lines as u64))
        };
        if folders.insert(parent.to_owned()) {
            println!("  {}/", parent.display());
        }
        let name = inside.file_name().unwrap_or_default().to_string_lossy();
        println!("    {name}  {} bytes  {what}", thousands(bytes.len() as u64));
    }
    Ok(rows)
}

fn tenant_of(path: &Path) -> String {
    let segments = path.iter().filter_map(|segment| segment.to_str());
    let tenant = segments.into_iter().find_map(|segment| segment.strip_prefix("tenant="));
    tenant.unwrap_or("(none)").to_owned()
}

fn show_partitions(config: &Config, folder: &Path) -> Result<(), String> {
    #[derive(Deserialize)]
    struct File {
        partitions: Vec<Partition>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Partition {
        values: Vec<String>,
    }
    println!("\nPartitions registered in the file catalog:");
    for stream in config.delivery_streams.values() {
        let Some(schema) = &stream.schema else {
            continue;
        };
        let table = &schema.table;
        let path = folder.join(format!("catalog/demo/{table}.partitions.json"));
        // Until a record has come there are none.
        let Some(bytes) = read_if_there(&path)? else {
            continue;
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        let keys = stream.destination.prefix.partition_keys();
        for partition in file.partitions {
            let named = keys.iter().zip(&partition.values).map(|(k, v)| format!("{k}={v}"));
            println!("  {table}: {}", named.collect::<Vec<_>>().join("/"));
        }
    }
    Ok(())
}

fn show_failures(lake: &Path, objects: &[PathBuf]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        last_error_message: String,
        raw_data: String,
    }
    println!("\nFailed records, with their reasons, below {}/errors:", lake.display());
    let mut shown = 0;
    for path in objects.iter().filter(|path| path.extension().is_none()) {
        let bytes = read(path)?;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            let raw = BASE64.decode(&line.raw_data).map_err(|error| error.to_string())?;
            shown += 1;
            if shown <= SHOWN_MAX {
                let raw: String = String::from_utf8_lossy(&raw).chars().take(70).collect();
                println!("  {raw}\n      {}", line.last_error_message);
            }
        }
    }
    if shown == 0 {
        println!("  (none)");
    }
    if shown > SHOWN_MAX {
        println!("  ... and {} more", shown - SHOWN_MAX);
    }
    Ok(())
}

/// Every file below a folder, sorted.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in OsDisk.list(folder)? {
        let path = folder.join(name);
        match files_below(&path) {
            Ok(below) => files.extend(below),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => files.push(path),
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_if_there(path)?.ok_or_else(|| format!("{} is not there", path.display()))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match read_file(&OsDisk, path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("could not read {}: {error}", path.display())),
    }
}
