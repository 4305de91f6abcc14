//! Times in texts of a stated form: letters of Java's `DateTimeFormatter`, for reading.
//!
//! Owns which letters are read and how. Does not own what is printed: that is `pattern`.
//!
//! A letter that stands once takes as many digits as there are, up to those of its field; letters
//! that stand together take as many digits as they are. A text without a zone is UTC.
//!
//! The patterns of Hive's columns are Joda's and read in `convert::joda`. The letters look alike, but what
//! they take does not: there `dd` takes one digit, too, `MMM` a long name, `SSS` one to three digits,
//! a day of the week must be that of the date, and `yy` is refused. What the two agree on stands in
//! `time`.

use chrono::NaiveDate;

use super::super::pattern::quoted;
use crate::record::UnixMillis;
use crate::time::{MONTHS, WEEKDAYS, hour_of_half, offset_minutes};

const NANO_DIGITS: u32 = 9;

/// The form of a time in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPattern(Vec<Part>);

/// Why a text is not the form of a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextPatternError {
    /// Letters that this version does not read.
    #[error(
        "'{0}' is not among the letters that are read: yyyy, MM (or MMM, MMMM for English names), dd, \
         HH (or hh with a), mm, ss, S, EEE, EEEE, X, Z, z; put other text in single quotes"
    )]
    Letters(String),
    /// A quote without its end.
    #[error("a single quote has no end: close it, or write '' for the quote itself")]
    Quote,
    /// No day.
    #[error("it gives no day: write at least yyyy, MM and dd")]
    NoDay,
    /// Half of a twelve-hour clock.
    #[error("hh and a belong together: write both, or HH")]
    HalfDay,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// How many digits at least and at most.
    Number(Unit, usize, usize),
    /// The digits behind the second.
    Fraction(usize),
    MonthName {
        is_short: bool,
    },
    DayName {
        is_short: bool,
    },
    HalfOfDay,
    Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Year,
    /// Of the years from 2000 on.
    ShortYear,
    Month,
    Day,
    Hour,
    HourOfHalf,
    Minute,
    Second,
}

impl TextPattern {
    /// Reads the form.
    ///
    /// # Errors
    /// When a letter is not known, or the letters give no day; says what to write.
    pub fn parse(text: &str) -> Result<Self, TextPatternError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = if first.is_ascii_alphabetic() {
                let length = rest.find(|c| c != first).unwrap_or(rest.len());
                parts.push(part(&rest[..length], first)?);
                length
            } else if first == '\'' {
                let (literal, length) = quoted(rest).ok_or(TextPatternError::Quote)?;
                parts.push(Part::Literal(literal));
                length
            } else {
                parts.push(Part::Literal(first.to_string()));
                first.len_utf8()
            };
            rest = &rest[length..];
        }
        let has = |wanted: &[Unit]| {
            parts.iter().any(|part| matches!(part, Part::Number(unit, ..) if wanted.contains(unit)))
        };
        let names_month = parts.iter().any(|part| matches!(part, Part::MonthName { .. }));
        let has_month = names_month || has(&[Unit::Month]);
        if !has(&[Unit::Year, Unit::ShortYear]) || !has_month || !has(&[Unit::Day]) {
            return Err(TextPatternError::NoDay);
        }
        if has(&[Unit::HourOfHalf]) != parts.contains(&Part::HalfOfDay) {
            return Err(TextPatternError::HalfDay);
        }
        Ok(Self(parts))
    }

    /// The instant that a text of this form names; `None` for any other text.
    pub(super) fn read(&self, text: &str) -> Option<UnixMillis> {
        let mut time = Time::default();
        let mut rest = text;
        for part in &self.0 {
            rest = time.take(part, rest)?;
        }
        if rest.is_empty() { time.instant() } else { None }
    }
}

fn part(letters: &str, letter: char) -> Result<Part, TextPatternError> {
    let count = letters.len();
    let number = |unit| match count {
        1 => Ok(Part::Number(unit, 1, 2)),
        2 => Ok(Part::Number(unit, 2, 2)),
        _ => Err(()),
    };
    let part = match (letter, count) {
        ('y' | 'u', 1) => Ok(Part::Number(Unit::Year, 1, 4)),
        ('y' | 'u', 2) => Ok(Part::Number(Unit::ShortYear, 2, 2)),
        ('y' | 'u', 4) => Ok(Part::Number(Unit::Year, 4, 4)),
        ('M' | 'L', 3) => Ok(Part::MonthName { is_short: true }),
        ('M' | 'L', 4) => Ok(Part::MonthName { is_short: false }),
        ('E', 1..=3) => Ok(Part::DayName { is_short: true }),
        ('E', 4) => Ok(Part::DayName { is_short: false }),
        ('a', 1) => Ok(Part::HalfOfDay),
        ('S', 1..=9) => Ok(Part::Fraction(count)),
        ('X' | 'x' | 'Z', 1..=5) | ('z', 1..=3) => Ok(Part::Zone),
        ('M' | 'L', _) => number(Unit::Month),
        ('d', _) => number(Unit::Day),
        ('H', _) => number(Unit::Hour),
        ('h', _) => number(Unit::HourOfHalf),
        ('m', _) => number(Unit::Minute),
        ('s', _) => number(Unit::Second),
        _ => Err(()),
    };
    part.map_err(|()| TextPatternError::Letters(letters.chars().take(20).collect()))
}

/// What has been read of a time.
#[derive(Debug)]
struct Time {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    is_afternoon: Option<bool>,
    offset_minutes: i64,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            year: 1970,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            is_afternoon: None,
            offset_minutes: 0,
        }
    }
}

impl Time {
    /// Takes a part from the front of `text`; gives what follows it.
    fn take<'a>(&mut self, part: &Part, text: &'a str) -> Option<&'a str> {
        match part {
            Part::Literal(literal) => text.strip_prefix(literal.as_str()),
            Part::Number(unit, min, max) => {
                let (number, rest) = digits(text, *min, *max)?;
                self.set(*unit, number);
                Some(rest)
            }
            Part::Fraction(count) => {
                let (number, rest) = digits(text, *count, *count)?;
                self.nanos = number * 10u32.pow(NANO_DIGITS - *count as u32);
                Some(rest)
            }
            Part::MonthName { is_short } => {
                let (index, rest) = name(text, &MONTHS, *is_short)?;
                self.month = index as u32 + 1;
                Some(rest)
            }
            // It says nothing that the date does not say.
            Part::DayName { is_short } => name(text, &WEEKDAYS, *is_short).map(|(_, rest)| rest),
            Part::HalfOfDay => {
                let (half, rest) = text.split_at_checked(2)?;
                let is = |word: &str| half.eq_ignore_ascii_case(word);
                self.is_afternoon = Some(is("pm"));
                (is("am") || is("pm")).then_some(rest)
            }
            Part::Zone => self.take_zone(text),
        }
    }

    fn set(&mut self, unit: Unit, number: u32) {
        match unit {
            Unit::Year => self.year = number,
            Unit::ShortYear => self.year = 2000 + number,
            Unit::Month => self.month = number,
            Unit::Day => self.day = number,
            Unit::Hour | Unit::HourOfHalf => self.hour = number,
            Unit::Minute => self.minute = number,
            Unit::Second => self.second = number,
        }
    }

    /// `Z`, `UTC`, `GMT`, or `+HH`, `+HHMM`, `+HH:MM` and the like with `-`.
    fn take_zone<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        for name in ["Z", "UTC", "GMT"] {
            if let Some(rest) = text.strip_prefix(name) {
                return Some(rest);
            }
        }
        let (minutes, length) = offset_minutes(text.as_bytes())?;
        self.offset_minutes = minutes;
        Some(&text[length..])
    }

    fn instant(&self) -> Option<UnixMillis> {
        let hour = match self.is_afternoon {
            None => self.hour,
            Some(is_afternoon) => hour_of_half(self.hour, is_afternoon)?,
        };
        let date = NaiveDate::from_ymd_opt(self.year as i32, self.month, self.day)?;
        let time = date.and_hms_nano_opt(hour, self.minute, self.second, self.nanos)?;
        let millis = time.and_utc().timestamp_millis();
        Some(UnixMillis(millis - self.offset_minutes * 60_000))
    }
}

/// A number of `min` to `max` digits, and what follows it.
fn digits(text: &str, min: usize, max: usize) -> Option<(u32, &str)> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let count = text.bytes().take(max).take_while(|byte| is_digit(byte)).count();
    let number = text[..count].parse().ok().filter(|_| count >= min)?;
    Some((number, &text[count..]))
}

/// One of `names` or its first three letters, in any case, and what follows it.
fn name<'a>(text: &'a str, names: &[&str], is_short: bool) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if is_short { &name[..3] } else { name };
        let (front, rest) = text.split_at_checked(name.len())?;
        front.eq_ignore_ascii_case(name).then_some((index, rest))
    })
}
