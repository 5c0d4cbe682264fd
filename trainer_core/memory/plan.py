"""From a training config to its memory: which cell it is, what it takes, what would fit. Reads headers; no torch."""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.data.buckets import Bucket, parse_buckets
from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl
from trainer_core.memory.cell import Cell, Side, Version
from trainer_core.memory.estimate import USABLE, MemoryEstimate, estimate, optimizer_bytes, trained_weights
from trainer_core.memory.ladder import Proposal, ladder_of
from trainer_core.memory.sizes import CARRIED_CONNECTOR_WEIGHTS, RELEASED, Dimensions
from trainer_core.quantization_names import quantization_named
from trainer_core.sections.strategy import ModalitySection

AUDIO_LATENTS_A_SECOND = 25
TEXT_TOKENS = 1024
TINY_SIZE = Dimensions(video=64, audio=32, exchange=32, heads=2, caption=32, text_video=64, text_audio=32)
TINY_LAYERS, TINY_TEXT_TOKENS = 2, 512
_VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")


@dataclass(frozen=True)
class MemoryPlan:
    """A config's memory. `notes` say what was assumed; `disk_bytes` is None where the samples aren't known."""

    cell: Cell
    estimate: MemoryEstimate
    disk_bytes: int
    worst: str
    notes: list[str]


def plan(config: TrainingConfig, bucket: Bucket | None = None, version: Version | None = None) -> MemoryPlan:
    """Return what `config` takes on its worst sample, or on `bucket`. Paths in it are absolute (`resolve_paths`).

    Raises ConfigError when neither the config nor its dataset says how large the samples are.
    """
    notes: list[str] = []
    tiny = is_tiny(config.model.model_path)
    size = TINY_SIZE if tiny else RELEASED
    known = version or _version(config, notes)
    samples = _samples(config)
    worst, seconds = _worst(config, bucket, samples, notes)
    cell = _cell(config, known, worst, seconds, tiny)
    if cell.full and cell.precision == "bf16" and config.ltx_agent.training.master_weights == "auto":
        notes.append(
            "master_weights: auto is reckoned as float32; where that doesn't fit the device, training holds bf16 "
            "weights with 8 more bits each (float24) and 8-bit moments"
        )
    found = estimate(cell, size, text_encoder_8bit=config.acceleration.load_text_encoder_in_8bit)
    if tiny:
        notes.append("the tiny model's own few megabytes are small beside what the process itself holds")
    label = str(worst) if worst is not None else f"{seconds:g} s of sound"
    return MemoryPlan(cell, found, _disk_bytes(config, cell, size, max(len(samples), 1)), label, notes)


def smallest_steps(
    config: TrainingConfig, cards_gb: Sequence[int], bucket: Bucket | None = None, version: Version | None = None
) -> dict[int, list[tuple[Proposal, int]] | None]:
    """For each card the rungs to go down until the config fits it, each with the bytes that it saves of the device;
    None where the foot of the ladder doesn't fit. A text encoder that even 8 bits don't bring onto a card costs no
    rung: it works in host memory.
    """
    steps = ladder_of(config)
    estimates = [plan(rung, bucket, version).estimate for rung in (config, *(step.config for step in steps))]
    peaks = [one.device_peak_bytes for one in estimates]
    saved = [(step, before - after) for step, before, after in zip(steps, peaks, peaks[1:], strict=False)]
    beforehand = encoding_steps(config, [USABLE * card * 1e9 for card in cards_gb], bucket, version)
    found: dict[int, list[tuple[Proposal, int]] | None] = {}
    for card, before in zip(cards_gb, beforehand, strict=True):
        first = next((number for number, one in enumerate(estimates) if one.fits[str(card)]), None)
        found[card] = None if first is None else before + saved[:first]
    return found


def encoding_steps(
    config: TrainingConfig, rooms_bytes: Sequence[float], bucket: Bucket | None = None, version: Version | None = None
) -> list[list[tuple[Proposal, int]]]:
    """For each of `rooms_bytes` of a device the rungs that bring encoding into it, each with the bytes that it saves;
    none where it fits as it is, or not even with them."""
    steps = ladder_of(config, "encoding")
    rungs = (config, *(step.config for step in steps))
    peaks = [plan(rung, bucket, version).estimate.encoding_peak_bytes for rung in rungs]
    saved = [(step, before - after) for step, before, after in zip(steps, peaks, peaks[1:], strict=False)]
    return [next((saved[:number] for number, peak in enumerate(peaks) if peak <= room), []) for room in rooms_bytes]


def fitting_master_weights(config: TrainingConfig, room_bytes: float) -> Literal["float32", "float24", "stochastic"]:
    """Return what `ltx_agent.training.master_weights` stands for on a device of `room_bytes`, by arithmetic alone.

    `auto` is float32 where all of that training fits, and for optimizers that know no other weights; else float24.
    """
    asked = config.ltx_agent.training.master_weights
    if asked != "auto":
        return asked
    bf16 = config.model.training_mode == "full" and config.acceleration.mixed_precision_mode == "bf16"
    if not bf16 or config.optimization.optimizer_type not in ("adamw", "adamw8bit"):
        return "float32"
    return "float32" if plan(config).estimate.device_peak_bytes <= USABLE * room_bytes else "float24"


def sized(cell: Cell, bucket: Bucket, frame_rate: float = 24.0) -> Cell:
    """`cell` on samples of `bucket`."""
    audio = Side(_audio_tokens(bucket.frames / frame_rate)) if cell.audio is not None else None
    return replace(cell, video=Side(bucket.tokens) if cell.video is not None else None, audio=audio)


def _cell(config: TrainingConfig, version: Version, bucket: Bucket | None, seconds: float, tiny: bool) -> Cell:
    strategy, savings = config.strategy, config.ltx_agent.memory
    lora = config.lora if config.model.training_mode == "lora" else None
    scheme = config.acceleration.quantization
    scale = config.ltx_agent.reference_spatial_scale**2 * config.ltx_agent.reference_temporal_scale
    video = bucket.tokens if bucket is not None else 0
    return Cell(
        version=version,
        video=_side(strategy.video, video, scale),
        audio=_side(strategy.audio, _audio_tokens(seconds), 1),
        rank=0 if lora is None else lora.rank,
        targets=() if lora is None else tuple(lora.target_modules),
        kind=config.ltx_agent.lora.kind,
        factor=config.ltx_agent.lora.factor,
        batch=config.optimization.batch_size,
        text_tokens=TINY_TEXT_TOKENS if tiny else TEXT_TOKENS,
        precision="bf16" if config.acceleration.mixed_precision_mode == "bf16" else "no",
        quantization=None if scheme is None else quantization_named(scheme).name,
        checkpointing=config.optimization.enable_gradient_checkpointing,
        offload=savings.offload_activations,
        swap_blocks=savings.swap_blocks,
        chunk_tokens=savings.feed_forward_chunk_tokens,
        moments_8bit=config.optimization.optimizer_type == "adamw8bit",
        optimizer=config.optimization.optimizer_type,
        master="float32"
        if config.ltx_agent.training.master_weights == "auto"
        else config.ltx_agent.training.master_weights,
        fused=savings.fused_optimizer,
        precompute_text=savings.precompute_text,
        layers=TINY_LAYERS if tiny else 48,
    )


def _side(section: ModalitySection | None, tokens: int, reference_scale: int) -> Side | None:
    if section is None:
        return None
    references = sum(condition.type == "reference" for condition in section.conditions)
    return Side(tokens + references * math.ceil(tokens / reference_scale), section.is_generated)


def _audio_tokens(seconds: float) -> int:
    return max(round(seconds * AUDIO_LATENTS_A_SECOND), 1)


def version_of(config: TrainingConfig) -> Version:
    """The LTX version that the config's model is of, by its files; 2.3 where there are none."""
    return _version(config, [])


def _version(config: TrainingConfig, notes: list[str]) -> Version:
    path = config.model.model_path
    if is_tiny(path):
        said = path.partition(":")[2] or "2.3"
    else:
        said = _version_on_disk(Path(path))
        if not said:
            notes.append(f"there is no LTX-2 model at {path}; the sizes are LTX-2.3's")
            said = "2.3"
    for version in _VERSIONS:
        if said == version or said.startswith(f"{version}."):
            return version
    return "2.0"


def _version_on_disk(path: Path) -> str:
    """What a file's metadata or a folder's config says; an empty text where neither does."""
    try:
        if path.is_dir():
            config = json.loads((path / "transformer" / "config.json").read_text(encoding="utf-8"))
            if config.get("use_keyframes_abs_pos_embedding") or config.get("ff_bias") is False:
                return "2.5"
            return "2.3" if config.get("cross_attn_mod") else "2.0"
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length < 100_000_000 else {}
        return str(header.get("__metadata__", {}).get("model_version", "")).removeprefix("v")
    except (OSError, ValueError, struct.error):
        return ""


def _samples(config: TrainingConfig) -> list[dict[str, Any]]:
    """The windows that the dataset's rows declare, as they stand there."""
    path = None if config.ltx_agent.dataset is None else Path(config.ltx_agent.dataset)
    if path is None or not path.exists():
        return []
    return [sample for row in read_jsonl(path) for sample in row.get("samples", [])]


def _worst(
    config: TrainingConfig, asked: Bucket | None, samples: list[dict[str, Any]], notes: list[str]
) -> tuple[Bucket | None, float]:
    """The largest bucket and the seconds of sound that go with it."""
    rate = config.ltx_agent.frame_rate or config.validation.frame_rate
    longest = max((float(sample["duration_s"]) for sample in samples if "duration_s" in sample), default=0.0)
    if asked is not None:
        return asked, asked.frames / rate
    if config.strategy.video is None:
        if not longest:
            notes.append("the dataset doesn't say how long its sounds are; 10 seconds are assumed")
        return None, longest or 10.0
    spelled = config.ltx_agent.buckets
    buckets = parse_buckets(spelled) if spelled else []
    buckets += [parse_buckets(sample["bucket"])[0] for sample in samples if sample.get("bucket")]
    if not buckets:
        notes.append("the config names no buckets; the size of its validation samples is assumed")
        buckets = [Bucket(*config.validation.video_dims)]
    worst = max(buckets, key=lambda bucket: (bucket.tokens, bucket))
    return worst, max(worst.frames / rate, longest)


def _disk_bytes(config: TrainingConfig, cell: Cell, size: Dimensions, samples: int) -> int:
    """Latents and text features of the samples, the checkpoints that are kept, and the states to resume from."""
    video = cell.video.tokens if cell.video is not None else 0
    audio = cell.audio.tokens if cell.audio is not None else 0
    text = cell.text_tokens * (size.text_video + size.text_audio)
    sample = 2 * 128 * (video + audio) + 2 * text
    weights = trained_weights(cell, size)
    kept = config.checkpoints.keep_last_n
    steps, interval = config.optimization.steps, config.checkpoints.interval
    saves = 1 if interval is None else math.ceil(steps / interval)
    files = saves if kept < 1 else min(kept + 1, saves + 1)  # the oldest goes only after the newest is there
    width = 2 if config.checkpoints.precision == "bfloat16" else 4
    file = weights * width
    if cell.full:  # the whole transformer, trained or not, and the base's connectors
        file = width * trained_weights(replace(cell, video=Side(1), audio=Side(1)), size)
        file += 2 * int(CARRIED_CONNECTOR_WEIGHTS[cell.version]) if size == RELEASED else 0
    states = 0 if config.checkpoints.save_training_state == "off" else 2
    state = weights * cell.trained_bytes + optimizer_bytes(cell, size)
    return samples * sample + files * file + states * state


def check_known(version: str) -> Version:
    """`version` as one of the released ones. Raises ConfigError."""
    for known in _VERSIONS:
        if version == known:
            return known
    raise ConfigError(f"There is no LTX version {version}.", f"Known are {', '.join(_VERSIONS)}.")
