"""Cutting sound alone into samples: windows of 5 to 20 s that begin and end in pauses, silence left out. No media.

The lengths are those that upstream trains audio on: one second is 25 tokens, so that 20 s are still a small step.
"""

import itertools
import math
from collections.abc import Sequence

from tools.inspect.report.report import Sample
from trainer_core.data.media.probe import ClipProbe

Span = tuple[float, float]
"""Begin and end in seconds."""

LEAST_S, MOST_S = 5.0, 20.0
"""A window of sound; a file that is shorter makes one sample of its own length."""
SHORTEST_FILE_S = 1.0
"""Less sound than this is no sample, unless the file is nothing else."""
SKIPPED_SILENCE_S = 2.0
"""Silence of this length and longer is no part of a window; in shorter pauses windows may begin and end."""
MARGIN_S = 0.2
"""Silence that stays before and after the sound, so that no word or fading note is clipped."""
SHORTEST_PAUSE_S = 0.25
"""Between two stretches of speech; a window may end in it."""


def sound_samples(probe: ClipProbe, silences: Sequence[Span], speech: Sequence[Span] = ()) -> tuple[Sample, ...]:
    """The samples for training on a clip's sound alone; none where it has no sound that decodes.

    `silences` and `speech` count from where the sound begins; the samples' times are on the clip's clock.
    """
    audio = probe.audio
    if audio is None or not audio.decodable:
        return ()
    begins_s = 0.0 if probe.kind == "audio" else max(0.0, audio.start_s)
    skipped_s = begins_s - (0.0 if probe.kind == "audio" else audio.start_s)  # sound before the first picture
    lasts_s = probe.duration_s if probe.kind == "audio" else min(audio.end_s, probe.duration_s) - begins_s
    silent, spoken = ([(start - skipped_s, end - skipped_s) for start, end in spans] for spans in (silences, speech))
    return tuple(
        Sample(start_s=round(begins_s + start, 4), duration_s=round(end - start, 4), bucket=None)
        for start, end in sound_windows(lasts_s, silent, spoken)
    )


def sound_windows(duration_s: float, silences: Sequence[Span], speech: Sequence[Span] = ()) -> list[Span]:
    """Windows of `duration_s` seconds of sound, in order and none overlapping; they end in pauses where there are any.

    Whole files of up to MOST_S without long silence are one window. What is left over and shorter than half of LEAST_S
    is left out, unless it is all there is.
    """
    whole = (0.0, duration_s)
    gaps = [(one[1], other[0]) for one, other in itertools.pairwise(speech) if other[0] - one[1] >= SHORTEST_PAUSE_S]
    pauses = [(start + end) / 2 for start, end in [*silences, *gaps]]
    found = [window for heard in _heard(duration_s, silences) for window in _parts(heard, pauses)]
    long_enough = [one for one in found if _length(one) >= LEAST_S / 2]
    if long_enough:
        return long_enough
    short = [one for one in found if _length(one) >= SHORTEST_FILE_S] or found
    return [max(short, key=_length)] if short else [whole] if not silences else []


def _heard(duration_s: float, silences: Sequence[Span]) -> list[Span]:
    """The stretches between long silences, with a margin of the silence around them."""
    found = []
    begin = 0.0
    for start, end in sorted(silences):
        edge = start <= MARGIN_S or end >= duration_s - MARGIN_S
        if end - start < SKIPPED_SILENCE_S and not edge:
            continue
        found.append((begin, min(start + MARGIN_S, duration_s)))
        begin = max(begin, end - MARGIN_S)
    found.append((begin, duration_s))
    return [(start, end) for start, end in found if end - start > 2 * MARGIN_S]


def _parts(heard: Span, pauses: Sequence[float]) -> list[Span]:
    """A stretch as windows of at most MOST_S that end in pauses where there are some, else of even lengths.

    The last two share what is left evenly, so that none is short.
    """
    begin, end = heard
    found = []
    while end - begin > MOST_S:
        furthest = min(MOST_S, end - begin - LEAST_S)
        reachable = [pause for pause in pauses if begin + LEAST_S <= pause <= begin + furthest]
        here = max(reachable, default=begin + (end - begin) / math.ceil((end - begin) / MOST_S))
        found.append((begin, here))
        begin = here
    return [*found, (begin, end)]


def _length(window: Span) -> float:
    return window[1] - window[0]
