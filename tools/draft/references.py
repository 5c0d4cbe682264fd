"""The clips that a reference means: a number, a range, a share, a name or a part of it, a trait that was measured.

A person writes or says references to leave clips out or to take no others; the chat model passes them on as text.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from tools.inspect.discover.names import displayed
from tools.inspect.report.report import Clip, FlagId, Report
from trainer_core.errors import ConfigError

Trait = Literal[
    "dark",
    "bright",
    "blurry",
    "shaky",
    "noisy",
    "static",
    "silent",
    "sound",
    "speech",
    "music",
    "vertical",
    "horizontal",
    "small",
    "text",
    "cuts",
    "duplicate",
    "loud",
    "quiet",
    "photo",
    "flagged",
]
TRAITS = get_args(Trait)
BACK = "+"
"""Before a reference: take these clips in again, whatever the references before it say."""
REFERENCES = (
    "Each: a number in report.html's order, `2-6`, `first 5`, `last 3`, `first half`, `last "
    "half`, `every 2`, a name or "
    "a part of one (`*` allowed), `longer than 5`, `shorter than 2` (seconds), or `is:` with "
    f"{', '.join(TRAITS)}. `{BACK}` before one takes it in again."
)

DARK = 0.2
"""Mean luma below which a clip counts as dark beside those that inspection flagged; 0 is black, 1 white."""
BRIGHT = 0.75
_SPOKEN = 0.2
"""The share of a clip's time with a voice in it from which it counts as speech."""
_EXAMPLES_SHOWN = 5

_COUNT = re.compile(r"(?P<side>first|last) (?P<count>\d+|half)")
_RANGE = re.compile(r"(?P<first>\d+)-(?P<last>\d+)")
_EVERY = re.compile(r"every (?P<step>[2-9]|[1-9]\d+)")
_LENGTH = re.compile(r"(?P<side>longer|shorter) than (?P<seconds>\d+(?:\.\d+)?)")


def clips_meant(report: Report, references: Sequence[str]) -> set[str]:
    """Return the paths that `references` mean together, read in their order.

    Raises ConfigError for a reference that means no clip, and for a plain name that means several.
    """
    clips = [clip for clip in report.clips if clip.kind != "other"]
    found: set[str] = set()
    for reference in references:
        if reference.startswith(BACK):
            found -= _meant(reference.removeprefix(BACK), clips)
        else:
            found |= _meant(reference, clips)
    return found


def _meant(reference: str, clips: list[Clip]) -> set[str]:
    paths = [clip.path for clip in clips]
    if reference.isdigit() and reference not in paths:
        return {paths[_in_range(int(reference), len(paths)) - 1]}
    if match := _RANGE.fullmatch(reference):
        first, last = (_in_range(int(match[side]), len(paths)) for side in ("first", "last"))
        return set(paths[min(first, last) - 1 : max(first, last)])
    if match := _COUNT.fullmatch(reference):
        count = (len(paths) + 1) // 2 if match["count"] == "half" else int(match["count"])
        if count == 0:
            raise ConfigError("No clip is no selection.", "Name at least one.")
        return set(paths[:count] if match["side"] == "first" else paths[-count:])
    if match := _EVERY.fullmatch(reference):
        return set(paths[:: int(match["step"])])
    if match := _LENGTH.fullmatch(reference):
        limit, longer = float(match["seconds"]), match["side"] == "longer"
        chosen = {clip.path for clip in clips if (clip.duration_s > limit if longer else clip.duration_s < limit)}
        return _some(chosen, f"is {reference} s", clips)
    if reference.startswith("is:"):
        return _with_trait(reference.removeprefix("is:"), clips)
    return _named(reference, clips)


def _in_range(number: int, count: int) -> int:
    if not 1 <= number <= count:
        raise ConfigError(f"There is no clip {number}: the report has {count}.", "Say a number or a name.")
    return number


def _named(name: str, clips: list[Clip]) -> set[str]:
    """The clips of this name: the whole path, else a pattern, else the one path that holds it."""
    paths = [clip.path for clip in clips]
    if name in paths:
        return {name}
    if any(sign in name for sign in "*?"):
        pattern = name.lower()
        chosen = {path for path in paths if fnmatch.fnmatchcase(path.lower(), pattern)}
        chosen |= {path for path in paths if fnmatch.fnmatchcase(path.lower().rpartition("/")[2], pattern)}
        return _some(chosen, f"is called like {displayed(name)!r:.100}", clips)
    meant = {path for path in paths if name.lower() in path.lower()}
    stems = {path for path in meant if path.lower().rpartition("/")[2].rpartition(".")[0] == name.lower()}
    if len(stems) == 1:
        return stems
    if len(meant) > 1:
        several = ", ".join(displayed(path) for path in sorted(meant)[:_EXAMPLES_SHOWN])
        raise ConfigError(f"{name!r:.100} names {len(meant)} clips: {several}.", f"Give one name, or *{name:.60}*.")
    return _some(meant, f"is called {displayed(name)!r:.100}", clips)


def _with_trait(trait: str, clips: list[Clip]) -> set[str]:
    if trait not in _TRAITS:
        raise ConfigError(f"is:{trait:.60} is no trait that was measured.", f"There are: {', '.join(TRAITS)}.")
    return _some({clip.path for clip in clips if _TRAITS[trait](clip)}, f"was found to be {_WORDS[trait]}", clips)


def _some(chosen: set[str], what: str, clips: list[Clip]) -> set[str]:
    if not chosen:
        names = ", ".join(displayed(clip.path) for clip in clips[:_EXAMPLES_SHOWN])
        more = f" and {len(clips) - _EXAMPLES_SHOWN} more" if len(clips) > _EXAMPLES_SHOWN else ""
        raise ConfigError(f"None of the {len(clips)} clips {what}.", f"There are {names}{more}: see report.html.")
    return chosen


def _flags(*ids: FlagId) -> Callable[[Clip], bool]:
    return lambda clip: any(flag.id in ids for flag in clip.flags)


def _is_below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def _shape(clip: Clip) -> float:
    """Width by height as it is shown; 1 where neither is known."""
    if not clip.width or not clip.height:
        return 1.0
    aspect = clip.width * clip.sample_aspect / clip.height
    return 1 / aspect if clip.rotation % 180 else aspect


_TRAITS: dict[str, Callable[[Clip], bool]] = {
    "dark": lambda clip: _flags("underexposed", "black")(clip) or _is_below(clip.measures.brightness, DARK),
    "bright": lambda clip: _flags("overexposed")(clip) or not _is_below(clip.measures.brightness or 0.0, BRIGHT),
    "blurry": _flags("blur"),
    "shaky": _flags("shake"),
    "noisy": _flags("noise"),
    "static": _flags("static"),
    "silent": lambda clip: clip.kind == "video" and clip.audio.status != "ok",
    "sound": lambda clip: clip.audio.status == "ok",
    "speech": lambda clip: (clip.audio.speech_fraction or 0.0) >= _SPOKEN,
    "music": lambda clip: clip.audio.music_likely is True,
    "vertical": lambda clip: _shape(clip) < 1,
    "horizontal": lambda clip: _shape(clip) > 1,
    "small": _flags("low_resolution"),
    "text": _flags("text_overlay"),
    "cuts": lambda clip: _flags("scene_cut", "gradual_transition")(clip) or bool(clip.measures.cuts_s),
    "duplicate": _flags("near_duplicate"),
    "loud": _flags("too_loud", "clipping"),
    "quiet": _flags("too_quiet"),
    "photo": lambda clip: clip.kind == "image",
    "flagged": lambda clip: any(flag.severity != "note" for flag in clip.flags),
}
_WORDS: dict[str, str] = {
    **{trait: trait for trait in TRAITS},
    "silent": "without sound",
    "sound": "with sound",
    "speech": "with speech",
    "music": "with music",
    "small": "low in resolution",
    "text": "with text on it",
    "cuts": "with cuts in it",
    "duplicate": "nearly the same as another",
    "photo": "a photo",
}
