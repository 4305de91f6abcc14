//! The assembly: the only place that names all concrete types and plugs them together.
//!
//! Owns the order of start and end. Start: lock -> tables -> journals -> pipelines -> listeners.
//! End: stop accepting -> finish calls -> pipelines deliver within their grace -> seal. Does not own
//! any step of the path.

mod directory;
mod tables;
mod copies;
mod lake;
mod follow;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub use self::directory::DirectoryError;
pub use self::repair::{Repair, StreamError, repair};

use self::copies::Copies;
use self::directory::DataDirectory;
use self::follow::{Followed, Followers};
use self::tables::Catalogs;
use crate::buffer::Hints;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, DeliveryStream, Fault, Faults, StoreUrl};
use crate::console::{self, Console};
use crate::deliver::{Credentials, Stores};
use crate::disk::{Disk, DiskBudget, OsDisk};
use crate::fault::Action;
use crate::ingest::{self, Auth, Bodies, ConnectionLimits, Counters, Description, Service};
use crate::journal::{Committer, Environment, Journal, OpenError, SyncTimer};
use crate::metrics::Metrics;
use crate::partition::Layout;
use crate::pipeline::{Handle, Parts, Pipeline, Recipe};
use crate::record::StreamName;
use crate::tasks::Tasks;

/// The region that ARNs name; calls signed for any region are accepted.
const REGION: &str = "us-east-1";
/// How long a stop waits for calls under way; a body that has not come by then is not stored.
const CALLS_GRACE: Duration = Duration::from_secs(5);
/// How long a stop waits for what is buffered to be delivered; what is left stays on disk.
const DELIVERY_GRACE: Duration = Duration::from_secs(25);
/// Beyond the grace, steps may end; then the process goes whatever they do.
const STOP_DEADLINE: Duration = Duration::from_secs(45);
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
    /// Something of the operating system was not to be had.
    #[error("could not {attempt}: {error}")]
    System {
        /// What was attempted.
        attempt: String,
        /// What the operating system said.
        error: std::io::Error,
    },
}

/// The running service.
#[derive(Debug)]
pub struct App {
    listen: SocketAddr,
    admin: SocketAddr,
    streams: BTreeMap<StreamName, Handle>,
    committer: Committer,
    accepting: Arc<AtomicBool>,
    stop_listeners: watch::Sender<bool>,
    stop_pipelines: watch::Sender<bool>,
    /// The stream whose pipeline ended first.
    pipeline_ended: watch::Sender<Option<StreamName>>,
    listeners: Tasks,
    pipelines: Tasks,
    followers: Followers,
    stop_followers: watch::Sender<bool>,
    _directory: DataDirectory,
}

/// Does everything that a start does before it touches the data directory or a port.
///
/// # Errors
/// All faults that only the catalogs can tell.
pub async fn check(config: &Config) -> Result<(), Faults> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let catalogs = tables::catalogs(config, &disk).await;
    tables::recipes(config, &catalogs, None).await.map(|_| ()).map_err(Faults::new)
}

/// The statements by which engines read the objects of a stream.
///
/// # Errors
/// When there is no such stream, or its table cannot be read.
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
    let definition = tables::definition(settings, &recipe);
    Ok(crate::catalog::ddl(&definition, &Layout::of(&recipe.prefix), &tenants))
}

impl App {
    /// Starts the service; when this returns it answers.
    ///
    /// # Errors
    /// When something that it needs is not to be had; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let catalogs = tables::catalogs(&config, &disk).await;
        let copies = Copies::new(disk.clone(), config.data_dir.clone());
        let recipes = tables::recipes(&config, &catalogs, Some(&copies)).await;
        let recipes = recipes.map_err(|faults| StartError::Faults(Faults::new(faults)))?;
        let directory = DataDirectory::open(disk.as_ref(), &config.data_dir)?;
        warn_of_strangers(&config, disk.as_ref(), &directory)?;
        define_tables(&config, &catalogs, &recipes).await?;

        let mut registry = Registry::with_prefix("lakehose");
        let metrics = Metrics::register(&mut registry);
        let counters = Arc::new(Counters::default());
        counters.register(&mut registry);
        let timer =
            SyncTimer { clock: clock.clone(), seconds: metrics.journal_sync_seconds.clone() };
        let committer = Committer::start(Some(timer)).map_err(system("start the journal"))?;
        let budget = Arc::new(DiskBudget::new(config.disk_budget_bytes));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let streams = Streams {
            config: &config,
            directory: &directory,
            recipes,
            catalogs,
            stores: Arc::new(stores(&config)),
            conversions: Arc::new(Semaphore::new(cores)),
            metrics,
            environment: Environment {
                disk: disk.clone(),
                clock: clock.clone(),
                committer: committer.clone(),
                budget,
                instance: directory.instance,
            },
        };
        let mut handles = BTreeMap::new();
        let mut entrances = BTreeMap::new();
        let mut pipelines = Vec::new();
        for (name, settings) in &config.delivery_streams {
            let (entrance, pipeline, handle) = streams.open(name, settings)?;
            entrances.insert(name.clone(), entrance);
            handles.insert(name.clone(), handle);
            pipelines.push((name.clone(), pipeline));
        }
        let followed: Vec<_> = config
            .delivery_streams
            .iter()
            .filter_map(|(name, stream)| Some((name.clone(), streams.followed(name, stream)?)))
            .collect();
        let (stop_followers, stopped_followers) = watch::channel(false);
        let followers =
            Followers::new(streams.stores.clone(), copies, Tasks::new(), stopped_followers);

        let listener = bind(config.server.listen).await?;
        let admin_listener = bind(config.server.admin).await?;
        let listen = listener.local_addr().map_err(system("learn the port"))?;
        let admin = admin_listener.local_addr().map_err(system("learn the port"))?;
        directory.note_addresses(disk.as_ref(), listen, admin)?;

        let accepting = Arc::new(AtomicBool::new(true));
        let service = Arc::new(Service {
            auth: auth(&config),
            streams: entrances,
            clock,
            counters,
            accepting: accepting.clone(),
            bodies: Bodies::default(),
            region: REGION.to_owned(),
        });
        let console =
            Arc::new(Console { streams: handles.clone(), registry, accepting: accepting.clone() });
        let (stop_listeners, stopped_listeners) = watch::channel(false);
        let (stop_pipelines, stopped_pipelines) = watch::channel(false);
        let app = Self {
            listen,
            admin,
            streams: handles,
            committer,
            accepting,
            stop_listeners,
            stop_pipelines,
            pipeline_ended: watch::Sender::new(None),
            listeners: Tasks::new(),
            pipelines: Tasks::new(),
            followers,
            stop_followers,
            _directory: directory,
        };
        for (name, pipeline) in pipelines {
            let run = pipeline.run(stopped_pipelines.clone(), DELIVERY_GRACE);
            let ended = app.pipeline_ended.clone();
            app.pipelines.spawn(format!("pipeline of {name}"), async move {
                // Also when it panics.
                let _told = ToldAtTheEnd { ended, name };
                run.await;
            });
        }
        for (name, followed) in followed {
            app.followers.follow(&name, app.streams[&name].clone(), followed);
        }
        for (name, listener, router) in [
            ("producer listener", listener, ingest::router(service)),
            ("admin listener", admin_listener, console::router(console)),
        ] {
            let mut stopped = stopped_listeners.clone();
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let limits = ConnectionLimits { grace: CALLS_GRACE, ..ConnectionLimits::default() };
            let serve = ingest::serve(listener, router, limits, stop);
            app.listeners.spawn(name, serve);
        }
        Ok(app)
    }

    /// Where producers are served.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where health, status and metrics are served.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The pipelines by stream.
    #[must_use]
    pub fn streams(&self) -> &BTreeMap<StreamName, Handle> {
        &self.streams
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

    /// Stops: no new calls, calls under way finish, what is buffered is delivered within a grace,
    /// the rest stays on disk for the next start.
    pub async fn stop(self) {
        self.accepting.store(false, Ordering::Relaxed);
        self.stop_listeners.send_replace(true);
        self.listeners.join(STOP_DEADLINE, STOP_PATIENCE).await;
        self.stop_followers.send_replace(true);
        self.stop_pipelines.send_replace(true);
        self.followers.tasks.join(STOP_DEADLINE, STOP_PATIENCE).await;
        self.pipelines.join(STOP_DEADLINE, STOP_PATIENCE).await;
    }
}

/// Tells that a pipeline has ended, in whatever way.
struct ToldAtTheEnd {
    ended: watch::Sender<Option<StreamName>>,
    name: StreamName,
}

impl Drop for ToldAtTheEnd {
    fn drop(&mut self) {
        let name = Some(self.name.clone());
        self.ended.send_if_modified(|first| {
            first.is_none() && {
                *first = name;
                true
            }
        });
    }
}

/// What every stream is opened with.
struct Streams<'a> {
    config: &'a Config,
    directory: &'a DataDirectory,
    recipes: BTreeMap<StreamName, Arc<Recipe>>,
    catalogs: Catalogs,
    stores: Arc<Stores>,
    conversions: Arc<Semaphore>,
    metrics: Metrics,
    environment: Environment,
}

impl Streams<'_> {
    /// What a follower needs; none for a stream whose table nobody else changes.
    fn followed(&self, name: &StreamName, stream: &DeliveryStream) -> Option<Followed> {
        Some(Followed {
            stream: stream.clone(),
            recipe: self.recipes[name].clone(),
            catalog: self.catalogs[&stream.schema.catalog].clone(),
            refresh: tables::refresh(self.config, stream)?,
        })
    }

    fn open(
        &self,
        name: &StreamName,
        settings: &DeliveryStream,
    ) -> Result<(ingest::Stream, Pipeline, Handle), StartError> {
        let environment = &self.environment;
        let (disk, clock) = (environment.disk.as_ref(), environment.clock.as_ref());
        let created = self.directory.created(disk, clock, name)?;
        let directory = self.directory.stream(name);
        let opened = Journal::open(environment, name, &directory)?;
        let journal = opened.journal.clone();
        let hints = Hints {
            size_bytes: settings.buffering.size_bytes,
            interval: settings.buffering.interval,
        };
        let (pipeline, handle) = Pipeline::new(Parts {
            stream: name.clone(),
            opened,
            directory,
            hints,
            recipe: self.recipes[name].clone(),
            catalogs: self.catalogs.clone(),
            stores: self.stores.clone(),
            disk: environment.disk.clone(),
            budget: environment.budget.clone(),
            clock: environment.clock.clone(),
            conversions: self.conversions.clone(),
            metrics: self.metrics.clone(),
        })
        .map_err(system(format!("open the outbox of stream {name}")))?;
        let store = &self.config.stores[&settings.destination.store];
        let description = Description {
            created,
            bucket: bucket(&store.url),
            prefix: settings.destination.prefix_text.clone(),
            error_prefix: settings.destination.error_prefix_text.clone(),
            buffering_mib: settings.buffering.size_bytes.div_ceil(1 << 20),
            buffering_seconds: settings.buffering.interval.as_secs(),
            database: settings.schema.database.clone(),
            table: settings.schema.table.clone(),
            catalog_region: REGION.to_owned(),
        };
        Ok((ingest::Stream { journal, description }, pipeline, handle))
    }
}

fn warn_of_strangers(
    config: &Config,
    disk: &dyn Disk,
    directory: &DataDirectory,
) -> Result<(), StartError> {
    let known = |name: &str| {
        StreamName::new(name).is_ok_and(|name| config.delivery_streams.contains_key(&name))
    };
    for name in directory.strangers(disk, known)? {
        tracing::warn!(
            stream = name,
            "the data directory holds a stream that the configuration does not have: what it has \
             not delivered waits until the stream is put back"
        );
    }
    Ok(())
}

async fn define_tables(
    config: &Config,
    catalogs: &Catalogs,
    recipes: &BTreeMap<StreamName, Arc<Recipe>>,
) -> Result<(), StartError> {
    for (name, stream) in &config.delivery_streams {
        let definition = tables::definition(stream, &recipes[name]);
        let catalog = &catalogs[&stream.schema.catalog];
        if let Err(error) = catalog.define(&definition).await {
            let can_wait = error.action() == Action::Retry;
            if can_wait && tables::refresh(config, stream).is_some() {
                tracing::error!(stream = %name, %error, "could not make the table; trying again");
                continue;
            }
            let fault = Fault::new(stream.schema.place.clone(), error);
            return Err(StartError::Faults(Faults::new(vec![fault])));
        }
    }
    Ok(())
}

fn auth(config: &Config) -> Auth {
    if config.identities.is_empty() {
        return Auth::Open;
    }
    let identities = config.identities.iter().map(|identity| {
        let known = ingest::Identity {
            secret: identity.secret.expose().to_owned(),
            tenant: identity.tenant.clone(),
            streams: identity.streams.clone(),
        };
        (identity.access_key.clone(), known)
    });
    Auth::Signed(identities.collect())
}

fn stores(config: &Config) -> Stores {
    let credentials = config.stores.iter().filter_map(|(name, store)| {
        let credentials = store.credentials.as_ref()?;
        let credentials = Credentials {
            access_key: credentials.access_key.clone(),
            secret: credentials.secret.expose().to_owned(),
        };
        Some((name.clone(), credentials))
    });
    Stores::new(credentials.collect())
}

fn bucket(url: &StoreUrl) -> String {
    match url {
        StoreUrl::S3 { bucket, .. } => bucket.clone(),
        StoreUrl::File { path } => {
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(system(format!("listen on {address}; is another process listening there?")))
}

fn system(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let attempt = attempt.into();
    move |error| StartError::System { attempt, error }
}
