"""Showing a file with the program that the system has for it, where there is a display to show it on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def open_with_system(path: Path) -> bool:
    """Open `path` in a program of its own; False where there is no display here, as over SSH."""
    on_mac = sys.platform == "darwin"  # elsewhere a program named `open` is another one
    program = shutil.which("open" if on_mac else "xdg-open")
    seen = on_mac or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
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
