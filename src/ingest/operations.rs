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
use super::reply::ErrorReply;
use super::retry::{self, Identification, sha256};
use super::scan;
use super::store::store;
use super::wire::{self, Describe, List, ListAnswer, Put, WireError};
use super::{Service, Stream, View};
use crate::journal::{Batch, CallKey};
use crate::record::StreamName;

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
    let operation = Operation::of(&parts.headers).ok_or_else(ErrorReply::unknown_operation)?;
    let new_batch = || {
        let call = call_key(parts, caller, operation, body);
        Batch::new(caller.tenant.cloned(), now).with_call(call)
    };
    match operation {
        Operation::PutRecord => put(view, caller, new_batch(), body, false),
        Operation::PutRecordBatch => put(view, caller, new_batch(), body, true),
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
    let mut ids = store(service, &name, find(view, &name)?, batch).await?.ids();
    if is_batch {
        return Ok(wire::put_record_batch_answer(ids));
    }
    // Only a foreign answer of the journal could lack the id of the one record.
    ids.next().map(wire::put_record_answer).ok_or_else(ErrorReply::internal_failure)
}

/// The key of a call that an SDK will repeat under the same id.
fn call_key(
    parts: &Parts,
    caller: Caller<'_>,
    operation: Operation,
    body: &[u8],
) -> Option<CallKey> {
    let id = retry::invocation_id(&parts.headers)?;
    let body = caller.body.unwrap_or_else(|| sha256(body));
    let (sender, operation) = (caller.access_key, operation.name());
    Some(Identification { sender, operation, id, body }.key())
}

fn put(
    view: &View,
    caller: Caller<'_>,
    mut batch: Batch,
    body: &[u8],
    is_batch: bool,
) -> Result<Prepared, ErrorReply> {
    let stream = match scan::put(body, is_batch, &mut batch) {
        Some(stream) => stream,
        None => read(if is_batch { Put::batch(body)? } else { Put::one(body)? }, &mut batch)?,
    };
    find_for(view, caller, &stream)?;
    Ok(Prepared::Append(Append { stream, batch, is_batch }))
}

/// Decodes the records of a call into `batch`.
fn read(put: Put<'_>, batch: &mut Batch) -> Result<StreamName, WireError> {
    batch.reserve(put.data_bytes);
    for record in put.records() {
        batch.push_with(|out| record.decode(out))?;
    }
    Ok(put.stream)
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
