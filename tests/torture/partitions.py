"""Very many partitions at once: a real server with a bound on its memory, a real S3 server, and a count.

    partitions.py [--minutes 10] [--partitions 20000] [--megabytes 5] [--interval 60] [--folder DIR]

Sends records of so many customers in no order, so many megabytes a second. Then every row is read back
with PyArrow: it lies in the partition that its own fields say, each record once, and none is missing.
Prints what the process held of the memory at the most. Exits with 1 when something of this is not so,
or when the memory was more than --mebibytes, which is its `memory` as well.
"""

import argparse
import http.client
import json
import pathlib
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse

import pyarrow.parquet

from kits import kit

QUERY = "{customer: .customer, region: .region}"
REGIONS = ("eu", "us", "ap")
RECORD_BYTES = 250
CALL_RECORDS = 500
# How far behind the plan of the load its producers may fall before that is told.
LATE_SECONDS = 5
WRITER = kit.Identity("acme", ("clicks",))


def stream(interval):
    return {
        "buffering": {"size": "64 MiB", "interval": f"{interval} s"},
        "schema": {"columns": {"id": "bigint", "customer_id": "bigint", "area": "string", "pad": "string"}},
        "partitioning": {"query": QUERY},
        "destination": {
            "store": "lake",
            "prefix": "clicks/region=!{partitionKeyFromQuery:region}/"
                      "customer=!{partitionKeyFromQuery:customer}/",
            "error_prefix": "errors/clicks/!{firehose:error-output-type}/",
        },
        "partitions": {"register": True},
    }


def record(number, customer):
    region = REGIONS[customer % len(REGIONS)]
    text = (f'{{"id":{number},"customer":{customer},"customer_id":{customer},"region":"{region}",'
            f'"area":"{region}","pad":"')
    return text + "x" * (RECORD_BYTES - len(text) - 2) + '"}'


class Load:
    """Sends records at a steady rate over a few connections to the plain endpoint."""

    def __init__(self, server, token, partitions, bytes_per_second, seconds, producers=2):
        self.server, self.token, self.partitions = server, token, partitions
        self.calls = int(seconds * bytes_per_second / RECORD_BYTES / CALL_RECORDS)
        self.pace = seconds / max(self.calls, 1)
        self.began = time.monotonic()
        self.next = 0
        self.latest = 0.0
        self.failure = None
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(producers)]
        for thread in self.threads:
            thread.start()

    @property
    def accepted(self):
        return self.calls * CALL_RECORDS

    def wait(self):
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise self.failure
        return time.monotonic() - self.began

    def _run(self, seed):
        try:
            self._send(random.Random(seed))
        except Exception as error:  # noqa: BLE001
            self.failure = error

    def _send(self, chance):
        address = urllib.parse.urlsplit(self.server.endpoint)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
        headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {self.token}"}
        while True:
            with self.lock:
                call, self.next = self.next, self.next + 1
            if call >= self.calls or self.failure:
                return
            first = call * CALL_RECORDS
            # The first records open every partition.
            lines = [
                record(n, n if n < self.partitions else chance.randrange(self.partitions))
                for n in range(first, first + CALL_RECORDS)
            ]
            pause = self.began + call * self.pace - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            else:
                self.latest = max(self.latest, -pause)
            connection.request("POST", "/v1/streams/clicks/records", "\n".join(lines), headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise AssertionError(f"{answer.status}: {body[:200]}")


class Watch:
    """Looks at the process while it works."""

    def __init__(self, server):
        self.server = server
        self.is_over = False
        self.most = {"open_batches": 0, "closed_batches": 0, "open_plans": 0, "log_bytes": 0}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        tick = 0
        while not self.is_over:
            try:
                status = self.server.status("clicks")
                memory = self.server.memory_bytes()
            except (OSError, AssertionError, http.client.HTTPException):
                return
            for name in self.most:
                self.most[name] = max(self.most[name], status.get(name) or 0)
            if tick % 10 == 0:
                short = {name: status.get(name) for name in ("pending", *self.most, "unregistered_partitions")}
                print(f"  rss {memory['VmRSS'] >> 20} MiB, peak {memory['VmHWM'] >> 20} MiB, {short}",
                      file=sys.stderr, flush=True)
            tick += 1
            time.sleep(1)


def check(root, accepted):
    """Reads every object where the S3 server keeps it; gives how many there are, and what is wrong."""
    seen = bytearray(accepted)
    wrong, rows, objects, partitions = [], 0, 0, set()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        key = str(path.relative_to(root))
        if not key.startswith("clicks/"):
            wrong.append(f"{key} is no row")
            continue
        objects += 1
        region, customer = (folder.split("=", 1)[1] for folder in key.split("/")[1:3])
        partitions.add((region, customer))
        table = pyarrow.parquet.ParquetFile(path).read(columns=["id", "customer_id", "area"])
        columns = (table.column(name).to_pylist() for name in ("id", "customer_id", "area"))
        for number, own_customer, own_region in zip(*columns, strict=True):
            rows += 1
            if (own_region, str(own_customer)) != (region, customer):
                wrong.append(f"{number} of {own_customer} lies in {key}")
            if seen[number]:
                wrong.append(f"{number} is there twice")
            seen[number] = 1
    missing = accepted - sum(seen)
    if missing:
        wrong.append(f"{missing} records are missing")
    return {"rows": rows, "objects": objects, "partitions": len(partitions)}, wrong


def play(folder, seconds, partitions, megabytes, interval, mebibytes=256, drain=600):
    """One run; gives its figures and what was wrong with it."""
    store = kit.S3Server(folder).start()
    lake = kit.S3Lake(store)
    settings = kit.settings_of(folder, [WRITER], lake, {"clicks": stream(interval)})
    settings["memory"] = f"{mebibytes} MiB"
    token = "t" * 32
    settings["identities"][0]["token"] = "${env:PLAIN_TOKEN}"
    secrets = kit.secrets_of([WRITER]) | {"PLAIN_TOKEN": token}
    server = kit.Lakehose(folder, settings, secrets)
    try:
        server.start()
        watch = Watch(server)
        before = server.memory_bytes()["VmHWM"]
        load = Load(server, token, partitions, megabytes * 1_000_000, seconds)
        took = load.wait()
        ended = time.monotonic()
        server.flush("clicks", timeout=drain)
        status = server.status("clicks")
        memory = server.memory_bytes()
        user, system = cpu_seconds(server.child.pid)
        watch.is_over = True
        figures = {
            "records": load.accepted, "seconds": round(took, 1), "late_seconds": round(load.latest, 1),
            "drain_seconds": round(time.monotonic() - ended, 1),
            "cpu_seconds": round(user + system, 1),
            "idle_rss_mib": before >> 20, "peak_rss_mib": memory["VmHWM"] >> 20,
        } | {f"most_{name}": value for name, value in watch.most.items()}
        wrong = []
        for name, wanted in (("delivered", load.accepted), ("failed", 0), ("pending", 0), ("difference", 0)):
            if status[name] != wanted:
                wrong.append(f"{name} is {status[name]} and should be {wanted}")
        found, more = check(store.root / kit.BUCKET / lake.PATH, load.accepted)
        return figures | found, wrong + more
    finally:
        server.kill()
        store.kill()


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = 100
    return int(fields[11]) / ticks, int(fields[12]) / ticks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--partitions", type=int, default=20_000)
    parser.add_argument("--megabytes", type=float, default=5)
    parser.add_argument("--interval", type=int, default=60)
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--folder", type=pathlib.Path)
    options = parser.parse_args()
    folder = options.folder or pathlib.Path(tempfile.mkdtemp(prefix="partitions-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    figures, wrong = play(
        folder, options.minutes * 60, options.partitions, options.megabytes, options.interval,
        options.mebibytes)
    if figures["peak_rss_mib"] > options.mebibytes:
        wrong.append(f"the process held {figures['peak_rss_mib']} MiB")
    print(json.dumps(figures, indent=1))
    for line in wrong[:20]:
        print("WRONG:", line)
    if not options.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
