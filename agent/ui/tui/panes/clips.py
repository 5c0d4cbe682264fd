"""The clips as a table, with picture, flags and caption of the one under the cursor; captions are editable."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import DataTable, Input, Static, TextArea

from agent.text.sanitize import clean, clean_lines
from agent.ui.shared.clips import ClipRow, matching
from agent.ui.tui.panes.pane import Pane
from agent.ui.tui.thumbnails import Thumbnails
from agent.ui.tui.widgets.picture import Picture

SIGNS = {"block": ("✗", "$error"), "warn": ("▲", "$warning"), "note": ("·", "$muted"), "": ("✓", "$success")}
ROWS_AT_ONCE = 400
MOST_CELLS = (1, 30, 8, 10, 12, 8, 16, 40)
COLUMNS = ("", "clip", "length", "size", "sound", "split", "caption", "flags")


class CaptionEditor(TextArea):
    """Where a caption is written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "save", priority=True),
        Binding("escape", "cancel", "cancel", priority=True),
    ]

    class SaveWanted(Message):
        """The caption is as the person wants it."""

    class Cancelled(Message):
        """The caption stays as it was."""

    def action_save(self) -> None:
        self.post_message(self.SaveWanted())

    def action_cancel(self) -> None:
        self.post_message(self.Cancelled())


class ClipsPane(Pane):
    """Clips of the project."""

    TITLE = "Clips"
    HELP = (
        "✗ can't be trained on, ▲ look at it, · handled already. Enter or e edits the caption; what you write is kept "
        "as yours. v marks a draft as reviewed. / filters by any word: a name, a flag, “review”, “silent”."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "edit caption"),
        Binding("v", "reviewed", "reviewed"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("n", "next_review", "next to review"),
        Binding("o", "open", "open", show=False),
        Binding("y", "copy", "copy caption", show=False),
        Binding("escape", "leave", "back", show=False),
    ]

    @dataclass
    class CaptionWritten(Message):
        """The person has written, or reviewed as it is, the caption of a clip."""

        row: ClipRow
        caption: str

    @dataclass
    class OpenWanted(Message):
        """A file is to be shown by the system's own program."""

        row: ClipRow

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._rows: list[ClipRow] = []
        self._shown: list[ClipRow] = []
        self._words = ""
        self._table: DataTable[Content] = DataTable(id="clip-table", cursor_type="row", zebra_stripes=False)
        self._thumbnails = Thumbnails()
        self._editor = CaptionEditor(id="caption-editor", soft_wrap=True, show_line_numbers=False)
        self._filter = Input(id="clip-filter", placeholder="filter: name, flag, review, silent, …", compact=True)
        self._picture = Picture(id="clip-picture")
        self._about = Static(id="clip-about")

    def compose(self) -> ComposeResult:
        yield self._filter
        yield self._table
        with Horizontal(id="clip-detail"):
            yield self._picture
            with Vertical():
                with VerticalScroll(id="clip-text", can_focus=False):
                    yield self._about
                yield self._editor

    def on_mount(self) -> None:
        super().on_mount()
        self._filter.display = self._editor.display = False
        self._filter.cursor_blink = self._editor.cursor_blink = False
        self._fill()

    def take_focus(self) -> None:
        self._table.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_current)

    @property
    def current(self) -> ClipRow | None:
        """The clip under the cursor."""
        row = self._table.cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def show_rows(self, rows: list[ClipRow]) -> None:
        """Show these clips; the cursor stays on its clip."""
        if rows != self._rows:
            self._rows = rows
            self._fill()

    def _fill(self) -> None:
        here = self.current
        self._shown = matching(self._rows, self._words)
        self._table.clear(columns=True)
        for label, width in zip(COLUMNS, _widths(self._shown), strict=True):
            self._table.add_column(label, width=width)
        self._add_rows(0, self._shown, here)
        self._show_title()

    def _add_rows(self, start: int, rows: list[ClipRow], here: ClipRow | None) -> None:
        """Add a few hundred rows, the rest when the screen has been drawn: thousands of clips never block it."""
        if rows is not self._shown:
            return
        for row in rows[start : start + ROWS_AT_ONCE]:
            self._table.add_row(*_cells(row))
        if here is not None:
            at = next((i for i, row in enumerate(rows[: self._table.row_count]) if row.path == here.path), None)
            if at is not None:
                self._table.move_cursor(row=at, animate=False)
                here = None
        if start + ROWS_AT_ONCE < len(rows):
            self.set_timer(0.02, lambda: self._add_rows(start + ROWS_AT_ONCE, rows, here))
        self._show_current()

    def _show_title(self) -> None:
        count, review = len(self._rows), sum(row.needs_review for row in self._rows)
        blocked = sum(row.worst == "block" for row in self._rows)
        parts = [self.TITLE, f"{count}"]
        if self._words:
            parts.append(f"{len(self._shown)} match “{clean(self._words)}”")
        self.border_title = " · ".join(parts)
        told = [f"{review} to review" if review else "", f"{blocked} can't train" if blocked else ""]
        self.border_subtitle = " · ".join(part for part in told if part)

    @on(DataTable.RowHighlighted, "#clip-table")
    def _show_current(self) -> None:
        row = self.current
        if row is None:
            said = (
                "No clips yet. Say “inspect”, or drop a folder of clips here." if not self._rows else "Nothing matches."
            )
            self._about.update(Content.styled(said, "$muted"))
            self._picture.show(None)
            return
        self._about.update(_about(row))
        if self._picture.size.width and row.kind in ("video", "image"):
            self._load_picture(row)
        else:
            self._picture.show(None)

    @work(thread=True, exclusive=True, group="thumbnail")
    def _load_picture(self, row: ClipRow) -> None:
        self.app.call_from_thread(self._show_picture, row, self._thumbnails.get(row.file))

    def _show_picture(self, row: ClipRow, image: np.ndarray | None) -> None:
        if self.current is row:
            self._picture.show(image)

    @on(DataTable.RowSelected, "#clip-table")
    def action_edit(self) -> None:
        row = self.current
        if row is None:
            return
        if not row.source:
            self.notify("This clip has no caption to edit: it wasn't captioned. Say “caption the clips”.")
            return
        self._editor.load_text(row.caption)
        self._editor.display = True
        self.query_one("#clip-text").display = False
        self._editor.focus()
        self._editor.move_cursor(self._editor.document.end)

    def _close_editor(self) -> None:
        self._editor.display = False
        self.query_one("#clip-text").display = True
        self._table.focus()

    @on(CaptionEditor.SaveWanted)
    def _save(self) -> None:
        row = self.current
        text = " ".join(self._editor.text.split())
        if row is None or not text:
            self.notify("An empty caption trains nothing. Write something, or press Esc.", severity="warning")
            return
        self._close_editor()
        self.post_message(self.CaptionWritten(row, text))

    @on(CaptionEditor.Cancelled)
    def _cancel(self) -> None:
        self._close_editor()

    def action_reviewed(self) -> None:
        row = self.current
        if row is not None and row.source:
            self.post_message(self.CaptionWritten(row, row.caption))

    def action_next_review(self) -> None:
        start = self._table.cursor_row + 1
        order = [*range(start, len(self._shown)), *range(start)]
        found = next((number for number in order if self._shown[number].needs_review), None)
        if found is None:
            self.notify("No caption waits for a review.")
        else:
            self._table.move_cursor(row=found, animate=False)

    def action_filter(self) -> None:
        self._filter.display = True
        self._filter.focus()

    @on(Input.Changed, "#clip-filter")
    def _filtered(self, event: Input.Changed) -> None:
        self._words = event.value
        self._fill()

    @on(Input.Submitted, "#clip-filter")
    def _filter_done(self) -> None:
        self._table.focus()

    def action_leave(self) -> None:
        if self._filter.display:
            self._filter.value = ""
            self._filter.display = False
            self._table.focus()
        else:
            self.post_message(self.Left())

    def action_open(self) -> None:
        if self.current is not None:
            self.post_message(self.OpenWanted(self.current))

    def action_copy(self) -> None:
        if self.current is not None:
            self.app.copy_to_clipboard(self.current.caption)
            self.notify("Caption copied.")


def _cells(row: ClipRow) -> list[Content]:
    sign, colour = SIGNS[row.worst]
    if row.status in ("unusable", "unreadable"):
        sign, colour = SIGNS["block"]
    review = (" draft", "$warning") if row.needs_review else ("", "")
    flags = ", ".join(dict.fromkeys(flag.id for flag in row.flags))
    return [
        Content.styled(sign, colour),
        Content(clean(row.path)),
        Content(f"{row.duration_s:.1f} s" if row.duration_s else ""),
        Content(row.size),
        Content("" if row.sound in ("", "none") else row.sound),
        Content(row.split),
        Content.assemble(row.source, review),
        Content.styled(flags, "$muted"),
    ]


def _widths(rows: list[ClipRow]) -> list[int]:
    """The width of each column: of its widest text, names and flags within bounds."""
    widest = [len(label) for label in COLUMNS]
    for row in rows:
        widest = [max(width, cell.cell_length) for width, cell in zip(widest, _cells(row), strict=True)]
    return [min(width, most) for width, most in zip(widest, MOST_CELLS, strict=True)]


def _about(row: ClipRow) -> Content:
    lines = [Content.styled(clean(row.path), "bold")]
    lines.append(Content.styled(clean(_measures(row)), "$muted"))
    for flag in row.flags:
        sign, colour = SIGNS.get(flag.severity, SIGNS["note"])
        lines.append(Content.assemble((f"{sign} {flag.id}  ", colour), clean(f"{flag.message} {flag.remedy}")))
    lines += [Content.styled(f"▲ {clean(flag)}", "$warning") for flag in row.caption_flags]
    if row.caption:
        source = f"{row.source}, to be reviewed" if row.needs_review else row.source
        lines += [
            Content(""),
            Content.styled(f"caption ({clean(source)})", "$accent"),
            Content(clean_lines(row.caption)),
        ]
    return Content("\n").join(lines)


def _measures(row: ClipRow) -> str:
    parts = [row.kind, f"{row.duration_s:.2f} s" if row.duration_s else "", row.size]
    parts.append(f"sound {row.sound}" if row.sound else "")
    parts.append(f"{row.samples} samples" if row.samples != 1 else "1 sample")
    parts.append(row.split)
    return " · ".join(part for part in parts if part)
