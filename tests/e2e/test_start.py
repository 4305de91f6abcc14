"""Starts: data directories that are refused, with what to do, and a start over what was left."""

import json
import os
import pathlib
import shutil
import tempfile

import pytest

import kit

ACME = kit.Identity("acme", ("clicks",))
STREAMS = {"clicks": kit.stream_of({"columns": {"id": "string"}})}
CONFIG_FAULT = 78


@pytest.fixture
def refused(new_lakehose, folder_lake):
    """Starts with a data directory, and gives what is said about its refusal."""

    def start(path, **replaced):
        server = new_lakehose([ACME], folder_lake, STREAMS, data_dir=str(path), **replaced)
        server.serve()
        assert server.wait() == CONFIG_FAULT, server.log_tail()
        said = server.log_tail()
        assert str(path) in said and "panicked" not in said, said
        checked = server.run("check", server.settings_file)
        assert checked.returncode == 0 and str(path) in checked.stderr, checked
        return said

    return start


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_with_strange_files_is_refused_and_left_alone(refused, tmp_path):
    folder = tmp_path / "somebody's"
    (folder / "photos").mkdir(parents=True)
    (folder / "thesis.txt").write_text("all of it")
    said = refused(folder)
    assert "not empty" in said and "thesis.txt" in said and "name an empty folder" in said, said
    assert contents(folder) == ["photos", "thesis.txt"]


def test_a_data_dir_that_another_process_has_is_refused_with_what_to_do(new_lakehose, folder_lake):
    first = new_lakehose([ACME], folder_lake, STREAMS).start()
    second = new_lakehose([ACME], folder_lake, STREAMS, name="second", data_dir=str(first.data_dir))
    second.serve()
    assert second.wait(60) == CONFIG_FAULT, second.log_tail()
    said = second.log_tail()
    assert f"data_dir {first.data_dir} is in use by another lakehose" in said, said
    assert "stop that one, or give this one another data_dir" in said and "panicked" not in said, said
    # The first one has not noticed.
    kit.send(first.firehose(ACME), "clicks", [b'{"id": "a"}'] * 10)
    assert first.terminate() == 0, first.log_tail()


def test_hidden_files_and_the_root_of_a_volume_are_no_strangers(new_lakehose, folder_lake, tmp_path):
    folder = tmp_path / "volume"
    (folder / "lost+found").mkdir(parents=True)
    (folder / ".gitkeep").touch()
    new_lakehose([ACME], folder_lake, STREAMS, data_dir=str(folder)).start()


def test_a_data_dir_without_its_identity_is_refused_until_it_is_back(refused, new_lakehose, folder_lake):
    server = new_lakehose([ACME], folder_lake, STREAMS).start()
    kit.send(server.firehose(ACME), "clicks", [b'{"id": "a"}'] * 10)
    server.kill()
    identity = server.data_dir / "identity.json"
    kept = identity.read_text()
    identity.unlink()
    said = refused(server.data_dir)
    assert "identity.json" in said and "restore the file" in said, said
    assert not identity.exists()
    identity.write_text(kept)
    server.start()
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), 10)


def test_a_file_is_no_data_dir(refused, tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert "name another data_dir" in refused(file)
    assert "name another data_dir" in refused(file / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT RUN: root may write everywhere: run as another user")
def test_a_folder_of_somebody_else_is_refused(refused, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    assert "chown" in refused(folder / "data")


@pytest.fixture
def in_memory():
    """A folder on tmpfs."""
    if kit.volume_of("/dev/shm") != "tmpfs" or not os.access("/dev/shm", os.W_OK):
        pytest.skip("NOT RUN: there is no tmpfs at /dev/shm to put a data directory on")
    folder = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def test_memory_is_refused_unless_it_is_allowed(refused, new_lakehose, folder_lake, in_memory):
    # Also where the folder is yet to be made, which it is not then.
    said = refused(in_memory / "new" / "data")
    assert "tmpfs" in said and "allow_unsafe_volume: true" in said, said
    assert contents(in_memory) == []

    server = new_lakehose(
        [ACME], folder_lake, STREAMS, data_dir=str(in_memory / "data"), allow_unsafe_volume=True
    )
    checked = server.run("check", server.settings_file)
    assert checked.returncode == 0 and "warning" not in checked.stderr, checked
    server.start()
    assert "tmpfs" in server.log_text() and "may be lost" in server.log_text(), server.log_tail()
    kit.send(server.firehose(ACME), "clicks", [b'{"id": "a"}'] * 10)
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), 10)


def test_a_demo_in_memory_says_so_and_runs(in_memory):
    done = kit.run("demo", "--dir", in_memory / "demo", "--records", "60", timeout=120)
    assert done.returncode == 0, done
    assert "lies on tmpfs" in done.stdout, done.stdout
    settings = in_memory / "demo" / "lakehose.yaml"
    assert "allow_unsafe_volume: true" in settings.read_text()


def test_a_start_over_many_segments_accepts_and_delivers_all_of_them(new_lakehose, folder_lake):
    # Small segments, by the budget.
    streams = {"clicks": kit.stream_of({"columns": {"id": "string", "text": "string"}}, size="64 MiB")}
    server = new_lakehose([ACME], folder_lake, streams, disk_budget="256 MiB").start()
    text, sent = "x" * 20_000, []
    for number in range(20):
        batch = [json.dumps({"id": f"{number}-{n}", "text": text}).encode() for n in range(100)]
        kit.send(server.firehose(ACME), "clicks", batch)
        sent += [json.loads(record)["id"] for record in batch]
    journal = server.data_dir / "streams" / "clicks" / "journal"
    assert len(list(journal.glob("*.seg"))) > 3, list(journal.iterdir())
    server.kill()
    server.start()
    kit.send(server.firehose(ACME), "clicks", [b'{"id": "after"}'])
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), len(sent) + 1)
    rows = folder_lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(folder_lake, 'clicks')} ORDER BY id")
    assert [name for (name,) in rows.fetchall()] == sorted([*sent, "after"])
