//! What prints here, compared with Java 17 itself; without one, nothing is compared, and that is said.
//!
//! `LAKEHOSE_PATTERNS` says how many random patterns are compared, `LAKEHOSE_SEED` which;
//! `LAKEHOSE_ZONE_DAYS` after how many days each zone is looked at again.
//! Instants are from 1970 to 2037: the rules of zones before and after differ between releases of the
//! IANA database. Java 17.0.15 has 2025a, `chrono-tz` 0.10.4 has 2025b. Another Java may have older
//! rules; where its offset is another one, nothing is compared, and such may be few only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use super::*;
use crate::record::UnixMillis;

const PATTERNS: usize = 3_000;
/// Until 2038-01-01.
const SECONDS: u64 = 2_145_916_800;
/// The release of the IANA database that `zones.txt` was made with.
const TABLE_VERSION: &str = "2025a";
const SHOWN: usize = 20;

/// Runs a program of `tests/java`; nothing where there is no Java 17.
fn java(program: &str, arguments: &[&str]) -> Option<String> {
    let version = Command::new("java").arg("-version").output();
    let version = version.map(|said| String::from_utf8_lossy(&said.stderr).into_owned());
    if !version.as_ref().is_ok_and(|said| said.contains("version \"17.")) {
        eprintln!("skipped: there is no Java 17 to compare with");
        return None;
    }
    let program = format!("{}/tests/java/{program}", env!("CARGO_MANIFEST_DIR"));
    let done = Command::new("java").arg(program).args(arguments).output().expect("Java runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8(done.stdout).expect("UTF-8"))
}

#[derive(Debug)]
struct Question {
    zone: &'static str,
    millis: i64,
    pattern: String,
}

impl Question {
    /// What is printed, with the offset; or why nothing is.
    fn answer(&self) -> (i32, Result<String, String>) {
        let zone = Zone::named(self.zone).expect(self.zone);
        let moment = zone.at(UnixMillis(self.millis));
        let parts = match parse(&self.pattern, &zone) {
            Ok(parts) => parts,
            Err(error) => return (moment.offset_seconds, Err(error.to_string())),
        };
        let mut printed = String::new();
        for part in parts {
            match part {
                Part::Literal(text) => printed.push_str(&text),
                Part::Field(field) => field.print(&moment, &mut printed),
            }
        }
        (moment.offset_seconds, Ok(printed))
    }
}

/// Compares answers with Java's; shows all that differ.
fn compare(questions: &[Question]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("questions");
    let lines: String = questions.iter().fold(String::new(), |mut lines, question| {
        let Question { zone, millis, pattern } = question;
        writeln!(lines, "{zone}\t{millis}\t{pattern}").expect("a String takes every write");
        lines
    });
    std::fs::write(&file, lines).expect("the questions are written");
    let Some(answers) = java("Patterns.java", &[file.to_str().expect("a path")]) else {
        return;
    };
    let mut answers = answers.split('\n');
    let version = answers.next().expect("a version");
    let (mut compared, mut printed, mut differing) = (0, 0, Vec::new());
    let mut elsewhere: BTreeMap<&str, u64> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (question, said) in questions.iter().zip(answers.by_ref()) {
        let (offset, said) = said.split_once('\t').unwrap_or_else(|| panic!("{said}"));
        let (our_offset, ours) = question.answer();
        let agrees = match (said.split_at(1), &ours) {
            (("?", _), _) => {
                unknown.insert(question.zone);
                continue;
            }
            (("=", text), Ok(ours)) => text == ours,
            (("!", _), Err(_)) => true,
            _ => false,
        };
        if offset != our_offset.to_string() {
            *elsewhere.entry(question.zone).or_default() += 1;
            continue;
        }
        compared += 1;
        printed += u64::from(ours.is_ok());
        if !agrees {
            differing.push(format!("{question:?}: Java {said}, here {ours:?}"));
        }
    }
    eprintln!(
        "compared {compared} with Java {version}, of which {printed} print; not known to it: \
         {unknown:?}; with other offsets: {elsewhere:?}"
    );
    assert!(compared + elsewhere.values().sum::<u64>() > questions.len() as u64 * 9 / 10);
    assert!(elsewhere.values().sum::<u64>() <= compared / 50, "{elsewhere:?}");
    assert!(
        differing.is_empty(),
        "{} differ, such as\n{}",
        differing.len(),
        differing[..differing.len().min(SHOWN)].join("\n")
    );
}

/// A small generator: what is tried must be told by a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    fn field(&mut self) -> String {
        const LETTERS: &[u8] = b"GyuYQqMLdDgEecFwWaBHkKhmsSAnNVzvOZXx";
        const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        // Most are such as Java takes, since one that it does not take hides the rest.
        let is_any = self.below(20) == 0;
        let (letter, count) = loop {
            let letter = char::from(self.one_of(if is_any { ALL } else { LETTERS }));
            let count = match self.below(20) {
                0 => 1 + self.below(25),
                _ => 1 + self.one_of(&[0, 0, 0, 1, 1, 2, 3, 3, 4]),
            };
            if is_any || content(letter, count as usize).is_ok() {
                break (letter, count);
            }
        };
        let pad = if self.below(15) == 0 { 1 + self.below(40) } else { 0 };
        let letters = letter.to_string().repeat(count as usize);
        "p".repeat(pad as usize) + &letters
    }

    fn pattern(&mut self) -> String {
        const TEXTS: [&str; 20] = [
            " ", "-", "_", "/", ":", ".", ",", "é", "!", "&", "(", "'T'", "''", "'it''s'",
            "'year='", "'/'", "東", "+", "=", "%",
        ];
        let mut pattern = String::new();
        for _ in 0..=self.below(5) {
            match self.below(100) {
                0..72 => pattern += &self.field(),
                72..90 => pattern += self.one_of(&TEXTS),
                90..94 => pattern += "[",
                94..98 => pattern += self.one_of(&["]", "[]", "[]", "]]"]),
                98 => pattern += self.one_of(&["{", "}", "#", "'"]),
                _ => {
                    pattern += self.one_of(&["yyyy/MM/dd/HH", "YYYY-'W'ww", "yyyyMMdd'T'HHmmssXX"])
                }
            }
        }
        pattern
    }
}

fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn random_patterns_print_as_java_prints_them() {
    let seed = setting("LAKEHOSE_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let count = setting("LAKEHOSE_PATTERNS").map_or(PATTERNS, |count| count as usize);
    eprintln!("LAKEHOSE_SEED={seed} LAKEHOSE_PATTERNS={count}");
    let zones: Vec<_> = Zone::names().collect();
    let mut random = Random(seed);
    let questions: Vec<Question> = (0..count)
        .map(|_| Question {
            zone: random.one_of(&zones),
            millis: random.below(SECONDS * 1_000) as i64,
            pattern: random.pattern(),
        })
        .collect();
    compare(&questions);
}

#[test]
fn every_zone_prints_as_java_prints_it_through_all_years() {
    let step = setting("LAKEHOSE_ZONE_DAYS").unwrap_or(97) * 86_400_000;
    let instants = || (0..SECONDS * 1_000).step_by(step as usize);
    let questions: Vec<Question> = Zone::names()
        .flat_map(|zone| {
            instants().map(move |millis| Question {
                zone,
                millis: millis as i64,
                pattern: "VV|z|zzzz|v|vvvv|xxxxx|yyyy-MM-dd HH:mm:ss".to_owned(),
            })
        })
        .collect();
    compare(&questions);
}

#[test]
fn the_table_of_names_is_what_java_says() {
    let Some(said) = java("Zones.java", &[]) else { return };
    let read = |table: &str| -> BTreeMap<String, String> {
        let lines = table.lines().filter_map(|line| line.split_once(" = "));
        let zones = lines.flat_map(|(names, zones)| {
            zones.split(' ').map(|zone| (zone.to_owned(), names.to_owned())).collect::<Vec<_>>()
        });
        zones.collect()
    };
    let (theirs, ours) = (read(&said), read(include_str!("zones.txt")));
    let both = ours.keys().filter(|zone| theirs.contains_key(*zone));
    let differing: Vec<_> = both
        .clone()
        .filter(|zone| ours[*zone] != theirs[*zone])
        .map(|zone| format!("{zone}: Java {}, here {}", theirs[zone], ours[zone]))
        .collect();
    eprintln!("compared the names of {} zones", both.count());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("questions");
    std::fs::write(&file, "").expect("no question");
    let version = java("Patterns.java", &[file.to_str().expect("a path")]).expect("Java was there");
    // Zones get other names when their rules change.
    let allowed = if version.starts_with(&format!("17 {TABLE_VERSION}")) { 0 } else { 20 };
    assert!(differing.len() <= allowed, "{}", differing.join("\n"));
}
