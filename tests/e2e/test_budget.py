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


def refused_ready(server):
    """What keeps the service from being ready, if anything does."""
    status, text = kit.http("GET", f"{server.admin}/ready")
    return text if status == 503 else None


def test_a_used_up_budget_refuses_calls_until_the_backlog_is_delivered(s3, s3_lake, new_lakehose):
    streams = {"clicks": kit.stream_of({"columns": COLUMNS}, size="4 MiB", interval="900 s")}
    server = new_lakehose(IDENTITIES, s3_lake, streams, disk_budget="64 MiB").start()
    s3.set_faults(put_status=503)

    with kit.Load(server, IDENTITIES, "clicks", make_record, batch=50) as load:
        kit.wait_for(lambda: load.refused, 120, "a refusal")
        used = kit.du_bytes(server.data_dir)
        status = server.status("clicks")
        answer = kit.wait_for(lambda: refused_ready(server), 60, "refusing to be told")
        assert "the disk budget is used up" in answer
        told = server.run("status", "--admin", server.admin).stdout
        assert "records are refused until some are delivered: clicks" in told, told
        assert server.run("ready", "--admin", server.admin).returncode == 1
        assert used <= BUDGET_BYTES, f"{used} bytes on disk"
        assert status["pending"] > 0 and status["blocked"], status
        s3.set_faults()
        taken = len(load.acked)
        kit.wait_for(lambda: len(load.acked) > taken + 500, 120, "calls to be taken again")

    server.flush("clicks")
    kit.wait_for(lambda: not refused_ready(server), 60, "records to be taken")
    standing = json.loads(server.run("status", "--json", "--admin", server.admin).stdout)["disk_budget"]
    assert standing["limit_bytes"] == BUDGET_BYTES and standing["refused_streams"] == [], standing
    log = server.log_text()
    begun, ended = log.count("the disk budget is used up"), log.count("records are taken again")
    assert begun == ended == 1, log[-4000:]
    rows = s3_lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(s3_lake, 'clicks')}").fetchall()
    kit.assert_exactly_once(load, [name for (name,) in rows])
    kit.assert_conserved(server.status("clicks"), len(load.acked))
