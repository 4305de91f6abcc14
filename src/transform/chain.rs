//! The steps of a stream in their order, and what they make of a record.
//!
//! Owns what they are given at once. How a batch goes through them is `journey`'s.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::journey::Journey;
use super::{Failure, Item, Part, Transform};
use crate::buffer::Hints;

/// What a chain is given at once when no step says.
const SIZE_BYTES: u64 = 1 << 20;

/// What the chain made of a record, or of one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transformed {
    /// It goes on as this.
    Part(Part),
    /// It is not wanted.
    Dropped,
    /// It goes to the error prefix.
    Failed {
        /// The record as it was accepted or, when it had been split before it failed, the part as
        /// it came out of the split, or what it could not be split further from.
        raw: Bytes,
        /// Why.
        failure: Failure,
    },
}

/// The steps of a stream in their order.
#[derive(Clone, Debug)]
pub struct Chain {
    steps: Vec<Arc<dyn Transform>>,
}

impl Chain {
    /// A chain of `steps`.
    #[must_use]
    pub fn new(steps: Vec<Arc<dyn Transform>>) -> Self {
        Self { steps }
    }

    /// What the steps are given at once: no more than each of them wants, and for as long as the most
    /// patient waits. Steps that run inside this process have no wish.
    #[must_use]
    pub fn hints(&self) -> Hints {
        let wishes = self.steps.iter().filter_map(|step| step.hints());
        let all = wishes.reduce(|all, one| Hints {
            size_bytes: all.size_bytes.min(one.size_bytes),
            interval: all.interval.max(one.interval),
        });
        all.unwrap_or(Hints { size_bytes: SIZE_BYTES, interval: Duration::ZERO })
    }

    /// Sets out with records that come in one batch.
    #[must_use]
    pub fn begin(&self, records: Vec<Item>) -> Journey {
        Journey::new(self.steps.clone(), records)
    }
}
