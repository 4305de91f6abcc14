//! Who calls the plain endpoint: bearer tokens, verified.
//!
//! Owns how a token is kept, read and compared: as its hash, and with every token that there is, so
//! that the time tells nothing of how near a guess has come. Does not own identities (`auth`) or
//! statuses (`plain_reply`).

use std::fmt;

use aws_lc_rs::constant_time;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::auth::{Auth, Caller};
use super::retry::{Hash, sha256};

const SCHEME: &str = "Bearer";
/// Access keys have no colon.
const SENDER: &str = "token:";

/// A bearer token, of which only the hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Hash);

impl Token {
    /// Keeps the hash of `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(sha256(text.as_bytes()))
    }

    /// What stands for the access key of a holder who has none: always the same, like no access key,
    /// and telling nothing of the token.
    #[must_use]
    pub fn sender(&self) -> String {
        let hash = sha256(&[SENDER.as_bytes(), &self.0].concat());
        hash.iter().fold(SENDER.to_owned(), |name, byte| format!("{name}{byte:02x}"))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a call of the plain endpoint has no verified origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    /// No token.
    #[error("This endpoint wants the header 'Authorization: Bearer <token>', once.")]
    Missing,
    /// Nobody has the token.
    #[error(
        "Nobody has this token: send the one that stands in the configuration as the token of an \
         identity, or add it there."
    )]
    Unknown,
}

impl Auth {
    /// Finds out who sent a call with these headers to the plain endpoint.
    pub(super) fn verify_token(&self, headers: &HeaderMap) -> Result<Caller<'_>, TokenError> {
        let Self::Signed(identities) = self else {
            return Ok(Caller::default());
        };
        let hash = sha256(token(headers).ok_or(TokenError::Missing)?);
        let mut caller = Err(TokenError::Unknown);
        for (access_key, identity) in identities {
            let Some(Token(known)) = &identity.token else {
                continue;
            };
            if constant_time::verify_slices_are_equal(known, &hash).is_ok() {
                caller = Ok(Caller::new(access_key, identity));
            }
        }
        caller
    }
}

fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let is_alone = values.next().is_none() && scheme.eq_ignore_ascii_case(SCHEME.as_bytes());
    match rest {
        // 'Bearer' alone is the empty token, which nobody has.
        [] | [b' ', ..] if is_alone => Some(rest.trim_ascii()),
        _ => None,
    }
}
