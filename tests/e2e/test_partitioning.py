"""Dynamic partitioning: keys that a query takes out of records, and what no value can do with them."""

import contextlib
import json
import re
import urllib.parse

import pyarrow.parquet
import yaml

import hooks_kit
import kit

ACME = kit.Identity("acme", ("clicks",))
PREFIX = "clicks/customer=!{partitionKeyFromQuery:customer}/"
ERRORS = "errors/clicks/!{firehose:error-output-type}/"
QUERY = "{customer: .customer}"
NO_VALUES = "DynamicPartitioning.MetadataExtractionFailed"
INVALID = "DynamicPartitioning.InvalidPartitionValue"
TOO_LONG = "DynamicPartitioning.KeyTooLong"
EXCEEDED = "DynamicPartitioning.ActivePartitionLimitExceeded"


def stream(prefix=PREFIX, query=QUERY, interval="900 s", register=True, **partitioning):
    if query:
        partitioning["query"] = query
    return {
        "buffering": {"size": "4 MiB", "interval": interval},
        "partitioning": partitioning,
        "schema": {"columns": {"id": "string"}},
        "destination": {"store": "lake", "prefix": prefix, "error_prefix": ERRORS},
        "partitions": {"register": register},
    }


def record(name, customer, **more):
    return json.dumps({"id": name, "customer": customer} | more).encode()


def unescaped(folder):
    """What Hive, Spark and Athena read in a folder."""
    return urllib.parse.unquote(folder)


def rows(lake):
    """The folders with rows -> the ids in them, sorted."""
    return rows_below(lake.folder)


def rows_below(root):
    found = {}
    for path in root.rglob("*.parquet"):
        folder = str(path.parent.relative_to(root))
        ids = pyarrow.parquet.ParquetFile(path).read(columns=["id"]).column("id").to_pylist()
        found[folder] = sorted(found.get(folder, []) + ids)
    return found


def failed(lake):
    """The id of each failed record -> the error type of its key, its code and its message."""
    found = {}
    for failure in kit.failures(lake):
        error_type = failure.key.split("/")[2]
        name = re.search(rb'"id": ?"([^"]+)"', failure.raw)
        name = name.group(1).decode() if name else failure.raw.decode("latin-1")
        found[name] = (error_type, failure.line["errorCode"], failure.line["errorMessage"])
        assert "lambdaARN" not in failure.line and failure.line["attemptsMade"] == 1, failure.line
    return found


def hostile_values():
    """A hundred values that would leave their folder if they could, each of them different."""
    climbing = ["..", ".", "/etc", "a/b", "a=b", "%2e%2e%2f", "../../other-tenant/x", "x\ny", "\r", "\x7f",
                "=x", "/x", "//", "\\..\\", "..%2f", "~", "a/../../b", "customer=other", "%", "%00", "%zz",
                "a b", " ", "a.", "a ", "A", "a", "é", "e\u0301", "\u202etxt", "\u0430", "CON", "*", "?",
                "[x]", "{x}", "^", "'", '"', "`", "$HOME", "${env:X}", "!{lakehose:tenant}", "#", "&", "+",
                "a;b", "a:b", "\t", "\x01", "\u0085", "\u2028", "😀", "null", "true", "0", "-1", "1e400"]
    return climbing + [f"../{number}/.." for number in range(100 - len(climbing))]


def test_a_hundred_hostile_values_stay_in_their_folder_and_read_back(new_lakehose, s3_lake, tmp_path):
    values = hostile_values()
    assert len(set(values)) == len(values) == 100
    server = new_lakehose([ACME], s3_lake, {"clicks": stream()}).start()
    records = [record(f"{number}-{copy}", value) for copy in "ab" for number, value in enumerate(values)]
    with kit.Watch(server, "clicks"):
        kit.send(server.firehose(ACME), "clicks", records)
        server.flush("clicks")
    assert server.status("clicks")["delivered"] == len(records)
    found = {}
    # Where the S3 server keeps them, since not every client lists every name as it is.
    root = s3_lake.server.root / kit.BUCKET / s3_lake.PATH
    for folder, ids in rows_below(root).items():
        assert folder.count("/") == 1 and folder.startswith("clicks/customer="), folder
        found[unescaped(folder.removeprefix("clicks/customer="))] = ids
    assert found == {value: [f"{number}-a", f"{number}-b"] for number, value in enumerate(values)}
    assert not (root / "errors").exists()
    catalog = kit.partitions(tmp_path / "catalog", "lakehose", "clicks")
    assert set(catalog) == {(value,) for value in values}, "a catalog is told the value itself"
    # No label of a metric has one.
    _, metrics = kit.http("GET", f"{server.admin}/metrics")
    assert "other-tenant" not in metrics and "lakehose_active_partitions" in metrics


def test_values_that_cannot_stand_in_a_key_fail_by_themselves_with_their_reason(new_lakehose, folder_lake):
    server = new_lakehose([ACME], folder_lake, {"clicks": stream()}).start()
    name_max = 255 - len("customer=")
    refused = {
        "nul": (b'{"id":"nul","customer":"a\\u0000b"}', INVALID, "NUL"),
        "surrogate": (b'{"id":"surrogate","customer":"a\\ud800"}', None, ""),
        "utf8": (b'{"id":"utf8","customer":"a\xff"}', None, "UTF-8"),
        "default": (record("default", "__HIVE_DEFAULT_PARTITION__"), INVALID, "stands for none"),
        "null": (record("null", None), NO_VALUES, "partitionKeys values must not be null or empty"),
        "empty": (record("empty", ""), NO_VALUES, "partitionKeys values must not be null or empty"),
        "missing": (b'{"id":"missing"}', NO_VALUES, "partitionKeys values must not be null or empty"),
        "list": (record("list", [1]), NO_VALUES, "array"),
        "two": (b'{"id":"two","customer":"a"}\n{"id":"three","customer":"b"}', NO_VALUES, "more than one"),
        "cut": (b'{"id":"cut","customer":"a"', NO_VALUES, "no JSON"),
        "name": (record("name", "x" * (name_max + 1)), TOO_LONG, "at most 255"),
        "slashes": (record("slashes", "/" * 200), TOO_LONG, "at most 512"),
        "wide": (record("wide", "€" * (name_max // 3 + 1)), TOO_LONG, "at most 255"),
        "huge": (record("huge", "x" * 900_000), TOO_LONG, "at most 1024"),
    }
    longest = "x" * name_max
    good = [record("good", "a"), record("longest", longest), record("number", 7), record("truth", True)]
    with kit.Watch(server, "clicks"):
        firehose = server.firehose(ACME)
        kit.send(firehose, "clicks", good + [sent for sent, _, _ in refused.values()])
        # Objects of those that are too long are no more than of any others.
        kit.send(firehose, "clicks", [record(f"long-{n}", "y" * (600 + n)) for n in range(200)])
        server.flush("clicks")
    status = server.status("clicks")
    counts = (status["delivered"], status["failed"], status["pending"], status["blocked"])
    assert counts == (len(good), len(refused) + 200, 0, None), status
    assert rows(folder_lake) == {
        f"clicks/customer={value}": [name]
        for value, name in (("a", "good"), (longest, "longest"), ("7", "number"), ("true", "truth"))
    }
    found = failed(folder_lake)
    for name, (_, code, part) in refused.items():
        error_type, found_code, message = found[name]
        assert error_type == "processing-failed" and part in message, (name, message)
        assert found_code == code or (code is None and found_code in (INVALID, NO_VALUES)), (name, found_code)
    assert len([key for key in folder_lake.keys() if key.startswith("errors/")]) == 1


def test_records_without_a_value_may_go_to_the_default_partition(new_lakehose, folder_lake, tmp_path):
    settings = stream(missing="default")
    server = new_lakehose([ACME], folder_lake, {"clicks": settings}).start()
    records = [record("null", None), record("empty", ""), b'{"id":"missing"}', record("a", "a"),
               record("fake", "__HIVE_DEFAULT_PARTITION__")]
    kit.send(server.firehose(ACME), "clicks", records)
    server.flush("clicks")
    default = "clicks/customer=__HIVE_DEFAULT_PARTITION__"
    assert rows(folder_lake) == {default: ["empty", "missing", "null"], "clicks/customer=a": ["a"]}
    assert failed(folder_lake)["fake"][:2] == ("processing-failed", INVALID)
    catalog = kit.partitions(tmp_path / "catalog", "lakehose", "clicks")
    assert set(catalog) == {("__HIVE_DEFAULT_PARTITION__",), ("a",)}


def test_slashes_make_folders_only_where_they_are_allowed(new_lakehose, folder_lake):
    prefix = "clicks/!{partitionKeyFromQuery:customer}/by=!{partitionKeyFromQuery:customer}/"
    settings = stream(prefix, allow_slash=True, register=False)
    server = new_lakehose([ACME], folder_lake, {"clicks": settings}).start()
    records = [record("path", "a/../b=1"), record("plain", "."), record("first", "/a"), record("last", "a/"),
               record("twice", "a//b"), record("fake", "a/__HIVE_DEFAULT_PARTITION__")]
    kit.send(server.firehose(ACME), "clicks", records)
    server.flush("clicks")
    assert rows(folder_lake) == {
        "clicks/a/%2E%2E/b%3D1/by=a%2F..%2Fb%3D1": ["path"],
        "clicks/%2E/by=%2E": ["plain"],
    }
    assert {name: code for name, (_, code, _) in failed(folder_lake).items()} == {
        "first": NO_VALUES, "last": NO_VALUES, "twice": NO_VALUES, "fake": INVALID,
    }


def test_the_sample_of_firehoses_documentation_lies_where_the_documentation_says(new_lakehose, folder_lake):
    query = ('{customer_id:.customer_id,device:.type.device,year:.event_timestamp|strftime("%Y"),'
             'month:.event_timestamp|strftime("%m"),day:.event_timestamp|strftime("%d"),'
             'hour:.event_timestamp|strftime("%H")}')
    keys = ("customer_id", "device", "year", "month", "day", "hour")
    prefix = "clicks/" + "".join(f"{key}=!{{partitionKeyFromQuery:{key}}}/" for key in keys)
    sample = {"type": {"device": "mobile", "event": "user_clicked_submit_button"},
              "customer_id": "1234567890", "event_timestamp": 1565382027, "region": "sample_region"}
    server = new_lakehose([ACME], folder_lake, {"clicks": stream(prefix, query)}).start()
    kit.send(server.firehose(ACME), "clicks", [json.dumps(sample | {"id": "one"}).encode()])
    server.flush("clicks")
    folder = "clicks/customer_id=1234567890/device=mobile/year=2019/month=08/day=09/hour=20"
    assert rows(folder_lake) == {folder: ["one"]}
    description = server.firehose(ACME).describe_delivery_stream(DeliveryStreamName="clicks")
    destination = description["DeliveryStreamDescription"]["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert destination["DynamicPartitioningConfiguration"]["Enabled"] is True, destination
    [processor] = destination["ProcessingConfiguration"]["Processors"]
    assert processor["Type"] == "MetadataExtraction"
    assert {"ParameterName": "MetadataExtractionQuery", "ParameterValue": query} in processor["Parameters"]


def test_keys_of_a_hook_and_of_the_query_and_the_arrival_share_a_prefix(new_lakehose, folder_lake, tmp_path):
    prefix = ("clicks/area=!{partitionKeyFromLambda:area}/customer=!{partitionKeyFromQuery:customer}/"
              "year=!{timestamp:yyyy}/")
    with contextlib.closing(hooks_kit.Hook()) as hook:
        settings = stream(prefix)
        settings["transform"] = [{"http": {"url": hook.url, "retries": 0}}]
        server = new_lakehose([ACME], folder_lake, {"clicks": settings}).start()
        records = [record(f"{customer}{area}", customer, do="keys", keys={"area": area})
                   for customer in "ab" for area in "xy"]
        records.append(record("no-area", "a", do="keys", keys={}))
        records.append(record("no-customer", None, do="keys", keys={"area": "x"}))
        kit.send(server.firehose(ACME), "clicks", records)
        server.flush("clicks")
        found = {tuple(folder.split("/")[1:3]): ids for folder, ids in rows(folder_lake).items()}
        assert found == {(f"area={area}", f"customer={customer}"): [f"{customer}{area}"]
                         for customer in "ab" for area in "xy"}
        assert set(kit.partitions(tmp_path / "catalog", "lakehose", "clicks")) == {
            (area, customer, folder.split("=")[-1])
            for area in "xy" for customer in "ab" for folder in [next(iter(rows(folder_lake)))]
        }
        reasons = {name: message for name, (_, _, message) in failed(folder_lake).items()}
        assert "there is none for 'area'" in reasons["no-area"], reasons
        assert "there is none for 'customer'" in reasons["no-customer"], reasons


def test_where_a_record_belongs_is_the_same_after_a_kill_and_follows_a_new_query(new_lakehose, folder_lake):
    server = new_lakehose([ACME], folder_lake, {"clicks": stream()}).start()
    names = {f"{customer}{area}": (customer, area) for customer in "abc" for area in "xy"}
    records = [record(name, customer, area=area) for name, (customer, area) in names.items()]
    records.append(record("nowhere", None, area=None))

    def is_buffered():
        status = server.status("clicks")
        return status["buffered_records"] == len(records) and status["open_batches"] == 4

    kit.send(server.firehose(ACME), "clicks", records)
    kit.wait_for(is_buffered, 30, "three customers and what has none")
    server.kill()
    server.start()
    kit.wait_for(is_buffered, 30, "the same after the kill")
    settings = yaml.safe_load(server.settings_file.read_text())
    changed = settings["delivery_streams"]["clicks"]
    changed["partitioning"]["query"] = "{area: .area}"
    changed["destination"]["prefix"] = "clicks/area=!{partitionKeyFromQuery:area}/"
    changed["partitions"]["register"] = False
    server.settings_file.write_text(yaml.safe_dump(settings, sort_keys=False))
    done = server.run("reload", "--admin", server.admin)
    assert done.returncode == 0, done
    server.flush("clicks")
    status = server.status("clicks")
    assert (status["delivered"], status["failed"], status["pending"]) == (len(names), 1, 0), status
    assert rows(folder_lake) == {"clicks/area=x": ["ax", "bx", "cx"], "clicks/area=y": ["ay", "by", "cy"]}
    assert "there is none for 'area'" in failed(folder_lake)["nowhere"][2]


def metric(server, name):
    _, page = kit.http("GET", f"{server.admin}/metrics")
    found = re.search(rf'^lakehose_{name}{{stream="clicks"}} (\d+)$', page, re.MULTILINE)
    return int(found.group(1)) if found else None


def test_records_that_would_open_a_partition_too_many_fail_and_no_others(new_lakehose, folder_lake):
    settings = stream(max_active_partitions=3)
    server = new_lakehose([ACME], folder_lake, {"clicks": settings}).start()
    firehose = server.firehose(ACME)
    with kit.Watch(server, "clicks"):
        kit.send(firehose, "clicks", [record(f"{name}-1", name) for name in "abc"])
        kit.wait_for(lambda: metric(server, "active_partitions") == 3, 30, "three active partitions")
        assert metric(server, "partitions_exceeded") == 0
        kit.send(firehose, "clicks", [record(f"{name}-2", name) for name in "abcdef"])
        kit.wait_for(lambda: metric(server, "partitions_exceeded") == 1, 30, "one partition too many")
        assert metric(server, "active_partitions") == 3
        server.flush("clicks")
        kit.wait_for(lambda: metric(server, "partitions_exceeded") == 0, 30, "room for other partitions")
        kit.send(firehose, "clicks", [record(f"{name}-3", name) for name in "def"])
        server.flush("clicks")
    expected = {f"clicks/customer={name}": [f"{name}-1", f"{name}-2"] for name in "abc"}
    expected |= {f"clicks/customer={name}": [f"{name}-3"] for name in "def"}
    assert rows(folder_lake) == expected
    found = failed(folder_lake)
    assert {name: found[name][:2] for name in found} == {
        f"{name}-2": ("activePartitionExceeded", EXCEEDED) for name in "def"
    }
    assert "limit of 3" in found["d-2"][2]


def test_preview_shows_the_places_and_why_a_record_has_none(new_lakehose, folder_lake, tmp_path):
    sample = tmp_path / "sample.ndjson"
    sample.write_bytes(record("one", "a/b") + b"\n" + record("two", None) + b"\n")
    server = new_lakehose([ACME], folder_lake, {"clicks": stream()})
    done = server.run("preview", "--config", server.settings_file, sample)
    assert done.returncode == 0, done
    assert "data object clicks/customer=a%2Fb/clicks-1-" in done.stdout, done.stdout
    assert f"{NO_VALUES}: partitionKeys values must not be null or empty" in done.stdout, done.stdout
