"""What the benches of the whole service share: the server, the S3 server and the producer, and their figures.

Everything runs on this machine: the compiled server on cores of its own, the S3 server of the end-to-end
tests and the producer on others. Uses the kit of the end-to-end tests and needs what they need.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "tests" / "e2e"))

import kit  # noqa: E402
import pyarrow.parquet  # noqa: E402

MB = 1e6
MIB = 1 << 20
PRODUCER = kit.Identity("acme", ("*",))
WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll lagoon marsh north ocean".split()
DRAIN_SECONDS = 3600


def arguments_of(parser):
    """What all these benches are told."""
    path = lambda text: pathlib.Path(text).resolve()
    parser.add_argument("--programs", type=path, default=REPOSITORY / "target" / "dist",
                        help="where `lakehose` is built, with `examples` below it")
    parser.add_argument("--cores", default="0", help="of the server, as taskset takes them")
    parser.add_argument("--other-cores", default="1", help="of the producer and the S3 server")
    parser.add_argument("--memory", help="that the configuration gives the service, such as \"1 GiB\"")
    parser.add_argument("--dir", type=path, default=REPOSITORY / "target",
                        help="where the data lies; a folder on the disk to be measured")


def columns_of(programs, corpus):
    told = subprocess.check_output([programs / "examples" / "corpus"])
    return dict(json.loads(told)[corpus])


def write_corpus(programs, corpus, megabytes, path):
    command = [programs / "examples" / "corpus", corpus, str(int(megabytes * MB)), path]
    subprocess.run(command, check=True)
    return path


def write_texts(path, count, record_bytes, partitions=1):
    """Records of exactly so many bytes; those of the partitions are equally many and lie in no order."""
    chance = random.Random(7)
    pool = " ".join(chance.choices(WORDS, k=record_bytes // 4 + 20_000))
    owners = [number % partitions for number in range(count)]
    chance.shuffle(owners)
    with path.open("w") as file:
        for number, owner in enumerate(owners):
            head = f'{{"id":{number},"p":"{owner:05}","text":"'
            length = record_bytes - len(head) - 2
            start = chance.randrange(len(pool) - length)
            file.write(f'{head}{pool[start:start + length]}"}}\n')
    return path


TEXT_COLUMNS = {"id": "bigint", "text": "string"}


class Service:
    """A server over an S3 server in a folder of its own, which is gone at the end."""

    def __init__(self, arguments, streams, signed=True, cores=None):
        self.arguments, self.signed = arguments, signed
        # Copies, since YAML would write what they share as anchors, which the configuration has not.
        self.streams = json.loads(json.dumps(streams))
        self.cores = cores or arguments.cores

    def __enter__(self):
        kit.LAKEHOSE = self.arguments.programs / "lakehose"
        kit.S3_SERVER = self.arguments.programs / "examples" / "s3-server"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=self.arguments.dir))
        self.s3 = self.server = None
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        for process in (self.server, self.s3):
            if process is not None:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        self.s3 = kit.S3Server(self.folder).start()
        subprocess.run(["taskset", "-apc", self.arguments.other_cores, str(self.s3.child.pid)],
                       check=True, stdout=subprocess.DEVNULL)
        settings = kit.settings_of(self.folder, [PRODUCER], kit.S3Lake(self.s3), self.streams)
        settings |= {"disk_budget": "24 GiB"}
        settings["identities"][0]["streams"] = list(self.streams)
        if not self.signed:
            del settings["identities"]
        if self.arguments.memory:
            settings["memory"] = self.arguments.memory
        self.server = kit.Lakehose(self.folder, settings, kit.secrets_of([PRODUCER]))
        self.server.run_by = ("taskset", "-c", self.cores)
        self.server.start()

    def produce(self, records, **options):
        """Runs the producer to its end; returns what it tells."""
        address = self.server.endpoint.removeprefix("http://")
        options |= {"address": address, "streams": ",".join(self.streams), "records": records,
                    "sync_dir": self.folder}
        if self.signed:
            options |= {"access_key": PRODUCER.access_key, "secret": PRODUCER.secret}
        command = ["taskset", "-c", self.arguments.other_cores, self.arguments.programs / "examples" / "producer"]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        return json.loads(subprocess.check_output(command))

    def drain(self):
        """Waits until everything is in the store; returns the seconds that it took."""
        started = time.monotonic()
        for stream in self.streams:
            self.server.flush(stream, DRAIN_SECONDS)
        return time.monotonic() - started

    def run(self, records, **options):
        """Sends, waits until everything is in the store, counts it there, and returns all figures."""
        cpu, started = self.cpu_seconds(), time.monotonic()
        with Memory(self.server.child.pid) as memory:
            figures = self.produce(records, **options)
            memory.sending = len(memory.rss)
            drained = self.drain()
        figures |= {
            "drain_seconds": drained,
            "total_seconds": time.monotonic() - started,
            "cpu_seconds": self.cpu_seconds() - cpu,
            "memory": memory,
        }
        figures |= self.stored()
        assert figures["rows"] == figures["records"], f"{figures['rows']} rows of {figures['records']} records"
        return figures

    def cpu_seconds(self):
        """Of all threads of the server, in user and kernel, by ticks of 10 ms."""
        fields = pathlib.Path(f"/proc/{self.server.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stored(self):
        """What lies in the store, by the files' own footers."""
        files = [path for path in self.s3.root.rglob("*.parquet") if path.is_file()]
        return {
            "objects": len(files),
            "object_bytes": sum(path.stat().st_size for path in files),
            "rows": sum(pyarrow.parquet.read_metadata(path).num_rows for path in files),
        }


class Memory:
    """Looks at what a process holds, every half second."""

    def __init__(self, pid):
        self.pid = pid
        self.rss, self.pss = [], []
        # How many looks were taken while records came in.
        self.sending = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while True:
            self.rss.append(of_process(self.pid, "status", "VmRSS"))
            self.pss.append(of_process(self.pid, "smaps_rollup", "Pss"))
            if self._stop.wait(0.5):
                return

    def peak(self):
        """`VmHWM`: the kernel's own, which misses nothing."""
        return of_process(self.pid, "status", "VmHWM")

    def over_time(self, points=10):
        """The most of each stretch of the time, in MiB."""
        step = max(1, len(self.rss) // points)
        return [max(self.rss[at:at + step]) / MIB for at in range(0, len(self.rss), step)]

    def growth(self):
        """The most of the last third over the most of the middle third, of the time of sending; about 1
        where it is flat."""
        third = self.sending // 3
        return max(self.rss[2 * third:self.sending]) / max(self.rss[third:2 * third])


def of_process(pid, file, name):
    for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(f"{file} of {pid} has no {name}")


def stream(columns, size="128 MiB", interval="300 s", **more):
    return kit.stream_of({"columns": columns}, size, interval) | more
