from pathlib import Path

from tools.inspect.report.footage import Footage, footage_of, read_footage
from tools.inspect.report.report import Audio, Clip, Sample
from trainer_core.files import write_json

SAMPLE = [Sample(start_s=0, duration_s=1, bucket="96x64x17")]


def clip(name: str, **fields: object) -> dict[str, object]:
    given = {"kind": "video", "status": "ok", "samples": SAMPLE, **fields}
    return Clip(source="/f", path=name, **given).model_dump()  # type: ignore[arg-type]


def test_only_usable_clips_count_and_silence_is_no_sound() -> None:
    found = footage_of(
        [
            clip("a.mp4", audio=Audio(status="ok"), columns={"reference_video": "r.mp4"}),
            clip("b.mp4", audio=Audio(status="silent"), status="flagged"),
            clip("c.mp4", audio=Audio(status="ok"), samples=[]),
            clip("d.mp4", audio=Audio(status="ok"), status="unusable"),
            clip("e.png", kind="image"),
            clip("f.wav", kind="audio", audio=Audio(status="ok"), columns={"audio_mask": "m.wav"}),
            clip("r.mp4", kind="other", role="reference_video"),
        ]
    )
    assert found == Footage(videos=2, images=1, sounds=1, with_sound=1, reference_video=1, audio_mask=1)
    assert (found.pictures, found.any_sound) == (3, 2)


def test_a_report_is_counted_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert read_footage(path) is None
    write_json(path, {"clips": [clip("a.mp4")]})
    assert read_footage(path) == Footage(videos=1)
    write_json(path, {"clips": [clip("a.mp4"), clip("b.mp4")]})
    assert read_footage(path) == Footage(videos=2)
    path.write_text("{}")
    assert read_footage(path) is None
