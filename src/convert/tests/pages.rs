//! Columns of every shape through the pages, by the Parquet library's reader: the same values, and
//! bounds that hold.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, Schema as ArrowSchema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::BoundaryOrder;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

use super::columns;
use crate::convert::file::Writer;
use crate::convert::reference::show;
use crate::convert::{
    Dictionary, ParquetCompression, ParquetOptions, Schema, TimestampForm, WriterVersion, int96,
};

/// Numbers that look like chance and are the same on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 27
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// How the values of a column are spread.
#[derive(Clone, Copy, Debug)]
struct Spread {
    /// Different values, about.
    distinct: u64,
    /// One value in so many is null; none for 0.
    null_one_of: u64,
    /// Values grow with their rows.
    ascends: bool,
}

impl Spread {
    fn number(self, chance: &mut Chance, row: usize) -> i64 {
        let number = chance.below(self.distinct) as i64 - self.distinct as i64 / 3;
        if self.ascends { row as i64 * 1000 + number % 1000 } else { number }
    }
}

/// An array of a type, in which what `is_there` denies is null.
fn array(
    data_type: &DataType,
    nullable: bool,
    is_there: &[bool],
    spread: Spread,
    chance: &mut Chance,
) -> ArrayRef {
    let valid: Vec<bool> = is_there
        .iter()
        .map(|is_there| {
            let is_null = spread.null_one_of > 0 && chance.below(spread.null_one_of) == 0;
            *is_there && !(nullable && is_null)
        })
        .collect();
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid.clone()));
    let count = valid.len();
    let numbers = |chance: &mut Chance| {
        (0..count).map(|row| spread.number(chance, row)).collect::<Vec<i64>>()
    };
    macro_rules! primitive {
        ($array:ident, $convert:expr) => {
            Arc::new($array::new(
                numbers(chance).into_iter().map($convert).collect::<Vec<_>>().into(),
                nulls,
            ))
        };
    }
    let text = |chance: &mut Chance| {
        let number = spread.number(chance, 0);
        let long = if chance.below(20) == 0 { "é".repeat(45) } else { String::new() };
        format!("{}{number}", if number % 2 == 0 { "text " } else { &long })
    };
    match data_type {
        DataType::Boolean => {
            let values: Vec<bool> = numbers(chance).iter().map(|n| n % 3 == 0).collect();
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        DataType::Int8 => primitive!(Int8Array, |n| n as i8),
        DataType::Int16 => primitive!(Int16Array, |n| n as i16),
        DataType::Int32 => primitive!(Int32Array, |n| n as i32),
        DataType::Int64 => primitive!(Int64Array, |n| n.wrapping_mul(0x1234_5678_9abc)),
        DataType::Date32 => primitive!(Date32Array, |n| n as i32 % 20_000),
        DataType::Float32 => primitive!(Float32Array, |n| n as f32 / 8.0),
        DataType::Float64 => primitive!(Float64Array, |n| n as f64 / 8.0),
        DataType::Decimal128(precision, scale) => {
            let top = 10i128.pow(u32::from(*precision)) - 1;
            let values: Vec<i128> = numbers(chance)
                .iter()
                .map(|n| (i128::from(*n) << 60 ^ i128::from(*n)) % top)
                .collect();
            let array = Decimal128Array::new(values.into(), nulls);
            Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let values = numbers(chance).into();
            let array = TimestampMillisecondArray::new(values, nulls);
            Arc::new(array.with_data_type(data_type.clone()))
        }
        DataType::Timestamp(..) => {
            let values = numbers(chance).into();
            let array = TimestampMicrosecondArray::new(values, nulls);
            Arc::new(array.with_data_type(data_type.clone()))
        }
        DataType::FixedSizeBinary(width) => {
            let bytes: Vec<u8> = numbers(chance).into_iter().flat_map(int96::value).collect();
            Arc::new(FixedSizeBinaryArray::new(*width, bytes.into(), nulls))
        }
        DataType::Utf8 => {
            Arc::new(StringArray::from_iter(valid.iter().map(|valid| valid.then(|| text(chance)))))
        }
        DataType::Binary => Arc::new(BinaryArray::from_iter(
            valid.iter().map(|valid| valid.then(|| text(chance).into_bytes())),
        )),
        DataType::List(item) => {
            let (offsets, items) = lists(&valid, chance);
            let items =
                array(item.data_type(), item.is_nullable(), &vec![true; items], spread, chance);
            Arc::new(ListArray::new(item.clone(), offsets, items, nulls))
        }
        DataType::Map(entry, _) => {
            let (offsets, items) = lists(&valid, chance);
            let entries = array(entry.data_type(), false, &vec![true; items], spread, chance);
            let entries = entries.as_any().downcast_ref::<StructArray>().unwrap().clone();
            Arc::new(MapArray::new(entry.clone(), offsets, entries, nulls, false))
        }
        DataType::Struct(fields) => {
            let columns = fields
                .iter()
                .map(|field| array(field.data_type(), field.is_nullable(), &valid, spread, chance))
                .collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        other => panic!("no column has the type {other}"),
    }
}

/// Lists of few items, some empty, and how many items they have.
fn lists(valid: &[bool], chance: &mut Chance) -> (OffsetBuffer<i32>, usize) {
    let lengths: Vec<usize> =
        valid.iter().map(|valid| if *valid { chance.below(4) as usize } else { 0 }).collect();
    let items = lengths.iter().sum();
    (OffsetBuffer::from_lengths(lengths), items)
}

const TYPES: [&str; 20] = [
    "boolean",
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "decimal(5,2)",
    "decimal(18,4)",
    "decimal(38,10)",
    "string",
    "binary",
    "date",
    "timestamp",
    "array<int>",
    "array<array<string>>",
    "map<string,bigint>",
    "struct<a:int,b:struct<c:string,d:array<double>>>",
    "array<struct<x:string,y:map<date,array<boolean>>>>",
    "map<timestamp,struct<k:decimal(10,2),l:array<timestamp>>>",
];

fn options() -> impl Strategy<Value = ParquetOptions> {
    let compressions = [
        ParquetCompression::Snappy,
        ParquetCompression::Zstd,
        ParquetCompression::Gzip,
        ParquetCompression::None,
    ];
    let dictionaries = [Dictionary::Auto, Dictionary::Always, Dictionary::Never];
    let forms = [TimestampForm::Micros, TimestampForm::Millis, TimestampForm::Int96];
    (
        prop::sample::select(compressions.to_vec()),
        prop::sample::select(dictionaries.to_vec()),
        prop::sample::select(forms.to_vec()),
        prop::sample::select(&[WriterVersion::V1, WriterVersion::V2][..]),
        prop::sample::select(&[200, 2000, 1 << 20][..]),
        prop::sample::select(&[None, Some(5000)][..]),
    )
        .prop_map(|(compression, dictionary, timestamps, version, page_bytes, group_bytes)| {
            ParquetOptions {
                compression,
                dictionary,
                timestamps,
                writer_version: version,
                page_bytes,
                row_group_bytes: group_bytes,
                ..ParquetOptions::default()
            }
        })
}

fn spread() -> impl Strategy<Value = Spread> {
    let distinct = prop::sample::select(&[1, 2, 7, 300, 1 << 40][..]);
    let null_one_of = prop::sample::select(&[0, 1, 2, 30][..]);
    (distinct, null_one_of, any::<bool>()).prop_map(|(distinct, null_one_of, ascends)| Spread {
        distinct,
        null_one_of,
        ascends,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_goes_into_pages_comes_out_and_lies_within_their_bounds(
        types in prop::collection::vec((prop::sample::select(&TYPES[..]), spread()), 1..6),
        batch_rows in prop::collection::vec(0..700usize, 1..8),
        options in options(),
        seed in any::<u64>(),
    ) {
        let names: Vec<String> = (0..types.len()).map(|n| format!("c{n}")).collect();
        let named = names.iter().zip(&types).map(|(name, (hive_type, _))| (name.as_str(), *hive_type));
        let schema = columns(&named.collect::<Vec<_>>());
        let schema = Arc::new(Schema::with_options(&schema, options).unwrap());
        let mut chance = Chance(seed);
        let mut batches = vec![];
        for rows in batch_rows {
            let fields = schema.arrow.fields().iter().zip(&types);
            let arrays = fields.map(|(field, (_, spread))| {
                array(field.data_type(), true, &vec![true; rows], *spread, &mut chance)
            });
            batches.push(RecordBatch::try_new(schema.arrow.clone(), arrays.collect()).unwrap());
        }
        let write = || {
            let mut writer = Writer::new(&schema);
            for batch in &batches {
                writer.write(batch, batch.num_rows() * 60).unwrap();
            }
            Bytes::from(writer.finish(&[]).unwrap())
        };
        let file = write();
        prop_assert!(write() == file, "equal batches made other bytes");
        let expected: Vec<String> = batches.iter().flat_map(shown).collect();
        let found: Vec<String> = read(&file, &schema).iter().flat_map(shown).collect();
        prop_assert!(found == expected, "{found:?} instead of {expected:?}");
        check_bounds(&file);
    }
}

/// The rows of a batch.
fn shown(batch: &RecordBatch) -> Vec<String> {
    let row = |row| {
        let values = batch.columns().iter().map(|column| show(column, row));
        values.collect::<Vec<_>>().join("|")
    };
    (0..batch.num_rows()).map(row).collect()
}

fn read(file: &Bytes, schema: &Schema) -> Vec<RecordBatch> {
    // Otherwise INT96 comes as nanoseconds, which do not reach so far.
    let options = match schema.options.timestamps {
        TimestampForm::Int96 => {
            let fields: Vec<_> = schema.arrow.fields().iter().map(|f| as_micros(f)).collect();
            ArrowReaderOptions::new().with_schema(Arc::new(ArrowSchema::new(fields)))
        }
        _ => ArrowReaderOptions::new(),
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options);
    builder.unwrap().build().unwrap().map(Result::unwrap).collect()
}

/// The field with times instead of INT96, and with the names that lists have in files.
fn as_micros(field: &Field) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::FixedSizeBinary(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::List(item) => {
            DataType::List(Arc::new(as_micros(item).as_ref().clone().with_name("element")))
        }
        DataType::Map(entry, sorted) => DataType::Map(as_micros(entry), *sorted),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| as_micros(field)).collect())
        }
        other => other.clone(),
    };
    Arc::new(field.clone().with_data_type(data_type))
}

/// A value that compares as its type defines.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Value {
    Number(i128),
    Float(f64),
    Bytes(Vec<u8>),
}

/// The values of an array without its nulls.
fn ordered(array: &dyn Array) -> Vec<Value> {
    macro_rules! numbers {
        ($arrow:ty) => {
            array
                .as_primitive::<$arrow>()
                .iter()
                .flatten()
                .map(|n| Value::Number(n.into()))
                .collect()
        };
    }
    match array.data_type() {
        DataType::Boolean => {
            array.as_boolean().iter().flatten().map(|b| Value::Number(b.into())).collect()
        }
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::Date32 => numbers!(Date32Type),
        DataType::Decimal128(..) => numbers!(Decimal128Type),
        DataType::Timestamp(TimeUnit::Millisecond, _) => numbers!(TimestampMillisecondType),
        DataType::Timestamp(..) => numbers!(TimestampMicrosecondType),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().iter().flatten();
            values.map(|n| Value::Float(n.into())).collect()
        }
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().iter().flatten().map(Value::Float).collect()
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>().iter().flatten();
            values.map(|text| Value::Bytes(text.into())).collect()
        }
        DataType::Binary => {
            array.as_binary::<i32>().iter().flatten().map(|b| Value::Bytes(b.to_vec())).collect()
        }
        _ => vec![],
    }
}

/// A big-endian number in two's complement.
fn decimal(bytes: &[u8]) -> Value {
    let sign = if bytes[0] >= 0x80 { -1 } else { 0 };
    Value::Number(bytes.iter().fold(sign, |number, byte| number << 8 | i128::from(*byte)))
}

/// The bounds of a page by the index.
fn bounds(index: &ColumnIndexMetaData, page: usize) -> Option<(Value, Value)> {
    macro_rules! of {
        ($index:expr, $value:expr) => {
            Some(($value($index.min_value(page)?), $value($index.max_value(page)?)))
        };
    }
    match index {
        ColumnIndexMetaData::BOOLEAN(index) => of!(index, |b: &bool| Value::Number((*b).into())),
        ColumnIndexMetaData::INT32(index) => of!(index, |n: &i32| Value::Number((*n).into())),
        ColumnIndexMetaData::INT64(index) => of!(index, |n: &i64| Value::Number((*n).into())),
        ColumnIndexMetaData::FLOAT(index) => of!(index, |n: &f32| Value::Float((*n).into())),
        ColumnIndexMetaData::DOUBLE(index) => of!(index, |n: &f64| Value::Float(*n)),
        ColumnIndexMetaData::BYTE_ARRAY(index) => of!(index, |b: &[u8]| Value::Bytes(b.into())),
        ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index) => of!(index, decimal),
        _ => None,
    }
}

/// The bounds of a chunk by the footer.
fn chunk_bounds(statistics: &Statistics) -> Option<(Value, Value)> {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    Some(match statistics {
        Statistics::Boolean(s) => {
            (Value::Number((*s.min_opt()?).into()), Value::Number((*s.max_opt()?).into()))
        }
        Statistics::Int32(s) => {
            (Value::Number((*s.min_opt()?).into()), Value::Number((*s.max_opt()?).into()))
        }
        Statistics::Int64(s) => {
            (Value::Number((*s.min_opt()?).into()), Value::Number((*s.max_opt()?).into()))
        }
        Statistics::Float(s) => {
            (Value::Float((*s.min_opt()?).into()), Value::Float((*s.max_opt()?).into()))
        }
        Statistics::Double(s) => (Value::Float(*s.min_opt()?), Value::Float(*s.max_opt()?)),
        Statistics::ByteArray(s) => (bytes(s.min_bytes_opt()?), bytes(s.max_bytes_opt()?)),
        Statistics::FixedLenByteArray(s) => {
            (decimal(s.min_bytes_opt()?), decimal(s.max_bytes_opt()?))
        }
        Statistics::Int96(_) => return None,
    })
}

/// Sees that `bounds` are those of `values`; texts may be cut, and then lie beyond them.
fn check(values: &[Value], bounds: Option<(Value, Value)>) {
    let Some((least, greatest)) = bounds else {
        assert!(values.is_empty(), "no bounds of {values:?}");
        return;
    };
    let found_least = values.iter().min_by(|a, b| a.partial_cmp(b).unwrap()).unwrap();
    let found_greatest = values.iter().max_by(|a, b| a.partial_cmp(b).unwrap()).unwrap();
    let is_cut = |bound: &Value| matches!(bound, Value::Bytes(bytes) if bytes.len() > 60);
    assert!(least == *found_least || is_cut(&least) && least < *found_least, "{least:?}");
    assert!(
        greatest == *found_greatest || is_cut(&greatest) && greatest > *found_greatest,
        "{greatest:?}"
    );
}

/// Sees that pages and chunks of columns that are not nested have the bounds of their values, and that
/// pages have the rows that the index says.
fn check_bounds(file: &Bytes) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(file, options).unwrap();
    let parquet = metadata.metadata().clone();
    for (at, group) in parquet.row_groups().iter().enumerate() {
        let rows = group.num_rows() as usize;
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone());
        let mut reader = builder.with_row_groups(vec![at]).with_batch_size(rows).build().unwrap();
        let batch = reader.next().unwrap().unwrap();
        for (leaf, column) in group.columns().iter().enumerate() {
            let root = parquet.file_metadata().schema_descr().get_column_root_idx(leaf);
            let array = batch.column(root);
            if array.data_type().is_nested() || column.statistics().is_none() {
                continue;
            }
            let statistics = column.statistics().unwrap();
            assert_eq!(statistics.null_count_opt(), Some(array.null_count() as u64));
            check(&ordered(array), chunk_bounds(statistics));
            let Some(index) = parquet.page_index() else { continue };
            let pages = index.offset_index(at, leaf).unwrap().page_locations();
            let index = index.column_index(at, leaf).unwrap();
            assert_eq!(index.num_pages() as usize, pages.len());
            let mut all = vec![];
            for (page, location) in pages.iter().enumerate() {
                let first = location.first_row_index as usize;
                let next = pages.get(page + 1).map_or(rows, |next| next.first_row_index as usize);
                let values = array.slice(first, next - first);
                check(&ordered(&values), bounds(index, page));
                assert_eq!(index.null_count(page), Some(values.null_count() as i64));
                assert_eq!(index.is_null_page(page), values.null_count() == values.len());
                all.extend(bounds(index, page));
            }
            let is_ascending =
                all.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1);
            let is_said = index.get_boundary_order() == Some(BoundaryOrder::ASCENDING);
            assert!(is_ascending || !is_said);
            // Bounds of cut texts may be equal where the texts are not.
            assert!(
                is_said || !is_ascending || matches!(index, ColumnIndexMetaData::BYTE_ARRAY(_))
            );
        }
    }
}
