//! The command line.
//!
//! Owns the commands, their output and their exit codes: 0 done, 1 failed, 74 the disk failed, 75
//! something that the configuration names is out of reach, so that the same may do later, 78 the
//! configuration has faults or the data directory cannot be used (the last three by `sysexits.h`). A
//! command that judges something ends with 1 when it finds a problem, and with 2 when it could not
//! find out. Does not own what the service does.

// First, since its macros are known to what stands behind it.
#[macro_use]
mod output;

mod audit;
mod client;
mod demo;
mod infer;
mod preview;
mod sample;
mod serve;
mod partitions;
mod table;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Environment, Faults, SystemEnvironment};
use crate::pipeline::Status;

use self::client::Admin;

const EXIT_FAILURE: u8 = 1;
/// Nothing was found out, or not everything.
const EXIT_UNCHECKED: u8 = 2;
const EXIT_DISK: u8 = 74;
const EXIT_AGAIN: u8 = 75;
const EXIT_CONFIG: u8 = 78;
const DEFAULT_ADMIN: &str = "http://127.0.0.1:9573";

/// A self-hosted Amazon Data Firehose: durable before the answer, exactly once in the lake.
#[derive(Debug, Parser)]
#[command(name = "lakehose", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service in the foreground.
    Serve {
        /// The YAML file; without one the embedded defaults are used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The YAML file, as `check` takes it.
        #[arg(conflicts_with = "config")]
        file: Option<PathBuf>,
    },
    /// Check a YAML file and the tables that it names, without starting anything.
    Check {
        /// The YAML file.
        file: PathBuf,
    },
    /// Propose a delivery stream, its columns and their types, from samples of JSON records.
    Infer {
        /// Files of JSON lines, or of one array; `-` reads the standard input.
        #[arg(required = true)]
        samples: Vec<PathBuf>,
        /// The delivery stream's name; by default that of the first file.
        #[arg(long)]
        stream: Option<String>,
        /// Print the table as JSON for `aws glue create-table --table-input` instead of YAML.
        #[arg(long)]
        glue: bool,
        /// Give that table a partition key for the tenant, as streams need it whose identities have
        /// tenants.
        #[arg(long, requires = "glue")]
        tenants: bool,
    },
    /// Show what a stream would make of a sample: objects, rows, rejects. Touches no store, no data
    /// directory and no partition.
    Preview {
        #[command(flatten)]
        question: preview::Question,
    },
    /// Check a data directory that no service uses, and change nothing: every problem is a line, with
    /// what it costs and what to do. Exits with 0 when there is none, 1 when there is one, 2 when it
    /// could not be checked.
    Verify {
        /// The data directory.
        dir: PathBuf,
    },
    /// Recount what lies in the stores, by the footers and lines of the objects, and compare it with
    /// what was delivered by the books: gaps, overlaps, strangers. The service may run meanwhile or
    /// not; nothing is changed. Exits with 0 when all agrees, 1 when it does not, 2 when it could not
    /// be found out.
    Audit {
        /// The YAML file.
        #[arg(long)]
        config: PathBuf,
        /// The delivery stream; by default every one.
        #[arg(long)]
        stream: Option<String>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the YAML file, with which editors complete it.
    Schema,
    /// Send sample records through a real service on this machine, and show what came out.
    Demo {
        /// The folder for everything that the demo makes; it must not hold anything yet.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Keep serving afterwards, until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// How many records to send.
        #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
        records: u64,
    },
    /// Show each stream of a running service: what came in, what went out, what waits.
    Status {
        /// The URL of the admin listener.
        #[arg(long, default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Deliver what a stream has buffered, and wait until it is in the store.
    Flush {
        /// The delivery stream.
        stream: String,
        /// The URL of the admin listener.
        #[arg(long, default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Seconds to wait.
        #[arg(long, default_value_t = 300)]
        timeout: u64,
    },
    /// Have a running service read its YAML file again; with a fault in it nothing changes.
    Reload {
        /// The URL of the admin listener.
        #[arg(long, default_value = DEFAULT_ADMIN)]
        admin: String,
    },
    /// Tell by the exit code whether a running service takes records, for health checks.
    Ready {
        /// The URL of the admin listener.
        #[arg(long, default_value = DEFAULT_ADMIN)]
        admin: String,
    },
    /// What catalogs know of a stream's partitions.
    #[command(subcommand)]
    Partitions(PartitionsCommand),
    /// The table of a stream.
    #[command(subcommand)]
    Table(TableCommand),
}

#[derive(Debug, Subcommand)]
enum PartitionsCommand {
    /// Compare the store's folders with the catalog, and register those that are missing.
    Repair {
        /// The YAML file.
        #[arg(long)]
        config: PathBuf,
        /// The delivery stream.
        #[arg(long)]
        stream: String,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
enum TableCommand {
    /// Print the statements that make the table in Athena, and a view in DuckDB.
    Ddl {
        /// The YAML file.
        #[arg(long)]
        config: PathBuf,
        /// The delivery stream.
        #[arg(long)]
        stream: String,
    },
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("could not start the runtime: {error}")),
    };
    let code = runtime.block_on(async {
        match arguments.command {
            Command::Serve { config, file } => serve::serve(config.or(file)).await,
            Command::Check { file } => check(&file).await,
            Command::Infer { samples, stream, glue, tenants } => {
                infer::infer(&samples, stream, glue, tenants)
            }
            Command::Preview { question } => Box::pin(preview::run(question)).await,
            Command::Audit { config, stream, json } => {
                audit::run(&config, stream.as_deref(), json).await
            }
            Command::Verify { dir } => verify::verify(&dir).await,
            Command::Schema => {
                print!("{}", config::json_schema());
                ExitCode::SUCCESS
            }
            Command::Demo { dir, keep, records } => demo::demo(dir, keep, records).await,
            Command::Status { admin, json } => status(&admin, json).await,
            Command::Flush { stream, admin, timeout } => {
                flush(&stream, &admin, Duration::from_secs(timeout)).await
            }
            Command::Partitions(PartitionsCommand::Repair { config, stream, dry_run }) => {
                partitions::repair(&config, &stream, dry_run).await
            }
            Command::Table(TableCommand::Ddl { config, stream }) => {
                table::ddl(&config, &stream).await
            }
            Command::Reload { admin } => reload(&admin).await,
            Command::Ready { admin } => ready(&admin).await,
        }
    });
    output::flush();
    // Blocking work that hangs on a disk or a store must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

async fn check(file: &std::path::Path) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match crate::app::check(&config).await {
        Ok(warnings) => {
            let streams = counted(config.delivery_streams.len() as u64, "delivery stream");
            println!("{}: no faults, {streams}", file.display());
            config::forecast(&config).iter().for_each(|line| println!("    {line}"));
            for warning in warnings.as_slice() {
                eprintln!("warning: {}:{warning}", file.display());
            }
            // It may be checked elsewhere than it is used.
            if let Err(error) = crate::app::check_directory(&config) {
                eprintln!("warning: a start would be refused here: {error}");
            }
            ExitCode::SUCCESS
        }
        Err(faults) => show_faults(&faults, &file.display().to_string()),
    }
}

async fn status(admin: &str, json: bool) -> ExitCode {
    let answer = match Admin::new(admin).status().await {
        Ok(answer) => answer,
        Err(error) => return fail(&error),
    };
    if json {
        println!("{}", answer.text);
        return ExitCode::SUCCESS;
    }
    for (name, status) in &answer.streams {
        show_status(name, status);
    }
    for (name, reason) in &answer.draining {
        println!("{name} is not in the configuration any more, and is delivered until it is empty");
        if let Some(reason) = reason {
            println!("    blocked: {reason}");
        }
    }
    let budget = &answer.disk_budget;
    println!(
        "disk budget: {} of {} bytes used",
        thousands(budget.used_bytes),
        thousands(budget.limit_bytes)
    );
    if !budget.refused_streams.is_empty() {
        let streams = budget.refused_streams.join(", ");
        println!("    records are refused until some are delivered: {streams}");
    }
    if let Some(refusal) = &answer.last_refusal {
        println!("the configuration was changed and could not be reloaded:");
        refusal.lines().for_each(|line| println!("    {line}"));
    }
    ExitCode::SUCCESS
}

fn show_status(name: &str, status: &Status) {
    println!(
        "{name}: accepted {} = delivered {} + failed {} + dropped {} + damaged {} + pending {}",
        thousands(status.accepted),
        thousands(status.delivered),
        thousands(status.failed),
        thousands(status.dropped),
        thousands(status.damaged),
        thousands(status.pending),
    );
    if let Some(degraded) = &status.degraded {
        println!("    DEGRADED: {degraded}");
    }
    if let Some(seconds) = status.closes_in_seconds {
        println!(
            "    buffered: {}, {} bytes in {}; a batch closes at {} bytes, the oldest in {seconds} s",
            counted(status.buffered_records, "record"),
            thousands(status.buffered_bytes),
            match status.open_batches as u64 {
                1 => "1 batch".to_owned(),
                count => format!("{} batches", thousands(count)),
            },
            thousands(status.closes_at_bytes),
        );
    }
    if status.open_plans > 0 || status.closed_batches > 0 {
        println!(
            "    on the way: batches to convert {}, objects to put {}",
            thousands(status.closed_batches as u64),
            thousands(status.open_objects as u64),
        );
    }
    if status.unregistered_partitions > 0 {
        let count = thousands(status.unregistered_partitions as u64);
        println!("    partitions to register: {count}");
    }
    if status.incomplete_partitions > 0 {
        let count = thousands(status.incomplete_partitions as u64);
        println!("    partitions to tell complete: {count}");
    }
    println!(
        "    on disk: journal {} bytes, outbox {} bytes",
        thousands(status.journal_bytes),
        thousands(status.outbox_bytes),
    );
    if let Some(blocked) = &status.blocked {
        println!("    blocked: {blocked}");
    }
}

async fn flush(stream: &str, admin: &str, patience: Duration) -> ExitCode {
    match Admin::new(admin).flush(stream, patience).await {
        Ok(said) => {
            println!(
                "{stream}: everything accepted before the call is in the store, under the prefix \
                 or, where it failed, under the error prefix"
            );
            if let Some((_, waiting)) = said.split_once("; ") {
                println!("    {waiting}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

async fn reload(admin: &str) -> ExitCode {
    match Admin::new(admin).reload().await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(refused) => {
            eprintln!("{}", refused.text);
            if refused.is_configuration { EXIT_CONFIG.into() } else { ExitCode::FAILURE }
        }
    }
}

async fn ready(admin: &str) -> ExitCode {
    match Admin::new(admin).ready().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Reads and checks a configuration file; faults are shown.
fn load(file: &std::path::Path) -> Result<Config, ExitCode> {
    config::load_file(file, &SystemEnvironment).map_err(|error| {
        eprintln!("{error}");
        EXIT_CONFIG.into()
    })
}

fn load_text(text: &str, name: &str, environment: &dyn Environment) -> Result<Config, ExitCode> {
    config::load(text, environment).map_err(|faults| show_faults(&faults, name))
}

fn show_faults(faults: &Faults, file: &str) -> ExitCode {
    eprintln!("{}", faults.in_file(file));
    if faults.are_passing() { EXIT_AGAIN.into() } else { EXIT_CONFIG.into() }
}

fn fail_with(code: u8, error: &str) -> ExitCode {
    eprintln!("{error}");
    code.into()
}

fn fail(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// A number as people read it: `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something, whose plural has an s: `1 row`, `1,234 rows`.
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [counted(1, "row"), counted(0, "row"), counted(1_000, "row")],
            ["1 row", "0 rows", "1,000 rows"]
        );
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
