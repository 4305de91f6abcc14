"""Calls whose answers get lost: an unmodified SDK repeats them, and every record is stored once."""

import collections
import json
import threading
import urllib.request

import pytest

import kit
from proxy_kit import SwallowingProxy

IDENTITY = kit.Identity("acme", ("clicks",))
STREAMS = {
    "clicks": kit.stream_of({"columns": {"id": "string"}}, size="1 MiB", interval="1 s"),
}
EVENTS = 10_000
BATCH = 20
PRODUCERS = 4
# What a user would write; boto3's own default gives up after five attempts.
RETRIES = {"mode": "standard", "total_max_attempts": 12}


def metric(server, name, stream="clicks"):
    """The value of a counter of a stream; 0 when it was never counted."""
    text = kit.http("GET", f"{server.admin}/metrics")[1]
    beginning = f'lakehose_{name}{{stream="{stream}"}} '
    values = [line.removeprefix(beginning) for line in text.splitlines() if line.startswith(beginning)]
    return int(values[0]) if values else 0


@pytest.mark.parametrize("restarts", [0, 3])
def test_ten_thousand_events_arrive_once_though_one_answer_in_five_is_lost(
    folder_lake, new_lakehose, restarts
):
    server = new_lakehose([IDENTITY], folder_lake, STREAMS).start()

    def on_swallow(number):
        # Killed with a call stored and unanswered: its repetition comes to the next process.
        if restarts and number % 30 == 0 and number // 30 <= restarts:
            server.kill()
            server.start()

    proxy = SwallowingProxy(server, on_swallow=on_swallow)
    names = [f"event-{number:05d}" for number in range(EVENTS)]
    batches = collections.deque(names[start : start + BATCH] for start in range(0, EVENTS, BATCH))
    ids, failures = collections.Counter(), []

    def produce(firehose):
        try:
            while batches:
                batch = batches.popleft()
                records = [{"Data": json.dumps({"id": name}).encode()} for name in batch]
                answer = firehose.put_record_batch(DeliveryStreamName="clicks", Records=records)
                assert answer["FailedPutCount"] == 0 and len(answer["RequestResponses"]) == BATCH
                ids.update(each["RecordId"] for each in answer["RequestResponses"])
        except IndexError:
            pass
        except Exception as error:  # Raised again in the test's own thread.
            failures.append(error)

    clients = [
        kit.client("firehose", proxy.endpoint, IDENTITY.access_key, IDENTITY.secret, retries=RETRIES)
        for _ in range(PRODUCERS)
    ]
    threads = [threading.Thread(target=produce, args=(each,), daemon=True) for each in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    proxy.close()
    assert not any(thread.is_alive() for thread in threads), "a producer hangs"
    assert not failures, failures
    assert proxy.swallowed >= EVENTS // BATCH // 5
    assert len(ids) == EVENTS and set(ids.values()) == {1}, "every event has an id of its own"
    assert metric(server, "ingest_repeated_calls_total") > 0
    assert metric(server, "ingest_forgotten_calls_total") == 0

    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), EVENTS)
    rows = folder_lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(folder_lake, 'clicks')}")
    assert sorted(name for (name,) in rows.fetchall()) == names


def test_a_captured_call_stores_nothing_even_when_its_segment_is_long_gone(folder_lake, new_lakehose):
    server = new_lakehose([IDENTITY], folder_lake, STREAMS).start()
    captured = []
    firehose = server.firehose(IDENTITY)
    firehose.meta.events.register("before-send.firehose.*", lambda request, **_: captured.append(request))
    record = {"Data": json.dumps({"id": "once"}).encode()}
    first = firehose.put_record(DeliveryStreamName="clicks", Record=record)
    [request] = captured
    # The ports of the next processes are others.
    signed_host = server.endpoint.removeprefix("http://")

    def replay():
        body = request.body if isinstance(request.body, bytes) else request.body.encode()
        headers = dict(request.headers.items()) | {"Host": signed_host}
        call = urllib.request.Request(server.endpoint, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(call, timeout=30) as answer:
            return json.loads(answer.read())

    assert replay()["RecordId"] == first["RecordId"]
    server.flush("clicks")
    server.terminate()
    assert not list((server.data_dir / "streams" / "clicks" / "journal").glob("*.seg"))
    server.start()
    assert replay()["RecordId"] == first["RecordId"]
    server.kill()
    server.start()
    assert replay()["RecordId"] == first["RecordId"]
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), 1)
