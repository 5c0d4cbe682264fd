"""The picture of an adapter: ‖ΔW‖/‖W‖ a block and branch, as bars over the depth of the model."""

from pathlib import Path
from typing import Any

from trainer_core.doctor.diagnosis import Diagnosis
from trainer_core.errors import DataError
from trainer_core.files import replacing

COLOURS = {"video": "#2f6fb5", "audio": "#c8641e", "cross": "#5b8c3a"}
VERDICTS = {"healthy": "#3d7a3d", "weak": "#9a7b00", "dead": "#8a2d2d", "exploding": "#8a2d2d", "broken": "#8a2d2d"}


def draw_diagnosis(diagnosis: Diagnosis, path: Path) -> None:
    """Draw `diagnosis` into the PNG `path`. Raises DataError when there is no block to draw."""
    if not diagnosis.blocks:
        raise DataError(f"{diagnosis.file} has no block with LoRA weights to draw.", "See its evidence instead.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = all(row["ratio"] is not None for row in diagnosis.blocks)
    branches = [branch for branch in COLOURS if any(row["branch"] == branch for row in diagnosis.blocks)]
    figure = Figure(figsize=(10, 1.6 + 2.1 * len(branches)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{Path(diagnosis.file).name}: {diagnosis.verdict}", color=VERDICTS[diagnosis.verdict], parse_math=False
    )
    panels = figure.subplots(len(branches), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, branch in zip(panels, branches, strict=True):
        _panel(axes, diagnosis, branch, known)
    panels[-1].set_xlabel(_caption(diagnosis))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _panel(axes: Any, diagnosis: Diagnosis, branch: str, known: bool) -> None:
    rows = [row for row in diagnosis.blocks if row["branch"] == branch]
    values = [100 * row["ratio"] if known else row["delta_norm"] for row in rows]
    axes.bar([row["block"] for row in rows], values, color=COLOURS[branch], width=0.8)
    axes.set_ylabel(f"{branch}\n{'‖ΔW‖/‖W‖ in %' if known else '‖ΔW‖'}")
    axes.grid(visible=True, axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if values and not any(values):
        axes.text(0.5, 0.5, "zero throughout", transform=axes.transAxes, ha="center", va="center", color="#8a2d2d")


def _caption(diagnosis: Diagnosis) -> str:
    parts = ["transformer block"]
    if diagnosis.prediction_change:
        told = ", ".join(f"{name} {value:.1%}" for name, value in diagnosis.prediction_change.items())
        parts.append(f"the prediction on a fixed batch changes by: {told}")
    if diagnosis.base:
        parts.append(f"base: {diagnosis.base}")
    return "\n".join(parts)
