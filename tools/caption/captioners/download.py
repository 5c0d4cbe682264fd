"""Fetching a vision or speech model from the hub, after a person agreed: safetensors and settings, never code."""

import os
from typing import Annotated, Any

from pydantic import Field

from tools.caption.captioners.local_models import GIB, hub_cache, suggested, this_machine
from tools.project import Progress, Project
from tools.spec import CostLine, Preview, nothing
from trainer_core.errors import ConfigError, ExternalError
from trainer_core.files import refuse_full_disk
from trainer_core.strict import Strict
from trainer_core.units import size_text

MIB = 2**20
WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


class DownloadArguments(Strict):
    """The model to fetch."""

    model: Annotated[
        str | None,
        Field(
            pattern=r"^[\w.-]+/[\w.-]+$",
            description="A hub model, such as Qwen/Qwen3-VL-4B-Instruct; null: the best one that fits this machine.",
        ),
    ] = None


class DownloadResult(Strict):
    """The fetched model, and its folder."""

    model: str
    gib: float
    folder: str


def download_captioner(
    _project: Project | None,
    arguments: DownloadArguments,
    progress: Progress | None = None,
) -> DownloadResult:
    """Download a vision (or Whisper) model from the hub, so that captions can be written on this machine.

    After an interruption the files that are there already aren't fetched again.
    """
    from huggingface_hub import snapshot_download

    name = arguments.model or suggested(this_machine())[0]
    size = hub_size(name)
    place = hub_cache()
    place.mkdir(parents=True, exist_ok=True)
    refuse_full_disk(place, size, name, "Free some space, or set HF_HUB_CACHE to another disk.")
    try:
        folder = snapshot_download(
            name, allow_patterns=list(WANTED), cache_dir=hub_cache(), tqdm_class=_reporting(name, size, progress)
        )
    except Exception as error:
        raise _explained(name, error) from error
    return DownloadResult(model=name, gib=round(size / GIB, 1), folder=str(folder))


def preview_download(_project: Project | None, arguments: DownloadArguments) -> Preview:
    """Return the user's card: the model, its licence where the hub says it, and the disk it takes."""
    name = arguments.model or suggested(this_machine())[0]
    size = hub_size(name)
    lines = [
        f"{name} comes from the hub into {hub_cache()}.",
        "Its licence is its makers' own: read it on the model's page.",
    ]
    costs = [
        CostLine("disk", size_text(size), float(size), "measured"),
        CostLine("time", "as long as your line takes"),
        *nothing("memory", "money"),
    ]
    return Preview(f"Download {name}?", lines, costs)


def hub_size(name: str) -> int:
    """Return the bytes of what would be fetched. Raises ExternalError when the hub can't be asked."""
    from fnmatch import fnmatch

    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(name, files_metadata=True, timeout=20).siblings or []
    except Exception as error:
        raise _explained(name, error) from error
    sizes = [file.size or 0 for file in files if any(fnmatch(file.rfilename, pattern) for pattern in WANTED)]
    if not any(file.rfilename.endswith(".safetensors") for file in files):
        raise ConfigError(f"{name} has no safetensors.", "Choose another model: pickled weights aren't loaded.")
    return sum(sizes)


def _reporting(name: str, size: int, progress: Progress | None) -> Any:
    """A bar class for the hub's client that draws nothing and tells `progress` of the bytes, in MiB."""
    from huggingface_hub.utils import tqdm

    total = max(1, round(size / MIB))

    class Reporting(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.counts_bytes = options.get("unit") == "B"
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})
            self.seen = int(options.get("initial") or 0)
            if self.counts_bytes:
                self.told()

        def update(self, n: float | None = 1) -> None:  # a disabled bar counts nothing by itself
            self.seen += int(n or 0)
            if self.counts_bytes:
                self.told()

        def told(self) -> None:
            if progress is not None:
                done = min(total, round(self.seen / MIB))
                progress(f"downloading {name} · MiB", done, total)

    return Reporting


def _explained(name: str, error: Exception) -> ExternalError | ConfigError:
    if isinstance(error, ConfigError | ExternalError):
        return error
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return ExternalError(f"{name} wants its licence accepted first.", "Accept it on the hub, then `hf auth login`.")
    if isinstance(error, RepositoryNotFoundError):
        return ConfigError(f"The hub has no model {name}.", "Check its name.")
    offline = " The hub is switched off here (HF_HUB_OFFLINE)." if os.environ.get("HF_HUB_OFFLINE") else ""
    return ExternalError(f"The hub can't be reached ({type(error).__name__}).{offline}", "Check the network.")
