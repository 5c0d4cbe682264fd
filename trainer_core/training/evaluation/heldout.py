"""The held-out evaluation: the same clips, noise and sigmas every time, so that only the weights move.

Clips held out show what was learnt in general; as many training clips, evaluated in the same way, show what was learnt
by heart. Nothing here touches the random states or the gradients of the training.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from trainer_core.data.dataset import load_batch
from trainer_core.data.samples import SampleFiles
from trainer_core.files import read_json, write_json
from trainer_core.metrics import append_heldout, heldout_rows
from trainer_core.run_folder import RunFolder
from trainer_core.training.noise import SigmaSampler
from trainer_core.training.optim.optimizers import finished_weights
from trainer_core.training.setup import TrainingSession
from trainer_core.training.step import MODALITIES, draw, training_step

SIGMAS = (0.125, 0.375, 0.625, 0.875)
"""The middles of four equal bins of sigma."""
BINS = ("0.00-0.25", "0.25-0.50", "0.50-0.75", "0.75-1.00")
EVALUATIONS_WANTED = 16
"""Trends need points: the budget is spent on this many evaluations rather than on many clips each."""
MOST_CLIPS, LEAST_TRAIN_CLIPS = 16, 1
FORWARDS_A_SAMPLE = 3
"""A training step costs about three forward passes a sample: forward once, backward twice."""
TIMED_STEPS = 10
"""Steps to measure before an interval is derived from their time."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Samples to evaluate, by name; `interval` None until it could be derived from measured times."""

    heldout: tuple[str, ...]
    train: tuple[str, ...]
    sigmas: tuple[float, ...]
    share: float
    interval: int | None = None

    @property
    def forwards(self) -> int:
        return (len(self.heldout) + len(self.train)) * len(self.sigmas)


class Evaluator:
    """Evaluates a session by its plan; the plan and its interval are the run's, kept in evaluation.json."""

    def __init__(self, session: TrainingSession) -> None:
        self._session = session
        self._by_name = {sample.name: sample for sample in [*session.heldout, *session.stream.samples]}
        self.plan = _stored_plan(session) or _new_plan(session)

    @property
    def enabled(self) -> bool:
        return bool(self.plan.heldout)

    def due(self, step: int) -> bool:
        """True if `step` is to be evaluated: step 0, the last, and every `interval`-th; each once."""
        if not self.enabled:
            return False
        self._derive_interval()
        steps = self._session.config.optimization.steps
        wanted = step in (0, steps) or (self.plan.interval is not None and step % self.plan.interval == 0)
        return wanted and not any(row["step"] == step for row in heldout_rows(self._session.run.metrics_path))

    def evaluate(self, step: int) -> dict[str, Any]:
        """Evaluate now, append the row to metrics.jsonl and return it. Every rank calls it and does its share."""
        from accelerate.utils import gather_object

        session = self._session
        started = time.perf_counter()
        names = [*self.plan.heldout, *self.plan.train]
        jobs = [(name, index) for name in names for index in range(len(self.plan.sigmas))]
        rank, ranks = session.accelerator.process_index, session.accelerator.num_processes
        with evaluating(session):
            own = [(name, index, self._losses(name, index)) for name, index in jobs[rank::ranks]]
        found = {(name, index): losses for name, index, losses in gather_object(own)}
        first = next(iter(heldout_rows(session.run.metrics_path)), None)
        row = {
            "step": step,
            "heldout": summarize(self.plan.heldout, found, first["heldout"] if first else None),
            "train": summarize(self.plan.train, found, first["train"] if first else None),
            "seconds": round(time.perf_counter() - started, 4),
        }
        if session.accelerator.is_main_process:
            append_heldout(session.run.metrics_path, row)
        session.accelerator.wait_for_everyone()
        return row

    def _losses(self, name: str, index: int) -> dict[str, float]:
        return fixed_losses(self._session, self._by_name[name], self.plan.sigmas[index], index)

    def _derive_interval(self) -> None:
        """Once a few steps are measured: the shortest interval that stays within the share, the same on every rank."""
        session = self._session
        if self.plan.interval is not None or session.pace.stepped_count < TIMED_STEPS:
            return
        from accelerate.utils import gather_object

        seconds = [row["seconds"] for row in heldout_rows(session.run.metrics_path)]
        evaluation_s = session.pace.part_s("evaluation") or max(seconds, default=0.0)
        step_s = session.pace.step_s() or 1.0
        least = least_interval(self.plan.share, session.config.optimization.steps, step_s, evaluation_s)
        interval = gather_object([fitted_interval(least, session.config.checkpoints.interval)])[0]
        self.plan = replace(self.plan, interval=interval)
        if session.accelerator.is_main_process:
            _store(session.run, self.plan)


def fixed_losses(session: TrainingSession, sample: SampleFiles, sigma: float, index: int) -> dict[str, float]:
    """The loss of each generated modality of one sample at `sigma` and at the noise that belongs to (sample, index)."""
    batch = load_batch([sample], session.objective, (0,))
    draws = draw(batch, session.objective, _fixed(sigma), [_generator(session.config.seed, sample, index)])
    with session.autocast():
        loss = training_step(session.model, session.connectors, batch, session.objective, draws=draws)
    return {name: float(value) for name in MODALITIES if (value := getattr(loss, name)) is not None}


def least_interval(share: float, steps: int, step_s: float, evaluation_s: float) -> int:
    """The shortest interval at which the evaluations, the first and the last included, take at most `share`.

    Never more than `steps`: a first and a last evaluation are made whatever they cost.
    """
    affordable = share * steps * step_s / max(evaluation_s, 1e-9)
    return min(steps, max(1, math.ceil(steps / max(affordable - 2, 1.0))))


def fitted_interval(least: int, checkpoint_interval: int | None) -> int:
    """An interval of at least `least` steps that meets the checkpoints, so that saved weights are measured ones."""
    if checkpoint_interval is None:
        return least
    if least >= checkpoint_interval:
        return -(-least // checkpoint_interval) * checkpoint_interval
    return next(n for n in range(least, checkpoint_interval + 1) if checkpoint_interval % n == 0)


def summarize(
    names: tuple[str, ...], found: dict[tuple[str, int], dict[str, float]], first: dict[str, Any] | None
) -> dict[str, Any]:
    """Mean losses over clips and sigmas: per modality, sigma bin and clip, and relative to the first evaluation."""
    result: dict[str, Any] = {"by_sigma_bin": {}, "clips": {}}
    rows = {key: losses for key, losses in found.items() if key[0] in names}
    for modality in MODALITIES:
        values = {key: losses[modality] for key, losses in sorted(rows.items()) if modality in losses}
        if not values:
            continue
        result[modality] = _mean(list(values.values()))
        result["by_sigma_bin"][modality] = {
            BINS[index]: _mean([value for (_, at), value in values.items() if at == index])
            for index in range(len(BINS))
        }
    for name in names:
        result["clips"][name.removesuffix(".pt")] = {
            modality: _mean([losses[modality] for (at, _), losses in sorted(rows.items()) if at == name])
            for modality in MODALITIES
            if modality in result
        }
    base = first or result
    result["relative"] = {
        modality: _ratio(result[modality], base[modality]) for modality in MODALITIES if modality in result
    }
    return result


def _new_plan(session: TrainingSession) -> EvaluationPlan:
    """Choose clips so that the wanted number of evaluations fits the share, by counting forward passes."""
    settings, options = session.config.ltx_agent.evaluation, session.config.optimization
    if not session.heldout:
        return EvaluationPlan((), (), SIGMAS, settings.share)
    samples_a_step = options.batch_size * options.gradient_accumulation_steps * session.accelerator.num_processes
    budget = settings.share * options.steps * samples_a_step * FORWARDS_A_SAMPLE / EVALUATIONS_WANTED / len(SIGMAS)
    heldout = _spread(session.heldout, max(2, min(MOST_CLIPS, int(budget * 2 / 3))), session.config.seed)
    train = _spread(
        session.stream.samples, max(LEAST_TRAIN_CLIPS, min(len(heldout), int(budget / 3))), session.config.seed
    )
    plan = EvaluationPlan(heldout, train, SIGMAS, settings.share, settings.interval)
    if session.accelerator.is_main_process:
        _store(session.run, plan)
    return plan


def _stored_plan(session: TrainingSession) -> EvaluationPlan | None:
    path = session.run.evaluation_path
    if not path.exists():
        return None
    stored = read_json(path)
    known = {sample.name for sample in [*session.heldout, *session.stream.samples]}
    plan = EvaluationPlan(
        tuple(stored["heldout"]), tuple(stored["train"]), tuple(stored["sigmas"]), stored["share"], stored["interval"]
    )
    if not {*plan.heldout, *plan.train} <= known:
        return None
    wanted = session.config.ltx_agent.evaluation.interval
    return plan if wanted is None else replace(plan, interval=wanted)


def _store(run: RunFolder, plan: EvaluationPlan) -> None:
    write_json(run.evaluation_path, asdict(plan))


def _spread(samples: list[SampleFiles], count: int, seed: int) -> tuple[str, ...]:
    """`count` samples chosen by the seed, in order of name."""
    chosen = np.random.default_rng(seed & (2**64 - 1)).permutation(len(samples))[:count]
    return tuple(sorted(samples[index].name for index in chosen))


def _generator(seed: int, sample: SampleFiles, index: int) -> torch.Generator:
    """Seeded by (seed, name, sigma): a clip keeps its noise whatever else is in the dataset."""
    words = np.frombuffer(sample.name.encode("utf-8", errors="surrogateescape"), dtype=np.uint8)
    entropy = [seed & (2**64 - 1), index, *map(int, words)]
    return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))


def _fixed(sigma: float) -> SigmaSampler:
    return lambda _tokens, _generator: sigma


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if values and len(finite) == len(values) else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


@contextmanager
def evaluating(session: TrainingSession) -> Iterator[None]:
    """No gradients, no dropout, the averaged weights if there are any; everything as before afterwards."""
    training = [module for module in session.model.modules() if module.training]
    session.model.eval()
    try:
        with torch.no_grad(), finished_weights(session.optimizer):
            if session.average is None:
                yield
            else:
                with session.average.in_place():
                    yield
    finally:
        for module in training:
            module.training = True
