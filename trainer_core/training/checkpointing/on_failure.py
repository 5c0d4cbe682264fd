"""Handling of a failed run: trained weights are saved if they can be, and what to do next is written down."""

import contextlib
import gc
import json
import traceback
from collections.abc import Iterator
from typing import Any

import torch

from trainer_core.errors import LtxError, OutOfMemory
from trainer_core.memory.ladder import next_rung
from trainer_core.memory.limit import ran_out_of_memory
from trainer_core.resume_config import is_changeable
from trainer_core.training.checkpointing.save import save
from trainer_core.training.monitoring.alarms import EXPLOSION_STEPS, Alarm
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.setup import TrainingSession


@contextlib.contextmanager
def rescued(session: TrainingSession, keeper: StatusKeeper) -> Iterator[None]:
    """Save the last whole step when something fails inside, then let the failure go on.

    Memory that runs out becomes an OutOfMemory error with the next rung of the ladder, to be resumed on approval.
    """
    try:
        yield
    except Exception as error:
        if ran_out_of_memory(error):
            _let_go(session, error)
            _save_last_step(session, keeper)
            raise _out_of_memory(session, keeper, error) from error
        _save_last_step(session, keeper)
        raise


def rollback_offer(session: TrainingSession, alarm: Alarm) -> dict[str, Any] | None:
    """For an explosion: the state before it and half the learning rate; None when there is no such state."""
    if alarm.kind != "loss explosion":
        return None
    before = [step for step in session.run.state_steps() if step <= alarm.step - EXPLOSION_STEPS]
    if not before:
        return None
    rate = session.config.optimization.learning_rate / 2
    return {
        "from_step": before[-1],
        "overrides": {"optimization": {"learning_rate": rate}},
        "command": f"ltx-agent stop {session.run.path}; "
        f"ltx-agent resume {session.run.path} --from-step {before[-1]} --lr {rate:g}",
    }


def _let_go(session: TrainingSession, error: BaseException) -> None:
    """Free what the step that failed still holds: its gradients, and the activations in the frames it failed in."""
    traceback.clear_frames(error.__traceback__)
    session.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()


def _save_last_step(session: TrainingSession, keeper: StatusKeeper) -> None:
    """Save where that can't make things worse: one process, a whole step, its folder still there."""
    unsaved = session.step > session.saved_step
    if not unsaved or session.mid_update or session.accelerator.num_processes > 1 or not session.run.path.is_dir():
        return
    try:
        save(session, session.step, keeper)
    except Exception as error:
        if not isinstance(error, LtxError | OSError) and not ran_out_of_memory(error):
            raise
        keeper.record("not saved", step=session.step, message=str(error) or type(error).__name__)


def _out_of_memory(session: TrainingSession, keeper: StatusKeeper, error: BaseException) -> OutOfMemory:
    offer = _memory_offer(session)
    kept = f"step {session.saved_step} is saved" if session.saved_step else "nothing was trained yet"
    said = f"Memory ran out in step {session.step + 1}; {kept}."
    keeper.record("out of memory", step=session.step, message=f"{said} {error}", offer=offer)
    if offer is None:
        return OutOfMemory(said, "Train on smaller buckets: no saving is left that this run could go on with.")
    return OutOfMemory(said, f"Next to try: {offer['words']} ({offer['cost']}): `{offer['command']}`.", offer)


def _memory_offer(session: TrainingSession) -> dict[str, Any] | None:
    """The next rung of the ladder of memory savings that a resume can take; None at its foot."""
    tried: set[str] = set()
    while (rung := next_rung(session.config, frozenset(tried))) is not None:
        if all(is_changeable(name) for name in rung.changes):
            settings = {name: after for name, (_, after) in rung.changes.items()}
            given = " ".join(f"--set {name}={json.dumps(value)}" for name, value in settings.items())
            command = f"ltx-agent resume {session.run.path} {given}"
            return {
                "rung": rung.rung,
                "words": rung.words,
                "cost": rung.cost,
                "exact": rung.exact,
                "settings": settings,
                "diff": rung.diff,
                "command": command,
            }
        tried.add(rung.rung)
    return None
