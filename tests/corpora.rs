//! The records of the benches are what they were, and what their tables say.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};

use self::corpora::{CORPORA, Corpus};

#[path = "../benches/corpora/mod.rs"]
mod corpora;

#[test]
fn the_bytes_are_those_that_other_programs_were_measured_with() {
    // Of the first million bytes.
    let known = [
        ("clickstream", "656aa6c209b28949e9ee1e9b7b870efc07297f1701105634124d47b0b7c2d736"),
        ("small", "90ad045762c8ce5af2fb4c1a7ee551f19d9fc7bd993b5ee7314f93ac2a3d6b83"),
        ("nested", "45d3956959b7f15a1a9af28a20e1fcd176bcb0f7abc9addf244b162e2ef2181d"),
    ];
    for (name, hash) in known {
        let corpus = CORPORA.iter().find(|corpus| corpus.name == name).expect("the corpus");
        let json = first(corpus, 1_000_000);
        let found = digest(&SHA256, &json.as_bytes()[..1_000_000]);
        let found: String = found.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, hash, "{name}");
    }
}

#[test]
fn a_shuffled_corpus_has_the_values_of_the_one_before_it_in_another_order() {
    for pair in CORPORA.chunks(2) {
        let (fixed, shuffled) = (first(&pair[0], 50_000), first(&pair[1], 50_000));
        assert_ne!(fixed, shuffled, "{}", pair[1].name);
        for (one, other) in fixed.lines().zip(shuffled.lines()) {
            assert_eq!(object(one), object(other), "{}", pair[1].name);
        }
    }
}

#[test]
fn the_keys_of_records_are_the_columns_of_their_table() {
    for corpus in &CORPORA {
        let columns: BTreeSet<&str> = corpus.columns.iter().map(|(name, _)| *name).collect();
        let json = first(corpus, 50_000);
        let keys: BTreeSet<String> =
            json.lines().flat_map(|line| object(line).into_iter()).map(|(key, _)| key).collect();
        assert!(keys.iter().eq(columns.iter()), "{}: {keys:?}", corpus.name);
    }
}

fn object(line: &str) -> Map<String, Value> {
    serde_json::from_str(line).expect("an object")
}

fn first(corpus: &Corpus, bytes: usize) -> String {
    let (mut append, mut json) = (corpus.records(), String::new());
    while json.len() < bytes {
        append(&mut json);
    }
    json
}
