//! What records are gathered by: those of one group share objects, those of two never do.
//!
//! Owns the identity of a group. Does not own how the group of a record is found.

use std::sync::Arc;

use crate::record::{ErrorOutputType, Tenant};

/// The values of a prefix's slots, in their order, not escaped. Shared, since a group is kept by
/// everything that has records of it.
pub type Values = Arc<[Box<str>]>;

/// Whose records they are, and where they belong.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Whose records they are.
    pub tenant: Option<Tenant>,
    /// Where they belong.
    pub place: GroupPlace,
}

/// Where the records of a group belong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupPlace {
    /// Under the prefix, with these values in its slots; none where it has no slots.
    Placed(Values),
    /// The same under the prefix of late records.
    Late(Values),
    /// Under the error prefix: nothing else tells such records apart.
    Failed(FailedKind),
}

impl Default for GroupPlace {
    fn default() -> Self {
        Self::Placed(Values::default())
    }
}

/// Why records have no place under the prefix, as far as it sets their objects apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailedKind {
    /// Their values are missing, or cannot stand in a key.
    Unplaced,
    /// They would have opened one partition more than may be active.
    TooManyPartitions,
}

impl FailedKind {
    /// The folder of the error prefix.
    #[must_use]
    pub fn error_type(self) -> ErrorOutputType {
        match self {
            Self::Unplaced => ErrorOutputType::ProcessingFailed,
            Self::TooManyPartitions => ErrorOutputType::ActivePartitionExceeded,
        }
    }
}

impl Group {
    /// The group of a record below a prefix without slots.
    #[must_use]
    pub fn of(tenant: Option<Tenant>) -> Self {
        Self { tenant, place: GroupPlace::default() }
    }

    /// The group of a record that has no place.
    #[must_use]
    pub fn failed(tenant: Option<Tenant>, kind: FailedKind) -> Self {
        Self { tenant, place: GroupPlace::Failed(kind) }
    }

    /// The values of the slots; none for records without a place.
    #[must_use]
    pub fn values(&self) -> Option<&Values> {
        match &self.place {
            GroupPlace::Placed(values) | GroupPlace::Late(values) => Some(values),
            GroupPlace::Failed(_) => None,
        }
    }

    /// About how many bytes of memory it takes, shared or not.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let values = self.values().map_or(&[][..], |values| values);
        let values: usize = values.iter().map(|value| value.len() + size_of::<Box<str>>()).sum();
        size_of::<Self>() + values
    }
}
