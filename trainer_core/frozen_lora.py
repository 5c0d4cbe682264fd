"""LoRA layers that act beside the trained ones without being trained, and are saved as they were read."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from trainer_core.adapters import LORA_PREFIX, PEFT_NAME
from trainer_core.model.names import to_upstream

_KEPT_NAME = "kept"


def add_frozen_lora(transformer: Any, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Let LoRA layers (A, B), scale folded in, act beside the trained ones without being trained."""
    from peft import LoraConfig, set_peft_model_state_dict

    ranks = {module: down.shape[0] for module, (down, _) in pairs.items()}
    usual = max(ranks.values())
    odd = {module: rank for module, rank in ranks.items() if rank != usual}
    config = LoraConfig(
        r=usual, lora_alpha=usual, rank_pattern=odd, alpha_pattern=dict(odd), target_modules=list(pairs)
    )
    with warnings.catch_warnings():  # a second adapter beside the first is what is meant
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        transformer.add_adapter(config, adapter_name=_KEPT_NAME)
    state = {}
    for module, (down, up) in pairs.items():
        state[f"{module}.lora_A.weight"], state[f"{module}.lora_B.weight"] = down.float(), up.float()
    set_peft_model_state_dict(transformer, state, adapter_name=_KEPT_NAME)
    transformer.set_adapters([PEFT_NAME, _KEPT_NAME])
    _freeze_kept(transformer)


def enable_adapters(transformer: Any) -> None:
    """Switch the adapters on again; PEFT makes all of them trainable by that, so the frozen ones are frozen again."""
    transformer.enable_adapters()
    _freeze_kept(transformer)


def _freeze_kept(transformer: nn.Module) -> None:
    for name, parameter in transformer.named_parameters():
        if f".{_KEPT_NAME}." in name:
            parameter.requires_grad_(False)


def kept_state(kept: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Return LoRA layers (A, B) by diffusers' module names under upstream's keys, number for number."""
    found = {}
    for module, (down, up) in kept.items():
        key = f"{LORA_PREFIX}{to_upstream(module)}"
        found[f"{key}.lora_A.weight"], found[f"{key}.lora_B.weight"] = down.contiguous(), up.contiguous()
    return found
