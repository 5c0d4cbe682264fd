"""Reading cached files: straight to the bytes of each storage, and only while the file is the same."""

import os
from pathlib import Path

import pytest
import torch

from trainer_core.data.encoding.cache import read_header, read_tensors
from trainer_core.errors import DataError


@pytest.fixture
def content() -> dict[str, object]:
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    return {
        "latents": base.bfloat16(),
        "turned": base.permute(2, 0, 1),
        "part": base[1:, 1:3],
        "mask": base > 7,
        "nothing": torch.empty(0, 4),
        "scalar": torch.tensor(7),
        "fps": 24.0,
        "num_frames": 3,
    }


def saved(folder: Path, content: object) -> Path:
    path = folder / "sample.pt"
    torch.save(content, path)
    return path


def test_every_tensor_comes_back_as_torch_loads_it(tmp_path, content):
    path = saved(tmp_path, content)
    for _ in range(2):  # parsed, then by the remembered layout
        read, expected = read_tensors(path), torch.load(path, weights_only=True)
        assert read.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert read[key].dtype == value.dtype
                assert read[key].stride() == value.stride()
                assert torch.equal(read[key], value)
            else:
                assert read[key] == value


def test_what_is_read_belongs_to_the_reader(tmp_path, content):
    path = saved(tmp_path, content)
    read_tensors(path)["latents"].zero_()
    assert torch.equal(read_tensors(path)["latents"], content["latents"])


def test_a_header_has_the_shapes_without_the_data(tmp_path, content):
    header = read_header(saved(tmp_path, content))
    assert header["latents"].shape == (3, 4, 5)
    assert header["latents"].is_meta
    assert header["fps"] == 24.0


def test_a_rewritten_file_is_read_anew(tmp_path):
    path = saved(tmp_path, {"x": torch.zeros(4)})
    assert torch.equal(read_tensors(path)["x"], torch.zeros(4))
    torch.save({"first": torch.ones(3), "x": torch.ones(4)}, path)
    os.utime(path, ns=(1, 1))
    assert torch.equal(read_tensors(path)["x"], torch.ones(4))


@pytest.mark.parametrize("broken", [b"", b"not a zip", None], ids=["empty", "foreign", "missing"])
def test_a_damaged_file_is_named(tmp_path, broken):
    path = tmp_path / "sample.pt"
    if broken is not None:
        path.write_bytes(broken)
    with pytest.raises(DataError, match=r"sample\.pt can't be read as precomputed tensors"):
        read_tensors(path)


def test_a_file_cut_short_after_it_was_seen_is_named(tmp_path):
    path = saved(tmp_path, {"x": torch.zeros(10_000)})
    read_tensors(path)
    state = path.stat()
    with path.open("r+b") as file:
        file.truncate(1000)
        file.seek(state.st_size - 1)
        file.truncate(20_000)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(DataError, match="can't be read"):
        read_tensors(path)


@pytest.mark.parametrize("odd", [[torch.zeros(2)], {"x": [torch.zeros(2)]}], ids=["a list", "nested"])
def test_only_plain_dicts_are_taken(tmp_path, odd):
    with pytest.raises(DataError, match="no plain dict"):
        read_tensors(saved(tmp_path, odd))
