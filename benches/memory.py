#!/usr/bin/env python3
"""What the service holds of the memory in the situations that ask most of it.

Each row is a fresh server:

- `idle`: ready, and nobody sends.
- `buffers`: clicks into objects of 128 MiB, the default of buffering.
- `partitions`: records of 200 B in 20,000 partitions that are all open at once.
- `slow store`: clicks, while every put takes ten seconds.
- `large records`: records of 1 MB.

*peak* is `VmHWM`, *PSS* the most that was seen every half second, *end* what it holds with everything
delivered. The last column is the peak by what the configuration gives the service, `--memory`.

    benches/memory.py [SITUATION...] [--megabytes 600] [--memory "256 MiB"] [--programs target/dist]
"""

import argparse
import pathlib
import tempfile
import time

import service

POOL_MB = 50
PARTITIONS = 20_000
IDLE_SECONDS = 10
SLOW_PUT_MS = 10_000
CALL_BYTES = 4_000_000


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.records = folder / "records"
        self.bytes = int(arguments.megabytes * service.MB)

    def run(self, situation, stream, record_bytes, call_records=500, put_delay_ms=0):
        with service.Service(self.arguments, {"clicks": stream}) as under_test:
            under_test.s3.set_faults(put_delay_ms=put_delay_ms)
            calls = max(1, round(self.bytes / record_bytes / call_records))
            figures = under_test.run(self.records, call_records=call_records, calls=calls, seconds=86_400,
                                     connections=16)
            self.show(situation, figures["memory"])

    def show(self, situation, memory):
        peak = memory.peak()
        print(f"{situation:>14} {peak / service.MIB:>9.0f} {max(memory.pss) / service.MIB:>9.0f} "
              f"{memory.rss[-1] / service.MIB:>9.0f} {peak / bytes_of(self.arguments.memory):>10.2f}", flush=True)

    def clicks(self):
        service.write_corpus(self.arguments.programs, "clickstream", POOL_MB, self.records)
        return service.stream(service.columns_of(self.arguments.programs, "clickstream")), 396

    def idle(self):
        stream, _ = self.clicks()
        with service.Service(self.arguments, {"clicks": stream}) as under_test:
            with service.Memory(under_test.server.child.pid) as memory:
                time.sleep(IDLE_SECONDS)
            self.show("idle", memory)

    def buffers(self):
        self.run("buffers", *self.clicks())

    def slow_store(self):
        self.run("slow store", *self.clicks(), put_delay_ms=SLOW_PUT_MS)

    def partitions(self):
        service.write_texts(self.records, 5 * PARTITIONS, 200, PARTITIONS)
        stream = service.stream(
            service.TEXT_COLUMNS,
            interval="900 s",
            partitioning={"query": "{p: .p}", "max_active_partitions": PARTITIONS},
            destination={
                "store": "lake",
                "prefix": "clicks/p=!{partitionKeyFromQuery:p}/",
                "error_prefix": "errors/clicks/!{firehose:error-output-type}/",
            },
        )
        self.run("partitions", stream, 200)

    def large_records(self):
        service.write_texts(self.records, 40, 1_000_000)
        self.run("large records", service.stream(service.TEXT_COLUMNS), 1_000_000, CALL_BYTES // 1_000_000)


SITUATIONS = {
    "idle": Bench.idle,
    "buffers": Bench.buffers,
    "partitions": Bench.partitions,
    "slow store": Bench.slow_store,
    "large records": Bench.large_records,
}


def bytes_of(size):
    number, unit = size.split()
    return float(number) * {"MiB": 1 << 20, "GiB": 1 << 30}[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("situations", nargs="*", help=", ".join(SITUATIONS))
    parser.add_argument("--megabytes", type=float, default=600, help="of records for a row")
    service.arguments_of(parser)
    parser.set_defaults(memory="1 GiB")
    arguments = parser.parse_args()
    print(f"memory: {arguments.memory}")
    print(f"{'MiB':>14} {'peak':>9} {'PSS':>9} {'end':>9} {'of memory':>10}")
    with tempfile.TemporaryDirectory(prefix="records-", dir=arguments.dir) as folder:
        for situation in arguments.situations or SITUATIONS:
            SITUATIONS[situation](Bench(arguments, pathlib.Path(folder)))


if __name__ == "__main__":
    main()
