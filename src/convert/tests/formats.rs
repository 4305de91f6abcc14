//! The options of a format: what each changes in the file, and what none of them changes.

use std::io::Read as _;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_schema::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{ColumnOrder, Compression};
use parquet::column::page::Page;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::printer::print_schema;
use proptest::prelude::*;

use super::{columns, convert, rows, schema};
use crate::convert::{
    BinaryText, Delimiter, Dictionary, Encoded, Encoder, Format, ParquetCompression,
    ParquetOptions, RecordsCompression, RecordsOptions, Schema, TimestampForm, WriterVersion,
    int96,
};

fn schema_with(types: &[(&str, &str)], options: ParquetOptions) -> Arc<Schema> {
    Arc::new(Schema::with_options(&columns(types), options).unwrap())
}

fn timestamps(form: TimestampForm) -> ParquetOptions {
    ParquetOptions { timestamps: form, ..ParquetOptions::default() }
}

fn reader(encoded: &Encoded) -> SerializedFileReader<bytes::Bytes> {
    SerializedFileReader::new(bytes::Bytes::from(encoded.bytes.clone())).unwrap()
}

#[test]
fn each_form_of_timestamps_has_its_type_in_the_file() {
    let types = [
        ("at", "timestamp"),
        ("all", "array<timestamp>"),
        ("by", "map<timestamp,struct<seen:timestamp>>"),
    ];
    let golden = |leaf: &str| {
        format!(
            "\
message hive_schema {{
  OPTIONAL {};
  OPTIONAL group all (LIST) {{
    REPEATED group list {{
      OPTIONAL {};
    }}
  }}
  OPTIONAL group by (MAP) {{
    REPEATED group key_value {{
      REQUIRED {};
      OPTIONAL group value {{
        OPTIONAL {};
      }}
    }}
  }}
}}
",
            leaf.replace('@', "at"),
            leaf.replace('@', "element"),
            leaf.replace('@', "key"),
            leaf.replace('@', "seen"),
        )
    };
    let record = br#"{"at":1,"all":[1,null],"by":{"1":{"seen":2}}}"#;
    for (form, leaf) in [
        (TimestampForm::Micros, "INT64 @ (TIMESTAMP(MICROS,true))"),
        (TimestampForm::Millis, "INT64 @ (TIMESTAMP(MILLIS,true))"),
        (TimestampForm::Int96, "INT96 @"),
    ] {
        let (encoded, _) = convert(&schema_with(&types, timestamps(form)), &[record]);
        let reader = reader(&encoded);
        let mut printed = vec![];
        print_schema(&mut printed, reader.metadata().file_metadata().schema());
        assert_eq!(String::from_utf8(printed).unwrap(), golden(leaf));
        let has_statistics = form != TimestampForm::Int96;
        for column in reader.metadata().row_group(0).columns() {
            assert_eq!(column.statistics().is_some(), has_statistics, "{form:?}");
        }
    }
}

#[test]
fn a_timestamp_in_int96_is_nanoseconds_of_a_julian_day() {
    // 2018-02-07T19:58:48Z.
    let bytes = int96::value(1_518_033_528_000_000);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "00b0e30a6b4100002d822500");
}

#[test]
fn milliseconds_leave_out_later_digits_also_before_1970() {
    let schema = schema_with(&[("at", "timestamp")], timestamps(TimestampForm::Millis));
    let record = br#"{"at":"1969-12-31T23:59:59.123999Z"}{"at":"2026-01-01T00:00:00.000999Z"}"#;
    let (encoded, rejections) = convert(&schema, &[record]);
    assert_eq!(rejections, []);
    assert_eq!(rows(&encoded), ["-877", "1767225600000"]);
}

/// Timestamps of a column `at`, and of the items of a column `all`, whatever their form is.
fn micros(encoded: &Encoded) -> Vec<(Option<i64>, Vec<Option<i64>>)> {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let element = Arc::new(Field::new("element", time(), true));
    let fields = vec![
        Field::new("at", time(), true),
        Field::new("all", DataType::List(element), true),
        Field::new("n", DataType::Int32, true),
    ];
    let wanted = ArrowReaderOptions::new().with_schema(Arc::new(ArrowSchema::new(fields)));
    let bytes = bytes::Bytes::from(encoded.bytes.clone());
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, wanted).unwrap();
    let mut found = vec![];
    for batch in builder.build().unwrap() {
        let batch = batch.unwrap();
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let lists = batch.column(1).as_list::<i32>();
        for (time, list) in times.iter().zip(lists.iter()) {
            let list = list.map(|items| {
                items.as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>()
            });
            found.push((time, list.unwrap_or_default()));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn timestamps_in_int96_read_back_to_the_microsecond(
        times in prop::collection::vec(
            (
                prop::option::of(-62_135_596_800_000_000..=253_402_300_799_999_999i64),
                prop::collection::vec(prop::option::of(0..2_000_000_000_000_000i64), 0..4),
            ),
            0..300,
        ),
        repeats in any::<bool>(),
    ) {
        let types = [("at", "timestamp"), ("all", "array<timestamp>"), ("n", "int")];
        let schema = schema_with(&types, timestamps(TimestampForm::Int96));
        let text = |micros: &Option<i64>| match micros {
            Some(micros) => {
                let time = chrono::DateTime::from_timestamp_micros(*micros).unwrap();
                format!("\"{}\"", time.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
            }
            None => "null".to_owned(),
        };
        // Repeated values go through a dictionary.
        let times: Vec<_> =
            if repeats { [&times[..], &times, &times].concat() } else { times };
        let mut encoder = Encoder::new(&Format::Parquet(schema)).unwrap();
        for (at, all) in &times {
            let all: Vec<String> = all.iter().map(text).collect();
            let record = format!("{{\"at\":{},\"all\":[{}],\"n\":7}}", text(at), all.join(","));
            encoder.push(record.as_bytes()).unwrap();
        }
        let encoded = encoder.finish(&[("k".to_owned(), "v".to_owned())]).unwrap();
        prop_assert_eq!(micros(&encoded), times);
        let reader = reader(&encoded);
        let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
        prop_assert_eq!(&pairs[0].key, "k");
    }

    #[test]
    fn records_come_out_as_they_were_whatever_compresses_them(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40),
        newlines in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut records = records;
        for (record, ends) in records.iter_mut().zip(newlines) {
            if ends {
                record.push(b'\n');
            }
        }
        for delimiter in [Delimiter::None, Delimiter::Newline, Delimiter::NewlineAtEnd] {
            let mut expected = vec![];
            for (index, record) in records.iter().enumerate() {
                expected.extend_from_slice(record);
                let is_last = index + 1 == records.len();
                let is_wanted = match delimiter {
                    Delimiter::None => false,
                    Delimiter::Newline => !is_last,
                    Delimiter::NewlineAtEnd => true,
                };
                if is_wanted && !record.ends_with(b"\n") {
                    expected.push(b'\n');
                }
            }
            for compression in COMPRESSIONS {
                let options = RecordsOptions { compression, delimiter };
                let encoded = deliver(options, &records);
                prop_assert_eq!(encoded.row_count, records.len() as u64);
                prop_assert_eq!(&unpack(compression, &encoded.bytes), &expected);
                if compression != RecordsCompression::Zip {
                    prop_assert_eq!(deliver(options, &records), encoded);
                }
            }
        }
    }

    #[test]
    fn binary_values_come_back_from_base64(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20),
    ) {
        use base64::Engine as _;
        let schema = schema(&[("v", "binary"), ("by", "map<binary,binary>")]);
        let text = |bytes: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
        let records: Vec<String> = values
            .iter()
            .map(|value| {
                // A solidus may be escaped.
                let text = text(value).replace('/', "\\/");
                format!("{{\"v\":\"{text}\",\"by\":{{\"{text}\":\"{text}\"}}}}")
            })
            .collect();
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        let (encoded, rejections) = convert(&schema, &records);
        prop_assert_eq!(rejections, []);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let expected: Vec<String> = values
            .iter()
            .map(|value| { let hex = hex(value); format!("0x{hex}|{{0x{hex}=0x{hex}}}") })
            .collect();
        prop_assert_eq!(rows(&encoded), expected);
    }
}

const COMPRESSIONS: [RecordsCompression; 6] = [
    RecordsCompression::None,
    RecordsCompression::Gzip,
    RecordsCompression::Zip,
    RecordsCompression::Snappy,
    RecordsCompression::HadoopSnappy,
    RecordsCompression::Zstd,
];

fn deliver(options: RecordsOptions, records: &[Vec<u8>]) -> Encoded {
    let mut encoder = Encoder::new(&Format::Records(options)).unwrap();
    for record in records {
        assert_eq!(encoder.push(record).unwrap().row_count, 1);
    }
    assert_eq!(encoder.row_count(), records.len() as u64);
    encoder.finish(&[]).unwrap()
}

fn unpack(compression: RecordsCompression, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    match compression {
        RecordsCompression::None => out.extend_from_slice(bytes),
        // Of one member: what stood behind it would be missing.
        RecordsCompression::Gzip => {
            flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).map(drop).unwrap();
        }
        RecordsCompression::Zip => out = unzip(bytes).1,
        RecordsCompression::Snappy => {
            let (header, blocks) = bytes.split_at(16);
            assert_eq!(header, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
            unpack_blocks(blocks, false, &mut out);
        }
        RecordsCompression::HadoopSnappy => unpack_blocks(bytes, true, &mut out),
        RecordsCompression::Zstd => out = zstd::stream::decode_all(bytes).unwrap(),
    }
    out
}

fn unpack_blocks(mut rest: &[u8], tells_size: bool, out: &mut Vec<u8>) {
    let number = |rest: &mut &[u8]| {
        let (number, behind) = rest.split_first_chunk().unwrap();
        *rest = behind;
        u32::from_be_bytes(*number) as usize
    };
    while !rest.is_empty() {
        let size = tells_size.then(|| number(&mut rest));
        let length = number(&mut rest);
        let (block, behind) = rest.split_at(length);
        let block = snap::raw::Decoder::new().decompress_vec(block).unwrap();
        assert!(block.len() <= 32 << 10 && size.is_none_or(|size| size == block.len()));
        out.extend(block);
        rest = behind;
    }
}

/// The name of the one entry and what it holds, found from the archive's end as readers do it.
fn unzip(bytes: &[u8]) -> (String, Vec<u8>) {
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let end = bytes.len() - 22;
    assert_eq!((&bytes[end..end + 4], u16_at(end + 10)), (&b"PK\x05\x06"[..], 1));
    let directory = u32_at(end + 16);
    assert_eq!(directory + u32_at(end + 12), end);
    assert_eq!(&bytes[directory..directory + 4], b"PK\x01\x02");
    let name = &bytes[directory + 46..end];
    let header = 30 + u16_at(26) + u16_at(28);
    // Both headers say the same, from the version to the lengths.
    assert_eq!(bytes[4..30], bytes[directory + 6..directory + 32]);
    assert_eq!((&bytes[..4], &bytes[30..header]), (&b"PK\x03\x04"[..], name));
    let packed = &bytes[header..directory];
    assert_eq!(packed.len(), u32_at(18));
    let mut out = vec![];
    flate2::read::DeflateDecoder::new(packed).read_to_end(&mut out).unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(&out);
    assert_eq!((out.len(), crc.sum() as usize), (u32_at(22), u32_at(14)));
    (String::from_utf8(name.to_vec()).unwrap(), out)
}

#[test]
fn snappy_is_what_java_writes_to_the_byte() {
    let bytes = |compression| {
        let options = RecordsOptions { compression, ..RecordsOptions::default() };
        let encoded = deliver(options, &[b"a".to_vec(), b"bc".to_vec()]);
        encoded.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let xerial = "82534e41505059000000000100000001000000050308616263";
    assert_eq!(bytes(RecordsCompression::Snappy), xerial);
    assert_eq!(bytes(RecordsCompression::HadoopSnappy), "00000003000000050308616263");
}

#[test]
fn long_records_are_cut_into_blocks_of_32_kib() {
    let records = [vec![7; 100_000], vec![], vec![9; 31_072]];
    for compression in [RecordsCompression::Snappy, RecordsCompression::HadoopSnappy] {
        let options = RecordsOptions { compression, ..RecordsOptions::default() };
        let encoded = deliver(options, &records);
        assert_eq!(unpack(compression, &encoded.bytes), records.concat());
        // 131,072 bytes are four whole blocks, and nothing stands behind them.
        let header = if compression == RecordsCompression::Snappy { 16 } else { 0 };
        let first = encoded.bytes.split_at(header).1;
        assert!(first.len() < 4 * 2_000, "{} bytes", first.len());
    }
}

#[test]
fn the_entry_of_a_zip_archive_has_a_name_of_its_own() {
    let options =
        RecordsOptions { compression: RecordsCompression::Zip, ..RecordsOptions::default() };
    let names: Vec<String> =
        (0..2).map(|_| unzip(&deliver(options, &[b"abc".to_vec()]).bytes).0).collect();
    assert_ne!(names[0], names[1]);
    for name in names {
        let uuid = uuid::Uuid::parse_str(&name).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.to_string()), (4, name));
    }
}

#[test]
fn the_bytes_of_a_string_are_a_binary_value_when_asked_for() {
    let options = ParquetOptions { binary: BinaryText::Raw, ..ParquetOptions::default() };
    let schema = schema_with(&[("v", "binary")], options);
    let (encoded, rejections) =
        convert(&schema, &[br#"{"v":"a\u0000\n!"}"#, "{\"v\":\"é\"}".as_bytes(), br#"{"v":7}"#]);
    assert_eq!(rows(&encoded), ["0x61000a21", "0xc3a9"]);
    assert_eq!(rejections.len(), 1);
    assert!(rejections[0].message.contains("expected binary, found 7"), "{rejections:?}");
}

#[test]
fn every_compression_holds_the_same_rows() {
    let types = [("s", "string"), ("n", "int"), ("l", "array<timestamp>"), ("b", "binary")];
    let record = |n: u32| {
        let text = format!("text number {n}").repeat(3);
        format!("{{\"n\":{},\"s\":\"{text}\",\"l\":[{n}],\"b\":\"AAEC\"}}", n * n * 7919 % 65_521)
            .into_bytes()
    };
    let records: Vec<Vec<u8>> = (0..500).map(record).collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let plain = rows(&convert(&schema(&types), &records).0);
    for (compression, is_codec) in [
        (ParquetCompression::Snappy, (|c| c == Compression::SNAPPY) as fn(Compression) -> bool),
        (ParquetCompression::Zstd, |c| matches!(c, Compression::ZSTD(_))),
        (ParquetCompression::Gzip, |c| matches!(c, Compression::GZIP(_))),
        (ParquetCompression::None, |c| c == Compression::UNCOMPRESSED),
    ] {
        let options = ParquetOptions { compression, ..ParquetOptions::default() };
        let (encoded, _) = convert(&schema_with(&types, options), &records);
        assert_eq!(rows(&encoded), plain, "{compression:?}");
        // Where it gains nothing, it is left out.
        let reader = reader(&encoded);
        let columns = reader.metadata().row_group(0).columns();
        assert!(is_codec(columns[0].compression()), "{compression:?}");
        assert_eq!(columns[1].compression(), Compression::UNCOMPRESSED, "{compression:?}");
    }
}

#[test]
fn row_groups_pages_and_dictionaries_are_as_the_options_say() {
    let types = [("n", "int"), ("s", "string"), ("id", "string")];
    let record = |n: u32| {
        format!("{{\"n\":{n},\"s\":\"text {}\",\"id\":\"{:032}\"}}", n % 3, n * 7).into_bytes()
    };
    let records: Vec<Vec<u8>> = (0..60_000).map(record).collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let none = ParquetOptions { compression: ParquetCompression::None, ..Default::default() };
    let plain = rows(&convert(&schema(&types), &records).0);
    let dictionaries = |options: ParquetOptions| {
        let (encoded, _) = convert(&schema_with(&types, options), &records);
        assert_eq!(rows(&encoded), plain);
        let reader = reader(&encoded);
        let group = reader.metadata().row_group(0).clone();
        let has_one = |column: &parquet::file::metadata::ColumnChunkMetaData| {
            column.dictionary_page_offset().is_some()
        };
        let pages = |column: usize| {
            let group = reader.get_row_group(0).unwrap();
            let pages = group.get_column_page_reader(column).unwrap();
            pages.map(Result::unwrap).collect::<Vec<_>>()
        };
        let is_v2 = pages(2).iter().any(|page| matches!(page, Page::DataPageV2 { .. }));
        let columns: Vec<bool> = group.columns().iter().map(has_one).collect();
        (columns, pages(2).len(), reader.metadata().num_row_groups(), is_v2)
    };
    let (chosen, pages, groups, is_v2) = dictionaries(none.clone());
    assert_eq!((&chosen[..], groups, is_v2), (&[false, true, false][..], 1, false));
    let always = ParquetOptions { dictionary: Dictionary::Always, ..none.clone() };
    assert_eq!(dictionaries(always).0, [true; 3]);
    let never = ParquetOptions { dictionary: Dictionary::Never, ..none.clone() };
    assert_eq!(dictionaries(never).0, [false; 3]);
    let small = ParquetOptions { page_bytes: 64 << 10, ..none.clone() };
    let (_, small_pages, groups, _) = dictionaries(small);
    assert!(small_pages > 5 * pages && groups == 1, "{small_pages} pages, {pages}");
    let grouped = ParquetOptions { row_group_bytes: Some(1 << 20), ..none.clone() };
    assert_eq!(dictionaries(grouped).2, 2, "about 2 MB");
    let second = ParquetOptions { writer_version: WriterVersion::V2, ..none };
    assert!(dictionaries(second).3);
}

#[test]
fn every_column_is_ordered_as_its_type_defines() {
    let many: Vec<String> = (0..40).map(|n| format!("d{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "double")).collect();
    let few = [("d", "double"), ("l", "array<float>"), ("at", "timestamp"), ("s", "string")];
    for types in [&many[..], &few, &few[..1]] {
        for form in [TimestampForm::Micros, TimestampForm::Int96] {
            let (encoded, _) = convert(&schema_with(types, timestamps(form)), &[b"{\"d\":1.5}"]);
            let reader = reader(&encoded);
            let orders = reader.metadata().file_metadata().column_orders().unwrap();
            assert_eq!(orders.len(), types.len());
            for order in orders {
                assert!(matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_)), "{order:?}");
            }
        }
    }
}

#[test]
fn names_and_stores_are_told_what_an_object_is() {
    let records =
        |compression| Format::Records(RecordsOptions { compression, ..RecordsOptions::default() });
    for (format, extension, encoding) in [
        (Format::Parquet(schema(&[("n", "int")])), ".parquet", None),
        (records(RecordsCompression::None), "", None),
        (records(RecordsCompression::Gzip), ".gz", Some("gzip")),
        (records(RecordsCompression::Zip), ".zip", Some("zip")),
        (records(RecordsCompression::Snappy), ".snappy", Some("snappy-java")),
        (records(RecordsCompression::HadoopSnappy), ".snappy", Some("hadoop-snappy")),
        (records(RecordsCompression::Zstd), ".zst", Some("zstd")),
    ] {
        assert_eq!((format.extension(), format.content_encoding()), (extension, encoding));
    }
}
