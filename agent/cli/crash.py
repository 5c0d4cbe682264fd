"""The last resort for an error that nobody foresaw: its traceback goes into a log file, one line to the user."""

import time
import traceback
from pathlib import Path

import platformdirs

from trainer_core.files import write_text


def record_crash(error: Exception) -> str:
    """Write the traceback of `error` to the user's log folder; return the line that says so."""
    told = f"ltx-agent: this is a defect of ltx-agent: {type(error).__name__}: {error}."
    trace = "".join(traceback.format_exception(error))
    path = Path(platformdirs.user_log_dir("ltx-agent")) / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        write_text(path, trace)
    except Exception as refusal:
        return f"{told} Its traceback could not be written ({refusal})."
    return f"{told} The traceback is in {path}."
