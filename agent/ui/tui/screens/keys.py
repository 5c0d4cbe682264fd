"""The key screen: what can be done here and now, over whatever screen one is on."""

from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from agent.session.slash import COMMANDS
from agent.ui.tui.panes.pane import Pane

Rows = list[tuple[str, str]]


class Keys(ModalScreen[None]):
    """Keys of the place that had the focus, keys that work everywhere, and commands."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q,enter", "dismiss", "close"),
        Binding("down,j", "scroll(2)", show=False),
        Binding("up,k", "scroll(-2)", show=False),
        Binding("pagedown,space", "scroll(12)", show=False),
        Binding("pageup", "scroll(-12)", show=False),
    ]

    def __init__(self, title: str, about: str, here: Rows, everywhere: Rows, moving: Rows) -> None:
        super().__init__()
        self._title, self._about = title, about
        self._here, self._everywhere, self._moving = here, everywhere, moving

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="keys", can_focus=False) as box:
            box.border_title = f"Keys · {self._title}"
            box.border_subtitle = "esc closes"
            yield Static(self._about, markup=False, classes="about")
            if self._here:
                yield Static("here", classes="label")
                yield Static(_table(self._here))
            yield Static("everywhere", classes="label")
            yield Static(_table(self._everywhere))
            yield Static("commands", classes="label")
            commands = [(f"/{command.name} {command.argument}".strip(), command.description) for command in COMMANDS]
            yield Static(_table(commands))
            yield Static("moving and editing", classes="label")
            yield Static(_table([(key, text.lower()) for key, text in self._moving]))

    def action_scroll(self, lines: int) -> None:
        self.query_one("#keys").scroll_relative(y=lines, animate=False)


def _table(rows: list[tuple[str, str]]) -> Content:
    width = max((len(key) for key, _ in rows), default=0) + 2
    lines = [Content.assemble((f"{key:<{width}}", "$primary"), text) for key, text in rows]
    return Content("\n").join(lines)


def keys_here(app: App[Any]) -> Keys:
    """Return the key screen for the place that has the focus."""
    node: Any = app.focused or app.screen
    while node is not None and not isinstance(node, Pane | Screen):
        node = node.parent
    about = getattr(node, "HELP", "") or "Keys that work here."
    title = getattr(node, "TITLE", None) or "ltx-agent"
    here: dict[str, list[str]] = {}
    moving: dict[str, list[str]] = {}  # Textual's own keys, whose descriptions begin with a capital
    everywhere: dict[str, list[str]] = {}
    for key, active in app.screen.active_bindings.items():
        binding = active.binding
        if not binding.description or binding.key.startswith("super+"):
            continue
        into = everywhere if active.node is app else here if binding.description[:1].islower() else moving
        into.setdefault(binding.description, []).append(app.get_key_display(binding) if key else key)
    return Keys(title, about, _rows(here), _rows(everywhere), _rows(moving))


def _rows(found: dict[str, list[str]]) -> Rows:
    return [(" ".join(dict.fromkeys(keys)), description) for description, keys in found.items()]
