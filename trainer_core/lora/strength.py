"""Strength of an adapter: alpha and rank as its tensors, its metadata or PEFT's file beside it state them."""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METADATA_KEY = "lora_adapter_metadata"
"""diffusers writes PEFT's settings there, as JSON, each name behind its component's: `transformer.lora_alpha`."""
PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
_COMPONENTS = ("transformer.", "connectors.")
_MOST_CONFIG_BYTES = 1 << 20


class UnknownStrength(Exception):
    """The file states its strength in a way that says nothing; str() is the sentence."""


@dataclass(frozen=True)
class Stated:
    """PEFT's settings. `alpha` None: nothing is stated, so B·A acts as it is."""

    alpha: float | None = None
    rank: int | None = None
    alpha_patterns: dict[str, float] = field(default_factory=dict)
    rank_patterns: dict[str, float] = field(default_factory=dict)
    rslora: bool = False

    def factor(self, module: str, rank: int, *, of_config: bool = False) -> float:
        """Return the factor of `module`'s ΔW: alpha/rank, or alpha/√rank for rsLoRA (Kalajdzievski 2023). `rank` is
        the tensors' own; `of_config`: the stated one counts, as in PEFT's LoKr whose factors may be stored whole."""
        if self.alpha is None:
            return 1.0
        alpha = _matching(self.alpha_patterns, module, self.alpha)
        if of_config:
            rank = int(_matching(self.rank_patterns, module, self.rank or rank))
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def stated_strength(path: Path, metadata: dict[str, str], keys: list[str]) -> Stated:
    """The settings that the metadata states, or the file that PEFT saves beside its weights.

    Raises UnknownStrength for settings that can't be read: the strength would be guessed.
    """
    if METADATA_KEY in metadata:
        settings, where = _mapping(metadata[METADATA_KEY], f"its {METADATA_KEY}"), f"its {METADATA_KEY}"
        # the transformer's settings count where both parts of the model have some
        settings = {
            name.removeprefix(component): value
            for component in ("connectors.", "transformer.")
            for name, value in settings.items()
            if name.startswith(component) or not name.startswith(_COMPONENTS)
        }
    else:
        beside = path.with_name(PEFT_CONFIG)
        of_peft = path.name == PEFT_WEIGHTS or any(key.startswith("base_model.model.") for key in keys)
        if not of_peft or not beside.is_file() or beside.stat().st_size > _MOST_CONFIG_BYTES:
            return Stated()
        where = f"the {PEFT_CONFIG} beside it"
        settings = _mapping(beside.read_text(encoding="utf-8", errors="replace"), where)
    alpha = settings.get("lora_alpha", settings.get("alpha"))
    rank = settings.get("r")
    return Stated(
        None if alpha is None else _number(alpha, "alpha", where),
        None if rank is None else max(int(_number(rank, "r", where)), 1),
        _patterns(settings.get("alpha_pattern"), "alpha_pattern", where),
        _patterns(settings.get("rank_pattern"), "rank_pattern", where),
        settings.get("use_rslora") is True,
    )


def whole_number(text: str | None) -> int | None:
    """The number that a person's or a program's metadata states, None where it states none (`²`, `ten`, nothing)."""
    if text is None or not re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        return None
    return int(text)


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnknownStrength(f"{where} is not JSON, so its strength isn't known") from error
    if not isinstance(found, dict):
        raise UnknownStrength(f"{where} is no mapping, so its strength isn't known")
    return found


def _number(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_as_float(value)):
        raise UnknownStrength(f"{where} states {name} as {str(value)[:40]!r}, which is no number")
    return _as_float(value)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _patterns(value: Any, name: str, where: str) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnknownStrength(f"{where} states {name} as {str(value)[:40]!r}, which is no mapping")
    found = {}
    for pattern, number in value.items():
        plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not re.fullmatch(r"[\w.]+", plain):  # an expression from a stranger is never run
            raise UnknownStrength(f"{where} has the {name} {pattern[:60]!r}; names of modules alone are understood")
        found[plain] = _number(number, f"{name} of {plain}", where)
    return found


def _matching(patterns: dict[str, float], module: str, usual: float) -> float:
    """The number of the first pattern that names `module` or its end at a dot, as PEFT matches them."""
    return next((number for name, number in patterns.items() if f".{module}".endswith(f".{name}")), usual)
