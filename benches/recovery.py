#!/usr/bin/env python3
"""How long a start takes over a large journal, against reading the same files once.

Fills a data directory through the compiled server with records that no batch can close over, ends the
process by SIGKILL, and starts it again:

- *accepts*: from the launch to the first answer 200 to a put.
- *resumed*: from the launch until every record that waits stands in a batch again, as before the kill
  (`buffered_records` of the status is what was accepted): delivery goes on as if nothing had been.
- *first object*: from the launch to the first object in the lake, when batches may close over 64 MiB.
- *peak*: `VmHWM` of the process when it had resumed; *read*: what it had read by then (`rchar`).

The opponent is one pass over the files of the journal by reads of 1 MiB, in the same state of the page
cache: warm, and with root also cold.

    benches/recovery.py [--gib 2] [--record-bytes 1000] [--call-records 500] [--binary PATH] [--dir DIR]
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
TENANTS = 12
SENDERS = 4
GIB = 1 << 30
NOTHING_CLOSES = "512 MiB"
SOME_CLOSE = "64 MiB"


def settings(folder, size, budget_gib):
    identities = [
        {"tenant": f"t{n:02}", "token": f"token-of-the-bench-{n:02}", "streams": ["clicks"]} for n in range(TENANTS)
    ]
    return {
        "server": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "data_dir": f"{folder}/data",
        "disk_budget": f"{budget_gib} GiB",
        "identities": [
            {**each, "token": "${file:%s}" % secret(folder, each["token"])} for each in identities
        ],
        "stores": {"lake": {"url": f"file://{folder}/lake"}},
        "catalogs": {"files": {"type": "files", "path": f"{folder}/catalog"}},
        "delivery_streams": {
            "clicks": {
                "buffering": {"size": size, "interval": "86400 s"},
                "schema": {"columns": {"id": "bigint", "text": "string"}},
            }
        },
    }


def secret(folder, text):
    file = folder / text
    file.write_text(text)
    return file


class Server:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.child = binary, folder, None

    def launch(self, size, budget_gib):
        addresses = self.folder / "data" / "addresses.json"
        addresses.unlink(missing_ok=True)
        file = self.folder / "lakehose.yaml"
        file.write_text(json.dumps(settings(self.folder, size, budget_gib)))
        self.launched = time.monotonic()
        log = open(self.folder / "lakehose.log", "ab")
        self.child = subprocess.Popen([self.binary, "serve", "--config", file], stdout=log, stderr=log)
        while True:
            assert self.child.poll() is None, (self.folder / "lakehose.log").read_text()[-3000:]
            try:
                found = json.loads(addresses.read_text())
                self.listen, self.admin = found["listen"], found["admin"]
                return
            except (OSError, ValueError):
                time.sleep(0.002)

    def since_launch(self):
        return time.monotonic() - self.launched

    def kill(self):
        if self.child is not None:
            self.child.kill()
            self.child.wait()

    def status(self):
        with urllib.request.urlopen(f"http://{self.admin}/status", timeout=60) as answer:
            return json.loads(answer.read())["streams"]["clicks"]

    def put(self, connection, tenant, body, key):
        headers = {
            "Authorization": f"Bearer token-of-the-bench-{tenant:02}",
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": key,
        }
        connection.request("POST", "/v1/streams/clicks/records", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, text

    def of_process(self, file, name):
        for line in pathlib.Path(f"/proc/{self.child.pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])


def fill(server, total_bytes, record_bytes, call_records):
    """Sends about so many bytes; tells how many records that were."""
    line = lambda n: json.dumps({"id": n, "text": ""}).encode()
    pad = lambda n: json.dumps({"id": n, "text": "x" * max(0, record_bytes - len(line(n)))}).encode()
    body = b"\n".join(pad(n) for n in range(call_records)) + b"\n"
    calls = -(-total_bytes // len(body))

    def send(sender):
        connection = http.client.HTTPConnection(server.listen, timeout=120)
        for call in range(sender, calls, SENDERS):
            while True:
                status, text = server.put(connection, call % TENANTS, body, f"call-{call}")
                if status == 200:
                    break
                assert status == 503, (status, text)
                time.sleep(0.05)

    with concurrent.futures.ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(SENDERS)))
    return calls * call_records


def read_once(files):
    started = time.monotonic()
    buffer = bytearray(1 << 20)
    for file in files:
        with open(file, "rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
    return time.monotonic() - started


def drop_caches():
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return True
    except OSError:
        return False


def accept(server, record):
    """Tries until a put is answered with 200."""
    while True:
        try:
            connection = http.client.HTTPConnection(server.listen, timeout=60)
            if server.put(connection, 0, record, f"first-{time.monotonic_ns()}")[0] == 200:
                return server.since_launch()
        except OSError:
            pass
        time.sleep(0.002)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--record-bytes", type=int, default=1000)
    parser.add_argument("--call-records", type=int, default=500)
    parser.add_argument("--binary", default=REPOSITORY / "target" / "release" / "lakehose")
    parser.add_argument("--dir", help="where the data lies; a folder on the disk to be measured")
    arguments = parser.parse_args()
    assert arguments.gib <= TENANTS * 0.45, "a batch would close"
    budget_gib = int(arguments.gib * 2.5) + 4
    folder = pathlib.Path(tempfile.mkdtemp(prefix="recovery-", dir=arguments.dir or REPOSITORY / "target"))
    server = Server(arguments.binary, folder)
    try:
        server.launch(NOTHING_CLOSES, budget_gib)
        started = time.monotonic()
        total = int(arguments.gib * GIB)
        count = fill(server, total, arguments.record_bytes, arguments.call_records)
        print(f"filled with {count:,} records in {time.monotonic() - started:.0f} s", flush=True)
        server.kill()
        journal = folder / "data" / "streams" / "clicks" / "journal"
        files = sorted(journal.glob("*.seg"))
        size = sum(file.stat().st_size for file in files)
        print(f"journal: {len(files)} segments, {size / GIB:.2f} GiB")
        print(f"{'cache':>6} {'read once':>10} {'accepts':>9} {'of it':>6} {'resumed':>9} {'of it':>6} "
              f"{'a GiB':>8} {'peak':>9} {'read':>10} {'first object':>13}")
        for cache in ("warm", "cold"):
            files = sorted(journal.glob("*.seg"))
            if cache == "warm":
                read_once(files)
            elif not drop_caches():
                print("  cold: not measured, since dropping the page cache takes root")
                continue
            once = read_once(files)
            if cache == "cold":
                drop_caches()
            server.launch(NOTHING_CLOSES, budget_gib)
            accepts = accept(server, b'{"id": 0, "text": "after"}\n')
            count += 1
            while server.status()["buffered_records"] < count:
                time.sleep(0.005)
            resumed = server.since_launch()
            peak, read = server.of_process("status", "VmHWM") / 1024, server.of_process("io", "rchar")
            server.kill()
            if cache == "cold":
                drop_caches()
            lake = folder / "lake"
            shutil.rmtree(lake, ignore_errors=True)
            # Only this start closes batches, in a copy of names: what it does is thrown away.
            copy = folder / "copy"
            subprocess.run(["cp", "-al", folder / "data", copy], check=True)
            server.launch(SOME_CLOSE, budget_gib)
            while not any(path.is_file() for path in lake.rglob("*.parquet")):
                time.sleep(0.005)
            first = server.since_launch()
            server.kill()
            shutil.rmtree(folder / "data")
            copy.rename(folder / "data")
            print(f"{cache:>6} {once:>8.2f} s {accepts:>7.2f} s {accepts / once:>6.2f} {resumed:>7.2f} s "
                  f"{resumed / once:>6.2f} {resumed / (size / GIB):>6.2f} s {peak:>5.0f} MiB "
                  f"{read / (1 << 20):>6.0f} MiB {first:>11.2f} s", flush=True)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
