//! The forms of time that nearly all producers send: `yyyy-MM-dd`, and `yyyy-MM-ddTHH:mm:ss` in UTC
//! with or without a fraction.
//!
//! Owns nothing but speed: what is not exactly of these forms, or not in the calendar, is left to the
//! reader of all forms.

use super::{DAYS_BEFORE_1970, MICROS_PER_SECOND, SECONDS_PER_DAY};
use crate::number::{leading, word_at};

const LOWS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const DAYS_OF_MONTHS: [u32; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const POWERS: [u32; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Days since 1970-01-01.
pub(super) fn days(text: &[u8]) -> Option<i32> {
    if text.len() != 10 {
        return None;
    }
    let front = pairs(word_at(text, 0), *b"0000-00-")?;
    let back = pairs(word_at(text, 2), *b"00-00-00")?;
    date(front, pair(back, 6))
}

/// Microseconds since 1970.
#[inline]
pub(super) fn micros(text: &[u8]) -> Option<i64> {
    if text.len() < 19 {
        return None;
    }
    let front = pairs(word_at(text, 0), *b"0000-00-")?;
    let middle = pairs(word_at(text, 8), *b"00T00:00")?;
    let back = pairs(word_at(text, 11), *b"00:00:00")?;
    let days = date(front, pair(middle, 0))?;
    let (hour, minute, second) = (pair(back, 0), pair(back, 3), pair(back, 6));
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match text.get(19) {
        Some(b'.') => {
            let (number, length) = leading(text, 20);
            if !(1..8).contains(&length) {
                return None;
            }
            let micros = u64::from(number) * u64::from(POWERS[7 - length]) / 10;
            (micros as i64, &text[20 + length..])
        }
        _ => (0, &text[19..]),
    };
    if !matches!(zone, [] | [b'Z']) {
        return None;
    }
    let seconds = i64::from(days) * SECONDS_PER_DAY
        + i64::from(hour) * 3600
        + i64::from(minute) * 60
        + i64::from(second);
    Some(seconds * MICROS_PER_SECOND + fraction)
}

/// Each byte of a text with the one behind it as a number of two digits, for a text that has digits
/// where `form` has zeros, and is equal to it elsewhere.
#[inline(always)]
fn pairs(word: u64, form: [u8; 8]) -> Option<u64> {
    let digits = word ^ u64::from_le_bytes(form);
    // Adding this to a byte sets its high bit if it is above 9, or above 0 for what is no digit.
    let sums = u64::from_le_bytes(form.map(|byte| if byte == b'0' { 0x76 } else { 0x7f }));
    let others = (((digits & LOWS) + sums) | digits) & HIGHS;
    // No byte is above 9, and so no sum above 99.
    (others == 0).then(|| (digits * 10).wrapping_add(digits >> 8))
}

#[inline(always)]
fn pair(pairs: u64, at: usize) -> u32 {
    (pairs >> (8 * at)) as u32 & 0xff
}

/// Days since 1970 of a year and a month in `front`, `yyyy-MM-`, and a day.
#[inline(always)]
fn date(front: u64, day: u32) -> Option<i32> {
    let (year, month) = (pair(front, 0) * 100 + pair(front, 2), pair(front, 5));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let leap_day = u32::from(is_leap && month == 2);
    let days_max = DAYS_OF_MONTHS.get(month as usize)? + leap_day;
    if year == 0 || !(1..=days_max).contains(&day) {
        return None;
    }
    // Counted in years that begin with March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    let in_year = (153 * month + 2) / 5 + day;
    // 0001-01-01 is day 1, as 0000-03-01 is day -305.
    Some((before + in_year) as i32 - 306 - DAYS_BEFORE_1970)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{Reader, micros_of_calendar};

    /// What the reader of all forms makes of a day.
    fn slow_days(text: &str) -> Option<i32> {
        use chrono::Datelike as _;
        let mut reader = Reader::new(text);
        let date = reader.date(1)?;
        reader.is_at_end().then(|| date.num_days_from_ce() - DAYS_BEFORE_1970)
    }

    #[test]
    fn every_day_of_the_calendar_is_the_same_for_both_readers() {
        for year in (0..=9999).step_by(7).chain([1900, 1970, 1972, 2000, 2024, 2100]) {
            for month in 0..=13 {
                for day in 0..=32 {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    assert_eq!(days(text.as_bytes()), slow_days(&text), "{text}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn a_time_is_the_same_for_both_readers(
            fields in (0u32..10_000, 0u32..14, 0u32..33, 0u32..25, 0u32..61, 0u32..61),
            fraction in "(\\.[0-9]{0,10})?",
            zone in "(Z|\\+01|z)?",
            change in proptest::option::of((any::<prop::sample::Index>(), 0x20u8..0x7f)),
        ) {
            let (year, month, day, hour, minute, second) = fields;
            let time =
                format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
            let mut text = format!("{time}{fraction}{zone}").into_bytes();
            if let Some((at, byte)) = change {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let text = String::from_utf8(text).unwrap();
            if let Some(found) = micros(text.as_bytes()) {
                prop_assert_eq!(Some(found), micros_of_calendar(&text), "{}", text);
            } else if text.ends_with('Z') && text.as_bytes()[10] == b'T' && fraction.len() < 9 {
                prop_assert_eq!(micros_of_calendar(&text), None, "{}", text);
            }
        }
    }
}
