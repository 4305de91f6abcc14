//! `lakehose audit`: what lies in the stores, recounted, against what the journals say was delivered.
//!
//! Owns which objects belong to a stream, and the comparison. The books are taken twice, before the
//! listing and after it: what was committed before must be in the store, what lies there must be
//! settled after. So the answer is exact also while the service runs, and nothing has to stand
//! still.
//!
//! Rows of Parquet are recounted by their footers, which name the records; of an object only its end
//! is read. Failures are recounted by their lines. An object of records as they are says nothing of
//! itself: there the count serves that the put noted beside it, where the store keeps notes.
//!
//! Changes nothing, and does not judge what was done on purpose: files that were compacted or deleted
//! by their age are gaps all the same, what was delivered by a prefix or to a store that the
//! configuration has no more is a gap, and what a stream left that was taken out is a stranger.
//!
//! Memory holds the records that were found, as runs, which become few as the picture fills; listing
//! and reading are streamed.

mod coverage;
mod name;
mod rest;

use std::collections::BTreeMap;

use futures::StreamExt as _;
use serde::Serialize;

use super::repair::find;
use super::{StreamError, accesses};
use crate::config::{self, Config, DeliveryStream};
use crate::convert::{Counted, Provenance, footer_bytes, sub_sequence_number};
use crate::deliver::contents::{self, Listed};
use crate::deliver::{ListError, Stores};
use crate::pipeline::{LegBooks, StreamBooks};
use crate::plan::{ObjectKind, Target};
use crate::positions::Positions;
use crate::record::{Position, StreamName};

use self::coverage::Coverage;
use self::name::Name;

pub(super) use self::rest::left_at_rest;
pub use self::rest::{RestError, books_at_rest};

/// Objects whose ends are read side by side.
const READS_IN_FLIGHT_MAX: usize = 16;
/// Most footers are shorter; a longer one takes a second read.
const FOOTER_BYTES_GUESSED: u64 = 32 << 10;
/// Of a line of failures so much is looked at: its record may have a thousand KiB, in base64.
const LINE_BYTES_MAX: usize = 2 << 20;
/// Differences of one kind that are told one by one; the rest is counted.
const TOLD_MAX: u64 = 1000;

/// What the recount of one stream came to.
#[derive(Clone, Debug, Serialize)]
pub struct StreamAudit {
    /// The stream.
    pub stream: StreamName,
    /// What was found, by what it is.
    pub counts: Vec<AuditCount>,
    /// Objects of other instances, which have books of their own.
    pub other_instances: u64,
    /// What does not agree.
    pub differences: Vec<Difference>,
    /// Differences beyond those that are told, by kind.
    pub untold: BTreeMap<&'static str, u64>,
    /// What could not be recounted, and why.
    pub notes: Vec<String>,
}

/// One line of the recount.
#[derive(Clone, Debug, Serialize)]
pub struct AuditCount {
    /// What was counted.
    pub what: &'static str,
    /// Objects in the store.
    pub objects: u64,
    /// Records in them; `None` where they do not tell.
    pub in_store: Option<u64>,
    /// Records that the books say were delivered, before the listing and after it.
    pub in_books: (u64, u64),
}

/// Something that does not agree.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// One word for it: gap, overlap, stranger, rows, unknown, surplus.
    pub kind: &'static str,
    /// The object, where it is one.
    pub key: Option<String>,
    /// The records or parts.
    pub positions: Option<Positions>,
    /// What it is, as a sentence.
    pub text: String,
}

/// Why a recount did not come about.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no such stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A store does not answer.
    #[error(transparent)]
    Store(#[from] ListError),
    /// The books are not to be had.
    #[error("{0}")]
    Books(String),
}

/// Recounts `stream`, or every stream of the configuration. `books` gives a stream's books as they
/// stand at the moment; `None` for one that has none yet. `progress` hears how many objects of a
/// stream were looked at.
///
/// # Errors
/// When the books or a store are not to be had.
pub async fn audit(
    config: &Config,
    stream: Option<&str>,
    books: impl AsyncFn(&StreamName) -> Result<Option<StreamBooks>, String>,
    progress: &(dyn Fn(&StreamName, u64) + Sync),
) -> Result<Vec<StreamAudit>, AuditError> {
    let stores = Stores::new(accesses::of(config, []));
    let chosen: Vec<(&StreamName, &DeliveryStream)> = match stream {
        Some(stream) => vec![find(config, stream)?],
        None => config.delivery_streams.iter().collect(),
    };
    let mut audits = Vec::new();
    for (name, settings) in chosen {
        let before = books(name).await.map_err(AuditError::Books)?;
        let Some(before) = before else {
            let note = "nothing was ever accepted: the stream has no books".to_owned();
            audits.push(StreamAudit { notes: vec![note], ..StreamAudit::new(name) });
            continue;
        };
        let mut recount = Recount::new(name, settings, config, &before.stamp);
        recount.run(&stores, progress).await?;
        let after = books(name).await.map_err(AuditError::Books)?;
        let after = after.unwrap_or_else(|| before.clone());
        audits.push(recount.compare(&before, &after));
    }
    Ok(audits)
}

/// What the objects below a prefix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Data,
    Error,
    Backup,
}

/// Where objects of a stream lie.
#[derive(Clone, Debug)]
struct Root {
    role: Role,
    target: Target,
    /// The text that all their keys begin with.
    literal: String,
    /// Whether plain records are written here, whose names have no extension.
    is_plain: bool,
}

impl Root {
    fn folder(&self) -> &str {
        self.literal.rfind('/').map_or("", |slash| &self.literal[..=slash])
    }

    fn of(config: &Config, settings: &DeliveryStream) -> Vec<Self> {
        let literal = |text: &str| text.split("!{").next().unwrap_or_default().to_owned();
        let destination = &settings.destination;
        let target = |store: &String| config.stores[store].target(store);
        let data_is_plain = match &settings.format {
            config::Format::Parquet(_) => false,
            config::Format::Records(options) => is_plain(options),
        };
        let mut roots = vec![
            Self {
                role: Role::Data,
                target: target(&destination.store),
                literal: literal(&destination.prefix_text),
                is_plain: data_is_plain,
            },
            Self {
                role: Role::Error,
                target: target(&destination.store),
                literal: literal(&destination.error_prefix_text),
                is_plain: false,
            },
        ];
        roots.extend(settings.backup.as_ref().map(|backup| Self {
            role: Role::Backup,
            target: target(&backup.store),
            literal: literal(&backup.prefix_text),
            is_plain: is_plain(&backup.format),
        }));
        roots
    }
}

fn is_plain(options: &crate::convert::RecordsOptions) -> bool {
    options.compression == crate::convert::RecordsCompression::None
}

/// Records of one numbering that were found in files.
#[derive(Debug, Default)]
struct Sequence {
    objects: u64,
    /// Records as the files list them.
    coverage: Coverage,
    /// Records of files that do not list them.
    unlisted: u64,
}

/// The recount of one stream.
struct Recount<'a> {
    stream: &'a StreamName,
    config: &'a Config,
    roots: Vec<Root>,
    stamp: &'a str,
    records: Sequence,
    parts: Sequence,
    /// Data objects without a footer, the rows noted beside them, and how many have no note.
    plain: Noted,
    backup: Noted,
    error_objects: u64,
    error_lines: u64,
    /// Records and parts whose failure was found, of those failures that name them. The numbers of
    /// the two are not the same: a stream that was given hooks has used them twice.
    failed_records: Coverage,
    failed_parts: Coverage,
    audit: StreamAudit,
}

/// Objects that say nothing of themselves.
#[derive(Debug, Default)]
struct Noted {
    objects: u64,
    rows: u64,
    without_note: u64,
}

impl StreamAudit {
    fn new(stream: &StreamName) -> Self {
        Self {
            stream: stream.clone(),
            counts: Vec::new(),
            other_instances: 0,
            differences: Vec::new(),
            untold: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    fn differ(
        &mut self,
        kind: &'static str,
        key: Option<&str>,
        positions: Option<Positions>,
        text: String,
    ) {
        let told = self.differences.iter().filter(|known| known.kind == kind).count() as u64;
        if told >= TOLD_MAX {
            *self.untold.entry(kind).or_default() += 1;
            return;
        }
        let key = key.map(str::to_owned);
        self.differences.push(Difference { kind, key, positions, text });
    }
}

/// What was read of one object.
enum Read {
    /// It has gone since it was listed.
    Gone,
    Footer(Box<Option<Provenance>>),
    Rows(Option<u64>),
    /// How many lines, and the records and the parts that they name.
    Lines(u64, Vec<u64>, Vec<u64>),
}

impl<'a> Recount<'a> {
    fn new(
        stream: &'a StreamName,
        settings: &DeliveryStream,
        config: &'a Config,
        stamp: &'a str,
    ) -> Self {
        Self {
            stream,
            config,
            roots: Root::of(config, settings),
            stamp,
            records: Sequence::default(),
            parts: Sequence::default(),
            plain: Noted::default(),
            backup: Noted::default(),
            error_objects: 0,
            error_lines: 0,
            failed_records: Coverage::default(),
            failed_parts: Coverage::default(),
            audit: StreamAudit::new(stream),
        }
    }

    async fn run(
        &mut self,
        stores: &Stores,
        progress: &(dyn Fn(&StreamName, u64) + Sync),
    ) -> Result<(), ListError> {
        let roots = self.roots.clone();
        let is_below = |one: &Root, other: &Root| {
            one.target == other.target && one.folder().starts_with(other.folder())
        };
        let mut looked = 0;
        for (index, root) in roots.iter().enumerate() {
            // A folder inside another one, or the same again, is listed with it.
            let is_listed = roots.iter().enumerate().any(|(other_index, other)| {
                let comes_first = root.folder() != other.folder() || other_index < index;
                other_index != index && comes_first && is_below(root, other)
            });
            if is_listed {
                continue;
            }
            let listed = contents::list(stores, &root.target, root.folder())?;
            let target = &root.target;
            let mine: Vec<Root> =
                roots.iter().filter(|other| other.target == *target).cloned().collect();
            let stream = self.stream;
            let reads = listed.map(|object| {
                let mine = &mine;
                async move {
                    let object = object?;
                    let Some(role) = role_of(mine, &object.key) else {
                        return Ok(None);
                    };
                    let read = read(stores, target, &object, role, stream).await?;
                    Ok::<_, ListError>(Some((object, role, read)))
                }
            });
            let mut reads = std::pin::pin!(reads.buffer_unordered(READS_IN_FLIGHT_MAX));
            while let Some(object) = reads.next().await {
                if let Some((object, role, read)) = object? {
                    looked += 1;
                    progress(self.stream, looked);
                    self.take(&object, role, read);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, object: &Listed, role: Role, read: Read) {
        let name = Name::of(&object.key);
        match read {
            Read::Gone => {}
            Read::Footer(footer) => self.take_file(object, *footer),
            read => {
                let Some(name) = name else {
                    self.stranger(object, "its name is none that the service makes");
                    return;
                };
                if !self.is_of_this_stream(name.stream) {
                    if !self.is_of_another(name.stream) {
                        self.stranger(
                            object,
                            "its name is that of a stream that the configuration does not have, \
                             or not any more",
                        );
                    }
                    return;
                }
                if name.mark != &self.stamp[..8] {
                    self.audit.other_instances += 1;
                    return;
                }
                match read {
                    Read::Lines(lines, records, parts) => {
                        self.error_objects += 1;
                        self.error_lines += lines;
                        self.take_failures(object, records, Counted::Records);
                        self.take_failures(object, parts, Counted::Parts);
                    }
                    Read::Rows(rows) => {
                        let noted =
                            if role == Role::Backup { &mut self.backup } else { &mut self.plain };
                        noted.objects += 1;
                        noted.rows += rows.unwrap_or(0);
                        noted.without_note += u64::from(rows.is_none());
                    }
                    Read::Gone | Read::Footer(_) => {}
                }
            }
        }
    }

    fn take_file(&mut self, object: &Listed, footer: Option<Provenance>) {
        let Some(found) = footer else {
            self.stranger(object, "it has no readable Parquet footer");
            return;
        };
        let Some(stream) = &found.stream else {
            self.stranger(object, "its footer does not say that the service wrote it");
            return;
        };
        if stream != self.stream.as_str() {
            if !self.is_of_another(stream) {
                let text = format!("its footer says that it is of stream {stream}");
                self.stranger(object, &text);
            }
            return;
        }
        if found.journal != self.stamp {
            self.audit.other_instances += 1;
            return;
        }
        let key = Some(object.key.as_str());
        if found.stored_rows != found.rows {
            let (stored, said) = (found.stored_rows, found.rows);
            let text = format!("the file has {stored} rows, its footer says {said}");
            self.audit.differ("rows", key, None, text);
        }
        let sequence = match found.counted {
            Counted::Records => &mut self.records,
            Counted::Parts => &mut self.parts,
        };
        sequence.objects += 1;
        let Some(positions) = found.positions else {
            sequence.unlisted += found.records;
            return;
        };
        let noun = found.counted.as_str();
        if positions.count() != found.records {
            let (listed, said) = (positions.count(), found.records);
            let text = format!("its footer lists {listed} {noun} and says that there are {said}");
            self.audit.differ("rows", key, None, text);
        }
        let again = sequence.coverage.add(&positions);
        if !again.is_empty() {
            let count = again.count();
            let plan = found.plan;
            let text = format!(
                "{count} {noun} of plan {plan} are in this object and in another one as well"
            );
            self.audit.differ("overlap", key, Some(again), text);
        }
    }

    fn take_failures(&mut self, object: &Listed, mut numbers: Vec<u64>, counted: Counted) {
        numbers.sort_unstable();
        let named = numbers.len();
        numbers.dedup();
        let positions: Positions = numbers.into_iter().map(Position).collect();
        let again = match counted {
            Counted::Records => self.failed_records.add(&positions),
            Counted::Parts => self.failed_parts.add(&positions),
        };
        let count = again.count() + (named as u64 - positions.count());
        if count > 0 {
            let text = format!("{count} failures of this object are told elsewhere as well");
            self.audit.differ("overlap", Some(&object.key), Some(again), text);
        }
    }

    fn stranger(&mut self, object: &Listed, why: &str) {
        let text = format!("nobody's object: {why}");
        self.audit.differ("stranger", Some(&object.key), None, text);
    }

    fn is_of_this_stream(&self, found: &str) -> bool {
        let may_have_front = self.roots.iter().any(|root| !root.literal.ends_with('/'));
        found == self.stream.as_str() || (may_have_front && found.ends_with(self.stream.as_str()))
    }

    fn is_of_another(&self, found: &str) -> bool {
        let mut others = self.config.delivery_streams.keys().filter(|name| *name != self.stream);
        others.any(|name| found.ends_with(name.as_str()))
    }

    /// Holds what was found against the books.
    fn compare(mut self, before: &StreamBooks, after: &StreamBooks) -> StreamAudit {
        let no_books = LegBooks::default();
        let legs = |books: &'_ StreamBooks| {
            (books.records.clone(), books.parts.clone().unwrap_or_default())
        };
        let ((records, parts), (records_after, parts_after)) = (legs(before), legs(after));
        let missing_records = self.compare_sequence(Counted::Records, &records, &records_after);
        let missing_parts = self.compare_sequence(Counted::Parts, &parts, &parts_after);
        self.compare_plain(missing_records, missing_parts);

        let upper = |legs: &[&LegBooks], kind: ObjectKind| -> u64 {
            let ended = |leg: &&LegBooks| match kind {
                ObjectKind::Data => leg.delivered,
                ObjectKind::Error => leg.failed,
            };
            legs.iter().map(|leg| ended(leg) + leg.open_records(kind)).sum()
        };
        let booked = (
            records.failed + parts.failed,
            upper(&[&records_after, &parts_after], ObjectKind::Error),
        );
        self.compare_total("failures", (self.error_objects, self.error_lines), booked);
        if before.backup.is_some() || self.backup.objects > 0 {
            let backup = before.backup.as_ref().unwrap_or(&no_books);
            let backup_after = after.backup.as_ref().unwrap_or(&no_books);
            let booked = (backup.delivered, upper(&[backup_after], ObjectKind::Data));
            let Noted { objects, rows, without_note } = self.backup;
            if without_note > 0 {
                self.uncounted("backup", objects, booked);
            } else {
                self.compare_total("backup", (objects, rows), booked);
            }
        }
        self.audit
    }

    /// Compares one numbering; gives the records that the books have delivered and no file lists.
    fn compare_sequence(
        &mut self,
        counted: Counted,
        before: &LegBooks,
        after: &LegBooks,
    ) -> Missing {
        let (sequence, failed) = match counted {
            Counted::Records => (&self.records, &self.failed_records),
            Counted::Parts => (&self.parts, &self.failed_parts),
        };
        let failed = failed.positions();
        let (objects, unlisted) = (sequence.objects, sequence.unlisted);
        let found = sequence.coverage.positions();
        let noun = counted.as_str();
        let upper = after.delivered + after.open_records(ObjectKind::Data);
        if objects > 0 || before.delivered > 0 {
            let what = match counted {
                Counted::Records => "rows of records",
                Counted::Parts => "rows of hooks' parts",
            };
            self.audit.counts.push(AuditCount {
                what,
                objects,
                in_store: Some(found.count() + unlisted),
                in_books: (before.delivered, upper),
            });
        }
        let beyond = found.without(&after.settled);
        if !beyond.is_empty() {
            let count = beyond.count();
            let text = format!(
                "{count} {noun} are in the store and not in the books: the data directory is \
                 another one, or an older copy"
            );
            self.audit.differ("unknown", None, Some(beyond), text);
        }
        let committed = before.committed();
        let expected = before.delivered;
        let there = found.count() - found.without(&committed).count() + unlisted;
        if there > expected && unlisted == 0 {
            let surplus = there - expected;
            let text = format!(
                "{surplus} {noun} are in the store that the books count as failed, dropped or lost"
            );
            self.audit.differ("surplus", None, None, text);
        }
        let candidates = committed.without(&found).without(&failed);
        Missing { counted, count: expected.saturating_sub(there), candidates }
    }

    /// What no file lists may lie in objects that do not list anything.
    fn compare_plain(&mut self, records: Missing, parts: Missing) {
        let Noted { objects, rows, without_note } = self.plain;
        let missing = records.count + parts.count;
        if objects > 0 {
            let in_store = (without_note == 0).then_some(rows);
            let what = "records as they are";
            self.audit.counts.push(AuditCount {
                what,
                objects,
                in_store,
                in_books: (missing, missing),
            });
        }
        if without_note > 0 {
            self.audit.notes.push(format!(
                "{without_note} objects of records as they are could not be recounted: they do not \
                 say how many records they hold, and the store keeps no notes beside them"
            ));
            return;
        }
        if rows == 0 {
            for Missing { counted, count, candidates } in [records, parts] {
                if count > 0 {
                    self.gap(counted, count, candidates);
                }
            }
        } else if rows < missing {
            let text = format!(
                "{} records were delivered and are in no object of the places that the \
                 configuration has now",
                missing - rows
            );
            self.audit.differ("gap", None, None, text);
        }
        // More may have come since the books were taken.
    }

    fn gap(&mut self, counted: Counted, count: u64, candidates: Positions) {
        let noun = counted.as_str();
        let is_exact = candidates.count() == count;
        let among = if is_exact { "" } else { ", among those named" };
        let text = format!(
            "{count} {noun} were delivered and are in no object{among} of the places that the \
             configuration has now"
        );
        self.audit.differ("gap", None, Some(candidates), text);
    }

    fn compare_total(
        &mut self,
        what: &'static str,
        (objects, found): (u64, u64),
        in_books: (u64, u64),
    ) {
        if objects == 0 && in_books.1 == 0 {
            return;
        }
        self.audit.counts.push(AuditCount { what, objects, in_store: Some(found), in_books });
        let (least, most) = in_books;
        if found < least {
            let text = format!(
                "{what}: {} were delivered and are in no object of the places that the \
                 configuration has now",
                least - found
            );
            self.audit.differ("gap", None, None, text);
        } else if found > most {
            let text = format!("{what}: {} are in the store and not in the books", found - most);
            self.audit.differ("surplus", None, None, text);
        }
    }

    fn uncounted(&mut self, what: &'static str, objects: u64, in_books: (u64, u64)) {
        self.audit.counts.push(AuditCount { what, objects, in_store: None, in_books });
        self.audit.notes.push(format!(
            "{what}: its objects do not say how many records they hold, and the store keeps no notes \
             beside them, so they could not be recounted"
        ));
    }
}

/// Records that the books have delivered and no file lists.
struct Missing {
    counted: Counted,
    count: u64,
    /// Which they may be.
    candidates: Positions,
}

/// What an object is by its key; `None` when it is not below any prefix of the stream.
fn role_of(roots: &[Root], key: &str) -> Option<Role> {
    let extension = Name::of(key).map(|name| name.extension);
    let fits = |root: &&Root| key.starts_with(&root.literal);
    let longest = roots.iter().filter(fits).map(|root| root.literal.len()).max()?;
    let mut fitting = roots.iter().filter(fits).filter(|root| root.literal.len() == longest);
    let first = fitting.clone().next()?;
    // Of two prefixes that begin alike, failures have no extension.
    let by_extension = fitting.find(|root| match root.role {
        Role::Error => extension == Some(""),
        Role::Data | Role::Backup => extension != Some("") || root.is_plain,
    });
    Some(by_extension.unwrap_or(first).role)
}

async fn read(
    stores: &Stores,
    target: &Target,
    object: &Listed,
    role: Role,
    stream: &StreamName,
) -> Result<Read, ListError> {
    if object.key.ends_with(".parquet") {
        return Ok(match footer(stores, target, object).await? {
            Some(footer) => Read::Footer(Box::new(footer)),
            None => Read::Gone,
        });
    }
    let is_ours = Name::of(&object.key).is_some_and(|name| name.stream.ends_with(stream.as_str()));
    if !is_ours {
        return Ok(Read::Rows(None));
    }
    if role != Role::Error {
        return Ok(Read::Rows(contents::noted_rows(stores, target, object).await?));
    }
    let (mut records, mut parts) = (Vec::new(), Vec::new());
    let mut take = |line: &[u8]| match failed_record(line) {
        Some((number, Counted::Records)) => records.push(number),
        Some((number, Counted::Parts)) => parts.push(number),
        None => {}
    };
    let lines = contents::lines(stores, target, object, LINE_BYTES_MAX, &mut take).await?;
    Ok(lines.map_or(Read::Gone, |lines| Read::Lines(lines, records, parts)))
}

/// The record or part that a failure names.
fn failed_record(line: &[u8]) -> Option<(u64, Counted)> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        sequence_number: Option<String>,
        #[serde(default)]
        sub_sequence_number: u32,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let is_part = line.sub_sequence_number == sub_sequence_number(Counted::Parts);
    let counted = if is_part { Counted::Parts } else { Counted::Records };
    Some((line.sequence_number?.parse().ok()?, counted))
}

/// `None` when the object has gone; an inner `None` when it has no footer that can be read.
async fn footer(
    stores: &Stores,
    target: &Target,
    object: &Listed,
) -> Result<Option<Option<Provenance>>, ListError> {
    let Some(mut end) = contents::end_of(stores, target, object, FOOTER_BYTES_GUESSED).await?
    else {
        return Ok(None);
    };
    let Some(wanted) = footer_bytes(&end).filter(|bytes| *bytes as u64 <= object.size_bytes) else {
        return Ok(Some(None));
    };
    if wanted > end.len() {
        match contents::end_of(stores, target, object, wanted as u64).await? {
            Some(longer) => end = longer,
            None => return Ok(None),
        }
    }
    let first = end.len().saturating_sub(wanted);
    Ok(Some(Provenance::read(&end[first..])))
}
