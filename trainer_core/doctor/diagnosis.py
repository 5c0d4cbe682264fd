"""The doctor's verdict on an adapter: dead, weak, healthy, exploding or broken, with its evidence.

The limits are judgement from few published cases, not law; the evidence always states the measured value. An adapter
that did nothing visible moved the predictions by 3.8 %, one that worked by 17.6 % (reported by a user of the official
trainer).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from trainer_core.doctor.measure import ModuleMeasure, block_ratios, branch_ratios
from trainer_core.strict import Strict

Kind = Literal["dead", "weak", "healthy", "exploding", "broken"]

DEAD_RATIO, WEAK_RATIO, EXPLODING_RATIO = 1e-4, 2e-3, 1.0
DEAD_CHANGE, WEAK_CHANGE, EXPLODING_CHANGE = 0.01, 0.05, 2.0


class Diagnosis(Strict):
    """Output of `ltx-agent doctor --json`. Ratios are ‖ΔW‖/‖W‖, None where the base model isn't known.

    `prediction_change` is ‖with − without‖ / ‖without‖ of the predicted velocity on a clip of the run, per modality;
    `change_on_noise` the same on seeded noise, for a file whose clips aren't at hand: evidence, it decides no verdict.
    `forms` are LoRA, DoRA, LoKr, LoHa, as the file has them; `text_modules` counts layers before the transformer.
    """

    verdict: Kind
    evidence: list[str]
    file: str
    nan_tensors: list[str]
    zero_b: int
    modules: int
    matched: int
    unmatched: list[str]
    branches: dict[str, dict[str, float | None]]
    blocks: list[dict[str, Any]]
    base_version: str | None
    base: str | None = None
    ranks: list[int] = []
    forms: list[str] = []
    text_modules: int = 0
    step: int | None = None
    prediction_change: dict[str, float] | None = None
    change_on_noise: dict[str, float] | None = None
    sha256: str | None = None
    picture: str | None = None


def diagnose(
    file: Path,
    measures: list[ModuleMeasure],
    *,
    nan_tensors: list[str],
    unmatched: list[str],
    prediction_change: dict[str, float] | None,
    base_version: str | None,
    reasons: Sequence[str] = (),
    remarks: Sequence[str] = (),
    change_on_noise: dict[str, float] | None = None,
    **facts: Any,
) -> Diagnosis:
    """Put the measures together and judge them; `unmatched` are keys and modules that no layer takes up, `reasons` say
    why the file can't be used, `remarks` what else is to be known."""
    zero_b = sum(one.zero_b for one in measures)
    ratios = [one.ratio for one in measures if one.ratio is not None and math.isfinite(one.ratio)]
    verdict, evidence = _judge(measures, zero_b, ratios, nan_tensors, reasons, prediction_change)
    evidence += remarks
    if change_on_noise:
        evidence.append(f"on a fixed batch of noise it changes the prediction by: {_told(change_on_noise)}")
    missing = {name for name in unmatched if any(one.name == name for one in measures)}
    return Diagnosis(
        verdict=verdict,
        evidence=evidence,
        file=str(file),
        nan_tensors=nan_tensors,
        zero_b=zero_b,
        modules=len(measures),
        matched=len(measures) - len(missing),
        unmatched=unmatched,
        branches=branch_ratios([one for one in measures if math.isfinite(one.delta_norm)]),
        blocks=block_ratios([one for one in measures if math.isfinite(one.delta_norm)]),
        base_version=base_version,
        prediction_change=prediction_change,
        change_on_noise=change_on_noise,
        **facts,
    )


def _judge(
    measures: list[ModuleMeasure],
    zero_b: int,
    ratios: list[float],
    nan_tensors: list[str],
    reasons: Sequence[str],
    change: dict[str, float] | None,
) -> tuple[Kind, list[str]]:
    if nan_tensors:
        return "broken", [f"{len(nan_tensors)} tensors hold NaN or infinity, the first is {nan_tensors[0]}"]
    if reasons:
        return "broken", list(reasons)
    if not measures:
        return "broken", ["no LoRA module was found in it"]
    evidence = [f"{len(measures)} modules, {zero_b} of them with a B of zeros"]
    if ratios:
        evidence.append(f"‖ΔW‖/‖W‖: mean {sum(ratios) / len(ratios):.2%}, largest {max(ratios):.2%}")
    if change:
        evidence.append(f"on a fixed batch it changes the prediction by: {_told(change)}")
    moved = max(change.values()) if change else None
    if zero_b == len(measures):
        return "dead", evidence
    if (ratios and max(ratios) > EXPLODING_RATIO) or (moved is not None and moved > EXPLODING_CHANGE):
        return "exploding", evidence
    if (ratios and max(ratios) < DEAD_RATIO) or (moved is not None and moved < DEAD_CHANGE):
        return "dead", evidence
    weak = moved < WEAK_CHANGE if moved is not None else bool(ratios) and sum(ratios) / len(ratios) < WEAK_RATIO
    return ("weak" if weak else "healthy"), evidence


def _told(change: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in change.items())
