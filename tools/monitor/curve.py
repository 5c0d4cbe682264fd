"""The loss curve of a run as a PNG: raw and smoothed, video and audio apart."""

from pathlib import Path
from typing import Any

from tools.monitor.status import loss_points, ordered_steps
from trainer_core.config import is_tiny, load_config
from trainer_core.errors import DataError
from trainer_core.files import replacing
from trainer_core.metrics import heldout_rows
from trainer_core.run_folder import LIVE_STATES, RunFolder
from trainer_core.verdict.heldout import best_evaluated
from trainer_core.verdict.trend import smoothed, smoothing_width

CURVES = (("loss_video", "video", "#2f6fb5"), ("loss_audio", "audio", "#c8641e"))


def loss_curve_png(run: RunFolder, path: Path) -> None:
    """Draw the run's training losses into `path`. Raises DataError when no step was measured yet."""
    rows = ordered_steps(run)
    if not rows:
        raise DataError(f"The run {run.id} has no measured step yet, so there is no loss curve.", "Ask again later.")
    drawn = [(name, label, colour) for name, label, colour in CURVES if loss_points(rows, name)[0]]

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    evaluations = heldout_rows(run.metrics_path)
    panels_wanted = len(drawn) + bool(evaluations)
    figure = Figure(figsize=(9, 1.2 + 2.8 * panels_wanted), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Training loss · {_model_label(run)} · run {run.id}", parse_math=False)
    panels = figure.subplots(panels_wanted, 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, label, colour) in zip(panels[: len(drawn)], drawn, strict=True):
        steps, values = loss_points(rows, name)
        width = smoothing_width(len(values))
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.9, label="each step")
        smooth_label = f"running median of {width} steps"
        axes.plot(steps, smoothed(values, width), color=colour, linewidth=2, label=smooth_label)
        axes.set_ylabel(f"{label} loss (masked MSE)")
        axes.grid(visible=True, alpha=0.25)
        axes.legend(loc="upper right", frameon=False)
    if evaluations:
        _draw_heldout(panels[-1], evaluations)
    panels[-1].set_xlabel("optimizer step")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_heldout(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Held-out and training clips at fixed noise, relative to step 0, with the best evaluation marked."""
    for name, label, colour in CURVES:
        modality = name.removeprefix("loss_")
        for part, style, clips in (("heldout", "-", "held-out clips"), ("train", ":", "training clips")):
            points = [(row["step"], row[part]["relative"].get(modality)) for row in rows]
            known = [(step, value) for step, value in points if value is not None]
            if known:
                axes.plot(*zip(*known, strict=True), style, color=colour, linewidth=1.8, label=f"{label}, {clips}")
    best = best_evaluated(rows)
    if best is not None:
        axes.axvline(best, color="#3d7a3d", linewidth=1, linestyle="--", label=f"best: step {best}")
    axes.axhline(1.0, color="#888888", linewidth=0.8)
    axes.set_ylabel("loss at fixed noise,\nrelative to step 0")
    axes.grid(visible=True, alpha=0.25)
    axes.legend(loc="best", frameon=False, fontsize="small", ncols=2)


def curve_of_ended_run(run: RunFolder) -> Path | None:
    """Return the loss curve of a run that has ended, drawn into its folder; None while it has none."""
    path = run.path / "loss.png"
    if run.read_status().state in LIVE_STATES:
        return None
    if not ordered_steps(run):
        return None
    if not path.exists() or path.stat().st_mtime < run.metrics_path.stat().st_mtime:  # it was resumed since
        loss_curve_png(run, path)
    return path


def _model_label(run: RunFolder) -> str:
    model_path = load_config(run.config_path).model.model_path
    return f"tiny random model ({model_path})" if is_tiny(model_path) else Path(model_path).name
