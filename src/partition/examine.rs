//! What can be said of a prefix before anything is written under it: what is likely not meant, and
//! when it is longest.
//!
//! Owns the doubts and their words. Refuses nothing: every prefix here is one that Firehose takes.

use std::collections::BTreeSet;
use std::fmt;

use super::pattern::Field;
use super::slot::{EventField, Slot};
use super::template::{Piece, Template};
use crate::record::UnixMillis;

const DAY_MILLIS: i64 = 86_400_000;
const HOUR_MILLIS: i64 = 3_600_000;
/// 2028-01-01T11:59:59Z; all days of that leap year, and then all hours of one of them, are tried.
const WIDEST_FROM: i64 = 1_830_340_799_000;

/// Something in a prefix that is likely not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The year of weeks without a week.
    WeekYear,
    /// The minute without an hour.
    Minute,
    /// The day of the year with a month.
    DayOfYear,
    /// Hours to twelve without the half of the day.
    HalfDay,
    /// A partition whose value is new for nearly every object.
    Changing {
        /// The name before `=`.
        folder: String,
        /// What changes.
        what: &'static str,
    },
    /// No slash between the prefix and the date or the name behind it.
    NoSlash {
        /// What follows.
        before: &'static str,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WeekYear => f.write_str(
                "Y is the year that the week belongs to: YYYY prints 2022 for 2021-12-31, since its \
                 week has January 1st: write yyyy, unless weeks are meant",
            ),
            Self::Minute => f.write_str(
                "m is the minute, and there is no hour before it: write MM if the month is meant",
            ),
            Self::DayOfYear => f.write_str(
                "D is the day of the year, 1 to 366, and there is a month beside it: write dd for \
                 the day of the month",
            ),
            Self::HalfDay => f.write_str(
                "h and K count hours up to 12, so that morning and evening share a folder: write HH",
            ),
            Self::Changing { folder, what } => write!(
                f,
                "the partition '{folder}=' has {what} in its value, so that nearly every object \
                 makes a partition of its own, which catalogs and queries have to go through one by \
                 one: leave it out, or write the folder without '{folder}='"
            ),
            Self::NoSlash { before } => {
                write!(f, "it has no slash at its end, and {before} follows without one: write '/'")
            }
        }
    }
}

impl Template {
    /// What is likely not meant, each once, in no order that matters.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        let letters: BTreeSet<char> = self.fields().map(|field| field.letter()).collect();
        let has = |any: &str| any.chars().any(|letter| letters.contains(&letter));
        let letter_doubts = [
            (has("Y") && !has("wW"), Doubt::WeekYear),
            (has("m") && !has("HkKhA"), Doubt::Minute),
            (has("D") && has("ML"), Doubt::DayOfYear),
            (has("hK") && !has("aBHk"), Doubt::HalfDay),
        ];
        let mut doubts: Vec<Doubt> =
            letter_doubts.into_iter().filter_map(|(is, doubt)| is.then_some(doubt)).collect();
        doubts.extend(self.changing());
        let written = &self.pieces[..self.implicit_from.unwrap_or(self.pieces.len())];
        let before = if self.implicit_from.is_some() { "the date" } else { "the object's name" };
        let ends_well = match written.last() {
            None => true,
            // Who ends with a dash means the name to go on.
            Some(Piece::Literal(text)) => text.ends_with(['/', '-', '_', '.']),
            Some(_) => false,
        };
        if !ends_well {
            doubts.push(Doubt::NoSlash { before });
        }
        doubts
    }

    /// An instant at which no other makes the prefix longer, in years of four digits.
    #[must_use]
    pub fn widest_instant(&self) -> UnixMillis {
        let length = |instant: &UnixMillis| {
            let moment = self.zone().at(*instant);
            let mut printed = String::new();
            self.fields().for_each(|field| field.print(&moment, &mut printed));
            printed.chars().count()
        };
        // What the day decides and what the hour does are apart from each other.
        let days = (0..366).map(|day| UnixMillis(WIDEST_FROM + day * DAY_MILLIS));
        let day = days.max_by_key(length).unwrap_or(UnixMillis(WIDEST_FROM));
        let hours = (-12..12).map(|hour| UnixMillis(day.0 + hour * HOUR_MILLIS));
        hours.max_by_key(length).unwrap_or(day)
    }

    fn fields(&self) -> impl Iterator<Item = Field> {
        self.pieces.iter().filter_map(|piece| self.field(piece))
    }

    /// The field of a time, of the arrival or of one that records name.
    fn field(&self, piece: &Piece) -> Option<Field> {
        match piece {
            Piece::Time(field) => Some(*field),
            Piece::Slot(number) => match &self.slots()[*number] {
                Slot::Event(EventField(field)) => Some(*field),
                Slot::QueryKey(_) | Slot::HookKey(_) => None,
            },
            _ => None,
        }
    }

    /// The partitions that change from object to object.
    fn changing(&self) -> Vec<Doubt> {
        let mut doubts: Vec<Doubt> = Vec::new();
        let mut folder = String::new();
        for piece in &self.pieces {
            let what = match piece {
                Piece::Literal(text) => {
                    match text.rsplit_once('/') {
                        Some((_, begun)) => begun.clone_into(&mut folder),
                        None => folder.push_str(text),
                    }
                    continue;
                }
                Piece::RandomString => "a random string",
                piece => match self.field(piece) {
                    Some(field) if "sSAnN".contains(field.letter()) => "a second",
                    _ => continue,
                },
            };
            if let Some((name, _)) = folder.split_once('=') {
                let doubt = Doubt::Changing { folder: name.to_owned(), what };
                if !doubts.contains(&doubt) {
                    doubts.push(doubt);
                }
            }
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Group, Place, Zone};
    use super::*;

    fn doubts(text: &str) -> Vec<Doubt> {
        let template = Template::parse(text, Place::Prefix).expect(text);
        let template =
            if template.has_timestamp() { template } else { template.with_implicit_date() };
        template.doubts()
    }

    #[test]
    fn prefixes_that_mean_what_they_say_raise_no_doubt() {
        for text in [
            "",
            "a/",
            "a/year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/",
            "a/!{timestamp:yyyy-MM-dd-HH-mm-ss}/",
            "a/!{firehose:random-string}/",
            "week=!{timestamp:YYYY-'W'ww}/",
            "a/!{timestamp:yyyy-DDD}/",
            "a/!{timestamp:hh-a}/",
            "a/!{timestamp:yyyy}/x-",
        ] {
            assert_eq!(doubts(text), [], "{text}");
        }
    }

    #[test]
    fn each_doubt_says_what_to_write() {
        for (text, part) in [
            ("a/!{timestamp:YYYY}/", "2022 for 2021-12-31"),
            ("a/!{timestamp:yyyy/mm/dd}/", "write MM"),
            ("a/!{timestamp:yyyy-MM-DD}/", "write dd"),
            ("a/!{timestamp:yyyy-MM-dd-hh}/", "write HH"),
            ("at=!{timestamp:HHmmss}/", "'at=' has a second"),
            ("t=x-!{timestamp:yyyy}!{firehose:random-string}/", "'t=' has a random string"),
            ("legacy", "the date follows without one"),
            ("a/!{timestamp:yyyy}", "the object's name follows without one"),
            ("a/!{timestamp:yyyy}/x", "the object's name follows without one"),
        ] {
            let doubts = doubts(text);
            let [doubt] = doubts.as_slice() else { panic!("{text}: {doubts:?}") };
            assert!(doubt.to_string().contains(part), "{text}: {doubt}");
        }
        let twice = "s=!{timestamp:ss}!{timestamp:SSS}/!{timestamp:HHmm}/";
        assert_eq!(doubts(twice).len(), 1);
    }

    #[test]
    fn no_instant_makes_a_longer_prefix_than_the_widest() {
        for (zone, pattern) in [
            ("UTC", "yyyy/MM/dd/HH"),
            ("Europe/Berlin", "EEEE/MMMM/d/H/m/s/D/w/B/zzzz"),
            ("Australia/Lord_Howe", "O-B-zzzz-QQQQ"),
            ("Africa/Casablanca", "zzzz/X"),
        ] {
            let zone = Zone::named(zone).expect(zone);
            let text = format!("!{{timestamp:{pattern}}}/");
            let template = Template::parse_in(&text, Place::Prefix, zone).expect(pattern);
            let length = |instant: UnixMillis| {
                let group = Group::default();
                let evaluated = template.evaluate(instant, &group, None, &mut || 0);
                evaluated.expect("short").prefix.len()
            };
            let widest = length(template.widest_instant());
            for step in 0..9_000 {
                let instant = UnixMillis(1_790_000_000_000 + step * 7_203_011);
                assert!(length(instant) <= widest, "{pattern} at {instant:?}");
            }
        }
    }
}
