"""Output of verbs: plain lines, one JSON document or a progress bar, and the ending of a failed verb."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from agent.cli.progress import ProgressBar
    from tools.project import Project
    from trainer_core.errors import LtxError


def one_step(project: "Project", tool: Any, arguments: dict[str, Any], as_json: bool) -> None:
    """Run one tool as a verb: the arguments that were named, checked as a model's are."""
    from pydantic import ValidationError

    from agent.text.results import SUMMARIES
    from trainer_core.errors import ConfigError

    try:
        checked = tool.arguments(**{name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(f"--{str(fault['loc'][0]).replace('_', '-')}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"Wrong option: {faults}.", "See --help.") from error
    with progress() as report:
        result = tool.function(project, checked, report).model_dump(mode="python")
    if as_json:
        say_json({"project": str(project.path), **result})
        return
    for line in SUMMARIES[tool.name](result):
        say(line)
    say(f"Project: {project.path}")


def progress() -> "AbstractContextManager[ProgressBar]":
    from agent.cli.progress import progress_bar

    return progress_bar()


def say(text: str, *, err: bool = False) -> None:
    from agent.text.sanitize import clean_lines

    print(clean_lines(text), file=sys.stderr if err else sys.stdout, flush=True)


def say_json(document: Any) -> None:
    """Print the one document; ASCII escapes carry file names of any bytes."""
    import json

    print(json.dumps(document, indent=2, default=str), flush=True)


def check_objective(name: str | None) -> None:
    from trainer_core.errors import ConfigError
    from trainer_core.objective import OBJECTIVE_NAMES

    if name is not None and name not in OBJECTIVE_NAMES:
        raise ConfigError(f"There is no objective {name!r}.", f"Objectives: {', '.join(OBJECTIVE_NAMES)}.")


def fail(error: Exception) -> int:
    """Say an error in a person's words and return its exit code; what nobody foresaw leaves a traceback in a file."""
    from trainer_core.errors import LtxError

    told = error if isinstance(error, LtxError) else _foreseen(error)
    if told is None:
        from agent.cli.crash import record_crash

        say(record_crash(error), err=True)
        return 1
    say(f"ltx-agent: {told.message}" + (f"\n{told.hint}" if told.hint else ""), err=True)
    if "--json" in sys.argv:
        failed = {"message": told.message, "hint": told.hint, "exit_code": told.exit_code}
        say_json({"error": failed})
    return told.exit_code


def _foreseen(error: Exception) -> "LtxError | None":
    import errno

    from trainer_core.files import storage_error

    refused = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
    if isinstance(error, OSError) and error.errno in refused:
        return storage_error(Path(error.filename or "a file"), error)
    return None
