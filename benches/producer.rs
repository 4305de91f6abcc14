//! A producer that takes little of the machine: `producer --help`.
//!
//! Makes the bodies of its calls and their hashes from a file of lines before it begins, then sends them
//! over again from a few connections, each call signed anew for its second. With a rate each call has its
//! time, and its latency counts from then on, so that a slow answer is not hidden by the calls that it
//! held up. A refused call is sent again until it is taken. Beside it writes of the same size are synced,
//! twenty a second, to say what the disk alone takes. Prints one JSON object.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;

type BoxError = Box<dyn Error + Send + Sync>;

const TARGET: &str = "Firehose_20150804.PutRecordBatch";
const REGION: &str = "us-east-1";
const SYNCS_PAUSE: Duration = Duration::from_millis(50);
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// Sends records by PutRecordBatch, and tells how that went.
#[derive(Debug, Parser)]
struct Options {
    /// Where the service listens
    #[arg(long)]
    address: String,
    /// The delivery streams, which take calls in turn
    #[arg(long, value_delimiter = ',', required = true)]
    streams: Vec<String>,
    /// A file of lines, each of them a record
    #[arg(long)]
    records: PathBuf,
    /// Records in a call
    #[arg(long, default_value_t = 500)]
    call_records: usize,
    /// Calls under way at the most
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// How long to send
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// How many calls to send at the most
    #[arg(long, default_value_t = u64::MAX)]
    calls: u64,
    /// Megabytes (10^6) of records a second; as fast as they are taken without it
    #[arg(long)]
    rate: Option<f64>,
    /// With it and a secret calls are signed
    #[arg(long, requires = "secret")]
    access_key: Option<String>,
    /// The secret of the access key
    #[arg(long)]
    secret: Option<String>,
    /// A folder on the service's disk, for the writes beside it
    #[arg(long)]
    sync_dir: PathBuf,
}

/// A call that can be sent any number of times.
struct Call {
    body: Vec<u8>,
    hash: String,
    records: u64,
    bytes: u64,
}

/// What one connection did.
#[derive(Default)]
struct Sent {
    calls: u64,
    records: u64,
    bytes: u64,
    refused: u64,
    latencies: Vec<Duration>,
}

fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    let calls = calls_of(&options)?;
    let bytes: u64 = calls.iter().map(|call| call.bytes).sum();
    let call_bytes = bytes as f64 / calls.len() as f64;
    let pace = options.rate.map(|rate| Duration::from_secs_f64(call_bytes / (rate * 1e6)));
    let signer = options.access_key.as_ref().zip(options.secret.as_ref());
    let plan = Plan {
        options: &options,
        calls: &calls,
        signer,
        pace,
        next: AtomicU64::new(0),
        began: now(),
    };
    let (sent, syncs) = thread::scope(|scope| {
        let connections: Vec<_> =
            (0..options.connections).map(|_| scope.spawn(|| plan.send())).collect();
        let syncs = scope.spawn(|| plan.sync(call_bytes as usize));
        let sent: Result<Vec<Sent>, BoxError> =
            connections.into_iter().map(|each| each.join().expect("no panic")).collect();
        // Whatever has happened, the syncs end.
        plan.next.store(u64::MAX, Ordering::Relaxed);
        (sent, syncs.join().expect("no panic"))
    });
    let (sent, syncs) = (sent?, syncs?);
    let seconds = plan.began.elapsed().as_secs_f64();
    let sum = |of: fn(&Sent) -> u64| sent.iter().map(of).sum::<u64>();
    let told = serde_json::json!({
        "seconds": seconds,
        "calls": sum(|each| each.calls),
        "records": sum(|each| each.records),
        "bytes": sum(|each| each.bytes),
        "refused": sum(|each| each.refused),
        "answer_ms": percentiles(sent.iter().flat_map(|each| each.latencies.iter().copied()).collect()),
        "sync_ms": percentiles(syncs),
    });
    println!("{told}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}

fn calls_of(options: &Options) -> Result<Vec<Call>, BoxError> {
    let lines = BufReader::new(File::open(&options.records)?).split(b'\n');
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    // Each stream gets whole calls; what is left at the end of the file is not sent.
    let chunks = lines.chunks_exact(options.call_records).enumerate();
    let calls: Vec<Call> = chunks
        .map(|(number, lines)| {
            let stream = &options.streams[number % options.streams.len()];
            let mut body = format!(r#"{{"DeliveryStreamName":"{stream}","Records":["#);
            for (number, line) in lines.iter().enumerate() {
                body.push_str(if number > 0 { r#",{"Data":""# } else { r#"{"Data":""# });
                STANDARD.encode_string(line, &mut body);
                body.push_str(r#""}"#);
            }
            body.push_str("]}");
            Call {
                hash: hex(digest(&SHA256, body.as_bytes()).as_ref()),
                body: body.into_bytes(),
                records: lines.len() as u64,
                bytes: lines.iter().map(|line| line.len() as u64).sum(),
            }
        })
        .collect();
    if calls.len() < options.streams.len() {
        return Err("the file has fewer calls than there are streams".into());
    }
    Ok(calls)
}

/// What all connections share.
struct Plan<'a> {
    options: &'a Options,
    calls: &'a [Call],
    signer: Option<(&'a String, &'a String)>,
    /// From one call to the next.
    pace: Option<Duration>,
    next: AtomicU64,
    began: Instant,
}

impl Plan<'_> {
    /// One connection: takes the next call of all until there is none.
    fn send(&self) -> Result<Sent, BoxError> {
        let mut socket = TcpStream::connect(&self.options.address)?;
        socket.set_nodelay(true)?;
        let (mut sent, mut message, mut signature) =
            (Sent::default(), Vec::new(), Signature::default());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = match self.pace {
                Some(pace) => pace.mul_f64(number as f64),
                None => self.began.elapsed(),
            };
            if number >= self.options.calls || due.as_secs_f64() >= self.options.seconds {
                return Ok(sent);
            }
            thread::sleep(due.saturating_sub(self.began.elapsed()));
            let call = &self.calls[number as usize % self.calls.len()];
            loop {
                message.clear();
                self.write_head(call, &mut signature, &mut message)?;
                message.extend_from_slice(&call.body);
                socket.write_all(&message)?;
                if read_answer(&mut socket, &mut message)? {
                    break;
                }
                sent.refused += 1;
                thread::sleep(REFUSED_PAUSE);
            }
            sent.latencies.push(self.began.elapsed().saturating_sub(due));
            sent.calls += 1;
            sent.records += call.records;
            sent.bytes += call.bytes;
        }
    }

    fn write_head(
        &self,
        call: &Call,
        signature: &mut Signature,
        out: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        let host = &self.options.address;
        write!(
            out,
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-amz-json-1.1\r\n\
             x-amz-target: {TARGET}\r\ncontent-length: {}\r\n",
            call.body.len()
        )?;
        if let Some((access_key, secret)) = self.signer {
            signature.begin(secret);
            let Signature { time, scope, .. } = &*signature;
            write!(
                out,
                "x-amz-date: {time}\r\nauthorization: AWS4-HMAC-SHA256 Credential={access_key}/{scope}, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={}\r\n",
                signature.of(host, &call.hash)
            )?;
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Writes over the same bytes and syncs them, as a journal does that recycles its files.
    fn sync(&self, bytes: usize) -> Result<Vec<Duration>, BoxError> {
        let path: &Path = &self.options.sync_dir.join("synced");
        let file = File::create(path)?;
        let content = vec![b'x'; bytes];
        file.write_all_at(&content, 0)?;
        file.sync_all()?;
        let mut took = Vec::new();
        while self.began.elapsed().as_secs_f64() < self.options.seconds
            && self.next.load(Ordering::Relaxed) < self.options.calls
        {
            let started = now();
            file.write_all_at(&content, 0)?;
            file.sync_data()?;
            took.push(started.elapsed());
            thread::sleep(SYNCS_PAUSE);
        }
        std::fs::remove_file(path)?;
        Ok(took)
    }
}

/// Reads one answer; tells whether all records were taken.
fn read_answer(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<bool, BoxError> {
    buffer.resize(64 << 10, 0);
    let (mut length, mut end) = (0, None);
    while end.is_none_or(|end| length < end) {
        if length == buffer.len() {
            buffer.resize(length * 2, 0);
        }
        let count = socket.read(&mut buffer[length..])?;
        if count == 0 {
            return Err("the service closed a connection".into());
        }
        length += count;
        if end.is_none()
            && let Some(head) = buffer[..length].windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            end = Some(head + 4 + content_length(&buffer[..head])?);
        }
    }
    let answer = &buffer[..length];
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("seen above") + 4;
    let is_taken = answer.starts_with(b"HTTP/1.1 200")
        && answer[body..].starts_with(br#"{"FailedPutCount":0"#);
    if !is_taken && answer.starts_with(b"HTTP/1.1 4") {
        return Err(String::from_utf8_lossy(answer).into());
    }
    Ok(is_taken)
}

fn content_length(head: &[u8]) -> Result<usize, BoxError> {
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    Ok(line.ok_or("an answer without a length")?.trim().parse()?)
}

/// What the signatures of one second share.
#[derive(Default)]
struct Signature {
    time: String,
    scope: String,
    key: Option<hmac::Key>,
}

impl Signature {
    #[expect(clippy::disallowed_methods, reason = "a producer signs by its own clock")]
    fn begin(&mut self, secret: &str) {
        let time = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
        if time == self.time {
            return;
        }
        let scope = format!("{}/{REGION}/firehose/aws4_request", &time[..8]);
        if scope != self.scope {
            let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
            self.key = Some(scope.split('/').fold(first, |key, part| {
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
            }));
        }
        (self.time, self.scope) = (time, scope);
    }

    fn of(&self, host: &str, body_hash: &str) -> String {
        let Self { time, scope, key } = self;
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:{host}\nx-amz-date:{time}\n\
             x-amz-target:{TARGET}\n\ncontent-type;host;x-amz-date;x-amz-target\n{body_hash}"
        );
        let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        hex(hmac::sign(key.as_ref().expect("begun"), text.as_bytes()).as_ref())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The middle, the worst of a hundred, of a thousand and of all, in milliseconds.
fn percentiles(mut durations: Vec<Duration>) -> serde_json::Value {
    durations.sort_unstable();
    let at = |share: f64| {
        let index =
            ((durations.len() as f64 * share) as usize).min(durations.len().saturating_sub(1));
        durations.get(index).map(|duration| duration.as_secs_f64() * 1e3)
    };
    serde_json::json!({ "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "max": at(1.0) })
}
