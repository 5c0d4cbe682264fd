"""The objectives, of all 13, that the clips can train, and the columns the others lack."""

from collections.abc import Sequence

from tools.inspect.report.report import Clip, ObjectiveVerdict
from trainer_core.objective import OBJECTIVE_NAMES, objective_named

WRITTEN_LATER = frozenset({"caption"})
"""Columns that the next steps fill in."""
MOVING = "moving video"
"""What a still image in the column `video` doesn't offer."""


def judge_objectives(clips: Sequence[Clip]) -> dict[str, ObjectiveVerdict]:
    """Judge every objective: possible when one clip has all columns that it reads.

    `missing` holds the columns that the clip which comes nearest lacks. Captions are not asked for: they come later.
    """
    offers = [_columns(clip) for clip in clips if clip.samples and clip.status in ("ok", "flagged")]
    return {name: _judge(_needs(name), offers) for name in OBJECTIVE_NAMES}


def _needs(name: str) -> set[str]:
    objective = objective_named(name)
    needed = set(objective.columns().values()) - WRITTEN_LATER
    begins = ("prefix", "suffix", "first_frame")
    if any(objective.video.condition(kind) for kind in begins) and not objective.video.references:
        needed.add(MOVING)  # beside a reference a first frame is an extra that a still does without
    return needed


def _columns(clip: Clip) -> set[str]:
    columns = set(clip.columns) - {"audio"}
    if clip.kind in ("video", "image"):
        columns.add("video")
    if clip.kind == "video":
        columns.add(MOVING)
    if clip.audio.status == "ok":
        columns.add("audio")
    return columns


def _judge(needed: set[str], offers: Sequence[set[str]]) -> ObjectiveVerdict:
    missing = min((needed - offered for offered in offers), key=len, default=needed)
    lacking = {column: sum(column not in offered for offered in offers) for column in sorted(needed)}
    return ObjectiveVerdict(
        possible=not missing,
        missing=sorted({"video" if column == MOVING else column for column in missing}),
        clips=sum(needed <= offered for offered in offers),
        lacking={column: count for column, count in lacking.items() if count},
    )
