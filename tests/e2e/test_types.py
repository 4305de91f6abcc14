"""Every type of a Glue table: its values come back as they were, and what is no value is kept aside."""

import base64
import collections
import datetime
import decimal
import json
import time

import pyarrow as pa
import pytest

import kit

IDENTITY = kit.Identity("acme", ("types",))
DATABASE, TABLE = "analytics", "every_type"

# Column -> its Glue type, what readers must take it for.
TYPES = {
    "id": ("int", pa.int32()),
    "c_boolean": ("boolean", pa.bool_()),
    "c_tinyint": ("tinyint", pa.int8()),
    "c_smallint": ("smallint", pa.int16()),
    "c_int": ("int", pa.int32()),
    "c_bigint": ("bigint", pa.int64()),
    "c_float": ("float", pa.float32()),
    "c_double": ("double", pa.float64()),
    "c_decimal_small": ("decimal(5,2)", pa.decimal128(5, 2)),
    "c_decimal": ("decimal(18,4)", pa.decimal128(18, 4)),
    "c_decimal_large": ("decimal(38,10)", pa.decimal128(38, 10)),
    "c_string": ("string", pa.string()),
    "c_char": ("char(3)", pa.string()),
    "c_varchar": ("varchar(10)", pa.string()),
    "c_binary": ("binary", pa.binary()),
    "c_date": ("date", pa.date32()),
    "c_timestamp": ("timestamp", pa.timestamp("us")),
    "c_numbers": ("array<int>", pa.list_(pa.int32())),
    "c_lines": (
        "array<struct<sku:string,prices:array<decimal(10,2)>>>",
        pa.list_(pa.struct([("sku", pa.string()), ("prices", pa.list_(pa.decimal128(10, 2)))])),
    ),
    "c_map": ("map<string,int>", pa.map_(pa.string(), pa.int32())),
    "c_nested": (
        "struct<name:string,inner:struct<flag:boolean,day:date,deep:map<string,array<bigint>>>>",
        pa.struct(
            [
                ("name", pa.string()),
                (
                    "inner",
                    pa.struct(
                        [
                            ("flag", pa.bool_()),
                            ("day", pa.date32()),
                            ("deep", pa.map_(pa.string(), pa.list_(pa.int64()))),
                        ]
                    ),
                ),
            ]
        ),
    ),
}
SCHEMA = pa.schema([(name, arrow) for name, (_glue, arrow) in TYPES.items()])

D = decimal.Decimal


def utc(*parts):
    return datetime.datetime(*parts)


# Binary value -> its text in JSON.
BINARY_TEXTS = {
    value: base64.b64encode(value) for value in (b"", b"\x00", bytes(range(256)), "é".encode() * 3)
}

# Column, JSON text, value.
VALUES = [
    ("c_boolean", "true", True),
    ("c_boolean", "false", False),
    ("c_boolean", '"true"', True),
    ("c_boolean", '"false"', False),
    ("c_tinyint", "-128", -128),
    ("c_tinyint", "127", 127),
    ("c_smallint", "-32768", -(2**15)),
    ("c_smallint", "32767", 2**15 - 1),
    ("c_int", "-2147483648", -(2**31)),
    ("c_int", "2147483647", 2**31 - 1),
    ("c_int", '"20"', 20),
    ("c_bigint", "-9223372036854775808", -(2**63)),
    ("c_bigint", "9223372036854775807", 2**63 - 1),
    ("c_bigint", '"-7"', -7),
    ("c_float", "3.4028235e38", 3.4028234663852886e38),
    ("c_float", "-1.4e-45", -1.401298464324817e-45),
    ("c_float", "0.1", 0.10000000149011612),
    ("c_float", "7", 7.0),
    ("c_double", "1.7976931348623157e308", 1.7976931348623157e308),
    ("c_double", "-5e-324", -5e-324),
    ("c_double", '"0.1"', 0.1),
    ("c_double", "9007199254740993", 9007199254740992.0),
    ("c_decimal_small", "999.99", D("999.99")),
    ("c_decimal_small", "-999.99", D("-999.99")),
    ("c_decimal_small", '"0.01"', D("0.01")),
    ("c_decimal_small", "5", D("5.00")),
    ("c_decimal", "99999999999999.9999", D("99999999999999.9999")),
    ("c_decimal", "-99999999999999.9999", D("-99999999999999.9999")),
    ("c_decimal", "1.5e3", D("1500.0000")),
    ("c_decimal_large", "9999999999999999999999999999.9999999999", D("9" * 28 + "." + "9" * 10)),
    ("c_decimal_large", "-0.0000000001", D("-0.0000000001")),
    ("c_string", '""', ""),
    ("c_string", '"caf\\u00e9 \\ud83e\\udd86 日本 \\" \\\\ \\n"', 'café 🦆 日本 " \\ \n'),
    ("c_string", json.dumps("ü" * 100_000), "ü" * 100_000),
    ("c_string", "12", "12"),
    ("c_string", "true", "true"),
    ("c_string", '{"a":[1,"x"]}', '{"a":[1,"x"]}'),
    ("c_char", '"abc"', "abc"),
    ("c_char", '"ü€🦆"', "ü€🦆"),
    ("c_varchar", '"0123456789"', "0123456789"),
    ("c_varchar", '"🦆🦆🦆🦆🦆🦆🦆🦆🦆🦆"', "🦆" * 10),
    *(("c_binary", f'"{text.decode()}"', value) for value, text in BINARY_TEXTS.items()),
    ("c_date", '"1969-12-31"', datetime.date(1969, 12, 31)),
    ("c_date", '"2024-2-29"', datetime.date(2024, 2, 29)),
    ("c_date", '"9999-12-31"', datetime.date(9999, 12, 31)),
    ("c_date", '"0001-01-01"', datetime.date(1, 1, 1)),
    ("c_timestamp", '"2017-02-07T15:13:01.39256Z"', utc(2017, 2, 7, 15, 13, 1, 392560)),
    ("c_timestamp", '"2017-02-07T15:13:01Z"', utc(2017, 2, 7, 15, 13, 1)),
    ("c_timestamp", '"2017-02-07T15:13:01.5"', utc(2017, 2, 7, 15, 13, 1, 500000)),
    ("c_timestamp", '"2017-02-07 15:13:01.14"', utc(2017, 2, 7, 15, 13, 1, 140000)),
    ("c_timestamp", '"2017-2-7 15:13:01"', utc(2017, 2, 7, 15, 13, 1)),
    ("c_timestamp", "1518033528", utc(2018, 2, 7, 19, 58, 48)),
    ("c_timestamp", "1518033528123", utc(2018, 2, 7, 19, 58, 48, 123000)),
    ("c_timestamp", "1518033528.123", utc(2018, 2, 7, 19, 58, 48, 123000)),
    ("c_timestamp", "1000000000000", utc(2001, 9, 9, 1, 46, 40)),
    ("c_timestamp", "-1000", utc(1969, 12, 31, 23, 43, 20)),
    ("c_timestamp", '"1518033528"', utc(2018, 2, 7, 19, 58, 48)),
    ("c_numbers", "[]", []),
    ("c_numbers", "[1,null,-2147483648]", [1, None, -(2**31)]),
    ("c_lines", "[]", []),
    (
        "c_lines",
        '[{"sku":"a","prices":[1.25,"2"]},{"prices":[],"more":1},null]',
        [{"sku": "a", "prices": [D("1.25"), D("2.00")]}, {"sku": None, "prices": []}, None],
    ),
    ("c_map", "{}", []),
    ("c_map", '{"a":1,"ü":null}', [("a", 1), ("ü", None)]),
    ("c_nested", "{}", {"name": None, "inner": None}),
    (
        "c_nested",
        '{"NAME":"n","inner":{"flag":false,"day":"2026-02-28","deep":{"k":[1,null]}}}',
        {
            "name": "n",
            "inner": {"flag": False, "day": datetime.date(2026, 2, 28), "deep": [("k", [1, None])]},
        },
    ),
]

PARSE = "DataFormatConversion.ParseError"
MALFORMED = "DataFormatConversion.MalformedData"

# Column, JSON text that is no value of its type.
NO_VALUES = [
    ("c_boolean", '"maybe"'),
    ("c_boolean", "[true]"),
    ("c_tinyint", "300"),
    ("c_tinyint", "-129"),
    ("c_tinyint", '"oops"'),
    ("c_smallint", "32768"),
    ("c_smallint", "{}"),
    ("c_int", "2147483648"),
    ("c_int", "1.5"),
    ("c_int", '"oops"'),
    ("c_int", '""'),
    ("c_int", "true"),
    ("c_bigint", "9223372036854775808"),
    ("c_bigint", '"1e999"'),
    ("c_float", '"oops"'),
    ("c_double", '"1.2.3"'),
    ("c_double", "[1.0]"),
    ("c_decimal_small", "1000.00"),
    ("c_decimal_small", '"oops"'),
    ("c_decimal", "100000000000000"),
    ("c_decimal_large", "1e29"),
    ("c_decimal_large", "{}"),
    ("c_char", '"abcd"'),
    ("c_varchar", '"01234567890"'),
    ("c_binary", '"not base64"'),
    ("c_binary", '"AAE"'),
    ("c_binary", "7"),
    ("c_date", '"2026-02-30"'),
    ("c_date", '"2026-13-01"'),
    ("c_date", '"yesterday"'),
    ("c_date", "[]"),
    ("c_timestamp", '"not a time"'),
    ("c_timestamp", '"2026-02-30T00:00:00Z"'),
    ("c_timestamp", '"2026-01-01T25:00:00Z"'),
    ("c_timestamp", "{}"),
    ("c_numbers", '{"a":1}'),
    ("c_numbers", "7"),
    ("c_numbers", '[1,"oops"]'),
    ("c_lines", '["scalar"]'),
    ("c_lines", '[{"sku":"a","prices":{"x":1}}]'),
    ("c_map", "[1]"),
    ("c_map", '{"a":"oops"}'),
    ("c_nested", "[1]"),
    ("c_nested", '"text"'),
    ("c_nested", '{"inner":{"day":"2026-02-30"}}'),
    ("c_nested", '{"inner":{"deep":{"k":["oops"]}}}'),
]

# Whole records that are bad, and the codes that fit.
BAD_RECORDS = [
    (b"", {PARSE}),
    (b"   \n", {PARSE}),
    (b'{"id":90001,"c_int":1', {PARSE}),
    (b'{"id":90002,"c_string":"\xff\xfe"}', {PARSE}),
    (b"\x80\x81", {PARSE}),
    (b'{"id":90003}}', {PARSE}),
    (b'{"id":90004 "c_int":1}', {PARSE}),
    (b"plain text", {PARSE}),
    (b'[{"id":90005},{"id":90006}]', {PARSE, MALFORMED}),
    (b"42", {PARSE, MALFORMED}),
    (b'{"id":90007}\n{"id":90008,', {PARSE}),
    (b'{"id":90009}{"id":90010,"c_int":"oops"}', {MALFORMED}),
    (b'{"id":"oops"}{"id":90011}', {MALFORMED}),
    (b"[" * 100_000, {PARSE, MALFORMED}),
]


def good_records():
    """Records and rows: one per value, one of nulls, one with everything, one of two documents."""
    pairs = []

    def add(fields, **values):
        number = len(pairs) + 1
        text = "{" + ",".join([f'"id":{number}', *fields]) + "}"
        pairs.append((text.encode(), {"id": number, **values}))

    for column, text, value in VALUES:
        add([f'"{column}":{text}'], **{column: value})
    add([f'"{column}":null' for column in TYPES if column != "id"])
    add(['"no_such_column":{"deep":[1,2,{"x":null}]}'])
    last = {column: (text, value) for column, text, value in VALUES}
    add(
        [f'"{column.upper()}":{text}' for column, (text, _value) in last.items()],
        **{column: value for column, (_text, value) in last.items()},
    )
    records, rows = map(list, zip(*pairs))
    records.append(b'\n{"id":1001}\n\n{"id":1002,"c_int":2}{"ID":1003}\n')
    rows += [{"id": 1001}, {"id": 1002, "c_int": 2}, {"id": 1003}]
    return records, rows


def bad_records():
    """Records that must fail -> the codes that fit."""
    bad = dict(BAD_RECORDS)
    for number, (column, text) in enumerate(NO_VALUES):
        bad[f'{{"id":{80_000 + number},"{column}":{text}}}'.encode()] = {MALFORMED}
    return bad


def write_table(catalog, lake):
    """The table as Glue describes it."""
    folder = catalog / DATABASE
    folder.mkdir(parents=True)
    columns = [{"Name": name, "Type": glue} for name, (glue, _arrow) in TYPES.items()]
    table = {
        "Name": TABLE,
        "StorageDescriptor": {"Columns": columns, "Location": f"{lake.url}/types/"},
        "PartitionKeys": [{"Name": key, "Type": "string"} for key in kit.PARTITION_KEYS],
    }
    (folder / f"{TABLE}.json").write_text(json.dumps(table, indent=2))


@pytest.fixture
def server(new_lakehose, folder_lake, tmp_path):
    write_table(tmp_path / "catalog", folder_lake)
    schema = {"catalog": "tables", "database": DATABASE, "table": TABLE}
    return new_lakehose([IDENTITY], folder_lake, {"types": kit.stream_of(schema)}).start()


def test_every_type_comes_back_and_every_misfit_is_kept_aside(server, folder_lake, tmp_path):
    good, rows = good_records()
    bad = bad_records()
    # Good and bad records alternate, so that a bad one has neighbours to spoil.
    mixed = [record for pair in zip(good, list(bad)) for record in pair]
    mixed += good[len(bad) :] + list(bad)[len(good) :]
    began = time.time()
    kit.send(server.firehose(IDENTITY), "types", mixed)
    server.flush("types")
    ended = time.time()

    assert_rows(folder_lake, rows)
    assert_failures(folder_lake, bad, began, ended)
    status = server.status("types")
    kit.assert_conserved(status, len(mixed))
    assert status["failed"] == len(bad), status
    kit.assert_partitions_are_the_folders(folder_lake, "types", tmp_path / "catalog", DATABASE, TABLE)


def assert_rows(lake, rows):
    """DuckDB and PyArrow both see the rows."""
    expected = pa.Table.from_pylist(rows, schema=SCHEMA)
    connection = lake.duckdb()
    connection.register("expected", expected)
    found = kit.rows_of(lake, "types")
    assert kit.difference(connection, "expected", found, SCHEMA.names, ["c_timestamp"]) == ([], [])
    tenants = connection.execute(f"SELECT DISTINCT tenant FROM {found}").fetchall()
    assert tenants == [("acme",)]

    # Timestamps with a zone lose it here; they are UTC either way.
    read = lake.dataset("types").to_table(columns=SCHEMA.names).cast(SCHEMA).sort_by("id")
    wrong = [
        (row["id"], column, row[column], wanted[column])
        for row, wanted in zip(read.to_pylist(), expected.sort_by("id").to_pylist(), strict=True)
        for column in SCHEMA.names
        if row[column] != wanted[column]
    ]
    assert wrong == []


def assert_failures(lake, bad, began, ended):
    """Each bad record is one line, with its bytes and a reason that fits."""
    lines = kit.failures(lake, "errors/types/tenant=acme/format-conversion-failed/year=")
    assert len(lines) == len(kit.failures(lake)), "error lines outside of the error prefix"
    counts = collections.Counter(failure.raw for failure in lines)
    assert counts == collections.Counter(list(bad))
    for failure in lines:
        line = failure.line
        assert line["lastErrorCode"] in bad[failure.raw], (failure.raw[:100], line["lastErrorMessage"])
        assert line["lastErrorMessage"], line
        assert line["attemptsMade"] == 1, line
        assert began - 1 <= line["arrivalTimestamp"] / 1000 <= ended + 1, line
        assert line["arrivalTimestamp"] <= line["attemptEndingTimestamp"], line
        table = line["dataCatalogTable"]
        assert (table["databaseName"], table["tableName"]) == (DATABASE, TABLE), line
