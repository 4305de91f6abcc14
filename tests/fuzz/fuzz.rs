//! The fuzzer: libFuzzer over one of the targets of `src/fuzzing.rs`, which `LAKEHOSE_FUZZ_TARGET`
//! names. `tests/fuzz/run` builds and starts it; without `--cfg fuzzing` it only says so.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod target {
    use std::sync::LazyLock;

    use lakehose::fuzzing::{TARGETS, Target};

    static TARGET: LazyLock<Target> = LazyLock::new(|| {
        let wanted = std::env::var_os("LAKEHOSE_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(name, _)| wanted == *name);
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        found.unwrap_or_else(|| panic!("LAKEHOSE_FUZZ_TARGET must be one of {names:?}")).1
    });

    libfuzzer_sys::fuzz_target!(init: LazyLock::force(&TARGET), |data: &[u8]| {
        TARGET(data);
    });
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("This program is built without the fuzzer: run tests/fuzz/run.");
}
