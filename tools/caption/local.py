"""The captioner behind a local vision model."""

from typing import Any


class LocalCaptioner:
    def __init__(self, found: Any) -> None: ...
