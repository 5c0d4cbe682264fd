"""Encoding a dataset against decoding the same pictures and the VAE's own forward; and its memory by clip length."""

import hashlib
import shutil
import statistics
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml
from measuring import in_a_child

from trainer_core.config import TrainingConfig, dump_config, parse_config
from trainer_core.data.buckets import Bucket
from trainer_core.data.encoding.encode import encode_dataset
from trainer_core.data.encoding.latents import normalise_video
from trainer_core.data.media.pictures import read_frames
from trainer_core.files import write_jsonl
from trainer_core.model.tiny import tiny_source
from trainer_core.objective import load_recipe, merged

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

REPEATS = 3
SIZE = Bucket(160, 96, 25)
RATE = 25.0


def config_of(folder: Path, rows: list[dict]) -> TrainingConfig:
    write_jsonl(folder / "dataset.jsonl", rows)
    overlay = {
        "model": {"model_path": "tiny"},
        "data": {"preprocessed_data_root": str(folder / ".precomputed")},
        "training_strategy": {"audio": None},
        "ltx_agent": {"dataset": str(folder / "dataset.jsonl"), "frame_rate": RATE},
    }
    return parse_config(yaml.safe_dump(merged(load_recipe("video_outpainting"), overlay)))


def row_of(clip: Path, bucket: Bucket, windows: int) -> dict:
    length_s = bucket.frames / RATE
    samples = [{"start_s": n * length_s, "duration_s": length_s, "bucket": str(bucket)} for n in range(windows)]
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    return {"video": str(clip), "caption": "A clip.", "sha256": digest, "has_audio": False, "samples": samples}


def bare(rows: list[dict]) -> None:
    """Decode each sample and put it through the VAE, one after the other: what has to be done at least."""
    vae = tiny_source("tiny").video_vae(torch.float32)
    for row in rows:
        for sample in row["samples"]:
            size = Bucket(*map(int, sample["bucket"].split("x")))
            pixels = read_frames(Path(row["video"]), sample["start_s"], size.frames, RATE, size.width, size.height)
            scaled = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
            with torch.no_grad():
                normalise_video(vae.encode(scaled).latent_dist.mode(), vae).to(torch.bfloat16)


def test_encoding_against_decode_and_forward(footage, tmp_path, record_ratio):
    rows = [row_of(footage / "bigbuckbunny.mp4", SIZE, 2), row_of(footage / "bikes.mp4", SIZE, 5)]
    ratios, bares = [], []
    config = config_of(tmp_path, rows)
    encode_dataset(config)  # warms up, and makes the text features, which are neither decoding nor the VAE's work
    for _ in range(REPEATS):
        shutil.rmtree(Path(config.data.preprocessed_data_root) / "latents")
        started = time.perf_counter()
        bare(rows)
        middle = time.perf_counter()
        summary = encode_dataset(config)
        ended = time.perf_counter()
        assert summary.encoded == 7
        bares.append(middle - started)
        ratios.append((ended - middle) / (middle - started))
    ratio = statistics.median(ratios)
    print(f"encode / (decode + VAE forward): {ratio:.3f}")
    note = f"7 samples of {SIZE}, reading, keying and writing included; bare {statistics.median(bares):.2f} s"
    record_ratio("encoding", ratio, 1.1, f"{note}; median of {REPEATS} pairs")


def write_long(path: Path, seconds: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
        for index in range(25 * seconds):
            picture = av.VideoFrame.from_ndarray(np.roll(noise, index, axis=1), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def peak_bytes(folder: Path, clip: Path, bucket: Bucket, windows: int) -> int:
    """The peak memory of a process that does this encode and nothing else."""
    config = config_of(folder, [row_of(clip, bucket, windows)])
    path = folder / "config.yaml"
    path.write_text(dump_config(config))
    code = (
        "import sys; from pathlib import Path; from measuring import kibibytes; "
        "from trainer_core.config import load_config; from trainer_core.data.encoding.encode import encode_dataset; "
        "encode_dataset(load_config(Path(sys.argv[1]))); print(kibibytes('VmHWM'))"
    )
    return int(in_a_child("-c", code, str(path))[-1]) * 1024


def test_memory_by_clip_length(tmp_path, record_ratio):
    short, long = write_long(tmp_path / "short.mp4", 5), write_long(tmp_path / "long.mp4", 40)
    window = Bucket(96, 64, 121)
    base = peak_bytes(tmp_path / "a", short, window, 1)
    many = peak_bytes(tmp_path / "b", long, window, 8)
    one = peak_bytes(tmp_path / "c", long, Bucket(96, 64, 961), 1)
    print(f"peak: 5 s {base >> 20} MiB, 40 s in 8 windows {many >> 20} MiB, 40 s in one {one >> 20} MiB")
    record_ratio("encoding's memory, 40 s in windows against 5 s", many / base, 1.1, f"{base >> 20} MiB for 5 s")
    record_ratio(
        "encoding's memory, 40 s in one sample against 5 s", one / base, 1.1, f"tiled; {base >> 20} MiB for 5 s"
    )
