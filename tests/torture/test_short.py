"""The short profile: every kind of fault under load, judged by the checker. Names are claims.

How long a round takes and what it does stands in `rounds`; how often, in `run.SHORT`.
"""

import pytest


@pytest.mark.parametrize("round_name", ["kill", "kill-hooks"])
def test_kills_under_load_neither_lose_nor_double_a_record(play, round_name):
    result = play(round_name)
    assert all(cycle["acked"] >= 2_000 and cycle["open_plans"] for cycle in result.cycles)


def test_two_instances_on_one_bucket_are_killed_and_nothing_gets_mixed_up(play):
    result = play("kill-two")
    assert {cycle["instance"] for cycle in result.cycles} == {"one", "two"}


@pytest.mark.parametrize("call", ["write", "note", "fdatasync", "rename", "unlink"])
def test_death_at_exactly_the_kth_call_leaves_everything_recoverable(play, call):
    result = play(call)
    assert [cycle["fault"].split()[1] for cycle in result.cycles] == [str(k) for k in range(1, 41)]


def test_death_in_the_middle_of_a_put_into_a_folder_leaves_whole_objects_alone(play):
    play("folder")


def test_a_failed_sync_is_answered_with_no_success_and_never_tried_again(play):
    result = play("sync-error")
    assert {cycle["exit_code"] for cycle in result.cycles} == {74}


def test_a_slow_disk_makes_groups_larger_and_nothing_else(play):
    play("slow-sync")


def test_a_store_that_fails_in_any_way_gets_every_object_once(play):
    play("store")


def test_a_store_that_ignores_conditions_gets_every_object_once(play):
    play("store-plain")


def test_a_network_that_fails_in_any_way_costs_nothing(play):
    play("network")


def test_a_hook_that_fails_in_any_way_costs_nothing(play):
    play("hook")


def test_a_catalog_that_fails_holds_nothing_up_and_misses_no_partition(play):
    play("glue")


def test_jumps_of_the_wall_clock_move_no_record_to_another_day(play):
    play("clock")


def test_a_stopped_process_goes_on_as_if_nothing_had_been(play):
    play("stop")


def test_an_end_in_order_at_any_moment_leaves_the_rest_to_the_next_start(play):
    play("term")


def test_a_full_disk_refuses_and_goes_on_by_itself_when_there_is_room(play):
    play("full-disk")


def test_no_power_cut_takes_what_was_acknowledged(play):
    play("cut")
