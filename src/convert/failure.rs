//! The lines of error objects, one for each failed record: rejected by the conversion, or failed
//! before it, in a hook or in finding its partition.
//!
//! Owns the lines' forms, which are Firehose's, so that tools made for real error objects read ours.
//! Does not own the object's key or the rest of its lines.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::{Counted, Rejection};
use crate::record::{Record, UnixMillis};

/// One rejected record and why.
#[derive(Clone, Copy, Debug)]
pub struct FailureLine<'a> {
    /// The record as it was accepted.
    pub record: Record<'a>,
    /// Why it was rejected.
    pub rejection: &'a Rejection,
    /// When the conversion ended.
    pub attempt_ending: UnixMillis,
    /// The table whose columns it did not fit, if there is one.
    pub table: Option<TableName<'a>>,
    /// What its position counts.
    pub counted: Counted,
}

/// Tells the numbers of parts that hooks made from those of records, which are 0 as Firehose's are.
#[must_use]
pub const fn sub_sequence_number(counted: Counted) -> u32 {
    match counted {
        Counted::Records => 0,
        Counted::Parts => 1,
    }
}

/// A table as a failure line names it.
#[derive(Clone, Copy, Debug)]
pub struct TableName<'a> {
    /// The database that holds it.
    pub database: &'a str,
    /// The table.
    pub table: &'a str,
    /// The region of its catalog; none for a catalog of files.
    pub region: Option<&'a str>,
    /// The version of its columns.
    pub version: &'a str,
}

impl FailureLine<'_> {
    /// Appends the line and a line feed to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let sequence_number = self.record.position.to_string();
        let line = Line {
            attempts_made: 1,
            arrival_timestamp: self.record.arrival,
            last_error_code: self.rejection.code.as_str(),
            last_error_message: &self.rejection.message,
            attempt_ending_timestamp: self.attempt_ending,
            raw_data: self.record.data,
            sequence_number: &sequence_number,
            sub_sequence_number: sub_sequence_number(self.counted),
            data_catalog_table: self.table.map(|table| DataCatalogTable {
                catalog_id: (),
                database_name: table.database,
                table_name: table.table,
                region: table.region,
                version_id: table.version,
                role_arn: (),
                catalog_arn: (),
            }),
        };
        serde_json::to_writer(&mut *out, &line).expect("plain fields into memory cannot fail");
        out.push(b'\n');
    }
}

/// One record that failed before the conversion, and why: the error type `processing-failed`.
#[derive(Clone, Copy, Debug)]
pub struct ProcessingFailureLine<'a> {
    /// The record as it was accepted, before any hook changed it.
    pub record: Record<'a>,
    /// The kind of fault, such as `Lambda.FunctionError`.
    pub code: &'a str,
    /// What happened, as a sentence.
    pub message: &'a str,
    /// How often it was tried; at least 1.
    pub attempts: u32,
    /// When the last attempt ended.
    pub attempt_ending: UnixMillis,
    /// The function that failed, where it is one of AWS Lambda.
    pub lambda_arn: Option<&'a str>,
}

impl ProcessingFailureLine<'_> {
    /// Appends the line and a line feed to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let line = ProcessingLine {
            raw_data: self.record.data,
            error_code: self.code,
            error_message: self.message,
            attempts_made: self.attempts,
            arrival_timestamp: self.record.arrival,
            attempt_ending_timestamp: self.attempt_ending,
            lambda_arn: self.lambda_arn,
        };
        serde_json::to_writer(&mut *out, &line).expect("plain fields into memory cannot fail");
        out.push(b'\n');
    }
}

/// In the order of lines that were captured from Firehose; its documents have another one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessingLine<'a> {
    #[serde(serialize_with = "as_base64")]
    raw_data: &'a [u8],
    error_code: &'a str,
    error_message: &'a str,
    attempts_made: u32,
    arrival_timestamp: UnixMillis,
    attempt_ending_timestamp: UnixMillis,
    #[serde(rename = "lambdaARN", skip_serializing_if = "Option::is_none")]
    lambda_arn: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    attempts_made: u32,
    arrival_timestamp: UnixMillis,
    last_error_code: &'a str,
    last_error_message: &'a str,
    attempt_ending_timestamp: UnixMillis,
    #[serde(serialize_with = "as_base64")]
    raw_data: &'a [u8],
    sequence_number: &'a str,
    sub_sequence_number: u32,
    data_catalog_table: Option<DataCatalogTable<'a>>,
}

/// What we have no value for is null, as it is in Firehose's own lines.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DataCatalogTable<'a> {
    catalog_id: (),
    database_name: &'a str,
    table_name: &'a str,
    region: Option<&'a str>,
    version_id: &'a str,
    role_arn: (),
    catalog_arn: (),
}

fn as_base64<S: Serializer>(data: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(data, &STANDARD))
}
