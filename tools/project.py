"""The project folder: where everything we make for one training goes. The clips folder is never written to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_core.errors import ConfigError
from trainer_core.files import read_json, write_json
from trainer_core.run_folder import RunFolder, list_runs
from trainer_core.strict import Strict

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total) while long work goes on; drawing it is the caller's business. May raise ToolStopped."""


class ToolStopped(BaseException):
    """Raised by a Progress when the user wants the work to end now; tools let it pass and keep what is done."""


class ProjectFacts(Strict):
    """`project.json`: what the user told us, once."""

    sources: list[str]
    goal: str = ""
    model: str = "tiny"
    objective: str | None = None
    adapter: str | None = None
    trigger: str | None = None
    buckets: str | None = None
    max_tokens: int | None = None
    captioner: str | None = None
    caption_style: str | None = None
    caption_notes: list[str] = []
    speech: str | None = None
    assumed: list[str] = []
    """What the assistant would have asked beyond its five questions, a sentence each: the plan lists them."""
    asked: dict[str, Any] = {}
    """Draft arguments and dotted config keys that the user asked for: every new draft holds them."""


@dataclass(frozen=True)
class Project:
    """Paths of one project."""

    path: Path

    @property
    def facts_path(self) -> Path:
        return self.path / "project.json"

    @property
    def looks_path(self) -> Path:
        """Scan results by content: a cache that may be deleted."""
        return self.path / ".looks.sqlite"

    @property
    def report_path(self) -> Path:
        return self.path / "report.json"

    @property
    def report_html_path(self) -> Path:
        return self.path / "report.html"

    @property
    def dataset_path(self) -> Path:
        return self.path / "dataset.jsonl"

    @property
    def clips_path(self) -> Path:
        """Remedied copies of clips."""
        return self.path / "clips"

    @property
    def remedies_path(self) -> Path:
        return self.path / "remedies.jsonl"

    @property
    def inputs_path(self) -> Path:
        """References and masks made for clips; inputs.jsonl beside them says which and how."""
        return self.path / "inputs"

    @property
    def captions_path(self) -> Path:
        return self.path / "captions.jsonl"

    @property
    def plan_path(self) -> Path:
        return self.path / "plan.md"

    @property
    def coverage_path(self) -> Path:
        """Counts of the given data that the plan trains on (tools/draft/coverage.py)."""
        return self.path / "coverage.json"

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def runs_path(self) -> Path:
        return self.path / "runs"

    @property
    def session_path(self) -> Path:
        return self.path / "session.sqlite"

    @property
    def facts(self) -> ProjectFacts:
        if not self.facts_path.exists():
            raise ConfigError(
                f"{self.path} is not a project: it has no project.json.", "Make one with `ltx-agent prepare CLIPS`."
            )
        return ProjectFacts.model_validate(read_json(self.facts_path))

    def write_facts(self, facts: ProjectFacts) -> None:
        write_json(self.facts_path, facts.model_dump())

    def runs(self) -> list[RunFolder]:
        """The project's runs, oldest first."""
        return list_runs(self.runs_path)


def open_project(clips: Path, path: Path | None) -> Project:
    """Return the project of `clips`: `path`, else ./ltx-projects/<name of the clips folder>.

    Raises ConfigError when it would lie inside the clips folder.
    """
    root = clips.expanduser().resolve()
    chosen = (path or Path("ltx-projects") / (root.name or "clips")).expanduser().resolve()
    if chosen == root or root in chosen.parents:
        raise ConfigError(
            f"The project folder {chosen} lies inside the clips folder {root}, which is never written to.",
            "Choose a folder elsewhere with --project.",
        )
    return Project(chosen)
