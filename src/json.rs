//! A cursor over the bytes of a record that reads JSON (RFC 8259) token by token.
//!
//! Owns the grammar: whitespace, strings and their escapes, numbers as text, nesting. Does not know
//! columns or types, and builds no tree.
//!
//! Invariants: no string is read or skipped that is not UTF-8, and outside of strings nothing but
//! ASCII passes; nesting is bounded by [`DEPTH_MAX`] and skipping a value does not recurse, so that
//! no input exhausts the stack; what counts as JSON does not depend on whether a value is read or
//! skipped. Stricter than the grammar in one point: an escaped surrogate without its partner is
//! refused, since it has no UTF-8 form.

mod member;
mod names;
mod text;

use std::ops::Range;

pub(crate) use self::member::Member;
pub(crate) use self::names::Names;
use self::text::{Stop, copy_escape, copy_plain, find_special, skip_escape};
pub(crate) use self::text::{append_plain_string, short_string, unescape};

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
    /// The text between the quotes as it stands in the record, which is UTF-8.
    pub(crate) source: &'a [u8],
    /// Where `source` begins.
    pub(crate) start: usize,
    /// Whether `source` holds escapes.
    pub(crate) escaped: bool,
}

impl<'a> StringToken<'a> {
    /// The text between the quotes as it stands in the record.
    pub(crate) fn text(&self) -> &'a str {
        str::from_utf8(self.source).expect("the cursor checked it")
    }
}

/// A place in a record.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// Whether all of the record was checked to be UTF-8.
    is_utf8: bool,
}

impl<'a> Cursor<'a> {
    /// Stands at the first byte of `record`.
    ///
    /// # Errors
    /// When `record` is not UTF-8.
    pub(crate) fn new(record: &'a [u8]) -> Result<Self, SyntaxError> {
        let is_utf8 = str::from_utf8(record)
            .map(|_| true)
            .map_err(|error| SyntaxError { at: error.valid_up_to(), expected: "UTF-8" })?;
        Ok(Self { is_utf8, ..Self::unchecked(record) })
    }

    /// As [`new`](Self::new), but checks no more than strings, and of these what has bytes beyond
    /// ASCII, which the search for their ends sees anyway.
    pub(crate) fn unchecked(record: &'a [u8]) -> Self {
        Self { bytes: record, at: 0, depth: 0, is_utf8: false }
    }

    /// The number of bytes behind the cursor.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Moves to byte `at`, which is behind a value that was read otherwise, or before a token that was
    /// read before.
    #[inline]
    pub(crate) fn move_to(&mut self, at: usize) {
        self.at = at;
    }

    /// The bytes between two places of the cursor, which are UTF-8.
    #[inline]
    pub(crate) fn source(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }

    /// The whole record.
    #[inline]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The text between two places of the cursor, for messages.
    pub(crate) fn text(&self, range: Range<usize>) -> String {
        String::from_utf8_lossy(self.bytes.get(range).unwrap_or_default()).into_owned()
    }

    /// Skips whitespace and says whether the record ends there.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.skip_whitespace();
        self.at == self.bytes.len()
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
        Ok(str::from_utf8(&self.bytes[start..self.at]).expect("digits and signs are ASCII"))
    }

    /// Reads a string, opening quote included, and checks its escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<StringToken<'a>, SyntaxError> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            let stop = find_special(self.bytes, self.at);
            self.pass(stop)?;
            match self.byte() {
                Some(b'"') => {
                    let source = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(StringToken { source, start, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += skip_escape(self.bytes, self.at)?;
                }
                _ => return Err(self.unclosed()),
            }
        }
    }

    /// As [`string`](Self::string), and appends the text that the string stands for to `out`.
    pub(crate) fn copy_string(&mut self, out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        self.at += 1;
        loop {
            let stop = copy_plain(self.bytes, self.at, out);
            self.pass(stop)?;
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at += copy_escape(self.bytes, self.at, out)?,
                _ => return Err(self.unclosed()),
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
    pub(crate) fn skip_whitespace(&mut self) {
        if self.byte().is_some_and(|byte| byte <= b' ') {
            self.skip_all_whitespace();
        }
    }

    #[inline(never)]
    fn skip_all_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
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

    /// Moves on inside a string.
    #[inline]
    fn pass(&mut self, stop: Stop) -> Result<(), SyntaxError> {
        let start = self.at;
        self.at = stop.at;
        if stop.is_ascii || self.is_utf8 { Ok(()) } else { self.check_piece(start) }
    }

    /// Checks what lies between `start` and the cursor, where characters begin and end.
    #[inline(never)]
    fn check_piece(&self, start: usize) -> Result<(), SyntaxError> {
        match str::from_utf8(&self.bytes[start..self.at]) {
            Ok(_) => Ok(()),
            Err(error) => Err(SyntaxError { at: start + error.valid_up_to(), expected: "UTF-8" }),
        }
    }

    /// What is wrong with a string that stops neither at a quote nor at an escape.
    #[cold]
    fn unclosed(&self) -> SyntaxError {
        match self.byte() {
            Some(_) => self.expected("no bare control character in a string"),
            None => self.expected("'\"' at the end of a string"),
        }
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
