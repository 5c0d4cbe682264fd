"""Assumptions of a draft that nobody measured or asked for, a sentence each: the plan lists them all."""

from typing import Any

ASKED = "you asked for it"
_MEASURED = ("ltx_agent.dataset", "ltx_agent.buckets", "ltx_agent.frame_rate", "ltx_agent.trigger")
_PLACES = ("data.", "output_dir", "lora.target_modules", "lora.alpha")


def assumptions_of(reasons: dict[str, str], values: dict[str, Any], trigger: str | None) -> list[str]:
    """Return `name = value: reason` for every choice that is a judgement; places of files and measures are none."""
    found = [
        f"{name} = {values.get(name, 'as in config.yaml')}: {reason}."
        for name, reason in reasons.items()
        if ASKED not in reason and name not in _MEASURED and not name.startswith(_PLACES)
    ]
    if not trigger:
        found.append("No trigger word: the adapter acts whenever it is loaded. Say `trigger ohwx` for one.")
    return found
