"""The model card: what was trained on what, with which settings, how it went, what it looks like. Nothing is claimed.

It quotes counts, hashes, curves and samples; licences stand as the user states them, or as not stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from tools.monitor.status import describe_run
from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.data.windows import Window, read_windows
from trainer_core.errors import LtxError
from trainer_core.files import file_digest
from trainer_core.markdown import render_markdown
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.index import TINY_NOTE

NOT_STATED = "not stated"
HUB_BASES = {"2.0": "Lightricks/LTX-2"}
"""Hub names of bases, where known: the Hub refuses a `base_model` that is no repository; the text names any base."""


@dataclass(frozen=True)
class CardFacts:
    """Facts for the card beside those of the run's folder. Files are relative to the card's folder."""

    version: str
    base: str
    checkpoint: Path
    files: Sequence[tuple[str, str]]
    curve: str | None
    sheets: Sequence[tuple[str, str]]
    base_licence: str
    data_licence: str


def model_card(run: RunFolder, config: TrainingConfig, facts: CardFacts) -> str:
    """Return the card as Markdown with the Hub's YAML head."""
    kind = _kind(config)
    windows = _windows(config)
    return render_markdown(
        "tools.deliver",
        "model_card.md.jinja",
        head=Markup(yaml.safe_dump(_head(config, kind, facts), sort_keys=False, allow_unicode=True).strip()),
        kind=kind,
        objective=config.objective_name,
        facts=facts,
        run_id=run.id,
        tiny_note=TINY_NOTE if is_tiny(config.model.model_path) else None,
        trigger=config.ltx_agent.trigger,
        digest=file_digest(facts.checkpoint),
        splits=None if windows is None else _splits(windows),
        sizes=sorted({str(window.bucket) for window in windows or [] if window.bucket is not None}),
        settings=_settings(run, config),
    )


def _kind(config: TrainingConfig) -> str:
    if config.model.training_mode == "full":
        return "full checkpoint"
    sides = [side for side in (config.strategy.video, config.strategy.audio) if side is not None]
    return "IC-LoRA" if any(one.type == "reference" for side in sides for one in side.conditions) else "LoRA"


def _head(config: TrainingConfig, kind: str, facts: CardFacts) -> dict[str, Any]:
    tags = ["ltx-2", f"ltx-{facts.version}", kind.lower().replace(" ", "-"), config.objective_name, "ltx-agent"]
    head: dict[str, Any] = {"library_name": "diffusers", "tags": tags}
    if not is_tiny(config.model.model_path) and facts.version in HUB_BASES:
        head["base_model"] = HUB_BASES[facts.version]
    if facts.data_licence != NOT_STATED or facts.base_licence != NOT_STATED:
        head["license"] = "other"
        head["license_name"] = facts.base_licence
    if config.ltx_agent.trigger:
        head["instance_prompt"] = config.ltx_agent.trigger
    return head


def _windows(config: TrainingConfig) -> list[Window] | None:
    try:
        return read_windows(config)
    except LtxError:
        return None


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one part of the data; `sound` is samples that have some."""

    clips: int
    samples: int
    seconds: float
    sound: int


def _splits(windows: list[Window]) -> list[tuple[str, SplitCounts]]:
    parts = (
        (words, [window for window in windows if window.split == split])
        for split, words in (("train", "Trained on"), ("heldout", "Held out"))
    )
    return [(words, _counts(part)) for words, part in parts if part]


def _counts(windows: list[Window]) -> SplitCounts:
    return SplitCounts(
        clips=len({window.media for window in windows}),
        samples=len(windows),
        seconds=sum(window.duration_s for window in windows),
        sound=sum(window.has_audio for window in windows),
    )


def _settings(run: RunFolder, config: TrainingConfig) -> list[tuple[str, str]]:
    status = describe_run(run)
    options = config.optimization
    lora, kind = config.lora if config.model.training_mode == "lora" else None, config.ltx_agent.lora.kind
    return [
        ("steps", f"{status.step} of {status.steps}"),
        ("learning rate", f"{options.learning_rate:g}, {options.scheduler_type}"),
        ("batch", f"{options.batch_size} x {options.gradient_accumulation_steps}"),
        *([("kind", kind)] if kind != "lora" else []),
        *([("rank / alpha", f"{lora.rank} / {lora.alpha:g}")] if lora else []),
        *([("target modules", ", ".join(lora.target_modules))] if lora else []),
        ("precision", config.acceleration.mixed_precision_mode),
        *([("base held in", config.acceleration.quantization)] if config.acceleration.quantization else []),
        ("seed", str(config.seed)),
        *((f"training {name}", f"{loss.first:.4f} → {loss.last:.4f}") for name, loss in status.losses.items()),
        ("verdict", f"{status.verdict.kind} (confidence {status.verdict.confidence:.0%})"),
    ]
