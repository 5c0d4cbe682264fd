"""A small randomly initialised LTX-2 / 2.3 / 2.5 of the real classes, for the demo, the tests and the benchmarks.

It has the real topology (32x32x8 video VAE, 25 audio latents per second) and no knowledge: it can't generate anything.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from trainer_core.errors import ConfigError
from trainer_core.model.names import PROJECTION_PREFIX, TRANSFORMER_PREFIX, connectors_to_upstream, to_upstream
from trainer_core.model.quantize import encoder_layers, quantize
from trainer_core.model.reader_config import made_metadata
from trainer_core.model.source import InputWidths, Part, Placement, Version
from trainer_core.model.versions import TRANSFORMER, VIDEO_VAE
from trainer_core.objective import VaeFactors
from trainer_core.weights_file import Stored, stored_tensor

T = TypeVar("T")

TEXT_TOKENS = 512
_HIDDEN = 32  # width of the text encoder
_VIDEO_HEADS, _VIDEO_HEAD_DIM = 2, 32
_AUDIO_HEADS, _AUDIO_HEAD_DIM = 2, 16
_VIDEO_WIDTH, _AUDIO_WIDTH = _VIDEO_HEADS * _VIDEO_HEAD_DIM, _AUDIO_HEADS * _AUDIO_HEAD_DIM
_LATENT_WIDTH = 128  # of a token, video or audio: what the real models have
_LAYERS = 2
_TEXT_LAYERS = 3
_BYTES = 256
_PAD, _EOS, _BOS, _UNK = 0, 1, 2, 3
_SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>")
_FACTORS = (8, 32, 32)
_RECIPE = "tiny-2"  # part of every fingerprint: raise it when the shapes below change


class TinySource:
    """The tiny model of one version; every part is built again from `seed`, always the same."""

    def __init__(self, version: Version = "2.3", seed: int = 0) -> None:
        self.version: Version = version
        self.seed = seed

    @property
    def label(self) -> str:
        return f"tiny random LTX-{self.version} (untrained: it can't generate anything)"

    @property
    def factors(self) -> VaeFactors:
        return VaeFactors(*_FACTORS)

    @property
    def widths(self) -> InputWidths:
        text = (_HIDDEN, _HIDDEN) if self.version == "2.0" else (_VIDEO_WIDTH, _AUDIO_WIDTH)
        return InputWidths(_LATENT_WIDTH, _LATENT_WIDTH, *text)

    @property
    def layers(self) -> int:
        return _LAYERS

    @property
    def distilled(self) -> bool:
        return False

    def fingerprint(self, part: Part) -> str:
        return f"{_RECIPE}:{self.version}:{part}:seed{self.seed}"

    def library_config(self, part: Part) -> dict[str, Any]:
        module = self.transformer(torch.float32) if part == "transformer" else self.connectors(torch.float32)
        return {name: value for name, value in dict(module.config).items() if not name.startswith("_")}

    def reader_metadata(self) -> dict[str, str]:
        return made_metadata(self.version, self.library_config("transformer"), self.library_config("connectors"))

    def connector_weights(self, *, projections: bool) -> list[Stored]:
        named = {connectors_to_upstream(k): tensor for k, tensor in self.connectors(torch.float32).state_dict().items()}
        return [
            stored_tensor(key, tensor)
            for key, tensor in named.items()
            if projections or not key.startswith(PROJECTION_PREFIX)
        ]

    def reader_weights(self) -> list[Stored]:
        state = self.transformer(torch.float32).state_dict()
        own = [stored_tensor(f"{TRANSFORMER_PREFIX}{to_upstream(name)}", tensor) for name, tensor in state.items()]
        return own + self.connector_weights(projections=True)

    def transformer(self, dtype: torch.dtype, placement: Placement = Placement()) -> Any:
        from diffusers import LTX2VideoTransformer3DModel

        transformer = self._built(
            1,
            dtype,
            lambda: LTX2VideoTransformer3DModel(
                in_channels=_LATENT_WIDTH,
                audio_in_channels=_LATENT_WIDTH,
                num_attention_heads=_VIDEO_HEADS,
                attention_head_dim=_VIDEO_HEAD_DIM,
                cross_attention_dim=_VIDEO_WIDTH,
                audio_num_attention_heads=_AUDIO_HEADS,
                audio_attention_head_dim=_AUDIO_HEAD_DIM,
                audio_cross_attention_dim=_AUDIO_WIDTH,
                num_layers=_LAYERS,
                vae_scale_factors=_FACTORS,
                caption_channels=_HIDDEN,
                **TRANSFORMER[self.version],
            ),
        )
        torch.nn.Module.to(transformer, placement.device)
        return transformer if placement.quantization is None else quantize(transformer, placement.quantization)

    def connectors(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        since_2_3 = self.version != "2.0"
        heads, dims = (
            ((_VIDEO_HEADS, _AUDIO_HEADS), (_VIDEO_HEAD_DIM, _AUDIO_HEAD_DIM))
            if since_2_3
            else ((2, 2), (_HIDDEN // 2, _HIDDEN // 2))
        )
        return self._built(
            2,
            dtype,
            lambda: LTX2TextConnectors(
                caption_channels=_HIDDEN,
                text_proj_in_factor=_TEXT_LAYERS + 1,
                video_connector_num_attention_heads=heads[0],
                video_connector_attention_head_dim=dims[0],
                video_connector_num_layers=1,
                audio_connector_num_attention_heads=heads[1],
                audio_connector_attention_head_dim=dims[1],
                audio_connector_num_layers=1,
                video_gated_attn=since_2_3,
                audio_gated_attn=since_2_3,
                rope_type="split",
                per_modality_projections=since_2_3,
                video_hidden_dim=_VIDEO_WIDTH,
                audio_hidden_dim=_AUDIO_WIDTH,
                proj_bias=since_2_3,
            ),
        )

    def video_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Video

        ups = len(VIDEO_VAE[self.version].get("upsample_factor", (2, 2, 2)))
        vae = self._built(
            3,
            dtype,
            lambda: AutoencoderKLLTX2Video(
                block_out_channels=(8, 16, 32, 32),
                decoder_block_out_channels=(8, 16, 32) if ups == 3 else (8, 16, 16, 32),
                layers_per_block=(1, 1, 1, 1, 1),
                decoder_layers_per_block=(1,) * (ups + 1),
                **VIDEO_VAE[self.version],
            ),
        )
        # a random encoder's latents have a standard deviation of about a quarter; training expects about one
        vae.latents_std.fill_(0.25)
        return vae

    def audio_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Audio

        vae = self._built(4, dtype, lambda: AutoencoderKLLTX2Audio(ch_mult=(1, 1, 1), num_res_blocks=1))
        vae.latents_std.fill_(0.35)
        return vae

    def vocoder(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

        if self.version == "2.0":
            return self._built(5, dtype, lambda: LTX2Vocoder(hidden_channels=64))
        return self._built(5, dtype, lambda: LTX2VocoderWithBWE(hidden_channels=64, bwe_hidden_channels=64))

    def text_encoder(
        self, dtype: torch.dtype, device: torch.device | None = None, *, in_8bit: bool = False
    ) -> tuple[Any, Any]:
        build = _gemma4 if self.version == "2.5" else _gemma3
        encoder = torch.nn.Module.to(self._built(6, dtype, build), device)
        return _tokenizer(), quantize(encoder, "int8", encoder_layers(encoder)) if in_8bit else encoder

    def _built(self, offset: int, dtype: torch.dtype, build: Callable[[], T]) -> T:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1000 + offset)
            module: Any = build()
        # nn.Module's own `to`: the library's warns about layers kept in float32 even where a model has none
        return torch.nn.Module.to(module, dtype).eval().requires_grad_(False)


def tiny_source(model_path: str, seed: int = 0) -> TinySource:
    """Return the source that `tiny`, `tiny:2.0`, `tiny:2.3` or `tiny:2.5` names; raises ConfigError for any other."""
    wanted = model_path.partition(":")[2] or "2.3"
    for version in TRANSFORMER:
        if version == wanted:
            return TinySource(version, seed)
    raise ConfigError(f"There is no tiny model of version {wanted}.", f"Use tiny:{', tiny:'.join(TRANSFORMER)}.")


def _tokenizer() -> Any:
    """One token a byte: any caption in any script, without a vocabulary to train."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(_SPECIALS)}
    for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet())):
        vocabulary[character] = len(_SPECIALS) + index
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIALS])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", _BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=TEXT_TOKENS,
    )


def _text_config() -> dict[str, Any]:
    return {
        "vocab_size": len(_SPECIALS) + _BYTES,
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_hidden_layers": _TEXT_LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": _HIDDEN // 2,
        "max_position_embeddings": 2 * TEXT_TOKENS,
        "layer_types": ["sliding_attention"] * (_TEXT_LAYERS - 1) + ["full_attention"],
        "sliding_window": TEXT_TOKENS // 2,
        "pad_token_id": _PAD,
        "eos_token_id": _EOS,
        "bos_token_id": _BOS,
    }


def _gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(
        text_config=_text_config(),
        vision_config=vision,
        mm_tokens_per_image=4,
        boi_token_index=_UNK,
        eoi_token_index=_UNK,
        image_token_index=_UNK,
    )
    return Gemma3ForConditionalGeneration(config)


def _gemma4() -> Any:
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

    text = {**_text_config(), "global_head_dim": _HIDDEN // 2}
    return Gemma4UnifiedForConditionalGeneration(
        Gemma4UnifiedConfig(text_config=text, image_token_id=_UNK, audio_token_id=_UNK, video_token_id=_UNK)
    )
