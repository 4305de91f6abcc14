//! The outbox: finished objects on the local disk, until they are in their store.
//!
//! Owns the bytes between the plan that fixes them and the checkpoint after their commit. One file
//! a plan, objects one after another. Does not decide what is frozen or when it can go.
//!
//! Order of writes: file written -> synced -> folder synced; only then may the plan be appended to
//! the journal. A file without a plan is an interrupted attempt and is removed at the next start.
//!
//! A file in which the disk has changed an object is set aside in the folder `quarantine` beside the
//! outbox once the loss is durable: its plan's other objects are still read there, and it stays
//! there for a person. What is set aside does not count as used by the outbox.

mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

pub use self::survey::{Flaw, FlawKind, survey};

use crate::disk::{Disk, DiskBudget, DiskFile, OpenMode, read_up_to, with_room};
use crate::plan::{ObjectHeader, PlanId, sha256_hex};

/// The folder beside the outbox in which damaged files are kept for a person.
pub const QUARANTINE: &str = "quarantine";

/// The outbox of one stream.
#[derive(Debug)]
pub struct Outbox {
    directory: PathBuf,
    /// Where files are set aside.
    quarantine: PathBuf,
    disk: Arc<dyn Disk>,
    budget: Arc<DiskBudget>,
    /// Bytes of files by plan.
    files: Mutex<BTreeMap<PlanId, u64>>,
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let files = self.files.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.remove(files.values().sum());
    }
}

/// Where an object's bytes lie in its plan's file, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub size_bytes: u64,
    /// Their SHA-256, lower-case hex.
    pub sha256: String,
}

/// Why an object could not be taken from the outbox.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk did not do what was asked.
    #[error("could not read a frozen object: {error} path={path}")]
    Disk {
        /// The outbox file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The bytes are not those that the plan promised, or not there at all.
    #[error("a frozen object is damaged on disk and is not sent path={path} offset={offset}")]
    Damaged {
        /// The outbox file.
        path: PathBuf,
        /// Where the object begins in it.
        offset: u64,
    },
}

impl Outbox {
    /// Opens the outbox in the stream's `directory`, keeping the files of `open_plans` only.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn open(
        disk: Arc<dyn Disk>,
        budget: Arc<DiskBudget>,
        directory: &Path,
        open_plans: &BTreeSet<PlanId>,
    ) -> io::Result<Self> {
        let quarantine = directory.join(QUARANTINE);
        let directory = directory.join("outbox");
        disk.create_dir_all(&directory)?;
        let mut files = BTreeMap::new();
        for name in disk.list(&directory)? {
            match parse_file_name(&name).filter(|id| open_plans.contains(id)) {
                Some(id) => {
                    let file = disk.open(&directory.join(&name), OpenMode::Read)?;
                    files.insert(id, file.len_bytes()?);
                }
                None => disk.remove(&directory.join(&name))?,
            }
        }
        budget.add(files.values().sum());
        Ok(Self { directory, quarantine, disk, budget, files: Mutex::new(files) })
    }

    /// Makes the bytes of a plan's objects durable, out of the reserve where there is no other room.
    ///
    /// # Errors
    /// What the disk answers; nothing may be planned on the bytes then.
    pub fn freeze(&self, id: PlanId, objects: &[Vec<u8>]) -> io::Result<Vec<Frozen>> {
        if self.budget.wants_reserve_file_back() && self.disk.make_room() {
            self.budget.set_reserve_file(0);
        }
        let path = self.directory.join(file_name(id));
        let frozen = with_room(self.disk.as_ref(), &path, || self.write(&path, objects));
        let bytes = match &frozen {
            Ok(frozen) => frozen.iter().map(|object| object.size_bytes).sum(),
            // Half a file must not take room, nor be synced again after a sync of it failed.
            Err(_) => 0,
        };
        // An attempt whose plan could not be appended is written over.
        let mut files = self.files();
        let before = match &frozen {
            Ok(_) => files.insert(id, bytes),
            Err(_) if self.disk.remove(&path).is_ok() => files.remove(&id),
            Err(_) => None,
        };
        self.budget.add(bytes);
        self.budget.remove(before.unwrap_or(0));
        frozen
    }

    fn write(&self, path: &Path, objects: &[Vec<u8>]) -> io::Result<Vec<Frozen>> {
        let file = self.disk.open(path, OpenMode::Create)?;
        let mut offset = 0;
        let mut frozen = Vec::with_capacity(objects.len());
        for bytes in objects {
            file.write_all_at(bytes, offset)?;
            let size_bytes = bytes.len() as u64;
            frozen.push(Frozen { offset, size_bytes, sha256: sha256_hex(bytes) });
            offset += size_bytes;
        }
        file.sync()?;
        self.disk.sync_dir(&self.directory)?;
        Ok(frozen)
    }

    /// The bytes of one object, checked against its hash.
    ///
    /// # Errors
    /// When they cannot be read or are not what was frozen.
    pub fn read(&self, id: PlanId, header: &ObjectHeader) -> Result<Bytes, ReadError> {
        let (path, opened) = self.open_file(id);
        let damaged = || ReadError::Damaged { path: path.clone(), offset: header.offset };
        let fault = |error| ReadError::Disk { path: path.clone(), error };
        let file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged()),
            opened => opened.map_err(fault)?,
        };
        let length = file.len_bytes().map_err(fault)?;
        let end = header.offset.checked_add(header.size_bytes);
        if end.is_none_or(|end| end > length) {
            return Err(damaged());
        }
        let size = usize::try_from(header.size_bytes).map_err(|_| damaged())?;
        let mut bytes = vec![0; size];
        read_up_to(file.as_ref(), &mut bytes, header.offset).map_err(fault)?;
        if sha256_hex(&bytes) == header.sha256 { Ok(bytes.into()) } else { Err(damaged()) }
    }

    /// Removes the file of a plan that is committed, after a checkpoint has recorded it.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn remove(&self, id: PlanId) -> io::Result<()> {
        let mut files = self.files();
        if let Some(bytes) = files.get(&id).copied() {
            self.disk.remove(&self.directory.join(file_name(id)))?;
            files.remove(&id);
            self.budget.remove(bytes);
        }
        Ok(())
    }

    /// Sets the file of an open plan aside, durably, because an object in it is damaged. Tells where
    /// it is then; `None` when there is no file.
    ///
    /// # Errors
    /// What the disk answers; the file may then still be where it was.
    pub fn set_aside(&self, id: PlanId) -> io::Result<Option<PathBuf>> {
        let (from, to) = (self.directory.join(file_name(id)), self.quarantine.join(file_name(id)));
        let mut files = self.files();
        if let Some(bytes) = files.get(&id).copied() {
            self.disk.create_dir_all(&self.quarantine)?;
            match self.disk.rename(&from, &to) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // A power cut may have left two names of the file, and such a rename changes nothing.
            match self.disk.remove(&from) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            files.remove(&id);
            self.budget.remove(bytes);
            // The new name first: a power cut may leave both, but never none.
            self.disk.sync_dir(&self.quarantine)?;
            self.disk.sync_dir(&self.directory)?;
        }
        Ok(self.disk.open(&to, OpenMode::Read).is_ok().then_some(to))
    }

    /// The file of a plan, wherever it is, and its path.
    fn open_file(&self, id: PlanId) -> (PathBuf, io::Result<Arc<dyn DiskFile>>) {
        let path = self.directory.join(file_name(id));
        let opened = self.disk.open(&path, OpenMode::Read);
        if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            let aside = self.quarantine.join(file_name(id));
            if let Ok(file) = self.disk.open(&aside, OpenMode::Read) {
                return (aside, Ok(file));
            }
        }
        (path, opened)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().values().sum()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PlanId, u64>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_name(id: PlanId) -> String {
    format!("{:016x}.obx", id.0)
}

fn parse_file_name(name: &str) -> Option<PlanId> {
    let id = PlanId(u64::from_str_radix(name.strip_suffix(".obx")?, 16).ok()?);
    (file_name(id) == name).then_some(id)
}
