"""Looking at one file: its hash, what decoding it gives, what the checks measured; or why it can't be decoded."""

import stat
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from tools.inspect.checks.all import CHECKS
from tools.inspect.checks.check import Measure, Numbers
from tools.inspect.discover.media_file import expected_kind
from tools.inspect.report.report import Kind
from tools.inspect.scan.audio import Narrower, Sound
from tools.inspect.scan.exposure import Light
from tools.inspect.scan.frame import Frame
from tools.inspect.scan.thumbnails import ContactSheet, Curves
from trainer_core.data.media.probe import AudioProbe, ClipProbe, probe
from trainer_core.errors import DataError
from trainer_core.files import file_digest

STUDY_INTERVAL_S = 0.25
"""Costly measures look at four pictures per second."""
HEARING_S = 1.0
"""Sound is heard in pieces of this length: decoders give it in much smaller ones."""
LARGEST_GAP_S = 0.02


@dataclass(frozen=True)
class Look:
    """Result of one file. `probe` is None when it isn't media (`error` None) or can't be decoded (`error` says why).

    `sheet` is a contact sheet, a JPEG in base64.
    """

    kind: Kind
    probe: ClipProbe | None = None
    error: str | None = None
    hint: str = ""
    sha256: str | None = None
    numbers: dict[str, Numbers] = field(default_factory=dict)
    sheet: str | None = None

    def document(self) -> dict[str, Any]:
        """This look as JSON."""
        return asdict(self)


def read_look(document: dict[str, Any]) -> Look:
    """The look that `document` was made of."""
    found = document["probe"]
    if found is not None:
        found = dict(found)
        audio = found.pop("audio")
        found = ClipProbe(**found, audio=AudioProbe(**audio) if audio is not None else None)
    return Look(**{**document, "probe": found})


def look_at(file: Path, alive: Callable[[], None] | None = None) -> Look:
    """Decode one file, once. A file that can't be decoded is a finding, not an exception.

    `alive` is called for every picture and piece of sound.
    """
    expected = expected_kind(file)
    digest: str | None = None
    watcher = Watcher(alive)
    try:
        digest = digest_of(file)
        seen = probe(file, (watcher,))
    except DataError as error:
        if expected == "other":
            return Look("other", sha256=digest)
        return Look(expected, error=error.message, hint=error.hint, sha256=digest)
    return Look(seen.kind, seen, sha256=digest, numbers=watcher.numbers(), sheet=watcher.sheet.jpeg(seen))


def digest_of(file: Path) -> str:
    """The sha256 of a regular file. Raises DataError when it can't be read."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{file.name!r} is not a regular file.", "Remove it from the clips folder.")
        return file_digest(file)
    except OSError as error:
        raise DataError(
            f"{file.name!r} can't be read: {error.strerror or error}.",
            "Check that it exists and that you may read it.",
        ) from error


class Watcher:
    """Shows every measure what is decoded: the small picture of all, the details of a few per second, all sound."""

    def __init__(self, alive: Callable[[], None] | None = None) -> None:
        self.sheet = ContactSheet()
        self._named: dict[str, Measure] = {check.name: check.measure() for check in CHECKS if check.measure is not None}
        self._named |= {"light": Light(), "curves": Curves()}
        measures = [*self._named.values(), self.sheet]
        self._seeing = _overriding(measures, "see")
        self._studying = _overriding(measures, "study")
        self._hearing = _overriding(measures, "hear")
        self._alive = alive
        self._converter = VideoReformatter()
        self._previous: Frame | None = None
        self._pictures = 0
        self._next_study_s = 0.0
        self._narrower = Narrower()
        self._fifo = AudioFifo()
        self._sound_form: tuple[int, str, str] | None = None
        self._sound_s = self._next_sound_s = 0.0

    def see(self, time_s: float, frame: VideoFrame) -> None:
        picture = Frame(self._pictures, time_s, frame, self._converter, self._previous)
        for see in self._seeing:
            see(picture)
        if time_s >= self._next_study_s - 1e-6:
            self._next_study_s = time_s + STUDY_INTERVAL_S
            for study in self._studying:
                study(picture)
        picture.forget()
        self._previous = picture
        self._pictures += 1
        if self._alive is not None:
            self._alive()

    def hear(self, time_s: float, frame: AudioFrame) -> None:
        form = frame.sample_rate, frame.layout.name, frame.format.name
        if form != self._sound_form or abs(time_s - self._next_sound_s) > LARGEST_GAP_S:
            self._drain()
            self._sound_form, self._next_sound_s = form, time_s
            self._fifo, self._sound_s = AudioFifo(), time_s
        frame.pts = None
        self._fifo.write(frame)
        self._next_sound_s += frame.samples / frame.sample_rate
        if self._fifo.samples >= HEARING_S * frame.sample_rate:
            self._drain()
        if self._alive is not None:
            self._alive()

    def _drain(self) -> None:
        """Play the measures what has gathered."""
        if not self._fifo.samples:
            return
        frame = self._fifo.read(self._fifo.samples)
        if frame is None:
            return
        sound = Sound(self._sound_s, frame, self._narrower)
        self._sound_s += frame.samples / frame.sample_rate
        for hear in self._hearing:
            hear(sound)

    def numbers(self) -> dict[str, Numbers]:
        """Return the numbers of all measures, by the name of the check."""
        self._drain()
        return {name: measure.numbers() for name, measure in self._named.items()}


def _overriding(measures: Iterable[Measure], method: str) -> list[Callable[..., None]]:
    """The bound methods of those measures that have one of their own: the others needn't be called."""
    return [getattr(each, method) for each in measures if getattr(type(each), method) is not getattr(Measure, method)]
