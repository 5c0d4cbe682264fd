"""The recipes: one YAML an objective, over defaults.yaml. Which objectives there are is which files lie here."""

from functools import cache
from importlib.resources import files

_OVERLAYS = frozenset({"defaults", "low_memory"})  # laid under or over any objective, none themselves

OBJECTIVE_NAMES: tuple[str, ...] = tuple(
    sorted(
        name
        for entry in files(__name__).iterdir()
        if (name := entry.name.removesuffix(".yaml")) != entry.name and name not in _OVERLAYS
    )
)


@cache
def recipe_text(name: str) -> str:
    """Return the YAML of an objective, of `defaults` or of `low_memory`."""
    return (files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")
