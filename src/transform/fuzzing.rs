//! What hooks answer, for the fuzzer.

use serde::de::IgnoredAny;

use super::contract::{self, NO_JSON};
use super::documents::documents;
use super::{Item, PART_BYTES_MAX, Part, Verdict, command};
use crate::record::UnixMillis;

/// Whatever bytes a hook answers with, every item has exactly one verdict. The first byte says which
/// kind of hook: an answer as a whole, lines, or none, where the bytes are a record with documents.
pub(crate) fn hook_answer(data: &[u8]) {
    let Some((kind, answer)) = data.split_first() else {
        return;
    };
    let item = |id: &str| Item {
        id: id.to_owned(),
        arrival: UnixMillis(1_510_254_469_499),
        part: Part::new(id.to_owned()),
    };
    let items = ["a", "b", "c"].map(item);
    match kind % 3 {
        0 => match contract::verdicts(answer, &items, 1, Some("arn:aws:lambda:x")) {
            Ok(verdicts) => check(&items, &verdicts),
            Err(reason) => {
                assert_eq!(reason, NO_JSON);
                let is_json = serde_json::from_slice::<serde_json::Value>(answer).is_ok();
                assert!(!is_json, "JSON was not read");
            }
        },
        1 => check(&items, &command::fuzzing::verdicts_of_lines(&items, answer)),
        _ => {
            let Ok((text, places)) = documents(answer) else {
                return;
            };
            let mut end = 0;
            for place in places {
                assert!(place.start >= end && !place.is_empty());
                assert!(text[end..place.start].trim_ascii().is_empty());
                serde_json::from_str::<IgnoredAny>(&text[place.clone()]).expect("a document");
                end = place.end;
            }
            assert!(text[end..].trim_ascii().is_empty());
        }
    }
}

fn check(items: &[Item], verdicts: &[Verdict]) {
    assert_eq!(verdicts.len(), items.len());
    for verdict in verdicts {
        match verdict {
            Verdict::Parts(parts) => {
                assert!(!parts.is_empty());
                assert!(parts.iter().all(|part| part.data.len() <= PART_BYTES_MAX));
            }
            Verdict::Dropped => {}
            Verdict::Failed(failure) => assert!(!failure.code.is_empty()),
        }
    }
}
