//! The values of a column chunk, without nulls: what all kinds have in common, and booleans.

use std::fmt::Debug;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::DataType;
use parquet::basic::{BoundaryOrder, Encoding};
use parquet::errors::ParquetError;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;

use super::bounds::Bounds;
use super::bytes::BytesValues;
use super::fixed::FixedValues;
use crate::convert::int96;

/// How values are written that are not in a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::convert) enum Form {
    /// As they are.
    Plain,
    /// Whole numbers as differences; texts as their lengths, in that form, and their bytes.
    Differences,
}

/// The values of one column chunk, page by page.
pub(super) trait Values: Debug + Send {
    /// Appends the values of an array of the column's type; its nulls are left out.
    fn append(&mut self, array: &dyn Array);
    /// About how many bytes the page under way has.
    fn page_bytes(&self) -> usize;
    /// Appends the bytes of the page under way to `out` and begins another.
    fn end_page(&mut self, out: &mut Vec<u8>) -> EndedPage;
    /// How many values the dictionary has, and their bytes.
    fn dictionary_size(&self) -> (usize, usize) {
        (0, 0)
    }
    /// Whether the dictionary got values that collide as if on purpose.
    fn is_hostile(&self) -> bool {
        false
    }
    /// Whether the page under way is in the dictionary.
    fn has_dictionary(&self) -> bool {
        false
    }
    /// The next page, and all behind it, are not in the dictionary.
    fn end_dictionary(&mut self) {}
    /// Appends the dictionary's page and returns how many values it has.
    fn append_dictionary(&self, _out: &mut Vec<u8>) -> usize {
        0
    }
    /// How the bounds of pages lie to each other; `None` where values have no order.
    fn order(&self) -> Option<BoundaryOrder>;
    /// What the footer says of the chunk.
    fn statistics(&self, null_count: u64) -> Option<Statistics>;
}

/// What is known of a page.
#[derive(Debug)]
pub(super) struct EndedPage {
    pub(super) encoding: Encoding,
    /// The bytes of the least and of the greatest value, if the page has values and they have an order.
    pub(super) bounds: Option<(Vec<u8>, Vec<u8>)>,
}

/// The values of a leaf column of an Arrow type.
///
/// # Errors
/// When no column of a table has that type.
pub(super) fn values(
    data_type: &DataType,
    column: &ColumnDescriptor,
    form: Form,
    has_dictionary: bool,
) -> Result<Box<dyn Values>, ParquetError> {
    let width = |bytes| (bytes, form, has_dictionary);
    macro_rules! fixed {
        ($value:ty, $width:expr) => {{
            let (bytes, form, has_dictionary) = width($width);
            Box::new(FixedValues::<$value>::new(bytes, form, has_dictionary))
        }};
    }
    Ok(match data_type {
        DataType::Boolean => Box::new(Booleans::default()),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Date32 => fixed!(i32, 4),
        DataType::Int64 | DataType::Timestamp(..) => fixed!(i64, 8),
        DataType::Float32 => fixed!(f32, 4),
        DataType::Float64 => fixed!(f64, 8),
        DataType::Decimal128(..) => fixed!(i128, column.type_length() as usize),
        DataType::FixedSizeBinary(_) => fixed!([u8; int96::BYTES], int96::BYTES),
        DataType::Utf8 => Box::new(BytesValues::new(true, form, has_dictionary)),
        DataType::Binary => Box::new(BytesValues::new(false, form, has_dictionary)),
        other => {
            return Err(ParquetError::NYI(format!("no column of a table has the type {other}")));
        }
    })
}

/// Booleans, a bit each.
#[derive(Debug)]
struct Booleans {
    values: BooleanBufferBuilder,
    bounds: Bounds<bool>,
}

impl Default for Booleans {
    fn default() -> Self {
        Self { values: BooleanBufferBuilder::new(0), bounds: Bounds::default() }
    }
}

impl Values for Booleans {
    fn append(&mut self, array: &dyn Array) {
        let values = array.as_boolean().values();
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.values.append_buffer(values),
            Some(nulls) => {
                for valid in nulls.valid_indices() {
                    self.values.append(values.value(valid));
                }
            }
        }
    }

    fn page_bytes(&self) -> usize {
        self.values.len() / 8
    }

    fn end_page(&mut self, out: &mut Vec<u8>) -> EndedPage {
        let values = self.values.finish();
        out.extend_from_slice(&values.values()[..values.len().div_ceil(8)]);
        let true_count = values.count_set_bits();
        let bounds = (!values.is_empty()).then(|| (true_count == values.len(), true_count > 0));
        if let Some((least, greatest)) = bounds {
            self.bounds.add(least, greatest, |a, b| a < b);
        }
        let bytes = |value: bool| vec![u8::from(value)];
        let bounds = bounds.map(|(least, greatest)| (bytes(least), bytes(greatest)));
        EndedPage { encoding: Encoding::PLAIN, bounds }
    }

    fn order(&self) -> Option<BoundaryOrder> {
        Some(self.bounds.order())
    }

    fn statistics(&self, null_count: u64) -> Option<Statistics> {
        let (least, greatest) = self.bounds.chunk.unzip();
        Some(ValueStatistics::new(least, greatest, None, Some(null_count), false).into())
    }
}
