//! Records in, Parquet out, read back with the Parquet crate's own reader.

mod accepts;
mod decoding;
mod file;
mod formats;
mod grammar;
mod inputs;
mod pages;
mod rejects;

use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::reference::shown_rows;
use super::{Encoded, Encoder, Format, PushError, Rejection, Schema};
use crate::table::{Column, HiveType};

/// A schema from `name type` pairs.
fn schema(types: &[(&str, &str)]) -> Arc<Schema> {
    Arc::new(Schema::new(&columns(types)).unwrap())
}

fn columns(types: &[(&str, &str)]) -> Vec<Column> {
    let column = |(name, hive_type): &(&str, &str)| Column {
        name: (*name).to_owned(),
        hive_type: HiveType::parse(hive_type).unwrap(),
    };
    types.iter().map(column).collect()
}

fn encoder(schema: &Arc<Schema>) -> Encoder {
    Encoder::new(&Format::Parquet(schema.clone())).unwrap()
}

/// Pushes records; those that are rejected come back.
fn convert(schema: &Arc<Schema>, records: &[&[u8]]) -> (Encoded, Vec<Rejection>) {
    let mut encoder = encoder(schema);
    let mut rejections = vec![];
    for record in records {
        match encoder.push(record) {
            Ok(pushed) => assert!(pushed.row_count > 0),
            Err(PushError::Rejected(rejection)) => rejections.push(rejection),
            Err(PushError::Encode(error)) => panic!("{error}"),
        }
    }
    (encoder.finish(&[]).unwrap(), rejections)
}

fn read(encoded: &Encoded) -> Vec<RecordBatch> {
    let bytes = bytes::Bytes::from(encoded.bytes.clone());
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    let row_count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(row_count as u64, encoded.row_count);
    batches
}

/// The rows of a file, each as `value|value`.
fn rows(encoded: &Encoded) -> Vec<String> {
    read(encoded).iter().flat_map(shown_rows).collect()
}

/// What a column `v` of a type holds after the record `{"v":<json>}`.
fn convert_value(hive_type: &str, json: &str) -> Result<String, String> {
    let record = format!("{{\"v\":{json}}}");
    let (encoded, mut rejections) = convert(&schema(&[("v", hive_type)]), &[record.as_bytes()]);
    match rejections.pop() {
        Some(rejection) => {
            assert_eq!(encoded.row_count, 0);
            Err(rejection.to_string())
        }
        None => Ok(rows(&encoded).remove(0)),
    }
}
