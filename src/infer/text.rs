//! What the text of a string or number looks like.
//!
//! Owns the forms. Each is at most as wide as what the converter reads as that type, so that a
//! column proposed for a form rejects none of its texts; a test holds the two against each other.

/// The form of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Empty,
    /// `yyyy-MM-dd`
    Date,
    /// `yyyy-MM-dd`, `T` or a space, `HH:mm:ss`, perhaps a fraction and a zone.
    Timestamp,
    Boolean,
    /// A whole number, without zeros in front.
    Integer,
    /// Digits with a zero in front: an id, a postcode.
    LeadingZero,
    /// A number with a point, and the digits behind it.
    Decimal,
    Other,
}

/// The form of `text`.
pub(super) fn form_of(text: &str) -> Form {
    let bytes = text.as_bytes();
    match bytes.first() {
        None => Form::Empty,
        Some(b'-' | b'0'..=b'9') if bytes.len() >= 10 && is_date(&bytes[..10]) => {
            if bytes.len() == 10 {
                Form::Date
            } else if is_time(&bytes[10..]) {
                Form::Timestamp
            } else {
                Form::Other
            }
        }
        Some(b'-' | b'0'..=b'9') => number_form(text),
        Some(_) if ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {
            Form::Boolean
        }
        Some(_) => Form::Other,
    }
}

fn number_form(text: &str) -> Form {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        Form::Other
    } else if whole.len() > 1 && whole.starts_with('0') {
        Form::LeadingZero
    } else if unsigned.contains('.') {
        Form::Decimal
    } else {
        Form::Integer
    }
}

fn is_date(bytes: &[u8]) -> bool {
    let (Some(year), Some(month), Some(day)) =
        (number(&bytes[..4]), number(&bytes[5..7]), number(&bytes[8..]))
    else {
        return false;
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    // Times of the outermost years may leave the calendar by their zone.
    bytes[4] == b'-' && bytes[7] == b'-' && (2..9999).contains(&year) && (1..=days).contains(&day)
}

/// `T` or a space, `HH:mm:ss`, up to nine digits of a fraction, and `Z`, a zone or nothing.
fn is_time(bytes: &[u8]) -> bool {
    let [b'T' | b' ', time @ ..] = bytes else { return false };
    let Some((time, rest)) = time.split_at_checked(8) else { return false };
    let fields = [(0, 24), (3, 60), (6, 60)];
    let in_range = |(at, end): (usize, u32)| number(&time[at..at + 2]).is_some_and(|n| n < end);
    if time[2] != b':' || time[5] != b':' || !fields.into_iter().all(in_range) {
        return false;
    }
    let rest = match rest {
        [b'.', fraction @ ..] => {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&length) {
                return false;
            }
            &fraction[length..]
        }
        rest => rest,
    };
    let zone = match rest {
        [] | [b'Z'] => return true,
        [b'+' | b'-', zone @ ..] => zone,
        _ => return false,
    };
    let (hours, minutes) = match zone.len() {
        2 => (number(zone), Some(0)),
        4 => (number(&zone[..2]), number(&zone[2..])),
        5 if zone[2] == b':' => (number(&zone[..2]), number(&zone[3..])),
        _ => return false,
    };
    // Eighteen hours are the most that the converter takes.
    hours.is_some_and(|hours| hours < 18) && minutes.is_some_and(|minutes| minutes < 60)
}

fn number(digits: &[u8]) -> Option<u32> {
    let digit =
        |number, byte: &u8| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'));
    digits.iter().try_fold(0, digit)
}

/// What matters of a number's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digits {
    /// In front of the point, without zeros at the front.
    pub(super) whole: usize,
    /// Behind the point.
    pub(super) fraction: usize,
    pub(super) has_exponent: bool,
    /// The part in front of the point; nothing if no `i128` holds it.
    pub(super) whole_value: Option<i128>,
}

/// Takes the text of a JSON number, or of a string of that form, apart.
pub(super) fn digits_of(text: &str) -> Digits {
    let exponent_at = text.find(['e', 'E']);
    let mantissa = &text[..exponent_at.unwrap_or(text.len())];
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    Digits {
        whole: whole.trim_start_matches(['-', '0']).len(),
        fraction: fraction.len(),
        has_exponent: exponent_at.is_some(),
        whole_value: whole.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_form_that_a_person_would_name() {
        for (text, form) in [
            ("", Form::Empty),
            ("2026-02-28", Form::Date),
            ("2026-02-29", Form::Other),
            ("2024-02-29", Form::Date),
            ("2026-11-20T12:00:00Z", Form::Timestamp),
            ("2026-11-20 12:00:00.123+02:00", Form::Timestamp),
            ("2026-11-20T12:00:00-0330", Form::Timestamp),
            ("2026-11-20T25:00:00", Form::Other),
            ("2026-11-20T12:00", Form::Other),
            ("TRUE", Form::Boolean),
            ("42", Form::Integer),
            ("-7", Form::Integer),
            ("0", Form::Integer),
            ("00501", Form::LeadingZero),
            ("12.50", Form::Decimal),
            ("1.", Form::Other),
            ("1e5", Form::Other),
            ("10.0.0.1", Form::Other),
            ("-", Form::Other),
        ] {
            assert_eq!(form_of(text), form, "{text:?}");
        }
    }
}
