"""Damage under the compiled server: every record is delivered once as it was sent, or named as damaged.

Bits are flipped in directories that the server has left behind, by a second reader of the format; what
it costs must be named by `lakehose verify` before the start and by the server's log after it, record by
record. The seed is printed, and a sibling run with it flips the same bits.
"""

import collections
import gzip
import json
import os
import random
import re

import pytest

import kit
import verify_kit
from verify_kit import BATCH, Stream

ACME = kit.Identity("acme", ("clicks",))
SEED = int(os.environ.get("LAKEHOSE_DAMAGE_SEED", "20261130"))
FLIPS = 14
OUTBOX_FLIPS = 5
CALLS, CALL = 6, 20


def record(number):
    text = f"text {number} " * random.Random(number).randrange(1, 40)
    return json.dumps({"id": number, "text": text}).encode() + b"\n"


def stream(size="4 MiB"):
    settings = kit.stream_of({"columns": {}}, size=size, interval="900 s")
    del settings["schema"], settings["partitions"]
    return {"clicks": settings | {"format": {"records": {"compression": "gzip"}}}}


def send(server, first, count):
    kit.send(server.firehose(ACME), "clicks", [record(n) for n in range(first, first + count)], batch=CALL)


@pytest.fixture(scope="module")
def buffered(tmp_path_factory):
    """A directory of several lives, in which everything still waits in the journal."""
    folder = tmp_path_factory.mktemp("buffered")
    settings = kit.settings_of(folder, [ACME], kit.FolderLake(folder), stream())
    server = kit.Lakehose(folder, settings, kit.secrets_of([ACME]))
    try:
        for life in range(3):
            server.start()
            for call in range(CALLS):
                send(server, (life * CALLS + call) * CALL, CALL)
            server.kill()
    finally:
        server.kill()
    return server.data_dir


def positions_in(text):
    """`3 to 7, 9` as numbers."""
    found = set()
    for run in text.split(", "):
        first, _, last = run.partition(" to ")
        found.update(range(int(first), int(last or first) + 1))
    return found


def named_by_verify(data_dir):
    done = kit.run("verify", data_dir)
    assert "panicked" not in done.stderr, done.stderr
    named = set()
    for line in done.stdout.splitlines():
        concerned = re.search(r"^PROBLEM: .*stream clicks: .*, records ([0-9, to]+); cost: [^n]", line)
        if concerned:
            named |= positions_in(concerned[1])
    return named, done.stdout


def named_in_log(server):
    text = re.sub(r"\x1b\[[0-9;]*m", "", server.log_text())
    assert "panicked" not in text, server.log_tail()
    named = collections.Counter()
    for line in text.splitlines():
        if "the disk lost accepted" in line:
            assert "clicks" in line, line
            first, last = (int(re.search(rf'"?\b{name}"?[=:] ?(\d+)', line)[1]) for name in ("first", "last"))
            named.update(range(first, last + 1))
    assert all(count == 1 for count in named.values()), named
    return set(named)


def delivered(lake):
    found = []
    for key in lake.keys():
        lines = gzip.decompress(lake.read(key)).splitlines(keepends=True)
        found += [line for line in lines if line.strip()]
    return collections.Counter(found)


def judge(server, lake, total, case):
    """Starts on a damaged directory, and holds what comes of it against what was sent."""
    by_verify, said = named_by_verify(server.data_dir)
    server.start()
    server.flush("clicks")
    status = server.status("clicks")
    case = f"{case}\n{said}\n{json.dumps(status)}\n{server.log_tail()}"
    accepted, damaged = status["accepted"], status["damaged"]
    in_log = named_in_log(server)
    assert (status["pending"], status["difference"], status["degraded"]) == (0, 0, None), case
    assert status["delivered"] == accepted - damaged, case
    # Only the last group, of which nobody can say whether it was ever durable, may be cut.
    assert accepted == total or (total - accepted <= CALL and "torn tail" in said), case
    assert len(in_log) == damaged and in_log == by_verify, case
    expected = collections.Counter(record(n) for n in range(accepted) if n not in in_log)
    assert delivered(lake) == expected, case
    assert server.terminate() == 0
    return len(in_log)


def test_a_flipped_bit_in_a_journal_costs_what_is_named_and_nothing_else(buffered, running, tmp_path):
    rng = random.Random(SEED)
    print(f"LAKEHOSE_DAMAGE_SEED={SEED}")
    segments = Stream(buffered).segments()
    assert len(segments) == 3
    cost = 0
    for number in range(FLIPS):
        folder = tmp_path / f"flip-{number}"
        folder.mkdir()
        lake = kit.FolderLake(folder)
        server = kit.Lakehose(folder, kit.settings_of(folder, [ACME], lake, stream()), kit.secrets_of([ACME]))
        running.append(server)
        verify_kit.copy(buffered, server.data_dir)
        segment = rng.choice(segments)
        # Half of them where records are, half of them anywhere.
        if number % 2:
            frame = rng.choice(segment.of(BATCH))
            offset = rng.randrange(frame.data_at, frame.payload_end)
        else:
            offset = rng.randrange(len(segment.bytes))
        path = Stream(server.data_dir).path / "journal" / segment.path.name
        verify_kit.flip(path, offset)
        cost += judge(server, lake, 3 * CALLS * CALL, f"flip {number}: {path.name} at {offset}")
    assert cost > 0, "some flips hit records"


def test_what_rots_in_the_outbox_is_named_and_kept_and_never_delivered(s3, running, tmp_path):
    rng = random.Random(SEED)
    print(f"LAKEHOSE_DAMAGE_SEED={SEED}")
    s3.set_faults(put_status=503)
    lake, streams, total = kit.S3Lake(s3), stream(size="64 KiB"), 1200

    def server_of(name):
        folder = tmp_path / name
        folder.mkdir()
        server = kit.Lakehose(folder, kit.settings_of(folder, [ACME], lake, streams), kit.secrets_of([ACME]))
        running.append(server)
        return server

    made = server_of("made").start()
    send(made, 0, total)
    kit.wait_for(lambda: made.status("clicks")["open_plans"] > 1, 60, "open plans")
    made.kill()
    cost = 0
    for number in range(OUTBOX_FLIPS):
        s3.set_faults()
        for key in lake.keys():
            s3.client().delete_object(Bucket=kit.BUCKET, Key=f"{lake.PATH}/{key}")
        server = server_of(f"rot-{number}")
        verify_kit.copy(made.data_dir, server.data_dir)
        rotten = rng.choice(Stream(server.data_dir).outbox())
        if number == 0:
            os.truncate(rotten, rotten.stat().st_size // 2)
        else:
            verify_kit.flip(rotten, rng.randrange(rotten.stat().st_size))
        kept = rotten.read_bytes()
        named = judge(server, lake, total, f"rot {number} in {rotten.name}")
        assert named > 0
        cost += named
        aside = Stream(server.data_dir).path / "quarantine" / rotten.name
        assert aside.read_bytes() == kept, "it is kept for a person"
        done = kit.run("verify", server.data_dir)
        assert done.returncode == 0 and "set aside" in done.stdout, done.stdout
    assert cost < OUTBOX_FLIPS * total
