"""Looking at all files: what is known already is taken from the store, the rest goes to the workers."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tools.inspect.discover.media_file import TEXT_SUFFIXES, FoundFile
from tools.inspect.scan.decode_pool import DecodeJob, Limits, work_off
from tools.inspect.scan.scan_file import Look
from tools.inspect.scan.store import LookStore, Stamp, stamp_of
from tools.project import Progress


@dataclass(frozen=True)
class Looks:
    """Looks in the order of the files, without what lies in the store: numbers and contact sheets.

    `lasting` is False when some file may end differently next time: a crash, a time limit.
    """

    looks: Sequence[Look]
    lasting: bool

    def __iter__(self) -> Iterator[Look]:
        return iter(self.looks)

    def __len__(self) -> int:
        return len(self.looks)


def look_at_all(
    found: Sequence[FoundFile], store: LookStore, progress: Progress | None = None, limits: Limits | None = None
) -> Looks:
    """Return a look at every file: those of a hundred thousand find room in memory.

    A file whose stamp or content is known isn't decoded again. What was seen is stored at once.
    """
    looking = _Looking(found, store, progress)
    hashed = looking.take_what_is_known()
    try:
        # only where something is stored can a hash spare a look
        for only_hash in (True, False) if store.holds_looks() else (False,):
            jobs = looking.jobs(hashed, only_hash)
            with contextlib.closing(work_off(jobs, limits)) as answers:
                for answer in answers:
                    looking.take(answer.key, answer.look, answer.sha256, answer.lasting)
    finally:
        store.commit()
    looks = [look for look in looking.looks if look is not None]
    assert len(looks) == len(found), "every file ends with a look"
    return Looks(looks, looking.lasting)


class _Looking:
    """What is known of each file so far."""

    def __init__(self, found: Sequence[FoundFile], store: LookStore, progress: Progress | None) -> None:
        self.found, self.store, self.progress = found, store, progress
        self.looks: list[Look | None] = [None] * len(found)
        self.stamps: list[Stamp | None] = [None] * len(found)
        self.done = 0
        self.lasting = True

    def take_what_is_known(self) -> set[int]:
        """Fill in what needs no work; return the files whose content is known but was never looked at."""
        stored = self.store.digests()
        hashed: set[int] = set()
        for key, entry in enumerate(self.found):
            if entry.problem is not None:
                problem = f"{entry.path!r}: {entry.problem}."
                self._settle(key, Look("video", error=problem, hint="Check its permissions."))
                continue
            if entry.file.suffix.lower() in TEXT_SUFFIXES:
                self._settle(key, Look("other"))
                continue
            stamp = self.stamps[key] = stamp_of(entry.file)
            known = stored.get(entry.key)
            if stamp is None or known is None or known[0] != stamp.text:
                continue
            look = self.store.look(known[1], entry.file)
            if look is not None:
                self._settle(key, replace(look, numbers={}))
            else:
                hashed.add(key)
        return hashed

    def jobs(self, hashed: set[int], only_hash: bool) -> list[DecodeJob]:
        """Return the jobs left to do; with `only_hash`, to find out whether the content is known under another name."""
        left = [key for key, look in enumerate(self.looks) if look is None]
        return [DecodeJob(key, self.found[key].file, only_hash) for key in left if not (only_hash and key in hashed)]

    def take(self, key: int, look: Look | None, sha256: str | None, lasting: bool) -> None:
        """Keep an answer: a look, or the hash alone, which may turn out to be known."""
        file = self.found[key].file
        if look is None:
            known = self.store.look(sha256, file) if sha256 is not None else None
            if known is None or sha256 is None:
                return
            self.store.keep(file, self.stamps[key], sha256, None)
            self._settle(key, replace(known, numbers={}))
            return
        if sha256 is not None and lasting:
            self.store.keep(file, self.stamps[key], sha256, look)
            look = replace(look, numbers={})
        self.lasting &= lasting
        self._settle(key, replace(look, sheet=None))

    def _settle(self, key: int, look: Look) -> None:
        if self.looks[key] is None:
            self.done += 1
        self.looks[key] = look
        if self.progress is not None:
            self.progress("looking at clips", self.done, len(self.found))
