"""What objects contain: every option of Parquet, by five readers that are not ours, and plain records."""

import datetime
import gzip
import importlib.util
import json
import pickle
import shutil
import subprocess
import sys

import polars
import pyarrow as pa
import pyarrow.parquet
import pytest

import kit
import test_types

# Beyond the types of a Glue table: timestamps where they are nested.
EXTRA_TYPES = {
    "c_times": ("array<timestamp>", pa.list_(pa.timestamp("us"))),
    "c_timed": (
        "map<string,struct<at:timestamp,raw:binary>>",
        pa.map_(pa.string(), pa.struct([("at", pa.timestamp("us")), ("raw", pa.binary())])),
    ),
}
TYPES = {**test_types.TYPES, **EXTRA_TYPES}
TIME = datetime.datetime(2026, 2, 28, 23, 59, 59, 123456)
EXTRA_VALUES = [
    ("c_times", '["2026-02-28T23:59:59.123456Z",null,0]', [TIME, None, datetime.datetime(1970, 1, 1)]),
    (
        "c_timed",
        '{"a":{"at":"2026-02-28T23:59:59.123456Z","raw":"AAEC"},"b":null}',
        [("a", {"at": TIME, "raw": b"\x00\x01\x02"}), ("b", None)],
    ),
]

# Stream -> its options, the codec of its pages, the unit of its timestamps in microseconds.
OPTIONS = {
    "every": ({}, "SNAPPY", 1),
    "millis": ({"compression": "zstd", "timestamps": "millis"}, "ZSTD", 1000),
    "legacy": ({"compression": "gzip", "timestamps": "int96"}, "GZIP", 1),
    "bare": ({"compression": "none", "binary": "raw"}, "UNCOMPRESSED", 1),
    "second": ({"writer_version": "v2", "dictionary": "never", "page_size": "64 KiB"}, "SNAPPY", 1),
}
# Hive's calendar has other dates before the year 1582.
FIRST_GREGORIAN_DAY = datetime.date(1582, 10, 15)


def canon(value, arrow):
    """A value of any reader in one form: readers differ in their maps, zones and rows."""
    if value is None:
        return None
    if pa.types.is_struct(arrow):
        return {field.name: canon(value[field.name], field.type) for field in arrow}
    if pa.types.is_map(arrow):
        pairs = value.items() if isinstance(value, dict) else value
        pairs = [tuple(pair.values()) if isinstance(pair, dict) else pair for pair in pairs]
        pairs = [(canon(key, arrow.key_type), canon(item, arrow.item_type)) for key, item in pairs]
        # Spark's maps come in no order; keys are unique.
        return sorted(pairs, key=lambda pair: pair[0])
    if pa.types.is_list(arrow):
        return [canon(item, arrow.value_type) for item in value]
    if pa.types.is_timestamp(arrow):
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
    return value


def cut(value, micros):
    """A value whose timestamps are cut to a unit of so many microseconds."""
    if isinstance(value, datetime.datetime):
        return value.replace(microsecond=value.microsecond // micros * micros)
    if isinstance(value, dict):
        return {key: cut(item, micros) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(cut(item, micros) for item in value)
    return value


def raw(value, text):
    """What a binary value is when the bytes of its text are stored."""
    if isinstance(value, bytes):
        return text[value]
    if isinstance(value, dict):
        return {key: raw(item, text) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(raw(item, text) for item in value)
    return value


def records_and_rows():
    records, rows = test_types.good_records()
    for column, text, value in EXTRA_VALUES:
        number = 2000 + len(rows)
        records.append(f'{{"id":{number},"{column}":{text}}}'.encode())
        rows.append({"id": number, column: value})
    return records, rows


def expected_rows(rows, stream):
    options, _codec, micros = OPTIONS[stream]
    text = {b"\x00\x01\x02": b"AAEC", **test_types.BINARY_TEXTS}
    found = {}
    for row in rows:
        row = {name: cut(row.get(name), micros) for name in TYPES}
        if options.get("binary") == "raw":
            row = {name: raw(value, text) for name, value in row.items()}
        found[row["id"]] = row
    assert len(found) == len(rows)
    return found


def by_id(rows):
    found = {}
    for row in rows:
        row = {name: canon(row[name], arrow) for name, (_glue, arrow) in TYPES.items()}
        assert row["id"] not in found, f"row {row['id']} was read twice"
        found[row["id"]] = row
    return found


def assert_equal(reader, stream, found, expected):
    assert found.keys() == expected.keys(), (reader, stream)
    wrong = [
        (number, name, str(row[name])[:200], str(expected[number][name])[:200])
        for number, row in found.items()
        for name in TYPES
        if row[name] != expected[number][name]
    ]
    assert wrong == [], f"{reader} reads other values from stream {stream}"


def columns():
    """The columns as settings and tables write them; a new value each time, since the settings file
    takes no aliases."""
    return {name: glue for name, (glue, _arrow) in TYPES.items()}


def files_of(lake, stream):
    return [str(lake.folder / key) for key in lake.keys() if key.startswith(f"{stream}/")]


@pytest.fixture
def delivered(new_lakehose, folder_lake):
    """The lake with every row in every form of Parquet, and the rows by stream."""
    streams = {
        stream: {**kit.stream_of({"columns": columns()}), "format": {"parquet": options}}
        for stream, (options, _codec, _micros) in OPTIONS.items()
    }
    identity = kit.Identity("acme", tuple(OPTIONS))
    server = new_lakehose([identity], folder_lake, streams).start()
    records, rows = records_and_rows()
    for stream in OPTIONS:
        kit.send(server.firehose(identity), stream, records)
        server.flush(stream)
        kit.assert_conserved(server.status(stream), len(records))
        assert server.status(stream)["failed"] == 0, kit.failures(folder_lake)[:3]
    return folder_lake, {stream: expected_rows(rows, stream) for stream in OPTIONS}


def test_every_reader_finds_equal_values_in_every_form(delivered, tmp_path):
    lake, expected = delivered
    for stream in OPTIONS:
        files = files_of(lake, stream)
        assert_footers(lake, files, stream, len(expected[stream]))
        readers = {"PyArrow": read_with_pyarrow, "Polars": read_with_polars, "DuckDB": read_with_duckdb}
        for name, read in readers.items():
            assert_equal(name, stream, by_id(read(files)), expected[stream])


def test_spark_and_hive_find_equal_values_in_every_form(delivered, tmp_path):
    if shutil.which("java") is None:
        pytest.skip("there is no java: what Spark and Hive read of our files was not looked at")
    assert importlib.util.find_spec("pyspark"), "pip install -r tests/requirements-spark.txt"
    lake, expected = delivered
    orders = [{"files": files_of(lake, s), "columns": columns(), "hive": None} for s in OPTIONS]
    # Hive's own reader takes timestamps as INT96 only.
    folder = tmp_path / "hive-table"
    folder.mkdir()
    for number, file in enumerate(files_of(lake, "legacy")):
        shutil.copy(file, folder / f"{number}.parquet")
    orders.append({"files": [], "columns": columns(), "hive": str(folder)})
    order, result = tmp_path / "spark" / "order.json", tmp_path / "spark" / "rows.pickle"
    order.parent.mkdir()
    order.write_text(json.dumps(orders))
    reader = kit.REPOSITORY / "tests" / "e2e" / "spark_reader.py"
    done = subprocess.run(
        [sys.executable, str(reader), str(order), str(result)],
        cwd=order.parent,
        env=kit.plain_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, "\n".join(kit.re.findall(r".*(?:Caused by|Error|Exception).*", done.stderr))[:3000]
    tables = pickle.loads(result.read_bytes())
    for stream, rows in zip(OPTIONS, tables):
        assert_equal("Spark", stream, by_id(rows), expected[stream])
    assert_equal("Hive", "legacy", gregorian(by_id(tables[-1])), gregorian(expected["legacy"]))


def gregorian(rows):
    """The rows without the dates that another calendar calls otherwise."""
    def kept(day):
        return day if day is None or day >= FIRST_GREGORIAN_DAY else None

    return {number: {**row, "c_date": kept(row["c_date"])} for number, row in rows.items()}


def read_with_pyarrow(files):
    options = {"coerce_int96_timestamp_unit": "us"}
    return [row for file in files for row in pyarrow.parquet.read_table(file, partitioning=None, **options).to_pylist()]


def read_with_polars(files):
    return polars.read_parquet(files, hive_partitioning=False).to_dicts()


def read_with_duckdb(files):
    connection = kit.duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    names = ", ".join(map(kit.quoted, TYPES))
    found = connection.execute(f"SELECT {names} FROM read_parquet(?, hive_partitioning = false)", [files])
    return found.to_arrow_table().to_pylist()


def assert_footers(lake, files, stream, row_count):
    """The codec is the one of the options, and the footers say where the files come from."""
    rows = records = 0
    for file in files:
        metadata = pyarrow.parquet.read_metadata(file)
        codecs = {metadata.row_group(0).column(leaf).compression for leaf in range(metadata.num_columns)}
        # Columns that it does not make smaller are not compressed.
        assert codecs <= {OPTIONS[stream][1], "UNCOMPRESSED"}
        said = {key.decode(): value.decode() for key, value in metadata.metadata.items()}
        assert (said["lakehose.stream"], said["lakehose.tenant"]) == (stream, "acme")
        assert int(said["lakehose.rows"]) == metadata.num_rows
        assert int(said["lakehose.plan"]) > 0 and said["lakehose.schema.version"]
        first, last = int(said["lakehose.position.first"]), int(said["lakehose.position.last"])
        assert last - first + 1 >= int(said["lakehose.records"]) > 0
        assert 0 < int(said["lakehose.arrival.first"]) <= int(said["lakehose.arrival.last"])
        rows += int(said["lakehose.rows"])
        records += int(said["lakehose.records"])
    assert rows == row_count and 0 < records <= rows


def test_records_without_a_schema_are_delivered_as_they_were_sent(new_lakehose, s3_lake, s3):
    formats = {"plain": {}, "packed": {"compression": "gzip", "delimiter": "newline"}}
    streams = {
        name: {"destination": {"store": "lake"}, "format": {"records": records}}
        for name, records in formats.items()
    }
    identity = kit.Identity("acme", ("plain", "packed"))
    server = new_lakehose([identity], s3_lake, streams).start()
    firehose = server.firehose(identity)
    records = [b'{"n":1}', b"", b"no json \xff\x00", b'{"n":2}\n', b'{"n":3}']
    wanted = {
        "plain": (b"".join(records), "", None),
        "packed": (b'{"n":1}\n\nno json \xff\x00\n{"n":2}\n{"n":3}', ".gz", "gzip"),
    }
    for stream, (content, extension, encoding) in wanted.items():
        kit.send(firehose, stream, records)
        server.flush(stream)
        kit.assert_conserved(server.status(stream), len(records))
        [key] = [key for key in s3_lake.keys() if key.startswith(f"{stream}/tenant=acme/year=")]
        name = key.rpartition("/")[2]
        assert name.startswith(f"{stream}-1-") and name.endswith(extension) and (extension or "." not in name)
        told = s3.client().head_object(Bucket=kit.BUCKET, Key=f"{s3_lake.PATH}/{key}")
        assert told.get("ContentEncoding") == encoding, told
        assert told["ContentType"] == "application/octet-stream"
        found = s3_lake.read(key)
        assert (gzip.decompress(found) if encoding else found) == content

        told = firehose.describe_delivery_stream(DeliveryStreamName=stream)
        [told] = told["DeliveryStreamDescription"]["Destinations"]
        told = told["ExtendedS3DestinationDescription"]
        assert told["CompressionFormat"] == ("GZIP" if encoding else "UNCOMPRESSED")
        assert told["DataFormatConversionConfiguration"] == {"Enabled": False}
        processors = [each["Type"] for each in told["ProcessingConfiguration"]["Processors"]]
        assert processors == (["AppendDelimiterToRecord"] if encoding else [])
    assert kit.failures(s3_lake) == []

    # Killed and started again, the server knows what it has delivered.
    server.kill()
    server.start()
    assert len(s3_lake.keys()) == 2


def test_json_is_read_as_the_chosen_deserializer_reads_it(new_lakehose, folder_lake):
    columns = {"id": "int", "ts": "timestamp", "user_name": "string"}
    openx = {
        "column_to_json_key_mappings": {"ts": "timestamp"},
        "convert_dots_in_json_keys_to_underscores": True,
    }
    hive = {"timestamp_formats": ["dd.MM.yyyy HH:mm:ss", "millis"]}
    streams = {
        name: {**kit.stream_of({"columns": dict(columns)}), "format": {"input": {name: options}}}
        for name, options in (("openx", openx), ("hive", hive))
    }
    identity = kit.Identity("acme", tuple(streams))
    server = new_lakehose([identity], folder_lake, streams).start()
    firehose = server.firehose(identity)
    records = {
        "openx": [b'{"ID":"1","timestamp":"2026-02-28T23:59:59Z","User.Name":"a","ts":7}', b'{"id":2,"ts":7}'],
        "hive": [b'{"ID":1,"ts":"28.02.2026 23:59:59","user_name":"a"}', b'{"id":"2"}', b'{"id":2,"ts":0}'],
    }
    time = datetime.datetime(2026, 2, 28, 23, 59, 59, tzinfo=datetime.UTC)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    wanted = {
        "openx": [{"id": 1, "ts": time, "user_name": "a"}, {"id": 2, "ts": None, "user_name": None}],
        "hive": [{"id": 1, "ts": time, "user_name": "a"}, {"id": 2, "ts": epoch, "user_name": None}],
    }
    for stream in streams:
        kit.send(firehose, stream, records[stream])
        server.flush(stream)
        kit.assert_conserved(server.status(stream), len(records[stream]))
        [file] = files_of(folder_lake, stream)
        assert pyarrow.parquet.read_table(file, partitioning=None).to_pylist() == wanted[stream]
    [failure] = kit.failures(folder_lake)
    assert failure.raw == b'{"id":"2"}' and failure.line["lastErrorCode"] == "DataFormatConversion.MalformedData"

    def told(stream):
        [destination] = firehose.describe_delivery_stream(DeliveryStreamName=stream)["DeliveryStreamDescription"][
            "Destinations"
        ]
        conversion = destination["ExtendedS3DestinationDescription"]["DataFormatConversionConfiguration"]
        return conversion["InputFormatConfiguration"]["Deserializer"]

    assert told("openx") == {
        "OpenXJsonSerDe": {
            "ColumnToJsonKeyMappings": {"ts": "timestamp"},
            "ConvertDotsInJsonKeysToUnderscores": True,
        }
    }
    assert told("hive") == {"HiveJsonSerDe": {"TimestampFormats": ["dd.MM.yyyy HH:mm:ss", "millis"]}}
