//! `lakehose serve`: the life of the process.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{
    EXIT_CONFIG, EXIT_DISK, EXIT_FAILURE, counted, fail, load, load_text, show_faults, thousands,
};
use crate::app::{App, DirectoryError, StartError, Stopped};
use crate::config::{Config, DEFAULT_YAML, SystemEnvironment};
use crate::journal::OpenError;
use crate::pipeline::{Left, PipelineError};

/// How messages call the default YAML.
const DEFAULTS_NAME: &str = "the embedded defaults";
/// What is logged unless `RUST_LOG` says otherwise.
const LOG_DEFAULT: &str = "info";
/// Libraries that print requests, with what signs them, below this level.
const LOG_CAPS: [&str; 11] = [
    "aws_config=info",
    "aws_sdk_glue=info",
    "aws_sigv4=info",
    "aws_smithy_runtime=info",
    "aws_smithy_runtime_api=info",
    "hyper=info",
    "hyper_util=info",
    "h2=info",
    "object_store=info",
    "reqwest=info",
    "rustls=info",
];

pub(super) async fn serve(file: Option<PathBuf>) -> ExitCode {
    start_log(LOG_DEFAULT);
    let name = file.as_ref().map_or(DEFAULTS_NAME.to_owned(), |file| file.display().to_string());
    let config = match &file {
        Some(file) => load(file),
        None => load_text(DEFAULT_YAML, &name, &SystemEnvironment),
    };
    let config = match config {
        Ok(config) => config,
        Err(code) => return code,
    };
    let summary = Summary::of(&config, &name);
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("could not listen for signals: {error}")),
    };
    let started = tokio::select! {
        started = Box::pin(App::start(config, file)) => started,
        () = signals.end() => return ExitCode::SUCCESS,
    };
    match started {
        Ok(app) => {
            summary.log(&app);
            run(app, signals).await
        }
        Err(error) => refuse(error, &name),
    }
}

/// Starts logging to standard error.
pub(super) fn start_log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let filter = LOG_CAPS.iter().fold(filter, |filter, cap| {
        filter.add_directive(cap.parse().expect("the directives are constants"))
    });
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr)
        // They would be told by a macro that panics when nobody reads the log.
        .log_internal_errors(false)
        .init();
}

/// Shows why the service did not start.
pub(super) fn refuse(error: StartError, name: &str) -> ExitCode {
    if let StartError::Faults(faults) = &error {
        return show_faults(faults, name);
    }
    eprintln!("{error}");
    exit_code(&error).into()
}

/// What a start has come to: a supervisor starts again after a failed disk, and needs a person where
/// the same would be said again.
fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Directory(DirectoryError::Disk { error, .. })
        | StartError::Journal(OpenError::Disk { error, .. })
        | StartError::Pipeline(
            PipelineError::Open(OpenError::Disk { error, .. }) | PipelineError::Disk(error),
        ) => match error.kind() {
            // Of the path or its owner, not of the disk.
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem => EXIT_CONFIG,
            _ => EXIT_DISK,
        },
        StartError::Faults(_)
        | StartError::Directory(_)
        | StartError::Journal(_)
        | StartError::Pipeline(_) => EXIT_CONFIG,
        _ => EXIT_FAILURE,
    }
}

/// What the operating system may tell a process; caught from the moment that this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to end; a hang-up meanwhile has the configuration read again later.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a signal to end, and reloads at each hang-up before it.
    async fn end_reloading(&mut self, app: &App) {
        let Self { terminate, interrupt, hang_up } = self;
        let reloads = async {
            while hang_up.recv().await.is_some() {
                // What comes of it is logged.
                let _ = app.reload().reload().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = reloads => {}
        }
    }
}

/// Serves until a signal or a failing disk.
pub(super) async fn run(app: App, mut signals: Signals) -> ExitCode {
    tokio::select! {
        () = signals.end_reloading(&app) => {}
        reason = app.failed() => return give_up(&reason),
    }
    let seconds = app.shutdown_deadline().as_secs();
    tracing::info!(
        "stopping: delivering what is buffered, for at most {seconds} s; a second signal ends at once"
    );
    let stop = app.stop();
    tokio::pin!(stop);
    let stop = async {
        tokio::select! {
            stopped = &mut stop => stopped,
            () = signals.end() => {
                tracing::warn!("ending at once: what is not delivered stays on disk");
                app.hurry();
                stop.await
            }
        }
    };
    let stopped = tokio::select! {
        biased;
        reason = app.failed() => return give_up(&reason),
        stopped = stop => stopped,
    };
    // What failed last may be seen only now.
    if let Some(reason) = app.failed().now_or_never() {
        return give_up(&reason);
    }
    tell_left(&stopped, app.data_dir());
    ExitCode::SUCCESS
}

fn give_up(reason: &str) -> ExitCode {
    tracing::error!(reason, "the service cannot go on; start again to recover");
    EXIT_DISK.into()
}

/// Says what a stop has left for the next start, and where.
fn tell_left(Stopped { in_order, left, unknown }: &Stopped, data_dir: &Path) {
    for (stream, left) in left {
        let Left { records, backup_records, plans, partitions, incomplete: _, bytes } = left;
        tracing::warn!(
            %stream,
            records,
            backup_records,
            plans,
            partitions,
            bytes,
            "stopped with work left; it is safe on disk, and the next start goes on with it"
        );
    }
    for stream in unknown {
        tracing::warn!(
            %stream,
            "stopped before it was known whether anything waits in the folder of the stream, which \
             the configuration does not have any more; the next start goes on with it"
        );
    }
    let all = |count: fn(&Left) -> u64| left.values().map(count).sum::<u64>();
    if !in_order {
        tracing::warn!(
            "not every stream had the time to close its files or to tell what it has left: the next \
             start goes on with it"
        );
    } else if left.is_empty() && unknown.is_empty() {
        tracing::info!("stopped; everything is delivered");
    }
    if left.is_empty() {
        return;
    }
    let waiting = [
        (all(|left| left.records), "record", " to be delivered"),
        (all(|left| left.backup_records), "record", " to be backed up"),
        (all(|left| left.plans), "plan", ""),
        (all(|left| left.partitions), "partition", " to be registered"),
    ];
    let waiting: Vec<String> = waiting
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, to_do)| format!("{}{to_do}", counted(count, what)))
        .collect();
    tracing::warn!(
        "stopped; left in {} for the next start: {}, {} bytes in all{}",
        data_dir.display(),
        waiting.join(", "),
        thousands(all(|left| left.bytes)),
        if *in_order && unknown.is_empty() { "" } else { ", of the streams that could tell it" },
    );
}

/// What a person should know about a start.
struct Summary {
    name: String,
    streams: Vec<String>,
    is_open: bool,
    has_tokens: bool,
}

impl Summary {
    fn of(config: &Config, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            streams: config.delivery_streams.keys().map(ToString::to_string).collect(),
            is_open: config.identities.is_empty(),
            has_tokens: config.identities.iter().any(|identity| identity.token.is_some()),
        }
    }

    fn log(&self, app: &App) {
        tracing::info!(config = self.name, streams = self.streams.join(", "), "serving");
        let scheme = if app.tls().is_some() { "https" } else { "http" };
        tracing::info!("listening for producers on {scheme}://{}", app.listen());
        tracing::info!("listening for operators on http://{}", app.admin());
        if !app.admin().ip().is_loopback() {
            tracing::warn!(
                "the admin listener asks nobody who they are: let only operators reach it"
            );
        }
        if self.has_tokens && app.tls().is_none() && !app.listen().ip().is_loopback() {
            tracing::warn!(
                "bearer tokens are accepted in clear: whoever sees the network sees them; set \
                 server.tls, or let something that ends TLS stand in front"
            );
        }
        if self.is_open {
            tracing::warn!(
                "no identities are configured: every process on this machine may write, and \
                 signatures are not checked"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_disk_is_worth_another_start_and_a_wrong_path_is_not() {
        let disk = |code: i32| OpenError::Disk {
            path: "/data".into(),
            error: io::Error::from_raw_os_error(code),
        };
        const ENOENT: i32 = 2;
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        for (code, expected) in [(EIO, EXIT_DISK), (ENOSPC, EXIT_DISK), (ENOENT, EXIT_CONFIG)] {
            assert_eq!(exit_code(&StartError::Journal(disk(code))), expected);
            let pipeline = PipelineError::Open(disk(code));
            assert_eq!(exit_code(&StartError::Pipeline(pipeline)), expected);
        }
        let newer = OpenError::NewerFormat { path: "/data".into(), format: 9, known: 1 };
        assert_eq!(exit_code(&StartError::Journal(newer)), EXIT_CONFIG);
    }
}
