//! The signature that a call must have (AWS Signature Version 4).
//!
//! Owns the comparison. The canonical form and the signature come from `aws_sigv4`, the code that SDKs
//! sign with. Does not own what must be signed, nor identities (`auth`).

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_lc_rs::constant_time;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SessionTokenMode, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use axum::http::header::AUTHORIZATION;

/// The one algorithm.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that calls are signed for.
pub(super) const SERVICE: &str = "firehose";
/// What a scope ends with.
pub(super) const TERMINATOR: &str = "aws4_request";
/// Signs for access keys that nobody has; its length is a real secret's.
const DUMMY_SECRET: &str = "no-identity-has-this-secret-0000000000000";

/// What a signature covers, and the signature.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub(super) access_key: &'a str,
    pub(super) unix_seconds: i64,
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
        let body = SignableBody::Precomputed(self.body_hash.to_owned());
        let Ok(request) = SignableRequest::new("POST", "/", self.headers.iter().copied(), body)
        else {
            return false;
        };
        let identity = Credentials::new(self.access_key, secret, None, None, "identities").into();
        let mut settings = SigningSettings::default();
        // The client has chosen what it signs: the crate may neither drop nor add a header.
        settings.excluded_headers = None;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.session_token_mode = SessionTokenMode::Include;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(SERVICE)
            .time(UNIX_EPOCH + Duration::from_secs(self.unix_seconds.unsigned_abs()))
            .settings(settings)
            .build()
            .expect("every field of the parameters is set")
            .into();
        let Ok(output) = sign(request, &params) else {
            return false;
        };
        let (instructions, signature) = output.into_parts();
        let names = format!("SignedHeaders={}, Signature=", self.header_names);
        let has_same_headers = instructions
            .headers()
            .any(|(name, text)| name == AUTHORIZATION.as_str() && text.contains(&names));
        let (ours, claimed) = (signature.as_bytes(), self.claimed.as_bytes());
        constant_time::verify_slices_are_equal(ours, claimed).is_ok() && has_same_headers
    }

    /// The work of [`is_by`](Self::is_by) with a wrong secret, for those who have none.
    pub(super) fn spend(&self) {
        self.is_by(DUMMY_SECRET);
    }
}

/// Bytes as signatures write them.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
