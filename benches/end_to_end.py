#!/usr/bin/env python3
"""From a client to Parquet in an S3 server: what a rate costs, and how soon it is durable.

A producer sends records of a corpus by PutRecordBatch at a steady rate, signed or not. The server has
`--cores`; the producer and the S3 server share `--other-cores`, and both use the server's disk. In the end
everything is flushed and the rows in the store are counted: a run with a row too few fails.

- *answer*: from the time when a call was due to its answer, which comes when its records are on disk.
- *sync*: writes of the size of a call's records over the same bytes of a file, with `fdatasync`, twenty a
  second, on the same disk in the same run. It is what the disk lets nobody go below.
- *drain*: from the last answer until everything lies in the store.
- *growth*: the most memory in the last third of the sending over the most in the middle third.

A rate *holds* when no call is refused, the producer keeps its plan, and the drain takes no longer than a
tenth of the run and 5 s: nothing has piled up.

    benches/end_to_end.py [--rate 50] [--seconds 600] [--unsigned] [--find] [--corpus clickstream]
                          [--call-records 500] [--connections 16] [--programs target/dist]

`--find` raises the rate by a fifth until it does not hold.
"""

import argparse
import pathlib
import tempfile

import service

POOL_MB = 60
LATE = 1.02


def run(arguments, records, rate):
    columns = service.columns_of(arguments.programs, arguments.corpus)
    streams = {"clicks": service.stream(columns)}
    with service.Service(arguments, streams, signed=not arguments.unsigned) as under_test:
        figures = under_test.run(records, rate=rate, seconds=arguments.seconds,
                                 call_records=arguments.call_records, connections=arguments.connections)
        figures["growth"], figures["peak"] = figures["memory"].growth(), figures["memory"].peak()
    figures["holds"] = (
        figures["refused"] == 0
        and figures["seconds"] <= arguments.seconds * LATE
        and figures["drain_seconds"] <= arguments.seconds / 10 + 5
    )
    return figures


def show(rate, figures):
    seconds, cpu = figures["seconds"], figures["cpu_seconds"]
    print(
        f"\n{rate:.0f} MB/s asked, {figures['bytes'] / seconds / service.MB:.1f} MB/s and "
        f"{figures['records'] / seconds:,.0f} records/s for {seconds:.0f} s, {figures['refused']} calls refused: "
        f"{'holds' if figures['holds'] else 'does NOT hold'}"
    )
    print(
        f"server: {cpu / figures['records'] * 1e6:.2f} us of CPU a record, {figures['bytes'] / service.MB / cpu:.0f} "
        f"MB/cpu-s, {cpu / figures['total_seconds']:.2f} cores; {figures['objects']} objects of "
        f"{figures['object_bytes'] / service.MB:.0f} MB, drain {figures['drain_seconds']:.1f} s"
    )
    print(f"{'ms':>8} {'p50':>9} {'p99':>9} {'p99.9':>9} {'max':>9}")
    for name in ("answer", "sync"):
        values = figures[f"{name}_ms"]
        print(f"{name:>8} " + " ".join(f"{values[key]:>9.2f}" for key in ("p50", "p99", "p99.9", "max")))
    over_time = " ".join(f"{mib:.0f}" for mib in figures["memory"].over_time())
    print(f"memory, MiB: {over_time}; growth {figures['growth']:.2f}, peak {figures['peak'] / service.MIB:.0f}",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50, help="megabytes (10^6) of records a second")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--unsigned", action="store_true")
    parser.add_argument("--find", action="store_true", help="the highest rate that holds")
    parser.add_argument("--corpus", default="clickstream")
    parser.add_argument("--call-records", type=int, default=500)
    parser.add_argument("--connections", type=int, default=16)
    service.arguments_of(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="records-", dir=arguments.dir) as folder:
        records = pathlib.Path(folder) / "records"
        service.write_corpus(arguments.programs, arguments.corpus, POOL_MB, records)
        rate, highest = arguments.rate, None
        while True:
            figures = run(arguments, records, rate)
            show(rate, figures)
            if not arguments.find:
                return
            if not figures["holds"]:
                break
            highest, rate = rate, rate * 1.2
        print(f"\nthe highest rate that held: {highest and round(highest)} MB/s")


if __name__ == "__main__":
    main()
