"""The main job: JSON records of three tenants in, typed rows in the lake, each exactly once."""

import datetime
import decimal
import json
import threading

import pyarrow as pa
import pytest

import kit

RECORDS = 100_000
TENANTS = ("acme", "globex", "initech")
COLUMNS = {
    "id": "string",
    "serial": "bigint",
    "name": "string",
    "score": "double",
    "at": "timestamp",
    "price": "decimal(18,4)",
    "paid": "boolean",
    "day_of": "date",
    "tags": "array<string>",
    "place": "struct<city:string,lat:double,zip:string>",
    "counts": "map<string,int>",
    "items": "array<struct<sku:string,n:int>>",
}
ARROW = pa.schema(
    [
        ("id", pa.string()),
        ("serial", pa.int64()),
        ("name", pa.string()),
        ("score", pa.float64()),
        ("at", pa.timestamp("us")),
        ("price", pa.decimal128(18, 4)),
        ("paid", pa.bool_()),
        ("day_of", pa.date32()),
        ("tags", pa.list_(pa.string())),
        ("place", pa.struct([("city", pa.string()), ("lat", pa.float64()), ("zip", pa.string())])),
        ("counts", pa.map_(pa.string(), pa.int32())),
        ("items", pa.list_(pa.struct([("sku", pa.string()), ("n", pa.int32())]))),
    ]
)
NAMES = ("plain", "Zoë Müller", "日本語のテキスト", "🦆 \U0001f469‍\U0001f680", 'a "quote" \\ \n\t/', "", "שלום", None)
SCORES = (0.1, -1.5, 1.7976931348623157e308, 5e-324, 12345678.875, 3, None)
PRICES = ("0.0001", "-99999999999999.9999", "99999999999999.9999", "12.5", "7")
EPOCH = datetime.datetime(1970, 1, 1)


def moment(number):
    """A time in four of the forms that are accepted, and what it means."""
    at = datetime.datetime(2026, 3, 4) + datetime.timedelta(seconds=number, microseconds=number % 1000 * 1000)
    milliseconds = (at - EPOCH) // datetime.timedelta(milliseconds=1)
    forms = (
        at.isoformat(timespec="microseconds") + "Z",
        at.isoformat(sep=" ", timespec="milliseconds"),
        milliseconds,
        milliseconds // 1000,
    )
    form = forms[number % 4]
    return form, at.replace(microsecond=0) if number % 4 == 3 else at


def record(number):
    """The JSON of a record and the row that it must become."""
    at_form, at = moment(number)
    price = PRICES[number % len(PRICES)]
    row = {
        "id": f"{TENANTS[number % 3]}-{number:06d}",
        "serial": number * 1_000_003 - 2**40,
        "name": NAMES[number % len(NAMES)],
        "score": SCORES[number % len(SCORES)],
        "at": at,
        "price": decimal.Decimal(price),
        "paid": (True, False, None)[number % 3],
        "day_of": at.date(),
        "tags": [[], ["a"], ["b", None, "ü"], None][number % 4],
        "place": {"city": f"City {number % 500}", "lat": number / 7, "zip": None} if number % 5 else None,
        "counts": {} if number % 6 == 0 else {"x": number % 100, "y": -1},
        "items": [{"sku": f"S{item}", "n": item * number % 97} for item in range(number % 4)],
    }
    document = {**row, "at": at_form, "day_of": str(row["day_of"]), "price": "PRICE", "unknown": [1, {"a": 2}]}
    if number % 10 == 7:
        # A key that is missing means the same as null.
        document = {key: value for key, value in document.items() if value is not None}
    text = json.dumps(document, ensure_ascii=number % 2 == 0)
    # Both a number, of more digits than a double holds, and a text.
    text = text.replace('"PRICE"', price if number % 2 else f'"{price}"')
    return text.encode(), row


def produce(server, identity, records):
    """500 records a call, by one client of one tenant."""
    kit.send(server.firehose(identity), "clicks", records, batch=500)


def expected_table(rows):
    table = pa.Table.from_pylist(rows, schema=ARROW)
    tenants = [row["id"].partition("-")[0] for row in rows]
    return table.append_column("tenant", pa.array(tenants))


@pytest.mark.parametrize("lake_name", ["s3_lake", "folder_lake"])
def test_each_record_of_three_tenants_is_one_true_row(lake_name, request, new_lakehose, tmp_path):
    lake = request.getfixturevalue(lake_name)
    identities = [kit.Identity(tenant, ("clicks",)) for tenant in TENANTS]
    streams = {"clicks": kit.stream_of({"columns": COLUMNS})}
    server = new_lakehose(identities, lake, streams).start()

    days = {datetime.datetime.now(datetime.UTC).date()}
    records, rows = zip(*map(record, range(RECORDS)))
    errors = []

    def guarded(identity, share):
        try:
            produce(server, identity, share)
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=guarded, args=(identity, records[number::3]))
        for number, identity in enumerate(identities)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not errors and not any(thread.is_alive() for thread in threads), errors
    server.flush("clicks")
    days.add(datetime.datetime.now(datetime.UTC).date())

    connection = lake.duckdb()
    connection.register("expected", expected_table(rows))
    found = kit.rows_of(lake, "clicks")
    missing, surplus = kit.difference(connection, "expected", found, [*ARROW.names, "tenant"], ["at"])
    assert (missing, surplus) == ([], [])
    connection.unregister("expected")

    keys = lake.keys()
    folders = [kit.DATA_FOLDER.fullmatch(key.rpartition("/")[0]) for key in keys]
    assert all(folders), keys
    assert {folder["tenant"] for folder in folders} == set(TENANTS)
    dates = {datetime.date(*(int(folder[part]) for part in ("year", "month", "day"))) for folder in folders}
    assert dates <= days
    assert all(key.endswith(".parquet") for key in keys), keys
    # 4 MiB of raw records close a buffer: size counts, not only the flush.
    assert len(keys) > len(TENANTS)

    catalog = tmp_path / "catalog"
    kit.assert_partitions_are_the_folders(lake, "clicks", catalog, "lakehose", "clicks")
    assert_pasted_view_shows_all(connection, catalog / "lakehose" / "clicks.duckdb.sql")
    assert_operator_sees(server)


def assert_pasted_view_shows_all(connection, file):
    """The view's text works as it is, in a session that can reach the store."""
    connection.execute(file.read_text())
    views = connection.execute(
        "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    assert len(views) == 1, f"{file} made {views}"
    view = ".".join(map(kit.quoted, views[0]))
    totals = f"SELECT count(*), count(DISTINCT id), count(DISTINCT tenant) FROM {view}"
    assert connection.execute(totals).fetchone() == (RECORDS, RECORDS, len(TENANTS))


def assert_operator_sees(server):
    """Status by HTTP and by command line, health and metrics."""
    status = server.status("clicks")
    kit.assert_conserved(status, RECORDS)
    assert status["delivered"] == RECORDS and status["blocked"] is None, status
    shown = server.run("status", "--admin", server.admin, "--json")
    assert json.loads(shown.stdout)["streams"]["clicks"]["delivered"] == RECORDS
    assert "clicks" in server.run("status", "--admin", server.admin).stdout
    assert kit.http("GET", f"{server.admin}/health")[0] == 200
    code, metrics = kit.http("GET", f"{server.admin}/metrics")
    assert code == 200 and "# TYPE" in metrics and "clicks" in metrics
