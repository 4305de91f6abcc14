//! What was seen at one place of the documents: counts, bounds and a few short examples.
//!
//! Owns the counting and its bounds. Does not own what follows from the counts.
//!
//! Invariant: memory does not grow with the number of documents once the [`Budget`] is used up.

use std::collections::{BTreeMap, HashMap};

use super::json::{Fields, Value};
use super::text::{Form, digits_of, form_of};
use crate::table::TYPE_DEPTH_MAX;

/// Places that are told apart, in all documents together.
const PLACES_MAX: usize = 10_000;
/// An object with more different keys than this is counted as a map.
const KEYS_MAX: usize = 200;
/// The longest name of a column, Glue's bound.
const KEY_BYTES_MAX: usize = 255;
/// Values that are remembered at a place; one more than is still called few.
const VALUES_MAX: usize = 33;
const VALUE_BYTES_MAX: usize = 64;
/// Names that differ only in case are told, so many of them.
const SPELLINGS_MAX: usize = 4;

/// What is left of the places, and what was not looked at for want of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    places_left: usize,
    /// Values that were not looked at.
    pub(super) skipped: u64,
    /// Values behind keys that are longer than any column's name.
    pub(super) long_keys: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { places_left: PLACES_MAX, skipped: 0, long_keys: 0 }
    }
}

impl Budget {
    fn take(&mut self) -> bool {
        let has_left = self.places_left > 0;
        self.places_left -= usize::from(has_left);
        self.skipped += u64::from(!has_left);
        has_left
    }
}

/// The values of one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) nulls: u64,
    pub(super) booleans: u64,
    pub(super) numbers: Numbers,
    pub(super) strings: Strings,
    pub(super) arrays: Arrays,
    pub(super) objects: Objects,
    /// Arrays and objects below which types cannot nest.
    pub(super) too_deep: u64,
    pub(super) values: Values,
}

/// Numbers, and strings that have their form.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) count: u64,
    /// With a point or an exponent.
    pub(super) fractions: u64,
    pub(super) exponents: u64,
    pub(super) whole_digits_max: usize,
    pub(super) fraction_digits_max: usize,
    /// Beyond what a double holds.
    pub(super) infinite: u64,
    pub(super) range: Option<(i128, i128)>,
}

/// Strings by their form.
#[derive(Clone, Debug, Default)]
pub(super) struct Strings {
    pub(super) count: u64,
    pub(super) empties: u64,
    pub(super) dates: u64,
    pub(super) timestamps: u64,
    pub(super) booleans: u64,
    pub(super) leading_zeros: u64,
    /// Those that are whole or decimal numbers.
    pub(super) numbers: Numbers,
    pub(super) others: u64,
    /// The first text of no form.
    pub(super) other_example: Option<String>,
}

/// Arrays and the values in all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrays {
    pub(super) count: u64,
    pub(super) items: Option<Box<Seen>>,
}

/// Objects and what their keys lead to.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    pub(super) count: u64,
    /// Keys in all of them together.
    pub(super) key_count: u64,
    pub(super) keys: Keys,
}

#[derive(Clone, Debug)]
pub(super) enum Keys {
    Named(Named),
    /// Too many different keys: the values of all, and a few of the keys.
    Many(Box<Seen>, Vec<String>),
}

impl Default for Keys {
    fn default() -> Self {
        Self::Named(Named::default())
    }
}

/// Fields in the order of their first appearance.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) fields: Vec<Field>,
    /// By the name in lower case, as tables keep names.
    index: HashMap<String, usize>,
}

/// A field of objects.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// In lower case.
    pub(super) name: String,
    /// How documents write it, if not as `name`.
    pub(super) spellings: Vec<String>,
    /// Objects that have it more than once in different spellings.
    pub(super) clashes: u64,
    last_object: u64,
    pub(super) seen: Seen,
}

/// Short values and how often they came; nothing once there were too many, or a long one.
#[derive(Clone, Debug)]
pub(super) struct Values(pub(super) Option<BTreeMap<String, u64>>);

impl Default for Values {
    fn default() -> Self {
        Self(Some(BTreeMap::new()))
    }
}

impl Seen {
    /// Values other than `null`.
    pub(super) fn count(&self) -> u64 {
        self.booleans
            + self.numbers.count
            + self.strings.count
            + self.arrays.count
            + self.objects.count
            + self.too_deep
    }

    fn observe(&mut self, value: &Value<'_>, depth: usize, budget: &mut Budget) {
        match value {
            Value::Null => self.nulls += 1,
            Value::Boolean(truth) => {
                self.booleans += 1;
                self.values.add(if *truth { "true" } else { "false" }, 1);
            }
            Value::Number(text) => {
                self.numbers.observe(text);
                self.values.add(text, 1);
            }
            Value::String(text) => {
                self.strings.observe(text);
                self.values.add(text, 1);
            }
            Value::Array(_) | Value::Object(_) if depth >= TYPE_DEPTH_MAX => self.too_deep += 1,
            Value::Array(items) => self.arrays.observe(items, depth + 1, budget),
            Value::Object(fields) => self.objects.observe(fields, depth + 1, budget),
        }
    }

    fn merge(&mut self, other: Self) {
        self.nulls += other.nulls;
        self.booleans += other.booleans;
        self.numbers.merge(&other.numbers);
        self.strings.merge(other.strings);
        self.arrays.merge(other.arrays);
        self.objects.merge(other.objects);
        self.too_deep += other.too_deep;
        self.values.merge(other.values);
    }
}

impl Numbers {
    fn observe(&mut self, text: &str) {
        let digits = digits_of(text);
        self.count += 1;
        self.fractions += u64::from(digits.fraction > 0 || digits.has_exponent);
        self.exponents += u64::from(digits.has_exponent);
        self.whole_digits_max = self.whole_digits_max.max(digits.whole);
        self.fraction_digits_max = self.fraction_digits_max.max(digits.fraction);
        self.infinite += u64::from(text.parse().is_ok_and(f64::is_infinite));
        if let Some(value) = digits.whole_value {
            self.widen(value, value);
        }
    }

    fn widen(&mut self, low: i128, high: i128) {
        let (min, max) = self.range.unwrap_or((low, high));
        self.range = Some((min.min(low), max.max(high)));
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.fractions += other.fractions;
        self.exponents += other.exponents;
        self.whole_digits_max = self.whole_digits_max.max(other.whole_digits_max);
        self.fraction_digits_max = self.fraction_digits_max.max(other.fraction_digits_max);
        self.infinite += other.infinite;
        if let Some((low, high)) = other.range {
            self.widen(low, high);
        }
    }

    /// Both together: numbers and strings that are numbers.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.merge(other);
        both
    }
}

impl Strings {
    fn observe(&mut self, text: &str) {
        self.count += 1;
        match form_of(text) {
            Form::Empty => self.empties += 1,
            Form::Date => self.dates += 1,
            Form::Timestamp => self.timestamps += 1,
            Form::Boolean => self.booleans += 1,
            Form::LeadingZero => self.leading_zeros += 1,
            Form::Integer | Form::Decimal => self.numbers.observe(text),
            Form::Other => {
                self.others += 1;
                self.other_example.get_or_insert_with(|| shortened(text));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.empties += other.empties;
        self.dates += other.dates;
        self.timestamps += other.timestamps;
        self.booleans += other.booleans;
        self.leading_zeros += other.leading_zeros;
        self.numbers.merge(&other.numbers);
        self.others += other.others;
        self.other_example = self.other_example.take().or(other.other_example);
    }
}

impl Arrays {
    fn observe(&mut self, items: &[Value<'_>], depth: usize, budget: &mut Budget) {
        self.count += 1;
        for item in items {
            if self.items.is_none() && !budget.take() {
                return;
            }
            self.items.get_or_insert_default().observe(item, depth, budget);
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        match (&mut self.items, other.items) {
            (Some(items), Some(others)) => items.merge(*others),
            (items @ None, others) => *items = others,
            (Some(_), None) => {}
        }
    }
}

impl Objects {
    /// Counts a whole document, which has columns however many keys there are.
    pub(super) fn observe_record(&mut self, fields: &Fields<'_>, budget: &mut Budget) {
        self.count += 1;
        self.key_count += fields.len() as u64;
        if let Keys::Named(named) = &mut self.keys {
            for (key, value) in fields {
                named.observe(key, value, self.count, 0, budget);
            }
        }
    }

    fn observe(&mut self, fields: &Fields<'_>, depth: usize, budget: &mut Budget) {
        self.count += 1;
        self.key_count += fields.len() as u64;
        for (key, value) in fields {
            if let Keys::Named(named) = &mut self.keys
                && !named.observe(key, value, self.count, depth, budget)
            {
                self.keys = std::mem::take(named).into_map();
            }
            if let Keys::Many(values, _) = &mut self.keys {
                values.observe(value, depth, budget);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.key_count += other.key_count;
        let mine = std::mem::take(&mut self.keys);
        self.keys = match (mine, other.keys) {
            (Keys::Named(mut named), Keys::Named(others)) => {
                for field in others.fields {
                    named.merge(field);
                }
                if named.fields.len() > KEYS_MAX { named.into_map() } else { Keys::Named(named) }
            }
            (mine, others) => {
                let (mut values, keys) = mine.into_many();
                values.merge(*others.into_many().0);
                Keys::Many(values, keys)
            }
        };
    }
}

impl Keys {
    /// The values of all keys together, and a few of the keys.
    pub(super) fn into_many(self) -> (Box<Seen>, Vec<String>) {
        match self {
            Self::Many(values, keys) => (values, keys),
            Self::Named(named) => {
                let mut values = Box::new(Seen::default());
                let keys = named.fields.iter().take(SPELLINGS_MAX);
                let keys = keys.map(|field| field.written().to_owned()).collect();
                for field in named.fields {
                    values.merge(field.seen);
                }
                (values, keys)
            }
        }
    }
}

impl Named {
    /// Whether there was room for the key.
    fn observe(
        &mut self,
        key: &str,
        value: &Value<'_>,
        object: u64,
        depth: usize,
        budget: &mut Budget,
    ) -> bool {
        if key.len() > KEY_BYTES_MAX {
            budget.long_keys += 1;
            return true;
        }
        let name = key.to_lowercase();
        let at = match self.index.get(&name) {
            Some(at) => *at,
            None => {
                // Columns are bounded by the budget alone, other objects are maps sooner.
                if depth > 0 && self.fields.len() >= KEYS_MAX {
                    return false;
                }
                if !budget.take() {
                    return true;
                }
                self.insert(name)
            }
        };
        let field = &mut self.fields[at];
        let is_new = !field.spellings.iter().any(|known| known == key);
        if is_new && field.spellings.len() < SPELLINGS_MAX {
            field.spellings.push(key.to_owned());
        }
        field.clashes += u64::from(field.last_object == object);
        field.last_object = object;
        field.seen.observe(value, depth, budget);
        true
    }

    fn insert(&mut self, name: String) -> usize {
        let at = self.fields.len();
        self.index.insert(name.clone(), at);
        let seen = Seen::default();
        self.fields.push(Field { name, spellings: Vec::new(), clashes: 0, last_object: 0, seen });
        at
    }

    fn merge(&mut self, other: Field) {
        let at = match self.index.get(&other.name) {
            Some(at) => *at,
            None => self.insert(other.name.clone()),
        };
        let field = &mut self.fields[at];
        for spelling in other.spellings {
            if field.spellings.len() < SPELLINGS_MAX && !field.spellings.contains(&spelling) {
                field.spellings.push(spelling);
            }
        }
        field.clashes += other.clashes;
        field.seen.merge(other.seen);
    }

    fn into_map(self) -> Keys {
        let (values, keys) = Keys::Named(self).into_many();
        Keys::Many(values, keys)
    }
}

impl Field {
    /// The name as documents write it first.
    pub(super) fn written(&self) -> &str {
        self.spellings.first().unwrap_or(&self.name)
    }
}

impl Values {
    fn add(&mut self, text: &str, count: u64) {
        let Some(values) = &mut self.0 else { return };
        if let Some(known) = values.get_mut(text) {
            *known += count;
        } else if values.len() < VALUES_MAX && text.len() <= VALUE_BYTES_MAX {
            values.insert(text.to_owned(), count);
        } else {
            self.0 = None;
        }
    }

    fn merge(&mut self, other: Self) {
        match other.0 {
            None => self.0 = None,
            Some(values) => values.iter().for_each(|(text, count)| self.add(text, *count)),
        }
    }
}

/// At most [`VALUE_BYTES_MAX`] bytes of `text`.
fn shortened(text: &str) -> String {
    if text.len() <= VALUE_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(VALUE_BYTES_MAX)])
}
