//! Steps that look at one part at a time and ask nobody: Firehose's own processors.
//!
//! Owns that they run beside the tasks of the process, that a fault of a parser costs one record, and
//! when a batch is answered in part: what producers packed small may be large, so no more is made of
//! a batch at once than [`MADE_BYTES`] and what one record becomes.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Item, Part, Transform, Unavailable, Verdict};
use crate::fault::Action;

/// Once a batch has become so many bytes, the rest of it waits for the next time.
const MADE_BYTES: usize = 4 << 20;

/// A step whose verdict on a part depends on nothing else.
pub(super) trait Processor: fmt::Debug + Send + Sync + 'static {
    /// What it says of a part.
    fn verdict(&self, part: &Part) -> Verdict;
}

/// A processor as a step of a chain.
#[derive(Debug)]
pub(super) struct Inside<P>(Arc<P>);

impl<P: Processor> Inside<P> {
    pub(super) fn new(processor: P) -> Self {
        Self(Arc::new(processor))
    }
}

impl<P: Processor> Transform for Inside<P> {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        let processor = self.0.clone();
        let parts: Vec<Part> = items.iter().map(|item| item.part.clone()).collect();
        Box::pin(async move {
            let verdicts =
                tokio::task::spawn_blocking(move || verdicts(processor.as_ref(), &parts));
            verdicts.await.map_err(|error| Unavailable {
                reason: format!("the step broke down: {error}"),
                action: Action::Alarm,
            })
        })
    }
}

fn verdicts(processor: &impl Processor, parts: &[Part]) -> Vec<Verdict> {
    within_memory(parts.iter().map(|part| {
        let verdict = catch_unwind(AssertUnwindSafe(|| processor.verdict(part)));
        verdict.unwrap_or_else(|_| Verdict::failed("Transform.BrokeDown", "the step broke down"))
    }))
}

/// Verdicts until what they made of the batch so far is enough for one time.
pub(super) fn within_memory(verdicts: impl Iterator<Item = Verdict>) -> Vec<Verdict> {
    let mut made_bytes = 0;
    let mut taken = Vec::new();
    for verdict in verdicts {
        made_bytes += verdict.memory_bytes();
        taken.push(verdict);
        if made_bytes >= MADE_BYTES {
            break;
        }
    }
    taken
}
