"""The looks: dark and light in full colour, and both again in the terminal's own sixteen colours."""

import os
from collections.abc import Mapping

from textual.theme import BUILTIN_THEMES, Theme

DARK, LIGHT = "ltx-dark", "ltx-light"
DARK_16, LIGHT_16 = "ltx-dark-16", "ltx-light-16"

_DARK = Theme(
    name=DARK,
    primary="#7fa7d9",
    secondary="#d2a06c",
    accent="#93bb9d",
    success="#93bb9d",
    warning="#dcb66e",
    error="#d98282",
    foreground="#d6d9e0",
    background="#15171c",
    surface="#191c22",
    panel="#22262f",
    dark=True,
    variables={
        "muted": "#8b919e",
        "border": "#39404d",
        "border-blurred": "#272b34",
        "footer-background": "#15171c",
        "footer-key-foreground": "#7fa7d9",
        "footer-description-foreground": "#8b919e",
        "block-cursor-text-style": "none",
        "input-selection-background": "#7fa7d9 35%",
        "chart-raw": "#3f4b5e",
        "chart-raw-audio": "#57473a",
        "chart-total": "#aab4c8",
        "chart-grid": "#2b303a",
        "chart-label": "#7d8492",
        "chart-compared": "#b59ad0",
    },
)
_LIGHT = Theme(
    name=LIGHT,
    primary="#2d62a3",
    secondary="#9c5a17",
    accent="#3b7350",
    success="#3b7350",
    warning="#8a6100",
    error="#aa3838",
    foreground="#2a2c31",
    background="#f7f6f3",
    surface="#fcfbf9",
    panel="#eceae5",
    dark=False,
    variables={
        "muted": "#6d6a64",
        "border": "#c9c5bc",
        "border-blurred": "#dedbd4",
        "footer-background": "#f7f6f3",
        "footer-key-foreground": "#2d62a3",
        "footer-description-foreground": "#6d6a64",
        "block-cursor-text-style": "none",
        "input-selection-background": "#2d62a3 25%",
        "chart-raw": "#b9c6d8",
        "chart-raw-audio": "#e2ccb4",
        "chart-total": "#4b5362",
        "chart-grid": "#e2dfd8",
        "chart-label": "#77736b",
        "chart-compared": "#7d55a8",
    },
)


def _sixteen(name: str, base: str, *, dark: bool) -> Theme:
    """The terminal's own palette: no blending, so that 16 colours look as their owner chose them."""
    theme = BUILTIN_THEMES[base]
    muted = "ansi_bright_black"
    return Theme(
        name=name,
        ansi=True,
        primary="ansi_bright_blue" if dark else "ansi_blue",
        secondary="ansi_yellow" if dark else "ansi_magenta",
        accent="ansi_green",
        success="ansi_green",
        warning="ansi_yellow" if dark else "ansi_bright_red",
        error="ansi_red",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        dark=dark,
        variables={
            **theme.variables,
            "muted": muted,
            "border": "ansi_blue",
            "border-blurred": muted,
            "footer-background": "ansi_default",
            "footer-key-foreground": "ansi_bright_blue" if dark else "ansi_blue",
            "footer-description-foreground": muted,
            "chart-raw": muted,
            "chart-raw-audio": muted,
            "chart-total": "ansi_white" if dark else "ansi_black",
            "chart-grid": muted,
            "chart-label": muted,
            "chart-compared": "ansi_magenta",
        },
    )


THEMES = (
    _DARK,
    _LIGHT,
    _sixteen(DARK_16, "ansi-dark", dark=True),
    _sixteen(LIGHT_16, "ansi-light", dark=False),
)
_OPPOSITE = {DARK: LIGHT, LIGHT: DARK, DARK_16: LIGHT_16, LIGHT_16: DARK_16}


def opposite(name: str) -> str:
    """Return the light theme of a dark one and the other way round."""
    return _OPPOSITE.get(name, DARK)


def fitting_theme(color_system: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the theme for a terminal: sixteen colours where it has no more, light where it says that it is light."""
    light = _is_light(environment.get("COLORFGBG", ""))
    if color_system in ("truecolor", "256"):
        return LIGHT if light else DARK
    return LIGHT_16 if light else DARK_16


def _is_light(colours: str) -> bool:
    """COLORFGBG is `foreground;background`; 7 and 9 to 15 are light."""
    background = colours.rsplit(";", 1)[-1]
    return background.isdigit() and (int(background) == 7 or int(background) > 8)
