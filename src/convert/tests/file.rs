//! The Parquet file itself, schemas that cannot be, and failure lines.

use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::printer::print_schema;

use super::{convert, encoder, read, rows, schema};
use crate::convert::{
    Counted, FailureLine, ProcessingFailureLine, RejectCode, Rejection, Schema, TableName,
};
use crate::record::{Position, Record, UnixMillis};
use crate::table::{Column, HiveType};

#[test]
fn every_type_has_its_form_in_the_file() {
    let schema = schema(&[
        ("b", "boolean"),
        ("i8", "tinyint"),
        ("i16", "smallint"),
        ("I32", "int"),
        ("i64", "bigint"),
        ("f", "float"),
        ("d", "double"),
        ("d5", "decimal(5,2)"),
        ("d18", "decimal(18,4)"),
        ("d38", "decimal(38,10)"),
        ("s", "string"),
        ("c", "char(3)"),
        ("raw", "binary"),
        ("day", "date"),
        ("at", "timestamp"),
        ("l", "array<struct<x:int>>"),
        ("m", "map<string,decimal(2,0)>"),
    ]);
    let mut encoder = encoder(&schema);
    encoder.push(b"{}").unwrap();
    let metadata = [("lakehose.plan".to_owned(), "7".to_owned())];
    let encoded = encoder.finish(&metadata).unwrap();
    let reader = SerializedFileReader::new(bytes::Bytes::from(encoded.bytes)).unwrap();
    let file = reader.metadata().file_metadata();
    let mut printed = vec![];
    print_schema(&mut printed, file.schema());
    assert_eq!(
        String::from_utf8(printed).unwrap(),
        "\
message hive_schema {
  OPTIONAL BOOLEAN b;
  OPTIONAL INT32 i8 (INTEGER(8,true));
  OPTIONAL INT32 i16 (INTEGER(16,true));
  OPTIONAL INT32 i32;
  OPTIONAL INT64 i64;
  OPTIONAL FLOAT f;
  OPTIONAL DOUBLE d;
  OPTIONAL FIXED_LEN_BYTE_ARRAY (3) d5 (DECIMAL(5,2));
  OPTIONAL FIXED_LEN_BYTE_ARRAY (8) d18 (DECIMAL(18,4));
  OPTIONAL FIXED_LEN_BYTE_ARRAY (16) d38 (DECIMAL(38,10));
  OPTIONAL BYTE_ARRAY s (STRING);
  OPTIONAL BYTE_ARRAY c (STRING);
  OPTIONAL BYTE_ARRAY raw;
  OPTIONAL INT32 day (DATE);
  OPTIONAL INT64 at (TIMESTAMP(MICROS,true));
  OPTIONAL group l (LIST) {
    REPEATED group list {
      OPTIONAL group element {
        OPTIONAL INT32 x;
      }
    }
  }
  OPTIONAL group m (MAP) {
    REPEATED group key_value {
      REQUIRED BYTE_ARRAY key (STRING);
      OPTIONAL FIXED_LEN_BYTE_ARRAY (1) value (DECIMAL(2,0));
    }
  }
}
"
    );
    let created_by = format!("lakehose version {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(file.created_by(), Some(created_by.as_str()));
    let pairs = file.key_value_metadata().unwrap();
    assert_eq!(pairs.len(), 1, "no Arrow schema");
    assert_eq!(pairs[0].key, "lakehose.plan");
    assert_eq!(pairs[0].value.as_deref(), Some("7"));
}

#[test]
fn decimals_of_every_precision_survive_the_file() {
    let names: Vec<String> = (1..=38).map(|digits| format!("d{digits}")).collect();
    let types: Vec<String> = (1..=38).map(|digits| format!("decimal({digits},0)")).collect();
    let columns: Vec<(&str, &str)> = names
        .iter()
        .zip(&types)
        .map(|(name, hive_type)| (name.as_str(), hive_type.as_str()))
        .collect();
    let largest: Vec<String> = (1..=38).map(|digits| "9".repeat(digits)).collect();
    let record = |sign: &str| {
        let members = names.iter().zip(&largest);
        let members = members.map(|(name, value)| format!("\"{name}\":{sign}{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let (plus, minus) = (record(""), record("-"));
    let (encoded, rejections) = convert(&schema(&columns), &[plus.as_bytes(), minus.as_bytes()]);
    assert_eq!(rejections, []);
    assert_eq!(rows(&encoded), [largest.join("|"), format!("-{}", largest.join("|-"))]);
}

#[test]
fn many_batches_and_rejections_keep_rows_in_order_and_equal_input_makes_equal_bytes() {
    let schema = schema(&[("n", "int"), ("s", "string"), ("l", "array<map<string,int>>")]);
    let record = |n: usize| match n % 5 {
        0 => format!("{{\"n\":{n},\"s\":\"{}\",\"l\":[{{\"a\":\"x\"}}]}}", "lost".repeat(n % 50)),
        1 => format!("{{\"n\":{n},\"l\":[]}}"),
        2 => format!("{{\"n\":{n},\"s\":\"{}\"}}", "é".repeat(n % 100)),
        3 => format!("{{\"n\":{n},\"l\":[null,{{}},{{\"a\":null,\"b\":{n}}}]}}"),
        _ => format!("{{\"n\":{n},\"s\":\"\\n\",\"l\":null}}"),
    };
    let stored = |n: usize| match n % 5 {
        1 => format!("{n}|null|[]"),
        2 => format!("{n}|\"{}\"|null", "é".repeat(n % 100)),
        3 => format!("{n}|null|[null,{{}},{{\"a\"=null,\"b\"={n}}}]"),
        _ => format!("{n}|\"\\n\"|null"),
    };
    let records: Vec<String> = (0..20_000).map(record).collect();
    let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
    let (encoded, rejections) = convert(&schema, &records);
    assert_eq!(rejections.len(), 4000);
    let expected: Vec<String> = (0..20_000).filter(|n| n % 5 != 0).map(stored).collect();
    assert!(rows(&encoded) == expected);
    assert!(convert(&schema, &records).0 == encoded);
}

#[test]
fn a_dictionary_is_written_only_where_values_repeat() {
    let schema = schema(&[
        ("id", "string"),
        ("country", "string"),
        ("clock", "timestamp"),
        ("level", "int"),
        ("sparse", "string"),
        ("prices", "array<decimal(18,2)>"),
    ]);
    let record = |n: u64| {
        // Without a pattern that compression finds.
        let mixed = (n << 32 ^ n).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40;
        let sparse = if n.is_multiple_of(100) { format!("\"{n}\"") } else { "null".to_owned() };
        format!(
            "{{\"id\":\"{n:x}\",\"country\":\"{}\",\"clock\":{n},\"level\":{},\
             \"sparse\":{sparse},\"prices\":[{n}.5,{n}.75]}}",
            mixed % 20,
            mixed % 7
        )
    };
    let records: Vec<String> = (0..6000).map(record).collect();
    let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
    let (encoded, _) = convert(&schema, &records);
    read(&encoded);
    let reader = SerializedFileReader::new(bytes::Bytes::from(encoded.bytes)).unwrap();
    let columns = reader.metadata().row_group(0).columns();
    let has = |encoding: Encoding| {
        let has = columns.iter().map(|c| c.encodings().any(|found| found == encoding));
        has.collect::<Vec<bool>>()
    };
    let dictionary = [false, true, false, true, false, false];
    assert_eq!(has(Encoding::RLE_DICTIONARY), dictionary);
    assert_eq!(has(Encoding::DELTA_BINARY_PACKED), [false, false, true, false, false, false]);
    let lengths = [true, false, false, false, true, false];
    assert_eq!(has(Encoding::DELTA_LENGTH_BYTE_ARRAY), lengths);
}

#[test]
fn a_record_with_more_rows_than_a_batch_is_written_whole() {
    let documents: Vec<String> = (0..10_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    let record = documents.concat();
    let mut encoder = encoder(&schema(&[("n", "int")]));
    assert_eq!(encoder.push(record.as_bytes()).unwrap().row_count, 10_000);
    let encoded = encoder.finish(&[]).unwrap();
    assert_eq!(rows(&encoded).last().map(String::as_str), Some("9999"));
}

#[test]
fn row_groups_end_at_their_rows_or_bytes_and_then_count_anew() {
    let row_groups = |record: &[u8], record_count: usize| {
        let mut encoder = encoder(&schema(&[("n", "int")]));
        for _ in 0..record_count {
            encoder.push(record).unwrap();
        }
        let encoded = encoder.finish(&[]).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(encoded.bytes)).unwrap();
        let groups = reader.metadata().row_groups().iter();
        groups.map(|group| group.num_rows()).collect::<Vec<_>>()
    };
    // 10,000 rows of 70 bytes a record: three groups by rows, none of them cut short by bytes.
    let many_rows = format!("{{\"n\":1}}{}", " ".repeat(63)).repeat(10_000);
    assert_eq!(row_groups(many_rows.as_bytes(), 250), [1 << 20, 1 << 20, 402_848]);
    let much_space = format!("{{\"n\":1}}{}", " ".repeat((1 << 20) - 7));
    assert_eq!(row_groups(much_space.as_bytes(), 300), [128, 128, 44]);
}

#[test]
fn a_file_without_rows_can_be_read() {
    let encoded = encoder(&schema(&[("n", "int")])).finish(&[]).unwrap();
    assert_eq!(encoded.row_count, 0);
    assert!(read(&encoded).is_empty());
}

#[test]
fn columns_that_no_file_can_have_are_refused() {
    let column = |name: &str, hive_type: HiveType| Column { name: name.to_owned(), hive_type };
    let deep = (0..40).fold(HiveType::Int, |inner, _| HiveType::Array(Box::new(inner)));
    let wide = HiveType::Decimal { precision: 39, scale: 0 };
    let list = HiveType::Array(Box::new(HiveType::Int));
    for (columns, message) in [
        (vec![], "at least one column"),
        (
            vec![column("a", HiveType::Int), column("A", HiveType::Date)],
            "name 'a' stands twice in the table",
        ),
        (
            vec![column(
                "s",
                HiveType::Struct(vec![("x".into(), HiveType::Int), ("X".into(), HiveType::Int)]),
            )],
            "name 'x' stands twice in struct<x:int,X:int>",
        ),
        (vec![column("s", HiveType::Struct(vec![]))], "at least one field"),
        (vec![column("d", wide)], "1 <= p <= 38"),
        (vec![column("l", deep)], "nested too deep"),
        (vec![column("m", HiveType::Map(Box::new(list), Box::new(HiveType::Int)))], "primitive"),
    ] {
        let error = Schema::new(&columns).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    let fits = (0..16).fold(HiveType::Int, |inner, _| HiveType::Array(Box::new(inner)));
    let schema = Arc::new(Schema::new(&[column("l", fits)]).unwrap());
    let record = format!("{{\"l\":{}7{}}}", "[".repeat(16), "]".repeat(16));
    let (encoded, _) = convert(&schema, &[record.as_bytes()]);
    assert_eq!(rows(&encoded), [format!("{}7{}", "[".repeat(16), "]".repeat(16))]);
}

#[test]
fn a_failure_line_has_the_members_of_firehose_in_order() {
    let rejection =
        Rejection { code: RejectCode::MalformedData, message: "found \"é\"\n".to_owned() };
    let line = FailureLine {
        record: Record {
            position: Position(42),
            arrival: UnixMillis(1_785_312_345_678),
            data: b"{\"a\":\"\xff\"}",
        },
        rejection: &rejection,
        attempt_ending: UnixMillis(1_785_312_400_000),
        table: Some(TableName {
            database: "db",
            table: "t",
            region: Some("us-east-1"),
            version: "LATEST",
        }),
        counted: Counted::Records,
    };
    let mut out = b"before\n".to_vec();
    line.append_to(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "before\n{\"attemptsMade\":1,\"arrivalTimestamp\":1785312345678,\
         \"lastErrorCode\":\"DataFormatConversion.MalformedData\",\
         \"lastErrorMessage\":\"found \\\"é\\\"\\n\",\
         \"attemptEndingTimestamp\":1785312400000,\"rawData\":\"eyJhIjoi/yJ9\",\
         \"sequenceNumber\":\"42\",\"subSequenceNumber\":0,\
         \"dataCatalogTable\":{\"catalogId\":null,\"databaseName\":\"db\",\"tableName\":\"t\",\
         \"region\":\"us-east-1\",\"versionId\":\"LATEST\",\"roleArn\":null,\"catalogArn\":null}}\n"
    );
}

#[test]
fn a_line_of_failed_processing_has_the_members_of_firehose_in_order() {
    let line = ProcessingFailureLine {
        record: Record {
            position: Position(42),
            arrival: UnixMillis(1_785_312_345_678),
            data: b"{\"a\":1}",
        },
        code: "Lambda.FunctionError",
        message: "The Lambda function was successfully invoked but it returned an error result.",
        attempts: 4,
        attempt_ending: UnixMillis(1_785_312_349_999),
        lambda_arn: Some("arn:aws:lambda:us-east-1:111122223333:function:f:$LATEST"),
    };
    let text = |line: ProcessingFailureLine<'_>| {
        let mut out = vec![];
        line.append_to(&mut out);
        String::from_utf8(out).unwrap()
    };
    let common = "{\"rawData\":\"eyJhIjoxfQ==\",\"errorCode\":\"Lambda.FunctionError\",\
                  \"errorMessage\":\"The Lambda function was successfully invoked but it returned \
                  an error result.\",\"attemptsMade\":4,\"arrivalTimestamp\":1785312345678,\
                  \"attemptEndingTimestamp\":1785312349999";
    let lambda = "\"lambdaARN\":\"arn:aws:lambda:us-east-1:111122223333:function:f:$LATEST\"";
    assert_eq!(text(line), format!("{common},{lambda}}}\n"));
    assert_eq!(text(ProcessingFailureLine { lambda_arn: None, ..line }), format!("{common}}}\n"));
}

#[test]
fn lines_without_a_function_are_the_same_without_its_member() {
    // A record that is no gzip, and one whose keys give it no place.
    for (code, message, data, raw) in [
        (
            "Decompression failed.",
            "Decompression failed because input data does not conform to cloudwatch log.",
            &b"\x1f\x8b\x08\x00"[..],
            "H4sIAA==",
        ),
        (
            "DynamicPartitioning.MetadataExtractionFailed",
            "partitionKeys values must not be null or empty",
            &b"{}"[..],
            "e30=",
        ),
    ] {
        let arrival = UnixMillis(1_785_312_345_678);
        let line = ProcessingFailureLine {
            record: Record { position: Position(42), arrival, data },
            code,
            message,
            attempts: 1,
            attempt_ending: UnixMillis(1_785_312_349_999),
            lambda_arn: None,
        };
        let mut out = vec![];
        line.append_to(&mut out);
        let expected = format!(
            "{{\"rawData\":\"{raw}\",\"errorCode\":\"{code}\",\"errorMessage\":\"{message}\",\
             \"attemptsMade\":1,\"arrivalTimestamp\":1785312345678,\
             \"attemptEndingTimestamp\":1785312349999}}\n"
        );
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
