"""`lakehose verify`: twenty healthy data directories and nothing to say, each kind of damage and its name."""

import concurrent.futures
import json
import os
import re
import shutil
import struct

import pytest

import kit
import verify_kit
from verify_kit import BATCH, COMMIT, PLAN, SEAL, Stream

ACME = kit.Identity("acme", ("clicks",))
GLOBEX = kit.Identity("globex", ("clicks",))
COLUMNS = {"id": "string", "number": "bigint", "text": "string"}
RUNS_AT_A_TIME = 3
# Directories that each kind of damage is planted in, where so many fit.
EACH_PLANTED_MAX = 20


def records(first, count, bad_every=50):
    def record(number):
        document = {"id": f"r-{number}", "number": number, "text": f"text {number} " * 10}
        if bad_every and number % bad_every == bad_every - 1:
            document["number"] = "none"
        return json.dumps(document).encode()

    return [record(number) for number in range(first, first + count)]


def clicks(**more):
    settings = kit.stream_of({"columns": dict(COLUMNS)}, size="64 KiB", interval="900 s")
    return {**settings, **more}


HOOKS = [{"filter": ".number != 7"}, {"jq": ".hooked = true"}, {"fields": {"drop": ["hooked"]}}]
BACKUP = {"store": "lake", "prefix": "raw/tenant=!{lakehose:tenant}/", "compression": "gzip",
          "buffering": {"size": "64 KiB", "interval": "900 s"}}


class Maker:
    """Makes data directories by running the real server, and keeps copies of them at rest."""

    def __init__(self, root):
        self.root = root
        self.made = {}
        self.processes = []
        self.sent = 0
        self.s3 = kit.S3Server(root)
        self.processes.append(self.s3)
        self.s3.start()

    def server(self, name, lake=None, streams=None, **replaced):
        folder = self.root / name
        folder.mkdir()
        lake = lake or kit.FolderLake(folder)
        streams = streams or {"clicks": clicks()}
        writers = [kit.Identity(each.tenant, tuple(streams)) for each in (ACME, GLOBEX)]
        settings = kit.settings_of(folder, writers, lake, streams)
        server = kit.Lakehose(folder, settings | replaced, kit.secrets_of([ACME, GLOBEX]))
        self.processes.append(server)
        return server.start()

    def again(self, server, streams):
        """Another server over the data directory of one that has ended."""
        folder = server.settings_file.parent
        writers = [kit.Identity(each.tenant, tuple(streams)) for each in (ACME, GLOBEX)]
        settings = kit.settings_of(folder, writers, kit.FolderLake(folder), streams)
        server = kit.Lakehose(folder, settings, server.secrets, "again")
        self.processes.append(server)
        return server.start()

    def send(self, server, count=600, stream="clicks", identity=ACME, batch=100, **kinds):
        made = records(self.sent, count, **kinds)
        self.sent += count
        kit.send(server.firehose(identity), stream, made, batch=batch)

    def keep(self, server, name):
        assert not server.is_alive()
        self.made[name] = verify_kit.copy(server.data_dir, self.root / "made" / name)

    def killed(self, server, name):
        server.kill()
        self.keep(server, name)

    def stopped(self, server, name):
        assert server.terminate() == 0
        self.keep(server, name)

    def end(self):
        for process in reversed(self.processes):
            process.kill()


def make_all(maker):
    server = maker.server("empty")
    maker.stopped(server, "stopped-empty")
    maker.killed(server.start(), "killed-empty")

    server = maker.server("delivered")
    maker.send(server)
    server.flush("clicks")
    maker.killed(server, "killed-delivered")
    maker.stopped(server.start(), "stopped-delivered")

    # Nothing is planned before 64 KiB: what was sent lies in the journal alone.
    whole = {"clicks": clicks(buffering={"size": "4 MiB", "interval": "900 s"})}
    server = maker.server("buffered", streams=whole)
    maker.send(server, 300)
    maker.killed(server, "buffered")
    for _ in range(2):
        server.start()
        maker.send(server, 300, identity=GLOBEX)
        server.kill()
    maker.keep(server, "buffered-over-starts")
    maker.killed(server.start(), "killed-at-start")

    maker.s3.set_faults(put_status=503)
    lake = kit.S3Lake(maker.s3)
    server = maker.server("outage", lake)
    maker.send(server, 1500)
    kit.wait_for(lambda: server.status("clicks")["open_plans"] > 1, 60, "open plans")
    maker.killed(server, "outage")
    server.start()
    maker.send(server, 1500)
    kit.wait_for(lambda: server.status("clicks")["open_plans"] > 3, 60, "open plans")
    maker.killed(server, "outage-over-starts")

    streams = {"clicks": clicks(transform=HOOKS, backup=BACKUP)}
    both = maker.server("hooks-backup", lake, streams)
    maker.send(both, 1500, bad_every=0)

    def is_held_up():
        status = both.status("clicks")
        return status["open_plans"] > 0 and status["backup"]["open_plans"] > 0

    kit.wait_for(is_held_up, 60, "open plans of both legs")
    maker.killed(both, "hooks-and-backup-outage")
    maker.s3.set_faults()
    server.start()
    server.flush("clicks")
    maker.killed(server, "after-outage")
    both.start()
    both.flush("clicks")
    maker.send(both, 100)
    maker.killed(both, "hooks-and-backup")
    maker.stopped(both.start(), "hooks-and-backup-stopped")

    server = maker.server("hooks", streams={"clicks": clicks(transform=HOOKS)})
    maker.send(server)
    server.flush("clicks")
    maker.send(server, 50)
    kit.wait_for(lambda: server.status("clicks")["untransformed"] == 0, 60, "the transform")
    maker.killed(server, "hooks")
    server = maker.server("backup", streams={"clicks": clicks(backup=BACKUP)})
    maker.send(server)
    server.flush("clicks")
    maker.send(server, 50)
    maker.killed(server, "backup")
    # The same without its backup: what leaves the journal now is none of it.
    server = maker.again(server, {"clicks": clicks()})
    server.flush("clicks")
    maker.send(server, 50)
    server.flush("clicks")
    maker.stopped(server, "backup-paused")

    raws = clicks(format={"records": {"compression": "gzip"}})
    del raws["schema"], raws["partitions"]
    server = maker.server("two", streams={"clicks": clicks(), "raws": raws})
    for identity, stream in [(ACME, "clicks"), (GLOBEX, "clicks"), (ACME, "raws")]:
        maker.send(server, 300, stream, identity)
    server.flush("raws")
    maker.killed(server, "two-streams")

    server = maker.server("load", streams={"clicks": clicks()})
    with kit.Load(server, [ACME, GLOBEX], "clicks", lambda _, number: records(number, 1)[0]) as load:
        for cycle in range(3):
            before = len(load.acked)
            kit.wait_for(lambda: len(load.acked) > before + 1500, 60, "load")
            maker.killed(server, f"under-load-{cycle}")
            server.start()
    server.kill()

    # What a crash may leave, and a small file of this machine is too young to have.
    torn = verify_kit.copy(maker.made["buffered-over-starts"], maker.root / "made" / "torn-tail")
    last = Stream(torn).segments()[-1]
    os.truncate(last.path, last.of(BATCH)[-1].end - 20)
    maker.made["torn-tail"] = torn
    left = verify_kit.copy(maker.made["outage"], maker.root / "made" / "interrupted-writes")
    stream = Stream(left)
    # The server may have been killed between the file and its plan as well.
    newest = max(number for _, _, number in stream.plans())
    for leftover in [
        stream.path / "journal" / f"{99:016x}.tmp",
        stream.path / "checkpoint" / f"{99:016x}.ckpt.tmp",
        stream.path / "outbox" / f"{newest + 1:016x}.obx",
        left / "addresses.json.tmp",
    ]:
        leftover.write_bytes(b"half")
    maker.made["interrupted-writes"] = left


def make_recycled(maker):
    """Segments that were written over: their files are longer than what they hold."""
    whole = {"clicks": clicks(buffering={"size": "1 MiB", "interval": "900 s"})}
    server = maker.server("recycled", streams=whole, disk_budget="64 MiB")

    def is_reused():
        for _ in range(4):
            kit.send(server.firehose(ACME), "clicks", records(0, 500), batch=500)
        server.flush("clicks")
        for segment in Stream(server.data_dir).segments():
            behind = segment.frames[-1].end if segment.frames else len(segment.bytes)
            if any(segment.bytes[behind + 64 :]):
                return True
        return False

    kit.wait_for(is_reused, 120, "a segment that is written over", every=0.5)
    maker.killed(server, "recycled")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    maker = Maker(tmp_path_factory.mktemp("verify"))
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            recycled = beside.submit(make_recycled, maker)
            make_all(maker)
            recycled.result(180)
        yield maker.made
    finally:
        maker.end()


def fingerprint(folder):
    """Names, bytes and times of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kept = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[path] = (content, kept.st_mtime_ns, kept.st_mode)
    return found


def verify(directory):
    done = kit.run("verify", directory)
    assert "panicked" not in done.stderr, done.stderr
    return done


def problems(done):
    return [line for line in done.stdout.splitlines() if line.startswith(("PROBLEM", "NOT CHECKED"))]


def test_twenty_healthy_directories_have_no_problem_and_are_not_touched(made):
    assert len(made) >= 20, sorted(made)
    for name, directory in made.items():
        before = fingerprint(directory)
        done = verify(directory)
        assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"
        assert problems(done) == [], f"{name}:\n{done.stdout}"
        assert "no problems" in done.stdout, f"{name}:\n{done.stdout}"
        assert fingerprint(directory) == before, name
    assert "harmless: " in (text := verify(made["torn-tail"]).stdout) and "torn tail" in text, text
    left = verify(made["interrupted-writes"]).stdout
    assert left.count("harmless: ") >= 4, left


# --- each kind of damage -----------------------------------------------------------------------
# A plant damages a copy of a directory and tells what must stand in one line; None where the
# directory has nothing of the kind.


def durable_frames(segment, is_last, kind):
    """Frames that no crash explains: a later group was begun, or the segment has its seal."""
    frames = segment.of(kind)
    if segment.is_sealed or not is_last:
        return frames
    last_group = max((frame.offset - frame.group_offset for frame in segment.frames), default=0)
    return [frame for frame in frames if frame.offset < last_group]


def each_durable(stream, kind):
    segments = stream.segments()
    for segment in segments:
        for frame in durable_frames(segment, segment is segments[-1], kind):
            yield segment, frame


def first_of(found):
    return next(iter(found), None)


def name_of(segment):
    return segment.path.name


def damaged_record(directory):
    found = first_of(each_durable(Stream(directory), BATCH))
    if found is None:
        return None
    segment, frame = found
    offset, length = segment.records(frame)[-1]
    segment.flip(offset + length // 2)
    return name_of(segment), "stream clicks: damaged records", f"records {frame.first + frame.count - 1};"


def damaged_frame_header(directory):
    found = first_of(each_durable(Stream(directory), BATCH))
    if found is None:
        return None
    segment, frame = found
    segment.flip(frame.offset + 30)
    last = frame.first + frame.count - 1
    return name_of(segment), "damaged bytes", f"records {frame.first} to {last};"


def damaged_frame_meta(directory):
    found = first_of(each_durable(Stream(directory), BATCH))
    if found is None:
        return None
    segment, frame = found
    segment.flip(frame.data_at - 3)
    return name_of(segment), "damaged bytes", f"records {frame.first} to {frame.first + frame.count - 1};"


def zeroed_page(directory):
    found = first_of(each_durable(Stream(directory), BATCH))
    if found is None:
        return None
    segment, frame = found
    segment.bytes[frame.data_at + 100 : frame.data_at + 100 + 4096] = bytes(4096)
    segment.write()
    return name_of(segment), "damaged ", f"records {frame.first}"


def damaged_header_copy(directory):
    segment = first_of(Stream(directory).segments())
    if segment is None:
        return None
    segment.flip(20)
    return name_of(segment), "damaged header copy"


def damaged_second_header_copy(directory):
    segment = first_of(Stream(directory).segments())
    if segment is None:
        return None
    segment.flip(512 + 20)
    return name_of(segment), "damaged header copy"


def damaged_headers(directory):
    segments = Stream(directory).segments()
    if not segments:
        return None
    segments[-1].bytes[20] ^= 1
    segments[-1].flip(512 + 20)
    return name_of(segments[-1]), "damaged header, both copies, of the last segment"


def damaged_headers_in_the_middle(directory):
    segments = Stream(directory).segments()
    if len(segments) < 2:
        return None
    segments[0].bytes[20] ^= 1
    segments[0].flip(512 + 20)
    return name_of(segments[0]), "damaged header, both copies;"


def missing_segment(directory):
    if "buffered" not in directory.name:
        return None
    segments = Stream(directory).segments()
    if len(segments) < 2:
        return None
    segments[0].path.unlink()
    return "streams/clicks/journal", "missing segment", f"records {segments[0].first} to"


def missing_segment_in_the_middle(directory):
    segments = Stream(directory).segments()
    if len(segments) < 3 or "buffered" not in directory.name:
        return None
    segments[1].path.unlink()
    last = segments[1].end - 1
    return "missing segment", f"records {segments[1].first} to {last};"


def swapped_segments(directory):
    segments = Stream(directory).segments()
    if len(segments) < 2:
        return None
    one, other = segments[:2]
    one.path.write_bytes(other.bytes)
    other.path.write_bytes(one.bytes)
    return name_of(one), f"swapped segment: it was written as {name_of(other)}"


def foreign_segment(directory):
    segments = Stream(directory).segments()
    if not segments:
        return None
    foreign = segments[0]
    foreign.path = foreign.path.with_name(f"{segments[-1].sequence + 1:016x}.seg")
    sequence = struct.pack("<Q", segments[-1].sequence + 1)
    foreign.write_headers(instance=bytes(range(16)), sequence=sequence)
    return name_of(foreign), "foreign segment of instance 00010203-0405-0607-0809-0a0b0c0d0e0f"


def copied_segment(directory):
    segments = Stream(directory).segments()
    if not segments or segments[-1].end == segments[-1].first:
        return None
    copied = segments[-1]
    sequence = copied.sequence + 1
    copied.path = copied.path.with_name(f"{sequence:016x}.seg")
    copied.write_headers(sequence=struct.pack("<Q", sequence))
    return name_of(copied), "overlapping segments", f"records {copied.first}"


def cut_sealed_segment(directory):
    segments = Stream(directory).segments()
    if len(segments) < 2 or not segments[0].of(BATCH):
        return None
    os.truncate(segments[0].path, segments[0].of(BATCH)[-1].end - 8)
    return name_of(segments[0]), "missing end of a segment"


def changed_padding(directory):
    for segment, frame in each_durable(Stream(directory), BATCH):
        if frame.payload_end < frame.end:
            segment.flip(frame.end - 1)
            return name_of(segment), "changed padding"
    return None


def changed_header_gap(directory):
    segment = first_of(Stream(directory).segments())
    if segment is None:
        return None
    segment.flip(300)
    return name_of(segment), "damaged header copy"


def damaged_plan(directory):
    """A plan with one after it, in a log whose checkpoint does not know it."""
    stream = Stream(directory)
    known = max((verify_kit.checkpoint_text(path)["last_plan"] for path in stream.checkpoints()), default=0)
    durable = {(segment.path, frame.offset) for segment, frame in each_durable(stream, PLAN)}
    plans = list(stream.plans())
    for segment, frame, number in plans:
        is_last = number == max(number for _, _, number in plans)
        if number > known and not is_last and (segment.path, frame.offset) in durable:
            segment.flip(frame.meta_at + 10)
            # With or without its commit.
            return "missing plan", f" {number}"
    return None


def damaged_commit(directory):
    found = first_of(each_durable(Stream(directory), COMMIT))
    if found is None:
        return None
    segment, frame = found
    segment.flip(frame.meta_at + 1)
    return name_of(segment), f"damaged bytes {frame.offset} to {frame.end - 1}"


def damaged_backup_decision(directory):
    found = first_of(each_durable(Stream(directory, log="backup"), PLAN))
    if found is None:
        return None
    segment, frame = found
    segment.flip(frame.meta_at + 10)
    return "backup/journal/" + name_of(segment), "stream clicks (backup): damaged bytes"


def damaged_seal(directory):
    segments = Stream(directory).segments()
    if len(segments) < 2 or not segments[0].is_sealed:
        return None
    segments[0].flip(segments[0].of(SEAL)[0].offset + 10)
    return name_of(segments[0]), "missing end of a segment"


def damaged_newest_checkpoint(directory):
    checkpoints = Stream(directory).checkpoints()
    if len(checkpoints) < 2:
        return None
    verify_kit.flip(checkpoints[-1], 40)
    return checkpoints[-1].name, "damaged checkpoint;"


def damaged_older_checkpoint(directory):
    checkpoints = Stream(directory).checkpoints()
    if len(checkpoints) < 2:
        return None
    os.truncate(checkpoints[0], 50)
    return checkpoints[0].name, "damaged checkpoint;"


def damaged_checkpoints(directory):
    checkpoints = Stream(directory).checkpoints()
    if not checkpoints:
        return None
    for path in checkpoints:
        verify_kit.flip(path, 40)
    return checkpoints[0].name, "damaged checkpoint, and no other is whole"


def missing_checkpoint(directory):
    checkpoints = Stream(directory).checkpoints()
    if len(checkpoints) < 2:
        return None
    checkpoints[-1].unlink()
    number = int(checkpoints[0].stem, 16)
    return ("streams/clicks/checkpoint", "missing checkpoint") if number > 1 else None


def missing_checkpoints(directory):
    stream = Stream(directory)
    segments = stream.segments()
    if not stream.checkpoints() or not segments or segments[0].first == 0:
        return None
    for path in stream.checkpoints():
        path.unlink()
    return "streams/clicks/checkpoint", "no readable checkpoint"


def unbalanced_checkpoint(directory):
    checkpoints = Stream(directory).checkpoints()
    if not checkpoints:
        return None
    count = verify_kit.checkpoint_text(checkpoints[-1])["delivered"]
    verify_kit.rewrite_checkpoint(checkpoints[-1], delivered=count + 3)
    return "streams/clicks", "unbalanced checkpoint"


def short_checkpoint_end(directory):
    checkpoints = Stream(directory).checkpoints()
    text = checkpoints and verify_kit.checkpoint_text(checkpoints[-1])
    if not text or text["delivered"] + text["transformed"] == 0:
        return None
    verify_kit.rewrite_checkpoint(checkpoints[-1], end=0)
    return "streams/clicks", "unbalanced checkpoint: records after its end"


def damaged_outbox(directory):
    found = first_of(open_outbox(directory))
    if found is None:
        return None
    verify_kit.flip(found, 100)
    return found.name, "damaged outbox object", "records "


def cut_outbox(directory):
    found = first_of(open_outbox(directory))
    if found is None:
        return None
    os.truncate(found, found.stat().st_size - 1)
    return found.name, "cut outbox file", "records "


def missing_outbox(directory):
    found = first_of(open_outbox(directory))
    if found is None:
        return None
    found.unlink()
    return found.name, "missing outbox file", "records "


def open_outbox(directory):
    """Files of plans that are open for certain: nothing was ever committed."""
    return Stream(directory).outbox() if directory.name.startswith("outage") else []


def outbox_of_no_plan(directory):
    folder = Stream(directory).path / "outbox"
    (folder / f"{999:016x}.obx").write_bytes(b"x")
    return f"{999:016x}.obx", "outbox file without its plan"


def stranger_in_outbox(directory):
    (Stream(directory).path / "outbox" / "notes.txt").write_text("x")
    return "outbox/notes.txt", "unknown file", "the next start removes it"


def stranger_in_journal(directory):
    (Stream(directory).path / "journal" / "1.seg").write_text("x")
    return "journal/1.seg", "unknown file"


def stranger_in_root(directory):
    (directory / "core.123").write_text("x")
    return "core.123: unknown file",


def missing_identity(directory):
    (directory / "identity.json").unlink()
    return "identity.json", "missing identity.json"


def damaged_identity(directory):
    (directory / "identity.json").write_text('{"instance": 7')
    return "identity.json", "damaged identity.json"


def other_identity(directory):
    if not Stream(directory).segments():
        return None
    identity = {"instance": "00010203-0405-0607-0809-0a0b0c0d0e0f", "format": 1}
    (directory / "identity.json").write_text(json.dumps(identity))
    return ".seg", "foreign segment of instance"


def damaged_stream_file(directory):
    (Stream(directory).path / "stream.json").write_text("")
    return "streams/clicks/stream.json", "damaged stream.json"


def renamed_stream(directory):
    os.rename(Stream(directory).path, directory / "streams" / "other")
    return "streams/other/stream.json", "swapped stream folder: it is the one of stream clicks"


def damaged_table(directory):
    (Stream(directory).path / "table.json").write_text("{}")
    return "streams/clicks/table.json", "damaged table.json"


def damaged_definition(directory):
    path = Stream(directory).path / "definition.json"
    path.write_text(path.read_text()[:-9])
    return "streams/clicks/definition.json", "damaged definition.json"


def damaged_part(directory):
    found = first_of(each_durable(Stream(directory, log="scratch"), BATCH))
    if found is None:
        return None
    segment, frame = found
    offset, length = segment.records(frame)[0]
    segment.flip(offset + length - 1)
    return "scratch/journal/" + name_of(segment), "clicks (scratch): damaged records", f"parts {frame.first};"


def lost_end_of_the_journal(directory):
    """The transform knows of records that the journal has lost, with every checkpoint of it."""
    stream = Stream(directory)
    if not Stream(directory, log="scratch").segments() or not stream.segments():
        return None
    for path in [segment.path for segment in stream.segments()] + stream.checkpoints():
        path.unlink()
    return "missing end of the journal: the scratch log knows of later records",


def newer_segment(directory):
    segments = Stream(directory).segments()
    if not segments:
        return None
    segments[0].write_headers(format=struct.pack("<H", 2))
    return "NOT CHECKED", name_of(segments[0]), "newer format"


def newer_checkpoint(directory):
    checkpoints = Stream(directory).checkpoints()
    if not checkpoints:
        return None
    bytes_ = checkpoints[-1].read_bytes()
    checkpoints[-1].write_bytes(b"LKHCKP02" + bytes_[8:])
    return "NOT CHECKED", checkpoints[-1].name, "newer format"


def newer_directory(directory):
    identity = json.loads((directory / "identity.json").read_text()) | {"format": 2}
    (directory / "identity.json").write_text(json.dumps(identity))
    return "NOT CHECKED", "identity.json", "newer format"


PLANTS = [
    damaged_record, damaged_frame_header, damaged_frame_meta, zeroed_page, damaged_header_copy,
    damaged_second_header_copy, damaged_headers, damaged_headers_in_the_middle, missing_segment,
    missing_segment_in_the_middle, swapped_segments, foreign_segment, copied_segment, cut_sealed_segment,
    changed_padding, changed_header_gap, damaged_plan, damaged_commit, damaged_backup_decision,
    damaged_seal, damaged_newest_checkpoint, damaged_older_checkpoint, damaged_checkpoints,
    missing_checkpoint, missing_checkpoints, unbalanced_checkpoint, short_checkpoint_end,
    damaged_outbox, cut_outbox, missing_outbox, outbox_of_no_plan, stranger_in_outbox,
    stranger_in_journal, stranger_in_root, missing_identity, damaged_identity, other_identity,
    damaged_stream_file, renamed_stream, damaged_table, damaged_definition, damaged_part, lost_end_of_the_journal,
    newer_segment, newer_checkpoint, newer_directory,
]


def plant_and_look(plant, directory, folder):
    """What a plant was not found by, or nothing; None when there was nothing to plant."""
    copy = verify_kit.copy(directory, folder / plant.__name__ / directory.name)
    try:
        expected = plant(copy)
        if expected is None:
            return None
        done = verify(copy)
        wanted = 2 if expected[0] == "NOT CHECKED" else 1
        lines = problems(done)
        is_named = any(all(text in line for text in expected) for line in lines)
        is_whole = all("; cost: " in line and "; do: " in line for line in lines)
        if done.returncode == wanted and is_named and is_whole:
            return ""
        return f"{directory.name}: exit {done.returncode}, wanted {expected}:\n{done.stdout}{done.stderr}"
    finally:
        shutil.rmtree(copy)


def test_each_kind_of_damage_is_found_by_its_name_wherever_it_is_planted(made, tmp_path):
    directories = sorted(made.values())

    def look(number_and_plant):
        """Plants in a few of the directories that fit, and not in the same ones each time."""
        number, plant = number_and_plant
        turned = directories[number % len(directories) :] + directories[: number % len(directories)]
        found = {}
        for directory in turned:
            outcome = plant_and_look(plant, directory, tmp_path)
            if outcome is not None:
                found[directory.name] = outcome
            if len(found) == EACH_PLANTED_MAX:
                break
        return found

    with concurrent.futures.ThreadPoolExecutor(RUNS_AT_A_TIME) as pool:
        outcomes = dict(zip(PLANTS, pool.map(look, enumerate(PLANTS))))
    wrong = [f"{plant.__name__}: {text}" for plant, found in outcomes.items() for text in found.values() if text]
    assert wrong == [], f"{len(wrong)} are wrong\n\n" + "\n\n".join(wrong[:5])
    for plant, found in outcomes.items():
        assert found, f"{plant.__name__} fits none of the directories"
    damaged = {name for found in outcomes.values() for name in found}
    assert len(damaged) >= 20, sorted(damaged)


def test_what_verify_calls_damaged_is_what_the_service_counts_as_damaged(made, new_lakehose, folder_lake):
    """One record of every fourth frame: named by stream and position, counted, the others delivered."""
    whole = {"clicks": clicks(buffering={"size": "4 MiB", "interval": "900 s"})}
    server = new_lakehose([ACME, GLOBEX], folder_lake, whole)
    shutil.copytree(made["buffered-over-starts"], server.data_dir)
    positions, total = [], 0
    for segment, frame in list(each_durable(Stream(server.data_dir), BATCH))[::4]:
        offset, length = segment.records(frame)[3]
        again = verify_kit.Segment(segment.path)
        again.flip(offset + length - 2)
        positions.append(frame.first + 3)
    for segment in Stream(server.data_dir).segments():
        total = max(total, segment.end)
    lines = problems(verify(server.data_dir))
    named = [int(re.search(r"stream clicks: damaged records, records (\d+);", line)[1]) for line in lines]
    assert named == positions and len(positions) >= 2, lines
    server.start()
    server.flush("clicks")
    status = server.status("clicks")
    assert status["damaged"] == len(positions), status
    assert status["delivered"] + status["failed"] == total - len(positions), status
    assert status["difference"] == 0 and status["degraded"] is None, status


def test_a_directory_in_use_and_one_of_others_are_refused(new_lakehose, folder_lake, tmp_path):
    server = new_lakehose([ACME], folder_lake, {"clicks": clicks()}).start()
    done = verify(server.data_dir)
    assert done.returncode == 2 and "in use by a running lakehose" in done.stderr, done
    assert done.stdout == "" and server.is_alive()
    other = tmp_path / "other"
    other.mkdir()
    for directory in (other, tmp_path / "nowhere"):
        done = verify(directory)
        assert done.returncode == 2 and str(directory) in done.stderr, done
    assert list(other.iterdir()) == []
