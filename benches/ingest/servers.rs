//! The servers: processes on one core that are told what to do by lines on their standard input.
//!
//! Owns how a server is started, what it is asked and what it has spent. Does not own calls.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines, StdinLock, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use lakehose::clock::SystemClock;
use lakehose::disk::{DiskBudget, OsDisk};
use lakehose::ingest::{
    self, Auth, Bodies, ConnectionLimits, Content, Counters, Description, Identity, Listener,
    Service, Stream, View,
};
use lakehose::journal::{
    Checkpoint, Committer, Environment, Journal, RememberedCalls, SegmentSizes, SyncTimer,
};
use lakehose::positions::Positions;
use lakehose::record::{Position, StreamName, UnixMillis};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

use super::producer::{ACCESS_KEY, Producer, RECORD_BYTES, SECRET, STREAM};
use super::{SERVE, SERVER_CORE, pinned};

/// What a server is asked for.
const SYNCS: &str = "syncs";
const HASH: &str = "hash";
const WRITE: &str = "write";

/// What a server does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Collects bodies and answers.
    Collect,
    /// Ours, for everybody.
    Open,
    /// Ours, for signed calls.
    Signed,
    /// Serves nobody; hashes, and writes and syncs.
    Bare,
}

impl Kind {
    const ALL: [(Self, &str); 4] = [
        (Self::Collect, "collect"),
        (Self::Open, "open"),
        (Self::Signed, "signed"),
        (Self::Bare, "bare"),
    ];

    /// The kind of this name.
    pub(crate) fn of(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|(_, known)| *known == name);
        found.expect("the bench names its servers").0
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(kind, _)| *kind == self);
        found.expect("all are there").1
    }
}

/// What a server has done in a round, and what that took.
pub(crate) struct Spent {
    records: u64,
    syncs: u64,
    wall: Duration,
    cpu: Duration,
}

impl Spent {
    /// CPU time.
    pub(crate) fn nanoseconds_per_record(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.records as f64
    }

    /// Records that became durable together.
    pub(crate) fn records_per_sync(&self) -> f64 {
        self.records as f64 / self.syncs as f64
    }

    /// The bytes of their frames, about.
    pub(crate) fn bytes_per_sync(&self) -> usize {
        (self.records_per_sync() * (RECORD_BYTES + 10) as f64) as usize
    }

    /// Records by the clock.
    pub(crate) fn records_per_second(&self) -> f64 {
        self.records as f64 / self.wall.as_secs_f64()
    }

    /// Syncs by the clock.
    pub(crate) fn syncs_per_second(&self) -> f64 {
        self.syncs as f64 / self.wall.as_secs_f64()
    }
}

/// A server as its client sees it.
pub(crate) struct Server {
    process: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    /// Starts one on its core.
    pub(crate) fn start(kind: Kind) -> Self {
        let mut command = pinned(SERVER_CORE);
        command.args([SERVE, kind.name()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("taskset is there");
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut server = Self { process, orders, answers, port: 0 };
        server.port = server.answer() as u16;
        server
    }

    /// What it spends while `call`, which is told the port, has records taken and counts them.
    pub(crate) fn serve(&mut self, call: impl FnOnce(u16) -> u64) -> Spent {
        let syncs = self.ask(SYNCS, 0, Duration::ZERO);
        let port = self.port;
        let mut spent = self.measure(|_| call(port));
        spent.syncs = self.ask(SYNCS, 0, Duration::ZERO) - syncs;
        spent
    }

    /// What hashing bodies of `records` records takes.
    pub(crate) fn hash(&mut self, records: usize, round: Duration) -> Spent {
        self.measure(|server| server.ask(HASH, records, round) * records as u64)
    }

    /// What writing groups of `bytes` bytes takes, each with an `fdatasync`.
    pub(crate) fn write(&mut self, bytes: usize, round: Duration) -> Spent {
        let mut syncs = 0;
        let mut spent = self.measure(|server| {
            syncs = server.ask(WRITE, bytes, round);
            syncs * bytes as u64 / RECORD_BYTES as u64
        });
        spent.syncs = syncs;
        spent
    }

    #[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
    fn measure(&mut self, work: impl FnOnce(&mut Self) -> u64) -> Spent {
        let (cpu, started) = (self.cpu(), Instant::now());
        let records = work(self);
        Spent { records, syncs: 0, wall: started.elapsed(), cpu: self.cpu() - cpu }
    }

    /// CPU time of all threads, in user and kernel.
    fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        let nanoseconds = threads.expect("Linux tells").map(|thread| {
            let path = thread.expect("a thread").path().join("schedstat");
            let text = fs::read_to_string(path).expect("the kernel counts what threads run");
            let first = text.split(' ').next().expect("three numbers");
            first.parse::<u64>().expect("nanoseconds")
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    fn ask(&mut self, what: &str, size: usize, time: Duration) -> u64 {
        let orders = self.orders.as_mut().expect("a pipe");
        writeln!(orders, "{what} {size} {}", time.as_millis()).expect("the server listens");
        self.answer()
    }

    fn answer(&mut self) -> u64 {
        let line = self.answers.next().expect("the server lives").expect("it answers");
        line.parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At the end of its input it ends.
        self.orders = None;
        let _ = self.process.wait();
    }
}

/// The whole life of a server.
pub(crate) fn serve(kind: Kind) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let syncs = Histogram::new([]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let tcp = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let port = tcp.local_addr().expect("a port").port();
    match kind {
        Kind::Collect => drop(runtime.spawn(collect(tcp))),
        Kind::Open => drop(runtime.spawn(ours(tcp, Auth::Open, folder.path(), &syncs))),
        Kind::Signed => drop(runtime.spawn(ours(tcp, signed(), folder.path(), &syncs))),
        Kind::Bare => {}
    }
    println!("{port}");
    let input: Lines<StdinLock<'_>> = std::io::stdin().lines();
    for line in input {
        let line = line.expect("the client lives");
        let mut words = line.split(' ');
        let what = words.next().expect("a word");
        let mut number = || words.next().expect("a number").parse().expect("a number");
        let (size, time) = (number() as usize, Duration::from_millis(number()));
        println!(
            "{}",
            match what {
                SYNCS => count(&syncs),
                HASH => hash(size, time),
                WRITE => write(size, time),
                _ => panic!("no such order: {what}"),
            }
        );
    }
    runtime.shutdown_background();
}

/// How often a histogram was told something: it says so only to who reads its page.
fn count(histogram: &Histogram) -> u64 {
    let mut registry = Registry::default();
    registry.register("syncs", "", histogram.clone());
    let mut page = String::new();
    encode(&mut page, &registry).expect("a string takes any text");
    let mut lines = page.lines();
    let count = lines.find_map(|line| line.strip_prefix("syncs_count ")).expect("it is there");
    count.parse().expect("a number")
}

fn hash(records: usize, time: Duration) -> u64 {
    let producer = Producer::new(records);
    repeat(time, |number| {
        let bodies = producer.bodies();
        let hash = digest::digest(&digest::SHA256, &bodies[number as usize % bodies.len()]);
        std::hint::black_box(hash);
    })
}

fn write(bytes: usize, time: Duration) -> u64 {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = File::create(folder.path().join("bare")).expect("the file is created");
    let group = vec![b'x'; bytes];
    repeat(time, |number| {
        file.write_all_at(&group, number * bytes as u64).expect("the disk writes");
        file.sync_data().expect("the disk syncs");
    })
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn repeat(time: Duration, mut work: impl FnMut(u64)) -> u64 {
    let deadline = Instant::now() + time;
    let mut count = 0;
    while Instant::now() < deadline {
        work(count);
        count += 1;
    }
    count
}

fn signed() -> Auth {
    let secret = Some(SECRET.to_owned());
    let identity = Identity { secret, token: None, tenant: None, streams: None };
    Auth::Signed([(ACCESS_KEY.to_owned(), identity)].into())
}

/// Our server over a journal in `folder`.
fn ours(
    tcp: TcpListener,
    auth: Auth,
    folder: &Path,
    syncs: &Histogram,
) -> impl Future<Output = ()> + use<> {
    let clock = Arc::new(SystemClock::start());
    let timer = SyncTimer { clock: clock.clone(), seconds: syncs.clone() };
    let environment = Environment {
        disk: Arc::new(OsDisk),
        clock: clock.clone(),
        committer: Committer::start(Some(timer)).expect("threads start"),
        budget: Arc::new(DiskBudget::new(1 << 40)),
        instance: Uuid::from_u128(7),
        remembered_calls: RememberedCalls::new(600_000),
        segments: SegmentSizes::default(),
    };
    let name = StreamName::new(STREAM).expect("a name");
    let journal = Journal::open(&environment, &name, folder).expect("the journal opens").journal;
    let delivery = deliver(journal.clone());
    let stream = Stream { journal, description: description() };
    let view = View { auth, streams: [(name, stream)].into() };
    let service = Service {
        view: watch::Sender::new(Arc::new(view)).subscribe(),
        clock,
        counters: Arc::new(Counters::default()),
        accepting: Arc::new(AtomicBool::new(true)),
        bodies: Bodies::new(256 << 20),
        region: "us-east-1".into(),
    };
    let router = ingest::router(Arc::new(service));
    let listener = Listener { tcp, tls: None };
    let never = std::future::pending();
    let served = ingest::serve(listener, router, ConnectionLimits::default(), never);
    async {
        tokio::join!(served, delivery);
    }
}

/// Does with the records what a delivery does to the journal that keeps up with them: segments that
/// are full are settled, and their files go round.
async fn deliver(journal: Journal) {
    let (mut end, mut mark) = (journal.end(), journal.mark());
    while end.changed().await.is_ok() {
        if journal.sealed_since(mark) == 0 {
            continue;
        }
        mark = journal.mark();
        let end = *end.borrow();
        let settled = Positions::from_run(Position(0), end.0);
        let checkpoint = Checkpoint { end, settled, delivered: end.0, ..Checkpoint::default() };
        let journal = journal.clone();
        let written = tokio::task::spawn_blocking(move || journal.checkpoint(&checkpoint, mark));
        written.await.expect("no panic").expect("the disk takes a checkpoint");
    }
}

fn description() -> Description {
    Description {
        created: UnixMillis(0),
        bucket: "lake".into(),
        prefix: String::new(),
        error_prefix: String::new(),
        time_zone: None,
        file_extension: None,
        buffering_mib: 64,
        buffering_seconds: 60,
        content: Content::Records { compression: "GZIP", appends_delimiter: false },
        processors: Vec::new(),
        is_partitioned_by_keys: false,
        backup: None,
    }
}

/// A server with the settings of ours that collects the body of a call and answers.
#[expect(clippy::disallowed_methods, reason = "nobody waits for these tasks")]
async fn collect(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let service = service_fn(|request: hyper::Request<Incoming>| async move {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let length = body.len().to_string();
            Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(length))))
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        let head_time_max = ConnectionLimits::default().head_time_max;
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time_max)
            .keep_alive(true)
            .max_headers(100)
            .max_buf_size(32 * 1024);
        tokio::spawn(async move {
            builder.serve_connection(TokioIo::new(stream), service).await.expect("a client");
        });
    }
}
