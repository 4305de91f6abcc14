"""The kit itself: a check that cannot fail proves nothing."""

import base64
import json
import threading

import botocore.exceptions
import pyarrow
import pyarrow.parquet
import pytest

import kit

FOLDER = "clicks/tenant=acme/year=2026/month=11/day=20"
IDENTITY = kit.Identity("acme", ("clicks",))


def put(lake_client, key, body):
    return lake_client.put_object(Bucket=kit.BUCKET, Key=key, Body=body)


def error_of(call, *arguments, **named):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*arguments, **named)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def write_parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def test_s3_server_checks_signatures_and_buckets(s3):
    put(s3.client(), "a/key=1/x", b"bytes")
    assert s3.client().get_object(Bucket=kit.BUCKET, Key="a/key=1/x")["Body"].read() == b"bytes"
    assert error_of(put, s3.client(secret="another"), "x", b"") == (403, "SignatureDoesNotMatch")
    missing = error_of(s3.client().put_object, Bucket="no-such-bucket", Key="x", Body=b"")
    assert missing == (404, "NoSuchBucket")
    s3.client().create_bucket(Bucket="made-by-client")
    s3.client().put_object(Bucket="made-by-client", Key="x", Body=b"")


def test_s3_server_fails_puts_as_ordered_and_counts_them(s3):
    client = s3.client()
    s3.set_faults(put_status=503)
    assert error_of(put, client, "refused", b"") == (503, "SlowDown")
    assert error_of(client.get_object, Bucket=kit.BUCKET, Key="refused") == (404, "NoSuchKey")
    s3.set_faults(put_lost_answer_every=1)
    assert error_of(put, client, "lost", b"one") == (500, "InternalError")
    s3.set_faults()
    assert client.get_object(Bucket=kit.BUCKET, Key="lost")["Body"].read() == b"one"
    put(client, "lost", b"one")
    expected = {"puts_in_flight": 0, "puts_done": 2, "puts_failed": 1}
    expected["keys_rewritten_with_other_bytes"] = 0
    assert {name: s3.state()[name] for name in expected} == expected
    put(client, "lost", b"two")
    assert s3.state()["keys_rewritten_with_other_bytes"] == 1


def test_s3_server_carries_out_a_slow_put(s3):
    s3.set_faults(put_delay_ms=300)
    thread = threading.Thread(target=put, args=(s3.client(), "slow", b"late"))
    thread.start()
    kit.wait_for(lambda: s3.state()["puts_in_flight"] == 1, 10, "the put to be under way")
    assert s3.state()["puts_done"] == 0
    thread.join(10)
    assert s3.state()["puts_done"] == 1 and s3.state()["puts_in_flight"] == 0


@pytest.mark.parametrize("lake_name", ["folder_lake", "s3_lake"])
def test_reading_a_lake_finds_rows_folders_and_failures(lake_name, request, tmp_path):
    lake = request.getfixturevalue(lake_name)
    write_parquet(tmp_path / "one.parquet", id=["a", "b"], at=[1, 2])
    line = {"rawData": base64.b64encode(b"\xffraw").decode()}
    objects = {
        f"{FOLDER}/one.parquet": (tmp_path / "one.parquet").read_bytes(),
        f"errors/{FOLDER}/one": json.dumps(line).encode() + b"\n",
    }
    for key, body in objects.items():
        if lake_name == "s3_lake":
            put(lake.server.client(), f"{lake.PATH}/{key}", body)
        else:
            (lake.folder / key).parent.mkdir(parents=True)
            (lake.folder / key).write_bytes(body)
    assert lake.keys() == sorted(objects)
    assert [failure.raw for failure in kit.failures(lake)] == [b"\xffraw"]
    assert kit.data_folders(lake, "clicks") == {f"{lake.url}/{FOLDER}"}
    rows = lake.duckdb().execute(f'SELECT id, tenant, month FROM {kit.rows_of(lake, "clicks")} ORDER BY id')
    assert rows.fetchall() == [("a", "acme", "11"), ("b", "acme", "11")]


def test_partitions_must_be_the_folders(folder_lake, tmp_path):
    write_parquet(folder_lake.folder / FOLDER / "x.parquet", id=[1])
    file = tmp_path / "catalog" / "db" / "clicks.partitions.json"
    file.parent.mkdir(parents=True)

    def check(values, folder):
        entry = {"Values": values, "Location": f"{folder_lake.url}/{folder}/"}
        file.write_text(json.dumps({"partitions": [entry]}))
        kit.assert_partitions_are_the_folders(
            folder_lake, "clicks", tmp_path / "catalog", "db", "clicks"
        )

    check(["acme", "2026", "11", "20"], FOLDER)
    for values, folder in (
        (["acme", "2026", "20", "11"], FOLDER),
        (["acme", "2026", "11", "21"], FOLDER.replace("day=20", "day=21")),
    ):
        with pytest.raises(AssertionError):
            check(values, folder)


def test_difference_sees_lost_changed_and_doubled_rows(folder_lake):
    connection = folder_lake.duckdb()
    connection.execute("CREATE TABLE sent AS SELECT i AS id, [i, NULL] AS list FROM range(3) r(i)")
    connection.execute("CREATE TABLE same AS FROM sent")
    connection.execute("CREATE TABLE lost AS FROM sent WHERE id > 0")
    connection.execute("CREATE TABLE doubled AS FROM sent UNION ALL FROM lost")
    connection.execute("CREATE TABLE changed AS SELECT id, [id, 1] AS list FROM sent")
    found = {
        name: kit.difference(connection, "sent", name, ["id", "list"])
        for name in ("same", "lost", "doubled", "changed")
    }
    assert found["same"] == ([], [])
    assert found["lost"] == ([(0, [0, None])], [])
    assert len(found["doubled"][1]) == 2
    assert len(found["changed"][0]) == len(found["changed"][1]) == 3


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (["a", "b", "maybe"], None),
        (["a", "b", "b"], "more than once"),
        (["a"], "lost"),
        (["a", "b", "no"], "refused"),
        (["a", "b", "stranger"], "nobody sent"),
    ],
)
def test_exactly_once_means_each_acknowledged_record_once(found, complaint):
    load = kit.Load(None, [IDENTITY], "clicks", None)
    load.acked, load.refused, load.ambiguous = {"a", "b"}, {"no"}, {"maybe", "perhaps"}
    if complaint is None:
        kit.assert_exactly_once(load, found)
    else:
        with pytest.raises(AssertionError, match=complaint):
            kit.assert_exactly_once(load, found)
