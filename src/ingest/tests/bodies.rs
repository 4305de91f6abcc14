//! Bodies: how long, how slow and how packed they may be, and the memory that they take.

use super::*;

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
