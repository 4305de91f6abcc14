//! Digits, eight at a time.
//!
//! Owns the short numbers: those of so few digits that nothing can overflow or round, which is nearly
//! all of them. What is longer or has an exponent is not read here, and what is no JSON neither.

const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const LOWS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// The powers that a `u64` holds up to the digits that [`Short`] has on one side of its point.
const POWERS: [u64; 17] = {
    let mut powers = [1; 17];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};
/// The most digits in all, which an `i64` holds.
const DIGITS_MAX: usize = 18;

/// A number of at most 18 digits, without an exponent: `-12.50` is 1250 with two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) negative: bool,
    /// All digits as one number.
    pub(crate) magnitude: u64,
    /// How many of them stand behind the point, at most 16.
    pub(crate) places: usize,
    /// The bytes of the number's text.
    pub(crate) length: usize,
}

impl Short {
    /// The nearest double, where one division finds it: both of its sides are exact.
    #[inline]
    pub(crate) fn as_double(&self) -> Option<f64> {
        if self.magnitude >= 1 << f64::MANTISSA_DIGITS {
            return None;
        }
        let value = self.magnitude as f64 / POWERS[self.places] as f64;
        Some(if self.negative { -value } else { value })
    }

    /// The nearest float, as [`as_double`](Self::as_double).
    #[inline]
    pub(crate) fn as_float(&self) -> Option<f32> {
        // The largest power of ten that a float holds exactly.
        if self.magnitude >= 1 << f32::MANTISSA_DIGITS || self.places > 10 {
            return None;
        }
        let value = self.magnitude as f32 / POWERS[self.places] as f32;
        Some(if self.negative { -value } else { value })
    }

    /// The number times `10^scale`, where that is whole and has few digits.
    #[inline]
    pub(crate) fn scaled(&self, scale: u8) -> Option<i64> {
        let zeros = usize::from(scale).checked_sub(self.places)?;
        let value = self.magnitude.checked_mul(*POWERS.get(zeros)?)?;
        let value = i64::try_from(value).ok()?;
        Some(if self.negative { -value } else { value })
    }
}

/// Digits in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    value: u64,
    length: usize,
}

/// The short whole number that begins at `at`, and the length of its text.
#[inline(always)]
pub(crate) fn short_integer(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at.wrapping_add(usize::from(negative));
    let word = word_at(bytes, start);
    let bits = digit_bits(word);
    // In most numbers the byte behind them is in the word.
    let next = word.wrapping_shr(bits) as u8;
    if bits == 0 || !ends_number(next) || bits > 8 && word as u8 == b'0' {
        let second = word_at(bytes, start.wrapping_add(8));
        let more = digit_bits(second);
        let next = second.wrapping_shr(more) as u8;
        let is_long = more != 0 && all_digits(word) && word as u8 != b'0' && ends_number(next);
        if negative || !is_long {
            return longer_integer(bytes, at);
        }
        let length = (more / 8) as usize;
        let value = value_of(word, 0) * POWERS[length] + value_of(second, more);
        return Some((value as i64, 8 + length));
    }
    let value = value_of(word, bits) as i64;
    let length = (bits / 8) as usize + usize::from(negative);
    Some((if negative { -value } else { value }, length))
}

/// As [`short_integer`], for eight to fifteen digits, and for what has another byte behind it.
#[inline(never)]
fn longer_integer(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let run = whole(bytes, start)?;
    let end = start + run.length;
    if bytes.get(end).is_some_and(|next| is_part_of_number(*next)) {
        return None;
    }
    let value = run.value as i64; // At most 16 digits.
    Some((if negative { -value } else { value }, end - at))
}

/// The short number that begins at `at`.
#[inline(always)]
pub(crate) fn short_number(bytes: &[u8], at: usize) -> Option<Short> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let word = word_at(bytes, start);
    let bits = digit_bits(word);
    let mut next = word.wrapping_shr(bits) as u8;
    if bits == 0 || bits > 8 && word as u8 == b'0' {
        return longer_number(bytes, at);
    }
    let mut magnitude = value_of(word, bits);
    let mut length = usize::from(negative) + (bits / 8) as usize;
    let mut places = 0;
    if next == b'.' {
        let word = word_at(bytes, at + length + 1);
        let bits = digit_bits(word);
        if bits == 0 {
            return longer_number(bytes, at);
        }
        next = word.wrapping_shr(bits) as u8;
        places = (bits / 8) as usize;
        magnitude = magnitude * POWERS[places] + value_of(word, bits);
        length += 1 + places;
    }
    if !ends_number(next) {
        return longer_number(bytes, at);
    }
    Some(Short { negative, magnitude, places, length })
}

#[inline(never)]
fn longer_number(bytes: &[u8], at: usize) -> Option<Short> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let Run { value: mut magnitude, length } = whole(bytes, start)?;
    let mut end = start + length;
    let mut places = 0;
    if bytes.get(end) == Some(&b'.') {
        let fraction = run(bytes, end + 1)?;
        places = fraction.length;
        if length + places > DIGITS_MAX {
            return None;
        }
        magnitude = magnitude * POWERS[places] + fraction.value;
        end += 1 + places;
    }
    if bytes.get(end).is_some_and(|next| is_part_of_number(*next)) {
        return None;
    }
    Some(Short { negative, magnitude, places, length: end - at })
}

/// Whether a byte is one of those that mostly stand behind a number.
#[inline(always)]
fn ends_number(byte: u8) -> bool {
    byte == b',' || byte == b'}' || byte == b']'
}

/// Whether a number goes on with a byte that is no digit.
fn is_part_of_number(byte: u8) -> bool {
    matches!(byte, b'.' | b'e' | b'E')
}

/// The digits before a point.
#[inline]
fn whole(bytes: &[u8], at: usize) -> Option<Run> {
    let run = run(bytes, at)?;
    // JSON has no leading zeros.
    (run.length == 1 || bytes[at] != b'0').then_some(run)
}

/// One to sixteen digits that no other follows.
#[inline]
fn run(bytes: &[u8], at: usize) -> Option<Run> {
    let first = digits_at(bytes, at);
    match first.length {
        0 => None,
        8 => {
            let second = digits_at(bytes, at + 8);
            if second.length == 8 && bytes.get(at + 16).is_some_and(u8::is_ascii_digit) {
                return None;
            }
            let value = first.value * POWERS[second.length] + second.value;
            Some(Run { value, length: 8 + second.length })
        }
        _ => Some(first),
    }
}

/// Up to eight digits.
#[inline]
pub(crate) fn leading(bytes: &[u8], at: usize) -> (u32, usize) {
    let run = digits_at(bytes, at);
    (run.value as u32, run.length) // Eight digits are below 2^32.
}

#[inline]
fn digits_at(bytes: &[u8], at: usize) -> Run {
    let word = word_at(bytes, at);
    match digit_bits(word) {
        0 if !(word as u8).is_ascii_digit() => Run { value: 0, length: 0 },
        0 => Run { value: value_of(word, 0), length: 8 },
        bits => Run { value: value_of(word, bits), length: (bits / 8) as usize },
    }
}

/// How many bits of a word the digits have that it begins with; 0 where there are none, or eight.
#[inline(always)]
fn digit_bits(word: u64) -> u32 {
    others(word).trailing_zeros() & 56
}

#[inline(always)]
fn all_digits(word: u64) -> bool {
    others(word) == 0
}

/// The high bit of each byte that is no digit.
#[inline(always)]
fn others(word: u64) -> u64 {
    let word = word ^ ZEROS;
    // A byte is a digit if it is at most 9 now: adding 0x76 sets the high bit of others.
    (((word & LOWS) + 0x7676_7676_7676_7676) | word) & HIGHS
}

/// The number that the digits in the first `bits` of a word make; 0 stands for all of them.
#[inline(always)]
fn value_of(word: u64, bits: u32) -> u64 {
    // Zeros in front, then two, four and eight digits become one number.
    let digits = (word ^ ZEROS).wrapping_shl(bits.wrapping_neg());
    let pairs = (digits & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}

/// Eight bytes from `at` on, the first one lowest; zeros where there are no more.
#[inline(always)]
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => last_word(bytes, at),
    }
}

#[inline(never)]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    match (bytes.last_chunk::<8>(), bytes.len().checked_sub(at)) {
        (Some(last), Some(length @ 1..8)) => u64::from_le_bytes(*last) >> (64 - 8 * length),
        (_, None | Some(0)) => 0,
        (None, Some(_)) => {
            let rest = bytes[at..].iter().rev();
            rest.fold(0, |word, byte| word << 8 | u64::from(*byte))
        }
        (Some(_), Some(_)) => unreachable!("there are eight bytes to be read at once"),
    }
}
