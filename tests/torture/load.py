"""Producers: threads that send records with ids of their own and note in the ledger what they are told.

Owns what a record looks like, which ways in are used, and what an answer means. Two ways: `sdk` is
boto3 as a user has it, and sends each record once; `plain` is the HTTP endpoint with an
`Idempotency-Key`, and sends a call whose answer is missing again, under the same key, until it is
answered. So the one way shows that nothing is lost, the other that nothing is doubled.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import json
import random
import threading
import time
import uuid

import botocore.exceptions

from kits import kit
from ledger import Entry, Outcome

# By shares of a hundred: what is to become of a record.
PLAIN_KINDS = {"row": 97, "misfit": 2, "torn": 1}
HOOK_KINDS = {"ok": 50, "differ": 25, "drop": 12, "fail": 6, "parts": 4, "misfit": 2, "torn": 1}
# A call that was sent again for so long is left as it is: the server forgets calls after five minutes.
PATIENCE_SECONDS = 200


def document(name, number, kind, text, hooked):
    """The members of a record in their order; the checker writes them anew from the columns.

    Each claims to be another tenant's, which must move nothing.
    """
    claimed = "globex" if name.startswith("acme.") else "acme"
    members = {"id": name, "number": "oops" if kind == "misfit" else number, "text": text, "tenant": claimed}
    return members | ({"do": kind} if hooked else {})


def encode(members):
    return json.dumps(members, separators=(",", ":")).encode()


def body(name, number, kind, text, hooked):
    """The bytes of a record. A torn one still names its id."""
    whole = encode(document(name, number, kind, text, hooked))
    return whole[:-2] if kind == "torn" else whole


@dataclasses.dataclass(frozen=True)
class Producer:
    """One thread: to which instance, as whom, to which stream, which way."""

    server: object
    identity: object
    stream: str
    way: str
    hooked: bool = False
    batch: int = 100
    text_bytes: int = 200
    # How far the server's wall clock is from ours, in seconds.
    clock: float = 0.0
    records_per_second: float | None = None
    # For bytes that do not compress.
    random_text: bool = False
    # How long the plain way waits for an answer before it sends the call again.
    timeout: float = 60.0

    @property
    def instance(self):
        return self.server.name


class Load:
    """Runs producers from `with` to its end. `observe` hears of each call: outcome, seconds, bytes."""

    def __init__(self, ledger, producers, seed, observe=lambda outcome, seconds, size: None):
        self.ledger, self.observe = ledger, observe
        # How long producers rest between two calls.
        self.rest_seconds = 0.0
        self._stop = threading.Event()
        self._error = None
        # Ids are never used twice in a ledger, whatever else ran before.
        run = uuid.uuid4().hex[:6]
        self._threads = [
            threading.Thread(target=self._guard, args=(run, number, producer, seed), daemon=True)
            for number, producer in enumerate(producers)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, _error, _trace):
        self.stop()
        if kind is None:
            self.check()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        if any(thread.is_alive() for thread in self._threads):
            raise AssertionError("a producer hangs")

    def check(self):
        """Raises what a producer ran into."""
        if self._error is not None:
            raise AssertionError("a producer failed") from self._error

    def _guard(self, run, number, producer, seed):
        try:
            self._produce(run, number, producer, random.Random(f"{seed}/{number}"))
        except Exception as error:  # Raised again where the round can see it.
            self._error = error

    def _produce(self, run, number, producer, chance):
        sender = {"sdk": Sdk, "plain": Plain}[producer.way](producer)
        shares = HOOK_KINDS if producer.hooked else PLAIN_KINDS
        kinds = [kind for kind, share in shares.items() for _ in range(share)]
        serial, next_at = 0, time.monotonic()
        while not self._stop.is_set():
            records = []
            for _ in range(producer.batch):
                tenant, kind = producer.identity.tenant, chance.choice(kinds)
                name = f"{tenant}.{producer.stream}.{producer.instance}.{run}{number}.{serial:07d}"
                text = self._text(producer, chance, name)
                records.append((name, kind, body(name, serial, kind, text, producer.hooked)))
                serial += 1
            self._send(sender, producer, records)
            if self.rest_seconds:
                self._stop.wait(self.rest_seconds)
            if producer.records_per_second:
                next_at = max(next_at, time.monotonic() - 1) + producer.batch / producer.records_per_second
                self._stop.wait(max(0, next_at - time.monotonic()))
        sender.close()

    @staticmethod
    def _text(producer, chance, name):
        if producer.random_text:
            return chance.randbytes(producer.text_bytes // 2).hex()
        # Now and then one that is several frames of anything.
        length = producer.text_bytes * (40 if chance.random() < 0.005 else 1)
        return (name + " ") * max(1, length // (len(name) + 1))

    def _send(self, sender, producer, records):
        key, began = uuid.uuid4().hex, time.monotonic()
        sent = time.time() + producer.clock
        while True:
            asked = time.perf_counter()
            outcome, record_ids = sender.send(key, [data for _, _, data in records])
            took = time.perf_counter() - asked
            if outcome is None:
                # Nothing was sent: nobody listens just now.
                if self._stop.wait(0.02):
                    return
                continue
            answered = time.time() + producer.clock
            self.observe(outcome, took, sum(len(data) for _, _, data in records))
            self._note(outcome, producer, records, record_ids, sent, answered)
            again = sender.repeats and outcome is Outcome.AMBIGUOUS
            if not again or time.monotonic() - began > PATIENCE_SECONDS or self._stop.wait(0.02):
                break
        if outcome is Outcome.REFUSED:
            self._stop.wait(0.02)

    def _note(self, outcome, producer, records, record_ids, sent, answered):
        record_ids = record_ids or [""] * len(records)
        tenant, instance = producer.identity.tenant, producer.instance
        self.ledger.add(
            [
                Entry(
                    outcome, producer.stream, tenant, instance, name, hashlib.sha256(data).hexdigest(),
                    kind, record_id, sent, answered,
                )
                for (name, kind, data), record_id in zip(records, record_ids, strict=True)
            ]
        )


class Sdk:
    """boto3, which is asked to try once, so that every answer is seen."""

    repeats = False

    def __init__(self, producer):
        self.producer = producer
        self.clients = {}

    def send(self, _key, bodies):
        endpoint = self.producer.server.endpoint
        if endpoint is None:
            return None, None
        if endpoint not in self.clients:
            identity = self.producer.identity
            made = kit.client("firehose", endpoint, identity.access_key, identity.secret)
            self.clients = {endpoint: made}
        try:
            answer = self.clients[endpoint].put_record_batch(
                DeliveryStreamName=self.producer.stream, Records=[{"Data": data} for data in bodies]
            )
        except botocore.exceptions.EndpointConnectionError:
            return None, None
        except botocore.exceptions.ClientError as error:
            said = error.response["Error"]
            return of_refusal(said["Code"], said.get("Message", "")), None
        except botocore.exceptions.BotoCoreError:
            return Outcome.AMBIGUOUS, None
        results = answer.get("RequestResponses")
        if results is None:
            # The server died between head and body, which boto3 takes for an empty answer.
            return Outcome.AMBIGUOUS, None
        # The product answers whole calls; anything else would be news to this harness.
        if answer["FailedPutCount"] != 0 or len(results) != len(bodies):
            raise AssertionError(f"a call was answered in part: {answer}")
        return Outcome.ACKED, [result["RecordId"] for result in results]

    def close(self):
        self.clients = {}


class Plain:
    """The HTTP endpoint, with a key that makes repetitions known."""

    repeats = True

    def __init__(self, producer):
        self.producer = producer
        self.connection = self.endpoint = None

    def send(self, key, bodies):
        endpoint = self.producer.server.endpoint
        if endpoint is None:
            return None, None
        if endpoint != self.endpoint or self.connection is None:
            self.close()
            self.endpoint = endpoint
            self.connection = http.client.HTTPConnection(
                endpoint.removeprefix("http://"), timeout=self.producer.timeout
            )
        headers = {
            "Authorization": f"Bearer {token_of(self.producer.identity)}",
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": key,
        }
        path = f"/v1/streams/{self.producer.stream}/records"
        try:
            self.connection.request("POST", path, b"".join(data + b"\n" for data in bodies), headers)
            answer = self.connection.getresponse()
            status, found = answer.status, json.loads(answer.read())
        except ConnectionRefusedError:
            self.close()
            return None, None
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            self.close()
            return Outcome.AMBIGUOUS, None
        if status == 200:
            if len(found["record_ids"]) != len(bodies):
                raise AssertionError(f"{len(bodies)} records got {len(found['record_ids'])} ids")
            return Outcome.ACKED, found["record_ids"]
        return of_refusal(found.get("code"), found.get("message", "")), None

    def close(self):
        if self.connection is not None:
            with contextlib.suppress(OSError):
                self.connection.close()
        self.connection = None


def of_refusal(code, message):
    """A refusal, unless it leaves open what was stored: a failed sync may have reached the disk."""
    is_open = code in ("InternalFailure", "500", "502", "503", "internal") or "made durable" in message
    return Outcome.AMBIGUOUS if is_open else Outcome.REFUSED


def token_of(identity):
    return f"token-of-{identity.tenant}-0123456789"
