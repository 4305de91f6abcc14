"""The torture command: rounds of faults under load, judged, with the results in a ledger.

    python tests/torture/run.py --profile short
    python tests/torture/run.py --profile long --minutes 60
    python tests/torture/run.py --rounds kill,store --cycles 20 --seed 4711

Every cycle is printed with the seed of its round as it happens, and becomes a line of the results
file when its round has been judged. A long run that was interrupted goes on where it was when it is
started again with the same results file. A round is replayed by `--rounds NAME --cycles N --seed S`.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import time
import traceback

import faults
import rounds
from kits import kit

# Cycles of each round.
SHORT = {
    "kill": 30, "kill-hooks": 30, "kill-two": 60, "write": 40, "fdatasync": 40, "rename": 40, "unlink": 40,
    "sync-error": 10, "store": 13, "store-plain": 12, "network": 6, "hook": 5, "glue": 3, "clock": 6,
    "stop": 3, "term": 4, "slow-sync": 4, "full-disk": 2,
    "cut": 20,
}
# One pass of the long profile; it goes on with other seeds, pass after pass.
LONG = {
    "kill": 30, "kill-hooks": 30, "kill-two": 30, "write": 40, "fdatasync": 40, "rename": 40, "unlink": 40,
    "sync-error": 10, "store": 26, "store-plain": 12, "network": 12, "hook": 10, "glue": 6, "clock": 6,
    "stop": 6, "term": 8, "slow-sync": 6, "full-disk": 3,
    "cut": 20,
}
PASSES = 20
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
    parser.add_argument("--results", type=pathlib.Path, default=TARGET / "results.jsonl")
    parser.add_argument("--folder", type=pathlib.Path, default=TARGET / "work")
    options = parser.parse_args()
    unknown = set(options.rounds or ()) - rounds.ROUNDS.keys()
    if unknown:
        parser.error(f"no such rounds: {', '.join(sorted(unknown))}")
    return options


def main():
    options = parse()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = set() if options.rounds else done_before(options.results)
    began, bad, cycles_done, skipped = time.monotonic(), [], 0, {}
    for name, seed, cycles in plan(options):
        if options.minutes and time.monotonic() - began > options.minutes * 60:
            print(f"{options.minutes} minutes are over; started again, it goes on here", flush=True)
            break
        if (name, seed) in known or name in skipped:
            continue
        folder = options.folder / f"{name}-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            result = rounds.run_round(name, seed, cycles, folder, show)
        except faults.Unavailable as reason:
            skipped[name] = reason
            print(f"{name}: SKIPPED, {reason}", flush=True)
            continue
        except Exception as error:
            traceback.print_exc()
            lines = [json.dumps({"round": name, "seed": seed, "verdict": f"failed: {error}", "commit": commit()})]
            is_good = False
        else:
            lines, is_good = list(result.lines(commit())), result.verdict.is_good
            cycles_done += len(lines)
            print(
                f"{name} seed={seed}: {result.verdict} ({len(lines)} cycles, {result.seconds:.1f} s, drained in "
                f"{result.drain_seconds or 0:.1f} s, {result.verdict.counts})",
                flush=True,
            )
        with open(options.results, "a") as file:
            file.writelines(f"{line}\n" for line in lines)
        if is_good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            bad.append(replay_command(name, seed, cycles))
            print(f"{name} BROKE; its files stay in {folder}; again: {bad[-1]}", flush=True)
    print(f"{cycles_done} cycles in {time.monotonic() - began:.0f} s, {len(bad)} rounds broke; {options.results}")
    for name, reason in skipped.items():
        print(f"NOT RUN: {name}: {reason}")
    for command in bad:
        print(f"again: {command}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
