"""The gain that brings recordings to one loudness where sound is learned alone."""

from tools.inspect.remedies.plans import HIGHEST_PEAK_DBFS, TARGET_LUFS
from tools.inspect.report.report import Clip

LEAST_GAIN_DB = 1.0
"""Smaller differences of level aren't heard, and change no cached latents."""


def even_gain_db(clip: Clip) -> float:
    """The gain that brings a clip's sound to TARGET_LUFS, as far as its peak allows; 0 where it hardly differs.

    Sound that is learned alone is levelled: else the loudest recordings would weigh most.
    """
    if clip.audio.loudness_lufs is None:
        return 0.0
    gain_db = TARGET_LUFS - clip.audio.loudness_lufs
    if clip.audio.peak_dbfs is not None:
        gain_db = min(gain_db, max(0.0, HIGHEST_PEAK_DBFS - clip.audio.peak_dbfs) if gain_db > 0 else gain_db)
    return round(gain_db, 1) if abs(gain_db) >= LEAST_GAIN_DB else 0.0
