//! The object store of the end-to-end tests: a real S3 server (s3s over a folder) that can be told
//! to misbehave.
//!
//! Owns the two listeners, the faults in front of the server, and the counts that tests look at.
//! Does not own S3 itself: requests, signatures and objects are s3s's business. Unlike s3s, a put to
//! a bucket that does not exist is refused. Everything binds to loopback.
//!
//! A put whose body has arrived is carried out even if its sender dies while it waits, as a real
//! store would: a sender that starts again must live with an object that appears late.
//!
//! The control listener answers `POST /faults` (JSON, see [`Faults`]; what is left out is switched
//! off) and `GET /state` (JSON, see [`Counts`]).

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

type BoxError = Box<dyn Error + Send + Sync>;

/// An S3 server for tests, over a folder, on loopback.
#[derive(Debug, Parser)]
struct Options {
    /// The folder that holds the buckets, one sub-folder each
    #[arg(long)]
    root: PathBuf,
    /// The port of S3; 0 lets the system choose
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The only access key that is known
    #[arg(long)]
    access_key: String,
    /// Its secret
    #[arg(long)]
    secret_key: String,
}

/// What goes wrong with puts of objects, from now on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Faults {
    /// Answer with this status and store nothing.
    put_status: Option<u16>,
    /// Wait before storing.
    put_delay_ms: u64,
    /// Store every n-th put and answer 500 all the same; 0 for never.
    put_lost_answer_every: u64,
    /// Of a hundred puts, refuse so many with 500, 503 and 429 in turn.
    put_errors_percent: u64,
    /// Take every request, and answer none.
    is_silent: bool,
}

/// What has happened to puts of objects since the start.
#[derive(Clone, Debug, Default, Serialize)]
struct Counts {
    /// Begun and neither answered nor given up.
    puts_in_flight: u64,
    /// Stored, whatever was answered.
    puts_done: u64,
    /// Not stored.
    puts_failed: u64,
    /// Stored under a key that held other bytes before.
    keys_rewritten_with_other_bytes: u64,
    /// Requests of all kinds.
    requests: u64,
    /// Connections of S3's listener that are open.
    connections: u64,
    /// The most that were open at a time since the faults were set.
    connections_max: u64,
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    /// Puts that came as far as the faults.
    puts: u64,
    /// SHA-256 of the last bytes of each path.
    stored: HashMap<String, Vec<u8>>,
}

struct Store {
    root: PathBuf,
    s3: S3Service,
    faults: Mutex<Faults>,
    seen: Mutex<Seen>,
}

impl Store {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One put in flight, for as long as it lives.
struct InFlight(Arc<Store>);

impl InFlight {
    fn begin(store: &Arc<Store>) -> Self {
        store.seen().counts.puts_in_flight += 1;
        Self(Arc::clone(store))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.seen().counts.puts_in_flight -= 1;
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    let backend = s3s_fs::FileSystem::new(&options.root)
        .map_err(|error| format!("cannot use the root folder {:?}: {error:?}", options.root))?;
    let mut builder = S3ServiceBuilder::new(backend);
    builder.set_auth(SimpleAuth::from_single(options.access_key, options.secret_key));
    let store = Arc::new(Store {
        root: options.root,
        s3: builder.build(),
        faults: Mutex::default(),
        seen: Mutex::default(),
    });

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening {} control {}", listener.local_addr()?, control.local_addr()?);
    std::io::stdout().flush()?;

    let controlled = Arc::clone(&store);
    tokio::try_join!(
        serve(listener, Some(Arc::clone(&store)), move |request| {
            answer_s3(Arc::clone(&store), request)
        }),
        serve(control, None, move |request| answer_control(Arc::clone(&controlled), request)),
    )?;
    Ok(())
}

/// One open connection, for as long as it lives.
struct Connection(Arc<Store>);

impl Connection {
    fn begin(store: Arc<Store>) -> Self {
        {
            let counts = &mut store.seen().counts;
            counts.connections += 1;
            counts.connections_max = counts.connections_max.max(counts.connections);
        }
        Self(store)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.seen().counts.connections -= 1;
    }
}

/// Answers every connection of a listener; returns only when it cannot be accepted from. The
/// connections are counted in `counted`.
async fn serve<A, F, B, E>(
    listener: TcpListener,
    counted: Option<Arc<Store>>,
    answer: A,
) -> Result<(), BoxError>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let answer = answer.clone();
        let counted = counted.clone().map(Connection::begin);
        spawn(async move {
            let _counted = counted;
            let connection = Builder::new(TokioExecutor::new());
            // A client that goes away in the middle is part of the tests, not an error.
            let _ = connection.serve_connection(TokioIo::new(socket), service_fn(answer)).await;
        });
    }
}

async fn answer_s3(
    store: Arc<Store>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, BoxError> {
    store.seen().counts.requests += 1;
    if store.faults().is_silent {
        std::future::pending::<()>().await;
    }
    if !is_put_of_object(&request) {
        return Ok(store.s3.call(request.map(s3s::Body::from)).await?);
    }
    let in_flight = InFlight::begin(&store);
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            store.seen().counts.puts_failed += 1;
            return Err(error.into());
        }
    };
    // On its own task, so that it ends as it should even when the sender has gone.
    spawn(async move {
        let answer = put(&store, parts, body).await;
        drop(in_flight);
        answer
    })
    .await?
}

fn is_put_of_object<B>(request: &Request<B>) -> bool {
    let path = request.uri().path().trim_start_matches('/');
    let key = path.split_once('/').map_or("", |(_bucket, key)| key);
    request.method() == Method::PUT && !key.is_empty()
}

async fn put(store: &Store, parts: Parts, body: Bytes) -> Result<Response<s3s::Body>, BoxError> {
    let delay = Duration::from_millis(store.faults().put_delay_ms);
    tokio::time::sleep(delay).await;

    let Faults { put_status, put_lost_answer_every, put_errors_percent, .. } =
        store.faults().clone();
    if let Some(status) = put_status {
        store.seen().counts.puts_failed += 1;
        return refusal(StatusCode::from_u16(status)?, "SlowDown");
    }
    let number = {
        let mut seen = store.seen();
        seen.puts += 1;
        seen.puts
    };
    // Scattered, and the same share of any long run of puts.
    if number * 61 % 100 < put_errors_percent {
        store.seen().counts.puts_failed += 1;
        let (status, code) = match number % 3 {
            0 => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            1 => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            _ => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        };
        return refusal(status, code);
    }
    let path = parts.uri.path().to_owned();
    let bucket = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if !store.root.join(bucket).is_dir() {
        store.seen().counts.puts_failed += 1;
        return refusal(StatusCode::NOT_FOUND, "NoSuchBucket");
    }

    let hash = is_whole_object(&parts).then(|| digest(&SHA256, &body).as_ref().to_vec());
    let answer = store.s3.call(Request::from_parts(parts, s3s::Body::from(body))).await?;
    let mut seen = store.seen();
    if !answer.status().is_success() {
        seen.counts.puts_failed += 1;
        return Ok(answer);
    }
    seen.counts.puts_done += 1;
    if let Some(hash) = hash {
        let before = seen.stored.insert(path, hash.clone());
        seen.counts.keys_rewritten_with_other_bytes +=
            u64::from(before.is_some_and(|before| before != hash));
    }
    if put_lost_answer_every > 0 && seen.counts.puts_done.is_multiple_of(put_lost_answer_every) {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    }
    Ok(answer)
}

/// Whether the body is the object: not a part, not a copy, not in chunks with their own signatures.
fn is_whole_object(parts: &Parts) -> bool {
    let is_part = parts.uri.query().is_some_and(|query| query.contains("uploadId="));
    let is_copy = parts.headers.contains_key("x-amz-copy-source");
    let payload = parts.headers.get("x-amz-content-sha256");
    let is_chunked = payload.is_some_and(|hash| hash.as_bytes().starts_with(b"STREAMING-"));
    !is_part && !is_copy && !is_chunked
}

fn refusal(status: StatusCode, code: &str) -> Result<Response<s3s::Body>, BoxError> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>refused by the test's S3 server</Message></Error>"
    );
    let answer = Response::builder().status(status).header("content-type", "application/xml");
    Ok(answer.body(s3s::Body::from(text))?)
}

async fn answer_control(
    store: Arc<Store>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method().clone(), request.uri().path()) {
        (Method::GET, "/state") => state(&store),
        (Method::POST, "/faults") => set_faults(&store, request.into_body()).await,
        _ => Err(format!("no such control: {} {}", request.method(), request.uri())),
    }
    .map_or_else(|error| (StatusCode::BAD_REQUEST, error), |text| (StatusCode::OK, text));
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    Ok(answer)
}

fn state(store: &Store) -> Result<String, String> {
    serde_json::to_string(&store.seen().counts).map_err(|error| error.to_string())
}

async fn set_faults(store: &Store, body: Incoming) -> Result<String, String> {
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let faults: Faults = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    if faults.put_status.is_some_and(|status| StatusCode::from_u16(status).is_err()) {
        return Err("put_status is not an HTTP status".to_owned());
    }
    *store.faults() = faults;
    let counts = &mut store.seen().counts;
    counts.connections_max = counts.connections;
    Ok("{}".to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test server of its own process: nothing here is part of Lakehose's shutdown"
)]
fn spawn<F>(work: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(work)
}
