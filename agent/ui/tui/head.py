"""The top line: which project, who answers, how the run goes. Formats only."""

from typing import TYPE_CHECKING, Any

from textual.content import Content

from tools.project import Project
from trainer_core.run_folder import LIVE_STATES
from trainer_core.units import duration_text

if TYPE_CHECKING:
    from agent.ui.shared.watch import RunSeen

SPARK_WIDTH = 16


def about_project(project: Project, model: str) -> str:
    parts = [project.path.name]
    if model:
        parts.append("planner" if model == "builtin" else model)
    return " · ".join(parts)


def about_run(seen: "RunSeen", width: int) -> Content:
    """State, step, time left, loss and the shape of its curve, as much as fits into half of `width`."""
    from agent.ui.shared.curves.plot import sparkline
    from agent.ui.tui.panes.run import STATE_STYLES

    status = seen.status
    sign, colour = STATE_STYLES[status.state]
    parts: list[Any] = [(f"{sign} {status.state} ", f"bold {colour}"), f"{status.step:,}/{status.steps:,}"]
    if status.eta_s and status.state in LIVE_STATES:
        parts.append((f" {duration_text(status.eta_s)} left", "$muted"))
    loss = seen.steps.mean("loss")
    if len(loss):
        parts.append((f" loss {loss[-1]:.3g}", "$muted"))
        if width >= 100:
            parts.append((" " + sparkline(loss, SPARK_WIDTH), "$primary"))
    return Content.assemble(*parts)
