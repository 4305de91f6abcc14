//! The client: bodies that are made beforehand, and connections that send them.
//!
//! Owns what calls look like on the wire. Does not own what is measured of them.

use std::io::{self, BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

/// The mean of a click of `corpora`.
pub(crate) const RECORD_BYTES: usize = 396;
/// The stream that calls name.
pub(crate) const STREAM: &str = "clicks";
/// Who signs.
pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE";
/// What they sign with.
pub(crate) const SECRET: &str = "a-secret-of-the-bench";
/// Different bodies, so that a processor does not learn one by heart.
const BODIES: usize = 16;
/// Signed calls are made for no more than this in a second: no server answers as many.
const SIGNED_CALLS_PER_SECOND: f64 = 12_000.0;

/// What is sent: calls of so many records each.
pub(crate) struct Producer {
    operation: &'static str,
    records: usize,
    bodies: Vec<Vec<u8>>,
}

/// The head of a call that has the body with this number.
pub(crate) struct Head {
    body: usize,
    text: String,
}

impl Producer {
    /// Calls of `records` records; with one, of PutRecord.
    pub(crate) fn new(records: usize) -> Self {
        let operation = if records == 1 { "PutRecord" } else { "PutRecordBatch" };
        let bodies = (0..BODIES).map(|number| body(records, number)).collect();
        Self { operation, records, bodies }
    }

    /// Bytes of a body, in the mean.
    pub(crate) fn body_bytes(&self) -> usize {
        self.bodies.iter().map(Vec::len).sum::<usize>() / self.bodies.len()
    }

    /// The bodies.
    pub(crate) fn bodies(&self) -> &[Vec<u8>] {
        &self.bodies
    }

    /// Heads of unsigned calls, `count` for each body.
    pub(crate) fn heads(&self, count: usize) -> Vec<Head> {
        let head = |number: usize| {
            let body = number % BODIES;
            let text = format!("{}\r\n", self.common(body));
            Head { body, text }
        };
        (0..count * BODIES).map(head).collect()
    }

    /// Heads of signed calls as SDKs send them, each another one, enough for a round.
    pub(crate) fn signed_heads(&self, round: Duration) -> Vec<Head> {
        let count = (round.as_secs_f64() * SIGNED_CALLS_PER_SECOND) as usize / self.records.min(8);
        let hashes: Vec<String> = self.bodies.iter().map(|body| hex_sha256(body)).collect();
        (0..count.max(BODIES)).map(|number| self.signed(number % BODIES, &hashes)).collect()
    }

    fn common(&self, body: usize) -> String {
        format!(
            "POST / HTTP/1.1\r\nhost: localhost:4573\r\ncontent-type: application/x-amz-json-1.1\r\n\
             x-amz-target: Firehose_20150804.{}\r\nuser-agent: bench\r\ncontent-length: {}\r\n",
            self.operation,
            self.bodies[body].len()
        )
    }

    #[expect(clippy::disallowed_methods, reason = "a bench signs with the machine's time")]
    fn signed(&self, body: usize, hashes: &[String]) -> Head {
        let id = Uuid::new_v4().to_string();
        let target = format!("Firehose_20150804.{}", self.operation);
        let headers = [
            ("host", "localhost:4573"),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &target),
            ("amz-sdk-invocation-id", &id),
        ];
        let identity = Credentials::new(ACCESS_KEY, SECRET, None, None, "bench").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("firehose")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .expect("every field of the parameters is set")
            .into();
        let hash = SignableBody::Precomputed(hashes[body].clone());
        let uri = "http://localhost:4573/";
        let request = SignableRequest::new("POST", uri, headers.into_iter(), hash);
        let signed = sign(request.expect("a request"), &params).expect("it can be signed");
        let mut text = format!("{}amz-sdk-invocation-id: {id}\r\n", self.common(body));
        for (name, value) in signed.output().headers() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Head { body, text }
    }

    /// Sends calls to `port` on `connections` connections, each with one call under way, until the
    /// time is over, and tells how many records were taken. Heads that stand once are sent once
    /// when there are enough of them.
    pub(crate) fn send(
        &self,
        port: u16,
        connections: usize,
        heads: &[Head],
        round: Duration,
    ) -> u64 {
        let deadline = deadline_in(round);
        let next = AtomicUsize::new(0);
        let calls: usize = thread::scope(|scope| {
            let send = || {
                let mut connection = Connection::open(port);
                let mut calls = 0;
                while !is_over(deadline) {
                    let head = &heads[next.fetch_add(1, Ordering::Relaxed) % heads.len()];
                    connection.call(head.text.as_bytes(), &self.bodies[head.body]);
                    calls += 1;
                }
                calls
            };
            let threads: Vec<_> = (0..connections).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a connection")).sum()
        });
        (calls * self.records) as u64
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn deadline_in(time: Duration) -> Instant {
    Instant::now() + time
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn is_over(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
    answer: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        let stream = BufReader::with_capacity(64 << 10, stream);
        Self { stream, line: String::new(), answer: Vec::new() }
    }

    /// Sends a call and reads its answer.
    fn call(&mut self, head: &[u8], body: &[u8]) {
        write_both(self.stream.get_mut(), head, body).expect("the server reads");
        let mut length = 0;
        let mut is_first = true;
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line).expect("the server answers");
            if std::mem::take(&mut is_first) {
                assert!(self.line.starts_with("HTTP/1.1 200"), "{}", self.line);
            }
            let Some((name, value)) = self.line.split_once(':') else {
                if self.line == "\r\n" {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a length");
            }
        }
        self.answer.resize(length, 0);
        self.stream.read_exact(&mut self.answer).expect("the answer is whole");
    }
}

fn write_both(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(head), IoSlice::new(body)];
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let written = stream.write_vectored(left)?;
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

fn body(records: usize, number: usize) -> Vec<u8> {
    let record = |index: usize| {
        let id = Uuid::from_u128((number * records + index) as u128 * 0x9e37_79b9_7f4a_7c15_f39c);
        let mut text = format!(r#"{{"event_id":"{id}","visitor":"v-{index:08}","action":"view""#);
        while text.len() < RECORD_BYTES - 30 {
            text.push_str(&format!(r#","page_{}":"{}""#, text.len(), &id.to_string()[..13]));
        }
        text.push_str(&" ".repeat(RECORD_BYTES - 2 - text.len()));
        text.push_str("}\n");
        format!(r#"{{"Data":"{}"}}"#, STANDARD.encode(text))
    };
    let list: Vec<String> = (0..records).map(record).collect();
    let list = list.join(",");
    let body = if records == 1 {
        format!(r#"{{"DeliveryStreamName":"{STREAM}","Record":{list}}}"#)
    } else {
        format!(r#"{{"DeliveryStreamName":"{STREAM}","Records":[{list}]}}"#)
    };
    body.into_bytes()
}

fn hex_sha256(body: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
