//! The texts of a destination that have a form of their own: its time zone and its file extension.
//!
//! Owns what may be written there. Does not own prefixes (`prefixes`), nor what zones do.

use serde_json::Value as Json;

use super::faults::shown;
use super::json_schema;
use super::reader::{Scalar, nearest};
use crate::partition::Zone;

/// The most characters of a file extension, Firehose's bound.
const EXTENSION_CHARS_MAX: usize = 128;

/// The time zone that times are printed in.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeZone(pub(super) Zone);

impl Scalar for TimeZone {
    const EXPECTED: &'static str = "a time zone of the IANA database, such as Europe/Berlin";

    fn json_schema() -> Json {
        json_schema::words(&Zone::names().collect::<Vec<_>>())
    }

    fn parse(text: &str) -> Result<Self, String> {
        Zone::named(text).map(Self).ok_or_else(|| {
            let known: Vec<_> = Zone::names().collect();
            match nearest_zone(text, &known) {
                Some(meant) => format!("unknown time zone {}: write {meant}", shown(text)),
                None => format!(
                    "unknown time zone {}: write a name of the IANA database, such as UTC or \
                     Europe/Berlin",
                    shown(text)
                ),
            }
        })
    }
}

/// The name that was meant: one like it, or the only one of that city.
fn nearest_zone<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().replace(['_', ' '], "");
    let meant = city(text);
    let mut of_city = known.iter().filter(|name| city(name).eq_ignore_ascii_case(&meant));
    match (of_city.next(), of_city.next()) {
        (Some(only), None) => Some(only),
        _ => nearest(text, known),
    }
}

/// The end of an object's name with its dot.
#[derive(Clone, Debug)]
pub(super) struct FileExtension(pub(super) String);

impl Scalar for FileExtension {
    const EXPECTED: &'static str = "a file extension with its dot, such as .json.gz";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^\.[0-9a-z!\-_.*'()]{1,127}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "!-_.*'()".contains(c);
        let Some(rest) = text.strip_prefix('.').filter(|rest| !rest.is_empty()) else {
            return Err(format!(
                "{} is no file extension: begin with a dot, such as .json",
                shown(text)
            ));
        };
        if let Some(odd) = rest.chars().find(|c| !is_allowed(*c)) {
            let odd = shown(&odd.to_string());
            return Err(format!(
                "{odd} may not stand in a file extension: write a dot and then lower-case letters, \
                 digits and ! - _ . * ' ( )"
            ));
        }
        if text.len() > EXTENSION_CHARS_MAX {
            return Err(format!(
                "it has {} characters: write at most {EXTENSION_CHARS_MAX}",
                text.len()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_zones_are_told_with_the_one_that_was_meant() {
        for (text, part) in [
            ("europe/berlin", "write Europe/Berlin"),
            ("Europe/Berln", "write Europe/Berlin"),
            ("Berlin", "write Europe/Berlin"),
            ("America/New York", "write America/New_York"),
            ("utc", "write UTC"),
            ("+01:00", "such as UTC"),
            ("Mars/Olympus_Mons", "such as UTC"),
            ("", "such as UTC"),
        ] {
            let error = TimeZone::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(TimeZone::parse("Asia/Calcutta").map(|zone| zone.0.name()), Ok("Asia/Calcutta"));
    }

    #[test]
    fn extensions_are_firehoses() {
        for text in [".json", ".custom.log", ".a!-_.*'()9", &format!(".{}", "x".repeat(127))] {
            assert!(FileExtension::parse(text).is_ok(), "{text}");
        }
        for (text, part) in [
            ("", "begin with a dot"),
            ("json", "begin with a dot"),
            (".", "begin with a dot"),
            (".JSON", "'J' may not stand"),
            (".a/b", "'/' may not stand"),
            (".a b", "' ' may not stand"),
            (&format!(".{}", "x".repeat(128)), "129 characters"),
        ] {
            let error = FileExtension::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
