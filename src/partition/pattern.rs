//! The time patterns of `!{timestamp:...}`: letters of Java's `DateTimeFormatter`, in UTC.
//!
//! Owns how a pattern is read and how its fields are printed, which is as JDK 17 does it. Does not
//! own where patterns stand or which instant they print.
//!
//! Invariant: a field prints as digits, with a leading `+` for a year of more digits than letters;
//! so no field can add a path segment.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::record::UnixMillis;

/// The most letters that a year may have; Java's bound on the width of a number.
const YEAR_LETTERS_MAX: usize = 19;

/// What stands between the quotes and fields of a pattern, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text as it is.
    Literal(String),
    /// A number from the instant.
    Field(Field),
}

/// One field of a pattern: a letter, repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    unit: Unit,
    letter_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// Why a text is not a time pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The pattern is empty.
    #[error("the time pattern is empty: write for example !{{timestamp:yyyy}}")]
    Empty,
    /// A letter that this version does not print.
    #[error(
        "'{letter}' is not among the letters that a time pattern may have: y (year), M (month), \
         d (day), H (hour), m (minute), s (second); put other text in single quotes"
    )]
    Letter {
        /// The letter.
        letter: char,
    },
    /// A letter that stands too often in a row.
    #[error("'{letters}' has too many letters: write {instead}")]
    TooMany {
        /// The letters.
        letters: String,
        /// What to write instead.
        instead: &'static str,
    },
    /// A character with a meaning of its own in Java.
    #[error("'{character}' has no meaning in a time pattern: put it in single quotes or remove it")]
    Reserved {
        /// The character.
        character: char,
    },
    /// A quote without its end.
    #[error("a single quote has no end: close it, or write '' for the quote itself")]
    Quote,
}

/// Reads a pattern.
pub(super) fn parse(text: &str) -> Result<Vec<Part>, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let used = if first.is_ascii_alphabetic() {
            let length = rest.find(|c| c != first).unwrap_or(rest.len());
            parts.push(Part::Field(field(&rest[..length], first)?));
            length
        } else if first == '\'' {
            let (literal, length) = quoted(rest)?;
            push_literal(&mut parts, &literal);
            length
        } else if matches!(first, '[' | ']' | '{' | '}' | '#') {
            return Err(PatternError::Reserved { character: first });
        } else {
            push_literal(&mut parts, &rest[..first.len_utf8()]);
            first.len_utf8()
        };
        rest = &rest[used..];
    }
    Ok(parts)
}

fn field(letters: &str, letter: char) -> Result<Field, PatternError> {
    let (unit, count_max, instead) = match letter {
        'y' => (Unit::Year, YEAR_LETTERS_MAX, "yyyy"),
        'M' => (Unit::Month, 2, "MM; names of months are not supported"),
        'd' => (Unit::Day, 2, "dd"),
        'H' => (Unit::Hour, 2, "HH"),
        'm' => (Unit::Minute, 2, "mm"),
        's' => (Unit::Second, 2, "ss"),
        _ => return Err(PatternError::Letter { letter }),
    };
    if letters.len() > count_max {
        // Foreign text is repeated only so far as it helps.
        let letters = letters[..letters.len().min(YEAR_LETTERS_MAX + 1)].to_owned();
        return Err(PatternError::TooMany { letters, instead });
    }
    Ok(Field { unit, letter_count: letters.len() })
}

/// Reads quoted text at the start of `text`; returns it and the number of bytes it took.
fn quoted(text: &str) -> Result<(String, usize), PatternError> {
    let mut literal = String::new();
    let mut at = 1;
    loop {
        let length = text[at..].find('\'').ok_or(PatternError::Quote)?;
        literal.push_str(&text[at..at + length]);
        at += length + 1;
        if !text[at..].starts_with('\'') {
            break;
        }
        literal.push('\'');
        at += 1;
    }
    // Two quotes and nothing between them are the quote itself.
    if at == 2 {
        literal.push('\'');
    }
    Ok((literal, at))
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if let Some(Part::Literal(last)) = parts.last_mut() {
        last.push_str(text);
    } else {
        parts.push(Part::Literal(text.to_owned()));
    }
}

/// The UTC calendar at an instant; instants beyond the calendar's range become its ends.
pub(super) fn civil(instant: UnixMillis) -> DateTime<Utc> {
    let end = if instant.0 < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_millis(instant.0).unwrap_or(end)
}

impl Field {
    /// The letter of the pattern, and how often it stands there.
    pub(super) fn letters(self) -> (char, usize) {
        let letter = match self.unit {
            Unit::Year => 'y',
            Unit::Month => 'M',
            Unit::Day => 'd',
            Unit::Hour => 'H',
            Unit::Minute => 'm',
            Unit::Second => 's',
        };
        (letter, self.letter_count)
    }

    /// Prints the field of `time`.
    pub(super) fn print(self, time: &DateTime<Utc>, into: &mut String) {
        let width = self.letter_count;
        let number = match self.unit {
            Unit::Year => return print_year(time, width, into),
            Unit::Month => time.month(),
            Unit::Day => time.day(),
            Unit::Hour => time.hour(),
            Unit::Minute => time.minute(),
            Unit::Second => time.second(),
        };
        write!(into, "{number:0width$}").expect("a String takes every write");
    }
}

fn print_year(time: &DateTime<Utc>, width: usize, into: &mut String) {
    let (_, year) = time.year_ce();
    let printed = match width {
        2 => write!(into, "{:02}", year % 100),
        // Java marks a year that is wider than its letters, from four letters on.
        4.. if year.to_string().len() > width => write!(into, "+{year}"),
        _ => write!(into, "{year:0width$}"),
    };
    printed.expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(pattern: &str, instant: i64) -> String {
        let time = civil(UnixMillis(instant));
        let mut printed = String::new();
        for part in parse(pattern).expect(pattern) {
            match part {
                Part::Literal(text) => printed.push_str(&text),
                Part::Field(field) => field.print(&time, &mut printed),
            }
        }
        printed
    }

    #[test]
    fn fields_print_as_java_does() {
        // 2018-08-07T09:03:05.999Z
        let instant = 1_533_632_585_999;
        for (pattern, printed) in [
            ("yyyy", "2018"),
            ("yyy", "2018"),
            ("yy", "18"),
            ("y", "2018"),
            ("yyyyy", "02018"),
            ("yyyyyyyyyyyyyyyyyyy", "0000000000000002018"),
            ("M/MM", "8/08"),
            ("d/dd", "7/07"),
            ("H/HH", "9/09"),
            ("m/mm", "3/03"),
            ("s/ss", "5/05"),
            ("yyyy/MM/dd/HH/", "2018/08/07/09/"),
            ("yyyyMMdd", "20180807"),
            ("'year='yyyy'/month='MM", "year=2018/month=08"),
            ("''yyyy", "'2018"),
            ("'o''clock'", "o'clock"),
            ("''''", "'"),
            ("yyyy-MM-dd'T'HH:mm:ss", "2018-08-07T09:03:05"),
            ("é~yy", "é~18"),
        ] {
            assert_eq!(print(pattern, instant), printed, "{pattern}");
        }
    }

    #[test]
    fn odd_years_print_as_java_does() {
        let year_10_000 = 253_402_300_800_000;
        assert_eq!(print("yyyy", year_10_000), "+10000");
        assert_eq!(print("yyyyy", year_10_000), "10000");
        assert_eq!(print("yyy", year_10_000), "10000");
        assert_eq!(print("yy", year_10_000), "00");
        // 0000-12-31 is in the year 1 before the common era.
        assert_eq!(print("yyyy-MM-dd", -62_135_596_800_001), "0001-12-31");
        assert_eq!(print("MM", i64::MIN), "01");
        assert_eq!(print("MM", i64::MAX), "12");
    }

    #[test]
    fn errors_name_what_is_allowed() {
        for (pattern, part) in [
            ("", "empty"),
            ("YYYY", "y (year)"),
            ("yyyy/'W'ww", "'w' is not"),
            ("MMM", "write MM;"),
            ("ddd", "write dd"),
            ("yyyyyyyyyyyyyyyyyyyy", "write yyyy"),
            ("[yyyy]", "'[' has no meaning"),
            ("yyyy#", "'#' has no meaning"),
            ("ppd", "'p' is not"),
            ("'year=yyyy", "no end"),
            ("yyyy'", "no end"),
            ("'''", "no end"),
        ] {
            let error = parse(pattern).expect_err(pattern).to_string();
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn foreign_patterns_and_instants_never_panic(text in "[yMdHms'/é{\\PC]{0,12}", at: i64) {
            if let Ok(parts) = parse(&text) {
                let time = civil(UnixMillis(at));
                let mut printed = String::new();
                for part in parts {
                    if let Part::Field(field) = part {
                        field.print(&time, &mut printed);
                    }
                }
                prop_assert!(printed.chars().all(|c| c.is_ascii_digit() || c == '+'));
            }
        }
    }
}
