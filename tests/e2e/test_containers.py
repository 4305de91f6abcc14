"""What objects of records are packed in: each container by readers that are not ours, and what stores are told."""

import gzip
import importlib.util
import io
import json
import pickle
import shutil
import struct
import subprocess
import sys
import uuid
import zipfile

import pytest
import snappy
import zstandard

import kit

# Compression -> the end of a key, Content-Encoding, Firehose's word for it.
CONTAINERS = {
    "none": ("", None, "UNCOMPRESSED"),
    "gzip": (".gz", "gzip", "GZIP"),
    "zip": (".zip", "zip", "ZIP"),
    "snappy": (".snappy", "snappy-java", "Snappy"),
    "hadoop_snappy": (".snappy", "hadoop-snappy", "HADOOP_SNAPPY"),
    "zstd": (".zst", "zstd", "ZSTD"),
}
# More than a block of Snappy, one record longer than it, and one that does not get smaller.
RECORDS = [b'{"n":1}', b"", "héllo ".encode() * 9000, bytes(range(256)) * 3, b'{"n":2}\n']


def unzip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        [entry] = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_DEFLATED and archive.testzip() is None
        assert uuid.UUID(entry.filename).version == 4
        return archive.read(entry)


def unpack_xerial(data):
    assert data[:16] == b"\x82SNAPPY\0" + struct.pack(">II", 1, 1)
    found, at = [], 16
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append(snappy.uncompress(data[at + 4 : at + 4 + length]))
        at += 4 + length
    assert at == len(data) and all(len(block) == 32 << 10 for block in found[:-1])
    return b"".join(found)


UNPACK = {
    "none": bytes,
    "gzip": gzip.decompress,
    "zip": unzip,
    "snappy": unpack_xerial,
    "hadoop_snappy": lambda data: snappy.HadoopStreamDecompressor().decompress(data),
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def backup(folder, compression):
    prefix = f"{folder}/tenant=!{{lakehose:tenant}}/"
    return {"store": "lake", "prefix": prefix, "compression": compression}


def packed(compression):
    return {
        "destination": {"store": "lake"},
        "format": {"records": {"compression": compression, "delimiter": "newline_at_end"}},
        "backup": backup(f"raw/{compression}", compression),
    }


@pytest.fixture
def delivered(new_lakehose, s3_lake):
    identity = kit.Identity("acme", tuple(CONTAINERS))
    streams = {name: packed(name) for name in CONTAINERS}
    server = new_lakehose([identity], s3_lake, streams).start()
    for stream in CONTAINERS:
        kit.send(server.firehose(identity), stream, RECORDS)
        server.flush(stream)
        kit.assert_conserved(server.status(stream), len(RECORDS))
    return server, identity, s3_lake


def only(keys, folder):
    [key] = [key for key in keys if key.startswith(f"{folder}/")]
    return key


def test_every_container_holds_the_records_and_is_named_as_firehose_names_it(delivered, s3):
    server, identity, lake = delivered
    lines = b"".join(record if record.endswith(b"\n") else record + b"\n" for record in RECORDS)
    for compression, (extension, encoding, word) in CONTAINERS.items():
        for folder, content in ((compression, lines), (f"raw/{compression}", b"".join(RECORDS))):
            key = only(lake.keys(), folder)
            name = key.rpartition("/")[2]
            assert name.endswith(extension) and (extension or "." not in name), key
            told = s3.client().head_object(Bucket=kit.BUCKET, Key=f"{lake.PATH}/{key}")
            assert told.get("ContentEncoding") == encoding, told
            assert told["ContentType"] == "application/octet-stream"
            assert UNPACK[compression](lake.read(key)) == content, compression
        told = server.firehose(identity).describe_delivery_stream(DeliveryStreamName=compression)
        [told] = told["DeliveryStreamDescription"]["Destinations"]
        told = told["ExtendedS3DestinationDescription"]
        assert told["CompressionFormat"] == told["S3BackupDescription"]["CompressionFormat"] == word


def test_java_reads_both_kinds_of_snappy(delivered, tmp_path):
    if shutil.which("java") is None:
        pytest.skip("there is no java: what Hadoop and snappy-java read of our files was not looked at")
    assert importlib.util.find_spec("pyspark"), "pip install -r tests/requirements-spark.txt"
    _server, _identity, lake = delivered
    orders = []
    for compression, by in (("snappy", "xerial"), ("hadoop_snappy", "hadoop")):
        file = tmp_path / f"{compression}.snappy"
        file.write_bytes(lake.read(only(lake.keys(), f"raw/{compression}")))
        orders.append({"unpack": str(file), "by": by})
    order, result = tmp_path / "spark" / "order.json", tmp_path / "spark" / "found.pickle"
    order.parent.mkdir()
    order.write_text(json.dumps(orders))
    reader = kit.REPOSITORY / "tests" / "e2e" / "spark_reader.py"
    done = subprocess.run(
        [sys.executable, str(reader), str(order), str(result)],
        cwd=order.parent,
        env=kit.plain_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert pickle.loads(result.read_bytes()) == [b"".join(RECORDS)] * 2


def test_lines_of_failures_stay_plain_whatever_the_backup_is_packed_in(new_lakehose, s3_lake, s3):
    stream = {**kit.stream_of({"columns": {"n": "int"}}), "backup": backup("raw", "zip")}
    identity = kit.Identity("acme", ("clicks",))
    server = new_lakehose([identity], s3_lake, {"clicks": stream}).start()
    kit.send(server.firehose(identity), "clicks", [b"no json"])
    server.flush("clicks")
    [failure] = kit.failures(s3_lake)
    assert failure.raw == b"no json" and "." not in failure.key.rpartition("/")[2]
    told = s3.client().head_object(Bucket=kit.BUCKET, Key=f"{s3_lake.PATH}/{failure.key}")
    assert "ContentEncoding" not in told
    assert unzip(s3_lake.read(only(s3_lake.keys(), "raw"))) == b"no json"
