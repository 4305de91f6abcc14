//! What a call does.
//!
//! Owns the operations and the order of checks inside one. [`prepare`] is calculation over the
//! bytes of the call and decides everything but the append; [`append`] waits for the disk. Does not
//! own shapes (`wire`), identities (`auth`) or codes (`reply`).
//!
//! Invariant: an error means that nothing of the call was stored.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::Serialize;

use super::auth::Caller;
use super::description::{Answer, STREAM_TYPE};
use super::record_id::RecordId;
use super::reply::ErrorReply;
use super::wire::{self, Describe, List, ListAnswer, Put, WireError};
use super::{Service, Stream, View};
use crate::journal::Batch;
use crate::record::{StreamName, UnixMillis};

const TARGET_HEADER: &str = "x-amz-target";
const TARGET_PREFIX: &str = "Firehose_20150804.";

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    PutRecord,
    PutRecordBatch,
    DescribeDeliveryStream,
    ListDeliveryStreams,
}

impl Operation {
    const ALL: [Self; 4] = [
        Self::PutRecord,
        Self::PutRecordBatch,
        Self::DescribeDeliveryStream,
        Self::ListDeliveryStreams,
    ];

    /// The operation that the headers ask for.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let target = headers.get(TARGET_HEADER)?.to_str().ok()?;
        let name = target.strip_prefix(TARGET_PREFIX)?;
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Its name in the API model.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PutRecord => "PutRecord",
            Self::PutRecordBatch => "PutRecordBatch",
            Self::DescribeDeliveryStream => "DescribeDeliveryStream",
            Self::ListDeliveryStreams => "ListDeliveryStreams",
        }
    }
}

/// What is left to do for a call that is in order.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Nothing: this is the answer.
    Answer(String),
    /// These records must become durable.
    Append(Append),
}

/// The records of one call.
#[derive(Debug)]
pub(super) struct Append {
    stream: StreamName,
    batch: Batch,
    is_batch: bool,
}

/// Checks a call completely, and answers it when it stores nothing.
pub(super) fn prepare(
    service: &Service,
    view: &View,
    parts: &Parts,
    body: &[u8],
) -> Result<Prepared, ErrorReply> {
    let now = service.clock.now();
    let caller = view.auth.verify(parts, body, now)?;
    match Operation::of(&parts.headers).ok_or_else(ErrorReply::unknown_operation)? {
        Operation::PutRecord => put(view, caller, now, &Put::one(body)?),
        Operation::PutRecordBatch => put(view, caller, now, &Put::batch(body)?),
        Operation::DescribeDeliveryStream => {
            describe(service, view, caller, &Describe::parse(body)?)
        }
        Operation::ListDeliveryStreams => Ok(list(view, caller, &List::parse(body)?)),
    }
}

/// Makes the records durable and answers with their ids.
pub(super) async fn append(
    service: &Service,
    view: &View,
    append: Append,
) -> Result<String, ErrorReply> {
    let Append { stream: name, batch, is_batch } = append;
    let data_bytes = batch.data_bytes() as u64;
    let journal = &find(view, &name)?.journal;
    let appended = journal.append(batch).await?;
    service.counters.accepted(&name, appended.count, data_bytes);
    let stamp = journal.stamp();
    let id = |index: u64| RecordId { stamp, position: appended.first.advanced_by(index) };
    if !is_batch {
        return Ok(wire::put_record_answer(id(0)));
    }
    let ids: Vec<RecordId> = (0..appended.count).map(id).collect();
    Ok(wire::put_record_batch_answer(ids.into_iter()))
}

fn put(
    view: &View,
    caller: Caller<'_>,
    arrival: UnixMillis,
    put: &Put<'_>,
) -> Result<Prepared, ErrorReply> {
    let mut batch = Batch::new(caller.tenant.cloned(), arrival);
    let mut reserve_bytes = put.data_bytes;
    for record in put.records() {
        batch.push_with(|out| -> Result<(), WireError> {
            out.reserve(std::mem::take(&mut reserve_bytes));
            record.decode(out)
        })?;
    }
    find_for(view, caller, &put.stream)?;
    Ok(Prepared::Append(Append { stream: put.stream.clone(), batch, is_batch: put.is_batch }))
}

fn describe(
    service: &Service,
    view: &View,
    caller: Caller<'_>,
    describe: &Describe,
) -> Result<Prepared, ErrorReply> {
    let stream = find_for(view, caller, &describe.stream)?;
    let answer = Answer::new(&describe.stream, &service.region, &stream.description);
    Ok(Prepared::Answer(json(&answer)))
}

fn list(view: &View, caller: Caller<'_>, list: &List<'_>) -> Prepared {
    let wanted = list.stream_type.as_deref().is_none_or(|wanted| wanted == STREAM_TYPE);
    let is_after = |name: &StreamName| {
        let after = list.after.as_deref();
        after.is_none_or(|after| name.as_str() > after)
    };
    let names = view.streams.keys();
    let mut names = names.filter(|name| wanted && caller.may_use(name) && is_after(name));
    let delivery_stream_names = names.by_ref().take(list.limit).collect();
    Prepared::Answer(json(&ListAnswer {
        delivery_stream_names,
        has_more_delivery_streams: names.next().is_some(),
    }))
}

fn find_for<'a>(
    view: &'a View,
    caller: Caller<'_>,
    name: &StreamName,
) -> Result<&'a Stream, ErrorReply> {
    if caller.may_use(name) { find(view, name) } else { Err(ErrorReply::no_such_stream(name)) }
}

fn find<'a>(view: &'a View, name: &StreamName) -> Result<&'a Stream, ErrorReply> {
    let stream = view.streams.get(name);
    stream.ok_or_else(|| ErrorReply::no_such_stream(name))
}

fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("texts and finite numbers are always JSON")
}
