"""`encode --check`: what was encoded, decoded back beside its source, labelled for what it is."""

from pathlib import Path

import cv2
import pytest

from trainer_core.data.encoding.encode import encode_dataset
from trainer_core.data.encoding.look_back import look_back
from trainer_core.data.media.probe import probe
from trainer_core.errors import DataError


def test_samples_are_decoded_into_one_picture_and_a_sound_each(encode_config, tmp_path):
    with pytest.raises(DataError, match="is not encoded"):
        look_back(encode_config, tmp_path / "back")
    encode_dataset(encode_config)
    found = look_back(encode_config, tmp_path / "back")
    assert len(found.samples) == 3
    assert len({name.rsplit("/", 1)[1].split(".mp4")[0] for name in found.samples}) == 2  # of both clips
    sheet = cv2.imread(found.picture or "")
    assert sheet is not None
    assert sheet.std() > 20
    assert [Path(sound).name for sound in found.sounds][:2] == ["look-back-1-decoded.wav", "look-back-1-source.wav"]
    for sound in found.sounds:
        assert probe(Path(sound)).duration_s == pytest.approx(9 / 24, abs=0.1)
    assert "tiny random" in found.label
    assert found.note is not None
    assert "noise" in found.note
