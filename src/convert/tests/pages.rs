//! Columns of every shape through the pages, by the Parquet library's reader: the same values, and
//! bounds that hold.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema as ArrowSchema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::BoundaryOrder;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

use super::arrays::{Chance, Spread, array};
use super::{columns, convert};
use crate::convert::file::Writer;
use crate::convert::reference::show;
use crate::convert::{
    Dictionary, ParquetCompression, ParquetOptions, Schema, TimestampForm, WriterVersion,
};

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

/// A file of one batch of flat columns, cut into batches of 500 rows.
fn written(
    types: &[(&str, &str)],
    rows: usize,
    spread: Spread,
    options: ParquetOptions,
) -> (Bytes, RecordBatch) {
    let schema = Arc::new(Schema::with_options(&columns(types), options).unwrap());
    let mut chance = Chance(7);
    let fields = schema.arrow.fields().iter();
    let arrays = fields
        .map(|field| array(field.data_type(), true, &vec![true; rows], spread, &mut chance))
        .collect();
    let batch = RecordBatch::try_new(schema.arrow.clone(), arrays).unwrap();
    let mut writer = Writer::new(&schema);
    for start in (0..rows).step_by(500) {
        let length = 500.min(rows - start);
        writer.write(&batch.slice(start, length), length * 60).unwrap();
    }
    (writer.finish(&[]).unwrap().into(), batch)
}

#[test]
fn rows_are_sorted_within_each_row_group_and_the_footer_says_so() {
    let types = [
        ("list", "array<int>"),
        ("text", "string"),
        ("flag", "boolean"),
        ("price", "decimal(10,2)"),
        ("number", "double"),
        ("at", "timestamp"),
    ];
    let spread = Spread { distinct: 40, null_one_of: 9, ascends: false };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (sort_by, leaves) in [
        (names(&["text", "number", "price"]), vec![1, 4, 3]),
        (names(&["at"]), vec![5]),
        (names(&["flag", "at", "text", "gone", "list"]), vec![2, 5, 1]),
    ] {
        let options =
            ParquetOptions { sort_by, row_group_bytes: Some(30_000), ..ParquetOptions::default() };
        let (file, batch) = written(&types, 5000, spread, options);
        let reader = SerializedFileReader::new(file.clone()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 3);
        let mut all = vec![];
        for (at, group) in reader.metadata().row_groups().iter().enumerate() {
            let said = group.sorting_columns().unwrap().iter().map(|column| column.column_idx);
            assert_eq!(said.collect::<Vec<_>>(), leaves);
            let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
            let builder = builder.with_row_groups(vec![at]).with_batch_size(5000);
            let rows = builder.build().unwrap().next().unwrap().unwrap();
            let key = |row: usize| {
                let value = |leaf: &i32| ordered(&rows.column(*leaf as usize).slice(row, 1)).pop();
                leaves.iter().map(value).collect::<Vec<_>>()
            };
            let keys: Vec<_> = (0..rows.num_rows()).map(key).collect();
            assert!(keys.windows(2).all(|pair| pair[0] <= pair[1]), "{keys:?}");
            all.extend(shown(&rows));
        }
        let mut expected = shown(&batch);
        all.sort();
        expected.sort();
        assert!(all == expected);
        check_bounds(&file);
    }
}

#[test]
fn a_bloom_filter_has_every_value_of_its_row_group_and_few_others() {
    let types = [
        ("id", "string"),
        ("word", "string"),
        ("number", "bigint"),
        ("price", "decimal(10,2)"),
        ("flag", "boolean"),
        ("other", "string"),
    ];
    let names = ["id", "word", "number", "price", "flag", "gone"].map(str::to_owned).to_vec();
    for (dictionary, distinct) in [(Dictionary::Auto, 1 << 40), (Dictionary::Always, 50)] {
        let options =
            ParquetOptions { bloom_filters: names.clone(), dictionary, ..Default::default() };
        let spread = Spread { distinct, null_one_of: 5, ascends: false };
        let (file, batch) = written(&types, 4000, spread, options);
        let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
        let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
        let reader = SerializedFileReader::new_with_options(file, options).unwrap();
        let group = reader.get_row_group(0).unwrap();
        for (at, (name, _)) in types.iter().enumerate() {
            let has_one = at < 4;
            let filter = group.get_column_bloom_filter(at);
            assert_eq!(filter.is_some(), has_one, "{name}");
            let Some(filter) = filter else { continue };
            let found = |value: Value| match value {
                Value::Bytes(bytes) => filter.check(&bytes[..]),
                Value::Number(number) if at == 2 => filter.check(&(number as i64)),
                Value::Number(number) => filter.check(&number.to_be_bytes()[11..]),
                Value::Float(number) => filter.check(&number),
            };
            assert!(ordered(batch.column(at)).into_iter().all(found), "{name}");
            let strangers = (0..2000).filter(|n| match at {
                0 | 1 => filter.check(format!("stranger {n}").as_bytes()),
                2 => filter.check(&(i64::MIN + n)),
                _ => filter.check(&(i128::MAX / 3 + i128::from(*n)).to_be_bytes()[11..]),
            });
            assert!(strangers.count() < 100, "{name}");
            // Few values fold to a small filter.
            assert!(distinct > 50 || filter.num_blocks() < 16, "{name}: {}", filter.num_blocks());
        }
    }
}

#[test]
fn a_bloom_filter_has_both_zeros_when_it_has_one() {
    let options = ParquetOptions { bloom_filters: vec!["x".to_owned()], ..Default::default() };
    let schema = Arc::new(Schema::with_options(&columns(&[("x", "double")]), options).unwrap());
    for zero in ["0.0", "-0.0"] {
        let (file, _) = convert(&schema, &[format!("{{\"x\":{zero}}}").as_bytes()]);
        let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
        let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
        let file = Bytes::from(file.bytes);
        let reader = SerializedFileReader::new_with_options(file, options).unwrap();
        let group = reader.get_row_group(0).unwrap();
        let filter = group.get_column_bloom_filter(0).expect("it was asked for");
        assert!(filter.check(&0.0f64) && filter.check(&-0.0f64) && !filter.check(&1.0f64));
    }
}

#[test]
fn a_record_of_very_many_rows_makes_pages_of_twenty_thousand_at_the_most() {
    let schema = Arc::new(Schema::new(&columns(&[("x", "int")])).unwrap());
    let (file, _) = convert(&schema, &["{}".repeat(90_001).as_bytes(), b"{\"x\":1}"]);
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = ArrowReaderMetadata::load(&Bytes::from(file.bytes), options).unwrap();
    let index = metadata.metadata().page_index().expect("it was asked for");
    let pages = index.offset_index(0, 0).unwrap().page_locations().iter();
    let starts: Vec<i64> = pages.map(|page| page.first_row_index).chain([90_002]).collect();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 20_000), "{starts:?}");
    assert!(starts.len() <= 7, "{starts:?}");
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
