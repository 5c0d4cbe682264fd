"""Local vision models that can caption here: in a folder or the hub's cache, and small enough for free memory.

Nothing is downloaded here: a model that isn't on this machine is named with its size, for a person to agree to.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_core.errors import ApprovalNeeded, ConfigError
from trainer_core.units import size_text

GIB = 2**30
WORKING_BYTES = 2 * GIB
"""Activations, the key-value cache and pictures beside the weights, for one clip."""
WEIGHTS_OVERHEAD = 1.1
MOST_BYTES_WITHOUT_GPU = 6 * GIB
"""Larger models take minutes a clip on a processor; `auto` leaves them alone, a person may still name one."""
NOT_CAPTIONERS = ("asr", "ocr", "speech", "audio", "transcribe", "chart", "shieldgemma", "pi0", "blip", "whisper")
SUGGESTED: tuple[tuple[str, int, bool], ...] = (
    ("Qwen/Qwen3-Omni-30B-A3B-Instruct", 66, True),
    ("Qwen/Qwen2.5-Omni-7B", 21, True),
    ("Qwen/Qwen3-VL-8B-Instruct", 17, False),
    ("Qwen/Qwen3-VL-4B-Instruct", 9, False),
    ("Qwen/Qwen3-VL-2B-Instruct", 5, False),
    ("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 2, False),
)
"""Hub models that caption video, with their size in GiB, about, and whether they hear: the best first."""


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine. `tokens_per_frame` is 0 where a picture's tokens follow from its size."""

    name: str
    folder: Path
    model_type: str
    weight_bytes: int
    hears: bool
    tokens_per_frame: int = 0

    @property
    def needed_bytes(self) -> int:
        return int(self.weight_bytes * WEIGHTS_OVERHEAD) + WORKING_BYTES


@dataclass(frozen=True)
class Machine:
    """Device that a model would run on, and its free bytes."""

    device: str
    free_bytes: int


def this_machine() -> Machine:
    """Return the first GPU, or the processor with the memory that is free."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return Machine("cuda", torch.cuda.mem_get_info()[0])
    return Machine("cpu", int(psutil.virtual_memory().available))


def find_local(model: str | None, *, asked: bool, notes: list[str]) -> LocalModel | None:
    """Return the model to caption with: `model`, the configured one, else the best cached one that fits.

    When nobody asked for a local model, None rather than an error. Raises ConfigError for one that can't be used here
    and ApprovalNeeded, with the size, for one that would have to be downloaded.
    """
    from tools.endpoint.settings import caption_settings

    named = model or caption_settings().local_model
    if named is not None:
        return _usable(_named(named))
    found = list(cached_models())
    if not found and not asked:
        return None
    machine = this_machine()
    most = MOST_BYTES_WITHOUT_GPU if machine.device == "cpu" else machine.free_bytes
    fitting = [entry for entry in found if entry.needed_bytes <= machine.free_bytes and entry.weight_bytes <= most]
    if fitting:
        chosen = max(fitting, key=lambda entry: (entry.hears, entry.weight_bytes))
        notes.append(f"Captioned by {chosen.name} on this machine ({machine.device}).")
        return chosen
    if not asked:
        return None
    name, gib = suggested(machine)
    raise ApprovalNeeded(
        f"No vision model on this machine that fits its {size_text(machine.free_bytes)} of free memory was found.",
        f"Agree to download {name} (about {size_text(gib * GIB)}): ltx-agent captions download {name}. Or name "
        "a folder: --captioner local:FOLDER.",
    )


def suggested(machine: Machine) -> tuple[str, int]:
    """Return the best hub model that would fit, and its size in GiB; the smallest when none would."""
    most = MOST_BYTES_WITHOUT_GPU if machine.device == "cpu" else machine.free_bytes
    for name, gib, _ in SUGGESTED:
        if gib * GIB * WEIGHTS_OVERHEAD + WORKING_BYTES <= machine.free_bytes and gib * GIB <= most:
            return name, gib
    return SUGGESTED[-1][0], SUGGESTED[-1][1]


def cached_models() -> Iterator[LocalModel]:
    """Yield the vision models that the hub's cache holds completely."""
    for name, folder in cached_snapshots():
        found = read_model(name, folder)
        if found is not None:
            yield found


def cached_snapshots() -> Iterator[tuple[str, Path]]:
    """Yield the hub's name and the newest folder of every model in the cache."""
    for repository in sorted(hub_cache().glob("models--*")):
        snapshots = sorted((repository / "snapshots").glob("*/config.json"), key=lambda path: path.stat().st_mtime)
        if snapshots:
            yield repository.name.removeprefix("models--").replace("--", "/"), snapshots[-1].parent


def hub_cache() -> Path:
    """Return the folder of the hub's cached files."""
    import os

    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(named).expanduser() if named else Path(home).expanduser() / "hub"


def read_model(name: str, folder: Path) -> LocalModel | None:
    """Return the vision model in a folder; None when it is another kind of model, or incomplete."""
    config = _json(folder / "config.json")
    weights = weight_files(folder)
    model_type = str(config.get("model_type", ""))
    if not weights or any(word in model_type for word in NOT_CAPTIONERS):
        return None
    parts = {**config, **(config.get("thinker_config") or {})}
    if not any(isinstance(parts.get(key), dict) for key in ("vision_config", "visual_config")):
        return None
    sizes = {**_json(folder / "processor_config.json"), **_json(folder / "preprocessor_config.json")}
    fixed = config.get("mm_tokens_per_image") or sizes.get("image_seq_len") or 0
    return LocalModel(
        name=name,
        folder=folder,
        model_type=model_type,
        weight_bytes=sum(path.stat().st_size for path in weights),
        hears=isinstance(parts.get("audio_config"), dict) and "gemma" not in model_type,
        tokens_per_frame=int(fixed) if isinstance(fixed, int) else 0,
    )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors of a model; none when one that the index names is missing."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        named = {str(name) for name in (_json(index).get("weight_map") or {}).values()}
        files = [folder / name for name in sorted(named)]
        return files if files and all(path.is_file() for path in files) else []
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


def _named(named: str) -> LocalModel:
    folder = Path(named).expanduser()
    if folder.is_dir():
        found = read_model(folder.name, folder.resolve())
        if found is None:
            raise ConfigError(
                f"{folder} holds no complete vision model: a config.json with a vision part, and all its safetensors.",
                "Give a folder as the hub lays it out.",
            )
        return found
    for name, snapshot in cached_snapshots():
        if name == named:
            cached = read_model(name, snapshot)
            if cached is not None:
                return cached
            raise ConfigError(f"The cached {named} is incomplete, or no vision model.", "Download it again.")
    if named.count("/") != 1 or named.startswith((".", "/", "~")):
        raise ConfigError(f"There is no folder {named}.", "Give a model's folder, or the name of a hub model.")
    raise ApprovalNeeded(
        f"The model {named} is not on this machine.", f"Agree to download it: ltx-agent captions download {named}."
    )


def _usable(found: LocalModel) -> LocalModel:
    machine = this_machine()
    if found.needed_bytes > machine.free_bytes:
        raise ConfigError(
            f"{found.name} needs about {size_text(found.needed_bytes)}; {size_text(machine.free_bytes)} are free "
            f"({machine.device}).",
            "Free some memory, or choose a smaller model.",
        )
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
