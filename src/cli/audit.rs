//! `lakehose audit`: shows what the recount of the stores came to.
//!
//! Owns where the books come from: a running service is asked, the data directory of one that does
//! not run is read.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;

use super::client::Admin;
use super::{EXIT_UNCHECKED, fail_with, load, thousands};
use crate::app::{AuditCount, Difference, StreamAudit, audit, books_at_rest};
use crate::config::Config;
use crate::disk::{OsDisk, is_directory_locked, read_file};
use crate::pipeline::StreamBooks;
use crate::positions::Positions;
use crate::record::StreamName;

/// Stretches of records that a line names; the rest is counted.
const RUNS_SHOWN: usize = 8;
/// How often the progress is shown, in objects.
const PROGRESS_OBJECTS: u64 = 100;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Recounts and prints; exits with 0 when stores and books agree, with 1 when they differ, and with 2
/// when that could not be found out.
pub(super) async fn run(file: &Path, stream: Option<&str>, json: bool) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let is_watched = std::io::stderr().is_terminal();
    let progress = |stream: &StreamName, objects: u64| {
        if is_watched && objects.is_multiple_of(PROGRESS_OBJECTS) {
            eprint!("\r{stream}: {} objects", thousands(objects));
        }
    };
    let audits =
        audit(&config, stream, async |stream| books(&config, stream).await, &progress).await;
    if is_watched {
        eprint!("\r\x1b[K");
    }
    let audits = match audits {
        Ok(audits) => audits,
        Err(error) => return fail_with(EXIT_UNCHECKED, &error.to_string()),
    };
    if json {
        match serde_json::to_string_pretty(&audits) {
            Ok(text) => println!("{text}"),
            Err(error) => return fail_with(EXIT_UNCHECKED, &error.to_string()),
        }
    } else {
        audits.iter().for_each(show);
    }
    let agrees = audits.iter().all(|audit| audit.differences.is_empty());
    if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The books of a stream at this moment.
async fn books(config: &Config, stream: &StreamName) -> Result<Option<StreamBooks>, String> {
    #[derive(Deserialize)]
    struct Addresses {
        admin: String,
    }
    let data_dir = &config.data_dir;
    let is_running = is_directory_locked(data_dir)
        .map_err(|error| format!("could not read {}: {error}", data_dir.display()))?;
    if is_running {
        let bytes = read_file(&OsDisk, &data_dir.join("addresses.json"), FILE_BYTES_MAX);
        let noted = bytes.ok().and_then(|bytes| serde_json::from_slice::<Addresses>(&bytes).ok());
        let admin = noted.map_or_else(|| config.server.admin.to_string(), |noted| noted.admin);
        return Admin::new(&admin).books(stream).await;
    }
    let (data_dir, stream) = (data_dir.clone(), stream.clone());
    let read = tokio::task::spawn_blocking(move || books_at_rest(&data_dir, &stream));
    match read.await {
        Ok(books) => books.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the reading of the journal ended early: {error}")),
    }
}

fn show(audit: &StreamAudit) {
    println!("{}", audit.stream);
    if !audit.counts.is_empty() {
        println!(
            "    {:<22}{:>10}{:>18}{:>22}",
            "", "objects", "records in store", "delivered by books"
        );
    }
    for AuditCount { what, objects, in_store, in_books } in &audit.counts {
        let (least, most) = *in_books;
        let booked = if least == most {
            thousands(least)
        } else {
            format!("{} to {}", thousands(least), thousands(most))
        };
        let in_store = in_store.map_or_else(|| "not told".to_owned(), thousands);
        println!("    {what:<22}{:>10}{in_store:>18}{booked:>22}", thousands(*objects));
    }
    if audit.other_instances > 0 {
        println!("    {:<22}{:>10}", "of other instances", thousands(audit.other_instances));
    }
    for note in &audit.notes {
        println!("    note: {note}");
    }
    for difference in &audit.differences {
        println!("    {}", line(difference));
    }
    for (kind, count) in &audit.untold {
        println!("    {kind}: {} more", thousands(*count));
    }
    let untold: u64 = audit.untold.values().sum();
    match audit.differences.len() as u64 + untold {
        0 if audit.notes.is_empty() => println!("    the store has what the books say"),
        0 => println!("    no difference in what could be recounted"),
        1 => println!("    1 DIFFERENCE"),
        count => println!("    {} DIFFERENCES", thousands(count)),
    }
}

fn line(difference: &Difference) -> String {
    let Difference { kind, key, positions, text } = difference;
    let mut line = (*kind).to_owned();
    if let Some(key) = key {
        line = format!("{line}: {key}");
    }
    line = format!("{line}: {text}");
    match positions {
        Some(positions) if !positions.is_empty() => format!("{line} ({})", shortened(positions)),
        _ => line,
    }
}

fn shortened(positions: &Positions) -> String {
    let run_count = positions.run_count();
    if run_count <= RUNS_SHOWN {
        return positions.to_string();
    }
    let mut shown = Positions::default();
    let first = positions.runs().take(RUNS_SHOWN);
    first.for_each(|run| shown.push_run(run.first, run.count));
    format!("{shown} and {} more stretches", run_count - RUNS_SHOWN)
}
