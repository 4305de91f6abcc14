"""One call, sent again and again as the same bytes until it is taken, and how long each answer took.

Owns what a refusal costs a producer, apart from what the producer itself does meanwhile: it runs as a process
of its own, so that nobody shares its interpreter, and makes nothing between its clock and the socket. A call
that was refused has not been stored, and carries a key, so sending it again is what a producer would do.

    python prober.py HOST PORT REQUEST-FILE SECONDS

Prints JSON: `refused` the seconds of each refusal, `status` and `body` of the last answer.
"""

import json
import socket
import sys
import time

# Between two calls, so that the service is asked often and not filled with questions.
REST_SECONDS = 0.004


def answer_of(connection):
    """Status and body of one answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(fields["content-length"]):
        body += received(connection)
    return int(lines[0].split()[1]), body.decode(), fields.get("connection") == "close"


def received(connection):
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection in the middle of an answer")
    return data


def probe(host, port, request, seconds):
    def connect():
        connection = socket.create_connection((host, port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    connection, refused, end = connect(), [], time.monotonic() + seconds
    while True:
        asked = time.perf_counter()
        connection.sendall(request)
        status, body, is_closed = answer_of(connection)
        took = time.perf_counter() - asked
        if status == 200 or time.monotonic() > end:
            return {"refused": refused, "status": status, "body": body}
        refused.append(took)
        if is_closed:
            connection = connect()
        time.sleep(REST_SECONDS)


if __name__ == "__main__":
    with open(sys.argv[3], "rb") as file:
        sent = file.read()
    print(json.dumps(probe(sys.argv[1], int(sys.argv[2]), sent, float(sys.argv[4]))))
