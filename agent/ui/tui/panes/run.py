"""A run in figures: state, time left, speed, memory, verdict with its evidence, checkpoints, the log's last lines."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import ProgressBar, Static

from agent.text.sanitize import clean, clean_lines
from agent.text.verdict import verdict_words
from agent.ui.shared.watch import RunSeen
from agent.ui.tui.panes.pane import Pane
from trainer_core.run_folder import LIVE_STATES, RunStatus
from trainer_core.units import duration_text, size_text

STATE_STYLES = {
    "queued": ("◌", "$muted"),
    "starting": ("◌", "$primary"),
    "running": ("●", "$success"),
    "stopping": ("◌", "$warning"),
    "done": ("✓", "$success"),
    "failed": ("✗", "$error"),
    "diverged": ("✗", "$error"),
}
PARTS = (
    ("data_s", "data", "$warning"),
    ("forward_s", "forward", "$primary"),
    ("backward_s", "backward", "$secondary"),
    ("optimizer_s", "optimizer", "$accent"),
)
RECENT = 20
BAR_WIDTH = 40


class RunPane(Pane, can_focus=True):
    """The run that is watched."""

    TITLE = "Run"
    HELP = (
        "Training is a process of its own: closing this screen, or losing the terminal, changes nothing. t starts a "
        "run after an approval, X asks it to stop after its current step; it saves before it ends."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "say('start training')", "start"),
        Binding("X", "say('stop training')", "stop"),
        Binding("a", "say('is it working?')", "ask how it goes"),
        Binding("left_square_bracket", "run(-1)", "earlier run", show=False),
        Binding("right_square_bracket", "run(1)", "later run", show=False),
        Binding("y", "copy", "copy path", show=False),
        Binding("down,j", "scroll(2)", "scroll", show=False),
        Binding("up,k", "scroll(-2)", "scroll", show=False),
    ]

    @dataclass
    class Say(Message):
        """The person asks the assistant for something."""

        words: str

    @dataclass
    class Step(Message):
        """The run before or after this one is to be shown."""

        direction: int

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._seen: RunSeen | None = None
        self._runs: tuple[str, ...] = ()
        self._head, self._body = Static(id="run-head"), Static(id="run-body")
        self._bar = ProgressBar(id="run-bar", show_eta=False)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._bar
        with VerticalScroll(can_focus=False):
            yield self._body

    def on_mount(self) -> None:
        super().on_mount()
        self._show()

    def take_focus(self) -> None:
        self.focus()

    def show_run(self, seen: RunSeen) -> None:
        self._seen = seen
        self._show()

    def show_runs(self, ids: tuple[str, ...]) -> None:
        self._runs = ids
        self._show_title()

    def _show_title(self) -> None:
        self.border_title = f"{self.TITLE} · {self._seen.id}" if self._seen else self.TITLE
        if self._seen and len(self._runs) > 1 and self._seen.id in self._runs:
            self.border_subtitle = f"run {self._runs.index(self._seen.id) + 1} of {len(self._runs)}  [ ]"

    def _show(self) -> None:
        seen = self._seen
        self._bar.display = seen is not None
        if seen is None:
            self._head.update(Content.styled("No run yet.", "$muted"))
            self._body.update(Content.styled("When the plan is right, say “start”, or press t.", "$muted"))
            return
        self._show_title()
        status = seen.status
        self._bar.update(total=max(status.steps, 1), progress=status.step)
        self._head.update(headline(seen))
        self._body.update(Content("\n").join(_lines(seen)))

    def action_say(self, words: str) -> None:
        self.post_message(self.Say(words))

    def action_run(self, direction: int) -> None:
        self.post_message(self.Step(direction))

    def action_copy(self) -> None:
        if self._seen is not None:
            self.app.copy_to_clipboard(str(self._seen.path))
            self.notify("Path of the run copied.")

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def headline(seen: RunSeen) -> Content:
    """Return state, step and time left in a line."""
    status = seen.status
    sign, colour = STATE_STYLES[status.state]
    parts: list[Any] = [(f"{sign} {status.state}", f"bold {colour}"), f"  step {status.step:,} of {status.steps:,}"]
    if status.eta_s and status.state in LIVE_STATES:
        parts.append((f"  about {duration_text(status.eta_s)} left", "$muted"))
    if status.stage and status.state in LIVE_STATES:
        parts.append((f"  {clean(status.stage)}", "$muted"))
    return Content.assemble(*parts)


def _lines(seen: RunSeen) -> list[Content]:
    status, steps = seen.status, seen.steps
    lines: list[Content] = []
    if status.error:
        lines += [Content.styled(clean_lines(status.error), "$error"), Content("")]
    lines += _verdict(status)
    if len(steps):
        lines += _speed(seen)
        memory = steps.mean("memory_bytes")
        if np.isfinite(memory[-1]) and memory[-1] > 0:
            lines.append(
                _row("memory", f"{size_text(memory[-1])}, at most {size_text(np.nanmax(steps.high('memory_bytes')))}")
            )
        lines.append(_row("learning rate", f"{steps.mean('lr')[-1]:.3g}"))
        lines.append(_row("gradient norm", f"{steps.mean('grad_norm')[-1]:.3g}"))
    if status.last_checkpoint:
        lines.append(_row("last checkpoint", status.last_checkpoint.rsplit("/", 1)[-1]))
    if status.best_checkpoint:
        lines.append(_row("best checkpoint", "★ " + status.best_checkpoint.rsplit("/", 1)[-1]))
    lines.append(_row("folder", "/".join(seen.path.parts[-3:])))
    if seen.marks:
        lines += [Content(""), Content.styled("events", "$accent")]
        lines += [Content(clean(f"  step {mark.step:,.0f}  {mark.kind}  {mark.text}")) for mark in seen.marks[-5:]]
    log = [line for line in clean_lines(seen.log_tail).splitlines() if line.strip()][-6:]
    if log:
        lines += [Content(""), Content.styled("log", "$accent")]
        lines += [Content.styled(f"  {line}", "$muted") for line in log]
    return lines


def _verdict(status: RunStatus) -> list[Content]:
    """The verdict in plain words first; its kind, confidence and evidence below, muted."""
    verdict = status.verdict
    if not verdict:
        return []
    colour = {"continue": "$success", "plateau": "$warning", "unsure": "$muted"}.get(verdict["kind"], "$error")
    words = verdict_words({"state": status.state, "step": status.step, "steps": status.steps, "verdict": verdict})
    lines = [
        Content.styled(words, f"bold {colour}"),
        Content.styled(
            f"verdict         {clean(str(verdict['kind']))}  confidence {verdict.get('confidence', 0):.0%}", "$muted"
        ),
    ]
    lines += [Content.styled(clean(f"  – {evidence}"), "$muted") for evidence in verdict.get("evidence", [])]
    return [*lines, Content("")]


def _speed(seen: RunSeen) -> list[Content]:
    recent = {name: float(np.nanmean(seen.steps.mean(name)[-RECENT:])) for name, _, _ in PARTS}
    whole = sum(recent.values())
    if not whole > 0:
        return []
    bar = [
        ("█" * max(round(recent[name] / whole * BAR_WIDTH), int(recent[name] > 0)), colour) for name, _, colour in PARTS
    ]
    said = [(f"{label} {recent[name] / whole:.0%}  ", colour) for name, label, colour in PARTS]
    return [
        _row("speed", f"{whole:.3g} s a step" if whole >= 0.1 else f"{1 / whole:.1f} steps a second"),
        Content.assemble(*bar),
        Content.assemble(*said),
    ]


def _row(name: str, value: str) -> Content:
    return Content.assemble((f"{name:<16}", "$muted"), clean(value))
