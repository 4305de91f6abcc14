//! Batches on their way through the hooks, in order.
//!
//! Owns which batches are transformed side by side, and the order in which what they became is
//! appended to the scratch log: that of their positions. Of a batch that becomes much, the first records
//! are appended before the others begin; these go on where the steps stopped with them, so that no hook is
//! asked of them again. Keeps nothing that a crash would miss: what
//! was not appended is transformed again, and then the new answer counts; what was appended never
//! changes.

use std::collections::VecDeque;
use std::future::Future;
use std::io;

use tokio::task::AbortHandle;

use super::transformer::{Became, Transformer, Underway};
use super::{repeat, rest_after};
use crate::disk::DiskBudget;
use crate::journal::{AppendError, Appended, Batch, Journal};
use crate::positions::Positions;

/// Batches that are transformed side by side (Firehose has 5 invocations outstanding).
const UNDER_WAY_MAX: usize = 5;
/// Hooks are given no more records than this at once, however small they are: each takes some hundred
/// bytes of memory on its way.
pub(super) const BATCH_RECORDS_MAX: u64 = 10_000;
/// Bytes of a scratch log beyond which nothing more is transformed while the disk budget is
/// used up, unless its reserve is smaller: what is there must be delivered first.
const SCRATCH_BYTES_PRESSED: u64 = 64 << 20;

/// On their way records are there so many times: as they were, in base64 within a question, in base64
/// within its answer, and as what they became.
const COPIES: u64 = 5;

/// The batches that are under way, oldest first.
#[derive(Debug, Default)]
pub(super) struct Transforms {
    next_ticket: u64,
    under_way: VecDeque<UnderWay>,
    /// Records whose transformed bytes are being appended.
    appending: Option<u64>,
    /// Records that were called off and are not read again yet.
    called_off: u64,
}

#[derive(Debug)]
struct UnderWay {
    ticket: u64,
    positions: Positions,
    data_bytes: u64,
    became: Option<Vec<Batch>>,
    task: Option<AbortHandle>,
    /// Whether it is the rest of a batch and has not begun.
    is_rest: bool,
    /// Where the steps stopped with it; taken when it begins.
    stopped: Option<Underway>,
}

impl UnderWay {
    fn call_off(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Transforms {
    /// Whether one more may begin. When the disk budget is used up, what is transformed has
    /// to leave the disk before more comes.
    pub(super) fn has_room(&self, scratch: &Journal, budget: &DiskBudget) -> bool {
        let scratch_bytes_max = SCRATCH_BYTES_PRESSED.min(budget.round_bytes_max());
        let is_waiting = budget.is_used_up() && scratch.bytes() > scratch_bytes_max;
        let begun = self.under_way.iter().filter(|batch| !batch.is_rest).count();
        // What comes first can always begin: nothing else is appended before it.
        let is_first = self.under_way.front().is_some_and(|batch| batch.is_rest);
        (begun < UNDER_WAY_MAX || is_first) && !is_waiting
    }

    /// The oldest rest of a batch, which then counts as begun.
    pub(super) fn begin_rest(&mut self) -> Option<u64> {
        let batch = self.under_way.iter_mut().find(|batch| batch.is_rest)?;
        batch.is_rest = false;
        Some(batch.ticket)
    }

    /// Whether the rest of a batch waits to be transformed.
    pub(super) fn has_rest(&self) -> bool {
        self.under_way.iter().any(|batch| batch.is_rest)
    }

    /// Begins with a batch; gives its ticket.
    pub(super) fn begin(&mut self, positions: Positions, data_bytes: u64) -> u64 {
        let ticket = self.new_ticket();
        self.under_way.push_back(UnderWay {
            ticket,
            positions,
            data_bytes,
            became: None,
            task: None,
            is_rest: false,
            stopped: None,
        });
        ticket
    }

    fn new_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// The transform of a batch runs as this task.
    pub(super) fn started(&mut self, ticket: u64, task: AbortHandle) {
        if let Some(batch) = self.under_way.iter_mut().find(|batch| batch.ticket == ticket) {
            batch.task = Some(task);
        }
    }

    /// Other hooks are to be asked: calls off what has no answer yet, and gives the tickets by which
    /// it begins again. An answer that comes all the same is no longer known by its ticket.
    pub(super) fn begin_again(&mut self) -> Vec<u64> {
        let mut tickets = Vec::new();
        for index in 0..self.under_way.len() {
            // What the others have said of a rest is not theirs to go on with.
            self.under_way[index].stopped = None;
            if self.under_way[index].became.is_none() && !self.under_way[index].is_rest {
                let ticket = self.new_ticket();
                self.under_way[index].call_off();
                self.under_way[index].ticket = ticket;
                tickets.push(ticket);
            }
        }
        tickets
    }

    /// Forgets everything but what is being appended.
    pub(super) fn call_off(&mut self) {
        self.called_off += self.under_way_count();
        self.under_way.drain(..).for_each(|mut batch| batch.call_off());
    }

    /// What was called off is read again.
    pub(super) fn start_over(&mut self) {
        self.called_off = 0;
    }

    /// Records that are on their way: in batches, being appended, or called off.
    pub(super) fn record_count(&self) -> u64 {
        self.under_way_count() + self.appending.unwrap_or(0) + self.called_off
    }

    fn under_way_count(&self) -> u64 {
        self.under_way.iter().map(|batch| batch.positions.count()).sum()
    }

    /// The transform of a batch that has begun; may be asked for again when it failed. None when
    /// there is no such batch.
    pub(super) fn transform(
        &mut self,
        ticket: u64,
        transformer: Transformer,
    ) -> Option<impl Future<Output = io::Result<Became>> + use<>> {
        let batch = self.under_way.iter_mut().find(|batch| batch.ticket == ticket)?;
        let (positions, stopped) = (batch.positions.clone(), batch.stopped.take());
        Some(async move {
            match stopped {
                Some(underway) => Ok(transformer.go_on(underway).await),
                None => rest_after(transformer.transform(positions).await, |_| true).await,
            }
        })
    }

    /// Notes what a batch became, or its first records; the others then wait for their turn.
    pub(super) fn transformed(&mut self, ticket: u64, became: Became) {
        let Some(index) = self.under_way.iter().position(|batch| batch.ticket == ticket) else {
            return;
        };
        let batch = &mut self.under_way[index];
        let (positions, rest) = batch.positions.split_at(became.record_count);
        batch.positions = positions;
        batch.became = Some(became.frames);
        let data_bytes = batch.data_bytes;
        if !rest.is_empty() {
            let ticket = self.new_ticket();
            let rest = UnderWay {
                ticket,
                positions: rest,
                data_bytes,
                became: None,
                task: None,
                is_rest: true,
                stopped: became.rest,
            };
            self.under_way.insert(index + 1, rest);
        }
    }

    /// Appends what the oldest batch became, when that is known and no other is being appended; its
    /// end is told by [`Transforms::appended`]. Gives the batch's records too.
    pub(super) fn append(
        &mut self,
        scratch: &Journal,
    ) -> Option<impl Future<Output = (Positions, Result<Appended, AppendError>)> + use<>> {
        if self.appending.is_some() || self.under_way.front()?.became.is_none() {
            return None;
        }
        let batch = self.under_way.pop_front()?;
        let (positions, frames, scratch) = (batch.positions, batch.became?, scratch.clone());
        self.appending = Some(positions.count());
        Some(async move {
            let appended = repeat(async || scratch.append_own(frames.clone()).await).await;
            (positions, appended)
        })
    }

    /// An append is over.
    pub(super) fn appended(&mut self) {
        self.appending = None;
    }

    /// How many batches have not begun to be appended.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// About what the batches that are under way take of the memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let data_bytes: u64 = self.under_way.iter().map(|batch| batch.data_bytes).sum();
        (COPIES * data_bytes) as usize
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.appending.is_none()
    }
}
