//! Files with faults, and what is no file of settings at all.

use super::*;

#[test]
fn faults_display_as_file_line_column_path_message() {
    let faults = faults_of("delivery_streams:\n  s:\n    schema: {table: t}\n    bufering: {}\n");
    assert_eq!(
        faults.in_file("a.yaml").to_string(),
        "a.yaml:4:5: delivery_streams.s.bufering: unknown key 'bufering': write 'buffering'"
    );
    assert_eq!(faults_of("").as_slice().len(), 1);
    assert_eq!(
        faults_of("[a]").to_string(),
        "1:1: expected a mapping with server, data_dir, allow_unsafe_volume, \
        disk_budget, memory, identities, stores, catalogs, delivery_streams, found a list"
    );
}

#[test]
fn bounds_hold_before_anything_is_built() {
    let large = "#".repeat(yaml::FILE_BYTES_MAX + 1);
    assert!(faults_of(&large).to_string().contains("1048576 are read"));
    let deep = format!("a: {}", "[".repeat(200));
    assert!(faults_of(&deep).to_string().contains("32 levels"));
    let wide = "- a\n".repeat(200_000);
    assert!(faults_of(&wide).to_string().contains("100000 keys and values"));
}

/// What a file in `tests/faulty` says about itself.
fn expectations(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().map_while(|line| line.strip_prefix("# expect: "));
    let expectation = |line: &str| {
        let (number, part) = line.split_once(": ").expect("a line and a text");
        (number.parse().expect("a line"), part.to_owned())
    };
    lines.map(expectation).collect()
}

#[test]
fn faulty_files_give_exactly_the_faults_that_they_expect() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faulty");
    let mut count = 0;
    let mut surprises = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a file");
        let file = path.display().to_string();
        let mut expected = expectations(&text);
        assert!(!expected.is_empty(), "{file}: expects nothing");
        for fault in faults_of(&text).as_slice() {
            let shown = fault.to_string();
            assert!(!shown.contains("hunter2"), "{file}:{shown}");
            let is_this = |(line, part): &(usize, String)| {
                *line == fault.place().line && shown.contains(part)
            };
            match expected.iter().position(is_this) {
                Some(index) => drop(expected.remove(index)),
                None => surprises.push(format!("{file}:{shown}")),
            }
        }
        let missing = expected.iter().map(|(line, part)| format!("{file}: no {line}: {part}"));
        surprises.extend(missing);
        count += 1;
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(count >= 14, "{count} files");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load(&String::from_utf8_lossy(&bytes), &TestEnvironment::new());
    }

    #[test]
    fn foreign_yaml_never_panics(text in "([a-z]{1,3}|: |\n|  |- |\\{|\\}|\\[|\\]|\"|'|&a|\\*a|!!x|\\||>|#|,|\\?|%|---|~){0,40}") {
        let _ = load(&text, &TestEnvironment::new());
    }

    #[test]
    fn a_mutated_file_loads_or_has_faults_and_never_shows_a_secret(
        cuts in proptest::collection::vec((0usize..2_000, 0usize..40, "(\\PC|\n|: |\\{|\\}|'|\"){0,6}"), 1..6),
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, length, replacement) in cuts {
            let at = at % text.len();
            let end = (at + length).min(text.len());
            text.splice(at..end, replacement.chars());
        }
        let text: String = text.into_iter().collect();
        match load(&text, &TestEnvironment::new()) {
            Ok(config) => {
                let shown = format!("{config:?}");
                prop_assert!(!shown.contains("hunter2"));
            }
            Err(faults) => {
                prop_assert!(!faults.as_slice().is_empty());
                prop_assert!(!faults.to_string().contains("hunter2"));
                let lines = faults.to_string().lines().count();
                prop_assert_eq!(lines, faults.as_slice().len());
            }
        }
    }
}

#[test]
fn memory_that_the_process_may_not_have_is_warned_of() {
    let stream = "delivery_streams:\n  s:\n    schema: {table: t}\n";
    let config = load_good(&format!("memory: 3 GiB\n{stream}"));
    assert_eq!(config.memory_bytes, 3 << 30);
    assert_eq!(
        config.warnings.as_slice()[0].to_string(),
        "1:9: memory: this process may have 2048 MiB: write less, and leave a fifth of that free"
    );
    assert!(load_good(&format!("memory: 2 GiB\n{stream}")).warnings.as_slice().is_empty());
    let faults = faults_of(&format!("memory: 100 MiB\n{stream}")).to_string();
    assert!(faults.contains("at least 192 MiB"), "{faults}");
}
