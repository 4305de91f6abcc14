//! What the conversions of all streams share: the cores, and a part of the memory.
//!
//! Owns whose turn it is. Whoever converts takes memory for a whole plan first and a turn for each of its
//! shares then, and holds no turn while it waits for anything; so nobody waits for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::memory::{Places, Taken};

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

    /// Bytes of records that a plan of several batches takes on, so that each thread has one under way.
    pub(super) fn round_bytes_max(&self) -> u64 {
        self.memory.bytes() / self.threads as u64 / 2
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
