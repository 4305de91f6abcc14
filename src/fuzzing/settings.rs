//! The file of settings, and what is kept of it.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Environment, LastDefinition, load};

/// A machine on which everything is there that a file asks for.
#[derive(Debug)]
struct Full;

impl Environment for Full {
    fn variable(&self, _: &str) -> io::Result<Option<String>> {
        Ok(Some("a-value-of-many-characters".to_owned()))
    }

    fn file(&self, _: &Path) -> io::Result<String> {
        Ok("a-secret-of-many-characters".to_owned())
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(Path::new("/somewhere").join(path))
    }
}

/// A file is refused with faults that have a place, or its streams can be kept and read again.
pub(super) fn yaml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match load(&text, &Full) {
        Err(faults) => {
            assert!(!faults.as_slice().is_empty(), "refused without a fault");
            let line_count = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
            for fault in faults.as_slice() {
                assert!((1..=line_count + 1).contains(&fault.place().line), "{fault:?}");
                assert!(!fault.message().is_empty());
            }
        }
        Ok(config) => {
            for (name, definition) in &config.definitions {
                let kept = LastDefinition::parse(&definition.to_text());
                assert_eq!(kept.as_ref(), Ok(definition), "{name}");
                let loaded = definition.load(&Full);
                assert!(loaded.is_ok(), "{name}: {loaded:?}\n{}", definition.to_text());
            }
        }
    }
}

/// A definition on the disk, damaged or not, is refused or means what it says.
pub(super) fn definition(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(definition) = LastDefinition::parse(&text) else {
        return;
    };
    let again = LastDefinition::parse(&definition.to_text());
    assert_eq!(again.as_ref(), Ok(&definition));
    // What its settings say may be nonsense: that is told, and nothing more.
    let _ = definition.load(&Full).is_ok();
    let _ = definition.ending_backup(&Full).is_some();
    for store in definition.stores() {
        let _ = (store.target().is_some(), store.read(&Full).is_ok());
    }
    for catalog in definition.earlier_catalogs() {
        let _ = catalog.read(&Full).is_ok();
    }
}
