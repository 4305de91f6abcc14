"""What the producers were told: one line for each record of each attempt, on disk before the next call.

Owns the file's form, both ways, and the last word on a record that was sent more than once. Does not
judge: that is `checker`. The process that writes it is never killed, so a line that was written counts.

    outcome  stream  tenant  instance  id  sha256 of the body  kind  record id  sent  answered
"""

import dataclasses
import enum
import threading


class Outcome(enum.StrEnum):
    """What a producer knows of a record."""

    ACKED = "acked"  # Status 200 and an id: it has to be in the lake.
    REFUSED = "refused"  # An answer that says no: it must not be there.
    AMBIGUOUS = "ambiguous"  # No answer, or one that leaves it open: once, or not at all.


# Where a record was sent more than once, as the same call, the strongest word holds.
_STRENGTH = {Outcome.REFUSED: 0, Outcome.AMBIGUOUS: 1, Outcome.ACKED: 2}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One record as one attempt left it. Times are seconds since 1970 by the server's clock."""

    outcome: Outcome
    stream: str
    tenant: str
    instance: str
    id: str
    sha: str
    kind: str
    record_id: str
    sent: float
    answered: float

    def line(self):
        fields = dataclasses.astuple(self)[:-2]
        return "\t".join([*map(str, fields), f"{self.sent:.6f}", f"{self.answered:.6f}"]) + "\n"


def parse(line):
    *texts, sent, answered = line.rstrip("\n").split("\t")
    return Entry(Outcome(texts[0]), *texts[1:], float(sent), float(answered))


class Ledger:
    """The file that producers write to, and the counts that tell when it is time for a fault."""

    def __init__(self, path):
        self.path = path
        self.acked = self.refused = self.ambiguous = 0
        self._file = open(path, "a", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, entries):
        text = "".join(entry.line() for entry in entries)
        with self._lock:
            self._file.write(text)
            self._file.flush()
            for entry in entries:
                setattr(self, entry.outcome.value, getattr(self, entry.outcome.value) + 1)

    def close(self):
        self._file.close()


def read(path):
    """Every record with the last word on it: id -> entry.

    A record that was sent again as the same call keeps the time of the first sending.
    """
    records = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = parse(line)
            before = records.get(entry.id)
            if before is None:
                records[entry.id] = entry
                continue
            if (before.sha, before.stream, before.tenant) != (entry.sha, entry.stream, entry.tenant):
                raise ValueError(f"{path}: {entry.id} names two records")
            strongest = max(before, entry, key=lambda each: _STRENGTH[each.outcome])
            records[entry.id] = dataclasses.replace(
                strongest, sent=min(before.sent, entry.sent), answered=max(before.answered, entry.answered)
            )
    return records
