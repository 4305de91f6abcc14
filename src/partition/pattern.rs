//! The time patterns of `!{timestamp:...}`: Java's `DateTimeFormatter.ofPattern(text, Locale.US)`, as
//! JDK 17 reads it, which is what Firehose was measured to do.
//!
//! Owns which patterns there are. How fields print stands in `print`, English words in `names`, time
//! zones in `zone`. Does not own where patterns stand or which instant they print.
//!
//! Invariants: a field prints at least one character, and no `/`, `=`, `%` or control character; so
//! none can add a path segment or be taken for an escape. Nothing of it is escaped, not the `:` of
//! `XXX` either: a key is byte for byte what Firehose makes, stores take it, and the value of a
//! `name=` folder reads back as the text that a catalog is told. What prints the name of a zone as it is
//! written (`VV`), with its `/`, becomes literal text when the pattern is read. Times are printed to
//! the second: fractions are zero, as Firehose's are.

mod names;
mod print;
mod zone;

pub(super) use zone::Moment;
pub use zone::Zone;

use print::{Content, Offset, Unit, Year};
use zone::ZoneName;

/// The most letters that a number may have.
const NUMBER_LETTERS_MAX: usize = 19;
/// The most letters that a fraction of a second may have.
const FRACTION_LETTERS_MAX: usize = 9;
/// No word, name of a zone or number is longer, apart from the zeros and spaces in front of it.
const WORD_BYTES_MAX: usize = 64;
/// So many letters of a faulty field are repeated.
const LETTERS_SHOWN_MAX: usize = 20;

/// What stands between the quotes and fields of a pattern, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text as it is.
    Literal(String),
    /// What depends on the instant.
    Field(Field),
}

/// One field of a pattern: a letter, repeated, perhaps padded with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    letter: char,
    count: usize,
    content: Content,
    /// The width to reach with spaces in front.
    width: usize,
}

/// Why a text is not a time pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The pattern is empty.
    #[error("the time pattern is empty: write for example !{{timestamp:yyyy}}")]
    Empty,
    /// A letter that Java does not know.
    #[error(
        "'{letter}' is no letter of time patterns: write such as y (year), M (month), d (day), H \
         (hour), m (minute), s (second), and put other text in single quotes"
    )]
    Letter {
        /// The letter.
        letter: char,
    },
    /// A letter that may not stand so often in a row.
    #[error("'{letters}' is no field of a time pattern: write {instead}")]
    Count {
        /// The letters.
        letters: String,
        /// What to write instead.
        instead: &'static str,
    },
    /// `p` without a field.
    #[error("'p' pads the field behind it, and none follows: write for example ppd, or remove it")]
    PadAlone,
    /// A padded field that can be wider than its padding.
    #[error(
        "'{letters}' is padded to {width} characters and can have {needed}: write 'p' {needed} times"
    )]
    PadNarrow {
        /// The letters of the field.
        letters: String,
        /// How often `p` stands there.
        width: usize,
        /// The most characters that it can have.
        needed: usize,
    },
    /// A padded number right before another one; `DateTimeFormatter` fails on it.
    #[error(
        "'{letters}' follows a padded number, which Java does not take: put text or '' between them"
    )]
    PadBeforeNumber {
        /// The letters of the second number.
        letters: String,
    },
    /// A character with a meaning of its own in Java.
    #[error("'{character}' has no meaning in a time pattern: put it in single quotes or remove it")]
    Reserved {
        /// The character.
        character: char,
    },
    /// `]` without `[`.
    #[error("']' ends an optional part, and none began: write '[' before it, or remove it")]
    NotOpen,
    /// A quote without its end.
    #[error("a single quote has no end: close it, or write '' for the quote itself")]
    Quote,
}

/// Reads a pattern that prints in `zone`.
///
/// What is optional in Java, between `[` and `]`, is printed when there is a time for it, so always.
pub(super) fn parse(text: &str, zone: &Zone) -> Result<Vec<Part>, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    let mut parts = Vec::new();
    let mut open = 0_usize;
    let mut after_padded_number = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut is_padded_number = false;
        let used = if first.is_ascii_alphabetic() {
            let (pad, letters) = padded(rest)?;
            let field = Field::read(letters, pad, zone)?;
            if field.content.is_number() {
                if after_padded_number && pad == 0 {
                    return Err(PatternError::PadBeforeNumber { letters: shown(letters) });
                }
                is_padded_number = pad > 0;
            }
            match field.content {
                Content::ZoneId => {
                    let id = zone.id();
                    push_literal(&mut parts, &format!("{id:>0$}", field.width));
                }
                _ => parts.push(Part::Field(field)),
            }
            pad + letters.len()
        } else if first == '\'' {
            let (literal, length) = quoted(rest).ok_or(PatternError::Quote)?;
            push_literal(&mut parts, &literal);
            length
        } else {
            match first {
                '[' => open += 1,
                ']' => open = open.checked_sub(1).ok_or(PatternError::NotOpen)?,
                '{' | '}' | '#' => return Err(PatternError::Reserved { character: first }),
                _ => push_literal(&mut parts, &rest[..first.len_utf8()]),
            }
            first.len_utf8()
        };
        after_padded_number = is_padded_number;
        rest = &rest[used..];
    }
    Ok(parts)
}

/// How often `p` stands at the start of `text`, and the letters of the field behind it.
fn padded(text: &str) -> Result<(usize, &str), PatternError> {
    let run = |text: &str| {
        let first = text.chars().next().filter(char::is_ascii_alphabetic)?;
        Some(text.find(|c| c != first).unwrap_or(text.len()))
    };
    let pad = if text.starts_with('p') { run(text).unwrap_or_default() } else { 0 };
    let letters = &text[pad..];
    let length = run(letters).ok_or(PatternError::PadAlone)?;
    Ok((pad, &letters[..length]))
}

/// Foreign text is repeated only so far as it helps.
fn shown(letters: &str) -> String {
    letters[..letters.len().min(LETTERS_SHOWN_MAX)].to_owned()
}

/// Reads quoted text at the start of `text`; returns it and the number of bytes it took; none where it
/// has no end.
pub(super) fn quoted(text: &str) -> Option<(String, usize)> {
    let mut literal = String::new();
    let mut at = 1;
    loop {
        let length = text[at..].find('\'')?;
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
    Some((literal, at))
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if let Some(Part::Literal(last)) = parts.last_mut() {
        last.push_str(text);
    } else {
        parts.push(Part::Literal(text.to_owned()));
    }
}

impl Field {
    fn read(letters: &str, width: usize, zone: &Zone) -> Result<Self, PatternError> {
        let letter = letters.chars().next().unwrap_or_default();
        let count = letters.len();
        let content = match content(letter, count) {
            Ok(content) => content.ok_or(PatternError::Letter { letter })?,
            Err(instead) => return Err(PatternError::Count { letters: shown(letters), instead }),
        };
        let field = Self { letter, count, content, width };
        if width > 0 {
            let needed = field.chars_max(zone);
            if needed > width {
                return Err(PatternError::PadNarrow { letters: shown(letters), width, needed });
            }
        }
        Ok(field)
    }

    /// The letter of the pattern and how often it stands there, where these are the digits of a date
    /// or a time and nothing else: what can be read back.
    pub(super) fn digits(self) -> Option<(char, usize)> {
        let is_plain = self.width == 0
            && match self.content {
                Content::Number(..) => matches!(self.letter, 'M' | 'd' | 'H' | 'm' | 's'),
                Content::Year(..) => self.letter == 'y',
                _ => false,
            };
        is_plain.then_some((self.letter, self.count))
    }

    /// A bound on the bytes that it prints.
    pub(super) fn bytes_max(self) -> usize {
        WORD_BYTES_MAX + self.count.max(self.width)
    }

    /// The letter of the pattern.
    pub(super) fn letter(self) -> char {
        self.letter
    }
}

/// What a letter that stands `count` times prints; `None` for a letter that has no meaning.
///
/// # Errors
/// What to write instead, when it may not stand so often.
fn content(letter: char, count: usize) -> Result<Option<Content>, &'static str> {
    let allow = |is_allowed: bool, instead: &'static str| is_allowed.then_some(()).ok_or(instead);
    let number = |unit| Content::Number(unit, count);
    let is_long = count == 4;
    let two = |unit, instead| allow(count <= 2, instead).map(|()| Content::Number(unit, count));
    let wide = |unit, instead| {
        allow(count <= NUMBER_LETTERS_MAX, instead).map(|()| Content::Number(unit, count))
    };
    let content = match letter {
        // Between ten and nineteen letters Java fails when it prints.
        'y' | 'u' | 'Y' => {
            let (year, instead) = match letter {
                'y' => (Year::OfEra, "yyyy"),
                'u' => (Year::Signed, "uuuu"),
                _ => (Year::OfWeeks, "YYYY"),
            };
            let is_long =
                count == NUMBER_LETTERS_MAX || letter == 'Y' && count > NUMBER_LETTERS_MAX;
            allow(count <= 10 || is_long, instead)?;
            Content::Year(year, count)
        }
        'G' => {
            allow(count <= 5, "G, GGGG or GGGGG")?;
            Content::Word(names::Words::Era, names::Form::of(count))
        }
        'Q' | 'q' | 'M' | 'L' => {
            let (unit, words, instead) = match letter {
                'Q' => (Unit::Quarter, names::Words::Quarter, "Q to QQQQQ"),
                'q' => (Unit::Quarter, names::Words::Quarter, "q to qqqqq"),
                'M' => (Unit::Month, names::Words::Month, "MM, or MMM to MMMMM for the name"),
                _ => (Unit::Month, names::Words::Month, "LL, or LLL to LLLLL for the name"),
            };
            allow(count <= 5, instead)?;
            if count <= 2 { number(unit) } else { Content::Word(words, names::Form::of(count)) }
        }
        'E' | 'e' | 'c' => {
            let (is_allowed, instead) = match letter {
                'E' => (true, "E, EEEE or EEEEE"),
                'e' => (true, "e or ee, or eee to eeeee for the name"),
                _ => (count != 2, "c, or ccc to ccccc for the name"),
            };
            allow(is_allowed && count <= 5, instead)?;
            if letter != 'E' && count <= 2 {
                number(Unit::DayOfWeek)
            } else {
                Content::Word(names::Words::DayOfWeek, names::Form::of(count))
            }
        }
        'D' => {
            allow(count <= 3, "DDD")?;
            number(Unit::DayOfYear)
        }
        'd' => two(Unit::Day, "dd")?,
        'g' => wide(Unit::ModifiedJulianDay, "g")?,
        'F' => {
            allow(count == 1, "F")?;
            number(Unit::DayOfAlignedWeek)
        }
        'w' => two(Unit::WeekOfYear, "ww")?,
        'W' => {
            allow(count == 1, "W")?;
            number(Unit::WeekOfMonth)
        }
        'a' => {
            allow(count == 1, "a")?;
            Content::Word(names::Words::HalfDay, names::Form::Short)
        }
        'B' => {
            allow(matches!(count, 1 | 4 | 5), "B, BBBB or BBBBB")?;
            Content::Word(names::Words::DayPeriod, names::Form::of(count))
        }
        'H' => two(Unit::Hour, "HH")?,
        'k' => two(Unit::HourFrom1, "kk")?,
        'K' => two(Unit::HourOfHalf, "KK")?,
        'h' => two(Unit::HourOfHalfFrom1, "hh")?,
        'm' => two(Unit::Minute, "mm")?,
        's' => two(Unit::Second, "ss")?,
        'S' => {
            allow(count <= FRACTION_LETTERS_MAX, "SSS")?;
            Content::Fraction(count)
        }
        'A' => wide(Unit::MilliOfDay, "A")?,
        'n' => wide(Unit::NanoOfSecond, "n")?,
        'N' => wide(Unit::NanoOfDay, "N")?,
        'V' => {
            allow(count == 2, "VV")?;
            Content::ZoneId
        }
        'z' => {
            allow(count <= 4, "z or zzzz")?;
            Content::ZoneName(ZoneName { is_generic: false, is_long })
        }
        'v' => {
            allow(count == 1 || is_long, "v or vvvv")?;
            Content::ZoneName(ZoneName { is_generic: true, is_long })
        }
        'O' => {
            allow(count == 1 || is_long, "O or OOOO")?;
            Content::FromGmt { is_long }
        }
        'Z' if is_long => Content::FromGmt { is_long },
        'Z' => {
            allow(count <= 5, "Z, ZZZZ or ZZZZZ")?;
            Content::Offset(if count < 4 { Offset::of(2, "+0000") } else { Offset::of(5, "Z") })
        }
        'X' => {
            allow(count <= 5, "X to XXXXX")?;
            Content::Offset(Offset::of(count, "Z"))
        }
        'x' => {
            allow(count <= 5, "x to xxxxx")?;
            let zero = match count {
                1 => "+00",
                2 | 4 => "+0000",
                _ => "+00:00",
            };
            Content::Offset(Offset::of(count, zero))
        }
        _ => return Ok(None),
    };
    Ok(Some(content))
}

#[cfg(test)]
mod java_tests;
#[cfg(test)]
mod tests;
