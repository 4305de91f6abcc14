"""What a Parquet file says, whatever it says it with: a hash for each column, read by PyArrow.

Two files have equal hashes when they hold equal values in equal order. Not compared is what the writers of
the bench choose differently: the unit of timestamps, decimals as doubles, maps as structs of their keys,
the order of a map's keys, the case of a column's name.
"""

import hashlib

import pyarrow
import pyarrow.compute
import pyarrow.parquet

BATCH_ROWS = 65_536


def hashes(path, columns):
    """Hashes by the paths of leaves; `columns` are names and types as `engines.parse` makes them."""
    file = pyarrow.parquet.ParquetFile(path)
    # Names of columns are in lower case for Hive, and so for us.
    in_file = {name.lower(): name for name in file.schema_arrow.names}
    found = {}
    for name, kind in columns:
        row = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=[in_file[name.lower()]]):
            feed(found, name, kind, batch.column(0), row)
            row += len(batch)
    return {leaf: hasher.hexdigest() for leaf, hasher in found.items()}


def row_count(path):
    return pyarrow.parquet.read_metadata(path).num_rows


def feed(found, name, kind, values, row):
    match kind:
        case ("struct", fields):
            for key, inner in fields:
                feed(found, f"{name}.{key}", inner, pyarrow.compute.struct_field(values, key), row)
        case ("array", inner):
            hash_fixed(found, f"{name} lengths", pyarrow.compute.list_value_length(values))
            feed(found, f"{name}[]", inner, pyarrow.compute.list_flatten(values), row)
        case ("map", _key, value):
            entries = entries_of(values, row).sort_by([("row", "ascending"), ("key", "ascending")])
            hash_fixed(found, f"{name} rows", entries["row"].combine_chunks())
            for part, of in (("key", ("string",)), ("value", value)):
                feed(found, f"{name} {part}s", of, entries[part].combine_chunks(), row)
        case _:
            hash_bytes(found, f"{name} presence", buffer(values.is_valid().cast(pyarrow.uint8()), 1, 1))
            hash_scalars(found, name, kind, values.drop_null())


def entries_of(values, row):
    """The entries of maps, or of structs that stand for maps: row, key and value."""
    schema = pyarrow.schema([("row", pyarrow.int64()), ("key", pyarrow.string()), ("value", pyarrow.string())])
    rows = pyarrow.array(range(row, row + len(values)), pyarrow.int64())
    if pyarrow.types.is_map(values.type):
        lists = pyarrow.ListArray.from_arrays(values.offsets, values.keys)
        owners = rows.take(pyarrow.compute.list_parent_indices(lists))
        keys, items = (each.cast(pyarrow.string()) for each in (values.keys, values.items))
        return pyarrow.table([owners, keys, items], schema=schema)
    tables = []
    for field in values.type:
        items = pyarrow.compute.struct_field(values, field.name)
        is_there = items.is_valid()
        items = items.filter(is_there).cast(pyarrow.string())
        keys = pyarrow.array([field.name] * len(items), pyarrow.string())
        tables.append(pyarrow.table([rows.filter(is_there), keys, items], schema=schema))
    return pyarrow.concat_tables(tables)


def hash_scalars(found, name, kind, values):
    match kind:
        case ("string",):
            values = values.cast(pyarrow.large_binary())
            hash_fixed(found, f"{name} lengths", pyarrow.compute.binary_length(values))
            if len(values):
                offsets = memoryview(values.buffers()[1]).cast("q")
                start, end = offsets[values.offset], offsets[values.offset + len(values)]
                hash_bytes(found, name, memoryview(values.buffers()[2])[start:end])
        case ("timestamp",):
            hash_fixed(found, name, values.cast(pyarrow.timestamp("us", values.type.tz)))
        case ("decimal", _precision, scale):
            scaled = pyarrow.compute.multiply(values.cast(pyarrow.float64()), float(10**scale))
            hash_fixed(found, name, pyarrow.compute.round(scaled))
        case ("double",):
            hash_bytes(found, name, buffer(values.cast(pyarrow.float64()), 1, 8))
        case _:
            hash_fixed(found, name, values)


def hash_fixed(found, name, values):
    """Values that a whole number stands for; a null of lengths would be an error of the bench."""
    assert values.null_count == 0, name
    hash_bytes(found, name, buffer(values.cast(pyarrow.int64()), 1, 8))


def hash_bytes(found, name, content):
    found.setdefault(name, hashlib.sha256()).update(content)


def buffer(values, number, width):
    if len(values) == 0:
        return b""
    start = values.offset * width
    return memoryview(values.buffers()[number])[start : start + len(values) * width]
