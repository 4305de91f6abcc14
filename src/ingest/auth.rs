//! Who calls: AWS Signature Version 4, verified.
//!
//! Owns the identities and what a signed call must carry. Does not own the signature itself
//! (`signature`), nor error codes: `reply` gives every [`AuthError`] one. Its texts are the API's own,
//! since SDKs and people search for them.
//!
//! Invariants:
//! - the body is always hashed here, and every `x-amz-*` header must be signed, so that nothing
//!   that an operation reads can be changed on the way;
//! - an unknown access key costs the same work as a wrong secret;
//! - a replay within five minutes is a valid call: SDKs repeat a signature when they retry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, Utc};

use super::bearer::Token;
use super::browser::is_from_a_web_page;
use super::retry::{Hash, sha256};
use super::signature::{ALGORITHM, SERVICE, Signed, TERMINATOR, hex};
use crate::record::{StreamName, Tenant, UnixMillis};

const DATE_HEADER: &str = "x-amz-date";
const CONTENT_HASH_HEADER: &str = "x-amz-content-sha256";
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// The same, digit by digit.
const DATE_PATTERN: &[u8; 16] = b"00000000T000000Z";
/// How far the date of a call may be from the clock, either way.
const SKEW_SECONDS_MAX: i64 = 5 * 60;

/// Who may call; by access key or, where there is none, by [`Token::sender`].
pub type Identities = BTreeMap<String, Identity>;

/// The holder of an access key or a token.
#[derive(Clone)]
pub struct Identity {
    /// What the holder signs with; without one the Firehose API is closed to them.
    pub secret: Option<String>,
    /// What the holder shows to the plain endpoint; without one it is closed to them.
    pub token: Option<Token>,
    /// Whose records the calls carry.
    pub tenant: Option<Tenant>,
    /// The streams that exist for the holder; all when absent.
    pub streams: Option<BTreeSet<StreamName>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("secret", &"***")
            .field("token", &self.token)
            .field("tenant", &self.tenant)
            .field("streams", &self.streams)
            .finish()
    }
}

/// Whether calls must be signed.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Nobody is configured: every call is accepted, its signature is not looked at.
    Open,
    /// Calls are signed by one of these.
    Signed(Identities),
}

/// The verified origin of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// The access key of the identity, or what stands for it; empty where nobody has to say who
    /// they are.
    pub access_key: &'a str,
    /// Whose records the call carries.
    pub tenant: Option<&'a Tenant>,
    streams: Option<&'a BTreeSet<StreamName>>,
    /// The hash of the body, where the signature has needed it.
    pub(super) body: Option<Hash>,
}

impl<'a> Caller<'a> {
    /// The holder of `access_key`.
    pub(super) fn new(access_key: &'a str, identity: &'a Identity) -> Self {
        let (tenant, streams) = (identity.tenant.as_ref(), identity.streams.as_ref());
        Self { access_key, tenant, streams, body: None }
    }

    /// Whether `stream` exists for the caller.
    #[must_use]
    pub fn may_use(&self, stream: &StreamName) -> bool {
        self.streams.is_none_or(|streams| streams.contains(stream))
    }
}

/// Why a call has no verified origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization` header.
    #[error("Missing Authentication Token")]
    MissingToken,
    /// The signature cannot be read.
    #[error("{0}")]
    Incomplete(String),
    /// The signature is made for another service, day or protocol.
    #[error("{0}")]
    Scope(String),
    /// The signature is of another secret, header or body; or a header that matters is not signed.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details."
    )]
    Mismatch,
    /// Signed too long ago.
    #[error(
        "Signature expired: {signed} is now earlier than {earliest} ({now} - 5 min.)",
        signed = basic(*.signed), earliest = basic(now - SKEW_SECONDS_MAX), now = basic(*.now)
    )]
    Expired {
        /// The call's date, in Unix seconds.
        signed: i64,
        /// The clock, in Unix seconds.
        now: i64,
    },
    /// Signed in the future.
    #[error(
        "Signature not yet current: {signed} is still later than {latest} ({now} + 5 min.)",
        signed = basic(*.signed), latest = basic(now + SKEW_SECONDS_MAX), now = basic(*.now)
    )]
    NotYetCurrent {
        /// The call's date, in Unix seconds.
        signed: i64,
        /// The clock, in Unix seconds.
        now: i64,
    },
    /// Nobody has the access key.
    #[error("The security token included in the request is invalid.")]
    UnknownAccessKey,
}

impl Auth {
    /// Whether the call comes from a web page, and nobody would have to say who they are.
    pub(super) fn is_closed_to(&self, parts: &Parts) -> bool {
        matches!(self, Self::Open) && is_from_a_web_page(&parts.headers)
    }

    /// Refuses a call by its head alone, before anything is spent on its body: what would be refused
    /// whatever the body is, above all a call that nobody has signed who is known here.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub(super) fn recognise(&self, parts: &Parts, now: UnixMillis) -> Result<(), AuthError> {
        let Self::Signed(identities) = self else {
            return Ok(());
        };
        let claim = Claim::of(&parts.headers)?;
        let signed_at = SignedAt::of(&parts.headers)?;
        claim.check_scope(signed_at)?;
        signed_at.check_skew(now)?;
        let headers = claim.signed_headers(parts)?;
        if identities.contains_key(claim.access_key) {
            return Ok(());
        }
        let body_hash = hex(&sha256(&[]));
        claim.signed(signed_at, &headers, &body_hash).spend();
        Err(AuthError::UnknownAccessKey)
    }

    /// Finds out who sent the call with these headers and this body.
    ///
    /// # Errors
    /// When the call is not signed, the signature does not hold, or nobody has the access key.
    pub fn verify(
        &self,
        parts: &Parts,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<Caller<'_>, AuthError> {
        let Self::Signed(identities) = self else {
            return Ok(Caller::default());
        };
        let claim = Claim::of(&parts.headers)?;
        let signed_at = SignedAt::of(&parts.headers)?;
        claim.check_scope(signed_at)?;
        signed_at.check_skew(now)?;
        let headers = claim.signed_headers(parts)?;
        let body_hash = sha256(body);
        let body_hash_text = checked_hash(&parts.headers, body_hash)?;

        let identity = identities.get_key_value(claim.access_key);
        let identity =
            identity.and_then(|(key, identity)| Some((key, identity, identity.secret.as_deref()?)));
        let signed = claim.signed(signed_at, &headers, &body_hash_text);
        match identity {
            None => {
                signed.spend();
                Err(AuthError::UnknownAccessKey)
            }
            Some((access_key, identity, secret)) if signed.is_by(secret) => {
                Ok(Caller { body: Some(body_hash), ..Caller::new(access_key, identity) })
            }
            Some(_) => Err(AuthError::Mismatch),
        }
    }
}

/// What an `Authorization` header says.
#[derive(Debug)]
struct Claim<'a> {
    access_key: &'a str,
    scope: Scope<'a>,
    /// Lower-case names with `;` between them.
    header_names: &'a str,
    signature: &'a str,
}

#[derive(Debug)]
struct Scope<'a> {
    day: &'a str,
    region: &'a str,
    service: &'a str,
    terminator: &'a str,
}

impl<'a> Claim<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        let mut found = headers.get_all(AUTHORIZATION).iter();
        let first = found.next().ok_or(AuthError::MissingToken)?;
        if found.next().is_some() {
            return Err(incomplete("Authorization header stands more than once."));
        }
        let text =
            first.to_str().map_err(|_| incomplete("Authorization header is not ASCII text."))?;
        Self::parse(text)
    }

    fn parse(text: &'a str) -> Result<Self, AuthError> {
        let parameters =
            text.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(
                || incomplete(format!("Authorization header must begin with '{ALGORITHM} '.")),
            )?;
        let (mut credential, mut header_names, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.trim().split_once('=').unwrap_or_default();
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut header_names,
                "Signature" => &mut signature,
                _ => {
                    return Err(incomplete(
                        "Authorization header has a parameter that is not 'Credential', \
                         'SignedHeaders' or 'Signature'.",
                    ));
                }
            };
            if slot.replace(value).is_some() {
                return Err(incomplete(format!(
                    "Authorization header has the parameter '{name}' more than once."
                )));
            }
        }
        let required = |name: &str, value: Option<&'a str>| {
            value.filter(|value| !value.is_empty()).ok_or_else(|| {
                incomplete(format!("Authorization header requires '{name}' parameter."))
            })
        };
        let (access_key, scope) = Scope::split(required("Credential", credential)?)?;
        Ok(Self {
            access_key,
            scope,
            header_names: required("SignedHeaders", header_names)?,
            signature: required("Signature", signature)?,
        })
    }

    fn check_scope(&self, signed_at: SignedAt<'_>) -> Result<(), AuthError> {
        let Scope { day, service, terminator, .. } = self.scope;
        if terminator != TERMINATOR {
            return Err(AuthError::Scope(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not \
                 '{terminator}'."
            )));
        }
        if service != SERVICE {
            return Err(AuthError::Scope(format!(
                "Credential should be scoped to correct service: '{SERVICE}'."
            )));
        }
        if day != signed_at.day() {
            return Err(AuthError::Scope(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{day}' != '{}', from '{}'.",
                signed_at.day(),
                signed_at.text
            )));
        }
        Ok(())
    }

    /// The names and values of the headers that the claim says were signed.
    fn signed_headers<'b>(
        &'b self,
        parts: &'b Parts,
    ) -> Result<Vec<(&'b str, &'b str)>, AuthError> {
        let names: Vec<&str> = self.header_names.split(';').collect();
        let is_ascending = names.windows(2).all(|pair| pair[0] < pair[1]);
        let is_signed = |name: &str| names.binary_search(&name).is_ok();
        let sent = parts.headers.keys().map(|name| name.as_str());
        let amazons = sent.filter(|name| name.starts_with("x-amz-"));
        let mut required = amazons.chain([HOST.as_str(), DATE_HEADER]);
        // Looking a header up takes other letters for the same; the canonical form does not.
        let is_lower_case = !self.header_names.bytes().any(|byte| byte.is_ascii_uppercase());
        if !is_ascending || !is_lower_case || !required.all(is_signed) {
            return Err(AuthError::Mismatch);
        }
        let mut headers = Vec::with_capacity(names.len());
        for name in names {
            let before = headers.len();
            for value in parts.headers.get_all(name) {
                let value = str::from_utf8(value.as_bytes()).map_err(|_| AuthError::Mismatch)?;
                headers.push((name, value));
            }
            if headers.len() == before {
                // HTTP/2 has the host in a pseudo-header.
                let authority = parts.uri.authority().filter(|_| name == HOST.as_str());
                headers.push((name, authority.ok_or(AuthError::Mismatch)?.as_str()));
            }
        }
        Ok(headers)
    }

    /// What the claimed signature must cover.
    fn signed<'b>(
        &'b self,
        signed_at: SignedAt<'b>,
        headers: &'b [(&'b str, &'b str)],
        body_hash: &'b str,
    ) -> Signed<'b> {
        Signed {
            access_key: self.access_key,
            unix_seconds: signed_at.unix_seconds,
            region: self.scope.region,
            header_names: self.header_names,
            headers,
            body_hash,
            claimed: self.signature,
        }
    }
}

impl<'a> Scope<'a> {
    /// Splits `<access key>/<day>/<region>/<service>/aws4_request`.
    fn split(credential: &'a str) -> Result<(&'a str, Self), AuthError> {
        let parts: Vec<&str> = credential.split('/').collect();
        let &[access_key, day, region, service, terminator] = parts.as_slice() else {
            return Err(AuthError::Scope(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, found {}.",
                parts.len()
            )));
        };
        let scope = Self { day, region, service, terminator };
        Ok((access_key, scope))
    }
}

/// The date that a call was signed with.
#[derive(Clone, Copy, Debug)]
struct SignedAt<'a> {
    /// As `20260102T030405Z`.
    text: &'a str,
    unix_seconds: i64,
}

impl<'a> SignedAt<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        let mut found = headers.get_all(DATE_HEADER).iter();
        let first = found.next().ok_or_else(|| {
            incomplete("Authorization header requires existence of an 'X-Amz-Date' header.")
        })?;
        if found.next().is_some() {
            return Err(incomplete("'X-Amz-Date' header stands more than once."));
        }
        first.to_str().ok().and_then(Self::parse).ok_or_else(|| {
            incomplete("Date must be in ISO-8601 'basic format': YYYYMMDD'T'HHMMSS'Z'.")
        })
    }

    fn parse(text: &'a str) -> Option<Self> {
        let is_in_form = text.len() == DATE_PATTERN.len()
            && text.bytes().zip(DATE_PATTERN).all(|(byte, pattern)| match pattern {
                b'0' => byte.is_ascii_digit(),
                _ => byte == *pattern,
            });
        let number = |range: Range<usize>| text.get(range)?.parse::<u32>().ok();
        let time =
            NaiveDate::from_ymd_opt(number(0..4)?.cast_signed(), number(4..6)?, number(6..8)?)
                .filter(|_| is_in_form)?
                .and_hms_opt(number(9..11)?, number(11..13)?, number(13..15)?)?;
        Some(Self { text, unix_seconds: time.and_utc().timestamp() })
    }

    fn day(self) -> &'a str {
        self.text.split('T').next().unwrap_or_default()
    }

    fn check_skew(self, now: UnixMillis) -> Result<(), AuthError> {
        let signed = self.unix_seconds;
        let now = now.0.div_euclid(1000);
        if signed < now - SKEW_SECONDS_MAX {
            return Err(AuthError::Expired { signed, now });
        }
        if signed > now + SKEW_SECONDS_MAX {
            return Err(AuthError::NotYetCurrent { signed, now });
        }
        Ok(())
    }
}

/// The body's hash as hex; an error when the caller names another one or none.
fn checked_hash(headers: &HeaderMap, hash: Hash) -> Result<String, AuthError> {
    let hash = hex(&hash);
    let mut named = headers.get_all(CONTENT_HASH_HEADER).iter();
    if named.all(|value| value.as_bytes() == hash.as_bytes()) {
        Ok(hash)
    } else {
        Err(AuthError::Mismatch)
    }
}

fn basic(unix_seconds: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp(unix_seconds, 0).unwrap_or_default();
    time.format(DATE_FORMAT).to_string()
}

fn incomplete(text: impl Into<String>) -> AuthError {
    AuthError::Incomplete(text.into())
}

#[cfg(any(test, fuzzing))]
#[path = "auth_fuzzing.rs"]
pub(crate) mod signatures;

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
