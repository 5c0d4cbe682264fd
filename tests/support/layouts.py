"""LTX checkpoints as they are released, of tiny size: the tiny models' weights under upstream's keys."""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer_core.model.tiny import TinySource

HEADS = {"num_attention_heads": 2, "audio_num_attention_heads": 2, "caption_channels": 32}


# The inverse of what the loader does, written apart from it.
def upstream_transformer(name: str) -> str:
    for ours, theirs in (
        (r"^proj_in\.", "patchify_proj."),
        (r"^audio_proj_in\.", "audio_patchify_proj."),
        (r"^time_embed\.", "adaln_single."),
        (r"^audio_time_embed\.", "audio_adaln_single."),
        (r"^av_cross_attn_video_scale_shift\.", "av_ca_video_scale_shift_adaln_single."),
        (r"^av_cross_attn_audio_scale_shift\.", "av_ca_audio_scale_shift_adaln_single."),
        (r"^av_cross_attn_video_a2v_gate\.", "av_ca_a2v_gate_adaln_single."),
        (r"^av_cross_attn_audio_v2a_gate\.", "av_ca_v2a_gate_adaln_single."),
        (r"^prompt_adaln\.", "prompt_adaln_single."),
        (r"^audio_prompt_adaln\.", "audio_prompt_adaln_single."),
        (r"\.norm_q\.", ".q_norm."),
        (r"\.norm_k\.", ".k_norm."),
        ("video_a2v_cross_attn_scale_shift_table", "scale_shift_table_a2v_ca_video"),
        ("audio_a2v_cross_attn_scale_shift_table", "scale_shift_table_a2v_ca_audio"),
    ):
        name = re.sub(ours, theirs, name)
    return f"model.diffusion_model.{name}"


def upstream_connectors(name: str) -> str:
    name = (
        name.replace("transformer_blocks", "transformer_1d_blocks")
        .replace("norm_q", "q_norm")
        .replace("norm_k", "k_norm")
    )
    if "proj_in" in name:
        name = re.sub(r"^(video_|audio_)?text_proj_in", lambda m: f"{m.group(1) or ''}aggregate_embed", name)
        return f"text_embedding_projection.{name}"
    return "model.diffusion_model." + name.replace("_connector.", "_embeddings_connector.")


def upstream_video_vae(name: str) -> str:
    statistics = {"latents_mean": "mean-of-means", "latents_std": "std-of-means"}
    if name in statistics:
        return f"vae.per_channel_statistics.{statistics[name]}"
    name = name.replace("encoder.mid_block", "encoder.down_blocks.8").replace(
        "decoder.mid_block", "decoder.up_blocks.0"
    )
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", lambda m: f"DOWN{2 * int(m.group(1)) + 1}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"UP{2 * int(m.group(1)) + 1}", name)
    name = re.sub(
        r"down_blocks\.(\d)\.resnets", lambda m: f"DOWN{8 if m.group(1) == '8' else 2 * int(m.group(1))}.resnets", name
    )
    name = re.sub(r"(?<!n)up_blocks\.(\d)\.resnets", r"up_blocks.\1.resnets", name)
    if not name.startswith("decoder.up_blocks.0"):
        name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"UP{2 * int(m.group(1)) + 2}.resnets", name)
    name = name.replace("DOWN", "down_blocks.").replace("UP", "up_blocks.").replace("resnets", "res_blocks")
    return f"vae.{name}"


def upstream_audio_vae(name: str) -> str:
    name = name.replace("latents_mean", "per_channel_statistics.mean-of-means")
    return "audio_vae." + name.replace("latents_std", "per_channel_statistics.std-of-means")


def upstream_vocoder(name: str) -> str:
    for ours, theirs in (
        ("upsamplers", "ups"),
        ("resnets", "resblocks"),
        ("conv_in", "conv_pre"),
        ("conv_out", "conv_post"),
        ("act_out", "act_post"),
        ("downsample.filter", "downsample.lowpass.filter"),
    ):
        name = name.replace(ours, theirs)
    return f"vocoder.{name}"


def parts_of(version: str) -> dict[str, tuple[dict[str, torch.Tensor], dict]]:
    """{part: (tensors under upstream's keys, config entry of the metadata)}."""
    source = TinySource(version)  # type: ignore[arg-type]

    def renamed(module, rename):
        return {rename(name): tensor.contiguous() for name, tensor in module.state_dict().items()}

    decoder_up0 = re.compile(r"^decoder\.up_blocks\.0\.resnets")

    def video(name: str) -> str:
        # the first up block's own layers come second in upstream's list; index 0 there is the mid block
        return upstream_video_vae(decoder_up0.sub("decoder.UP2.resnets", name))

    transformer = renamed(source.transformer(torch.float32), upstream_transformer)
    transformer |= renamed(source.connectors(torch.float32), upstream_connectors)
    vae = renamed(source.video_vae(torch.float32), video)
    vae["vae.per_channel_statistics.mean-of-stds"] = torch.zeros(128)
    return {
        "transformer": (transformer, {"transformer": HEADS}),
        "vae": (vae, {"vae": {}}),
        "audio_vae": (renamed(source.audio_vae(torch.float32), upstream_audio_vae), {"audio_vae": {}}),
        "vocoder": (renamed(source.vocoder(torch.float32), upstream_vocoder), {"vocoder": {}}),
    }


def metadata(version: str, config: dict, **more: str) -> dict[str, str]:
    return {"model_version": version, "config": json.dumps(config), **more}


def write_unified(folder: Path, version: str, name: str = "ltx-dev.safetensors", **more: str) -> Path:
    tensors, config = {}, {}
    for part, entry in parts_of(version).values():
        tensors |= part
        config |= entry
    path = folder / name
    save_file(tensors, path, metadata=metadata(version, config, **more))
    return path


def write_split(folder: Path, version: str) -> Path:
    parts = parts_of(version)
    tensors = parts["transformer"][0]
    projections = {key: tensors.pop(key) for key in list(tensors) if key.startswith("text_embedding_projection.")}
    gemma = {"model.embed_tokens.weight": torch.zeros(4, 4), **projections}
    save_file(gemma, folder / "gemma_with_projections.safetensors", metadata=metadata(version, {}))
    for name, (tensors, config) in parts.items():
        bare = {key.removeprefix(f"{name}."): value for key, value in tensors.items()}
        save_file(bare, folder / f"ltx_{name}.safetensors", metadata=metadata(version, config))
    save_file({"diffusion_model.x.lora_A.weight": torch.zeros(2, 2)}, folder / "some_lora.safetensors")
    return folder / "ltx_transformer.safetensors"
