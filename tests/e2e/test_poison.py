"""A record that the process does not survive: it is set apart, and its neighbours are delivered."""

import json
import pathlib
import re
import subprocess

import kit

ACME = kit.Identity("acme", ("clicks",))
# An empty struct of the array takes three bytes in the record, and thousands in columns; more values
# than these in a record would be refused before they take any.
FIELDS = 400
STRUCTS = 5_000
COLUMNS = {
    "id": "string",
    "a": f"array<struct<{','.join(f'f{number}:decimal(38,0)' for number in range(FIELDS))}>>",
}
# What the process gets beside what it takes for records of the same table.
MEMORY_BYTES = 24 << 20
DEATHS_MAX = 3
VIRTUAL = re.compile(r"VmSize:\s+(\d+) kB")


def test_a_record_that_needs_more_memory_than_there_is_fails_alone(folder_lake, new_lakehose):
    stream = kit.stream_of({"columns": COLUMNS}, interval="1 s")
    server = new_lakehose([ACME], folder_lake, {"clicks": stream})
    # Otherwise the allocator takes addresses for later, and keeps for a time those that are free again;
    # and libraries in C take 64 MiB of them for a second thread.
    server.secrets = {
        **server.secrets,
        "_RJEM_MALLOC_CONF": "retain:false,narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0",
        "MALLOC_ARENA_MAX": "1",
    }
    server.start()
    good = [
        json.dumps({"id": f"good-{number}", "a": [{"f1": number}]}).encode() for number in range(300)
    ]
    firehose = server.firehose(ACME)
    kit.send(firehose, "clicks", good[:100])
    server.flush("clicks")
    status = pathlib.Path(f"/proc/{server.child.pid}/status").read_text()
    limit = int(VIRTUAL.search(status)[1]) * 1024 + MEMORY_BYTES
    subprocess.run(["prlimit", f"--pid={server.child.pid}", f"--as={limit}"], check=True)
    server.run_by = ("prlimit", f"--as={limit}")

    poison = b'{"id":"poison","a":[' + b",".join([b"{}"] * STRUCTS) + b"]}"
    kit.send(firehose, "clicks", [*good[100:200], poison, *good[200:]])

    deaths = 0
    while True:
        kit.wait_for(
            lambda: not server.is_alive() or is_drained(server), 120, "an end or a delivery", every=0.1
        )
        if server.is_alive():
            break
        deaths += 1
        assert deaths <= DEATHS_MAX, server.log_tail()
        server.start()
    assert deaths > 0, "the record was none"

    status = server.status("clicks")
    assert (status["delivered"], status["failed"]) == (300, 1), status
    (failure,) = kit.failures(folder_lake)
    assert failure.raw == poison and failure.line["errorCode"] == "Lakehose.Poison", failure.line
    rows = folder_lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(folder_lake, 'clicks')}")
    assert {name for (name,) in rows.fetchall()} == {f"good-{number}" for number in range(300)}


def is_drained(server):
    try:
        return server.status("clicks")["pending"] == 0
    except OSError:
        # It has ended in the middle of the answer.
        return False
