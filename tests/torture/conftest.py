"""What all torture tests share: a round is played, and a broken one says how to play it again."""

import os
import random

import pytest

import faults
import rounds
from run import SHORT, replay_command


@pytest.fixture
def play(tmp_path):
    """Plays a round of the short profile: `play("kill")`. What the machine cannot do is skipped.

    The seed is a new one each time, unless TORTURE_SEED sets it.
    """

    def round_of(name):
        seed, cycles = int(os.environ.get("TORTURE_SEED", random.SystemRandom().randrange(10**9))), SHORT[name]
        again = replay_command(name, seed, cycles)
        print(f"again: {again}")
        try:
            result = rounds.run_round(name, seed, cycles, tmp_path / name, print)
        except faults.Unavailable as reason:
            pytest.skip(str(reason))
        assert len(result.cycles) == cycles
        assert result.verdict.is_good, f"{result.verdict}\nagain: {again}"
        return result

    return round_of
