//! How a leg ends: when nothing is left, or when its time is over.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::sync::watch;

use super::super::handle::LegLeft;
use super::super::{AT_ONCE, blocking};
use super::{FAST_PATIENCE, FINISH_PATIENCE, Leg, REGISTRATION_CHANCE};
use crate::journal::AppendError;
use crate::record::Position;

/// How a leg has ended.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Ended {
    /// Whether it may be followed by others: not when the disk failed or a step panicked.
    pub(in super::super) in_order: bool,
    /// Where its records ended.
    pub(in super::super) until: Position,
    /// Whether all of them are in their store.
    pub(in super::super) is_drained: bool,
    pub(in super::super) left: LegLeft,
}

impl Leg {
    /// Whether everything before `end` is in its store, and its catalog has it or has had its chance.
    pub(super) fn is_drained(&mut self, end: Position) -> bool {
        if self.collector.is_flushing() || !self.state.is_done_until(end) {
            return false;
        }
        let now = self.surroundings.clock.steady();
        let registered_by = *self.registered_by.get_or_insert(now + REGISTRATION_CHANCE);
        let is_told = self.state.unregistered().is_empty() && !self.state.is_telling();
        is_told || now >= registered_by
    }

    /// Leaves the disk so that the next start is quick.
    pub(super) async fn finish(
        mut self,
        end: Position,
        mut stop: watch::Receiver<Option<Duration>>,
    ) -> Ended {
        let settle = async {
            while (self.freezing || self.renaming > 0 || self.checkpointing) && !self.halted {
                match self.work.join_next().await {
                    Some(Ok(done)) => self.take(done),
                    Some(Err(error)) if error.is_cancelled() => {}
                    Some(Err(_)) | None => self.halted = true,
                }
            }
        };
        // Only a disk that hangs, or a large plan, takes longer; the next start then does the work.
        let settled = in_time(settle, &mut stop).await.is_some();
        // Deliveries under way are cut off here; their plans stay open and are put again.
        self.work.shutdown().await;
        let mut end = end;
        if !self.halted {
            let sealed = self.log.seal().await;
            // Calls that were under way have come by now.
            end = self.until(*self.records.end().borrow());
            let stream = self.surroundings.stream.clone();
            match sealed {
                Err(AppendError::Failed) => self.halted = true,
                Err(error) => {
                    tracing::warn!(%stream, %error, "the log stays unsealed; the next start reads its end");
                }
                Ok(()) => {}
            }
            if settled && !self.halted {
                let written = in_time(self.last_checkpoint(end), &mut stop).await;
                if let Some(Err(error)) = written {
                    tracing::warn!(%stream, %error, "could not write the last checkpoint");
                }
            }
        }
        Ended {
            in_order: !self.halted,
            until: end,
            is_drained: self.state.is_done_until(end),
            left: self.left(end),
        }
    }

    /// A checkpoint of everything, and what may go by it. Only while no plan is being made.
    pub(super) fn last_checkpoint(
        &mut self,
        end: Position,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let (checkpoint, mark) = (self.state.checkpoint(end), self.log.mark());
        let (journal, outbox) = (self.log.clone(), self.outbox.clone());
        let caution = self.freezer.converter.caution.clone();
        let (hold, committed) = (self.hold.clone(), std::mem::take(&mut self.committed));
        let leave_sizes = self.leave_sizes();
        blocking(move || {
            leave_sizes();
            // The second lets go of the segments that the first has settled.
            journal.checkpoint(&checkpoint, mark)?;
            journal.checkpoint(&checkpoint, mark)?;
            hold.map_or(Ok(()), |hold| hold.release(checkpoint.settled.clone()))?;
            committed.into_iter().try_for_each(|plan| outbox.remove(plan))?;
            caution.end()
        })
    }

    /// What the next start will find to do.
    pub(super) fn left(&self, end: Position) -> LegLeft {
        LegLeft {
            records: self.ledger(end).pending,
            plans: self.state.open_plans().len() as u64,
            partitions: self.state.unregistered().len() as u64,
            incomplete: self.state.watched().untold_count() as u64,
            bytes: self.log.bytes() + self.outbox.bytes(),
        }
    }
}

/// What comes of the work, if it comes as long as the end of a leg has patience; less when it is to
/// end at once, which may be said meanwhile. Where nobody has named an instant its patience has no end:
/// the log may be opened again, and work that goes on by itself would write into it.
async fn in_time<T>(
    work: impl Future<Output = T>,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Option<T> {
    let mut other = stop.clone();
    let late = async {
        let is_named = |stop: &Option<Duration>| stop.is_some_and(|at| at < Duration::MAX);
        if stop.wait_for(is_named).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(FINISH_PATIENCE).await;
    };
    let at_once = async {
        if other.wait_for(|stop| *stop == Some(AT_ONCE)).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(FAST_PATIENCE).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = late => None,
        () = at_once => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_an_end_at_an_instant_leaves_work_behind() {
        let hour = Duration::from_secs(3600);
        for (stop, is_done) in [
            (None, true),
            (Some(Duration::MAX), true),
            (Some(Duration::from_secs(7)), false),
            (Some(AT_ONCE), false),
        ] {
            let stop = watch::Sender::new(stop);
            let done = in_time(tokio::time::sleep(hour), &mut stop.subscribe()).await;
            assert_eq!(done.is_some(), is_done, "{:?}", stop.borrow());
        }
        let stop = watch::Sender::new(Some(Duration::MAX));
        let mut stopped = stop.subscribe();
        let said_later = async {
            tokio::time::sleep(hour / 2).await;
            stop.send_replace(Some(AT_ONCE));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = in_time(tokio::time::sleep(hour), &mut stopped) => assert_eq!(done, None),
            () = said_later => {}
        }
    }
}
