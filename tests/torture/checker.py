"""The judge: what producers were told against what lies in the lake, the backup and the catalogs.

Reads with PyArrow and the standard library; no code of Lakehose takes part. `judge` names every
violation with the ids or keys that it is about, and never stops at the first.

    I1  no loss          every acknowledged record is in the lake, in the error prefix, or was dropped
                         by its hook
    I2  once             in one of them, once; all parts that a hook made come from one answer, each once
    I3  no invention     nothing is there that nobody sent, or that was refused
    I4  integrity        every byte as it was sent, every row as its hook left it
    I5  placement        tenant, stream and day of the folder are the record's own
    I6  catalog          registered partitions are the folders with data objects, with their location
    I7  objects          footers tell the truth, positions are disjoint, no key twice with other bytes
    I8  metrics          status and metrics equal what was found; the difference is 0
    I9  rest             nothing is pending, and nothing is left on the disk
    I10 order            rows of one producer stand in the order of their calls
    I11 liveness         after the faults everything is delivered in bounded time (measured by the round)
    I12 backup           every accepted record is there once, as it was sent
"""

import base64
import collections
import dataclasses
import datetime
import gzip
import hashlib
import json
import pathlib
import re
import urllib.parse

import pyarrow.parquet

import hook as hook_log
import ledger as ledger_file
import load
from ledger import Outcome

# A hook may write a record with other spaces than it was sent.
ID = re.compile(rb'"id": ?"([^"]+)"')
SEGMENT = re.compile(r"(?P<key>[a-z_]+)=(?P<value>.*)")
METRIC = re.compile(r'lakehose_(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>-?\d+)')
# The buffering interval of the rounds, and what a busy machine adds: so much older than its rows may
# the oldest record of a batch be, by which a folder is named.
BATCH_SECONDS = 120
# What a record fails with that the process died with again and again, which record the failure says
# that it is, and the deaths during its conversion that the service's own log has to show.
POISON, POISON_NUMBER, POISON_DEATHS = "Lakehose.Poison", re.compile(r"number (\d+) of its log"), 2
# ... in the log of an instance, after each start.
DEATH = re.compile(r'the last process died while it converted a record path=(?P<path>\S+) record=(?P<record>\d+)')
# Ids that a violation lists, and violations that a verdict shows.
SHOWN, LINES_SHOWN = 8, 20
# Kinds whose rows come out of a conversion; the others fail it, or never get there.
ROWS_OF = {"row": 1, "ok": 1, "parts": 3}
FAILING = ("misfit", "torn", "fail")
SINGLE = ("row", "ok", *FAILING)


@dataclasses.dataclass(frozen=True)
class Violation:
    """One broken invariant."""

    invariant: str
    what: str
    subjects: tuple = ()

    def __str__(self):
        shown = ", ".join(map(str, self.subjects[:SHOWN]))
        more = f" and {len(self.subjects) - SHOWN} more" if len(self.subjects) > SHOWN else ""
        return f"{self.invariant}: {self.what}" + (f": {shown}{more}" if shown else "")


@dataclasses.dataclass
class Verdict:
    """All violations, and what was counted on the way."""

    violations: list
    counts: dict

    @property
    def is_good(self):
        return not self.violations

    def __str__(self):
        if self.is_good:
            return "no violation"
        lines = [str(violation) for violation in self.violations[:LINES_SHOWN]]
        more = len(self.violations) - len(lines)
        return "\n".join(lines + [f"and {more} violations more"] * (more > 0))


@dataclasses.dataclass(frozen=True)
class StreamFacts:
    """What a stream was set up to do."""

    hooked: bool = False
    backup: bool = False
    database: str = "lakehose"


@dataclasses.dataclass
class Evidence:
    """Everything that is judged."""

    ledger: pathlib.Path
    lake: pathlib.Path  # The folder that the store keeps the objects in.
    url: str  # What that folder is called in locations.
    streams: dict  # name -> StreamFacts
    # Registered partitions by stream: values -> location, one for each catalog that saw the stream.
    catalogs: dict = dataclasses.field(default_factory=dict)
    hook_log: pathlib.Path | None = None
    # Each instance's last status by stream, and its metrics; the order is the same.
    statuses: list = dataclasses.field(default_factory=list)
    metrics: list = dataclasses.field(default_factory=list)
    # The store's own account: (key, sha256) of every put that it carried out.
    writes: list = dataclasses.field(default_factory=list)
    rewritten_keys: int = 0
    # What each instance logged, by its name: the only excuse for a sound record that was condemned.
    logs: dict = dataclasses.field(default_factory=dict)
    # Objects of somebody else, by their paths: they are to stay what they are.
    foreign: dict = dataclasses.field(default_factory=dict)
    data_dirs: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Row:
    """One row of a data object."""

    key: str
    number: int
    values: dict


def judge(evidence):
    return _Judge(evidence).run()


def objects_below(lake, prefix, foreign=()):
    """Keys of the objects below a prefix of the lake's folder, without those of somebody else."""
    found = (path for path in (lake / prefix).rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(str(path.relative_to(lake)) for path in found if path not in foreign)


def segments_of(key):
    """The `name=value` folders of a key, unescaped."""
    matches = filter(None, map(SEGMENT.fullmatch, key.split("/")[:-1]))
    return {match["key"]: urllib.parse.unquote(match["value"]) for match in matches}


class _Judge:
    def __init__(self, evidence):
        self.evidence = evidence
        self.records = ledger_file.read(evidence.ledger)
        self.said = hook_log.read(evidence.hook_log) if evidence.hook_log else {}
        self.violations = []
        self.counts = {}
        # What each condemned record is called in the log of its stream.
        self.condemned = {}

    def bad(self, invariant, what, subjects=()):
        self.violations.append(Violation(invariant, what, tuple(subjects)))

    def _objects(self, prefix):
        return objects_below(self.evidence.lake, prefix, self.evidence.foreign)

    def run(self):
        outcomes = collections.Counter(entry.outcome.value for entry in self.records.values())
        self.counts |= {outcome.value: outcomes[outcome.value] for outcome in Outcome} | {"lost": 0, "doubled": 0}
        self._record_ids()
        for stream, facts in self.evidence.streams.items():
            self._stream(stream, facts)
        self._condemned()
        self._writes()
        self._disk()
        return Verdict(self.violations, self.counts)

    # --- one stream ---

    def _stream(self, stream, facts):
        records = {name: entry for name, entry in self.records.items() if entry.stream == stream}
        rows = self._rows(stream, records)
        failures = self._failures(stream, facts, records)
        kept = self._backup(stream, records) if facts.backup else None
        self._ids(stream, facts, records, rows, failures)
        self._order(stream, records, rows)
        self._catalog(stream)
        counted = {
            "delivered": sum(map(len, rows.values())),
            "failed": sum(failures.values()),
            "dropped": self._dropped(facts, records, kept),
        }
        self._status(stream, facts, records, counted, kept)
        for name, count in counted.items():
            if count is not None:
                self.counts[name] = self.counts.get(name, 0) + count

    def _rows(self, stream, records):
        """All rows by id; what objects and folders say of themselves is judged on the way."""
        rows, dense = collections.defaultdict(list), collections.defaultdict(list)
        for key in self._objects(stream):
            if not key.endswith(".parquet"):
                self.bad("I7", "not a Parquet file under the stream's prefix", [key])
                continue
            try:
                file = pyarrow.parquet.ParquetFile(self.evidence.lake / key)
                found = file.read().to_pylist()
            except Exception as error:
                self.bad("I7", f"cannot be read ({error})", [key])
                continue
            self._footer(stream, key, file, len(found), dense)
            names = []
            for number, values in enumerate(found):
                rows[values.get("id")].append(Row(key, number, values))
                names.append(values.get("id"))
            self._folder(stream, key, [records[name] for name in names if name in records])
        for journal, runs in dense.items():
            runs.sort()
            for (first, last, key), (other_first, _, other) in zip(runs, runs[1:]):
                if other_first <= last:
                    self.bad("I7", f"positions of journal {journal} from {other_first} on stand in two", [key, other])
        return rows

    def _footer(self, stream, key, file, count, dense):
        pairs = {name.decode(): value.decode() for name, value in (file.metadata.metadata or {}).items()}
        said = {name: pairs.get(f"lakehose.{name}") for name in ("stream", "rows", "records", "tenant")}
        if said["stream"] != stream or said["rows"] != str(count):
            self.bad("I7", f"the footer says {said}, there are {count} rows of {stream}", [key])
            return
        if said["tenant"] != segments_of(key).get("tenant"):
            self.bad("I5", f"the footer is of tenant {said['tenant']}", [key])
        first, last = int(pairs["lakehose.position.first"]), int(pairs["lakehose.position.last"])
        if last - first + 1 == int(said["records"]):
            dense[pairs["lakehose.journal"]].append((first, last, key))

    def _folder(self, stream, key, entries):
        """Tenant and day of a folder are those of the records in it."""
        place = segments_of(key)
        strangers = [entry.id for entry in entries if entry.tenant != place.get("tenant")]
        if strangers:
            self.bad("I5", f"records of another tenant in {key}", strangers)
        if not entries:
            return
        # The first is the oldest, also where the clock went back meanwhile: order is the position.
        oldest = entries[0]
        days = {_day(oldest.sent - BATCH_SECONDS), _day(oldest.sent), _day(oldest.answered)}
        day = "-".join(place.get(part, "?") for part in ("year", "month", "day"))
        if day not in days:
            self.bad("I5", f"records that arrived on {sorted(days)} in {key}", [entry.id for entry in entries])

    def _failures(self, stream, facts, records):
        """Lines of error objects by id."""
        found = collections.Counter()
        for key in self._objects(f"errors/{stream}"):
            entries = []
            for number, text in enumerate((self.evidence.lake / key).read_bytes().splitlines()):
                try:
                    line = json.loads(text)
                    raw = base64.b64decode(line["rawData"], validate=True)
                    name = ID.search(raw)[1].decode()
                except (ValueError, KeyError, TypeError) as error:
                    self.bad("I4", f"line {number} of {key} is no failure ({error!r})", [key])
                    continue
                found[name] += 1
                entry = records.get(name)
                if entry is None:
                    self.bad("I3", f"in {key}, but nobody sent it to {stream}", [name])
                    continue
                entries.append(entry)
                if line.get("errorCode") == POISON:
                    number = POISON_NUMBER.search(line.get("errorMessage", ""))
                    self.condemned[name] = number and number[1]
                    # Of a record that became several, it is one of them.
                    if entry.kind in SINGLE and hashlib.sha256(_without_hook(raw)).hexdigest() != entry.sha:
                        self.bad("I4", f"condemned bytes in {key} are not those that were sent", [name])
                    continue
                if entry.kind == "misfit" and facts.hooked:
                    raw = _without_hook(raw)
                if hashlib.sha256(raw).hexdigest() != entry.sha:
                    self.bad("I4", f"the raw bytes in {key} are not those that were sent", [name])
                if entry.kind not in FAILING:
                    self.bad("I4", f"a record of kind {entry.kind} in the error prefix", [name])
            self._folder(stream, key, entries)
        return found

    def _ids(self, stream, facts, records, rows, failures):
        """Loss, doubling, invention, and every column of every row."""
        lost, twice, wrong, refused = [], [], [], []
        for name, entry in records.items():
            found, failed = rows.get(name, []), failures[name]
            dropped = any(line["result"] == "Dropped" for line in self.said.get(name, []))
            is_there = bool(found) or failed > 0
            if entry.outcome is Outcome.REFUSED and is_there:
                refused.append(name)
            if entry.kind == "drop" and facts.hooked:
                if is_there:
                    twice.append(name)
                if entry.outcome is Outcome.ACKED and not dropped:
                    lost.append(name)
                continue
            if entry.outcome is Outcome.ACKED and not is_there:
                lost.append(name)
            if is_there and not self._is_once(entry, found, failed):
                twice.append(name)
            wrong += [name] * any(not self._is_whole(facts, entry, row) for row in found)
        self.counts["lost"] += len(lost)
        self.counts["doubled"] += len(twice)
        if lost:
            self.bad("I1", f"acknowledged, and not in {stream}", sorted(lost))
        if twice:
            self.bad("I2", f"not exactly once in {stream}", sorted(twice))
        if refused:
            self.bad("I3", f"refused, and yet in {stream}", sorted(refused))
        if wrong:
            self.bad("I4", f"changed on its way into {stream}", sorted(wrong))
        invented = [name for name in rows if name not in records]
        if invented:
            self.bad("I3", f"in {stream}, but nobody sent it there", sorted(map(str, invented)))

    def _is_once(self, entry, found, failed):
        if entry.kind in FAILING:
            return not found and failed == 1
        if failed and entry.id not in self.condemned:
            return False
        # Rows that a condemned record did not become are missing.
        parts = [row.values.get("part") for row in found]
        if entry.kind != "differ":
            wanted = list(range(3)) if entry.kind == "parts" else [None]
            return len(parts) + failed == ROWS_OF[entry.kind] and _is_part_of(parts, wanted)
        said = {(line["token"], line["of"]) for line in self.said.get(entry.id, [])}
        tokens = {(row.values["token"], row.values["of"]) for row in found}
        if not found:
            return failed in {of for _, of in said}
        if len(tokens) != 1 or not tokens <= said:
            return False
        [(_, of)] = tokens
        return len(parts) + failed == of and _is_part_of(parts, list(range(of)))

    @staticmethod
    def _is_whole(facts, entry, row):
        """Whether the columns are those of the record that was sent."""
        values = row.values
        if facts.hooked and values["seen"] is not True:
            return False
        # What a row says of itself, written as producers write it.
        kind = values["do"] if facts.hooked else "row"
        members = load.document(values["id"], values["number"], kind, values["text"], facts.hooked)
        return hashlib.sha256(load.encode(members)).hexdigest() == entry.sha

    def _order(self, stream, records, rows):
        """Rows of one producer whose calls were all answered come in the order of the calls."""
        by_key = collections.defaultdict(list)
        for name, found in rows.items():
            entry = records.get(name)
            if entry is not None and entry.outcome is Outcome.ACKED:
                for row in found:
                    by_key[row.key].append((row.number, name))
        for key, placed in by_key.items():
            placed.sort()
            seen = {}
            for _, name in placed:
                producer = name.rpartition(".")[0]
                before = seen.setdefault(producer, name)
                if before > name:
                    self.bad("I10", f"out of order in {key}", [before, name])
                    break
                seen[producer] = name

    # --- beside the rows ---

    def _condemned(self):
        """Sound records that the service gave up: only with a log that shows why it had to.

        A process that is killed while it converts one record, and again while it converts nothing
        but that one, cannot know that it was not the record.
        """
        deaths = collections.Counter(
            (instance, match["path"].split("/streams/")[-1].split("/")[0], match["record"])
            for instance, log in self.evidence.logs.items()
            for match in DEATH.finditer(log.read_text(errors="replace"))
        )
        died = {name: deaths[entry.instance, entry.stream, self.condemned[name]]
                for name, entry in self.records.items() if name in self.condemned}
        unfounded = sorted(name for name, count in died.items() if count < POISON_DEATHS)
        if unfounded:
            self.bad("I4", "sound records condemned though no process died again and again with them", unfounded)
        self.counts["condemned"] = len(self.condemned)

    def _record_ids(self):
        """No two records have the same RecordId."""
        acked = [entry for entry in self.records.values() if entry.record_id]
        counts = collections.Counter((entry.instance, entry.record_id) for entry in acked)
        doubled = {each for each, count in counts.items() if count > 1}
        names = [entry.id for entry in acked if (entry.instance, entry.record_id) in doubled]
        if names:
            self.bad("I3", "one RecordId for several records", sorted(names))

    def _backup(self, stream, records):
        """Ids in the backup, once for each time."""
        kept = collections.Counter()
        for key in self._objects(f"raw/{stream}"):
            entries = []
            try:
                lines = gzip.decompress((self.evidence.lake / key).read_bytes()).splitlines()
            except (OSError, EOFError) as error:
                self.bad("I12", f"cannot be unpacked ({error})", [key])
                continue
            for raw in lines:
                match = ID.search(raw)
                name = match[1].decode() if match else repr(raw[:40])
                kept[name] += 1
                entry = records.get(name)
                if entry is None:
                    self.bad("I3", f"in the backup of {stream}, but nobody sent it", [name])
                    continue
                entries.append(entry)
                if hashlib.sha256(raw).hexdigest() != entry.sha:
                    self.bad("I12", f"not as it was sent in {key}", [name])
            self._folder(stream, key, entries)
        twice = [name for name, count in kept.items() if count > 1]
        self.counts["doubled"] += len(twice)
        if twice:
            self.bad("I12", f"more than once in the backup of {stream}", sorted(twice))
        lost = [name for name, entry in records.items() if entry.outcome is Outcome.ACKED and name not in kept]
        self.counts["lost"] += len(lost)
        if lost:
            self.bad("I12", f"acknowledged, and not in the backup of {stream}", sorted(lost))
        refused = [name for name, e in records.items() if e.outcome is Outcome.REFUSED and name in kept]
        if refused:
            self.bad("I3", f"refused, and yet in the backup of {stream}", sorted(refused))
        return kept

    def _dropped(self, facts, records, kept):
        """How many records the hook dropped; None where only a backup could tell and there is none."""
        if not facts.hooked:
            return 0
        dropped = {name for name, entry in records.items() if entry.kind == "drop" and name in self.said}
        sure = {name for name in dropped if records[name].outcome is Outcome.ACKED}
        if kept is not None:
            return sum(1 for name in dropped if name in kept)
        return len(dropped) if dropped == sure else None

    def _catalog(self, stream):
        registered = {}
        for partitions in self.evidence.catalogs.get(stream, []):
            for values, location in partitions.items():
                if registered.setdefault(values, location) != location:
                    self.bad("I6", f"two locations for partition {values} of {stream}", [location])
        if not self.evidence.catalogs.get(stream):
            return
        folders = {key.rpartition("/")[0] for key in self._objects(stream)}
        wanted = {f"{self.evidence.url}/{folder}" for folder in folders}
        found = {location.rstrip("/") for location in registered.values()}
        if wanted - found:
            self.bad("I6", f"folders of {stream} that no catalog has", sorted(wanted - found))
        if found - wanted:
            self.bad("I6", f"partitions of {stream} without an object", sorted(found - wanted))
        for values, location in registered.items():
            if values != tuple(segments_of(f"{location.rstrip('/')}/x").values()):
                self.bad("I6", f"values {values} do not fit the location", [location])

    def _status(self, stream, facts, records, counted, kept):
        statuses = [found[stream] for found in self.evidence.statuses if stream in found]
        if not statuses:
            return
        total = collections.Counter()
        for status in statuses:
            total.update({state: status[state] for state in _STATES})
        ends = sum(total[state] for state in _STATES if state != "accepted")
        if total["accepted"] != ends:
            self.bad("I8", f"the status of {stream} does not add up", [dict(total)])
        if total["damaged"]:
            self.bad("I8", f"{total['damaged']} records of {stream} counted as damaged")
        for state, count in counted.items():
            if count is not None and total[state] != count:
                self.bad("I8", f"{stream} says {total[state]} {state}, there are {count}")
        open_things = [(s["pending"], s["open_plans"], s["unregistered_partitions"]) for s in statuses]
        if any(any(each) for each in open_things):
            self.bad("I9", f"pending, open plans, unregistered partitions of {stream}", open_things)
        if kept is not None:
            backups = [status["backup"] or {} for status in statuses]
            ends = tuple(sum(each.get(state, 0) for each in backups) for state in ("accepted", "delivered", "pending"))
            if ends != (sum(kept.values()), sum(kept.values()), 0):
                self.bad("I8", f"the backup of {stream} says {ends}, there are {sum(kept.values())}")
        self._metrics(stream, total)

    def _metrics(self, stream, total):
        if not self.evidence.metrics:
            return
        shown, delta = collections.Counter(), 0
        for text in self.evidence.metrics:
            for match in METRIC.finditer(text):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
                if labels.get("stream") != stream:
                    continue
                if match["name"] == "records":
                    shown[labels["state"]] += int(match["value"])
                elif match["name"] == "conservation_delta":
                    delta += abs(int(match["value"]))
        if delta:
            self.bad("I8", f"conservation_delta of {stream} is {delta}")
        different = {state: (shown[state], total[state]) for state in _STATES if shown[state] != total[state]}
        if different:
            self.bad("I8", f"metrics and status of {stream} differ", different.items())

    def _writes(self):
        if self.evidence.rewritten_keys:
            self.bad("I7", f"{self.evidence.rewritten_keys} keys were written again with other bytes")
        hashes = {}
        for key, sha in self.evidence.writes:
            if hashes.setdefault(key, sha) != sha:
                self.bad("I7", "written twice with different bytes", [key])
        for path, content in self.evidence.foreign.items():
            if path.read_bytes() != content:
                self.bad("I7", "somebody else's object was written over", [path])

    def _disk(self):
        for data_dir in self.evidence.data_dirs:
            for stream in sorted((data_dir / "streams").glob("*")):
                frozen = sorted(stream.rglob("*.obx"))
                if frozen:
                    self.bad("I9", "frozen objects are left on the disk", frozen)
                for journal in stream.rglob("journal"):
                    segments = sorted(journal.glob("*.seg"))
                    if len(segments) > 2:
                        self.bad("I9", f"{len(segments)} segments are left of {journal}", segments)


_STATES = ("accepted", "delivered", "failed", "dropped", "damaged", "pending")


def _is_part_of(parts, wanted):
    """Whether there are some of those that are wanted, each once."""
    return len(set(parts)) == len(parts) and set(parts) <= set(wanted)


def _without_hook(raw):
    """A part that could not be converted has what the hook added to the record."""
    try:
        members = json.loads(raw)
    except ValueError:
        return raw
    return load.encode(members) if members.pop("seen", None) is True else raw


def _day(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")
