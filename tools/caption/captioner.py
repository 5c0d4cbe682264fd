"""What a captioner is: something that gives a clip its caption, or has none for it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

CaptionSource = Literal["existing", "endpoint", "local", "measured", "person"]


@dataclass(frozen=True)
class ClipFile:
    """A clip to caption; `name` is its path as the report spells it."""

    path: Path
    name: str
    kind: Literal["video", "image", "audio"]


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


class Captioner(Protocol):
    """Gives captions; must not write anything."""

    def caption(self, clip: ClipFile) -> CaptionDraft | None:
        """Return the clip's caption, or None when this captioner has none for it."""
        ...
