//! Records in, Parquet out, read back with the Parquet crate's own reader.

mod accepts;
mod arrays;
mod file;
mod formats;
mod grammar;
mod inputs;
mod pages;
mod rejects;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

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
    let mut rows = vec![];
    for batch in read(encoded) {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| show(column, row));
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows
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

/// A value as short text: dates and timestamps as stored, texts in quotes.
fn show(array: &dyn Array, at: usize) -> String {
    if array.is_null(at) {
        return "null".to_owned();
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(at).to_string(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(at).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(at).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(at).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).to_string(),
        DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(at)),
        DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(at)),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(at),
        DataType::Utf8 => format!("{:?}", array.as_string::<i32>().value(at)),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(at).iter();
            bytes.fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(at).to_string()
        }
        DataType::Date32 => array.as_primitive::<Date32Type>().value(at).to_string(),
        DataType::Timestamp(..) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(at);
            micros.to_string()
        }
        DataType::FixedSizeBinary(_) => {
            // INT96, as the microseconds that it stands for.
            let (nanos, day) = array.as_fixed_size_binary().value(at).split_at(8);
            let nanos = i64::from_le_bytes(nanos.try_into().unwrap());
            let day = i64::from(i32::from_le_bytes(day.try_into().unwrap()) - 2_440_588);
            (day * 86_400_000_000 + nanos / 1000).to_string()
        }
        DataType::List(_) => format!("[{}]", show_all(&array.as_list::<i32>().value(at))),
        DataType::Map(..) => {
            let entries = array.as_map().value(at);
            let pairs = (0..entries.len()).map(|entry| {
                let key = show(entries.column(0), entry);
                format!("{key}={}", show(entries.column(1), entry))
            });
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter();
            let fields: Vec<String> = fields.map(|field| show(field, at)).collect();
            format!("({})", fields.join(","))
        }
        other => panic!("no column has the type {other}"),
    }
}

fn show_all(array: &dyn Array) -> String {
    let values: Vec<String> = (0..array.len()).map(|at| show(array, at)).collect();
    values.join(",")
}
