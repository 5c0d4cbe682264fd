"""Cost of starting a run: by an earlier run here, else by its rehearsal, else by arithmetic, each said to be so."""

import shutil
from pathlib import Path

from tools.monitor.status import describe_run
from tools.project import Project
from tools.rehearsal.recorded import Rehearsed, rehearsed
from tools.spec import CostLine
from trainer_core.config import TrainingConfig, load_config
from trainer_core.config_paths import resolve_paths
from trainer_core.data.buckets import parse_buckets
from trainer_core.errors import LtxError
from trainer_core.files import read_jsonl
from trainer_core.memory.plan import MemoryPlan, plan
from trainer_core.run_folder import RunFolder
from trainer_core.units import duration_text, size_text

LATENT_BYTES_A_TOKEN = 128 * 2
"""128 channels of bfloat16 a latent cell."""
TEXT_BYTES_A_SAMPLE = 8 * 1024 * 1024
"""Embeddings of up to 1024 text tokens in bfloat16 for both modalities: an upper bound."""


def start_costs(project: Project) -> list[CostLine]:
    """Time, memory and disk of a run of config.yaml; money is the asker's to work out from the time."""
    config = load_config(project.config_path)
    before, seen, planned = _run_like(project, config), rehearsed(project), _planned(project, config)
    return [_time(config, before, seen), *_memory(before, seen, planned), _disk(project, config, before, planned)]


def resume_costs(run: RunFolder, config: TrainingConfig, from_step: int) -> list[CostLine]:
    """The same for a run that goes on at `from_step` with `config`, by what it measured itself."""
    left = max(config.optimization.steps - from_step, 0)
    step_s = describe_run(run).step_s.get("whole")
    time = CostLine("time", f"{left} steps; how long one takes was not measured yet")
    if step_s is not None:
        text = f"about {duration_text(left * step_s)}: {left} steps of {step_s:.2g} s, as in the run so far"
        time = CostLine("time", text, left * step_s, "estimated")
    peak, one = _peak_bytes(run), _checkpoint_bytes(run)
    memory = CostLine("memory", "not measured: the run made no step yet")
    if peak is not None:
        memory = CostLine("memory", f"{size_text(peak)} on the device at its peak so far", peak, "measured")
    free = size_text(shutil.disk_usage(run.path).free)
    saves = _saves(config, left)
    if one is None:
        return [time, memory, CostLine("disk", f"{saves} checkpoints; {free} free")]
    return [
        time,
        memory,
        CostLine("disk", f"{saves} checkpoints of {size_text(one)}; {free} free", saves * one, "estimated"),
    ]


def rehearsal_lines(project: Project) -> list[str]:
    """Return the user's lines on the rehearsal before a start: what it ran, what it lacked, what it can't tell."""
    seen = rehearsed(project)
    if seen is None:
        return ["Not rehearsed as it now stands: what nobody measured is estimated (`ltx-agent rehearse` measures)."]
    lines = [f"Rehearsed on {seen.result.device}, {seen.result.sample}."]
    if not seen.trial.fits:
        needed = ", ".join(f"{key}: {value}" for key, value in seen.lacking.items())
        lines.append(
            f"As the plan stands, memory ran out while {seen.trial.ran_out}. "
            + (f"It fits with {needed}." if needed else "Not even every switch helps: use smaller or shorter clips.")
        )
    return lines + [f"Not measured: {what}." for what in seen.result.not_measured]


def _run_like(project: Project, config: TrainingConfig) -> RunFolder | None:
    """The newest run on this machine with the same model and samples a step, whose speed tells of the next."""
    for run in reversed(project.runs()):
        try:
            then = load_config(run.config_path)
            measured = describe_run(run).step_s
        except LtxError:
            continue
        same = then.optimization.batch_size == config.optimization.batch_size
        same = same and then.ltx_agent.buckets == config.ltx_agent.buckets
        if measured and same and then.model == config.model:
            return run
    return None


def _planned(project: Project, config: TrainingConfig) -> MemoryPlan | None:
    try:
        return plan(resolve_paths(config, project.path))
    except LtxError:
        return None


def _time(config: TrainingConfig, before: RunFolder | None, seen: Rehearsed | None) -> CostLine:
    steps = config.optimization.steps
    step_s = seen.trial.step_s if seen is not None else None
    source = f"rehearsed on {seen.result.device}" if seen is not None else ""
    if before is not None:
        step_s, source = describe_run(before).step_s["whole"], f"as in run {before.id}"
    if step_s is None:
        return CostLine("time", f"{steps} steps; how long one takes was not measured here yet")
    text = f"about {duration_text(steps * step_s)}: {steps} steps of {step_s:.2g} s, {source}, plus encoding"
    return CostLine("time", text, steps * step_s, "estimated")


def _memory(before: RunFolder | None, seen: Rehearsed | None, planned: MemoryPlan | None) -> list[CostLine]:
    """The device's memory: of a run, else of a rehearsal, else by arithmetic; and what a rehearsal without one saw."""
    peak = _peak_bytes(before) if before is not None else None
    if peak is not None and before is not None:
        return [CostLine("memory", f"{size_text(peak)} on the device at its peak in run {before.id}", peak, "measured")]
    lines = []
    if seen is not None and seen.trial.device_peak_bytes is not None:
        peak = seen.trial.device_peak_bytes
        return [CostLine("memory", f"{size_text(peak)} on the device at its peak, rehearsed", peak, "measured")]
    if seen is not None and seen.trial.host_peak_bytes is not None:
        host = seen.trial.host_peak_bytes
        tensors = f", {size_text(seen.trial.tensors_peak_bytes)} of it tensors" if seen.trial.tensors_peak_bytes else ""
        lines.append(
            CostLine("memory", f"{size_text(host)} of host memory at its peak{tensors}, rehearsed", host, "measured")
        )
    if planned is None:
        return lines or [CostLine("memory", "unknown: neither config.yaml nor the data says how large a sample is")]
    peak = planned.estimate.device_peak_bytes
    on_host = size_text(planned.estimate.host_peak_bytes)
    text = f"{size_text(peak)} on a GPU at its peak, {on_host} of host memory, by arithmetic"
    return [*lines, CostLine("memory", text, peak, "estimated")]


def _peak_bytes(run: RunFolder) -> int | None:
    from trainer_core.metrics import described_steps

    return max((row.get("memory_bytes") or 0 for row in described_steps(run.metrics_path)), default=0) or None


def _disk(project: Project, config: TrainingConfig, before: RunFolder | None, planned: MemoryPlan | None) -> CostLine:
    latents = _latent_bytes(project, config)
    saves = _saves(config, config.optimization.steps)
    one = _checkpoint_bytes(before) if before is not None else None
    free = shutil.disk_usage(project.path).free
    if one is None:
        total = planned.disk_bytes if planned is not None else latents
        kept = f"{saves} checkpoints and the state to resume from"
        text = f"about {size_text(total)} of latents, {kept}; {size_text(free)} free"
        return CostLine("disk", text, total, "estimated")
    total = latents + saves * one
    parts = f"{size_text(latents)} of latents, {saves} checkpoints of {size_text(one)}"
    text = f"about {size_text(total)}: {parts}; {size_text(free)} free"
    return CostLine("disk", text, total, "estimated")


def _saves(config: TrainingConfig, steps: int) -> int:
    interval = config.checkpoints.interval
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
