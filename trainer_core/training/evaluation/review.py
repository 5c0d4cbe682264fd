"""Evaluation after a save: held-out clips, the verdict they give, rendered samples. It never harms the run."""

import traceback
from typing import Any

from trainer_core.errors import LtxError
from trainer_core.metrics import described_steps, heldout_rows
from trainer_core.sampling.prompts import samples_due
from trainer_core.sampling.validation import render_samples
from trainer_core.training.checkpointing.save import best_saved
from trainer_core.training.evaluation.adapter_check import check_adapter
from trainer_core.training.evaluation.heldout import Evaluator
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.randomness import kept_randomness
from trainer_core.training.setup import TrainingSession
from trainer_core.training.stop import StopRequest
from trainer_core.verdict.judge import judge
from trainer_core.verdict.verdict import Verdict

SURE = 0.9
"""An early stop needs a verdict this sure."""
STOPPING_KINDS = frozenset({"plateau", "overfitting", "diverging", "dead"})


def review(session: TrainingSession, evaluator: Evaluator, keeper: StatusKeeper, stop: StopRequest) -> str | None:
    """Evaluate and render what is due at the session's step; return why the run is to end early, None to go on.

    A stop that is asked for meanwhile cuts rendering short; a resumed run makes what is missing.
    """
    ended = None
    if evaluator.due(session.step):
        with session.pace.measuring("evaluation"), kept_randomness():
            row = evaluator.evaluate(session.step)
        ended = _judge(session, row, keeper)
    if _checkup_due(session):
        with session.pace.measuring("checkup"), kept_randomness():
            check_adapter(session, session.checkpoints.weights_path(session.step), keeper)
        session.checked_step = session.step
    if session.accelerator.is_main_process and samples_due(session.config, session.step):
        with session.pace.measuring("validation"), kept_randomness():
            _render(session, keeper, stop)
    return ended


def _judge(session: TrainingSession, row: dict[str, Any], keeper: StatusKeeper) -> str | None:
    """Tell the verdict and the best checkpoint so far; the main process's verdict is everyone's."""
    from accelerate.utils import gather_object

    verdict = judge(described_steps(session.run.metrics_path), heldout_rows(session.run.metrics_path))
    best = best_saved(session)
    keeper.update(verdict=verdict.model_dump())
    keeper.record(
        "evaluated", step=row["step"], relative=row["heldout"]["relative"], verdict=verdict.kind, seconds=row["seconds"]
    )
    if best is not None and session.accelerator.is_main_process:
        path = session.checkpoints.mark_best(best)
        if path is not None:
            keeper.update(best_checkpoint=path.relative_to(session.run.path).as_posix())
    session.accelerator.wait_for_everyone()
    reasons: list[str | None] = gather_object([_reason_to_end(verdict)])
    return reasons[0] if session.config.ltx_agent.training.early_stop else None


def _reason_to_end(verdict: Verdict) -> str | None:
    if verdict.kind in STOPPING_KINDS and verdict.confidence >= SURE:
        return f"{verdict.kind} (confidence {verdict.confidence:.0%}): {verdict.evidence[0]}"
    return None


def _checkup_due(session: TrainingSession) -> bool:
    """True if this step's weights were just saved and are a LoRA that can be switched off to compare."""
    is_lora = session.config.model.training_mode == "lora"
    saved = session.saved_step == session.step > 0 and session.checkpoints.weights_path(session.step).exists()
    return is_lora and saved and session.accelerator.is_main_process and session.checked_step != session.step


def _render(session: TrainingSession, keeper: StatusKeeper, stop: StopRequest) -> None:
    try:
        render_samples(session, session.step, keeper, stop.requested)
    except Exception as error:  # whatever it is: what was trained is saved already, and goes on
        keeper.record("validation failed", step=session.step, message=f"{type(error).__name__}: {error}")
        if not isinstance(error, LtxError):
            traceback.print_exc()
