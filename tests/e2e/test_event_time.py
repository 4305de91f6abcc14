"""Partitions by the time of events: where records land, and when a partition is told complete."""

import collections
import datetime
import http.server
import json
import random
import threading
import time

import kit
import yaml

IDENTITIES = [kit.Identity(tenant, ("clicks",)) for tenant in ("acme", "globex")]
COLUMNS = {"id": "string", "number": "bigint"}
ERROR_PREFIX = "errors/clicks/!{firehose:error-output-type}/tenant=!{lakehose:tenant}/"
HOUR, DAY = 3600, 86_400
CYCLES = 3
RECORDS_PER_CYCLE = 300


def stream(prefix, partitioning, **sizes):
    settings = kit.stream_of({"columns": COLUMNS}, **sizes)
    settings["destination"] |= {"prefix": prefix, "error_prefix": ERROR_PREFIX}
    return settings | {"partitioning": partitioning}


def utc(seconds, form):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(form)


def put(server, identity, records):
    answer = server.firehose(identity).put_record_batch(
        DeliveryStreamName="clicks", Records=[{"Data": json.dumps(each).encode()} for each in records]
    )
    assert answer["FailedPutCount"] == 0, answer


def test_on_time_late_early_and_absurd_records_land_as_each_rule_says(folder_lake, new_lakehose, tmp_path):
    now = int(time.time())
    on_time, late, early = now - 60, now - 3 * DAY, now + 3 * DAY
    places = {"arrival": "now", "error": "failed"}
    for late_to, early_to, absent in [
        ("late_prefix", "error", "arrival"),
        ("partition", "arrival", "error"),
        ("arrival", "late_prefix", "arrival"),
        ("error", "partition", "error"),
    ]:
        name = f"rule-{late_to}"
        (tmp_path / name).mkdir()
        lake = kit.FolderLake(tmp_path / name)
        rule = {
            "field": "meta.at",
            "late": {"after": "1 d", "to": late_to},
            "early": {"after": "10 min", "to": early_to},
            "absent": absent,
        }
        prefix = "clicks/tenant=!{lakehose:tenant}/day=!{event:yyyy-MM-dd}/"
        streams = {"clicks": stream(prefix, {"event_time": rule})}
        catalog = tmp_path / name / "catalog"
        own = {
            "data_dir": str(tmp_path / name / "data"),
            "catalogs": {"tables": {"type": "files", "path": str(catalog)}},
        }
        server = new_lakehose(IDENTITIES, lake, streams, name, **own).start()

        def place(to, at):
            day = f"clicks/tenant=acme/day={utc(at, '%Y-%m-%d')}"
            return {"partition": day, "late_prefix": f"late/{day}"}.get(to) or places[to]

        events = [
            (on_time, "partition", on_time),
            (str(on_time), "partition", on_time),
            (on_time * 1000, "partition", on_time),
            (utc(on_time, "%Y-%m-%dT%H:%M:%SZ"), "partition", on_time),
            (utc(on_time + 2 * HOUR, "%Y-%m-%d %H:%M:%S+02:00"), "partition", on_time),
            (late, late_to, late),
            (utc(late, "%Y-%m-%d"), late_to, late),
            (early, early_to, early),
            *((at, absent, 0) for at in (-1, 10**18, "soon", None, [now])),
        ]
        records = [
            {"id": f"r{number}", "number": number, "meta": {"at": at}}
            for number, (at, _, _) in enumerate(events)
        ]
        records.append({"id": "none", "number": 99})
        expected = collections.Counter(place(to, at) for _, to, at in events)
        expected[places[absent]] += 1
        put(server, IDENTITIES[0], records)
        server.flush("clicks")

        today = f"clicks/tenant=acme/day={utc(time.time(), '%Y-%m-%d')}"
        expected[today] += expected.pop("now", 0)
        found = collections.Counter()
        for key in lake.keys():
            if key.endswith(".parquet"):
                rows = lake.duckdb().execute(f"SELECT count(*) FROM '{lake.folder}/{key}'").fetchone()[0]
                found[key.rpartition("/")[0]] += rows
        failures = kit.failures(lake)
        found["failed"] = len(failures)
        assert +found == +expected, rule
        for failure in failures:
            assert failure.line["errorCode"] == "DynamicPartitioning.MetadataExtractionFailed"
            assert "meta.at" in failure.line["errorMessage"], failure.line
        registered = kit.partitions(catalog, "lakehose", "clicks").values()
        folders = {f"{lake.url}/{folder}" for folder in expected if folder.startswith("clicks/")}
        assert folders <= set(registered)
        assert not any("/late/" in location for location in registered)
        audit = server.run("audit", "--config", server.settings_file)
        assert audit.returncode == 0, audit.stdout + audit.stderr
        server.terminate()


class Listener:
    """A webhook that refuses now and then, and remembers what it was told."""

    def __init__(self):
        self.told = []
        self._refusals = random.Random(20_261_130)
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.told.append((self.headers["Idempotency-Key"], json.loads(body)))
                self.send_response(503 if listener._refusals.random() < 0.3 else 204)
                self.end_headers()

            def log_message(self, *_arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/partitions?token=hunter2"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def make_record(name, number):
    return json.dumps({"id": name, "number": number, "at": int(time.time() * 1000)}).encode()


def test_a_stream_that_is_taken_out_is_retired_when_its_partitions_are_told_complete(
    folder_lake, new_lakehose
):
    lake = folder_lake
    partitioning = {
        "event_time": {"field": "at", "format": "epoch_millis", "late": {"after": "8 s", "to": "error"},
                       "early": {"after": "1 h", "to": "error"}},
        "complete": {"marker": "_SUCCESS"},
    }
    streams = {
        "clicks": stream("clicks/second=!{event:yyyy-MM-dd-HH-mm-ss}/", partitioning, size="1 MiB", interval="1 s"),
        "other": kit.stream_of({"columns": dict(COLUMNS)}, size="1 MiB", interval="1 s"),
    }
    identity = kit.Identity("acme", ("clicks", "other"))
    server = new_lakehose([identity], lake, streams).start()
    put(server, identity, [json.loads(make_record("one", 1))])
    server.flush("clicks")
    text = kit.http("GET", f"{server.admin}/metrics")[1]
    assert 'lakehose_incomplete_partitions{stream="clicks"} 1' in text
    settings = yaml.safe_load(server.settings_file.read_text())
    del settings["delivery_streams"]["clicks"], settings["identities"][0]["streams"]
    server.settings_file.write_text(yaml.safe_dump(settings, sort_keys=False))
    done = server.run("reload", "--admin", server.admin)
    assert done.returncode == 0, done
    retired = server.data_dir / "streams" / "clicks" / "retired.json"
    wait = "it is retired when its partitions of event time are told complete"
    kit.wait_for(lambda: wait in server.log_text(), 60, "all but the end")
    assert not retired.exists()
    # What a start finds of it is an end to tell, and nothing else.
    server.kill()
    server.start()
    kit.wait_for(retired.exists, 120, "the end of the stream")
    folders = {key.rpartition("/")[0] for key in lake.keys() if key.startswith("clicks/")}
    assert len(folders) == 1
    assert f"{folders.pop()}/_SUCCESS" in lake.keys()


def test_killed_again_and_again_a_partition_is_told_once_and_after_its_last_object(
    s3, s3_lake, new_lakehose
):
    listener = Listener()
    partitioning = {
        "event_time": {"field": "at", "format": "epoch_millis", "late": {"after": "2 s", "to": "late_prefix"},
                       "early": {"after": "1 d", "to": "arrival"}},
        "complete": {"marker": "_SUCCESS", "webhook": listener.url},
    }
    prefix = "clicks/tenant=!{lakehose:tenant}/second=!{event:yyyy-MM-dd-HH-mm-ss}/"
    streams = {"clicks": stream(prefix, partitioning, size="1 MiB", interval="1 s")}
    server = new_lakehose(IDENTITIES, s3_lake, streams).start()
    s3.set_faults(put_delay_ms=50, put_lost_answer_every=7)
    chance = random.Random(20_261_130)

    with kit.Load(
        server, IDENTITIES, "clicks", make_record, batch=20, bytes_per_second=30_000
    ) as load:
        for cycle in range(CYCLES):
            before, moment = len(load.acked), chance.uniform(0, 0.1)

            def is_worst_moment():
                load.check()
                server.assert_alive()
                is_enough = len(load.acked) - before >= RECORDS_PER_CYCLE
                has_marker = any(key.endswith("_SUCCESS") for key in s3_lake.keys())
                return is_enough and has_marker and server.status("clicks")["open_plans"] > 0

            kit.wait_for(is_worst_moment, 120, f"load, a marker and open plans in cycle {cycle}")
            # Not always at the same point of the put.
            time.sleep(moment)
            server.kill()
            server.start()
    s3.set_faults()
    server.flush("clicks")

    def folders():
        keys = s3_lake.keys()
        rows = {key.rpartition("/")[0] for key in keys if key.startswith("clicks/") and key.endswith(".parquet")}
        markers = {key.rpartition("/")[0] for key in keys if key.endswith("/_SUCCESS")}
        told = {body["folder"].rstrip("/") for _, body in listener.told}
        return rows if rows == markers == told and server.status("clicks")["open_plans"] == 0 else None

    found = kit.wait_for(folders, 120, "a marker and a notice for each folder")
    assert len(found) >= CYCLES
    keys = s3_lake.keys()
    assert sum("_SUCCESS" in key for key in keys) == len(found), "none was told twice"
    connection = s3_lake.duckdb()
    by_folder = collections.defaultdict(set)
    for key, body in listener.told:
        by_folder[body["folder"]].add((key, json.dumps(body, sort_keys=True)))
    for folder in found:
        objects = [key for key in keys if key.startswith(f"{folder}/") and key.endswith(".parquet")]
        urls = ", ".join(kit.literal(f"{s3_lake.url}/{key}") for key in objects)
        rows = connection.execute(f"SELECT count(*) FROM read_parquet([{urls}])").fetchone()[0]
        marker = json.loads(s3_lake.read(f"{folder}/_SUCCESS"))
        # Had something come after it, there would be more.
        assert (marker["objects"], marker["rows"]) == (len(objects), rows), folder
        assert marker["location"] == f"{s3_lake.url}/{folder}/"
        assert f"tenant={marker['tenant']}/" in folder
        told = by_folder[f"{folder}/"]
        assert len(told) == 1, f"{folder} was told in one way: {told}"
        assert json.loads(next(iter(told))[1]) == marker

    ids = []
    for prefix in ("clicks", "late"):
        if any(key.startswith(f"{prefix}/") for key in keys):
            ids += connection.execute(f"SELECT id FROM {kit.rows_of(s3_lake, prefix)}").fetchall()
    ids = collections.Counter(name for (name,) in ids)
    assert [name for name, count in ids.items() if count > 1] == []
    assert set(load.acked) <= set(ids)
    server.flush("clicks")
    audit = server.run("audit", "--config", server.settings_file)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "hunter2" not in server.log_text()
    listener.close()
