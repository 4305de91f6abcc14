//! Arrow's arrays out of columns.
//!
//! Owns the way from the vectors of a batch to arrays of the schema's types. Does not own how the
//! vectors are filled (`columns`).

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};

use super::columns::{Column, Columns, Nulls, Values};
use super::int96;

impl Columns {
    /// Takes the values out as arrays of the types of `fields`; the columns are empty afterwards.
    ///
    /// # Errors
    /// When Arrow finds the parts at odds with each other, which would be a fault of `columns`.
    pub(super) fn take_arrays<'a>(
        &mut self,
        fields: impl IntoIterator<Item = &'a Arc<Field>>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        self.length = 0;
        let pairs = self.list.iter_mut().zip(fields);
        pairs.map(|(column, field)| column.take_array(field)).collect()
    }
}

impl Column {
    fn take_array(&mut self, field: &Field) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.take(self.len());
        let data_type = field.data_type();
        Ok(match (&mut self.values, data_type) {
            (Values::Boolean(values), _) => {
                let values = BooleanBuffer::from(take(values));
                Arc::new(BooleanArray::new(values, nulls))
            }
            (Values::TinyInt(values), _) => primitive::<Int8Type>(values, data_type, nulls),
            (Values::SmallInt(values), _) => primitive::<Int16Type>(values, data_type, nulls),
            (Values::Int(values), _) => primitive::<Int32Type>(values, data_type, nulls),
            (Values::Date(values), _) => primitive::<Date32Type>(values, data_type, nulls),
            (Values::Timestamp(values), DataType::Timestamp(TimeUnit::Millisecond, _)) => {
                for value in values.iter_mut() {
                    *value = value.div_euclid(1000);
                }
                primitive::<TimestampMillisecondType>(values, data_type, nulls)
            }
            (Values::Timestamp(values), DataType::FixedSizeBinary(width)) => {
                let bytes: Vec<u8> = take(values).into_iter().flat_map(int96::value).collect();
                Arc::new(FixedSizeBinaryArray::try_new(*width, Buffer::from_vec(bytes), nulls)?)
            }
            (Values::Timestamp(values), _) => {
                primitive::<TimestampMicrosecondType>(values, data_type, nulls)
            }
            (Values::BigInt(values), _) => primitive::<Int64Type>(values, data_type, nulls),
            (Values::Float(values), _) => primitive::<Float32Type>(values, data_type, nulls),
            (Values::Double(values), _) => primitive::<Float64Type>(values, data_type, nulls),
            (Values::Decimal { unscaled, .. }, _) => {
                primitive::<Decimal128Type>(unscaled, data_type, nulls)
            }
            (Values::Text(texts, _), _) => {
                let bytes = Buffer::from_vec(take(&mut texts.bytes));
                Arc::new(StringArray::try_new(take_ends(&mut texts.ends), bytes, nulls)?)
            }
            (Values::Binary(texts), _) => {
                let bytes = Buffer::from_vec(take(&mut texts.bytes));
                Arc::new(BinaryArray::try_new(take_ends(&mut texts.ends), bytes, nulls)?)
            }
            (Values::List { item, ends }, DataType::List(item_field)) => {
                let items = item.take_array(item_field)?;
                let item_field = Arc::clone(item_field);
                Arc::new(ListArray::try_new(item_field, take_ends(ends), items, nulls)?)
            }
            (Values::Map(entries), DataType::Map(entry_field, _)) => {
                let DataType::Struct(fields) = entry_field.data_type() else {
                    unreachable!("a map's entries are a struct");
                };
                let sides = [(&mut entries.keys, &fields[0]), (&mut entries.values, &fields[1])];
                let sides = sides.map(|(side, field)| side.take_array(field));
                let sides = sides.into_iter().collect::<Result<_, _>>()?;
                let pairs = StructArray::try_new(fields.clone(), sides, None)?;
                let entry_field = Arc::clone(entry_field);
                let offsets = take_ends(&mut entries.ends);
                Arc::new(MapArray::try_new(entry_field, offsets, pairs, nulls, false)?)
            }
            (Values::Struct(columns), DataType::Struct(fields)) => {
                let columns = columns.take_arrays(fields)?;
                Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?)
            }
            _ => unreachable!("the Arrow schema is made from the column's own shape"),
        })
    }
}

impl Nulls {
    /// The bits of `length` values, or none where no value is null.
    fn take(&mut self, length: usize) -> Option<NullBuffer> {
        if self.0.is_empty() {
            return None;
        }
        let mut bits = vec![0xffu8; length.div_ceil(8)];
        for at in self.0.drain(..) {
            bits[at as usize / 8] &= !(1 << (at % 8));
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, length)))
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    data_type: &DataType,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let values = ScalarBuffer::from(take(values));
    Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type.clone()))
}

/// The contents of `vec`, which gets room for as many again and some more: batches are alike, and to
/// grow a vector by a little costs a copy of all of it.
fn take<T>(vec: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(vec.len() + vec.len() / 8);
    std::mem::replace(vec, room)
}

fn take_ends(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let taken = take(ends);
    ends.push(0);
    OffsetBuffer::new(ScalarBuffer::from(taken))
}
