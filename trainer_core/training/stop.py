"""Someone wants the run to end: a file in the run folder, SIGTERM or SIGINT. It ends after its step, saved."""

import signal
from types import TracebackType
from typing import Any, Self

from trainer_core.run_folder import RunFolder


class TrainingStopped(Exception):
    """The run was asked to stop before its first step."""


class StopRequest:
    """Watches for a request to stop from entering to leaving; a second signal ends the process at once.

    SIGHUP is ignored: a terminal that closes says nothing about the run.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.stop_request_path
        self._signalled = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        return self._signalled or self._path.exists()

    def check(self) -> None:
        """Raise TrainingStopped when a stop was asked for: for the long work before the first step."""
        if self.requested():
            raise TrainingStopped

    def _on_signal(self, _number: int, _frame: Any) -> None:
        if self._signalled:
            raise KeyboardInterrupt
        self._signalled = True
