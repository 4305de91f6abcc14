//! A disk in memory that forgets whatever was not synced.
//!
//! Each file has the bytes that were written and those that were synced; each folder the names that
//! were given and those that were synced. [`SimulatedDisk::crash`] makes of it a disk as a power
//! cut leaves it: of the unsynced writes, sectors of 512 bytes arrive or not by a coin; unsynced
//! names are lost or kept by a coin. [`SimulatedDisk::fail_after`] ends the process's access after
//! a number of changes, so that a test can stop a workload at each of its operations.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, OpenMode};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    directories: Vec<PathBuf>,
    operations: u64,
    fail_after: Option<u64>,
}

/// What a power cut may take or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    /// A sector that was written.
    Sector,
    /// A name that a file was given.
    Name,
    /// A name that was taken away.
    Removal,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    written: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

impl SimulatedDisk {
    /// How many operations that change something were asked for.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From now on `count` more changing operations succeed; all later ones fail.
    pub(crate) fn fail_after(&self, count: u64) {
        let mut state = self.state();
        state.fail_after = Some(state.operations + count);
    }

    /// The disk after a power cut now; `coin` decides what of the unsynced arrives.
    pub(crate) fn crash(&self, coin: &mut dyn FnMut(Unsynced) -> bool) -> Self {
        let state = self.state();
        let mut names = state.synced_names.clone();
        for path in state.names.keys().chain(state.synced_names.keys()) {
            if state.names.get(path) == state.synced_names.get(path) {
                continue;
            }
            match state.names.get(path) {
                Some(&inode) if coin(Unsynced::Name) => names.insert(path.clone(), inode),
                None if coin(Unsynced::Removal) => names.remove(path),
                _ => None,
            };
        }
        let crashed = |inode: &Inode| {
            let mut bytes = inode.synced.clone();
            for (index, sector) in inode.written.chunks(SECTOR_BYTES).enumerate() {
                let start = index * SECTOR_BYTES;
                let end = start + sector.len();
                if inode.synced.get(start..end) != Some(sector) && coin(Unsynced::Sector) {
                    bytes.resize(bytes.len().max(end), 0);
                    bytes[start..end].copy_from_slice(sector);
                }
            }
            Inode { written: bytes.clone(), synced: bytes }
        };
        Self(Arc::new(Mutex::new(State {
            inodes: state.inodes.iter().map(crashed).collect(),
            synced_names: names.clone(),
            names,
            directories: state.directories.clone(),
            operations: 0,
            fail_after: None,
        })))
    }

    /// Changes one byte of a file, as a rotten sector would.
    pub(crate) fn flip(&self, path: &Path, offset: usize, mask: u8) {
        let mut state = self.state();
        let inode = state.names[path];
        state.inodes[inode].written[offset] ^= mask;
        state.inodes[inode].synced[offset] ^= mask;
    }

    /// Cuts a file.
    pub(crate) fn truncate(&self, path: &Path, length: usize) {
        let mut state = self.state();
        let inode = state.names[path];
        state.inodes[inode].written.truncate(length);
        state.inodes[inode].synced.truncate(length);
    }

    /// Takes a file away, as a hand would.
    pub(crate) fn forget(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.synced_names.remove(path);
    }

    /// Puts bytes behind the end of a file.
    pub(crate) fn extend(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.names[path];
        state.inodes[inode].written.extend_from_slice(bytes);
        state.inodes[inode].synced.extend_from_slice(bytes);
    }

    /// A copy that shares nothing.
    pub(crate) fn copied(&self) -> Self {
        self.crash(&mut |_| true)
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].written.clone()
    }

    /// Every file and its bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let bytes = |inode: &usize| state.inodes[*inode].written.clone();
        state.names.iter().map(|(path, inode)| (path.clone(), bytes(inode))).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.fail_after == Some(state.operations) {
            return Err(io::Error::other("the simulated process is dead"));
        }
        state.operations += 1;
        Ok(state)
    }
}

impl Disk for SimulatedDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().directories.push(path.to_owned());
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inode = if mode == OpenMode::Create {
            let mut state = self.change()?;
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.names.insert(path.to_owned(), inode);
            inode
        } else {
            *self.state().names.get(path).ok_or(ErrorKind::NotFound)?
        };
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
        Ok(inside.filter_map(name).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let inode = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?.names.remove(path).ok_or(ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let inside = |path: &Path| path.parent() == Some(directory);
        state.synced_names.retain(|path, _| !inside(path));
        let now: Vec<_> = state.names.iter().filter(|(path, _)| inside(path)).collect();
        let now: Vec<_> = now.into_iter().map(|(path, &inode)| (path.clone(), inode)).collect();
        state.synced_names.extend(now);
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.inodes[self.inode].written;
        let start = bytes.len().min(usize::try_from(offset).map_err(io::Error::other)?);
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let written = &mut state.inodes[self.inode].written;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        written.resize(written.len().max(start + bytes.len()), 0);
        written[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let inode = &mut state.inodes[self.inode];
        inode.synced = inode.written.clone();
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].written.len() as u64)
    }
}
