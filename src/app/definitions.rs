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

use super::directory::{DirectoryError, FILE_BYTES_MAX};
use crate::config::LastDefinition;
use crate::disk::{Disk, read_file, replace_file};
use crate::record::{StreamName, UnixMillis};

const DEFINITION: &str = "definition.json";
const RETIRED: &str = "retired.json";

/// The definitions of a data directory.
#[derive(Clone, Debug)]
pub(super) struct Definitions {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
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
    /// Why it cannot be read, in words.
    pub(super) fn read(&self, stream: &StreamName) -> Result<Option<LastDefinition>, String> {
        let bytes =
            match read_file(self.disk.as_ref(), &self.path(stream, DEFINITION), FILE_BYTES_MAX) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                bytes => bytes.map_err(|error| error.to_string())?,
            };
        parse(&bytes).map(Some)
    }

    /// Makes `definition` the last one of a stream whose folder is there. Gives what is kept: it
    /// takes over what the one before has still to do.
    ///
    /// # Errors
    /// When the disk does not do it; the one before is still there then.
    pub(super) fn keep(
        &self,
        stream: &StreamName,
        definition: &LastDefinition,
    ) -> Result<LastDefinition, DirectoryError> {
        let before = self.read(stream).unwrap_or_else(|reason| {
            tracing::error!(
                %stream,
                reason,
                "could not read the last definition of the stream; plans for a store that only it \
                 knows wait until the store is put back"
            );
            None
        });
        let fault = |attempt| {
            move |error| DirectoryError::Disk { attempt, path: self.data_dir.clone(), error }
        };
        let now = match &before {
            Some(before) => definition.clone().after(before),
            None => definition.clone(),
        };
        if before.as_ref() != Some(&now) {
            let path = self.path(stream, DEFINITION);
            let written = replace_file(self.disk.as_ref(), &path, now.to_text().as_bytes());
            written.map_err(fault("write definition.json"))?;
        }
        self.end_retirement(stream).map_err(fault("remove retired.json"))?;
        Ok(now)
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

/// Reads the bytes of a `definition.json`.
///
/// # Errors
/// Why they are none, in words.
pub(super) fn parse(bytes: &[u8]) -> Result<LastDefinition, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    LastDefinition::parse(text)
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
