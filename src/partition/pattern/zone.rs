//! Time zones: what clocks show at an instant, and what Java calls the zone.
//!
//! Owns the way from an instant to a date and time with its offset. The rules of zones are those of
//! the IANA database as `chrono-tz` has it; the names that `z` and `v` print are JDK 17's in US
//! English, in `zones.txt`, which `tests/java/Zones.java` writes. `tests/time_patterns.rs` compares
//! both with Java where there is one.

use chrono::{DateTime, Days, NaiveDateTime, Offset as _, TimeZone as _, Utc};
use chrono_tz::{OffsetComponents as _, TZ_VARIANTS, Tz};

use crate::record::UnixMillis;

/// A line for each set of names: `std|dst|generic|std|dst|generic = zones`, short names first.
const NAMES: &str = include_str!("zones.txt");
const NAMES_OF_UTC: &str = "UTC|UTC|UTC|Coordinated Universal Time|Coordinated Universal Time|\
                            Coordinated Universal Time";

/// Zones with the second since 1970 from which IANA's rules have standard time in summer and a time
/// behind it in winter; Java's have standard time in winter, and summer time in summer.
const SUMMER_IS_STANDARD: [(&[&str], i64); 3] = [
    // From 1968-10-27, when that began to be the time of all the year for three years.
    (&["Europe/Dublin", "Eire"], -37_242_000),
    // From 2018-10-28, with the winter in Ramadan.
    (&["Africa/Casablanca", "Africa/El_Aaiun"], 1_540_695_600),
    // From 1990-03-20; since 2017 there has been no winter.
    (&["Africa/Windhoek"], 637_970_400),
];

/// The time zone that a prefix prints in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    tz: Tz,
    /// The names of its line; empty for a zone that the table does not know.
    names: &'static str,
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self { tz: Tz::UTC, names: NAMES_OF_UTC };

    /// The zone of an IANA name, of today or of earlier days, such as `Asia/Kolkata` or
    /// `Asia/Calcutta`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let tz: Tz = name.parse().ok()?;
        let lines = NAMES.lines().filter_map(|line| line.split_once(" = "));
        let mut lines = lines.filter(|(_, zones)| zones.split(' ').any(|zone| zone == name));
        Some(Self { tz, names: lines.next().map_or("", |(names, _)| names) })
    }

    /// All names that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|tz| tz.name())
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.tz.name()
    }

    /// What `VV` prints.
    pub(super) fn id(&self) -> &'static str {
        match self.name() {
            // Java reads them as an offset from GMT, and there is none.
            "GMT+0" | "GMT-0" => "GMT",
            name => name,
        }
    }

    /// What clocks show at an instant; instants beyond the calendar's range become its ends.
    pub(in crate::partition) fn at(&self, instant: UnixMillis) -> Moment {
        // A zone may be a day ahead or behind.
        let margin = Days::new(2);
        let end = if instant.0 < 0 {
            DateTime::<Utc>::MIN_UTC.checked_add_days(margin)
        } else {
            DateTime::<Utc>::MAX_UTC.checked_sub_days(margin)
        };
        let end = end.unwrap_or_default();
        let utc = DateTime::from_timestamp(instant.0.div_euclid(1_000), 0).unwrap_or(end);
        let utc = if instant.0 < 0 { utc.max(end) } else { utc.min(end) }.naive_utc();
        let offset = self.tz.offset_from_utc_datetime(&utc);
        let is_summer = if self.has_standard_summer(utc) {
            offset.dst_offset().is_zero()
        } else {
            offset.dst_offset().num_seconds() > 0
        };
        let fixed = offset.fix();
        Moment {
            local: utc + fixed,
            offset_seconds: fixed.local_minus_utc(),
            zone: *self,
            is_summer,
        }
    }

    fn has_standard_summer(&self, utc: NaiveDateTime) -> bool {
        let seconds = utc.and_utc().timestamp();
        let mut zones = SUMMER_IS_STANDARD.iter();
        zones.any(|(zones, from)| seconds >= *from && zones.contains(&self.name()))
    }
}

/// What clocks of a zone show at an instant, to the second.
#[derive(Clone, Copy, Debug)]
pub(in crate::partition) struct Moment {
    pub(in crate::partition) local: NaiveDateTime,
    pub(super) offset_seconds: i32,
    pub(super) zone: Zone,
    is_summer: bool,
}

/// Which of a zone's names is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ZoneName {
    /// The one for summer and winter alike.
    pub(super) is_generic: bool,
    pub(super) is_long: bool,
}

impl Moment {
    /// The name of the zone at that time; none for a zone that Java's table does not know.
    pub(super) fn zone_name(&self, which: ZoneName) -> Option<&'static str> {
        let season = if which.is_generic { 2 } else { usize::from(self.is_summer) };
        let index = season + if which.is_long { 3 } else { 0 };
        self.zone.names.split('|').nth(index).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_has_a_name_that_reads_back() {
        let mut without_names = Vec::new();
        for name in Zone::names() {
            let zone = Zone::named(name).expect(name);
            assert_eq!(zone.name(), name);
            if zone.names.is_empty() {
                without_names.push(name);
            } else {
                let count = zone.names.split('|').filter(|name| !name.is_empty()).count();
                assert_eq!(count, 6, "{name}");
                assert!(!zone.names.contains(['/', '=', '%']), "{name}");
                assert!(zone.names.split('|').all(|name| name.len() <= 64), "{name}");
            }
        }
        // It is younger than the tables of that Java.
        assert_eq!(without_names, ["America/Coyhaique"]);
        assert_eq!(Zone::named("UTC"), Some(Zone::UTC));
        for name in ["", "utc", "Europe/Atlantis", "+01:00", "CEST"] {
            assert_eq!(Zone::named(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_firehoses_list_are_known() {
        for name in [
            "Asia/Calcutta",
            "Europe/Kiev",
            "Asia/Rangoon",
            "America/Godthab",
            "Asia/Katmandu",
            "Asia/Saigon",
            "America/Buenos_Aires",
            "Asia/Kolkata",
            "Europe/Kyiv",
            "Etc/GMT+5",
            "EST5EDT",
            "Zulu",
        ] {
            assert!(Zone::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn clocks_stay_within_the_calendar() {
        for name in ["Pacific/Kiritimati", "Etc/GMT+12"] {
            let zone = Zone::named(name).expect(name);
            for instant in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX] {
                let _ = zone.at(UnixMillis(instant));
            }
        }
    }
}
