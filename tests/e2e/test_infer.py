"""`lakehose infer` proposes the types that five kinds of data are known to have."""

import datetime
import gzip
import json
import os
import random
import subprocess

import botocore.session
import botocore.validate
import kit
import pytest
import yaml

RECORDS = 1_000
START = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
# What is proposed instead of the known type, and why that is as good.
ACCEPTED = {
    # More room in front of the point; the scale is right.
    ("orders", "items"): "array<struct<sku:string,title:string,qty:int,unit_price:decimal(12,2)>>",
    # Sent as text, which stays text unless its name is one of money; a remark says what would do.
    ("access_log", "upstream_seconds"): "string",
    # A few values are "n/a" or "unknown": the known type would reject those records.
    ("crm", "signed_up"): "string",
    ("crm", "score"): "string",
    # Never anything but null: nothing can be known of it.
    ("crm", "fax"): "string",
}


def moment(dice):
    return START + datetime.timedelta(milliseconds=dice.randrange(86_400_000))


def clickstream(dice):
    return {
        "event_id": f"{dice.getrandbits(64):016x}",
        "user_id": f"u{dice.randrange(500)}",
        "event_time": moment(dice).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event_type": dice.choice(["view", "click", "buy"]),
        "page_url": f"https://example.com/p/{dice.randrange(1000)}?q=1",
        "referrer": dice.choice([None, "", "https://search.example/"]),
        "country": dice.choice(["de", "fr", "us", "jp"]),
        "device": dice.choice(["phone", "desktop"]),
        "duration_s": dice.choice([round(dice.random() * 300, 3), dice.randrange(300)]),
        "scroll_pct": dice.randrange(101),
        "is_logged_in": dice.random() < 0.5,
    }


def orders(dice):
    def item():
        return {
            "sku": f"{dice.randrange(10**8):08d}",
            "title": "Tea ☕",
            "qty": dice.randrange(1, 9),
            "unit_price": dice.randrange(99_999) / 100,
        }

    return {
        "order_id": f"o-{dice.getrandbits(40)}",
        "created_at": moment(dice).strftime("%Y-%m-%d %H:%M:%S"),
        "customer": {"id": dice.randrange(10**6), "name": "Zoë", "email": "z@example.com"},
        "items": [item() for _ in range(dice.randrange(1, 4))],
        "attributes": {f"attr_{dice.randrange(60)}": "x" for _ in range(2)},
        "total": dice.randrange(9_999_999) / 100,
        "currency": dice.choice(["EUR", "USD"]),
        "paid": dice.choice([True, False, None]),
        "ship_by": str(moment(dice).date()),
    }


def iot(dice):
    sensor = dice.choice(["temperature", "humidity"])
    return {
        "deviceId": f"{dice.getrandbits(48):012x}",
        "ts": int(moment(dice).timestamp() * 1000),
        "location": {"lat": dice.uniform(-90, 90), "lon": dice.uniform(-180, 180), "floor": 3},
        "readings": [{"sensor": sensor, "value": dice.gauss(20, 3), "unit": "C"}] * 2,
        "flags": dice.choice([[], ["low_battery"], ["boot", "ota"]]),
        "uptime_s": dice.randrange(10**8),
        "firmware": f"1.{dice.randrange(9)}.{dice.randrange(9)}",
        "errors": {f"E{dice.randrange(80):03d}": dice.randrange(10**6)},
        "online": True,
    }


def access_log(dice):
    return {
        "remote_addr": f"10.0.{dice.randrange(256)}.{dice.randrange(256)}",
        "time": moment(dice).isoformat(timespec="seconds"),
        "method": dice.choice(["GET", "POST"]),
        "path": f"/a/{dice.randrange(100)}",
        "status": dice.choice([200, 301, 404, 500]),
        "bytes": dice.randrange(10**7),
        "referer": "-",
        "user_agent": "curl/8.5.0",
        "request_time": round(dice.random(), 3),
        "upstream_seconds": f"{dice.random():.3f}",
    }


def crm(dice):
    address = {"street": "Main St 1", "city": "Oslo", "zip": f"{dice.randrange(10**5):05d}"}
    record = {
        "id": dice.randrange(10**9),
        dice.choice(["Email", "email", "EMAIL"]): "a@example.com",
        "zip": f"{dice.randrange(10**5):05d}",
        "phone": f"+47 {dice.randrange(10**8)}",
        "signed_up": dice.choice([moment(dice).isoformat()] * 50 + ["n/a"]),
        "score": dice.choice([dice.random()] * 50 + ["unknown"]),
        "balance": f"{dice.randrange(10**6) / 100:.2f}",
        "active": dice.choice(["true", "false"]),
        "born": str(datetime.date(1950, 1, 1) + datetime.timedelta(days=dice.randrange(20_000))),
        "last_seen": int(moment(dice).timestamp()),
        "annual revenue": dice.randrange(10**9) / 100,
        "address": address,
        "tags": dice.choice([[], ["vip"]]),
        "fax": None,
        "": "no name",
    }
    return {key: value for key, value in record.items() if dice.random() < 0.9 or key == "id"}


CORPORA = {
    "clickstream": (clickstream, {
        "event_id": "string", "user_id": "string", "event_time": "timestamp",
        "event_type": "string", "page_url": "string", "referrer": "string", "country": "string",
        "device": "string", "duration_s": "double", "scroll_pct": "int", "is_logged_in": "boolean",
    }),
    "orders": (orders, {
        "order_id": "string", "created_at": "timestamp",
        "customer": "struct<id:bigint,name:string,email:string>",
        "items": "array<struct<sku:string,title:string,qty:int,unit_price:decimal(10,2)>>",
        "attributes": "map<string,string>", "total": "decimal(12,2)", "currency": "string",
        "paid": "boolean", "ship_by": "date",
    }),
    "iot": (iot, {
        "deviceid": "string", "ts": "timestamp",
        "location": "struct<lat:double,lon:double,floor:int>",
        "readings": "array<struct<sensor:string,value:double,unit:string>>",
        "flags": "array<string>", "uptime_s": "bigint", "firmware": "string",
        "errors": "map<string,bigint>", "online": "boolean",
    }),
    "access_log": (access_log, {
        "remote_addr": "string", "time": "timestamp", "method": "string", "path": "string",
        "status": "int", "bytes": "bigint", "referer": "string", "user_agent": "string",
        "request_time": "double", "upstream_seconds": "double",
    }),
    "crm": (crm, {
        "id": "bigint", "email": "string", "zip": "string", "phone": "string",
        "signed_up": "timestamp", "score": "double", "balance": "decimal(12,2)",
        "active": "boolean", "born": "date", "last_seen": "timestamp",
        "annual revenue": "decimal(12,2)",
        "address": "struct<street:string,city:string,zip:string>", "tags": "array<string>",
        "fax": "string",
    }),
}


def sample(folder, name, seed=7):
    dice = random.Random(f"{seed} {name}")
    file = folder / f"{name}.ndjson"
    record = CORPORA[name][0]
    lines = [json.dumps(record(dice), ensure_ascii=False) for _ in range(RECORDS)]
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("name", CORPORA)
def test_known_types_are_proposed_and_the_sample_converts(tmp_path, name):
    done = kit.run("infer", sample(tmp_path, name))
    assert done.returncode == 0, done
    columns = yaml.safe_load(done.stdout)["delivery_streams"][name]["schema"]["columns"]
    known = CORPORA[name][1]
    expected = {column: ACCEPTED.get((name, column), kind) for column, kind in known.items()}
    assert columns == expected, done.stdout
    assert f"checked: all {RECORDS:,} objects convert" in done.stderr


@pytest.mark.parametrize("name", CORPORA)
def test_what_is_proposed_has_no_faults(tmp_path, name):
    config = tmp_path / "lakehose.yaml"
    config.write_text(kit.run("infer", sample(tmp_path, name)).stdout)
    done = kit.run("check", config, cwd=tmp_path)
    assert done.returncode == 0, done


def test_doubts_and_hints_are_told(tmp_path):
    clicks = kit.run("infer", sample(tmp_path, "clickstream")).stdout
    assert "event_type (3 values), country (4 values), device (2 values)" in clicks
    assert "# Event time: event_time" in clicks
    found = kit.run("infer", sample(tmp_path, "crm")).stdout
    for part in (
        "looks like a number, but has leading zeros",
        'others such as "n/a" are not: timestamp would reject those',
        "doubtful: mixed: ",
        "fax: string  # doubtful: never a value but null",
        "all share this column",
        'key "" can name no column',
        "last_seen: timestamp  # epoch seconds",
    ):
        assert part in found, found


@pytest.mark.parametrize("name", CORPORA)
def test_glue_takes_the_table(tmp_path, name):
    done = kit.run("infer", "--glue", "--stream", "my-stream.1", sample(tmp_path, name))
    table = json.loads(done.stdout)
    glue = botocore.session.Session().get_service_model("glue").operation_model("CreateTable")
    call = {"DatabaseName": "analytics", "TableInput": table}
    report = botocore.validate.ParamValidator().validate(call, glue.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert table["Name"] == "my_stream_1"
    assert [key["Name"] for key in table["PartitionKeys"]] == ["year", "month", "day"]


def test_the_table_has_the_key_of_tenants_where_they_are_asked_for(tmp_path):
    file = tmp_path / "clicks.ndjson"
    file.write_text('{"n": 1}\n')
    table = json.loads(kit.run("infer", "--glue", "--tenants", file).stdout)
    assert [key["Name"] for key in table["PartitionKeys"]] == ["tenant", "year", "month", "day"]
    file.write_text('{"tenant": "acme"}\n')
    done = kit.run("infer", "--glue", "--tenants", file)
    assert done.returncode == 1 and "the sample has a field 'tenant'" in done.stderr, done


def test_several_samples_and_the_standard_input_are_one(tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_text('{"n": 1}\n')
    done = subprocess.run(
        [kit.LAKEHOSE, "infer", file, "-"],
        input='[{"n": 70000}, {"m": true}]',
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    columns = yaml.safe_load(done.stdout)["delivery_streams"]["a"]["schema"]["columns"]
    assert columns == {"n": "bigint", "m": "boolean"}


def test_nothing_to_propose_is_an_error(tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_text("nothing\n[1]\n")
    done = kit.run("infer", file)
    assert done.returncode == 1 and "nothing to propose" in done.stderr, done


def test_a_pipe_is_read_to_its_end_and_checked(tmp_path):
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(b'{"n": 1}\n' * 200_000))
    script = f"'{kit.LAKEHOSE}' infer --stream s <(gzip -dc '{file}')"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    assert yaml.safe_load(done.stdout)["delivery_streams"]["s"]["schema"]["columns"] == {"n": "int"}
    assert "checked: all 200,000 objects convert" in done.stderr


def peak_kib(*arguments):
    """The most memory that the command had."""
    child = subprocess.Popen(
        [kit.LAKEHOSE, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_maxrss


def test_many_samples_take_the_memory_of_one(tmp_path):
    line = json.dumps({"n": 1, "text": "x" * 10_000}) + "\n"
    files = [tmp_path / f"s{number}.ndjson" for number in range(12)]
    for file in files:
        file.write_text(line * 800)
    one, all_of_them = peak_kib("infer", files[0]), peak_kib("infer", *files)
    # Eight of the twelve would not fit between.
    assert all_of_them < one + 64 * 1024, (one, all_of_them)
