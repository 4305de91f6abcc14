//! Objects of a wanted size, from a cold start: `cargo bench --bench object_sizes -- [MIB] [OBJECTS] [CORPUS]`.
//!
//! Feeds records one by one to a buffer that aims at objects of so many MiB, converts each batch to
//! Parquet and tells the buffer what came out, as a stream does. Prints each object and, for each corpus,
//! how many of those that the aim closed are within a tenth of it, and the most memory that the process
//! had, records left out: they are encoded as they come.

use std::sync::Arc;
use std::time::Duration;

use lakehose::buffer::{Aim, Arrival, Buffer, Hints, Observed, Trigger};
use lakehose::convert::{Encoder, Format, Schema};
use lakehose::record::{Position, UnixMillis};
use lakehose::table::{Column, HiveType};

use self::corpora::{CORPORA, Corpus};

mod corpora;

/// That of the service.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MIB_DEFAULT: u64 = 128;
const OBJECTS_DEFAULT: usize = 14;
const MIB: f64 = (1 << 20) as f64;

fn main() {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let mut number = |default: u64| {
        arguments.next().map_or(default, |text| text.parse().expect("a whole number"))
    };
    let target_bytes = number(MIB_DEFAULT) << 20;
    let objects = number(OBJECTS_DEFAULT as u64) as usize;
    let wanted = arguments.next();
    for corpus in CORPORA {
        if wanted.as_deref().is_none_or(|name| name == corpus.name) {
            measure(&corpus, target_bytes, objects);
        }
    }
}

fn measure(corpus: &Corpus, target_bytes: u64, objects: usize) {
    println!("{}, {objects} objects of {} MiB", corpus.name, target_bytes >> 20);
    println!(
        "{:>8} {:>9} {:>12} {:>12} {:>7}",
        "closed", "records", "JSON MiB", "object MiB", "off"
    );
    let format = Format::Parquet(Arc::new(schema_of(corpus)));
    let encoder = || Encoder::new(&format).expect("an encoder");
    let size_bytes = target_bytes * 20;
    let mut buffer = Buffer::new(Hints { size_bytes, interval: Duration::from_secs(900) }, |_| 0);
    *buffer.aim() = Some(Aim::new(target_bytes, &[]));
    let (mut append, mut json) = (corpus.records(), String::new());
    let (mut position, mut current) = (0, encoder());
    let (mut aimed, mut near, mut made) = (0, 0, 0);
    while made < objects {
        json.clear();
        append(&mut json);
        current.push(json.as_bytes()).expect("records fit their table");
        let closed = buffer.add(&Arrival {
            group: &(),
            first: Position(position),
            lengths: &[json.len() as u32],
            arrival: UnixMillis(0),
            due: Duration::from_secs(900),
        });
        position += 1;
        for batch in closed {
            let done = std::mem::replace(&mut current, encoder());
            let object_bytes = done.finish(&[]).expect("a finished file").bytes.len() as u64;
            let aim = buffer.aim().as_mut().expect("there is an aim");
            aim.observe(&(), Observed { data_bytes: batch.data_bytes, object_bytes });
            aim.has_learnt();
            made += 1;
            let off = object_bytes as f64 / target_bytes as f64 - 1.0;
            if batch.closed_by == Trigger::Target {
                aimed += 1;
                near += usize::from(off.abs() <= 0.1);
            }
            println!(
                "{:>8} {:>9} {:>12.1} {:>12.2} {:>6.1}%",
                batch.closed_by.as_str(),
                batch.positions.count(),
                batch.data_bytes as f64 / MIB,
                object_bytes as f64 / MIB,
                off * 100.0
            );
        }
    }
    println!("{near} of {aimed} within a tenth; the process had {} MiB at most", peak_mib());
}

fn schema_of(corpus: &Corpus) -> Schema {
    let column = |(name, hive_type): &(&str, &str)| Column {
        name: (*name).to_owned(),
        hive_type: HiveType::parse(hive_type).expect("a Hive type"),
    };
    Schema::new(&corpus.columns.iter().map(column).collect::<Vec<_>>()).expect("a schema")
}

fn peak_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("a Linux kernel");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}
