"""Where objects lie by the clock of a zone and by a name of their own; what `check` says of prefixes."""

import json
import re
import zoneinfo
from datetime import datetime, timedelta, timezone

import pyarrow.parquet
import yaml

import kit

IDENTITY = kit.Identity("acme", ("clicks",))
PREFIX = "clicks/at=!{timestamp:yyyy-MM-dd'T'HHXXX}/!{timestamp:EEEE}/"
ERRORS = "errors/!{firehose:error-output-type}/!{timestamp:yyyy-MM-dd'T'HHXXX}/"
ZONE = "Asia/Calcutta"


def placed(**destination):
    stream = kit.stream_of({"columns": {"id": "string"}})
    return {**stream, "destination": {"store": "lake", **destination}}


def sent(new_lakehose, lake, streams, records):
    identity = kit.Identity("acme", tuple(streams))
    server = new_lakehose([identity], lake, streams).start()
    began = datetime.now(timezone.utc)
    for stream in streams:
        kit.send(server.firehose(identity), stream, records)
        server.flush(stream)
    return server, began, datetime.now(timezone.utc)


def test_times_are_those_of_the_zone_and_the_backup_stays_in_utc(new_lakehose, folder_lake):
    stream = {
        **placed(prefix=PREFIX, error_prefix=ERRORS, time_zone=ZONE),
        "backup": {"store": "lake", "prefix": "raw/!{timestamp:yyyy-MM-dd'T'HHXXX}/"},
    }
    records = [b'{"id":"1"}', b"no json"]
    server, began, ended = sent(new_lakehose, folder_lake, {"clicks": stream}, records)
    [data] = [key for key in folder_lake.keys() if key.startswith("clicks/")]
    [failed] = [key for key in folder_lake.keys() if key.startswith("errors/")]
    [raw] = [key for key in folder_lake.keys() if key.startswith("raw/")]

    def hours(zone):
        times = (time.astimezone(zoneinfo.ZoneInfo(zone)) for time in (began, ended))
        return [(time.strftime("%Y-%m-%dT%H"), time.strftime("%A")) for time in times]

    folders = [f"clicks/at={hour}+05:30/{day}" for hour, day in hours(ZONE)]
    assert data.rpartition("/")[0] in folders, (data, folders)
    failures = [f"errors/format-conversion-failed/{hour}+05:30" for hour, _day in hours(ZONE)]
    assert failed.rpartition("/")[0] in failures, (failed, failures)
    assert raw.rpartition("/")[0] in [f"raw/{hour}Z" for hour, _day in hours("UTC")], raw

    # The time in the name is the zone's as well.
    for key, zone in ((data, ZONE), (failed, ZONE), (raw, "UTC")):
        [named] = re.findall(r"-1-(\d{4}(?:-\d\d){5})-", key)
        named = datetime.strptime(named, "%Y-%m-%d-%H-%M-%S")
        named = named.replace(tzinfo=zoneinfo.ZoneInfo(zone))
        assert began - timedelta(seconds=2) <= named <= ended, (key, zone)

    [told] = server.firehose(IDENTITY).describe_delivery_stream(DeliveryStreamName="clicks")[
        "DeliveryStreamDescription"
    ]["Destinations"]
    assert told["ExtendedS3DestinationDescription"]["CustomTimeZone"] == ZONE

    # The catalog is told the text of the folder, and the folder can be found by it.
    catalog = server.settings_file.parent / "catalog"

    def registered():
        return kit.partitions(catalog, "lakehose", "clicks")

    value = data.split("/")[1].removeprefix("at=")
    assert registered() == {(value,): f"{folder_lake.url}/clicks/at={value}"}
    server.terminate()
    (catalog / "lakehose" / "clicks.partitions.json").unlink()
    repaired = server.run("partitions", "repair", "--config", server.settings_file, "--stream", "clicks")
    assert repaired.returncode == 0, repaired
    assert registered() == {(value,): f"{folder_lake.url}/clicks/at={value}"}


def test_a_file_extension_takes_the_place_of_the_formats_own(new_lakehose, folder_lake):
    streams = {
        "clicks": placed(prefix="c/y=!{timestamp:yyyy}/", error_prefix=ERRORS, file_extension=".rows.v2"),
        "plain": {
            "destination": {"store": "lake", "file_extension": ".custom.log"},
            "format": {"records": {"compression": "gzip"}},
            "backup": {"store": "lake"},
        },
    }
    records = [b'{"id":"1"}', b"no json"]
    server, _began, _ended = sent(new_lakehose, folder_lake, streams, records)
    keys = folder_lake.keys()
    [rows] = [key for key in keys if key.startswith("c/")]
    assert rows.endswith(".rows.v2") and ".parquet" not in rows
    table = pyarrow.parquet.read_table(folder_lake.folder / rows)
    assert table.column("id").to_pylist() == ["1"]
    [failed] = [key for key in keys if key.startswith("errors/")]
    assert "." not in failed.rpartition("/")[2], failed
    [plain] = [key for key in keys if key.startswith("plain/")]
    assert plain.endswith(".custom.log") and not plain.endswith(".gz.custom.log")
    assert folder_lake.read(plain)[:2] == b"\x1f\x8b"
    [raw] = [key for key in keys if key.startswith("raw/")]
    assert raw.endswith(".gz")

    # Who recounts the store knows them all the same.
    server.terminate()
    audited = server.run("audit", "--config", server.settings_file, "--json")
    found = json.loads(audited.stdout)
    assert audited.returncode == 0, found


def check(tmp_path, lake, **streams):
    file = tmp_path / "settings.yaml"
    settings = kit.settings_of(tmp_path, [IDENTITY], lake, streams)
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return file, kit.run("check", file, secrets=kit.secrets_of([IDENTITY]))


def test_check_warns_of_what_is_not_meant_and_lets_it_pass(tmp_path, folder_lake):
    stream = placed(prefix="c/year=!{timestamp:YYYY}/s=!{timestamp:ss}/", error_prefix="e/!{firehose:error-output-type}")
    file, done = check(tmp_path, folder_lake, clicks=stream)
    assert done.returncode == 0, done
    warnings = [line for line in done.stderr.splitlines() if line.startswith(f"warning: {file}:")]
    for part in ("2022 for 2021-12-31", "'s=' has a second", "error_prefix: it has no slash"):
        assert any(part in warning for warning in warnings), (part, done.stderr)


def test_check_foretells_the_objects_of_an_hour_in_one_line_a_stream(tmp_path, folder_lake):
    _file, done = check(tmp_path, folder_lake, clicks=kit.stream_of({"columns": {"id": "string"}}))
    assert done.returncode == 0 and "warning: /" not in done.stderr, done
    [line] = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("clicks:")]
    assert line == (
        "clicks: 4 objects an hour while records keep coming: one every 900 s, more where 4 MiB come sooner"
    ), done.stdout


def test_check_compares_prefix_and_table_also_where_nothing_is_registered(tmp_path, folder_lake):
    catalog = tmp_path / "catalog" / "d"
    catalog.mkdir(parents=True)
    table = {
        "Name": "t",
        "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "string"}]},
        "PartitionKeys": [{"Name": "day", "Type": "string"}],
    }
    (catalog / "t.json").write_text(json.dumps(table))
    stream = {
        **kit.stream_of({"database": "d", "table": "t"}),
        "destination": {"store": "lake", "prefix": "c/dt=!{timestamp:dd}/", "error_prefix": ERRORS},
        "partitions": {"register": False},
    }
    _file, done = check(tmp_path, folder_lake, clicks=stream)
    assert done.returncode == 0, done
    assert "the partition keys of table d.t are day, the folders of the prefix are dt" in done.stderr, done
