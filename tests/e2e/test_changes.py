"""What is under way when the configuration changes: every record ends once, by the definition it had."""

import contextlib
import copy
import gzip
import json
import socket

import botocore.exceptions
import pytest
import yaml

import glue_kit
import hooks_kit
import kit

ACME = kit.Identity("acme", ())
# What closes a batch is a flush, a drain, or a stop.
STREAM = kit.stream_of({"columns": {"id": "string"}}, size="64 MiB", interval="900 s")
DOWN = {"put_status": 503}
RAW = {"store": "lake", "prefix": "raw/tenant=!{lakehose:tenant}/", "buffering": {"interval": "900 s"}}


class World:
    """A Lakehose whose file changes, by a reload or by a kill and another start."""

    def __init__(self, server, streams):
        self.server = server
        self.settings = yaml.safe_load(server.settings_file.read_text())
        self.settings["identities"][0].pop("streams")
        self.settings["delivery_streams"] = streams
        self.write()
        server.start()

    def write(self):
        self.server.settings_file.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def change(self, how, change):
        change(self.settings)
        self.write()
        if how == "restart":
            self.server.kill()
            self.server.start()
        else:
            done = self.server.run("reload", "--admin", self.server.admin)
            assert done.returncode == 0, done

    def restart(self):
        self.server.kill()
        self.server.start()

    def send(self, stream, first, count):
        rows = [json.dumps({"id": f"r{n}"}).encode() for n in range(first, first + count)]
        kit.send(self.server.firehose(ACME), stream, rows)

    def refuses(self, stream):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            self.send(stream, 0, 1)
        return caught.value.response["Error"]["Code"] == "ResourceNotFoundException"

    def status(self):
        return json.loads(kit.http("GET", f"{self.server.admin}/status")[1])

    def draining(self):
        return self.status()["draining"]

    def folder(self, stream):
        return self.server.data_dir / "streams" / stream

    def await_retired(self, stream):
        note = self.folder(stream) / "retired.json"
        kit.wait_for(lambda: note.exists() and stream not in self.draining(), 90, f"{stream} to be retired")
        assert stream not in self.status()["streams"]
        return json.loads(note.read_text())

    def freeze(self, stream):
        """Has everything planned while the store is away."""
        with contextlib.suppress(OSError):
            kit.http("POST", f"{self.server.admin}/flush/{stream}", timeout=0.5)

        def planned():
            status = self.server.status(stream)
            return status["open_plans"] + (status["backup"] or {}).get("open_plans", 0) > 0

        kit.wait_for(planned, 60, f"a plan of {stream}")

    def metric(self, name, stream):
        text = kit.http("GET", f"{self.server.admin}/metrics")[1]
        return f'lakehose_{name}{{stream="{stream}"}} 1' in text

    def verify(self):
        done = kit.run("verify", self.server.data_dir, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def world(new_lakehose):
    def make(lake, streams, **settings):
        # One copy for each, since the file has no aliases.
        streams = {name: copy.deepcopy(stream) for name, stream in streams.items()}
        return World(new_lakehose([ACME], lake, streams, **settings), streams)

    return make


@pytest.fixture
def other_s3(running, tmp_path):
    server = kit.S3Server(tmp_path / "other")
    running.append(server)
    return server.start()


def ids(lake, prefix):
    if not any(key.startswith(f"{prefix}/") for key in lake.keys()):
        return []
    found = lake.duckdb().execute(f"SELECT id FROM {kit.rows_of(lake, prefix)}").fetchall()
    return sorted(name for (name,) in found)


def names(*runs):
    return sorted(f"r{n}" for first, count in runs for n in range(first, first + count))


def raw(lake, prefix="raw"):
    """The ids in a backup, once for each time."""
    found, decoder = [], json.JSONDecoder()
    for key in lake.keys():
        if not key.startswith(f"{prefix}/"):
            continue
        text, at = gzip.decompress(lake.read(key)).decode(), 0
        while at < len(text):
            event, at = decoder.raw_decode(text, at)
            found.append(event["id"])
    return sorted(found)


def without(*streams):
    def change(settings):
        for stream in streams:
            del settings["delivery_streams"][stream]

    return change


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_stream_that_is_taken_out_is_delivered_and_retired_through_kills(how, world, s3, s3_lake):
    orders = {**copy.deepcopy(STREAM), "backup": RAW}
    here = world(s3_lake, {"clicks": STREAM, "orders": orders})
    s3.set_faults(**DOWN)
    here.send("orders", 0, 100)
    here.freeze("orders")
    here.send("orders", 100, 50)
    here.change(how, without("orders"))
    assert here.refuses("orders")
    assert here.server.firehose(ACME).list_delivery_streams()["DeliveryStreamNames"] == ["clicks"]
    kit.wait_for(lambda: "orders" in here.status()["streams"], 60, "the stream to be opened")
    # Frozen without being asked to, though the store is away.
    frozen = lambda: here.server.status("orders")["buffered_records"] == 0
    kit.wait_for(frozen, 60, "everything to be frozen")
    assert here.draining() == {"orders": None} and here.metric("draining", "orders")
    assert kit.http("GET", f"{here.server.admin}/ready")[0] == 200
    shown = here.server.run("status", "--admin", here.server.admin).stdout
    assert "orders is not in the configuration any more" in shown, shown

    here.restart()
    assert here.refuses("orders") and not (here.folder("orders") / "retired.json").exists()
    # Killed with some of it delivered.
    s3.set_faults(put_delay_ms=300)
    done = s3.state()["puts_done"]
    kit.wait_for(lambda: s3.state()["puts_done"] > done, 60, "an object")
    here.restart()
    s3.set_faults()
    # What the last start of this process still had to do.
    assert here.await_retired("orders")["records"] <= 150
    assert ids(s3_lake, "orders") == names((0, 150))
    assert raw(s3_lake) == names((0, 150))
    catalog = here.server.data_dir.parent / "catalog"
    kit.assert_partitions_are_the_folders(s3_lake, "orders", catalog, "lakehose", "orders")
    assert "retired" in here.server.log_text()
    assert here.server.terminate() == 0, here.server.log_tail()
    here.verify()

    # It stays so, and the name can come again.
    here.server.start()
    assert here.draining() == {} and list(here.status()["streams"]) == ["clicks"]
    here.change(how, lambda settings: settings["delivery_streams"].update(orders=copy.deepcopy(STREAM)))
    assert not (here.folder("orders") / "retired.json").exists()
    here.send("orders", 150, 10)
    here.server.flush("orders")
    assert ids(s3_lake, "orders") == names((0, 160)) and raw(s3_lake) == names((0, 150))
    assert here.server.status("orders")["pending"] == 0
    assert here.server.terminate() == 0, here.server.log_tail()
    here.verify()


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_renamed_stream_is_one_that_goes_and_one_that_comes(how, world, folder_lake):
    here = world(folder_lake, {"orders": STREAM})
    here.send("orders", 0, 20)

    def rename(settings):
        settings["delivery_streams"] = {"purchases": settings["delivery_streams"]["orders"]}

    here.change(how, rename)
    assert here.refuses("orders")
    here.send("purchases", 20, 20)
    here.await_retired("orders")
    here.server.flush("purchases")
    assert ids(folder_lake, "orders") == names((0, 20))
    assert ids(folder_lake, "purchases") == names((20, 20))


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_stream_that_comes_back_while_it_is_delivered_goes_on(how, world, s3, s3_lake):
    here = world(s3_lake, {"clicks": STREAM, "orders": STREAM})
    here.send("orders", 0, 20)
    s3.set_faults(**DOWN)
    here.change(how, without("orders"))
    kit.wait_for(lambda: "orders" in here.status()["streams"], 60, "the stream to be opened")
    here.change(how, lambda settings: settings["delivery_streams"].update(orders=copy.deepcopy(STREAM)))
    assert here.draining() == {} and not here.metric("draining", "orders")
    here.send("orders", 20, 20)
    s3.set_faults()
    here.server.flush("orders")
    kit.assert_conserved(here.server.status("orders"), 40)
    assert ids(s3_lake, "orders") == names((0, 40))
    assert not (here.folder("orders") / "retired.json").exists()


def test_a_hook_goes_with_its_stream_and_a_secret_that_is_gone_holds_nobody_else(
    world, s3_lake, tmp_path
):
    key = tmp_path / "key"
    key.write_text("of the hook\n")
    with contextlib.closing(hooks_kit.Hook()) as hook:
        hook.go()
        step = {"http": {"url": hook.url, "headers": {"X-Key": "${file:%s}" % key}}}
        orders = {**copy.deepcopy(STREAM), "transform": [step]}
        here = world(s3_lake, {"clicks": STREAM, "orders": orders})
        here.send("orders", 0, 20)
        key.unlink()
        here.change("restart", without("orders"))
        reason = kit.wait_for(lambda: here.draining()["orders"], 60, "the reason")
        assert "delivery_streams.orders.transform[0].http.headers.X-Key" in reason and str(key) in reason
        assert "in its folder wait: records 20," in reason, reason
        assert here.metric("blocked", "orders") and here.refuses("orders")
        assert str(key) in here.server.log_text()
        here.send("clicks", 0, 10)
        here.server.flush("clicks")
        assert ids(s3_lake, "clicks") == names((0, 10))
        key.write_text("of the hook\n")
        hook.come()
        assert here.await_retired("orders")["records"] == 20
    assert ids(s3_lake, "orders") == names((0, 20))
    written = "".join(file.read_text() for file in here.server.data_dir.rglob("definition.json"))
    assert "of the hook" not in written and kit.LAKE_SECRET not in written
    assert "${env:LAKE_SECRET}" in written


def test_the_secret_of_a_store_that_is_gone_is_named_and_waited_for(world, s3, s3_lake, folder_lake):
    here = world(
        folder_lake,
        {"clicks": STREAM, "orders": {**copy.deepcopy(STREAM), "destination": {"store": "cloud"}}},
        stores={"lake": folder_lake.settings(), "cloud": s3_lake.settings()},
    )
    here.send("orders", 0, 20)

    def go(settings):
        without("orders")(settings)
        del settings["stores"]["cloud"]

    secret = here.server.secrets.pop("LAKE_SECRET")
    here.change("restart", go)
    kit.wait_for(lambda: "orders" in here.status()["streams"], 60, "the stream to be opened")
    blocked = lambda: here.server.status("orders")["blocked"] or ""
    kit.wait_for(lambda: "LAKE_SECRET is not set" in blocked(), 60, "what is missing")
    assert here.server.status("orders")["open_plans"] > 0, "it is frozen all the same"
    here.send("clicks", 0, 10)
    here.server.flush("clicks")
    here.server.secrets["LAKE_SECRET"] = secret
    here.restart()
    here.await_retired("orders")
    assert ids(s3_lake, "orders") == names((0, 20)) and ids(folder_lake, "clicks") == names((0, 10))


@pytest.mark.parametrize("how", ["reload", "restart"])
@pytest.mark.parametrize("name", ["lake", "another"])
def test_plans_go_where_they_were_to_go_when_the_store_has_moved(how, name, world, s3, s3_lake, other_s3):
    stream = {**copy.deepcopy(STREAM), "backup": RAW}
    here = world(s3_lake, {"clicks": stream})
    s3.set_faults(**DOWN)
    here.send("clicks", 0, 30)
    here.freeze("clicks")
    here.send("clicks", 30, 30)

    def move(settings):
        store = settings["stores"].pop("lake")
        settings["stores"][name] = {**store, "endpoint": other_s3.endpoint}
        for section in ("destination", "backup"):
            settings["delivery_streams"]["clicks"][section]["store"] = name

    here.change(how, move)
    # The old plans outlive another start, too.
    here.restart()
    here.send("clicks", 60, 10)
    s3.set_faults()
    here.server.flush("clicks")
    kit.assert_conserved(here.server.status("clicks"), 70)
    other_lake = kit.S3Lake(other_s3)
    assert ids(s3_lake, "clicks") == names((0, 30)) and ids(other_lake, "clicks") == names((30, 40))
    assert raw(s3_lake) == names((0, 30)) and raw(other_lake) == names((30, 40))


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_open_plans_are_put_with_the_new_credentials_of_their_store(how, world, s3, s3_lake):
    store = {**s3_lake.settings(), "access_key": "NOBODY"}
    here = world(s3_lake, {"clicks": STREAM}, stores={"lake": store})
    here.send("clicks", 0, 30)
    here.freeze("clicks")

    def mend(settings):
        settings["stores"] = {"renamed": s3_lake.settings()}
        settings["delivery_streams"]["clicks"]["destination"]["store"] = "renamed"

    here.change(how, mend)
    here.server.flush("clicks")
    assert ids(s3_lake, "clicks") == names((0, 30))


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_backup_that_is_switched_off_is_written_to_its_end_and_begins_again_with_new_records(
    how, world, s3, s3_lake, folder_lake
):
    stream = {**copy.deepcopy(STREAM), "backup": {**RAW, "store": "cloud"}}
    stores = {"lake": folder_lake.settings(), "cloud": s3_lake.settings()}
    here = world(folder_lake, {"clicks": stream}, stores=stores)
    s3.set_faults(**DOWN)
    here.send("clicks", 0, 30)
    here.freeze("clicks")
    here.send("clicks", 30, 30)

    def off(settings):
        del settings["delivery_streams"]["clicks"]["backup"]
        del settings["stores"]["cloud"]

    here.change(how, off)
    here.send("clicks", 60, 20)
    is_delivered = lambda: here.server.status("clicks")["delivered"] == 80
    with contextlib.suppress(OSError):
        kit.http("POST", f"{here.server.admin}/flush/clicks", timeout=0.5)
    kit.wait_for(is_delivered, 60, "the delivery, which does not wait for the backup")
    for _ in range(2):
        here.restart()
        kept = here.server.status("clicks")["backup"]
        assert (kept["accepted"], kept["pending"], kept["difference"]) == (60, 60, 0), kept
    s3.set_faults()
    kit.wait_for(lambda: here.server.status("clicks")["backup"] is None, 90, "the end of the backup")
    assert raw(s3_lake) == names((0, 60))
    here.send("clicks", 80, 20)
    here.restart()
    assert here.server.status("clicks")["backup"] is None
    assert here.server.terminate() == 0, here.server.log_tail()
    here.verify()
    here.server.start()

    def on(settings):
        settings["stores"]["cloud"] = s3_lake.settings()
        settings["delivery_streams"]["clicks"]["backup"] = {**RAW, "store": "cloud"}

    here.change(how, on)
    here.send("clicks", 100, 10)
    here.restart()
    here.server.flush("clicks")
    assert raw(s3_lake) == names((0, 60), (100, 10)), "nothing of the time between"
    kept = here.server.status("clicks")["backup"]
    assert (kept["delivered"], kept["pending"], kept["difference"]) == (70, 0, 0), kept
    assert ids(folder_lake, "clicks") == names((0, 110))
    assert here.server.terminate() == 0, here.server.log_tail()
    here.verify()


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_backup_that_is_switched_on_begins_with_the_next_record(how, world, folder_lake):
    here = world(folder_lake, {"clicks": STREAM})
    here.send("clicks", 0, 30)
    here.change(how, lambda settings: settings["delivery_streams"]["clicks"].update(backup=RAW))
    here.send("clicks", 30, 30)
    here.server.flush("clicks")
    assert ids(folder_lake, "clicks") == names((0, 60)) and raw(folder_lake) == names((30, 30))


def test_a_stream_goes_with_the_backup_that_was_switched_off_before(world, s3, s3_lake, folder_lake):
    stream = {**copy.deepcopy(STREAM), "backup": {**RAW, "store": "cloud"}}
    stores = {"lake": folder_lake.settings(), "cloud": s3_lake.settings()}
    here = world(folder_lake, {"clicks": STREAM, "orders": stream}, stores=stores)
    s3.set_faults(**DOWN)
    here.send("orders", 0, 30)
    here.change("reload", lambda settings: settings["delivery_streams"]["orders"].pop("backup"))
    here.send("orders", 30, 10)
    here.change("restart", without("orders"))
    assert here.refuses("orders")
    s3.set_faults()
    here.await_retired("orders")
    assert ids(folder_lake, "orders") == names((0, 40)) and raw(s3_lake) == names((0, 30))


def test_a_stream_with_nothing_in_its_folder_is_retired_without_its_secret_and_without_a_definition(
    world, folder_lake, tmp_path
):
    key = tmp_path / "key"
    key.write_text("of the hook\n")
    with contextlib.closing(hooks_kit.Hook()) as hook:
        hook.go()
        hook.come()
        step = {"http": {"url": hook.url, "headers": {"X-Key": "${file:%s}" % key}}}
        orders = {**copy.deepcopy(STREAM), "transform": [step], "backup": RAW}
        here = world(folder_lake, {"clicks": STREAM, "orders": orders})
        here.send("orders", 0, 20)
        here.server.flush("orders")
    key.unlink()
    # As a kill leaves it before its definition is kept.
    without_definition = here.folder("begun")
    without_definition.mkdir()
    (without_definition / "stream.json").write_text('{"stream":"begun","created":1}\n')
    here.change("restart", without("orders"))
    for stream in ("orders", "begun"):
        assert here.await_retired(stream)["records"] == 0
        assert not here.metric("blocked", stream) and not here.metric("draining", stream)
    assert " ERROR " not in here.server.log_text(), here.server.log_tail()
    text = kit.http("GET", f"{here.server.admin}/metrics")[1]
    assert 'lakehose_disk_bytes{stream="orders"' not in text
    assert here.server.terminate() == 0, here.server.log_tail()
    assert "stopped; everything is delivered" in here.server.log_tail(3)
    here.verify()
    # The name is as good as ever.
    here.server.start()
    here.change("reload", lambda settings: settings["delivery_streams"].update(orders=copy.deepcopy(STREAM)))
    here.send("orders", 20, 10)
    here.server.flush("orders")
    assert ids(folder_lake, "orders") == names((0, 30)) and raw(folder_lake) == names((0, 20))


def test_a_stop_tells_what_waits_of_a_stream_that_could_not_be_opened(world, folder_lake, tmp_path):
    key = tmp_path / "key"
    key.write_text("of the hook\n")
    with contextlib.closing(hooks_kit.Hook()) as hook:
        hook.go()
        step = {"http": {"url": hook.url, "headers": {"X-Key": "${file:%s}" % key}}}
        orders = {**copy.deepcopy(STREAM), "transform": [step]}
        here = world(folder_lake, {"clicks": STREAM, "orders": orders})
        here.send("orders", 0, 20)
        key.unlink()
        here.change("restart", without("orders"))
        kit.wait_for(lambda: here.draining()["orders"], 60, "the reason")
        assert here.server.terminate() == 0, here.server.log_tail()
    tail = here.server.log_tail(3)
    assert "everything is delivered" not in tail and "20 records to be delivered" in tail, tail


def test_the_secret_of_a_catalog_that_is_gone_is_told_and_waited_for(
    world, running, s3_lake, folder_lake, tmp_path
):
    glue = glue_kit.Glue()
    running.append(glue)
    secret = tmp_path / "glue-secret"
    secret.write_text(glue_kit.SECRET + "\n")
    glue.client().create_database(DatabaseInput={"Name": "db"})
    catalogs = {"glue": {**glue.settings(), "secret": "${file:%s}" % secret}}
    stream = copy.deepcopy(STREAM)
    stream["schema"] |= {"catalog": "glue", "database": "db", "table": "clicks"}
    here = world(s3_lake, {"clicks": stream}, catalogs=catalogs)
    glue.is_down = True
    here.send("clicks", 0, 10)
    here.server.flush("clicks")
    waiting = lambda: here.server.status("clicks")["unregistered_partitions"]
    assert waiting() == 1
    secret.unlink()

    def go(settings):
        folder = str(here.server.data_dir.parent / "catalog")
        settings["catalogs"] = {"tables": {"type": "files", "path": folder}}
        settings["delivery_streams"] = {"clicks": copy.deepcopy(STREAM)}
        settings["delivery_streams"]["clicks"]["schema"]["table"] = "others"

    here.change("restart", go)
    blocked = lambda: here.server.status("clicks")["blocked"] or ""
    kit.wait_for(lambda: str(secret) in blocked() and "'glue'" in blocked(), 60, "what is missing")
    secret.write_text(glue_kit.SECRET + "\n")
    glue.is_down = False
    kit.wait_for(lambda: waiting() == 0, 90, "the partition")


def test_credentials_of_a_folder_in_a_bucket_do_not_serve_another_folder_of_it(world, s3, s3_lake):
    """The kept store has the whole URL; that of the configuration only shares the bucket."""
    narrow = {**s3_lake.settings(), "url": f"s3://{kit.BUCKET}/narrow", "access_key": "NARROW"}
    streams = {"clicks": {**copy.deepcopy(STREAM), "destination": {"store": "cloud"}}}
    here = world(s3_lake, streams, stores={"cloud": s3_lake.settings()})
    s3.set_faults(**DOWN)
    here.send("clicks", 0, 30)
    here.freeze("clicks")

    def move(settings):
        settings["stores"] = {"narrow": narrow}
        settings["delivery_streams"]["clicks"]["destination"]["store"] = "narrow"

    here.change("restart", move)
    s3.set_faults()
    kit.wait_for(lambda: here.server.status("clicks")["delivered"] == 30, 60, "the delivery")
    assert ids(s3_lake, "clicks") == names((0, 30))


def test_a_reload_does_not_wait_for_the_catalog_of_a_stream_that_is_gone(world, folder_lake, tmp_path):
    glue = glue_kit.Glue()
    secret = tmp_path / "glue-secret"
    secret.write_text(glue_kit.SECRET + "\n")
    glue.client().create_database(DatabaseInput={"Name": "db"})
    orders = copy.deepcopy(STREAM)
    orders["schema"] |= {"catalog": "glue", "database": "db", "table": "orders"}
    clicks = copy.deepcopy(STREAM)
    clicks["schema"] |= {"catalog": "tables"}
    catalogs = {"tables": {"type": "files", "path": str(tmp_path / "tables")}, "glue": {**glue.settings(), "secret": "${file:%s}" % secret}}
    # A table of others must be asked for.
    wanted = glue_kit.table_input("orders", {"id": "string"}, kit.PARTITION_KEYS, f"{folder_lake.url}/orders/")
    glue.client().create_table(DatabaseName="db", TableInput=wanted)
    del orders["schema"]["columns"]
    here = world(folder_lake, {"clicks": clicks}, catalogs=catalogs)
    here.change("restart", lambda settings: settings["delivery_streams"].update(orders=orders))
    here.send("orders", 0, 20)
    port = int(glue.endpoint.rsplit(":", 1)[1])
    glue.kill()
    with socket.create_server(("127.0.0.1", port)) as silent:
        silent.settimeout(60)
        here.change("restart", without("orders"))
        connection, _ = silent.accept()
        # As often as one likes: nobody is answered by the catalog.
        for _ in range(3):
            here.change("reload", lambda settings: None)
        assert here.draining() == {"orders": None} and "orders" not in here.status()["streams"]
        connection.close()
    # Its copy of the table serves; the partition waits for the catalog.
    delivered = lambda: "orders" in here.status()["streams"] and here.server.status("orders")["delivered"] == 20
    kit.wait_for(delivered, 120, "the delivery")
    assert ids(folder_lake, "orders") == names((0, 20))
