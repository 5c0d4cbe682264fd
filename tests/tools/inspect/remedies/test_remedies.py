"""Remedies from the report to the report made again: the copies stand for the clips, the clips are as they were."""

from pathlib import Path

import numpy as np
import pytest

from tools.caption.store.captions import read_captions
from tools.draft.heldout import group_clips
from tools.inspect.remedies.plans import RemedySettings, loudness, split_at_cuts, trim, window
from tools.inspect.remedies.tool import (
    RemedyArguments,
    UndoRemediesArguments,
    preview_undo,
    remedy_clips,
    undo_remedies,
)
from tools.inspect.report.report import Audio, Clip, Flag, Measures, Report
from tools.inspect.tool import InspectArguments, inspect_clips
from trainer_core.data.media.probe import probe
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import write_jsonl


@pytest.fixture
def shots(tmp_path, write_clip, tone, untouched) -> Path:
    """One clip of three shots of 20 pictures with sound, one with bars."""
    folder = tmp_path / "clips"
    noise = np.random.default_rng(5)
    scenes = [noise.integers(0, 255, (8, 12, 3), np.uint8).repeat(16, 0).repeat(16, 1) for _ in range(3)]
    write_clip(
        folder / "day/film.mp4",
        frames=60,
        picture=lambda index: np.roll(scenes[index // 20], index % 20, axis=1),
        sound=tone(2.4),
    )
    barred = scenes[0].copy()
    barred[:24], barred[-24:] = 0, 0
    write_clip(
        folder / "barred.mp4",
        frames=40,
        picture=lambda index: np.concatenate([barred[:24], np.roll(barred[24:-24], 2 * index, axis=1), barred[-24:]]),
    )
    untouched(folder)
    return folder


def remedied(inspection, **arguments):
    return remedy_clips(inspection.project, RemedyArguments.model_validate(arguments))


def test_a_clip_is_split_at_its_cuts_and_its_shots_stand_for_it(inspection, shots):
    inspection.run(shots)
    before = inspection.report()
    result = remedied(inspection, remedy="split_at_cuts")
    assert result.sentence == "1 clip remedied, 3 copies made."
    (one,) = result.remedied
    assert (one.clip, one.seconds_kept, one.seconds_left_away) == ("day/film.mp4", 2.4, 0.0)
    report = inspection.report()
    copies = [clip for clip in report["clips"] if clip["origin"]]
    assert [clip["frames"] for clip in copies] == [20, 20, 20]
    assert [clip["origin"]["start_s"] for clip in copies] == [0.0, 0.8, 1.6]
    assert all(clip["audio"]["status"] == "ok" for clip in copies)
    assert not any("scene_cut" in [flag["id"] for flag in clip["flags"]] for clip in copies)
    (replaced,) = report["replaced"]
    assert (replaced["path"], len(replaced["copies"]), replaced["duration_s"]) == ("day/film.mp4", 3, 2.4)
    # every file found is in the report, as itself or as replaced
    assert len(report["clips"]) - len(copies) + len(report["replaced"]) == len(before["clips"])
    assert report["seconds"]["total"] == pytest.approx(before["seconds"]["total"], abs=0.01)


def test_what_was_remedied_can_be_undone_and_remedied_again(inspection, shots):
    inspection.run(shots)
    before = inspection.report()
    remedied(inspection, remedy="split_at_cuts")
    remedied(inspection, remedy="window", clips=["day/film.mp4.shot-02.mov"], seconds=0.5)
    paths = [clip["path"] for clip in inspection.report()["clips"]]
    # a chain of remedies is one clip replaced by what stands at its end
    assert "1 remedied clip replaced by 4 of these." in inspect_clips(inspection.project, InspectArguments()).sentence
    assert paths.count("day/film.mp4.shot-02.mov") == 0
    assert sum("shot-02.part-" in path for path in paths) == 2
    assert len(inspection.report()["replaced"]) == 2
    card = preview_undo(inspection.project, UndoRemediesArguments(clips=["day/*"]))
    there = [path for path in inspection.project.clips_path.rglob("*") if path.is_file()]
    assert card.question == "Take back 2 remedies?"
    assert f"{len(there)} copies in the project are removed" in card.lines[-1]
    assert f"{sum(path.stat().st_size for path in there) / 1e6:.1f} MB become free" in card.costs[1].text
    result = undo_remedies(inspection.project, UndoRemediesArguments(clips=["day/*"]))
    assert result.sentence == "2 remedies undone."
    assert inspection.report() == before
    assert not [path for path in inspection.project.clips_path.rglob("*") if path.is_file()]
    with pytest.raises(ConfigError, match="none was remedied"):
        undo_remedies(inspection.project, UndoRemediesArguments(clips=["day/*"]))


def test_bars_are_cropped_and_the_caption_is_kept(inspection, shots):
    inspection.run(shots)
    digest = inspection.clip("barred.mp4")["sha256"]
    row = {"path": "barred.mp4", "sha256": digest, "caption": "Squares.", "source": "person"}
    write_jsonl(inspection.project.captions_path, [row])
    remedied(inspection, remedy="crop_bars")
    copy = inspection.clip("barred.mp4.cropped.mov")
    assert (copy["width"], copy["height"]) == (192, 80)
    assert "letterbox" not in inspection.flags("barred.mp4.cropped.mov")
    (_, carried) = read_captions(inspection.project.captions_path)
    assert (carried.path, carried.sha256, carried.caption) == ("barred.mp4.cropped.mov", copy["sha256"], "Squares.")


def test_a_clip_that_changed_since_is_used_itself_and_said_so(inspection, shots, write_clip, tmp_path):
    other = tmp_path / "others"
    write_clip(other / "a.mp4", frames=40)
    inspection.run(other)
    remedied(inspection, remedy="rotate", clips=["a.mp4"], degrees=90)
    assert (inspection.clip("a.mp4.turned-90.mov")["width"], len(inspection.report()["clips"])) == (128, 1)
    write_clip(other / "a.mp4", frames=45)
    result = inspection.run(other)
    assert "a.mp4 changed since it was remedied (rotate)" in result.problems[0]
    assert [clip["path"] for clip in inspection.report()["clips"]] == ["a.mp4"]


def test_the_files_that_belong_to_a_clip_are_changed_with_it(inspection, write_clip, tone, tmp_path):
    folder = tmp_path / "set"
    for name in ("clip.mp4", "reference.mp4"):
        write_clip(folder / name, frames=50)
    write_clip(folder / "sound.mp4", frames=50, sound=tone(2.0))
    row = {"video": "clip.mp4", "reference_video": "reference.mp4", "audio": "sound.mp4", "caption": "x"}
    write_jsonl(folder / "set.jsonl", [row])
    inspection.run(folder / "set.jsonl")
    remedied(inspection, remedy="trim", clips=["clip.mp4"], start_s=0.4, end_s=1.6)
    clip = inspection.clip("clip.mp4.trimmed.mov")
    assert clip["frames"] == 30
    assert clip["columns"] == {
        "reference_video": "clip.mp4.trimmed.reference_video.mov",
        "audio": "clip.mp4.trimmed.audio.mov",
    }
    assert clip["audio"]["status"] == "ok"
    paths = {one["path"]: [flag["id"] for flag in one["flags"]] for one in inspection.report()["clips"]}
    assert paths.keys() == {"clip.mp4.trimmed.mov", *clip["columns"].values()}
    assert not any("unpaired" in flags for flags in paths.values())
    assert probe(inspection.project.clips_path / clip["columns"]["reference_video"]).frames == 30


def test_copies_of_one_recording_stay_on_one_side_of_the_split(inspection, shots):
    inspection.run(shots)
    remedied(inspection, remedy="window", clips=["barred.mp4"], seconds=0.8)
    report = Report.model_validate(inspection.report())
    pieces = [clip for clip in report.clips if clip.origin]
    assert len(pieces) == 2
    assert len(set(group_clips(pieces))) == 1


def test_parts_of_one_clip_are_no_twins_but_another_file_that_shows_the_same_is(
    inspection, write_clip, mosaic, tmp_path
):
    scene = mosaic((192, 128))(0)
    for name, frames in (("long.mp4", 50), ("short.mp4", 26)):
        write_clip(tmp_path / "set" / name, frames=frames, picture=lambda _index: scene)
    inspection.run(tmp_path / "set")
    assert "near_duplicate" in inspection.flags("short.mp4")
    remedied(inspection, remedy="window", clips=["long.mp4"], seconds=1.0)
    paths = [clip["path"] for clip in inspection.report()["clips"]]
    assert sorted(paths) == ["long.mp4.part-01.mov", "long.mp4.part-02.mov", "short.mp4"]
    assert [path for path in paths if "near_duplicate" in inspection.flags(path)] == ["short.mp4"]


def clip_of(**changes) -> Clip:
    base = {"source": "/f", "path": "a.mp4", "sha256": "0", "kind": "video", "status": "ok", "duration_s": 4.0}
    return Clip.model_validate({**base, **changes})


SETTINGS = RemedySettings(frame_rate=24.0)


def test_short_shots_are_left_away_and_no_cut_is_refused():
    plan = split_at_cuts(clip_of(measures=Measures(cuts_s=[1.0, 1.2, 3.0])), SETTINGS)
    assert [(label, start, end) for label, start, end in plan.stretches][:2] == [
        ("shot-01", 0.0, 1.0),
        ("shot-03", 1.2, 3.0),
    ]
    with pytest.raises(DataError, match="there is no cut in its"):
        split_at_cuts(clip_of(), SETTINGS)


def test_pieces_are_equal_and_on_the_grid():
    plan = window(clip_of(duration_s=10.0), RemedySettings(frame_rate=24.0, seconds=3.0))
    starts = [start for _, start, _ in plan.stretches]
    assert len(starts) == 4
    assert all(start * 24 == pytest.approx(round(start * 24)) for start in starts)
    with pytest.raises(DataError, match="one piece of at most 5 s"):
        window(clip_of(), SETTINGS)


def test_black_ends_are_trimmed_and_nonsense_is_refused():
    def black(start: float, end: float) -> Flag:
        return Flag(id="black", severity="warn", start_s=start, end_s=end, message="m", remedy="r")

    plan = trim(clip_of(flags=[black(0.0, 0.6), black(2.0, 2.2), black(3.5, 4.0)]), SETTINGS)
    assert plan.stretches == [("trimmed", 0.6, 3.5)]
    with pytest.raises(DataError, match="nothing black begins or ends it"):
        trim(clip_of(flags=[black(2.0, 2.2)]), SETTINGS)
    with pytest.raises(DataError, match="from 5 s to inf s there is nothing"):
        trim(clip_of(), RemedySettings(frame_rate=24.0, start_s=5.0))


def test_loudness_never_clips():
    quiet = clip_of(audio=Audio(status="ok", loudness_lufs=-40.0, peak_dbfs=-30.0))
    assert loudness(quiet, SETTINGS).change.gain_db == pytest.approx(17.0)
    peaky = clip_of(audio=Audio(status="ok", loudness_lufs=-40.0, peak_dbfs=-6.0))
    plan = loudness(peaky, SETTINGS)
    assert plan.change.gain_db == pytest.approx(5.0)
    assert "as far as its peak allows" in plan.words


def test_a_setting_of_another_remedy_is_refused(inspection, shots):
    inspection.run(shots)
    with pytest.raises(ConfigError, match="crop_bars doesn't read degrees; its settings: none"):
        remedied(inspection, remedy="crop_bars", degrees=90)
    with pytest.raises(ConfigError, match="No clip that can be decoded is named `nobody"):
        remedied(inspection, remedy="crop_bars", clips=["nobody*"])
    with pytest.raises(DataError, match="No clip needs loudness"):
        remedied(inspection, remedy="loudness")


def test_level_of_a_quiet_clip(inspection, write_clip, tone, tmp_path):
    write_clip(tmp_path / "clips/quiet.mp4", frames=75, sound=tone(3.0, level=0.004))
    inspection.run(tmp_path / "clips")
    before = inspection.clip("quiet.mp4")["audio"]["loudness_lufs"]
    remedied(inspection, remedy="loudness")
    after = inspection.clip("quiet.mp4.levelled.mov")["audio"]["loudness_lufs"]
    assert before < -40
    assert after == pytest.approx(-23.0, abs=0.3)


def test_fields_are_made_whole_and_the_page_says_what_was_replaced(inspection, write_clip, tone, mosaic, tmp_path):
    drift = mosaic((192, 128))

    def woven(index: int) -> np.ndarray:
        picture = drift(2 * index).copy()
        picture[1::2] = drift(2 * index + 3)[1::2]
        return picture

    write_clip(tmp_path / "clips" / "camcorder.mp4", frames=50, picture=woven, sound=tone(2.0))
    inspection.run(tmp_path / "clips")
    assert inspection.flags("camcorder.mp4")["interlaced"]["severity"] == "warn"
    result = remedied(inspection, remedy="deinterlace")
    assert result.remedied[0].done == "deinterlaced (bwdif)"
    copy = inspection.clip("camcorder.mp4.deinterlaced.mov")
    assert (copy["frames"], copy["fps"], copy["audio"]["status"]) == (50, 25.0, "ok")
    assert "interlaced" not in inspection.flags("camcorder.mp4.deinterlaced.mov")
    page = inspection.project.report_html_path.read_text()
    assert "Replaced clips" in page
    assert "deinterlaced (bwdif)" in page
    undo_remedies(inspection.project, UndoRemediesArguments(clips=["camcorder.mp4"]))
    assert "Replaced clips" not in inspection.project.report_html_path.read_text()
