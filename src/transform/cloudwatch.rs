//! Firehose's `CloudWatchLogProcessing`: what a subscription of CloudWatch Logs sends becomes what was
//! logged.
//!
//! Owns what an envelope is, and the two forms of what it holds: the messages, each followed by a line
//! feed, as one record, which is Firehose's form; or a part for each event, an object that says where
//! the event is from and then what the event itself says. Does not unpack the envelope, and does not
//! look into messages. Half of a pair of surrogates in one of them is U+FFFD there: JSON can write it,
//! and no text can hold it.
//!
//! Health checks of CloudWatch (`CONTROL_MESSAGE`) hold nothing that was logged. Of messages they make
//! an empty record, as Firehose does, unless they are to be dropped; of events they make none.
//!
//! Values are copied as they are written, so that an event costs no more than its bytes.

use std::borrow::Cow;

use bytes::Bytes;

use super::documents::{each_item, each_member, value_bytes};
use super::inside::{Inside, Processor};
use super::{PARTS_BYTES_MAX, PARTS_MAX, Part, Transform, Verdict};

/// What becomes of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// One record of all messages.
    Messages {
        /// Whether health checks are dropped rather than made empty records.
        drops_control: bool,
    },
    /// A part for each event.
    Events,
}

/// The step.
#[must_use]
pub fn cloudwatch_logs(form: LogForm) -> impl Transform {
    Inside::new(CloudWatchLogs { form })
}

#[derive(Debug)]
pub(super) struct CloudWatchLogs {
    pub(super) form: LogForm,
}

/// An envelope, as places in its text.
struct Envelope<'a> {
    is_control: bool,
    /// The members that say where its events are from, as they are written.
    origin: String,
    /// A list.
    events: &'a str,
}

/// Why nothing becomes of a record.
enum Refused {
    /// It is no envelope.
    NoEnvelope,
    /// It would become too much: why, and how much it would be so far.
    TooLarge(String, usize),
}

impl From<String> for Refused {
    fn from(_: String) -> Self {
        Self::NoEnvelope
    }
}

impl Processor for CloudWatchLogs {
    fn verdict(&self, part: &Part) -> Verdict {
        let made = envelope(&part.data).and_then(|envelope| match self.form {
            LogForm::Messages { drops_control } => messages(&envelope, drops_control),
            LogForm::Events => events(&envelope),
        });
        match made {
            Ok(made) if made.is_empty() => Verdict::Dropped,
            Ok(made) => {
                let part = |data| Part { data, partition_keys: part.partition_keys.clone() };
                Verdict::Parts(made.into_iter().map(part).collect())
            }
            Err(Refused::NoEnvelope) => Verdict::no_cloudwatch_log(),
            Err(Refused::TooLarge(why, made_bytes)) => Verdict::too_large(why).after(made_bytes),
        }
    }
}

/// Reads an envelope: an object that says that it is one and has a list of events.
fn envelope(data: &[u8]) -> Result<Envelope<'_>, Refused> {
    let text = std::str::from_utf8(data).map_err(|_| Refused::NoEnvelope)?.trim_ascii();
    if !text.starts_with('{') || value_bytes(text)? != text.len() {
        return Err(Refused::NoEnvelope);
    }
    let (mut kind, mut events) = (None, None);
    let mut origin: [Option<(&str, &str)>; 3] = [None; 3];
    each_member(text, |name, value| {
        match name {
            "\"messageType\"" => kind = Some(value),
            "\"owner\"" => origin[0] = Some((name, value)),
            "\"logGroup\"" => origin[1] = Some((name, value)),
            "\"logStream\"" => origin[2] = Some((name, value)),
            "\"logEvents\"" => events = Some(value),
            _ => {}
        }
        Ok::<_, Refused>(())
    })?;
    let is_control = match kind {
        Some("\"DATA_MESSAGE\"") => false,
        Some("\"CONTROL_MESSAGE\"") => true,
        _ => return Err(Refused::NoEnvelope),
    };
    let events = events.filter(|events| events.starts_with('[')).ok_or(Refused::NoEnvelope)?;
    let origin = origin.iter().flatten().map(|(name, value)| format!("{name}:{value},"));
    Ok(Envelope { is_control, origin: origin.collect(), events })
}

/// One record, or none.
fn messages(envelope: &Envelope<'_>, drops_control: bool) -> Result<Vec<Bytes>, Refused> {
    // No longer than the envelope: an event takes more than the line feed behind its message.
    let mut lines = Vec::new();
    each_item(envelope.events, |event| {
        let message = text_of(message(event)?)?;
        if !envelope.is_control {
            lines.extend_from_slice(message.as_bytes());
            lines.push(b'\n');
        }
        Ok::<_, Refused>(())
    })?;
    Ok(if envelope.is_control && drops_control { vec![] } else { vec![lines.into()] })
}

/// One object for each event.
fn events(envelope: &Envelope<'_>) -> Result<Vec<Bytes>, Refused> {
    let mut made: Vec<Bytes> = Vec::new();
    let mut size_bytes = 0;
    each_item(envelope.events, |event| {
        message(event)?;
        size_bytes += "{".len() + envelope.origin.len() + event.len();
        if made.len() == PARTS_MAX || size_bytes > PARTS_BYTES_MAX {
            let bounds = format!("{PARTS_MAX} events or {PARTS_BYTES_MAX} bytes");
            let why = format!("the envelope would become more than {bounds}");
            return Err(Refused::TooLarge(why, size_bytes));
        }
        if !envelope.is_control {
            // An event has at least its message, so that the comma behind the origin is right.
            made.push(["{", &envelope.origin, &event["{".len()..]].concat().into());
        }
        Ok(())
    })?;
    Ok(made)
}

/// The message of an event, as it is written.
fn message(event: &str) -> Result<&str, Refused> {
    if !event.starts_with('{') {
        return Err(Refused::NoEnvelope);
    }
    let mut message = None;
    each_member(event, |name, value| {
        if name == "\"message\"" {
            message = Some(value);
        }
        Ok::<_, Refused>(())
    })?;
    message.filter(|message| message.starts_with('"')).ok_or(Refused::NoEnvelope)
}

/// What a message says, which is JSON as it is written.
fn text_of(message: &str) -> Result<Cow<'_, str>, Refused> {
    let whole = |_| serde_json::from_str(&with_whole_pairs(message)).map(Cow::Owned);
    serde_json::from_str(message).or_else(whole).map_err(|_| Refused::NoEnvelope)
}

/// A text of JSON in which each half of a pair of surrogates that stands alone is an escaped U+FFFD.
fn with_whole_pairs(json: &str) -> String {
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let mut whole = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        whole.push_str(&rest[..at]);
        rest = &rest[at..];
        let (escape, length) = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => (&rest[..12], 12),
            (Some(0xd800..0xe000), _) => ("\\ufffd", 6),
            (Some(_), _) => (&rest[..6], 6),
            (None, _) => (&rest[..2], 2),
        };
        whole.push_str(escape);
        rest = &rest[length..];
    }
    whole + rest
}
