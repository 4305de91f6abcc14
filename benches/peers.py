#!/usr/bin/env python3
"""JSON to Parquet on one thread, against the best that others have.

Each conversion is a process of its own that reads the same file of JSON lines and writes a Parquet file by
the same declared columns. The programs take turns in each round; a figure is the median of the rounds.
What all of them wrote is read back by PyArrow and compared with what we wrote, value by value.

- *MB/cpu-s*: megabytes (10^6) of JSON by seconds of CPU, all threads, user and kernel, loading left out.
- *kernel*: the part of that in the kernel. It reads the file and clears fresh memory, which is slow where
  the host of a virtual machine has to find it first, and then says little of the program.
- *MB/s*: by the clock, which other work on the machine disturbs.
- *output*: the size of the file. *peak*: `VmHWM` of the whole process; *before*: what it held with its
  library loaded and nothing converted.
- *values*: `equal` to ours, or the columns that are not.

The lines below each table compare us with the fastest opponent by CPU. An opponent's file sets the limit of
ours: 1.05 of it with Snappy, 1.00 with zstd.

    benches/peers.py [--megabytes 300] [--rounds 5] [--corpora small,nested] [--codecs snappy]
                     [--engines duckdb-v2,clickhouse] [--programs DIR] [--dir DIR] [--json FILE]

Without `--programs` the programs are built with the `dist` profile first. Needs `requirements.txt`.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys

import engines
import values

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
US = "lakehose"
CORPORA = ["clickstream", "small", "nested"]
SHUFFLED = [f"{corpus}-shuffled" for corpus in CORPORA]
CODECS = ["snappy", "zstd"]
SIZE_LIMITS = {"snappy": 1.05, "zstd": 1.0}
MB = 1e6


def build():
    programs = ["--example", "corpus", "--example", "convert"]
    subprocess.run(["cargo", "build", "--locked", "--profile", "dist", *programs], cwd=REPOSITORY, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / "dist" / "examples"


def convert(program, engine, codec, source, target, columns):
    """Runs one conversion; returns what it took."""
    target.unlink(missing_ok=True)
    command = [program] if engine == US else [sys.executable, engines.__file__, engine]
    command += [codec, source, target, json.dumps(columns)]
    user, kernel = engines.cpu_seconds(resource.RUSAGE_CHILDREN)
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    user_after, kernel_after = engines.cpu_seconds(resource.RUSAGE_CHILDREN)
    # Ours has nothing to load, so all that the process took counts.
    took = {"user_seconds": user_after - user, "kernel_seconds": kernel_after - kernel, "before_kib": 0}
    took |= json.loads(told.splitlines()[-1])
    took["cpu_seconds"] = took["user_seconds"] + took["kernel_seconds"]
    return took | {"output_bytes": target.stat().st_size}


def median(rounds, name):
    return statistics.median(each[name] for each in rounds)


def measure(arguments, columns, corpus, codec):
    source = arguments.dir / f"{corpus}.ndjson"
    target = arguments.dir / "converted.parquet"
    typed = [(name, engines.parse(hive)) for name, hive in columns]
    names = [US, *arguments.engines]
    rounds, said = {name: [] for name in names}, {}
    for number in range(arguments.rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            program = arguments.programs / "convert"
            rounds[name].append(convert(program, name, codec, source, target, columns))
            if number == 0:
                said[name] = {"rows": values.row_count(target), **values.hashes(target, typed)}
    json_bytes = source.stat().st_size
    rows = []
    for name in names:
        theirs, ours = said[name], said[US]
        different = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
        rows.append({
            "engine": name,
            "corpus": corpus,
            "codec": codec,
            "json_bytes": json_bytes,
            "rows": theirs["rows"],
            **{key: median(rounds[name], key) for key in rounds[name][0]},
            "cpu_seconds_of_rounds": [each["cpu_seconds"] for each in rounds[name]],
            "different": different,
        })
    return rows


def show(rows):
    first = rows[0]
    print(f"\n{first['corpus']}, {first['codec']}: {first['json_bytes'] / MB:.0f} MB, {first['rows']:,} records")
    print(f"{'':12} {'MB/cpu-s':>9} {'kernel':>7} {'MB/s':>7} {'output MB':>10} {'peak MB':>8} {'before':>7}  values")
    for row in rows:
        json_mb = row["json_bytes"] / MB
        print(
            f"{row['engine']:12} {json_mb / row['cpu_seconds']:>9.1f} "
            f"{row['kernel_seconds'] / row['cpu_seconds']:>7.0%} {json_mb / row['wall_seconds']:>7.1f} "
            f"{row['output_bytes'] / MB:>10.2f} {row['peak_kib'] * 1024 / MB:>8.0f} "
            f"{row['before_kib'] * 1024 / MB:>7.0f}  "
            + (", ".join(row["different"]) if row["different"] else "" if row is first else "equal")
        )
    if len(rows) == 1:
        return
    best = min(rows[1:], key=lambda row: row["cpu_seconds"])
    size, limit = first["output_bytes"] / best["output_bytes"], SIZE_LIMITS[first["codec"]]
    print(
        f"against {best['engine']}: {best['cpu_seconds'] / first['cpu_seconds']:.2f}x its speed by CPU, "
        f"{size:.3f} of its size (at most {limit:.2f}: {'yes' if size <= limit else 'NO'}), "
        f"{first['peak_kib'] / best['peak_kib']:.2f} of its memory"
    )


def names(text):
    return text.split(",")


def path(text):
    return pathlib.Path(text).resolve()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=300, help="of JSON for each corpus")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--corpora", type=names, default=CORPORA + SHUFFLED)
    parser.add_argument("--codecs", type=names, default=CODECS)
    parser.add_argument("--engines", type=names, default=list(engines.ENGINES))
    parser.add_argument("--programs", type=path, help="where `corpus` and `convert` are built already")
    parser.add_argument("--dir", type=path, default=REPOSITORY / "target" / "corpora")
    parser.add_argument("--json", type=pathlib.Path, help="a file that gets all figures, one line a row")
    arguments = parser.parse_args()
    arguments.programs = arguments.programs or build()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    packages = ["duckdb", "chdb", "polars", "pyarrow"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {versions}")
    columns = json.loads(subprocess.check_output([arguments.programs / "corpus"]))
    for corpus in arguments.corpora:
        source = arguments.dir / f"{corpus}.ndjson"
        command = [arguments.programs / "corpus", corpus, str(arguments.megabytes * 1_000_000), source]
        subprocess.run(command, check=True)
        for codec in arguments.codecs:
            rows = measure(arguments, columns[corpus], corpus, codec)
            show(rows)
            sys.stdout.flush()
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows)
        source.unlink()


if __name__ == "__main__":
    main()
