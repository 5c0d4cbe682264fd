"""Guidance: which extra predictions a sampling step makes, and how they pull on the conditional one.

B samples, T tokens, C channels. All predictions are of the clean sample (x0).
"""

from dataclasses import dataclass

from torch import Tensor

from trainer_core.errors import ConfigError
from trainer_core.model.source import ModelSource
from trainer_core.objective import ModalityName
from trainer_core.sampling.schedule import VERSION_DEFAULTS
from trainer_core.sections.validation import ValidationSection


@dataclass(frozen=True)
class Scales:
    """Guidance of one modality: `cfg` against the negative prompt, `stg` against a perturbed model, `modality` against
    a model whose modalities don't see each other; `cfg` and `modality` 1 and `stg` 0 mean none. `rescale` in [0, 1].
    """

    cfg: float = 1.0
    stg: float = 0.0
    modality: float = 1.0
    rescale: float = 0.0


@dataclass(frozen=True)
class Guidance:
    """Guidance of both modalities and the blocks whose self-attention STG skips."""

    video: Scales
    audio: Scales
    stg_blocks: tuple[int, ...] = ()

    def of(self, name: ModalityName) -> Scales:
        return self.video if name == "video" else self.audio


UNGUIDED = Guidance(Scales(), Scales())
"""What distilled models sample with."""


def guidance_of(section: ValidationSection, source: ModelSource, tiny: bool) -> tuple[Guidance, list[str]]:
    """Return the guidance that a `validation:` section asks for, and what has to be said about it.

    Raises ConfigError for a block that the model does not have; nothing is loaded. The tiny model is
    shorter than any block that a real config names, so there its last block stands in, which the note says.
    """
    layers, notes = source.layers, []
    blocks = tuple(range(layers)) if section.stg_blocks is None else tuple(section.stg_blocks)
    wanted = section.video_stg_scale > 0 or section.audio_stg_scale > 0
    beyond = [block for block in blocks if not 0 <= block < layers]
    if wanted and beyond:
        if not tiny:
            usual = ", ".join(str(block) for block in VERSION_DEFAULTS[source.version].stg_blocks)
            raise ConfigError(
                f"validation.stg_blocks {list(blocks)}: this model has the blocks 0 to {layers - 1}.",
                f"LTX-{source.version} is usually perturbed at block {usual}.",
            )
        blocks = (layers - 1,)
        notes.append(f"STG perturbs block {layers - 1} of the tiny model's {layers}; the config names {beyond[0]}.")
    if wanted and not blocks:
        raise ConfigError(
            "validation.stg_blocks is empty, but an STG scale is above 0.", "Name a block or set both to 0."
        )
    video = Scales(
        section.video_cfg_scale,
        section.video_stg_scale,
        section.video_modality_guidance_scale,
        section.guidance_rescale,
    )
    audio = Scales(
        section.audio_cfg_scale,
        section.audio_stg_scale,
        section.audio_modality_guidance_scale,
        section.guidance_rescale,
    )
    return Guidance(video, audio, blocks if wanted else ()), notes


def guided(
    scales: Scales, conditional: Tensor, negative: Tensor | None, perturbed: Tensor | None, isolated: Tensor | None
) -> Tensor:
    """Combine predictions of x0 [B, T, C]: c + (cfg-1)(c-n) + stg(c-p) + (mod-1)(c-i), then rescaled.

    The rescale factor is r·std(c)/std(sum) + (1-r), over all tokens of a sample. Source: diffusers' LTX2Pipeline;
    rescaling is section 3.4 of "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891).
    """
    total = conditional
    if negative is not None:
        total = total + (scales.cfg - 1) * (conditional - negative)
    if perturbed is not None:
        total = total + scales.stg * (conditional - perturbed)
    if isolated is not None:
        total = total + (scales.modality - 1) * (conditional - isolated)
    if scales.rescale > 0 and total is not conditional:
        axes = tuple(range(1, total.ndim))
        factor = conditional.std(dim=axes, keepdim=True) / total.std(dim=axes, keepdim=True)
        total = total * (scales.rescale * factor + (1 - scales.rescale))
    return total
