//! Hive's escaping of partition values, so that a value is always exactly one path segment.
//!
//! Owns which characters are escaped and how. Does not own where values come from.
//!
//! Invariants: `unescape(escape(v)) == v`; what `escape` returns holds no `/`, no control character,
//! and is neither `.` nor `..`. The first character is treated like every other.

use std::fmt::Write as _;

/// The folder value of records that have no value, as Hive, Spark and Athena read it.
pub const DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Escapes `value` with `%XX`. Characters beyond ASCII stay as they are, but for those that control,
/// of which each byte is escaped. An empty value stays empty and is no segment: callers write
/// [`DEFAULT_PARTITION`] for it, or have none.
#[must_use]
pub fn escape(value: &str) -> String {
    // Dots alone would name this folder or the one above.
    let dots_alone = value == "." || value == "..";
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        if needs_escape(character) || dots_alone {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                write!(escaped, "%{byte:02X}").expect("a String takes every write");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Undoes [`escape`]. A `%` that begins no escape stays as it is, and so does the whole text when
/// its escapes are not UTF-8.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if let Some(byte) = escaped_byte(rest) {
            bytes.push(byte);
            rest = &rest[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Hive's set, and besides it `}` and every control character, which stores refuse.
fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '"' | '#'
                | '%'
                | '\''
                | '*'
                | '/'
                | ':'
                | '='
                | '?'
                | '\\'
                | '{'
                | '}'
                | '['
                | ']'
                | '^'
        )
}

fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_reads_back_and_stays_one_segment(value in "(?s).*") {
            let escaped = escape(&value);
            prop_assert_eq!(unescape(&escaped), value);
            prop_assert!(!escaped.contains('/'));
            prop_assert!(!escaped.contains(char::is_control));
            prop_assert!(escaped != "." && escaped != "..");
        }

        #[test]
        fn values_of_hostile_characters_read_back(value in r#"[%./\\=A-F0-9\x00-\x1f\x7f{}\[\]^#é]{0,12}"#) {
            let escaped = escape(&value);
            prop_assert_eq!(unescape(&escaped), value);
            prop_assert!(!escaped.contains(['/', '=', '\0']));
        }

        #[test]
        fn any_text_unescapes(text in "\\PC{0,20}") {
            let _ = unescape(&text);
        }
    }

    #[test]
    fn values_that_climb_are_held_in_one_segment() {
        for (value, escaped) in [
            ("../../other-tenant/x", "..%2F..%2Fother-tenant%2Fx"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("...", "..."),
            ("/etc", "%2Fetc"),
            ("a/b", "a%2Fb"),
            ("a=b", "a%3Db"),
            ("=x", "%3Dx"),
            ("%2e%2e%2f", "%252e%252e%252f"),
            ("x\ny\r\0", "x%0Ay%0D%00"),
            ("\u{7f}", "%7F"),
            ("\u{85}", "%C2%85"),
            ("\"#'*:?\\{}[]^", "%22%23%27%2A%3A%3F%5C%7B%7D%5B%5D%5E"),
            ("Zürich 東京 a_b-c.d~", "Zürich 東京 a_b-c.d~"),
        ] {
            assert_eq!(escape(value), escaped);
            assert_eq!(unescape(escaped), value);
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        for text in ["%", "%4", "%zz", "100%", "%+1", "%FF", "a%é"] {
            assert_eq!(unescape(text), text);
        }
        assert_eq!(unescape("%C3%A9"), "é");
    }
}
