"""Ends and starts: in order, twice at once, and on a folder of another format."""

import json

import pytest

import kit

IDENTITY = kit.Identity("acme", ("clicks",))
STREAMS = {
    # Nothing closes by itself while a test runs.
    "clicks": kit.stream_of({"columns": {"id": "string"}}, size="64 MiB", interval="900 s")
}
RECORDS = [json.dumps({"id": f"r{number}"}).encode() for number in range(1_000)]
CONFIG_FAULT = 78


def ids(lake):
    found = lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(lake, 'clicks')} ORDER BY id")
    return [name for (name,) in found.fetchall()]


def test_sigterm_delivers_what_is_buffered_and_ends_with_zero(new_lakehose, folder_lake, tmp_path):
    server = new_lakehose([IDENTITY], folder_lake, STREAMS).start()
    kit.send(server.firehose(IDENTITY), "clicks", RECORDS)
    assert folder_lake.keys() == []
    assert server.status("clicks")["pending"] == len(RECORDS)
    assert server.terminate() == 0, server.log_tail()
    expected = sorted(json.loads(record)["id"] for record in RECORDS)
    assert ids(folder_lake) == expected
    kit.assert_partitions_are_the_folders(
        folder_lake, "clicks", tmp_path / "catalog", "lakehose", "clicks"
    )

    # The counts outlive the process, and nothing is delivered again.
    server.start()
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), len(RECORDS))
    assert ids(folder_lake) == expected


def test_buffered_records_outlive_a_kill_without_being_sent_twice(new_lakehose, folder_lake):
    server = new_lakehose([IDENTITY], folder_lake, STREAMS).start()
    kit.send(server.firehose(IDENTITY), "clicks", RECORDS[:600])
    server.kill()
    server.start()
    assert server.status("clicks")["pending"] == 600
    kit.send(server.firehose(IDENTITY), "clicks", RECORDS[600:])
    server.flush("clicks")
    assert ids(folder_lake) == sorted(json.loads(record)["id"] for record in RECORDS)


def test_a_data_folder_has_one_process(new_lakehose, folder_lake):
    server = new_lakehose([IDENTITY], folder_lake, STREAMS).start()
    second = new_lakehose([IDENTITY], folder_lake, STREAMS, name="second")
    second.serve()
    assert second.wait() != 0
    assert str(server.data_dir) in second.log_text(), second.log_tail()
    assert "panicked" not in second.log_text()

    # The first one lives on, and so does the file that says where.
    assert json.loads(server.addresses_file.read_text())["listen"] in server.endpoint
    kit.send(server.firehose(IDENTITY), "clicks", RECORDS)
    server.flush("clicks")
    assert len(ids(folder_lake)) == len(RECORDS)


@pytest.mark.parametrize("change", [{"format": 999}, {"format": None}], ids=["newer", "missing"])
def test_a_data_folder_of_another_format_is_left_alone(change, new_lakehose, folder_lake):
    server = new_lakehose([IDENTITY], folder_lake, STREAMS).start()
    kit.send(server.firehose(IDENTITY), "clicks", RECORDS)
    assert server.terminate() == 0, server.log_tail()
    file = server.data_dir / "identity.json"
    genuine = json.loads(file.read_text())
    assert genuine["format"] == 1, genuine
    changed = {key: value for key, value in {**genuine, **change}.items() if value is not None}
    file.write_text(json.dumps(changed))

    server.serve()
    assert server.wait() == CONFIG_FAULT, server.log_tail()
    assert "format" in server.log_text() and "identity.json" in server.log_text(), server.log_tail()
    assert json.loads(file.read_text()) == changed

    file.write_text(json.dumps(genuine))
    server.start()
    kit.assert_conserved(server.status("clicks"), len(RECORDS))
