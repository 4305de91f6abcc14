//! The choice of an encoding for each column of a file, from its first rows.
//!
//! Owns the rule. Does not own the writer's other settings. The rule looks at nothing but values, so
//! that equal records make equal files.
//!
//! A dictionary pays where values repeat. Where they do not, the writer would fill one in vain, which
//! costs more than all the rest of its work, and write the column in the plain form in the end:
//! session and request ids, prices, clock readings. Of these, whole numbers are written as
//! differences, since such clocks and counters mostly move in small steps.

use std::collections::HashSet;
use std::hash::Hash;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};

/// The most values of a column that are looked at, and the fewest that say anything.
const SAMPLE_VALUES_MAX: usize = 4096;
const SAMPLE_VALUES_MIN: usize = 128;

/// How the values of a leaf column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Dictionary,
    Plain,
    Differences,
}

/// A choice for each leaf column of `batch`, in the order of the Parquet schema.
pub(super) fn choose(batch: &RecordBatch) -> Vec<Choice> {
    let mut leaves = vec![];
    for column in batch.columns() {
        collect_leaves(column, &mut leaves);
    }
    leaves.iter().map(choose_for_leaf).collect()
}

fn collect_leaves(array: &ArrayRef, leaves: &mut Vec<ArrayRef>) {
    match array.data_type() {
        DataType::Struct(_) => {
            for field in array.as_struct().columns() {
                collect_leaves(field, leaves);
            }
        }
        DataType::List(_) => collect_leaves(array.as_list::<i32>().values(), leaves),
        DataType::Map(..) => {
            for side in array.as_map().entries().columns() {
                collect_leaves(side, leaves);
            }
        }
        _ => leaves.push(array.clone()),
    }
}

fn choose_for_leaf(leaf: &ArrayRef) -> Choice {
    let sample = leaf.slice(0, leaf.len().min(SAMPLE_VALUES_MAX));
    match sample.data_type() {
        DataType::Utf8 => choose_by(sample.as_string::<i32>().iter().flatten(), Choice::Plain),
        DataType::Int32 => whole_numbers::<Int32Type>(&sample),
        DataType::Int64 => whole_numbers::<Int64Type>(&sample),
        DataType::Date32 => whole_numbers::<Date32Type>(&sample),
        DataType::Binary => choose_by(sample.as_binary::<i32>().iter().flatten(), Choice::Plain),
        DataType::FixedSizeBinary(_) => {
            choose_by(sample.as_fixed_size_binary().iter().flatten(), Choice::Plain)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            whole_numbers::<TimestampMillisecondType>(&sample)
        }
        DataType::Timestamp(..) => whole_numbers::<TimestampMicrosecondType>(&sample),
        DataType::Float32 => {
            let values = sample.as_primitive::<Float32Type>().iter().flatten();
            choose_by(values.map(f32::to_bits), Choice::Plain)
        }
        DataType::Float64 => {
            let values = sample.as_primitive::<Float64Type>().iter().flatten();
            choose_by(values.map(f64::to_bits), Choice::Plain)
        }
        DataType::Decimal128(..) => {
            let values = sample.as_primitive::<Decimal128Type>().iter().flatten();
            choose_by(values, Choice::Plain)
        }
        // Booleans have one form only, and the small integers have few values.
        _ => Choice::Dictionary,
    }
}

fn whole_numbers<T: ArrowPrimitiveType<Native: Hash + Eq>>(sample: &dyn Array) -> Choice {
    let values = sample.as_primitive::<T>().iter().flatten();
    choose_by(values, Choice::Differences)
}

/// `otherwise` if more than three quarters of the values differ from each other.
fn choose_by<T: Hash + Eq>(values: impl Iterator<Item = T>, otherwise: Choice) -> Choice {
    let mut distinct = HashSet::new();
    let mut value_count = 0;
    for value in values {
        value_count += 1;
        distinct.insert(value);
    }
    if value_count >= SAMPLE_VALUES_MIN && distinct.len() > value_count / 4 * 3 {
        otherwise
    } else {
        Choice::Dictionary
    }
}
