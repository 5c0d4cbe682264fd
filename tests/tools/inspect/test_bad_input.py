"""Broken and hostile files: each costs its own status, never the command, the memory or anybody's patience."""

import contextlib
import os
import random
import resource
import signal
import struct
import threading
import time
import zlib
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from tools.inspect.scan.decode_pool import DecodeJob, Limits, work_off

SAMPLE, SOAK = 160, 2400
MOST_CHILD_BYTES = 2 << 30


class ChildPeaks:
    """Peak resident memory of the children that live within the block, in bytes; those of other tests don't count."""

    def __init__(self) -> None:
        self.largest = 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> "ChildPeaks":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{child.pid}/status").read_text()
                    peaks = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
                    self.largest = max(self.largest, *peaks, 0)


STATUSES = {"ok", "flagged", "unusable", "unreadable"}
MPEG4_AND_MP3 = ("mpeg4", "libmp3lame", "s16p")
SEEDS = {
    "a.mp4": ("libx264", "aac", "fltp"),
    "b.mov": ("libx264", "pcm_s16le", "s16"),
    "c.mkv": ("libx264", "libopus", "flt"),
    "d.avi": MPEG4_AND_MP3,
    "e.webm": ("libvpx-vp9", "libopus", "flt"),
    "f.ts": ("mpeg2video", "mp2", "s16"),
    "g.gif": ("gif", None, ""),
    "h.mp3": (None, "libmp3lame", "s16p"),
    "i.flac": (None, "flac", "s16"),
    "j.wav": (None, "pcm_s16le", "s16"),
}
BOXES = (b"mvhd", b"tkhd", b"mdhd", b"stts", b"stsz", b"stco", b"stsc", b"avc1", b"elst", b"ctts", b"trun")
ABSURD = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000)


def write_seed(path: Path, picture_codec: str | None, sound_codec: str | None, form: str) -> None:
    """Write half a second of a small clip."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if picture_codec is not None:
            video = container.add_stream(picture_codec, rate=25)
            video.width, video.height = 96, 64
            video.pix_fmt = "rgb8" if picture_codec == "gif" else "yuv420p"
        if sound_codec is not None:
            audio = container.add_stream(sound_codec, rate=48000, layout="mono")
        for index in range(14 if video is not None else 0):
            drawn = np.random.default_rng(index // 3).integers(0, 255, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(video.encode(av.VideoFrame.from_ndarray(drawn, format="rgb24")))
        if video is not None:
            container.mux(video.encode(None))
        if audio is not None:
            sound = 0.3 * np.sin(np.arange(24000) / 20)
            whole = form.startswith("s16")
            samples = ((32767 * sound).astype(np.int16) if whole else sound.astype(np.float32))[None]
            frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))


def flip_bits(content: bytearray, dice: random.Random) -> bytearray:
    for _ in range(dice.choice((1, 4, 16, 64, 256))):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return content


def flip_in_the_head(content: bytearray, dice: random.Random) -> bytearray:
    for _ in range(dice.choice((1, 4, 16))):
        content[dice.randrange(min(len(content), 600))] ^= 1 << dice.randrange(8)
    return content


def truncate(content: bytearray, dice: random.Random) -> bytearray:
    return content[: dice.randrange(len(content))]


def blank(content: bytearray, dice: random.Random) -> bytearray:
    start, length = dice.randrange(len(content)), dice.choice((8, 64, 1024, 4096))
    content[start : start + length] = bytes(min(length, len(content) - start))
    return content


def swap(content: bytearray, dice: random.Random) -> bytearray:
    """Exchange two stretches, or two of the file's boxes where it has some."""
    boxes, position = [], 0
    while position + 8 <= len(content):
        size = int.from_bytes(content[position : position + 4], "big")
        if size < 8 or position + size > len(content):
            break
        boxes.append(content[position : position + size])
        position += size
    if len(boxes) > 1 and dice.random() < 0.7:
        dice.shuffle(boxes)
        return bytearray(b"".join(boxes)) + content[position:]
    cuts = sorted(dice.sample(range(len(content)), 4))
    a, b, c, d = cuts
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def insert(content: bytearray, dice: random.Random) -> bytearray:
    at = dice.randrange(len(content))
    return content[:at] + bytearray(dice.randbytes(dice.choice((1, 7, 512)))) + content[at:]


def lie(content: bytearray, dice: random.Random) -> bytearray:
    """Write absurd values into a box of the header, or anywhere in the head."""
    places = [at for box in BOXES if (at := bytes(content).find(box)) > 0]
    start = dice.choice(places) + 4 if places and dice.random() < 0.8 else dice.randrange(min(400, len(content)))
    for _ in range(dice.choice((1, 2, 6))):
        at = start + 4 * dice.randrange(8)
        content[at : at + 4] = struct.pack(dice.choice((">I", "<I")), dice.choice(ABSURD))
    return content


MUTATIONS = (flip_bits, flip_in_the_head, truncate, blank, swap, insert, lie)


def absurd_files(folder: Path, seeds: Path) -> None:
    """The headers that the issue of bad input names."""

    def patched(name: str, source: str, marker: bytes, offset: int, value: bytes) -> None:
        content = bytearray((seeds / source).read_bytes())
        at = content.index(marker) + offset
        content[at : at + len(value)] = value
        (folder / name).write_bytes(content)

    every_frame = struct.pack(">II", 0x7FFFFFFF, 1)
    patched("2^31 frames.mp4", "a.mp4", b"stts", 12, every_frame)
    patched("2^31 frames.avi", "d.avi", b"strh", 8 + 32, struct.pack("<I", 0x7FFFFFFF))
    patched("0 fps.avi", "d.avi", b"strh", 8 + 20, struct.pack("<II", 0, 0))
    patched("0 fps.mp4", "a.mp4", b"mdhd", 16, struct.pack(">I", 0))
    patched("100k x 100k.mp4", "a.mp4", b"avc1", 28, struct.pack(">HH", 65535, 65535))
    patched("0 Hz.wav", "j.wav", b"fmt ", 12, struct.pack("<I", 0))
    patched("65535 channels.wav", "j.wav", b"fmt ", 10, struct.pack("<H", 65535))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (20_000, 100_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(bytes(3 * side + 1)))
        (folder / f"{side}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    gif = bytearray((seeds / "g.gif").read_bytes())
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    (folder / "65535.gif").write_bytes(gif)


def write_mutants(folder: Path, seeds: Path, count: int, seed: int) -> int:
    """Write `count` mutants of every kind in turn, and the absurd files; return how many files there are."""
    dice = random.Random(seed)
    names = sorted(path.name for path in seeds.iterdir())
    for number in range(count):
        name = names[number % len(names)]
        mutate = MUTATIONS[number // len(names) % len(MUTATIONS)]
        content = mutate(bytearray((seeds / name).read_bytes()), dice)
        if dice.random() < 0.2:
            content = dice.choice(MUTATIONS)(content, dice) if content else content
        (folder / f"{number:05}-{mutate.__name__}{Path(name).suffix}").write_bytes(content)
    absurd_files(folder, seeds)
    return sum(1 for _ in folder.iterdir())


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import cv2

    folder = tmp_path_factory.mktemp("seeds")
    for name, codecs in SEEDS.items():
        write_seed(folder / name, *codecs)
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for name in ("k.png", "l.jpg", "m.webp", "n.tiff", "o.bmp"):
        cv2.imwrite(str(folder / name), picture)
    return folder


def inspected(inspection, folder: Path, files: int) -> Counter[str]:
    result = inspection.run(folder)
    clips = inspection.report()["clips"]
    assert len(clips) == files
    assert {clip["status"] for clip in clips} <= STATUSES
    counts = Counter(clip["status"] for clip in clips if clip["kind"] != "other")
    assert result.usable + result.unusable + result.unreadable + result.other_files == files
    for clip in clips:
        if clip["status"] == "unreadable":
            assert [flag["id"] for flag in clip["flags"]] == ["undecodable"]
            assert clip["flags"][0]["remedy"]
    return counts


def test_a_sample_of_mutants_costs_each_its_own_status(seeds, inspection, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    files = write_mutants(folder, seeds, SAMPLE, seed=20)
    with ChildPeaks() as peaks:
        counts = inspected(inspection, folder, files)
    assert counts["unreadable"] > files // 10
    assert counts["ok"] + counts["flagged"] + counts["unusable"] > files // 10
    assert 0 < peaks.largest < MOST_CHILD_BYTES
    for name in ("100000.png", "20000.png"):
        assert inspection.clip(name)["status"] == "unreadable"
    assert inspection.clip("2^31 frames.mp4")["frames"] < 20
    problems = [flag["message"] for clip in inspection.report()["clips"] for flag in clip["flags"]]
    assert not any("crashed" in message or "Error:" in message for message in problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_mutants(seeds, inspection, tmp_path):
    """2,400 mutants; prints what became of them."""
    folder = tmp_path / "clips"
    folder.mkdir()
    files = write_mutants(folder, seeds, SOAK, seed=int(os.environ.get("SEED", "1")))
    began_s = time.monotonic()
    counts = inspected(inspection, folder, files)
    took_s = time.monotonic() - began_s
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    died = [
        (clip["path"], flag["message"])
        for clip in inspection.report()["clips"]
        for flag in clip["flags"]
        if any(word in flag["message"] for word in ("crashed", "gave", "longer than", "Error:", "memory"))
    ]
    print(f"\n{files} files in {took_s:.0f} s: {dict(counts)}; largest process {peak:.0f} MiB; not by a plain error:")
    print("\n".join(f"  {path}: {message}" for path, message in died) or "  none")
    assert peak * 2**20 < MOST_CHILD_BYTES


def children() -> set[int]:
    """The process ids of this process's children."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                    found.add(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("sent", "said"), [(signal.SIGSEGV, "crashed on it (signal 11)"), (signal.SIGSTOP, "gave nothing for 4 s")]
)
def test_a_decoder_that_dies_or_hangs_costs_one_file(footage, sent, said):
    """The signal stands for what a decoder does to its process: the real thing is a defect of somebody's codec."""
    before = children()
    jobs = [DecodeJob(key, footage / "bikes.mp4") for key in range(4)]
    answers = work_off(jobs, Limits(stall_s=4.0), processes=1)
    looks = [next(answers)]
    (worker,) = children() - before
    os.kill(worker, sent)
    looks += list(answers)
    assert sorted(answer.key for answer in looks) == [0, 1, 2, 3]
    failed = [answer for answer in looks if answer.look is None or answer.look.error is not None]
    assert len(failed) == 1
    assert said in failed[0].look.error
    assert not failed[0].lasting
    assert children() <= before


def test_a_file_may_not_take_for_ever(footage):
    (answer,) = work_off(
        [DecodeJob(0, footage / "bigbuckbunny.mp4")], Limits(total_s=0.0, total_s_per_mib=0.0), processes=1
    )
    assert "took longer than 0 s" in answer.look.error


def test_leaving_early_ends_the_processes(footage):
    before = children()
    answers = work_off([DecodeJob(key, footage / "bikes.mp4") for key in range(3)], processes=2)
    next(answers)
    answers.close()
    assert children() <= before


def test_a_decoder_that_wants_more_memory_than_any_clip_gets_an_error(tmp_path, inspection, mosaic):
    """One picture just below the limit of pixels, in a file of a few kilobytes, decodes; nothing larger does."""
    import cv2

    folder = tmp_path / "clips"
    folder.mkdir()
    cv2.imwrite(str(folder / "wide.png"), np.zeros((64, 65_000, 3), np.uint8))
    cv2.imwrite(str(folder / "fine.png"), mosaic((300, 200))(0))
    with ChildPeaks() as peaks:
        inspection.run(folder)
    assert inspection.clip("fine.png")["status"] == "ok"
    assert inspection.clip("wide.png")["status"] in STATUSES
    assert 0 < peaks.largest < MOST_CHILD_BYTES
