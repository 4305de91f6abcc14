//! The numbers that the service shows of itself.
//!
//! Owns the metric families of the inside: journal, pipeline and delivery. Who counts what is
//! decided where it happens. No label carries a tenant's values or a partition's.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a family: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The states of records.
const RECORD_STATES: [&str; 6] =
    ["accepted", "delivered", "failed", "dropped", "damaged", "pending"];
/// The places of bytes on the local disk.
const DISK_PLACES: [&str; 4] = ["journal", "scratch", "outbox", "backup"];

/// The metric families. Clones count into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds that one sync of a journal took.
    pub journal_sync_seconds: Histogram,
    /// Records by `stream` and `state`: accepted, delivered, failed, dropped, damaged, pending.
    pub records: Family<Labels, Gauge>,
    /// Records of the raw source backup, by the same labels.
    pub backup_records: Family<Labels, Gauge>,
    /// What accepted is more than the other states together; anything but 0 is a defect.
    pub conservation_delta: Family<Labels, Gauge>,
    /// The same of the raw source backup.
    pub backup_conservation_delta: Family<Labels, Gauge>,
    /// 1 while the counts of a `stream` or its backup do not add up.
    pub degraded: Family<Labels, Gauge>,
    /// Bytes on the local disk by `stream` and `place`: journal, scratch, outbox, backup.
    pub disk_bytes: Family<Labels, Gauge>,
    /// 1 while something holds a `stream` up.
    pub blocked: Family<Labels, Gauge>,
    /// 1 while a `stream` that the configuration has no more delivers what it has.
    pub draining: Family<Labels, Gauge>,
    /// Batches closed by `stream` and `trigger`: size, target, interval, flush, pressure, memory.
    pub closed_batches: Family<Labels, Counter>,
    /// Partitions of a `stream` with records in an open batch.
    pub active_partitions: Family<Labels, Gauge>,
    /// Partitions of event time of a `stream` that have records and are not told complete yet.
    pub incomplete_partitions: Family<Labels, Gauge>,
    /// 1 while records of a `stream` fail that would open more partitions than it may have.
    pub partitions_exceeded: Family<Labels, Gauge>,
    /// Objects in their store by `stream` and `kind`: data, error, backup.
    pub delivered_objects: Family<Labels, Counter>,
    /// Bytes of those objects.
    pub delivered_bytes: Family<Labels, Counter>,
    /// Attempts to put an object that did not succeed, by `stream`.
    pub failed_puts: Family<Labels, Counter>,
    /// Keys under which somebody else's object was found, by `stream`.
    pub taken_keys: Family<Labels, Counter>,
    /// Partitions confirmed by their catalog, by `stream`.
    pub registered_partitions: Family<Labels, Counter>,
    /// Calls to a catalog that did not register all that they were to, by `stream`.
    pub failed_registrations: Family<Labels, Counter>,
    /// Partitions that their catalog has with another location, by `stream`.
    pub misplaced_partitions: Family<Labels, Counter>,
    /// Bytes of unfinished writes cut from journals at the start, by `stream`.
    pub torn_bytes: Family<Labels, Counter>,
    /// When the configuration in use was read, in Unix seconds.
    pub configured_seconds: Gauge,
    /// Reloads of the configuration that changed nothing, since the file could not be used.
    pub refused_reloads: Counter,
}

impl Metrics {
    /// Makes the families and enters them into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            // 50 us to 1.6 s.
            journal_sync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            records: Family::default(),
            backup_records: Family::default(),
            conservation_delta: Family::default(),
            backup_conservation_delta: Family::default(),
            degraded: Family::default(),
            disk_bytes: Family::default(),
            blocked: Family::default(),
            draining: Family::default(),
            closed_batches: Family::default(),
            active_partitions: Family::default(),
            incomplete_partitions: Family::default(),
            partitions_exceeded: Family::default(),
            delivered_objects: Family::default(),
            delivered_bytes: Family::default(),
            failed_puts: Family::default(),
            taken_keys: Family::default(),
            registered_partitions: Family::default(),
            failed_registrations: Family::default(),
            misplaced_partitions: Family::default(),
            torn_bytes: Family::default(),
            configured_seconds: Gauge::default(),
            refused_reloads: Counter::default(),
        };
        let m = metrics.clone();
        registry.register(
            "journal_sync_seconds",
            "Seconds that one sync of a journal took",
            m.journal_sync_seconds,
        );
        registry.register(
            "records",
            "Records by state; accepted is the sum of the others",
            m.records,
        );
        registry.register(
            "backup_records",
            "Records of the raw source backup by state; accepted is the sum of the others",
            m.backup_records,
        );
        registry.register(
            "conservation_delta",
            "Accepted records that no state accounts for; anything but 0 is a defect",
            m.conservation_delta,
        );
        registry.register(
            "backup_conservation_delta",
            "Accepted records that no state of the backup accounts for; anything but 0 is a defect",
            m.backup_conservation_delta,
        );
        registry.register(
            "degraded",
            "1 while the counts of the stream or its backup do not add up",
            m.degraded,
        );
        registry.register("disk_bytes", "Bytes on the local disk", m.disk_bytes);
        registry.register("blocked", "1 while something holds the stream up", m.blocked);
        registry.register(
            "draining",
            "1 while a stream that the configuration has no more delivers what it has",
            m.draining,
        );
        registry.register("closed_batches", "Batches by what closed them", m.closed_batches);
        registry.register(
            "active_partitions",
            "Partitions with records in an open batch",
            m.active_partitions,
        );
        registry.register(
            "incomplete_partitions",
            "Partitions of event time that have records and are not told complete yet",
            m.incomplete_partitions,
        );
        registry.register(
            "partitions_exceeded",
            "1 while records fail that would open more partitions than the stream may have",
            m.partitions_exceeded,
        );
        registry.register("delivered_objects", "Objects in their store", m.delivered_objects);
        registry.register(
            "delivered_bytes",
            "Bytes of the objects in their store",
            m.delivered_bytes,
        );
        registry.register(
            "failed_puts",
            "Attempts to put an object that did not succeed",
            m.failed_puts,
        );
        registry.register(
            "taken_keys",
            "Keys under which somebody else's object was found",
            m.taken_keys,
        );
        registry.register(
            "registered_partitions",
            "Partitions confirmed by their catalog",
            m.registered_partitions,
        );
        registry.register(
            "failed_registrations",
            "Calls to a catalog that did not register all that they were to",
            m.failed_registrations,
        );
        registry.register(
            "misplaced_partitions",
            "Partitions that their catalog has with another location",
            m.misplaced_partitions,
        );
        registry.register(
            "torn_bytes",
            "Bytes of unfinished writes cut from journals at the start",
            m.torn_bytes,
        );
        registry.register(
            "configured_seconds",
            "When the configuration in use was read, in seconds since 1970",
            m.configured_seconds,
        );
        registry.register(
            "refused_reloads",
            "Reloads that changed nothing, since the configuration could not be used",
            m.refused_reloads,
        );
        metrics
    }

    /// Takes away the gauges of a stream that is there no more; what was counted of it stays.
    pub fn forget(&self, stream: &str) {
        let labels = stream_labels(stream);
        for family in [
            &self.conservation_delta,
            &self.backup_conservation_delta,
            &self.degraded,
            &self.blocked,
            &self.draining,
            &self.active_partitions,
            &self.incomplete_partitions,
            &self.partitions_exceeded,
        ] {
            family.remove(&labels);
        }
        for state in RECORD_STATES {
            let labels = stream_labels_with(stream, "state", state);
            self.records.remove(&labels);
            self.backup_records.remove(&labels);
        }
        for place in DISK_PLACES {
            self.disk_bytes.remove(&stream_labels_with(stream, "place", place));
        }
    }
}

/// Labels of a stream.
#[must_use]
pub fn stream_labels(stream: &str) -> Labels {
    vec![("stream", stream.to_owned())]
}

/// Labels of a stream and one thing more.
#[must_use]
pub fn stream_labels_with(stream: &str, name: &'static str, value: &str) -> Labels {
    vec![("stream", stream.to_owned()), (name, value.to_owned())]
}
