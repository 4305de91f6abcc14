//! `lakehose verify`: a data directory at rest, looked at from its lock to its last record, and
//! nothing of it changed.
//!
//! Owns the walk through the directory, and which legs of a stream depend on which file. What is to
//! be said of a finding stands in `words`. The readers are those of the start: a directory without a
//! finding is one that the service takes up without losing anything. It takes no lock, so it refuses
//! a directory that a running service changes meanwhile.
//!
//! Memory holds what the start holds of one stream (settled records as runs, open plans), one
//! segment's decisions, and no more, whatever the size of the journal.

mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::definitions::{ReadError, Retired};
use super::directory::{FILE_BYTES_MAX, FORMAT, Identity, StreamFile};
use super::{copies, definitions};
use crate::config::DefinitionError;
use crate::disk::{Disk, OsDisk, RESERVE_NAME, is_directory_locked, read_file};
use crate::journal::{FlawKind, Look, Survey};
use crate::outbox;
use crate::pipeline::{BackupEnd, Books, entry_source};
use crate::positions::{Positions, Run};
use crate::record::{Position, StreamName};

use self::words::Log;

/// What a data directory holds, by name.
const ROOT_NAMES: [&str; 5] = ["LOCK", "identity.json", "addresses.json", RESERVE_NAME, "streams"];
/// What file systems put into their roots.
const VOLUME_NAMES: [&str; 1] = ["lost+found"];
/// What the folder of a stream holds besides the folders of its logs.
const STREAM_NAMES: [&str; 4] = ["stream.json", "table.json", "definition.json", "retired.json"];
/// What the folder of a log holds.
const LOG_NAMES: [&str; 3] = ["journal", "checkpoint", "outbox"];
/// What stands beside them at times: what a leg notes for the case that the process dies under it and
/// what it has learnt of sizes, read by nobody else, and damaged files of an outbox.
const SIDE_NAMES: [&str; 3] = ["running", "sizes.json", outbox::QUARANTINE];
/// Where the records of a backup end that was switched off.
const BACKUP_END_NAME: &str = "end.json";
/// Logs with a folder of their own inside that of their stream.
const OTHER_LOGS: [&str; 2] = ["scratch", "backup"];

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A trace of an interruption; the next start deals with it, and nothing is lost.
    Harmless,
    /// Something is damaged, missing or strange.
    Problem,
    /// Something cannot be judged by this program.
    Unchecked,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or folder, below the data directory.
    pub path: PathBuf,
    /// The stream and, where it is not the first, its log.
    pub stream: Option<String>,
    /// The records or parts that are concerned, and which of the two they are.
    pub positions: Option<(Positions, &'static str)>,
    /// What it is; begins with its name.
    pub what: String,
    /// What it costs.
    pub cost: String,
    /// What to do.
    pub advice: String,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Folders of streams.
    pub streams: u64,
    /// Journal segments, of all logs.
    pub segments: u64,
    /// Whole records in them, parts and other entries of scratch logs too.
    pub records: u64,
    /// Objects in outboxes.
    pub objects: u64,
    /// Findings that are problems.
    pub problems: u64,
    /// Findings that could not be judged.
    pub unchecked: u64,
}

/// Why a directory could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is no data directory.
    #[error(
        "{} is not a data directory of lakehose: it has neither an identity.json nor streams; name \
         the data_dir of the YAML file", .0.display()
    )]
    NotOne(PathBuf),
    /// A service runs on it.
    #[error(
        "{} is in use by a running lakehose, which changes files while they are checked: stop it \
         first, or check a snapshot of the file system; what the service knows of itself is shown \
         by: lakehose status", .0.display()
    )]
    InUse(PathBuf),
    /// A service was started on it meanwhile.
    #[error(
        "a lakehose was started on {} during the check, so what was found may be wrong: stop it and \
         check again", .0.display()
    )]
    Started(PathBuf),
    /// The disk did not do what was asked.
    #[error("could not read {}: {error}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// Looks at everything in the data directory at `path` and tells every finding as it comes by it.
/// Blocks, for as long as it takes to read the whole directory.
///
/// # Errors
/// When there is nothing to check, or somebody else is at it.
pub fn verify(path: &Path, found: &mut dyn FnMut(Finding)) -> Result<Verified, VerifyError> {
    let lock = |error| VerifyError::Disk { path: path.join("LOCK"), error };
    if is_directory_locked(path).map_err(lock)? {
        return Err(VerifyError::InUse(path.to_owned()));
    }
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let mut verifier = Verifier { disk, root: path.to_owned(), found, totals: Verified::default() };
    verifier.root().map_err(|(path, error)| VerifyError::Disk { path, error })?;
    let totals = verifier.totals;
    if totals == Verified::default() && !verifier.has("identity.json") {
        return Err(VerifyError::NotOne(path.to_owned()));
    }
    if is_directory_locked(path).map_err(lock)? {
        return Err(VerifyError::Started(path.to_owned()));
    }
    Ok(totals)
}

type ReadResult<T> = Result<T, (PathBuf, io::Error)>;

struct Verifier<'a> {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    found: &'a mut dyn FnMut(Finding),
    totals: Verified,
}

/// What is known of a leg before its log is gone through.
struct Leg {
    log: Log,
    survey: Survey,
    books: Books,
    settled: Positions,
}

impl Verifier<'_> {
    fn root(&mut self) -> ReadResult<()> {
        let streams = self.root.join("streams");
        let names = self.disk.list(&self.root).map_err(|error| (self.root.clone(), error))?;
        let stream_names = match self.disk.list(&streams) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|error| (streams.clone(), error))?,
        };
        if !self.has("identity.json") && stream_names.is_empty() {
            return Ok(());
        }
        let known: Vec<&str> = ROOT_NAMES.into_iter().chain(VOLUME_NAMES).collect();
        self.names(&self.root.clone(), &names, &known, None);
        self.json::<serde_json::Value>("addresses.json", &words::ADDRESSES, None);
        let Some(instance) = self.identity(!stream_names.is_empty()) else {
            return Ok(());
        };
        for name in stream_names {
            self.stream(&streams.join(&name), &name, instance)?;
        }
        Ok(())
    }

    /// Whose directory it is; `None` when nothing else can be judged.
    fn identity(&mut self, has_streams: bool) -> Option<Uuid> {
        if !self.has("identity.json") {
            if has_streams {
                self.tell(words::no_identity("it is not there"));
            }
            return None;
        }
        let identity: Identity = self.json("identity.json", &words::IDENTITY, None)?;
        if identity.format != FORMAT {
            self.tell(words::newer_directory(identity.format, FORMAT));
            return None;
        }
        Some(identity.instance)
    }

    fn stream(&mut self, path: &Path, name: &str, instance: Uuid) -> ReadResult<()> {
        let is_folder = self.disk.list(path);
        let (Ok(names), Ok(_)) = (is_folder, StreamName::new(name)) else {
            self.tell(words::unknown(self.below(path), None, "it is ignored"));
            return Ok(());
        };
        self.totals.streams += 1;
        let known: Vec<&str> =
            STREAM_NAMES.into_iter().chain(LOG_NAMES).chain(OTHER_LOGS).chain(SIDE_NAMES).collect();
        self.names(path, &names, &known, Some(name));
        let is_there = |wanted: &str| names.iter().any(|name| name == wanted);
        let file = format!("streams/{name}/stream.json");
        if is_there("stream.json") {
            let definition: Option<StreamFile> = self.json(&file, &words::STREAM, Some(name));
            if let Some(definition) = definition
                && definition.stream.as_str() != name
            {
                self.tell(words::other_stream(file.into(), name, definition.stream.as_str()));
            }
        } else if is_there("journal") {
            self.tell(words::no_definition(file.into(), name));
        }
        if is_there("table.json") {
            self.table(&path.join("table.json"), name);
        }
        if is_there("definition.json") {
            self.definition(&path.join("definition.json"), name);
        }
        let retired = format!("streams/{name}/retired.json");
        self.json::<Retired>(&retired, &words::RETIRED, Some(name));
        for log in OTHER_LOGS {
            if let Ok(names) = self.disk.list(&path.join(log)) {
                let end = (log == "backup").then_some(BACKUP_END_NAME);
                let known: Vec<&str> = LOG_NAMES.into_iter().chain(SIDE_NAMES).chain(end).collect();
                self.names(&path.join(log), &names, &known, Some(name));
            }
        }
        let has_log = |folder: &str| {
            let is_filled = |name: &str| {
                let files = self.disk.list(&path.join(folder).join(name));
                files.is_ok_and(|files| !files.is_empty())
            };
            LOG_NAMES.into_iter().any(is_filled)
        };
        let (has_scratch, has_backup) = (has_log("scratch"), has_log("backup"));
        self.logs(path, name, instance, has_scratch, has_backup)
    }

    /// The logs of a stream, the later ones first: they tell how far the earlier ones had come.
    fn logs(
        &mut self,
        path: &Path,
        name: &str,
        instance: Uuid,
        has_scratch: bool,
        has_backup: bool,
    ) -> ReadResult<()> {
        let mut source_end = Position(0);
        if has_scratch {
            let leg = self.leg(path, name, "scratch", instance)?;
            source_end = self.check(&leg, &[]).max(leg.books.source_end());
            self.outbox(&path.join("scratch"), &leg)?;
        }
        let mut source = self.leg(path, name, "", instance)?;
        source.books.transformed_until(source_end);
        source.settled = source.books.settled();
        let backup =
            if has_backup { Some(self.leg(path, name, "backup", instance)?) } else { None };
        let others: Vec<(&str, &Positions)> =
            backup.iter().map(|leg| ("the backup", &leg.settled)).collect();
        self.check(&source, &others);
        let end = source.end();
        if source_end > end {
            let run = Run { first: end, count: source_end.0 - end.0 };
            self.tell(words::behind(&source.log, run, "the scratch log"));
        }
        self.outbox(path, &source)?;
        if let Some(backup) = &backup {
            self.check(backup, &[]);
            self.outbox(&path.join("backup"), backup)?;
            let note = format!("streams/{name}/backup/{BACKUP_END_NAME}");
            let note = self.json::<BackupEnd>(&note, &words::BACKUP_END, Some(name));
            let backup_end = note.map(|note| note.end);
            let settled_until = backup.settled.end();
            let known_end = settled_until.max(backup_end.unwrap_or_default());
            if known_end > end {
                let run = Run { first: end, count: known_end.0 - end.0 };
                self.tell(words::behind(&source.log, run, "the backup"));
            }
            self.left_behind(&source, backup, backup_end);
        }
        Ok(())
    }

    /// Reads what the decisions of a log say.
    fn leg(&mut self, path: &Path, name: &str, folder: &str, instance: Uuid) -> ReadResult<Leg> {
        let directory = if folder.is_empty() { path.to_owned() } else { path.join(folder) };
        let survey = Survey::of(&self.disk, &directory, instance);
        let mut survey = survey.map_err(|error| (directory.clone(), error))?;
        let log = Log {
            stream: name.to_owned(),
            folder: folder.to_owned(),
            path: self.below(&directory),
        };
        self.totals.segments += survey.segment_count() as u64;
        let checkpoint = survey.checkpoint().cloned();
        // A log without a checkpoint is told from its first segment on, or not at all.
        let begins_at_zero = survey.begin().is_none_or(|begin| begin == Position(0));
        let is_unreadable = checkpoint.is_none() && !begins_at_zero;
        let mut odd = Vec::new();
        let mut books = Books::new(checkpoint, begins_at_zero, &mut |oddity| odd.push(oddity));
        survey.scan(&mut |control| books.apply(control, &mut |oddity| odd.push(oddity)));
        for oddity in odd {
            self.tell(words::oddity(&log, &oddity));
        }
        if is_unreadable {
            self.tell(words::no_checkpoint(&log));
        }
        for flaw in survey.take_flaws() {
            let path = self.below(&flaw.path);
            self.tell(words::flaw(&log, path, &flaw, None));
        }
        let settled = books.settled();
        Ok(Leg { log, survey, books, settled })
    }

    /// Goes through the records of a log. `others` depend on them too. Tells, of a scratch log, how
    /// far the transform had come.
    fn check(&mut self, leg: &Leg, others: &[(&str, &Positions)]) -> Position {
        let Leg { log, survey, settled, .. } = leg;
        let is_scratch = log.is_scratch();
        let (mut source_end, mut records) = (Position(0), 0);
        let holds_records = !log.is_backup();
        if holds_records && let Some(begin) = survey.begin() {
            // With all segments gone, the checkpoint is all there is to say.
            self.lost(leg, others, survey_gap(Position(0), begin));
        }
        survey.check(&mut |look| match look {
            Look::Record(position, bytes) => {
                records += 1;
                match entry_source(bytes).filter(|_| is_scratch) {
                    Some(source) => source_end = source_end.max(source.advanced_by(1)),
                    None if is_scratch => {
                        let run = Run { first: position, count: 1 };
                        let cost = words::Cost::of(run, settled, others);
                        (self.found)(words::no_entry(log, run, &cost));
                        self.totals.problems += 1;
                    }
                    None => {}
                }
            }
            Look::Flaw(flaw) => {
                let is_between =
                    matches!(flaw.kind, FlawKind::Hole) && flaw.path.extension().is_none();
                // The log of a backup has decisions only; its positions are those of its source.
                let run = flaw.positions.filter(|_| holds_records);
                if matches!(flaw.kind, FlawKind::Hole) && !holds_records {
                    return;
                }
                if let Some(run) = run.filter(|_| is_between) {
                    self.lost(leg, others, run);
                    return;
                }
                let cost = run.map(|run| words::Cost::of(run, settled, others));
                let path = self.below(&flaw.path);
                self.tell(words::flaw(log, path, &flaw, cost.as_ref()));
            }
        });
        self.totals.records += records;
        let known_end = survey.checkpoint().map_or(Position(0), |checkpoint| checkpoint.end);
        if holds_records {
            self.lost(leg, others, survey_gap(survey.end(), known_end));
        }
        source_end
    }

    /// No segment holds the records of `run`: as it must be where they are settled.
    fn lost(&mut self, leg: &Leg, _others: &[(&str, &Positions)], run: Run) {
        let missing = Positions::from_run(run.first, run.count).without(&leg.settled);
        if !missing.is_empty() {
            self.tell(words::missing(&leg.log, missing));
        }
    }

    /// Records that the backup has not got and the journal does not hold any more; of one that was
    /// switched off, those before its `end`.
    fn left_behind(&mut self, source: &Leg, backup: &Leg, end: Option<Position>) {
        let all = Positions::from_run(Position(0), end.unwrap_or_else(|| source.end()).0);
        let gone = all.without(&source.survey.held()).without(&backup.settled);
        if !gone.is_empty() {
            self.tell(words::missing(&backup.log, gone));
        }
    }

    fn outbox(&mut self, directory: &Path, leg: &Leg) -> ReadResult<()> {
        let open = leg.books.open_plans();
        let mut flaws = Vec::new();
        let looked = outbox::survey(
            self.disk.as_ref(),
            directory,
            open,
            leg.books.last_plan(),
            &mut |flaw| flaws.push(flaw),
        );
        self.totals.objects += looked.map_err(|error| (directory.to_owned(), error))?;
        for flaw in &flaws {
            let path = self.below(&flaw.path);
            self.tell(words::outbox(&leg.log, path, flaw));
        }
        Ok(())
    }

    fn table(&mut self, path: &Path, stream: &str) {
        let read = read_file(self.disk.as_ref(), path, copies::FILE_BYTES_MAX);
        if !read.is_ok_and(|bytes| copies::is_copy(&bytes)) {
            self.tell(words::TABLE.finding(self.below(path), Some(stream), ""));
        }
    }

    fn definition(&mut self, path: &Path, stream: &str) {
        let error = match definitions::read(self.disk.as_ref(), path) {
            Ok(None) => return,
            Ok(Some(definition)) if definition.stream() == stream => return,
            Ok(Some(definition)) => format!("it is of stream {}", definition.stream()),
            Err(ReadError::Unusable(DefinitionError::Newer(found))) => {
                self.tell(words::newer_definition(self.below(path), stream, &found));
                return;
            }
            Err(error) => error.to_string(),
        };
        self.tell(words::DEFINITION.finding(self.below(path), Some(stream), &error));
    }

    /// Reads a small file; what is wrong with it is told.
    fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        file: &str,
        words: &words::FileWords,
        stream: Option<&str>,
    ) -> Option<T> {
        let path = self.root.join(file);
        let error = match read_file(self.disk.as_ref(), &path, FILE_BYTES_MAX) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => return Some(value),
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        self.tell(words.finding(file.into(), stream, &error));
        None
    }

    /// Tells of names that nothing of ours has.
    fn names(&mut self, folder: &Path, names: &[String], known: &[&str], stream: Option<&str>) {
        let known: BTreeSet<&str> = known.iter().copied().collect();
        for name in names.iter().filter(|name| !known.contains(name.as_str())) {
            let path = self.below(&folder.join(name));
            let of = name.strip_suffix(".tmp").filter(|name| known.contains(name));
            self.tell(match of {
                Some(_) => words::leftover(path, stream),
                None => words::unknown(path, stream, "it is ignored"),
            });
        }
    }

    fn has(&self, name: &str) -> bool {
        let names = self.disk.list(&self.root);
        names.is_ok_and(|names| names.iter().any(|found| found == name))
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    fn tell(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Harmless => {}
            Severity::Problem => self.totals.problems += 1,
            Severity::Unchecked => self.totals.unchecked += 1,
        }
        (self.found)(finding);
    }
}

impl Leg {
    /// The position after the last record, as a start would have it.
    fn end(&self) -> Position {
        let known = self.survey.checkpoint().map_or(Position(0), |checkpoint| checkpoint.end);
        self.survey.end().max(known)
    }
}

fn survey_gap(first: Position, end: Position) -> Run {
    Run { first, count: end.0.saturating_sub(first.0) }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Harmless => "harmless",
            Severity::Problem => "PROBLEM",
            Severity::Unchecked => "NOT CHECKED",
        };
        write!(f, "{severity}: {}: ", self.path.display())?;
        if let Some(stream) = &self.stream {
            write!(f, "stream {stream}: ")?;
        }
        write!(f, "{}", self.what)?;
        if let Some((positions, noun)) = &self.positions {
            write!(f, ", {noun} {}", words::Ranges(positions))?;
        }
        write!(f, "; cost: {}; do: {}", self.cost, self.advice)
    }
}
