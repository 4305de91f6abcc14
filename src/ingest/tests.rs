//! Whole requests through the router, with a journal on a disk in memory.

use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::body::BodyError;
use super::*;
use crate::journal::AppendError;
use crate::record::{Position, Tenant, UnixMillis};

const KEY: &str = "AKIDEXAMPLE";
/// The instant of the signatures in this file.
const NOW: UnixMillis = UnixMillis(1_767_323_045_000);

#[derive(Debug)]
struct StoppedClock(UnixMillis);

impl Clock for StoppedClock {
    fn now(&self) -> UnixMillis {
        self.0
    }

    fn steady(&self) -> Duration {
        Duration::ZERO
    }
}

fn journal() -> Journal {
    Journal::for_test("clicks")
}

pub(super) fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn description() -> Description {
    Description {
        created: UnixMillis(1_767_000_000_123),
        bucket: "my-lake".into(),
        prefix: "clicks/".into(),
        error_prefix: "errors/".into(),
        time_zone: None,
        file_extension: None,
        buffering_mib: 64,
        buffering_seconds: 60,
        content: Content::Parquet {
            reading: Deserializer::OpenX {
                case_insensitive: None,
                convert_dots_in_json_keys_to_underscores: None,
                column_to_json_key_mappings: [].into(),
            },
            writing: ParquetSettings { compression: "ZSTD", ..ParquetSettings::default() },
            database: "analytics".into(),
            table: "clicks".into(),
            catalog_region: "eu-west-1".into(),
        },
        processors: Vec::new(),
        is_partitioned_by_keys: false,
        backup: None,
    }
}

pub(super) fn service(auth: Auth, streams: &[&str]) -> Service {
    let stream = |text: &&str| {
        let stream = Stream { journal: journal(), description: description() };
        (name(text), stream)
    };
    let view = View { auth, streams: streams.iter().map(stream).collect() };
    Service {
        view: watch::Sender::new(Arc::new(view)).subscribe(),
        clock: Arc::new(StoppedClock(NOW)),
        counters: Arc::default(),
        accepting: Arc::new(AtomicBool::new(true)),
        bodies: Bodies::new(256 << 20),
        region: "us-east-1".into(),
    }
}

/// A service that takes unsigned calls for the stream `events`.
pub(super) fn open() -> Router {
    router(Arc::new(service(Auth::Open, &["events"])))
}

fn signed_by(secret: &str, streams: Option<&[&str]>) -> Auth {
    let identity = Identity {
        secret: Some(secret.into()),
        token: None,
        tenant: Some(Tenant::new("acme").unwrap()),
        streams: streams.map(|names| names.iter().map(|text| name(text)).collect()),
    };
    Auth::Signed(BTreeMap::from([(KEY.into(), identity)]))
}

pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("every answer is JSON")
    }

    fn code(&self) -> String {
        self.json()["__type"].as_str().unwrap_or("none").to_owned()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or("none").to_owned()
    }

    fn position(&self) -> Option<u64> {
        let json = self.json();
        let id = RecordId::decode(json["RecordId"].as_str()?)?;
        Some(id.position.0)
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answered {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = body.collect().await.unwrap().to_bytes().to_vec();
    let answered = Answered {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(text).unwrap(),
    };
    let header = |name: &str| answered.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("content-type"), Some("application/x-amz-json-1.1"));
    assert!(header("x-amzn-requestid").is_some_and(|id| uuid::Uuid::parse_str(id).is_ok()));
    if answered.status.is_success() {
        assert_eq!(header("x-amzn-errortype"), None);
    } else {
        assert_eq!(header("x-amzn-errortype"), Some(answered.code().as_str()));
    }
    answered
}

fn call_of(operation: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("Firehose_20150804.{operation}"))
        .body(body.into())
        .unwrap()
}

async fn refused(request: Request<Body>) -> (u16, String, String) {
    let answered = send(&open(), request).await;
    (answered.status.as_u16(), answered.code(), answered.message())
}

const ONE_RECORD: &str = r#"{"DeliveryStreamName":"events","Record":{"Data":"aGk="}}"#;

#[tokio::test]
async fn a_record_gets_its_id() {
    let router = open();
    for position in 0..3 {
        let answered = send(&router, call_of("PutRecord", ONE_RECORD)).await;
        assert_eq!(answered.status, StatusCode::OK);
        assert_eq!(answered.position(), Some(position));
        assert_eq!(answered.json()["Encrypted"], json!(false));
    }
}

#[tokio::test]
async fn a_batch_gets_an_id_for_each_record_in_order() {
    let router = open();
    let body = r#"{"DeliveryStreamName":"events","Records":[{"Data":"aGk="},{"Data":""}]}"#;
    send(&router, call_of("PutRecordBatch", body)).await;
    let answered = send(&router, call_of("PutRecordBatch", body)).await;
    assert!(answered.text.contains(r#""FailedPutCount":0"#), "{}", answered.text);
    let answer = answered.json();
    let ids = answer["RequestResponses"].as_array().unwrap();
    let positions: Vec<_> = ids
        .iter()
        .map(|id| RecordId::decode(id["RecordId"].as_str().unwrap()).unwrap().position)
        .collect();
    assert_eq!(positions, [Position(2), Position(3)]);
    assert!(ids.iter().all(|id| id.as_object().unwrap().len() == 1));
}

#[tokio::test]
async fn a_large_batch_is_accepted() {
    let record = format!(r#"{{"Data":"{}"}}"#, "A".repeat(8_000));
    let records = vec![record; 500].join(",");
    let body = format!(r#"{{"DeliveryStreamName":"events","Records":[{records}]}}"#);
    assert!(body.len() > INLINE_BODY_BYTES_MAX);
    let answered = send(&open(), call_of("PutRecordBatch", body)).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
}

#[tokio::test]
async fn nothing_of_a_refused_call_is_stored() {
    let router = open();
    for (operation, body) in [
        (
            "PutRecordBatch",
            r#"{"DeliveryStreamName":"events","Records":[{"Data":"aGk="},{"Data":"?"}]}"#,
        ),
        ("PutRecordBatch", r#"{"DeliveryStreamName":"events","Records":[{"Data":"aGk="},{}]}"#),
        ("PutRecord", r#"{"DeliveryStreamName":"events","Record":{"Data":"aGk="}} x"#),
        ("PutRecords", ONE_RECORD),
    ] {
        let answered = send(&router, call_of(operation, body)).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let answered = send(&router, call_of("PutRecord", ONE_RECORD)).await;
    assert_eq!(answered.position(), Some(0));
}

#[tokio::test]
async fn a_call_that_an_sdk_repeats_gets_the_first_answer() {
    let router = open();
    let call = |operation, body: &str, id: &str| {
        let mut request = call_of(operation, body.to_owned());
        request.headers_mut().insert("amz-sdk-invocation-id", id.parse().unwrap());
        request.headers_mut().insert("amz-sdk-request", "attempt=2; max=5".parse().unwrap());
        request
    };
    let batch = r#"{"DeliveryStreamName":"events","Records":[{"Data":"aGk="},{"Data":""}]}"#;
    let first = send(&router, call("PutRecordBatch", batch, "id-1")).await;
    let again = send(&router, call("PutRecordBatch", batch, "id-1")).await;
    assert_eq!((again.status, again.text), (first.status, first.text));
    let one = send(&router, call("PutRecord", ONE_RECORD, "id-1")).await;
    assert_eq!(one.position(), Some(2), "another operation and body");
    for (id, position) in [("id-1", 2), ("id-2", 3), ("id-2", 3), ("id-1", 2)] {
        let answered = send(&router, call("PutRecord", ONE_RECORD, id)).await;
        assert_eq!(answered.position(), Some(position), "{id}");
    }
    // Without an id, nothing is taken for a repetition.
    for position in [4, 5] {
        let answered = send(&router, call_of("PutRecord", ONE_RECORD)).await;
        assert_eq!(answered.position(), Some(position));
    }
    // A refused call does not spoil its id.
    let bad = ONE_RECORD.replace("aGk=", "?");
    let refused = send(&router, call("PutRecord", &bad, "id-3")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let answered = send(&router, call("PutRecord", ONE_RECORD, "id-3")).await;
    assert_eq!(answered.position(), Some(6));
}

#[tokio::test]
async fn s11_a_captured_call_that_is_sent_again_stores_nothing() {
    let router = router(Arc::new(service(signed_by(SECRET, None), &["my-stream"])));
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut request = vector(1);
        request.headers_mut().insert("amz-sdk-invocation-id", "id-1".parse().unwrap());
        texts.push(send(&router, request).await.text);
    }
    assert_eq!(texts[0], texts[1]);
    assert_eq!(send(&router, vector(0)).await.position(), Some(2));
}

#[tokio::test]
async fn wire_errors_have_their_codes() {
    let big = "A".repeat(1_024_000 / 3 * 4);
    let five = vec![format!(r#"{{"Data":"{big}"}}"#); 5].join(",");
    let five = format!(r#"{{"DeliveryStreamName":"events","Records":[{five}]}}"#);
    for (body, code) in [
        ("{", "SerializationException"),
        (r#"{"DeliveryStreamName":"events","Records":1}"#, "SerializationException"),
        (r#"{"DeliveryStreamName":"events","Records":[{"Data":"?"}]}"#, "SerializationException"),
        (r#"{"DeliveryStreamName":"events","Records":[]}"#, "ValidationException"),
        (r#"{"DeliveryStreamName":"..","Records":[{"Data":""}]}"#, "InvalidArgumentException"),
        (&five, "InvalidArgumentException"),
        (r#"{"DeliveryStreamName":"x","Records":[{"Data":""}]}"#, "ResourceNotFoundException"),
    ] {
        let (status, found, _) = refused(call_of("PutRecordBatch", body.to_owned())).await;
        assert_eq!((status, found.as_str()), (400, code), "{}", &body[..body.len().min(80)]);
    }
}

#[tokio::test]
async fn unknown_operations_are_refused() {
    for target in ["Firehose_20150804.CreateDeliveryStream", "Kinesis_20131202.PutRecord", ""] {
        let request = Request::post("/").header("x-amz-target", target).body(Body::from("{}"));
        let (status, code, _) = refused(request.unwrap()).await;
        assert_eq!((status, code.as_str()), (400, "UnknownOperationException"), "{target}");
    }
    let (status, code, _) = refused(Request::post("/").body(Body::empty()).unwrap()).await;
    assert_eq!((status, code.as_str()), (400, "UnknownOperationException"));
}

#[tokio::test]
async fn other_paths_methods_and_queries_are_refused_in_the_shape_of_the_api() {
    for path in ["/x", "//", "/%2F", "/./", "/metrics"] {
        let request = Request::post(path).body(Body::empty()).unwrap();
        assert_eq!(refused(request).await.0, 404, "{path}");
    }
    let request = Request::get("/").body(Body::empty()).unwrap();
    let answered = send(&open(), request).await;
    assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answered.headers["allow"], "POST");
    for query in ["/?", "/?X-Amz-Signature=00", "/?a=b"] {
        let mut request = call_of("PutRecord", ONE_RECORD);
        *request.uri_mut() = query.parse().unwrap();
        let (status, code, _) = refused(request).await;
        assert_eq!((status, code.as_str()), (400, "MalformedHttpRequestException"), "{query}");
    }
}

#[tokio::test]
async fn s25_long_bodies_are_refused() {
    let mut request = call_of("PutRecord", ONE_RECORD);
    request.headers_mut().insert("content-length", "5368709120".parse().unwrap());
    let (status, code, _) = refused(request).await;
    assert_eq!((status, code.as_str()), (413, "RequestEntityTooLargeException"));

    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
    let (status, _, _) = refused(call_of("PutRecord", Body::from_stream(endless))).await;
    assert_eq!(status, 413);

    let mut fitting = ONE_RECORD.to_owned();
    fitting.push_str(&" ".repeat(body::BODY_BYTES_MAX - fitting.len()));
    let answered = send(&open(), call_of("PutRecord", fitting.clone())).await;
    assert_eq!(answered.status, StatusCode::OK);
    let (status, _, _) = refused(call_of("PutRecord", fitting + " ")).await;
    assert_eq!(status, 413);
}

/// A body of so many pieces, each of which comes `every` later than the one before.
fn dripping(count: usize, piece_bytes: usize, every: Duration) -> Body {
    Body::from_stream(futures::stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        tokio::time::sleep(every).await;
        Some((Ok::<_, std::io::Error>(Bytes::from(vec![b' '; piece_bytes])), sent + 1))
    }))
}

fn unannounced() -> Parts {
    Request::post("/").body(()).unwrap().into_parts().0
}

#[tokio::test(start_paused = true)]
async fn s25_a_body_that_does_not_end_in_time_or_comes_too_slowly_is_refused() {
    let second = Duration::from_secs(1);
    for (count, piece_bytes, is_taken, seconds) in [
        // Less than 4 KiB a second: not waited for to the end of the 30.
        (1000, 100, false, 10),
        (1000, 4000, false, 10),
        (29, 8 * 1024, true, 29),
        (40, 8 * 1024, false, 30),
        (3, 1, true, 3),
    ] {
        let started = tokio::time::Instant::now();
        let read =
            Bodies::new(256 << 20).read(&unannounced(), dripping(count, piece_bytes, second)).await;
        assert_eq!(read.map(|_| ()), if is_taken { Ok(()) } else { Err(BodyError::TooSlow) });
        assert_eq!(started.elapsed().as_secs(), seconds, "{count} of {piece_bytes}");
    }
    let reply = ErrorReply::from(BodyError::TooSlow);
    assert_eq!((reply.status.as_u16(), reply.code), (408, "RequestTimeoutException"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let error = std::io::Error::other("gone");
    let broken = futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(error)]);
    let (status, code, _) = refused(call_of("PutRecord", Body::from_stream(broken))).await;
    assert_eq!((status, code.as_str()), (400, "MalformedHttpRequestException"));
}

#[tokio::test]
async fn s27_s28_encodings_are_refused() {
    for (header, value, status) in [
        ("transfer-encoding", "gzip, chunked", 400),
        ("transfer-encoding", "xchunked", 400),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "identity, gzip", 415),
    ] {
        let mut request = call_of("PutRecord", ONE_RECORD);
        request.headers_mut().insert(header, value.parse().unwrap());
        let answered = send(&open(), request).await;
        assert_eq!(answered.status.as_u16(), status, "{header}: {value}");
        assert_eq!(answered.headers["connection"], "close");
    }
    for (header, value) in [("transfer-encoding", "Chunked"), ("content-encoding", "identity")] {
        let mut request = call_of("PutRecord", ONE_RECORD);
        request.headers_mut().insert(header, value.parse().unwrap());
        assert_eq!(send(&open(), request).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn web_pages_write_only_where_there_are_identities() {
    for (header, value) in [
        ("origin", "https://example.com"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let mut request = call_of("PutRecord", ONE_RECORD);
        request.headers_mut().insert(header, value.parse().unwrap());
        let (status, code, _) = refused(request).await;
        assert_eq!((status, code.as_str()), (403, "AccessDeniedException"), "{header}: {value}");

        let router = router(Arc::new(service(signed_by(SECRET, None), &["my-stream"])));
        let mut request = vector(0);
        request.headers_mut().insert(header, value.parse().unwrap());
        assert_eq!(send(&router, request).await.status, StatusCode::OK, "{header}: {value}");
    }
    let mut request = call_of("PutRecord", ONE_RECORD);
    request.headers_mut().insert("sec-fetch-site", "none".parse().unwrap());
    assert_eq!(send(&open(), request).await.position(), Some(0), "nothing else was stored");
}

#[tokio::test]
async fn a_service_that_is_stopping_sends_clients_elsewhere() {
    let service = service(Auth::Open, &["events"]);
    service.accepting.store(false, Ordering::Release);
    let router = router(Arc::new(service));
    let answered = send(&router, call_of("PutRecord", ONE_RECORD)).await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answered.code(), "ServiceUnavailableException");
    assert_eq!(answered.headers["connection"], "close");
    assert_eq!(answered.headers["retry-after"], "1");
}

#[derive(Debug)]
struct BrokenClock;

impl Clock for BrokenClock {
    fn now(&self) -> UnixMillis {
        panic!("the clock of this test is broken")
    }

    fn steady(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn a_panic_is_answered() {
    let mut service = service(Auth::Open, &["events"]);
    service.clock = Arc::new(BrokenClock);
    let router = router(Arc::new(service));
    for body in [String::new(), " ".repeat(INLINE_BODY_BYTES_MAX + 1)] {
        let answered = send(&router, call_of("PutRecord", body)).await;
        assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answered.code(), "InternalFailure");
    }
}

#[tokio::test]
async fn bodies_beyond_the_memory_for_them_slow_producers_down() {
    let bodies = Bodies::new(256 << 20);
    let long = Request::post("/").header("content-length", body::BODY_BYTES_MAX).body(()).unwrap();
    let (long, ()) = long.into_parts();
    let unannounced = unannounced();
    let whole = || Body::from(vec![b' '; body::BODY_BYTES_MAX]);
    let mut arrived = Vec::new();
    let refused = loop {
        let parts = if arrived.len() % 2 == 0 { &long } else { &unannounced };
        match bodies.read(parts, whole()).await {
            Ok(body) => arrived.push(body),
            Err(error) => break error,
        }
    };
    assert_eq!((refused, arrived.len()), (BodyError::NoRoom, 256 / 12));
    assert_eq!(ErrorReply::from(refused).code, "ServiceUnavailableException");
    arrived.pop();
    assert!(bodies.read(&long, whole()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn bodies_take_memory_as_they_arrive_and_not_as_they_are_announced() {
    let bodies = Bodies::new(256 << 20);
    let long = Request::post("/").header("content-length", body::BODY_BYTES_MAX).body(()).unwrap();
    let (long, ()) = long.into_parts();
    let unannounced = unannounced();
    let waiting: Vec<_> = (0..1000)
        .map(|number| {
            let parts = if number % 2 == 0 { &long } else { &unannounced };
            let body = dripping(100, 1, Duration::from_secs(1));
            Box::pin(bodies.read(parts, body))
        })
        .collect();
    let all = futures::future::join_all(waiting);
    let (all, whole) = tokio::join!(all, async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bodies.read(&long, Body::from(vec![b' '; body::BODY_BYTES_MAX])).await
    });
    assert!(whole.is_ok(), "others only began");
    assert!(all.iter().all(|read| matches!(read, Err(BodyError::TooSlow))));
}

#[tokio::test(start_paused = true)]
async fn s03_a_call_that_nobody_known_has_signed_takes_no_memory() {
    let service = Arc::new(service(signed_by(SECRET, None), &["my-stream"]));
    let taken = service.bodies.read(&unannounced(), Body::from(vec![0; 1 << 20])).await.unwrap();
    // All of the rest.
    let mut rest = Vec::new();
    while let Ok(body) = service.bodies.read(&unannounced(), Body::from(vec![0; 4096])).await {
        rest.push(body);
    }
    let router = router(service);
    for (authorization, code) in [
        (None, "MissingAuthenticationTokenException"),
        (Some((KEY, "AKIDOTHER")), "UnrecognizedClientException"),
        (Some((KEY, KEY)), "ServiceUnavailableException"),
    ] {
        let mut request = vector(0);
        match authorization {
            None => drop(request.headers_mut().remove("authorization")),
            Some((from, to)) => {
                let text = request.headers()["authorization"].to_str().unwrap().replace(from, to);
                request.headers_mut().insert("authorization", text.parse().unwrap());
            }
        }
        assert_eq!(send(&router, request).await.code(), code);
    }
    drop((taken, rest));
    assert_eq!(send(&router, vector(0)).await.status, StatusCode::OK);
}

#[test]
fn journals_that_refuse_slow_producers_down() {
    for error in [AppendError::QueueFull, AppendError::BudgetUsedUp] {
        let reply = ErrorReply::from(error);
        assert_eq!((reply.code, &*reply.message), ("ServiceUnavailableException", "Slow down."));
        let response = reply.into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-amz-retry-after"], "1000");
    }
    let reply = ErrorReply::from(AppendError::Failed);
    assert_eq!(reply.code, "ServiceUnavailableException");
    assert_ne!(reply.message, "Slow down.");
}

/// The vectors of botocore for the stream `my-stream`: operation, body, signature.
const VECTORS: [(&str, &str, &str); 3] = [
    (
        "PutRecord",
        r#"{"DeliveryStreamName": "my-stream", "Record": {"Data": "eyJhIjoxfQo="}}"#,
        "77ec9bb43057d46139032b4fc79c970525a159c55aa2fa0b5779a3659a09d7a0",
    ),
    (
        "PutRecordBatch",
        r#"{"DeliveryStreamName": "my-stream", "Records": [{"Data": "aGVsbG8="}, {"Data": ""}]}"#,
        "349b40db79c3d4d1469f5381edd0636df639b2e486438ba557d47d9a8b0a56ea",
    ),
    (
        "ListDeliveryStreams",
        "{}",
        "1bbb9eb79a84642b5d7920c81319c86bcc092a7f75f23aeba5c5e287638950c6",
    ),
];
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn vector(index: usize) -> Request<Body> {
    let (operation, body, signature) = VECTORS[index];
    let mut request = call_of(operation, body);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20260102/us-east-1/firehose/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={signature}"
    );
    let headers = request.headers_mut();
    headers.insert("host", "localhost:4573".parse().unwrap());
    headers.insert("x-amz-date", "20260102T030405Z".parse().unwrap());
    headers.insert("authorization", authorization.parse().unwrap());
    request
}

#[tokio::test]
async fn signed_calls_are_answered_and_others_are_not() {
    let router = router(Arc::new(service(signed_by(SECRET, None), &["my-stream"])));
    for index in 0..VECTORS.len() {
        let answered = send(&router, vector(index)).await;
        assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    }
    let answered = send(&router, call_of("PutRecord", VECTORS[0].1)).await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST);
    assert_eq!(answered.code(), "MissingAuthenticationTokenException");
    assert_eq!(answered.message(), "Missing Authentication Token");
}

#[tokio::test]
async fn refusals_of_signatures_have_their_codes() {
    type Change = fn(&mut HeaderMap);
    let changes: [(&str, Change); 6] = [
        ("InvalidSignatureException", |headers| {
            headers.insert("x-amz-target", "Firehose_20150804.PutRecordBatch".parse().unwrap());
        }),
        ("InvalidSignatureException", |headers| {
            headers.insert("x-amz-content-sha256", "UNSIGNED-PAYLOAD".parse().unwrap());
        }),
        ("InvalidSignatureException", |headers| {
            headers.insert("x-amz-date", "20260103T030405Z".parse().unwrap());
        }),
        ("InvalidSignatureException", |headers| {
            headers.remove("host");
        }),
        ("IncompleteSignatureException", |headers| {
            headers.insert("authorization", "AWS4-ECDSA-P256-SHA256 x".parse().unwrap());
        }),
        ("UnrecognizedClientException", |headers| {
            let text = headers["authorization"].to_str().unwrap().replace(KEY, "AKIDOTHER");
            headers.insert("authorization", text.parse().unwrap());
        }),
    ];
    let router = router(Arc::new(service(signed_by(SECRET, None), &["my-stream"])));
    for (code, change) in changes {
        let mut request = vector(0);
        change(request.headers_mut());
        let answered = send(&router, request).await;
        assert_eq!((answered.status.as_u16(), answered.code().as_str()), (400, code));
    }
    let answered = send(&router, vector(0)).await;
    assert_eq!(answered.position(), Some(0), "nothing of them was stored");
}

#[tokio::test]
async fn streams_of_others_read_as_if_they_were_not_there() {
    let theirs = service(signed_by(SECRET, Some(&["other"])), &["my-stream", "other"]);
    let theirs = send(&router(Arc::new(theirs)), vector(0)).await;
    let absent = service(signed_by(SECRET, None), &["other"]);
    let absent = send(&router(Arc::new(absent)), vector(0)).await;
    assert_eq!(theirs.code(), "ResourceNotFoundException");
    assert_eq!(theirs.text, absent.text);
    assert_eq!(theirs.message(), "Firehose my-stream under account 000000000000 not found.");

    let listed = service(signed_by(SECRET, Some(&["b", "x"])), &["a", "b", "c"]);
    let listed = send(&router(Arc::new(listed)), vector(2)).await;
    let expected = json!({"DeliveryStreamNames": ["b"], "HasMoreDeliveryStreams": false});
    assert_eq!(listed.json(), expected);
}

#[tokio::test]
async fn lists_are_paged_in_lexical_order() {
    let names: Vec<String> = (0..12).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let router = router(Arc::new(service(Auth::Open, &names)));
    for (body, expected, has_more) in [
        ("{}", &names[..10], true),
        (r#"{"Limit":12}"#, &names[..], false),
        (r#"{"Limit":3,"DeliveryStreamType":"DirectPut"}"#, &names[..3], true),
        (r#"{"Limit":2,"ExclusiveStartDeliveryStreamName":"s09"}"#, &names[10..], false),
        (r#"{"ExclusiveStartDeliveryStreamName":"s09a"}"#, &names[10..], false),
        (r#"{"ExclusiveStartDeliveryStreamName":"t"}"#, &[], false),
        (r#"{"DeliveryStreamType":"KinesisStreamAsSource"}"#, &[], false),
    ] {
        let answered = send(&router, call_of("ListDeliveryStreams", body)).await;
        let wanted = json!({"DeliveryStreamNames": expected, "HasMoreDeliveryStreams": has_more});
        assert_eq!(answered.json(), wanted, "{body}");
    }
}

#[tokio::test]
async fn a_description_has_what_clients_and_tools_read() {
    let body = r#"{"DeliveryStreamName":"events","Limit":1}"#;
    let answered = send(&open(), call_of("DescribeDeliveryStream", body)).await;
    let json = answered.json();
    let stream = &json["DeliveryStreamDescription"];
    let arn = "arn:aws:firehose:us-east-1:000000000000:deliverystream/events";
    for (pointer, value) in [
        ("/DeliveryStreamName", json!("events")),
        ("/DeliveryStreamARN", json!(arn)),
        ("/DeliveryStreamStatus", json!("ACTIVE")),
        ("/DeliveryStreamType", json!("DirectPut")),
        ("/DeliveryStreamEncryptionConfiguration", json!({"Status": "DISABLED"})),
        ("/CreateTimestamp", json!(1_767_000_000.123)),
        ("/VersionId", json!("1")),
        ("/HasMoreDestinations", json!(false)),
        ("/Destinations/0/DestinationId", json!("destinationId-000000000001")),
    ] {
        assert_eq!(stream.pointer(pointer), Some(&value), "{pointer}");
    }
    let destination = &stream["Destinations"][0];
    let plain = destination["S3DestinationDescription"].as_object().unwrap();
    let extended = destination["ExtendedS3DestinationDescription"].as_object().unwrap();
    assert!(plain.iter().all(|(key, value)| extended.get(key) == Some(value)));
    assert_eq!(
        json!(plain),
        json!({
            "RoleARN": "arn:aws:iam::000000000000:role/lakehose",
            "BucketARN": "arn:aws:s3:::my-lake",
            "Prefix": "clicks/",
            "ErrorOutputPrefix": "errors/",
            "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 60},
            "CompressionFormat": "UNCOMPRESSED",
            "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
            "CloudWatchLoggingOptions": {"Enabled": false},
        })
    );
    assert_eq!(extended["S3BackupMode"], "Disabled");
    assert_eq!(
        extended["DataFormatConversionConfiguration"],
        json!({
            "Enabled": true,
            "InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {}}},
            "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {"Compression": "ZSTD"}}},
            "SchemaConfiguration": {
                "RoleARN": "arn:aws:iam::000000000000:role/lakehose",
                "DatabaseName": "analytics",
                "TableName": "clicks",
                "Region": "eu-west-1",
                "VersionId": "LATEST",
            },
        })
    );
}

#[tokio::test]
async fn calls_and_records_are_counted() {
    let service = service(Auth::Open, &["events"]);
    let mut registry = prometheus_client::registry::Registry::default();
    service.counters.register(&mut registry);
    let router = router(Arc::new(service));
    send(&router, call_of("PutRecord", ONE_RECORD)).await;
    send(&router, call_of("PutRecord", "{")).await;
    send(&router, call_of("Invented", "{}")).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"ingest_requests_total{operation="PutRecord",code="OK"} 1"#,
        r#"ingest_requests_total{operation="PutRecord",code="SerializationException"} 1"#,
        r#"ingest_requests_total{operation="none",code="UnknownOperationException"} 1"#,
        r#"ingest_records_total{stream="events"} 1"#,
        r#"ingest_data_bytes_total{stream="events"} 2"#,
        "ingest_request_seconds_count 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn captured_calls_of_real_clients_are_understood() {
    let captures = [
        include_str!("../../tests/wire/awscli.http"),
        include_str!("../../tests/wire/awscli-v2.http"),
        include_str!("../../tests/wire/boto3.http"),
        include_str!("../../tests/wire/fluent-bit-5.1.1.http"),
        include_str!("../../tests/wire/node-sdk-v3.http"),
        include_str!("../../tests/wire/rust-sdk-1.128.0.http"),
    ];
    let mut count = 0;
    for capture in captures {
        for text in capture.split("### ").skip(1) {
            count += 1;
            let answered = send(&open(), captured(text)).await;
            assert_eq!(answered.status, StatusCode::OK, "{}\n{text}", answered.text);

            // Their secrets are unknown: all but the signature itself must be in order.
            let request = captured(text);
            let date = request.headers()["x-amz-date"].to_str().unwrap();
            let date = chrono::NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ").unwrap();
            let mut service = service(signed_by("unknown", None), &["events"]);
            let now = UnixMillis(date.and_utc().timestamp_millis());
            service.clock = Arc::new(StoppedClock(now));
            let answered = send(&router(Arc::new(service)), request).await;
            let expected = ErrorReply::from(AuthError::Mismatch).message;
            assert_eq!(answered.message(), expected, "{text}");
        }
    }
    assert!(count >= 10, "{count} captured calls");
}

#[tokio::test]
async fn captured_calls_are_told_from_their_repetitions_where_the_client_names_them() {
    for (capture, names_its_calls) in [
        (include_str!("../../tests/wire/awscli.http"), true),
        (include_str!("../../tests/wire/awscli-v2.http"), false),
        (include_str!("../../tests/wire/boto3.http"), true),
        (include_str!("../../tests/wire/fluent-bit-5.1.1.http"), false),
        (include_str!("../../tests/wire/node-sdk-v3.http"), true),
        (include_str!("../../tests/wire/rust-sdk-1.128.0.http"), true),
    ] {
        let router = open();
        let text = capture.split("### ").nth(1).unwrap();
        let first = send(&router, captured(text)).await;
        let again = send(&router, captured(text)).await;
        assert_eq!(again.text == first.text, names_its_calls, "{text}");
    }
}

/// Reads a captured call: a line about it, then the message as it came, then an empty line.
fn captured(text: &str) -> Request<Body> {
    let text = text.replace("\r\n", "\n");
    let (_, message) = text.split_once('\n').unwrap();
    let (head, body) = message.split_once("\n\n").unwrap();
    let mut request = Request::post("/");
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let length = request.headers_ref().unwrap()["content-length"].to_str().unwrap();
    let length: usize = length.parse().unwrap();
    request.body(Body::from(body[..length].to_owned())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn foreign_bytes_are_always_answered(
        body in proptest::collection::vec(any::<u8>(), 0..100),
        target in "(Firehose_20150804\\.)?(PutRecord|PutRecordBatch|ListDeliveryStreams|[ -~]{0,9})",
        authorization in "[ -~]{0,60}",
        is_open: bool,
    ) {
        let auth = if is_open { Auth::Open } else { signed_by(SECRET, None) };
        let router = router(Arc::new(service(auth, &["events"])));
        let mut request = Request::post("/").body(Body::from(body)).unwrap();
        request.headers_mut().insert("x-amz-target", target.parse().unwrap());
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answered = runtime.block_on(send(&router, request));
        prop_assert_ne!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
