"""Plants a fault in a copy of the tree, builds it, and sees whether the tests of this folder catch it.

    python tests/torture/mutants.py               every planted fault
    python tests/torture/mutants.py commit-before-put no-directory-sync

Each `mutants/NAME.patch` begins with a line that says what is wrong and one that says what shows it:

    shows: round kill 10          a torture round with so many cycles finds a violation, or cannot go on
    shows: tests journal::tests   a power cut is needed: tests of the crate over the simulated disk fail

The copy lies in target/torture/mutants with a target folder of its own, so that dependencies are built
once, and only what a patch changes is built anew, without optimisation. CARGO names another cargo. A fault that nothing caught is MISSED, and the exit code is 1; a patch
that does not apply or does not build is an error of this harness, told as such.
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import time

from kits import HERE, kit

PATCHES = HERE / "mutants"
WORK = kit.REPOSITORY / "target" / "torture" / "mutants"
TREE = WORK / "tree"
CARGO = os.environ.get("CARGO", "cargo")
BUILD_SECONDS, SHOW_SECONDS = 3_600, 900


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A planted fault."""

    name: str
    path: pathlib.Path
    what: str
    kind: str  # round or tests
    shows: tuple


class Broken(Exception):
    """The harness could not do its work: nothing is known about the fault."""


def read(path):
    what, shows, *_ = path.read_text().splitlines()
    head, _, rest = shows.partition(": ")
    kind, *arguments = rest.split()
    if head != "shows" or kind not in ("round", "tests"):
        raise Broken(f"{path}: the second line says what shows the fault")
    return Mutant(path.stem, path, what, kind, tuple(arguments))


def all_mutants():
    return [read(path) for path in sorted(PATCHES.glob("*.patch"))]


def check_applies(path, tree=kit.REPOSITORY):
    """What `git apply` has against the patch; empty when it fits."""
    done = subprocess.run(["git", "apply", "--check", str(path)], cwd=tree, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip()


def copy_tree():
    """The tree as it is, with its target folder at the first time; a repository of its own, so that
    tools that look for one find this."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=kit.REPOSITORY, capture_output=True, check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    TREE.mkdir(parents=True, exist_ok=True)
    for name in names:
        source, copy = kit.REPOSITORY / name, TREE / name
        if not source.is_file():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        # A file that is the same keeps its time, so that it is not built again.
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copy2(source, copy)
    for old in (TREE / "src").rglob("*.rs"):
        if not (kit.REPOSITORY / old.relative_to(TREE)).exists():
            old.unlink()
    if not (TREE / ".git").exists():
        subprocess.run(["git", "init", "-q"], cwd=TREE, check=True)
    target = TREE / "target"
    if not target.exists():
        print("copying the target folder ...", flush=True)
        skipped = shutil.ignore_patterns("incremental", "liblakehose*", "lakehose*", "examples")
        shutil.copytree(kit.BINARIES, target / "release", symlinks=True, ignore=skipped, copy_function=take)


def take(source, copy):
    """Built dependencies are never written to again: they need not be there twice."""
    if pathlib.Path(source).suffix in (".rlib", ".rmeta", ".so"):
        os.link(source, copy)
    else:
        shutil.copy2(source, copy)


def cargo(*arguments):
    environment = os.environ | {"CARGO_TARGET_DIR": str(TREE / "target")}
    return subprocess.run(
        [CARGO, *arguments], cwd=TREE, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS
    )


def options():
    """What cargo has to be told, and its wrappers add by themselves."""
    fast = ["profile.release.package.lakehose.opt-level=0", "profile.release.incremental=true"]
    settings = [each for setting in fast for each in ("--config", setting)]
    return ["--release", *settings] if pathlib.Path(CARGO).name == "cargo" else []


def show(mutant):
    """Builds what the fault is to be seen in; tells whether it was seen, and by what."""
    return show_by_tests(mutant) if mutant.kind == "tests" else show_by_round(mutant)


def show_by_tests(mutant):
    done = cargo("test", *options(), "--lib", *mutant.shows)
    failed = [line for line in done.stdout.splitlines() if line.endswith("FAILED")]
    if done.returncode != 0 and not failed:
        raise Broken(f"the tests do not build or run:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    if done.returncode == 0 and " 0 passed" in done.stdout:
        raise Broken(f"there is no test {mutant.shows}")
    return done.returncode != 0, "; ".join(failed)


def show_by_round(mutant):
    done = cargo("build", *options(), "--bin", "lakehose", "--example", "s3-server")
    if done.returncode != 0:
        raise Broken(f"does not build:\n{done.stderr[-3000:]}")
    name, cycles = mutant.shows
    command = [sys.executable, str(HERE / "run.py"), "--rounds", name, "--cycles", cycles, "--seed", "1"]
    command += ["--results", str(WORK / "results.jsonl"), "--folder", str(WORK / "work")]
    environment = os.environ | {"CARGO_TARGET_DIR": str(TREE / "target")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SHOW_SECONDS)
    if "NOT RUN" in done.stdout:
        raise Broken(f"this machine cannot play the round: {done.stdout.splitlines()[-1]}")
    is_verdict = lambda line: line.startswith(f"{name} seed") and "cycle=" not in line
    said = list(filter(is_verdict, done.stdout.splitlines())) or done.stderr.splitlines()[-1:]
    return done.returncode != 0, said[0][:200] if said else ""


def plant(mutant):
    """Tries one fault; the tree is sound again afterwards."""
    wrong = check_applies(mutant.path, TREE)
    if wrong:
        raise Broken(f"the patch does not apply any more:\n{wrong}")
    # Whatever becomes of the patch meanwhile, this one is taken back.
    planted = shutil.copy(mutant.path, WORK / "planted.patch")
    subprocess.run(["git", "apply", planted], cwd=TREE, check=True)
    try:
        return show(mutant)
    finally:
        subprocess.run(["git", "apply", "-R", planted], cwd=TREE, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="faults to plant; all of them without a name")
    names = parser.parse_args().names
    known = {mutant.name: mutant for mutant in all_mutants()}
    if set(names) - known.keys():
        parser.error(f"no such faults: {', '.join(sorted(set(names) - known.keys()))}")
    copy_tree()
    results = {}
    for mutant in [known[name] for name in names] or known.values():
        began = time.monotonic()
        try:
            is_caught, by = plant(mutant)
            results[mutant.name] = "CAUGHT" if is_caught else "MISSED"
        except (Broken, subprocess.TimeoutExpired) as error:
            results[mutant.name], by = "BROKEN", str(error)
        shown = " ".join([mutant.kind, *mutant.shows])
        seconds = time.monotonic() - began
        print(f"{results[mutant.name]} {mutant.name} ({mutant.what}) by {shown}, {seconds:.0f} s: {by}", flush=True)
    caught = sum(result == "CAUGHT" for result in results.values())
    print(f"{caught} of {len(results)} planted faults were caught")
    return 0 if caught == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
