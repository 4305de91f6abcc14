//! A cursor over the bytes of a record that reads JSON (RFC 8259) token by token.
//!
//! Owns the grammar: whitespace, strings and their escapes, numbers as text, nesting. Does not know
//! columns or types, and builds no tree.
//!
//! Invariants: the whole record is checked to be UTF-8 before the first token; nesting is bounded by
//! [`DEPTH_MAX`] and skipping a value does not recurse, so that no input exhausts the stack; what
//! counts as JSON does not depend on whether a value is read or skipped. Stricter than the grammar in
//! one point: an escaped surrogate without its partner is refused, since it has no UTF-8 form.

use std::ops::Range;

/// The deepest nesting of objects and arrays in a record.
pub(crate) const DEPTH_MAX: usize = 64;

/// Where a record stops being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The byte at which something else should stand, counted from 0.
    pub(crate) at: usize,
    /// What should stand there.
    pub(crate) expected: &'static str,
}

/// What the next value is, judged by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

/// A string of the record, not yet unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StringToken<'a> {
    /// The text between the quotes as it stands in the record.
    pub(crate) source: &'a str,
    /// Where `source` begins.
    pub(crate) start: usize,
    /// Whether `source` holds escapes.
    pub(crate) escaped: bool,
}

/// A place in a record.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// Stands at the first byte of `record`.
    ///
    /// # Errors
    /// When `record` is not UTF-8.
    pub(crate) fn new(record: &'a [u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(record)
            .map_err(|error| SyntaxError { at: error.valid_up_to(), expected: "UTF-8" })?;
        let (at, depth) = (0, 0);
        Ok(Self { text, at, depth })
    }

    /// The number of bytes behind the cursor.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Moves to byte `at`, where a token begins that was read before.
    pub(crate) fn rewind(&mut self, at: usize) {
        self.at = at;
    }

    /// The whole record.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The record between two places of the cursor.
    pub(crate) fn source(&self, range: Range<usize>) -> &'a str {
        &self.text[range]
    }

    /// Skips whitespace and says whether the record ends there.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.skip_whitespace();
        self.at == self.text.len()
    }

    /// Skips whitespace and tells what the next value is.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Kind, SyntaxError> {
        self.skip_whitespace();
        match self.byte() {
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't') => Ok(Kind::True),
            Some(b'f') => Ok(Kind::False),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.expected("a JSON value")),
        }
    }

    /// Reads past the word of a [`Kind::True`], [`Kind::False`] or [`Kind::Null`].
    pub(crate) fn literal(&mut self, word: &'static str) -> Result<(), SyntaxError> {
        if self.rest().starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.expected("a JSON value"))
        }
    }

    /// Reads a number and returns its text.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => {
                self.at += 1;
                if let Some(b'0'..=b'9') = self.byte() {
                    return Err(self.expected("no digit behind a leading 0"));
                }
            }
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    /// Reads a string, opening quote included, and checks its escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<StringToken<'a>, SyntaxError> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            self.at = find_special(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    let source = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(StringToken { source, start, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.check_escape()?;
                }
                Some(_) => return Err(self.expected("no bare control character in a string")),
                None => return Err(self.expected("'\"' at the end of a string")),
            }
        }
    }

    /// Goes into the object or array whose bracket is next.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), SyntaxError> {
        if self.depth == DEPTH_MAX {
            return Err(self.expected("at most 64 levels of nesting"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Moves to the next item of the array that was entered, or out of it (`false`).
    #[inline]
    pub(crate) fn next_item(&mut self, is_first: bool) -> Result<bool, SyntaxError> {
        self.skip_whitespace();
        match self.byte() {
            Some(b']') => Ok(self.leave()),
            _ if is_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.expected("',' or ']'")),
        }
    }

    /// Moves to the quote of the object's next key, or out of the object (`false`).
    #[inline]
    pub(crate) fn next_key(&mut self, is_first: bool) -> Result<bool, SyntaxError> {
        self.skip_whitespace();
        match self.byte() {
            Some(b'"') if is_first => return Ok(true),
            Some(b'}') => return Ok(self.leave()),
            _ if is_first => return Err(self.expected("a key or '}'")),
            Some(b',') => self.at += 1,
            _ => return Err(self.expected("',' or '}'")),
        }
        self.skip_whitespace();
        match self.byte() {
            Some(b'"') => Ok(true),
            _ => Err(self.expected("a key")),
        }
    }

    /// Reads past the next key if it is written exactly as `name`, which needs no escapes.
    #[inline]
    pub(crate) fn take_key(&mut self, name: &[u8]) -> bool {
        let rest = &self.rest()[1..];
        let found = match rest.split_at_checked(name.len()) {
            Some((front, [b'"', ..])) => is_equal(front, name),
            _ => false,
        };
        if found {
            self.at += name.len() + 2;
        }
        found
    }

    /// Reads past the colon between a key and its value.
    #[inline]
    pub(crate) fn colon(&mut self) -> Result<(), SyntaxError> {
        self.skip_whitespace();
        if self.byte() == Some(b':') {
            self.at += 1;
            Ok(())
        } else {
            Err(self.expected("':'"))
        }
    }

    /// Reads past the next value, whatever it is, and checks it.
    pub(crate) fn skip_value(&mut self) -> Result<(), SyntaxError> {
        let outside = self.depth;
        // One bit a level, the innermost lowest: 1 for an object, 0 for an array.
        let mut objects = 0u64;
        loop {
            let mut is_first = false;
            match self.peek()? {
                Kind::String => _ = self.string()?,
                Kind::Number => _ = self.number()?,
                Kind::True => self.literal("true")?,
                Kind::False => self.literal("false")?,
                Kind::Null => self.literal("null")?,
                kind @ (Kind::Object | Kind::Array) => {
                    self.enter()?;
                    objects = objects << 1 | u64::from(kind == Kind::Object);
                    is_first = true;
                }
            }
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                let goes_on =
                    if in_object { self.next_key(is_first)? } else { self.next_item(is_first)? };
                if goes_on && in_object {
                    self.string()?;
                    self.colon()?;
                }
                if goes_on {
                    break;
                }
                objects >>= 1;
                is_first = false;
            }
        }
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn expected(&self, expected: &'static str) -> SyntaxError {
        let at = self.at;
        SyntaxError { at, expected }
    }

    fn leave(&mut self) -> bool {
        self.at += 1;
        self.depth -= 1;
        false
    }

    #[inline]
    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.expected("a digit"));
        }
        Ok(())
    }

    fn check_escape(&mut self) -> Result<(), SyntaxError> {
        let Some(escape) = Escape::read(self.rest()) else {
            return Err(self.expected("a valid escape"));
        };
        self.at += escape.length;
        Ok(())
    }
}

/// Checks that `record` is nothing but JSON values and whitespace.
pub(crate) fn check(record: &[u8]) -> Result<(), SyntaxError> {
    let mut cursor = Cursor::new(record)?;
    while !cursor.is_at_end() {
        cursor.skip_value()?;
    }
    Ok(())
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

/// Compares texts of equal length. Most names have 4 to 16 bytes, which two loads that may overlap
/// cover; a call of the library's comparison takes longer than that.
#[inline]
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    match left.len() {
        4..8 => {
            left.first_chunk::<4>() == right.first_chunk()
                && left.last_chunk::<4>() == right.last_chunk()
        }
        8..=16 => {
            left.first_chunk::<8>() == right.first_chunk()
                && left.last_chunk::<8>() == right.last_chunk()
        }
        _ => left == right,
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first quote, backslash or control character at or after `at`, or the end.
///
/// Eight bytes at a time: in each term below the lowest set high bit marks the first byte that is
/// equal to (or less than) the one looked for; a borrow can only set bits above it.
#[inline]
fn find_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let rest = &bytes[at..];
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}
