//! `lakehose preview`: what a stream would make of a sample, before anything is live.
//!
//! Owns the split of the sample into records, the choice of the tenant, the estimate of objects per
//! hour and the page that is printed. Does not own what becomes of records: that is the stream's own
//! pipeline (`app::preview`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::{counted, fail, load, sample, show_faults, thousands};
use crate::app::{PreviewError, Previewed, PreviewedObject, preview};
use crate::config::{Buffering, Config};
use crate::convert::{StoredTable, stored_table};
use crate::ingest::{elements_of, without_mark};
use crate::partition::Slot;
use crate::plan::ObjectKind;
use crate::record::{RECORD_BYTES_MAX, StreamName, Tenant};

/// How much of a cell, and of a failed record, is shown.
const SHOWN_CHARS_MAX: usize = 60;

/// What was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Question {
    /// The YAML file.
    #[arg(long)]
    config: PathBuf,
    /// The delivery stream; may be left out where there is one only.
    #[arg(long)]
    stream: Option<String>,
    /// JSON lines, or one array; `-` reads the standard input.
    sample: PathBuf,
    /// How many records of the sample to look at.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    records: u64,
    /// Whose records they are; by default the first tenant's that may write to the stream.
    #[arg(long)]
    tenant: Option<String>,
    /// How many records to expect in an hour; by default as many as are looked at.
    #[arg(long)]
    per_hour: Option<u64>,
    /// Call the stream's http, lambda and command hooks too, with these records.
    #[arg(long)]
    run_hooks: bool,
}

pub(super) async fn run(question: Question) -> ExitCode {
    let config = match load(&question.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let chosen = stream_of(&config, question.stream.as_deref())
        .and_then(|stream| Ok((stream, tenant_of(&config, stream, question.tenant.as_deref())?)));
    let (stream, tenant) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => return fail(&error),
    };
    let sample = match sample::read(&question.sample) {
        Ok(sample) => sample.bytes,
        Err(error) => {
            return fail(&format!("could not read {}: {error}", question.sample.display()));
        }
    };
    let all = Records::of(&sample);
    let limit = usize::try_from(question.records).unwrap_or(usize::MAX);
    let (taken, refused): (Vec<&SampleRecord<'_>>, Vec<_>) =
        all.0.iter().take(limit).partition(|record| record.data.len() <= RECORD_BYTES_MAX);
    if taken.is_empty() && refused.is_empty() {
        return fail("the sample holds no record");
    }
    let data: Vec<_> = taken.iter().map(|record| record.data).collect();
    let tell = |text: &str| eprintln!("{text}");
    let told = question.run_hooks.then_some(&tell as &(dyn Fn(&str) + Sync));
    let previewed = Box::pin(preview(&config, stream, tenant.as_ref(), &data, told));
    let previewed = match previewed.await {
        Ok(previewed) => previewed,
        Err(PreviewError::Faults(faults)) => {
            return show_faults(&faults, &question.config.display().to_string());
        }
        Err(error) => return fail(&error.to_string()),
    };
    let of_tenant = tenant.map_or(String::new(), |tenant| format!(", written by tenant {tenant}"));
    println!(
        "stream {stream}: {} of {} records of {}{of_tenant}",
        thousands(taken.len() as u64),
        thousands(all.0.len() as u64),
        question.sample.display(),
    );
    for record in refused {
        println!("refused at {}: a record may have {RECORD_BYTES_MAX} bytes", record.place);
    }
    for index in &previewed.skipped {
        println!("left out: transform[{index}] calls others, which only --run-hooks does");
    }
    for slot in config.delivery_streams[stream].destination.prefix.slots() {
        if let Slot::HookKey(key) = slot
            && !previewed.skipped.is_empty()
        {
            println!("left out: the values of the key {key}, which a hook gives: <{key}> below");
        }
    }
    // Behind steps, failures are numbered by what the steps made.
    let is_as_sent = config.delivery_streams[stream].transform.is_empty();
    let records = if is_as_sent { taken.as_slice() } else { &[] };
    let page = Page { previewed: &previewed, records };
    let tables = match page.print() {
        Ok(tables) => tables,
        Err(error) => return fail(&error),
    };
    let estimate = Estimate {
        buffering: config.delivery_streams[stream].buffering,
        records_per_hour: question.per_hour.unwrap_or(taken.len() as u64),
        record_bytes: data.iter().map(|record| record.len() as u64).sum::<u64>()
            / (data.len() as u64).max(1),
    };
    estimate.print(&tables, question.per_hour.is_none());
    ExitCode::SUCCESS
}

fn stream_of<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c StreamName, String> {
    let mut streams = config.delivery_streams.keys();
    let known = || {
        let known: Vec<_> = config.delivery_streams.keys().map(StreamName::as_str).collect();
        known.join(", ")
    };
    match name {
        Some(name) => {
            let found = streams.find(|stream| stream.as_str() == name);
            found.ok_or_else(|| format!("there is no stream '{name}': write one of {}", known()))
        }
        None => match (streams.next(), streams.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(format!("there are several streams: name one with --stream: {}", known())),
        },
    }
}

/// The tenant as an identity of the configuration gives it.
fn tenant_of(
    config: &Config,
    stream: &StreamName,
    name: Option<&str>,
) -> Result<Option<Tenant>, String> {
    let writers = config.identities.iter().filter(|identity| identity.may_write(stream));
    let mut tenants: Vec<_> = writers.filter_map(|identity| identity.tenant.clone()).collect();
    tenants.dedup();
    let Some(name) = name else {
        return Ok(tenants.into_iter().next());
    };
    let known: Vec<_> = tenants.iter().map(Tenant::as_str).collect();
    let found = tenants.iter().find(|tenant| tenant.as_str() == name);
    found.cloned().map(Some).ok_or_else(|| {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!(
            "no identity that may write to {stream} has the tenant '{name}'; there are: {known}"
        )
    })
}

/// A record of the sample.
#[derive(Clone, Copy, Debug)]
struct SampleRecord<'a> {
    place: RecordPlace,
    data: &'a [u8],
}

/// Where a record stands, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordPlace {
    Line(usize),
    /// Of an array.
    Item(usize),
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Item(number) => write!(f, "item {number}"),
        }
    }
}

/// The records of a sample as the plain endpoint takes them: its lines, good or bad, or the items of
/// one array, objects or not.
#[derive(Debug)]
struct Records<'a>(Vec<SampleRecord<'a>>);

impl<'a> Records<'a> {
    fn of(sample: &'a [u8]) -> Self {
        if let Some(elements) = elements_of(sample) {
            let item = |(at, data)| SampleRecord { place: RecordPlace::Item(at + 1), data };
            return Self(elements.into_iter().enumerate().map(item).collect());
        }
        let lines = without_mark(sample).split(|byte| *byte == b'\n').enumerate();
        let records = lines
            .filter(|(_, data)| !data.trim_ascii().is_empty())
            .map(|(at, data)| SampleRecord { place: RecordPlace::Line(at + 1), data });
        Self(records.collect())
    }
}

/// The objects, and the sample that they came from.
struct Page<'a> {
    previewed: &'a Previewed,
    records: &'a [&'a SampleRecord<'a>],
}

/// The rows in each folder of the prefix.
type RowsByFolder = BTreeMap<String, u64>;

impl Page<'_> {
    fn print(&self) -> Result<RowsByFolder, String> {
        let mut rows_by_folder = RowsByFolder::new();
        let mut schema = None;
        for object in &self.previewed.objects {
            match object.kind {
                ObjectKind::Data => {
                    let rows = if object.bytes.starts_with(b"PAR1") {
                        let table = stored_table(object.bytes.clone().into());
                        let table = table.map_err(|error| error.to_string())?;
                        print_rows(&object.key, &table);
                        let rows = table.rows.len();
                        schema.get_or_insert(table.schema);
                        rows
                    } else {
                        print_records(object)
                    };
                    let folder = object.key.rfind('/').map_or("", |slash| &object.key[..=slash]);
                    *rows_by_folder.entry(folder.to_owned()).or_default() += rows as u64;
                }
                ObjectKind::Error => self.print_failures(object),
                // Nothing waits for the end of a partition here.
                ObjectKind::Marker | ObjectKind::Notice => {}
            }
        }
        let status = &self.previewed.status;
        println!(
            "\ndelivered {}, failed {}, dropped {}",
            thousands(status.delivered),
            thousands(status.failed),
            thousands(status.dropped),
        );
        if let Some(schema) = schema {
            println!("\nschema of the Parquet files:\n{}", schema.trim_end());
        }
        Ok(rows_by_folder)
    }

    fn print_failures(&self, object: &PreviewedObject) {
        let lines = object.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.collect();
        println!("\nerror object {} ({})", object.key, counted(lines.len() as u64, "record"));
        for line in lines {
            let Ok(failure) = serde_json::from_slice::<Failure>(line) else {
                println!("  {}", String::from_utf8_lossy(line));
                continue;
            };
            let number = failure.sequence_number.and_then(|number| number.parse::<usize>().ok());
            let place = match number.and_then(|number| self.records.get(number)) {
                Some(record) => format!("{}: ", record.place),
                None => String::new(),
            };
            println!("  {place}{}: {}", failure.code, failure.message);
            if let Ok(raw) = BASE64.decode(&failure.raw_data) {
                println!("    {}", shortened(&String::from_utf8_lossy(&raw)));
            }
        }
    }
}

/// A line of an error object, of either kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(alias = "lastErrorCode", rename = "errorCode")]
    code: String,
    #[serde(alias = "lastErrorMessage", rename = "errorMessage")]
    message: String,
    raw_data: String,
    sequence_number: Option<String>,
}

fn print_rows(key: &str, table: &StoredTable) {
    println!("\ndata object {key} ({})", counted(table.rows.len() as u64, "row"));
    let cells = table.rows.iter().map(|row| row.iter().map(|cell| shortened(cell)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(table.columns.clone()).chain(cells).collect();
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("  | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// Shows an object that holds the records themselves, and tells how many lines it has.
fn print_records(object: &PreviewedObject) -> usize {
    println!("\ndata object {} ({} bytes)", object.key, thousands(object.bytes.len() as u64));
    let Ok(text) = std::str::from_utf8(&object.bytes) else {
        println!("  packed, or no text");
        return 1;
    };
    text.lines().for_each(|line| println!("  {}", shortened(line)));
    text.lines().count().max(1)
}

/// A text on one line and not longer than helps.
fn shortened(text: &str) -> String {
    let line = text.replace(|c: char| c.is_control(), " ");
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// How many objects an hour brings, if records come evenly and like those of the sample.
struct Estimate {
    buffering: Buffering,
    records_per_hour: u64,
    /// On average.
    record_bytes: u64,
}

impl Estimate {
    fn print(&self, rows_by_folder: &RowsByFolder, is_assumed: bool) {
        let rows = rows_by_folder.values().sum::<u64>().max(1);
        let shares = rows_by_folder.values().map(|count| *count as f64 / rows as f64);
        let objects: f64 = shares.map(|share| self.objects(share)).sum();
        let assumed =
            if is_assumed { ", which is the sample (say otherwise with --per-hour)" } else { "" };
        println!(
            "\nobjects per hour: about {} under the prefix, if {} of {} bytes come in an hour\
             {assumed}, evenly and spread over {} as here; a folder's object closes after {} s or \
             {} bytes of records",
            thousands(objects.ceil() as u64),
            counted(self.records_per_hour, "record"),
            thousands(self.record_bytes),
            counted(rows_by_folder.len() as u64, "folder"),
            self.buffering.interval.as_secs_f64(),
            thousands(self.buffering.size_bytes),
        );
    }

    /// Of one folder that gets `share` of all rows.
    fn objects(&self, share: f64) -> f64 {
        let records = self.records_per_hour as f64 * share;
        let by_size = records * self.record_bytes as f64 / self.buffering.size_bytes as f64;
        let intervals = 3_600.0 / self.buffering.interval.as_secs_f64().max(0.001);
        by_size.max(records.min(intervals)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_hour_brings_an_object_each_interval_or_each_size_but_no_more_than_records() {
        let estimate = |records_per_hour, size_bytes| Estimate {
            buffering: Buffering {
                size_bytes,
                object_bytes: None,
                interval: Duration::from_secs(60),
            },
            records_per_hour,
            record_bytes: 1_000,
        };
        assert_eq!(estimate(7, 1_000_000).objects(1.0), 7.0);
        assert_eq!(estimate(10_000, 1_000_000).objects(1.0), 60.0);
        assert_eq!(estimate(1_000_000, 1_000_000).objects(0.5), 500.0);
    }

    #[test]
    fn samples_are_lines_or_one_array() {
        for (sample, places) in [
            ("{}\n\n{\"a\n [1]\n", "line 1, line 3, line 4"),
            ("[1]\n[2]\n", "line 1, line 2"),
            ("[\n{},\n{}\n]\n", "item 1, item 2"),
            ("\u{feff}[{}, 7, {}]", "item 1, item 2, item 3"),
            ("", ""),
        ] {
            let found = Records::of(sample.as_bytes()).0;
            let found: Vec<_> = found.iter().map(|record| record.place.to_string()).collect();
            assert_eq!(found.join(", "), places, "{sample:?}");
        }
        assert_eq!(Records::of("\u{feff}{}".as_bytes()).0[0].data, b"{}");
    }
}
