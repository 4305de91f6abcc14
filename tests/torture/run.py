"""The torture command: rounds of faults under load, judged, with the results in a ledger.

    python tests/torture/run.py --profile short
    python tests/torture/run.py --profile long --minutes 60
    python tests/torture/run.py --rounds kill,store --cycles 20 --seed 4711
    python tests/torture/run.py --report

Every cycle is printed with the seed of its round as it happens, and becomes a line of the results
file when its round has been judged. A long run that was interrupted goes on where it was when it is
started again with the same results file. A round is replayed by `--rounds NAME --cycles N --seed S`.
With `--jobs` several rounds run side by side, each in a process of its own. `--report` runs nothing: it
says what the results file has come to.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import traceback

import faults
import rounds
from kits import kit

# Cycles of each round.
SHORT = {
    "kill": 30, "kill-hooks": 30, "kill-two": 60, "write": 40, "note": 40, "fdatasync": 40, "rename": 40, "unlink": 40,
    "folder": 20, "sync-error": 10, "store": 13, "store-plain": 12, "network": 6, "hook": 5, "glue": 3, "clock": 6,
    "stop": 3, "term": 4, "slow-sync": 4, "full-disk": 2,
    "cut": 20,
}
# One pass of the long profile; it goes on with other seeds, pass after pass.
LONG = {
    "kill": 30, "kill-hooks": 30, "kill-two": 30, "write": 40, "note": 40, "fdatasync": 40, "rename": 40, "unlink": 40,
    "folder": 20, "sync-error": 10, "store": 26, "store-plain": 12, "network": 12, "hook": 10, "glue": 6, "clock": 6,
    "stop": 6, "term": 8, "slow-sync": 6, "full-disk": 3,
    "cut": 20,
}
PASSES = 20
# Rounds whose cycles are a kill -9 under load, with so many records acknowledged since the last one.
KILLS, EXACT = ("kill", "kill-hooks", "kill-two"), ("write", "note", "fdatasync", "rename", "unlink", "folder")
# What a round ends with as a process of its own, where the machine cannot play it.
SKIPPED = 77
TARGET = kit.REPOSITORY / "target" / "torture"


def seed_of(base, number, name):
    """The seed of a round: by where it stands in the run."""
    return int(hashlib.sha256(f"{base}/{number}/{name}".encode()).hexdigest()[:8], 16)


def commit():
    """What is tested: the commit, marked when the tree has changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=kit.REPOSITORY, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def plan(options):
    """(name, seed, cycles) of every round."""
    if options.rounds:
        seed = options.seed if options.seed is not None else time.time_ns() % 10**9
        return [(name, seed, options.cycles or SHORT[name]) for name in options.rounds]
    base = 1 if options.seed is None else options.seed
    cycles_of, passes = (SHORT, 1) if options.profile == "short" else (LONG, PASSES)
    return [
        (name, seed_of(base, number, name), options.cycles or cycles)
        for number in range(passes)
        for name, cycles in cycles_of.items()
    ]


def done_before(results):
    """(round, seed) of what the results file has."""
    if not results.exists():
        return set()
    lines = map(json.loads, results.read_text().splitlines())
    return {(line["round"], line["seed"]) for line in lines}


def replay_command(name, seed, cycles):
    return f"python tests/torture/run.py --rounds {name} --cycles {cycles} --seed {seed}"


def show(cycle):
    known = {"round", "seed", "cycle", "fault"}
    facts = " ".join(f"{name}={value}" for name, value in cycle.items() if name not in known)
    print(f"{cycle['round']} seed={cycle['seed']} cycle={cycle['cycle']}: {cycle['fault']} {facts}", flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=["short", "long"], default="short")
    parser.add_argument("--rounds", type=lambda text: text.split(","), help=f"some of {', '.join(rounds.ROUNDS)}")
    parser.add_argument("--seed", type=int, help="of the rounds, or what a profile's seeds are made from")
    parser.add_argument("--cycles", type=int, help="in each round")
    parser.add_argument("--minutes", type=float, help="no round is begun after so long")
    parser.add_argument("--jobs", type=int, default=1, help="rounds side by side")
    parser.add_argument("--report", action="store_true", help="sum up the results file, and run nothing")
    parser.add_argument("--results", type=pathlib.Path, default=TARGET / "results.jsonl")
    parser.add_argument("--folder", type=pathlib.Path, default=TARGET / "work")
    options = parser.parse_args()
    unknown = set(options.rounds or ()) - rounds.ROUNDS.keys()
    if unknown:
        parser.error(f"no such rounds: {', '.join(sorted(unknown))}")
    return options


def play(name, seed, cycles, options):
    """Plays a round to its end; tells whether it was good, None where the machine cannot play it."""
    folder = options.folder / f"{name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        result = rounds.run_round(name, seed, cycles, folder, show)
    except faults.Unavailable as reason:
        print(f"{name}: NOT RUN, {reason}", flush=True)
        return None
    except Exception as error:
        traceback.print_exc()
        lines = [json.dumps({"round": name, "seed": seed, "verdict": f"failed: {error}", "commit": commit()})]
        is_good = False
    else:
        lines, is_good = list(result.lines(commit())), result.verdict.is_good
        print(
            f"{name} seed={seed}: {result.verdict} ({len(lines)} cycles, {result.seconds:.1f} s, drained in "
            f"{result.drain_seconds or 0:.1f} s, {result.verdict.counts})",
            flush=True,
        )
    with open(options.results, "a") as file:
        file.write("".join(f"{line}\n" for line in lines))
    if is_good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"{name} BROKE; its files stay in {folder}; again: {replay_command(name, seed, cycles)}", flush=True)
    return is_good


def play_apart(name, seed, cycles, options):
    """Plays a round in a process of its own, beside others."""
    command = [sys.executable, __file__, "--rounds", name, "--seed", seed, "--cycles", cycles]
    command += ["--results", options.results, "--folder", options.folder]
    code = subprocess.run([*map(str, command)]).returncode
    return None if code == SKIPPED else code == 0


def play_all(options):
    """Plays what the plan has and the results do not; how each round ended."""
    known = set() if options.rounds else done_before(options.results)
    began, ends = time.monotonic(), {}
    one = play if options.jobs == 1 else play_apart

    def play_next(planned):
        name, seed, _ = planned
        is_late = options.minutes and time.monotonic() - began > options.minutes * 60
        cannot = any(other == name and end is None for (other, *_), end in ends.items())
        if not is_late and not cannot and (name, seed) not in known:
            ends[planned] = one(*planned, options)
        return not is_late

    if options.jobs == 1:
        begun = list(map(play_next, plan(options)))
    else:
        pool = concurrent.futures.ThreadPoolExecutor(options.jobs)
        try:
            begun = list(pool.map(play_next, plan(options)))
        finally:
            # Whoever interrupts this interrupts the rounds as well; no other begins.
            pool.shutdown(cancel_futures=True)
    if not all(begun):
        print(f"{options.minutes} minutes are over; started again, it goes on here", flush=True)
    return ends


def report(results):
    """What the results file has come to, in a few lines."""
    if not results.exists():
        raise SystemExit(f"there is no {results}: nothing was run")
    cycles, acked, total = collections.Counter(), collections.Counter(), collections.Counter()
    seconds, broken, commits, ended = collections.defaultdict(list), [], collections.Counter(), 0
    for line in map(json.loads, results.read_text().splitlines()):
        name = line["round"]
        commits[line["commit"]] += 1
        if line["verdict"] != "good":
            broken.append((name, line["seed"]))
        if "cycle" not in line:
            continue
        is_kill = "kill" in line["fault"] or line.get("killed", False)
        kind = next((kind for kind, names in {"kill": KILLS, "exact": EXACT}.items() if name in names), None)
        kind = kind or ("other kill" if is_kill else "other")
        cycles[kind] += 1
        acked[kind] += line.get("acked", 0)
        seconds[kind].append(line["seconds"])
        if "counts" in line:
            ended += 1
            total.update(line["counts"])
    middle = lambda kind: statistics.median(seconds[kind]) if seconds[kind] else 0
    print(
        f"{cycles['kill']} kill cycles under load, {acked['kill']} records acknowledged in them "
        f"({middle('kill'):.1f} s each at the median); {cycles['exact']} deaths at exact calls; "
        f"{cycles['other kill']} other kills; {cycles.total()} cycles of {ended} rounds in all"
    )
    print(
        f"{total['acked']} records acknowledged: {total['lost']} lost, {total['doubled']} doubled, "
        f"{total['condemned']} condemned after deaths with them; {len(set(broken))} rounds broke"
    )
    for name, seed in sorted(set(broken)):
        print(f"BROKE: {name} seed={seed}")
    print("tested: " + ", ".join(f"{name} ({count} cycles)" for name, count in commits.items()))
    return 1 if broken else 0


def main():
    options = parse()
    if options.report:
        return report(options.results)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    ends = play_all(options)
    bad = [replay_command(*planned) for planned, end in ends.items() if end is False]
    cannot = sorted({name for (name, *_), end in ends.items() if end is None})
    print(f"{len(ends)} rounds in {time.monotonic() - began:.0f} s, {len(bad)} broke; {options.results}")
    for name in cannot:
        print(f"NOT RUN: {name}")
    for command in bad:
        print(f"again: {command}")
    return 1 if bad else SKIPPED if ends and len(cannot) == len(ends) else 0


if __name__ == "__main__":
    sys.exit(main())
