"""Keys that hooks give to records, in the prefix: folders, partitions, and records without a place."""

import contextlib
import json
import re

import yaml

import hooks_kit
import kit

ACME = kit.Identity("acme", ("clicks",))
GLOBEX = kit.Identity("globex", ("clicks",))
CUSTOMER = "clicks/tenant=!{lakehose:tenant}/customer=!{partitionKeyFromLambda:customer}/"
ERRORS = "errors/clicks/tenant=!{lakehose:tenant}/!{firehose:error-output-type}/"
# What no value may do to a folder, and the folder that it gets.
VALUES = {"a": "a", "b c": "b c", "../../other": "..%2F..%2Fother", "x=1/y": "x%3D1%2Fy",
          "..": "%2E%2E", "100%": "100%25", "Zürich": "Zürich"}


def stream(hook, prefix=CUSTOMER, interval="900 s"):
    return {
        "buffering": {"size": "4 MiB", "interval": interval},
        "transform": [{"http": {"url": hook.url, "retries": 0}}],
        "schema": {"columns": {"id": "string", "part": "int"}},
        "destination": {"store": "lake", "prefix": prefix, "error_prefix": ERRORS},
        "partitions": {"register": True},
    }


def record(name, keys, do="keys"):
    return json.dumps({"id": name, "do": do, "keys": keys}).encode()


def folders(lake):
    """The folders with rows, below the tenant's: folder -> the ids in it, sorted."""
    found = {}
    for key in lake.keys():
        if key.startswith("clicks/"):
            folder = key.rpartition("/")[0]
            query = f"SELECT id FROM read_parquet({kit.literal(f'{lake.url}/{key}')})"
            rows = [name for (name,) in lake.duckdb().execute(query).fetchall()]
            found[folder] = sorted(found.get(folder, []) + rows)
    return found


def test_keys_are_folders_and_partitions_and_a_record_without_one_fails(
    new_lakehose, folder_lake, tmp_path
):
    with contextlib.closing(hooks_kit.Hook()) as hook:
        server = new_lakehose([ACME, GLOBEX], folder_lake, {"clicks": stream(hook)}).start()
        # A key that the prefix has not sets nothing apart.
        records = [record(f"{value}-{n}", {"customer": value, "unused": str(n)})
                   for value in VALUES for n in range(3)]
        records.append(record("parts", [{"customer": "a"}, {"customer": "b c"}, {}], "part-keys"))
        without = {"none": {}, "other": {"Customer": "a"}, "empty": {"customer": ""},
                   "null": {"customer": None}}
        too_long = {"long": {"customer": "x" * 600}, "wide": {"customer": "ü" * 490}}
        records += [record(name, keys) for name, keys in (without | too_long).items()]
        with kit.Watch(server, "clicks"):
            for identity in (ACME, GLOBEX):
                kit.send(server.firehose(identity), "clicks", records)
            server.flush("clicks")
        status = server.status("clicks")
        rows = 3 * len(VALUES) + 2
        counts = (status["delivered"], status["failed"], status["pending"], status["blocked"])
        assert counts == (2 * rows, 2 * (1 + len(without | too_long)), 0, None), status

        wanted = {}
        for tenant in ("acme", "globex"):
            for value, folder in VALUES.items():
                ids = [f"{value}-{n}" for n in range(3)] + ["parts"] * (value in ("a", "b c"))
                wanted[f"clicks/tenant={tenant}/customer={folder}"] = sorted(ids)
        assert folders(folder_lake) == wanted
        catalog = kit.partitions(tmp_path / "catalog", "lakehose", "clicks")
        assert catalog == {
            (tenant, value): f"{folder_lake.url}/clicks/tenant={tenant}/customer={folder}"
            for tenant in ("acme", "globex") for value, folder in VALUES.items()
        }

        failures = kit.failures(folder_lake)
        assert len(failures) == status["failed"]
        for failure in failures:
            event = json.loads(failure.raw)
            assert re.match(r"errors/clicks/tenant=(acme|globex)/processing-failed/", failure.key)
            code, message = failure.line["errorCode"], failure.line["errorMessage"]
            if event["id"] in too_long:
                assert code == "DynamicPartitioning.KeyTooLong" and "at most" in message, failure.line
            else:
                assert code == "DynamicPartitioning.MetadataExtractionFailed"
                none = "partitionKeys values must not be null or empty: there is none for 'customer'"
                assert message == none, failure.line


def test_a_key_once_given_survives_a_kill_and_follows_a_new_prefix(new_lakehose, folder_lake):
    with contextlib.closing(hooks_kit.Hook()) as hook:
        server = new_lakehose([ACME], folder_lake, {"clicks": stream(hook)}).start()
        names = {f"{customer}{area}": {"customer": customer, "area": area}
                 for customer in "abc" for area in "xy"}
        kit.send(server.firehose(ACME), "clicks", [record(*item) for item in names.items()])

        def is_buffered():
            status = server.status("clicks")
            return status["buffered_records"] == len(names) and status["untransformed"] == 0

        kit.wait_for(is_buffered, 30, "what the hook said")
        assert server.status("clicks")["open_batches"] == 3
        server.kill()
        # Nobody is asked again.
        hook.go()
        server.start()
        kit.wait_for(is_buffered, 30, "what the hook had said")
        assert server.status("clicks")["open_batches"] == 3
        settings = yaml.safe_load(server.settings_file.read_text())
        settings["delivery_streams"]["clicks"]["destination"]["prefix"] = (
            "clicks/tenant=!{lakehose:tenant}/area=!{partitionKeyFromLambda:area}/!{timestamp:yyyy}/"
        )
        settings["delivery_streams"]["clicks"]["partitions"]["register"] = False
        server.settings_file.write_text(yaml.safe_dump(settings, sort_keys=False))
        done = server.run("reload", "--admin", server.admin)
        assert done.returncode == 0, done
        server.flush("clicks")
        status = server.status("clicks")
        assert (status["delivered"], status["failed"], status["pending"]) == (len(names), 0, 0), status
        found = {folder.split("/")[2]: ids for folder, ids in folders(folder_lake).items()}
        assert found == {"area=x": ["ax", "bx", "cx"], "area=y": ["ay", "by", "cy"]}


def test_preview_shows_the_keys_or_where_they_would_stand(new_lakehose, folder_lake, tmp_path):
    sample = tmp_path / "sample.ndjson"
    sample.write_bytes(record("one", {"customer": "a/b"}) + b"\n" + record("two", {}) + b"\n")
    with contextlib.closing(hooks_kit.Hook()) as hook:
        server = new_lakehose([ACME], folder_lake, {"clicks": stream(hook)})
        ask = ["preview", "--config", server.settings_file, sample]
        done = server.run(*ask, "--run-hooks")
        assert done.returncode == 0, done
        assert "data object clicks/tenant=acme/customer=a%2Fb/clicks-1-" in done.stdout, done.stdout
        assert "there is none for 'customer'" in done.stdout, done.stdout
        asked = len(hook.invocations)
        done = server.run(*ask)
        assert done.returncode == 0 and len(hook.invocations) == asked, done
        assert "data object clicks/tenant=acme/customer=<customer>/clicks-1-" in done.stdout, done.stdout
        assert "the values of the key customer, which a hook gives" in done.stdout, done.stdout
