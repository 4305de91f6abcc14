//! The spans of time that folders stand for: which folder of a prefix has the records of one span, and
//! when that ends.
//!
//! Owns the way from the printed fields of a time back to the end of their span. Does not own what is
//! told of it.
//!
//! A span ends when clocks in the prefix's zone show the next year, month, day, hour, minute or second
//! for good: an hour that clocks show twice has both.

use std::time::Duration;

use chrono::{Months, NaiveDate, NaiveDateTime, TimeDelta};

use super::super::group::{Group, GroupPlace};
use super::super::pattern::Zone;
use super::super::slot::Slot;
use super::super::template::{Piece, Template};
use crate::record::UnixMillis;

/// From coarse to fine: the letters of patterns that give a span, each within the one before.
const LETTERS: [char; 6] = ['y', 'M', 'd', 'H', 'm', 's'];
/// No zone is further from UTC, nor changes its clocks by more.
const DAY: Duration = Duration::from_secs(86_400);

/// The folder of a prefix that has the records of one span, and its spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// The prefix up to the end of that folder.
    folder: Template,
    /// The slots of the fields, from the year on.
    slots: Vec<usize>,
}

/// Why the folders of a prefix have no spans that end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpansError {
    /// No event time at all.
    #[error("the prefix has no !{{event:...}}, so none of its folders has the records of one span")]
    NoEvent,
    /// Fields that name no span.
    #[error(
        "the fields of !{{event:...}} name no span of time: write them in digits from the year on \
         without a gap, such as !{{event:yyyy}}, !{{event:MM}} and !{{event:dd}}"
    )]
    NoSpan,
    /// What every object has anew, before the end of the folder.
    #[error(
        "what stands before the end of the last folder with !{{event:...}} changes within a span: move \
         !{{timestamp:...}} and !{{firehose:random-string}} behind it"
    )]
    Changing,
    /// The time is part of the names of objects.
    #[error(
        "!{{event:...}} stands behind the last '/', where no folder is: end the prefix with '/'"
    )]
    NoFolder,
}

impl Spans {
    /// The spans of a prefix.
    ///
    /// # Errors
    /// When its folders have none; says what to write.
    pub fn of(prefix: &Template) -> Result<Self, SpansError> {
        let is_event = |piece: &Piece| match piece {
            Piece::Slot(number) => matches!(prefix.slots()[*number], Slot::Event(_)),
            _ => false,
        };
        let last = prefix.pieces.iter().rposition(is_event).ok_or(SpansError::NoEvent)?;
        let mut slots = Vec::new();
        for letter in LETTERS {
            let is_field = |slot: &Slot| match slot {
                // The last two digits of a year come again.
                Slot::Event(field) => match field.0.digits() {
                    Some(('y', 2)) | None => false,
                    Some((found, _)) => found == letter,
                },
                _ => false,
            };
            match prefix.slots().iter().position(is_field) {
                Some(slot) => slots.push(slot),
                None => break,
            }
        }
        // Another field must not set apart what the span holds together.
        let is_covered = |slot: &Slot| match slot {
            Slot::Event(field) => {
                field.0.digits().is_some_and(|(letter, _)| LETTERS[..slots.len()].contains(&letter))
            }
            _ => true,
        };
        if slots.is_empty() || !prefix.slots().iter().all(is_covered) {
            return Err(SpansError::NoSpan);
        }
        let folder = prefix.until_folder_end(last).ok_or(SpansError::NoFolder)?;
        let changes = |piece: &Piece| {
            matches!(piece, Piece::Time(_) | Piece::RandomString | Piece::ErrorOutputType)
        };
        if folder.pieces.iter().any(changes) {
            return Err(SpansError::Changing);
        }
        Ok(Self { folder, slots })
    }

    /// The folder of a group's records and the end of its span; none for records without a place, and
    /// for late ones that lie elsewhere.
    #[must_use]
    pub fn of_group(&self, group: &Group) -> Option<(String, UnixMillis)> {
        let GroupPlace::Placed(values) = &group.place else {
            return None;
        };
        let numbers: Option<Vec<u32>> =
            self.slots.iter().map(|slot| values.get(*slot)?.parse().ok()).collect();
        let until = end_of(&numbers?, self.folder.zone())?;
        let folder = self.folder.evaluate(UnixMillis(0), group, None, &mut || 0).ok()?;
        Some((folder.prefix, until))
    }
}

/// The end of a span that begins with a year and what stands behind it, down to seconds.
fn end_of(numbers: &[u32], zone: &Zone) -> Option<UnixMillis> {
    let number = |index: usize, least: u32| numbers.get(index).copied().unwrap_or(least);
    let year = i32::try_from(number(0, 1)).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(1, 1), number(2, 1))?;
    let begin = date.and_hms_opt(number(3, 0), number(4, 0), number(5, 0))?;
    let end = match numbers.len() {
        1 => begin.checked_add_months(Months::new(12)),
        2 => begin.checked_add_months(Months::new(1)),
        3 => begin.checked_add_signed(TimeDelta::days(1)),
        4 => begin.checked_add_signed(TimeDelta::hours(1)),
        5 => begin.checked_add_signed(TimeDelta::minutes(1)),
        _ => begin.checked_add_signed(TimeDelta::seconds(1)),
    };
    Some(last_time_of(end?, zone))
}

/// The last instant at which clocks come to show `local`; where they never do, that at which they
/// leap over it.
fn last_time_of(local: NaiveDateTime, zone: &Zone) -> UnixMillis {
    let as_utc = local.and_utc().timestamp_millis();
    let day_ms = DAY.as_millis() as i64;
    let offset_ms = |instant: i64| {
        let shown = zone.at(UnixMillis(instant)).local.and_utc().timestamp_millis();
        shown - instant.div_euclid(1_000) * 1_000
    };
    let candidates = [as_utc - day_ms, as_utc + day_ms].map(|near| as_utc - offset_ms(near));
    let shows_it = |instant: &&i64| zone.at(UnixMillis(**instant)).local == local;
    let shown = candidates.iter().filter(shows_it).max();
    let leapt = candidates[0].max(candidates[1]);
    UnixMillis(shown.copied().unwrap_or(leapt))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Place;
    use super::*;
    use crate::record::Tenant;

    fn template(text: &str, zone: &str) -> Template {
        let zone = Zone::named(zone).expect(zone);
        Template::parse_in(text, Place::Prefix, zone).expect(text)
    }

    fn instant(text: &str) -> UnixMillis {
        UnixMillis(crate::time::micros_of_text(text).expect(text) / 1_000)
    }

    /// The folder and the end of the span of a record with this event time.
    fn span(text: &str, zone: &str, at: UnixMillis) -> Option<(String, UnixMillis)> {
        let template = template(text, zone);
        let place = GroupPlace::Placed(template.example("k", at));
        let group = Group { tenant: Tenant::new("acme").ok(), place };
        Spans::of(&template).expect(text).of_group(&group)
    }

    #[test]
    fn spans_end_where_clocks_of_the_zone_say_so() {
        for (text, zone, at, folder, until) in [
            (
                "t/y=!{event:yyyy}/",
                "UTC",
                "2026-05-05T05:05:05Z",
                "t/y=2026/",
                "2027-01-01T00:00:00Z",
            ),
            (
                "!{event:yyyy/MM}/x-",
                "UTC",
                "2026-12-31T23:59:59Z",
                "2026/12/",
                "2027-01-01T00:00:00Z",
            ),
            (
                "t/!{lakehose:tenant}/d=!{event:yyyy-MM-dd}/k=!{partitionKeyFromQuery:k}/",
                "Europe/Berlin",
                "2026-06-30T22:30:00Z",
                "t/acme/d=2026-07-01/",
                "2026-07-01T22:00:00Z",
            ),
            // The day on which clocks are set forward has 23 hours.
            (
                "!{event:yyyy-M-d}/",
                "Europe/Berlin",
                "2026-03-29T10:00:00Z",
                "2026-3-29/",
                "2026-03-29T22:00:00Z",
            ),
            // The hour that is shown twice ends when it has been shown twice.
            (
                "!{event:yyyyMMddHH}/",
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026102502/",
                "2026-10-25T02:00:00Z",
            ),
            (
                "!{event:yyyyMMddHH}/",
                "Europe/Berlin",
                "2026-10-25T01:30:00Z",
                "2026102502/",
                "2026-10-25T02:00:00Z",
            ),
            // The hour before the leap.
            (
                "!{event:yyyyMMddHH}/",
                "Europe/Berlin",
                "2026-03-29T00:30:00Z",
                "2026032901/",
                "2026-03-29T01:00:00Z",
            ),
            // A day that begins at one o'clock.
            (
                "!{event:yyyyMMdd}/",
                "Africa/Cairo",
                "2026-04-23T12:00:00Z",
                "20260423/",
                "2026-04-23T22:00:00Z",
            ),
            (
                "!{event:yyyy-MM-dd-HH-mm}/",
                "UTC",
                "2026-01-01T00:59:30Z",
                "2026-01-01-00-59/",
                "2026-01-01T01:00:00Z",
            ),
            (
                "!{event:yyyyMMddHHmmss}/",
                "UTC",
                "2026-01-01T00:59:59Z",
                "20260101005959/",
                "2026-01-01T01:00:00Z",
            ),
            (
                "!{event:yyyy}/!{event:yy}/",
                "UTC",
                "2026-05-05T05:05:05Z",
                "2026/26/",
                "2027-01-01T00:00:00Z",
            ),
        ] {
            let expected = Some((folder.to_owned(), instant(until)));
            assert_eq!(span(text, zone, instant(at)), expected, "{text} {zone} {at}");
        }
    }

    #[test]
    fn records_without_a_place_and_late_ones_have_no_span() {
        let template = template("!{event:yyyy}/", "UTC");
        let spans = Spans::of(&template).expect("a year");
        let late =
            Group { tenant: None, place: GroupPlace::Late(template.example("", UnixMillis(0))) };
        assert_eq!(spans.of_group(&late), None);
        assert_eq!(spans.of_group(&Group::default()), None);
    }

    #[test]
    fn prefixes_without_spans_are_refused_with_what_to_write() {
        for (text, part) in [
            ("a/", "no !{event:...}"),
            ("a/!{timestamp:yyyy}/", "no !{event:...}"),
            ("!{event:MM}/", "from the year on"),
            ("!{event:yy-MM}/", "from the year on"),
            ("!{event:yyyy-dd}/", "from the year on"),
            ("!{event:yyyy-MM-dd}/!{event:EEE}/", "from the year on"),
            ("!{event:YYYY-'W'ww}/", "from the year on"),
            ("!{event:yyyy-MM-dd-hh}/", "from the year on"),
            ("a/!{firehose:random-string}/!{event:yyyy}/", "behind it"),
            ("a/!{timestamp:HH}/!{event:yyyy}/", "behind it"),
            ("a/!{event:yyyy}-!{timestamp:HH}/", "behind it"),
            ("a/!{event:yyyy}", "end the prefix with '/'"),
        ] {
            let error = Spans::of(&template(text, "UTC")).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for text in ["a/!{event:yyyy}/!{timestamp:HH}/", "!{event:yyyy}/!{firehose:random-string}-"]
        {
            assert!(Spans::of(&template(text, "UTC")).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_span_ends_behind_its_instant_and_nothing_of_it_comes_later(
            at in 0i64..4_000_000_000, zone in 0usize..10_000, text in 0usize..6, later in 0i64..90_000,
        ) {
            let zones: Vec<_> = Zone::names().collect();
            let zone = zones[zone % zones.len()];
            let text = [
                "!{event:yyyy}/", "!{event:yyyy/MM}/", "!{event:yyyyMMdd}/", "!{event:yyyyMMddHH}/",
                "!{event:yyyyMMddHHmm}/", "!{event:yyyyMMddHHmmss}/",
            ][text];
            let at = UnixMillis(at * 1_000);
            let (folder, until) = span(text, zone, at).expect("a span");
            prop_assert!(until > at, "{} {}", zone, text);
            let after = UnixMillis(until.0 + later * 1_000);
            let (other, _) = span(text, zone, after).expect("a span");
            prop_assert_ne!(folder, other, "{} {}", zone, text);
        }
    }
}
