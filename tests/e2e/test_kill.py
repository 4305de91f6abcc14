"""kill -9, again and again, at the worst of times."""

import json
import os
import random
import re
import time

import kit

CYCLES = int(os.environ.get("LAKEHOSE_KILL_CYCLES", "30"))
ACKED_PER_CYCLE = 2_000
# Two producers for each of two tenants.
IDENTITIES = [kit.Identity(tenant, ("clicks",)) for tenant in ("acme", "globex")]
ID = re.compile(rb'"id": ?"([\w-]+)"')


def is_bad(number):
    return number % 97 in (13, 14)


def make_record(name, number):
    """A row, or now and then a misfit or a torn document: both name their id."""
    document = {"id": name, "number": number, "text": f"{name} " * 20}
    if number % 97 == 13:
        document["number"] = "oops"
    text = json.dumps(document).encode()
    return text[:-20] if number % 97 == 14 else text


def ids_in_rows(lake):
    """Every row's id, and whether a row changed on its way."""
    connection = lake.duckdb()
    connection.execute(f"CREATE TABLE found AS SELECT * FROM {kit.rows_of(lake, 'clicks')}")
    changed = connection.execute(
        "SELECT id, number, text, tenant FROM found WHERE tenant <> split_part(id, '-', 1) "
        "OR number <> CAST(split_part(id, '-', 3) AS BIGINT) OR text <> repeat(id || ' ', 20) LIMIT 5"
    ).fetchall()
    assert changed == []
    return [name for (name,) in connection.execute("SELECT id FROM found").fetchall()]


def ids_in_failures(lake):
    found = []
    for failure in kit.failures(lake, "errors/clicks/"):
        name = ID.search(failure.raw)[1].decode()
        assert f"/tenant={name.split('-')[0]}/" in failure.key, (name, failure.key)
        assert is_bad(int(name.split("-")[2])), f"{name} is a good record: {failure.line}"
        found.append(name)
    return found


def test_killed_thirty_times_every_acknowledged_record_is_there_once(
    s3, s3_lake, new_lakehose, tmp_path
):
    columns = {"id": "string", "number": "bigint", "text": "string"}
    streams = {"clicks": kit.stream_of({"columns": columns}, size="1 MiB", interval="1 s")}
    server = new_lakehose(IDENTITIES, s3_lake, streams).start()
    # Puts take long, and the answers of some are lost though they were carried out.
    s3.set_faults(put_delay_ms=200, put_lost_answer_every=7)
    chance = random.Random(20_261_120)

    with kit.Load(server, IDENTITIES * 2, "clicks", make_record) as load:
        for cycle in range(CYCLES):
            before, moment = len(load.acked), chance.uniform(0, 0.1)

            def is_worst_moment():
                load.check()
                server.assert_alive()
                enough = len(load.acked) - before >= ACKED_PER_CYCLE
                return enough and (
                    s3.state()["puts_in_flight"] > 0 or server.status("clicks")["open_plans"] > 0
                )

            kit.wait_for(is_worst_moment, 60, f"load and open plans in cycle {cycle}")
            # Not always at the same point of the put.
            time.sleep(moment)
            server.kill()
            server.start()

    s3.set_faults()
    server.flush("clicks")
    assert len(load.acked) >= CYCLES * ACKED_PER_CYCLE
    found = ids_in_rows(s3_lake)
    failed = ids_in_failures(s3_lake)
    kit.assert_exactly_once(load, found + failed)
    status = server.status("clicks")
    kit.assert_conserved(status, len(found) + len(failed))
    assert status["delivered"] == len(found), status
    assert s3.state()["keys_rewritten_with_other_bytes"] == 0
    kit.assert_partitions_are_the_folders(
        s3_lake, "clicks", tmp_path / "catalog", "lakehose", "clicks"
    )
