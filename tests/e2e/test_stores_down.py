"""Stores that refuse, err, or never answer: what is accepted waits, and goes on by itself."""

import json
import shutil
import socket
import statistics
import time

import kit

ACME = kit.Identity("acme", ("clicks",))
# One who writes to both streams where there are two.
BOTH = kit.Identity("acme", ("clicks", "visits"))
COLUMNS = {"id": "string", "text": "string"}


def records(name, count, text_bytes=20):
    text = "x" * text_bytes
    return [json.dumps({"id": f"{name}-{number}", "text": text}).encode() for number in range(count)]


def found(lake, prefix):
    rows = lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(lake, prefix)} ORDER BY id")
    return [name for (name,) in rows.fetchall()]


def is_blocked(server, stream, *words):
    def look():
        blocked = server.status(stream)["blocked"] or ""
        return all(word in blocked for word in words) and blocked

    return kit.wait_for(look, 60, f"stream {stream} to say {words}", every=0.1)


def is_empty(server, stream):
    return lambda: server.status(stream)["pending"] == 0


def stream_into(store, interval="1 s", **changes):
    stream = kit.stream_of({"columns": dict(COLUMNS)}, interval=interval) | changes
    stream["destination"] = {"store": store}
    return stream


def test_credentials_that_are_replaced_in_their_file_are_taken_up_without_a_restart(
    s3, s3_lake, new_lakehose, tmp_path
):
    secret = tmp_path / "secret"
    secret.write_text("this has expired\n")
    store = s3_lake.settings() | {"secret": "${file:%s}" % secret}
    server = new_lakehose(
        [ACME], s3_lake, {"clicks": stream_into("lake")}, stores={"lake": store}
    ).start()
    kit.send(server.firehose(ACME), "clicks", records("a", 50))
    is_blocked(server, "clicks", "403")
    status = server.status("clicks")
    assert status["pending"] == 50 and status["failed"] == status["dropped"] == 0, status

    # A writer that is only half done, then what it wrote.
    secret.write_text("")
    secret.write_text(kit.LAKE_SECRET + "\n")
    kit.wait_for(is_empty(server, "clicks"), 60, "the backlog to be delivered", every=0.1)
    assert len(found(s3_lake, "clicks")) == 50
    assert server.status("clicks")["blocked"] is None


def test_a_bucket_that_is_missing_gets_its_objects_once_it_is_there(s3, s3_lake, new_lakehose):
    bucket = s3.root / kit.BUCKET
    shutil.rmtree(bucket)
    server = new_lakehose([ACME], s3_lake, {"clicks": stream_into("lake")}).start()
    kit.send(server.firehose(ACME), "clicks", records("a", 50))
    is_blocked(server, "clicks", "NoSuchBucket")
    assert server.status("clicks")["pending"] == 50
    bucket.mkdir()
    kit.wait_for(is_empty(server, "clicks"), 60, "the backlog to be delivered", every=0.1)
    assert len(found(s3_lake, "clicks")) == 50


def test_a_store_that_errs_three_times_in_ten_is_asked_at_most_twice_as_often(
    s3, s3_lake, new_lakehose
):
    stream = kit.stream_of({"columns": dict(COLUMNS)}, size="8 KiB")
    server = new_lakehose([ACME], s3_lake, {"clicks": stream}).start()
    s3.set_faults(put_errors_percent=30)
    sent = records("a", 10_000, text_bytes=100)
    before = s3.state()["requests"]
    kit.send(server.firehose(ACME), "clicks", sent)
    server.flush("clicks")
    requests = s3.state()["requests"] - before
    objects = len([key for key in s3_lake.keys() if key.startswith("clicks/")])
    assert objects >= 100, objects
    assert s3.state()["puts_failed"] > objects / 5, s3.state()
    assert requests <= 2 * objects, f"{requests} requests for {objects} objects"
    assert len(set(found(s3_lake, "clicks"))) == len(sent)
    assert s3.state()["puts_done"] == objects, "none was put twice"


def test_a_store_that_never_answers_holds_up_its_own_stream_alone(
    s3, s3_lake, folder_lake, new_lakehose
):
    # Its objects would be many, and each more than its place in the queue.
    clicks = stream_into("lake", buffering={"size": "4 KiB", "interval": "1 s"})
    visits = stream_into("folder")
    server = new_lakehose(
        [BOTH],
        s3_lake,
        {"clicks": clicks, "visits": visits},
        stores={"lake": s3_lake.settings(), "folder": folder_lake.settings()},
    ).start()
    s3.set_faults(is_silent=True)
    firehose = server.firehose(BOTH)
    kit.send(firehose, "clicks", records("a", 5_000, text_bytes=50))
    kit.wait_for(lambda: s3.state()["connections"] > 0, 60, "a put that is not answered")

    took = []
    for turn in range(5):
        began = time.monotonic()
        kit.send(firehose, "visits", records(f"v{turn}", 100))
        kit.wait_for(is_empty(server, "visits"), 60, "the other stream to be delivered")
        took.append(time.monotonic() - began)
    # A second of it is its interval.
    assert statistics.median(took) < 10, took
    is_blocked(server, "clicks", "no answer within 30 s")
    # Sockets do not pile up: four plans with eight objects each are under way at the most.
    state = s3.state()
    assert state["connections_max"] <= 4 * 8, state
    s3.set_faults()
    kit.wait_for(is_empty(server, "clicks"), 90, "the backlog to be delivered", every=0.1)
    assert len(set(found(s3_lake, "clicks"))) == 5_000
    assert s3.state()["keys_rewritten_with_other_bytes"] == 0


def test_a_hook_that_is_away_holds_up_its_own_stream_alone(folder_lake, new_lakehose):
    # Connections are made and never accepted.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = {"http": {"url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "timeout": "120 s"}}
        streams = {
            "clicks": stream_into("lake", transform=[hook]),
            "visits": stream_into("lake"),
        }
        server = new_lakehose([BOTH], folder_lake, streams).start()
        firehose = server.firehose(BOTH)
        kit.send(firehose, "clicks", records("a", 5_000))
        took = []
        for turn in range(5):
            began = time.monotonic()
            kit.send(firehose, "visits", records(f"v{turn}", 100))
            kit.wait_for(is_empty(server, "visits"), 60, "the other stream to be delivered")
            took.append(time.monotonic() - began)
        assert statistics.median(took) < 10, took
        assert server.status("clicks")["pending"] == 5_000
        server.kill()
