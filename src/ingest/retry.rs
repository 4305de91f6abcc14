//! Calls that come again.
//!
//! Owns what makes two calls the same one: who sent it, the id that the client gave it, the
//! operation and the body. Does not own how long a call is remembered: the journal of its stream
//! does, and answers a repetition as it answered the first.
//!
//! SDKs send `amz-sdk-invocation-id` and repeat it with every attempt. It is not always signed, so
//! it is a hint and never proves anything: with another sender or another byte in the body, it is
//! another call.

use aws_lc_rs::digest::{Context, SHA256, digest};
use axum::http::{HeaderMap, HeaderName};

use crate::journal::{CALL_KEY_BYTES, CallKey};

/// What SDKs send.
pub(super) const INVOCATION_ID: HeaderName = HeaderName::from_static("amz-sdk-invocation-id");
/// What clients of the plain endpoint send.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// What tells a call from every other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identification<'a> {
    /// The access key of the identity that sent it; empty where nobody has to say who they are.
    pub(super) sender: &'a str,
    /// What it does.
    pub(super) operation: &'a str,
    /// The client's own id of it.
    pub(super) id: &'a [u8],
    /// Its body.
    pub(super) body: Hash,
}

impl Identification<'_> {
    /// The key of the call.
    pub(super) fn key(&self) -> CallKey {
        let mut context = Context::new(&SHA256);
        for part in [self.sender.as_bytes(), self.operation.as_bytes(), self.id, &self.body] {
            // With its length, so that no two sets of parts read the same.
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let hash = context.finish();
        let (key, _) =
            hash.as_ref().split_first_chunk::<CALL_KEY_BYTES>().expect("it has 32 bytes");
        CallKey(*key)
    }
}

/// The SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().try_into().expect("it has 32 bytes")
}

/// The id that an SDK gave the call; `None` when it sent none, or something that is none.
pub(super) fn invocation_id(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(INVOCATION_ID).iter();
    let value = values.next()?.as_bytes();
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn calls_are_the_same_when_all_parts_are(
            one in ("[A-C]{0,3}", "[A-C]{0,3}", "[A-C]{0,3}", "[A-C]{0,3}"),
            other in ("[A-C]{0,3}", "[A-C]{0,3}", "[A-C]{0,3}", "[A-C]{0,3}"),
        ) {
            let key = |(sender, operation, id, body): &(String, String, String, String)| {
                let (id, body) = (id.as_bytes(), sha256(body.as_bytes()));
                Identification { sender, operation, id, body }.key()
            };
            prop_assert_eq!(key(&one) == key(&other), one == other);
            prop_assert_eq!(key(&one), key(&one.clone()));
        }
    }
}
