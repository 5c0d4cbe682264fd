"""The list of checks that every clip goes through."""

from tools.inspect.checks.check import Check
from tools.inspect.checks.container import corrupt_tail, damaged_inside, header_mismatch
from tools.inspect.checks.picture import black, low_resolution, static
from tools.inspect.checks.sound import av_length_mismatch, no_audio, silent
from tools.inspect.checks.timing import low_fps, too_short, vfr

CHECKS: tuple[Check, ...] = (
    too_short,
    low_resolution,
    corrupt_tail,
    damaged_inside,
    header_mismatch,
    vfr,
    low_fps,
    static,
    black,
    no_audio,
    silent,
    av_length_mismatch,
)
