"""Inspection, whole, against a bare PyAV decode in as many processes; a rerun; memory against the clip's length."""

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from measuring import in_a_child, in_turn, processor_s, timed

from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project, ProjectFacts

pytestmark = pytest.mark.bench

COPIES, HD_COPIES, REPEATS = 10, 6, 3
MANY_FILES = 5000
LONGER = 12
DECODE_BARE = """
import sys, av
print("ready", flush=True)
for line in sys.stdin:
    with av.open(line[:-1]) as container:
        streams = [container.streams.video[0], *container.streams.audio[:1]]
        streams[0].thread_type = "AUTO"
        print(sum(len(packet.decode()) for packet in container.demux(*streams)), flush=True)
"""
LOOK = """
import sys
from pathlib import Path
from measuring import kibibytes
from tools.inspect.scan.scan_file import look_at
seen = look_at(Path(sys.argv[1]))
print(seen.probe.frames, kibibytes("VmHWM"))
"""

INSPECT_ONE = """
import sys, time
from pathlib import Path
from measuring import kibibytes
from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project, ProjectFacts
project = Project(Path(sys.argv[2]))
project.write_facts(ProjectFacts(sources=[sys.argv[1]]))
started = time.perf_counter()
inspect_clips(project, InspectArguments())
print(time.perf_counter() - started, kibibytes("VmHWM"))
"""


def decode_bare(paths: list[Path]) -> None:
    """Decode all pictures and sound and drop them: PyAV at its fastest, a process a processor, started here too."""
    processes = [
        subprocess.Popen([sys.executable, "-c", DECODE_BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    waiting = list(paths)

    def serve(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        while waiting:
            process.stdin.write(f"{waiting.pop(0)}\n")
            process.stdin.flush()
            assert int(process.stdout.readline()) > 0
        process.stdin.close()
        process.wait()

    from threading import Thread

    threads = [Thread(target=serve, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def enlarged(source: Path, sound: Path, target: Path, width: int, height: int) -> Path:
    """The pictures at the size of HD footage, with the sound of `sound` in stereo for as long as they last."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48000)
    with av.open(str(source)) as pictures, av.open(str(sound)) as heard, av.open(str(target), "w") as made:
        rate = pictures.streams.video[0].average_rate
        video = made.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = made.add_stream("aac", rate=48000, layout="stereo")
        shown = 0
        for frame in pictures.decode(video=0):
            large = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
            large.time_base, large.pts, large.pict_type = 1 / rate, shown, av.video.frame.PictureType.NONE
            made.mux(video.encode(large))
            shown += 1
        made.mux(video.encode(None))
        pieces = [piece for frame in heard.decode(audio=0) for piece in resampler.resample(frame)]
        played = 0
        for piece in itertools.cycle(pieces):
            if played >= shown / rate * 48000:
                break
            piece.time_base, piece.pts = Fraction(1, 48000), played
            played += piece.samples
            made.mux(audio.encode(piece))
        made.mux(audio.encode(None))
    return target


@pytest.fixture(scope="module")
def hd(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real clips of five and ten seconds at 1080p with stereo sound, HD_COPIES times."""
    folder = tmp_path_factory.mktemp("hd")
    bunny = footage / "bigbuckbunny.mp4"
    made = [
        enlarged(bunny, bunny, folder / "bunny_0.mp4", 1920, 1080),
        enlarged(footage / "bikes.mp4", bunny, folder / "bikes_0.mp4", 1920, 816),
    ]
    for source in made:
        for number in range(1, HD_COPIES):
            shutil.copy(source, folder / source.name.replace("0", str(number)))
    return folder


@pytest.fixture(scope="module")
def many(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three real clips as they are, COPIES times."""
    folder = tmp_path_factory.mktemp("many")
    for source in footage.iterdir():
        for number in range(COPIES):
            shutil.copy(source, folder / f"{source.stem}_{number}.mp4")
    return folder


def inspect(folder: Path, project: Path) -> None:
    opened = Project(project)
    opened.write_facts(ProjectFacts(sources=[str(folder)]))
    assert inspect_clips(opened, InspectArguments()).usable == len(list(folder.iterdir()))


@pytest.mark.parametrize(
    ("clips", "what"),
    [("hd", "1080p clips of 5 and 10 s with stereo sound"), ("many", "short clips of 720p, 272p and 144p")],
)
def test_inspection_against_a_bare_decode(clips, what, request, tmp_path, record_ratio):
    folder = request.getfixturevalue(clips)
    paths = sorted(folder.iterdir())
    inspect(folder, tmp_path / "warm")
    turns = iter(range(2 * REPEATS + 1))

    def ours() -> None:
        inspect(folder, tmp_path / str(next(turns)))

    def bare() -> None:
        decode_bare(paths)

    ratio, ours_s = in_turn(ours, bare, REPEATS)
    work = statistics.median(processor_s(ours) / processor_s(bare) for _ in range(REPEATS))
    print(f"inspection / bare decode, {what}: {ratio:.3f} by the clock, {work:.3f} of processor time")
    note = f"{len(paths)} {what}, all checks, report and page; {os.cpu_count()} processes each; {ours_s:.1f} s"
    record_ratio(f"inspection against a bare decode: {what}", ratio, 1.3, note)
    record_ratio(f"the same in processor time: {what}", work, 1.3, "processes started and waited for included")


def test_an_unchanged_rerun_against_the_first_run(hd, tmp_path, record_ratio):
    time.sleep(2.1)  # the store doesn't believe the times of files changed just now
    first_s = timed(lambda: inspect(hd, tmp_path))
    again_s = statistics.median(timed(lambda: inspect(hd, tmp_path)) for _ in range(REPEATS))
    print(f"rerun / first run: {again_s / first_s:.3f}")
    note = f"{2 * HD_COPIES} clips of 1080p; first run {first_s:.1f} s"
    record_ratio("inspection again, nothing changed, against the first time", again_s / first_s, 0.05, note)


def test_an_unchanged_rerun_over_many_small_files(tmp_path, record_ratio):
    """Time and the parent's memory, which must not hold what was seen of all files at once."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(MANY_FILES):
        colour = np.full((48, 64, 3), (number % 251, number // 251 % 251, 90), np.uint8)
        colour[number % 48, :, 0] = 255 - colour[0, 0, 0]
        cv2.imwrite(str(folder / f"{number:06}.png"), colour)
    time.sleep(2.1)
    (first_s, first_kib), (again_s, again_kib) = (
        map(float, in_a_child("-c", INSPECT_ONE, str(folder), str(tmp_path / "project"))) for _ in range(2)
    )
    print(
        f"{MANY_FILES} files: {first_s:.0f} s and {first_kib / 1024:.0f} MiB, again {again_s:.1f} s and "
        f"{again_kib / 1024:.0f} MiB: {again_s / first_s:.3f}"
    )
    note = f"{MANY_FILES} pictures of 64x48; first run {first_s:.0f} s, the parent's peak {first_kib / 1024:.0f} MiB"
    record_ratio("inspection of many small files again, nothing changed", again_s / first_s, 0.05, note)


def lengthened(source: Path, target: Path, times: int) -> Path:
    """The same packets `times` times over."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as made:
        picture = opened.streams.video[0]
        copied = made.add_stream_from_template(picture)
        packets = [packet for packet in opened.demux(picture) if packet.dts is not None]
        length = max(packet.pts for packet in packets) + packets[0].duration
        contents = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in packets]
        for turn in range(times):
            for content, pts, dts, is_keyframe in contents:
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.time_base = pts + turn * length, dts + turn * length, picture.time_base
                packet.is_keyframe = is_keyframe
                packet.stream = copied
                made.mux(packet)
    return target


def test_memory_against_the_length_of_the_clip(footage, tmp_path, record_ratio):
    def peak_kib(path: Path) -> tuple[int, int]:
        frames, kib = map(int, in_a_child("-c", LOOK, str(path)))
        return frames, kib

    frames, short_kib = peak_kib(footage / "bikes.mp4")
    long_frames, long_kib = peak_kib(lengthened(footage / "bikes.mp4", tmp_path / "long.mp4", LONGER))
    assert long_frames == LONGER * frames
    print(f"memory, {LONGER} times as long / once: {long_kib / short_kib:.3f}")
    note = (
        f"resident memory of a process that looks at {long_frames} pictures against {frames}: {short_kib // 1024} MiB"
    )
    record_ratio(f"peak memory of inspecting a clip {LONGER} times as long", long_kib / short_kib, 1.05, note)
    assert long_kib > 0
