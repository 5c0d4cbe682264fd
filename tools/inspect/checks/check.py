"""A check's parts: a measure that watches the clip while it is decoded, and a judgement on what it measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.inspect.report.report import Flag
from tools.inspect.report.samples import Cut
from tools.inspect.scan.audio import Sound
from tools.inspect.scan.frame import Frame
from trainer_core.data.media.probe import ClipProbe

Numbers = dict[str, Any]
"""What a measure found, as JSON: numbers, short lists of numbers, spans in seconds."""


class Measure:
    """Watches one clip; what it keeps must not grow with the clip. Times in seconds from the first picture or sound."""

    def see(self, picture: Frame) -> None:
        """Take every picture."""

    def study(self, picture: Frame) -> None:
        """Take a few pictures per second, for what costs more."""

    def hear(self, sound: Sound) -> None:
        """Take all sound, a piece at a time."""

    def numbers(self) -> Numbers:
        """Say what was measured; called once, at the end."""
        return {}


@dataclass(frozen=True)
class Seen:
    """One decoded clip, what all measures found by the names of their checks, how it was cut into samples, its file."""

    probe: ClipProbe
    numbers: dict[str, Numbers]
    frame_rate: float
    cut: Cut
    file: Path

    @property
    def moving(self) -> bool:
        """True if it is a video rather than a still or sound alone."""
        return self.probe.kind == "video"

    @property
    def sound_start_s(self) -> float:
        """Start of the clip's audio on the frames' clock; 0 for audio alone."""
        return self.probe.audio.start_s if self.probe.audio is not None and self.probe.kind != "audio" else 0.0


@dataclass(frozen=True)
class Check:
    """A named check. `judge` turns what was seen into flags; it is cheap and runs again on every report."""

    name: str
    judge: Callable[[Seen], Iterator[Flag]]
    measure: type[Measure] | None = None
