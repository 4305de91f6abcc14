//! Where a record belongs: the group that it is gathered in, or why it has no place.
//!
//! Owns the rules by which the slots of a prefix get their values from one record, and which values
//! cannot stand in a key. Does not own the language of queries (`jq`), the rule of event time, nor how
//! a value is escaped (`partition`). A record is placed when its leg looks at it, and once more, for
//! the words, if it had no place; nothing durable depends on either.
//!
//! Invariant: where a record belongs depends on the record, its arrival, its hooks' keys, the settings
//! and the partitions that were complete before it came, never on when it is asked; only
//! [`FailedKind::TooManyPartitions`] depends on what else is buffered, and it is not decided here.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::caution::{POISON, panic_text};
use super::freeze::Recipe;
use super::naming::{NameError, name};
use crate::jq::{KeyValue, Program, ProgramError};
use crate::partition::{
    DEFAULT_PARTITION, EventTime, FailedKind, Group, GroupPlace, KEY_BYTES_MAX, Slot, Stamped,
    Values, Verdict,
};
use crate::plan::Horizon;
use crate::record::{Position, StreamName, Tenant, UnixMillis};

/// Firehose's code of records out of which no values can be taken.
const NO_VALUES: &str = "DynamicPartitioning.MetadataExtractionFailed";
const INVALID_VALUE: &str = "DynamicPartitioning.InvalidPartitionValue";
const KEY_TOO_LONG: &str = "DynamicPartitioning.KeyTooLong";
const TOO_MANY_PARTITIONS: &str = "DynamicPartitioning.ActivePartitionLimitExceeded";

/// What sets the records of a stream apart besides their tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitioning {
    /// Takes keys out of each record.
    pub query: Option<Query>,
    /// What becomes of a record without a value.
    pub missing: Missing,
    /// Where the time of an event stands in its record, and what is late or early.
    pub event_time: Option<EventTime>,
    /// How many partitions may be active: with records in an open batch.
    pub max_active_partitions: Option<usize>,
}

/// What becomes of a record that has no value for a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// It fails.
    #[default]
    Fail,
    /// It goes to Hive's default partition.
    Default,
}

/// A program that takes keys out of records.
#[derive(Clone, Debug)]
pub struct Query {
    text: Arc<str>,
    program: Program,
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Query {}

impl Query {
    /// Compiles a query.
    ///
    /// # Errors
    /// The first fault of the text.
    pub fn compile(text: &str) -> Result<Self, ProgramError> {
        Ok(Self { text: text.into(), program: Program::compile(text)? })
    }

    /// The text of the program.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn keys(&self, record: &[u8]) -> Result<BTreeMap<String, KeyValue>, Unplaced> {
        self.program.keys(record).map_err(|why| Unplaced::new(NO_VALUES, why))
    }
}

/// What a record is placed by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) tenant: Option<&'a Tenant>,
    pub(super) position: Position,
    pub(super) arrival: UnixMillis,
    /// What hooks made of it, where there are hooks. Empty where a placer needs no bytes.
    pub(super) bytes: &'a [u8],
    pub(super) hook_keys: &'a BTreeMap<String, String>,
}

/// Why a record has no place, for the error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unplaced {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Unplaced {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// In Firehose's words.
    fn missing(key: &str) -> Self {
        let message =
            format!("partitionKeys values must not be null or empty: there is none for '{key}'");
        Self::new(NO_VALUES, message)
    }

    /// The group of the record has no name for an object.
    pub(super) fn without_name(error: &NameError) -> Self {
        Self::new(KEY_TOO_LONG, error.to_string())
    }

    /// Nothing but the number of partitions kept the record out.
    pub(super) fn too_many(rules: &Partitioning) -> Self {
        let limit = rules.max_active_partitions.map_or(String::new(), |max| format!(" of {max}"));
        let message = format!(
            "the limit{limit} of active partitions is reached, and the record would have opened \
             another one"
        );
        Self::new(TOO_MANY_PARTITIONS, message)
    }

    /// It had none when its leg looked at it, and would have one now.
    fn before() -> Self {
        let message = "the record had no place when it was looked at: its query gave no values, or \
                       its partition was complete already";
        Self::new(NO_VALUES, message)
    }
}

/// Places the records of one stream by its recipe.
#[derive(Clone, Debug)]
pub(super) struct Placer {
    stream: StreamName,
    recipe: Arc<Recipe>,
    horizon: Horizon,
}

impl Placer {
    pub(super) fn new(stream: StreamName, recipe: Arc<Recipe>) -> Self {
        Self { stream, recipe, horizon: Horizon::default() }
    }

    /// Keeps records out of partitions of event time that are complete.
    pub(super) fn set_horizon(&mut self, horizon: Horizon) {
        self.horizon = horizon;
    }

    /// Whether records are placed by what they hold.
    pub(super) fn needs_bytes(&self) -> bool {
        self.slots().iter().any(|slot| matches!(slot, Slot::QueryKey(_) | Slot::Event(_)))
    }

    /// Whether anything but the tenant sets records apart.
    pub(super) fn has_slots(&self) -> bool {
        !self.slots().is_empty()
    }

    /// How many partitions may be active.
    pub(super) fn max_active_partitions(&self) -> Option<usize> {
        self.recipe.partitioning.max_active_partitions.filter(|_| self.has_slots())
    }

    /// Whether the other one gives the same groups.
    pub(super) fn places_like(&self, other: &Self) -> bool {
        let (one, other) = (&self.recipe, &other.recipe);
        let without_slots = one.prefix.slots().is_empty() && other.prefix.slots().is_empty();
        without_slots || (one.prefix == other.prefix && one.partitioning == other.partitioning)
    }

    /// The group of a record.
    pub(super) fn group(&self, given: &Given<'_>) -> Group {
        let tenant = given.tenant.cloned();
        match self.place(given) {
            Ok(place) => Group { tenant, place },
            Err(unplaced) => {
                if unplaced.code == POISON {
                    let (stream, position) = (&self.stream, given.position.0);
                    tracing::error!(%stream, position, "{}", unplaced.message);
                }
                Group::failed(tenant, FailedKind::Unplaced)
            }
        }
    }

    /// Why a record has no place of which that is known.
    pub(super) fn why_unplaced(&self, given: &Given<'_>) -> Unplaced {
        self.place(given).err().unwrap_or_else(Unplaced::before)
    }

    fn place(&self, given: &Given<'_>) -> Result<GroupPlace, Unplaced> {
        survived(|| self.find_place(given))
    }

    fn find_place(&self, given: &Given<'_>) -> Result<GroupPlace, Unplaced> {
        if !self.has_slots() {
            return Ok(GroupPlace::default());
        }
        let query = self.recipe.partitioning.query.as_ref();
        let queried = query.map(|query| query.keys(given.bytes)).transpose()?.unwrap_or_default();
        let time = self.event_time(given)?;
        let value = |(number, slot): (usize, &Slot)| match slot {
            Slot::QueryKey(key) => match queried.get(key) {
                Some(KeyValue::Text(text)) => self.value(number, key, text),
                Some(KeyValue::Null) | None => self.value(number, key, ""),
            },
            Slot::HookKey(key) => {
                self.value(number, key, given.hook_keys.get(key).map_or("", String::as_str))
            }
            Slot::Event(field) => {
                Ok(self.recipe.prefix.event_value(field, time.instant).into_boxed_str())
            }
        };
        let values: Result<Values, _> = self.slots().iter().enumerate().map(value).collect();
        let values = values?;
        let place =
            if time.is_aside { GroupPlace::Late(values) } else { GroupPlace::Placed(values) };
        self.check_name(given, &place)?;
        Ok(place)
    }

    /// The instant that the slots of event time print: that of the arrival where there is no rule.
    fn event_time(&self, given: &Given<'_>) -> Result<Time, Unplaced> {
        let is_used = self.slots().iter().any(|slot| matches!(slot, Slot::Event(_)));
        let Some(rule) = self.recipe.partitioning.event_time.as_ref().filter(|_| is_used) else {
            return Ok(Time { instant: given.arrival, is_aside: false });
        };
        let Given { bytes: data, position, arrival, .. } = *given;
        match rule.judge(Stamped { data, position, arrival }, self.horizon) {
            Verdict::At(instant) => Ok(Time { instant, is_aside: false }),
            Verdict::Late(instant) => Ok(Time { instant, is_aside: true }),
            Verdict::Failed(why) => Err(Unplaced::new(NO_VALUES, why)),
        }
    }

    /// The value of a slot as it stands in the group; an empty one is none.
    fn value(&self, slot: usize, key: &str, text: &str) -> Result<Box<str>, Unplaced> {
        if text.contains('\0') {
            let message =
                format!("the value of '{key}' has a NUL character, which no key may have");
            return Err(Unplaced::new(INVALID_VALUE, message));
        }
        if text.len() > KEY_BYTES_MAX {
            let (length, max) = (text.len(), KEY_BYTES_MAX);
            let message = format!("the value of '{key}' has {length} bytes, a key at most {max}");
            return Err(Unplaced::new(KEY_TOO_LONG, message));
        }
        let value = if text.contains('/') && self.recipe.prefix.splits(slot) {
            let folders: Result<Vec<_>, _> =
                text.split('/').map(|folder| self.folder(key, folder)).collect();
            folders?.join("/")
        } else {
            self.folder(key, text)?.to_owned()
        };
        Ok(value.into())
    }

    fn folder<'a>(&self, key: &str, text: &'a str) -> Result<&'a str, Unplaced> {
        match (text, self.recipe.partitioning.missing) {
            // It would pass for a record without a value.
            (DEFAULT_PARTITION, _) => {
                let message =
                    format!("the value of '{key}' is {DEFAULT_PARTITION}, which stands for none");
                Err(Unplaced::new(INVALID_VALUE, message))
            }
            ("", Missing::Fail) => Err(Unplaced::missing(key)),
            ("", Missing::Default) => Ok(DEFAULT_PARTITION),
            (text, _) => Ok(text),
        }
    }

    /// What is too long for a key fails here, by itself, rather than as a batch of its own. A time that
    /// prints longer for another record of the batch is left to who names the object.
    fn check_name(&self, given: &Given<'_>, place: &GroupPlace) -> Result<(), Unplaced> {
        let group = Group { tenant: given.tenant.cloned(), place: place.clone() };
        let target = &self.recipe.target;
        let has_no_other_bound = !target.is_folder() && target.url.len() <= KEY_BYTES_MAX;
        if has_no_other_bound && self.recipe.prefix.is_surely_short(&group) {
            return Ok(());
        }
        let named = name(&self.stream, [0; 8], &self.recipe, (&group, given.arrival), None);
        named.map(|_| ()).map_err(|error| Unplaced::without_name(&error))
    }

    fn slots(&self) -> &[Slot] {
        self.recipe.prefix.slots()
    }
}

/// A defect that one record meets costs that record, and not the leg, which would meet it again at every
/// start.
fn survived<T>(find: impl FnOnce() -> Result<T, Unplaced>) -> Result<T, Unplaced> {
    catch_unwind(AssertUnwindSafe(find)).unwrap_or_else(|panic| {
        let panicked = panic_text(panic.as_ref());
        let message = format!("finding the partition of the record panicked: {panicked}");
        Err(Unplaced::new(POISON, message))
    })
}

/// The time by which a record is placed.
#[derive(Clone, Copy, Debug)]
struct Time {
    instant: UnixMillis,
    /// It goes below the folder for late records.
    is_aside: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{Place, Template};
    use crate::pipeline::tests::recipe;

    fn placer(prefix: &str, query: Option<&str>, missing: Missing) -> Placer {
        let prefix = Template::parse(prefix, Place::Prefix).expect("a prefix");
        let query = query.map(|text| Query::compile(text).expect("a query"));
        let partitioning = Partitioning { query, missing, ..Partitioning::default() };
        let recipe = Recipe { prefix, partitioning, register_in: None, ..recipe() };
        Placer::new(StreamName::new("clicks").expect("a name"), Arc::new(recipe))
    }

    fn place(
        placer: &Placer,
        record: &str,
        keys: &[(&str, &str)],
    ) -> Result<Vec<String>, Unplaced> {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let hook_keys = &keys.collect();
        let bytes = record.as_bytes();
        let given =
            Given { tenant: None, position: Position(0), arrival: UnixMillis(0), bytes, hook_keys };
        let group = placer.group(&given);
        let place = placer.place(&given);
        assert_eq!(group.values().is_some(), place.is_ok(), "{record}");
        let GroupPlace::Placed(values) = place? else { panic!("{record}") };
        Ok(values.iter().map(|value| (**value).to_owned()).collect())
    }

    fn code(placed: Result<Vec<String>, Unplaced>) -> String {
        let Unplaced { code, message } = placed.expect_err("no place");
        format!("{code}: {message}")
    }

    #[test]
    fn a_record_that_placing_does_not_survive_has_no_place_and_says_why() {
        assert_eq!(survived(|| Ok(7)), Ok(7));
        assert_eq!(survived::<u8>(|| Err(Unplaced::before())), Err(Unplaced::before()));
        let panicked: Result<u8, _> = survived(|| panic!("of {}", 1));
        let Unplaced { code, message } = panicked.expect_err("it has none");
        assert_eq!(code, "Lakehose.Poison");
        assert_eq!(message, "finding the partition of the record panicked: of 1");
    }

    const BOTH: &str = "c/a=!{partitionKeyFromQuery:a}/!{partitionKeyFromLambda:b}/";

    #[test]
    fn keys_of_the_query_and_of_hooks_fill_their_slots() {
        let placer = placer(BOTH, Some("{a: .a, unused: .b}"), Missing::Fail);
        assert!(placer.needs_bytes());
        let placed = |record, keys: &[(&str, &str)]| place(&placer, record, keys);
        let b = [("b", "x/y"), ("c", "unused")];
        for (record, a) in [
            (r#"{"a":"1"}"#, "1"),
            (r#"{"a":1}"#, "1"),
            (r#"{"a":true}"#, "true"),
            (r#"{"a":"../é"}"#, "../é"),
        ] {
            assert_eq!(placed(record, &b).expect(record), [a, "x/y"]);
        }
        for (record, key) in [("{}", "a"), (r#"{"a":null}"#, "a"), (r#"{"a":""}"#, "a")] {
            let wanted = format!(
                "DynamicPartitioning.MetadataExtractionFailed: partitionKeys values must not be \
                 null or empty: there is none for '{key}'"
            );
            assert_eq!(code(placed(record, &b)), wanted, "{record}");
        }
        assert!(code(placed(r#"{"a":"1"}"#, &[("B", "x")])).contains("none for 'b'"));
        for record in ["", "{", "1 2", r#"{"a":{}}"#, r#"{"a":[1]}"#] {
            assert!(code(placed(record, &b)).contains("MetadataExtractionFailed"), "{record}");
        }
    }

    #[test]
    fn missing_values_may_go_to_the_default_partition_and_nobody_else_may() {
        let placer = placer(BOTH, Some("{a: .a}"), Missing::Default);
        let b = [("b", "x")];
        for record in ["{}", r#"{"a":null}"#, r#"{"a":""}"#] {
            let placed = place(&placer, record, &b).expect(record);
            assert_eq!(placed, ["__HIVE_DEFAULT_PARTITION__", "x"]);
        }
        for missing in [Missing::Default, Missing::Fail] {
            let placer = Placer {
                recipe: Arc::new(Recipe {
                    prefix: placer.recipe.prefix.clone(),
                    partitioning: Partitioning { missing, ..placer.recipe.partitioning.clone() },
                    ..recipe()
                }),
                ..placer.clone()
            };
            let hostile = place(&placer, r#"{"a":"__HIVE_DEFAULT_PARTITION__"}"#, &b);
            assert!(code(hostile).starts_with("DynamicPartitioning.InvalidPartitionValue"));
            let nul = place(&placer, r#"{"a":"x\u0000"}"#, &b);
            assert!(code(nul).starts_with("DynamicPartitioning.InvalidPartitionValue"));
        }
    }

    #[test]
    fn values_that_make_a_key_too_long_fail_by_themselves_and_the_longest_do_not() {
        let placer = placer("p/!{partitionKeyFromQuery:a}/", Some("{a: .a}"), Missing::Fail);
        let record = |value: &str| serde_json::json!({ "a": value }).to_string();
        let longest = "x".repeat(509);
        assert_eq!(place(&placer, &record(&longest), &[]).expect("it fits"), [longest]);
        let wide = "€".repeat(251);
        assert_eq!(place(&placer, &record(&wide), &[]).expect("it fits"), [wide]);
        for value in ["x".repeat(510), "€".repeat(500), "/".repeat(400), "x".repeat(1_000_000)] {
            let why = code(place(&placer, &record(&value), &[]));
            assert!(why.starts_with("DynamicPartitioning.KeyTooLong: "), "{why}");
            assert!(why.len() < 200, "{why}");
        }
    }

    #[test]
    fn folders_out_of_slashes_are_held_like_values() {
        let made = placer("!{partitionKeyFromQuery:a}/", Some("{a: .a}"), Missing::Fail);
        let prefix = made.recipe.prefix.clone().with_slashes();
        let recipe = Recipe { prefix, partitioning: made.recipe.partitioning.clone(), ..recipe() };
        let placer = Placer { recipe: Arc::new(recipe), ..made };
        let placed = |value: &str| place(&placer, &format!(r#"{{"a":"{value}"}}"#), &[]);
        assert_eq!(placed("x/../y").expect("folders"), ["x/../y"]);
        for value in ["/x", "x/", "x//y", "x/__HIVE_DEFAULT_PARTITION__"] {
            placed(value).expect_err(value);
        }
    }
}
