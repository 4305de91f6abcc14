"""The tour: what real clients of Firehose do and are told, over HTTP and TLS, and that each of their
records is in the lake once.

Each client gets the same plan and reports what it has seen: the streams, one record, a batch, the
limits, a stream that is not there, a wrong secret, typed errors, and calls whose answers get lost.
A client that this machine has not got is skipped, and the end of the run says so: tests/run installs
what it can. Calls that other clients have sent before are signed again, with the headers and the
body that they had.
"""

import base64
import collections
import concurrent.futures
import functools
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import time

import botocore.exceptions
import pytest

import kit
from proxy_kit import SwallowingProxy
from tls_kit import Authority, tls_settings, write_pair

ACME = kit.Identity("acme", ("events", "more"))
GLOBEX = kit.Identity("globex", ("others",))
STREAMS = {name: kit.stream_of({"columns": {"id": "string"}}) for name in ("events", "more", "others")}
RUST_SDK = kit.BINARIES / "examples" / "rust-sdk"
NODE_MODULES = kit.BINARIES.parent / "js" / "node_modules"
TOUR_MJS = pathlib.Path(__file__).parent / "js" / "tour.mjs"
# Requests of clients as they came; beside the repository there may be newer ones.
CAPTURES = kit.REPOSITORY.parent / "shared" / "wire"
if not CAPTURES.is_dir():
    CAPTURES = kit.REPOSITORY / "tests" / "wire"

TOLD = {
    "streams": ["events", "more"],
    "hasMore": False,
    "status": "ACTIVE",
    "type": "DirectPut",
    "failedCount": 0,
    "unknownStream": "ResourceNotFoundException",
    "wrongSecret": "InvalidSignatureException",
    "unknownKey": "UnrecognizedClientException",
    "tooMany": "ValidationException",
    "tooLong": "ValidationException",
    "tooMuch": "InvalidArgumentException",
    "isTyped": True,
}


class Place:
    """A server, how it is reached, and whom a client must trust for that."""

    def __init__(self, server, lake, scheme, authority):
        self.server, self.lake, self.authority = server, lake, authority
        self.is_tls = scheme == "https"
        self.host, port = server.endpoint.removeprefix("http://").split(":")
        self.port = int(port)
        self.endpoint = f"{scheme}://{self.host}:{self.port}"

    def environment(self, variable):
        """The variable by which a client is told whom to trust."""
        return {variable: str(self.authority)} if self.is_tls else {}

    def connect(self):
        plain = socket.create_connection((self.host, self.port), timeout=30)
        if not self.is_tls:
            return plain
        return ssl.create_default_context(cafile=self.authority).wrap_socket(plain, server_hostname=self.host)

    def plan(self, client):
        """What a client is to do; only by HTTP answers can get lost on their way."""
        records = [f"{client}-{number}" for number in range(6)]
        repeated = [] if self.is_tls else [f"{client}-repeated-{number}" for number in range(3)]
        proxy = SwallowingProxy(self.server, every=2) if repeated else None
        return {
            "endpoint": self.endpoint,
            "proxy": proxy and proxy.endpoint,
            "region": kit.REGION,
            "accessKey": ACME.access_key,
            "secret": ACME.secret,
            "stream": "events",
            "unknownStream": "others",
            "records": [record_of(name) for name in records],
            "repeated": [record_of(name) for name in repeated],
            "recordCountTooMany": 501,
            "recordBytesTooMany": 1_024_001,
        }, records + repeated, proxy


def record_of(name):
    return json.dumps({"id": name})


@pytest.fixture(params=["http", "https"])
def place(request, new_lakehose, folder_lake, tmp_path):
    replaced, authority = {}, None
    if request.param == "https":
        issuer = Authority(tmp_path)
        write_pair(tmp_path, *issuer.issue())
        replaced, authority = {"server": tls_settings(tmp_path)}, issuer.file
    server = new_lakehose([ACME, GLOBEX], folder_lake, STREAMS, **replaced).start()
    return Place(server, folder_lake, request.param, authority)


# --- clients -----------------------------------------------------------------------------------


def boto3_tour(place, plan):
    def client(access_key, secret, endpoint=plan["endpoint"], attempts=1):
        settings = {"parameter_validation": False, "retries": {"total_max_attempts": attempts}}
        return kit.client("firehose", endpoint, access_key, secret, **settings)

    firehose = client(plan["accessKey"], plan["secret"])

    def put(firehose, data, stream=plan["stream"]):
        return firehose.put_record(DeliveryStreamName=stream, Record={"Data": data})

    def batch(records):
        records = [{"Data": data} for data in records]
        return firehose.put_record_batch(DeliveryStreamName=plan["stream"], Records=records)

    def error_of(call, *arguments):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call(*arguments)
        return caught.value

    listed = firehose.list_delivery_streams()
    described = firehose.describe_delivery_stream(DeliveryStreamName=plan["stream"])
    described = described["DeliveryStreamDescription"]
    many = batch(plan["records"][1:])
    unknown = error_of(put, firehose, "{}", plan["unknownStream"])
    too_much = error_of(batch, [b"x" * 1_000_000] * 5)
    errors = {
        "unknownStream": unknown,
        "wrongSecret": error_of(put, client(plan["accessKey"], "wrong"), "{}"),
        "unknownKey": error_of(put, client("AKNOBODY", plan["secret"]), "{}"),
        "tooMany": error_of(batch, ["{}"] * plan["recordCountTooMany"]),
        "tooLong": error_of(batch, [b"x" * plan["recordBytesTooMany"]]),
        "tooMuch": too_much,
    }
    repeated = []
    if plan["proxy"]:
        through = client(plan["accessKey"], plan["secret"], plan["proxy"], attempts=4)
        repeated = [put(through, data)["RecordId"] for data in plan["repeated"]]
    return {
        "streams": listed["DeliveryStreamNames"],
        "hasMore": listed["HasMoreDeliveryStreams"],
        "status": described["DeliveryStreamStatus"],
        "type": described["DeliveryStreamType"],
        "recordId": put(firehose, plan["records"][0])["RecordId"],
        "failedCount": many["FailedPutCount"],
        "recordIds": [each["RecordId"] for each in many["RequestResponses"]],
        "isTyped": isinstance(unknown, firehose.exceptions.ResourceNotFoundException)
        and isinstance(too_much, firehose.exceptions.InvalidArgumentException),
        "repeated": repeated,
        **{name: error.response["Error"]["Code"] for name, error in errors.items()},
    }


@functools.cache
def aws_cli():
    """The AWS CLI, version 2, where there is one."""
    for program in (shutil.which("aws"), "/usr/local/bin/aws", "/usr/bin/aws"):
        if program and os.access(program, os.X_OK):
            done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
            if done.stdout.startswith("aws-cli/2"):
                return program
    return None


def aws_cli_tour(place, plan, folder):
    def run(name, parameters, access_key=plan["accessKey"], secret=plan["secret"]):
        file = folder / f"{name}-{time.monotonic_ns()}.json"
        file.write_text(json.dumps(parameters))
        variables = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret}
        variables |= {"AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
        variables |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        done = subprocess.run(
            [aws_cli(), "firehose", name, "--cli-input-json", f"file://{file}", "--output", "json"]
            + ["--endpoint-url", plan["endpoint"], "--region", plan["region"]],
            capture_output=True, text=True, timeout=120,
            env=kit.plain_environment(**variables, **place.environment("AWS_CA_BUNDLE")),
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        return re.search(r"An error occurred \((\w+)\) when calling", done.stderr)[1]

    def record(data):
        data = data.encode() if isinstance(data, str) else data
        return {"Data": base64.b64encode(data).decode()}

    def put(data, stream=plan["stream"], **who):
        return run("put-record", {"DeliveryStreamName": stream, "Record": record(data)}, **who)

    def batch(records):
        records = [record(data) for data in records]
        return run("put-record-batch", {"DeliveryStreamName": plan["stream"], "Records": records})

    calls = {
        "listed": lambda: run("list-delivery-streams", {}),
        "described": lambda: run("describe-delivery-stream", {"DeliveryStreamName": plan["stream"]}),
        "one": lambda: put(plan["records"][0]),
        "many": lambda: batch(plan["records"][1:]),
        "unknownStream": lambda: put("{}", plan["unknownStream"]),
        "wrongSecret": lambda: put("{}", secret="wrong"),
        "unknownKey": lambda: put("{}", access_key="AKNOBODY"),
        "tooMany": lambda: batch(["{}"] * plan["recordCountTooMany"]),
        "tooLong": lambda: batch([b"x" * plan["recordBytesTooMany"]]),
        "tooMuch": lambda: batch([b"x" * 1_000_000] * 5),
    }
    # Each is a process of a second or more.
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        told = {name: threads.submit(call) for name, call in calls.items()}
        told = {name: answer.result() for name, answer in told.items()}
    described = told.pop("described")["DeliveryStreamDescription"]
    listed, one, many = told.pop("listed"), told.pop("one"), told.pop("many")
    return {
        "streams": listed["DeliveryStreamNames"],
        "hasMore": listed["HasMoreDeliveryStreams"],
        "status": described["DeliveryStreamStatus"],
        "type": described["DeliveryStreamType"],
        "recordId": one["RecordId"],
        "failedCount": many["FailedPutCount"],
        "recordIds": [each["RecordId"] for each in many["RequestResponses"]],
        "isTyped": True,
        "repeated": [],
        **told,
    }


def program_tour(plan, *arguments, **variables):
    """A program that reads the plan and prints its report."""
    done = subprocess.run(
        [str(argument) for argument in arguments], input=json.dumps(plan),
        capture_output=True, text=True, timeout=120, env=kit.plain_environment(**variables),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def node_tour(place, plan):
    # Modules are found beside the file that names them.
    script = NODE_MODULES.parent / TOUR_MJS.name
    shutil.copyfile(TOUR_MJS, script)
    return program_tour(plan, "node", script, **place.environment("NODE_EXTRA_CA_CERTS"))


def rust_tour(place, plan):
    return program_tour(plan, RUST_SDK, **place.environment("SSL_CERT_FILE"))


# --- the tour ----------------------------------------------------------------------------------


def assert_tour(place, client, tour):
    plan, names, proxy = place.plan(client)
    report = tour(plan)
    if proxy is not None:
        proxy.close()
        if not report["repeated"]:
            # The client does not tell a repetition from another call.
            names = [name for name in names if "-repeated-" not in name]
        else:
            assert proxy.swallowed > 0, "no answer got lost"
            assert len(set(report["repeated"])) == len(plan["repeated"]), report
    assert {name: report[name] for name in TOLD} == TOLD
    ids = [report["recordId"], *report["recordIds"], *report["repeated"]]
    assert len(set(ids)) == len(ids) == len(names), ids
    assert_in_the_lake(place, names, 0)


def assert_in_the_lake(place, names, failed_count):
    place.server.flush("events")
    query = f"SELECT id FROM {kit.rows_of(place.lake, 'events')}"
    rows = [name for (name,) in place.lake.duckdb().execute(query).fetchall()]
    assert collections.Counter(rows) == collections.Counter(names)
    assert len(kit.failures(place.lake)) == failed_count
    kit.assert_conserved(place.server.status("events"), len(names) + failed_count)


def test_boto3_makes_the_tour(place, monkeypatch):
    for name, value in place.environment("AWS_CA_BUNDLE").items():
        monkeypatch.setenv(name, value)
    assert_tour(place, "boto3", functools.partial(boto3_tour, place))


def test_the_aws_cli_makes_the_tour(place, tmp_path):
    if aws_cli() is None:
        pytest.skip("there is no AWS CLI of version 2, and no apt-get as root that brings it")
    assert_tour(place, "aws-cli", lambda plan: aws_cli_tour(place, plan, tmp_path))


def test_the_sdk_for_javascript_makes_the_tour(place):
    if not NODE_MODULES.is_dir():
        pytest.skip("there is no Node.js 20 with npm for the SDK: tests/run installs it where there is")
    assert_tour(place, "node", functools.partial(node_tour, place))


def test_the_sdk_for_rust_makes_the_tour(place):
    assert_tour(place, "rust", functools.partial(rust_tour, place))


# --- captured calls ----------------------------------------------------------------------------


class Captured:
    """A call as it came: a line about it, the message, and an empty line."""

    def __init__(self, text):
        head, _, body = text.replace("\r\n", "\n").partition("\n")[2].partition("\n\n")
        lines = [line.partition(": ") for line in head.splitlines()[1:]]
        self.headers = [(name, value) for name, _, value in lines]
        length = int(self.value("content-length"))
        self.body = body.encode()[:length]
        call = json.loads(self.body)
        self.stream = call["DeliveryStreamName"]
        records = call.get("Records") or [call["Record"]]
        self.records = [base64.b64decode(record["Data"]) for record in records]

    def value(self, wanted):
        [value] = [value for name, value in self.headers if name.lower() == wanted]
        return value

    def has_invocation_id(self):
        return any(name.lower() == "amz-sdk-invocation-id" for name, _ in self.headers)

    def message(self, place):
        """The call signed anew, for another server and another time: the same headers in their order."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        replaced = {"x-amz-date": now, "host": f"{place.host}:{place.port}", "connection": "keep-alive"}
        headers = [(name, replaced.get(name.lower(), value)) for name, value in self.headers]
        signed = re.search(r"SignedHeaders=([^,]+)", self.value("authorization"))[1]
        values = {name.lower(): " ".join(value.split()) for name, value in headers}
        digest = hashlib.sha256(self.body).hexdigest()
        canonical = "".join(f"{name}:{values[name]}\n" for name in signed.split(";"))
        canonical = f"POST\n/\n\n{canonical}\n{signed}\n{digest}"
        scope = f"{now[:8]}/{kit.REGION}/firehose/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{ACME.secret}".encode()
        for part in [*scope.split("/"), text]:
            key = hmac.digest(key, part.encode(), "sha256")
        claim = f"AWS4-HMAC-SHA256 Credential={ACME.access_key}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
        lines = [f"{name}: {claim if name.lower() == 'authorization' else value}" for name, value in headers]
        return "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode() + self.body


def captured_calls():
    files = sorted(CAPTURES.glob("*.http"))
    assert len(files) >= 6, f"{CAPTURES} has {files}"
    return [
        Captured(text) for file in files for text in file.read_bytes().decode().split("### ")[1:]
    ]


def answer_to(connection, message):
    """The document of one answer; the connection stays for the next."""
    connection.sendall(message)
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {received!r}"
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), received
    length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return json.loads(body)


def ids_of(document):
    answers = document.get("RequestResponses", [document])
    return [answer["RecordId"] for answer in answers]


def test_calls_that_clients_have_sent_are_taken_as_they_came(place):
    """Fluent Bit's among them, whose connections are kept and are TLS in its own life."""
    names, failed_count = [], 0
    for captured in captured_calls():
        assert captured.stream == "events"
        message = captured.message(place)
        with place.connect() as connection:
            first = ids_of(answer_to(connection, message))
            again = ids_of(answer_to(connection, message))
        assert len(first) == len(captured.records)
        assert (again == first) == captured.has_invocation_id()
        for data in captured.records * (1 if captured.has_invocation_id() else 2):
            try:
                names.append(str(json.loads(data)["id"]))
            except ValueError:
                failed_count += 1
    assert_in_the_lake(place, names, failed_count)
