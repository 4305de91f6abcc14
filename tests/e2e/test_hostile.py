"""Hostile callers and hostile records, over the socket of the running server.

The rows of the security matrix of messages, and the tests that hold them; those without a file are
here.

| row | what | tests |
|---|---|---|
| S24 | limits of records and calls | `test_errors.py` limits_themselves, wrong_calls; src/ingest/wire_tests.rs s24 |
| S25 | bodies too long, endless, too slow | s25, s25_s26; src/ingest/tests.rs s25 |
| S26 | slow, many and long headers, connections, HTTP/2 | s26, s25_s26; `test_connections.py`; src/ingest/server_tests.rs s26 |
| S27 | framing that two readers read differently | s27; src/ingest/tests.rs s27 |
| S28 | packed bodies of the API | s28; src/ingest/tests.rs s28 |
| S30 | records that are made to break readers | s30; src/convert/tests/rejects.rs nesting, src/jq/tests/foreign.rs shape, src/transform/tests/hooks.rs, src/ingest/split_tests.rs s30 |
| S31 | JSON of calls that is none | s31; src/ingest/wire_tests.rs s31 |
"""

import base64
import concurrent.futures
import contextlib
import gzip
import http.client
import json
import socket
import struct
import time

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import hooks_kit
import kit

ACME = kit.Identity("acme", ("clicks",))
STREAMS = {"clicks": kit.stream_of({"columns": {"id": "string", "number": "double"}})}
TARGET = "Firehose_20150804.PutRecord"


def body_of(name):
    """The body of a PutRecord whose record tells its name."""
    record = base64.b64encode(json.dumps({"id": name}).encode()).decode()
    return json.dumps({"DeliveryStreamName": "clicks", "Record": {"Data": record}}).encode()


@pytest.fixture
def server(new_lakehose, folder_lake):
    return new_lakehose([ACME], folder_lake, STREAMS).start()


def address_of(server):
    host, port = server.endpoint.removeprefix("http://").split(":")
    return host, int(port)


def signed_headers(server, body, target=TARGET, host=None, **more):
    """The headers of a call that is signed as boto3 signs it."""
    url = f"http://{host}/" if host else server.endpoint + "/"
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target, **more}
    request = botocore.awsrequest.AWSRequest("POST", url, headers, body)
    credentials = botocore.credentials.Credentials(ACME.access_key, ACME.secret)
    botocore.auth.SigV4Auth(credentials, "firehose", kit.REGION).add_auth(request)
    return dict(request.headers.items())


def call(server, body, **more):
    """Status and document of one signed call."""
    connection = http.client.HTTPConnection(*address_of(server), timeout=60)
    try:
        connection.request("POST", "/", body, signed_headers(server, body, **more))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def raw_call(server, name, *extra, framing=None, version="1.1", end="\r\n", host=True):
    """The bytes of a signed call, with other headers in the place of its length if they are given."""
    body = body_of(name)
    headers = signed_headers(server, body)
    lines = [f"POST / HTTP/{version}"]
    if host:
        lines.append(f"Host: {server.endpoint.removeprefix('http://')}")
    lines += [f"{header}: {value}" for header, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"] if framing is None else list(framing)
    return "".join(line + end for line in [*lines, *extra, ""]).encode() + body


def chunks_of(body):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def exchange(server, sent, patience=30):
    """Sends all of it and reads until the server closes, which it must do in that time."""
    with socket.create_connection(address_of(server), timeout=patience) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return read_to_end(connection)


def read_to_end(connection):
    answer = b""
    # A reset behind the answer is an end, too.
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def status_of(answer):
    assert answer.startswith(b"HTTP/1."), answer
    return int(answer.split(b" ", 2)[1])


def stored(server):
    server.flush("clicks")
    return server.status("clicks")["accepted"]


def assert_serves(server):
    kit.send(server.firehose(ACME), "clicks", [b'{"id": "fine"}'])


def test_s25_a_body_that_is_announced_too_long_is_refused_before_it_is_read(server):
    five_gib = raw_call(server, "a", framing=[f"Content-Length: {5 << 30}"])
    answer = exchange(server, five_gib)
    assert status_of(answer) == 413 and b"RequestEntityTooLargeException" in answer, answer
    assert stored(server) == 0


def test_s25_a_body_without_end_is_refused_at_the_limit(server):
    head = raw_call(server, "a", framing=["Transfer-Encoding: chunked"]).partition(b"\r\n\r\n")[0]
    chunk = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
    with socket.create_connection(address_of(server), timeout=30) as connection:
        connection.sendall(head + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for sent in range(1, 1000):
                connection.sendall(chunk)
        assert sent < 100, "the server reads on without end"
        answer = read_to_end(connection)
    assert not answer or status_of(answer) == 413, answer
    assert stored(server) == 0
    assert server.memory_bytes()["VmHWM"] < 512 << 20


def drip(server, start, piece, limit=40):
    """Sends a start at once, then a piece each second; the answer, and the seconds it took."""
    began = time.monotonic()
    with socket.create_connection(address_of(server), timeout=limit) as connection:
        connection.sendall(start)
        connection.settimeout(1)
        answer = b""
        while time.monotonic() < began + limit:
            try:
                received = connection.recv(65536)
                answer += received
                if not received:
                    break
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(piece)
            except ConnectionError:
                break
        else:
            raise AssertionError(f"{start[:40]!r} is served for {limit} s")
    return answer


def test_s25_s26_whoever_sends_a_byte_a_second_is_cut_off(server):
    head = raw_call(server, "a", framing=["Content-Length: 1000000"]).partition(b"\r\n\r\n")[0]
    unsigned = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    slow = {
        "body": (head + b"\r\n\r\n", b" "),
        "body of nobody": (unsigned, b" "),
        "chunks": (head.replace(b"Content-Length: 1000000", b"Transfer-Encoding: chunked")
                   + b"\r\n\r\n", b"1\r\n \r\n"),
        "headers": (b"POST / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n"),
        "nothing": (b"", b""),
        "HTTP/2": (PREFACE + frame(SETTINGS), frame(PING, payload=b"12345678")),
    }
    with concurrent.futures.ThreadPoolExecutor(len(slow)) as threads:
        answers = {name: threads.submit(drip, server, *sent) for name, sent in slow.items()}
        answers = {name: answer.result() for name, answer in answers.items()}
    for name in ("body", "body of nobody", "chunks"):
        assert status_of(answers[name]) == 408, (name, answers[name])
    for name in ("headers", "nothing"):
        assert not answers[name] or status_of(answers[name]) == 408, (name, answers[name])
    assert stored(server) == 0
    assert_serves(server)


def test_s26_too_many_and_too_long_headers_are_refused(server):
    for headers in ["X-A: b\r\n" * 1000, f"X-A: {'b' * (64 << 10)}\r\n"]:
        # A head without its end, so that nothing unread makes a reset of the answer.
        sent = f"POST / HTTP/1.1\r\nHost: a\r\n{headers}".encode()
        with socket.create_connection(address_of(server), timeout=30) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
                connection.sendall(b"\r\n")
            answer = read_to_end(connection)
        assert not answer or status_of(answer) == 431, answer[:200]
    assert_serves(server)


# --- HTTP/2 ------------------------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_HEADERS, END_STREAM = 4, 1
ENHANCE_YOUR_CALM = 11
# `POST /` by the static table of HPACK, and the authority `a`.
POST = b"\x83\x86\x84\x41\x01a"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def frames_in(received):
    at = 0
    while at + 9 <= len(received):
        length = int.from_bytes(received[at : at + 3], "big")
        yield received[at + 3], received[at + 9 : at + 9 + length]
        at += 9 + length


def flood(server, pieces, patience=30):
    """Sends until the server has had enough; the code with which it ends the connection."""
    with socket.create_connection(address_of(server), timeout=patience) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(PREFACE + frame(SETTINGS))
            for piece in pieces:
                connection.sendall(piece)
        received = read_to_end(connection)
    ends = [int.from_bytes(payload[4:8], "big") for kind, payload in frames_in(received) if kind == GOAWAY]
    return ends[-1] if ends else None


def rapid_resets():
    for start in range(1, 200_000, 200):
        yield b"".join(
            frame(HEADERS, END_HEADERS, stream, POST) + frame(RST_STREAM, 0, stream, bytes(4))
            for stream in range(start, start + 200, 2)
        )


def empty_data():
    yield frame(HEADERS, END_HEADERS, 1, POST)
    for _ in range(1000):
        yield frame(DATA, 0, 1) * 1000


def endless_headers():
    yield frame(HEADERS, 0, 1, POST)
    # A literal header without an index, again and again.
    for _ in range(10_000):
        yield frame(CONTINUATION, 0, 1, b"\x00\x01x\x7f\xf8\x7e" + b"y" * 16_375)


@pytest.mark.parametrize("pieces", [rapid_resets, empty_data, endless_headers])
def test_s26_floods_of_http2_frames_end_their_own_connection_and_nothing_else(pieces, server):
    code = flood(server, pieces())
    # A reset may overtake the word.
    assert code in (ENHANCE_YOUR_CALM, None), code
    assert_serves(server)
    assert server.memory_bytes()["VmHWM"] < 256 << 20
    assert stored(server) == 1


# --- framing -----------------------------------------------------------------------------------


def test_s27_a_call_of_two_lengths_is_not_followed_by_another(server):
    """Whatever comes behind a message whose end two readers see differently is not read."""
    hidden = raw_call(server, "hidden")
    body = body_of("a")
    for framing in [
        [f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", f"Content-Length: {len(chunks_of(body))}"],
    ]:
        head = raw_call(server, "a", framing=framing).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        answer = exchange(server, head + chunks_of(body) + hidden)
        assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert stored(server) <= 2


@pytest.mark.parametrize(
    "framing",
    [
        ["Content-Length: 10", "Content-Length: 11"],
        ["Content-Length: 10, 11"],
        ["Content-Length: +5"],
        ["Content-Length: -1"],
        ["Content-Length: 0x10"],
        ["Content-Length: 99999999999999999999"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding : chunked"],
    ],
)
def test_s27_framing_that_can_be_read_in_two_ways_is_refused(framing, server):
    head = raw_call(server, "a", framing=framing).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    answer = exchange(server, head + chunks_of(body_of("a")) + raw_call(server, "hidden"))
    assert status_of(answer) == 400, answer
    assert answer.count(b"HTTP/1.") == 1, answer
    assert stored(server) == 0


def test_s27_chunks_are_no_part_of_http_1_0(server):
    head = raw_call(server, "a", framing=["Transfer-Encoding: chunked"], version="1.0")
    head = head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    answer = exchange(server, head + chunks_of(body_of("a")) + raw_call(server, "hidden"))
    assert status_of(answer) == 400, answer
    assert answer.count(b"HTTP/1.") == 1, answer
    assert stored(server) == 0


def test_s27_a_call_without_a_host_is_not_signed_for_this_one(server):
    answer = exchange(server, raw_call(server, "a", "Connection: close", host=False))
    assert status_of(answer) == 400 and b"InvalidSignatureException" in answer, answer
    assert stored(server) == 0


def test_s27_lines_that_end_with_a_line_feed_alone_keep_to_the_same_rules(server):
    fine = raw_call(server, "a", "Connection: close", end="\n")
    assert status_of(exchange(server, fine)) == 200
    two = ["Content-Length: 10", "Content-Length: 11"]
    refused = raw_call(server, "b", framing=two, end="\n")
    assert status_of(exchange(server, refused)) == 400
    assert stored(server) == 1


def test_s28_a_packed_body_of_the_api_is_refused(server):
    body = gzip.compress(body_of("a"))
    for encoding in ("gzip", "zstd", "identity, gzip"):
        status, document = call(server, body, **{"Content-Encoding": encoding})
        assert (status, document["__type"]) == (415, "UnsupportedMediaTypeException"), document
    assert call(server, body_of("b"), **{"Content-Encoding": "identity"})[0] == 200
    assert stored(server) == 1


# --- records -----------------------------------------------------------------------------------

DEEP = b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HOSTILE = {
    "lists": DEEP,
    "objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "open": b"[" * 1_000_000,
    "in a text": json.dumps({"id": "[" * 500_000}).encode(),
    "huge number": b'{"id": "n", "number": 1e999999}',
    "long number": b'{"id": "n", "number": ' + b"9" * 1_000_000 + b"}",
    "bytes that are no text": b'{"id": "\xff\xfe"}',
    "half a surrogate": b'{"id": "\\ud800"}',
    "nan": b'{"id": "n", "number": NaN}',
    "nothing": b"",
    "two lists": b"[1][2]",
}
# What is odd and no fault.
ODD = {
    "many keys": b'{"id": "many", ' + b", ".join(b'"k%d":0' % n for n in range(80_000)) + b"}",
    "a key twice": b'{"id": "first", "ID": "last"}',
}


def test_s30_hostile_records_fail_one_by_one_and_their_neighbours_arrive(server, folder_lake):
    good = [b'{"id": "good-%d", "number": 1}' % index for index in range(5)]
    rows_of_text = {"in a text"}
    for record in [*HOSTILE.values(), *ODD.values()]:
        assert len(record) <= 1_024_000
        kit.send(server.firehose(ACME), "clicks", [record])
    kit.send(server.firehose(ACME), "clicks", good)
    server.flush("clicks", timeout=120)
    failed = sorted(failure.raw for failure in kit.failures(folder_lake))
    expected = sorted(record for name, record in HOSTILE.items() if name not in rows_of_text)
    assert failed == expected
    query = f"SELECT id FROM {kit.rows_of(folder_lake, 'clicks')} ORDER BY id"
    ids = [row[0] for row in folder_lake.duckdb().execute(query).fetchall()]
    # Of keys that are equal the last one wins.
    assert ids == sorted(["[" * 500_000, "last", "many", *(f"good-{index}" for index in range(5))])
    kit.assert_conserved(server.status("clicks"), len(HOSTILE) + len(ODD) + len(good))


STEPS = {
    "jq": {"jq": ". | {id: .id}"},
    "parsed": {"jq": "{id: (.text | fromjson | tostring)}"},
    "filter": {"filter": ".id != null"},
    "fields": {"fields": {"drop": ["x"], "rename": {"a": "b"}, "add": {"y": 1}}},
}


def test_s30_hostile_records_break_no_step_of_a_transform(new_lakehose, folder_lake):
    names = tuple(STEPS)
    identity = kit.Identity("acme", names)
    streams = {
        name: {**kit.stream_of({"columns": {"id": "string"}}), "transform": [step]}
        for name, step in STEPS.items()
    }
    server = new_lakehose([identity], folder_lake, streams).start()
    records = [*HOSTILE.values(), *ODD.values()]
    records += [json.dumps({"text": record.decode(errors="replace")}).encode() for record in (DEEP, b"[" * 900_000)]
    for name in names:
        for record in records:
            kit.send(server.firehose(identity), name, [record])
        kit.send(server.firehose(identity), name, [b'{"id": "good", "text": "1"}'])
    for name in names:
        server.flush(name, timeout=120)
        status = server.status(name)
        assert status["accepted"] == len(records) + 1 == (
            status["delivered"] + status["failed"] + status["dropped"]
        ), (name, status)
        assert status["delivered"] >= 1, (name, status)
    deep = [failure.key for failure in kit.failures(folder_lake) if failure.raw == DEEP]
    assert sorted(key.split("/")[1] for key in deep) == sorted(names)
    server.assert_alive()


def test_s30_a_hook_whose_answer_is_hostile_fails_its_records_alone(new_lakehose, folder_lake):
    hook = hooks_kit.Hook()
    answers = [
        b'{"records": ' + b"[" * 1_000_000,
        b'{"x":' * 500_000,
        b'{"records": [{"recordId": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
        b'{"records": [{"recordId": "x", "data": ' + b"9" * 1_000_000 + b"}]}",
    ]
    try:
        stream = kit.stream_of({"columns": {"id": "string"}})
        stream["transform"] = [{"http": {"url": hook.url, "retries": 0, "timeout": "10 s"}}]
        server = new_lakehose([ACME], folder_lake, {"clicks": stream}).start()
        for answer in answers:
            hook.body = answer
            kit.send(server.firehose(ACME), "clicks", [b'{"id": "hostile"}'])
            server.flush("clicks")
        hook.body = None
        kit.send(server.firehose(ACME), "clicks", [b'{"id": "good"}'])
        server.flush("clicks")
    finally:
        hook.close()
    status = server.status("clicks")
    assert (status["delivered"], status["failed"]) == (1, len(answers)), status


def test_s31_bodies_that_are_no_calls_are_told_so_and_store_nothing(server):
    put = body_of("a").decode()
    refused = {
        "": "SerializationException",
        "{": "SerializationException",
        put[:-1]: "SerializationException",
        put + put: "SerializationException",
        put + " 1": "SerializationException",
        "[" * 1_000_000: "SerializationException",
        "[]": "SerializationException",
        "null": "SerializationException",
        '"x"': "SerializationException",
        put.replace('"clicks"', '["clicks"]'): "SerializationException",
        put.replace('{"Data"', '[{"Data"').replace("}}", "}]}"): "SerializationException",
        put.replace('"}}', '!"}}'): "SerializationException",
        put.replace('"Data"', '"Dat"'): "ValidationException",
        put.replace('"clicks"', '"a b"'): "ValidationException",
        put.replace('"clicks"', "null"): "ValidationException",
        put.replace('"clicks"', '".."'): "InvalidArgumentException",
        put.replace('"clicks"', '"nowhere"'): "ResourceNotFoundException",
    }
    for body, code in refused.items():
        status, document = call(server, body.encode())
        assert (status, document["__type"]) == (400, code), (body[:80], document)
        assert document["message"], document
    status, document = call(server, b'{"DeliveryStreamName": "\xff"}')
    assert (status, document["__type"]) == (400, "SerializationException"), document
    assert stored(server) == 0


def test_s31_members_that_nobody_knows_are_ignored_however_deep_they_are(server):
    deep = "[" * 100_000 + "]" * 100_000
    body = body_of("a").decode().replace("{", f'{{"Tenant": "globex", "More": {deep}, ', 1)
    assert call(server, body.encode())[0] == 200
    # Padding may be missing, as some producers leave it out.
    body = body_of("ab").decode().replace("=", "")
    assert call(server, body.encode())[0] == 200
    assert stored(server) == 2
