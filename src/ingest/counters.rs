//! What is counted about calls.
//!
//! Owns the metrics of ingest. Labels have few values: operations and codes are fixed lists, and a
//! stream is one of the configured ones; nothing that a client invents becomes a label.

use std::fmt::{self, Write as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::record::StreamName;

/// The metrics of ingest.
#[derive(Debug)]
pub struct Counters {
    requests: Family<RequestLabels, Counter>,
    records: Family<StreamLabels, Counter>,
    bytes: Family<StreamLabels, Counter>,
    repetitions: Family<StreamLabels, Counter>,
    forgotten: Family<StreamLabels, Counter>,
    request_seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: Label,
}

/// A name as a label, without a copy of its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Label(StreamName);

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.0.as_str())
    }
}

impl StreamLabels {
    fn of(stream: &StreamName) -> Self {
        Self { stream: Label(stream.clone()) }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            records: Family::default(),
            bytes: Family::default(),
            repetitions: Family::default(),
            forgotten: Family::default(),
            // From half a millisecond, an answer without a sync, to 16 seconds, a stalled disk.
            request_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
        }
    }
}

impl Counters {
    /// Makes the metrics visible in `registry`, which carries the program's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "ingest_requests",
            "Calls by operation and code; accepted ones have the code OK",
            self.requests.clone(),
        );
        registry.register(
            "ingest_records",
            "Records accepted, on disk and synced",
            self.records.clone(),
        );
        registry.register_with_unit(
            "ingest_data",
            "Bytes of accepted records, after base64",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "ingest_repeated_calls",
            "Calls that came again and got the answer of the first time; nothing was stored",
            self.repetitions.clone(),
        );
        registry.register(
            "ingest_forgotten_calls",
            "Calls that the retry window let go of early: come again, they are stored again",
            self.forgotten.clone(),
        );
        registry.register_with_unit(
            "ingest_request",
            "Time from the headers of a call to its answer",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
    }

    /// Counts a call that was answered with `code`.
    pub(super) fn answered(&self, operation: &'static str, code: &'static str, took: Duration) {
        let labels = RequestLabels { operation, code };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Counts records that are durable.
    pub(super) fn accepted(&self, stream: &StreamName, record_count: u64, data_bytes: u64) {
        let labels = StreamLabels::of(stream);
        self.records.get_or_create(&labels).inc_by(record_count);
        self.bytes.get_or_create(&labels).inc_by(data_bytes);
    }

    /// Counts a call that came again.
    pub(super) fn repeated(&self, stream: &StreamName) {
        let labels = StreamLabels::of(stream);
        self.repetitions.get_or_create(&labels).inc();
    }

    /// Takes over how many calls the retry window of `stream` has let go of early, in all.
    pub(super) fn forgotten(&self, stream: &StreamName, count: u64) {
        if count > 0 {
            let labels = StreamLabels::of(stream);
            self.forgotten.get_or_create(&labels).inner().fetch_max(count, Ordering::Relaxed);
        }
    }
}
