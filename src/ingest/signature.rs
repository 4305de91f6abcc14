//! The signature that a call must have (AWS Signature Version 4).
//!
//! Owns the canonical form of the one request that there is, `POST /`, and the keys that secrets are
//! made into for a day and a region. Does not own what must be signed, nor identities (`auth`). The
//! judge of the form is `aws_sigv4`, the code that SDKs sign with: in tests and for the fuzzer every
//! signature that it makes must hold here.
//!
//! Invariant: a key is kept only after a signature has held with it, so that strangers fill nothing; a
//! signature that does not hold costs the making of a key, whether or not one was kept.

use std::cell::RefCell;
use std::collections::VecDeque;

use aws_lc_rs::constant_time;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use super::retry::sha256;

/// The one algorithm.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that calls are signed for.
pub(super) const SERVICE: &str = "firehose";
/// What a scope ends with.
pub(super) const TERMINATOR: &str = "aws4_request";
/// Signs for access keys that nobody has; its length is a real secret's.
const DUMMY_SECRET: &str = "no-identity-has-this-secret-0000000000000";
/// Keys that a thread keeps, the last used first.
const KEYS_MAX: usize = 16;

thread_local! {
    static KEYS: RefCell<VecDeque<KeptKey>> = const { RefCell::new(VecDeque::new()) };
}

struct KeptKey {
    secret: String,
    day: String,
    region: String,
    key: Key,
}

/// What a signature covers, and the signature.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    /// As `20260102T030405Z`.
    pub(super) date: &'a str,
    /// As `20260102`.
    pub(super) day: &'a str,
    pub(super) region: &'a str,
    /// The names of the headers, ascending, with `;` between them.
    pub(super) header_names: &'a str,
    /// The same names, each with one of its values.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The hash of the body, as hex.
    pub(super) body_hash: &'a str,
    /// What the caller says that the signature is.
    pub(super) claimed: &'a str,
}

impl Signed<'_> {
    /// Whether somebody with `secret` has signed this.
    pub(super) fn is_by(&self, secret: &str) -> bool {
        let text = self.text();
        let kept = KEYS.with_borrow_mut(|keys| {
            let is_it = |kept: &KeptKey| {
                kept.day == self.day && kept.region == self.region && kept.secret == secret
            };
            let at = keys.iter().position(is_it)?;
            let kept = keys.remove(at)?;
            let holds = self.holds(&kept.key, &text);
            keys.push_front(kept);
            Some(holds)
        });
        if kept == Some(true) {
            return true;
        }
        let key = self.key_of(secret);
        let holds = self.holds(&key, &text);
        if holds {
            let (day, region) = (self.day.to_owned(), self.region.to_owned());
            let kept = KeptKey { secret: secret.to_owned(), day, region, key };
            KEYS.with_borrow_mut(|keys| {
                keys.truncate(KEYS_MAX - 1);
                keys.push_front(kept);
            });
        }
        holds
    }

    /// The work of [`is_by`](Self::is_by) with a wrong secret, for those who have none.
    pub(super) fn spend(&self) -> bool {
        self.holds(&self.key_of(DUMMY_SECRET), &self.text())
    }

    fn holds(&self, key: &Key, text: &str) -> bool {
        let signature = hex(sign(key, text.as_bytes()).as_ref());
        let claimed = self.claimed.as_bytes();
        constant_time::verify_slices_are_equal(signature.as_bytes(), claimed).is_ok()
    }

    fn key_of(&self, secret: &str) -> Key {
        let first = Key::new(HMAC_SHA256, ["AWS4", secret].concat().as_bytes());
        let parts = [self.day, self.region, SERVICE, TERMINATOR];
        parts
            .into_iter()
            .fold(first, |key, part| Key::new(HMAC_SHA256, sign(&key, part.as_bytes()).as_ref()))
    }

    /// The string to sign.
    fn text(&self) -> String {
        let request = hex(&sha256(self.canonical_request().as_bytes()));
        let scope = [self.day, self.region, SERVICE, TERMINATOR].join("/");
        [ALGORITHM, self.date, &scope, &request].join("\n")
    }

    fn canonical_request(&self) -> String {
        let lengths = self.headers.iter().map(|(name, value)| name.len() + value.len() + 2);
        let length = lengths.sum::<usize>() + self.header_names.len() + self.body_hash.len();
        let mut out = String::with_capacity(length + 16);
        out.push_str("POST\n/\n\n");
        let mut before = "";
        for &(name, value) in self.headers {
            if name == before {
                out.push(',');
            } else {
                out.push_str(if before.is_empty() { "" } else { "\n" });
                out.push_str(name);
                out.push(':');
                before = name;
            }
            put_words(&mut out, value);
        }
        out.push_str("\n\n");
        out.push_str(self.header_names);
        out.push('\n');
        out.push_str(self.body_hash);
        out
    }
}

/// Appends a value with one space where it has several, and none at its ends.
fn put_words(out: &mut String, value: &str) {
    let mut gap = "";
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        out.push_str(gap);
        out.push_str(word);
        gap = " ";
    }
}

/// Bytes as signatures write them.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
