//! The plain endpoint: `POST /v1/streams/{name}/records`, for everything that speaks HTTP.
//!
//! The path of a call: the head of the message, the token (`bearer`) and the stream, then the body
//! (`body`), unpacked (`unpack`) and split (`split`), and the append that all ways in share
//! (`store`). The answer (`plain_reply`) is sent only after the journal has synced. All records of a
//! call are stored, or none is.
//!
//! A call with an `Idempotency-Key` that comes again within five minutes, from the same identity and
//! with the same body, gets the first answer. The body counts as it is when it is unpacked, so that
//! a client may compress it anew.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response};
use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use super::body::Arrived;
use super::plain_reply::{self, PlainError};
use super::retry::{IDEMPOTENCY_KEY, Identification, sha256};
use super::split::Form;
use super::store::store;
use super::unpack::Encoding;
use super::{CODE_OK, INLINE_BODY_BYTES_MAX, Service, View, body};
use crate::journal::Batch;
use crate::record::{StreamName, Tenant, UnixMillis};

/// Where records are sent.
pub(super) const PATH: &str = "/v1/streams/{name}/records";
/// The operation under which calls are counted, and that their keys carry.
const OPERATION: &str = "PostRecords";
const KEY_BYTES_MAX: usize = 255;

/// Answers a call of the endpoint.
pub(super) async fn call(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let started = service.clock.steady();
    // A panic is answered like every other fault; the panic hook has told about it.
    let answered = AssertUnwindSafe(answer(&service, name, request)).catch_unwind().await;
    let result = answered.unwrap_or_else(|_| Err(PlainError::internal()));
    let code = result.as_ref().map_or_else(|error| error.code, |_| CODE_OK);
    let took = service.clock.steady().saturating_sub(started);
    service.counters.answered(OPERATION, code, took);
    result.map_or_else(PlainError::into_response, plain_reply::success)
}

/// Answers every method but POST.
pub(super) async fn unknown_method(State(service): State<Arc<Service>>) -> Response<Body> {
    let error = PlainError::unknown_method();
    service.counters.answered(OPERATION, error.code, std::time::Duration::ZERO);
    error.before_the_body().into_response()
}

/// What the records of a call are gathered from.
struct Call {
    headers: HeaderMap,
    body: Bytes,
    place: OwnedSemaphorePermit,
    arrival: UnixMillis,
    sender: String,
    tenant: Option<Tenant>,
}

async fn answer(
    service: &Service,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<String, PlainError> {
    let (parts, body) = request.into_parts();
    let (name, begun) = begin(service, name, parts).map_err(PlainError::before_the_body)?;
    let Begun { view, parts, sender, tenant } = begun;
    let arrived = service.bodies.read(&parts, body).await.map_err(PlainError::from);
    let Arrived { bytes: body, place } = arrived.map_err(PlainError::before_the_body)?;
    let headers = parts.headers;
    let call = Call { headers, body, place, arrival: service.clock.now(), sender, tenant };
    let (batch, _place) = gather(call).await?;
    let stream = view.streams.get(&name).ok_or_else(PlainError::no_such_stream)?;
    let stored = store(service, &name, stream, batch).await?;
    Ok(plain_reply::accepted(stored.ids()))
}

/// A call of which the head is in order.
struct Begun {
    view: Arc<View>,
    parts: Parts,
    sender: String,
    tenant: Option<Tenant>,
}

/// Everything that is decided before a byte of the body is read.
fn begin(
    service: &Service,
    name: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<(StreamName, Begun), PlainError> {
    if !service.accepting.load(Ordering::Acquire) {
        return Err(PlainError::not_accepting());
    }
    body::check_head(&parts)?;
    let view = service.view.borrow().clone();
    if view.auth.is_closed_to(&parts) {
        return Err(PlainError::web_page());
    }
    let caller = view.auth.verify_token(&parts.headers)?;
    let name = name.ok().and_then(|Path(name)| StreamName::new(&name).ok());
    let name = name.filter(|name| caller.may_use(name) && view.streams.contains_key(name));
    let name = name.ok_or_else(PlainError::no_such_stream)?;
    Form::of(&parts.headers)?;
    Encoding::of(&parts.headers)?;
    idempotency_key(&parts.headers)?;
    let (sender, tenant) = (caller.access_key.to_owned(), caller.tenant.cloned());
    Ok((name, Begun { view: view.clone(), parts, sender, tenant }))
}

async fn gather(call: Call) -> Result<(Batch, OwnedSemaphorePermit), PlainError> {
    let is_packed = Encoding::of(&call.headers)? != Encoding::Identity;
    if !is_packed && call.body.len() <= INLINE_BODY_BYTES_MAX {
        return call.gather();
    }
    let gathered = tokio::task::spawn_blocking(|| call.gather()).await;
    gathered.unwrap_or_else(|_| Err(PlainError::internal()))
}

impl Call {
    fn gather(mut self) -> Result<(Batch, OwnedSemaphorePermit), PlainError> {
        let room = |bytes| body::enlarge(&mut self.place, bytes);
        let unpacked = Encoding::of(&self.headers)?.unpack(&self.body, room)?;
        let body = unpacked.as_deref().unwrap_or(&self.body);
        let call = idempotency_key(&self.headers)?.map(|id| {
            let (sender, operation, body) = (self.sender.as_str(), OPERATION, sha256(body));
            Identification { sender, operation, id, body }.key()
        });
        let records = Form::of(&self.headers)?.split(body)?;
        let mut batch = Batch::new(self.tenant, self.arrival).with_call(call);
        batch.reserve(records.iter().map(|record| record.len()).sum());
        records.into_iter().for_each(|record| batch.push(record));
        Ok((batch, self.place))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&[u8]>, PlainError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.as_bytes();
    let is_key = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if is_key && values.next().is_none() {
        Ok(Some(key))
    } else {
        Err(PlainError::idempotency_key())
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
