"""Several adapters at once with weights: each file checked by name, summed in one LoRA, conflicts reported.

The sum of weight·B·A doesn't depend on the order the files are named in: they are stacked by their content. A change
that is no small B·A (DoRA, LoKr, LoHa) acts beside it, in its own form.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainer_core.errors import ConfigError
from trainer_core.files import file_digest
from trainer_core.full_checkpoint import load_full
from trainer_core.lora.act import act_on, linears_of
from trainer_core.lora.changes import LayerChange, changed
from trainer_core.lora.family import differs_from
from trainer_core.lora.file import LoraFile, Pair, read_lora_file
from trainer_core.lora.header import read_header
from trainer_core.lora.names import module_name
from trainer_core.lora.strength import whole_number
from trainer_core.model.source import ModelSource
from trainer_core.trained_as import Scales, TrainedAs, read_trained_as, stated_scales

MODULES_NAMED = 8
"""So many modules are named in a report; their count is always whole."""
_NAME = "default"


@dataclass(frozen=True)
class AdapterFile:
    """One file as read and checked; `lora` None for a full checkpoint. `notes` say what the file doesn't tell."""

    path: Path
    kind: Literal["lora", "full"]
    metadata: dict[str, str]
    digest: str
    lora: LoraFile | None = None
    notes: tuple[str, ...] = ()

    @property
    def pairs(self) -> Mapping[str, Pair]:
        """(A, B) of each module of the transformer, strength folded in; empty for a full checkpoint."""
        return {} if self.lora is None else self.lora.pairs

    @property
    def ranks(self) -> list[int]:
        return [] if self.lora is None else self.lora.ranks

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
        """True if it was trained with a video reference; None when the file tells neither that nor its objective."""
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
    """Conflict of two adapters in the modules that both change.

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

    Raises ConfigError for what is no whole safetensors file, another LTX version or another family, a rank that
    contradicts itself, a matrix without its partner, and a number that is not finite; each is named.
    """
    metadata = read_header(path).metadata
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
    lora = read_lora_file(path)
    if lora.is_full_checkpoint:
        return AdapterFile(path, "full", metadata, file_digest(path), notes=tuple(notes))
    lora.sound()
    rank = whole_number(metadata.get("rank"))
    odd = next((module for module, own in lora.ranks_by_module.items() if own != rank), None)
    if rank is not None and odd is not None and set(lora.forms) <= {"LoRA", "DoRA"}:
        raise ConfigError(
            f"{path.name} says rank {rank}, but {odd} has rank {lora.ranks_by_module[odd]}.", "Get the file again."
        )
    if lora.unsaid:
        notes.append(f"{path.name} {lora.unsaid}.")
    return AdapterFile(path, "lora", metadata, file_digest(path), lora, tuple(notes))


def said_training(path: Path) -> TrainedAs | None:
    """The roles and conditions that an adapter's file says it was trained with. Raises ConfigError as `open_adapter`
    does."""
    return read_trained_as(read_header(path).metadata)


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
    check_modules(transformer, loras)
    if pairs := summed(loras):
        _add_lora(transformer, pairs)
    layers = linears_of(transformer)
    for module, change, magnitude, weight in _beside(loras):
        act_on(layers[module], change, magnitude, weight)


def act_on_text(connectors: nn.Module, stack: Sequence[Weighted]) -> None:
    """Let what `stack` changes before the transformer act on the `connectors`.

    Raises ConfigError for a module that this model doesn't have, or has in another shape.
    """
    layers = {module_name(f"connectors.{name}")[0]: layer for name, layer in linears_of(connectors).items()}
    for one in sorted(stack, key=_order):
        for module, change in (one.file.lora.text_changes if one.file.lora is not None else {}).items():
            layer: Any = layers.get(module)
            if layer is None or (layer.out_features, layer.in_features) != change.shape:
                raise ConfigError(
                    f"{one.file.path.name} changes {module}, which this model doesn't have, or in another shape.",
                    "It was made for another LTX version.",
                )
            act_on(layer, change, one.file.lora.magnitudes.get(module), one.weight)  # type: ignore[union-attr]


def summed(stack: Sequence[Weighted]) -> dict[str, Pair]:
    """One (A, B) a module whose product is the sum of weight·B·A: the ranks stand beside each other.

    Changes that are no small B·A are left out: they act beside it.
    """
    found: dict[str, Pair] = {}
    for one in sorted(stack, key=_order):
        for module in _small(one.file.lora):
            down, up = one.file.pairs[module]
            part = down, up * one.weight
            before = found.get(module)
            found[module] = (
                part if before is None else (torch.cat([before[0], part[0]]), torch.cat([before[1], part[1]], dim=1))
            )
    return dict(sorted(found.items()))


def changed_modules(stack: Sequence[Weighted]) -> dict[str, tuple[int, int]]:
    """(O, I) of every module that `stack` changes, those before the transformer too, by upstream's names."""
    shapes: dict[str, tuple[int, int]] = {}
    for one in stack:
        if one.file.lora is not None:
            shapes |= one.file.lora.shapes | one.file.lora.text_shapes
    return dict(sorted(shapes.items()))


def merged_weight(stack: Sequence[Weighted], module: str, weight: Tensor) -> Tensor:
    """`weight` [O, I] of `module` with everything that the LoRAs of `stack` change of it, in float32; the order that
    they were named in changes nothing."""
    total = base = weight.float()
    for one in sorted(stack, key=_order):
        lora = one.file.lora
        changes = lora.changes.get(module) or lora.text_changes.get(module) if lora is not None else None
        if lora is not None and changes is not None:
            total = total + (changed(base, changes, lora.magnitudes.get(module), one.weight) - base)
    return total


def conflicts(stack: Sequence[Weighted]) -> list[Conflict]:
    """Return the conflicts of every two LoRAs of the stack; the order that they were named in changes nothing."""
    loras = sorted((one for one in stack if one.file.kind == "lora"), key=_order)
    names = _names([one.file.path for one in loras])
    return [
        _conflict(loras[first], loras[second], names[first], names[second])
        for first, second in itertools.combinations(range(len(loras)), 2)
    ]


def merge_into(transformer: nn.Module, stack: Sequence[Weighted]) -> None:
    """Add what the LoRAs of `stack` change to the weights themselves. Raises ConfigError as `stack_adapters` does."""
    loras = [one for one in stack if one.file.kind == "lora"]
    check_modules(transformer, loras)
    for module in sorted({module for one in loras for module in (one.file.lora.shapes if one.file.lora else ())}):
        weight = transformer.get_submodule(module).weight
        assert isinstance(weight, Tensor)
        weight.data.copy_(merged_weight(loras, module, weight.data))


def check_modules(transformer: nn.Module, loras: Sequence[Weighted]) -> None:
    """Raise ConfigError for a module that `transformer` doesn't have, or has in another shape, by the true reason."""
    layers: dict[str, Any] = linears_of(transformer)
    for one in loras:
        assert one.file.lora is not None
        path, shapes = one.file.path, one.file.lora.shapes
        unknown = [name for name in shapes if name not in layers]
        if unknown:
            raise ConfigError(
                f"{path.name} has weights for {len(unknown)} modules that this model doesn't have; the first is "
                f"{unknown[0]}.",
                "It was made for another LTX version or another model.",
            )
        for name, shape in shapes.items():
            wanted = (layers[name].out_features, layers[name].in_features)
            if shape != wanted:
                raise ConfigError(
                    f"{path.name}: {name} changes a {shape[0]}x{shape[1]} matrix, this model's is "
                    f"{wanted[0]}x{wanted[1]}: {differs_from(name, shape, wanted)}.",
                    "Use an adapter that was made for this model and version.",
                )


def _small(lora: LoraFile | None) -> list[str]:
    """The modules whose change is a B·A no larger than the weight twice, and nothing else."""
    if lora is None:
        return []
    return [
        module
        for module, (rows, columns) in lora.shapes.items()
        if module not in lora.magnitudes and lora.ranks_by_module[module] * (rows + columns) <= 2 * rows * columns
    ]


def _beside(stack: Sequence[Weighted]) -> Iterator[tuple[str, LayerChange, Tensor | None, float]]:
    """(module, change, DoRA's magnitudes, weight) of every change that `summed` leaves out."""
    for one in sorted(stack, key=_order):
        lora = one.file.lora
        small = frozenset(_small(lora))
        for module in lora.changes if lora is not None else ():
            if module not in small:
                assert lora is not None
                magnitude = lora.magnitudes.get(module)
                yield module, lora.changes[module], magnitude, one.weight


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
