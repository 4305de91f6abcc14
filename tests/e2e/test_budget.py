"""The disk budget is used up while the store is away: calls are refused, nothing accepted is lost."""

import json
import os

import kit

IDENTITIES = [kit.Identity("acme", ("clicks",))]
COLUMNS = {"id": "string", "noise": "string"}
BUDGET_BYTES = 64 << 20


def make_record(name, _number):
    """About 16 KB that do not get smaller."""
    return json.dumps({"id": name, "noise": os.urandom(8000).hex()}).encode()


def test_a_used_up_budget_refuses_calls_until_the_backlog_is_delivered(s3, s3_lake, new_lakehose):
    streams = {"clicks": kit.stream_of({"columns": COLUMNS}, size="4 MiB", interval="900 s")}
    server = new_lakehose(IDENTITIES, s3_lake, streams, disk_budget="64 MiB").start()
    s3.set_faults(put_status=503)

    with kit.Load(server, IDENTITIES, "clicks", make_record, batch=50) as load:
        kit.wait_for(lambda: load.refused, 120, "a refusal")
        used = kit.du_bytes(server.data_dir)
        status = server.status("clicks")
        assert used <= BUDGET_BYTES, f"{used} bytes on disk"
        assert status["pending"] > 0 and status["blocked"], status
        s3.set_faults()
        taken = len(load.acked)
        kit.wait_for(lambda: len(load.acked) > taken + 500, 120, "calls to be taken again")

    server.flush("clicks")
    rows = s3_lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(s3_lake, 'clicks')}").fetchall()
    kit.assert_exactly_once(load, [name for (name,) in rows])
    kit.assert_conserved(server.status("clicks"), len(load.acked))
