//! Where values are missing and where lists begin: the levels of Parquet, from Arrow's arrays.
//!
//! Owns the walk from a column down to its leaves. A slot is what has a level: a value, a null, or an
//! empty list in its place. Does not own how levels are stored.
//!
//! Invariant: a leaf has as many slots at its highest level as its array has values. Arrays of another
//! kind, such as a null struct with values in it, are an error, never another row's values.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};
use parquet::errors::ParquetError;

/// One number for each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Levels {
    /// Slots that all have the same.
    Same {
        level: u8,
        count: usize,
    },
    Each(Vec<u8>),
}

impl Levels {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Same { count, .. } => *count,
            Self::Each(levels) => levels.len(),
        }
    }

    fn get(&self, slot: usize) -> u8 {
        match self {
            Self::Same { level, .. } => *level,
            Self::Each(levels) => levels[slot],
        }
    }

    /// The slots at `wanted`.
    pub(super) fn count(&self, wanted: u8) -> usize {
        match self {
            Self::Same { level, count } => {
                if *level == wanted {
                    *count
                } else {
                    0
                }
            }
            // Over bytes, which is done many at a time.
            Self::Each(levels) => levels
                .chunks(u8::MAX.into())
                .map(|part| {
                    let found = part.iter().map(|level| u8::from(*level == wanted));
                    usize::from(found.fold(0, u8::wrapping_add))
                })
                .sum(),
        }
    }

    /// Appends `more` slots.
    pub(super) fn extend(&mut self, more: &Self) {
        match (&mut *self, more) {
            (Self::Same { count: 0, .. }, _) => *self = more.clone(),
            (Self::Same { level, count }, Self::Same { level: other, count: added })
                if level == other =>
            {
                *count += added;
            }
            (Self::Same { level, count }, _) => {
                *self = Self::Each(vec![*level; *count]);
                self.extend(more);
            }
            (Self::Each(levels), Self::Same { level, count }) => {
                levels.resize(levels.len() + count, *level);
            }
            (Self::Each(levels), Self::Each(more)) => levels.extend_from_slice(more),
        }
    }
}

/// A leaf column of a batch.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Its values and nulls.
    pub(super) array: ArrayRef,
    /// How much of the way to a value there is.
    pub(super) definition: Levels,
    /// At which depth a list goes on; `None` where there is no list on the way.
    pub(super) repetition: Option<Levels>,
}

/// The slots on the way down.
#[derive(Clone)]
struct Slots {
    definition: Levels,
    repetition: Option<Levels>,
    /// The level of what is there.
    top: u8,
    /// Slots from this level on have an entry in the array.
    has_entry_from: u8,
    /// The lists on the way.
    depth: u8,
}

/// Appends the leaves of a column to `leaves`.
///
/// # Errors
/// When the arrays contradict each other.
pub(super) fn collect(
    field: &Field,
    array: &ArrayRef,
    leaves: &mut Vec<Leaf>,
) -> Result<(), ParquetError> {
    let slots = Slots {
        definition: Levels::Same { level: 0, count: array.len() },
        repetition: None,
        top: 0,
        has_entry_from: 0,
        depth: 0,
    };
    walk(field, array, slots, leaves)
}

fn walk(
    field: &Field,
    array: &ArrayRef,
    mut slots: Slots,
    leaves: &mut Vec<Leaf>,
) -> Result<(), ParquetError> {
    if field.is_nullable() {
        slots.define(array.nulls());
    } else if array.null_count() > 0 {
        return Err(contradiction(field));
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let Some(((last_field, last), before)) = fields
                .iter()
                .zip(columns)
                .next_back()
                .map(|last| (last, fields.iter().zip(columns).take(columns.len() - 1)))
            else {
                return Err(contradiction(field));
            };
            for (field, column) in before {
                walk(field, column, slots.clone(), leaves)?;
            }
            walk(last_field, last, slots, leaves)
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let items = slots.repeat(list.offsets());
            walk(item, &within(items, list.values(), list.offsets())?, slots, leaves)
        }
        DataType::Map(entry, _) => {
            let map = array.as_map();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            let items = slots.repeat(map.offsets());
            walk(entry, &within(items, &entries, map.offsets())?, slots, leaves)
        }
        _ => {
            let value_count = array.len() - array.null_count();
            if slots.definition.count(slots.top) != value_count {
                return Err(contradiction(field));
            }
            let (definition, repetition) = (slots.definition, slots.repetition);
            leaves.push(Leaf { array: array.clone(), definition, repetition });
            Ok(())
        }
    }
}

/// The items of lists, `item_count` of them.
fn within(
    item_count: usize,
    values: &ArrayRef,
    offsets: &OffsetBuffer<i32>,
) -> Result<ArrayRef, ParquetError> {
    let range = offsets[0] as usize..offsets[offsets.len() - 1] as usize;
    if range.len() != item_count {
        return Err(ParquetError::General("a null list has items".into()));
    }
    let is_all = range.start == 0 && range.end == values.len();
    Ok(if is_all { values.clone() } else { values.slice(range.start, range.len()) })
}

impl Slots {
    /// One level more for what is there and not null.
    fn define(&mut self, nulls: Option<&NullBuffer>) {
        let (top, has_entry_from) = (self.top, self.has_entry_from);
        self.top += 1;
        match (&mut self.definition, nulls.filter(|nulls| nulls.null_count() > 0)) {
            (Levels::Same { level, .. }, None) => *level += u8::from(*level == top),
            (Levels::Each(levels), None) => {
                for level in levels {
                    *level += u8::from(*level == top);
                }
            }
            (Levels::Same { level, .. }, Some(nulls)) if *level == top => {
                self.definition =
                    Levels::Each(nulls.iter().map(|valid| top + u8::from(valid)).collect());
            }
            // Nothing is there.
            (Levels::Same { .. }, Some(_)) => {}
            (Levels::Each(levels), Some(nulls)) => {
                let mut entries = nulls.iter();
                for level in levels {
                    if *level >= has_entry_from && entries.next() == Some(true) {
                        *level += u8::from(*level == top);
                    }
                }
            }
        }
    }

    /// Makes of each list that is there its items, or one slot if it has none. Returns their count.
    fn repeat(&mut self, offsets: &OffsetBuffer<i32>) -> usize {
        let (top, has_entry_from) = (self.top, self.has_entry_from);
        self.depth += 1;
        self.top += 1;
        self.has_entry_from = self.top;
        let slot_count = self.definition.len();
        let room = slot_count + (offsets[offsets.len() - 1] - offsets[0]) as usize;
        let mut definition = Vec::with_capacity(room);
        let mut repetition = Vec::with_capacity(room);
        let (mut entry, mut item_count) = (0, 0);
        for slot in 0..slot_count {
            let level = self.definition.get(slot);
            let items =
                if level == top { (offsets[entry + 1] - offsets[entry]) as usize } else { 0 };
            entry += usize::from(level >= has_entry_from);
            repetition.push(self.repetition.as_ref().map_or(0, |levels| levels.get(slot)));
            if items == 0 {
                definition.push(level);
            } else {
                definition.resize(definition.len() + items, level + 1);
                repetition.resize(repetition.len() + items - 1, self.depth);
                item_count += items;
            }
        }
        self.definition = if item_count == definition.len() {
            Levels::Same { level: self.top, count: item_count }
        } else {
            Levels::Each(definition)
        };
        self.repetition = Some(Levels::Each(repetition));
        item_count
    }
}

fn contradiction(field: &Field) -> ParquetError {
    ParquetError::General(format!("the values of '{}' contradict their nulls", field.name()))
}
