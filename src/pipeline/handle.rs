//! What others may ask of a running pipeline, and how the answer is shown as metrics.
//!
//! Owns the shape of a stream's status, and how it is made of those of the legs. Each leg's loop
//! fills in its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::Settings;
use super::books::{LegBooks, StreamBooks};
use super::leg::REGISTRATION_CHANCE;
use super::orders::{Orders, Role};
use super::troubles::Troubles;
use crate::disk::DiskBudget;
use crate::metrics::{Metrics, stream_labels, stream_labels_with};
use crate::record::{Position, StreamName};

/// How often a flush looks whether partitions are registered.
const REGISTRATION_LOOK: Duration = Duration::from_millis(20);

/// A stream as it stands. What a transform made of records is counted in its parts.
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
    /// Accepted records that none of these counts yet: they wait in the journal, in batches or in
    /// open plans.
    pub pending: u64,
    /// What was accepted and stands in none of these counts, or below zero in two of them: always
    /// 0, anything else is a defect.
    pub difference: i64,
    /// Why the counts of the stream or its backup cannot be relied on.
    pub degraded: Option<String>,
    /// Of those that are pending, records that are yet to be transformed.
    pub untransformed: u64,
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
    /// Partitions of event time that have records and are not told complete yet, or not to their webhook.
    pub incomplete_partitions: usize,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes on disk of what was transformed and is not delivered.
    pub scratch_bytes: u64,
    /// Bytes of the outbox on disk.
    pub outbox_bytes: u64,
    /// What holds the stream up, and since how many attempts.
    pub blocked: Option<String>,
    /// The raw source backup, where there is one.
    pub backup: Option<BackupStatus>,
}

/// The raw source backup of a stream as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Records accepted since there is a backup.
    pub accepted: u64,
    /// Records in objects under the backup's prefix.
    pub delivered: u64,
    /// Records that the disk lost.
    pub damaged: u64,
    /// Accepted records that none of these counts yet.
    pub pending: u64,
    /// As that of the stream.
    pub difference: i64,
    /// Plans whose objects are not all in their store.
    pub open_plans: usize,
    /// Bytes of its decisions and its outbox on disk.
    pub disk_bytes: u64,
    /// What holds it up, and since how many attempts.
    pub blocked: Option<String>,
}

/// What a pipeline has left on the disk at its end; the next start goes on with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Accepted records that are not delivered; parts where hooks have made them already.
    pub records: u64,
    /// Accepted records that are not in the backup.
    pub backup_records: u64,
    /// Plans whose objects are not all in their store, those of the backup included.
    pub plans: u64,
    /// Partitions that their catalog does not know yet.
    pub partitions: u64,
    /// Partitions of event time that are not told complete, which may be a matter of their time alone.
    pub incomplete: u64,
    /// Bytes of all that on disk: logs and outboxes.
    pub bytes: u64,
}

impl Left {
    /// Whether nothing has to be done by the next start at once.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let Self { records, backup_records, plans, partitions, incomplete: _, bytes: _ } = self;
        records + backup_records + plans + partitions == 0
    }

    /// Whether nothing is to be done at all, later either.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_nothing() && self.incomplete == 0
    }

    /// Adds what a leg has left.
    pub(super) fn add(&mut self, role: Role, leg: LegLeft) {
        match role {
            Role::Source | Role::Transformed => self.records += leg.records,
            Role::Backup => self.backup_records += leg.records,
        }
        self.plans += leg.plans;
        self.partitions += leg.partitions;
        self.incomplete += leg.incomplete;
        self.bytes += leg.bytes;
    }
}

/// The same of one leg.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LegLeft {
    pub(super) records: u64,
    pub(super) plans: u64,
    pub(super) partitions: u64,
    pub(super) incomplete: u64,
    pub(super) bytes: u64,
}

/// One leg as it stands; the words are those of [`Status`].
#[derive(Clone, Debug, Default)]
pub(super) struct LegStatus {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
    pub(super) damaged: u64,
    pub(super) transformed: u64,
    pub(super) left_out: u64,
    pub(super) pending: u64,
    pub(super) difference: i64,
    pub(super) open_batches: usize,
    pub(super) buffered_records: u64,
    pub(super) buffered_bytes: u64,
    pub(super) closes_at_bytes: u64,
    pub(super) closes_in_seconds: Option<u64>,
    pub(super) closed_batches: usize,
    pub(super) open_plans: usize,
    pub(super) open_objects: usize,
    pub(super) unregistered_partitions: usize,
    pub(super) incomplete_partitions: usize,
    pub(super) log_bytes: u64,
    pub(super) outbox_bytes: u64,
    pub(super) blocked: Option<String>,
}

/// Asks something of a running pipeline.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) stream: StreamName,
    pub(super) metrics: Metrics,
    pub(super) legs: Legs,
    pub(super) imbalances: Troubles,
    /// That of its journals.
    pub(super) stamp: [u8; 8],
    pub(super) changes: mpsc::Sender<Changing>,
    pub(super) budget: Arc<DiskBudget>,
}

/// New settings on their way, with the way back of what went wrong.
pub(super) type Changing = (Settings, oneshot::Sender<Result<(), String>>);

/// The legs of a stream; those besides the first may come later, and go.
#[derive(Clone, Debug, Default)]
pub(super) struct Legs(Arc<Mutex<KnownLegs>>);

#[derive(Debug, Default)]
struct KnownLegs {
    source: Option<LegHandle>,
    transformed: Option<LegHandle>,
    backup: Option<LegHandle>,
}

/// Asks something of a running leg.
#[derive(Clone, Debug)]
pub(super) struct LegHandle {
    pub(super) requests: mpsc::Sender<Request>,
}

/// A question to a leg's loop, with the way back.
#[derive(Debug)]
pub(super) enum Request {
    Status(oneshot::Sender<LegStatus>),
    Flush(oneshot::Sender<()>),
    Change(Orders),
    Table(Option<TableTrouble>),
    Books(oneshot::Sender<LegBooks>),
    /// No record that comes now is this leg's any more; answered with where its records end.
    End(oneshot::Sender<Position>),
}

/// What is wrong with a stream's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableTrouble {
    /// It is not there: nothing is converted until it is.
    Missing(String),
    /// It cannot be used as it is now: the stream goes on with what it was before.
    Unusable(String),
}

/// Why new settings were not taken.
#[derive(Debug, thiserror::Error)]
#[error("could not change stream {stream}: {reason}")]
pub struct ChangeError {
    stream: StreamName,
    reason: String,
}

impl Handle {
    /// The part of the disk budget that the stream has.
    #[must_use]
    pub fn budget(&self) -> &Arc<DiskBudget> {
        &self.budget
    }

    /// The stream as it stands; `None` when the pipeline has ended.
    pub async fn status(&self) -> Option<Status> {
        let source = self.legs.source()?.status().await?;
        let transformed = match self.legs.transformed() {
            Some(leg) => Some(leg.status().await?),
            None => None,
        };
        let backup = match self.legs.backup() {
            // A backup that was switched off and has ended is not asked any more.
            Some(leg) => leg.status().await,
            None => None,
        };
        let mut status = Status::of(source, transformed, backup);
        status.degraded = self.degraded();
        status.show(self.stream.as_str(), &self.metrics);
        Some(status)
    }

    /// Why the counts of the stream or its backup cannot be relied on, as of the last look at them.
    /// Asks no leg, so it answers also when one hangs.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        self.imbalances.text()
    }

    /// The books of the stream, for a recount; `None` when the pipeline has ended.
    pub async fn books(&self) -> Option<StreamBooks> {
        let records = self.legs.source()?.books().await?;
        let parts = match self.legs.transformed() {
            Some(leg) => Some(leg.books().await?),
            None => None,
        };
        let backup = match self.legs.backup() {
            // One that was switched off and has ended is not asked any more.
            Some(leg) => leg.books().await,
            None => None,
        };
        let stamp = format!("{:016x}", u64::from_be_bytes(self.stamp));
        Some(StreamBooks { stamp, records, parts, backup })
    }

    /// Closes every batch and waits until everything accepted before the call is in its store,
    /// dropped, or counted as damaged. Tells whether that came about before the pipeline ended. Its
    /// partitions are registered by then, unless their catalog takes its time: the status says how
    /// many wait. Partitions of event time become complete in their own time, which no flush waits for.
    pub async fn flush(&self) -> bool {
        let backup = async {
            while let Some(leg) = self.legs.backup() {
                if leg.flush().await {
                    break;
                }
                if self.changes.is_closed() {
                    return false;
                }
                // One that was switched off has ended; another may have been asked for since.
                tokio::task::yield_now().await;
            }
            true
        };
        let records = async {
            let Some(source) = self.legs.source() else {
                return false;
            };
            if !source.flush().await {
                return false;
            }
            match self.legs.transformed() {
                Some(leg) => leg.flush().await,
                None => true,
            }
        };
        let (backup, records) = futures::future::join(backup, records).await;
        if !(backup && records) {
            return false;
        }
        // What comes of it makes no difference to the records.
        let _ = tokio::time::timeout(REGISTRATION_CHANCE, self.registered()).await;
        true
    }

    /// Waits until no partition waits for its catalog, or the pipeline has ended.
    async fn registered(&self) {
        while self.status().await.is_some_and(|status| status.unregistered_partitions > 0) {
            tokio::time::sleep(REGISTRATION_LOOK).await;
        }
    }

    /// Gives the pipeline new settings; they apply to everything that is not planned yet.
    ///
    /// # Errors
    /// When what the new settings need cannot be opened, or the pipeline has ended; the old settings
    /// hold then.
    pub async fn change(&self, settings: Settings) -> Result<(), ChangeError> {
        let error = |reason| ChangeError { stream: self.stream.clone(), reason };
        let ended = || error("its pipeline has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        self.changes.send((settings, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?.map_err(error)
    }

    /// Tells the pipeline what is wrong with its table, or that nothing is any more; shown in the
    /// status. The backup has no table. Tells whether the pipeline was there to hear of it.
    pub async fn table(&self, trouble: Option<TableTrouble>) -> bool {
        let transformed = match self.legs.transformed() {
            Some(leg) => leg.table(trouble.clone()).await,
            None => true,
        };
        let source = match self.legs.source() {
            Some(leg) => leg.table(trouble).await,
            None => false,
        };
        transformed && source
    }
}

impl Legs {
    /// Once the pipeline has been made there is always one.
    pub(super) fn source(&self) -> Option<LegHandle> {
        self.known().source.clone()
    }

    pub(super) fn transformed(&self) -> Option<LegHandle> {
        self.known().transformed.clone()
    }

    pub(super) fn backup(&self) -> Option<LegHandle> {
        self.known().backup.clone()
    }

    pub(super) fn set_source(&self, leg: LegHandle) {
        self.known().source = Some(leg);
    }

    pub(super) fn set_transformed(&self, leg: LegHandle) {
        self.known().transformed = Some(leg);
    }

    pub(super) fn set_backup(&self, leg: Option<LegHandle>) {
        self.known().backup = leg;
    }

    fn known(&self) -> MutexGuard<'_, KnownLegs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LegHandle {
    pub(super) async fn status(&self) -> Option<LegStatus> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Status(answer)).await.ok()?;
        answered.await.ok()
    }

    async fn books(&self) -> Option<LegBooks> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Books(answer)).await.ok()?;
        answered.await.ok()
    }

    pub(super) async fn flush(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Request::Flush(answer)).await;
        sent.is_ok() && answered.await.is_ok()
    }

    /// Has the leg end with the records that are there now; tells where they end. `None` when it has
    /// ended already.
    pub(super) async fn end(&self) -> Option<Position> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::End(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Closes every batch, and waits for nothing.
    pub(super) fn begin_flush(&self) {
        let (answer, _) = oneshot::channel();
        let _ = self.requests.try_send(Request::Flush(answer));
    }

    /// False when the leg has ended.
    pub(super) async fn change(&self, orders: Orders) -> bool {
        self.requests.send(Request::Change(orders)).await.is_ok()
    }

    /// False when the leg has ended.
    pub(super) async fn table(&self, trouble: Option<TableTrouble>) -> bool {
        self.requests.send(Request::Table(trouble)).await.is_ok()
    }
}

impl Status {
    /// Records that went on into the scratch log are counted there, by their parts. While a batch
    /// goes over it may be seen on both sides for a moment.
    fn of(source: LegStatus, transformed: Option<LegStatus>, backup: Option<LegStatus>) -> Self {
        let LegStatus { blocked, .. } = source.clone();
        let is_transforming = transformed.is_some();
        let next = transformed.unwrap_or_default();
        Self {
            accepted: source.accepted.saturating_sub(source.transformed) + next.accepted,
            delivered: source.delivered + next.delivered,
            failed: source.failed + next.failed,
            dropped: source.dropped + next.dropped,
            damaged: source.damaged + next.damaged,
            pending: source.pending + next.pending,
            difference: source.difference + next.difference,
            degraded: None,
            untransformed: if is_transforming { source.pending } else { 0 },
            open_batches: source.open_batches + next.open_batches,
            buffered_records: source.buffered_records + next.buffered_records,
            buffered_bytes: source.buffered_bytes + next.buffered_bytes,
            closes_at_bytes: source.closes_at_bytes.max(next.closes_at_bytes),
            closes_in_seconds: next.closes_in_seconds.or(source.closes_in_seconds),
            closed_batches: source.closed_batches + next.closed_batches,
            open_plans: source.open_plans + next.open_plans,
            open_objects: source.open_objects + next.open_objects,
            unregistered_partitions: source.unregistered_partitions + next.unregistered_partitions,
            incomplete_partitions: source.incomplete_partitions + next.incomplete_partitions,
            journal_bytes: source.log_bytes,
            scratch_bytes: next.log_bytes,
            outbox_bytes: source.outbox_bytes + next.outbox_bytes,
            blocked: match (blocked, next.blocked) {
                // Both may wait for the same table.
                (Some(one), Some(other)) if one != other => Some(format!("{one}; {other}")),
                (one, other) => one.or(other),
            },
            backup: backup.map(|leg| BackupStatus {
                accepted: leg.accepted - leg.left_out,
                delivered: leg.delivered,
                damaged: leg.damaged,
                pending: leg.pending,
                difference: leg.difference,
                open_plans: leg.open_plans,
                disk_bytes: leg.log_bytes + leg.outbox_bytes,
                blocked: leg.blocked,
            }),
        }
    }

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
        metrics.conservation_delta.get_or_create(&stream_labels(stream)).set(self.difference);
        let degraded = i64::from(self.degraded.is_some());
        metrics.degraded.get_or_create(&stream_labels(stream)).set(degraded);
        let incomplete = self.incomplete_partitions as i64;
        metrics.incomplete_partitions.get_or_create(&stream_labels(stream)).set(incomplete);
        let backup_bytes = self.backup.as_ref().map_or(0, |backup| backup.disk_bytes);
        for (place, bytes) in [
            ("journal", self.journal_bytes),
            ("scratch", self.scratch_bytes),
            ("outbox", self.outbox_bytes),
            ("backup", backup_bytes),
        ] {
            let labels = stream_labels_with(stream, "place", place);
            metrics.disk_bytes.get_or_create(&labels).set(bytes.cast_signed());
        }
        if let Some(backup) = &self.backup {
            let delta = metrics.backup_conservation_delta.get_or_create(&stream_labels(stream));
            delta.set(backup.difference);
            for (state, count) in [
                ("accepted", backup.accepted),
                ("delivered", backup.delivered),
                ("damaged", backup.damaged),
                ("pending", backup.pending),
            ] {
                let labels = stream_labels_with(stream, "state", state);
                metrics.backup_records.get_or_create(&labels).set(count.cast_signed());
            }
        }
        let backup_is_blocked = self.backup.as_ref().is_some_and(|backup| backup.blocked.is_some());
        let blocked = i64::from(self.blocked.is_some() || backup_is_blocked);
        metrics.blocked.get_or_create(&stream_labels(stream)).set(blocked);
    }
}
