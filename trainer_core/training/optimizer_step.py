"""One optimizer step: micro-batches to losses, gradients averaged over ranks, clipped, applied."""

import math
import resource
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from trainer_core.data.batch import Batch
from trainer_core.metrics import StepMetrics, StepSeconds
from trainer_core.training.monitoring.non_finite import (
    NonFiniteFinding,
    describe,
    find_non_finite,
    is_finite,
    non_finite_error,
)
from trainer_core.training.optim.fused import FusedOptimizer
from trainer_core.training.randomness import random_states
from trainer_core.training.setup import TrainingSession
from trainer_core.training.step import StepInput, StepLoss, draw, losses_of, step_input


def optimize(session: TrainingSession, inputs: Iterator[StepInput], step: int) -> StepMetrics:
    """One optimizer step over all its micro-batches; a gradient that is not finite is never applied.

    Raises TrainingError for it, or leaves the step out when the config says skip: its row then has no loss.
    """
    options = session.config.optimization
    started = time.perf_counter()
    seconds = {"data": 0.0, "forward": 0.0, "backward": 0.0, "optimizer": 0.0}
    losses: list[StepLoss] = []
    taken: list[StepInput] = []
    if session.config.lora is not None and session.config.lora.dropout > 0:
        session.random_before = random_states()
    if session.weight_change is not None:
        session.weight_change.before_update()
    session.mid_update = isinstance(session.optimizer, FusedOptimizer)  # it updates within the backward pass
    for _ in range(options.gradient_accumulation_steps):
        with _timed(seconds, "data"):
            taken.append(next(inputs))
        with _timed(seconds, "forward"), session.autocast():
            loss = losses_of(session.model, session.connectors, taken[-1])
        with _timed(seconds, "backward"):
            session.accelerator.backward(loss.total)  # divided by the accumulation there
        losses.append(loss)
    with _timed(seconds, "optimizer"):
        learning_rate = float(session.schedule.get_last_lr()[0])
        average_gradients(session)
        grad_norm = (
            session.optimizer.take_norm()
            if isinstance(session.optimizer, FusedOptimizer)
            else clip_gradients(session.parameters, options.max_grad_norm)
        )
        means = mean_losses(session, losses)
        healthy = is_finite(means, grad_norm)
        if not healthy:
            _refuse_or_skip(session, step, [one.batch for one in taken])
        session.mid_update = True
        if healthy:
            session.optimizer.step()
        session.optimizer.zero_grad(set_to_none=True)
        session.schedule.step()
        if session.average is not None and healthy:
            session.average.update()
        changed = session.weight_change.after_update() if session.weight_change is not None and healthy else None
    session.mid_update, session.random_before, session.step = False, None, step + 1
    session.pace.stepped(time.perf_counter() - started)
    return StepMetrics(
        step=step + 1,
        time_s=time.time(),
        epoch=taken[-1].batch.epoch,
        loss=sum(means[key] or 0.0 for key in ("video", "audio")) if healthy else None,
        loss_video=means["video"] if healthy else None,
        loss_audio=means["audio"] if healthy else None,
        sigma_video=means["sigma_video"],
        sigma_audio=means["sigma_audio"],
        lr=learning_rate,
        grad_norm=grad_norm if healthy else None,
        step_s=StepSeconds(**seconds),
        memory_bytes=_peak_memory_bytes(session.accelerator.device),
        samples_seen=(step + 1)
        * options.batch_size
        * options.gradient_accumulation_steps
        * session.accelerator.num_processes,
        clips=[clip for one in taken for clip in one.batch.clips],
        changed_weights=changed,
    )


def prepare_step(session: TrainingSession, batch: Batch) -> StepInput:
    """A batch noised at the draws that belong to its samples: the same whenever it is called."""
    draws = draw(batch, session.objective, session.sampler, sample_generators(session.config.seed, batch))
    return step_input(session.model, batch, session.objective, draws)


def sample_generators(seed: int, batch: Batch) -> list[torch.Generator]:
    """One generator for each sample, seeded by (seed, epoch, sample): the same whatever the batch, rank or restart."""
    return [
        torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, batch.epoch, index]).generate_state(1, np.uint64)[0] >> 1)
        )
        for index in batch.indices
    ]


def average_gradients(session: TrainingSession) -> None:
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


def mean_losses(session: TrainingSession, losses: list[StepLoss]) -> dict[str, float | None]:
    """Losses and sigmas averaged over micro-batches and ranks, in one reduction and one transfer."""
    columns = ("video", "audio", "sigma_video", "sigma_audio")
    present = [name for name in columns if getattr(losses[0], name) is not None]
    device = session.accelerator.device
    means = torch.stack(
        [torch.stack([getattr(loss, name).detach().mean().to(device) for name in present]) for loss in losses]
    ).mean(dim=0)
    if session.accelerator.num_processes > 1:
        means = session.accelerator.reduce(means, reduction="mean")
    values = dict(zip(present, means.tolist(), strict=True))
    return {name: values.get(name) for name in columns}


def _refuse_or_skip(session: TrainingSession, step: int, batches: list[Batch]) -> None:
    """Name what is not finite; raise, or count the step as skipped. Every rank gets here together."""
    from accelerate.utils import gather_object

    def again(batch: Batch) -> StepLoss:
        with session.autocast():
            return losses_of(session.model, session.connectors, prepare_step(session, batch))

    found = NonFiniteFinding()
    for one in gather_object([find_non_finite(session.model, batches, again)]):
        found = found.merged(one)
    clips = [clip for part in gather_object([[clip for batch in batches for clip in batch.clips]]) for clip in part]
    guard = session.config.ltx_agent.training
    if guard.non_finite == "stop" or session.skipped >= guard.max_skipped_steps:
        raise non_finite_error(step + 1, found, clips)
    session.skipped += 1
    session.skip_note = (
        f"{describe(step + 1, found, clips)} Skipped: {session.skipped} of at most {guard.max_skipped_steps}."
    )


class _timed:
    """Adds the time spent inside to `seconds[name]`."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] += time.perf_counter() - self._started


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
