//! The cursor against another reader of JSON.

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use serde_json::Value;

use crate::json;
use crate::number::{Excess, Number};

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text made of the pieces that JSON is made of, mostly in the wrong order.
fn json_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"a\"",
        "\"\\u00e9\"",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "\"\\ud83d\\ude00\"",
        "0",
        "-",
        "1",
        "12",
        ".",
        "e",
        "E+",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\t",
        "\u{1}",
        "é",
        "\u{feff}",
        "\"key\":",
        "1.5e3",
        "[1,2]",
    ]);
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Compares the verdicts on one text.
fn check_against_serde_json(text: &[u8]) -> Result<(), TestCaseError> {
    let theirs: Result<Vec<Value>, _> =
        serde_json::Deserializer::from_slice(text).into_iter().collect();
    let ours = json::check(text);
    match theirs {
        // It refuses numbers that no double can hold and wants a gap between some values.
        Err(error) if error.to_string().starts_with("number out of range") => {}
        Err(error) if error.to_string().starts_with("trailing characters") => {}
        theirs => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_value_of_the_other_reader_is_read(value in any_value(), pretty in any::<bool>()) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&value).unwrap(),
            false => value.to_string(),
        };
        prop_assert_eq!(json::check(text.as_bytes()), Ok(()), "{}", text);
    }

    #[test]
    fn broken_values_get_the_same_verdict(
        value in any_value(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        match cut {
            true => text.truncate(at),
            false => text[at] = byte,
        }
        check_against_serde_json(&text)?;
    }

    #[test]
    fn text_like_json_gets_the_same_verdict(text in json_like()) {
        check_against_serde_json(text.as_bytes())?;
    }

    #[test]
    fn strings_stand_for_the_same_text(text in any::<String>(), padding in 0usize..9) {
        let written = format!("{}{}", " ".repeat(padding), Value::from(text.as_str()));
        let mut cursor = json::Cursor::new(written.as_bytes()).unwrap();
        cursor.peek().unwrap();
        let token = cursor.string().unwrap();
        let mut read = String::new();
        json::unescape(token.text(), &mut read);
        prop_assert_eq!(read, text);
        prop_assert!(cursor.is_at_end());
    }

    #[test]
    fn scaling_a_number_is_exact(value in -(10i128.pow(37))..10i128.pow(37), places in 0usize..40) {
        // The same value with its point moved, written with as many digits behind it.
        let digits = format!("{:0>width$}", value.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if value < 0 { "-" } else { "" };
        let point = if places > 0 { "." } else { "" };
        let text = format!("{sign}{whole}{point}{fraction}");
        if places <= 38 {
            let number = Number::parse(&text).unwrap();
            prop_assert_eq!(number.scaled(places as u8, Excess::Refuse), Ok(value));
        }
        let with_exponent = format!("{text}e{places}");
        let number = Number::parse(&with_exponent).unwrap();
        prop_assert_eq!(number.scaled(0, Excess::Refuse), Ok(value));
    }

    #[test]
    fn rounding_a_number_agrees_with_integers(value in any::<i64>(), places in 0u32..12) {
        let number_text = format!("{value}e-{places}");
        let number = Number::parse(&number_text).unwrap();
        let divisor = 10i128.pow(places);
        let value = i128::from(value);
        prop_assert_eq!(number.scaled(0, Excess::Drop), Ok(value / divisor));
        let half_away = (value.abs() + divisor / 2) / divisor * value.signum();
        prop_assert_eq!(number.scaled(0, Excess::RoundHalfUp), Ok(half_away));
    }
}

#[test]
fn special_bytes_are_found_at_every_place_of_a_word() {
    for length in 0..40 {
        for special in ["\\n", "\"", "\u{1}", "\u{1f}"] {
            let text = format!("\"{}{special}\"", "ÿ~\u{7f}".repeat(length));
            check_against_serde_json(text.as_bytes()).unwrap();
        }
    }
}
