"""Our sampler against diffusers' pipelines on the tiny model: same weights, same noise, equal latents, in float32.

Where tokens are given clean, stock diffusers feeds the audio-video gates another timestep than upstream does. There the
library is given upstream's gates (`upstream_gates`), and nothing else is changed.
"""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer_core.data.batch import Batch, ModalityBatch, Reference, to_tokens
from trainer_core.data.encoding.latents import normalise_video
from trainer_core.model.ltx import LtxModel
from trainer_core.model.source import Version
from trainer_core.model.text import encode_prompts
from trainer_core.model.tiny import TEXT_TOKENS, TinySource
from trainer_core.objective import objective_of
from trainer_core.sampling.decode import denormalise_audio, denormalise_video
from trainer_core.sampling.guidance import UNGUIDED, Guidance, Scales
from trainer_core.sampling.sampler import SampleInputs, denoise
from trainer_core.sampling.schedule import DISTILLED_SIGMAS, dev_sigmas
from trainer_core.sections.strategy import (
    FirstFrameCondition,
    FlexibleStrategy,
    ModalitySection,
    PrefixCondition,
    ReferenceCondition,
)

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")
WIDTH, HEIGHT, FRAMES, RATE, STEPS = 96, 64, 17, 24.0, 4
GRID = (3, 2, 3)
TOKENS, AUDIO_FRAMES = 18, 18
PROMPT, NEGATIVE = "a fox in the snow", "blurry"
CPU = torch.device("cpu")


class Parts:
    """The tiny model's parts as the library's pipelines take them."""

    def __init__(self, version: Version) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler

        source = TinySource(version)
        self.tokenizer, self.encoder = source.text_encoder(torch.float32)
        self.shared = {
            "vae": source.video_vae(torch.float32),
            "audio_vae": source.audio_vae(torch.float32),
            "text_encoder": self.encoder,
            "tokenizer": self.tokenizer,
            "connectors": source.connectors(torch.float32),
            "vocoder": source.vocoder(torch.float32),
            "scheduler": FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                base_shift=0.95,
                max_shift=2.05,
                base_image_seq_len=1024,
                max_image_seq_len=4096,
                shift_terminal=0.1,
            ),
        }
        self.stock = source.transformer(torch.float32)
        self.model = LtxModel(source.transformer(torch.float32))

    def pipeline(self, kind: Any, *, upstream_gates: bool = False) -> Any:
        pipe = kind(**self.shared, transformer=self.model.transformer if upstream_gates else self.stock)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def features(self, prompt: str) -> Any:
        return encode_prompts(self.tokenizer, self.encoder, self.shared["connectors"], [prompt])


@pytest.fixture(scope="module")
def parts() -> dict[Version, Parts]:
    return {version: Parts(version) for version in VERSIONS}


@pytest.fixture
def upstream_gates(parts: dict[Version, Parts], version: Version) -> Any:
    """Feed the library's calls what upstream feeds the two gates: the other modality's sigma."""
    model = parts[version].model

    def feed(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        video = kwargs["sigma"]
        audio = kwargs.get("audio_sigma")
        audio = video if audio is None else audio
        model._gate_timesteps = {
            "av_cross_attn_video_a2v_gate": audio * model._gate_factor,
            "av_cross_attn_audio_v2a_gate": video * model._gate_factor,
        }

    hook = model.transformer.register_forward_pre_hook(feed, with_kwargs=True)
    yield
    hook.remove()


def guidance(version: Version) -> Guidance:
    """Everything on; the library perturbs nothing on 2.0, so there STG stays off."""
    stg = 0.0 if version == "2.0" else 1.0
    return Guidance(Scales(3.0, stg, 2.0, 0.7), Scales(5.0, stg, 3.0, 0.4), (1,) if stg else ())


def call(pipe: Any, version: Version, guided_by: Guidance, **options: Any) -> tuple[Tensor, Tensor]:
    video, audio = guided_by.video, guided_by.audio
    made = pipe(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        frame_rate=RATE,
        guidance_scale=video.cfg,
        stg_scale=video.stg,
        modality_scale=video.modality,
        guidance_rescale=video.rescale,
        audio_guidance_scale=audio.cfg,
        audio_stg_scale=audio.stg,
        audio_modality_scale=audio.modality,
        audio_guidance_rescale=audio.rescale,
        spatio_temporal_guidance_blocks=list(guided_by.stg_blocks) or None,
        generator=torch.Generator().manual_seed(3),
        max_sequence_length=TEXT_TOKENS,
        output_type="latent",
        return_dict=False,
        **{"num_inference_steps": STEPS, **options},
    )
    return made[0], made[1]


def noise(*, packed: bool, extra_tokens: int = 0) -> dict[str, Tensor]:
    """The noise that a pipeline draws from seed 3: some draw it packed, with room for the tokens they append."""
    generator = torch.Generator().manual_seed(3)
    if packed:
        video = torch.randn(1, TOKENS + extra_tokens, 128, generator=generator)[:, :TOKENS]
        return {"video": video, "audio": torch.randn(1, AUDIO_FRAMES, 128, generator=generator)}
    video = torch.randn(1, 128, *GRID, generator=generator)
    return {"video": to_tokens(video), "audio": to_tokens(torch.randn(1, 8, AUDIO_FRAMES, 16, generator=generator))}


def inputs(parts: Parts, video_latents: Tensor, conditions: list[Any], reference: Tensor | None = None) -> SampleInputs:
    features, negative = parts.features(PROMPT), parts.features(NEGATIVE)
    objective = objective_of(
        FlexibleStrategy(
            video=ModalitySection(is_generated=True, latents_dir="latents", conditions=conditions),
            audio=ModalitySection(is_generated=True, latents_dir="audio_latents"),
        )
    )
    references = {} if reference is None else {"reference_latents": Reference(reference)}
    batch = Batch(
        video=ModalityBatch(video_latents, frame_rate=torch.tensor([RATE]), references=references),
        audio=ModalityBatch(torch.zeros(1, 8, AUDIO_FRAMES, 16)),
        video_features=features.video,
        audio_features=features.audio,
        text_mask=features.mask,
        clips=("sample",),
        indices=(0,),
    )
    return SampleInputs(objective, batch, negative)


def ours(parts: Parts, given: SampleInputs, guided_by: Guidance, sigmas: Any, drawn: dict[str, Tensor]) -> Any:
    latents = denoise(parts.model, parts.shared["connectors"], given, guided_by, sigmas, drawn)
    return (
        denormalise_video(latents["video"], parts.shared["vae"]),
        denormalise_audio(latents["audio"], parts.shared["audio_vae"]),
    )


def assert_equal(mine: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(mine, theirs, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def clip(frames: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (frames, HEIGHT, WIDTH, 3), dtype=np.uint8)


def encoded(parts: Parts, pixels: np.ndarray) -> Tensor:
    vae = parts.shared["vae"]
    scaled = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.no_grad():
        return normalise_video(vae.encode(scaled).latent_dist.mode(), vae)


@pytest.mark.parametrize("version", VERSIONS)
def test_text_to_video_with_all_guidance(parts: dict[Version, Parts], version: Version) -> None:
    from diffusers import LTX2Pipeline

    mine = ours(
        parts[version],
        inputs(parts[version], torch.zeros(1, 128, *GRID), []),
        guidance(version),
        dev_sigmas(STEPS, tokens=TOKENS),
        noise(packed=False),
    )
    assert_equal(mine, call(parts[version].pipeline(LTX2Pipeline), version, guidance(version)))


@pytest.mark.parametrize("version", ["2.3"])
def test_the_distilled_schedule_without_guidance(parts: dict[Version, Parts], version: Version) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline

    pipe = parts[version].pipeline(LTX2Pipeline)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False)
    theirs = call(pipe, version, UNGUIDED, sigmas=list(DISTILLED_SIGMAS[:-1]), num_inference_steps=8)
    given = inputs(parts[version], torch.zeros(1, 128, *GRID), [])
    assert_equal(ours(parts[version], given, UNGUIDED, DISTILLED_SIGMAS, noise(packed=False)), theirs)


@pytest.mark.parametrize("version", VERSIONS)
def test_image_to_video(parts: dict[Version, Parts], version: Version, upstream_gates: None) -> None:
    from diffusers import LTX2ImageToVideoPipeline

    theirs = call(
        parts[version].pipeline(LTX2ImageToVideoPipeline, upstream_gates=True),
        version,
        guidance(version),
        image=Image.fromarray(picture()),
        image_crf=0,
        use_cross_timestep=False,
    )
    latents = torch.zeros(1, 128, *GRID)
    latents[:, :, :1] = encoded(parts[version], picture()[None])
    mine = ours(
        parts[version],
        inputs(parts[version], latents, [FirstFrameCondition(type="first_frame")]),
        guidance(version),
        dev_sigmas(STEPS, tokens=TOKENS),
        noise(packed=False),
    )
    assert_equal(mine, theirs)


@pytest.mark.parametrize("version", VERSIONS)
def test_extension_of_a_clip(parts: dict[Version, Parts], version: Version, upstream_gates: None) -> None:
    from diffusers import LTX2ConditionPipeline
    from diffusers.pipelines.ltx2 import LTX2VideoCondition

    theirs = call(
        parts[version].pipeline(LTX2ConditionPipeline, upstream_gates=True),
        version,
        guidance(version),
        conditions=[LTX2VideoCondition(frames=clip(9), index=0, strength=1.0)],
        use_cross_timestep=False,
    )
    latents = torch.zeros(1, 128, *GRID)
    latents[:, :, :2] = encoded(parts[version], clip(9))
    mine = ours(
        parts[version],
        inputs(parts[version], latents, [PrefixCondition(type="prefix", temporal_boundary=2)]),
        guidance(version),
        dev_sigmas(STEPS, tokens=TOKENS),
        noise(packed=True),
    )
    assert_equal(mine, theirs)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reference_of_the_target_s_size(parts: dict[Version, Parts], version: Version, upstream_gates: None) -> None:
    from diffusers import LTX2InContextPipeline
    from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition

    pipe = parts[version].pipeline(LTX2InContextPipeline, upstream_gates=True)
    pixels = clip(FRAMES)
    theirs = call(
        pipe,
        version,
        guidance(version),
        reference_conditions=[LTX2ReferenceCondition(frames=pixels.astype(np.float32) / 255)],
        use_cross_timestep=False,
    )
    given = inputs(
        parts[version],
        torch.zeros(1, 128, *GRID),
        [ReferenceCondition(type="reference", latents_dir="reference_latents")],
        reference=encoded(parts[version], pixels),
    )
    sigmas = dev_sigmas(STEPS, tokens=2 * TOKENS)
    mine = ours(parts[version], given, guidance(version), sigmas, noise(packed=True, extra_tokens=TOKENS))
    assert_equal(mine, theirs)


@pytest.mark.parametrize("version", ["2.0"])
def test_stg_on_2_0_is_the_library_s_perturbation(parts: dict[Version, Parts], version: Version) -> None:
    """The library has no perturbed attention in 2.0; built with it, the same weights give what our wrapper gives."""
    from diffusers import LTX2VideoTransformer3DModel

    given = inputs(parts[version], torch.zeros(1, 128, *GRID), [])
    guided_by = Guidance(Scales(1.0, 1.0), Scales(1.0, 1.0), (0,))
    plain = ours(parts[version], given, UNGUIDED, dev_sigmas(STEPS), noise(packed=False))
    mine = ours(parts[version], given, guided_by, dev_sigmas(STEPS), noise(packed=False))
    assert not torch.allclose(plain[0], mine[0], atol=1e-3)
    stock = parts[version].stock
    able = LTX2VideoTransformer3DModel(**{**stock.config, "perturbed_attn": True}).eval()
    able.load_state_dict(stock.state_dict())
    library = denoise(
        LtxModel(able), parts[version].shared["connectors"], given, guided_by, dev_sigmas(STEPS), noise(packed=False)
    )
    torch.testing.assert_close(mine[0], denormalise_video(library["video"], parts[version].shared["vae"]))
