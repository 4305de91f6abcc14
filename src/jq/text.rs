//! Values as texts, as jq prints them.

use std::fmt::Write as _;

use jaq_json::{Num, Val};

use super::meter;

/// A number as jq's parser takes it; none where it takes none.
pub(super) fn lenient_number(token: &str) -> Option<f64> {
    let is_number = token.bytes().any(|byte| byte.is_ascii_digit())
        && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if is_number { token.parse().ok() } else { None }
}

/// A number as jq prints it: the fewest digits that are read back as the same.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        return "null".to_owned();
    }
    let value = value.clamp(f64::MIN, f64::MAX);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value == 0.0 {
        return format!("{sign}0");
    }
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Where the point stands, counted from the first digit.
    let point = exponent + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    if point <= -4 || point > count + 15 {
        let fraction = if count > 1 { format!(".{}", &digits[1..]) } else { String::new() };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{}{fraction}e{exponent_sign}{:02}", &digits[..1], exponent.abs());
    }
    if point <= 0 {
        return format!("{sign}0.{}{digits}", zeros(-point));
    }
    if point >= count {
        return format!("{sign}{digits}{}", zeros(point - count));
    }
    let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
    format!("{sign}{whole}.{fraction}")
}

/// A number as it is printed: one that only passed through keeps its digits.
fn written(number: &Num) -> String {
    match number {
        Num::Float(value) => self::number(*value),
        other => other.to_string(),
    }
}

/// A value as JSON in one line. Takes the room of its text.
///
/// # Errors
/// In words, when it has a key that is no text.
pub(super) fn json(value: &Val) -> Result<String, String> {
    let mut json = String::new();
    write(&mut json, value)?;
    Ok(json)
}

/// A text as it is, anything else as JSON.
pub(super) fn plain(value: &Val) -> Result<String, String> {
    match value {
        Val::TStr(text) | Val::BStr(text) => {
            meter::bytes(text.len());
            Ok(String::from_utf8_lossy(text).into_owned())
        }
        other => json(other),
    }
}

fn write(json: &mut String, value: &Val) -> Result<(), String> {
    meter::steps(1);
    let before = json.len();
    match value {
        Val::Null => json.push_str("null"),
        Val::Bool(is_true) => json.push_str(if *is_true { "true" } else { "false" }),
        Val::Num(number) => json.push_str(&written(number)),
        Val::TStr(text) | Val::BStr(text) => write_text(json, &String::from_utf8_lossy(text)),
        Val::Arr(list) => {
            json.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write(json, item)?;
            }
            json.push(']');
            return Ok(());
        }
        Val::Obj(object) => {
            json.push('{');
            for (index, (key, value)) in object.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                let Val::TStr(key) = key else {
                    return Err("an object has a key that is no text".to_owned());
                };
                meter::bytes(key.len());
                write_text(json, &String::from_utf8_lossy(key));
                json.push(':');
                write(json, value)?;
            }
            json.push('}');
            return Ok(());
        }
    }
    meter::bytes(json.len() - before);
    Ok(())
}

fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                // A String takes whatever is written.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}
