"""The training run: a screen of verbs over batches, steps, checkpoints and evaluations.

Randomness comes from (seed, epoch, sample) alone, so the order of ranks, workers and restarts changes nothing.
"""

from collections.abc import Iterator
from functools import partial

import torch

from trainer_core.config import TrainingConfig, settings_without_effect
from trainer_core.data.dataset import load_batches
from trainer_core.memory.limit import memory_limit
from trainer_core.metrics import StepMetrics, append_step
from trainer_core.pace import Part, times_due
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.prompts import samples_due
from trainer_core.training.checkpointing.on_failure import rescued, rollback_offer
from trainer_core.training.checkpointing.resume import resume
from trainer_core.training.checkpointing.save import save
from trainer_core.training.evaluation.heldout import Evaluator
from trainer_core.training.evaluation.review import review
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.monitoring.trackers import tracked
from trainer_core.training.optimizer_step import optimize, prepare_step
from trainer_core.training.setup import TrainingSession, set_up
from trainer_core.training.step import StepInput
from trainer_core.training.stop import StopRequest

STATE_CHECK_STEPS = 25
STATE_EVERY_S = 600.0
"""A state is saved at least this often, whatever the checkpoint interval: the most that a power cut costs."""


def train(config: TrainingConfig, run: RunFolder, keeper: StatusKeeper, stop: StopRequest) -> None:
    """Train from where the run stands to the last step, or until someone asks to stop; it is saved either way.

    Raises TrainingError when the loss or a gradient is not finite, ConfigError and DataError before anything costly.
    """
    session = set_up(config, run)
    step = resume(session, keeper)
    evaluator = Evaluator(session)
    announce(session, evaluator, keeper)
    inputs = read_inputs(session, step)
    with (
        tracked(config, run, keeper, main=session.accelerator.is_main_process),
        rescued(session, keeper),
        memory_limit(config.ltx_agent.memory.limit_gb, session),
    ):
        ended = review(session, evaluator, keeper, stop)
        while step < config.optimization.steps and not ended and not agreed(session, stop.requested()):
            metrics = optimize(session, inputs, step)
            step += 1
            log(session, metrics, keeper)
            if save_due(session):
                save(session, step, keeper)
            ended = review(session, evaluator, keeper, stop)
        if step < config.optimization.steps:
            keeper.update(state="stopping")
            keeper.record("stopping", step=step, why=ended or "a stop was asked for")
        if session.saved_step != step:
            save(session, step, keeper)
    stage = "finished" if step == config.optimization.steps else f"stopped early: {ended}" if ended else "stopped"
    keeper.update(state="done", stage=stage, eta_s=0.0, eta_parts_s=None)


def announce(session: TrainingSession, evaluator: Evaluator, keeper: StatusKeeper) -> None:
    """Say that the training begins, on what, and which settings of its config have no effect."""
    config = session.config
    keeper.update(state="running", stage="training", step=session.step, steps=config.optimization.steps)
    keeper.estimate = lambda: estimate(session, evaluator)
    for note in settings_without_effect(config):
        keeper.record("without effect", note=note)
    if session.checkpoints.continued.note:
        keeper.record("continued", message=session.checkpoints.continued.note)
    for name, columns in session.left_out.items():
        keeper.record("left out", sample=name, message=f"{name} is left out: it has no {columns}.")
    keeper.record(
        "started",
        model=session.source.label,
        samples=len(session.stream.samples),
        heldout=len(session.heldout),
        master_weights=session.master_weights,
        evaluated={"heldout": list(evaluator.plan.heldout), "train": list(evaluator.plan.train)},
        step=session.step,
    )


def read_inputs(session: TrainingSession, first_step: int = 0) -> Iterator[StepInput]:
    """Yield the inputs of this process's steps, from `first_step` to the last: read and noised ahead of them."""
    options = session.config.optimization
    return load_batches(
        session.stream,
        first_step,
        options.steps,
        rank=session.accelerator.process_index,
        ranks=session.accelerator.num_processes,
        accumulation=options.gradient_accumulation_steps,
        workers=session.config.data.num_dataloader_workers,
        prepare=partial(prepare_step, session),
    )


def log(session: TrainingSession, metrics: StepMetrics, keeper: StatusKeeper) -> None:
    """Append the step to metrics.jsonl, tell the status keeper, and raise an alarm if it is odd."""
    if not session.accelerator.is_main_process:
        return
    append_step(session.run.metrics_path, metrics)
    keeper.update(step=metrics.step)
    if metrics.loss is None or metrics.grad_norm is None:
        keeper.record("skipped step", step=metrics.step, message=session.skip_note)
        return
    alarms = [session.alarms.observe(metrics.step, metrics.loss, metrics.grad_norm)]
    if metrics.changed_weights is not None:
        alarms.append(session.alarms.observe_change(metrics.step, metrics.changed_weights, metrics.lr))
    for alarm in filter(None, alarms):
        keeper.record(alarm.kind, step=alarm.step, message=alarm.message, offer=rollback_offer(session, alarm))


def save_due(session: TrainingSession) -> bool:
    """True if this step is to be saved: every `checkpoints.interval` steps, before samples are rendered, the last one,
    and none too long ago."""
    interval, steps = session.config.checkpoints.interval, session.config.optimization.steps
    regular = session.step == steps or (interval is not None and session.step % interval == 0)
    regular = regular or samples_due(session.config, session.step)
    unsaved = session.step - session.saved_step
    if regular or not session.checkpoints.saves_state or unsaved % STATE_CHECK_STEPS:
        return regular
    return agreed(session, unsaved * (session.pace.step_s() or 0.0) > STATE_EVERY_S)


def agreed(session: TrainingSession, here: bool) -> bool:
    """True if it is so on any rank: all must end, save or go on together."""
    if session.accelerator.num_processes == 1:
        return here
    flag = torch.tensor([float(here)], device=session.accelerator.device)
    return bool(session.accelerator.reduce(flag, reduction="sum").item() > 0)


def estimate(session: TrainingSession, evaluator: Evaluator) -> dict[str, float] | None:
    """Seconds left by part; None before the first step."""
    config, step = session.config, session.step
    steps = config.optimization.steps
    saves = times_due(config.checkpoints.interval, step, steps, at_end=True)
    left: dict[Part, int] = {"saving": saves, "checkup": saves}
    if evaluator.enabled:
        left["evaluation"] = times_due(evaluator.plan.interval, step, steps, at_end=True)
    if config.validation.samples:
        left["validation"] = times_due(config.validation.interval, step, steps, at_end=False)
    return session.pace.eta_parts_s(steps - step, left)
