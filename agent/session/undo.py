"""Files that each decision shapes, and their restoring. What the user wrote is kept beside what replaces it."""

from agent.session.store import Decision, Store
from tools.draft.annotated import is_as_drafted, keep_beside
from tools.project import Project
from trainer_core.files import replacing
from trainer_core.run_folder import LIVE_STATES

_NAMES = ("project.json", "config.yaml", "plan.md", "dataset.jsonl")


def deciding_files(project: Project) -> dict[str, bytes | None]:
    """The contents that follow from decisions, by name; None for a file that is not there."""
    paths = {name: project.path / name for name in _NAMES}
    return {name: path.read_bytes() if path.exists() else None for name, path in paths.items()}


def restore_files(project: Project, decision: Decision, store: Store) -> list[str]:
    """Bring the files back to before `decision`; return a line for each, and one for a run it can't call back."""
    lines = []
    for name, digest in decision.files.items():
        path = project.path / name
        before = store.file_version(digest) if digest else None
        now = path.read_bytes() if path.exists() else None
        if now == before or (before is None and digest):
            continue
        if name == "config.yaml" and now is not None and not is_as_drafted(path):
            kept = keep_beside(path)
            lines.append(f"{name} is as it was; your edited version is kept as {kept.name}.")
        if before is None:
            path.unlink(missing_ok=True)
        else:
            with replacing(path) as temporary:
                temporary.write_bytes(before)
    for run in project.runs():
        status = run.read_status()
        if status.state in LIVE_STATES and (status.started_at or 0) > decision.time:
            lines.append(f"Run {run.id} was started since and goes on; say stop to end it.")
    return lines
