//! Signatures, for the fuzzer, against the code that SDKs sign with: what it signs is accepted, and
//! not after any change.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::http::{HeaderName, HeaderValue, Request};

use super::*;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "a-secret-of-the-fuzzer";
const DATE: &str = "20260102T030405Z";
/// The instant that `DATE` names.
const NOW: i64 = 1_767_323_045;
/// What the fuzzer's headers may not be.
const RESERVED: [&str; 4] = ["host", "authorization", DATE_HEADER, CONTENT_HASH_HEADER];

#[derive(Clone, Debug)]
struct Call {
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

/// Fields: a change (which one, where in two bytes, and to what), a region, the body, then
/// `name:value` of further headers.
pub(crate) fn signature(data: &[u8]) {
    let mut fields = data.split(|byte| *byte == 0xff);
    let mut field = || fields.next().unwrap_or_default();
    let (change, region, body) = (field(), field(), field());
    let Some(region) = std::str::from_utf8(region).ok().filter(|text| is_region(text)) else {
        return;
    };
    let mut call = Call { headers: Vec::new(), body: body.to_vec() };
    call.push("host", b"localhost:4573");
    call.push(DATE_HEADER, DATE.as_bytes());
    for field in fields {
        let mut parts = field.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        if !RESERVED.contains(&name.to_ascii_lowercase().as_str())
            && std::str::from_utf8(value).is_ok()
        {
            call.push(name, value);
        }
    }
    let Some(authorization) = call.sign(SECRET, region) else {
        return;
    };
    let verified = call.verify(authorization.as_bytes(), NOW);
    assert_eq!(verified, Ok(()), "{authorization} of {call:?}");

    let at = |index: usize| usize::from(change.get(index).copied().unwrap_or_default());
    let (place, to) = (at(1) << 8 | at(2), at(3) as u8);
    let which = at(0) % 10;
    let mut changed = call.clone();
    let mut now = NOW;
    let mut claimed = authorization.clone().into_bytes();
    match which {
        0 if !body.is_empty() => changed.body[place % body.len()] ^= to.max(1),
        1 => {
            let (_, value) = &mut changed.headers[place % call.headers.len()];
            let mut bytes = value.as_bytes().to_vec();
            if bytes.is_empty() {
                return;
            }
            let at = place / call.headers.len() % bytes.len();
            bytes[at] = to;
            let Ok(other) = HeaderValue::from_bytes(&bytes) else {
                return;
            };
            *value = other;
        }
        2 => drop(changed.headers.remove(place % call.headers.len())),
        3 => changed.push("x-amz-unsigned", &[b'a' + to % 26]),
        4 => {
            let at = place % claimed.len();
            claimed[at] = to;
            if claimed.trim_ascii() != claimed {
                // No header that comes from the wire begins or ends so.
                return;
            }
        }
        5 => claimed.truncate(place % claimed.len()),
        6 => match call.sign("another-secret", region) {
            Some(other) => claimed = other.into_bytes(),
            None => return,
        },
        7 => {
            now += if to % 2 == 0 { 301 } else { -301 }
                + (place as i64) * if to % 2 == 0 { 1 } else { -1 }
        }
        8 => changed.push(DATE_HEADER, DATE.as_bytes()),
        9 => claimed = body.to_vec(),
        _ => return,
    }
    let is_same = changed.body == call.body
        && changed.canonical() == call.canonical()
        && without_spaces(&claimed) == without_spaces(authorization.as_bytes())
        && now == NOW;
    if !is_same {
        let verified = changed.verify(&claimed, now);
        assert!(verified.is_err(), "change {which} was not seen: {changed:?}");
    }
}

/// What stands in a scope without ending it, or the header.
fn is_region(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b',' | b'='))
}

/// Only behind a comma a space means nothing.
fn without_spaces(text: &[u8]) -> Vec<u8> {
    let mut pieces = text.split(|byte| *byte == b',');
    let first = pieces.next().unwrap_or_default().trim_ascii_end().to_vec();
    pieces.fold(first, |mut all, piece| {
        all.push(b',');
        all.extend_from_slice(piece.trim_ascii());
        all
    })
}

impl Call {
    fn push(&mut self, name: &str, value: &[u8]) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value))
        {
            self.headers.push((name, value));
        }
    }

    /// As a client would sign it; nothing where the signer refuses.
    fn sign(&self, secret: &str, region: &str) -> Option<String> {
        let identity = Credentials::new(KEY, secret, None, None, "fuzzing").into();
        let mut settings = SigningSettings::default();
        settings.excluded_headers = None;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(SERVICE)
            .time(UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs()))
            .settings(settings)
            .build()
            .ok()?
            .into();
        let headers = self.headers.iter();
        let headers: Option<Vec<_>> = headers
            .map(|(name, value)| Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?)))
            .collect();
        let body = SignableBody::Bytes(&self.body);
        let uri = "http://localhost:4573/";
        let request = SignableRequest::new("POST", uri, headers?.into_iter(), body).ok()?;
        let (instructions, _) = sign(request, &params).ok()?.into_parts();
        let mut made = instructions.headers();
        made.find(|(name, _)| *name == AUTHORIZATION.as_str()).map(|(_, text)| text.to_owned())
    }

    fn verify(&self, authorization: &[u8], now: i64) -> Result<(), AuthError> {
        let Ok(authorization) = HeaderValue::from_bytes(authorization) else {
            return Err(AuthError::MissingToken);
        };
        let mut request = Request::post("/").body(()).expect("a request");
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        request.headers_mut().append(AUTHORIZATION, authorization);
        let parts = request.into_parts().0;
        let (streams, token) = (None, None);
        let identity = Identity { secret: Some(SECRET.into()), token, tenant: None, streams };
        let auth = Auth::Signed(BTreeMap::from([(KEY.into(), identity)]));
        let now = UnixMillis(now * 1000);
        let recognised = auth.recognise(&parts, now);
        let verified = auth.verify(&parts, &self.body, now).map(|_| ());
        if verified.is_ok() {
            assert_eq!(recognised, Ok(()), "the head is refused of a call that is in order");
        }
        verified
    }

    /// What a signature covers of the headers.
    fn canonical(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let mut headers: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, value) in &self.headers {
            let words = value.as_bytes().split(|byte| *byte == b' ');
            let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
            headers.entry(name.to_string()).or_default().push(words.join(&b' '));
        }
        headers
    }
}
