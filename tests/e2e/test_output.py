"""Commands whose output nobody takes end as other tools do: no panic, and a word only where it helps."""

import os
import subprocess

import pytest

import kit

BROKEN_PIPE = 141  # what shells make of SIGPIPE
SAMPLE = "".join('{"id": %d, "name": "n-%d"}\n' % (each, each) for each in range(5000))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sample.ndjson").write_text(SAMPLE)
    proposed = kit.run("infer", "--stream", "s", tmp_path / "sample.ndjson")
    assert proposed.returncode == 0, proposed
    (tmp_path / "lakehose.yaml").write_text(proposed.stdout)
    return tmp_path


COMMANDS = [
    ["infer", "sample.ndjson"],
    ["schema"],
    ["check", "lakehose.yaml"],
    ["preview", "--config", "lakehose.yaml", "--records", "5000", "sample.ndjson"],
    ["table", "ddl", "--config", "lakehose.yaml", "--stream", "s"],
    ["demo", "--records", "1000"],
]


def run(folder, command, stdout, stderr=subprocess.PIPE):
    return subprocess.run(
        [kit.LAKEHOSE, *command], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True,
        timeout=120, cwd=folder, env=kit.plain_environment(), check=False,
    )


def closed_pipe():
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_reader_that_goes_away_ends_the_command_quietly(folder, command):
    pipe = closed_pipe()
    done = run(folder, command, pipe)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, ""), done


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_full_disk_is_told_in_one_line(folder, command):
    with open("/dev/full", "w") as full:
        done = run(folder, command, full)
    assert done.returncode == 1, done
    [line] = done.stderr.splitlines()
    assert line.startswith("could not write to the standard output: No space left on device"), done


def test_faults_that_nobody_reads_are_still_told_by_the_exit_code(folder):
    (folder / "lakehose.yaml").write_text("nothing: here\n")
    pipe = closed_pipe()
    done = run(folder, ["check", "lakehose.yaml"], subprocess.DEVNULL, pipe)
    os.close(pipe)
    assert done.returncode == 78, done


def test_a_service_whose_log_nobody_reads_serves_on(new_lakehose, folder_lake):
    identity = kit.Identity("acme", ("clicks",))
    streams = {"clicks": kit.stream_of({"columns": {"id": "bigint"}})}
    server = new_lakehose([identity], folder_lake, streams)
    read, write = os.pipe()
    os.close(read)
    arguments = [kit.LAKEHOSE, "serve", "--config", server.settings_file]
    server.child = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=write,
        env=kit.plain_environment(**server.secrets), cwd=server.settings_file.parent,
    )
    os.close(write)
    kit.wait_for(server.addresses_file.exists, 60, "the addresses")
    server.assert_alive()
    assert server.terminate() == 0
