//! What reads foreign bytes, as functions that a fuzzer calls: each takes any bytes and panics where
//! something that must hold of them does not.
//!
//! Owns the list of targets, and those that need nothing but public functions; the others stand in
//! `fuzzing.rs` beside the code that they are of. Built for tests, which replay
//! `tests/fuzz/corpus/<target>`, and for the fuzzer (`--cfg fuzzing`); never in the product.
//!
//! Bytes 0xff part the fields of an input where it has several: no text has any.

mod prefixes;
mod programs;
mod records;
mod settings;

/// Any bytes go in; it panics where something that must hold does not.
pub type Target = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("request_body", crate::ingest::fuzzing::request_body),
    ("plain_body", crate::ingest::fuzzing::plain_body),
    ("signature", crate::ingest::signatures::signature),
    ("prefix", prefixes::prefix),
    ("partition_value", prefixes::partition_value),
    ("event_time", prefixes::event_time),
    ("jq", programs::jq),
    ("yaml", settings::yaml),
    ("definition", settings::definition),
    ("hook_answer", crate::transform::fuzzing::hook_answer),
    ("processor", crate::transform::fuzzing::processor),
    ("record", records::record),
    ("hive_type", records::hive_type),
    ("control", crate::journal::fuzzing::control),
    ("segment", crate::journal::fuzzing::segment),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::TARGETS;

    #[test]
    fn every_input_of_the_corpora_keeps_what_must_hold() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, target) in TARGETS {
            let folder = corpora.join(name);
            let inputs = std::fs::read_dir(&folder);
            let inputs = inputs.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let mut count = 0;
            for input in inputs {
                let path = input.expect("an entry").path();
                // A test that fails names the input that it fails for.
                println!("{}", path.display());
                target(&std::fs::read(&path).expect("an input"));
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }

    #[test]
    fn every_target_takes_any_bytes() {
        for (_, target) in TARGETS {
            for length in [0, 1, 2, 3, 64] {
                for byte in [0, b'0', b'{', 0xff] {
                    target(&vec![byte; length]);
                }
            }
        }
    }
}
