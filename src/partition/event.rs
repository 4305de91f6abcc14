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
mod span;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::time::Duration;

pub use self::field::{FieldPath, FieldPathError};
pub use self::span::{Spans, SpansError};
pub use self::text::{TextPattern, TextPatternError};

use self::field::Found;
use crate::number::{Excess, Number};
use crate::plan::Horizon;
use crate::record::{Position, UnixMillis};
use crate::time::{days_of_text, micros_of_calendar, micros_of_text};

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
    /// What stands before the prefix for records that go to [`Beyond::LatePrefix`], with a slash at its
    /// end.
    pub late_folder: String,
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

/// Why a record has no time that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unusable {
    NoDocument,
    Missing,
    NoScalar,
    NoTime(String),
    Absurd(String),
}

impl EventTime {
    /// Judges a record.
    #[must_use]
    pub fn judge(&self, record: Stamped<'_>, horizon: Horizon) -> Verdict {
        let arrival = record.arrival;
        let complete_until = horizon.until.filter(|_| record.position >= horizon.from);
        // That of the arrival is complete only when the clock was set back.
        let at_arrival = || Verdict::At(complete_until.map_or(arrival, |until| until.max(arrival)));
        let time = match self.field.find(record.data).and_then(|found| self.form.read(&found)) {
            Ok(time) => time,
            Err(why) if self.absent == Absent::Error => return Verdict::Failed(self.words(&why)),
            Err(_) => return at_arrival(),
        };
        let is_complete = complete_until.is_some_and(|until| time < until);
        let age_ms = arrival.0.saturating_sub(time.0);
        let late = self.late.filter(|late| is_complete || late.is_exceeded_by(age_ms));
        let early = self.early.filter(|early| early.is_exceeded_by(age_ms.saturating_neg()));
        let Some(bound) = late.or(early) else {
            // Without a rule on late records nothing else keeps it out of a complete partition.
            return if is_complete { at_arrival() } else { Verdict::At(time) };
        };
        match bound.to {
            Beyond::Partition => Verdict::At(time),
            Beyond::LatePrefix => Verdict::Late(time),
            Beyond::Arrival => at_arrival(),
            Beyond::Error if is_complete => {
                let field = &self.field;
                Verdict::Failed(format!("the partition of the time in '{field}' is complete"))
            }
            Beyond::Error => {
                let (field, after) = (&self.field, bound.after);
                let word = if late.is_some() { "before" } else { "after" };
                Verdict::Failed(format!(
                    "the time in '{field}' is more than {after:?} {word} the record's arrival"
                ))
            }
        }
    }

    /// Whether records can end up below the folder for late ones.
    #[must_use]
    pub fn uses_late_prefix(&self) -> bool {
        let mut bounds = self.late.iter().chain(&self.early);
        bounds.any(|bound| bound.to == Beyond::LatePrefix)
    }

    fn words(&self, why: &Unusable) -> String {
        let field = &self.field;
        match why {
            Unusable::NoDocument => {
                format!("the record is no JSON with an event time in '{field}'")
            }
            Unusable::Missing => format!("the record has no event time: there is no '{field}'"),
            Unusable::NoScalar => {
                format!("'{field}' is no event time: it is no text and no number")
            }
            Unusable::NoTime(text) => {
                format!("'{field}' is no event time of the stream's form: {text}")
            }
            Unusable::Absurd(text) => {
                format!("'{field}' is no event time of the years 1970 to 9999: {text}")
            }
        }
    }
}

impl Bound {
    fn is_exceeded_by(&self, distance_ms: i64) -> bool {
        u128::try_from(distance_ms).is_ok_and(|distance| distance > self.after.as_millis())
    }
}

impl EventForm {
    fn read(&self, found: &Found<'_>) -> Result<UnixMillis, Unusable> {
        let text = found.text();
        let is_number = matches!(found, Found::Number(_));
        let instant = match self {
            Self::Auto => micros_of_text(text).ok().map(floor_millis).or_else(|| iso(text)),
            Self::EpochSeconds => scaled(text, 3),
            Self::EpochMillis => scaled(text, 0),
            Self::Iso if is_number => None,
            Self::Iso => iso(text),
            Self::Pattern(pattern) => pattern.read(text),
        };
        let shown = || text.chars().take(SHOWN_CHARS_MAX).collect();
        let instant = instant.ok_or_else(|| match Number::parse(text) {
            // Out of range in every unit.
            Some(_) if *self == Self::Auto => Unusable::Absurd(shown()),
            _ => Unusable::NoTime(shown()),
        })?;
        let is_sane = (UnixMillis(0)..=SANE_MAX).contains(&instant);
        if is_sane { Ok(instant) } else { Err(Unusable::Absurd(shown())) }
    }
}

/// Milliseconds of a number in units of `10^scale` of them.
fn scaled(text: &str, scale: u8) -> Option<UnixMillis> {
    let millis = Number::parse(text)?.scaled(scale, Excess::Drop).ok()?;
    // Beyond the range of every calendar, which is absurd by its size alone.
    Some(UnixMillis(i64::try_from(millis).unwrap_or(i64::MAX)))
}

fn iso(text: &str) -> Option<UnixMillis> {
    if let Ok(days) = days_of_text(text) {
        return Some(UnixMillis(i64::from(days) * MILLIS_PER_DAY));
    }
    // RFC 3339 allows small letters; a number is no calendar.
    let text = if text.contains(['t', 'z']) {
        text.to_ascii_uppercase().into()
    } else {
        Cow::Borrowed(text)
    };
    micros_of_calendar(&text).map(floor_millis)
}

fn floor_millis(micros: i64) -> UnixMillis {
    UnixMillis(micros.div_euclid(1_000))
}
