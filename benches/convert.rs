//! One conversion of a file in a process of its own: `convert snappy|zstd INPUT OUTPUT COLUMNS`.
//!
//! COLUMNS is JSON, a list of names and Hive types.
//! Reads lines of JSON one by one, gives each to the encoder as a service gives its records, and writes
//! the file that comes of them. Prints the rows, the seconds by the clock, and the most memory that the
//! process held. `peers.py` runs it beside other programs that do the same.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::time::Instant;

use lakehose::convert::{Encoder, Format, ParquetCompression, ParquetOptions, Schema};
use lakehose::table::{Column, HiveType};

/// That of the service.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [codec, input, output, columns] = arguments.as_slice() else {
        return Err("say: convert snappy|zstd INPUT OUTPUT COLUMNS".into());
    };
    let started = Instant::now();
    let mut encoder = Encoder::new(&Format::Parquet(Arc::new(schema_of(columns, codec)?)))?;
    let mut lines = BufReader::with_capacity(1 << 20, File::open(input)?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        encoder.push(&line)?;
        line.clear();
    }
    let encoded = encoder.finish(&[])?;
    std::fs::write(output, &encoded.bytes)?;
    println!(
        r#"{{"rows": {}, "wall_seconds": {}, "peak_kib": {}}}"#,
        encoded.row_count,
        started.elapsed().as_secs_f64(),
        peak_kib()?
    );
    Ok(())
}

fn schema_of(columns: &str, codec: &str) -> Result<Schema, Box<dyn Error>> {
    let columns: Vec<(String, String)> = serde_json::from_str(columns)?;
    let column = |(name, hive_type): (String, String)| {
        Ok(Column { name, hive_type: HiveType::parse(&hive_type)? })
    };
    let columns: Result<Vec<Column>, Box<dyn Error>> = columns.into_iter().map(column).collect();
    let compression = match codec {
        "snappy" => ParquetCompression::Snappy,
        "zstd" => ParquetCompression::Zstd,
        _ => return Err("the codec is snappy or zstd".into()),
    };
    let options = ParquetOptions { compression, ..ParquetOptions::default() };
    Ok(Schema::with_options(&columns?, options)?)
}

fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
