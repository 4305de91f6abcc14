//! The rows of a row group in the order of some columns.
//!
//! Owns the rows until the group is complete, and the order. Rows that are equal in it stay as they
//! came, so that equal rows in equal order make equal files.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use arrow_select::interleave::interleave_record_batch;

use super::schema::Schema;

/// Rows of a sorted batch.
const BATCH_ROWS: usize = 2048;

/// The rows of a row group, in memory.
#[derive(Debug)]
pub(super) struct Sorting {
    /// The columns of the order, by their places in a batch; never empty.
    columns: Vec<usize>,
    held: Vec<RecordBatch>,
    pub(super) row_count: usize,
    pub(super) json_bytes: usize,
}

/// A row by its place, and what tells it from most others.
#[derive(Clone, Copy)]
struct Row {
    is_value: bool,
    prefix: u64,
    batch: u32,
    row: u32,
}

impl Sorting {
    /// The order that a table's options ask for; `None` if they name none of its columns.
    pub(super) fn new(schema: &Schema) -> Option<Self> {
        let columns = columns(schema);
        let is_sorted = !columns.is_empty();
        is_sorted.then(|| Self { columns, held: vec![], row_count: 0, json_bytes: 0 })
    }

    /// Appends rows that were made of `json_bytes` bytes of JSON.
    pub(super) fn push(&mut self, batch: RecordBatch, json_bytes: usize) {
        self.row_count += batch.num_rows();
        self.json_bytes += json_bytes;
        self.held.push(batch);
    }

    /// Takes the rows out, in order, batch by batch with its share of the JSON.
    pub(super) fn take(
        &mut self,
    ) -> impl Iterator<Item = Result<(RecordBatch, usize), ArrowError>> + use<> {
        let held = std::mem::take(&mut self.held);
        let row_bytes = self.json_bytes.div_ceil(self.row_count.max(1));
        let rows = sorted(&held, &self.columns);
        (self.row_count, self.json_bytes) = (0, 0);
        let mut at = 0;
        std::iter::from_fn(move || {
            let part = &rows[at..rows.len().min(at + BATCH_ROWS)];
            at += part.len();
            let places: Vec<_> =
                part.iter().map(|row| (row.batch as usize, row.row as usize)).collect();
            let held: Vec<&RecordBatch> = held.iter().collect();
            let batch = || interleave_record_batch(&held, &places);
            (!part.is_empty()).then(|| Ok((batch()?, part.len() * row_bytes)))
        })
    }
}

/// The places of the columns that rows are sorted by.
pub(super) fn columns(schema: &Schema) -> Vec<usize> {
    let fields = schema.arrow.fields();
    let wanted = schema.options.sort_by.iter();
    let found = wanted.filter_map(|name| fields.iter().position(|field| field.name() == name));
    found.filter(|place| !fields[*place].data_type().is_nested()).collect()
}

fn sorted(held: &[RecordBatch], columns: &[usize]) -> Vec<Row> {
    let arrays = |column: usize| held.iter().map(|batch| batch.column(column).clone()).collect();
    let keys: Vec<Vec<ArrayRef>> = columns.iter().map(|column| arrays(*column)).collect();
    let mut rows = vec![];
    for (batch, array) in keys[0].iter().enumerate() {
        rows.extend((0..array.len()).map(|row| Row {
            is_value: array.is_valid(row),
            prefix: prefix(array, row),
            batch: batch as u32,
            row: row as u32,
        }));
    }
    rows.sort_by(|a, b| {
        let prefixes = (a.is_value, a.prefix).cmp(&(b.is_value, b.prefix));
        prefixes.then_with(|| {
            let key = |arrays: &Vec<ArrayRef>| compare(arrays, a, b);
            keys.iter().map(key).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        })
    });
    rows
}

/// A number that is less where the value is less, and may be equal where values differ.
fn prefix(array: &ArrayRef, row: usize) -> u64 {
    if array.is_null(row) {
        return 0;
    }
    let signed = |number: i64| number as u64 ^ 1 << 63;
    let first = |bytes: &[u8]| {
        let mut first = [0; 8];
        let length = bytes.len().min(first.len());
        first[..length].copy_from_slice(&bytes[..length]);
        u64::from_be_bytes(first)
    };
    match array.data_type() {
        DataType::Int32 => signed(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => signed(array.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => signed(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            signed(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        DataType::Timestamp(..) => {
            signed(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Utf8 => first(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => first(array.as_binary::<i32>().value(row)),
        _ => 0,
    }
}

/// The order of two rows by one column.
fn compare(arrays: &[ArrayRef], a: &Row, b: &Row) -> Ordering {
    let (left, right) = (&arrays[a.batch as usize], &arrays[b.batch as usize]);
    let (at, other) = (a.row as usize, b.row as usize);
    match (left.is_valid(at), right.is_valid(other)) {
        (true, true) => {}
        (is_value, other_is_value) => return is_value.cmp(&other_is_value),
    }
    fn numbers<T: ArrowPrimitiveType>(
        (left, at): (&ArrayRef, usize),
        (right, other): (&ArrayRef, usize),
    ) -> (T::Native, T::Native) {
        (left.as_primitive::<T>().value(at), right.as_primitive::<T>().value(other))
    }
    macro_rules! by {
        ($arrow:ty, $compare:expr) => {{
            let (left, right) = numbers::<$arrow>((left, at), (right, other));
            $compare(&left, &right)
        }};
    }
    match left.data_type() {
        DataType::Boolean => left.as_boolean().value(at).cmp(&right.as_boolean().value(other)),
        DataType::Int8 => by!(Int8Type, Ord::cmp),
        DataType::Int16 => by!(Int16Type, Ord::cmp),
        DataType::Int32 => by!(Int32Type, Ord::cmp),
        DataType::Int64 => by!(Int64Type, Ord::cmp),
        DataType::Date32 => by!(Date32Type, Ord::cmp),
        DataType::Float32 => by!(Float32Type, f32::total_cmp),
        DataType::Float64 => by!(Float64Type, f64::total_cmp),
        DataType::Decimal128(..) => by!(Decimal128Type, Ord::cmp),
        DataType::Timestamp(TimeUnit::Millisecond, _) => by!(TimestampMillisecondType, Ord::cmp),
        DataType::Timestamp(..) => by!(TimestampMicrosecondType, Ord::cmp),
        DataType::Utf8 => {
            left.as_string::<i32>().value(at).cmp(right.as_string::<i32>().value(other))
        }
        DataType::Binary => {
            left.as_binary::<i32>().value(at).cmp(right.as_binary::<i32>().value(other))
        }
        // INT96: the day stands behind the nanoseconds of the day.
        _ => {
            let day_first = |value: &[u8]| {
                let mut reversed = value.to_vec();
                reversed.reverse();
                reversed
            };
            let left = left.as_fixed_size_binary().value(at);
            let right = right.as_fixed_size_binary().value(other);
            day_first(left).cmp(&day_first(right))
        }
    }
}
