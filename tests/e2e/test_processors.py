"""Firehose's processors as steps of a stream, with the compiled server and real clients."""

import collections
import copy
import gzip
import json
import time
import zlib

import aws_kinesis_agg.aggregator
import pytest

import kit

ACME = kit.Identity("acme", ("rows", "lines", "app"))
UNPACK = {"decompress": {"format": "gzip"}}
MIB = 1 << 20
LINE_MEMBERS = ["rawData", "errorCode", "errorMessage", "attemptsMade", "arrivalTimestamp",
                "attemptEndingTimestamp"]


def envelope(messages, log_group="/aws/lambda/enrich", first=0):
    """What a subscription of CloudWatch Logs sends."""
    events = [{"id": f"{first + number:056}", "timestamp": 1510109208016 + number, "message": message}
              for number, message in enumerate(messages)]
    return {"messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": log_group,
            "logStream": "2026/11/30/[$LATEST]abc", "subscriptionFilters": ["all"], "logEvents": events}


CONTROL = {"messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "",
           "subscriptionFilters": [], "logEvents": [{"id": "", "timestamp": 1510254469274,
           "message": "CWL CONTROL MESSAGE: Checking health of destination Firehose."}]}


def packed(value):
    return gzip.compress(json.dumps(value).encode(), 6)


def stream(transform, columns=None, records=None, **more):
    """A stream of rows where there are columns, else of records as they are."""
    form = {"schema": {"columns": columns}} if columns else {"format": {"records": records or {}}}
    # Copied, since a file that says the same thing twice by reference is refused.
    return copy.deepcopy({"buffering": {"size": "64 MiB", "interval": "900 s"},
                          "destination": {"store": "lake"}, "transform": transform, **form, **more})


def put_each(server, identity, name, records):
    """As CloudWatch Logs does it: one record a call."""
    firehose = server.firehose(identity)
    for record in records:
        assert firehose.put_record(DeliveryStreamName=name, Record={"Data": record})["RecordId"]


def settled(server, name):
    """Flushes; the terms of the equation."""
    server.flush(name)
    status = server.status(name)
    ends = ("delivered", "failed", "dropped", "damaged", "pending")
    assert status["accepted"] == sum(status[end] for end in ends), status
    return {end: status[end] for end in ends if status[end]}


def selected(lake, name, columns):
    return lake.duckdb().execute(f"SELECT {columns} FROM {kit.rows_of(lake, name)}").fetchall()


def the_object(lake, name):
    [key] = [key for key in lake.keys() if key.startswith(f"{name}/")]
    return lake.read(key)


def test_a_log_subscription_becomes_rows_and_records(new_lakehose, s3_lake):
    rows = stream([UNPACK, {"cloudwatch_logs": {"as": "events"}}],
                  {"owner": "string", "logGroup": "string", "logStream": "string", "id": "string",
                   "timestamp": "timestamp", "message": "string"})
    lines = stream([UNPACK, {"cloudwatch_logs": {}}])
    merged = {"jq": ". + (.message | fromjson? // {})"}
    app = stream([UNPACK, {"cloudwatch_logs": {"as": "events"}}, merged],
                 {"logGroup": "string", "level": "string", "ms": "int", "message": "string"})
    server = new_lakehose([ACME], s3_lake, {"rows": rows, "lines": lines, "app": app}).start()
    envelopes = [envelope([f"line {number} of {part}\n" for number in range(1 + part % 9)],
                          f"/group/{part % 3}", 100 * part) for part in range(40)]
    sent = [packed(CONTROL), *map(packed, envelopes)]
    events = [(each, event) for each in envelopes for event in each["logEvents"]]

    put_each(server, ACME, "rows", sent)
    assert settled(server, "rows") == {"delivered": len(events), "dropped": 1}
    found = selected(s3_lake, "rows", 'owner, loggroup, logstream, id, epoch_ms("timestamp"), message')
    assert collections.Counter(found) == collections.Counter(
        (each["owner"], each["logGroup"], each["logStream"], event["id"], event["timestamp"],
         event["message"]) for each, event in events)

    put_each(server, ACME, "lines", sent)
    assert settled(server, "lines") == {"delivered": len(sent)}
    text = "".join(event["message"] + "\n" for _, event in events)
    assert the_object(s3_lake, "lines").decode() == text, "one record an envelope, in their order"

    put_each(server, ACME, "app", [packed(envelope(['{"level":"INFO","ms":7}', "START RequestId: 1\n"]))])
    assert settled(server, "app") == {"delivered": 2}
    assert sorted(selected(s3_lake, "app", "loggroup, level, ms, message"), key=str) == [
        ("/aws/lambda/enrich", "INFO", 7, '{"level":"INFO","ms":7}'),
        ("/aws/lambda/enrich", None, None, "START RequestId: 1\n")]
    assert kit.failures(s3_lake) == []


def test_what_is_no_log_fails_in_firehoses_shape_as_it_was_sent(new_lakehose, folder_lake):
    identity = kit.Identity("acme", ("lines",))
    lines = stream([UNPACK, {"cloudwatch_logs": {}}])
    server = new_lakehose([identity], folder_lake, {"lines": lines}).start()
    good = packed(envelope(["x"]))
    bad = [b"no gzip", good[:-1], good + b"\n", gzip.compress(good), gzip.compress(b"no envelope"), b""]
    before = int(time.time() * 1000)
    put_each(server, identity, "lines", [good, *bad, good])
    assert settled(server, "lines") == {"delivered": 2, "failed": len(bad)}
    assert the_object(folder_lake, "lines") == b"x\nx\n"
    failures = kit.failures(folder_lake, "errors/lines/")
    assert sorted(failure.raw for failure in failures) == sorted(bad)
    for failure in failures:
        assert "/tenant=acme/decompression-failed/" in failure.key
        line = failure.line
        assert list(line) == LINE_MEMBERS
        assert line["errorCode"] == "Decompression failed."
        assert line["errorMessage"] == (
            "Decompression failed because input data does not conform to cloudwatch log.")
        assert line["attemptsMade"] == 1
        assert before <= line["arrivalTimestamp"] <= line["attemptEndingTimestamp"]


def test_records_of_the_kinesis_producer_library_become_rows(new_lakehose, folder_lake):
    settings = stream([{"kpl": {}}], {"n": "int", "text": "string"})
    server = new_lakehose([kit.Identity("acme", ("rows",))], folder_lake, {"rows": settings}).start()
    aggregator = aws_kinesis_agg.aggregator.RecordAggregator()
    wanted, records = [], []
    for number in range(500):
        wanted.append((number, "é" * (number % 7)))
        user = json.dumps({"n": number, "text": wanted[-1][1]})
        # Small aggregates, as producers that wait for 100 ms make them.
        aggregator.add_user_record(f"key-{number % 5}", user.encode(), str(2 ** 100 + number))
        if number % 90 == 89 or number == 499:
            records.append(aggregator.clear_and_get().get_contents()[2])
    plain = [(-1, "plain"), (-2, "plain")]
    records += [json.dumps({"n": number, "text": text}).encode() for number, text in plain]
    broken = bytearray(records[0])
    broken[-1] ^= 1
    identity = kit.Identity("acme", ("rows",))
    kit.send(server.firehose(identity), "rows", [*records, bytes(broken)])
    assert settled(server, "rows") == {"delivered": 502, "failed": 1}
    assert sorted(selected(folder_lake, "rows", "n, text")) == sorted(wanted + plain)
    [failure] = kit.failures(folder_lake)
    assert (failure.raw, failure.line["lastErrorCode"]) == (broken, "DataFormatConversion.ParseError")


@pytest.mark.parametrize("kind", ["json", "delimited"])
def test_of_a_record_that_is_taken_apart_each_part_counts_by_itself(new_lakehose, folder_lake, kind):
    identity = kit.Identity("acme", ("rows",))
    step = {"json": {}} if kind == "json" else {"delimiter": "####"}
    settings = stream([{"deaggregate": step}], {"n": "int"})
    server = new_lakehose([identity], folder_lake, {"rows": settings}).start()
    between = "\n" if kind == "json" else "####"
    documents = [json.dumps({"n": number}) for number in range(5)]
    documents[2] = '{"n": "two"}'
    many = between.join(json.dumps({"n": number}) for number in range(1000, 1501))
    records = [between.join(documents) + between, many]
    if kind == "json":
        records += ['{"n":10}{"n":11}{"n":,"x": 1}\n{"n":12}', '[{"n":13}]']
    kit.send(server.firehose(identity), "rows", [record.encode() for record in records])
    settled_as = settled(server, "rows")
    found = sorted(number for number, in selected(folder_lake, "rows", "n"))
    failed = {failure.raw: failure for failure in kit.failures(folder_lake)}
    conversion = failed.pop(b'{"n": "two"}').line
    assert conversion["lastErrorCode"] == "DataFormatConversion.MalformedData"
    if kind == "json":
        # 501 stay one record, of as many rows.
        assert found == [0, 1, 3, 4, 10, 11, *range(1000, 1501)]
        assert settled_as == {"delivered": 7, "failed": 3}
        rest = failed.pop(b'{"n":,"x": 1}\n{"n":12}')
        assert "/processing-failed/" in rest.key and list(rest.line) == LINE_MEMBERS
        assert rest.line["errorCode"] == "Transform.DeaggregationFailed"
        assert "sub-record 3, at byte 16 of the record" in rest.line["errorMessage"]
        assert "/format-conversion-failed/" in failed.pop(b'[{"n":13}]').key
    else:
        assert found == [0, 1, 3, 4]
        assert failed.pop(many.encode()).line["lastErrorCode"] == "DataFormatConversion.ParseError"
        assert settled_as == {"delivered": 4, "failed": 2}
    assert not failed


def test_a_description_shows_processors_in_firehoses_words(new_lakehose, folder_lake):
    streams = {
        "rows": stream([{"kpl": {}}, UNPACK, {"cloudwatch_logs": {}}, {"deaggregate": {"delimiter": "####"}}],
                       records={"delimiter": "newline"}),
        "lines": stream([{"deaggregate": {"json": {}}}, {"append_delimiter": {}}]),
        "app": stream([UNPACK, {"cloudwatch_logs": {"as": "events"}}]),
    }
    server = new_lakehose([ACME], folder_lake, streams).start()

    def processors(name):
        told = server.firehose(ACME).describe_delivery_stream(DeliveryStreamName=name)
        [told] = told["DeliveryStreamDescription"]["Destinations"]
        told = told["ExtendedS3DestinationDescription"]["ProcessingConfiguration"]["Processors"]
        return [(each["Type"], {parameter["ParameterName"]: parameter["ParameterValue"]
                                for parameter in each["Parameters"]}) for each in told]

    unpack = ("Decompression", {"CompressionFormat": "GZIP"})
    newline = ("AppendDelimiterToRecord", {})
    assert processors("rows") == [
        unpack, ("CloudWatchLogProcessing", {"DataMessageExtraction": "true"}),
        ("RecordDeAggregation", {"SubRecordType": "DELIMITED", "Delimiter": "IyMjIw=="}), newline]
    assert processors("lines") == [("RecordDeAggregation", {"SubRecordType": "JSON"}), newline]
    assert processors("app") == [unpack]
    # A line feed between records and none at the end, as Firehose has it.
    kit.send(server.firehose(ACME), "lines", [b'{"n":1}{"n":2}', b'{"n":3}\n'])
    assert settled(server, "lines") == {"delivered": 3}
    assert the_object(folder_lake, "lines") == b'{"n":1}\n{"n":2}\n{"n":3}'


def test_check_warns_of_orders_that_firehose_has_not(new_lakehose, folder_lake):
    settings = stream([{"deaggregate": {"delimiter": "x"}}, UNPACK, {"cloudwatch_logs": {}}], {"n": "int"})
    server = new_lakehose([kit.Identity("acme", ("rows",))], folder_lake, {"rows": settings})
    done = server.run("check", server.settings_file)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith(f"warning: {server.settings_file}:")]
    for warning, part in zip(warnings, ["transform[1]: here the order", "write control_messages: drop",
                                        "transform[2]: here the order"], strict=True):
        assert part in warning
    server.start()


def bomb(length, fill=b"\0"):
    """Gzip of so many equal bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = fill * MIB
    pieces = [packer.compress(chunk[:min(MIB, length - at)]) for at in range(0, length, MIB)]
    return b"".join([*pieces, packer.flush()])


def test_what_unpacks_to_more_than_it_may_costs_its_record_and_little_memory(new_lakehose, folder_lake):
    server = new_lakehose([ACME], folder_lake, {
        "rows": stream([UNPACK, {"cloudwatch_logs": {"as": "events"}}], {"message": "string"}),
        "lines": stream([UNPACK, {"cloudwatch_logs": {"control_messages": "drop"}}]),
        "app": stream([{"kpl": {}}, UNPACK], records={"compression": "gzip"}),
    }).start()
    put_each(server, ACME, "rows", [packed(envelope(["before"]))] * 50)
    assert settled(server, "rows") == {"delivered": 50}
    before = server.memory_bytes()["VmHWM"]

    huge = bomb(940 * MIB)
    assert 900_000 < len(huge) < 1_024_000
    many_events = json.dumps(envelope([])).encode()
    many_events = many_events.replace(b"[]}", b"[" + b",".join([b"{}"] * 10_000_000) + b"]}")
    many_messages = json.dumps(envelope([])).encode()
    many_messages = many_messages.replace(b"[]}", b"[" + b",".join([b'{"message":""}'] * 1_000_000) + b"]}")
    members = gzip.compress(b" ") * 10_000
    nested = gzip.compress(gzip.compress(json.dumps(envelope(["x"])).encode()))
    bad = [huge, gzip.compress(many_events), nested, huge[:-9], members, bomb(16 * MIB, b" ")]
    for name, more, settled_as in [
        ("rows", [gzip.compress(many_messages)], {"delivered": 50, "failed": 7}),
        ("lines", [], {"failed": 6}),
    ]:
        put_each(server, ACME, name, [*bad, *more])
        assert settled(server, name) == settled_as
        failed = [failure.raw for failure in kit.failures(folder_lake, f"errors/{name}/")]
        assert sorted(failed, key=len) == sorted([*bad, *more], key=len)
    put_each(server, ACME, "lines", [gzip.compress(many_messages), packed(CONTROL)])
    assert settled(server, "lines") == {"delivered": 1, "failed": 6, "dropped": 1}
    assert the_object(folder_lake, "lines") == b"\n" * 1_000_000
    after = server.memory_bytes()["VmHWM"]
    assert after < before + 160 * MIB, (before, after)

    # Many in one call, all of which may pass: 600 MiB in all.
    each = bomb(10 * MIB, b"\n")
    kit.send(server.firehose(ACME), "app", [members, *[each] * 60])
    assert settled(server, "app") == {"delivered": 61}
    keys = [key for key in folder_lake.keys() if key.startswith("app/")]
    assert sum(len(gzip.decompress(folder_lake.read(key))) for key in keys) == 600 * MIB + 10_000
    after = server.memory_bytes()["VmHWM"]
    assert after < before + 512 * MIB, (before, after)
