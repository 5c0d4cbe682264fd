"""A diffusers folder of LTX-2: one sub-folder a part; and the text encoder, which every layout keeps in a folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainer_core.errors import ConfigError
from trainer_core.model.names import PROJECTION_PREFIX, TRANSFORMER_PREFIX, connectors_to_upstream, to_upstream
from trainer_core.model.quantize import text_encoder_quantization
from trainer_core.model.reader_config import made_metadata
from trainer_core.model.source import InputWidths, Part, Placement, Version, input_widths, sampled_digest
from trainer_core.model.streaming import Held, empty, fill, whole_config
from trainer_core.model.versions import USUAL_FACTORS
from trainer_core.objective import VaeFactors
from trainer_core.weights_file import Stored, read_stored

FOLDERS: dict[Part, str] = {
    "transformer": "transformer",
    "connectors": "connectors",
    "video_vae": "vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
    "text_encoder": "text_encoder",
}


class FolderSource:
    """A diffusers folder: one sub-folder a part."""

    def __init__(self, root: Path, overrides: dict[Any, Path]) -> None:
        self.root = root
        self.overrides = overrides
        config = _config(self.folder("transformer"))
        self.version = _version_of(config, self.folder("transformer"))
        self.factors = VaeFactors(*config.get("vae_scale_factors", USUAL_FACTORS))

    @property
    def label(self) -> str:
        return f"LTX-{self.version} ({self.root.name})"

    @property
    def widths(self) -> InputWidths:
        return input_widths(_config(self.folder("transformer")), _config(self.folder("connectors")))

    @property
    def layers(self) -> int:
        return int(_config(self.folder("transformer"))["num_layers"])

    @property
    def distilled(self) -> bool:
        return "distilled" in self.root.name.lower()

    def fingerprint(self, part: Part) -> str:
        folder = self.folder(part)
        return f"{part}:{sampled_digest([*folder.glob('*.json'), *folder.glob('*.safetensors')])}"

    def library_config(self, part: Part) -> dict[str, Any]:
        from diffusers import LTX2VideoTransformer3DModel
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        kind = LTX2VideoTransformer3DModel if part == "transformer" else LTX2TextConnectors
        return whole_config(kind, _config(self.folder(part)))

    def reader_metadata(self) -> dict[str, str]:
        return made_metadata(self.version, self.library_config("transformer"), self.library_config("connectors"))

    def connector_weights(self, *, projections: bool) -> list[Stored]:
        found = []
        for path in sorted(self.folder("connectors").glob("*.safetensors")):
            for one in read_stored(path)[1]:
                try:
                    key = connectors_to_upstream(one.name)
                except KeyError as error:
                    raise ConfigError(
                        f"{path}: {one.name} is no weight of LTX-2's connectors.", "Check or download it again."
                    ) from error
                if projections or not key.startswith(PROJECTION_PREFIX):
                    found.append(one.named(key))
        return found

    def reader_weights(self) -> list[Stored]:
        shards = sorted(self.folder("transformer").glob("*.safetensors"))
        own = [
            one.named(f"{TRANSFORMER_PREFIX}{to_upstream(one.name)}") for path in shards for one in read_stored(path)[1]
        ]
        return own + self.connector_weights(projections=True)

    def transformer(self, dtype: torch.dtype, placement: Placement = Placement()) -> Any:
        from diffusers import LTX2VideoTransformer3DModel
        from safetensors import SafetensorError

        folder = self.folder("transformer")
        module = empty(LTX2VideoTransformer3DModel, _config(folder))
        try:
            fill(module, _weights_in(folder), f"LTX-{self.version}", dtype, placement)
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{folder} can't be loaded as LTX2VideoTransformer3DModel: {error}.", "Check or download it again."
            ) from error
        return module.eval().requires_grad_(False)

    def connectors(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        return self._loaded(LTX2TextConnectors, "connectors", dtype)

    def video_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Video

        return self._loaded(AutoencoderKLLTX2Video, "video_vae", dtype)

    def audio_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Audio

        return self._loaded(AutoencoderKLLTX2Audio, "audio_vae", dtype)

    def vocoder(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

        kind = LTX2Vocoder if self.version == "2.0" else LTX2VocoderWithBWE
        return self._loaded(kind, "vocoder", dtype)

    def text_encoder(
        self, dtype: torch.dtype, device: torch.device | None = None, *, in_8bit: bool = False
    ) -> tuple[Any, Any]:
        beside = self.root / "tokenizer"
        tokenizer = beside if beside.is_dir() else None
        folder = self.folder("text_encoder")
        connectors = _config(self.folder("connectors"))
        return load_text_encoder(folder, self.version, connectors, dtype, tokenizer, device=device, in_8bit=in_8bit)

    def folder(self, part: Part) -> Path:
        """The folder of `part`: the one that the config names, else the sub-folder. Raises ConfigError without one."""
        folder = self.overrides.get(part, self.root / FOLDERS[part])
        if not folder.is_dir():
            raise ConfigError(
                f"The model lacks its {part.replace('_', ' ')}: there is no folder {folder}.", "Download it."
            )
        return folder

    def _loaded(self, kind: Any, part: Part, dtype: torch.dtype) -> Any:
        folder = self.folder(part)
        from safetensors import SafetensorError

        try:
            module, loading = kind.from_pretrained(
                folder, torch_dtype=dtype, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ConfigError(
                f"{folder} can't be loaded as {kind.__name__}: {error}.", "Check or download it again."
            ) from error
        # the library fills what is missing with random numbers and goes on
        odd = [*loading["missing_keys"], *loading["unexpected_keys"]]
        if odd:
            raise ConfigError(
                f"{folder} is no whole {kind.__name__}: {len(odd)} weights missing or unknown, the first is {odd[0]}.",
                "Download it again.",
            )
        return module.eval().requires_grad_(False)


def _weights_in(folder: Path) -> Held:
    """The tensors of a part's safetensors files. Raises OSError when it has none."""
    from safetensors import safe_open

    held: Held = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as handle:
            held |= {key: (path, key) for key in handle.keys()}  # noqa: SIM118
    if not held:
        raise FileNotFoundError("it has no safetensors file")
    return held


def load_text_encoder(
    folder: Path,
    version: Version,
    connectors: Mapping[str, Any],
    dtype: torch.dtype,
    tokenizer: Path | None = None,
    *,
    device: torch.device | None = None,
    in_8bit: bool = False,
) -> tuple[Any, Any]:
    """Load (tokenizer, encoder) from a transformers folder: Gemma 3 for 2.0 and 2.3, LTX's own Gemma 4 for 2.5.

    Raises ConfigError for any other family, and for another size than the config of `connectors` asks for.
    """
    from safetensors import SafetensorError
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration, Gemma4UnifiedForConditionalGeneration

    config = _config(folder)
    family = str(config.get("model_type", ""))
    wanted = "gemma4" if version == "2.5" else "gemma3"
    if not family.startswith(wanted):
        raise ConfigError(
            f"{folder} holds a {family or 'nameless'} text encoder; LTX-{version} needs {wanted}.",
            "Set model.text_encoder_path to the right one.",
        )
    _refuse_other_size(folder, version, config.get("text_config", config), connectors)
    kind = Gemma4UnifiedForConditionalGeneration if wanted == "gemma4" else Gemma3ForConditionalGeneration
    try:
        options: dict[str, Any] = {"quantization_config": text_encoder_quantization()} if in_8bit else {}
        if device is not None:
            options["device_map"] = {"": device}
        encoder = kind.from_pretrained(folder, dtype=dtype, local_files_only=True, **options).eval()
        encoder.requires_grad_(False)
        return AutoTokenizer.from_pretrained(tokenizer or folder, local_files_only=True), encoder
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ConfigError(f"{folder} can't be loaded as a text encoder: {error}.", "Download it again.") from error


def _refuse_other_size(folder: Path, version: Version, encoder: dict[str, Any], connectors: Mapping[str, Any]) -> None:
    """The connectors read the hidden states of every layer, the embedding included."""
    wanted = (connectors["caption_channels"], connectors["text_proj_in_factor"] - 1)
    found = (encoder.get("hidden_size", wanted[0]), encoder.get("num_hidden_layers", wanted[1]))
    if found != wanted:
        raise ConfigError(
            f"{folder} holds a text encoder {found[0]} wide with {found[1]} layers; this LTX-{version} was trained "
            f"with one {wanted[0]} wide with {wanted[1]} layers.",
            "Set model.text_encoder_path to the right one: the size of Gemma matters, too.",
        )


def _version_of(config: dict[str, Any], folder: Path) -> Version:
    if config.get("_class_name") != "LTX2VideoTransformer3DModel":
        raise ConfigError(
            f"{folder} holds a {config.get('_class_name', 'nameless model')}, not an LTX-2 transformer.",
            "Give a diffusers folder of LTX-2, 2.3 or 2.5.",
        )
    if config.get("use_keyframes_abs_pos_embedding") or config.get("ff_bias") is False:
        return "2.5"
    return "2.3" if config.get("cross_attn_mod") else "2.0"


def _config(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} has no readable config.json.", "Give a complete diffusers folder.") from error
    return document if isinstance(document, dict) else {}
