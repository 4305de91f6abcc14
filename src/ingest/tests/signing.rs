//! Signed calls: whose are answered, and how the others are refused.

use super::*;

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
