//! Whole requests through the router, with a journal on a disk in memory.

mod bodies;
mod captured;
mod signing;

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
