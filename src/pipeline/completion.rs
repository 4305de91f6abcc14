//! What is told of partitions of event time that are complete: the objects of a plan without records.
//!
//! Owns what a stream asks for, the moment from which a partition may be complete, and the bytes and
//! names of markers and notices. Does not own which partitions there are (`watched`), nor when
//! everything that was accepted has gone its way (the leg).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::partition::Spans;
use crate::plan::{EventPartition, ObjectHeader, ObjectKind, WatchedPartition};
use crate::record::{Position, StreamName, Tenant, UnixMillis};
use crate::time::rfc3339;
use crate::webhook::Announce;

/// Ends that one plan tells.
const TELLINGS_MAX: usize = 64;

/// How it is told that a partition of event time is complete.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Which folders have spans of time, and when these end.
    pub spans: Spans,
    /// So long after the end of its span a record still counts as on time.
    pub after: Duration,
    /// Whether late records go to their partition all the same, after its end was told.
    pub late_follow: bool,
    /// The name of the object that is put into its folder; none for no such object.
    pub marker: Option<String>,
    /// Who is told besides, once the object is there.
    pub webhook: Option<Arc<dyn Announce>>,
}

impl Completion {
    /// Whether a partition takes no more records that are on time, from this instant on.
    pub(super) fn is_over(&self, until: UnixMillis, now: UnixMillis) -> bool {
        self.ends_at(until) <= now
    }

    /// The instant from which that is so.
    pub(super) fn ends_at(&self, until: UnixMillis) -> UnixMillis {
        let after = i64::try_from(self.after.as_millis()).unwrap_or(i64::MAX);
        UnixMillis(until.0.saturating_add(after))
    }
}

/// What is to be put or told: the object of a plan and its bytes.
pub(super) type Telling = (ObjectHeader, Vec<u8>);

/// Who tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller<'a> {
    pub(super) stream: &'a StreamName,
    /// The instance, since several may write to one folder.
    pub(super) stamp: [u8; 8],
    pub(super) completion: &'a Completion,
}

impl Teller<'_> {
    /// The ends of these partitions, as many as one plan takes: `complete` ones of which nothing is
    /// told, every record before `from` having had its place, and ones that have their marker. Markers
    /// of one store come first, then notices; never both in a plan.
    pub(super) fn tell<'a>(
        &self,
        complete: impl Iterator<Item = &'a WatchedPartition>,
        unannounced: impl Iterator<Item = &'a WatchedPartition>,
        from: Position,
    ) -> Vec<Telling> {
        let mut complete = complete.peekable();
        let target = complete.peek().map(|first| first.target.clone());
        if self.completion.marker.is_some() && target.is_some() {
            let of_store = complete.filter(|one| Some(&one.target) == target.as_ref());
            let marker = |one| self.telling(ObjectKind::Marker, one, Some(from));
            return of_store.take(TELLINGS_MAX).map(marker).collect();
        }
        let complete = complete.map(|one| (one, Some(from)));
        let notices = complete.chain(unannounced.map(|one| (one, None)));
        let notices = notices.filter(|_| self.completion.webhook.is_some()).take(TELLINGS_MAX);
        notices.map(|(one, from)| self.telling(ObjectKind::Notice, one, from)).collect()
    }

    fn telling(
        &self,
        kind: ObjectKind,
        watched: &WatchedPartition,
        complete_from: Option<Position>,
    ) -> Telling {
        let body = self.body(watched);
        let WatchedPartition { target, tenant, partition } = watched;
        let name = self.completion.marker.as_deref().filter(|_| kind == ObjectKind::Marker);
        let header = ObjectHeader {
            kind,
            target: target.clone(),
            key: format!("{}{}", partition.folder, name.unwrap_or_default()),
            offset: 0,
            size_bytes: 0,
            sha256: String::new(),
            row_count: 0,
            tenant: tenant.clone(),
            content_encoding: None,
            partition: None,
            event: Some(EventPartition { complete_from, ..partition.clone() }),
            renamed: 0,
            spoiled: false,
        };
        (header, body)
    }

    /// The same for the same partition, whenever it is asked for, so that its hash can serve whoever
    /// hears of it twice.
    fn body(&self, watched: &WatchedPartition) -> Vec<u8> {
        let WatchedPartition { tenant, partition, .. } = watched;
        let body = Body {
            stream: self.stream,
            tenant: tenant.as_ref(),
            folder: &partition.folder,
            location: watched.location(),
            until: rfc3339(partition.until),
            objects: partition.objects,
            rows: partition.rows,
            instance: self.stamp.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let mut text = serde_json::to_vec(&body).expect("texts and numbers always serialise");
        text.push(b'\n');
        text
    }
}

#[derive(Serialize)]
struct Body<'a> {
    stream: &'a StreamName,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a Tenant>,
    folder: &'a str,
    location: String,
    until: String,
    objects: u64,
    rows: u64,
    instance: String,
}
