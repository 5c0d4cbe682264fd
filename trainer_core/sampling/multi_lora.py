"""Several adapters at once with weights: each file checked by name, summed in one LoRA, conflicts reported.

The sum of weight·B·A doesn't depend on the order the files are named in: they are stacked by their content.
"""

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainer_core.adapters import read_lora
from trainer_core.errors import ConfigError
from trainer_core.full_checkpoint import load_full
from trainer_core.model.source import ModelSource
from trainer_core.trained_as import Scales, TrainedAs, read_trained_as, stated_scales

MODULES_NAMED = 8
"""So many modules are named in a report; their count is always whole."""
_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"})
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_NAME = "default"


@dataclass(frozen=True)
class AdapterFile:
    """One file as read and checked. `pairs` maps a module to its (A, B), scale folded in; empty for a full checkpoint.

    `notes` say what it doesn't tell.
    """

    path: Path
    kind: Literal["lora", "full"]
    metadata: dict[str, str]
    digest: str
    pairs: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def ranks(self) -> list[int]:
        return sorted({down.shape[0] for down, _ in self.pairs.values()})

    @property
    def trained_as(self) -> TrainedAs | None:
        """The roles and conditions it was trained with, as the file says; None where it says neither them nor its
        objective."""
        return read_trained_as(self.metadata)

    @property
    def reference_scales(self) -> tuple[Scales, ...]:
        """The (spatial, temporal) scale of each reference of video that it learned from, in their order.

        One for all where the file says no more than the keys that other readers know.
        """
        known = self.trained_as
        return (known.video.references if known is not None else ()) or (stated_scales(self.metadata),)

    @property
    def takes_reference(self) -> bool | None:
        """Whether it was trained with a reference of video; None when the file tells neither that nor its objective."""
        if any(name.startswith("reference_") for name in self.metadata):
            return True
        known = self.trained_as
        return None if known is None else bool(known.video.references)


@dataclass(frozen=True)
class Weighted:
    """An adapter and how strongly it acts; 1 is as trained."""

    file: AdapterFile
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ConfigError(f"{self.file.path.name} has the weight {self.weight}.", "Give a number, such as 0.8.")


@dataclass(frozen=True)
class Conflict:
    """What two adapters do to the modules that both change.

    `cosine` of their updates over those modules together: 1 pull the same way, 0 don't meet, -1 cancel.
    `norm_of_sum` over `sum_of_norms`: how much of the two is left when both act.
    """

    first: str
    second: str
    shared_modules: int
    examples: tuple[str, ...]
    cosine: float
    norm_of_sum: float
    sum_of_norms: float

    @property
    def sentence(self) -> str:
        if self.shared_modules == 0:
            return f"{self.first} and {self.second} change no module in common."
        left = self.norm_of_sum / self.sum_of_norms if self.sum_of_norms else 1.0
        meets = "work against each other" if self.cosine < -0.1 else "pull the same way" if self.cosine > 0.3 else ""
        return (
            f"{self.first} and {self.second} both change {self.shared_modules} modules "
            f"(cosine {self.cosine:+.2f}, norm of the sum {self.norm_of_sum:.3g}, {left:.0%} of both norms)"
            f"{f': they {meets}' if meets else ''}."
        )


def open_adapter(path: Path, source: ModelSource) -> AdapterFile:
    """Read an adapter or a full checkpoint and check all that needs no weights of the model.

    Raises ConfigError for a pickle, a damaged file, another LTX version, a rank that contradicts itself, a matrix
    without its partner, and a number that is not finite; each is named.
    """
    metadata, keys = _header(path)
    said = metadata.get("model_version")
    if said is not None and _short(said) != source.version:
        raise ConfigError(
            f"{path.name} was made for LTX-{_short(said)}; this model is LTX-{source.version}.",
            "Use the adapter's own model version.",
        )
    notes = [] if said is not None else [f"{path.name} doesn't say for which LTX version it was made."]
    base = metadata.get("base_fingerprint")
    if base is not None and base != source.fingerprint("transformer"):
        notes.append(f"{path.name} was trained on another base ({metadata.get('base_model', 'unnamed')}).")
    digest = _digest(path)
    if not any(".lora_" in key for key in keys):
        return AdapterFile(path, "full", metadata, digest, notes=tuple(notes))
    pairs = read_lora(path)
    for module, (down, up) in pairs.items():
        _check_pair(path, module, down, up, metadata.get("rank"))
    return AdapterFile(path, "lora", metadata, digest, pairs, tuple(notes))


def said_training(path: Path) -> TrainedAs | None:
    """The roles and conditions that an adapter's file says it was trained with. Raises ConfigError as `open_adapter`
    does."""
    return read_trained_as(_header(path)[0])


def check_stack(stack: Sequence[Weighted]) -> None:
    """Raise ConfigError for two full checkpoints, and for a full checkpoint with a weight other than 1."""
    fulls = [one for one in stack if one.file.kind == "full"]
    if len(fulls) > 1:
        raise ConfigError(
            f"{fulls[0].file.path.name} and {fulls[1].file.path.name} are both full checkpoints.", "Give one of them."
        )
    for one in fulls:
        if one.weight != 1:
            raise ConfigError(
                f"{one.file.path.name} is a full checkpoint: it has no weight {one.weight:g}.", "Leave the weight out."
            )


def stack_adapters(transformer: Any, stack: Sequence[Weighted]) -> None:
    """Put `stack` on `transformer`: a full checkpoint replaces its weights, the LoRAs act together as one.

    Raises ConfigError as `check_stack` does, for a module or a shape that this model doesn't have, and for a full
    checkpoint with a number that is not finite.
    """
    check_stack(stack)
    for one in stack:
        if one.file.kind != "full":
            continue
        load_full(transformer, one.file.path)
        for name, tensor in transformer.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise ConfigError(f"{one.file.path.name}: {name} holds numbers that are not finite.", "Don't use it.")
    loras = [one for one in stack if one.file.kind == "lora"]
    if loras:
        _check_modules(transformer, loras)
        _add_lora(transformer, summed(loras))


def summed(stack: Sequence[Weighted]) -> dict[str, tuple[Tensor, Tensor]]:
    """One (A, B) a module whose product is the sum of weight·B·A: the ranks stand beside each other."""
    ordered = sorted(stack, key=_order)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for one in ordered:
        for module, (down, up) in one.file.pairs.items():
            part = down.float(), up.float() * one.weight
            before = found.get(module)
            found[module] = (
                part if before is None else (torch.cat([before[0], part[0]]), torch.cat([before[1], part[1]], dim=1))
            )
    return dict(sorted(found.items()))


def conflicts(stack: Sequence[Weighted]) -> list[Conflict]:
    """What every two LoRAs of the stack do to each other; the order that they were named in changes nothing."""
    loras = sorted((one for one in stack if one.file.kind == "lora"), key=_order)
    names = _names([one.file.path for one in loras])
    return [
        _conflict(loras[first], loras[second], names[first], names[second])
        for first, second in itertools.combinations(range(len(loras)), 2)
    ]


def merge_into(transformer: nn.Module, stack: Sequence[Weighted]) -> None:
    """Add the summed LoRAs of `stack` to the weights themselves. Raises ConfigError as `stack_adapters` does."""
    loras = [one for one in stack if one.file.kind == "lora"]
    _check_modules(transformer, loras)
    for module, (down, up) in summed(loras).items():
        weight = transformer.get_submodule(module).weight
        assert isinstance(weight, Tensor)
        weight.data.add_((up @ down).to(weight))


def _header(path: Path) -> tuple[dict[str, str], list[str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ConfigError(f"There is no file {path}.", "Give an adapter in safetensors.")
    with path.open("rb") as handle:
        start = handle.read(9)
    # a safetensors file begins with the length of its header, which may look like anything, then the header's brace
    is_safetensors = start[8:9] == b"{"
    if path.suffix.lower() in _PICKLE_SUFFIXES or (start.startswith(_PICKLE_STARTS) and not is_safetensors):
        raise ConfigError(
            f"{path.name} is a pickle: reading it would run whatever code is inside, so it is never read.",
            "Have it saved as safetensors.",
        )
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {}), list(file.keys())
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} is not a readable safetensors file: {error}.", "Download it again.") from error


def _check_pair(path: Path, module: str, down: Tensor, up: Tensor, said_rank: str | None) -> None:
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise ConfigError(
            f"{path.name}: the ranks of {module} contradict each other: A is {tuple(down.shape)}, B {tuple(up.shape)}.",
            "The file is damaged; get it again.",
        )
    if said_rank is not None and said_rank.isdigit() and down.shape[0] != int(said_rank):
        raise ConfigError(
            f"{path.name} says rank {said_rank}, but {module} has rank {down.shape[0]}.", "Get the file again."
        )
    for letter, tensor in (("A", down), ("B", up)):
        if not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ConfigError(
                f"{path.name}: {module}.lora_{letter} holds {bad} numbers that are not finite.",
                "The adapter is broken: sample an earlier checkpoint.",
            )


def _check_modules(transformer: nn.Module, loras: Sequence[Weighted]) -> None:
    modules = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    for one in loras:
        path, pairs = one.file.path, one.file.pairs
        unknown = [name for name in pairs if name not in modules]
        if unknown:
            raise ConfigError(
                f"{path.name} has weights for {len(unknown)} modules that this model doesn't have; the first is "
                f"{unknown[0]}.",
                "It was made for another LTX version or another model.",
            )
        for name, (down, up) in pairs.items():
            wanted = (modules[name].out_features, modules[name].in_features)
            if (up.shape[0], down.shape[1]) != wanted:
                raise ConfigError(
                    f"{path.name}: {name} changes a {up.shape[0]}x{down.shape[1]} matrix, this model's is "
                    f"{wanted[0]}x{wanted[1]}.",
                    "It was made for another LTX version.",
                )


def _add_lora(transformer: Any, pairs: dict[str, tuple[Tensor, Tensor]]) -> None:
    from peft import LoraConfig, set_peft_model_state_dict

    ranks = {module: down.shape[0] for module, (down, _) in pairs.items()}
    usual = max(ranks.values())
    odd = {module: rank for module, rank in ranks.items() if rank != usual}
    config = LoraConfig(
        r=usual, lora_alpha=usual, rank_pattern=odd, alpha_pattern=dict(odd), target_modules=list(pairs)
    )
    transformer.add_adapter(config, adapter_name=_NAME)
    state = {}
    for module, (down, up) in pairs.items():
        state[f"{module}.lora_A.weight"], state[f"{module}.lora_B.weight"] = down, up
    set_peft_model_state_dict(transformer, state, adapter_name=_NAME)
    transformer.requires_grad_(False)


def _order(one: Weighted) -> tuple[str, float]:
    """By content, never by name or place."""
    return one.file.digest, one.weight


def _names(paths: Sequence[Path]) -> list[str]:
    """The names of files, each with as many folders before it as tell it from the others: runs name theirs alike."""
    for parts in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]


def _conflict(one: Weighted, other: Weighted, name: str, other_name: str) -> Conflict:
    shared = sorted(set(one.file.pairs) & set(other.file.pairs))
    own = theirs = between = 0.0
    for module in shared:
        (a, b), (c, d) = one.file.pairs[module], other.file.pairs[module]
        own += one.weight**2 * _inner(a, b, a, b)
        theirs += other.weight**2 * _inner(c, d, c, d)
        between += one.weight * other.weight * _inner(a, b, c, d)
    norms = own**0.5, theirs**0.5
    return Conflict(
        first=name,
        second=other_name,
        shared_modules=len(shared),
        examples=tuple(shared[:MODULES_NAMED]),
        cosine=between / (norms[0] * norms[1]) if norms[0] and norms[1] else 0.0,
        norm_of_sum=max(own + theirs + 2 * between, 0.0) ** 0.5,
        sum_of_norms=sum(norms),
    )


def _inner(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> float:
    """Inner product of the updates B·A and D·C, without making either: the sum of (Bᵀ·D)∘(A·Cᵀ)."""
    return float(((b.double().T @ d.double()) * (a.double() @ c.double().T)).sum())


def _short(version: str) -> str:
    parts = version.lstrip("v").split(".")
    return ".".join([*parts, "0"][:2])


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
