"""`partitions repair` mends a catalog by the store, `table ddl` prints what engines understand."""

import json
import shutil

import pytest
import sqlglot
from sqlglot import expressions

import glue_kit
import kit

DATABASE, TABLE = "analytics", "clicks"
COLUMNS = {"id": "string", "price": "decimal(18,4)", "place": "struct<lat:double,tags:array<string>>"}
TENANTS = [kit.Identity(f"t{number:02d}", ("clicks",)) for number in range(9)]


def send(server):
    for identity in TENANTS:
        rows = [json.dumps({"id": f"{identity.tenant}-{n}", "price": 1.5}).encode() for n in range(3)]
        kit.send(server.firehose(identity), "clicks", rows)
    server.flush("clicks")


def repair(server, *arguments):
    command = ["partitions", "repair", "--config", server.settings_file, "--stream", "clicks"]
    done = server.run(*command, *arguments)
    assert done.returncode == 0, done
    return done.stdout


def test_repair_registers_in_glue_what_has_objects_and_removes_nothing(running, s3_lake, new_lakehose):
    glue = glue_kit.Glue()
    running.append(glue)
    client = glue.client()
    client.create_database(DatabaseInput={"Name": DATABASE})
    wanted = glue_kit.table_input(TABLE, COLUMNS, kit.PARTITION_KEYS, f"{s3_lake.url}/clicks/")
    client.create_table(DatabaseName=DATABASE, TableInput=wanted)
    schema = {"catalog": "glue", "database": DATABASE, "table": TABLE}
    streams = {"clicks": kit.stream_of(schema)}
    server = new_lakehose(TENANTS, s3_lake, streams, catalogs={"glue": glue.settings()})
    server.secrets |= glue_kit.SECRETS
    server.start()
    send(server)

    whole = glue.partitions(DATABASE, TABLE)
    lost = [values for values in whole if values[0] in ("t01", "t04", "t08")]
    client.batch_delete_partition(
        DatabaseName=DATABASE,
        TableName=TABLE,
        PartitionsToDelete=[{"Values": list(values)} for values in lost],
    )
    descriptor = wanted["StorageDescriptor"]
    ghost = ("ghost", "2020", "01", "01")
    folder = "/".join(f"{key}={value}" for key, value in zip(kit.PARTITION_KEYS, ghost))
    narrow = {**descriptor, "Location": f"{s3_lake.url}/clicks/{folder}/", "Columns": descriptor["Columns"][:1]}
    client.create_partition(
        DatabaseName=DATABASE,
        TableName=TABLE,
        PartitionInput={"Values": list(ghost), "StorageDescriptor": narrow},
    )

    said = repair(server, "--dry-run")
    assert said.count("would register") == len(lost) + 1, said
    assert "ghost/2020/01/01 has no objects" in said
    assert len(glue.partitions(DATABASE, TABLE)) == len(whole) - len(lost) + 1, "a dry run changes nothing"

    glue.fail("GetPartitions", 2)
    glue.fail("BatchCreatePartition", 2)
    said = repair(server)
    assert all(f"registered {'/'.join(values)} at" in said for values in lost), said
    assert "gave 1 partitions columns" in said
    mended = glue.partitions(DATABASE, TABLE)
    assert set(mended) == {*whole, ghost}
    for values in lost:
        location = mended[values]["StorageDescriptor"]["Location"]
        assert mended[values]["StorageDescriptor"] == {**descriptor, "Location": location}
        assert location == whole[values]["StorageDescriptor"]["Location"]
    assert mended[ghost]["StorageDescriptor"]["Columns"] == descriptor["Columns"]
    assert "; 0 registered, 0 refused" in repair(server)


def test_repair_mends_a_catalog_of_files(folder_lake, new_lakehose, tmp_path):
    streams = {"clicks": kit.stream_of({"columns": COLUMNS})}
    server = new_lakehose(TENANTS, folder_lake, streams).start()
    send(server)
    file = tmp_path / "catalog" / "lakehose" / "clicks.partitions.json"
    whole = json.loads(file.read_text())
    # One writer at a time.
    refused = server.run("partitions", "repair", "--config", server.settings_file, "--stream", "clicks")
    assert refused.returncode == 1 and "stop it" in refused.stderr, refused
    server.terminate()

    file.write_text(json.dumps({"partitions": whole["partitions"][2:]}))
    assert repair(server, "--dry-run").count("would register") == 3
    assert len(json.loads(file.read_text())["partitions"]) == len(whole["partitions"]) - 2
    assert "; 2 registered" in repair(server)
    assert json.loads(file.read_text()) == whole
    # A lock that cannot be taken tells nothing of who runs there.
    lock = server.data_dir / "LOCK"
    lock.unlink()
    lock.mkdir()
    ask = ["partitions", "repair", "--config", server.settings_file, "--stream", "clicks"]
    refused = server.run(*ask)
    assert refused.returncode == 1 and "could not lock data_dir" in refused.stderr, refused
    assert server.run(*ask, "--dry-run").returncode == 0
    shutil.rmtree(server.data_dir)
    assert "; 0 registered" in repair(server)
    unknown = server.run("partitions", "repair", "--config", server.settings_file, "--stream", "nope")
    assert unknown.returncode == 1 and "name one of clicks" in unknown.stderr, unknown


def statements(text):
    """Each statement as Athena's parser sees it."""
    parsed = [each for each in sqlglot.parse(text, dialect="athena") if each is not None]
    assert all(isinstance(each, expressions.Create) for each in parsed), parsed
    return parsed


def properties(statement):
    found = statement.args["properties"].find_all(expressions.Property)
    pairs = {each.name: each.args["value"].name for each in found if type(each) is expressions.Property}
    return pairs


def ddl(server):
    done = server.run("table", "ddl", "--config", server.settings_file, "--stream", "clicks")
    assert done.returncode == 0, done
    athena, duck = done.stdout.split("-- DuckDB.\n")
    return athena, duck


PREFIXES = {
    "default": None,
    "dates": "logs/clicks/tenant=!{lakehose:tenant}/dt=!{timestamp:yyyy-MM-dd}/!{timestamp:HH}/",
    "fixed": "clicks/kind=web/tenant=!{lakehose:tenant}/at=!{timestamp:yyyyMMddHH}/salt=!{firehose:random-string}/",
}


@pytest.mark.parametrize("name", PREFIXES)
def test_the_printed_statements_are_what_athena_and_duckdb_take(name, folder_lake, new_lakehose):
    stream = kit.stream_of({"columns": COLUMNS})
    if PREFIXES[name]:
        stream["destination"] |= {
            "prefix": PREFIXES[name],
            "error_prefix": "errors/!{firehose:error-output-type}/tenant=!{lakehose:tenant}/",
        }
    server = new_lakehose(TENANTS, folder_lake, {"clicks": stream}).start()
    send(server)
    athena, duck = ddl(server)

    projected, plain = statements(athena)
    for statement in (projected, plain):
        columns = {each.name: each.kind.sql(dialect="athena").lower() for each in statement.this.expressions}
        assert set(columns) == set(COLUMNS), columns
        assert columns["price"].replace(" ", "") == "decimal(18,4)"
    assert "storage.location.template" not in properties(plain)

    # The template with the values of each partition is where its objects are.
    found = properties(projected)
    assert found["projection.enabled"] == "true"
    for url in kit.data_folders(folder_lake, "logs" if name == "dates" else "clicks"):
        segments = [part.split("=", 1) for part in url.split("/") if "=" in part]
        template = found["storage.location.template"]
        for key, value in segments:
            assert f"projection.{key}.type" in found
            template = template.replace(f"${{{key}}}", value)
            if found[f"projection.{key}.type"] == "enum":
                assert value in found[f"projection.{key}.values"].split(",")
            if found[f"projection.{key}.type"] == "integer":
                low, high = map(int, found[f"projection.{key}.range"].split(","))
                assert low <= int(value) <= high
                assert len(value) == int(found[f"projection.{key}.digits"])
        assert f"{url}/".startswith(template), (template, url)

    connection = folder_lake.duckdb()
    connection.execute(duck)
    assert connection.execute('SELECT count(*), count(DISTINCT tenant) FROM "clicks"').fetchone() == (27, 9)


def test_a_prefix_that_no_template_can_name_gets_no_projection(folder_lake, new_lakehose):
    stream = kit.stream_of({"columns": COLUMNS})
    stream["destination"] |= {
        "prefix": "clicks/!{timestamp:yyyy}/tenant=!{lakehose:tenant}/",
        "error_prefix": "errors/!{firehose:error-output-type}/tenant=!{lakehose:tenant}/",
    }
    server = new_lakehose(TENANTS, folder_lake, {"clicks": stream})
    athena, _ = ddl(server)
    (plain,) = statements(athena)
    assert "projection.enabled" not in properties(plain)
