"""What a quantised base does to prediction and gradient, objective by objective, against the same base unquantised."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from trainer_core.adapters import add_lora
from trainer_core.config import is_tiny
from trainer_core.data.batch import Batch, ModalityBatch
from trainer_core.model.load import open_model
from trainer_core.model.ltx import LtxModel, context_widths
from trainer_core.model.source import ModelSource, Placement
from trainer_core.objective import Objective, objective_named
from trainer_core.quantization import SCHEMES
from trainer_core.sections.run import LoraSection, ModelSection
from trainer_core.training.noise import sigma_sampler
from trainer_core.training.step import MODALITIES, draw, masked_mse, model_input, prepare

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
    batch = _batch(objective, transformer.config, generator)
    sampler = sigma_sampler("shifted_logit_normal", {})
    draws = draw(batch, objective, sampler, torch.Generator().manual_seed(1))
    prepared = {side: prepare(model, side, batch, objective, draws) for side in MODALITIES}
    contexts = {"video": batch.video_features, "audio": batch.audio_features}
    inputs = {
        side: None if prepared[side] is None else model_input(prepared[side], contexts[side].to(device), None, device)
        for side in MODALITIES
    }
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        predicted = model(inputs["video"], inputs["audio"])
    losses, outputs = [], []
    for found, side in zip(predicted, (prepared["video"], prepared["audio"]), strict=True):
        if found is None or side is None or side.target is None:
            continue
        kept = found[:, -side.target.shape[1] :]
        trained = None if side.trained is None else side.trained.to(device)
        losses.append(masked_mse(kept, side.target.to(device), trained))
        outputs.append(kept.detach().float().flatten().cpu())
    total = torch.stack(losses).sum(dim=0).mean()
    total.backward()
    gradient = torch.cat([p.grad.flatten().float().cpu() for p in parameters if p.grad is not None])
    return _Seen(torch.cat(outputs), gradient, float(total.detach()))


def _batch(objective: Objective, config: Any, generator: torch.Generator) -> Batch:
    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    widths = context_widths(config)
    frames, height, width = SMALL_GRID
    half = (torch.arange(frames * height * width).view(1, *SMALL_GRID) % 2).float()
    video = ModalityBatch(random(1, 128, *SMALL_GRID), torch.tensor([24.0]), half, random(1, 128, *SMALL_GRID))
    audio_mask = (torch.arange(SMALL_AUDIO)[None] % 2).float()
    audio = ModalityBatch(random(1, 8, SMALL_AUDIO, 16), None, audio_mask, random(1, 8, SMALL_AUDIO, 16))
    return Batch(
        video=video if objective.video.present else None,
        audio=audio if objective.audio.present else None,
        video_features=random(1, TEXT_TOKENS, widths[0]),
        audio_features=random(1, TEXT_TOKENS, widths[1]),
        text_mask=torch.ones(1, TEXT_TOKENS, dtype=torch.int64),
        clips=("random",),
        indices=(0,),
    )
