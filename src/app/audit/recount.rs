//! The recount of one stream: every object below its prefixes, by what it tells of itself.

use futures::StreamExt as _;

use super::StreamAudit;
use super::coverage::Coverage;
use super::name::Name;
use super::reading::{Read, read};
use super::roots::{Role, Root, has_footer, role_of};
use crate::config::{Config, DeliveryStream};
use crate::convert::{Counted, Provenance};
use crate::deliver::contents::{self, Listed};
use crate::deliver::{ListError, Stores};
use crate::positions::Positions;
use crate::record::{Position, StreamName};

/// Objects whose ends are read side by side.
const READS_IN_FLIGHT_MAX: usize = 16;

/// Records of one numbering that were found in files.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    pub(super) objects: u64,
    /// Records as the files list them.
    pub(super) coverage: Coverage,
    /// Records of files that do not list them.
    pub(super) unlisted: u64,
}

/// The recount of one stream.
pub(super) struct Recount<'a> {
    stream: &'a StreamName,
    config: &'a Config,
    roots: Vec<Root>,
    stamp: &'a str,
    /// The name of the objects that say that a partition is complete.
    marker: Option<&'a str>,
    pub(super) records: Sequence,
    pub(super) parts: Sequence,
    /// Data objects without a footer, the rows noted beside them, and how many have no note.
    pub(super) plain: Noted,
    pub(super) backup: Noted,
    pub(super) error_objects: u64,
    pub(super) error_lines: u64,
    /// Records and parts whose failure was found, of those failures that name them. The numbers of
    /// the two are not the same: a stream that was given hooks has used them twice.
    pub(super) failed_records: Coverage,
    pub(super) failed_parts: Coverage,
    pub(super) audit: StreamAudit,
}

/// Objects that say nothing of themselves.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) objects: u64,
    pub(super) rows: u64,
    pub(super) without_note: u64,
}

impl<'a> Recount<'a> {
    pub(super) fn new(
        stream: &'a StreamName,
        settings: &'a DeliveryStream,
        config: &'a Config,
        stamp: &'a str,
    ) -> Self {
        Self {
            stream,
            config,
            roots: Root::of(config, settings),
            stamp,
            marker: settings.complete.as_ref().and_then(|complete| complete.marker.as_deref()),
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

    pub(super) async fn run(
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
            let marker = self.marker;
            let is_marker = move |key: &str| marker.is_some_and(|marker| is_marker(key, marker));
            let reads = listed.map(|object| {
                let mine = &mine;
                async move {
                    let object = object?;
                    let role = role_of(mine, &object.key).filter(|_| !is_marker(&object.key));
                    let Some(role) = role else {
                        return Ok(None);
                    };
                    let kind = (role, has_footer(mine, role, &object.key));
                    let read = read(stores, target, &object, kind, stream).await?;
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
}

/// Whether an object is a marker, also one that found its name taken.
fn is_marker(key: &str, marker: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    name.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
