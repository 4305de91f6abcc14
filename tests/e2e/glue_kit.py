"""A Glue Data Catalog for tests: moto's, behind a gate that is as strict as AWS and fails on demand.

moto takes more than 100 partitions in a call, partitions with the wrong number of values, and never
pages; the gate does what AWS does there. It also counts what is asked.
"""

import collections
import http.client
import http.server
import json
import threading

from moto.server import ThreadedMotoServer

import kit

ACCESS_KEY = "GLUEACCESS"
SECRET = "glue-secret-of-the-tests"
# A page of partitions; AWS decides as it likes.
PAGE = 7
BATCH_MAX = 100
BATCHES = {
    "BatchCreatePartition": "PartitionInputList",
    "BatchUpdatePartition": "Entries",
    "BatchGetPartition": "PartitionsToGet",
}
SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
INPUT_FORMAT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
OUTPUT_FORMAT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"


class Glue:
    """moto's Glue behind the gate. `endpoint` is where to ask."""

    def __init__(self):
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self._backend = self._moto.get_host_and_port()
        self._lock = threading.Lock()
        self.calls = collections.Counter()
        self.created = collections.Counter()
        self.access_keys = set()
        self.is_down = False
        self._failing = collections.deque()
        self._refused_entries = {}
        self._nameless = 0
        self._unprocessed = 0
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                gate._answer(self)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        kit.http("POST", f"http://{self._backend[0]}:{self._backend[1]}/moto-api/reset")

    def kill(self):
        """Ends it, as fixtures end everything."""
        self._server.shutdown()
        self._server.server_close()
        self._moto.stop()

    log = "moto"

    def log_tail(self):
        return str(dict(self.calls))

    # --- what tests order ---

    def fail(self, operation, times, code="ThrottlingException", status=400):
        """The next calls of the operation are answered with this error."""
        with self._lock:
            self._failing.extend([(operation, code, status)] * times)

    def refuse_entry(self, value, times, code="InternalServiceException"):
        """Partitions with this value are not created so many times, by an error in a good answer."""
        with self._lock:
            self._refused_entries[value] = [times, code]

    def forgive(self):
        """No call fails any more."""
        with self._lock:
            self._failing.clear()

    def fail_nameless(self, times):
        """The next calls that make partitions make none, and the error in the answer names none."""
        with self._lock:
            self._nameless = times

    def leave_unprocessed(self, times):
        """The next calls that read partitions by their values leave the last one for another call."""
        with self._lock:
            self._unprocessed = times

    def is_failing(self):
        with self._lock:
            return bool(self._failing)

    # --- clients ---

    def client(self, region=kit.REGION):
        return kit.client("glue", self.endpoint, ACCESS_KEY, SECRET, region)

    def settings(self, **more):
        """The catalog in a settings file; `SECRETS` are its environment."""
        settings = {
            "type": "glue",
            "region": kit.REGION,
            "endpoint": self.endpoint,
            "access_key": ACCESS_KEY,
            "secret": "${env:GLUE_SECRET}",
            "refresh": "1 s",
            **more,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def partitions(self, database, table):
        """Values -> partition, by all pages."""
        pages = self.client().get_paginator("get_partitions")
        found = {}
        for page in pages.paginate(DatabaseName=database, TableName=table):
            for partition in page["Partitions"]:
                assert tuple(partition["Values"]) not in found, "a partition is there twice"
                found[tuple(partition["Values"])] = partition
        return found

    # --- the gate ---

    def _answer(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        with self._lock:
            self.calls[operation] += 1
            credential = request.headers.get("Authorization", "").partition("Credential=")[2]
            self.access_keys.add(credential.partition("/")[0])
            if self.is_down:
                # Cut off without an answer, as by a network that is gone.
                request.close_connection = True
                return
            if self._failing and self._failing[0][0] == operation:
                _, code, status = self._failing.popleft()
                self._send(request, status, {"__type": code, "message": "as ordered"})
                return
            try:
                status, answer = self._judge(operation, json.loads(body), request)
            except Refused as refused:
                status, answer = 400, {"__type": refused.code, "message": refused.text}
        self._send(request, status, answer)

    def _judge(self, operation, asked, request):
        if operation in BATCHES and len(asked[BATCHES[operation]]) > BATCH_MAX:
            raise Refused("ValidationException", f"at most {BATCH_MAX} entries")
        if operation == "BatchCreatePartition":
            return self._create(asked, request)
        if operation == "GetPartitions":
            return self._page(asked, request)
        if operation == "BatchGetPartition" and self._unprocessed:
            self._unprocessed -= 1
            *asked["PartitionsToGet"], last = asked["PartitionsToGet"]
            status, answer = self._forward(asked, request)
            return status, {**answer, "UnprocessedKeys": [last]}
        return self._forward(asked, request)

    def _create(self, asked, request):
        status, table = self._forward(
            {"DatabaseName": asked["DatabaseName"], "Name": asked["TableName"]}, request, "GetTable"
        )
        if status != 200:
            return status, table
        if self._nameless:
            self._nameless -= 1
            return 200, {"Errors": [{"ErrorDetail": {"ErrorCode": "InternalServiceException"}}]}
        keys = len(table["Table"].get("PartitionKeys", []))
        errors, taken = [], []
        for entry in asked["PartitionInputList"]:
            if len(entry["Values"]) != keys or not all(1 <= len(v) <= 1024 for v in entry["Values"]):
                raise Refused("InvalidInputException", "the number of values or a value is wrong")
            refusal = next((self._refused_entries[v] for v in entry["Values"] if v in self._refused_entries), None)
            if refusal and refusal[0] > 0:
                refusal[0] -= 1
                detail = {"ErrorCode": refusal[1], "ErrorMessage": "as ordered"}
                errors.append({"PartitionValues": entry["Values"], "ErrorDetail": detail})
            else:
                taken.append(entry)
        status, answer = self._forward({**asked, "PartitionInputList": taken}, request)
        if status == 200:
            failed = [tuple(error["PartitionValues"]) for error in answer.get("Errors", [])]
            self.created.update(tuple(e["Values"]) for e in taken if tuple(e["Values"]) not in failed)
            answer = {"Errors": answer.get("Errors", []) + errors}
        return status, answer

    def _page(self, asked, request):
        start = int(asked.pop("NextToken", 0))
        status, answer = self._forward(asked, request)
        if status == 200:
            whole = answer["Partitions"]
            answer["Partitions"] = whole[start : start + PAGE]
            if start + PAGE < len(whole):
                answer["NextToken"] = str(start + PAGE)
            if asked.get("ExcludeColumnSchema"):
                for partition in answer["Partitions"]:
                    partition["StorageDescriptor"] = {**partition["StorageDescriptor"], "Columns": []}
        return status, answer

    def _forward(self, asked, request, operation=None):
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        if operation:
            headers = {n: v for n, v in headers.items() if n.lower() != "x-amz-target"}
            headers["X-Amz-Target"] = f"AWSGlue.{operation}"
        connection = http.client.HTTPConnection(*self._backend, timeout=30)
        try:
            connection.request("POST", "/", json.dumps(asked).encode(), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else {}
        finally:
            connection.close()

    @staticmethod
    def _send(request, status, answer):
        body = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/x-amz-json-1.1")
        request.send_header("Content-Length", str(len(body)))
        if status != 200:
            request.send_header("x-amzn-ErrorType", answer["__type"])
        request.end_headers()
        request.wfile.write(body)


class Refused(Exception):
    """What AWS would say no to."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


SECRETS = {"GLUE_SECRET": SECRET}


def table_input(name, columns, keys, location):
    """A Parquet table as the AWS console makes it, with a parameter of its own in the descriptor."""

    def fields(pairs):
        return [{"Name": key, "Type": value} for key, value in pairs.items()]

    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"classification": "parquet"},
        "PartitionKeys": fields(dict.fromkeys(keys, "string")),
        "StorageDescriptor": {
            "Columns": fields(columns),
            "Location": location,
            "InputFormat": INPUT_FORMAT,
            "OutputFormat": OUTPUT_FORMAT,
            "SerdeInfo": {"SerializationLibrary": SERDE, "Parameters": {"serialization.format": "1"}},
            "Parameters": {"made-by": "hand"},
        },
    }
