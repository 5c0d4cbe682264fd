"""LTX models in safetensors: one unified file, or a split pack of one file a component, with a Gemma folder.

Which version a file is, its own metadata says; sizes are read off its tensors; weights stream from disk part by part.
"""

from pathlib import Path
from typing import Any

import torch

from trainer_core.errors import ConfigError
from trainer_core.model.folder import load_text_encoder
from trainer_core.model.names import PROJECTION_PREFIX, TRANSFORMER_PREFIX
from trainer_core.model.reader_config import builds_a_model, config_text, reader_config
from trainer_core.model.single_file_header import CONFIG_KEY, PREFIXES, WeightsFile, part_keys, read_header
from trainer_core.model.single_file_parts import RENAMES, config_of
from trainer_core.model.source import InputWidths, Part, Placement, Version, input_widths, sampled_digest
from trainer_core.model.streaming import empty, fill, whole_config
from trainer_core.model.versions import USUAL_FACTORS
from trainer_core.objective import VaeFactors
from trainer_core.weights_file import Stored, read_stored


class SafetensorsSource:
    """A model in safetensors files; each part comes from the file that holds it.

    A distilled model is refused unless `distilled_too`: it samples, but nothing can be trained on it.
    """

    def __init__(self, path: Path, overrides: dict[Part, Path], *, distilled_too: bool = False) -> None:
        main = read_header(path)
        self.distilled = main.distilled
        if main.distilled and not distilled_too:
            raise ConfigError(
                f"{path} is a distilled model: an adapter trained on it comes out dead.",
                "Train on the dev (base) checkpoint; the adapter works on the distilled one too.",
            )
        if not main.holds("transformer"):
            raise ConfigError(f"{path} holds no LTX-2 transformer.", "Give the checkpoint's main file.")
        self.root = path
        self.version: Version = main.version
        said = main.config.get("transformer", {}).get("vae_scale_factors", USUAL_FACTORS)
        self.factors = VaeFactors(*said)
        self._text_encoder = overrides.get("text_encoder")
        self._files: dict[Part, list[WeightsFile]] = {}
        others = _pack_mates(main) if "transformer" in main.config and "vae" not in main.config else []
        candidates = [main, *others]
        for part in CONFIG_KEY:
            given = overrides.get(part)
            options = [read_header(given)] if given is not None else candidates
            holders = [file for file in options if file.holds(part)]
            if holders:
                # a split pack keeps the text projections with the text encoder, the connectors with the transformer
                self._files[part] = holders if part == "connectors" else holders[:1]
        for part, file in [(part, file) for part, files in self._files.items() for file in files]:
            if file.version != self.version:
                raise ConfigError(
                    f"{file.path} is the {part.replace('_', ' ')} of LTX-{file.version}, {path} is LTX-{self.version}.",
                    "Use files of one version.",
                )

    @property
    def label(self) -> str:
        return f"LTX-{self.version} ({self.root.name})"

    @property
    def widths(self) -> InputWidths:
        return input_widths(self._config("transformer"), self._config("connectors"))

    @property
    def layers(self) -> int:
        return int(self._config("transformer")["num_layers"])

    def file_of(self, part: Part) -> Path:
        """The file that holds `part`. Raises ConfigError when none does."""
        return self._parts(part)[0].path

    def fingerprint(self, part: Part) -> str:
        if part == "text_encoder":
            folder = self._encoder_folder()
            return f"text_encoder:{sampled_digest([*folder.glob('*.json'), *folder.glob('*.safetensors')])}"
        return f"{part}:{sampled_digest([file.path for file in self._parts(part)])}"

    def library_config(self, part: Part) -> dict[str, Any]:
        from diffusers import LTX2VideoTransformer3DModel
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        kind = LTX2VideoTransformer3DModel if part == "transformer" else LTX2TextConnectors
        return whole_config(kind, self._config(part))

    def reader_metadata(self) -> dict[str, str]:
        main = self._parts("transformer")[0]
        own = main.config.get("transformer", {})
        if builds_a_model(self.version, own):
            return dict(main.metadata)
        made = reader_config(self.version, self.library_config("transformer"), self.library_config("connectors"))
        kept = {name: value for name, value in own.items() if not name.startswith("_")}
        return {**main.metadata, "config": config_text({**main.config, "transformer": {**kept, **made}})}

    def connector_weights(self, *, projections: bool) -> list[Stored]:
        held = {(file.path, key) for file, key in self._held("connectors").values()}
        found = []
        for path in dict.fromkeys(path for path, _ in sorted(held)):
            for one in read_stored(path)[1]:
                if (path, one.name) not in held:
                    continue
                is_projection = one.name.startswith(PROJECTION_PREFIX)
                if projections or not is_projection:
                    bare = one.name.removeprefix(TRANSFORMER_PREFIX)
                    found.append(one.named(bare if is_projection else f"{TRANSFORMER_PREFIX}{bare}"))
        return found

    def reader_weights(self) -> list[Stored]:
        return read_stored(self.root)[1]

    def transformer(self, dtype: torch.dtype, placement: Placement = Placement()) -> Any:
        from diffusers import LTX2VideoTransformer3DModel

        return self._loaded("transformer", LTX2VideoTransformer3DModel, dtype, placement)

    def connectors(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        return self._loaded("connectors", LTX2TextConnectors, dtype)

    def video_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Video

        return self._loaded("video_vae", AutoencoderKLLTX2Video, dtype)

    def audio_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Audio

        return self._loaded("audio_vae", AutoencoderKLLTX2Audio, dtype)

    def vocoder(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

        return self._loaded("vocoder", LTX2Vocoder if self.version == "2.0" else LTX2VocoderWithBWE, dtype)

    def text_encoder(
        self, dtype: torch.dtype, device: torch.device | None = None, *, in_8bit: bool = False
    ) -> tuple[Any, Any]:
        folder, connectors = self._encoder_folder(), self._config("connectors")
        return load_text_encoder(folder, self.version, connectors, dtype, device=device, in_8bit=in_8bit)

    def _encoder_folder(self) -> Path:
        if self._text_encoder is None:
            raise ConfigError(
                f"{self.root} holds no text encoder.",
                "Set model.text_encoder_path to the Gemma folder of this version.",
            )
        return self._text_encoder

    def _parts(self, part: Part) -> list[WeightsFile]:
        if part not in self._files:
            raise ConfigError(
                f"{self.root} and the files beside it hold no {part.replace('_', ' ')}.",
                "Put the component's file into the same folder, or name it in the model section.",
            )
        return self._files[part]

    def _loaded(self, part: Part, kind: Any, dtype: torch.dtype, placement: Placement = Placement()) -> Any:
        held = self._held(part)
        module = empty(kind, self._config(part))
        places = {name: (file.path, key) for name, (file, key) in held.items()}
        fill(module, places, f"LTX-{self.version}", dtype, placement)
        return module.eval().requires_grad_(False)

    def _config(self, part: Part) -> dict[str, Any]:
        """What the library's class of `part` is made with, as the files' headers show it."""
        shapes = {name: file.shapes[key] for name, (file, key) in self._held(part).items()}
        return config_of(part, shapes, self._parts(part)[0])

    def _held(self, part: Part) -> dict[str, tuple[WeightsFile, str]]:
        """The file and the key in it of each weight of `part`, by the library's names."""
        held: dict[str, tuple[WeightsFile, str]] = {}
        for file in self._parts(part):
            keys = list(part_keys(part, file))
            # a component's own file may leave the prefix out, and 2.3's vocoder has a sub-module of the prefix's name
            prefix = PREFIXES.get(part, "")
            stripped = len(prefix) if all(key.startswith(prefix) for key in keys) else 0
            # the main file comes first: what it holds is not taken from a file beside it
            held = {RENAMES[part](key[stripped:]): (file, key) for key in keys} | held
        return held


def _pack_mates(main: WeightsFile) -> list[WeightsFile]:
    mates = []
    for other in sorted(main.path.parent.glob("*.safetensors")):
        if other == main.path:
            continue
        try:
            mate = read_header(other)
        except ConfigError:
            continue  # a neighbour that is no part of the pack, for example a LoRA
        if mate.distilled == main.distilled or not mate.holds("transformer"):
            mates.append(mate)
    return mates
