"""Reads Parquet files with Spark and leaves the rows behind: `spark_reader.py ORDER RESULT`.

Owns Spark's session, one for all files. A process of its own, so that the Java machine ends with it
and the time zone is UTC in both. ORDER is JSON, a list of `{"files": [...], "columns": {...}, "hive":
folder or null}`, or `{"unpack": FILE, "by": "hadoop" or "xerial"}`; RESULT is a pickle, for each entry the
rows as plain Python values, or the bytes in the file.

With a folder in `hive` the files are read by Hive's own Parquet SerDe through an external table there,
as Hive and old readers do; without, by Spark's reader. A file is unpacked by the codec that Hadoop takes
for its name, or by snappy-java's own stream.
"""

import json
import os
import pickle
import sys
import time

os.environ["TZ"] = "UTC"
time.tzset()
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"

from pyspark.sql import Row, SparkSession  # noqa: E402  The time zone must be set before.


def session(folder):
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -Dderby.system.home={folder}",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/metastore;create=true",
        # Dates and timestamps are as they stand in the file.
        "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
        "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
        # Tables by Hive's SerDe and not by Spark's reader.
        "spark.sql.hive.convertMetastoreParquet": "false",
    }
    builder = SparkSession.builder.master("local[1]").enableHiveSupport()
    for name, value in settings.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    return made


def plain(value):
    """A value without types of Spark."""
    if isinstance(value, Row):
        return {name: plain(field) for name, field in value.asDict().items()}
    if isinstance(value, dict):
        return [(plain(key), plain(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytearray):
        return bytes(value)
    return value


def unpack(spark, order):
    jvm = spark._jvm
    if order["by"] == "xerial":
        stream = jvm.org.xerial.snappy.SnappyInputStream(jvm.java.io.FileInputStream(order["unpack"]))
    else:
        path = jvm.org.apache.hadoop.fs.Path(f"file://{order['unpack']}")
        hadoop = spark.sparkContext._jsc.hadoopConfiguration()
        codec = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(hadoop).getCodec(path)
        stream = codec.createInputStream(path.getFileSystem(hadoop).open(path))
    return bytes(jvm.org.apache.commons.io.IOUtils.toByteArray(stream))


def read(spark, number, order):
    if "unpack" in order:
        return unpack(spark, order)
    names = list(order["columns"])
    if order["hive"] is None:
        frame = spark.read.parquet(*order["files"])
    else:
        columns = ", ".join(f"`{name}` {hive}" for name, hive in order["columns"].items())
        table = f"table_{number}"
        spark.sql(
            f"CREATE EXTERNAL TABLE {table} ({columns}) STORED AS PARQUET "
            f"LOCATION 'file://{order['hive']}'"
        )
        frame = spark.table(table)
    return [plain(row) for row in frame.select(*names).collect()]


def main():
    order, result = sys.argv[1:]
    with open(order) as file:
        orders = json.load(file)
    spark = session(os.path.dirname(os.path.abspath(order)))
    rows = [read(spark, number, each) for number, each in enumerate(orders)]
    with open(result, "wb") as file:
        pickle.dump(rows, file)
    spark.stop()


main()
