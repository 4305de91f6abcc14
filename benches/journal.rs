//! Appends to the journal on a real folder: `cargo bench --bench journal -- [SECONDS]`.
//!
//! Records of 1 KiB in calls of 1, 50 and 500, from 1 and from 64 callers, each of which sends its
//! next call when the one before is on disk. The yardstick in the same run is a bare loop of one
//! thread that writes as many bytes as all callers can have waiting, at most a group of the
//! journal, and calls `fdatasync`. Figures of different runs do not compare; ratios of one run do.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lakehose::clock::SystemClock;
use lakehose::disk::{DiskBudget, OsDisk};
use lakehose::journal::{Batch, Committer, Environment, Journal, RememberedCalls, SegmentSizes};
use lakehose::record::{StreamName, UnixMillis};
use tokio::task::JoinSet;
use uuid::Uuid;

/// That of the service.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SECONDS_DEFAULT: f64 = 2.0;
const RECORD_BYTES: usize = 1024;
/// The journal's own bound of a group.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// What `/proc/self/stat` counts CPU time in, on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let seconds = arguments.next().map_or(SECONDS_DEFAULT, |text| {
        text.parse().expect("the first argument is a number of seconds for each case")
    });
    let patience = Duration::from_secs_f64(seconds);
    println!("records of {RECORD_BYTES} B, {seconds} s a case; journal / bare write + fdatasync");
    println!(
        "{:>7} {:>7} | {:>10} {:>8} {:>9} | {:>10} {:>8} {:>9} | {:>6} {:>6}",
        "callers",
        "a call",
        "records/s",
        "MB/s",
        "CPU s/MiB",
        "records/s",
        "MB/s",
        "CPU s/MiB",
        "speed",
        "CPU"
    );
    for callers in [1, 64] {
        for records in [1, 50, 500] {
            let before = bare(callers * records, patience);
            let journal = journal(callers, records, patience);
            let after = bare(callers * records, patience);
            // The faster of two, so that a slow moment of the disk does not flatter the journal.
            let is_first = before.bytes_per_second() > after.bytes_per_second();
            let bare = if is_first { before } else { after };
            println!(
                "{callers:>7} {records:>7} | {journal} | {bare} | {:>5.2}x {:>5.2}x",
                journal.bytes_per_second() / bare.bytes_per_second(),
                journal.cpu_per_mib() / bare.cpu_per_mib(),
            );
        }
    }
}

/// What was made durable, and what it took.
struct Measured {
    records: u64,
    wall: Duration,
    cpu_seconds: f64,
}

impl Measured {
    fn bytes(&self) -> f64 {
        (self.records * RECORD_BYTES as u64) as f64
    }

    fn bytes_per_second(&self) -> f64 {
        self.bytes() / self.wall.as_secs_f64()
    }

    fn cpu_per_mib(&self) -> f64 {
        self.cpu_seconds / (self.bytes() / f64::from(1 << 20))
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let per_second = self.bytes_per_second();
        let records = per_second / RECORD_BYTES as f64;
        write!(f, "{records:>10.0} {:>8.1} {:>9.5}", per_second / 1e6, self.cpu_per_mib())
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn measure(work: impl FnOnce() -> u64) -> Measured {
    let (cpu, started) = (cpu_seconds(), Instant::now());
    let records = work();
    Measured { records, wall: started.elapsed(), cpu_seconds: cpu_seconds() - cpu }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn deadline_in(patience: Duration) -> Instant {
    Instant::now() + patience
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn is_over(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

/// One thread that writes and syncs groups of `records`, as far as one group goes.
fn bare(records: usize, patience: Duration) -> Measured {
    let group = vec![b'x'; (records * RECORD_BYTES).min(GROUP_BYTES_MAX)];
    let folder = folder();
    let file = File::create(folder.path().join("bare")).expect("the file is created");
    let deadline = deadline_in(patience);
    measure(|| {
        let mut offset = 0;
        while !is_over(deadline) {
            file.write_all_at(&group, offset).expect("the disk writes");
            file.sync_data().expect("the disk syncs");
            offset += group.len() as u64;
        }
        offset / RECORD_BYTES as u64
    })
}

/// `callers` that each append `records` at a time.
fn journal(callers: usize, records: usize, patience: Duration) -> Measured {
    let folder = folder();
    let journal = open(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let deadline = deadline_in(patience);
    measure(|| {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..callers {
                tasks.spawn(call(journal.clone(), records, deadline));
            }
            let appended = tasks.join_all().await;
            appended.into_iter().sum()
        })
    })
}

async fn call(journal: Journal, records: usize, deadline: Instant) -> u64 {
    let record = [b'x'; RECORD_BYTES];
    let mut appended = 0;
    while !is_over(deadline) {
        let mut batch = Batch::new(None, UnixMillis(0));
        batch.reserve(records * RECORD_BYTES);
        (0..records).for_each(|_| batch.push(&record));
        appended += journal.append(batch).await.expect("the journal appends").count;
    }
    appended
}

fn open(folder: &Path) -> Journal {
    let environment = Environment {
        disk: Arc::new(OsDisk),
        clock: Arc::new(SystemClock::start()),
        committer: Committer::start(None).expect("threads start"),
        budget: Arc::new(DiskBudget::new(1 << 40)),
        instance: Uuid::from_u128(7),
        remembered_calls: RememberedCalls::new(1000),
        segments: SegmentSizes::default(),
    };
    let stream = StreamName::new("bench").expect("a name");
    Journal::open(&environment, &stream, folder).expect("the journal opens").journal
}

/// A folder on the disk of the build, gone when it is dropped.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// CPU time of all threads of the process, in user and kernel.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells");
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks / TICKS_PER_SECOND
}
