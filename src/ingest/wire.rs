//! The JSON of calls and answers.
//!
//! Owns the shapes of the API model and base64. Texts are borrowed from the
//! body; nothing is kept for records beyond the limit. Does not own the
//! texts of constraints (`violations`), error codes (`reply`), or what an operation does
//! (`operations`).
//!
//! Members that the model does not know are ignored, as every AWS service does.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::LazyLock;

use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use base64::{DecodeError, Engine};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::record_id::{RECORD_ID_CHARS, RecordId};
use super::violations::Violations;
use crate::record::StreamName;

/// The most records in one call (API model).
pub(super) const RECORD_COUNT_MAX: usize = 500;
/// The most bytes of data in one call, before base64.
pub(super) const CALL_BYTES_MAX: usize = 4 * 1024 * 1024;
const LIMIT_DEFAULT: usize = 10;

/// Padding may be missing: some producers leave it out.
const BASE64_CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// With the widest instructions that the processor has.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BASE64: LazyLock<base64::engine::simd::Simd> =
    LazyLock::new(|| base64::engine::simd::Simd::standard(BASE64_CONFIG));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static BASE64: LazyLock<base64::engine::GeneralPurpose> = LazyLock::new(|| {
    base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, BASE64_CONFIG)
});

/// Why a body is not a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// Not one JSON document.
    #[error("The request body is not valid JSON at line {line}, column {column}.")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// JSON of another shape.
    #[error(
        "A member of the request body has the wrong type or stands twice at line {line}, column \
         {column}."
    )]
    WrongShape {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Data that cannot be decoded.
    #[error("The value at '{path}' is not base64.")]
    NotBase64 {
        /// The member.
        path: String,
    },
    /// Constraints of the API model that do not hold.
    #[error("{0}")]
    Invalid(Violations),
    /// A name that the API model allows and a folder does not.
    #[error("'.' and '..' are not names of delivery streams.")]
    ReservedName,
    /// More data than one call may carry.
    #[error("Records size exceeds 4 MB limit")]
    TooManyBytes,
}

/// A checked PutRecord or PutRecordBatch.
#[derive(Debug)]
pub(super) struct Put<'a> {
    /// Where the records go.
    pub(super) stream: StreamName,
    records: Vec<Text<'a>>,
    /// The data of all records after base64; exact when the base64 is valid.
    pub(super) data_bytes: usize,
    /// Whether the records came as a list.
    pub(super) is_batch: bool,
}

impl<'a> Put<'a> {
    /// Reads the body of a PutRecord.
    pub(super) fn one(body: &'a [u8]) -> Result<Self, WireError> {
        let request: PutRecordRequest<'_> = parse(body)?;
        let mut violations = Violations::default();
        violations.check_stream(request.delivery_stream_name.as_deref());
        let data = request.record.map(|record| record.0.data);
        match &data {
            None => violations.add_null("record"),
            Some(None) => violations.add_null("record.data"),
            Some(Some(data)) => violations.check_data("record.data", decoded_bytes(data)),
        }
        none_or_error(violations)?;
        let records = data.flatten().into_iter().collect();
        Self::checked(request.delivery_stream_name, records, false)
    }

    /// Reads the body of a PutRecordBatch.
    pub(super) fn batch(body: &'a [u8]) -> Result<Self, WireError> {
        let request: PutRecordBatchRequest<'_> = parse(body)?;
        let mut violations = Violations::default();
        violations.check_stream(request.delivery_stream_name.as_deref());
        let mut records = Vec::new();
        match request.records {
            None => violations.add_null("records"),
            Some(found) if found.count == 0 => {
                violations.add("records", "Member must have length greater than or equal to 1");
            }
            Some(found) if found.count > RECORD_COUNT_MAX => {
                let constraint = "Member must have length less than or equal to";
                violations.add("records", format_args!("{constraint} {RECORD_COUNT_MAX}"));
            }
            Some(found) => {
                records.reserve_exact(found.count);
                for (index, record) in found.kept.into_iter().enumerate() {
                    let number = index + 1;
                    match record.map(|record| record.0.data) {
                        None => violations.add_null(format_args!("records.{number}.member")),
                        Some(None) => {
                            violations.add_null(format_args!("records.{number}.member.data"));
                        }
                        Some(Some(data)) => {
                            let path = format_args!("records.{number}.member.data");
                            violations.check_data(path, decoded_bytes(&data));
                            records.push(data);
                        }
                    }
                }
            }
        }
        none_or_error(violations)?;
        Self::checked(request.delivery_stream_name, records, true)
    }

    fn checked(
        name: Option<Text<'a>>,
        records: Vec<Text<'a>>,
        is_batch: bool,
    ) -> Result<Self, WireError> {
        let data_bytes = records.iter().map(|data| decoded_bytes(data)).sum();
        if data_bytes > CALL_BYTES_MAX {
            return Err(WireError::TooManyBytes);
        }
        let name = name.unwrap_or_default();
        Ok(Self {
            stream: StreamName::new(&name).map_err(|_| WireError::ReservedName)?,
            records,
            data_bytes,
            is_batch,
        })
    }

    /// The records in the call's order.
    pub(super) fn records(&self) -> impl Iterator<Item = EncodedRecord<'_>> {
        let is_batch = self.is_batch;
        self.records.iter().enumerate().map(move |(index, data)| EncodedRecord {
            data: &data.0,
            number: is_batch.then_some(index + 1),
        })
    }
}

/// A record in base64, not longer than a record may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct EncodedRecord<'a> {
    data: &'a str,
    number: Option<usize>,
}

impl EncodedRecord<'_> {
    /// Appends the record's bytes to `out`; what stands there after an error is undefined.
    pub(super) fn decode(self, out: &mut Vec<u8>) -> Result<(), WireError> {
        decode_onto(self.data.as_bytes(), out).map_err(|_| WireError::NotBase64 {
            path: match self.number {
                Some(number) => format!("records.{number}.member.data"),
                None => "record.data".to_owned(),
            },
        })
    }
}

/// Appends what a base64 text stands for to `out`; what stands there after an error is undefined.
pub(super) fn decode_onto(text: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    BASE64.decode_vec(text, out)
}

/// A checked DescribeDeliveryStream; its paging is accepted, since a stream has one destination.
#[derive(Debug)]
pub(super) struct Describe {
    /// The stream to describe.
    pub(super) stream: StreamName,
}

impl Describe {
    /// Reads the body of a DescribeDeliveryStream.
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let request: DescribeRequest<'_> = parse(body)?;
        let mut violations = Violations::default();
        violations.check_stream(request.delivery_stream_name.as_deref());
        violations.check_limit(request.limit);
        none_or_error(violations)?;
        let name = request.delivery_stream_name.unwrap_or_default();
        let stream = StreamName::new(&name).map_err(|_| WireError::ReservedName)?;
        Ok(Self { stream })
    }
}

/// A checked ListDeliveryStreams.
#[derive(Debug)]
pub(super) struct List<'a> {
    /// The most names to answer.
    pub(super) limit: usize,
    /// Names up to this one are left out; it need not exist.
    pub(super) after: Option<Cow<'a, str>>,
    /// Only streams of this type.
    pub(super) stream_type: Option<Cow<'a, str>>,
}

impl<'a> List<'a> {
    /// Reads the body of a ListDeliveryStreams.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let request: ListRequest<'_> = parse(body)?;
        let mut violations = Violations::default();
        violations.check_limit(request.limit);
        let after = request.exclusive_start_delivery_stream_name;
        if let Some(after) = &after {
            violations.check_name("exclusiveStartDeliveryStreamName", after);
        }
        let stream_type = request.delivery_stream_type.map(|text| text.0);
        if stream_type.as_deref().is_some_and(|text| !STREAM_TYPES.contains(&text)) {
            let types = STREAM_TYPES.join(", ");
            violations.add(
                "deliveryStreamType",
                format_args!("Member must satisfy enum value set: [{types}]"),
            );
        }
        none_or_error(violations)?;
        let limit = request.limit.and_then(|limit| usize::try_from(limit).ok());
        Ok(Self {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            after: after.map(|name| name.0),
            stream_type,
        })
    }
}

/// The types of the API's model.
const STREAM_TYPES: [&str; 4] =
    ["DirectPut", "KinesisStreamAsSource", "MSKAsSource", "DatabaseAsSource"];

/// The answer of a ListDeliveryStreams.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListAnswer<'a> {
    /// The names in lexical order.
    pub(super) delivery_stream_names: Vec<&'a StreamName>,
    /// Whether more names follow the last one.
    pub(super) has_more_delivery_streams: bool,
}

/// The answer of a PutRecord.
pub(super) fn put_record_answer(id: RecordId) -> String {
    ascii([br#"{"RecordId":""#, &id.text()[..], br#"","Encrypted":false}"#].concat())
}

/// The answer of a PutRecordBatch. Fluent Bit looks for `"FailedPutCount":0` as it stands here.
pub(super) fn put_record_batch_answer(ids: impl ExactSizeIterator<Item = RecordId>) -> String {
    let mut answer = Vec::with_capacity(ids.len() * (RECORD_ID_CHARS + 16) + 80);
    answer.extend_from_slice(br#"{"FailedPutCount":0,"Encrypted":false,"RequestResponses":["#);
    for (index, id) in ids.enumerate() {
        let begin: &[u8] = if index > 0 { br#",{"RecordId":""# } else { br#"{"RecordId":""# };
        answer.extend_from_slice(begin);
        answer.extend_from_slice(&id.text());
        answer.extend_from_slice(br#""}"#);
    }
    answer.extend_from_slice(b"]}");
    ascii(answer)
}

fn ascii(answer: Vec<u8>) -> String {
    String::from_utf8(answer).expect("names and RecordIds are ASCII")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordRequest<'a> {
    #[serde(borrow)]
    delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    record: Option<Object<Record<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatchRequest<'a> {
    #[serde(borrow)]
    delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    records: Option<Records<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeRequest<'a> {
    #[serde(borrow)]
    delivery_stream_name: Option<Text<'a>>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRequest<'a> {
    limit: Option<i64>,
    #[serde(borrow)]
    delivery_stream_type: Option<Text<'a>>,
    #[serde(borrow)]
    exclusive_start_delivery_stream_name: Option<Text<'a>>,
}

/// A text of the body; serde borrows a `Cow` only where it stands as a field itself.
#[derive(Debug, Default, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The elements of a `Records`: all are counted, and those that a call may have are kept.
struct Records<'a> {
    kept: Vec<Option<Object<Record<'a>>>>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Records<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Elements<'a> {
            type Value = Records<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < RECORD_COUNT_MAX {
                    let Some(record) = list.next_element()? else {
                        let count = kept.len();
                        return Ok(Records { kept, count });
                    };
                    kept.push(record);
                }
                let mut count = kept.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Records { kept, count })
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// A JSON object; the derived code alone would take a list of its members too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    let object: Object<T> = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.is_data() {
            WireError::WrongShape { line, column }
        } else {
            WireError::Malformed { line, column }
        }
    })?;
    Ok(object.0)
}

fn none_or_error(violations: Violations) -> Result<(), WireError> {
    if violations.is_empty() { Ok(()) } else { Err(WireError::Invalid(violations)) }
}

/// How many bytes a base64 text stands for; exact when it is valid.
fn decoded_bytes(text: &str) -> usize {
    let last_two = text.bytes().rev().take(2);
    let padding = last_two.take_while(|byte| *byte == b'=').count();
    (text.len() - padding) * 3 / 4
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
