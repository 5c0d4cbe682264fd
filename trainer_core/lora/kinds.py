"""The kinds of adapter that train (`ltx_agent.lora.kind`): PEFT's layers for each, and the form that each is saved in.

Everything is saved with its strength folded in, for readers fuse plain products.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainer_core.errors import ConfigError
from trainer_core.lora.act import linears_of
from trainer_core.lora.changes import Kronecker, LayerChange, LowRank, whole
from trainer_core.sections.own import LoraKindSection
from trainer_core.sections.run import LoraSection

Parts = dict[str, Tensor]


def strength_of(section: LoraSection, kind: LoraKindSection) -> float:
    """Return the factor of the matrices' product: alpha/rank, for rsLoRA alpha/√rank (Kalajdzievski 2023)."""
    return section.alpha / (math.sqrt(section.rank) if kind.kind == "rslora" else section.rank)


def peft_config(section: LoraSection, kind: LoraKindSection, targets: list[str]) -> Any:
    """PEFT's settings of an adapter of `kind` on the layers `targets`."""
    return _CONFIGS[kind.kind](section, kind, targets)


def _low_rank(section: LoraSection, kind: LoraKindSection, targets: list[str]) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=section.rank,
        lora_alpha=section.alpha,
        lora_dropout=section.dropout,
        target_modules=targets,
        use_rslora=kind.kind == "rslora",
        use_dora=kind.kind == "dora",
    )


def _kronecker(section: LoraSection, kind: LoraKindSection, targets: list[str]) -> Any:
    from peft import LoKrConfig

    return LoKrConfig(
        r=section.rank,
        alpha=section.alpha,
        target_modules=targets,
        decompose_factor=kind.factor,
        init_weights="lycoris",  # the large factor starts at zero, as the tools do whose advice people follow
    )


_CONFIGS: dict[str, Callable[[LoraSection, LoraKindSection, list[str]], Any]] = {
    "lora": _low_rank,
    "rslora": _low_rank,
    "dora": _low_rank,
    "lokr": _kronecker,
}


def saved_parts(transformer: Any, state: Mapping[str, Tensor], strength: float) -> dict[str, Parts]:
    """Return each module's saved parts, in float32: the keys' endings with their tensors. `state` is PEFT's.

    DoRA's magnitudes stand twice: as PEFT and diffusers read them, and as `dora_scale`, by which ComfyUI multiplies the
    changed weight over the lengths of the *base's* rows; it is made so that both come to the same weight.
    """
    found: dict[str, Parts] = {}
    for key, tensor in state.items():
        module, _, part = key.partition(".lora_") if ".lora_" in key else key.partition(".lokr_")
        ending = key.removeprefix(f"{module}.")
        folded = part.startswith("B") or ending in ("lokr_w1", "lokr_w1_a")
        found.setdefault(module, {})[ending] = tensor.detach().float() * (strength if folded else 1.0)
    layers: Any = None
    for module, parts in found.items():
        if "lora_magnitude_vector" in parts:
            layers = layers or linears_of(transformer)
            weight = layers[module].weight.detach().float()
            length = torch.linalg.vector_norm(weight, dim=1)
            after = torch.linalg.vector_norm(weight + parts["lora_B.weight"] @ parts["lora_A.weight"], dim=1)
            parts["dora_scale"] = (parts["lora_magnitude_vector"] * length / after)[:, None]
    return found


def loaded_parts(
    module: str,
    change: LayerChange,
    magnitude: Tensor | None,
    expected: Mapping[str, Tensor],
    strength: float,
    layer: Any,
) -> Parts:
    """PEFT's tensors for `module` from what a file changes of it; the run's layers divide by their own `strength`.

    `layer` is the base's: a DoRA that goes on from a plain LoRA begins with the lengths of the changed rows. Raises
    ConfigError for a file of another kind than the run's.
    """
    wanted = {key.removeprefix(f"{module}.") for key in expected if key.startswith(f"{module}.")}
    if "lora_A.weight" in wanted:
        if not isinstance(change, LowRank):
            raise ConfigError(f"the file holds no plain B·A for {module}.", "Set ltx_agent.lora.kind: lokr.")
        if magnitude is not None and "lora_magnitude_vector" not in wanted:
            raise ConfigError(
                f"the file is a DoRA, and this run trains none ({module}).", "Set ltx_agent.lora.kind: dora."
            )
        parts = {"lora_A.weight": change.down, "lora_B.weight": change.up / strength}
        if "lora_magnitude_vector" in wanted:
            lengths = magnitude
            if lengths is None:
                weight = layer.weight.detach().float()
                lengths = torch.linalg.vector_norm(weight + whole(change).to(weight.device), dim=1)
            elif lengths.shape[1] != 1:
                raise ConfigError(f"the file's DoRA scales columns, PEFT's scales rows ({module}).", "Train it again.")
            parts["lora_magnitude_vector"] = lengths.flatten()
        return parts
    if magnitude is not None or not isinstance(change, Kronecker):
        raise ConfigError(f"the file holds no plain LoKr for {module}.", "Set ltx_agent.lora.kind: lora, or dora.")
    parts = {"lokr_w1": change.left / strength}
    if "lokr_w2" in wanted:
        return {**parts, "lokr_w2": change.up @ change.down}
    return {**parts, "lokr_w2_a": change.up, "lokr_w2_b": change.down}
