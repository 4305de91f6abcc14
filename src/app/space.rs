//! How much of the file system under the data directory is free.
//!
//! Owns the looks at it; what follows from them is the disk budget's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::disk::{Disk, DiskBudget};

/// Between two looks producers write less than what is kept free.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks at the file system of `data_dir` and tells the budget.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) budget: Arc<DiskBudget>,
}

impl Space {
    /// Looks once. What cannot be told leaves things as they were.
    pub(super) async fn look(&self) {
        let (disk, data_dir) = (self.disk.clone(), self.data_dir.clone());
        let found = spawn_blocking(move || disk.space(&data_dir)).await;
        if let Ok(Ok(Some(space))) = found {
            self.budget.set_space(space);
        }
    }

    /// Looks until `stop` says so.
    pub(super) async fn follow(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            self.look().await;
        }
    }
}
