"""Glue: partitions are exactly the folders with objects, whatever the catalog goes through."""

import json
import time

import botocore.exceptions
import pytest
import yaml

import glue_kit
import kit

DATABASE, TABLE = "analytics", "clicks"
COLUMNS = {"id": "string", "number": "bigint", "place": "struct<lat:double,tags:array<string>>"}
KEYS = kit.PARTITION_KEYS
SCHEMA = {"catalog": "glue", "database": DATABASE, "table": TABLE}


def tenants(count):
    return [kit.Identity(f"t{number:02d}", ("clicks",)) for number in range(count)]


@pytest.fixture
def glue(running):
    server = glue_kit.Glue()
    running.append(server)
    return server


@pytest.fixture
def world(glue, s3_lake, new_lakehose):
    """Makes a Lakehose on the Glue catalog: `world(identities, schema)`."""

    def make(identities, schema=SCHEMA, name="lakehose", interval="1 s", **catalog):
        streams = {"clicks": kit.stream_of(schema, interval=interval)}
        catalogs = {"glue": glue.settings(**catalog)}
        server = new_lakehose(identities, s3_lake, streams, name, catalogs=catalogs)
        server.secrets |= glue_kit.SECRETS
        return server

    return make


def make_table(glue, lake, columns=COLUMNS):
    wanted = glue_kit.table_input(TABLE, columns, KEYS, f"{lake.url}/clicks/")
    glue.client().create_table(DatabaseName=DATABASE, TableInput=wanted)
    return wanted


@pytest.fixture
def table(glue, s3_lake):
    glue.client().create_database(DatabaseInput={"Name": DATABASE})
    return make_table(glue, s3_lake)


def send(server, identities, first, count, **more):
    """So many records of each identity."""
    for identity in identities:
        rows = [
            {"id": f"{identity.tenant}-{number}", "number": number, "place": {"lat": 0.5, "tags": ["a"]}, **more}
            for number in range(first, first + count)
        ]
        kit.send(server.firehose(identity), "clicks", [json.dumps(row).encode() for row in rows])


def assert_partitions_are_the_folders(glue, lake, descriptor):
    """Exactly the folders with objects, each with the table's descriptor and its own location."""
    found = glue.partitions(DATABASE, TABLE)
    locations = {partition["StorageDescriptor"]["Location"].rstrip("/") for partition in found.values()}
    assert locations == kit.data_folders(lake, "clicks")
    for values, partition in found.items():
        location = partition["StorageDescriptor"]["Location"]
        segments = dict(part.split("=", 1) for part in location.split("/") if "=" in part)
        assert values == tuple(segments[key] for key in KEYS), (values, location)
        rest = {**partition["StorageDescriptor"], "Location": None}
        wanted = {**descriptor, "Location": None}
        assert {name: rest.get(name) for name in wanted} == wanted
    return found


def registered(server):
    return server.status("clicks")["unregistered_partitions"] == 0


def row_count(lake):
    connection = lake.duckdb()
    return connection.execute(
        f"SELECT count(*), count(DISTINCT id) FROM {kit.rows_of(lake, 'clicks')}"
    ).fetchone()


def test_glue_lists_exactly_the_partitions_that_have_objects(glue, s3_lake, world, table):
    identities = tenants(40)
    server = world(identities).start()
    send(server, identities, 0, 625)
    # In the middle: some partitions are registered, some are planned, some records are buffered.
    kit.wait_for(lambda: glue.created, 60, "a partition")
    server.kill()
    server.start()
    send(server, identities, 625, 625)
    server.flush("clicks")
    assert row_count(s3_lake) == (50_000, 50_000)
    found = assert_partitions_are_the_folders(glue, s3_lake, table["StorageDescriptor"])
    assert len(found) >= 40
    assert set(glue.created.values()) == {1}, "a partition was made twice"
    kit.assert_conserved(server.status("clicks"), 50_000)

    assert server.terminate() == 0
    server.start()
    send(server, identities, 1250, 5)
    server.flush("clicks")
    assert_partitions_are_the_folders(glue, s3_lake, table["StorageDescriptor"])
    assert set(glue.created.values()) == {1}
    assert row_count(s3_lake) == (50_200, 50_200)


def test_the_gate_is_as_strict_as_aws(glue, table):
    entry = {"StorageDescriptor": table["StorageDescriptor"], "Values": ["a", "b", "c", "d"]}
    for code, entries in (
        ("ValidationException", [entry] * 101),
        ("InvalidInputException", [{**entry, "Values": ["a", "b", "c"]}]),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as error:
            glue.client().batch_create_partition(
                DatabaseName=DATABASE, TableName=TABLE, PartitionInputList=entries
            )
        assert error.value.response["Error"]["Code"] == code


def test_data_never_waits_for_glue(glue, s3_lake, world, table):
    # More than one call takes on.
    identities = tenants(120)
    server = world(identities).start()
    send(server, identities[:1], 0, 5)
    kit.wait_for(lambda: glue.created, 60, "the first partition")

    glue.is_down = True
    send(server, identities, 5, 10)
    before = glue.calls.total()
    kit.wait_for(lambda: server.status("clicks")["pending"] == 0, 60, "delivery without Glue")
    kit.wait_for(lambda: glue.calls.total() >= before + 6, 120, "several attempts")
    status = server.status("clicks")
    assert status["unregistered_partitions"] >= 119 and "register" in status["blocked"], status

    # A restart while it is away: the last good copy of the table is enough.
    server.kill()
    server.start()
    send(server, identities, 15, 10)
    kit.wait_for(lambda: server.status("clicks")["pending"] == 0, 60, "delivery after a restart")
    assert server.status("clicks")["unregistered_partitions"] >= 119

    # It comes back by and by: throttled, then with errors in good answers.
    glue.fail("BatchCreatePartition", 2)
    glue.fail("BatchCreatePartition", 1, "InternalServiceException", 500)
    glue.refuse_entry("t07", 1)
    glue.is_down = False
    kit.wait_for(lambda: registered(server), 120, "all to be registered")
    assert not glue.is_failing()
    assert_partitions_are_the_folders(glue, s3_lake, table["StorageDescriptor"])
    kit.wait_for(lambda: server.status("clicks")["blocked"] is None, 30, "peace")
    assert row_count(s3_lake) == (5 + 120 * 20, 5 + 120 * 20)


def test_a_widened_table_is_followed_by_new_files_and_old_partitions(glue, s3_lake, world, table):
    identities = tenants(9)
    server = world(identities).start()
    send(server, identities, 0, 5)
    server.flush("clicks")

    # Somebody else's partition of the same table, elsewhere, is not ours to change.
    foreign = {**table["StorageDescriptor"], "Location": "s3://other-bucket/clicks/"}
    glue.client().create_partition(
        DatabaseName=DATABASE,
        TableName=TABLE,
        PartitionInput={"Values": ["x", "2020", "01", "01"], "StorageDescriptor": foreign},
    )
    glue.fail("BatchUpdatePartition", 2)
    columns = [*table["StorageDescriptor"]["Columns"], {"Name": "extra", "Type": "double"}]
    wider = {**table, "StorageDescriptor": {**table["StorageDescriptor"], "Columns": columns}}
    glue.client().update_table(DatabaseName=DATABASE, TableInput=wider)

    def widened():
        found = glue.partitions(DATABASE, TABLE)
        ours = [p for values, p in found.items() if values[0] != "x"]
        return all(p["StorageDescriptor"]["Columns"] == columns for p in ours)

    kit.wait_for(widened, 60, "old partitions to have the new column", every=0.2)
    assert not glue.is_failing()
    others = glue.partitions(DATABASE, TABLE)[("x", "2020", "01", "01")]
    assert others["StorageDescriptor"]["Columns"] == table["StorageDescriptor"]["Columns"]

    send(server, identities, 5, 5, extra=2.5)
    server.flush("clicks")
    connection = s3_lake.duckdb()
    found = f"read_parquet({kit.literal(s3_lake.glob('clicks'))}, union_by_name = true)"
    assert connection.execute(f"SELECT count(*), sum(extra) FROM {found}").fetchone() == (90, 9 * 5 * 2.5)


def test_a_table_that_is_gone_holds_the_stream_until_it_is_made_again(glue, s3_lake, world, table):
    identities = tenants(9)
    server = world(identities).start()
    send(server, identities, 0, 5)
    server.flush("clicks")
    assert len(glue.partitions(DATABASE, TABLE)) >= 9

    glue.client().delete_table(DatabaseName=DATABASE, Name=TABLE)
    kit.wait_for(lambda: "not in the catalog" in (server.status("clicks")["blocked"] or ""), 60, "the alarm")
    send(server, identities[:3], 5, 5)
    kit.wait_for(lambda: server.status("clicks")["closed_batches"] == 3, 60, "batches to close")
    status = server.status("clicks")
    assert (status["pending"], status["delivered"]) == (15, 45), "held, and nothing is lost"
    assert kit.http("GET", f"{server.admin}/ready")[0] == 200

    # Also over a restart, by the copy.
    server.kill()
    server.start()
    kit.wait_for(lambda: "not in the catalog" in (server.status("clicks")["blocked"] or ""), 60, "the alarm")

    # The one that comes back has another column.
    make_table(glue, s3_lake, {**COLUMNS, "extra": "double"})
    kit.wait_for(lambda: server.status("clicks")["pending"] == 0, 60, "the stream to go on")
    server.flush("clicks")
    descriptor = glue.client().get_table(DatabaseName=DATABASE, Name=TABLE)["Table"]["StorageDescriptor"]
    kit.wait_for(lambda: len(glue.partitions(DATABASE, TABLE)) >= 9, 60, "all partitions, old and new")
    assert_partitions_are_the_folders(glue, s3_lake, descriptor)
    kit.wait_for(lambda: server.status("clicks")["blocked"] is None, 30, "peace")
    assert server.status("clicks")["delivered"] == 60


def test_a_missing_table_or_database_is_named_before_anything_starts(glue, s3_lake, world):
    server = world(tenants(1))
    for missing in ("analytics", "clicks"):
        for command in (["check", server.settings_file], ["serve", "--config", server.settings_file]):
            done = server.run(*command)
            assert done.returncode == 78, done
            assert f"table {DATABASE}.{TABLE} is not in the catalog" in done.stderr, done.stderr
            assert missing in done.stderr and "delivery_streams.clicks.schema" in done.stderr
        if missing == "analytics":
            glue.client().create_database(DatabaseInput={"Name": DATABASE})


def test_a_catalog_out_of_reach_is_another_exit_code_than_a_fault(glue, s3_lake, world, table):
    """After 78 the shipped unit would not start the service again."""
    server = world(tenants(1))
    glue.is_down = True
    for command in (["check", server.settings_file], ["serve", "--config", server.settings_file]):
        done = server.run(*command, timeout=120)
        assert done.returncode == 75 and f"table {DATABASE}.{TABLE}" in done.stderr, done
    glue.is_down = False
    server.start()
    glue.is_down = True
    done = server.run("reload", "--admin", server.admin)
    assert done.returncode == 0, "the last good table serves a reload, too"


def test_a_first_start_keeps_the_table_before_it_serves(glue, s3_lake, world, table):
    identities = tenants(1)
    server = world(identities).start()
    server.kill()
    glue.is_down = True
    server.start()
    send(server, identities, 0, 10)
    server.flush("clicks")
    assert row_count(s3_lake) == (10, 10)
    glue.is_down = False
    kit.wait_for(lambda: registered(server), 60, "the partition")


def test_a_stream_with_columns_of_its_own_starts_whatever_the_catalog_permits(glue, s3_lake, world):
    identities = tenants(1)
    schema = {"catalog": "glue", "database": DATABASE, "table": TABLE, "columns": COLUMNS}
    server = world(identities, schema)
    glue.fail("GetTable", 3, "AccessDeniedException")
    server.start()
    send(server, identities, 0, 5)
    kit.wait_for(lambda: server.status("clicks")["delivered"] == 5, 60, "delivery")
    kit.wait_for(lambda: registered(server) and glue.partitions(DATABASE, TABLE), 60, "the table")


def test_columns_of_the_stream_make_and_widen_the_table(glue, s3_lake, world):
    identities = tenants(2)
    schema = {"catalog": "glue", "database": DATABASE, "table": TABLE, "columns": COLUMNS}
    server = world(identities, schema, access_key=None, secret=None)
    # Without keys in the settings, those that the AWS tools would find.
    server.secrets |= {"AWS_ACCESS_KEY_ID": "CHAIN", "AWS_SECRET_ACCESS_KEY": "of-the-environment"}
    server.start()
    send(server, identities, 0, 5)
    server.flush("clicks")
    assert "CHAIN" in glue.access_keys
    made = glue.client().get_table(DatabaseName=DATABASE, Name=TABLE)["Table"]
    assert made["TableType"] == "EXTERNAL_TABLE" and made["Parameters"]["classification"] == "parquet"
    descriptor = made["StorageDescriptor"]
    assert descriptor["SerdeInfo"]["SerializationLibrary"] == glue_kit.SERDE
    assert descriptor["Location"] == f"{s3_lake.url}/clicks/"
    assert {column["Name"]: column["Type"] for column in descriptor["Columns"]} == COLUMNS
    assert [key["Name"] for key in made["PartitionKeys"]] == list(KEYS)
    assert_partitions_are_the_folders(glue, s3_lake, descriptor)
    server.terminate()

    wider = world(identities, {**schema, "columns": {**COLUMNS, "extra": "double"}}).start()
    columns = [*descriptor["Columns"], {"Name": "extra", "Type": "double"}]

    def widened():
        found = glue.partitions(DATABASE, TABLE).values()
        return all(partition["StorageDescriptor"]["Columns"] == columns for partition in found)

    kit.wait_for(widened, 60, "partitions to be widened")
    assert glue.client().get_table(DatabaseName=DATABASE, Name=TABLE)["Table"]["StorageDescriptor"]["Columns"] == columns
    # A table that somebody deletes is made again, with the partitions that have objects.
    glue.client().delete_table(DatabaseName=DATABASE, Name=TABLE)

    def again():
        with_table = glue.client().get_tables(DatabaseName=DATABASE)["TableList"]
        return with_table and len(glue.partitions(DATABASE, TABLE)) >= 2

    kit.wait_for(again, 60, "the table and its partitions")
    wider.terminate()

    other = world(identities, {**schema, "columns": {**COLUMNS, "number": "string"}})
    done = other.run("serve", "--config", other.settings_file)
    assert done.returncode == 78 and "its column 'number' is bigint" in done.stderr, done


def test_a_partition_that_lies_elsewhere_is_left_there_and_told(glue, s3_lake, world, table):
    identities = tenants(1)
    server = world(identities, interval="900 s").start()
    send(server, identities, 0, 1)
    server.flush("clicks")
    (values,) = glue.partitions(DATABASE, TABLE)
    elsewhere = {**table["StorageDescriptor"], "Location": "s3://elsewhere/"}
    glue.client().update_partition(
        DatabaseName=DATABASE,
        TableName=TABLE,
        PartitionValueList=list(values),
        PartitionInput={"Values": list(values), "StorageDescriptor": elsewhere},
    )
    server.terminate()
    server.start()
    send(server, identities, 1, 1)
    server.flush("clicks")
    found = glue.partitions(DATABASE, TABLE)[values]
    assert found["StorageDescriptor"]["Location"] == "s3://elsewhere/"
    metrics = kit.http("GET", f"{server.admin}/metrics")[1]
    assert 'lakehose_misplaced_partitions_total{stream="clicks"} 1' in metrics


def test_answers_that_leave_something_open_are_asked_again(glue, s3_lake, world, table):
    identities = tenants(3)
    server = world(identities, interval="900 s").start()
    glue.fail_nameless(2)
    send(server, identities, 0, 1)
    server.flush("clicks")
    kit.wait_for(lambda: registered(server), 60, "all to be registered")
    assert_partitions_are_the_folders(glue, s3_lake, table["StorageDescriptor"])
    assert len(glue.partitions(DATABASE, TABLE)) == 3
    server.terminate()

    # They are there already, and one of them lies elsewhere.
    for values in glue.partitions(DATABASE, TABLE):
        glue.client().update_partition(
            DatabaseName=DATABASE,
            TableName=TABLE,
            PartitionValueList=list(values),
            PartitionInput={
                "Values": list(values),
                "StorageDescriptor": {**table["StorageDescriptor"], "Location": "s3://elsewhere/"},
            },
        )
    server.start()
    glue.leave_unprocessed(2)
    send(server, identities, 1, 1)
    server.flush("clicks")
    kit.wait_for(lambda: registered(server), 60, "all to be registered")
    metrics = kit.http("GET", f"{server.admin}/metrics")[1]
    assert 'lakehose_misplaced_partitions_total{stream="clicks"} 3' in metrics


def test_partitions_that_waited_go_by_name_into_a_table_with_another_order(glue, s3_lake, world, table):
    identities = tenants(2)
    server = world(identities).start()
    glue.fail("BatchCreatePartition", 1000)
    send(server, identities, 0, 1)
    kit.wait_for(lambda: server.status("clicks")["unregistered_partitions"] == 2, 60, "partitions that wait")
    server.kill()
    order = ("day", "month", "tenant", "year")
    wanted = glue_kit.table_input(TABLE, COLUMNS, order, f"{s3_lake.url}/clicks/")
    glue.client().delete_table(DatabaseName=DATABASE, Name=TABLE)
    glue.client().create_table(DatabaseName=DATABASE, TableInput=wanted)
    glue.forgive()
    server.start()
    kit.wait_for(lambda: registered(server), 60, "all to be registered")
    found = glue.partitions(DATABASE, TABLE)
    assert len(found) == 2
    for values, partition in found.items():
        location = partition["StorageDescriptor"]["Location"]
        segments = dict(part.split("=", 1) for part in location.split("/") if "=" in part)
        assert values == tuple(segments[key] for key in order), (values, location)


def test_a_catalog_that_is_away_holds_up_neither_a_flush_nor_a_stop(glue, s3_lake, world, table):
    identities = tenants(2)
    server = world(identities, interval="900 s").start()
    glue.is_down = True
    send(server, identities, 0, 5)
    done = server.run("flush", "clicks", "--admin", server.admin)
    assert done.returncode == 0 and "wait for their catalog: 2" in done.stdout, done
    assert row_count(s3_lake) == (10, 10)
    started = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - started < 20, "the grace of 25 s was used up"
    assert "for the next start: 2 partitions to be registered" in server.log_text()
    glue.is_down = False
    server.start()
    kit.wait_for(lambda: registered(server), 60, "all to be registered")
    assert_partitions_are_the_folders(glue, s3_lake, table["StorageDescriptor"])


def test_partitions_that_wait_are_registered_when_their_catalog_is_not_in_the_file_any_more(
    glue, s3_lake, world, table
):
    identities = tenants(1)
    server = world(identities).start()
    glue.is_down = True
    send(server, identities, 0, 10)
    kit.wait_for(lambda: not registered(server), 60, "a partition that waits")
    settings = yaml.safe_load(server.settings_file.read_text())
    settings["catalogs"] = {"tables": {"type": "files", "path": str(server.data_dir.parent / "catalog")}}
    clicks = settings["delivery_streams"]["clicks"]
    clicks["schema"] = {"columns": dict(COLUMNS), "table": "others"}
    clicks["destination"] = {"store": "lake", "prefix": "others/day=!{timestamp:dd}/tenant=!{lakehose:tenant}/",
                             "error_prefix": "bad/tenant=!{lakehose:tenant}/!{firehose:error-output-type}/"}
    server.settings_file.write_text(yaml.safe_dump(settings))
    server.kill()
    server.start()
    assert not registered(server)
    # And once more by what was taken over.
    server.kill()
    server.start()
    glue.is_down = False
    kit.wait_for(lambda: registered(server), 90, "the partition")
    assert_partitions_are_the_folders(glue, s3_lake, table["StorageDescriptor"])


def test_the_region_of_the_catalog_is_shown(s3_lake, world, glue, table):
    (identity,) = tenants(1)
    elsewhere = glue.client("eu-central-1")
    elsewhere.create_database(DatabaseInput={"Name": DATABASE})
    elsewhere.create_table(DatabaseName=DATABASE, TableInput=table)
    server = world([identity], region="eu-central-1").start()
    shown = server.firehose(identity).describe_delivery_stream(DeliveryStreamName="clicks")
    (destination,) = shown["DeliveryStreamDescription"]["Destinations"]
    conversion = destination["ExtendedS3DestinationDescription"]["DataFormatConversionConfiguration"]
    assert conversion["SchemaConfiguration"]["Region"] == "eu-central-1"
