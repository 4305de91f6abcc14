//! The words of the service: what a producer sends and how it is named inside.
//!
//! Owns names, positions and times as plain data. Does not own how any of them is stored or sent.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The most bytes that one record may hold before base64, 1,000 KiB (Firehose API model).
pub const RECORD_BYTES_MAX: usize = 1_024_000;

/// The number of a record in its stream's journal: counted from 0 in the order of acceptance,
/// contiguous and never used again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The position `count` records further on.
    #[must_use]
    pub fn advanced_by(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A wall-clock instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

/// The name of a delivery stream: 1 to 64 of `a-z A-Z 0-9 _ . -` (Firehose API model), and neither
/// `.` nor `..`, since the name is also a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(Arc<str>);

/// Why a text is not the name of a delivery stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use 1 to 64 of the characters a-z, A-Z, 0-9, '_', '.' and '-', and neither '.' nor '..'")]
pub struct StreamNameError;

impl StreamName {
    /// Checks `name` against the rule of the type.
    ///
    /// # Errors
    /// When the rule does not hold.
    pub fn new(name: &str) -> Result<Self, StreamNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let fits = (1..=64).contains(&name.len()) && name.chars().all(allowed);
        if fits && name != "." && name != ".." {
            Ok(Self(name.into()))
        } else {
            Err(StreamNameError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for StreamName {
    type Error = StreamNameError;

    fn try_from(name: String) -> Result<Self, StreamNameError> {
        Self::new(&name)
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// Whose records these are. It comes from the identity that signed the call, never from a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Arc<str>);

/// Why a text is not a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use 1 to 128 bytes without control characters")]
pub struct TenantError;

impl Tenant {
    /// Checks that `tenant` has 1 to 128 bytes and no control characters.
    ///
    /// # Errors
    /// When the rule does not hold.
    pub fn new(tenant: &str) -> Result<Self, TenantError> {
        if (1..=128).contains(&tenant.len()) && !tenant.chars().any(char::is_control) {
            Ok(Self(tenant.into()))
        } else {
            Err(TenantError)
        }
    }

    /// The tenant as text, not escaped for keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Tenant {
    type Error = TenantError;

    fn try_from(tenant: String) -> Result<Self, TenantError> {
        Self::new(&tenant)
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0.as_ref().to_owned()
    }
}

/// One record as it was accepted, borrowed from the journal's read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its number in the stream.
    pub position: Position,
    /// When it was accepted, by the wall clock.
    pub arrival: UnixMillis,
    /// The producer's bytes, after base64.
    pub data: &'a [u8],
}

/// The folder of the error prefix that a failed record goes to; Firehose's
/// `!{firehose:error-output-type}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorOutputType {
    /// The record does not fit the table.
    FormatConversionFailed,
    /// A hook could not make anything of the record, or it has no place under the prefix.
    ProcessingFailed,
    /// The record is not what CloudWatch Logs sends, or not packed as that is.
    DecompressionFailed,
    /// The record would have opened one partition more than may be active.
    #[serde(rename = "activePartitionExceeded")]
    ActivePartitionExceeded,
}

impl ErrorOutputType {
    /// The text that stands in keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FormatConversionFailed => "format-conversion-failed",
            Self::ProcessingFailed => "processing-failed",
            Self::DecompressionFailed => "decompression-failed",
            Self::ActivePartitionExceeded => "activePartitionExceeded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_follow_the_api_model_and_are_safe_folders() {
        for good in ["a", "clicks", "A_b.c-9", &"x".repeat(64), "..."] {
            assert!(StreamName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "é", "a b", &"x".repeat(65)] {
            assert!(StreamName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tenants_have_no_control_characters() {
        assert!(Tenant::new("acme/eu=1").is_ok());
        for bad in ["", "a\nb", "a\0", &"x".repeat(129)] {
            assert!(Tenant::new(bad).is_err(), "{bad:?}");
        }
    }
}
