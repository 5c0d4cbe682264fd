"""Nested training state (dicts, lists, tuples, numbers, tensors) as JSON beside named tensors: never a pickle."""

import math
from typing import Any

from torch import Tensor

_TENSOR, _TUPLE, _KEYED, _BYTES, _FLOAT = "$tensor", "$tuple", "$keyed", "$bytes", "$float"


def split_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON; each tensor goes into `tensors` under its dotted path and leaves its name behind.

    Keys that are no strings (an optimizer numbers its parameters) and tuples come back as they were.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {_TENSOR: name}
    if isinstance(value, dict):
        parts = {key: split_tensors(part, f"{name}.{key}", tensors) for key, part in value.items()}
        if all(isinstance(key, str) and not key.startswith("$") for key in parts):
            return parts
        return {_KEYED: [[key, part] for key, part in parts.items()]}
    if isinstance(value, list | tuple):
        items = [split_tensors(part, f"{name}.{index}", tensors) for index, part in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    if isinstance(value, bytes):
        return {_BYTES: value.hex()}
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no word for it
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which a training state can't hold")


def join_tensors(document: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `split_tensors`."""
    if isinstance(document, list):
        return [join_tensors(part, tensors) for part in document]
    if not isinstance(document, dict):
        return document
    if _TENSOR in document:
        return tensors[document[_TENSOR]]
    if _TUPLE in document:
        return tuple(join_tensors(part, tensors) for part in document[_TUPLE])
    if _KEYED in document:
        return {key: join_tensors(part, tensors) for key, part in document[_KEYED]}
    if _BYTES in document:
        return bytes.fromhex(document[_BYTES])
    if _FLOAT in document:
        return float(document[_FLOAT])
    return {key: join_tensors(part, tensors) for key, part in document.items()}
