//! What hooks answer and what processors are given, for the fuzzer.

use md5::{Digest as _, Md5};
use serde::de::IgnoredAny;

use super::cloudwatch::CloudWatchLogs;
use super::contract::{self, NO_JSON};
use super::deaggregate::Deaggregate;
use super::decompress::Decompress;
use super::documents::documents;
use super::inside::Processor;
use super::kpl::Kpl;
use super::{
    Item, LogForm, PART_BYTES_MAX, PARTS_BYTES_MAX, PARTS_MAX, Part, SubRecords, Verdict, command,
};
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
            Verdict::PartsAndRest { .. } => panic!("no hook leaves a rest"),
            Verdict::FailedAfter { .. } => panic!("no hook tells what it made in vain"),
            Verdict::Dropped => {}
            Verdict::Failed(failure) => assert!(!failure.code.is_empty()),
        }
    }
}

/// What a processor makes of a record stays in its bounds, and what it takes apart is the record. The
/// first byte says which processor; 7 is a message of the Kinesis Producer Library, around which its
/// form is put.
pub(crate) fn processor(data: &[u8]) {
    let Some((kind, record)) = data.split_first() else {
        return;
    };
    let made = [&b"\xf3\x89\x9a\xc2"[..], record, Md5::digest(record).as_slice()].concat();
    let record = if kind % 8 == 7 { made.as_slice() } else { record };
    let part = Part::new(record.to_vec());
    let delimited = |delimiter: &str| SubRecords::Delimited(delimiter.to_owned());
    let verdict = match kind % 8 {
        0 | 7 => Kpl.verdict(&part),
        1 => Decompress.verdict(&part),
        2 => CloudWatchLogs { form: LogForm::Messages { drops_control: false } }.verdict(&part),
        3 => CloudWatchLogs { form: LogForm::Events }.verdict(&part),
        4 => Deaggregate { sub_records: SubRecords::Json }.verdict(&part),
        5 => Deaggregate { sub_records: delimited("\n") }.verdict(&part),
        _ => Deaggregate { sub_records: delimited("aab") }.verdict(&part),
    };
    let (parts, rest_bytes) = match &verdict {
        Verdict::Parts(parts) => (parts, 0),
        Verdict::PartsAndRest { parts, rest, .. } => {
            assert!(record.ends_with(rest) && !rest.is_empty());
            (parts, rest.len())
        }
        Verdict::Dropped => return,
        Verdict::Failed(failure) | Verdict::FailedAfter { failure, .. } => {
            return assert!(!failure.code.is_empty());
        }
    };
    assert!((1..=PARTS_MAX).contains(&parts.len()));
    assert!(verdict.size_bytes() <= PARTS_BYTES_MAX);
    match kind % 8 {
        // Messages are no longer than their envelope.
        0 | 2 | 4.. => assert!(verdict.size_bytes() + rest_bytes <= record.len()),
        3 => {
            for part in parts {
                serde_json::from_slice::<IgnoredAny>(&part.data).expect("an event is JSON");
            }
        }
        _ => {}
    }
}
