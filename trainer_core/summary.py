"""run-summary.md: what was trained on what, with which files, what came of it, how to use it and go on, and the cost.

Made of the run's own files, so that it says what they say. No torch.
"""

import json
import struct
from pathlib import Path
from typing import Any

from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.files import file_digest, read_jsonl, write_text
from trainer_core.metrics import heldout_rows, read_steps
from trainer_core.run_folder import RunFolder, RunStatus
from trainer_core.sampling.index import PAGE_NAME, TINY_NOTE, read_index
from trainer_core.units import size_text
from trainer_core.verdict.judge import judge

LARGEST_HEADER_BYTES = 100 * 2**20


def write_summary(run: RunFolder, config: TrainingConfig, status: RunStatus) -> Path:
    """Write run-summary.md of a run that has ended and return its path; an earlier one is replaced."""
    steps, heldout, events = read_steps(run.metrics_path), heldout_rows(run.metrics_path), run.events()
    sections = [
        _head(run, config, status),
        _inputs(run, config, events),
        _result(status, steps, heldout),
        _files(run, status),
        _samples(run),
        _use(run, config, status),
        _go_on(run, status),
        _cost(steps, heldout, events),
        _history(events),
    ]
    write_text(run.summary_path, "\n".join(section for section in sections if section))
    return run.summary_path


def _head(run: RunFolder, config: TrainingConfig, status: RunStatus) -> str:
    ended = {"done": status.stage or "finished", "failed": "failed", "diverged": "diverged"}.get(status.state, "ended")
    lines = [f"# Run {run.id}: {ended} at step {status.step} of {status.steps}", ""]
    if is_tiny(config.model.model_path):
        lines += ["A *tiny random model* was trained: it shows the path, it can't generate anything.", ""]
    if status.error:
        lines += [f"Error: {_inline(status.error)}", ""]
    return "\n".join(lines)


def _inputs(run: RunFolder, config: TrainingConfig, events: list[dict[str, Any]]) -> str:
    started: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "started"), {})
    kind = config.model.training_mode
    what = f"LoRA of rank {config.lora.rank}" if kind == "lora" and config.lora else "full checkpoint"
    options = config.optimization
    rows = [
        ("objective", config.objective_name),
        ("trained", what),
        ("base model", started.get("model", config.model.model_path)),
        ("samples", f"{started.get('samples', '?')} to train on, {started.get('heldout', 0)} held out"),
        ("learning rate", f"{options.learning_rate:g}, {options.scheduler_type}"),
        ("batch", f"{options.batch_size} x {options.gradient_accumulation_steps} accumulated"),
        ("optimizer", options.optimizer_type),
        ("weights held in", started.get("master_weights", "float32" if kind == "lora" else "unknown")),
        ("seed", config.seed),
        ("config.yaml", _digest(run.config_path)),
    ]
    if run.resumes_path.exists():
        rows.append(("resumes.jsonl", f"{_digest(run.resumes_path)} (what resumes changed)"))
    if config.ltx_agent.dataset:
        rows.append((f"dataset {_name(config.ltx_agent.dataset)}", _digest(Path(config.ltx_agent.dataset))))
    manifest = Path(config.data.preprocessed_data_root) / "manifest.json"
    rows.append(("precomputed data", _digest(manifest) if manifest.exists() else "no manifest (made elsewhere)"))
    return _table("What was trained on what", ("", ""), rows)


def _result(status: RunStatus, steps: list[dict[str, Any]], heldout: list[dict[str, Any]]) -> str:
    verdict = judge(steps, heldout, status.error if status.state == "diverged" else None)
    lines = ["## What came of it", "", f"Verdict: **{verdict.kind}** (confidence {verdict.confidence:.0%})."]
    lines += [f"- {_inline(evidence)}" for evidence in verdict.evidence]
    if verdict.best_step is not None:
        lines.append(f"- the lowest held-out loss was measured at step {verdict.best_step}")
    if heldout:
        lines += ["", "| step | held-out, relative | training clips, relative |", "| ---: | --- | --- |"]
        lines += [f"| {row['step']} | {_relative(row['heldout'])} | {_relative(row['train'])} |" for row in heldout]
    return "\n".join([*lines, ""])


def _files(run: RunFolder, status: RunStatus) -> str:
    checked = {row["file"]: row for row in read_jsonl(run.doctor_path)} if run.doctor_path.exists() else {}
    rows = []
    for path in sorted(run.checkpoints.glob("*_weights_step_*.safetensors")):
        marks = []
        if status.best_checkpoint and path.name == Path(status.best_checkpoint).name:
            marks.append("best by held-out loss")
        if status.last_checkpoint and path.name == Path(status.last_checkpoint).name:
            marks.append("last")
        doctor = checked.get(str(path), {}).get("verdict", "")
        facts = safetensors_metadata(path)
        rows.append(
            (f"checkpoints/{path.name}", ", ".join(marks), doctor, _digest(path), facts.get("base_fingerprint", ""))
        )
    if not rows:
        return "## Files\n\nNo checkpoint was saved.\n"
    return _table("Files", ("file", "mark", "adapter doctor", "sha256", "base fingerprint"), rows)


def _samples(run: RunFolder) -> str:
    """The contact sheets of what was rendered on the way."""
    index = read_index(run.samples)
    if index is None or not index.samples:
        return ""
    lines = ["## Samples", "", f"{len(index.samples)} files; base and adapter at the same seed: `samples/{PAGE_NAME}`."]
    if index.tiny:
        lines.append(TINY_NOTE)
    for row in index.prompts:
        if row.sheet:
            lines += ["", f"**{_inline(row.prompt)}**", "", f"![by step](samples/{row.sheet})"]
    return "\n".join([*lines, ""])


def _use(run: RunFolder, config: TrainingConfig, status: RunStatus) -> str:
    chosen = status.best_checkpoint or status.last_checkpoint
    if chosen is None or not (run.path / chosen).exists():
        return ""
    lines = ["## How to use it", ""]
    if is_tiny(config.model.model_path):
        return "\n".join([*lines, "Not at all: it belongs to a tiny random model.", ""])
    if config.model.training_mode == "full":
        return "\n".join([*lines, f"`{chosen}` has the keys of the official unified checkpoint.", ""])
    trigger = config.ltx_agent.trigger
    lines += [
        f"- ComfyUI: copy `{chosen}` into `models/loras` and load it on the base named above.",
        f'- diffusers: `pipeline.load_lora_weights("{_inline(str(run.path / chosen))}")`.'
        if config.ltx_agent.lora.kind != "lokr"
        else "- diffusers: its pipeline reads no LoKr; `ltx-agent export` makes a folder that diffusers loads.",
        f"- Write `{_inline(trigger)}` into the prompt." if trigger else "- It has no trigger word.",
        f"- Samples beside the base: `ltx-agent sample {_inline(str(run.path))}`.",
    ]
    return "\n".join([*lines, ""])


def _go_on(run: RunFolder, status: RunStatus) -> str:
    steps = run.state_steps()
    if not steps:
        told = "No state was saved: start a new run from its weights (`model.load_checkpoint`)."
    elif status.step < status.steps:
        told = f"`ltx-agent resume {_inline(str(run.path))}` goes on at step {steps[-1]}, as if it had not stopped."
    else:
        more = status.steps + max(status.steps // 2, 1)
        told = f"`ltx-agent resume {_inline(str(run.path))} --steps {more}` trains on from step {steps[-1]}."
    return "\n".join(["## How to go on", "", told, ""])


def _cost(steps: list[dict[str, Any]], heldout: list[dict[str, Any]], events: list[dict[str, Any]]) -> str:
    if not steps:
        return ""
    parts: dict[str, float] = {}
    for row in steps:
        for part, seconds in row["step_s"].items():
            parts[part] = parts.get(part, 0.0) + seconds
    training, evaluation = sum(parts.values()), sum(row["seconds"] for row in heldout)
    saving = sum(event.get("seconds", 0.0) for event in events if event["kind"] == "checkpoint")
    rows = [
        (
            "training",
            f"{training:.0f} s ({', '.join(f'{part} {value / training:.0%}' for part, value in parts.items())})",
        ),
        ("held-out evaluation", f"{evaluation:.0f} s, {evaluation / training:.1%} of the training time"),
        ("saving", f"{saving:.0f} s"),
        ("samples seen", steps[-1]["samples_seen"]),
        ("peak memory", size_text(max(row["memory_bytes"] for row in steps))),
    ]
    return _table("What it cost", ("", ""), rows)


def _history(events: list[dict[str, Any]]) -> str:
    told = [
        f"- step {event['step']}: {event['kind']}: {_inline(str(event.get('message') or event.get('why') or ''))}"
        for event in events
        if event.get("step") is not None and (event.get("message") or event.get("why"))
    ]
    told += [
        f"- resumed at step {event['step']}; overridden: {_inline('; '.join(event['overridden'])) or 'nothing'}"
        for event in events
        if event["kind"] == "resumed"
    ]
    return "\n".join(["## What happened on the way", "", *told, ""]) if told else ""


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, read without any library; empty when it has none or can't be read."""
    try:
        with path.open("rb") as handle:
            (size,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(min(size, LARGEST_HEADER_BYTES)))
    except (OSError, ValueError, struct.error):
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def _table(title: str, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(_inline(str(cell)) for cell in row)} |" for row in rows]
    return "\n".join([*lines, ""])


def _relative(part: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in part["relative"].items() if value is not None)


def _digest(path: Path) -> str:
    return f"`{file_digest(path)}`" if path.is_file() else "missing"


def _name(path: str) -> str:
    return _inline(Path(path).name)


def _inline(text: str) -> str:
    """Anybody's text inside Markdown: one line that opens no table cell, link or tag."""
    flat = " ".join(text.split())
    return flat.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
