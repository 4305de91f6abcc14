//! The assembly: the only place that names all concrete types and plugs them together.
//!
//! Owns the order of start and end. Start: lock -> tables -> journals -> pipelines -> listeners.
//! End: stop accepting -> finish calls -> pipelines deliver until the deadline -> seal. What a start
//! makes once stands here and in `streams`, what a `reload` makes again too. Does not own any step of
//! the path.

mod accesses;
mod definitions;
mod descriptors;
mod directory;
mod earlier;
mod hooks;
mod prepare;
mod preview;
mod tables;
mod streams;
mod reload;
mod removed;
mod tls;
mod copies;
mod lake;
mod follow;
mod repair;
mod refusals;
mod space;
mod verify;
mod view;
mod audit;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use self::audit::{
    AuditCount, AuditError, Difference, RestError, StreamAudit, audit, books_at_rest,
};
pub use self::directory::DirectoryError;
pub use self::preview::{PreviewError, Previewed, PreviewedObject, preview};
pub use self::refusals::Refusals;
pub use self::reload::{Reload, ReloadError, Reloaded, Standing};
pub use self::removed::Draining;
pub use self::repair::{Repair, StreamError, repair};
pub use self::streams::Handles;
pub use self::verify::{Finding, Severity, Verified, VerifyError, verify};

use self::copies::Copies;
use self::definitions::Definitions;
use self::directory::DataDirectory;
use self::follow::Followers;
use self::prepare::{KnownCatalogs, Prepared};
use self::reload::Reloader;
use self::removed::Resting;
use self::streams::{Running, Shared, Streams};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Faults};
use crate::console::{self, Console};
use crate::deliver::{Accesses, Stores};
use crate::disk::{Disk, DiskBudget, OsDisk, ReservedDisk};
use crate::ingest::{self, Bodies, ConnectionLimits, Counters, Listener, Service, Tls};
use crate::journal::{Committer, Environment, OpenError, RememberedCalls, SegmentSizes, SyncTimer};
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::partition::Layout;
use crate::pipeline::{AT_ONCE, Left, PipelineError, Pool};
use crate::record::StreamName;
use crate::tasks::Tasks;

/// The region that ARNs name; calls signed for any region are accepted.
const REGION: &str = "us-east-1";
/// How long a stop waits for calls under way; a body that has not come by then is not stored.
const CALLS_GRACE: Duration = Duration::from_secs(5);
/// The same for those of operators, at the very end.
const LOOKS_GRACE: Duration = Duration::from_secs(1);
/// How long steps may take to end beyond the deadline of a stop; then the process goes whatever they
/// do.
const STOP_SLACK: Duration = Duration::from_secs(10);
/// The same once a stop is to be at once.
const HURRY_SLACK: Duration = Duration::from_secs(2);
/// How long a stop waits before it tells what it waits for.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not fit its catalogs.
    #[error("the configuration has faults")]
    Faults(Faults),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A pipeline cannot be made.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Something of the operating system was not to be had.
    #[error("could not {attempt}: {error}")]
    System {
        /// What was attempted.
        attempt: String,
        /// What the operating system said.
        error: std::io::Error,
    },
}

/// How a service has ended.
#[derive(Debug)]
pub struct Stopped {
    /// Whether every stream had the time to close its files.
    pub in_order: bool,
    /// What waits for the next start, of each stream that has any and told of it.
    pub left: BTreeMap<StreamName, Left>,
    /// Streams that the configuration has no more, were not open, and have an unknown amount left.
    pub unknown: Vec<StreamName>,
}

/// The running service.
#[derive(Debug)]
pub struct App {
    listen: SocketAddr,
    admin: SocketAddr,
    tls: Option<Arc<Tls>>,
    committer: Committer,
    reload: Reload,
    accepting: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    shutdown_deadline: Duration,
    /// Goes on to the pipelines, and to whoever waits for calls.
    stop_pipelines: watch::Sender<Option<Duration>>,
    stop_listeners: watch::Sender<bool>,
    stop_console: watch::Sender<bool>,
    left: Arc<Mutex<BTreeMap<StreamName, Left>>>,
    /// What streams have that are not open.
    resting: watch::Receiver<Resting>,
    /// The stream whose pipeline ended first.
    pipeline_ended: watch::Sender<Option<StreamName>>,
    listeners: Tasks,
    console: Tasks,
    pipelines: Tasks,
    followers: Tasks,
    stop_followers: watch::Sender<bool>,
    /// Its lock is held to the very end.
    directory: Arc<DataDirectory>,
}

/// Does everything that a start does before it touches the data directory or a port; returns what is
/// no fault, and is likely not meant.
///
/// # Errors
/// All faults that only the catalogs can tell.
pub async fn check(config: &Config) -> Result<Faults, Faults> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let mut faults: Vec<_> = tls::load(config, &disk).err().into_iter().collect();
    faults.extend(hooks::missing_programs(config));
    let prepared = Prepared::new(config.clone(), &disk, &KnownCatalogs::new(), None).await;
    let checked = match &prepared {
        Ok(prepared) => prepared.check_tables().await,
        Err(faults) => Err(faults.clone()),
    };
    faults.extend(checked.err().iter().flat_map(Faults::as_slice).cloned());
    if !faults.is_empty() {
        return Err(Faults::new(faults));
    }
    let mut warnings = config.warnings.as_slice().to_vec();
    warnings.extend(prepared.iter().flat_map(Prepared::warnings));
    Ok(Faults::new(warnings))
}

/// Why a start on this machine, by this user, would refuse the data directory, as far as that can be
/// told without touching it. Another process may have it: that is not asked.
///
/// # Errors
/// The reason.
pub fn check_directory(config: &Config) -> Result<(), DirectoryError> {
    directory::look(&OsDisk, &config.data_dir, config.allow_unsafe_volume).map(|_| ())
}

/// The statements by which engines read the objects of a stream.
///
/// # Errors
/// When there is no such stream, its objects have no rows, or its table cannot be read.
pub async fn ddl(config: &Config, stream: &str) -> Result<String, StreamError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let (name, settings) = repair::find(config, stream)?;
    let catalogs = tables::catalogs(config, &disk).await;
    let recipe = tables::recipe(config, &catalogs, (name, settings), None).await;
    let recipe = recipe.map_err(|fault| StreamError::Faults(Faults::new(vec![fault])))?;
    let writers = config.identities.iter().filter(|identity| identity.may_write(name));
    let tenants: BTreeSet<String> =
        writers.filter_map(|identity| Some(identity.tenant.as_ref()?.to_string())).collect();
    let tenants: Vec<String> = tenants.into_iter().collect();
    let defined = tables::definition(settings, &recipe);
    let (_, definition) = defined.ok_or_else(|| StreamError::NoRows(name.clone()))?;
    Ok(crate::catalog::ddl(&definition, &Layout::of(&recipe.prefix), &tenants))
}

impl App {
    /// Starts the service; when this returns it answers. `file` is what `config` was read from, if
    /// it can be read again.
    ///
    /// # Errors
    /// When something that it needs is not to be had; nothing is left running then.
    pub async fn start(config: Config, file: Option<PathBuf>) -> Result<Self, StartError> {
        let reserved = Arc::new(ReservedDisk::new(Arc::new(OsDisk), &config.data_dir));
        let disk: Arc<dyn Disk> = reserved.clone();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let tls = tls::load(&config, &disk);
        let tls = tls.map_err(|fault| StartError::Faults(Faults::new(vec![fault])))?;
        let copies = Copies::new(disk.clone(), config.data_dir.clone());
        let known = KnownCatalogs::new();
        let prepared = Prepared::new(config, &disk, &known, Some(&copies)).await;
        let prepared = prepared.map_err(StartError::Faults)?;
        let config = &prepared.config;
        let directory =
            DataDirectory::open(disk.as_ref(), &config.data_dir, config.allow_unsafe_volume)?;
        prepared.check_tables().await.map_err(StartError::Faults)?;
        prepared.define_tables().await.map_err(StartError::Faults)?;

        let mut registry = Registry::with_prefix("lakehose");
        let metrics = Metrics::register(&mut registry);
        let counters = Arc::new(Counters::default());
        counters.register(&mut registry);
        let timer =
            SyncTimer { clock: clock.clone(), seconds: metrics.journal_sync_seconds.clone() };
        let committer = Committer::start(Some(timer)).map_err(system("start the journal"))?;
        let budget = Arc::new(DiskBudget::new(config.disk_budget_bytes));
        let memory = Arc::new(MemoryBudget::new(config.memory_bytes));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let environment = Environment {
            disk: disk.clone(),
            clock: clock.clone(),
            committer: committer.clone(),
            budget: budget.clone(),
            instance: directory.instance,
            remembered_calls: RememberedCalls::new(memory.remembered_calls()),
            segments: SegmentSizes::default(),
        };
        let directory = Arc::new(directory);
        let data_dir = config.data_dir.clone();
        let space = space::Space { disk: reserved, data_dir, budget: environment.budget.clone() };
        space.look().await;
        let (stop_listeners, stopped_listeners) = watch::channel(false);
        let (stop_console, stopped_console) = watch::channel(false);
        let (stop_pipelines, stopped_pipelines) = watch::channel(None);
        let (stop_followers, stopped_followers) = watch::channel(false);
        let (listeners, pipelines, follower_tasks) = (Tasks::new(), Tasks::new(), Tasks::new());
        let (console_tasks, left) = (Tasks::new(), Arc::default());
        follower_tasks.spawn("free space", space.follow(stopped_followers.clone()));
        let pipeline_ended = watch::Sender::new(None);
        let shared = Shared {
            directory: directory.clone(),
            environment,
            stores: Arc::new(Stores::new(Accesses::default())),
            definitions: Definitions::new(disk.clone(), config.data_dir.clone()),
            pool: Pool::new(cores, memory.conversions.clone()),
            memory: memory.clone(),
            metrics: metrics.clone(),
        };
        let running = Running {
            tasks: pipelines.clone(),
            stopped: stopped_pipelines,
            left: Arc::clone(&left),
            ended: pipeline_ended.clone(),
        };
        let followers = Followers::new(
            shared.stores.clone(),
            copies,
            follower_tasks.clone(),
            stopped_followers,
        );
        let mut streams = Streams::new(shared, running, followers);
        let mut current = streams.turn().await;
        Box::pin(streams.open(&prepared, &mut current)).await?;
        streams.keep(&prepared).await?;
        streams.take_up(&prepared);
        Box::pin(streams.keep_tables(&prepared)).await;
        streams.find_removed(config)?;

        let listener = bind(config.server.listen, "server.listen").await?;
        let admin_listener = bind(config.server.admin, "server.admin").await?;
        let listen = listener.local_addr().map_err(system("learn the port"))?;
        let admin = admin_listener.local_addr().map_err(system("learn the port"))?;
        directory.note_addresses(disk.as_ref(), listen, admin)?;
        streams.run();
        streams.follow(&prepared, &current);
        drop(current);

        let accepting = Arc::new(AtomicBool::new(true));
        let view = watch::Sender::new(Arc::new(streams.view(config)));
        let service = Arc::new(Service {
            view: view.subscribe(),
            clock: clock.clone(),
            counters,
            accepting: accepting.clone(),
            bodies: Bodies::new(memory.bodies_bytes()),
            region: REGION.to_owned(),
        });
        let (handles, stream_count) = (streams.handles(), config.delivery_streams.len());
        let (draining, resting) = (streams.removed.shown(), streams.removed.resting());
        let (watcher, watched) = (clock.clone(), stopped_listeners.clone());
        let (shutdown_deadline, stop_clock) = (config.server.shutdown_deadline, clock.clone());
        let reloader = Reloader {
            file,
            config: prepared.config,
            streams,
            view,
            old_views: Vec::new(),
            tls: tls.clone(),
            disk,
            clock,
            metrics,
        };
        let (reload, reloads) = reloader.serve(stopped_listeners.clone());
        listeners.spawn("reload", reloads);
        let refusals = Refusals::default();
        let look = refusals.clone().follow(handles.clone(), watcher, watched);
        listeners.spawn("refusals", look);
        let console = Arc::new(Console {
            streams: handles,
            draining,
            budget,
            refusals,
            registry,
            accepting: accepting.clone(),
            reload: reload.clone(),
        });
        if let Some(tls) = tls.clone() {
            let mut stopped = stopped_listeners.clone();
            listeners.spawn("certificate", async move {
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => {}
                    () = tls.keep_current() => {}
                }
            });
        }
        let listener = Listener { tcp: listener, tls: tls.clone() };
        let admin_listener = Listener { tcp: admin_listener, tls: None };
        let limits = ConnectionLimits {
            connection_count_max: descriptors::connection_count_max(stream_count),
            grace: CALLS_GRACE.min(shutdown_deadline),
            ..ConnectionLimits::default()
        };
        // Operators are served to the end: they see what a stop waits for.
        let admin_limits = ConnectionLimits {
            connection_count_max: descriptors::ADMIN_CONNECTIONS_MAX,
            grace: LOOKS_GRACE.min(shutdown_deadline),
            ..limits
        };
        let producers = (listener, ingest::router(service), limits, stopped_listeners);
        let operators = (admin_listener, console::router(console), admin_limits, stopped_console);
        for (name, tasks, (listener, router, limits, mut stopped)) in [
            ("producer listener", &listeners, producers),
            ("admin listener", &console_tasks, operators),
        ] {
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            tasks.spawn(name, ingest::serve(listener, router, limits, stop));
        }
        Ok(Self {
            listen,
            admin,
            tls,
            committer,
            reload,
            accepting,
            clock: stop_clock,
            shutdown_deadline,
            stop_pipelines,
            stop_listeners,
            stop_console,
            left,
            resting,
            pipeline_ended,
            listeners,
            console: console_tasks,
            pipelines,
            followers: follower_tasks,
            stop_followers,
            directory,
        })
    }

    /// Where producers are served.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The certificate that producers are served with; `None` where they are served in clear.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// Where health, status and metrics are served.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Asks for the configuration to be read again.
    #[must_use]
    pub fn reload(&self) -> &Reload {
        &self.reload
    }

    /// Waits until the service cannot go on, and tells why: the disk under the journal has failed,
    /// or a pipeline has ended while its stream still accepts records.
    pub async fn failed(&self) -> String {
        let mut ended = self.pipeline_ended.subscribe();
        tokio::select! {
            reason = self.committer.failed() => reason,
            Ok(stream) = ended.wait_for(Option::is_some) => {
                let stream = stream.as_ref().map_or("", StreamName::as_str);
                format!("the pipeline of stream {stream} has ended")
            }
        }
    }

    /// Where everything is kept that is not delivered.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// How long a stop delivers what is buffered.
    #[must_use]
    pub fn shutdown_deadline(&self) -> Duration {
        self.shutdown_deadline
    }

    /// Stops: no new calls, calls under way finish, what is buffered is delivered until the deadline,
    /// the rest stays on disk for the next start. Tells what that is.
    pub async fn stop(&self) -> Stopped {
        self.accepting.store(false, Ordering::Relaxed);
        let deadline = self.clock.steady() + self.shutdown_deadline;
        let longest = self.shutdown_deadline + STOP_SLACK;
        self.stop_listeners.send_replace(true);
        self.stop_followers.send_replace(true);
        tokio::select! {
            _ = self.listeners.join(longest, STOP_PATIENCE) => {}
            // Their connections end with the wait for them.
            () = self.hurried() => {}
        }
        self.stop_pipelines.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(deadline);
            is_first
        });
        let pipelines = async {
            let in_order = self.pipelines.join(longest, STOP_PATIENCE).await;
            self.stop_console.send_replace(true);
            self.console.join(STOP_SLACK, STOP_PATIENCE).await;
            in_order
        };
        let all = futures::future::join(pipelines, self.followers.join(longest, STOP_PATIENCE));
        let in_order = tokio::select! {
            (in_order, _) = all => in_order,
            () = async {
                self.hurried().await;
                tokio::time::sleep(HURRY_SLACK).await;
            } => false,
        };
        let told = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = told.clone();
        let mut unknown = Vec::new();
        for (name, resting) in &*self.resting.borrow() {
            match resting {
                Some(resting) => _ = left.entry(name.clone()).or_insert(*resting),
                None if left.contains_key(name) => {}
                None => unknown.push(name.clone()),
            }
        }
        left.retain(|_, left| !left.is_nothing());
        Stopped { in_order, left, unknown }
    }

    /// Has a stop that is under way, or to come, deliver nothing more.
    pub fn hurry(&self) {
        self.stop_pipelines.send_replace(Some(AT_ONCE));
    }

    async fn hurried(&self) {
        let mut stop = self.stop_pipelines.subscribe();
        // It cannot go while it is borrowed.
        let _ = stop.wait_for(|stop| *stop == Some(AT_ONCE)).await;
    }
}

async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => ": end the process that listens there, or write another port",
            ErrorKind::AddrNotAvailable => ": write an address of this machine, or 0.0.0.0",
            ErrorKind::PermissionDenied => ": write a port from 1024 on",
            _ => "",
        };
        let error = std::io::Error::new(error.kind(), format!("{error}{remedy}"));
        system(format!("listen on {address}, the address of {key}"))(error)
    })
}

fn system(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let attempt = attempt.into();
    move |error| StartError::System { attempt, error }
}
