//! The ways in: the producer API of Firehose over HTTP, and a plain endpoint (`plain`) beside it.
//!
//! The path of a call of the API: method and path, then the head of the message and who it says has
//! signed it (`auth`), its body (`body`), then whether that is so (`auth`, `signature`), the operation
//! (`operations`), its shape and constraints (`scan` reads the usual shape, `wire` every other), the
//! stream, and the append to the stream's journal (`store`). The answer (`reply`) is sent only after the
//! journal has synced. Nothing of a refused call is stored.
//!
//! Owns the listener's connections (`server`), the API's texts and limits, and RecordIds. Does not
//! own durability (the journal does) or anything that happens to a record afterwards.

mod auth;
mod bearer;
mod body;
mod browser;
mod counters;
mod description;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod operations;
mod plain;
mod plain_reply;
mod record_id;
mod reply;
mod retry;
mod scan;
mod server;
mod signature;
mod split;
mod store;
mod tls;
mod unpack;
mod violations;
mod wire;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::request::Parts;
use axum::routing::post;
use futures::FutureExt;
use tokio::sync::watch;

pub use body::Bodies;
pub use browser::is_from_a_web_page;

#[cfg(any(test, fuzzing))]
pub(crate) use auth::signatures;
pub use auth::{Auth, AuthError, Caller, Identities, Identity};
pub use bearer::Token;
pub use counters::Counters;
pub use description::{
    BackupDescription, Content, Description, Deserializer, ParquetSettings, Processor, stream_arn,
};
pub use record_id::{RECORD_ID_CHARS, RecordId};
pub use server::{ConnectionLimits, Listener, serve};
pub use split::{elements_of, without_mark};
pub use tls::{Tls, TlsError, TlsFiles};

use crate::clock::Clock;
use crate::journal::Journal;
use crate::record::StreamName;
use body::Arrived;
use operations::{Operation, Prepared};
use reply::ErrorReply;

/// Hashing, parsing and decoding more than this would keep other calls of the thread waiting; for less,
/// handing it to another thread costs more than it spares: 500 records of 500 bytes stay below.
const INLINE_BODY_BYTES_MAX: usize = 512 * 1024;
/// The code under which accepted calls are counted.
const CODE_OK: &str = "OK";
/// The operation under which calls without one are counted.
const NO_OPERATION: &str = "none";

/// What calls need.
#[derive(Debug)]
pub struct Service {
    /// What calls see; another one is seen by the calls that begin after the change.
    pub view: watch::Receiver<Arc<View>>,
    /// Dates signatures, arrivals and durations.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// While this is false, every call is answered with `ServiceUnavailableException`.
    pub accepting: Arc<AtomicBool>,
    /// The memory that bodies may take.
    pub bodies: Bodies,
    /// The region that ARNs name.
    pub region: String,
}

/// What a call sees from its begin to its end.
#[derive(Debug)]
pub struct View {
    /// Who may call.
    pub auth: Auth,
    /// The streams that exist.
    pub streams: BTreeMap<StreamName, Stream>,
}

/// A delivery stream as producers see it.
#[derive(Debug)]
pub struct Stream {
    /// Where its records become durable.
    pub journal: Journal,
    /// What DescribeDeliveryStream shows.
    pub description: Description,
}

/// The routes: `POST /` is the API, `plain::PATH` the plain endpoint; AWS-shaped refusals for the
/// rest.
pub fn router(service: Arc<Service>) -> Router {
    let call = post(call).fallback(unknown_method);
    let plain_call = post(plain::call).fallback(plain::unknown_method);
    let routes = Router::new().route("/", call).route(plain::PATH, plain_call);
    routes.fallback(unknown_path).with_state(service)
}

async fn call(State(service): State<Arc<Service>>, request: Request) -> Response<Body> {
    let started = service.clock.steady();
    let operation = Operation::of(request.headers());
    // A panic is answered like every other fault; the panic hook has told about it.
    let answered = AssertUnwindSafe(answer(&service, request)).catch_unwind().await;
    let result = answered.unwrap_or_else(|_| Err(ErrorReply::internal_failure()));
    respond(&service, operation, started, result)
}

async fn unknown_method(State(service): State<Arc<Service>>) -> Response<Body> {
    let started = service.clock.steady();
    respond(&service, None, started, Err(ErrorReply::unknown_method()))
}

async fn unknown_path(State(service): State<Arc<Service>>) -> Response<Body> {
    let started = service.clock.steady();
    respond(&service, None, started, Err(ErrorReply::unknown_path()))
}

async fn answer(service: &Arc<Service>, request: Request) -> Result<String, ErrorReply> {
    if !service.accepting.load(Ordering::Acquire) {
        return Err(ErrorReply::not_accepting());
    }
    let (parts, body) = request.into_parts();
    body::check_head(&parts)?;
    body::check_plain(&parts)?;
    let view = service.view.borrow().clone();
    if view.auth.is_closed_to(&parts) {
        return Err(ErrorReply::web_page());
    }
    if let Err(error) = view.auth.recognise(&parts, service.clock.now()) {
        body::discard(body).await?;
        return Err(error.into());
    }
    let Arrived { bytes, place: _place } = service.bodies.read(&parts, body).await?;
    match prepare(service, &view, parts, bytes).await? {
        Prepared::Answer(json) => Ok(json),
        Prepared::Append(append) => operations::append(service, &view, append).await,
    }
}

async fn prepare(
    service: &Arc<Service>,
    view: &Arc<View>,
    parts: Parts,
    body: Bytes,
) -> Result<Prepared, ErrorReply> {
    if body.len() <= INLINE_BODY_BYTES_MAX {
        return operations::prepare(service, view, &parts, &body);
    }
    let (service, view) = (service.clone(), view.clone());
    let work = move || operations::prepare(&service, &view, &parts, &body);
    let prepared = tokio::task::spawn_blocking(work).await;
    prepared.unwrap_or_else(|_| Err(ErrorReply::internal_failure()))
}

fn respond(
    service: &Service,
    operation: Option<Operation>,
    started: Duration,
    result: Result<String, ErrorReply>,
) -> Response<Body> {
    let operation = operation.map_or(NO_OPERATION, Operation::name);
    let code = result.as_ref().map_or_else(|error| error.code, |_| CODE_OK);
    let took = service.clock.steady().saturating_sub(started);
    service.counters.answered(operation, code, took);
    match result {
        Ok(json) => reply::success(json),
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests;
