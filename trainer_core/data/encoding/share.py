"""An encode shared by several processes of this machine, one a GPU: the starter, and what each of them runs.

Each process makes its share of the windows (`encode_dataset` finds the others by accelerate) and prints one JSON line a
step; the starter adds them up.
"""

import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from trainer_core.config import TrainingConfig, dump_config, load_config
from trainer_core.data.encoding.encode import EncodeSummary, Progress, Tell, encode_dataset
from trainer_core.errors import ConfigError, DataError, ExternalError, LtxError

_ERRORS: dict[str, type[LtxError]] = {kind.__name__: kind for kind in (ConfigError, DataError, ExternalError)}
_GRACE_S = 10


def encode_shared(
    config: TrainingConfig, processes: int, progress: Progress | None = None, tell: Tell | None = None
) -> EncodeSummary:
    """Encode as `encode_dataset` does, by `processes` of them. Raises what the first one to fail raised."""
    if processes == 1:
        return encode_dataset(config, progress, tell)
    with tempfile.TemporaryDirectory(prefix="ltx-encode-") as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(dump_config(config), encoding="utf-8")
        children = [_start(path, rank, processes, port) for port in [_free_port()] for rank in range(processes)]
        try:
            return _follow(children, progress, tell)
        finally:
            for child in children:
                child.terminate()
            for child in children:
                try:
                    child.wait(timeout=_GRACE_S)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()


def _start(config: Path, rank: int, processes: int, port: int) -> subprocess.Popen[str]:
    threads = max(1, (os.cpu_count() or 1) // processes)
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    command = [sys.executable, "-P", "-m", "trainer_core.data.encoding.share", str(config)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _follow(children: list[subprocess.Popen[str]], progress: Progress | None, tell: Tell | None) -> EncodeSummary:
    lines: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()

    def read(rank: int, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("{"):  # libraries print what they like
                lines.put((rank, json.loads(line)))
        lines.put((rank, None))

    for rank, child in enumerate(children):
        threading.Thread(target=read, args=(rank, child), daemon=True).start()
    seen: dict[str, dict[int, tuple[int, int]]] = {}
    summary: EncodeSummary | None = None
    running = len(children)
    while running:
        rank, said = lines.get()
        if said is None:
            running -= 1
            if (code := children[rank].wait()) != 0:
                raise ExternalError(
                    f"Process {rank} of the encode ended with code {code}.", "Encode again; finished files are kept."
                )
        elif "error" in said:
            raise _ERRORS.get(said["error"], LtxError)(said["message"], said["hint"])
        elif "summary" in said:
            summary = EncodeSummary(**said["summary"])
        elif "tell" in said:
            if tell is not None:
                tell(said["tell"])
        elif progress is not None:
            shares = seen.setdefault(said["what"], {})
            shares[rank] = (said["done"], said["total"])
            progress(said["what"], *(sum(counts) for counts in zip(*shares.values(), strict=True)))
    assert summary is not None, "rank 0 ends with its summary"
    return summary


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Encode this process's share of the config named on the command line."""
    from dataclasses import asdict

    def say(**line: Any) -> None:
        print(json.dumps(line), flush=True)

    def report(what: str, done: int, total: int) -> None:
        say(what=what, done=done, total=total)

    try:
        summary = encode_dataset(load_config(Path(sys.argv[1])), report, lambda reason: say(tell=reason))
    except LtxError as error:
        say(error=type(error).__name__, message=error.message, hint=error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if os.environ.get("RANK", "0") == "0":
        say(summary=asdict(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
