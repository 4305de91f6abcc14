"""What can be done to a process, its system calls, its disk and its clock.

Owns the tools and how they are told: signals, `faultline` (exact system calls over all threads),
strace (errors and delays on one thread, with its log as a witness), libfaketime, and file systems of
a few megabytes. What a machine does not allow raises `Unavailable`, which becomes a skip that is shown.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

from kits import HERE, kit

FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
STREAMS = "/streams/"
# In which a leg notes what it converts, for the case that the process dies of it.
NOTE = "/running"


class Unavailable(Exception):
    """The machine does not have what a fault needs."""


# --- exact system calls ----------------------------------------------------------------------------


class Faultline:
    """Lets the n-th call of a kind go wrong; `environment` is what a process needs for it."""

    CALLS = ("write", "fdatasync", "rename", "unlink")

    def __init__(self, folder, path=STREAMS, passed_path=None):
        compiler = shutil.which("cc")
        if compiler is None:
            raise Unavailable("there is no C compiler (cc) for faultline")
        self.library = pathlib.Path(folder) / "faultline.so"
        self.count_file = pathlib.Path(folder) / "faultline.count"
        self.path, self.passed_path = path, passed_path
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", self.library, HERE / "faultline.c", "-ldl"]
        built = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if built.returncode != 0:
            raise Unavailable(f"faultline cannot be built: {built.stderr}")
        self.reset()

    def reset(self):
        """Counts from the beginning again."""
        self.count_file.write_bytes(bytes(8))

    @property
    def count(self):
        return int.from_bytes(self.count_file.read_bytes(), "little")

    def environment(self, call, nth, act="kill"):
        return {
            "LD_PRELOAD": str(self.library),
            "FAULTLINE_CALL": call,
            "FAULTLINE_NTH": str(nth),
            "FAULTLINE_ACT": act,
            "FAULTLINE_PATH": self.path,
            "FAULTLINE_COUNT": str(self.count_file),
        } | ({"FAULTLINE_EXCEPT": self.passed_path} if self.passed_path else {})


class Strace:
    """Attached to some threads of a running process. The log names each call's file and moment."""

    LINE = re.compile(r"(?:\d+ +)?(?P<at>\d+\.\d+) (?P<call>\w+)\(\d+<(?P<path>[^>]*)>[^=]*= (?P<result>.*)")

    def __init__(self, log, thread_ids, inject, trace="fdatasync"):
        if shutil.which("strace") is None:
            raise Unavailable("there is no strace")
        self.log = log
        command = ["strace", "-y", "-ttt", "-q", "-s", "0", "-o", str(log), "-e", f"trace={trace}"]
        command += ["-e", f"inject={inject}"]
        for thread_id in thread_ids:
            command += ["-p", str(thread_id)]
        self.errors = tempfile.TemporaryFile()
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self.errors)

        def is_attached():
            if self.child.poll() is None:
                return all(_tracer(thread_id) for thread_id in thread_ids)
            # It ends with what it traces, which a fault may have brought about already.
            if "INJECTED" not in log.read_text():
                self.errors.seek(0)
                raise Unavailable(f"strace does not attach: {self.errors.read().decode()}")
            return True

        kit.wait_for(is_attached, 30, "strace to attach", every=0.005)

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(10)
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(10)
        self.errors.close()

    def calls(self):
        """(seconds since 1970, call, path, result) in their order."""
        lines = map(self.LINE.match, self.log.read_text().splitlines())
        return [(float(m["at"]), m["call"], m["path"], m["result"]) for m in lines if m]


def _tracer(thread_id):
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{thread_id}/status").read_text()
        return int(re.search(r"TracerPid:\t(\d+)", status)[1])
    return 0


# --- time ------------------------------------------------------------------------------------------


def wall_clock(offset_seconds):
    """The environment of a process whose wall clock is so far from ours; its steady clock is true."""
    if FAKETIME is None:
        raise Unavailable("there is no libfaketime (Debian: apt-get install libfaketime)")
    sign = "+" if offset_seconds >= 0 else "-"
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"{sign}{abs(offset_seconds)}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


# --- small disks -----------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of its own mounted at `folder`: ext4 in a file, by a loop device."""
    folder = pathlib.Path(folder)
    image = folder.parent / f"{folder.name}.ext4"
    folder.mkdir(parents=True, exist_ok=True)
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    sh("mkfs.ext4", "-q", "-F", "-m", "0", image)
    mount(image, folder)
    try:
        yield folder
    finally:
        unmount(folder)
        image.unlink()


def mount(what, where, *options):
    """Mounts an image by a loop device."""
    if os.geteuid() != 0:
        raise Unavailable("mounting needs root")
    done = subprocess.run(
        ["mount", "-o", ",".join(["loop", *options]), str(what), str(where)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Unavailable(f"loop mounts are not allowed here: {done.stderr.strip()}")


def unmount(where):
    """Unmounts, as soon as whoever still uses it has gone."""

    def is_unmounted():
        done = subprocess.run(["umount", str(where)], capture_output=True, text=True)
        return done.returncode == 0 or "not mounted" in done.stderr

    kit.wait_for(is_unmounted, 60, f"{where} to be unmounted", every=0.1)


def sh(*command):
    """Runs a tool of the system to its end."""
    if shutil.which(command[0]) is None:
        raise Unavailable(f"there is no {command[0]}")
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout
