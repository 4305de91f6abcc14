//! The connections of a listener.
//!
//! Owns accepting, the limits on connections, and their graceful end. Every connection is a task of
//! one set whose ends are observed. Does not know what is served.
//!
//! Limits: connections beyond the cap wait in the system's backlog. A TLS handshake must be over
//! within the time of a head. The head of a request must be complete within its time, counted from
//! the connection or from the end of the request before, so it is also the longest time that a
//! connection may be idle, whichever version of HTTP it speaks: pings do not keep it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::ServiceExt;

use super::tls::Tls;

/// More headers than any client sends.
const HEADER_COUNT_MAX: usize = 100;
const HEADERS_BYTES_MAX: u32 = 32 * 1024;
/// Calls that one HTTP/2 connection may have under way.
const HTTP2_STREAMS_MAX: u32 = 100;
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The system has run out of something, most likely file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections there are, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at one time.
    pub connection_count_max: usize,
    /// From the first byte that may come to the end of a request's head, and without a request at
    /// all.
    pub head_time_max: Duration,
    /// From the shutdown to the end of the last call.
    pub grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connection_count_max: 10_000,
            head_time_max: Duration::from_secs(10),
            grace: Duration::from_secs(30),
        }
    }
}

/// Where connections come in.
#[derive(Debug)]
pub struct Listener {
    /// The bound port.
    pub tcp: TcpListener,
    /// What connections begin with; absent where HTTP is spoken in clear.
    pub tls: Option<Arc<Tls>>,
}

/// Serves `router` on `listener` until `shutdown` is over, then lets calls under way finish within
/// the grace period and ends all connections.
pub async fn serve(
    listener: Listener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connection_count_max));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => observe(ended),
            accepted = accept(&listener.tcp, &places) => match accepted {
                Ok((stream, place)) => {
                    let (router, tls) = (router.clone(), listener.tls.clone());
                    let connection = Connection { router, limits, tls, place };
                    connections.spawn(connection.run(stream, stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            observe(ended);
        }
    };
    if timeout(limits.grace, all_ended).await.is_err() {
        let count = connections.len();
        tracing::warn!(count, "connections were cut at the end of the grace period");
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await;
    let place = place.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn observe(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}

struct Connection {
    router: Router,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, stopped: watch::Receiver<bool>) {
        if let Err(error) = stream.set_nodelay(true) {
            // The peer is gone; reading says so too.
            tracing::debug!(%error, "a connection could not be set up");
        }
        let Some(tls) = &self.tls else {
            return self.serve(stream, stopped).await;
        };
        match timeout(self.limits.head_time_max, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, stopped).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, mut stopped: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { router, limits, place: _place, .. } = self;
        let calls = Calls::begin();
        let idle = calls.clone().idle(limits.head_time_max);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (call, router) = (Call::begin(&calls), router.clone());
            async move {
                let answer = router.oneshot(request).await;
                drop(call);
                Ok::<_, Infallible>(infallible(answer))
            }
        });
        let builder = builder(limits.head_time_max);
        let served = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let mut served = pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = told(&mut stopped) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
            () = idle => {
                served.as_mut().graceful_shutdown();
                // An answer that the client does not take keeps the connection no longer.
                match timeout(limits.head_time_max, served).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            // Resets and garbage are everyday events of a public port.
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

/// Waits until the listener is told to stop, or has gone.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // What it hands out is a lock.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The calls of a connection, as far as it matters how long there has been none.
#[derive(Debug)]
struct Calls {
    begun: Instant,
    under_way: AtomicUsize,
    /// When the last call ended, in milliseconds since the connection began.
    ended_ms: AtomicU64,
}

impl Calls {
    fn begin() -> Arc<Self> {
        let (under_way, ended_ms) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { begun: tokio::time::Instant::now(), under_way, ended_ms })
    }

    /// Since when no call has been under way; `None` while one is.
    fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.under_way.load(Ordering::Acquire) == 0;
        is_idle.then(|| self.begun + Duration::from_millis(self.ended_ms.load(Ordering::Relaxed)))
    }

    /// Waits until no call has been under way for as long as `patience`.
    async fn idle(self: Arc<Self>, patience: Duration) {
        let mut look = self.begun + patience;
        loop {
            sleep_until(look).await;
            // A call that is under way now ends later than now: none is overslept.
            let end = self.idle_since().unwrap_or_else(tokio::time::Instant::now) + patience;
            if end <= look {
                return;
            }
            look = end;
        }
    }
}

/// A call under way, counted while it lives.
struct Call(Arc<Calls>);

impl Call {
    fn begin(calls: &Arc<Calls>) -> Self {
        calls.under_way.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let lived = self.0.begun.elapsed().as_millis();
        self.0.ended_ms.store(u64::try_from(lived).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Release);
    }
}

fn builder(head_time_max: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time_max)
        .keep_alive(true)
        .max_headers(HEADER_COUNT_MAX)
        .max_buf_size(HEADERS_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX);
    builder
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
