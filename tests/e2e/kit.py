"""The end-to-end test kit: processes, stores, clients, readers and checks.

Owns how a test starts and ends a Lakehose and an S3 server, how it sends, how it reads the lake with
readers that are not ours, and what "exactly once" means. It does not own any claim: those are the
test files. Nothing here sleeps and hopes: every wait is a condition with a deadline.
"""

import base64
import collections
import contextlib
import dataclasses
import http.client as http_client
import importlib.util
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import duckdb
import pyarrow.dataset
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
LAKEHOSE = BINARIES / "lakehose"
S3_SERVER = BINARIES / "examples" / "s3-server"

REGION = "us-east-1"
BUCKET = "lake-bucket"
LAKE_ACCESS_KEY = "LAKEACCESS"
LAKE_SECRET = "lake-secret-of-the-tests"

# The documented defaults, as a lake shows them.
DATA_FOLDER = re.compile(
    r"(?P<stream>[^/]+)/tenant=(?P<tenant>[^/]+)/year=(?P<year>\d{4})/month=(?P<month>\d\d)/day=(?P<day>\d\d)"
)
PARTITION_KEYS = ("tenant", "year", "month", "day")

# Nothing but loopback is spoken to, whatever the machine's settings are.
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]
os.environ.update(
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)


def wait_for(condition, timeout, what, every=0.02):
    """Polls until the condition returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}; last seen: {value!r}")
        time.sleep(every)


def plain_environment(**variables):
    """The environment of a child: what programs need to run, and nothing of this shell's secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, "RUST_BACKTRACE": "1", **variables}


def http(method, url, body=None, timeout=30):
    """Status and text of one request; any status is an answer. Bytes are sent as lines of records."""
    lines = isinstance(body, bytes)
    data = body if body is None or lines else json.dumps(body).encode()
    headers = {"Content-Type": "application/x-ndjson"} if lines else {}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# What `mount` calls file systems that a data directory must not lie on without a word for it.
UNSAFE_VOLUMES = ("tmpfs", "ramfs", "overlay", "aufs", "nfs", "nfs4", "cifs", "smb3", "9p", "afs", "fuse")


def volume_of(path):
    """The file system that a path lies on, as `mount` calls it."""
    path, found = pathlib.Path(path).resolve(), ("", "")
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point, kind = fields[4], fields[fields.index("-") + 1]
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = point, kind.partition(".")[0]
    return found[1]


def du_bytes(folder):
    """What a folder takes on disk; files may come and go meanwhile."""
    total = 0
    for parent, _folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


# --- processes ---------------------------------------------------------------------------------


class Process:
    """A child whose output goes to a file, ended by its pid and by nothing else."""

    def __init__(self, name, log):
        self.name = name
        self.log = log
        self.child = None

    def launch(self, arguments, environment=None, stdout=None):
        assert not self.is_alive(), f"{self.name} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                env=environment or plain_environment(),
                cwd=self.log.parent,
            )

    def is_alive(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        """SIGKILL, and gone when this returns."""
        if self.child is not None:
            self.child.kill()
            self.child.wait(30)

    def terminate(self, timeout=60):
        """SIGTERM; returns the exit code."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout)

    def wait(self, timeout=30):
        return self.child.wait(timeout)

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self, lines=60):
        return "\n".join(self.log_text().splitlines()[-lines:])


class S3Server(Process):
    """A real S3 server over a folder, with faults to order."""

    def __init__(self, folder):
        super().__init__("s3-server", folder / "s3-server.log")
        self.root = folder / "s3"
        self.endpoint = self.control = None

    def start(self):
        (self.root / BUCKET).mkdir(parents=True, exist_ok=True)
        self.launch(
            [S3_SERVER, "--root", self.root, "--port", "0"]
            + ["--access-key", LAKE_ACCESS_KEY, "--secret-key", LAKE_SECRET],
            stdout=subprocess.PIPE,
        )
        readable, _, _ = select.select([self.child.stdout], [], [], 30)
        line = self.child.stdout.readline().decode() if readable else ""
        addresses = re.fullmatch(r"listening (\S+) control (\S+)\n", line)
        assert addresses, f"the S3 server said {line!r}:\n{self.log_tail()}"
        self.endpoint, self.control = (f"http://{address}" for address in addresses.groups())
        return self

    def set_faults(self, **faults):
        """From now on these faults and no others; none at all without arguments."""
        status, text = http("POST", f"{self.control}/faults", faults)
        assert status == 200, text

    def state(self):
        return json.loads(http("GET", f"{self.control}/state")[1])

    def client(self, access_key=LAKE_ACCESS_KEY, secret=LAKE_SECRET):
        return client("s3", self.endpoint, access_key, secret, s3={"addressing_style": "path"})


class Lakehose(Process):
    """The program itself, run by one settings file in a folder of its own."""

    def __init__(self, folder, settings, secrets, name="lakehose"):
        super().__init__(name, folder / f"{name}.log")
        self.settings_file = folder / f"{name}.yaml"
        self.settings_file.parent.mkdir(parents=True, exist_ok=True)
        self.settings_file.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        self.data_dir = pathlib.Path(settings["data_dir"])
        self.secrets = secrets
        # What the program is run by, such as a program that bounds its memory and becomes it.
        self.run_by = ()
        self.endpoint = self.admin = None

    @property
    def addresses_file(self):
        return self.data_dir / "addresses.json"

    def serve(self):
        """Launches without waiting for anything."""
        self.endpoint = self.admin = None
        arguments = [*self.run_by, LAKEHOSE, "serve", "--config", self.settings_file]
        self.launch(arguments, plain_environment(**self.secrets))

    def start(self, timeout=60):
        """Launches and waits until it is ready for records."""
        # A leftover of a killed process would be taken for the new one's.
        self.addresses_file.unlink(missing_ok=True)
        self.serve()

        def addresses():
            self.assert_alive()
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                return json.loads(self.addresses_file.read_text())

        found = wait_for(addresses, timeout, f"{self.addresses_file}")
        admin = f"http://{found['admin']}"

        def ready():
            self.assert_alive()
            return http("GET", f"{admin}/ready")[0] == 200

        wait_for(ready, timeout, "readiness")
        self.admin, self.endpoint = admin, f"http://{found['listen']}"
        return self

    def assert_alive(self):
        assert self.is_alive(), f"{self.name} ended with {self.child.returncode}:\n{self.log_tail()}"

    def kill(self):
        self.endpoint = self.admin = None
        super().kill()

    def status(self, stream):
        status, text = http("GET", f"{self.admin}/status")
        assert status == 200, text
        return json.loads(text)["streams"][stream]

    def memory_bytes(self):
        """What the process holds now (`VmRSS`) and held at the most (`VmHWM`)."""
        lines = pathlib.Path(f"/proc/{self.child.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM")}

    def flush(self, stream, timeout=180):
        """Waits, by way of the command line, until all that is buffered now has been delivered."""
        done = self.run("flush", stream, "--admin", self.admin, timeout=timeout)
        assert done.returncode == 0, f"flush failed:\n{done.stderr}\n{self.log_tail()}"

    def run(self, *arguments, timeout=60):
        return run(*arguments, secrets=self.secrets, timeout=timeout)

    def firehose(self, identity, **settings):
        return client("firehose", self.endpoint, identity.access_key, identity.secret, **settings)


def run(*arguments, secrets=None, timeout=60, cwd=None):
    """Runs one `lakehose` command to its end."""
    return subprocess.run(
        [str(LAKEHOSE), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=plain_environment(**(secrets or {})),
        cwd=cwd,
    )


# --- clients and settings ----------------------------------------------------------------------

_session = boto3.session.Session()
_session_lock = threading.Lock()


def client(service, endpoint, access_key, secret, region=REGION, **settings):
    """A boto3 client that tries once, so that every answer is seen, unless `retries` say otherwise."""
    defaults = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
    config = botocore.config.Config(**(defaults | settings))
    # Making clients of one session is not thread-safe; using them is.
    with _session_lock:
        return _session.client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret,
            config=config,
        )


@dataclasses.dataclass(frozen=True)
class Identity:
    """A producer: its key fixes its tenant."""

    tenant: str
    streams: tuple

    @property
    def access_key(self):
        return f"AK{self.tenant.upper()}"

    @property
    def secret(self):
        return f"secret-of-{self.tenant}"

    @property
    def variable(self):
        return f"SECRET_{self.tenant.upper()}"

    def settings(self):
        return {
            "access_key": self.access_key,
            "secret": f"${{env:{self.variable}}}",
            "tenant": self.tenant,
            "streams": list(self.streams),
        }


def secrets_of(identities):
    """The environment by which the settings file names its secrets."""
    return {"LAKE_SECRET": LAKE_SECRET, **{each.variable: each.secret for each in identities}}


def settings_of(folder, identities, lake, streams):
    """A whole settings file, with free ports, one store and one catalog of files."""
    # Where tests run in a container, their folders are its writable layer.
    unsafe = {"allow_unsafe_volume": True} if volume_of(folder) in UNSAFE_VOLUMES else {}
    return {
        "server": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "data_dir": str(folder / "data"),
        **unsafe,
        "disk_budget": "4 GiB",
        "identities": [each.settings() for each in identities],
        "stores": {"lake": lake.settings()},
        "catalogs": {"tables": {"type": "files", "path": str(folder / "catalog")}},
        "delivery_streams": streams,
    }


def stream_of(schema, size="4 MiB", interval="900 s"):
    """A delivery stream with the default prefixes."""
    return {
        "buffering": {"size": size, "interval": interval},
        "schema": schema,
        "destination": {"store": "lake"},
        "partitions": {"register": True},
    }


# --- the lake ----------------------------------------------------------------------------------


class FolderLake:
    """A lake in a local folder."""

    def __init__(self, folder):
        self.folder = folder / "lake"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = f"file://{self.folder}"

    def settings(self):
        return {"url": self.url}

    def keys(self):
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in files)

    def read(self, key):
        return (self.folder / key).read_bytes()

    def glob(self, prefix):
        return f"{self.folder}/{prefix}/**/*.parquet"

    def duckdb(self):
        return duckdb.connect()

    def dataset(self, prefix):
        return pyarrow.dataset.dataset(
            self.folder / prefix, format="parquet", partitioning="hive", exclude_invalid_files=False
        )


class S3Lake:
    """A lake below a path of a bucket of the S3 server."""

    PATH = "some/where"

    def __init__(self, server):
        self.server = server
        self.url = f"s3://{BUCKET}/{self.PATH}"

    def settings(self):
        return {
            "url": self.url,
            "endpoint": self.server.endpoint,
            "region": REGION,
            "access_key": LAKE_ACCESS_KEY,
            "secret": "${env:LAKE_SECRET}",
        }

    def keys(self):
        pages = self.server.client().get_paginator("list_objects_v2")
        found = [
            entry["Key"]
            for page in pages.paginate(Bucket=BUCKET, Prefix=f"{self.PATH}/")
            for entry in page.get("Contents", [])
        ]
        return sorted(key.removeprefix(f"{self.PATH}/") for key in found)

    def read(self, key):
        answer = self.server.client().get_object(Bucket=BUCKET, Key=f"{self.PATH}/{key}")
        return answer["Body"].read()

    def glob(self, prefix):
        return f"{self.url}/{prefix}/**/*.parquet"

    def duckdb(self):
        connection = duckdb.connect()
        package = pathlib.Path(importlib.util.find_spec("duckdb_extension_httpfs").origin).parent
        extension = package / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
        connection.execute(f"LOAD {literal(extension)}")
        connection.execute(
            f"CREATE SECRET lake (TYPE s3, KEY_ID {literal(LAKE_ACCESS_KEY)}, "
            f"SECRET {literal(LAKE_SECRET)}, REGION {literal(REGION)}, "
            f"ENDPOINT {literal(self.server.endpoint.removeprefix('http://'))}, "
            "URL_STYLE 'path', USE_SSL false)"
        )
        return connection


def literal(value):
    """A text as SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def quoted(name):
    """A column as SQL; `at` is a keyword, among others."""
    return '"' + name.replace('"', '""') + '"'


def rows_of(lake, prefix):
    """The SQL that reads all rows below a prefix, with the partition keys as text."""
    return (
        f"read_parquet({literal(lake.glob(prefix))}, hive_partitioning = true, "
        "hive_types_autocast = false)"
    )


def difference(connection, expected, found, columns, timestamps=()):
    """Rows of one relation and not of the other, as multisets; two empty lists when they are equal.

    Timestamps are compared as microseconds since 1970, since readers differ in how they call them.
    """
    picked = ", ".join(
        f"epoch_us({quoted(name)})" if name in timestamps else quoted(name) for name in columns
    )
    one, other = (f"SELECT {picked} FROM {relation}" for relation in (expected, found))
    missing = connection.execute(f"{one} EXCEPT ALL {other} LIMIT 5").fetchall()
    surplus = connection.execute(f"{other} EXCEPT ALL {one} LIMIT 5").fetchall()
    return missing, surplus


@dataclasses.dataclass
class Failure:
    """One line of an error object."""

    key: str
    line: dict
    raw: bytes


def failures(lake, prefix="errors/"):
    """Every line of every error object."""
    found = []
    for key in lake.keys():
        if key.startswith(prefix):
            text = lake.read(key).decode()
            assert text.endswith("\n"), f"{key} does not end with a line end"
            for line in map(json.loads, text.splitlines()):
                found.append(Failure(key, line, base64.b64decode(line["rawData"], validate=True)))
    return found


def data_folders(lake, prefix):
    """URLs of the folders that hold objects below a prefix."""
    keys = [key for key in lake.keys() if key.startswith(f"{prefix}/")]
    return {f"{lake.url}/{key.rpartition('/')[0]}" for key in keys}


def partitions(catalog, database, table):
    """The registered partitions: values -> location."""
    file = pathlib.Path(catalog) / database / f"{table}.partitions.json"
    entries = json.loads(file.read_text())["partitions"]
    found = {tuple(entry["Values"]): entry["Location"].rstrip("/") for entry in entries}
    assert len(found) == len(entries), f"{file} names a partition twice: {entries}"
    return found


def assert_partitions_are_the_folders(lake, prefix, catalog, database, table):
    """Registered partitions and folders with objects are the same, and values fit locations."""
    registered = partitions(catalog, database, table)
    assert set(registered.values()) == data_folders(lake, prefix)
    for values, location in registered.items():
        segments = dict(part.split("=", 1) for part in location.split("/") if "=" in part)
        assert values == tuple(segments[key] for key in PARTITION_KEYS), (values, location)


def assert_conserved(status, accepted):
    """The ledger of a stream at rest: everything accepted is delivered or failed."""
    assert status["accepted"] == accepted, status
    assert status["accepted"] == status["delivered"] + status["failed"], status
    assert status["pending"] == 0 and status["dropped"] == 0 and status["damaged"] == 0, status


class Watch:
    """Looks at a stream's status all the time, and demands that its ledger adds up at every look.

    A server that is being killed or started is not asked.
    """

    ENDS = ("delivered", "failed", "dropped", "damaged", "pending")

    def __init__(self, server, stream):
        self.server = server
        self.stream = stream
        self.looks = 0
        self._wrong = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, _error, _trace):
        self._stop.set()
        self._thread.join(60)
        if kind is None:
            assert not self._thread.is_alive(), "the watch hangs"
            assert self._wrong == [], f"after {self.looks} looks: {self._wrong[:3]}"
            assert self.looks > 0, "nobody has looked"

    def _run(self):
        # Once more at the end, so that nothing is too quick to be seen.
        is_over = False
        while not is_over and len(self._wrong) < 10:
            is_over = self._stop.wait(0.01)
            admin = self.server.admin
            if admin is not None:
                self._look(admin)

    def _look(self, admin):
        try:
            code, text = http("GET", f"{admin}/status")
            status = json.loads(text)["streams"][self.stream] if code == 200 else None
        except (OSError, http_client.HTTPException, json.JSONDecodeError) as error:
            # A server is killed after its address is taken away.
            if self.server.admin == admin:
                self._wrong.append(repr(error))
            return
        if status is None or status["accepted"] != sum(status[end] for end in self.ENDS):
            self._wrong.append(status or f"{code} {text}")
        self.looks += 1


# --- load --------------------------------------------------------------------------------------


class Load:
    """Producer threads that note what became of every record.

    `make_record(id, number)` returns the record's bytes, which name their id; numbers begin with `first`. A batch is *acked*,
    *refused* (the answer says that it was not taken) or *ambiguous* (no answer).
    """

    def __init__(
        self, server, identities, stream, make_record, batch=250, bytes_per_second=None, first=0
    ):
        self.server = server
        self.first = first
        self.stream = stream
        self.make_record = make_record
        self.batch = batch
        self.pace = bytes_per_second and bytes_per_second / len(identities)
        self.acked, self.refused, self.ambiguous = set(), set(), set()
        self.acked_bytes = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error = None
        self._threads = [
            threading.Thread(target=self._guard, args=(number, identity), daemon=True)
            for number, identity in enumerate(identities)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, _error, _trace):
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
        if kind is None:
            self.check()
            assert not any(thread.is_alive() for thread in self._threads), "a producer hangs"

    def check(self):
        """Raises what a producer thread ran into."""
        if self._error is not None:
            raise AssertionError("a producer failed") from self._error

    def _guard(self, number, identity):
        try:
            self._produce(number, identity)
        except Exception as error:  # Raised again in the test's own thread.
            self._error = error

    def _produce(self, number, identity):
        clients, serial, next_at = {}, self.first, time.monotonic()
        while not self._stop.is_set():
            endpoint = self.server.endpoint
            if endpoint is None:
                self._stop.wait(0.01)
                continue
            if endpoint not in clients:
                clients = {endpoint: client("firehose", endpoint, identity.access_key, identity.secret)}
            names = [f"{identity.tenant}-{number}-{serial + offset:08d}" for offset in range(self.batch)]
            records = [self.make_record(name, serial + offset) for offset, name in enumerate(names)]
            serial += self.batch
            self._send(clients[endpoint], names, records)
            if self.pace:
                next_at = max(next_at, time.monotonic() - 1) + sum(map(len, records)) / self.pace
                self._stop.wait(max(0, next_at - time.monotonic()))

    def _send(self, firehose, names, records):
        try:
            answer = firehose.put_record_batch(
                DeliveryStreamName=self.stream, Records=[{"Data": data} for data in records]
            )
        except botocore.exceptions.ClientError as error:
            # An internal failure leaves open what was stored; every other answer is a refusal.
            unclear = error.response["Error"]["Code"] in ("InternalFailure", "500", "502")
            self._note(self.ambiguous if unclear else self.refused, names)
            self._stop.wait(0.05)
        except botocore.exceptions.BotoCoreError:
            self._note(self.ambiguous, names)
            self._stop.wait(0.02)
        else:
            if "RequestResponses" not in answer:
                # The server died between head and body, which boto3 takes for an empty answer.
                self._note(self.ambiguous, names)
                return
            results = answer["RequestResponses"]
            assert len(results) == len(names), answer
            taken = ["RecordId" in result for result in results]
            assert taken.count(False) == answer["FailedPutCount"], answer
            sizes = [len(data) for data, took in zip(records, taken) if took]
            self._note(self.acked, [name for name, took in zip(names, taken) if took], sum(sizes))
            self._note(self.refused, [name for name, took in zip(names, taken) if not took])

    def _note(self, outcome, names, size_bytes=0):
        with self._lock:
            outcome.update(names)
            self.acked_bytes += size_bytes


def assert_exactly_once(load, found):
    """`found` lists the ids in the lake, once per occurrence."""
    counts = collections.Counter(found)
    twice = [name for name, count in counts.items() if count > 1]
    lost = load.acked - counts.keys()
    invented = counts.keys() - load.acked - load.ambiguous
    refused = counts.keys() & load.refused
    assert not twice, f"{len(twice)} records more than once, e.g. {sorted(twice)[:5]}"
    assert not lost, f"{len(lost)} of {len(load.acked)} acknowledged records lost, e.g. {sorted(lost)[:5]}"
    assert not refused, f"{len(refused)} refused records in the lake, e.g. {sorted(refused)[:5]}"
    assert not invented, f"{len(invented)} records that nobody sent, e.g. {sorted(invented)[:5]}"


def send(firehose, stream, records, batch=500):
    """Sends all records and demands that each is taken."""
    for start in range(0, len(records), batch):
        answer = firehose.put_record_batch(
            DeliveryStreamName=stream,
            Records=[{"Data": data} for data in records[start : start + batch]],
        )
        assert answer["FailedPutCount"] == 0, answer
