//! Exact arithmetic on the text of a number.
//!
//! Owns the way from a number's text to integers and decimals without rounding nobody asked for.
//! Does not own JSON's grammar: it also reads the numeric strings that producers send, which may
//! start with `+` or with zeros.

mod digits;

pub(crate) use self::digits::{leading, short_integer, short_number, word_at};

/// The digits that every i128 of as many digits can hold, and the most that Hive's decimals have.
const DIGITS_MAX: i64 = 38;

/// Exponents beyond this are all alike: no text of a record has as many digits.
const EXPONENT_MAX: i64 = 1 << 40;

/// What stops a value from becoming what its column asks for.
pub(crate) type Why = &'static str;

pub(crate) const OUT_OF_RANGE: Why = "out of range";
pub(crate) const NOT_WHOLE: Why = "not a whole number";

/// What to do with digits behind the wanted scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Refuse the number unless they are all 0.
    Refuse,
    /// Leave them out.
    Drop,
    /// Round to the nearest, halves away from zero.
    RoundHalfUp,
}

/// A number in its parts: `-12.5e3` is 12, 5 and 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    /// Takes a text apart that is all number: sign, digits, fraction, exponent, and no spaces.
    #[inline]
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (negative, unsigned) = match bytes.first()? {
            b'-' => (true, &bytes[1..]),
            b'+' => (false, &bytes[1..]),
            _ => (false, bytes),
        };
        let (whole, rest) = split_digits(unsigned)?;
        let (fraction, rest) = match rest.strip_prefix(b".") {
            Some(rest) => split_digits(rest)?,
            None => (&rest[..0], rest),
        };
        let exponent = match rest.first() {
            None => 0,
            Some(b'e' | b'E') => parse_exponent(&rest[1..])?,
            Some(_) => return None,
        };
        Some(Self { negative, whole, fraction, exponent })
    }

    /// The number times `10^scale` as an integer.
    ///
    /// # Errors
    /// When the result has more than 38 digits, or there is excess that is refused.
    pub(crate) fn scaled(&self, scale: u8, excess: Excess) -> Result<i128, Why> {
        let digit_count = self.whole.len() + self.fraction.len();
        let all = self.whole.iter().chain(self.fraction).map(|b| b - b'0');
        let zero_count = all.clone().take_while(|digit| *digit == 0).count();
        if zero_count == digit_count {
            return Ok(0);
        }
        let point = self.whole.len() as i64 + self.exponent + i64::from(scale);
        let kept = point - zero_count as i64;
        if kept > DIGITS_MAX {
            return Err(OUT_OF_RANGE);
        }
        let mut digits = all.skip(zero_count);
        let mut magnitude = 0u128;
        for _ in 0..kept {
            magnitude = magnitude * 10 + u128::from(digits.next().unwrap_or(0));
        }
        match excess {
            Excess::Refuse if digits.any(|digit| digit != 0) => return Err(NOT_WHOLE),
            Excess::RoundHalfUp if kept >= 0 && digits.next().is_some_and(|digit| digit >= 5) => {
                magnitude += 1;
            }
            _ => {}
        }
        let magnitude = magnitude as i128; // At most 10^38, which an i128 holds.
        Ok(if self.negative { -magnitude } else { magnitude })
    }
}

/// The value of `text` if it is a plain integer that is sure to fit: the common case, made fast.
#[inline]
pub(crate) fn parse_short_integer(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes.first()? {
        b'-' => (true, &bytes[1..]),
        _ => (false, bytes),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut magnitude = 0i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude * 10 + i64::from(byte - b'0');
    }
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, unsigned) = match bytes.first()? {
        b'-' => (true, &bytes[1..]),
        b'+' => (false, &bytes[1..]),
        _ => (false, bytes),
    };
    let (digits, rest) = split_digits(unsigned)?;
    if !rest.is_empty() {
        return None;
    }
    let magnitude =
        digits.iter().fold(0i64, |sum, byte| (sum * 10 + i64::from(byte - b'0')).min(EXPONENT_MAX));
    Some(if negative { -magnitude } else { magnitude })
}

/// Splits one or more digits from the front.
#[inline]
fn split_digits(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    (length > 0).then(|| bytes.split_at(length))
}
