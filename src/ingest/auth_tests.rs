//! Signed requests, true and tampered with, against the rules of AWS.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;

use super::*;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const DATE: &str = "20260102T030405Z";
/// The instant that `DATE` names.
const NOW: i64 = 1_767_323_045_000;
const MISMATCH: AuthError = AuthError::Mismatch;

/// A call as it comes from the wire.
#[derive(Clone, Debug)]
struct Call {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    /// The call whose signature stands in the reference, vector 1 to 4.
    fn vector(number: usize) -> Self {
        let (body, operation, signature) = [
            (
                r#"{"DeliveryStreamName": "my-stream", "Record": {"Data": "eyJhIjoxfQo="}}"#,
                "PutRecord",
                "77ec9bb43057d46139032b4fc79c970525a159c55aa2fa0b5779a3659a09d7a0",
            ),
            (
                r#"{"DeliveryStreamName": "my-stream", "Records": [{"Data": "aGVsbG8="}, {"Data": ""}]}"#,
                "PutRecordBatch",
                "349b40db79c3d4d1469f5381edd0636df639b2e486438ba557d47d9a8b0a56ea",
            ),
            (
                "{}",
                "ListDeliveryStreams",
                "1bbb9eb79a84642b5d7920c81319c86bcc092a7f75f23aeba5c5e287638950c6",
            ),
            (
                r#"{"DeliveryStreamName": "my-stream"}"#,
                "DescribeDeliveryStream",
                "0531b7a005a35c0da996b37c7fc0e003d450f6b93ae559d3f963cbf7cfdf3d5f",
            ),
        ][number - 1];
        let token = if number == 4 { "x-amz-security-token;" } else { "" };
        let names = format!("content-type;host;x-amz-date;{token}x-amz-target");
        let mut call = Self { headers: vec![], body: body.into() }
            .with("content-type", "application/x-amz-json-1.1")
            .with("host", "localhost:4573")
            .with("x-amz-date", DATE)
            .with("x-amz-target", &format!("Firehose_20150804.{operation}"))
            .with("authorization", &authorization("us-east-1", &names, signature));
        if number == 4 {
            call = call.with("x-amz-security-token", "SESSIONTOKEN");
        }
        call
    }

    /// Adds a header, or replaces it.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Replaces a part of a header's value.
    fn edited(self, name: &str, from: &str, to: &str) -> Self {
        let value = self.header(name).replace(from, to);
        self.with(name, &value)
    }

    fn header(&self, name: &str) -> String {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().unwrap().1.clone()
    }

    /// Signs the headers in `names`, sorted, as an SDK would.
    fn signed(self, secret: &str, region: &str) -> Self {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let names = names.join(";");
        let identity = Credentials::new(KEY, secret, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.excluded_headers = None;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(SERVICE)
            .time(UNIX_EPOCH + Duration::from_millis(NOW as u64))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = self.headers.iter().map(|(name, value)| (&**name, &**value));
        let body = SignableBody::Bytes(&self.body);
        let uri = "http://signer.invalid/";
        let request = SignableRequest::new("POST", uri, headers, body).unwrap();
        let (_, signature) = sign(request, &params).unwrap().into_parts();
        self.with("authorization", &authorization(region, &names, &signature))
    }

    fn parts(&self) -> Parts {
        let mut request = Request::post("/").body(()).unwrap();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name).unwrap();
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(name, value);
        }
        request.into_parts().0
    }

    fn verify_at(&self, now: i64) -> Result<(), AuthError> {
        let now = UnixMillis(now);
        identities().verify(&self.parts(), &self.body, now).map(|_| ())
    }

    fn verify(&self) -> Result<(), AuthError> {
        self.verify_at(NOW)
    }
}

fn authorization(region: &str, names: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20260102/{region}/firehose/aws4_request, \
         SignedHeaders={names}, Signature={signature}"
    )
}

fn identities() -> Auth {
    let identity = Identity {
        secret: Some(SECRET.into()),
        token: None,
        tenant: Some(Tenant::new("acme").unwrap()),
        streams: None,
    };
    Auth::Signed(BTreeMap::from([(KEY.into(), identity)]))
}

fn minimal() -> Call {
    let call = Call { headers: vec![], body: b"{}".to_vec() };
    call.with("host", "localhost:4573").with("x-amz-date", DATE)
}

#[test]
fn signatures_of_botocore_hold() {
    for number in 1..=4 {
        assert_eq!(Call::vector(number).verify(), Ok(()), "vector {number}");
    }
}

#[test]
fn the_caller_is_the_holder_of_the_key() {
    let auth = identities();
    let call = Call::vector(1);
    let caller = auth.verify(&call.parts(), &call.body, UnixMillis(NOW)).unwrap();
    assert_eq!(caller.tenant.map(Tenant::as_str), Some("acme"));
    assert!(caller.may_use(&StreamName::new("anything").unwrap()));
}

#[test]
fn without_identities_every_call_is_anonymous() {
    for call in [minimal(), Call::vector(1).edited("authorization", "Signature=", "x")] {
        let caller = Auth::Open.verify(&call.parts(), &call.body, UnixMillis(0)).unwrap();
        assert_eq!(caller.tenant, None);
    }
}

#[test]
fn s01_a_call_without_authorization_misses_its_token() {
    let call = Call::vector(1).without("authorization");
    assert_eq!(call.verify(), Err(AuthError::MissingToken));
}

#[test]
fn s02_a_wrong_secret_is_a_mismatch() {
    assert_eq!(minimal().signed("wrong", "us-east-1").verify(), Err(MISMATCH));
    assert_eq!(minimal().signed(SECRET, "us-east-1").verify(), Ok(()));
}

#[test]
fn s03_an_access_key_of_nobody_is_unknown() {
    let call = Call::vector(1).edited("authorization", KEY, "AKIDNOBODY");
    assert_eq!(call.verify(), Err(AuthError::UnknownAccessKey));
}

#[test]
fn s04_a_changed_body_or_a_hash_of_another_body_is_a_mismatch() {
    let mut call = Call::vector(1);
    call.body[20] ^= 1;
    assert_eq!(call.verify(), Err(MISMATCH));
    let hash = checked_hash(&HeaderMap::new(), sha256(b"{}")).unwrap();
    let call = minimal().with(CONTENT_HASH_HEADER, &hash).signed(SECRET, "us-east-1");
    assert_eq!(call.verify(), Ok(()));
    let other = hash.replace('4', "5");
    let call = minimal().with(CONTENT_HASH_HEADER, &other).signed(SECRET, "us-east-1");
    assert_eq!(call.verify(), Err(MISMATCH));
}

#[test]
fn s05_unsigned_and_streamed_payloads_are_refused() {
    for hash in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""] {
        let call = minimal().with(CONTENT_HASH_HEADER, hash).signed(SECRET, "us-east-1");
        assert_eq!(call.verify(), Err(MISMATCH), "{hash}");
    }
}

#[test]
fn s06_a_second_authorization_is_refused() {
    let mut call = Call::vector(1);
    call.headers.push(("authorization".into(), call.header("authorization")));
    assert!(matches!(call.verify(), Err(AuthError::Incomplete(_))));
}

#[test]
fn s07_other_algorithms_and_missing_parameters_are_incomplete() {
    let good = Call::vector(1).header("authorization");
    for bad in [
        good.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        good.replace("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
        "AWS AKIDEXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=".into(),
        "Bearer token".into(),
        "AWS4-HMAC-SHA256".into(),
        "AWS4-HMAC-SHA256 ".into(),
        String::new(),
        good.replace("Credential=", "Credentials="),
        good.replace(", Signature=", ", Signature=00, Signature="),
        good.split(", Signature").next().unwrap().into(),
        format!("{good},"),
    ] {
        let call = Call::vector(1).with("authorization", &bad);
        assert!(matches!(call.verify(), Err(AuthError::Incomplete(_))), "{bad}");
    }
    let call = Call::vector(1).without("x-amz-date");
    assert!(matches!(call.verify(), Err(AuthError::Incomplete(_))));
}

#[test]
fn s07_a_missing_parameter_is_named() {
    let call = Call::vector(1).edited("authorization", ", Signature=", ", Signature=,");
    let call = call.edited("authorization", "=,77", "=77");
    assert_eq!(call.verify(), Ok(()));
    let text = call.header("authorization");
    let cut = text.split(", Signature").next().unwrap();
    let error = call.with("authorization", cut).verify().unwrap_err();
    let expected = "Authorization header requires 'Signature' parameter.";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn s08_what_must_be_signed_is_signed_in_canonical_form() {
    let signed = "content-type;host;x-amz-date;x-amz-target";
    for names in [
        "content-type;x-amz-date;x-amz-target",
        "content-type;host;x-amz-target",
        "content-type;host;x-amz-date",
        "host;content-type;x-amz-date;x-amz-target",
        "content-type;host;host;x-amz-date;x-amz-target",
        "Content-Type;host;x-amz-date;x-amz-target",
        "content-type;host;x-absent;x-amz-date;x-amz-target",
        ";content-type;host;x-amz-date;x-amz-target",
        "content-type;host;x-amz-date;x-amz-target;",
        "content-type host;x-amz-date;x-amz-target",
    ] {
        let call = Call::vector(1).edited("authorization", signed, names);
        assert_eq!(call.verify(), Err(MISMATCH), "{names}");
    }
    let call = Call::vector(1).with("x-amz-tenant", "other");
    assert_eq!(call.verify(), Err(MISMATCH), "an unsigned x-amz-* header");
    let call = Call::vector(1).without("host");
    assert_eq!(call.verify(), Err(MISMATCH), "no host");
}

#[test]
fn s09_five_minutes_of_skew_are_allowed_and_no_second_more() {
    let call = Call::vector(1);
    for seconds in [-300, -299, 0, 299, 300] {
        assert_eq!(call.verify_at(NOW + seconds * 1000), Ok(()), "{seconds}");
    }
    let late = call.verify_at(NOW + 301_000).unwrap_err().to_string();
    assert_eq!(
        late,
        "Signature expired: 20260102T030405Z is now earlier than 20260102T030406Z \
         (20260102T030906Z - 5 min.)"
    );
    let early = call.verify_at(NOW - 301_000).unwrap_err().to_string();
    assert_eq!(
        early,
        "Signature not yet current: 20260102T030405Z is still later than 20260102T030404Z \
         (20260102T025904Z + 5 min.)"
    );
}

#[test]
fn s10_a_scope_of_another_day_service_or_protocol_is_refused() {
    for (from, to) in [
        ("/20260102/", "/20260101/"),
        ("/firehose/", "/kinesis/"),
        ("/aws4_request", "/aws5_request"),
        ("/aws4_request", ""),
        ("/aws4_request", "/aws4_request/x"),
        ("/20260102/us-east-1/firehose/aws4_request", ""),
    ] {
        let call = Call::vector(1).edited("authorization", from, to);
        assert!(matches!(call.verify(), Err(AuthError::Scope(_))), "{from} -> {to}");
    }
    assert_eq!(minimal().signed(SECRET, "mars-north-1").verify(), Ok(()), "any region");
}

#[test]
fn s11_a_replay_is_a_valid_call() {
    let call = Call::vector(1);
    assert_eq!(call.verify(), Ok(()));
    assert_eq!(call.verify_at(NOW + 1000), Ok(()));
}

#[test]
fn dates_have_one_form() {
    for date in [
        "2026-01-02T03:04:05Z",
        "20260102T030405",
        "+20260102T030405Z",
        "",
        "x",
        " 20260102T030405Z",
        "20260102T030460Z",
        "99999999T999999Z",
    ] {
        assert!(SignedAt::parse(date).is_none(), "{date}");
    }
    assert_eq!(SignedAt::parse(DATE).map(|at| at.unix_seconds * 1000), Some(NOW));
}

#[test]
fn spaces_after_commas_may_be_missing() {
    let call = Call::vector(1).edited("authorization", ", ", ",");
    assert_eq!(call.verify(), Ok(()));
}

#[test]
fn the_authority_of_http2_stands_for_the_host() {
    let call = Call::vector(1);
    let mut parts = call.clone().without("host").parts();
    parts.uri = "http://localhost:4573/".parse().unwrap();
    let caller = identities().verify(&parts, &call.body, UnixMillis(NOW)).map(|_| ());
    assert_eq!(caller, Ok(()));
}

#[test]
fn secrets_are_not_printed() {
    let text = format!("{:?}", identities());
    assert!(!text.contains("wJalr"), "{text}");
}

prop_compose! {
    /// Headers as proxies and SDKs make them: odd spaces, repeats, UTF-8.
    fn any_headers()(
        found in proptest::collection::vec(
            ("(x-amz-|x-|amz-sdk-|user-agent|te)[a-z0-9]{0,8}", "[a-zA-Z0-9 ,;=/é-]{0,24}"),
            0..12,
        ),
    ) -> Vec<(String, String)> {
        let reserved = [DATE_HEADER, CONTENT_HASH_HEADER];
        found.into_iter().filter(|(name, _)| !reserved.contains(&name.as_str())).collect()
    }
}

proptest! {
    #[test]
    fn what_the_signer_of_the_sdks_signs_holds(
        headers in any_headers(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        region in "[a-z0-9-]{1,16}",
    ) {
        let mut call = minimal();
        call.headers.extend(headers);
        call.body = body;
        prop_assert_eq!(call.signed(SECRET, &region).verify(), Ok(()));
    }

    #[test]
    fn a_changed_byte_of_a_body_is_refused(
        number in 1usize..=4, at: prop::sample::Index, flip in 1u8..,
    ) {
        let mut call = Call::vector(number);
        let at = at.index(call.body.len());
        call.body[at] ^= flip;
        prop_assert_eq!(call.verify(), Err(MISMATCH));
    }

    #[test]
    fn a_changed_character_of_a_header_is_refused(
        number in 1usize..=4, header: prop::sample::Index, at: prop::sample::Index,
        to in "[!-~]",
    ) {
        let call = Call::vector(number);
        let (name, value) = call.headers[header.index(call.headers.len())].clone();
        let at = at.index(value.len());
        prop_assume!(value[at..=at] != to);
        let changed = format!("{}{to}{}", &value[..at], &value[at + 1..]);
        prop_assert!(call.with(&name, &changed).verify().is_err(), "{name}: {changed}");
    }

    #[test]
    fn foreign_authorization_never_panics(text in "(AWS4-HMAC-SHA256 )?[ -~]{0,120}") {
        prop_assert!(Call::vector(1).with("authorization", &text).verify().is_err());
    }

    #[test]
    fn foreign_claims_never_panic(
        key in "(AKIDEXAMPLE|[!-+\\--~]{0,8})",
        scope in "(/20260102/us-east-1/firehose/aws4_request|[!-+\\--~]{0,30})",
        names in "(host;x-amz-date|[!-+\\--~]{0,30})",
        signature in "[!-+\\--~]{0,70}",
        date in "(20260102T030405Z|[ -~]{0,20})",
        other in proptest::collection::vec(any::<u8>().prop_filter("control", |b| *b > 127), 0..9),
    ) {
        let text = format!(
            "AWS4-HMAC-SHA256 Credential={key}{scope},SignedHeaders={names},Signature={signature}"
        );
        let call = minimal().with("authorization", &text).with("x-amz-date", &date);
        let mut parts = call.parts();
        let other = HeaderValue::from_bytes(&other).unwrap();
        parts.headers.insert("x-other", other);
        let auth = identities();
        let verified = auth.verify(&parts, b"{}", UnixMillis(NOW));
        prop_assert!(verified.is_err(), "{:?}", parts.headers);
    }
}
