//! How the fields of a time pattern print.
//!
//! Owns the numbers, words and offsets of a moment in the form that Java gives them. Which letters
//! ask for what is said by `pattern`. Weeks are those of the US: they begin on Sunday, and the first
//! one has January 1st.

use std::fmt::Write as _;

use chrono::{Datelike as _, NaiveDate, Timelike as _};

use super::Field;
use super::names::{self, Form, Words};
use super::zone::{Moment, Zone, ZoneName};
use crate::record::UnixMillis;

const SECONDS_OF_HOUR: i64 = 3_600;
/// 2027-12-31T00:59:59Z, and hours enough for all days of the leap year behind it in all zones.
const WIDEST_FROM: i64 = 1_830_214_799;
const WIDEST_HOURS: i64 = 368 * 24;
/// The day that modified Julian days are counted from, in days of the common era.
const JULIAN_DAY_0: i64 = 678_576;

/// What a field prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A number of at least so many digits.
    Number(Unit, usize),
    /// A year of at least so many digits; its last two for two.
    Year(Year, usize),
    /// So many digits of a second's fraction, which is zero.
    Fraction(usize),
    Word(Words, Form),
    /// The name of the zone as it was given.
    ZoneId,
    ZoneName(ZoneName),
    /// The distance from Greenwich, such as `GMT-4` or `GMT-04:00`.
    FromGmt {
        is_long: bool,
    },
    Offset(Offset),
}

/// What numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Quarter,
    Month,
    DayOfYear,
    Day,
    ModifiedJulianDay,
    /// 1 to 7, from the first of each month on.
    DayOfAlignedWeek,
    WeekOfYear,
    WeekOfMonth,
    /// 1 is Sunday.
    DayOfWeek,
    Hour,
    /// 1 to 24.
    HourFrom1,
    /// 0 to 11.
    HourOfHalf,
    /// 1 to 12.
    HourOfHalfFrom1,
    Minute,
    Second,
    MilliOfDay,
    /// Always zero.
    NanoOfSecond,
    NanoOfDay,
}

/// How years are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Year {
    /// From 1, before and after the common era.
    OfEra,
    /// With 0 and negative ones.
    Signed,
    /// The year that the week belongs to.
    OfWeeks,
}

/// How an offset from UTC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    /// Whether minutes stand there also when they are zero.
    has_minutes: bool,
    /// Whether seconds stand there when they are not zero.
    has_seconds: bool,
    has_colons: bool,
    /// What stands for no offset.
    zero: &'static str,
}

impl Offset {
    /// The form that one to five letters ask for.
    pub(super) fn of(count: usize, zero: &'static str) -> Self {
        Self {
            has_minutes: count >= 2,
            has_seconds: count >= 4,
            has_colons: matches!(count, 3 | 5),
            zero,
        }
    }

    fn print(self, offset_seconds: i32, into: &mut String) {
        let (hours, minutes, seconds) = clock(offset_seconds);
        let has_minutes = self.has_minutes || minutes > 0;
        let has_seconds = self.has_seconds && seconds > 0;
        if hours == 0 && minutes == 0 && !has_seconds {
            return into.push_str(self.zero);
        }
        let colon = if self.has_colons { ":" } else { "" };
        into.push(sign(offset_seconds));
        write_to(into, format_args!("{hours:02}"));
        if has_minutes {
            write_to(into, format_args!("{colon}{minutes:02}"));
        }
        if has_seconds {
            write_to(into, format_args!("{colon}{seconds:02}"));
        }
    }
}

impl Unit {
    fn of(self, moment: &Moment) -> i64 {
        let (date, time) = (moment.local.date(), moment.local.time());
        let second_of_day = i64::from(time.num_seconds_from_midnight());
        i64::from(match self {
            Self::Quarter => date.quarter(),
            Self::Month => date.month(),
            Self::DayOfYear => date.ordinal(),
            Self::Day => date.day(),
            Self::DayOfAlignedWeek => date.day0() % 7 + 1,
            Self::WeekOfYear => week_of_year(date).1,
            Self::WeekOfMonth => week(date.day0(), date),
            Self::DayOfWeek => date.weekday().num_days_from_sunday() + 1,
            Self::Hour => time.hour(),
            Self::HourFrom1 => (time.hour() + 23) % 24 + 1,
            Self::HourOfHalf => time.hour() % 12,
            Self::HourOfHalfFrom1 => time.hour12().1,
            Self::Minute => time.minute(),
            Self::Second => time.second(),
            Self::NanoOfSecond => 0,
            Self::ModifiedJulianDay => {
                return i64::from(date.num_days_from_ce()) - JULIAN_DAY_0;
            }
            Self::MilliOfDay => return second_of_day * 1_000,
            Self::NanoOfDay => return second_of_day * 1_000_000_000,
        })
    }
}

impl Content {
    /// Whether Java takes it for a number, that may have to be told from one beside it.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Number(..) | Self::Year(..) | Self::Fraction(_))
    }

    fn print(self, moment: &Moment, into: &mut String) {
        match self {
            Self::Number(unit, digits) => {
                let number = unit.of(moment);
                let sign = if number < 0 { "-" } else { "" };
                let number = number.unsigned_abs();
                write_to(into, format_args!("{sign}{number:0digits$}"));
            }
            Self::Year(year, digits) => print_year(year.of(moment.local.date()), digits, into),
            Self::Fraction(digits) => into.extend(std::iter::repeat_n('0', digits)),
            Self::Word(words, form) => {
                into.push_str(names::word(words, index(words, moment), form));
            }
            Self::ZoneId => into.push_str(moment.zone.id()),
            Self::ZoneName(which) => match moment.zone_name(which) {
                Some(name) => into.push_str(name),
                None => print_from_gmt(moment.offset_seconds, true, into),
            },
            Self::FromGmt { is_long } => print_from_gmt(moment.offset_seconds, is_long, into),
            Self::Offset(offset) => offset.print(moment.offset_seconds, into),
        }
    }
}

impl Year {
    fn of(self, date: NaiveDate) -> i64 {
        match self {
            Self::OfEra => i64::from(date.year_ce().1),
            Self::Signed => i64::from(date.year()),
            Self::OfWeeks => week_of_year(date).0,
        }
    }
}

impl Field {
    /// Prints the field of a moment.
    pub(in crate::partition) fn print(self, moment: &Moment, into: &mut String) {
        if self.width == 0 {
            return self.content.print(moment, into);
        }
        let mut text = String::new();
        self.content.print(moment, &mut text);
        write_to(into, format_args!("{text:>0$}", self.width));
    }

    /// The most characters that it has, in years of four digits: every hour of a year is looked at.
    pub(super) fn chars_max(self, zone: &Zone) -> usize {
        let moments = (0..WIDEST_HOURS)
            .map(|hour| zone.at(UnixMillis((WIDEST_FROM + hour * SECONDS_OF_HOUR) * 1_000)));
        let lengths = moments.map(|moment| {
            let mut text = String::new();
            self.content.print(&moment, &mut text);
            text.chars().count()
        });
        lengths.max().unwrap_or_default()
    }
}

fn index(words: Words, moment: &Moment) -> usize {
    let (date, time) = (moment.local.date(), moment.local.time());
    match words {
        Words::Era => usize::from(date.year_ce().0),
        Words::Quarter => date.quarter() as usize - 1,
        Words::Month => date.month0() as usize,
        Words::DayOfWeek => date.weekday().num_days_from_sunday() as usize,
        Words::HalfDay => usize::from(time.hour() >= 12),
        Words::DayPeriod => names::day_period(time.hour(), time.minute()),
    }
}

/// The week of a date, from 1, when `day0` days are before it in the year or month; the first one is
/// that of the first day.
fn week(day0: u32, date: NaiveDate) -> u32 {
    (day0 + 6 - date.weekday().num_days_from_sunday()) / 7 + 1
}

/// The year that the week of a date belongs to, and its number there: the last days of a year can be
/// in the first week of the next.
fn week_of_year(date: NaiveDate) -> (i64, u32) {
    let year = i64::from(date.year());
    let days = if date.leap_year() { 366 } else { 365 };
    let until_saturday = 6 - date.weekday().num_days_from_sunday();
    if date.ordinal() + until_saturday > days {
        return (year + 1, 1);
    }
    (year, week(date.ordinal0(), date))
}

fn print_year(year: i64, digits: usize, into: &mut String) {
    let size = year.unsigned_abs();
    if digits == 2 {
        return write_to(into, format_args!("{:02}", size % 100));
    }
    if year < 0 {
        into.push('-');
    } else if digits >= 4 && size.to_string().len() > digits {
        // Java marks a year that is wider than its letters, from four letters on.
        into.push('+');
    }
    write_to(into, format_args!("{size:0digits$}"));
}

fn print_from_gmt(offset_seconds: i32, is_long: bool, into: &mut String) {
    into.push_str("GMT");
    if offset_seconds == 0 {
        return;
    }
    let (hours, minutes, seconds) = clock(offset_seconds);
    into.push(sign(offset_seconds));
    if is_long {
        write_to(into, format_args!("{hours:02}"));
    } else {
        write_to(into, format_args!("{hours}"));
    }
    if is_long || minutes > 0 || seconds > 0 {
        write_to(into, format_args!(":{minutes:02}"));
    }
    if seconds > 0 {
        write_to(into, format_args!(":{seconds:02}"));
    }
}

/// Hours, minutes and seconds of an offset, without its sign.
fn clock(offset_seconds: i32) -> (u32, u32, u32) {
    let seconds = offset_seconds.unsigned_abs();
    (seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn sign(offset_seconds: i32) -> char {
    if offset_seconds < 0 { '-' } else { '+' }
}

fn write_to(into: &mut String, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("a String takes every write");
}
