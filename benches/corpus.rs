//! Writes a corpus as lines of JSON: `corpus NAME BYTES FILE`, or tells of all: `corpus`.
//!
//! The file ends with the first record that reaches so many bytes. What is told is one JSON object, from
//! names to columns by name and Hive type.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use self::corpora::CORPORA;

mod corpora;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, bytes, file] = arguments.as_slice() else {
        let columns: BTreeMap<_, _> =
            CORPORA.iter().map(|each| (each.name, each.columns)).collect();
        println!("{}", serde_json::to_string(&columns)?);
        return Ok(());
    };
    let corpus = CORPORA.iter().find(|each| each.name == name).ok_or("no corpus has this name")?;
    let mut left: usize = bytes.parse()?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let (mut append, mut json) = (corpus.records(), String::new());
    while left > 0 {
        json.clear();
        append(&mut json);
        file.write_all(json.as_bytes())?;
        left = left.saturating_sub(json.len());
    }
    file.flush()?;
    Ok(())
}
