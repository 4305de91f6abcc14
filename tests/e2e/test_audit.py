"""`lakehose audit`: the store recounted against the books, and the alarm when counts do not add up."""

import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest

import kit
import verify_kit

ACME = kit.Identity("acme", ("clicks",))
GLOBEX = kit.Identity("globex", ("clicks",))
IDENTITIES = [ACME, GLOBEX]
COLUMNS = {"id": "string", "number": "bigint", "text": "string"}


def records(first, count):
    """Every fiftieth does not fit the table."""

    def record(number):
        document = {"id": f"r-{number}", "number": number, "text": f"text {number} " * 10}
        return json.dumps(document | ({"number": "none"} if number % 50 == 49 else {})).encode()

    return [record(number) for number in range(first, first + count)]


def stream(**more):
    settings = kit.stream_of({"columns": dict(COLUMNS)}, size="64 KiB", interval="900 s")
    return {"clicks": {**settings, **more}}


def audit(server, *arguments):
    done = kit.run("audit", "--config", server.settings_file, "--json", *arguments, secrets=server.secrets)
    assert "panicked" not in done.stderr, done.stderr
    return done.returncode, (json.loads(done.stdout) if done.stdout else done.stderr)


def one(server):
    code, found = audit(server)
    assert len(found) == 1 and found[0]["stream"] == "clicks", found
    return code, found[0]


def assert_agrees(server, expected=None):
    code, found = one(server)
    assert code == 0 and found["differences"] == [], found
    if expected is not None:
        assert {count["what"]: (count["in_store"], *count["in_books"]) for count in found["counts"]} == expected
    return found


def the_difference(server, kind):
    code, found = one(server)
    assert code == 1, found
    (difference,) = found["differences"]
    assert difference["kind"] == kind, found
    return difference


def data_keys(lake, prefix="clicks/"):
    return [key for key in lake.keys() if key.startswith(prefix)]


@pytest.fixture
def delivered(new_lakehose, folder_lake):
    """A stream of two tenants at rest, all of it delivered."""
    server = new_lakehose(IDENTITIES, folder_lake, stream()).start()
    for start in range(0, 2000, 100):
        identity = IDENTITIES[start // 100 % 2]
        kit.send(server.firehose(identity), "clicks", records(start, 100))
    server.flush("clicks")
    server.kill()
    assert len(data_keys(folder_lake)) > 4
    return server


AGREED = {"rows of records": (1960, 1960, 1960), "failures": (40, 40, 40)}


def test_a_store_with_all_that_was_delivered_agrees_and_nothing_is_written(delivered, folder_lake):
    content = lambda: {path: path.read_bytes() for path in delivered.data_dir.rglob("*") if path.is_file()}
    before, keys = content(), folder_lake.keys()
    assert_agrees(delivered, AGREED)
    assert content() == before and folder_lake.keys() == keys
    delivered.start()
    assert_agrees(delivered, AGREED)
    text = delivered.run("audit", "--config", delivered.settings_file, "--stream", "clicks").stdout
    assert "the store has what the books say" in text, text
    assert delivered.terminate() == 0
    # Without a single segment left, too.
    assert_agrees(delivered, AGREED)


def test_a_deleted_object_is_a_gap_and_its_records_are_named(delivered, folder_lake):
    key = data_keys(folder_lake)[3]
    path = folder_lake.folder / key
    said = pyarrow.parquet.read_metadata(path).metadata
    path.unlink()
    gap = the_difference(delivered, "gap")
    assert gap["positions"] == said[b"lakehose.positions"].decode(), (gap, said)
    assert gap["text"].startswith(said[b"lakehose.records"].decode() + " records"), gap


def test_a_copied_object_is_an_overlap(delivered, folder_lake):
    path = folder_lake.folder / data_keys(folder_lake)[0]
    shutil.copy(path, path.with_name("part-0000.parquet"))
    overlap = the_difference(delivered, "overlap")
    assert overlap["positions"] == pyarrow.parquet.read_metadata(path).metadata[b"lakehose.positions"].decode()
    assert overlap["key"].rpartition("/")[0] == data_keys(folder_lake)[0].rpartition("/")[0], overlap


def test_what_the_service_did_not_write_is_a_stranger(delivered, folder_lake):
    folder = (folder_lake.folder / data_keys(folder_lake)[0]).parent
    foreign = pyarrow.table({"id": ["x"], "number": [1], "text": ["y"]})
    strangers = {"part-0000.parquet", "torn.parquet", "_SUCCESS"}
    pyarrow.parquet.write_table(foreign, folder / "part-0000.parquet")
    (folder / "torn.parquet").write_bytes(b"PAR1 and no more")
    (folder / "_SUCCESS").write_bytes(b"")
    code, found = one(delivered)
    assert code == 1
    assert {difference["kind"] for difference in found["differences"]} == {"stranger"}, found
    assert {each["key"].rpartition("/")[2] for each in found["differences"]} == strangers


def test_a_file_with_other_rows_than_its_footer_says_is_told(delivered, folder_lake):
    path = folder_lake.folder / data_keys(folder_lake)[0]
    # The footer's words stay; one row goes.
    table = pyarrow.parquet.ParquetFile(path).read()
    said = pyarrow.parquet.read_metadata(path).metadata
    kept = {key: value for key, value in said.items() if key.startswith(b"lakehose.")}
    pyarrow.parquet.write_table(table.slice(1).replace_schema_metadata(kept), path)
    difference = the_difference(delivered, "rows")
    assert difference["key"] == data_keys(folder_lake)[0]


def test_error_objects_are_counted_by_their_lines(delivered, folder_lake):
    key = data_keys(folder_lake, "errors/")[0]
    path = folder_lake.folder / key
    lines = path.read_bytes()
    shutil.copy(path, path.with_name(path.name.replace("clicks-1-20", "clicks-1-19")))
    code, found = one(delivered)
    assert code == 1
    assert {each["kind"] for each in found["differences"]} == {"overlap", "surplus"}, found
    path.with_name(path.name.replace("clicks-1-20", "clicks-1-19")).unlink()
    path.unlink()
    gap = the_difference(delivered, "gap")
    assert gap["text"].startswith(f"failures: {lines.count(b'{' + bytes([34]) + b'attemptsMade')} "), gap


def test_another_instance_is_counted_apart_and_another_directory_is_noticed(delivered, new_lakehose, folder_lake):
    other = new_lakehose(IDENTITIES, folder_lake, stream(), "other")
    shutil.rmtree(delivered.data_dir)  # Both have the same settings: the new one begins anew.
    other.start()
    kit.send(other.firehose(ACME), "clicks", records(0, 300))
    other.flush("clicks")
    found = assert_agrees(other, {"rows of records": (294, 294, 294), "failures": (6, 6, 6)})
    assert found["other_instances"] > 4, found


def test_an_older_copy_of_the_directory_does_not_know_what_is_in_the_store(delivered, folder_lake, tmp_path):
    verify_kit.copy(delivered.data_dir, tmp_path / "older")
    delivered.start()
    kit.send(delivered.firehose(ACME), "clicks", records(2000, 100))
    delivered.flush("clicks")
    delivered.kill()
    assert_agrees(delivered)
    shutil.rmtree(delivered.data_dir)
    shutil.move(tmp_path / "older", delivered.data_dir)
    code, found = one(delivered)
    assert code == 1
    kinds = {difference["kind"]: difference for difference in found["differences"]}
    assert set(kinds) == {"unknown", "surplus"}, found
    assert kinds["unknown"]["text"].startswith("98 records"), found


def test_a_store_is_recounted_while_records_go_on_coming(s3, s3_lake, new_lakehose):
    hooks = [{"filter": ".number % 10 != 7"}]
    backup = {"store": "lake", "prefix": "raw/tenant=!{lakehose:tenant}/", "compression": "gzip",
              "buffering": {"size": "64 KiB", "interval": "900 s"}}
    server = new_lakehose(IDENTITIES, s3_lake, stream(transform=hooks, backup=backup)).start()
    s3.set_faults(put_delay_ms=50)
    make = lambda _, number: records(number, 1)[0]
    with kit.Load(server, IDENTITIES, "clicks", make, bytes_per_second=400_000) as load:
        kit.wait_for(lambda: len(load.acked) > 1000, 60, "load")
        for _ in range(3):
            load.check()
            assert_agrees(server)
    s3.set_faults()
    server.flush("clicks")
    found = assert_agrees(server)
    status = server.status("clicks")
    counts = {count["what"]: count["in_store"] for count in found["counts"]}
    assert counts == {"rows of hooks' parts": status["delivered"], "failures": status["failed"],
                      "backup": status["backup"]["delivered"]}, found
    assert status["dropped"] > 0 and status["difference"] == 0 and status["degraded"] is None

    raw = [key for key in s3_lake.keys() if key.startswith("raw/")]
    s3.client().delete_object(Bucket=kit.BUCKET, Key=f"{s3_lake.PATH}/{raw[0]}")
    assert the_difference(server, "gap")["text"].startswith("backup: "), found


def test_a_store_that_is_away_and_a_stream_that_is_not_there_are_no_verdict(s3, s3_lake, new_lakehose):
    server = new_lakehose([ACME], s3_lake, stream())
    assert_agrees(server)  # It has never run.
    server.start()
    code, text = audit(server, "--stream", "other")
    assert code == 2 and "other" in text
    s3.kill()
    code, text = audit(server)
    assert code == 2 and "could not list" in text, text


# --- the equation ------------------------------------------------------------------------------


def test_counts_that_do_not_add_up_are_told_everywhere_until_they_do(delivered, folder_lake):
    assert delivered.start().terminate() == 0
    newest = verify_kit.Stream(delivered.data_dir)
    count = verify_kit.checkpoint_text(newest.checkpoints()[-1])["delivered"]
    assert count == 1960
    for path in newest.checkpoints():
        verify_kit.rewrite_checkpoint(path, delivered=count - 7)
    delivered.start()
    status = delivered.status("clicks")
    assert status["difference"] == 7 and "the difference is 7" in status["degraded"], status
    code, text = kit.http("GET", f"{delivered.admin}/health")
    assert code == 200 and text.startswith("degraded\nstream clicks: "), text
    # A restart would not mend it, and records are taken all the same.
    assert kit.http("GET", f"{delivered.admin}/ready")[0] == 200
    metrics = kit.http("GET", f"{delivered.admin}/metrics")[1]
    assert 'lakehose_conservation_delta{stream="clicks"} 7' in metrics, metrics
    assert 'lakehose_degraded{stream="clicks"} 1' in metrics, metrics
    assert "DEGRADED" in delivered.run("status", "--admin", delivered.admin).stdout
    kit.wait_for(lambda: "do not add up" in delivered.log_text(), 30, "an error in the log")
    assert "ERROR" in next(line for line in delivered.log_text().splitlines() if "do not add up" in line)
    surplus = the_difference(delivered, "surplus")
    assert surplus["text"].startswith("7 records"), surplus
    assert delivered.terminate() == 0
    done = kit.run("verify", delivered.data_dir)
    assert done.returncode == 1 and "unbalanced checkpoint" in done.stdout, done.stdout

    for path in newest.checkpoints():
        verify_kit.rewrite_checkpoint(path, delivered=count)
    delivered.start()
    assert kit.http("GET", f"{delivered.admin}/health")[1] == "ok\n"
    status = delivered.status("clicks")
    assert status["difference"] == 0 and status["degraded"] is None, status
