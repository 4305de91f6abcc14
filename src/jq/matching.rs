//! Regular expressions.
//!
//! Owns what a match is told as, and that looking for all of them is paid for. The expressions are the
//! interpreter's own: each search takes time that is linear in the text, which leaves out looking
//! around and references back.

use jaq_core::{Cv, Error, ValR, ValXs, native::bome};
use jaq_json::{Map, Val};
use regex_bites::bytes::{Captures, Regex, RegexBuilder};

use super::{Data, meter};

/// The largest expression, compiled.
const SIZE_MAX_BYTES: usize = 1 << 20;
/// How many bytes of a text one step is for, of an expression of one letter.
const BYTES_PER_STEP: u64 = 16;

/// `__match(pattern; modifiers; test)`: all matches, or only whether there is one.
pub(super) fn matches<'a>(mut cv: Cv<'a, Data>) -> ValXs<'a, Val> {
    let (test, modifiers, pattern) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
    bome(found(&cv.1, &pattern, &modifiers, matches!(test, Val::Bool(true))))
}

fn found(input: &Val, pattern: &Val, modifiers: &Val, is_test: bool) -> ValR<Val> {
    let (Val::TStr(text), Val::TStr(pattern)) = (input, pattern) else {
        return Err(Error::str("cannot be matched, as it is not a string"));
    };
    let text = std::str::from_utf8(text).map_err(Error::str)?;
    let pattern = std::str::from_utf8(pattern).map_err(Error::str)?;
    let modifiers = match modifiers {
        Val::Null => "",
        Val::TStr(modifiers) => std::str::from_utf8(modifiers).map_err(Error::str)?,
        _ => return Err(Error::str("modifiers must be a string")),
    };
    if let Some(unknown) = modifiers.chars().find(|modifier| !"gixpnsl".contains(*modifier)) {
        return Err(Error::str(format!("{unknown} is not a valid modifier")));
    }
    let is_set = |modifier| modifiers.contains(modifier);
    meter::steps(100 + 16 * pattern.len() as u64);
    let mut builder = RegexBuilder::new(pattern);
    builder
        .case_insensitive(is_set('i'))
        .ignore_whitespace(is_set('x'))
        .dot_matches_new_line(is_set('p'))
        .nest_limit(64)
        .size_limit(SIZE_MAX_BYTES);
    let regex = builder.build().map_err(|error| {
        Error::str(format!("{pattern} (at offset 0) is not a valid regex: {error}"))
    })?;
    let mut matches = Vec::new();
    let (mut start, mut counted, mut characters) = (0, 0, 0);
    while start <= text.len() {
        pay(&text[start..], pattern, &regex);
        let Some(captures) = regex.captures_at(text.as_bytes(), start) else { break };
        let Some(whole) = captures.get(0) else { break };
        if !(is_set('n') && whole.is_empty()) {
            if is_test {
                return Ok(true.into());
            }
            characters += text[counted..whole.start()].chars().count();
            counted = whole.start();
            matches.push(told(&regex, text, &captures, characters));
        }
        if !is_set('g') {
            break;
        }
        // Behind an empty match the next character is passed over.
        start = whole.end();
        if whole.is_empty() {
            start += text[start..].chars().next().map_or(1, char::len_utf8);
        }
        if start >= text.len() {
            break;
        }
    }
    if is_test {
        return Ok(false.into());
    }
    Ok(matches.into_iter().collect())
}

/// Pays for one search, which may go over all of the text.
fn pay(rest: &str, pattern: &str, regex: &Regex) {
    // Repetitions of repetitions are what makes an expression large.
    let repeated = pattern.matches('{').count().min(4) as u64;
    let weight = (1 + pattern.len() as u64 / 8 + regex.captures_len() as u64) << (3 * repeated);
    meter::steps(4 + (rest.len() as u64).saturating_mul(weight) / (8 * BYTES_PER_STEP));
}

fn told(regex: &Regex, text: &str, captures: &Captures<'_>, characters: usize) -> Val {
    let count = |range: std::ops::Range<usize>| Val::from(text[range].chars().count());
    let mut groups = Vec::new();
    let whole = captures.get(0).map_or(0..0, |whole| whole.range());
    meter::bytes(512 + whole.len());
    // Of an empty match jq tells no groups.
    let group_count = if whole.is_empty() { 0 } else { regex.captures_len() };
    let names = regex.capture_names();
    for (index, name) in names.enumerate().take(group_count).skip(1) {
        meter::bytes(512);
        let mut entries = match captures.get(index) {
            None => vec![
                ("offset", Val::from(-1_isize)),
                ("string", Val::Null),
                ("length", Val::from(0_usize)),
            ],
            Some(group) if group.is_empty() => vec![
                ("offset", count(0..group.start())),
                ("string", Val::utf8_str("")),
                ("length", Val::from(0_usize)),
            ],
            Some(group) => {
                part(count(0..group.start()), count(group.range()), &text[group.range()])
            }
        };
        entries.push(("name", name.map_or(Val::Null, |name| Val::utf8_str(name.to_owned()))));
        groups.push(object(entries));
    }
    let mut entries = part(characters.into(), count(whole.clone()), &text[whole]);
    entries.push(("captures", groups.into_iter().collect()));
    object(entries)
}

fn part(offset: Val, length: Val, text: &str) -> Vec<(&'static str, Val)> {
    meter::steps(1 + text.len() as u64 / 64);
    vec![("offset", offset), ("length", length), ("string", Val::utf8_str(text.to_owned()))]
}

fn object(entries: Vec<(&'static str, Val)>) -> Val {
    let entries = entries.into_iter().map(|(key, value)| (Val::utf8_str(key), value));
    Val::obj(entries.collect::<Map>())
}
