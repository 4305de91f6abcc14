//! Dates and timestamps, from the forms that producers send to numbers since 1970.
//!
//! Owns the forms and the range: every value lies in the years 1 to 9999, since most readers fail on
//! a whole file for one value outside. Owns what all readers of times have in common, names of months
//! and offsets among it. Does not own a clock, nor patterns: those of event time are read in `partition`,
//! those of Hive's columns in `convert`, each by the rules of another library.

mod fixed;

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat};

use crate::number::{Excess, Number, OUT_OF_RANGE, Why, parse_short_integer};
use crate::record::UnixMillis;

/// `NaiveDate` counts days from 0001-01-01 as 1, Parquet from 1970-01-01 as 0.
const DAYS_BEFORE_1970: i32 = 719_163;
const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The days of the week in English; the first three letters are the short form.
pub(crate) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// The months in English; the first three letters are the short form.
pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// 0001-01-01T00:00:00Z.
const MICROS_MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
const MICROS_MAX: i64 = 253_402_300_799_999_999;
/// Numbers from here on are milliseconds, smaller ones seconds.
const MILLIS_FROM: i128 = 1_000_000_000_000;
const OFFSET_MINUTES_MAX: i64 = 18 * 60;

const NO_DATE: Why = "not a date of the form yyyy-MM-dd";
const NO_TIMESTAMP: Why = "not a timestamp";

/// Days since 1970-01-01 of `yyyy-[M]M-[d]d`.
pub(crate) fn days_of_text(text: &str) -> Result<i32, Why> {
    if let Some(days) = fixed::days(text.as_bytes()) {
        return Ok(days);
    }
    let mut reader = Reader::new(text);
    let date = reader.date(1).ok_or(NO_DATE)?;
    if reader.is_at_end() { Ok(date.num_days_from_ce() - DAYS_BEFORE_1970) } else { Err(NO_DATE) }
}

/// Days since 1970-01-01 of `yyyy-MM-dd`.
#[inline]
pub(crate) fn days_of_fixed(text: &[u8]) -> Option<i32> {
    fixed::days(text)
}

/// Microseconds since 1970 of a timestamp in UTC of the form that most producers send.
#[inline]
pub(crate) fn micros_of_fixed(text: &[u8]) -> Option<i64> {
    fixed::micros(text)
}

/// Microseconds since 1970 of a timestamp's text, or of a number in a string.
pub(crate) fn micros_of_text(text: &str) -> Result<i64, Why> {
    if let Some(micros) = fixed::micros(text.as_bytes()) {
        return Ok(micros);
    }
    match micros_of_calendar(text) {
        Some(micros) => in_range(micros),
        None => micros_of_number(text),
    }
}

/// Microseconds since 1970 of a number of seconds (below 10^12) or milliseconds; digits behind the
/// microsecond are left out.
pub(crate) fn micros_of_number(text: &str) -> Result<i64, Why> {
    let (whole, number) = match parse_short_integer(text) {
        Some(short) => (i128::from(short), None),
        None => {
            let number = Number::parse(text).ok_or(NO_TIMESTAMP)?;
            (number.scaled(0, Excess::Drop)?, Some(number))
        }
    };
    let scale = if whole.abs() < MILLIS_FROM { 6 } else { 3 };
    let micros = match number {
        Some(number) => number.scaled(scale, Excess::Drop)?,
        None => whole * 10i128.pow(u32::from(scale)),
    };
    in_range(i64::try_from(micros).map_err(|_| OUT_OF_RANGE)?)
}

/// The text of an instant in RFC 3339, to the millisecond where it has any; beyond the calendar, none.
pub(crate) fn rfc3339(instant: UnixMillis) -> String {
    let time = DateTime::from_timestamp_millis(instant.0);
    time.map_or(String::new(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

pub(crate) fn in_range(micros: i64) -> Result<i64, Why> {
    if (MICROS_MIN..=MICROS_MAX).contains(&micros) { Ok(micros) } else { Err(OUT_OF_RANGE) }
}

/// Microseconds since 1970 of the form of `java.sql.Timestamp.valueOf`: with a space between day and
/// time, and no zone.
pub(crate) fn micros_of_java(text: &str) -> Option<i64> {
    let mut reader = Reader::new(text);
    let micros = reader.day_and_time(false)?;
    (reader.is_at_end() && in_range(micros).is_ok()).then_some(micros)
}

/// `yyyy-MM-ddTHH:mm:ss[.f][zone]`, or with a space instead of the `T` and one-digit fields.
pub(crate) fn micros_of_calendar(text: &str) -> Option<i64> {
    let is_strict = text.as_bytes().get(10) == Some(&b'T');
    let mut reader = Reader::new(text);
    let micros = reader.day_and_time(is_strict)?;
    Some(micros - reader.zone_seconds()? * MICROS_PER_SECOND)
}

/// Microseconds since 1970 at a second of a day that an offset counts.
pub(crate) fn micros_at(date: NaiveDate, second: u32, micros: u32, offset_seconds: i64) -> i64 {
    let days = i64::from(date.num_days_from_ce() - DAYS_BEFORE_1970);
    let seconds = days * SECONDS_PER_DAY + i64::from(second) - offset_seconds;
    seconds * MICROS_PER_SECOND + i64::from(micros)
}

/// The minutes of the offset that `text` begins with, `+HH`, `+HHMM`, `+HH:MM` and the like with `-`, and
/// how many bytes it takes.
pub(crate) fn offset_minutes(text: &[u8]) -> Option<(i64, usize)> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two_digits = |at: usize| match text.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    };
    let hours = two_digits(1)?;
    let minutes_at = if text.get(3) == Some(&b':') { 4 } else { 3 };
    let (minutes, length) = match two_digits(minutes_at) {
        Some(minutes) => (minutes, minutes_at + 2),
        None => (0, 3),
    };
    let offset = hours * 60 + minutes;
    (minutes < 60 && offset <= OFFSET_MINUTES_MAX).then_some((sign * offset, length))
}

/// The hour of the day of an hour of half a day, which is one from 1 to 12.
pub(crate) fn hour_of_half(hour: u32, is_afternoon: bool) -> Option<u32> {
    (1..=12).contains(&hour).then_some(hour % 12 + if is_afternoon { 12 } else { 0 })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let rest = text.as_bytes();
        Self { rest }
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// A day of the calendar in the years 1 to 9999.
    fn date(&mut self, digits_min: usize) -> Option<NaiveDate> {
        let year = self.number(4, 4).filter(|year| *year > 0)?;
        self.take(b'-')?;
        let month = self.number(digits_min, 2)?;
        self.take(b'-')?;
        let day = self.number(digits_min, 2)?;
        NaiveDate::from_ymd_opt(year as i32, month, day)
    }

    /// A day, and a time of it, of which no field has fewer digits than two where it is strict.
    fn day_and_time(&mut self, is_strict: bool) -> Option<i64> {
        let digits_min = if is_strict { 2 } else { 1 };
        let date = self.date(digits_min)?;
        self.take(if is_strict { b'T' } else { b' ' })?;
        let hour = self.number(digits_min, 2).filter(|hour| *hour < 24)?;
        self.take(b':')?;
        let minute = self.number(digits_min, 2).filter(|minute| *minute < 60)?;
        self.take(b':')?;
        let second = self.number(digits_min, 2).filter(|second| *second < 60)?;
        let micros = match self.take(b'.') {
            Some(()) => self.fraction_micros()?,
            None => 0,
        };
        Some(micros_at(date, hour * 3600 + minute * 60 + second, micros, 0))
    }

    /// One to nine digits behind the point, cut to six.
    fn fraction_micros(&mut self) -> Option<u32> {
        let before = self.rest.len();
        let fraction = self.number(1, 9)?;
        let digit_count = (before - self.rest.len()) as u32;
        let nanos = fraction * 10u32.pow(9 - digit_count);
        Some(nanos / 1000)
    }

    /// Nothing, `Z`, or `+HH`, `+HHMM`, `+HH:MM` and the like with `-`, up to the end.
    fn zone_seconds(&mut self) -> Option<i64> {
        if let [] | [b'Z'] = self.rest {
            return Some(0);
        }
        let (minutes, length) = offset_minutes(self.rest)?;
        (length == self.rest.len()).then_some(minutes * 60)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        (*first == wanted).then(|| self.rest = rest)
    }

    /// A number of `digits_min` to `digits_max` digits; no digit may follow.
    fn number(&mut self, digits_min: usize, digits_max: usize) -> Option<u32> {
        let mut length = 0;
        let mut number = 0;
        while let Some(digit) = self.rest.get(length).filter(|byte| byte.is_ascii_digit()) {
            if length == digits_max {
                return None;
            }
            number = number * 10 + u32::from(digit - b'0');
            length += 1;
        }
        self.rest = &self.rest[length..];
        (length >= digits_min).then_some(number)
    }
}
