"""A ComfyUI workflow (API form) with the files named: base, text encoder, the exported LoRA. No torch.

Nodes and inputs are those of ComfyUI's own LTX-2 nodes; the video reference of an IC-LoRA is given by a node of the
ComfyUI-LTXVideo extension. Drop the file on the canvas, or send it to /prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer_core.sections.validation import ValidationSection

Workflow = dict[str, dict[str, Any]]
TEXT_ENCODERS = {
    "2.0": "gemma_3_12B_it.safetensors",
    "2.3": "gemma_3_12B_it.safetensors",
    "2.5": "gemma4-12b-with-proj-ltx-2.5.safetensors",
}
"""File names that people have in models/text_encoders; another one is chosen in the node."""


@dataclass(frozen=True)
class WorkflowFiles:
    """File names as ComfyUI's folders list them.

    `checkpoint`: the base in one file, None for a split pack. `unet`: the transformer of a pack, or one trained in
    full; the VAEs are a pack's.
    """

    text_encoder: str
    lora: str | None
    checkpoint: str | None
    unet: str | None = None
    video_vae: str | None = None
    audio_vae: str | None = None


def workflow(
    files: WorkflowFiles,
    section: ValidationSection,
    prompt: str,
    *,
    first_frame: bool = False,
    reference_downscales: Sequence[int] = (),
) -> Workflow:
    """Return the workflow: text to picture and sound with the LoRA, from a start picture where the adapter knows it.

    `reference_downscales`: the adapter takes so many video references, each that many times smaller than the picture.
    """
    width, height, frames = section.video_dims
    nodes: Workflow = {}
    model: list[Any]
    video_vae: list[Any]

    def node(name: str, kind: str, **inputs: Any) -> None:
        nodes[name] = {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}

    if files.checkpoint is not None:
        node("base", "CheckpointLoaderSimple", ckpt_name=files.checkpoint)
        node("audio_vae", "LTXVAudioVAELoader", ckpt_name=files.checkpoint)
        node(
            "text",
            "LTXAVTextEncoderLoader",
            text_encoder=files.text_encoder,
            ckpt_name=files.checkpoint,
            device="default",
        )
        model, video_vae = ["base", 0], ["base", 2]
    else:
        node("video_vae", "VAELoader", vae_name=files.video_vae)
        node("audio_vae", "VAELoader", vae_name=files.audio_vae)
        # a pack's text encoder holds the text projections itself
        node("text", "CLIPLoader", clip_name=files.text_encoder, type="ltxv", device="default")
        video_vae = ["video_vae", 0]
    if files.unet is not None:
        node("model", "UNETLoader", unet_name=files.unet, weight_dtype="default")
        model = ["model", 0]
    if files.lora is not None:
        node("adapter", "LoraLoaderModelOnly", model=model, lora_name=files.lora, strength_model=1.0)
        model = ["adapter", 0]
    node("prompt", "CLIPTextEncode", text=prompt, clip=["text", 0])
    node("negative", "CLIPTextEncode", text=section.negative_prompt, clip=["text", 0])
    node(
        "conditioning",
        "LTXVConditioning",
        positive=["prompt", 0],
        negative=["negative", 0],
        frame_rate=section.frame_rate,
    )
    node("pictures", "EmptyLTXVLatentVideo", width=width, height=height, length=frames, batch_size=1)
    latent: list[Any] = ["pictures", 0]
    if first_frame:
        node("start", "LoadImage", image="start.png")
        node(
            "start_in",
            "LTXVImgToVideoInplace",
            vae=video_vae,
            image=["start", 0],
            latent=latent,
            strength=1.0,
            bypass=False,
        )
        latent = ["start_in", 0]
    positive, negative = ["conditioning", 0], ["conditioning", 1]
    for number, downscale in enumerate(reference_downscales, start=1):
        own = "" if number == 1 else f"_{number}"
        node(f"reference_file{own}", "LoadVideo", file=f"reference{own}.mp4")
        node(f"reference_parts{own}", "GetVideoComponents", video=[f"reference_file{own}", 0])
        # a reference longer than the clip is refused by the guide node
        node(
            f"reference{own}",
            "ImageFromBatch",
            image=[f"reference_parts{own}", 0],
            batch_index=0,
            length=frames,
        )
        node(
            f"guide{own}",
            "LTXAddVideoICLoRAGuide",
            positive=positive,
            negative=negative,
            vae=video_vae,
            latent=latent,
            image=[f"reference{own}", 0],
            frame_idx=0,
            strength=1.0,
            latent_downscale_factor=float(downscale),
            crop="center",
            use_tiled_encode=False,
            tile_size=256,
            tile_overlap=64,
        )
        positive, negative, latent = [f"guide{own}", 0], [f"guide{own}", 1], [f"guide{own}", 2]
    node(
        "sound",
        "LTXVEmptyLatentAudio",
        frames_number=frames,
        frame_rate=round(section.frame_rate),
        batch_size=1,
        audio_vae=["audio_vae", 0],
    )
    node("both", "LTXVConcatAVLatent", video_latent=latent, audio_latent=["sound", 0])
    node(
        "sigmas",
        "LTXVScheduler",
        steps=section.inference_steps,
        max_shift=2.05,
        base_shift=0.95,
        stretch=True,
        terminal=0.1,
        latent=["both", 0],
    )
    node("noise", "RandomNoise", noise_seed=section.seed)
    node("sampler", "KSamplerSelect", sampler_name="euler")
    node(
        "guider",
        "CFGGuider",
        model=model,
        positive=positive,
        negative=negative,
        cfg=section.video_cfg_scale,
    )
    node(
        "sample",
        "SamplerCustomAdvanced",
        noise=["noise", 0],
        guider=["guider", 0],
        sampler=["sampler", 0],
        sigmas=["sigmas", 0],
        latent_image=["both", 0],
    )
    node("parts", "LTXVSeparateAVLatent", av_latent=["sample", 0])
    made: list[Any] = ["parts", 0]
    if reference_downscales:
        # the references' tokens stand in the latent beside the clip's own until they are cropped
        node("cropped", "LTXVCropGuides", positive=positive, negative=negative, latent=made)
        made = ["cropped", 2]
    node(
        "decoded",
        "VAEDecodeTiled",
        samples=made,
        vae=video_vae,
        tile_size=512,
        overlap=64,
        temporal_size=64,
        temporal_overlap=16,
    )
    node("heard", "LTXVAudioVAEDecode", samples=["parts", 1], audio_vae=["audio_vae", 0])
    node("video", "CreateVideo", images=["decoded", 0], fps=section.frame_rate, audio=["heard", 0])
    node("save", "SaveVideo", video=["video", 0], filename_prefix="ltx-agent", format="auto", codec="auto")
    return nodes
