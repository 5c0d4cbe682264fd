"""The clips that the demo is made of."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from trainer_core.data.media.probe import probe
from trainer_core.data.media.sounds import read_audio


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = Path(__file__).parents[3] / "examples" / "make_clips.py"
    specification = importlib.util.spec_from_file_location("make_clips", script)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("made")
    paths = module.make_clips(folder / "once", 4)
    assert [path.name for path in paths] == [f"clip_0{number}.mp4" for number in range(1, 5)]
    module.make_clips(folder / "again", 4)
    return folder


def test_made_clips_train_without_a_word_of_complaint(made, inspection):
    result = inspection.run(made / "once")
    assert (result.usable, result.clips_with_sound, result.problems) == (4, 4, [])
    assert (result.buckets, result.other_files) == ("96x64x17", 1)
    assert result.samples >= 10
    for clip in (made / "once").glob("*.mp4"):
        found = probe(clip)
        assert (found.width, found.height, found.fps) == (192, 128, 24)
        assert 2 <= found.duration_s <= 3
        assert found.audio.end_s == pytest.approx(found.duration_s, abs=0.05)


def test_made_clips_are_the_same_every_time_and_differ_among_themselves(made, inspection):
    inspection.run(made / "once")
    once = [clip["sha256"] for clip in inspection.report()["clips"] if clip["sha256"]]
    inspection.run(made / "again")
    assert once == [clip["sha256"] for clip in inspection.report()["clips"] if clip["sha256"]]
    assert len(set(once)) == 4


def test_bounces_are_heard_when_they_are_seen(made):
    """The noise bursts of the first clip fall on its bounces, every 14 pictures."""
    sound = read_audio(made / "once" / "clip_01.mp4", 0.0, 2.2, 48000).mean(axis=0)
    roughness = np.abs(np.diff(sound, 2))[: 219 * 480].reshape(219, 480).mean(axis=1)
    rough = roughness > 5 * np.median(roughness)
    heard_s = [index * 0.01 for index in range(1, 219) if rough[index] and not rough[index - 1]]
    assert heard_s == [pytest.approx(14 * bounce / 24, abs=0.02) for bounce in range(1, 4)]
