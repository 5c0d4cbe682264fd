"""Inspecting a clip, whole, against a bare PyAV decode of the same files with as many workers."""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest

from tools.inspect.found import FoundFile
from tools.inspect.look import look_at

pytestmark = pytest.mark.bench

REPEATS = 11
COPIES = 2
"""Each file this many times, so that the workers stay busy to the end."""


def decode_bare(path: Path) -> int:
    """Decode all pictures and sound and drop them; threads as we set them, which is PyAV at its fastest."""
    with av.open(str(path)) as container:
        streams = [container.streams.video[0], *container.streams.audio[:1]]
        streams[0].thread_type = "AUTO"
        return sum(len(packet.decode()) for packet in container.demux(*streams))


def inspect(path: Path) -> int:
    look = look_at(FoundFile(str(path.parent), path.name))
    assert look.probe is not None
    return look.probe.frames


def timed(work: Callable[[Path], int], paths: list[Path], pool: ThreadPoolExecutor) -> float:
    started = time.perf_counter()
    counts = list(pool.map(work, paths))
    elapsed_s = time.perf_counter() - started
    assert all(counts)
    return elapsed_s


def test_inspection_against_a_bare_decode(footage, record_ratio):
    paths = sorted(footage.iterdir()) * COPIES
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        timed(decode_bare, paths, pool)
        timed(inspect, paths, pool)
        pairs = [(timed(inspect, paths, pool), timed(decode_bare, paths, pool)) for _ in range(REPEATS)]
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    bare_ms = 1000 * statistics.median(bare for _, bare in pairs)
    note = f"{len(paths)} real clips with hash and measures, {os.cpu_count()} workers; bare {bare_ms:.0f} ms"
    print(f"inspection / bare decode: {ratio:.3f}")
    record_ratio("inspection of clips", ratio, 1.3, f"{note}; median of {REPEATS} pairs")
    assert ratio > 0
