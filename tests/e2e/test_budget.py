"""The disk budget is used up while the store is away: calls are refused, nothing accepted is lost."""

import json
import os
import statistics
import time

import botocore.exceptions

import kit

ACME = kit.Identity("acme", ("clicks",))
GLOBEX = kit.Identity("globex", ("visits",))
IDENTITIES = [ACME]
COLUMNS = {"id": "string", "noise": "string"}
BUDGET_BYTES = 64 << 20
# What a refusal may take, apart from the time that the machine is busy with other things.
REFUSAL_SECONDS = 0.01


def make_record(name, _number):
    """About 16 KB that do not get smaller."""
    return json.dumps({"id": name, "noise": os.urandom(8000).hex()}).encode()


def refusal_seconds(server, load):
    """How long refusals take, over many of them; what is taken in between is noted as taken."""
    firehose, took, number = server.firehose(ACME), [], 0
    while len(took) < 40:
        name = f"acme-9-{number:08d}"
        number += 1
        record = {"Data": make_record(name, number)}
        began = time.monotonic()
        try:
            firehose.put_record(DeliveryStreamName="clicks", Record=record)
            load.acked.add(name)
        except botocore.exceptions.ClientError as error:
            took.append(time.monotonic() - began)
            answer = error.response
            assert answer["Error"]["Code"] == "ServiceUnavailableException", answer
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500, answer
    return took


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
        # The fastest half, since the load goes on beside it.
        took = sorted(refusal_seconds(server, load))
        assert statistics.median(took[: len(took) // 2]) <= REFUSAL_SECONDS, took
        used = kit.du_bytes(server.data_dir)
        assert used <= BUDGET_BYTES, f"{used} bytes on disk"
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


def test_a_restart_out_of_a_full_budget_delivers_and_takes_records_again(s3, s3_lake, new_lakehose):
    streams = {"clicks": kit.stream_of({"columns": COLUMNS}, size="4 MiB", interval="900 s")}
    server = new_lakehose(IDENTITIES, s3_lake, streams, disk_budget="64 MiB").start()
    s3.set_faults(put_status=503)
    with kit.Load(server, IDENTITIES, "clicks", make_record, batch=50) as load:
        kit.wait_for(lambda: load.refused, 120, "a refusal")
    server.kill()
    server.start()
    s3.set_faults()
    server.flush("clicks")
    kit.send(server.firehose(ACME), "clicks", [make_record("acme-9-00000000", 0)])
    load.acked.add("acme-9-00000000")
    server.flush("clicks")
    rows = s3_lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(s3_lake, 'clicks')}").fetchall()
    kit.assert_exactly_once(load, [name for (name,) in rows])


def test_a_stream_that_used_up_more_than_its_share_leaves_the_others_theirs(
    s3, s3_lake, folder_lake, new_lakehose
):
    def stream_into(store):
        stream = kit.stream_of({"columns": dict(COLUMNS)}, size="2 MiB", interval="1 s")
        return stream | {"destination": {"store": store}}

    server = new_lakehose(
        [ACME, GLOBEX],
        s3_lake,
        {"clicks": stream_into("lake"), "visits": stream_into("folder")},
        stores={"lake": s3_lake.settings(), "folder": folder_lake.settings()},
        disk_budget="64 MiB",
    ).start()
    s3.set_faults(put_status=503)
    with kit.Load(server, [ACME], "clicks", make_record, batch=50) as greedy:
        kit.wait_for(lambda: len(greedy.refused) > 200, 120, "the greedy stream to be refused")
        with kit.Load(
            server, [GLOBEX], "visits", make_record, batch=10, bytes_per_second=500_000
        ) as modest:
            kit.wait_for(lambda: len(modest.acked) >= 200, 120, "the modest stream to be taken")
    assert not modest.refused and not modest.ambiguous, (len(modest.refused), len(modest.ambiguous))
    server.flush("visits")
    assert server.status("clicks")["pending"] > 0
    used = kit.du_bytes(server.data_dir)
    assert used <= BUDGET_BYTES, f"{used} bytes on disk"
    s3.set_faults()
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), len(greedy.acked))
    kit.assert_conserved(server.status("visits"), len(modest.acked))
