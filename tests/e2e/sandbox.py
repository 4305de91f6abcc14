"""Runs a command as a container engine would: `unshare ... python sandbox.py PLAN`.

PLAN is a JSON file: `root` (a folder), `writable` (a folder below it that is the only one to write
to), `workdir`, `user`, `group`, `environment` and `command`. The new process is the first of its PID
namespace, sees `root` as its file system, read-only, and can gain no privilege. It does not own what
is in the root: that is the test.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys

PR_SET_NO_NEW_PRIVS = 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def main():
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    root, writable = plan["root"], plan["root"] + plan["writable"]
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    mount("--bind", writable, writable)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("-o", "remount,bind,ro", root)
    raise_loopback()
    os.chroot(root)
    os.chdir(plan["workdir"])
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "could not forbid new privileges")
    os.setgroups([])
    os.setgid(plan["group"])
    os.setuid(plan["user"])
    os.execve(plan["command"][0], plan["command"], plan["environment"])


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def raise_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    main()
