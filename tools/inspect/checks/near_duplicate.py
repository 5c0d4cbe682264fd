"""Signatures of a clip's frames over time; duplicates.py compares the clips by them."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.scenes import SceneSignatures


def judge(seen: Seen) -> Iterator[Flag]:
    """Nothing: a clip alone is no duplicate."""
    del seen
    return iter(())


CHECK = Check("near_duplicate", judge, SceneSignatures)
