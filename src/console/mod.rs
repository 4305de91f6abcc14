//! What operators see: health, readiness, status and metrics, on a listener of their own.
//!
//! Owns the shapes of these answers. Shows no record, no key of a record and no secret. Does not
//! serve producers. What changes something is not done for web pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::app::{Draining, Handles, Refusals, Reload, ReloadError, Standing};
use crate::disk::DiskBudget;
use crate::ingest::is_from_a_web_page;
use crate::pipeline::{Handle, Status};
use crate::record::StreamName;

/// What the answers are made from.
#[derive(Debug)]
pub struct Console {
    /// The pipelines by stream.
    pub streams: watch::Receiver<Arc<Handles>>,
    /// Those on their way out, which producers do not see.
    pub draining: watch::Receiver<Arc<Draining>>,
    /// What the streams may hold on disk together.
    pub budget: Arc<DiskBudget>,
    /// The streams that have no room in it.
    pub refusals: Refusals,
    /// Every metric of the process.
    pub registry: Registry,
    /// Whether producers are served.
    pub accepting: Arc<AtomicBool>,
    /// Reads the configuration again.
    pub reload: Reload,
}

/// The routes of the admin listener.
pub fn router(console: Arc<Console>) -> Router {
    let actions = Router::new()
        .route("/flush/{stream}", post(flush))
        .route("/reload", post(reload))
        .layer(middleware::from_fn(refuse_web_pages));
    Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/books/{stream}", get(books))
        .merge(actions)
        .with_state(console)
}

/// Nobody is asked who they are here, so a page that a browser on the machine shows could do what
/// operators do.
async fn refuse_web_pages(request: Request, next: Next) -> Response {
    if is_from_a_web_page(request.headers()) {
        let text = "calls of web pages change nothing here\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

async fn index() -> &'static str {
    "Lakehose\n\n\
     GET  /health          the process runs; whether its counts add up\n\
     GET  /ready           producers are served, and records are taken\n\
     GET  /status          each stream as it stands\n\
     GET  /metrics         Prometheus metrics\n\
     GET  /books/{stream}  which records are settled, for lakehose audit\n\
     POST /flush/{stream}  deliver what is buffered, and wait for it\n\
     POST /reload          read the configuration file again\n"
}

/// Answers with 200 also when something is wrong with the counts: a restart would not mend it. The
/// text says so.
async fn health(State(console): State<Arc<Console>>) -> String {
    let mut text = String::new();
    for (name, handle) in console.handles().iter() {
        if let Some(degraded) = handle.degraded() {
            text.push_str(&format!("stream {name}: {degraded}\n"));
        }
    }
    if text.is_empty() { "ok\n".to_owned() } else { format!("degraded\n{text}") }
}

async fn ready(State(console): State<Arc<Console>>) -> Response {
    let mut handles = console.handles().as_ref().clone();
    handles.retain(|name, _| !console.draining.borrow().contains_key(name));
    let streams = statuses(&handles).await;
    if !console.accepting.load(Ordering::Relaxed) || streams.len() < handles.len() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not accepting records\n").into_response();
    }
    // One stream's flood is not to take the service from all others.
    let refusing = console.refusals.streams();
    if !handles.is_empty() && handles.keys().all(|stream| refusing.contains(stream)) {
        let text = "records are refused: the disk budget is used up until some of those that wait \
                    have been delivered; /status shows what holds them up\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    "ready\n".into_response()
}

async fn status(State(console): State<Arc<Console>>) -> Json<Value> {
    let streams = statuses(&console.handles()).await;
    let Standing { read_at, refused, last_refusal } = console.reload.standing();
    let is_degraded = streams.values().any(|status| status.degraded.is_some());
    Json(json!({
        "degraded": is_degraded,
        "accepting": console.accepting.load(Ordering::Relaxed),
        "configuration": {
            "read_at": read_at,
            "refused_reloads": refused,
            "last_refusal": last_refusal,
        },
        "disk_budget": {
            "limit_bytes": console.budget.limit_bytes(),
            "used_bytes": console.budget.used_bytes_of_all(),
            "refused_streams": console.refusals.streams(),
        },
        "draining": console.draining.borrow().as_ref(),
        "streams": streams,
    }))
}

async fn metrics(State(console): State<Arc<Console>>) -> Response {
    // Each pipeline brings its gauges up to date when it is asked for its status.
    statuses(&console.handles()).await;
    let mut text = String::new();
    if encode(&mut text, &console.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn books(State(console): State<Arc<Console>>, Path(stream): Path<String>) -> Response {
    let handles = console.handles();
    let Some(handle) = find(&handles, &stream) else {
        return unknown_stream(&handles);
    };
    match handle.books().await {
        Some(books) => Json(books).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the stream has stopped\n").into_response(),
    }
}

fn find<'a>(handles: &'a Handles, stream: &str) -> Option<&'a Handle> {
    StreamName::new(stream).ok().and_then(|name| handles.get(&name))
}

fn unknown_stream(handles: &Handles) -> Response {
    let known: Vec<_> = handles.keys().map(StreamName::as_str).collect();
    let text = format!("there is no stream of this name, only {}\n", known.join(", "));
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn flush(State(console): State<Arc<Console>>, Path(stream): Path<String>) -> Response {
    let handles = console.handles();
    let Some(handle) = find(&handles, &stream) else {
        return unknown_stream(&handles);
    };
    if handle.flush().await {
        let waiting = handle.status().await.map_or(0, |status| status.unregistered_partitions);
        match waiting {
            0 => "delivered\n".to_owned(),
            count => format!("delivered; partitions that wait for their catalog: {count}\n"),
        }
        .into_response()
    } else {
        let text = "the stream stopped before everything was delivered; nothing is lost\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn reload(State(console): State<Arc<Console>>) -> Response {
    let error = match console.reload.reload().await {
        Ok(reloaded) => {
            let status = if reloaded.is_whole() {
                StatusCode::OK
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            return (status, format!("{reloaded}\n")).into_response();
        }
        Err(error) => error,
    };
    let status = match &error {
        ReloadError::NoFile | ReloadError::NeedsRestart { .. } => StatusCode::CONFLICT,
        ReloadError::Faults { faults, .. } if faults.are_passing() => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ReloadError::File(_) | ReloadError::Faults { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::Open(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ReloadError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{error}\n")).into_response()
}

impl Console {
    fn handles(&self) -> Arc<Handles> {
        self.streams.borrow().clone()
    }
}

async fn statuses(handles: &Handles) -> BTreeMap<String, Status> {
    let mut statuses = BTreeMap::new();
    for (name, handle) in handles {
        if let Some(status) = handle.status().await {
            statuses.insert(name.to_string(), status);
        }
    }
    statuses
}
