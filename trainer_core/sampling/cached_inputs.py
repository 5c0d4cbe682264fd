"""A sample made ready: its prompt and conditions encoded once, kept beside the run, read back at every render.

Encoding needs the text encoder and the VAEs, rendering the transformer: prepared, one of them is resident at a time.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from trainer_core.data.batch import Batch, ModalityBatch, Reference
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.media.sounds import read_audio
from trainer_core.errors import ConfigError
from trainer_core.files import replacing
from trainer_core.model.source import ModelSource, sampled_digest
from trainer_core.model.text import TextFeatures
from trainer_core.objective import ModalityName
from trainer_core.sampling.encoder import Encoder, encode_texts
from trainer_core.sampling.inputs import Given, GivenSide, Shape, encode_conditions, shape_of
from trainer_core.sampling.prompts import Wanted
from trainer_core.sampling.sampler import SampleInputs
from trainer_core.sections.strategy import Condition
from trainer_core.sections.validation import ValidationSection

Report = Callable[[str], None]
INPUTS_FOLDER = ".inputs"
"""Where prepared samples lie, beside what is rendered of them."""
_CONDITION: TypeAdapter[Condition] = TypeAdapter(Condition)


@dataclass(frozen=True)
class Prepared:
    """`id` names the sample in files and stays the same as long as everything it is made from does."""

    id: str
    wanted: Wanted
    shape: Shape
    given: Given
    positive: TextFeatures
    negative: TextFeatures

    def inputs(self) -> SampleInputs:
        """Return the sampler's input: a batch of one."""
        batch = Batch(
            video=_batched(self.given.video, self.shape.frame_rate),
            audio=_batched(self.given.audio, None),
            video_features=self.positive.video.float(),
            audio_features=self.positive.audio.float(),
            text_mask=self.positive.mask,
            clips=(self.id,),
            indices=(0,),
        )
        return SampleInputs(self.given.objective(), batch, self.negative)


def prepare_inputs(
    source: ModelSource,
    section: ValidationSection,
    wanted: list[Wanted],
    folder: Path,
    device: torch.device,
    report: Report,
    *,
    text_in_8bit: bool = False,
    tell: Report = lambda _said: None,
) -> list[Prepared]:
    """Encode what `folder` doesn't hold yet, write it there, and return all. Refuses what can't be sampled, by name.

    `text_in_8bit` holds the text encoder in 8 bits; `tell` hears that it doesn't fit the card.
    """
    shapes = [shape_of(section, one.sample, source.factors) for one in wanted]
    ids = [f"{number:02d}-{_digest(source, section, one, text_in_8bit)}" for number, one in enumerate(wanted, start=1)]
    missing = [index for index, name in enumerate(ids) if not (folder / f"{name}.safetensors").exists()]
    givens: dict[int, Given] = {}
    if missing:
        encoder = Encoder(source, device)
        for index in missing:
            report(f"encoding the conditions of sample {index + 1} of {len(wanted)}")
            givens[index] = encode_conditions(wanted[index].sample, section, shapes[index], encoder)
        del encoder
        report("encoding the prompts of the samples")
        texts = [wanted[index].sample.prompt for index in missing]
        prompts = [*texts, section.negative_prompt]
        features = encode_texts(source, prompts, device, in_8bit=text_in_8bit, tell=tell)
        for index in missing:
            given, positive = givens[index], features[wanted[index].sample.prompt]
            _write(folder / f"{ids[index]}.safetensors", given, positive, features[section.negative_prompt])
    return [
        _read(folder / f"{name}.safetensors", name, one, shape)
        for name, one, shape in zip(ids, wanted, shapes, strict=True)
    ]


def original_pictures(prepared: Prepared, path: Path) -> Any:
    """The pictures of a given file in the sample's size: uint8 [F, H, W, 3]."""
    shape = prepared.shape
    return read_frames(path, 0.0, shape.frames, shape.frame_rate, shape.width, shape.height)


def original_sound(prepared: Prepared, path: Path, rate_hz: int) -> Any:
    """The sound of a given file over the sample's length: float32 [2, N]."""
    return read_audio(path, 0.0, prepared.shape.duration_s, rate_hz)


def _batched(side: GivenSide | None, frame_rate: float | None) -> ModalityBatch | None:
    if side is None:
        return None
    return ModalityBatch(
        latents=side.latents[None],
        frame_rate=torch.tensor([frame_rate]) if frame_rate is not None else None,
        mask=side.mask[None] if side.mask is not None else None,
        references={
            # read at the sample's own frame rate, of which a temporally downscaled one keeps every S-th frame
            name: Reference(latents[None], torch.tensor([frame_rate]) if frame_rate is not None else None)
            for name, latents in side.references_by_name().items()
        },
    )


def _digest(source: ModelSource, section: ValidationSection, one: Wanted, text_in_8bit: bool) -> str:
    """Everything a sample's picture depends on, the weights of the adapter aside; a file counts with its content."""
    document = one.sample.model_dump(mode="json")
    for condition in document["conditions"]:
        for key in ("video", "audio", "image_or_video", "mask"):
            if isinstance(condition.get(key), str):
                path = Path(condition[key])
                condition[key] = [path.name, sampled_digest([path]) if path.is_file() else "missing"]
    facts = {
        "sample": document,
        "seed": one.seed,
        "section": section.model_dump(mode="json", exclude={"samples", "interval", "skip_initial_validation"}),
        "model": [source.fingerprint(part) for part in ("text_encoder", "video_vae", "audio_vae", "connectors")],
    }
    if text_in_8bit:
        facts["text_encoder"] = "8bit"
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def _write(path: Path, given: Given, positive: TextFeatures, negative: TextFeatures) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    said: dict[str, Any] = {"notes": given.notes, "shown_reference": _text(given.shown_reference)}
    for name, text in (("positive", positive), ("negative", negative)):
        for part in ("video", "audio", "mask"):
            # the features of a version without two projections are one tensor, which a file may hold only once
            tensors[f"{name}.{part}"] = getattr(text, part).clone().contiguous()
    for modality in ("video", "audio"):
        side: GivenSide | None = getattr(given, modality)
        if side is None:
            continue
        said[modality] = {
            "conditions": [condition.model_dump(mode="json") for condition in side.conditions],
            "frozen": side.frozen,
            "original": _text(side.original),
        }
        tensors[f"{modality}.latents"] = side.latents.contiguous()
        if side.mask is not None:
            tensors[f"{modality}.mask"] = side.mask.contiguous()
        for number, reference in enumerate(side.references, start=1):
            tensors[f"{modality}.{_reference_name(number)}"] = reference.contiguous()
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"given": json.dumps(said)})


def _read(path: Path, name: str, wanted: Wanted, shape: Shape) -> Prepared:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["given"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}.", "Delete it; it is made again.") from error

    def side(modality: ModalityName) -> GivenSide | None:
        if modality not in said:
            return None
        facts = said[modality]
        conditions = [_CONDITION.validate_python(condition) for condition in facts["conditions"]]
        count = sum(condition.type == "reference" for condition in conditions)
        return GivenSide(
            latents=tensors[f"{modality}.latents"],
            mask=tensors.get(f"{modality}.mask"),
            references=[tensors[f"{modality}.{_reference_name(number)}"] for number in range(1, count + 1)],
            conditions=conditions,
            frozen=facts["frozen"],
            original=_path(facts["original"]),
        )

    def features(kind: str) -> TextFeatures:
        return TextFeatures(*(tensors[f"{kind}.{part}"] for part in ("video", "audio", "mask")))

    given = Given(side("video"), side("audio"), _path(said["shown_reference"]), said["notes"])
    return Prepared(name, wanted, shape, given, features("positive"), features("negative"))


def _reference_name(number: int) -> str:
    return "reference" if number == 1 else f"reference_{number}"


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None
