"""Pushing an export to the Hugging Face Hub: only after a yes, private unless said otherwise, one commit.

The token is the Hub client's own affair (HF_TOKEN or a stored login): it is never an argument and never written down.
"""

import os
from pathlib import Path

from pydantic import Field

from tools.deliver.export import EXPORT_FOLDER
from tools.monitor.find import find_run
from tools.project import Progress, Project
from tools.spec import CostLine, Preview, nothing
from trainer_core.config import load_config
from trainer_core.errors import ConfigError, ExternalError
from trainer_core.run_folder import RunFolder
from trainer_core.strict import Strict


class PushArguments(Strict):
    """The export to push, and its target."""

    run: str | None = Field(None, description="Id of the run whose export is pushed; null means the newest run.")
    repo_id: str | None = Field(None, description="OWNER/NAME on the Hub; null: the config's hub.hub_model_id.")
    public: bool = Field(False, description="Let everybody see it; a repository is private otherwise.")


class PushResult(Strict):
    """Pushed files. `url` is the commit's page."""

    repo_id: str
    url: str
    public: bool
    files: list[str]
    bytes: int


def push_to_hub(project: Project, arguments: PushArguments, progress: Progress | None = None) -> PushResult:
    """Push a run's export to the Hugging Face Hub, private unless the user says public.

    Others may see what is pushed, so the user must approve it each time. Export the run first.
    """
    return push_run(find_run(project, arguments.run), arguments, progress)


def preview_push(project: Project, arguments: PushArguments) -> Preview:
    """Return the card of a push: the files that leave this machine, and where to."""
    return preview_run(find_run(project, arguments.run), arguments)


def preview_run(run: RunFolder, arguments: PushArguments) -> Preview:
    """The same for a run. Raises ConfigError when there is nothing to push or no repository is named."""
    repo_id, folder = _repo_id(run, arguments), _exported(run)
    files = _files(folder)
    size = sum(path.stat().st_size for path in files)
    who = "everybody can see it" if arguments.public else "private: only you and those you allow see it"
    lines = [
        f"From {folder} to {repo_id} ({who}).",
        *(f"{path.relative_to(folder).as_posix()}, {path.stat().st_size / 1e6:.1f} MB" for path in files),
    ]
    costs = [
        CostLine("disk", f"nothing here; {size / 1e6:.1f} MB leave this machine", float(size), "measured"),
        CostLine("time", "as long as your line takes"),
        CostLine("money", "nothing here; the Hub may charge for large private repositories"),
        *nothing("memory"),
    ]
    return Preview(f"Push {len(files)} files to {repo_id}?", lines, costs)


def push_run(run: RunFolder, arguments: PushArguments, progress: Progress | None = None) -> PushResult:
    """Push; the caller has asked. Raises ExternalError when the Hub refuses or can't be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    report = progress or (lambda _what, _done, _total: None)
    repo_id, folder = _repo_id(run, arguments), _exported(run)
    files = _files(folder)
    disable_progress_bars()
    api = HfApi(library_name="ltx-agent", endpoint=os.environ.get("HF_ENDPOINT"))
    report("creating the repository", 0, 2)
    try:
        api.create_repo(repo_id, private=not arguments.public, exist_ok=True)
        report("pushing", 1, 2)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message=f"Export of run {run.id} by ltx-agent"
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        hints = {401: "Log in with `hf auth login`, or set HF_TOKEN.", 403: "Your token may not write there."}
        raise ExternalError(
            f"The Hub refused {repo_id} (HTTP {status}).",
            hints.get(status, "Try again later."),
        ) from error
    except Exception as error:  # the client passes on whatever its HTTP library raises
        raise ExternalError(f"The Hub can't be reached: {type(error).__name__}.", "Try again later.") from error
    report("pushed", 2, 2)
    return PushResult(
        repo_id=repo_id,
        url=str(commit.commit_url),
        public=arguments.public,
        files=[path.relative_to(folder).as_posix() for path in files],
        bytes=sum(path.stat().st_size for path in files),
    )


def _repo_id(run: RunFolder, arguments: PushArguments) -> str:
    repo_id = arguments.repo_id or load_config(run.config_path).hub.hub_model_id
    if not repo_id or repo_id.count("/") != 1 or not all(repo_id.split("/")):
        raise ConfigError(
            f"`{repo_id or ''}` names no repository.", "Name OWNER/NAME, or set hub.hub_model_id in the config."
        )
    return repo_id


def _exported(run: RunFolder) -> Path:
    folder = run.path / EXPORT_FOLDER
    if not folder.is_dir():
        raise ConfigError(f"The run {run.id} has no export yet.", "Make one with `ltx-agent export`.")
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
