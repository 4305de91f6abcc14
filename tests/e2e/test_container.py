"""The image's command line, as the Dockerfile has it: unprivileged, on a read-only root, as process 1.

There is no container engine here. What an engine does for this is done by namespaces: an own root
with what the Dockerfile copies and what its base image has, only the data directory writable, and an
own loopback, so that the ports are those of the image. Namespaces need root; that it was not run is
said aloud, and root that is refused them is a failure.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings

import duckdb
import pytest

import kit

DOCKERFILE = kit.REPOSITORY / "deploy" / "Dockerfile"
# What the base image, distroless/cc, has of what the binary needs.
BASE_LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SECRET = "secret-of-the-image"
SEND = """
import json, sys, boto3
firehose = boto3.client("firehose", endpoint_url="http://127.0.0.1:4573", region_name="us-east-1",
                        aws_access_key_id="LAKEHOSE", aws_secret_access_key=sys.argv[1])
for first in range(0, 2000, 500):
    rows = [{"user_id": f"u{n}", "page": "/", "milliseconds": n} for n in range(first, first + 500)]
    answer = firehose.put_record_batch(
        DeliveryStreamName="clicks", Records=[{"Data": json.dumps(row)} for row in rows])
    assert answer["FailedPutCount"] == 0, answer
"""


def instructions():
    """The Dockerfile's lines, continued ones joined."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    lines = (line.strip() for line in text.splitlines())
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def last_stage():
    """What the image is made of: its base, and the instructions after that."""
    every = instructions()
    start = max(index for index, (word, _) in enumerate(every) if word == "FROM")
    return every[start][1], every[start + 1 :]


def only(word):
    [found] = [rest for name, rest in last_stage()[1] if name == word]
    return found


def test_the_build_finds_what_it_copies():
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    for word, rest in instructions():
        if word != "COPY" or "--from=" in rest:
            continue
        for source in shlex.split(rest)[:-1]:
            assert (kit.REPOSITORY / source).exists(), source
            assert source.split("/")[0] in kept, f"{source} is kept from the build"
    manifest = (kit.REPOSITORY / "Cargo.toml").read_text()
    run = [rest for word, rest in instructions() if word == "RUN"]
    assert any("--profile dist --locked" in rest for rest in run), run
    assert "[profile.dist]" in manifest
    compiler = re.search(r'^rust-version = "(.+)"', manifest, re.MULTILINE)[1]
    assert instructions()[0] == ("FROM", f"rust:{compiler}-bookworm AS build")


def test_the_base_image_has_every_library_that_the_binary_asks_for():
    assert last_stage()[0] == "gcr.io/distroless/cc-debian12:nonroot"
    assert set(libraries()) <= BASE_LIBRARIES, libraries()


def libraries():
    """The binary's libraries: name -> file."""
    listed = subprocess.run(["ldd", kit.LAKEHOSE], capture_output=True, text=True, check=True).stdout
    files = re.findall(r"(/\S+) \(0x", listed)
    return {os.path.basename(file): file for file in files}


class Container:
    """The image, without an engine."""

    def __init__(self, folder):
        self.root = folder / "root"
        self.plan = folder / "plan.json"
        self.process = kit.Process("container", folder / "container.log")
        self.volume = json.loads(only("VOLUME"))[0]
        user, group = map(int, only("USER").split(":"))
        assert user != 0 and group != 0
        self.fill(user, group)
        command = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LAKEHOSE_SECRET": SECRET}
        plan = {
            "root": str(self.root),
            "writable": self.volume,
            "workdir": only("WORKDIR"),
            "user": user,
            "group": group,
            "environment": environment,
            "command": command,
        }
        self.user = user
        self.plan.write_text(json.dumps(plan))

    def fill(self, user, group):
        for folder in ("proc", "etc/ssl/certs", self.volume.lstrip("/")):
            (self.root / folder).mkdir(parents=True)
        for word, rest in last_stage()[1]:
            if word == "COPY":
                *sources, target = [part for part in shlex.split(rest) if not part.startswith("--")]
                self.copy(sources[0], target)
        for file in [*libraries().values(), CERTIFICATES]:
            if os.path.exists(file):
                self.copy(file, file)
        os.chown(self.inside(self.volume), user, group)

    def copy(self, source, target):
        built = {"/image/usr/local/bin/lakehose": kit.LAKEHOSE, f"/image{self.volume}": None}
        source = built.get(source, kit.REPOSITORY / source)
        if source is not None:
            self.inside(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, self.inside(target))

    def inside(self, path):
        return self.root / path.lstrip("/")

    def start(self):
        namespaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
        sandbox = kit.REPOSITORY / "tests" / "e2e" / "sandbox.py"
        self.process.launch(["unshare", *namespaces, sys.executable, sandbox, self.plan])

    def pid(self):
        """The service's process as this side of the namespace sees it; None before there is one."""
        assert self.process.is_alive(), self.process.log_tail()
        children = f"/proc/{self.process.child.pid}/task/{self.process.child.pid}/children"
        with open(children) as file:
            pids = file.read().split()
        is_it = pids and os.readlink(f"/proc/{pids[0]}/exe").endswith(json.loads(only("ENTRYPOINT"))[0])
        return int(pids[0]) if is_it else None

    def execute(self, *command, user=None):
        """Runs a command in the container, as `docker exec` does."""
        user = self.user if user is None else user
        enter = ["nsenter", "--target", str(self.pid()), "--all", "--root", "--wd"]
        enter += [f"--setuid={user}", f"--setgid={user}"]
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def container(running, tmp_path):
    if os.geteuid() != 0:
        told = "NOT RUN: the image's command line needs root for its namespaces: run the tests as root"
        warnings.warn(told, stacklevel=1)
        pytest.skip(told)
    container = Container(tmp_path)
    running.append(container.process)
    container.start()
    return container


def test_the_image_serves_unprivileged_on_a_read_only_root(container):
    health = re.fullmatch(r"(?:--\S+\s+)+CMD (\[.+\])", only("HEALTHCHECK"))
    check = json.loads(health[1])
    pid = kit.wait_for(container.pid, 60, "the service's process")
    kit.wait_for(lambda: container.execute(*check).returncode == 0, 60, "the health check")

    # An unprivileged process that nothing can lend privileges to.
    status = dict(
        line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {str(container.user)} and status["Groups"].strip() == ""
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1"
    assert status["NSpid"].split()[-1] == "1"
    # Nothing but the volume (and what the kernel shows of processes) can be written to.
    mounts = [line.split() for line in open(f"/proc/{pid}/mountinfo")]
    writable = {fields[4] for fields in mounts if "rw" in fields[5].split(",")}
    assert writable == {container.volume, "/proc"}, mounts

    # Python is not in the image: the client is outside of it, and at the image's ports.
    client = ["nsenter", "--target", str(pid), "--net", sys.executable, "-c", SEND, SECRET]
    subprocess.run(client, check=True, timeout=60, env=kit.plain_environment(HOME="/nonexistent"))
    lakehose = json.loads(only("ENTRYPOINT"))[0]
    told = container.execute(lakehose, "status")
    assert "clicks: accepted 2,000" in told.stdout and "pending 2,000" in told.stdout, told
    lake = container.inside(container.volume) / "lake"
    assert not list(lake.rglob("*.parquet"))

    # The configuration is read again where it is mounted.
    file = container.inside("/etc/lakehose/lakehose.yaml")
    file.write_text(file.read_text().replace("disk_budget: 10 GiB", "disk_budget: 11 GiB"))
    told = container.execute(lakehose, "reload")
    assert told.returncode == 78 and "disk_budget" in told.stderr, told

    # Process 1 hears SIGTERM only when it listens to it; it delivers what is buffered and ends.
    os.kill(pid, signal.SIGTERM)
    assert container.process.wait(60) == 0, container.process.log_tail()
    rows = duckdb.sql(f"SELECT count(DISTINCT user_id), count(*) FROM '{lake}/**/*.parquet'").fetchone()
    assert rows == (2000, 2000)
    assert "panicked" not in container.process.log_text()


def test_the_image_says_what_it_lacks(container):
    container.process.kill()
    plan = json.loads(container.plan.read_text())
    del plan["environment"]["LAKEHOSE_SECRET"]
    container.plan.write_text(json.dumps(plan))
    container.start()
    assert container.process.wait(60) == 78
    assert "LAKEHOSE_SECRET is not set" in container.process.log_text()


def test_the_health_check_fails_where_nothing_serves():
    done = kit.run("ready", "--admin", "http://127.0.0.1:1")
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr, done
