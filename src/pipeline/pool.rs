//! What the conversions of all streams share: the cores, and a part of the memory.
//!
//! Owns whose turn it is. Whoever converts takes memory for a whole plan first and a turn for each of its
//! shares then, and holds no turn while it waits for anything; so nobody waits for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::memory::{Places, Taken};

/// However many cores share however little memory, plans have a size that is worth a sync.
const ROUND_BYTES_MIN: u64 = 8 << 20;

/// Clones are the same pool.
#[derive(Clone, Debug)]
pub struct Pool {
    threads: usize,
    turns: Arc<Semaphore>,
    memory: Places,
}

impl Pool {
    /// Conversions on so many threads, one at the least, that take no more than `memory`.
    #[must_use]
    pub fn new(threads: usize, memory: Places) -> Self {
        let threads = threads.max(1);
        Self { threads, turns: Arc::new(Semaphore::new(threads)), memory }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Bytes of records that a plan of several batches takes on, so that each thread has one under way
    /// where there is memory for so many.
    pub(super) fn round_bytes_max(&self) -> u64 {
        (self.memory.bytes() / self.threads as u64 / 2).max(ROUND_BYTES_MIN)
    }

    /// Waits for the memory of a plan.
    pub(super) async fn memory(&self, bytes: u64) -> Taken {
        self.memory.take(bytes).await
    }

    /// Waits for a thread's turn.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.turns.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn plans_leave_memory_for_each_thread_and_are_never_tiny() {
        let pool = |threads, bytes| Pool::new(threads, Places::new(bytes)).round_bytes_max();
        assert_eq!(pool(2, 240 << 20), 60 << 20);
        assert_eq!(pool(64, 32 << 20), 8 << 20);
        assert_eq!(pool(0, 64 << 20), 32 << 20);
    }

    #[test]
    fn there_are_as_many_turns_as_threads() {
        let pool = Pool::new(2, Places::new(1 << 20));
        let turns = (pool.turn().now_or_never(), pool.turn().now_or_never());
        assert!(turns.0.is_some() && turns.1.is_some() && pool.turn().now_or_never().is_none());
        drop(turns);
        assert!(pool.clone().turn().now_or_never().is_some());
    }
}
