//! Texts as times, as C's `strptime` reads them where the language is none.

use super::{Parts, days};
use crate::time::{MONTHS, WEEKDAYS};

/// What stands in a part that nothing was read of, in jq.
const NO_WEEKDAY: i64 = 8;
const NO_YEAR_DAY: i64 = 367;
/// How deep formats stand in formats: `%c` in none.
const NESTING_MAX: usize = 3;

/// Reads a time by a format; tells what is left of the text, which whitespace begins.
pub(super) fn parse<'a>(text: &'a str, format: &str) -> Option<(Parts, &'a str)> {
    let parts = Parts { weekday: NO_WEEKDAY, year_day: NO_YEAR_DAY, ..Parts::default() };
    let mut reader = Reader { rest: text, parts, ..Reader::default() };
    // C's texts end with a zero byte, and its years begin in 1900.
    reader.parts.year = 0;
    reader.formatted(format, 0)?;
    reader.finish();
    let is_ended = reader.rest.is_empty() || reader.rest.starts_with(is_space);
    is_ended.then_some((reader.parts, reader.rest))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[derive(Default)]
struct Reader<'a> {
    rest: &'a str,
    parts: Parts,
    century: Option<i64>,
    has_year_of_century: bool,
    is_twelve: bool,
    is_afternoon: bool,
    wants_day: bool,
    has_weekday: bool,
    has_year_day: bool,
    has_month: bool,
    has_day: bool,
    /// The week and whether weeks begin on Sunday.
    week: Option<(i64, bool)>,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(is_space);
    }

    fn formatted(&mut self, format: &str, nesting: usize) -> Option<()> {
        let mut format = format.chars();
        while let Some(c) = format.next() {
            if is_space(c) {
                self.skip_space();
                continue;
            }
            if c != '%' {
                self.rest = self.rest.strip_prefix(c)?;
                continue;
            }
            let mut kind = format.next()?;
            while matches!(kind, '-' | '_' | '0' | '^' | '#') {
                kind = format.next()?;
            }
            if matches!(kind, 'E' | 'O') {
                kind = format.next()?;
            }
            self.field(kind, nesting)?;
        }
        Some(())
    }

    fn field(&mut self, kind: char, nesting: usize) -> Option<()> {
        let inner = match kind {
            'c' => "%a %b %e %H:%M:%S %Y",
            'D' | 'x' => "%m/%d/%y",
            'F' => "%Y-%m-%d",
            'r' => "%I:%M:%S %p",
            'R' => "%H:%M",
            'T' | 'X' => "%H:%M:%S",
            _ => "",
        };
        if !inner.is_empty() {
            return if nesting < NESTING_MAX { self.formatted(inner, nesting + 1) } else { None };
        }
        match kind {
            '%' => self.rest = self.rest.strip_prefix('%')?,
            'n' | 't' => self.skip_space(),
            'a' | 'A' => {
                self.parts.weekday = self.name(&WEEKDAYS)?;
                self.has_weekday = true;
            }
            'b' | 'B' | 'h' => {
                self.parts.month = self.name(&MONTHS)?;
                (self.has_month, self.wants_day) = (true, true);
            }
            'C' => {
                self.century = Some(self.number(0, 99, 2)?);
                self.wants_day = true;
            }
            'd' | 'e' => {
                self.parts.day = self.number(1, 31, 2)?;
                (self.has_day, self.wants_day) = (true, true);
            }
            'H' | 'k' => {
                self.parts.hour = self.number(0, 23, 2)?;
                self.is_twelve = false;
            }
            'I' | 'l' => {
                self.parts.hour = self.number(1, 12, 2)? % 12;
                self.is_twelve = true;
            }
            'j' => {
                self.parts.year_day = self.number(1, 366, 3)? - 1;
                self.has_year_day = true;
            }
            'm' => {
                self.parts.month = self.number(1, 12, 2)? - 1;
                (self.has_month, self.wants_day) = (true, true);
            }
            'M' => self.parts.minute = self.number(0, 59, 2)?,
            'p' => {
                let half = self.name(&["AM", "PM"])?;
                self.is_afternoon = half == 1;
            }
            's' => {
                let seconds = self.number(0, i64::MAX / 100, 18)?;
                self.parts = Parts::of_seconds(seconds);
            }
            'S' => self.parts.second = self.number(0, 61, 2)?,
            'u' => {
                self.parts.weekday = self.number(1, 7, 1)? % 7;
                self.has_weekday = true;
            }
            'w' => {
                self.parts.weekday = self.number(0, 6, 1)?;
                self.has_weekday = true;
            }
            'U' | 'W' => self.week = Some((self.number(0, 53, 2)?, kind == 'U')),
            'V' => _ = self.number(0, 53, 2)?,
            'g' => _ = self.number(0, 99, 2)?,
            'G' => {
                let digits = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
                self.rest = if digits.len() < self.rest.len() { digits } else { return None };
            }
            'y' => {
                let year = self.number(0, 99, 2)?;
                self.parts.year = if year >= 69 { year } else { year + 100 };
                (self.has_year_of_century, self.wants_day) = (true, true);
            }
            'Y' => {
                self.parts.year = self.number(0, 9999, 4)? - 1900;
                (self.has_year_of_century, self.wants_day) = (false, true);
                self.century = None;
            }
            'Z' => {
                self.skip_space();
                self.rest = self.rest.trim_start_matches(|c: char| !is_space(c));
            }
            'z' => self.zone()?,
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self, from: i64, to: i64, digits: usize) -> Option<i64> {
        self.skip_space();
        let mut value = 0;
        let mut count = 0;
        for byte in self.rest.bytes().take(digits).take_while(u8::is_ascii_digit) {
            if count > 0 && value * 10 > to {
                break;
            }
            value = value * 10 + i64::from(byte - b'0');
            count += 1;
        }
        self.rest = &self.rest[count..];
        (count > 0 && (from..=to).contains(&value)).then_some(value)
    }

    /// The number of a name, which may be cut to three letters.
    fn name(&mut self, names: &[&str]) -> Option<i64> {
        for length in [usize::MAX, 3] {
            for (index, name) in names.iter().enumerate() {
                let name = name.get(..length).unwrap_or(name);
                let start = self.rest.get(..name.len());
                if start.is_some_and(|start| start.eq_ignore_ascii_case(name)) {
                    self.rest = &self.rest[name.len()..];
                    return i64::try_from(index).ok();
                }
            }
        }
        None
    }

    /// An offset, which is read and changes nothing.
    fn zone(&mut self) -> Option<()> {
        self.skip_space();
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Some(());
        }
        self.rest = self.rest.strip_prefix(['+', '-'])?;
        let (mut digits, mut value) = (0, 0);
        while digits < 4 {
            let Some(byte) = self.rest.bytes().next().filter(u8::is_ascii_digit) else { break };
            value = value * 10 + i64::from(byte - b'0');
            digits += 1;
            self.rest = &self.rest[1..];
            if digits == 2 && self.rest.starts_with(':') {
                self.rest = &self.rest[1..];
            }
        }
        let value = match digits {
            2 => value * 100,
            4 => value,
            _ => return None,
        };
        (value % 100 < 60 && value <= 1400).then_some(())
    }

    fn finish(&mut self) {
        let parts = &mut self.parts;
        if self.is_twelve && self.is_afternoon {
            parts.hour += 12;
        }
        if let Some(century) = self.century {
            let year = if self.has_year_of_century { parts.year.rem_euclid(100) } else { 0 };
            parts.year = year + (century - 19) * 100;
        }
        let year = parts.year + 1900;
        let year_start = days(year, 0, 1);
        if self.wants_day && !self.has_weekday {
            if !(self.has_month && self.has_day) && self.has_year_day {
                let day = Parts::of_seconds((year_start + parts.year_day) * 86_400);
                if !self.has_month {
                    parts.month = day.month;
                }
                if !self.has_day {
                    parts.day = day.day;
                }
                (self.has_month, self.has_day) = (true, true);
            }
            parts.weekday = (days(year, parts.month, parts.day) + 4).rem_euclid(7);
        }
        if self.wants_day && !self.has_year_day {
            parts.year_day = days(year, parts.month, parts.day) - year_start;
        }
        if let Some((week, is_sunday)) = self.week.filter(|_| self.has_weekday) {
            let offset = if is_sunday { 0 } else { 1 };
            let first = (year_start + 4).rem_euclid(7);
            let weekday = (parts.weekday - offset).rem_euclid(7);
            let day = (7 - (first - offset)).rem_euclid(7) + (week - 1) * 7 + weekday;
            if !self.has_year_day {
                parts.year_day = day;
            }
            if !(self.has_month && self.has_day) {
                let found = Parts::of_seconds((year_start + day) * 86_400);
                (parts.month, parts.day) = (found.month, found.day);
            }
        }
    }
}
