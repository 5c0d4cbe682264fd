"""The training run: a screen of verbs over batches, steps and checkpoints.

Randomness comes from (seed, epoch, sample) alone, so the order of ranks, workers and restarts changes nothing.
"""

import math
import resource
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from trainer_core.config import TrainingConfig, settings_without_effect
from trainer_core.data.batch import Batch
from trainer_core.data.dataset import load_batches
from trainer_core.errors import TrainingError
from trainer_core.metrics import StepMetrics, StepSeconds, append_step
from trainer_core.run_folder import RunFolder
from trainer_core.training.keeper import StatusKeeper
from trainer_core.training.setup import Session, adapter_facts, set_up
from trainer_core.training.step import StepLoss, training_step


def train(config: TrainingConfig, run: RunFolder, keeper: StatusKeeper) -> None:
    """Train to the last step, or until someone asks to stop; the weights are saved either way.

    Raises TrainingError when the loss or a gradient is not finite, ConfigError and DataError before anything costly.
    """
    stop = _StopRequest(run)
    session = set_up(config, run)
    keeper.update(state="running", stage="training", steps=config.optimization.steps)
    for note in settings_without_effect(config):
        keeper.record("without effect", note=note)
    keeper.record("started", model=session.source.label, samples=len(session.stream.samples))
    batches = read_batches(session)
    step = 0
    while step < config.optimization.steps and not stop.requested():
        metrics = optimize(session, batches, step)
        step += 1
        log(session, metrics, keeper)
        if due(config.checkpoints.interval, step) and step < config.optimization.steps:
            save(session, step, keeper)
    if stop.requested():
        keeper.update(state="stopping")
        keeper.record("stop requested", step=step)
    save(session, step, keeper)
    keeper.update(state="done", stage="stopped" if step < config.optimization.steps else "finished", eta_s=0.0)


def read_batches(session: Session) -> Iterator[Batch]:
    """The batches of this process, from the first step to the last."""
    options = session.config.optimization
    return load_batches(
        session.stream,
        0,
        options.steps,
        rank=session.accelerator.process_index,
        ranks=session.accelerator.num_processes,
        accumulation=options.gradient_accumulation_steps,
        workers=session.config.data.num_dataloader_workers,
    )


def optimize(session: Session, batches: Iterator[Batch], step: int) -> StepMetrics:
    """One optimizer step over all its micro-batches; refuses to apply a gradient that is not finite."""
    options = session.config.optimization
    started = time.perf_counter()
    seconds = {"data": 0.0, "forward": 0.0, "backward": 0.0, "optimizer": 0.0}
    losses: list[StepLoss] = []
    clips: list[str] = []
    epoch = 0
    for _ in range(options.gradient_accumulation_steps):
        with _timed(seconds, "data"):
            batch = next(batches)
        with _timed(seconds, "forward"), session.autocast():
            loss = training_step(
                session.model,
                session.connectors,
                batch,
                session.objective,
                sampler=session.sampler,
                generator=sample_generators(session.config.seed, batch),
            )
        with _timed(seconds, "backward"):
            session.accelerator.backward(loss.total / options.gradient_accumulation_steps)
        losses.append(loss)
        clips += batch.clips
        epoch = batch.epoch
    with _timed(seconds, "optimizer"):
        learning_rate = float(session.schedule.get_last_lr()[0])
        average_gradients(session)
        grad_norm = clip_gradients(session.parameters, options.max_grad_norm)
        means = mean_losses(session, losses)
        _refuse_non_finite(step, means, grad_norm, clips)
        session.optimizer.step()
        session.optimizer.zero_grad(set_to_none=True)
        session.schedule.step()
    session.seconds_a_step.append(time.perf_counter() - started)
    return StepMetrics(
        step=step + 1,
        time_s=time.time(),
        epoch=epoch,
        loss=sum(means[key] or 0.0 for key in ("video", "audio")),
        loss_video=means["video"],
        loss_audio=means["audio"],
        sigma_video=means["sigma_video"],
        sigma_audio=means["sigma_audio"],
        lr=learning_rate,
        grad_norm=grad_norm,
        step_s=StepSeconds(**seconds),
        memory_bytes=_peak_memory_bytes(session.accelerator.device),
        samples_seen=(step + 1)
        * options.batch_size
        * options.gradient_accumulation_steps
        * session.accelerator.num_processes,
        clips=clips,
    )


def sample_generators(seed: int, batch: Batch) -> list[torch.Generator]:
    """One generator for each sample, seeded by (seed, epoch, sample): the same whatever the batch, rank or restart."""
    return [
        torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, batch.epoch, index]).generate_state(1, np.uint64)[0] >> 1)
        )
        for index in batch.indices
    ]


def average_gradients(session: Session) -> None:
    """Average the gradients over the ranks, once an optimizer step."""
    if session.accelerator.num_processes == 1:
        return
    for parameter in session.parameters:
        if parameter.grad is None:  # a layer that this step's samples didn't reach on this rank
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat(
        [parameter.grad.flatten().float() for parameter in session.parameters if parameter.grad is not None]
    )
    mean = session.accelerator.reduce(flat, reduction="mean")
    offset = 0
    for parameter in session.parameters:
        assert parameter.grad is not None
        count = parameter.grad.numel()
        parameter.grad.copy_(mean[offset : offset + count].view_as(parameter.grad))
        offset += count


def clip_gradients(parameters: list[nn.Parameter], max_norm: float) -> float:
    """Scale the gradients down to `max_norm` (0: never) and return the norm they had.

    The value is needed anyway, so gradients below the limit are left alone instead of multiplied by one.
    """
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    value = float(norm)
    if 0 < max_norm < value < math.inf:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return value


def mean_losses(session: Session, losses: list[StepLoss]) -> dict[str, float | None]:
    """Losses and sigmas averaged over micro-batches and ranks, in one reduction and one transfer."""
    columns = ("video", "audio", "sigma_video", "sigma_audio")
    present = [name for name in columns if getattr(losses[0], name) is not None]
    device = session.accelerator.device
    means = torch.stack(
        [torch.stack([getattr(loss, name).detach().mean().to(device) for name in present]) for loss in losses]
    ).mean(dim=0)
    values = dict(zip(present, session.accelerator.reduce(means, reduction="mean").tolist(), strict=True))
    return {name: values.get(name) for name in columns}


def log(session: Session, metrics: StepMetrics, keeper: StatusKeeper) -> None:
    """Append the step to metrics.jsonl and tell the status keeper; only the main process writes."""
    if not session.accelerator.is_main_process:
        return
    append_step(session.run.metrics_path, metrics)
    recent = session.seconds_a_step[-50:]
    remaining = session.config.optimization.steps - metrics.step
    keeper.update(step=metrics.step, eta_s=remaining * sum(recent) / len(recent))


def due(interval: int | None, step: int) -> bool:
    return interval is not None and step % interval == 0


def save(session: Session, step: int, keeper: StatusKeeper) -> None:
    """Write the weights of `step`; only the main process writes."""
    if session.accelerator.is_main_process and step > 0:
        path = session.checkpoints.save(session.model.transformer, adapter_facts(session, step))
        keeper.update(last_checkpoint=path.relative_to(session.run.path).as_posix())
        keeper.record("checkpoint", step=step, path=path.name)
    session.accelerator.wait_for_everyone()


def _refuse_non_finite(step: int, means: dict[str, float | None], grad_norm: float, clips: list[str]) -> None:
    if np.isfinite(grad_norm) and all(value is None or np.isfinite(value) for value in means.values()):
        return
    bad = [name for name in ("video", "audio") if means[name] is not None and not np.isfinite(means[name] or 0.0)]
    what = f"the {' and '.join(bad)} loss" if bad else "a gradient"
    sigmas = ", ".join(f"{key} {means[key]:.3f}" for key in ("sigma_video", "sigma_audio") if means[key] is not None)
    raise TrainingError(
        f"Step {step + 1}: {what} is not finite (clips: {', '.join(dict.fromkeys(clips))}; {sigmas}). "
        "The update was not applied.",
        "Look at those clips, lower the learning rate, or use bf16 instead of fp16.",
    )


class _timed:
    """Adds the time spent inside to `seconds[name]`."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] += time.perf_counter() - self._started


class _StopRequest:
    """Someone wants the run to end: a file in the run folder, SIGTERM or SIGINT."""

    def __init__(self, run: RunFolder) -> None:
        self._path = run.stop_request_path
        self._signalled = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def requested(self) -> bool:
        return self._signalled or self._path.exists()

    def _on_signal(self, _number: int, _frame: Any) -> None:
        self._signalled = True


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
