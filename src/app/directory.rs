//! The data directory: its lock, its identity and format, and the folders of streams.
//!
//! ```text
//! <data_dir>/LOCK                      held while the process lives
//! <data_dir>/identity.json             {"instance": uuid, "format": 1}; written once
//! <data_dir>/reserve                   room for a full disk, see `disk::ReservedDisk`
//! <data_dir>/addresses.json            where the running process listens; removed at its start
//! <data_dir>/streams/<stream>/stream.json   {"stream": name, "created": ms}
//! <data_dir>/streams/<stream>/table.json    the last good copy of its table, see `copies`
//! <data_dir>/streams/<stream>/{definition,retired}.json    see `definitions`
//! <data_dir>/streams/<stream>/{journal,checkpoint,outbox}/
//! ```

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::definitions;
use crate::clock::Clock;
use crate::disk::{
    DirectoryLock, Disk, UnsafeVolume, lock_directory, read_file, replace_file, unsafe_volume,
};
use crate::journal::{self, OpenError};
use crate::record::{StreamName, UnixMillis};

/// The layout that this program writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A data directory that belongs to this process.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    pub(super) instance: Uuid,
    _lock: DirectoryLock,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error(
        "data_dir {} is in use by another lakehose: stop that one, or give this one another \
         data_dir", .0.display()
    )]
    Locked(PathBuf),
    /// A newer program made it.
    #[error(
        "data_dir {} has format {found} in its identity.json, this program reads {FORMAT}: use the \
         newer lakehose again",
        path.display()
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A newer program wrote to one of its logs.
    #[error(transparent)]
    NewerLog(#[from] OpenError),
    /// A newer program kept the definition of one of its streams.
    #[error(
        "data_dir {} has format {found} in the definition.json of stream {stream}, this program \
         reads an older one: use the newer lakehose again",
        path.display()
    )]
    NewerDefinition {
        /// The directory.
        path: PathBuf,
        /// The stream.
        stream: String,
        /// Its format.
        found: String,
    },
    /// It may lose what was synced.
    #[error(
        "data_dir {} {volume}; give it a folder on a disk, in a container a volume, or write \
         allow_unsafe_volume: true where accepted records may be lost", path.display()
    )]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What it lies on.
        volume: UnsafeVolume,
    },
    /// It holds what is not ours.
    #[error(
        "data_dir {} is not empty and has no identity.json, so it is none of lakehose's (it holds \
         {}): name an empty folder or one that is not there yet; if it was one of lakehose's, \
         restore its identity.json", path.display(), listed(found)
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        found: Vec<String>,
    },
    /// It holds streams and does not say whose.
    #[error(
        "data_dir {} holds streams but no readable identity.json ({reason}): restore the file, \
         without it their records cannot be told from another instance's", path.display()
    )]
    NoIdentity {
        /// The directory.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
    /// The disk did not do what was asked.
    #[error("could not {attempt} in data_dir {}: {error}{}", path.display(), remedy(error))]
    Disk {
        /// What was attempted.
        attempt: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// What to do about an error that is no accident of the disk.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            ": give the folder to the user that this process runs as (chown), or name another data_dir"
        }
        ErrorKind::ReadOnlyFilesystem => ": mount it for writing, or name another data_dir",
        ErrorKind::NotADirectory => ": something in this path is a file, so name another data_dir",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ": make room on its volume, or name another data_dir"
        }
        _ => "",
    }
}

/// The first of some names, and how many there are besides.
fn listed(names: &[String]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown = names.iter().take(SHOWN_MAX).map(|name| format!("{name:?}")).collect::<Vec<_>>();
    let more = match names.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

/// What a data directory may hold before it has an identity, besides hidden files and what file
/// systems put into their roots.
const NO_STRANGERS: [&str; 5] =
    ["LOCK", "identity.json.tmp", "addresses.json", "streams", "lost+found"];

#[derive(Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) instance: Uuid,
    pub(super) format: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StreamFile {
    pub(super) stream: StreamName,
    pub(super) created: UnixMillis,
}

#[derive(Serialize)]
struct Addresses {
    listen: SocketAddr,
    admin: SocketAddr,
}

/// Finds out, as far as that can be told without changing anything, why the directory could not be
/// used; whether another process has it is not asked. Tells what its volume may lose, where that is
/// allowed. A directory that is not there yet can be used.
pub(super) fn look(
    disk: &dyn Disk,
    path: &Path,
    allow_unsafe_volume: bool,
) -> Result<Option<UnsafeVolume>, DirectoryError> {
    let fault =
        |attempt| move |error| DirectoryError::Disk { attempt, path: path.to_owned(), error };
    let found = unsafe_volume(path).map_err(fault("find out the volume"))?;
    if let Some(volume) = found
        && !allow_unsafe_volume
    {
        return Err(DirectoryError::Unsafe { path: path.to_owned(), volume });
    }
    let names = match disk.list(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        names => names.map_err(fault("list the folder"))?,
    };
    if names.iter().any(|name| name == "identity.json") {
        return read_identity(disk, path).map(|_| found);
    }
    let streams = disk.list(&path.join("streams")).unwrap_or_default();
    if !streams.is_empty() {
        let reason = "it is not there".to_owned();
        return Err(DirectoryError::NoIdentity { path: path.to_owned(), reason });
    }
    let is_strange = |name: &String| !name.starts_with('.') && !NO_STRANGERS.contains(&&**name);
    let strangers: Vec<_> = names.into_iter().filter(is_strange).collect();
    if strangers.is_empty() {
        Ok(found)
    } else {
        Err(DirectoryError::Foreign { path: path.to_owned(), found: strangers })
    }
}

impl DataDirectory {
    /// Takes the directory for this process, making it when it is not there.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        allow_unsafe_volume: bool,
    ) -> Result<Self, DirectoryError> {
        let fault =
            |attempt| move |error| DirectoryError::Disk { attempt, path: path.to_owned(), error };
        // First, so that nothing is written into a folder that is not ours.
        if let Some(volume) = look(disk, path, allow_unsafe_volume)? {
            tracing::warn!(
                "data_dir {} {volume}; it is used since allow_unsafe_volume is set, and accepted \
                 records may be lost",
                path.display()
            );
        }
        disk.create_dir_all(path).map_err(fault("create the folder"))?;
        let lock = lock_directory(path).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => DirectoryError::Locked(path.to_owned()),
            _ => fault("take the lock")(error),
        })?;
        let instance = identify(disk, path)?;
        refuse_newer(disk, path)?;
        match disk.remove(&path.join("addresses.json")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(fault("remove addresses.json")(error));
            }
            _ => {}
        }
        Ok(Self { path: path.to_owned(), instance, _lock: lock })
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of a stream.
    pub(super) fn stream(&self, stream: &StreamName) -> PathBuf {
        self.path.join("streams").join(stream.as_str())
    }

    /// Folders of streams that are not among `known`.
    pub(super) fn strangers(
        &self,
        disk: &dyn Disk,
        known: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, DirectoryError> {
        let names = match disk.list(&self.path.join("streams")) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|error| self.fault("list streams", error))?,
        };
        Ok(names.into_iter().filter(|name| !known(name)).collect())
    }

    /// When the stream was first configured; notes it at the first time. Tells also whether it has
    /// made the stream's folder.
    pub(super) fn created(
        &self,
        disk: &dyn Disk,
        clock: &dyn Clock,
        stream: &StreamName,
    ) -> Result<(UnixMillis, bool), DirectoryError> {
        let path = self.stream(stream).join("stream.json");
        let is_new =
            disk.list(&self.stream(stream)).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        match read_file(disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => {
                let file: Result<StreamFile, _> = serde_json::from_slice(&bytes);
                let file = file.map_err(io::Error::other);
                let file = file.map_err(|error| self.fault("read stream.json", error))?;
                Ok((file.created, is_new))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let created = clock.now();
                let file = StreamFile { stream: stream.clone(), created };
                disk.create_dir_all(&self.stream(stream))
                    .and_then(|()| replace_file(disk, &path, &to_json(&file)))
                    .map_err(|error| self.fault("write stream.json", error))?;
                Ok((created, is_new))
            }
            Err(error) => Err(self.fault("read stream.json", error)),
        }
    }

    /// Removes the folder of a stream that was made for nothing: no definition was kept of it, so it
    /// has never taken a record. Any other folder stays.
    pub(super) fn remove_unused(&self, disk: &dyn Disk, stream: &StreamName) -> io::Result<()> {
        let folder = self.stream(stream);
        let names = disk.list(&folder)?;
        if names.iter().any(|name| name == "definition.json" || name == "retired.json") {
            return Ok(());
        }
        remove_tree(disk, &folder)?;
        disk.sync_dir(&self.path.join("streams"))
    }

    /// Notes where the process listens, for those who let the system choose the ports.
    pub(super) fn note_addresses(
        &self,
        disk: &dyn Disk,
        listen: SocketAddr,
        admin: SocketAddr,
    ) -> Result<(), DirectoryError> {
        let text = to_json(&Addresses { listen, admin });
        replace_file(disk, &self.path.join("addresses.json"), &text)
            .map_err(|error| self.fault("write addresses.json", error))
    }

    fn fault(&self, attempt: &'static str, error: io::Error) -> DirectoryError {
        DirectoryError::Disk { attempt, path: self.path.clone(), error }
    }
}

/// The identity of the directory, given to it when it has none.
fn identify(disk: &dyn Disk, path: &Path) -> Result<Uuid, DirectoryError> {
    let fault =
        |attempt| move |error| DirectoryError::Disk { attempt, path: path.to_owned(), error };
    if let Some(instance) = read_identity(disk, path)? {
        // The process that wrote it may have ended before its name was durable.
        disk.sync_dir(path).map_err(fault("sync the folder"))?;
        return Ok(instance);
    }
    let identity = Identity { instance: Uuid::new_v4(), format: FORMAT };
    let written = replace_file(disk, &path.join("identity.json"), &to_json(&identity));
    written.map(|()| identity.instance).map_err(fault("write identity.json"))
}

fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Option<Uuid>, DirectoryError> {
    let file = path.join("identity.json");
    let fault =
        |attempt| move |error| DirectoryError::Disk { attempt, path: path.to_owned(), error };
    let no_identity = |reason| DirectoryError::NoIdentity { path: path.to_owned(), reason };
    match read_file(disk, &file, FILE_BYTES_MAX) {
        Ok(bytes) => {
            let identity: Identity =
                serde_json::from_slice(&bytes).map_err(|error| no_identity(error.to_string()))?;
            if identity.format != FORMAT {
                let found = identity.format;
                return Err(DirectoryError::NewerFormat { path: path.to_owned(), found });
            }
            Ok(Some(identity.instance))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault("read identity.json")(error)),
    }
}

/// Before anything is changed: half of a directory in another format would be worse than all of it.
fn refuse_newer(disk: &dyn Disk, path: &Path) -> Result<(), DirectoryError> {
    let streams = path.join("streams");
    for stream in disk.list(&streams).unwrap_or_default() {
        for log in ["", "scratch", "backup"] {
            // What else is wrong is told by those who open the stream, if anybody does.
            if let Err(error @ OpenError::NewerFormat { .. }) =
                journal::refuse_newer(disk, &streams.join(&stream).join(log))
            {
                return Err(error.into());
            }
        }
        if let Some(found) = definitions::newer_format(disk, &streams.join(&stream)) {
            return Err(DirectoryError::NewerDefinition { path: path.to_owned(), stream, found });
        }
    }
    Ok(())
}

/// Removes a folder and what is in it.
fn remove_tree(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.list(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => disk.remove(path),
        Err(error) => Err(error),
        Ok(names) => {
            names.iter().try_for_each(|name| remove_tree(disk, &path.join(name)))?;
            disk.remove_dir(path)
        }
    }
}

fn to_json(file: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(file).expect("numbers and strings always serialise");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::disk::OsDisk;

    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
        found
    }

    /// A copy of the golden directory, with what a start would tidy up.
    fn golden() -> tempfile::TempDir {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1");
        let copy = tempfile::tempdir().unwrap();
        for (path, bytes) in files(&source) {
            let path = copy.path().join(path.strip_prefix(&source).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        for leftover in ["LOCK", "addresses.json", "streams/clicks/journal/1.tmp"] {
            fs::write(copy.path().join(leftover), "").unwrap();
        }
        copy
    }

    fn first_of(folder: &Path) -> PathBuf {
        let mut files: Vec<_> = files(folder).into_keys().collect();
        files.sort();
        files.remove(0)
    }

    /// Both copies of a segment's header, or the front of another file, with another format.
    fn make_newer(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("seg") => {
                for at in [0, 512] {
                    bytes[at + 8] = 2;
                    let crc = crc32c::crc32c(&bytes[at..at + 60]);
                    bytes[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
                }
            }
            Some("ckpt") => bytes[..8].copy_from_slice(b"LKHCKP02"),
            _ => {
                let text = String::from_utf8(bytes).unwrap();
                bytes = text.replace("\"format\":1", "\"format\":2").into_bytes();
            }
        }
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_newer_format_of_any_file_is_refused_and_no_byte_or_name_changes() {
        for newer in [
            "identity.json",
            "streams/clicks/journal",
            "streams/clicks/checkpoint",
            "streams/clicks/scratch/journal",
            "streams/clicks/scratch/checkpoint",
            "streams/clicks/backup/checkpoint",
        ] {
            let copy = golden();
            let path = copy.path().join(newer);
            make_newer(&if path.is_dir() { first_of(&path) } else { path });
            let before = files(copy.path());
            let error = DataDirectory::open(&OsDisk, copy.path(), true).expect_err("it is refused");
            let text = error.to_string();
            assert!(text.contains("format 2") && text.contains("reads 1"), "{newer}: {text}");
            assert!(text.contains("use the newer lakehose again"), "{newer}: {text}");
            assert_eq!(files(copy.path()), before, "{newer}");
        }
        let copy = golden();
        let definition = copy.path().join("streams/clicks/definition.json");
        fs::write(&definition, "{\"format\": \"2\"}").unwrap();
        let before = files(copy.path());
        let error = DataDirectory::open(&OsDisk, copy.path(), true).expect_err("it is refused");
        let text = error.to_string();
        assert!(text.contains("format 2") && text.contains("stream clicks"), "{text}");
        assert!(text.contains("use the newer lakehose again"), "{text}");
        assert_eq!(files(copy.path()), before);
        let copy = golden();
        let before = files(copy.path());
        let opened = DataDirectory::open(&OsDisk, copy.path(), true).expect("it opens");
        let gone = copy.path().join("addresses.json");
        let rest: BTreeMap<_, _> = before.into_iter().filter(|(path, _)| *path != gone).collect();
        assert_eq!(files(copy.path()), rest);
        assert_eq!(opened.path, copy.path());
    }

    #[test]
    fn streams_without_an_identity_are_refused_with_what_to_do_and_not_touched() {
        for damage in ["", "{\"instance\": 7"] {
            let copy = golden();
            let file = copy.path().join("identity.json");
            if damage.is_empty() {
                fs::remove_file(&file).unwrap();
            } else {
                fs::write(&file, damage).unwrap();
            }
            let before = files(copy.path());
            let error = DataDirectory::open(&OsDisk, copy.path(), true).expect_err("it is refused");
            assert!(matches!(error, DirectoryError::NoIdentity { .. }), "{error}");
            assert!(error.to_string().contains("restore the file"), "{error}");
            assert_eq!(files(copy.path()), before);
        }
    }
}
