"""The adapter doctor's look at each checkpoint of a run: at the file that was saved, and at what it changes."""

from pathlib import Path
from typing import Any

import torch

from trainer_core.doctor.diagnosis import Diagnosis
from trainer_core.doctor.examine import Base, examine_file, prediction_change
from trainer_core.files import append_jsonl
from trainer_core.training.evaluation.heldout import evaluating, fixed_losses
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.setup import TrainingSession

FIXED_SIGMA = 0.625
ALARMING = frozenset({"dead", "broken", "exploding"})


def check_adapter(session: TrainingSession, path: Path, keeper: StatusKeeper) -> Diagnosis:
    """Diagnose the LoRA that was saved to `path`; the finding goes into doctor.jsonl, a bad one into the events."""
    if session.base is None:
        session.base = Base(session.model, session.source.version, session.source.label)
    diagnosis = examine_file(path, session.base, change_of_prediction(session))
    append_jsonl(session.run.doctor_path, diagnosis.model_dump())
    if diagnosis.verdict in ALARMING:
        keeper.record(
            f"{diagnosis.verdict} adapter",
            step=session.step,
            message=f"The adapter doctor finds {path.name} {diagnosis.verdict}: {'; '.join(diagnosis.evidence)}.",
        )
    return diagnosis


def change_of_prediction(session: TrainingSession) -> dict[str, float]:
    """Return the adapter's change of the prediction for one fixed sample, noise and sigma, per modality."""
    sample = min([*session.heldout, *session.stream.samples], key=lambda one: (one not in session.heldout, one.name))
    outputs: list[tuple[torch.Tensor | None, torch.Tensor | None]] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append(output)

    def predict() -> tuple[torch.Tensor | None, torch.Tensor | None]:
        fixed_losses(session, sample, FIXED_SIGMA, 0)
        return outputs[-1]

    handle = session.model.register_forward_hook(keep)
    try:
        with evaluating(session):
            return prediction_change(session.model, predict)
    finally:
        handle.remove()
