//! Texts and binary values.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use parquet::basic::{BoundaryOrder, Encoding};
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::bounds::{Bounds, cut_greatest, cut_least};
use super::delta;
use super::dictionary::BytesDictionary;
use super::fixed::{append_places, place_width, used};
use super::values::{EndedPage, Form, Values};

/// The texts or binary values of one column chunk.
#[derive(Debug)]
pub(super) struct BytesValues {
    is_utf8: bool,
    form: Form,
    /// Of the page under way: all bytes, and the length of each value; in a dictionary they are
    /// `places`.
    bytes: Vec<u8>,
    lengths: Vec<i32>,
    places: Vec<u32>,
    dictionary: Option<BytesDictionary>,
    has_dictionary: bool,
    bounds: Bounds<Vec<u8>>,
}

impl BytesValues {
    pub(super) fn new(is_utf8: bool, form: Form, has_dictionary: bool) -> Self {
        Self {
            is_utf8,
            form,
            bytes: vec![],
            lengths: vec![],
            places: vec![],
            dictionary: has_dictionary.then(BytesDictionary::new),
            has_dictionary,
            bounds: Bounds::default(),
        }
    }

    /// Appends values that lie one behind the other in `bytes`, between `offsets`.
    fn append_slice(&mut self, bytes: &[u8], offsets: &[i32]) {
        match &mut self.dictionary {
            Some(dictionary) if self.has_dictionary => {
                self.places.extend(
                    offsets
                        .windows(2)
                        .map(|ends| dictionary.place(&bytes[ends[0] as usize..ends[1] as usize])),
                );
            }
            _ => {
                let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
                self.bytes.extend_from_slice(&bytes[first..last]);
                self.lengths.extend(offsets.windows(2).map(|ends| ends[1] - ends[0]));
            }
        }
    }
}

/// The bytes of all values of an array, and where each begins and ends.
pub(super) fn parts(array: &dyn Array) -> (&[u8], &[i32]) {
    if let DataType::Utf8 = array.data_type() {
        let array = array.as_string::<i32>();
        (array.values(), array.offsets())
    } else {
        let array = array.as_binary::<i32>();
        (array.values(), array.offsets())
    }
}

impl Values for BytesValues {
    fn append(&mut self, array: &dyn Array) {
        let (bytes, offsets) = parts(array);
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.append_slice(bytes, offsets),
            Some(nulls) => {
                for (start, end) in nulls.valid_slices() {
                    self.append_slice(bytes, &offsets[start..=end]);
                }
            }
        }
    }

    fn page_bytes(&self) -> usize {
        let width = self.dictionary.as_ref().map_or(0, |all| place_width(all.len())) as usize;
        self.bytes.len() + 4 * self.lengths.len() + self.places.len() * width / 8
    }

    fn end_page(&mut self, out: &mut Vec<u8>) -> EndedPage {
        let encoding;
        let bounds;
        match &self.dictionary {
            Some(dictionary) if self.has_dictionary => {
                encoding = append_places(&self.places, dictionary.len(), out);
                let used = used(&self.places, dictionary.len());
                bounds = bounds_of(used.map(|place| dictionary.value(place)));
                self.places.clear();
            }
            _ if self.form == Form::Differences => {
                encoding = Encoding::DELTA_LENGTH_BYTE_ARRAY;
                delta::encode(&self.lengths, out);
                out.extend_from_slice(&self.bytes);
                bounds = bounds_of(values(&self.bytes, &self.lengths));
            }
            _ => {
                encoding = Encoding::PLAIN;
                out.reserve(self.bytes.len() + 4 * self.lengths.len());
                for value in values(&self.bytes, &self.lengths) {
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value);
                }
                bounds = bounds_of(values(&self.bytes, &self.lengths));
            }
        }
        let is_utf8 = self.is_utf8;
        let stored = bounds.map(|(least, greatest)| {
            self.bounds.add(least.to_vec(), greatest.to_vec(), |a, b| a < b);
            // Without a shorter one the whole: a page has bounds, or none has.
            let cut = cut_greatest(greatest, is_utf8).unwrap_or_else(|| greatest.to_vec());
            (cut_least(least, is_utf8).to_vec(), cut)
        });
        self.bytes.clear();
        self.lengths.clear();
        EndedPage { encoding, bounds: stored }
    }

    fn dictionary_size(&self) -> (usize, usize) {
        self.dictionary.as_ref().map_or((0, 0), |all| (all.len(), all.page.len()))
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
        let Some(dictionary) = &self.dictionary else { return 0 };
        out.extend_from_slice(&dictionary.page);
        dictionary.len()
    }

    fn order(&self) -> Option<BoundaryOrder> {
        Some(self.bounds.order())
    }

    fn statistics(&self, null_count: u64) -> Option<Statistics> {
        let (least, greatest) =
            self.bounds.chunk.as_ref().map(|(least, greatest)| (least, greatest)).unzip();
        let least = least.map(|whole| (cut_least(whole, self.is_utf8).to_vec(), whole));
        let greatest = greatest.and_then(|whole| Some((cut_greatest(whole, self.is_utf8)?, whole)));
        let is_exact = |cut: &Option<(Vec<u8>, &Vec<u8>)>| {
            cut.as_ref().is_some_and(|(cut, whole)| cut == *whole)
        };
        let (least_is_exact, greatest_is_exact) = (is_exact(&least), is_exact(&greatest));
        let stored = |cut: Option<(Vec<u8>, &Vec<u8>)>| cut.map(|(cut, _)| ByteArray::from(cut));
        let statistics =
            ValueStatistics::new(stored(least), stored(greatest), None, Some(null_count), false)
                .with_min_is_exact(least_is_exact)
                .with_max_is_exact(greatest_is_exact);
        Some(Statistics::ByteArray(statistics))
    }
}

/// Values that lie one behind the other.
fn values<'a>(bytes: &'a [u8], lengths: &'a [i32]) -> impl Iterator<Item = &'a [u8]> {
    lengths.iter().scan(0, |start, length| {
        let value = &bytes[*start..][..*length as usize];
        *start += value.len();
        Some(value)
    })
}

/// The least and the greatest of values. Mostly their first eight bytes tell.
fn bounds_of<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<(&'a [u8], &'a [u8])> {
    let first = values.next()?;
    let (mut least, mut greatest) = (first, first);
    let (mut least_prefix, mut greatest_prefix) = (prefix(first), prefix(first));
    for value in values {
        let prefix = prefix(value);
        if prefix <= least_prefix && (prefix < least_prefix || value < least) {
            (least, least_prefix) = (value, prefix);
        } else if prefix >= greatest_prefix && (prefix > greatest_prefix || value > greatest) {
            (greatest, greatest_prefix) = (value, prefix);
        }
    }
    Some((least, greatest))
}

/// The first eight bytes as a number that compares as they do.
#[inline]
fn prefix(value: &[u8]) -> u64 {
    match value.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => value.iter().rev().fold(0, |all, byte| all >> 8 | u64::from(*byte) << 56),
    }
}
