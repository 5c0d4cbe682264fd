"""Examining an adapter: a file from anywhere, or the one that a running session trains."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer_core.doctor.diagnosis import Diagnosis, diagnose
from trainer_core.doctor.measure import base_shapes, base_weight_norms, measure
from trainer_core.doctor.read import AdapterFile, read_adapter
from trainer_core.doctor.trial import Prediction, change_on_noise, relative_changes
from trainer_core.files import file_digest
from trainer_core.frozen_lora import enable_adapters
from trainer_core.model.ltx import LtxModel
from trainer_core.model.names import to_upstream
from trainer_core.model.reader_keys import LORA_KEYS
from trainer_core.model.source import ModelSource


@dataclass(frozen=True)
class Base:
    """The model that an adapter sits on; `norms` are remembered, for they never change."""

    model: LtxModel
    version: str
    label: str
    norms: dict[str, float | None] = field(default_factory=dict)

    @property
    def transformer(self) -> nn.Module:
        transformer: nn.Module = self.model.transformer
        return transformer

    def norms_of(self, names: set[str]) -> dict[str, float | None]:
        if missing := names - set(self.norms):
            self.norms.update(base_weight_norms(self.transformer, missing))
        return self.norms


def base_of(source: ModelSource) -> Base:
    """The base in `source`; its weights stay memory-mapped and are read once."""
    return Base(LtxModel(source.transformer(torch.bfloat16)), source.version, source.label)


def examine_file(path: Path, base: Base | None = None, change: dict[str, float] | None = None) -> Diagnosis:
    """Examine the LoRA in `path`, against its base where that is known. `change` is what `prediction_change` found on a
    clip; without it, a fixed batch of noise goes through the base, if the adapter fits it.

    Raises ConfigError when the file is no safetensors file.
    """
    adapter = read_adapter(path)
    unmatched = unmatched_of(adapter, None if base is None else base.transformer)
    on_noise = None
    if base is not None and change is None and adapter.pairs and not unmatched and not adapter.non_finite:
        on_noise = change_on_noise(base.model, adapter.pairs)
    return diagnose(
        path,
        measure(adapter.pairs, {} if base is None else base.norms_of(set(adapter.pairs))),
        nan_tensors=adapter.non_finite,
        unmatched=unmatched,
        prediction_change=change,
        change_on_noise=on_noise,
        base_version=base.version if base is not None else _stated_version(adapter),
        base=None if base is None else base.label,
        ranks=adapter.ranks,
        step=_stated_step(adapter),
        sha256=file_digest(path),
    )


def unmatched_of(adapter: AdapterFile, transformer: nn.Module | None) -> list[str]:
    """Keys and modules that no layer takes up: of the base when it is known, else of LTX as readers know it."""
    found = [*adapter.unknown, *adapter.halves]
    if transformer is None:
        return found + [name for name in adapter.pairs if _reader_key(name) not in LORA_KEYS]
    shapes = base_shapes(transformer)
    for name, (down, up) in adapter.pairs.items():
        if shapes.get(name) != (down.shape[1], up.shape[0]):
            found.append(name)
    return found


@torch.no_grad()
def prediction_change(model: LtxModel, predict: Callable[[], Prediction]) -> dict[str, float]:
    """‖with − without‖ / ‖without‖ of what `predict` returns, per modality; the adapter is on again afterwards."""
    transformer: Any = model.transformer
    with_adapter = predict()
    transformer.disable_adapters()
    try:
        without = predict()
    finally:
        enable_adapters(transformer)
    return relative_changes(with_adapter, without)


def _reader_key(name: str) -> str:
    upstream = to_upstream(name).split(".")
    if upstream[0] == "transformer_blocks" and len(upstream) > 1 and upstream[1].isdigit():
        upstream[1] = "N"
    return f"diffusion_model.{'.'.join(upstream)}.lora_A.weight"


def _stated_version(adapter: AdapterFile) -> str | None:
    """What the file says, else what its modules show: gates exist since 2.3."""
    stated = adapter.metadata.get("model_version")
    if stated:
        return stated
    return "2.3 or 2.5" if any("to_gate_logits" in name for name in adapter.pairs) else None


def _stated_step(adapter: AdapterFile) -> int | None:
    step = adapter.metadata.get("step", "")
    return int(step) if step.isdigit() else None
