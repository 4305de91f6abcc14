//! Times: seconds since 1970 and their parts.
//!
//! Owns the calendar. There is no time zone but UTC here: what depends on the machine that it runs on
//! has no place in a record's key.

mod strftime;
mod strptime;

use jaq_core::{Error, ValR};
use jaq_json::{Num, Val};

use super::meter;
use super::operators::{double, plain};

/// A time in its parts, as C has them: months and days of the year from 0, years from 1900.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: i64,
    year_day: i64,
}

/// Days since 1970 of a day of the proleptic Gregorian calendar; months from 0, and any number of
/// them.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + month.div_euclid(12), month.rem_euclid(12));
    // Years that begin in March have their leap day at the end.
    let year = if month < 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 10) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl Parts {
    /// Of seconds since 1970.
    fn of_seconds(seconds: i64) -> Self {
        let (day_count, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = day_count + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = (shifted_month + 2) % 12;
        let year = era * 400 + year_of_era + i64::from(month < 2);
        Self {
            year: year - 1900,
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            weekday: (day_count + 4).rem_euclid(7),
            year_day: day_count - days(year, 0, 1),
        }
    }

    /// Seconds since 1970, whatever range the parts are in.
    fn seconds(&self) -> i64 {
        let days = days(self.year + 1900, self.month, 1) + self.day - 1;
        ((days * 24 + self.hour) * 60 + self.minute) * 60 + self.second
    }

    fn values(&self) -> Vec<Val> {
        let parts = [
            self.year + 1900,
            self.month,
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.weekday,
            self.year_day,
        ];
        parts.into_iter().map(number).collect()
    }

    fn of_value(value: &Val) -> Option<Self> {
        let Val::Arr(list) = value else { return None };
        let mut parts = [0; 8];
        for (index, part) in parts.iter_mut().enumerate() {
            let Val::Num(number) = list.get(index)? else { return None };
            // As C takes them; what no int holds is no time.
            #[allow(clippy::cast_possible_truncation)]
            let number = double(number) as i64;
            *part = i64::from(i32::try_from(number).ok()?);
        }
        let [year, month, day, hour, minute, second, weekday, year_day] = parts;
        Some(Self { year: year - 1900, month, day, hour, minute, second, weekday, year_day })
    }
}

#[allow(clippy::cast_precision_loss)]
fn number(value: i64) -> Val {
    plain(Num::Float(value as f64))
}

pub(super) fn broken_down(input: Val) -> ValR<Val> {
    let Val::Num(seconds) = &input else {
        return Err(Error::str("gmtime() requires numeric inputs"));
    };
    let seconds = double(seconds);
    // What a year of 32 bits has room for.
    if seconds.is_nan() || seconds.abs() > 6.7e16 {
        return Err(Error::str("error converting number of seconds since epoch to datetime"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    {
        let parts = Parts::of_seconds(seconds as i64);
        let mut values = parts.values();
        let second = parts.second as f64 + (seconds - seconds.floor());
        values[5] = plain(Num::Float(second));
        Ok(values.into_iter().collect())
    }
}

pub(super) fn seconds(input: Val) -> ValR<Val> {
    let parts = Parts::of_value(&input);
    let parts = parts.ok_or_else(|| Error::str("mktime requires parsed datetime inputs"))?;
    match parts.seconds() {
        // What stands for a failure in jq, which these two seconds are taken for.
        -1 => Err(Error::str("invalid gmtime representation")),
        -2 => Err(Error::str("mktime not supported on this platform")),
        seconds => Ok(number(seconds)),
    }
}

pub(super) fn format(input: Val, format: Val) -> ValR<Val> {
    let input = match input {
        Val::Num(_) => broken_down(input)?,
        other => other,
    };
    let Val::TStr(format) = format else {
        return Err(Error::str("strftime/1 requires a string format"));
    };
    let parts = Parts::of_value(&input);
    let parts = parts.ok_or_else(|| Error::str("strftime/1 requires parsed datetime inputs"))?;
    meter::bytes(1024 + 4 * format.len());
    let text = strftime::format(&parts, &String::from_utf8_lossy(&format));
    // C tells by an empty text that its buffer of 4096 bytes was too small.
    if text.is_empty() || text.len() >= 4096 {
        return Err(Error::str("strftime/1: unknown system failure"));
    }
    Ok(text.into())
}

pub(super) fn parse(input: Val, format: Val) -> ValR<Val> {
    let (Val::TStr(text), Val::TStr(format)) = (&input, &format) else {
        return Err(Error::str("strptime/1 requires string inputs and arguments"));
    };
    meter::steps(64 + text.len() as u64 + format.len() as u64);
    let (text, format) = (String::from_utf8_lossy(text), String::from_utf8_lossy(format));
    let Some((parts, rest)) = strptime::parse(&text, &format) else {
        return Err(Error::str(format!("date \"{text}\" does not match format \"{format}\"")));
    };
    let mut values = parts.values();
    if !rest.is_empty() {
        values.push(rest.to_owned().into());
    }
    Ok(values.into_iter().collect())
}
