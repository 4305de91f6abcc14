//! From the bytes of a record to typed cells, by the table's columns.
//!
//! Owns the rules of what JSON fits which type (the table in the module's front page). Does not own
//! the columns that the cells go to, nor the words for what does not fit.
//!
//! Invariants: a record that fails here has touched nothing; recursion follows the table's types,
//! whose depth is bounded.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::DATA_BYTES_MAX;
use super::cells::{Cell, Cells, Span, VALUES_MAX};
use super::format::BinaryText;
use super::input::JsonInput;
use super::joda::TimestampFormat;
use super::rejection::{Failure, Rejection, Step, mismatch, too_long};
use super::schema::{Fields, MapNodes, Node, Shape};
use crate::json::{self, Cursor, Kind, StringToken, SyntaxError};
use crate::number::{Excess, Number, OUT_OF_RANGE, Why, parse_short_integer};

const HIVE_NUMBERS: Why = "Hive's JSON SerDe reads no numbers out of strings";
const HIVE_TEXT: Why = "Hive's JSON SerDe makes no text of objects and arrays";

/// Maps up to this size are searched for equal keys pair by pair.
const SMALL_MAP_ENTRIES_MAX: usize = 16;

/// Fills `cells` with the rows of the JSON objects in `data`.
///
/// # Errors
/// When one of them is bad; `cells` then holds nothing of use.
pub(super) fn decode(
    root: &Fields,
    input: &JsonInput,
    data: &[u8],
    cells: &mut Cells,
) -> Result<(), Rejection> {
    cells.clear();
    if data.len() > DATA_BYTES_MAX {
        return Err(too_long(data.len()));
    }
    let decoded = Cursor::new(data).map_err(Box::from).and_then(|cursor| {
        let mut decoder = Decoder { cursor, cells, input };
        decoder.documents(root)
    });
    decoded.map_err(|failure| failure.into_rejection(data))
}

struct Decoder<'a, 'c> {
    cursor: Cursor<'a>,
    cells: &'c mut Cells,
    input: &'c JsonInput,
}

impl Decoder<'_, '_> {
    fn documents(&mut self, root: &Fields) -> Result<(), Box<Failure>> {
        while !self.cursor.is_at_end() {
            let kind = self.cursor.peek()?;
            if kind != Kind::Object {
                return Err(mismatch(self.cursor.at(), "a JSON object", ""));
            }
            let row = self.fields(root).map_err(|mut failure| {
                failure.document = self.cells.rows.len() + 1;
                failure
            })?;
            self.cells.rows.push(row.start as usize);
        }
        if self.cells.rows.is_empty() {
            return Err(SyntaxError { at: self.cursor.at(), expected: "a JSON object" }.into());
        }
        Ok(())
    }

    #[inline]
    fn value(&mut self, node: &Node) -> Result<Cell, Box<Failure>> {
        let kind = self.cursor.peek()?;
        match (kind, &node.shape) {
            (Kind::Null, _) => {
                self.cursor.literal("null")?;
                Ok(Cell::Null)
            }
            (Kind::String, Shape::List(_) | Shape::Map(_) | Shape::Struct(_)) => {
                Err(self.unfit(node))
            }
            (Kind::String, shape) if shape.is_number() && self.input.is_hive() => {
                Err(mismatch(self.cursor.at(), &node.hive_type, HIVE_NUMBERS))
            }
            (Kind::Object | Kind::Array, Shape::Text { .. }) if self.input.is_hive() => {
                Err(mismatch(self.cursor.at(), &node.hive_type, HIVE_TEXT))
            }
            (Kind::String, _) => {
                let token = self.cursor.string()?;
                self.text_scalar(node, token)
            }
            (Kind::Object, Shape::Struct(fields)) => self.fields(fields).map(Cell::Nested),
            (Kind::Object, Shape::Map(nodes)) => self.map(nodes),
            (Kind::Array, Shape::List(item)) => self.list(item),
            (_, Shape::Text { characters_max }) => self.source_text(node, *characters_max),
            (Kind::Number, _) => {
                let at = self.cursor.at();
                let text = self.cursor.number()?;
                scalar(&node.shape, self.input, text)
                    .map_err(|why| mismatch(at, &node.hive_type, why))
            }
            (Kind::True, Shape::Boolean) => {
                self.cursor.literal("true")?;
                Ok(Cell::Boolean(true))
            }
            (Kind::False, Shape::Boolean) => {
                self.cursor.literal("false")?;
                Ok(Cell::Boolean(false))
            }
            _ => Err(self.unfit(node)),
        }
    }

    fn fields(&mut self, fields: &Fields) -> Result<Span, Box<Failure>> {
        let first = self.cells.values.len();
        let end = first + fields.list.len();
        self.count_values(fields.null_values)?;
        self.cells.values.resize(end, Cell::Null);
        self.cursor.enter()?;
        let mut is_first = true;
        // Producers write their keys in one order; the next one is guessed to be the next column.
        let mut guess = 0;
        while self.cursor.next_key(is_first)? {
            is_first = false;
            let found = self.key(fields, guess)?;
            self.cursor.colon()?;
            match found {
                Some(index) => {
                    let field = &fields.list[index];
                    let cell = self
                        .value(&field.node)
                        .map_err(|failure| failure.inside(|| Step::Field(field.name.clone())))?;
                    self.cells.values[first + index] = cell;
                    guess = index + 1;
                }
                None => self.cursor.skip_value()?,
            }
        }
        Ok(Span::new(first, end))
    }

    #[inline]
    fn key(&mut self, fields: &Fields, guess: usize) -> Result<Option<usize>, SyntaxError> {
        if let Some(field) = fields.list.get(guess)
            && field.is_plain
            && self.cursor.take_key(field.key.as_bytes())
        {
            return Ok(Some(guess));
        }
        let token = self.cursor.string()?;
        Ok(fields.find(token, guess))
    }

    fn list(&mut self, item: &Node) -> Result<Cell, Box<Failure>> {
        let start = self.cells.pending.len();
        self.cursor.enter()?;
        while self.cursor.next_item(self.cells.pending.len() == start)? {
            self.count_values(item.null_values)?;
            let index = self.cells.pending.len() - start;
            let cell = self.value(item).map_err(|failure| failure.inside(|| Step::Item(index)))?;
            self.cells.pending.push(cell);
        }
        Ok(Cell::Nested(self.cells.settle(start)))
    }

    fn map(&mut self, nodes: &MapNodes) -> Result<Cell, Box<Failure>> {
        let start = self.cells.pending.len();
        self.cursor.enter()?;
        while self.cursor.next_key(self.cells.pending.len() == start)? {
            self.count_values(1 + nodes.value.null_values)?;
            let token = self.cursor.string()?;
            let step = || Step::Key(token.source.to_owned());
            let key =
                self.text_scalar(&nodes.key, token).map_err(|failure| failure.inside(step))?;
            self.cursor.colon()?;
            // Held back while the value is read, which may itself leave pending cells behind.
            let value = self.value(&nodes.value).map_err(|failure| failure.inside(step))?;
            self.cells.pending.extend([key, value]);
        }
        self.drop_overwritten_entries(start);
        Ok(Cell::Nested(self.cells.settle(start)))
    }

    /// Of pending entries with equal keys only the last stays.
    fn drop_overwritten_entries(&mut self, start: usize) {
        let Some(stays) = self.find_overwritten_entries(start) else {
            return;
        };
        let mut kept = start;
        for (at, stays) in (start..).step_by(2).zip(stays) {
            if stays {
                self.cells.pending.copy_within(at..at + 2, kept);
                kept += 2;
            }
        }
        self.cells.pending.truncate(kept);
    }

    /// For each pending entry whether it stays, or nothing if all do.
    fn find_overwritten_entries(&self, start: usize) -> Option<Vec<bool>> {
        let entries = &self.cells.pending[start..];
        let data = self.cursor.bytes();
        let keys = entries.iter().step_by(2);
        let keys = keys.map(|cell| MapKey::new(self.cells, *cell, data));
        if entries.len() / 2 <= SMALL_MAP_ENTRIES_MAX {
            let mut rest = keys.clone();
            let mut has_equal = false;
            while let Some(key) = rest.next() {
                has_equal |= rest.clone().any(|later| later == key);
            }
            if !has_equal {
                return None;
            }
        }
        let mut seen = HashSet::with_capacity(entries.len() / 2);
        let mut stays: Vec<bool> = keys.rev().map(|key| seen.insert(key)).collect();
        stays.reverse();
        stays.contains(&false).then_some(stays)
    }

    /// A scalar out of a string's or key's text.
    #[inline]
    fn text_scalar(&mut self, node: &Node, token: StringToken<'_>) -> Result<Cell, Box<Failure>> {
        let unescaped = &mut self.cells.unescaped;
        let start = unescaped.len();
        let text = if token.escaped {
            json::unescape(token.source, unescaped);
            &unescaped[start..]
        } else {
            token.source
        };
        let cell = match node.shape {
            Shape::Text { characters_max } => check_length(text, characters_max).map(|()| {
                if token.escaped {
                    Cell::Unescaped(Span::new(start, unescaped.len()))
                } else {
                    Cell::Source(Span::new(token.start, token.start + token.source.len()))
                }
            }),
            Shape::Binary(BinaryText::Raw) if token.escaped => {
                Ok(Cell::Unescaped(Span::new(start, unescaped.len())))
            }
            Shape::Binary(BinaryText::Raw) => {
                Ok(Cell::Source(Span::new(token.start, token.start + token.source.len())))
            }
            Shape::Binary(BinaryText::Base64) => {
                let cell = base64(text, &mut self.cells.decoded);
                unescaped.truncate(start);
                cell
            }
            ref shape => {
                let cell = scalar(shape, self.input, text);
                unescaped.truncate(start);
                cell
            }
        };
        cell.map_err(|why| mismatch(token.start - 1, &node.hive_type, why))
    }

    /// The JSON text of the next value as a string.
    fn source_text(
        &mut self,
        node: &Node,
        characters_max: Option<u32>,
    ) -> Result<Cell, Box<Failure>> {
        let start = self.cursor.at();
        self.cursor.skip_value()?;
        let end = self.cursor.at();
        check_length(self.cursor.source(start..end), characters_max)
            .map_err(|why| mismatch(start, &node.hive_type, why))?;
        Ok(Cell::Source(Span::new(start, end)))
    }

    fn count_values(&mut self, count: usize) -> Result<(), Box<Failure>> {
        if self.cells.count_values(count) {
            return Ok(());
        }
        let expected = format!("a record of at most {VALUES_MAX} values and absent fields");
        Err(mismatch(self.cursor.at(), &expected, "split the record"))
    }

    fn unfit(&self, node: &Node) -> Box<Failure> {
        mismatch(self.cursor.at(), &node.hive_type, "")
    }
}

/// A value of a type that is neither text nor nested, from the text of a string or number.
#[inline]
fn scalar(shape: &Shape, input: &JsonInput, text: &str) -> Result<Cell, Why> {
    match *shape {
        Shape::Boolean if text.eq_ignore_ascii_case("true") => Ok(Cell::Boolean(true)),
        Shape::Boolean if text.eq_ignore_ascii_case("false") => Ok(Cell::Boolean(false)),
        Shape::Integer { min, max } => integer(text, min, max),
        Shape::Float => {
            let value: f32 = float(text)?;
            finite(value.is_finite(), Cell::Float(value))
        }
        Shape::Double => {
            let value: f64 = float(text)?;
            finite(value.is_finite(), Cell::Double(value))
        }
        Shape::Decimal { precision, scale } => decimal(text, precision, scale),
        Shape::Date => crate::time::days_of_text(text).map(|days| Cell::Integer(days.into())),
        Shape::Timestamp(_) => match input {
            JsonInput::OpenX(_) => crate::time::micros_of_text(text),
            JsonInput::Hive(formats) => listed_timestamp(formats, text),
        }
        .map(Cell::Integer),
        Shape::Boolean | Shape::Text { .. } | Shape::Binary(_) => Err(""),
        Shape::List(_) | Shape::Map(_) | Shape::Struct(_) => Err(""),
    }
}

/// Microseconds since 1970 by the first form that a text has.
fn listed_timestamp(formats: &[TimestampFormat], text: &str) -> Result<i64, Why> {
    let found = match formats {
        [] => crate::time::micros_of_java(text),
        formats => formats.iter().find_map(|format| format.micros(text)),
    };
    found.ok_or("not a timestamp of a form that is listed")
}

/// Appends the bytes that `text` stands for to `decoded`.
fn base64(text: &str, decoded: &mut Vec<u8>) -> Result<Cell, Why> {
    let start = decoded.len();
    STANDARD.decode_vec(text, decoded).map_err(|_| "not base64 with padding")?;
    Ok(Cell::Decoded(Span::new(start, decoded.len())))
}

fn integer(text: &str, min: i64, max: i64) -> Result<Cell, Why> {
    let value = match parse_short_integer(text) {
        Some(value) => value,
        None => {
            let whole = Number::parse(text).ok_or("")?.scaled(0, Excess::Refuse)?;
            i64::try_from(whole).map_err(|_| OUT_OF_RANGE)?
        }
    };
    if (min..=max).contains(&value) { Ok(Cell::Integer(value)) } else { Err(OUT_OF_RANGE) }
}

/// The nearest float; infinite where the number is too large.
fn float<F: std::str::FromStr>(text: &str) -> Result<F, Why> {
    // The library's parser also takes `inf`, `nan` and `.5`.
    Number::parse(text).ok_or("")?;
    text.parse().map_err(|_| "")
}

fn finite(is_finite: bool, cell: Cell) -> Result<Cell, Why> {
    if is_finite { Ok(cell) } else { Err(OUT_OF_RANGE) }
}

fn decimal(text: &str, precision: u8, scale: u8) -> Result<Cell, Why> {
    let number = Number::parse(text).ok_or("")?;
    let unscaled = number.scaled(scale, Excess::RoundHalfUp)?;
    if unscaled.unsigned_abs() < 10u128.pow(precision.into()) {
        Ok(Cell::decimal(unscaled))
    } else {
        Err(OUT_OF_RANGE)
    }
}

#[inline]
fn check_length(text: &str, characters_max: Option<u32>) -> Result<(), Why> {
    match characters_max.map(|max| max as usize) {
        Some(max) if text.len() > max && text.chars().count() > max => Err("too long"),
        _ => Ok(()),
    }
}

/// A map's key as something to compare.
#[derive(PartialEq, Eq, Hash)]
enum MapKey<'a> {
    Text(&'a [u8]),
    Bits(i64, u64),
}

impl<'a> MapKey<'a> {
    fn new(cells: &'a Cells, cell: Cell, data: &'a [u8]) -> Self {
        match cell {
            Cell::Boolean(value) => Self::Bits(value.into(), 0),
            Cell::Integer(value) => Self::Bits(value, 0),
            Cell::Float(value) => Self::Bits(0, value.to_bits().into()),
            Cell::Double(value) => Self::Bits(0, value.to_bits()),
            Cell::Decimal { high, low } => Self::Bits(high, low),
            text => Self::Text(cells.text(text, data).unwrap_or_default()),
        }
    }
}
