"""Shared parts of the facts tool: the error of a fact that isn't there yet, and lists that stay short."""

from collections.abc import Sequence

from tools.inspect.discover.names import displayed
from trainer_core.errors import ConfigError

NAMES_SHOWN = 6


class FactsError(ConfigError):
    """A question about something that isn't made yet."""


def named(paths: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(displayed(path) for path in paths[:NAMES_SHOWN])
    more = len(paths) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
