"""The project's files as its watcher sees them, handed to the panes that show them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.ui.shared.watch import RunSeen
    from agent.ui.tui.screens.workbench import Workbench

CLIP_FILES = ("report.json", "captions.jsonl", "dataset.jsonl")
"""The files that the table of clips is made of."""


class Observed:
    """Runs and texts of one project so far, and which run the user looks at."""

    def __init__(self, workbench: "Workbench") -> None:
        self._workbench = workbench
        self.runs: tuple[str, ...] = ()
        self.seen: dict[str, RunSeen] = {}
        self._texts: dict[str, str | None] = {}
        self._chosen: tuple[str | None, str | None] = (None, None)

    @property
    def has_files(self) -> bool:
        return bool(self._texts)

    @property
    def has_latest_run(self) -> bool:
        return all(run in self.seen for run in self.runs[-1:])

    @property
    def run_in_front(self) -> "RunSeen | None":
        """The run that the user chose, else the latest; None while it is not read."""
        chosen = self._chosen[0]
        shown = chosen if chosen in self.seen else (self.runs[-1] if self.runs else None)
        return self.seen.get(shown) if shown else None

    def show(self, payload: object) -> None:
        """Hand what the watcher saw to the panes that show it."""
        from agent.ui.shared.watch import Detail, FilesSeen, RunSeen, RunsSeen

        bench = self._workbench
        match payload:
            case RunSeen():
                self._show_run(payload)
            case RunsSeen(ids):
                self.runs = bench.talk.prompt.runs = ids
                bench.curves.show_runs(ids)
                bench.run.show_runs(ids)
            case Detail(run, steps):
                bench.curves.show_detail(run, steps)
            case FilesSeen(texts):
                self._show_texts(texts)

    def choose(self, run: str | None, compared: str | None) -> None:
        """Show this run in every pane, compared with another one."""
        self._chosen = (run, compared)
        for name in (run, compared):
            if name in self.seen:
                self._show_run(self.seen[name])

    def _show_run(self, seen: "RunSeen") -> None:
        self.seen[seen.id] = seen
        self._workbench.curves.show_run(seen)
        if seen.id != self._chosen[1]:
            self._workbench.run.show_run(seen)
            self._workbench.samples.show_run(seen)

    def _show_texts(self, texts: dict[str, str | None]) -> None:
        from agent.ui.shared.clips import clip_rows

        self._texts |= texts
        if "config.yaml" in texts:
            self._workbench.plan.show_file(texts["config.yaml"])
        if texts.keys() & set(CLIP_FILES):
            self._workbench.clips.show_rows(clip_rows(*(self._texts.get(name) for name in CLIP_FILES)))
