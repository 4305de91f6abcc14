//! Timestamps by the patterns of Joda-Time's `DateTimeFormat`, which Hive's JSON SerDe takes.
//!
//! Owns the letters that are read, and how a text is read by them, as Joda does it: a number may have
//! fewer digits than its letters, `MMM` and `EEE` are English names, long or short, in any case. A time
//! without a zone is UTC. What would need a clock (`yy`) or a table of zones (`ZZZ`, names such as
//! `CET`) is not read, and neither are letters that nobody sends. Patterns of event time are another
//! library's and read in `partition`; what the two have in common stands in `time`.

use std::fmt;

use chrono::{Datelike as _, NaiveDate};

use crate::number::{Excess, Number};
use crate::time::{MONTHS, WEEKDAYS, hour_of_half, in_range, micros_at, offset_minutes};

/// A form of timestamps: a pattern, or `millis` for milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampFormat {
    /// As it was written.
    pattern: String,
    /// None for milliseconds.
    parts: Option<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// With the most digits.
    Number(Field, usize),
    /// Of a second, with the most digits.
    Fraction(usize),
    Month,
    Weekday,
    /// `AM` or `PM`.
    Half,
    Offset,
    /// `UTC`, `UT` or `GMT`.
    Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    /// Of half a day, from 1 to 12.
    HalfHour,
    Minute,
    Second,
}

impl TimestampFormat {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        if pattern.eq_ignore_ascii_case("millis") {
            return Ok(Self { pattern: pattern.to_owned(), parts: None });
        }
        let mut tokens = tokens_of(pattern)?.into_iter().peekable();
        let mut parts = Vec::new();
        while let Some(token) = tokens.next() {
            let part = match token {
                Token::Literal(text) => Part::Literal(text),
                Token::Letters(letter, count) => {
                    let next_is_number = tokens.peek().is_some_and(Token::is_number);
                    part_of(letter, count, next_is_number)?
                }
            };
            parts.push(part);
        }
        let has = |wanted: &Part| {
            let kind = std::mem::discriminant(wanted);
            parts.iter().any(|part| std::mem::discriminant(part) == kind)
        };
        let has_number = |wanted: Field| {
            parts.iter().any(|part| matches!(part, Part::Number(field, _) if *field == wanted))
        };
        let has_month = has_number(Field::Month) || has(&Part::Month);
        if !(has_number(Field::Year) && has_month && has_number(Field::Day)) {
            return Err("a timestamp needs its day: write y, M and d".to_owned());
        }
        if has_number(Field::HalfHour) != has(&Part::Half) {
            return Err("h is an hour of half a day: write it together with a, or H".to_owned());
        }
        Ok(Self { pattern: pattern.to_owned(), parts: Some(parts) })
    }

    /// Microseconds since 1970 of a text that has this form.
    pub(super) fn micros(&self, text: &str) -> Option<i64> {
        let micros = match &self.parts {
            None => i64::try_from(Number::parse(text)?.scaled(3, Excess::Drop).ok()?).ok()?,
            Some(parts) => Time::read(parts, text)?.micros()?,
        };
        in_range(micros).ok()
    }
}

impl fmt::Display for TimestampFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

enum Token {
    Letters(char, usize),
    Literal(String),
}

impl Token {
    /// Whether Joda ends a year in front of it.
    fn is_number(&self) -> bool {
        match self {
            Self::Letters('M', count) => *count < 3,
            Self::Letters(letter, _) => "dHhmsS".contains(*letter),
            Self::Literal(_) => false,
        }
    }
}

fn tokens_of(pattern: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    let mut is_quoted = false;
    let mut literal = String::new();
    while let Some(character) = rest.next() {
        if character == '\'' {
            if rest.next_if_eq(&'\'').is_some() {
                literal.push('\'');
            } else {
                is_quoted = !is_quoted;
            }
        } else if is_quoted || !character.is_ascii_alphabetic() {
            literal.push(character);
        } else {
            if !literal.is_empty() {
                tokens.push(Token::Literal(std::mem::take(&mut literal)));
            }
            let mut count = 1;
            while rest.next_if_eq(&character).is_some() {
                count += 1;
            }
            tokens.push(Token::Letters(character, count));
        }
    }
    if is_quoted {
        return Err("a quote is not closed: write two for the character itself".to_owned());
    }
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal));
    }
    Ok(tokens)
}

fn part_of(letter: char, count: usize, next_is_number: bool) -> Result<Part, String> {
    Ok(match (letter, count) {
        ('y' | 'Y', 2) => {
            return Err("which century yy means depends on the day it is read: write yyyy".into());
        }
        ('y' | 'Y', _) => Part::Number(Field::Year, if next_is_number { count } else { 9 }),
        ('M', 1 | 2) => Part::Number(Field::Month, 2),
        ('M', _) => Part::Month,
        ('E', _) => Part::Weekday,
        ('d', _) => Part::Number(Field::Day, 2),
        ('H', _) => Part::Number(Field::Hour, 2),
        ('h', _) => Part::Number(Field::HalfHour, 2),
        ('m', _) => Part::Number(Field::Minute, 2),
        ('s', _) => Part::Number(Field::Second, 2),
        ('S', 1..=9) => Part::Fraction(count),
        ('a', _) => Part::Half,
        ('Z', 1 | 2) => Part::Offset,
        ('z', 1..=3) => Part::Zone,
        _ => {
            let letters: String = std::iter::repeat_n(letter, count).collect();
            return Err(format!(
                "'{letters}' is not read: write y, M, d, E, H, h, m, s, S (up to nine), a, Z (once or \
                 twice), z (up to three), and other letters between single quotes"
            ));
        }
    })
}

/// What a text says.
#[derive(Default)]
struct Time {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    half_hour: Option<u32>,
    is_afternoon: bool,
    minute: u32,
    second: u32,
    micros: u32,
    offset_minutes: i64,
    /// From 0 for Sunday.
    weekday: Option<u32>,
}

impl Time {
    fn read(parts: &[Part], text: &str) -> Option<Self> {
        let mut time = Self::default();
        let mut rest = text;
        for part in parts {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Part::Number(field, digits_max) => {
                    let (number, _) = take_number(&mut rest, *digits_max)?;
                    match field {
                        Field::Year => time.year = number,
                        Field::Month => time.month = number,
                        Field::Day => time.day = number,
                        Field::Hour => time.hour = number,
                        Field::HalfHour => time.half_hour = Some(number),
                        Field::Minute => time.minute = number,
                        Field::Second => time.second = number,
                    }
                }
                Part::Fraction(digits_max) => {
                    let (number, digits) = take_number(&mut rest, *digits_max)?;
                    time.micros = (u64::from(number) * 1_000_000 / 10u64.pow(digits)) as u32;
                }
                Part::Month => time.month = take_name(&mut rest, &MONTHS)? + 1,
                Part::Weekday => time.weekday = Some(take_name(&mut rest, &WEEKDAYS)?),
                Part::Half => {
                    let half = rest.get(..2)?;
                    time.is_afternoon = half.eq_ignore_ascii_case("pm");
                    if !time.is_afternoon && !half.eq_ignore_ascii_case("am") {
                        return None;
                    }
                    rest = &rest[2..];
                }
                Part::Offset => time.offset_minutes = take_offset(&mut rest)?,
                Part::Zone => {
                    let zones = ["UTC", "GMT", "UT"];
                    rest = zones.iter().find_map(|zone| rest.strip_prefix(zone))?;
                }
            }
        }
        rest.is_empty().then_some(time)
    }

    fn micros(&self) -> Option<i64> {
        let year = i32::try_from(self.year).ok().filter(|year| (1..=9999).contains(year))?;
        let date = NaiveDate::from_ymd_opt(year, self.month, self.day)?;
        let hour = match self.half_hour {
            Some(hour) => hour_of_half(hour, self.is_afternoon)?,
            None => self.hour,
        };
        let fits = hour < 24
            && self.minute < 60
            && self.second < 60
            && self.weekday.is_none_or(|day| day == date.weekday().num_days_from_sunday());
        let second = hour * 3600 + self.minute * 60 + self.second;
        fits.then(|| micros_at(date, second, self.micros, self.offset_minutes * 60))
    }
}

/// A number of one to `digits_max` digits, at most nine, and how many it has.
fn take_number(rest: &mut &str, digits_max: usize) -> Option<(u32, u32)> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let length = rest.bytes().take(digits_max.min(9)).take_while(is_digit).count();
    let (digits, behind) = rest.split_at(length);
    *rest = behind;
    Some((digits.parse().ok()?, length as u32))
}

/// Which of `names` stands there, whole or by its first three letters, from 0.
fn take_name(rest: &mut &str, names: &[&str]) -> Option<u32> {
    let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, behind) = rest.split_at(length);
    let means =
        |name: &str| word.eq_ignore_ascii_case(name) || word.eq_ignore_ascii_case(&name[..3]);
    let (index, _) = (0..).zip(names).find(|(_, name)| means(name))?;
    *rest = behind;
    Some(index)
}

/// The minutes of `Z`, `+HH`, `+HHMM` or `+HH:MM`, or with `-`.
fn take_offset(rest: &mut &str) -> Option<i64> {
    if let Some(behind) = rest.strip_prefix('Z') {
        *rest = behind;
        return Some(0);
    }
    let (minutes, length) = offset_minutes(rest.as_bytes())?;
    *rest = &rest[length..];
    Some(minutes)
}
