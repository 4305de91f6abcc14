"""A failing front of a real S3 server: HTTP in, faults to order, HTTP on.

Owns what goes wrong with puts, and the write log: key and SHA-256 of every put that the server behind
carried out, also of those whose answer was lost and of those that came late. Requests are passed on as
they are, with their signature; S3 itself is the server behind it.

Faults of a put, by name:

    403 404 409 412 429 500 503   answered so, nothing stored
    lost                          stored, the connection closed instead of an answer
    lost-500                      stored, answered 500
    zombie                        stored, the answer lost, and the same put carried out once more later
    delayed                       answer lost at once, stored later
    huge                          answered 500 with an endless body
    slow                          stored and answered, late
    foreign                       somebody else's object has come under the key before it; only where the
                                  store honours conditions, since any other overwrites it
"""

import contextlib
import hashlib
import http.client
import http.server
import threading
import time
import urllib.parse

CODES = {
    403: "AccessDenied", 404: "NoSuchBucket", 409: "ConditionalRequestConflict", 412: "PreconditionFailed",
    429: "TooManyRequests", 500: "InternalError", 503: "SlowDown",
}
FAULTS = (*map(str, CODES), "lost", "lost-500", "zombie", "delayed", "huge", "slow", "foreign")
FOREIGN = b"somebody else's object"
SLOW_SECONDS = 0.7
# How late a put comes that nobody waits for any more.
LATE_SECONDS = 2.0
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Front:
    """Listens on a port of its own; `endpoint` is what takes it for the store."""

    def __init__(self, server, honours_conditions=True):
        self.backend, self.root = server.endpoint.removeprefix("http://"), server.root
        self.honours_conditions = honours_conditions
        self.writes, self.foreign_keys = [], []
        self.puts = self.faults_done = 0
        self._fault, self._every, self._number = None, 0, 0
        self._lock = threading.Lock()
        self._late = []
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self):
                front._serve(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

            def log_message(self, *_arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_arguments):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def order(self, fault=None, every=2):
        """From now on each `every`-th put goes wrong so; none without a fault."""
        with self._lock:
            self._fault, self._every, self.faults_done = fault, every, 0

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self.settle()

    def settle(self):
        """Waits until every late put has been carried out."""
        with self._lock:
            late, self._late = self._late, []
        for thread in late:
            thread.join(LATE_SECONDS + 30)

    def _next_fault(self):
        with self._lock:
            self.puts += 1
            if self._fault is None:
                return None
            self._number += 1
            if self._number % self._every:
                return None
            self.faults_done += 1
            return self._fault

    def _serve(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        key = urllib.parse.unquote(request.path.partition("?")[0])
        is_put = request.command == "PUT" and key.count("/") > 1
        fault = self._next_fault() if is_put else None
        with contextlib.suppress(OSError, http.client.HTTPException):
            if fault is None:
                self._reply(request, *self._pass_on(request, body, is_put))
            elif fault.isdigit():
                self._reply(request, int(fault), refusal(int(fault)), [("Content-Type", "application/xml")])
            else:
                self._misbehave(request, body, fault)

    def _misbehave(self, request, body, fault):
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
            self._reply(request, *self._pass_on(request, body, True))
            return
        if fault == "foreign":
            path = self._path(request)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(FOREIGN)
                self.foreign_keys.append(str(path.relative_to(self.root)))
            self._reply(request, *self._pass_on(request, body, True))
            return
        if fault == "huge":
            request.send_response(500)
            request.end_headers()
            for _ in range(64):
                request.wfile.write(b"<" * (1 << 16))
            request.close_connection = True
            return
        if fault == "delayed":
            self._put_late(request, body)
        else:
            self._pass_on(request, body, True)
            if fault == "zombie":
                self._put_late(request, body)
        if fault == "lost-500":
            self._reply(request, 500, refusal(500), [("Content-Type", "application/xml")])
            return
        request.close_connection = True
        request.connection.close()

    def _put_late(self, request, body):
        asked = Asked(request)

        def put():
            time.sleep(LATE_SECONDS)
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._pass_on(asked, body, True)

        thread = threading.Thread(target=put, daemon=True)
        with self._lock:
            self._late.append(thread)
        thread.start()

    def _path(self, request):
        """Where the server behind keeps the object."""
        return self.root / urllib.parse.unquote(request.path.partition("?")[0]).lstrip("/")

    def _pass_on(self, request, body, is_put):
        if not self.honours_conditions and "If-None-Match" in request.headers:
            # The header is signed, so it stays; what it asks about does not.
            self._path(request).unlink(missing_ok=True)
        connection = http.client.HTTPConnection(self.backend, timeout=60)
        try:
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if is_put and answer.status == 200:
            key = urllib.parse.unquote(request.path.partition("?")[0])
            with self._lock:
                self.writes.append((key, hashlib.sha256(body).hexdigest()))
        length = answer.headers.get("Content-Length", str(len(text)))
        kept = [(n, v) for n, v in answer.headers.items() if n.lower() not in HOP_BY_HOP]
        return answer.status, text, [*kept, ("Content-Length", length)]

    @staticmethod
    def _reply(request, status, text, headers):
        request.send_response_only(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            request.send_header(name, value)
        if "content-length" not in names:
            request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(text)


class Asked:
    """What is left of a request when its connection has gone."""

    def __init__(self, request):
        self.command, self.path, self.headers = request.command, request.path, request.headers


def refusal(status):
    code = CODES[status]
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()
