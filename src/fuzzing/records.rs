//! Records on their way into rows, and the types that columns have.

use std::sync::{Arc, LazyLock};

use serde::de::IgnoredAny;

use crate::convert::{
    BinaryText, Decoder, Encoder, Format, ParquetOptions, PushError, RejectCode, Schema,
    TimestampForm, reference,
};
use crate::table::{Column, HiveType};

const COLUMNS: [(&str, &str); 12] = [
    ("b", "boolean"),
    ("i", "int"),
    ("l", "bigint"),
    ("d", "double"),
    ("n", "decimal(12,3)"),
    ("s", "string"),
    ("c", "varchar(5)"),
    ("x", "binary"),
    ("t", "timestamp"),
    ("y", "date"),
    ("a", "array<struct<k:string,v:tinyint>>"),
    ("m", "map<int,array<float>>"),
];

/// Columns with one of the ways to write them.
struct Table {
    columns: Vec<Column>,
    options: ParquetOptions,
    schema: Arc<Schema>,
}

static TABLES: LazyLock<[Table; 3]> = LazyLock::new(|| {
    let columns = COLUMNS.map(|(name, text)| Column {
        name: name.to_owned(),
        hive_type: HiveType::parse(text).expect("a type"),
    });
    let forms = [
        (TimestampForm::Micros, BinaryText::Base64),
        (TimestampForm::Millis, BinaryText::Raw),
        (TimestampForm::Int96, BinaryText::Base64),
    ];
    forms.map(|(timestamps, binary)| {
        let options = ParquetOptions { timestamps, binary, ..ParquetOptions::default() };
        let schema = Schema::with_options(&columns, options.clone()).expect("a schema");
        Table { columns: columns.to_vec(), options, schema: Arc::new(schema) }
    })
});

/// A record becomes the rows that the rules say or is rejected whole, and what is JSON is no matter of
/// opinion.
pub(super) fn record(data: &[u8]) {
    let Some((choice, record)) = data.split_first() else {
        return;
    };
    let table = &TABLES[usize::from(*choice) % TABLES.len()];
    let mut decoder = Decoder::new(&table.schema);
    let decoded = decoder.push(record).map(|_| decoder.take_batch().expect("a batch"));
    reference::check(&table.columns, &table.options, record, decoded.as_ref());
    let mut encoder = Encoder::new(&Format::Parquet(table.schema.clone())).expect("an encoder");
    let theirs = std::str::from_utf8(record).ok().and_then(|text| {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        values.collect::<Result<Vec<IgnoredAny>, _>>().ok()
    });
    match encoder.push(record) {
        Ok(pushed) => {
            assert_eq!(encoder.row_count(), pushed.row_count);
            let theirs = theirs.expect("what becomes rows is JSON for others, too");
            assert_eq!(theirs.len() as u64, pushed.row_count);
            let encoded = encoder.finish(&[]).expect("a file");
            assert_eq!(encoded.row_count, pushed.row_count);
        }
        Err(PushError::Rejected(rejection)) => {
            assert_eq!(encoder.row_count(), 0, "a bad record leaves no trace");
            assert!(rejection.message.len() < 2000, "{}", rejection.message.len());
            // Half of a pair of surrogates is JSON for who does not look at it; depth is a bound.
            let is_json = theirs.is_some_and(|values| !values.is_empty());
            let has_surrogates = record.windows(2).any(|pair| pair == b"\\u");
            if rejection.code == RejectCode::ParseError && is_json && !has_surrogates {
                let open = record.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
                assert!(open > 60, "{}", rejection.message);
            }
            let pushed = encoder.push(b"{\"i\":1}").expect("a good record after a bad one");
            assert_eq!((pushed.row_count, encoder.row_count()), (1, 1));
        }
        Err(PushError::Encode(error)) => panic!("{error}"),
    }
}

/// A type that is read is written as itself.
pub(super) fn hive_type(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(found) = HiveType::parse(&text) {
        assert_eq!(HiveType::parse(&found.to_string()), Ok(found));
    }
}
