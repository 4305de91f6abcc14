//! Columns that grow value by value, right from the decoder, and can be cut back.
//!
//! Owns the memory of a batch: plain vectors of values, ends, bytes and the places of nulls. Does not
//! judge values, and knows nothing of Arrow: `arrays` makes arrays of it.
//!
//! Invariants: a null struct has null fields, and a null list or map has no items. While a nested
//! value is being read its children may have more values than the column itself; a column is cut to
//! what it had before, children included, when a record turns out to be bad.

use std::collections::HashSet;

use super::habits::Habits;
use super::schema::{Fields, Node, Shape};
use crate::number::word_at;
use crate::table::HiveType;

/// Maps up to this size are searched for equal keys pair by pair.
const SMALL_MAP_ENTRIES_MAX: usize = 16;

/// The values of one column, or of one nested part of it.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) nulls: Nulls,
    pub(super) values: Values,
    /// The object, of those that the column is a field of, in which it was last seen.
    seen_in: u64,
}

/// The places of nulls, in rising order.
#[derive(Debug, Default)]
pub(super) struct Nulls(pub(super) Vec<u32>);

#[derive(Debug)]
pub(super) enum Values {
    Boolean(Vec<bool>),
    TinyInt(Vec<i8>),
    SmallInt(Vec<i16>),
    Int(Vec<i32>),
    BigInt(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal {
        unscaled: Vec<i128>,
        scale: u8,
        /// What every unscaled value is smaller than.
        bound: i128,
    },
    /// Days since 1970.
    Date(Vec<i32>),
    /// Microseconds since 1970, whatever the form in the file.
    Timestamp(Vec<i64>),
    /// With the most characters a text may have.
    Text(Texts, Option<u32>),
    Binary(Texts),
    List {
        item: Box<Column>,
        ends: Vec<i32>,
    },
    Map(Box<Entries>),
    Struct(Columns),
}

/// Texts one behind the other.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) bytes: Vec<u8>,
    /// Where each begins and ends; one more than there are texts.
    pub(super) ends: Vec<i32>,
}

/// The entries of maps.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) keys: Column,
    pub(super) values: Column,
    pub(super) ends: Vec<i32>,
}

/// Columns side by side: those of the table, or the fields of a struct.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) list: Vec<Column>,
    /// How many rows, or structs, are complete.
    pub(super) length: usize,
    pub(super) habits: Habits,
    /// The number of the object that is being read.
    object: u64,
    /// How many of its fields were seen.
    named: usize,
}

impl Column {
    /// A column without values.
    pub(super) fn new(node: &Node) -> Self {
        let values = match &node.shape {
            Shape::Boolean => Values::Boolean(vec![]),
            Shape::Integer => match node.hive_type {
                HiveType::TinyInt => Values::TinyInt(vec![]),
                HiveType::SmallInt => Values::SmallInt(vec![]),
                HiveType::Int => Values::Int(vec![]),
                _ => Values::BigInt(vec![]),
            },
            Shape::Float => Values::Float(vec![]),
            Shape::Double => Values::Double(vec![]),
            Shape::Decimal { precision, scale } => Values::Decimal {
                unscaled: vec![],
                scale: *scale,
                bound: 10i128.pow(u32::from(*precision)),
            },
            Shape::Text { characters_max } => Values::Text(Texts::new(), *characters_max),
            Shape::Binary(_) => Values::Binary(Texts::new()),
            Shape::Date => Values::Date(vec![]),
            Shape::Timestamp(_) => Values::Timestamp(vec![]),
            Shape::List(item) => Values::List { item: Box::new(Self::new(item)), ends: vec![0] },
            Shape::Map(nodes) => Values::Map(Box::new(Entries {
                keys: Self::new(&nodes.key),
                values: Self::new(&nodes.value),
                ends: vec![0],
            })),
            Shape::Struct(fields) => Values::Struct(Columns::new(fields)),
        };
        Self { nulls: Nulls::default(), values, seen_in: 0 }
    }

    /// The number of values, nulls included.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Boolean(values) => values.len(),
            Values::TinyInt(values) => values.len(),
            Values::SmallInt(values) => values.len(),
            Values::Int(values) | Values::Date(values) => values.len(),
            Values::BigInt(values) | Values::Timestamp(values) => values.len(),
            Values::Float(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Decimal { unscaled, .. } => unscaled.len(),
            Values::Text(texts, _) | Values::Binary(texts) => texts.ends.len() - 1,
            Values::List { ends, .. } => ends.len() - 1,
            Values::Map(entries) => entries.ends.len() - 1,
            Values::Struct(columns) => columns.length,
        }
    }

    pub(super) fn append_null(&mut self) {
        self.nulls.0.push(self.len() as u32); // A batch has fewer values by far.
        match &mut self.values {
            Values::Boolean(values) => values.push(false),
            Values::TinyInt(values) => values.push(0),
            Values::SmallInt(values) => values.push(0),
            Values::Int(values) | Values::Date(values) => values.push(0),
            Values::BigInt(values) | Values::Timestamp(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal { unscaled, .. } => unscaled.push(0),
            Values::Text(texts, _) | Values::Binary(texts) => texts.end(),
            Values::List { ends, .. } => repeat_last(ends),
            Values::Map(entries) => repeat_last(&mut entries.ends),
            Values::Struct(columns) => {
                columns.list.iter_mut().for_each(Self::append_null);
                columns.length += 1;
            }
        }
    }

    /// Takes back all but the first `length` values, and what was begun of one more.
    pub(super) fn truncate(&mut self, length: usize) {
        self.nulls.truncate(length);
        match &mut self.values {
            Values::Boolean(values) => values.truncate(length),
            Values::TinyInt(values) => values.truncate(length),
            Values::SmallInt(values) => values.truncate(length),
            Values::Int(values) | Values::Date(values) => values.truncate(length),
            Values::BigInt(values) | Values::Timestamp(values) => values.truncate(length),
            Values::Float(values) => values.truncate(length),
            Values::Double(values) => values.truncate(length),
            Values::Decimal { unscaled, .. } => unscaled.truncate(length),
            Values::Text(texts, _) | Values::Binary(texts) => {
                let bytes = truncate_ends(&mut texts.ends, length);
                texts.bytes.truncate(bytes);
            }
            Values::List { item, ends } => item.truncate(truncate_ends(ends, length)),
            Values::Map(entries) => {
                let kept = truncate_ends(&mut entries.ends, length);
                entries.truncate(kept);
            }
            Values::Struct(columns) => columns.truncate(length),
        }
    }

    /// A column of the same type without values.
    fn empty(&self) -> Self {
        let texts = || Texts::new();
        let values = match &self.values {
            Values::Boolean(_) => Values::Boolean(vec![]),
            Values::TinyInt(_) => Values::TinyInt(vec![]),
            Values::SmallInt(_) => Values::SmallInt(vec![]),
            Values::Int(_) => Values::Int(vec![]),
            Values::BigInt(_) => Values::BigInt(vec![]),
            Values::Float(_) => Values::Float(vec![]),
            Values::Double(_) => Values::Double(vec![]),
            Values::Decimal { scale, bound, .. } => {
                Values::Decimal { unscaled: vec![], scale: *scale, bound: *bound }
            }
            Values::Date(_) => Values::Date(vec![]),
            Values::Timestamp(_) => Values::Timestamp(vec![]),
            Values::Text(_, characters_max) => Values::Text(texts(), *characters_max),
            Values::Binary(_) => Values::Binary(texts()),
            Values::List { item, .. } => {
                Values::List { item: Box::new(item.empty()), ends: vec![0] }
            }
            Values::Map(entries) => Values::Map(Box::new(entries.empty())),
            Values::Struct(columns) => {
                Values::Struct(Columns::of(columns.list.iter().map(Self::empty).collect()))
            }
        };
        Self { nulls: Nulls::default(), values, seen_in: 0 }
    }

    /// Appends the value that stands at `at` in a column of the same type.
    fn append_copy(&mut self, from: &Self, at: usize) {
        if from.nulls.contains(at) {
            return self.append_null();
        }
        match (&mut self.values, &from.values) {
            (Values::Boolean(to), Values::Boolean(from)) => to.push(from[at]),
            (Values::TinyInt(to), Values::TinyInt(from)) => to.push(from[at]),
            (Values::SmallInt(to), Values::SmallInt(from)) => to.push(from[at]),
            (Values::Int(to), Values::Int(from)) => to.push(from[at]),
            (Values::Date(to), Values::Date(from)) => to.push(from[at]),
            (Values::BigInt(to), Values::BigInt(from)) => to.push(from[at]),
            (Values::Timestamp(to), Values::Timestamp(from)) => to.push(from[at]),
            (Values::Float(to), Values::Float(from)) => to.push(from[at]),
            (Values::Double(to), Values::Double(from)) => to.push(from[at]),
            (Values::Decimal { unscaled: to, .. }, Values::Decimal { unscaled: from, .. }) => {
                to.push(from[at])
            }
            (Values::Text(to, _), Values::Text(from, _))
            | (Values::Binary(to), Values::Binary(from)) => {
                to.bytes.extend_from_slice(from.text(at));
                to.end();
            }
            (Values::List { item, ends }, Values::List { item: items, ends: from }) => {
                for index in from[at]..from[at + 1] {
                    item.append_copy(items, index as usize);
                }
                ends.push(offset(item.len()));
            }
            (Values::Map(to), Values::Map(from)) => {
                for index in from.ends[at]..from.ends[at + 1] {
                    to.append_copy(from, index as usize);
                }
                to.end();
            }
            (Values::Struct(to), Values::Struct(from)) => {
                for (to, from) in to.list.iter_mut().zip(&from.list) {
                    to.append_copy(from, at);
                }
                to.length += 1;
            }
            _ => unreachable!("both columns have one type"),
        }
    }

    /// The value of a map's key as something to compare.
    fn key(&self, at: usize) -> Key<'_> {
        match &self.values {
            Values::Boolean(values) => Key::Bits(values[at].into()),
            Values::TinyInt(values) => Key::Bits(values[at].into()),
            Values::SmallInt(values) => Key::Bits(values[at].into()),
            Values::Int(values) | Values::Date(values) => Key::Bits(values[at].into()),
            Values::BigInt(values) | Values::Timestamp(values) => Key::Bits(values[at].into()),
            Values::Float(values) => Key::Bits(values[at].to_bits().into()),
            Values::Double(values) => Key::Bits(values[at].to_bits().into()),
            Values::Decimal { unscaled, .. } => Key::Bits(unscaled[at]),
            Values::Text(texts, _) | Values::Binary(texts) => Key::Text(texts.text(at)),
            Values::List { .. } | Values::Map(_) | Values::Struct(_) => {
                unreachable!("a map's key has a primitive type")
            }
        }
    }
}

/// A map's key as something to compare.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Text(&'a [u8]),
    Bits(i128),
}

impl Nulls {
    fn truncate(&mut self, length: usize) {
        while self.0.last().is_some_and(|at| *at as usize >= length) {
            self.0.pop();
        }
    }

    fn contains(&self, at: usize) -> bool {
        u32::try_from(at).is_ok_and(|at| self.0.binary_search(&at).is_ok())
    }
}

impl Texts {
    fn new() -> Self {
        Self { bytes: vec![], ends: vec![0] }
    }

    /// Ends a text at the end of the bytes.
    #[inline]
    pub(super) fn end(&mut self) {
        self.ends.push(offset(self.bytes.len()));
    }

    /// Takes back what was appended since the last text ended.
    pub(super) fn undo(&mut self) {
        let length = self.bytes.len() - self.open().len();
        self.bytes.truncate(length);
    }

    /// What was appended since the last text ended.
    pub(super) fn open(&self) -> &[u8] {
        let start = self.ends.last().map_or(0, |end| *end as usize);
        &self.bytes[start..]
    }

    fn text(&self, at: usize) -> &[u8] {
        &self.bytes[self.ends[at] as usize..self.ends[at + 1] as usize]
    }
}

impl Entries {
    /// The number of entries, those of an open map included.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Where the map that is being read begins.
    pub(super) fn start(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// Ends a map; of equal keys the last stays.
    pub(super) fn end(&mut self) {
        if self.has_equal_keys() {
            self.drop_overwritten();
        }
        self.ends.push(offset(self.len()));
    }

    fn empty(&self) -> Self {
        Self { keys: self.keys.empty(), values: self.values.empty(), ends: vec![0] }
    }

    fn truncate(&mut self, length: usize) {
        self.keys.truncate(length);
        self.values.truncate(length);
    }

    fn append_copy(&mut self, from: &Self, at: usize) {
        self.keys.append_copy(&from.keys, at);
        self.values.append_copy(&from.values, at);
    }

    /// Whether two keys of the open map are equal.
    fn has_equal_keys(&self) -> bool {
        let (start, end) = (self.start(), self.len());
        if end - start > SMALL_MAP_ENTRIES_MAX {
            let mut seen = HashSet::with_capacity(end - start);
            return !(start..end).all(|at| seen.insert(self.keys.key(at)));
        }
        if let Values::Text(texts, _) = &self.keys.values {
            // Nearly all keys differ in their first bytes or in their length.
            let mut prints = [0; SMALL_MAP_ENTRIES_MAX];
            for (print, at) in prints.iter_mut().zip(start..end) {
                let text = texts.text(at);
                *print = word_at(text, 0) ^ (text.len() as u64) << 56;
            }
            let prints = &prints[..end - start];
            let mut later = prints.iter();
            let mut may_repeat = false;
            while let Some(print) = later.next() {
                may_repeat |= later.as_slice().contains(print);
            }
            if !may_repeat {
                return false;
            }
            let is_repeated = |at| (at + 1..end).any(|other| texts.text(at) == texts.text(other));
            return (start..end).any(is_repeated);
        }
        (start..end).any(|at| (at + 1..end).any(|other| self.keys.key(at) == self.keys.key(other)))
    }

    fn drop_overwritten(&mut self) {
        let (start, end) = (self.start(), self.len());
        let mut seen = HashSet::with_capacity(end - start);
        let mut stays: Vec<bool> =
            (start..end).rev().map(|at| seen.insert(self.keys.key(at))).collect();
        stays.reverse();
        let mut kept = self.empty();
        for (at, stays) in (start..end).zip(stays) {
            if stays {
                kept.append_copy(self, at);
            }
        }
        self.truncate(start);
        for at in 0..kept.len() {
            self.append_copy(&kept, at);
        }
    }
}

impl Columns {
    pub(super) fn new(fields: &Fields) -> Self {
        Self::of(fields.list.iter().map(|field| Column::new(&field.node)).collect())
    }

    fn of(list: Vec<Column>) -> Self {
        let count = list.len();
        Self { list, length: 0, habits: Habits::new(count), object: 0, named: 0 }
    }

    /// Begins a row, or a struct.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.object += 1;
        self.named = 0;
    }

    /// Makes room for the value of a field, of which a former one goes.
    #[inline]
    pub(super) fn prepare(&mut self, index: usize) -> &mut Column {
        let column = &mut self.list[index];
        if column.seen_in == self.object {
            column.truncate(self.length);
            self.named -= 1;
        }
        self.named += 1;
        column.seen_in = self.object;
        column
    }

    /// Ends a row, or a struct, of which `named` keys were those of fields: missing ones are null.
    #[inline]
    pub(super) fn end(&mut self) {
        if self.named < self.list.len() {
            for column in &mut self.list {
                if column.seen_in != self.object {
                    column.append_null();
                }
            }
        }
        self.length += 1;
    }

    /// Takes back all but the first `length` rows, and what was begun of one more.
    pub(super) fn truncate(&mut self, length: usize) {
        self.list.iter_mut().for_each(|column| column.truncate(length));
        self.length = length;
    }
}

/// An offset as Arrow keeps it. A batch is written long before it holds 2^31 bytes or items.
#[inline]
pub(super) fn offset(length: usize) -> i32 {
    i32::try_from(length).expect("the encoder bounds a batch's bytes and values")
}

fn repeat_last(ends: &mut Vec<i32>) {
    ends.push(ends.last().copied().unwrap_or(0));
}

/// Takes back all but the first `length` ends, and says where the last of them is.
fn truncate_ends(ends: &mut Vec<i32>, length: usize) -> usize {
    ends.truncate(length + 1);
    ends.last().map_or(0, |end| *end as usize)
}
