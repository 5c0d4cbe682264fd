"""Fitting a draft to a machine: switches from the project's rehearsal where there is one, else from the estimate."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tools.draft.choices import Draft
from tools.rehearsal.recorded import kept_rehearsal
from tools.rehearsal.rehearse import RehearseResult
from trainer_core.config import is_tiny, parse_config
from trainer_core.config_paths import resolve_paths
from trainer_core.errors import LtxError
from trainer_core.memory.ladder import ladder_of
from trainer_core.memory.plan import encoding_steps, plan
from trainer_core.objective import merged

USABLE = 0.98


def fitted(draft: Draft, folder: Path, device_bytes: Callable[[], int | None]) -> Draft:
    """Return `draft` with what its memory needs, each switch with its reason. `device_bytes`: the card's, None: none.

    A rehearsal of this very training counts more than arithmetic. The tiny model fits anywhere.
    """
    config = resolve_paths(parse_config(yaml.safe_dump(draft.config), "the draft"), folder)
    seen = kept_rehearsal(folder, config)
    if seen is not None:
        reason = f"measured: the rehearsal on {seen.device} {'fitted' if seen.fits else 'came nearest'} with it"
        return _with(draft, dict.fromkeys(seen.changes, reason), seen.changes, _seen_note(seen))
    if is_tiny(config.model.model_path):
        return draft
    try:
        needed = plan(config).estimate.device_peak_bytes
    except LtxError:
        return draft
    room = device_bytes()
    if room is None:
        return _with(draft, {}, {}, f"Estimated: {needed / 1e9:.0f} GB on the GPU as drafted; no GPU is visible here.")
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    (beforehand,) = encoding_steps(config, [USABLE * room])
    for step, _ in beforehand:
        for key, (_, new) in step.changes.items():
            changes[key] = new
            reasons[key] = f"estimated: a card of {room / 1e9:.0f} GB holds the text encoder in 8 bits alone"
    steps = ladder_of(config)
    while needed > USABLE * room and steps:
        step = steps.pop(0)
        needed = plan(step.config).estimate.device_peak_bytes
        for key, (_, new) in step.changes.items():
            changes[key] = new
            reasons[key] = f"estimated: needed on a card of {room / 1e9:.0f} GB; {step.cost}"
    note = f"Estimated: {needed / 1e9:.0f} GB of the GPU's {room / 1e9:.0f}; `ltx-agent rehearse` measures it."
    if needed > USABLE * room:
        note = (
            f"Estimated: {needed / 1e9:.0f} GB even with every switch; the GPU has {room / 1e9:.0f}. Use smaller clips."
        )
    return _with(draft, reasons, changes, note)


def _seen_note(seen: RehearseResult) -> str:
    best = next((trial for trial in seen.trials if trial.kept), seen.trials[-1])
    peak = best.device_peak_bytes or best.tensors_peak_bytes
    figures = f"{peak / 1e9:.2f} GB" if peak is not None else "unknown memory"
    pace = f", {best.step_s:.2f} s a step" if best.step_s is not None else ""
    return f"Rehearsed on {seen.device}: {figures}{pace}{'' if seen.fits else '; it did not fit'}."


def _with(draft: Draft, reasons: dict[str, str], changes: dict[str, Any], note: str) -> Draft:
    config = draft.config
    for key, value in changes.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        config = merged(config, value)
    return replace(draft, config=config, reasons={**draft.reasons, **reasons}, notes=[*draft.notes, note])
