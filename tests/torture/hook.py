"""A hook that says something else each time, and writes down what it said.

Owns its log: one line for each record of each answer, flushed before the answer goes out. What to do
with a record stands in the record (`hooks_kit`); what goes wrong with whole invocations is ordered by
`misbehave`. It lives in the process of the round and is never killed.

    {"id": ..., "result": "Ok" | "Dropped" | "ProcessingFailed", "token": ..., "of": ...}
"""

import base64
import http.server
import json
import threading
import time

from kits import hooks_kit


class Hook:
    """An HTTP server on a port of its own."""

    def __init__(self, log):
        self.log = log
        self.invocations = 0
        # What is done to whole invocations: every n-th one, by number.
        self._every, self._faults = 0, ()
        self._file = open(log, "a", encoding="utf-8")
        self._lock = threading.Lock()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                hook._serve(self)

            def log_message(self, *_arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_arguments):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._file.close()

    def misbehave(self, every, *faults):
        """Each `every`-th invocation goes wrong by one of `faults` in turn: 500, garbage, late, cut,
        huge. 0 for never."""
        self._every, self._faults = every, faults

    def _serve(self, request):
        event = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        with self._lock:
            self.invocations += 1
            number = self.invocations
        if self._every and number % self._every == 0:
            fault = self._faults[number // self._every % len(self._faults)]
            if self._go_wrong(request, fault):
                return
        answers, lines = [], []
        for record in event["records"]:
            answered, line = self._judge(record["recordId"], base64.b64decode(record["data"]))
            answers += answered
            lines.append(json.dumps(line) + "\n")
        with self._lock:
            self._file.write("".join(lines))
            self._file.flush()
        self._reply(request, 200, json.dumps({"records": answers}).encode())

    @staticmethod
    def _judge(record_id, data):
        """The answers about one record, and what the log says of them."""
        try:
            event = json.loads(data)
        except json.JSONDecodeError:
            failed = {"recordId": record_id, "result": "ProcessingFailed", "data": ""}
            return [failed], {"id": None, "result": "ProcessingFailed"}
        answers = hooks_kit.answers_to(record_id, event)
        line = {"id": event["id"], "result": answers[0]["result"]}
        if event.get("do") == "differ":
            first = json.loads(base64.b64decode(answers[0]["parts"][0]["data"]))
            line |= {"token": first["token"], "of": first["of"]}
        return answers, line

    def _go_wrong(self, request, fault):
        if fault == "500":
            self._reply(request, 500, b"to order")
        elif fault == "garbage":
            self._reply(request, 200, b"<html>not json</html>")
        elif fault == "huge":
            self._reply(request, 200, b'{"records": [' + b" " * (hooks_kit.SIX_MB + 1) + b"]}")
        elif fault == "cut":
            request.connection.close()
            request.close_connection = True
        elif fault == "late":
            time.sleep(1.5)
            return False
        return True

    @staticmethod
    def _reply(request, status, body):
        try:
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
        except OSError:
            request.close_connection = True


def read(log):
    """What was said of each id, every time: id -> list of lines."""
    said = {}
    with open(log, encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            said.setdefault(line["id"], []).append(line)
    return said
