"""Looking at many files at once: child processes that may crash or hang without anybody else noticing."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tools.inspect.discover.media_file import expected_kind
from tools.inspect.scan.scan_file import Look, read_look

WORKER_MODULE = "tools.inspect.scan.decode_child"
START_LIMIT_S = 120.0
"""How long a process may take to start, on a machine that is busy with other things."""
STALL_LIMIT_S = 60.0
"""A file whose decoder gives nothing for this long is given up."""
TIME_LIMIT_S = 120.0
TIME_LIMIT_S_PER_MIB = 10.0
"""All in all a file may take the first plus this much for each MiB; 4K at 10 frames per second stays well below."""
POLL_S = 1.0
PASSED_NAMES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class DecodeJob:
    """One file to look at, or only to hash."""

    key: int
    file: Path
    hash_only: bool = False


@dataclass(frozen=True)
class Answer:
    """Outcome of a job. `lasting` is False when it may end differently next time: a crash or a time limit."""

    key: int
    look: Look | None = None
    sha256: str | None = None
    lasting: bool = True


@dataclass
class Limits:
    """Time limits of a file."""

    stall_s: float = STALL_LIMIT_S
    total_s: float = TIME_LIMIT_S
    total_s_per_mib: float = TIME_LIMIT_S_PER_MIB

    def of(self, file: Path) -> float:
        """Seconds that this file may take."""
        try:
            return self.total_s + self.total_s_per_mib * file.stat().st_size / 2**20
        except OSError:
            return self.total_s


def work_off(
    jobs: Sequence[DecodeJob], limits: Limits | None = None, processes: int | None = None
) -> Generator[Answer]:
    """Yield the answer to every job as it comes; as many processes as processors work on them.

    Closing the iterator ends the processes.
    """
    waiting = deque(jobs)
    limits = limits or Limits()
    count = min(processes or os.cpu_count() or 1, len(jobs))
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as workers:
        for _ in range(count):
            _set_to_work(_Worker(limits), selector, workers, waiting)
        while selector.get_map():
            for key, _ in selector.select(POLL_S):
                worker = key.data
                for answer in worker.read():
                    _next_job(worker, selector, waiting)
                    yield answer
            for key in list(selector.get_map().values()):
                worker = key.data
                failed = worker.failure()
                if failed is None:
                    continue
                selector.unregister(worker.stdout)
                worker.end()
                if failed.key >= 0:
                    yield failed
                if waiting:
                    _set_to_work(_Worker(limits), selector, workers, waiting)


def _set_to_work(
    worker: "_Worker", selector: selectors.BaseSelector, workers: contextlib.ExitStack, waiting: deque[DecodeJob]
) -> None:
    workers.callback(worker.end)
    selector.register(worker.stdout, selectors.EVENT_READ, worker)
    _next_job(worker, selector, waiting)


def _next_job(worker: "_Worker", selector: selectors.BaseSelector, waiting: deque[DecodeJob]) -> None:
    if waiting:
        worker.give(waiting.popleft())
    else:
        selector.unregister(worker.stdout)
        worker.end()


@dataclass
class _Worker:
    """One child process and the job it is at."""

    limits: Limits
    job: DecodeJob | None = None
    deadline_s: float = 0.0
    stalls_at_s: float = 0.0
    started: bool = False
    closed: bool = False
    _buffer: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        environment = {name: os.environ[name] for name in PASSED_NAMES if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER_MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.stdout: IO[bytes] = self.process.stdout
        os.set_blocking(self.stdout.fileno(), False)

    def give(self, job: DecodeJob) -> None:
        self.job = job
        self._set_clocks()
        message = {"do": "hash" if job.hash_only else "look", "file": os.fspath(job.file)}
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: `failure` will say so
            self.process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def _set_clocks(self) -> None:
        now_s = time.monotonic()
        if self.started and self.job is not None:
            self.deadline_s, self.stalls_at_s = now_s + self.limits.of(self.job.file), now_s + self.limits.stall_s
        else:
            self.deadline_s = self.stalls_at_s = now_s + START_LIMIT_S

    def read(self) -> Iterator[Answer]:
        """Take what it says; yield the answer if it is whole."""
        part = self.stdout.read(1 << 16)
        while part:
            self._buffer += part
            part = self.stdout.read(1 << 16)
        self.closed = part == b""
        while b"\n" in self._buffer:
            line, _, rest = bytes(self._buffer).partition(b"\n")
            self._buffer = bytearray(rest)
            message: dict[str, Any] = json.loads(line)
            if not self.started:
                self.started = True
                self._set_clocks()
            self.stalls_at_s = time.monotonic() + self.limits.stall_s
            if "alive" in message or self.job is None:
                continue
            job, self.job = self.job, None
            look = read_look(message["look"]) if "look" in message else None
            sha256 = message.get("sha256") or (look.sha256 if look is not None else None)
            yield Answer(job.key, look, sha256)

    def failure(self) -> Answer | None:
        """Return the answer for a file on which the child died or took too long."""
        now_s = time.monotonic()
        if self.closed:
            code = self.process.wait()
            reason = f"the decoder crashed on it (signal {-code})" if code < 0 else f"the decoder gave up ({code})"
        elif now_s > self.deadline_s:
            reason = f"decoding it took longer than {self.limits.of(self.job.file):.0f} s" if self.job else "idle"
        elif now_s > self.stalls_at_s:
            reason = f"the decoder gave nothing for {self.limits.stall_s:.0f} s"
        else:
            return None
        if self.job is None:
            return Answer(-1)
        file, key, self.job = self.job.file, self.job.key, None
        message = f"{file.name!r} can't be decoded: {reason}."
        return Answer(key, Look(expected_kind(file), error=message, hint="Export it again."), lasting=False)

    def end(self) -> None:
        """Kill it and free what it holds; does nothing the second time."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
