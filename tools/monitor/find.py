"""Finding the run a person means: a run folder, a project folder, or nothing at all."""

from pathlib import Path

from tools.project import Project
from trainer_core.errors import ConfigError
from trainer_core.run_folder import RunFolder, list_runs, start_order

PROJECTS_FOLDER = Path("ltx-projects")


def resolve_run(target: Path | None) -> RunFolder:
    """Return the run that `target` names: itself when it is a run folder, the newest of a project or an output folder.

    None means the project of the current folder: the folder itself, else the newest run under ./ltx-projects.
    Raises ConfigError when there is no such folder or no run in it.
    """
    if target is None:
        return _run_of_current_folder()
    folder = target.expanduser()
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {target}.", "Give a project folder or a run folder under its runs/.")
    if (folder / "status.json").exists():
        return RunFolder(folder.absolute())
    if (folder / "project.json").exists():
        return newest_run(Project(folder.absolute()))
    runs = list_runs(folder.absolute())
    if not runs:
        raise ConfigError(
            f"{target} is neither a project (no project.json) nor a run (no status.json), and holds no runs.",
            "Give a project folder or a run folder under its runs/.",
        )
    return runs[-1]


def find_run(project: Project, run_id: str | None) -> RunFolder:
    """Return the run of `project` with this id, None: the newest. Raises ConfigError that lists the ids there are."""
    if run_id is None:
        return newest_run(project)
    runs = project.runs()
    for run in runs:
        if run.id == run_id:
            return run
    known = ", ".join(run.id for run in runs) or "none yet"
    raise ConfigError(f"The project {project.path} has no run `{run_id}`.", f"Its runs: {known}.")


def newest_run(project: Project) -> RunFolder:
    """Return the project's newest run. Raises ConfigError when it has none."""
    runs = project.runs()
    if not runs:
        raise ConfigError(f"The project {project.path} has no run yet.", "Start one with `ltx-agent train`.")
    return runs[-1]


def _run_of_current_folder() -> RunFolder:
    here = Path.cwd()
    if (here / "status.json").exists():
        return RunFolder(here)
    if (here / "project.json").exists():
        return newest_run(Project(here))
    projects = [Project(path.parent) for path in (here / PROJECTS_FOLDER).glob("*/project.json")]
    if not projects:
        raise ConfigError(
            f"There is no project in {here} and none under {PROJECTS_FOLDER}/.",
            "Go to the folder of your project, or name it: `ltx-agent status PROJECT`.",
        )
    newest = [newest_run(project) for project in projects if project.runs()]
    if not newest:
        raise ConfigError(
            f"None of the {len(projects)} project(s) under {here / PROJECTS_FOLDER} has a run yet.",
            "Start one with `ltx-agent train PROJECT`.",
        )
    return max(newest, key=lambda run: start_order(run.path))
