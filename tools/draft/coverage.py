"""Counts of the given data that trains, as the plan, its card, the summary and CI reports show them.

`coverage_of` counts a draft, `write_coverage` keeps it in coverage.json beside the plan, `read_coverage` reads it back.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from functools import cached_property

from pydantic import ValidationError

from tools.inspect.report.report import Clip, Report
from tools.project import Project
from trainer_core.errors import LtxError
from trainer_core.files import read_json, write_json
from trainer_core.strict import Strict
from trainer_core.units import counted

_UNUSABLE = ("can't be used", "can't be used")
_SAID: dict[str, tuple[str, str]] = {
    "it has no sound": ("has no sound", "have no sound"),
    "its sound is silent": ("is silent", "are silent"),
    "its sound is too short for any sample": ("has too little sound", "have too little sound"),
    "its sound does not decode": ("has sound that does not decode", "have sound that does not decode"),
    "it has no picture": ("has no picture", "have no picture"),
    "no stretch of it fills a training sample": ("is too short", "are too short"),
    "you asked for others alone": ("is left out as you asked", "are left out as you asked"),
    "you asked to leave it out": ("is left out as you asked", "are left out as you asked"),
}
"""Reasons of tools/draft/select.py as said of one clip and of several; `it has no COLUMN` follows the same form."""


class LeftOut(Strict):
    """One media file that does not train, and why; `source` and `path` as in report.json."""

    source: str
    path: str
    reason: str


class Counts(Strict):
    """Counts of media files (`clips`), and seconds of them (`_s`; stills have none).

    `training_clips` are trained on, `heldout_clips` only judge; `given_s` is all footage, `training_s` the samples
    trained on. `sentence` says it in one line.
    """

    sentence: str
    clips: int
    training_clips: int
    heldout_clips: int
    training_samples: int
    given_s: float
    training_s: float


class Coverage(Counts):
    """The counts, and every media file that does not train with its reason."""

    left_out: list[LeftOut]

    def counts(self) -> Counts:
        return Counts.model_validate(self.model_dump(exclude={"left_out"}))

    def reason_of(self, clip: Clip) -> str | None:
        """Return why `clip` does not train; None when it does, or isn't media."""
        return self._reasons.get((clip.source, clip.path))

    @cached_property
    def _reasons(self) -> dict[tuple[str, str], str]:
        return {(one.source, one.path): one.reason for one in self.left_out}


def coverage_of(
    report: Report, training: Sequence[Clip], heldout: Collection[int], left_out: Sequence[tuple[Clip, str]]
) -> Coverage:
    """Count a draft; `training` includes the clips held out, which `heldout` numbers."""
    trained = [clip for index, clip in enumerate(training) if index not in heldout]
    moving = [clip for clip in report.clips if clip.kind in ("video", "audio")]
    given_s = sum(clip.duration_s for clip in moving)
    training_s = sum(sample.duration_s for clip in trained if clip.kind != "image" for sample in clip.samples)
    return Coverage(
        sentence=_sentence(training, trained, [(clip, reason) for clip, reason in left_out], given_s, training_s),
        clips=len(training) + len(left_out),
        training_clips=len(trained),
        heldout_clips=len(heldout),
        training_samples=sum(len(clip.samples) for clip in trained),
        given_s=round(given_s, 3),
        training_s=round(training_s, 3),
        left_out=[LeftOut(source=clip.source, path=clip.path, reason=reason) for clip, reason in left_out],
    )


def write_coverage(project: Project, coverage: Coverage) -> None:
    write_json(project.coverage_path, coverage.model_dump())


def read_coverage(project: Project) -> Coverage | None:
    """The counts of the draft that stands; None when there is none, or it was written by an older version."""
    if not project.coverage_path.exists():
        return None
    try:
        return Coverage.model_validate(read_json(project.coverage_path))
    except (LtxError, ValidationError):
        return None


def kinds_counted(kinds: Collection[str], count: int) -> str:
    """`30 images`, `80 recordings`, else `7 clips`."""
    noun = {"image": "image", "audio": "recording"}.get(next(iter(kinds)), "clip") if len(set(kinds)) == 1 else "clip"
    return counted(count, noun)


def _sentence(
    training: Sequence[Clip],
    trained: Sequence[Clip],
    left_out: Sequence[tuple[Clip, str]],
    given_s: float,
    training_s: float,
) -> str:
    kinds = {clip.kind for clip in training} | {clip.kind for clip, _ in left_out}
    total = len(training) + len(left_out)
    said = f"{len(trained)} of {kinds_counted(kinds, total)}"
    if given_s:
        said += f", {training_s:.0f} of {given_s:.0f} s"
    parts = [said]
    if held_out := len(training) - len(trained):
        parts.append(f"{held_out} more judge{'s' if held_out == 1 else ''} it")
    reasons = Counter(_said(reason) for _, reason in left_out)
    parts += [f"{count} {one if count == 1 else several}" for (one, several), count in reasons.most_common()]
    return "; ".join(parts)


def _said(reason: str) -> tuple[str, str]:
    if reason in _SAID:
        return _SAID[reason]
    lacks = reason.removeprefix("it has ").replace("_", " ")
    return (f"has {lacks}", f"have {lacks}") if reason.startswith("it has no ") else _UNUSABLE
