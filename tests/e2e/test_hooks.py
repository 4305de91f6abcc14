"""Hooks before the conversion, and the raw backup beside them, with the compiled server."""

import collections
import concurrent.futures
import contextlib
import gzip
import json
import random

import pytest

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


ARN = "arn:aws:lambda:us-east-1:111122223333:function:enrich"


def hook_step(kind, hook, **patience):
    """A step that asks the hook, by the one way or the other."""
    if kind == "http":
        return {"http": {"url": hook.url, **patience}}
    keys = {"access_key": "AK", "secret": f"${{env:{ACME.variable}}}"}
    return {"lambda": {"arn": ARN, "endpoint": hook.url, **keys, **patience}}


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


def post_until_taken(server, stream, body):
    """Sends one body of lines to the plain endpoint; returns what the data directory takes then.

    Where producers are faster than the disk is freed they are asked to come again.
    """
    url = f"{server.endpoint}/v1/streams/{stream}/records"

    def is_taken():
        status, text = kit.http("POST", url, body)
        assert status in (200, 503), text
        return status == 200

    kit.wait_for(is_taken, 60, "room for records", 0.2)
    return kit.du_bytes(server.data_dir)


def records(kinds, count):
    events = [{"id": f"{do}-{n}", "do": do} for n in range(count) for do in kinds]
    return [json.dumps(event).encode() for event in events]


def check_contract(server, lake, kinds=KINDS, count=5):
    """Sends of every kind, and finds each as its hook left it."""
    with kit.Watch(server, "clicks"):
        kit.send(server.firehose(ACME), "clicks", records(kinds, count))
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
        assert failure.line["errorMessage"] and failure.line["attemptsMade"] >= 1, failure.line
        assert event == {"id": event["id"], "do": event["do"]}, "no byte of it is the hook's"
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
    with contextlib.closing(hooks_kit.Hook()) as hook:
        step = hook_step("lambda", hook, timeout="5 s", retries=1)
        server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
        codes = check_contract(server, folder_lake)
        assert {line["lambdaARN"] for line in codes.values()} == {f"{ARN}:$LATEST"}
        assert hook.functions


def test_a_description_shows_hooks_and_backup_in_firehoses_words(new_lakehose, folder_lake):
    keys = {"access_key": "AK", "secret": f"${{env:{ACME.variable}}}"}
    steps = [{"jq": "."}, {"lambda": {"arn": ARN, "retries": 5, "endpoint": "http://127.0.0.1:1", **keys,
                                      "buffering": {"size": "512 KiB", "interval": "30 s"}}},
             {"append_delimiter": {}}]
    backup = {"store": "lake", "prefix": "raw/!{timestamp:yyyy}/", "compression": "none",
              "buffering": {"size": "3 MiB", "interval": "90 s"}}
    settings = stream(steps, backup=backup)
    error_prefix = "errors/!{firehose:error-output-type}/"
    settings["destination"] |= {"error_prefix": error_prefix,
                                "prefix": "clicks/c=!{partitionKeyFromLambda:c}/"}
    streams = {"clicks": settings, "other": kit.stream_of({"columns": dict(COLUMNS)})}
    server = new_lakehose([BOTH], folder_lake, streams).start()

    def described(name):
        told = server.firehose(BOTH).describe_delivery_stream(DeliveryStreamName=name)
        [told] = told["DeliveryStreamDescription"]["Destinations"]
        return told["ExtendedS3DestinationDescription"]

    told = described("clicks")
    parameters = {"LambdaArn": ARN, "NumberOfRetries": "5", "RoleArn": told["RoleARN"],
                  "BufferSizeInMBs": "0.5", "BufferIntervalInSeconds": "30"}
    shown = [{"ParameterName": name, "ParameterValue": value} for name, value in parameters.items()]
    assert told["ProcessingConfiguration"] == {"Enabled": True, "Processors": [
        {"Type": "Lambda", "Parameters": shown}, {"Type": "AppendDelimiterToRecord", "Parameters": []}]}
    assert told["S3BackupMode"] == "Enabled"
    assert told["S3BackupDescription"] == {
        "RoleARN": told["RoleARN"], "BucketARN": told["BucketARN"], "Prefix": "raw/!{timestamp:yyyy}/",
        "BufferingHints": {"SizeInMBs": 3, "IntervalInSeconds": 90},
        "CompressionFormat": "UNCOMPRESSED",
        "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
        "CloudWatchLoggingOptions": {"Enabled": False}}
    assert told["DynamicPartitioningConfiguration"] == {"Enabled": True}
    assert told["Prefix"] == "clicks/c=!{partitionKeyFromLambda:c}/", "no date behind keys"
    told = described("other")
    assert told["ProcessingConfiguration"] == {"Enabled": False, "Processors": []}
    assert told["S3BackupMode"] == "Disabled" and "S3BackupDescription" not in told
    assert "DynamicPartitioningConfiguration" not in told


def test_a_command_keeps_the_contract_line_by_line(new_lakehose, folder_lake, tmp_path):
    argv = hooks_kit.command(tmp_path / "once")
    # A record that is not answered is waited for, three times over.
    step = {"command": {"argv": argv, "timeout": "2 s", "retries": 1}}
    server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
    # A second answer counts while others are owed, so it does not come last.
    kinds = {do: KINDS[do] for do in ("duplicate", *(do for do in KINDS if do != "duplicate"))}
    codes = check_contract(server, folder_lake, kinds, count=2)
    assert all("lambdaARN" not in line for line in codes.values())


def test_a_command_that_dies_is_started_again_and_given_the_batch_again(
    new_lakehose, folder_lake, tmp_path
):
    argv = hooks_kit.command(tmp_path / "once")
    step = {"command": {"argv": argv, "timeout": "20 s", "retries": 3}}
    server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
    kinds = {"ok": ("Ok", 1), "parts": ("Ok", 3), "drop": ("Dropped", 0), "die": ("Ok", 1),
             "fail": ("Lambda.ProcessingFailedStatus", 0)}
    check_contract(server, folder_lake, kinds, count=2)
    assert server.log_text().count("it ended with exit status: 7") == 2


def test_a_command_that_never_answers_a_record_fails_it_and_not_the_next(
    new_lakehose, folder_lake, tmp_path
):
    argv = hooks_kit.command(tmp_path / "once")
    step = {"command": {"argv": argv, "timeout": "4 s", "retries": 1}}
    server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
    # What the log says of it, and how often. Each is a batch of its own: after a line of garbage the
    # program reads on until it is killed, and would use up the next trouble unseen.
    for do, said, times in [
        ("ok", "a command failed", 0),
        ("once-garbage", "a line that is no JSON object: <html>", 1),
        ("once-timeout", "it answered nothing for 4 s", 1),
        ("always-500", "it ended with exit status: 8", 2),
        ("always-garbage", "a line that is no JSON object: not json", 2),
        ("parts", "it ended with exit status: 7", 0),
    ]:
        kit.send(server.firehose(ACME), "clicks", records([do], 1))
        server.flush("clicks")
        conserved(server.status("clicks"))
        assert server.log_text().count(said) == times, do
    failed = {json.loads(f.raw)["id"]: f.line for f in kit.failures(folder_lake)}
    found = {name: (line["errorCode"], line["attemptsMade"]) for name, line in failed.items()}
    assert found == {"always-500-0": ("Lambda.FunctionError", 2),
                     "always-garbage-0": ("Lambda.JsonProcessingException", 2)}
    names = sorted(name for name, *_ in rows(folder_lake))
    assert names == ["ok-0", "once-garbage-0", "once-timeout-0", "parts-0", "parts-0", "parts-0"]


def test_a_command_that_answers_with_too_much_fails_that_record_alone(
    new_lakehose, folder_lake, tmp_path
):
    argv = hooks_kit.command(tmp_path / "once")
    step = {"command": {"argv": argv, "timeout": "20 s", "retries": 1}}
    server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
    # An answer of more than 12 MiB beside others, then a line that has no end where it is awaited.
    for batch in (["ok", "huge", "parts"], ["endless"], ["drop"]):
        kit.send(server.firehose(ACME), "clicks", records(batch, 1))
        server.flush("clicks")
    status = conserved(server.status("clicks"))
    counts = tuple(status[end] for end in ("delivered", "failed", "dropped", "pending"))
    assert counts == (4, 2, 1, 0) and status["blocked"] is None, status
    assert sorted(name for name, *_ in rows(folder_lake)) == ["ok-0", *["parts-0"] * 3]
    failed = {json.loads(f.raw)["id"]: f.line for f in kit.failures(folder_lake)}
    found = {name: (line["errorCode"], line["attemptsMade"]) for name, line in failed.items()}
    # As much as that is the program's answer; a line without end is none, and is asked for again.
    assert found == {"huge-0": ("Lakehose.RecordTooLarge", 1),
                     "endless-0": ("Lambda.JsonProcessingException", 2)}
    assert server.log_text().count("it wrote a line without end") == 2
    # What it wrote is not kept: no line is longer than 16 MiB.
    assert server.memory_bytes()["VmHWM"] < 512 << 20


@pytest.mark.parametrize("kind", ["http", "lambda"])
def test_an_invocation_that_fails_at_first_succeeds_and_one_that_never_does_fails_its_records(
    new_lakehose, folder_lake, kind
):
    # What the kit answers with, and the attempts of those that are never good.
    never = {"always-500": "Lambda.FunctionError", "huge": "Lambda.FunctionError",
             "always-garbage": "Lambda.JsonProcessingException"}
    at_first = ["once-500", "once-garbage", "once-timeout", "once-reset"]
    with contextlib.closing(hooks_kit.Hook()) as hook:
        step = hook_step(kind, hook, timeout="2 s", retries=2)
        server = new_lakehose([ACME], folder_lake, {"clicks": stream([step])}).start()
        for number, do in enumerate([*at_first, *never, "parts"], 1):
            kit.send(server.firehose(ACME), "clicks", records([do], 1))
            server.flush("clicks")
            status = conserved(server.status("clicks"))
            # The parts of the last one count each.
            assert status["accepted"] == number + (2 if do == "parts" else 0), status
            assert (status["pending"], status["blocked"]) == (0, None), status
        names = sorted(name for name, *_ in rows(folder_lake))
        assert names == sorted([f"{do}-0" for do in at_first] + ["parts-0"] * 3)
        failed = {json.loads(f.raw)["id"]: f.line for f in kit.failures(folder_lake)}
        found = {name: (line["errorCode"], line["attemptsMade"]) for name, line in failed.items()}
        assert found == {f"{do}-0": (code, 3) for do, code in never.items()}
        assert "there was no answer within 2 s" in server.log_text()
        arns = {line.get("lambdaARN") for line in failed.values()}
        assert arns == {f"{ARN}:$LATEST" if kind == "lambda" else None}
        ids = [invocation for invocation, _ in hook.invocations]
        assert len(ids) == len(set(ids)), "each attempt has an id of its own"


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


def test_each_step_of_the_house_fails_a_record_that_it_cannot_read_and_keeps_its_bytes(
    new_lakehose, folder_lake
):
    steps = {
        "jq": {"jq": 'if .do == "drop" then empty elif .do == "fail" then error("no") '
                     'elif .do == "parts" then (., ., .) else . end'},
        "filter": {"filter": 'if .do == "fail" then error("no") else .do != "drop" end'},
        "fields": {"fields": {"rename": {"do": "token"}, "add": {"do": "added"}}},
    }
    sent = [b'{"id": "ok-0", "do": "ok"}', b'{"id":"parts-0","do":"parts"}',
            b'{"id": "drop-0", "do": "drop"}', b'{"id": "fail-0",  "do": "fail"}', b"{torn"]
    # delivered, failed, dropped
    wanted = {"jq": (4, 2, 1), "filter": (2, 2, 1), "fields": (4, 1, 0)}
    identity = kit.Identity("acme", tuple(steps))
    streams = {name: stream([step]) for name, step in steps.items()}
    server = new_lakehose([identity], folder_lake, streams).start()
    for name, ends in wanted.items():
        with kit.Watch(server, name):
            kit.send(server.firehose(identity), name, sent)
            server.flush(name)
        status = conserved(server.status(name))
        found = tuple(status[end] for end in ("delivered", "failed", "dropped", "pending"))
        assert found == (*ends, 0), (name, status)
        failures = [f for f in kit.failures(folder_lake) if f"/{name}/" in f.key]
        assert all("/processing-failed/" in failure.key for failure in failures), failures
        raw = sorted(failure.raw for failure in failures)
        assert raw == sorted(sent[3:] if ends[1] == 2 else sent[4:]), (name, raw)
        assert all(f.line["attemptsMade"] == 1 and f.line["errorMessage"] for f in failures)
        # The key is Lambda's alone.
        assert all("lambdaARN" not in failure.line for failure in failures)


def test_a_filter_that_drops_everything_leaves_disk_and_memory_flat_over_a_million_records(
    new_lakehose, folder_lake
):
    # Three times what the disk may hold: were anything kept, not all of it would be taken.
    budget, stretch, stretches, per_call = 64 << 20, 100_000, 10, 10_000
    line = (json.dumps({"id": "x" * 200}) + "\n").encode()
    assert len(line) * stretch * stretches > 3 * budget
    # Without identities the plain endpoint is open, which takes the most records in one call.
    streams = {"clicks": stream([{"filter": "false"}])}
    server = new_lakehose([], folder_lake, streams, disk_budget="64 MiB").start()
    bodies = [line * per_call] * (stretch // per_call)
    disk, memory = [], []

    def has_dropped(count):
        return conserved(server.status("clicks"))["dropped"] == count

    with concurrent.futures.ThreadPoolExecutor(4) as producers:
        for count in range(stretch, stretch * stretches + 1, stretch):
            disk += producers.map(lambda body: post_until_taken(server, "clicks", body), bodies)
            kit.wait_for(lambda: has_dropped(count), 120, f"{count} records to be dropped", 0.1)
            memory.append(server.memory_bytes())
    assert max(disk) <= budget, f"bytes on disk: {disk}"
    # What it holds after two stretches is its working set, give or take what an allocator keeps.
    for kind in ("VmRSS", "VmHWM"):
        early, late = memory[1][kind], memory[-1][kind]
        assert late <= early * 1.25 + (16 << 20), f"{kind}: {[each[kind] for each in memory]}"
    server.flush("clicks")
    status = conserved(server.status("clicks"))
    assert (status["dropped"], status["pending"]) == (stretch * stretches, 0), status
    assert folder_lake.keys() == []

    def is_empty():
        now = server.status("clicks")
        return now["journal_bytes"] + now["scratch_bytes"] == 0

    kit.wait_for(is_empty, 60, "the journal to be freed")


def test_what_a_fickle_hook_said_and_the_backup_survive_kills(s3, s3_lake, new_lakehose):
    backup = {"store": "lake", "prefix": "raw/clicks/tenant=!{lakehose:tenant}/",
              "delimiter": "newline_at_end", "buffering": {"size": "256 KiB", "interval": "100 ms"}}
    chance = random.Random(20_261_125)

    def make_record(name, number):
        return json.dumps({"id": name, "do": "drop" if number % 7 == 3 else "differ"}).encode()

    with contextlib.closing(hooks_kit.Hook()) as hook:
        buffering = {"size": "64 KiB", "interval": "50 ms"}
        step = {"http": {"url": hook.url, "timeout": "20 s", "retries": 5, "buffering": buffering}}
        settings = stream([step], backup=backup)
        settings["buffering"] = {"size": "256 KiB", "interval": "100 ms"}
        server = new_lakehose([ACME], s3_lake, {"clicks": settings}).start()
        s3.set_faults(put_delay_ms=50, put_lost_answer_every=7)
        with kit.Load(server, [ACME], "clicks", make_record, batch=50) as load:
            for cycle in range(20):
                before, wanted = len(load.acked), chance.randint(100, 400)
                # In turn: at any time, while the hook is at work, while an object is on its way.
                wish = (None, "untransformed", "open_plans")[cycle % 3]

                def is_worst_moment():
                    load.check()
                    server.assert_alive()
                    enough = len(load.acked) - before >= wanted
                    return enough and (wish is None or server.status("clicks")[wish] > 0)

                kit.wait_for(is_worst_moment, 60, f"load and {wish} in cycle {cycle}")
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
