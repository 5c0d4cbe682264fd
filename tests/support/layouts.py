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


def released_metadata(version: str, parts: tuple[str, ...]) -> dict[str, str]:
    """What a published file says about itself: its config in the publisher's order, licence, and the Gemma it needs."""
    own = json.loads(TinySource(version).reader_metadata()["config"])["transformer"]  # type: ignore[arg-type]
    config = {"transformer": dict(sorted(own.items(), reverse=True))}
    config |= {part: {"_class_name": f"Published{part}", "blocks": [["res_x", {"num_layers": 4}]]} for part in parts}
    config["scheduler"] = {"_class_name": "RectifiedFlowScheduler", "shifting": None}
    gemma = {"ltx_version": f"{version}.0", "gemma_version": "gemma-for-tests"}
    return metadata(
        f"{version}.0", config, license="The licence.\nIts text.", gemma_source_checkpoint=json.dumps(gemma)
    )


def released_dtype(key: str, tensor: torch.Tensor) -> torch.Tensor:
    """bfloat16 but for the modulation tables, as the released files are."""
    return tensor if key.endswith("scale_shift_table") else tensor.to(torch.bfloat16)


def write_released(folder: Path, version: str, name: str = "ltx-22b-dev.safetensors") -> Path:
    """A unified checkpoint with a publisher's metadata and dtypes."""
    tensors = {key: released_dtype(key, value) for part, _ in parts_of(version).values() for key, value in part.items()}
    save_file(tensors, folder / name, metadata=released_metadata(version, ("vae", "audio_vae", "vocoder")))
    return folder / name


def write_released_pack(folder: Path, version: str) -> Path:
    """A split pack with a publisher's metadata and dtypes: projections and tokenizer in the text encoder's file."""
    parts = {name: tensors for name, (tensors, _) in parts_of(version).items()}
    own = parts["transformer"]
    gemma = {key: own.pop(key).to(torch.bfloat16) for key in list(own) if key.startswith("text_embedding_projection.")}
    gemma |= {"model.embed_tokens.weight": torch.zeros(4, 4), "tokenizer_json": torch.arange(9, dtype=torch.uint8)}
    save_file(gemma, folder / "gemma-with-proj.safetensors", metadata=metadata(f"{version}.0", {}))
    for name, tensors in parts.items():
        said = metadata(f"{version}.0", {name: {}}) if name != "transformer" else released_metadata(version, ())
        cast = {key: released_dtype(key, value) for key, value in tensors.items()}
        save_file(cast, folder / f"ltx-{name}.safetensors", metadata=said)
    return folder / "ltx-transformer.safetensors"


def write_folder(folder: Path, version: str) -> Path:
    """A diffusers folder, written by the library, with its transformer in several files."""
    source = TinySource(version)  # type: ignore[arg-type]
    source.transformer(torch.bfloat16).save_pretrained(folder / "transformer", max_shard_size="300KB")
    for part, name in (
        ("connectors", "connectors"),
        ("video_vae", "vae"),
        ("audio_vae", "audio_vae"),
        ("vocoder", "vocoder"),
    ):
        getattr(source, part)(torch.bfloat16).save_pretrained(folder / name)
    tokenizer, encoder = source.text_encoder(torch.bfloat16)
    encoder.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler"}')
    classes = {
        "_class_name": "LTX2Pipeline",
        "_diffusers_version": "0.42.1",
        "transformer": ["diffusers", "LTX2VideoTransformer3DModel"],
        "connectors": ["ltx2", "LTX2TextConnectors"],
        "vae": ["diffusers", "AutoencoderKLLTX2Video"],
        "audio_vae": ["diffusers", "AutoencoderKLLTX2Audio"],
        "vocoder": ["ltx2", "LTX2Vocoder" if version == "2.0" else "LTX2VocoderWithBWE"],
        "text_encoder": ["transformers", type(encoder).__name__],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(classes))
    (folder / "LICENSE.md").write_text("The licence.")
    with (folder / "another-form.safetensors").open("wb") as file:
        file.truncate(5 << 20)  # the publisher's single file beside it: no part of the pipeline
    return folder
