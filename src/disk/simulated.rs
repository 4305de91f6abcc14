//! A disk in memory that forgets whatever was not synced, and fails when it is told to.
//!
//! Each file has the bytes that were written and those that were synced; each folder the names that
//! were given and those that were synced. [`SimulatedDisk::crash`] makes of it a disk as a power
//! cut leaves it: of the unsynced writes, sectors of 512 bytes arrive or not by a coin, each in one
//! of the forms that it had since the last sync; so do names and removals, each by itself and in
//! their order, so that a rename may leave two names of a file. [`SimulatedDisk::killed`] makes of
//! it a disk as the end of a process leaves it: everything can be read, and what was not synced is
//! as endangered as before. [`SimulatedDisk::fail_after`] ends the process's access after a number
//! of changes, so that a test can stop a workload at each of its operations. What else goes wrong
//! stands in [`faults`]; how much room there is, in [`SimulatedDisk::set_capacity`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, OpenMode};

pub(crate) mod chance;
pub(crate) mod faults;

use self::chance::Chance;
use self::faults::{Fault, Faults, Operation, Wrong};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// What happened to names since their folder was synced, in order.
    name_changes: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    operations: u64,
    fail_after: Option<u64>,
    faults: Faults,
    capacity_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Given(PathBuf, usize),
    Taken(PathBuf),
}

/// What a power cut may take or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    /// A sector that was written.
    Sector,
    /// The length of a file that was cut.
    Length,
    /// A name that a file was given.
    Name,
    /// A name that was taken away.
    Removal,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What can be read.
    written: Vec<u8>,
    synced: Vec<u8>,
    /// Stretches, in whole sectors, that the next sync writes.
    dirty: Vec<Range<usize>>,
    /// Forms that unsynced sectors had before their present one, with their offsets.
    older: Vec<(usize, Vec<u8>)>,
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

    /// Takes back [`fail_after`](Self::fail_after).
    pub(crate) fn live_on(&self) {
        self.state().fail_after = None;
    }

    /// Whether the process has no access any more.
    pub(crate) fn is_dead(&self) -> bool {
        let state = self.state();
        state.fail_after == Some(state.operations)
    }

    /// Gets something wrong.
    pub(crate) fn fail(&self, fault: Fault) {
        self.state().faults.choose(fault);
    }

    /// Gets one operation in so many wrong.
    pub(crate) fn fail_by_chance(&self, chance: Chance, once_in: u64) {
        self.state().faults.leave_to_chance(chance, once_in);
    }

    /// Gets nothing wrong any more, and has room. Whoever is to die still does.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults = Faults::default();
        state.capacity_bytes = None;
    }

    /// The bytes that its files may have; without a bound at first.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// The bytes of all files that have a name.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// The disk after a power cut now; `coin` decides what of the unsynced arrives.
    pub(crate) fn crash(&self, coin: &mut dyn FnMut(Unsynced) -> bool) -> Self {
        let state = self.state();
        let mut names = state.synced_names.clone();
        for change in &state.name_changes {
            match change {
                NameChange::Given(path, inode) => {
                    if names.get(path) != Some(inode) && coin(Unsynced::Name) {
                        names.insert(path.clone(), *inode);
                    }
                }
                NameChange::Taken(path) => {
                    if names.contains_key(path) && coin(Unsynced::Removal) {
                        names.remove(path);
                    }
                }
            }
        }
        let inodes = state.inodes.iter().map(|inode| Inode::synced(inode.crashed(coin))).collect();
        Self::with(State {
            inodes,
            synced_names: names.clone(),
            names,
            directories: state.directories.clone(),
            ..State::default()
        })
    }

    /// The disk after the end of the process: nothing is lost yet, and it gets nothing wrong.
    pub(crate) fn killed(&self) -> Self {
        let state = self.state().clone();
        Self::with(State {
            operations: 0,
            fail_after: None,
            faults: Faults::default(),
            capacity_bytes: None,
            ..state
        })
    }

    fn with(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
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

    /// A copy that shares nothing, and has everything synced.
    pub(crate) fn copied(&self) -> Self {
        let state = self.state();
        let inodes = state.inodes.iter().map(|inode| Inode::synced(inode.written.clone()));
        Self::with(State {
            inodes: inodes.collect(),
            synced_names: state.names.clone(),
            names: state.names.clone(),
            directories: state.directories.clone(),
            ..State::default()
        })
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].written.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Begins an operation that changes something; tells what goes wrong with it, if anything does.
    fn change(&self, operation: Operation) -> io::Result<(MutexGuard<'_, State>, Option<Wrong>)> {
        let mut state = self.state();
        if state.fail_after == Some(state.operations) {
            return Err(io::Error::other("the simulated process is dead"));
        }
        state.operations += 1;
        let wrong = state.faults.strike(operation);
        Ok((state, wrong))
    }

    /// The same for one of which nothing happens when it goes wrong.
    fn change_or_nothing(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        match self.change(operation)? {
            (state, None) => Ok(state),
            (_, Some(wrong)) => Err(wrong.error()),
        }
    }

    fn read(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match state.faults.strike(Operation::Read) {
            None => Ok(state),
            Some(wrong) => Err(wrong.error()),
        }
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<_> = self.names.values().collect();
        named.into_iter().map(|&inode| self.inodes[inode].written.len() as u64).sum()
    }

    /// By how much files may still grow.
    fn room(&self) -> u64 {
        self.capacity_bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(self.used_bytes()))
    }

    fn give_name(&mut self, path: &Path, inode: usize) {
        self.names.insert(path.to_owned(), inode);
        self.name_changes.push(NameChange::Given(path.to_owned(), inode));
    }

    fn take_name(&mut self, path: &Path) -> io::Result<usize> {
        let inode = self.names.remove(path).ok_or(ErrorKind::NotFound)?;
        self.name_changes.push(NameChange::Taken(path.to_owned()));
        Ok(inode)
    }
}

impl Inode {
    fn synced(bytes: Vec<u8>) -> Self {
        Self { written: bytes.clone(), synced: bytes, ..Self::default() }
    }

    fn write(&mut self, bytes: &[u8], start: usize) {
        let end = start + bytes.len();
        let touched = start.min(self.written.len()) / SECTOR_BYTES * SECTOR_BYTES
            ..end.next_multiple_of(SECTOR_BYTES);
        self.keep_older(touched.clone());
        self.written.resize(self.written.len().max(end), 0);
        self.written[start..end].copy_from_slice(bytes);
        self.dirty.push(touched);
    }

    fn set_len(&mut self, length: usize) {
        let cut = length / SECTOR_BYTES * SECTOR_BYTES..self.written.len();
        self.keep_older(cut);
        self.written.resize(length, 0);
    }

    /// Keeps the present form of the unsynced sectors in `stretch`.
    fn keep_older(&mut self, stretch: Range<usize>) {
        for sector in sectors(&self.dirty) {
            let range = sector..(sector + SECTOR_BYTES).min(self.written.len());
            if stretch.contains(&sector) && !range.is_empty() {
                self.older.push((sector, self.written[range].to_vec()));
            }
        }
    }

    fn sync(&mut self) {
        self.synced.resize(self.written.len(), 0);
        for sector in sectors(&self.dirty) {
            let range = sector..(sector + SECTOR_BYTES).min(self.written.len());
            if !range.is_empty() {
                self.synced[range.clone()].copy_from_slice(&self.written[range]);
            }
        }
        self.forget_unsynced();
    }

    /// What was to be synced never will be.
    fn forget_unsynced(&mut self) {
        self.dirty.clear();
        self.older.clear();
    }

    fn crashed(&self, coin: &mut dyn FnMut(Unsynced) -> bool) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        if self.written.len() < self.synced.len() && coin(Unsynced::Length) {
            bytes.truncate(self.written.len());
        }
        let now = sectors(&self.dirty).into_iter().filter_map(|sector| {
            let end = (sector + SECTOR_BYTES).min(self.written.len());
            Some((sector, self.written.get(sector..end)?))
        });
        let older = self.older.iter().map(|(sector, form)| (*sector, form.as_slice()));
        for (start, form) in older.chain(now) {
            let end = start + form.len();
            if bytes.get(start..end) != Some(form) && coin(Unsynced::Sector) {
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(form);
            }
        }
        bytes
    }
}

/// The first bytes of the sectors of stretches, ascending.
fn sectors(stretches: &[Range<usize>]) -> BTreeSet<usize> {
    stretches.iter().flat_map(|stretch| stretch.clone().step_by(SECTOR_BYTES)).collect()
}

impl Disk for SimulatedDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if !self.state().directories.contains(path) {
            // With its parent synced, as the trait says.
            self.change_or_nothing(Operation::Folder)?.directories.insert(path.to_owned());
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inode = if mode == OpenMode::Create {
            let mut state = self.change_or_nothing(Operation::Create)?;
            if let Some(&inode) = state.names.get(path) {
                // The file that has the name is emptied, whatever other names it has.
                state.inodes[inode].set_len(0);
                inode
            } else {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.give_name(path, inode);
                inode
            }
        } else {
            *self.read()?.names.get(path).ok_or(ErrorKind::NotFound)?
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
        let mut state = self.change_or_nothing(Operation::Rename)?;
        let inode = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        if state.names.get(to) == Some(&inode) {
            // POSIX: two names of one file, nothing is done.
            return Ok(());
        }
        state.give_name(to, inode);
        state.take_name(from).map(|_| ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change_or_nothing(Operation::Remove)?.take_name(path).map(|_| ())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.change_or_nothing(Operation::SyncFolder)?;
        let inside = |path: &Path| path.parent() == Some(directory);
        state.name_changes.retain(|change| match change {
            NameChange::Given(path, _) | NameChange::Taken(path) => !inside(path),
        });
        state.synced_names.retain(|path, _| !inside(path));
        let now: Vec<_> = state.names.iter().filter(|(path, _)| inside(path)).collect();
        let now: Vec<_> = now.into_iter().map(|(path, &inode)| (path.clone(), inode)).collect();
        state.synced_names.extend(now);
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.read()?;
        let bytes = &state.inodes[self.inode].written;
        let start = bytes.len().min(usize::try_from(offset).map_err(io::Error::other)?);
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, mut wrong) = self.disk.change(Operation::Write)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let room = usize::try_from(state.room()).unwrap_or(usize::MAX);
        let inode = &mut state.inodes[self.inode];
        let fits = inode.written.len().saturating_add(room).saturating_sub(start);
        let mut arriving = wrong.map_or(bytes.len(), |wrong| wrong.arriving(bytes.len()));
        if fits < arriving {
            arriving = fits;
            wrong = Some(Wrong::Full);
        }
        if arriving > 0 {
            inode.write(&bytes[..arriving], start);
        }
        wrong.map_or(Ok(()), |wrong| Err(wrong.error()))
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, wrong) = self.disk.change(Operation::Sync)?;
        let inode = &mut state.inodes[self.inode];
        match wrong {
            None => inode.sync(),
            Some(_) => inode.forget_unsynced(),
        }
        wrong.map_or(Ok(()), |wrong| Err(wrong.error()))
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        let mut state = self.disk.change_or_nothing(Operation::Length)?;
        let length = usize::try_from(length_bytes).map_err(io::Error::other)?;
        state.inodes[self.inode].set_len(length);
        Ok(())
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        super::write_zeros(self, length_bytes)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].written.len() as u64)
    }
}
