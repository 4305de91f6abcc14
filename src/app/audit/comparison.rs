//! What was found, held against the books.

use super::recount::{Noted, Recount};
use super::{AuditCount, StreamAudit};
use crate::convert::Counted;
use crate::pipeline::{LegBooks, StreamBooks};
use crate::plan::ObjectKind;
use crate::positions::Positions;

impl Recount<'_> {
    /// Holds what was found against the books.
    pub(super) fn compare(mut self, before: &StreamBooks, after: &StreamBooks) -> StreamAudit {
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
                ObjectKind::Marker | ObjectKind::Notice => 0,
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
