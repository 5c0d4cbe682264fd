"""`samples/index.json`: what was sampled, for whoever shows it: page, TUI, status, model card. No torch.

Files are relative to the folder of the index.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer_core.files import read_json, write_json

INDEX_NAME = "index.json"
PAGE_NAME = "index.html"
TINY_NOTE = "Made by a tiny random model: this is noise and says nothing about any adapter."


@dataclass(frozen=True)
class PromptRow:
    """One thing that was sampled, at every step the same. `kind` says where the prompt comes from."""

    id: str
    kind: str
    prompt: str
    seed: int
    conditions: list[str]
    width: int
    height: int
    frames: int
    frame_rate: float
    steps: int
    sheet: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SampleRow:
    """One file. `adapter` False is the base model at the same seed; `step` is that of the weights."""

    prompt: str
    step: int
    adapter: bool
    kind: str
    file: str
    poster: str
    seconds: float
    created_at: float

    @property
    def label(self) -> str:
        """Name of what made it, in a word or two; a file from elsewhere may not say its step, which then is 0."""
        return "base" if not self.adapter else f"step {self.step}" if self.step else "adapter"


@dataclass
class SampleIndex:
    """The whole index; `tiny` means that the pictures are noise."""

    model: str
    tiny: bool
    prompts: list[PromptRow] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)

    def holds(self, prompt: str, step: int, adapter: bool) -> bool:
        return any((row.prompt, row.step, row.adapter) == (prompt, step, adapter) for row in self.samples)

    def base_of(self, prompt: str) -> SampleRow | None:
        return next((row for row in self.samples if row.prompt == prompt and not row.adapter), None)

    def of(self, prompt: str) -> list[SampleRow]:
        """The samples of a prompt: the base first, then by step."""
        return sorted((row for row in self.samples if row.prompt == prompt), key=lambda row: (row.adapter, row.step))

    def with_prompt(self, row: PromptRow) -> None:
        """Add or replace a prompt."""
        self.prompts = sorted([*(one for one in self.prompts if one.id != row.id), row], key=lambda one: one.id)

    def document(self) -> dict[str, Any]:
        return {
            "version": 1,
            "model": self.model,
            "tiny": self.tiny,
            "note": TINY_NOTE if self.tiny else None,
            "page": PAGE_NAME,
            "prompts": [asdict(row) for row in self.prompts],
            "samples": [asdict(row) for row in self.samples],
        }

    def write(self, folder: Path) -> None:
        write_json(folder / INDEX_NAME, self.document())


def read_index(folder: Path) -> SampleIndex | None:
    """Return the index in `folder`, None when nothing was sampled there yet."""
    path = folder / INDEX_NAME
    if not path.exists():
        return None
    document = read_json(path)
    known_prompt, known_sample = PromptRow.__dataclass_fields__, SampleRow.__dataclass_fields__
    return SampleIndex(
        model=document["model"],
        tiny=document["tiny"],
        prompts=[PromptRow(**{k: v for k, v in row.items() if k in known_prompt}) for row in document["prompts"]],
        samples=[SampleRow(**{k: v for k, v in row.items() if k in known_sample}) for row in document["samples"]],
    )


def forget_after(folder: Path, step: int) -> None:
    """Take the samples of steps after `step` out of the index: a run that goes back makes them again."""
    index = read_index(folder)
    if index is not None:
        index.samples = [row for row in index.samples if not row.adapter or row.step <= step]
        index.write(folder)
