"""The model card: what was trained on what, with which settings, how it went, what it looks like. Nothing is claimed.

It quotes counts, hashes, curves and samples; licences stand as the person states them, or as not stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.monitor.status import describe_run
from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.data.windows import Window, read_windows
from trainer_core.errors import LtxError
from trainer_core.files import file_digest
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.index import TINY_NOTE

NOT_STATED = "not stated"
HUB_BASES = {"2.0": "Lightricks/LTX-2"}
"""Hub names of bases, where known: the Hub refuses a `base_model` that is no repository; the text names any base."""


@dataclass(frozen=True)
class CardFacts:
    """What the card says beside what the run's folder knows. Files are relative to the card's folder."""

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
    tiny = is_tiny(config.model.model_path)
    objective = config.objective_name
    kind = "full checkpoint" if config.model.training_mode == "full" else "LoRA"
    if any(condition.type == "reference" for side in _sides(config) for condition in side.conditions):
        kind = "IC-LoRA" if kind == "LoRA" else kind
    trigger = config.ltx_agent.trigger
    head: dict[str, Any] = {
        "library_name": "diffusers",
        "tags": ["ltx-2", f"ltx-{facts.version}", kind.lower().replace(" ", "-"), objective, "ltx-agent"],
    }
    if not tiny and facts.version in HUB_BASES:
        head["base_model"] = HUB_BASES[facts.version]
    if facts.data_licence != NOT_STATED or facts.base_licence != NOT_STATED:
        head["license"] = "other"
        head["license_name"] = facts.base_licence
    if trigger:
        head["instance_prompt"] = trigger
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {kind} for LTX-{facts.version}: {objective}",
        "",
        *([f"**{TINY_NOTE}**", ""] if tiny else []),
        f"Trained on {facts.base}, run {run.id}.",
        *([f"Trigger word: `{trigger}`."] if trigger else []),
        "",
        "## Files",
        "",
        "| file | what |",
        "| --- | --- |",
        *(f"| `{name}` | {what} |" for name, what in facts.files),
        "",
        f"SHA-256 of the trained weights: `{file_digest(facts.checkpoint)}`.",
        "",
        "## Data",
        "",
        *_data_lines(config),
        "",
        "## Training",
        "",
        *_training_lines(run, config),
        "",
        *([f"![Training loss]({facts.curve})", ""] if facts.curve else []),
        "## Samples",
        "",
        "As made, without a claim about quality; base and adapter start from the same noise.",
        "",
        *(line for title, sheet in facts.sheets for line in (f"**{_text(title)}**", "", f"![samples]({sheet})", "")),
        *(["None were rendered.", ""] if not facts.sheets else []),
        "## Licences",
        "",
        f"- Base model: {_text(facts.base_licence)}",
        f"- Training data: {_text(facts.data_licence)}",
        "",
    ]
    return "\n".join(lines)


def _sides(config: TrainingConfig) -> list[Any]:
    return [side for side in (config.strategy.video, config.strategy.audio) if side is not None]


def _data_lines(config: TrainingConfig) -> list[str]:
    try:
        windows = read_windows(config)
    except LtxError:
        return ["The run's dataset file is not at hand; it trained on a folder of precomputed latents."]
    lines = []
    for split, words in (("train", "Trained on"), ("heldout", "Held out")):
        part = [window for window in windows if window.split == split]
        if part:
            lines.append(f"- {words}: {_counts(part)}.")
    sizes = sorted({str(window.bucket) for window in windows if window.bucket is not None})
    if sizes:
        lines.append(f"- Sizes: {', '.join(sizes)} (width x height x frames).")
    return lines


def _counts(windows: list[Window]) -> str:
    clips = {window.media for window in windows}
    seconds = sum(window.duration_s for window in windows)
    sound = sum(window.has_audio for window in windows)
    return f"{len(clips)} clips, {len(windows)} samples, {seconds:.1f} s, {sound} samples with sound"


def _training_lines(run: RunFolder, config: TrainingConfig) -> list[str]:
    status = describe_run(run)
    options = config.optimization
    lora, kind = config.lora, config.ltx_agent.lora.kind
    rows = [
        ("steps", f"{status.step} of {status.steps}"),
        ("learning rate", f"{options.learning_rate:g}, {options.scheduler_type}"),
        ("batch", f"{options.batch_size} x {options.gradient_accumulation_steps}"),
        *([("kind", kind)] if kind != "lora" else []),
        *([("rank / alpha", f"{lora.rank} / {lora.alpha:g}")] if lora and config.model.training_mode == "lora" else []),
        *(
            [("target modules", ", ".join(lora.target_modules))]
            if lora and config.model.training_mode == "lora"
            else []
        ),
        ("precision", config.acceleration.mixed_precision_mode),
        *([("base held in", config.acceleration.quantization)] if config.acceleration.quantization else []),
        ("seed", str(config.seed)),
        *((f"training {name}", f"{loss.first:.4f} → {loss.last:.4f}") for name, loss in status.losses.items()),
        ("verdict", f"{status.verdict.kind} (confidence {status.verdict.confidence:.0%})"),
    ]
    return ["| setting | value |", "| --- | --- |", *(f"| {name} | {_text(value)} |" for name, value in rows)]


def _text(text: str) -> str:
    """Anybody's text, fit for a table cell: no markup of its own."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("\n", " ")
