"""Any LTX LoRA from anywhere, read without refusing: what fits, what doesn't, what is missing.

Knows upstream's and ComfyUI's `diffusion_model.`, diffusers' `transformer.`, PEFT's `base_model.model.` keys, the
lora_A/lora_down spellings, `.alpha` tensors, and kohya's `lora_unet_…` names with underscores for dots.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from trainer_core.errors import ConfigError
from trainer_core.model.names import to_diffusers
from trainer_core.model.reader_keys import LORA_MODULES

_PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "base_model.model.transformer.",
    "base_model.model.",
    "transformer.",
)
_PARTS = re.compile(r"(.+?)\.(lora_A|lora_B|lora_down|lora_up)(?:\.default)?(?:\.weight)?")
_DOWN = ("lora_A", "lora_down")
_KOHYA = "lora_unet_"
_KOHYA_MODULES = {module.replace(".", "_").replace("_N_", "_#_"): module for module in LORA_MODULES}


@dataclass
class AdapterFile:
    """A LoRA as its file has it. `pairs` maps diffusers' module names to (A [r, in], B [out, r]), alpha/rank in B;
    `halves` have one matrix only; `unknown` are keys that say nothing to a LoRA of this kind."""

    path: Path
    metadata: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    halves: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    non_finite: list[str] = field(default_factory=list)

    @property
    def ranks(self) -> list[int]:
        """The different ranks of the modules, ascending."""
        return sorted({down.shape[0] for down, _ in self.pairs.values()})


def read_adapter(path: Path) -> AdapterFile:
    """Read `path`. Raises ConfigError when it is no safetensors file at all."""
    from safetensors import SafetensorError, safe_open

    found = AdapterFile(path)
    matrices: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    try:
        with safe_open(path, framework="pt") as file:
            found.metadata = dict(file.metadata() or {})
            for key in file.keys():  # noqa: SIM118
                _sort_in(key, file.get_tensor(key), found, matrices, alphas)
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path} is not a readable safetensors file: {error}.", "Give a LoRA in safetensors."
        ) from error
    for module, sides in matrices.items():
        if set(sides) != {"down", "up"} or sides["down"].shape[0] != sides["up"].shape[1]:
            found.halves.append(module)
            continue
        down, up = sides["down"].float(), sides["up"].float()
        found.pairs[module] = (down, up * (alphas[module] / down.shape[0]) if module in alphas else up)
    return found


def _sort_in(
    key: str, tensor: Tensor, found: AdapterFile, matrices: dict[str, dict[str, Tensor]], alphas: dict[str, float]
) -> None:
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        found.non_finite.append(key)
    if key.endswith(".alpha"):
        alphas[module_name(key.removesuffix(".alpha"))] = float(tensor)
        return
    parts = _PARTS.fullmatch(key)
    if parts is None or tensor.ndim != 2:
        found.unknown.append(key)
        return
    side = "down" if parts[2] in _DOWN else "up"
    matrices.setdefault(module_name(parts[1]), {})[side] = tensor


def module_name(name: str) -> str:
    """diffusers' name of the module that a key's stem names, in whichever convention it was written."""
    if name.startswith(_KOHYA):
        flat = name.removeprefix(_KOHYA)
        number = re.search(r"transformer_blocks_(\d+)_", flat)
        known = _KOHYA_MODULES.get(re.sub(r"(transformer_blocks)_\d+_", r"\1_#_", flat))
        if known is None:
            return flat
        return to_diffusers(known.replace(".N.", f".{number[1]}.") if number else known)
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return to_diffusers(name.removeprefix(prefix))
    return to_diffusers(name)
