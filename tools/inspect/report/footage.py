"""The footage in a few counts: what an objective can be chosen by, without the whole report."""

from pathlib import Path
from typing import Any

from tools.inspect.report.clips import USABLE_STATUSES
from trainer_core.errors import LtxError
from trainer_core.files import read_json
from trainer_core.strict import Strict


class Footage(Strict):
    """Counts of usable clips. `with_sound` counts videos whose audio decodes and isn't silent.

    The last four count clips that have such a file beside them.
    """

    videos: int = 0
    images: int = 0
    sounds: int = 0
    with_sound: int = 0
    reference_video: int = 0
    reference_audio: int = 0
    video_mask: int = 0
    audio_mask: int = 0

    @property
    def pictures(self) -> int:
        return self.videos + self.images

    @property
    def any_sound(self) -> int:
        return self.with_sound + self.sounds


def footage_of(clips: list[Any]) -> Footage:
    """Count the clips of a report, which may be as read from its file: mappings with the names of `Clip`."""
    usable = [
        clip
        for clip in clips
        if clip["samples"]
        and clip["status"] in USABLE_STATUSES
        and clip.get("role", "clip") == "clip"
        and clip["kind"] != "other"
    ]
    columns = [clip.get("columns", {}) for clip in usable]
    beside = ("reference_video", "reference_audio", "video_mask", "audio_mask")
    kinds = [clip["kind"] for clip in usable]
    return Footage(
        videos=kinds.count("video"),
        images=kinds.count("image"),
        sounds=kinds.count("audio"),
        with_sound=sum(clip["kind"] == "video" and clip["audio"]["status"] == "ok" for clip in usable),
        **{name: sum(name in each for each in columns) for name in beside},
    )


_COUNTED: dict[Path, tuple[tuple[int, int], Footage | None]] = {}
"""The last count of each report by its time and size: a report of thousands of clips takes long to read."""


def read_footage(report_path: Path) -> Footage | None:
    """Return the footage of report.json; None where there is none that can be read: the tools say what is wrong."""
    try:
        stat = report_path.stat()
    except OSError:
        return None
    mark = (stat.st_mtime_ns, stat.st_size)
    known = _COUNTED.get(report_path)
    if known is None or known[0] != mark:
        try:
            found: Footage | None = footage_of(read_json(report_path)["clips"])
        except (LtxError, KeyError, TypeError, ValueError):
            found = None
        _COUNTED[report_path] = known = (mark, found)
    return known[1]
