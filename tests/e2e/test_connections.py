"""Whoever can reach the port, without any key, takes neither the files nor the memory of the rest."""

import json
import socket
import urllib.error
import urllib.request

import pytest

import kit

IDENTITIES = [kit.Identity("acme", ("clicks",))]
STREAMS = {"clicks": kit.stream_of({"columns": {"id": "string", "noise": "string"}})}
FILES_MAX = 1024

# What an HTTP/2 client begins with, and `GET /` on its first stream.
HTTP2_START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
HTTP2_GET = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a"


def address_of(server):
    host, port = server.endpoint.removeprefix("http://").split(":")
    return host, int(port)


def start_below(server, files_max):
    """Starts the server where it may have that many files open, and has not asked for them yet."""
    launch = server.launch

    def launch_limited(arguments, *rest):
        launch(["prlimit", f"--nofile=256:{files_max}", *arguments], *rest)

    server.launch = launch_limited
    server.start()


def make_record(number):
    return json.dumps({"id": str(number), "noise": "x" * 500_000}).encode()


def test_idle_connections_beyond_the_limit_on_files_do_not_end_the_service(folder_lake, new_lakehose):
    server = new_lakehose(IDENTITIES, folder_lake, STREAMS)
    start_below(server, FILES_MAX)
    assert "room for" in server.log_text(), "the bound is told"

    idle = []
    try:
        for _ in range(FILES_MAX):
            try:
                connection = socket.create_connection(address_of(server), timeout=2)
            except TimeoutError:
                # Those that wait to be taken have a bound, too.
                break
            connection.sendall(HTTP2_START + HTTP2_GET)
            idle.append(connection)
        assert len(idle) > 700
        # Several segments of the journal, the first of which is 1 MiB: each takes a file.
        firehose = server.firehose(IDENTITIES[0], read_timeout=120, connect_timeout=120)
        kit.send(firehose, "clicks", [make_record(number) for number in range(12)], batch=4)
    finally:
        for connection in idle:
            connection.close()
    server.flush("clicks")
    server.assert_alive()
    assert server.status("clicks")["delivered"] == 12


def test_announced_bodies_of_nobody_known_do_not_hold_up_producers(folder_lake, new_lakehose):
    server = new_lakehose(IDENTITIES, folder_lake, STREAMS).start()
    head = (
        "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Firehose_20150804.PutRecordBatch\r\n"
        f"Content-Length: {12 * 1024 * 1024}\r\n\r\n"
    )
    waiting = []
    try:
        for _ in range(100):
            connection = socket.create_connection(address_of(server), timeout=10)
            connection.sendall(head.encode() + b"{" * 1000)
            waiting.append(connection)
        kit.send(server.firehose(IDENTITIES[0]), "clicks", [make_record(1)])
        # A body that does not come is not waited for as long as one that does.
        for connection in waiting:
            connection.settimeout(25)
            assert b"408 Request Timeout" in connection.recv(4096)
    finally:
        for connection in waiting:
            connection.close()


@pytest.mark.parametrize("path", ["/reload", "/flush/clicks"])
def test_web_pages_move_nothing_on_the_admin_listener(path, folder_lake, new_lakehose):
    server = new_lakehose(IDENTITIES, folder_lake, STREAMS).start()

    def post(**headers):
        request = urllib.request.Request(f"{server.admin}{path}", method="POST", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert post(Origin="https://example.com") == post(**{"Sec-Fetch-Site": "cross-site"}) == 403
    assert post() == 200
