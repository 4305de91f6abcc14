//! Too many open files: a reason to wait, not a failed disk.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::journal::AppendError;

const EMFILE: i32 = 24;

/// A disk that opens nothing while it is told so.
#[derive(Clone, Debug)]
struct UsedUp {
    disk: SimulatedDisk,
    files: Arc<AtomicBool>,
    folders: Arc<AtomicBool>,
}

fn unless(used_up: &AtomicBool) -> io::Result<()> {
    if used_up.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(EMFILE)) } else { Ok(()) }
}

impl Disk for UsedUp {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        unless(&self.files)?;
        self.disk.open(path, mode)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        unless(&self.folders)?;
        self.disk.sync_dir(directory)
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_for_want_of_files_is_refused_and_begun_later() {
    let disk = SimulatedDisk::default();
    let used_up = UsedUp { disk: disk.clone(), files: Arc::default(), folders: Arc::default() };
    let environment = Environment { disk: Arc::new(used_up.clone()), ..environment(&disk) };
    let stream = StreamName::new("clicks").expect("a name");
    let journal = Journal::open(&environment, &stream, directory()).expect("it opens").journal;
    for what in [&used_up.files, &used_up.folders] {
        what.store(true, Ordering::SeqCst);
        assert_eq!(journal.append(batch(0, 1, 40)).await, Err(AppendError::BudgetUsedUp));
        what.store(false, Ordering::SeqCst);
    }
    append(&journal, 0, 1, 40).await;
    assert_eq!(read_all(&open(&disk.copied()).journal, 40).0.count(), 1);
}
