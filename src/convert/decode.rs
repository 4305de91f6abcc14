//! From the bytes of a record into the table's columns.
//!
//! Owns the walk over a record's JSON by the types of the columns, and the bounds on what one record
//! may make. Does not own what a scalar may look like (`scalars`), the memory of the columns, nor the
//! words for what does not fit.
//!
//! Invariants: a record that fails here has changed no column; recursion follows the table's types,
//! whose depth is bounded. What nearly all records look like is read by short ways, which change
//! nothing where they do not fit; the long way behind them owns the rules.

use super::DATA_BYTES_MAX;
use super::columns::{Column, Columns, Entries, Values, offset};
use super::habits::Habits;
use super::input::JsonInput;
use super::rejection::{Failure, Rejection, Step, mismatch, too_long};
use super::scalars;
use super::schema::{Fields, MapNodes, Node, Shape};
use crate::json::{Cursor, Kind, SyntaxError};
use crate::number::{Why, short_integer, short_number, word_at};
use crate::time::{days_of_fixed, micros_of_fixed};

/// The most values that one record may make in the columns. An absent field makes one as a present
/// one does, and a null struct makes one for each of its fields, so that `[null,null]` or `[{},{}]`
/// under a wide struct would otherwise grow a small record a thousandfold.
const VALUES_MAX: usize = 4 << 20;

const HIVE_NUMBERS: Why = "Hive's JSON SerDe reads no numbers out of strings";
const HIVE_TEXT: Why = "Hive's JSON SerDe makes no text of objects and arrays";

/// What a record added to the columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    pub(super) row_count: usize,
    /// How many values the columns got, or more.
    pub(super) value_count: usize,
}

/// Appends the rows of the JSON objects in `data` to `columns`; `unescaped` is room for texts.
///
/// # Errors
/// When one of them is bad; the columns are as they were.
pub(super) fn decode(
    root: &Fields,
    input: &JsonInput,
    data: &[u8],
    columns: &mut Columns,
    unescaped: &mut Vec<u8>,
) -> Result<Decoded, Rejection> {
    if data.len() > DATA_BYTES_MAX {
        return Err(too_long(data.len()));
    }
    let row_count = columns.length;
    let cursor = Cursor::unchecked(data);
    let mut decoder = Decoder { cursor, input, unescaped, value_count: 0 };
    match decoder.documents(root, columns) {
        Ok(()) => {
            Ok(Decoded { row_count: columns.length - row_count, value_count: decoder.value_count })
        }
        Err(failure) => {
            columns.truncate(row_count);
            Err(failure.into_rejection(data))
        }
    }
}

struct Decoder<'a, 'c> {
    cursor: Cursor<'a>,
    input: &'c JsonInput,
    unescaped: &'c mut Vec<u8>,
    value_count: usize,
}

impl Decoder<'_, '_> {
    fn documents(&mut self, root: &Fields, columns: &mut Columns) -> Result<(), Box<Failure>> {
        let row_count = columns.length;
        while !self.cursor.is_at_end() {
            if self.cursor.peek()? != Kind::Object {
                return Err(mismatch(self.cursor.at(), "a JSON object", ""));
            }
            self.object(root, columns).map_err(|mut failure| {
                failure.document = columns.length - row_count + 1;
                failure
            })?;
        }
        if columns.length == row_count {
            return Err(SyntaxError { at: self.cursor.at(), expected: "a JSON object" }.into());
        }
        Ok(())
    }

    fn object(&mut self, fields: &Fields, columns: &mut Columns) -> Result<(), Box<Failure>> {
        self.count_values(fields.null_values)?;
        self.cursor.enter()?;
        columns.begin();
        let mut is_first = true;
        let mut place = 0;
        loop {
            let index = if let Some(index) = columns.habits.take(place, &mut self.cursor) {
                index
            } else {
                let before = self.cursor.at();
                if !self.cursor.next_key(is_first)? {
                    break;
                }
                is_first = false;
                let token = self.cursor.string()?;
                self.cursor.colon()?;
                self.cursor.first_byte();
                let found = fields.keys.find(&fields.list, self.cursor.bytes(), token);
                let Some(index) = found else {
                    self.cursor.skip_value()?;
                    if place == 0 {
                        place = Habits::unknown_place(fields.list.len());
                    }
                    continue;
                };
                let member = self.cursor.source(before..self.cursor.at());
                columns.habits.learn(place, index, member);
                index
            };
            is_first = false;
            place = index + 1;
            let field = &fields.list[index];
            self.value(&field.node, columns.prepare(index))
                .map_err(|failure| failure.inside(|| Step::Field(field.name.clone())))?;
        }
        columns.end();
        Ok(())
    }

    /// Appends the next value to `column`.
    #[inline(always)]
    fn value(&mut self, node: &Node, column: &mut Column) -> Result<(), Box<Failure>> {
        let first = self.cursor.first_byte();
        let (bytes, at) = (self.cursor.bytes(), self.cursor.at());
        match &mut column.values {
            Values::Text(texts, characters_max) if first == b'"' => {
                self.cursor.copy_string(&mut texts.bytes)?;
                return scalars::end_text(texts, *characters_max)
                    .map_err(|why| mismatch(at, &node.hive_type, why));
            }
            Values::Int(values) => {
                if let Some(value) = self.integer() {
                    values.push(value);
                    return Ok(());
                }
            }
            Values::BigInt(values) => {
                if let Some(value) = self.integer() {
                    values.push(value);
                    return Ok(());
                }
            }
            Values::SmallInt(values) => {
                if let Some(value) = self.integer() {
                    values.push(value);
                    return Ok(());
                }
            }
            Values::TinyInt(values) => {
                if let Some(value) = self.integer() {
                    values.push(value);
                    return Ok(());
                }
            }
            Values::Double(values) => {
                if let Some(short) = short_number(bytes, at)
                    && let Some(value) = short.as_double()
                {
                    values.push(value);
                    self.cursor.pass_ascii(short.length);
                    return Ok(());
                }
            }
            Values::Float(values) => {
                if let Some(short) = short_number(bytes, at)
                    && let Some(value) = short.as_float()
                {
                    values.push(value);
                    self.cursor.pass_ascii(short.length);
                    return Ok(());
                }
            }
            Values::Decimal { unscaled, scale, bound } => {
                if let Some(short) = short_number(bytes, at)
                    && let Some(value) = short.scaled(*scale)
                    && i128::from(value).abs() < *bound
                {
                    unscaled.push(value.into());
                    self.cursor.pass_ascii(short.length);
                    return Ok(());
                }
            }
            Values::Boolean(values) => {
                let word = word_at(bytes, at);
                if word as u32 == u32::from_le_bytes(*b"true") {
                    values.push(true);
                    self.cursor.pass_ascii(4);
                    return Ok(());
                }
                if word << 24 == u64::from_le_bytes(*b"\0\0\0false") {
                    values.push(false);
                    self.cursor.pass_ascii(5);
                    return Ok(());
                }
            }
            Values::Timestamp(values) if first == b'"' && !self.input.is_hive() => {
                if let Some(text) = self.cursor.short_string()
                    && let Some(micros) = micros_of_fixed(text)
                {
                    values.push(micros);
                    self.cursor.pass_ascii(text.len() + 2);
                    return Ok(());
                }
            }
            Values::Date(values) if first == b'"' => {
                if let Some(text) = self.cursor.short_string()
                    && let Some(days) = days_of_fixed(text)
                {
                    values.push(days);
                    self.cursor.pass_ascii(text.len() + 2);
                    return Ok(());
                }
            }
            Values::Struct(columns) if first == b'{' => {
                if let Shape::Struct(fields) = &node.shape {
                    return self.object(fields, columns);
                }
            }
            Values::List { item, ends } if first == b'[' => {
                if let Shape::List(item_node) = &node.shape {
                    return self.list(item_node, item, ends);
                }
            }
            Values::Map(entries) if first == b'{' => {
                if let Shape::Map(nodes) = &node.shape {
                    return self.map(nodes, entries);
                }
            }
            _ => {}
        }
        self.any_value(node, column)
    }

    /// Reads the next value if it is a short whole number that fits.
    #[inline]
    fn integer<I: TryFrom<i64>>(&mut self) -> Option<I> {
        let (value, length) = short_integer(self.cursor.bytes(), self.cursor.at())?;
        let value = I::try_from(value).ok()?;
        self.cursor.pass_ascii(length);
        Some(value)
    }

    /// As [`value`](Self::value), by the rules of types instead of the short ways.
    #[inline(never)]
    fn any_value(&mut self, node: &Node, column: &mut Column) -> Result<(), Box<Failure>> {
        let at = self.cursor.at();
        if word_at(self.cursor.bytes(), at) as u32 == u32::from_le_bytes(*b"null") {
            self.cursor.pass_ascii(4);
            column.append_null();
            return Ok(());
        }
        let kind = self.cursor.peek()?;
        match (kind, &node.shape) {
            // It is none that is written to its end.
            (Kind::Null, _) => Ok(self.cursor.literal("null")?),
            (Kind::String, Shape::List(_) | Shape::Map(_) | Shape::Struct(_)) => {
                Err(self.unfit(node))
            }
            (Kind::String, shape) if shape.is_number() && self.input.is_hive() => {
                Err(mismatch(at, &node.hive_type, HIVE_NUMBERS))
            }
            (Kind::Object | Kind::Array, Shape::Text { .. }) if self.input.is_hive() => {
                Err(mismatch(at, &node.hive_type, HIVE_TEXT))
            }
            (Kind::String, _) => self.string(node, column),
            (_, Shape::Text { .. }) => self.source_text(node, column),
            (Kind::Number, Shape::Binary(_)) => Err(self.unfit(node)),
            (Kind::Number, _) => {
                let text = self.cursor.number()?;
                scalars::append(column, &node.shape, self.input, text)
                    .map_err(|why| mismatch(at, &node.hive_type, why))
            }
            (Kind::True | Kind::False, Shape::Boolean) => {
                let word = if kind == Kind::True { "true" } else { "false" };
                self.cursor.literal(word)?;
                scalars::append(column, &node.shape, self.input, word)
                    .map_err(|why| mismatch(at, &node.hive_type, why))
            }
            _ => Err(self.unfit(node)),
        }
    }

    fn list(
        &mut self,
        node: &Node,
        item: &mut Column,
        ends: &mut Vec<i32>,
    ) -> Result<(), Box<Failure>> {
        self.cursor.enter()?;
        let mut count = 0;
        while self.cursor.next_item(count == 0)? {
            self.count_values(node.null_values)?;
            self.value(node, item).map_err(|failure| failure.inside(|| Step::Item(count)))?;
            count += 1;
        }
        ends.push(offset(item.len()));
        Ok(())
    }

    fn map(&mut self, nodes: &MapNodes, entries: &mut Entries) -> Result<(), Box<Failure>> {
        self.cursor.enter()?;
        let mut is_first = true;
        while self.cursor.next_key(is_first)? {
            is_first = false;
            self.count_values(1 + nodes.value.null_values)?;
            let start = self.cursor.at() + 1;
            self.string(&nodes.key, &mut entries.keys).map_err(|failure| {
                // The key as it stands in the record; a fault in its syntax has no path.
                failure.inside(|| Step::Key(self.cursor.text(start..self.cursor.at() - 1)))
            })?;
            let end = self.cursor.at() - 1;
            self.cursor.colon()?;
            self.value(&nodes.value, &mut entries.values)
                .map_err(|failure| failure.inside(|| Step::Key(self.cursor.text(start..end))))?;
        }
        entries.end();
        Ok(())
    }

    /// A scalar out of a string or key.
    fn string(&mut self, node: &Node, column: &mut Column) -> Result<(), Box<Failure>> {
        let at = self.cursor.at();
        if let Values::Text(texts, characters_max) = &mut column.values {
            self.cursor.copy_string(&mut texts.bytes)?;
            return scalars::end_text(texts, *characters_max)
                .map_err(|why| mismatch(at, &node.hive_type, why));
        }
        self.unescaped.clear();
        self.cursor.copy_string(self.unescaped)?;
        let text = str::from_utf8(self.unescaped).expect("the cursor checked it");
        scalars::append(column, &node.shape, self.input, text)
            .map_err(|why| mismatch(at, &node.hive_type, why))
    }

    /// The JSON text of the next value as a string.
    fn source_text(&mut self, node: &Node, column: &mut Column) -> Result<(), Box<Failure>> {
        let start = self.cursor.at();
        self.cursor.skip_value()?;
        let source = self.cursor.source(start..self.cursor.at());
        let text = str::from_utf8(source).expect("the cursor checked it");
        scalars::append(column, &node.shape, self.input, text)
            .map_err(|why| mismatch(start, &node.hive_type, why))
    }

    fn count_values(&mut self, count: usize) -> Result<(), Box<Failure>> {
        self.value_count += count;
        if self.value_count <= VALUES_MAX {
            return Ok(());
        }
        Err(self.too_many_values())
    }

    #[cold]
    fn too_many_values(&self) -> Box<Failure> {
        let expected = format!("a record of at most {VALUES_MAX} values and absent fields");
        mismatch(self.cursor.at(), &expected, "split the record")
    }

    #[cold]
    fn unfit(&self, node: &Node) -> Box<Failure> {
        mismatch(self.cursor.at(), &node.hive_type, "")
    }
}
