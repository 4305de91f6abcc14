//! JSON to Arrow's arrays, without a file: `cargo bench --bench decode -- [MEGABYTES] [CORPUS]`.
//!
//! Makes the same records on every run, reads them with our decoder and with arrow-json by turns, in
//! batches of the same rows, and prints megabytes of JSON per second of CPU time of both and how many
//! times faster ours is: of both the median of all rounds. Figures of different runs do not compare;
//! ratios of one run do.

use std::hint::black_box;
use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_schema::{DataType, Schema as ArrowSchema, SchemaRef};
use lakehose::convert::{Decoder, Schema};
use lakehose::table::{Column, HiveType};

use self::corpora::{CORPORA, Corpus};

mod corpora;

const MEGABYTES_DEFAULT: usize = 32;
const ROUNDS: usize = 7;
const BATCH_ROWS: usize = 2048;

fn main() {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let megabytes = arguments.next().map_or(MEGABYTES_DEFAULT, |text| {
        text.parse().expect("the first argument is a number of megabytes")
    });
    let wanted = arguments.next();
    println!("{megabytes} MB of JSON a corpus, median of {ROUNDS} rounds, one thread, MB/cpu-s");
    println!("{:<26} {:>9} {:>10} {:>6}", "corpus", "decoder", "arrow-json", "ratio");
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
    let schema = Arc::new(schema_of(corpus));
    let types = types_of(&schema);
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..ROUNDS {
        ours.push(cpu_seconds_of(|| decode_ours(&schema, &records)));
        theirs.push(cpu_seconds_of(|| decode_theirs(&types, json.as_bytes(), records.len())));
    }
    let megabytes = json.len() as f64 / 1e6;
    let (ours, theirs) = (megabytes / median(ours), megabytes / median(theirs));
    println!("{:<26} {ours:>9.1} {theirs:>10.1} {:>6.2}", corpus.name, ours / theirs);
}

fn decode_ours(schema: &Arc<Schema>, records: &[&[u8]]) {
    let mut decoder = Decoder::new(schema);
    for batch in records.chunks(BATCH_ROWS) {
        for record in batch {
            decoder.push(record).expect("records fit their table");
        }
        let arrays = decoder.take_batch().expect("a batch");
        assert_eq!(black_box(arrays).num_rows(), batch.len());
    }
}

fn decode_theirs(types: &SchemaRef, mut json: &[u8], row_count: usize) {
    let reader = ReaderBuilder::new(Arc::clone(types)).with_batch_size(BATCH_ROWS);
    let mut decoder = reader.build_decoder().expect("a decoder");
    let mut rows = 0;
    loop {
        let taken = decoder.decode(json).expect("records fit their table");
        json = &json[taken..];
        match decoder.flush().expect("a batch") {
            Some(arrays) => rows += black_box(arrays).num_rows(),
            None => break,
        }
    }
    assert_eq!(rows, row_count);
}

/// The types of our batches, with the one name of UTC that the other reader knows.
fn types_of(schema: &Arc<Schema>) -> SchemaRef {
    let batch = Decoder::new(schema).take_batch().expect("an empty batch");
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(unit, _) => {
            let data_type = DataType::Timestamp(*unit, Some("+00:00".into()));
            field.as_ref().clone().with_data_type(data_type)
        }
        _ => field.as_ref().clone(),
    });
    Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
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

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn cpu_seconds_of(work: impl FnOnce()) -> f64 {
    let before = thread_cpu_seconds();
    work();
    thread_cpu_seconds() - before
}

/// Seconds that this thread has run. Linux writes nanoseconds and counts in ticks of some
/// milliseconds, which few megabytes would not outlast.
fn thread_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel");
    let nanos = text.split(' ').next().unwrap_or_default();
    nanos.parse::<f64>().expect("a number of nanoseconds") / 1e9
}
