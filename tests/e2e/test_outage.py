"""The object store fails for a while; producers do not notice."""

import contextlib
import json
import os
import random
import time

import kit

OUTAGE_SECONDS = float(os.environ.get("LAKEHOSE_OUTAGE_SECONDS", "60"))
BYTES_PER_SECOND = 4_000_000
IDENTITIES = [kit.Identity(tenant, ("clicks",)) for tenant in ("acme", "globex")]
COLUMNS = {
    "id": "string",
    "at": "timestamp",
    "user_agent": "string",
    "page": "string",
    "referrer": "string",
    "country": "string",
    "milliseconds": "int",
}
# The share of the raw bytes that may lie on the disk when the outage ends.
SHARE_MAX = 0.6

_chance = random.Random(7)


def _words(count):
    return "-".join(f"{_chance.getrandbits(24):x}" for _ in range(count))


AGENTS = [f"Mozilla/5.0 ({_words(20)}) AppleWebKit/537.36 ({_words(10)})" for _ in range(40)]
PAGES = [f"https://www.example.com/{_words(12)}" for _ in range(500)]


def make_record(name, number):
    """A click, as repetitive as clicks are: about 600 bytes."""
    row = {
        "id": name,
        "at": 1_700_000_000_000 + number * 37,
        "user_agent": AGENTS[number * 7 % len(AGENTS)],
        "page": PAGES[number * 31 % len(PAGES)],
        "referrer": PAGES[number * 17 % len(PAGES)],
        "country": ("DE", "FR", "JP", "US")[number % 4],
        "milliseconds": number * 7919 % 60_000,
    }
    return json.dumps(row).encode()


def test_an_outage_of_the_store_costs_neither_records_nor_raw_disk(
    s3, s3_lake, new_lakehose, tmp_path
):
    streams = {"clicks": kit.stream_of({"columns": COLUMNS}, size="1 MiB", interval="5 s")}
    server = new_lakehose(IDENTITIES, s3_lake, streams).start()

    with kit.Load(
        server, IDENTITIES, "clicks", make_record, bytes_per_second=BYTES_PER_SECOND
    ) as load:
        kit.wait_for(lambda: s3.state()["puts_done"] >= 2, 60, "deliveries before the outage")
        s3.set_faults(put_status=503)
        bytes_before, done_before = load.acked_bytes, s3.state()["puts_done"]
        pass_outage(server, load)
    bytes_during = load.acked_bytes - bytes_before

    def what_is_kept():
        """Bytes on the disk, once all that was taken has been converted."""
        status = server.status("clicks")
        is_converted = status["buffered_records"] == status["closed_batches"] == 0
        # Without the reserve for a full disk, and the segment file that waits for further records.
        on_disk = kit.du_bytes(server.data_dir / "streams")
        with contextlib.suppress(FileNotFoundError):
            spare = server.data_dir / "streams/clicks/journal/spare"
            on_disk -= spare.stat().st_blocks * 512
        return is_converted and on_disk < SHARE_MAX * bytes_during and on_disk

    # However long the machine takes for it: the journal makes room for what it becomes.
    kit.wait_for(what_is_kept, 120, f"less than {SHARE_MAX} of {bytes_during} bytes on the disk", every=0.5)
    status = server.status("clicks")
    assert status["open_plans"] > 0, status

    first = 1_000_000
    with kit.Load(
        server, IDENTITIES, "clicks", make_record, bytes_per_second=BYTES_PER_SECOND, first=first
    ) as more:
        s3.set_faults()
        # Nobody asks for a flush: it goes on by itself, while records keep coming.
        kit.wait_for(
            lambda: s3.state()["puts_done"] >= done_before + 5, 120, "deliveries after the outage"
        )
    for one in (load, more):
        assert not one.refused and not one.ambiguous, (len(one.refused), len(one.ambiguous))
    load.acked |= more.acked
    kit.wait_for(lambda: server.status("clicks")["pending"] == 0, 180, "all to be delivered", every=0.2)

    connection = s3_lake.duckdb()
    rows = connection.execute(f"SELECT id FROM {kit.rows_of(s3_lake, 'clicks')}").fetchall()
    kit.assert_exactly_once(load, [name for (name,) in rows])
    kit.assert_conserved(server.status("clicks"), len(load.acked))
    assert s3.state()["keys_rewritten_with_other_bytes"] == 0
    kit.assert_partitions_are_the_folders(
        s3_lake, "clicks", tmp_path / "catalog", "lakehose", "clicks"
    )


def pass_outage(server, load):
    """Lets the outage last, and sees that records are taken in each tenth of it."""
    began = time.monotonic()
    for tenth in range(1, 11):
        before = len(load.acked)
        end = began + OUTAGE_SECONDS * tenth / 10
        kit.wait_for(lambda: time.monotonic() >= end, OUTAGE_SECONDS, "time to pass", every=0.1)
        load.check()
        server.assert_alive()
        assert len(load.acked) > before, f"nothing was taken in tenth {tenth} of the outage"
    assert kit.http("GET", f"{server.admin}/ready")[0] == 200
