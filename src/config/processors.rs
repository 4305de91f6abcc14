//! Firehose's processors among the steps of a stream: their settings, and the order that they stand in.
//!
//! Owns what each may be told, and which orders cannot work or are not Firehose's. Does not own what a
//! processor does (`transform`), nor what the rest of the stream makes of its records (`warnings`).

use serde_json::Value as Json;

use super::faults::shown;
use super::json_schema;
use super::reader::Presence::{Default, Optional, Required};
use super::reader::{At, Fields, Reader, Scalar, Setting, Source, section};
use super::transform::{Step, StepKind};
use super::values::Text;
use crate::convert::{Delimiter, RecordsOptions};
use crate::transform::{LogForm, SubRecords};

/// A longer delimiter is a mistake.
const DELIMITER_BYTES_MAX: usize = 256;

/// A mapping without keys: that it is there says all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl Setting for Plain {
    const EXPECTED: &'static str = "{}";

    fn json_schema() -> Json {
        json_schema::section("No settings.", Vec::new())
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        Fields::open(source, &[], reader).map(|_| Self)
    }
}

section! {
    /// How records are packed.
    DecompressSection expects "a mapping with format" {
        /// How records are packed.
        format: Packing = Required,
    }
}

section! {
    /// What CloudWatch Logs sends.
    CloudWatchSection expects "a mapping with as and control_messages" {
        /// What becomes of an envelope: one record of all messages, each with a line feed behind it, as
        /// Firehose does it; or a JSON object for each event, with owner, logGroup and logStream.
        r#as: LogShape = Default("messages"),
        /// What becomes of health checks where messages are made: an empty record, as Firehose does
        /// it, or nothing.
        control_messages: ControlMessages = Optional,
    }
}

section! {
    /// What sub-records are: exactly one of the keys.
    DeaggregateSection expects "json: {} or delimiter: TEXT" {
        /// JSON documents, one behind the other.
        json: Plain = Optional,
        /// What stands between delimiters, which are plain text and not base64.
        delimiter: Text = Optional,
    }
}

/// How records are packed; Firehose knows the one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing;

impl Scalar for Packing {
    const EXPECTED: &'static str = "gzip";

    fn json_schema() -> Json {
        json_schema::words(&["gzip"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "gzip" => Ok(Self),
            _ => Err(format!("records are not unpacked from {}: write gzip", shown(text))),
        }
    }
}

/// What becomes of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogShape {
    Messages,
    Events,
}

impl Scalar for LogShape {
    const EXPECTED: &'static str = "messages or events";

    fn json_schema() -> Json {
        json_schema::words(&["messages", "events"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "messages" => Ok(Self::Messages),
            "events" => Ok(Self::Events),
            _ => Err(format!(
                "{} is no form of logs: write {}",
                shown(text),
                <Self as Scalar>::EXPECTED
            )),
        }
    }
}

/// What becomes of health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlMessages {
    Empty,
    Drop,
}

impl Scalar for ControlMessages {
    const EXPECTED: &'static str = "empty or drop";

    fn json_schema() -> Json {
        json_schema::words(&["empty", "drop"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "empty" => Ok(Self::Empty),
            "drop" => Ok(Self::Drop),
            _ => Err(format!(
                "nothing is made {} of control messages: write {}",
                shown(text),
                <Self as Scalar>::EXPECTED
            )),
        }
    }
}

pub(super) fn decompress_step(section: &DecompressSection) -> Option<StepKind> {
    section.format.value().map(|Packing| StepKind::Decompress)
}

pub(super) fn cloudwatch_step(
    section: &CloudWatchSection,
    reader: &mut Reader<'_>,
) -> Option<StepKind> {
    let shape = *section.r#as.value()?;
    let control = match section.control_messages.given() {
        Some(At { place, .. }) if shape == LogShape::Events => {
            let message = "no event is made of a control message: remove the key";
            reader.fault(place.clone(), message);
            return None;
        }
        Some(At { value, .. }) => *value,
        None if section.control_messages.is_faulty() => return None,
        None => ControlMessages::Empty,
    };
    let drops_control = control == ControlMessages::Drop;
    Some(StepKind::CloudWatchLogs(match shape {
        LogShape::Messages => LogForm::Messages { drops_control },
        LogShape::Events => LogForm::Events,
    }))
}

pub(super) fn deaggregate_step(
    At { value: section, place }: &At<DeaggregateSection>,
    reader: &mut Reader<'_>,
) -> Option<StepKind> {
    if section.json.is_faulty() || section.delimiter.is_faulty() {
        return None;
    }
    let sub_records = match (section.json.value(), section.delimiter.given()) {
        (Some(Plain), None) => SubRecords::Json,
        (None, Some(At { value: Text(delimiter), place })) => {
            if !(1..=DELIMITER_BYTES_MAX).contains(&delimiter.len()) {
                let message =
                    format_args!("the delimiter must have 1 to {DELIMITER_BYTES_MAX} bytes");
                reader.fault(place.clone(), message);
                return None;
            }
            SubRecords::Delimited(delimiter.clone())
        }
        _ => {
            // An unknown key was told already.
            if !reader.has_fault_below(place) {
                let message = "say what sub-records are: write json: {} or delimiter: TEXT";
                reader.fault(place.clone(), message);
            }
            return None;
        }
    };
    Some(StepKind::Deaggregate(sub_records))
}

/// Firehose's order of what it knows.
fn rank(kind: &StepKind) -> Option<u8> {
    match kind {
        StepKind::Kpl => Some(0),
        StepKind::Decompress => Some(1),
        StepKind::CloudWatchLogs(_) => Some(2),
        StepKind::Deaggregate(_) => Some(3),
        StepKind::Http { .. } | StepKind::Lambda { .. } | StepKind::Command { .. } => Some(4),
        StepKind::Jq(_)
        | StepKind::Filter(_)
        | StepKind::Fields(_)
        | StepKind::AppendDelimiter(_) => None,
    }
}

/// Whether nothing that this step lets through is gzip.
fn gives_text(kind: &StepKind) -> bool {
    match kind {
        StepKind::CloudWatchLogs(_)
        | StepKind::Deaggregate(SubRecords::Json)
        | StepKind::Jq(_)
        | StepKind::Filter(_)
        | StepKind::Fields(_)
        | StepKind::AppendDelimiter(_) => true,
        StepKind::Kpl
        | StepKind::Decompress
        | StepKind::Deaggregate(SubRecords::Delimited(_))
        | StepKind::Http { .. }
        | StepKind::Lambda { .. }
        | StepKind::Command { .. } => false,
    }
}

/// Refuses orders in which no record would get through, and warns of those that Firehose has not.
pub(super) fn check_order(steps: &[Step], reader: &mut Reader<'_>) {
    for (index, Step { kind, place }) in steps.iter().enumerate() {
        let before = &steps[..index];
        let earlier =
            |is_such: fn(&StepKind) -> bool| before.iter().find(|step| is_such(&step.kind));
        let name = kind.name();
        if matches!(kind, StepKind::Decompress)
            && let Some(other) = earlier(gives_text)
        {
            let message = format_args!(
                "nothing that {} lets through is packed, so that every record would fail: put \
                 decompress in front of it",
                other.kind.name()
            );
            reader.fault(place.clone(), message);
            continue;
        }
        if matches!(kind, StepKind::CloudWatchLogs(_)) {
            if earlier(|kind| matches!(kind, StepKind::CloudWatchLogs(_))).is_some() {
                let message = "cloudwatch_logs stands above already, and nothing that it gives is \
                               an envelope: remove one of them";
                reader.fault(place.clone(), message);
                continue;
            }
            if earlier(|kind| matches!(kind, StepKind::Decompress)).is_none() {
                let message = "CloudWatch packs what it sends, and no step in front of this one \
                               unpacks it: add decompress: {format: gzip}, unless what sends to \
                               this stream does not pack";
                reader.warn(place.clone(), message);
            }
        }
        let own = rank(kind);
        let is_later = |step: &&Step| own.is_some() && own < rank(&step.kind);
        if let Some(other) = before.iter().rfind(is_later) {
            let other = other.kind.name();
            let message = format_args!(
                "here the order of the list counts, and Firehose has {name} before {other}: move it \
                 up, unless this is meant"
            );
            reader.warn(place.clone(), message);
        }
    }
}

/// A line feed appended by the last step is what stands between records: no step is needed for it.
pub(super) fn fold_delimiter(steps: &mut Vec<Step>, options: &mut RecordsOptions) {
    let is_newline = |step: &mut Step| matches!(&step.kind, StepKind::AppendDelimiter(delimiter) if delimiter == "\n");
    while steps.pop_if(is_newline).is_some() {
        if options.delimiter == Delimiter::None {
            options.delimiter = Delimiter::Newline;
        }
    }
}
