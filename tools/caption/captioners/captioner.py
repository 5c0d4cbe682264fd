"""The captioner's interface: gives a clip its caption, or says why it has none for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from tools.endpoint.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    import numpy as np

CaptionSource = Literal["existing", "endpoint", "local", "measured", "person"]
Style = Literal["ltx", "short", "tags", "audio", "edit"]
"""How a caption is written: one long paragraph of picture and sound (LTX's own way), one sentence, tags, the sound
alone, or the change from a reference to its target."""


@dataclass(frozen=True)
class ClipFile:
    """A clip to caption; `name` is its path as a person sees it. `reference` and `reference_sound` are what an edit
    starts from.

    `has_sound` is what inspection measured, `speech_s` the seconds of speech in it; None where nobody measured it.
    """

    path: Path
    name: str
    kind: Literal["video", "image", "audio"]
    has_sound: bool | None = None
    speech_s: float | None = None
    music_likely: bool | None = None
    duration_s: float = 0.0
    reference: Path | None = None
    reference_sound: Path | None = None


@dataclass(frozen=True)
class CaptionFrame:
    """One picture of a clip, uint8 [H, W, 3] RGB, upright, with square pixels, and its time in seconds."""

    time_s: float
    rgb: "np.ndarray"


@dataclass(frozen=True)
class Transcript:
    """Words spoken in a clip, verbatim; `origin` says who heard them, `language` is an ISO code where it is known."""

    text: str
    origin: str
    language: str | None = None


@dataclass(frozen=True)
class Instruction:
    """Instruction for a captioner, and the version of it that each caption made with it carries."""

    text: str
    style: Style
    version: str


@dataclass(frozen=True)
class CaptionRequest:
    """All that a captioner is given of one clip. Neither names nor folders are in it.

    `sound` is float32 [N] at SOUND_RATE_HZ, None where there is none; `reference` and `reference_sound` are what an
    edit starts from; `hint` is one more sentence for this clip alone.
    """

    clip: ClipFile
    instruction: Instruction
    frames: tuple[CaptionFrame, ...] = ()
    reference: tuple[CaptionFrame, ...] = ()
    sound: "np.ndarray | None" = None
    reference_sound: "np.ndarray | None" = None
    transcript: Transcript | None = None
    hint: str = ""


@dataclass(frozen=True)
class CaptionDraft:
    """A caption as a captioner gives it. `frames_s` are the times that were looked at; `flags` map ids to messages."""

    caption: str
    source: CaptionSource
    needs_review: bool
    model: str | None = None
    instruction_version: str | None = None
    frames_s: list[float] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)
    heard: bool = False
    usage: Usage = NO_USAGE


@dataclass(frozen=True)
class Declined:
    """A captioner's word that it has no caption for a clip, and why; `id` is the flag the clip then carries."""

    id: Literal["refusal", "failed"]
    message: str
    usage: Usage = NO_USAGE


@dataclass(frozen=True)
class PictureBudget:
    """Budget of one request's frames: tokens in all, frames, pixels of the longer side.

    `tokens_per_frame` is what a picture costs a model that has a fixed price for one; 0: it follows from its size.
    """

    tokens: int = 8000
    fewest: int = 4
    most: int = 16
    a_second: float = 2.0
    longest_side: int = 768
    smallest_side: int = 384
    tokens_per_frame: int = 0


class Captioner(Protocol):
    """Gives captions to prepared clips, in batches, several at a time; writes nothing and has no tools.

    `sees` and `hears` say what of a request it can use, `budget` how many pictures of which size. Clips fail one by
    one, as Declined; an LtxError means that going on is pointless. `concurrency` batches are worked on at once, and
    `waiting` more may be handed over, which it makes ready meanwhile and holds back until there is room.
    """

    @property
    def source(self) -> CaptionSource: ...
    @property
    def model(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def sees(self) -> bool: ...
    @property
    def hears(self) -> bool: ...
    @property
    def budget(self) -> PictureBudget: ...
    @property
    def assumed_speed(self) -> tuple[float, float]:
        """Tokens per second read and written, guessed, for the time before any clip was timed."""
        ...

    async def open(self) -> None:
        """Get in touch with the model, before the first clip is prepared. Raises ExternalError or ConfigError."""
        ...

    async def caption(self, requests: Sequence[CaptionRequest]) -> list[CaptionDraft | Declined]:
        """Return one answer a request, in order. Raises ExternalError or ConfigError."""
        ...

    async def close(self) -> None:
        """Let go of connections and memory."""
        ...
