"""Inspection, whole, against a bare PyAV decode in as many processes; a rerun; memory against the clip's length."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from measuring import timed

from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project, ProjectFacts

pytestmark = pytest.mark.bench

COPIES, REPEATS = 10, 5
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
import json, resource, sys
from pathlib import Path
import av, cv2
from tools.inspect.look import look_at
seen = look_at(Path(sys.argv[1]))
print(json.dumps([seen.probe.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
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


@pytest.fixture(scope="module")
def many(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three real clips, COPIES times."""
    folder = tmp_path_factory.mktemp("many")
    for source in footage.iterdir():
        for number in range(COPIES):
            shutil.copy(source, folder / f"{source.stem}_{number}.mp4")
    return folder


def inspect(folder: Path, project: Path) -> None:
    opened = Project(project)
    opened.write_facts(ProjectFacts(sources=[str(folder)]))
    assert inspect_clips(opened, InspectArguments()).usable == 3 * COPIES


def test_inspection_against_a_bare_decode(many, tmp_path, record_ratio):
    paths = sorted(many.iterdir())
    pairs = [
        (timed(lambda at=tmp_path / str(turn): inspect(many, at)), timed(lambda: decode_bare(paths)))
        for turn in range(REPEATS)
    ]
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    bare_s = statistics.median(bare for _, bare in pairs)
    note = f"{len(paths)} real clips, all checks, report and page; {os.cpu_count()} processes each; bare {bare_s:.1f} s"
    print(f"inspection / bare decode: {ratio:.3f}")
    record_ratio("inspection of clips against a bare decode", ratio, 1.3, f"{note}; median of {REPEATS} pairs")
    assert ratio > 0


def test_an_unchanged_rerun_against_the_first_run(many, tmp_path, record_ratio):
    time.sleep(2.1)  # the store doesn't believe the times of files changed just now
    first_s = timed(lambda: inspect(many, tmp_path))
    again_s = statistics.median(timed(lambda: inspect(many, tmp_path)) for _ in range(REPEATS))
    print(f"rerun / first run: {again_s / first_s:.3f}")
    note = f"{3 * COPIES} real clips, report and page written anew; first run {first_s:.1f} s"
    record_ratio("inspection again, nothing changed, against the first time", again_s / first_s, 0.05, note)
    assert again_s > 0


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
        said = subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=True)
        frames, kib = json.loads(said.stdout)
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
