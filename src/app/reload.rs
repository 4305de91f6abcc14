//! The configuration read again while the service runs.
//!
//! Owns what a reload may change and in which order. A reload is all or nothing: a file with a
//! fault, or one that asks for something that only a start can do, changes nothing. One reload runs
//! at a time, to its end, whoever asked for it and whether or not they still wait. Only a stop cuts it
//! off: its deadline is for records, and the next start reads the file anyway.
//!
//! What an accepted one changes: stores and catalogs first, then streams that are new are opened,
//! then pipelines get their settings for all that is not planned yet, and at last producers see the
//! streams and identities. So no record is accepted by rules that its pipeline does not know. Streams
//! that it has no more begin their way out then (`removed`), which the same loop looks after.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot, watch};

use super::StartError;
use super::prepare::Prepared;
use super::removed;
use super::streams::{Current, Streams};
use super::tls;
use crate::clock::Clock;
use crate::config::{Config, Faults, FileError, SystemEnvironment, load_file};
use crate::disk::Disk;
use crate::ingest::{Tls, View};
use crate::metrics::Metrics;
use crate::record::{StreamName, UnixMillis};

/// Reloads that may wait for the one that runs.
const REQUESTS_MAX: usize = 8;

/// Asks for reloads, and tells what came of the last ones.
#[derive(Clone, Debug)]
pub struct Reload {
    requests: mpsc::Sender<Request>,
    standing: watch::Receiver<Standing>,
}

/// What the loop has to do next.
enum Event {
    Request(Option<Request>),
    /// Something is to be done for streams on their way out.
    Removed(removed::Event),
}

type Request = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// How the configuration in use came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When it was read.
    pub read_at: UnixMillis,
    /// How many reloads changed nothing, since the file could not be used.
    pub refused: u64,
    /// Why the last reload changed nothing; absent when it did.
    pub last_refusal: Option<String>,
}

/// What a reload brought about. Displays in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    file: String,
    stream_count: usize,
    identity_count: usize,
    /// Streams that producers did not see before.
    added: Vec<String>,
    /// Streams that producers see no more.
    removed: Vec<String>,
    /// Why streams go on by their old settings.
    unchanged: Vec<String>,
}

impl Reloaded {
    /// Whether every stream goes on by the new settings.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unchanged.is_empty()
    }
}

/// Why a reload changed nothing. Displays one fault a line.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There is no file.
    #[error(
        "the service was not started with --config FILE: there is no file to read again; to change \
         its settings, start it with one"
    )]
    NoFile,
    /// The file gives no configuration.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file and the catalogs do not fit.
    #[error("{}", faults.in_file(file))]
    Faults {
        /// The file.
        file: String,
        /// All of them.
        faults: Faults,
    },
    /// The file changes what a running service cannot change.
    #[error("{}", lines(file, changes))]
    NeedsRestart {
        /// The file.
        file: String,
        /// Each key, with what it is and what it would be.
        changes: Vec<String>,
    },
    /// A new stream could not be opened.
    #[error(transparent)]
    Open(#[from] StartError),
    /// The service is about to end.
    #[error("the service is stopping; the next start reads the file")]
    Stopping,
}

fn lines(file: &str, changes: &[String]) -> String {
    let lines: Vec<_> = changes.iter().map(|change| format!("{file}: {change}")).collect();
    lines.join("\n")
}

impl Reload {
    /// Reads the file again, and applies it or changes nothing. What comes of it is logged.
    ///
    /// Cancel-safe: a reload that was asked for is run to its end, unless the service stops.
    ///
    /// # Errors
    /// When nothing was changed, and why.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(answer).await.map_err(|_| ReloadError::Stopping)?;
        answered.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// How the configuration in use came about.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }
}

/// Applies configurations to the running service.
#[derive(Debug)]
pub(super) struct Reloader {
    /// None when the service runs on something else than a file.
    pub(super) file: Option<PathBuf>,
    /// The configuration in use.
    pub(super) config: Config,
    pub(super) streams: Streams,
    pub(super) view: watch::Sender<Arc<View>>,
    /// Views by which calls may still be under way, which began before the last reload.
    pub(super) old_views: Vec<Weak<View>>,
    /// What producers are served with; None where they are served in clear.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
}

impl Reloader {
    /// Answers requests for reloads until `stopped` says so.
    pub(super) fn serve(
        self,
        stopped: watch::Receiver<bool>,
    ) -> (Reload, impl Future<Output = ()> + Send + 'static) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let read_at = self.clock.now();
        self.metrics.configured_seconds.set(read_at.0 / 1000);
        let standing = watch::Sender::new(Standing { read_at, ..Standing::default() });
        let reload = Reload { requests: sender, standing: standing.subscribe() };
        (reload, self.answer(requests, standing, stopped))
    }

    async fn answer(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        standing: watch::Sender<Standing>,
        mut stopped: watch::Receiver<bool>,
    ) {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = self.turns(&mut requests, &standing) => {}
        }
    }

    async fn turns(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        standing: &watch::Sender<Standing>,
    ) {
        loop {
            let event = tokio::select! {
                biased;
                request = requests.recv() => Event::Request(request),
                event = self.streams.removed.next() => Event::Removed(event),
            };
            match event {
                Event::Request(Some(request)) => {
                    let result = self.reload().await;
                    self.note(&result, standing);
                    // Who asked may have gone.
                    let _ = request.send(result);
                }
                Event::Request(None) => return,
                Event::Removed(event) => self.streams.see_out(event).await,
            }
        }
    }

    fn note(&self, result: &Result<Reloaded, ReloadError>, standing: &watch::Sender<Standing>) {
        match result {
            Ok(reloaded) => {
                if reloaded.is_whole() {
                    tracing::info!("{reloaded}");
                } else {
                    tracing::error!("{reloaded}");
                }
                let read_at = self.clock.now();
                self.metrics.configured_seconds.set(read_at.0 / 1000);
                standing.send_modify(|standing| {
                    standing.read_at = read_at;
                    standing.last_refusal = None;
                });
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    tracing::error!("the configuration was not reloaded: {line}");
                }
                self.metrics.refused_reloads.inc();
                standing.send_modify(|standing| {
                    standing.refused += 1;
                    standing.last_refusal = Some(error.to_string());
                });
            }
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let path = self.file.clone().ok_or(ReloadError::NoFile)?;
        let file = path.display().to_string();
        // The file, and those that it names for secrets.
        let config = tokio::task::spawn_blocking(move || load_file(&path, &SystemEnvironment));
        let config = config.await.map_err(|_| ReloadError::Stopping)??;
        let changes = needs_restart(&self.config, &config);
        if !changes.is_empty() {
            return Err(ReloadError::NeedsRestart { file, changes });
        }
        let faulty = |faults| ReloadError::Faults { file: file.clone(), faults };
        let tls = tls::load(&config, &self.disk);
        let tls = tls.map_err(|fault| faulty(Faults::new(vec![fault])))?;
        let mut current = self.streams.turn().await;
        let prepared = self.streams.prepare(config).await.map_err(faulty)?;
        prepared.check_tables().await.map_err(faulty)?;
        if let Err(error) = self.open(&prepared, &mut current, &file).await {
            self.streams.close_waiting(&mut current).await;
            return Err(error);
        }
        self.streams.run();
        if let (Some(tls), Some(read)) = (&self.tls, tls) {
            tls.follow(&read);
        }
        Ok(self.apply(prepared, &mut current, file).await)
    }

    /// Opens the streams that are new, and then has the catalogs know all tables: what cannot be
    /// taken back comes last.
    async fn open(
        &mut self,
        prepared: &Prepared,
        current: &mut Current,
        file: &str,
    ) -> Result<(), ReloadError> {
        self.streams.open(prepared, current).await?;
        let faulty = |faults| ReloadError::Faults { file: file.to_owned(), faults };
        prepared.define_tables().await.map_err(faulty)?;
        self.streams.keep(prepared).await?;
        self.streams.keep_tables(prepared).await;
        Ok(())
    }

    async fn apply(&mut self, prepared: Prepared, current: &mut Current, file: String) -> Reloaded {
        self.streams.take_up(&prepared);
        let unchanged = self.streams.change(&prepared, current).await;
        self.streams.follow(&prepared, current);
        let config = prepared.config;
        let before = self.view.send_replace(Arc::new(self.streams.view(&config)));
        let names = config.delivery_streams.keys();
        let added = names.filter(|name| !before.streams.contains_key(*name)).cloned();
        let added: Vec<StreamName> = added.collect();
        let removed = before.streams.keys();
        let removed = removed.filter(|name| !config.delivery_streams.contains_key(*name)).cloned();
        let removed: Vec<StreamName> = removed.collect();
        self.old_views.retain(|view| view.strong_count() > 0);
        self.old_views.push(Arc::downgrade(&before));
        drop(before);
        self.streams.take_out(&config, &self.old_views);
        let reloaded = Reloaded {
            file,
            stream_count: config.delivery_streams.len(),
            identity_count: config.identities.len(),
            added: added.iter().map(ToString::to_string).collect(),
            removed: removed.iter().map(ToString::to_string).collect(),
            unchanged: unchanged.iter().map(ToString::to_string).collect(),
        };
        self.config = config;
        reloaded
    }
}

/// The keys that differ and take a new start, each with what it is and what it would be.
fn needs_restart(running: &Config, read: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let mut compare = |key: &str, running: String, read: String| {
        if running != read {
            changes.push(format!(
                "{key}: it is {running} in the running service and {read} in the file: restart to \
                 change it, or put it back"
            ));
        }
    };
    let address = |address: std::net::SocketAddr| address.to_string();
    compare("server.listen", address(running.server.listen), address(read.server.listen));
    compare("server.admin", address(running.server.admin), address(read.server.admin));
    let tls =
        |config: &Config| if config.server.tls.is_some() { "set" } else { "absent" }.to_owned();
    compare("server.tls", tls(running), tls(read));
    let folder = |config: &Config| config.data_dir.display().to_string();
    compare("data_dir", folder(running), folder(read));
    let allowed = |config: &Config| config.allow_unsafe_volume.to_string();
    compare("allow_unsafe_volume", allowed(running), allowed(read));
    let deadline = |config: &Config| format!("{:?}", config.server.shutdown_deadline);
    compare("server.shutdown_deadline", deadline(running), deadline(read));
    let budget = |config: &Config| format!("{} bytes", config.disk_budget_bytes);
    compare("disk_budget", budget(running), budget(read));
    let memory = |config: &Config| format!("{} bytes", config.memory_bytes);
    compare("memory", memory(running), memory(read));
    changes
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, stream_count, identity_count, added, removed, unchanged } = self;
        write!(
            f,
            "{file} is in use: delivery streams {stream_count}, identities {identity_count}"
        )?;
        for (what, names) in [("new", added), ("no longer served", removed)] {
            if !names.is_empty() {
                write!(f, "; {what}: {}", names.join(", "))?;
            }
        }
        for reason in unchanged {
            write!(f, "; {reason}, its old settings hold")?;
        }
        Ok(())
    }
}
