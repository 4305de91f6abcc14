//! From counts to types, each with the reasons that a person would want to see.
//!
//! Owns the rules of the table in the module's head, and the hints on partitions and event times.
//! Does not own the text that carries them.
//!
//! A type is proposed only if every value seen at its place converts to it; where that holds for most
//! values only, the proposal is `string`, and a doubt says which values are in the way.

use super::Counts;
use super::seen::{Budget, Field, Keys, Named, Numbers, Objects, Seen, Strings};
use crate::record::StreamName;
use crate::table::{Column, HiveType};

/// Decimals get at least so many digits, since amounts grow.
const DECIMAL_DIGITS_MIN: usize = 12;
const DECIMAL_DIGITS_MAX: usize = 38;
/// No whole number of 64 bits has more; the range tells nothing of numbers with more than 38.
const LONG_DIGITS_MAX: usize = 19;
/// Amounts of money have no more digits behind the point.
const MONEY_DIGITS_MAX: usize = 4;
/// A double keeps so many digits of any number.
const DOUBLE_DIGITS: usize = 15;
/// 2000-01-01 and 2100-01-01 in seconds since 1970.
const EPOCH_RANGE: (i128, i128) = (946_684_800, 4_102_444_800);
/// An object of more different keys, of which few stand in one object, is a map.
const MAP_KEYS_MIN: usize = 16;
/// So many keys that all look like data rather than names are a map.
const DATA_KEYS_MIN: usize = 2;
/// A field with few values is worth a folder from so many records on.
const PARTITION_RECORDS_MIN: u64 = 20;
/// The folder that the prefix of a stream begins with by default whose producers have tenants.
pub const TENANT_FOLDER: &str = "tenant";
/// The folders that a stream's prefix has by default, and those that do instead.
pub(super) const DEFAULT_FOLDERS: [&str; 3] = ["year", "month", "day"];
const DATE_FOLDERS: [&str; 3] = ["dt", "arrival_date", "lakehose_arrival_date"];
/// Names of fields that tell a time, as words of the name.
const TIME_WORDS: [&str; 24] = [
    "at",
    "created",
    "date",
    "datetime",
    "deleted",
    "end",
    "epoch",
    "expires",
    "expiry",
    "modified",
    "received",
    "seen",
    "sent",
    "since",
    "start",
    "stamp",
    "time",
    "timestamp",
    "ts",
    "until",
    "updated",
    "when",
    "eventtime",
    "createdat",
];
/// Names of fields that hold money.
const MONEY_WORDS: [&str; 20] = [
    "amount", "balance", "budget", "charge", "cost", "discount", "fee", "gross", "net", "paid",
    "payment", "price", "refund", "revenue", "salary", "subtotal", "tax", "total", "turnover",
    "vat",
];

/// What a sample proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The delivery stream.
    pub stream: StreamName,
    /// The columns in the order in which the sample shows them.
    pub columns: Vec<ProposedColumn>,
    /// What stands in the sample and in no column, and other remarks on the whole.
    pub notes: Vec<Note>,
    /// Columns with few values, and how many they have.
    pub partition_candidates: Vec<(String, usize)>,
    /// Columns that may say when an event happened, the best one first.
    pub event_times: Vec<String>,
    /// Whether the folders begin with one for the tenant.
    pub(super) has_tenants: bool,
    /// What the sample was made of.
    pub counts: Counts,
}

/// A column and why it is as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposedColumn {
    /// Its name and type.
    pub column: Column,
    /// The reasons, where the type does not speak for itself.
    pub notes: Vec<Note>,
}

/// A remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether a person should decide.
    pub is_doubt: bool,
    /// The remark, on one line.
    pub text: String,
}

pub(super) fn propose(
    stream: &StreamName,
    records: &Objects,
    budget: Budget,
    counts: Counts,
) -> Proposal {
    let mut columns = Vec::new();
    let mut notes = Notes::default();
    let no_fields = Named::default();
    let fields = match &records.keys {
        Keys::Named(named) => named,
        Keys::Many(..) => &no_fields,
    };
    let mut partition_candidates = Vec::new();
    let mut event_times = Vec::new();
    for field in &fields.fields {
        let name = &field.name;
        if name.is_empty() || name.contains(char::is_control) {
            notes
                .doubt("", format!("key {:?} can name no column and is left out", field.written()));
            continue;
        }
        let mut reasons = Notes::default();
        let hive_type = type_of(&field.seen, field.written(), "", &mut reasons);
        field_notes(field, records.count, &mut reasons);
        if is_partition_candidate(field, &hive_type, records.count) {
            let count = field.seen.values.0.as_ref().map_or(0, |values| values.len());
            partition_candidates.push((name.clone(), count));
        }
        if matches!(hive_type, HiveType::Timestamp | HiveType::Date) {
            event_times.push((field, hive_type.clone()));
        }
        columns.push(ProposedColumn {
            column: Column { name: name.clone(), hive_type },
            notes: reasons.0,
        });
    }
    if budget.skipped > 0 {
        let text = format!(
            "there are more fields than are looked at: {} values were not counted",
            budget.skipped
        );
        notes.doubt("", text);
    }
    if budget.long_keys > 0 {
        let text = format!("{} keys are too long for names and are left out", budget.long_keys);
        notes.doubt("", text);
    }
    // Events have times with hours, and always have them.
    event_times.sort_by_key(|(field, hive_type)| {
        (*hive_type != HiveType::Timestamp, std::cmp::Reverse(field.seen.count()))
    });
    Proposal {
        stream: stream.clone(),
        columns,
        notes: notes.0,
        partition_candidates,
        event_times: event_times.into_iter().map(|(field, _)| field.name.clone()).collect(),
        has_tenants: false,
        counts,
    }
}

impl Proposal {
    /// The same with a folder for each tenant above the others, as streams have it whose producers
    /// have tenants.
    #[must_use]
    pub fn by_tenant(mut self) -> Self {
        self.has_tenants = true;
        self
    }

    /// The folders of the stream's prefix: those by default unless a column has the name of one.
    pub(super) fn folders(&self) -> &'static [&'static str] {
        let is_column = |name: &&&str| self.columns.iter().any(|each| each.column.name == ***name);
        if !DEFAULT_FOLDERS.iter().any(|name| is_column(&name)) {
            return &DEFAULT_FOLDERS;
        }
        let free = DATE_FOLDERS.iter().position(|name| !is_column(&name)).unwrap_or_default();
        std::slice::from_ref(&DATE_FOLDERS[free])
    }
}

#[derive(Debug, Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn reason(&mut self, path: &str, text: impl Into<String>) {
        self.add(false, path, text.into());
    }

    fn doubt(&mut self, path: &str, text: impl Into<String>) {
        self.add(true, path, text.into());
    }

    fn add(&mut self, is_doubt: bool, path: &str, text: String) {
        let path = path.trim_start_matches('.');
        let colon = if path.is_empty() { "" } else { ": " };
        self.0.push(Note { is_doubt, text: format!("{path}{colon}{text}") });
    }
}

fn field_notes(field: &Field, record_count: u64, notes: &mut Notes) {
    spelling_notes(field, "", notes);
    let present = field.seen.count() + field.seen.nulls;
    if record_count >= 100 && present * 100 < record_count {
        notes.reason("", format!("in {present} of {record_count} records only"));
    }
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !field.name.chars().all(is_plain) {
        notes.reason("", "quote the name in SQL");
    }
}

fn spelling_notes(field: &Field, path: &str, notes: &mut Notes) {
    if field.spellings.len() < 2 {
        return;
    }
    let spellings: Vec<_> = field.spellings.iter().map(|text| format!("{text:?}")).collect();
    let mut text = format!("written as {}: all share this column", spellings.join(", "));
    if field.clashes > 0 {
        text += &format!("; {} records have it twice, and the last one wins", field.clashes);
    }
    notes.doubt(path, text);
}

fn is_partition_candidate(field: &Field, hive_type: &HiveType, record_count: u64) -> bool {
    let Some(values) = &field.seen.values.0 else { return false };
    *hive_type == HiveType::String
        && record_count >= PARTITION_RECORDS_MIN
        && field.seen.strings.count == record_count
        && field.seen.strings.empties == 0
        && (2..=32).contains(&values.len())
        && values.len() as u64 * 5 <= record_count
}

/// The type of the values at one place. `name` is what the documents call it, `path` leads there
/// from the column.
fn type_of(seen: &Seen, name: &str, path: &str, notes: &mut Notes) -> HiveType {
    let count = seen.count();
    let Seen { booleans, numbers, strings, arrays, objects, .. } = seen;
    if count == 0 {
        notes.doubt(path, "never a value but null, so the type is a guess");
        return HiveType::String;
    }
    if seen.too_deep > 0 {
        notes.doubt(path, "nested too deep for a type, so it is kept as JSON text");
        return HiveType::String;
    }
    let all = |part: u64| part == count;
    if all(arrays.count) {
        let inside = format!("{path}[]");
        let item = match &arrays.items {
            Some(items) => type_of(items, name, &inside, notes),
            None => {
                notes.doubt(path, "always an empty array, so its type is a guess");
                HiveType::String
            }
        };
        return HiveType::Array(Box::new(item));
    }
    if all(objects.count) {
        return object_type(objects, path, notes);
    }
    if all(booleans + strings.booleans) {
        if strings.count > 0 {
            notes
                .reason(path, format!("{} of {count} are the texts true and false", strings.count));
        }
        return HiveType::Boolean;
    }
    if all(numbers.count) {
        return number_type(numbers, name, path, notes);
    }
    if all(strings.count) {
        return string_type(strings, name, path, notes);
    }
    if all(numbers.count + strings.timestamps) && epoch(numbers, name) == Epoch::Readable {
        let text = format!("{} of {count} are ISO texts, the others epochs", strings.timestamps);
        notes.doubt(path, text);
        return HiveType::Timestamp;
    }
    if all(numbers.count + strings.numbers.count) {
        let text =
            format!("{} of {count} are numbers in text, which convert as well", strings.count);
        notes.doubt(path, text);
        return number_type(&numbers.with(&strings.numbers), name, path, notes);
    }
    let kinds = [
        (*booleans, "booleans"),
        (numbers.count, "numbers"),
        (strings.count, "texts"),
        (arrays.count, "arrays"),
        (objects.count, "objects"),
    ];
    let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
    let kinds: Vec<_> = kinds.map(|(count, kind)| format!("{count} {kind}")).collect();
    notes.doubt(path, format!("mixed: {}; each is kept as its JSON text", kinds.join(", ")));
    HiveType::String
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Epoch {
    No,
    /// By the numbers alone.
    Possible,
    /// Seconds or milliseconds, and the name says so too.
    Readable,
    /// Microseconds or nanoseconds.
    TooFine,
}

fn epoch(numbers: &Numbers, name: &str) -> Epoch {
    let is_plain = numbers.exponents == 0 && numbers.whole_digits_max <= LONG_DIGITS_MAX;
    let Some((low, high)) = numbers.range.filter(|_| is_plain) else {
        return Epoch::No;
    };
    let within = |factor| low >= EPOCH_RANGE.0 * factor && high <= EPOCH_RANGE.1 * factor;
    let is_time = words(name).any(|word| TIME_WORDS.contains(&word.as_str()));
    if within(1) || within(1_000) {
        if is_time { Epoch::Readable } else { Epoch::Possible }
    } else if is_time && (within(1_000_000) || within(1_000_000_000)) {
        Epoch::TooFine
    } else {
        Epoch::No
    }
}

fn number_type(numbers: &Numbers, name: &str, path: &str, notes: &mut Notes) -> HiveType {
    if numbers.infinite > 0 {
        notes.doubt(path, "has numbers beyond every numeric type, so the text is kept");
        return HiveType::String;
    }
    match epoch(numbers, name) {
        Epoch::Readable => {
            let (low, _) = numbers.range.unwrap_or_default();
            let unit = if low > EPOCH_RANGE.1 { "milliseconds" } else { "seconds" };
            notes.reason(path, format!("epoch {unit}"));
            return HiveType::Timestamp;
        }
        Epoch::TooFine => {
            notes.doubt(path, "epochs finer than milliseconds, which no timestamp is read from");
        }
        Epoch::Possible if numbers.fractions == 0 => {
            notes.doubt(path, "could be epochs: write timestamp if they are");
        }
        Epoch::Possible | Epoch::No => {}
    }
    if numbers.fractions > 0 {
        return fraction_type(numbers, name, path, notes);
    }
    let within = |min: i64, max: i64| {
        numbers.whole_digits_max <= LONG_DIGITS_MAX
            && numbers.range.is_some_and(|(low, high)| low >= min.into() && high <= max.into())
    };
    // Ids grow for ever; other small numbers have room for 65,000 times as much.
    let is_id = words(name).any(|word| word == "id");
    if within(i16::MIN.into(), i16::MAX.into()) && !is_id {
        HiveType::Int
    } else if within(i64::MIN, i64::MAX) {
        HiveType::BigInt
    } else if numbers.whole_digits_max <= DECIMAL_DIGITS_MAX {
        notes.doubt(path, "beyond 64 bits");
        HiveType::Decimal { precision: DECIMAL_DIGITS_MAX as u8, scale: 0 }
    } else {
        notes.doubt(path, "beyond 38 digits; a double rounds them, a string would keep them");
        HiveType::Double
    }
}

fn fraction_type(numbers: &Numbers, name: &str, path: &str, notes: &mut Notes) -> HiveType {
    let scale = numbers.fraction_digits_max.max(2);
    let digits = (numbers.whole_digits_max + scale).max(DECIMAL_DIGITS_MIN);
    let is_money = words(name).any(|word| MONEY_WORDS.contains(&word.as_str()));
    if is_money
        && numbers.exponents == 0
        && scale <= MONEY_DIGITS_MAX
        && digits <= DECIMAL_DIGITS_MAX
    {
        notes.reason(path, "money by its name, so exact");
        return HiveType::Decimal { precision: digits as u8, scale: scale as u8 };
    }
    if numbers.whole_digits_max + numbers.fraction_digits_max > DOUBLE_DIGITS {
        notes.doubt(path, "has more digits than a double keeps: decimal would keep them");
    }
    HiveType::Double
}

fn string_type(strings: &Strings, name: &str, path: &str, notes: &mut Notes) -> HiveType {
    let count = strings.count;
    let all = |part: u64| part == count;
    if all(strings.timestamps) {
        return HiveType::Timestamp;
    }
    if all(strings.dates) {
        return HiveType::Date;
    }
    if all(strings.numbers.count) {
        let numbers = &strings.numbers;
        if numbers.fractions > 0
            && let decimal @ HiveType::Decimal { .. } =
                fraction_type(numbers, name, path, &mut Notes::default())
        {
            notes.reason(path, "money by its name, sent as text, which converts");
            return decimal;
        }
        let other = if numbers.fractions > 0 { "double or decimal" } else { "bigint" };
        notes.reason(path, format!("numbers in text: {other} would convert too"));
    } else if strings.leading_zeros > 0 && all(strings.leading_zeros + strings.numbers.count) {
        notes.reason(path, "looks like a number, but has leading zeros");
    } else if all(strings.timestamps + strings.dates) {
        let (times, dates) = (strings.timestamps, strings.dates);
        notes.doubt(path, format!("{times} timestamps and {dates} dates: no one type reads both"));
    } else {
        let near = [(strings.timestamps, "timestamp"), (strings.dates, "date")];
        for (part, wanted) in near.into_iter().filter(|(part, _)| part * 2 > count) {
            let example = strings.other_example.as_deref().unwrap_or_default();
            let text = format!(
                "{part} of {count} are {wanted}s, others such as {example:?} are not: {wanted} would \
                 reject those"
            );
            notes.doubt(path, text);
        }
    }
    HiveType::String
}

fn object_type(objects: &Objects, path: &str, notes: &mut Notes) -> HiveType {
    let named = match &objects.keys {
        Keys::Named(named) if named.fields.is_empty() => {
            notes.doubt(path, "always an empty object, so its type is a guess");
            return map_of(HiveType::String);
        }
        Keys::Named(named) if !is_map(named, objects) => named,
        keys => {
            let (values, keys) = keys.clone().into_many();
            let examples: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
            let text = format!("a map, since its keys change ({}, ...)", examples.join(", "));
            notes.reason(path, text);
            return map_of(type_of(&values, "", &format!("{path}[*]"), notes));
        }
    };
    let mut fields = Vec::new();
    for field in &named.fields {
        if !is_struct_name(&field.name) {
            let text = format!("key {:?} can name no field and is left out", field.written());
            notes.doubt(path, text);
            continue;
        }
        let inside = format!("{path}.{}", field.name);
        spelling_notes(field, &inside, notes);
        let hive_type = type_of(&field.seen, field.written(), &inside, notes);
        fields.push((field.name.clone(), hive_type));
    }
    if fields.is_empty() { map_of(HiveType::String) } else { HiveType::Struct(fields) }
}

fn map_of(value: HiveType) -> HiveType {
    HiveType::Map(Box::new(HiveType::String), Box::new(value))
}

fn is_map(named: &Named, objects: &Objects) -> bool {
    let keys = named.fields.len();
    let possible = objects.count.saturating_mul(keys as u64);
    let is_sparse = keys >= MAP_KEYS_MIN && objects.key_count.saturating_mul(3) < possible;
    let are_data = keys >= DATA_KEYS_MIN && named.fields.iter().all(|field| is_data(&field.name));
    is_sparse || are_data
}

/// Whether a key is an id, a date or an address rather than a name.
fn is_data(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_digit())
        || key.contains('@')
        || (key.len() == 36 && key.bytes().filter(|byte| *byte == b'-').count() == 4)
}

/// Whether Hive's text of a struct, and the configuration, can hold the name.
fn is_struct_name(name: &str) -> bool {
    let is_odd = |c: char| c.is_control() || matches!(c, ':' | ',' | '<' | '>' | '(' | ')');
    !name.is_empty() && name.trim() == name && !name.contains(is_odd) && !name.contains("${")
}

/// The words of a name in lower case: `createdAt` and `created_at` have the same.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.into_iter()
}
