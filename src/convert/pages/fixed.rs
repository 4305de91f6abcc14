//! Values of a fixed width: numbers, times, decimals and INT96.
//!
//! Owns how each is compared, and its bytes in pages, dictionaries and statistics.

use std::iter;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_schema::{DataType, TimeUnit};
use parquet::basic::{BoundaryOrder, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::bits;
use super::bounds::Bounds;
use super::delta;
use super::dictionary::{Dictionary, Key};
use super::hybrid;
use super::values::{EndedPage, Form, Values};
use crate::convert::int96;

/// A value of a fixed width.
pub(super) trait Fixed: Key + Default + std::fmt::Debug + Send + 'static {
    /// Whether the type defines an order.
    const IS_ORDERED: bool = true;

    /// Hands out the values of an array without its nulls.
    fn each_slice(array: &dyn Array, each: impl FnMut(&[Self]));
    /// Whether `self` comes before `other`.
    fn is_less(&self, other: &Self) -> bool;
    /// Appends the bytes of values that have `width` bytes each.
    fn append_all(values: &[Self], width: usize, out: &mut Vec<u8>);
    /// Appends differences, where the type has some.
    fn append_differences(_values: &[Self], _out: &mut Vec<u8>) -> Option<()> {
        None
    }
    /// Another value that readers take for this one.
    fn twin(&self) -> Option<Self> {
        None
    }
    /// The least and the greatest of `values`.
    fn bounds(values: impl Iterator<Item = Self>) -> Option<(Self, Self)> {
        values.fold(None, |bounds, value| match bounds {
            None => Some((value, value)),
            Some((least, greatest)) => Some((
                if value.is_less(&least) { value } else { least },
                if greatest.is_less(&value) { value } else { greatest },
            )),
        })
    }
    /// What the footer says of a chunk.
    fn statistics(bounds: Option<(Self, Self)>, width: usize, nulls: u64) -> Option<Statistics>;
}

/// The values of one column chunk.
#[derive(Debug)]
pub(super) struct FixedValues<T> {
    width: usize,
    form: Form,
    /// Of the page under way; in a dictionary they are `places`.
    values: Vec<T>,
    places: Vec<u32>,
    dictionary: Option<Dictionary<T>>,
    has_dictionary: bool,
    bounds: Bounds<T>,
}

impl<T: Fixed> FixedValues<T> {
    /// Values of `width` bytes.
    pub(super) fn new(width: usize, form: Form, has_dictionary: bool) -> Self {
        Self {
            width,
            form,
            values: vec![],
            places: vec![],
            dictionary: has_dictionary.then(Dictionary::new),
            has_dictionary,
            bounds: Bounds::default(),
        }
    }
}

impl<T: Fixed> Values for FixedValues<T> {
    fn append(&mut self, array: &dyn Array) {
        match &mut self.dictionary {
            Some(dictionary) if self.has_dictionary => {
                T::each_slice(array, |values| {
                    self.places.extend(values.iter().map(|value| dictionary.place(*value)));
                });
            }
            _ => T::each_slice(array, |values| self.values.extend_from_slice(values)),
        }
    }

    fn page_bytes(&self) -> usize {
        let width = self.dictionary.as_ref().map_or(0, |all| place_width(all.values.len()));
        self.values.len() * self.width + self.places.len() * width as usize / 8
    }

    fn end_page(&mut self, out: &mut Vec<u8>) -> EndedPage {
        let encoding;
        let bounds;
        match &self.dictionary {
            Some(dictionary) if self.has_dictionary => {
                encoding = append_places(&self.places, dictionary.values.len(), out);
                let used = used(&self.places, dictionary.values.len());
                bounds = T::bounds(used.map(|place| dictionary.values[place]));
                self.places.clear();
            }
            _ => {
                let is_delta = self.form == Form::Differences
                    && T::append_differences(&self.values, out).is_some();
                if is_delta {
                    encoding = Encoding::DELTA_BINARY_PACKED;
                } else {
                    encoding = Encoding::PLAIN;
                    T::append_all(&self.values, self.width, out);
                }
                bounds = T::bounds(self.values.iter().copied());
                self.values.clear();
            }
        }
        let bytes = |value: T| {
            let mut bytes = Vec::with_capacity(self.width);
            T::append_all(&[value], self.width, &mut bytes);
            bytes
        };
        let bounds = bounds.filter(|_| T::IS_ORDERED);
        if let Some((least, greatest)) = bounds {
            self.bounds.add(least, greatest, T::is_less);
        }
        let bounds = bounds.map(|(least, greatest)| (bytes(least), bytes(greatest)));
        EndedPage { encoding, bounds }
    }

    fn dictionary_size(&self) -> (usize, usize) {
        let count = self.dictionary.as_ref().map_or(0, |all| all.values.len());
        (count, count * self.width)
    }

    fn is_hostile(&self) -> bool {
        self.dictionary.as_ref().is_some_and(|all| all.is_hostile)
    }

    fn has_dictionary(&self) -> bool {
        self.has_dictionary
    }

    fn end_dictionary(&mut self) {
        self.has_dictionary = false;
    }

    fn append_dictionary(&self, out: &mut Vec<u8>) -> usize {
        let values = self.dictionary.as_ref().map_or(&[][..], |all| &all.values);
        T::append_all(values, self.width, out);
        values.len()
    }

    fn filter_page(&self, filter: &mut Sbbf) {
        filter_all(&self.values, self.width, filter);
    }

    fn filter_dictionary(&self, filter: &mut Sbbf) {
        let values = self.dictionary.as_ref().map_or(&[][..], |all| &all.values);
        filter_all(values, self.width, filter);
    }

    fn can_be_filtered(&self) -> bool {
        T::IS_ORDERED
    }

    fn order(&self) -> Option<BoundaryOrder> {
        T::IS_ORDERED.then(|| self.bounds.order())
    }

    fn statistics(&self, null_count: u64) -> Option<Statistics> {
        T::statistics(self.bounds.chunk, self.width, null_count)
    }
}

fn filter_all<T: Fixed>(values: &[T], width: usize, filter: &mut Sbbf) {
    let mut bytes = vec![];
    for value in values {
        for stored in iter::once(*value).chain(value.twin()) {
            bytes.clear();
            T::append_all(&[stored], width, &mut bytes);
            filter.insert(&bytes[..]);
        }
    }
}

/// The bits of a place among `count` values.
pub(super) fn place_width(count: usize) -> u32 {
    bits::width_of(count.saturating_sub(1) as u64)
}

/// Appends places in a dictionary of `count` values.
pub(super) fn append_places(places: &[u32], count: usize, out: &mut Vec<u8>) -> Encoding {
    let width = place_width(count);
    out.push(width as u8);
    hybrid::encode(places, width, out);
    Encoding::RLE_DICTIONARY
}

/// The places that stand in `places`, each once, out of `count`.
pub(super) fn used(places: &[u32], count: usize) -> impl Iterator<Item = usize> + use<> {
    let mut is_used = vec![false; count];
    for place in places {
        is_used[*place as usize] = true;
    }
    is_used.into_iter().enumerate().filter_map(|(place, is_used)| is_used.then_some(place))
}

fn slices<A: ArrowPrimitiveType>(array: &dyn Array, mut each: impl FnMut(&[A::Native])) {
    let values = array.as_primitive::<A>().values();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => each(values),
        Some(nulls) => {
            for (start, end) in nulls.valid_slices() {
                each(&values[start..end]);
            }
        }
    }
}

/// Little-endian bytes, one value behind the other.
fn append_words<const N: usize, T: Copy>(
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    for (place, value) in out[start..].chunks_exact_mut(N).zip(values) {
        place.copy_from_slice(&bytes(*value));
    }
}

macro_rules! whole {
    ($whole:ty, $each_slice:path) => {
        impl Key for $whole {
            fn bits(self) -> u64 {
                self as u64
            }

            fn same(self, other: Self) -> bool {
                self == other
            }
        }

        impl Fixed for $whole {
            fn each_slice(array: &dyn Array, each: impl FnMut(&[Self])) {
                $each_slice(array, each);
            }

            fn is_less(&self, other: &Self) -> bool {
                self < other
            }

            fn append_all(values: &[Self], _width: usize, out: &mut Vec<u8>) {
                append_words(values, Self::to_le_bytes, out);
            }

            fn append_differences(values: &[Self], out: &mut Vec<u8>) -> Option<()> {
                delta::encode(values, out);
                Some(())
            }

            fn statistics(
                bounds: Option<(Self, Self)>,
                _: usize,
                nulls: u64,
            ) -> Option<Statistics> {
                Some(signed(bounds, nulls).into())
            }
        }
    };
}

whole!(i32, each_slice_of_32);
whole!(i64, each_slice_of_64);

fn each_slice_of_32(array: &dyn Array, mut each: impl FnMut(&[i32])) {
    match array.data_type() {
        DataType::Int8 => slices::<Int8Type>(array, |values| {
            each(&values.iter().copied().map(i32::from).collect::<Vec<_>>());
        }),
        DataType::Int16 => slices::<Int16Type>(array, |values| {
            each(&values.iter().copied().map(i32::from).collect::<Vec<_>>());
        }),
        DataType::Date32 => slices::<Date32Type>(array, each),
        _ => slices::<Int32Type>(array, each),
    }
}

fn each_slice_of_64(array: &dyn Array, each: impl FnMut(&[i64])) {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            slices::<TimestampMillisecondType>(array, each);
        }
        DataType::Timestamp(..) => slices::<TimestampMicrosecondType>(array, each),
        _ => slices::<Int64Type>(array, each),
    }
}

/// Of whole numbers, which readers of all ages compare in the same way.
fn signed<T>(bounds: Option<(T, T)>, nulls: u64) -> ValueStatistics<T> {
    let (least, greatest) = bounds.unzip();
    ValueStatistics::new(least, greatest, None, Some(nulls), false)
        .with_backwards_compatible_min_max(true)
}

macro_rules! float {
    ($float:ty, $arrow:ty) => {
        impl Key for $float {
            fn bits(self) -> u64 {
                self.to_bits().into()
            }

            fn same(self, other: Self) -> bool {
                self.to_bits() == other.to_bits()
            }
        }

        impl Fixed for $float {
            fn each_slice(array: &dyn Array, each: impl FnMut(&[Self])) {
                slices::<$arrow>(array, each);
            }

            fn is_less(&self, other: &Self) -> bool {
                self < other
            }

            fn append_all(values: &[Self], _width: usize, out: &mut Vec<u8>) {
                append_words(values, Self::to_le_bytes, out);
            }

            /// The other zero.
            fn twin(&self) -> Option<Self> {
                (*self == 0.0).then_some(-*self)
            }

            /// Zero stands for both zeros, and what is no number for nothing.
            fn bounds(values: impl Iterator<Item = Self>) -> Option<(Self, Self)> {
                let (mut least, mut greatest) = (Self::INFINITY, Self::NEG_INFINITY);
                for value in values {
                    least = if value < least { value } else { least };
                    greatest = if value > greatest { value } else { greatest };
                }
                let least = if least == 0.0 { -0.0 } else { least };
                (least <= greatest).then_some((least, greatest + 0.0))
            }

            fn statistics(
                bounds: Option<(Self, Self)>,
                _: usize,
                nulls: u64,
            ) -> Option<Statistics> {
                let (least, greatest) = bounds.unzip();
                Some(ValueStatistics::new(least, greatest, None, Some(nulls), false).into())
            }
        }
    };
}

float!(f32, Float32Type);
float!(f64, Float64Type);

/// Decimals, in big-endian bytes.
impl Key for i128 {
    fn bits(self) -> u64 {
        self as u64 ^ (self >> 64) as u64
    }

    fn same(self, other: Self) -> bool {
        self == other
    }
}

impl Fixed for i128 {
    fn each_slice(array: &dyn Array, each: impl FnMut(&[Self])) {
        slices::<Decimal128Type>(array, each);
    }

    fn is_less(&self, other: &Self) -> bool {
        self < other
    }

    fn append_all(values: &[Self], width: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + values.len() * width, 0);
        for (place, value) in out[start..].chunks_exact_mut(width).zip(values) {
            place.copy_from_slice(&value.to_be_bytes()[size_of::<Self>() - width..]);
        }
    }

    fn statistics(bounds: Option<(Self, Self)>, width: usize, nulls: u64) -> Option<Statistics> {
        let stored = |value| {
            let mut bytes = vec![];
            Self::append_all(&[value], width, &mut bytes);
            FixedLenByteArray::from(ByteArray::from(bytes))
        };
        let (least, greatest) = bounds.unzip();
        let (least, greatest) = (least.map(stored), greatest.map(stored));
        Some(ValueStatistics::new(least, greatest, None, Some(nulls), false).into())
    }
}

/// INT96, which has no order.
impl Key for [u8; int96::BYTES] {
    fn bits(self) -> u64 {
        let (nanos, day) = self.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b));
        number(nanos) ^ number(day) << 48
    }

    fn same(self, other: Self) -> bool {
        self == other
    }
}

impl Fixed for [u8; int96::BYTES] {
    const IS_ORDERED: bool = false;

    fn each_slice(array: &dyn Array, mut each: impl FnMut(&[Self])) {
        let array = array.as_fixed_size_binary();
        let all = array.values().as_slice();
        let start = array.offset() * int96::BYTES;
        let (values, _) = all[start..][..array.len() * int96::BYTES].as_chunks();
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => each(values),
            Some(nulls) => nulls.valid_slices().for_each(|(from, to)| each(&values[from..to])),
        }
    }

    fn is_less(&self, other: &Self) -> bool {
        self < other
    }

    fn append_all(values: &[Self], _width: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(values.as_flattened());
    }

    fn statistics(_: Option<(Self, Self)>, _: usize, _: u64) -> Option<Statistics> {
        None
    }
}
