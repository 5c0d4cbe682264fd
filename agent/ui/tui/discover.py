"""Discovery at a first run: folders of clips, projects, model files, endpoints that answer. No Textual.

Looks at names alone and not far: opening a screen never scans a disk.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.media_types import SUFFIXES

DEPTH = 3
MOST_ENTRIES = 20_000
MOST_FOLDERS = 12
_LEFT_OUT = frozenset({"ltx-projects", "node_modules", "__pycache__", "venv", "site-packages", "build", "dist"})


@dataclass(frozen=True)
class ClipFolder:
    """A folder that holds media, and how many of each kind."""

    path: Path
    videos: int
    stills: int
    sounds: int

    @property
    def says(self) -> str:
        counts = ((self.videos, "video"), (self.stills, "still"), (self.sounds, "sound"))
        return ", ".join(f"{count} {name}{'s' if count != 1 else ''}" for count, name in counts if count)


@dataclass(frozen=True)
class Found:
    """What was found around `here`."""

    here: Path
    folders: tuple[ClipFolder, ...]
    projects: tuple[Path, ...]
    models: tuple[Path, ...]
    answers: str
    gpu: str


def look_around(here: Path, environment: Mapping[str, str] = os.environ) -> Found:
    """Return what lies in `here` and a little below."""
    folders: list[ClipFolder] = []
    models: list[Path] = []
    for folder, names in _walk(here):
        suffixes = [Path(name).suffix.lower() for name in names]
        counts = [sum(suffix in kind for suffix in suffixes) for kind in SUFFIXES.values()]
        if counts[0] or counts[2] or counts[1] >= 5:
            folders.append(ClipFolder(folder, *counts))
        models += [folder / name for name in names if name.endswith(".safetensors") and "ltx" in name.lower()]
    folders.sort(key=lambda found: (-found.videos, -found.sounds, -found.stills, str(found.path)))
    projects = sorted(here.glob("ltx-projects/*/project.json"), key=lambda path: -path.stat().st_mtime)
    return Found(
        here,
        tuple(folders[:MOST_FOLDERS]),
        tuple(path.parent for path in projects),
        tuple(sorted(models)[:MOST_FOLDERS]),
        _who_answers(environment),
        _gpu(),
    )


def _walk(here: Path) -> Iterator[tuple[Path, list[str]]]:
    seen = 0
    for root, folders, names in os.walk(here):
        depth = len(Path(root).relative_to(here).parts)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _LEFT_OUT and depth < DEPTH
        )
        if "project.json" in names:
            folders[:] = []
            continue
        seen += len(names) + len(folders)
        yield Path(root), names
        if seen > MOST_ENTRIES:
            return


def _who_answers(environment: Mapping[str, str]) -> str:
    name = environment.get("LTX_AGENT_MODEL")
    if name:
        where = environment.get("LTX_AGENT_BASE_URL") or environment.get("OPENAI_BASE_URL") or "the OpenAI endpoint"
        return f"{name} at {where}"
    return "the built-in planner (rules, no language model); set LTX_AGENT_MODEL to use one"


def _gpu() -> str:
    """The GPUs that the driver lists; reading its files starts nothing."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = []
    for card in cards:
        try:
            lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        names += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    if names:
        return ", ".join(names)
    if shutil.which("nvidia-smi"):
        return "an NVIDIA driver; `ltx-agent check` says what fits"
    return "none found: the tiny random model trains on the CPU, to try the whole path"
