"""What every check sees, and what a check is: a function from it to flags."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.inspect.measures import PictureMeasures, SoundMeasures
from tools.inspect.report import Flag
from tools.inspect.samples import Cut
from trainer_core.data.probe import ClipProbe


@dataclass(frozen=True)
class Seen:
    """One decoded clip, its measures, the working frame rate and how it was cut into samples."""

    probe: ClipProbe
    picture: PictureMeasures
    sound: SoundMeasures
    frame_rate: float
    cut: Cut


Check = Callable[[Seen], list[Flag]]
