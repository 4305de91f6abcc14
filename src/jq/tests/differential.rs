//! The language against jq 1.6 itself: the programs of `tests/jq/programs.txt` over seeded records.
//!
//! Every disagreement must stand in `tests/jq/differences.txt`, and every line of that must be one.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::*;

const RECORDS: usize = 200;
/// Programs are run together, since jq takes longer to begin than to run.
const TOGETHER: usize = 20;
const END_OF_PROGRAM: &str = "\"~ program\"";
const END_OF_RECORD: &str = "\"~ record\"";

/// A linear congruential generator: the same records in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % count as u64).expect("it is small")
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// The fields of a record and what stands in them, most often of the kind that a producer sends.
const FIELDS: [(&str, &[&str]); 31] = [
    ("id", &["1", "17", "\"u-1\"", "\"Ab9\"", "1234567890123", "0", "3.5", "null"]),
    (
        "customer_id",
        &["\"1234567890\"", "\"acme\"", "\"\"", "42", "null", "\"Ünï\"", "\"a/b\"", "1.0"],
    ),
    ("n", &["0", "1", "3", "7", "12", "-4", "1.5", "100", "null", "\"12\"", "true", "2.0", "1e3"]),
    (
        "amount",
        &[
            "1.5",
            "0.1",
            "19.99",
            "3",
            "1.10",
            "123456.789",
            "0.30000000000000004",
            "-2.75",
            "1e-7",
            "null",
        ],
    ),
    ("neg", &["-12345.678", "-1", "-0.5", "-7.25"]),
    (
        "big",
        &[
            "12345678901234567890",
            "9007199254740993",
            "9223372036854775807",
            "1e19",
            "123456789012345678901234567890",
            "1234567890123456789",
        ],
    ),
    ("small", &["0.000001", "0.00001", "1e-10", "5e-324", "0.0001", "0.00012345678901234567"]),
    (
        "num_text",
        &[
            "\"12\"", "\"1.50\"", "\"abc\"", "\"\"", "\" 7 \"", "\"1e3\"", "\"007\"", "\"-3\"",
            "5", "null", "\"12x\"",
        ],
    ),
    (
        "name",
        &[
            "\"Alice\"",
            "\"anne marie\"",
            "\"Ünïcödé é\"",
            "\"\"",
            "\"a b  c\"",
            "\"Ee ee E\"",
            "\"x1y22z\"",
            "\"日本語 text\"",
            "\"O'Neil \\\"q\\\" & <b>\"",
            "\"😀 smile\"",
            "\"tab\\tnew\\nline\"",
            "\"apple\"",
            "null",
            "7",
        ],
    ),
    ("flag", &["true", "false", "null", "\"yes\""]),
    (
        "tags",
        &[
            "[\"a\",\"b\"]",
            "[]",
            "[\"b\",\"a\",\"b\"]",
            "[\"zz\"]",
            "[\"a\",\"é\",\"B\"]",
            "null",
            "[\"x y\",\"a\"]",
            "[\"1\",\"2\",\"3\"]",
        ],
    ),
    ("path", &["\"a/b/c\"", "\"/a/b\"", "\"a\"", "\"\"", "\"a//b/\"", "\"/\"", "null"]),
    ("csv", &["\"a,b,c\"", "\"a, b, c\"", "\"1,2,x\"", "\"\"", "\"a,b, c\"", "\",\""]),
    (
        "email",
        &["\"Bob@example.com\"", "\"x.y@mail.example.org\"", "\"nobody\"", "\"a@b@c\"", "null"],
    ),
    (
        "event_timestamp",
        &[
            "1565382027",
            "0",
            "1709164800",
            "951782400",
            "1735689599",
            "1704067200",
            "1230768000",
            "null",
            "\"1565382027\"",
        ],
    ),
    (
        "ts",
        &[
            "1425599621.678",
            "1565382027.5",
            "0.25",
            "1700000000.999",
            "951782399.001",
            "1565382027",
        ],
    ),
    ("ms", &["1565382027123", "1700000000000", "951782400001", "1"]),
    (
        "old",
        &["-1.5", "-86400", "-2208988800", "-1", "-62135596800", "-123456789.25", "-11644473600"],
    ),
    (
        "iso",
        &[
            "\"2015-03-05T23:51:47Z\"",
            "\"2024-02-29T00:00:00Z\"",
            "\"1969-12-31T23:59:58Z\"",
            "\"2015-03-05T23:51:47.123Z\"",
            "\"2015-03-05\"",
            "\"soon\"",
            "\"1900-01-01T00:00:00Z\"",
            "null",
            "\"2015-3-5T1:2:3Z\"",
        ],
    ),
    (
        "day_text",
        &[
            "\"05.03.2015\"",
            "\"5.3.2015\"",
            "\"31.12.1999\"",
            "\"32.1.2000\"",
            "\"29.02.2023\"",
            "\" 1.01.2000 \"",
        ],
    ),
    (
        "log_time",
        &[
            "\"10/Oct/2000:13:55:36 -0700\"",
            "\"01/jan/2024:00:00:00 +0000\"",
            "\"31/December/1999:23:59:59 UTC\"",
            "\"1/Feb/2020:1:2:3\"",
            "\"x\"",
        ],
    ),
    ("clock", &["\"10:20\"", "\"23:59\"", "\"24:00\"", "\"1:5 PM\"", "\"12:00 am\"", "\"9\""]),
    (
        "type",
        &[
            "{\"device\":\"mobile\",\"event\":\"click\"}",
            "{\"device\":\"web\",\"event\":null}",
            "{}",
            "{\"event\":\"x\",\"device\":7}",
            "null",
            "\"plain\"",
            "[1]",
            "{\"z\":1,\"a\":2,\"device\":\"tv\"}",
        ],
    ),
    (
        "nested",
        &[
            "{\"a\":{\"b\":[1,2,{\"c\":\"deep\"}]}}",
            "{\"a\":{\"b\":[3]}}",
            "{\"a\":null}",
            "{}",
            "{\"a\":{\"b\":[[1,[2]],4.5,{\"c\":[1]}]}}",
        ],
    ),
    (
        "list",
        &[
            "[{\"k\":\"a\",\"v\":1},{\"k\":\"b\",\"v\":2},{\"k\":\"a\",\"v\":5}]",
            "[{\"k\":\"x\",\"v\":3.5}]",
            "[]",
            "[{\"k\":\"b\",\"v\":1},{\"k\":\"a\",\"v\":1}]",
            "null",
            "[{\"k\":\"a\"},{\"v\":2,\"k\":\"c\"}]",
            "[{\"name\":\"n\",\"value\":1},{\"key\":\"k\",\"value\":null}]",
        ],
    ),
    (
        "uuid",
        &[
            "\"123e4567-e89b-12d3-a456-426614174000\"",
            "\"00000000-0000-0000-0000-000000000000\"",
            "\"x\"",
        ],
    ),
    (
        "url",
        &[
            "\"https://example.com/a/b?x=1&y=2\"",
            "\"http://h:80/\"",
            "\"ftp://files\"",
            "\"/relative?q=a%20b\"",
        ],
    ),
    (
        "payload",
        &["\"{\\\"a\\\":1}\"", "\"[1,2]\"", "\"not json\"", "\"12\"", "\"\\\"t\\\"\"", "null"],
    ),
    ("encoded", &["\"eyJhIjoxfQ==\"", "\"YQ==\"", "\"YWI\"", "\"aGVsbG8gd29ybGQ=\""]),
    ("ip", &["\"10.1.2.3\"", "\"192.168.0.1\"", "\"::1\"", "\"10.x\""]),
    (
        "geo",
        &[
            "{\"lat\":52.52,\"lon\":13.405}",
            "{\"lat\":-33.8688,\"lon\":151.2093}",
            "{\"lat\":0,\"lon\":-0.5}",
            "null",
        ],
    ),
];
const MORE: [(&str, &[&str]); 2] = [
    ("level", &["\"warn\"", "\"ERROR\"", "\"info\"", "null", "3"]),
    ("version", &["\"1.2.3\"", "\"10.0\"", "\"v1\"", "\"1.x.3\""]),
];
/// Records that are no objects.
const OTHERS: [&str; 8] = [
    "7",
    "\"text\"",
    "null",
    "[1,[2,{\"a\":3}]]",
    "true",
    "[]",
    "{}",
    "[{\"k\":\"a\",\"v\":1},\"x\",null,2.50]",
];

fn records() -> Vec<String> {
    let mut dice = Dice(20_261_130);
    let record = |index: usize| {
        if index % 25 == 24 {
            return OTHERS[index / 25 % OTHERS.len()].to_owned();
        }
        let mut fields = Vec::new();
        for (name, values) in FIELDS.iter().chain(&MORE) {
            // One in twelve is missing; the order changes.
            if dice.below(12) > 0 {
                let place = if dice.below(4) == 0 { 0 } else { fields.len() };
                fields.insert(place, format!("\"{name}\":{}", dice.one_of(values)));
            }
        }
        format!("{{{}}}", fields.join(","))
    };
    (0..RECORDS).map(record).collect()
}

/// The program with its error as an output, which both sides print. The words are their own.
fn caught(program: &str) -> String {
    format!("try ({program}) catch \"~ error\"")
}

/// What jq prints of each program for each record.
fn by_jq(programs: &[&str], records: &[String]) -> Vec<Vec<Vec<String>>> {
    let together: Vec<_> =
        programs.iter().map(|one| format!("({}), {END_OF_PROGRAM}", caught(one))).collect();
    let program = format!("({}), {END_OF_RECORD}", together.join(", "));
    let mut jq = Command::new("jq")
        .args(["-c", &program])
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("jq begins");
    let mut input = jq.stdin.take().expect("a pipe");
    let text = records.join("\n");
    let feeder = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let done = jq.wait_with_output().expect("jq ends");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "jq ended by {}: {told}, of {programs:#?}", done.status);
    feeder.join().expect("no panic").expect("jq reads all");
    let mut found = vec![Vec::new(); programs.len()];
    let (mut outputs, mut number) = (Vec::new(), 0);
    for line in String::from_utf8(done.stdout).expect("UTF-8").lines() {
        match line {
            END_OF_RECORD => number = 0,
            END_OF_PROGRAM => {
                found[number].push(std::mem::take(&mut outputs));
                number += 1;
            }
            output => outputs.push(output.to_owned()),
        }
    }
    found
}

fn by_us(program: &str, records: &[String]) -> Vec<Vec<String>> {
    let program = match Program::compile(&caught(program)) {
        Ok(program) => program,
        Err(error) => return vec![vec![error.to_string()]; records.len()],
    };
    let run = |record: &String| {
        let input = read(record.as_bytes(), Numbers::Doubles).expect("JSON");
        let mut outputs = Vec::new();
        let mut bounds = Bounds::for_record(record.len());
        let ended = program.evaluate(input, None, &mut bounds, &mut |output| {
            outputs.push(output.json()?);
            Ok(())
        });
        outputs.extend(ended.err());
        outputs
    };
    records.iter().map(run).collect()
}

/// The programs whose outputs differ, with the first record that shows it.
fn compared(programs: &[&str], records: &[String]) -> Vec<(String, String)> {
    let mut disagreements = Vec::new();
    for (program, theirs) in programs.iter().zip(by_jq(programs, records)) {
        let ours = by_us(program, records);
        assert_eq!(theirs.len(), records.len(), "{program}");
        let both = theirs.into_iter().zip(ours).zip(records);
        let found: Vec<_> = both.filter(|((theirs, ours), _)| theirs != ours).collect();
        if let Some(((theirs, ours), record)) = found.first() {
            let count = found.len();
            let told = format!(
                "{count} of {RECORDS}\n    jq {theirs:?}\n    us {ours:?}\n    of {record}"
            );
            disagreements.push(((*program).to_owned(), told));
        }
    }
    disagreements
}

fn lines_of(name: &str) -> Vec<String> {
    let path = format!("{}/tests/jq/{name}", env!("CARGO_MANIFEST_DIR"));
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path}: {error}"));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn programs_do_what_jq_1_6_does() {
    let version = Command::new("jq").arg("--version").output();
    let version = version.map(|version| String::from_utf8_lossy(&version.stdout).trim().to_owned());
    if version.as_deref().ok() != Some("jq-1.6") {
        eprintln!("SKIPPED: jq 1.6 is not installed, so nothing is compared with it ({version:?})");
        return;
    }
    let (programs, expected, records) =
        (lines_of("programs.txt"), lines_of("differences.txt"), records());
    let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
    let mut disagreements = BTreeMap::new();
    let chunks: Vec<_> = programs.chunks(TOGETHER).collect();
    for side_by_side in chunks.chunks(4) {
        let found = std::thread::scope(|scope| {
            let compare = |together| compared(together, &records);
            let threads =
                side_by_side.iter().map(|together| scope.spawn(move || compare(together)));
            let threads: Vec<_> = threads.collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("no panic"))
                .collect::<Vec<_>>()
        });
        disagreements.extend(found);
    }
    let unknown = disagreements.iter().filter(|(program, _)| !expected.contains(program));
    let unknown: Vec<_> = unknown.map(|(program, told)| format!("{program}\n    {told}")).collect();
    let gone: Vec<_> =
        expected.iter().filter(|program| !disagreements.contains_key(*program)).collect();
    assert!(unknown.is_empty(), "{} programs differ:\n{}", unknown.len(), unknown.join("\n"));
    assert!(gone.is_empty(), "these are listed and do not differ: {gone:?}");
}
