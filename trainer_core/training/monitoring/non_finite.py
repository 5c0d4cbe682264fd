"""Looking into a step whose loss or gradient is not finite: which clips, which modality, which sigma, which module.

Nothing here runs in a healthy step; a bad one is computed again, with hooks, on the same draws.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer_core.data.batch import Batch
from trainer_core.errors import DataError, TrainingError
from trainer_core.training.step import MODALITIES, StepLoss


@dataclass
class NonFiniteFinding:
    """Findings in one step's batches: everything that can be named, and nothing guessed."""

    clips: list[str] = field(default_factory=list)
    modalities: list[str] = field(default_factory=list)
    sigmas: list[str] = field(default_factory=list)
    module: str | None = None
    how: str | None = None
    gradients: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """What of the data itself is not finite, by clip."""

    def merged(self, other: "NonFiniteFinding") -> "NonFiniteFinding":
        first = self if self.module is not None or other.module is None else other
        return NonFiniteFinding(
            clips=list(dict.fromkeys(self.clips + other.clips)),
            modalities=list(dict.fromkeys(self.modalities + other.modalities)),
            sigmas=list(dict.fromkeys(self.sigmas + other.sigmas)),
            module=first.module,
            how=first.how,
            gradients=self.gradients or other.gradients,
            broken=list(dict.fromkeys(self.broken + other.broken)),
        )


def is_finite(values: dict[str, float | None], grad_norm: float) -> bool:
    return math.isfinite(grad_norm) and all(value is None or math.isfinite(value) for value in values.values())


def find_non_finite(model: nn.Module, batches: list[Batch], forward: Callable[[Batch], StepLoss]) -> NonFiniteFinding:
    """Run `forward` on each batch again and name what is not finite; if every loss is, name the gradients that aren't.

    `forward` must make the same draws as the step did. Gradients are left as None.
    """
    found = NonFiniteFinding()
    for batch in batches:
        with _Watch(model) as watch, torch.no_grad():
            loss = forward(batch)
        found = found.merged(_of_losses(batch, loss, watch)).merged(NonFiniteFinding(broken=_broken(batch)))
    if found.modalities:
        return found
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for batch in batches:
        model.zero_grad(set_to_none=True)
        loss = forward(batch)
        loss.total.backward()
        bad = [
            names[id(parameter)]
            for parameter in model.parameters()
            if id(parameter) in names and parameter.grad is not None and not bool(parameter.grad.isfinite().all())
        ]
        if bad:
            found = found.merged(
                NonFiniteFinding(clips=list(batch.clips), sigmas=_sigmas(loss, range(len(batch))), gradients=bad)
            )
    model.zero_grad(set_to_none=True)
    return found


def non_finite_error(step: int, found: NonFiniteFinding, clips: list[str]) -> TrainingError | DataError:
    """The error that ends the run: what, where and what to do; the data's where it is broken. `step` counts from 1."""
    if found.broken:
        return DataError(
            f"{'; '.join(found.broken)}. {describe(step, found, clips)}",
            "Delete those files and encode them again, or leave the clips out; then go on with `ltx-agent resume`. To "
            "leave such steps out: ltx_agent.training.non_finite: skip.",
        )
    return TrainingError(
        describe(step, found, clips),
        "Look at those clips, lower the learning rate, or use bf16 instead of fp16; then go on from the last "
        "checkpoint with `ltx-agent resume`. To leave such steps out: ltx_agent.training.non_finite: skip.",
    )


def describe(step: int, found: NonFiniteFinding, clips: list[str]) -> str:
    """One paragraph about a step that is not finite; `clips` are all of the step's."""
    if found.modalities:
        what = f"the {' and '.join(found.modalities)} loss is not finite"
    elif found.gradients:
        more = f" and {len(found.gradients) - 1} more" if len(found.gradients) > 1 else ""
        what = f"the loss is finite but the gradient of {found.gradients[0]}{more} is not"
    else:
        what = (
            "the loss or a gradient was not finite, but is finite when computed again: a fault of the hardware or of "
        )
        what += "an operation that isn't deterministic"
    named = ", ".join(dict.fromkeys(found.clips or clips))
    sigmas = f"; {', '.join(found.sigmas)}" if found.sigmas else ""
    module = f" The first module with a non-finite {found.how} is {found.module}." if found.module else ""
    return f"Step {step}: {what} (clips: {named}{sigmas}).{module} The update was not applied."


def _broken(batch: Batch) -> list[str]:
    """Which inputs of which clips hold numbers that are not finite."""
    inputs = {"video text features": batch.video_features, "audio text features": batch.audio_features}
    for name in MODALITIES:
        side = batch.modality(name)
        if side is None:
            continue
        inputs[f"{name} latents"] = side.latents
        if side.mask is not None:
            inputs[f"{name} mask"] = side.mask
        for folder, reference in side.references.items():
            inputs[f"{name} reference ({folder})"] = reference.latents
    return [
        f"the {what} of {clip} hold {bad} numbers that are not finite"
        for what, values in inputs.items()
        for clip, own in zip(batch.clips, values, strict=True)
        if (bad := int((~own.isfinite()).sum()))
    ]


def _of_losses(batch: Batch, loss: StepLoss, watch: "_Watch") -> NonFiniteFinding:
    bad: set[int] = set()
    modalities = []
    for name in MODALITIES:
        values: Tensor | None = getattr(loss, name)
        if values is not None and not bool(values.isfinite().all()):
            modalities.append(str(name))
            bad.update(torch.nonzero(~values.isfinite()).flatten().tolist())
    if not modalities:
        return NonFiniteFinding()
    rows = sorted(bad)
    return NonFiniteFinding(
        clips=[batch.clips[row] for row in rows],
        modalities=modalities,
        sigmas=_sigmas(loss, rows),
        module=watch.module,
        how=watch.how,
    )


def _sigmas(loss: StepLoss, rows: Any) -> list[str]:
    found = []
    for name in MODALITIES:
        sigma: Tensor | None = getattr(loss, f"sigma_{name}")
        if sigma is not None:
            found.append(f"sigma_{name} " + ", ".join(f"{float(sigma[row]):.3f}" for row in rows))
    return found


class _Watch:
    """Notes the first module, in order of computing, that receives or returns a non-finite tensor."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[Any] = []
        self.module: str | None = None
        self.how: str | None = None

    def __enter__(self) -> "_Watch":
        for name, module in self._model.named_modules():
            if next(module.children(), None) is None or hasattr(module, "lora_A"):
                self._handles.append(module.register_forward_hook(self._hook(name), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if self.module is not None or not _is_bad(output):
                return
            self.module = name
            if any(not bool(weight.isfinite().all()) for weight in module.parameters(recurse=False)):
                self.how = "weight"
            elif _is_bad([*args, *kwargs.values()]):
                self.how = "input"
            else:
                self.how = "activation"

        return look


def _is_bad(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point() and not bool(value.isfinite().all())
    if isinstance(value, list | tuple):
        return any(_is_bad(part) for part in value)
    return False
