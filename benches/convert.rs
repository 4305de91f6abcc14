//! JSON to Parquet on one thread: `cargo bench --bench convert -- [MEGABYTES] [CORPUS]`.
//!
//! Makes the same records on every run, converts them and prints megabytes of JSON per second of CPU
//! time and of the clock, and the size of the file. The yardstick in the same run is a plain loop
//! that parses the same records to `serde_json::Value` and does nothing with them. Figures of
//! different runs do not compare; ratios of one run do.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use lakehose::convert::{Encoder, Format, Schema};
use lakehose::table::{Column, HiveType};

use self::corpora::{CORPORA, Corpus};

mod corpora;

const MEGABYTES_DEFAULT: usize = 64;
const ROUNDS: usize = 3;

fn main() {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let megabytes = arguments.next().map_or(MEGABYTES_DEFAULT, |text| {
        text.parse().expect("the first argument is a number of megabytes")
    });
    let wanted = arguments.next();
    println!("{megabytes} MB of JSON a corpus, median of {ROUNDS} rounds, one thread");
    for corpus in CORPORA {
        if wanted.as_deref().is_none_or(|name| name == corpus.name) {
            measure(&corpus, megabytes * 1_000_000);
        }
    }
}

fn measure(corpus: &Corpus, size_bytes: usize) {
    let (json, ends) = make_records(corpus, size_bytes);
    let records: Vec<&[u8]> = std::iter::once(&0)
        .chain(&ends)
        .zip(&ends)
        .map(|(start, end)| &json.as_bytes()[*start..*end])
        .collect();
    let format = Format::Parquet(Arc::new(schema_of(corpus)));
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut output_bytes = 0;
    for _ in 0..ROUNDS {
        ours.push(Spent::on(|| {
            let mut encoder = Encoder::new(&format).expect("an encoder");
            for record in &records {
                encoder.push(record).expect("records fit their table");
            }
            let encoded = encoder.finish(&[]).expect("a finished file");
            assert_eq!(encoded.row_count, records.len() as u64);
            output_bytes = encoded.bytes.len();
        }));
        theirs.push(Spent::on(|| {
            for record in &records {
                let value: serde_json::Value = serde_json::from_slice(record).expect("valid JSON");
                black_box(value);
            }
        }));
    }
    println!("{} ({} records of {} bytes)", corpus.name, records.len(), json.len() / records.len());
    let json_mb = json.len() as f64 / 1e6;
    let ours = Spent::median(ours);
    let theirs = Spent::median(theirs);
    println!(
        "  convert                   {}, {:.1} MB out",
        ours.rates(json_mb),
        output_bytes as f64 / 1e6
    );
    println!("  serde_json parse to Value {}", theirs.rates(json_mb));
    println!("  ratio by CPU              {:>7.2}", theirs.cpu_seconds / ours.cpu_seconds);
}

fn schema_of(corpus: &Corpus) -> Schema {
    let columns: Vec<Column> = corpus
        .columns
        .iter()
        .map(|(name, hive_type)| Column {
            name: (*name).to_owned(),
            hive_type: HiveType::parse(hive_type).expect("a Hive type"),
        })
        .collect();
    Schema::new(&columns).expect("a schema")
}

fn make_records(corpus: &Corpus, size_bytes: usize) -> (String, Vec<usize>) {
    let mut append = corpus.records();
    let mut json = String::with_capacity(size_bytes + 4096);
    let mut ends = Vec::new();
    while json.len() < size_bytes {
        append(&mut json);
        ends.push(json.len());
    }
    (json, ends)
}

/// What a piece of work took.
#[derive(Clone, Copy)]
struct Spent {
    cpu_seconds: f64,
    wall_seconds: f64,
}

impl Spent {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
    fn on(work: impl FnOnce()) -> Self {
        let started = Instant::now();
        let cpu_before = thread_cpu_seconds();
        work();
        Self {
            cpu_seconds: thread_cpu_seconds() - cpu_before,
            wall_seconds: started.elapsed().as_secs_f64(),
        }
    }

    fn median(mut rounds: Vec<Self>) -> Self {
        rounds.sort_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds));
        rounds[rounds.len() / 2]
    }

    fn rates(self, json_mb: f64) -> String {
        format!(
            "{:>7.1} MB/cpu-s, {:>7.1} MB/s by the clock",
            json_mb / self.cpu_seconds,
            json_mb / self.wall_seconds
        )
    }
}

/// Seconds that this thread has run. Linux writes nanoseconds and counts in ticks of some
/// milliseconds, which few megabytes would not outlast.
fn thread_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel");
    let nanos = text.split(' ').next().unwrap_or_default();
    nanos.parse::<f64>().expect("a number of nanoseconds") / 1e9
}
