"""safetensors files of ours: the same bytes for the same content, any dtype copied, broken headers refused."""

import json
import struct
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from trainer_core.errors import ConfigError, ExternalError
from trainer_core.weights_file import file_bytes, read_stored, stored_from, stored_tensor, write_stored, write_tensors


def _mixed() -> dict[str, torch.Tensor]:
    return {
        "b.weight": torch.arange(5, dtype=torch.bfloat16),
        "a.table": torch.randn(3, 2, generator=torch.Generator().manual_seed(0)),
        "c.half": torch.tensor([1.5], dtype=torch.float16),
        "d.bytes": torch.arange(7, dtype=torch.uint8),
        "e.scalar": torch.tensor(2.0),
        "f.none": torch.empty(0, 4),
        "g.flag": torch.tensor([True, False]),
        "h.eight": torch.arange(4, dtype=torch.float32).to(torch.float8_e4m3fn),
    }


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", _mixed()
    write_tensors(path, tensors, {"zebra": "1", "apple": "ö\n2"})
    read = load_file(path)
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert _bytes(read[name]) == _bytes(tensor), name
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"zebra": "1", "apple": "ö\n2"}
    assert path.stat().st_size == file_bytes(read_stored(path)[1], {"zebra": "1", "apple": "ö\n2"})


def test_we_read_what_the_library_writes_and_copy_it_byte_for_byte(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    tensors = _mixed()
    save_file(tensors, theirs, metadata={"one": "1"})
    metadata, stored = read_stored(theirs)
    assert metadata == {"one": "1"}
    write_stored(ours, stored, metadata)
    again = {one.name: one.tensor() for one in read_stored(ours)[1]}
    assert {name: _bytes(tensor) for name, tensor in again.items()} == {n: _bytes(t) for n, t in tensors.items()}
    save_file({"b": torch.ones(3), "a": torch.zeros(2)}, theirs, metadata={"one": "1"})
    write_stored(ours, read_stored(theirs)[1], metadata)
    assert ours.read_bytes() == theirs.read_bytes(), "of one dtype and one entry there is one order"


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path: Path) -> None:
    tensors, metadata = _mixed(), {f"key {index}": str(index) for index in range(40)}
    write_tensors(tmp_path / "one.safetensors", tensors, metadata)
    back = dict(reversed(list(tensors.items())))
    write_tensors(tmp_path / "other.safetensors", back, dict(reversed(list(metadata.items()))))
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()
    header = json.loads((tmp_path / "one.safetensors").read_bytes()[8:].split(b'"b.weight"')[0] + b'"x":0}')
    assert list(header["__metadata__"]) == sorted(metadata)


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[int] = []
    most = 0

    def make(index: int) -> Callable[[], torch.Tensor]:
        def build() -> torch.Tensor:
            nonlocal most
            tensor = torch.full((64,), float(index))
            alive.append(index)
            most = max(most, len(alive))
            weakref.finalize(tensor, alive.remove, index)
            return tensor

        return build

    stored = [stored_from(f"w{index:02d}", (64,), torch.bfloat16, make(index)) for index in range(20)]
    assert not alive
    write_stored(tmp_path / "x.safetensors", stored, {})
    assert most <= 2
    assert float(load_file(tmp_path / "x.safetensors")["w07"][3]) == 7.0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4,
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": 1} ',
        struct.pack("<Q", 64) + json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode(),
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,12]}}       ' + b"\0" * 12,
        struct.pack("<Q", 62) + b'{"a":{"dtype":"XXX","shape":[4],"data_offsets":[0,16]}}       ' + b"\0" * 16,
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}}      ' + b"\0" * 16,
    ],
)
def test_a_broken_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        read_stored(path)


def test_a_full_disk_is_known_before_a_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000}))
    asked: list[str] = []

    def make() -> torch.Tensor:
        asked.append("made")
        return torch.zeros(1000)

    with pytest.raises(ExternalError, match="disk is full"):
        write_stored(tmp_path / "x.safetensors", [stored_from("w", (1000,), torch.float32, make)], {})
    assert not asked
    assert list(tmp_path.iterdir()) == []


def test_half_of_a_file_never_has_its_name(tmp_path: Path) -> None:
    def broken() -> torch.Tensor:
        raise RuntimeError("the device is gone")

    stored = [stored_tensor("a", torch.zeros(8)), stored_from("b", (8,), torch.float32, broken)]
    with pytest.raises(RuntimeError, match="gone"):
        write_stored(tmp_path / "x.safetensors", stored, {})
    assert list(tmp_path.iterdir()) == []
