"""Brings the kits of the end-to-end tests within reach: processes, clients, stores, scripted hooks.

Owns nothing. Whatever starts, stops or speaks to a server is `kit`'s, so that a torture round and an
end-to-end test do the same thing in the same way.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import glue_kit  # noqa: E402
import hooks_kit  # noqa: E402
import kit  # noqa: E402

__all__ = ["HERE", "glue_kit", "hooks_kit", "kit"]
