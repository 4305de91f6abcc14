//! Room that is kept for the day on which there is none.
//!
//! Owns a file of real bytes in the data directory, and the moment at which it goes: when something
//! of the service's own finds the disk full, be it a plan, a frozen object or a segment that a start
//! copies. Producers never get that room, since a disk with so little left takes nothing from them.
//! Does not decide how large it is and when it is made: that follows from the budget.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, OpenMode, Space};

/// The name of the file in the data directory.
pub const RESERVE_NAME: &str = "reserve";

/// A disk with a reserve.
#[derive(Debug)]
pub struct ReservedDisk {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    held_bytes: Mutex<u64>,
}

impl ReservedDisk {
    /// Takes up the reserve that an earlier process left in `directory`, if it did.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        let path = directory.join(RESERVE_NAME);
        let held = disk.open(&path, OpenMode::Read).and_then(|file| file.len_bytes());
        Self { disk, path, held_bytes: Mutex::new(held.unwrap_or(0)) }
    }

    /// The bytes that are kept at present.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        *self.held()
    }

    /// Keeps `bytes`, or what is kept already if that is more.
    ///
    /// # Errors
    /// What the file system answers; nothing is kept then.
    pub fn keep(&self, bytes: u64) -> io::Result<()> {
        let mut held = self.held();
        if *held >= bytes {
            return Ok(());
        }
        let mode = if *held == 0 { OpenMode::Create } else { OpenMode::Write };
        let kept = self.disk.open(&self.path, mode).and_then(|file| {
            file.allocate(bytes)?;
            file.sync()
        });
        match kept {
            Ok(()) => *held = bytes,
            Err(_) => self.remove(&mut held),
        }
        kept
    }

    fn remove(&self, held: &mut u64) {
        // What cannot be removed is taken up by the next start.
        let _ = self.disk.remove(&self.path);
        *held = 0;
    }

    fn held(&self) -> MutexGuard<'_, u64> {
        self.held_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for ReservedDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
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

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_dir(directory)
    }

    fn space(&self, directory: &Path) -> io::Result<Option<Space>> {
        self.disk.space(directory)
    }

    fn make_room(&self) -> bool {
        let mut held = self.held();
        if *held == 0 {
            return false;
        }
        tracing::info!(
            bytes = *held,
            path = %self.path.display(),
            "the room that was kept for a full disk is given back, to freeze and deliver with"
        );
        self.remove(&mut held);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::replace_file;
    use crate::disk::simulated::SimulatedDisk;

    const FILE: &str = "/data/file";

    fn reserved(disk: &SimulatedDisk) -> ReservedDisk {
        ReservedDisk::new(Arc::new(disk.clone()), Path::new("/data"))
    }

    #[test]
    fn what_finds_no_room_gets_the_reserve_once() {
        let disk = SimulatedDisk::default();
        let reserved = reserved(&disk);
        reserved.keep(1000).expect("there is room");
        disk.set_capacity(Some(1500));
        replace_file(&reserved, Path::new(FILE), &[1; 900]).expect("the reserve makes room");
        assert_eq!((reserved.held_bytes(), disk.bytes(Path::new(FILE)).len()), (0, 900));
        replace_file(&reserved, Path::new("/data/other"), &[1; 900]).expect_err("it is full");
        assert_eq!(disk.list(Path::new("/data")).expect("it is listed"), ["file"]);
    }

    #[test]
    fn a_reserve_that_finds_no_room_takes_none() {
        let disk = SimulatedDisk::default();
        let reserved = reserved(&disk);
        disk.set_capacity(Some(1500));
        reserved.keep(2000).expect_err("there is no room");
        assert_eq!((reserved.held_bytes(), disk.used_bytes()), (0, 0));
        assert!(!reserved.make_room());
    }

    #[test]
    fn a_reserve_outlives_the_process_and_grows() {
        let disk = SimulatedDisk::default();
        reserved(&disk).keep(1000).expect("there is room");
        let again = reserved(&disk);
        assert_eq!(again.held_bytes(), 1000);
        again.keep(2000).expect("there is room");
        again.keep(500).expect("there is more already");
        assert_eq!((again.held_bytes(), disk.used_bytes()), (2000, 2000));
    }
}
