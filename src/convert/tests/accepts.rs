//! What fits each type, and what is stored for it.

use super::{convert, convert_value, rows, schema};

/// Checks `(type, JSON, stored value)`.
#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    for (hive_type, json, stored) in cases {
        let found = convert_value(hive_type, json);
        assert_eq!(found.as_deref(), Ok(*stored), "{hive_type} from {json}");
    }
}

#[test]
fn null_fits_every_type() {
    for hive_type in [
        "boolean",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "float",
        "double",
        "decimal(5,2)",
        "string",
        "char(3)",
        "varchar(3)",
        "date",
        "timestamp",
        "binary",
        "array<int>",
        "map<string,int>",
        "struct<a:int>",
    ] {
        assert_eq!(convert_value(hive_type, "null").as_deref(), Ok("null"), "{hive_type}");
    }
}

#[test]
fn whole_numbers_in_any_notation_become_integers() {
    check(&[
        ("tinyint", "127", "127"),
        ("tinyint", "-128", "-128"),
        ("smallint", "-32768", "-32768"),
        ("int", "2147483647", "2147483647"),
        ("int", "\"20\"", "20"),
        ("int", "\"+20\"", "20"),
        ("int", "\"-007\"", "-7"),
        ("int", "20.0", "20"),
        ("int", "2e1", "20"),
        ("int", "2000E-2", "20"),
        ("int", "-0", "0"),
        ("int", "0e999999999999999999999", "0"),
        ("int", "\"2\\u0030\"", "20"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("bigint", "-9223372036854775808", "-9223372036854775808"),
        ("bigint", "0.00000000000000000000000001e27", "10"),
    ]);
}

#[test]
fn floats_are_the_nearest_and_booleans_are_words() {
    check(&[
        ("float", "0.1", "0.1"),
        ("float", "\"16777217\"", "16777216.0"),
        ("double", "1e308", "1e308"),
        ("double", "-0.0", "-0.0"),
        ("double", "1e-999", "0.0"),
        ("double", "\"12.5e1\"", "125.0"),
        ("double", "12345678901234567890", "1.2345678901234567e19"),
        ("boolean", "true", "true"),
        ("boolean", "false", "false"),
        ("boolean", "\"TRUE\"", "true"),
        ("boolean", "\"False\"", "false"),
    ]);
}

#[test]
fn decimals_are_exact_and_round_half_up_behind_their_scale() {
    check(&[
        ("decimal(5,2)", "123.45", "123.45"),
        ("decimal(5,2)", "\"-1\"", "-1.00"),
        ("decimal(5,2)", "1.005", "1.01"),
        ("decimal(5,2)", "1.00499999999999999999", "1.00"),
        ("decimal(5,2)", "-1.005", "-1.01"),
        ("decimal(5,2)", "0.004", "0.00"),
        ("decimal(5,2)", "0.005", "0.01"),
        ("decimal(5,2)", "0.0009", "0.00"),
        ("decimal(5,2)", "1.2345e2", "123.45"),
        ("decimal(5,2)", "999.99", "999.99"),
        ("decimal(5,2)", "1e-400000000000000000000", "0.00"),
        ("decimal(18,4)", "12345678901234.5678", "12345678901234.5678"),
        (
            "decimal(38,10)",
            "1234567890123456789012345678.0123456789",
            "1234567890123456789012345678.0123456789",
        ),
        (
            "decimal(38,0)",
            "-99999999999999999999999999999999999999",
            "-99999999999999999999999999999999999999",
        ),
        ("decimal", "2.5", "3"),
        ("decimal(38,38)", "0.1", "0.10000000000000000000000000000000000000"),
    ]);
}

#[test]
fn texts_hold_strings_and_the_source_of_everything_else() {
    check(&[
        ("string", "\"\"", "\"\""),
        ("string", "\"Zoë \\u00e9 \\ud83d\\ude00 \\/\\n\"", "\"Zoë é 😀 /\\n\""),
        ("string", "\"\\u0000\"", "\"\\0\""),
        ("string", "1.50e+2", "\"1.50e+2\""),
        ("string", "false", "\"false\""),
        ("string", "{\"a\" : [1, \"x\\n\"]}", "\"{\\\"a\\\" : [1, \\\"x\\\\n\\\"]}\""),
        ("string", "[ ]", "\"[ ]\""),
        ("char(3)", "\"añ😀\"", "\"añ😀\""),
        ("varchar(4)", "true", "\"true\""),
    ]);
}

#[test]
fn dates_are_days_of_the_calendar() {
    check(&[
        ("date", "\"1970-01-01\"", "0"),
        ("date", "\"2024-2-29\"", "19782"),
        ("date", "\"1969-12-31\"", "-1"),
        ("date", "\"0001-01-01\"", "-719162"),
        ("date", "\"9999-12-31\"", "2932896"),
    ]);
}

#[test]
fn timestamps_follow_the_forms_of_firehose() {
    check(&[
        ("timestamp", "\"2017-02-07T15:13:01.39256Z\"", "1486480381392560"),
        ("timestamp", "\"2017-02-07 15:13:01.14\"", "1486480381140000"),
        ("timestamp", "1518033528", "1518033528000000"),
        ("timestamp", "1518033528123", "1518033528123000"),
        ("timestamp", "1518033528.123", "1518033528123000"),
        ("timestamp", "1000000000000", "1000000000000000"),
        ("timestamp", "-1000", "-1000000000"),
        ("timestamp", "\"1518033528\"", "1518033528000000"),
        ("timestamp", "1.518033528e9", "1518033528000000"),
        ("timestamp", "1518033528123.4567", "1518033528123456"),
        ("timestamp", "-0.0000019", "-1"),
        ("timestamp", "\"2017-2-7 5:3:1\"", "1486443781000000"),
        ("timestamp", "\"2017-02-07T15:13:01\"", "1486480381000000"),
        ("timestamp", "\"2017-02-07T15:13:01.123456789Z\"", "1486480381123456"),
        ("timestamp", "\"2017-02-07T18:13:01+0300\"", "1486480381000000"),
        ("timestamp", "\"2017-02-07T09:13:01-06:00\"", "1486480381000000"),
        ("timestamp", "\"2017-02-07 18:13:01.5+03\"", "1486480381500000"),
        ("timestamp", "\"1969-12-31T23:59:59.999999Z\"", "-1"),
        ("timestamp", "\"0001-01-01T00:00:00Z\"", "-62135596800000000"),
        ("timestamp", "\"9999-12-31T23:59:59.999999999Z\"", "253402300799999999"),
    ]);
}

#[test]
fn nested_values_keep_their_nulls_and_emptiness_apart() {
    check(&[
        ("array<int>", "[]", "[]"),
        ("array<int>", "[1,null,\"3\"]", "[1,null,3]"),
        ("array<array<string>>", "[[],null,[\"a\",null]]", "[[],null,[\"a\",null]]"),
        ("struct<a:int,b:string>", "{}", "(null,null)"),
        ("struct<a:int,b:string>", "{\"B\":\"x\",\"other\":{}}", "(null,\"x\")"),
        ("map<string,int>", "{}", "{}"),
        ("map<string,int>", "{\"B\":1,\"b\":null}", "{\"B\"=1,\"b\"=null}"),
        ("map<int,boolean>", "{\"20\":true,\"-1\":\"false\"}", "{20=true,-1=false}"),
        ("map<date,string>", "{\"1970-1-2\":\"x\"}", "{1=\"x\"}"),
        ("map<decimal(3,1),int>", "{\"1.25\":1}", "{1.3=1}"),
        (
            "array<struct<k:string,m:map<string,array<int>>>>",
            "[{\"k\":\"a\",\"m\":{\"x\":[1,2],\"y\":[]}},null,{\"m\":null}]",
            "[(\"a\",{\"x\"=[1,2],\"y\"=[]}),null,(null,null)]",
        ),
    ]);
}

#[test]
fn the_last_of_equal_keys_wins() {
    check(&[
        ("struct<a:int>", "{\"a\":1,\"A\":2}", "(2)"),
        ("struct<a:int>", "{\"a\":1,\"a\":null}", "(null)"),
        ("map<string,int>", "{\"a\":1,\"b\":2,\"a\":3}", "{\"b\"=2,\"a\"=3}"),
        ("map<int,int>", "{\"1\":1,\"01\":2,\"1.0\":3}", "{1=3}"),
        ("map<string,int>", "{\"a\":1,\"\\u0061\":2}", "{\"a\"=2}"),
    ]);
    let entries: Vec<String> = (0..100).map(|n| format!("\"k{}\":{n}", n % 50)).collect();
    let stored: Vec<String> = (50..100).map(|n| format!("\"k{}\"={n}", n - 50)).collect();
    check(&[(
        "map<string,int>",
        &format!("{{{}}}", entries.join(",")),
        &format!("{{{}}}", stored.join(",")),
    )]);
}

#[test]
fn keys_are_matched_in_lower_case_in_any_order() {
    let schema = schema(&[("id", "int"), ("Größe", "struct<wert:int>"), ("last_one", "string")]);
    let records: &[&[u8]] = &[
        br#"{"id":1,"LAST_ONE":"a"}"#,
        r#"{"last_One":"b","GRÖSSE":1,"GRÖẞE":{"WERT":7},"ID":2}"#.as_bytes(),
        br#"{ "\u0069d" : 3 , "x" : [ { } ] , "gr\u00f6\u00dfe" : { "w\u0065rt" : 8 } }"#,
        br#"{"i":4,"idd":5,"last_one":"c"}"#,
    ];
    let (encoded, rejections) = convert(&schema, records);
    assert_eq!(rejections, []);
    assert_eq!(rows(&encoded), ["1|null|\"a\"", "2|(7)|\"b\"", "3|(8)|null", "null|null|\"c\""]);
}
