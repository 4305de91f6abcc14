"""README's way from a folder of JSON lines to an answer works, block by block as it stands there."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import duckdb
import kit

README = (kit.REPOSITORY / "README.md").read_text()
SECTION = re.search(r"^## Your own data\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)[1]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
MARK = "--- block"
# The addresses of a service that is not told any.
PORTS = (4573, 9573)


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_blocks(folder):
    """Pastes the blocks into one shell, as a reader would, and ends what it left running."""
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Fails here, and says so, when another Lakehose runs on this machine.
            probe.bind(("127.0.0.1", port))
    script = "".join(f"echo '{MARK}'\n{block}\n" for block in BLOCKS)
    programs = [str(kit.LAKEHOSE.parent), str(pathlib.Path(sys.executable).parent)]
    environment = {**os.environ, "PATH": ":".join([*programs, os.environ["PATH"]])}
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "out").open("wb"),
        stderr=(folder / "err").open("wb"),
        start_new_session=True,
    )
    try:
        code = shell.wait(timeout=120)
    finally:
        # The service is the shell's child and outlives it.
        try:
            os.killpg(shell.pid, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while any(map(answers, PORTS)) and time.monotonic() < deadline:
                time.sleep(0.05)
        except ProcessLookupError:
            pass
    errors = (folder / "err").read_text()
    assert code == 0, errors[-3000:]
    return (folder / "out").read_text().split(f"{MARK}\n")[1:], errors


def test_a_reader_gets_from_json_lines_to_an_answer(tmp_path):
    outputs, errors = run_blocks(tmp_path)
    assert len(outputs) == len(BLOCKS) == 7
    _, proposed, previewed, _, delivered, answer, completed = outputs
    for line in (
        "at: timestamp",
        "country: string",
        "zip: string  # looks like a number, but has leading zeros",
        "price: decimal(12,2)  # money by its name, so exact",
        "tags: array<string>",
        "Few values, so cheap to filter by: country (3 values)",
    ):
        assert line in proposed, proposed
    assert "checked: all 2,000 objects convert" in errors
    assert "no faults" in previewed and "(5 rows)" in previewed
    assert "delivered 5, failed 0, dropped 0" in previewed
    assert "accepted 2,000 = delivered 2,000 + failed 0" in delivered
    assert "no faults" in completed

    sent = [
        json.loads(line)
        for file in (tmp_path / "events").iterdir()
        for line in file.read_text().splitlines()
    ]
    lake = tmp_path / "lakehose/lake/events/**/*.parquet"
    found = duckdb.sql(f"SELECT event_id, zip, len(tags) FROM read_parquet('{lake}')").fetchall()
    assert sorted(found) == sorted((e["event_id"], e["zip"], len(e["tags"])) for e in sent)
    for country in "de", "fr", "us":
        count = sum(event["country"] == country for event in sent)
        assert re.search(rf"{country} +│ +{count} ", answer), answer
