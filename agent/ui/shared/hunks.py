"""The difference of two versions of a YAML by hunks, each to be taken or left. No Textual."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass

CONTEXT_LINES = 2
_TRAILER = "# drafted-sha256:"


@dataclass(frozen=True)
class Hunk:
    """Lines `before` of the old version, from `old_start` (0-based), that became `after` at `new_start`."""

    old_start: int
    before: tuple[str, ...]
    new_start: int
    after: tuple[str, ...]

    @property
    def title(self) -> str:
        first, last = self.new_start + 1, self.new_start + max(len(self.after), 1)
        return f"line {first}" if first == last else f"lines {first} to {last}"


def hunks(old: str, new: str) -> list[Hunk]:
    """Return what differs; the digest that drafting leaves in the last line is no difference."""
    before, after = _lines(old), _lines(new)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return [
        Hunk(i1, tuple(before[i1:i2]), j1, tuple(after[j1:j2]))
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def with_hunks(old: str, new: str, taken: Collection[int]) -> str:
    """Return the text that has the hunks numbered in `taken` as in `new`, the others as in `old`.

    All taken gives `new` and none `old`, byte for byte.
    """
    found = hunks(old, new)
    if len(set(taken)) == len(found):
        return new
    if not taken:
        return old
    before = _lines(old)
    result: list[str] = []
    at = 0
    for number, hunk in enumerate(found):
        result += before[at : hunk.old_start]
        result += hunk.after if number in taken else hunk.before
        at = hunk.old_start + len(hunk.before)
    return "\n".join([*result, *before[at:]]).rstrip("\n") + "\n"


def context(new: str, hunk: Hunk) -> tuple[list[str], list[str]]:
    """The lines that stand around a hunk in the new version."""
    lines = _lines(new)
    end = hunk.new_start + len(hunk.after)
    return lines[max(0, hunk.new_start - CONTEXT_LINES) : hunk.new_start], lines[end : end + CONTEXT_LINES]


def _lines(text: str) -> list[str]:
    lines = text.splitlines()
    while lines and (not lines[-1].strip() or lines[-1].startswith(_TRAILER)):
        lines.pop()
    return lines
