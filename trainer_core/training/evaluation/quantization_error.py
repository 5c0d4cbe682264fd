"""Effect of a quantised base on prediction and gradient, per objective, against the same base unquantised."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from trainer_core.adapters import add_lora
from trainer_core.config import is_tiny
from trainer_core.data.batch import random_batch
from trainer_core.model.load import open_model
from trainer_core.model.ltx import LtxModel, context_widths
from trainer_core.model.source import ModelSource, Placement
from trainer_core.model.text import TextContext
from trainer_core.objective import objective_named
from trainer_core.quantization_names import SCHEMES
from trainer_core.sections.run import LoraSection, ModelSection
from trainer_core.training.noise import sigma_sampler
from trainer_core.training.step import draw, losses_from, predict, step_input

RANK = 8
SMALL_GRID, SMALL_AUDIO = (3, 4, 6), 26
TEXT_TOKENS = 64
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ErrorRow:
    """Relative errors of one base on one objective: |difference| / |reference|; `loss` is signed."""

    objective: str
    base: str
    reference: str
    prediction: float
    gradient: float
    loss: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Seen:
    prediction: Tensor
    gradient: Tensor
    loss: float


def measure_model(section: ModelSection, objectives: Sequence[str], progress: Progress | None = None) -> list[ErrorRow]:
    """Measure every scheme on the model that `section` names; one base is loaded at a time.

    The reference is float32 for the tiny model, bf16 for a real one.
    """
    source = open_model(section)
    tiny = is_tiny(section.model_path)
    report = progress or (lambda _what, _done, _total: None)
    reference_dtype, name = (torch.float32, "float32") if tiny else (torch.bfloat16, "bf16")
    bases: list[tuple[str, str | None, torch.dtype]] = [("bf16", None, torch.bfloat16)] if tiny else []
    bases += [(scheme, scheme, torch.bfloat16) for scheme in SCHEMES]
    report(f"measuring {name}", 0, len(bases) + 1)
    wanted = {objective: _see(source, None, reference_dtype, objective) for objective in objectives}
    rows = []
    for number, (label, scheme, dtype) in enumerate(bases, start=1):
        report(f"measuring {label}", number, len(bases) + 1)
        for objective in objectives:
            rows.append(_row(objective, label, name, _see(source, scheme, dtype, objective), wanted[objective]))
        gc.collect()
    return sorted(rows, key=lambda row: list(objectives).index(row.objective))


def _row(objective: str, base: str, reference: str, found: _Seen, wanted: _Seen) -> ErrorRow:
    return ErrorRow(
        objective=objective,
        base=base,
        reference=reference,
        prediction=_relative(found.prediction, wanted.prediction),
        gradient=_relative(found.gradient, wanted.gradient),
        loss=found.loss / wanted.loss - 1,
    )


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def _see(source: ModelSource, scheme: str | None, dtype: torch.dtype, name: str) -> _Seen:
    """Prediction, adapter gradient and loss of one step at fixed draws."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    objective = objective_named(name)
    transformer = source.transformer(dtype, Placement(device, scheme))
    model = LtxModel(transformer)
    parameters = add_lora(transformer, LoraSection(rank=RANK, alpha=RANK), objective, 0)
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters:  # B begins at zero, which would leave A without a gradient
        parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.02).to(device)
    model.to(device)
    batch = random_batch(
        SMALL_GRID, SMALL_AUDIO, TEXT_TOKENS, context_widths(transformer.config), generator, conditioned=True
    )
    draws = draw(batch, objective, sigma_sampler("shifted_logit_normal", {}), torch.Generator().manual_seed(1))
    inputs = step_input(model, batch, objective, draws)
    context = TextContext(batch.video_features.to(device), batch.audio_features.to(device), None)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        predicted = predict(model, context, inputs)
    total = losses_from(inputs, *predicted).total
    total.backward()
    outputs = [
        found[:, -side.target.shape[1] :].detach().float().flatten().cpu()
        for found, side in zip(predicted, (inputs.prepared["video"], inputs.prepared["audio"]), strict=True)
        if found is not None and side is not None and side.target is not None
    ]
    gradient = torch.cat([p.grad.flatten().float().cpu() for p in parameters if p.grad is not None])
    return _Seen(torch.cat(outputs), gradient, float(total.detach()))
