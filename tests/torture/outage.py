"""What an outage of the store costs producers, and how fast the backlog goes afterwards.

    python tests/torture/outage.py [--window 60] [--windows 8] [--megabytes 5]

Windows without and with an outage follow one another at a steady rate of records. For each: what producers
waited for an answer, and what fdatasync itself took meanwhile, by the service's own histogram. Then the
drain of what the last outage left, with no new records; then a small disk budget under full load: when
refusals begin, how long they take for a producer that has a process of its own beside the load, and that
they end by themselves. At the end everything is judged as
after any round.
"""

import argparse
import hashlib
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

import botocore.awsrequest

import checker
import run
from kits import kit
from ledger import Entry, Outcome
from load import Load, body, token_of
from world import Setup, World

TEXT_BYTES, BATCH = 5_000, 10
BUDGET = "64 MiB"
BUDGET_BYTES = 64 << 20
REFUSALS = 1_000
PROBE_SECONDS = 60
# What acceptance asks for.
RATIO_MAX, DRAIN_TIMES_MIN, REFUSAL_SECONDS_MAX = 1.25, 5, 0.010


class Meter:
    """The calls of a stretch of time."""

    def __init__(self):
        self._lock = threading.Lock()
        self.clear()

    def clear(self):
        with self._lock:
            self.calls = []

    def observe(self, outcome, seconds, size):
        with self._lock:
            self.calls.append((outcome, seconds, size))

    def seconds(self, outcome):
        with self._lock:
            return sorted(seconds for what, seconds, _ in self.calls if what is outcome)

    def bytes(self):
        with self._lock:
            return sum(size for what, _, size in self.calls if what is Outcome.ACKED)


def quantile(values, share):
    """Of sorted values; nan when there are none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def histogram(instance, name):
    """A histogram of the service: upper bound -> what was counted so far."""
    text = kit.http("GET", f"{instance.admin}/metrics")[1]
    found = re.findall(f'lakehose_{name}_bucket\\{{le="([^"]+)"\\}} (\\d+)', text)
    return {float(bound): int(count) for bound, count in found}


def syncs(instance):
    """What fdatasync took."""
    return histogram(instance, "journal_sync_seconds")


def answers(instance):
    """What calls took inside the service, from their head to their answer."""
    return histogram(instance, "ingest_request_seconds")


def bound_of(before, after, share):
    """The bound below which so much lies of what was counted between two looks."""
    counts = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    total = max(counts.values(), default=0)
    return next((bound for bound, count in counts.items() if total and count >= share * total), float("nan"))


def rows(title, lines):
    print(f"\n{title}")
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths)), flush=True)


def ms(seconds):
    return f"{seconds * 1000:.2f}"


def windows(folder, options):
    """The alternating windows and the drain; tells what does not hold."""
    wrong, meter = [], Meter()
    setup = Setup(interval="5 s", size="1 MiB", budget="4 GiB")
    with World(folder, options.seed, setup) as world:
        instance = world.new_instance().start()
        # Calls at a steady pace by as many producers as there are ways and tenants.
        producers = world.producers(
            instance, batch=BATCH, text_bytes=TEXT_BYTES, random_text=True,
            records_per_second=options.megabytes * 1e6 / TEXT_BYTES / 4,
        )
        table = [("window", "store", "MB/s", "calls", "p50 ms", "p99 ms", "p99.9 ms", "fdatasync p99 <= ms")]
        p99s = {"up": [], "away": []}
        with Load(world.ledger, producers, options.seed, meter.observe) as load:
            settle(load, 5)
            for number in range(options.windows):
                store = "away" if number % 2 else "up"
                world.s3.set_faults(**({"put_status": 503} if store == "away" else {}))
                before, began = syncs(instance), time.monotonic()
                meter.clear()
                settle(load, options.window)
                took, after = meter.seconds(Outcome.ACKED), syncs(instance)
                rate = meter.bytes() / (time.monotonic() - began) / 1e6
                p99s[store].append(quantile(took, 0.99))
                table.append((
                    str(number + 1), store, f"{rate:.2f}", str(len(took)), ms(quantile(took, 0.5)),
                    ms(quantile(took, 0.99)), ms(quantile(took, 0.999)), ms(bound_of(before, after, 0.99)),
                ))
                print(" ".join(table[-1]), flush=True)
        rows("Answers, with the store and without it", table)
        ratio = statistics.median(p99s["away"]) / statistics.median(p99s["up"])
        print(f"median p99 of the outage windows / of the others: {ratio:.2f} (at most {RATIO_MAX})")
        if ratio > RATIO_MAX:
            wrong.append(f"an outage costs producers {ratio:.2f} times")
        pending = instance.status("clicks")["pending"]
        world.s3.set_faults()
        seconds = world.drain(600)
        megabytes = pending * TEXT_BYTES / 1e6
        times = megabytes / seconds / options.megabytes
        print(f"drain: {megabytes:.0f} MB in {seconds:.1f} s, {times:.1f} times the rate (at least {DRAIN_TIMES_MIN})")
        if times < DRAIN_TIMES_MIN:
            wrong.append(f"the backlog drains at {times:.1f} times the rate")
        verdict = checker.judge(world.evidence())
        print(f"judged: {verdict}; {verdict.counts}")
        return wrong + [str(violation) for violation in verdict.violations]


def settle(load, seconds):
    """Lets so much time pass, and no producer fail."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        load.check()
        time.sleep(min(0.2, max(0, end - time.monotonic())))


class Probe:
    """A call of its own process (`prober`), one of the two ways, that is refused until it is taken."""

    def __init__(self, folder, producer):
        self.producer = producer
        self.records = [(name, body(name, 0, "row", "x" * TEXT_BYTES, False)) for name in self._names(producer)]
        self._file = folder / f"probe-{producer.way}"
        self._file.write_bytes(self._signed() if producer.way == "sdk" else self._plain())
        self._process = None

    @staticmethod
    def _names(producer):
        stem = f"{producer.identity.tenant}.{producer.stream}.{producer.instance}.probe-{producer.way}"
        return [f"{stem}.{number:07d}" for number in range(BATCH)]

    @property
    def _address(self):
        return self.producer.server.endpoint.removeprefix("http://")

    def _signed(self):
        """What boto3 sends, which is caught before it is sent."""
        caught, identity = [], self.producer.identity
        client = kit.client("firehose", self.producer.server.endpoint, identity.access_key, identity.secret)

        def keep(request, **_):
            caught.append(request)
            response = botocore.awsrequest.AWSResponse(request.url, 200, {}, None)
            response._content = b'{"FailedPutCount":0,"RequestResponses":[]}'
            return response

        client.meta.events.register("before-send.firehose.PutRecordBatch", keep)
        client.put_record_batch(
            DeliveryStreamName=self.producer.stream, Records=[{"Data": data} for _, data in self.records]
        )
        [request] = caught
        fields = {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
        return self._request("/", fields, request.body)

    def _plain(self):
        fields = {
            "Authorization": f"Bearer {token_of(self.producer.identity)}",
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": "probe",
        }
        return self._request(
            f"/v1/streams/{self.producer.stream}/records", fields, b"".join(data + b"\n" for _, data in self.records)
        )

    def _request(self, path, fields, data):
        data = data.encode() if isinstance(data, str) else data
        fields = {"Host": self._address} | fields | {"Content-Length": str(len(data))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data

    def start(self):
        program = pathlib.Path(__file__).with_name("prober.py")
        arguments = [sys.executable, program, *self._address.rsplit(":", 1), self._file, str(PROBE_SECONDS)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    def end(self, ledger):
        """Waits for it, notes what became of its records, and gives the seconds of the refusals."""
        said = json.loads(self._process.communicate(timeout=2 * PROBE_SECONDS)[0])
        outcome, ids = Outcome.REFUSED, [""] * BATCH
        if said["status"] == 200:
            answer, outcome = json.loads(said["body"]), Outcome.ACKED
            ids = answer.get("record_ids") or [each["RecordId"] for each in answer["RequestResponses"]]
        producer, now = self.producer, time.time()
        ledger.add(
            Entry(
                outcome, producer.stream, producer.identity.tenant, producer.instance, name,
                hashlib.sha256(data).hexdigest(), "row", record_id, now, now,
            )
            for (name, data), record_id in zip(self.records, ids, strict=True)
        )
        return sorted(said["refused"])


def small_budget(folder, options):
    """A budget that an outage uses up; tells what does not hold."""
    wrong, meter = [], Meter()
    setup = Setup(interval="1 s", size="1 MiB", budget=BUDGET, tenants=("acme",))
    with World(folder, options.seed, setup) as world:
        instance = world.new_instance().start()
        producers = world.producers(instance, batch=BATCH, text_bytes=TEXT_BYTES, random_text=True)
        with Load(world.ledger, producers, options.seed, meter.observe) as load:
            world.s3.set_faults(put_status=503)
            began, most = time.monotonic(), 0

            def refuses(count):
                def is_refused():
                    nonlocal most
                    load.check()
                    most = max(most, kit.du_bytes(instance.data_dir))
                    return len(meter.seconds(Outcome.REFUSED)) >= count

                return is_refused

            kit.wait_for(refuses(1), 300, "the first refusal")
            acked, full_after = meter.bytes() / 1e6, time.monotonic() - began
            before = answers(instance)
            probes = [Probe(world.folder, producer) for producer in producers]
            for probe in probes:
                probe.start()
            kit.wait_for(refuses(REFUSALS), 300, "refusals")
            after = answers(instance)
            print(
                f"\nsmall budget ({BUDGET}): full after {acked:.0f} MB and {full_after:.1f} s; at most "
                f"{most / (1 << 20):.1f} MiB on the disk; inside the service p50 <= "
                f"{ms(bound_of(before, after, 0.5))} ms, p99 <= {ms(bound_of(before, after, 0.99))} ms"
            )
            if most > BUDGET_BYTES:
                wrong.append(f"{most} bytes on the disk")
            world.s3.set_faults()
            meter.clear()
            healed = time.monotonic()
            kit.wait_for(lambda: len(meter.seconds(Outcome.ACKED)) > 100, 120, "records to be taken again")
            print(f"records are taken again {time.monotonic() - healed:.1f} s after the outage, by itself")
            for probe in probes:
                took = probe.end(world.ledger)
                print(
                    f"refusals of {probe.producer.way}: {len(took)}, p50 {ms(quantile(took, 0.5))} ms, "
                    f"p99 {ms(quantile(took, 0.99))} ms, p99.9 {ms(quantile(took, 0.999))} ms (p99 at most 10 ms)"
                )
                if not took or quantile(took, 0.99) > REFUSAL_SECONDS_MAX:
                    wrong.append(f"refusals of {probe.producer.way} take too long, or there were none")
        world.drain(300)
        verdict = checker.judge(world.evidence())
        print(f"judged: {verdict}; {verdict.counts}")
        return wrong + [str(violation) for violation in verdict.violations]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=float, default=60, help="seconds of a window")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--megabytes", type=float, default=5, help="of records in a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=("windows", "small_budget"), help="only this one")
    options = parser.parse_args()
    wrong = []
    for part in (windows, small_budget):
        if options.part not in (None, part.__name__):
            continue
        folder = run.TARGET / "work" / f"outage-{part.__name__}"
        shutil.rmtree(folder, ignore_errors=True)
        wrong += part(folder, options)
    for each in wrong:
        print(f"DOES NOT HOLD: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
