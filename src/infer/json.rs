//! The documents of a sample, each as a small tree that borrows from it.
//!
//! Owns the grammar (RFC 8259) as far as a sample needs it: numbers keep their text, so that no digit
//! is lost. Does not own what the values mean. The grammar of records stands in `convert`, which a
//! calculation beside it may not call; a test holds the two against each other.

use std::borrow::Cow;

use crate::record::RECORD_BYTES_MAX;

/// The deepest nesting of a record that the service takes.
const DEPTH_MAX: usize = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    /// The text of a number.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Fields<'a>),
}

/// The keys and values of an object in their order; keys may stand twice.
pub(super) type Fields<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// What stands at one place of a sample.
#[derive(Debug, PartialEq)]
pub(super) enum Document<'a> {
    Object(Fields<'a>),
    /// JSON that is no object.
    Other,
    /// No JSON, or more than a record may be.
    Bad {
        /// Where it begins, counted from 1.
        line: u64,
    },
}

/// The documents of a sample, one after another.
#[derive(Debug)]
pub(super) struct Documents<'a> {
    sample: &'a [u8],
    at: usize,
    /// Where the document begins that was given last.
    start: usize,
    /// The line of `counted_to`.
    line: u64,
    counted_to: usize,
    /// Whether the sample is one array, whose items are the documents.
    is_array: bool,
}

impl<'a> Documents<'a> {
    pub(super) fn new(sample: &'a [u8]) -> Self {
        // Editors of one kind put a mark in front.
        let at = if sample.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut documents = Self { sample, at, start: at, line: 1, counted_to: 0, is_array: false };
        documents.skip_spaces();
        if documents.byte() == Some(b'[') {
            documents.is_array = true;
            documents.at += 1;
        }
        documents
    }

    /// The text of the document that was given last.
    pub(super) fn text(&self) -> &'a [u8] {
        &self.sample[self.start..self.at]
    }

    fn byte(&self) -> Option<u8> {
        self.sample.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.byte().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn line_of(&mut self, at: usize) -> u64 {
        let between = &self.sample[self.counted_to..at];
        self.line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.counted_to = at;
        self.line
    }
}

impl<'a> Iterator for Documents<'a> {
    type Item = Document<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.skip_spaces();
            match self.byte()? {
                b',' | b']' if self.is_array => self.at += 1,
                _ => break,
            }
        }
        let start = self.at;
        self.start = start;
        let end = self.sample.len().min(start + RECORD_BYTES_MAX);
        let mut parser = Parser { bytes: &self.sample[..end], at: start };
        match parser.value(0) {
            Some(value) => {
                self.at = parser.at;
                Some(match value {
                    Value::Object(fields) => Document::Object(fields),
                    _ => Document::Other,
                })
            }
            None => {
                let line = self.line_of(start);
                let rest = &self.sample[start..];
                let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                self.at = start + length;
                Some(Document::Bad { line })
            }
        }
    }
}

/// Reads values; nothing means that there is none.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.skip_spaces();
        match self.byte()? {
            b'{' if depth < DEPTH_MAX => self.object(depth + 1),
            b'[' if depth < DEPTH_MAX => self.array(depth + 1),
            b'"' => self.string().map(Value::String),
            b't' => self.word("true").map(|()| Value::Boolean(true)),
            b'f' => self.word("false").map(|()| Value::Boolean(false)),
            b'n' => self.word("null").map(|()| Value::Null),
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value<'a>> {
        let mut fields = Vec::new();
        self.at += 1;
        self.skip_spaces();
        if self.take(b'}') {
            return Some(Value::Object(fields));
        }
        loop {
            self.skip_spaces();
            let key = self.string()?;
            self.skip_spaces();
            self.expect(b':')?;
            fields.push((key, self.value(depth)?));
            self.skip_spaces();
            if self.take(b'}') {
                return Some(Value::Object(fields));
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value<'a>> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_spaces();
        if self.take(b']') {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_spaces();
            if self.take(b']') {
                return Some(Value::Array(items));
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b'"')?;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        let mut plain_from = start;
        loop {
            match self.byte()? {
                b'"' => {
                    let rest = std::str::from_utf8(&self.bytes[plain_from..self.at]).ok()?;
                    self.at += 1;
                    return Some(match unescaped {
                        None => Cow::Borrowed(rest),
                        Some(text) => Cow::Owned(text + rest),
                    });
                }
                b'\\' => {
                    let before = std::str::from_utf8(&self.bytes[plain_from..self.at]).ok()?;
                    let text = unescaped.get_or_insert_default();
                    text.push_str(before);
                    self.at += 1;
                    let character = self.escape()?;
                    text.push(character);
                    plain_from = self.at;
                }
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    /// The character behind a backslash.
    fn escape(&mut self) -> Option<char> {
        let byte = self.byte()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => byte.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hexadecimal()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                self.expect(b'\\')?;
                self.expect(b'u')?;
                let second = self.hexadecimal().filter(|unit| (0xdc00..0xe000).contains(unit))?;
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            _ => return None,
        })
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        let mut unit = 0;
        for digit in digits {
            unit = unit * 16 + char::from(*digit).to_digit(16)?;
        }
        self.at += 4;
        Some(unit)
    }

    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _has_sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        std::str::from_utf8(&self.bytes[start..self.at]).ok()
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.byte().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.byte() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.take(wanted).then_some(())
    }
}
