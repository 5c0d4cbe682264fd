"""The gain that a dataset's row gives its sound: applied when it is read, part of what a cached file is made from."""

import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from trainer_core.data.encoding.jobs import _gain_facts, _sound
from trainer_core.data.windows import windows_of


def test_sound_is_read_at_its_gain_and_never_clips_over(tmp_path: Path) -> None:
    tone = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes((tone * 32767).astype("<i2").tobytes())
    row = {"audio": "a.wav", "caption": "a tone", "samples": [{"start_s": 0, "duration_s": 1.0, "bucket": None}]}
    peaks = {}
    for gain in (0.0, 6.0, 40.0):
        (window,) = windows_of([{**row, "gain_db": gain}], tmp_path / "dataset.jsonl", None)
        vae = SimpleNamespace(config=SimpleNamespace(sample_rate=16000))
        peaks[gain] = float(np.abs(_sound(window.sound, window, vae)).max())
    assert 0.16 < peaks[0.0] < 0.19  # one channel, spread over two
    assert abs(peaks[6.0] / peaks[0.0] - 10 ** (6 / 20)) < 0.02
    assert peaks[40.0] == 1.0
    (plain,) = windows_of([row], tmp_path / "dataset.jsonl", None)
    assert _gain_facts(plain) == {}  # files that were encoded before stay as they are
    (louder,) = windows_of([{**row, "gain_db": 3.0}], tmp_path / "dataset.jsonl", None)
    assert _gain_facts(louder) == {"gain_db": 3.0}
