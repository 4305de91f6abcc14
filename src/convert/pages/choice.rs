//! The choice of an encoding for each column of a row group, from its first rows.
//!
//! Owns the rule. Does not own how a choice is carried out. The rule looks at nothing but values, so
//! that equal rows make equal files.
//!
//! Both ways are tried on the sample, and what they would come to in the whole group is compared. A
//! dictionary grows as new values come: how many there are in the second half of the sample, against
//! those in the quarter before, tells ids, which never repeat, from columns of many values that do.

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescriptor;

use super::chunk::{COMPRESSED_PART_MAX, Workshop};
use super::values::{Form, values};
use crate::convert::format::Dictionary;

/// What a dictionary may come to against the other form: less, since values are looked up in it; and
/// where the other form needs compression, which takes longer than that, a little more.
const DICTIONARY_PART_MAX: f64 = 0.95;
const AGAINST_COMPRESSED_PART_MAX: f64 = 1.1;
/// A first quarter with fewer repeated values is one of ids.
const REPEATED_PART_MIN: f64 = 0.02;
/// Growth is estimated from above; a dictionary may seem so many times too large.
const OVERESTIMATE: f64 = 2.0;

/// Of so many values and nulls no form is tried.
const FEW_SLOTS: usize = 256;

/// How a leaf column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) has_dictionary: bool,
    /// Of what is not in the dictionary.
    pub(super) form: Form,
}

/// The first values of a leaf column.
pub(super) struct Sample<'a> {
    pub(super) column: &'a ColumnDescriptor,
    pub(super) arrays: Vec<ArrayRef>,
    /// How many times as many the group will have.
    pub(super) growth: f64,
    pub(super) dictionary_bytes_max: usize,
}

impl<'a> Sample<'a> {
    /// Of all that is held back of a column, of which the group will have `growth` times as much. Where
    /// that is all, a part of it tells as well and is sooner looked at.
    pub(super) fn new(
        column: &'a ColumnDescriptor,
        held: impl Iterator<Item = &'a ArrayRef> + Clone,
        growth: f64,
        dictionary_bytes_max: usize,
    ) -> Self {
        let all: usize = held.clone().map(|array| array.len()).sum();
        let mut left =
            if growth < 4.0 && all > FEW_SLOTS { all.div_ceil(4).max(FEW_SLOTS) } else { all };
        let part = all as f64 / left.max(1) as f64;
        let mut arrays = vec![];
        for array in held {
            let length = array.len().min(left);
            left -= length;
            arrays.push(array.slice(0, length));
            if left == 0 {
                break;
            }
        }
        Self { column, arrays, growth: growth * part, dictionary_bytes_max }
    }

    fn slot_count(&self) -> usize {
        self.arrays.iter().map(|array| array.len()).sum()
    }
}

/// The choice for a column.
///
/// # Errors
/// When a compressor fails.
pub(super) fn choose(
    sample: &Sample<'_>,
    dictionary: Dictionary,
    workshop: &mut Workshop,
) -> Result<Choice, ParquetError> {
    let Some(first) = sample.arrays.first() else {
        return Ok(Choice { has_dictionary: false, form: Form::Plain });
    };
    let data_type = first.data_type();
    if *data_type == DataType::Boolean {
        return Ok(Choice { has_dictionary: false, form: Form::Plain });
    }
    if sample.slot_count() <= FEW_SLOTS && dictionary == Dictionary::Auto {
        return choose_for_few(sample, data_type);
    }
    let (form, other) = without_dictionary(sample, data_type, workshop)?;
    let has_dictionary = match dictionary {
        Dictionary::Always => true,
        Dictionary::Never => false,
        Dictionary::Auto => {
            let part = if other.needs_compression {
                AGAINST_COMPRESSED_PART_MAX
            } else {
                DICTIONARY_PART_MAX
            };
            with_dictionary(sample, data_type, workshop)?
                .is_some_and(|dictionary| dictionary.bytes < other.bytes * part)
        }
    };
    Ok(Choice { has_dictionary, form })
}

/// The choice for few values, of a small file, which is as short in any form: to try them all would take
/// longer than the rest.
fn choose_for_few(sample: &Sample<'_>, data_type: &DataType) -> Result<Choice, ParquetError> {
    let mut values = values(data_type, sample.column, Form::Plain, true)?;
    let mut value_count = 0;
    for array in &sample.arrays {
        values.append(array);
        value_count += array.len() - array.null_count();
    }
    let (distinct, _) = values.dictionary_size();
    let has_dictionary = distinct * 2 <= value_count && value_count > 0;
    Ok(Choice { has_dictionary, form: Form::Differences })
}

/// What a column would come to.
struct Size {
    bytes: f64,
    needs_compression: bool,
}

impl Size {
    /// Of a group `growth` times as long as what `page` holds.
    fn of(page: &[u8], growth: f64, workshop: &mut Workshop) -> Result<Self, ParquetError> {
        let part = workshop.compressed_part(page)?;
        let needs_compression = part < COMPRESSED_PART_MAX;
        let part = if needs_compression { part } else { 1.0 };
        Ok(Self { bytes: page.len() as f64 * part * growth, needs_compression })
    }
}

/// The best form without a dictionary and what it would come to.
fn without_dictionary(
    sample: &Sample<'_>,
    data_type: &DataType,
    workshop: &mut Workshop,
) -> Result<(Form, Size), ParquetError> {
    let encoded = |form| {
        let mut values = values(data_type, sample.column, form, false)?;
        for array in &sample.arrays {
            values.append(array);
        }
        let mut page = vec![];
        values.end_page(&mut page);
        Ok::<_, ParquetError>(page)
    };
    let (form, page) = match data_type {
        // Of texts, lengths take less room than four bytes each, whatever they are.
        DataType::Utf8 | DataType::Binary => (Form::Differences, encoded(Form::Differences)?),
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
            (Form::Plain, encoded(Form::Plain)?)
        }
        DataType::FixedSizeBinary(_) => (Form::Plain, encoded(Form::Plain)?),
        _ => {
            let (plain, delta) = (encoded(Form::Plain)?, encoded(Form::Differences)?);
            if delta.len() < plain.len() {
                (Form::Differences, delta)
            } else {
                (Form::Plain, plain)
            }
        }
    };
    Ok((form, Size::of(&page, sample.growth, workshop)?))
}

/// What a dictionary and the places in it would come to; `None` if it would grow too large.
fn with_dictionary(
    sample: &Sample<'_>,
    data_type: &DataType,
    workshop: &mut Workshop,
) -> Result<Option<Size>, ParquetError> {
    let mut values = values(data_type, sample.column, Form::Plain, true)?;
    let value_count: usize = sample.arrays.iter().map(|a| a.len() - a.null_count()).sum();
    let slot_count = sample.slot_count();
    // Different values in the first quarter, in the first half, and in all.
    let mut seen = [0; 3];
    let mut at = 0;
    for array in &sample.arrays {
        let mut start = 0;
        for (seen, end) in seen.iter_mut().zip([slot_count / 4, slot_count / 2, slot_count]) {
            let end = end.saturating_sub(at).min(array.len());
            if end > start {
                values.append(&array.slice(start, end - start));
                if values.is_hostile() {
                    return Ok(None);
                }
                *seen = values.dictionary_size().0;
                start = end;
            }
        }
        at += array.len();
        let quarter = value_count as f64 / 4.0;
        let is_ids = seen[0] as f64 > quarter * (1.0 - REPEATED_PART_MIN);
        if at * 4 > slot_count && is_ids && quarter > 256.0 {
            return Ok(None);
        }
    }
    let [quarter, half, all] = [seen[0], seen[1].max(seen[0]), values.dictionary_size().0];
    let (_, bytes) = values.dictionary_size();
    let mut page = vec![];
    values.end_page(&mut page);
    let count = grown([quarter, half, all], sample.growth).min(value_count as f64 * sample.growth);
    let bytes = bytes as f64 * (count / (all as f64).max(1.0));
    if bytes > sample.dictionary_bytes_max as f64 * OVERESTIMATE {
        return Ok(None);
    }
    let width = |count: f64| f64::from((count as u64).max(2).next_power_of_two().trailing_zeros());
    let growth = width(count) / width(all as f64) * sample.growth;
    let places = Size::of(&page, growth, workshop)?;
    Ok(Some(Size { bytes: bytes + places.bytes, ..places }))
}

/// How many different values there will be in `growth` times as many, by those in a quarter, in a half
/// and in all of the sample. Each doubling brings as many times more new ones as the last one did. No
/// logarithms: machines differ in their last digits.
fn grown([quarter, half, all]: [usize; 3], growth: f64) -> f64 {
    let (new_before, mut new) = ((half - quarter) as f64, (all - half) as f64);
    let factor = (new / new_before.max(1.0)).min(2.0);
    let (mut count, mut reached) = (all as f64, 1.0);
    while reached * 2.0 <= growth {
        new *= factor;
        count += new;
        reached *= 2.0;
    }
    // What is left is part of a doubling.
    count + new * factor * (growth / reached - 1.0).max(0.0)
}
