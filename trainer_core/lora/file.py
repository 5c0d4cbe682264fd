"""One reader for every LoRA: what a file holds is known from its header, its matrices are read one module at a time.

It refuses nothing that is a whole safetensors file: what is wrong or can't be read is listed in `problems`, for the
doctor to report and for everyone else to refuse (`sound`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from trainer_core.errors import ConfigError
from trainer_core.lora.build import Builder, Parts
from trainer_core.lora.changes import LayerChange
from trainer_core.lora.family import looks_like
from trainer_core.lora.header import Header, read_header
from trainer_core.lora.names import foreign_part, is_known, read_key
from trainer_core.lora.strength import PEFT_CONFIG, Stated, UnknownStrength, stated_strength

T = TypeVar("T")
Pair = tuple[Tensor, Tensor]
FULL_PREFIX = "model.diffusion_model."
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


class PerModule(Mapping[str, T]):
    """A mapping from modules whose values are made when they are asked for, and not kept."""

    def __init__(self, makers: Mapping[str, Callable[[], T]]) -> None:
        self._makers = dict(makers)

    def __getitem__(self, module: str) -> T:
        return self._makers[module]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __contains__(self, module: object) -> bool:
        return module in self._makers


@dataclass(frozen=True)
class LoraFile:
    """An adapter as its file has it. `changes` are the transformer's, by diffusers' module names, `text_changes` those
    before it, by upstream's; `magnitudes` [O, 1] or [1, I] are DoRA's. Numbers are float32, the strength folded in.

    `forms`: LoRA, DoRA, LoKr, LoHa, as far as the file has them. `halves` are modules that lack a part or whose parts
    contradict each other, `unknown` the keys that nothing reads, each with the reason.
    """

    path: Path
    header: Header
    tensors: Callable[[str], Tensor] = field(repr=False)
    """Reads one tensor, as it is stored, by its key."""
    forms: tuple[str, ...]
    changes: Mapping[str, LayerChange]
    text_changes: Mapping[str, LayerChange]
    shapes: dict[str, tuple[int, int]]
    text_shapes: dict[str, tuple[int, int]]
    ranks_by_module: dict[str, int]
    magnitudes: Mapping[str, Tensor]
    halves: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    stated: bool = True
    """Whether its settings were found, in its metadata or beside it."""
    unstated: str | None = None
    """Why its strength isn't known, None where it is."""
    family: str | None = None
    """The other model that it seems to be made for, None where it has modules of LTX-2."""

    @property
    def metadata(self) -> dict[str, str]:
        return self.header.metadata

    @property
    def is_full_checkpoint(self) -> bool:
        """True if it holds weights of LTX-2 rather than an adapter."""
        if self.changes or self.text_changes or self.halves or self.family is not None:
            return False
        keys = self.header.shapes
        return not any(foreign_part(key) or read_key(key) for key in keys) and any(
            key.startswith(FULL_PREFIX) or ".transformer_blocks." in f".{key}" for key in keys
        )

    @property
    def unsaid(self) -> str | None:
        """Strength that had to be assumed, because nothing states it; None where something does."""
        of_peft = any(key.startswith("base_model.model.") for key in self.header.shapes)
        if of_peft and not self.stated and not any(key.endswith(".alpha") for key in self.header.shapes):
            return f"is PEFT's and has no {PEFT_CONFIG} beside it: its alpha is taken to be its rank"
        return None

    @property
    def pairs(self) -> Mapping[str, Pair]:
        """(A [R, I], B [O, R]) of each module of the transformer, in any form; DoRA's without its magnitudes."""
        return PerModule({module: partial(_pair_of, self.changes, module) for module in self.changes})

    @property
    def text_pairs(self) -> Mapping[str, Pair]:
        """The same of what stands before the transformer, by upstream's names."""
        return PerModule({module: partial(_pair_of, self.text_changes, module) for module in self.text_changes})

    @property
    def ranks(self) -> list[int]:
        """The different ranks of the modules, ascending."""
        return sorted(set(self.ranks_by_module.values()))

    @cached_property
    def non_finite(self) -> list[str]:
        """The keys that hold NaN or infinity, as stored or once the strength is folded in; reads the whole file."""
        found = [key for key, kind in self.header.dtypes.items() if kind in _FLOATS and not self._finite(key)]
        if not found:
            for changes in (self.changes, self.text_changes):
                found += [
                    f"{module} (at the strength that it states)"
                    for module in changes
                    if not changes[module].norm() <= torch.finfo(torch.float32).max
                ]
        return found

    @property
    def problems(self) -> list[str]:
        """Return its faults, a sentence each, by its header alone."""
        found = [self.unstated] if self.unstated else []
        if self.family is not None:
            found.append(f"its keys and widths look like {self.family}")
        found += [f"{module} {why}" for module, why in self.halves.items()]
        found += [f"`{key}` {why}" for key, why in self.unknown.items()]
        if not found and not self.changes and not self.text_changes:
            found.append("it holds no LoRA weights")
        return found

    def sound(self) -> "LoraFile":
        """This file. Raises ConfigError that names the first thing wrong with it."""
        if not self.problems:
            if self.non_finite:
                more = f" ({len(self.non_finite)} such tensors)" if len(self.non_finite) > 1 else ""
                raise ConfigError(
                    f"{self.path}: {self.non_finite[0]} holds numbers that are not finite{more}.",
                    "The adapter is broken: use an earlier checkpoint.",
                )
            return self
        if self.family is not None:
            raise ConfigError(
                f"{self.path} is no adapter for LTX-2: its keys and widths look like {self.family}.",
                "Use an adapter that was trained on LTX-2, of this model's version.",
            )
        raise ConfigError(
            f"{self.path} can't be used as a LoRA: {self.problems[0]}.",
            "See `ltx-agent doctor` for all that is wrong with it."
            if self.changes
            else "Give a LoRA, not a full checkpoint.",
        )

    def _finite(self, key: str) -> bool:
        return bool(self.tensors(key).float().isfinite().all())


def read_lora_file(path: Path) -> LoraFile:
    """Read `path`. Raises ConfigError when it is no whole safetensors file."""
    header = read_header(path)
    tensors = _tensors(path)
    parts: dict[tuple[str, bool], Parts] = {}
    unknown: dict[str, str] = {}
    for key, dtype in header.dtypes.items():
        known = read_key(key)
        if known is None:
            kind = foreign_part(key)
            unknown[key] = f"is {kind}, which can't be read" if kind else "is not a LoRA key"
        elif dtype not in _FLOATS:
            unknown[key] = f"holds {dtype}; an adapter's numbers are floats"
        elif known.part in (mine := parts.setdefault((known.module, known.text), {})):
            unknown[key] = f"says the same as `{mine[known.part]}`: the file holds more than one adapter"
        else:
            mine[known.part] = key
    stated, unstated = Stated(), None
    try:
        stated = stated_strength(path, header.metadata, list(header.dtypes))
    except UnknownStrength as error:
        unstated = str(error)
    builder = Builder(header, tensors, stated)
    for (module, text), mine in parts.items():
        builder.add(module, mine, text=text)
    return LoraFile(
        path=path,
        header=header,
        forms=tuple(dict.fromkeys(builder.forms)),
        changes=PerModule(builder.makers[False]),
        text_changes=PerModule(builder.makers[True]),
        shapes=builder.shapes,
        text_shapes=builder.text_shapes,
        ranks_by_module=builder.ranks,
        magnitudes=PerModule(builder.magnitudes),
        halves=builder.halves,
        unknown=unknown,
        stated=stated.alpha is not None,
        unstated=unstated,
        family=_family(header, builder, parts),
        tensors=tensors,
    )


def _pair_of(changes: Mapping[str, LayerChange], module: str) -> Pair:
    return changes[module].pair()


def _tensors(path: Path) -> Callable[[str], Tensor]:
    """Reads one tensor by its key; the file stays mapped as long as the reader lives."""
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path} is not a readable safetensors file: {error}.", "Give a LoRA in safetensors."
        ) from error
    tensor: Callable[[str], Tensor] = file.get_tensor
    return tensor


def _family(header: Header, builder: Builder, parts: dict[tuple[str, bool], Parts]) -> str | None:
    """The other family that the file is for; None where it isn't known, or it is LTX-2 by names and widths."""
    names = [module for module, text in parts if not text]
    if not names:
        shapes = {key.removesuffix(".weight"): shape for key, shape in header.shapes.items()}
        return looks_like({key: (shape[0], shape[1]) for key, shape in shapes.items() if len(shape) > 1}, {})
    ours = 2 * sum(is_known(module) for module in names) >= len(names)
    return looks_like(builder.shapes, {} if ours else header.metadata)
