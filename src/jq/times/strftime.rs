//! Times as texts, as C's `strftime` writes them where the language is none.

use super::{Parts, days};
use crate::time::{MONTHS, WEEKDAYS};

/// The widest field that is padded.
const WIDTH_MAX: usize = 4096;

/// How a field is written.
#[derive(Clone, Copy, Default)]
struct Style {
    pad: Option<char>,
    is_upper: bool,
    is_swapped: bool,
    width: usize,
}

/// Writes a time by a format. Where C would not write more, it does not either.
pub(super) fn format(parts: &Parts, format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(place) = rest.find('%') {
        out.push_str(&rest[..place]);
        rest = &rest[place..];
        let length = field(parts, rest, &mut out);
        rest = &rest[length..];
        if out.len() > 2 * WIDTH_MAX {
            return out;
        }
    }
    out + rest
}

/// Writes the field that `text` begins with; tells how long its name is.
fn field(parts: &Parts, text: &str, out: &mut String) -> usize {
    let mut style = Style::default();
    let mut length = 1;
    let bytes = text.as_bytes();
    loop {
        match bytes.get(length) {
            Some(b'_') => style.pad = Some(' '),
            Some(b'-') => style.pad = Some('-'),
            Some(b'0') => style.pad = Some('0'),
            Some(b'^') => style.is_upper = true,
            Some(b'#') => style.is_swapped = true,
            _ => break,
        }
        length += 1;
    }
    while let Some(digit @ b'0'..=b'9') = bytes.get(length) {
        style.width = (style.width * 10 + usize::from(digit - b'0')).min(WIDTH_MAX);
        length += 1;
    }
    if matches!(bytes.get(length), Some(b'E' | b'O')) {
        length += 1;
    }
    let kind = text[length..].chars().next();
    match kind.and_then(|kind| conversion(parts, kind, style)) {
        Some(written) => {
            out.push_str(&written);
            length + kind.map_or(0, char::len_utf8)
        }
        None => {
            // What is no field stands for itself.
            let end = length + kind.map_or(0, char::len_utf8);
            out.push_str(&text[..end]);
            end
        }
    }
}

fn conversion(parts: &Parts, kind: char, style: Style) -> Option<String> {
    let number = |value: i64, digits: usize| Some(padded(value, digits, '0', style));
    let spaced = |value: i64, digits: usize| Some(padded(value, digits, ' ', style));
    let name = |names: &[&str], index: i64, length: Option<usize>| {
        let name = usize::try_from(index).ok().and_then(|index| names.get(index));
        let name = name.map_or("?", |name| length.map_or(*name, |length| &name[..length]));
        Some(text(name, style, style.is_upper || style.is_swapped))
    };
    let inner = |format: &str| {
        let inner = self::format(parts, format);
        Some(text(&inner, style, style.is_upper))
    };
    let twelve = match parts.hour {
        hour if hour > 12 => hour - 12,
        0 => 12,
        hour => hour,
    };
    let year = parts.year + 1900;
    match kind {
        '%' => Some(text("%", style, false)),
        'n' => Some(text("\n", style, false)),
        't' => Some(text("\t", style, false)),
        'a' => name(&WEEKDAYS, parts.weekday, Some(3)),
        'A' => name(&WEEKDAYS, parts.weekday, None),
        'b' | 'h' => name(&MONTHS, parts.month, Some(3)),
        'B' => name(&MONTHS, parts.month, None),
        'c' => inner("%a %b %e %H:%M:%S %Y"),
        'C' => number(year.div_euclid(100), 2),
        'd' => number(parts.day, 2),
        'D' | 'x' => inner("%m/%d/%y"),
        'e' => spaced(parts.day, 2),
        'F' => inner("%Y-%m-%d"),
        'g' => number(iso_week(parts).0.rem_euclid(100), 2),
        'G' => number(iso_week(parts).0, 1),
        'H' => number(parts.hour, 2),
        'I' => number(twelve, 2),
        'j' => number(parts.year_day + 1, 3),
        'k' => spaced(parts.hour, 2),
        'l' => spaced(twelve, 2),
        'm' => number(parts.month + 1, 2),
        'M' => number(parts.minute, 2),
        'p' | 'P' => {
            let half = if parts.hour > 11 { "PM" } else { "AM" };
            if kind == 'P' || style.is_swapped {
                return Some(text(&half.to_lowercase(), style, false));
            }
            Some(text(half, style, false))
        }
        'r' => inner("%I:%M:%S %p"),
        'R' => inner("%H:%M"),
        's' => number(parts.seconds(), 1),
        'S' => number(parts.second, 2),
        'T' | 'X' => inner("%H:%M:%S"),
        'u' => number((parts.weekday - 1).rem_euclid(7) + 1, 1),
        'U' => number((parts.year_day - parts.weekday + 7) / 7, 2),
        'V' => number(iso_week(parts).1, 2),
        'w' => number(parts.weekday, 1),
        'W' => number((parts.year_day - (parts.weekday - 1).rem_euclid(7) + 7) / 7, 2),
        'y' => number(year.rem_euclid(100), 2),
        'Y' => number(year, 1),
        'z' => Some(zone(style)),
        'Z' => Some(text(if style.is_swapped { "utc" } else { "UTC" }, style, false)),
        _ => None,
    }
}

fn zone(style: Style) -> String {
    let width = style.width.max(5);
    match style.pad {
        Some('-') => "+0".to_owned(),
        Some(' ') => format!("{:>width$}", "+0"),
        _ => format!("+{:0>1$}", 0, width - 1),
    }
}

/// A number of at least so many digits.
fn padded(value: i64, digits: usize, pad: char, style: Style) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let number = value.unsigned_abs().to_string();
    let pad = style.pad.unwrap_or(pad);
    let digits = if style.width > 0 { style.width } else { digits };
    if pad == '-' {
        return format!("{sign}{number}");
    }
    let fill = digits.saturating_sub(number.len() + sign.len());
    if pad == ' ' {
        return format!("{}{sign}{number}", " ".repeat(fill));
    }
    format!("{sign}{}{number}", "0".repeat(fill))
}

fn text(text: &str, style: Style, is_upper: bool) -> String {
    let text = if is_upper || style.is_upper { text.to_uppercase() } else { text.to_owned() };
    let pad = if style.pad == Some('0') { "0" } else { " " };
    let fill = if style.pad == Some('-') { 0 } else { style.width.saturating_sub(text.len()) };
    pad.repeat(fill) + &text
}

/// The year and week of ISO 8601.
fn iso_week(parts: &Parts) -> (i64, i64) {
    let year = parts.year + 1900;
    let length = |year: i64| days(year + 1, 0, 1) - days(year, 0, 1);
    let week_days = |day: i64| {
        // Days since the Monday of the week that the first Thursday lies in.
        let big = 3 * 7;
        day - (day - parts.weekday + 4 + big) % 7 + 4 - 1
    };
    let own = week_days(parts.year_day);
    if own < 0 {
        let before = week_days(parts.year_day + length(year - 1));
        return (year - 1, before / 7 + 1);
    }
    let after = week_days(parts.year_day - length(year));
    if after >= 0 {
        return (year + 1, after / 7 + 1);
    }
    (year, own / 7 + 1)
}
