"""Stops: what is delivered, what is left, what is said of it, and that a second signal ends it at once."""

import json
import re
import shutil
import signal
import socket
import subprocess

import pytest
import yaml

import glue_kit
import kit

ACME = kit.Identity("acme", ("clicks",))
COLUMNS = {"id": "string"}
# Longer than any test: who ends earlier has not waited for it.
NEVER = "3600 s"
DISK_FAULT = 74
# As long as the file is there, no sync of a journal succeeds.
BROKEN_SYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fdatasync(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (strstr(path, "/journal/") && access(getenv("BROKEN_SYNC"), F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


def records(count, name="r"):
    return [json.dumps({"id": f"{name}{number}"}).encode() for number in range(count)]


def settings(deadline):
    return {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "shutdown_deadline": deadline}


def found(lake):
    rows = lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(lake, 'clicks')} ORDER BY id")
    return [name for (name,) in rows.fetchall()]


def ids(*sent):
    return sorted(json.loads(record)["id"] for records in sent for record in records)


LEFT = re.compile(
    r"stopped; left in (?P<folder>\S+) for the next start: "
    r"(?:(?P<records>[\d,]+) records? to be delivered, )?"
    r"(?:(?P<backup>[\d,]+) records? to be backed up, )?(?:(?P<plans>[\d,]+) plans?, )?"
    r"(?:(?P<partitions>[\d,]+) partitions? to be registered, )?(?P<bytes>[\d,]+) bytes in all"
)


def left(server):
    """The figures of the last line that says what a stop has left."""
    lines = list(LEFT.finditer(server.log_text()))
    assert lines, server.log_tail()
    groups = lines[-1].groupdict()
    assert groups.pop("folder") == str(server.data_dir)
    return {name: int((text or "0").replace(",", "")) for name, text in groups.items()}


def bytes_on_disk(server):
    """Of logs and outboxes, as their files have it."""
    streams = server.data_dir / "streams"
    files = [*streams.rglob("journal/*"), *streams.rglob("outbox/*")]
    return sum(file.stat().st_size for file in files)


def assert_is_there(server, told):
    """What was told is what the next start finds; `server` runs, and its store takes nothing yet."""
    status = server.status("clicks")
    assert status["pending"] == told["records"], (status, told)
    assert status["open_plans"] >= told["plans"] and told["records"] > 0, (status, told)


def test_a_stop_tells_what_it_could_not_deliver_and_the_next_start_delivers_it(s3, s3_lake, new_lakehose):
    stream = kit.stream_of({"columns": COLUMNS})
    server = new_lakehose([ACME], s3_lake, {"clicks": stream}, server=settings("2 s")).start()
    first, second = records(3_000), records(700, "later")
    kit.send(server.firehose(ACME), "clicks", first)
    s3.set_faults(is_silent=True)
    assert server.terminate() == 0, server.log_tail()
    told = left(server)
    assert told["records"] == len(first) and told["plans"] == 1 and told["backup"] == 0
    assert told["bytes"] == bytes_on_disk(server)

    server.start()
    assert_is_there(server, told)
    kit.send(server.firehose(ACME), "clicks", second)
    assert server.terminate() == 0, server.log_tail()
    told = left(server)
    assert told["records"] == len(first) + len(second) and told["plans"] == 2
    assert told["bytes"] == bytes_on_disk(server)

    s3.set_faults()
    server.start()
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), len(first) + len(second))
    assert found(s3_lake) == ids(first, second)
    assert server.terminate() == 0
    assert "stopped; everything is delivered" in server.log_tail(3)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_stop_at_once_with_nothing_lost(second, s3, s3_lake, new_lakehose):
    stream = kit.stream_of({"columns": COLUMNS})
    server = new_lakehose([ACME], s3_lake, {"clicks": stream}, server=settings(NEVER)).start()
    sent = records(2_000)
    kit.send(server.firehose(ACME), "clicks", sent)
    s3.set_faults(is_silent=True)
    server.child.send_signal(signal.SIGTERM)
    # It waits for the store, and says so to operators; producers are gone.
    kit.wait_for(lambda: server.status("clicks")["open_plans"] == 1, 60, "a plan of what is buffered")
    code, _text = kit.http("GET", f"{server.admin}/ready")
    assert code == 503
    assert not json.loads(kit.http("GET", f"{server.admin}/status")[1])["accepting"]
    with pytest.raises(OSError):
        kit.http("POST", server.endpoint, b"{}")
    server.child.send_signal(second)
    assert server.wait(60) == 0, server.log_tail()
    told = left(server)
    assert told["records"] == len(sent) and told["plans"] == 1
    assert told["bytes"] == bytes_on_disk(server)

    server.start()
    assert_is_there(server, told)
    s3.set_faults()
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), len(sent))
    assert found(s3_lake) == ids(sent)


def test_a_hook_that_never_answers_holds_up_no_second_signal(s3, s3_lake, new_lakehose):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = {"http": {"url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "timeout": "300 s"}}
        backup = {"store": "lake", "prefix": "raw/tenant=!{lakehose:tenant}/"}
        stream = kit.stream_of({"columns": COLUMNS}) | {"transform": [hook], "backup": backup}
        server = new_lakehose([ACME], s3_lake, {"clicks": stream}, server=settings(NEVER)).start()
        sent = records(1_200)
        kit.send(server.firehose(ACME), "clicks", sent)
        s3.set_faults(is_silent=True)
        server.child.send_signal(signal.SIGTERM)
        silent.settimeout(60)
        connection, _ = silent.accept()
        backup_is_planned = lambda: server.status("clicks")["backup"]["open_plans"] == 1
        kit.wait_for(backup_is_planned, 60, "a plan of the backup")
        server.child.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, server.log_tail()
        connection.close()
    told = left(server)
    assert told["records"] == told["backup"] == len(sent) and told["plans"] == 1
    assert told["bytes"] == bytes_on_disk(server)

    # The next start asks another hook, and everything comes out once.
    s3.set_faults()
    text = server.settings_file.read_text()
    server.settings_file.write_text(re.sub(r"- http:\n\s+url:.*\n\s+timeout:.*\n", "- jq: .\n", text))
    server.start()
    server.flush("clicks")
    status = server.status("clicks")
    kit.assert_conserved(status, len(sent))
    assert status["backup"]["delivered"] == len(sent)
    assert found(s3_lake) == ids(sent)


def test_two_signals_in_a_row_leave_what_was_never_planned(folder_lake, new_lakehose):
    stream = kit.stream_of({"columns": COLUMNS})
    server = new_lakehose([ACME], folder_lake, {"clicks": stream}, server=settings(NEVER)).start()
    sent = records(500)
    kit.send(server.firehose(ACME), "clicks", sent)
    server.child.send_signal(signal.SIGINT)
    server.child.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0, server.log_tail()
    server.start()
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), len(sent))
    assert found(folder_lake) == ids(sent)


def test_a_reload_under_way_takes_nothing_of_the_deadline(folder_lake, new_lakehose):
    """A catalog that never answers holds the reload up, and the records are delivered all the same."""
    stream = kit.stream_of({"catalog": "tables", "columns": COLUMNS})
    server = new_lakehose([ACME], folder_lake, {"clicks": stream}, server=settings("30 s")).start()
    sent = records(500)
    kit.send(server.firehose(ACME), "clicks", sent)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = yaml.safe_load(server.settings_file.read_text())
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        text["catalogs"]["glue"] = {"type": "glue", "region": kit.REGION, "endpoint": endpoint,
                                    "access_key": glue_kit.ACCESS_KEY, "secret": "${env:LAKE_SECRET}"}
        text["delivery_streams"]["orders"] = kit.stream_of({"catalog": "glue", "database": "db", "table": "t"})
        server.settings_file.write_text(yaml.safe_dump(text))
        server.child.send_signal(signal.SIGHUP)
        silent.settimeout(60)
        connection, _ = silent.accept()
        assert server.terminate(120) == 0, server.log_tail()
        connection.close()
    assert "stopped; everything is delivered" in server.log_tail(3), server.log_tail()
    assert "waiting for tasks to end late=[\"reload\"]" not in server.log_text()
    assert found(folder_lake) == ids(sent)


def test_a_disk_that_fails_during_a_stop_is_told_by_the_exit_code(s3, s3_lake, new_lakehose, tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc)")
    source, library, broken = tmp_path / "sync.c", tmp_path / "sync.so", tmp_path / "broken"
    source.write_text(BROKEN_SYNC)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    stream = kit.stream_of({"columns": COLUMNS})
    server = new_lakehose([ACME], s3_lake, {"clicks": stream}, server=settings(NEVER))
    plain = dict(server.secrets)
    server.secrets |= {"LD_PRELOAD": str(library), "BROKEN_SYNC": str(broken)}
    server.start()
    sent = records(500)
    kit.send(server.firehose(ACME), "clicks", sent)
    s3.set_faults(put_status=503)
    server.child.send_signal(signal.SIGTERM)
    kit.wait_for(lambda: server.status("clicks")["open_plans"] == 1, 60, "a plan of what is buffered")
    broken.touch()
    s3.set_faults()
    assert server.wait(60) == DISK_FAULT, server.log_tail()
    assert "stopped" not in server.log_tail(3) and "start again to recover" in server.log_tail(3)

    server.secrets = plain
    server.start()
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), len(sent))
    assert found(s3_lake) == ids(sent)
