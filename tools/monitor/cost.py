"""What starting a run costs: measured where an earlier run here tells, estimated from the data, else unknown."""

import shutil
from pathlib import Path

from tools.monitor.status import describe_run
from tools.project import Project
from tools.spec import CostLine
from trainer_core.config import TrainingConfig, load_config, resolve_paths
from trainer_core.data.buckets import parse_buckets
from trainer_core.errors import LtxError
from trainer_core.files import read_jsonl
from trainer_core.run_folder import RunFolder

LATENT_BYTES_A_TOKEN = 128 * 2
"""128 channels of bfloat16 a latent cell."""
TEXT_BYTES_A_SAMPLE = 8 * 1024 * 1024
"""Embeddings of up to 1024 text tokens in bfloat16 for both modalities: an upper bound."""


def start_costs(project: Project) -> list[CostLine]:
    """Time, memory and disk of a run of config.yaml; money is the asker's to work out from the time."""
    config = load_config(project.config_path)
    before = _run_like(project, config)
    return [_time(config, before), _memory(before), _disk(project, config, before)]


def _run_like(project: Project, config: TrainingConfig) -> RunFolder | None:
    """The newest run on this machine with the same samples a step, whose speed tells of the next."""
    for run in reversed(project.runs()):
        try:
            then = load_config(run.config_path)
            measured = describe_run(run).step_s
        except LtxError:
            continue
        same = then.optimization.batch_size == config.optimization.batch_size
        same = same and then.ltx_agent.buckets == config.ltx_agent.buckets
        if measured and same and then.model.training_mode == config.model.training_mode:
            return run
    return None


def _time(config: TrainingConfig, before: RunFolder | None) -> CostLine:
    steps = config.optimization.steps
    if before is None:
        text = f"{steps} steps; how long one takes was not measured here yet (`ltx-agent rehearse` measures it)"
        return CostLine("time", text)
    step_s = describe_run(before).step_s["whole"]
    text = f"about {_duration(steps * step_s)}: {steps} steps of {step_s:.2g} s, as in run {before.id}, plus encoding"
    return CostLine("time", text, steps * step_s, "estimated")


def _memory(before: RunFolder | None) -> CostLine:
    peak = _peak_bytes(before) if before is not None else None
    if peak is None or before is None:
        return CostLine("memory", "not measured here yet (`ltx-agent plan-memory` estimates it)")
    return CostLine("memory", f"{_size(peak)} on the device at its peak in run {before.id}", peak, "measured")


def _peak_bytes(run: RunFolder) -> int | None:
    from trainer_core.metrics import described_steps

    return max((row.get("memory_bytes") or 0 for row in described_steps(run.metrics_path)), default=0) or None


def _disk(project: Project, config: TrainingConfig, before: RunFolder | None) -> CostLine:
    latents = _latent_bytes(project, config)
    saves = _saves(config)
    one = _checkpoint_bytes(before) if before is not None else None
    free = shutil.disk_usage(project.path).free
    if one is None:
        text = f"about {_size(latents)} of latents and {saves} checkpoints; {_size(free)} are free"
        return CostLine("disk", text, latents, "estimated")
    total = latents + saves * one
    text = f"about {_size(total)}: {_size(latents)} of latents, {saves} checkpoints of {_size(one)}; {_size(free)} free"
    return CostLine("disk", text, total, "estimated")


def _saves(config: TrainingConfig) -> int:
    interval, steps = config.checkpoints.interval, config.optimization.steps
    saves = steps // interval + (steps % interval > 0) if interval else 1
    keep = config.checkpoints.keep_last_n
    return min(saves, keep) if keep > 0 else saves


def _latent_bytes(project: Project, config: TrainingConfig) -> int:
    """Upper bound of what encoding adds: what lies in .precomputed already counts as none to come."""
    rows = read_jsonl(project.dataset_path) if project.dataset_path.exists() else []
    samples = sum(len(row.get("samples", [])) for row in rows)
    buckets = parse_buckets(config.ltx_agent.buckets) if config.ltx_agent.buckets else []
    tokens = max((bucket.tokens for bucket in buckets), default=0)
    there = Path(resolve_paths(config, project.path).data.preprocessed_data_root)
    done = len(list((there / "conditions").rglob("*.pt"))) if there.is_dir() else 0
    return max(samples - done, 0) * (tokens * LATENT_BYTES_A_TOKEN + TEXT_BYTES_A_SAMPLE)


def _checkpoint_bytes(run: RunFolder) -> int | None:
    sizes = [path.stat().st_size for path in run.checkpoints.rglob("*") if path.is_file()]
    return max(sizes, default=0) or None


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("the loop returns")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
