"""Showing a file with the program that the system has for it, where there is a display to show it on."""

import os
import shutil
import subprocess
from pathlib import Path


def open_with_system(path: Path) -> bool:
    """Open `path` in a program of its own; False where there is no display here, as over SSH."""
    program = next((name for name in ("open", "xdg-open") if shutil.which(name)), None)
    seen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or program == "open"
    if program is None or not seen or os.environ.get("SSH_CONNECTION"):
        return False
    subprocess.Popen(
        [program, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return True
