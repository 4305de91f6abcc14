//! Arrays of any type of column, for tests of what is written.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, MapArray,
    StringArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, TimeUnit};

use crate::convert::int96;

/// Numbers that look like chance and are the same on every machine.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 27
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// How the values of a column are spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// Different values, about.
    pub(super) distinct: u64,
    /// One value in so many is null; none for 0.
    pub(super) null_one_of: u64,
    /// Values grow with their rows.
    pub(super) ascends: bool,
}

impl Spread {
    fn number(self, chance: &mut Chance, row: usize) -> i64 {
        let number = chance.below(self.distinct) as i64 - self.distinct as i64 / 3;
        if self.ascends { row as i64 * 1000 + number % 1000 } else { number }
    }
}

/// An array of a type, in which what `is_there` denies is null.
pub(super) fn array(
    data_type: &DataType,
    nullable: bool,
    is_there: &[bool],
    spread: Spread,
    chance: &mut Chance,
) -> ArrayRef {
    let valid: Vec<bool> = is_there
        .iter()
        .map(|is_there| {
            let is_null = spread.null_one_of > 0 && chance.below(spread.null_one_of) == 0;
            *is_there && !(nullable && is_null)
        })
        .collect();
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid.clone()));
    let count = valid.len();
    let numbers = |chance: &mut Chance| {
        (0..count).map(|row| spread.number(chance, row)).collect::<Vec<i64>>()
    };
    macro_rules! primitive {
        ($array:ident, $convert:expr) => {
            Arc::new($array::new(
                numbers(chance).into_iter().map($convert).collect::<Vec<_>>().into(),
                nulls,
            ))
        };
    }
    let text = |chance: &mut Chance| {
        let number = spread.number(chance, 0);
        let long = if chance.below(20) == 0 { "é".repeat(45) } else { String::new() };
        format!("{}{number}", if number % 2 == 0 { "text " } else { &long })
    };
    match data_type {
        DataType::Boolean => {
            let values: Vec<bool> = numbers(chance).iter().map(|n| n % 3 == 0).collect();
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        DataType::Int8 => primitive!(Int8Array, |n| n as i8),
        DataType::Int16 => primitive!(Int16Array, |n| n as i16),
        DataType::Int32 => primitive!(Int32Array, |n| n as i32),
        DataType::Int64 => primitive!(Int64Array, |n| n.wrapping_mul(0x1234_5678_9abc)),
        DataType::Date32 => primitive!(Date32Array, |n| n as i32 % 20_000),
        DataType::Float32 => primitive!(Float32Array, |n| n as f32 / 8.0),
        DataType::Float64 => primitive!(Float64Array, |n| n as f64 / 8.0),
        DataType::Decimal128(precision, scale) => {
            let top = 10i128.pow(u32::from(*precision)) - 1;
            let values: Vec<i128> = numbers(chance)
                .iter()
                .map(|n| (i128::from(*n) << 60 ^ i128::from(*n)) % top)
                .collect();
            let array = Decimal128Array::new(values.into(), nulls);
            Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let values = numbers(chance).into();
            let array = TimestampMillisecondArray::new(values, nulls);
            Arc::new(array.with_data_type(data_type.clone()))
        }
        DataType::Timestamp(..) => {
            let values = numbers(chance).into();
            let array = TimestampMicrosecondArray::new(values, nulls);
            Arc::new(array.with_data_type(data_type.clone()))
        }
        DataType::FixedSizeBinary(width) => {
            let bytes: Vec<u8> = numbers(chance).into_iter().flat_map(int96::value).collect();
            Arc::new(FixedSizeBinaryArray::new(*width, bytes.into(), nulls))
        }
        DataType::Utf8 => {
            Arc::new(StringArray::from_iter(valid.iter().map(|valid| valid.then(|| text(chance)))))
        }
        DataType::Binary => Arc::new(BinaryArray::from_iter(
            valid.iter().map(|valid| valid.then(|| text(chance).into_bytes())),
        )),
        DataType::List(item) => {
            let (offsets, items) = lists(&valid, chance);
            let items =
                array(item.data_type(), item.is_nullable(), &vec![true; items], spread, chance);
            Arc::new(ListArray::new(item.clone(), offsets, items, nulls))
        }
        DataType::Map(entry, _) => {
            let (offsets, items) = lists(&valid, chance);
            let entries = array(entry.data_type(), false, &vec![true; items], spread, chance);
            let entries = entries.as_any().downcast_ref::<StructArray>().unwrap().clone();
            Arc::new(MapArray::new(entry.clone(), offsets, entries, nulls, false))
        }
        DataType::Struct(fields) => {
            let columns = fields
                .iter()
                .map(|field| array(field.data_type(), field.is_nullable(), &valid, spread, chance))
                .collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        other => panic!("no column has the type {other}"),
    }
}

/// Lists of few items, some empty, and how many items they have.
fn lists(valid: &[bool], chance: &mut Chance) -> (OffsetBuffer<i32>, usize) {
    let lengths: Vec<usize> =
        valid.iter().map(|valid| if *valid { chance.below(4) as usize } else { 0 }).collect();
    let items = lengths.iter().sum();
    (OffsetBuffer::from_lengths(lengths), items)
}
