"""Taking a run up again where its last complete state left it, bit for bit, and saying what was restored."""

import re
import shutil
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from trainer_core.errors import ConfigError, DataError
from trainer_core.files import append_jsonl, fsync_file, read_jsonl, write_jsonl
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.index import forget_after
from trainer_core.training.checkpointing.checkpoints import step_of
from trainer_core.training.checkpointing.save import (
    sample_order,
    save_state,
    schedule_settings,
    trained_weights,
    write_weights,
)
from trainer_core.training.checkpointing.state import SavedState, file_facts, list_states, newest_state
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.randomness import restore_random_states, seed_process
from trainer_core.training.setup import TrainingSession

_STEP_IN_NAME = re.compile(r"step_?0*(\d+)")


def resume(session: TrainingSession, keeper: StatusKeeper) -> int:
    """Restore the newest complete state of the run's folder, and return its step; 0 when nothing was trained yet.

    What lies behind that step is set aside, never deleted: metrics rows go to metrics.cut.jsonl, files to set-aside/.
    """
    run = session.run
    seed_process(session.config.seed, session.accelerator.process_index)
    saved, problems = _wanted_state(run)
    if saved is None:
        _refuse_to_start_over(session)
    step = 0 if saved is None else saved.step
    restored, overridden = ([], []) if saved is None else restore(session, saved)
    session.accelerator.wait_for_everyone()
    if session.accelerator.is_main_process:
        _remove_parts(run)
        requests = run.resumes()
        other_weights = bool(requests) and (saved is None or saved.content["resumes_done"] < len(requests))
        moved = set_aside_after(run, step, samples=other_weights)
        cut = cut_metrics(run, step)
        for problem in problems:
            keeper.record("damaged state", message=problem)
        if saved is not None or moved or cut:
            keeper.record("resumed", step=step, restored=restored, overridden=overridden, cut_rows=cut, set_aside=moved)
    session.accelerator.wait_for_everyone()
    if saved is not None:
        _mend_weights(session, saved, keeper)
    session.saved_step = session.checked_step = step
    session.step = step
    return step


def restore(session: TrainingSession, saved: SavedState) -> tuple[list[str], list[str]]:
    """Put `saved` into the session; return what was restored and what the changed config overrides, in words.

    Raises DataError or ConfigError when the state belongs to other data, other weights or another number of processes.
    """
    content = saved.content
    if content["ranks"] != session.accelerator.num_processes:
        raise ConfigError(
            f"The run was trained by {content['ranks']} process(es), this is {session.accelerator.num_processes}: the "
            "order of the samples would change.",
            f"Resume with {content['ranks']}, or start a new run from its weights (model.load_checkpoint).",
        )
    if content["order"] != sample_order(session):
        raise DataError(
            "The samples to train on are not those that the run began with (or their shapes, batch size, accumulation "
            "or seed differ), so it can't go on where it was.",
            "Restore the dataset, or start a new run from its weights (model.load_checkpoint).",
        )
    _refuse_other_precision(session, content)
    _restore_weights(session, content["weights"])
    overridden = _restore_optimizer(session, content, saved.step)
    scaler = getattr(session.accelerator, "scaler", None)
    if scaler is not None and content["scaler"] is not None:
        scaler.load_state_dict(content["scaler"])
    restored = ["weights", "optimizer", "random states", "data position"]
    if not overridden:
        restored.append("schedule")
    if session.average is not None:
        if content["average"] is None:
            overridden.append("the moving average begins at this step: the run had none")
        else:
            session.average.restore(content["average"])
            restored.append("moving average")
    restore_random_states(content["random"][session.accelerator.process_index])
    session.alarms.restore(content["alarms"])
    session.skipped = content["skipped"]
    return restored, overridden


def set_aside_after(run: RunFolder, step: int, *, samples: bool) -> list[str]:
    """Move checkpoints and states of later steps into set-aside/; return their names relative to the run.

    `samples` of later steps too, where the weights to come are others than those they show.
    """
    later = [path for path in _listed(run.checkpoints) if (found := step_of(path)) is not None and found > step]
    later += [path for path in _listed(run.states) if (found := _number(path)) is None or found > step]
    if samples:
        later += [path for path in run.samples.glob("*/step_*") if (_number(path) or 0) > step]
        forget_after(run.samples, step)
    if not later:
        return []
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    target = next(
        path for n in range(10_000) if not (path := run.set_aside / (stamp if n == 0 else f"{stamp}-{n}")).exists()
    )
    for path in later:
        moved = target / path.relative_to(run.path)
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    return [path.relative_to(run.path).as_posix() for path in later]


def cut_metrics(run: RunFolder, step: int) -> int:
    """Cut the rows after `step` off metrics.jsonl, into metrics.cut.jsonl first; return how many.

    Repeated rows of a step go the same way: the first one stays. Raises ConfigError when rows up to `step` are missing.
    """
    if not run.metrics_path.exists():
        if step > 0:
            raise ConfigError(f"{run.metrics_path} is missing.", "Restore it, or start a new run from the weights.")
        return 0
    kept: list[dict[str, Any]] = []
    cut: list[dict[str, Any]] = []
    seen: set[tuple[int, bool]] = set()
    for row in read_jsonl(run.metrics_path):
        key = (row["step"], "heldout" in row)
        (cut if row["step"] > step or key in seen else kept).append(row)
        seen.add(key)
    for row in cut:
        append_jsonl(run.cut_metrics_path, {"resumed_from": step, **row})
    if cut:
        fsync_file(run.cut_metrics_path)
        write_jsonl(run.metrics_path, kept)
    return len(cut)


def _wanted_state(run: RunFolder) -> tuple[SavedState | None, list[str]]:
    saved, problems = newest_state(run.states)
    requests = run.resumes()
    if saved is None or not requests or saved.content["resumes_done"] >= len(requests):
        return saved, problems
    from_step = requests[-1]["from_step"]
    return (saved, problems) if from_step is None else newest_state(run.states, from_step)


def _refuse_to_start_over(session: TrainingSession) -> None:
    """A run without a usable state starts at step 0, unless it has trained and was told to save no state."""
    trained = session.run.metrics_path.exists() and len(read_jsonl(session.run.metrics_path)) > 0
    if trained and not session.checkpoints.saves_state:
        raise ConfigError(
            f"Run {session.run.id} has trained already and saved no state to go on from "
            "(checkpoints.save_training_state off, or no_resume).",
            "Start a new run from its weights: model.load_checkpoint.",
        )


def _refuse_other_precision(session: TrainingSession, content: dict[str, Any]) -> None:
    before, now = content.get("master_weights", "plain bf16"), session.master_weights
    in_bf16 = session.config.acceleration.mixed_precision_mode == "bf16"
    if before == now or session.config.model.training_mode == "lora" or not in_bf16:
        return
    raise ConfigError(
        f"The run's weights were held in {before}, and ltx_agent.training.master_weights now is {now}: its state would "
        "lose its meaning.",
        "Resume without that change, or start a new run from its weights (model.load_checkpoint).",
    )


@torch.no_grad()
def _restore_weights(session: TrainingSession, weights: dict[str, torch.Tensor]) -> None:
    mine = trained_weights(session)
    odd = sorted(set(mine) ^ set(weights))
    odd += [name for name in mine if name in weights and mine[name].shape != weights[name].shape]
    if odd:
        raise ConfigError(
            f"The saved state doesn't fit this model: {odd[0]} is missing or of another shape.",
            "Use the base model and the adapter settings that the run began with.",
        )
    for name, parameter in mine.items():
        parameter.copy_(weights[name])


def _restore_optimizer(session: TrainingSession, content: dict[str, Any], step: int) -> list[str]:
    """Restore optimizer and schedule; a changed schedule is run up to `step` instead, and what changed is returned."""
    before, now = content["settings"], schedule_settings(session)
    changed = [f"{name} {before[name]} → {now[name]}" for name in now if before[name] != now[name]]
    if not changed:
        session.optimizer.load_state_dict(content["optimizer"])
        session.schedule.load_state_dict(content["schedule"])
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the schedule moves without its optimizer here, on purpose
        for _ in range(step):
            session.schedule.step()
    rates = [(group["lr"], group.get("initial_lr", group["lr"])) for group in session.optimizer.param_groups]
    session.optimizer.load_state_dict(content["optimizer"])
    for group, (rate, initial) in zip(session.optimizer.param_groups, rates, strict=True):
        group["lr"], group["initial_lr"] = rate, initial
    return [*changed, f"the schedule, at step {step} of the new one: learning rate {rates[0][0]:.3g}"]


def _mend_weights(session: TrainingSession, saved: SavedState, keeper: StatusKeeper) -> None:
    """Write a weights file that no longer is what was saved again, from the state; a damaged one is set aside first."""
    from accelerate.utils import gather_object

    if saved.weights is None:
        return
    path = session.run.checkpoints / saved.weights["name"]
    facts = {key: saved.weights[key] for key in ("bytes", "sha256")}
    if gather_object([path.exists() and file_facts(path) == facts])[0]:
        return
    if session.accelerator.is_main_process:
        if path.exists():
            damaged = session.run.set_aside / f"damaged-{datetime.now():%Y%m%d-%H%M%S-%f}" / path.name
            damaged.parent.mkdir(parents=True)
            path.rename(damaged)
        keeper.record("damaged weights", message=f"{path.name} was damaged or missing and is written again.")
        for left in session.run.checkpoints.glob(f"ema_{path.name}"):
            left.unlink()
        write_weights(session, saved.step)
    save_state(session, saved.step, path)


def _remove_parts(run: RunFolder) -> None:
    """Remove what a killed save left under temporary names."""
    for folder in (run.path, run.checkpoints, run.states, *(path for _, path in list_states(run.states))):
        for part in folder.glob(".part-*") if folder.is_dir() else ():
            part.unlink()
    for folder in _listed(run.states):
        if folder.is_dir() and not (folder / "manifest.json").exists():
            shutil.rmtree(folder)


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _number(path: Path) -> int | None:
    found = _STEP_IN_NAME.search(path.name)
    return int(found[1]) if found else None
