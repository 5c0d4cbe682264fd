"""Ten optimizer steps of every objective on the tiny 2.3 model: makes `objective_losses.json`, and the test's own run.

Regenerate after a change that is meant to move the numbers, and say in the commit which and why:

    python tests/golden/make_objective_losses.py
"""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trainer_core.adapters import add_lora
from trainer_core.data.batch import Batch, ModalityBatch, Reference
from trainer_core.files import write_json
from trainer_core.model.ltx import LtxModel
from trainer_core.model.tiny import TinySource
from trainer_core.objective import OBJECTIVE_NAMES, Objective, load_recipe, objective_of
from trainer_core.sections.run import LoraSection, OptimizationSection
from trainer_core.sections.strategy import FlexibleStrategy
from trainer_core.training.noise import sigma_sampler
from trainer_core.training.optim.optimizers import build_optimizer
from trainer_core.training.step import draw, training_step

GOLDEN = Path(__file__).with_name("objective_losses.json")
STEPS = 10
GRID, AUDIO_FRAMES, TEXT_TOKENS, SAMPLES = (3, 2, 3), 18, 128, 2


def losses_of(name: str) -> dict[str, Any]:
    """The losses of ten AdamW steps, and the loss on one fixed set of draws before and after them."""
    objective = objective_of(FlexibleStrategy.model_validate(_strategy(name)))
    source = TinySource("2.3")
    transformer, connectors = source.transformer(torch.float32), source.connectors(torch.float32)
    parameters = add_lora(transformer, LoraSection(rank=8, alpha=16), objective, seed=1)
    optimizer = build_optimizer(OptimizationSection(learning_rate=5e-3), parameters)
    model, batch = LtxModel(transformer), synthetic_batch(objective)
    sampler = sigma_sampler("shifted_logit_normal", {})
    fixed = draw(batch, objective, sampler, _generators(1000))

    def measured() -> float:
        with torch.no_grad():
            return float(training_step(model, connectors, batch, objective, draws=fixed).total)

    before = measured()
    curve: dict[str, list[float]] = {"video": [], "audio": []}
    for step in range(STEPS):
        loss = training_step(model, connectors, batch, objective, sampler=sampler, generator=_generators(step))
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        for modality, values in curve.items():
            found = getattr(loss, modality)
            if found is not None:
                values.append(float(found.detach().mean()))
    return {**{modality: values for modality, values in curve.items() if values}, "fixed": [before, measured()]}


def _strategy(name: str) -> dict[str, Any]:
    """The recipe's, its extension fitted to the three latent frames of these samples."""
    strategy = load_recipe(name)["training_strategy"]
    if name == "video_extension":
        strategy["video"]["conditions"][0]["temporal_boundary"] = 1
    return strategy


def synthetic_batch(objective: Objective) -> Batch:
    """Two samples with everything that an objective may ask for; the same numbers for every objective."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(SAMPLES, *shape, generator=generator)

    latents, reference = random(128, *GRID), random(128, *GRID)
    audio, audio_reference = random(8, AUDIO_FRAMES, 16), random(8, AUDIO_FRAMES, 16)
    features, audio_features = random(TEXT_TOKENS, 64), random(TEXT_TOKENS, 32)
    mask, audio_mask = (random(*GRID) > 0).float(), (random(AUDIO_FRAMES) > 0).float()
    return Batch(
        video=ModalityBatch(latents, torch.full((SAMPLES,), 24.0), mask, {"reference_latents": Reference(reference)})
        if objective.video.present
        else None,
        audio=ModalityBatch(audio, None, audio_mask, {"reference_audio_latents": Reference(audio_reference)})
        if objective.audio.present
        else None,
        video_features=features,
        audio_features=audio_features,
        text_mask=(torch.arange(TEXT_TOKENS) >= TEXT_TOKENS - 40).long().expand(SAMPLES, -1),
        clips=tuple(f"clip_{index}" for index in range(SAMPLES)),
        indices=tuple(range(SAMPLES)),
    )


def _generators(step: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(SAMPLES * step + sample) for sample in range(SAMPLES)]


def rounded(document: Any) -> Any:
    """Seven digits: what float32 holds."""
    if isinstance(document, float):
        return float(f"{document:.7g}")
    if isinstance(document, dict):
        return {key: rounded(value) for key, value in document.items()}
    return [rounded(value) for value in document]


def _kept(stored: Any, found: Any) -> Any:
    """What is stored, where what was found differs from it by no more than one machine does from another."""
    same = stored is not None and stored.keys() == found.keys()
    close = same and all(
        len(stored[key]) == len(values) and all(map(partial(math.isclose, rel_tol=1e-5), stored[key], values))
        for key, values in found.items()
    )
    return stored if close else found


def main() -> None:
    """Write the golden file."""
    before = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    after = {name: _kept(before.get(name), rounded(losses_of(name))) for name in OBJECTIVE_NAMES}
    write_json(GOLDEN, after)
    changed = [name for name in after if before.get(name) != after[name]]
    print(f"{GOLDEN.name}: {len(after)} objectives, changed: {', '.join(changed) or 'none'}")


if __name__ == "__main__":
    main()
