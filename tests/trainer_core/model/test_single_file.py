"""Unified checkpoints and split packs: written here under upstream's keys from the tiny models, loaded for real."""

import json

import pytest
import torch
from layouts import metadata, parts_of, write_split, write_unified
from safetensors.torch import save_file

from trainer_core.errors import ConfigError
from trainer_core.model.load import open_model
from trainer_core.model.tiny import TinySource
from trainer_core.sections.run import ModelSection

VERSIONS = ["2.0", "2.3", "2.5"]


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
