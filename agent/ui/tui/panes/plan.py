"""The training YAML: read with a hint a line, edited in place, checked as one types, and each proposal as a diff."""

from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import OptionList, Static, TextArea
from textual.widgets.option_list import Option

from agent.text.sanitize import clean
from agent.ui.shared.hunks import hunks, with_hunks
from agent.ui.shared.yaml_help import Hint, Problem, completions, hint, problems, word_before
from agent.ui.tui.panes.pane import Pane
from agent.ui.tui.widgets.editor import YamlEditor
from agent.ui.tui.widgets.hunk_list import HunkList

CHECK_AFTER_S = 0.25


class PlanPane(Pane):
    """config.yaml of the project, or what the person is making of it."""

    TITLE = "Plan"
    HELP = (
        "Each line's hint says what may stand there and why the draft chose its value. e edits, Tab completes "
        "from the schema, Ctrl+S saves; Esc leaves the editor and keeps it. When a new draft comes, d shows "
        "what differs, hunk by hunk: a takes one, r leaves it as it was."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "edit"),
        Binding("d", "diff", "changes"),
        Binding("x", "next_problem", "next problem", show=False),
        Binding("escape", "leave", "stop editing", show=False, priority=True),
    ]

    @dataclass
    class Saved(Message):
        """The person wants this text to be config.yaml."""

        text: str

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._disk: str | None = None
        self._base: str | None = None
        self._proposed: str | None = None
        self._problems: list[Problem] = []
        self._timer: Timer | None = None
        self._editor = YamlEditor(id="yaml")
        self._hunks = HunkList(id="hunks")
        self._options = OptionList(id="yaml-completions")
        self._hint = Static(id="yaml-hint")

    def compose(self) -> ComposeResult:
        yield Static("There is no plan yet. Say what you want to train, or /draft.", id="no-plan")
        yield self._editor
        yield self._hunks
        yield self._options
        yield self._hint

    def on_mount(self) -> None:
        super().on_mount()
        self._hunks.display = self._options.display = False
        self._editor.display = self._hint.display = False

    def take_focus(self) -> None:
        (self._hunks if self._hunks.display else self._editor).focus()

    @property
    def is_dirty(self) -> bool:
        """Whether the editor holds what is not on disk."""
        return self._disk is not None and self._editor.text != self._disk

    @property
    def text(self) -> str:
        return self._editor.text

    def show_file(self, text: str | None) -> None:
        """config.yaml is now `text`; None: there is none."""
        self.query_one("#no-plan").display = text is None
        self._editor.display = self._hint.display = text is not None and not self._hunks.display
        if text is None or text == self._disk:
            self._disk = text
            return
        before, was_dirty = (self._editor.text, self.is_dirty) if self._disk is not None else (None, False)
        self._disk = text
        if before is None or before == text:
            self._load(text)
            return
        # The text that the person saw, edits included, is the old side; the new file stands until hunks are left out.
        self._base = before if was_dirty or self._proposed is None else self._base
        self._proposed = text
        self._load(text)
        count = len(hunks(before, text))
        if count:
            places = f"in {count} places" if count > 1 else "in one place"
            self.notify(f"The plan has changed {places}. d shows what.", title="Plan")
        self._show_title()

    def _load(self, text: str) -> None:
        self._editor.load_text(text)
        self._check()

    def _show_title(self) -> None:
        parts = [self.TITLE]
        if self._disk is not None:
            parts.append("config.yaml")
        if self.is_dirty:
            parts.append("not saved")
        self.border_title = " · ".join(parts)
        said = self._count() if self._problems else "valid" if self._disk is not None else ""
        changed = "changed: d" if self._proposed is not None else ""
        self.border_subtitle = " · ".join(part for part in (changed, said) if part)

    def _count(self) -> str:
        count = len(self._problems)
        return f"{count} problem{'s' if count != 1 else ''}"

    @on(TextArea.Changed, "#yaml")
    def _changed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(CHECK_AFTER_S, self._check)
        self._show_title()

    def _check(self) -> None:
        self._find_problems(self._editor.text)

    @work(thread=True, exclusive=True, group="problems")
    def _find_problems(self, text: str) -> None:
        found = problems(text)
        row = self._editor.cursor_location[0]
        known = hint(text, row)
        self.app.call_from_thread(self._show_problems, text, found, known)

    def _show_problems(self, text: str, found: list[Problem], known: Hint | None) -> None:
        if text != self._editor.text:
            return
        self._problems = found
        self._editor.mark_wrong(frozenset(problem.line for problem in found))
        self._show_title()
        self._show_hint(known)

    @on(TextArea.SelectionChanged, "#yaml")
    def _moved(self) -> None:
        self._options.display = False
        self._find_hint(self._editor.text, self._editor.cursor_location[0])

    @work(thread=True, exclusive=True, group="hint")
    def _find_hint(self, text: str, line: int) -> None:
        found = hint(text, line)
        self.app.call_from_thread(self._show_hint, found)

    def _show_hint(self, known: Hint | None) -> None:
        line = self._editor.cursor_location[0]
        here = [problem for problem in self._problems if problem.line == line]
        parts: list[Any] = []
        if here:
            parts.append(Content.styled(f"line {line + 1}: {clean(here[0].message)}", "$error"))
        elif self._problems:
            first = self._problems[0]
            parts.append(Content.styled(f"line {first.line + 1}: {clean(first.message)}", "$error"))
        if known is not None:
            default = f"   default {clean(known.default)}" if known.default else ""
            parts.append(Content.assemble((known.key, "bold"), (f"  {clean(known.allowed)}{default}", "$muted")))
            if known.reason:
                parts.append(Content.styled(f"why: {clean(known.reason)}", "italic $accent"))
        self._hint.update(Content("\n").join(parts) if parts else Content(""))

    def action_edit(self) -> None:
        if self._disk is None:
            self.notify("There is no plan to edit yet.")
            return
        self._leave_diff()
        self._editor.read_only = False
        self.add_class("-editing")
        self._editor.focus()

    def action_leave(self) -> None:
        if self._options.display:
            self._options.display = False
            self._editor.focus()
        elif not self._editor.read_only:
            self._editor.read_only = True
            self.remove_class("-editing")
            if self.is_dirty:
                self.notify("Your changes are not saved yet: Ctrl+S saves them.", title="Plan")
        elif self._hunks.display:
            self._leave_diff()
        else:
            self.post_message(self.Left())

    def action_next_problem(self) -> None:
        line = self._editor.cursor_location[0]
        ahead = [problem for problem in self._problems if problem.line > line] or self._problems
        if ahead:
            self._editor.move_cursor((ahead[0].line, ahead[0].column), center=True)

    @on(YamlEditor.SaveWanted)
    def _save(self) -> None:
        text = self._editor.text
        if not text.endswith("\n"):
            text += "\n"
        self._disk = text
        self.post_message(self.Saved(text))
        if self._problems:
            first = self._problems[0]
            said = f"Saved with {self._count()}; training won't start with that."
            self.notify(f"{said}\nline {first.line + 1}: {first.message}", title="Plan", severity="warning")
        else:
            self.notify("Saved.", title="Plan")
        self._show_title()

    @on(YamlEditor.CompletionWanted)
    def _complete(self, message: YamlEditor.CompletionWanted) -> None:
        text = self._editor.text
        found = completions(text, message.line, message.column)
        if not found:
            self.notify("Nothing in the schema completes this.", severity="information")
            return
        replaced = word_before(text, message.line, message.column)
        if len(found) == 1:
            self._editor.insert_completion(found[0][0], replaced)
            return
        self._options.clear_options()
        self._options.add_options(
            [
                Option(Content.assemble(clean(what), (f"  {clean(about)}", "dim")), id=str(number))
                for number, (what, about) in enumerate(found)
            ]
        )
        self._completing = (found, replaced)
        self._options.display = True
        self._options.highlighted = 0
        self._options.focus()

    _completing: tuple[list[tuple[str, str]], int] = ([], 0)

    @on(OptionList.OptionSelected, "#yaml-completions")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        found, replaced = self._completing
        self._options.display = False
        self._editor.focus()
        self._editor.insert_completion(found[event.option_index][0], replaced)

    async def action_diff(self) -> None:
        """Show what the last proposal changed; while editing, what the edit changes."""
        old, new = (self._base, self._proposed) if self._proposed is not None else (self._disk, self._editor.text)
        found = hunks(old, new) if old is not None and new is not None else []
        if not found:
            self.notify("Nothing has changed since you last looked.", title="Plan")
            return
        assert new is not None
        await self._hunks.show(found, new)
        self._hunks.display = True
        self._editor.display = self._hint.display = False
        self._hunks.focus()

    def _leave_diff(self) -> None:
        if self._hunks.display:
            self._hunks.display = False
            self._editor.display = self._hint.display = self._disk is not None
            self._editor.focus()

    @on(HunkList.Cancelled)
    def _cancelled(self) -> None:
        self._leave_diff()

    @on(HunkList.Decided)
    def _decided(self, message: HunkList.Decided) -> None:
        old, new = (self._base, self._proposed) if self._proposed is not None else (self._disk, self._editor.text)
        assert old is not None
        assert new is not None
        text = with_hunks(old, new, message.taken)
        self._base = self._proposed = None
        self._leave_diff()
        self._load(text)
        if text != self._disk:
            self._disk = text
            self.post_message(self.Saved(text))
        left = len(hunks(old, new)) - len(message.taken)
        self.notify(f"{left} of the changes left out." if left else "All changes taken.", title="Plan")
        self._show_title()
