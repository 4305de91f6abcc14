"""The checker is tested: what is planted in sound data is found, and named by its invariant and its id."""

import base64
import dataclasses
import gzip
import hashlib
import json
import time

import pyarrow
import pyarrow.parquet
import pytest

import checker
import ledger as ledger_file
import load
from ledger import Entry, Outcome
from world import HOOK_COLUMNS, PLAIN_COLUMNS

URL = "s3://bucket/lake"
NOW = time.time() - 60
DAY = time.strftime("year=%Y/month=%m/day=%d", time.gmtime(NOW))
TYPES = {"string": pyarrow.string(), "bigint": pyarrow.int64(), "boolean": pyarrow.bool_(), "int": pyarrow.int32()}
TENANTS = ("acme", "globex")
# Of each tenant, in the order in which they were sent.
PLAIN = ["row"] * 5 + ["misfit", "torn"]
HOOKED = ["ok"] * 3 + ["differ", "parts", "drop", "fail", "torn"]


class Sound:
    """Two streams as they should be, in memory until they are written; tests spoil them before or after."""

    def __init__(self, folder):
        self.folder = folder
        self.lake = folder / "lake"
        self.entries, self.rows, self.failed, self.kept, self.said = [], {}, {}, {}, []
        self.position = 0
        for tenant in TENANTS:
            for serial, kind in enumerate(PLAIN):
                self.add("clicks", tenant, serial, kind, hooked=False)
            for serial, kind in enumerate(HOOKED):
                self.add("views", tenant, serial, kind, hooked=True)
        # One of each tenant was refused, one was left open and did not arrive.
        for outcome in (Outcome.REFUSED, Outcome.AMBIGUOUS):
            self.entries.append(self.entry(outcome, "clicks", "acme", f"acme.clicks.one.{outcome}.0000000", "row", b"x"))

    def entry(self, outcome, stream, tenant, name, kind, body):
        self.position += 1
        sha = hashlib.sha256(body).hexdigest()
        at = NOW + self.position / 1000
        record_id = f"id-{self.position}" if outcome is Outcome.ACKED else ""
        return Entry(outcome, stream, tenant, "one", name, sha, kind, record_id, at, at + 0.0005)

    def add(self, stream, tenant, serial, kind, hooked):
        name = f"{tenant}.{stream}.one.run0.{serial:07d}"
        body = load.body(name, serial, kind, f"text of {name}", hooked)
        self.entries.append(self.entry(Outcome.ACKED, stream, tenant, name, kind, body))
        if hooked:
            self.kept.setdefault((stream, tenant), []).append(body)
        members = load.document(name, serial, kind, f"text of {name}", hooked)
        if kind in ("misfit", "torn", "fail"):
            self.failed.setdefault((stream, tenant), []).append(body)
        if kind in ("drop", "fail", "ok", "parts", "differ"):
            results = {"drop": "Dropped", "fail": "ProcessingFailed"}
            line = {"id": name, "result": results.get(kind, "Ok")}
            self.said.append(line | ({"token": "t1", "of": 2} if kind == "differ" else {}))
        if kind in ("row", "ok"):
            self.row(stream, tenant, members, hooked)
        for part in range({"parts": 3, "differ": 2}.get(kind, 0)):
            token = {"token": "t1", "of": 2} if kind == "differ" else {}
            self.row(stream, tenant, members | {"part": part} | token, hooked)

    def row(self, stream, tenant, members, hooked):
        self.rows.setdefault((stream, tenant), []).append(members | ({"seen": True} if hooked else {}))

    # --- on the disk ---

    def key(self, stream, tenant, extension=".parquet", day=DAY):
        return f"{stream}/tenant={tenant}/{day}/{stream}-1-object{extension}"

    def write(self):
        position = 0
        for (stream, tenant), rows in self.rows.items():
            self.object(self.key(stream, tenant), stream, tenant, rows, position)
            position += 100
        for (stream, tenant), bodies in self.failed.items():
            folder = f"errors/{stream}/tenant={tenant}/format-conversion-failed/{DAY}"
            lines = [json.dumps({"rawData": base64.b64encode(body).decode()}) + "\n" for body in bodies]
            self.put(f"{folder}/failures", "".join(lines).encode())
        for (stream, tenant), bodies in self.kept.items():
            text = b"".join(body + b"\n" for body in bodies)
            self.put(f"raw/{stream}/tenant={tenant}/{DAY}/kept.gz", gzip.compress(text))
        book = ledger_file.Ledger(self.folder / "ledger.tsv")
        book.add(self.entries)
        book.close()
        (self.folder / "hook.jsonl").write_text("".join(json.dumps(line) + "\n" for line in self.said))
        return self

    def object(self, key, stream, tenant, rows, position=0, footer=None):
        columns = HOOK_COLUMNS if stream == "views" else PLAIN_COLUMNS
        schema = pyarrow.schema([(name, TYPES[kind]) for name, kind in columns.items()])
        pairs = {"stream": stream, "tenant": tenant, "journal": "0" * 16, "rows": len(rows), "records": len(rows),
                 "position.first": position, "position.last": position + len(rows) - 1} | (footer or {})
        metadata = {f"lakehose.{name}": str(value) for name, value in pairs.items()}
        table = pyarrow.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema)
        (self.lake / key).parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), self.lake / key)

    def put(self, key, data):
        (self.lake / key).parent.mkdir(parents=True, exist_ok=True)
        (self.lake / key).write_bytes(data)

    def evidence(self):
        def partitions(stream):
            values = [(tenant, *(part.split("=")[1] for part in DAY.split("/"))) for tenant in TENANTS]
            return {each: f"{URL}/{stream}/tenant={each[0]}/{DAY}" for each in values}

        def status(delivered, failed, dropped, kept=None):
            states = dict(zip(checker._STATES, (delivered + failed + dropped, delivered, failed, dropped, 0, 0)))
            backup = None if kept is None else {"accepted": kept, "delivered": kept, "pending": 0}
            return states | {"open_plans": 0, "unregistered_partitions": 0, "backup": backup}

        statuses = {"clicks": status(10, 4, 0), "views": status(16, 4, 2, kept=16)}
        lines = [
            f'lakehose_records{{stream="{stream}",state="{state}"}} {found[state]}\n'
            for stream, found in statuses.items()
            for state in checker._STATES
        ]
        lines += [f'lakehose_conservation_delta{{stream="{stream}"}} 0\n' for stream in statuses]
        return checker.Evidence(
            ledger=self.folder / "ledger.tsv",
            lake=self.lake,
            url=URL,
            streams={"clicks": checker.StreamFacts(), "views": checker.StreamFacts(hooked=True, backup=True)},
            catalogs={stream: [partitions(stream)] for stream in statuses},
            hook_log=self.folder / "hook.jsonl",
            statuses=[statuses],
            metrics=["".join(lines)],
            writes=[("a", "1"), ("b", "2"), ("a", "1")],
        )


@pytest.fixture
def sound(tmp_path):
    return Sound(tmp_path)


def test_sound_data_has_no_violation(sound):
    verdict = checker.judge(sound.write().evidence())
    assert verdict.is_good, str(verdict)
    counted = {"acked": 30, "refused": 1, "ambiguous": 1, "delivered": 26, "failed": 8, "dropped": 2}
    assert verdict.counts == counted | {"lost": 0, "doubled": 0, "condemned": 0}


def found(verdict, invariant, subject=""):
    """Whether a violation of the invariant names the subject."""
    wanted = [each for each in verdict.violations if each.invariant == invariant]
    return any(subject in f"{each.what} {' '.join(map(str, each.subjects))}" for each in wanted)


FIRST = "acme.clicks.one.run0.0000000"
CLICKS, VIEWS = ("clicks", "acme"), ("views", "acme")


def rename(rows, **members):
    rows[0] = rows[0] | members


# What is wrong before the files are written: (name, what to do, invariant, what is named).
PLANTED = {
    "a lost row": (lambda s: s.rows[CLICKS].pop(0), "I1", FIRST),
    "a lost failure": (lambda s: s.failed[CLICKS].pop(), "I1", "acme.clicks.one.run0.0000006"),
    "a lost part": (lambda s: s.rows[VIEWS].pop(), "I2", "acme.views.one.run0.0000004"),
    "a row twice": (lambda s: s.rows[CLICKS].append(s.rows[CLICKS][0]), "I2", FIRST),
    "a failure twice": (lambda s: s.failed[CLICKS].append(s.failed[CLICKS][0]), "I2", "run0.0000005"),
    "a row in the error prefix too": (lambda s: s.failed[CLICKS].append(load.body(FIRST, 0, "row", f"text of {FIRST}", False)), "I2", FIRST),
    "parts of two answers": (lambda s: s.rows[VIEWS][3].update(token="t2"), "I2", "acme.views.one.run0.0000003"),
    "an answer that the hook never gave": (lambda s: [row.update(token="t9") for row in s.rows[VIEWS][3:5]], "I2", "run0.0000003"),
    "an answer of which a part is missing": (lambda s: s.rows[VIEWS].pop(3), "I2", "acme.views.one.run0.0000003"),
    "a row of what a hook dropped": (lambda s: s.row("views", "acme", load.document("acme.views.one.run0.0000005", 5, "drop", "t", True), True), "I2", "run0.0000005"),
    "a drop that the hook does not know of": (lambda s: [s.said.remove(line) for line in list(s.said) if line["result"] == "Dropped"], "I1", "acme.views.one.run0.0000005"),
    "a row that nobody sent": (lambda s: s.rows[CLICKS].append(s.rows[CLICKS][0] | {"id": "acme.clicks.one.ghost.1"}), "I3", "ghost"),
    "a failure that nobody sent": (lambda s: s.failed[CLICKS].append(b'{"id":"ghost"}'), "I3", "ghost"),
    "a row that was refused": (lambda s: s.rows[CLICKS].append({"id": "acme.clicks.one.refused.0000000", "number": 1, "text": ""}), "I3", "refused.0000000"),
    "one RecordId for two": (lambda s: s.entries.__setitem__(1, dataclasses.replace(s.entries[1], record_id=s.entries[0].record_id)), "I3", FIRST),
    "a changed byte in a row": (lambda s: rename(s.rows[CLICKS], text="texT"), "I4", FIRST),
    "a changed number in a row": (lambda s: rename(s.rows[CLICKS], number=99), "I4", FIRST),
    "a row that no hook has seen": (lambda s: rename(s.rows[VIEWS], seen=False), "I4", "acme.views.one.run0.0000000"),
    "a changed byte in a failure": (lambda s: s.failed[CLICKS].__setitem__(0, s.failed[CLICKS][0] + b" "), "I4", "run0.0000005"),
    "a good row in the error prefix": (lambda s: s.failed[CLICKS].append(load.body(s.rows[CLICKS].pop(0)["id"], 0, "row", f"text of {FIRST}", False)), "I4", FIRST),
    "a row of another tenant": (lambda s: s.rows[CLICKS].append(s.rows[("clicks", "globex")].pop(0)), "I5", "globex.clicks.one.run0.0000000"),
    "a failure of another tenant": (lambda s: s.failed[CLICKS].append(s.failed[("clicks", "globex")].pop(0)), "I5", "globex.clicks.one.run0.0000005"),
    "rows in another order": (lambda s: s.rows[CLICKS].reverse(), "I10", "run0.0000003"),
    "a record that is missing in the backup": (lambda s: s.kept[VIEWS].pop(0), "I12", "acme.views.one.run0.0000000"),
    "a record twice in the backup": (lambda s: s.kept[VIEWS].append(s.kept[VIEWS][0]), "I12", "acme.views.one.run0.0000000"),
    "a changed byte in the backup": (lambda s: s.kept[VIEWS].__setitem__(0, s.kept[VIEWS][0] + b" "), "I12", "acme.views.one.run0.0000000"),
    "a stranger in the backup": (lambda s: s.kept[VIEWS].append(b'{"id":"ghost"}'), "I3", "ghost"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_wrong_with_records_is_caught(sound, name):
    plant, invariant, subject = PLANTED[name]
    plant(sound)
    verdict = checker.judge(sound.write().evidence())
    assert found(verdict, invariant, subject), f"{name}: {verdict}"


def move(sound, key, other):
    (sound.lake / other).parent.mkdir(parents=True, exist_ok=True)
    (sound.lake / key).rename(sound.lake / other)


def rewrite(sound, **footer):
    rows = sound.rows[CLICKS]
    sound.object(sound.key(*CLICKS), "clicks", "acme", rows, footer=footer)


def in_status(stream, **values):
    return lambda sound, evidence: evidence.statuses[0][stream].update(values)


def in_metrics(before, after):
    def plant(_sound, evidence):
        assert before in evidence.metrics[0]
        evidence.metrics[0] = evidence.metrics[0].replace(before, after)

    return plant


def leave(name):
    def plant(sound, evidence):
        file = sound.folder / "data/streams/clicks" / name
        for number in range(3):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_stem(f"{file.stem}{number}").write_bytes(b"")
        evidence.data_dirs = [sound.folder / "data"]

    return plant


def condemn(sound, evidence, deaths, others=0):
    """A record that was given up, after so many deaths with it and with others by the log."""
    rows = sound.rows[CLICKS]
    body = load.body(FIRST, 0, "row", f"text of {FIRST}", False)
    message = "the process died again and again while this record was converted, number 7 of its log"
    line = {"rawData": base64.b64encode(body).decode(), "errorCode": checker.POISON, "errorMessage": message}
    sound.put(f"errors/clicks/tenant=acme/processing-failed/{DAY}/condemned", json.dumps(line).encode() + b"\n")
    sound.object(sound.key(*CLICKS), "clicks", "acme", rows[1:], position=1)
    evidence.statuses[0]["clicks"].update(delivered=9, failed=5)
    in_metrics('state="delivered"} 10', 'state="delivered"} 9')(sound, evidence)
    in_metrics('stream="clicks",state="failed"} 4', 'stream="clicks",state="failed"} 5')(sound, evidence)
    said = "  WARN lakehose::pipeline::caution: the last process died while it converted a record path="
    log = sound.folder / "one.log"
    numbers = [7] * deaths + [8] * others
    log.write_text("".join(f"{said}/data/streams/clicks/running record={number} under_way=1\n" for number in numbers))
    evidence.logs = {"one": log}


FIRST_KEY = f"clicks/tenant=acme/{DAY}"
OTHER_DAY = "year=2001/month=02/day=03"
# What is wrong with files, catalogs and numbers: (what to do with files and evidence, invariant, what is named).
AROUND = {
    "a folder of another day": (lambda s, e: move(s, s.key(*CLICKS), s.key(*CLICKS, day=OTHER_DAY)), "I5", "day=03"),
    "a footer of another tenant": (lambda s, e: rewrite(s, tenant="globex"), "I5", "globex"),
    "a partition that no catalog has": (lambda s, e: e.catalogs["clicks"][0].popitem(), "I6", "tenant=globex"),
    "a partition without an object": (lambda s, e: e.catalogs["clicks"][0].update({("x",): f"{URL}/clicks/tenant=x"}), "I6", "tenant=x"),
    "values that do not fit": (lambda s, e: e.catalogs["clicks"][0].update({("a", "b"): f"{URL}/{FIRST_KEY}"}), "I6", "('a', 'b')"),
    "two catalogs that differ": (lambda s, e: e.catalogs["clicks"].append(dict.fromkeys(e.catalogs["clicks"][0], "elsewhere")), "I6", "two locations"),
    "a footer that counts wrongly": (lambda s, e: rewrite(s, rows=4), "I7", FIRST_KEY),
    "positions in two objects": (lambda s, e: s.object(f"{FIRST_KEY}/other.parquet", "clicks", "acme", s.rows[CLICKS][:1], 4), "I7", "other.parquet"),
    "a torn object": (lambda s, e: s.put(s.key(*CLICKS), (s.lake / s.key(*CLICKS)).read_bytes()[:-9]), "I7", FIRST_KEY),
    "a foreign file": (lambda s, e: s.put(f"{FIRST_KEY}/readme.txt", b"?"), "I7", "readme.txt"),
    "one key, two contents": (lambda s, e: e.writes.append(("b", "3")), "I7", "b"),
    "a key rewritten by the store's count": (lambda s, e: setattr(e, "rewritten_keys", 1), "I7", "1 keys"),
    "a foreign object that was written over": (lambda s, e: e.foreign.update({s.lake / s.key(*CLICKS): b"other"}), "I7", "somebody"),
    "a sound record that was condemned": (lambda s, e: condemn(s, e, deaths=1, others=9), "I4", "condemned"),
    "a condemned record that is a row as well": (lambda s, e: (condemn(s, e, 2), s.object(s.key(*CLICKS), "clicks", "acme", s.rows[CLICKS])), "I2", FIRST),
    "a count of delivered that is off by one": (in_status("clicks", accepted=15, delivered=11), "I8", "11 delivered"),
    "a status that does not add up": (in_status("clicks", accepted=15), "I8", "add up"),
    "a count of dropped that is off": (in_status("views", dropped=3, failed=3), "I8", "3 dropped"),
    "damage that nobody did": (in_status("clicks", damaged=1, delivered=9), "I8", "damaged"),
    "a difference in the metrics": (in_metrics('delta{stream="clicks"} 0', 'delta{stream="clicks"} 1'), "I8", "conservation_delta"),
    "metrics that differ from the status": (in_metrics('state="delivered"} 10', 'state="delivered"} 9'), "I8", "differ"),
    "a backup's count": (in_status("views", backup={"accepted": 15, "delivered": 15, "pending": 0}), "I8", "backup"),
    "a plan that stays open": (in_status("clicks", open_plans=1), "I9", "clicks"),
    "a partition that stays unregistered": (in_status("clicks", unregistered_partitions=1), "I9", "clicks"),
    "an outbox that is not empty": (leave("outbox/0.obx"), "I9", "frozen"),
    "segments that stay": (leave("journal/0.seg"), "I9", "segments"),
    "a backup that cannot be unpacked": (lambda s, e: s.put(f"raw/views/tenant=acme/{DAY}/kept.gz", b"no gzip"), "I12", "kept.gz"),
    "a failure that is no JSON": (lambda s, e: s.put(f"errors/clicks/tenant=acme/x/{DAY}/x", b"{\n"), "I4", "no failure"),
}


@pytest.mark.parametrize("name", AROUND)
def test_what_is_wrong_around_the_records_is_caught(sound, name):
    plant, invariant, subject = AROUND[name]
    evidence = sound.write().evidence()
    plant(sound, evidence)
    verdict = checker.judge(evidence)
    assert found(verdict, invariant, subject), f"{name}: {verdict}"


def test_a_record_that_processes_died_with_may_be_condemned(sound):
    evidence = sound.write().evidence()
    condemn(sound, evidence, deaths=checker.POISON_DEATHS)
    verdict = checker.judge(evidence)
    assert verdict.is_good, str(verdict)
    assert verdict.counts["condemned"] == 1


def test_the_last_word_on_a_record_is_the_strongest_and_its_time_the_first(tmp_path):
    book = ledger_file.Ledger(tmp_path / "ledger.tsv")
    entry = Entry(Outcome.AMBIGUOUS, "s", "t", "i", "id", "sha", "row", "", 1.0, 2.0)
    book.add([entry])
    book.add([dataclasses.replace(entry, outcome=Outcome.ACKED, record_id="r", sent=3.0, answered=4.0)])
    book.add([dataclasses.replace(entry, outcome=Outcome.REFUSED, sent=5.0, answered=6.0)])
    book.close()
    assert (book.acked, book.refused, book.ambiguous) == (1, 1, 1)
    wanted = Entry(Outcome.ACKED, "s", "t", "i", "id", "sha", "row", "r", 1.0, 6.0)
    assert ledger_file.read(book.path) == {"id": wanted}


def test_one_id_for_two_records_is_refused(tmp_path):
    book = ledger_file.Ledger(tmp_path / "ledger.tsv")
    entry = Entry(Outcome.ACKED, "s", "t", "i", "id", "sha", "row", "r", 1.0, 2.0)
    book.add([entry, dataclasses.replace(entry, sha="other")])
    book.close()
    with pytest.raises(ValueError, match="two records"):
        ledger_file.read(book.path)
