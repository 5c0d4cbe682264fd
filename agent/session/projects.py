"""Finds the project the user means, and keeps its project.json: one clips folder per project."""

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tools.inspect.discover.metadata import METADATA_SUFFIXES
from tools.inspect.discover.sources import find_files, refuse_without_media
from tools.project import Project, ProjectFacts, open_project
from trainer_core.errors import ConfigError
from trainer_core.files import storage_error

PROJECTS_FOLDER = Path("ltx-projects")


def project_of(target: Path, chosen: Path | None, **wishes: Any) -> Project:
    """Return the project that `target` is, or the one made of the clips in it; `wishes` are stored in project.json.

    Raises ConfigError when there is no such folder, when the project was made from other clips, or when it can't be
    written, and DataError for a folder that holds no media: nothing is left behind then.
    """
    target = target.expanduser()
    if wishes.get("model") is not None:
        wishes["model"] = _model_path(wishes["model"])
    if (target / "project.json").exists() and chosen is None:
        project = Project(target.resolve())
        return _record(project, read_facts(project), wishes)
    # says what is wrong with a folder that is missing or holds no media before a project is made for it
    refuse_without_media(find_files([str(target)]), [str(target)])
    source = target.resolve()
    project = _project_for(source, chosen)
    if not project.facts_path.exists():
        _create(project.path)
        return _record(project, ProjectFacts(sources=[str(source)]), wishes)
    facts = read_facts(project)
    if facts.sources != [str(source)]:
        raise ConfigError(
            f"The project {project.path} was made from {', '.join(facts.sources)}, not from {source}.",
            "Choose another folder with --project.",
        )
    return _record(project, facts, wishes)


def _project_for(source: Path, chosen: Path | None) -> Project:
    """The project of a folder, of a metadata file (named as its folder), or of a single clip (named as the clip)."""
    if source.is_file() and source.suffix.lower() not in METADATA_SUFFIXES:
        return open_project(source, chosen or PROJECTS_FOLDER / source.stem)
    return open_project(source if source.is_dir() else source.parent, chosen)


def existing_project(target: Path | None) -> Project:
    """Return the project at `target`, None: the one of the current folder. Raises ConfigError when there is none."""
    found = current_project() if target is None else Project(target.expanduser().resolve())
    if found is None:
        raise ConfigError(
            f"There is no project in {Path.cwd()} and none under {PROJECTS_FOLDER}/.",
            "Make one with `ltx-agent prepare CLIPS`, or name one.",
        )
    if not found.path.is_dir():
        raise ConfigError(f"There is no folder {found.path}.", "Make a project with `ltx-agent prepare CLIPS`.")
    read_facts(found)
    return found


def current_project() -> Project | None:
    """Return the project that the current folder is, else the newest one under ./ltx-projects, else None."""
    here = Path.cwd()
    if (here / "project.json").exists():
        return Project(here)
    found = sorted((here / PROJECTS_FOLDER).glob("*/project.json"), key=lambda path: path.stat().st_mtime)
    return Project(found[-1].parent) if found else None


def read_facts(project: Project) -> ProjectFacts:
    """Return project.json. Raises ConfigError when it is missing or wrong."""
    try:
        return project.facts
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(
            f"{project.facts_path} is wrong: {faults}.", "Correct it, or prepare the clips again."
        ) from error


def _create(path: Path) -> None:
    """Make the project folder for its owner alone: captions and conversations lie in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error


def _record(project: Project, facts: ProjectFacts, wishes: dict[str, Any]) -> Project:
    """Write project.json with what the user named now; prove on the way that the folder can be written."""
    named = {name: value for name, value in wishes.items() if value is not None}
    wanted = ProjectFacts.model_validate({**facts.model_dump(), **named})
    if wanted != facts or not project.facts_path.exists():
        project.write_facts(wanted)
    elif not os.access(project.path, os.W_OK):
        raise ConfigError(f"{project.path} can't be written: permission denied.", "Choose another with --project.")
    return project


def _model_path(model: str) -> str:
    from trainer_core.config import is_tiny

    if is_tiny(model):
        return model
    path = Path(model).expanduser()
    if not path.exists():
        raise ConfigError(f"There is no model at {model}.", "Give a checkpoint, a diffusers folder, or `tiny`.")
    return str(path.resolve())
