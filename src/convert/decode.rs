//! From the bytes of a record into the table's columns.
//!
//! Owns the walk over a record's JSON by the types of the columns, and the bounds on what one record
//! may make. Does not own what a scalar may look like (`scalars`), the memory of the columns, nor the
//! words for what does not fit.
//!
//! Invariants: a record that fails here has changed no column; recursion follows the table's types,
//! whose depth is bounded.

use super::DATA_BYTES_MAX;
use super::columns::{Column, Columns, Entries, Values, offset};
use super::habits::Habits;
use super::input::JsonInput;
use super::quick;
use super::rejection::{Failure, Rejection, Step, mismatch, too_long};
use super::scalars;
use super::schema::{Fields, MapNodes, Node, Shape};
use crate::json::{Cursor, Kind, SyntaxError};
use crate::number::Why;

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
        let (bytes, have_patterns) = (self.cursor.bytes(), self.input.is_hive());
        let mut at = self.cursor.at();
        let mut place = 0;
        loop {
            let index = if let Some(guess) = columns.habits.guess(place, bytes, at) {
                at = guess.value_at;
                guess.index
            } else {
                self.cursor.move_to(at);
                let Some(found) = self.key(fields, &mut columns.habits, place)? else {
                    break;
                };
                at = self.cursor.at();
                found
            };
            let column = columns.prepare(index);
            if let Some(end) = quick::append(column, bytes, at, have_patterns) {
                at = end;
            } else {
                self.cursor.move_to(at);
                let field = &fields.list[index];
                self.other_value(&field.node, column)
                    .map_err(|failure| failure.inside(|| Step::Field(field.name.clone())))?;
                at = self.cursor.at();
            }
            place = index + 1;
        }
        columns.end();
        Ok(())
    }

    /// Moves to the value of the next key that names a field, or out of the object. `place` is where
    /// the key stands.
    #[inline]
    fn key(
        &mut self,
        fields: &Fields,
        habits: &mut Habits,
        place: usize,
    ) -> Result<Option<usize>, Box<Failure>> {
        let mut is_first = place == 0;
        let mut is_behind_unknown = false;
        loop {
            let start = self.cursor.at();
            if !self.cursor.next_key(is_first)? {
                return Ok(None);
            }
            let token = self.cursor.string()?;
            self.cursor.colon()?;
            self.cursor.skip_whitespace();
            if let Some(index) = fields.keys.find(&fields.list, self.cursor.bytes(), token) {
                if is_behind_unknown {
                    // What is skipped before it is not guessed.
                    habits.keep(index, token);
                } else {
                    let member = self.cursor.source(start..self.cursor.at());
                    habits.learn(place, index, token, member);
                }
                return Ok(Some(index));
            }
            self.cursor.skip_value()?;
            (is_first, is_behind_unknown) = (false, true);
        }
    }

    /// Appends the next value to `column`.
    #[inline]
    fn value(&mut self, node: &Node, column: &mut Column) -> Result<(), Box<Failure>> {
        self.cursor.skip_whitespace();
        let (bytes, at) = (self.cursor.bytes(), self.cursor.at());
        if let Some(end) = quick::append(column, bytes, at, self.input.is_hive()) {
            self.cursor.move_to(end);
            return Ok(());
        }
        self.other_value(node, column)
    }

    /// As [`value`](Self::value), for values that the short ways leave.
    #[inline(never)]
    fn other_value(&mut self, node: &Node, column: &mut Column) -> Result<(), Box<Failure>> {
        // What was guessed of the text before the value may end sooner.
        self.cursor.skip_whitespace();
        let first = self.cursor.bytes().get(self.cursor.at());
        match (&mut column.values, &node.shape) {
            (Values::Struct(columns), Shape::Struct(fields)) if first == Some(&b'{') => {
                self.object(fields, columns)
            }
            (Values::List { item, ends }, Shape::List(node)) if first == Some(&b'[') => {
                self.list(node, item, ends)
            }
            (Values::Map(entries), Shape::Map(nodes)) if first == Some(&b'{') => {
                self.map(nodes, entries)
            }
            _ => self.any_value(node, column),
        }
    }

    /// Appends a value that is no container of the column's type, by the rules.
    fn any_value(&mut self, node: &Node, column: &mut Column) -> Result<(), Box<Failure>> {
        let at = self.cursor.at();
        let kind = self.cursor.peek()?;
        match (kind, &node.shape) {
            (Kind::Null, _) => {
                self.cursor.literal("null")?;
                column.append_null();
                Ok(())
            }
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
            if let Some(end) = quick::append_text(texts, *characters_max, self.cursor.bytes(), at) {
                self.cursor.move_to(end);
                return Ok(());
            }
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
