"""Unified checkpoints and split packs: written here under upstream's keys from the tiny models, loaded for real."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainer_core.config import ModelSection
from trainer_core.errors import ConfigError
from trainer_core.model.load import open_model
from trainer_core.model.tiny import TinySource

VERSIONS = ["2.0", "2.3", "2.5"]
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


@pytest.fixture(params=VERSIONS)
def version(request) -> str:
    return request.param


@pytest.mark.parametrize("layout", [write_unified, write_split], ids=["unified", "split"])
@pytest.mark.parametrize("part", ["transformer", "connectors", "video_vae", "audio_vae", "vocoder"])
def test_every_part_comes_back_weight_for_weight(tmp_path, version, layout, part):
    source = open_model(ModelSection(model_path=str(layout(tmp_path, version))))
    assert source.version == version
    loaded = getattr(source, part)(torch.float32)
    expected = getattr(TinySource(version), part)(torch.float32)
    want, have = expected.state_dict(), loaded.state_dict()
    assert set(want) == set(have)
    for key, tensor in want.items():
        assert torch.equal(tensor, have[key]), key
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("layout", [write_unified, write_split], ids=["unified", "split"])
def test_the_headers_say_how_wide_the_inputs_are(tmp_path, version, layout):
    assert open_model(ModelSection(model_path=str(layout(tmp_path, version)))).widths == TinySource(version).widths


def test_a_gemma_of_another_size_is_refused(tmp_path):
    tokenizer, encoder = TinySource("2.3").text_encoder(torch.float32)
    encoder.save_pretrained(tmp_path / "gemma")
    tokenizer.save_pretrained(tmp_path / "gemma")
    config = json.loads((tmp_path / "gemma" / "config.json").read_text())
    config["text_config"]["hidden_size"] = 2560
    (tmp_path / "gemma" / "config.json").write_text(json.dumps(config))
    path = write_unified(tmp_path, "2.3")
    section = ModelSection(model_path=str(path), text_encoder_path=str(tmp_path / "gemma"))
    with pytest.raises(
        ConfigError, match=r"text encoder 2560 wide with 3 layers; this LTX-2\.3 was trained with one 32"
    ):
        open_model(section).text_encoder(torch.float32)


def test_the_loaded_model_computes_the_same(tmp_path, version):
    source = open_model(ModelSection(model_path=str(write_unified(tmp_path, version))))
    pixels = torch.rand(1, 3, 9, 64, 64) * 2 - 1
    encoded = [one.video_vae(torch.float32).encode(pixels).latent_dist.mode() for one in (source, TinySource(version))]
    assert torch.equal(*encoded)
    decoded = [one.video_vae(torch.float32).decode(encoded[0]).sample for one in (source, TinySource(version))]
    assert torch.equal(*decoded)
    settings = [dict(one.transformer(torch.float32).config) for one in (source, TinySource(version))]
    for key, value in settings[1].items():
        if not key.startswith("_") and key != "caption_channels":
            assert settings[0][key] == value, key


def test_weights_load_in_the_asked_precision(tmp_path):
    source = open_model(ModelSection(model_path=str(write_unified(tmp_path, "2.3"))))
    assert {parameter.dtype for parameter in source.transformer(torch.bfloat16).parameters()} == {torch.bfloat16}


def test_a_part_named_in_the_config_is_used(tmp_path):
    unified = write_unified(tmp_path, "2.3")
    other = tmp_path / "other"
    other.mkdir()
    changed = TinySource("2.3").video_vae(torch.float32)
    changed.latents_mean.fill_(7.0)
    tensors, config = parts_of("2.3")["vae"]
    tensors["vae.per_channel_statistics.mean-of-means"] = changed.latents_mean
    save_file(tensors, other / "vae.safetensors", metadata=metadata("2.3", config))
    section = ModelSection(model_path=str(unified), video_vae_path=str(other / "vae.safetensors"))
    assert float(open_model(section).video_vae(torch.float32).latents_mean[0]) == 7.0


def test_a_distilled_base_is_refused(tmp_path):
    for path in (
        write_unified(tmp_path, "2.3", "ltx-2.3-22b-distilled.safetensors"),
        write_unified(tmp_path, "2.3", "plain.safetensors", model_name="LTX-2.3 distilled"),
    ):
        with pytest.raises(ConfigError, match="distilled model: an adapter trained on it comes out dead"):
            open_model(ModelSection(model_path=str(path)))


def test_an_fp8_file_is_refused(tmp_path):
    path = tmp_path / "fp8.safetensors"
    weights = {"model.diffusion_model.patchify_proj.weight": torch.zeros(4, 4).to(torch.float8_e4m3fn)}
    save_file(weights, path, metadata=metadata("2.3", {"transformer": {}}))
    with pytest.raises(ConfigError, match="F8_E4M3"):
        open_model(ModelSection(model_path=str(path)))


def test_a_truncated_file_is_refused(tmp_path):
    path = write_unified(tmp_path, "2.0")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        open_model(ModelSection(model_path=str(path)))


def test_a_pickle_is_refused_without_being_read(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": 1}, path)
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        open_model(ModelSection(model_path=str(path)))


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "sdxl.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2, 2)}, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"model_version nothing; known are 2\.0, 2\.3 and 2\.5"):
        open_model(ModelSection(model_path=str(path)))


def test_a_file_that_lacks_weights_says_which(tmp_path):
    tensors, config = parts_of("2.3")["transformer"]
    del tensors["model.diffusion_model.transformer_blocks.1.ff.net.2.weight"]
    path = tmp_path / "short.safetensors"
    save_file(tensors, path, metadata=metadata("2.3", config))
    with pytest.raises(
        ConfigError, match=r"1 weights missing, 0 unknown: transformer_blocks.1.ff.net.2.weight is missing"
    ):
        open_model(ModelSection(model_path=str(path))).transformer(torch.float32)


def test_a_pack_without_its_text_projections_says_so(tmp_path):
    main = write_split(tmp_path, "2.5")
    (tmp_path / "gemma_with_projections.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"holds no whole connectors of LTX-2\.5"):
        open_model(ModelSection(model_path=str(main))).connectors(torch.float32)


def test_parts_of_two_versions_are_refused(tmp_path):
    main = write_split(tmp_path, "2.5")
    tensors, config = parts_of("2.0")["audio_vae"]
    save_file(tensors, tmp_path / "ltx_audio_vae.safetensors", metadata=metadata("2.0", config))
    with pytest.raises(ConfigError, match=r"is the audio vae of LTX-2.0, .* is LTX-2.5"):
        open_model(ModelSection(model_path=str(main)))


def test_a_unified_file_without_its_gemma_folder_says_so(tmp_path):
    source = open_model(ModelSection(model_path=str(write_unified(tmp_path, "2.3"))))
    with pytest.raises(ConfigError, match="holds no text encoder"):
        source.text_encoder(torch.float32)


@pytest.mark.parametrize(("version", "other"), [("2.3", "2.5"), ("2.5", "2.3")])
def test_the_gemma_of_another_version_is_refused(tmp_path, version, other):
    tokenizer, encoder = TinySource(other).text_encoder(torch.float32)  # type: ignore[arg-type]
    encoder.save_pretrained(tmp_path / "gemma")
    tokenizer.save_pretrained(tmp_path / "gemma")
    section = ModelSection(model_path=str(write_unified(tmp_path, version)), text_encoder_path=str(tmp_path / "gemma"))
    with pytest.raises(ConfigError, match=rf"text encoder; LTX-{version} needs gemma"):
        open_model(section).text_encoder(torch.float32)


def test_a_gemma_folder_serves_a_unified_file(tmp_path, version):
    tokenizer, encoder = TinySource(version).text_encoder(torch.float32)  # type: ignore[arg-type]
    encoder.save_pretrained(tmp_path / "gemma")
    tokenizer.save_pretrained(tmp_path / "gemma")
    section = ModelSection(model_path=str(write_unified(tmp_path, version)), text_encoder_path=str(tmp_path / "gemma"))
    again_tokenizer, again = open_model(section).text_encoder(torch.float32)
    assert again_tokenizer("Hi").input_ids == tokenizer("Hi").input_ids
    assert torch.equal(again.model.language_model.embed_tokens.weight, encoder.model.language_model.embed_tokens.weight)


def test_the_fingerprint_follows_the_weights(tmp_path):
    first = open_model(ModelSection(model_path=str(write_unified(tmp_path, "2.3"))))
    before = first.fingerprint("video_vae")
    tensors, config = parts_of("2.3")["transformer"]
    assert before == first.fingerprint("video_vae")
    tensors["model.diffusion_model.proj_out.bias"] += 1
    save_file(tensors, tmp_path / "ltx-dev.safetensors", metadata=metadata("2.3", config))
    assert before != first.fingerprint("video_vae")
