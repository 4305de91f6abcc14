//! The listener under slow, greedy and vanishing clients.

use std::net::SocketAddr;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;

const QUICK: ConnectionLimits = ConnectionLimits {
    connection_count_max: 2,
    head_time_max: Duration::from_millis(200),
    grace: Duration::from_secs(5),
};

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(tls: Option<Arc<Tls>>) -> Self {
        let slow = || async {
            sleep(Duration::from_millis(300)).await;
            "slow"
        };
        let router = Router::new().route("/", get(|| async { "quick" })).route("/slow", get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Listener { tcp: listener, tls }, router, QUICK, async {
            let _ = stopped.await;
        }));
        Self { address, stop, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Sends `request` and reads until the server closes.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn get_of(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn answers_carry_the_date() {
    let server = Running::start().await;
    let answer = exchange(&mut server.connect().await, &get_of("/")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\r\ndate: "), "{answer}");
}

#[tokio::test]
async fn s26_connections_that_never_ask_are_closed() {
    let server = Running::start().await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut stream = server.connect().await;
        let closed = exchange(&mut stream, start);
        let closed = timeout(Duration::from_secs(5), closed).await;
        assert!(closed.is_ok_and(|answer| !answer.contains("200 OK")), "{start:?}");
    }
}

#[tokio::test]
async fn s26_too_many_or_too_long_headers_are_refused() {
    let server = Running::start().await;
    let many = "X-A: b\r\n".repeat(1000);
    let long = format!("X-A: {}\r\n", "b".repeat(64 * 1024));
    for headers in [many, long] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let answer = exchange(&mut server.connect().await, &request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_beyond_the_cap_waits_for_a_place() {
    let server = Running::start().await;
    let first = server.connect().await;
    let second = server.connect().await;
    let mut third = server.connect().await;
    let started = tokio::time::Instant::now();
    let answer = exchange(&mut third, &get_of("/")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The idle ones were closed at the end of their time and made room.
    assert!(started.elapsed() >= Duration::from_millis(100));
    drop((first, second));
}

#[tokio::test]
async fn calls_under_way_are_answered_at_a_shutdown() {
    let mut server = Running::start().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.stop.send(()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("slow"), "{answer}");
    let ended = timeout(Duration::from_secs(5), server.tasks.join_next()).await;
    assert!(matches!(ended, Ok(Some(Ok(())))));
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// The certificate of the tests, which nobody trusts.
fn tls() -> Tls {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let files = crate::ingest::TlsFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    };
    Tls::load(Arc::new(crate::disk::OsDisk), files).unwrap()
}

#[tokio::test]
async fn s26_handshakes_that_do_not_end_are_cut_off() {
    let server = Running::start_with(Some(Arc::new(tls()))).await;
    // Nothing, the head of a handshake record whose rest never comes, and HTTP in clear.
    for start in ["", "\x16\x03\x01\x02\x00\x01", &get_of("/")] {
        let mut stream = server.connect().await;
        let closed = timeout(Duration::from_secs(5), exchange(&mut stream, start)).await;
        assert!(closed.is_ok_and(|answer| !answer.contains("HTTP")), "{start:?}");
    }
}

#[tokio::test]
async fn s26_connections_in_their_handshake_count_against_the_cap() {
    let server = Running::start_with(Some(Arc::new(tls()))).await;
    let waiting = [server.connect().await, server.connect().await];
    let mut third = server.connect().await;
    let started = tokio::time::Instant::now();
    exchange(&mut third, &get_of("/")).await;
    // It was not looked at before one of the others had used up its time.
    assert!(started.elapsed() >= Duration::from_millis(100));
    drop(waiting);
}

/// The client's half of the start of an HTTP/2 connection: its preface and no settings.
const HTTP2_START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET /` on stream 1, of the static table of HPACK: method, scheme, path, and authority `a`.
const HTTP2_GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";

#[tokio::test]
async fn s26_idle_connections_end_whichever_version_they_speak() {
    let server = Running::start().await;
    for start in [HTTP2_START.to_vec(), [HTTP2_START, HTTP2_GET].concat()] {
        let mut stream = server.connect().await;
        stream.write_all(&start).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "it stayed open");
        let is_asked = start.len() > HTTP2_START.len();
        assert_eq!(answer.windows(5).any(|text| text == b"quick"), is_asked);
    }
}

#[tokio::test]
async fn a_call_that_takes_long_does_not_make_its_connection_idle() {
    let server = Running::start().await;
    let mut stream = server.connect().await;
    // Longer than a head may take; the next one comes on the same connection.
    for _ in 0..2 {
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"slow") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        }
    }
}
