//! Calls of real clients, as they came over the wire.

use super::*;

#[tokio::test]
async fn captured_calls_of_real_clients_are_understood() {
    let captures = [
        include_str!("../../../tests/wire/awscli.http"),
        include_str!("../../../tests/wire/awscli-v2.http"),
        include_str!("../../../tests/wire/boto3.http"),
        include_str!("../../../tests/wire/fluent-bit-5.1.1.http"),
        include_str!("../../../tests/wire/node-sdk-v3.http"),
        include_str!("../../../tests/wire/rust-sdk-1.128.0.http"),
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
        (include_str!("../../../tests/wire/awscli.http"), true),
        (include_str!("../../../tests/wire/awscli-v2.http"), false),
        (include_str!("../../../tests/wire/boto3.http"), true),
        (include_str!("../../../tests/wire/fluent-bit-5.1.1.http"), false),
        (include_str!("../../../tests/wire/node-sdk-v3.http"), true),
        (include_str!("../../../tests/wire/rust-sdk-1.128.0.http"), true),
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
