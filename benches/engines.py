"""One conversion by an opponent, in a process of its own: `engines.py ENGINE CODEC INPUT OUTPUT COLUMNS`.

COLUMNS is JSON, a list of names and Hive types. Prints one JSON object: seconds of CPU (all threads, user
and kernel) and of the clock around the conversion alone, the most memory that the process held, and what
it held before, with the library loaded.

All get one thread, the declared columns, dictionaries, zstd at level 3, and row groups of 122,880, which
is DuckDB's default. Polars and PyArrow have neither maps nor decimals from JSON: they make structs and
doubles of them, which is less work than is asked.
"""

import itertools
import json
import os
import pathlib
import resource
import sys
import time

ROW_GROUP = 122_880
ZSTD_LEVEL = 3


def parse(hive):
    """A Hive type as a tuple: its name, and what it is made of."""
    if hive.startswith("decimal"):
        return ("decimal", *map(int, hive[8:-1].split(",")))
    name, _, inside = hive.partition("<")
    if not inside:
        return (name,)
    parts = split(inside[:-1])
    if name == "struct":
        return ("struct", [(key, parse(of)) for key, _, of in (part.partition(":") for part in parts)])
    return (name, *map(parse, parts))


def split(text):
    """By the commas that stand in no brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "<(") - (char in ">)")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def duckdb(columns, codec, source, target, version="v1"):
    import duckdb

    names = {"string": "VARCHAR", "bigint": "BIGINT", "int": "INTEGER"}

    def of(kind):
        match kind:
            case ("struct", fields):
                return f"STRUCT({', '.join(f'{name} {of(inner)}' for name, inner in fields)})"
            case ("array", inner):
                return f"{of(inner)}[]"
            case ("map", key, value):
                return f"MAP({of(key)}, {of(value)})"
            case ("decimal", precision, scale):
                return f"DECIMAL({precision}, {scale})"
        return names.get(kind[0], kind[0].upper())

    declared = ", ".join(f"'{name}': '{of(kind)}'" for name, kind in columns)
    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET preserve_insertion_order = true")
    query = f"""
        COPY (SELECT * FROM read_json('{source}', format = 'newline_delimited', columns = {{{declared}}}))
        TO '{target}' (FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE {ROW_GROUP}, PARQUET_VERSION {version})"""
    return lambda: connection.execute(query)


def duckdb_v2(*arguments):
    return duckdb(*arguments, version="v2")


def clickhouse(columns, codec, source, target):
    from chdb import session

    names = {"string": "String", "bigint": "Int64", "int": "Int32", "double": "Float64", "boolean": "Bool"}

    def of(kind):
        match kind:
            case ("struct", fields):
                return f"Tuple({', '.join(f'{name} {of(inner)}' for name, inner in fields)})"
            case ("array", inner):
                return f"Array({of(inner)})"
            case ("map", _key, value):
                return f"Map(String, {of(value)})"
            case ("decimal", precision, scale):
                return f"Nullable(Decimal({precision}, {scale}))"
            case ("timestamp",):
                return "Nullable(DateTime64(3, \\'UTC\\'))"
        return f"Nullable({names[kind[0]]})"

    declared = ", ".join(f"{name} {of(kind)}" for name, kind in columns)
    settings = {
        "max_threads": 1,
        "max_parsing_threads": 1,
        "max_insert_threads": 1,
        "input_format_parallel_parsing": 0,
        "output_format_parquet_parallel_encoding": 0,
        "date_time_input_format": "'best_effort'",
        "engine_file_truncate_on_insert": 1,
        "output_format_parquet_compression_method": f"'{codec}'",
        "output_format_compression_level": ZSTD_LEVEL,
        "output_format_parquet_row_group_size": ROW_GROUP,
        # None of the others writes one.
        "output_format_parquet_write_bloom_filter": 0,
    }
    query = f"""
        INSERT INTO FUNCTION file('{target}', 'Parquet')
        SELECT * FROM file('{source}', 'JSONEachRow', '{declared}')
        SETTINGS {', '.join(f'{name} = {value}' for name, value in settings.items())}"""
    opened = session.Session()
    opened.query("SELECT 1")
    return lambda: opened.query(query)


def keys_of(source, column):
    """The keys of a map in the first records, in the order in which they appear."""
    with open(source, "rb") as lines:
        records = [json.loads(line) for line in itertools.islice(lines, 1000)]
    return list(dict.fromkeys(key for record in records for key in record[column]))


def polars(columns, codec, source, target):
    os.environ["POLARS_MAX_THREADS"] = "1"
    import polars

    names = {"bigint": polars.Int64, "int": polars.Int32, "double": polars.Float64, "decimal": polars.Float64}

    def of(kind, name=None):
        match kind:
            case ("struct", fields):
                return polars.Struct([polars.Field(key, of(inner)) for key, inner in fields])
            case ("array", inner):
                return polars.List(of(inner))
            case ("map", _key, value):
                return polars.Struct([polars.Field(key, of(value)) for key in keys_of(source, name)])
        # Timestamps are read as texts at first.
        return names.get(kind[0], polars.Boolean if kind[0] == "boolean" else polars.String)

    times = [
        polars.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms")
        for name, kind in columns
        if kind[0] == "timestamp"
    ]
    schema = {name: of(kind, name) for name, kind in columns}
    rows = polars.scan_ndjson(source, schema=schema).with_columns(times)
    level = ZSTD_LEVEL if codec == "zstd" else None
    return lambda: rows.sink_parquet(
        target, compression=codec, compression_level=level, row_group_size=ROW_GROUP, statistics=True
    )


def pyarrow(columns, codec, source, target):
    import pyarrow
    import pyarrow.json
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    names = {
        "timestamp": pyarrow.timestamp("ms", "UTC"),
        "bigint": pyarrow.int64(),
        "int": pyarrow.int32(),
        "double": pyarrow.float64(),
        "decimal": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
    }

    def of(kind, name=None):
        match kind:
            case ("struct", fields):
                return pyarrow.struct([(key, of(inner)) for key, inner in fields])
            case ("array", inner):
                return pyarrow.list_(of(inner))
            case ("map", _key, value):
                return pyarrow.struct([(key, of(value)) for key in keys_of(source, name)])
        return names.get(kind[0], pyarrow.string())

    schema = pyarrow.schema([(name, of(kind, name)) for name, kind in columns])
    reading = pyarrow.json.ReadOptions(use_threads=False, block_size=16 << 20)
    parsing = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    level = ZSTD_LEVEL if codec == "zstd" else None

    def run():
        batches = pyarrow.json.open_json(source, read_options=reading, parse_options=parsing)
        with pyarrow.parquet.ParquetWriter(target, schema, compression=codec, compression_level=level) as writer:
            waiting = []
            for batch in batches:
                waiting.append(batch)
                if sum(map(len, waiting)) >= ROW_GROUP:
                    writer.write_table(pyarrow.Table.from_batches(waiting), row_group_size=ROW_GROUP)
                    waiting = []
            if waiting:
                writer.write_table(pyarrow.Table.from_batches(waiting), row_group_size=ROW_GROUP)

    return run


ENGINES = {
    "duckdb": duckdb,
    "duckdb-v2": duckdb_v2,
    "clickhouse": clickhouse,
    "polars": polars,
    "pyarrow": pyarrow,
}


def memory_kib(field):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])


def cpu_seconds(of):
    """In user and in the kernel."""
    usage = resource.getrusage(of)
    return usage.ru_utime, usage.ru_stime


def main():
    engine, codec, source, target, columns = sys.argv[1:]
    columns = [(name, parse(hive)) for name, hive in json.loads(columns)]
    run = ENGINES[engine](columns, codec, source, target)
    before = memory_kib("VmRSS")
    user, kernel = cpu_seconds(resource.RUSAGE_SELF)
    started = time.perf_counter()
    run()
    wall = time.perf_counter() - started
    user_after, kernel_after = cpu_seconds(resource.RUSAGE_SELF)
    told = {
        "user_seconds": user_after - user,
        "kernel_seconds": kernel_after - kernel,
        "wall_seconds": wall,
        "peak_kib": memory_kib("VmHWM"),
        "before_kib": before,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
