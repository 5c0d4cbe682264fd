"""report.json: what inspection found, clip by clip. Field names are part of the contract."""

import json
from collections.abc import Iterator
from typing import Literal

from trainer_core.strict import Strict

FlagId = Literal[
    "too_short",
    "low_resolution",
    "letterbox",
    "scene_cut",
    "gradual_transition",
    "static",
    "black",
    "flash",
    "blur",
    "noise",
    "underexposed",
    "overexposed",
    "flicker",
    "text_overlay",
    "shake",
    "near_duplicate",
    "vfr",
    "low_fps",
    "rotated",
    "odd_pixel_aspect",
    "interlaced",
    "hdr",
    "transparent",
    "no_audio",
    "silent",
    "clipping",
    "too_quiet",
    "too_loud",
    "audio_dropout",
    "low_sample_rate",
    "av_length_mismatch",
    "undecodable",
    "corrupt_tail",
    "header_mismatch",
    "name_collision",
    "mono",
    "unpaired",
]
Severity = Literal["block", "warn", "note"]
"""block: the clip can't be trained on; warn: look at it; note: handled, nothing to do."""
Status = Literal["ok", "flagged", "unusable", "unreadable"]
AudioStatus = Literal["ok", "none", "silent", "short", "undecodable"]
"""ok means that every sample of the clip has sound; short, that none has it from beginning to end."""
Kind = Literal["video", "image", "audio", "other"]
Role = Literal["clip", "audio", "reference_video", "reference_audio", "video_mask", "audio_mask"]
"""A clip of its own, or which column of another clip a file fills."""


class Document(Strict):
    """A part of report.json."""


class Flag(Document):
    """Something about a clip that a person should know; `value` is what was measured, `threshold` the limit for it."""

    id: FlagId
    severity: Severity
    value: float | str | None = None
    threshold: float | str | None = None
    start_s: float | None = None
    end_s: float | None = None
    message: str
    remedy: str


class Audio(Document):
    """The sound of a clip as decoded; null is what wasn't or can't be measured.

    `start_s`: when it starts on the pictures' clock. Loudness is EBU R128's integrated loudness and range. Speech is
    what Silero's detector takes for a voice (it can't tell singing or a cartoon's groan): seconds, and their share.
    `music_likely` is judged from measures (tools/inspect/checks/music.py) and null where they don't tell: `tonality` is
    the share of the sound that is in notes which are held, `pulse_clarity` how regularly sounds begin, both 0..1.
    """

    status: AudioStatus
    codec: str | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    start_s: float | None = None
    duration_s: float | None = None
    loudness_lufs: float | None = None
    loudness_range_lu: float | None = None
    peak_dbfs: float | None = None
    bandwidth_hz: float | None = None
    speech_s: float | None = None
    speech_fraction: float | None = None
    music_likely: bool | None = None
    tonality: float | None = None
    pulse_clarity: float | None = None


class Sample(Document):
    """One training sample: a stretch of the clip and the bucket (WxHxF) it is cut to; null for sound alone."""

    start_s: float
    duration_s: float
    bucket: str | None


class Measures(Document):
    """Measures over the whole clip; null is what wasn't measured.

    `brightness` (mean luma), `contrast` (its 5th to 95th percentile) and `motion` (mean change of luma from picture to
    picture) are in 0..1; `colourfulness` after Hasler and Suesstrunk 2003, about 0 (grey) to 100; `camera_motion` is
    the median speed of the whole picture in picture widths per second, `shake` the part of it that changes direction;
    `sharpness` is the share of fine detail, `noise` the standard deviation of grain in 8-bit luma steps.
    """

    brightness: float | None = None
    contrast: float | None = None
    colourfulness: float | None = None
    motion: float | None = None
    camera_motion: float | None = None
    shake: float | None = None
    sharpness: float | None = None
    noise: float | None = None
    cuts_s: list[float] = []
    sound_rms_dbfs: float | None = None


class Origin(Document):
    """Source of a remedied copy: the clip, what was done, and the second of the clip it begins at."""

    source: str
    path: str
    sha256: str
    remedy: str
    start_s: float


class Replaced(Document):
    """A clip whose place remedied copies have taken; seconds of it that no copy holds are `left_away_s`."""

    source: str
    path: str
    sha256: str
    remedy: str
    settings: str
    duration_s: float
    left_away_s: float
    copies: list[str]


class Clip(Document):
    """One file: `Path(source) / path`. `columns` are further files that belong to it, relative to `source`.

    A file of another `role` than "clip" belongs to the clip whose `columns` name it, and is of kind "other".
    `paired_by` says how they were brought together: "metadata", "name" or "folder".
    Clips of one `group` show nearly the same pictures: a split must keep them on one side. Null: on its own.
    `samples` have pictures where the clip has; `sound_samples` are for training on its sound alone.
    `scene` holds signatures of a few of its pictures (tools/inspect/scan/scenes.py), by which scenes are told apart.
    """

    source: str
    path: str
    sha256: str | None = None
    kind: Kind
    role: Role = "clip"
    status: Status
    duration_s: float = 0.0
    frames: int = 0
    fps: float | None = None
    vfr: bool = False
    width: int | None = None
    height: int | None = None
    rotation: int = 0
    sample_aspect: float = 1.0
    codec: str | None = None
    pixel_format: str | None = None
    bit_depth: int | None = None
    transfer: str | None = None
    interlaced: bool = False
    group: str | None = None
    audio: Audio = Audio(status="none")
    samples: list[Sample] = []
    sound_samples: list[Sample] = []
    flags: list[Flag] = []
    measures: Measures = Measures()
    scene: list[str] = []
    columns: dict[str, str] = {}
    paired_by: str | None = None
    origin: Origin | None = None


class ObjectiveVerdict(Document):
    """Tells if some clip has all that the objective reads, and which dataset columns are missing.

    `clips` have all of it; `lacking` says how many usable clips lack each column that it reads.
    """

    possible: bool
    missing: list[str]
    clips: int = 0
    lacking: dict[str, int] = {}


class BucketCount(Document):
    """A bucket and how many clips are cut to it."""

    width: int
    height: int
    frames: int
    clips: int


class Seconds(Document):
    """Seconds of decodable footage, of samples, and the difference."""

    total: float
    kept: float
    discarded: float


class Spread(Document):
    """Spread of a measure over the usable clips: its 10th percentile, median and 90th."""

    p10: float
    p50: float
    p90: float


class SizeCount(Document):
    """A picture size and how many clips have it."""

    width: int
    height: int
    clips: int


LossReason = FlagId | Literal["remainder"]
"""The flag that keeps footage out of samples; remainder: it is left over at the ends."""


class Lost(Document):
    """Seconds of footage that no sample holds, and why."""

    reason: LossReason
    seconds: float
    clips: int


class Dataset(Document):
    """The clips as a whole. Variety is measured, not promised: it says how different pictures are, not how useful.

    `groups` counts clips that look alike as one; `picture_distance` is the median difference of two clips' pictures, 0
    (the same) to 1 (unrelated), by their signatures.
    """

    sizes: list[SizeCount] = []
    aspects: dict[str, int] = {}
    duration_s: Spread | None = None
    lost: list[Lost] = []
    groups: int = 0
    near_duplicates: int = 0
    picture_distance: float | None = None
    spreads: dict[str, Spread] = {}


class Summary(Document):
    """Counts of files by status (`other` are not media) and by kind, and the working frame rate."""

    files: int
    ok: int
    flagged: int
    unusable: int
    unreadable: int
    other: int
    videos: int
    images: int
    audio_files: int
    samples: int
    frame_rate: float


class Report(Document):
    """The whole document."""

    summary: Summary
    objectives: dict[str, ObjectiveVerdict]
    buckets: list[BucketCount]
    seconds: Seconds
    dataset: Dataset = Dataset()
    clips: list[Clip]
    replaced: list[Replaced] = []
    notes: list[str] = []

    def pieces(self) -> Iterator[str]:
        """This document as JSON, a clip at a time: those of a large folder would fill the memory at once."""
        rest = json.dumps(self.model_dump(exclude={"clips"}), indent=2, ensure_ascii=False, allow_nan=False)
        yield rest[: rest.rindex("\n}")] + ',\n  "clips": ['
        for number, clip in enumerate(self.clips):
            row = json.dumps(clip.model_dump(), ensure_ascii=False, allow_nan=False)
            yield f"{',' if number else ''}\n    {row}"
        yield "\n  ]\n}\n"
