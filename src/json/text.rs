//! The inside of JSON strings: where it ends, its escapes, and the text that it stands for.
//!
//! Owns the search for quotes, backslashes and control characters, many bytes at a time, and the
//! escapes. Does not own the places of a record: those are the cursor's.

use wide::u8x16;

use super::SyntaxError;

/// Where a search inside a string stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// The first quote, backslash or control character, or the end of the record.
    pub(super) at: usize,
    /// Whether there was nothing but ASCII before it; `false` may be wrong.
    pub(super) is_ascii: bool,
}

/// Looks for the first byte at or after `at` that is not plain text.
#[inline]
pub(super) fn find_special(bytes: &[u8], mut at: usize) -> Stop {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let marks = marks(chunk);
        if marks != 0 {
            at += marks.trailing_zeros() as usize;
            if bytes[at].is_ascii() {
                return Stop { at, is_ascii: true };
            }
            break;
        }
        at += 16;
    }
    find_special_slowly(bytes, at)
}

/// As [`find_special`], and appends the plain text to `out`.
#[inline]
pub(super) fn copy_plain(bytes: &[u8], mut at: usize, out: &mut Vec<u8>) -> Stop {
    loop {
        let plain = copy_chunk(bytes, at, out);
        at += plain;
        if plain < 32 {
            break;
        }
    }
    match bytes.get(at) {
        Some(b'"' | b'\\') => Stop { at, is_ascii: true },
        _ => copy_plain_slowly(bytes, at, out),
    }
}

/// The inside of the string that begins at `at`, if it is plain ASCII of at most 31 bytes.
#[inline(always)]
pub(crate) fn short_string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let (quote, rest) = bytes.get(at..)?.split_first()?;
    let chunk = rest.first_chunk::<32>()?;
    let plain = plain_bytes(chunk);
    let is_whole = *quote == b'"' && chunk.get(plain) == Some(&b'"');
    if is_whole { chunk.get(..plain) } else { None }
}

/// Appends the string that begins at `at`, if it is ASCII with no other than the usual escapes, and
/// returns where it ends.
#[inline(always)]
pub(crate) fn append_plain_string(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut plain = copy_chunk(bytes, at.wrapping_add(1), out);
    if plain == 32 {
        plain += copy_chunk(bytes, at.wrapping_add(33), out);
    }
    let end = at.wrapping_add(plain).wrapping_add(1);
    if bytes.get(end) == Some(&b'"') {
        return Some(end.wrapping_add(1));
    }
    append_rest_of_plain_string(bytes, end, out, plain)
}

/// The rest of a string, of which `before` bytes were appended.
#[inline(never)]
fn append_rest_of_plain_string(
    bytes: &[u8],
    mut at: usize,
    out: &mut Vec<u8>,
    before: usize,
) -> Option<usize> {
    let start = out.len() - before;
    loop {
        let plain = copy_chunk(bytes, at, out);
        at += plain;
        if plain == 32 {
            continue;
        }
        match bytes.get(at) {
            Some(b'"') => return Some(at + 1),
            Some(b'\\') => {
                if let Some(character) = bytes.get(at + 1).and_then(|byte| usual_escape(*byte)) {
                    out.push(character);
                    at += 2;
                    continue;
                }
            }
            // The record's end is looked at byte by byte.
            Some(byte) if plain == 0 && byte.is_ascii() && *byte >= b' ' => {
                out.push(*byte);
                at += 1;
                continue;
            }
            _ => {}
        }
        out.truncate(start);
        return None;
    }
}

/// What an escape of two characters mostly is.
#[inline]
fn usual_escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' | b'/' => Some(byte),
        b'n' => Some(b'\n'),
        _ => None,
    }
}

/// Appends the plain ASCII of the next chunk, and returns how much that is.
///
/// Whole chunks are appended and cut, since texts are mostly so short that a copy of just as many
/// bytes as they have would cost more.
#[inline]
pub(super) fn copy_chunk(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<32>()) else {
        return 0;
    };
    let length = out.len();
    out.extend_from_slice(chunk);
    let plain = plain_bytes(chunk);
    out.truncate(length + plain);
    plain
}

#[inline(never)]
fn copy_plain_slowly(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Stop {
    let stop = find_special_slowly(bytes, at);
    out.extend_from_slice(&bytes[at..stop.at]);
    stop
}

/// As [`find_special`], for text that is not all ASCII, and for the end of a record.
#[inline(never)]
fn find_special_slowly(bytes: &[u8], mut at: usize) -> Stop {
    while let Some(chunk) = bytes[at..].first_chunk::<16>() {
        let marks = marks(chunk) & !beyond_ascii(chunk);
        if marks != 0 {
            at += marks.trailing_zeros() as usize;
            return Stop { at, is_ascii: false };
        }
        at += 16;
    }
    let rest = &bytes[at..];
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at += rest.iter().position(is_special).unwrap_or(rest.len());
    Stop { at, is_ascii: false }
}

/// A bit for each byte, the first one lowest: set for quotes, backslashes, control characters, and
/// what is not ASCII.
#[inline]
fn marks(chunk: &[u8; 16]) -> u32 {
    let bytes = u8x16::new(*chunk);
    let is_control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let is_quote = bytes.simd_eq(u8x16::splat(b'"'));
    let is_backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    // Of each byte the highest bit counts.
    (is_control | is_quote | is_backslash | bytes).to_bitmask()
}

#[inline]
fn beyond_ascii(chunk: &[u8; 16]) -> u32 {
    u8x16::new(*chunk).to_bitmask()
}

/// How many bytes of plain ASCII `chunk` begins with.
#[inline]
fn plain_bytes(chunk: &[u8; 32]) -> usize {
    let (halves, _) = chunk.as_chunks::<16>();
    (marks(&halves[0]) | marks(&halves[1]) << 16).trailing_zeros() as usize
}

/// Appends the text that the inside of a checked string stands for.
pub(crate) fn unescape(source: &str, out: &mut String) {
    let mut rest = source;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = Escape::read(&rest.as_bytes()[at..]).expect("the cursor checked every escape");
        out.push(escape.character);
        rest = &rest[at + escape.length..];
    }
    out.push_str(rest);
}

/// The length of the escape whose backslash is at `at`.
pub(super) fn skip_escape(bytes: &[u8], at: usize) -> Result<usize, SyntaxError> {
    Ok(escape_at(bytes, at)?.length)
}

/// As [`skip_escape`], and appends what the escape stands for to `out`.
#[inline]
pub(super) fn copy_escape(
    bytes: &[u8],
    at: usize,
    out: &mut Vec<u8>,
) -> Result<usize, SyntaxError> {
    if let Some(character) = bytes.get(at + 1).and_then(|byte| usual_escape(*byte)) {
        out.push(character);
        return Ok(2);
    }
    let escape = escape_at(bytes, at)?;
    out.extend_from_slice(escape.character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(escape.length)
}

fn escape_at(bytes: &[u8], at: usize) -> Result<Escape, SyntaxError> {
    Escape::read(&bytes[at..]).ok_or(SyntaxError { at, expected: "a valid escape" })
}

struct Escape {
    character: char,
    length: usize,
}

impl Escape {
    /// Reads the escape at the front of `bytes`; a pair of surrogates is one escape.
    fn read(bytes: &[u8]) -> Option<Self> {
        let character = match bytes.get(1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return Self::read_unicode(bytes),
            _ => return None,
        };
        let length = 2;
        Some(Self { character, length })
    }

    fn read_unicode(bytes: &[u8]) -> Option<Self> {
        let unit = hex_unit(bytes)?;
        if !(0xd800..0xdc00).contains(&unit) {
            // A low surrogate alone is no character either.
            let character = char::from_u32(unit)?;
            return Some(Self { character, length: 6 });
        }
        let low = hex_unit(&bytes[6..])?;
        if !(0xdc00..0xe000).contains(&low) {
            return None;
        }
        let character = char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?;
        Some(Self { character, length: 12 })
    }
}

/// The number in `\uXXXX` at the front of `bytes`.
fn hex_unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}
