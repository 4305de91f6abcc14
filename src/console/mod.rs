//! What operators see: health, readiness, status and metrics, on a listener of their own.
//!
//! Owns the shapes of these answers. Shows no record, no key of a record and no secret. Does not
//! serve producers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::pipeline::{Handle, Status};
use crate::record::StreamName;

/// What the answers are made from.
#[derive(Debug)]
pub struct Console {
    /// The pipelines by stream.
    pub streams: BTreeMap<StreamName, Handle>,
    /// Every metric of the process.
    pub registry: Registry,
    /// Whether producers are served.
    pub accepting: Arc<AtomicBool>,
}

/// The routes of the admin listener.
pub fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/flush/{stream}", post(flush))
        .with_state(console)
}

async fn index() -> &'static str {
    "Lakehose\n\n\
     GET  /health          the process runs\n\
     GET  /ready           producers are served\n\
     GET  /status          each stream as it stands\n\
     GET  /metrics         Prometheus metrics\n\
     POST /flush/{stream}  deliver what is buffered, and wait for it\n"
}

async fn ready(State(console): State<Arc<Console>>) -> Response {
    let streams = statuses(&console).await;
    if !console.accepting.load(Ordering::Relaxed) || streams.len() < console.streams.len() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not accepting records\n").into_response();
    }
    "ready\n".into_response()
}

async fn status(State(console): State<Arc<Console>>) -> Json<Value> {
    let streams = statuses(&console).await;
    Json(json!({
        "accepting": console.accepting.load(Ordering::Relaxed),
        "streams": streams,
    }))
}

async fn metrics(State(console): State<Arc<Console>>) -> Response {
    // Each pipeline brings its gauges up to date when it is asked for its status.
    statuses(&console).await;
    let mut text = String::new();
    if encode(&mut text, &console.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn flush(State(console): State<Arc<Console>>, Path(stream): Path<String>) -> Response {
    let handle = StreamName::new(&stream).ok().and_then(|name| console.streams.get(&name));
    let Some(handle) = handle else {
        let known: Vec<_> = console.streams.keys().map(StreamName::as_str).collect();
        let text = format!("there is no stream of this name, only {}\n", known.join(", "));
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    if handle.flush().await {
        "delivered\n".into_response()
    } else {
        let text = "the stream stopped before everything was delivered; nothing is lost\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn statuses(console: &Console) -> BTreeMap<String, Status> {
    let mut statuses = BTreeMap::new();
    for (name, handle) in &console.streams {
        if let Some(status) = handle.status().await {
            statuses.insert(name.to_string(), status);
        }
    }
    statuses
}
