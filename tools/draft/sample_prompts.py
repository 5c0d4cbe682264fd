"""The samples that a run renders while it trains, drafted from captions: few, so that their cost is small, and said.

A sample costs its steps times the passes that guidance takes; a training step is about four passes with gradient
checkpointing (forward, once more forward, and a backward pass of two), three without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tools.draft.assumptions import ASKED
from tools.draft.choices import Draft, in_order_of
from trainer_core.config import TrainingConfig, is_tiny, parse_config
from trainer_core.data.buckets import REAL_LIMITS, Bucket, ClipExtent, propose_buckets
from trainer_core.data.windows import Window, windows_of
from trainer_core.memory.plan import version_of
from trainer_core.objective import Objective, merged, nested, objective_of
from trainer_core.sampling.default_prompts import needs_files, sample_of
from trainer_core.sampling.schedule import VERSION_DEFAULTS
from trainer_core.sections.validation import FirstFrameSample, ValidationSample, ValidationSection
from trainer_core.units import counted

PORTIONS = (((3, 4), (3, 2), (2, 4), (2, 2)), ((2, 2), (2, 1)))
"""Prompts, and times that the adapter is rendered, evenly over the run (the base is rendered once besides): what is
affordable within the first of MOST_SHARES comes first, then within the second; short runs make do with one."""
MOST_SHARES = (0.15, 0.25)
"""Of the run's computing, that samples may take."""
STILLS_TRY_FRAMES = 49
"""What is learned from stills is looked at in motion, for two seconds."""
AUDIO_TOKENS_A_SECOND = 25


@dataclass(frozen=True)
class DraftedSamples:
    """Values by dotted config key, each with its reason."""

    values: dict[str, tuple[Any, str]]


def with_samples(draft: Draft, rows: Sequence[dict[str, Any]]) -> Draft:
    """Return `draft` with its `validation:` drafted from the dataset's rows; what was asked for stays as it is."""
    reasons = dict(draft.reasons)
    config = draft.config
    for name, (value, reason) in drafted_samples(draft.config, rows).values.items():
        if reasons.get(name) != ASKED:
            config = merged(config, nested({name: value}))
            reasons[name] = reason
    return replace(draft, config=config, reasons=in_order_of(config, reasons))


def drafted_samples(values: dict[str, Any], rows: Sequence[dict[str, Any]]) -> DraftedSamples:
    """Draft `validation:` for a config's values and the dataset's rows; paths in it are relative to the config."""
    config = parse_config(yaml.safe_dump(values), "the draft")
    if is_tiny(config.model.model_path):
        why = "none: a tiny model's samples are noise; for a real one two or three are drafted from captions"
        return DraftedSamples(
            {"validation.samples": ([], why), "validation.interval": (None, "none, as there are no prompts")}
        )
    objective = objective_of(config.strategy)
    windows = windows_of(rows, Path("dataset.jsonl"), config.ltx_agent.trigger)
    prompts = _prompts(config, objective, windows)
    section, shape = _section(config, objective, windows)
    render = _render_in_steps(config, section, windows)
    steps = config.optimization.steps
    affordable = (
        portion
        for most, portions in zip(MOST_SHARES, PORTIONS, strict=True)
        for portion in portions
        if _share(min(portion[0], len(prompts)), portion[1], render, steps) <= most
    )
    most_prompts, rounds = next(affordable, (1, 1))
    prompts = prompts[:most_prompts]
    share = _share(len(prompts), rounds, render, steps)
    said = ", ".join(kind for kind, _ in prompts)
    listed = [sample.model_dump(exclude_defaults=True) for _, sample in prompts]
    count = counted(len(prompts), "prompt")
    cost = f"{count}, {counted(rounds, 'time')} and once without the adapter: about {share:.0%} of the computing"
    return DraftedSamples(
        {
            "validation.samples": (listed, f"rendered while it trains: {said}"),
            "validation.interval": (max(1, steps // rounds), cost),
            **shape,
        }
    )


def _prompts(
    config: TrainingConfig, objective: Objective, windows: Sequence[Window]
) -> list[tuple[str, ValidationSample]]:
    """One caption that is trained on and one that is held out; else two of different scenes. At most three samples:
    where a share of first frames is trained, the first is rendered from a picture too."""
    trained = [window for window in windows if window.split == "train"]
    held_out = next((window for window in windows if window.split == "heldout"), None)
    if not trained:
        return []
    first = trained[0]
    found = [("a caption it trains on", sample_of(first, objective, first.caption, config))]
    other = held_out or next((one for one in trained if one.group != first.group), None)
    if other is not None and other.caption != first.caption:
        kind = "a held-out caption" if other is held_out else "one of another scene"
        found.append((kind, sample_of(other, objective, other.caption, config)))
    share = objective.video.condition("first_frame")
    if share is not None and not needs_files(objective):
        start = FirstFrameSample(type="first_frame", image_or_video=str((other or first).media))
        words = (other or first).caption
        found.append(("the same from its first frame", ValidationSample(prompt=words, conditions=[start])))
    return found


def _section(
    config: TrainingConfig, objective: Objective, windows: Sequence[Window]
) -> tuple[ValidationSection, dict[str, tuple[Any, str]]]:
    """The section without its samples, and the values in it that aren't upstream's defaults."""
    rate = config.ltx_agent.frame_rate or config.validation.frame_rate
    dims, why = _dims(config, windows, rate)
    values: dict[str, tuple[Any, str]] = {
        "validation.video_dims": (list(dims), why),
        "validation.frame_rate": (rate, "as it trains"),
        "validation.generate_video": (objective.video.generated, "what the objective generates"),
        "validation.generate_audio": (objective.audio.generated, "what the objective generates"),
    }
    version = version_of(config)
    usual = VERSION_DEFAULTS[version]
    values["validation.inference_steps"] = (usual.inference_steps, f"what LTX-{version} is sampled with")
    values["validation.stg_blocks"] = (list(usual.stg_blocks), f"what LTX-{version} is sampled with")
    section = config.validation.model_copy(
        update={name.removeprefix("validation."): value for name, (value, _) in values.items()}
    )
    return section, values


def _dims(config: TrainingConfig, windows: Sequence[Window], rate: float) -> tuple[tuple[int, int, int], str]:
    buckets = [window.bucket for window in windows if window.split == "train" and window.bucket is not None]
    if config.strategy.video is None or not buckets:
        longest_s = max((window.duration_s for window in windows), default=5.0)
        frames = max(1, round(longest_s * rate) // 8) * 8 + 1
        width, height, _ = config.validation.video_dims
        return (width, height, frames), f"sound alone: its length, {longest_s:.1f} s, counts in frames"
    usual = max(set(buckets), key=lambda bucket: (sum(one.frames for one in buckets if one == bucket), bucket))
    if usual.frames == 1:
        moving = propose_buckets([ClipExtent(usual.width, usual.height, STILLS_TRY_FRAMES)], REAL_LIMITS)[0]
        return (moving.width, moving.height, moving.frames), "the stills' shape, and two seconds to see it move"
    return (usual.width, usual.height, usual.frames), "the size and length of most samples"


def _share(prompts: int, rounds: int, render_steps: float, steps: int) -> float:
    """The share of a run's computing that samples take: each prompt once without the adapter, `rounds` times with."""
    rendered = prompts * (1 + rounds) * render_steps
    return rendered / (steps + rendered)


def _render_in_steps(config: TrainingConfig, section: ValidationSection, windows: Sequence[Window]) -> float:
    """What one sample costs, in training steps."""
    optimization = config.optimization
    both = section.generate_video and section.generate_audio
    passes = 1 + (section.video_cfg_scale != 1 or section.audio_cfg_scale != 1)
    passes += section.video_stg_scale > 0 or section.audio_stg_scale > 0
    passes += both and (section.video_modality_guidance_scale != 1 or section.audio_modality_guidance_scale != 1)
    of_a_step = 4 if optimization.enable_gradient_checkpointing else 3
    trained = [window for window in windows if window.split == "train"]
    usual = sum(_tokens(window.bucket, window.duration_s) for window in trained) / max(len(trained), 1)
    dims = section.video_dims
    seconds = dims[2] / section.frame_rate
    own = _tokens(Bucket(*dims) if config.strategy.video is not None else None, seconds)
    samples_a_step = optimization.batch_size * optimization.gradient_accumulation_steps
    return section.inference_steps * passes * own / (of_a_step * samples_a_step * max(usual, 1.0))


def _tokens(bucket: Bucket | None, duration_s: float) -> float:
    return bucket.tokens if bucket is not None else duration_s * AUDIO_TOKENS_A_SECOND
