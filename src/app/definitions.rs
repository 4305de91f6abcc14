//! What is kept of each stream in its folder besides its data: its last definition, and whether it
//! has done everything that it was there for.
//!
//! ```text
//! <data_dir>/streams/<stream>/definition.json   see `config::LastDefinition`
//! <data_dir>/streams/<stream>/retired.json      {"at": ms, "records": n}; nothing waits in the folder
//! ```
//!
//! Owns both files and their order: a definition is durable before anything depends on it, and a
//! stream is in retirement no more before it can take a record. A folder is never removed: its last
//! checkpoint knows which positions were given out, so that a stream of the same name that comes
//! later gives none of them, and no record id, a second time.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::directory::DirectoryError;
use crate::config::{DefinitionError, LastDefinition};
use crate::disk::{Disk, read_file, replace_file};
use crate::record::{StreamName, UnixMillis};

const DEFINITION: &str = "definition.json";
const RETIRED: &str = "retired.json";
/// Longer than any that is written: a configuration with all its programs.
const BYTES_MAX: u64 = 64 << 20;

/// The definitions of a data directory.
#[derive(Clone, Debug)]
pub(super) struct Definitions {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
}

/// Why a definition was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It is none.
    #[error(transparent)]
    Unusable(#[from] DefinitionError),
    /// The disk did not give it.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// The end of a stream.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Retired {
    /// When it had done everything.
    pub(super) at: UnixMillis,
    /// How many records it still had to do when it was taken out.
    pub(super) records: u64,
}

impl Definitions {
    pub(super) fn new(disk: Arc<dyn Disk>, data_dir: PathBuf) -> Self {
        Self { disk, data_dir }
    }

    /// The last definition of a stream; none of one that was never given any.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(&self, stream: &StreamName) -> Result<Option<LastDefinition>, ReadError> {
        read(self.disk.as_ref(), &self.path(stream, DEFINITION))
    }

    /// `definition` as it is to be kept: it takes over what the one before has still to do. One that
    /// is damaged has nothing to say.
    ///
    /// # Errors
    /// When the one before may be whole and cannot be read.
    pub(super) fn merged(
        &self,
        stream: &StreamName,
        definition: &LastDefinition,
    ) -> Result<LastDefinition, DirectoryError> {
        Ok(self.succeed(stream, definition)?.1)
    }

    /// Makes `definition` the last one of a stream whose folder is there. Gives what is kept: it
    /// takes over what the one before has still to do.
    ///
    /// # Errors
    /// When the disk does not do it, or the one before may be whole and cannot be read; it is still
    /// there then.
    pub(super) fn keep(
        &self,
        stream: &StreamName,
        definition: &LastDefinition,
    ) -> Result<LastDefinition, DirectoryError> {
        let (before, now) = self.succeed(stream, definition)?;
        if before.as_ref() != Some(&now) {
            let path = self.path(stream, DEFINITION);
            let written = replace_file(self.disk.as_ref(), &path, now.to_text().as_bytes());
            written.map_err(|error| self.fault("write definition.json", error))?;
        }
        self.end_retirement(stream).map_err(|error| self.fault("remove retired.json", error))?;
        Ok(now)
    }

    /// The last definition, and what takes its place.
    fn succeed(
        &self,
        stream: &StreamName,
        definition: &LastDefinition,
    ) -> Result<(Option<LastDefinition>, LastDefinition), DirectoryError> {
        let before = match self.read(stream) {
            Ok(before) => before,
            Err(ReadError::Unusable(DefinitionError::Damaged(reason))) => {
                tracing::error!(
                    %stream,
                    reason,
                    "could not read the last definition of the stream, which is damaged; plans for \
                     a store that only it knows wait until the store is put back"
                );
                None
            }
            Err(ReadError::Unusable(DefinitionError::Newer(found))) => {
                let (path, stream) = (self.data_dir.clone(), stream.to_string());
                return Err(DirectoryError::NewerDefinition { path, stream, found });
            }
            Err(ReadError::Disk(error)) => return Err(self.fault("read definition.json", error)),
        };
        let now = match &before {
            Some(before) => definition.clone().after(before),
            None => definition.clone(),
        };
        Ok((before, now))
    }

    fn fault(&self, attempt: &'static str, error: io::Error) -> DirectoryError {
        DirectoryError::Disk { attempt, path: self.data_dir.clone(), error }
    }

    /// Whether nothing waits in the folder of a stream.
    pub(super) fn is_retired(&self, stream: &StreamName) -> bool {
        // Whatever it says: the name is given when all is done.
        self.disk.open(&self.path(stream, RETIRED), crate::disk::OpenMode::Read).is_ok()
    }

    /// Notes that nothing waits in the folder of a stream.
    ///
    /// # Errors
    /// What the disk answers; the next start then finds the same.
    pub(super) fn retire(&self, stream: &StreamName, retired: Retired) -> io::Result<()> {
        let mut text = serde_json::to_vec(&retired).map_err(io::Error::other)?;
        text.push(b'\n');
        replace_file(self.disk.as_ref(), &self.path(stream, RETIRED), &text)
    }

    fn end_retirement(&self, stream: &StreamName) -> io::Result<()> {
        match self.disk.remove(&self.path(stream, RETIRED)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.disk.sync_dir(&self.folder(stream)),
        }
    }

    fn folder(&self, stream: &StreamName) -> PathBuf {
        self.data_dir.join("streams").join(stream.as_str())
    }

    fn path(&self, stream: &StreamName, file: impl AsRef<Path>) -> PathBuf {
        self.folder(stream).join(file)
    }
}

/// The format of the definition in the folder of a stream, if a newer program wrote it.
pub(super) fn newer_format(disk: &dyn Disk, folder: &Path) -> Option<String> {
    match read(disk, &folder.join(DEFINITION)) {
        Err(ReadError::Unusable(DefinitionError::Newer(format))) => Some(format),
        _ => None,
    }
}

/// Reads a `definition.json`, if it is there.
///
/// # Errors
/// Why there is none to be had.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<LastDefinition>, ReadError> {
    let bytes = match read_file(disk, path, BYTES_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Err(DefinitionError::Damaged("it is far too long".to_owned()).into());
        }
        bytes => bytes?,
    };
    let text = std::str::from_utf8(&bytes);
    let text = text.map_err(|error| DefinitionError::Damaged(error.to_string()))?;
    Ok(Some(LastDefinition::parse(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SystemEnvironment, load};
    use crate::disk::simulated::SimulatedDisk;

    fn definition(prefix: &str) -> LastDefinition {
        let text = format!(
            "delivery_streams: {{clicks: {{format: {{records: {{}}}}, destination: {{prefix: \
             {prefix}/}}}}}}"
        );
        let config = load(&text, &SystemEnvironment).expect("it is in order");
        config.definitions.into_values().next().expect("there is one stream")
    }

    #[test]
    fn only_a_damaged_definition_is_written_over() {
        let clicks = StreamName::new("clicks").expect("a name");
        let path = Path::new("/data/streams/clicks/definition.json");
        let disk = SimulatedDisk::default();
        let definitions = Definitions::new(Arc::new(disk.clone()), "/data".into());
        disk.create_dir_all(path.parent().expect("a folder")).expect("the disk works");
        let newer = br#"{"format": "2", "streams": []}"#;
        replace_file(&disk, path, newer).expect("the disk works");
        let error = definitions.keep(&clicks, &definition("one")).expect_err("it is newer");
        assert!(error.to_string().contains("use the newer lakehose again"), "{error}");
        assert_eq!(read_file(&disk, path, BYTES_MAX).expect("it is there"), newer);
        replace_file(&disk, path, b"{\"format\": \"1").expect("the disk works");
        definitions.keep(&clicks, &definition("one")).expect("a damaged one is of no use");
        // A disk that gives nothing for a moment has not lost it.
        disk.fail_after(0);
        let error = definitions.keep(&clicks, &definition("other")).expect_err("the disk fails");
        assert!(matches!(error, DirectoryError::Disk { .. }), "{error}");
        let crashed = Definitions::new(Arc::new(disk.crash(&mut |_| true)), "/data".into());
        assert_eq!(crashed.read(&clicks).expect("it is whole"), Some(definition("one")));
    }

    #[test]
    fn wherever_the_power_fails_there_is_the_definition_before_or_the_new_one() {
        let clicks = StreamName::new("clicks").expect("a name");
        let (one, other) = (definition("one"), definition("other"));
        for operations in 0.. {
            let disk = SimulatedDisk::default();
            let definitions = Definitions::new(Arc::new(disk.clone()), "/data".into());
            definitions.keep(&clicks, &one).expect("the disk works");
            let retired = Retired { at: UnixMillis(1), records: 2 };
            definitions.retire(&clicks, retired).expect("the disk works");
            disk.fail_after(operations);
            let kept = definitions.keep(&clicks, &other);
            for arrives in [true, false] {
                let crashed = Arc::new(disk.crash(&mut |_| arrives));
                let after = Definitions::new(crashed, "/data".into());
                let found = after.read(&clicks).expect("it is whole").expect("it is there");
                assert!(found == one || found == other);
                // Nobody who finds it retired finds the old definition in use.
                assert!(after.is_retired(&clicks) || found == other);
                if kept.is_ok() {
                    assert!(found == other && !after.is_retired(&clicks));
                }
            }
            if kept.is_ok() {
                return;
            }
        }
    }
}
