"""Power cuts: a disk of which a copy can be taken that lacks whatever was not synced.

    python tests/torture/cut.py [--images 20] [--seed N]

Owns that disk: an ext4 file system in an image file, which lies on an XFS file system (in an image file
as well) that can copy a file in an instant by sharing its blocks. The copy has what reached the inner
device; what the inner file system holds in its page cache alone is not in it, as after a power cut. What
a drive's own cache would lose on top is not modelled; the simulated disk of the crate's tests does that.

The service is stopped in the very moment, so that nothing leaves it after the cut; it then goes on from
the copy, and at the end everything is judged as after any other round. Needs root, loop devices and
mkfs.xfs (Debian: xfsprogs); a machine without them prints a skip.
"""

import argparse
import contextlib
import sys
import time

import faults
from kits import HERE

OUTER_MEGABYTES, INNER_MEGABYTES = 4_096, 512


class CuttableDisk(contextlib.ExitStack):
    """Mounted at `folder`; `cut` gives it the state that a power cut would leave."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder / "disk"
        self.outer = folder / "outer"
        self.outer_image = folder / "outer.xfs"
        self.number = 0

    @property
    def image(self):
        return self.outer / f"inner-{self.number}.ext4"

    def __enter__(self):
        super().__enter__()
        # What was made before something was missing goes again.
        with contextlib.ExitStack() as made:
            for folder in (self.folder, self.outer):
                folder.mkdir(parents=True, exist_ok=True)
            sparse(self.outer_image, OUTER_MEGABYTES)
            made.callback(self.outer_image.unlink)
            faults.sh("mkfs.xfs", "-q", "-f", "-m", "reflink=1", self.outer_image)
            faults.mount(self.outer_image, self.outer)
            made.callback(faults.unmount, self.outer)
            sparse(self.image, INNER_MEGABYTES)
            faults.sh("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
            faults.mount(self.image, self.folder)
            made.callback(faults.unmount, self.folder)
            self.push(made.pop_all().__exit__)
        return self

    def copy(self):
        """Takes the copy: from now on it is what a cut has left."""
        before = self.image
        self.number += 1
        faults.sh("cp", "--reflink=always", before, self.image)
        return before

    def replace(self, before):
        """Mounts the copy in the place of the disk that it was taken from; nobody uses that any more."""
        faults.unmount(self.folder)
        before.unlink()
        faults.mount(self.image, self.folder)


def sparse(path, megabytes):
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)


def main():
    # The rounds know this module.
    import rounds
    import run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    options = parser.parse_args()
    folder = run.TARGET / "work" / f"cut-{options.seed}"
    try:
        result = rounds.run_round("cut", options.seed, options.images, folder, run.show)
    except faults.Unavailable as reason:
        print(f"SKIPPED: {reason}")
        return 0
    print(f"{len(result.cycles)} power cuts: {result.verdict}; {result.verdict.counts}, {result.seconds:.0f} s")
    print(f"again: python {(HERE / 'cut.py').relative_to(HERE.parents[1])} --images {options.images} --seed {options.seed}")
    return 0 if result.verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
