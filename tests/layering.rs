//! The house rules that the compiler does not know: floors, homes of foreign crates, module heads,
//! unfinished work, and what README.md and ARCHITECTURE.md point at.
//!
//! Reads the sources as text. Comments, the insides of literals and `#[cfg(test)]` items do not
//! count, nor do files of tests. The last tests plant faults and see that they are found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module imports lower floors only. On the first floor members may build on each other in some
/// order, on the last one freely.
const FLOORS: [&[&str]; 6] = [
    &[
        "record",
        "positions",
        "plan",
        "table",
        "json",
        "number",
        "time",
        "fault",
        "clock",
        "disk",
        "tasks",
        "memory",
        "metrics",
    ],
    &["jq", "partition", "buffer", "convert", "infer"],
    &["journal", "transform", "outbox", "deliver", "catalog", "webhook"],
    &["ingest", "pipeline"],
    &["config"],
    &["app", "console", "cli", "main"],
];
const VOCABULARY: usize = 0;
const CALCULATION: usize = 1;
const ASSEMBLY: usize = 5;

/// What calculation does not do: wait, look at the time, touch the disk.
const NOT_IN_CALCULATION: [&str; 5] =
    ["tokio", "futures", "crate::clock", "crate::disk", "crate::tasks"];

/// Something foreign and the files or folders of `src` that may name it.
struct Home {
    what: &'static [&'static str],
    homes: &'static [&'static str],
    instead: &'static str,
}

const HOMES: [Home; 29] = [
    Home {
        what: &["axum", "hyper", "hyper_util", "http_body_util", "tower"],
        homes: &["ingest/", "console/", "app/"],
        instead: "serve HTTP in ingest or console",
    },
    Home {
        what: &["reqwest"],
        homes: &["cli/", "transform/", "webhook.rs"],
        instead: "call HTTP in the command line's client, in a hook or in the webhook",
    },
    Home {
        what: &["arrow_array", "arrow_buffer", "arrow_schema", "arrow_select", "parquet"],
        homes: &["convert/"],
        instead: "read and write columns in convert, and export what is needed in our own types",
    },
    Home {
        what: &["object_store"],
        homes: &["deliver/", "app/"],
        instead: "talk to stores in deliver",
    },
    Home {
        what: &["aws_sigv4", "aws_credential_types"],
        homes: &["ingest/signature.rs", "cli/client.rs"],
        instead: "verify signatures in ingest::signature and make them in cli::client",
    },
    Home {
        // Hashes of signatures, tokens, calls and certificates, and the hash of frozen objects.
        what: &["aws_lc_rs"],
        homes: &["ingest/", "plan.rs"],
        instead: "ask the module that owns the hash",
    },
    Home {
        what: &["saphyr_parser"],
        homes: &["config/"],
        instead: "read YAML in config, which tells faults by line",
    },
    Home {
        // The families, the producers' families, the histogram that a sync is measured with, the
        // registry, and the page that prints it.
        what: &["prometheus_client"],
        homes: &["metrics.rs", "ingest/counters.rs", "journal/committer.rs", "app/", "console/"],
        instead: "add a family to metrics and count into it",
    },
    Home {
        what: &["clap", "tracing_subscriber"],
        homes: &["cli/"],
        instead: "take arguments and set up logs in cli",
    },
    Home {
        // Frames, record ids, and the version of a stream's own columns.
        what: &["crc32c"],
        homes: &["journal/", "ingest/record_id.rs", "app/tables.rs", "pipeline/caution.rs"],
        instead: "checksums of files belong to the journal",
    },
    Home {
        what: &["chrono"],
        homes: &["time.rs", "partition/", "convert/", "ingest/auth.rs", "cli/demo/"],
        instead: "keep times as UnixMillis outside of texts",
    },
    Home {
        what: &["chrono_tz"],
        homes: &["partition/pattern/zone.rs"],
        instead: "ask partition::Zone",
    },
    Home {
        what: &["flate2"],
        homes: &["convert/", "ingest/", "transform/decompress.rs"],
        instead: "unpack bodies in ingest, records in transform::decompress, and pack objects in convert",
    },
    Home {
        what: &["zstd"],
        homes: &["convert/", "ingest/"],
        instead: "unpack bodies in ingest and pack objects in convert",
    },
    Home {
        what: &["prost", "md5"],
        homes: &["transform/kpl.rs"],
        instead: "take records of the Kinesis Producer Library apart in transform::kpl",
    },
    Home { what: &["snap"], homes: &["convert/"], instead: "pack objects in convert" },
    Home {
        what: &["base64"],
        homes: &["ingest/", "convert/", "transform/", "cli/"],
        instead: "records are plain bytes between ingest and error objects",
    },
    Home {
        // One room for each of the services.
        what: &["aws_sdk_glue"],
        homes: &["catalog/glue.rs", "catalog/glue/"],
        instead: "ask the Catalog",
    },
    Home {
        what: &["aws_sdk_lambda"],
        homes: &["transform/lambda.rs"],
        instead: "call functions by the Transform",
    },
    Home {
        what: &["aws_config"],
        homes: &["app/"],
        instead: "take a loaded configuration as an argument",
    },
    Home {
        what: &["jaq_core", "jaq_json", "jaq_std", "regex_bites"],
        homes: &["jq/"],
        instead: "evaluate jq by jq::Program",
    },
    Home {
        what: &["rlimit"],
        homes: &["app/descriptors.rs"],
        instead: "ask app::descriptors how many connections there may be",
    },
    Home {
        what: &["tikv_jemallocator"],
        homes: &["main.rs"],
        instead: "the program chooses its allocator, the library does not",
    },
    Home { what: &["wide"], homes: &["json/"], instead: "search bytes in json::text" },
    Home { what: &["tokio_rustls"], homes: &["ingest/"], instead: "end TLS in ingest" },
    Home { what: &["memchr"], homes: &["ingest/"], instead: "look for bytes in bodies in ingest" },
    Home {
        what: &["rustix"],
        homes: &["transform/command/process.rs", "disk.rs", "disk/volume.rs"],
        instead: "ask the operating system in one place for each thing",
    },
    Home {
        what: &["std::fs"],
        homes: &["disk.rs", "config/"],
        instead: "go through the Disk of disk.rs, which tests can fail",
    },
    Home {
        what: &["std::env"],
        homes: &["config/", "main.rs"],
        instead: "read the environment in config and hand the value on",
    },
];
/// What every module may name.
const COMMON: [&str; 8] =
    ["tokio", "futures", "bytes", "serde", "serde_json", "thiserror", "tracing", "uuid"];

/// A rule that does not hold somewhere.
#[derive(Debug)]
struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

fn report(findings: &[Finding]) {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn modules_import_lower_floors_only() {
    report(&floor_findings(&sources()));
}

#[test]
fn foreign_crates_stay_in_their_homes() {
    report(&home_findings(&sources()));
}

#[test]
fn every_dependency_has_a_home() {
    let manifest = read(&root().join("Cargo.toml"));
    let known: BTreeSet<_> = HOMES.iter().flat_map(|home| home.what).chain(&COMMON).collect();
    let strangers = dependencies(&manifest).filter(|name| !known.contains(&name.as_str()));
    let strangers: Vec<_> = strangers.collect();
    assert!(strangers.is_empty(), "give {strangers:?} a home in tests/layering.rs");
}

#[test]
fn files_begin_with_what_they_own_and_leave_nothing_unfinished() {
    let mut findings = Vec::new();
    for folder in ["src", "benches", "tests"] {
        for path in files_under(&root().join(folder), "rs") {
            findings.extend(text_findings(&relative(&path), &read(&path)));
        }
    }
    report(&findings);
}

#[test]
fn documents_point_at_files_that_exist() {
    let mut findings = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md"] {
        let path = root().join(name);
        assert!(path.is_file(), "{name} is missing: every reader begins there, write it");
        let top_level = fs::read_dir(root()).expect("the repository can be listed");
        let names = top_level.map(|entry| entry.expect("an entry").file_name());
        let mut names: BTreeSet<_> = names.filter_map(|name| name.into_string().ok()).collect();
        // What running the program leaves here is nothing that documents point at.
        let ignored = read(&root().join(".gitignore"));
        ignored.lines().filter_map(|line| line.strip_prefix('/')).for_each(|name| {
            names.remove(name);
        });
        let exists = |path: &str| {
            let mut folders = [root().to_owned(), root().join("src")].into_iter();
            folders.any(|folder| folder.join(path).try_exists().expect("the folder can be read"))
        };
        findings.extend(document_findings(name, &read(&path), &names, &exists));
    }
    report(&findings);
}

// The rules.

fn floor_findings(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut vocabulary: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(floor) = floor_of(&source.module) else {
            let what = format!("'{}' is on no floor: add it to FLOORS", source.module);
            findings.push(source.finding(1, what));
            continue;
        };
        for (line, path) in &source.paths {
            let Some(other) = source.crate_module(path).filter(|other| *other != source.module)
            else {
                continue;
            };
            let Some(other_floor) = floor_of(other) else {
                let what = format!("'crate::{other}' is no module of ours: name the module itself");
                findings.push(source.finding(*line, what));
                continue;
            };
            if floor == VOCABULARY && other_floor == VOCABULARY {
                vocabulary.entry(source.module.clone()).or_default().insert(other.to_owned());
            } else if other_floor > floor || (other_floor == floor && floor != ASSEMBLY) {
                let what = format!(
                    "{} (floor {floor}) imports {other} (floor {other_floor}): hand the value or a \
                     closure down from a higher floor, or move what both need to floor 0",
                    source.module
                );
                findings.push(source.finding(*line, what));
            }
        }
        if floor == CALCULATION {
            for (line, path) in &source.paths {
                if NOT_IN_CALCULATION.iter().any(|what| begins_with(path, what)) {
                    let what = format!(
                        "calculation names {path}: take the time or the bytes as an argument, and \
                         wait on a higher floor"
                    );
                    findings.push(source.finding(*line, what));
                }
            }
        }
    }
    if let Some(cycle) = cycle_in(&vocabulary) {
        let what = format!("floor 0 has a cycle {}: move what both need", cycle.join(" -> "));
        findings.push(Finding { file: format!("src/{}.rs", cycle[0]), line: 1, what });
    }
    findings
}

fn home_findings(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (line, path) in &source.paths {
            for home in &HOMES {
                let is_meant = home.what.iter().any(|what| begins_with(path, what));
                if is_meant && !source.is_in(home.homes) {
                    let homes = home.homes.join(", ");
                    let what = format!("{path} is at home in {homes}: {}", home.instead);
                    findings.push(source.finding(*line, what));
                }
            }
            let reads_clock = ["SystemTime::now", "Instant::now"].iter().any(|call| {
                path.strip_suffix(call).is_some_and(|rest| rest.is_empty() || rest.ends_with("::"))
            });
            if reads_clock && !begins_with(path, "tokio") && !source.is_in(&["clock.rs"]) {
                let what = format!("{path} is called in clock.rs only: take a Clock and ask it");
                findings.push(source.finding(*line, what));
            }
        }
    }
    findings
}

fn text_findings(file: &str, text: &str) -> Vec<Finding> {
    let finding = |line, what: &str| Finding { file: file.to_owned(), line, what: what.to_owned() };
    let mut findings = Vec::new();
    let first = text.lines().next().unwrap_or_default();
    if first.strip_prefix("//! ").is_none_or(|head| head.trim().len() < 10) {
        findings.push(finding(1, "no head: begin with //! and what the file owns"));
    }
    // Written apart, so that this file passes.
    // Three of the last one are a pattern of time, too.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let calls = [concat!("db", "g!"), concat!("to", "do!"), concat!("unimple", "mented!")];
    let ignored = concat!("#[ig", "nore");
    for (index, line) in text.lines().enumerate() {
        let mut identifiers = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if identifiers.any(|word| words.contains(&word)) {
            findings.push(finding(index + 1, "unfinished work: do it, or take the note out"));
        }
        if calls.iter().any(|call| line.contains(call)) {
            findings.push(finding(index + 1, "a macro for the desk: remove it"));
        }
        if line.contains(ignored) {
            let what = "an ignored test: assert today's behaviour and say why it is wrong";
            findings.push(finding(index + 1, what));
        }
    }
    findings
}

/// Links, and names in code that begin like something at the top of the repository or end like a
/// Rust file.
fn document_findings(
    file: &str,
    text: &str,
    top_level: &BTreeSet<String>,
    exists: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let links = links.filter(|link| !link.contains(':') && !link.starts_with('#'));
        let links = links.map(|link| link.split('#').next().unwrap_or_default());
        let code: Vec<&str> = match is_fenced {
            true => line.split_whitespace().collect(),
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        let names = code.into_iter().map(|name| name.trim_start_matches("./"));
        let names = names.filter(|name| is_path_of_ours(name, top_level));
        let names = names.map(|name| name.split(':').next().unwrap_or_default());
        for name in links.chain(names).collect::<BTreeSet<_>>() {
            if !name.is_empty() && !exists(name) {
                let what = format!("'{name}' does not exist: name the file as it is, or remove it");
                findings.push(Finding { file: file.to_owned(), line: index + 1, what });
            }
        }
    }
    findings
}

fn is_path_of_ours(name: &str, top_level: &BTreeSet<String>) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) || name.contains("::") {
        return false;
    }
    let first = name.split(['/', ':']).next().unwrap_or_default();
    // What a build leaves is not part of the repository.
    let is_built = first == "target" || first.starts_with(".venv");
    let has_capitals = name.strip_suffix(".md").is_some_and(|n| n == n.to_ascii_uppercase());
    let is_folder_of_ours = name.contains('/') && top_level.contains(first);
    !is_built && (is_folder_of_ours || has_capitals || name.ends_with(".rs"))
}

// What a source file says.

struct Source {
    /// Below `src`.
    file: String,
    /// The module right below the crate's root.
    module: String,
    /// How many modules deep the file's own module is.
    depth: usize,
    /// Every path of two or more segments, `use` groups taken apart, with its line.
    paths: Vec<(usize, String)>,
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        let stem = file.strip_suffix(".rs").unwrap_or(file);
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        let module = stem.split('/').next().unwrap_or_default().to_owned();
        let depth = stem.split('/').count();
        Self { file: file.to_owned(), module, depth, paths: paths_in(&without_tests(&code(text))) }
    }

    fn finding(&self, line: usize, what: String) -> Finding {
        Finding { file: format!("src/{}", self.file), line, what }
    }

    fn is_in(&self, homes: &[&str]) -> bool {
        let folder_file = |home: &str| home.strip_suffix('/').map(|name| format!("{name}.rs"));
        homes.iter().any(|home| {
            let is_whole_folder = home.ends_with('/') && self.file.starts_with(home);
            self.file == *home || is_whole_folder || folder_file(home).as_ref() == Some(&self.file)
        })
    }

    /// The module below the crate's root that a path leads to.
    fn crate_module<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut segments = path.split("::");
        let first = segments.next()?;
        match first {
            "crate" => segments.next(),
            // The program is a crate of its own.
            "lakehose" if self.module == "main" => segments.next(),
            "super" => {
                let climbed = 1 + path.split("::").skip(1).take_while(|s| *s == "super").count();
                (climbed == self.depth).then(|| path.split("::").nth(climbed)).flatten()
            }
            _ => None,
        }
    }
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn begins_with(path: &str, what: &str) -> bool {
    path.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn cycle_in(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        edges: &BTreeMap<String, BTreeSet<String>>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        let here = trail.last()?.clone();
        for next in edges.get(&here).into_iter().flatten() {
            if let Some(start) = trail.iter().position(|seen| seen == next) {
                let mut cycle = trail[start..].to_vec();
                cycle.push(next.clone());
                return Some(cycle);
            }
            if !done.contains(next) {
                trail.push(next.clone());
                let cycle = walk(edges, trail, done);
                if cycle.is_some() {
                    return cycle;
                }
                trail.pop();
            }
        }
        done.insert(here);
        None
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| walk(edges, &mut vec![start.clone()], &mut done))
}

/// The text with comments and the insides of literals blanked; lines stay where they are.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_or_comment_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the literal or comment that begins at `at` ends; `at` itself when none begins there.
fn literal_or_comment_end(chars: &[char], at: usize) -> usize {
    let looking_at =
        |text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let is_in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let line_end = || (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len());
    if looking_at("//") {
        return line_end();
    }
    if looking_at("/*") {
        let mut depth = 0;
        let mut i = at;
        while i < chars.len() {
            match (chars[i], chars.get(i + 1)) {
                ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
                ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
                _ => i += 1,
            }
            if depth == 0 {
                break;
            }
        }
        return i;
    }
    let raw = if looking_at("br") { 2 } else { usize::from(looking_at("r")) };
    if raw > 0 && !is_in_word {
        let hashes = chars[at + raw..].iter().take_while(|c| **c == '#').count();
        if chars.get(at + raw + hashes) == Some(&'"') {
            let closes = |i: &usize| {
                chars[*i] == '"' && (1..=hashes).all(|hash| chars.get(*i + hash) == Some(&'#'))
            };
            let close = (at + raw + hashes + 1..chars.len()).find(closes);
            return close.map_or(chars.len(), |close| close + 1 + hashes);
        }
    }
    let is_character =
        looking_at("'") && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\''));
    if looking_at("\"") || is_character {
        let quote = chars[at];
        let mut i = at + 1;
        while i < chars.len() && chars[i] != quote {
            i += if chars[i] == '\\' { 2 } else { 1 };
        }
        return (i + 1).min(chars.len());
    }
    at
}

/// Blanks every item under `#[cfg(test)]`, up to its semicolon or the end of its braces.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        out.push_str(&rest[..start]);
        let mut depth = 0;
        let end = rest[start + MARK.len()..].char_indices().find_map(|(i, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            let is_end = depth == 0 && matches!(c, '}' | ';');
            is_end.then_some(start + MARK.len() + i + 1)
        });
        let end = end.unwrap_or(rest.len());
        out.extend(rest[start..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Paths with their lines. A group is taken apart wherever it stands behind `::{` or `use {`.
fn paths_in(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    let tokens = tokens_of(code);
    let mut at = 0;
    while at < tokens.len() {
        let is_use = tokens[at].1 == "use";
        if is_use {
            at += 1;
        }
        let before = at;
        at = take_path(&tokens, at, "", is_use, &mut paths);
        at = at.max(before + usize::from(!is_use || at == before));
    }
    paths
}

/// Reads a path or group at `at` under `prefix`; tells where it ends.
fn take_path(
    tokens: &[(usize, String)],
    mut at: usize,
    prefix: &str,
    is_use: bool,
    paths: &mut Vec<(usize, String)>,
) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    if prefix.is_empty() && token(at) == "::" {
        at += 1;
    }
    let start = at;
    let mut path = prefix.to_owned();
    loop {
        let here = token(at);
        if here == "{" && (is_use || !prefix.is_empty()) && (path.ends_with("::") || at == start) {
            at += 1;
            while at < tokens.len() && token(at) != "}" {
                let next = take_path(tokens, at, &path, true, paths);
                at = next.max(at + 1);
            }
            return at + 1;
        }
        let is_word = here.starts_with(|c: char| c.is_alphabetic() || c == '_') || here == "*";
        if !is_word {
            // Such as the `<` of `from_str::<T>`.
            if at > start && path.trim_end_matches("::").contains("::") {
                paths.push((tokens[start].0, path.trim_end_matches("::").to_owned()));
            }
            return at;
        }
        path.push_str(here);
        at += 1;
        if token(at) != "::" {
            break;
        }
        path.push_str("::");
        at += 1;
    }
    if path.contains("::") {
        paths.push((tokens[start].0, path));
    }
    if is_use && token(at) == "as" {
        at += 2;
    }
    at
}

/// Words, `::` and single signs with their lines.
fn tokens_of(code: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push((index + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn dependencies(manifest: &str) -> impl Iterator<Item = String> {
    let after = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let section = after.take_while(|line| !line.starts_with('['));
    let names = section.filter_map(|line| line.split_once(" = ").map(|(name, _)| name));
    names.filter(|name| !name.starts_with('#')).map(|name| name.replace('-', "_"))
}

// The files.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let files = files_under(&root().join("src"), "rs");
    let named = files.iter().map(|path| (relative(path), path));
    let product = named.filter(|(name, _)| !is_test_file(name) && name != "src/lib.rs");
    product.map(|(name, path)| Source::new(&name["src/".len()..], &read(path))).collect()
}

/// Tests beside the code, what the fuzzer calls, and doubles that are mounted for tests only.
fn is_test_file(name: &str) -> bool {
    let is_tests = name.ends_with("/tests.rs") || name.ends_with("_tests.rs");
    let is_fuzzing = name.ends_with("fuzzing.rs") || name.contains("/fuzzing/");
    let is_double = name.starts_with("src/disk/simulated");
    is_tests || is_fuzzing || name.contains("/tests/") || is_double
}

fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("it is below the repository");
    inside.to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Planted faults: the rules above can fail.
mod planted {
    use super::*;

    fn told(findings: &[Finding]) -> Vec<(usize, String)> {
        let short = |what: &str| what.split(':').next().unwrap_or_default().to_owned();
        findings.iter().map(|finding| (finding.line, short(&finding.what))).collect()
    }

    fn paths(text: &str) -> Vec<String> {
        Source::new("buffer.rs", text).paths.into_iter().map(|(_, path)| path).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        let text =
            "pub use crate::{record::{Position, self}, disk as d, table::*};\nuse {a::b, c};";
        let wanted =
            ["crate::record::Position", "crate::record::self", "crate::disk", "crate::table::*"];
        assert_eq!(paths(text)[..4], wanted);
        assert_eq!(paths(text)[4..], ["a::b"]);
        assert_eq!(paths("fn f(x: ::parquet::A) -> B { C::d(crate::e::F) }").len(), 3);
        assert_eq!(paths("match x { a::B { c } => d::e(), _ => {} }"), ["a::B", "d::e"]);
        assert_eq!(paths("x.map(std::fs::read)?; use std::{fs, io,}; w::y::<z::Z>()").len(), 5);
    }

    #[test]
    fn comments_literals_and_tests_do_not_count() {
        let text = "// crate::app::A\n/* crate::app /* x */ y::z */ const S: &str = \"a::b \\\" c::d\";\n\
                    const R: &str = r#\"e::f \" g::h\"#; const C: char = '\"'; fn f<'a>(x: i::J<'a>) {}\n\
                    #[cfg(test)]\nmod tests { use crate::app::A; fn g() {} }\n\
                    #[cfg(test)]\nuse crate::cli;\nuse k::l;";
        assert_eq!(Source::new("buffer.rs", text).paths, [(3, "i::J".into()), (8, "k::l".into())]);
    }

    #[test]
    fn imports_upward_and_sideways_are_found() {
        let case = |file: &str, text: &str| floor_findings(&[Source::new(file, text)]).len();
        assert_eq!(case("outbox/mod.rs", "use crate::{plan::Plan, disk::Disk};"), 0);
        assert_eq!(case("outbox/mod.rs", "use crate::deliver::Stores;"), 1);
        assert_eq!(case("journal/log.rs", "fn f() { crate::pipeline::run() }"), 1);
        assert_eq!(case("journal/log.rs", "use super::super::ingest::Service;"), 1);
        assert_eq!(case("journal/log.rs", "use super::ingest;"), 0);
        assert_eq!(case("app/mod.rs", "use crate::console::Console;"), 0);
        assert_eq!(case("console/mod.rs", "use crate::nothing::X;"), 1);
        assert_eq!(case("surprise.rs", ""), 1);
        assert_eq!(case("buffer.rs", "use tokio::sync::mpsc;\nuse crate::clock::Clock;"), 2);
        let findings = floor_findings(&[Source::new("outbox/mod.rs", "\nuse crate::app::App;")]);
        assert!(
            findings[0].to_string().starts_with("src/outbox/mod.rs:2: outbox (floor 2) imports")
        );
    }

    #[test]
    fn cycles_in_the_vocabulary_are_found() {
        let source = |file: &str, text: &str| Source::new(file, text);
        let chain = [
            source("plan.rs", "use crate::positions::P;"),
            source("positions.rs", "use crate::record::P;"),
            source("disk.rs", "use crate::record::P;"),
        ];
        assert!(floor_findings(&chain).is_empty());
        let ring = chain.into_iter().chain([source("record.rs", "use crate::plan::Plan;")]);
        let findings = floor_findings(&ring.collect::<Vec<_>>());
        assert_eq!(
            told(&findings)[0].1,
            "floor 0 has a cycle record -> plan -> positions -> record"
        );
    }

    #[test]
    fn crates_away_from_home_are_found() {
        let case = |file: &str, text: &str| home_findings(&[Source::new(file, text)]).len();
        assert_eq!(case("deliver/mod.rs", "use object_store::ObjectStore;"), 0);
        assert_eq!(case("pipeline/mod.rs", "use object_store::{path::Path, ObjectStore};"), 2);
        assert_eq!(case("outbox/mod.rs", "use std::{fs, io};"), 1);
        assert_eq!(case("disk.rs", "use std::os::unix::fs::FileExt; use std::fs::File;"), 0);
        assert_eq!(case("cli/demo.rs", "let t = std::time::SystemTime::now();"), 1);
        assert_eq!(case("cli/demo.rs", "let t = Instant::now();"), 1);
        assert_eq!(case("ingest/server.rs", "let t = tokio::time::Instant::now();"), 0);
        assert_eq!(case("ingest/operations.rs", "use aws_sigv4::sign;"), 1);
        let manifest = "[dependencies]\n# x = y\naws-sigv4 = \"1\"\n\n[features]\na = []\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["aws_sigv4"]);
    }

    #[test]
    fn heads_and_unfinished_work_are_found() {
        let head = "//! The whole of something.\n";
        assert!(text_findings("a.rs", &format!("{head}fn f() {{}}")).is_empty());
        assert_eq!(text_findings("a.rs", "fn f() {}").len(), 1);
        assert_eq!(text_findings("a.rs", "//! x\n").len(), 1);
        for word in [concat!("// TO", "DO: x"), concat!("db", "g!(x);"), concat!("#[ig", "nore]")] {
            let findings = text_findings("a.rs", &format!("{head}{word}"));
            assert_eq!((findings.len(), findings[0].line), (1, 2), "{word}");
        }
    }

    #[test]
    fn dead_links_and_names_are_found() {
        let top_level = BTreeSet::from(["src".to_owned(), "deploy".to_owned(), "LICENSE".into()]);
        let exists = |path: &str| ["src/a.rs", "a.rs", "deploy", "LICENSE"].contains(&path);
        let text = "[a](src/a.rs#x) [b](gone.md) [c](https://x.org/y) [d](#here)\n\
                    `src/a.rs` `src/gone.rs` `deploy/gone.yaml` `clicks/x=1/` `b.rs` `a.rs:7` `a::b`\n\
                    ```\ncat deploy/lost.yaml target/release/x\n```\n`GONE.md`\n";
        let findings = document_findings("README.md", text, &top_level, &exists);
        let found: Vec<_> = findings.iter().map(|f| (f.line, &f.what[..10])).collect();
        let wanted = [
            (1, "'gone.md' "),
            (2, "'b.rs' doe"),
            (2, "'deploy/go"),
            (2, "'src/gone."),
            (4, "'deploy/lo"),
            (6, "'GONE.md' "),
        ];
        assert_eq!(found, wanted);
    }
}
