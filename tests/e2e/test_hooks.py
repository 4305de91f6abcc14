"""Hooks before the conversion, and the raw backup beside them, with the compiled server."""

import collections
import contextlib
import gzip
import json
import random

import hooks_kit
import kit

ACME = kit.Identity("acme", ("clicks",))
BOTH = kit.Identity("acme", ("clicks", "other"))
COLUMNS = {"id": "string", "do": "string", "seen": "boolean", "part": "int", "token": "string",
           "of": "int"}
# Each of them and what becomes of it; several parts are three.
KINDS = {"ok": ("Ok", 1), "parts": ("Ok", 3), "drop": ("Dropped", 0),
         "fail": ("Lambda.ProcessingFailedStatus", 0), "missing": ("Lambda.MissingRecordId", 0),
         "duplicate": ("Lambda.DuplicatedRecordId", 0), "result": ("Lambda.FunctionError", 0),
         "base64": ("Lambda.FunctionError", 0), "nodata": ("Lambda.InvalidReturnFormat", 0)}


def stream(transform, **more):
    return {**kit.stream_of({"columns": dict(COLUMNS)}, interval="1 s"), "transform": transform, **more}


def conserved(status):
    ends = ("delivered", "failed", "dropped", "damaged", "pending")
    assert status["accepted"] == sum(status[end] for end in ends), status
    return status


def rows(lake, prefix="clicks"):
    query = f'SELECT id, part, token, "of" FROM {kit.rows_of(lake, prefix)}'
    return lake.duckdb().execute(query).fetchall()


def backed_up(lake):
    """The ids in the backup, once for each time."""
    found = []
    for key in lake.keys():
        if key.startswith("raw/"):
            assert "/tenant=acme/" in key and key.endswith(".gz"), key
            lines = gzip.decompress(lake.read(key)).decode().splitlines()
            found += [json.loads(line)["id"] for line in lines]
    return found


def records(kinds, count):
    events = [{"id": f"{do}-{n}", "do": do} for n in range(count) for do in kinds]
    return [json.dumps(event).encode() for event in events]


def check_contract(server, lake, kinds=KINDS, count=5):
    """Sends of every kind, and finds each as its hook left it."""
    kit.send(server.firehose(ACME), "clicks", records(kinds, count))
    conserved(server.status("clicks"))
    server.flush("clicks")
    status = conserved(server.status("clicks"))
    parts = sum(parts for _, parts in kinds.values())
    dropped = sum(code == "Dropped" for code, _ in kinds.values())
    failed = len(kinds) - dropped - sum(code == "Ok" for code, _ in kinds.values())
    wanted = (parts * count, failed * count, dropped * count, 0)
    states = ("delivered", "failed", "dropped", "pending")
    assert tuple(status[state] for state in states) == wanted, status
    ids = collections.Counter(name for name, *_ in rows(lake))
    assert ids == {f"{do}-{n}": parts for do, (_, parts) in kinds.items() if parts for n in range(count)}
    codes = {}
    for failure in kit.failures(lake):
        assert "/processing-failed/" in failure.key
        event = json.loads(failure.raw)
        assert "seen" not in event, "the record as it was sent"
        members = ["rawData", "errorCode", "errorMessage", "attemptsMade", "arrivalTimestamp",
                   "attemptEndingTimestamp"]
        assert [name for name in failure.line if name != "lambdaARN"] == members
        codes[event["id"]] = failure.line
    wanted = {f"{do}-{n}": code for do, (code, parts) in kinds.items()
              if not parts and code != "Dropped" for n in range(count)}
    assert {name: line["errorCode"] for name, line in codes.items()} == wanted
    return codes


def test_an_http_hook_keeps_lambdas_contract(new_lakehose, folder_lake):
    with contextlib.closing(hooks_kit.Hook()) as hook:
        step = {"http": {"url": hook.url, "timeout": "5 s", "retries": 1}}
        server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
        check_contract(server, folder_lake)


def test_a_lambda_function_is_invoked_and_named_in_failures(new_lakehose, folder_lake):
    arn = "arn:aws:lambda:us-east-1:111122223333:function:enrich"
    with contextlib.closing(hooks_kit.Hook()) as hook:
        step = {"lambda": {"arn": arn, "endpoint": hook.url, "access_key": "AK", "retries": 1,
                           "secret": "${env:ACME_SECRET}"}}
        secrets = kit.secrets_of([ACME])
        step["lambda"]["secret"] = "${env:%s}" % next(iter(secrets))
        server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
        codes = check_contract(server, folder_lake)
        assert {line["lambdaARN"] for line in codes.values()} == {f"{arn}:$LATEST"}
        assert hook.functions


def test_a_command_that_dies_is_started_again_and_given_the_batch_again(
    new_lakehose, folder_lake, tmp_path
):
    argv = hooks_kit.command(tmp_path / "once")
    step = {"command": {"argv": argv, "timeout": "20 s", "retries": 3}}
    server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
    kinds = {"ok": ("Ok", 1), "parts": ("Ok", 3), "drop": ("Dropped", 0), "die": ("Ok", 1),
             "fail": ("Lambda.ProcessingFailedStatus", 0)}
    check_contract(server, folder_lake, kinds, count=2)


def test_an_invocation_that_fails_at_first_succeeds_and_one_that_never_does_fails_its_records(
    new_lakehose, folder_lake
):
    with contextlib.closing(hooks_kit.Hook()) as hook:
        step = {"http": {"url": hook.url, "timeout": "5 s", "retries": 1}}
        server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
        for number, do in enumerate(["once-500", "once-garbage", "always-500", "huge"], 1):
            kit.send(server.firehose(ACME), "clicks", records([do], 1))
            server.flush("clicks")
            assert conserved(server.status("clicks"))["accepted"] == number
        assert sorted(name for name, *_ in rows(folder_lake)) == ["once-500-0", "once-garbage-0"]
        failed = {json.loads(f.raw)["id"]: f.line for f in kit.failures(folder_lake)}
        assert {name: line["attemptsMade"] for name, line in failed.items()} == {
            "always-500-0": 2, "huge-0": 2}


def test_a_hook_that_is_away_holds_its_stream_and_no_other(new_lakehose, folder_lake):
    with contextlib.closing(hooks_kit.Hook()) as hook:
        hook.go()
        step = {"http": {"url": hook.url, "retries": 0}}
        streams = {"clicks": stream([step]), "other": stream([{"filter": "true"}])}
        server = new_lakehose([BOTH], folder_lake, streams).start()
        for name in streams:
            kit.send(server.firehose(BOTH), name, records(["ok"], 10))
        server.flush("other")
        kit.wait_for(lambda: server.status("clicks")["blocked"], 30, "the hook to be missed")
        status = conserved(server.status("clicks"))
        assert (status["pending"], status["failed"]) == (10, 0), status
        hook.come()
        server.flush("clicks")
        status = conserved(server.status("clicks"))
        assert (status["delivered"], status["pending"], status["blocked"]) == (10, 0, None), status


def test_steps_of_the_house_split_filter_and_rename(new_lakehose, folder_lake):
    steps = [{"jq": ".events[]"}, {"filter": '.do != "no"'},
             {"fields": {"rename": {"name": "id"}, "drop": ["part"], "add": {"token": "t"}}}]
    server = new_lakehose([ACME], folder_lake, {"clicks": stream(steps)}).start()
    events = [{"name": "a", "do": "yes", "part": 7}, {"name": "b", "do": "no"}, {"name": "c"}]
    kit.send(server.firehose(ACME), "clicks", [json.dumps({"events": events}).encode(), b"nonsense"])
    server.flush("clicks")
    status = conserved(server.status("clicks"))
    counts = (status["delivered"], status["failed"], status["dropped"], status["pending"])
    assert counts == (2, 1, 1, 0), status
    assert sorted(rows(folder_lake)) == [("a", None, "t", None), ("c", None, "t", None)]


def test_a_filter_that_drops_everything_leaves_nothing_on_the_disk(
    new_lakehose, folder_lake, tmp_path
):
    server = new_lakehose([ACME], folder_lake, {"clicks": stream([{"filter": "false"}])}).start()
    record = json.dumps({"id": "x" * 400}).encode()
    most, count = 0, 100_000
    for _ in range(10):
        kit.send(server.firehose(ACME), "clicks", [record] * (count // 10))
        server.flush("clicks")
        status = conserved(server.status("clicks"))
        most = max(most, status["journal_bytes"] + status["scratch_bytes"])
    assert (status["dropped"], status["pending"]) == (count, 0), status
    assert folder_lake.keys() == []

    def is_empty():
        now = server.status("clicks")
        return now["journal_bytes"] + now["scratch_bytes"] == 0

    kit.wait_for(is_empty, 60, "the journal to be freed")


def test_what_a_fickle_hook_said_and_the_backup_survive_kills(s3, s3_lake, new_lakehose):
    backup = {"store": "lake", "prefix": "raw/clicks/tenant=!{lakehose:tenant}/",
              "delimiter": "newline_at_end", "buffering": {"size": "256 KiB", "interval": "1 s"}}
    chance = random.Random(20_261_125)

    def make_record(name, number):
        return json.dumps({"id": name, "do": "drop" if number % 7 == 3 else "differ"}).encode()

    with contextlib.closing(hooks_kit.Hook()) as hook:
        buffering = {"size": "64 KiB", "interval": "50 ms"}
        step = {"http": {"url": hook.url, "timeout": "20 s", "retries": 5, "buffering": buffering}}
        settings = stream([step], backup=backup)
        settings["buffering"] = {"size": "256 KiB", "interval": "1 s"}
        server = new_lakehose([ACME], s3_lake, {"clicks": settings}).start()
        s3.set_faults(put_delay_ms=50, put_lost_answer_every=7)
        with kit.Load(server, [ACME], "clicks", make_record, batch=50) as load:
            for cycle in range(20):
                before, wanted = len(load.acked), chance.randint(100, 400)

                def has_gone_on():
                    load.check()
                    server.assert_alive()
                    return len(load.acked) - before >= wanted

                kit.wait_for(has_gone_on, 60, f"load in cycle {cycle}")
                server.kill()
                server.start()
        s3.set_faults()
        server.flush("clicks")
        status = conserved(server.status("clicks"))
        assert status["pending"] == 0, status

        answers = collections.defaultdict(list)
        for name, part, token, of in rows(s3_lake):
            answers[name].append((token, of, part))
        for name, parts in answers.items():
            token, of, _ = parts[0]
            assert sorted(parts) == [(token, of, part) for part in range(of)], f"{name}: {parts}"
        wanted = {name for name in load.acked if int(name.split("-")[2]) % 7 != 3}
        assert wanted <= answers.keys(), sorted(wanted - answers.keys())[:5]
        kept = backed_up(s3_lake)
        kit.assert_exactly_once(load, kept)
        assert status["backup"]["accepted"] == status["backup"]["delivered"] == len(kept), status
