//! How much of the file system under the data directory is free, and the file that keeps some of it
//! for the service itself.
//!
//! Owns the looks at it; what follows from them is the disk budget's.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::disk::{Disk, DiskBudget, ReservedDisk};

/// Between two looks producers write less than what is kept free.
const PAUSE: Duration = Duration::from_millis(250);
/// Looks between two attempts at a reserve that could not be kept.
const LOOKS_AFTER_FAILURE: u32 = 240;

/// Looks at the file system of `data_dir` and tells the budget.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) disk: Arc<ReservedDisk>,
    pub(super) data_dir: PathBuf,
    pub(super) budget: Arc<DiskBudget>,
}

impl Space {
    /// Looks once. What cannot be told leaves things as they were.
    pub(super) async fn look(&self) {
        let space = self.clone();
        let found = spawn_blocking(move || {
            space.budget.set_reserve_file(space.disk.held_bytes());
            space.disk.space(&space.data_dir)
        });
        if let Ok(Ok(Some(space))) = found.await {
            self.budget.set_space(space);
        }
    }

    /// Looks until `stop` says so, and keeps the reserve where there is room for it.
    pub(super) async fn follow(self, mut stop: watch::Receiver<bool>) {
        let mut looks_to_rest = 0;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            self.look().await;
            if looks_to_rest > 0 {
                looks_to_rest -= 1;
                continue;
            }
            let space = self.clone();
            if let Ok(Err(error)) = spawn_blocking(move || space.keep_reserve()).await {
                tracing::warn!(
                    data_dir = %self.data_dir.display(),
                    %error,
                    "could not keep room for a full disk; it is tried again"
                );
                looks_to_rest = LOOKS_AFTER_FAILURE;
            }
        }
    }

    fn keep_reserve(&self) -> io::Result<()> {
        if self.budget.wants_reserve_file_back() {
            self.disk.make_room();
        } else if self.disk.held_bytes() < self.budget.reserve_file_bytes()
            && self.budget.has_room_for_reserve_file()
        {
            self.disk.keep(self.budget.reserve_file_bytes())?;
        }
        self.budget.set_reserve_file(self.disk.held_bytes());
        Ok(())
    }
}
