"""The raw source backup: every record as it was sent, once, whatever hooks make of it."""

import collections
import contextlib
import gzip
import json
import random

import hooks_kit
import kit

ACME = kit.Identity("acme", ("clicks",))
IDENTITIES = [kit.Identity(tenant, ("clicks",)) for tenant in ("acme", "globex")]
COLUMNS = {"id": "string", "do": "string", "token": "string", "part": "int", "of": "int"}
KILLS = 10


def backup(**more):
    buffering = {"size": "1 MiB", "interval": "1 s"}
    prefix = "raw/clicks/tenant=!{lakehose:tenant}/"
    return {"store": "lake", "prefix": prefix, "compression": "gzip", "buffering": buffering, **more}


def stream(hook, **patience):
    buffering = {"size": "64 KiB", "interval": "50 ms"}
    step = {"http": {"url": hook.url, "buffering": buffering, **patience}}
    settings = kit.stream_of({"columns": dict(COLUMNS)}, size="1 MiB", interval="1 s")
    return {**settings, "transform": [step], "backup": backup()}


def backed_up(lake):
    """Tenant and text of each JSON document in the backup, once for each time."""
    found, decoder = [], json.JSONDecoder()
    for key in lake.keys():
        if not key.startswith("raw/"):
            continue
        assert key.endswith(".gz"), key
        tenant = key.split("/tenant=")[1].split("/")[0]
        # Nothing stands between the records, as in an object of Firehose.
        text = gzip.decompress(lake.read(key)).decode()
        at = 0
        while at < len(text):
            _, end = decoder.raw_decode(text, at)
            found.append((tenant, text[at:end]))
            at = end
    return found


def assert_backup_is_done(status, count):
    kept = status["backup"]
    ends = tuple(kept[end] for end in ("accepted", "delivered", "damaged", "pending"))
    assert ends == (count, count, 0, 0), status


def test_the_backup_holds_the_bytes_of_all_records_also_of_those_that_a_hook_drops_or_fails(
    new_lakehose, folder_lake
):
    kinds = ["ok", "parts", "drop", "fail", "missing", "duplicate", "nodata"]
    sent = [
        # Spaces and escapes as no encoder of ours would write them.
        '{ "id":"%s-%d",  "do": "%s", "text": "\\u0041 \\/" }' % (do, number, do)
        for number in range(50)
        for do in kinds
    ]
    with contextlib.closing(hooks_kit.Hook()) as hook:
        streams = {"clicks": stream(hook, timeout="20 s", retries=1)}
        server = new_lakehose([ACME], folder_lake, streams).start()
        with kit.Watch(server, "clicks"):
            kit.send(server.firehose(ACME), "clicks", [text.encode() for text in sent], batch=100)
            server.flush("clicks")
    status = server.status("clicks")
    ends = tuple(status[end] for end in ("delivered", "dropped", "failed", "pending"))
    assert ends == (200, 50, 200, 0), status
    assert_backup_is_done(status, len(sent))
    expected = collections.Counter(("acme", text) for text in sent)
    assert collections.Counter(backed_up(folder_lake)) == expected


def test_a_hook_that_is_away_does_not_hold_the_backup(new_lakehose, folder_lake):
    with contextlib.closing(hooks_kit.Hook()) as hook:
        hook.go()
        server = new_lakehose([ACME], folder_lake, {"clicks": stream(hook)}).start()
        sent = [json.dumps({"id": f"ok-{number}"}) for number in range(20)]
        kit.send(server.firehose(ACME), "clicks", [text.encode() for text in sent])

        def is_kept():
            return server.status("clicks")["backup"]["delivered"] == len(sent)

        kit.wait_for(is_kept, 60, "the backup")
        assert server.status("clicks")["pending"] == len(sent)
        assert sorted(backed_up(folder_lake)) == sorted(("acme", text) for text in sent)
        hook.come()
        server.flush("clicks")
        assert server.status("clicks")["delivered"] == len(sent)
    # And not once more.
    assert_backup_is_done(server.status("clicks"), len(sent))
    assert len(backed_up(folder_lake)) == len(sent)


def test_killed_ten_times_every_record_is_in_the_backup_once_and_ends_in_one_way(
    s3, s3_lake, new_lakehose
):
    chance = random.Random(20_261_125)
    ends = {0: "drop", 1: "fail", 2: "ok", 3: "differ"}

    def kind(name):
        return ends[int(name.split("-")[2]) % len(ends)]

    def make_record(name, number):
        return json.dumps({"id": name, "do": ends[number % len(ends)]}).encode()

    with contextlib.closing(hooks_kit.Hook()) as hook:
        settings = stream(hook, timeout="20 s", retries=5)
        # Many small objects, so that kills find them on their way.
        settings["buffering"]["interval"] = settings["backup"]["buffering"]["interval"] = "100 ms"
        streams = {"clicks": settings}
        server = new_lakehose(IDENTITIES, s3_lake, streams).start()
        s3.set_faults(put_delay_ms=100, put_lost_answer_every=5)
        with kit.Watch(server, "clicks"):
            with kit.Load(server, IDENTITIES, "clicks", make_record, batch=50) as load:
                for cycle in range(KILLS):
                    before, wanted = len(load.acked), chance.randint(200, 600)

                    def is_worst_moment():
                        load.check()
                        server.assert_alive()
                        enough = len(load.acked) - before >= wanted
                        # In turn: an object of the backup, and any object, is on its way.
                        if cycle % 2:
                            return enough and s3.state()["puts_in_flight"] > 0
                        return enough and server.status("clicks")["backup"]["open_plans"] > 0

                    kit.wait_for(is_worst_moment, 60, f"load and objects in cycle {cycle}")
                    server.kill()
                    server.start()
            s3.set_faults()
            server.flush("clicks")

    status = server.status("clicks")
    kept = [(tenant, json.loads(text)) for tenant, text in backed_up(s3_lake)]
    assert_backup_is_done(status, len(kept))
    assert all(event["id"].startswith(f"{tenant}-") for tenant, event in kept)
    assert all(event.keys() == {"id", "do"} for _, event in kept), "as it was sent"
    names = [event["id"] for _, event in kept]
    kit.assert_exactly_once(load, names)

    # What is in the backup is what has ended, each in its way: neither side has more.
    query = f'SELECT id, token, part, "of" FROM {kit.rows_of(s3_lake, "clicks")}'
    rows = collections.defaultdict(list)
    for name, *answer in s3_lake.duckdb().execute(query).fetchall():
        rows[name].append(tuple(answer))
    failed = [json.loads(failure.raw)["id"] for failure in kit.failures(s3_lake)]
    assert sorted(failed) == sorted(name for name in names if kind(name) == "fail")
    assert rows.keys() == {name for name in names if kind(name) in ("ok", "differ")}
    for name, parts in rows.items():
        token, _, count = parts[0]
        of_one = [(token, part, count) for part in range(count)] if count else [(None, None, None)]
        assert sorted(parts) == of_one, f"{name} is of more than one answer, or cut: {parts}"
    dropped = sum(kind(name) == "drop" for name in names)
    found = tuple(status[end] for end in ("delivered", "failed", "dropped", "damaged", "pending"))
    assert found == (sum(map(len, rows.values())), len(failed), dropped, 0, 0), status
    assert s3.state()["keys_rewritten_with_other_bytes"] == 0
