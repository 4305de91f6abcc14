//! What a leg tells others: its status, the terms of its equation, and the ends of flushes.

use super::super::books::LegBooks;
use super::super::handle::{LegStatus, Request, TableTrouble};
use super::super::ledger::Ledger;
use super::Leg;
use crate::record::Position;

impl Leg {
    pub(super) fn answer(&mut self, request: Request, end: Position) {
        match request {
            Request::Status(answer) => {
                let _ = answer.send(self.status(end));
            }
            Request::Flush(answer) => {
                self.collector.flush(end);
                self.flushes.push((end, answer));
            }
            Request::Books(answer) => {
                let _ = answer.send(LegBooks::of(&self.state.checkpoint(end)));
            }
            Request::End(answer) => {
                let end = self.limit.unwrap_or(end);
                self.end_at(end);
                let _ = answer.send(end);
            }
            Request::Table(trouble) => {
                self.table_trouble = trouble;
                self.show_table();
            }
            Request::Change(orders) => {
                if self.are_of_the_same_kind(&orders) && self.awaited.is_none() {
                    self.give(orders);
                } else {
                    self.awaited = Some(orders);
                    self.transforms.call_off();
                }
            }
        }
    }

    pub(super) fn show_table(&self) {
        let step = "use the table";
        match &self.table_trouble {
            // A leg that transforms needs no table; the next one does, and shows it.
            _ if self.transformer.is_some() => self.troubles.clear(step),
            None => self.troubles.clear(step),
            Some(TableTrouble::Missing(reason)) => {
                let held = "records are kept on disk until it is there again";
                self.troubles.set(step, format!("{reason}; {held}"));
            }
            Some(TableTrouble::Unusable(reason)) => {
                self.troubles.set(step, format!("{reason}; its last good form is used"));
            }
        }
    }

    pub(super) fn answer_flushes(&mut self) {
        let state = &self.state;
        let is_done = |target: Position| state.is_done_until(target);
        for (_, answer) in self.flushes.extract_if(.., |(target, _)| is_done(*target)) {
            let _ = answer.send(());
        }
    }

    /// The terms of the equation, each counted where it lies.
    pub(super) fn ledger(&self, end: Position) -> Ledger {
        let counts = self.state.counts();
        Ledger { accepted: end.0, pending: self.pending(end, counts.in_plans), counts }
    }

    /// Records that wait somewhere: unread in the log, in open batches, in closed ones, being
    /// transformed, appended or frozen, lost and not yet planned, or in open plans.
    pub(super) fn pending(&self, end: Position, in_plans: u64) -> u64 {
        self.collector.record_count(end, &self.state.progress)
            + self.transforms.record_count()
            + self.freezing_records
            + in_plans
    }

    pub(super) fn look_at_ledger(&mut self, end: Position) -> Ledger {
        let ledger = self.ledger(end);
        self.alarm.look(self.surroundings.clock.steady(), &ledger);
        ledger
    }

    pub(super) fn status(&mut self, end: Position) -> LegStatus {
        let ledger = self.look_at_ledger(end);
        let counts = ledger.counts;
        let now = self.surroundings.clock.steady();
        let buffer = self.collector.buffer();
        let objects = self.state.open_plans().values().map(|plan| plan.objects.len());
        LegStatus {
            accepted: ledger.accepted,
            delivered: counts.delivered,
            failed: counts.failed,
            dropped: counts.dropped,
            damaged: counts.damaged,
            transformed: counts.transformed,
            left_out: counts.left_out,
            pending: ledger.pending,
            difference: ledger.difference(),
            open_batches: buffer.batch_count(),
            buffered_records: buffer.record_count(),
            buffered_bytes: buffer.data_bytes(),
            closes_at_bytes: self.collector.hints().size_bytes,
            closes_in_seconds: buffer.next_due().map(|due| due.saturating_sub(now).as_secs()),
            closed_batches: self.collector.closed_count() + self.transforms.len(),
            open_plans: self.state.open_plans().len(),
            open_objects: objects.sum(),
            unregistered_partitions: self.state.unregistered().len(),
            incomplete_partitions: self.state.watched().untold_count(),
            log_bytes: self.log.bytes(),
            outbox_bytes: self.outbox.bytes(),
            blocked: self.troubles.text(),
        }
    }
}
