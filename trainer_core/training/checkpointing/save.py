"""Saving a run: the weights for others to read, then the state that a resume needs, then what may go."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from trainer_core.errors import ExternalError
from trainer_core.files import fsync_file
from trainer_core.metrics import heldout_rows
from trainer_core.resume_config import SCHEDULE_SETTINGS
from trainer_core.training.checkpointing.checkpoints import weights_by_step
from trainer_core.training.checkpointing.state import write_state
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.optim.optimizers import finished_weights
from trainer_core.training.randomness import random_states
from trainer_core.training.setup import TrainingSession, adapter_facts
from trainer_core.verdict.heldout import best_evaluated


def save(session: TrainingSession, step: int, keeper: StatusKeeper) -> None:
    """Write weights and state of `step`, each whole or not at all; only then older ones may go. Every rank calls it."""
    path = None
    if not session.run.path.is_dir():  # writing would make it again, without what it held
        raise ExternalError(
            f"The run folder {session.run.path} has vanished; nothing could be written.",
            "Bring it back, such as by mounting its disk again, then go on with `ltx-agent resume`.",
        )
    with session.pace.measuring("saving"):
        if session.accelerator.is_main_process:
            path = write_weights(session, step)
        if session.checkpoints.saves_state:
            save_state(session, step, path)
        if path is not None:
            session.checkpoints.prune(best_saved(session))
    if path is not None:
        keeper.update(last_checkpoint=path.relative_to(session.run.path).as_posix())
        keeper.record("checkpoint", step=step, path=path.name, seconds=round(session.pace.latest_s("saving"), 3))
    session.saved_step = step
    session.accelerator.wait_for_everyone()


def write_weights(session: TrainingSession, step: int) -> Path:
    """Write the weights file of `step`."""
    with finished_weights(session.optimizer):
        return session.checkpoints.save(session.model.transformer, adapter_facts(session, step), session.average)


def best_saved(session: TrainingSession) -> int | None:
    """The step of the saved weights whose held-out loss is lowest; None before the first evaluation."""
    saved = weights_by_step(session.run.checkpoints)
    return best_evaluated([row for row in heldout_rows(session.run.metrics_path) if row["step"] in saved])


def save_state(session: TrainingSession, step: int, weights: Path | None) -> None:
    """Write everything that a resume from `step` needs. Every rank calls it; only the main process writes."""
    content = capture(session, step)
    if session.accelerator.is_main_process:
        if session.run.metrics_path.exists():
            fsync_file(session.run.metrics_path)  # a state never stands without the metrics before it
        write_state(session.run.states, step, content, weights)


def capture(session: TrainingSession, step: int) -> dict[str, Any]:
    """The state of every rank at `step`: plain types and tensors. Weights are those that train, in their own precision:
    the weights file may be bfloat16."""
    from accelerate.utils import gather_object

    scaler = getattr(session.accelerator, "scaler", None)
    return {
        "step": step,
        "resumes_done": len(session.run.resumes()),
        "ranks": session.accelerator.num_processes,
        "order": sample_order(session),
        "settings": schedule_settings(session),
        "master_weights": session.master_weights,
        "weights": trained_weights(session),
        "optimizer": session.optimizer.state_dict(),
        "schedule": session.schedule.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "average": None if session.average is None else session.average.state(),
        "random": gather_object([session.random_before or random_states()]),
        "alarms": session.alarms.state(),
        "skipped": session.skipped,
    }


def trained_weights(session: TrainingSession) -> dict[str, torch.Tensor]:
    names = {id(parameter): name for name, parameter in session.model.named_parameters()}
    return {names[id(parameter)]: parameter.detach() for parameter in session.parameters}


def schedule_settings(session: TrainingSession) -> dict[str, Any]:
    section = session.config.optimization
    found = {name: getattr(section, name) for name in SCHEDULE_SETTINGS}
    return {**found, "warmup_steps": session.config.ltx_agent.warmup_steps}


def sample_order(session: TrainingSession) -> str:
    """A digest of everything that the order of the samples and their noise follow from."""
    options = session.config.optimization
    facts = [
        [(sample.name, sample.shape) for sample in session.stream.samples],
        options.batch_size,
        options.gradient_accumulation_steps,
        session.config.seed,
    ]
    return hashlib.sha256(json.dumps(facts, default=str).encode("utf-8", errors="surrogateescape")).hexdigest()
