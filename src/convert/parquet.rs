//! The file's schema in Arrow's and in Parquet's terms.
//!
//! Owns the form of each Hive type. Does not own how values are encoded.
//!
//! Invariant: every field is optional but the keys of maps.

use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::format::TimestampForm;
use super::int96;
use super::schema::{Fields, Node, Shape};
use crate::table::HiveType;

/// The Arrow types of the columns.
pub(super) fn arrow_schema(root: &Fields) -> SchemaRef {
    Arc::new(ArrowSchema::new(arrow_fields(root)))
}

/// The Parquet types of the columns.
pub(super) fn parquet_schema(root: &Fields) -> Result<SchemaDescriptor, ParquetError> {
    let fields = parquet_fields(root)?;
    let message = Type::group_type_builder("hive_schema").with_fields(fields).build()?;
    Ok(SchemaDescriptor::new(Arc::new(message)))
}

fn arrow_fields(fields: &Fields) -> Vec<ArrowField> {
    let fields = fields.list.iter();
    let converted = fields.map(|field| ArrowField::new(&field.name, arrow_type(&field.node), true));
    converted.collect()
}

fn arrow_type(node: &Node) -> DataType {
    match (&node.shape, &node.hive_type) {
        (Shape::Boolean, _) => DataType::Boolean,
        (Shape::Integer, HiveType::TinyInt) => DataType::Int8,
        (Shape::Integer, HiveType::SmallInt) => DataType::Int16,
        (Shape::Integer, HiveType::Int) => DataType::Int32,
        (Shape::Integer, _) => DataType::Int64,
        (Shape::Float, _) => DataType::Float32,
        (Shape::Double, _) => DataType::Float64,
        (Shape::Decimal { precision, scale }, _) => {
            DataType::Decimal128(*precision, *scale as i8) // At most 38.
        }
        (Shape::Text { .. }, _) => DataType::Utf8,
        (Shape::Date, _) => DataType::Date32,
        (Shape::Binary(_), _) => DataType::Binary,
        (Shape::Timestamp(TimestampForm::Micros), _) => {
            DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()))
        }
        (Shape::Timestamp(TimestampForm::Millis), _) => {
            DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, Some("UTC".into()))
        }
        (Shape::Timestamp(TimestampForm::Int96), _) => {
            DataType::FixedSizeBinary(int96::BYTES as i32)
        }
        (Shape::List(item), _) => DataType::new_list(arrow_type(item), true),
        (Shape::Map(nodes), _) => {
            let key = ArrowField::new("key", arrow_type(&nodes.key), false);
            let value = ArrowField::new("value", arrow_type(&nodes.value), true);
            let entries = DataType::Struct(vec![key, value].into());
            DataType::Map(Arc::new(ArrowField::new("key_value", entries, false)), false)
        }
        (Shape::Struct(fields), _) => DataType::Struct(arrow_fields(fields).into()),
    }
}

fn parquet_fields(fields: &Fields) -> Result<Vec<TypePtr>, ParquetError> {
    let fields = fields.list.iter();
    let converted =
        fields.map(|field| parquet_type(&field.name, &field.node, Repetition::OPTIONAL));
    converted.collect()
}

fn parquet_type(name: &str, node: &Node, repetition: Repetition) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match (&node.shape, &node.hive_type) {
        (Shape::Boolean, _) => (PhysicalType::BOOLEAN, None),
        (Shape::Integer, HiveType::TinyInt) => (PhysicalType::INT32, Some(signed(8))),
        (Shape::Integer, HiveType::SmallInt) => (PhysicalType::INT32, Some(signed(16))),
        (Shape::Integer, HiveType::Int) => (PhysicalType::INT32, None),
        (Shape::Integer, _) => (PhysicalType::INT64, None),
        (Shape::Float, _) => (PhysicalType::FLOAT, None),
        (Shape::Double, _) => (PhysicalType::DOUBLE, None),
        (Shape::Decimal { precision, scale }, _) => {
            return parquet_decimal(name, *precision, *scale, repetition);
        }
        (Shape::Text { .. }, _) => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        (Shape::Date, _) => (PhysicalType::INT32, Some(LogicalType::Date)),
        (Shape::Binary(_), _) => (PhysicalType::BYTE_ARRAY, None),
        (Shape::Timestamp(TimestampForm::Micros), _) => {
            (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
        }
        (Shape::Timestamp(TimestampForm::Millis), _) => {
            (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS)))
        }
        (Shape::Timestamp(TimestampForm::Int96), _) => (PhysicalType::INT96, None),
        (Shape::List(item), _) => {
            let element = parquet_type("element", item, Repetition::OPTIONAL)?;
            let list = group("list", Repetition::REPEATED, None, vec![element])?;
            return group(name, repetition, Some(LogicalType::List), vec![list]);
        }
        (Shape::Map(nodes), _) => {
            let key = parquet_type("key", &nodes.key, Repetition::REQUIRED)?;
            let value = parquet_type("value", &nodes.value, Repetition::OPTIONAL)?;
            let entries = group("key_value", Repetition::REPEATED, None, vec![key, value])?;
            return group(name, repetition, Some(LogicalType::Map), vec![entries]);
        }
        (Shape::Struct(fields), _) => {
            return group(name, repetition, None, parquet_fields(fields)?);
        }
    };
    let leaf = Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(leaf))
}

fn parquet_decimal(
    name: &str,
    precision: u8,
    scale: u8,
    repetition: Repetition,
) -> Result<TypePtr, ParquetError> {
    let (precision, scale) = (i32::from(precision), i32::from(scale));
    let leaf = Type::primitive_type_builder(name, PhysicalType::FIXED_LEN_BYTE_ARRAY)
        .with_repetition(repetition)
        .with_logical_type(Some(LogicalType::decimal(scale, precision)))
        .with_length(decimal_bytes(precision as u32))
        .with_precision(precision)
        .with_scale(scale)
        .build()?;
    Ok(Arc::new(leaf))
}

fn group(
    name: &str,
    repetition: Repetition,
    logical: Option<LogicalType>,
    fields: Vec<TypePtr>,
) -> Result<TypePtr, ParquetError> {
    let group = Type::group_type_builder(name)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_fields(fields)
        .build()?;
    Ok(Arc::new(group))
}

fn signed(bit_width: i8) -> LogicalType {
    LogicalType::integer(bit_width, true)
}

/// The fewest bytes whose two's complement holds every number of `digit_count` digits.
fn decimal_bytes(digit_count: u32) -> i32 {
    let largest = 10u128.pow(digit_count) - 1;
    let bit_count = largest.ilog2() + 2; // The highest bit's place, counted from 1, and the sign.
    bit_count.div_ceil(8) as i32
}
