"""A child process that looks at one file after another: a decoder that crashes or hangs takes only its file with it.

Spoken to in lines of JSON. On stdin `{"do": "look" | "hash", "file": PATH}`. On stdout `{"alive": STEPS}`, when it has
started and once per second while it works, then `{"look": …}` or `{"sha256": …}`. It ends when stdin does.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO, Any

ADDRESS_SPACE_BYTES = 6 << 30
"""More than any sane clip needs, codecs, libraries and thread stacks included; a decoder that wants more gets an error,
not the machine."""
ALIVE_EVERY_S = 1.0


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    import av
    import cv2

    import tools.inspect.scan.scan_file  # noqa: F401 (loading takes longer than most files do)

    cv2.setNumThreads(1)
    av.logging.set_level(None)
    _say(answers, {"alive": 0})
    for line in sys.stdin:
        try:
            _say(answers, _answer(json.loads(line), answers))
        except BrokenPipeError:  # nobody listens any more
            os._exit(0)


def _answer(job: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    from tools.inspect.discover.media_file import expected_kind
    from tools.inspect.scan.scan_file import Look, digest_of, look_at
    from trainer_core.errors import DataError

    file = Path(job["file"])
    if job["do"] == "hash":
        try:
            return {"sha256": digest_of(file)}
        except DataError as error:
            return {"sha256": None, "look": Look(expected_kind(file), error=error.message, hint=error.hint).document()}
    try:
        return {"look": look_at(file, _Heartbeat(answers).beat).document()}
    except MemoryError:
        problem = f"{file.name!r} can't be decoded: it asks for more memory than any clip needs."
        return {"look": Look(expected_kind(file), error=problem, hint="Export it again.").document()}
    except Exception as error:  # a decoder's surprise must cost one file only
        problem = f"{file.name!r} can't be decoded: {type(error).__name__}: {str(error)[:200]}."
        return {"look": Look(expected_kind(file), error=problem, hint="Copy or export it again.").document()}


class _Heartbeat:
    """Says about once per second that decoding goes on."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self._steps = 0
        self._next_s = time.monotonic() + ALIVE_EVERY_S

    def beat(self) -> None:
        self._steps += 1
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + ALIVE_EVERY_S
            _say(self._answers, {"alive": self._steps})


def _say(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message, allow_nan=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
