"""`lakehose demo`: a lake out of nothing, whose counts add up."""

import json
import re

import duckdb

import kit


def number(text):
    return int(text.replace(",", ""))


def test_demo_delivers_what_it_sent_and_says_so(tmp_path):
    folder = tmp_path / "demo"
    done = kit.run("demo", "--dir", folder, timeout=180, cwd=tmp_path)
    assert done.returncode == 0, done
    totals = re.search(
        r"sent ([\d,]+) = delivered ([\d,]+) \+ failed ([\d,]+)", done.stdout + done.stderr
    )
    assert totals, done
    sent, delivered, failed = map(number, totals.groups())
    assert sent == delivered + failed and delivered > 0, totals[0]

    objects = [path for path in folder.rglob("*.parquet") if "tenant=" in str(path)]
    assert objects
    rows = duckdb.connect().read_parquet([str(path) for path in objects], union_by_name=True)
    assert rows.aggregate("count(*)").fetchone() == (delivered,)
    errors = [path for path in folder.rglob("*") if path.is_file() and "/errors/" in str(path)]
    assert sum(len(path.read_text().splitlines()) for path in errors) == failed

    registered = set()
    for file in folder.rglob("*.partitions.json"):
        entries = json.loads(file.read_text())["partitions"]
        registered |= {entry["Location"].rstrip("/") for entry in entries}
    assert registered == {f"file://{path.parent}" for path in objects}
