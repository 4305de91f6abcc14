//! Event time: when that happened which a record tells of, by a field of the record itself.
//!
//! Owns the rule: where the time stands and in what form, how far it may be from the record's arrival,
//! and what becomes of a record whose time is late, early or not to be read. Does not own what a
//! prefix prints of an instant, nor where groups go.
//!
//! Late and early are measured by the record's own arrival as it is stored, never by a clock: the same
//! record is judged alike today and after a restart. Of several JSON documents in one record the first
//! one tells the time of all; of equal keys the last one counts, as it does for columns.
//!
//! A partition that is complete stays so: a time before [`Horizon::until`] is late for every record from
//! [`Horizon::from`] on, however the clock or the settings moved meanwhile.

mod field;
mod text;

use std::time::Duration;

pub use self::field::{FieldPath, FieldPathError};
pub use self::text::{TextPattern, TextPatternError};

use self::field::Found;
use crate::number::{Excess, Number};
use crate::record::{Position, UnixMillis};
use crate::time::{days_of_text, micros_of_number, micros_of_text};

/// 9999-12-31T23:59:59.999Z, after which nobody's events lie.
const SANE_MAX: UnixMillis = UnixMillis(253_402_300_799_999);
const MILLIS_PER_DAY: i64 = 86_400_000;
/// Foreign text is repeated only so far as it helps.
const SHOWN_CHARS_MAX: usize = 60;

/// How the event time of records is found and judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// Where it stands.
    pub field: FieldPath,
    /// In what form.
    pub form: EventForm,
    /// What is late; nothing when absent.
    pub late: Option<Bound>,
    /// What is early; nothing when absent.
    pub early: Option<Bound>,
    /// What becomes of a record without a time that can be used.
    pub absent: Absent,
}

/// The form of a time in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventForm {
    /// A number of seconds (below 10^12) or milliseconds, as a number or as text, or a text of
    /// [`EventForm::Iso`]: what a timestamp column takes.
    #[default]
    Auto,
    /// Seconds since 1970, as a number or as text; digits behind the millisecond are left out.
    EpochSeconds,
    /// Milliseconds since 1970, as a number or as text.
    EpochMillis,
    /// ISO 8601 as in RFC 3339, also with a space for the `T`, without a zone (then UTC), or a date
    /// alone.
    Iso,
    /// A text of another form.
    Pattern(TextPattern),
}

/// A bound on the distance between the time of an event and the arrival of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The longest distance that is still in order.
    pub after: Duration,
    /// What becomes of a record beyond it.
    pub to: Beyond,
}

/// What becomes of a record whose time is too far from its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It goes to the partition of its time all the same.
    Partition,
    /// It goes to the same partition below the folder for late records.
    LatePrefix,
    /// It goes to the partition of its arrival.
    Arrival,
    /// It fails.
    Error,
}

/// What becomes of a record without a time that can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// It goes to the partition of its arrival.
    #[default]
    Arrival,
    /// It fails.
    Error,
}

/// Up to where partitions are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Every record before this one had its place when that was said.
    pub from: Position,
    /// Where the last complete partition ends.
    pub until: Option<UnixMillis>,
}

/// A record to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Stamped<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// Its number.
    pub position: Position,
    /// When it was accepted.
    pub arrival: UnixMillis,
}

/// Where a record belongs by its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The partition of this instant.
    At(UnixMillis),
    /// The partition of this instant, below the folder for late records.
    Late(UnixMillis),
    /// Nowhere, and why: words for the error object.
    Failed(String),
}

/// Why a time cannot be used.
enum Unusable<'a> {
    NoDocument,
    Missing,
    NoTime(&'a str),
    NoScalar,
    Absurd(&'a str),
}

impl EventTime {
    /// Judges a record.
    #[must_use]
    pub fn judge(&self, record: Stamped<'_>, horizon: Horizon) -> Verdict {
        let arrival = record.arrival;
        // The partition of the arrival may be complete only when the clock was set back.
        let complete_until = horizon.until.filter(|_| record.position >= horizon.from);
        let at_arrival = || Verdict::At(complete_until.map_or(arrival, |until| until.max(arrival)));
        let read = |time| self.form.read(time);
        let time = match self.field.find(record.data).and_then(|found| read(found).map_err(owned)) {
            Ok(time) => time,
            Err(why) if self.absent == Absent::Error => return Verdict::Failed(self.words(&why)),
            Err(_) => return at_arrival(),
        };
        let is_over = |bound: &Bound, distance: i64| {
            u64::try_from(distance).is_ok_and(|distance| u128::from(distance) > bound.after.as_millis())
        };
        let is_complete = complete_until.is_some_and(|until| time < until);
        let age = arrival.0.saturating_sub(time.0);
        let late = self.late.filter(|late| is_complete || is_over(late, age));
        let early = self.early.filter(|early| is_over(early, age.saturating_neg()));
        let (word, bound) = match (late, early) {
            (Some(late), _) => ("before", late),
            (None, Some(early)) => ("after", early),
            (None, None) => return Verdict::At(time),
        };
        match bound.to {
            Beyond::Partition => Verdict::At(time),
            Beyond::LatePrefix => Verdict::Late(time),
            Beyond::Arrival => at_arrival(),
            Beyond::Error => Verdict::Failed(format!(
                "'{}' is more than {} s {word} the arrival of the record",
                self.field,
                bound.after.as_secs_f64()
            )),
        }
    }
}
