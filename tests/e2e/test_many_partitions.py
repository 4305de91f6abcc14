"""Thousands of partitions at once in a bounded memory; the long form is `tests/torture/partitions.py`."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "torture"))

import partitions  # noqa: E402

MEMORY_MIB = 256


def test_two_thousand_partitions_get_every_row_once_in_little_memory(tmp_path):
    figures, wrong = partitions.play(tmp_path, seconds=20, partitions=2_000, megabytes=1, interval=5)
    assert not wrong, (wrong[:20], figures)
    assert figures["partitions"] == 2_000 and figures["rows"] == figures["records"], figures
    assert figures["peak_rss_mib"] <= MEMORY_MIB, figures
