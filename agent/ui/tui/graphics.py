"""Detects the terminal's support of images. It is asked before the screen takes it over: import this early."""

import os
from collections.abc import Mapping
from typing import Any

_GRAPHICS_TERMINALS = ("kitty", "ghostty", "wezterm", "iterm.app", "foot", "mlterm", "contour", "konsole")


def has_graphics(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal calls itself one that shows pictures; inside tmux and screen they don't get through."""
    if environment.get("TMUX") or environment.get("TERM", "").startswith(("screen", "tmux")):
        return False
    names = " ".join(environment.get(name, "") for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL")).lower()
    return any(name in names for name in _GRAPHICS_TERMINALS) or "KITTY_WINDOW_ID" in environment


def prepare_graphics() -> Any:
    """Ask the terminal what it can show; return the class of its pictures, None for half-blocks.

    It has to be asked before the terminal is taken over, and only one that has pictures is asked: others would wait.
    """
    if not has_graphics():
        return None
    from textual_image.renderable import Image as Best
    from textual_image.widget import Image, SixelImage, TGPImage

    kinds: tuple[Any, ...] = (SixelImage, TGPImage)
    found = issubclass(Image, kinds) or "tgp" in Best.__module__
    return Image if found else None
