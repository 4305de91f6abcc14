//! The only door to the local disk.
//!
//! Owns what durability is made of: positional writes, `fdatasync`, names that survive a power cut,
//! the lock on a data directory, and the count of bytes that the service holds on disk. Does not
//! know any file format.
//!
//! [`Disk`] has four implementations: [`OsDisk`], [`ReservedDisk`] around it, which keeps some room
//! for the day on which there is none, [`MemoryDisk`] for previews, and in tests one that loses
//! whatever was not synced.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod budget;
mod memory;
mod reserve;
#[cfg(test)]
pub(crate) mod simulated;
mod volume;

pub use self::budget::{DiskBudget, Promise};
pub use self::memory::MemoryDisk;
pub use self::reserve::{RESERVE_NAME, ReservedDisk};
pub use self::volume::{Peril, UnsafeVolume, unsafe_volume};

/// Pieces that every Linux takes at once (`IOV_MAX`).
const PIECES_AT_ONCE: usize = 1024;
/// Zeros that are written at once where a file system cannot allocate.
const ZEROS_AT_ONCE: usize = 64 << 10;

/// A folder tree of files.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a folder and its missing parents, and syncs the parent of each; that of a folder
    /// which is there already too, since who made it may have ended before.
    ///
    /// # Errors
    /// What the file system answers.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Opens a file as `mode` says.
    ///
    /// # Errors
    /// What the file system answers.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of the files and folders in a folder, sorted.
    ///
    /// # Errors
    /// What the file system answers; a missing folder is `NotFound`.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name on the same file system, replacing what had it. Durable only after
    /// [`sync_dir`](Self::sync_dir) of both folders.
    ///
    /// # Errors
    /// What the file system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable only after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// What the file system answers.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder that is empty. Durable only after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// What the file system answers; a disk that cannot says so.
    fn remove_dir(&self, _directory: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the file system answers; after an error nothing may be assumed of the names.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// What the file system of a folder has; `None` where there is no bound to it.
    ///
    /// # Errors
    /// What the file system answers.
    fn space(&self, _directory: &Path) -> io::Result<Option<Space>> {
        Ok(None)
    }

    /// Gives back what is kept for a full disk. True when there was something: what found no room
    /// may be tried again. Only for what the service itself has to write; see [`with_room`].
    fn make_room(&self) -> bool {
        false
    }
}

/// A file system's size and what is free of it, for those without privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub size_bytes: u64,
    /// What can still be written.
    pub free_bytes: u64,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To read; the file must be there.
    Read,
    /// To read and write, new or emptied.
    Create,
    /// To read and write; the file must be there and keeps its bytes.
    Write,
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads at most `buffer.len()` bytes from `offset` on; 0 only at the end of the file.
    ///
    /// # Errors
    /// What the file system answers.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. Durable only after [`sync`](Self::sync).
    ///
    /// # Errors
    /// What the file system answers; some of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `pieces`, one behind the other, at `offset`; what `pieces` says after that is
    /// undefined. Durable only after [`sync`](Self::sync).
    ///
    /// # Errors
    /// What the file system answers; some of the bytes may have been written.
    fn write_all_vectored_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        self.write_all_at(&bytes, offset)
    }

    /// Makes the bytes and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the file system answers. After an error the file must not be synced again: the kernel
    /// may have forgotten the lost pages, and a second sync would lie.
    fn sync(&self) -> io::Result<()>;

    /// Gives the file another length. Durable only after [`sync`](Self::sync).
    ///
    /// # Errors
    /// What the file system answers.
    fn set_len(&self, length_bytes: u64) -> io::Result<()>;

    /// Makes the file so long and takes the room for it, whatever is written there later.
    ///
    /// # Errors
    /// What the file system answers; some of the room may have been taken.
    fn allocate(&self, length_bytes: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the file system answers.
    fn len_bytes(&self) -> io::Result<u64>;
}

/// The operating system's disk. Files are readable by their owner only.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let parent_or_here = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if path.try_exists()? {
            return match self.sync_dir(parent_or_here) {
                // A folder of others, in which ours was made for us.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            };
        }
        self.create_dir_all(parent)?;
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent_or_here)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::Create => options.write(true).create(true).truncate(true),
            OpenMode::Write => options.write(true),
        };
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            // A name that is not UTF-8 is not ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn space(&self, directory: &Path) -> io::Result<Option<Space>> {
        let found = rustix::fs::statvfs(directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Some(Space { size_bytes: bytes(found.f_blocks), free_bytes: bytes(found.f_bavail) }))
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_all_vectored_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let (mut left, mut offset) = (pieces, offset);
        // Empty ones at the front would make a write of nothing.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let at_once = left.len().min(PIECES_AT_ONCE);
            match rustix::io::pwritev(&self.0, &left[..at_once], offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut left, written);
                    offset += written as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        self.0.set_len(length_bytes)
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, length_bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeros(self, length_bytes),
            allocated => Ok(allocated?),
        }
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Whether an error says that too many files are open, in the process or on the machine: nothing is
/// wrong with the disk, and the next attempt may succeed.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    // The same numbers on every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Makes a file so long with zeros at its end.
fn write_zeros(file: &dyn DiskFile, length_bytes: u64) -> io::Result<()> {
    let zeros = [0; ZEROS_AT_ONCE];
    let mut length = file.len_bytes()?;
    while length < length_bytes {
        let count = (length_bytes - length).min(ZEROS_AT_ONCE as u64);
        file.write_all_at(&zeros[..count as usize], length)?;
        length += count;
    }
    Ok(())
}

/// Whether an error says that there is no room for a write: nothing is wrong with the disk, and a
/// later attempt may succeed. A file may also be as long as its process or its quota allows.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Writes the file `path` of the service's own: where there is no room, what is kept for a full disk
/// is given back, and `write` is tried once more, from its beginning and with another file: it may
/// have been the sync that found no room, and a file whose sync failed is not synced again.
///
/// # Errors
/// What `write` answers.
pub fn with_room<T>(
    disk: &dyn Disk,
    path: &Path,
    mut write: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    match write() {
        Err(error) if is_full(&error) && disk.make_room() => {
            let _ = disk.remove(path);
            write()
        }
        written => written,
    }
}

/// Fills `buffer` from `offset` on as far as the file goes and tells how many bytes that were.
///
/// # Errors
/// What the file system answers.
pub fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// `FileTooLarge` for a longer file, otherwise what the file system answers.
pub fn read_file(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let length = file.len_bytes()?;
    if length > bytes_max {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = read_up_to(file.as_ref(), &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// What was read of something that may have no length, such as a pipe.
#[derive(Debug)]
pub struct Stream {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the same can be read another time.
    pub is_file: bool,
}

/// Reads what a path names from its beginning, file or not, and at most `bytes_max` bytes of it.
///
/// # Errors
/// What the file system answers.
pub fn read_stream(path: &Path, bytes_max: u64) -> io::Result<Stream> {
    let file = File::open(path)?;
    let is_file = file.metadata()?.is_file();
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(Stream { bytes, is_file })
}

/// Puts a file in place so that a reader, also one after a power cut, finds either what was there
/// before or all of `bytes`: written and synced under another name, renamed, the folder synced.
///
/// # Errors
/// What the file system answers.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_added_extension("tmp");
    let replaced = with_room(disk, &temporary, || {
        let file = disk.open(&temporary, OpenMode::Create)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        disk.rename(&temporary, path)?;
        disk.sync_dir(directory)
    });
    if replaced.is_err() {
        // Half a file must not take room, nor be synced again after a sync of it failed.
        let _ = disk.remove(&temporary);
    }
    replaced
}

/// Creates a folder and its missing parents for files that others may read, such as a lake's.
///
/// # Errors
/// What the file system answers.
pub fn create_shared_dir_all(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Attempts at a lock that is held, and the pause between them.
const LOCK_ATTEMPTS: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The lock of a data directory, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Takes the lock on `directory/LOCK` for this process.
///
/// # Errors
/// `WouldBlock` when another process holds it, otherwise what the file system answers.
pub fn lock_directory(directory: &Path) -> io::Result<DirectoryLock> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(directory.join("LOCK"))?;
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            // Who only looks whether there is a lock holds it for an instant.
            Err(fs::TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(fs::TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(DirectoryLock { _file: file })
}

/// Whether a process holds the lock on `directory/LOCK`; changes nothing. It is taken together with
/// others who only look, and let go of at once.
///
/// # Errors
/// What the file system answers; a missing file is no lock.
pub fn is_directory_locked(directory: &Path) -> io::Result<bool> {
    let file = match File::open(directory.join("LOCK")) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}
