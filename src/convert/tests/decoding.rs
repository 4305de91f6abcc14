//! The decoder against the rules written down once more (`reference`).

use std::sync::Arc;

use arrow_array::RecordBatch;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::convert::reference::{check, shown_rows};
use crate::convert::{Decoder, ParquetOptions, Schema};
use crate::table::{Column, HiveType};

fn any_type() -> impl Strategy<Value = HiveType> {
    let scalar = || {
        let names = vec![
            "boolean",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "float",
            "double",
            "decimal(10,2)",
            "decimal(38,10)",
            "decimal(5,5)",
            "string",
            "varchar(6)",
            "binary",
            "date",
            "timestamp",
        ];
        select(names).prop_map(|name| HiveType::parse(name).unwrap())
    };
    scalar().prop_recursive(3, 12, 3, move |inner| {
        let fields = vec(inner.clone(), 1..4).prop_map(|types| {
            let names = ["a", "long_name_of_a_field", "größe"].map(str::to_owned);
            HiveType::Struct(names.into_iter().zip(types).collect())
        });
        prop_oneof![
            inner.clone().prop_map(|item| HiveType::Array(Box::new(item))),
            (scalar(), inner)
                .prop_map(|(key, value)| { HiveType::Map(Box::new(key), Box::new(value)) }),
            fields,
        ]
    })
}

/// Numbers as JSON writes them, at the edges of types and of what is read fast.
fn number() -> impl Strategy<Value = String> {
    let edges = vec![
        "0",
        "-0",
        "-0.0",
        "127",
        "-129",
        "32768",
        "2147483647",
        "-2147483649",
        "9223372036854775807",
        "9223372036854775808",
        "9007199254740993",
        "1e309",
        "1.7976931348623157e308",
        "3.4028236e38",
        "4.9e-324",
        "1e400",
        "0.005",
        "99999999.995",
        "999999999999",
        "1000000000000",
        "2e1",
        "0.00000000000000001e18",
    ];
    prop_oneof![
        select(edges).prop_map(str::to_owned),
        "-?(0|[1-9][0-9]{0,19})",
        "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,18}",
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?[eE][+-]?[0-9]{1,2}",
    ]
}

/// Strings as JSON writes them, without their quotes.
fn characters() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "b",
        "c",
        " ",
        "Z",
        "0",
        "é",
        "😀",
        "\\n",
        "\\\"",
        "\\\\",
        "\\u0041",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\x",
        "\u{1}",
        "long plain text",
    ];
    let weights = move |plain: bool| {
        let pieces = pieces.clone();
        select(if plain { pieces[..13].to_vec() } else { pieces })
    };
    prop_oneof![
        9 => vec(weights(true), 0..24).prop_map(|pieces| pieces.concat()),
        1 => vec(weights(false), 0..24).prop_map(|pieces| pieces.concat()),
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]",
        "20[0-9]{2}-0[1-9]-[12][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z?",
        "20[0-9]{2}-[1-9]-[12][0-9] [0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(\\+0[0-9]:30)?",
    ]
}

/// A value as JSON, of any kind.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec!["null", "true", "false", "tru", "\"TRUE\"", "\"AAEC\"", "\"AA=\""])
            .prop_map(str::to_owned),
        number(),
        number().prop_map(|number| format!("\"{number}\"")),
        characters().prop_map(|text| format!("\"{text}\"")),
        time().prop_map(|time| format!("\"{time}\"")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = (characters(), inner.clone());
        let pair = pair.prop_map(|(key, value)| format!("\"{key}\": {value}"));
        prop_oneof![
            vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(pair, 0..4).prop_map(|pairs| format!("{{{}}}", pairs.join(" ,"))),
        ]
    })
}

/// A value as JSON that mostly fits.
fn json_of(hive_type: &HiveType) -> BoxedStrategy<String> {
    let quoted = |text: String| format!("\"{text}\"");
    let good = match hive_type {
        HiveType::Boolean => select(vec!["true", "false"]).prop_map(str::to_owned).boxed(),
        HiveType::TinyInt => any::<i8>().prop_map(|value| value.to_string()).boxed(),
        HiveType::SmallInt => any::<i16>().prop_map(|value| value.to_string()).boxed(),
        HiveType::Int => any::<i32>().prop_map(|value| value.to_string()).boxed(),
        HiveType::BigInt => any::<i64>().prop_map(|value| value.to_string()).boxed(),
        HiveType::Float | HiveType::Double => number().boxed(),
        HiveType::Decimal { .. } => "-?0\\.[0-9]{1,7}".boxed(),
        HiveType::String => characters().prop_map(quoted).boxed(),
        HiveType::Char(_) | HiveType::VarChar(_) => "[a-zé]{0,7}".prop_map(quoted).boxed(),
        HiveType::Binary => "(AAEC){0,5}".prop_map(quoted).boxed(),
        HiveType::Date | HiveType::Timestamp => time().prop_map(quoted).boxed(),
        HiveType::Array(item) => {
            vec(json_of(item), 0..4).prop_map(|items| format!("[{}]", items.join(", "))).boxed()
        }
        HiveType::Map(key, value) => {
            // Repeated keys are the point.
            let key = json_of(key).prop_map(|key| match key.starts_with('"') {
                true => key,
                false => format!("{key:?}"),
            });
            let keys = vec(key, 1..4);
            let pairs = vec((any::<Index>(), json_of(value)), 0..6);
            (keys, pairs)
                .prop_map(|(keys, pairs)| {
                    let pairs = pairs.iter();
                    let pairs = pairs.map(|(key, value)| format!("{}:{value}", key.get(&keys)));
                    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
                })
                .boxed()
        }
        HiveType::Struct(fields) => object_of(fields.to_vec()),
    };
    prop_oneof![30 => good, 2 => Just("null".to_owned()), 1 => any_json()].boxed()
}

/// An object with some of the keys in any order, some of them twice or written in another way.
fn object_of(fields: Vec<(String, HiveType)>) -> BoxedStrategy<String> {
    let count = fields.len();
    let order = prop_oneof![
        3 => Just((0..count).collect::<Vec<_>>()),
        1 => subsequence((0..count).collect::<Vec<_>>(), 0..=count),
        1 => vec(0..count, 0..count + 2),
    ];
    let unknown = proptest::option::weighted(0.2, any_json());
    let space = || select(vec!["", "", " ", "\n\t"]);
    let spaces = (space(), space());
    (order, unknown, spaces)
        .prop_flat_map(move |(order, unknown, (before, after))| {
            let values: Vec<_> = order.iter().map(|index| json_of(&fields[*index].1)).collect();
            let names: Vec<String> = order.iter().map(|index| fields[*index].0.clone()).collect();
            let forms = vec(0..12, names.len());
            (values, forms).prop_map(move |(values, forms)| {
                let mut pairs: Vec<String> = vec![];
                pairs.extend(unknown.iter().map(|value| format!("\"unknown\":{value}")));
                for ((name, form), value) in names.iter().zip(forms).zip(values) {
                    let name = match form {
                        0 => name.to_uppercase(),
                        1 => name.replace('a', "\\u0061"),
                        _ => name.clone(),
                    };
                    pairs.push(format!("{before}\"{name}\"{before}:{after}{value}{before}"));
                }
                format!("{{{}}}", pairs.join(","))
            })
        })
        .boxed()
}

/// Columns, and records that mostly fit them.
fn any_records() -> impl Strategy<Value = (Vec<Column>, Vec<String>)> {
    vec(any_type(), 1..5).prop_flat_map(|types| {
        let names = ["id", "event_time", "a_name_longer_than_16", "ключ"].map(str::to_owned);
        let fields: Vec<_> = names.into_iter().zip(types).collect();
        let columns = fields.iter().cloned().map(|(name, hive_type)| Column { name, hive_type });
        (Just(columns.collect()), vec(object_of(fields), 1..6))
    })
}

fn decoder(columns: &[Column]) -> Decoder {
    Decoder::new(&Arc::new(Schema::new(columns).unwrap()))
}

/// The rows of one record, or its rejection, checked.
fn decode_alone(columns: &[Column], record: &[u8]) -> Option<RecordBatch> {
    let mut decoder = decoder(columns);
    let result = decoder.push(record).map(|_| decoder.take_batch().unwrap());
    check(columns, &ParquetOptions::default(), record, result.as_ref());
    result.ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn records_become_the_rows_that_the_rules_say((columns, records) in any_records()) {
        for record in &records {
            decode_alone(&columns, record.as_bytes());
        }
    }

    #[test]
    fn a_bad_record_leaves_nothing_in_a_batch((columns, records) in any_records()) {
        let mut together = decoder(&columns);
        let mut alone = vec![];
        for record in &records {
            let pushed = together.push(record.as_bytes());
            let rows = decode_alone(&columns, record.as_bytes());
            prop_assert_eq!(pushed.is_ok(), rows.is_some());
            alone.extend(rows.iter().flat_map(shown_rows));
        }
        prop_assert_eq!(together.row_count(), alone.len() as u64);
        prop_assert_eq!(shown_rows(&together.take_batch().unwrap()), alone);
    }

    #[test]
    fn a_changed_byte_changes_both_readers_minds(
        (columns, records) in any_records(),
        changes in vec((any::<Index>(), any::<u8>(), 0..3), 1..3),
    ) {
        let mut record = records.concat().into_bytes();
        for (at, byte, change) in changes {
            let at = at.index(record.len().max(1)).min(record.len());
            match change {
                0 => record.truncate(at),
                1 => record.insert(at, byte),
                _ if at < record.len() => record[at] = byte,
                _ => {}
            }
        }
        decode_alone(&columns, &record);
    }
}

#[test]
fn a_key_that_was_seen_is_known_by_all_of_its_bytes() {
    let columns = [
        Column { name: "sevenle".to_owned(), hive_type: HiveType::Int },
        Column { name: "other".to_owned(), hive_type: HiveType::Int },
    ];
    let mut decoder = decoder(&columns);
    let padding = " ".repeat(64);
    // In both orders, so that a key is not where it is guessed.
    for record in [r#"{"sevenle":1,"other":2}"#, r#"{"other":2,"sevenle":1}"#] {
        decoder.push(format!("{record}{padding}").as_bytes()).unwrap();
    }
    for name in ["sevenle\0", "sevenle\u{1}", "seven\0\0", "\0"] {
        let record = format!("{{\"{name}\":1,\"other\":2}}{padding}");
        assert!(decoder.push(record.as_bytes()).is_err(), "{name:?}");
    }
    for record in ["{,\"other\":2}", "{\"other\":2 \"sevenle\":1}", "{\"other\"2}"] {
        assert!(decoder.push(format!("{record}{padding}").as_bytes()).is_err(), "{record}");
    }
    let unknown = format!("{{\"nothing\":[1],\"sevenle\":3}}{padding}");
    assert!(decoder.push(unknown.as_bytes()).is_ok());
    let rows = shown_rows(&decoder.take_batch().unwrap());
    assert_eq!(rows, ["1|2", "1|2", "3|null"]);
}
