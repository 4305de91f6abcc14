"""Scripted hooks: HTTP by Lambda's contract, Lambda's Invoke API, and a command.

Owns how a hook misbehaves to order. A record says itself what its hook is to do, in its member
`do`, so that one test can mix all of them; what a hook does to whole invocations (times out, answers
500, garbage, 6 MB, or goes away) is set from outside or asked for by a record as well. Does not own
any claim: those are the test files.

    {"id": "a-1", "do": "ok"}        ok drop fail parts missing duplicate result base64 nodata keys
                                     part-keys differ (another answer each time), and for the whole invocation:
                                     once-500 once-garbage once-timeout once-reset always-500
                                     always-garbage huge die (the command: once)
                                     endless (the command: a line without end)

A huge answer is the whole invocation's by HTTP, and the record's own by the command.
"""

import base64
import contextlib
import http.server
import json
import os
import pathlib
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
import uuid

SIX_MB = 6 << 20
ONCE = ("once-500", "once-garbage", "once-timeout", "once-reset", "die")
ALWAYS = ("always-500", "always-garbage", "huge")


def encoded(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def answers_to(record_id, event):
    """What a hook says of one record: a list of answers, of which most have one."""
    do = event.get("do", "ok")
    done = {**event, "seen": True}

    def ok(value, **more):
        return {"recordId": record_id, "result": "Ok", "data": encoded(value), **more}

    if do == "drop":
        return [{"recordId": record_id, "result": "Dropped", "data": ""}]
    if do == "fail":
        return [{"recordId": record_id, "result": "ProcessingFailed", "data": encoded(done)}]
    if do == "parts":
        parts = [{"data": encoded({**done, "part": part})} for part in range(3)]
        return [{"recordId": record_id, "result": "Ok", "parts": parts}]
    if do == "missing":
        return []
    if do == "duplicate":
        return [ok(done), ok(done)]
    if do == "result":
        return [{**ok(done), "result": "ok"}]
    if do == "base64":
        return [{**ok(done), "data": "%%%"}]
    if do == "nodata":
        return [{"recordId": record_id, "result": "Ok"}]
    if do == "keys":
        return [ok(done, metadata={"partitionKeys": event["keys"]})]
    if do == "part-keys":
        parts = [{"data": encoded({**done, "part": part}), "metadata": {"partitionKeys": keys}}
                 for part, keys in enumerate(event["keys"])]
        return [{"recordId": record_id, "result": "Ok", "parts": parts}]
    if do == "differ":
        # Never the same twice, and in another number of parts each time.
        token = uuid.uuid4().hex
        count = 1 + token.encode()[0] % 3
        parts = [{"data": encoded({**done, "token": token, "part": part, "of": count})} for part in range(count)]
        return [{"recordId": record_id, "result": "Ok", "parts": parts}]
    return [ok(done)]


class Hook:
    """An HTTP server that is a hook, and a Lambda function at the Invoke API's path.

    It listens on the same port for its whole life, so that it may go away and come back.
    """

    INVOKE = re.compile(r"/2015-03-31/functions/(?P<function>[^/]+)/invocations")

    def __init__(self, timeout=30):
        self.timeout = timeout
        self.status = None  # A status that every request is answered with.
        self.body = None  # Bytes that every request is answered with.
        self.invocations = []  # (invocation id, [record ids])
        self.functions = set()
        self.headers = []
        self._done_once = set()
        self._lock = threading.Lock()
        self._release = threading.Event()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server = None
        self.come()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def come(self):
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                hook._serve(self)

            def log_message(self, *_arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_arguments):
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def go(self):
        """Nobody listens from now on; connections that are open are not served any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def close(self):
        self._release.set()
        self.go()

    def _first_time(self, what):
        with self._lock:
            if what in self._done_once:
                return False
            self._done_once.add(what)
            return True

    def _serve(self, request):
        if self._server is None:
            request.close_connection = True
            return
        body = request.rfile.read(int(request.headers["Content-Length"]))
        event = json.loads(body)
        records = [
            (record["recordId"], json.loads(base64.b64decode(record["data"])))
            for record in event["records"]
        ]
        invoked = self.INVOKE.fullmatch(urllib.parse.urlparse(request.path).path)
        with self._lock:
            self.invocations.append((event["invocationId"], [record_id for record_id, _ in records]))
            self.headers.append(dict(request.headers))
            if invoked:
                self.functions.add(urllib.parse.unquote(invoked["function"]))
        if self.status is not None:
            self._reply(request, self.status, b'{"message": "to order"}', invoked)
            return
        if self.body is not None:
            self._reply(request, 200, self.body, invoked)
            return
        for record_id, record in records:
            do = record.get("do", "")
            if do in ALWAYS or (do in ONCE and self._first_time(f"{do} {record['id']}")):
                self._whole(request, do, invoked)
                return
        answers = [answer for record in records for answer in answers_to(*record)]
        # Any order will do.
        text = json.dumps({"records": answers[::-1]}).encode()
        self._reply(request, 200, text, invoked)

    def _whole(self, request, do, invoked):
        if do.endswith("500"):
            self._reply(request, 500, b"to order", invoked)
        elif do.endswith("garbage"):
            self._reply(request, 200, b"<html>not json</html>", invoked)
        elif do == "huge":
            self._reply(request, 200, b'{"records": [' + b" " * SIX_MB + b"]}", invoked)
        elif do.endswith("timeout"):
            self._release.wait(self.timeout)
            request.close_connection = True
        else:
            # A reset rather than an end.
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
            request.close_connection = True

    def _reply(self, request, status, body, invoked):
        """A Lambda function has no status of its own: 500 is an error that it has thrown."""
        with contextlib.suppress(OSError):
            if invoked and status == 500:
                request.send_response(200)
                request.send_header("X-Amz-Function-Error", "Unhandled")
                body = json.dumps({"errorMessage": body.decode()}).encode()
            else:
                request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)


def command(folder):
    """The words that run this file as a command hook, with a folder for what happens once."""
    folder.mkdir(parents=True, exist_ok=True)
    return [sys.executable, str(pathlib.Path(__file__).resolve()), str(folder)]


def _run_as_command(folder):
    """The same answers, line by line."""

    def first_time(what):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(folder / what, os.O_CREAT | os.O_EXCL))
            return True
        return False

    for line in sys.stdin:
        given = json.loads(line)
        event = json.loads(given["data"])
        do = event.get("do", "")
        if do in ONCE:
            if first_time(f"{do}-{event['id']}"):
                if do.endswith("garbage"):
                    print("<html>")
                elif do.endswith("timeout"):
                    time.sleep(3_600)
                else:
                    print("dying to order", file=sys.stderr)
                    os._exit(7)
        elif do == "always-500":
            os._exit(8)
        elif do == "always-garbage":
            print("not json")
        elif do == "endless":
            while True:
                sys.stdout.write("x" * 65_536)
        elif do == "huge":
            event["filler"] = "x" * 2 * SIX_MB
        for answer in answers_to(given["recordId"], event):
            for holder in [answer, *answer.get("parts", [])]:
                if holder.get("data") not in (None, "", "%%%"):
                    holder["data"] = base64.b64decode(holder["data"]).decode()
            if do == "base64":
                answer["dataBase64"] = answer.pop("data")
            print(json.dumps(answer))


if __name__ == "__main__":
    _run_as_command(pathlib.Path(sys.argv[1]))
