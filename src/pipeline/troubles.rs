//! What holds a stream up at the moment, in words for a person.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What holds the stream up, by step; shared with the deliveries.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles(Arc<Mutex<BTreeMap<String, String>>>);

impl Troubles {
    pub(super) fn set(&self, step: &str, what: String) {
        self.map().insert(step.to_owned(), what);
    }

    pub(super) fn clear(&self, step: &str) {
        self.map().remove(step);
    }

    /// One of the troubles, and how many others there are.
    pub(super) fn text(&self) -> Option<String> {
        let map = self.map();
        let first = map.values().next()?;
        let others = map.len() - 1;
        Some(if others == 0 { first.clone() } else { format!("{first} (and {others} more)") })
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
