//! Columns that grow cell by cell and become Arrow arrays.
//!
//! Owns the builders. Does not judge values: the decoder checked every cell against the column's
//! type, so that appending cannot fail.
//!
//! Invariant: in a batch every column has as many values as rows were appended; a null struct has
//! null fields, and a null list or map has no items.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow_buffer::{
    ArrowNativeType, BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer,
    ScalarBuffer,
};
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};

use super::cells::{Cell, Cells};
use super::int96;
use super::schema::{Node, Shape};
use crate::table::HiveType;

/// The values of one column, or of one nested part of it.
#[derive(Debug)]
pub(super) struct Column {
    validity: NullBufferBuilder,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    TinyInt(Vec<i8>),
    SmallInt(Vec<i16>),
    /// Dates too.
    Int(Vec<i32>),
    /// Timestamps too, as microseconds.
    BigInt(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal(Vec<i128>),
    /// Binary values too.
    Text {
        bytes: Vec<u8>,
        ends: Vec<i32>,
    },
    List {
        item: Box<Column>,
        ends: Vec<i32>,
    },
    Map {
        entry: Box<[Column; 2]>,
        ends: Vec<i32>,
    },
    Struct(Vec<Column>),
}

impl Column {
    /// A column without values.
    pub(super) fn new(node: &Node) -> Self {
        let values = match &node.shape {
            Shape::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            Shape::Integer { .. } => match node.hive_type {
                HiveType::TinyInt => Values::TinyInt(vec![]),
                HiveType::SmallInt => Values::SmallInt(vec![]),
                HiveType::Int => Values::Int(vec![]),
                _ => Values::BigInt(vec![]),
            },
            Shape::Float => Values::Float(vec![]),
            Shape::Double => Values::Double(vec![]),
            Shape::Decimal { .. } => Values::Decimal(vec![]),
            Shape::Text { .. } | Shape::Binary(_) => Values::Text { bytes: vec![], ends: vec![0] },
            Shape::Date => Values::Int(vec![]),
            Shape::Timestamp(_) => Values::BigInt(vec![]),
            Shape::List(item) => Values::List { item: Box::new(Self::new(item)), ends: vec![0] },
            Shape::Map(nodes) => Values::Map {
                entry: Box::new([Self::new(&nodes.key), Self::new(&nodes.value)]),
                ends: vec![0],
            },
            Shape::Struct(fields) => {
                let nodes = fields.list.iter().map(|field| &field.node);
                Values::Struct(nodes.map(Self::new).collect())
            }
        };
        let validity = NullBufferBuilder::new(0);
        Self { validity, values }
    }

    /// Appends one of the `cells` of a record that holds `data`.
    #[inline]
    pub(super) fn append(&mut self, cell: Cell, cells: &Cells, data: &[u8]) {
        match (&mut self.values, cell) {
            (_, Cell::Null) => return self.append_null(),
            (
                Values::Text { bytes, ends },
                Cell::Source(_) | Cell::Unescaped(_) | Cell::Decoded(_),
            ) => {
                bytes.extend_from_slice(cells.text(cell, data).unwrap_or_default());
                ends.push(offset(bytes.len()));
            }
            (Values::Boolean(values), Cell::Boolean(value)) => values.append(value),
            // The decoder checked the range of the narrow ones.
            (Values::TinyInt(values), Cell::Integer(value)) => values.push(value as i8),
            (Values::SmallInt(values), Cell::Integer(value)) => values.push(value as i16),
            (Values::Int(values), Cell::Integer(value)) => values.push(value as i32),
            (Values::BigInt(values), Cell::Integer(value)) => values.push(value),
            (Values::Float(values), Cell::Float(value)) => values.push(value),
            (Values::Double(values), Cell::Double(value)) => values.push(value),
            (Values::Decimal(values), Cell::Decimal { high, low }) => {
                values.push(i128::from(high) << 64 | i128::from(low));
            }
            (Values::List { item, ends }, Cell::Nested(span)) => {
                for value in &cells.values[span.range()] {
                    item.append(*value, cells, data);
                }
                ends.push(offset(item.len()));
            }
            (Values::Map { entry, ends }, Cell::Nested(span)) => {
                let [keys, values] = &mut **entry;
                for pair in cells.values[span.range()].chunks_exact(2) {
                    keys.append(pair[0], cells, data);
                    values.append(pair[1], cells, data);
                }
                ends.push(offset(keys.len()));
            }
            (Values::Struct(fields), Cell::Nested(span)) => {
                for (field, value) in fields.iter_mut().zip(&cells.values[span.range()]) {
                    field.append(*value, cells, data);
                }
            }
            _ => unreachable!("the decoder makes cells by the column's own shape"),
        }
        self.validity.append_non_null();
    }

    /// Takes the values out as an array of `field`'s type; the column is empty afterwards.
    ///
    /// # Errors
    /// When Arrow finds the parts at odds with each other, which would be a fault of this module.
    pub(super) fn take_array(&mut self, field: &Field) -> Result<ArrayRef, ArrowError> {
        let nulls = self.validity.finish();
        let data_type = field.data_type();
        Ok(match (&mut self.values, data_type) {
            (Values::Boolean(values), _) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            (Values::TinyInt(values), _) => primitive::<Int8Type>(values, data_type, nulls),
            (Values::SmallInt(values), _) => primitive::<Int16Type>(values, data_type, nulls),
            (Values::Int(values), DataType::Date32) => {
                primitive::<Date32Type>(values, data_type, nulls)
            }
            (Values::Int(values), _) => primitive::<Int32Type>(values, data_type, nulls),
            (Values::BigInt(values), DataType::Timestamp(TimeUnit::Millisecond, _)) => {
                for value in values.iter_mut() {
                    *value = value.div_euclid(1000);
                }
                primitive::<TimestampMillisecondType>(values, data_type, nulls)
            }
            (Values::BigInt(values), DataType::Timestamp(..)) => {
                primitive::<TimestampMicrosecondType>(values, data_type, nulls)
            }
            (Values::BigInt(values), DataType::FixedSizeBinary(width)) => {
                let bytes: Vec<u8> = values.drain(..).flat_map(int96::value).collect();
                Arc::new(FixedSizeBinaryArray::try_new(*width, Buffer::from_vec(bytes), nulls)?)
            }
            (Values::BigInt(values), _) => primitive::<Int64Type>(values, data_type, nulls),
            (Values::Float(values), _) => primitive::<Float32Type>(values, data_type, nulls),
            (Values::Double(values), _) => primitive::<Float64Type>(values, data_type, nulls),
            (Values::Decimal(values), _) => primitive::<Decimal128Type>(values, data_type, nulls),
            (Values::Text { bytes, ends }, DataType::Binary) => {
                let bytes = Buffer::from_vec(take_vec(bytes));
                Arc::new(BinaryArray::try_new(take_offsets(ends), bytes, nulls)?)
            }
            (Values::Text { bytes, ends }, _) => {
                let bytes = Buffer::from_vec(take_vec(bytes));
                Arc::new(StringArray::try_new(take_offsets(ends), bytes, nulls)?)
            }
            (Values::List { item, ends }, DataType::List(item_field)) => {
                let items = item.take_array(item_field)?;
                let item_field = Arc::clone(item_field);
                Arc::new(ListArray::try_new(item_field, take_offsets(ends), items, nulls)?)
            }
            (Values::Map { entry, ends }, DataType::Map(entry_field, _)) => {
                let DataType::Struct(fields) = entry_field.data_type() else {
                    unreachable!("a map's entries are a struct");
                };
                let columns = take_arrays(&mut **entry, fields)?;
                let entries = StructArray::try_new(fields.clone(), columns, None)?;
                let entry_field = Arc::clone(entry_field);
                let offsets = take_offsets(ends);
                Arc::new(MapArray::try_new(entry_field, offsets, entries, nulls, false)?)
            }
            (Values::Struct(columns), DataType::Struct(fields)) => {
                let columns = take_arrays(columns, fields)?;
                Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?)
            }
            _ => unreachable!("the Arrow schema is made from the column's own shape"),
        })
    }

    fn len(&self) -> usize {
        self.validity.len()
    }

    fn append_null(&mut self) {
        self.validity.append_null();
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::TinyInt(values) => values.push(0),
            Values::SmallInt(values) => values.push(0),
            Values::Int(values) => values.push(0),
            Values::BigInt(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Text { ends, .. } | Values::List { ends, .. } | Values::Map { ends, .. } => {
                ends.push(ends.last().copied().unwrap_or(0));
            }
            Values::Struct(fields) => fields.iter_mut().for_each(Self::append_null),
        }
    }
}

/// Takes the arrays of columns that stand side by side.
pub(super) fn take_arrays<'a>(
    columns: &mut [Column],
    fields: impl IntoIterator<Item = &'a Arc<Field>>,
) -> Result<Vec<ArrayRef>, ArrowError> {
    let pairs = columns.iter_mut().zip(fields);
    pairs.map(|(column, field)| column.take_array(field)).collect()
}

/// An offset as Arrow keeps it. A batch is written long before it holds 2^31 bytes or items.
#[inline]
fn offset(length: usize) -> i32 {
    i32::try_from(length).expect("the encoder bounds a batch's bytes and values")
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    data_type: &DataType,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let values = ScalarBuffer::from(take_vec(values));
    Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type.clone()))
}

/// The contents of `vec`, which gets room for as many again: batches are alike.
fn take_vec<T: ArrowNativeType>(vec: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(vec.len());
    std::mem::replace(vec, room)
}

fn take_offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let taken = take_vec(ends);
    ends.push(0);
    OffsetBuffer::new(ScalarBuffer::from(taken))
}
