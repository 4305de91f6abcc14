"""Rounds: one world, one kind of fault again and again under load, and the verdict at the end.

Owns when something goes wrong, and that it went wrong at all: a round whose fault did not happen fails.
Every choice comes from the round's seed, so that a round is replayed by its name and its seed; what
the machine makes of it (which call is under way at a kill) is not repeated.

A round is a function of a `Run`; it makes its world, hurts it `run.cycles` times, lets it drain and
has it judged. `ROUNDS` names them all.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import time

import checker
import cut
import faults
import ledger as ledger_file
import proxy
import store
from kits import kit
from ledger import Outcome
from world import Setup, World

ACKED_PER_CYCLE = 2_000
PATIENCE = 120
# One cycle in so many lasts until the service has written a checkpoint while it ran.
LONG_LIFE_EVERY = 30


class Run:
    """A round under way: its folder, seed and number of cycles, and what is noted of each cycle."""

    def __init__(self, name, seed, cycles, folder, note=lambda cycle: None):
        self.name, self.seed, self.cycles, self.folder, self._note = name, seed, cycles, folder, note
        self.noted, self.verdict, self.drain_seconds = [], None, None
        self._began = time.monotonic()

    def world(self, **setup):
        return World(self.folder, self.seed, Setup(**setup))

    def cycle(self, fault, **facts):
        """Notes a cycle; the verdict on it comes with that on the round."""
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        cycle = {"round": self.name, "seed": self.seed, "cycle": len(self.noted), "fault": fault, **facts}
        self.noted.append(cycle | {"seconds": round(seconds, 3)})
        self._note(self.noted[-1])

    def judge(self, world):
        """Lets the world drain by itself, and has it judged."""
        try:
            self.drain_seconds = world.drain()
        except AssertionError as error:
            # Whatever else is wrong is worth knowing as well.
            self.verdict = checker.judge(world.evidence(stop=False))
            self.fail("I11", str(error).splitlines()[0])
        else:
            self.verdict = checker.judge(world.evidence())

    def fail(self, invariant, what, subjects=()):
        """A violation that only the round can see."""
        self.verdict.violations.append(checker.Violation(invariant, what, tuple(subjects)))


def acked_since(world, load, before, count=ACKED_PER_CYCLE):
    """A condition: so many records were acknowledged, and no producer has failed."""

    def is_enough():
        load.check()
        return world.ledger.acked - before >= count

    return is_enough


def open_plans(instance, streams):
    """Plans that wait for their store, of records and of the backup."""
    total = 0
    for stream in streams:
        status = instance.status(stream)
        total += status["open_plans"] + (status["backup"] or {"open_plans": 0})["open_plans"]
    return total


# --- kill -9 at random -----------------------------------------------------------------------------


def kill(run, hooked=False, instances=1):
    """kill -9 with two thousand new records and a plan under way, then a start; again and again."""
    with run.world(hooked=hooked, backup=hooked) as world:
        names = ["one", "two", "three"][:instances]
        servers = [world.new_instance(name).start() for name in names]
        world.s3.set_faults(put_delay_ms=150, put_lost_answer_every=7)
        producers = [each for server in servers for each in world.producers(server)]
        if instances > 1:
            # One tenant the one way, the other the other way.
            producers = [each for each in producers if (each.way == "sdk") == (each.identity.tenant == "acme")]
        with world.load(producers) as load:
            for number in range(run.cycles):
                victim = world.chance.choice(servers)
                moment = world.chance.uniform(0, 0.1)
                is_long = number % LONG_LIFE_EVERY == LONG_LIFE_EVERY - 1
                before = world.ledger.acked
                kit.wait_for(acked_since(world, load, before), PATIENCE, f"load in cycle {number}")
                if is_long:
                    load.rest_seconds = 1.0
                    wait_for_checkpoint(victim, world.setup.streams)
                    load.rest_seconds = 0.0
                plans = wait_for_open_plan(victim, world, load)
                time.sleep(moment)
                victim.kill()
                acked = world.ledger.acked - before
                victim.start()
                fault = "kill -9 after a checkpoint" if is_long else "kill -9"
                run.cycle(fault, instance=victim.name, acked=acked, open_plans=plans)
        world.s3.set_faults()
        run.judge(world)
        if min(cycle["acked"] for cycle in run.noted) < ACKED_PER_CYCLE:
            run.fail("I11", "a cycle had too little load to count")


def wait_for_open_plan(instance, world, load):
    """A plan is open, or an object is on its way: nothing is done yet and much has begun."""

    def is_open():
        load.check()
        instance.assert_alive()
        return open_plans(instance, world.setup.streams)

    return kit.wait_for(is_open, PATIENCE, "an open plan", every=0.002)


def wait_for_checkpoint(instance, streams):
    """The running service has written one, and let go of what it made superfluous."""

    def newest():
        folders = [instance.data_dir / "streams" / stream / "checkpoint" for stream in streams]
        return sorted(path.name for folder in folders for path in folder.glob("*.ckpt"))

    before = newest()
    kit.wait_for(lambda: newest() != before, PATIENCE, "a checkpoint", every=0.01)


# --- exact system calls ----------------------------------------------------------------------------


def exact(run, call, first=1, **files):
    """Dies at the K-th call of its kind, before it or after it in turn, K = 1, 2, ...

    Of writes, those of the note that says which record is converted are a round of their own: after a
    death there is one for each record that is not planned yet, and no other would be met.

    Renames and removals are rare while the service runs: lives follow one another, each ended by
    SIGTERM in the middle of the load, until the K-th has come; so shutdown and recovery are met too.
    """
    is_note = files.get("path") == faults.NOTE
    buffering = {"size": "1 MiB", "interval": "3 s"} if is_note else {"size": "32 KiB", "interval": "50 ms"}
    with run.world(hooked=True, backup=True, **buffering) as world:
        line = faults.Faultline(run.folder, **files)
        instance = world.new_instance()
        ways = [each for each in world.producers(instance, batch=20) if each.identity.tenant == "acme"]
        with world.load(ways) as load:
            if is_note:
                # A death, and records that wait for the next life.
                instance.start()
                kit.wait_for(acked_since(world, load, 0, 400), PATIENCE, "load before the faults")
                instance.kill()
            for nth in range(first, first + run.cycles):
                line.reset()
                act = "kill" if nth % 2 else "after"
                instance.added = line.environment(call, nth, act)
                before, lives = world.ledger.acked, instance.starts
                die_at(instance, world, load, is_rare=call in ("rename", "unlink"))
                if line.count < nth:
                    raise AssertionError(f"died at {call} {line.count} of {nth}:\n{instance.log_tail()}")
                acked = world.ledger.acked - before
                run.cycle(f"{call} {nth} {act}", acked=acked, lives=instance.starts - lives)
            instance.added = {}
            instance.start()
            before = world.ledger.acked
            kit.wait_for(acked_since(world, load, before, 200), PATIENCE, "load after the faults")
        run.judge(world)


def die_at(instance, world, load, is_rare):
    """Runs, and where calls are rare stops and runs again, until the process was killed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        load.check()
        if not instance.start_or_die():
            break
        if is_rare:
            before, since = world.ledger.acked, time.monotonic()

            def had_enough():
                load.check()
                return not instance.is_alive() or world.ledger.acked > before + 60 or time.monotonic() > since + 5

            kit.wait_for(had_enough, PATIENCE, "some load", every=0.005)
            if instance.is_alive():
                instance.child.send_signal(signal.SIGTERM)
        instance.wait_for_death(PATIENCE)
        if instance.child.returncode == -signal.SIGKILL:
            break
    if instance.child.returncode != -signal.SIGKILL:
        raise AssertionError(f"the fault did not come; ended with {instance.child.returncode}:\n{instance.log_tail()}")


def folder_lake(run):
    """Dies at a put into a lake in a folder, which stages a file beside the key and renames it."""
    with run.world(hooked=True, backup=True, lake="folder", size="32 KiB", interval="50 ms") as world:
        line = faults.Faultline(run.folder, path="/lake/")
        instance = world.new_instance()
        with world.load(world.producers(instance, ways=("plain",), batch=20)) as load:
            for number in range(run.cycles):
                line.reset()
                nth = world.chance.randint(1, 12)
                instance.added = line.environment("rename", nth)
                before = world.ledger.acked
                die_at(instance, world, load, is_rare=False)
                run.cycle(f"rename {nth} in the lake", acked=world.ledger.acked - before)
            instance.added = {}
            instance.start()
        run.judge(world)


def sync_error(run, first=1):
    """EIO from the K-th fdatasync of the journal: no 200 for its group, exit 74, a clean recovery.

    Only calls of the one producer are groups here, since nothing is planned before the end; so the
    call that is under way at the error is the group's.
    """
    with run.world(tenants=("acme",), lake="folder", interval="900 s", size="64 MiB") as world:
        instance = world.new_instance()
        failures = []
        with world.load(world.producers(instance, ways=("sdk",), batch=10)) as load:
            for nth in range(first, first + run.cycles):
                instance.start()
                # Producers wait meanwhile.
                endpoint, instance.endpoint = instance.endpoint, None
                log = world.folder / f"strace-{nth}.log"
                threads = instance.thread_ids("journal-")
                trace = faults.Strace(log, threads, f"fdatasync:error=EIO:when={nth}")
                instance.endpoint = endpoint
                try:
                    code = instance.wait_for_death(20)
                except AssertionError:
                    # It goes on as if nothing had been; the judge says so.
                    code = None
                    instance.kill()
                trace.end()
                failures += judge_sync_error(trace.calls(), code, nth)
                before = world.ledger.acked
                instance.start()
                kit.wait_for(acked_since(world, load, before, 100), PATIENCE, "load after the error")
                instance.kill()
                run.cycle(f"fdatasync {nth} EIO", exit_code=code)
            instance.start()
        instance.flush("clicks")
        run.judge(world)
        for failure in failures:
            run.fail("I1", failure)
        told = told_after_errors(world.ledger.path, [world.folder / f"strace-{n}.log" for n in range(first, first + run.cycles)])
        if told:
            run.fail("I1", "answered with 200 though its sync had failed", told)


def judge_sync_error(calls, code, nth):
    """What is wrong with how a failed sync was taken."""
    failed = [call for call in calls if "INJECTED" in call[3]]
    if len(failed) != 1:
        return [f"{len(failed)} syncs failed at K = {nth}"]
    wrong = [] if code == 74 else [f"exit code {code} at K = {nth}"]
    at, _, path, _ = failed[0]
    again = [call for call in calls if call[2] == path and call[0] > at]
    return wrong + ([f"{path} was synced again at K = {nth}"] if again else [])


def told_after_errors(ledger, logs):
    """Records that were acknowledged though their call was under way when its sync failed."""
    told = []
    for log in logs:
        lines = map(faults.Strace.LINE.match, log.read_text().splitlines())
        errors = [float(m["at"]) for m in lines if m and "INJECTED" in m["result"]]
        with open(ledger, encoding="utf-8") as file:
            acked = [entry for entry in map(ledger_file.parse, file) if entry.outcome is Outcome.ACKED]
        told += [entry.id for entry in acked if any(entry.sent <= at < entry.answered for at in errors)]
    return told


def slow_sync(run):
    """fdatasync of the journal takes 50 ms and more: groups grow, nothing else changes.

    What waits behind a slow sync is in memory only, so a kill there finds whoever was told too early.
    """
    with run.world(interval="500 ms") as world:
        instance = world.new_instance().start()
        producers = world.producers(instance)
        # Calls that come again while their first attempt waits for the disk.
        producers += world.producers(instance, ways=("plain",), batch=20, timeout=0.05)
        with world.load(producers) as load:
            for number in range(run.cycles):
                delay_ms = world.chance.choice((50, 100, 200, 400))
                log = world.folder / f"strace-{number}.log"
                threads = instance.thread_ids("journal-")
                trace = faults.Strace(log, threads, f"fdatasync:delay_exit={delay_ms * 1000}")
                before, began = world.ledger.acked, time.monotonic()
                kit.wait_for(acked_since(world, load, before, 1_000), PATIENCE, "load on a slow disk")
                rate = (world.ledger.acked - before) / (time.monotonic() - began)
                if number % 4 != 3:
                    instance.kill()
                    trace.end()
                    instance.start()
                else:
                    trace.end()
                run.cycle(f"fdatasync {delay_ms} ms late", acked=world.ledger.acked - before, per_second=round(rate))
        run.judge(world)


# --- signals and time ------------------------------------------------------------------------------


def stop_and_continue(run):
    """SIGSTOP in the middle of the load, for longer than clients are patient in one of them."""
    with run.world(hooked=True, backup=True) as world:
        instance = world.new_instance().start()
        with world.load(world.producers(instance)) as load:
            for _ in range(run.cycles):
                before = world.ledger.acked
                kit.wait_for(acked_since(world, load, before), PATIENCE, "load before a stop")
                seconds = world.chance.uniform(0.2, 2.5)
                os.kill(instance.pid, signal.SIGSTOP)
                time.sleep(seconds)
                os.kill(instance.pid, signal.SIGCONT)
                run.cycle(f"SIGSTOP {seconds:.2f} s", acked=world.ledger.acked - before)
            before = world.ledger.acked
            kit.wait_for(acked_since(world, load, before), PATIENCE, "load after the last stop")
        run.judge(world)


def terminate(run):
    """SIGTERM under load, with the store there or not, once or twice, or killed while it ends."""
    with run.world(hooked=True, backup=True) as world:
        instance = world.new_instance().start()
        with world.load(world.producers(instance)) as load:
            for number in range(run.cycles):
                how = ("once", "twice", "store away, twice", "then kill -9")[number % 4]
                before = world.ledger.acked
                kit.wait_for(acked_since(world, load, before), PATIENCE, "load before an end")
                if how.startswith("store away"):
                    world.s3.set_faults(put_status=503)
                began = time.monotonic()
                instance.child.send_signal(signal.SIGTERM)
                if how == "then kill -9":
                    time.sleep(world.chance.uniform(0, 0.3))
                    instance.kill()
                elif how != "once":
                    time.sleep(world.chance.uniform(0.05, 0.4))
                    with contextlib.suppress(ProcessLookupError):
                        instance.child.send_signal(signal.SIGTERM)
                code = instance.wait_for_death(PATIENCE)
                seconds = time.monotonic() - began
                world.s3.set_faults()
                instance.start()
                wanted = (0, -signal.SIGKILL) if how == "then kill -9" else (0,)
                if code not in wanted:
                    raise AssertionError(f"SIGTERM {how}: exit code {code}\n{instance.log_tail()}")
                run.cycle(f"SIGTERM {how}", acked=world.ledger.acked - before, ended_after=round(seconds, 3))
        run.judge(world)


def clock(run):
    """The wall clock jumps while records wait: by an hour, by days, back and forth, over restarts.

    Signatures are worth nothing with a wrong clock, so only the plain endpoint is used. The folders
    tell the days: those of the arrivals, however late the delivery.
    """
    with run.world(lake="folder", interval="900 s", size="64 MiB") as world:
        instance = world.new_instance()
        for number in range(run.cycles):
            offset = (-86_400, 0, 3_600, -3_600, 40 * 86_400, 0)[number % 6]
            instance.added = faults.wall_clock(offset) if offset else {}
            instance.start()
            producers = world.producers(instance, ways=("plain",), clock=float(offset))
            before = world.ledger.acked
            with world.load(producers) as load:
                kit.wait_for(acked_since(world, load, before, 600), PATIENCE, f"load at {offset} s")
            instance.kill()
            run.cycle(f"clock {offset:+d} s", acked=world.ledger.acked - before)
        instance.added = {}
        instance.start()
        # Batches whose arrivals lie in the future are closed by the flush.
        instance.flush("clicks")
        run.judge(world)


# --- stores ----------------------------------------------------------------------------------------


def store_faults(run, honours_conditions=True):
    """Each way in which a store can fail a put, with a kill in the middle of every other one."""
    with run.world(backup=True, interval="300 ms") as world:
        front = store.Front(world.s3, honours_conditions)
        world.callback(front.close)
        world.put_between(front.endpoint)
        instance = world.new_instance().start()
        world.writes = front.writes
        order = [fault for fault in store.FAULTS if honours_conditions or fault != "foreign"]
        world.chance.shuffle(order)
        with world.load(world.producers(instance, records_per_second=1_500)) as load:
            for number in range(run.cycles):
                fault = order[number % len(order)]
                front.order(fault, every=world.chance.choice((1, 2, 3)))
                hits = world.chance.randint(2, 5)

                def is_hit():
                    load.check()
                    return front.faults_done >= hits

                kit.wait_for(is_hit, PATIENCE, f"{fault} to be met {hits} times")
                is_killed = world.chance.random() < 0.5
                if is_killed:
                    instance.kill()
                    if world.chance.random() < 0.5:
                        front.order()
                    instance.start()
                puts = front.puts
                front.order()
                kit.wait_for(lambda: front.puts > puts, PATIENCE, f"puts after {fault}")
                run.cycle(f"store {fault}", times=hits, killed=is_killed)
        front.settle()
        world.foreign = {world.s3.root / key: store.FOREIGN for key in front.foreign_keys}
        run.judge(world)
        if not front.writes:
            run.fail("I7", "the store has not seen a single put")


def network_faults(run):
    """The network between Lakehose and its store, in every mode of the proxy."""
    with run.world(interval="300 ms") as world:
        between = proxy.Proxy(world.s3.endpoint)
        world.callback(between.close)
        world.put_between(between.endpoint)
        instance = world.new_instance().start()
        modes = list(proxy.MODES)
        world.chance.shuffle(modes)
        with world.load(world.producers(instance, records_per_second=1_500)) as load:
            for number in range(run.cycles):
                mode = modes[number % len(modes)]
                before, done = world.ledger.acked, world.s3.state()["puts_done"]
                failed = failed_puts(instance)
                between.set(mode)
                # Producers do not notice, whatever the store's network is like.
                kit.wait_for(acked_since(world, load, before, 1_000), PATIENCE, f"load while {mode}")
                # Who is refused leaves no trace at the proxy.
                is_met = lambda: between.hits > 0 or (mode == "refuse" and failed_puts(instance) > failed)
                kit.wait_for(is_met, PATIENCE, f"the network to be met: {mode}")
                is_killed = world.chance.random() < 0.5
                if is_killed:
                    instance.kill()
                    instance.start()
                hits = between.hits
                between.set("pass")
                kit.wait_for(lambda: world.s3.state()["puts_done"] > done, PATIENCE, f"puts after {mode}")
                run.cycle(f"network {mode}", hits=hits, killed=is_killed, acked=world.ledger.acked - before)
        run.judge(world)


def failed_puts(instance):
    """Attempts to put an object that did not succeed, of this life."""
    text = kit.http("GET", f"{instance.admin}/metrics")[1]
    return sum(int(count) for count in re.findall(r"lakehose_failed_puts_total\{[^}]*\} (\d+)", text))


# --- hooks and catalogs ----------------------------------------------------------------------------


def hook_faults(run):
    """A hook that fails whole invocations in every way while the service is killed.

    A failure that is final after its retries sends records to the error prefix, which is not lost but
    is not what the record's kind says; so retries are plenty here, as in a patient configuration.
    """
    with run.world(hooked=True, backup=True) as world:
        instance = world.new_instance().start()
        names = ["500", "garbage", "late", "cut", "huge"]
        with world.load(world.producers(instance, batch=50, records_per_second=500)) as load:
            for number in range(run.cycles):
                fault = names[number % len(names)]
                world.hook.misbehave(world.chance.choice((2, 3)), fault)
                before, asked = world.ledger.acked, world.hook.invocations

                def is_met():
                    load.check()
                    return world.hook.invocations >= asked + 12 and world.ledger.acked >= before + 300

                kit.wait_for(is_met, PATIENCE, f"a hook's {fault}")
                is_killed = number % 2 == 0
                if is_killed:
                    instance.kill()
                    instance.start()
                run.cycle(f"hook {fault}", killed=is_killed, acked=world.ledger.acked - before)
            world.hook.misbehave(0)
        run.judge(world)


def catalog_faults(run):
    """Glue that is away, throttled or refuses, with kills; data flows all the same."""
    with run.world(glue=True, interval="200 ms", tenants=("acme", "globex", "late")) as world:
        instance = world.new_instance().start()
        copy = instance.data_dir / "streams" / "clicks" / "table.json"
        kit.wait_for(copy.exists, PATIENCE, "the copy of the table that a start without Glue needs")
        producers = world.producers(instance, ways=("plain",), records_per_second=2_000)
        with world.load([each for each in producers if each.identity.tenant != "late"]) as load:
            for number in range(run.cycles):
                fault = ("down", "throttled", "internal")[number % 3]
                before, done = world.ledger.acked, world.s3.state()["puts_done"]
                if fault == "down":
                    world.glue.is_down = True
                elif fault == "throttled":
                    world.glue.fail("BatchCreatePartition", 3)
                else:
                    world.glue.fail("BatchCreatePartition", 2, "InternalServiceException", 500)
                if number == 0 or world.chance.random() < 0.5:
                    instance.kill()
                    instance.start()
                kit.wait_for(acked_since(world, load, before, 1_000), PATIENCE, f"load while Glue is {fault}")
                kit.wait_for(lambda: world.s3.state()["puts_done"] > done + 2, PATIENCE, f"puts while Glue is {fault}")
                world.glue.is_down = False
                run.cycle(f"glue {fault}", acked=world.ledger.acked - before)
        # A partition that nothing comes to any more: only its own entry on the list can register it.
        world.glue.is_down = True
        before = world.ledger.acked
        with world.load([each for each in producers if each.identity.tenant == "late"]) as load:
            kit.wait_for(acked_since(world, load, before, 500), PATIENCE, "records of a new tenant")

        def is_delivered():
            status = instance.status("clicks")
            return status["pending"] == 0 and status["unregistered_partitions"] > 0

        kit.wait_for(is_delivered, PATIENCE, "objects without a partition")
        asked = sum(world.glue.calls.values())
        kit.wait_for(lambda: sum(world.glue.calls.values()) > asked, PATIENCE, "an attempt to register")
        instance.kill()
        instance.start()
        world.glue.is_down = False
        run.judge(world)


def power_cut(run):
    """The power goes while records come and objects leave; what was synced is all that is left."""
    with cut.CuttableDisk(run.folder) as disk, run.world(hooked=True, backup=True) as world:
        instance = world.new_instance(data_dir=str(disk.folder / "data")).start()
        world.s3.set_faults(put_delay_ms=100, put_lost_answer_every=7)
        with world.load(world.producers(instance, batch=50)) as load:
            for _ in range(run.cycles):
                before = world.ledger.acked
                kit.wait_for(acked_since(world, load, before, 500), PATIENCE, "load before a cut")
                plans = wait_for_open_plan(instance, world, load)
                time.sleep(world.chance.uniform(0, 0.1))
                os.kill(instance.pid, signal.SIGSTOP)
                old = disk.copy()
                acked = world.ledger.acked - before
                instance.kill()
                disk.replace(old)
                instance.start()
                run.cycle("power cut", acked=acked, open_plans=plans)
        world.s3.set_faults()
        run.judge(world)


# --- disks -----------------------------------------------------------------------------------------


def full_disk(run):
    """The file system is full: refusals, perhaps an end with 74; with room again it goes on by itself."""
    disk = run.folder / "disk"
    with faults.small_disk(disk, 192), run.world(lake="s3", budget="4 GiB", interval="300 ms") as world:
        instance = world.new_instance(data_dir=str(disk / "data"))
        instance.start()
        producers = world.producers(instance, ways=("plain",), random_text=True, text_bytes=2_000)
        with world.load(producers) as load:
            for number in range(run.cycles):
                before, refused = world.ledger.acked, world.ledger.refused + world.ledger.ambiguous
                kit.wait_for(acked_since(world, load, before, 1_000), PATIENCE, "load before the disk is full")
                world.s3.set_faults(put_status=503)
                ends = [0]
                with filled(disk, leave_bytes=world.chance.randrange(0, 2 << 20)):

                    def is_refused():
                        load.check()
                        ends[0] += restart_after_disk_error(instance)
                        said_no = world.ledger.refused + world.ledger.ambiguous > refused + 300
                        return said_no or ends[0] >= 5

                    kit.wait_for(is_refused, PATIENCE, "refusals of a full disk", every=0.05)
                world.s3.set_faults()
                before_end = world.ledger.acked

                def goes_on():
                    load.check()
                    ends[0] += restart_after_disk_error(instance)
                    return world.ledger.acked >= before_end + 1_000

                kit.wait_for(goes_on, PATIENCE, "load with room again", every=0.05)
                run.cycle("disk full", acked=world.ledger.acked - before, ends=ends[0])
        run.judge(world)


@contextlib.contextmanager
def filled(folder, leave_bytes):
    """A file that takes all the room but so many bytes."""
    ballast = folder / "ballast"
    with open(ballast, "wb") as file:
        free = os.statvfs(folder)
        room = free.f_bavail * free.f_frsize - leave_bytes
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, room))
    try:
        yield
    finally:
        ballast.unlink()


def restart_after_disk_error(instance):
    """What a supervisor does. 1 when the process had ended, as it may after a failed write, or when
    even a start finds no room."""
    if instance.is_alive():
        return 0
    code = instance.child.returncode
    if code not in (74, 1):
        raise AssertionError(f"{instance.name} ended with {code}:\n{instance.log_tail()}")
    instance.endpoint = instance.admin = None
    instance.start_or_die()
    return 1


ROUNDS = {
    "kill": kill,
    "kill-hooks": functools.partial(kill, hooked=True),
    "kill-two": functools.partial(kill, instances=2),
    "write": functools.partial(exact, call="write", passed_path=faults.NOTE),
    "note": functools.partial(exact, call="write", path=faults.NOTE),
    "fdatasync": functools.partial(exact, call="fdatasync"),
    "rename": functools.partial(exact, call="rename"),
    "unlink": functools.partial(exact, call="unlink"),
    "folder": folder_lake,
    "sync-error": sync_error,
    "slow-sync": slow_sync,
    "stop": stop_and_continue,
    "term": terminate,
    "clock": clock,
    "store": store_faults,
    "store-plain": functools.partial(store_faults, honours_conditions=False),
    "network": network_faults,
    "hook": hook_faults,
    "glue": catalog_faults,
    "full-disk": full_disk,
    "cut": power_cut,
}


@dataclasses.dataclass
class Result:
    """What came of a round."""

    name: str
    seed: int
    cycles: list
    verdict: checker.Verdict
    seconds: float
    drain_seconds: float | None

    def lines(self, commit):
        """One line of the results ledger for each cycle; the last one has what was counted in all."""
        said = "good" if self.verdict.is_good else str(self.verdict)
        for number, cycle in enumerate(self.cycles):
            is_last = number == len(self.cycles) - 1
            totals = {"counts": self.verdict.counts, "round_seconds": round(self.seconds, 1)} if is_last else {}
            yield json.dumps({**cycle, **totals, "verdict": said, "commit": commit})


def run_round(name, seed, cycles, folder, note=lambda cycle: None):
    """Runs one round. A machine that cannot do it raises `faults.Unavailable`."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(name, seed, cycles, folder, note)
    ROUNDS[name](run)
    seconds = time.monotonic() - began
    return Result(name, seed, run.noted, run.verdict, seconds, run.drain_seconds)
