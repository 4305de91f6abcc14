//! The names of objects: `<prefix><stream>-<version>-<yyyy-MM-dd-HH-mm-ss>-<uuid><extension>`.
//!
//! Owns the form of the name, which is Firehose's, and the bound on the whole key. Does not own the
//! prefix, nor the source of random numbers.

use chrono::{Datelike, Timelike};
use uuid::Uuid;

use super::pattern::Zone;
use crate::record::{StreamName, UnixMillis};

/// The most bytes that a key may have, S3's bound.
pub const KEY_BYTES_MAX: usize = 1_024;

/// What the name of an object is made of.
#[derive(Clone, Copy, Debug)]
pub struct ObjectName<'a> {
    /// The delivery stream.
    pub stream: &'a StreamName,
    /// The version of the stream's definition, counted from 1.
    pub version: u64,
    /// The instant that the prefix was evaluated with.
    pub instant: UnixMillis,
    /// The zone that it is printed in, the prefix's own.
    pub zone: &'a Zone,
    /// Random bits; they make the name unique across instances.
    pub random: u128,
    /// The end of the name with its dot, such as `.parquet`; may be empty.
    pub extension: &'a str,
}

/// A key that no store takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key would have {length_bytes} bytes, at most {KEY_BYTES_MAX} are possible: shorten the prefix"
)]
pub struct KeyTooLong {
    length_bytes: usize,
}

impl ObjectName<'_> {
    /// The key of the object below an evaluated prefix.
    ///
    /// # Errors
    /// When it has more than [`KEY_BYTES_MAX`] bytes; keys are never cut.
    pub fn key(&self, prefix: &str) -> Result<String, KeyTooLong> {
        let Self { stream, version, extension, .. } = self;
        let time = self.zone.at(self.instant).local;
        let (_, year) = time.year_ce();
        let key = format!(
            "{prefix}{stream}-{version}-{year:04}-{:02}-{:02}-{:02}-{:02}-{:02}-{}{extension}",
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            uuid_v4(self.random).hyphenated(),
        );
        if key.len() > KEY_BYTES_MAX {
            let length_bytes = key.len();
            return Err(KeyTooLong { length_bytes });
        }
        Ok(key)
    }
}

/// The key of an object with other random bits: where its name has a UUID, another one of the same
/// length.
#[must_use]
pub fn renamed(key: &str, random: u128) -> String {
    let uuid = uuid_v4(random).hyphenated().to_string();
    let name_start = key.rfind('/').map_or(0, |slash| slash + 1);
    let starts = (name_start..=key.len().saturating_sub(uuid.len())).rev();
    let is_uuid = |start: &usize| {
        key.get(*start..*start + uuid.len()).is_some_and(|text| Uuid::try_parse(text).is_ok())
    };
    match starts.into_iter().find(is_uuid) {
        Some(start) => format!("{}{uuid}{}", &key[..start], &key[start + uuid.len()..]),
        None => format!("{key}-{uuid}"),
    }
}

/// A version 4 UUID of the given random bits.
pub(super) fn uuid_v4(random: u128) -> Uuid {
    uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(prefix: &str) -> Result<String, KeyTooLong> {
        let stream = StreamName::new("clicks").expect("a name");
        let name = ObjectName {
            stream: &stream,
            version: 1,
            instant: UnixMillis(1_533_632_585_999),
            zone: &Zone::UTC,
            random: 0xa9fa_96af_e4e4_009f_3ac3_1f80_4714_faaa,
            extension: ".parquet",
        };
        name.key(prefix)
    }

    #[test]
    fn names_have_firehoses_form() {
        let expected =
            "a/clicks-1-2018-08-07-09-03-05-a9fa96af-e4e4-409f-bac3-1f804714faaa.parquet";
        assert_eq!(key("a/").as_deref(), Ok(expected));
    }

    #[test]
    fn another_key_differs_in_its_uuid_alone() {
        let old = key("a/b=a9fa96af-e4e4-409f-bac3-1f804714faaa/").expect("short");
        let new = renamed(&old, 7);
        let uuid = uuid_v4(7).hyphenated().to_string();
        let expected = old.replace("a9fa96af-e4e4-409f-bac3-1f804714faaa.parquet", "");
        assert_eq!(new, format!("{expected}{uuid}.parquet"));
        assert_eq!(renamed("a/é", 7), format!("a/é-{uuid}"));
    }

    #[test]
    fn keys_are_bounded_in_bytes_and_never_cut() {
        let name_bytes = key("").expect("short").len();
        let room = KEY_BYTES_MAX - name_bytes;
        assert_eq!(key(&"x".repeat(room)).map(|key| key.len()), Ok(1_024));
        let error = key(&"x".repeat(room + 1)).expect_err("too long");
        assert!(error.to_string().contains("1025 bytes"), "{error}");
        let wide = "𝄞".repeat(room / 4 + 1);
        assert!(key(&wide).is_err());
    }
}
