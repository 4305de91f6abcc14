//! What others may ask of a running pipeline, and how the answer is shown as metrics.
//!
//! Owns the shape of a stream's status. The pipeline's loop fills it in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::Recipe;
use crate::buffer::Hints;
use crate::metrics::{Metrics, stream_labels, stream_labels_with};

/// A stream as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Records answered with success.
    pub accepted: u64,
    /// Records in objects under the prefix.
    pub delivered: u64,
    /// Records in objects under the error prefix.
    pub failed: u64,
    /// Records that a transform dropped.
    pub dropped: u64,
    /// Records that the disk lost.
    pub damaged: u64,
    /// Accepted records that none of these counts yet.
    pub pending: u64,
    /// Batches that are open.
    pub open_batches: usize,
    /// Records in open batches.
    pub buffered_records: u64,
    /// Bytes of the records in open batches.
    pub buffered_bytes: u64,
    /// The size hint: a batch with so many bytes closes.
    pub closes_at_bytes: u64,
    /// Seconds until the oldest open batch closes by its age.
    pub closes_in_seconds: Option<u64>,
    /// Batches that are closed and not yet planned.
    pub closed_batches: usize,
    /// Plans whose objects are not all in their store.
    pub open_plans: usize,
    /// Objects of those plans.
    pub open_objects: usize,
    /// Partitions that no catalog has confirmed yet.
    pub unregistered_partitions: usize,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes of the outbox on disk.
    pub outbox_bytes: u64,
    /// What holds the stream up, and since how many attempts.
    pub blocked: Option<String>,
}

/// Asks something of a running pipeline.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
}

/// A question to the loop, with the way back.
#[derive(Debug)]
pub(super) enum Request {
    Status(oneshot::Sender<Status>),
    Flush(oneshot::Sender<()>),
    Change(Change),
    Table(Option<TableTrouble>),
}

/// What is wrong with a stream's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableTrouble {
    /// It is not there: nothing is converted until it is.
    Missing(String),
    /// It cannot be used as it is now: the stream goes on with what it was before.
    Unusable(String),
}

/// New settings of a stream; they apply to everything that is not planned yet.
#[derive(Clone, Debug)]
pub struct Change {
    /// What becomes of records.
    pub recipe: Arc<Recipe>,
    /// When batches close.
    pub hints: Hints,
}

impl Handle {
    /// The stream as it stands; `None` when the pipeline has ended.
    pub async fn status(&self) -> Option<Status> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Status(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Closes every batch and waits until everything accepted before the call is in its store, or
    /// counted as damaged, and its partitions are registered. Tells whether that came about before
    /// the pipeline ended.
    pub async fn flush(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Request::Flush(answer)).await;
        sent.is_ok() && answered.await.is_ok()
    }
}

impl Handle {
    /// Gives the pipeline new settings. A plan that is being made keeps the old ones. Tells whether
    /// the pipeline was there to hear of it.
    pub async fn change(&self, change: Change) -> bool {
        self.requests.send(Request::Change(change)).await.is_ok()
    }

    /// Tells the pipeline what is wrong with its table, or that nothing is any more; shown in the
    /// status. Tells whether the pipeline was there to hear of it.
    pub async fn table(&self, trouble: Option<TableTrouble>) -> bool {
        self.requests.send(Request::Table(trouble)).await.is_ok()
    }
}

impl Status {
    /// Brings the metrics of `stream` up to date.
    pub(super) fn show(&self, stream: &str, metrics: &Metrics) {
        let states = [
            ("accepted", self.accepted),
            ("delivered", self.delivered),
            ("failed", self.failed),
            ("dropped", self.dropped),
            ("damaged", self.damaged),
            ("pending", self.pending),
        ];
        for (state, count) in states {
            let labels = stream_labels_with(stream, "state", state);
            metrics.records.get_or_create(&labels).set(count.cast_signed());
        }
        let ended: u64 = states[1..].iter().map(|(_, count)| count).sum();
        let delta = self.accepted.cast_signed() - ended.cast_signed();
        metrics.conservation_delta.get_or_create(&stream_labels(stream)).set(delta);
        for (place, bytes) in [("journal", self.journal_bytes), ("outbox", self.outbox_bytes)] {
            let labels = stream_labels_with(stream, "place", place);
            metrics.disk_bytes.get_or_create(&labels).set(bytes.cast_signed());
        }
        let blocked = i64::from(self.blocked.is_some());
        metrics.blocked.get_or_create(&stream_labels(stream)).set(blocked);
    }
}
