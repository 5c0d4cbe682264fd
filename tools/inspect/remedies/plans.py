"""Plans of each remedy's change to a clip, from the report and the user's settings: one pure function per remedy.

A plan names the stretches that are kept (seconds on the clip's clock, each with a label for its name) and the change.
"""

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from tools.inspect.discover.names import displayed
from tools.inspect.remedies.tracks import Crop, MediaChange
from tools.inspect.report.report import Clip
from trainer_core.data.buckets import SHORTEST_VIDEO_FRAMES
from trainer_core.errors import DataError

TARGET_LUFS = -23.0
"""EBU R128's programme loudness."""
HIGHEST_PEAK_DBFS = -1.0
PIECE_S = 5.0
"""People report that three to eight seconds a clip train well; each piece gets a caption of its own."""
EDGE_S = 0.1
"""Black that begins or ends this near to an end of the clip is at its end."""


@dataclass(frozen=True)
class RemedySettings:
    """The user's choices; None leaves one to the report. Seconds on each clip's own clock."""

    frame_rate: float
    at_s: tuple[float, ...] | None = None
    degrees: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    target_lufs: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class RemedyPlan:
    """`words` say what is done, `stretches` are (label, start, end)."""

    words: str
    change: MediaChange
    stretches: list[tuple[str, float, float]]
    keeps_caption: bool = True


def split_at_cuts(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """One copy a shot; shots too short for the shortest sample are left away."""
    cuts = sorted(settings.at_s if settings.at_s is not None else clip.measures.cuts_s)
    inside = [cut for cut in cuts if 0 < cut < clip.duration_s]
    if not inside:
        raise DataError(
            f"{displayed(clip.path)}: there is no cut in its {clip.duration_s:.2f} s to split it at.",
            "Name the seconds of the cuts, or leave it whole.",
        )
    shortest_s = SHORTEST_VIDEO_FRAMES / settings.frame_rate
    edges = [0.0, *inside, math.inf]
    shots = [
        (f"shot-{number:02d}", start, end)
        for number, (start, end) in enumerate(itertools.pairwise(edges), start=1)
        if min(end, clip.duration_s) - start >= shortest_s - 1e-6
    ]
    if not shots:
        raise DataError(
            f"{displayed(clip.path)}: every shot is shorter than {shortest_s:.2f} s, the shortest sample.",
            "Leave it whole, or leave it out.",
        )
    cut_list = ", ".join(f"{cut:.2f} s" for cut in inside)
    return RemedyPlan(f"split at {cut_list}", MediaChange(), shots, keeps_caption=False)


def window(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """Equal pieces no longer than `seconds`, on the working frame rate's grid, each to be captioned by itself."""
    longest_s = settings.seconds or PIECE_S
    count = math.ceil(clip.duration_s / longest_s - 1e-6)
    if count < 2:
        raise DataError(
            f"{displayed(clip.path)} has {clip.duration_s:.2f} s, one piece of at most {longest_s:g} s.",
            "Choose fewer seconds, or leave it whole.",
        )
    grid = [
        round(clip.duration_s * index / count * settings.frame_rate) / settings.frame_rate for index in range(count)
    ]
    edges = [*grid, math.inf]
    pieces = [(f"part-{index + 1:02d}", edges[index], edges[index + 1]) for index in range(count)]
    return RemedyPlan(f"cut into {count} pieces of at most {longest_s:g} s", MediaChange(), pieces, keeps_caption=False)


def trim(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """Keep the stretch the user names; without one, take black off both ends."""
    start_s, end_s = settings.start_s, settings.end_s
    if start_s is None and end_s is None:
        for flag in clip.flags:
            if flag.id == "black" and flag.start_s is not None and flag.end_s is not None:
                if flag.start_s <= EDGE_S:
                    start_s = flag.end_s
                if flag.end_s >= clip.duration_s - EDGE_S:
                    end_s = flag.start_s
        if start_s is None and end_s is None:
            raise DataError(
                f"{displayed(clip.path)}: nothing black begins or ends it.", "Name the second to start or to end at."
            )
    begin, end = start_s or 0.0, end_s if end_s is not None else math.inf
    if begin >= min(end, clip.duration_s) or begin < 0:
        raise DataError(
            f"{displayed(clip.path)}: from {begin:g} s to {end:g} s there is nothing of its {clip.duration_s:.2f} s.",
            "Choose a start before the end, inside the clip.",
        )
    until = "its end" if math.isinf(end) else f"{end:.2f} s"
    return RemedyPlan(f"kept from {begin:.2f} s to {until}", MediaChange(), [("trimmed", begin, end)])


def constant_frame_rate(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """The picture shown at each tick of the working frame rate, with the sound as it is."""
    if clip.kind != "video":
        raise DataError(f"{displayed(clip.path)} has no moving picture.", "Choose videos.")
    rate = settings.frame_rate
    return RemedyPlan(
        f"resampled to {rate:g} pictures per second", MediaChange(frame_rate=rate), [(f"{rate:g}fps", 0.0, math.inf)]
    )


def crop_bars(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """The picture without the bars that the report measured."""
    del settings
    measured = next((str(flag.value) for flag in clip.flags if flag.id == "letterbox"), "")
    sides = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", measured)
    if sides is None or not clip.width or not clip.height:
        raise DataError(f"{displayed(clip.path)}: the report measured no bars.", "Leave it as it is.")
    width, height, left, top = map(int, sides.groups())
    crop = Crop(left / clip.width, top / clip.height, width / clip.width, height / clip.height)
    return RemedyPlan(
        f"cropped to {width} × {height} at ({left}, {top})", MediaChange(crop=crop), [("cropped", 0.0, math.inf)]
    )


def deinterlace(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """One whole picture of each two fields, at the same rate; half of the fine movement is lost, no combs are left."""
    del settings
    if clip.kind != "video":
        raise DataError(f"{displayed(clip.path)} has no moving picture.", "Choose videos.")
    return RemedyPlan("deinterlaced (bwdif)", MediaChange(deinterlace=True), [("deinterlaced", 0.0, math.inf)])


def rotate(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """Turned clockwise by the degrees that the user names: nobody else knows what is up."""
    if settings.degrees not in (90, 180, 270):
        raise DataError(
            f"{displayed(clip.path)}: by how much is it to be turned?", "Name 90, 180 or 270 degrees clockwise."
        )
    turns = (360 - settings.degrees) // 90 % 4
    words = f"turned {settings.degrees}° clockwise"
    return RemedyPlan(words, MediaChange(quarter_turns=turns), [(f"turned-{settings.degrees}", 0.0, math.inf)])


def loudness(clip: Clip, settings: RemedySettings) -> RemedyPlan:
    """One gain for the whole clip, to the target, but no higher than its peak allows: nothing is compressed."""
    measured, target = clip.audio.loudness_lufs, settings.target_lufs or TARGET_LUFS
    if measured is None:
        raise DataError(
            f"{displayed(clip.path)}: the report has no loudness of it ({clip.audio.status} sound).",
            "Inspect again, or leave it as it is.",
        )
    gain_db = target - measured
    limit = ""
    if clip.audio.peak_dbfs is not None and clip.audio.peak_dbfs + gain_db > HIGHEST_PEAK_DBFS:
        gain_db = HIGHEST_PEAK_DBFS - clip.audio.peak_dbfs
        limit = f", as far as its peak allows ({target:g} LUFS would clip)"
    words = f"sound changed by {gain_db:+.1f} dB, from {measured:.1f} to {measured + gain_db:.1f} LUFS{limit}"
    return RemedyPlan(words, MediaChange(gain_db=gain_db), [("levelled", 0.0, math.inf)])


def _flagged(*names: str) -> Callable[[Clip, RemedySettings], bool]:
    return lambda clip, _settings: any(flag.id in names for flag in clip.flags)


def _black_at_an_end(clip: Clip, settings: RemedySettings) -> bool:
    try:
        trim(clip, RemedySettings(frame_rate=settings.frame_rate))
    except DataError:
        return False
    return True


@dataclass(frozen=True)
class Remedy:
    """A remedy: its plan for a clip, the clips that need it, and the settings it reads."""

    plan: Callable[[Clip, RemedySettings], RemedyPlan]
    needed: Callable[[Clip, RemedySettings], bool]
    reads: frozenset[str] = frozenset()


REMEDIES: dict[str, Remedy] = {
    "split_at_cuts": Remedy(split_at_cuts, lambda clip, _: bool(clip.measures.cuts_s), frozenset({"at_s"})),
    "constant_frame_rate": Remedy(constant_frame_rate, _flagged("vfr"), frozenset({"frame_rate"})),
    "crop_bars": Remedy(crop_bars, _flagged("letterbox")),
    "deinterlace": Remedy(
        deinterlace,
        lambda clip, _: any(flag.id == "interlaced" and flag.severity == "warn" for flag in clip.flags),
    ),
    "rotate": Remedy(rotate, lambda _clip, _settings: False, frozenset({"degrees"})),
    "trim": Remedy(trim, _black_at_an_end, frozenset({"start_s", "end_s"})),
    "loudness": Remedy(loudness, _flagged("too_quiet", "too_loud"), frozenset({"target_lufs"})),
    "window": Remedy(
        window,
        lambda clip, settings: clip.kind != "image" and clip.duration_s > (settings.seconds or PIECE_S) * 1.000001,
        frozenset({"seconds"}),
    ),
}
