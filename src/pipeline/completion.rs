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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{Place, Template};
    use crate::pipeline::tests::FaultyWebhook;
    use crate::plan::Target;

    fn watched(store: &str, number: usize) -> WatchedPartition {
        let url = format!("s3://{store}");
        let target = Target { store: store.into(), url, endpoint: None, region: None };
        let partition = EventPartition {
            folder: format!("clicks/day={number}/"),
            until: UnixMillis(1_795_132_800_000),
            objects: 2,
            rows: 30,
            complete_from: None,
        };
        WatchedPartition { target, tenant: Tenant::new("acme").ok(), partition }
    }

    fn completion(marker: Option<&str>, has_webhook: bool) -> Completion {
        let prefix = Template::parse("!{event:yyyy}/", Place::Prefix).expect("a prefix");
        let webhook = has_webhook.then(|| Arc::new(FaultyWebhook::default()) as _);
        let marker = marker.map(str::to_owned);
        let spans = Spans::of(&prefix).expect("years");
        let after = Duration::from_secs(5);
        Completion { spans, after, late_follow: false, marker, webhook }
    }

    fn tell(
        completion: &Completion,
        complete: &[WatchedPartition],
        unannounced: &[WatchedPartition],
    ) -> Vec<Telling> {
        let stream = &StreamName::new("clicks").expect("a name");
        let stamp = [0, 1, 2, 3, 4, 5, 6, 0xff];
        Teller { stream, stamp, completion }.tell(complete.iter(), unannounced.iter(), Position(7))
    }

    #[test]
    fn a_marker_says_whose_partition_it_is_and_how_much_it_has() {
        let told = tell(&completion(Some("_SUCCESS"), false), &[watched("lake", 1)], &[]);
        let [(header, body)] = told.as_slice() else { panic!("one marker") };
        assert_eq!(
            (header.kind, header.key.as_str()),
            (ObjectKind::Marker, "clicks/day=1/_SUCCESS")
        );
        let event = header.event.as_ref().expect("of a partition");
        assert_eq!((event.complete_from, event.objects, event.rows), (Some(Position(7)), 2, 30));
        let expected = concat!(
            r#"{"stream":"clicks","tenant":"acme","folder":"clicks/day=1/","#,
            r#""location":"s3://lake/clicks/day=1/","until":"2026-11-20T00:00:00Z","#,
            r#""objects":2,"rows":30,"instance":"00010203040506ff"}"#,
            "\n",
        );
        assert_eq!(std::str::from_utf8(body), Ok(expected));
    }

    #[test]
    fn a_plan_has_markers_of_one_store_or_notices() {
        let kinds = |told: &[Telling]| -> Vec<_> {
            told.iter().map(|(header, _)| (header.kind, header.target.store.clone())).collect()
        };
        let complete = [watched("one", 1), watched("two", 2), watched("one", 3)];
        let unannounced = [watched("one", 4)];
        let both = completion(Some("_SUCCESS"), true);
        let marker = || (ObjectKind::Marker, "one".to_owned());
        assert_eq!(kinds(&tell(&both, &complete, &unannounced)), [marker(), marker()]);
        let notice = |store: &str| (ObjectKind::Notice, store.to_owned());
        assert_eq!(kinds(&tell(&both, &[], &unannounced)), [notice("one")]);
        let alone = completion(None, true);
        let told = tell(&alone, &complete[..2], &unannounced);
        assert_eq!(kinds(&told), [notice("one"), notice("two"), notice("one")]);
        let froms: Vec<_> =
            told.iter().map(|(header, _)| header.event.clone()?.complete_from).collect();
        assert_eq!(froms, [Some(Position(7)), Some(Position(7)), None]);
        let many: Vec<_> = (0..100).map(|number| watched("one", number)).collect();
        assert_eq!(tell(&both, &many, &[]).len(), TELLINGS_MAX);
        assert_eq!(tell(&alone, &many, &many).len(), TELLINGS_MAX);
    }

    #[test]
    fn a_partition_is_over_when_its_bound_is() {
        let completion = completion(None, true);
        let until = UnixMillis(1_000);
        assert!(!completion.is_over(until, UnixMillis(5_999)));
        assert!(completion.is_over(until, UnixMillis(6_000)));
        assert!(!completion.is_over(UnixMillis(i64::MAX - 1), UnixMillis(i64::MAX - 1)));
    }
}
