"""Measures what `activations.json` holds: bytes a token that a step keeps, from traces of the released models.

`python tests/instruments/calibrate_activations.py` takes ten minutes; run it when the
model library or the step changes.
"""

import itertools
import json
from pathlib import Path
from typing import Any

from memory_trace import trace_depths

from trainer_core.files import write_text
from trainer_core.memory.cell import Cell, Side, Version
from trainer_core.memory.estimate import COEFFICIENTS_PATH, FORMS, REGIMES, TRAININGS, form_key

LAYERS = (24, 48)
CHUNK_TOKENS = 1024
# few and many tokens of one side, then of the other: three points fix a plane, two a line
POINTS = {
    "both": ((3570, 51), (8160, 51), (3570, 251)),
    "video": ((3570, 0), (8160, 0)),
    "audio": ((0, 251), (0, 1001)),
}
VERSIONS: tuple[Version, ...] = ("2.3", "2.0")
# the estimate takes the nearest form for it; plain full training is a fused one with all its gradients
LEFT_OUT = {("fused", "chunked"), ("master", "chunked")}


def calibrate(path: Path = COEFFICIENTS_PATH, versions: tuple[Version, ...] = VERSIONS) -> None:
    """Trace every form of training and write its coefficients."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for version, training, regime, form in itertools.product(versions, TRAININGS, REGIMES, FORMS):
        key = form_key(version, regime, training, form)
        if key in found or (training, form) in LEFT_OUT:
            continue
        found[key] = _coefficients(version, regime, training, form)
        write_text(path, json.dumps(found, indent=1) + "\n")
        print(key, found[key], flush=True)


def _coefficients(version: Version, regime: str, training: str, form: str) -> dict[str, list[float]]:
    """Bytes beyond those at rest: [fixed, a video token, an audio token], once and for each block."""
    once, by_layer = [], []
    for video, audio in POINTS[regime]:
        few, more = _beyond_rest(version, video, audio, training, form)
        slope = (more - few) / (LAYERS[1] - LAYERS[0])
        by_layer.append(slope)
        once.append(few - slope * LAYERS[0])
    return {"once": _plane(regime, once), "a_layer": _plane(regime, by_layer)}


def _beyond_rest(version: Version, video: int, audio: int, training: str, form: str) -> list[int]:
    cell = Cell(
        version,
        Side(video) if video else None,
        Side(audio) if audio else None,
        rank=32 if training == "lora" else 0,
        fused=training != "lora",
        master="float32" if training == "master" else "float24",
        checkpointing=form != "whole",
        chunk_tokens=CHUNK_TOKENS if form == "chunked" else None,
    )
    return [traced.peak - traced.resting for traced in trace_depths(cell, LAYERS)]


def _plane(regime: str, values: list[float]) -> list[float]:
    points = POINTS[regime]
    video = (values[1] - values[0]) / (points[1][0] - points[0][0]) if regime != "audio" else 0.0
    audio = (values[-1] - values[0]) / (points[-1][1] - points[0][1]) if regime != "video" else 0.0
    fixed = values[0] - video * points[0][0] - audio * points[0][1]
    return [round(fixed), round(video, 1), round(audio, 1)]


if __name__ == "__main__":
    calibrate()
