"""The planted faults fit the tree: a patch that no longer applies fails here, not only when it is used."""

import pytest

import mutants
import rounds

ALL = mutants.all_mutants()


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_planted_fault_still_applies_and_names_what_shows_it(mutant):
    assert mutants.check_applies(mutant.path) == ""
    if mutant.kind == "round":
        name, cycles = mutant.shows
        assert name in rounds.ROUNDS and int(cycles) > 0


def test_there_are_at_least_fourteen():
    assert len(ALL) >= 14
