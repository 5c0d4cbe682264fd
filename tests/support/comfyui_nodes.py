"""What ComfyUI's nodes take and give, as far as our workflows use them; a workflow is checked against it link by link.

From the nodes' public documentation (docs.comfy.org, docs.ltx.video) and published workflows. An input whose type is
None is a plain value; the others are links.
"""

from typing import Any

NODES: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "CheckpointLoaderSimple": ({"ckpt_name": None}, ("MODEL", "CLIP", "VAE")),
    "UNETLoader": ({"unet_name": None, "weight_dtype": None}, ("MODEL",)),
    "VAELoader": ({"vae_name": None}, ("VAE",)),
    "LTXVAudioVAELoader": ({"ckpt_name": None}, ("VAE",)),
    "LTXAVTextEncoderLoader": ({"text_encoder": None, "ckpt_name": None, "device": None}, ("CLIP",)),
    "CLIPLoader": ({"clip_name": None, "type": None, "device": None}, ("CLIP",)),
    "LoraLoaderModelOnly": ({"model": "MODEL", "lora_name": None, "strength_model": None}, ("MODEL",)),
    "CLIPTextEncode": ({"text": None, "clip": "CLIP"}, ("CONDITIONING",)),
    "LTXVConditioning": (
        {"positive": "CONDITIONING", "negative": "CONDITIONING", "frame_rate": None},
        ("CONDITIONING", "CONDITIONING"),
    ),
    "EmptyLTXVLatentVideo": ({"width": None, "height": None, "length": None, "batch_size": None}, ("LATENT",)),
    "LTXVEmptyLatentAudio": (
        {"frames_number": None, "frame_rate": None, "batch_size": None, "audio_vae": "VAE"},
        ("LATENT",),
    ),
    "LoadImage": ({"image": None}, ("IMAGE", "MASK")),
    "LTXVImgToVideoInplace": (
        {"vae": "VAE", "image": "IMAGE", "latent": "LATENT", "strength": None, "bypass": None},
        ("LATENT",),
    ),
    "LoadVideo": ({"file": None}, ("VIDEO",)),
    "GetVideoComponents": ({"video": "VIDEO"}, ("IMAGE", "AUDIO", "FLOAT")),
    "ImageFromBatch": ({"image": "IMAGE", "batch_index": None, "length": None}, ("IMAGE",)),
    "LTXAddVideoICLoRAGuide": (
        {
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "vae": "VAE",
            "latent": "LATENT",
            "image": "IMAGE",
            "frame_idx": None,
            "strength": None,
            "latent_downscale_factor": None,
            "crop": None,
            "use_tiled_encode": None,
            "tile_size": None,
            "tile_overlap": None,
        },
        ("CONDITIONING", "CONDITIONING", "LATENT"),
    ),
    "LTXVCropGuides": (
        {"positive": "CONDITIONING", "negative": "CONDITIONING", "latent": "LATENT"},
        ("CONDITIONING", "CONDITIONING", "LATENT"),
    ),
    "LTXVConcatAVLatent": ({"video_latent": "LATENT", "audio_latent": "LATENT"}, ("LATENT",)),
    "LTXVSeparateAVLatent": ({"av_latent": "LATENT"}, ("LATENT", "LATENT")),
    "LTXVScheduler": (
        {"steps": None, "max_shift": None, "base_shift": None, "stretch": None, "terminal": None, "latent": "LATENT"},
        ("SIGMAS",),
    ),
    "RandomNoise": ({"noise_seed": None}, ("NOISE",)),
    "KSamplerSelect": ({"sampler_name": None}, ("SAMPLER",)),
    "CFGGuider": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "cfg": None},
        ("GUIDER",),
    ),
    "SamplerCustomAdvanced": (
        {"noise": "NOISE", "guider": "GUIDER", "sampler": "SAMPLER", "sigmas": "SIGMAS", "latent_image": "LATENT"},
        ("LATENT", "LATENT"),
    ),
    "VAEDecodeTiled": (
        {
            "samples": "LATENT",
            "vae": "VAE",
            "tile_size": None,
            "overlap": None,
            "temporal_size": None,
            "temporal_overlap": None,
        },
        ("IMAGE",),
    ),
    "LTXVAudioVAEDecode": ({"samples": "LATENT", "audio_vae": "VAE"}, ("AUDIO",)),
    "CreateVideo": ({"images": "IMAGE", "fps": None, "audio": "AUDIO"}, ("VIDEO",)),
    "SaveVideo": ({"video": "VIDEO", "filename_prefix": None, "format": None, "codec": None}, ()),
}


def check_workflow(document: dict[str, dict[str, Any]]) -> None:
    """Assert that every node is known, has exactly its inputs, and that every link carries what its end takes.

    Every node but the one that saves feeds another, and nothing feeds itself, however far round.
    """
    reached: set[str] = set()
    for name, node in document.items():
        assert set(node) == {"class_type", "inputs", "_meta"}, name
        takes, _ = NODES[node["class_type"]]
        assert set(node["inputs"]) == set(takes), name
        for key, value in node["inputs"].items():
            if takes[key] is None:
                assert isinstance(value, str | int | float), f"{name}.{key}"
                continue
            target, slot = value
            reached.add(target)
            assert NODES[document[target]["class_type"]][1][slot] == takes[key], f"{name}.{key}"
    assert set(document) - reached == {"save"}
    for name in document:
        assert name not in ancestors(document, name), f"{name} feeds itself"


def ancestors(document: dict[str, dict[str, Any]], name: str) -> set[str]:
    """Every node that `name` depends on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        links = [value[0] for value in document[waiting.pop()]["inputs"].values() if isinstance(value, list)]
        waiting += [one for one in links if one not in found]
        found |= set(links)
    return found
