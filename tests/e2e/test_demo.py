"""`lakehose demo`: a lake out of nothing, whose counts add up."""

import json
import re

import duckdb
import pytest

import kit

NAMES = ("clicks", "orders", "tenant=acme", "tenant=globex", "tenant=initech")


def number(text):
    return int(text.replace(",", ""))


@pytest.mark.parametrize("asked", [None, 1, 2, 5, 100, 3_001])
def test_demo_delivers_what_it_sent_and_says_so(tmp_path, asked):
    folder = tmp_path / "demo"
    count = [] if asked is None else ["--records", asked]
    done = kit.run("demo", "--dir", folder, *count, timeout=180, cwd=tmp_path)
    assert done.returncode == 0, done
    totals = re.search(
        r"sent ([\d,]+) = delivered ([\d,]+) \+ failed ([\d,]+)", done.stdout + done.stderr
    )
    assert totals, done
    sent, delivered, failed = map(number, totals.groups())
    assert sent == delivered + failed and delivered > 0, totals[0]
    assert sent == (asked or 30_000), totals[0]

    objects = [path for path in folder.rglob("*.parquet") if "tenant=" in str(path)]
    folders = {tuple(part for part in path.parts if part in NAMES) for path in objects}
    assert len(folders) == min(sent, 6), "each tenant and stream gets some"
    rows = duckdb.connect().read_parquet([str(path) for path in objects], union_by_name=True)
    assert rows.aggregate("count(*)").fetchone() == (delivered,)
    errors = [path for path in folder.rglob("*") if path.is_file() and "/errors/" in str(path)]
    assert sum(len(path.read_text().splitlines()) for path in errors) == failed

    registered = set()
    for file in folder.rglob("*.partitions.json"):
        entries = json.loads(file.read_text())["partitions"]
        registered |= {entry["Location"].rstrip("/") for entry in entries}
    assert registered == {f"file://{path.parent}" for path in objects}
