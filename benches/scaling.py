#!/usr/bin/env python3
"""How the cost of a record grows with what there is of it: one curve for each kind of more.

Each row is a fresh server that gets its records as fast as it takes them, signed, and brings all of them to
the S3 server, where they are counted. CPU is the server's, from the first call until everything is stored.

- `size`: records of 100 B to 1 MB, in calls of 4 MB or 500 records.
- `batch`: 1 to 500 records a call, 64 calls at a time.
- `partitions`: 10 to 10,000, each with objects of 1 MiB of records; ten gigabytes at the end.
- `streams`: 1 to 64, the same records between them.
- `cores`: 1 and 2 for the server.
- `records`: so many, and ten times as many.

The last column is CPU a record over that of the first row; of `size` it is CPU a byte.

    benches/scaling.py [CURVE...] [--megabytes 256] [--partitions 10,1000,10000] [--programs target/dist]
"""

import argparse
import pathlib
import tempfile

import service

CALL_BYTES_MAX = 4_000_000
CALL_RECORDS_MAX = 500
CONNECTIONS = 16
# The records that are written to a file and sent over again.
POOL_RECORDS = 100_000
POOL_BYTES = 100_000_000
# A thousand of them are the first to reach 1 MiB.
PARTITION_RECORD_BYTES = 1049
PARTITION_RECORDS = 1000


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.records = folder / "records"
        self.bytes = int(arguments.megabytes * service.MB)
        self.first = self.unit = None

    def head(self, curve):
        self.unit = "bytes" if curve == "size" else "records"
        print(f"\n{curve:>14} {'records':>11} {'records/s':>10} {'MB/s':>7} {'MB/cpu-s':>9} {'us/record':>10} "
              f"{'objects':>8} {'a second':>9} {'CPU ms each':>12} {'ratio':>6}")

    def row(self, label, streams, cores=None, **options):
        with service.Service(self.arguments, streams, cores=cores) as under_test:
            figures = under_test.run(self.records, seconds=86_400, **options)
        cpu, records, seconds = figures["cpu_seconds"], figures["records"], figures["total_seconds"]
        cost = cpu / figures[self.unit]
        self.first = self.first or cost
        print(f"{label:>14} {records:>11,} {records / seconds:>10,.0f} {figures['bytes'] / seconds / service.MB:>7.1f} "
              f"{figures['bytes'] / cpu / service.MB:>9.1f} {cpu / records * 1e6:>10.2f} {figures['objects']:>8} "
              f"{figures['objects'] / seconds:>9.1f} {cpu / figures['objects'] * 1e3:>12.2f} "
              f"{cost / self.first:>6.2f}", flush=True)

    def corpus(self):
        """Writes clicks to the file; returns a stream that takes them, and the calls of all bytes."""
        programs = self.arguments.programs
        service.write_corpus(programs, "clickstream", POOL_BYTES / service.MB / 2, self.records)
        count = sum(1 for _ in self.records.open("rb"))
        calls = round(self.bytes / (self.records.stat().st_size / count) / CALL_RECORDS_MAX)
        return service.stream(service.columns_of(programs, "clickstream")), calls

    def size(self):
        for record_bytes in (100, 1_000, 10_000, 100_000, 1_000_000):
            call_records = max(1, min(CALL_RECORDS_MAX, CALL_BYTES_MAX // record_bytes))
            pool = min(POOL_RECORDS, POOL_BYTES // record_bytes) // call_records * call_records
            service.write_texts(self.records, pool, record_bytes)
            calls = max(1, self.bytes // record_bytes // call_records)
            self.row(f"{record_bytes:,} B", {"clicks": service.stream(service.TEXT_COLUMNS)},
                     call_records=call_records, calls=calls, connections=CONNECTIONS)

    def batch(self):
        clicks, calls = self.corpus()
        for call_records in (1, 5, 50, 500):
            # Small calls are many: a tenth of the records tells as much.
            wanted = calls * CALL_RECORDS_MAX // call_records
            self.row(f"{call_records} a call", {"clicks": clicks}, call_records=call_records,
                     calls=min(wanted, 100_000), connections=64)

    def partitions(self):
        for partitions in self.arguments.partitions:
            each = max(1, min(PARTITION_RECORDS, POOL_RECORDS // partitions))
            assert PARTITION_RECORDS % each == 0, "every partition has whole objects"
            service.write_texts(self.records, each * partitions, PARTITION_RECORD_BYTES, partitions)
            objects = max(1, round(self.bytes / service.MIB / partitions))
            stream = service.stream(
                service.TEXT_COLUMNS,
                size="1 MiB",
                interval="900 s",
                partitioning={"query": "{p: .p}", "max_active_partitions": max(500, partitions)},
                destination={
                    "store": "lake",
                    "prefix": "clicks/p=!{partitionKeyFromQuery:p}/",
                    "error_prefix": "errors/clicks/!{firehose:error-output-type}/",
                },
            )
            self.row(f"{partitions:,}", {"clicks": stream}, call_records=CALL_RECORDS_MAX, connections=CONNECTIONS,
                     calls=partitions * objects * PARTITION_RECORDS // CALL_RECORDS_MAX)

    def streams(self):
        clicks, calls = self.corpus()
        for count in (1, 4, 16, 64):
            streams = {f"clicks{number:02}": clicks for number in range(count)}
            self.row(f"{count}", streams, call_records=CALL_RECORDS_MAX, calls=calls, connections=64)

    def cores(self):
        clicks, calls = self.corpus()
        for cores in ("0", "0,1"):
            self.row(f"cores {cores}", {"clicks": clicks}, cores=cores, call_records=CALL_RECORDS_MAX, calls=calls,
                     connections=CONNECTIONS)

    def many(self):
        clicks, calls = self.corpus()
        for times in (1, 10):
            self.row(f"{times}x", {"clicks": clicks}, call_records=CALL_RECORDS_MAX, calls=calls * times,
                     connections=CONNECTIONS)


CURVES = {
    "size": Bench.size,
    "batch": Bench.batch,
    "partitions": Bench.partitions,
    "streams": Bench.streams,
    "cores": Bench.cores,
    "records": Bench.many,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", nargs="*", help=", ".join(CURVES))
    parser.add_argument("--megabytes", type=float, default=256, help="of records for a row")
    parser.add_argument("--partitions", type=lambda text: [int(each) for each in text.split(",")],
                        default=[10, 100, 1_000, 10_000])
    service.arguments_of(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="records-", dir=arguments.dir) as folder:
        for curve in arguments.curves or CURVES:
            bench = Bench(arguments, pathlib.Path(folder))
            bench.head(curve)
            CURVES[curve](bench)


if __name__ == "__main__":
    main()
