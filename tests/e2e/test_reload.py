"""The configuration read again: what is not planned follows it, and a faulty file changes nothing."""

import collections
import copy
import json
import re
import signal

import botocore.exceptions
import pytest
import yaml

import kit

ACME = kit.Identity("acme", ("clicks",))
GLOBEX = kit.Identity("globex", ("clicks",))
SECRETS = kit.secrets_of([ACME, GLOBEX])
CONFIG_FAULT = 78
ERRORS = "errors/!{firehose:error-output-type}/"
# Nothing closes by itself while a test runs.
CLICKS = kit.stream_of({"columns": {"id": "string"}}, size="64 MiB", interval="900 s")


class Reloadable:
    """A Lakehose whose settings file is changed while it runs."""

    def __init__(self, server):
        self.server = server
        self.settings = yaml.safe_load(server.settings_file.read_text())
        for identity in self.settings["identities"]:
            # All streams, also those that come.
            del identity["streams"]
        server.settings_file.write_text(yaml.safe_dump(self.settings, sort_keys=False))
        server.secrets = SECRETS
        server.start()

    def write(self, change):
        """Changes a copy of the settings that are in use, and writes it to the file."""
        changed = copy.deepcopy(self.settings)
        change(changed)
        self.server.settings_file.write_text(yaml.safe_dump(changed, sort_keys=False))
        return changed

    def reload(self, change):
        """By the command line; it must be accepted."""
        changed = self.write(change)
        done = self.server.run("reload", "--admin", self.server.admin)
        assert done.returncode == 0, done
        self.settings = changed
        return done.stdout

    def refused(self, change):
        """By the command line; what it said of a reload that must be refused."""
        self.write(change)
        done = self.server.run("reload", "--admin", self.server.admin)
        assert done.returncode == CONFIG_FAULT and not done.stdout, done
        return done.stderr

    def standing(self):
        return json.loads(kit.http("GET", f"{self.server.admin}/status")[1])["configuration"]

    def metric(self, name):
        text = kit.http("GET", f"{self.server.admin}/metrics")[1]
        return float(re.search(rf"^lakehose_{name} (\S+)$", text, re.MULTILINE)[1])

    def hang_up(self):
        self.server.child.send_signal(signal.SIGHUP)


@pytest.fixture
def running_one(new_lakehose, folder_lake):
    return Reloadable(new_lakehose([ACME], folder_lake, {"clicks": copy.deepcopy(CLICKS)}))


def records(first, count, **more):
    rows = ({"id": f"r{number}", **more} for number in range(first, first + count))
    return [json.dumps(row).encode() for row in rows]


def code_of(call):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"]


def ids(lake, prefix):
    found = lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(lake, prefix)}").fetchall()
    return [name for (name,) in found]


def test_what_is_not_planned_follows_new_hints_prefixes_and_columns(running_one, folder_lake):
    server = running_one.server
    firehose = server.firehose(ACME)
    kit.send(firehose, "clicks", records(0, 100, note="old"))
    server.flush("clicks")
    planned = folder_lake.keys()
    kit.send(firehose, "clicks", records(100, 100, note="new"))
    buffered = lambda: server.status("clicks")["buffered_records"] == 100
    kit.wait_for(buffered, 30, "100 buffered records")

    def change(settings):
        stream = settings["delivery_streams"]["clicks"]
        stream["buffering"]["interval"] = "1 s"
        stream["schema"]["columns"]["note"] = "string"
        prefix = "tenant=!{lakehose:tenant}/day=!{timestamp:yyyy-MM-dd}/"
        # Other partition keys are another table's: the partitions of the first have none by them.
        stream["schema"]["table"] = "clicks_by_day"
        stream["destination"] |= {"prefix": f"moved/{prefix}", "error_prefix": f"{ERRORS}{prefix}"}

    running_one.reload(change)
    # Nobody flushes: the new interval closes what was buffered by the old one.
    kit.wait_for(lambda: server.status("clicks")["delivered"] == 200, 60, "the new interval")

    added = set(folder_lake.keys()) - set(planned)
    assert added and all(key.startswith("moved/tenant=acme/day=") for key in added), added
    assert set(planned) <= set(folder_lake.keys())
    assert sorted(ids(folder_lake, "moved")) == sorted(f"r{number}" for number in range(100, 200))
    notes = folder_lake.duckdb().execute(f"SELECT DISTINCT note FROM {kit.rows_of(folder_lake, 'moved')}")
    assert notes.fetchall() == [("new",)]
    description = firehose.describe_delivery_stream(DeliveryStreamName="clicks")
    destination = description["DeliveryStreamDescription"]["Destinations"][0]
    shown = destination["ExtendedS3DestinationDescription"]
    assert shown["BufferingHints"]["IntervalInSeconds"] == 1 and shown["Prefix"].startswith("moved/")


def test_streams_and_identities_come_and_go(running_one, folder_lake):
    server = running_one.server
    acme, globex = server.firehose(ACME), server.firehose(GLOBEX)
    kit.send(acme, "clicks", records(0, 10))
    put = {"Record": {"Data": b'{"id":"x"}'}}
    assert code_of(lambda: acme.put_record(DeliveryStreamName="orders", **put)) == (
        "ResourceNotFoundException"
    )
    assert code_of(lambda: globex.put_record(DeliveryStreamName="clicks", **put)) == (
        "UnrecognizedClientException"
    )

    def add(settings):
        settings["identities"].append(GLOBEX.settings())
        orders = copy.deepcopy(CLICKS)
        settings["delivery_streams"]["orders"] = orders

    assert "new: orders" in running_one.reload(add)
    kit.send(acme, "orders", records(0, 20))
    kit.send(globex, "clicks", records(10, 10))
    assert acme.list_delivery_streams()["DeliveryStreamNames"] == ["clicks", "orders"]

    def remove(settings):
        del settings["delivery_streams"]["orders"]
        settings["identities"] = [ACME.settings()]

    assert "no longer served: orders" in running_one.reload(remove)
    assert code_of(lambda: acme.put_record(DeliveryStreamName="orders", **put)) == (
        "ResourceNotFoundException"
    )
    assert code_of(lambda: globex.put_record(DeliveryStreamName="clicks", **put)) == (
        "UnrecognizedClientException"
    )
    assert acme.list_delivery_streams()["DeliveryStreamNames"] == ["clicks"]

    # What the stream had is delivered by its last definition.
    retired = server.data_dir / "streams" / "orders" / "retired.json"
    kit.wait_for(retired.exists, 60, "the end of the stream")
    assert len(ids(folder_lake, "orders")) == 20

    # Put back, it goes on where it was.
    def put_back(settings):
        add(settings)
        del settings["identities"][0]["streams"]

    assert "new: orders" in running_one.reload(put_back)
    kit.send(acme, "orders", records(20, 20))
    for stream, count in (("orders", 40), ("clicks", 20)):
        server.flush(stream)
        kit.assert_conserved(server.status(stream), count)
        assert len(set(ids(folder_lake, stream))) == count
    assert server.terminate() == 0, server.log_tail()


def test_an_invalid_file_changes_nothing_and_every_fault_is_told(running_one, folder_lake):
    server = running_one.server
    firehose = server.firehose(ACME)
    before = running_one.standing()
    assert before["refused_reloads"] == 0 and before["last_refusal"] is None

    def spoil(settings):
        # Valid changes among the faults are not made either.
        settings["identities"] = [GLOBEX.settings()]
        settings["delivery_streams"]["orders"] = copy.deepcopy(CLICKS)
        settings["delivery_streams"]["clicks"]["bufering"] = {}
        settings["delivery_streams"]["clicks"]["buffering"]["interval"] = "soon"

    told = running_one.refused(spoil)
    for word in ("bufering", "'soon'"):
        assert re.search(rf"^{re.escape(str(server.settings_file))}:\d+:\d+: .*{word}", told, re.MULTILINE), told
    running_one.hang_up()
    kit.wait_for(lambda: running_one.standing()["refused_reloads"] == 2, 30, "the second refusal")
    status, text = kit.http("POST", f"{server.admin}/reload")
    assert (status, text) == (422, told)
    standing = running_one.standing()
    assert standing["last_refusal"] == told.strip() and standing["read_at"] == before["read_at"]
    assert running_one.metric("refused_reloads_total") == 3
    assert "bufering" in server.log_text() and "bufering" in server.run("status", "--admin", server.admin).stdout

    kit.send(firehose, "clicks", records(0, 10))
    assert server.status("clicks")["closes_at_bytes"] == 64 << 20
    assert firehose.list_delivery_streams()["DeliveryStreamNames"] == ["clicks"]

    # A file that is not there is a fault like others.
    server.settings_file.unlink()
    status, text = kit.http("POST", f"{server.admin}/reload")
    assert status == 422 and str(server.settings_file) in text, text

    running_one.reload(lambda settings: None)
    standing = running_one.standing()
    assert standing["last_refusal"] is None and standing["read_at"] > before["read_at"]
    assert abs(running_one.metric("configured_seconds") - standing["read_at"] / 1000) <= 1


def test_what_only_a_start_can_change_is_refused_with_all_the_rest(running_one, tmp_path):
    server = running_one.server

    def change(settings):
        settings["server"] = {"listen": "127.0.0.1:1", "admin": "127.0.0.1:2"}
        settings["data_dir"] = str(tmp_path / "elsewhere")
        settings["disk_budget"] = "5 GiB"
        settings["delivery_streams"]["orders"] = copy.deepcopy(CLICKS)

    told = running_one.refused(change).splitlines()
    assert len(told) == 4 and all("restart" in line for line in told), told
    for key in ("server.listen", "server.admin", "data_dir", "disk_budget"):
        assert any(f"{key}: " in line for line in told), (key, told)
    assert kit.http("POST", f"{server.admin}/reload")[0] == 409
    assert server.firehose(ACME).list_delivery_streams()["DeliveryStreamNames"] == ["clicks"]
    assert not (tmp_path / "elsewhere").exists()


def test_secrets_are_read_again(s3, s3_lake, new_lakehose, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not-the-secret-of-the-store\n")
    server = new_lakehose([ACME], s3_lake, {"clicks": copy.deepcopy(CLICKS)})
    settings = yaml.safe_load(server.settings_file.read_text())
    settings["stores"]["lake"]["secret"] = f"${{file:{secret}}}"
    server.settings_file.write_text(yaml.safe_dump(settings))
    running_one = Reloadable(server)
    kit.send(server.firehose(ACME), "clicks", records(0, 10))
    # A stop would deliver, so would a flush; this one hangs until the secret is right.
    def blocked():
        kit.http("POST", f"{server.admin}/flush/clicks", timeout=0.5)

    with pytest.raises(OSError):
        blocked()
    kit.wait_for(lambda: server.status("clicks")["blocked"], 60, "the store to refuse")
    secret.write_text(f"{kit.LAKE_SECRET}\n")
    running_one.hang_up()
    kit.wait_for(lambda: server.status("clicks")["delivered"] == 10, 60, "the delivery")
    assert len(ids(s3_lake, "clicks")) == 10


def test_without_a_file_a_reload_says_so(running, tmp_path):
    demo = kit.Process("demo", tmp_path / "demo.log")
    running.append(demo)
    folder = tmp_path / "demo"
    demo.launch([kit.LAKEHOSE, "demo", "--dir", folder, "--records", "1000", "--keep"])
    kit.wait_for(lambda: "Still serving" in demo.log_text(), 60, "the demo")
    admin = json.loads((folder / "data" / "addresses.json").read_text())["admin"]
    status, text = kit.http("POST", f"http://{admin}/reload")
    assert status == 409 and "--config" in text, text
    # Nor does the signal end the process.
    demo.child.send_signal(signal.SIGHUP)
    refused = lambda: json.loads(kit.http("GET", f"http://{admin}/status")[1])["configuration"]
    kit.wait_for(lambda: refused()["refused_reloads"] == 2, 30, "the refusal")
    assert demo.terminate() == 0


def test_a_table_with_partitions_keeps_its_keys(running_one, folder_lake):
    server = running_one.server
    kit.send(server.firehose(ACME), "clicks", records(0, 1))
    server.flush("clicks")

    def change(settings):
        prefix = "clicks/day=!{timestamp:dd}/tenant=!{lakehose:tenant}/"
        stream = settings["delivery_streams"]["clicks"]
        stream["destination"] |= {"prefix": prefix, "error_prefix": f"{ERRORS}{prefix}"}

    said = running_one.refused(change)
    assert "is partitioned by (tenant, year, month, day)" in said and "another table" in said, said
    kit.send(server.firehose(ACME), "clicks", records(1, 1))
    server.flush("clicks")
    assert sorted(ids(folder_lake, "clicks")) == ["r0", "r1"]


def test_a_reload_that_is_refused_leaves_catalogs_and_streams_as_they_were(running_one, folder_lake):
    server = running_one.server
    tables = lambda: {file.name for file in (server.data_dir.parent / "catalog").rglob("*.json")}
    kit.send(server.firehose(ACME), "clicks", records(0, 1))
    server.flush("clicks")
    before = tables()

    def add(settings, *names):
        for name in names:
            settings["delivery_streams"][name] = copy.deepcopy(CLICKS)

    def other_keys(settings):
        add(settings, "added")
        prefix = "clicks/day=!{timestamp:dd}/tenant=!{lakehose:tenant}/"
        stream = settings["delivery_streams"]["clicks"]
        stream["destination"] |= {"prefix": prefix, "error_prefix": f"{ERRORS}{prefix}"}

    running_one.refused(other_keys)
    assert tables() == before, "the table of the stream that was in order was made"

    # A stream that cannot be opened, behind one that can.
    in_the_way = server.data_dir / "streams" / "beyond"
    in_the_way.write_text("")
    running_one.write(lambda settings: add(settings, "added", "beyond"))
    done = server.run("reload", "--admin", server.admin)
    assert done.returncode == 1 and "stream.json" in done.stderr, done
    assert tables() == before
    assert not (server.data_dir / "streams" / "added").exists(), "the folder was made for nothing"
    assert list(json.loads(kit.http("GET", f"{server.admin}/status")[1])["streams"]) == ["clicks"]
    in_the_way.unlink()
    running_one.reload(lambda settings: add(settings, "added", "beyond"))
    for stream in ("added", "beyond", "clicks"):
        kit.send(server.firehose(ACME), stream, records(5, 5))
        server.flush(stream)
        assert len(ids(folder_lake, stream)) == 5 + (stream == "clicks")
    assert server.terminate() == 0, server.log_tail()


def test_under_load_reloads_cost_nothing_and_double_nothing(new_lakehose, folder_lake):
    streams = {"clicks": copy.deepcopy(CLICKS)}
    running_one = Reloadable(new_lakehose([ACME, GLOBEX], folder_lake, streams))
    server = running_one.server
    row = lambda name, number: json.dumps({"id": name, "n": number}).encode()
    turns = 12

    def change(turn):
        def changed(settings):
            stream = settings["delivery_streams"]["clicks"]
            prefix = f"clicks/turn={turn}/tenant=!{{lakehose:tenant}}/"
            stream["schema"]["table"] = "clicks_by_turn"
            stream["destination"] |= {"prefix": prefix, "error_prefix": f"{ERRORS}{prefix}"}
            stream["buffering"] = {"size": f"{64 << turn % 4} KiB", "interval": f"{1 + turn % 3} s"}
            settings["delivery_streams"].pop("orders", None)
            if turn % 2:
                settings["delivery_streams"]["orders"] = copy.deepcopy(CLICKS)

        return changed

    with kit.Load(server, [ACME, GLOBEX], "clicks", row, batch=100) as load:
        for turn in range(turns):
            delivered = server.status("clicks")["delivered"]
            if turn % 3 == 2:
                refusals = running_one.standing()["refused_reloads"]
                running_one.write(lambda settings: settings.update(surplus=1))
                running_one.hang_up()
                kit.wait_for(
                    lambda: running_one.standing()["refused_reloads"] > refusals, 60, "the refusal"
                )
            else:
                running_one.reload(change(turn))
            kit.wait_for(
                lambda: server.status("clicks")["delivered"] > delivered, 60, "a delivery"
            )
            load.check()
    assert not load.refused and not load.ambiguous, (len(load.refused), len(load.ambiguous))
    server.flush("clicks")
    kit.assert_exactly_once(load, ids(folder_lake, "clicks"))
    kit.assert_conserved(server.status("clicks"), len(load.acked))
    folders = collections.Counter(key.split("/")[1] for key in folder_lake.keys() if key.startswith("clicks/"))
    assert len(folders) >= turns // 2, folders
    assert server.terminate() == 0, server.log_tail()
