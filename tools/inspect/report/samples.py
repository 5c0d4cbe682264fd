"""Cutting clips into samples: the working frame rate, and each clip's bucket and windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tools.inspect.report.report import Sample
from tools.inspect.report.sound_windows import Span, sound_samples
from trainer_core.data.buckets import (
    SHORTEST_VIDEO_FRAMES,
    Bucket,
    ClipExtent,
    choose_bucket,
    frames_at,
    least_tail,
    shots_of,
    windows,
)
from trainer_core.data.media.decode import LONGEST_AUDIO_PADDING_S
from trainer_core.data.media.probe import ClipProbe

WORKING_RATES = (24.0, 25.0, 30.0)
"""What LTX models are trained and sampled at; the first is the default where the clips don't say."""


@dataclass(frozen=True)
class Cut:
    """The samples of one clip, its frames at the working rate, and how many windows were dropped for lack of sound.

    `sounds` are windows for training on its sound alone.
    """

    bucket: Bucket | None
    samples: tuple[Sample, ...]
    frames_available: int
    without_sound: int = 0
    sound_too_short: bool = False
    sounds: tuple[Sample, ...] = ()


def working_frame_rate(probes: Sequence[ClipProbe]) -> float:
    """Return the rate of WORKING_RATES that suits most seconds; 50 fps counts for 25, 23.976 for 24."""
    votes = dict.fromkeys(WORKING_RATES, 0.0)
    for probe in probes:
        if probe.kind == "video" and probe.fps:
            votes[_nearest_rate(probe.fps)] += probe.duration_s
    return max(votes, key=lambda rate: votes[rate])


def extent(probe: ClipProbe, frame_rate: float, cuts_s: Sequence[float] = ()) -> ClipExtent | None:
    """Return the clip's offer to a bucket; None for audio alone."""
    if probe.kind == "audio" or not probe.width or not probe.height:
        return None
    available = frames_available(probe, frame_rate)
    shots = shots_of(available / frame_rate, frame_rate, cuts_s) if cuts_s else []
    return ClipExtent(probe.width, probe.height, available, tuple(frames for _, frames in shots))


def cuts_of(numbers: Mapping[str, Any]) -> list[float]:
    """Seconds of the cuts that were measured in a clip."""
    return [time_s for time_s, _ in numbers.get("scene_cut", {}).get("cuts", [])]


def frames_available(probe: ClipProbe, frame_rate: float) -> int:
    """Frames at the working rate: 1 for an image, never more real ones than were decoded when there are hardly any."""
    if probe.kind == "image":
        return 1
    frames = frames_at(probe.duration_s, frame_rate)
    return min(frames, probe.frames) if probe.frames < SHORTEST_VIDEO_FRAMES else frames


def cut(
    probe: ClipProbe,
    frame_rate: float,
    buckets: Sequence[Bucket],
    cuts_s: Sequence[float] = (),
    silences: Sequence[Span] = (),
    speech: Sequence[Span] = (),
    *,
    keep_tails: bool = False,
) -> Cut:
    """Cut a clip into consecutive samples of its bucket, none across a cut; nothing is enlarged.

    Stills take one-frame buckets. Tails shorter than half of the main length are left out unless `keep_tails`: the
    person named the lengths. A window in which the clip's sound is missing is dropped, unless it is missing in all of
    them. `silences` and `speech` are stretches of its sound, in seconds from where the sound begins.
    """
    available = frames_available(probe, frame_rate)
    if probe.kind == "audio":
        sounds = sound_samples(probe, silences, speech)
        return Cut(None, sounds, frames_at(probe.duration_s, frame_rate), sounds=sounds)
    assert probe.width is not None
    assert probe.height is not None
    eligible = [
        bucket
        for bucket in buckets
        if bucket.fits_inside(probe.width, probe.height) and (bucket.frames == 1) == (probe.kind == "image")
    ]
    longest_shot = max((frames for _, frames in shots_of(probe.duration_s, frame_rate, cuts_s)), default=0)
    bucket = choose_bucket(probe.width, probe.height, min(available, longest_shot) if cuts_s else available, eligible)
    sounds = sound_samples(probe, silences, speech)
    if bucket is None:
        return Cut(None, (), available, sounds=sounds)
    if probe.kind == "image":
        return Cut(bucket, (Sample(start_s=0.0, duration_s=1 / frame_rate, bucket=str(bucket)),), available)
    same_size = [one.frames for one in eligible if (one.width, one.height) == (bucket.width, bucket.height)]
    main = max(same_size)
    lengths = [frames for frames in same_size if frames <= bucket.frames]
    samples = tuple(
        Sample(
            start_s=start_s,
            duration_s=frames / frame_rate,
            bucket=str(Bucket(bucket.width, bucket.height, frames)),
        )
        for start_s, frames in windows(
            probe.duration_s, frame_rate, lengths, cuts_s, 1 if keep_tails else least_tail(main)
        )
    )
    return replace(_with_sound(probe, bucket, samples, available), sounds=sounds)


def _with_sound(probe: ClipProbe, bucket: Bucket, samples: tuple[Sample, ...], available: int) -> Cut:
    if probe.audio is None or not probe.audio.decodable:
        return Cut(bucket, samples, available)
    sound_ends_s = probe.audio.end_s + 0.9 * LONGEST_AUDIO_PADDING_S
    heard = tuple(sample for sample in samples if sample.start_s + sample.duration_s <= sound_ends_s)
    if not heard:
        return Cut(bucket, samples, available, without_sound=len(samples), sound_too_short=bool(samples))
    return Cut(bucket, heard, available, without_sound=len(samples) - len(heard))


def _nearest_rate(fps: float) -> float:
    """The working rate of which `fps` is nearest to a whole multiple, or to itself when it is slower."""

    def distance(rate: float) -> float:
        times = max(1, round(fps / rate))
        return abs(fps / (times * rate) - 1)

    return min(WORKING_RATES, key=distance)
