//! The time of events: the sections `event_time` and `complete` of `partitioning`, and what they mean
//! for the prefix.
//!
//! Owns their words, and what has to be there so that a partition can be told complete. Does not own
//! the rule itself, nor the spans of folders (`partition`).

use serde_json::{Value as Json, json};

use super::faults::{Place, shown};
use super::json_schema;
use super::prefixes::Prefix;
use super::reader::Presence::{Default, Optional, Required};
use super::reader::{At, Field, Reader, Scalar, section};
use super::secret::Secret;
use super::settings::Complete;
use super::transform::HookUrl;
use super::values::TimeUpTo;
use crate::partition::{
    Absent, Beyond, Bound, EventForm, EventTime, FieldPath, Slot, Spans, TextPattern,
};

/// Ten years; who wants to wait longer has no bound.
const BOUND_SECONDS_MAX: u64 = 3_650 * 86_400;
/// The marker that Hadoop's readers know.
const MARKER_DEFAULT: &str = "_SUCCESS";
const MARKER_CHARS_MAX: usize = 64;
const LATE_FOLDER_CHARS_MAX: usize = 64;
/// For the one who has none yet.
const EXAMPLE: &str = "late: {after: 1 h, to: late_prefix}";
const EARLY_EXAMPLE: &str = "early: {after: 5 min, to: arrival}";

section! {
    /// Where the time of an event stands in its record, and how far it may be from the arrival.
    EventTimeSection expects "a mapping with field, format, late, early, absent and late_prefix" {
        /// The path to it, with dots.
        field: FieldPath = Required,
        /// Its form.
        format: EventForm = Default("auto"),
        /// What becomes of records whose time is too long before their arrival; `complete` needs it.
        late: BoundSection = Optional,
        /// What becomes of records whose time is too long after their arrival; `complete` needs it.
        early: BoundSection = Optional,
        /// What becomes of records without a time of the years 1970 to 9999.
        absent: Absent = Default("arrival"),
        /// The folder in front of the prefix for `to: late_prefix`.
        late_prefix: LateFolder = Default("late/"),
    }
}

section! {
    /// A bound on the distance between an event and its arrival.
    BoundSection expects "a mapping with after and to" {
        /// The longest distance that is in order.
        after: TimeUpTo<BOUND_SECONDS_MAX> = Required,
        /// Where records beyond it go.
        to: Beyond = Required,
    }
}

section! {
    /// How it is told that a partition of event time is complete.
    CompleteSection expects "a mapping with marker and webhook" {
        /// The name of an object that is put into its folder; `_SUCCESS` if there is no webhook.
        marker: MarkerName = Optional,
        /// The URL that is called for each, at least once.
        webhook: HookUrl = Optional,
    }
}

/// The rule for event time and how completeness is told, unless there is a fault: what slots of the
/// prefix ask for has to be there, and nothing else.
pub(super) fn event_times(
    event_time: &Field<EventTimeSection>,
    complete: &Field<CompleteSection>,
    prefix: &Prefix,
    reader: &mut Reader<'_>,
) -> Option<(Option<EventTime>, Option<Complete>)> {
    let is_used = prefix.template.slots().iter().any(|slot| matches!(slot, Slot::Event(_)));
    let rule = match event_time {
        Field::Faulty => return None,
        Field::Absent if is_used => {
            let message = "!{event:...} prints a time of the record, and nothing says where that \
                           stands: write for example partitioning: {event_time: {field: at}}";
            return fault(prefix.place.clone(), message, reader);
        }
        Field::Absent => None,
        Field::Given(At { place, .. }) if !is_used => {
            let message = "the prefix has no event time in it: put for example \
                           day=!{event:yyyy-MM-dd}/ into it, or remove event_time";
            return fault(place.clone(), message, reader);
        }
        Field::Given(At { value, .. }) => Some(rule(value)?),
    };
    let complete = match complete {
        Field::Faulty => return None,
        Field::Absent => None,
        Field::Given(at) => Some(completion(at, rule.as_ref(), prefix, reader)?),
    };
    Some((rule, complete))
}

fn fault<T>(place: Place, message: &str, reader: &mut Reader<'_>) -> Option<T> {
    reader.fault(place, message);
    None
}

fn rule(section: &EventTimeSection) -> Option<EventTime> {
    Some(EventTime {
        field: section.field.value()?.clone(),
        form: section.format.value()?.clone(),
        late: bound(&section.late)?,
        early: bound(&section.early)?,
        absent: *section.absent.value()?,
        late_folder: section.late_prefix.value()?.0.clone(),
    })
}

fn bound(field: &Field<BoundSection>) -> Option<Option<Bound>> {
    match field {
        Field::Faulty => None,
        Field::Absent => Some(None),
        Field::Given(At { value: BoundSection { after, to }, .. }) => {
            Some(Some(Bound { after: after.value()?.0, to: *to.value()? }))
        }
    }
}

fn completion(
    At { value: section, place }: &At<CompleteSection>,
    rule: Option<&EventTime>,
    prefix: &Prefix,
    reader: &mut Reader<'_>,
) -> Option<Complete> {
    if section.marker.is_faulty() || section.webhook.is_faulty() {
        return None;
    }
    if let Err(error) = Spans::of(&prefix.template) {
        reader.fault(place.clone(), format_args!("no partition can be told complete: {error}"));
        return None;
    }
    let Some(Bound { after, .. }) = rule.and_then(|rule| rule.late) else {
        let message = format!(
            "a partition is complete when nothing on time can come into it any more, and nothing \
             says until when that is: write for example event_time: {{{EXAMPLE}}}"
        );
        return fault(place.clone(), &message, reader);
    };
    let early = rule.and_then(|rule| rule.early);
    if early.is_none_or(|early| early.to == Beyond::Partition) {
        let message = format!(
            "a partition is watched until it is complete, and nothing keeps records of the year 9000 out \
             of theirs: write for example event_time: {{{EARLY_EXAMPLE}}}; anything but to: partition"
        );
        return fault(place.clone(), &message, reader);
    }
    let webhook = section.webhook.value().map(|HookUrl(url)| Secret::new(url));
    let marker = section.marker.value().map(|MarkerName(name)| name.clone());
    let marker = marker.or_else(|| webhook.is_none().then(|| MARKER_DEFAULT.to_owned()));
    Some(Complete { after, marker, webhook })
}

impl Scalar for FieldPath {
    const EXPECTED: &'static str = "a key of the record, or several with dots, such as meta.time";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^[^.]+(\.[^.]+){0,31}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| format!("{} is no field: {error}", shown(text)))
    }
}

impl Scalar for EventForm {
    const EXPECTED: &'static str =
        "auto, epoch_seconds, epoch_millis, iso or a pattern, such as yyyy-MM-dd HH:mm:ss";

    fn json_schema() -> Json {
        let words = ["auto", "epoch_seconds", "epoch_millis", "iso"];
        let form = <Self as Scalar>::EXPECTED;
        json!({"description": form, "anyOf": [{"enum": words}, {"type": "string", "pattern": "[yu]"}]})
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "epoch_seconds" => Self::EpochSeconds,
            "epoch_millis" => Self::EpochMillis,
            "iso" => Self::Iso,
            _ => Self::Pattern(TextPattern::parse(text).map_err(|error| {
                let words = "auto, epoch_seconds, epoch_millis and iso";
                format!("{} is not among {words}, nor a pattern: {error}", shown(text))
            })?),
        })
    }
}

impl Scalar for Beyond {
    const EXPECTED: &'static str = "partition, late_prefix, arrival or error";

    fn json_schema() -> Json {
        json_schema::words(&["partition", "late_prefix", "arrival", "error"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "partition" => Ok(Self::Partition),
            "late_prefix" => Ok(Self::LatePrefix),
            "arrival" => Ok(Self::Arrival),
            "error" => Ok(Self::Error),
            _ => Err(format!(
                "{} is no place for such records: write {}",
                shown(text),
                <Self as Scalar>::EXPECTED
            )),
        }
    }
}

impl Scalar for Absent {
    const EXPECTED: &'static str = "arrival or error";

    fn json_schema() -> Json {
        json_schema::words(&["arrival", "error"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "arrival" => Ok(Self::Arrival),
            "error" => Ok(Self::Error),
            _ => Err(format!("{} is unknown here: write arrival or error", shown(text))),
        }
    }
}

/// A folder that no reader takes for a partition.
#[derive(Clone, Debug)]
pub(super) struct LateFolder(String);

impl Scalar for LateFolder {
    const EXPECTED: &'static str = "a folder without '=', such as late/";

    fn json_schema() -> Json {
        let pattern = r"^([A-Za-z0-9_-][A-Za-z0-9_.-]*/)+$";
        json_schema::pattern(<Self as Scalar>::EXPECTED, pattern)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let is_folder = |folder: &str| {
            folder.starts_with(is_word) && folder.chars().all(|c| is_word(c) || c == '.')
        };
        let folders = text.strip_suffix('/').filter(|_| text.len() <= LATE_FOLDER_CHARS_MAX);
        if folders.is_some_and(|folders| folders.split('/').all(is_folder)) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{} is no such folder: write {}", shown(text), <Self as Scalar>::EXPECTED))
    }
}

/// The name of an object that readers of tables pass over.
#[derive(Clone, Debug)]
pub(super) struct MarkerName(String);

impl Scalar for MarkerName {
    const EXPECTED: &'static str = "a name that begins with '_' or '.', such as _SUCCESS";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^[_.][A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let rest = text.strip_prefix(['_', '.']).filter(|_| text.len() <= MARKER_CHARS_MAX);
        let fits =
            |rest: &str| rest.starts_with(is_word) && rest.chars().all(|c| is_word(c) || c == '.');
        if rest.is_some_and(fits) {
            return Ok(Self(text.to_owned()));
        }
        let reason = "readers of the table would take others for records";
        Err(format!("{} is no marker: write {}; {reason}", shown(text), <Self as Scalar>::EXPECTED))
    }
}
