"""Examining an adapter: a file from anywhere, or the one that a running session trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer_core.doctor.diagnosis import Diagnosis, diagnose
from trainer_core.doctor.measure import base_weight_norms, measure
from trainer_core.doctor.read import read_adapter
from trainer_core.doctor.trial import Prediction, change_on_noise, relative_changes
from trainer_core.files import file_digest
from trainer_core.frozen_lora import enable_adapters
from trainer_core.lora.act import linears_of
from trainer_core.lora.family import differs_from
from trainer_core.lora.file import LoraFile, PerModule
from trainer_core.lora.names import is_known
from trainer_core.lora.strength import whole_number
from trainer_core.model.ltx import LtxModel
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
    """Examine the adapter in `path`, against its base where that is known. `change` is what `prediction_change` found
    on a clip; without it, a fixed batch of noise goes through the base, if the adapter fits it.

    Raises ConfigError when the file is no whole safetensors file.
    """
    adapter = read_adapter(path)
    unmatched = unmatched_of(adapter, None if base is None else base.transformer)
    # the numbers of another model's adapter say nothing: its file may be large, and isn't read
    non_finite = adapter.non_finite if adapter.family is None else []
    on_noise = None
    if base is not None and change is None and adapter.changes and not unmatched and not non_finite:
        on_noise = change_on_noise(base.model, adapter)
    measures = []
    if adapter.family is None:
        norms = {} if base is None else base.norms_of(set(adapter.changes))
        weights = None if base is None or unmatched else weights_of(base.transformer)
        measures = measure(adapter.changes, norms, adapter.magnitudes, weights) + measure(adapter.text_changes, {})
    return diagnose(
        path,
        measures,
        nan_tensors=non_finite,
        unmatched=list(unmatched),
        reasons=_reasons(adapter, unmatched),
        remarks=_remarks(adapter, base),
        prediction_change=change,
        change_on_noise=on_noise,
        base_version=base.version if base is not None else _stated_version(adapter),
        base=None if base is None else base.label,
        ranks=adapter.ranks,
        forms=list(adapter.forms),
        text_modules=len(adapter.text_changes),
        step=whole_number(adapter.metadata.get("step")),
        sha256=file_digest(path) if measures else None,
    )


def unmatched_of(adapter: LoraFile, transformer: nn.Module | None) -> dict[str, str]:
    """Keys and modules that no layer takes up, of the base when it is known, else of LTX as readers know it; each with
    the reason."""
    found = {**adapter.unknown, **adapter.halves}
    if transformer is None:
        return found | {name: "is no module of LTX-2" for name in adapter.changes if not is_known(name)}
    layers: dict[str, Any] = linears_of(transformer)
    for name, shape in adapter.shapes.items():
        wanted = (layers[name].out_features, layers[name].in_features) if name in layers else None
        if wanted is None:
            found[name] = "is no module of this base"
        elif shape != wanted:
            sizes = f"changes a {shape[0]}x{shape[1]} matrix, the base's is {wanted[0]}x{wanted[1]}"
            found[name] = f"{sizes}: {differs_from(name, shape, wanted)}"
    return found


def weights_of(transformer: nn.Module) -> Mapping[str, torch.Tensor]:
    """The dense weights of the linear layers, made one by one where they are packed."""
    layers: dict[str, Any] = linears_of(transformer)
    return PerModule({name: partial(getattr, layer, "weight") for name, layer in layers.items()})


def _reasons(adapter: LoraFile, unmatched: dict[str, str]) -> list[str]:
    """Why the file can't be used, a sentence each; nothing where it can."""
    found = [adapter.unstated] if adapter.unstated else []
    if adapter.family is not None:
        found.append(f"it is no adapter for LTX-2: its keys and widths look like {adapter.family}")
    if unmatched:
        name, why = next(iter(unmatched.items()))
        count = f"{len(unmatched)} keys fit no layer of the model: readers drop them silently"
        if not adapter.changes and not adapter.text_changes and not adapter.halves:
            count = f"no LoRA module was found in it, and {len(unmatched)} other keys"
        found.append(f"{count}; the first, {name}, {why}")
    return found


def _remarks(adapter: LoraFile, base: Base | None) -> list[str]:
    """What has to be known about a file that can be used."""
    found = [] if set(adapter.forms) <= {"LoRA"} else [f"its form is {', '.join(adapter.forms)}"]
    if adapter.magnitudes and base is None:
        found.append("DoRA changes the base's own rows too: name the base with --model to have that measured")
    if adapter.text_changes:
        found.append(
            f"it also changes {len(adapter.text_changes)} layers before the transformer, not measured against the base"
        )
    if adapter.unsaid:
        found.append(f"it {adapter.unsaid}")
    said = adapter.metadata.get("model_version")
    if base is not None and said and not said.lstrip("v").startswith(base.version.removesuffix(".0")):
        found.append(f"it says that it was made for LTX-{said[:20]}, and the base is LTX-{base.version}")
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


def _stated_version(adapter: LoraFile) -> str | None:
    """What the file says, else what its modules show: gates exist since 2.3."""
    stated = adapter.metadata.get("model_version")
    if stated:
        return stated
    return "2.3 or 2.5" if any("to_gate_logits" in name for name in adapter.changes) else None
