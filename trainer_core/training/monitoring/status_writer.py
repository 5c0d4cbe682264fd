"""Keeps a run's status.json fresh from a thread of its own, so that a slow disk never delays a training step."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from trainer_core.errors import LtxError
from trainer_core.lease import machine_id, process_identity
from trainer_core.logs import rotate_log
from trainer_core.run_folder import LEASE_S, RunFolder, RunStatus

_REFRESH_S = 1.0


class StatusKeeper:
    """Holds the status in memory; a background thread writes it about once per second and renews the lease.

    Of several ranks only one `writes`.
    """

    def __init__(self, run: RunFolder, status: RunStatus, *, writes: bool = True) -> None:
        self._writes = writes
        self._run = run
        pid = os.getpid()
        self._status = replace(status, pid=pid, process=process_identity(pid), machine=machine_id())
        self.estimate: Callable[[], dict[str, float] | None] | None = None
        """Called once a refresh for the seconds left by part: not in the training's thread."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="status-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write()

    @property
    def status(self) -> RunStatus:
        return self._status

    def record(self, kind: str, **fields: Any) -> None:
        """Append an event to events.jsonl."""
        if self._writes:
            self._run.record_event(kind, **fields)

    def update(self, **changes: Any) -> None:
        """Change fields of the status; the disk follows within a second, or at the end of the `with`."""
        with self._lock:
            self._status = replace(self._status, **changes)

    def _refresh(self) -> None:
        while not self._ended.wait(_REFRESH_S):
            try:
                self._estimate()
                self._write()
                if self._writes:
                    rotate_log(self._run.log_path)
            except LtxError as error:  # the disk may have room again at the next turn; the run's own writes decide
                with contextlib.suppress(OSError):
                    print(f"status: {error}", flush=True)

    def _estimate(self) -> None:
        if self.estimate is None or self._status.state != "running":
            return
        try:
            parts = self.estimate()
        except RuntimeError:  # a step was counted while its list was read: the next turn will do
            return
        if parts is not None and self._status.state == "running":
            self.update(eta_s=sum(parts.values()), eta_parts_s=parts)

    def _write(self) -> None:
        with self._lock:
            self._status = replace(self._status, lease_expires_at=time.time() + LEASE_S)
            status = self._status
        if self._writes and self._run.path.is_dir():  # a run folder that was removed is not made again
            self._run.write_status(status)
