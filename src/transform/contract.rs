//! Lambda's contract: the event that a hook is given and the answer that it gives.
//!
//! Owns both forms, the size of either, and what Firehose calls each way in which an answer can be
//! wrong. Does not own how an event gets to a hook nor how often it is tried.
//!
//! Beyond Lambda's contract a record may become several. An answer that is `Ok` and has no `data`
//! may have `parts` in its place, a list of at least one `{data, metadata}`: Lambda's contract calls
//! `Ok` without `data` an error, so no function that keeps to it answers so by accident. A part
//! without `metadata` takes that of its record. Where `data` stands, `parts` is not looked at, as
//! no other unknown member is.
//!
//! Invariant: whatever bytes come back, every item has exactly one verdict.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Failure, Item, Part, Verdict};
use crate::record::ErrorOutputType;

/// The most bytes that an event or an answer may have.
pub(super) const PAYLOAD_BYTES_MAX: usize = 6 << 20;
/// What an event has beside its records, with names as long as they may be.
const ENVELOPE_BYTES: usize = 2 << 10;
/// What a record of an event has beside its id and its data.
const RECORD_BYTES: usize = 96;

/// A way in which a hook fails a record: Firehose's code and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    code: &'static str,
    message: &'static str,
}

pub(super) const PROCESSING_FAILED: Reason = Reason {
    code: "Lambda.ProcessingFailedStatus",
    message: "ProcessingFailed status set for record",
};
pub(super) const FUNCTION_ERROR: Reason = Reason {
    code: "Lambda.FunctionError",
    message: "The Lambda function was successfully invoked but it returned an error result.",
};
pub(super) const BAD_FORMAT: Reason = Reason {
    code: "Lambda.FunctionError",
    message: "Check your function and make sure the output is in required format. In addition to \
              that, make sure the processed records contain valid result status of Dropped, Ok, or \
              ProcessingFailed",
};
pub(super) const MISSING_ID: Reason = Reason {
    code: "Lambda.MissingRecordId",
    message: "One or more record Ids were not returned. Ensure that the Lambda function returns all \
              received record Ids.",
};
pub(super) const DUPLICATED_ID: Reason = Reason {
    code: "Lambda.DuplicatedRecordId",
    message: "Multiple records were returned with the same record Id. Ensure that the Lambda \
              function returns a unique record Id for each record.",
};
pub(super) const NO_DATA: Reason = Reason {
    code: "Lambda.InvalidReturnFormat",
    message: "The data field cannot be null when the SourceType is DirectPut or \
              KinesisStreamAsSource and processing result is Ok. The value field cannot be null \
              when the SourceType is MSKAsSource and processing result is Ok.",
};
pub(super) const NO_JSON: Reason = Reason {
    code: "Lambda.JsonProcessingException",
    message: "There was an error parsing returned records from the Lambda function. Ensure that the \
              returned records follow the status model required by Kinesis Data Firehose.",
};
/// Not among Firehose's: its records always fit.
pub(super) const TOO_LARGE: Reason = Reason {
    code: "Lambda.RequestTooLarge",
    message: "The record does not fit into an invocation of at most 6 MB.",
};

impl Reason {
    /// The verdict on a record that fails for this reason at the given attempt.
    pub(super) fn at(self, attempts: u32, lambda_arn: Option<&str>) -> Verdict {
        Verdict::Failed(Failure {
            error_type: ErrorOutputType::ProcessingFailed,
            code: self.code.to_owned(),
            message: self.message.to_owned(),
            attempts,
            lambda_arn: lambda_arn.map(ToOwned::to_owned),
        })
    }
}

/// What an event says of where its records come from.
#[derive(Clone, Debug)]
pub(super) struct Sender<'a> {
    pub(super) stream_arn: &'a str,
    pub(super) region: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    invocation_id: &'a str,
    delivery_stream_arn: &'a str,
    region: &'a str,
    records: Vec<EventRecord<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'a> {
    record_id: &'a str,
    approximate_arrival_timestamp: i64,
    data: String,
}

/// The event of one attempt.
pub(super) fn event(sender: &Sender<'_>, invocation_id: &str, items: &[Item]) -> Bytes {
    let records = items.iter().map(|item| EventRecord {
        record_id: &item.id,
        approximate_arrival_timestamp: item.arrival.0,
        data: STANDARD.encode(&item.part.data),
    });
    let event = Event {
        invocation_id,
        delivery_stream_arn: sender.stream_arn,
        region: sender.region,
        records: records.collect(),
    };
    serde_json::to_vec(&event).expect("texts and numbers are JSON").into()
}

/// Cuts a batch into runs whose events are no larger than a payload may be. An item that does not
/// even fit alone makes a run of its own, which is not to be sent: see [`fits`].
pub(super) fn runs(items: &[Item]) -> VecDeque<Range<usize>> {
    let mut runs = VecDeque::new();
    let (mut start, mut size_bytes) = (0, ENVELOPE_BYTES);
    for (index, item) in items.iter().enumerate() {
        let bytes = event_bytes(item);
        if index > start && size_bytes + bytes > PAYLOAD_BYTES_MAX {
            runs.push_back(start..index);
            (start, size_bytes) = (index, ENVELOPE_BYTES);
        }
        size_bytes += bytes;
    }
    if start < items.len() {
        runs.push_back(start..items.len());
    }
    runs
}

/// Whether a run can be sent.
pub(super) fn fits(run: &[Item]) -> bool {
    ENVELOPE_BYTES + run.iter().map(event_bytes).sum::<usize>() <= PAYLOAD_BYTES_MAX
}

/// The most bytes that an item takes in an event. Ids are our own and need no escapes.
fn event_bytes(item: &Item) -> usize {
    RECORD_BYTES + item.id.len() + item.part.data.len().div_ceil(3) * 4
}

/// Reads an answer: one verdict for each item, in the order of the items.
///
/// # Errors
/// [`NO_JSON`] when the answer is no JSON, which another attempt may mend. An answer that is JSON
/// and does not hold what it should is final, as it is for Firehose.
pub(super) fn verdicts(
    answer: &[u8],
    items: &[Item],
    attempt: u32,
    lambda_arn: Option<&str>,
) -> Result<Vec<Verdict>, Reason> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| NO_JSON)?;
    let fail = |reason: Reason| reason.at(attempt, lambda_arn);
    let Some(records) = answer.get("records").and_then(Value::as_array) else {
        return Ok(items.iter().map(|_| fail(BAD_FORMAT)).collect());
    };
    let indices = items.iter().enumerate().map(|(index, item)| (item.id.as_str(), index));
    let indices: HashMap<&str, usize> = indices.collect();
    let mut verdicts: Vec<Option<Verdict>> = vec![None; items.len()];
    for record in records.iter().filter_map(Value::as_object) {
        // What nobody asked about is ignored.
        let id = record.get("recordId").and_then(Value::as_str);
        let Some(index) = id.and_then(|id| indices.get(id).copied()) else {
            continue;
        };
        let verdict = match &verdicts[index] {
            Some(_) => fail(DUPLICATED_ID),
            None => verdict(record, &items[index], base64_text).unwrap_or_else(fail),
        };
        verdicts[index] = Some(verdict);
    }
    Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(|| fail(MISSING_ID))).collect())
}

/// Reads `data` of a record or of one of its parts; nothing where there is none.
pub(super) type ReadData = fn(&Map<String, Value>) -> Result<Option<Bytes>, Reason>;

/// Data as Lambda's contract has it: base64.
pub(super) fn base64_text(holder: &Map<String, Value>) -> Result<Option<Bytes>, Reason> {
    decoded(holder.get("data"))
}

/// Decodes a member that holds base64, where there is one.
pub(super) fn decoded(member: Option<&Value>) -> Result<Option<Bytes>, Reason> {
    match member {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            STANDARD.decode(text).map(|data| Some(data.into())).map_err(|_| BAD_FORMAT)
        }
        Some(_) => Err(BAD_FORMAT),
    }
}

/// What a record of an answer says of its item.
pub(super) fn verdict(
    record: &Map<String, Value>,
    item: &Item,
    data: ReadData,
) -> Result<Verdict, Reason> {
    match record.get("result").and_then(Value::as_str) {
        Some("Ok") => {}
        Some("Dropped") => return Ok(Verdict::Dropped),
        Some("ProcessingFailed") => return Err(PROCESSING_FAILED),
        _ => return Err(BAD_FORMAT),
    }
    let keys = partition_keys(record, &item.part.partition_keys)?;
    if let Some(data) = data(record)? {
        return Ok(Verdict::Parts(vec![Part { data, partition_keys: keys }]));
    }
    let parts = match record.get("parts") {
        Some(Value::Array(parts)) if !parts.is_empty() => parts,
        None | Some(Value::Null | Value::Array(_)) => return Err(NO_DATA),
        Some(_) => return Err(BAD_FORMAT),
    };
    let part = |part: &Value| {
        let part = part.as_object().ok_or(BAD_FORMAT)?;
        let partition_keys = partition_keys(part, &keys)?;
        Ok(Part { data: data(part)?.ok_or(NO_DATA)?, partition_keys })
    };
    Ok(Verdict::Parts(parts.iter().map(part).collect::<Result<_, Reason>>()?))
}

/// The keys known before, with those that the answer gives.
fn partition_keys(
    holder: &Map<String, Value>,
    known: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Reason> {
    let mut all = known.clone();
    let metadata = match holder.get("metadata") {
        None | Some(Value::Null) => return Ok(all),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(BAD_FORMAT),
    };
    match metadata.get("partitionKeys") {
        None | Some(Value::Null) => {}
        Some(Value::Object(keys)) => {
            for (key, value) in keys {
                match value {
                    // Whether a key is missed is for the prefix to say.
                    Value::Null => all.remove(key),
                    Value::String(value) => all.insert(key.clone(), value.clone()),
                    _ => return Err(BAD_FORMAT),
                };
            }
        }
        Some(_) => return Err(BAD_FORMAT),
    }
    Ok(all)
}
