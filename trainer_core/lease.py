"""Lease of a run folder: one process trains at a time, recognised even when its PID is reused. No torch."""

import fcntl
import os
import subprocess
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from trainer_core.errors import ConfigError
from trainer_core.files import storage_error


@cache
def machine_id() -> str:
    """A name of this boot of this machine: processes of another one can't be looked up from here."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux: the host name tells machines apart, not boots
        return os.uname().nodename


def process_identity(pid: int) -> str | None:
    """Return the start of process `pid` by the kernel's count (clock changes don't move it); None when there is none.

    A zombie counts as ended. With the pid this tells a process from a later one under the same number.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    try:
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return asked.stdout.strip() or None


class TrainingLease:
    """Held by the process that trains in a run folder; the kernel frees it however the process ends.

    Raises ConfigError on entering when another process holds it. A POSIX record lock: the loader's worker processes
    don't inherit it, so a killed trainer's orphans hold nothing back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 64, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise ConfigError(
                f"Process {holder or 'another'} already trains in {self._path.parent}.",
                "Wait for it, or stop it with `ltx-agent stop`.",
            ) from error
        except OSError as error:
            raise storage_error(self._path, error) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
