"""The loss curve of a run as a PNG: raw and smoothed, video and audio apart."""

from pathlib import Path

from tools.monitor.status import loss_points, ordered_steps
from trainer_core.config import is_tiny, load_config
from trainer_core.errors import DataError
from trainer_core.files import replacing
from trainer_core.run_folder import LIVE_STATES, RunFolder
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

    figure = Figure(figsize=(9, 1.2 + 2.8 * len(drawn)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Training loss · {_model_label(run)} · run {run.id}", parse_math=False)
    panels = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, label, colour) in zip(panels, drawn, strict=True):
        steps, values = loss_points(rows, name)
        width = smoothing_width(len(values))
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.9, label="each step")
        smooth_label = f"running median of {width} steps"
        axes.plot(steps, smoothed(values, width), color=colour, linewidth=2, label=smooth_label)
        axes.set_ylabel(f"{label} loss (masked MSE)")
        axes.grid(visible=True, alpha=0.25)
        axes.legend(loc="upper right", frameon=False)
    panels[-1].set_xlabel("optimizer step")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def curve_of_ended_run(run: RunFolder) -> Path | None:
    """Return the loss curve of a run that has ended, drawn once into its folder; None while it has none."""
    path = run.path / "loss.png"
    if run.read_status().state in LIVE_STATES:
        return None
    if not path.exists():
        if not ordered_steps(run):
            return None
        loss_curve_png(run, path)
    return path


def _model_label(run: RunFolder) -> str:
    model_path = load_config(run.config_path).model.model_path
    return f"tiny random model ({model_path})" if is_tiny(model_path) else Path(model_path).name
