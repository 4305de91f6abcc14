"""`lakehose preview` prints the keys, rows and rejects that the server then delivers."""

import json
import re
import time

import kit
import pyarrow.parquet
import pytest

ACME = kit.Identity("acme", ("things",))
COLUMNS = {
    "id": "int",
    "name": "string",
    "ratio": "double",
    "price": "decimal(8,2)",
    "due": "date",
    "tags": "array<int>",
    "extra": "map<string,string>",
    "inner": "struct<a:boolean,b:varchar(3)>",
}
GOOD = [
    b'{"id": 1, "name": "a | b", "ratio": 1.5, "price": "12.5", "due": "2026-11-20"}',
    b'{"ID": "2", "name": {"k": [1, 2]}, "tags": [1, null, 3], "extra": {"x": "y"}, "inner": {"a": "TRUE"}}',
    '{"id": 3, "name": "ü\\n☕", "unknown": 1, "inner": {"a": null, "b": "abc"}}'.encode(),
    b"{}",
    b'{"id": 4}{"id": 5} {"id": 6}',
]
FAULTY = [
    b"nope",
    b'{"id": 1',
    b'{"id": 1} trailing',
    b"[1, 2]",
    b'"text"',
    b"null",
    b'{"id": "x"}',
    b'{"id": 1.5}',
    b'{"id": 2147483648}',
    b'{"ratio": "NaN"}',
    b'{"price": 12345678.9}',
    b'{"due": "2026-02-30"}',
    b'{"due": 20260220}',
    b'{"tags": {"a": 1}}',
    b'{"tags": [1, "x"]}',
    b'{"extra": ["x"]}',
    b'{"inner": {"a": "maybe"}}',
    b'{"inner": {"b": "abcd"}}',
    b'{"id": 1}{"id": "bad"}',
    b'{"name": "\xff"}',
    b"\x00\x01\x02",
    b'{"name": "\\ud800"}',
    b'{"name": ' + b"[" * 70 + b"]" * 70 + b"}",
    b'{"name": "' + b"x" * 200 + b'", "id": true}',
]
RECORDS = [record for pair in zip(GOOD * 5, FAULTY) for record in pair]


def same_but_random(key):
    """A key without what differs from one object to the next: the random part and the time."""
    key = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "RANDOM", key)
    return re.sub(r"\d+", "#", key)


def cell(value):
    """A value as the preview shows it."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return "{" + ", ".join(f"{cell(key)}: {cell(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(cell, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{cell(key)}: {cell(item)}" for key, item in value.items()) + "}"
    return str(value)


def shortened(text):
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)
    return text if len(text) <= 60 else text[:60] + "…"


def previewed(text):
    """The objects of the page: key -> lines."""
    objects = {}
    for block in text.split("\n\n"):
        head, *lines = block.splitlines()
        if match := re.match(r"(data|error) object (\S+) \(", head):
            objects[same_but_random(match[2])] = (match[1], lines)
    return objects


@pytest.fixture
def server(new_lakehose, folder_lake):
    stream = kit.stream_of({"columns": COLUMNS})
    return new_lakehose([ACME], folder_lake, {"things": stream})


def preview(server, sample, *arguments):
    done = server.run(
        "preview", "--config", server.settings_file, "--stream", "things", sample, *arguments
    )
    assert done.returncode == 0, done
    return done.stdout


def test_keys_rows_and_rejects_are_those_that_the_server_delivers(server, folder_lake, tmp_path):
    sample = tmp_path / "sample.ndjson"
    sample.write_bytes(b"\n".join(RECORDS) + b"\n")
    page = preview(server, sample, "--records", "1000")
    assert folder_lake.keys() == [], "a preview touches no store"
    assert not (tmp_path / "data").exists() and not (tmp_path / "catalog").exists()

    server.start()
    producer = server.firehose(ACME)
    producer.put_record_batch(
        DeliveryStreamName="things", Records=[{"Data": record} for record in RECORDS]
    )
    server.flush("things")

    objects = previewed(page)
    keys = folder_lake.keys()
    assert sorted(objects) == sorted(map(same_but_random, keys)), page
    for key in keys:
        kind, lines = objects[same_but_random(key)]
        if kind == "data":
            table = pyarrow.parquet.read_table(folder_lake.folder / key, partitioning=None)
            rows = [[shortened(cell(value)) for value in row.values()] for row in table.to_pylist()]
            assert re.findall(r"\w+", lines[0]) == list(COLUMNS)
            # Cells may hold the mark between cells, so whole lines are compared without it.
            tight = [re.sub(r"[ |]", "", line) for line in lines[1:]]
            assert tight == [re.sub(r"[ |]", "", "".join(row)) for row in rows]
        else:
            failures = kit.failures(folder_lake)
            expected = []
            for failure in failures:
                line = failure.line
                code, message = line["lastErrorCode"], line["lastErrorMessage"]
                expected.append(f"{code}: {message}")
                expected.append(shortened(failure.raw.decode(errors="replace")))
            found = [re.sub(r"^line \d+: ", "", line.strip()) for line in lines]
            assert found == [line.strip() for line in expected]
    good, bad = len(RECORDS) // 2, len(RECORDS) // 2
    assert f"delivered {good}, failed {bad}, dropped 0" in page


def test_failed_records_are_named_by_their_line(server, tmp_path):
    sample = tmp_path / "sample.ndjson"
    sample.write_bytes(b'{"id": 1}\n\n{"id": "x"}\nnope\n')
    page = preview(server, sample)
    assert "line 3: DataFormatConversion.MalformedData: " in page, page
    assert "line 4: DataFormatConversion.ParseError: " in page, page
    assert "written by tenant acme" in page
    assert "things/tenant=acme/year=" in page


def test_items_of_an_array_are_counted_as_the_plain_endpoint_counts_them(server, tmp_path):
    sample = tmp_path / "sample.json"
    sample.write_bytes('\ufeff[{"id": 1},\n 7, {"id": 2}, null, {"id": "x"}]\n'.encode())
    page = preview(server, sample)
    assert "5 of 5 records" in page and "delivered 2, failed 3, dropped 0" in page, page
    for item in (2, 4, 5):
        assert f"item {item}: DataFormatConversion." in page, page
    lines = tmp_path / "sample.ndjson"
    lines.write_bytes('\ufeff{"id": 1}\n{"id": 2}\n'.encode())
    assert "delivered 2, failed 0" in preview(server, lines)


def test_the_estimate_states_what_it_assumes(server, tmp_path):
    sample = tmp_path / "sample.ndjson"
    sample.write_bytes(b'{"id": 1}\n' * 10)
    page = preview(server, sample, "--records", "4", "--per-hour", "1000000")
    # 900 s or 4 MiB.
    assert "4 of 10 records" in page
    assert "about 4 under the prefix, if 1,000,000 records of 9 bytes come in an hour" in page, page


def test_wrong_questions_say_what_to_write(server, tmp_path):
    sample = tmp_path / "sample.ndjson"
    sample.write_bytes(b'{"id": 1}\n')
    ask = ["preview", "--config", server.settings_file, sample]
    for arguments, part in (
        (["--stream", "nothing"], "there is no stream 'nothing': write one of things"),
        (["--tenant", "globex"], "has the tenant 'globex'; there are: acme"),
    ):
        done = server.run(*ask, *arguments)
        assert done.returncode == 1 and part in done.stderr, done


def test_a_large_sample_is_split_into_objects_by_the_size_hint(server, tmp_path):
    sample = tmp_path / "sample.ndjson"
    record = json.dumps({"name": "x" * 1_000}).encode()
    sample.write_bytes((record + b"\n") * 9_000)
    began = time.monotonic()
    page = preview(server, sample, "--records", "9000")
    # 4 MiB of records each.
    assert len(re.findall(r"^data object ", page, re.MULTILINE)) == 3, page[-500:]
    assert time.monotonic() - began < 50
