//! The plain endpoint through the router, with a journal on a disk in memory.

use std::io::Write;

use axum::Router;
use axum::http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::super::bearer::Token;
use super::super::tests::{Answered, name, open, service};
use super::super::{Auth, Identity, RecordId, router};
use super::*;
use crate::positions::Positions;
use crate::record::Position;

const TOKEN: &str = "token-of-acme-0001";
const OTHER: &str = "token-of-globex-01";

fn identity(tenant: &str, token: Option<&str>, streams: &[&str]) -> Identity {
    Identity {
        secret: Some("unused".into()),
        token: token.map(Token::new),
        tenant: Some(Tenant::new(tenant).unwrap()),
        streams: Some(streams.iter().map(|text| name(text)).collect()),
    }
}

fn closed() -> Router {
    let auth = Auth::Signed(
        [
            ("ACME".to_owned(), identity("acme", Some(TOKEN), &["events", "gone"])),
            ("GLOBEX".to_owned(), identity("globex", Some(OTHER), &["others"])),
            ("SIGNER".to_owned(), identity("signer", None, &["events"])),
        ]
        .into(),
    );
    router(Arc::new(service(auth, &["events", "others"])))
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/streams/events/records").body(body.into()).unwrap()
}

type Header<'a> = (&'static str, &'a str);

fn with(mut request: Request<Body>, headers: &[Header<'_>]) -> Request<Body> {
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
    }
    request
}

async fn send(router: &Router, request: Request<Body>) -> Answered {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert_eq!(parts.headers["content-type"], "application/json", "{text}");
    assert!(parts.headers.contains_key("x-request-id"));
    Answered { status: parts.status, headers: parts.headers, text }
}

/// Status and code of a refusal.
async fn refused(router: &Router, request: Request<Body>) -> (u16, String) {
    let answered = send(router, request).await;
    let code = answered.json()["code"].as_str().unwrap_or("none").to_owned();
    assert!(answered.json()["message"].as_str().is_some_and(|text| text.ends_with('.')));
    (answered.status.as_u16(), code)
}

fn positions(answered: &Answered) -> Vec<u64> {
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    let json = answered.json();
    let ids = json["record_ids"].as_array().unwrap();
    assert_eq!(json["accepted"], Value::from(ids.len()));
    let position = |id: &Value| RecordId::decode(id.as_str().unwrap()).unwrap().position.0;
    ids.iter().map(position).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_body_becomes_records_byte_by_byte() {
    let service = Arc::new(service(Auth::Open, &["events"]));
    let router = router(service.clone());
    let lines = b"{\"a\": 1}\r\n\n{\"a\":2}\n".to_vec();
    let array = b"[ {\"a\" : 3},4 ]".to_vec();
    for (content_type, encoding, body, count) in [
        ("application/x-ndjson", "identity", lines.clone(), 2),
        ("application/json", "identity", array.clone(), 2),
        ("application/json", "gzip", gzip(b"{\n\"a\":5}"), 1),
        ("text/plain", "zstd", zstd::encode_all(&b"line 6"[..], 0).unwrap(), 1),
    ] {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        let answered = send(&router, with(post(body), &headers)).await;
        assert_eq!(positions(&answered).len(), count, "{content_type} {encoding}");
    }
    assert_eq!(positions(&send(&router, post("{\"a\":7}")).await), [6]);
    let mut found = Vec::new();
    let view = service.view.borrow().clone();
    let journal = &view.streams[&name("events")].journal;
    let visit = &mut |_, record: Option<crate::record::Record<'_>>| {
        found.push(String::from_utf8(record.unwrap().data.to_vec()).unwrap());
    };
    journal.read(&Positions::from_run(Position(0), 7), visit).unwrap();
    let expected =
        ["{\"a\": 1}", "{\"a\":2}", "{\"a\" : 3}", "4", "{\n\"a\":5}", "line 6", "{\"a\":7}"];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn s13_tokens_open_their_own_streams_and_nothing_else() {
    let router = closed();
    let bearer = format!("Bearer {TOKEN}");
    let answered = send(&router, with(post("1"), &[("authorization", &bearer)])).await;
    assert_eq!(positions(&answered), [0]);
    let case = format!("bearer  {TOKEN} ");
    let answered = send(&router, with(post("1"), &[("authorization", &case)])).await;
    assert_eq!(positions(&answered), [1]);

    for (authorization, expected) in [
        ("Bearer wrong-token-00001", (403, "forbidden")),
        ("Bearer", (403, "forbidden")),
        ("Bearer ", (403, "forbidden")),
        ("Bearertoken-of-acme-0001", (401, "unauthorized")),
        ("Basic dXNlcjpwYXNz", (401, "unauthorized")),
        ("Bearer token-of-globex-01", (404, "stream_not_found")),
    ] {
        let found = refused(&router, with(post("1"), &[("authorization", authorization)])).await;
        assert_eq!((found.0, found.1.as_str()), expected, "{authorization}");
    }
    let (status, code) = refused(&router, post("1")).await;
    assert_eq!((status, code.as_str()), (401, "unauthorized"));
    let answered = send(&router, post("1")).await;
    assert_eq!(answered.headers["www-authenticate"], "Bearer");
    assert_eq!(answered.headers["connection"], "close");
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(refused(&router, with(post("1"), &twice)).await.0, 401);

    // What is not there, what is not theirs and what is no name read the same.
    let mut texts = Vec::new();
    for stream in ["others", "gone", "nothing", "..", "a%2Fb", "%ff"] {
        let path = format!("/v1/streams/{stream}/records");
        let request = Request::post(path).body(Body::from("1")).unwrap();
        let answered = send(&router, with(request, &[("authorization", &bearer)])).await;
        assert_eq!(answered.status, StatusCode::NOT_FOUND, "{stream}");
        texts.push(answered.text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[tokio::test]
async fn refusals_have_their_status_and_store_nothing() {
    let router = open();
    let long = "a".repeat(1_024_001);
    let many = "1\n".repeat(10_001);
    let bomb = gzip(&vec![b' '; body::BODY_BYTES_MAX + 1]);
    let cases: [(&[Header<'_>], Vec<u8>, u16, &str); 14] = [
        (&[], b"".to_vec(), 400, "no_record"),
        (&[], b"[]".to_vec(), 400, "no_record"),
        (&[], b"[{\"a\":1},".to_vec(), 400, "malformed_json"),
        (&[("content-type", "application/json")], b"text".to_vec(), 400, "malformed_json"),
        (&[("content-type", "image/png")], b"1".to_vec(), 415, "unsupported_type"),
        (&[("content-encoding", "br")], b"1".to_vec(), 415, "unsupported_encoding"),
        (&[("content-encoding", "gzip, gzip")], b"1".to_vec(), 415, "unsupported_encoding"),
        (&[("content-encoding", "gzip")], b"1".to_vec(), 400, "malformed_encoding"),
        (&[("content-encoding", "gzip")], bomb, 413, "body_too_large"),
        (&[("content-length", "12582913")], b"1".to_vec(), 413, "body_too_large"),
        (&[("transfer-encoding", "gzip, chunked")], b"1".to_vec(), 400, "malformed_request"),
        (&[("idempotency-key", "")], b"1".to_vec(), 400, "idempotency_key"),
        (&[], long.into_bytes(), 413, "record_too_large"),
        (&[], many.into_bytes(), 413, "too_many_records"),
    ];
    for (headers, body, status, code) in cases {
        let found = refused(&router, with(post(body), headers)).await;
        assert_eq!((found.0, found.1.as_str()), (status, code), "{headers:?}");
    }
    let query = Request::post("/v1/streams/events/records?token=x").body(Body::from("1"));
    assert_eq!(refused(&router, query.unwrap()).await.0, 400);
    let get = Request::get("/v1/streams/events/records").body(Body::empty()).unwrap();
    let answered = send(&router, get).await;
    assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answered.headers["allow"], "POST");
    assert_eq!(positions(&send(&router, post("1")).await), [0], "nothing of them was stored");
}

#[tokio::test]
async fn a_service_that_is_stopping_says_when_to_come_again() {
    let service = service(Auth::Open, &["events"]);
    service.accepting.store(false, Ordering::Release);
    let answered = send(&router(Arc::new(service)), post("1")).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answered.headers["retry-after"], "1");
}

#[test]
fn journals_that_refuse_say_when_to_come_again() {
    use crate::journal::AppendError;
    for (error, status) in [
        (AppendError::QueueFull, 429),
        (AppendError::BudgetUsedUp, 503),
        (AppendError::Failed, 503),
    ] {
        let response = PlainError::from(error).into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["retry-after"], "1");
    }
}

#[tokio::test]
async fn a_call_that_comes_again_gets_the_first_answer() {
    let router = closed();
    let bearer = format!("Bearer {TOKEN}");
    let keyed = |key: &str, body: &[u8]| {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        with(post(body.to_vec()), &headers)
    };
    let first = send(&router, keyed("k1", b"1\n2")).await;
    assert_eq!(positions(&first), [0, 1]);
    let again = send(&router, keyed("k1", b"1\n2")).await;
    assert_eq!(again.text, first.text);
    // Packed or not, it is the same body.
    let mut packed = keyed("k1", &gzip(b"1\n2"));
    packed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(send(&router, packed).await.text, first.text);
    // Another body, another key and no key are other calls.
    assert_eq!(positions(&send(&router, keyed("k1", b"1\n3")).await), [2, 3]);
    assert_eq!(positions(&send(&router, keyed("k2", b"1\n2")).await), [4, 5]);
    for position in [6, 7] {
        let unkeyed = with(post("1"), &[("authorization", &bearer)]);
        assert_eq!(positions(&send(&router, unkeyed).await), [position]);
    }
    // A refused call does not spoil its key.
    assert_eq!(refused(&router, keyed("k3", b"[1")).await.0, 400);
    assert_eq!(positions(&send(&router, keyed("k3", b"[1]")).await), [8]);
}

#[tokio::test]
async fn calls_are_counted_by_their_code() {
    let service = service(Auth::Open, &["events"]);
    let mut registry = prometheus_client::registry::Registry::default();
    service.counters.register(&mut registry);
    let router = router(Arc::new(service));
    for _ in 0..2 {
        send(&router, with(post("1"), &[("idempotency-key", "k")])).await;
    }
    send(&router, post("")).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"ingest_requests_total{operation="PostRecords",code="OK"} 2"#,
        r#"ingest_requests_total{operation="PostRecords",code="no_record"} 1"#,
        r#"ingest_records_total{stream="events"} 1"#,
        r#"ingest_repeated_calls_total{stream="events"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn web_pages_write_only_with_a_token() {
    let page: &[Header<'_>] = &[("origin", "https://example.com"), ("content-type", "text/plain")];
    let refused = send(&open(), with(post("a\n"), page)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert_eq!(refused.headers["connection"], "close");
    let authorization = format!("Bearer {TOKEN}");
    let known = with(with(post("{}"), page), &[("authorization", &authorization)]);
    let answered = send(&closed(), known).await;
    assert_ne!(answered.status, StatusCode::FORBIDDEN, "{}", answered.text);
}
