//! Sizes and times with their units: `64 MiB`, `5 s`.
//!
//! Owns the text form of both. Does not own which sizes and times are sensible where.

use std::time::Duration;

use super::faults::shown;

const SIZE_UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const TIME_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The form of sizes in JSON Schema.
pub(super) fn size_pattern() -> String {
    pattern(&SIZE_UNITS)
}

/// The form of times in JSON Schema.
pub(super) fn time_pattern() -> String {
    pattern(&TIME_UNITS)
}

fn pattern(units: &[(&str, u64)]) -> String {
    let units: Vec<_> = units.iter().map(|(unit, _)| *unit).collect();
    format!(r"^[0-9]+\s*({})\s*$", units.join("|"))
}

/// Reads a size in bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, "size", "64 MiB", &SIZE_UNITS)
}

/// Reads a span of time.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    parse(text, "time", "60 s", &TIME_UNITS).map(Duration::from_millis)
}

/// A size in the largest unit of powers of two that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().rev().filter(|(_, factor)| factor.is_power_of_two());
    show(bytes, binary.copied())
}

/// A time in the largest unit that divides it.
pub(super) fn show_time(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let units = TIME_UNITS.iter().rev().filter(|(unit, _)| *unit != "min");
    show(millis, units.copied())
}

fn show(number: u64, mut units: impl Iterator<Item = (&'static str, u64)>) -> String {
    let fits = |(_, factor): &(&str, u64)| number >= *factor && number.is_multiple_of(*factor);
    match units.find(fits) {
        Some((unit, factor)) => format!("{} {unit}", number / factor),
        None => number.to_string(),
    }
}

fn parse(
    text: &str,
    what: &str,
    example: &str,
    units: &[(&'static str, u64)],
) -> Result<u64, String> {
    let known = || units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit = unit.trim();
    if digits.is_empty() || unit.starts_with(['.', ',', '_']) {
        return Err(format!(
            "{} is no {what}: write a whole number and a unit, such as {example}",
            shown(text)
        ));
    }
    if unit.is_empty() {
        return Err(format!(
            "{} has no unit: write a number and one of {}, such as {example}",
            shown(text),
            known()
        ));
    }
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    let factor =
        factor.ok_or_else(|| format!("unknown unit {}: write one of {}", shown(unit), known()))?;
    let number: Option<u64> = digits.parse().ok();
    let number = number.and_then(|number| number.checked_mul(*factor));
    number.ok_or_else(|| format!("{} is too large a {what}", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_with_their_units() {
        assert_eq!(parse_size("64 MiB"), Ok(67_108_864));
        assert_eq!(parse_size("5MB"), Ok(5_000_000));
        assert_eq!(parse_size("20 GiB"), Ok(21_474_836_480));
        assert_eq!(parse_size("0 B"), Ok(0));
        assert_eq!(parse_time("500 ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("5 m"), parse_time("5min"));
        assert_eq!(parse_time("1 d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(show_size(64 << 20), "64 MiB");
        assert_eq!(show_size(1_500), "1500 B");
        assert_eq!(show_time(Duration::from_secs(300)), "5 m");
        assert_eq!(show_time(Duration::ZERO), "0");
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, part) in [
            ("64", "'64' has no unit: write a number and one of B, KB, KiB"),
            ("64 mib", "unknown unit 'mib'"),
            ("1.5 GiB", "whole number"),
            ("-1 B", "whole number"),
            ("MiB", "whole number"),
            ("", "whole number"),
            ("99999999999 TiB", "too large"),
            ("99999999999999999999999 B", "too large"),
        ] {
            let error = parse_size(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(parse_time("5 minutes").expect_err("unit").contains("ms, s, m, min, h, d"));
        assert!(parse_time("60").expect_err("unit").contains("such as 60 s"));
    }
}
