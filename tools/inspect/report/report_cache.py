"""Reuses a report as long as nothing it follows from has changed since it was written.

Files are told by their stamps (size, times, place on the disk), never read: a rerun over tens of thousands of them
costs the walk.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import tools.inspect
import trainer_core
from tools.inspect.discover.media_file import FoundFile
from tools.inspect.scan.store import LookStore, measures_version, stamp_of

JUDGING = ("data/**/*.py", "objective.py", "config.py", "sections/*.py", "recipes/*.yaml")
"""What of the core takes part in judging; of this room, all of it does."""


@functools.cache
def judgement_version() -> str:
    """A digest of the code that judges and of what it is made of."""
    room, core = Path(tools.inspect.__path__[0]), Path(trainer_core.__path__[0])
    modules = [*room.rglob("*.py"), *(path for pattern in JUDGING for path in core.glob(pattern))]
    digest = hashlib.sha256(measures_version().encode())
    for module in sorted(modules):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def fingerprint(found: Sequence[FoundFile], choices: Iterable[object]) -> str | None:
    """Return the digest of all that the report on these files follows from; None while a stamp can't be trusted."""
    digest = hashlib.sha256(judgement_version().encode())
    digest.update(repr(list(choices)).encode("utf-8", "backslashreplace"))
    for entry in found:
        stamps = []
        for file in (entry.file, *(Path(entry.source) / path for path in entry.columns.values())):
            stamp = stamp_of(file)
            if stamp is not None and not stamp.settled:
                return None
            stamps.append(stamp.text if stamp is not None else "")
        said = (entry.source, entry.path, entry.columns, entry.problem, entry.role, entry.paired_by, stamps)
        digest.update(repr(said).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def result_kept(store: LookStore, key: str | None, written: Iterable[Path]) -> str | None:
    """The result that was kept under `key`, if the files written with it are still there as they were."""
    kept = store.fact("report")
    if kept is None or key is None:
        return None
    before = json.loads(kept)
    return str(before["result"]) if before["key"] == key and before["written"] == _states(written) else None


def keep_result(store: LookStore, key: str | None, written: Iterable[Path], result: str) -> None:
    """Keep the result, as text, of the report that follows from `key`; without a key, what was kept is forgotten."""
    kept = {"key": key, "written": _states(written), "result": result} if key is not None else None
    store.keep_fact("report", json.dumps(kept) if kept is not None else None)


def _states(files: Iterable[Path]) -> list[str]:
    stamps = [stamp_of(file) for file in files]
    return [stamp.text if stamp is not None else "" for stamp in stamps]
