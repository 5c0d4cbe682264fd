"""The references, masks and sound that belong to a clip, as far as it can train with them; what is missing is said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from tools.inspect.discover.media_file import FoundFile
from tools.inspect.discover.names import displayed
from tools.inspect.report.report import Flag, Kind, Sample
from tools.inspect.scan.scan_file import Look
from trainer_core.data.media.decode import LONGEST_AUDIO_PADDING_S
from trainer_core.data.media.probe import ClipProbe
from trainer_core.units import counted

SOUND_COLUMNS = ("reference_audio", "audio_mask")
"""What a clip without pictures can have."""


@dataclass(frozen=True)
class Paired:
    """The paths by column, the samples that all of them reach, and flags for what is missing or too short.

    `reach_s` is where the shortest of them ends.
    """

    columns: dict[str, str]
    samples: tuple[Sample, ...]
    flags: list[Flag]
    reach_s: float = inf


def pair(
    found: FoundFile,
    kind: Kind,
    samples: tuple[Sample, ...],
    frame_rate: float,
    look_of: Callable[[str], Look | None],
    usual: Mapping[str, int],
) -> Paired:
    """Take the files of a clip that are there and hold what they should; `look_of` gives the look at one by its path.

    A sample beyond the end of such a file is dropped, unless all are: then it is the file that isn't used. `usual` are
    the columns that clips have, and how many do.
    """
    columns: dict[str, str] = {}
    flags: list[Flag] = []
    reach_s = inf
    for column, path in found.columns.items():
        named = f"Its {column}, {displayed(path)},"
        if not (Path(found.source) / path).is_file():
            flags.append(_flag(column, f"{named} does not exist.", "Correct the metadata file."))
            continue
        look = look_of(path)
        lasts_s = _lasts_s(column, look.probe) if look is not None else inf
        if lasts_s is None:
            wanted = "sound" if column in (*SOUND_COLUMNS, "audio") else "pictures"
            flags.append(_flag(column, f"{named} holds no {wanted} that can be decoded.", "Export it again."))
            continue
        # readers hold the last picture for another one, and pad sound a little
        end_s = lasts_s + (0.9 * LONGEST_AUDIO_PADDING_S if column in SOUND_COLUMNS else 1 / frame_rate)
        reached = tuple(sample for sample in samples if sample.start_s + sample.duration_s <= end_s + 1e-6)
        if len(reached) < len(samples):
            lost = f"{len(samples) - len(reached)} of {counted(len(samples), 'sample')} are left out"
            told = lost if reached else "less than any sample, and isn't used"
            flags.append(_flag(column, f"{named} lasts {lasts_s:.2f} s: {told}.", "Make it as long as the clip."))
        if reached or not samples:
            columns[column], samples, reach_s = path, reached, min(reach_s, end_s + 1e-6)
    for column, count in usual.items():
        fits = kind != "audio" or column in SOUND_COLUMNS
        if fits and column != "audio" and column not in found.columns:
            message = f"It has no {column}; {count} other clip{'s have' if count > 1 else ' has'} one."
            flags.append(
                _flag(column, message, "Add one of its name, or expect it to be left out where that is trained on.")
            )
    return Paired(columns, samples, flags, reach_s)


def _flag(column: str, message: str, remedy: str) -> Flag:
    return Flag(id="unpaired", severity="warn", value=column, message=message, remedy=remedy)


def _lasts_s(column: str, probe: ClipProbe | None) -> float | None:
    """How long such a file lasts; None where it hasn't what its column needs. A still serves any length."""
    if probe is None:
        return None
    if column not in (*SOUND_COLUMNS, "audio"):
        return inf if probe.kind == "image" else probe.duration_s if probe.kind == "video" else None
    if probe.audio is None or not probe.audio.decodable:
        return None
    if column == "audio":
        return inf  # the clip was cut to it
    return probe.audio.duration_s if probe.kind == "audio" else probe.audio.end_s
