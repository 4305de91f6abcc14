"""One deployment under torture: instances, stores, hook and catalogs, and the evidence they leave.

Owns how a round's servers are set up, and what is gathered for the checker at the end. Does not own
what goes wrong (`faults`, `store`, `proxy`) or when (`rounds`).
"""

import contextlib
import dataclasses
import http.client
import json
import logging
import pathlib
import random
import socket
import time


import checker
import hook as hooks
import ledger as ledger_file
from kits import glue_kit, kit
from load import Load, Producer, token_of

PLAIN_COLUMNS = {"id": "string", "number": "bigint", "text": "string"}
HOOK_COLUMNS = PLAIN_COLUMNS | {"do": "string", "seen": "boolean", "token": "string", "part": "int", "of": "int"}
DAY = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/"
# How long a drained world may take on a machine that does other things besides (I11).
DRAIN_SECONDS = 90
GLUE_DATABASE = "torture"


class Instance(kit.Lakehose):
    """A Lakehose on ports that it keeps, with an environment that faults can add to."""

    def __init__(self, folder, settings, secrets, name):
        super().__init__(folder, settings, secrets, name)
        self.added = {}
        self.starts = 0

    @property
    def pid(self):
        return self.child.pid

    def serve(self):
        self.starts += 1
        self.secrets_before, self.secrets = self.secrets, self.secrets | self.added
        try:
            super().serve()
        finally:
            self.secrets = self.secrets_before

    def start(self, timeout=120):
        return super().start(timeout)

    def start_or_die(self, timeout=120):
        """Starts; false when the process ended before it was ready, as a fault may make it."""
        try:
            self.start(timeout)
        except (AssertionError, OSError, http.client.HTTPException):
            # Its connections end a moment before it does.
            self.wait_for_death(5)
            return False
        return True

    def wait_for_death(self, timeout=60):
        """Waits until the process has ended; gives its exit code."""
        kit.wait_for(lambda: not self.is_alive(), timeout, f"the end of {self.name}", every=0.005)
        self.endpoint = self.admin = None
        return self.child.returncode

    def thread_ids(self, beginning):
        """The threads of the process whose names begin so."""
        found = []
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                if (task / "comm").read_text().startswith(beginning):
                    found.append(int(task.name))
        return found


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a world is to be."""

    streams: tuple = ("clicks",)
    tenants: tuple = ("acme", "globex")
    hooked: bool = False
    backup: bool = False
    # The store: `s3`, a `folder`, or `s3` behind something (then `endpoint` is where that listens).
    lake: str = "s3"
    glue: bool = False
    size: str = "256 KiB"
    interval: str = "200 ms"
    budget: str = "1 GiB"
    hook: dict = dataclasses.field(default_factory=lambda: {"timeout": "20 s", "retries": 100})


class World(contextlib.ExitStack):
    """Everything of a round. Leaving it ends every process by its pid."""

    def __init__(self, folder, seed, setup):
        super().__init__()
        self.folder, self.seed, self.setup = pathlib.Path(folder), seed, setup
        self.folder.mkdir(parents=True, exist_ok=True)
        self.chance = random.Random(seed)
        self.identities = [kit.Identity(tenant, setup.streams) for tenant in setup.tenants]
        self.instances, self.between, self.writes, self.foreign = [], None, [], {}
        self.s3 = self.hook = self.glue = None

    def __enter__(self):
        super().__enter__()
        setup = self.setup
        self.ledger = ledger_file.Ledger(self.folder / "ledger.tsv")
        self.callback(self.ledger.close)
        if setup.lake == "folder":
            self.lake = kit.FolderLake(self.folder)
            self.lake_root = self.lake.folder
        else:
            self.s3 = kit.S3Server(self.folder)
            self.callback(self.s3.kill)
            self.s3.start()
            self.lake = kit.S3Lake(self.s3)
            self.lake_root = self.s3.root / kit.BUCKET / kit.S3Lake.PATH
        if setup.hooked:
            self.hook = hooks.Hook(self.folder / "hook.jsonl")
            self.callback(self.hook.close)
        if setup.glue:
            logging.getLogger("werkzeug").setLevel(logging.ERROR)
            self.glue = glue_kit.Glue()
            self.callback(self.glue.kill)
            self.glue.client().create_database(DatabaseInput={"Name": GLUE_DATABASE})
            for stream in setup.streams:
                table = glue_kit.table_input(stream, self.columns, kit.PARTITION_KEYS, f"{self.lake.url}/{stream}/")
                self.glue.client().create_table(DatabaseName=GLUE_DATABASE, TableInput=table)
        return self

    @property
    def columns(self):
        return HOOK_COLUMNS if self.setup.hooked else PLAIN_COLUMNS

    def put_between(self, endpoint):
        """What instances made from now on take for the store."""
        self.between = endpoint

    # --- instances ---

    def stream_settings(self, stream):
        setup = self.setup
        schema = {"columns": dict(self.columns)}
        if setup.glue:
            schema = {"catalog": "tables", "database": GLUE_DATABASE, "table": stream}
        settings = kit.stream_of(schema, setup.size, setup.interval)
        if setup.hooked:
            buffering = {"size": "64 KiB", "interval": "50 ms"}
            settings["transform"] = [{"http": {"url": self.hook.url, "buffering": buffering, **setup.hook}}]
        if setup.backup:
            settings["backup"] = {
                "store": "lake",
                "prefix": f"raw/{stream}/tenant=!{{lakehose:tenant}}/{DAY}",
                "delimiter": "newline_at_end",
                "buffering": {"size": setup.size, "interval": setup.interval},
            }
        settings["destination"]["error_prefix"] = (
            f"errors/{stream}/tenant=!{{lakehose:tenant}}/!{{firehose:error-output-type}}/{DAY}"
        )
        return settings

    def new_instance(self, name="one", **replaced):
        folder = self.folder / name
        streams = {stream: self.stream_settings(stream) for stream in self.setup.streams}
        settings = kit.settings_of(folder, self.identities, self.lake, streams)
        settings["disk_budget"] = self.setup.budget
        settings["server"] = {"listen": f"127.0.0.1:{free_port()}", "admin": f"127.0.0.1:{free_port()}"}
        if self.between:
            settings["stores"]["lake"]["endpoint"] = self.between
        secrets = kit.secrets_of(self.identities)
        if self.glue:
            settings["catalogs"] = {"tables": self.glue.settings()}
            secrets |= glue_kit.SECRETS
        for identity in settings["identities"]:
            variable = f"TOKEN_{identity['tenant'].upper()}"
            identity["token"] = f"${{env:{variable}}}"
        secrets |= {f"TOKEN_{each.tenant.upper()}": token_of(each) for each in self.identities}
        instance = Instance(folder, settings | replaced, secrets, name)
        self.instances.append(instance)
        self.callback(instance.kill)
        return instance

    # --- load ---

    def producers(self, instance, ways=("sdk", "plain"), **more):
        """One of each way for each tenant and stream."""
        hooked = self.setup.hooked
        return [
            Producer(instance, identity, stream, way, hooked, **more)
            for stream in self.setup.streams
            for identity in self.identities
            for way in ways
        ]

    def load(self, producers):
        return Load(self.ledger, producers, self.seed)

    # --- the end ---

    def is_drained(self, instance):
        for stream in self.setup.streams:
            status = instance.status(stream)
            waits = (status["pending"], status["open_plans"], status["unregistered_partitions"])
            backup = status["backup"]
            if any(waits) or (backup and (backup["pending"] or backup["open_plans"])):
                return False
        return True

    def drain(self, seconds=DRAIN_SECONDS):
        """Waits until everything has arrived by itself (I11); gives the seconds that it took."""
        began = time.monotonic()
        for instance in self.instances:
            if not instance.is_alive():
                instance.start()
            kit.wait_for(lambda: self.is_drained(instance), seconds, f"I11: {instance.name} to drain", every=0.05)
        return time.monotonic() - began

    def evidence(self, stop=True):
        """What the checker judges; with `stop` the instances are ended in order first, so that their
        disks show what they leave."""
        statuses = [json.loads(kit.http("GET", f"{i.admin}/status")[1])["streams"] for i in self.instances]
        metrics = [kit.http("GET", f"{i.admin}/metrics")[1] for i in self.instances]
        if stop:
            for instance in self.instances:
                code = instance.terminate(120)
                assert code == 0, f"{instance.name} ended with {code}:\n{instance.log_tail()}"
                instance.endpoint = instance.admin = None
        facts = checker.StreamFacts(self.setup.hooked, self.setup.backup)
        return checker.Evidence(
            ledger=self.ledger.path,
            lake=self.lake_root,
            url=self.lake.url,
            streams=dict.fromkeys(self.setup.streams, facts),
            catalogs={stream: self.registered(stream) for stream in self.setup.streams},
            hook_log=self.hook.log if self.hook else None,
            statuses=statuses,
            metrics=metrics,
            writes=self.writes,
            foreign=self.foreign,
            rewritten_keys=self.s3.state()["keys_rewritten_with_other_bytes"] if self.s3 else 0,
            logs={instance.name: instance.log for instance in self.instances},
            data_dirs=[instance.data_dir for instance in self.instances] if stop else [],
        )

    def registered(self, stream):
        """The partitions of a stream, in each catalog that has some."""
        if self.glue:
            found = self.glue.partitions(GLUE_DATABASE, stream)
            return [{values: each["StorageDescriptor"]["Location"] for values, each in found.items()}]
        catalogs = [instance.settings_file.parent / "catalog" for instance in self.instances]
        file = f"lakehose/{stream}.partitions.json"
        return [kit.partitions(each, "lakehose", stream) for each in catalogs if (each / file).exists()]


def free_port():
    """A port below those that clients get, so that nobody takes it between two starts."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
