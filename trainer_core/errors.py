"""The errors a person may see: a sentence of what happened, one of what to do, and the exit code that goes with it."""

from typing import Any


class LtxError(Exception):
    """Base of every error meant for people; `exit_code` is the process's exit status (2: wrong usage or config).

    `message` says what happened, the value seen and what is allowed; `hint` says what to do next.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(LtxError):
    """The training YAML, a path or an option is wrong."""


class DataError(LtxError):
    """The data blocks training."""

    exit_code = 3


class ApprovalNeeded(LtxError):
    """Something costly or irreversible was not approved."""

    exit_code = 4


class TrainingError(LtxError):
    """The training run failed or diverged."""

    exit_code = 5


class OutOfMemory(LtxError):
    """A training needs more memory than there is. `offer` is the next rung of the ladder, as plain data."""

    exit_code = 5

    def __init__(self, message: str, hint: str = "", offer: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint)
        self.offer = offer


class ExternalError(LtxError):
    """Something outside the program failed: a service, a full disk."""

    exit_code = 6


def error_of(message: str, hint: str, exit_code: int) -> LtxError:
    """Return the error that was written down as these three."""
    kinds: tuple[type[LtxError], ...] = (ConfigError, DataError, ApprovalNeeded, TrainingError, ExternalError)
    kind = next((kind for kind in kinds if kind.exit_code == exit_code), LtxError)
    return kind(message, hint)
